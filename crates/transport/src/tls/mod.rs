//! TLS: what a listener proves itself with, whom it lets in, and the handshake.
//!
//! ```text
//! files ─load─► ServerConfig ─handshake─► Session: records in, plain bytes out
//!   └─ changed ─reload─► another one, for whoever comes from then on
//! ```

mod files;
mod handshake;
mod identity;
mod records;
mod session;
mod sni;
mod trust;
mod watch;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::crypto::ring;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use files::Stamp;

pub use files::{TlsError, TlsFault};
pub(crate) use handshake::accept;
#[cfg(feature = "quic")]
pub(crate) use handshake::refusal_of;
#[cfg(feature = "quic")]
pub(crate) use identity::certificate;
pub use watch::Reload;

/// The protocol name of MQTT in ALPN, as the register of IANA has it.
pub(crate) const ALPN_MQTT: &[u8] = b"mqtt";
/// That of HTTP/1.1, with which every WebSocket begins.
const ALPN_HTTP: &[u8] = b"http/1.1";

/// Everything a listener's TLS is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsOptions {
    /// What the listener proves itself with. The first is shown to clients that name no server, or one that no certificate
    /// is for. There is at least one.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients prove who they are.
    pub client_certificates: ClientCertificates,
    /// Authorities that may have issued the certificates of clients: PEM, one or more in a file.
    pub client_authorities: Vec<PathBuf>,
    /// Lists of revoked certificates: PEM, one or more in a file. If there are any, each certificate of a client's chain has to
    /// be covered by one. A list past its next update still counts.
    pub client_revocations: Vec<PathBuf>,
    /// The oldest version that is spoken.
    pub minimum: TlsVersion,
    /// Whether a client gets a ticket by which it comes back with a shorter handshake. The keys of tickets exist in memory
    /// only, and change every six hours; a ticket is good for twelve at most.
    pub tickets: bool,
    /// What clients may ask for by ALPN. One that asks for nothing is let in.
    pub protocols: Protocols,
}

impl TlsOptions {
    /// A listener for MQTT with one certificate, for clients without any.
    #[must_use]
    pub fn new(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificates: vec![CertificateFiles { chain: chain.into(), key: key.into() }],
            client_certificates: ClientCertificates::Off,
            client_authorities: Vec::new(),
            client_revocations: Vec::new(),
            minimum: TlsVersion::Tls12,
            tickets: true,
            protocols: Protocols::Mqtt,
        }
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CertificateFiles {
    /// The certificate, then those above it up to the root, which may be left out: PEM.
    pub chain: PathBuf,
    /// Its private key: PEM, as PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// Whether clients prove who they are by a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked, and let in without; what they show has to be good.
    Optional,
    /// They are let in with a good one only.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        static NEWEST_FIRST: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls12 => &NEWEST_FIRST,
            Self::Tls13 => NEWEST_FIRST.split_last().map_or(&[], |(_, newer)| newer),
        }
    }
}

/// What is spoken within TLS, as ALPN names it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Protocols {
    /// MQTT: `mqtt`.
    #[default]
    Mqtt,
    /// WebSocket: `http/1.1`.
    WebSocket,
    /// Both.
    Both,
}

impl Protocols {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Mqtt => vec![ALPN_MQTT.to_vec()],
            Self::WebSocket => vec![ALPN_HTTP.to_vec()],
            Self::Both => vec![ALPN_MQTT.to_vec(), ALPN_HTTP.to_vec()],
        }
    }
}

/// Until when a certificate of the listener is valid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expiry {
    /// The file it stands in.
    pub file: PathBuf,
    /// Its subject.
    pub subject: Box<str>,
    /// The first moment at which it is not valid any more.
    pub at: SystemTime,
}

impl Expiry {
    /// Whole days that are left at `now`; negative if it has expired.
    #[must_use]
    pub fn days_left(&self, now: SystemTime) -> i64 {
        const DAY: u64 = 24 * 60 * 60;
        match self.at.duration_since(now) {
            Ok(left) => i64::try_from(left.as_secs() / DAY).unwrap_or(i64::MAX),
            Err(past) => {
                i64::try_from(past.duration().as_secs() / DAY).map_or(i64::MIN, |days| -days - 1)
            }
        }
    }
}

/// The TLS of one listener. A handshake computes for up to a few milliseconds each time it is polled; who polls it decides how
/// many do at once. Its files may change under it: [`reload`](Self::reload) takes them anew for whoever comes from
/// then on, and whoever is in stays.
pub struct Tls {
    options: TlsOptions,
    current: RwLock<Arc<Loaded>>,
    ticketer: Option<Arc<dyn ProducesTickets>>,
}

/// What was made of the files.
pub(crate) struct Loaded {
    config: Arc<ServerConfig>,
    /// Judges a resumed client's certificate again, because it may have been revoked since its ticket was given.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    expiries: Vec<Expiry>,
    stamps: Vec<Stamp>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads all files. They are read in the calling thread.
    ///
    /// # Errors
    ///
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(options: TlsOptions) -> Result<Self, TlsError> {
        let ticketer = match options.tickets {
            true => Some(ring::Ticketer::new().map_err(TlsError::of_the_system)?),
            false => None,
        };
        let loaded = Loaded::read(&options, ticketer.as_ref())?;
        Ok(Self { options, current: RwLock::new(Arc::new(loaded)), ticketer })
    }

    /// Reads all files again, in the calling thread, and uses them for whoever comes from now on.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load); then what was read before is used on.
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = Loaded::read(&self.options, self.ticketer.as_ref())?;
        *self.current.write() = Arc::new(loaded);
        Ok(())
    }

    /// What it was made of.
    #[must_use]
    pub const fn options(&self) -> &TlsOptions {
        &self.options
    }

    /// Until when each certificate of the listener is valid, that of an intermediate authority included.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        self.current.read().expiries.clone()
    }

    pub(crate) fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read())
    }
}

impl Loaded {
    fn read(
        options: &TlsOptions,
        ticketer: Option<&Arc<dyn ProducesTickets>>,
    ) -> Result<Self, TlsError> {
        // Before anything is read, so that a change meanwhile is noticed afterwards.
        let stamps = files::stamps(options);
        let provider = Arc::new(ring::default_provider());
        let mut resolver = sni::Resolver::default();
        let mut expiries = Vec::new();
        if options.certificates.is_empty() {
            return Err(TlsError { file: PathBuf::new(), fault: TlsFault::NoChain });
        }
        for files in &options.certificates {
            let chain = files::chain(files, &provider, SystemTime::now())?;
            expiries.extend(chain.expiries);
            resolver.add(chain.names, chain.certified);
        }
        let verifier = trust::verifier(options, &provider)?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(options.minimum.and_newer())
            .map_err(TlsError::of_the_system)?;
        let mut config = match &verifier {
            Some(verifier) => config.with_client_cert_verifier(Arc::clone(verifier)),
            None => config.with_no_client_auth(),
        }
        .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = options.protocols.alpn();
        // Tickets hold the whole state, so that nothing is kept here for clients that may never come back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if let Some(ticketer) = ticketer {
            config.ticketer = Arc::clone(ticketer);
            // A client has one connection at a time, and gets another ticket with each.
            config.send_tls13_tickets = 1;
        }
        Ok(Self { config: Arc::new(config), verifier, expiries, stamps })
    }

    pub(crate) const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

/// How often files are looked at, unless told otherwise. A change is taken over when it has stood still for as long.
pub const WATCH_EVERY: Duration = Duration::from_secs(5);

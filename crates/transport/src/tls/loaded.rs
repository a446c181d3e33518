//! The files of one listener, read and ready for handshakes.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use rustls::crypto::ring;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::files::{self, Stamp, TlsError, TlsFault};
use super::options::{Expiry, Protocols, TlsOptions, TlsVersion};
use super::{ALPN_HTTP, ALPN_MQTT, sni, trust};

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
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    expiries: Vec<Expiry>,
    pub(super) stamps: Vec<Stamp>,
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

impl TlsVersion {
    fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        static NEWEST_FIRST: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls12 => &NEWEST_FIRST,
            Self::Tls13 => NEWEST_FIRST.split_last().map_or(&[], |(_, newer)| newer),
        }
    }
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

//! What a listener's TLS is made of, as plain data.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How often files are looked at, unless told otherwise. A change is taken over when it has stood still for as long.
pub const WATCH_EVERY: Duration = Duration::from_secs(5);

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

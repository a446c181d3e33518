//! TLS: what a listener proves itself with, whom it lets in, and the handshake.
//!
//! ```text
//! files ─load─► ServerConfig ─handshake─► Session: records in, plain bytes out
//!   └─ changed ─reload─► another one, for whoever comes from then on
//! ```
//!
//! Without the feature `tls` there is the plain data only, and nothing can be loaded.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
mod handshake;
#[cfg(feature = "tls")]
mod identity;
#[cfg(feature = "tls")]
mod loaded;
mod options;
#[cfg(feature = "tls")]
mod records;
#[cfg(feature = "tls")]
mod session;
#[cfg(feature = "tls")]
mod sni;
#[cfg(feature = "tls")]
mod trust;
#[cfg(feature = "tls")]
mod watch;

#[cfg(not(feature = "tls"))]
pub use absent::{Reload, Tls, TlsError};
#[cfg(feature = "tls")]
pub use files::{TlsError, TlsFault};
#[cfg(feature = "tls")]
pub(crate) use handshake::accept;
#[cfg(feature = "quic")]
pub(crate) use handshake::refusal_of;
#[cfg(feature = "quic")]
pub(crate) use identity::certificate;
#[cfg(feature = "tls")]
pub(crate) use loaded::Loaded;
#[cfg(feature = "tls")]
pub use loaded::Tls;
pub use options::{
    CertificateFiles, ClientCertificates, Expiry, Protocols, TlsOptions, TlsVersion, WATCH_EVERY,
};
#[cfg(feature = "tls")]
pub use watch::Reload;

/// The protocol name of MQTT in ALPN, as the register of IANA has it.
#[cfg(feature = "tls")]
pub(crate) const ALPN_MQTT: &[u8] = b"mqtt";
/// That of HTTP/1.1, with which every WebSocket begins.
#[cfg(feature = "tls")]
const ALPN_HTTP: &[u8] = b"http/1.1";

//! The HTTP request that asks for a WebSocket, and the answer to it. RFC 9112 and RFC 6455 section 4.2, without I/O.
//!
//! A [`Handshake`] takes what has arrived, cut anywhere, and gives an [`Upgrade`] with the answer to send, or a
//! [`HttpRefusal`], which has an answer as well. It keeps nothing but the request's head until that is complete.
//!
//! ```
//! use dunlin_transport::http::{Handshake, UpgradeRules};
//!
//! let request = b"GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
//!     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
//! let rules = UpgradeRules::default();
//! let mut handshake = Handshake::default();
//! assert_eq!(handshake.receive(&request[..100], &rules, None)?, None);
//! let upgrade = handshake.receive(&request[100..], &rules, None)?.expect("the head is complete");
//! assert_eq!(upgrade.consumed, request.len() - 100);
//! let answer = String::from_utf8(upgrade.answer)?;
//! assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//!
//! A head has at most [`UpgradeRules::head_bytes_max`] bytes and [`HEADERS_MAX`] header fields; beyond it the answer is
//! 431. Requests with a body are refused, since what follows a request is frames.
//!
//! Without the feature `websocket` there are the rules only.

#[cfg(feature = "websocket")]
mod answer;
#[cfg(feature = "websocket")]
mod forwarded;
#[cfg(feature = "websocket")]
mod handshake;
mod origin;
#[cfg(feature = "websocket")]
mod refusal;
#[cfg(feature = "websocket")]
mod request;

use crate::range::IpRange;

#[cfg(feature = "websocket")]
pub use handshake::{Handshake, Upgrade};
pub use origin::{AllowedOrigins, InvalidOrigin, Origin};
#[cfg(feature = "websocket")]
pub use refusal::HttpRefusal;
#[cfg(feature = "websocket")]
pub use request::HEADERS_MAX;

/// Bytes of a request's head that are taken, unless told otherwise.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The path, unless told otherwise.
pub const PATH: &str = "/mqtt";

/// What a listener asks of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpgradeRules {
    /// The path that is served, without a query.
    pub path: Box<str>,
    /// Whether a request that names no subprotocol is accepted. One that names only others never is.
    pub without_subprotocol: bool,
    /// The pages that may connect. Requests of most other programs have no origin and are not asked for one. A request whose
    /// origin is this server itself, by its address or as `localhost`, is always taken: no page has that one, but some
    /// programs do, Paho Python among them.
    pub origins: AllowedOrigins,
    /// Proxies that are believed when they name the client in `X-Forwarded-For` or `X-Real-IP`.
    pub trusted_proxies: Vec<IpRange>,
    /// Bytes of a request's head, from its first to the empty line; above that the answer is 431.
    pub head_bytes_max: usize,
}

impl Default for UpgradeRules {
    /// No page may connect and no proxy is believed.
    fn default() -> Self {
        Self {
            path: PATH.into(),
            without_subprotocol: false,
            origins: AllowedOrigins::none(),
            trusted_proxies: Vec::new(),
            head_bytes_max: HEAD_BYTES_MAX,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "websocket")]
mod tests;

//! What lies between an accepted socket and plain MQTT bytes.
//!
//! A client comes in by a [`Door`]: the layers of one listener, in the order in which they are taken off. What comes out is
//! [`Opened`]: a [`Stream`] of plain bytes, the [`Peer`] at its other end, and what was read of the stream already. A
//! client that does not get through is [`Refused`], with a reason to count and a sentence for the log.
//!
//! ```text
//! socket ─► PROXY header ─► first bytes ─► TLS ─► WebSocket ─► Stream + Peer
//! ```
//!
//! Each step takes an [`Opened`] and gives the next one; what it read too much stands in [`Opened::received`] and is
//! the next step's to read first. A door without layers has no step: a plain TCP client costs nothing here.
//!
//! # What it is not
//!
//! It knows no MQTT, accepts no connection by itself, counts nothing, logs nothing and spawns nothing: that is its caller's.
//!
//! # Features
//!
//! `tls`, `quic` and `websocket`, all on unless told otherwise. What a listener is made of is plain data in every build; a
//! client that comes by a layer that the build has not is refused.
//!
//! # Limits
//!
//! Whatever is read before a client is let through has a named bound and one deadline for all of it. A stream buffers at
//! most what its documentation says, and nothing while it is idle.

mod acceptor;
mod address;
mod door;
pub mod http;
#[cfg(unix)]
mod inherited;
mod peer;
pub mod proxy;
#[cfg(feature = "quic")]
pub mod quic;
mod range;
mod refusal;
mod sniff;
mod stream;
pub mod tcp;
pub mod tls;
#[cfg(unix)]
pub mod unix;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use acceptor::{Acceptor, Bound, Place};
pub use door::{Door, Opened, Protocol};
#[cfg(unix)]
pub use inherited::Inherited;
pub use peer::{
    Certificate, Credentials, Details, Peer, ProxyFacts, TlsFacts, Transport, WebSocketFacts,
};
pub use range::{InvalidIpRange, IpRange};
pub use refusal::{Refusal, Refused};
pub use sniff::{SNIFF_BYTES_MAX, Sniffed, sniff};
pub use stream::{Farewell, Layer, Stream};

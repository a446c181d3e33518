//! MQTT over QUIC, as EMQX and NanoMQ have it: ALPN `mqtt`, and one stream in both directions that the client opens.
//!
//! A connection of QUIC is taken for a socket: what would be a TCP connection is its first stream. Early data is off, because
//! who recorded it could send it again. A client may change its address without losing its connection; its [`Peer`] tells
//! the one it came from.
//!
//! [`Peer`]: crate::Peer

mod endpoint;
mod handshake;
mod stream;

use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

pub(crate) use endpoint::Endpoint;
pub use endpoint::bind;
pub(crate) use handshake::accept;
pub use stream::QuicStream;

/// Bytes that a client may have sent and that were not read yet; the same for what it has not acknowledged. Both are
/// reserved by nobody: this is how far it can get ahead.
const WINDOW_BYTES: u32 = 256 * 1024;

/// How a listener speaks QUIC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QuicOptions {
    /// How long a peer may be silent before the connection counts as lost. The client may ask for less.
    pub idle_timeout: Duration,
    /// How often a silent peer is asked for a sign of life, so that an MQTT client may be idle for as long as its Keep Alive
    /// says, and the ways through NATs stay open; none: it is not asked, and has to see to it itself.
    pub keep_alive: Option<Duration>,
}

impl Default for QuicOptions {
    fn default() -> Self {
        Self { idle_timeout: Duration::from_secs(60), keep_alive: Some(Duration::from_secs(20)) }
    }
}

impl QuicOptions {
    fn transport(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(1))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
            .receive_window(VarInt::from_u32(WINDOW_BYTES))
            .send_window(WINDOW_BYTES.into())
            .keep_alive_interval(self.keep_alive)
            // More than QUIC can say, which is some centuries, is no limit.
            .max_idle_timeout(IdleTimeout::try_from(self.idle_timeout).ok());
        transport
    }
}

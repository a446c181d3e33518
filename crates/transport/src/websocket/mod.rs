//! RFC 6455 on the server's side: frames to plain bytes and back, without I/O.
//!
//! MQTT sees a byte stream. A [`Framer`] takes the frames' heads and masks off where the bytes lie, in the buffer they
//! were read into, and says which head to write in front of what goes out. It owns no buffer between two calls, except
//! for a control frame that is only partly here or not yet written, of at most 127 bytes each.
//!
//! ```
//! use dunlin_transport::websocket::{Framer, Outgoing};
//!
//! let mut framer = Framer::default();
//! // A binary frame with PINGREQ, masked with 01 02 03 04, and the beginning of the next frame.
//! let mut read = [0x82, 0x82, 1, 2, 3, 4, 0xC0 ^ 1, 0x00 ^ 2, 0x82];
//! let received = framer.receive(&mut read);
//! assert_eq!((&read[..received.plain], received.end), (&[0xC0, 0][..], None));
//!
//! // The answer goes out as one frame.
//! let answer = [0xD0, 0];
//! assert_eq!(framer.outgoing(answer.len()), Some(Outgoing::Data { head: &[0x82, 2], plain: 2 }));
//! assert_eq!(framer.wrote(4), 2);
//! ```
//!
//! # Limits
//!
//! - A frame has at most [`FRAME_BYTES_MAX`] bytes; above that the connection closes with 1009. Nothing is allocated by
//!   what a frame says of its length.
//! - One pong waits to be written, for the latest ping [RFC 6455 s5.5.3]; pings that are overtaken have none.
//! - A length in more bytes than it needs is taken: RFC 6455 s5.2 forbids to write it so, and nothing depends on it.
//! - Extensions are not negotiated, so that reserved bits are errors.

mod accept;
mod close;
mod head;
mod inbound;
mod outbound;
mod stream;

use inbound::{Inbound, Step};
use outbound::Outbound;

pub(crate) use accept::accept;
pub use close::{CloseCode, FrameViolation};
pub use head::{CONTROL_BYTES_MAX, FRAME_BYTES_MAX};
pub use outbound::Outgoing;
pub use stream::violation;

/// Both directions of one WebSocket connection, on the server's side.
#[derive(Debug, Default)]
pub struct Framer {
    inbound: Inbound,
    outbound: Outbound,
    end: Option<End>,
}

/// What came of the bytes of one read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// So many bytes at the front of the buffer are plain now.
    pub plain: usize,
    /// Set when nothing more comes behind them. The close frame that says so to the peer waits in
    /// [`Framer::outgoing`].
    pub end: Option<End>,
}

/// Why a WebSocket connection is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The peer sent a close frame, with this code if it gave one.
    Closed(Option<u16>),
    /// The peer broke a rule.
    Violated(FrameViolation),
}

impl Framer {
    /// Takes what was read: leaves the plain bytes at the front of the buffer, answers pings, notes the end.
    ///
    /// The bytes may be cut anywhere. After an end the rest is not looked at, and neither is what is given later.
    // [MQTT-6.0.0-2] [MQTT-6.0.0-2 @3.1.1] Borders of frames are none of the stream.
    pub fn receive(&mut self, bytes: &mut [u8]) -> Received {
        if self.end.is_some() {
            return Received { plain: 0, end: self.end };
        }
        let (mut from, mut plain) = (0, 0);
        while let Some(rest) = bytes.get_mut(from..).filter(|rest| !rest.is_empty()) {
            match self.inbound.step(rest) {
                Step::Head(len) => from += len,
                Step::Plain { len } => {
                    if plain != from {
                        bytes.copy_within(from..from + len, plain);
                    }
                    from += len;
                    plain += len;
                }
                Step::Control(len) => from += len,
                Step::Ping { len, payload } => {
                    from += len;
                    self.outbound.pong(&payload);
                }
                Step::Close { code } => {
                    self.outbound.close(code);
                    self.end = Some(End::Closed(code));
                    break;
                }
                Step::Violated(violation) => {
                    self.outbound.close(Some(violation.close_code().get()));
                    self.end = Some(End::Violated(violation));
                    break;
                }
            }
        }
        Received { plain, end: self.end }
    }

    /// What to write next, if `plain` bytes wait to be sent; `None` if nothing is to be written.
    ///
    /// What was written of it is told to [`Framer::wrote`] before this is asked again. A control frame goes before the
    /// next data frame, never into one that has begun; behind a close frame nothing goes.
    pub fn outgoing(&mut self, plain: usize) -> Option<Outgoing<'_>> {
        self.outbound.next(plain)
    }

    /// So many bytes of what [`Framer::outgoing`] gave last have been written: says how many of them were plain.
    pub fn wrote(&mut self, count: usize) -> usize {
        self.outbound.wrote(count)
    }

    /// Closes from our side, unless a close frame waits or was sent already.
    pub fn close(&mut self, code: CloseCode) {
        self.outbound.close(Some(code.get()));
    }

    /// Why nothing more comes, if so.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether a control frame could be written now.
    #[must_use]
    pub fn has_control(&self) -> bool {
        self.outbound.has_control()
    }

    /// Whether a close frame has been written completely: nothing can be sent any more.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.outbound.is_closed()
    }
}

#[cfg(test)]
mod tests;

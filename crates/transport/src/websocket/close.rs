//! Close codes, and the rules whose breach they tell.

/// A close code that the server sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseCode {
    /// 1000: the purpose is fulfilled.
    Normal,
    /// 1001: the server goes away.
    GoingAway,
    /// 1002: the peer broke the protocol.
    ProtocolError,
    /// 1003: a kind of data that is not accepted.
    Unsupported,
    /// 1007: text that is not UTF-8.
    InvalidData,
    /// 1008: refused by a rule of the server.
    Policy,
    /// 1009: too big to be taken.
    TooBig,
    /// 1011: the server cannot go on.
    Internal,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::Unsupported => 1003,
            Self::InvalidData => 1007,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Internal => 1011,
        }
    }
}

/// A rule of RFC 6455 or of MQTT over WebSocket that the client broke. Follows: a close frame with
/// [`FrameViolation::close_code`], then the end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameViolation {
    /// A reserved bit is set although no extension was negotiated.
    #[error("reserved bit of a frame is set")]
    ReservedBit,
    /// An opcode that nobody has defined.
    #[error("opcode of a frame is reserved")]
    ReservedOpcode,
    /// A client must mask what it sends.
    #[error("frame is not masked")]
    Unmasked,
    /// The highest bit of a length of eight bytes is set.
    #[error("highest bit of a frame's length is set")]
    Length,
    /// A frame is longer than [`FRAME_BYTES_MAX`](super::FRAME_BYTES_MAX).
    #[error("frame is longer than the limit")]
    TooBig,
    /// A text frame.
    #[error("text frame, where only binary ones are allowed")]
    Text,
    /// A continuation with nothing before it.
    #[error("continuation frame without a message")]
    ContinuationAlone,
    /// A new message before the one before it has ended.
    #[error("new message within a fragmented one")]
    MessageWithinMessage,
    /// A control frame that is to be continued.
    #[error("control frame is fragmented")]
    ControlFragmented,
    /// A control frame of more than 125 bytes.
    #[error("control frame has more than 125 bytes")]
    ControlTooLong,
    /// A close frame of one byte, or with a code that must not be sent.
    #[error("close frame has no valid code")]
    CloseCode,
    /// The reason in a close frame is not UTF-8.
    #[error("reason of a close frame is not UTF-8")]
    CloseReason,
}

impl FrameViolation {
    /// What the peer is told.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::ReservedBit
            | Self::ReservedOpcode
            | Self::Unmasked
            | Self::Length
            | Self::ContinuationAlone
            | Self::MessageWithinMessage
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::CloseCode => CloseCode::ProtocolError,
            Self::Text => CloseCode::Unsupported,
            Self::TooBig => CloseCode::TooBig,
            Self::CloseReason => CloseCode::InvalidData,
        }
    }
}

impl FrameViolation {
    /// The statement that was broken, as MQTT numbers it, or the section of RFC 6455.
    #[must_use]
    pub const fn spec(self) -> &'static str {
        match self {
            // The same in 3.1.1.
            Self::Text => "MQTT-6.0.0-1",
            Self::Unmasked => "RFC 6455 s5.1",
            Self::ReservedBit | Self::ReservedOpcode | Self::Length | Self::TooBig => {
                "RFC 6455 s5.2"
            }
            Self::ContinuationAlone | Self::MessageWithinMessage => "RFC 6455 s5.4",
            Self::ControlFragmented | Self::ControlTooLong => "RFC 6455 s5.5",
            Self::CloseReason => "RFC 6455 s5.5.1",
            Self::CloseCode => "RFC 6455 s7.4",
        }
    }
}

/// Whether a peer may send this code in a close frame [RFC 6455 s7.4]: the registered ones and those of applications,
/// but not those that stand for "none" (1005), "no close frame" (1006) and "no TLS" (1015).
pub(super) const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

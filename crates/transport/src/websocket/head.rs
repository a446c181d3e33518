//! Heads of frames: two to fourteen bytes before each payload.

use super::close::FrameViolation;

/// The longest payload of a control frame [RFC 6455 s5.5].
pub const CONTROL_BYTES_MAX: usize = 125;
/// The longest payload of a frame that is taken: the largest MQTT packet. Clients put no more in one frame than one
/// write of theirs, and nothing is buffered, so the limit is only there to be one.
pub const FRAME_BYTES_MAX: u64 = 268_435_460;

/// The longest head of a client: two bytes, a length of eight, a mask of four.
pub(super) const HEAD_BYTES_MAX: usize = 14;
/// The longest head of ours, which has no mask.
pub(super) const OUR_HEAD_BYTES_MAX: usize = 10;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const BINARY: u8 = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Continuation,
    Binary,
    Close,
    Ping,
    Pong,
}

/// The head of a client's frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// Whether the message ends with this frame.
    pub(super) is_final: bool,
    pub(super) mask: [u8; 4],
    pub(super) payload: u64,
}

impl Head {
    /// Reads a head and says how many bytes it took; `None` while it is not complete. What is wrong with the first two
    /// bytes is said when they are here.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameViolation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(FrameViolation::ReservedBit);
        }
        let is_final = first & FINAL != 0;
        let kind = match first & 0x0F {
            0 => Kind::Continuation,
            // [MQTT-6.0.0-1] [MQTT-6.0.0-1 @3.1.1]
            1 => return Err(FrameViolation::Text),
            BINARY => Kind::Binary,
            8 => Kind::Close,
            9 => Kind::Ping,
            10 => Kind::Pong,
            _ => return Err(FrameViolation::ReservedOpcode),
        };
        if second & MASKED == 0 {
            return Err(FrameViolation::Unmasked);
        }
        let short = second & !MASKED;
        if matches!(kind, Kind::Close | Kind::Ping | Kind::Pong) {
            if !is_final {
                return Err(FrameViolation::ControlFragmented);
            }
            if usize::from(short) > CONTROL_BYTES_MAX {
                return Err(FrameViolation::ControlTooLong);
            }
        }
        let (payload, length_bytes) = match short {
            126 => match rest.first_chunk() {
                Some(long) => (u64::from(u16::from_be_bytes(*long)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(long) => (u64::from_be_bytes(*long), 8),
                None => return Ok(None),
            },
            short => (u64::from(short), 0),
        };
        if payload > u64::MAX >> 1 {
            return Err(FrameViolation::Length);
        }
        if payload > FRAME_BYTES_MAX {
            return Err(FrameViolation::TooBig);
        }
        let Some(mask) = rest.get(length_bytes..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        Ok(Some((Self { kind, is_final, mask: *mask, payload }, 2 + length_bytes + 4)))
    }
}

/// Writes the head of a binary frame of ours that is a whole message, and says how long it is.
// [MQTT-6.0.0-1] [MQTT-6.0.0-1 @3.1.1]
pub(super) fn write_binary(payload: usize, head: &mut [u8; OUR_HEAD_BYTES_MAX]) -> u8 {
    let [first, second, long @ ..] = head;
    *first = FINAL | BINARY;
    if let Some(short) = u8::try_from(payload).ok().filter(|short| *short < 126) {
        *second = short;
        return 2;
    }
    let [high, low, ..] = long;
    if let Ok(payload) = u16::try_from(payload) {
        *second = 126;
        [*high, *low] = payload.to_be_bytes();
        return 4;
    }
    *second = 127;
    *long = (payload as u64).to_be_bytes();
    10
}

/// The first byte of a pong of ours.
pub(super) const PONG: u8 = FINAL | 10;
/// The first byte of a close frame of ours.
pub(super) const CLOSE: u8 = FINAL | 8;

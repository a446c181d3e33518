//! Frames of the client, piece by piece.

use super::close::{FrameViolation, may_be_sent};
use super::head::{HEAD_BYTES_MAX, Head, Kind};

/// Where the stream of frames stands.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// The frame whose payload is being read; its `payload` and `mask` are those of what is missing.
    frame: Option<Head>,
    /// The beginning of a head.
    head: [u8; HEAD_BYTES_MAX],
    /// Below [`HEAD_BYTES_MAX`], since a head of so many bytes is complete.
    head_len: u8,
    /// Whether a message has begun that goes on in the next data frame.
    in_message: bool,
    /// The payload of a control frame so far, at most 125 bytes; without an allocation outside of one.
    pub(super) control: Vec<u8>,
}

/// What comes next in the bytes given.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// So many bytes of a head.
    Head(usize),
    /// So many bytes of a message, unmasked where they lie.
    Plain { len: usize },
    /// So many bytes of a control frame that asks for nothing yet.
    Control(usize),
    /// The rest of a ping.
    Ping { len: usize, payload: Vec<u8> },
    /// The rest of a close frame.
    Close { code: Option<u16> },
    /// What breaks a rule.
    Violated(FrameViolation),
}

impl Inbound {
    /// Takes one step in bytes of which there is at least one.
    pub(super) fn step(&mut self, bytes: &mut [u8]) -> Step {
        match self.frame {
            Some(frame) => self.payload(frame, bytes),
            None => self.next_head(bytes),
        }
    }

    fn next_head(&mut self, bytes: &[u8]) -> Step {
        if self.head_len == 0 {
            // Mostly a whole head is here and need not be copied.
            return match Head::parse(bytes) {
                Ok(Some((head, len))) => self.begin(head, len),
                Ok(None) => {
                    for (place, byte) in self.head.iter_mut().zip(bytes) {
                        *place = *byte;
                        self.head_len += 1;
                    }
                    Step::Head(bytes.len())
                }
                Err(violation) => Step::Violated(violation),
            };
        }
        for (index, byte) in bytes.iter().enumerate() {
            if let Some(place) = self.head.get_mut(usize::from(self.head_len)) {
                *place = *byte;
                self.head_len += 1;
            }
            match Head::parse(self.head.get(..usize::from(self.head_len)).unwrap_or_default()) {
                Ok(Some((head, _))) => return self.begin(head, index + 1),
                Ok(None) => {}
                Err(violation) => return Step::Violated(violation),
            }
        }
        Step::Head(bytes.len())
    }

    /// A head is complete; `len` bytes of it are in what is being read.
    fn begin(&mut self, head: Head, len: usize) -> Step {
        self.head_len = 0;
        match (head.kind, self.in_message) {
            (Kind::Continuation, false) => Step::Violated(FrameViolation::ContinuationAlone),
            (Kind::Binary, true) => Step::Violated(FrameViolation::MessageWithinMessage),
            (Kind::Binary, false) | (Kind::Continuation, true) => {
                self.in_message = !head.is_final;
                self.frame = Some(head).filter(|head| head.payload > 0);
                Step::Head(len)
            }
            (Kind::Close | Kind::Ping | Kind::Pong, _) if head.payload == 0 => {
                self.control_complete(head.kind, len)
            }
            (Kind::Close | Kind::Ping | Kind::Pong, _) => {
                self.frame = Some(head);
                Step::Head(len)
            }
        }
    }

    fn payload(&mut self, mut frame: Head, bytes: &mut [u8]) -> Step {
        let len = usize::try_from(frame.payload).unwrap_or(usize::MAX).min(bytes.len());
        let (piece, _) = bytes.split_at_mut(len);
        unmask(piece, &mut frame.mask);
        frame.payload -= len as u64;
        self.frame = Some(frame).filter(|frame| frame.payload > 0);
        match frame.kind {
            Kind::Binary | Kind::Continuation => Step::Plain { len },
            // What a pong says is of no interest: we send no pings.
            Kind::Pong => Step::Control(len),
            Kind::Close | Kind::Ping => {
                self.control.extend_from_slice(piece);
                match self.frame {
                    Some(_) => Step::Control(len),
                    None => self.control_complete(frame.kind, len),
                }
            }
        }
    }

    /// The last `len` bytes of a control frame are here.
    fn control_complete(&mut self, kind: Kind, len: usize) -> Step {
        let payload = std::mem::take(&mut self.control);
        match kind {
            Kind::Ping => Step::Ping { len, payload },
            Kind::Close => match close_code(&payload) {
                Ok(code) => Step::Close { code },
                Err(violation) => Step::Violated(violation),
            },
            Kind::Pong | Kind::Binary | Kind::Continuation => Step::Control(len),
        }
    }
}

/// The code in the payload of a close frame, if it has one.
fn close_code(payload: &[u8]) -> Result<Option<u16>, FrameViolation> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !may_be_sent(code) {
                return Err(FrameViolation::CloseCode);
            }
            std::str::from_utf8(reason).map_err(|_| FrameViolation::CloseReason)?;
            Ok(Some(code))
        }
        [_] => Err(FrameViolation::CloseCode),
    }
}

/// Takes the mask off and turns it to the byte that comes behind.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let [a, b, c, d] = *mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    // Eight bytes at a time, which the compiler widens to what the processor has.
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    mask.rotate_left(rest.len() % 4);
}

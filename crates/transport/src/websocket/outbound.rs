//! Frames of ours: a head in front of what is flushed, and control frames between them.

use super::head::{CLOSE, CONTROL_BYTES_MAX, OUR_HEAD_BYTES_MAX, PONG, write_binary};

/// What is to be written next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outgoing<'a> {
    /// A control frame, or the rest of one; by itself.
    Control(&'a [u8]),
    /// A head, or what is missing of it, and behind it this many of the plain bytes.
    Data {
        /// Empty while a frame goes on whose head is written.
        head: &'a [u8],
        /// Of the plain bytes the first so many belong to the frame.
        plain: usize,
    },
}

/// Where the stream of our frames stands.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    head: [u8; OUR_HEAD_BYTES_MAX],
    head_len: u8,
    /// Bytes of `head` that are written; all of them between two frames.
    head_written: u8,
    /// Plain bytes that the frame whose head has begun to be written still needs.
    owed: usize,
    /// Control frames that wait; most of the time there is none.
    pub(super) control: Option<Box<Control>>,
    closed: bool,
}

/// At most one pong, for the latest ping, and one close frame, which is the last.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// The frame that is being written, and how much of it is.
    current: Vec<u8>,
    written: usize,
    current_is_close: bool,
    pong: Option<Vec<u8>>,
    close: Option<Vec<u8>>,
}

impl Outbound {
    /// Answers a ping. One that still waits gives way to it. [RFC 6455 s5.5.3]
    pub(super) fn pong(&mut self, payload: &[u8]) {
        if !self.closed {
            self.control.get_or_insert_default().pong = Some(control_frame(PONG, payload));
        }
    }

    /// Has a close frame written behind what has begun. The first one counts.
    pub(super) fn close(&mut self, code: Option<u16>) {
        if self.closed {
            return;
        }
        let control = self.control.get_or_insert_default();
        if control.close.is_none() && !control.current_is_close {
            let code = code.map(u16::to_be_bytes);
            let code = code.as_ref().map_or(&[][..], |code| code);
            control.close = Some(control_frame(CLOSE, code));
        }
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) const fn has_control(&self) -> bool {
        self.control.is_some() && !self.in_frame()
    }

    /// Whether a data frame has begun to be written and is not complete.
    const fn in_frame(&self) -> bool {
        self.owed > 0 && self.head_written > 0
    }

    pub(super) fn next(&mut self, plain: usize) -> Option<Outgoing<'_>> {
        if self.in_frame() {
            return self.data(plain);
        }
        self.owed = 0;
        if self.control.is_some() {
            return self.control.as_mut().map(|control| Outgoing::Control(control.frame()));
        }
        if self.closed || plain == 0 {
            return None;
        }
        // What nobody has seen of it yet may still change.
        self.head_len = write_binary(plain, &mut self.head);
        self.head_written = 0;
        self.owed = plain;
        self.data(plain)
    }

    fn data(&self, plain: usize) -> Option<Outgoing<'_>> {
        let (from, to) = (usize::from(self.head_written), usize::from(self.head_len));
        let head = self.head.get(from..to).unwrap_or_default();
        let plain = plain.min(self.owed);
        (plain > 0 || !head.is_empty()).then_some(Outgoing::Data { head, plain })
    }

    pub(super) fn wrote(&mut self, count: usize) -> usize {
        if self.owed == 0 {
            self.wrote_control(count);
            return 0;
        }
        let head = usize::from(self.head_len - self.head_written).min(count);
        // A head has at most ten bytes.
        self.head_written += u8::try_from(head).unwrap_or(0);
        let plain = (count - head).min(self.owed);
        self.owed -= plain;
        plain
    }

    fn wrote_control(&mut self, count: usize) {
        let Some(control) = &mut self.control else { return };
        control.written += count;
        if control.written < control.current.len() {
            return;
        }
        self.closed |= control.current_is_close;
        if self.closed || control.pong.is_none() && control.close.is_none() {
            self.control = None;
        } else {
            control.current.clear();
        }
    }
}

impl Control {
    /// The rest of the frame that is being written, or the next.
    fn frame(&mut self) -> &[u8] {
        if self.current.is_empty() {
            self.written = 0;
            self.current_is_close = self.pong.is_none();
            self.current = self.pong.take().or_else(|| self.close.take()).unwrap_or_default();
        }
        self.current.get(self.written..).unwrap_or_default()
    }
}

fn control_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let payload = payload.get(..CONTROL_BYTES_MAX).unwrap_or(payload);
    let mut frame = Vec::with_capacity(2 + payload.len());
    frame.push(first);
    frame.push(u8::try_from(payload.len()).unwrap_or(0));
    frame.extend_from_slice(payload);
    frame
}

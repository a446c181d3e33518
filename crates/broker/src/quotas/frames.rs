//! The packets in what was read, without looking into them.

use dunlin_codec::{DecodeLimits, FrameLen, PacketType, frame_len};

/// A whole packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Frame {
    pub(super) bytes: u64,
    /// 1 for a PUBLISH, 0 for any other packet.
    pub(super) messages: u64,
}

/// Some packets together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Count {
    pub(super) frames: usize,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Count {
    pub(super) fn of(frames: impl Iterator<Item = Frame>) -> Self {
        frames.fold(Self::default(), Self::and)
    }

    pub(super) const fn and(self, frame: Frame) -> Self {
        Self {
            frames: self.frames + 1,
            messages: self.messages + frame.messages,
            bytes: self.bytes + frame.bytes,
        }
    }
}

/// The whole packets at the front of `data`, up to what is incomplete or no packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames<'a> {
    data: &'a [u8],
    limits: &'a DecodeLimits,
}

impl<'a> Frames<'a> {
    pub(super) const fn new(data: &'a [u8], limits: &'a DecodeLimits) -> Self {
        Self { data, limits }
    }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let first = self.data.first()?;
        let Ok(FrameLen::Complete(len)) = frame_len(self.data, self.limits) else { return None };
        self.data = self.data.get(len..)?;
        let is_message = first >> 4 == PacketType::Publish as u8;
        Some(Frame { bytes: len as u64, messages: u64::from(is_message) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_packets_are_found_up_to_what_is_none() {
        let limits = DecodeLimits::default();
        let ping = Frame { bytes: 2, messages: 0 };
        let publish = Frame { bytes: 5, messages: 1 };
        for (data, expected) in [
            (&b""[..], vec![]),
            (b"\xC0\x00", vec![ping]),
            (b"\xC0\x00\x30\x03\x00\x01a\xC0\x00", vec![ping, publish, ping]),
            (b"\x30\x03\x00\x01a\x30\x03\x00\x01", vec![publish]),
            (b"\xC0\x00\x30\xFF\xFF\xFF\xFF\x01", vec![ping]),
        ] {
            assert_eq!(Frames::new(data, &limits).collect::<Vec<_>>(), expected, "{data:?}");
        }
        let count = Count::of(Frames::new(b"\x30\x03\x00\x01a\xC0\x00", &limits));
        assert_eq!(count, Count { frames: 2, messages: 1, bytes: 7 });
    }
}

//! What a message carries: the stream, its number in it, when it was due, and bytes that nobody may change.

pub(crate) const HEAD: usize = 16;

/// The first 16 bytes of a payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    pub(crate) stream: u32,
    pub(crate) number: u32,
    /// Nanoseconds of the run.
    pub(crate) time: u64,
}

impl Stamp {
    #[inline]
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (stream, rest) = payload.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        Some(Self {
            stream: u32::from_le_bytes(*stream),
            number: u32::from_le_bytes(*number),
            time: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }

    #[inline]
    pub(crate) fn bytes(self) -> [u8; HEAD] {
        let number = u64::from(self.number) << 32 | u64::from(self.stream);
        (u128::from(self.time) << 64 | u128::from(number)).to_le_bytes()
    }
}

/// What follows the stamp in every payload of `length` bytes.
pub(crate) fn filler(length: usize) -> Vec<u8> {
    (0..=u8::MAX)
        .map(|byte| byte.wrapping_mul(31).wrapping_add(7))
        .cycle()
        .take(length - HEAD)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_written() {
        let stamp = Stamp { stream: 0x0102_0304, number: 0x0506_0708, time: 0x090a_0b0c_0d0e_0f10 };
        assert_eq!(stamp.bytes(), [4, 3, 2, 1, 8, 7, 6, 5, 0x10, 0xf, 0xe, 0xd, 0xc, 0xb, 0xa, 9]);
        assert_eq!(Stamp::read(&stamp.bytes()), Some(stamp));
        assert_eq!(Stamp::read(&[0; 15]), None);
    }
}

//! The parts that records are made of: numbers of variable length, checksums, and reading with bounds.

use crc32c::crc32c_append;

/// Appends a number in groups of seven bits, lowest first; the highest bit of a byte says that more follow.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7F);
            return;
        }
        out.push(low | 0x80);
    }
}

/// A number that may be negative, as one that is not: small ones of either sign stay small.
pub(super) const fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Bytes with their length before them.
pub(super) fn put_field(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The checksum of several pieces, one behind the other.
pub(super) fn checksum(pieces: &[&[u8]]) -> u32 {
    pieces.iter().fold(0, |crc, piece| crc32c_append(crc, piece))
}

/// Appends the checksum of `key` and of what `out` holds from `start` on.
pub(super) fn seal(out: &mut Vec<u8>, start: usize, key: &[&[u8]]) {
    let crc = checksum(key);
    let crc = crc32c_append(crc, out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

/// What stands before the checksum, if that is right.
pub(super) fn unseal<'a>(sealed: &'a [u8], key: &[&[u8]]) -> Option<&'a [u8]> {
    let (bytes, crc) = sealed.split_last_chunk()?;
    (crc32c_append(checksum(key), bytes) == u32::from_le_bytes(*crc)).then_some(bytes)
}

/// Reads what was written; `None` from the first thing on that is not there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn u32_varint(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn field(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        self.take(len)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Nothing may be left.
    pub(super) const fn end(&self) -> Option<()> {
        if self.0.is_empty() { Some(()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut bytes = Bytes(&out);
            assert_eq!((bytes.varint(), bytes.end()), (Some(value), Some(())));
            let signed = value.cast_signed();
            assert_eq!(unzigzag(zigzag(signed)), signed);
        }
        assert_eq!((zigzag(0), zigzag(-1), zigzag(1)), (0, 1, 2));
    }

    #[test]
    fn what_is_cut_or_too_long_is_not_read() {
        assert_eq!(Bytes(&[0x80]).varint(), None);
        assert_eq!(Bytes(&[0xFF; 10]).varint(), None);
        assert_eq!(Bytes(&[5, 1, 2]).field(), None);
        assert_eq!(Bytes(&[1, 2, 3]).u32(), None);
    }

    #[test]
    fn a_seal_covers_key_and_bytes() {
        let mut out = vec![9, 1, 2, 3];
        seal(&mut out, 1, &[b"key"]);
        let sealed = &out[1..];
        assert_eq!(unseal(sealed, &[b"key"]), Some(&[1, 2, 3][..]));
        assert_eq!(unseal(sealed, &[b"yek"]), None);
        for place in 0..sealed.len() {
            let mut flipped = sealed.to_vec();
            flipped[place] ^= 1;
            assert_eq!(unseal(&flipped, &[b"key"]), None);
        }
    }
}

//! The levels of a Topic Name or Topic Filter.

use core::iter::FusedIterator;
use core::str::Split;

/// The byte between two levels.
pub(crate) const SEPARATOR: u8 = b'/';

/// The levels of a Topic Name or Topic Filter, from the root on.
///
/// There is always one level more than there are separators, and a level may be empty: `/a//` has
/// four, of which only the second has characters.
#[derive(Clone, Debug)]
pub struct Levels<'a>(Split<'a, char>);

impl<'a> Levels<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self(text.split('/'))
    }
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0.next()
    }
}

impl DoubleEndedIterator for Levels<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}

impl FusedIterator for Levels<'_> {}

/// How many levels there are in the bytes of a name or filter.
pub(crate) fn count(bytes: &[u8]) -> usize {
    1 + bytes.iter().filter(|&&byte| byte == SEPARATOR).count()
}

/// How many bytes the first level of `rest` has, which may be all of it.
///
/// Lookups do little else than look for separators, so this takes eight bytes at a time.
#[inline]
pub(crate) fn first_len(rest: &[u8]) -> usize {
    let (words, tail) = rest.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        if let Some(place) = separator_in(*word) {
            return number * 8 + place;
        }
    }
    let place = tail.iter().position(|&byte| byte == SEPARATOR).unwrap_or(tail.len());
    words.len() * 8 + place
}

/// Where in eight bytes the first separator is.
#[inline]
fn separator_in(word: [u8; 8]) -> Option<usize> {
    const LOWEST: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHEST: u64 = u64::from_le_bytes([0x80; 8]);
    // Zero where a separator is. Of a zero byte the subtraction borrows, so that its highest bit
    // gets set; above the first such byte it may be set by mistake, below it is not.
    let difference = u64::from_le_bytes(word) ^ u64::from_le_bytes([SEPARATOR; 8]);
    let zeros = difference.wrapping_sub(LOWEST) & !difference & HIGHEST;
    (zeros != 0).then_some(zeros.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_level_ends_at_the_first_separator() {
        for len in 0..40 {
            for (fill, other) in [(b'.', b'0'), (0x2F ^ 0x80, 0xAF), (0x01, 0xFF)] {
                let mut rest = alloc::vec![fill; len];
                assert_eq!(first_len(&rest), len);
                for place in (0..len).rev() {
                    rest.fill(fill);
                    rest[place..].fill(other);
                    rest[place] = SEPARATOR;
                    assert_eq!(first_len(&rest), place, "{rest:?}");
                    rest[place..].fill(SEPARATOR);
                    assert_eq!(first_len(&rest), place, "{rest:?}");
                }
            }
        }
    }
}

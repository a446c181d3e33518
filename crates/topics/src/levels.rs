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

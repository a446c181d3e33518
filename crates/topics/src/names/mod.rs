//! From a Topic Filter to names: one filter against all names, with a cursor that can wait.

mod entries;

use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;

use crate::filter::{MULTI_LEVEL, SINGLE_LEVEL, TopicFilter, is_wildcard};
use crate::levels::{self, SEPARATOR};
use crate::name::TopicName;

use entries::Entries;

/// The byte behind the separator. What begins with `a/` lies between `a/` and `a0`.
const BEHIND_SEPARATOR: u8 = SEPARATOR + 1;
/// The byte behind `$`.
const BEHIND_RESERVED: u8 = b'$' + 1;
/// How many names a cursor passes one by one before it jumps: a step to the next entry costs a
/// small part of a search from the root, and most of what does not match is that close.
const PASSED_MAX: u32 = 8;

/// What a [`NameIndex`] keeps: something that has a name, so that the index needs no copy of it.
pub trait Named {
    /// The bytes of its Topic Name, which stay the same as long as an index has it.
    fn name(&self) -> &[u8];
}

/// A name with a value. The name keeps whatever its bytes are a part of.
impl<V> Named for (TopicName, V) {
    fn name(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Entries by their Topic Name, to be asked for all that match a filter.
///
/// They are kept in the order of the bytes of their names, in sorted arrays of at most 64 that hang
/// in one balanced tree. All names below `a/` are neighbours, so that a [`NameCursor`] can jump
/// over what its filter cannot match, and the name it last gave is all it needs to remember,
/// whatever happens to the index meanwhile. Of an entry the index keeps its own size and, in the
/// mean, room for four more in a chunk of some 45.
///
/// ```
/// use dunlin_topics::{NameIndex, TopicFilter, TopicName};
///
/// let mut index = NameIndex::new();
/// for (name, value) in [("home/attic/light", 1), ("home/cellar/light", 2), ("home", 3)] {
///     index.insert((TopicName::try_from(name)?, value));
/// }
///
/// let mut cursor = index.cursor(&TopicFilter::try_from("home/+/light")?);
/// assert_eq!(cursor.next(&index).map(|(_, value)| *value), Some(1));
/// index.remove(b"home/attic/light");
/// assert_eq!(cursor.next(&index).map(|(_, value)| *value), Some(2));
/// assert_eq!(cursor.next(&index), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct NameIndex<E> {
    entries: Entries<E>,
}

impl<E> NameIndex<E> {
    /// An index without names, which has allocated nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Entries::new() }
    }

    /// How many names there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no names.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries, in the order of the bytes of their names.
    #[must_use]
    pub fn iter(&self) -> NameIter<'_, E> {
        NameIter(self.entries.iter())
    }

    /// A cursor in front of the first name that `filter` matches.
    #[must_use]
    pub fn cursor(&self, filter: &TopicFilter) -> NameCursor {
        NameCursor::new(filter.clone())
    }
}

impl<E: Named> NameIndex<E> {
    /// Adds an entry, or puts it into the place of the one with its name and returns that.
    pub fn insert(&mut self, entry: E) -> Option<E> {
        self.entries.insert(entry)
    }

    /// Takes out the entry that has this name.
    pub fn remove(&mut self, name: &[u8]) -> Option<E> {
        self.entries.remove(name)
    }

    /// The entry that has this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&E> {
        self.entries.get(name)
    }
}

impl<E> Default for NameIndex<E> {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts only: an index of a million names is nothing to print.
impl<E> fmt::Debug for NameIndex<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameIndex").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<'a, E> IntoIterator for &'a NameIndex<E> {
    type Item = &'a E;
    type IntoIter = NameIter<'a, E>;

    fn into_iter(self) -> NameIter<'a, E> {
        self.iter()
    }
}

/// All entries of a [`NameIndex`].
pub struct NameIter<'a, E>(entries::Iter<'a, E>);

impl<'a, E> Iterator for NameIter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<E> ExactSizeIterator for NameIter<'_, E> {}
impl<E> FusedIterator for NameIter<'_, E> {}

impl<E> fmt::Debug for NameIter<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameIter").field("left", &self.0.len()).finish_non_exhaustive()
    }
}

/// A place in a replay of the names that match a filter.
///
/// It owns what it needs, the filter and one name, and borrows the index only while it moves, so
/// that a replay can go on hours later. It moves through the names in the order of their bytes and
/// never back. So a name that is there during the whole replay comes exactly once, and one that is
/// added or removed meanwhile at most once. To resume costs one descent in the tree.
#[derive(Clone, Debug)]
pub struct NameCursor {
    filter: TopicFilter,
    /// No name before this one is still to come.
    from: Vec<u8>,
    /// Whether the name that equals `from` came already.
    came: bool,
    done: bool,
}

impl NameCursor {
    /// A cursor in front of the first name that `filter` matches, in whatever index.
    #[must_use]
    pub const fn new(filter: TopicFilter) -> Self {
        Self { filter, from: Vec::new(), came: false, done: false }
    }

    /// The filter whose names come.
    #[must_use]
    pub const fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// Whether the replay has come to its end. Names that are added later do not change that.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// The next entry whose name matches. However rare such names are, the search goes on until one
    /// is found: [`NameCursor::resume`] can be told to stop before.
    pub fn next<'a, E: Named>(&mut self, index: &'a NameIndex<E>) -> Option<&'a E> {
        self.resume(index, usize::MAX).next()
    }

    /// Goes on with the replay for at most `steps_max` steps.
    ///
    /// A step looks at one name, matching or not. The entries whose names match come out of the
    /// iterator; when it ends, [`NameCursor::is_done`] tells the end of the replay from the end of
    /// the steps. The iterator may be dropped at any time: the cursor stands behind its last name.
    pub fn resume<'c, 'a, E: Named>(
        &'c mut self,
        index: &'a NameIndex<E>,
        steps_max: usize,
    ) -> Replay<'c, 'a, E> {
        let entries = index.entries.from(&self.from, self.came);
        Replay { cursor: self, index, entries, last: None, steps: steps_max }
    }
}

/// A stretch of a replay, made by [`NameCursor::resume`].
pub struct Replay<'c, 'a, E> {
    cursor: &'c mut NameCursor,
    index: &'a NameIndex<E>,
    entries: entries::From<'a, E>,
    /// The name that was looked at last.
    last: Option<&'a [u8]>,
    steps: usize,
}

impl<'a, E: Named> Iterator for Replay<'_, 'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        let mut passed = 0;
        while self.steps > 0 && !self.cursor.done {
            self.steps -= 1;
            let Some(entry) = self.entries.next() else {
                self.cursor.done = true;
                break;
            };
            let name = entry.name();
            self.last = Some(name);
            if *name < *self.cursor.from {
                passed += 1;
                if passed == PASSED_MAX {
                    passed = 0;
                    self.entries = self.index.entries.from(&self.cursor.from, self.cursor.came);
                }
                continue;
            }
            passed = 0;
            match judge(self.cursor.filter.as_bytes(), name, &mut self.cursor.from) {
                Verdict::Matches => return Some(entry),
                Verdict::Continue => self.cursor.came = false,
                Verdict::Done => self.cursor.done = true,
            }
        }
        None
    }
}

impl<E> Drop for Replay<'_, '_, E> {
    fn drop(&mut self) {
        let NameCursor { from, came, .. } = &mut *self.cursor;
        if let Some(last) = self.last
            && last >= from.as_slice()
        {
            from.clear();
            from.extend_from_slice(last);
            *came = true;
        }
    }
}

impl<E> fmt::Debug for Replay<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("cursor", &self.cursor)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

/// What a filter says of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Matches,
    /// It does not match; the next that could is not before the place that was written down.
    Continue,
    /// It does not match, and none behind it does.
    Done,
}

/// Holds `name` against `filter`. If it does not match, writes to `from` a place behind `name`
/// such that no name between them matches.
fn judge(filter: &[u8], name: &[u8], from: &mut Vec<u8>) -> Verdict {
    // [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
    if name.first() == Some(&b'$') && filter.first().copied().is_some_and(is_wildcard) {
        return proceed(from, &[], &[BEHIND_RESERVED]);
    }
    // What of the name is in front of, in, and behind the level that is compared.
    let (mut front, mut name_rest, mut filter_rest) = (0, name, filter);
    // The end of the last level that stood under a `+`: the last that could be another.
    let mut single_end = None;
    loop {
        let (filter_level, filter_behind) = cut(filter_rest);
        let (name_level, name_behind) = cut(name_rest);
        let end = front + name_level.len();
        if filter_level == [MULTI_LEVEL] {
            return Verdict::Matches;
        } else if filter_level == [SINGLE_LEVEL] {
            single_end = Some(end);
        } else if filter_level != name_level {
            let above = name.get(..front).unwrap_or_default();
            return match seek_level(from, name, above, filter_level, filter_behind.is_some()) {
                Some(verdict) => verdict,
                None => leave(from, name, single_end),
            };
        }
        match (filter_behind, name_behind) {
            (None, None) => return Verdict::Matches,
            (Some([MULTI_LEVEL]), None) => return Verdict::Matches,
            // With other bytes before the `/`, the level under a `+` could be a different one.
            (Some(_), None) if single_end == Some(end) => return proceed(from, name, &[0]),
            (Some(_), None) => return proceed(from, name, &[SEPARATOR]),
            (None, Some(_)) => return leave(from, name, single_end),
            (Some(filter_behind), Some(name_behind)) => {
                (front, name_rest, filter_rest) = (end + 1, name_behind, filter_behind);
            }
        }
    }
}

/// The first level, and what follows its separator if it has one.
fn cut(rest: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (level, behind) = rest.split_at_checked(levels::first_len(rest)).unwrap_or((rest, &[]));
    (level, behind.strip_prefix(&[SEPARATOR]))
}

/// Proceeds to `level` below `above`, if that is still to come after `name`.
fn seek_level(
    from: &mut Vec<u8>,
    name: &[u8],
    above: &[u8],
    level: &[u8],
    goes_on: bool,
) -> Option<Verdict> {
    let verdict = proceed(from, above, level);
    if from.as_slice() > name {
        return Some(verdict);
    }
    // Such as `a/b` when the name is `a/b-c`: itself gone by, but `a/b/d` is to come.
    from.push(SEPARATOR);
    (goes_on && from.as_slice() > name).then_some(verdict)
}

/// Leaves all that is below the last level that stood under a `+`, for the next such level.
fn leave(from: &mut Vec<u8>, name: &[u8], single_end: Option<usize>) -> Verdict {
    match single_end.and_then(|end| name.get(..end)) {
        Some(single) => proceed(from, single, &[BEHIND_SEPARATOR]),
        None => Verdict::Done,
    }
}

fn proceed(from: &mut Vec<u8>, front: &[u8], back: &[u8]) -> Verdict {
    from.clear();
    from.extend_from_slice(front);
    from.extend_from_slice(back);
    Verdict::Continue
}

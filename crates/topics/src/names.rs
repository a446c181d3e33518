//! From a Topic Filter to names: one filter against all names, with a cursor that can wait.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, btree_map};
use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;
use core::mem;
use core::ops::Bound;

use crate::filter::{MULTI_LEVEL, SINGLE_LEVEL, TopicFilter, is_wildcard};
use crate::levels::{self, SEPARATOR};
use crate::name::TopicName;

/// The byte behind the separator. What begins with `a/` lies between `a/` and `a0`.
const BEHIND_SEPARATOR: u8 = SEPARATOR + 1;
/// The byte behind `$`.
const BEHIND_RESERVED: u8 = b'$' + 1;
/// How many names a cursor passes one by one before it jumps: a step in the tree costs a small
/// part of a descent from its root, and most of what does not match is that close.
const PASSED_MAX: u32 = 8;

/// Values by Topic Name, to be asked for all that match a filter.
///
/// The names are kept in the order of their bytes, in one balanced tree. All names below `a/` are
/// neighbours in it, so that a [`NameCursor`] can jump over what its filter cannot match, and the
/// name it last gave is all it needs to remember, whatever happens to the tree meanwhile.
///
/// ```
/// use dunlin_topics::{NameIndex, TopicFilter, TopicName};
///
/// let mut index = NameIndex::new();
/// for (name, value) in [("home/attic/light", 1), ("home/cellar/light", 2), ("home", 3)] {
///     index.insert(&TopicName::try_from(name)?, value);
/// }
///
/// let mut cursor = index.cursor(&TopicFilter::try_from("home/+/light")?);
/// assert_eq!(cursor.next(&index), Some((&b"home/attic/light"[..], &1)));
/// index.remove(b"home/attic/light");
/// assert_eq!(cursor.next(&index), Some((&b"home/cellar/light"[..], &2)));
/// assert_eq!(cursor.next(&index), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct NameIndex<V> {
    names: BTreeMap<Box<[u8]>, V>,
}

impl<V> NameIndex<V> {
    /// An index without names, which has allocated nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { names: BTreeMap::new() }
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Adds a name, or replaces its value and returns the old one. The bytes of the name are
    /// copied, so that they pin no larger buffer.
    pub fn insert(&mut self, name: &TopicName, value: V) -> Option<V> {
        // Most insertions replace: that way they allocate nothing.
        if let Some(known) = self.names.get_mut(name.as_bytes()) {
            return Some(mem::replace(known, value));
        }
        self.names.insert(name.as_bytes().into(), value)
    }

    /// Takes a name out and returns its value.
    pub fn remove(&mut self, name: &[u8]) -> Option<V> {
        self.names.remove(name)
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        self.names.get(name)
    }

    /// The value of a name, to be changed.
    #[must_use]
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        self.names.get_mut(name)
    }

    /// All names with their values, in the order of the bytes.
    #[must_use]
    pub fn iter(&self) -> NameIter<'_, V> {
        NameIter(self.names.iter())
    }

    /// A cursor in front of the first name that `filter` matches.
    #[must_use]
    pub fn cursor(&self, filter: &TopicFilter) -> NameCursor {
        NameCursor::new(filter.clone())
    }
}

impl<V> Default for NameIndex<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts only: an index of a million names is nothing to print.
impl<V> fmt::Debug for NameIndex<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameIndex").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<'a, V> IntoIterator for &'a NameIndex<V> {
    type Item = (&'a [u8], &'a V);
    type IntoIter = NameIter<'a, V>;

    fn into_iter(self) -> NameIter<'a, V> {
        self.iter()
    }
}

/// All names of a [`NameIndex`] with their values.
pub struct NameIter<'a, V>(btree_map::Iter<'a, Box<[u8]>, V>);

impl<'a, V> Iterator for NameIter<'a, V> {
    type Item = (&'a [u8], &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (&**name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<V> ExactSizeIterator for NameIter<'_, V> {}
impl<V> FusedIterator for NameIter<'_, V> {}

impl<V> fmt::Debug for NameIter<'_, V> {
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

    /// The next name that matches, with its value. However rare such names are, the search goes on
    /// until one is found: [`NameCursor::resume`] can be told to stop before.
    pub fn next<'a, V>(&mut self, index: &'a NameIndex<V>) -> Option<(&'a [u8], &'a V)> {
        self.resume(index, usize::MAX).next()
    }

    /// Goes on with the replay for at most `steps_max` steps.
    ///
    /// A step looks at one name, matching or not. The names that match come out of the iterator;
    /// when it ends, [`NameCursor::is_done`] tells the end of the replay from the end of the
    /// steps. The iterator may be dropped at any time: the cursor stands behind its last name.
    pub fn resume<'c, 'a, V>(
        &'c mut self,
        index: &'a NameIndex<V>,
        steps_max: usize,
    ) -> Replay<'c, 'a, V> {
        let names = index.names.range::<[u8], _>(self.bounds());
        Replay { cursor: self, index, names, last: None, steps: steps_max }
    }

    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let from = self.from.as_slice();
        (if self.came { Bound::Excluded(from) } else { Bound::Included(from) }, Bound::Unbounded)
    }
}

/// A stretch of a replay, made by [`NameCursor::resume`].
pub struct Replay<'c, 'a, V> {
    cursor: &'c mut NameCursor,
    index: &'a NameIndex<V>,
    names: btree_map::Range<'a, Box<[u8]>, V>,
    /// The name that was looked at last.
    last: Option<&'a [u8]>,
    steps: usize,
}

impl<'a, V> Iterator for Replay<'_, 'a, V> {
    type Item = (&'a [u8], &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let mut passed = 0;
        while self.steps > 0 && !self.cursor.done {
            self.steps -= 1;
            let Some((name, value)) = self.names.next() else {
                self.cursor.done = true;
                break;
            };
            self.last = Some(name);
            if **name < *self.cursor.from {
                passed += 1;
                if passed == PASSED_MAX {
                    passed = 0;
                    self.names = self.index.names.range::<[u8], _>(self.cursor.bounds());
                }
                continue;
            }
            passed = 0;
            match judge(self.cursor.filter.as_bytes(), name, &mut self.cursor.from) {
                Verdict::Matches => return Some((name, value)),
                Verdict::Continue => self.cursor.came = false,
                Verdict::Done => self.cursor.done = true,
            }
        }
        None
    }
}

impl<V> Drop for Replay<'_, '_, V> {
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

impl<V> fmt::Debug for Replay<'_, '_, V> {
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

//! Entries in the order of their names: short sorted arrays, in a balanced tree.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, btree_map};
use alloc::vec::Vec;
use core::iter::FusedIterator;
use core::mem;
use core::ops::Bound;
use core::slice;

use super::Named;

/// The most entries of one chunk. An entry that comes or goes moves half a chunk.
const ENTRIES_MAX: usize = 64;
/// A chunk with fewer is joined with the next one, if both together are no more than half full.
const ENTRIES_MIN: usize = ENTRIES_MAX / 4;
/// By how many entries a chunk grows: what is asked for in vain is half of it, wherever chunks were
/// split. A tree with one entry a place would have a third to a half of its places empty.
const GROWTH: usize = 8;

/// The entries.
///
/// Invariants: no chunk is empty. The key of the first is empty; that of any other is behind all
/// names of the chunk before, and not behind any of its own. A chunk is sorted by name, each once.
#[derive(Clone)]
pub(super) struct Entries<E> {
    chunks: BTreeMap<Box<[u8]>, Vec<E>>,
    len: usize,
}

impl<E> Entries<E> {
    pub(super) const fn new() -> Self {
        Self { chunks: BTreeMap::new(), len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> Iter<'_, E> {
        Iter { chunks: self.chunks.values(), entries: [].iter(), left: self.len }
    }
}

impl<E: Named> Entries<E> {
    pub(super) fn get(&self, name: &[u8]) -> Option<&E> {
        let (_, chunk) = self.chunk(name)?;
        chunk.get(find(chunk, name).ok()?)
    }

    /// Puts an entry into its place; gives that which had the same name.
    pub(super) fn insert(&mut self, entry: E) -> Option<E> {
        let name = entry.name();
        let upto = (Bound::Unbounded, Bound::Included(name));
        let chunk = self.chunks.range_mut::<[u8], _>(upto).next_back();
        let Some((_, chunk)) = chunk else {
            let mut first = Vec::with_capacity(GROWTH);
            first.push(entry);
            self.chunks.insert(Box::default(), first);
            self.len = 1;
            return None;
        };
        let place = match find(chunk, name) {
            Ok(place) => {
                let old = chunk.get_mut(place)?;
                return Some(mem::replace(old, entry));
            }
            Err(place) => place,
        };
        self.len += 1;
        if chunk.len() < ENTRIES_MAX {
            put(chunk, place, entry);
            return None;
        }
        let mut back = chunk.split_off(ENTRIES_MAX / 2);
        if place <= chunk.len() {
            put(chunk, place, entry);
        } else {
            put(&mut back, place - chunk.len(), entry);
        }
        fit(chunk);
        fit(&mut back);
        if let Some(first) = back.first() {
            self.chunks.insert(first.name().into(), back);
        }
        None
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<E> {
        let chunk = self.chunk_mut(name)?;
        let place = find(chunk, name).ok()?;
        let entry = chunk.remove(place);
        if chunk.capacity() >= chunk.len() + 2 * GROWTH {
            fit(chunk);
        }
        let is_small = chunk.len() < ENTRIES_MIN;
        self.len -= 1;
        if is_small {
            self.join(name);
        }
        Some(entry)
    }

    /// Joins the chunk in which this name has its place with the next one, if they are small.
    fn join(&mut self, name: &[u8]) {
        let Some((key, chunk)) = self.chunk(name) else { return };
        let len = chunk.len();
        let next = self.chunks.range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded)).next();
        match next {
            Some((next_key, next)) if len == 0 || len + next.len() <= ENTRIES_MAX / 2 => {
                let next_key = next_key.clone();
                let next = self.chunks.remove(&next_key);
                if let (Some(chunk), Some(mut next)) = (self.chunk_mut(name), next) {
                    chunk.reserve_exact(next.len());
                    chunk.append(&mut next);
                    fit(chunk);
                }
            }
            None if len == 0 => {
                self.chunks.pop_last();
            }
            _ => {}
        }
    }

    /// The entries from this name on, with or without the one that has it.
    pub(super) fn from(&self, name: &[u8], excluded: bool) -> From<'_, E> {
        let Some((key, chunk)) = self.chunk(name) else {
            return From { all: self, key: &[], entries: [].iter(), chunks: None };
        };
        let place = match find(chunk, name) {
            Ok(place) => place + usize::from(excluded),
            Err(place) => place,
        };
        let entries = chunk.get(place..).unwrap_or_default().iter();
        From { all: self, key, entries, chunks: None }
    }

    /// The chunk in which this name has its place.
    fn chunk(&self, name: &[u8]) -> Option<(&[u8], &[E])> {
        let upto = (Bound::Unbounded, Bound::Included(name));
        let (key, chunk) = self.chunks.range::<[u8], _>(upto).next_back()?;
        Some((key, chunk))
    }

    fn chunk_mut(&mut self, name: &[u8]) -> Option<&mut Vec<E>> {
        let upto = (Bound::Unbounded, Bound::Included(name));
        self.chunks.range_mut::<[u8], _>(upto).next_back().map(|(_, chunk)| chunk)
    }
}

/// Where the name is, or where it belongs.
fn find<E: Named>(chunk: &[E], name: &[u8]) -> Result<usize, usize> {
    chunk.binary_search_by(|entry| entry.name().cmp(name))
}

fn put<E>(chunk: &mut Vec<E>, place: usize, entry: E) {
    if chunk.len() == chunk.capacity() {
        chunk.reserve_exact(GROWTH);
    }
    chunk.insert(place, entry);
}

/// Gives back what the chunk will not need soon.
fn fit<E>(chunk: &mut Vec<E>) {
    chunk.shrink_to(chunk.len().next_multiple_of(GROWTH));
}

/// All entries.
pub(super) struct Iter<'a, E> {
    chunks: btree_map::Values<'a, Box<[u8]>, Vec<E>>,
    entries: slice::Iter<'a, E>,
    left: usize,
}

impl<'a, E> Iterator for Iter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        let next = match self.entries.next() {
            Some(next) => next,
            None => {
                self.entries = self.chunks.next()?.iter();
                self.entries.next()?
            }
        };
        self.left -= 1;
        Some(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<E> ExactSizeIterator for Iter<'_, E> {}
impl<E> FusedIterator for Iter<'_, E> {}

/// The entries from some name on.
pub(super) struct From<'a, E> {
    all: &'a Entries<E>,
    /// The key of the first chunk.
    key: &'a [u8],
    entries: slice::Iter<'a, E>,
    /// The chunks behind it, once they are needed: a search that jumps on rarely leaves its chunk.
    chunks: Option<btree_map::Range<'a, Box<[u8]>, Vec<E>>>,
}

impl<'a, E> Iterator for From<'a, E> {
    type Item = &'a E;

    #[inline]
    fn next(&mut self) -> Option<&'a E> {
        self.entries.next().or_else(|| self.next_of_next_chunk())
    }
}

impl<'a, E> From<'a, E> {
    #[cold]
    fn next_of_next_chunk(&mut self) -> Option<&'a E> {
        let Self { all, key, .. } = *self;
        let chunks = self.chunks.get_or_insert_with(|| {
            all.chunks.range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded))
        });
        let (_, chunk) = chunks.next()?;
        self.entries = chunk.iter();
        self.entries.next()
    }
}

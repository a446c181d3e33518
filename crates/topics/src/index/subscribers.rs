//! The subscribers of one filter: mostly one, sometimes a hundred thousand.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash};
use core::mem;

use hashbrown::HashTable;

use crate::room::give_back;

/// From this many entries on, keys are found by hash. Below, looking at all of them is as fast.
const HASHED_MIN: usize = 32;
/// Below this many entries the hashes are dropped again. Well apart from [`HASHED_MIN`], so that a
/// subscriber who comes and goes does not build them each time.
const HASHED_KEPT_MIN: usize = 16;

/// The keys that subscribed by one filter, each once, with their values.
#[derive(Debug, Default)]
pub(crate) enum Subscribers<K, V> {
    #[default]
    None,
    One(K, V),
    Many(Box<Many<K, V>>),
}

/// Entries side by side, because visiting all of them is what a lookup does.
#[derive(Debug)]
pub(crate) struct Many<K, V> {
    entries: Vec<(K, V)>,
    /// Where in `entries` each key is, once there are many.
    positions: Option<Box<HashTable<u32>>>,
}

impl<K, V> Subscribers<K, V> {
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Visits every entry, in no order that means anything.
    #[inline]
    pub(crate) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a K, &'a V)) {
        match self {
            Self::None => {}
            Self::One(key, value) => visit(key, value),
            Self::Many(many) => many.entries.iter().for_each(|(key, value)| visit(key, value)),
        }
    }
}

impl<K: Eq + Hash, V> Subscribers<K, V> {
    pub(crate) fn get_mut(&mut self, key: &K, state: &impl BuildHasher) -> Option<&mut V> {
        match self {
            Self::One(only, value) if only == key => Some(value),
            Self::None | Self::One(..) => None,
            Self::Many(many) => {
                let position = many.position(key, state)?;
                many.entries.get_mut(position).map(|(_, value)| value)
            }
        }
    }

    pub(crate) fn get(&self, key: &K, state: &impl BuildHasher) -> Option<&V> {
        match self {
            Self::One(only, value) if only == key => Some(value),
            Self::None | Self::One(..) => None,
            Self::Many(many) => {
                let position = many.position(key, state)?;
                many.entries.get(position).map(|(_, value)| value)
            }
        }
    }

    /// Adds an entry, or replaces the value of the key's own and returns the old one.
    pub(crate) fn insert(&mut self, key: K, value: V, state: &impl BuildHasher) -> Option<V> {
        if let Some(known) = self.get_mut(&key, state) {
            return Some(mem::replace(known, value));
        }
        *self = match mem::take(self) {
            Self::None => Self::One(key, value),
            Self::One(first, first_value) => Self::Many(Box::new(Many {
                entries: Vec::from([(first, first_value), (key, value)]),
                positions: None,
            })),
            Self::Many(mut many) => {
                many.push(key, value, state);
                Self::Many(many)
            }
        };
        None
    }

    /// Takes the entry of `key` out.
    pub(crate) fn remove(&mut self, key: &K, state: &impl BuildHasher) -> Option<V> {
        match mem::take(self) {
            Self::One(only, value) if only == *key => Some(value),
            Self::Many(mut many) => {
                let removed = many.remove(key, state);
                *self = match many.entries.len() {
                    1 => {
                        many.entries.pop().map_or(Self::None, |(key, value)| Self::One(key, value))
                    }
                    _ => Self::Many(many),
                };
                removed
            }
            other @ (Self::None | Self::One(..)) => {
                *self = other;
                None
            }
        }
    }
}

impl<K: Eq + Hash, V> Many<K, V> {
    fn position(&self, key: &K, state: &impl BuildHasher) -> Option<usize> {
        match &self.positions {
            None => self.entries.iter().position(|(known, _)| known == key),
            Some(positions) => {
                let is_key = |&position: &u32| {
                    self.entries.get(position as usize).is_some_and(|(known, _)| known == key)
                };
                positions.find(state.hash_one(key), is_key).map(|&position| position as usize)
            }
        }
    }

    /// Adds an entry of a key that has none.
    fn push(&mut self, key: K, value: V, state: &impl BuildHasher) {
        self.entries.push((key, value));
        if self.positions.is_some() || self.entries.len() >= HASHED_MIN {
            self.note_positions(state);
        }
    }

    /// Notes where the entries are that were not noted yet: those behind all others.
    fn note_positions(&mut self, state: &impl BuildHasher) {
        let Self { entries, positions } = self;
        let positions = positions.get_or_insert_default();
        let rehash = |&position: &u32| hash_at(entries, position, state);
        for position in positions.len()..entries.len() {
            let position = position_number(position);
            positions.insert_unique(rehash(&position), position, rehash);
        }
    }

    /// Takes the entry of `key` out; the last entry takes its place.
    fn remove(&mut self, key: &K, state: &impl BuildHasher) -> Option<V> {
        let hole = self.position(key, state)?;
        let last = self.entries.len() - 1;
        if let Some(positions) = &mut self.positions {
            let hole = position_number(hole);
            let last = position_number(last);
            let last_hash = hash_at(&self.entries, last, state);
            if let Ok(entry) = positions.find_entry(state.hash_one(key), |&known| known == hole) {
                entry.remove();
            }
            if let Some(moved) = positions.find_mut(last_hash, |&known| known == last) {
                *moved = hole;
            }
        }
        let (_, value) = self.entries.swap_remove(hole);
        self.give_back(state);
        Some(value)
    }

    fn give_back(&mut self, state: &impl BuildHasher) {
        let len = self.entries.len();
        if len < self.entries.capacity() / 4 {
            self.entries.shrink_to(len * 2);
        }
        if len < HASHED_KEPT_MIN {
            self.positions = None;
        } else if let Some(positions) = &mut self.positions {
            give_back(positions, |&position| hash_at(&self.entries, position, state));
        }
    }
}

/// The hash of the key at `position`, which is one of an entry.
fn hash_at<K: Hash, V>(entries: &[(K, V)], position: u32, state: &impl BuildHasher) -> u64 {
    let (key, _) = entries.get(position as usize).expect("positions are those of entries");
    state.hash_one(key)
}

fn position_number(position: usize) -> u32 {
    u32::try_from(position).expect("one filter has fewer than 2^32 subscribers")
}

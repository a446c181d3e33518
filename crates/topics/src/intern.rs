//! A number for each level that occurs in a trie, so that a level is kept and compared once.

use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::hash::hash_bytes;
use crate::room::give_back;

/// Stands for the text of a level within one [`Interner`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LevelId(pub(crate) u32);

/// The levels in use, each with its number and the count of its users.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    levels: HashTable<Level>,
    /// Numbers below `next` that stand for no level.
    free: Vec<u32>,
    next: u32,
}

#[derive(Debug)]
struct Level {
    /// Few levels are longer, and those that fit save a jump per lookup.
    text: SmallVec<[u8; 16]>,
    id: LevelId,
    users: u32,
}

impl Interner {
    /// The number of a level, if it is in use.
    #[inline]
    pub(crate) fn find(&self, text: &[u8], state: &impl BuildHasher) -> Option<LevelId> {
        let hash = hash_bytes(state, text);
        self.levels.find(hash, |level| level.text.as_slice() == text).map(|level| level.id)
    }

    /// Counts one more user of a level, and returns its number.
    pub(crate) fn acquire(&mut self, text: &[u8], state: &impl BuildHasher) -> LevelId {
        let hash = hash_bytes(state, text);
        if let Some(level) = self.levels.find_mut(hash, |level| level.text.as_slice() == text) {
            level.users += 1;
            return level.id;
        }
        let id = LevelId(self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        }));
        let level = Level { text: SmallVec::from_slice(text), id, users: 1 };
        self.levels.insert_unique(hash, level, |level| hash_bytes(state, &level.text));
        id
    }

    /// Counts one user less, and forgets the level with the last one.
    pub(crate) fn release(&mut self, text: &[u8], state: &impl BuildHasher) {
        let hash = hash_bytes(state, text);
        let Ok(mut entry) = self.levels.find_entry(hash, |level| level.text.as_slice() == text)
        else {
            debug_assert!(false, "a level is released as often as it was acquired");
            return;
        };
        entry.get_mut().users -= 1;
        if entry.get().users > 0 {
            return;
        }
        let (level, _) = entry.remove();
        if self.levels.is_empty() {
            *self = Self::default();
        } else {
            self.free.push(level.id.0);
            give_back(&mut self.levels, |level| hash_bytes(state, &level.text));
        }
    }

    /// How many levels are in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.levels.len()
    }
}

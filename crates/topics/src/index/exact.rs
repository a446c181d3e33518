//! The filters without wildcards: a hash table, because each matches only the name it is.

use alloc::boxed::Box;
use core::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::hash::hash_bytes;
use crate::index::subscribers::Subscribers;
use crate::room::give_back;

/// Filters without wildcards, and who subscribed by them.
#[derive(Debug)]
pub(super) struct ExactFilters<K, V> {
    table: HashTable<Exact<K, V>>,
}

#[derive(Debug)]
struct Exact<K, V> {
    name: Box<[u8]>,
    subscribers: Subscribers<K, V>,
}

impl<K, V> Exact<K, V> {
    fn hash(&self, state: &impl BuildHasher) -> u64 {
        hash_bytes(state, &self.name)
    }
}

impl<K, V> Default for ExactFilters<K, V> {
    fn default() -> Self {
        Self { table: HashTable::new() }
    }
}

impl<K, V> ExactFilters<K, V> {
    #[inline]
    pub(super) fn find(&self, name: &[u8], state: &impl BuildHasher) -> Option<&Subscribers<K, V>> {
        if self.table.is_empty() {
            return None;
        }
        let exact = self.table.find(hash_bytes(state, name), |exact| *exact.name == *name)?;
        Some(&exact.subscribers)
    }
}

impl<K: Eq + Hash, V> ExactFilters<K, V> {
    pub(super) fn insert(
        &mut self,
        name: &[u8],
        key: K,
        value: V,
        state: &impl BuildHasher,
    ) -> Option<V> {
        let hash = hash_bytes(state, name);
        let exact = self.table.entry(hash, |exact| *exact.name == *name, |exact| exact.hash(state));
        let subscribers = match exact {
            Entry::Occupied(entry) => &mut entry.into_mut().subscribers,
            Entry::Vacant(entry) => {
                let exact = Exact { name: name.into(), subscribers: Subscribers::None };
                &mut entry.insert(exact).into_mut().subscribers
            }
        };
        subscribers.insert(key, value, state)
    }

    pub(super) fn remove(&mut self, name: &[u8], key: &K, state: &impl BuildHasher) -> Option<V> {
        let hash = hash_bytes(state, name);
        let mut entry = self.table.find_entry(hash, |exact| *exact.name == *name).ok()?;
        let subscribers = &mut entry.get_mut().subscribers;
        let removed = subscribers.remove(key, state)?;
        if subscribers.is_empty() {
            entry.remove();
            give_back(&mut self.table, |exact| exact.hash(state));
        }
        Some(removed)
    }
}

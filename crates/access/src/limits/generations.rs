//! A table of what happened lately, which forgets.

use std::borrow::Borrow;
use std::hash::Hash;
use std::time::{Duration, Instant};

use dunlin_topics::KeyedState;
use hashbrown::HashMap;

/// Two tables, of which the older is forgotten when the newer is full or a `span` has passed. An entry that is asked for to be
/// changed moves to the newer. So it lives for one span at least, unless so many others came meanwhile that the newer is full, and for two
/// at the most; and there are never more than twice `entries_max`.
///
/// Its keys come from clients, hence the keyed hash. Forgetting costs no walk through the table, so that whoever fills it on purpose gains nothing but that it forgets.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    newer: HashMap<K, V, KeyedState>,
    older: HashMap<K, V, KeyedState>,
    entries_max: usize,
    span: Duration,
    turned: Option<Instant>,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    pub(super) fn new(entries_max: usize, span: Duration) -> Self {
        let (newer, older) = (HashMap::default(), HashMap::default());
        Self { newer, older, entries_max, span, turned: None }
    }

    /// The entry of a key, made if there is none.
    pub(super) fn entry(&mut self, key: K, now: Instant, make: impl FnOnce() -> V) -> &mut V {
        self.turn(now);
        let before = self.older.remove(&key);
        if !self.newer.contains_key(&key) && self.newer.len() >= self.entries_max {
            self.forget(now);
        }
        self.newer.entry(key).or_insert_with(|| before.unwrap_or_else(make))
    }

    /// The entry of a key, if there is one.
    pub(super) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, now: Instant) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.turn(now);
        let Self { newer, older, .. } = self;
        newer.get_mut(key).or_else(|| older.get_mut(key))
    }

    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.newer.remove(key);
        self.older.remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }

    fn turn(&mut self, now: Instant) {
        let turned = *self.turned.get_or_insert(now);
        let passed = now.saturating_duration_since(turned);
        if passed < self.span {
            return;
        }
        self.forget(now);
        if passed >= self.span * 2 {
            self.older = HashMap::default();
        }
    }

    fn forget(&mut self, now: Instant) {
        self.older = std::mem::take(&mut self.newer);
        self.turned = Some(now);
    }
}

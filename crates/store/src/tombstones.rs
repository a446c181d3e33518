//! The newest removals of retained messages.

use std::collections::VecDeque;

use dunlin_codec::TopicName;
use hashbrown::{Equivalent, HashMap};

use crate::id::NamespaceNo;

/// How many removals of retained messages a store remembers, so that an older message that comes later does not bring
/// the topic back. A submission would have to be overtaken by more removals than this to do harm; the memory they take
/// is at most some 20 MB.
pub const TOMBSTONES_MAX: usize = 65_536;

type Key = (NamespaceNo, TopicName);

/// A key to look for: a topic that was never cloned is one allocation less, and most never have to be.
#[derive(Hash)]
struct Sought<'a>(NamespaceNo, &'a TopicName);

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, (namespace, topic): &Key) -> bool {
        self.0 == *namespace && self.1 == topic
    }
}

/// The numbers of the newest removals. A topic that has a message again may still be here, with a lower number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones {
    numbers: HashMap<Key, u64>,
    /// Oldest first, at most [`TOMBSTONES_MAX`]; some may be out of date, as their topic was removed again.
    order: VecDeque<(Key, u64)>,
}

impl Tombstones {
    pub(crate) fn number(&self, namespace: NamespaceNo, topic: &TopicName) -> Option<u64> {
        if self.numbers.is_empty() {
            return None;
        }
        self.numbers.get(&Sought(namespace, topic)).copied()
    }

    pub(crate) fn insert(&mut self, key: Key, number: u64) {
        if self.order.len() == TOMBSTONES_MAX
            && let Some((oldest, number)) = self.order.pop_front()
            && self.number(oldest.0, &oldest.1) == Some(number)
        {
            self.numbers.remove(&oldest);
        }
        self.numbers.insert(key.clone(), number);
        self.order.push_back((key, number));
    }
}

//! The newest removals of retained messages.

use std::collections::{HashMap, VecDeque};

use dunlin_codec::TopicName;

use crate::id::NamespaceNo;

/// How many removals of retained messages a store remembers, so that an older message that comes later does not bring
/// the topic back. A submission would have to be overtaken by more removals than this to do harm; the memory they take
/// is at most some 20 MB.
pub const TOMBSTONES_MAX: usize = 65_536;

type Key = (NamespaceNo, TopicName);

/// The numbers of the newest removals. A topic that has a message again may still be here, with a lower number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones {
    numbers: HashMap<Key, u64>,
    /// Oldest first, at most [`TOMBSTONES_MAX`]; some may be out of date, as their topic was removed again.
    order: VecDeque<(Key, u64)>,
}

impl Tombstones {
    pub(crate) fn number(&self, key: &Key) -> Option<u64> {
        self.numbers.get(key).copied()
    }

    pub(crate) fn insert(&mut self, key: Key, number: u64) {
        if self.order.len() == TOMBSTONES_MAX
            && let Some((oldest, number)) = self.order.pop_front()
            && self.number(&oldest) == Some(number)
        {
            self.numbers.remove(&oldest);
        }
        self.numbers.insert(key.clone(), number);
        self.order.push_back((key, number));
    }
}

//! Retained messages, in which the higher number wins.

use std::collections::BTreeMap;

use dunlin_codec::TopicName;

use crate::backend::RetainedRecord;
use crate::id::NamespaceNo;
use crate::tombstones::Tombstones;

type Key = (NamespaceNo, TopicName);

#[derive(Clone, Debug, Default)]
pub(super) struct RetainedTable {
    records: BTreeMap<Key, RetainedRecord>,
    tombstones: Tombstones,
    /// Above every number seen.
    next: u64,
}

impl RetainedTable {
    pub(super) fn put(&mut self, record: RetainedRecord) {
        let key = (record.namespace, record.message.topic.clone());
        if self.is_outdated(&key, record.number) {
            return;
        }
        self.records.insert(key, record);
    }

    pub(super) fn remove(&mut self, namespace: NamespaceNo, topic: &TopicName, number: u64) {
        let key = (namespace, topic.clone());
        if self.is_outdated(&key, number) {
            return;
        }
        self.records.remove(&key);
        self.tombstones.insert(key, number);
    }

    pub(super) fn get(&self, namespace: NamespaceNo, topic: &TopicName) -> Option<&RetainedRecord> {
        self.records.get(&(namespace, topic.clone()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RetainedRecord> {
        self.records.values()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// No submission is older than the opening of the store, so nothing can bring back what was removed before.
    pub(super) fn forget_removals(&mut self) {
        self.tombstones = Tombstones::default();
    }

    fn is_outdated(&mut self, key: &Key, number: u64) -> bool {
        self.next = self.next.max(number.saturating_add(1));
        let stored = self.records.get(key).map(|record| record.number);
        let newest = stored.or_else(|| self.tombstones.number(key));
        newest.is_some_and(|newest| number <= newest)
    }
}

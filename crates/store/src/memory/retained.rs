//! Retained messages, in which the higher number wins.

use std::hash::BuildHasher;

use dunlin_codec::TopicName;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::backend::RetainedRecord;
use crate::id::NamespaceNo;
use crate::tombstones::Tombstones;

/// The table is in so many parts, each of which grows by itself: so that growing moves a part of the records only,
/// however many there are.
const PARTS: usize = 256;

/// The records, found by the namespace and the topic of their message: the one place in which the topic stands. Boxed,
/// so that an empty place costs nine bytes.
#[derive(Clone, Debug)]
pub(super) struct RetainedTable {
    parts: Box<[HashTable<Box<RetainedRecord>>]>,
    hasher: DefaultHashBuilder,
    tombstones: Tombstones,
    /// Above every number seen.
    next: u64,
}

impl Default for RetainedTable {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| HashTable::new()).collect(),
            hasher: DefaultHashBuilder::default(),
            tombstones: Tombstones::default(),
            next: 0,
        }
    }
}

impl RetainedTable {
    pub(super) fn put(&mut self, record: RetainedRecord) {
        self.saw(record.number);
        let (namespace, topic) = (record.namespace, &record.message.topic);
        let hash = hash(&self.hasher, namespace, topic);
        let Some(part) = self.parts.get_mut(part(hash)) else { return };
        let entry = part.entry(
            hash,
            |other| is_of(other, namespace, topic),
            |other| self::hash(&self.hasher, other.namespace, &other.message.topic),
        );
        match entry {
            Entry::Occupied(mut entry) => {
                if record.number > entry.get().number {
                    **entry.get_mut() = record;
                }
            }
            Entry::Vacant(entry) => {
                let removed = self.tombstones.number(namespace, topic);
                if removed.is_none_or(|removed| record.number > removed) {
                    entry.insert(Box::new(record));
                }
            }
        }
    }

    pub(super) fn remove(&mut self, namespace: NamespaceNo, topic: &TopicName, number: u64) {
        self.saw(number);
        let hash = hash(&self.hasher, namespace, topic);
        let Some(part) = self.parts.get_mut(part(hash)) else { return };
        let newest = match part.find_entry(hash, |other| is_of(other, namespace, topic)) {
            Ok(entry) if entry.get().number >= number => return,
            Ok(entry) => {
                entry.remove();
                None
            }
            Err(_) => self.tombstones.number(namespace, topic),
        };
        if newest.is_none_or(|newest| number > newest) {
            self.tombstones.insert((namespace, topic.clone()), number);
        }
    }

    pub(super) fn get(&self, namespace: NamespaceNo, topic: &TopicName) -> Option<&RetainedRecord> {
        let hash = hash(&self.hasher, namespace, topic);
        let part = self.parts.get(part(hash))?;
        part.find(hash, |other| is_of(other, namespace, topic)).map(|record| &**record)
    }

    /// All of them, by namespace and topic.
    pub(super) fn sorted(&self) -> Vec<&RetainedRecord> {
        let mut records: Vec<&RetainedRecord> =
            self.parts.iter().flat_map(|part| part.iter().map(|record| &**record)).collect();
        records.sort_unstable_by_key(|record| (record.namespace, &record.message.topic));
        records
    }

    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// No submission is older than the opening of the store, so nothing can bring back what was removed before.
    pub(super) fn forget_removals(&mut self) {
        self.tombstones = Tombstones::default();
    }

    fn saw(&mut self, number: u64) {
        self.next = self.next.max(number.saturating_add(1));
    }
}

fn hash(hasher: &DefaultHashBuilder, namespace: NamespaceNo, topic: &TopicName) -> u64 {
    hasher.hash_one((namespace, topic))
}

/// The part of a hash, by bits that a table does not look at: neither its top seven nor the low ones.
fn part(hash: u64) -> usize {
    usize::from(hash.to_be_bytes()[1])
}

fn is_of(record: &RetainedRecord, namespace: NamespaceNo, topic: &TopicName) -> bool {
    record.namespace == namespace && record.message.topic == *topic
}

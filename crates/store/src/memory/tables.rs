//! The contents of the store in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use dunlin_codec::{PacketId, Text, TopicName};

use super::retained::RetainedTable;
use crate::backend::RetainedRecord;
use crate::cursor::Cursor;
use crate::id::{MessageId, NamespaceNo, SessionNo, UnixMillis};
use crate::record::{Publication, SessionKey, SessionRecord, SubscriptionRecord};

/// Everything in the store.
///
/// Invariants: `keys` is the inverse of `sessions`. A message stands in exactly `waiting > 0` queues' places, and each
/// place names a message that is there.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) namespaces: BTreeMap<NamespaceNo, Text>,
    pub(super) sessions: BTreeMap<SessionNo, Session>,
    pub(super) keys: HashMap<(NamespaceNo, SessionKey), SessionNo>,
    pub(super) messages: BTreeMap<MessageId, Stored>,
    pub(super) retained: RetainedTable,
    pub(super) next_message: MessageId,
    pub(super) next_session: SessionNo,
    pub(super) newest: Option<UnixMillis>,
    pub(super) clean: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) namespace: NamespaceNo,
    pub(super) key: SessionKey,
    pub(super) record: SessionRecord,
    pub(super) subscriptions: BTreeMap<Text, SubscriptionRecord>,
    pub(super) inbound: BTreeSet<PacketId>,
    pub(super) cursor: Cursor,
    /// Place -> message, for places that are not acknowledged.
    pub(super) queue: BTreeMap<u64, MessageId>,
}

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) publication: Arc<Publication>,
    /// Places in queues that name this message.
    pub(super) waiting: usize,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            namespaces: BTreeMap::new(),
            sessions: BTreeMap::new(),
            keys: HashMap::new(),
            messages: BTreeMap::new(),
            retained: RetainedTable::default(),
            next_message: MessageId::FIRST,
            next_session: SessionNo::FIRST,
            newest: None,
            clean: true,
        }
    }
}

impl Session {
    pub(super) fn new(namespace: NamespaceNo, key: SessionKey, record: SessionRecord) -> Self {
        Self {
            namespace,
            key,
            record,
            subscriptions: BTreeMap::new(),
            inbound: BTreeSet::new(),
            cursor: Cursor::default(),
            queue: BTreeMap::new(),
        }
    }
}

impl Tables {
    pub(super) fn publication(&self, id: MessageId) -> Option<Arc<Publication>> {
        self.messages.get(&id).map(|stored| Arc::clone(&stored.publication))
    }

    pub(super) fn retained(
        &self,
        namespace: NamespaceNo,
        topic: &TopicName,
    ) -> Option<RetainedRecord> {
        self.retained.get(namespace, topic).cloned()
    }

    /// From here on, only [`Tables::close`] makes the store one that was left in order.
    pub(super) fn reopen(&mut self) {
        self.clean = false;
        self.retained.forget_removals();
    }

    pub(super) const fn close(&mut self) {
        self.clean = true;
    }

    pub(super) fn fmt_summary(&self, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("sessions", &self.sessions.len())
            .field("messages", &self.messages.len())
            .field("retained", &self.retained.len())
            .field("next_message", &self.next_message)
            .finish_non_exhaustive()
    }
}

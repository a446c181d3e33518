//! What each change does to the tables.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::tables::{Session, Stored, Tables};
use crate::backend::RetainedRecord;
use crate::batch::Batch;
use crate::change::Change;
use crate::id::{MessageId, NamespaceNo, SessionNo, UnixMillis};
use crate::record::{Publication, SessionKey, SessionRecord, Target};

impl Tables {
    /// Applies a whole batch. Fails only by a panic over a broken promise of the submitter, so it is all or nothing.
    pub(super) fn apply(&mut self, batch: &Batch) {
        self.clean = false;
        for change in batch.changes() {
            self.apply_change(change);
        }
        self.next_message = self.next_message.max(batch.next_id());
    }

    fn apply_change(&mut self, change: &Change) {
        match change {
            Change::NamespaceOpened { namespace, name } => {
                self.namespaces.insert(*namespace, name.clone());
            }
            Change::SessionOpened { session, namespace, key, record } => {
                self.open_session(*session, *namespace, key, record);
            }
            Change::SessionUpdated { session, record } => self.update_session(*session, record),
            Change::SessionEnded { session } => self.end_session(*session),
            Change::WillTaken { session } => {
                self.with_session(*session, |found| found.record.will = None)
            }
            Change::Subscribed { session, filter, record } => {
                self.with_session(*session, |found| {
                    found.subscriptions.insert(filter.clone(), *record);
                })
            }
            Change::Unsubscribed { session, filter } => self.with_session(*session, |found| {
                found.subscriptions.remove(filter);
            }),
            Change::Published { id, publication } => self.publish(*id, publication),
            Change::HandedOver { id, from, from_seq, to } => {
                self.hand_over(*id, *from, *from_seq, to)
            }
            Change::Acknowledged { session, first, last } => {
                self.acknowledge(*session, *first, *last)
            }
            Change::OutboundReleased { session, seq } => {
                self.with_session(*session, |found| found.cursor.release(*seq));
            }
            Change::InboundStored { session, packet_id } => self.with_session(*session, |found| {
                found.inbound.insert(*packet_id);
            }),
            Change::InboundReleased { session, packet_id } => {
                self.with_session(*session, |found| {
                    found.inbound.remove(packet_id);
                })
            }
            Change::Retained { namespace, number, message, stored_at, expires_at } => {
                self.saw(Some(*stored_at));
                self.retained.put(RetainedRecord {
                    namespace: *namespace,
                    message: Arc::clone(message),
                    number: *number,
                    stored_at: *stored_at,
                    expires_at: *expires_at,
                });
            }
            Change::Unretained { namespace, topic, number, removed_at } => {
                self.saw(Some(*removed_at));
                self.retained.remove(*namespace, topic, *number);
            }
        }
    }
}

/// Sessions.
impl Tables {
    fn open_session(
        &mut self,
        session: SessionNo,
        namespace: NamespaceNo,
        key: &SessionKey,
        record: &SessionRecord,
    ) {
        assert!(!self.sessions.contains_key(&session), "session number {session} is in use");
        self.next_session = self.next_session.max(session.next().unwrap_or(session));
        self.saw(record.disconnected_at);
        if let Some(older) = self.keys.insert((namespace, key.clone()), session) {
            self.discard_session(older);
        }
        self.sessions.insert(session, Session::new(namespace, key.clone(), record.clone()));
    }

    fn update_session(&mut self, session: SessionNo, record: &SessionRecord) {
        self.saw(record.disconnected_at);
        self.with_session(session, |found| found.record = record.clone());
    }

    fn end_session(&mut self, session: SessionNo) {
        if let Some(found) = self.discard_session(session) {
            self.keys.remove(&(found.namespace, found.key));
        }
    }

    /// Takes out a session and its queue, and leaves its key to the caller.
    fn discard_session(&mut self, session: SessionNo) -> Option<Session> {
        let found = self.sessions.remove(&session)?;
        for id in found.queue.values() {
            self.forget_place(*id);
        }
        Some(found)
    }

    fn with_session(&mut self, session: SessionNo, change: impl FnOnce(&mut Session)) {
        if let Some(found) = self.sessions.get_mut(&session) {
            change(found);
        }
    }

    fn saw(&mut self, time: Option<UnixMillis>) {
        self.newest = self.newest.max(time);
    }
}

/// Queues.
impl Tables {
    fn publish(&mut self, id: MessageId, publication: &Arc<Publication>) {
        self.saw(Some(publication.published_at));
        let waiting = publication.targets.iter().filter(|target| self.enqueue(id, target)).count();
        if waiting > 0 {
            let publication = Arc::clone(publication);
            self.messages.insert(id, Stored { publication, waiting });
        }
    }

    fn hand_over(&mut self, id: MessageId, from: SessionNo, from_seq: u64, to: &Target) {
        let Some(old) = self.sessions.get(&from).and_then(|found| found.queue.get(&from_seq))
        else {
            return;
        };
        let Some(publication) = self.publication(*old) else {
            return;
        };
        if self.enqueue(id, to) {
            let publication = Arc::new(Publication {
                targets: vec![to.clone()],
                ..Publication::clone(&publication)
            });
            self.messages.insert(id, Stored { publication, waiting: 1 });
            self.acknowledge(from, from_seq, from_seq);
        }
    }

    /// Whether the session is there and still wants the place filled.
    fn enqueue(&mut self, id: MessageId, target: &Target) -> bool {
        let Some(session) = self.sessions.get_mut(&target.session) else {
            return false;
        };
        if session.cursor.is_acknowledged(target.seq) {
            return false;
        }
        let taken = session.queue.insert(target.seq, id);
        // Two messages at one place would mean that one of them is lost, though it will be acknowledged.
        assert!(taken.is_none(), "place {} of session {} is taken", target.seq, target.session);
        true
    }

    fn acknowledge(&mut self, session: SessionNo, first: u64, last: u64) {
        let Some(found) = self.sessions.get_mut(&session) else {
            return;
        };
        found.cursor.acknowledge(first, last);
        let mut done = Vec::new();
        while let Some((&seq, &id)) =
            found.queue.range(first..).next().filter(|(seq, _)| **seq <= last)
        {
            found.queue.remove(&seq);
            done.push(id);
        }
        for id in done {
            self.forget_place(id);
        }
    }

    /// One place fewer names the message; with none left it goes.
    fn forget_place(&mut self, id: MessageId) {
        if let Entry::Occupied(mut entry) = self.messages.entry(id) {
            entry.get_mut().waiting -= 1;
            if entry.get().waiting == 0 {
                entry.remove();
            }
        }
    }
}

//! The naive store: lists that are searched from end to end, nothing derived and nothing removed early.

use std::collections::BTreeSet;
use std::sync::Arc;

use dunlin_codec::{PacketId, Text, TopicName};
use dunlin_store::{
    Batch, Change, MessageId, NamespaceNo, Publication, RetainedRecord, SessionKey, SessionNo,
    SessionRecord, SubscriptionRecord, Target,
};

use super::Snapshot;

#[derive(Clone, Debug, Default)]
pub struct Oracle {
    pub sessions: Vec<Session>,
    /// Every message ever stored, each with all its targets.
    pub messages: Vec<(MessageId, Arc<Publication>)>,
    /// Every retained change that won when it came; `None` for a removal.
    pub retained: Vec<(NamespaceNo, TopicName, u64, Option<RetainedRecord>)>,
    pub namespaces: Vec<(NamespaceNo, Text)>,
    pub next_message: u64,
    pub sessions_opened: u32,
    pub highest_retained: u64,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub number: SessionNo,
    pub namespace: NamespaceNo,
    pub key: SessionKey,
    pub record: SessionRecord,
    pub subscriptions: Vec<(Text, SubscriptionRecord)>,
    pub inbound: BTreeSet<PacketId>,
    pub acknowledged: BTreeSet<u64>,
    pub released: BTreeSet<u64>,
}

impl Oracle {
    pub fn apply(&mut self, batch: &Batch) {
        for change in batch.changes() {
            self.apply_change(change);
        }
        self.next_message = self.next_message.max(batch.next_id().0);
    }

    fn apply_change(&mut self, change: &Change) {
        match change.clone() {
            Change::NamespaceOpened { namespace, name } => {
                self.namespaces.retain(|(other, _)| *other != namespace);
                self.namespaces.push((namespace, name));
                self.namespaces.sort();
            }
            Change::SessionOpened { session, namespace, key, record } => {
                self.sessions.retain(|other| (other.namespace, &other.key) != (namespace, &key));
                self.sessions_opened = self.sessions_opened.max(session.0);
                self.sessions.push(Session {
                    number: session,
                    namespace,
                    key,
                    record,
                    subscriptions: Vec::new(),
                    inbound: BTreeSet::new(),
                    acknowledged: BTreeSet::new(),
                    released: BTreeSet::new(),
                });
            }
            Change::SessionUpdated { session, record } => {
                self.with(session, |found| found.record = record)
            }
            Change::SessionEnded { session } => {
                self.sessions.retain(|other| other.number != session)
            }
            Change::WillTaken { session } => self.with(session, |found| found.record.will = None),
            Change::Subscribed { session, filter, record } => self.with(session, |found| {
                found.subscriptions.retain(|(other, _)| *other != filter);
                found.subscriptions.push((filter, record));
            }),
            Change::Unsubscribed { session, filter } => {
                self.with(session, |found| {
                    found.subscriptions.retain(|(other, _)| *other != filter)
                });
            }
            Change::Published { id, publication } => {
                // Targets that are dead on arrival are dead for good: numbers are never used again.
                self.messages.push((id, publication));
            }
            Change::HandedOver { id, from, from_seq, to } => self.hand_over(id, from, from_seq, to),
            Change::Acknowledged { session, first, last } => {
                self.with(session, |found| found.acknowledged.extend(first..=last));
            }
            Change::OutboundReleased { session, seq } => self.with(session, |found| {
                found.released.insert(seq);
            }),
            Change::InboundStored { session, packet_id } => self.with(session, |found| {
                found.inbound.insert(packet_id);
            }),
            Change::InboundReleased { session, packet_id } => self.with(session, |found| {
                found.inbound.remove(&packet_id);
            }),
            Change::Retained { namespace, number, message, stored_at, expires_at } => {
                let topic = message.topic.clone();
                let record = RetainedRecord { namespace, message, number, stored_at, expires_at };
                self.retain(namespace, topic, number, Some(record));
            }
            Change::Unretained { namespace, topic, number, .. } => {
                self.retain(namespace, topic, number, None);
            }
        }
    }

    fn retain(
        &mut self,
        namespace: NamespaceNo,
        topic: TopicName,
        number: u64,
        record: Option<RetainedRecord>,
    ) {
        self.highest_retained = self.highest_retained.max(number);
        let newer = self
            .retained
            .iter()
            .any(|(n, t, other, _)| (n, t) == (&namespace, &topic) && *other >= number);
        if !newer {
            self.retained.push((namespace, topic, number, record));
        }
    }

    fn hand_over(&mut self, id: MessageId, from: SessionNo, from_seq: u64, to: Target) {
        let found = self.messages.iter().find(|(_, publication)| {
            publication
                .targets
                .iter()
                .any(|t| (t.session, t.seq) == (from, from_seq) && self.waits(t))
        });
        let Some((_, publication)) = found else { return };
        if self.waits(&to) {
            let publication = Publication { targets: vec![to], ..Publication::clone(publication) };
            self.messages.push((id, Arc::new(publication)));
            self.with(from, |found| {
                found.acknowledged.insert(from_seq);
            });
        }
    }

    pub fn waits(&self, target: &Target) -> bool {
        self.sessions.iter().any(|session| {
            session.number == target.session && !session.acknowledged.contains(&target.seq)
        })
    }

    /// What is stored under `id`, if any target still waits for it.
    pub fn publication(&self, id: MessageId) -> Option<&Arc<Publication>> {
        let (_, publication) = self.messages.iter().find(|(other, _)| *other == id)?;
        publication.targets.iter().any(|target| self.waits(target)).then_some(publication)
    }

    pub fn retained(&self, namespace: NamespaceNo, topic: &TopicName) -> Option<&RetainedRecord> {
        let newest = self.retained.iter().rfind(|(n, t, ..)| (*n, t) == (namespace, topic));
        newest.and_then(|(.., record)| record.as_ref())
    }

    fn with(&mut self, session: SessionNo, change: impl FnOnce(&mut Session)) {
        if let Some(found) = self.sessions.iter_mut().find(|other| other.number == session) {
            change(found);
        }
    }

    /// Panics where `shown` is not what this oracle holds.
    pub fn assert_shown(&self, shown: &Snapshot) {
        assert_eq!(shown.meta().next_message.0, self.next_message.max(1));
        assert_eq!(shown.meta().next_session.0, self.sessions_opened + 1);
        assert_eq!(shown.namespaces, self.namespaces);
        self.assert_sessions(shown);
        self.assert_messages(shown);
        self.assert_retained(shown);
        self.assert_report(shown);
    }

    fn assert_sessions(&self, shown: &Snapshot) {
        assert_eq!(shown.sessions.len(), self.sessions.len());
        for session in &self.sessions {
            let stored = &shown.sessions[&session.number];
            assert_eq!((stored.namespace, &stored.key), (session.namespace, &session.key));
            assert_eq!(stored.record, session.record);
            let mut subscriptions = session.subscriptions.clone();
            subscriptions.sort_by(|(a, _), (b, _)| a.cmp(b));
            assert_eq!(stored.subscriptions, subscriptions);
            assert!(stored.inbound.iter().eq(&session.inbound));
            session.assert_cursor(&stored.cursor);
        }
    }

    fn assert_messages(&self, shown: &Snapshot) {
        let mut expected = Vec::new();
        for (id, publication) in &self.messages {
            let waiting: Vec<_> =
                publication.targets.iter().filter(|target| self.waits(target)).cloned().collect();
            if !waiting.is_empty() {
                expected.push((*id, publication.message.size(), waiting));
            }
        }
        assert_eq!(shown.messages, expected);
    }

    fn assert_retained(&self, shown: &Snapshot) {
        assert!(shown.meta().next_retained > self.highest_retained || self.highest_retained == 0);
        let mut topics: Vec<_> = self.retained.iter().map(|(n, t, ..)| (*n, t)).collect();
        topics.sort();
        topics.dedup();
        let expected: Vec<_> =
            topics.into_iter().filter_map(|(n, t)| self.retained(n, t)).collect();
        let mut retained: Vec<_> = shown.retained.iter().collect();
        retained
            .sort_by(|a, b| (a.namespace, &a.message.topic).cmp(&(b.namespace, &b.message.topic)));
        assert_eq!(retained, expected);
    }

    fn assert_report(&self, shown: &Snapshot) {
        let report = &shown.report;
        assert_eq!(report.sessions, shown.sessions.len() as u64);
        let subscriptions: usize =
            shown.sessions.values().map(|session| session.subscriptions.len()).sum();
        assert_eq!(report.subscriptions, subscriptions as u64);
        assert_eq!(report.messages, shown.messages.len() as u64);
        let targets: usize = shown.messages.iter().map(|(.., targets)| targets.len()).sum();
        assert_eq!(report.targets, targets as u64);
        assert_eq!(report.retained, shown.retained.len() as u64);
    }
}

impl Session {
    fn assert_cursor(&self, cursor: &dunlin_store::Cursor) {
        let highest = self.acknowledged.last().max(self.released.last()).copied().unwrap_or(0);
        for seq in 1..=highest + 2 {
            assert_eq!(
                cursor.is_acknowledged(seq),
                self.acknowledged.contains(&seq),
                "place {seq}"
            );
            let released = self.released.contains(&seq) && !self.acknowledged.contains(&seq);
            assert_eq!(cursor.is_released(seq), released, "place {seq}");
        }
        assert!(cursor.next_seq() <= highest + 1, "no place is skipped");
        assert!(!cursor.is_acknowledged(cursor.next_seq()), "no place is used twice");
    }
}

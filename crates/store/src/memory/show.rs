//! Recovery: the tables, shown to a visitor.

use super::tables::{Session, Stored, Tables};
use crate::backend::{MessageHeader, Meta, Report, StoredSession, Visitor};
use crate::id::{MessageId, SessionNo};
use crate::record::Target;

/// The memory has no bytes, so no versions of them; a back-end that has counts its own.
const FORMAT: u32 = 1;

impl Tables {
    pub(super) fn show(&self, visitor: &mut dyn Visitor) -> Report {
        visitor.meta(&self.meta());
        for (&namespace, name) in &self.namespaces {
            visitor.namespace(namespace, name);
        }
        let mut report = Report { newest: self.newest, ..Report::default() };
        for (&number, session) in &self.sessions {
            report.sessions += 1;
            report.subscriptions += session.subscriptions.len() as u64;
            visitor.session(session.to_stored(number));
        }
        let mut targets = Vec::new();
        for (&id, stored) in &self.messages {
            self.waiting_targets(id, stored, &mut targets);
            report.messages += 1;
            report.targets += targets.len() as u64;
            visitor.message(&header(id, stored, &targets));
        }
        for retained in self.retained.sorted() {
            report.retained += 1;
            visitor.retained(retained.clone());
        }
        report
    }

    fn meta(&self) -> Meta {
        Meta {
            format: FORMAT,
            clean: self.clean,
            next_message: self.next_message,
            next_session: self.next_session,
            next_retained: self.retained.next(),
        }
    }

    fn waiting_targets(&self, id: MessageId, stored: &Stored, targets: &mut Vec<Target>) {
        targets.clear();
        targets.extend(
            stored.publication.targets.iter().filter(|target| self.waits(id, target)).cloned(),
        );
    }

    fn waits(&self, id: MessageId, target: &Target) -> bool {
        self.sessions
            .get(&target.session)
            .is_some_and(|session| session.queue.get(&target.seq) == Some(&id))
    }
}

impl Session {
    fn to_stored(&self, session: SessionNo) -> StoredSession {
        StoredSession {
            session,
            namespace: self.namespace,
            key: self.key.clone(),
            record: self.record.clone(),
            subscriptions: self
                .subscriptions
                .iter()
                .map(|(filter, record)| (filter.clone(), *record))
                .collect(),
            inbound: self.inbound.iter().copied().collect(),
            cursor: self.cursor.clone(),
        }
    }
}

fn header<'a>(id: MessageId, stored: &Stored, targets: &'a [Target]) -> MessageHeader<'a> {
    let publication = &stored.publication;
    MessageHeader {
        id,
        size: publication.message.size(),
        qos: publication.message.qos,
        published_at: publication.published_at,
        expires_at: publication.expires_at,
        publisher: publication.publisher,
        targets,
    }
}

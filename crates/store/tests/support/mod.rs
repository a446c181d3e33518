//! What the tests share: short constructors, and a visitor that writes down what it sees.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]

pub mod oracle;
pub mod probe;
pub mod subject;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_codec::{
    ClientId, Message, PacketId, Qos, RetainHandling, SubscriptionOptions, Text, TopicName,
};
use dunlin_store::{
    Change, MessageHeader, MessageId, Meta, NamespaceNo, Publication, Report, RetainedRecord,
    SessionKey, SessionNo, SessionRecord, Store, StoredSession, SubscriptionRecord, Target,
    UnixMillis, Visitor, WillRecord,
};

pub fn text(text: &str) -> Text {
    Text::try_from(text).unwrap()
}

pub fn topic(name: &str) -> TopicName {
    TopicName::try_from(name).unwrap()
}

pub fn packet_id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub fn client(name: &str) -> SessionKey {
    SessionKey::Client(ClientId::new(Bytes::copy_from_slice(name.as_bytes())).unwrap())
}

pub fn message(name: &str, payload: &str) -> Arc<Message> {
    Arc::new(Message {
        topic: topic(name),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: None,
    })
}

pub fn target(session: SessionNo, seq: u64) -> Target {
    Target { session, seq, qos: Qos::AtLeastOnce, retain: false, subscription_ids: Box::default() }
}

pub fn publication(payload: &str, targets: Vec<Target>) -> Publication {
    Publication {
        message: message("t", payload),
        published_at: UnixMillis(1_000),
        expires_at: None,
        publisher: None,
        targets,
    }
}

pub fn subscription(qos: Qos) -> SubscriptionRecord {
    SubscriptionRecord {
        options: SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        },
        subscription_id: None,
    }
}

pub fn record(expiry_secs: u32, will: Option<&str>) -> SessionRecord {
    let will = will.map(|payload| WillRecord { message: message("will", payload), delay_secs: 5 });
    SessionRecord { expiry_secs, will, ..SessionRecord::default() }
}

pub fn open(session: SessionNo, name: &str) -> Change {
    let namespace = NamespaceNo::DEFAULT;
    Change::SessionOpened {
        session,
        namespace,
        key: client(name),
        record: record(SessionRecord::NEVER, None),
    }
}

/// Everything a recovery shows, in a form that two stores can be compared by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub meta: Option<Meta>,
    pub namespaces: Vec<(NamespaceNo, Text)>,
    pub sessions: BTreeMap<SessionNo, StoredSession>,
    /// Id, size, waiting targets.
    pub messages: Vec<(MessageId, usize, Vec<Target>)>,
    pub retained: Vec<RetainedRecord>,
    pub report: Report,
}

impl Snapshot {
    /// What `store` shows; checks the order of showing on the way.
    pub fn of(store: &mut dyn Store) -> Self {
        let mut snapshot = Self::default();
        snapshot.report = store.recover(&mut snapshot).unwrap();
        snapshot
    }

    pub fn meta(&self) -> &Meta {
        self.meta.as_ref().unwrap()
    }

    /// The ids of the messages that wait in the queue of `session`, in the order of their places.
    pub fn queue(&self, session: SessionNo) -> Vec<(u64, MessageId)> {
        let mut queue = Vec::new();
        for (id, _, targets) in &self.messages {
            queue.extend(
                targets
                    .iter()
                    .filter(|target| target.session == session)
                    .map(|target| (target.seq, *id)),
            );
        }
        queue
    }
}

impl Visitor for Snapshot {
    fn meta(&mut self, meta: &Meta) {
        assert_eq!(self, &Self::default(), "meta comes first and once");
        self.meta = Some(meta.clone());
    }

    fn namespace(&mut self, namespace: NamespaceNo, name: &Text) {
        assert!(self.meta.is_some() && self.sessions.is_empty());
        self.namespaces.push((namespace, name.clone()));
    }

    fn session(&mut self, session: StoredSession) {
        assert!(self.meta.is_some() && self.messages.is_empty() && self.retained.is_empty());
        assert!(self.sessions.keys().all(|earlier| *earlier < session.session), "sessions rise");
        self.sessions.insert(session.session, session);
    }

    fn message(&mut self, message: &MessageHeader<'_>) {
        assert!(self.retained.is_empty());
        assert!(self.messages.last().is_none_or(|(earlier, ..)| *earlier < message.id), "ids rise");
        assert!(!message.targets.is_empty(), "a message without targets is not in the store");
        for target in message.targets {
            let cursor = &self.sessions[&target.session].cursor;
            assert!(!cursor.is_acknowledged(target.seq));
        }
        self.messages.push((message.id, message.size, message.targets.to_vec()));
    }

    fn retained(&mut self, retained: RetainedRecord) {
        self.retained.push(retained);
    }
}

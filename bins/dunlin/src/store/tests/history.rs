//! What any history leaves in a store comes back from its export.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use dunlin_codec::{
    ClientId, Message, MessageProperties, PacketId, Qos, SubscriptionId, SubscriptionOptions, Text,
    TopicName, UserProperties,
};
use dunlin_store::{
    Batch, Change, DiskOptions, DiskStore, Durability, MemoryStore, MessageId, NamespaceNo,
    Publication, SessionKey, SessionNo, SessionRecord, Store, SubscriptionRecord, Target,
    UnixMillis, WillRecord,
};
use proptest::prelude::*;
use proptest::sample::Index;

use super::{WRITTEN_AT, export, exported, import, imported};

#[derive(Clone, Debug)]
enum Step {
    Open { client: u8, group: bool, tenant: bool, expiry: u32, will: bool, away: Option<u64> },
    End(Index),
    Subscribe(Index, u8, u8, Option<u32>),
    Publish { to: Vec<(Index, u8, bool)>, message: Message, at: u64, expires: bool, from: Index },
    Acknowledge(Index, Index, u64),
    Release(Index, Index),
    HandOver(Index, Index),
    Inbound(Index, u16),
    Retain { tenant: bool, message: Option<Message>, topic: u8, at: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let any_index = any::<Index>;
    prop_oneof![
        3 => (0u8..6, any::<bool>(), any::<bool>(), any::<u32>(), any::<bool>(), any::<Option<u64>>())
            .prop_map(|(client, group, tenant, expiry, will, away)| {
                Step::Open { client, group, tenant, expiry, will, away }
            }),
        1 => any_index().prop_map(Step::End),
        3 => (any_index(), 0u8..4, options(), proptest::option::of(1u32..=268_435_455))
            .prop_map(|(session, filter, options, id)| Step::Subscribe(session, filter, options, id)),
        8 => (
            proptest::collection::vec((any_index(), 1u8..3, any::<bool>()), 1..4),
            message(), any::<u64>(), any::<bool>(), any_index(),
        )
            .prop_map(|(to, message, at, expires, from)| Step::Publish { to, message, at, expires, from }),
        4 => (any_index(), any_index(), 1u64..4)
            .prop_map(|(session, place, count)| Step::Acknowledge(session, place, count)),
        2 => (any_index(), any_index()).prop_map(|(session, place)| Step::Release(session, place)),
        2 => (any_index(), any_index()).prop_map(|(from, to)| Step::HandOver(from, to)),
        2 => (any_index(), 1u16..).prop_map(|(session, id)| Step::Inbound(session, id)),
        3 => (any::<bool>(), proptest::option::of(message()), 0u8..4, any::<u64>())
            .prop_map(|(tenant, message, topic, at)| Step::Retain { tenant, message, topic, at }),
    ]
}

fn options() -> impl Strategy<Value = u8> {
    any::<u8>()
        .prop_filter("Subscription Options", |&bits| SubscriptionOptions::from_bits(bits).is_some())
}

fn message() -> impl Strategy<Value = Message> {
    let text = "[a-zß\u{1F426}\u{7}\"\\\\ ]{0,6}";
    let properties = (
        any::<Option<bool>>(),
        any::<Option<u32>>(),
        proptest::option::of(any::<Vec<u8>>()),
        proptest::option::of(text),
        proptest::collection::vec((text, text), 0..3),
    )
        .prop_map(|(utf8, expiry, correlation, content_type, user)| {
            let pairs = user.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            MessageProperties {
                payload_format_utf8: utf8,
                message_expiry_interval: expiry,
                response_topic: correlation.is_some().then(|| topic(1)),
                correlation_data: correlation.map(Bytes::from),
                content_type: content_type.map(permissive),
                user_properties: UserProperties::from_pairs(pairs).expect("short texts"),
            }
        });
    (0u8..4, any::<Vec<u8>>(), 0u8..3, any::<bool>(), proptest::option::of(properties)).prop_map(
        |(number, payload, qos, retain, properties)| Message {
            topic: topic(number),
            payload: payload.into(),
            qos: Qos::try_from(qos).expect("0, 1 or 2"),
            retain,
            properties: properties.map(Box::new),
        },
    )
}

fn topic(number: u8) -> TopicName {
    TopicName::new(format!("a/{number}/\"ü\\")).expect("a topic")
}

fn permissive(text: String) -> Text {
    Text::with_rules(text, dunlin_codec::TextRules::PERMISSIVE).expect("no U+0000")
}

const TENANT: NamespaceNo = NamespaceNo(3);

/// A store and what a broker would know of it, so that its places and numbers are as a broker gives them.
struct History {
    store: MemoryStore,
    next_id: MessageId,
    next_session: SessionNo,
    next_retained: u64,
    /// The next place of each session.
    sessions: BTreeMap<SessionNo, u64>,
    keys: BTreeMap<(NamespaceNo, SessionKey), SessionNo>,
}

impl History {
    fn new() -> Self {
        let mut history = Self {
            store: MemoryStore::new(),
            next_id: MessageId::FIRST,
            next_session: SessionNo::FIRST,
            next_retained: 1,
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
        };
        let name = Text::copy_from("tenant \"3\"").expect("text");
        history.change(Change::NamespaceOpened { namespace: TENANT, name });
        history
    }

    fn commit(&mut self, fill: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new(self.next_id);
        fill(&mut batch);
        batch.require(Durability::Fsync);
        self.store.commit(&batch).expect("it has no faults");
        self.next_id = batch.next_id();
    }

    fn change(&mut self, change: Change) {
        self.commit(|batch| batch.push(change));
    }

    fn session(&self, index: Index) -> Option<SessionNo> {
        let sessions: Vec<SessionNo> = self.sessions.keys().copied().collect();
        (!sessions.is_empty()).then(|| *index.get(&sessions))
    }

    /// A place that was given, most likely one of the last.
    fn place(&self, session: SessionNo, index: Index) -> Option<u64> {
        let next = *self.sessions.get(&session)?;
        (next > 1).then(|| next - 1 - index.index(usize::try_from(next - 1).expect("few")) as u64)
    }

    fn take_place(&mut self, session: SessionNo) -> u64 {
        let next = self.sessions.get_mut(&session).expect("it is there");
        *next += 1;
        *next - 1
    }

    fn target(&mut self, session: SessionNo, qos: u8, retain: bool) -> Target {
        let ids: Vec<SubscriptionId> =
            retain.then(|| SubscriptionId::new(7)).flatten().into_iter().collect();
        Target {
            session,
            seq: self.take_place(session),
            qos: Qos::try_from(qos).expect("1 or 2"),
            retain,
            subscription_ids: ids.into(),
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Open { client, group, tenant, expiry, will, away } => {
                let namespace = if tenant { TENANT } else { NamespaceNo::DEFAULT };
                let key = if group {
                    SessionKey::Group(Text::copy_from(&format!("$share/g/{client}")).expect("text"))
                } else {
                    SessionKey::Client(ClientId::new(format!("client {client}")).expect("text"))
                };
                let session = self.next_session;
                self.next_session = session.next().expect("few");
                if let Some(older) = self.keys.insert((namespace, key.clone()), session) {
                    self.sessions.remove(&older);
                }
                self.sessions.insert(session, 1);
                let message = Arc::new(Message {
                    topic: topic(0),
                    payload: Bytes::from_static(b"\xff\x00gone"),
                    qos: Qos::AtLeastOnce,
                    retain: true,
                    properties: None,
                });
                let record = SessionRecord {
                    expiry_secs: expiry,
                    owner: if group { "".into() } else { "owner".into() },
                    will: will.then_some(WillRecord { message, delay_secs: expiry / 2 }),
                    disconnected_at: away.map(UnixMillis),
                };
                self.change(Change::SessionOpened { session, namespace, key, record });
            }
            Step::End(index) => {
                if let Some(session) = self.session(index) {
                    self.sessions.remove(&session);
                    self.keys.retain(|_, other| *other != session);
                    self.change(Change::SessionEnded { session });
                }
            }
            Step::Subscribe(index, filter, bits, id) => {
                let Some(session) = self.session(index) else { return };
                let record = SubscriptionRecord {
                    options: SubscriptionOptions::from_bits(bits).expect("filtered"),
                    subscription_id: id.and_then(SubscriptionId::new),
                };
                let filter = Text::copy_from(&format!("a/{filter}/#")).expect("text");
                self.change(Change::Subscribed { session, filter, record });
            }
            Step::Publish { to, message, at, expires, from } => {
                let chosen: BTreeMap<SessionNo, (u8, bool)> = to
                    .into_iter()
                    .filter_map(|(index, qos, retain)| Some((self.session(index)?, (qos, retain))))
                    .collect();
                let targets: Vec<Target> = chosen
                    .into_iter()
                    .map(|(session, (qos, retain))| self.target(session, qos, retain))
                    .collect();
                let publication = Publication {
                    message: Arc::new(message),
                    published_at: UnixMillis(at),
                    expires_at: expires.then_some(UnixMillis(at / 2)),
                    publisher: self.session(from).filter(|_| expires),
                    targets,
                };
                self.commit(|batch| {
                    batch.publish(publication);
                });
            }
            Step::Acknowledge(session, place, count) => {
                let Some(session) = self.session(session) else { return };
                let Some(first) = self.place(session, place) else { return };
                let last = (first + count - 1).min(self.sessions.get(&session).expect("it") - 1);
                self.change(Change::Acknowledged { session, first, last });
            }
            Step::Release(session, place) => {
                let Some(session) = self.session(session) else { return };
                let Some(seq) = self.place(session, place) else { return };
                self.change(Change::OutboundReleased { session, seq });
            }
            Step::HandOver(from, to) => {
                let (Some(from), Some(to)) = (self.session(from), self.session(to)) else { return };
                let Some(from_seq) =
                    self.sessions.get(&from).map(|next| next - 1).filter(|place| *place > 0)
                else {
                    return;
                };
                let target = self.target(to, 1, false);
                self.commit(|batch| {
                    batch.hand_over(from, from_seq, target);
                });
            }
            Step::Inbound(index, id) => {
                let Some(session) = self.session(index) else { return };
                let packet_id = PacketId::new(id).expect("above 0");
                self.change(Change::InboundStored { session, packet_id });
            }
            Step::Retain { tenant, message, topic: number, at } => {
                let number_of = self.next_retained;
                self.next_retained += 1;
                let namespace = if tenant { TENANT } else { NamespaceNo::DEFAULT };
                self.change(match message {
                    Some(message) => Change::Retained {
                        namespace,
                        number: number_of,
                        message: Arc::new(message),
                        stored_at: UnixMillis(at),
                        expires_at: tenant.then_some(UnixMillis(at / 3)),
                    },
                    None => Change::Unretained {
                        namespace,
                        topic: topic(number),
                        number: number_of,
                        removed_at: UnixMillis(at),
                    },
                });
            }
        }
    }
}

fn left_by(steps: Vec<Step>) -> String {
    let mut history = History::new();
    for step in steps {
        history.apply(step);
    }
    exported(&history.store)
}

proptest! {
    #[test]
    fn what_is_imported_exports_the_same(steps in proptest::collection::vec(step(), 0..60)) {
        let first = left_by(steps);
        let (store, _) = imported(&first).expect("what was exported is good");
        prop_assert_eq!(exported(&store), first);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn so_it_does_by_way_of_a_disk(steps in proptest::collection::vec(step(), 0..60)) {
        let first = left_by(steps);
        let folder = Folder::new();
        let mut store = folder.open();
        import(&mut store, &mut first.as_bytes()).expect("what was exported is good");
        store.close().expect("the disk takes it");
        drop(store);
        let mut out = Vec::new();
        export(&mut folder.open(), WRITTEN_AT, &mut out).expect("a Vec takes everything");
        // Its order of retained messages is its own; in memory they are sorted.
        let again = String::from_utf8(out).expect("JSON is UTF-8");
        let (store, _) = imported(&again).expect("what was exported is good");
        prop_assert_eq!(exported(&store), first);
    }
}

/// A data directory that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("dunlin-history-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> DiskStore {
        let mut options = DiskOptions::default();
        options.ballast_bytes = 0;
        DiskStore::open(&self.0, options).expect("the folder is ours")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

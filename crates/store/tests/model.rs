//! Random histories against a naive oracle: what is committed is shown, and nothing else, after every commit, after
//! every restart and from every image.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_codec::Qos;
use dunlin_store::{
    Batch, Change, Durability, MemoryStore, MessageId, NamespaceNo, SessionKey, SessionNo,
    StoreError, Target, UnixMillis,
};
use proptest::collection::vec;
use proptest::prelude::*;

use support::oracle::Oracle;
use support::subject::{Disk, Subject};
use support::{
    Snapshot, client, message, packet_id, publication, record, subscription, text, topic,
};

/// What a history is made of. Small numbers, which the driver turns into something that a broker could ask for.
#[derive(Clone, Debug)]
enum Step {
    OpenNamespace(u32),
    Open { who: u8, will: bool },
    Update { session: u8, expiry_secs: u32, disconnected: bool },
    End { session: u8 },
    TakeWill { session: u8 },
    Subscribe { session: u8, filter: u8, qos: u8 },
    Unsubscribe { session: u8, filter: u8 },
    Publish { to: Vec<u8>, from: Option<(u8, u16)> },
    HandOver { from: u8, place: u8, to: u8 },
    Acknowledge { session: u8, first: u8, count: u8 },
    Release { session: u8, place: u8 },
    ReleaseInbound { session: u8, packet_id: u16 },
    Retain { topic: u8, overtaken_by: u8, clear: bool },
    Commit { fails: bool },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0..8_u8;
    prop_oneof![
        1 => (1..4_u32).prop_map(Step::OpenNamespace),
        4 => (0..6_u8, any::<bool>()).prop_map(|(who, will)| Step::Open { who, will }),
        1 => (session.clone(), 0..9_u32, any::<bool>())
            .prop_map(|(session, expiry_secs, disconnected)| Step::Update { session, expiry_secs, disconnected }),
        1 => session.clone().prop_map(|session| Step::End { session }),
        1 => session.clone().prop_map(|session| Step::TakeWill { session }),
        2 => (session.clone(), 0..4_u8, 0..3_u8)
            .prop_map(|(session, filter, qos)| Step::Subscribe { session, filter, qos }),
        1 => (session.clone(), 0..4_u8).prop_map(|(session, filter)| Step::Unsubscribe { session, filter }),
        8 => (vec(session.clone(), 0..5), proptest::option::of((session.clone(), 1..4_u16)))
            .prop_map(|(to, from)| Step::Publish { to, from }),
        2 => (session.clone(), 0..12_u8, session.clone())
            .prop_map(|(from, place, to)| Step::HandOver { from, place, to }),
        5 => (session.clone(), 0..12_u8, 0..6_u8)
            .prop_map(|(session, first, count)| Step::Acknowledge { session, first, count }),
        2 => (session.clone(), 0..12_u8).prop_map(|(session, place)| Step::Release { session, place }),
        1 => (session, 1..4_u16).prop_map(|(session, packet_id)| Step::ReleaseInbound { session, packet_id }),
        3 => (0..3_u8, 0..3_u8, any::<bool>())
            .prop_map(|(topic, overtaken_by, clear)| Step::Retain { topic, overtaken_by, clear }),
        8 => prop::bool::weighted(0.15).prop_map(|fails| Step::Commit { fails }),
        1 => Just(Step::Reopen),
    ]
}

/// A broker's share of the work: it numbers sessions, places and retained messages.
#[derive(Clone, Debug, Default)]
struct Numbers {
    /// Highest place given out per session; index = session number - 1. Sessions that ended stay, so that changes to
    /// them are tried too.
    places: Vec<u64>,
    retained: u64,
    /// Submissions that number retained messages do not survive a restart: none is overtaken by one.
    retained_when_opened: u64,
}

impl Numbers {
    fn open(&mut self) -> SessionNo {
        self.places.push(0);
        SessionNo(u32::try_from(self.places.len()).unwrap())
    }

    /// One of the newest sessions, ended or not.
    fn session(&self, pick: u8) -> Option<SessionNo> {
        let newest = u32::try_from(self.places.len()).unwrap();
        newest.checked_sub(u32::from(pick)).filter(|number| *number > 0).map(SessionNo)
    }

    fn highest(&self, session: SessionNo) -> u64 {
        self.places[session.0 as usize - 1]
    }

    fn place(&mut self, session: SessionNo) -> u64 {
        let highest = &mut self.places[session.0 as usize - 1];
        *highest += 1;
        *highest
    }
}

struct Driver<S> {
    store: S,
    oracle: Oracle,
    numbers: Numbers,
    /// `numbers` when the last commit ended, to go back to where one fails.
    committed: Numbers,
    batch: Batch,
    /// After each commit: what a kill would have left, and what it should be.
    images: Vec<(S, Oracle)>,
}

impl<S: Subject> Driver<S> {
    fn new() -> Self {
        Self {
            store: S::new(),
            oracle: Oracle::default(),
            numbers: Numbers::default(),
            committed: Numbers::default(),
            batch: Batch::new(MessageId::FIRST),
            images: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Commit { fails } => self.commit(fails),
            Step::Reopen => self.reopen(),
            Step::OpenNamespace(number) => {
                let name = text(&format!("tenant-{number}"));
                self.batch.push(Change::NamespaceOpened { namespace: NamespaceNo(number), name });
            }
            Step::Open { who, will } => self.open(who, will),
            Step::Publish { ref to, from } => self.publish(to, from),
            Step::HandOver { from, place, to } => self.hand_over(from, place, to),
            Step::Retain { topic, overtaken_by, clear } => self.retain(topic, overtaken_by, clear),
            Step::Update { session, .. }
            | Step::End { session }
            | Step::TakeWill { session }
            | Step::Subscribe { session, .. }
            | Step::Unsubscribe { session, .. }
            | Step::Acknowledge { session, .. }
            | Step::Release { session, .. }
            | Step::ReleaseInbound { session, .. } => {
                if let Some(session) = self.numbers.session(session) {
                    self.session_change(session, step);
                }
            }
        }
    }

    fn reopen(&mut self) {
        self.commit(false);
        self.store.reopen();
        let shown = Snapshot::of(self.store.store());
        self.oracle.assert_shown(&shown);
        self.assert_numbers(&shown);
        self.numbers.retained_when_opened = self.numbers.retained;
        self.committed = self.numbers.clone();
    }

    fn session_change(&mut self, session: SessionNo, step: &Step) {
        let highest = self.numbers.highest(session);
        let change = match *step {
            Step::Update { expiry_secs, disconnected, .. } => {
                let mut record = record(expiry_secs, None);
                record.disconnected_at = disconnected.then_some(UnixMillis(5));
                Change::SessionUpdated { session, record }
            }
            Step::End { .. } => Change::SessionEnded { session },
            Step::TakeWill { .. } => Change::WillTaken { session },
            Step::Subscribe { filter, qos, .. } => {
                let record = subscription(Qos::try_from(qos).unwrap());
                Change::Subscribed { session, filter: text(&format!("f/{filter}")), record }
            }
            Step::Unsubscribe { filter, .. } => {
                Change::Unsubscribed { session, filter: text(&format!("f/{filter}")) }
            }
            Step::Acknowledge { first, count, .. } => {
                let first = highest.saturating_sub(u64::from(first)).max(1);
                // Only places that were given out; a count of zero is an empty range.
                let last = (first + u64::from(count)).saturating_sub(1).min(highest);
                Change::Acknowledged { session, first, last }
            }
            Step::Release { place, .. } => {
                let Some(seq) = highest.checked_sub(u64::from(place)).filter(|seq| *seq > 0) else {
                    return;
                };
                Change::OutboundReleased { session, seq }
            }
            Step::ReleaseInbound { packet_id: number, .. } => {
                Change::InboundReleased { session, packet_id: packet_id(number) }
            }
            Step::OpenNamespace(_)
            | Step::Open { .. }
            | Step::Publish { .. }
            | Step::HandOver { .. }
            | Step::Retain { .. }
            | Step::Commit { .. }
            | Step::Reopen => unreachable!("not a change to one session"),
        };
        self.batch.push(change);
    }

    fn open(&mut self, who: u8, will: bool) {
        let session = self.numbers.open();
        let key = if who == 0 {
            SessionKey::Group(text("$share/g/f"))
        } else {
            client(&format!("client-{who}"))
        };
        let namespace = NamespaceNo(u32::from(who) / 4);
        let record = record(100, will.then_some("gone"));
        self.batch.push(Change::SessionOpened { session, namespace, key, record });
    }

    fn publish(&mut self, to: &[u8], from: Option<(u8, u16)>) {
        let mut targets = Vec::new();
        for session in to.iter().filter_map(|pick| self.numbers.session(*pick)).collect::<Vec<_>>()
        {
            targets.push(self.target(session));
        }
        let mut publication = publication(&format!("{}", self.batch.next_id()), targets);
        publication.publisher = from.and_then(|(pick, _)| self.numbers.session(pick));
        if let (Some(session), Some((_, number))) = (publication.publisher, from) {
            self.batch.push(Change::InboundStored { session, packet_id: packet_id(number) });
        }
        self.batch.publish(publication);
    }

    fn hand_over(&mut self, from: u8, place: u8, to: u8) {
        let (Some(from), Some(to)) = (self.numbers.session(from), self.numbers.session(to)) else {
            return;
        };
        let Some(from_seq) =
            self.numbers.highest(from).checked_sub(u64::from(place)).filter(|seq| *seq > 0)
        else {
            return;
        };
        let to = self.target(to);
        self.batch.hand_over(from, from_seq, to);
    }

    fn retain(&mut self, name: u8, overtaken_by: u8, clear: bool) {
        self.numbers.retained += 1;
        let overtaken = self.numbers.retained.saturating_sub(u64::from(overtaken_by));
        let number = overtaken.max(self.numbers.retained_when_opened + 1);
        let name = format!("r/{name}");
        let (namespace, at) = (NamespaceNo::DEFAULT, UnixMillis(number));
        self.batch.push(if clear {
            Change::Unretained { namespace, topic: topic(&name), number, removed_at: at }
        } else {
            let message = message(&name, &number.to_string());
            Change::Retained { namespace, number, message, stored_at: at, expires_at: None }
        });
    }

    fn target(&mut self, session: SessionNo) -> Target {
        support::target(session, self.numbers.place(session))
    }

    fn commit(&mut self, fails: bool) {
        // Something at the end for which a disk has no room in what it has already.
        if fails && let Some(session) = self.numbers.session(0) {
            let target = self.target(session);
            self.batch.publish(publication(&"x".repeat(200_000), vec![target]));
        }
        let mut batch = std::mem::replace(&mut self.batch, Batch::new(MessageId::FIRST));
        // What is asked for less may come with a later commit.
        batch.require(Durability::Fsync);
        let committed = if fails {
            self.store.commit_without_room(&batch)
        } else {
            self.store.store().commit(&batch)
        };
        match committed {
            Ok(()) => {
                self.oracle.apply(&batch);
                self.committed = self.numbers.clone();
            }
            // As a submission does that fails: its numbers are free again, the ids are gone.
            Err(StoreError::Full) if fails => self.numbers = self.committed.clone(),
            Err(error) => panic!("{error}"),
        }
        self.batch = Batch::new(batch.next_id());
        self.images.push((self.store.image(), self.oracle.clone()));
    }

    /// What recovery says is free is above every place in use, and leaves out none but where a hand-over failed.
    fn assert_numbers(&self, shown: &Snapshot) {
        for session in shown.sessions.values() {
            let queued = shown.queue(session.session);
            assert!(queued.is_sorted(), "ids rise with places");
            let last = queued.last().map_or(0, |(seq, _)| *seq);
            let next = session.cursor.next_seq().max(last + 1);
            assert!(
                next <= self.numbers.highest(session.session) + 1,
                "of session {}",
                session.session
            );
        }
    }

    fn assert_reads(&mut self) {
        let ids: Vec<_> = (0..=self.batch.next_id().0).rev().map(MessageId).collect();
        let mut read = BTreeMap::new();
        let mut order = Vec::new();
        self.store.catch_up();
        let mut reader = self.store.store().reader();
        reader
            .read(&ids, &mut |id, publication| {
                order.push(id);
                read.insert(id, publication);
            })
            .unwrap();
        assert_eq!(order, ids, "in the order asked for");
        for id in ids {
            assert_eq!(
                read[&id].as_deref(),
                self.oracle.publication(id).map(Arc::as_ref),
                "message {id}"
            );
        }
        for name in 0..3 {
            let topic = topic(&format!("r/{name}"));
            let retained = reader.read_retained(NamespaceNo::DEFAULT, &topic).unwrap();
            assert_eq!(retained.as_ref(), self.oracle.retained(NamespaceNo::DEFAULT, &topic));
        }
    }
}

fn check<S: Subject>(steps: &[Step]) {
    let mut driver = Driver::<S>::new();
    for step in steps {
        driver.step(step);
    }
    driver.step(&Step::Reopen);
    driver.assert_reads();
    for (mut image, oracle) in driver.images {
        oracle.assert_shown(&Snapshot::of(image.store()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn shows_what_was_committed_after_every_prefix(steps in vec(step(), 1..120)) {
        check::<MemoryStore>(&steps);
    }
}

proptest! {
    // Each commit leaves an image that is opened in the end.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_disk_shows_what_was_committed_after_every_prefix(steps in vec(step(), 1..120)) {
        check::<Disk>(&steps);
    }
}

#[test]
fn a_batch_is_durable_as_its_strictest_part_asks() {
    let mut batch = Batch::new(MessageId::FIRST);
    assert_eq!(batch.durability(), Durability::Memory);
    batch.require(Durability::Fsync);
    batch.require(Durability::Os);
    assert_eq!(batch.durability(), Durability::Fsync);
}

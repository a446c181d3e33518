//! The queue against a list of everything in it.

mod runs;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_codec::{Message, Qos, TopicName};
use dunlin_session::{Delivery, Origin, SubscriptionIds};
use dunlin_store::MessageId;

use super::*;
use crate::persist::{Own, Shared};

/// A small generator of numbers: the same ones for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn size(&mut self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).expect("a small number")
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What the oracle knows of a message.
#[derive(Clone, Debug)]
struct Known {
    delivery: Delivery,
    id: Option<MessageId>,
}

impl Known {
    fn size(&self) -> usize {
        self.delivery.message.size()
    }

    fn seq(&self) -> u64 {
        self.delivery.seq
    }
}

/// A queue, and beside it the list of everything in it.
struct Case {
    random: Random,
    limits: Limits,
    window: Window,
    queue: Queue,
    /// Every message that waits, in order.
    all: VecDeque<Known>,
    /// Messages on their way through the store.
    reserved: VecDeque<Known>,
    sent: VecDeque<Known>,
    sent_last: u64,
    last_seq: u64,
    last_id: u64,
    begun: Instant,
    charge: Charge,
    /// Whether some messages are not in the store.
    mixed: bool,
    /// Messages that may arrive while others are read.
    arrivals: u64,
}

impl Case {
    fn new(seed: u64, overflow: Overflow, mixed: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let limits = Limits {
            queue_messages_max: 5 + random.size(60),
            queue_bytes_max: 500 + random.size(20_000),
            queue_memory_messages_max: 1 + random.size(12),
            queue_memory_bytes_max: 1 + random.size(3_000),
            overflow,
            ..Limits::default()
        };
        let window = Window {
            messages: limits.queue_memory_messages_max,
            bytes: limits.queue_memory_bytes_max,
            closed: false,
            wanted: random.one_in(2),
            store_in_memory: random.one_in(2),
        };
        Self {
            random,
            limits,
            window,
            queue: Queue::default(),
            all: VecDeque::new(),
            reserved: VecDeque::new(),
            sent: VecDeque::new(),
            sent_last: 0,
            last_seq: 0,
            last_id: 0,
            begun: Instant::now(),
            charge: Charge::default(),
            mixed,
            arrivals: 4,
        }
    }

    fn message(&mut self) -> Known {
        let payload = vec![b'x'; self.random.size(900)];
        let expires_at = match self.random.below(6) {
            // Its time has passed already.
            0 => Some(self.begun),
            1 => Some(self.begun + Duration::from_secs(1_000)),
            _ => None,
        };
        let shared = self.mixed && self.random.one_in(8);
        let stored = !(self.mixed && self.random.one_in(8));
        let delivery = Delivery {
            message: Arc::new(Message {
                topic: TopicName::try_from("a/b").expect("a name"),
                payload: payload.into(),
                qos: Qos::AtLeastOnce,
                retain: false,
                properties: None,
            }),
            qos: Qos::AtLeastOnce,
            retain: false,
            subscription_ids: SubscriptionIds::new(),
            seq: 0,
            expires_at,
            sent_before: false,
            origin: if shared { Origin::Shared { group: 1, seq: 0 } } else { Origin::Plain },
        };
        Known { delivery, id: stored.then_some(MessageId(0)) }
    }

    /// The reason for which the queue as the oracle knows it takes nothing of this size.
    fn exceeds(&self, size: usize) -> Option<DropReason> {
        let everything = || self.all.iter().chain(&self.reserved).chain(&self.sent);
        let bytes: usize = everything().map(Known::size).sum();
        if everything().count() >= self.limits.queue_messages_max {
            Some(DropReason::QueueMessages)
        } else {
            (bytes > 0 && bytes + size > self.limits.queue_bytes_max)
                .then_some(DropReason::QueueBytes)
        }
    }

    fn is_expired(&self, known: &Known) -> bool {
        known.delivery.expires_at.is_some_and(|at| at <= self.begun)
    }

    /// Takes out what has expired, as it is to be reported.
    fn expire(&mut self) -> Vec<(DropReason, u64)> {
        let (gone, kept): (VecDeque<Known>, VecDeque<Known>) =
            std::mem::take(&mut self.all).into_iter().partition(|known| self.is_expired(known));
        self.all = kept;
        gone.iter().map(|known| (DropReason::Expired, known.seq())).collect()
    }

    /// A message arrives and gets its room, or the policy acts.
    fn arrive(&mut self) {
        let known = self.message();
        let size = known.size();
        let mut expected = Vec::new();
        if self.exceeds(size).is_some() {
            expected.extend(self.expire());
        }
        let mut outcome = Ok(());
        while let Some(reason) = self.exceeds(size) {
            let refused = match self.limits.overflow {
                Overflow::DropNew => Offered::Dropped,
                Overflow::Disconnect => Offered::Disconnect,
                Overflow::DropOldest => match self.all.pop_front() {
                    Some(oldest) => {
                        expected.push((reason, oldest.seq()));
                        continue;
                    }
                    None => Offered::Dropped,
                },
            };
            outcome = Err((reason, refused));
            break;
        }
        let mut drops = Drops::default();
        assert_eq!(self.queue.reserve(size, &self.limits, &mut drops), outcome);
        assert_eq!(reported(&drops), expected);
        if outcome.is_ok() {
            self.reserved.push_back(known);
        }
    }

    /// The store has taken a message.
    fn commit(&mut self) {
        let Some(mut known) = self.reserved.pop_front() else { return };
        self.queue.release(known.size());
        // Now and then a place stays empty, and other sessions take ids.
        self.last_seq += if self.random.one_in(10) { 1 + self.random.below(70_000) } else { 1 };
        self.last_id += if self.random.one_in(20) { 1 << 33 } else { 1 + self.random.below(9) };
        known.delivery.seq = self.last_seq;
        known.id = known.id.map(|_| MessageId(self.last_id));
        let Delivery { message, expires_at, .. } = known.delivery.clone();
        let shared = Shared { message, expires_at, id: known.id };
        let own = Own::of(known.delivery.clone());
        self.queue.push_stored(Arrival { shared: &shared, own }, self.window);
        self.all.push_back(known);
    }

    /// The pager reads, and meanwhile other things happen.
    fn read(&mut self) {
        let (mut wanted, mut drops) = (Vec::new(), Drops::default());
        let now = Instant::now();
        self.queue.next_to_read(self.window, 5, now, &mut wanted, &mut drops);
        self.forget(&drops);
        let mut read = Vec::new();
        for entry in wanted {
            let known = self.all.iter().find(|known| known.seq() == entry.seq);
            let known = known.expect("what is to be read waits");
            assert_eq!((known.id, known.size()), (Some(entry.id), entry.size));
            read.push((entry, (!self.random.one_in(50)).then(|| known.delivery.clone())));
        }
        for _ in 0..self.random.below(self.arrivals) {
            self.arrive();
            self.commit();
        }
        if self.random.one_in(4) {
            self.drop_expired();
        }
        let lost: Vec<u64> = read
            .iter()
            .filter(|(entry, found)| {
                found.is_none() && self.all.iter().any(|known| known.seq() == entry.seq)
            })
            .map(|(entry, _)| entry.seq)
            .collect();
        let mut drops = Drops::default();
        self.queue.take_read(read.into_iter(), now, &mut drops);
        let said = reported(&drops).into_iter().filter(|(reason, _)| *reason == DropReason::Store);
        assert_eq!(said.map(|(_, seq)| seq).collect::<Vec<_>>(), lost);
        self.forget(&drops);
    }

    /// What the pager dropped was lost, or its time had passed.
    fn forget(&mut self, drops: &Drops) {
        for (reason, seq) in reported(drops) {
            let at = self.all.iter().position(|known| known.seq() == seq);
            let known = self.all.remove(at.expect("what is dropped waits")).expect("it is there");
            assert!(reason == DropReason::Store || self.is_expired(&known), "{reason:?} {known:?}");
        }
    }

    fn drop_expired(&mut self) {
        let expected = self.expire();
        let mut drops = Drops::default();
        self.queue.drop_expired(Instant::now(), &mut drops);
        assert_eq!(reported(&drops), expected);
    }

    /// The client takes some.
    fn send(&mut self, count: u64) {
        for _ in 0..count {
            let Some(Parcel::One(delivery)) = self.queue.pop_to_send(1) else { break };
            let known = self.all.pop_front().expect("what is sent waits");
            assert_eq!(delivery.message, known.delivery.message);
            assert_eq!((delivery.seq, delivery.origin), (known.seq(), known.delivery.origin));
            assert!(delivery.seq > self.sent_last);
            self.sent_last = delivery.seq;
            self.sent.push_back(known);
        }
    }

    fn acknowledge(&mut self) {
        let mut settled = Settled::default();
        for _ in 0..self.random.below(6) {
            settled.add(self.sent.pop_front().map(|known| known.delivery.message).as_deref());
        }
        self.queue.settle(settled);
    }

    fn take_shared(&mut self) {
        let shared = |known: &Known| known.delivery.origin.is_shared();
        let expected: Vec<u64> =
            self.all.iter().filter(|known| shared(known)).map(Known::seq).collect();
        self.all.retain(|known| !shared(known));
        let taken = self.queue.take_where(|delivery| delivery.origin.is_shared());
        assert_eq!(taken.iter().map(|delivery| delivery.seq).collect::<Vec<_>>(), expected);
    }

    fn check(&mut self) {
        let sum = |list: &VecDeque<Known>| list.iter().map(Known::size).sum::<usize>();
        let (waiting, reserved) = (sum(&self.all), sum(&self.reserved));
        assert_eq!(self.queue.messages(), self.all.len() + self.reserved.len());
        assert_eq!(self.queue.bytes(), waiting + reserved);
        assert_eq!(self.queue.is_empty(), self.all.is_empty());
        self.charge += self.queue.take_charge();
        let Charge { budget, messages, bytes } = self.charge;
        assert_eq!((messages, bytes), (self.all.len() as i64, waiting as i64));
        assert_eq!(budget == 0, self.all.is_empty(), "{budget}");
        if !self.mixed {
            let ready = self.queue.ready();
            assert!(ready <= self.limits.queue_memory_messages_max, "{ready} in memory");
            let in_memory: usize = self.all.iter().take(ready).map(Known::size).sum();
            assert!(ready <= 1 || in_memory <= self.limits.queue_memory_bytes_max);
        }
    }

    fn step(&mut self) {
        self.window.closed = self.random.one_in(16);
        match self.random.below(16) {
            0..6 => self.arrive(),
            6..11 => self.commit(),
            11 | 12 => {
                if self.queue.ask_for_more(&self.limits) {
                    assert!(!self.queue.ask_for_more(&self.limits), "asked twice");
                    self.read();
                    self.queue.asks_no_more();
                }
            }
            13 => {
                let count = self.random.below(8);
                self.send(count);
            }
            14 => self.acknowledge(),
            _ if self.random.one_in(3) => self.take_shared(),
            _ => self.drop_expired(),
        }
        self.check();
    }

    /// Everything comes out at the end.
    fn drain(&mut self) {
        self.arrivals = 1;
        while !self.reserved.is_empty() {
            self.commit();
        }
        while !self.all.is_empty() {
            if self.queue.ask_for_more(&self.limits) {
                self.read();
                self.queue.asks_no_more();
            }
            self.send(3);
            while !self.sent.is_empty() {
                self.acknowledge();
            }
            self.check();
        }
        self.queue.shrink();
        assert!(self.queue.paged.is_none());
    }
}

fn reported(drops: &Drops) -> Vec<(DropReason, u64)> {
    let one = |dropped: &Dropped| {
        assert_eq!(dropped.count, 1);
        (dropped.reason, dropped.seq.expect("what is numbered is told by its place"))
    };
    drops.list.iter().map(one).collect()
}

fn compare(mixed: bool) {
    for overflow in [Overflow::DropNew, Overflow::DropOldest, Overflow::Disconnect] {
        for seed in 1..=150 {
            let mut case = Case::new(seed, overflow, mixed);
            for _ in 0..400 {
                case.step();
            }
            case.drain();
        }
    }
}

#[test]
// [MQTT-4.6.0-1] [MQTT-4.6.0-6] Everything in its order, once, and every bound over the whole queue.
fn a_queue_whose_end_is_in_the_store_is_a_queue() {
    compare(false);
}

#[test]
// [MQTT-4.6.0-1] [MQTT-4.6.0-6]
fn messages_that_the_store_does_not_hold_keep_their_places() {
    compare(true);
}

#[test]
fn a_restored_queue_has_nothing_in_memory_and_is_counted_in_full() {
    let mut pages = Pages::new(Instant::now());
    for number in 1..=1_000 {
        pages.push(Entry {
            id: MessageId(number),
            seq: number,
            size: 300,
            expiry: Expiry::Never,
            sent_before: number <= 2,
            may_repeat: false,
        });
    }
    let mut queue = Queue::restored(pages, false);
    assert_eq!((queue.messages(), queue.ready(), queue.bytes()), (1_000, 0, 300_000));
    assert_eq!(queue.take_charge(), Charge { budget: 16_000, messages: 1_000, bytes: 300_000 });
    assert_eq!(queue.clear(), 1_000);
    assert_eq!(queue.take_charge(), Charge { budget: -16_000, messages: -1_000, bytes: -300_000 });
    assert!(queue.is_empty());
}

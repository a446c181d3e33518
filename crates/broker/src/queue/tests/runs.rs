//! Runs in a queue are what their messages would be.

use dunlin_codec::{DecodeLimits, Qos, TopicName, Version, publish_run};
use dunlin_session::Run;

use super::*;

/// PUBLISHes with these payloads, as they came, for everybody or for a shared group.
fn run_of(payloads: &[Vec<u8>], shared: bool) -> Run {
    let mut bytes = Vec::new();
    for payload in payloads {
        let remaining = 2 + 3 + 2 + payload.len();
        bytes.push(0x32);
        let low = u8::try_from(remaining % 128).unwrap();
        match u8::try_from(remaining / 128).unwrap() {
            0 => bytes.push(low),
            high => bytes.extend([low | 0x80, high]),
        }
        bytes.extend(*b"\x00\x03a/b\x00\x01");
        bytes.extend(payload);
    }
    let limits = DecodeLimits::default();
    let found = publish_run(&bytes, Qos::AtLeastOnce, Version::V3_1_1, &limits, usize::MAX);
    assert_eq!((found.frames, found.bytes), (payloads.len(), bytes.len()));
    let topic = TopicName::try_from("a/b").expect("a name");
    let mut run =
        Run::new(&bytes, &found, topic, Qos::AtLeastOnce, Version::V3_1_1).expect("a small run");
    if shared {
        run.came_by_group(1);
    }
    run
}

fn single(payload: &[u8], shared: bool) -> Delivery {
    run_of(&[payload.to_vec()], shared).pop().expect("one message")
}

/// The same queue twice: one gets runs, one their messages.
struct Twins {
    random: Random,
    limits: Limits,
    with_runs: Queue,
    without: Queue,
    charges: (Charge, Charge),
    sent: VecDeque<Settled>,
}

impl Twins {
    fn new(seed: u64, overflow: Overflow) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let limits = Limits {
            queue_messages_max: 5 + random.size(60),
            queue_bytes_max: 500 + random.size(20_000),
            overflow,
            ..Limits::default()
        };
        let (with_runs, without) = (Queue::default(), Queue::default());
        Self {
            random,
            limits,
            with_runs,
            without,
            charges: Default::default(),
            sent: VecDeque::new(),
        }
    }

    fn arrive(&mut self) {
        let count = 1 + self.random.size(9);
        let payloads: Vec<Vec<u8>> = (0..count)
            .map(|_| vec![u8::try_from(self.random.size(256)).unwrap(); self.random.size(700)])
            .collect();
        let (mut drops, mut expected) = (Drops::default(), Drops::default());
        let shared = self.random.size(2) == 1;
        self.with_runs.offer_run(run_of(&payloads, shared), &self.limits, &mut drops);
        for payload in payloads {
            self.without.offer(single(&payload, shared), &self.limits, &mut expected);
        }
        assert_eq!(reasons(&drops), reasons(&expected));
    }

    fn send(&mut self) {
        let mut room = self.random.size(12);
        let mut sent = Vec::new();
        while let Some(parcel) = self.with_runs.pop_to_send(room) {
            room -= parcel.len();
            sent.extend(parcel.into_deliveries());
        }
        let mut settled = Settled::default();
        for delivery in sent {
            settled.add(Some(&delivery.message));
            let expected = match self.without.pop_to_send(1) {
                Some(Parcel::One(delivery)) => delivery,
                other => panic!("{other:?}"),
            };
            assert_eq!(delivery, expected);
        }
        self.sent.push_back(settled);
    }

    fn step(&mut self) {
        match self.random.below(8) {
            0..3 => self.arrive(),
            3..5 => self.send(),
            5 => {
                if let Some(settled) = self.sent.pop_front() {
                    self.with_runs.settle(settled);
                    self.without.settle(settled);
                }
            }
            6 => assert_eq!(self.with_runs.pop(), self.without.pop()),
            _ => {
                let first = u8::try_from(self.random.size(256)).unwrap();
                let want = |delivery: &Delivery| {
                    delivery.origin.is_shared() || delivery.message.payload.first() < Some(&first)
                };
                assert_eq!(self.with_runs.take_where(want), self.without.take_where(want));
            }
        }
        self.check();
    }

    fn check(&mut self) {
        let said =
            |queue: &Queue| (queue.messages(), queue.ready(), queue.bytes(), queue.is_empty());
        assert_eq!(said(&self.with_runs), said(&self.without));
        self.charges.0 += self.with_runs.take_charge();
        self.charges.1 += self.without.take_charge();
        let (with_runs, without) = self.charges;
        assert_eq!((with_runs.messages, with_runs.bytes), (without.messages, without.bytes));
        assert_eq!(with_runs.budget == 0, without.budget == 0);
    }
}

fn reasons(drops: &Drops) -> Vec<(DropReason, u64, Vec<u8>)> {
    let one = |dropped: &Dropped| {
        let payload = dropped.message.as_ref().map(|message| message.payload.to_vec());
        (dropped.reason, dropped.count, payload.unwrap_or_default())
    };
    drops.list.iter().map(one).collect()
}

#[test]
// [MQTT-4.6.0-6] In their order, once, and every bound as for single messages.
fn a_run_is_its_messages() {
    for overflow in [Overflow::DropNew, Overflow::DropOldest, Overflow::Disconnect] {
        for seed in 1..=100 {
            let mut twins = Twins::new(seed, overflow);
            for _ in 0..300 {
                twins.step();
            }
            assert_eq!(twins.with_runs.clear(), twins.without.clear());
            twins.check();
            assert_eq!(twins.charges.0, Charge::default());
        }
    }
}

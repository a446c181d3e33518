//! The broker's memory budget: what messages cost, and which load is shed near the limit.
//!
//! Every batch charges it and gives it back, on whatever cores its publisher and receiver are. So each thread adds to a
//! stripe of its own, which passes on what comes together there. Whoever sheds load looks at what was passed on, and errs
//! by less than a thousandth.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use crate::stripes::Striped;

/// Bytes that a stripe keeps to itself at the most.
const SLACK_MAX: i64 = 64 * 1024;
/// What all stripes together keep to themselves is at the most this part of the limit.
const SLACK_PARTS: i64 = 1024;

/// From this size a payload is charged once, for as long as anybody holds it; smaller ones are charged with each queue
/// entry that holds them, which costs nothing per message and errs to the safe side.
const CHARGED_ONCE_BYTES: usize = 512;

/// What the present use of memory allows.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Pressure {
    /// Everything.
    None,
    /// No new connections (from 85 %).
    RefuseConnections,
    /// QoS 0 publishers are slowed whenever anything waits for their receivers (from 90 %).
    SlowPublishers,
    /// QoS 0 copies are dropped (from 95 %).
    DropQos0,
    /// QoS 1 and 2 messages are refused (from 100 %).
    RefuseAll,
}

/// What queues and lanes took in, or gave back, since they were asked last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Charge {
    /// Bytes for the budget, where a large payload counts once, with its allocation.
    pub(crate) budget: i64,
    /// Messages with QoS above 0.
    pub(crate) messages: i64,
    /// Bytes, each message in full.
    pub(crate) bytes: i64,
}

impl Charge {
    /// So many encoded bytes more, or less.
    pub(crate) fn of_bytes(bytes: i64) -> Self {
        Self { budget: bytes, messages: 0, bytes }
    }
}

impl std::ops::AddAssign for Charge {
    fn add_assign(&mut self, other: Self) {
        self.budget += other.budget;
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// Bytes in use, against the most that may be.
#[derive(Debug)]
pub(crate) struct Budget {
    /// What stripes have passed on.
    used: AtomicI64,
    /// What they have not: each between `-slack` and `slack`.
    stripes: Striped<AtomicI64>,
    slack: AtomicI64,
    max: AtomicI64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Arc<Self> {
        let budget = Self {
            used: AtomicI64::new(0),
            stripes: Striped::by_core(),
            slack: AtomicI64::new(0),
            max: AtomicI64::new(0),
        };
        budget.set_max(max);
        Arc::new(budget)
    }

    /// Takes another limit. What is in use stays.
    pub(crate) fn set_max(&self, max: u64) {
        let max = limit(max);
        self.max.store(max, Ordering::Relaxed);
        let stripes = i64::try_from(self.stripes.len()).unwrap_or(1);
        self.slack.store((max / SLACK_PARTS / stripes).min(SLACK_MAX), Ordering::Relaxed);
    }

    /// Charges, or gives back, what queues and lanes hold. Called once per batch.
    pub(crate) fn change(&self, bytes: i64) {
        if bytes == 0 {
            return;
        }
        let here: &AtomicI64 = &self.stripes;
        let kept = here.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if kept.saturating_abs() > self.slack.load(Ordering::Relaxed) {
            self.used.fetch_add(here.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(crate) fn used(&self) -> u64 {
        let kept = self.stripes.iter().map(|here| here.load(Ordering::Relaxed)).sum::<i64>();
        u64::try_from(self.used.load(Ordering::Relaxed) + kept).unwrap_or(0)
    }

    pub(crate) fn pressure(&self) -> Pressure {
        let used = self.used.load(Ordering::Relaxed);
        // In hundredths, with the divisions where they cannot overflow.
        let share = used / (self.max.load(Ordering::Relaxed) / 100).max(1);
        match share {
            ..85 => Pressure::None,
            85..90 => Pressure::RefuseConnections,
            90..95 => Pressure::SlowPublishers,
            95..100 => Pressure::DropQos0,
            100.. => Pressure::RefuseAll,
        }
    }

    /// Whether queues had better leave their messages to the store: there is room, but it is wanted for other things.
    pub(crate) fn is_short(&self) -> bool {
        self.used.load(Ordering::Relaxed) / 3 >= self.max.load(Ordering::Relaxed) / 4
    }

    /// Copies a payload into an allocation of its own size, charged once while anybody holds it.
    pub(crate) fn own(self: &Arc<Self>, payload: &[u8]) -> Bytes {
        if payload.len() < CHARGED_ONCE_BYTES {
            return Bytes::copy_from_slice(payload);
        }
        let charged = Charged { payload: payload.into(), budget: Arc::clone(self) };
        self.change(charged.cost());
        Bytes::from_owner(charged)
    }

    /// The same for a payload that came from the store; none if it is not charged by itself.
    pub(crate) fn own_stored(self: &Arc<Self>, payload: &[u8]) -> Option<Bytes> {
        (payload.len() >= CHARGED_ONCE_BYTES).then(|| self.own(payload))
    }

    /// What one queue entry with a message of `size` bytes and this payload costs here.
    pub(crate) fn entry_cost(entry: usize, size: usize, payload: usize) -> i64 {
        let counted = if payload < CHARGED_ONCE_BYTES { size } else { size - payload };
        i64::try_from(entry + counted).unwrap_or(i64::MAX)
    }

    /// What a place in a queue costs whose message of `size` bytes somebody else holds in memory. What is large is charged
    /// with its allocation.
    pub(crate) fn place_cost(entry: usize, size: usize) -> i64 {
        i64::try_from(entry + size.min(CHARGED_ONCE_BYTES)).unwrap_or(i64::MAX)
    }
}

/// As the counter needs it.
fn limit(max: u64) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX).max(1)
}

/// A payload that is charged while it lives.
struct Charged {
    payload: Box<[u8]>,
    budget: Arc<Budget>,
}

impl Charged {
    fn cost(&self) -> i64 {
        i64::try_from(self.payload.len()).unwrap_or(i64::MAX)
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.budget.change(-self.cost());
    }
}

/// Half of the memory that this process may use: of the machine's, or of its control group's if that is less.
pub(crate) fn default_max() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    // Where neither can be read, 1 GiB is what a small machine has to spare.
    machine.into_iter().chain(group).min().unwrap_or(2 << 30) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_payload_is_charged_once_until_the_last_holder_drops_it() {
        let budget = Budget::new(10_000);
        let payload = budget.own(&[1; 1000]);
        let copy = payload.clone();
        assert_eq!((budget.used(), payload.len()), (1000, 1000));
        drop(payload);
        assert_eq!(budget.used(), 1000);
        drop(copy);
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.own(&[1; 100]).len(), 100);
        assert_eq!(budget.used(), 0);
        assert_eq!(Budget::entry_cost(64, 1020, 1000), 84);
        assert_eq!(Budget::entry_cost(64, 120, 100), 184);
    }

    #[test]
    fn what_stripes_keep_to_themselves_is_in_use_too_and_a_thousandth_at_the_most() {
        let budget = Budget::new(1 << 30);
        let slack = budget.slack.load(Ordering::Relaxed);
        let stripes = i64::try_from(budget.stripes.len()).expect("few");
        assert_eq!(slack, ((1 << 20) / stripes).min(SLACK_MAX));
        std::thread::scope(|scope| {
            for thread in 1..=8 {
                let budget = &budget;
                scope.spawn(move || {
                    for step in 0..1000 {
                        budget.change(thread * 1000 + step);
                        budget.change(-step);
                    }
                });
            }
        });
        let expected: i64 = (1..=8).map(|thread| thread * 1_000_000).sum();
        assert_eq!(budget.used(), u64::try_from(expected).expect("not negative"));
        let passed_on = budget.used.load(Ordering::Relaxed);
        assert!((expected - passed_on).abs() <= slack * stripes, "{passed_on} of {expected}");
        budget.change(-expected);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn load_is_shed_in_order() {
        let budget = Budget::new(1000);
        let mut seen = Vec::new();
        for step in [0, 840, 10, 50, 50, 50] {
            budget.change(step);
            seen.push(budget.pressure());
        }
        assert_eq!(
            seen,
            [
                Pressure::None,
                Pressure::None,
                Pressure::RefuseConnections,
                Pressure::SlowPublishers,
                Pressure::DropQos0,
                Pressure::RefuseAll,
            ]
        );
    }
}

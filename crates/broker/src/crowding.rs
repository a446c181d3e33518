//! Whose queue is so full that publishers with QoS above 0 get their acknowledgements later.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::mailbox::Mailbox;
use crate::metrics::add;
use crate::share::Group;

/// A connected client, or a shared group with a connected member, for whom much waits.
#[derive(Clone, Debug)]
pub(crate) enum Crowded {
    Client(Arc<Mailbox>),
    Group(Arc<Group>),
}

impl Crowded {
    /// Wakes the publisher when less waits there; `false` if it need not wait.
    pub(crate) fn brake(&self, waker: &Waker) -> bool {
        match self {
            Self::Client(mailbox) => mailbox.brake(waker),
            Self::Group(group) => group.brake(waker),
        }
    }

    /// It did not catch up in the time that publishers wait for it: nobody waits until it has.
    pub(crate) fn give_brake_up(&self) {
        match self {
            Self::Client(mailbox) => mailbox.give_brake_up(),
            Self::Group(group) => group.give_brake_up(),
        }
    }
}

/// A publisher's wait, for the counters: how often there was one, and how long they were together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wait {
    since: Option<Instant>,
}

impl Wait {
    /// Takes in whether the publisher waits now.
    pub(crate) fn note(
        &mut self,
        waits: bool,
        now: Instant,
        times: &AtomicU64,
        micros: &AtomicU64,
    ) {
        match (waits, self.since) {
            (true, None) => {
                self.since = Some(now);
                add(times, 1);
            }
            (false, Some(since)) => {
                self.since = None;
                add(micros, as_micros(now.saturating_duration_since(since)));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
}

fn as_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn a_wait_is_counted_when_it_begins_and_measured_when_it_ends() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let (times, micros) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut wait = Wait::default();
        let mut seen = Vec::new();
        for (millis, waits) in
            [(0, false), (10, true), (20, true), (35, false), (40, false), (50, true)]
        {
            wait.note(waits, at(millis), &times, &micros);
            seen.push((times.load(Ordering::Relaxed), micros.load(Ordering::Relaxed)));
        }
        assert_eq!(seen, [(0, 0), (1, 0), (1, 0), (1, 25_000), (1, 25_000), (2, 25_000)]);
    }
}

//! Clients that connect again and again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::generations::Generations;

/// The most connects that a [`FlapRule`] counts; more are taken as so many.
pub const FLAP_CONNECTS_MAX: usize = 64;

/// When a client flaps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlapRule {
    /// So many connects, at least 2 and at most [`FLAP_CONNECTS_MAX`],
    pub connects: usize,
    /// within so long.
    pub within: Duration,
    /// Then it is to be banned for so long.
    pub ban: Duration,
}

/// Notices when one client connects too often.
///
/// It remembers up to [`FlapDetector::CLIENTS_MAX`] clients of late, and as many before them. When more come within
/// `within`, the earlier ones are forgotten: they then have to flap anew before they are noticed.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use dunlin_access::{FlapDetector, FlapRule};
///
/// let rule = FlapRule { connects: 3, within: Duration::from_secs(10), ban: Duration::from_secs(60) };
/// let mut flapping = FlapDetector::new(rule);
/// let start = Instant::now();
/// let connects = [0, 1, 12, 13, 14].map(|secs| flapping.connected("c", start + Duration::from_secs(secs)));
/// assert_eq!(connects, [None, None, None, None, Some(Duration::from_secs(60))]);
/// ```
#[derive(Debug)]
pub struct FlapDetector {
    rule: FlapRule,
    clients: Generations<Box<str>, VecDeque<Instant>>,
}

impl FlapDetector {
    /// The most clients that are remembered twice over.
    pub const CLIENTS_MAX: usize = 16_384;

    /// A detector that has seen nobody.
    #[must_use]
    pub fn new(rule: FlapRule) -> Self {
        let connects = rule.connects.clamp(2, FLAP_CONNECTS_MAX);
        Self {
            rule: FlapRule { connects, ..rule },
            clients: Generations::new(Self::CLIENTS_MAX, rule.within),
        }
    }

    /// A client has connected. If it flaps, says for how long it is to be banned, and forgets it.
    pub fn connected(&mut self, client_id: &str, now: Instant) -> Option<Duration> {
        let FlapRule { connects, within, ban } = self.rule;
        let times = self.clients.entry(client_id.into(), now, VecDeque::new);
        times.push_back(now);
        while times.front().is_some_and(|first| now.saturating_duration_since(*first) > within) {
            times.pop_front();
        }
        if times.len() < connects {
            return None;
        }
        self.clients.remove(client_id);
        Some(ban)
    }

    /// How many clients are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

//! Copies that one session did not get, by reason.
//!
//! Counted as long as the session lives, and logged: at once when drops for a reason begin, then once a minute with what
//! came since.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::metrics::DropReason;

/// The least time from one report of a session's drops to the next.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The drops of one session. Made with its first one.
#[derive(Debug)]
pub(crate) struct DropCounts {
    counts: [u64; DropReason::ALL.len()],
    /// What of it is in the log.
    reported: [u64; DropReason::ALL.len()],
    reported_at: Instant,
}

/// Drops to be logged: the reason, and the number since the last report.
pub(crate) type DropReport = Vec<(DropReason, u64)>;

impl DropCounts {
    pub(crate) const fn new(now: Instant) -> Self {
        let none = [0; DropReason::ALL.len()];
        Self { counts: none, reported: none, reported_at: now }
    }

    /// Counts drops; gives what is to be logged now.
    pub(crate) fn add(&mut self, reason: DropReason, count: u64, now: Instant) -> DropReport {
        let Some(total) = self.counts.get_mut(reason as usize) else { return Vec::new() };
        let begins = *total == 0 && count > 0;
        *total += count;
        if now.saturating_duration_since(self.reported_at) >= REPORT_EVERY {
            self.reported_at = now;
            return self.report(|_| true);
        }
        if begins { self.report(|other| other == reason) } else { Vec::new() }
    }

    /// What was never logged.
    pub(crate) fn rest(&mut self) -> DropReport {
        self.report(|_| true)
    }

    /// Every reason that occurred.
    pub(crate) fn totals(&self) -> BTreeMap<DropReason, u64> {
        let all = DropReason::ALL.into_iter().zip(self.counts);
        all.filter(|(_, count)| *count > 0).collect()
    }

    fn report(&mut self, wanted: impl Fn(DropReason) -> bool) -> DropReport {
        let mut report = Vec::new();
        let both = self.counts.iter().zip(&mut self.reported);
        for (reason, (count, reported)) in DropReason::ALL.into_iter().zip(both) {
            if *count > *reported && wanted(reason) {
                report.push((reason, *count - *reported));
                *reported = *count;
            }
        }
        report
    }
}

/// Writes drops of a client to the log.
pub(crate) fn log(tenant: &str, client_id: &str, report: &DropReport) {
    for (reason, count) in report {
        // That a client which is away gets no QoS 0 is how MQTT works, and no reason to wake anybody.
        if *reason == DropReason::Offline {
            tracing::debug!(
                event = "messages_dropped",
                tenant,
                client_id,
                reason = reason.name(),
                count
            );
        } else {
            tracing::warn!(
                event = "messages_dropped",
                tenant,
                client_id,
                reason = reason.name(),
                count
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_reported_when_they_begin_and_then_once_a_minute() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut drops = DropCounts::new(start);
        assert_eq!(drops.add(DropReason::QueueBytes, 2, at(0)), [(DropReason::QueueBytes, 2)]);
        assert_eq!(drops.add(DropReason::QueueBytes, 3, at(1)), []);
        assert_eq!(drops.add(DropReason::Expired, 1, at(2)), [(DropReason::Expired, 1)]);
        assert_eq!(drops.add(DropReason::Expired, 4, at(59)), []);
        assert_eq!(
            drops.add(DropReason::QueueBytes, 1, at(60)),
            [(DropReason::QueueBytes, 4), (DropReason::Expired, 4)]
        );
        assert_eq!(drops.add(DropReason::QueueBytes, 7, at(61)), []);
        assert_eq!(drops.rest(), [(DropReason::QueueBytes, 7)]);
        assert_eq!(
            drops.totals(),
            BTreeMap::from([(DropReason::QueueBytes, 13), (DropReason::Expired, 5)])
        );
    }
}

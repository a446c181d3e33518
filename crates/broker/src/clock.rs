//! The wall clock, which the store's times are in, against the one that the broker counts by.

use std::time::{Duration, Instant, SystemTime};

use dunlin_store::UnixMillis;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) wall: UnixMillis,
    pub(crate) monotonic: Instant,
}

impl Clock {
    /// Now. Where the wall clock stands before the newest time in the store, the time between counts as zero.
    pub(crate) fn now(newest: Option<UnixMillis>) -> Self {
        let now = UnixMillis::from(SystemTime::now());
        let wall = newest.map_or(now, |newest| newest.max(now));
        Self { wall, monotonic: Instant::now() }
    }

    /// What is left of `interval` that began at `since`.
    pub(crate) fn left(self, since: UnixMillis, interval: Duration) -> Duration {
        interval.saturating_sub(self.wall.since(since))
    }

    /// A moment of the wall clock; what has passed is now. None if it is too far off to be counted to.
    pub(crate) fn at(self, moment: UnixMillis) -> Option<Instant> {
        self.monotonic.checked_add(moment.since(self.wall))
    }
}

//! The numbers by which the store knows things.
//!
//! Session numbers and message ids are never used twice in the life of a store, so that a record which outlives
//! what it points to points at nothing, never at something else.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The number of a tenant's namespace: the first part of every key, so that two tenants cannot meet in the store.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NamespaceNo(pub u32);

impl NamespaceNo {
    /// The namespace that exists without being opened; a broker without tenants lives in it.
    pub const DEFAULT: Self = Self(0);
}

/// The number of a session (or of the queue of a shared group). Never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionNo(pub u32);

impl SessionNo {
    /// The first number an empty store hands out.
    pub const FIRST: Self = Self(1);

    /// The number after this one, or `None` after the last.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// The id of a stored message. Never used twice, and rising: a later commit has higher ids, and within one session
/// the order of ids is the order of the queue.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageId(pub u64);

impl MessageId {
    /// The first id an empty store hands out. Zero is never an id, so it may mark a hole.
    pub const FIRST: Self = Self(1);

    /// The id after this one. (At ten million messages a second, 64 bits last for 58,000 years.)
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for NamespaceNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SessionNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment of wall-clock time: milliseconds since 1970 in UTC.
///
/// Only what must keep its meaning over a restart is written with it. The store never reads a clock; the broker
/// converts at its edge.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This moment later by `duration`; at the end of time it stays there.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// The time from `earlier` to this moment, zero where `earlier` is the later one: clocks are set back at times.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for UnixMillis {
    /// A time before 1970 becomes 1970.
    fn from(time: SystemTime) -> Self {
        Self(0).after(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
    }
}

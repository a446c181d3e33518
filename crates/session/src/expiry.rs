//! How long a session outlives its Network Connection.

use std::fmt;
use std::time::{Duration, Instant};

/// The Session Expiry Interval: seconds from the end of the Network Connection to the end of the session.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionExpiry(u32);

impl SessionExpiry {
    /// The session ends with its Network Connection.
    pub const AT_CLOSE: Self = Self(0);
    /// The session never ends by itself.
    pub const NEVER: Self = Self(u32::MAX);

    /// The interval of this many seconds; `u32::MAX` stands for never, as on the wire.
    #[must_use]
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// Whether the session ends with its Network Connection.
    #[must_use]
    pub const fn is_at_close(self) -> bool {
        self.0 == 0
    }

    /// Whether the session never ends by itself.
    #[must_use]
    pub const fn is_never(self) -> bool {
        self.0 == u32::MAX
    }

    /// This interval, or the maximum if that is shorter.
    #[must_use]
    pub fn at_most(self, maximum: Option<Self>) -> Self {
        maximum.map_or(self, |maximum| self.min(maximum))
    }

    /// When a session ends whose Network Connection ended `now`; `None` for never.
    #[must_use]
    pub fn deadline(self, now: Instant) -> Option<Instant> {
        if self.is_never() { None } else { now.checked_add(Duration::from_secs(self.0.into())) }
    }
}

impl fmt::Display for SessionExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_never() { f.write_str("never") } else { write!(f, "{} s", self.0) }
    }
}

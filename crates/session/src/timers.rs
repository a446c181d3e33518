//! Keep Alive.

use std::time::{Duration, Instant};

use crate::error::Violation;

/// When the client was last heard, and how long it may be silent.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    /// Seconds; 0 for no limit.
    interval: u16,
    /// Stands still while the server itself does not read.
    paused: bool,
    heard: Instant,
}

impl KeepAlive {
    pub(crate) const fn new(interval: u16, now: Instant) -> Self {
        Self { interval, paused: false, heard: now }
    }

    /// A packet arrived.
    #[inline]
    pub(crate) fn touch(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Starts the interval anew.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.paused = false;
        self.heard = now;
    }

    /// When the client counts as gone.
    // [MQTT-3.1.2-22] [MQTT-3.1.2-24 @3.1.1]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.interval == 0 || self.paused {
            return None;
        }
        self.heard.checked_add(Duration::from_millis(u64::from(self.interval) * 1_500))
    }

    pub(crate) fn check(&self, now: Instant) -> Result<(), Violation> {
        match self.deadline() {
            Some(deadline) if deadline <= now => {
                Err(Violation::KeepAliveTimeout { keep_alive: self.interval })
            }
            _ => Ok(()),
        }
    }
}

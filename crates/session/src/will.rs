//! The Will Message of a session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_codec::Message;

use crate::expiry::SessionExpiry;

/// What is published for a client that leaves without saying so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Will {
    /// The message.
    pub message: Arc<Message>,
    /// The Will Delay Interval in seconds; always 0 before 5.0.
    pub delay_secs: u32,
}

impl Will {
    /// When it goes out, if the Network Connection ended `now`: after its delay or with the session, whichever is first.
    // [MQTT-3.1.2-8]
    pub(crate) fn deadline(&self, expiry: SessionExpiry, now: Instant) -> Option<Instant> {
        let delay = now.checked_add(Duration::from_secs(self.delay_secs.into()));
        match (delay, expiry.deadline(now)) {
            (Some(delay), Some(end)) => Some(delay.min(end)),
            (delay, end) => delay.or(end),
        }
    }
}

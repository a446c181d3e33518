//! Looks whether the committer's thread gets on.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder};
use std::time::Duration;

use super::queue::Queue;
use crate::error::StoreError;

type OnFailed = Box<dyn FnOnce(&StoreError) + Send>;

/// Told once of the first fatal error, by whoever finds it.
#[derive(Clone)]
pub(super) struct Alarm(Arc<Mutex<Option<OnFailed>>>);

impl Alarm {
    pub(super) fn new(on_failed: impl FnOnce(&StoreError) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(on_failed)))))
    }

    pub(super) fn ring(&self, error: &StoreError) {
        let on_failed = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(on_failed) = on_failed {
            on_failed(error);
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}

/// Ends when the queue is gone, or has failed.
pub(super) fn spawn<S: Send + 'static>(queue: &Arc<Queue<S>>, alarm: Alarm) -> io::Result<()> {
    let stall_max = queue.stall_max();
    let step = (stall_max / 8).clamp(Duration::from_millis(1), Duration::from_secs(1));
    let queue = Arc::downgrade(queue);
    Builder::new().name("dunlin-watchdog".into()).spawn(move || {
        loop {
            thread::sleep(step);
            let Some(queue) = queue.upgrade() else { return };
            if queue.has_failed() || queue.has_ended() {
                return;
            }
            if let Some((doing, since)) = queue.stuck() {
                queue.fail();
                alarm.ring(&StoreError::Stalled { doing, seconds: since.as_secs() });
                return;
            }
        }
    })?;
    Ok(())
}

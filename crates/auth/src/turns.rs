//! Who may ask, and who waits for a turn to: both bounded.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// So many at once, and so many that wait.
pub(crate) struct Turns {
    turns: Semaphore,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// There is no room to wait.
#[derive(Debug, thiserror::Error)]
#[error("{0} clients wait for their turn already")]
pub(crate) struct Crowded(usize);

impl Turns {
    pub(crate) fn new(at_once_max: usize, waiting_max: usize) -> Self {
        let turns = Semaphore::new(at_once_max.clamp(1, Semaphore::MAX_PERMITS));
        Self { turns, waiting: AtomicUsize::new(0), waiting_max }
    }

    /// A turn, which ends when it is dropped.
    pub(crate) async fn take(&self) -> Result<SemaphorePermit<'_>, Crowded> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Ok(turn);
        }
        let waiting = Waiting::begin(&self.waiting);
        if waiting.before >= self.waiting_max {
            return Err(Crowded(self.waiting_max));
        }
        // The semaphore is never closed.
        self.turns.acquire().await.map_err(|_| Crowded(self.waiting_max))
    }
}

/// A client that waits for its turn, counted as long as it does, given up or not.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

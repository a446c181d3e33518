//! The way to the committer, and what waits when it has no room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dunlin_store::{Change, SubmitError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::core::Core;
use crate::persist::{Entry, Write};

/// From one try to hand a write to a full committer to the next.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// Writes of those who cannot wait, such as a connection that has ended. While there are any, they go first.
///
/// Bound: some for each session that ends or is parked while the committer is full, and for each message given up.
#[derive(Debug, Default)]
pub(crate) struct Backlog(Mutex<VecDeque<Write>>);

/// Why a write was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// There is no room now.
    Full(Write),
    /// The committer has ended. Whoever waits for the write is told by its dropping.
    Closed,
}

impl Core {
    /// Hands a write to the store.
    pub(crate) fn submit(&self, write: Write) -> Result<(), NotTaken> {
        if !self.backlog.0.lock().is_empty() {
            return Err(NotTaken::Full(write));
        }
        self.submit_at_once(write)
    }

    fn submit_at_once(&self, write: Write) -> Result<(), NotTaken> {
        self.committer.submit(write).map_err(|error| match error {
            SubmitError::Full(write) => NotTaken::Full(write),
            SubmitError::Closed(_) => NotTaken::Closed,
        })
    }

    /// Writes a change that nobody waits for, and nobody could try again to write.
    pub(crate) fn note(&self, change: Change) {
        if let Some(core) = self.me.upgrade() {
            core.submit_later(Write::new(&core, None, vec![Entry::change(change)]));
        }
    }

    /// Hands a write in from where nobody can wait. What comes later stays behind it.
    pub(crate) fn submit_later(self: &Arc<Self>, write: Write) {
        let mut backlog = self.backlog.0.lock();
        let first = backlog.is_empty();
        if !first {
            backlog.push_back(write);
            return;
        }
        if let Err(NotTaken::Full(write)) = self.submit_at_once(write) {
            backlog.push_back(write);
            drop(backlog);
            self.runtime.spawn(Arc::clone(self).hand_backlog_in());
        }
    }

    /// Runs while there is a backlog.
    async fn hand_backlog_in(self: Arc<Self>) {
        loop {
            {
                let mut backlog = self.backlog.0.lock();
                while let Some(write) = backlog.pop_front() {
                    if let Err(NotTaken::Full(write)) = self.submit_at_once(write) {
                        backlog.push_front(write);
                        break;
                    }
                }
                if backlog.is_empty() {
                    *backlog = VecDeque::new();
                    return;
                }
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Writes and waits until it is durable.
    pub(crate) async fn write(self: &Arc<Self>, entries: Vec<Entry>) -> Result<(), ()> {
        let mut write = Write::new(self, None, entries);
        let (sender, done) = oneshot::channel();
        write.tell(Some(sender));
        loop {
            match self.submit(write) {
                Ok(()) => return done.await.unwrap_or(Err(())),
                Err(NotTaken::Closed) => return Err(()),
                Err(NotTaken::Full(back)) => write = back,
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

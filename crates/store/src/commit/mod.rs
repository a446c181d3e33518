//! Group commit: one thread that writes, and everybody's changes in each write.
//!
//! There is no timer that waits for a group to fill. Whatever was submitted while the last commit ran is the next
//! group: the slower the disk, the larger the groups.

mod latency;
mod queue;
mod thread;
mod watchdog;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::backend::{Room, Store, StoreStatus};
use crate::batch::Batch;
use crate::error::StoreError;
use crate::id::MessageId;

use queue::Queue;
use watchdog::Alarm;

/// Changes that become durable together, and what to do when they are.
///
/// Make one submission of many changes where you can, say of all PUBLISHes of one read: each costs a lock and, at
/// worst, a wake-up.
pub trait Submission: Send + 'static {
    /// What it costs in memory, in bytes: counted against the bounds of the queue and of a batch. Always the same.
    fn size(&self) -> usize;

    /// Numbers the changes and puts them into the batch. Called on the committer's thread, in the order of submission;
    /// not called any more once the store has failed.
    ///
    /// With [`Room::NoMessages`] it leaves out what would take new room, and remembers that it did: for that part the
    /// success of the commit means nothing. Adding nothing is fine: the submission then only learns that everything
    /// before it is done.
    fn prepare(&mut self, batch: &mut Batch, room: Room);

    /// The commit of what was prepared found no room, and nothing of it is in the store: what was numbered is taken
    /// back. `prepare` follows once more, with [`Room::NoMessages`].
    fn take_back(&mut self);

    /// Called when the changes are as durable as the batch required, or failed: on the committer's thread, in the
    /// order of submission, after every submission of the batch was prepared and before any of the next one is.
    ///
    /// On an error nothing of it is in the store, unless the error [is fatal](StoreError::is_fatal), so what
    /// `prepare` numbered must be taken back. Must not block: all others wait.
    fn finish(self, outcome: Result<(), &StoreError>);
}

/// The bounds of a [`Committer`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommitterOptions {
    /// At most so many submissions wait. Further ones are given back.
    pub queue_max: usize,
    /// At most so many bytes wait; a single submission above it is taken when nothing else waits.
    pub queue_bytes_max: usize,
    /// At most so many submissions go into one batch.
    pub batch_max: usize,
    /// At most so many bytes go into one batch; a single submission above it makes a batch alone.
    pub batch_bytes_max: usize,
    /// How long one step of the thread may take, a commit above all. After it the store has failed: a disk that does
    /// not answer is no better than none, and everybody waits for it.
    pub stall_max: Duration,
    /// How far the thread steps back behind others when processors are short, as `nice` counts it: 0 for not at all, 19
    /// for the most. On Linux only, where it concerns one thread.
    pub niceness: i32,
}

impl Default for CommitterOptions {
    /// 65,536 submissions and 64 MiB may wait; a batch takes 4,096 submissions and 8 MiB, what a common disk writes
    /// in some ten milliseconds. No step takes longer than 30 seconds.
    fn default() -> Self {
        Self {
            queue_max: 65_536,
            queue_bytes_max: 64 << 20,
            batch_max: 4_096,
            batch_bytes_max: 8 << 20,
            stall_max: Duration::from_secs(30),
            niceness: 0,
        }
    }
}

/// Why a submission was not taken; it is given back.
#[derive(thiserror::Error)]
pub enum SubmitError<S> {
    /// The queue is at one of its bounds. Try again when the disk has caught up.
    #[error("too much waits for the store")]
    Full(S),
    /// The committer was shut down.
    #[error("the committer of the store was shut down")]
    Closed(S),
}

impl<S> SubmitError<S> {
    /// The submission.
    pub fn into_submission(self) -> S {
        match self {
            Self::Full(submission) | Self::Closed(submission) => submission,
        }
    }
}

impl<S> fmt::Debug for SubmitError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

/// What a committer has done, and what waits for it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CommitterStats {
    /// Commits that succeeded.
    pub commits: u64,
    /// Commits that failed.
    pub failures: u64,
    /// Submissions finished, with success or not.
    pub finished: u64,
    /// Submissions given back because the queue was full.
    pub refused: u64,
    /// Submissions that wait to get into a batch.
    pub waiting: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// The time that half of the commits took at the most, to within an eighth. Counted are those that somebody waited for:
    /// of more than [`Durability::Memory`](crate::Durability::Memory).
    pub commit_p50: Duration,
    /// The time that 99 of 100 of them took at the most, to within an eighth.
    pub commit_p99: Duration,
    /// The time that the longest of them took.
    pub commit_max: Duration,
}

/// The owner of a [`Store`]: takes submissions from any thread and commits them in groups on a thread of its own.
///
/// Submissions are prepared, committed and finished in the order in which they came. A commit that fails for want of
/// room is tried once more without new messages; if that fails too, so do the submissions of its batch and no other. After
/// a fatal error everything that waits or comes finishes
/// with that error, at once and without touching the store.
///
/// Dropping it lets the thread commit what waits and end by itself; [`Committer::shutdown`] waits for that.
#[derive(Debug)]
pub struct Committer<S> {
    queue: Arc<Queue<S>>,
    status: Arc<StoreStatus>,
    thread: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

impl<S: Submission> Committer<S> {
    /// Starts the thread. The first message gets the id `next_message`, which recovery found
    /// ([`Meta::next_message`](crate::Meta::next_message)). At the first fatal error `on_failed` is called once, before
    /// the submissions concerned are finished: on the thread, or on the one that watches it, when it is stuck.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        store: Box<dyn Store>,
        next_message: MessageId,
        options: CommitterOptions,
        on_failed: impl FnOnce(&StoreError) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(options));
        let status = store.status();
        let alarm = Alarm::new(on_failed);
        let thread = thread::spawn(store, next_message, Arc::clone(&queue), alarm.clone())?;
        watchdog::spawn(&queue, alarm)?;
        Ok(Self { queue, status, thread: Mutex::new(Some(thread)) })
    }

    /// Hands in a submission. Never waits for the disk.
    ///
    /// # Errors
    /// [`SubmitError`] with the submission, when too much waits already or after [`Committer::shutdown`].
    pub fn submit(&self, submission: S) -> Result<(), SubmitError<S>> {
        let size = submission.size();
        self.queue.push(submission, size)
    }

    /// Waits until everything submitted before is finished. Not to be called from a submission or in async code.
    pub fn flush(&self) {
        self.queue.wait_finished();
    }

    /// Takes no more submissions, commits what waits, closes the store and waits for the thread to end. Not to be
    /// called from a submission or in async code. A second call does nothing.
    ///
    /// # Errors
    /// The error of closing the store, or that which had made it fail.
    pub fn shutdown(&self) -> Result<(), StoreError> {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread {
            Some(thread) => thread.join().unwrap_or(Err(StoreError::Stopped)),
            None => Ok(()),
        }
    }
}

impl<S> Committer<S> {
    /// Whether a fatal error has ended all commits.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.queue.has_failed()
    }

    /// What was done so far, and what waits.
    #[must_use]
    pub fn stats(&self) -> CommitterStats {
        self.queue.stats()
    }

    /// What the store says of itself.
    #[must_use]
    pub fn store_status(&self) -> &StoreStatus {
        &self.status
    }
}

impl<S> Drop for Committer<S> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

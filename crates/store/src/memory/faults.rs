//! A disk that is slow, stuck, full or broken, at command.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::injected_error;
use crate::backend::Room;
use crate::error::StoreError;

/// How a commit or a read is to fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// With [`StoreError::Full`].
    Full,
    /// With [`StoreError::Io`].
    Io,
    /// With [`StoreError::Corrupt`].
    Corrupt,
}

/// The faults of a [`MemoryStore`](crate::MemoryStore), for tests of what happens when a disk misbehaves. A clone
/// governs the same store.
///
/// A commit first takes its delay, then waits while commits are held, then fails if it is to; only then is anything of
/// it in the store.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when `held` or `stuck` changes.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    delay: Duration,
    read_delay: Duration,
    held: bool,
    full: bool,
    /// Commits that wait because of `held`.
    stuck: usize,
    commit_failures: VecDeque<Failure>,
    read_failures: VecDeque<Failure>,
    commits: u64,
    messages_read: u64,
}

impl Faults {
    /// Lets every commit from now on take `delay` longer.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Lets every read from now on take `delay` longer.
    pub fn delay_reads(&self, delay: Duration) {
        self.lock().read_delay = delay;
    }

    /// Lets no commit through until [`Faults::release`].
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Lets commits through again.
    pub fn release(&self) {
        self.lock().held = false;
        self.shared.changed.notify_all();
    }

    /// Waits until a commit is held back, at most for `timeout`; whether one is.
    #[must_use]
    pub fn wait_until_stuck(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        while state.stuck == 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Lets the next commit fail that is not yet told to: two calls fail two commits.
    pub fn fail_next(&self, failure: Failure) {
        self.lock().commit_failures.push_back(failure);
    }

    /// From now on [there is no room for messages](crate::Room::NoMessages), or there is again.
    pub fn full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Lets the next read fail that is not yet told to.
    pub fn fail_next_read(&self, failure: Failure) {
        self.lock().read_failures.push_back(failure);
    }

    /// How many commits have succeeded.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// How many messages readers were asked for.
    #[must_use]
    pub fn messages_read(&self) -> u64 {
        self.lock().messages_read
    }

    pub(super) fn before_commit(&self) -> Result<(), StoreError> {
        let delay = self.lock().delay;
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        let mut state = self.lock();
        if state.held {
            state.stuck += 1;
            self.shared.changed.notify_all();
            while state.held {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.stuck -= 1;
        }
        state.commit_failures.pop_front().map_or(Ok(()), |failure| Err(failure.into()))
    }

    pub(super) fn room(&self) -> Room {
        if self.lock().full { Room::NoMessages } else { Room::All }
    }

    pub(super) fn after_commit(&self) {
        self.lock().commits += 1;
    }

    pub(super) fn before_read(&self) -> Result<(), StoreError> {
        let delay = self.lock().read_delay;
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        self.lock().read_failures.pop_front().map_or(Ok(()), |failure| Err(failure.into()))
    }

    pub(super) fn after_read(&self, messages: usize) {
        self.lock().messages_read += messages as u64;
    }

    /// Nothing in here panics while it holds the lock, so a poisoned one is sound too.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::Full,
            Failure::Io => Self::Io(injected_error()),
            Failure::Corrupt => Self::Corrupt("injected fault".into()),
        }
    }
}

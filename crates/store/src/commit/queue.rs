//! The bounded queue between those who submit and the committer's thread.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{CommitterOptions, CommitterStats, SubmitError};

/// A mutex and two conditions, no channel: a whole group is taken under one lock, and a submission wakes the thread
/// only when it sleeps.
pub(super) struct Queue<S> {
    options: CommitterOptions,
    state: Mutex<State<S>>,
    /// Signalled when there is work for a sleeping thread.
    work: Condvar,
    /// Signalled when submissions were finished and somebody waits for that.
    progress: Condvar,
}

struct State<S> {
    /// Each with its size, which is asked for once.
    waiting: VecDeque<(S, usize)>,
    closed: bool,
    failed: bool,
    thread_sleeps: bool,
    flushers: usize,
    accepted: u64,
    stats: CommitterStats,
}

/// How a commit went, for the counters.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Committed,
    /// Nothing was to be written, or the store has failed before.
    Skipped,
    Failed,
}

impl<S> Queue<S> {
    pub(super) fn new(options: CommitterOptions) -> Self {
        Self {
            options,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                closed: false,
                failed: false,
                thread_sleeps: false,
                flushers: 0,
                accepted: 0,
                stats: CommitterStats::default(),
            }),
            work: Condvar::new(),
            progress: Condvar::new(),
        }
    }

    pub(super) fn push(&self, submission: S, size: usize) -> Result<(), SubmitError<S>> {
        let mut state = self.lock();
        if state.closed {
            return Err(SubmitError::Closed(submission));
        }
        if !self.has_room(&state, size) {
            state.stats.refused += 1;
            return Err(SubmitError::Full(submission));
        }
        state.waiting.push_back((submission, size));
        state.accepted += 1;
        state.stats.waiting += 1;
        state.stats.waiting_bytes += size;
        let wake = mem::take(&mut state.thread_sleeps);
        drop(state);
        if wake {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Moves the next group into `group`, which must be empty, sleeping until there is one. `false` when the queue is
    /// closed and empty.
    pub(super) fn take_group(&self, group: &mut VecDeque<(S, usize)>) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return false;
            }
            state.thread_sleeps = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.thread_sleeps = false;
        self.move_group(&mut state, group);
        true
    }

    pub(super) fn finished(&self, submissions: usize, outcome: Outcome) {
        let mut state = self.lock();
        state.stats.finished += submissions as u64;
        match outcome {
            Outcome::Committed => state.stats.commits += 1,
            Outcome::Failed => state.stats.failures += 1,
            Outcome::Skipped => {}
        }
        if state.flushers > 0 {
            self.progress.notify_all();
        }
    }

    pub(super) fn wait_finished(&self) {
        let mut state = self.lock();
        let target = state.accepted;
        state.flushers += 1;
        while state.stats.finished < target {
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.flushers -= 1;
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.thread_sleeps = false;
        drop(state);
        self.work.notify_one();
    }

    pub(super) fn fail(&self) {
        self.lock().failed = true;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.lock().failed
    }

    pub(super) fn stats(&self) -> CommitterStats {
        self.lock().stats
    }

    /// A submission above the bound in bytes must get through at some time, so it may when nothing else waits.
    fn has_room(&self, state: &State<S>, size: usize) -> bool {
        let bytes = state.stats.waiting_bytes.saturating_add(size);
        state.waiting.is_empty()
            || (state.stats.waiting < self.options.queue_max
                && bytes <= self.options.queue_bytes_max)
    }

    fn move_group(&self, state: &mut State<S>, group: &mut VecDeque<(S, usize)>) {
        let CommitterOptions { batch_max, batch_bytes_max, .. } = self.options;
        if state.stats.waiting <= batch_max && state.stats.waiting_bytes <= batch_bytes_max {
            mem::swap(&mut state.waiting, group);
            state.stats.waiting = 0;
            state.stats.waiting_bytes = 0;
            return;
        }
        let mut bytes = 0_usize;
        while let Some((_, size)) = state.waiting.front() {
            bytes = bytes.saturating_add(*size);
            let fits = group.len() < batch_max && bytes <= batch_bytes_max;
            if !fits && !group.is_empty() {
                break;
            }
            state.stats.waiting_bytes -= size;
            state.stats.waiting -= 1;
            group.extend(state.waiting.pop_front());
        }
    }

    /// Nothing in here panics while it holds the lock, so a poisoned one is sound too.
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> fmt::Debug for Queue<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

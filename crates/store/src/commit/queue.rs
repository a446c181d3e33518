//! The bounded queue between those who submit and the committer's thread.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::latency::Latencies;
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
    latencies: Latencies,
    /// What the thread does, and since when; none while it sleeps.
    doing: Option<(&'static str, Instant)>,
    ended: bool,
}

/// What the thread wakes up for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Woken {
    /// There is a group.
    Group,
    /// The time is over, and nothing came.
    Idle,
    /// The queue is closed and empty.
    Closed,
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
                latencies: Latencies::default(),
                doing: None,
                ended: false,
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

    /// Moves the next group into `group`, which must be empty, sleeping until there is one, or for as long as `wait` says.
    pub(super) fn take_group(
        &self,
        group: &mut VecDeque<(S, usize)>,
        wait: Option<Duration>,
    ) -> Woken {
        let mut state = self.lock();
        state.doing = None;
        let until = wait.map(|wait| Instant::now() + wait);
        while state.waiting.is_empty() {
            if state.closed {
                return Woken::Closed;
            }
            state.thread_sleeps = true;
            state = match until {
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        state.thread_sleeps = false;
                        return Woken::Idle;
                    }
                    self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.thread_sleeps = false;
        self.move_group(&mut state, group);
        Woken::Group
    }

    /// Notes what the thread does from now on.
    pub(super) fn doing(&self, what: &'static str) {
        self.lock().doing = Some((what, Instant::now()));
    }

    /// What the thread does for too long, and for how long.
    pub(super) fn stuck(&self) -> Option<(&'static str, Duration)> {
        let (what, since) = self.lock().doing?;
        let lasts = since.elapsed();
        (lasts > self.options.stall_max).then_some((what, lasts))
    }

    pub(super) const fn niceness(&self) -> i32 {
        self.options.niceness
    }

    pub(super) const fn stall_max(&self) -> Duration {
        self.options.stall_max
    }

    /// The thread ends.
    pub(super) fn end(&self) {
        self.lock().ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Counts a commit, and its time if somebody waited for it.
    pub(super) fn committed(&self, took: Option<Duration>, ok: bool) {
        let mut state = self.lock();
        if let Some(took) = took {
            state.latencies.add(took);
        }
        if ok {
            state.stats.commits += 1;
        } else {
            state.stats.failures += 1;
        }
    }

    pub(super) fn finished(&self, submissions: usize) {
        let mut state = self.lock();
        state.stats.finished += submissions as u64;
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
        let state = self.lock();
        CommitterStats {
            commit_p50: state.latencies.quantile(50),
            commit_p99: state.latencies.quantile(99),
            commit_max: state.latencies.max(),
            ..state.stats
        }
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

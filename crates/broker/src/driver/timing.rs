//! What becomes due on a connection: its Keep Alive, its patience with others, the end of its idle state.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dunlin_session::Input;

use crate::alarms::FAR;
use crate::end::EndReason;
use crate::fanout::Staging;

use super::{Driver, State};

/// A connection that did not publish for so long gives its routes back.
const IDLE_AFTER: Duration = Duration::from_secs(10);
/// From one try to hand a write to a full committer to the next.
const RESUBMIT_AFTER: Duration = Duration::from_millis(5);

impl Driver {
    pub(super) fn poll_timers(
        &mut self,
        read: &mut Vec<u8>,
        staging: &mut Staging,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let Some(at) = self.next_deadline() else {
                self.sleep = None;
                return Poll::Pending;
            };
            if at > now + FAR {
                self.sleep = None;
                let alarms = &self.core.alarms;
                alarms.set(&mut self.alarm, self.began, at, now, cx.waker());
                return Poll::Pending;
            }
            let sleep = match &mut self.sleep {
                Some(sleep) => {
                    // Moved only if it is late: an early wake-up costs less than moving the timer at each packet.
                    if sleep.deadline() > at.into() || sleep.is_elapsed() {
                        sleep.as_mut().reset(at.into());
                    }
                    sleep
                }
                none => none.insert(Box::pin(tokio::time::sleep_until(at.into()))),
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = now.max(Instant::now());
            if at > now {
                continue;
            }
            // What is due is seen to in a turn of its own. While this task waited for a worker, the client may have sent what
            // puts its Keep Alive off.
            if self.is_silent(now) && self.take_what_arrived(read, staging, now) {
                self.finish_batch(staging, cx);
            } else {
                self.due(now);
            }
            cx.waker().wake_by_ref();
            return if self.state == State::Closed { Poll::Ready(()) } else { Poll::Pending };
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let state = match self.state {
            State::Open => self.machine.next_deadline(),
            State::Closing | State::Lingering | State::Closed => self.closing_deadline(),
        };
        // Most connections wait for nothing and need no limit.
        let stall_max = || self.core.config().limits.write_stall_max;
        let slow_max = || self.core.config().limits.publisher_slow_max;
        let stalled = self.writer.waiting_since().map(|since| since + stall_max());
        let held =
            self.busy.as_ref().and_then(|busy| busy.held_since).map(|since| since + slow_max());
        let stuck = self
            .busy
            .as_ref()
            .filter(|busy| busy.stuck.is_some())
            .map(|busy| busy.used + RESUBMIT_AFTER);
        let braked = self.busy.as_ref().and_then(|busy| busy.braked_by.as_ref());
        let braked = braked.map(|(_, since)| *since + slow_max());
        let used = self.busy.as_ref().filter(|busy| !busy.routes.is_empty());
        let idle = used.map(|busy| busy.used + IDLE_AFTER);
        let expires = self.expires().filter(|_| self.state == State::Open);
        let quota = self.quota.as_ref().filter(|_| self.state == State::Open);
        let quota = quota.and_then(|quota| quota.next_deadline());
        [state, stalled, held, braked, stuck, idle, expires, quota].into_iter().flatten().min()
    }

    /// Whether what the client proved itself by has ended.
    pub(super) fn has_expired(&self, now: Instant) -> bool {
        self.state == State::Open && self.expires().is_some_and(|at| at <= now)
    }

    /// When what the client proved itself by ends.
    pub(super) fn expires(&self) -> Option<Instant> {
        self.client.as_ref()?.identity.expires
    }

    /// Whether the peer has taken no byte for as long as it may, although some wait.
    pub(super) fn is_write_stalled(&self, now: Instant) -> bool {
        let stall_max = || self.core.config().limits.write_stall_max;
        self.writer.waiting_since().is_some_and(|since| now >= since + stall_max())
    }

    /// Whether the machine's own time has come: the client has not been heard of for as long as it may be silent.
    fn is_silent(&self, now: Instant) -> bool {
        self.state == State::Open && self.machine.next_deadline().is_some_and(|at| at <= now)
    }

    pub(super) fn due(&mut self, now: Instant) {
        if self.is_write_stalled(now) {
            let stall_max = self.core.config().limits.write_stall_max;
            self.note_end(
                EndReason::WriteStalled,
                Some("write_stall_max"),
                format!("no byte taken in {stall_max:?}"),
            );
            self.writer.clear();
            self.abandon(now);
            return;
        }
        match self.state {
            State::Open if self.has_expired(now) => {
                let mut staging = Staging::default();
                self.evict(EndReason::AuthenticationExpired, &mut staging, now);
                self.hand_all_in(&mut staging);
            }
            State::Open => {
                if self.is_silent(now) {
                    let mut staging = Staging::default();
                    self.feed(Input::Timeout, &mut staging, now);
                    self.hand_all_in(&mut staging);
                }
                self.forget_if_idle(now);
            }
            State::Closing | State::Lingering
                if self.closing_deadline().is_some_and(|at| at <= now) =>
            {
                self.state = State::Closed;
            }
            State::Closing | State::Lingering | State::Closed => {}
        }
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn forget_if_idle(&mut self, now: Instant) {
        let Some(busy) = &mut self.busy else { return };
        if now >= busy.used + IDLE_AFTER {
            busy.routes.clear();
        }
        if busy.is_empty() {
            self.busy = None;
        }
    }
}

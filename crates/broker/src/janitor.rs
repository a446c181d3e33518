//! What becomes due while no connection is there to see to it: wills, the ends of sessions, expired retained messages.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use dunlin_session::Outputs;
use dunlin_topics::TopicFilter;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core::Core;
use crate::mailbox::Mailbox;
use crate::metrics::{add, sub};
use crate::persist::Write;
use crate::queue::Drops;

/// Retained messages looked at in one step, so that a large set does not hold a worker.
const SWEEP_STEP: usize = 1_000;
/// From one pass over the retained messages to the next.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Sessions without a connection, by when the next thing of theirs is due.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// One entry each time a session is parked; outdated ones are passed over when their time comes.
    heap: Mutex<BinaryHeap<Reverse<Due>>>,
    changed: Notify,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    mailbox: Weak<Mailbox>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl Timers {
    /// Looks at the session again at that time.
    pub(crate) fn schedule(&self, at: Instant, mailbox: &Arc<Mailbox>) {
        let mut heap = self.heap.lock();
        let first = heap.peek().is_none_or(|Reverse(due)| at < due.at);
        heap.push(Reverse(Due { at, mailbox: Arc::downgrade(mailbox) }));
        drop(heap);
        if first {
            self.changed.notify_one();
        }
    }

    fn next(&self) -> Option<Instant> {
        self.heap.lock().peek().map(|Reverse(due)| due.at)
    }

    fn pop(&self, now: Instant) -> Option<Weak<Mailbox>> {
        let mut heap = self.heap.lock();
        heap.peek().filter(|Reverse(due)| due.at <= now)?;
        heap.pop().map(|Reverse(due)| due.mailbox)
    }
}

/// Runs until the broker is gone.
pub(crate) async fn run(core: Weak<Core>) {
    let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
    loop {
        let Some(alive) = core.upgrade() else { return };
        let now = Instant::now();
        let mut handled = 0;
        while let Some(mailbox) = alive.timers.pop(now) {
            if let Some(mailbox) = mailbox.upgrade() {
                due(&alive, &mailbox, now);
            }
            handled += 1;
            // Many wills at once, say after a power cut of a site, go out at a pace that leaves room for clients.
            if handled % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        if now >= next_sweep {
            sweep_retained(&alive, now).await;
            next_sweep = Instant::now() + SWEEP_INTERVAL;
        }
        let wake_at = alive.timers.next().map_or(next_sweep, |at| at.min(next_sweep));
        let mut closing = alive.closing.subscribe();
        tokio::select! {
            () = tokio::time::sleep_until(wake_at.into()) => {}
            () = alive.timers.changed.notified() => {}
            // The sender is in the core, so this ends only by the broker's closing.
            _ = closing.wait_for(|closing| *closing) => return,
        }
    }
}

/// Something of a parked session may be due: its will, its end, messages that expired in its queue.
fn due(core: &Arc<Core>, mailbox: &Arc<Mailbox>, now: Instant) {
    if let Some(session) = mailbox.take_parked_if(|session| session.has_ended(now)) {
        add(&core.counters.sessions_expired, 1);
        sub(&core.counters.sessions_parked, 1);
        if let Some(entry) = core.end_session(mailbox, session) {
            core.submit_later(Write::new(core, None, vec![entry]));
        }
        return;
    }
    let mut out = Outputs::new();
    let Some(next) = mailbox.with_parked(|session| {
        session.handle_timeout(now, &mut out);
        session.next_deadline()
    }) else {
        return;
    };
    for output in out {
        core.parked_output(mailbox, output);
    }
    let mut drops = Drops::default();
    core.charge(mailbox.drop_expired(now, &mut drops));
    core.report(mailbox, drops);
    if let Some(at) = next {
        core.timers.schedule(at.max(now + Duration::from_millis(1)), mailbox);
    }
}

async fn sweep_retained(core: &Arc<Core>, now: Instant) {
    for filter in ["#", "$SYS/#"] {
        let Ok(filter) = TopicFilter::try_from(filter) else { continue };
        let mut cursor = core.namespace.retained.cursor(&filter);
        while !core.namespace.retained.sweep(&mut cursor, SWEEP_STEP, now) {
            tokio::task::yield_now().await;
        }
    }
}

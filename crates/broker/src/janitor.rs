//! What becomes due while no connection is there to see to it: wills, the ends of sessions, expired retained messages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use dunlin_session::Outputs;
use dunlin_store::{Change, SessionNo, UnixMillis};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core::Core;
use crate::mailbox::Mailbox;
use crate::metrics::{add, sub};
use crate::persist::Write;
use crate::queue::Drops;

/// Things seen to before others get their turn.
const STEP: usize = 64;
/// From one look at the wills that wait for their turn to the next.
const WILLS_EVERY: Duration = Duration::from_millis(20);

/// Sessions without a connection, by when the next thing of theirs is due. One entry for each session at the most.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: Mutex<Due>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Due {
    by_time: BTreeMap<(Instant, SessionNo), Weak<Mailbox>>,
    by_session: HashMap<SessionNo, Instant>,
}

impl Timers {
    /// Looks at the session at that time, and no more when it was to be looked at before.
    pub(crate) fn schedule(&self, at: Instant, mailbox: &Arc<Mailbox>) {
        let mut due = self.due.lock();
        let first = due.by_time.first_key_value().is_none_or(|((first, _), _)| at < *first);
        if let Some(before) = due.by_session.insert(mailbox.session_no, at) {
            due.by_time.remove(&(before, mailbox.session_no));
        }
        due.by_time.insert((at, mailbox.session_no), Arc::downgrade(mailbox));
        drop(due);
        if first {
            self.changed.notify_one();
        }
    }

    /// The session has a connection again, or is over.
    pub(crate) fn cancel(&self, mailbox: &Mailbox) {
        let mut due = self.due.lock();
        if let Some(at) = due.by_session.remove(&mailbox.session_no) {
            due.by_time.remove(&(at, mailbox.session_no));
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.lock().by_time.first_key_value().map(|((at, _), _)| *at)
    }

    fn pop(&self, now: Instant) -> Option<Weak<Mailbox>> {
        let mut due = self.due.lock();
        let entry = due.by_time.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, session), mailbox) = entry.remove_entry();
        due.by_session.remove(&session);
        Some(mailbox)
    }
}

/// Wills that are due, and how many may go out now. Many at once, say after a power cut of a site, go out at a pace that
/// leaves room for clients.
#[derive(Debug)]
struct Wills {
    /// At most one entry for each session.
    waiting: VecDeque<Weak<Mailbox>>,
    per_second: f64,
    /// Wills that may go out now.
    allowed: f64,
    counted_at: Instant,
}

impl Wills {
    fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { waiting: VecDeque::new(), per_second, allowed: 1.0, counted_at: now }
    }

    /// Takes the right to publish one; `false` if it has to wait. What was not used is saved up for a tenth of a second.
    fn take_turn(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.counted_at);
        self.counted_at = now;
        let most = (self.per_second / 10.0).max(1.0);
        self.allowed = (self.allowed + since.as_secs_f64() * self.per_second).min(most);
        if self.allowed < 1.0 {
            return false;
        }
        self.allowed -= 1.0;
        true
    }
}

/// Runs until the broker is gone.
pub(crate) async fn run(core: Weak<Core>) {
    let mut wills = Wills::new(1, Instant::now());
    loop {
        let Some(alive) = core.upgrade() else { return };
        wills.per_second = alive.config().limits.wills_per_second_max.into();
        let now = Instant::now();
        let mut handled = 0;
        while handled < STEP && see_to_one(&alive, &mut wills, now) {
            handled += 1;
        }
        if handled == STEP {
            tokio::task::yield_now().await;
            continue;
        }
        let expiries = &alive.namespaces.common().expiries;
        let held_up = (!wills.waiting.is_empty()).then(|| now + WILLS_EVERY);
        let next = [alive.timers.next(), expiries.next(), held_up].into_iter().flatten().min();
        // Without anything due it looks again in an hour, to notice that the broker is gone.
        let wake_at = next.unwrap_or(now + Duration::from_secs(3600));
        let mut closing = alive.closing.subscribe();
        tokio::select! {
            () = tokio::time::sleep_until(wake_at.into()) => {}
            () = alive.timers.changed.notified() => {}
            () = expiries.changed().notified() => {}
            // The sender is in the core, so this ends only by the broker's closing.
            _ = closing.wait_for(|closing| *closing) => return,
        }
    }
}

/// Sees to one thing that is due; `false` if there is none.
fn see_to_one(core: &Arc<Core>, wills: &mut Wills, now: Instant) -> bool {
    if !wills.waiting.is_empty() && wills.take_turn(now) {
        if let Some(mailbox) = wills.waiting.pop_front().and_then(|mailbox| mailbox.upgrade()) {
            due(core, &mailbox, now);
        }
        return true;
    }
    if let Some(mailbox) = core.timers.pop(now) {
        let Some(mailbox) = mailbox.upgrade() else { return true };
        let has_will = mailbox.with_parked(|session| session.will_at().is_some_and(|at| at <= now));
        if has_will == Some(true) && !(wills.waiting.is_empty() && wills.take_turn(now)) {
            wills.waiting.push_back(Arc::downgrade(&mailbox));
        } else {
            due(core, &mailbox, now);
        }
        return true;
    }
    let Some((number, message, retained)) = core.namespaces.common().expiries.pop(now) else {
        return false;
    };
    let Some(namespace) = core.namespaces.by_number(number) else { return true };
    let removal = namespace.retained.expire(&message.topic, retained);
    let removed_at = UnixMillis::from(SystemTime::now());
    core.note(Change::Unretained {
        namespace: namespace.number,
        topic: message.topic.clone(),
        number: removal,
        removed_at,
    });
    true
}

/// Something of a parked session may be due: its will, its end, messages that expired in its queue.
fn due(core: &Arc<Core>, mailbox: &Arc<Mailbox>, now: Instant) {
    if let Some(session) = mailbox.take_parked_if(|session| session.has_ended(now)) {
        add(&mailbox.namespace.counters.sessions_expired, 1);
        sub(&mailbox.namespace.counters.sessions_parked, 1);
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
    mailbox.namespace.charge(mailbox.drop_expired(now, &mut drops));
    core.report(mailbox, drops);
    if let Some(at) = next {
        core.timers.schedule(at.max(now + Duration::from_millis(1)), mailbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wills_in_bulk_keep_their_pace() {
        let start = Instant::now();
        let mut wills = Wills::new(100, start);
        let mut published = 0;
        for milli in 0..10_000 {
            let now = start + Duration::from_millis(milli);
            published += (0..5).filter(|_| wills.take_turn(now)).count();
        }
        assert!((990..=1_001).contains(&published), "{published} in ten seconds");
        // After a pause a tenth of a second's worth goes out at once.
        let later = start + Duration::from_secs(100);
        assert_eq!((0..1_000).filter(|_| wills.take_turn(later)).count(), 10);
    }
}

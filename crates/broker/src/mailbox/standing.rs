//! What a session's client may do, kept with the mailbox: those who send to it ask, and those who change the rules tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dunlin_access::Rights;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{Mailbox, Owner, State, wake};
use crate::access::{Recheck, Vouched};
use crate::config::Limits;
use crate::quotas::QueueLimits;

/// What is known of what a client may do.
#[derive(Debug, Default)]
pub(super) struct Standing {
    vouched: Option<Arc<Vouched>>,
    rights: Option<Arc<Rights>>,
    /// What was queued before subscriptions were lost.
    recheck: Recheck,
    /// Other rules are in force: the owner is to look over the session's subscriptions, and whoever waits for that hears of
    /// it by the end of this.
    due: Option<TaskTrackerToken>,
    /// What may wait for it, where that is less than for others.
    queue: Option<QueueLimits>,
}

/// What is asked too often to take the mailbox's lock for it.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Whether its client has been here since the start, so that what it may do is known.
    known: AtomicBool,
    /// Whether somebody waits for the owner to look over the session's subscriptions.
    asked: AtomicBool,
}

impl Mailbox {
    /// Whether its client has been here since the start.
    pub(crate) fn is_known(&self) -> bool {
        self.marks.known.load(Ordering::Acquire)
    }

    /// Its client is here: what was vouched for, and what it may do.
    pub(crate) fn introduce(&self, vouched: Option<Arc<Vouched>>, rights: Option<Arc<Rights>>) {
        let mut state = self.lock();
        if vouched.is_some() || rights.is_some() || state.standing.is_some() {
            let standing = state.standing.get_or_insert_default();
            standing.vouched = vouched;
            standing.rights = rights;
        }
        self.marks.known.store(true, Ordering::Release);
    }

    pub(crate) fn set_queue_limits(&self, limits: Option<QueueLimits>) {
        let mut state = self.lock();
        if limits.is_some() || state.standing.is_some() {
            state.standing.get_or_insert_default().queue = limits;
        }
    }

    pub(crate) fn set_rights(&self, rights: Option<Arc<Rights>>) {
        let mut state = self.lock();
        if rights.is_some() || state.standing.is_some() {
            state.standing.get_or_insert_default().rights = rights;
        }
    }

    /// None if it may do everything, or nothing is known of it yet.
    pub(crate) fn rights(&self) -> Option<Arc<Rights>> {
        self.lock().standing.as_ref()?.rights.clone()
    }

    pub(crate) fn vouched(&self) -> Option<Arc<Vouched>> {
        self.lock().standing.as_ref()?.vouched.clone()
    }

    /// Whether a message of this topic may be sent to the client, whatever it subscribed to. Where nothing is known of it
    /// yet, that is found out when it comes.
    pub(crate) fn may_get(&self, topic: &[u8]) -> bool {
        let state = self.lock();
        let rights = state.standing.as_ref().and_then(|standing| standing.rights.as_ref());
        rights.is_none_or(|rights| rights.deliver(topic).is_allowed())
    }

    /// What waits now is to be looked at when it is sent.
    pub(crate) fn recheck_queue(&self, by_subscription: bool) {
        let mut state = self.lock();
        let upto = state.last_seq;
        if upto > 0 {
            let recheck = &mut state.standing.get_or_insert_default().recheck;
            recheck.upto = upto;
            recheck.by_subscription |= by_subscription;
        }
    }

    pub(crate) fn recheck(&self) -> Recheck {
        self.lock().standing.as_ref().map_or_else(Recheck::default, |standing| standing.recheck)
    }

    /// Asks the owner to look over the session's subscriptions; `false` if there is none to ask, and nothing to be done if
    /// the session has ended.
    pub(crate) fn ask_to_look_over(&self, token: impl FnOnce() -> TaskTrackerToken) -> bool {
        let mut state = self.lock();
        let waker = match state.owner {
            Owner::Parked(_) => return false,
            Owner::Ended => None,
            Owner::Live => {
                state.standing.get_or_insert_default().due = Some(token());
                self.marks.asked.store(true, Ordering::Release);
                state.signal()
            }
        };
        drop(state);
        wake(waker);
        true
    }

    /// Whether a client is connected, by a listener.
    pub(crate) fn is_on_a_listener(&self) -> bool {
        self.is_online() && self.listener.load(Ordering::Relaxed) != 0
    }

    /// Whether somebody waits for the owner to look over its subscriptions, though it may have done so by itself.
    pub(crate) fn is_asked(&self) -> bool {
        self.marks.asked.load(Ordering::Acquire)
    }

    /// The owner looks over its subscriptions: whoever waits for that hears of it when this is dropped.
    pub(crate) fn take_due(&self) -> Option<TaskTrackerToken> {
        let mut state = self.lock();
        self.marks.asked.store(false, Ordering::Release);
        state.standing.as_mut()?.due.take()
    }
}

impl State {
    /// The limits of this session's queue, where they are tighter than everybody's.
    pub(super) fn own_limits(&self, limits: &Limits) -> Option<Limits> {
        let QueueLimits { messages, bytes } = self.standing.as_ref()?.queue?;
        let tighter = |own: Option<usize>, limit: usize| own.map_or(limit, |own| own.min(limit));
        Some(Limits {
            queue_messages_max: tighter(messages, limits.queue_messages_max),
            queue_bytes_max: tighter(bytes, limits.queue_bytes_max),
            ..limits.clone()
        })
    }
}

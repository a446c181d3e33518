//! A session in the index of subscriptions.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Mailbox;

/// Names a mailbox in the index of subscriptions: equal if it is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber(pub(crate) Arc<Mailbox>);

impl PartialEq for Subscriber {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Subscriber {}

impl Hash for Subscriber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// What became of a subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Counted {
    New,
    Gone,
}

impl Mailbox {
    /// A subscription came into the index, or left it.
    pub(crate) fn count_subscription(&self, what: Counted) {
        match what {
            Counted::New => self.subscriptions.fetch_add(1, Ordering::Relaxed),
            Counted::Gone => self.subscriptions.fetch_sub(1, Ordering::Relaxed),
        };
    }

    /// Subscriptions of the session.
    pub(crate) fn subscriptions(&self) -> u32 {
        self.subscriptions.load(Ordering::Relaxed)
    }
}

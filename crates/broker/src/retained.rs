//! The last message of each topic that was published with RETAIN, and its replay to new subscriptions.
//!
//! A retained PUBLISH gets its number and its receivers under one read guard of the router; SUBSCRIBE notes the highest
//! number under the write guard. So a replay that sends only numbers up to the noted one, and the live path, together
//! carry every message exactly once, and the newest last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dunlin_codec::Message;
use dunlin_session::{Delivery, Origin, SubscriptionIds};
use dunlin_topics::{NameCursor, NameIndex, TopicFilter};
use parking_lot::RwLock;

use crate::budget::Budget;
use crate::metrics::shift;
use crate::router::SubscriptionEntry;

/// What the index takes for a name, beside the message.
const INDEX_BYTES: usize = 128;

/// A retained message.
#[derive(Clone, Debug)]
pub(crate) struct Retained {
    pub(crate) message: Arc<Message>,
    /// Its place in the order of all retained messages.
    pub(crate) number: u64,
    pub(crate) expires_at: Option<Instant>,
}

/// What happened to the set when a retained PUBLISH came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kept {
    /// The message is the topic's retained message now, with this number.
    Stored(u64),
    /// The topic has no retained message any more; the removal has this number.
    Removed(u64),
    /// There was no room for another one.
    Full,
}

/// The retained messages of one namespace.
#[derive(Debug)]
pub(crate) struct RetainedSet {
    index: RwLock<NameIndex<Retained>>,
    last_number: AtomicU64,
    bytes: AtomicU64,
    messages_max: u64,
    bytes_max: u64,
    budget: Arc<Budget>,
}

impl RetainedSet {
    pub(crate) fn new(messages_max: u64, bytes_max: u64, budget: Arc<Budget>) -> Self {
        Self {
            index: RwLock::new(NameIndex::new()),
            last_number: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            messages_max,
            bytes_max,
            budget,
        }
    }

    /// Takes account of a message that came in (1) or went (-1).
    fn account(&self, message: &Message, sign: i64) {
        let size = message.size();
        shift(&self.bytes, sign * i64::try_from(size).unwrap_or(i64::MAX));
        self.budget.change(sign * Budget::entry_cost(INDEX_BYTES, size, message.payload.len()));
    }

    /// Applies a PUBLISH with RETAIN. To be called under the router's read guard.
    pub(crate) fn apply(&self, message: &Arc<Message>, expires_at: Option<Instant>) -> Kept {
        let mut index = self.index.write();
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        // [MQTT-3.3.1-6] [MQTT-3.3.1-7] An empty payload removes, and is never stored.
        if message.payload.is_empty() {
            if let Some(old) = index.remove(message.topic.as_bytes()) {
                self.account(&old.message, -1);
            }
            return Kept::Removed(number);
        }
        let old = index.get(message.topic.as_bytes()).map(|old| old.message.size() as u64);
        let bytes = self.bytes.load(Ordering::Relaxed) - old.unwrap_or(0) + message.size() as u64;
        let full =
            (old.is_none() && index.len() as u64 >= self.messages_max) || bytes > self.bytes_max;
        if full {
            return Kept::Full;
        }
        // [MQTT-3.3.1-5] The newest replaces.
        let retained = Retained { message: Arc::clone(message), number, expires_at };
        if let Some(old) = index.insert(&message.topic, retained) {
            self.account(&old.message, -1);
        }
        self.account(message, 1);
        Kept::Stored(number)
    }

    /// Puts back what the store kept.
    pub(crate) fn restore(&self, retained: Retained) {
        let mut index = self.index.write();
        self.last_number.fetch_max(retained.number, Ordering::Relaxed);
        self.account(&retained.message, 1);
        let topic = retained.message.topic.clone();
        index.insert(&topic, retained);
    }

    /// Numbers from here on belong to messages published later.
    pub(crate) fn last_number(&self) -> u64 {
        self.last_number.load(Ordering::Relaxed)
    }

    pub(crate) fn set_last_number(&self, number: u64) {
        self.last_number.fetch_max(number, Ordering::Relaxed);
    }

    pub(crate) fn len(&self) -> u64 {
        self.index.read().len() as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The replay of what `filter` matches, for a subscription made now. To be called under the router's write guard.
    pub(crate) fn replay(&self, filter: &TopicFilter, entry: SubscriptionEntry) -> Replay {
        Replay {
            filter: filter.clone(),
            cursor: self.index.read().cursor(filter),
            upto: self.last_number(),
            entry,
        }
    }

    /// Removes one message whose time has passed, unless it was replaced.
    fn remove_expired(&self, topic: &[u8], number: u64) {
        let mut index = self.index.write();
        if index.get(topic).is_some_and(|retained| retained.number == number)
            && let Some(old) = index.remove(topic)
        {
            self.account(&old.message, -1);
        }
    }

    /// Removes messages whose time has passed, looking at no more than `count` topics from where `cursor` stands.
    /// Returns whether the cursor came to its end.
    pub(crate) fn sweep(&self, cursor: &mut NameCursor, count: usize, now: Instant) -> bool {
        let mut expired = Vec::new();
        let mut ended = false;
        {
            let index = self.index.read();
            for _ in 0..count {
                let Some((_, retained)) = cursor.next(&index) else {
                    ended = true;
                    break;
                };
                if retained.expires_at.is_some_and(|at| at <= now) {
                    expired.push((retained.message.topic.clone(), retained.number));
                }
            }
        }
        for (topic, number) in expired {
            self.remove_expired(topic.as_bytes(), number);
        }
        ended
    }

    /// A cursor over every topic that does not begin with `$`.
    pub(crate) fn cursor(&self, filter: &TopicFilter) -> NameCursor {
        self.index.read().cursor(filter)
    }
}

/// Retained messages still to be sent for one subscription: a place in the index, not a list.
#[derive(Debug)]
pub(crate) struct Replay {
    filter: TopicFilter,
    cursor: NameCursor,
    /// Later numbers were carried by the live path.
    upto: u64,
    entry: SubscriptionEntry,
}

impl Replay {
    /// Appends deliveries until `bytes` are reached; `true` when there is nothing left.
    pub(crate) fn step(
        &mut self,
        set: &RetainedSet,
        bytes: usize,
        now: Instant,
        into: &mut Vec<Delivery>,
    ) -> bool {
        let index = set.index.read();
        let mut taken = 0;
        // Topics passed over cost time too: at most so many a step.
        for _ in 0..4096 {
            if taken >= bytes {
                return false;
            }
            let Some((_, retained)) = self.cursor.next(&index) else { return true };
            if retained.number > self.upto || retained.expires_at.is_some_and(|at| at <= now) {
                continue;
            }
            taken += retained.message.size();
            into.push(self.delivery(retained));
        }
        false
    }

    fn delivery(&self, retained: &Retained) -> Delivery {
        let ids: SubscriptionIds = self.entry.subscription_id.into_iter().collect();
        Delivery {
            message: Arc::clone(&retained.message),
            qos: retained.message.qos.min(self.entry.qos),
            // [MQTT-3.3.1-8 @3.1.1] A copy sent because of a new subscription has RETAIN 1, whatever was asked.
            retain: true,
            subscription_ids: ids,
            seq: 0,
            expires_at: retained.expires_at,
            sent_before: false,
            origin: Origin::Plain,
        }
    }

    /// The subscription's filter.
    pub(crate) fn filter(&self) -> &[u8] {
        self.filter.as_bytes()
    }
}

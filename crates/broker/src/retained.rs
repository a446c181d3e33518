//! The last message of each topic that was published with RETAIN, and its replay to new subscriptions.
//!
//! A retained PUBLISH gets its number and its receivers under one read guard of the router; SUBSCRIBE notes the highest
//! number under the write guard. So a replay that sends only numbers up to the noted one, and the live path, together
//! carry every message exactly once, and the newest last.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dunlin_access::Rights;
use dunlin_codec::{Message, TopicName};
use dunlin_session::{Delivery, Origin, SubscriptionIds};
use dunlin_store::NamespaceNo;
use dunlin_topics::{NameCursor, NameIndex, Named, TopicFilter};
use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Notify;

use crate::budget::Budget;
use crate::exports::Export;
use crate::metrics::shift;
use crate::quotas::QuotaLimit;
use crate::router::SubscriptionEntry;

/// Topics that are ordered apart from each other.
const ORDER_SHARDS: usize = 64;
/// Names looked at in one step of a replay.
const NAMES_PER_STEP: usize = 4_096;
/// What the index takes for a name, beside the message.
const INDEX_BYTES: usize = 128;
/// Room for so many topics under way is kept when there is none.
const UNDER_WAY_KEPT: usize = 1_024;

/// A retained message.
#[derive(Clone, Debug)]
pub(crate) struct Retained {
    pub(crate) message: Arc<Message>,
    /// Its place in the order of all retained messages.
    pub(crate) number: u64,
    pub(crate) expires_at: Option<Instant>,
}

impl Named for Retained {
    fn name(&self) -> &[u8] {
        self.message.topic.as_bytes()
    }
}

/// A message in the place of its topic, where a clone of that would be one more allocation.
#[derive(Debug)]
struct ByTopic(Arc<Message>);

impl Hash for ByTopic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.topic.as_bytes().hash(state);
    }
}

impl PartialEq for ByTopic {
    fn eq(&self, other: &Self) -> bool {
        self.0.topic == other.0.topic
    }
}

impl Eq for ByTopic {}

impl Borrow<[u8]> for ByTopic {
    fn borrow(&self) -> &[u8] {
        self.0.topic.as_bytes()
    }
}

/// A topic of which something is on its way to the store.
#[derive(Debug)]
struct UnderWay {
    /// Its messages and removals on their way.
    count: usize,
    /// The last one of them, if the store has not refused it.
    newest: u64,
    /// What the store has for the topic as far as is known, and since which number.
    stored: Option<Retained>,
    stored_number: u64,
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
    /// The tenant has as many as it may.
    OverQuota(QuotaLimit),
}

/// The retained messages of all namespaces together, and how many there may be.
#[derive(Debug)]
pub(crate) struct Totals {
    messages: AtomicU64,
    bytes: AtomicU64,
    messages_max: AtomicU64,
    bytes_max: AtomicU64,
}

impl Totals {
    pub(crate) const fn new(messages_max: u64, bytes_max: u64) -> Self {
        Self {
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            messages_max: AtomicU64::new(messages_max),
            bytes_max: AtomicU64::new(bytes_max),
        }
    }

    /// Takes other limits. What is there stays.
    pub(crate) fn set_limits(&self, messages_max: u64, bytes_max: u64) {
        self.messages_max.store(messages_max, Ordering::Relaxed);
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether there is no room for a message of `size` bytes in the place of one of `old` bytes, if there is one.
    fn are_full(&self, size: u64, old: Option<u64>) -> bool {
        let messages_max = self.messages_max.load(Ordering::Relaxed);
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        let bytes = (self.bytes() + size).saturating_sub(old.unwrap_or(0));
        old.is_none() && self.messages() >= messages_max || bytes > bytes_max
    }
}

/// When retained messages of all namespaces expire: for the one task that sees to it.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    /// With the message's namespace and number, which name it.
    by_time: Mutex<BTreeMap<(Instant, NamespaceNo, u64), Arc<Message>>>,
    changed: Notify,
}

impl Expiries {
    fn add(&self, key: (Instant, NamespaceNo, u64), message: &Arc<Message>) {
        let mut by_time = self.by_time.lock();
        let first = by_time.first_key_value().is_none_or(|(first, _)| key.0 < first.0);
        by_time.insert(key, Arc::clone(message));
        drop(by_time);
        if first {
            self.changed.notify_one();
        }
    }

    fn remove(&self, key: &(Instant, NamespaceNo, u64)) {
        self.by_time.lock().remove(key);
    }

    /// When the next message expires.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.lock().first_key_value().map(|((at, _, _), _)| *at)
    }

    /// Told when a message expires sooner than all others.
    pub(crate) const fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Takes a message whose time has passed, with its namespace and number.
    pub(crate) fn pop(&self, now: Instant) -> Option<(NamespaceNo, Arc<Message>, u64)> {
        let mut by_time = self.by_time.lock();
        let entry = by_time.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, namespace, number), message) = entry.remove_entry();
        Some((namespace, message, number))
    }
}

/// What of a namespace's retained messages counts for the quotas of its tenant: all but `$SYS`, which is the broker's.
#[derive(Debug)]
struct OwnTotals {
    messages: AtomicU64,
    bytes: AtomicU64,
    messages_max: AtomicU64,
    bytes_max: AtomicU64,
}

impl OwnTotals {
    const fn new() -> Self {
        Self {
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            messages_max: AtomicU64::new(u64::MAX),
            bytes_max: AtomicU64::new(u64::MAX),
        }
    }

    /// The limit that leaves no room for a message of `size` bytes in the place of one of `old` bytes, if there is one.
    fn limit_reached(&self, size: u64, old: Option<u64>) -> Option<QuotaLimit> {
        let number = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        if old.is_none() && number(&self.messages) >= number(&self.messages_max) {
            return Some(QuotaLimit::RetainedMessages);
        }
        let bytes = (number(&self.bytes) + size).saturating_sub(old.unwrap_or(0));
        (bytes > number(&self.bytes_max)).then_some(QuotaLimit::RetainedBytes)
    }
}

/// The retained messages of one namespace.
#[derive(Debug)]
pub(crate) struct RetainedSet {
    index: RwLock<NameIndex<Retained>>,
    last_number: AtomicU64,
    bytes: AtomicU64,
    own: OwnTotals,
    totals: Arc<Totals>,
    budget: Arc<Budget>,
    namespace: NamespaceNo,
    expiries: Arc<Expiries>,
    /// Topics of which the store may yet refuse something: then what it has holds again. Locked after `index`. Bounded by
    /// what may be on its way to the store.
    under_way: Mutex<HashMap<ByTopic, UnderWay>>,
    /// See [`RetainedSet::order`].
    order: [Mutex<()>; ORDER_SHARDS],
    hasher: DefaultHashBuilder,
}

impl RetainedSet {
    pub(crate) fn new(
        namespace: NamespaceNo,
        totals: Arc<Totals>,
        budget: Arc<Budget>,
        expiries: Arc<Expiries>,
    ) -> Self {
        Self {
            index: RwLock::new(NameIndex::new()),
            last_number: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            own: OwnTotals::new(),
            totals,
            budget,
            namespace,
            expiries,
            under_way: Mutex::default(),
            order: std::array::from_fn(|_| Mutex::default()),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Held from [`RetainedSet::apply`] until the message is in its receivers' queues, or on its way through the store: so
    /// that of two publishers the one whose message is retained is the one that every subscriber hears last.
    pub(crate) fn order(&self, topic: &TopicName) -> MutexGuard<'_, ()> {
        let [first, ..] = &self.order;
        let shard = usize::try_from(self.hasher.hash_one(topic.as_bytes()) % ORDER_SHARDS as u64);
        shard.ok().and_then(|shard| self.order.get(shard)).unwrap_or(first).lock()
    }

    /// Takes other limits of its tenant. What is there stays.
    pub(crate) fn set_own_limits(&self, messages_max: Option<u64>, bytes_max: Option<u64>) {
        self.own.messages_max.store(messages_max.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.own.bytes_max.store(bytes_max.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Takes account of a message that came in.
    fn came(&self, retained: &Retained) {
        self.account(&retained.message, 1);
        if let Some(at) = retained.expires_at {
            self.expiries.add((at, self.namespace, retained.number), &retained.message);
        }
    }

    /// Takes account of a message that went.
    fn went(&self, retained: &Retained) {
        self.account(&retained.message, -1);
        if let Some(at) = retained.expires_at {
            self.expiries.remove(&(at, self.namespace, retained.number));
        }
    }

    fn account(&self, message: &Message, sign: i64) {
        let size = message.size();
        let bytes = sign * i64::try_from(size).unwrap_or(i64::MAX);
        shift(&self.bytes, bytes);
        if Self::is_stored(&message.topic) {
            shift(&self.own.bytes, bytes);
            shift(&self.own.messages, sign);
        }
        shift(&self.totals.bytes, bytes);
        shift(&self.totals.messages, sign);
        self.budget.change(sign * Budget::entry_cost(INDEX_BYTES, size, message.payload.len()));
    }

    /// Removes a message whose time has passed. Gives the number of its removal.
    pub(crate) fn expire(&self, topic: &TopicName, number: u64) -> u64 {
        let mut index = self.index.write();
        let removal = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        if index.get(topic.as_bytes()).is_some_and(|retained| retained.number == number)
            && let Some(old) = index.remove(topic.as_bytes())
        {
            self.went(&old);
            // Nothing from before comes back.
            if let Some(topic) = self.under_way.lock().get_mut(topic.as_bytes()) {
                (topic.newest, topic.stored, topic.stored_number) = (removal, None, removal);
            }
        }
        removal
    }

    /// Applies a PUBLISH with RETAIN. To be called under the router's read guard.
    // [MQTT-3.3.1-5 @3.1.1] [MQTT-3.3.1-7 @3.1.1] [MQTT-3.3.1-10 @3.1.1] [MQTT-3.3.1-11 @3.1.1] [MQTT-3.1.2-7 @3.1.1]
    pub(crate) fn apply(&self, message: &Arc<Message>, expires_at: Option<Instant>) -> Kept {
        let mut index = self.index.write();
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        // [MQTT-3.3.1-6] [MQTT-3.3.1-7] An empty payload removes, and is never stored.
        if message.payload.is_empty() {
            let old = index.remove(message.topic.as_bytes());
            if let Some(old) = &old {
                self.went(old);
            }
            self.begins(message, number, old);
            return Kept::Removed(number);
        }
        let old = index.get(message.topic.as_bytes()).map(|old| old.message.size() as u64);
        if self.totals.are_full(message.size() as u64, old) {
            return Kept::Full;
        }
        if Self::is_stored(&message.topic)
            && let Some(limit) = self.own.limit_reached(message.size() as u64, old)
        {
            return Kept::OverQuota(limit);
        }
        // [MQTT-3.3.1-5] The newest replaces.
        let retained = Retained { message: Arc::clone(message), number, expires_at };
        self.came(&retained);
        let old = index.insert(retained);
        if let Some(old) = &old {
            self.went(old);
        }
        self.begins(message, number, old);
        Kept::Stored(number)
    }

    /// Whether the store keeps the retained message of this topic too: `$SYS` is kept in memory only.
    pub(crate) fn is_stored(topic: &TopicName) -> bool {
        !topic.as_bytes().starts_with(b"$SYS/")
    }

    /// A message or a removal goes to the store, where `old` may be what it replaces.
    fn begins(&self, message: &Arc<Message>, number: u64, old: Option<Retained>) {
        if !Self::is_stored(&message.topic) {
            return;
        }
        let mut under_way = self.under_way.lock();
        let topic = under_way.entry(ByTopic(Arc::clone(message))).or_insert_with(|| {
            let stored_number = old.as_ref().map_or(0, |old| old.number);
            UnderWay { count: 0, newest: number, stored: old, stored_number }
        });
        topic.count += 1;
        topic.newest = number;
    }

    /// The store has this message, or this removal if its payload is empty.
    pub(crate) fn settled(&self, message: &Arc<Message>, number: u64, expires_at: Option<Instant>) {
        if let Some(topic) = self.under_way.lock().get_mut(message.topic.as_bytes())
            && topic.stored_number < number
        {
            let message = Arc::clone(message);
            let removes = message.payload.is_empty();
            topic.stored = (!removes).then_some(Retained { message, number, expires_at });
            topic.stored_number = number;
        }
        // Whether something newer was refused before it.
        self.ends(&message.topic, |topic| topic.newest < number);
    }

    /// The store refused this message or removal: what it has for the topic holds again, unless something newer does.
    pub(crate) fn take_back(&self, topic: &TopicName, number: u64) {
        self.ends(topic, |topic| topic.newest == number);
    }

    /// One thing less is on its way. If `returns` says so, what the store has is the topic's retained message again.
    fn ends(&self, name: &TopicName, returns: impl Fn(&UnderWay) -> bool) {
        let may_return = self.under_way.lock().get(name.as_bytes()).is_some_and(&returns);
        let index = may_return.then(|| self.index.write());
        let mut under_way = self.under_way.lock();
        let Some(topic) = under_way.get_mut(name.as_bytes()) else { return };
        // Looked at again: a newer one may have come since.
        if let Some(mut index) = index.filter(|_| returns(topic)) {
            topic.newest = topic.stored_number;
            let old = match &topic.stored {
                Some(stored) => {
                    self.came(stored);
                    index.insert(stored.clone())
                }
                None => index.remove(name.as_bytes()),
            };
            if let Some(old) = old {
                self.went(&old);
            }
        }
        topic.count -= 1;
        if topic.count == 0 {
            under_way.remove(name.as_bytes());
            // After a burst.
            if under_way.is_empty() && under_way.capacity() > UNDER_WAY_KEPT {
                under_way.shrink_to(UNDER_WAY_KEPT);
            }
        }
    }

    /// Puts back what the store kept.
    pub(crate) fn restore(&self, retained: Retained) {
        let mut index = self.index.write();
        self.last_number.fetch_max(retained.number, Ordering::Relaxed);
        self.came(&retained);
        index.insert(retained);
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

    /// Whether there may be something for a replay to `filter`: a filter without wildcards is looked up. To be called where
    /// [`RetainedSet::replay`] is.
    pub(crate) fn may_have(&self, filter: &TopicFilter) -> bool {
        let index = self.index.read();
        if filter.has_wildcards() {
            !index.is_empty()
        } else {
            index.get(filter.as_bytes()).is_some()
        }
    }

    /// The replay of what `filter` matches, for a subscription made now. To be called under the router's write guard.
    // [MQTT-3.3.1-6 @3.1.1] [MQTT-3.8.4-4]
    pub(crate) fn replay(&self, filter: &TopicFilter, entry: SubscriptionEntry) -> Replay {
        Replay {
            filter: filter.clone(),
            cursor: self.index.read().cursor(filter),
            upto: self.last_number(),
            entry,
            import: None,
        }
    }

    /// Whether there is a message of this topic. May be asked while another namespace's set is read.
    pub(crate) fn has(&self, topic: &TopicName) -> bool {
        // Whoever writes to a set waits for no other, so that waiting writers are passed by without harm.
        self.index.read_recursive().get(topic.as_bytes()).is_some()
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
    /// The rule by which another tenant's messages are shown, and the filter that they have to match there.
    import: Option<(Arc<Export>, TopicFilter)>,
}

impl Replay {
    /// The replay of what a subscription to `filter` is shown by this rule; none if that is nothing. To be called under the
    /// write guard of the subscriber's router.
    pub(crate) fn of_import(
        export: &Arc<Export>,
        filter: &TopicFilter,
        entry: SubscriptionEntry,
    ) -> Option<Self> {
        let (here, searched) = export.wanted(filter)?;
        let replay = export.from.retained.replay(&searched, entry);
        Some(Self { filter: filter.clone(), import: Some((Arc::clone(export), here)), ..replay })
    }

    /// Hands the next deliveries of about `bytes` to `post`; `true` when there is nothing left.
    ///
    /// `post` runs while no message can be replaced, so that what it puts into a queue is there before anything newer.
    /// It must not call hooks, nor anything that publishes.
    pub(crate) fn step(
        &mut self,
        own: &RetainedSet,
        rights: Option<&Rights>,
        bytes: usize,
        now: Instant,
        post: impl FnOnce(Vec<Delivery>),
    ) -> bool {
        let import = self.import.clone();
        if import.as_ref().is_some_and(|(export, _)| !export.is_in_force()) {
            return true;
        }
        let set = import.as_ref().map_or(own, |(export, _)| &export.from.retained);
        let index = set.index.read();
        let mut deliveries = Vec::new();
        let mut taken = 0;
        let Self { cursor, upto, entry, .. } = self;
        // Names passed over cost time too: at most so many a step.
        let mut found = cursor.resume(&index, NAMES_PER_STEP);
        while taken < bytes
            && let Some(retained) = found.next()
        {
            let expired = retained.expires_at.is_some_and(|at| at <= now);
            if retained.number > *upto || expired {
                continue;
            }
            let message = match &import {
                None => Some(Arc::clone(&retained.message)),
                Some((export, here)) if here.matches(&retained.message.topic) => {
                    export.shown(&retained.message)
                }
                Some(_) => None,
            };
            let allowed = |message: &Arc<Message>| {
                let topic = message.topic.as_bytes();
                !entry.filtered || rights.is_none_or(|rights| rights.deliver(topic).is_allowed())
            };
            if let Some(message) = message.filter(allowed) {
                taken += message.size();
                deliveries.push(entry.replayed(message, retained.expires_at));
            }
        }
        drop(found);
        post(deliveries);
        self.cursor.is_done()
    }

    /// The client's rights are others now: each topic is looked at from here on.
    pub(crate) fn look_at_each(&mut self) {
        self.entry.filtered = true;
    }

    /// The subscription's filter.
    pub(crate) fn filter(&self) -> &[u8] {
        self.filter.as_bytes()
    }
}

impl SubscriptionEntry {
    /// The copy of a retained message that a new subscription gets.
    fn replayed(self, message: Arc<Message>, expires_at: Option<Instant>) -> Delivery {
        let ids: SubscriptionIds = self.subscription_id.into_iter().collect();
        Delivery {
            qos: message.qos.min(self.qos),
            message,
            // [MQTT-3.3.1-8 @3.1.1] A copy sent because of a new subscription has RETAIN 1, whatever was asked.
            retain: true,
            subscription_ids: ids,
            seq: 0,
            expires_at,
            sent_before: false,
            origin: Origin::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_codec::Qos;

    use super::*;

    fn message(payload: &'static str) -> Arc<Message> {
        Arc::new(Message {
            topic: "r".try_into().expect("a topic"),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: None,
        })
    }

    fn apply(set: &RetainedSet, payload: &'static str) -> (Arc<Message>, u64) {
        let message = message(payload);
        match set.apply(&message, None) {
            Kept::Stored(number) | Kept::Removed(number) => (message, number),
            Kept::Full | Kept::OverQuota(_) => panic!("there is room"),
        }
    }

    #[test]
    fn a_filter_without_wildcards_is_looked_up() {
        let budget = Budget::new(1 << 20);
        let totals = Arc::new(Totals::new(10, 1 << 20));
        let set = RetainedSet::new(NamespaceNo::DEFAULT, totals, budget, Arc::default());
        let may_have = || {
            ["r", "s", "+", "#"].map(|filter| set.may_have(&filter.try_into().expect("a filter")))
        };
        assert_eq!(may_have(), [false; 4]);
        apply(&set, "first");
        assert_eq!(may_have(), [true, false, true, true]);
        apply(&set, "");
        assert_eq!(may_have(), [false; 4]);
    }

    #[test]
    // [MQTT-3.3.1-5] In whatever order the store takes and refuses, memory ends with what it has.
    fn what_the_store_refuses_gives_way_to_what_it_has() {
        let budget = Budget::new(1 << 20);
        let set = RetainedSet::new(
            NamespaceNo::DEFAULT,
            Arc::new(Totals::new(10, 1 << 20)),
            Arc::clone(&budget),
            Arc::default(),
        );
        let now = || set.index.read().get(b"r").map(|kept| kept.message.payload.clone());
        let (first, number) = apply(&set, "first");
        set.settled(&first, number, None);
        let (second, second_number) = apply(&set, "second");
        let (third, third_number) = apply(&set, "third");
        assert_eq!(now(), Some("third".into()));
        set.take_back(&third.topic, third_number);
        assert_eq!(now(), Some("first".into()));
        set.settled(&second, second_number, None);
        assert_eq!(now(), Some("second".into()));

        let (removal, number) = apply(&set, "");
        assert_eq!(now(), None);
        set.take_back(&removal.topic, number);
        assert_eq!(now(), Some("second".into()));

        let (fourth, fourth_number) = apply(&set, "fourth");
        let (removal, number) = apply(&set, "");
        set.settled(&removal, number, None);
        set.take_back(&fourth.topic, fourth_number);
        assert_eq!(now(), None);
        assert!(set.under_way.lock().is_empty());
        assert_eq!((set.bytes(), budget.used()), (0, 0));
    }
}

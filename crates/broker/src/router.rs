//! Who gets a message: the subscriptions of one namespace, and the routes computed from them.
//!
//! Subscriptions change under a write lock; a publish reads. A connection keeps the [`Route`] of each topic it publishes
//! to, with the [`Stamp`] of the counters as they were BEFORE the walk, and walks again when they have moved on. A
//! subscription is visible in the counters before its SUBACK leaves.
//!
//! One copy goes to each client, whatever number of its subscriptions match, so that [MQTT-3.3.4-5] has nothing to say here.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use dunlin_codec::{Qos, SubscriptionId, TopicName};
use dunlin_session::{Subscription, SubscriptionIds};
use dunlin_store::SessionNo;
use dunlin_topics::{FilterIndex, SharedFilter, SubscriptionFilter, TopicFilter};
use hashbrown::{DefaultHashBuilder, HashMap};

use crate::exports::ExportRoute;
use crate::mailbox::{Mailbox, Subscriber};
use crate::share::Group;

/// Counters for exact filters: a subscription to one moves one of them, so that it leaves the routes of most topics valid.
const BUCKETS: usize = 1024;

/// What the index keeps of a subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SubscriptionEntry {
    /// The granted QoS.
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_id: Option<SubscriptionId>,
    /// Whether the filter reaches further than its client's rights, so that each topic has to be looked at.
    pub(crate) filtered: bool,
}

impl SubscriptionEntry {
    /// For a filter that stays within its client's rights.
    pub(crate) const fn of(subscription: &Subscription) -> Self {
        let options = subscription.options;
        Self {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            subscription_id: subscription.subscription_id,
            filtered: false,
        }
    }
}

/// The subscriptions of one namespace.
#[derive(Debug)]
pub(crate) struct Router {
    /// Locked for reading in one of several places, so that cores that look for receivers do not wait for each other; a change
    /// locks all of them.
    tables: ShardedLock<Tables>,
    hasher: DefaultHashBuilder,
    wildcards: AtomicU64,
    exact: Box<[AtomicU32]>,
}

/// What is behind the lock.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    plain: FilterIndex<Subscriber, SubscriptionEntry>,
    /// By topic filter; the key is the group.
    shared: FilterIndex<Arc<Group>, ()>,
    /// By the whole filter, `$share/{group}/{filter}`.
    groups: HashMap<SharedFilter, Arc<Group>>,
    groups_by_number: HashMap<SessionNo, Arc<Group>>,
}

/// The counters at the time of a walk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stamp {
    wildcards: u64,
    exact: u32,
    bucket: u16,
}

/// Where messages of one topic from one publisher go.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: TopicName,
    pub(crate) stamp: Stamp,
    pub(crate) targets: Box<[RouteTarget]>,
    pub(crate) groups: Box<[Arc<Group>]>,
    /// Where they go in other tenants.
    pub(crate) exports: Box<[ExportRoute]>,
}

/// One receiver, for all its matching subscriptions together.
#[derive(Debug)]
pub(crate) struct RouteTarget {
    /// Weak: a route that nobody asks for again must not keep a session's queue.
    pub(crate) mailbox: Weak<Mailbox>,
    /// The highest granted QoS. [MQTT-3.3.4-2]
    pub(crate) qos: Qos,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_ids: SubscriptionIds,
}

impl Router {
    pub(crate) fn new() -> Self {
        Self {
            tables: ShardedLock::default(),
            hasher: DefaultHashBuilder::default(),
            wildcards: AtomicU64::new(0),
            exact: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Adds or replaces a subscription and then runs `while_locked`, all under the write lock.
    /// Returns whether the subscription is new, and what `while_locked` returned.
    pub(crate) fn subscribe<T>(
        &self,
        filter: &SubscriptionFilter,
        mailbox: &Arc<Mailbox>,
        entry: SubscriptionEntry,
        make_group: impl FnOnce(&SharedFilter) -> Arc<Group>,
        while_locked: impl FnOnce() -> T,
    ) -> (bool, T) {
        let mut tables = self.write();
        let new = match filter {
            // [MQTT-3.8.4-3] The same filter replaces.
            SubscriptionFilter::Plain(filter) => {
                tables.plain.insert(filter, Subscriber(Arc::clone(mailbox)), entry).is_none()
            }
            SubscriptionFilter::Shared(shared) => {
                let group = match tables.groups.get(shared) {
                    Some(group) => Arc::clone(group),
                    None => {
                        let group = make_group(shared);
                        tables.groups.insert(shared.clone(), Arc::clone(&group));
                        tables.groups_by_number.insert(group.session_no, Arc::clone(&group));
                        tables.shared.insert(shared.filter(), Arc::clone(&group), ());
                        group
                    }
                };
                group.join(mailbox, entry)
            }
        };
        self.bump(filter.topic_filter());
        (new, while_locked())
    }

    /// Removes a subscription; whether there was one. The group left empty is returned, to be closed.
    pub(crate) fn unsubscribe(
        &self,
        filter: &SubscriptionFilter,
        mailbox: &Arc<Mailbox>,
    ) -> (bool, Option<Arc<Group>>) {
        let mut tables = self.write();
        let outcome = match filter {
            SubscriptionFilter::Plain(filter) => {
                (tables.plain.remove(filter, &Subscriber(Arc::clone(mailbox))).is_some(), None)
            }
            SubscriptionFilter::Shared(shared) => match tables.groups.get(shared).map(Arc::clone) {
                Some(group) => {
                    let left = group.leave(mailbox);
                    let empty = group.is_empty();
                    if empty {
                        tables.groups.remove(shared);
                        tables.groups_by_number.remove(&group.session_no);
                        tables.shared.remove(shared.filter(), &group);
                    }
                    (left, empty.then_some(group))
                }
                None => (false, None),
            },
        };
        self.bump(filter.topic_filter());
        outcome
    }

    /// What is kept of a subscription.
    pub(crate) fn entry(
        &self,
        filter: &SubscriptionFilter,
        mailbox: &Arc<Mailbox>,
    ) -> Option<SubscriptionEntry> {
        let tables = self.read();
        match filter {
            SubscriptionFilter::Plain(filter) => {
                tables.plain.get(filter, &Subscriber(Arc::clone(mailbox))).copied()
            }
            SubscriptionFilter::Shared(shared) => {
                Some(tables.groups.get(shared)?.member(mailbox)?.entry)
            }
        }
    }

    /// The group of a shared filter.
    pub(crate) fn group(&self, filter: &SharedFilter) -> Option<Arc<Group>> {
        self.read().groups.get(filter).map(Arc::clone)
    }

    /// The group with this number.
    pub(crate) fn group_by_number(&self, number: SessionNo) -> Option<Arc<Group>> {
        self.read().groups_by_number.get(&number).map(Arc::clone)
    }

    /// Restores a group as it stood in the store.
    pub(crate) fn restore_group(&self, filter: &SharedFilter, group: Arc<Group>) {
        let mut tables = self.write();
        tables.shared.insert(filter.filter(), Arc::clone(&group), ());
        tables.groups_by_number.insert(group.session_no, Arc::clone(&group));
        tables.groups.insert(filter.clone(), group);
        self.bump(filter.filter());
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let tables = std::mem::take(&mut *self.write());
        drop(tables);
    }

    pub(crate) fn read(&self) -> ShardedLockReadGuard<'_, Tables> {
        // Whoever panicked has left the tables as they are, and all others go on.
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> ShardedLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters for `name`, to be taken before the walk.
    pub(crate) fn stamp(&self, name: &[u8]) -> Stamp {
        let bucket = self.bucket(name);
        Stamp {
            wildcards: self.wildcards.load(Ordering::Acquire),
            exact: self
                .exact
                .get(usize::from(bucket))
                .map_or(0, |cell| cell.load(Ordering::Acquire)),
            bucket,
        }
    }

    /// Whether nothing that concerns the route has changed since its stamp was taken.
    pub(crate) fn is_current(&self, stamp: Stamp) -> bool {
        self.wildcards.load(Ordering::Acquire) == stamp.wildcards
            && self
                .exact
                .get(usize::from(stamp.bucket))
                .is_some_and(|cell| cell.load(Ordering::Acquire) == stamp.exact)
    }

    /// Runs `change` while nobody walks for receivers, and has every route made anew.
    pub(crate) fn change_rules(&self, change: impl FnOnce()) {
        let _tables = self.write();
        change();
        self.wildcards.fetch_add(1, Ordering::Release);
    }

    fn bucket(&self, name: &[u8]) -> u16 {
        u16::try_from(self.hasher.hash_one(name) % BUCKETS as u64).unwrap_or(0)
    }

    fn bump(&self, filter: &TopicFilter) {
        if filter.has_wildcards() {
            self.wildcards.fetch_add(1, Ordering::Release);
        } else if let Some(cell) = self.exact.get(usize::from(self.bucket(filter.as_bytes()))) {
            cell.fetch_add(1, Ordering::Release);
        }
    }
}

impl Tables {
    /// Walks for the receivers of `name` in this namespace, from the publisher `from`. The stamp was taken before the lock.
    pub(crate) fn route(
        &self,
        name: TopicName,
        from: Option<&Arc<Mailbox>>,
        stamp: Stamp,
    ) -> Route {
        let mut found: Vec<(&Subscriber, &SubscriptionEntry)> = Vec::new();
        self.plain.matches(name.as_bytes(), |subscriber, entry| {
            // [MQTT-3.8.3-3] What a client published is not sent back to it by this subscription.
            let own = || from.is_some_and(|publisher| Arc::ptr_eq(publisher, &subscriber.0));
            let forbidden = || entry.filtered && !subscriber.0.may_get(name.as_bytes());
            if !(entry.no_local && own() || forbidden()) {
                found.push((subscriber, entry));
            }
        });
        // An exact filter names each client once; only wildcards can overlap.
        if self.plain.wildcard_len() > 0 {
            found.sort_by_key(|(subscriber, _)| Arc::as_ptr(&subscriber.0));
        }
        let mut targets: Vec<RouteTarget> = Vec::with_capacity(found.len());
        let mut last: Option<&Subscriber> = None;
        for (subscriber, entry) in found {
            match targets.last_mut().filter(|_| last == Some(subscriber)) {
                Some(target) => target.merge(entry),
                None => targets.push(RouteTarget::new(subscriber, entry)),
            }
            last = Some(subscriber);
        }
        let mut groups = Vec::new();
        self.shared.matches(name.as_bytes(), |group, ()| groups.push(Arc::clone(group)));
        let (targets, groups, exports) = (targets.into(), groups.into(), Box::default());
        Route { name, stamp, targets, groups, exports }
    }
}

impl RouteTarget {
    fn new(subscriber: &Subscriber, entry: &SubscriptionEntry) -> Self {
        Self {
            mailbox: Arc::downgrade(&subscriber.0),
            qos: entry.qos,
            retain_as_published: entry.retain_as_published,
            subscription_ids: entry.subscription_id.into_iter().collect(),
        }
    }

    /// [MQTT-3.3.5-1 @3.1.1] One copy serves all subscriptions of a client: at the highest QoS, with every identifier [MQTT-3.3.4-4], and with
    /// RETAIN kept if one of them wants it kept.
    fn merge(&mut self, entry: &SubscriptionEntry) {
        self.qos = self.qos.max(entry.qos);
        self.retain_as_published |= entry.retain_as_published;
        self.subscription_ids.extend(entry.subscription_id);
    }
}

impl Route {
    /// Whether nobody gets these messages.
    pub(crate) fn is_empty(&self) -> bool {
        let own = self.targets.is_empty() && self.groups.is_empty();
        own && self.exports.iter().all(|there| there.route.is_empty())
    }

    /// How many receivers it names.
    pub(crate) fn len(&self) -> usize {
        let there = self.exports.iter().map(|there| there.route.targets.len()).sum::<usize>();
        self.targets.len() + there
    }
}

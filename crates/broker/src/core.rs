//! One broker's shared state: its namespaces, its counters, its store, and what a few of them do together.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use dunlin_codec::{Message, Publish, ReasonCode, TopicName};
use dunlin_session::{Output, Outputs, Session};
use dunlin_store::{Change, Committer, Durability, Room, SessionRecord, UnixMillis};
use dunlin_topics::SubscriptionFilter;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::alarms::Alarms;
use crate::allowed::Allowed;
use crate::bans::Bans;
use crate::budget::{Budget, Pressure};
use crate::chain::Authenticators;
use crate::config::Config;
use crate::drops;
use crate::fanout::{Routed, Source, Staging, expires_at};
use crate::handing_in::Backlog;
use crate::holding::{BROKER_LINE, Holding};
use crate::hooks::{Hooks, Interests, guarded};
use crate::janitor::Timers;
use crate::lane::Patience;
use crate::listen::{Proofs, RefusalLog, days_left};
use crate::mailbox::{Counted, Mailbox, Notice};
use crate::metrics::{Counters, DropReason, Metrics, add, sub};
use crate::namespace::{Namespace, Namespaces};
use crate::pager::Pager;
use crate::persist::{Entry, RetainedPlace, Write, record};
use crate::queue::Drops;
use crate::quotas::{Book, QuotaEvent, QuotaScope};
use crate::retained::{Kept, RetainedSet};
use crate::router::Route;

/// The shared state of one broker. Its alignment keeps what is read in every turn off the cache line on which handles to it
/// are counted.
#[repr(align(128))]
pub(crate) struct Core {
    /// This, for what runs on the committer's thread.
    pub(crate) me: Weak<Self>,
    /// As it is now: a reload puts another one in its place. What must agree takes it once: [`Core::config`].
    pub(crate) config: ArcSwap<Config>,
    /// What belongs to no namespace: listeners, connections that nobody is known behind.
    pub(crate) counters: Counters,
    pub(crate) budget: Arc<Budget>,
    pub(crate) namespaces: Namespaces,
    pub(crate) access: Access,
    /// Who may do how much.
    pub(crate) quotas: Book,
    /// Who is not let in.
    pub(crate) bans: Bans,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) interests: Interests,
    /// As they are now; a reload may bring others.
    pub(crate) authenticators: ArcSwap<Authenticators>,
    pub(crate) committer: Committer<Write>,
    /// Writes that the committer had no room for and nobody can hold: handed in first, in their order.
    pub(crate) backlog: Backlog,
    /// What the store has no room for.
    pub(crate) holding: Holding,
    /// Whether the store had no room when it was asked last.
    pub(crate) store_is_full: AtomicBool,
    /// Reads long queues back from the store.
    pub(crate) pager: Pager,
    /// The runtime that the broker was started on, for what begins on other threads.
    pub(crate) runtime: Handle,
    /// Sessions without a connection whose will or end is due at some time.
    pub(crate) timers: Timers,
    /// When idle connections look at the time again.
    pub(crate) alarms: Arc<Alarms>,
    /// The connections' tasks, for a shutdown to wait for.
    pub(crate) tasks: TaskTracker,
    /// Becomes `true` when the broker shuts down.
    pub(crate) closing: watch::Sender<bool>,
    /// Open Network Connections, over all listeners.
    pub(crate) connections: AtomicU64,
    pub(crate) connections_max: AtomicU64,
    /// Lets handshakes take turns, so that those who are connected get theirs.
    pub(crate) turns: Arc<Semaphore>,
    /// What TLS listeners prove themselves with.
    pub(crate) proofs: Mutex<Proofs>,
    /// What is said of refused clients, so that a storm of them does not fill the log.
    pub(crate) refusals: RefusalLog,
    /// Counted by the program around the broker.
    pub(crate) audit_events_lost: Arc<AtomicU64>,
    /// Told when the configuration has changed, for tasks that sleep by it.
    pub(crate) reconfigured: Notify,
    /// One more for each configuration, from 1 on, for connections to see that it is another.
    pub(crate) generation: AtomicU32,
    pub(crate) started: Instant,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("config", &**self.config()).finish_non_exhaustive()
    }
}

impl Core {
    /// The configuration as it is now. It costs a few nanoseconds and waits for nobody; whoever needs it more than once in a
    /// turn or a batch keeps it for that long, and no longer.
    pub(crate) fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// Takes another configuration, listeners apart. What is there stays, above a lower limit too.
    pub(crate) fn adopt(&self, config: Config) {
        let allowed = Allowed::of(&config.limits);
        self.connections_max.store(allowed.connections, Ordering::Relaxed);
        self.budget.set_max(allowed.memory_bytes);
        let other_quotas = self.config().quotas != config.quotas;
        if other_quotas {
            self.quotas.set_rules(&config.quotas, Instant::now());
            self.limit_retained();
        }
        self.bans.set_rules(&config.bans);
        let messages_max = config.limits.retained_messages_max;
        self.namespaces.common().totals.set_limits(messages_max, allowed.retained_bytes);
        self.config.store(Arc::new(config));
        self.generation.fetch_add(1, Ordering::Release);
        if other_quotas {
            // Who has no account yet and should takes it, and who waits for one waits anew.
            self.access.renew();
            self.for_each_session(|mailbox| {
                if mailbox.is_on_a_listener() {
                    mailbox.notify(Vec::new());
                }
            });
        }
        self.link_tenants();
        self.reconfigured.notify_waiters();
    }

    /// The number of the configuration. Who asks for that afterwards gets this one, or a later one.
    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Copies a PUBLISH out of the bytes it was read into, into allocations of its own size.
    pub(crate) fn own(&self, publish: &Publish<&[u8]>, topic: TopicName) -> Message {
        let payload = self.budget.own(publish.payload);
        let head = Publish { payload: &[][..], ..publish.clone() };
        Message { payload, ..Message::copy_from(&head, topic) }
    }

    /// Bytes waiting for a receiver from which on its publishers are slowed: any at all when memory is short.
    pub(crate) fn lane_soft(&self) -> usize {
        if self.budget.pressure() >= Pressure::SlowPublishers {
            1
        } else {
            self.config().limits.qos0_lane_bytes_soft
        }
    }

    /// A payload in an allocation of its own size.
    pub(crate) fn own_payload(&self, payload: &[u8]) -> Bytes {
        self.budget.own(payload)
    }

    /// What an acknowledgement of a message to this topic promises: as the first rule that matches says, else the
    /// publisher's listener, else as everywhere.
    pub(crate) fn level(&self, topic: &TopicName, listener: Option<Durability>) -> Durability {
        let config = self.config();
        let rules = &config.durability_rules;
        let rule = rules.iter().find(|rule| rule.filter.matches(topic)).map(|rule| rule.level);
        rule.or(listener).unwrap_or(config.durability)
    }

    /// Counts what was dropped and tells the hook. With no lock held, since the hook may do anything.
    pub(crate) fn report(&self, mailbox: &Arc<Mailbox>, drops: Drops) {
        // Nearly always: this is asked for each copy.
        if drops.list.is_empty() {
            return;
        }
        // What was numbered for a durable session must not come back after a restart.
        let mut places = Staging::default();
        for dropped in drops.list {
            let (message, reason) = (dropped.message.as_deref(), dropped.reason);
            let counters = &mailbox.namespace.counters;
            let client_id = mailbox.client_id.as_str();
            self.count_drop(counters, client_id, message, reason, dropped.count);
            self.log_drops(mailbox, reason, dropped.count);
            if let Some(seq) = dropped.seq.filter(|_| mailbox.is_durable()) {
                places.acknowledged(mailbox.session_no, seq);
            }
        }
        if let Some(core) = self.me.upgrade()
            && let Some(write) = places.take_write(&core, None)
        {
            core.submit_later(write);
        }
    }

    /// Counts copies for one session that were dropped together and that no hook hears of. With no lock held.
    pub(crate) fn drop_copies(&self, mailbox: &Mailbox, reason: DropReason, count: u64) {
        if count > 0 {
            mailbox.namespace.counters.drop_many(reason, count);
            self.log_drops(mailbox, reason, count);
        }
    }

    /// Counts drops by client, and logs them when they begin and from time to time.
    fn log_drops(&self, mailbox: &Mailbox, reason: DropReason, count: u64) {
        let report = mailbox.count_drops(reason, count);
        drops::log(&mailbox.namespace.name, mailbox.client_id.as_str(), &report);
    }

    /// Reports a message that was dropped before it was meant for anybody. With no lock held.
    pub(crate) fn report_publish(
        &self,
        counters: &Counters,
        client_id: &str,
        message: Option<&Message>,
        reason: DropReason,
    ) {
        self.count_drop(counters, client_id, message, reason, 1);
    }

    fn count_drop(
        &self,
        counters: &Counters,
        client_id: &str,
        message: Option<&Message>,
        reason: DropReason,
        count: u64,
    ) {
        counters.drop_many(reason, count);
        // This runs wherever messages are dropped, on the committer's thread too: a panic must not get further.
        if self.interests.drop
            && guarded(|| self.hooks.on_drop(client_id, message, reason)).is_none()
        {
            add(&self.counters.hook_panics, 1);
        }
    }

    /// Has each namespace keep to the quotas of its tenant for retained messages.
    pub(crate) fn limit_retained(&self) {
        for namespace in self.namespaces.all() {
            let (messages, bytes) = self.quotas.retained(&namespace.name);
            namespace.retained.set_own_limits(messages, bytes);
        }
    }

    /// Counts that somebody's limit was reached, and says so unless that was said of many others just now.
    pub(crate) fn quota_exceeded(
        &self,
        counters: &Counters,
        event: QuotaEvent,
        whose: &str,
        client_id: &str,
    ) {
        counters.quotas.add(event, 1);
        if let Some(left_out) = self.access.may_log() {
            let limit = event.limit.name();
            tracing::warn!(event = "quota_exceeded", limit, whose, client_id, left_out);
        }
    }

    // ---- Publishing without a connection ----

    /// Publishes for the broker itself or for this process: a will, `$SYS`, an embedder's message. Tells `done`, if there is
    /// one, when the message is as durable as it has to be.
    pub(crate) fn publish(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        message: &Arc<Message>,
        from: Option<&Arc<Mailbox>>,
        source: Source,
        done: Option<oneshot::Sender<Result<(), ()>>>,
    ) -> Routed {
        let now = Instant::now();
        let mut staging = Staging::default();
        let _order = message.retain.then(|| namespace.retained.order(&message.topic));
        let (route, retained) = if message.retain {
            self.retain(namespace, message, from, now)
        } else {
            (namespace.route(message.topic.clone(), from), None)
        };
        let full = message.retain && retained.is_none();
        let refused = source.refused.or(if full { Some(ReasonCode::QuotaExceeded) } else { None });
        let source = Source { refused, ..source };
        let retained = retained.filter(|_| RetainedSet::is_stored(&message.topic));
        let routed = staging.message(self, &route, message, retained, source, now);
        // A will goes out once: no copy of it may be seen while a restart would still find it.
        if source.will_of.is_some() {
            staging.keep_for_commit();
        }
        let mut held = Vec::new();
        staging.flush(self, Patience::None, &mut held);
        debug_assert!(held.is_empty(), "who has no patience holds nothing");
        if let Some(mut write) = staging.take_write(self, from) {
            write.tell(done);
            self.submit_later(write);
        }
        routed
    }

    /// Publishes a will. The session it belongs to, if the store knows it, loses the will in the same commit.
    // [MQTT-3.1.2-14] [MQTT-3.1.2-15] [MQTT-3.1.3-10] [MQTT-3.1.2-16 @3.1.1] [MQTT-3.1.2-17 @3.1.1] As any other message.
    pub(crate) fn publish_will(self: &Arc<Self>, message: &Arc<Message>, from: &Arc<Mailbox>) {
        if !self.will_may_go_out(from, message) {
            if from.is_stored() {
                self.note(Change::WillTaken { session: from.session_no });
            }
            return;
        }
        add(&from.namespace.counters.wills_published, 1);
        let message = Arc::new(Message {
            payload: self.own_payload(&message.payload),
            ..Message::clone(message)
        });
        let source = Source {
            will_of: from.is_stored().then_some(from.session_no),
            line: Some(BROKER_LINE),
            ..Source::default()
        };
        self.publish(&from.namespace, &message, Some(from), source, None);
    }

    /// Takes the receivers of a message to be retained, and keeps or removes it, both under one guard of the router. Gives
    /// its place; none if there was no room for it.
    // [MQTT-3.3.1-8] [MQTT-3.3.1-12 @3.1.1] Only a message with RETAIN comes here.
    pub(crate) fn retain(
        &self,
        namespace: &Arc<Namespace>,
        message: &Arc<Message>,
        from: Option<&Arc<Mailbox>>,
        now: Instant,
    ) -> (Route, Option<RetainedPlace>) {
        let (route, kept) = namespace.route_locked(&message.topic, from, || {
            namespace.retained.apply(message, expires_at(message, now))
        });
        match kept {
            Kept::Stored(number) | Kept::Removed(number) => {
                (route, Some(RetainedPlace { namespace: Arc::clone(namespace), number }))
            }
            Kept::Full | Kept::OverQuota(_) => {
                let counters = &namespace.counters;
                if let Kept::OverQuota(limit) = kept {
                    counters.quotas.add(QuotaEvent { scope: QuotaScope::Tenant, limit }, 1);
                }
                self.report_publish(counters, "", Some(message), DropReason::RetainedFull);
                (route, None)
            }
        }
    }

    // ---- The end of sessions ----

    /// Removes a subscription from the index, and its group if it was the last member.
    pub(crate) fn unsubscribe(
        self: &Arc<Self>,
        filter: &SubscriptionFilter,
        mailbox: &Arc<Mailbox>,
    ) -> bool {
        let namespace = &mailbox.namespace;
        let (existed, emptied) = namespace.router.unsubscribe(filter, mailbox);
        if let Some(group) = emptied {
            let left = group.take(usize::MAX);
            namespace.counters.drop_many(DropReason::SessionEnded, left.len() as u64);
            if group.is_stored() {
                self.note(Change::SessionEnded { session: group.session_no });
            }
        }
        if existed {
            mailbox.count_subscription(Counted::Gone);
            sub(&namespace.counters.subscriptions, 1);
            if matches!(filter, SubscriptionFilter::Shared(_)) {
                sub(&namespace.counters.subscriptions_shared, 1);
            }
        }
        existed
    }

    /// Ends a session: its will if it is still due, its subscriptions, its queue, its place in the registry. Returns what
    /// the store has to be told.
    pub(crate) fn end_session(
        self: &Arc<Self>,
        mailbox: &Arc<Mailbox>,
        mut session: Box<Session>,
    ) -> Option<Entry> {
        self.timers.cancel(mailbox);
        // No group is to choose it any more, above all for what it leaves behind.
        mailbox.set_offline();
        self.leave_groups(mailbox, &mut session);
        let mut out = Outputs::new();
        session.end(&mut out);
        for output in out {
            self.parked_output(mailbox, output);
        }
        for (filter, _) in session.subscriptions() {
            self.unsubscribe(filter, mailbox);
        }
        let mut drops = Drops::default();
        mailbox.namespace.charge(mailbox.end(&mut drops));
        self.report(mailbox, drops);
        mailbox.namespace.registry.remove(mailbox);
        mailbox
            .is_stored()
            .then_some(Entry::change(Change::SessionEnded { session: mailbox.session_no }))
    }

    /// What a session without a connection asks for.
    pub(crate) fn parked_output(self: &Arc<Self>, mailbox: &Arc<Mailbox>, output: Output<'_>) {
        match output {
            Output::PublishWill(message) => self.publish_will(&message, mailbox),
            Output::Dropped(dropped) => self.delivery_dropped(mailbox, &dropped),
            Output::Persist { change, .. } => self.note(self.change_of(mailbox, change)),
            // Only a connection has these.
            Output::Authenticate(_)
            | Output::Attach(_)
            | Output::Send(_)
            | Output::Ack(_)
            | Output::PingResp
            | Output::Publish(_)
            | Output::Route(_)
            | Output::PublishRefused { .. }
            | Output::Subscribe { .. }
            | Output::Unsubscribe { .. }
            | Output::Completed(_)
            | Output::RefusalsHidden(_)
            | Output::Ended
            | Output::Close(_) => {}
        }
    }

    /// A session gave a delivery up.
    pub(crate) fn delivery_dropped(
        &self,
        mailbox: &Arc<Mailbox>,
        dropped: &dunlin_session::Dropped,
    ) {
        let reason = match dropped.why {
            dunlin_session::DropReason::Expired => DropReason::Expired,
            dunlin_session::DropReason::TooLarge => DropReason::TooLarge,
            dunlin_session::DropReason::NotConnected => DropReason::Offline,
            dunlin_session::DropReason::SessionEnded => DropReason::SessionEnded,
        };
        self.group_finished(&dropped.delivery);
        let counters = &mailbox.namespace.counters;
        let message = Some(&*dropped.delivery.message);
        self.report_publish(counters, mailbox.client_id.as_str(), message, reason);
        self.log_drops(mailbox, reason, 1);
    }

    /// A change of a session, as the store knows it.
    pub(crate) fn change_of(&self, mailbox: &Mailbox, change: dunlin_session::Persist) -> Change {
        let session = mailbox.session_no;
        match change {
            dunlin_session::Persist::InboundReleased(packet_id) => {
                Change::InboundReleased { session, packet_id }
            }
            dunlin_session::Persist::OutboundReleased(seq) => {
                Change::OutboundReleased { session, seq }
            }
            dunlin_session::Persist::Acknowledged(seq) => {
                Change::Acknowledged { session, first: seq, last: seq }
            }
        }
    }

    /// What the store keeps of a parked session.
    pub(crate) fn parked_record(session: &Session, owner: &str) -> SessionRecord {
        record(session.expiry(), owner, session.will(), Some(UnixMillis::from(SystemTime::now())))
    }

    /// Does something with every session of every namespace.
    pub(crate) fn for_each_session(&self, mut each: impl FnMut(&Arc<Mailbox>)) {
        for namespace in self.namespaces.all() {
            namespace.registry.for_each(&mut each);
        }
    }

    /// Publishes the wills that the store would not keep, before the sockets close.
    pub(crate) fn publish_wills(self: &Arc<Self>) {
        self.for_each_session(|mailbox| {
            let parked = mailbox.with_parked(Session::take_will);
            match parked {
                Some(Some(will)) => self.publish_will(&will.message, mailbox),
                Some(None) => {}
                None => mailbox.notify(vec![Notice::PublishWill]),
            }
        });
    }

    /// Every counter, with what is counted by looking.
    pub(crate) fn metrics(&self) -> Metrics {
        let own = self.counters.snapshot();
        let mut metrics = own.clone();
        for namespace in self.namespaces.all() {
            metrics.add(&namespace.metrics());
        }
        // Those who connected to different tenants at one time are no sum of what each had at some time.
        metrics.clients_connected = own.clients_connected;
        metrics.clients_maximum = own.clients_maximum;
        metrics.connections_open = own.connections_open;
        metrics.audit_events_lost = self.audit_events_lost.load(Ordering::Relaxed);
        metrics.certificate_days_left = days_left(&self.proofs.lock(), SystemTime::now());
        let stats = self.committer.stats();
        metrics.store_failures = stats.failures;
        metrics.store_commits = stats.commits;
        metrics.store_commit_p50_micros = micros(stats.commit_p50);
        metrics.store_commit_p99_micros = micros(stats.commit_p99);
        metrics.store_commit_max_micros = micros(stats.commit_max);
        metrics.store_waiting = stats.waiting as u64;
        metrics.store_held_messages = self.holding.messages();
        let store = self.committer.store_status();
        metrics.store_bytes = store.bytes.load(Ordering::Relaxed);
        metrics.store_wal_bytes = store.wal_bytes.load(Ordering::Relaxed);
        metrics.store_free_bytes = store.free_bytes.load(Ordering::Relaxed);
        metrics.store_full = store.full.load(Ordering::Relaxed);
        metrics.store_times_full = store.times_full.load(Ordering::Relaxed);
        metrics
    }

    /// Says so when the store has become full, and when it has room again.
    pub(crate) fn saw_room(&self, room: Room) {
        let full = room == Room::NoMessages;
        if self.store_is_full.swap(full, Ordering::Relaxed) == full {
            return;
        }
        let status = self.committer.store_status();
        let number = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let (bytes, free_bytes) = (number(&status.bytes), number(&status.free_bytes));
        if full {
            tracing::warn!(
                event = "store_full",
                bytes,
                free_bytes,
                "no room for new messages: what frees some goes on"
            );
        } else {
            tracing::info!(
                event = "store_has_room",
                bytes,
                free_bytes,
                "new messages are taken again"
            );
        }
    }

    /// Resolves when the broker shuts down.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closing = self.closing.subscribe();
        async move {
            // An error means that the broker is gone, which is a closing too.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Takes a place among the open connections; `false` if all are taken.
    pub(crate) fn take_place(&self) -> bool {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        if before < self.connections_max.load(Ordering::Relaxed) {
            return true;
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
        false
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

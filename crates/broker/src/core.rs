//! One broker's shared state: its namespace, its counters, its store, and what a few of them do together.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use dunlin_codec::{ClientId, Message, Publish, TopicName};
use dunlin_session::{Delivery, Origin, Output, Outputs, Session};
use dunlin_store::{
    Change, Committer, NamespaceNo, SessionKey, SessionRecord, SubmitError, UnixMillis,
};
use dunlin_topics::{SharedFilter, SubscriptionFilter};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::budget::{Budget, Charge, Pressure};
use crate::config::Config;
use crate::fanout::{Routed, Source, Staging, expires_at};
use crate::hooks::{Hooks, Interests};
use crate::janitor::Timers;
use crate::mailbox::{Mailbox, Notice, Patience};
use crate::metrics::{Counters, DropReason, Metrics, add, shift, sub};
use crate::persist::{Entry, QueueTarget, Write, in_group, record};
use crate::policy::Authenticator;
use crate::queue::{Drops, Settled};
use crate::registry::Registry;
use crate::retained::{Kept, RetainedSet};
use crate::router::Router;
use crate::share::Group;

/// Everything that messages, topics and Client Identifiers of one tenant live in. Nothing crosses from one to another.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) number: NamespaceNo,
    pub(crate) registry: Registry,
    pub(crate) router: Router,
    pub(crate) retained: RetainedSet,
}

/// The shared state of one broker.
pub(crate) struct Core {
    /// This, for what runs on the committer's thread.
    pub(crate) me: Weak<Self>,
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) budget: Arc<Budget>,
    pub(crate) namespace: Namespace,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) interests: Interests,
    pub(crate) authenticators: Vec<Arc<dyn Authenticator>>,
    pub(crate) committer: Committer<Write>,
    /// Sessions without a connection whose will or end is due at some time.
    pub(crate) timers: Timers,
    /// The connections' tasks, for a shutdown to wait for.
    pub(crate) tasks: TaskTracker,
    /// Becomes `true` when the broker shuts down.
    pub(crate) closing: watch::Sender<bool>,
    /// Open Network Connections, over all listeners.
    pub(crate) connections: AtomicU64,
    pub(crate) connections_max: u64,
    pub(crate) started: Instant,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Core {
    /// Copies a PUBLISH out of the bytes it was read into, into allocations of its own size.
    pub(crate) fn own(&self, publish: &Publish<&[u8]>, topic: TopicName) -> Message {
        let payload = self.budget.own(publish.payload);
        let head = Publish { payload: &[][..], ..publish.clone() };
        Message { payload, ..Message::copy_from(&head, topic) }
    }

    /// Takes account of what queues and lanes took in or gave back. Once per batch.
    pub(crate) fn charge(&self, charge: Charge) {
        if charge != Charge::default() {
            self.budget.change(charge.budget);
            shift(&self.counters.queued_messages, charge.messages);
            shift(&self.counters.queued_bytes, charge.bytes);
        }
    }

    /// Bytes waiting for a receiver from which on its publishers are slowed: any at all when memory is short.
    pub(crate) fn lane_soft(&self) -> usize {
        if self.budget.pressure() >= Pressure::SlowPublishers {
            1
        } else {
            self.config.limits.qos0_lane_bytes_soft
        }
    }

    /// A payload in an allocation of its own size.
    pub(crate) fn own_payload(&self, payload: &[u8]) -> Bytes {
        self.budget.own(payload)
    }

    /// Counts what was dropped and tells the hook, with no lock held.
    pub(crate) fn report(&self, mailbox: &Arc<Mailbox>, drops: Drops) {
        for dropped in drops.list {
            self.counters.drop_many(dropped.reason, dropped.count);
            if self.interests.drop {
                self.hooks.on_drop(
                    mailbox.client_id.as_str(),
                    dropped.message.as_deref(),
                    dropped.reason,
                );
            }
            // What was numbered for a durable session must not come back after a restart.
            if let Some(seq) = dropped.seq.filter(|_| mailbox.is_durable()) {
                self.forget(Change::Acknowledged {
                    session: mailbox.session_no,
                    first: seq,
                    last: seq,
                });
            }
        }
    }

    /// Reports a message that was dropped before it was meant for anybody.
    pub(crate) fn report_publish(
        &self,
        client_id: &str,
        message: Option<&Message>,
        reason: DropReason,
    ) {
        self.counters.drop_many(reason, 1);
        if self.interests.drop {
            self.hooks.on_drop(client_id, message, reason);
        }
    }

    /// Hands a write to the store; it comes back if too much waits already.
    pub(crate) fn submit(&self, write: Write) -> Result<(), Write> {
        self.committer.submit(write).map_err(SubmitError::into_submission)
    }

    /// Writes a change that nobody waits for. If there is no room for it, it costs a repetition after a crash at most.
    pub(crate) fn forget(&self, change: Change) {
        let Some(core) = self.me.upgrade() else { return };
        let _ = self.submit(Write::new(&core, None, vec![Entry::change(change)]));
    }

    /// Writes and waits until it is durable.
    pub(crate) async fn write(self: &Arc<Self>, entries: Vec<Entry>) -> Result<(), ()> {
        let mut write = Write::new(self, None, entries);
        let done = write.on_done();
        while let Err(back) = self.submit(write) {
            if self.committer.has_failed() {
                return Err(());
            }
            write = back;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        done.await.unwrap_or(Err(()))
    }

    // ---- Publishing without a connection ----

    /// Publishes for the broker itself or for this process: a will, `$SYS`, an embedder's message. Returns what became of
    /// it, and the write that the caller must hand in, if it has to be durable first.
    pub(crate) fn publish(
        self: &Arc<Self>,
        message: &Arc<Message>,
        from: Option<&Arc<Mailbox>>,
        source: Source,
    ) -> (Routed, Option<Write>) {
        let now = Instant::now();
        let mut staging = Staging::default();
        let (route, retained) = if message.retain {
            let guard = self.namespace.router.read();
            let stamp = self.namespace.router.stamp(message.topic.as_bytes());
            let route = guard.route(message.topic.clone(), from, stamp);
            (route, self.retain(message, now))
        } else {
            (self.namespace.router.route(message.topic.clone(), from), None)
        };
        // `$SYS` is kept in memory only.
        let retained = retained.filter(|_| !message.topic.as_bytes().starts_with(b"$SYS/"));
        let routed = staging.message(self, &route, message, retained, source, now);
        let mut held = Vec::new();
        staging.flush(self, Patience::None, &mut held);
        debug_assert!(held.is_empty(), "who has no patience holds nothing");
        (routed, staging.take_write(self, from))
    }

    /// Publishes a will. The session it belongs to, if the store knows it, loses the will in the same commit.
    pub(crate) fn publish_will(self: &Arc<Self>, message: &Arc<Message>, from: &Arc<Mailbox>) {
        add(&self.counters.wills_published, 1);
        let message = Arc::new(Message {
            payload: self.own_payload(&message.payload),
            ..Message::clone(message)
        });
        let source =
            Source { will_of: from.is_stored().then_some(from.session_no), ..Source::default() };
        let (_, write) = self.publish(&message, Some(from), source);
        if let Some(write) = write {
            self.submit_later(write);
        }
    }

    /// Hands a write in from where nobody can wait; if the committer is full, a task waits for it.
    pub(crate) fn submit_later(self: &Arc<Self>, write: Write) {
        let Err(mut write) = self.submit(write) else { return };
        let core = Arc::clone(self);
        tokio::spawn(async move {
            while let Err(back) = core.submit(write) {
                if core.committer.has_failed() {
                    return;
                }
                write = back;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
    }

    /// Keeps or removes the retained message of a topic. Under the router's read guard. Returns its number.
    pub(crate) fn retain(&self, message: &Arc<Message>, now: Instant) -> Option<u64> {
        match self.namespace.retained.apply(message, expires_at(message, now)) {
            Kept::Stored(number) | Kept::Removed(number) => Some(number),
            Kept::Full => {
                self.report_publish("", Some(message), DropReason::RetainedFull);
                None
            }
        }
    }

    // ---- Shared groups ----

    /// The group of a shared filter, made when its first member comes.
    pub(crate) fn make_group(&self, filter: &SharedFilter) -> Arc<Group> {
        Arc::new(Group::new(filter.clone(), self.namespace.registry.next_session_no()))
    }

    /// What the store must be told when a durable session joins a group: its queue.
    pub(crate) fn group_opened(&self, group: &Group) -> Option<Entry> {
        if group.set_stored() {
            return None;
        }
        let key = SessionKey::Group(group.filter.text().clone());
        let record =
            SessionRecord { expiry_secs: SessionRecord::NEVER, ..SessionRecord::default() };
        let namespace = self.namespace.number;
        Some(Entry::change(Change::SessionOpened {
            session: group.session_no,
            namespace,
            key,
            record,
        }))
    }

    /// Lets a message wait in a group for a member with quota.
    pub(crate) fn wait_in_group(&self, group: &Arc<Group>, delivery: Delivery) {
        if let Err(delivery) = group.wait(delivery, &self.config.limits) {
            self.report_publish(
                group.filter.as_str(),
                Some(&delivery.message),
                DropReason::GroupQueue,
            );
            self.group_finished(&delivery);
        }
    }

    /// Gives a group's message to a member that can take it, or lets it wait.
    pub(crate) fn offer_group(self: &Arc<Self>, group: &Arc<Group>, mut delivery: Delivery) {
        delivery = in_group(group, delivery.clone(), delivery.seq);
        self.wait_in_group(group, delivery);
        self.dispatch_group(group);
    }

    /// Hands waiting messages to members with quota, as far as there are any.
    pub(crate) fn dispatch_group(self: &Arc<Self>, group: &Arc<Group>) {
        while group.has_waiting() {
            let Some(member) = group.choose(dunlin_codec::Qos::ExactlyOnce) else { return };
            let Some(delivery) = group.take(1).pop() else { return };
            let mut staging = Staging::default();
            self.hand_over(&mut staging, group, &member, delivery);
            staging.flush(self, Patience::None, &mut Vec::new());
            if let Some(write) = staging.take_write(self, None) {
                self.submit_later(write);
            }
        }
    }

    /// Stages one of a group's messages for a member.
    pub(crate) fn hand_over(
        self: &Arc<Self>,
        staging: &mut Staging,
        group: &Arc<Group>,
        member: &crate::share::Member,
        delivery: Delivery,
    ) {
        let from_seq = match delivery.origin {
            Origin::Shared { seq, .. } => seq,
            Origin::Plain => 0,
        };
        let mut delivery = member.adapt(group, delivery);
        let mailbox = Arc::clone(&member.mailbox);
        let durable = mailbox.is_durable() && delivery.qos > dunlin_codec::Qos::AtMostOnce;
        if from_seq == 0 || !durable {
            staging.delivery(self, mailbox, delivery);
            return;
        }
        delivery.origin = Origin::Shared { group: group.session_no.0, seq: 0 };
        mailbox.reserve_always(delivery.message.size());
        let to = QueueTarget { mailbox, delivery };
        staging.writes.push(Entry::HandOver { group: Arc::clone(group), from_seq, to });
    }

    /// A group's message is done with: its place in the store, if it has one there, is free.
    pub(crate) fn group_finished(&self, delivery: &Delivery) {
        if let Origin::Shared { group, seq } = delivery.origin {
            self.group_acknowledged(group, seq);
        }
    }

    /// The place `seq` in a group's stored queue is done with; 0 is no place.
    pub(crate) fn group_acknowledged(&self, group: u32, seq: u64) {
        if seq > 0 {
            let session = dunlin_store::SessionNo(group);
            self.forget(Change::Acknowledged { session, first: seq, last: seq });
        }
    }

    // ---- The end of sessions ----

    /// Removes a subscription from the index, and its group if it was the last member.
    pub(crate) fn unsubscribe(&self, filter: &SubscriptionFilter, mailbox: &Arc<Mailbox>) -> bool {
        let (existed, emptied) = self.namespace.router.unsubscribe(filter, mailbox);
        if let Some(group) = emptied {
            let left = group.take(usize::MAX);
            self.counters.drop_many(DropReason::SessionEnded, left.len() as u64);
            if group.is_stored() {
                self.forget(Change::SessionEnded { session: group.session_no });
            }
        }
        if existed {
            sub(&self.counters.subscriptions, 1);
            if matches!(filter, SubscriptionFilter::Shared(_)) {
                sub(&self.counters.subscriptions_shared, 1);
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
        self.charge(mailbox.end(&mut drops));
        self.report(mailbox, drops);
        self.namespace.registry.remove(mailbox);
        mailbox
            .is_stored()
            .then_some(Entry::change(Change::SessionEnded { session: mailbox.session_no }))
    }

    /// What a session without a connection asks for.
    pub(crate) fn parked_output(self: &Arc<Self>, mailbox: &Arc<Mailbox>, output: Output<'_>) {
        match output {
            Output::PublishWill(message) => self.publish_will(&message, mailbox),
            Output::Dropped(dropped) => self.delivery_dropped(mailbox, &dropped),
            Output::Persist { change, .. } => self.forget(self.change_of(mailbox, change)),
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
        self.report_publish(mailbox.client_id.as_str(), Some(&dropped.delivery.message), reason);
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

    /// A member leaves its groups, for now or for good: what it was not sent, or has not acknowledged, is for others.
    /// [MQTT-4.8.2-4] [MQTT-4.8.2-5] A QoS 2 message that was begun stays with it.
    pub(crate) fn leave_groups(self: &Arc<Self>, mailbox: &Arc<Mailbox>, session: &mut Session) {
        let mut back = session.take_unacknowledged_shared();
        let mut settled = Settled::default();
        back.iter().for_each(|delivery| settled.add(Some(&delivery.message)));
        mailbox.settle(settled);
        back.extend(mailbox.take_where(|delivery| delivery.origin.is_shared()));
        if back.is_empty() {
            return;
        }
        for (filter, _) in session.subscriptions() {
            let SubscriptionFilter::Shared(shared) = filter else { continue };
            let Some(group) = self.namespace.router.group(shared) else { continue };
            let ours: Vec<Delivery> =
                back.extract_if(.., |delivery| group.sent(delivery)).collect();
            self.give_back(&group, mailbox, ours);
        }
        // Their group is gone since: nobody is left to get them.
        self.counters.drop_many(DropReason::SessionEnded, back.len() as u64);
    }

    /// Messages come back from a member to their group, which offers them to others.
    pub(crate) fn give_back(
        self: &Arc<Self>,
        group: &Arc<Group>,
        mailbox: &Arc<Mailbox>,
        deliveries: Vec<Delivery>,
    ) {
        if deliveries.is_empty() {
            return;
        }
        add(&self.counters.shared_redistributed, deliveries.len() as u64);
        let mut entries = Vec::new();
        let mut now = Vec::new();
        for delivery in deliveries {
            let from_seq = delivery.seq;
            match delivery.origin {
                Origin::Shared { seq: 0, .. } if mailbox.is_durable() && from_seq > 0 => {
                    let group = Arc::clone(group);
                    entries.push(Entry::GiveBack {
                        from: mailbox.session_no,
                        from_seq,
                        group,
                        delivery,
                        seq: 0,
                    });
                }
                Origin::Shared { seq, .. } => now.push(in_group(group, delivery, seq)),
                Origin::Plain => {}
            }
        }
        group.give_back(now);
        if !entries.is_empty() {
            self.submit_later(Write::new(self, None, entries));
        }
        self.dispatch_group(group);
    }

    /// What the store keeps of a parked session.
    pub(crate) fn parked_record(session: &Session, owner: &str) -> SessionRecord {
        record(session.expiry(), owner, session.will(), Some(UnixMillis::from(SystemTime::now())))
    }

    /// Closes the connection of a client, with this reason.
    pub(crate) fn kick(&self, client_id: &ClientId) -> bool {
        let Some(mailbox) = self.namespace.registry.find(client_id) else { return false };
        mailbox.evict(crate::end::EndReason::Kicked);
        true
    }

    /// Publishes the wills that the store would not keep, before the sockets close.
    pub(crate) fn publish_wills(self: &Arc<Self>) {
        self.namespace.registry.for_each(|mailbox| {
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
        let mut metrics = self.counters.snapshot();
        metrics.retained_messages = self.namespace.retained.len();
        metrics.retained_bytes = self.namespace.retained.bytes();
        metrics
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Takes a place among the open connections; `false` if all are taken.
    pub(crate) fn take_place(&self) -> bool {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        if before < self.connections_max {
            return true;
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
        false
    }
}

//! From one message to its receivers: copies are staged per receiver and posted once per batch.
//!
//! Consecutive PUBLISHes of one topic go as [runs](runs) where nothing tells them apart: the bytes that came in are the bytes
//! that go out, copied for one receiver and shared by many. Everything else becomes a `Message`, encoded here for QoS 0 receivers without per-connection state and handed over as a `Delivery` to the others.

mod runs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_codec::{Hop, Message, PacketId, Qos, ReasonCode, Version, publish_len};
use dunlin_session::{Delivery, Origin, Outputs, SubscriptionIds, Token};
use dunlin_store::{Change, Durability, SessionNo};
use hashbrown::HashMap;

use crate::budget::Pressure;
use crate::config::Limits;
use crate::core::Core;
use crate::crowding::Crowded;
use crate::holding::BROKER_LINE;
use crate::lane::{Patience, Post, Posted, Tally};
use crate::mailbox::{Mailbox, Wire};
use crate::metrics::DropReason;
use crate::persist::{
    Copies, Entry, GroupTarget, Own, PublishEntry, QueueTarget, RetainedPlace, Write,
};
use crate::queue::{Drops, Parcel};
use crate::router::{Route, RouteTarget};
use crate::share::{Group, Member};

pub(crate) use runs::{Ready, RunBytes};

/// Staged bytes at which a batch is posted early.
const STAGED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Posts kept for the next batch, with what their lists have grown to.
const SPARE_MAX: usize = 64;

/// Copies of one batch, by receiver.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    entries: Vec<Staged>,
    /// By the mailbox's address: where it stands in `entries`.
    index: HashMap<usize, usize>,
    /// The address asked for last and its place: most batches have few receivers.
    last: (usize, usize),
    /// How short memory is, looked at once in a batch.
    pressure: Option<Pressure>,
    spare: Vec<Post>,
    bytes: usize,
    /// What has to go through the store first.
    pub(crate) writes: Vec<Entry>,
    /// Where in `writes` the acknowledgements stand that were noted last.
    acknowledged: usize,
    /// Where so much waits already that the publisher of the message staged last is to be braked.
    pub(crate) crowded: Option<Crowded>,
    /// Room for the receivers of a run, its groups, their members and its tokens, empty.
    receivers: Vec<runs::Receiver>,
    groups: Vec<Arc<Group>>,
    parts: Vec<(Member, usize)>,
    pub(crate) tokens: Vec<Token>,
    /// Room for what a session machine says, empty.
    pub(crate) outputs: Outputs<'static>,
}

/// What one receiver gets.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) wire: Wire,
    /// Whether a copy with QoS above 0 goes straight into its queue: it is online, its session is not durable, and nobody
    /// is to be braked for it. As it was when the batch first came to it.
    straight: bool,
    pub(crate) post: Post,
}

/// Where a message came from, and who waits for what becomes of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Source {
    /// The publishing session's number, if the store knows it.
    pub(crate) session: Option<SessionNo>,
    /// The Packet Identifier to be stored, for QoS 2 from a durable session.
    pub(crate) inbound: Option<PacketId>,
    /// Who waits.
    pub(crate) token: Option<Token>,
    /// Why the message is refused although it was passed on: a retained message for which there was no room.
    pub(crate) refused: Option<ReasonCode>,
    /// The session whose will this is, if it is one that the store knows.
    pub(crate) will_of: Option<SessionNo>,
    /// What the publisher's listener promises, where it is not what the broker does.
    pub(crate) level: Option<Durability>,
    /// The line in which the message waits while the store has no room, if it may.
    pub(crate) line: Option<SessionNo>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Routed {
    /// It is with everybody who gets it.
    Now(ReasonCode),
    /// The store has to have it first; the token's owner is told.
    AfterCommit,
}

impl Staging {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.writes.is_empty()
    }

    /// Whether so much is staged that it should be posted before more is decoded.
    pub(crate) fn is_large(&self) -> bool {
        self.bytes >= STAGED_BYTES_MAX
    }

    /// A new batch: what was looked at once is looked at anew.
    pub(crate) fn begin(&mut self) {
        self.pressure = None;
    }

    /// How short memory is in this batch.
    #[inline]
    pub(crate) fn pressure(&mut self, core: &Core) -> Pressure {
        *self.pressure.get_or_insert_with(|| core.budget.pressure())
    }

    /// What this batch has for the mailbox at that address, if it has anything.
    #[inline]
    fn staged(&mut self, address: usize) -> Option<&mut Staged> {
        if self.last.0 != address {
            self.last = (address, *self.index.get(&address)?);
        }
        self.entries.get_mut(self.last.1)
    }

    fn entry(&mut self, mailbox: Arc<Mailbox>, wire: Wire) -> &mut Staged {
        let next = self.entries.len();
        let address = Arc::as_ptr(&mailbox).addr();
        let position = *self.index.entry(address).or_insert(next);
        self.last = (address, position);
        if position == next {
            let spare = self.spare.pop().unwrap_or_default();
            let post = Post { at_most_once: false, waiting: None, ..spare };
            let straight = wire != Wire::Offline && !mailbox.is_durable() && !mailbox.is_crowded();
            self.entries.push(Staged { mailbox, wire, straight, post });
        }
        #[expect(clippy::indexing_slicing, reason = "the index holds positions in `entries` only")]
        let staged = &mut self.entries[position];
        // The client came or went within the batch. What is encoded for it so far holds as long as there is something.
        if staged.wire != wire && staged.post.lane.is_empty() {
            staged.wire = wire;
        }
        staged
    }

    /// Stages one message for everybody on its route. The place is that of a retained message.
    // [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT-4.6.0-5 @3.1.1] [MQTT-4.6.0-6 @3.1.1] Staged, posted and sent in the order of arrival.
    pub(crate) fn message(
        &mut self,
        core: &Arc<Core>,
        route: &Route,
        message: &Arc<Message>,
        retained: Option<RetainedPlace>,
        source: Source,
        now: Instant,
    ) -> Routed {
        let own = self.copies(core, route, message, now);
        let mut level = core.level(&message.topic, source.level);
        let mut exported = Vec::new();
        for there in route.exports.iter().filter(|there| !there.route.is_empty()) {
            there.crossed(1);
            let copies = self.copies(core, &there.route, &there.message(message), now);
            if !copies.is_empty() {
                level = level.max(core.level(&there.route.name, source.level));
                exported.push(copies);
            }
        }
        // [MQTT-4.3.2-4] Nobody is left out: the acknowledgement says so where nobody was there.
        let matched =
            if route.is_empty() { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success };
        let reason = source.refused.unwrap_or(matched);
        let waits = !own.is_empty()
            || !exported.is_empty()
            || source.inbound.is_some()
            || source.will_of.is_some();
        if !waits && retained.is_none() {
            return Routed::Now(reason);
        }
        // Nobody waits for a retained message of QoS 0, or one whose acknowledgement promises nothing.
        let acknowledged = waits || message.qos > Qos::AtMostOnce && level > Durability::Memory;
        let token = source.token.filter(|_| acknowledged).map(|token| (token, reason));
        self.writes.push(Entry::Publish(Box::new(PublishEntry {
            exported,
            expires_at: expires_at(message, now),
            publisher: source.session,
            inbound: source.inbound,
            retained,
            will_of: source.will_of,
            token,
            line: source.line.filter(|_| acknowledged),
            ..PublishEntry::of(own, level)
        })));
        if acknowledged { Routed::AfterCommit } else { Routed::Now(reason) }
    }

    /// Stages one message for everybody whom this route names, and gives the copies that have to go through the store first.
    fn copies(
        &mut self,
        core: &Arc<Core>,
        route: &Route,
        message: &Arc<Message>,
        now: Instant,
    ) -> Copies {
        let mut durable = Copies::new(message);
        let mut config = None;
        for (passed, target) in route.targets.iter().enumerate() {
            if self.straight(target, message, now) {
                continue;
            }
            let Some(mailbox) = target.mailbox.upgrade() else { continue };
            if message.qos.min(target.qos) == Qos::AtMostOnce || !mailbox.is_durable() {
                self.copy(core, &mailbox, target, message, now);
                continue;
            }
            if durable.targets.is_empty() {
                // Where one is durable, most are.
                durable.targets.reserve(route.targets.len() - passed);
            }
            if mailbox.is_crowded() {
                self.crowded = Some(Crowded::Client(Arc::clone(&mailbox)));
            }
            let limits = &config.get_or_insert_with(|| core.config()).limits;
            durable.targets.extend(target.reserved(core, mailbox, message, limits));
        }
        for group in &route.groups {
            durable.groups.extend(self.share(core, group, message, now));
        }
        durable
    }

    /// Stages one more copy with QoS above 0 for a receiver that this batch has something for already; `false` if it has
    /// not, or if more has to be looked at.
    #[inline]
    fn straight(&mut self, target: &RouteTarget, message: &Arc<Message>, now: Instant) -> bool {
        let qos = message.qos.min(target.qos);
        let Some(staged) = self.staged(target.mailbox.as_ptr().addr()) else { return false };
        if qos == Qos::AtMostOnce || !staged.straight {
            return false;
        }
        staged.post.parcels.push(Parcel::One(target.delivery(qos, message, now)));
        self.bytes += message.payload.len();
        true
    }

    /// Stages one copy that need not go through the store first.
    fn copy(
        &mut self,
        core: &Core,
        mailbox: &Arc<Mailbox>,
        target: &RouteTarget,
        message: &Arc<Message>,
        now: Instant,
    ) {
        // [MQTT-3.8.4-8] [MQTT-3.8.4-6 @3.1.1]
        let qos = message.qos.min(target.qos);
        if qos > Qos::AtMostOnce && mailbox.is_crowded() {
            self.crowded = Some(Crowded::Client(Arc::clone(mailbox)));
        }
        self.delivery(core, Arc::clone(mailbox), target.delivery(qos, message, now));
    }

    /// Stages a copy that need not wait for the store.
    pub(crate) fn delivery(&mut self, core: &Core, mailbox: Arc<Mailbox>, delivery: Delivery) {
        self.bytes += delivery.message.size();
        let wire = mailbox.wire();
        let version = match wire {
            Wire::V3 => Version::V3_1_1,
            Wire::V5 => Version::V5,
            // Only the receiver can encode them, or nobody is there.
            Wire::Messages if delivery.qos == Qos::AtMostOnce => {
                self.entry(mailbox, wire).post.add_to_lane(delivery);
                return;
            }
            Wire::Offline | Wire::Messages => {
                self.entry(mailbox, wire).post.parcels.push(Parcel::One(delivery));
                return;
            }
        };
        if delivery.qos > Qos::AtMostOnce {
            self.entry(mailbox, wire).post.parcels.push(Parcel::One(delivery));
            return;
        }
        // A message that can expire is encoded when it is sent, with what is left of its time.
        if delivery.expires_at.is_some() {
            self.entry(mailbox, wire).post.add_to_lane(delivery);
            return;
        }
        let hop = Hop {
            qos: Qos::AtMostOnce,
            packet_id: None,
            dup: false,
            retain: delivery.retain,
            topic_alias: None,
            subscription_ids: &delivery.subscription_ids,
            message_expiry_interval: None,
        };
        // [MQTT-3.1.2-25] Too large for this client: dropped, as if it had been sent.
        let len = publish_len(&delivery.message, &hop, version);
        if len > mailbox.packet_size_max() as usize {
            let mut drops = Drops::default();
            drops.one(DropReason::TooLarge, delivery);
            core.report(&mailbox, drops);
            return;
        }
        let post = &mut self.entry(mailbox, wire).post;
        post.at_most_once |= delivery.message.qos == Qos::AtMostOnce;
        post.lane.encoded().publish(&delivery.message, &hop, version, len);
        let payload = delivery.message.payload.len() as u64;
        post.tally.add(Tally { publishes: 1, payload });
    }

    /// Stages a message with QoS above 0 for one client's queue, by way of the store if its session is durable.
    pub(crate) fn queue(&mut self, core: &Core, mailbox: &Arc<Mailbox>, delivery: Delivery) {
        if !mailbox.is_durable() {
            self.delivery(core, Arc::clone(mailbox), delivery);
            return;
        }
        let level = core.level(&delivery.message.topic, None);
        let mut entry = PublishEntry::new(&delivery.message, level);
        entry.expires_at = delivery.expires_at;
        entry.line = Some(BROKER_LINE);
        entry.own.targets.push(QueueTarget::reserve_always(Arc::clone(mailbox), delivery));
        self.writes.push(Entry::Publish(Box::new(entry)));
    }

    /// Stages a message for one member of a group; gives it back if it has to go through the store first.
    fn share(
        &mut self,
        core: &Arc<Core>,
        group: &Arc<Group>,
        message: &Arc<Message>,
        now: Instant,
    ) -> Option<GroupTarget> {
        let delivery = Delivery { retain: message.retain, ..delivery_of(message, now) };
        if message.qos > Qos::AtMostOnce && group.is_crowded() {
            self.crowded = Some(Crowded::Group(Arc::clone(group)));
        }
        if message.qos > Qos::AtMostOnce && group.is_durable() {
            return Some(GroupTarget { group: Arc::clone(group), delivery, member: None });
        }
        match group.choose(message.topic.as_bytes(), message.qos) {
            Some(member) => {
                let delivery = member.adapt(group, delivery);
                self.delivery(core, member.mailbox, delivery);
            }
            None if message.qos == Qos::AtMostOnce => {
                group.namespace.counters.drop_many(DropReason::Offline, 1)
            }
            None => core.offer_group(group, delivery, 0),
        }
        None
    }

    /// Notes that a place of a session's queue is done with. Places that follow each other make one change.
    pub(crate) fn acknowledged(&mut self, session: SessionNo, seq: u64) {
        if let Some(Entry::Change {
            change: Change::Acknowledged { session: of, first, last }, ..
        }) = self.writes.get_mut(self.acknowledged)
            && *of == session
        {
            if *last + 1 == seq {
                *last = seq;
                return;
            }
            if seq + 1 == *first {
                *first = seq;
                return;
            }
        }
        self.acknowledged = self.writes.len();
        self.writes.push(Entry::change(Change::Acknowledged { session, first: seq, last: seq }));
    }

    /// Posts what is staged. What a slow receiver cannot take now is left in `held`, and what comes for it next behind that.
    pub(crate) fn flush(
        &mut self,
        core: &Arc<Core>,
        patience: Patience<'_>,
        held: &mut Vec<Staged>,
    ) {
        for before in held.iter_mut() {
            let place = self.index.get(&Arc::as_ptr(&before.mailbox).addr());
            let staged = place.and_then(|&place| self.entries.get_mut(place));
            if let Some(staged) = staged.filter(|staged| staged.wire == before.wire) {
                before.post.take_lane(&mut staged.post);
            }
        }
        self.index.clear();
        self.last = (0, 0);
        self.bytes = 0;
        if self.entries.is_empty() {
            return;
        }
        let config = core.config();
        for mut staged in self.entries.drain(..) {
            match core.post(&mut staged, patience, &config.limits) {
                Posted::Wait => held.push(staged),
                Posted::Done if self.spare.len() < SPARE_MAX => self.spare.push(staged.post),
                Posted::Done => {}
            }
        }
    }

    /// What has to go through the store, as one submission.
    pub(crate) fn take_write(
        &mut self,
        core: &Arc<Core>,
        owner: Option<&Arc<Mailbox>>,
    ) -> Option<Write> {
        if self.writes.is_empty() {
            return None;
        }
        self.acknowledged = 0;
        Some(Write::new(core, owner.map(Arc::clone), std::mem::take(&mut self.writes)))
    }

    /// Takes the copies that were staged for a will, to be posted when it is taken from the store.
    pub(crate) fn keep_for_commit(&mut self) {
        if let Some(Entry::Publish(entry)) = self.writes.last_mut() {
            self.index.clear();
            self.last = (0, 0);
            entry.copies = std::mem::take(&mut self.entries);
        }
    }
}

impl RouteTarget {
    /// This receiver's copy.
    #[inline]
    fn delivery(&self, qos: Qos, message: &Arc<Message>, now: Instant) -> Delivery {
        self.own(qos, message).with(message, expires_at(message, now))
    }

    /// What this receiver's copy has of its own. [MQTT-3.3.1-12] [MQTT-3.3.1-13] [MQTT-3.3.1-9 @3.1.1]
    #[inline]
    fn own(&self, qos: Qos, message: &Message) -> Own {
        Own {
            seq: 0,
            // Most have none, and an empty list is cheaper made than copied.
            subscription_ids: if self.subscription_ids.is_empty() {
                SubscriptionIds::new()
            } else {
                self.subscription_ids.clone()
            },
            origin: Origin::Plain,
            qos,
            retain: message.retain && self.retain_as_published,
            sent_before: false,
        }
    }

    /// This receiver's copy by way of the store; none if its queue has no room for it. [MQTT-3.8.4-8] [MQTT-3.8.4-6 @3.1.1]
    fn reserved(
        &self,
        core: &Core,
        mailbox: Arc<Mailbox>,
        message: &Arc<Message>,
        limits: &Limits,
    ) -> Option<QueueTarget> {
        let mut drops = Drops::default();
        let reserved = mailbox.reserve(message, limits, &mut drops);
        core.report(&mailbox, drops);
        let own = self.own(message.qos.min(self.qos), message);
        reserved.then(|| QueueTarget::reserved(mailbox, message.size(), own))
    }
}

impl Core {
    /// Counts a run that nobody gets, since memory is short.
    fn drop_run(&self, route: &Route, frames: u64) {
        for group in &route.groups {
            group.namespace.counters.drop_many(DropReason::MemoryBudget, frames);
        }
        for mailbox in route.targets.iter().filter_map(|target| target.mailbox.upgrade()) {
            self.drop_copies(&mailbox, DropReason::MemoryBudget, frames);
        }
    }

    /// Posts what one receiver gets, and sees to what it could not take.
    pub(crate) fn post(
        self: &Arc<Self>,
        staged: &mut Staged,
        patience: Patience<'_>,
        limits: &Limits,
    ) -> Posted {
        let Staged { mailbox, wire, post, .. } = staged;
        let mut drops = Drops::default();
        let (posted, charge) = mailbox.post(post, *wire, patience, limits, &mut drops);
        mailbox.namespace.charge(charge);
        self.report(mailbox, drops);
        if !post.returned.is_empty() {
            self.give_back(mailbox, std::mem::take(&mut post.returned));
        }
        posted
    }
}

/// A copy of a message as it stands, for nobody in particular.
pub(crate) fn delivery_of(message: &Arc<Message>, now: Instant) -> Delivery {
    Delivery {
        message: Arc::clone(message),
        qos: message.qos,
        retain: false,
        subscription_ids: SubscriptionIds::new(),
        seq: 0,
        expires_at: expires_at(message, now),
        sent_before: false,
        origin: Origin::Plain,
    }
}

/// When a message that was received `now` expires.
pub(crate) fn expires_at(message: &Message, now: Instant) -> Option<Instant> {
    let interval = message.message_expiry_interval()?;
    now.checked_add(Duration::from_secs(interval.into()))
}

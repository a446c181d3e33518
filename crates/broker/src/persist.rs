//! What goes to the store, and what happens when it is there.
//!
//! A [`Write`] is one submission to the committer: everything that one connection's batch has to make durable. On the
//! committer's thread its messages get their numbers, in the order of the commits; when they are durable they enter their
//! queues, and those who wait are told.

use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use dunlin_codec::{Message, PacketId, Qos, ReasonCode};
use dunlin_session::{Delivery, Origin, Session, SessionExpiry, Token};
use dunlin_store::{
    Batch, Change, Durability, Publication, Room as StoreRoom, SessionNo, SessionRecord,
    StoreError, Submission, Target, UnixMillis, WillRecord,
};
use hashbrown::HashMap;
use tokio::sync::oneshot;

use crate::core::Core;
use crate::fanout::Staging;
use crate::lane::Patience;
use crate::mailbox::{Mailbox, Notice};
use crate::metrics::DropReason;
use crate::share::{Group, Member};

/// What one wait for the store may cost beside its messages, for the committer's bounds.
const ENTRY_BYTES: usize = 128;

/// One submission.
#[derive(Debug)]
pub(crate) struct Write {
    core: Weak<Core>,
    /// Whose batch it is: told when its entries with tokens are durable.
    owner: Option<Arc<Mailbox>>,
    entries: Vec<Entry>,
    size: usize,
    /// Told when all of it is durable, or failed.
    done: Option<oneshot::Sender<Result<(), ()>>>,
}

/// One thing to make durable.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A message for queues, boxed because it is large.
    Publish(Box<PublishEntry>),
    /// A change of a session, with the token of who waits for it.
    Change { change: Change, token: Option<Token> },
    /// A message that waited in a shared group goes to a member.
    HandOver { group: Arc<Group>, from_seq: u64, to: QueueTarget },
    /// A message comes back from a member to its group.
    GiveBack { from: SessionNo, from_seq: u64, group: Arc<Group>, delivery: Delivery, seq: u64 },
}

/// A message for durable queues.
#[derive(Debug)]
pub(crate) struct PublishEntry {
    pub(crate) message: Arc<Message>,
    pub(crate) expires_at: Option<Instant>,
    pub(crate) publisher: Option<SessionNo>,
    pub(crate) targets: Vec<QueueTarget>,
    pub(crate) groups: Vec<GroupTarget>,
    /// The Packet Identifier of a QoS 2 PUBLISH from a durable session.
    pub(crate) inbound: Option<PacketId>,
    /// The number of the retained message, if it is one.
    pub(crate) retained: Option<u64>,
    /// A will that is published: it is taken from the store in the same batch.
    pub(crate) will_of: Option<SessionNo>,
    /// Who waits for the acknowledgement, and what it is to say.
    pub(crate) token: Option<(Token, ReasonCode)>,
    /// Whether the store had no room for it when it was prepared.
    pub(crate) refused: bool,
}

/// A copy for one session's queue.
#[derive(Debug)]
pub(crate) struct QueueTarget {
    room: Room,
    /// `seq` is 0 until it is numbered.
    pub(crate) delivery: Delivery,
}

/// Room that is reserved in a session's queue. It is given back, whatever becomes of the message.
#[derive(Debug)]
struct Room {
    mailbox: Arc<Mailbox>,
    size: usize,
    held: bool,
}

impl Room {
    /// The message has taken its place, and the reserved room is free already.
    fn freed(mut self) {
        self.held = false;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.held {
            self.mailbox.release(self.size);
        }
    }
}

/// A copy for a shared group.
#[derive(Debug)]
pub(crate) struct GroupTarget {
    pub(crate) group: Arc<Group>,
    /// With the message's own QoS and RETAIN; adapted to the member that gets it.
    pub(crate) delivery: Delivery,
    /// The member that gets it when it is durable, if one was free.
    pub(crate) member: Option<Member>,
}

impl Entry {
    /// A change nobody waits for.
    pub(crate) const fn change(change: Change) -> Self {
        Self::Change { change, token: None }
    }

    fn size(&self) -> usize {
        match self {
            Self::Publish(entry) => {
                let copies = entry.targets.len() + entry.groups.len();
                ENTRY_BYTES + entry.message.size() + copies * size_of::<QueueTarget>()
            }
            Self::Change { .. } | Self::HandOver { .. } | Self::GiveBack { .. } => ENTRY_BYTES,
        }
    }
}

impl Write {
    pub(crate) fn new(core: &Arc<Core>, owner: Option<Arc<Mailbox>>, entries: Vec<Entry>) -> Self {
        let size = entries.iter().map(Entry::size).sum();
        Self { core: Arc::downgrade(core), owner, entries, size, done: None }
    }

    /// Takes another write of the same owner behind this one.
    pub(crate) fn append(&mut self, mut other: Self) {
        debug_assert!(other.done.is_none(), "nobody waits for a batch as a whole");
        self.entries.append(&mut other.entries);
        self.size += other.size;
    }

    /// Tells `done`, if there is one, when all of it is durable.
    pub(crate) fn tell(&mut self, done: Option<oneshot::Sender<Result<(), ()>>>) {
        self.done = done;
    }
}

impl Submission for Write {
    fn size(&self) -> usize {
        self.size
    }

    fn prepare(&mut self, batch: &mut Batch, room: StoreRoom) {
        let now = UnixMillis::from(SystemTime::now());
        let monotonic = Instant::now();
        let mut waits = self.done.is_some();
        for entry in &mut self.entries {
            match entry {
                Entry::Publish(entry) => {
                    entry.refused = room == StoreRoom::NoMessages && entry.takes_room();
                    if !entry.refused {
                        entry.prepare(batch, now, monotonic);
                    }
                    waits = true;
                }
                Entry::Change { change, token } => {
                    batch.push(change.clone());
                    waits |= token.is_some();
                }
                Entry::HandOver { group, from_seq, to } => {
                    if let Some(target) = to.number() {
                        batch.hand_over(group.session_no, *from_seq, target);
                    }
                    waits = true;
                }
                Entry::GiveBack { from, from_seq, group, delivery, seq } => {
                    *seq = group.number();
                    batch.hand_over(*from, *from_seq, target(group.session_no, *seq, delivery));
                    waits = true;
                }
            }
        }
        if waits {
            batch.require(Durability::Fsync);
        }
    }

    fn take_back(&mut self) {
        for entry in &mut self.entries {
            match entry {
                Entry::Publish(entry) => entry.take_back(),
                Entry::Change { .. } => {}
                Entry::HandOver { to, .. } => to.take_back(),
                Entry::GiveBack { group, seq, .. } => {
                    group.take_number_back(*seq);
                    *seq = 0;
                }
            }
        }
    }

    fn finish(self, outcome: Result<(), &StoreError>) {
        let Some(core) = self.core.upgrade() else { return };
        let mut arrivals = Arrivals::default();
        let mut notices = Vec::new();
        let mut again = Vec::new();
        for entry in self.entries {
            let done = match (entry, outcome.is_ok()) {
                (Entry::Publish(entry), true) if !entry.refused => {
                    entry.finished(&core, &mut arrivals)
                }
                (Entry::Publish(entry), _) => entry.failed(&core),
                (Entry::Change { token, .. }, ok) => token
                    .map(|token| if ok { Notice::Durable { token } } else { Notice::StoreFailed }),
                (Entry::HandOver { group, from_seq, to }, true) => {
                    // A member that ended before it got its place leaves the message where it was.
                    if to.delivery.seq == 0 {
                        core.offer_group(&group, to.delivery, from_seq);
                    } else {
                        arrivals.add(to);
                    }
                    None
                }
                (Entry::HandOver { group, from_seq, mut to }, false) => {
                    to.take_back();
                    group.give_back(vec![in_group(&group, to.delivery, from_seq)]);
                    None
                }
                (Entry::GiveBack { group, delivery, seq, .. }, true) => {
                    group.give_back(vec![in_group(&group, delivery, seq)]);
                    core.dispatch_group(&group);
                    None
                }
                // It stays with the member in the store, and comes back to it or to the group when there is room.
                (Entry::GiveBack { from, from_seq, group, delivery, seq }, false) => {
                    group.take_number_back(seq);
                    again.push(Entry::GiveBack { from, from_seq, group, delivery, seq: 0 });
                    None
                }
            };
            notices.extend(done);
        }
        arrivals.post(&core);
        if !again.is_empty() && !core.committer.has_failed() {
            core.submit_again(Self::new(&core, None, again));
        }
        if let Some(owner) = self.owner.filter(|_| !notices.is_empty()) {
            owner.notify(notices);
        }
        if let Some(done) = self.done {
            // The one who asked may be gone, which is nobody's loss.
            let _ = done.send(outcome.map_err(|_| ()));
        }
    }
}

/// Numbered messages on their way into their queues, one visit for each mailbox.
#[derive(Debug, Default)]
struct Arrivals {
    /// By the mailbox's address, which is only compared.
    by_mailbox: HashMap<usize, (Arc<Mailbox>, Vec<QueueTarget>)>,
}

impl Arrivals {
    fn add(&mut self, target: QueueTarget) {
        let mailbox = Arc::clone(&target.room.mailbox);
        let (_, targets) = self
            .by_mailbox
            .entry(Arc::as_ptr(&mailbox).addr())
            .or_insert_with(|| (mailbox, Vec::new()));
        targets.push(target);
    }

    fn post(self, core: &Arc<Core>) {
        for (mailbox, targets) in self.by_mailbox.into_values() {
            let (rooms, deliveries): (Vec<Room>, Vec<Delivery>) =
                targets.into_iter().map(|target| (target.room, target.delivery)).unzip();
            let (returned, charge) = mailbox.post_durable(deliveries);
            rooms.into_iter().for_each(Room::freed);
            core.charge(charge);
            core.give_back(&mailbox, returned);
        }
    }
}

impl PublishEntry {
    fn prepare(&mut self, batch: &mut Batch, now: UnixMillis, monotonic: Instant) {
        let expires_at =
            self.expires_at.map(|at| now.after(at.saturating_duration_since(monotonic)));
        let mut targets = Vec::with_capacity(self.targets.len() + self.groups.len());
        for group in std::mem::take(&mut self.groups) {
            self.place(group, &mut targets);
        }
        targets.extend(self.targets.iter_mut().filter_map(QueueTarget::number));
        // [MQTT-4.3.3-8] The id of a QoS 2 message is stored with it.
        if let (Some(packet_id), Some(session)) = (self.inbound, self.publisher) {
            batch.push(Change::InboundStored { session, packet_id });
        }
        if let Some(session) = self.will_of {
            batch.push(Change::WillTaken { session });
        }
        if let Some(number) = self.retained {
            let message = (!self.message.payload.is_empty()).then(|| Arc::clone(&self.message));
            let topic = self.message.topic.clone();
            let namespace = dunlin_store::NamespaceNo::DEFAULT;
            batch.push(Change::Retained {
                namespace,
                topic,
                number,
                message,
                stored_at: now,
                expires_at,
            });
        }
        if !targets.is_empty() {
            batch.publish(Publication {
                message: Arc::clone(&self.message),
                published_at: now,
                expires_at,
                publisher: self.publisher,
                targets,
            });
        }
    }

    /// Decides where a copy for a group is kept: with a durable member that can take it, or in the group's own queue.
    fn place(&mut self, target: GroupTarget, targets: &mut Vec<Target>) {
        let GroupTarget { group, mut delivery, .. } = target;
        let member = group.choose(delivery.message.qos);
        let keeps =
            |member: &&Member| member.mailbox.is_durable() && member.entry.qos > Qos::AtMostOnce;
        if let Some(member) = member.as_ref().filter(keeps) {
            delivery.seq = 0;
            delivery.origin = Origin::Plain;
            let delivery = member.adapt(&group, delivery);
            self.targets.push(QueueTarget::reserve_always(Arc::clone(&member.mailbox), delivery));
            return;
        }
        delivery.seq = group.number();
        targets.push(self::target(group.session_no, delivery.seq, &delivery));
        self.groups.push(GroupTarget { group, delivery, member });
    }

    fn finished(self, core: &Arc<Core>, arrivals: &mut Arrivals) -> Option<Notice> {
        for target in self.targets {
            arrivals.add(target);
        }
        for GroupTarget { group, delivery, member } in self.groups {
            let seq = delivery.seq;
            match member {
                // Its turn was taken when the place was given.
                Some(member) => {
                    let mut staging = Staging::default();
                    core.hand_over(&mut staging, &group, &member, in_group(&group, delivery, seq));
                    staging.flush(core, Patience::None, &mut Vec::new());
                    if let Some(write) = staging.take_write(core, None) {
                        core.submit_later(write);
                    }
                }
                None => core.offer_group(&group, delivery, seq),
            }
        }
        self.token.map(|(token, reason)| Notice::Routed { token, reason })
    }

    /// Whether it leaves more in the store than was there before.
    fn takes_room(&self) -> bool {
        let retains = self.retained.is_some() && !self.message.payload.is_empty();
        retains || self.inbound.is_some() || !self.targets.is_empty() || !self.groups.is_empty()
    }

    /// Its places in all queues are free again.
    fn take_back(&mut self) {
        self.targets.iter_mut().for_each(QueueTarget::take_back);
        for GroupTarget { group, delivery, .. } in &mut self.groups {
            group.take_number_back(delivery.seq);
            delivery.seq = 0;
        }
    }

    fn failed(mut self, core: &Core) -> Option<Notice> {
        self.take_back();
        if let Some(number) = self.retained {
            core.namespace.retained.take_back(&self.message.topic, number);
        }
        core.counters
            .drop_many(DropReason::Store, self.targets.len() as u64 + self.groups.len() as u64);
        // The store has room for no more. [MQTT-4.13.2-1]
        self.token.map(|(token, _)| Notice::NotStored { token })
    }
}

impl QueueTarget {
    /// A copy whose room [is reserved](Mailbox::reserve).
    pub(crate) fn reserved(mailbox: Arc<Mailbox>, delivery: Delivery) -> Self {
        let size = delivery.message.size();
        Self { room: Room { mailbox, size, held: true }, delivery }
    }

    /// A copy for which room is reserved whatever the limits say.
    pub(crate) fn reserve_always(mailbox: Arc<Mailbox>, delivery: Delivery) -> Self {
        mailbox.reserve_always(delivery.message.size());
        Self::reserved(mailbox, delivery)
    }

    /// Gives the copy its place in the session's order; none if the session has ended.
    fn number(&mut self) -> Option<Target> {
        let mailbox = &self.room.mailbox;
        self.delivery.seq = mailbox.number()?;
        Some(target(mailbox.session_no, self.delivery.seq, &self.delivery))
    }

    /// The store refused it: its place is given back.
    fn take_back(&mut self) {
        self.room.mailbox.take_back(std::mem::take(&mut self.delivery.seq));
    }
}

fn target(session: SessionNo, seq: u64, delivery: &Delivery) -> Target {
    Target {
        session,
        seq,
        qos: delivery.qos,
        retain: delivery.retain,
        subscription_ids: delivery.subscription_ids.iter().copied().collect(),
    }
}

/// A delivery as it stands in a group's queue, at its place in the store, 0 for none.
pub(crate) fn in_group(group: &Group, mut delivery: Delivery, seq: u64) -> Delivery {
    delivery.origin = Origin::Shared { group: group.session_no.0, seq };
    delivery.seq = 0;
    delivery
}

/// What answers mean to a session without a connection.
pub(crate) fn answer_parked(session: &mut Session, notices: &[Notice]) {
    for notice in notices {
        match *notice {
            Notice::Routed { token, reason } => session.routed(token, reason),
            Notice::NotStored { token } => session.routed(token, ReasonCode::QuotaExceeded),
            Notice::Durable { token } => session.durable(token),
            Notice::StoreFailed | Notice::PublishWill => {}
        }
    }
}

/// What the store keeps of a session.
pub(crate) fn record(
    expiry: SessionExpiry,
    owner: &str,
    will: Option<&dunlin_session::Will>,
    disconnected_at: Option<UnixMillis>,
) -> SessionRecord {
    SessionRecord {
        expiry_secs: expiry.as_secs(),
        owner: owner.into(),
        will: will.map(|will| WillRecord {
            message: Arc::clone(&will.message),
            delay_secs: will.delay_secs,
        }),
        disconnected_at,
    }
}

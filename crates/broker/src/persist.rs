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
    Batch, Change, Durability, MessageId, Publication, Room as StoreRoom, SessionNo, SessionRecord,
    StoreError, Submission, Target, UnixMillis, WillRecord,
};
use hashbrown::HashMap;
use tokio::sync::oneshot;

use crate::core::Core;
use crate::fanout::{Staged, Staging};
use crate::holding::{BROKER_LINE, Holding, record_of};
use crate::lane::Patience;
use crate::mailbox::{Mailbox, Notice};
use crate::metrics::DropReason;
use crate::share::{Group, Member};

/// What one wait for the store may cost beside its messages, for the committer's bounds.
const ENTRY_BYTES: usize = 128;
/// Bytes of a line that are tried together; a larger message is tried alone.
const TRIED_BYTES_MAX: usize = 256 * 1024;

/// One submission.
#[derive(Debug)]
pub(crate) struct Write {
    core: Weak<Core>,
    /// Whose batch it is: told when its entries with tokens are durable.
    owner: Option<Arc<Mailbox>>,
    /// What the store had no room for before: it goes first.
    first: Vec<Entry>,
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
    Change {
        change: Change,
        token: Option<Token>,
        /// Whether it was put behind the session's will, for which there was no room.
        behind: bool,
    },
    /// A message that waited in a shared group goes to a member.
    HandOver { group: Arc<Group>, from_seq: u64, to: QueueTarget },
    /// A message comes back from a member to its group.
    GiveBack { from: SessionNo, from_seq: u64, group: Arc<Group>, delivery: Delivery, seq: u64 },
    /// What [is held](crate::holding) in a line is tried again.
    Again { line: SessionNo, taken: Vec<Self> },
    /// The connection of an MQTT 3.x client is over: what is held in its line is given up, except QoS 2 messages of a
    /// session that goes on.
    Left(SessionNo),
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
    /// Copies of such a will that need no store: they go out when it is taken, so that it goes out once.
    pub(crate) copies: Vec<Staged>,
    /// Who waits for the acknowledgement, and what it is to say.
    pub(crate) token: Option<(Token, ReasonCode)>,
    /// How durable it has to be.
    pub(crate) level: Durability,
    /// The line in which it waits while the store has no room; without one it is refused.
    pub(crate) line: Option<SessionNo>,
    /// Whether the store had no room for it when it was prepared.
    pub(crate) refused: bool,
}

/// A copy for one session's queue.
#[derive(Debug)]
pub(crate) struct QueueTarget {
    room: Room,
    /// `seq` is 0 until it is numbered.
    pub(crate) delivery: Delivery,
    /// The message's number in the store, once it has one.
    id: Option<MessageId>,
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
        Self::awaited(change, None)
    }

    /// A change, and who waits for it.
    pub(crate) const fn awaited(change: Change, token: Option<Token>) -> Self {
        Self::Change { change, token, behind: false }
    }

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Publish(entry) => {
                let copies = entry.targets.len() + entry.groups.len();
                ENTRY_BYTES + entry.message.size() + copies * size_of::<QueueTarget>()
            }
            // What it may take from its line.
            Self::Again { .. } => ENTRY_BYTES + TRIED_BYTES_MAX,
            Self::Change { .. } | Self::HandOver { .. } | Self::GiveBack { .. } | Self::Left(_) => {
                ENTRY_BYTES
            }
        }
    }

    fn prepare(&mut self, to: &mut Preparing<'_>) {
        match self {
            Self::Publish(entry) => {
                entry.refused = to.room == StoreRoom::NoMessages && entry.takes_room(to)
                    || to.holding().zip(entry.line).is_some_and(|(held, line)| held.has_line(line));
                if !entry.refused {
                    entry.prepare(to);
                } else if let (Some(core), Some(line)) = (to.core, entry.line) {
                    core.holding.announce(line, entry.will_of);
                }
            }
            Self::Change { change, token, behind } => {
                let waits = token.is_some() || to.all_wait;
                *behind = to.puts_behind_will(change, waits);
                match to.core.filter(|_| *behind) {
                    Some(core) => core.holding.announce(BROKER_LINE, record_of(change)),
                    None => to.batch.push(change.clone()),
                }
                if waits {
                    to.batch.require(to.broker_level);
                }
            }
            Self::HandOver { group, from_seq, to: member } => {
                let level = to.level_of(&member.delivery.message);
                if let Some(target) = member.number() {
                    member.id = Some(to.batch.hand_over(group.session_no, *from_seq, target));
                }
                to.batch.require(to.with_packet_ids(level, member.delivery.qos));
            }
            Self::GiveBack { from, from_seq, group, delivery, seq } => {
                *seq = group.number();
                to.batch.hand_over(*from, *from_seq, target(group.session_no, *seq, delivery));
                to.batch.require(to.level_of(&delivery.message));
            }
            Self::Again { line, taken } => {
                if to.room == StoreRoom::All
                    && let Some(core) = to.core
                {
                    *taken = core.holding.take_front(*line, TRIED_BYTES_MAX);
                }
                // What was put behind a will stays behind it, and follows it here.
                for entry in taken {
                    match entry {
                        Self::Publish(entry) => {
                            entry.refused = false;
                            entry.prepare(to);
                        }
                        Self::Change { change, behind, .. } => {
                            *behind = false;
                            to.batch.push(change.clone());
                        }
                        Self::HandOver { .. }
                        | Self::GiveBack { .. }
                        | Self::Again { .. }
                        | Self::Left(_) => {
                            debug_assert!(false, "only messages and records stand in lines");
                        }
                    }
                }
            }
            Self::Left(_) => {}
        }
    }

    fn take_back(&mut self, core: Option<&Arc<Core>>, owner: Option<&Arc<Mailbox>>) {
        match self {
            Self::Publish(entry) => {
                entry.take_back();
                if let (Some(core), Some(line)) = (core.filter(|_| entry.refused), entry.line) {
                    core.holding.revoke(line, entry.will_of);
                }
            }
            Self::Change { change, behind, .. } => {
                if let Some(core) = core.filter(|_| *behind) {
                    core.holding.revoke(BROKER_LINE, record_of(change));
                }
            }
            Self::Left(_) => {}
            Self::HandOver { to, .. } => to.take_back(),
            Self::GiveBack { group, seq, .. } => {
                group.take_number_back(*seq);
                *seq = 0;
            }
            Self::Again { line, taken } => {
                taken.iter_mut().for_each(|entry| entry.take_back(core, owner));
                if let Some(core) = core {
                    core.holding.put_front_back(*line, owner, std::mem::take(taken));
                }
            }
        }
    }
}

/// What is known while a write is put into a batch.
struct Preparing<'a> {
    core: Option<&'a Arc<Core>>,
    batch: &'a mut Batch,
    room: StoreRoom,
    now: UnixMillis,
    monotonic: Instant,
    /// What the state of sessions is written with.
    broker_level: Durability,
    /// Whether somebody waits for all of the write.
    all_wait: bool,
}

impl Preparing<'_> {
    /// What is held, if anything is.
    fn holding(&self) -> Option<&Holding> {
        self.core.map(|core| &core.holding).filter(|holding| holding.any())
    }

    /// How durable a message has to be that is moved from queue to queue: it is in the store already.
    fn level_of(&self, message: &Message) -> Durability {
        let level = self.core.map(|core| core.level(&message.topic, None));
        level.unwrap_or(self.broker_level).max(Durability::Os)
    }

    /// The same for a copy with this QoS. What is sent at QoS 2 must not be forgotten more easily than the Packet Identifier
    /// that the client has seen: another message would get it, and be taken for a repetition. [MQTT-4.3.3-10]
    fn with_packet_ids(&self, level: Durability, qos: Qos) -> Durability {
        if qos == Qos::ExactlyOnce { level.max(self.broker_level) } else { level }
    }

    /// Whether a change of a session has to wait because the session's will does, which would go from the store with it.
    fn puts_behind_will(&self, change: &Change, waits: bool) -> bool {
        let Some(holding) = self.holding() else { return false };
        let Some(session) = record_of(change).filter(|session| holding.has_session(*session))
        else {
            return false;
        };
        if waits {
            holding.superseded(session);
        }
        !waits
    }
}

impl Write {
    pub(crate) fn new(core: &Arc<Core>, owner: Option<Arc<Mailbox>>, entries: Vec<Entry>) -> Self {
        let size = entries.iter().map(Entry::size).sum();
        Self { core: Arc::downgrade(core), owner, first: Vec::new(), entries, size, done: None }
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
        let core = self.core.upgrade();
        if let Some(core) = &core {
            core.saw_room(room);
        }
        let mut to = Preparing {
            core: core.as_ref(),
            batch,
            room,
            now: UnixMillis::from(SystemTime::now()),
            monotonic: Instant::now(),
            broker_level: core.as_ref().map_or(Durability::Fsync, |core| core.config.durability),
            all_wait: false,
        };
        if let Some(holding) = to.holding() {
            self.first = holding.take_changes();
            self.first.iter_mut().for_each(|entry| entry.prepare(&mut to));
        }
        to.all_wait = self.done.is_some();
        self.entries.iter_mut().for_each(|entry| entry.prepare(&mut to));
    }

    fn take_back(&mut self) {
        let core = self.core.upgrade();
        for entry in self.first.iter_mut().chain(&mut self.entries) {
            entry.take_back(core.as_ref(), self.owner.as_ref());
        }
        if let Some(core) = core {
            core.holding.put_changes_back(std::mem::take(&mut self.first));
            core.see_to_held();
        }
    }

    fn finish(self, outcome: Result<(), &StoreError>) {
        let Some(core) = self.core.upgrade() else { return };
        let result = match outcome {
            Ok(()) => Finished::Durable,
            Err(error) if error.is_fatal() => Finished::Failed,
            Err(_) => Finished::NoRoom,
        };
        let mut finishing = Finishing {
            core: &core,
            owner: self.owner.as_ref(),
            result,
            asked: false,
            complete: result == Finished::Durable,
            arrivals: Arrivals::default(),
            notices: Vec::new(),
            kept: Vec::new(),
        };
        self.first.into_iter().for_each(|entry| finishing.entry(entry));
        finishing.asked = self.done.is_some();
        self.entries.into_iter().for_each(|entry| finishing.entry(entry));
        let Finishing { complete, arrivals, notices, kept, .. } = finishing;
        arrivals.post(&core);
        core.hold(None, None, kept);
        if let Some(owner) = self.owner.filter(|_| !notices.is_empty()) {
            owner.notify(notices);
        }
        if let Some(done) = self.done {
            // The one who asked may be gone, which is nobody's loss.
            let _ = done.send(if complete { Ok(()) } else { Err(()) });
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Finished {
    Durable,
    /// Nothing of it is in the store, which goes on.
    NoRoom,
    /// The store has failed.
    Failed,
}

/// What comes of a write.
struct Finishing<'a> {
    core: &'a Arc<Core>,
    owner: Option<&'a Arc<Mailbox>>,
    result: Finished,
    /// Whether somebody asked for all of it at once, and tries again himself.
    asked: bool,
    /// Whether all of it is durable.
    complete: bool,
    arrivals: Arrivals,
    notices: Vec<Notice>,
    /// Changes that found no room and must get there.
    kept: Vec<Entry>,
}

impl Finishing<'_> {
    fn entry(&mut self, entry: Entry) {
        match entry {
            Entry::Publish(entry) => self.publish(entry),
            Entry::Change { change, token, behind } => self.change(change, token, behind),
            Entry::HandOver { group, from_seq, mut to } => {
                if self.result != Finished::Durable {
                    to.take_back();
                    group.give_back(vec![in_group(&group, to.delivery, from_seq)]);
                } else if to.delivery.seq == 0 {
                    // A member that ended before it got its place leaves the message where it was.
                    self.core.offer_group(&group, to.delivery, from_seq);
                } else {
                    self.arrivals.add(to);
                }
            }
            Entry::GiveBack { from, from_seq, group, delivery, seq } => match self.result {
                Finished::Durable => {
                    group.give_back(vec![in_group(&group, delivery, seq)]);
                    self.core.dispatch_group(&group);
                }
                // It stays with the member in the store, and comes back to it or to the group when there is room.
                Finished::NoRoom | Finished::Failed => {
                    group.take_number_back(seq);
                    if self.result == Finished::NoRoom {
                        self.kept.push(Entry::GiveBack { from, from_seq, group, delivery, seq: 0 });
                    }
                }
            },
            Entry::Again { line, taken } => {
                let progress = !taken.is_empty() && self.result == Finished::Durable;
                taken.into_iter().for_each(|entry| self.entry(entry));
                if progress && self.core.holding.has_line(line) {
                    self.core.try_line(line, self.owner.map(Arc::clone));
                }
            }
            Entry::Left(line) => {
                let mut kept = Vec::new();
                for entry in self.core.holding.end_line(line) {
                    match entry {
                        // [MQTT-4.3.3-2 @3.1.1] The session knows its Packet Identifier and will not take it twice.
                        Entry::Publish(entry) if entry.inbound.is_some() => {
                            kept.push(Entry::Publish(entry));
                        }
                        Entry::Publish(entry) => self.notices.extend(entry.failed(self.core)),
                        // Nothing else stands in a client's line.
                        Entry::Change { .. }
                        | Entry::HandOver { .. }
                        | Entry::GiveBack { .. }
                        | Entry::Again { .. }
                        | Entry::Left(_) => {}
                    }
                }
                self.core.hold(Some(line), self.owner, kept);
            }
        }
    }

    fn publish(&mut self, mut entry: Box<PublishEntry>) {
        match self.result {
            Finished::Durable if !entry.refused => {
                self.notices.extend(entry.finished(self.core, &mut self.arrivals));
            }
            Finished::Durable | Finished::NoRoom if entry.line.is_some() => {
                entry.take_back();
                self.complete = false;
                match (entry.refused, entry.line) {
                    (true, Some(line)) => {
                        self.core.keep(line, self.owner, Entry::Publish(entry));
                    }
                    (_, line) => self.core.hold(line, self.owner, vec![Entry::Publish(entry)]),
                }
            }
            Finished::Durable | Finished::NoRoom | Finished::Failed => {
                self.complete = false;
                self.notices.extend(entry.failed(self.core));
            }
        }
    }

    fn change(&mut self, change: Change, token: Option<Token>, behind: bool) {
        match self.result {
            Finished::Durable | Finished::NoRoom if behind => {
                self.core.keep(BROKER_LINE, None, Entry::change(change));
            }
            Finished::Durable => {
                self.notices.extend(token.map(|token| Notice::Durable { token }));
            }
            Finished::NoRoom => {
                self.notices.extend(token.map(|_| Notice::StoreFailed));
                // What has changed in memory has to be so in the store. Who asked for a session does not get it, but the
                // old one is over.
                if !self.asked || matches!(change, Change::SessionEnded { .. }) {
                    self.kept.push(Entry::change(change));
                }
            }
            Finished::Failed => self.notices.extend(token.map(|_| Notice::StoreFailed)),
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
            let (rooms, deliveries): (Vec<Room>, Vec<_>) = targets
                .into_iter()
                .map(|target| (target.room, (target.delivery, target.id)))
                .unzip();
            let (returned, charge) = mailbox.post_durable(deliveries, core.window());
            rooms.into_iter().for_each(Room::freed);
            core.charge(charge);
            core.give_back(&mailbox, returned);
        }
    }
}

impl PublishEntry {
    /// One that leads nowhere yet.
    pub(crate) fn new(message: &Arc<Message>, level: Durability) -> Self {
        Self {
            message: Arc::clone(message),
            expires_at: None,
            publisher: None,
            targets: Vec::new(),
            groups: Vec::new(),
            inbound: None,
            retained: None,
            will_of: None,
            copies: Vec::new(),
            token: None,
            level,
            line: None,
            refused: false,
        }
    }

    fn prepare(&mut self, to: &mut Preparing<'_>) {
        let Preparing { now, monotonic, .. } = *to;
        let expires_at =
            self.expires_at.map(|at| now.after(at.saturating_duration_since(monotonic)));
        let mut level = self.level_needed(to);
        let mut targets = Vec::with_capacity(self.targets.len() + self.groups.len());
        for group in std::mem::take(&mut self.groups) {
            self.place(group, &mut targets);
        }
        targets.extend(self.targets.iter_mut().filter_map(QueueTarget::number));
        // Members of groups are among them now.
        level = level.max(self.level_needed(to));
        let batch = &mut *to.batch;
        batch.require(level);
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
        // At the lowest level a place in the queue is all that a message gets.
        if !targets.is_empty() && level > Durability::Memory {
            let id = batch.publish(Publication {
                message: Arc::clone(&self.message),
                published_at: now,
                expires_at,
                publisher: self.publisher,
                targets,
            });
            self.targets.iter_mut().for_each(|target| target.id = Some(id));
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
        for mut staged in self.copies {
            core.post(&mut staged, Patience::None);
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

    /// How durable it has to be, by itself and for the sake of what it is written with.
    fn level_needed(&self, to: &Preparing<'_>) -> Durability {
        let mut level = self.level;
        // What waits in a group's stored queue has to be there to be handed over.
        if !self.groups.is_empty() {
            level = level.max(Durability::Os);
        }
        // A will that is taken from the store is part of a session's state.
        if self.will_of.is_some() {
            level = level.max(to.broker_level);
        }
        let copies = self.targets.iter().map(|target| target.delivery.qos);
        copies.fold(level, |level, qos| to.with_packet_ids(level, qos))
    }

    /// Whether it leaves more in the store than was there before.
    fn takes_room(&self, to: &Preparing<'_>) -> bool {
        let retains = self.retained.is_some() && !self.message.payload.is_empty();
        let queues = !self.targets.is_empty() || !self.groups.is_empty();
        retains || self.inbound.is_some() || queues && self.level_needed(to) > Durability::Memory
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
        core.counters.drop_many(DropReason::Store, self.groups.len() as u64);
        for target in &self.targets {
            core.drop_copies(&target.room.mailbox, DropReason::Store, 1);
        }
        // The store has room for no more. [MQTT-4.13.2-1]
        self.token.map(|(token, _)| Notice::NotStored { token })
    }
}

impl QueueTarget {
    /// A copy whose room [is reserved](Mailbox::reserve).
    pub(crate) fn reserved(mailbox: Arc<Mailbox>, delivery: Delivery) -> Self {
        let size = delivery.message.size();
        Self { room: Room { mailbox, size, held: true }, delivery, id: None }
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
        self.id = None;
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

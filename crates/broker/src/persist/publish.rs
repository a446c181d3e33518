//! A message for durable queues: numbered, stored once for all of them, and acknowledged.

use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::{Message, PacketId, Qos, ReasonCode};
use dunlin_session::{Origin, Token};
use dunlin_store::{Change, Durability, MessageId, Publication, SessionNo, Target};

use super::copy::{Arrivals, GroupTarget, QueueTarget, Shared, in_group, target};
use super::entry::Preparing;
use crate::core::Core;
use crate::fanout::{Staged, Staging};
use crate::lane::Patience;
use crate::mailbox::Notice;
use crate::metrics::DropReason;
use crate::namespace::Namespace;
use crate::share::Member;

/// Whose retained message it is, and its number among them.
#[derive(Debug)]
pub(crate) struct RetainedPlace {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) number: u64,
}

/// A message for durable queues.
#[derive(Debug)]
pub(crate) struct PublishEntry {
    pub(crate) message: Arc<Message>,
    pub(crate) expires_at: Option<Instant>,
    /// Its number in the store, once it has one.
    pub(crate) id: Option<MessageId>,
    pub(crate) publisher: Option<SessionNo>,
    pub(crate) targets: Vec<QueueTarget>,
    pub(crate) groups: Vec<GroupTarget>,
    /// The Packet Identifier of a QoS 2 PUBLISH from a durable session.
    pub(crate) inbound: Option<PacketId>,
    /// Where it is retained, if it is.
    pub(crate) retained: Option<RetainedPlace>,
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

impl PublishEntry {
    /// One that leads nowhere yet.
    pub(crate) fn new(message: &Arc<Message>, level: Durability) -> Self {
        Self {
            message: Arc::clone(message),
            expires_at: None,
            id: None,
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

    pub(super) fn prepare(&mut self, to: &mut Preparing<'_>) {
        let Preparing { now, monotonic, .. } = *to;
        let expires_at =
            self.expires_at.map(|at| now.after(at.saturating_duration_since(monotonic)));
        let mut level = self.level_needed(to);
        let mut targets = Vec::with_capacity(self.targets.len() + self.groups.len());
        for group in std::mem::take(&mut self.groups) {
            self.place(group, &mut targets);
        }
        targets.extend(self.targets.iter_mut().filter_map(QueueTarget::number));
        if let Some(core) = to.core {
            self.keep_in_groups(core, &mut targets);
        }
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
        if let Some(RetainedPlace { namespace, number }) = &self.retained {
            let message = (!self.message.payload.is_empty()).then(|| Arc::clone(&self.message));
            let topic = self.message.topic.clone();
            batch.push(Change::Retained {
                namespace: namespace.number,
                topic,
                number: *number,
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
            self.id = Some(id);
        }
    }

    /// Decides where a copy for a group is kept: with a durable member that can take it, or in the group's own queue.
    pub(super) fn place(&mut self, target: GroupTarget, targets: &mut Vec<Target>) {
        let GroupTarget { group, mut delivery, .. } = target;
        let message = &delivery.message;
        let member = group.choose(message.topic.as_bytes(), message.qos);
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

    /// Keeps what was for members of groups that have ended since they were chosen: it waits in its group.
    pub(super) fn keep_in_groups(&mut self, core: &Core, targets: &mut Vec<Target>) {
        let left =
            |target: &mut QueueTarget| target.has_no_place() && target.own.origin.is_shared();
        for QueueTarget { room, own } in self.targets.extract_if(.., left) {
            let Origin::Shared { group, .. } = own.origin else { continue };
            let namespace = &room.mailbox.namespace;
            let Some(group) = namespace.router.group_by_number(SessionNo(group)) else {
                core.drop_copies(&room.mailbox, DropReason::SessionEnded, 1);
                continue;
            };
            let delivery = own.with(&self.message, self.expires_at);
            let mut delivery = in_group(&group, delivery, 0);
            delivery.seq = group.number();
            targets.push(target(group.session_no, delivery.seq, &delivery));
            self.groups.push(GroupTarget { group, delivery, member: None });
        }
    }

    pub(super) fn finished(self, core: &Arc<Core>, arrivals: &mut Arrivals) -> Option<Notice> {
        if let Some(RetainedPlace { namespace, number }) = &self.retained {
            namespace.retained.settled(&self.message, *number, self.expires_at);
        }
        if !self.targets.is_empty() {
            let Self { message, expires_at, id, .. } = self;
            arrivals.add(Shared { message, expires_at, id }, self.targets);
        }
        for mut staged in self.copies {
            core.post(&mut staged, Patience::None, &core.config().limits);
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
    pub(super) fn level_needed(&self, to: &Preparing<'_>) -> Durability {
        let mut level = self.level;
        // What waits in a group's stored queue has to be there to be handed over.
        if !self.groups.is_empty() {
            level = level.max(Durability::Os);
        }
        // A will that is taken from the store is part of a session's state.
        if self.will_of.is_some() {
            level = level.max(to.broker_level);
        }
        let copies = self.targets.iter().map(|target| target.own.qos);
        copies.fold(level, |level, qos| to.with_packet_ids(level, qos))
    }

    /// Whether it leaves more in the store than was there before.
    pub(super) fn takes_room(&self, to: &Preparing<'_>) -> bool {
        let retains = self.retained.is_some() && !self.message.payload.is_empty();
        let queues = !self.targets.is_empty() || !self.groups.is_empty();
        retains || self.inbound.is_some() || queues && self.level_needed(to) > Durability::Memory
    }

    /// Its places in all queues are free again.
    pub(super) fn take_back(&mut self) {
        self.id = None;
        self.targets.iter_mut().for_each(QueueTarget::take_back);
        for GroupTarget { group, delivery, .. } in &mut self.groups {
            group.take_number_back(delivery.seq);
            delivery.seq = 0;
        }
    }

    pub(super) fn failed(mut self, core: &Core) -> Option<Notice> {
        self.take_back();
        if let Some(RetainedPlace { namespace, number }) = &self.retained {
            namespace.retained.take_back(&self.message.topic, *number);
            // Who published it is told, if he waits.
            if self.token.is_none() {
                core.report_publish(
                    &namespace.counters,
                    "",
                    Some(&self.message),
                    DropReason::Store,
                );
            }
        }
        for target in &self.groups {
            target.group.namespace.counters.drop_many(DropReason::Store, 1);
        }
        for target in &self.targets {
            core.drop_copies(&target.room.mailbox, DropReason::Store, 1);
        }
        // The store has room for no more. [MQTT-4.13.2-1]
        self.token.map(|(token, _)| Notice::NotStored { token })
    }
}

//! One message for the durable queues of one tenant: a place in each, and what becomes of them.

use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::{Message, Qos};
use dunlin_session::Origin;
use dunlin_store::{Durability, MessageId, SessionNo, Target};

use super::copy::{Arrivals, GroupTarget, QueueTarget, Shared, in_group, target};
use super::entry::Preparing;
use crate::core::Core;
use crate::fanout::Staging;
use crate::lane::Patience;
use crate::metrics::DropReason;
use crate::share::Member;

/// Copies of one message for durable queues.
#[derive(Debug)]
pub(crate) struct Copies {
    pub(crate) message: Arc<Message>,
    /// Its number in the store, once it has one.
    pub(super) id: Option<MessageId>,
    pub(crate) targets: Vec<QueueTarget>,
    pub(crate) groups: Vec<GroupTarget>,
}

impl Copies {
    /// None yet.
    pub(crate) fn new(message: &Arc<Message>) -> Self {
        let message = Arc::clone(message);
        Self { message, id: None, targets: Vec::new(), groups: Vec::new() }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.targets.len() + self.groups.len()
    }

    /// Gives each its place, which is what the store has to know. Called in the order of commits.
    pub(super) fn number(
        &mut self,
        core: Option<&Arc<Core>>,
        expires_at: Option<Instant>,
    ) -> Vec<Target> {
        let mut places = Vec::with_capacity(self.len());
        for group in std::mem::take(&mut self.groups) {
            self.place(group, &mut places);
        }
        places.extend(self.targets.iter_mut().filter_map(QueueTarget::number));
        if let Some(core) = core {
            self.keep_in_groups(core, expires_at, &mut places);
        }
        places
    }

    /// Decides where a copy for a group is kept: with a durable member that can take it, or in the group's own queue.
    fn place(&mut self, target: GroupTarget, places: &mut Vec<Target>) {
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
        places.push(self::target(group.session_no, delivery.seq, &delivery));
        self.groups.push(GroupTarget { group, delivery, member });
    }

    /// Keeps what was for members of groups that have ended since they were chosen: it waits in its group.
    fn keep_in_groups(
        &mut self,
        core: &Core,
        expires_at: Option<Instant>,
        places: &mut Vec<Target>,
    ) {
        let left =
            |target: &mut QueueTarget| target.has_no_place() && target.own.origin.is_shared();
        for QueueTarget { room, own } in self.targets.extract_if(.., left) {
            let Origin::Shared { group, .. } = own.origin else { continue };
            let namespace = &room.mailbox.namespace;
            let Some(group) = namespace.router.group_by_number(SessionNo(group)) else {
                core.drop_copies(&room.mailbox, DropReason::SessionEnded, 1);
                continue;
            };
            let delivery = own.with(&self.message, expires_at);
            let mut delivery = in_group(&group, delivery, 0);
            delivery.seq = group.number();
            places.push(target(group.session_no, delivery.seq, &delivery));
            self.groups.push(GroupTarget { group, delivery, member: None });
        }
    }

    /// How durable they have to be, where the message by itself has to be `level`.
    pub(super) fn level_needed(&self, level: Durability, to: &Preparing<'_>) -> Durability {
        // What waits in a group's stored queue has to be there to be handed over.
        let level = if self.groups.is_empty() { level } else { level.max(Durability::Os) };
        let copies = self.targets.iter().map(|target| target.own.qos);
        copies.fold(level, |level, qos| to.with_packet_ids(level, qos))
    }

    /// Their places in all queues are free again.
    pub(super) fn take_back(&mut self) {
        self.id = None;
        self.targets.iter_mut().for_each(QueueTarget::take_back);
        for GroupTarget { group, delivery, .. } in &mut self.groups {
            group.take_number_back(delivery.seq);
            delivery.seq = 0;
        }
    }

    /// They are durable: those for sessions go with the other arrivals, those for groups are given back.
    pub(super) fn arrive(
        self,
        expires_at: Option<Instant>,
        arrivals: &mut Arrivals,
    ) -> Vec<GroupTarget> {
        let Self { message, id, targets, groups } = self;
        if !targets.is_empty() {
            arrivals.add(Shared { message, expires_at, id }, targets);
        }
        groups
    }

    /// The store did not take them.
    pub(super) fn failed(&self, core: &Core) {
        for target in &self.groups {
            target.group.namespace.counters.drop_many(DropReason::Store, 1);
        }
        for target in &self.targets {
            core.drop_copies(&target.room.mailbox, DropReason::Store, 1);
        }
    }
}

impl GroupTarget {
    /// It is durable: it goes to its member, or waits in its group.
    pub(super) fn arrive(self, core: &Arc<Core>) {
        let Self { group, delivery, member } = self;
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
}

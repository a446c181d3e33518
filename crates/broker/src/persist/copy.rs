//! One receiver's copy of a message: the room it takes in a queue, its place, and its way there.

use std::sync::Arc;

use dunlin_session::{Delivery, Origin};
use dunlin_store::{MessageId, SessionNo, Target};
use hashbrown::HashMap;

use crate::core::Core;
use crate::mailbox::Mailbox;
use crate::queue::Drops;
use crate::share::{Group, Member};

/// A copy for one session's queue.
#[derive(Debug)]
pub(crate) struct QueueTarget {
    pub(super) room: Room,
    /// `seq` is 0 until it is numbered.
    pub(crate) delivery: Delivery,
    /// The message's number in the store, once it has one.
    pub(super) id: Option<MessageId>,
}

/// Room that is reserved in a session's queue. It is given back, whatever becomes of the message.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) size: usize,
    pub(super) held: bool,
}

impl Room {
    /// The message has taken its place, and the reserved room is free already.
    pub(super) fn freed(mut self) {
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
    pub(super) fn number(&mut self) -> Option<Target> {
        let mailbox = &self.room.mailbox;
        self.delivery.seq = mailbox.number()?;
        Some(target(mailbox.session_no, self.delivery.seq, &self.delivery))
    }

    /// The store refused it: its place is given back.
    pub(super) fn take_back(&mut self) {
        self.room.mailbox.take_back(std::mem::take(&mut self.delivery.seq));
        self.id = None;
    }
}

pub(super) fn target(session: SessionNo, seq: u64, delivery: &Delivery) -> Target {
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

/// Numbered messages on their way into their queues, one visit for each mailbox.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// By the mailbox's address, which is only compared.
    pub(super) by_mailbox: HashMap<usize, (Arc<Mailbox>, Vec<QueueTarget>)>,
}

impl Arrivals {
    pub(super) fn add(&mut self, target: QueueTarget) {
        let mailbox = Arc::clone(&target.room.mailbox);
        let (_, targets) = self
            .by_mailbox
            .entry(Arc::as_ptr(&mailbox).addr())
            .or_insert_with(|| (mailbox, Vec::new()));
        targets.push(target);
    }

    pub(super) fn post(self, core: &Arc<Core>) {
        for (mailbox, targets) in self.by_mailbox.into_values() {
            let (rooms, deliveries): (Vec<Room>, Vec<_>) = targets
                .into_iter()
                .map(|target| (target.room, (target.delivery, target.id)))
                .unzip();
            let mut drops = Drops::default();
            let (returned, charge) = mailbox.post_durable(deliveries, core.window(), &mut drops);
            rooms.into_iter().for_each(Room::freed);
            core.charge(charge);
            core.report(&mailbox, drops);
            core.give_back(&mailbox, returned);
        }
    }
}

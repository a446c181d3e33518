//! One receiver's copy of a message: the room it takes in a queue, its place, and its way there.

use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::{Message, Qos};
use dunlin_session::{Delivery, Origin, SubscriptionIds};
use dunlin_store::{MessageId, SessionNo, Target};
use hashbrown::HashMap;

use crate::core::Core;
use crate::mailbox::Mailbox;
use crate::queue::Drops;
use crate::share::{Group, Member};

/// A copy for one session's queue, without the message: a publish for many makes many of these, in one place after the other.
#[derive(Debug)]
pub(crate) struct QueueTarget {
    pub(super) room: Room,
    /// `seq` is 0 until it is numbered.
    pub(super) own: Own,
}

/// What a copy has of its own. With the message that it shares with others it is a [`Delivery`], whose fields these are.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) seq: u64,
    pub(crate) subscription_ids: SubscriptionIds,
    pub(crate) origin: Origin,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) sent_before: bool,
}

/// What copies share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) message: Arc<Message>,
    pub(crate) expires_at: Option<Instant>,
    /// The message's number in the store, once it has one.
    pub(crate) id: Option<MessageId>,
}

/// A copy that is durable, on its way into its queue.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) own: Own,
}

impl Own {
    pub(crate) fn of(delivery: Delivery) -> Self {
        let Delivery { qos, retain, subscription_ids, seq, sent_before, origin, .. } = delivery;
        Self { seq, subscription_ids, origin, qos, retain, sent_before }
    }

    #[inline]
    pub(crate) fn with(self, message: &Arc<Message>, expires_at: Option<Instant>) -> Delivery {
        let Self { seq, subscription_ids, origin, qos, retain, sent_before } = self;
        let message = Arc::clone(message);
        Delivery { message, qos, retain, subscription_ids, seq, expires_at, sent_before, origin }
    }
}

impl Arrival<'_> {
    pub(crate) fn into_delivery(self) -> Delivery {
        self.own.with(&self.shared.message, self.shared.expires_at)
    }
}

/// Room that is reserved in a session's queue. It is given back, whatever becomes of the message.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) size: usize,
    pub(super) held: bool,
}

impl Room {
    /// The message takes its place, and whoever gives it that frees the room.
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

impl QueueTarget {
    /// A copy of a message of this size whose room [is reserved](Mailbox::reserve).
    pub(crate) fn reserved(mailbox: Arc<Mailbox>, size: usize, own: Own) -> Self {
        Self { room: Room { mailbox, size, held: true }, own }
    }

    /// A copy for which room is reserved whatever the limits say.
    pub(crate) fn reserve_always(mailbox: Arc<Mailbox>, delivery: Delivery) -> Self {
        let size = delivery.message.size();
        mailbox.reserve_always(size);
        Self::reserved(mailbox, size, Own::of(delivery))
    }

    /// Gives the copy its place in the session's order; none if the session has ended.
    pub(super) fn number(&mut self) -> Option<Target> {
        let mailbox = &self.room.mailbox;
        let own = &mut self.own;
        own.seq = mailbox.number()?;
        Some(Target {
            session: mailbox.session_no,
            seq: own.seq,
            qos: own.qos,
            retain: own.retain,
            subscription_ids: own.subscription_ids.iter().copied().collect(),
        })
    }

    /// Whether it was not numbered because its session had ended.
    pub(super) const fn has_no_place(&self) -> bool {
        self.own.seq == 0
    }

    /// The store refused it: its place is given back.
    pub(super) fn take_back(&mut self) {
        self.room.mailbox.take_back(std::mem::take(&mut self.own.seq));
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
    messages: Vec<Shared>,
    receivers: Vec<Receiver>,
    /// By the mailbox's address, which is only compared: where it stands in `receivers`.
    by_mailbox: HashMap<usize, usize>,
    /// The receiver of the last copy.
    last: usize,
}

/// What arrives in one mailbox: copies, with the places of their messages in the list.
#[derive(Debug)]
struct Receiver {
    mailbox: Arc<Mailbox>,
    copies: Vec<(usize, QueueTarget)>,
}

impl Receiver {
    fn is(&self, mailbox: &Arc<Mailbox>) -> bool {
        Arc::ptr_eq(&self.mailbox, mailbox)
    }
}

impl Arrivals {
    /// Adds copies of one message.
    pub(super) fn add(&mut self, shared: Shared, targets: impl IntoIterator<Item = QueueTarget>) {
        let message = self.messages.len();
        self.messages.push(shared);
        for target in targets {
            let at = self.place_of(&target.room.mailbox);
            self.last = at;
            if let Some(receiver) = self.receivers.get_mut(at) {
                receiver.copies.push((message, target));
            }
        }
    }

    /// Messages of one route name their receivers in the same order, so it is mostly the next one.
    fn place_of(&mut self, mailbox: &Arc<Mailbox>) -> usize {
        let next = self.last + 1;
        if self.receivers.get(next).is_some_and(|receiver| receiver.is(mailbox)) {
            return next;
        }
        let end = self.receivers.len();
        let at = *self.by_mailbox.entry(Arc::as_ptr(mailbox).addr()).or_insert(end);
        if at == end {
            self.receivers.push(Receiver { mailbox: Arc::clone(mailbox), copies: Vec::new() });
        }
        at
    }

    pub(super) fn post(self, core: &Arc<Core>) {
        let Self { messages, receivers, .. } = self;
        let window = core.window();
        for Receiver { mailbox, copies } in receivers {
            let arrivals = copies.into_iter().filter_map(|(message, target)| {
                let QueueTarget { room, own } = target;
                room.freed();
                Some(Arrival { shared: messages.get(message)?, own })
            });
            let mut drops = Drops::default();
            let (returned, charge) = mailbox.post_durable(arrivals, window, &mut drops);
            mailbox.namespace.charge(charge);
            core.report(&mailbox, drops);
            core.give_back(&mailbox, returned);
        }
    }
}

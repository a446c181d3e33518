//! What waits for one session, and the rule when it is full.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::{Message, Qos};
use dunlin_session::Delivery;
use smallvec::SmallVec;

use crate::budget::{Budget, Charge};
use crate::config::{Limits, Overflow};
use crate::metrics::DropReason;

/// Copies that were dropped, to be counted and told to hooks after every lock is released.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    pub(crate) list: SmallVec<[Dropped; 1]>,
}

/// Some copies dropped for one reason.
#[derive(Debug)]
pub(crate) struct Dropped {
    pub(crate) reason: DropReason,
    pub(crate) count: u64,
    /// The message, where it was dropped alone.
    pub(crate) message: Option<Arc<Message>>,
    /// Its place in the session's order, where it had one already: a durable store must hear of it.
    pub(crate) seq: Option<u64>,
}

impl Drops {
    pub(crate) fn block(&mut self, reason: DropReason, count: u64) {
        if count > 0 {
            self.list.push(Dropped { reason, count, message: None, seq: None });
        }
    }

    pub(crate) fn one(&mut self, reason: DropReason, delivery: Delivery) {
        let seq = (delivery.seq > 0).then_some(delivery.seq);
        self.list.push(Dropped { reason, count: 1, message: Some(delivery.message), seq });
    }
}

/// Some messages, in number and bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Settled {
    messages: usize,
    bytes: usize,
}

impl Settled {
    /// Adds a message; none is one whose content is not known, and which was never counted.
    pub(crate) fn add(&mut self, message: Option<&Message>) {
        if let Some(message) = message {
            self.messages += 1;
            self.bytes += message.size();
        }
    }
}

/// What became of a delivery that was offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Offered {
    /// It has its place.
    Queued,
    /// It, or an older one, was dropped.
    Dropped,
    /// It was dropped, and the client is to be disconnected.
    Disconnect,
}

/// The messages waiting for one session: those with QoS above 0 in one order, QoS 0 in another, since the standard keeps
/// order per QoS and only the former wait for the client's send quota.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    acknowledged: VecDeque<Delivery>,
    /// Most QoS 0 copies are encoded by their publishers.
    #[expect(
        clippy::box_collection,
        reason = "nearly all sessions have none, and are 24 bytes smaller for it"
    )]
    unacknowledged: Option<Box<VecDeque<Delivery>>>,
    /// Bytes of all messages here, each counted in full. Bounded by `queue_bytes_max`.
    bytes: usize,
    /// Room taken by messages on their way through the store.
    reserved_messages: usize,
    reserved_bytes: usize,
    /// Messages that were taken out to be sent and are not acknowledged. They take room too: a client that acknowledges
    /// nothing must not hold more than one that reads nothing.
    sent: Settled,
    /// No message expires before.
    next_expiry: Option<Instant>,
    /// What the broker's budget and gauges have not heard of.
    charged: Charge,
}

impl Queue {
    /// Messages with QoS above 0, those on their way through the store included.
    pub(crate) fn messages(&self) -> usize {
        self.acknowledged.len() + self.reserved_messages
    }

    /// Messages with QoS above 0 that can be taken out now.
    pub(crate) fn ready(&self) -> usize {
        self.acknowledged.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes + self.reserved_bytes
    }

    fn qos0_len(&self) -> usize {
        self.unacknowledged.as_ref().map_or(0, |list| list.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.acknowledged.is_empty() && self.unacknowledged.is_none()
    }

    /// What the queue took in and gave back, since this was asked last.
    pub(crate) fn take_charge(&mut self) -> Charge {
        std::mem::take(&mut self.charged)
    }

    /// Whether so much waits that publishers should be braked: an eighth of what may.
    pub(crate) fn is_crowded(&self, limits: &Limits) -> bool {
        self.acknowledged.len() > limits.queue_messages_max / 8
            || self.bytes > limits.queue_bytes_max / 8
    }

    /// Whether so little waits that nobody should be: half of that.
    pub(crate) fn is_relieved(&self, limits: &Limits) -> bool {
        self.acknowledged.len() <= limits.queue_messages_max / 16
            && self.bytes <= limits.queue_bytes_max / 16
    }

    /// Charges what waits beside the queue, with it.
    pub(crate) fn charge(&mut self, charge: Charge) {
        self.charged += charge;
    }

    fn exceeds(&self, size: usize, limits: &Limits) -> Option<DropReason> {
        let messages =
            self.acknowledged.len() + self.qos0_len() + self.reserved_messages + self.sent.messages;
        if messages >= limits.queue_messages_max {
            return Some(DropReason::QueueMessages);
        }
        // One message of any size fits into an empty queue: its size has its own limit.
        let bytes = self.bytes() + self.sent.bytes;
        (bytes > 0 && bytes + size > limits.queue_bytes_max).then_some(DropReason::QueueBytes)
    }

    /// Drops what has expired, if anything can have. Called when the queue is full, so that a message past its time never
    /// takes the place of a fresh one.
    fn shed_expired(&mut self, drops: &mut Drops) {
        let Some(next) = self.next_expiry else { return };
        let now = Instant::now();
        if next > now {
            return;
        }
        self.next_expiry = None;
        for delivery in self.take_where(|delivery| delivery.expires_at.is_some_and(|at| at <= now))
        {
            drops.one(DropReason::Expired, delivery);
        }
    }

    /// Applies the overflow policy for one more message of `size` bytes.
    fn make_room(
        &mut self,
        size: usize,
        limits: &Limits,
        drops: &mut Drops,
    ) -> Result<bool, (DropReason, Offered)> {
        let mut dropped_older = false;
        if self.exceeds(size, limits).is_some() {
            self.shed_expired(drops);
        }
        while let Some(reason) = self.exceeds(size, limits) {
            match limits.overflow {
                Overflow::DropNew => return Err((reason, Offered::Dropped)),
                Overflow::Disconnect => return Err((reason, Offered::Disconnect)),
                Overflow::DropOldest => {
                    let Some(oldest) = self.pop_qos0().or_else(|| self.pop()) else {
                        // Only messages on their way through the store are left, and those are not ours to drop.
                        return Err((reason, Offered::Dropped));
                    };
                    drops.one(reason, oldest);
                    dropped_older = true;
                }
            }
        }
        Ok(dropped_older)
    }

    /// Takes one message in, or applies the overflow policy.
    pub(crate) fn offer(
        &mut self,
        delivery: Delivery,
        limits: &Limits,
        drops: &mut Drops,
    ) -> Offered {
        match self.make_room(delivery.message.size(), limits, drops) {
            Ok(dropped_older) => {
                self.push(delivery);
                if dropped_older { Offered::Dropped } else { Offered::Queued }
            }
            Err((reason, outcome)) => {
                drops.one(reason, delivery);
                outcome
            }
        }
    }

    /// Keeps room for a message that goes through the store first. The caller drops it if this says so.
    pub(crate) fn reserve(
        &mut self,
        size: usize,
        limits: &Limits,
        drops: &mut Drops,
    ) -> Result<(), (DropReason, Offered)> {
        self.make_room(size, limits, drops)?;
        self.reserve_always(size);
        Ok(())
    }

    /// Keeps room whatever the limits say.
    pub(crate) fn reserve_always(&mut self, size: usize) {
        self.reserved_messages += 1;
        self.reserved_bytes += size;
    }

    /// Gives reserved room back: the message is in the queue now, or never will be.
    pub(crate) fn release(&mut self, size: usize) {
        debug_assert!(self.reserved_messages > 0 && self.reserved_bytes >= size);
        self.reserved_messages -= 1;
        self.reserved_bytes -= size;
    }

    /// Takes one message in whatever the limits say: its room was reserved, or it comes back from where it was.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.account(&delivery, 1);
        self.next_expiry = match (self.next_expiry, delivery.expires_at) {
            (Some(next), Some(at)) => Some(next.min(at)),
            (next, at) => next.or(at),
        };
        match delivery.qos {
            Qos::AtMostOnce => self.unacknowledged.get_or_insert_default().push_back(delivery),
            Qos::AtLeastOnce | Qos::ExactlyOnce => self.acknowledged.push_back(delivery),
        }
    }

    /// The oldest message with QoS above 0.
    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.acknowledged.pop_front()?;
        self.account(&delivery, -1);
        Some(delivery)
    }

    /// The oldest message with QoS above 0, to be sent: it takes room until it is settled.
    pub(crate) fn pop_to_send(&mut self) -> Option<Delivery> {
        let delivery = self.pop()?;
        self.sent.add(Some(&delivery.message));
        Some(delivery)
    }

    /// Messages that were sent are acknowledged, or given up.
    pub(crate) fn settle(&mut self, settled: Settled) {
        self.sent.messages = self.sent.messages.saturating_sub(settled.messages);
        self.sent.bytes = self.sent.bytes.saturating_sub(settled.bytes);
    }

    /// The oldest QoS 0 message.
    pub(crate) fn pop_qos0(&mut self) -> Option<Delivery> {
        let list = self.unacknowledged.as_mut()?;
        let delivery = list.pop_front()?;
        if list.is_empty() {
            self.unacknowledged = None;
        }
        self.account(&delivery, -1);
        Some(delivery)
    }

    /// Takes out the messages that `want` names, in order.
    pub(crate) fn take_where(&mut self, mut want: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        for _ in 0..self.acknowledged.len() {
            let Some(delivery) = self.pop() else { break };
            if want(&delivery) {
                taken.push(delivery);
            } else {
                self.push(delivery);
            }
        }
        taken
    }

    /// Gives memory back that a long queue left behind.
    pub(crate) fn shrink(&mut self) {
        if self.acknowledged.is_empty() && self.acknowledged.capacity() > 0 {
            self.acknowledged = VecDeque::new();
        }
    }

    fn account(&mut self, delivery: &Delivery, sign: i64) {
        let size = delivery.message.size();
        if sign > 0 {
            self.bytes += size;
        } else {
            self.bytes -= size;
        }
        let entry = Budget::entry_cost(size_of::<Delivery>(), size, delivery.message.payload.len());
        let counted = i64::from(delivery.qos > Qos::AtMostOnce);
        let bytes = i64::try_from(size).unwrap_or(i64::MAX);
        self.charged +=
            Charge { budget: sign * entry, messages: sign * counted, bytes: sign * bytes };
    }
}

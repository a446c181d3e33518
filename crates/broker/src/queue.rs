//! What waits for one session, and the rule when it is full.

mod parcels;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::{Message, Qos};
use dunlin_session::{Delivery, Run, Settled};
use smallvec::SmallVec;

use crate::budget::{Budget, Charge};
use crate::config::{Limits, Overflow};
use crate::metrics::DropReason;
use crate::pages::{Entry, Expiry, Item, Pages, Taken, is_expired};
use crate::persist::Arrival;

use parcels::Parcels;

pub(crate) use parcels::Parcel;

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

    /// A message that had no place yet.
    pub(crate) fn message(&mut self, reason: DropReason, message: Arc<Message>) {
        self.list.push(Dropped { reason, count: 1, message: Some(message), seq: None });
    }

    pub(crate) fn one(&mut self, reason: DropReason, delivery: Delivery) {
        let seq = (delivery.seq > 0).then_some(delivery.seq);
        self.list.push(Dropped { reason, count: 1, message: Some(delivery.message), seq });
    }

    /// A message that is not in memory, so that only its place can be told.
    pub(crate) fn unread(&mut self, reason: DropReason, seq: u64) {
        self.list.push(Dropped { reason, count: 1, message: None, seq: Some(seq) });
    }

    fn taken(&mut self, reason: DropReason, taken: Taken) {
        match taken {
            Taken::Held(delivery) => self.one(reason, delivery),
            Taken::Stored(entry) => self.unread(reason, entry.seq),
        }
    }
}

/// How much of a durable session's queue may be in memory, as things stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// Whether memory is short, so that what comes now is left to the store.
    pub(crate) closed: bool,
    /// Whether somebody is there to take it, so that one message may be there whatever its size.
    pub(crate) wanted: bool,
    /// Whether the store itself is in memory, so that what is left to it takes room all the same.
    pub(crate) store_in_memory: bool,
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
///
/// Of a long queue of a durable session only the front is in memory, the window; behind it come the numbers of messages
/// that are in the store. Everything is counted over both.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    acknowledged: Parcels,
    /// What follows them.
    paged: Option<Box<Paged>>,
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

/// The part of a queue behind its window.
#[derive(Debug)]
struct Paged {
    pages: Pages,
    /// Whether the pager was asked for more and has not seen to it.
    asked: bool,
    store_in_memory: bool,
}

impl Queue {
    /// A queue in which nothing waits.
    pub(crate) const fn new() -> Self {
        Self {
            acknowledged: Parcels::new(),
            paged: None,
            unacknowledged: None,
            bytes: 0,
            reserved_messages: 0,
            reserved_bytes: 0,
            sent: Settled { messages: 0, bytes: 0 },
            next_expiry: None,
            charged: Charge { budget: 0, messages: 0, bytes: 0 },
        }
    }

    /// A queue that is in the store. The base of its expiries is set.
    pub(crate) fn restored(pages: Pages, store_in_memory: bool) -> Self {
        let mut queue = Self { next_expiry: pages.next_expiry(), ..Self::default() };
        if !pages.is_empty() {
            let (messages, bytes) = (pages.len(), pages.bytes());
            let entry = pages.iter().map(|item| match item {
                Item::Stored(entry) => entry_cost(&entry, store_in_memory),
                Item::Held(_) => 0,
            });
            queue.charged = Charge {
                budget: entry.sum(),
                messages: i64::try_from(messages).unwrap_or(i64::MAX),
                bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            };
            queue.bytes = bytes;
            queue.paged = Some(Box::new(Paged { pages, asked: false, store_in_memory }));
        }
        queue
    }

    /// Messages with QoS above 0, those on their way through the store included.
    pub(crate) fn messages(&self) -> usize {
        self.waiting() + self.reserved_messages
    }

    /// Messages with QoS above 0 that have their place.
    fn waiting(&self) -> usize {
        self.acknowledged.len() + self.paged_len()
    }

    fn paged_len(&self) -> usize {
        self.paged.as_ref().map_or(0, |paged| paged.pages.len())
    }

    /// Bytes of the messages that are in memory.
    fn bytes_in_memory(&self) -> usize {
        self.bytes - self.paged.as_ref().map_or(0, |paged| paged.pages.bytes())
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
        self.waiting() == 0 && self.unacknowledged.is_none()
    }

    /// Whether a new queue would be as good: nothing waits, is on its way or unacknowledged, and all was told.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty()
            && self.paged.is_none()
            && self.reserved_messages == 0
            && self.sent == Settled::default()
            && self.charged == Charge::default()
    }

    /// What the queue took in and gave back, since this was asked last.
    pub(crate) fn take_charge(&mut self) -> Charge {
        std::mem::take(&mut self.charged)
    }

    /// Whether so much waits that publishers should be braked: an eighth of what may.
    pub(crate) fn is_crowded(&self, limits: &Limits) -> bool {
        self.waiting() > limits.queue_messages_max / 8 || self.bytes > limits.queue_bytes_max / 8
    }

    /// Whether so little waits that nobody should be: half of that.
    pub(crate) fn is_relieved(&self, limits: &Limits) -> bool {
        self.waiting() <= limits.queue_messages_max / 16
            && self.bytes <= limits.queue_bytes_max / 16
    }

    /// Charges what waits beside the queue, with it.
    pub(crate) fn charge(&mut self, charge: Charge) {
        self.charged += charge;
    }

    /// Messages that take room.
    fn held_messages(&self) -> usize {
        self.waiting() + self.qos0_len() + self.reserved_messages + self.sent.messages
    }

    /// The room in bytes that they take.
    const fn held_bytes(&self) -> usize {
        self.bytes() + self.sent.bytes
    }

    fn exceeds(&self, size: usize, limits: &Limits) -> Option<DropReason> {
        if self.held_messages() >= limits.queue_messages_max {
            return Some(DropReason::QueueMessages);
        }
        // One message of any size fits into an empty queue: its size has its own limit.
        let bytes = self.held_bytes();
        (bytes > 0 && bytes + size > limits.queue_bytes_max).then_some(DropReason::QueueBytes)
    }

    /// Drops what has expired, if anything can have. Called when the queue is full, so that a message past its time never
    /// takes the place of a fresh one, and when there is time for it.
    pub(crate) fn drop_expired(&mut self, now: Instant, drops: &mut Drops) {
        if self.next_expiry.is_none_or(|next| next > now) {
            return;
        }
        for delivery in self.take_from_window(|delivery| is_expired(delivery, now)) {
            drops.one(DropReason::Expired, delivery);
        }
        if let Some(paged) = &mut self.paged {
            for taken in paged.pages.take_expired(now) {
                self.account_taken(&taken);
                drops.taken(DropReason::Expired, taken);
            }
        }
        let window = self.acknowledged.singles().filter(|delivery| !delivery.sent_before);
        let window = window.filter_map(|delivery| delivery.expires_at);
        let paged = self.paged.as_ref().and_then(|paged| paged.pages.next_expiry());
        self.next_expiry = window.chain(paged).min();
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
            self.drop_expired(Instant::now(), drops);
        }
        while let Some(reason) = self.exceeds(size, limits) {
            match limits.overflow {
                Overflow::DropNew => return Err((reason, Offered::Dropped)),
                Overflow::Disconnect => return Err((reason, Offered::Disconnect)),
                Overflow::DropOldest => {
                    if !self.drop_oldest(reason, drops) {
                        return Err((reason, Offered::Dropped));
                    }
                    dropped_older = true;
                }
            }
        }
        Ok(dropped_older)
    }

    /// Drops the oldest message that was not sent yet; `false` if only messages on their way through the store are left,
    /// and those are not ours to drop.
    fn drop_oldest(&mut self, reason: DropReason, drops: &mut Drops) -> bool {
        let in_memory = self.pop_qos0().or_else(|| self.pop()).map(Taken::Held);
        let Some(oldest) = in_memory.or_else(|| self.pop_paged()) else { return false };
        drops.taken(reason, oldest);
        true
    }

    /// Drops the oldest messages until those that are left keep to the limits, whatever the overflow policy says.
    pub(crate) fn trim(&mut self, limits: &Limits, drops: &mut Drops) {
        while self.messages() > limits.queue_messages_max {
            if !self.drop_oldest(DropReason::QueueMessages, drops) {
                return;
            }
        }
        while self.bytes() > limits.queue_bytes_max {
            if !self.drop_oldest(DropReason::QueueBytes, drops) {
                return;
            }
        }
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

    /// Takes a run in, as a whole if there is room for all of it; else the overflow policy has its say for each message.
    pub(crate) fn offer_run(&mut self, run: Run, limits: &Limits, drops: &mut Drops) -> Offered {
        let (messages, size) = (run.len(), run.size());
        let fits = self.held_messages() + messages <= limits.queue_messages_max
            && self.held_bytes() + size <= limits.queue_bytes_max
            && self.paged.is_none();
        if fits {
            self.account_run(messages, size, 1);
            self.acknowledged.push(Parcel::Run(run));
            return Offered::Queued;
        }
        let mut outcome = Offered::Queued;
        for delivery in run {
            match self.offer(delivery, limits, drops) {
                Offered::Queued => {}
                other @ (Offered::Dropped | Offered::Disconnect) => outcome = other,
            }
        }
        outcome
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

    /// Takes one message in whatever the limits say: its room was reserved, or it comes back from where it was. It stays in
    /// memory.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.account(&delivery, 1);
        self.expires(delivery.expires_at);
        match (delivery.qos, &mut self.paged) {
            (Qos::AtMostOnce, _) => {
                self.unacknowledged.get_or_insert_default().push_back(delivery);
            }
            (Qos::AtLeastOnce | Qos::ExactlyOnce, Some(paged)) if !paged.pages.is_empty() => {
                paged.pages.hold(delivery);
            }
            (Qos::AtLeastOnce | Qos::ExactlyOnce, _) => {
                self.acknowledged.push(Parcel::One(delivery));
            }
        }
    }

    /// Takes in a message that is durable: to memory, if the store does not have it or the window has room for it, else its
    /// number only.
    // [MQTT-4.6.0-1] [MQTT-4.6.0-6] Behind what is not in memory nothing enters the window.
    pub(crate) fn push_stored(&mut self, arrival: Arrival<'_>, window: Window) {
        let Arrival { shared, own } = &arrival;
        let Some(id) = shared.id else { return self.push(arrival.into_delivery()) };
        let size = shared.message.size();
        let fits = !window.closed
            && self.paged_len() == 0
            && self.acknowledged.len() < window.messages
            && (self.bytes_in_memory() + size <= window.bytes
                || window.wanted && self.acknowledged.is_empty());
        // A group has to be told what became of its message, so this one is not given out of hand.
        if fits || own.origin.is_shared() {
            return self.push(arrival.into_delivery());
        }
        let entry = Entry {
            id,
            seq: own.seq,
            size,
            expiry: shared.expires_at.map_or(Expiry::Never, Expiry::At),
            sent_before: own.sent_before,
            may_repeat: false,
        };
        self.expires(shared.expires_at);
        let store_in_memory = window.store_in_memory;
        let paged = self.paged.get_or_insert_with(|| {
            let pages = Pages::new(Instant::now());
            Box::new(Paged { pages, asked: false, store_in_memory })
        });
        paged.pages.push(entry);
        self.account_entry(&entry, store_in_memory, 1);
    }

    fn expires(&mut self, at: Option<Instant>) {
        self.next_expiry = match (self.next_expiry, at) {
            (Some(next), Some(at)) => Some(next.min(at)),
            (next, at) => next.or(at),
        };
    }

    /// The oldest message with QoS above 0.
    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        let (delivery, was_in_run) = self.acknowledged.pop_one()?;
        if was_in_run {
            self.account_run(1, delivery.message.size(), -1);
        } else {
            self.account(&delivery, -1);
        }
        Some(delivery)
    }

    /// The oldest messages with QoS above 0, at most `max` of them, to be sent: they take room until they are settled.
    #[inline]
    pub(crate) fn pop_to_send(&mut self, max: usize) -> Option<Parcel> {
        let parcel = self.acknowledged.pop(max)?;
        match &parcel {
            Parcel::One(delivery) => {
                self.account(delivery, -1);
                self.sent.add(Some(&delivery.message));
            }
            Parcel::Run(run) => {
                let (messages, bytes) = (run.len(), run.size());
                self.account_run(messages, bytes, -1);
                self.sent += Settled { messages, bytes };
            }
        }
        Some(parcel)
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

    /// Takes out the messages that `want` names, in order, of those that are in memory.
    pub(crate) fn take_where(&mut self, mut want: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        let mut taken = self.take_from_window(&mut want);
        if let Some(paged) = &mut self.paged {
            let held = paged.pages.take_held_where(want);
            held.iter().for_each(|delivery| self.account(delivery, -1));
            taken.extend(held);
            self.forget_empty_pages();
        }
        taken
    }

    fn take_from_window(&mut self, mut want: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        if self.acknowledged.has_runs() {
            self.part_runs();
        }
        let mut taken = Vec::new();
        for _ in 0..self.acknowledged.len() {
            let Some((delivery, _)) = self.acknowledged.pop_one() else { break };
            if want(&delivery) {
                self.account(&delivery, -1);
                taken.push(delivery);
            } else {
                self.acknowledged.push(Parcel::One(delivery));
            }
        }
        taken
    }

    /// Makes messages of their own of those in runs.
    fn part_runs(&mut self) {
        for parcel in self.acknowledged.take() {
            match parcel {
                one @ Parcel::One(_) => self.acknowledged.push(one),
                Parcel::Run(run) => {
                    self.account_run(run.len(), run.size(), -1);
                    for delivery in run {
                        self.account(&delivery, 1);
                        self.acknowledged.push(Parcel::One(delivery));
                    }
                }
            }
        }
    }

    /// Forgets everything; gives the number of messages.
    pub(crate) fn clear(&mut self) -> u64 {
        let mut count = 0;
        while self.pop_qos0().is_some() || self.pop().is_some() || self.pop_paged().is_some() {
            count += 1;
        }
        self.shrink();
        count
    }

    /// Gives memory back that a long queue left behind.
    pub(crate) fn shrink(&mut self) {
        self.acknowledged.shrink();
        self.forget_empty_pages();
    }

    // ---- What is not in memory ----

    /// Whether the pager is to be asked for more: there is more, the window runs low, and nobody has asked.
    #[inline]
    pub(crate) fn ask_for_more(&mut self, limits: &Limits) -> bool {
        if self.paged.is_none() {
            return false;
        }
        let low = self.is_low(limits.queue_memory_messages_max, limits.queue_memory_bytes_max);
        match &mut self.paged {
            Some(paged) if low && !paged.asked && !paged.pages.is_empty() => {
                paged.asked = true;
                true
            }
            _ => false,
        }
    }

    /// Nobody waits for more: the pager need not read.
    pub(crate) fn asks_no_more(&mut self) {
        if let Some(paged) = &mut self.paged {
            paged.asked = false;
            self.forget_empty_pages();
        }
    }

    /// What is to be read next, as much as the window has room for and `max` at the most; nothing when that would be little.
    pub(crate) fn next_to_read(
        &mut self,
        window: Window,
        max: usize,
        now: Instant,
        into: &mut Vec<Entry>,
        drops: &mut Drops,
    ) {
        self.advance(now, drops);
        let (mut messages, mut bytes) = (self.acknowledged.len(), self.bytes_in_memory());
        if self.is_low(window.messages, window.bytes)
            && let Some(paged) = &self.paged
        {
            for item in paged.pages.iter() {
                let Item::Stored(entry) = item else { continue };
                if entry.is_expired(now) {
                    continue;
                }
                // One is read whatever its size.
                let fits = messages < window.messages && bytes + entry.size <= window.bytes;
                if into.len() == max || !(fits || messages == 0) {
                    break;
                }
                messages += 1;
                bytes += entry.size;
                into.push(entry);
            }
        }
        if into.is_empty() {
            self.asks_no_more();
        }
    }

    /// Takes in what was read; none is a message that the store does not have. What was dropped meanwhile is passed over.
    pub(crate) fn take_read(
        &mut self,
        read: impl Iterator<Item = (Entry, Option<Delivery>)>,
        now: Instant,
        drops: &mut Drops,
    ) {
        for (entry, delivery) in read {
            self.advance(now, drops);
            let front = self.paged.as_ref().and_then(|paged| paged.pages.front());
            let Some(Item::Stored(front)) = front else { break };
            // It was dropped while it was read, or one before it was not read.
            if front.seq != entry.seq {
                continue;
            }
            self.pop_paged();
            match delivery {
                Some(delivery) => {
                    self.account(&delivery, 1);
                    self.acknowledged.push(Parcel::One(delivery));
                }
                None => drops.unread(DropReason::Store, entry.seq),
            }
        }
        self.advance(now, drops);
    }

    /// Moves what need not be read to the window, and drops what has expired, up to the first message to be read.
    fn advance(&mut self, now: Instant, drops: &mut Drops) {
        loop {
            let front = self.paged.as_ref().and_then(|paged| paged.pages.front());
            let expired = match front {
                Some(item) if item.is_expired(now) => true,
                Some(Item::Held(_)) => false,
                Some(Item::Stored(_)) | None => return,
            };
            match self.pop_paged() {
                Some(taken) if expired => drops.taken(DropReason::Expired, taken),
                Some(Taken::Held(delivery)) => {
                    self.account(&delivery, 1);
                    self.acknowledged.push(Parcel::One(delivery));
                }
                Some(Taken::Stored(_)) | None => return,
            }
        }
    }

    fn is_low(&self, messages: usize, bytes: usize) -> bool {
        let held = self.acknowledged.len();
        held == 0 || held <= messages / 2 && self.bytes_in_memory() <= bytes / 2
    }

    /// The oldest message behind the window.
    fn pop_paged(&mut self) -> Option<Taken> {
        let taken = self.paged.as_mut()?.pages.pop_front()?;
        self.account_taken(&taken);
        self.forget_empty_pages();
        Some(taken)
    }

    fn forget_empty_pages(&mut self) {
        // While the pager is asked, the mark says so.
        if self.paged.as_ref().is_some_and(|paged| paged.pages.is_empty() && !paged.asked) {
            self.paged = None;
        }
    }

    // ---- Accounts ----

    fn account_taken(&mut self, taken: &Taken) {
        match taken {
            Taken::Held(delivery) => self.account(delivery, -1),
            Taken::Stored(entry) => {
                let in_memory = self.paged.as_ref().is_some_and(|paged| paged.store_in_memory);
                self.account_entry(entry, in_memory, -1);
            }
        }
    }

    fn account_entry(&mut self, entry: &Entry, store_in_memory: bool, sign: i64) {
        let bytes = i64::try_from(entry.size).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add_signed(if sign > 0 {
            entry.size.cast_signed()
        } else {
            -entry.size.cast_signed()
        });
        let cost = entry_cost(entry, store_in_memory);
        self.charged += Charge { budget: sign * cost, messages: sign, bytes: sign * bytes };
    }

    /// Counts messages of a run, each as much as if it were alone.
    fn account_run(&mut self, messages: usize, size: usize, sign: i64) {
        if sign > 0 {
            self.bytes += size;
        } else {
            self.bytes -= size;
        }
        let counted = i64::try_from(messages).unwrap_or(i64::MAX);
        let bytes = i64::try_from(size).unwrap_or(i64::MAX);
        let budget = Budget::entry_cost(messages * size_of::<Delivery>(), size, 0);
        self.charged +=
            Charge { budget: sign * budget, messages: sign * counted, bytes: sign * bytes };
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

/// What a message that is not in the window costs the budget.
fn entry_cost(entry: &Entry, store_in_memory: bool) -> i64 {
    Budget::place_cost(Pages::ENTRY_BYTES, if store_in_memory { entry.size } else { 0 })
}

#[cfg(test)]
mod tests;

//! The part of a queue whose messages are not in memory: which they are, in their order, sixteen bytes each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dunlin_session::Delivery;
use dunlin_store::MessageId;

/// Entries of one block. Blocks never grow, so that a long queue costs its entries and little else.
const BLOCK_ENTRIES_MAX: usize = 256;
/// Entries of the block of a short list.
const BLOCK_ENTRIES_MIN: usize = 16;
/// What one step of [`Slot::expiry`] stands for: 32 bits of them last for more than a year.
const TICK: Duration = Duration::from_millis(10);
/// The message never expires.
const NEVER: u32 = 0;
/// It expires later than can be said: only the store knows when.
const FAR: u32 = u32::MAX;

/// A message in the store that waits in a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) id: MessageId,
    /// Its place in the session's order.
    pub(crate) seq: u64,
    /// As [`dunlin_codec::Message::size`], as far as 32 bits can say it.
    pub(crate) size: usize,
    pub(crate) expiry: Expiry,
    /// Whether it may be on its way since before a restart: then it comes with DUP, and no longer expires.
    pub(crate) sent_before: bool,
    /// Whether it may have been sent, and its acknowledgement was not stored any more: then it comes with DUP, but expires
    /// until then.
    pub(crate) may_repeat: bool,
}

/// When a message expires, as exactly as is kept while it is not in memory: never too early, and 10 ms late at the most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expiry {
    Never,
    At(Instant),
    /// The store knows.
    Far,
}

/// What waits at one place.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Stored(Entry),
    /// A message that the store does not hold, so that it stays in memory.
    Held(&'a Delivery),
}

/// The same, taken out.
#[derive(Debug)]
pub(crate) enum Taken {
    Stored(Entry),
    Held(Delivery),
}

/// A list of messages in a queue's order. Bounded by the queue.
#[derive(Debug)]
pub(crate) struct Pages {
    blocks: VecDeque<Block>,
    /// The messages of the places marked [`Slot::HELD`], in their order.
    held: VecDeque<Delivery>,
    /// What expiries are counted from.
    base: Instant,
    /// No stored message expires before; [`NEVER`] if none does in sight.
    first_expiry: u32,
    len: usize,
    /// Bytes of the stored messages.
    bytes: usize,
}

/// Entries whose ids and places are near each other.
#[derive(Debug)]
struct Block {
    first_id: u64,
    first_seq: u64,
    /// Entries taken out at the front.
    taken: usize,
    /// Never more than the capacity it was made with.
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// From the block's first.
    id: u32,
    seq: u16,
    flags: u16,
    size: u32,
    /// In [`TICK`]s from the list's base, and one.
    expiry: u32,
}

impl Slot {
    const HELD: u16 = 1;
    const SENT_BEFORE: u16 = 2;
    const MAY_REPEAT: u16 = 4;

    const fn is_held(self) -> bool {
        self.flags & Self::HELD != 0
    }
}

impl Entry {
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        !self.sent_before && matches!(self.expiry, Expiry::At(at) if at <= now)
    }
}

impl Pages {
    /// What a place costs in memory.
    pub(crate) const ENTRY_BYTES: usize = size_of::<Slot>();

    pub(crate) const fn new(base: Instant) -> Self {
        Self {
            blocks: VecDeque::new(),
            held: VecDeque::new(),
            base,
            first_expiry: NEVER,
            len: 0,
            bytes: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the messages that are not in memory.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves all expiries by moving what they are counted from.
    pub(crate) const fn set_base(&mut self, base: Instant) {
        self.base = base;
    }

    /// No message expires before.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let stored = (self.first_expiry != NEVER).then(|| self.moment(self.first_expiry)).flatten();
        stored.into_iter().chain(self.held.iter().filter_map(|held| held.expires_at)).min()
    }

    /// Puts a message that the store holds behind the others.
    pub(crate) fn push(&mut self, entry: Entry) {
        let ticks = match entry.expiry {
            Expiry::Never => NEVER,
            Expiry::Far => FAR,
            Expiry::At(at) => ticks_until(at.saturating_duration_since(self.base)),
        };
        self.push_ticks(entry, ticks);
    }

    /// The same, with what is left of its time from the base on.
    pub(crate) fn push_expiring(&mut self, entry: Entry, left: Duration) {
        self.push_ticks(entry, ticks_until(left));
    }

    fn push_ticks(&mut self, entry: Entry, ticks: u32) {
        let mut flags = if entry.sent_before { Slot::SENT_BEFORE } else { 0 };
        flags |= if entry.may_repeat { Slot::MAY_REPEAT } else { 0 };
        let size = u32::try_from(entry.size).unwrap_or(u32::MAX);
        if ticks != NEVER && ticks != FAR && !entry.sent_before {
            let none = self.first_expiry == NEVER;
            self.first_expiry = if none { ticks } else { self.first_expiry.min(ticks) };
        }
        self.bytes += size as usize;
        self.insert(entry.id.0, entry.seq, Slot { id: 0, seq: 0, flags, size, expiry: ticks });
    }

    /// Puts a message that the store does not hold behind the others.
    pub(crate) fn hold(&mut self, delivery: Delivery) {
        let (id, seq) = self.blocks.back().map_or((0, 0), |last| (last.first_id, last.first_seq));
        self.held.push_back(delivery);
        let slot = Slot { id: 0, seq: 0, flags: Slot::HELD, size: 0, expiry: NEVER };
        self.insert(id, seq, slot);
    }

    fn insert(&mut self, id: u64, seq: u64, slot: Slot) {
        self.len += 1;
        if let Some(last) = self.blocks.back_mut()
            && last.slots.len() < last.slots.capacity()
            && let Some(slot) = last.near(id, seq, slot)
        {
            last.slots.push(slot);
            return;
        }
        let capacity = self.len.clamp(BLOCK_ENTRIES_MIN, BLOCK_ENTRIES_MAX);
        let mut slots = Vec::with_capacity(capacity);
        slots.push(slot);
        self.blocks.push_back(Block { first_id: id, first_seq: seq, taken: 0, slots });
    }

    /// The first place.
    pub(crate) fn front(&self) -> Option<Item<'_>> {
        self.iter().next()
    }

    /// Every place, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        let mut held = self.held.iter();
        let slots = self.blocks.iter().flat_map(|block| block.waiting().map(move |s| (block, *s)));
        slots.filter_map(move |(block, slot)| {
            if slot.is_held() {
                held.next().map(Item::Held)
            } else {
                Some(Item::Stored(self.unpack(block.first_id, block.first_seq, slot)))
            }
        })
    }

    /// Takes the first place out.
    pub(crate) fn pop_front(&mut self) -> Option<Taken> {
        let block = self.blocks.front_mut()?;
        let slot = *block.slots.get(block.taken)?;
        block.taken += 1;
        let (first_id, first_seq) = (block.first_id, block.first_seq);
        if block.taken == block.slots.len() {
            self.blocks.pop_front();
        }
        self.len -= 1;
        if self.len == 0 {
            self.first_expiry = NEVER;
            self.blocks = VecDeque::new();
        }
        if slot.is_held() {
            let delivery = self.held.pop_front()?;
            if self.held.is_empty() {
                self.held = VecDeque::new();
            }
            return Some(Taken::Held(delivery));
        }
        self.bytes -= slot.size as usize;
        Some(Taken::Stored(self.unpack(first_id, first_seq, slot)))
    }

    /// Takes out what `want` names, in order. The others are packed anew, so that holes cost nothing.
    pub(crate) fn take_where(&mut self, mut want: impl FnMut(&Item<'_>) -> bool) -> Vec<Taken> {
        let mut taken = Vec::new();
        let mut kept = Self::new(self.base);
        while let Some(item) = self.pop_front() {
            let wanted = match &item {
                Taken::Stored(entry) => want(&Item::Stored(*entry)),
                Taken::Held(delivery) => want(&Item::Held(delivery)),
            };
            match item {
                item if wanted => taken.push(item),
                Taken::Stored(entry) => kept.push(entry),
                Taken::Held(delivery) => kept.hold(delivery),
            }
        }
        *self = kept;
        taken
    }

    /// Takes out the messages of those that are in memory that `want` names.
    pub(crate) fn take_held_where(
        &mut self,
        mut want: impl FnMut(&Delivery) -> bool,
    ) -> Vec<Delivery> {
        if !self.held.iter().any(&mut want) {
            return Vec::new();
        }
        let taken = self.take_where(|item| match item {
            Item::Held(delivery) => want(delivery),
            Item::Stored(_) => false,
        });
        let held = taken.into_iter().filter_map(|item| match item {
            Taken::Held(delivery) => Some(delivery),
            Taken::Stored(_) => None,
        });
        held.collect()
    }

    /// Takes out what has expired.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<Taken> {
        if self.next_expiry().is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.take_where(|item| item.is_expired(now))
    }

    fn unpack(&self, first_id: u64, first_seq: u64, slot: Slot) -> Entry {
        let expiry = match slot.expiry {
            NEVER => Expiry::Never,
            FAR => Expiry::Far,
            ticks => self.moment(ticks).map_or(Expiry::Far, Expiry::At),
        };
        Entry {
            id: MessageId(first_id + u64::from(slot.id)),
            seq: first_seq + u64::from(slot.seq),
            size: slot.size as usize,
            expiry,
            sent_before: slot.flags & Slot::SENT_BEFORE != 0,
            may_repeat: slot.flags & Slot::MAY_REPEAT != 0,
        }
    }

    fn moment(&self, ticks: u32) -> Option<Instant> {
        self.base.checked_add(TICK * (ticks - 1))
    }
}

impl Item<'_> {
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        match self {
            Self::Stored(entry) => entry.is_expired(now),
            Self::Held(delivery) => is_expired(delivery, now),
        }
    }
}

impl Block {
    /// The slot as it stands in this block, if the numbers are near enough.
    fn near(&self, id: u64, seq: u64, slot: Slot) -> Option<Slot> {
        let id = u32::try_from(id.checked_sub(self.first_id)?).ok()?;
        let seq = u16::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        Some(Slot { id, seq, ..slot })
    }

    fn waiting(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().skip(self.taken)
    }
}

/// Whether a message's time has passed, and nobody has seen any of it.
pub(crate) fn is_expired(delivery: &Delivery, now: Instant) -> bool {
    !delivery.sent_before && delivery.expires_at.is_some_and(|at| at <= now)
}

/// What stands for a time: in ticks, rounded up, and one, so that nothing is [`NEVER`].
fn ticks_until(left: Duration) -> u32 {
    u32::try_from(left.as_nanos().div_ceil(TICK.as_nanos()) + 1).unwrap_or(FAR)
}

#[cfg(test)]
mod tests;

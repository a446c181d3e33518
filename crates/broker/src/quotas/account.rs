//! What all connections of one tenant, user or other scope share: their number, and their buckets of tokens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dunlin_access::{Rate, TokenBucket};
use parking_lot::Mutex;

use super::event::QuotaLimit;
use super::frames::{Count, Frame};
use super::{Key, Terms};

/// The account of a client, a user, a tenant or whoever else has limits.
///
/// It is asked once for each batch of a connection, never for a single message.
#[derive(Debug)]
pub(crate) struct Account {
    key: Key,
    connections: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    terms: Terms,
    connects: Option<TokenBucket>,
    messages_in: Option<TokenBucket>,
    bytes_in: Option<TokenBucket>,
    messages_out: Option<TokenBucket>,
    bytes_out: Option<TokenBucket>,
}

/// Gives a bucket the rate that holds now; a new one is full.
fn renew(bucket: &mut Option<TokenBucket>, rate: Option<Rate>, now: Instant) {
    match (bucket.as_mut(), rate) {
        (Some(bucket), Some(rate)) => bucket.set_rate(rate, now),
        (_, rate) => *bucket = rate.map(|rate| TokenBucket::new(rate, now)),
    }
}

/// Takes for what has happened already; says how long nothing more is to happen.
fn charge(bucket: &mut Option<TokenBucket>, count: u64, now: Instant) -> Duration {
    bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.charge(count, now))
}

fn give_back(bucket: &mut Option<TokenBucket>, count: u64) {
    if let Some(bucket) = bucket {
        bucket.give_back(count);
    }
}

/// How much of a bucket may be used in one go.
struct Room {
    left: u64,
    /// Whether one thing larger than all that can be saved up may be taken: nothing was yet, and all is there.
    untouched: bool,
}

impl Room {
    fn of(bucket: &mut Option<TokenBucket>, now: Instant) -> Self {
        match bucket {
            Some(bucket) => Self { left: bucket.available(now), untouched: bucket.is_full(now) },
            None => Self { left: u64::MAX, untouched: true },
        }
    }

    fn has(&self, count: u64) -> bool {
        count <= self.left || self.untouched
    }

    fn take(&mut self, count: u64) {
        if count > 0 {
            self.left = self.left.saturating_sub(count);
            self.untouched = false;
        }
    }
}

impl Account {
    pub(super) fn new(key: Key, terms: Terms, now: Instant) -> Self {
        let bucket = |rate: Option<Rate>| rate.map(|rate| TokenBucket::new(rate, now));
        let quotas = &terms.quotas;
        let state = State {
            connects: bucket(quotas.connects),
            messages_in: bucket(quotas.messages_in),
            bytes_in: bucket(quotas.bytes_in),
            messages_out: bucket(quotas.messages_out),
            bytes_out: bucket(quotas.bytes_out),
            terms,
        };
        Self { key, connections: AtomicU64::new(0), state: Mutex::new(state) }
    }

    pub(crate) const fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn terms(&self) -> Terms {
        self.state.lock().terms
    }

    /// Takes other limits. What was saved up or is owed stays, as far as the new ones allow.
    pub(super) fn set_terms(&self, terms: Terms, now: Instant) {
        let mut state = self.state.lock();
        let quotas = &terms.quotas;
        renew(&mut state.connects, quotas.connects, now);
        renew(&mut state.messages_in, quotas.messages_in, now);
        renew(&mut state.bytes_in, quotas.bytes_in, now);
        renew(&mut state.messages_out, quotas.messages_out, now);
        renew(&mut state.bytes_out, quotas.bytes_out, now);
        state.terms = terms;
    }

    /// Whether nothing would be lost by forgetting it.
    pub(super) fn is_at_rest(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let State { connects, messages_in, bytes_in, messages_out, bytes_out, .. } = &mut *state;
        let mut buckets = [connects, messages_in, bytes_in, messages_out, bytes_out].into_iter();
        buckets.all(|bucket| bucket.as_mut().is_none_or(|bucket| bucket.is_full(now)))
    }

    // ---- Connections ----

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Takes a place for one more connection, if there is one and they do not come too fast.
    pub(super) fn enter(&self, takes_over: bool, now: Instant) -> Result<(), QuotaLimit> {
        let mut state = self.state.lock();
        // The place of the one that goes is given back a little later.
        let most = state.terms.quotas.connections;
        let most = most.map(|most| most.saturating_add(u64::from(takes_over)));
        // Under the lock, so that no two take the last place.
        if most.is_some_and(|most| self.connections() >= most) {
            return Err(QuotaLimit::Connections);
        }
        if state.connects.as_mut().is_some_and(|bucket| bucket.try_take(1, now).is_err()) {
            return Err(QuotaLimit::Connects);
        }
        self.stay();
        Ok(())
    }

    /// Takes a place whatever the limits say.
    pub(super) fn stay(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// It did not come in after all.
    pub(super) fn give_entrance_back(&self) {
        give_back(&mut self.state.lock().connects, 1);
        self.leave();
    }

    pub(super) fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    // ---- Rates ----

    /// Takes for as many of the packets as there are tokens for. The first one may be paid for already.
    pub(super) fn take(
        &self,
        frames: impl Iterator<Item = Frame>,
        first_is_paid: bool,
        now: Instant,
    ) -> Count {
        let mut state = self.state.lock();
        let State { messages_in, bytes_in, .. } = &mut *state;
        let (mut messages, mut bytes) = (Room::of(messages_in, now), Room::of(bytes_in, now));
        let (mut count, mut to_pay) = (Count::default(), Count::default());
        for frame in frames {
            if first_is_paid && count.frames == 0 {
                count = count.and(frame);
                continue;
            }
            if !messages.has(frame.messages) || !bytes.has(frame.bytes) {
                break;
            }
            messages.take(frame.messages);
            bytes.take(frame.bytes);
            count = count.and(frame);
            to_pay = to_pay.and(frame);
        }
        charge(messages_in, to_pay.messages, now);
        charge(bytes_in, to_pay.bytes, now);
        count
    }

    /// Pays for a packet that has to wait; says how long, and for the sake of which limit. Others that wait come after it.
    pub(super) fn reserve(&self, frame: Frame, now: Instant) -> (Duration, QuotaLimit) {
        let mut state = self.state.lock();
        let messages = charge(&mut state.messages_in, frame.messages, now);
        let bytes = charge(&mut state.bytes_in, frame.bytes, now);
        if bytes > messages {
            (bytes, QuotaLimit::BytesIn)
        } else {
            (messages, QuotaLimit::MessagesIn)
        }
    }

    /// Gives back what was taken for packets that were not taken in.
    pub(super) fn give_back(&self, messages: u64, bytes: u64) {
        let mut state = self.state.lock();
        give_back(&mut state.messages_in, messages);
        give_back(&mut state.bytes_in, bytes);
    }

    /// How many messages may be sent now, [`u64::MAX`] if their number is not limited; or how long none may, and for the sake
    /// of which limit.
    pub(super) fn room_out(&self, now: Instant) -> Result<u64, (Duration, QuotaLimit)> {
        let mut state = self.state.lock();
        let wait = |bucket: &mut Option<TokenBucket>| {
            bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait_for_one(now))
        };
        let (for_messages, for_bytes) = (wait(&mut state.messages_out), wait(&mut state.bytes_out));
        if for_bytes > for_messages {
            return Err((for_bytes, QuotaLimit::BytesOut));
        }
        if !for_messages.is_zero() {
            return Err((for_messages, QuotaLimit::MessagesOut));
        }
        // Where bytes are limited, large messages are not to come by the hundred.
        let most = if state.bytes_out.is_some() { MESSAGES_AT_ONCE } else { u64::MAX };
        let room = state.messages_out.as_mut().map_or(u64::MAX, |bucket| bucket.available(now));
        Ok(room.min(most))
    }

    /// Takes for what was sent, there or not: what is owed is waited for.
    pub(super) fn sent(&self, messages: u64, bytes: u64, now: Instant) {
        let mut state = self.state.lock();
        charge(&mut state.messages_out, messages, now);
        charge(&mut state.bytes_out, bytes, now);
    }
}

/// Messages with QoS above 0 that are sent in one go where bytes are limited.
const MESSAGES_AT_ONCE: u64 = 16;

//! What one connection holds of the accounts that it shares with others, and what it waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_codec::DecodeLimits;

use super::account::Account;
use super::event::{QuotaEvent, QuotaLimit};
use super::frames::{Count, Frame, Frames};
use crate::config::OverRate;

/// A connection's part in an account.
#[derive(Debug)]
struct Share {
    account: Arc<Account>,
    /// Whether the next packet, which had to wait for this account, is paid for.
    paid: bool,
}

/// A connection's places in its accounts. Dropped, it gives them back.
#[derive(Debug)]
pub(crate) struct Held {
    /// The narrowest first.
    shares: Vec<Share>,
    limits_in: bool,
    limits_out: bool,
    wait: Option<Wait>,
    /// Since when what the client sent waits for tokens.
    behind_since: Option<Instant>,
    /// Nothing more is sent for a while.
    hold: Option<Hold>,
}

/// Nothing is sent.
#[derive(Clone, Copy, Debug)]
struct Hold {
    until: Instant,
    event: QuotaEvent,
    counted: bool,
}

/// The next packet waits for an account.
#[derive(Clone, Copy, Debug)]
struct Wait {
    share: usize,
    frame: Frame,
    /// When it is paid for.
    until: Instant,
    /// When patience with the client ends.
    late: Option<Instant>,
}

/// How much of what was read may be taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Permit {
    pub(crate) upto: usize,
    pub(crate) beyond: Beyond,
    /// What is to be counted, if a limit was reached.
    pub(crate) event: Option<QuotaEvent>,
}

/// What becomes of the rest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Beyond {
    /// It waits.
    Wait,
    /// It is dropped, as far as its publisher need not be told or can be.
    Drop,
    /// The client is disconnected.
    Disconnect,
}

impl Permit {
    pub(crate) const fn all(len: usize) -> Self {
        Self { upto: len, beyond: Beyond::Wait, event: None }
    }
}

impl Held {
    /// None if there is nothing to hold.
    pub(super) fn new(accounts: Vec<Arc<Account>>) -> Option<Box<Self>> {
        if accounts.is_empty() {
            return None;
        }
        let (mut limits_in, mut limits_out) = (false, false);
        for account in &accounts {
            let quotas = account.terms().quotas;
            limits_in |= quotas.messages_in.is_some() || quotas.bytes_in.is_some();
            limits_out |= quotas.messages_out.is_some() || quotas.bytes_out.is_some();
        }
        let shares = accounts.into_iter().map(|account| Share { account, paid: false });
        Some(Box::new(Self {
            shares: shares.collect(),
            limits_in,
            limits_out,
            wait: None,
            behind_since: None,
            hold: None,
        }))
    }

    // ---- The way in ----

    /// Whether the client may be read.
    pub(crate) fn reads(&self, now: Instant) -> bool {
        let over = |wait: Wait| now >= wait.until || wait.late.is_some_and(|late| now >= late);
        self.wait.is_none_or(over)
    }

    /// When the client may be read again, or its patience ends; when something may be sent to it again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let wait = self.wait.map(|wait| wait.late.map_or(wait.until, |late| late.min(wait.until)));
        [wait, self.hold.map(|hold| hold.until)].into_iter().flatten().min()
    }

    /// Pays for as many of the packets in `data` as there are tokens for.
    pub(crate) fn permit(&mut self, data: &[u8], limits: &DecodeLimits, now: Instant) -> Permit {
        if !self.limits_in {
            return Permit::all(data.len());
        }
        let frames = || Frames::new(data, limits);
        if let Some(wait) = self.wait.take() {
            self.end_wait(wait, now);
        }
        let total = Count::of(frames());
        if total.frames == 0 {
            return Permit::all(data.len());
        }
        let (mut allowed, mut short) = (total.frames, 0);
        let mut taken = Vec::with_capacity(self.shares.len());
        for (index, share) in self.shares.iter().enumerate() {
            let count = share.account.take(frames().take(allowed), share.paid, now);
            if count.frames < allowed {
                (allowed, short) = (count.frames, index);
            }
            taken.push(count);
        }
        let first = frames().next().unwrap_or_default();
        let count = Count::of(frames().take(allowed));
        for (share, taken) in self.shares.iter_mut().zip(taken) {
            // What was paid for before was not paid again, and stays paid for if it was not taken in.
            let kept = share.paid && count.frames == 0 && taken.frames > 0;
            let kept = if kept { first } else { Frame::default() };
            let messages = taken.messages - count.messages - kept.messages;
            share.account.give_back(messages, taken.bytes - count.bytes - kept.bytes);
            share.paid &= count.frames == 0;
        }
        if count.frames == total.frames {
            self.behind_since = None;
            return Permit::all(data.len());
        }
        let upto = usize::try_from(count.bytes).unwrap_or(data.len());
        let next = frames().nth(count.frames).unwrap_or_default();
        self.fall_behind(upto, next, short, now)
    }

    /// The client is read again: what waited is paid for, or patience with it has ended before.
    fn end_wait(&mut self, wait: Wait, now: Instant) {
        let Some(share) = self.shares.get_mut(wait.share) else { return };
        if now >= wait.until {
            share.paid = true;
        } else {
            share.account.give_back(wait.frame.messages, wait.frame.bytes);
        }
    }

    /// Gives back what was paid for packets that are kept for later after all.
    pub(crate) fn not_taken(&self, data: &[u8], limits: &DecodeLimits) {
        if self.limits_in {
            let count = Count::of(Frames::new(data, limits));
            self.shares
                .iter()
                .for_each(|share| share.account.give_back(count.messages, count.bytes));
        }
    }

    // ---- The way out ----

    /// How many messages with QoS above 0 may be sent in one go; none if nothing is to be sent for now.
    pub(crate) fn room_out(&mut self, now: Instant) -> Option<usize> {
        if !self.limits_out {
            return Some(usize::MAX);
        }
        let mut room = u64::MAX;
        let mut longest: Option<(Duration, QuotaEvent)> = None;
        for Share { account, .. } in &self.shares {
            match account.room_out(now) {
                Ok(messages) => room = room.min(messages),
                Err((wait, limit)) => {
                    if longest.is_none_or(|(before, _)| wait > before) {
                        longest = Some((wait, QuotaEvent { scope: account.key().scope, limit }));
                    }
                }
            }
        }
        match longest {
            None => {
                self.hold = None;
                Some(usize::try_from(room).unwrap_or(usize::MAX))
            }
            Some((wait, event)) => {
                let until = now.checked_add(wait).unwrap_or(now + LONGEST_WAIT);
                let counted = self.hold.is_some_and(|hold| hold.counted);
                self.hold = Some(Hold { until, event, counted });
                None
            }
        }
    }

    /// Whether there was none when it was asked last.
    pub(crate) const fn holds_out(&self) -> bool {
        self.hold.is_some()
    }

    /// Something waits because nothing is to be sent: gives what is to be counted, once until something is sent again.
    pub(crate) fn holds_back(&mut self) -> Option<QuotaEvent> {
        let hold = self.hold.as_mut().filter(|hold| !hold.counted)?;
        hold.counted = true;
        Some(hold.event)
    }

    /// Takes for what was sent.
    pub(crate) fn sent(&self, messages: u64, bytes: u64, now: Instant) {
        if self.limits_out && bytes > 0 {
            self.shares.iter().for_each(|share| share.account.sent(messages, bytes, now));
        }
    }

    /// The next packet cannot be paid for.
    fn fall_behind(&mut self, upto: usize, frame: Frame, share: usize, now: Instant) -> Permit {
        let since = *self.behind_since.get_or_insert(now);
        let Some(Share { account, .. }) = self.shares.get(share) else { return Permit::all(upto) };
        let terms = account.terms();
        let scope = account.key().scope;
        let late = since.checked_add(terms.patience);
        let late = late.filter(|_| terms.over_rate != OverRate::Wait);
        if late.is_some_and(|late| now >= late) {
            return match terms.over_rate {
                OverRate::Disconnect => {
                    let event = Some(QuotaEvent { scope, limit: QuotaLimit::OverRate });
                    Permit { upto, beyond: Beyond::Disconnect, event }
                }
                OverRate::Drop | OverRate::Wait => {
                    Permit { upto, beyond: Beyond::Drop, event: None }
                }
            };
        }
        let (wait, limit) = account.reserve(frame, now);
        let until = now.checked_add(wait).unwrap_or(now + LONGEST_WAIT);
        self.wait = Some(Wait { share, frame, until, late });
        Permit { upto, beyond: Beyond::Wait, event: Some(QuotaEvent { scope, limit }) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(Wait { share, frame, .. }) = self.wait
            && let Some(share) = self.shares.get(share)
        {
            share.account.give_back(frame.messages, frame.bytes);
        }
        self.shares.iter().for_each(|share| share.account.leave());
    }
}

/// Longer than any connection.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

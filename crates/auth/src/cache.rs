//! What was found out about passwords, for clients that come again.
//!
//! A hash is slow so that a stolen file cannot be searched. A client that connects again and again need not pay for that each
//! time: what it showed is remembered as an HMAC, with a key that is made at the start and never leaves the process. Neither
//! passwords nor anything that they could be searched by is kept.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mac::{SHA256_BYTES, hmac_of_parts};
use crate::random;

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CacheOptions {
    /// Right passwords that are remembered, and wrong ones as many again. At the limit the oldest is forgotten. 0: none is.
    pub entries_max: usize,
    /// How long each is. Later it is computed anew.
    pub ttl: Duration,
}

impl Default for CacheOptions {
    /// 100,000 for ten minutes, about 10 MB of each kind at the most.
    fn default() -> Self {
        Self { entries_max: 100_000, ttl: Duration::from_secs(600) }
    }
}

type Tag = [u8; SHA256_BYTES];

/// Names and passwords that were right, and such that were wrong.
pub(crate) struct Cache {
    options: CacheOptions,
    key: [u8; SHA256_BYTES],
    found: Mutex<Found>,
}

/// Wrong ones are a table of their own, so that guessing displaces nobody's right one.
#[derive(Default)]
struct Found {
    right: Table,
    wrong: Table,
    /// Counts how often everything was forgotten, so that what was computed before is not remembered after.
    generation: u64,
}

#[derive(Default)]
struct Table {
    expires: HashMap<Tag, Instant>,
    /// The tags in the order of their ends, which is the order in which they came.
    order: VecDeque<(Instant, Tag)>,
}

/// What a name and a password are remembered by, and since when nothing was forgotten.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    tag: Tag,
    generation: u64,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Cache {
    /// Without randomness for a key nothing is remembered.
    pub(crate) fn new(options: CacheOptions) -> Self {
        match random::bytes() {
            Ok(key) => Self::with_key(options, key),
            Err(_) => Self::with_key(CacheOptions { entries_max: 0, ..options }, [0; 32]),
        }
    }

    fn with_key(options: CacheOptions, key: [u8; SHA256_BYTES]) -> Self {
        Self { options, key, found: Mutex::default() }
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found out about this name and password, and under what to remember it otherwise.
    pub(crate) fn look_up(
        &self,
        name: &str,
        password: &[u8],
        now: Instant,
    ) -> (Option<bool>, Ticket) {
        let tag = hmac_of_parts(&self.key, &[name.as_bytes(), password]);
        let found = self.lock();
        let ticket = Ticket { tag, generation: found.generation };
        let known = |table: &Table| table.expires.get(&tag).is_some_and(|expires| *expires > now);
        let answer = if known(&found.right) {
            Some(true)
        } else if known(&found.wrong) {
            Some(false)
        } else {
            None
        };
        (answer, ticket)
    }

    /// Remembers what was computed, unless everything was forgotten since it was looked up.
    pub(crate) fn remember(&self, ticket: &Ticket, is_right: bool, now: Instant) {
        let mut found = self.lock();
        if self.options.entries_max == 0 || found.generation != ticket.generation {
            return;
        }
        let table = if is_right { &mut found.right } else { &mut found.wrong };
        table.insert(ticket.tag, now, self.options);
    }

    /// Forgets everything: a user has changed.
    pub(crate) fn clear(&self) {
        let mut found = self.lock();
        found.right = Table::default();
        found.wrong = Table::default();
        found.generation += 1;
    }

    #[cfg(test)]
    fn len(&self) -> (usize, usize) {
        let found = self.lock();
        let both = (found.right.expires.len(), found.wrong.expires.len());
        assert_eq!(both, (found.right.order.len(), found.wrong.order.len()));
        both
    }
}

impl Table {
    fn insert(&mut self, tag: Tag, now: Instant, options: CacheOptions) {
        if self.expires.contains_key(&tag) {
            // Computed twice at one time; the first end holds.
            return;
        }
        while let Some((expires, oldest)) = self.order.front() {
            if *expires > now && self.order.len() < options.entries_max {
                break;
            }
            self.expires.remove(oldest);
            self.order.pop_front();
        }
        // What ends before the clock does not end is remembered until it is displaced.
        let expires = now.checked_add(options.ttl).unwrap_or(now);
        self.expires.insert(tag, expires);
        self.order.push_back((expires, tag));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries_max: usize, secs: u64) -> Cache {
        let ttl = Duration::from_secs(secs);
        Cache::with_key(CacheOptions { entries_max, ttl }, [7; 32])
    }

    #[test]
    fn what_was_found_out_is_known_for_its_time_and_under_its_name() {
        let (cache, now) = (cache(8, 10), Instant::now());
        let (answer, ticket) = cache.look_up("alice", b"secret", now);
        assert_eq!(answer, None);
        cache.remember(&ticket, true, now);
        let (_, ticket) = cache.look_up("alice", b"guess", now);
        cache.remember(&ticket, false, now);
        let answer = |name: &str, password: &[u8], secs: u64| {
            cache.look_up(name, password, now + Duration::from_secs(secs)).0
        };
        assert_eq!(answer("alice", b"secret", 9), Some(true));
        assert_eq!(answer("alice", b"guess", 9), Some(false));
        assert_eq!(answer("alice", b"secret", 10), None);
        // The border between name and password counts.
        assert_eq!(answer("alices", b"ecret", 0), None);
        assert_eq!(cache.len(), (1, 1));
    }

    #[test]
    fn guesses_displace_the_oldest_guess_and_nobody_s_password() {
        let (cache, now) = (cache(2, 10), Instant::now());
        let remember = |password: &[u8], is_right| {
            let (_, ticket) = cache.look_up("alice", password, now);
            cache.remember(&ticket, is_right, now);
        };
        remember(b"secret", true);
        for guess in [b"1", b"2", b"3"] {
            remember(guess, false);
        }
        assert_eq!(cache.len(), (1, 2));
        let answer = |password: &[u8]| cache.look_up("alice", password, now).0;
        assert_eq!(answer(b"secret"), Some(true));
        assert_eq!([b"1", b"2", b"3"].map(|guess| answer(guess)), [None, Some(false), Some(false)]);
    }

    #[test]
    fn what_was_computed_before_a_change_is_not_remembered_after_it() {
        let (cache, now) = (cache(8, 10), Instant::now());
        let (_, early) = cache.look_up("alice", b"secret", now);
        cache.remember(&early, true, now);
        cache.clear();
        assert_eq!(cache.look_up("alice", b"secret", now).0, None);
        cache.remember(&early, true, now);
        assert_eq!(cache.look_up("alice", b"secret", now).0, None);
        assert_eq!(cache.len(), (0, 0));
    }

    #[test]
    fn ended_ones_make_room() {
        let (cache, now) = (cache(100, 10), Instant::now());
        for secs in 0..50 {
            let now = now + Duration::from_secs(secs);
            let (_, ticket) = cache.look_up("alice", &secs.to_be_bytes(), now);
            cache.remember(&ticket, true, now);
        }
        assert_eq!(cache.len(), (10, 0));
        let none = self::cache(0, 10);
        let (_, ticket) = none.look_up("alice", b"secret", now);
        none.remember(&ticket, true, now);
        assert_eq!(none.len(), (0, 0));
    }
}

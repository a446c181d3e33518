//! Hashes that are computed for names that nobody has, so that they take the time that others take.

use std::sync::{Arc, Mutex, PoisonError};

use crate::hash::PasswordHash;
use crate::mac::{SHA256_BYTES, hmac_of_parts};
use crate::random;

/// Hashes that are kept. A name has a place among them, so that unknown names take as many different times as known ones, and
/// each always its own.
const PLACES: usize = 64;

/// What is computed before any user was seen: Argon2id at the cost of [`PasswordHash::make`]. No password is known for it.
const FIRST: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Some hashes of users that were seen.
pub(super) struct StandIns {
    key: [u8; SHA256_BYTES],
    first: Arc<PasswordHash>,
    places: Mutex<Vec<Option<Arc<PasswordHash>>>>,
}

impl StandIns {
    pub(super) fn new() -> Self {
        Self {
            key: random::bytes().unwrap_or_default(),
            first: Arc::new(FIRST.parse().unwrap_or(PasswordHash::LOCKED)),
            places: Mutex::new(vec![None; PLACES]),
        }
    }

    fn place(&self, name: &str) -> usize {
        let [first, ..] = hmac_of_parts(&self.key, &[name.as_bytes()]);
        usize::from(first) % PLACES
    }

    /// A user's hash, for names that nobody has.
    pub(super) fn note(&self, name: &str, hash: &PasswordHash) {
        if hash.is_locked() {
            return;
        }
        let place = self.place(name);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get_mut(place)
            && place.as_deref() != Some(hash)
        {
            *place = Some(Arc::new(hash.clone()));
        }
    }

    /// The one for this name.
    pub(super) fn of(&self, name: &str) -> Arc<PasswordHash> {
        let place = self.place(name);
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, from) = places.split_at_checked(place).unwrap_or((&[], &places));
        let seen = from.iter().chain(before).flatten().next();
        Arc::clone(seen.unwrap_or(&self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nobody_has_costs_what_a_user_costs() {
        let stand_ins = StandIns::new();
        let first: PasswordHash = FIRST.parse().expect("legal");
        assert_eq!(*stand_ins.of("nobody"), first);
        let weak: PasswordHash = format!("$6$YWJjZA==${}", "A".repeat(86)).parse().expect("legal");
        stand_ins.note("alice", &PasswordHash::LOCKED);
        assert_eq!(*stand_ins.of("nobody"), first);
        stand_ins.note("alice", &weak);
        for name in ["nobody", "somebody", "alice"] {
            assert_eq!(*stand_ins.of(name), weak, "the only one there is");
        }
    }
}

//! The hash of names and levels: short, fast, and with keys that no Client knows.

use core::hash::{BuildHasher, Hasher};

/// Makes the hashers of the indexes, all with the same four secret keys.
///
/// Clients choose the names that are hashed. If they could tell which of them meet in one bucket
/// they could turn every lookup into a scan, so the keys must be out of their reach. With the
/// feature `std` [`KeyedState::default`] takes them from the operating system, anew for each
/// index. Without it there is no source of chance: the default keys are constants, which is right
/// for trusted names only, and a program that serves strangers gives its own keys to
/// [`KeyedState::with_keys`].
///
/// Each 16 bytes are folded into the hash by one 64 by 64 bit multiplication whose factors are
/// both hidden by a key. That holds against a peer who sees no hashes. It is no cryptographic
/// promise: against a peer who can measure single lookups, give the index the slower
/// `std::hash::RandomState`.
#[derive(Clone, Debug)]
pub struct KeyedState {
    keys: [u64; 4],
}

impl KeyedState {
    /// Takes the keys from the caller, who draws them at random.
    #[must_use]
    pub const fn with_keys(keys: [u64; 4]) -> Self {
        Self { keys }
    }
}

/// Digits of pi: keys for want of chance.
#[cfg(any(test, not(feature = "std")))]
const DIGITS: [u64; 4] =
    [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344, 0xA409_3822_299F_31D0, 0x082E_FA98_EC4E_6C89];

#[cfg(feature = "std")]
impl Default for KeyedState {
    fn default() -> Self {
        // The one source of chance that std has: each state is keyed by the operating system.
        let chance = std::hash::RandomState::new();
        Self::with_keys([0_u8, 1, 2, 3].map(|number| chance.hash_one(number)))
    }
}

#[cfg(not(feature = "std"))]
impl Default for KeyedState {
    fn default() -> Self {
        Self::with_keys(DIGITS)
    }
}

impl BuildHasher for KeyedState {
    type Hasher = KeyedHasher;

    #[inline]
    fn build_hasher(&self) -> KeyedHasher {
        let [state, left, right, last] = self.keys;
        KeyedHasher { state, left, right, last }
    }
}

/// The hasher that [`KeyedState`] makes.
#[derive(Clone, Debug)]
pub struct KeyedHasher {
    state: u64,
    left: u64,
    right: u64,
    last: u64,
}

impl KeyedHasher {
    #[inline]
    fn absorb(&mut self, left: u64, right: u64) {
        self.state = fold(left ^ self.left ^ self.state, right ^ self.right);
    }
}

impl Hasher for KeyedHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (blocks, tail) = bytes.as_chunks::<16>();
        for block in blocks {
            let both = u128::from_le_bytes(*block);
            self.absorb(low(both), high(both));
        }
        if let (Some(first), Some(last)) = (tail.first_chunk::<8>(), tail.last_chunk::<8>()) {
            self.absorb(u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        } else if let (Some(first), Some(last)) = (tail.first_chunk::<4>(), tail.last_chunk::<4>())
        {
            self.absorb(u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into());
        } else if let (Some(&first), Some(&last)) = (tail.first(), tail.last()) {
            let middle = tail.get(tail.len() / 2).copied().unwrap_or_default();
            self.absorb(u64::from(first) << 8 | u64::from(middle), last.into());
        }
        // The length tells apart what the overlapping reads of the tail cannot. It comes last,
        // where no byte of the text can make up for it.
        self.state = self.state.wrapping_add(bytes.len() as u64);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.absorb(number, 0);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        fold(self.state, self.last)
    }
}

/// Multiplies, and mixes the upper half of the product, where the carries went, into the lower.
#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    low(product) ^ high(product)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the other half is taken by `high`")]
fn low(both: u128) -> u64 {
    both as u64
}

#[inline]
fn high(both: u128) -> u64 {
    (both >> 64) as u64
}

/// The hash of `bytes` alone. Slices hash their length too, which [`Hasher::write`] has done.
#[inline]
pub(crate) fn hash_bytes(state: &impl BuildHasher, bytes: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn hashes_of_similar_texts_differ_in_the_bits_that_tables_use() {
        let state = KeyedState::with_keys(DIGITS);
        let mut texts: Vec<_> = (0..50_000).map(|number| format!("site/{number:08}")).collect();
        texts.extend((0..50_000).map(|number| format!("{number}")));
        texts.extend((0..100).map(|len| "a".repeat(len)));
        texts.extend((0..100).map(|len| "\0".repeat(len)));
        // Some are there twice.
        let texts: BTreeSet<_> = texts.into_iter().collect();
        let hashes: Vec<_> = texts.iter().map(|text| hash_bytes(&state, text.as_bytes())).collect();

        let distinct: BTreeSet<_> = hashes.iter().collect();
        assert_eq!(distinct.len(), texts.len());
        // Even at the low and the high end: of n chances in m places, m (1 - e^(-n/m)) are taken.
        for shift in [0, 64 - 16] {
            let places: BTreeSet<_> = hashes.iter().map(|hash| hash >> shift & 0xFFFF).collect();
            let expected = 65_536.0 * (1.0 - (-(texts.len() as f64) / 65_536.0).exp());
            let difference = (places.len() as f64 - expected).abs();
            assert!(difference < 500.0, "{} places of {expected}", places.len());
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn each_index_has_keys_of_its_own() {
        let (one, other) = (KeyedState::default(), KeyedState::default());
        assert_ne!(hash_bytes(&one, b"a"), hash_bytes(&other, b"a"));
        assert_eq!(hash_bytes(&one, b"a"), hash_bytes(&one.clone(), b"a"));
        let keys: BTreeSet<_> = one.keys.into_iter().chain(other.keys).collect();
        assert_eq!(keys.len(), 8);
    }
}

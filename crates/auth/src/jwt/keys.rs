//! The keys of which one may have signed a token.

use super::algorithm::Algorithm;
use super::jwk::{self, JwksError, Origin};
use super::key::Key;
use super::rejection::Rejection;
use super::token::Token;

/// Keys that are tried for a token without `kid`. Where more would fit, the token has to name one.
pub const KEYS_TRIED_MAX: usize = 4;

/// The keys of which one may have signed a token.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: usize,
}

impl KeySet {
    /// These keys.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        Self { keys, skipped: 0 }
    }

    /// Reads a set of keys in JSON (RFC 7517), or a single one. Keys that are for something else than signatures, of a kind
    /// that is not served, or for none of `algorithms` (if it is not empty) are left out, and so are secrets from the
    /// network. A key that names its algorithm (`alg`) is for this one only.
    ///
    /// # Errors
    ///
    /// [`JwksError`] when it is no set, is longer than [`JWKS_BYTES_MAX`](super::JWKS_BYTES_MAX), has more than
    /// [`JWKS_KEYS_MAX`](super::JWKS_KEYS_MAX) keys, or none that is of use.
    pub fn from_json(
        json: &[u8],
        origin: Origin,
        algorithms: &[Algorithm],
    ) -> Result<Self, JwksError> {
        let jwk::Jwks { keys, skipped } = jwk::parse(json, origin, algorithms)?;
        Ok(Self { keys, skipped })
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys of the set were left out because they are of no use here.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Adds keys.
    pub fn extend(&mut self, others: Self) {
        self.keys.extend(others.keys);
        self.skipped += others.skipped;
    }

    /// Whether one of the keys signed this token. The token names the key, the key decides about the algorithm.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), Rejection> {
        let algorithm = token.header.algorithm()?;
        let candidates = match &token.header.kid {
            Some(id) => self.named(id)?,
            None => self.fitting(algorithm)?,
        };
        let mut bound = false;
        for key in candidates {
            match key.verify(algorithm, token.signed, &token.signature) {
                Some(true) => return Ok(()),
                Some(false) => bound = true,
                None => {}
            }
        }
        Err(if bound { Rejection::Signature } else { Rejection::AlgorithmNotOfKey })
    }

    /// The keys of this name; where none has it, those without a name, which a configuration gives for any.
    fn named(&self, id: &str) -> Result<Vec<&Key>, Rejection> {
        let named = |name: Option<&str>| {
            let keys: Vec<_> = self.keys.iter().filter(|key| key.id() == name).collect();
            (!keys.is_empty()).then_some(keys)
        };
        let keys = named(Some(id)).or_else(|| named(None)).ok_or(Rejection::KeyUnknown)?;
        if keys.len() > KEYS_TRIED_MAX { Err(Rejection::KeyUnknown) } else { Ok(keys) }
    }

    /// The keys that a token without a `kid` may be signed by.
    fn fitting(&self, algorithm: Algorithm) -> Result<Vec<&Key>, Rejection> {
        let fits = |key: &&Key| key.algorithms().any(|bound| bound == algorithm);
        let keys: Vec<_> = self.keys.iter().filter(fits).collect();
        match keys.len() {
            0 if self.keys.is_empty() => Err(Rejection::KeyUnknown),
            0 => Err(Rejection::AlgorithmNotOfKey),
            1..=KEYS_TRIED_MAX => Ok(keys),
            _ => Err(Rejection::KeyUnknown),
        }
    }
}

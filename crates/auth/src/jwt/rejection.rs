//! Why a token was not taken.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a token was not taken. What it says goes into the log and into counters; the client learns no more than that it is
/// refused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Rejection {
    /// It has more bytes than `token_bytes_max`.
    TooLong,
    /// It is no token: not three parts of base64url with a header.
    Malformed,
    /// Its header has an extension that must be understood and is not (`crit`).
    CriticalExtension,
    /// Its algorithm is `none`, or one that is not served.
    AlgorithmUnknown,
    /// Its algorithm is not one that is bound to its key.
    AlgorithmNotOfKey,
    /// No key has its `kid`; or it names none, and none fits, or too many do.
    KeyUnknown,
    /// The keys could not be fetched so far.
    KeysMissing,
    /// The signature is not one of this key.
    Signature,
    /// The claims are no JSON object, there are too many, or one that matters has the wrong form or is too long.
    Claims,
    /// It has no `exp`, and one is required.
    NoExpiry,
    /// Its `exp` has passed, the leeway included.
    Expired,
    /// Its `nbf` has not come, the leeway included.
    NotYetValid,
    /// Its `iss` is not one of those that are taken.
    Issuer,
    /// Its `aud` has none of those that are taken.
    Audience,
    /// A claim that becomes the user, the tenant or a role is missing.
    ClaimMissing,
}

impl Rejection {
    /// Every reason.
    pub const ALL: [Self; 15] = [
        Self::TooLong,
        Self::Malformed,
        Self::CriticalExtension,
        Self::AlgorithmUnknown,
        Self::AlgorithmNotOfKey,
        Self::KeyUnknown,
        Self::KeysMissing,
        Self::Signature,
        Self::Claims,
        Self::NoExpiry,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::ClaimMissing,
    ];

    /// The stable name, as in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::CriticalExtension => "critical_extension",
            Self::AlgorithmUnknown => "algorithm_unknown",
            Self::AlgorithmNotOfKey => "algorithm_not_of_key",
            Self::KeyUnknown => "key_unknown",
            Self::KeysMissing => "keys_missing",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::ClaimMissing => "claim_missing",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each reason was given.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; Rejection::ALL.len()]);

impl Tally {
    pub(super) fn count(&self, rejection: Rejection) {
        if let Some(counter) = self.0.get(rejection.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn of(&self, rejection: Rejection) -> u64 {
        self.0.get(rejection.index()).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

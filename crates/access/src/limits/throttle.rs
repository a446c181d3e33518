//! Failed logins: who guesses is slowed down, and nobody else.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::bucket::{Rate, TokenBucket};
use super::generations::Generations;
use super::range::AddressRange;

/// How many logins may fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ThrottleRules {
    /// Of one user from one address.
    pub per_address_and_user: Rate,
    /// Of all users from one address.
    pub per_address: Rate,
    /// How many bits of an IPv6 address count: who has one mostly has all that begin with the same 64.
    pub ipv6_prefix: u8,
}

impl Default for ThrottleRules {
    /// 10 in a minute of one user, 100 in a minute from one address, 64 bits of an IPv6 address.
    fn default() -> Self {
        Self {
            per_address_and_user: Rate::new(10, Duration::from_secs(60)),
            per_address: Rate::new(100, Duration::from_secs(60)),
            ipv6_prefix: 64,
        }
    }
}

/// Which rule a login waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ThrottledBy {
    /// Too many logins of this user from this address have failed.
    AddressAndUser,
    /// Too many logins from this address have failed.
    Address,
}

/// A login that is to be refused before its password is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Throttled {
    /// Which rule.
    pub by: ThrottledBy,
    /// From when on it may be tried again.
    pub wait: Duration,
}

/// Counts failed logins by address, and by address and user. Never by user alone: whoever wants to keep a user out by wrong
/// passwords can do so only where that user is not. And never across addresses: what fails from one leaves all others as
/// they are.
///
/// It remembers up to [`LoginThrottle::ENTRIES_MAX`] addresses of late and as many before them, and as many pairs of address
/// and user. When more come, the earlier ones are forgotten and may try again: a login that would otherwise be refused is
/// then looked at, and nothing worse.
#[derive(Debug)]
pub struct LoginThrottle {
    rules: ThrottleRules,
    addresses: Generations<AddressRange, TokenBucket>,
    pairs: Generations<(AddressRange, Box<str>), TokenBucket>,
}

impl LoginThrottle {
    /// The most addresses, and the most pairs, that are remembered twice over.
    pub const ENTRIES_MAX: usize = 65_536;

    /// A throttle that has seen nobody.
    #[must_use]
    pub fn new(rules: ThrottleRules) -> Self {
        Self {
            rules,
            addresses: Generations::new(Self::ENTRIES_MAX, time_to_fill(rules.per_address)),
            pairs: Generations::new(Self::ENTRIES_MAX, time_to_fill(rules.per_address_and_user)),
        }
    }

    /// Whether a login may be tried: to be asked right before a password is looked at. Logins that are looked at together are
    /// all let through, so that a whole site that comes back at once is not held up; whoever checks passwords bounds how many
    /// that are.
    ///
    /// # Errors
    ///
    /// Which rule it waits for, and for how long.
    pub fn check(&mut self, address: IpAddr, user: &str, now: Instant) -> Result<(), Throttled> {
        let address = self.range(address);
        let refused = |by, bucket: Option<&mut TokenBucket>| match bucket
            .map(|bucket| bucket.wait_for_one(now))
        {
            Some(wait) if !wait.is_zero() => Err(Throttled { by, wait }),
            _ => Ok(()),
        };
        refused(ThrottledBy::Address, self.addresses.get_mut(&address, now))?;
        refused(ThrottledBy::AddressAndUser, self.pairs.get_mut(&(address, user.into()), now))
    }

    /// A login has failed.
    pub fn failed(&mut self, address: IpAddr, user: &str, now: Instant) {
        let address = self.range(address);
        let ThrottleRules { per_address, per_address_and_user, .. } = self.rules;
        self.addresses.entry(address, now, || TokenBucket::new(per_address, now)).take_to_zero(now);
        self.pairs
            .entry((address, user.into()), now, || TokenBucket::new(per_address_and_user, now))
            .take_to_zero(now);
    }

    /// A login was good: what this user got wrong from this address before is forgotten, what others did is not.
    pub fn succeeded(&mut self, address: IpAddr, user: &str) {
        let address = self.range(address);
        self.pairs.remove(&(address, Box::from(user)));
    }

    /// How many addresses and pairs are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len() + self.pairs.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn range(&self, address: IpAddr) -> AddressRange {
        let address = address.to_canonical();
        let prefix = if address.is_ipv4() { 32 } else { self.rules.ipv6_prefix };
        AddressRange::around(address, prefix)
    }
}

/// After so long a bucket is full again, and may be forgotten.
fn time_to_fill(rate: Rate) -> Duration {
    let (tokens, per) = rate.tokens_per();
    let nanos = per.as_nanos() * u128::from(rate.burst()) / u128::from(tokens.max(1));
    u64::try_from(nanos).map_or(Duration::MAX / 4, Duration::from_nanos)
}

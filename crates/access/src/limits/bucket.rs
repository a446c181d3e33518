//! How often: tokens that come at a rate and are saved up to a burst.

use std::time::{Duration, Instant};

/// So many in such a time, and so many at once after a rest.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rate {
    tokens: u64,
    per: Duration,
    burst: u64,
}

impl Rate {
    /// The longest time that a rate is said in; a longer one is taken as this, which is less strict by nothing but that.
    pub const PER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// `tokens` in each `per`, with as many at once.
    ///
    /// No tokens at all are taken as one, and no time as a nanosecond: a rate lets through something.
    #[must_use]
    pub const fn new(tokens: u64, per: Duration) -> Self {
        let tokens = if tokens == 0 { 1 } else { tokens };
        let per = if per.is_zero() { Duration::from_nanos(1) } else { per };
        let per = if per.as_nanos() > Self::PER_MAX.as_nanos() { Self::PER_MAX } else { per };
        Self { tokens, per, burst: tokens }
    }

    /// `tokens` in each second, with as many at once.
    #[must_use]
    pub const fn per_second(tokens: u64) -> Self {
        Self::new(tokens, Duration::from_secs(1))
    }

    /// The same rate with up to `burst` at once, at least 1.
    #[must_use]
    pub const fn with_burst(self, burst: u64) -> Self {
        Self { burst: if burst == 0 { 1 } else { burst }, ..self }
    }

    /// How many at once.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// How many, and in which time.
    #[must_use]
    pub const fn tokens_per(&self) -> (u64, Duration) {
        (self.tokens, self.per)
    }

    /// Whether fewer come in the long run than by another.
    pub(super) fn is_slower_than(&self, other: &Self) -> bool {
        let (one, two) = (u128::from(self.tokens), u128::from(other.tokens));
        one * other.per.as_nanos() < two * self.per.as_nanos()
    }

    /// What a token is worth. A nanosecond brings `tokens` of it, so that nothing is ever rounded.
    const fn worth(&self) -> i128 {
        self.per.as_nanos().cast_signed()
    }

    fn full(&self) -> i128 {
        i128::from(self.burst) * self.worth()
    }
}

/// A bucket of tokens under a [`Rate`].
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use dunlin_access::{Rate, TokenBucket};
///
/// let now = Instant::now();
/// let mut bucket = TokenBucket::new(Rate::per_second(10).with_burst(2), now);
/// assert_eq!(bucket.try_take(2, now), Ok(()));
/// assert_eq!(bucket.try_take(1, now), Err(Duration::from_millis(100)));
/// assert_eq!(bucket.try_take(1, now + Duration::from_millis(100)), Ok(()));
/// ```
///
/// Time that runs backwards counts as standing still. All is integer arithmetic without rounding: over any time, what
/// `try_take` gives out is at most the burst and what the rate brought, but for one taking larger than the burst.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: Rate,
    /// In worths: at most the burst, below zero when a taking was larger than what was there.
    credit: i128,
    at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, credit: rate.full(), at: now }
    }

    /// The rate.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Goes on at another rate with as many tokens as there are, or the new burst if that is less.
    pub fn set_rate(&mut self, rate: Rate, now: Instant) {
        self.refill(now);
        let credit = self.credit.saturating_mul(rate.worth()) / self.rate.worth();
        self.credit = credit.min(rate.full());
        self.rate = rate;
    }

    /// Takes `count` tokens if they are there. More than the burst are given when the bucket is full; it then owes them, and
    /// gives nothing until they have come.
    ///
    /// # Errors
    ///
    /// How long until there are enough.
    pub fn try_take(&mut self, count: u64, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let wanted = i128::from(count.min(self.rate.burst)) * self.rate.worth();
        if self.credit < wanted {
            return Err(self.time_for(wanted - self.credit));
        }
        self.credit -= i128::from(count) * self.rate.worth();
        Ok(())
    }

    /// Takes `count` tokens, there or not, for what has happened already. Says how long to wait until none are owed.
    pub fn charge(&mut self, count: u64, now: Instant) -> Duration {
        self.refill(now);
        let price = i128::from(count) * self.rate.worth();
        self.credit = self.credit.saturating_sub(price);
        self.time_for(-self.credit)
    }

    /// The whole tokens that are there; nothing is taken.
    pub fn available(&mut self, now: Instant) -> u64 {
        self.refill(now);
        u64::try_from(self.credit.max(0) / self.rate.worth()).unwrap_or(u64::MAX)
    }

    /// Whether all are there that can be saved up: then nothing is to be remembered of it.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.credit >= self.rate.full()
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, count: u64) {
        let worth = i128::from(count).saturating_mul(self.rate.worth());
        self.credit = self.credit.saturating_add(worth).min(self.rate.full());
    }

    /// How long until there is one token; nothing is taken.
    pub fn wait_for_one(&mut self, now: Instant) -> Duration {
        self.refill(now);
        self.time_for(self.rate.worth() - self.credit)
    }

    /// Takes one token, or what there is of one: nothing is owed.
    pub(super) fn take_to_zero(&mut self, now: Instant) {
        self.refill(now);
        self.credit = (self.credit - self.rate.worth()).max(0);
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_nanos().cast_signed();
        let gain = elapsed.saturating_mul(i128::from(self.rate.tokens));
        self.credit = self.credit.saturating_add(gain).min(self.rate.full());
        self.at = self.at.max(now);
    }

    /// Rounded up to the nanosecond, so that who waits so long gets it.
    fn time_for(&self, missing: i128) -> Duration {
        let missing = missing.max(0).unsigned_abs();
        let nanos = missing.div_ceil(u128::from(self.rate.tokens));
        u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
    }
}

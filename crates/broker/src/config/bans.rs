//! Who is kept out for a while by the broker itself.

use std::net::IpAddr;
use std::time::Duration;

use dunlin_access::{FLAP_CONNECTS_MAX, FlapRule};
use dunlin_transport::IpRange;

use super::InvalidConfig;

/// When the broker bans by itself. Bans that somebody else makes hold beside these:
/// [`Broker::ban`](crate::Broker::ban).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BansConfig {
    /// A client that connects so often in `flap_within` is banned by its Client Identifier, in its tenant. Only connects that
    /// pass authentication count. From 2 to 64; none: nobody is.
    pub flap_connects: Option<u16>,
    /// The time in which they count.
    pub flap_within: Duration,
    /// For how long it is banned.
    pub flap_ban: Duration,
    /// An address from which so many logins fail in `failures_within` is banned, of IPv6 the network of 64 bits. Never a user:
    /// who fails from elsewhere must not lock anybody out. From 2 to 64; none: none is.
    pub failures: Option<u16>,
    /// The time in which they count.
    pub failures_within: Duration,
    /// For how long it is banned.
    pub failures_ban: Duration,
    /// Addresses that are never banned for failed logins, such as a proxy's that many clients come by.
    pub exempt: Vec<IpRange>,
}

impl Default for BansConfig {
    fn default() -> Self {
        Self {
            flap_connects: None,
            flap_within: Duration::from_secs(60),
            flap_ban: Duration::from_secs(300),
            failures: None,
            failures_within: Duration::from_secs(600),
            failures_ban: Duration::from_secs(900),
            exempt: Vec::new(),
        }
    }
}

impl BansConfig {
    /// When a client flaps.
    pub(crate) fn flapping(&self) -> Option<FlapRule> {
        rule(self.flap_connects, self.flap_within, self.flap_ban)
    }

    /// When too many logins from an address have failed.
    pub(crate) fn failing(&self) -> Option<FlapRule> {
        rule(self.failures, self.failures_within, self.failures_ban)
    }

    pub(crate) fn is_exempt(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|range| range.contains(address))
    }

    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        let counts = [("bans.flap_connects", self.flap_connects), ("bans.failures", self.failures)];
        let legal = |count: u16| (2..=FLAP_CONNECTS_MAX).contains(&usize::from(count));
        if let Some((setting, _)) = counts.into_iter().find(|(_, count)| !count.is_none_or(legal)) {
            return Err(InvalidConfig::new(setting, "must be from 2 to 64, or none"));
        }
        let spans = [
            ("bans.flap_within", self.flap_within),
            ("bans.flap_ban", self.flap_ban),
            ("bans.failures_within", self.failures_within),
            ("bans.failures_ban", self.failures_ban),
        ];
        let least = Duration::from_secs(1);
        match spans.into_iter().find(|(_, span)| *span < least) {
            Some((setting, _)) => Err(InvalidConfig::new(setting, "must be at least 1s")),
            None => Ok(()),
        }
    }
}

fn rule(connects: Option<u16>, within: Duration, ban: Duration) -> Option<FlapRule> {
    connects.map(|connects| FlapRule { connects: usize::from(connects), within, ban })
}

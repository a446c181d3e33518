//! Who is not let in at all, for how long, and why.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use hashbrown::HashMap;

use super::range::AddressRange;

/// Wall-clock time in seconds since 1970, since bans outlive the process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixSeconds(pub u64);

/// Who is banned.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum BanTarget {
    /// Whoever comes from these addresses.
    Address(AddressRange),
    /// A user, wherever it comes from.
    User(Named),
    /// A Client Identifier, whoever uses it.
    Client(Named),
}

/// A name in one tenant, or in all: another tenant's user or client of the same name is somebody else.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Named {
    /// The name.
    pub name: Box<str>,
    /// The tenant; none for whoever has this name in any.
    pub tenant: Option<Box<str>>,
}

impl Named {
    /// Whoever has this name.
    #[must_use]
    pub fn anywhere(name: &str) -> Self {
        Self { name: name.into(), tenant: None }
    }

    /// Who has this name in one tenant.
    #[must_use]
    pub fn of(tenant: &str, name: &str) -> Self {
        Self { name: name.into(), tenant: Some(tenant.into()) }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            Some(tenant) => write!(f, "{} of tenant {tenant}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Display for BanTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(range) => write!(f, "address {range}"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Client(id) => write!(f, "client {id}"),
        }
    }
}

/// One ban.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ban {
    /// Who.
    pub target: BanTarget,
    /// The first second in which it no longer holds; none if it holds until it is taken back.
    pub until: Option<UnixSeconds>,
    /// Why, in words.
    pub reason: Box<str>,
}

impl Ban {
    fn holds(&self, now: UnixSeconds) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Who wants in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Visitor<'a> {
    /// Where from.
    pub address: Option<IpAddr>,
    /// As whom; none before that is known, and for anonymous clients.
    pub user: Option<&'a str>,
    /// With which Client Identifier; none before that is known.
    pub client_id: Option<&'a str>,
    /// Of which tenant; none before that is known.
    pub tenant: Option<&'a str>,
}

/// There are [`BanList::BANS_MAX`] bans already, and none has expired.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there are {} bans already", BanList::BANS_MAX)]
pub struct BanListFull;

/// All bans. At [`BanList::BANS_MAX`] a further one is refused, unless some have expired: those are taken out first.
///
/// ```
/// use dunlin_access::{Ban, BanList, BanTarget, UnixSeconds, Visitor};
///
/// let mut bans = BanList::default();
/// let target = BanTarget::Address("192.0.2.0/24".parse()?);
/// bans.add(Ban { target, until: Some(UnixSeconds(100)), reason: "scans".into() }, UnixSeconds(0))?;
/// let visitor = Visitor { address: Some("192.0.2.7".parse()?), ..Visitor::default() };
/// assert!(bans.find(&visitor, UnixSeconds(99)).is_some());
/// assert!(bans.find(&visitor, UnixSeconds(100)).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BanList {
    bans: HashMap<BanTarget, Ban>,
    /// How many bans there are of each length of prefix, IPv4 or not, so that a look-up tries only those.
    prefixes: BTreeMap<(bool, u8), usize>,
}

impl BanList {
    /// The most bans.
    pub const BANS_MAX: usize = 100_000;

    /// Adds a ban, or puts it in the place of the one for the same target, which is given back.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub fn add(&mut self, ban: Ban, now: UnixSeconds) -> Result<Option<Ban>, BanListFull> {
        if self.bans.len() >= Self::BANS_MAX && !self.bans.contains_key(&ban.target) {
            self.expire(now);
            if self.bans.len() >= Self::BANS_MAX {
                return Err(BanListFull);
            }
        }
        let before = self.remove(&ban.target);
        if let BanTarget::Address(range) = &ban.target {
            *self.prefixes.entry(range.prefix()).or_default() += 1;
        }
        self.bans.insert(ban.target.clone(), ban);
        Ok(before)
    }

    /// Takes a ban back.
    pub fn remove(&mut self, target: &BanTarget) -> Option<Ban> {
        let ban = self.bans.remove(target)?;
        if let BanTarget::Address(range) = target {
            self.forget(*range);
        }
        Some(ban)
    }

    fn forget(&mut self, range: AddressRange) {
        if let Some(count) = self.prefixes.get_mut(&range.prefix()) {
            *count -= 1;
            if *count == 0 {
                self.prefixes.remove(&range.prefix());
            }
        }
    }

    /// Takes out the bans that no longer hold, and says how many that were.
    pub fn expire(&mut self, now: UnixSeconds) -> usize {
        let gone: Vec<BanTarget> = self
            .bans
            .values()
            .filter(|ban| !ban.holds(now))
            .map(|ban| ban.target.clone())
            .collect();
        for target in &gone {
            self.remove(target);
        }
        gone.len()
    }

    /// The ban that keeps somebody out: of the address first, then of the user, then of the client.
    #[must_use]
    pub fn find(&self, visitor: &Visitor<'_>, now: UnixSeconds) -> Option<&Ban> {
        let holding = |target: &BanTarget| self.bans.get(target).filter(|ban| ban.holds(now));
        let of_address = |address: IpAddr| {
            let is_v4 = address.to_canonical().is_ipv4();
            let lengths = self.prefixes.keys().filter(move |(v4, _)| *v4 == is_v4);
            lengths
                .map(|(_, prefix)| BanTarget::Address(AddressRange::around(address, *prefix)))
                .find_map(|target| holding(&target))
        };
        let named = |name: Option<&str>, target: fn(Named) -> BanTarget| {
            let name = name?;
            let there = visitor.tenant.map(|tenant| Named::of(tenant, name));
            let mut both = there.into_iter().chain([Named::anywhere(name)]);
            both.find_map(|named| holding(&target(named)))
        };
        visitor
            .address
            .and_then(of_address)
            .or_else(|| named(visitor.user, BanTarget::User))
            .or_else(|| named(visitor.client_id, BanTarget::Client))
    }

    /// All bans, expired ones included, in no particular order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Ban> {
        self.bans.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }
}

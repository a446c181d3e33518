//! Addresses by their first bits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address, or all that begin with the same bits: `192.0.2.0/24`, `2001:db8::/32`.
///
/// IPv4 addresses mapped into IPv6 are the IPv4 addresses that they are, and in no range of IPv6 addresses.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AddressRange {
    /// With zeros behind the prefix.
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no range of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAddressRange {
    /// No address.
    #[error("not an IP address")]
    Address,
    /// No number behind the slash, or one above the bits of an address.
    #[error("the length of the prefix must be a number up to 32 for IPv4 and 128 for IPv6")]
    Prefix,
    /// Bits behind the prefix, so that it is not clear what is meant.
    #[error("the address has bits behind the prefix")]
    BitsBehind,
}

impl AddressRange {
    /// This address alone.
    #[must_use]
    pub fn single(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self { first, prefix: bits(first) }
    }

    /// The addresses that begin with the same `prefix` bits as this one; all bits at the most.
    #[must_use]
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let address = address.to_canonical();
        let prefix = prefix.min(bits(address));
        Self { first: masked(address, prefix), prefix }
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.prefix) == self.first
    }

    pub(super) const fn prefix(&self) -> (bool, u8) {
        (self.first.is_ipv4(), self.prefix)
    }
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & mask).into()
        }
    }
}

impl FromStr for AddressRange {
    type Err = InvalidAddressRange;

    fn from_str(text: &str) -> Result<Self, InvalidAddressRange> {
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse().map(Self::single).map_err(|_| InvalidAddressRange::Address);
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidAddressRange::Address)?;
        let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().map_err(|_| InvalidAddressRange::Prefix)?;
        if !is_number || prefix > bits(address) {
            return Err(InvalidAddressRange::Prefix);
        }
        if masked(address, prefix) != address {
            return Err(InvalidAddressRange::BitsBehind);
        }
        // A mapped address with a prefix behind the mapping is a range of IPv4 addresses.
        let canonical = address.to_canonical();
        if canonical != address && prefix >= 96 {
            return Ok(Self { first: canonical, prefix: prefix - 96 });
        }
        Ok(Self { first: address, prefix })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(self.first) {
            self.first.fmt(f)
        } else {
            write!(f, "{}/{}", self.first, self.prefix)
        }
    }
}

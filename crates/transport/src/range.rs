//! Ranges of addresses, as `192.0.2.0/24` and `2001:db8::/32`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// All addresses with a common prefix.
///
/// An IPv4 address and the IPv6 address it is mapped to (`::ffff:192.0.2.1`) are the same here, since a socket for both
/// families shows the one as the other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IpRange {
    /// The lowest address, as IPv6; bits below the prefix are 0.
    first: u128,
    /// Bits of the prefix, of 128; of an IPv4 range 96 or more.
    prefix: u8,
}

/// Text that is no [`IpRange`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIpRange {
    /// What stands before the slash is no address.
    #[error("not an IP address")]
    Address,
    /// What stands behind the slash is no prefix length of this family.
    #[error("prefix length is not a number from 0 to 32 (IPv4) or 128 (IPv6)")]
    Prefix,
    /// Bits are set that the prefix does not reach, so that it is not clear what is meant.
    #[error("address has bits set behind its prefix")]
    HostBits,
}

impl IpRange {
    /// Whether the address is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        (wide(address) ^ self.first) & mask(self.prefix) == 0
    }
}

impl FromStr for IpRange {
    type Err = InvalidIpRange;

    /// Reads `address/prefix`, or an address alone for a range of one.
    fn from_str(text: &str) -> Result<Self, InvalidIpRange> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidIpRange::Address)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits)
                .ok_or(InvalidIpRange::Prefix)?,
            Some(_) => return Err(InvalidIpRange::Prefix),
            None => bits,
        };
        let prefix = 128 - bits + prefix;
        let first = wide(address);
        if first & !mask(prefix) != 0 {
            return Err(InvalidIpRange::HostBits);
        }
        Ok(Self { first, prefix })
    }
}

impl From<IpAddr> for IpRange {
    /// The range of this address alone.
    fn from(address: IpAddr) -> Self {
        Self { first: wide(address), prefix: 128 }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = Ipv6Addr::from(self.first);
        match first.to_ipv4_mapped() {
            Some(first) if self.prefix >= 96 => write!(f, "{first}/{}", self.prefix - 96),
            _ => write!(f, "{first}/{}", self.prefix),
        }
    }
}

/// The address as IPv6.
fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_has_their_prefix() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("192.0.2.0/24", "::192.0.2.7", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.7", true),
            ("2001:db8::/33", "2001:db8:7fff::", true),
            ("2001:db8::/33", "2001:db8:8000::", false),
            ("::ffff:10.0.0.0/104", "10.255.0.1", true),
        ];
        for (range, address, contains) in cases {
            let range: IpRange = range.parse().unwrap();
            assert_eq!(range.contains(address.parse().unwrap()), contains, "{range} {address}");
        }
    }

    #[test]
    fn text_is_read_and_written() {
        let cases = [
            ("192.0.2.0/24", Ok("192.0.2.0/24")),
            ("192.0.2.1", Ok("192.0.2.1/32")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("::/0", Ok("::/0")),
            ("2001:DB8::/32", Ok("2001:db8::/32")),
            ("::1", Ok("::1/128")),
            ("", Err(InvalidIpRange::Address)),
            ("localhost", Err(InvalidIpRange::Address)),
            ("192.0.2/24", Err(InvalidIpRange::Address)),
            ("192.0.2.0/", Err(InvalidIpRange::Prefix)),
            ("192.0.2.0/+8", Err(InvalidIpRange::Prefix)),
            ("192.0.2.0/33", Err(InvalidIpRange::Prefix)),
            ("::/129", Err(InvalidIpRange::Prefix)),
            ("::/999", Err(InvalidIpRange::Prefix)),
            ("192.0.2.1/24", Err(InvalidIpRange::HostBits)),
        ];
        for (text, expected) in cases {
            let read = text.parse().map(|range: IpRange| range.to_string());
            assert_eq!(read, expected.map(str::to_owned), "{text}");
        }
    }
}

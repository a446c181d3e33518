//! Where a client comes from, as far as it may be held responsible for it.

use std::net::{IpAddr, Ipv6Addr};

/// An address as limits count it: an IPv4 address, the first 64 bits of an IPv6 one, or none.
///
/// Whoever has one IPv6 address commonly has the 2^64 of its network, so that counting each for itself would limit nobody.
/// Clients without an address, of a Unix socket say, are one origin together.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Origin(Option<IpAddr>);

impl Origin {
    /// The origin of a client at this address.
    #[must_use]
    pub fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                Ipv6Addr::from_bits(network).into()
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_origin_and_an_ipv4_address_is_one_however_it_is_written() {
        let of = |text: &str| Origin::of(Some(text.parse().expect("an address")));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(Origin::of(None), of("::"));
    }
}

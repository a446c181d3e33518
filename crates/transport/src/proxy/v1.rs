//! Version 1: one line of text.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{Addresses, Header, Malformed};

/// The longest header of version 1, with its line end.
pub const V1_BYTES_MAX: usize = 107;

const SIGNATURE: &[u8] = b"PROXY ";

/// Whether a header of version 1 begins so, as far as can be seen.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let len = bytes.len().min(SIGNATURE.len());
    bytes.get(..len) == SIGNATURE.get(..len)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header<'_>>, Malformed> {
    let within = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(Malformed::TooLarge) };
    };
    let line = within.get(..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Fields)?;
    let addresses = addresses(line)?;
    Ok(Some(Header { len: end + 2, addresses, authority: None, tls: None }))
}

fn addresses(line: &str) -> Result<Addresses, Malformed> {
    let mut fields = line.split(' ').skip(1);
    let mut next = || fields.next().ok_or(Malformed::Fields);
    let is_family: fn(&IpAddr) -> bool = match next()? {
        // Whatever stands behind it is to be ignored.
        "UNKNOWN" => return Ok(Addresses::Own),
        "TCP4" => IpAddr::is_ipv4,
        "TCP6" => IpAddr::is_ipv6,
        _ => return Err(Malformed::Family),
    };
    let [source, destination, source_port, destination_port] = [next()?, next()?, next()?, next()?];
    if fields.next().is_some() {
        return Err(Malformed::Fields);
    }
    let address = |text| IpAddr::from_str(text).ok().filter(&is_family).ok_or(Malformed::Address);
    Ok(Addresses::Inet {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })
}

/// A number from 0 to 65535 without sign and leading zeros.
fn port(text: &str) -> Result<u16, Malformed> {
    match text.as_bytes() {
        [b'0'] | [b'1'..=b'9', ..] => text.parse().map_err(|_| Malformed::Port),
        _ => Err(Malformed::Port),
    }
}

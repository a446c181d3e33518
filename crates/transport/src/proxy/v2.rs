//! Version 2: bytes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::tlv;
use super::{Addresses, Header, Malformed};

/// The longest header of version 2 that is taken. Without TLVs it has 232 bytes at the most; a chain of names and
/// checksums as proxies send them takes a few hundred more.
pub const V2_BYTES_MAX: usize = 4096;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;

const STREAM_OVER_IPV4: u8 = 0x11;
const STREAM_OVER_IPV6: u8 = 0x21;
const STREAM_OVER_UNIX: u8 = 0x31;

/// Whether a header of version 2 begins so, as far as can be seen.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let len = bytes.len().min(SIGNATURE.len());
    bytes.get(..len) == SIGNATURE.get(..len)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header<'_>>, Malformed> {
    let fixed = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let Some([command, rest @ ..]) = fixed.get(..fixed.len().min(4)) else { return Ok(None) };
    if command >> 4 != 2 {
        return Err(Malformed::Version);
    }
    let is_own = match command & 0x0F {
        0 => true,
        1 => false,
        _ => return Err(Malformed::Command),
    };
    let &[family, high, low] = rest else { return Ok(None) };
    let len = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if len > V2_BYTES_MAX {
        return Err(Malformed::TooLarge);
    }
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    let body = header.get(FIXED_BYTES..).unwrap_or_default();
    let (addresses, tlvs) = match family {
        // What it says of addresses is to be skipped, and so it cannot be told from TLVs.
        _ if is_own => (Addresses::Own, &[][..]),
        0x00 => (Addresses::Own, body),
        STREAM_OVER_IPV4 => ipv4(body)?,
        STREAM_OVER_IPV6 => ipv6(body)?,
        STREAM_OVER_UNIX => (Addresses::Unix, body.get(216..).ok_or(Malformed::Length)?),
        _ => return Err(Malformed::Family),
    };
    let told = tlv::read_all(tlvs, header)?;
    Ok(Some(Header { len, addresses, authority: told.authority, tls: told.tls }))
}

fn ipv4(body: &[u8]) -> Result<(Addresses, &[u8]), Malformed> {
    let (from, rest) = body.split_first_chunk::<4>().ok_or(Malformed::Length)?;
    let (to, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Length)?;
    let (ports, rest) = rest.split_first_chunk().ok_or(Malformed::Length)?;
    let (from, to) = (Ipv4Addr::from(*from), Ipv4Addr::from(*to));
    Ok((inet(from.into(), to.into(), ports), rest))
}

fn ipv6(body: &[u8]) -> Result<(Addresses, &[u8]), Malformed> {
    let (from, rest) = body.split_first_chunk::<16>().ok_or(Malformed::Length)?;
    let (to, rest) = rest.split_first_chunk::<16>().ok_or(Malformed::Length)?;
    let (ports, rest) = rest.split_first_chunk().ok_or(Malformed::Length)?;
    let (from, to) = (Ipv6Addr::from(*from), Ipv6Addr::from(*to));
    Ok((inet(from.into(), to.into(), ports), rest))
}

fn inet(from: std::net::IpAddr, to: std::net::IpAddr, ports: &[u8; 4]) -> Addresses {
    let [a, b, c, d] = *ports;
    Addresses::Inet {
        source: SocketAddr::new(from, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(to, u16::from_be_bytes([c, d])),
    }
}

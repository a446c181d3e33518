//! Whom proxies in front of the broker name as the client.

use std::net::{IpAddr, SocketAddr};

use httparse::Header;

use super::request::values;
use crate::range::IpRange;

/// The client whom the proxy at `from` speaks for; `None` if it is not trusted, names nobody, or what it says is no address.
///
/// `X-Forwarded-For` is read from its end, where the nearest proxy wrote, and only as far as each entry is that of
/// another trusted proxy: what stands before may be the client's invention. `X-Real-IP` counts where the other is missing.
pub(super) fn client(
    headers: &[Header<'_>],
    from: Option<IpAddr>,
    trusted: &[IpRange],
) -> Option<SocketAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    from.filter(|from| is_trusted(*from))?;
    let mut entries = values(headers, "x-forwarded-for")
        .rev()
        .flat_map(|value| value.rsplit(|byte| *byte == b','))
        .peekable();
    if entries.peek().is_none() {
        return values(headers, "x-real-ip").next_back().and_then(address);
    }
    let mut client = None;
    for entry in entries {
        let Some(named) = address(entry) else { break };
        client = Some(named);
        if !is_trusted(named.ip()) {
            break;
        }
    }
    client
}

/// An address, in brackets if it likes, with a port or without.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().map(|address| SocketAddr::new(address, 0))
}

//! Reading a header before anything else.

use super::{Addresses, Header, Malformed, parse};
use crate::door::Opened;
use crate::peer::{Peer, ProxyFacts};
use crate::range::IpRange;
use crate::refusal::{Refusal, Refused};

/// Bytes of a header that are asked for at once.
const READ_BYTES: usize = 512;

/// Who may say on whose behalf it connects. Everybody else is refused: on such a listener a client that connects by itself
/// could otherwise claim any address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProxySources {
    /// The addresses of the proxies. Whoever may open a Unix socket is trusted: the mode of its file says who that is.
    pub trusted: Vec<IpRange>,
}

/// Reads the header that has to be there, and takes from it who the client is.
pub(crate) async fn accept(mut opened: Opened, sources: &ProxySources) -> Result<Opened, Refused> {
    let address = opened.peer.address;
    let is_trusted = address
        .is_none_or(|address| sources.trusted.iter().any(|range| range.contains(address.ip())));
    if !is_trusted {
        return Err(Refused::new(Refusal::ProxyUntrusted, address));
    }
    let len = loop {
        match parse(&opened.received) {
            Ok(Some(header)) => {
                tell(&header, &mut opened.peer);
                break header.len;
            }
            Ok(None) => {}
            Err(malformed) => {
                return Err(Refused::because(malformed.refusal(), address, malformed));
            }
        }
        opened.read(READ_BYTES).await.map_err(|why| Refused::new(why, address))?;
    };
    opened.received.drain(..len);
    Ok(opened)
}

fn tell(header: &Header<'_>, peer: &mut Peer) {
    let proxy = peer.address;
    match header.addresses {
        Addresses::Own => {}
        Addresses::Inet { source, .. } => peer.address = Some(source),
        Addresses::Unix => peer.address = None,
    }
    let tls = header.tls.unwrap_or_default();
    peer.details_mut().proxy = Some(ProxyFacts {
        address: proxy,
        common_name: tls.common_name.filter(|_| tls.is_verified).map(Into::into),
        server_name: header.authority.map(Into::into),
        tls_version: tls.version.map(Into::into),
    });
}

impl Malformed {
    /// What is counted.
    #[must_use]
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::Missing => Refusal::ProxyMissing,
            Self::TooLarge => Refusal::ProxyTooLarge,
            Self::Version
            | Self::Command
            | Self::Family
            | Self::Fields
            | Self::Address
            | Self::Port
            | Self::Length
            | Self::Tlv
            | Self::Text
            | Self::Checksum => Refusal::ProxyInvalid,
        }
    }
}

//! Who is at the other end, as a connection keeps it.

use std::net::{SocketAddr, SocketAddrV4};

use dunlin_transport::{Peer, Transport};

/// What is known of the peer. Nearly all come by TCP and IPv4, and cost 16 bytes instead of 48.
#[derive(Debug)]
pub(super) enum Remote {
    /// Plain TCP, where nothing but the address is known.
    Tcp(SocketAddrV4),
    Other(Box<Peer>),
}

impl Remote {
    /// As it was accepted.
    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(address) => Peer::tcp((*address).into()),
            Self::Other(peer) => Peer::clone(peer),
        }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some((*address).into()),
            Self::Other(peer) => peer.address,
        }
    }

    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Tcp(_) => Transport::Tcp,
            Self::Other(peer) => peer.transport,
        }
    }
}

impl From<Peer> for Remote {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer {
                address: Some(SocketAddr::V4(address)),
                transport: Transport::Tcp,
                details: None,
            } => Self::Tcp(address),
            peer => Self::Other(Box::new(peer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_of_a_peer() {
        let tcp = |address: &str| Peer::tcp(address.parse().unwrap());
        let mut proven = tcp("192.0.2.1:1883");
        proven.details_mut().proxy = None;
        let unix = Peer { transport: Transport::Unix, ..Peer::default() };
        for peer in [tcp("192.0.2.1:1883"), tcp("[2001:db8::1]:1883"), proven, unix] {
            let remote = Remote::from(peer.clone());
            assert_eq!(remote.peer(), peer);
            assert_eq!((remote.address(), remote.transport()), (peer.address, peer.transport));
        }
        assert!(size_of::<Remote>() <= 16);
    }
}

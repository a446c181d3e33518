//! Where a listener listens.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a listener listens: an address, a Unix socket, or a socket that the service manager opened.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// A TCP address, written `127.0.0.1:1883`. Port 0 takes a free port.
    Tcp(SocketAddr),
    /// A UDP address for MQTT over QUIC, written `quic:0.0.0.0:14567`. It needs a certificate.
    Quic(SocketAddr),
    /// The file of a Unix socket, written `unix:/run/dunlin/mqtt.sock`.
    Unix(PathBuf),
    /// The sockets that the service manager hands over under this name, written `systemd:mqtt`.
    Inherited(String),
}

impl Endpoint {
    /// Whether only this machine can reach it: 127.0.0.0/8, ::1, a Unix socket. Of a socket that is handed over it is not
    /// known beforehand, so it counts as one that others reach.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) | Self::Quic(address) => is_loopback(address.ip()),
            Self::Unix(_) => true,
            Self::Inherited(_) => false,
        }
    }

    /// The address of TCP or UDP, if it is one.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Quic(address) => Some(*address),
            Self::Unix(_) | Self::Inherited(_) => None,
        }
    }

    /// Whether two listeners cannot both have it. Port 0 takes a new port each time.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        self == other && self.address().is_none_or(|address| address.port() != 0)
    }
}

/// An IPv4 address that is written as IPv6 counts as the IPv4 address.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Quic(address) => write!(f, "quic:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// A text that names no endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not an IP address with a port, the same after `quic:`, `unix:` with an absolute path, or `systemd:` with a name"
)]
pub struct InvalidEndpoint;

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(InvalidEndpoint)
            };
        }
        if let Some(address) = text.strip_prefix("quic:") {
            return address.parse().map(Self::Quic).map_err(|_| InvalidEndpoint);
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            let legal = !name.is_empty() && !name.contains(':');
            return if legal { Ok(Self::Inherited(name.to_owned())) } else { Err(InvalidEndpoint) };
        }
        text.parse().map(Self::Tcp).map_err(|_| InvalidEndpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for (text, local) in [
            ("127.0.0.1:1883", true),
            ("[::1]:0", true),
            ("0.0.0.0:1883", false),
            ("quic:0.0.0.0:14567", false),
            ("unix:/run/dunlin/mqtt.sock", true),
            ("systemd:mqtt", false),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.to_string().as_str(), endpoint.is_local()), (text, local));
        }
        for text in [
            "",
            "1883",
            "127.0.0.1",
            "unix:",
            "unix:mqtt.sock",
            "systemd:",
            "systemd:a:b",
            "host:1",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(InvalidEndpoint), "{text}");
        }
    }
}

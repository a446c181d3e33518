//! The PROXY protocol, versions 1 and 2: what a proxy says first about the client behind it.
//!
//! [`parse`] reads a header from the bytes that have arrived so far. It allocates nothing and keeps nothing: text and
//! values are borrowed from the input.
//!
//! ```
//! use dunlin_transport::proxy::{Addresses, parse};
//!
//! let input = b"PROXY TCP4 192.0.2.7 203.0.113.1 50000 1883\r\n\x10\x0c";
//! assert_eq!(parse(&input[..20])?, None);
//! let header = parse(input)?.expect("it is complete");
//! let (source, destination) = ("192.0.2.7:50000".parse()?, "203.0.113.1:1883".parse()?);
//! assert_eq!(header.addresses, Addresses::Inet { source, destination });
//! assert_eq!(&input[header.len..], b"\x10\x0c");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A header says what it wants, and nothing in it can be checked: whoever calls this has made sure that the connection
//! comes from a proxy it trusts.
//!
//! # Limits
//!
//! A header of v1 has at most [`V1_BYTES_MAX`] bytes, as its specification says, one of v2 at most [`V2_BYTES_MAX`].

mod accept;
mod tlv;
mod v1;
mod v2;

use std::net::SocketAddr;

pub use accept::ProxySources;
pub(crate) use accept::accept;
pub use v1::V1_BYTES_MAX;
pub use v2::V2_BYTES_MAX;

/// A complete header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header<'a> {
    /// Bytes it took.
    pub len: usize,
    /// Between whom the connection is that the proxy forwards.
    pub addresses: Addresses,
    /// The server name that the client asked the proxy for: SNI, mostly.
    pub authority: Option<&'a str>,
    /// What the proxy says of TLS between the client and itself, if it speaks of it.
    pub tls: Option<ProxiedTls<'a>>,
}

/// Between whom a forwarded connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addresses {
    /// The proxy connects for itself, as for a health check, or does not know: the socket's own addresses hold.
    Own,
    /// Over TCP.
    Inet {
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// Over a Unix socket of the proxy's machine; its paths say nothing here.
    Unix,
}

/// What a proxy says of TLS between a client and itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ProxiedTls<'a> {
    /// Whether the client connected by TLS.
    pub is_tls: bool,
    /// Whether the client presented a certificate, in this connection or in the session it resumed, and the proxy
    /// verified it.
    pub is_verified: bool,
    /// Version of TLS, in the proxy's words.
    pub version: Option<&'a str>,
    /// Common Name of the client's certificate. It proves nothing unless `is_verified`.
    pub common_name: Option<&'a str>,
}

/// Bytes that are no PROXY header. Follows: the end of the connection; there is nobody to answer to.
///
/// `Copy` and free of allocations, because an attacker can make them by the million.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The first bytes are neither those of v1 nor of v2.
    #[error("no PROXY header")]
    Missing,
    /// A header of v1 without an end in its first 107 bytes, or one of v2 above the limit.
    #[error("header is longer than the limit")]
    TooLarge,
    /// A version of the binary form that is not 2.
    #[error("version is not 2")]
    Version,
    /// A command other than LOCAL and PROXY.
    #[error("command is unknown")]
    Command,
    /// A family or transport that no connection to a broker has.
    #[error("address family or transport is not supported")]
    Family,
    /// Fields of v1 that are missing, too many, or not parted by single blanks.
    #[error("fields are missing or too many")]
    Fields,
    /// An address that is none of the family that was named.
    #[error("address is malformed")]
    Address,
    /// A port that is none.
    #[error("port is malformed")]
    Port,
    /// The length is too small for the addresses.
    #[error("length is too small for the addresses")]
    Length,
    /// A TLV reaches beyond what contains it, or has a length of its own that is wrong.
    #[error("TLV is malformed")]
    Tlv,
    /// Text in a TLV that is not UTF-8 or holds control characters.
    #[error("text in a TLV is malformed")]
    Text,
    /// The CRC-32C is another than that of the header.
    #[error("checksum is wrong")]
    Checksum,
}

/// Reads the header at the front of what has arrived; `None` while its end has not.
///
/// # Errors
///
/// [`Malformed`], as soon as the bytes show it.
pub fn parse(bytes: &[u8]) -> Result<Option<Header<'_>>, Malformed> {
    if v2::begins(bytes) {
        v2::parse(bytes)
    } else if v1::begins(bytes) {
        v1::parse(bytes)
    } else {
        Err(Malformed::Missing)
    }
}

#[cfg(test)]
mod tests;

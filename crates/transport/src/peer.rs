//! What is known of who is at the other end of a stream.

use std::fmt;
use std::net::SocketAddr;

/// The kind of stream a client came by, as it is told to operators.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Transport {
    /// Plain TCP.
    #[default]
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// A Unix socket.
    Unix,
    /// A stream of a QUIC connection.
    Quic,
}

impl Transport {
    /// The stable name, as in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
            Self::Quic => "quic",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who is at the other end. For a plain TCP client nothing is allocated.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Peer {
    /// The client's address, as a trusted proxy told it if there is one; none on a Unix socket.
    pub address: Option<SocketAddr>,
    /// How the client came in.
    pub transport: Transport,
    /// What the layers learned, if there were any.
    pub details: Option<Box<Details>>,
}

impl Peer {
    /// A client of a plain TCP socket.
    #[must_use]
    pub const fn tcp(address: SocketAddr) -> Self {
        Self { address: Some(address), transport: Transport::Tcp, details: None }
    }

    /// What the layers learned, to be added to.
    pub fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_with(Box::default)
    }

    /// The certificate that the client proved to hold.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.details.as_ref()?.certificate.as_ref()
    }
}

/// What the layers between the socket and MQTT learned of a client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Details {
    /// What was agreed on in the TLS or QUIC handshake.
    pub tls: Option<TlsFacts>,
    /// The certificate that the client proved to hold, verified against the listener's authorities.
    pub certificate: Option<Certificate>,
    /// Who owns the process at the other end of a Unix socket.
    pub credentials: Option<Credentials>,
    /// What a trusted proxy said.
    pub proxy: Option<ProxyFacts>,
    /// The request that became a WebSocket.
    pub websocket: Option<WebSocketFacts>,
}

/// What was agreed on in a TLS handshake.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: &'static str,
    /// The name the client asked for.
    pub server_name: Option<Box<str>>,
    /// The protocol agreed on by ALPN.
    pub alpn: Option<Box<str>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// What a client's certificate says of its holder.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certificate {
    /// The subject's Common Name; the last one if there are several.
    pub common_name: Option<Box<str>>,
    /// The subject's Distinguished Name, most specific part last, as RFC 4514 escapes it but in the certificate's order.
    pub distinguished_name: Box<str>,
    /// DNS names among the subject's alternative names.
    pub dns_names: Vec<Box<str>>,
    /// URIs among the subject's alternative names.
    pub uris: Vec<Box<str>>,
    /// E-mail addresses among the subject's alternative names.
    pub emails: Vec<Box<str>>,
    /// The serial number in lower-case hexadecimal digits, two for each byte.
    pub serial: Box<str>,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

/// Who owns the process at the other end of a Unix socket, as the kernel says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Credentials {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The process, where the system tells it.
    pub pid: Option<i32>,
}

/// What a trusted proxy said of the client in front of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProxyFacts {
    /// The proxy's own address, from which the socket came.
    pub address: Option<SocketAddr>,
    /// Common Name of a client certificate that the proxy verified.
    pub common_name: Option<Box<str>>,
    /// The server name the client asked the proxy for.
    pub server_name: Option<Box<str>>,
    /// The TLS version between client and proxy, in the proxy's words.
    pub tls_version: Option<Box<str>>,
}

/// What is worth knowing of the request that became a WebSocket.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WebSocketFacts {
    /// The path without its query.
    pub path: Box<str>,
    /// The page that opened it, if a browser said so.
    pub origin: Option<Box<str>>,
    /// The subprotocol agreed on; none if the client named none and that was accepted.
    pub subprotocol: Option<Box<str>>,
}

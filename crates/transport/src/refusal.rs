//! Why a client did not get through a door.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// The reasons, each counted by itself.
macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $sentence:literal;)*) => {
        /// Why a connection ended before its first byte of MQTT.
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Refusal {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Refusal {
            /// Every reason, in the order of the metrics.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name, as in logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// One sentence for the log, without its full stop.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$variant => $sentence,)*
                }
            }
        }
    };
}

refusals! {
    /// The layers' handshakes were not done by the listener's deadline.
    HandshakeTimeout = "handshake_timeout",
        "the handshakes before MQTT took too long";
    /// So many clients were in their handshakes that this one's turn did not come by its deadline.
    QueueTimeout = "handshake_queue_timeout",
        "the client waited too long for its turn to begin the handshake";
    /// The peer closed, or its network failed, in the middle of a handshake.
    Closed = "closed_in_handshake",
        "the peer closed the connection before the handshake was done";
    /// The first bytes on a port for TLS alone are no TLS.
    PlainOnTls = "plain_bytes_on_tls_port",
        "the client sent plain bytes to a port that speaks TLS only";
    /// The first bytes on a port without TLS are a TLS ClientHello.
    TlsOnPlain = "tls_on_plain_port",
        "the client began TLS on a port that speaks plain MQTT only";
    /// The first bytes on a port for MQTT alone are an HTTP request.
    HttpOnPlain = "http_on_mqtt_port",
        "the client sent an HTTP request to a port without WebSocket";
    /// Client and listener have no TLS version in common.
    TlsVersion = "tls_version",
        "the client offers no TLS version that this listener accepts";
    /// Client and listener have no cipher suite, group or signature scheme in common.
    TlsParameters = "tls_no_common_parameters",
        "client and listener have no cipher suite, key exchange or signature scheme in common";
    /// The client names protocols by ALPN, and none is spoken here.
    TlsAlpn = "tls_no_common_protocol",
        "the client asks by ALPN for a protocol that this listener does not speak";
    /// The client broke the rules of TLS.
    TlsError = "tls_error",
        "the TLS handshake failed";
    /// The client does not trust the listener's certificate, or ended the handshake with another alert.
    TlsAlert = "tls_alert_from_client",
        "the client ended the TLS handshake with an alert";
    /// The listener wants a client certificate and got none.
    CertificateMissing = "client_certificate_missing",
        "the client sent no certificate and this listener requires one";
    /// The client's certificate, or one above it, is not valid any more.
    CertificateExpired = "client_certificate_expired",
        "the client's certificate has expired";
    /// The client's certificate, or one above it, is not valid yet.
    CertificateNotYetValid = "client_certificate_not_yet_valid",
        "the client's certificate is not valid yet";
    /// A revocation list names the client's certificate, or one above it.
    CertificateRevoked = "client_certificate_revoked",
        "the client's certificate is revoked";
    /// No authority of the listener issued the client's certificate.
    CertificateUnknownIssuer = "client_certificate_unknown_issuer",
        "the client's certificate was issued by no authority that this listener trusts";
    /// The client's certificate is of no use here for another reason.
    CertificateInvalid = "client_certificate_invalid",
        "the client's certificate is not acceptable";
    /// A trusted source that has to begin with a PROXY header did not.
    ProxyMissing = "proxy_header_missing",
        "the connection did not begin with a PROXY header";
    /// The PROXY header breaks its format.
    ProxyInvalid = "proxy_header_invalid",
        "the PROXY header is malformed";
    /// The PROXY header is longer than is accepted.
    ProxyTooLarge = "proxy_header_too_large",
        "the PROXY header is too large";
    /// A source that is not trusted sent a PROXY header or connected to a port for proxies only.
    ProxyUntrusted = "proxy_untrusted_source",
        "the address is not among the trusted proxies of this listener";
    /// The first bytes are a PROXY header, on a listener that is not there for proxies.
    ProxyUnexpected = "proxy_header_unexpected",
        "the connection began with a PROXY header, which this listener does not take";
    /// The first bytes are MQTT, on a port for WebSocket alone.
    MqttOnWebSocket = "mqtt_on_websocket_port",
        "the client sent MQTT without WebSocket to a port that speaks WebSocket only";
    /// The first bytes belong to no protocol of the listener.
    ProtocolUnknown = "protocol_unknown",
        "the first bytes belong to no protocol of this listener";
    /// The HTTP request's head is longer than is accepted.
    HttpTooLarge = "http_head_too_large",
        "the head of the HTTP request is too large";
    /// The HTTP request's head breaks its format.
    HttpInvalid = "http_head_invalid",
        "the head of the HTTP request is malformed";
    /// An HTTP request that asks for no WebSocket.
    HttpNotUpgrade = "http_no_websocket_request",
        "the HTTP request asks for no WebSocket";
    /// A WebSocket request for a path that is not served.
    WebSocketPath = "websocket_path",
        "the WebSocket request is for a path that is not served";
    /// A WebSocket request from a page whose origin is not allowed.
    WebSocketOrigin = "websocket_origin",
        "the WebSocket request comes from a page whose origin is not allowed";
    /// A WebSocket request that names no subprotocol of MQTT.
    WebSocketSubprotocol = "websocket_subprotocol",
        "the WebSocket request names no subprotocol of MQTT";
    /// A WebSocket request of another version than 13, or without a proper key.
    WebSocketInvalid = "websocket_request_invalid",
        "the WebSocket request is malformed";
    /// The socket failed.
    Io = "socket_failed",
        "the socket failed before the handshake was done";
}

impl Refusal {
    /// What a failed read or write of a socket counts as.
    pub(crate) fn of(error: &io::Error) -> Self {
        let is_closed = matches!(
            error.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::NotConnected
                | ErrorKind::UnexpectedEof
        );
        if is_closed { Self::Closed } else { Self::Io }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A client that did not get through: why, in which words, and where it came from.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}{}{detail}", why.sentence(), if detail.is_empty() { "" } else { ": " })]
pub struct Refused {
    /// The reason, for the counters.
    pub why: Refusal,
    /// What exactly was wrong, where there is more to say; without anything secret, and short.
    pub detail: Box<str>,
    /// The client's address as far as it was known when it was refused.
    pub address: Option<SocketAddr>,
}

impl Refused {
    /// A refusal that its reason explains. Nothing is allocated.
    #[must_use]
    pub fn new(why: Refusal, address: Option<SocketAddr>) -> Self {
        Self { why, detail: Box::default(), address }
    }

    /// A refusal with more to say.
    #[must_use]
    pub fn because(why: Refusal, address: Option<SocketAddr>, detail: impl fmt::Display) -> Self {
        Self { why, detail: detail.to_string().into(), address }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_for_metrics_and_sentences_for_people() {
        let names: HashSet<_> = Refusal::ALL.iter().map(|why| why.name()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        for why in Refusal::ALL {
            assert!(why.name().bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{why}");
            assert!(!why.sentence().ends_with('.'), "{why}");
        }
        let address = "192.0.2.7:5000".parse().ok();
        let refused = Refused::because(Refusal::TlsError, address, "a record is too large");
        assert_eq!(refused.to_string(), "the TLS handshake failed: a record is too large");
        let refused = Refused::new(Refusal::HandshakeTimeout, address);
        assert_eq!(refused.to_string(), "the handshakes before MQTT took too long");
    }
}

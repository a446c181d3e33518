//! Requests that become no WebSocket, and what they are told.

use crate::refusal::Refusal;

/// Why a request becomes no WebSocket. Follows: [`HttpRefusal::answer`], then the end.
///
/// `Copy` and free of allocations, because an attacker can make them by the million.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpRefusal {
    /// The head is longer than the limit, or has too many fields.
    #[error("the head of the request is too large")]
    TooLarge,
    /// The head is no HTTP/1.
    #[error("the head of the request is not HTTP/1")]
    Malformed,
    /// The request has a body.
    #[error("the request has a body")]
    Body,
    /// Another method than GET.
    #[error("the method is not GET")]
    Method,
    /// A request that asks for no WebSocket.
    #[error("the request asks for no WebSocket")]
    NotUpgrade,
    /// The path is another.
    #[error("the path is not served")]
    Path,
    /// A WebSocket request in HTTP/1.0.
    #[error("the request for a WebSocket is not HTTP/1.1")]
    HttpVersion,
    /// The field `Host` is missing or there twice.
    #[error("the request has not one Host")]
    Host,
    /// `Sec-WebSocket-Version` is not 13.
    #[error("the version of WebSocket is not 13")]
    Version,
    /// `Sec-WebSocket-Key` is not 16 bytes in base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    /// The request comes from a page whose origin is not allowed.
    #[error("the origin is not allowed")]
    Origin,
    /// No subprotocol of MQTT is named.
    #[error("no subprotocol of MQTT is named")]
    Subprotocol,
}

impl HttpRefusal {
    /// What is counted.
    #[must_use]
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::TooLarge => Refusal::HttpTooLarge,
            Self::Malformed | Self::Body => Refusal::HttpInvalid,
            Self::Method | Self::NotUpgrade => Refusal::HttpNotUpgrade,
            Self::Path => Refusal::WebSocketPath,
            Self::HttpVersion | Self::Host | Self::Version | Self::Key => Refusal::WebSocketInvalid,
            Self::Origin => Refusal::WebSocketOrigin,
            Self::Subprotocol => Refusal::WebSocketSubprotocol,
        }
    }

    /// Status line, the fields that belong to it, and one line of help.
    pub(super) const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::TooLarge => (
                "431 Request Header Fields Too Large",
                "",
                "The head of this request is larger than this server takes.",
            ),
            Self::Malformed => ("400 Bad Request", "", "This is not a request of HTTP/1.1."),
            Self::Body => ("400 Bad Request", "", "A request for a WebSocket has no body."),
            Self::Method => ("405 Method Not Allowed", "Allow: GET\r\n", HELP),
            Self::NotUpgrade => ("426 Upgrade Required", UPGRADE, HELP),
            Self::Path => {
                ("404 Not Found", "", "There is no MQTT at this path; /mqtt is the usual one.")
            }
            Self::HttpVersion => ("426 Upgrade Required", UPGRADE, "A WebSocket needs HTTP/1.1."),
            Self::Host => ("400 Bad Request", "", "A request of HTTP/1.1 has one Host."),
            Self::Version => {
                ("426 Upgrade Required", UPGRADE, "Only version 13 of WebSocket is spoken here.")
            }
            Self::Key => ("400 Bad Request", "", "Sec-WebSocket-Key has to be 16 bytes in base64."),
            Self::Origin => (
                "403 Forbidden",
                "",
                "Pages of this origin may not connect here: see allowed_origins of the listener.",
            ),
            Self::Subprotocol => (
                "400 Bad Request",
                "",
                "Name the subprotocol: Sec-WebSocket-Protocol: mqtt (or mqttv3.1).",
            ),
        }
    }
}

const UPGRADE: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
const HELP: &str = "This is an MQTT broker: connect with a WebSocket client, subprotocol mqtt, path /mqtt unless configured otherwise.";

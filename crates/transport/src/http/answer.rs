//! Answers to requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::HttpRefusal;

/// What RFC 6455 s1.3 has appended to the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl HttpRefusal {
    /// What the client is told before the connection closes.
    #[must_use]
    pub fn answer(self) -> Vec<u8> {
        let (status, fields, help) = self.words();
        // `Upgrade` is for the next hop only, and so has to be named in `Connection`.
        let connection = if fields.starts_with("Upgrade:") { "Upgrade, close" } else { "close" };
        let len = help.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\n{fields}Connection: {connection}\r\n\
             Content-Type: text/plain\r\nContent-Length: {len}\r\n\r\n{help}\n"
        )
        .into_bytes()
    }
}

/// The answer that makes the connection a WebSocket. `key` is as the client sent it.
pub(super) fn switching(key: &[u8], subprotocol: Option<&str>) -> Vec<u8> {
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    let (name, subprotocol, end) = match subprotocol {
        Some(subprotocol) => ("Sec-WebSocket-Protocol: ", subprotocol, "\r\n"),
        None => ("", "", ""),
    };
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{name}{subprotocol}{end}\r\n"
    )
    .into_bytes()
}

/// Whether a key is 16 bytes in base64.
pub(super) fn is_key(key: &[u8]) -> bool {
    // With room for what a text of 24 characters could decode to.
    let mut nonce = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}

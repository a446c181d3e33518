//! A request, as it arrives in pieces.

use std::net::{IpAddr, SocketAddr};

use super::{HttpRefusal, UpgradeRules, request};
use crate::peer::WebSocketFacts;

/// A request that may become a WebSocket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upgrade {
    /// Bytes of the last input that belonged to the request. What follows are frames.
    pub consumed: usize,
    /// What to answer.
    pub answer: Vec<u8>,
    /// What the request said.
    pub facts: WebSocketFacts,
    /// The client, if a trusted proxy named one. The port is 0 if it named none.
    pub client: Option<SocketAddr>,
}

/// A request on its way.
#[derive(Debug, Default)]
pub struct Handshake {
    /// What has arrived, at most [`UpgradeRules::head_bytes_max`] bytes.
    pub(super) head: Vec<u8>,
}

impl Handshake {
    /// Takes what has arrived; `None` while the head has no end. `from` is the address at the other end.
    ///
    /// # Errors
    ///
    /// [`HttpRefusal`]: its answer is sent, then the connection closes.
    pub fn receive(
        &mut self,
        input: &[u8],
        rules: &UpgradeRules,
        from: Option<IpAddr>,
    ) -> Result<Option<Upgrade>, HttpRefusal> {
        let before = self.head.len();
        let room = rules.head_bytes_max.saturating_sub(before);
        self.head.extend_from_slice(input.get(..room).unwrap_or(input));
        let Some(end) = head_end(&self.head, before) else {
            let is_full = self.head.len() >= rules.head_bytes_max;
            return if is_full { Err(HttpRefusal::TooLarge) } else { Ok(None) };
        };
        let mut head = std::mem::take(&mut self.head);
        head.truncate(end);
        request::judge(&head, rules, from, end - before).map(Some)
    }
}

/// Where the head ends: behind its empty line. Nothing ends before the byte `from`. Lines may end with LF alone, as
/// RFC 9112 s2.2 lets a server take them.
fn head_end(head: &[u8], from: usize) -> Option<usize> {
    // An empty line that is complete only now began up to two bytes earlier.
    let mut at = from.saturating_sub(2);
    while let Some(feed) = head.get(at..)?.iter().position(|byte| *byte == b'\n') {
        at += feed + 1;
        match head.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

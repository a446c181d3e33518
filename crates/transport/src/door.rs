//! The layers of one listener, in the order in which they are taken off.

use std::time::Duration;

use crate::peer::Peer;
use crate::refusal::{Refusal, Refused};
use crate::stream::Stream;

/// How long all handshakes of one client may take together, unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(10);

/// The layers of one listener. It does not change: a listener that is changed gets another one, and whoever is inside the
/// old one goes on there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Door {
    /// How long all handshakes of one client may take together.
    pub deadline: Duration,
}

/// A client on its way through a door, or out of it.
#[derive(Debug)]
pub struct Opened {
    /// The stream as far as layers have been taken off.
    pub stream: Stream,
    /// What is known of the client so far.
    pub peer: Peer,
    /// What was read of the stream and is still to be taken in, before anything else is read.
    pub received: Vec<u8>,
}

impl Opened {
    /// A client whose socket was accepted and not yet read.
    #[must_use]
    pub const fn new(stream: Stream, peer: Peer) -> Self {
        Self { stream, peer, received: Vec::new() }
    }
}

impl Default for Door {
    /// A door without layers.
    fn default() -> Self {
        Self { deadline: DEADLINE }
    }
}

impl Door {
    /// Whether there are no layers: clients need no step and no task of their own to get in.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        true
    }

    /// Takes off the layers.
    ///
    /// # Errors
    ///
    /// [`Refused`], after the peer was told as far as its protocol has words for it. The socket is closed.
    pub async fn open(&self, accepted: Opened) -> Result<Opened, Refused> {
        if self.is_plain() {
            return Ok(accepted);
        }
        let address = accepted.peer.address;
        tokio::time::timeout(self.deadline, self.steps(accepted))
            .await
            .unwrap_or_else(|_| Err(Refused::new(Refusal::HandshakeTimeout, address)))
    }

    async fn steps(&self, opened: Opened) -> Result<Opened, Refused> {
        Ok(opened)
    }
}

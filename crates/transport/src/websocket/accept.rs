//! From a request to a WebSocket.

use std::time::Duration;

use super::Framer;
use super::stream::WebSocket;
use crate::door::Opened;
use crate::http::{Handshake, HttpRefusal, Upgrade, UpgradeRules};
use crate::peer::{ProxyFacts, Transport};
use crate::refusal::{Refusal, Refused};
use crate::stream::Stream;

/// Bytes of a request that are asked for at once.
const READ_BYTES: usize = 2048;
/// How long a client that was refused may take to read why, and how much it may send meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// Reads a request, answers it, and puts the WebSocket's layer on the stream. Frames that have come with the request are
/// plain bytes in [`Opened::received`].
pub(crate) async fn accept(mut opened: Opened, rules: &UpgradeRules) -> Result<Opened, Refused> {
    let upgrade = match request(&mut opened, rules).await? {
        Ok(upgrade) => upgrade,
        Err(refusal) => return Err(refuse(opened, refusal).await),
    };
    if let Err(error) = opened.stream.write_all(&upgrade.answer).await {
        return Err(Refused::because(Refusal::Io, opened.peer.address, error));
    }
    let mut framer = Framer::default();
    let plain = framer.receive(&mut opened.received).plain;
    opened.received.truncate(plain);
    opened.stream = Stream::Layered(Box::new(WebSocket::new(opened.stream, framer)));
    opened.peer.transport = match opened.peer.transport {
        Transport::Tls | Transport::Wss => Transport::Wss,
        Transport::Tcp | Transport::Ws | Transport::Unix | Transport::Quic => Transport::Ws,
    };
    if let Some(client) = upgrade.client {
        let proxy = opened.peer.address.replace(client);
        let facts = opened.peer.details_mut().proxy.get_or_insert_with(ProxyFacts::default);
        facts.address = facts.address.or(proxy);
    }
    opened.peer.details_mut().websocket = Some(upgrade.facts);
    Ok(opened)
}

/// Reads a request. What came behind it stays in [`Opened::received`].
async fn request(
    opened: &mut Opened,
    rules: &UpgradeRules,
) -> Result<Result<Upgrade, HttpRefusal>, Refused> {
    let address = opened.peer.address;
    let from = address.map(|address| address.ip());
    let mut handshake = Handshake::default();
    loop {
        if !opened.received.is_empty() {
            match handshake.receive(&opened.received, rules, from) {
                Ok(Some(upgrade)) => {
                    opened.received.drain(..upgrade.consumed);
                    return Ok(Ok(upgrade));
                }
                Ok(None) => opened.received.clear(),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        opened.read(READ_BYTES).await.map_err(|why| Refused::new(why, address))?;
    }
}

/// Tells a client why it is refused, and gives it time to read that: a socket that is closed with bytes unread takes
/// back what was written last.
async fn refuse(mut opened: Opened, refusal: HttpRefusal) -> Refused {
    let linger = async {
        opened.stream.write_all(&refusal.answer()).await?;
        opened.stream.shutdown().await?;
        let (mut scratch, mut taken) = (vec![0; READ_BYTES], 0);
        while taken < LINGER_BYTES_MAX {
            match opened.stream.read(&mut scratch).await? {
                0 => break,
                count => taken += count,
            }
        }
        std::io::Result::Ok(())
    };
    // It makes no difference any more.
    let _ = tokio::time::timeout(LINGER, linger).await;
    Refused::because(refusal.refusal(), opened.peer.address, refusal)
}

//! The layers of one listener, in the order in which they are taken off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::http::UpgradeRules;
use crate::peer::Peer;
use crate::proxy::{self, ProxySources};
#[cfg(feature = "quic")]
use crate::quic::{self, QuicOptions};
use crate::refusal::{Refusal, Refused};
use crate::sniff::{Sniffed, sniff};
use crate::stream::Stream;
#[cfg(feature = "tls")]
use crate::tls;
use crate::tls::Tls;
#[cfg(feature = "websocket")]
use crate::websocket;

/// How long all handshakes of one client may take together, unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(10);

/// Bytes that are asked for at once to see what they are; a request of HTTP is mostly here with them.
const FIRST_BYTES: usize = 2048;

/// The layers of one listener. It does not change: a listener that is changed gets another one, and whoever is inside the
/// old one goes on there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Door {
    /// How long all handshakes of one client may take together.
    pub deadline: Duration,
    /// Set if each connection begins with a PROXY header, and then who may send one.
    pub proxy: Option<ProxySources>,
    /// Set if TLS is spoken.
    pub tls: Option<Arc<Tls>>,
    /// How QUIC is spoken with clients that come by it. They need `tls`, and no other layer.
    #[cfg(feature = "quic")]
    pub quic: QuicOptions,
    /// What is spoken within TLS, or without it.
    pub protocol: Protocol,
}

/// What is spoken on a listener.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Protocol {
    /// MQTT and nothing else.
    #[default]
    Mqtt,
    /// MQTT within WebSocket.
    WebSocket(UpgradeRules),
    /// Both, told apart by the first bytes.
    Auto(UpgradeRules),
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

    /// Reads once, at most `bytes_max` bytes, behind what was received already.
    pub(crate) async fn read(&mut self, bytes_max: usize) -> Result<(), Refusal> {
        let before = self.received.len();
        self.received.resize(before + bytes_max, 0);
        let place = self.received.get_mut(before..).unwrap_or_default();
        let count = self.stream.read(place).await;
        self.received.truncate(before + *count.as_ref().unwrap_or(&0));
        match count {
            Ok(0) => Err(Refusal::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(Refusal::of(&error)),
        }
    }
}

impl Default for Door {
    /// A door without layers.
    fn default() -> Self {
        Self {
            deadline: DEADLINE,
            proxy: None,
            tls: None,
            #[cfg(feature = "quic")]
            quic: QuicOptions::default(),
            protocol: Protocol::Mqtt,
        }
    }
}

impl Door {
    /// Whether there are no layers: clients need no step and no task of their own to get in.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.tls.is_none() && self.proxy.is_none() && matches!(self.protocol, Protocol::Mqtt)
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

    async fn steps(&self, mut opened: Opened) -> Result<Opened, Refused> {
        #[cfg(feature = "quic")]
        if matches!(opened.stream, Stream::Quic(_)) {
            return match &self.tls {
                Some(tls) => quic::accept(opened, tls, &self.quic).await,
                None => Err(Refused::new(Refusal::ProtocolUnknown, opened.peer.address)),
            };
        }
        if let Some(sources) = &self.proxy {
            opened = proxy::accept(opened, sources).await?;
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            opened = tls::accept(opened, tls).await?;
        }
        match &self.protocol {
            Protocol::Mqtt => Ok(opened),
            #[cfg_attr(
                not(feature = "websocket"),
                expect(unused_variables, reason = "there is nothing to ask them")
            )]
            Protocol::WebSocket(rules) | Protocol::Auto(rules) => {
                let first = first(&mut opened).await?;
                #[cfg(feature = "websocket")]
                if first == Sniffed::Http {
                    return websocket::accept(opened, rules).await;
                }
                if first == Sniffed::Mqtt && matches!(self.protocol, Protocol::Auto(_)) {
                    Ok(opened)
                } else {
                    Err(foreign(first, opened.peer.address))
                }
            }
        }
    }
}

/// What the first bytes are instead of what is spoken.
fn foreign(sniffed: Sniffed, address: Option<SocketAddr>) -> Refused {
    let why = match sniffed {
        Sniffed::Tls => Refusal::TlsOnPlain,
        Sniffed::Proxy => Refusal::ProxyUnexpected,
        Sniffed::Mqtt => Refusal::MqttOnWebSocket,
        Sniffed::Http | Sniffed::Unknown => Refusal::ProtocolUnknown,
    };
    Refused::new(why, address)
}

/// Reads until it is known what the first bytes belong to.
async fn first(opened: &mut Opened) -> Result<Sniffed, Refused> {
    loop {
        if let Some(sniffed) = sniff(&opened.received) {
            return Ok(sniffed);
        }
        let address = opened.peer.address;
        opened.read(FIRST_BYTES).await.map_err(|why| Refused::new(why, address))?;
    }
}

//! The socket of a QUIC listener, and who knocks there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{EndpointConfig, ServerConfig, TokioRuntime};
use rustls::crypto::ring;
use rustls::server::ResolvesServerCertUsingSni;
use rustls::version::TLS13;
use socket2::Type;

use crate::acceptor::Bound;
use crate::address;
use crate::door::Opened;
use crate::peer::{Peer, Transport};
use crate::stream::Stream;
use crate::tcp::ListenOptions;

use super::QuicStream;

/// Clients that wait to be accepted; further ones are refused.
const WAITING_MAX: usize = 1024;
/// Bytes held of one of them, and of all.
const WAITING_BYTES: u64 = 16 * 1024;
const WAITING_BYTES_ALL: u64 = 4 * 1024 * 1024;
/// From so many handshakes at once on, a client has to show that it receives what is sent to its address before anything
/// is computed for it (Retry).
const UNPROVEN_MAX: usize = 100;

/// Takes an address of UDP, with the rules of [`tcp::bind`](crate::tcp::bind). The backlog has no meaning here.
///
/// # Errors
///
/// Those of the system. An address that connections of an earlier listener still use is taken.
pub fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<Bound> {
    let socket = address::take(address, Type::DGRAM, options)?;
    Ok(Bound::Quic(socket.into()))
}

/// Dropped, it accepts nobody any more; who was let in stays.
#[derive(Debug)]
pub(crate) struct Endpoint {
    endpoint: quinn::Endpoint,
    /// One more for each handshake that is not over.
    handshakes: Arc<()>,
}

impl Endpoint {
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let endpoint = quinn::Endpoint::new(
            EndpointConfig::default(),
            Some(knocking()?),
            socket,
            Arc::new(TokioRuntime),
        )?;
        Ok(Self { endpoint, handshakes: Arc::new(()) })
    }

    /// The next client that knocks. Its handshake is the door's.
    pub(crate) async fn accept(&self) -> io::Result<Opened> {
        loop {
            let closed = || io::Error::from(io::ErrorKind::NotConnected);
            let incoming = self.endpoint.accept().await.ok_or_else(closed)?;
            let crowded = Arc::strong_count(&self.handshakes) > UNPROVEN_MAX;
            if crowded && incoming.may_retry() && !incoming.remote_address_validated() {
                // It comes back with the proof.
                let _ = incoming.retry();
                continue;
            }
            let peer = Peer {
                address: Some(incoming.remote_address()),
                transport: Transport::Quic,
                details: None,
            };
            let stream = QuicStream::knocking(incoming, Arc::clone(&self.handshakes));
            return Ok(Opened::new(Stream::Quic(Box::new(stream)), peer));
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.endpoint.set_server_config(None);
    }
}

/// What a client that knocks is read with. The keys of its first packet are known to everybody, so that no certificate is
/// needed yet; the door has them.
fn knocking() -> io::Result<ServerConfig> {
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    let crypto = QuicServerConfig::try_from(config).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .max_incoming(WAITING_MAX)
        .incoming_buffer_size(WAITING_BYTES)
        .incoming_buffer_size_total(WAITING_BYTES_ALL);
    Ok(config)
}

//! From a knock to the stream that the client opens.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Connection, ConnectionError, ServerConfig};
use rustls::pki_types::CertificateDer;

use crate::door::Opened;
use crate::peer::{Peer, TlsFacts};
use crate::refusal::{Refusal, Refused};
use crate::stream::Stream;
use crate::tls::{self, ALPN_MQTT, Tls};

use super::stream::Knock;
use super::{QuicOptions, QuicStream};

/// What a client whose certificate is not good any more is closed with: the code of a TLS alert, `access_denied`.
const CLOSE_REFUSED: u32 = 0x131;

/// Lets a client in: its handshake, then its stream.
pub(crate) async fn accept(
    mut opened: Opened,
    tls: &Tls,
    options: &QuicOptions,
) -> Result<Opened, Refused> {
    let address = opened.peer.address;
    let Stream::Quic(stream) = &mut opened.stream else {
        return Err(Refused::new(Refusal::ProtocolUnknown, address));
    };
    let Some(Knock { incoming, handshake }) = stream.take_knock() else {
        return Err(Refused::new(Refusal::Closed, address));
    };
    let loaded = tls.current();
    let mut crypto = (**loaded.config()).clone();
    crypto.alpn_protocols = vec![ALPN_MQTT.to_vec()];
    let crypto = QuicServerConfig::try_from(crypto)
        .map_err(|error| Refused::because(Refusal::TlsError, address, error))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(options.transport()));
    let connecting =
        incoming.accept_with(Arc::new(config)).map_err(|error| refusal_of(&error, address))?;
    let connection = connecting.await.map_err(|error| refusal_of(&error, address))?;
    learn(&connection, &mut opened.peer);
    let chain = identity(&connection);
    // Whether it was resumed is not told, so each is judged again.
    if let Err(error) = loaded.judge_again(&chain, tls.options().client_certificates) {
        connection.close(CLOSE_REFUSED.into(), b"");
        return Err(tls::refusal_of(&error, address));
    }
    let (send, receive) =
        connection.accept_bi().await.map_err(|error| refusal_of(&error, address))?;
    drop(handshake);
    opened.stream = Stream::Quic(Box::new(QuicStream::open(connection, send, receive)));
    Ok(opened)
}

fn learn(connection: &Connection, peer: &mut Peer) {
    let agreed = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let (alpn, server_name) = agreed.map_or((None, None), |data| (data.protocol, data.server_name));
    let certificate = identity(connection).first().and_then(|first| tls::certificate(first));
    let details = peer.details_mut();
    details.certificate = certificate;
    details.tls = Some(TlsFacts {
        version: "TLSv1.3",
        server_name: server_name.map(Into::into),
        alpn: alpn.map(|name| String::from_utf8_lossy(&name).into()),
        ..TlsFacts::default()
    });
}

fn identity(connection: &Connection) -> Vec<CertificateDer<'static>> {
    let identity = connection.peer_identity();
    identity.and_then(|chain| chain.downcast().ok()).map_or_else(Vec::new, |chain| *chain)
}

/// The reason that a lost connection is counted as, before it was one.
fn refusal_of(error: &ConnectionError, address: Option<SocketAddr>) -> Refused {
    let why = match error {
        ConnectionError::TransportError(error) => alert_refusal(error.code.into(), &error.reason),
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code.into()) {
            Some(_) => Refusal::TlsAlert,
            None => Refusal::Closed,
        },
        ConnectionError::TimedOut => Refusal::HandshakeTimeout,
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed => Refusal::Closed,
        ConnectionError::VersionMismatch => Refusal::TlsVersion,
        ConnectionError::CidsExhausted => Refusal::Io,
    };
    Refused::because(why, address, error)
}

/// The alert in a code of QUIC, if it is one of TLS.
fn alert(code: u64) -> Option<u8> {
    code.checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
}

/// What was wrong with the client's handshake. QUIC keeps only the alert that was sent, by its number in RFC 8446 s6, and
/// the words.
fn alert_refusal(code: u64, words: &str) -> Refusal {
    match alert(code) {
        Some(44) => Refusal::CertificateRevoked,
        Some(45) if words.contains("not valid yet") => Refusal::CertificateNotYetValid,
        Some(45) => Refusal::CertificateExpired,
        Some(42 | 43 | 46) => Refusal::CertificateInvalid,
        Some(48) => Refusal::CertificateUnknownIssuer,
        // A signature that is not its issuer's is that of another authority by the same name.
        Some(51) if words.contains("invalid peer certificate") => Refusal::CertificateUnknownIssuer,
        Some(116) => Refusal::CertificateMissing,
        Some(120) => Refusal::TlsAlpn,
        Some(70) => Refusal::TlsVersion,
        Some(40) => Refusal::TlsParameters,
        Some(_) | None => Refusal::TlsError,
    }
}

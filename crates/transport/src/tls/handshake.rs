//! The handshake: from the first record to a session, or to a reason why not.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::UnbufferedServerConnection;
use rustls::{
    AlertDescription, CertificateError, CipherSuite, CommonState, Error, HandshakeKind,
    PeerIncompatible, ProtocolVersion,
};

use crate::door::Opened;
use crate::peer::{Peer, TlsFacts, Transport};
use crate::refusal::{Refusal, Refused};
use crate::sniff::{Sniffed, sniff};
use crate::stream::{Layer, Stream};

use super::session::Session;
use super::{ClientCertificates, Loaded, Tls, identity, sni};

/// Bytes that are read at once.
const READ_BYTES: usize = 4 * 1024;
/// Bytes of a client's handshake that are held at once; the largest message is its certificates'.
const HANDSHAKE_BYTES_MAX: usize = 80 * 1024;
/// After an alert: how long the peer may take to read it. Closed earlier, its system might throw it away unread.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes that are read meanwhile.
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// Takes off TLS.
pub(crate) async fn accept(opened: Opened, tls: &Tls) -> Result<Opened, Refused> {
    let Opened { stream, mut peer, received } = opened;
    let loaded = tls.current();
    let address = peer.address;
    let machine = UnbufferedServerConnection::new(Arc::clone(loaded.config()))
        .map_err(|error| refusal_of(&error, address))?;
    let mut session = Session::new(stream, machine, received);
    let mut asked_for = None;
    await_tls(&mut session, &peer).await?;
    loop {
        let advanced = session.advance();
        asked_for = sni::take_asked_for().or(asked_for);
        if let Err(error) = advanced {
            let refused = refusal_of(&error, address);
            part(session).await;
            return Err(refused);
        }
        poll_fn(|cx| session.poll_flush(cx)).await.map_err(|error| lost(&error, &peer))?;
        if !session.machine().is_handshaking() {
            break;
        }
        if session.incoming().len() > HANDSHAKE_BYTES_MAX {
            return Err(Refused::because(Refusal::TlsError, address, "a message is too large"));
        }
        read(&mut session, &peer).await?;
    }
    learn(session.machine(), asked_for, &mut peer);
    let machine = session.machine();
    let judged = match machine.handshake_kind() {
        Some(HandshakeKind::Resumed) => {
            let chain = machine.peer_certificates().unwrap_or_default();
            loaded.judge_again(chain, tls.options().client_certificates)
        }
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => Ok(()),
    };
    if let Err(error) = judged {
        let refused = refusal_of(&error, address);
        part(session).await;
        return Err(refused);
    }
    Ok(Opened { stream: Stream::Layered(Box::new(session)), peer, received: Vec::new() })
}

/// Reads until it is sure that the client speaks TLS at all.
async fn await_tls(session: &mut Session, peer: &Peer) -> Result<(), Refused> {
    loop {
        let what = match sniff(session.incoming()) {
            Some(Sniffed::Tls) => return Ok(()),
            Some(Sniffed::Mqtt) => "they are MQTT",
            Some(Sniffed::Http) => "they are HTTP",
            Some(Sniffed::Proxy) => {
                return Err(Refused::new(Refusal::ProxyUnexpected, peer.address));
            }
            Some(Sniffed::Unknown) => "they belong to no protocol that is known here",
            None => {
                read(session, peer).await?;
                continue;
            }
        };
        return Err(Refused::because(Refusal::PlainOnTls, peer.address, what));
    }
}

async fn read(session: &mut Session, peer: &Peer) -> Result<(), Refused> {
    match session.read_records(READ_BYTES).await {
        Ok(0) => Err(Refused::new(Refusal::Closed, peer.address)),
        Ok(_) => Ok(()),
        Err(error) => Err(lost(&error, peer)),
    }
}

fn lost(error: &io::Error, peer: &Peer) -> Refused {
    Refused::new(Refusal::of(error), peer.address)
}

/// Writes what is left to say, shuts our side, and waits for the peer to have read it.
async fn part(mut session: Session) {
    let told = async {
        poll_fn(|cx| session.poll_shutdown(cx)).await?;
        let mut read = 0;
        while read < LINGER_BYTES_MAX {
            session.discard_records();
            match session.read_records(READ_BYTES).await? {
                0 => break,
                count => read += count,
            }
        }
        Ok::<(), io::Error>(())
    };
    let _ = tokio::time::timeout(LINGER, told).await;
}

/// What the handshake told of the client.
fn learn(machine: &CommonState, asked_for: Option<Box<str>>, peer: &mut Peer) {
    peer.transport = Transport::Tls;
    let certificate = machine.peer_certificates().and_then(|chain| chain.first());
    let details = peer.details_mut();
    details.certificate = certificate.and_then(|first| identity::certificate(first));
    details.tls = Some(TlsFacts {
        version: version_name(machine.protocol_version()),
        cipher: machine.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite())),
        server_name: asked_for,
        alpn: machine.alpn_protocol().map(|name| String::from_utf8_lossy(name).into()),
        resumed: machine.handshake_kind() == Some(HandshakeKind::Resumed),
    });
}

impl Loaded {
    /// A ticket carries the certificate that was judged when the ticket was given. Since then it may have expired or been
    /// revoked, or the authorities may be others.
    pub(crate) fn judge_again(
        &self,
        chain: &[CertificateDer<'_>],
        wanted: ClientCertificates,
    ) -> Result<(), Error> {
        let Some(verifier) = &self.verifier else { return Ok(()) };
        match chain.split_first() {
            Some((first, others)) => {
                verifier.verify_client_cert(first, others, UnixTime::now()).map(|_| ())
            }
            None if wanted == ClientCertificates::Required => Err(Error::NoCertificatesPresented),
            None => Ok(()),
        }
    }
}

const fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(_) | None => "",
    }
}

/// The name in the register of IANA; the library's own differ for TLS 1.3.
fn cipher_name(suite: CipherSuite) -> &'static str {
    const RENAMED: [(CipherSuite, &str); 3] = [
        (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
        (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
        (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"),
    ];
    let renamed = RENAMED.iter().find(|(renamed, _)| *renamed == suite);
    renamed.map_or_else(|| suite.as_str().unwrap_or_default(), |(_, name)| name)
}

/// The reason that an error of the handshake is counted as.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other errors are of one kind")]
pub(crate) fn refusal_of(error: &Error, address: Option<SocketAddr>) -> Refused {
    let why = match error {
        Error::NoCertificatesPresented => Refusal::CertificateMissing,
        Error::NoApplicationProtocol => Refusal::TlsAlpn,
        Error::InvalidCertificate(error) => certificate_refusal(error),
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => Refusal::TlsVersion,
        Error::PeerIncompatible(_) => Refusal::TlsParameters,
        Error::AlertReceived(AlertDescription::CloseNotify) => Refusal::Closed,
        Error::AlertReceived(_) => Refusal::TlsAlert,
        _ => Refusal::TlsError,
    };
    match error {
        // The sentence says it all.
        Error::NoCertificatesPresented | Error::NoApplicationProtocol => Refused::new(why, address),
        Error::AlertReceived(alert) => {
            let name = alert.as_str().map_or_else(|| format!("{alert:?}"), str::to_owned);
            Refused::because(why, address, name)
        }
        error => Refused::because(why, address, error),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all other faults are of one kind")]
fn certificate_refusal(error: &CertificateError) -> Refusal {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Refusal::CertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Refusal::CertificateNotYetValid
        }
        CertificateError::Revoked => Refusal::CertificateRevoked,
        // A signature that is not its issuer's is that of another authority by the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Refusal::CertificateUnknownIssuer
        }
        _ => Refusal::CertificateInvalid,
    }
}

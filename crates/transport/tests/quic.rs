//! MQTT over QUIC as a client meets it, one of ours on quinn.
#![cfg(feature = "quic")]

mod pki;

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use dunlin_transport::tls::{ClientCertificates, TlsOptions};
use dunlin_transport::{Opened, Refusal, Refused, TlsFacts, Transport};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;

use pki::{Authority, Client, Files, Listener, Request, options};

const SERVER: &str = "mqtt.example.org";
const MQTT: &[&str] = &["mqtt"];

/// A client and its stream. It says hello, because a stream of QUIC is not there before something is said on it.
struct Stream {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    _endpoint: Endpoint,
}

async fn connect(
    listener: &Listener,
    authority: &Authority,
    client: Client<'_>,
) -> Result<Stream, ConnectionError> {
    let crypto = QuicClientConfig::try_from(authority.client(client)).expect("TLS 1.3");
    let endpoint =
        Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let config = ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, listener.address, SERVER).expect("a name");
    let connection = connecting.await?;
    let (mut send, receive) = connection.open_bi().await?;
    if send.write_all(b"hello").await.is_err() {
        return Err(connection.closed().await);
    }
    Ok(Stream { connection, send, receive, _endpoint: endpoint })
}

async fn meet(
    listener: &Listener,
    authority: &Authority,
    client: Client<'_>,
) -> (Result<Opened, Refused>, Result<Stream, ConnectionError>) {
    tokio::join!(listener.open(), connect(listener, authority, client))
}

const PLAIN: Client<'static> =
    Client { versions: &[&rustls::version::TLS13], certificate: None, alpn: MQTT };

#[tokio::test]
async fn a_stream_is_a_connection() {
    let authority = Authority::new();
    let listener = Listener::quic(options(&[&authority.issue(SERVER)]));
    assert!(!listener.door.is_plain());
    let (opened, client) = meet(&listener, &authority, PLAIN).await;
    let (mut opened, mut client) = (opened.expect("a good client"), client.expect("a good client"));
    assert_eq!(opened.peer.transport, Transport::Quic);
    let details = opened.peer.details.as_ref().expect("TLS was spoken");
    let expected = TlsFacts {
        version: "TLSv1.3",
        server_name: Some(SERVER.into()),
        alpn: Some("mqtt".into()),
        ..TlsFacts::default()
    };
    assert_eq!(details.tls, Some(expected));
    assert_eq!(details.certificate, None);

    let mut word = [0; 16];
    assert_eq!(opened.stream.read(&mut word).await.expect("it was said"), 5);
    assert_eq!(&word[..5], b"hello");
    let nothing = opened.stream.read_now(&mut word).expect_err("no more was said");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    opened.stream.write_all(b"welcome").await.expect("it is taken");
    client.receive.read_exact(&mut word[..7]).await.expect("it was said");
    assert_eq!(&word[..7], b"welcome");

    // All is said, and both sides know it.
    poll_fn(|cx| opened.stream.poll_shutdown(cx)).await.expect("it is taken");
    assert_eq!(client.receive.read(&mut word).await.expect("a clean end"), None);
    client.connection.close(0_u32.into(), b"");
    assert_eq!(opened.stream.read(&mut word).await.expect("a clean end"), 0);
}

#[tokio::test]
async fn large_data_arrives_as_it_left() {
    let authority = Authority::new();
    let listener = Listener::quic(options(&[&authority.issue(SERVER)]));
    let (opened, client) = meet(&listener, &authority, PLAIN).await;
    let (mut stream, mut client) = (opened.expect("good").stream, client.expect("good"));
    let down: Vec<u8> =
        (0..3_000_000_u32).map(|at| (at.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
    let up: Vec<u8> = down.iter().rev().copied().collect();
    let says = up.clone();
    let client = tokio::spawn(async move {
        let said = async {
            client.send.write_all(&says).await.expect("it is taken");
            client.send.finish().expect("it is open");
        };
        let heard = client.receive.read_to_end(4_000_000);
        let ((), heard) = tokio::join!(said, heard);
        heard.expect("it arrives")
    });
    stream.write_all(&down).await.expect("it is taken");
    let mut heard = Vec::new();
    let mut scratch = vec![0; 50_000];
    loop {
        match stream.read(&mut scratch).await.expect("it arrives") {
            0 => break,
            count => heard.extend_from_slice(&scratch[..count]),
        }
    }
    assert!(heard[..5] == *b"hello" && heard[5..] == up, "{} bytes", heard.len());
    poll_fn(|cx| stream.poll_shutdown(cx)).await.expect("it is taken");
    let heard = client.await.expect("it runs");
    assert!(heard == down, "{} bytes", heard.len());
}

#[tokio::test]
async fn who_is_not_let_in_is_counted_by_reason() {
    let authority = Authority::new();
    let other = Authority::named("Another authority");
    let namesake = Authority::new();
    let server = authority.issue(SERVER);
    let good = authority.issue("device-1");
    let now = std::time::SystemTime::now();
    let hour = Duration::from_secs(60 * 60);
    let expired = Request { valid_to: now - hour, ..Request::new("expired") };
    let expired = authority.issue_as(&expired, "expired");
    let early = Request { valid_from: now + hour, ..Request::new("early") };
    let early = authority.issue_as(&early, "early");
    let revoked = authority.issue_as(&Request { serial: 99, ..Request::new("revoked") }, "revoked");
    let foreign = other.issue("foreign");
    let forged = namesake.issue("forged");
    let listener = Listener::quic(TlsOptions {
        client_certificates: ClientCertificates::Required,
        client_authorities: vec![authority.file.clone()],
        client_revocations: vec![authority.revoke(&[99], "revoked.crl")],
        ..options(&[&server])
    });
    type Case<'a> = (&'a str, &'a [&'a str], Option<&'a Files>, Result<(), Refusal>);
    let cases: [Case<'_>; 8] = [
        ("good", MQTT, Some(&good), Ok(())),
        ("another protocol", &["h3"], Some(&good), Err(Refusal::TlsAlpn)),
        ("none", MQTT, None, Err(Refusal::CertificateMissing)),
        ("expired", MQTT, Some(&expired), Err(Refusal::CertificateExpired)),
        ("early", MQTT, Some(&early), Err(Refusal::CertificateNotYetValid)),
        ("revoked", MQTT, Some(&revoked), Err(Refusal::CertificateRevoked)),
        ("foreign", MQTT, Some(&foreign), Err(Refusal::CertificateUnknownIssuer)),
        ("forged", MQTT, Some(&forged), Err(Refusal::CertificateUnknownIssuer)),
    ];
    for (case, alpn, certificate, expected) in cases {
        let (opened, _client) =
            meet(&listener, &authority, Client { certificate, alpn, ..PLAIN }).await;
        match &opened {
            Ok(opened) => {
                let name = opened.peer.certificate().and_then(|it| it.common_name.as_deref());
                assert_eq!(name, Some("device-1"), "{case}");
            }
            Err(refused) => assert_eq!(expected, Err(refused.why), "{case}: {refused}"),
        }
        assert_eq!(opened.is_ok(), expected.is_ok(), "{case}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_for_those_who_come_after_it() {
    let authority = Authority::new();
    let server = authority.issue(SERVER);
    let listener = Listener::quic(options(&[&server]));
    let shown = |stream: &Stream| {
        let identity = stream.connection.peer_identity().expect("one was shown");
        *identity.downcast::<Vec<CertificateDer<'static>>>().expect("certificates")
    };
    let (opened, client) = meet(&listener, &authority, PLAIN).await;
    let (mut opened, mut client) = (opened.expect("good"), client.expect("good"));
    let before = pki::chain(&server.chain);
    assert_eq!(shown(&client), before);
    authority.issue(SERVER);
    listener.door.tls.as_ref().expect("TLS").reload().expect("good files");
    let (_opened, new) = meet(&listener, &authority, PLAIN).await;
    assert_eq!(shown(&new.expect("good")), pki::chain(&server.chain));
    assert_ne!(before, pki::chain(&server.chain));
    // Who is in stays.
    opened.stream.write_all(b"still").await.expect("it is taken");
    let mut word = [0; 5];
    client.receive.read_exact(&mut word).await.expect("it was said");
    assert_eq!(&word, b"still");
}

#[tokio::test]
async fn a_client_that_opens_no_stream_is_not_waited_for() {
    let authority = Authority::new();
    let mut listener = Listener::quic(options(&[&authority.issue(SERVER)]));
    listener.door.deadline = Duration::from_millis(300);
    let crypto = QuicClientConfig::try_from(authority.client(PLAIN)).expect("TLS 1.3");
    let endpoint =
        Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let config = ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, listener.address, SERVER).expect("a name");
    let (opened, connection) = tokio::join!(listener.open(), connecting);
    assert_eq!(opened.expect_err("no stream").why, Refusal::HandshakeTimeout);
    connection.expect("a good handshake").closed().await;
}

#[tokio::test]
async fn what_is_no_quic_is_not_answered_and_disturbs_nobody() {
    let authority = Authority::new();
    let listener = Listener::quic(options(&[&authority.issue(SERVER)]));
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    for junk in [&b"\x10\x0c\0\x04MQTT"[..], &[0xC0; 1200], &[0xFF; 1200], &[0; 10]] {
        socket.send_to(junk, listener.address).await.expect("it leaves");
    }
    let (opened, _client) = meet(&listener, &authority, PLAIN).await;
    opened.expect("a good client");
}

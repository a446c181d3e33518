//! What lies before MQTT: TLS, WebSocket, PROXY headers, Unix sockets, and clients that do not get through.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_broker::config::{Endpoint, Protocol};
use dunlin_broker::{
    AboveLimit, BoxFuture, Config, Hooks, Interests, ListenerConfig, Refusal, Transport,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::*;

/// A certificate for `localhost`, and its files.
struct Certificate {
    der: CertificateDer<'static>,
    chain: String,
    key: String,
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        let made = made.expect("a certificate");
        Self {
            der: made.cert.der().clone(),
            chain: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    fn write(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        fs::write(&key, &self.key).expect("a file");
        fs::write(&chain, &self.chain).expect("a file");
        (chain, key)
    }
}

/// A listener for TLS with this certificate.
fn tls(certificate: &Certificate, folder: &Path) -> ListenerConfig {
    let (chain, key) = certificate.write(folder);
    let mut listener = ListenerConfig::new("test", free_port());
    listener.tls_certificate = vec![chain];
    listener.tls_key = vec![key];
    listener
}

fn connector(trusted: &[&Certificate]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.der.clone()).expect("a certificate");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has all versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A client within TLS that was let in.
async fn connect_tls(server: &Server, connector: &TlsConnector, id: &str) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(server.address()).await.expect("a listener");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = connector.connect(name, socket).await.expect("a handshake");
    let_in(&mut stream, id).await;
    stream
}

/// CONNECT as 3.1.1, and the four bytes that let it in.
async fn let_in(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), id: &str) {
    stream.write_all(&connect_bytes(Version::V3_1_1, id)).await.expect("a connection");
    let mut answer = [0; 4];
    within("CONNACK", stream.read_exact(&mut answer)).await.expect("CONNACK");
    assert_eq!(answer, [0x20, 2, 0, 0]);
}

async fn ping(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(&[0xC0, 0]).await.expect("a connection");
    let mut answer = [0; 2];
    within("PINGRESP", stream.read_exact(&mut answer)).await.expect("PINGRESP");
    assert_eq!(answer, [0xD0, 0]);
}

fn shown(stream: &TlsStream<TcpStream>) -> &CertificateDer<'static> {
    let shown = stream.get_ref().1.peer_certificates().expect("a certificate");
    shown.first().expect("a certificate")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_under_a_thousand_clients() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (Certificate::new(), Certificate::new());
    let config = |listener| {
        let mut config = Config::default();
        config.listeners = vec![listener];
        config
    };
    let listener = tls(&old, folder.path());
    let server = Server::with(|place| *place = config(listener.clone())).await;
    let trust = connector(&[&old, &new]);
    let mut clients = Vec::new();
    for number in 0..1_000 {
        clients.push(connect_tls(&server, &trust, &format!("c{number}")).await);
    }
    assert_eq!(shown(&clients[0]), &old.der);
    assert!(server.metrics().certificate_days_left["test"] > 300);

    // What is not good changes nothing.
    fs::write(folder.path().join("chain.pem"), "no certificate").expect("a file");
    let same = server.broker.reload(config(listener.clone()), AboveLimit::Keep).await;
    assert!(same.expect("the listener goes on").is_empty());
    let during = connect_tls(&server, &connector(&[&old]), "during").await;
    assert_eq!(shown(&during), &old.der);

    new.write(folder.path());
    let reloaded = server.broker.reload(config(listener), AboveLimit::Keep).await;
    assert!(reloaded.expect("the listener goes on").is_empty());
    // Not by a ticket: who comes back with one is shown no certificate.
    let after = connect_tls(&server, &connector(&[&new]), "after").await;
    assert_eq!(shown(&after), &new.der);
    for client in &mut clients {
        ping(client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_get_through_is_counted_by_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let secure = tls(&Certificate::new(), folder.path());
    let server = Server::with(|config| {
        config.listeners[0].name = "plain".to_owned();
        config.listeners.push(secure);
        let secure = &mut config.listeners[1];
        secure.handshake_deadline = Duration::from_millis(300);
    })
    .await;
    let [plain, secure] = server.broker.local_addrs()[..] else { panic!("two listeners") };
    let cases: [(_, &[u8], Refusal, u64); 8] = [
        (plain, b"\x16\x03\x01\x00\x05hello", Refusal::TlsOnPlain, 1),
        (plain, b"GET /mqtt HTTP/1.1\r\n\r\n", Refusal::HttpOnPlain, 1),
        (plain, b"POST /mqtt HTTP/1.1\r\n\r\n", Refusal::HttpOnPlain, 2),
        (plain, b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 1883\r\n", Refusal::ProxyUnexpected, 1),
        (plain, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Refusal::ProxyUnexpected, 2),
        (secure, b"PROXY UNKNOWN\r\n", Refusal::ProxyUnexpected, 3),
        (secure, b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0", Refusal::PlainOnTls, 1),
        (secure, b"\x16", Refusal::HandshakeTimeout, 1),
    ];
    for (address, bytes, why, count) in cases {
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        stream.write_all(bytes).await.expect("a connection");
        let counted = || server.metrics().handshakes_refused[&why] == count;
        eventually(why.name(), counted).await;
        let mut rest = Vec::new();
        let _ = within("the end", stream.read_to_end(&mut rest)).await;
    }
    eventually("all places to be given back", || server.metrics().connections_open == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_shuts_its_side_is_let_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::new();
    let server = Server::with(|config| {
        config.listeners.insert(0, tls(&certificate, folder.path()));
        config.listeners[1].name = "plain".to_owned();
    })
    .await;
    let plain = server.broker.local_addrs()[1];
    let mut rest = Vec::new();
    let mut stream = TcpStream::connect(plain).await.expect("a listener");
    let_in(&mut stream, "plain").await;
    stream.shutdown().await.expect("a connection");
    within("the end", stream.read_to_end(&mut rest)).await.expect("a clean end");
    let mut stream = connect_tls(&server, &connector(&[&certificate]), "secure").await;
    stream.shutdown().await.expect("a connection");
    within("the end", stream.read_to_end(&mut rest)).await.expect("a clean end");
    server.counts_ended(EndReason::ConnectionLost, 2).await;

    // And in the middle of a handshake.
    let mut stream = TcpStream::connect(server.address()).await.expect("a listener");
    stream.write_all(b"\x16\x03\x01\x01\0").await.expect("a connection");
    stream.shutdown().await.expect("a connection");
    within("the end", stream.read_to_end(&mut rest)).await.expect("a clean end");
    assert_eq!(rest, b"");
    let counted = || server.metrics().handshakes_refused[&Refusal::Closed] == 1;
    eventually("it to be counted", counted).await;
    eventually("all places to be given back", || server.metrics().connections_open == 0).await;
}

/// A request that becomes a WebSocket, with more fields if need be.
async fn upgrade(address: std::net::SocketAddr, fields: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.expect("a listener");
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n{fields}\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = within("an answer", stream.read_u8()).await;
        let Ok(byte) = byte else { break };
        head.push(byte);
    }
    (stream, String::from_utf8(head).expect("HTTP"))
}

/// A frame of binary data with a mask that changes nothing.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let len = u8::try_from(bytes.len()).expect("a short frame");
    [&[0x82, 0x80 | len, 0, 0, 0, 0], bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_speaks_mqtt_and_websocket() {
    let server = Server::with(|config| config.listeners[0].protocol = Protocol::Auto).await;
    let mut plain = server.connect(connect(Version::V5, "plain")).await;
    plain.ping().await;
    let (mut web, head) = upgrade(server.address(), "").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    web.write_all(&frame(&connect_bytes(Version::V3_1_1, "web"))).await.expect("a connection");
    let mut answer = [0; 6];
    within("CONNACK", web.read_exact(&mut answer)).await.expect("CONNACK");
    assert_eq!(answer, [0x82, 4, 0x20, 2, 0, 0]);

    // Anonymous clients are let in here, so pages are not.
    let (_, head) = upgrade(server.address(), "Origin: https://evil.example\r\n").await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let counted = || server.metrics().handshakes_refused[&Refusal::WebSocketOrigin] == 1;
    eventually("it to be counted", counted).await;
}

/// Remembers how clients came in.
#[derive(Debug, Default)]
struct Seen(std::sync::Mutex<Vec<String>>);

impl Hooks for Seen {
    fn interests(&self) -> Interests {
        let mut interests = Interests::NONE;
        interests.connect = true;
        interests
    }

    fn on_connect<'a>(
        &'a self,
        client: &'a dunlin_broker::Client,
    ) -> BoxFuture<'a, Result<(), ReasonCode>> {
        let owner = client.peer.details.as_ref().is_some_and(|known| known.credentials.is_some());
        let (transport, address) = (client.peer.transport, client.address);
        let line = format!("{transport} {address:?} owner known: {owner}");
        self.0.lock().expect("no panic").push(line);
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_told_how_a_client_came_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mqtt.sock");
    let seen = Arc::new(Seen::default());
    let configure = |config: &mut Config| {
        let local = "127.0.0.1".parse().expect("an address");
        config.listeners[0].proxy_protocol_from = Some(vec![local]);
        config.listeners.push(ListenerConfig::new("local", Endpoint::Unix(path.clone())));
    };
    let hooks: Arc<dyn Hooks> = Arc::clone(&seen) as _;
    let server = Server::built(configure, |builder| builder.hooks(hooks)).await;
    let mut proxied = TcpStream::connect(server.address()).await.expect("a listener");
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 1883\r\n";
    proxied.write_all(header).await.expect("a connection");
    let_in(&mut proxied, "proxied").await;
    let mut local = tokio::net::UnixStream::connect(&path).await.expect("a listener");
    let_in(&mut local, "local").await;
    ping(&mut local).await;
    let expected = [
        format!("{} Some(192.0.2.7:5000) owner known: false", Transport::Tcp),
        format!("{} None owner known: true", Transport::Unix),
    ];
    assert_eq!(*seen.0.lock().expect("no panic"), expected);
}

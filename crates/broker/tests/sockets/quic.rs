//! MQTT over QUIC, by a client of our own on quinn.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dunlin_broker::config::{ClientCertificates, Endpoint};
use dunlin_broker::{
    AboveLimit, BoxFuture, Config, Hooks, Interests, ListenerConfig, Refusal, Transport,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connecting, Connection, ConnectionError, RecvStream, SendStream};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls;
use tokio_rustls::rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{NamedGroup, RootCertStore};

use crate::support::*;

const SERVER: &str = "mqtt.example.org";

/// An authority, and a folder for what it issues.
struct Authority {
    folder: tempfile::TempDir,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in files and as they are.
struct Issued {
    chain: PathBuf,
    key: PathBuf,
    der: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(folder.path().join("authority.pem"), certificate.pem()).expect("a file");
        let der = certificate.der().clone();
        Self { folder, certificate: der, issuer: Issuer::new(params, key) }
    }

    fn file(&self) -> PathBuf {
        self.path("authority.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let write = |kind: &str, text: String| {
            let path = self.path(&format!("{name}.{kind}"));
            fs::write(&path, text).expect("a file");
            path
        };
        Issued {
            chain: write("pem", certificate.pem()),
            key: write("key", key.serialize_pem()),
            der: (certificate.der().clone(), key.into()),
        }
    }

    /// A listener by QUIC with a certificate of this authority.
    fn listener(&self) -> ListenerConfig {
        let mut listener = ListenerConfig::new("quic", Endpoint::Quic(free_port()));
        let Issued { chain, key, .. } = self.issue(SERVER);
        listener.tls_certificate = vec![chain];
        listener.tls_key = vec![key];
        listener
    }

    /// What a client speaks TLS with that believes this authority.
    fn crypto(&self, alpn: &[&str], own: Option<&Issued>) -> rustls::ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("the provider has it")
                .with_root_certificates(roots);
        let mut config = match own {
            Some(Issued { der: (chain, key), .. }) => config
                .with_client_auth_cert(vec![chain.clone()], key.clone_key())
                .expect("a certificate and its key"),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    fn mqtt(&self) -> rustls::ClientConfig {
        self.crypto(&["mqtt"], None)
    }
}

/// A socket of a client's own, and the handshake that has begun there.
fn begin(address: SocketAddr, crypto: rustls::ClientConfig) -> (quinn::Endpoint, Connecting) {
    let crypto = QuicClientConfig::try_from(crypto).expect("TLS 1.3");
    let endpoint = quinn::Endpoint::client(free_port()).expect("a free port");
    let config = ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, address, SERVER).expect("a name");
    (endpoint, connecting)
}

/// Why the listener lets such a client not in.
async fn refused(address: SocketAddr, crypto: rustls::ClientConfig) -> ConnectionError {
    let (_endpoint, connecting) = begin(address, crypto);
    match within("the end of the handshake", connecting).await {
        Err(error) => error,
        // A client of TLS 1.3 is done before the server has seen its certificate.
        Ok(connection) => within("a refusal", connection.closed()).await,
    }
}

/// A client by QUIC.
struct QuicClient {
    mqtt: Client<RecvStream, SendStream>,
    connection: Connection,
    endpoint: quinn::Endpoint,
}

impl QuicClient {
    async fn dial(address: SocketAddr, crypto: rustls::ClientConfig, version: Version) -> Self {
        let (endpoint, connecting) = begin(address, crypto);
        let connection = within("a QUIC connection", connecting).await.expect("a handshake");
        let (send, receive) = connection.open_bi().await.expect("one stream is granted");
        Self { mqtt: Client::over(version, receive, send), connection, endpoint }
    }

    /// A client that was let in.
    async fn connect(
        address: SocketAddr,
        crypto: rustls::ClientConfig,
        version: Version,
        id: &str,
    ) -> Self {
        let mut client = Self::dial(address, crypto, version).await;
        client.mqtt.send(connect(version, id)).await;
        client.mqtt.expect_connack(false).await;
        client
    }
}

/// A broker that listens by TCP, and by QUIC at the address.
async fn server(listener: ListenerConfig) -> (Server, SocketAddr) {
    let server = Server::with(|config| config.listeners.push(listener)).await;
    let address = server.broker.local_addrs()[1];
    (server, address)
}

versions!(messages_go_both_ways: V3_1, V3_1_1, V5);
async fn messages_go_both_ways(version: Version) {
    let authority = Authority::new();
    let (server, address) = server(authority.listener()).await;
    let mut quic = QuicClient::connect(address, authority.mqtt(), version, "quic").await;
    let mut tcp = server.connect(connect(version, "tcp")).await;
    quic.mqtt.subscribe("to quic", QOS1).await;
    tcp.subscribe("to tcp", QOS2).await;
    tcp.publish(publish("to quic", "down").qos(QOS1)).await;
    quic.mqtt.expect_and_acknowledge(publish("to quic", "down").qos(QOS1)).await;
    quic.mqtt.publish(publish("to tcp", "up").qos(QOS1)).await;
    tcp.expect_and_acknowledge(publish("to tcp", "up").qos(QOS1)).await;
    quic.mqtt.publish(publish("to tcp", "up").qos(QOS2)).await;
    tcp.expect_and_acknowledge(publish("to tcp", "up").qos(QOS2)).await;
    // More than one side may be ahead of the other.
    let large: Vec<u8> = (0..1_500_000_u32).map(|at| (at % 251) as u8).collect();
    quic.mqtt.publish(publish("to tcp", large.clone()).qos(QOS1)).await;
    tcp.expect_and_acknowledge(publish("to tcp", large.clone()).qos(QOS1)).await;
    tcp.publish(publish("to quic", large.clone()).qos(QOS1)).await;
    quic.mqtt.expect_and_acknowledge(publish("to quic", large).qos(QOS1)).await;

    quic.mqtt.send(disconnect(ReasonCode::Success)).await;
    quic.mqtt.expect_closed().await;
    quic.connection.close(0_u32.into(), b"");
    server.counts_ended(EndReason::ClientDisconnected, 1).await;
    eventually("its place to be given back", || server.metrics().connections_open == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_than_mqtt_are_refused_and_counted() {
    let authority = Authority::new();
    let (server, address) = server(authority.listener()).await;
    for (count, alpn) in [(1, &["h3"][..]), (2, &["mqttv5", "http/1.1"]), (3, &[])] {
        let error = refused(address, authority.crypto(alpn, None)).await;
        // no_application_protocol, RFC 9001 s8.1.
        let ConnectionError::ConnectionClosed(close) = &error else { panic!("{error:?}") };
        assert_eq!(u64::from(close.error_code), 0x100 + 120, "{alpn:?}: {error}");
        let counted = || server.metrics().handshakes_refused[&Refusal::TlsAlpn] == count;
        eventually("it to be counted", counted).await;
    }
    QuicClient::connect(address, authority.crypto(&["h3", "mqtt"], None), Version::V5, "s").await;
}

/// Counts the tickets that a client was given.
#[derive(Debug)]
struct Tickets(ClientSessionMemoryCache, AtomicUsize);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(name)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_may_send_nothing_early() {
    let authority = Authority::new();
    let (_server, address) = server(authority.listener()).await;
    let tickets = Arc::new(Tickets(ClientSessionMemoryCache::new(8), AtomicUsize::new(0)));
    let mut crypto = authority.mqtt();
    crypto.resumption = Resumption::store(Arc::clone(&tickets) as _);
    crypto.enable_early_data = true;
    let mut first = QuicClient::connect(address, crypto.clone(), Version::V5, "first").await;
    first.mqtt.ping().await;
    eventually("a ticket", || tickets.1.load(Ordering::Relaxed) > 0).await;
    let (_endpoint, connecting) = begin(address, crypto);
    let Err(connecting) = connecting.into_0rtt() else { panic!("it may send early") };
    let connection = within("a QUIC connection", connecting).await.expect("a handshake");
    let (send, receive) = connection.open_bi().await.expect("one stream is granted");
    let mut again = Client::over(Version::V5, receive, send);
    again.send(connect(Version::V5, "again")).await;
    again.expect_connack(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_is_all_that_a_client_gets() {
    let authority = Authority::new();
    let (server, address) = server(authority.listener()).await;
    let mut client = QuicClient::connect(address, authority.mqtt(), Version::V5, "s").await;
    let second = tokio::time::timeout(SILENCE, client.connection.open_bi()).await;
    assert!(second.is_err(), "a second stream is granted");
    let one_way = tokio::time::timeout(SILENCE, client.connection.open_uni()).await;
    assert!(one_way.is_err(), "a stream in one direction is granted");
    assert_eq!(client.connection.max_datagram_size(), None);
    client.mqtt.ping().await;
    assert_eq!(server.metrics().connections_open, 1);
}

/// Remembers who was let in, and how connections ended.
#[derive(Debug, Default)]
struct Seen(std::sync::Mutex<Vec<String>>);

impl Hooks for Seen {
    fn interests(&self) -> Interests {
        let mut interests = Interests::NONE;
        interests.connect = true;
        interests.disconnect = true;
        interests
    }

    fn on_connect<'a>(
        &'a self,
        client: &'a dunlin_broker::Client,
    ) -> BoxFuture<'a, Result<(), ReasonCode>> {
        let holder = client.peer.certificate().and_then(|it| it.common_name.as_deref());
        let line = format!("{} {holder:?}", client.peer.transport);
        self.0.lock().expect("no panic").push(line);
        Box::pin(std::future::ready(Ok(())))
    }

    fn on_disconnect(&self, end: &dunlin_broker::ConnectionEnd) {
        let line = format!("{} {} {}", end.listener, end.transport, end.reason.name());
        self.0.lock().expect("no panic").push(line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_says_who_a_client_is() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut listener = authority.listener();
    listener.tls_client_certificates = ClientCertificates::Required;
    listener.tls_client_authorities = vec![authority.file()];
    let seen = Arc::new(Seen::default());
    let hooks: Arc<dyn Hooks> = Arc::clone(&seen) as _;
    let listen = |config: &mut Config| config.listeners = vec![listener];
    let server = Server::built(listen, |builder| builder.hooks(hooks)).await;
    let address = server.address();
    let counted = |why| {
        let server = &server;
        async move {
            eventually("it to be counted", || server.metrics().handshakes_refused[&why] == 1).await;
        }
    };
    refused(address, authority.mqtt()).await;
    counted(Refusal::CertificateMissing).await;
    refused(address, authority.crypto(&["mqtt"], Some(&stranger.issue("meter-17")))).await;
    counted(Refusal::CertificateUnknownIssuer).await;

    let crypto = authority.crypto(&["mqtt"], Some(&authority.issue("meter-17")));
    let mut client = QuicClient::connect(address, crypto, Version::V5, "s").await;
    client.mqtt.send(disconnect(ReasonCode::Success)).await;
    client.mqtt.expect_closed().await;
    client.connection.close(0_u32.into(), b"");
    server.counts_ended(EndReason::ClientDisconnected, 1).await;
    let expected = [
        format!("{} Some(\"meter-17\")", Transport::Quic),
        format!("quic {} client_disconnected", Transport::Quic),
    ];
    assert_eq!(*seen.0.lock().expect("no panic"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quic_listener_comes_and_goes_by_reload() {
    let authority = Authority::new();
    let server = Server::start().await;
    let mut stays = server.connect(connect(Version::V5, "stays")).await;
    let without = || {
        let mut config = Config::default();
        config.listeners = vec![ListenerConfig::new("test", free_port())];
        config
    };
    let mut with = without();
    with.listeners.push(authority.listener());
    let reload = async |config| {
        server.broker.reload(config, AboveLimit::Keep).await.expect("a configuration that works")
    };
    reload(with).await;
    let address = server.broker.local_addrs()[1];
    let mut goes = QuicClient::connect(address, authority.mqtt(), Version::V5, "goes").await;
    goes.mqtt.ping().await;

    reload(without()).await;
    goes.mqtt.expect_end(ReasonCode::AdministrativeAction).await;
    goes.connection.close(0_u32.into(), b"");
    server.counts_ended(EndReason::ListenerRemoved, 1).await;
    let (_endpoint, connecting) = begin(address, authority.mqtt());
    let unanswered = tokio::time::timeout(SILENCE, connecting).await;
    assert!(!matches!(unanswered, Ok(Ok(_))), "nobody listens there");
    stays.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_stays_and_one_that_is_gone_goes() {
    let authority = Authority::new();
    let mut listener = authority.listener();
    listener.quic_idle_timeout = Duration::from_secs(1);
    listener.quic_keep_alive = Some(Duration::from_millis(300));
    let (server, address) = server(listener).await;
    let mut silent = QuicClient::connect(address, authority.mqtt(), Version::V5, "silent").await;
    // One whose process ends without a word: its runtime is gone, and with it whoever would speak for it.
    let crypto = authority.mqtt();
    let lost = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let client = runtime.block_on(QuicClient::connect(address, crypto, Version::V5, "lost"));
        runtime.shutdown_background();
        client
    });
    let lost = lost.join().expect("it is let in");
    server.counts_ended(EndReason::ConnectionLost, 1).await;
    drop(lost);
    silent.mqtt.ping().await;
    server.clients_connected(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_changes_its_address_stays_connected() {
    let authority = Authority::new();
    let (server, address) = server(authority.listener()).await;
    let mut client = QuicClient::connect(address, authority.mqtt(), Version::V5, "moves").await;
    client.mqtt.subscribe("a", QOS1).await;
    for _ in 0..2 {
        let elsewhere = std::net::UdpSocket::bind(free_port()).expect("a free port");
        client.endpoint.rebind(elsewhere).expect("another socket");
        client.mqtt.ping().await;
        server.publish(publish("a", "after it").qos(QOS1)).await;
        client.mqtt.expect_and_acknowledge(publish("a", "after it").qos(QOS1)).await;
    }
    server.clients_connected(1).await;
    assert_eq!(server.metrics().connections_accepted, 2, "the feeder is the other one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_quic_disturbs_nobody() {
    let authority = Authority::new();
    let (server, address) = server(authority.listener()).await;
    let socket = tokio::net::UdpSocket::bind(free_port()).await.expect("a free port");
    let connect_packet = connect_bytes(Version::V5, "s");
    for junk in [&connect_packet[..], &[0xC0; 1200], &[0xFF; 1200], &[0; 10]] {
        socket.send_to(junk, address).await.expect("it leaves");
    }
    let mut client = QuicClient::connect(address, authority.mqtt(), Version::V5, "s").await;
    client.mqtt.ping().await;
    assert_eq!(server.metrics().connections_accepted, 1);
}

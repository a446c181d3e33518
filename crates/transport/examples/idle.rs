//! Resident bytes of an idle connection, by kind: `cargo run --release -p dunlin-transport --example idle [COUNT]`.
//!
//! What is measured is what stands between socket and connection task: each client is let in, says one word, hears one, and
//! stays. Clients are a process of their own. Linux only, because it is asked what it has resident.

#![expect(clippy::print_stdout, reason = "the numbers are what it is for")]

use std::env;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use dunlin_transport::http::UpgradeRules;
use dunlin_transport::quic;
use dunlin_transport::tcp::{self, ListenOptions};
use dunlin_transport::tls::{ClientCertificates, Tls, TlsOptions};
use dunlin_transport::{Bound, Door, Protocol};
use quinn::crypto::rustls::QuicClientConfig;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Outcome<T> = Result<T, Box<dyn Error>>;

const KINDS: [&str; 6] = ["tcp", "ws", "tls", "mtls", "wss", "quic"];
const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [kind, address, folder, count] = arguments.as_slice() {
        return clients(kind, address.parse()?, folder, count.parse()?).await;
    }
    if let [kind, count] = arguments.as_slice() {
        return serve(kind, count.parse()?).await;
    }
    let count = arguments.first().map_or("1000", String::as_str);
    for kind in KINDS {
        // Each in a process of its own, because memory that one gave back is there for the next.
        Command::new(env::current_exe()?).args([kind, count]).status()?;
    }
    Ok(())
}

async fn serve(kind: &str, count: usize) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    fs::write(path("chain.pem"), certificate.pem())?;
    fs::write(path("key.pem"), key.serialize_pem())?;
    let mut options = TlsOptions::new(path("chain.pem"), path("key.pem"));
    if kind == "mtls" {
        options.client_certificates = ClientCertificates::Required;
        options.client_authorities = vec![path("chain.pem")];
    }
    let mut door = Door::default();
    if matches!(kind, "tls" | "mtls" | "wss" | "quic") {
        door.tls = Some(Arc::new(Tls::load(options)?));
    }
    if matches!(kind, "ws" | "wss") {
        door.protocol = Protocol::WebSocket(UpgradeRules::default());
    }
    measure(kind, door, count, folder.path().to_str().unwrap_or_default()).await
}

async fn measure(kind: &str, door: Door, count: usize, folder: &str) -> Outcome<()> {
    let loopback = "127.0.0.1:0".parse()?;
    let bound: Bound = match kind {
        "quic" => quic::bind(loopback, &ListenOptions::default())?,
        _ => tcp::bind(loopback, &ListenOptions::default())?,
    };
    let address = bound.place()?.address().ok_or("no address")?.to_string();
    let acceptor = bound.into_acceptor()?;
    let mut child = Command::new(env::current_exe()?)
        .args([kind, &address, folder, &count.to_string()])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut held = Vec::with_capacity(count);
    let mut before = 0;
    let warm = count / 10;
    for number in 0..count {
        if number == warm {
            // What the first ones need once is not what each needs.
            before = resident()?;
        }
        let mut opened = door.open(acceptor.accept().await?).await?;
        let mut word = [0; 16];
        let said = match opened.received.len() {
            0 => opened.stream.read(&mut word).await?,
            received => received,
        };
        assert_eq!(said, 2, "{kind}");
        opened.stream.write_all(b"ok").await?;
        held.push((opened.stream, opened.peer));
    }
    let each = (resident()?.saturating_sub(before)) / (count - warm);
    println!("{kind:5} {each:6} bytes each, of {count}");
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

/// Bytes that this process has in memory.
fn resident() -> Outcome<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(1024 * line.trim().trim_end_matches(" kB").parse::<usize>()?)
}

/// A client's certificate is the server's own, which is its authority too. Connects one after another and holds all until the input ends.
async fn clients(kind: &str, address: SocketAddr, folder: &str, count: usize) -> Outcome<()> {
    let chain = CertificateDer::from_pem_file(format!("{folder}/chain.pem"))?;
    let key = PrivateKeyDer::from_pem_file(format!("{folder}/key.pem"))?;
    let mut roots = RootCertStore::empty();
    roots.add(chain.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match kind {
        "mtls" => config.with_client_auth_cert(vec![chain], key)?,
        _ => config.with_no_client_auth(),
    };
    let mut held: Vec<Box<dyn std::any::Any>> = Vec::new();
    if kind == "quic" {
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?));
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
        for _ in 0..count {
            let connection = endpoint.connect_with(config.clone(), address, "localhost")?.await?;
            let (mut send, mut receive) = connection.open_bi().await?;
            send.write_all(b"hi").await?;
            receive.read_exact(&mut [0; 2]).await?;
            held.push(Box::new((connection, send, receive)));
        }
    } else {
        let connector = TlsConnector::from(Arc::new(config));
        for _ in 0..count {
            let socket = TcpStream::connect(address).await?;
            if matches!(kind, "tls" | "mtls" | "wss") {
                let mut stream = connector.connect("localhost".try_into()?, socket).await?;
                talk(kind, &mut stream).await?;
                held.push(Box::new(stream));
            } else {
                let mut stream = socket;
                talk(kind, &mut stream).await?;
                held.push(Box::new(stream));
            }
        }
    }
    // Ended by the other process.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

async fn talk(kind: &str, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Outcome<()> {
    let (word, answer) = if matches!(kind, "ws" | "wss") {
        stream.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        // A final binary frame of two masked bytes, and one that is not masked.
        (&b"\x82\x82\0\0\0\0hi"[..], 4)
    } else {
        (&b"hi"[..], 2)
    };
    stream.write_all(word).await?;
    stream.read_exact(vec![0; answer].as_mut_slice()).await?;
    Ok(())
}

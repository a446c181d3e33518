//! Clients that connect and then say nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::Outcome;

/// Given up after this.
const PATIENCE: Duration = Duration::from_secs(120);
/// The last line of the process of a storm.
pub(crate) const SERVED: &str = "served";
const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Tcp,
    Ws,
    Tls,
    Wss,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Ws, Self::Tls, Self::Wss];

    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    pub(crate) fn has_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Ws => "ws",
            Self::Tls => "tls",
            Self::Wss => "wss",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| format!("no kind {text}"))
    }
}

/// CONNECT of MQTT 3.1.1 with Clean Session and no Keep Alive.
pub(crate) fn connect(client_id: &str) -> Vec<u8> {
    let length = u8::try_from(client_id.len()).unwrap_or_default();
    let mut packet = vec![0x10, 12 + length, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, length];
    packet.extend_from_slice(client_id.as_bytes());
    packet
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Connected ones, until the value is dropped.
pub(crate) struct Clients {
    runtime: Runtime,
    shared: Arc<Shared>,
}

struct Shared {
    kind: Kind,
    port: u16,
    connector: TlsConnector,
    numbers: AtomicUsize,
    connected: Mutex<Vec<Box<dyn Bytes>>>,
}

impl Clients {
    pub(crate) fn new(kind: Kind, port: u16, authority: impl AsRef<Path>) -> Outcome<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(PathBuf::from(authority.as_ref()))?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Each is a client that was never here.
        config.resumption = rustls::client::Resumption::disabled();
        let connector = TlsConnector::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (numbers, connected) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { kind, port, connector, numbers, connected });
        Ok(Self { runtime, shared })
    }

    /// One after another; all of them, or an error.
    pub(crate) fn open(&self, count: usize) -> Outcome<()> {
        self.runtime.block_on(async {
            for _ in 0..count {
                self.shared.open().await?;
            }
            Ok(())
        })
    }

    /// All at once: what became of how many.
    fn open_at_once(&self, count: usize) -> BTreeMap<String, usize> {
        self.runtime.block_on(async {
            let tasks: Vec<_> = (0..count)
                .map(|_| {
                    let shared = Arc::clone(&self.shared);
                    tokio::spawn(async move {
                        match tokio::time::timeout(PATIENCE, shared.open()).await {
                            Ok(Ok(())) => "connected".to_owned(),
                            Ok(Err(error)) => error.to_string(),
                            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
                        }
                    })
                })
                .collect();
            let mut outcomes = BTreeMap::new();
            for task in tasks {
                let outcome = task.await.unwrap_or_else(|error| error.to_string());
                *outcomes.entry(outcome).or_default() += 1;
            }
            outcomes
        })
    }
}

impl Shared {
    async fn open(&self) -> Outcome<()> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let mut stream: Box<dyn Bytes> = if self.kind.has_tls() {
            Box::new(self.connector.connect("localhost".try_into()?, socket).await?)
        } else {
            Box::new(socket)
        };
        let packet = connect(&format!("c{number}"));
        if self.kind.has_websocket() {
            stream.write_all(UPGRADE).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await?);
            }
            // A final binary frame under a mask of zeros.
            let length = u8::try_from(packet.len())?;
            stream
                .write_all(&[&[0x82, 0x80 | length, 0, 0, 0, 0], packet.as_slice()].concat())
                .await?;
            stream.read_exact(&mut [0; 2]).await?;
        } else {
            stream.write_all(&packet).await?;
        }
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        if answer != [0x20, 2, 0, 0] {
            return Err(format!("answered with {answer:?}").into());
        }
        self.connected.lock().map_err(|_| "a client failed")?.push(stream);
        Ok(())
    }
}

/// What the process of a storm does: all connect at once, and leave at once when the input ends.
pub(crate) fn storm(kind: Kind, port: u16, authority: &str, count: usize) -> Outcome<()> {
    let clients = Clients::new(kind, port, authority)?;
    let began = Instant::now();
    for (outcome, count) in clients.open_at_once(count) {
        println!("  clients: {count} {outcome}");
    }
    println!("  clients: all that were served were within {:.1} s", began.elapsed().as_secs_f64());
    println!("{SERVED}");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

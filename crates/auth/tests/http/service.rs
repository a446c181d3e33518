//! A service on a free port of this machine that says what a test wants.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

const CERTIFICATE: &str = "ca.pem";

/// What the service does with a question.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers with this status and body.
    Says(u16, String),
    /// Answers so once the gate is open.
    Waits(String),
    /// Sends these bytes, whatever they are, and closes.
    Raw(Vec<u8>),
    /// Sends these bytes again and again for as long as they are taken.
    Endless(Vec<u8>),
    /// Says nothing and keeps the connection.
    Silence,
}

impl Reply {
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::Says(200, body.to_string())
    }
}

/// A service, which ends with this value.
pub(crate) struct Service {
    address: SocketAddr,
    secure: bool,
    shared: Arc<Shared>,
    gate: watch::Sender<bool>,
    /// Holds what has to be trusted to believe it, should it be asked by HTTPS.
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    reply: Mutex<Reply>,
    /// Heads and bodies of the questions so far.
    questions: Mutex<Vec<(String, String)>>,
    arrived: watch::Sender<usize>,
    connections: Mutex<usize>,
}

impl Service {
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::begin(reply, false).await
    }

    /// One that is reached by HTTPS as `localhost`.
    pub(crate) async fn secure(reply: Reply) -> Self {
        Self::begin(reply, true).await
    }

    async fn begin(reply: Reply, secure: bool) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CERTIFICATE), cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let tls = secure.then(|| TlsAcceptor::from(Arc::new(config)));

        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, _) = watch::channel(0);
        let shared = Arc::new(Shared {
            reply: Mutex::new(reply),
            questions: Mutex::new(Vec::new()),
            arrived,
            connections: Mutex::new(0),
        });
        let (gate, opened) = watch::channel(false);
        let theirs = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                *theirs.connections.lock().unwrap() += 1;
                tokio::spawn(serve(socket, tls.clone(), Arc::clone(&theirs), opened.clone()));
            }
        });
        Self { address, secure, shared, gate, folder, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        if self.secure {
            format!("https://localhost:{}{path}", self.address.port())
        } else {
            format!("http://{}{path}", self.address)
        }
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    pub(crate) fn says(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    pub(crate) fn questions(&self) -> Vec<(String, String)> {
        self.shared.questions.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// Waits until this many questions have come in all.
    pub(crate) async fn asked(&self, count: usize) {
        let mut arrived = self.shared.arrived.subscribe();
        arrived.wait_for(|arrived| *arrived >= count).await.unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    gate: watch::Receiver<bool>,
) {
    match tls {
        Some(tls) => {
            if let Ok(socket) = tls.accept(socket).await {
                answer(socket, &shared, gate).await;
            }
        }
        None => answer(socket, &shared, gate).await,
    }
}

async fn answer(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Shared,
    mut gate: watch::Receiver<bool>,
) {
    while let Some(question) = question(&mut socket).await {
        shared.questions.lock().unwrap().push(question);
        shared.arrived.send_modify(|arrived| *arrived += 1);
        let reply = shared.reply.lock().unwrap().clone();
        let written = match reply {
            Reply::Says(status, body) => socket.write_all(&http(status, &body)).await,
            Reply::Waits(body) => {
                gate.wait_for(|open| *open).await.unwrap();
                socket.write_all(&http(200, &body)).await
            }
            Reply::Raw(bytes) => {
                let _ = socket.write_all(&bytes).await;
                let _ = socket.shutdown().await;
                return;
            }
            Reply::Endless(bytes) => {
                while socket.write_all(&bytes).await.is_ok() {}
                return;
            }
            Reply::Silence => std::future::pending().await,
        };
        if written.is_err() {
            return;
        }
    }
}

fn http(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Words\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Location: http://127.0.0.1:1/elsewhere\r\n\r\n{body}"
    )
    .into_bytes()
}

async fn question(socket: &mut (impl AsyncRead + Unpin)) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some((head, body.to_owned()));
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

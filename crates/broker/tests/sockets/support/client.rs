//! A client that does what a test says and nothing else: no packet is sent or acknowledged on its own.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    net::SocketAddr,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use dunlin_codec::{Decoder, FrameLen, Qos, ReasonCode, SubscriptionOptions, Version};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, mpsc},
};

use super::*;

pub type Place = &'static Location<'static>;

/// By TCP, unless it is said by what else.
#[derive(Debug)]
pub struct Client<R = OwnedReadHalf, W = OwnedWriteHalf> {
    pub(super) version: Version,
    pub(super) reader: R,
    pub(super) writer: Option<W>,
    pub(super) decoder: Decoder,
    pub(super) input: BytesMut,
    pub(super) connack: Option<ConnAck>,
    pub(super) next_id: u16,
    /// What the server's Topic Aliases stand for on this connection.
    pub(super) aliases: BTreeMap<u16, String>,
    /// PUBLISHes in the bytes that were discarded.
    pub(super) discarded_publishes: usize,
}

/// What a client reads from.
pub trait Reading: AsyncRead + Unpin {}
impl<T: AsyncRead + Unpin> Reading for T {}

/// What a client writes to.
pub trait Writing: AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncWrite + Send + Unpin + 'static> Writing for T {}

/// The connection to the server by TCP.
impl Client {
    pub async fn dial(address: SocketAddr, version: Version) -> Self {
        Self::try_dial(address, version).await.expect("the broker listens")
    }

    /// [`Client::dial`] to a broker that may be gone.
    pub async fn try_dial(address: SocketAddr, version: Version) -> Option<Self> {
        let stream = within("a TCP connection", TcpStream::connect(address)).await.ok()?;
        Some(Self::on(stream, version))
    }

    /// A client on a connection that a test has made in its own way.
    pub fn on(stream: TcpStream, version: Version) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        let (reader, writer) = stream.into_split();
        Self::over(version, reader, writer)
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.reader.local_addr().expect("a connected socket")
    }

    /// Lets the kernel hold little of what the server sends.
    pub fn shrink_receive_buffer(&self) {
        socket2::SockRef::from(self.reader.as_ref())
            .set_recv_buffer_size(32 << 10)
            .expect("a socket option");
    }
}

/// The connection to the server, and what has come over it.
impl<R: Reading, W: Writing> Client<R, W> {
    pub fn over(version: Version, reader: R, writer: W) -> Self {
        Self {
            version,
            reader,
            writer: Some(writer),
            decoder: Decoder::client(version, permissive()),
            input: BytesMut::new(),
            connack: None,
            next_id: 0,
            aliases: BTreeMap::new(),
            discarded_publishes: 0,
        }
    }

    pub const fn version(&self) -> Version {
        self.version
    }

    pub fn connack(&self) -> &ConnAck {
        self.connack.as_ref().expect("a connected client")
    }

    /// Session Present as the version can say it: 3.1 has no such flag.
    #[track_caller]
    pub fn assert_session_present(&self, present: bool) {
        let present = present && self.version != Version::V3_1;
        assert_eq!(self.connack().session_present, present, "Session Present");
    }

    pub fn announced_receive_maximum(&self) -> Option<u16> {
        self.connack().properties.receive_maximum.map(std::num::NonZeroU16::get)
    }

    pub fn assigned_id(&self) -> String {
        let id = self.connack().properties.assigned_client_id.as_ref();
        id.expect("an Assigned Client Identifier").as_str().to_owned()
    }

    /// `None` when the server has closed.
    pub(super) async fn next(&mut self, place: Place) -> Option<Packet> {
        loop {
            match self.decoder.next_packet(&mut self.input) {
                Ok(Some(packet)) => return Some(packet),
                Ok(None) => {}
                Err(error) => panic!("{place}: the server sent what no client can read: {error}"),
            }
            if self.fill().await == 0 {
                assert!(
                    self.input.is_empty(),
                    "{place}: the server closed within a packet: {:?}",
                    self.input
                );
                return None;
            }
        }
    }

    /// Reads once; 0 when the server has closed.
    pub(super) async fn fill(&mut self) -> usize {
        match self.reader.read_buf(&mut self.input).await {
            Ok(count) => count,
            // Closed while some of our bytes were unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("reading failed: {error}"),
        }
    }

    /// Reads until `length` bytes are there; fewer when the server has closed.
    pub(super) async fn fill_to(&mut self, length: usize) {
        while self.input.len() < length {
            if self.fill().await == 0 {
                return;
            }
        }
    }
}

/// Sending.
impl<R: Reading, W: Writing> Client<R, W> {
    pub fn encoded(&self, packet: impl IntoPacket) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet
            .into_packet()
            .encode(self.version, &mut bytes)
            .expect("a packet that can be encoded");
        bytes
    }

    /// A PUBLISH whose topic no encoder would take.
    pub fn encoded_publish_to(&self, topic: &[u8], qos: Qos) -> Vec<u8> {
        let mut packet = publish("t", "x").qos(qos);
        if qos != QOS0 {
            packet = packet.id(1);
        }
        let mut bytes = self.encoded(packet);
        let length = u8::try_from(topic.len()).expect("a short topic");
        bytes[1] = bytes[1] + length - 1;
        bytes[3] = length;
        bytes.splice(4..5, topic.iter().copied());
        bytes
    }

    pub async fn send_publish_to(&mut self, topic: &[u8], qos: Qos) {
        let bytes = self.encoded_publish_to(topic, qos);
        self.send_bytes(&bytes).await;
    }

    #[track_caller]
    pub fn send(&mut self, packet: impl IntoPacket) -> impl Future<Output = ()> {
        let bytes = self.encoded(packet);
        let place = Location::caller();
        async move { self.write(place, &bytes).await.unwrap_or_else(|error| panic!("{place}: {error}")) }
    }

    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move { self.write(place, bytes).await.unwrap_or_else(|error| panic!("{place}: {error}")) }
    }

    /// [`Client::send`] to a server that may have closed.
    #[track_caller]
    pub fn try_send(&mut self, packet: impl IntoPacket) -> impl Future<Output = io::Result<()>> {
        let bytes = self.encoded(packet);
        let place = Location::caller();
        async move { self.write(place, &bytes).await }
    }

    #[track_caller]
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> {
        self.write(Location::caller(), bytes)
    }

    async fn write(&mut self, place: Place, bytes: &[u8]) -> io::Result<()> {
        let writer = self.writer.as_mut().expect("the writing half is here");
        let what = format!("the server to take {} bytes", bytes.len());
        within_at(place, PATIENCE, what, writer.write_all(bytes)).await
    }

    /// Gives the sending side to a task of its own, for a client that must go on reading while it writes.
    pub fn background_writer(&mut self) -> BackgroundWriter {
        let mut socket = self.writer.take().expect("the writing half is here");
        let (bytes, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
        let waiting = Arc::new((AtomicUsize::new(0), Notify::new()));
        let shared = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(bytes) = queue.recv().await {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
                shared.0.fetch_sub(bytes.len(), Ordering::Relaxed);
                shared.1.notify_one();
            }
        });
        BackgroundWriter { version: self.version, bytes, waiting }
    }

    pub(super) fn take_id(&mut self) -> u16 {
        self.next_id = self.next_id % 60_000 + 1;
        self.next_id
    }
}

#[derive(Debug)]
pub struct BackgroundWriter {
    version: Version,
    bytes: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Arc<(AtomicUsize, Notify)>,
}

impl BackgroundWriter {
    pub fn write(&self, packet: impl IntoPacket) {
        let mut bytes = Vec::new();
        packet
            .into_packet()
            .encode(self.version, &mut bytes)
            .expect("a packet that can be encoded");
        self.waiting.0.fetch_add(bytes.len(), Ordering::Relaxed);
        self.bytes.send(bytes).expect("the server reads");
    }

    pub fn has_room(&self) -> bool {
        self.waiting.0.load(Ordering::Relaxed) < 256 << 10
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.0.load(Ordering::Relaxed) == 0
    }

    /// Waits until something was written.
    pub async fn progress(&self) {
        self.waiting.1.notified().await;
    }
}

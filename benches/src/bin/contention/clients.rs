//! Clients that wait for what they sent to come back before they send more, all in one thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;

/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 64;
/// Clients, or pairs of them.
const CLIENTS: usize = 64;

/// Messages under way to the one who gets them all: fewer than any bound of the broker, so that none is dropped.
const FAN_IN_AHEAD: u64 = 10_000;

/// What clients do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Load {
    /// Each to itself, a hundred messages at a time.
    Pairs,
    /// Each to itself, one message at a time: a turn of the broker for each.
    PairsOne,
    /// Each to itself with QoS 1, twenty under way.
    PairsQos1,
    /// All to the first, a hundred at a time.
    FanIn,
    /// Each subscribes to a wildcard and takes it back, over and over.
    Subscribing,
    /// Each connects, subscribes and leaves, over and over.
    Connecting,
}

impl Load {
    pub(crate) const ALL: [Self; 6] = [
        Self::Pairs,
        Self::PairsOne,
        Self::PairsQos1,
        Self::FanIn,
        Self::Subscribing,
        Self::Connecting,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pairs => "64 pairs, QoS 0, 100 messages a read",
            Self::PairsOne => "64 pairs, QoS 0, one message a read",
            Self::PairsQos1 => "64 pairs, QoS 1, window 20",
            Self::FanIn => "64 to one, QoS 0, 100 messages a read",
            Self::Subscribing => "64 clients, SUBSCRIBE and UNSUBSCRIBE",
            Self::Connecting => "64 clients, CONNECT to DISCONNECT",
        }
    }

    const fn at_once(self) -> usize {
        match self {
            Self::Pairs | Self::FanIn => 100,
            Self::PairsQos1 => 20,
            Self::PairsOne | Self::Subscribing | Self::Connecting => 1,
        }
    }
}

/// Runs clients until it is to stop, and counts what is done.
pub(crate) fn run(
    address: SocketAddr,
    load: Load,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let sent = Arc::new(AtomicU64::new(0));
        let subscribed = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for number in 0..CLIENTS {
            let (done, sent) = (Arc::clone(&done), Arc::clone(&sent));
            let subscribed = Arc::clone(&subscribed);
            let client = Client { address, number, done, sent, subscribed };
            let stop = Arc::clone(&stop);
            tasks.push(tokio::spawn(async move {
                tokio::select! {
                    ended = client.run(load) => ended,
                    () = stopped(&stop) => Ok(()),
                }
            }));
        }
        for task in tasks {
            task.await??;
        }
        Ok(())
    })
}

async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Client {
    address: SocketAddr,
    number: usize,
    done: Arc<AtomicU64>,
    /// What was sent to the one who gets it all.
    sent: Arc<AtomicU64>,
    /// Whether that one has subscribed.
    subscribed: Arc<AtomicBool>,
}

impl Client {
    async fn run(self, load: Load) -> Outcome<()> {
        match load {
            Load::Connecting => loop {
                let mut stream = self.connect().await?;
                subscribe(&mut stream, &format!("own/{}", self.number), 0).await?;
                stream.write_all(&[0xe0, 0]).await?;
                self.count(1);
            },
            Load::Subscribing => {
                let mut stream = self.connect().await?;
                let filter = format!("own/{}/+", self.number);
                loop {
                    subscribe(&mut stream, &filter, 0).await?;
                    unsubscribe(&mut stream, &filter).await?;
                    self.count(2);
                }
            }
            Load::FanIn if self.number > 0 => {
                let mut stream = self.connect().await?;
                let frames = frames("all", 0, load.at_once());
                while !self.subscribed.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                loop {
                    let arrived = self.done.load(Ordering::Relaxed);
                    let sent = self.sent.load(Ordering::Relaxed);
                    if sent.saturating_sub(arrived) > FAN_IN_AHEAD {
                        tokio::task::yield_now().await;
                        continue;
                    }
                    self.sent.fetch_add(load.at_once() as u64, Ordering::Relaxed);
                    stream.write_all(&frames).await?;
                }
            }
            Load::FanIn => {
                let mut stream = self.connect().await?;
                subscribe(&mut stream, "all", 0).await?;
                self.subscribed.store(true, Ordering::Relaxed);
                let frame = frames("all", 0, 1).len();
                let mut read = vec![0; frame * load.at_once()];
                loop {
                    stream.read_exact(&mut read).await?;
                    self.count(load.at_once() as u64);
                }
            }
            Load::Pairs | Load::PairsOne => self.echo(load, 0).await,
            Load::PairsQos1 => self.echo(load, 1).await,
        }
    }

    /// Sends to a topic of its own, and waits for all of it.
    async fn echo(&self, load: Load, qos: u8) -> Outcome<()> {
        let mut stream = self.connect().await?;
        let topic = format!("own/{}", self.number);
        subscribe(&mut stream, &topic, qos).await?;
        let frames = frames(&topic, qos, load.at_once());
        let acknowledged = if qos > 0 { ACK_BYTES * load.at_once() } else { 0 };
        let mut read = vec![0; frames.len() + acknowledged];
        let mut acks = Vec::new();
        loop {
            stream.write_all(&frames).await?;
            stream.read_exact(&mut read).await?;
            if qos > 0 {
                acks.clear();
                acknowledge(&read, topic.len(), &mut acks);
                stream.write_all(&acks).await?;
            }
            self.count(load.at_once() as u64);
        }
    }

    fn count(&self, messages: u64) {
        self.done.fetch_add(messages, Ordering::Relaxed);
    }

    async fn connect(&self) -> Outcome<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let id = format!("c{}", self.number);
        let mut connect = b"\x00\x04MQTT\x04\x02\x00\x3c".to_vec();
        text(&id, &mut connect);
        stream.write_all(&packet(0x10, &connect)).await?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await?;
        if connack != [0x20, 2, 0, 0] {
            return Err(format!("CONNACK is {connack:?}").into());
        }
        Ok(stream)
    }
}

/// Bytes of PUBACK.
const ACK_BYTES: usize = 4;

async fn subscribe(stream: &mut TcpStream, filter: &str, qos: u8) -> Outcome<()> {
    let mut body = vec![0, 1];
    text(filter, &mut body);
    body.push(qos);
    stream.write_all(&packet(0x82, &body)).await?;
    let mut suback = [0; 5];
    stream.read_exact(&mut suback).await?;
    if suback != [0x90, 3, 0, 1, qos] {
        return Err(format!("SUBACK is {suback:?}").into());
    }
    Ok(())
}

async fn unsubscribe(stream: &mut TcpStream, filter: &str) -> Outcome<()> {
    let mut body = vec![0, 1];
    text(filter, &mut body);
    stream.write_all(&packet(0xa2, &body)).await?;
    let mut unsuback = [0; 4];
    stream.read_exact(&mut unsuback).await?;
    if unsuback != [0xb0, 2, 0, 1] {
        return Err(format!("UNSUBACK is {unsuback:?}").into());
    }
    Ok(())
}

/// So many PUBLISHes, with Packet Identifiers from 1 on where there are any.
fn frames(topic: &str, qos: u8, count: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    for id in (1_u16..).take(count) {
        let mut body = Vec::new();
        text(topic, &mut body);
        if qos > 0 {
            body.extend_from_slice(&id.to_be_bytes());
        }
        body.extend_from_slice(&[b'x'; PAYLOAD_BYTES]);
        frames.extend(packet(0x30 | qos << 1, &body));
    }
    frames
}

/// A PUBACK for each PUBLISH among short packets.
fn acknowledge(mut frames: &[u8], topic: usize, acks: &mut Vec<u8>) {
    while let [first, len, body @ ..] = frames {
        let Some((body, rest)) = body.split_at_checked(usize::from(*len)) else { return };
        if first >> 4 == 3
            && let Some(id) = body.get(2 + topic..4 + topic)
        {
            acks.extend_from_slice(&[0x40, 2]);
            acks.extend_from_slice(id);
        }
        frames = rest;
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A packet whose body is shorter than 128 bytes.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).unwrap_or(u8::MAX);
    [&[first, len], body].concat()
}

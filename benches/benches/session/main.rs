//! The state of one session in Dunlin's machine and in other libraries', in one run.
//!
//! Bytes go in and bytes come out. Before it is timed, each machine must hand over the same messages, and write the same
//! packets.

#![expect(missing_docs, reason = "criterion makes an undocumented function")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "most events of other libraries ask for nothing"
)]

mod dunlin;
mod flowsdk;
mod mqtt_protocol_core;
mod rumqttc;

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use dunlin_benches::exchanges::{self, Client, Direction, Exchange, PAYLOAD, TOPIC, identifiers};
use dunlin_codec::{AckKind, DecodeLimits, Packet, PacketRef, Qos, Version, decode};

/// Every packet between CONNECT and DISCONNECT, in the order of its kind.
type Written = Vec<(&'static str, u16)>;

/// One side of a connection that is open.
trait Machine: Sized {
    const NAME: &'static str;

    fn open(client: Client) -> Self;
    /// Takes in what was read, and writes the answers. Gives the bytes of topics and payloads that it handed over.
    fn receive(&mut self, read: &[u8], written: &mut Vec<u8>) -> usize;
    /// Publishes the message so many times.
    fn publish(&mut self, qos: Qos, count: usize, written: &mut Vec<u8>);
}

/// A server's side of a connection from its first byte.
trait Server {
    const NAME: &'static str;

    /// Takes CONNECT, accepts it, writes CONNACK, and forgets all.
    fn open(client: Client, connect: &[u8], written: &mut Vec<u8>);
}

fn windows(criterion: &mut Criterion) {
    for exchange in &exchanges::all() {
        let group = criterion.benchmark_group(format!("session/{}", exchange.name()));
        let mut run = Run::new(group, exchange);
        if exchange.direction == Direction::In {
            run.time::<dunlin::Owned>();
        }
        run.time::<dunlin::Plain>();
        run.time::<mqtt_protocol_core::Peer>();
        run.time::<flowsdk::Peer>();
        match exchange.client.version {
            Version::V3_1 | Version::V3_1_1 => run.time::<rumqttc::V3>(),
            Version::V5 => run.time::<rumqttc::V5>(),
        }
        run.group.finish();
    }
}

fn openings(criterion: &mut Criterion) {
    for client in Client::ALL {
        let mut group = criterion.benchmark_group(format!("session/{}", client.opening()));
        open::<dunlin::Plain>(&mut group, client);
        open::<mqtt_protocol_core::Peer>(&mut group, client);
        group.finish();
    }
}

fn open<S: Server>(group: &mut BenchmarkGroup<'_, WallTime>, client: Client) {
    let connect = client.connect();
    let mut written = Vec::new();
    S::open(client, &connect, &mut written);
    let limits = DecodeLimits::default();
    let packet = decode(&written, client.version, &limits);
    let Ok(Some((Packet::ConnAck(_), len))) = packet else {
        panic!("{} answers {written:?}", S::NAME);
    };
    assert_eq!(len, written.len(), "{} writes CONNACK and nothing else", S::NAME);
    group.bench_function(S::NAME, |bencher| {
        bencher.iter(|| {
            written.clear();
            S::open(client, black_box(&connect), &mut written);
            black_box(&written);
        });
    });
}

/// One exchange, to be had with each machine.
struct Run<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    exchange: &'a Exchange,
    publishes: Vec<u8>,
    releases: Vec<u8>,
}

/// What went to and fro.
#[derive(Default)]
struct Wire {
    /// What the machine wrote last.
    written: Vec<u8>,
    /// What its peer answered.
    answers: Vec<u8>,
    /// Bytes handed over.
    handed_over: usize,
    /// Everything written, while that is to be proven.
    log: Option<Vec<u8>>,
}

impl<'a> Run<'a> {
    fn new(group: BenchmarkGroup<'a, WallTime>, exchange: &'a Exchange) -> Self {
        let (publishes, releases) = (exchange.publishes(), exchange.acks(AckKind::PubRel));
        Self { group, exchange, publishes, releases }
    }

    fn time<M: Machine>(&mut self) {
        let Self { group, exchange, publishes, releases } = self;
        let mut machine = M::open(exchange.client);
        let mut wire = Wire::default();
        let once = |machine: &mut M, wire: &mut Wire| match exchange.direction {
            Direction::In => inbound(machine, exchange.qos, publishes, releases, wire),
            Direction::Out => outbound(machine, exchange.qos, exchange.window, wire),
        };
        // The second window must be like the first: nothing may be left over.
        for _ in 0..2 {
            wire.log = Some(Vec::new());
            wire.handed_over = 0;
            once(&mut machine, &mut wire);
            let log = wire.log.take().unwrap_or_default();
            let name = exchange.name();
            assert_eq!(packets(&log, exchange), expected(exchange), "{} in {name}", M::NAME);
            let inbound = exchange.direction == Direction::In;
            let bytes = if inbound { exchange.window * (TOPIC.len() + PAYLOAD.len()) } else { 0 };
            assert_eq!(wire.handed_over, bytes, "{} hands over in {name}", M::NAME);
        }
        group.throughput(Throughput::Elements(exchange.window as u64));
        group.bench_function(M::NAME, |bencher| {
            bencher.iter(|| {
                once(&mut machine, &mut wire);
                black_box(&wire.written);
            });
        });
    }
}

fn inbound<M: Machine>(
    machine: &mut M,
    qos: Qos,
    publishes: &[u8],
    releases: &[u8],
    wire: &mut Wire,
) {
    wire.receive(machine, publishes);
    if qos == Qos::ExactlyOnce {
        wire.receive(machine, releases);
    }
}

fn outbound<M: Machine>(machine: &mut M, qos: Qos, window: usize, wire: &mut Wire) {
    wire.written.clear();
    machine.publish(qos, window, &mut wire.written);
    wire.note();
    if qos == Qos::ExactlyOnce {
        wire.answer(machine, AckKind::PubRec);
        wire.answer(machine, AckKind::PubComp);
    } else {
        wire.answer(machine, AckKind::PubAck);
    }
}

impl Wire {
    fn receive<M: Machine>(&mut self, machine: &mut M, read: &[u8]) {
        self.written.clear();
        self.handed_over += machine.receive(black_box(read), &mut self.written);
        self.note();
    }

    /// Answers each packet that the machine wrote last.
    fn answer<M: Machine>(&mut self, machine: &mut M, kind: AckKind) {
        let mut answers = std::mem::take(&mut self.answers);
        answers.clear();
        identifiers(&self.written, |id| {
            let [high, low] = id.to_be_bytes();
            answers.extend_from_slice(&[first_byte(kind), 2, high, low]);
        });
        self.receive(machine, &answers);
        self.answers = answers;
    }

    fn note(&mut self) {
        if let Some(log) = &mut self.log {
            log.extend_from_slice(&self.written);
        }
    }
}

const fn first_byte(kind: AckKind) -> u8 {
    match kind {
        AckKind::PubAck => 0x40,
        AckKind::PubRec => 0x50,
        AckKind::PubRel => 0x62,
        AckKind::PubComp => 0x70,
    }
}

/// What was written. Which identifiers a machine gives to messages is its own affair, so that of those it is only said
/// whether they are all different.
fn packets(mut frames: &[u8], exchange: &Exchange) -> Written {
    let mut packets = Vec::new();
    let mut own = Vec::new();
    let limits = DecodeLimits::default();
    while !frames.is_empty() {
        let decoded: Option<(PacketRef<'_>, usize)> =
            decode(frames, exchange.client.version, &limits).expect("the packets are valid");
        let (packet, len) = decoded.expect("the packets are whole");
        frames = frames.get(len..).unwrap_or_default();
        let (kind, id) = match packet {
            Packet::Publish(publish) => {
                assert_eq!(publish.topic, TOPIC);
                assert_eq!(publish.payload, PAYLOAD);
                assert_eq!(
                    (publish.qos, publish.dup, publish.retain),
                    (exchange.qos, false, false)
                );
                let id = publish.packet_id.expect("its QoS is above 0");
                assert!(!own.contains(&id), "{id:?} is used twice");
                own.push(id);
                ("PUBLISH", id)
            }
            Packet::PubAck(ack) => ("PUBACK", ack.packet_id),
            Packet::PubRec(ack) => ("PUBREC", ack.packet_id),
            Packet::PubRel(ack) => ("PUBREL", ack.packet_id),
            Packet::PubComp(ack) => ("PUBCOMP", ack.packet_id),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Subscribe(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect(_)
            | Packet::Auth(_) => panic!("no such packet is due"),
        };
        let place = own.iter().position(|own| *own == id);
        let number = match (exchange.direction, place) {
            (Direction::Out, Some(place)) => u16::try_from(place + 1).unwrap_or(0),
            _ => id.get(),
        };
        packets.push((kind, number));
    }
    packets
}

fn expected(exchange: &Exchange) -> Written {
    let kinds: &[&str] = match (exchange.direction, exchange.qos) {
        (Direction::In, Qos::ExactlyOnce) => &["PUBREC", "PUBCOMP"],
        (Direction::In, _) => &["PUBACK"],
        (Direction::Out, Qos::ExactlyOnce) => &["PUBLISH", "PUBREL"],
        (Direction::Out, _) => &["PUBLISH"],
    };
    let numbers = |kind| (1..).take(exchange.window).map(move |number| (kind, number));
    kinds.iter().flat_map(|kind| numbers(*kind)).collect()
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2));
    targets = windows, openings
}
criterion_main!(benches);

//! The machine of one client.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::{
    DecodeLimits, Message, Packet, PacketId, PacketRef, Publish, Qos, ReasonCode, Version, decode,
    decode_connect, frames_of_run, publish_run, renumber_run,
};
use dunlin_session::{
    Capabilities, Connection, Delivery, Input, Origin, Output, Outputs, Run, Session,
    SubscriptionIds,
};
use dunlin_topics::TopicName;

use crate::Operation;

pub(crate) const OPERATIONS: &[(&str, Operation)] = &[
    ("session/publish-qos0-in", |times| publish_in(b"\x30\x07\x00\x01t21.5", times)),
    ("session/publish-qos1-in", |times| publish_in(b"\x32\x09\x00\x01t\x00\x0721.5", times)),
    ("session/deliver-qos0", |times| deliver(Qos::AtMostOnce, times)),
    ("session/deliver-qos1-and-puback", |times| deliver(Qos::AtLeastOnce, times)),
    ("session/run-of-100-qos1-and-pubacks", run_out),
    ("session/run-of-100-qos2-in-and-pubrels", run_in),
];

/// So many PUBLISHes of MQTT 3.1.1, and acknowledgements of them.
const FRAMES: u16 = 100;

fn frames(first: u8) -> Vec<u8> {
    let frame = |id: u16| {
        let [high, low] = id.to_be_bytes();
        [&[first, 9, 0, 1, b't', high, low][..], b"21.5"].concat()
    };
    (1..=FRAMES).flat_map(frame).collect()
}

fn acks(first: u8, ids: impl Iterator<Item = PacketId>) -> Vec<u8> {
    ids.flat_map(|id| {
        let [high, low] = id.get().to_be_bytes();
        [first, 2, high, low]
    })
    .collect()
}

/// A connection of MQTT 3.1.1 that is open.
fn connection(now: Instant) -> Connection {
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c";
    let (connect, _) =
        decode_connect(connect, &DecodeLimits::default()).expect("valid").expect("whole");
    let mut connection = Connection::new(Arc::new(Capabilities::default()), 0, now);
    let mut out = Outputs::new();
    connection.handle(Input::Packet(Packet::Connect(connect)), now, &mut out).expect("accepted");
    while let Some(output) = out.pop() {
        let answer = if let Output::Authenticate(_) = output {
            Input::Authenticated(Ok(None))
        } else if let Output::Attach(attach) = output {
            let session = Box::new(Session::new(attach.client_id));
            Input::Attached { session, session_present: false }
        } else {
            continue;
        };
        connection.handle(answer, now, &mut out).expect("accepted");
    }
    connection
}

/// From the bytes of the publisher to the last PUBACK of a subscriber.
fn run_out(times: u32) {
    let now = Instant::now();
    let mut connection = connection(now);
    let mut out = Outputs::new();
    let frames = frames(0x32);
    let (version, limits) = (Version::V3_1_1, DecodeLimits::default());
    let topic = TopicName::copy_from("t").expect("valid");
    let mut written = Vec::new();
    for number in 0..u64::from(times) {
        let qos = Qos::AtLeastOnce;
        let found = publish_run(black_box(&frames), qos, version, &limits, usize::MAX);
        let run = Run::new(&frames, &found, topic.clone(), qos, version);
        let mut run = run.expect("a small run");
        run.place_at(number * u64::from(FRAMES) + 1);
        let pubacks = acks(0x40, run.packet_ids());
        written.clear();
        let write = |run: &Run| {
            written.extend_from_slice(run.bytes());
            renumber_run(&mut written, run.packet_ids());
        };
        connection.deliver_run(run, write).expect("there is quota");
        let settled = connection.pubacks_of_runs(black_box(&pubacks), now, &mut out);
        assert_eq!(settled.messages, usize::from(FRAMES));
    }
}

fn run_in(times: u32) {
    let now = Instant::now();
    let mut connection = connection(now);
    let frames = frames(0x34);
    let ids = frames_of_run(&frames, Version::V3_1_1).filter_map(|frame| frame.packet_id);
    let pubrels = acks(0x62, ids.clone());
    for _ in 0..times {
        assert!(connection.receive_run(black_box(ids.clone()), now));
        let count = connection.pubrels(black_box(&pubrels), now, |id| {
            black_box(id);
        });
        assert_eq!(count, usize::from(FRAMES));
    }
}

fn publish_in(frame: &[u8], times: u32) {
    let now = Instant::now();
    let mut connection = connection(now);
    let mut out = Outputs::new();
    for _ in 0..times {
        let packet: Option<(PacketRef<'_>, usize)> =
            decode(black_box(frame), Version::V3_1_1, &DecodeLimits::default()).expect("valid");
        let Some((Packet::Publish(publish), _)) = packet else { unreachable!("it is a PUBLISH") };
        let publish: Publish<&[u8]> = publish;
        let route =
            connection.publish(publish, now, &mut out).expect("accepted").expect("to be routed");
        if let Some(token) = route.token {
            connection.routed(token, ReasonCode::Success, |ack| {
                black_box(ack);
            });
        }
    }
}

fn deliver(qos: Qos, times: u32) {
    let now = Instant::now();
    let mut connection = connection(now);
    let mut out = Outputs::new();
    let message = Arc::new(Message {
        topic: TopicName::copy_from("t").expect("valid"),
        payload: Bytes::from_static(b"21.5"),
        qos,
        retain: false,
        properties: None,
    });
    for number in 0..u64::from(times) {
        let delivery = Delivery {
            message: Arc::clone(&message),
            qos,
            retain: false,
            subscription_ids: SubscriptionIds::new(),
            seq: if qos > Qos::AtMostOnce { number + 1 } else { 0 },
            expires_at: None,
            sent_before: false,
            origin: Origin::Plain,
        };
        let outgoing =
            connection.deliver(delivery, now, &mut out).expect("open").expect("to be sent");
        if let Some(packet_id) = outgoing.packet_id {
            black_box(connection.puback(packet_id, now, &mut out)).expect("it was sent");
        }
        black_box(&outgoing);
    }
}

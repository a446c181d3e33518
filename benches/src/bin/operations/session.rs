//! The machine of one client.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::{
    DecodeLimits, Message, Packet, PacketRef, Publish, Qos, ReasonCode, Version, decode,
    decode_connect,
};
use dunlin_session::{
    Capabilities, Connection, Delivery, Input, Origin, Output, Outputs, Session, SubscriptionIds,
};
use dunlin_topics::TopicName;

use crate::Operation;

pub(crate) const OPERATIONS: &[(&str, Operation)] = &[
    ("session/publish-qos0-in", |times| publish_in(b"\x30\x07\x00\x01t21.5", times)),
    ("session/publish-qos1-in", |times| publish_in(b"\x32\x09\x00\x01t\x00\x0721.5", times)),
    ("session/deliver-qos0", |times| deliver(Qos::AtMostOnce, times)),
    ("session/deliver-qos1-and-puback", |times| deliver(Qos::AtLeastOnce, times)),
];

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

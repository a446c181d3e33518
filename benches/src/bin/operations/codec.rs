//! Packets read and written.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use dunlin_benches::packets::{Sample, all};
use dunlin_codec::{
    AckKind, DecodeLimits, Decoder, Hop, Message, Packet, PacketId, ReasonCode, Version, decode,
    encode_ack, encode_publish_head,
};

use crate::Operation;

pub(crate) const OPERATIONS: &[(&str, Operation)] = &[
    ("decode/publish-3.1.1-qos0", |times| read("PUBLISH 3.1.1 QoS 0 16 B", times)),
    ("decode/publish-3.1.1-qos1", |times| read("PUBLISH 3.1.1 QoS 1 256 B", times)),
    ("decode/publish-5.0-qos0", |times| read("PUBLISH 5.0 QoS 0 16 B", times)),
    ("decode/publish-5.0-5-properties", |times| {
        read("PUBLISH 5.0 5 user properties QoS 1 256 B", times)
    }),
    ("decode/connect-5.0", |times| read("CONNECT 5.0", times)),
    ("decode/subscribe-5.0", |times| read("SUBSCRIBE 5.0 10 filters", times)),
    ("encode/publish-3.1.1", |times| write("PUBLISH 3.1.1 QoS 0 16 B", times)),
    ("encode/publish-5.0-5-properties", |times| {
        write("PUBLISH 5.0 5 user properties QoS 1 256 B", times)
    }),
    ("encode/publish-head", publish_head),
    ("encode/puback", puback),
];

fn sample(name: &str) -> Sample {
    all().into_iter().find(|sample| sample.name == name).expect("it is there")
}

fn read(name: &str, times: u32) {
    let Sample { frame, version, .. } = sample(name);
    let limits = DecodeLimits::default();
    for _ in 0..times {
        black_box(decode(black_box(&frame), version, &limits)).expect("valid");
    }
}

fn packet(name: &str) -> (Packet<Bytes>, Version) {
    let Sample { frame, version, .. } = sample(name);
    let mut decoder = Decoder::client(version, DecodeLimits::default());
    let packet = decoder.next_packet(&mut BytesMut::from(&*frame)).expect("valid");
    (packet.expect("whole"), version)
}

fn write(name: &str, times: u32) {
    let (packet, version) = packet(name);
    let mut out = Vec::with_capacity(4096);
    for _ in 0..times {
        out.clear();
        black_box(&packet).encode(version, &mut out).expect("it fits");
        black_box(&out);
    }
}

fn publish_head(times: u32) {
    let (Packet::Publish(publish), version) = packet("PUBLISH 5.0 QoS 1 256 B") else {
        unreachable!("it is a PUBLISH")
    };
    let mut frame = Vec::new();
    Packet::Publish(publish).encode(version, &mut frame).expect("it fits");
    let decoded = decode(&frame, version, &DecodeLimits::default()).expect("valid");
    let Some((Packet::Publish(publish), _)) = decoded else { unreachable!("it is a PUBLISH") };
    let topic = std::str::from_utf8(publish.topic.as_ref()).expect("text");
    let topic = dunlin_topics::TopicName::copy_from(topic).expect("valid");
    let message = Message::copy_from(&publish, topic);
    let hop = Hop { packet_id: PacketId::new(7), qos: message.qos, ..Hop::default() };
    let mut out = Vec::with_capacity(4096);
    for _ in 0..times {
        out.clear();
        encode_publish_head(black_box(&message), &hop, version, &mut out);
        black_box(&out);
    }
}

fn puback(times: u32) {
    let mut out = Vec::with_capacity(64);
    let packet_id = PacketId::new(7).expect("not 0");
    for _ in 0..times {
        out.clear();
        encode_ack(
            AckKind::PubAck,
            black_box(packet_id),
            ReasonCode::Success,
            Version::V5,
            &mut out,
        );
        black_box(&out);
    }
}

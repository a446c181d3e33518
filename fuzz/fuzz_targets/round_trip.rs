//! What decodes can be written, in the length that was told, and decodes to the same again; and a PUBLISH leaves
//! through a message as it came.
//!
//! The first byte of the input chooses the version, the rest is a stream of packets.

#![no_main]

use bytes::Bytes;
use dunlin_codec::{
    DecodeLimits, Hop, Message, Packet, PacketRef, PublishRef, TextRules, TopicName, Version,
    decode, decode_connect, encode_publish_head, publish_len,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: DecodeLimits =
    DecodeLimits { packet_size_max: u32::MAX, text: TextRules::PERMISSIVE };

fuzz_target!(|input: &[u8]| {
    let Some((choice, stream)) = input.split_first() else { return };
    let version = Version::ALL[usize::from(*choice) % Version::ALL.len()];
    let bytes = Bytes::copy_from_slice(stream);
    let mut at = 0;
    if let Ok(Some((connect, len))) = decode_connect(&bytes, &LIMITS) {
        check(&Packet::Connect(connect), &bytes, version);
        at = len;
    }
    while let Ok(Some((packet, len))) = decode(&bytes[at..], version, &LIMITS) {
        check(&packet, &bytes, version);
        if let Packet::Publish(publish) = &packet {
            check_message(publish, version);
        }
        at += len;
    }
});

fn check(packet: &PacketRef<'_>, frame: &Bytes, version: Version) {
    let mut borrowed = Vec::new();
    packet.encode(version, &mut borrowed).expect("what decodes can be written");
    assert_eq!(packet.encoded_len(version), Ok(borrowed.len()));

    let owned = packet.to_owned_in(frame);
    let mut again = Vec::new();
    owned.encode(version, &mut again).expect("what decodes can be written");
    assert_eq!(again, borrowed);

    let again = Bytes::from(again);
    let (decoded, len) = match packet {
        Packet::Connect(_) => {
            let (connect, len) = decode_connect(&again, &LIMITS).unwrap().unwrap();
            (Packet::Connect(connect), len)
        }
        _ => decode(&again, version, &LIMITS).unwrap().unwrap(),
    };
    assert_eq!(len, again.len());
    assert_eq!(decoded.to_owned_in(&again), owned);
}

fn check_message(publish: &PublishRef<'_>, version: Version) {
    let Ok(topic) = TopicName::parse(publish.topic.as_bytes(), TextRules::PERMISSIVE) else {
        return;
    };
    let message = Message::copy_from(publish, topic);
    let ids: Vec<_> = publish.properties.subscription_ids.iter().collect();
    let hop = Hop {
        qos: publish.qos,
        packet_id: publish.packet_id,
        dup: publish.dup,
        retain: publish.retain,
        topic_alias: publish.properties.topic_alias.map(|alias| (alias, false)),
        subscription_ids: &ids,
        message_expiry_interval: message.message_expiry_interval(),
    };
    let mut bytes = Vec::new();
    encode_publish_head(&message, &hop, version, &mut bytes);
    bytes.extend_from_slice(&message.payload);
    assert_eq!(bytes.len(), publish_len(&message, &hop, version));
    let (decoded, len) = decode(&bytes, version, &LIMITS).unwrap().unwrap();
    assert_eq!(len, bytes.len());
    let (mut left, mut came) = (Vec::new(), Vec::new());
    decoded.encode(version, &mut left).unwrap();
    Packet::Publish(publish.clone()).encode(version, &mut came).unwrap();
    assert_eq!(left, came);
}

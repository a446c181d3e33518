//! Messages on their way out.

use bytes::Bytes;
use dunlin_codec::{
    DecodeLimits, Hop, Message, Packet, PacketId, Publish, Qos, SubscriptionId, TopicAlias,
    Version, decode, decode_connect, encode_publish_head, publish_len,
};
use dunlin_topics::{Text, TopicName};
use proptest::prelude::*;

use crate::{
    support::{encode, packet},
    values::publishes,
};

/// The message of a PUBLISH, as a broker keeps it.
fn message_of(publish: &Publish<Bytes>, version: Version, topic: &TopicName) -> Message {
    let bytes = encode(&Packet::Publish(publish.clone()), version);
    match decode(&bytes, version, &DecodeLimits::default()) {
        Ok(Some((Packet::Publish(publish), _))) => Message::copy_from(&publish, topic.clone()),
        other => panic!("{other:?}"),
    }
}

proptest! {
    /// A message leaves as the PUBLISH that came in, but for what belongs to the hop.
    #[test]
    fn messages_leave_as_they_came(
        (came, leaves) in prop::sample::select(&[
            (Version::V3_1_1, Version::V3_1), (Version::V3_1_1, Version::V5),
            (Version::V5, Version::V3_1_1), (Version::V5, Version::V5),
        ][..]),
        publish in publishes(Version::V5),
        qos in prop::sample::select(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][..]),
        (dup, retain, alias_known) in any::<(bool, bool, bool)>(),
        topic_alias in prop::option::of(1..=65_535_u16),
        subscription_ids in prop::collection::vec(1..=268_435_455_u32, 0..4),
        message_expiry_interval: Option<u32>,
    ) {
        let topic = TopicName::copy_from("a/topic").unwrap();
        let publish = Publish { topic: topic.text().clone(), ..publish };
        let message = message_of(&publish, came, &topic);
        let subscription_ids: Vec<_> = subscription_ids.into_iter().filter_map(SubscriptionId::new).collect();
        let topic_alias = topic_alias.and_then(TopicAlias::new);
        let hop = Hop {
            qos,
            packet_id: if qos > Qos::AtMostOnce { PacketId::new(77) } else { None },
            dup: dup && qos > Qos::AtMostOnce,
            retain,
            topic_alias: topic_alias.map(|alias| (alias, alias_known)),
            subscription_ids: &subscription_ids,
            message_expiry_interval,
        };

        let mut bytes = b"before".to_vec();
        encode_publish_head(&message, &hop, leaves, &mut bytes);
        bytes.extend_from_slice(&message.payload);
        let bytes = Bytes::from(bytes.split_off(6));
        prop_assert_eq!(publish_len(&message, &hop, leaves), bytes.len());

        let mut expected = Publish {
            dup: hop.dup,
            retain,
            qos,
            packet_id: hop.packet_id,
            topic: if topic_alias.is_some() && alias_known && leaves.is_v5() { Text::empty() } else { publish.topic },
            properties: Default::default(),
            payload: publish.payload,
        };
        if leaves.is_v5() {
            if came.is_v5() {
                expected.properties = publish.properties;
            }
            expected.properties.message_expiry_interval = message_expiry_interval;
            expected.properties.topic_alias = topic_alias;
            expected.properties.subscription_ids = subscription_ids.iter().copied().collect();
        }
        let (decoded, len) = decode(&bytes, leaves, &DecodeLimits::default()).unwrap().unwrap();
        prop_assert_eq!(len, bytes.len());
        prop_assert_eq!(decoded.to_owned_in(&bytes), Packet::Publish(expected));
    }
}

#[test]
fn a_message_owns_its_bytes() {
    let bytes = packet("31 # $'a/b' 0f 02 00000009 03 $'text' 09 $'' 'payload'");
    let Ok(Some((Packet::Publish(publish), _))) =
        decode(&bytes, Version::V5, &DecodeLimits::default())
    else {
        panic!("not a PUBLISH")
    };
    let message = Message::copy_from(&publish, TopicName::copy_from("a/b").unwrap());
    drop(bytes);
    assert_eq!(message.payload, "payload");
    assert_eq!((message.retain, message.qos), (true, Qos::AtMostOnce));
    assert_eq!(message.message_expiry_interval(), Some(9));
    let properties = message.properties.as_deref().unwrap();
    assert_eq!(properties.content_type, Text::copy_from("text").ok());
    assert_eq!(properties.correlation_data, Some(Bytes::new()));
    assert!(message.size() > "a/b".len() + "payload".len() + "text".len());
}

#[test]
fn a_will_is_a_message() {
    let bytes = packet("10 # $'MQTT' 05 2e 003c 00 $'c' 07 18 00000005 01 01 $'w/x' $'gone'");
    let (connect, _) = decode_connect(&bytes, &DecodeLimits::default()).unwrap().unwrap();
    let will = connect.will.expect("a will");
    assert_eq!(will.delay_interval, 5);
    let message = Message::from_will(&will).unwrap();
    assert_eq!((message.topic.as_str(), &message.payload[..]), ("w/x", &b"gone"[..]));
    assert_eq!((message.qos, message.retain), (Qos::AtLeastOnce, true));
    assert_eq!(message.properties.unwrap().payload_format_utf8, Some(true));
}

/// Most messages have no properties, and those cost no allocation.
#[test]
fn no_properties_no_box() {
    let bytes = packet("30 # $'t' 03 23 0001");
    let Ok(Some((Packet::Publish(publish), _))) =
        decode(&bytes, Version::V5, &DecodeLimits::default())
    else {
        panic!("not a PUBLISH")
    };
    let message = Message::copy_from(&publish, TopicName::copy_from("t").unwrap());
    assert_eq!(message.properties, None);
    assert_eq!(message.size(), 1);
}

//! Values to bytes and back.

use bytes::{Bytes, BytesMut};
use dunlin_codec::{
    Ack, AckKind, Auth, ConnAck, DecodeLimits, Decoder, EncodeError, Packet, PacketId, Publish,
    PublishProperties, Qos, ReasonCode, SubAck, Subscribe, SubscribeFilters, SubscriptionOptions,
    UnsubscribeFilters, UserProperties, Version, encode_ack, short_ack, short_ack_bytes,
    short_acks,
};
use dunlin_topics::Text;
use proptest::prelude::*;

use crate::{
    support::{decode_any, encode, text},
    values::versions_and_packets,
};

proptest! {
    /// What is encoded decodes to the same value, by both faces, and has the length that was told.
    #[test]
    fn values_come_back((version, packet) in versions_and_packets()) {
        let bytes = Bytes::from(encode(&packet, version));
        let (decoded, len) = decode_any(&bytes, version, &DecodeLimits::default())
            .unwrap_or_else(|error| panic!("{packet:?}: {error}"))
            .expect("a whole packet");
        prop_assert_eq!(len, bytes.len());
        prop_assert_eq!(&decoded.to_owned_in(&bytes), &packet);

        // The borrowed face writes the same bytes.
        let mut again = Vec::new();
        prop_assert_eq!(decoded.encode(version, &mut again), Ok(()));
        prop_assert_eq!(&again, &bytes);

        let mut decoder = match packet {
            Packet::Connect(_) => Decoder::server(DecodeLimits::default()),
            _ => Decoder::client(version, DecodeLimits::default()),
        };
        prop_assert_eq!(decoder.next_packet(&mut BytesMut::from(&bytes[..])), Ok(Some(packet)));
    }

    /// Whatever bytes decode to, its bytes decode to it.
    #[test]
    fn random_bytes_settle(first: u8, body in prop::collection::vec(0..8_u8, 0..40), index in 0..3_usize) {
        let version = Version::ALL[index];
        let bytes = [&[first, body.len() as u8], &body[..]].concat();
        let bytes = Bytes::from(bytes);
        if let Ok(Some((packet, _))) = decode_any(&bytes, version, &DecodeLimits::default()) {
            let packet = packet.to_owned_in(&bytes);
            let again = Bytes::from(encode(&packet, version));
            let (decoded, _) = decode_any(&again, version, &DecodeLimits::default()).unwrap().unwrap();
            prop_assert_eq!(decoded.to_owned_in(&again), packet);
        }
    }
}

#[test]
fn short_acknowledgements_are_those_of_the_packets() {
    use AckKind::{PubAck, PubComp, PubRec, PubRel};
    let id = PacketId::new(0x1234).unwrap();
    for version in Version::ALL {
        for (kind, reason) in [
            (PubAck, ReasonCode::Success),
            (PubAck, ReasonCode::NoMatchingSubscribers),
            (PubRec, ReasonCode::QuotaExceeded),
            (PubRel, ReasonCode::PacketIdentifierNotFound),
            (PubComp, ReasonCode::Success),
        ] {
            let ack = Ack::new(id, reason);
            let packet = match kind {
                PubAck => Packet::PubAck(ack),
                PubRec => Packet::PubRec(ack),
                PubRel => Packet::PubRel(ack),
                PubComp => Packet::PubComp(ack),
            };
            let mut bytes = Vec::new();
            encode_ack(kind, id, reason, version, &mut bytes);
            assert_eq!(bytes, encode(&packet, version), "{kind:?} {reason} {version}");
            let is_short = bytes.len() == 4;
            assert_eq!(short_ack(&bytes), is_short.then_some((kind, id)));
            assert_eq!(short_ack(&short_ack_bytes(kind, id)), Some((kind, id)));
            assert_eq!(bytes == short_ack_bytes(kind, id), is_short);
            assert_eq!(short_ack(&bytes[..3]), None);
        }
    }
}

/// What is not a short acknowledgement, or is malformed, is left to the decoder.
#[test]
fn other_packets_are_no_short_acknowledgements() {
    for bytes in [
        &b"\x40\x02\x00\x00"[..],
        b"\x41\x02\x00\x01",
        b"\x60\x02\x00\x01",
        b"\xb0\x02\x00\x01",
        b"",
    ] {
        assert_eq!(short_ack(bytes), None, "{bytes:02x?}");
    }
}

/// They are read up to the first packet that is none, or has not arrived.
#[test]
fn short_acknowledgements_are_read_one_after_the_other() {
    let id = |id| PacketId::new(id).unwrap();
    let expected =
        [(AckKind::PubAck, id(1)), (AckKind::PubRel, id(0x1234)), (AckKind::PubComp, id(2))];
    let mut bytes = Vec::new();
    for (kind, id) in expected {
        encode_ack(kind, id, ReasonCode::Success, Version::V5, &mut bytes);
    }
    let acks = |bytes: &[u8]| short_acks(bytes).collect::<Vec<_>>();
    for behind in
        [&b""[..], b"\x40", b"\x40\x02\x00", b"\xc0\x00\x40\x02\x00\x01", b"\x40\x02\x00\x00"]
    {
        assert_eq!(acks(&[&bytes, behind].concat()), expected, "{behind:02x?}");
    }
    encode_ack(AckKind::PubRec, id(3), ReasonCode::QuotaExceeded, Version::V5, &mut bytes);
    encode_ack(AckKind::PubAck, id(4), ReasonCode::Success, Version::V5, &mut bytes);
    assert_eq!(acks(&bytes), expected);
}

/// A value without a form on the wire is refused and leaves the buffer as it was.
#[test]
fn values_without_a_form_are_refused() {
    let refuse = |packet: &Packet<Bytes>, version, error| {
        let mut bytes = b"before".to_vec();
        assert_eq!(packet.encode(version, &mut bytes), Err(error), "{packet:?}");
        assert_eq!(packet.encoded_len(version), Err(error));
        assert_eq!(bytes, b"before");
    };
    let publish = Publish {
        dup: false,
        retain: false,
        qos: Qos::AtMostOnce,
        packet_id: None,
        topic: text("t"),
        properties: PublishProperties::default(),
        payload: Bytes::new(),
    };
    let qos1_without_id = Publish { qos: Qos::AtLeastOnce, ..publish.clone() };
    refuse(&Packet::Publish(qos1_without_id), Version::V5, EncodeError::PacketId);
    let qos0_with_id = Publish { packet_id: PacketId::new(1), ..publish.clone() };
    refuse(&Packet::Publish(qos0_with_id), Version::V3_1_1, EncodeError::PacketId);
    let without_topic = Publish { topic: Text::empty(), ..publish.clone() };
    refuse(&Packet::Publish(without_topic), Version::V5, EncodeError::NotInVersion);
    let mut long_data = publish;
    long_data.properties.correlation_data = Some(vec![0; 65_536].into());
    refuse(&Packet::Publish(long_data), Version::V5, EncodeError::FieldTooLong);

    let suback = Packet::SubAck(SubAck {
        packet_id: PacketId::new(1).unwrap(),
        properties: Default::default(),
        reason_codes: [ReasonCode::NotAuthorized].into_iter().collect(),
    });
    // [MQTT-3.1 s3.9] The only failure 3.1 knows is to grant less.
    refuse(&suback, Version::V3_1, EncodeError::ReasonCode);
    assert_eq!(encode(&suback, Version::V3_1_1), b"\x90\x03\x00\x01\x80");

    // [MQTT-3.2.2-6 @3.1.1]
    let too_large = Packet::ConnAck(ConnAck::new(false, ReasonCode::PacketTooLarge));
    refuse(&too_large, Version::V3_1_1, EncodeError::ReasonCode);
    let granted = Packet::PubAck(Ack::new(PacketId::new(1).unwrap(), ReasonCode::GrantedQos1));
    refuse(&granted, Version::V5, EncodeError::ReasonCode);
    let auth = Auth {
        reason_code: ReasonCode::ContinueAuthentication,
        method: None,
        data: None,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    refuse(&Packet::Auth(auth.clone()), Version::V5, EncodeError::AuthenticationMethod);
    refuse(&Packet::Auth(auth), Version::V3_1_1, EncodeError::NotInVersion);
}

/// What a version has no field for is left out.
#[test]
fn options_before_5_0_are_a_qos() {
    let options =
        SubscriptionOptions { no_local: true, ..SubscriptionOptions::with_qos(Qos::AtLeastOnce) };
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        subscription_id: None,
        user_properties: UserProperties::default(),
        filters: SubscribeFilters::from_pairs([("a", options)]).unwrap(),
    });
    assert_eq!(encode(&subscribe, Version::V3_1_1), b"\x82\x06\x00\x01\x00\x01a\x01");
    assert_eq!(encode(&subscribe, Version::V5), b"\x82\x07\x00\x01\x00\x00\x01a\x05");
}

#[test]
fn lists_are_checked_when_they_are_made() {
    let long = "x".repeat(65_536);
    let options = SubscriptionOptions::default();
    assert_eq!(SubscribeFilters::from_pairs([(&*long, options)]), Err(EncodeError::FieldTooLong));
    assert_eq!(SubscribeFilters::from_pairs([("a\0", options)]), Err(EncodeError::TextNul));
    assert_eq!(SubscribeFilters::from_pairs([]), Err(EncodeError::Empty));
    assert_eq!(UnsubscribeFilters::from_filters([&*long]), Err(EncodeError::FieldTooLong));
    assert_eq!(UnsubscribeFilters::from_filters([]), Err(EncodeError::Empty));
    assert_eq!(UserProperties::from_pairs([("n", &*long)]), Err(EncodeError::FieldTooLong));
    assert_eq!(UserProperties::from_pairs([("n", "\0")]), Err(EncodeError::TextNul));
}

//! Whole input at once, by both faces: no panic, and both say the same.
//!
//! The first byte of the input chooses the version and the limits, the rest is a stream of packets.

#![no_main]

use bytes::{Bytes, BytesMut};
use dunlin_codec::{
    Ack, AckKind, DecodeLimits, Decoder, FrameLen, Packet, PacketId, PacketRef, Qos, ReasonCode,
    TextRules, Version, decode, decode_connect, frame_len, peek_connect_level,
    peek_connect_version, publish_run, short_ack, transcode_run,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, stream)) = input.split_first() else { return };
    let version = Version::ALL[usize::from(choice & 0b11) % Version::ALL.len()];
    let limits = DecodeLimits {
        packet_size_max: if choice & 0b100 == 0 { u32::MAX } else { 64 },
        text: if choice & 0b1000 == 0 { TextRules::default() } else { TextRules::PERMISSIVE },
    };
    connect(stream, &limits);
    packets(stream, version, &limits);
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        run(stream, qos, version, &limits);
    }
});

fn connect(stream: &[u8], limits: &DecodeLimits) {
    let peeked = peek_connect_version(stream);
    let borrowed = decode_connect(stream, limits);
    if let Ok(Some((connect, len))) = &borrowed {
        assert_eq!(peeked, Some(connect.version));
        assert_eq!(peek_connect_level(stream), Some(connect.version.level()));
        assert!(*len <= stream.len());
    }
    let mut bytes = BytesMut::from(stream);
    let owned = Decoder::server(*limits).next_packet(&mut bytes);
    match (borrowed, owned) {
        (Ok(Some((borrowed, len))), Ok(Some(owned))) => {
            let frame = Bytes::copy_from_slice(&stream[..len]);
            let (again, _) = decode_connect(&frame, limits).unwrap().unwrap();
            assert_eq!(borrowed, again);
            assert_eq!(Packet::Connect(again).to_owned_in(&frame), owned);
        }
        (Ok(None), Ok(None)) => {}
        (Err(borrowed), Err(owned)) => assert_eq!(borrowed, owned),
        other => panic!("the faces differ: {other:?}"),
    }
}

fn packets(stream: &[u8], version: Version, limits: &DecodeLimits) {
    let mut decoder = Decoder::client(version, *limits);
    let mut bytes = BytesMut::from(stream);
    let mut rest = stream;
    loop {
        let owned = decoder.next_packet(&mut bytes);
        match decode(rest, version, limits) {
            Ok(Some((packet, len))) => {
                assert_eq!(frame_len(rest, limits), Ok(FrameLen::Complete(len)));
                if let Some((kind, id)) = short_ack(rest) {
                    assert_eq!(packet.packet_type(), kind.into());
                    assert_eq!(packet, ack(kind, id));
                }
                let frame = Bytes::copy_from_slice(&rest[..len]);
                let (again, _) = decode(&frame, version, limits).unwrap().unwrap();
                assert_eq!(Ok(Some(again.to_owned_in(&frame))), owned);
                rest = &rest[len..];
            }
            Ok(None) => {
                assert_eq!(owned, Ok(None));
                assert_eq!(bytes, rest);
                return;
            }
            Err(error) => {
                assert_eq!(owned, Err(error));
                assert!(error.offset() <= rest.len());
                assert!(error.reason_code().is_error());
                assert!(error.to_string().contains(error.spec()));
                return;
            }
        }
    }
}

fn ack<'a>(kind: AckKind, id: PacketId) -> PacketRef<'a> {
    let ack = Ack::new(id, ReasonCode::Success);
    match kind {
        AckKind::PubAck => Packet::PubAck(ack),
        AckKind::PubRec => Packet::PubRec(ack),
        AckKind::PubRel => Packet::PubRel(ack),
        AckKind::PubComp => Packet::PubComp(ack),
    }
}

fn run(stream: &[u8], qos: Qos, version: Version, limits: &DecodeLimits) {
    let run = publish_run(stream, qos, version, limits, usize::MAX);
    let (mut rest, mut frames, mut largest) = (&stream[..run.bytes], 0, 0);
    let mut bare = true;
    // What is wrong with the topic is for the decoder to say.
    while let Ok(Some((packet, len))) = decode(rest, version, limits) {
        let Packet::Publish(publish) = packet else { panic!("{packet:?} in a run") };
        assert_eq!(publish.topic.as_bytes(), run.topic);
        let properties = &publish.properties;
        bare &= properties.is_empty();
        assert!(properties.topic_alias.is_none() && properties.message_expiry_interval.is_none());
        assert!(properties.subscription_ids.is_empty() && !publish.retain && !publish.dup);
        assert!(qos == Qos::AtMostOnce || properties.is_empty());
        assert_eq!(publish.qos, qos);
        rest = &rest[len..];
        frames += 1;
        largest = largest.max(len);
    }
    if rest.is_empty() {
        assert_eq!((frames, largest), (run.frames, run.largest));
        let mut there_and_back = (Vec::new(), Vec::new());
        let other = if version.is_v5() { Version::V3_1_1 } else { Version::V5 };
        transcode_run(&stream[..run.bytes], version, other, qos, &mut there_and_back.0);
        transcode_run(&there_and_back.0, other, version, qos, &mut there_and_back.1);
        assert!(!bare || there_and_back.1 == stream[..run.bytes]);
    }
}

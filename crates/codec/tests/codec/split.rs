//! Bytes that arrive in pieces.

use bytes::{Bytes, BytesMut};
use dunlin_codec::{
    DecodeError, DecodeErrorKind, DecodeLimits, Decoder, FrameLen, Packet, ReasonCode, Version,
    decode_connect, frame_len, peek_connect_level, peek_connect_version,
};
use proptest::prelude::*;

use crate::{
    support::{decode_any, encode, packet},
    values::packets,
};

/// All packets of a stream that arrives in pieces of the given lengths, and how it ended.
fn decode_pieces(
    mut decoder: Decoder,
    bytes: &[u8],
    lengths: impl IntoIterator<Item = usize>,
) -> (Vec<Packet<Bytes>>, Result<(), DecodeError>) {
    let (mut input, mut rest, mut packets) = (BytesMut::new(), bytes, Vec::new());
    for len in lengths {
        let (piece, after) = rest.split_at(len.clamp(1, rest.len()));
        rest = after;
        input.extend_from_slice(piece);
        loop {
            match decoder.next_packet(&mut input) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => {
                    // [MQTT-4.8.0-1 @3.1.1] There is no way on behind an error.
                    assert_eq!(decoder.next_packet(&mut input), Err(error));
                    return (packets, Err(error));
                }
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    (packets, Ok(()))
}

proptest! {
    #[test]
    fn pieces_give_the_same_packets(
        (version, sent) in prop::sample::select(&Version::ALL[..])
            .prop_flat_map(|version| (Just(version), prop::collection::vec(packets(version), 1..8))),
        lengths in prop::collection::vec(1..40_usize, 1..40),
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(|packet| encode(packet, version)).collect();
        let decoder = Decoder::client(version, DecodeLimits::default());
        let (received, end) = decode_pieces(decoder, &bytes, lengths.into_iter().cycle());
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(received, sent);
    }

    /// Broken bytes give the same packets and the same error, however they arrive.
    #[test]
    fn pieces_give_the_same_errors(
        sent in packets(Version::V5),
        place: prop::sample::Index,
        broken: u8,
        lengths in prop::collection::vec(1..5_usize, 1..40),
    ) {
        let mut bytes = encode(&sent, Version::V5);
        let place = place.index(bytes.len());
        bytes[place] = broken;
        bytes.extend_from_slice(&[0xC0, 0x00]);
        let decoder = Decoder::client(Version::V5, DecodeLimits::default());
        let whole = decode_pieces(decoder.clone(), &bytes, [bytes.len()]);
        prop_assert_eq!(decode_pieces(decoder, &bytes, lengths.into_iter().cycle()), whole);
    }
}

#[test]
fn every_prefix_is_incomplete() {
    let frames = [
        "10 # $'MQTT' 05 c2 003c 03 21 0001 $'c' $'u' $'p'",
        "30 # $'a/b' 07 26 $'n' $'v' 'hi'",
        "82 # 0001 00 $'a' 00",
    ];
    for notation in frames {
        let bytes = packet(notation);
        for len in 0..bytes.len() {
            let prefix = decode_any(&bytes[..len], Version::V5, &DecodeLimits::default());
            assert_eq!(prefix, Ok(None), "{len} bytes of {notation}");
        }
    }
}

#[test]
fn frame_lengths() {
    let limits = DecodeLimits { packet_size_max: 130, ..DecodeLimits::default() };
    let len =
        |bytes: &[u8]| frame_len(bytes, &limits).map_err(|error| (error.kind(), error.offset()));
    assert_eq!(len(b""), Ok(FrameLen::Partial { needed: None }));
    assert_eq!(len(b"\x30"), Ok(FrameLen::Partial { needed: None }));
    assert_eq!(len(b"\x30\x80"), Ok(FrameLen::Partial { needed: None }));
    assert_eq!(len(b"\x30\x7f"), Ok(FrameLen::Partial { needed: Some(129) }));
    assert_eq!(len(b"\xc0\x00\xc0"), Ok(FrameLen::Complete(2)));
    assert_eq!(len(b"\x30\x80\x01"), Err((DecodeErrorKind::PacketTooLarge, 1)));
    assert_eq!(len(b"\x30\x80\x80\x80\x80"), Err((DecodeErrorKind::RemainingLength, 1)));
}

/// [MQTT-3.2.2-15] What is too large is refused by its fixed header.
#[test]
fn too_large_is_said_before_the_body() {
    let limits = DecodeLimits { packet_size_max: 10, ..DecodeLimits::default() };
    assert!(decode_any(&packet("30 # $'t' 00 'hell'")[..2], Version::V5, &limits).is_ok());
    let error = decode_any(b"\x30\x09", Version::V5, &limits).unwrap_err();
    assert_eq!(error.reason_code(), ReasonCode::PacketTooLarge);
    assert_eq!((error.spec(), error.version()), ("MQTT-3.2.2-15", Some(Version::V5)));
}

/// A CONNECT that is too large is refused once its version tells how to say so, and not later.
#[test]
fn too_large_connect_tells_its_version() {
    let limits = DecodeLimits { packet_size_max: 20, ..DecodeLimits::default() };
    for (notation, version, needed) in [
        ("10 ff7f $'MQTT' 05", Some(Version::V5), 10),
        ("10 ff7f $'MQIsdp' 03", Some(Version::V3_1), 12),
        ("10 ff7f $'MQTT' 77", None, 10),
        ("10 ff7f $'HTTP'", None, 6),
    ] {
        let bytes = packet(notation);
        for len in 0..needed {
            assert_eq!(
                decode_connect(&bytes[..len], &limits),
                Ok(None),
                "{len} bytes of {notation}"
            );
            assert_eq!(peek_connect_version(&bytes[..len]), None);
        }
        let error = decode_connect(&bytes[..needed], &limits).unwrap_err();
        assert_eq!(error.kind(), DecodeErrorKind::PacketTooLarge, "{notation}");
        assert_eq!(error.version(), version, "{notation}");
        assert_eq!(peek_connect_version(&bytes), version, "{notation}");
    }
}

#[test]
fn a_level_is_told_even_if_it_is_unknown() {
    assert_eq!(peek_connect_level(&packet("10 ff7f $'MQTT' 77")), Some(0x77));
    assert_eq!(peek_connect_level(&packet("10 ff7f $'other name' 03")), Some(3));
    assert_eq!(peek_connect_level(&packet("10 ff7f $'MQTT'")), None);
    assert_eq!(peek_connect_level(&packet("20 02 0000 00")), None);
}

//! The tables of the standard, tried out in full: every property in every place, every reason code in every
//! packet. Written down apart from the codec's own tables, so that a slip in one shows.

use dunlin_codec::{DecodeLimits, ReasonCode, Version, decode, decode_connect};

use crate::support::{packet, push_varint, unhex};

/// A place for properties.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Connect,
    Will,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
}

use Place::*;

const PLACES: [Place; 14] = [
    Connect,
    Will,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
];

/// Identifier, a legal value, the places it may stand in, all of them as in section 2.2.2.2 of the standard.
#[rustfmt::skip]
const PROPERTIES: [(u8, &str, &[Place]); 27] = [
    (0x01, "01", &[Publish, Will]),
    (0x02, "00000001", &[Publish, Will]),
    (0x03, "000161", &[Publish, Will]),
    (0x08, "000161", &[Publish, Will]),
    (0x09, "0001ff", &[Publish, Will]),
    (0x0B, "01", &[Publish, Subscribe]),
    (0x11, "00000000", &[Connect, ConnAck, Disconnect]),
    (0x12, "000161", &[ConnAck]),
    (0x13, "0000", &[ConnAck]),
    (0x15, "000161", &[Connect, ConnAck, Auth]),
    (0x16, "0001ff", &[Connect, ConnAck, Auth]),
    (0x17, "01", &[Connect]),
    (0x18, "00000000", &[Will]),
    (0x19, "00", &[Connect]),
    (0x1A, "000161", &[ConnAck]),
    (0x1C, "000161", &[ConnAck, Disconnect]),
    (0x1F, "000161", &[ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth]),
    (0x21, "0001", &[Connect, ConnAck]),
    (0x22, "0000", &[Connect, ConnAck]),
    (0x23, "0001", &[Publish]),
    (0x24, "01", &[ConnAck]),
    (0x25, "00", &[ConnAck]),
    (0x26, "00000000", &PLACES),
    (0x27, "00000001", &[Connect, ConnAck]),
    (0x28, "00", &[ConnAck]),
    (0x29, "00", &[ConnAck]),
    (0x2A, "00", &[ConnAck]),
];

/// A packet of 5.0 with these properties in this place.
fn packet_with(place: Place, properties: &[u8]) -> Vec<u8> {
    let (first, before, after) = match place {
        Connect => (0x10, "$'MQTT' 05 02 0000", "$'c'"),
        Will => (0x10, "$'MQTT' 05 06 0000 00 $'c'", "$'w' $'p'"),
        ConnAck => (0x20, "00 00", ""),
        Publish => (0x30, "$'t'", "'p'"),
        PubAck => (0x40, "0001 00", ""),
        PubRec => (0x50, "0001 00", ""),
        PubRel => (0x62, "0001 00", ""),
        PubComp => (0x70, "0001 00", ""),
        Subscribe => (0x82, "0001", "$'f' 00"),
        SubAck => (0x90, "0001", "00"),
        Unsubscribe => (0xA2, "0001", "$'f'"),
        UnsubAck => (0xB0, "0001", "00"),
        Disconnect => (0xE0, "00", ""),
        Auth => (0xF0, "18", ""),
    };
    let mut body = packet(before);
    push_varint(&mut body, properties.len());
    body.extend_from_slice(properties);
    body.extend(packet(after));
    let mut bytes = vec![first];
    push_varint(&mut bytes, body.len());
    bytes.extend(body);
    bytes
}

/// The reason code that the packet is refused with, `None` if it is accepted.
fn refusal(bytes: &[u8]) -> Option<ReasonCode> {
    let limits = DecodeLimits::default();
    match bytes[0] {
        0x10 => decode_connect(bytes, &limits).err(),
        _ => decode(bytes, Version::V5, &limits).err(),
    }
    .map(|error| error.reason_code())
}

/// An Authentication Method, where a property cannot stand without one.
fn method_for(place: Place, id: u8) -> Vec<u8> {
    let needed = id == 0x16 || place == Auth;
    if needed && id != 0x15 && matches!(place, Connect | ConnAck | Auth) {
        unhex("15000161")
    } else {
        Vec::new()
    }
}

#[test]
fn every_property_in_every_place() {
    for (id, value, places) in PROPERTIES {
        for place in PLACES {
            let property = [&[id], &unhex(value)[..]].concat();
            let once = [method_for(place, id), property.clone()].concat();
            let expected = (!places.contains(&place)).then_some(ReasonCode::MalformedPacket);
            assert_eq!(refusal(&packet_with(place, &once)), expected, "0x{id:02x} in {place:?}");

            if places.contains(&place) {
                let twice = [once, property].concat();
                let may_repeat = id == 0x26 || (id == 0x0B && place == Publish);
                let expected = (!may_repeat).then_some(ReasonCode::ProtocolError);
                assert_eq!(
                    refusal(&packet_with(place, &twice)),
                    expected,
                    "0x{id:02x} twice in {place:?}"
                );
            }
        }
    }
}

#[test]
fn no_other_property_in_any_place() {
    for id in 0..=0x7F {
        if PROPERTIES.iter().all(|(known, ..)| *known != id) {
            for place in PLACES {
                let properties = [method_for(place, id), vec![id, 0, 0, 0, 0]].concat();
                let refused = refusal(&packet_with(place, &properties));
                assert_eq!(refused, Some(ReasonCode::MalformedPacket), "0x{id:02x} in {place:?}");
            }
        }
    }
}

/// A property that ends before its value does is refused, wherever it ends.
#[test]
fn every_property_cut() {
    for (id, value, places) in PROPERTIES {
        for &place in places {
            let property = [&[id], &unhex(value)[..]].concat();
            for len in 1..property.len() {
                let cut = [method_for(place, id), property[..len].to_vec()].concat();
                let refused = refusal(&packet_with(place, &cut));
                assert_eq!(refused, Some(ReasonCode::MalformedPacket), "0x{id:02x} in {place:?}");
            }
        }
    }
}

/// [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.9.3-2] [MQTT-3.11.3-2]
/// [MQTT-3.14.2-1] [MQTT-3.15.2-1]
#[test]
#[rustfmt::skip]
fn every_reason_code_in_every_packet() {
    let published = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99][..];
    let released = &[0x00, 0x92][..];
    let tables = [
        ("20 # 00", "00", &[0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95,
            0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F][..]),
        ("40 # 0001", "", published),
        ("50 # 0001", "", published),
        ("62 # 0001", "", released),
        ("70 # 0001", "", released),
        ("90 # 0001 00", "", &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]),
        ("b0 # 0001 00", "", &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]),
        ("e0 #", "", &[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
            0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2]),
        ("f0 #", "04 15 $'m'", &[0x00, 0x18, 0x19]),
    ];
    for (before, after, listed) in tables {
        for code in 0..=0xFF {
            let refused = refusal(&packet(&format!("{before} {code:02x} {after}")));
            let expected = (!listed.contains(&code)).then_some(ReasonCode::ProtocolError);
            assert_eq!(refused, expected, "{before} 0x{code:02x}");
        }
    }
}

/// Every first byte, of every version: which are refused at once. [MQTT-2.1.3-1] [MQTT-2.2.2-1 @3.1.1]
#[test]
fn every_first_byte() {
    for version in Version::ALL {
        for first in 0..=0xFF_u8 {
            let (packet_type, flags) = (first >> 4, first & 0x0F);
            let expected = match packet_type {
                0 => false,
                3 => flags & 0b0110 != 0b0110 && flags & 0b1110 != 0b1000,
                6 | 8 | 10 if version == Version::V3_1 => flags == 0b0010 || flags == 0b1010,
                6 | 8 | 10 => flags == 0b0010,
                15 => flags == 0 && version.is_v5(),
                _ => flags == 0,
            };
            let accepted = decode(&[first], version, &DecodeLimits::default()) == Ok(None);
            assert_eq!(accepted, expected, "0x{first:02x} of {version}");
        }
    }
}

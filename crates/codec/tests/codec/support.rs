//! What the tests share: a short notation for packets, and one way to decode and to encode.

use bytes::Bytes;
use dunlin_codec::{DecodeError, DecodeLimits, Packet, PacketRef, Version, decode, decode_connect};
use dunlin_topics::Text;

pub(crate) const ALL: &[Version] = &Version::ALL;
pub(crate) const V3: &[Version] = &[Version::V3_1, Version::V3_1_1];
pub(crate) const V3_1: &[Version] = &[Version::V3_1];
pub(crate) const V3_1_1: &[Version] = &[Version::V3_1_1];
pub(crate) const V5: &[Version] = &[Version::V5];
pub(crate) const NOT_V3_1: &[Version] = &[Version::V3_1_1, Version::V5];

/// Bytes of a packet in a short notation, parted by spaces: `00ff` is hex, `'text'` is its bytes, `$'text'` has its
/// length in front, and `#` is the length of all that follows.
pub(crate) fn packet(notation: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = notation.trim_start();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('#') {
            let tail = packet(after);
            push_varint(&mut bytes, tail.len());
            bytes.extend(tail);
            return bytes;
        }
        let (prefixed, quoted) = match rest.strip_prefix('$') {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        if let Some(text) = quoted.strip_prefix('\'') {
            let (text, after) = text.split_once('\'').expect("a closing quote");
            if prefixed {
                bytes.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
            }
            bytes.extend(text.as_bytes());
            rest = after.trim_start();
        } else {
            let (hex, after) = rest.split_once(' ').unwrap_or((rest, ""));
            bytes.extend(unhex(hex));
            rest = after.trim_start();
        }
    }
    bytes
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex} has half a byte");
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

pub(crate) fn push_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 0x7F {
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Decodes as the first packet of a connection if it is a CONNECT, else as a later one.
pub(crate) fn decode_any<'a>(
    bytes: &'a [u8],
    version: Version,
    limits: &DecodeLimits,
) -> Result<Option<(PacketRef<'a>, usize)>, DecodeError> {
    if bytes.first().is_some_and(|first| first >> 4 == 1) {
        let connect = decode_connect(bytes, limits)?;
        return Ok(connect.map(|(connect, len)| (Packet::Connect(connect), len)));
    }
    decode(bytes, version, limits)
}

pub(crate) fn encode(packet: &Packet<Bytes>, version: Version) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    packet.encode(version, &mut bytes).unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    let encoded = bytes.split_off(6);
    assert_eq!(bytes, b"before");
    assert_eq!(packet.encoded_len(version), Ok(encoded.len()), "{packet:?}");
    encoded
}

pub(crate) fn text(text: &str) -> Text {
    Text::copy_from(text).expect("a plain text")
}

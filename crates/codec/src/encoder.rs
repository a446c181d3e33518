//! Writing packets: every packet writes its body through a [`Sink`], once to count and once to fill, so
//! that the length told and the bytes written cannot differ.

use alloc::vec::Vec;

use crate::{
    error::EncodeError,
    id::PacketId,
    packet::{PacketType, ack::AckKind},
    primitive::{VARINT_MAX, varint_len},
    property::writer::PropertyWriter,
    reason::ReasonCode,
    version::Version,
};

/// Takes the bytes of a packet.
pub(crate) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    /// Length-prefixed text or binary data.
    fn field(&mut self, bytes: &[u8]);

    /// Properties behind their length, which stands there even if it is 0. [MQTT-2.2.2-1]
    fn properties(&mut self, properties: &impl PropertyWriter);

    #[inline]
    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    #[inline]
    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// A Variable Byte Integer in its shortest form. [MQTT-1.5.5-1]
    #[inline]
    fn varint(&mut self, value: usize) {
        // Each length by itself: a copy of a length that is not known would be a call.
        match varint(value) {
            ([a, ..], 1) => self.u8(a),
            ([a, b, ..], 2) => self.bytes(&[a, b]),
            ([a, b, c, _], 3) => self.bytes(&[a, b, c]),
            (bytes, _) => self.bytes(&bytes),
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "each byte takes seven bits")]
const fn varint(value: usize) -> ([u8; 4], usize) {
    let (a, b, c, d) = (value as u8, (value >> 7) as u8, (value >> 14) as u8, (value >> 21) as u8);
    match varint_len(value) {
        1 => ([a, 0, 0, 0], 1),
        2 => ([a | 0x80, b & 0x7F, 0, 0], 2),
        3 => ([a | 0x80, b | 0x80, c & 0x7F, 0], 3),
        _ => ([a | 0x80, b | 0x80, c | 0x80, d & 0x7F], 4),
    }
}

/// Counts the bytes and notes what does not fit.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    len: usize,
    field_too_long: bool,
}

impl Counter {
    /// What `write` would write.
    #[inline]
    pub(crate) fn count(write: impl FnOnce(&mut Self)) -> usize {
        let mut counter = Self::default();
        write(&mut counter);
        counter.len
    }
}

impl Sink for Counter {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
    }

    #[inline]
    fn field(&mut self, bytes: &[u8]) {
        self.field_too_long |= bytes.len() > usize::from(u16::MAX);
        self.len += 2 + bytes.len();
    }

    #[inline]
    fn properties(&mut self, properties: &impl PropertyWriter) {
        if properties.is_empty() {
            return self.u8(0);
        }
        let before = self.len;
        properties.write(self);
        self.len += varint_len(self.len - before);
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the counting pass refused longer fields")]
    fn field(&mut self, bytes: &[u8]) {
        self.u16(bytes.len() as u16);
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn properties(&mut self, properties: &impl PropertyWriter) {
        if properties.is_empty() {
            return self.u8(0);
        }
        let at = self.len();
        self.push(0);
        properties.write(self);
        let (bytes, len) = varint(self.len() - at - 1);
        let length = bytes.get(..len).unwrap_or(&bytes);
        match (length, self.get_mut(at)) {
            ([byte], Some(place)) => *place = *byte,
            // Few packets have so many properties that their length takes a second byte.
            _ => drop(self.splice(at..=at, length.iter().copied())),
        }
    }
}

/// Checks text for a list that is kept as it goes on the wire.
pub(crate) fn check_field(text: &str) -> Result<(), EncodeError> {
    if text.len() > usize::from(u16::MAX) {
        return Err(EncodeError::FieldTooLong);
    }
    // [MQTT-1.5.4-2]
    if text.contains('\0') {
        return Err(EncodeError::TextNul);
    }
    Ok(())
}

/// A packet that can be written.
pub(crate) trait Body {
    /// The first byte, or why this version cannot say the packet.
    fn first_byte(&self, version: Version) -> Result<u8, EncodeError>;

    /// Writes all that follows the fixed header.
    fn write(&self, version: Version, sink: &mut impl Sink);
}

/// Bytes of the whole packet.
#[inline]
pub(crate) fn encoded_len(body: &impl Body, version: Version) -> Result<usize, EncodeError> {
    body.first_byte(version)?;
    let remaining = remaining_len(body, version)?;
    Ok(1 + varint_len(remaining) + remaining)
}

/// Appends the whole packet, or nothing on an error.
#[inline]
pub(crate) fn encode(
    body: &impl Body,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let first = body.first_byte(version)?;
    let remaining = remaining_len(body, version)?;
    out.reserve(1 + varint_len(remaining) + remaining);
    out.u8(first);
    out.varint(remaining);
    body.write(version, out);
    Ok(())
}

#[inline]
fn remaining_len(body: &impl Body, version: Version) -> Result<usize, EncodeError> {
    let mut counter = Counter::default();
    body.write(version, &mut counter);
    if counter.field_too_long {
        return Err(EncodeError::FieldTooLong);
    }
    if counter.len > VARINT_MAX as usize {
        return Err(EncodeError::PacketTooLong);
    }
    Ok(counter.len)
}

/// An acknowledgement without reason code and properties, as [`short_ack`](crate::short_ack) reads it.
#[inline]
#[must_use]
pub fn short_ack_bytes(kind: AckKind, packet_id: PacketId) -> [u8; 4] {
    let [high, low] = packet_id.get().to_be_bytes();
    [PacketType::from(kind).first_byte(), 2, high, low]
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP without properties, in its shortest form. Before 5.0 the reason
/// code is left out. It is for the caller to choose one that the standard lists for this packet.
#[inline]
pub fn encode_ack(
    kind: AckKind,
    packet_id: PacketId,
    reason_code: ReasonCode,
    version: Version,
    out: &mut Vec<u8>,
) {
    let [first, _, high, low] = short_ack_bytes(kind, packet_id);
    if version.is_v5() && reason_code != ReasonCode::Success {
        out.extend_from_slice(&[first, 3, high, low, reason_code.as_u8()]);
    } else {
        out.extend_from_slice(&[first, 2, high, low]);
    }
}

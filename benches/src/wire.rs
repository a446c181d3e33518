//! The bytes of MQTT 3.1.1 and 5.0 that a load needs, made and taken apart by nothing of Dunlin's, so that every broker
//! is measured by the same.

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// MQTT 3.1.1.
    V3_1_1,
    /// MQTT 5.0.
    V5,
}

/// First bytes of packets, with the flags that the standards want.
pub mod first {
    #![allow(missing_docs, reason = "the names of the packets")]
    pub const CONNECT: u8 = 0x10;
    pub const CONNACK: u8 = 0x20;
    pub const PUBLISH: u8 = 0x30;
    pub const PUBACK: u8 = 0x40;
    pub const PUBREC: u8 = 0x50;
    pub const PUBREL: u8 = 0x62;
    pub const PUBCOMP: u8 = 0x70;
    pub const SUBSCRIBE: u8 = 0x82;
    pub const SUBACK: u8 = 0x90;
    pub const UNSUBSCRIBE: u8 = 0xa2;
    pub const UNSUBACK: u8 = 0xb0;
    pub const PINGREQ: u8 = 0xc0;
    pub const PINGRESP: u8 = 0xd0;
    pub const DISCONNECT: u8 = 0xe0;
}

/// One packet, where it was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Type and flags.
    pub first: u8,
    /// What follows the fixed header.
    pub body: &'a [u8],
    /// All of its bytes.
    pub whole: &'a [u8],
}

/// A Remaining Length of more than four bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

/// The first packet of `bytes` and what comes after it, or none if it is not complete.
///
/// # Errors
///
/// `Malformed` if its Remaining Length is none.
#[inline]
pub fn split(bytes: &[u8]) -> Result<Option<(Frame<'_>, &[u8])>, Malformed> {
    let Some((first, after)) = bytes.split_first() else { return Ok(None) };
    let Some((length, rest)) = variable(after)? else { return Ok(None) };
    let Some((body, next)) = rest.split_at_checked(length) else { return Ok(None) };
    let whole = bytes.split_at(bytes.len() - next.len()).0;
    Ok(Some((Frame { first: *first, body, whole }, next)))
}

/// A Variable Byte Integer and what comes after it, or none if it is not complete.
///
/// # Errors
///
/// `Malformed` if it has more than four bytes.
#[inline]
pub fn variable(bytes: &[u8]) -> Result<Option<(usize, &[u8])>, Malformed> {
    let mut value = 0;
    let mut rest = bytes;
    for shift in [0, 7, 14, 21] {
        let Some((byte, after)) = rest.split_first() else { return Ok(None) };
        rest = after;
        value |= usize::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Ok(Some((value, rest)));
        }
    }
    Err(Malformed)
}

/// The parts of a PUBLISH.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Publish<'a> {
    /// 0, 1 or 2.
    pub qos: u8,
    /// Whether it comes from what is retained, or is to be retained.
    pub retain: bool,
    /// The Topic Name.
    pub topic: &'a [u8],
    /// The Packet Identifier, 0 with QoS 0.
    pub id: u16,
    /// The properties without their length; nothing in 3.1.1.
    pub properties: &'a [u8],
    /// The Application Message.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Takes a frame apart whose first byte is that of a PUBLISH; none if it is not one.
    #[inline]
    #[must_use]
    pub fn read(frame: Frame<'a>, version: Version) -> Option<Self> {
        let (qos, retain) = (frame.first >> 1 & 3, frame.first & 1 == 1);
        let (topic, mut rest) = text(frame.body)?;
        let mut id = 0;
        if qos > 0 {
            let (bytes, after) = rest.split_first_chunk()?;
            id = u16::from_be_bytes(*bytes);
            rest = after;
        }
        let mut properties = &[][..];
        if version == Version::V5 {
            let (length, after) = variable(rest).ok().flatten()?;
            (properties, rest) = after.split_at_checked(length)?;
        }
        Some(Self { qos, retain, topic, id, properties, payload: rest })
    }

    /// Appends it as a frame and says where in `out` its identifier (QoS 1 and 2) and its payload begin.
    pub fn write(&self, version: Version, out: &mut Vec<u8>) -> (usize, usize) {
        let mut head = Vec::new();
        put_text(self.topic, &mut head);
        let id = head.len();
        if self.qos > 0 {
            head.extend(self.id.to_be_bytes());
        }
        if version == Version::V5 {
            put_variable(self.properties.len(), &mut head);
            head.extend(self.properties);
        }
        out.push(first::PUBLISH | self.qos << 1 | u8::from(self.retain));
        put_variable(head.len() + self.payload.len(), out);
        let start = out.len();
        out.extend(&head);
        let payload = out.len();
        out.extend(self.payload);
        (start + id, payload)
    }
}

fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Appends a Variable Byte Integer.
///
/// # Panics
///
/// If it does not fit into four bytes.
pub fn put_variable(value: usize, out: &mut Vec<u8>) {
    assert!(value < 1 << 28, "a packet of {value} bytes");
    let mut value = value;
    while value >= 0x80 {
        out.push(0x80 | value.to_le_bytes()[0] & 0x7f);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a text with its length.
///
/// # Panics
///
/// If it has more than 65,535 bytes.
pub fn put_text(text: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(text.len());
    assert!(length.is_ok(), "a text of {} bytes", text.len());
    out.extend(length.unwrap_or_default().to_be_bytes());
    out.extend(text);
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    put_variable(body.len(), &mut out);
    out.extend(body);
    out
}

/// A CONNECT with a Keep Alive of 300 s. With `persistent` the session outlives the connection, by an hour in 5.0.
#[must_use]
pub fn connect(version: Version, client_id: &str, persistent: bool) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(b"MQTT", &mut body);
    body.push(match version {
        Version::V3_1_1 => 4,
        Version::V5 => 5,
    });
    // Clean Session, or Clean Start.
    body.push(if persistent { 0 } else { 2 });
    body.extend(300_u16.to_be_bytes());
    if version == Version::V5 {
        let expiry = if persistent { 3_600_u32 } else { 0 };
        // Session Expiry Interval.
        body.extend([5, 0x11]);
        body.extend(expiry.to_be_bytes());
    }
    put_text(client_id.as_bytes(), &mut body);
    framed(first::CONNECT, &body)
}

/// A SUBSCRIBE for these filters.
#[must_use]
pub fn subscribe(version: Version, id: u16, filters: &[String], qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        put_text(filter.as_bytes(), &mut body);
        body.push(qos);
    }
    framed(first::SUBSCRIBE, &body)
}

/// An UNSUBSCRIBE for one filter.
#[must_use]
pub fn unsubscribe(version: Version, id: u16, filter: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    put_text(filter.as_bytes(), &mut body);
    framed(first::UNSUBSCRIBE, &body)
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP, in both versions that of success.
#[must_use]
pub fn acknowledgement(first: u8, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [first, 2, high, low]
}

/// The Packet Identifier of a packet that begins with one.
#[must_use]
pub fn identifier(body: &[u8]) -> Option<u16> {
    body.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// A User Property.
pub fn put_user_property(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(0x26);
    put_text(name.as_bytes(), out);
    put_text(value.as_bytes(), out);
}

/// A DISCONNECT.
pub const DISCONNECT: [u8; 2] = [first::DISCONNECT, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_read_as_written_in_both_versions() {
        let mut properties = Vec::new();
        put_user_property("name", "value", &mut properties);
        let payload = [7; 200];
        for (version, properties) in
            [(Version::V3_1_1, &[][..]), (Version::V5, &[]), (Version::V5, &properties)]
        {
            for (qos, id) in [(0, 0), (1, 1), (2, 65_535)] {
                let publish = Publish {
                    qos,
                    retain: qos == 1,
                    topic: b"a/b",
                    id,
                    properties,
                    payload: &payload,
                };
                let mut bytes = Vec::new();
                let (at, payload_at) = publish.write(version, &mut bytes);
                assert_eq!(&bytes[payload_at..], payload);
                if qos > 0 {
                    assert_eq!(&bytes[at..at + 2], id.to_be_bytes());
                }
                for cut in 0..bytes.len() {
                    assert_eq!(split(&bytes[..cut]), Ok(None), "{cut} bytes");
                }
                bytes.push(0xc0);
                let (frame, rest) = split(&bytes).unwrap().unwrap();
                assert_eq!(rest, [0xc0]);
                assert_eq!(Publish::read(frame, version), Some(publish));
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_told_from_what_is_not_complete() {
        assert_eq!(split(&[0x30, 0xff, 0xff, 0xff, 0xff]), Err(Malformed));
        assert_eq!(split(&[0x30, 0xff, 0xff, 0xff]), Ok(None));
        let body = |body| Frame { first: 0x32, body, whole: body };
        assert_eq!(Publish::read(body(&[0, 3, b'a']), Version::V3_1_1), None);
        assert_eq!(Publish::read(body(&[0, 1, b'a', 0]), Version::V3_1_1), None);
        assert_eq!(Publish::read(body(&[0, 1, b'a', 0, 1]), Version::V5), None);
        assert_eq!(Publish::read(body(&[0, 1, b'a', 0, 1, 4, 0]), Version::V5), None);
    }
}

//! The front doors: bytes in, packets out, borrowed or owned.

use bytes::{Buf, Bytes, BytesMut};
use dunlin_topics::TextRules;

use crate::{
    buffer::Frame,
    error::{DecodeError, DecodeErrorKind, Fault},
    header::{DecodeLimits, Header, check_first_byte},
    id::PacketId,
    packet::{
        Packet, PacketRef, PacketType,
        ack::{Ack, AckKind},
        auth::Auth,
        connack::ConnAck,
        connect::{Connect, ConnectRef},
        disconnect::Disconnect,
        publish::Publish,
        suback::SubAck,
        subscribe::Subscribe,
        unsuback::UnsubAck,
        unsubscribe::Unsubscribe,
    },
    primitive::{Reader, Varint, fault_at},
    version::Version,
};

/// Decodes the packet at the front of the input, and tells how many bytes it took. Nothing is allocated.
///
/// `Ok(None)` means that more bytes must arrive. A CONNECT decodes too, though on an open connection it is
/// a violation: that is for the session to say.
///
/// # Errors
///
/// The bytes are not a packet of this version, or one above the limit. That is said as early as the bytes
/// tell it: wrong flags by the first byte, a packet too large by the fixed header.
#[inline]
pub fn decode<'a>(
    input: &'a [u8],
    version: Version,
    limits: &DecodeLimits,
) -> Result<Option<(PacketRef<'a>, usize)>, DecodeError> {
    let Some(front) = Front::read(input, version, limits)? else { return Ok(None) };
    let Some(body) = front.body(input) else { return Ok(None) };
    // PUBLISH goes its own way, so that it is built where the caller wants it and never moved.
    if front.packet == PacketType::Publish {
        return match Publish::decode(front.first, body, version, limits.text) {
            Ok(publish) => Ok(Some((Packet::Publish(publish), front.header.len))),
            Err(fault) => Err(error(fault, front.first, Some(version))),
        };
    }
    let packet = front.decode(body, version, limits.text)?;
    Ok(Some((packet, front.header.len)))
}

/// The acknowledgement at the front of the input, if it is one of the four bytes that nearly all are: without reason code
/// and properties. Anything else, be it malformed, is for [`decode`].
#[inline]
#[must_use]
pub fn short_ack(input: &[u8]) -> Option<(AckKind, PacketId)> {
    let [first, 2, high, low, ..] = *input else { return None };
    let kind = match first {
        0x40 => AckKind::PubAck,
        0x50 => AckKind::PubRec,
        0x62 => AckKind::PubRel,
        0x70 => AckKind::PubComp,
        _ => return None,
    };
    Some((kind, PacketId::new(u16::from_be_bytes([high, low]))?))
}

/// The acknowledgements at the front of the input, as long as each is one that [`short_ack`] reads.
#[inline]
pub fn short_acks(input: &[u8]) -> impl Iterator<Item = (AckKind, PacketId)> {
    let (acks, _) = input.as_chunks::<4>();
    acks.iter().map_while(|ack| short_ack(ack))
}

/// Decodes the first packet of a connection, which must be a CONNECT; it says which version it speaks.
///
/// `Ok(None)` means that more bytes must arrive. For a CONNECT above the limit it waits until its version is
/// known, at most 14 bytes, so that the answer can be told in that version.
///
/// # Errors
///
/// The bytes are not a CONNECT. [`DecodeError::version`] names the version as far as it was read, and a
/// version that is none of ours has the reason code Unsupported Protocol Version.
pub fn decode_connect<'a>(
    input: &'a [u8],
    limits: &DecodeLimits,
) -> Result<Option<(ConnectRef<'a>, usize)>, DecodeError> {
    let Some(front) = Front::read_connect(input, limits)? else { return Ok(None) };
    let Some(body) = front.body(input) else { return Ok(None) };
    let connect = front.decode_connect(body, limits.text)?;
    Ok(Some((connect, front.header.len)))
}

/// What the first bytes of a packet tell.
#[derive(Clone, Copy, Debug)]
struct Front {
    first: u8,
    packet: PacketType,
    header: Header,
}

impl Front {
    #[inline]
    fn read(
        input: &[u8],
        version: Version,
        limits: &DecodeLimits,
    ) -> Result<Option<Self>, DecodeError> {
        let Some(first) = input.first().copied() else { return Ok(None) };
        let fail = |fault| error(fault, first, Some(version));
        let packet = check_first_byte(first, version).map_err(fail)?;
        let header = Header::read(input, limits).map_err(fail)?;
        Ok(header.map(|header| Self { first, packet, header }))
    }

    fn read_connect(input: &[u8], limits: &DecodeLimits) -> Result<Option<Self>, DecodeError> {
        let Some(first) = input.first().copied() else { return Ok(None) };
        let fail = |fault| error(fault, first, None);
        // The flags of CONNECT are the same in all versions, and anything else is refused here.
        let packet = check_first_byte(first, Version::V5).map_err(fail)?;
        if packet != PacketType::Connect {
            // [MQTT-3.1.0-1] [MQTT-3.1.0-1 @3.1.1]
            return Err(fail(fault_at(DecodeErrorKind::ConnectExpected, 0)));
        }
        match Header::read(input, limits) {
            Ok(header) => Ok(header.map(|header| Self { first, packet, header })),
            Err(fault) if fault.kind == DecodeErrorKind::PacketTooLarge => match peek(input) {
                Peek::Partial => Ok(None),
                Peek::Unknown => Err(fail(fault)),
                Peek::Known(version) => Err(error(fault, first, Some(version))),
            },
            Err(fault) => Err(fail(fault)),
        }
    }

    /// What follows the fixed header, `None` while it is incomplete.
    #[inline]
    fn body<'a>(&self, input: &'a [u8]) -> Option<Reader<'a>> {
        let body = input.get(self.header.header_len..self.header.len)?;
        Some(Reader::new(body, self.header.len))
    }

    #[inline(never)]
    fn decode<'a>(
        &self,
        body: Reader<'a>,
        version: Version,
        rules: TextRules,
    ) -> Result<PacketRef<'a>, DecodeError> {
        let packet = match self.packet {
            PacketType::Publish => {
                Publish::decode(self.first, body, version, rules).map(Packet::Publish)
            }
            PacketType::Connect => return self.decode_connect(body, rules).map(Packet::Connect),
            PacketType::ConnAck => ConnAck::decode(body, version).map(Packet::ConnAck),
            PacketType::PubAck => Ack::decode(self.packet, body, version).map(Packet::PubAck),
            PacketType::PubRec => Ack::decode(self.packet, body, version).map(Packet::PubRec),
            PacketType::PubRel => Ack::decode(self.packet, body, version).map(Packet::PubRel),
            PacketType::PubComp => Ack::decode(self.packet, body, version).map(Packet::PubComp),
            PacketType::Subscribe => Subscribe::decode(body, version).map(Packet::Subscribe),
            PacketType::SubAck => SubAck::decode(body, version).map(Packet::SubAck),
            PacketType::Unsubscribe => Unsubscribe::decode(body, version).map(Packet::Unsubscribe),
            PacketType::UnsubAck => UnsubAck::decode(body, version).map(Packet::UnsubAck),
            PacketType::PingReq => body.finish().map(|()| Packet::PingReq),
            PacketType::PingResp => body.finish().map(|()| Packet::PingResp),
            PacketType::Disconnect => Disconnect::decode(body, version).map(Packet::Disconnect),
            PacketType::Auth => Auth::decode(body).map(Packet::Auth),
        };
        packet.map_err(|fault| error(fault, self.first, Some(version)))
    }

    fn decode_connect<'a>(
        &self,
        body: Reader<'a>,
        rules: TextRules,
    ) -> Result<ConnectRef<'a>, DecodeError> {
        Connect::decode(body, rules).map_err(|(fault, version)| error(fault, self.first, version))
    }
}

#[cold]
fn error(fault: Fault, first: u8, version: Option<Version>) -> DecodeError {
    DecodeError::new(fault, PacketType::from_bits(first >> 4), version)
}

/// The version that a CONNECT at the front of the input asks for, complete or not; `None` if it is not there
/// yet or none of ours.
#[must_use]
pub fn peek_connect_version(input: &[u8]) -> Option<Version> {
    match peek(input) {
        Peek::Known(version) => Some(version),
        Peek::Partial | Peek::Unknown => None,
    }
}

/// The protocol level byte of a CONNECT, whatever it and the name before it are; `None` if it is not there.
///
/// For the answer to a client whose version is not known: one of 3.x understands the CONNACK of 3.x only.
#[must_use]
pub fn peek_connect_level(input: &[u8]) -> Option<u8> {
    let (first, after) = input.split_first()?;
    if *first != PacketType::Connect.first_byte() {
        return None;
    }
    let Varint::Value(_, len) = Varint::read(after) else { return None };
    let (name_len, rest) = after.get(len..)?.split_first_chunk()?;
    rest.get(usize::from(u16::from_be_bytes(*name_len))).copied()
}

enum Peek {
    Known(Version),
    Unknown,
    Partial,
}

fn peek(input: &[u8]) -> Peek {
    match input.first() {
        Some(first) if *first == PacketType::Connect.first_byte() => {}
        Some(_) => return Peek::Unknown,
        None => return Peek::Partial,
    }
    let body = match Varint::read(input.get(1..).unwrap_or_default()) {
        Varint::Value(_, len) => input.get(1 + len..).unwrap_or_default(),
        Varint::Partial => return Peek::Partial,
        Varint::Invalid => return Peek::Unknown,
    };
    let begins_like = |version: &Version| {
        let name = version.protocol_name().as_bytes();
        let start = [0, version.protocol_name_len()].into_iter().chain(name.iter().copied());
        body.len() <= 2 + name.len() && body.iter().copied().eq(start.take(body.len()))
    };
    match body {
        [0, len, rest @ ..] if rest.len() > usize::from(*len) => {
            let (name, level) = rest.split_at(usize::from(*len));
            let version = level.first().and_then(|level| Version::from_wire(name, *level));
            version.map_or(Peek::Unknown, Peek::Known)
        }
        _ if Version::ALL.iter().any(begins_like) => Peek::Partial,
        _ => Peek::Unknown,
    }
}

/// Decodes owned packets from a stream of bytes that arrive in any pieces.
///
/// The decoder keeps no bytes: they stay in the caller's buffer until a packet is complete, so memory grows
/// with what has arrived and never by a length that was only announced. Topic, payload and the rest are slices of
/// the frame; keeping one of them keeps the buffer.
///
/// ```
/// use bytes::BytesMut;
/// use dunlin_codec::{DecodeLimits, Decoder, Packet};
///
/// let mut decoder = Decoder::server(DecodeLimits::default());
/// let mut input = BytesMut::from(&b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a\xc0"[..]);
/// assert!(matches!(decoder.next_packet(&mut input)?, Some(Packet::Connect(_))));
/// assert_eq!(decoder.next_packet(&mut input)?, None);
/// input.extend_from_slice(b"\x00");
/// assert_eq!(decoder.next_packet(&mut input)?, Some(Packet::PingReq));
/// # Ok::<(), dunlin_codec::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    limits: DecodeLimits,
    /// `None` until CONNECT tells it.
    version: Option<Version>,
    /// A stream is not to be read beyond its first error.
    failed: Option<DecodeError>,
}

impl Decoder {
    /// Decodes what a server receives: the first packet must be CONNECT and tells the version.
    #[must_use]
    pub const fn server(limits: DecodeLimits) -> Self {
        Self { limits, version: None, failed: None }
    }

    /// Decodes what a client receives that sent a CONNECT of this version.
    #[must_use]
    pub const fn client(version: Version, limits: DecodeLimits) -> Self {
        Self { limits, version: Some(version), failed: None }
    }

    /// Sets the limit for the packets that follow.
    pub const fn set_packet_size_max(&mut self, packet_size_max: u32) {
        self.limits.packet_size_max = packet_size_max;
    }

    /// The version in use, `None` before a CONNECT was decoded.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Takes the next packet off the front of the input; `Ok(None)` means that more bytes must arrive.
    ///
    /// # Errors
    ///
    /// As [`decode`] and [`decode_connect`]. After an error every call returns it again.
    pub fn next_packet(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<Packet<Bytes>>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let packet = self.decode_front(input);
        if let Err(error) = packet {
            self.failed = Some(error);
        }
        packet
    }

    #[inline]
    fn decode_front(&mut self, input: &mut BytesMut) -> Result<Option<Packet<Bytes>>, DecodeError> {
        let front = match self.version {
            Some(version) => Front::read(input, version, &self.limits)?,
            None => Front::read_connect(input, &self.limits)?,
        };
        let Some(front) = front.filter(|front| front.header.len <= input.len()) else {
            return Ok(None);
        };
        let frame = input.split_to(front.header.len).freeze();
        let Some(body) = front.body(&frame) else { return Ok(None) };
        let Some(version) = self.version else {
            let connect = front.decode_connect(body, self.limits.text)?;
            self.version = Some(connect.version);
            return Ok(Some(Packet::Connect(connect.slice(Frame(&frame)))));
        };
        if front.packet == PacketType::Publish {
            let publish = Publish::decode(front.first, body, version, self.limits.text)
                .map_err(|fault| error(fault, front.first, Some(version)))?;
            let payload_at = frame.len() - publish.payload.len();
            let mut publish = publish.slice_head(Frame(&frame));
            // The payload is what is left of the frame, so that there is one reference less to count.
            publish.payload = frame;
            publish.payload.advance(payload_at);
            return Ok(Some(Packet::Publish(publish)));
        }
        let packet = front.decode(body, version, self.limits.text)?;
        Ok(Some(packet.to_owned_in(&frame)))
    }
}

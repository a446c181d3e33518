//! Dunlin: two faces of one decoder; packets encoded whole, or PUBLISH as a head with the payload chained behind it.

use bytes::{Bytes, BytesMut};
use dunlin_codec::{
    Buffer, DecodeError, DecodeLimits, Decoder, Hop, Message, Packet, PacketRef, TopicName,
    Version, decode, encode_publish_head,
};

use crate::{Decode, Encode};

/// Packets that borrow from the bytes that came.
pub(crate) struct Borrowed {
    version: Version,
    limits: DecodeLimits,
}

impl Decode for Borrowed {
    const NAME: &'static str = "dunlin borrowed";
    /// The bytes, and how many of them were decoded.
    type Input = (Vec<u8>, usize);
    type Answer<'a> = Result<Option<(PacketRef<'a>, usize)>, DecodeError>;

    fn new(version: Version) -> Self {
        Self { version, limits: DecodeLimits::default() }
    }

    fn input(frames: &[u8]) -> Self::Input {
        (frames.to_vec(), 0)
    }

    #[inline]
    fn decode<'a>(&mut self, (bytes, decoded): &'a mut Self::Input) -> Self::Answer<'a> {
        let rest = bytes.get(*decoded..).unwrap_or_default();
        let answer = decode(rest, self.version, &self.limits);
        if let Ok(Some((_, len))) = answer {
            *decoded += len;
        }
        answer
    }

    #[inline]
    fn fields(answer: &Self::Answer<'_>, visit: impl FnMut(&[u8])) {
        let Ok(Some((packet, _))) = answer else { unreachable!("valid and complete") };
        fields(packet, visit);
    }
}

/// Packets that share the allocation of the buffer they came in.
pub(crate) struct Owned(Decoder);

impl Decode for Owned {
    const NAME: &'static str = "dunlin owned";
    type Input = BytesMut;
    type Answer<'a> = Result<Option<Packet<Bytes>>, DecodeError>;

    fn new(version: Version) -> Self {
        Self(Decoder::client(version, DecodeLimits::default()))
    }

    fn input(frames: &[u8]) -> BytesMut {
        BytesMut::from(frames)
    }

    #[inline]
    fn decode(&mut self, input: &mut BytesMut) -> Self::Answer<'_> {
        self.0.next_packet(input)
    }

    #[inline]
    fn fields(answer: &Self::Answer<'_>, visit: impl FnMut(&[u8])) {
        let Ok(Some(packet)) = answer else { unreachable!("valid and complete") };
        fields(packet, visit);
    }
}

fn fields<B: Buffer>(packet: &Packet<B>, mut visit: impl FnMut(&[u8])) {
    match packet {
        Packet::Publish(publish) => {
            visit(publish.topic.as_ref());
            for (name, value) in publish.properties.user_properties.iter() {
                visit(name.as_bytes());
                visit(value.as_bytes());
            }
            visit(publish.payload.as_ref());
        }
        Packet::Subscribe(subscribe) => {
            for (filter, _) in subscribe.filters.iter() {
                visit(filter.as_bytes());
            }
        }
        Packet::Connect(connect) => {
            visit(connect.client_id.as_ref());
            if let Some(will) = &connect.will {
                visit(will.topic.as_ref());
                visit(will.payload.as_ref());
            }
            connect.user_name.iter().for_each(|name| visit(name.as_ref()));
            connect.password.iter().for_each(|password| visit(password.as_ref()));
        }
        other => unreachable!("no {:?} among the samples", other.packet_type()),
    }
}

/// A packet written as one piece.
#[derive(Clone)]
pub(crate) struct Whole(Packet<Bytes>, Version);

impl Encode for Whole {
    const NAME: &'static str = "dunlin";
    type Packet = Self;
    type Output = Vec<u8>;

    fn packet(frame: &[u8], version: Version) -> Option<Self> {
        let packet = Owned::new(version).decode(&mut Owned::input(frame));
        packet.expect("valid").map(|packet| Self(packet, version))
    }

    #[inline]
    fn encode(packet: &mut Self, out: &mut Vec<u8>) {
        let Self(packet, version) = packet;
        out.clear();
        packet.encode(*version, out).expect("valid");
    }

    fn bytes(mut packet: Self) -> Vec<u8> {
        let mut out = Vec::new();
        Self::encode(&mut packet, &mut out);
        out
    }
}

/// A message that goes out with a head of its own, its payload shared and not copied.
#[derive(Clone)]
pub(crate) struct Chained {
    message: Message,
    hop: Hop<'static>,
    version: Version,
}

impl Encode for Chained {
    const NAME: &'static str = "dunlin chained";
    type Packet = Self;
    type Output = (Vec<u8>, Bytes);

    fn packet(frame: &[u8], version: Version) -> Option<Self> {
        let (packet, _) = decode(frame, version, &DecodeLimits::default()).expect("valid")?;
        let Packet::Publish(publish) = packet else { return None };
        let topic = TopicName::copy_from(publish.topic).expect("valid");
        Some(Self {
            message: Message::copy_from(&publish, topic),
            hop: Hop { qos: publish.qos, packet_id: publish.packet_id, ..Hop::default() },
            version,
        })
    }

    #[inline]
    fn encode(packet: &mut Self, (head, payload): &mut (Vec<u8>, Bytes)) {
        head.clear();
        encode_publish_head(&packet.message, &packet.hop, packet.version, head);
        payload.clone_from(&packet.message.payload);
    }

    fn bytes(mut packet: Self) -> Vec<u8> {
        let mut out = Default::default();
        Self::encode(&mut packet, &mut out);
        [&out.0[..], &out.1].concat()
    }
}

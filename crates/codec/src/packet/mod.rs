//! The packets: one file each, all versions in it, decode beside encode.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{self, Body, Sink},
    error::EncodeError,
    packet::{
        ack::{Ack, AckBody, AckKind},
        auth::Auth,
        connack::ConnAck,
        connect::Connect,
        disconnect::Disconnect,
        publish::Publish,
        suback::SubAck,
        subscribe::Subscribe,
        unsuback::UnsubAck,
        unsubscribe::Unsubscribe,
    },
    version::Version,
};

pub(crate) mod ack;
pub(crate) mod auth;
pub(crate) mod connack;
pub(crate) mod connect;
pub(crate) mod disconnect;
pub(crate) mod publish;
pub(crate) mod suback;
pub(crate) mod subscribe;
pub(crate) mod unsuback;
pub(crate) mod unsubscribe;
pub(crate) mod will;

/// The type of a packet.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum PacketType {
    /// A client asks for a session.
    Connect = 1,
    /// The answer to CONNECT.
    ConnAck = 2,
    /// An Application Message.
    Publish = 3,
    /// The answer to a PUBLISH of QoS 1.
    PubAck = 4,
    /// The answer to a PUBLISH of QoS 2.
    PubRec = 5,
    /// The answer to PUBREC.
    PubRel = 6,
    /// The answer to PUBREL.
    PubComp = 7,
    /// A client asks for messages.
    Subscribe = 8,
    /// The answer to SUBSCRIBE.
    SubAck = 9,
    /// A client asks for messages no more.
    Unsubscribe = 10,
    /// The answer to UNSUBSCRIBE.
    UnsubAck = 11,
    /// A client asks whether the server is there.
    PingReq = 12,
    /// The answer to PINGREQ.
    PingResp = 13,
    /// Nothing will follow.
    Disconnect = 14,
    /// A step of an enhanced authentication, since 5.0.
    Auth = 15,
}

impl PacketType {
    /// The type of the high four bits of a first byte, `None` for 0.
    #[inline]
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of a packet of this type, with the flags it must carry; PUBLISH with none.
    // [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
    #[inline]
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            Self::Connect
            | Self::ConnAck
            | Self::Publish
            | Self::PubAck
            | Self::PubRec
            | Self::PubComp
            | Self::SubAck
            | Self::UnsubAck
            | Self::PingReq
            | Self::PingResp
            | Self::Disconnect
            | Self::Auth => 0,
        };
        (self as u8) << 4 | flags
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        })
    }
}

/// Any packet. Nothing in it is boxed, because the borrowed face allocates nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Packet<B: Buffer> {
    /// CONNECT.
    Connect(Connect<B>),
    /// CONNACK.
    ConnAck(ConnAck<B>),
    /// PUBLISH.
    Publish(Publish<B>),
    /// PUBACK.
    PubAck(Ack<B>),
    /// PUBREC.
    PubRec(Ack<B>),
    /// PUBREL.
    PubRel(Ack<B>),
    /// PUBCOMP.
    PubComp(Ack<B>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<B>),
    /// SUBACK.
    SubAck(SubAck<B>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<B>),
    /// UNSUBACK.
    UnsubAck(UnsubAck<B>),
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(Disconnect<B>),
    /// AUTH.
    Auth(Auth<B>),
}

/// A packet borrowed from the bytes it was decoded from.
pub type PacketRef<'a> = Packet<&'a [u8]>;

impl<B: Buffer> Packet<B> {
    /// The type of the packet.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Bytes that [`Packet::encode`] will append. A CONNECT is written in its own version, whatever `version` is.
    ///
    /// # Errors
    ///
    /// The packet has no form on the wire, or none in this version.
    #[inline]
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        self.with_body(version, Measure)
    }

    /// Appends the packet to `out`; on an error nothing is appended. What a version has no field for, such as
    /// properties before 5.0, is left out.
    ///
    /// Names and filters are written as they are: checking them is for who made them.
    ///
    /// # Errors
    ///
    /// The packet has no form on the wire, or none in this version.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.with_body(version, Append(out))
    }

    #[inline]
    fn with_body<V: Visitor>(
        &self,
        version: Version,
        visitor: V,
    ) -> Result<V::Output, EncodeError> {
        match self {
            Self::Connect(connect) => visitor.visit(connect, connect.version),
            Self::ConnAck(connack) => visitor.visit(connack, version),
            Self::Publish(publish) => visitor.visit(publish, version),
            Self::PubAck(ack) => visitor.visit(&AckBody { kind: AckKind::PubAck, ack }, version),
            Self::PubRec(ack) => visitor.visit(&AckBody { kind: AckKind::PubRec, ack }, version),
            Self::PubRel(ack) => visitor.visit(&AckBody { kind: AckKind::PubRel, ack }, version),
            Self::PubComp(ack) => visitor.visit(&AckBody { kind: AckKind::PubComp, ack }, version),
            Self::Subscribe(subscribe) => visitor.visit(subscribe, version),
            Self::SubAck(suback) => visitor.visit(suback, version),
            Self::Unsubscribe(unsubscribe) => visitor.visit(unsubscribe, version),
            Self::UnsubAck(unsuback) => visitor.visit(unsuback, version),
            Self::PingReq => visitor.visit(&Ping(PacketType::PingReq), version),
            Self::PingResp => visitor.visit(&Ping(PacketType::PingResp), version),
            Self::Disconnect(disconnect) => visitor.visit(disconnect, version),
            Self::Auth(auth) => visitor.visit(auth, version),
        }
    }
}

impl Packet<&[u8]> {
    /// The owned face: text and data become slices of `frame`, nothing is copied.
    ///
    /// # Panics
    ///
    /// If the packet was not decoded from the bytes of `frame`.
    #[must_use]
    pub fn to_owned_in(&self, frame: &Bytes) -> Packet<Bytes> {
        let frame = Frame(frame);
        match self {
            Self::Connect(connect) => Packet::Connect(connect.slice(frame)),
            Self::ConnAck(connack) => Packet::ConnAck(connack.slice(frame)),
            Self::Publish(publish) => Packet::Publish(publish.slice(frame)),
            Self::PubAck(ack) => Packet::PubAck(ack.slice(frame)),
            Self::PubRec(ack) => Packet::PubRec(ack.slice(frame)),
            Self::PubRel(ack) => Packet::PubRel(ack.slice(frame)),
            Self::PubComp(ack) => Packet::PubComp(ack.slice(frame)),
            Self::Subscribe(subscribe) => Packet::Subscribe(subscribe.slice(frame)),
            Self::SubAck(suback) => Packet::SubAck(suback.slice(frame)),
            Self::Unsubscribe(unsubscribe) => Packet::Unsubscribe(unsubscribe.slice(frame)),
            Self::UnsubAck(unsuback) => Packet::UnsubAck(unsuback.slice(frame)),
            Self::PingReq => Packet::PingReq,
            Self::PingResp => Packet::PingResp,
            Self::Disconnect(disconnect) => Packet::Disconnect(disconnect.slice(frame)),
            Self::Auth(auth) => Packet::Auth(auth.slice(frame)),
        }
    }
}

/// What is done with the body of a packet, once its type is known.
trait Visitor {
    type Output;
    fn visit(self, body: &impl Body, version: Version) -> Result<Self::Output, EncodeError>;
}

struct Measure;

impl Visitor for Measure {
    type Output = usize;

    #[inline]
    fn visit(self, body: &impl Body, version: Version) -> Result<usize, EncodeError> {
        encoder::encoded_len(body, version)
    }
}

struct Append<'a>(&'a mut Vec<u8>);

impl Visitor for Append<'_> {
    type Output = ();

    #[inline]
    fn visit(self, body: &impl Body, version: Version) -> Result<(), EncodeError> {
        encoder::encode(body, version, self.0)
    }
}

/// PINGREQ and PINGRESP, which have no body.
struct Ping(PacketType);

impl Body for Ping {
    fn first_byte(&self, _: Version) -> Result<u8, EncodeError> {
        Ok(self.0.first_byte())
    }

    fn write(&self, _: Version, _: &mut impl Sink) {}
}

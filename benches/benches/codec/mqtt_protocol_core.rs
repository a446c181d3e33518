//! `mqtt-protocol-core`: the parts of its connection that build packets from bytes, without the connection's state.
//!
//! The body of each packet is copied into an allocation of its own, from which topics and the like are copied again.

use dunlin_codec::Version;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Property, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;

use crate::{Decode, Encode};

pub(crate) struct Parser {
    builder: PacketBuilder,
    version: Version,
}

impl Decode for Parser {
    const NAME: &'static str = "mqtt-protocol-core";
    /// The bytes, and how many of them were decoded.
    type Input = (Vec<u8>, u64);
    type Answer<'a> = Result<Packet, MqttError>;

    fn new(version: Version) -> Self {
        Self { builder: PacketBuilder::new(), version }
    }

    fn input(frames: &[u8]) -> Self::Input {
        (frames.to_vec(), 0)
    }

    #[inline]
    fn decode(&mut self, (bytes, decoded): &mut Self::Input) -> Self::Answer<'_> {
        let mut rest = Cursor::new(bytes.as_slice());
        rest.set_position(*decoded);
        let PacketBuildResult::Complete(raw) = self.builder.feed(&mut rest) else {
            unreachable!("the samples are valid and complete");
        };
        *decoded = rest.position();
        let v5 = self.version.is_v5();
        match (&raw.data, raw.packet_type()) {
            (PacketData::Publish(body), _) if v5 => {
                v5_0::Publish::parse(raw.flags(), body.clone()).map(|(packet, _)| packet.into())
            }
            (PacketData::Publish(body), _) => {
                v3_1_1::Publish::parse(raw.flags(), body.clone()).map(|(packet, _)| packet.into())
            }
            (_, 1) if v5 => raw.parse_exact(v5_0::Connect::parse).map(Into::into),
            (_, 1) => raw.parse_exact(v3_1_1::Connect::parse).map(Into::into),
            (_, 8) if v5 => raw.parse_exact(v5_0::Subscribe::parse).map(Into::into),
            (_, 8) => raw.parse_exact(v3_1_1::Subscribe::parse).map(Into::into),
            (_, other) => unreachable!("no packet type {other} among the samples"),
        }
    }

    #[inline]
    fn fields(answer: &Self::Answer<'_>, mut visit: impl FnMut(&[u8])) {
        match answer.as_ref().expect("valid") {
            Packet::V3_1_1Publish(publish) => {
                visit(publish.topic_name().as_bytes());
                visit(publish.payload().as_slice());
            }
            Packet::V5_0Publish(publish) => {
                visit(publish.topic_name().as_bytes());
                for property in publish.props() {
                    if let Property::UserProperty(property) = property {
                        visit(property.key().as_bytes());
                        visit(property.val().as_bytes());
                    }
                }
                visit(publish.payload().as_slice());
            }
            Packet::V3_1_1Subscribe(subscribe) => {
                let entries = subscribe.entries().iter();
                entries.for_each(|entry| visit(entry.topic_filter().as_bytes()));
            }
            Packet::V5_0Subscribe(subscribe) => {
                let entries = subscribe.entries().iter();
                entries.for_each(|entry| visit(entry.topic_filter().as_bytes()));
            }
            Packet::V3_1_1Connect(connect) => {
                visit(connect.client_id().as_bytes());
                connect.will_topic().into_iter().for_each(|topic| visit(topic.as_bytes()));
                connect.will_payload().into_iter().for_each(&mut visit);
                connect.user_name().into_iter().for_each(|name| visit(name.as_bytes()));
                connect.password().into_iter().for_each(&mut visit);
            }
            Packet::V5_0Connect(connect) => {
                visit(connect.client_id().as_bytes());
                connect.will_topic().into_iter().for_each(|topic| visit(topic.as_bytes()));
                connect.will_payload().into_iter().for_each(&mut visit);
                connect.user_name().into_iter().for_each(|name| visit(name.as_bytes()));
                connect.password().into_iter().for_each(&mut visit);
            }
            other => unreachable!("no {other:?} among the samples"),
        }
    }
}

fn parse(frame: &[u8], version: Version) -> Packet {
    Parser::new(version).decode(&mut Parser::input(frame)).expect("valid")
}

/// A packet written as one piece.
pub(crate) struct Whole;

impl Encode for Whole {
    const NAME: &'static str = "mqtt-protocol-core";
    type Packet = Packet;
    type Output = Vec<u8>;

    fn packet(frame: &[u8], version: Version) -> Option<Packet> {
        Some(parse(frame, version))
    }

    #[inline]
    fn encode(packet: &mut Packet, out: &mut Vec<u8>) {
        *out = packet.to_continuous_buffer();
    }

    fn bytes(packet: Packet) -> Vec<u8> {
        packet.to_continuous_buffer()
    }
}

/// Slices of a packet for a vectored write.
pub(crate) struct Chained;

impl Encode for Chained {
    const NAME: &'static str = "mqtt-protocol-core chained";
    type Packet = Packet;
    type Output = ();

    fn packet(frame: &[u8], version: Version) -> Option<Packet> {
        Some(parse(frame, version))
            .filter(|packet| matches!(packet, Packet::V3_1_1Publish(_) | Packet::V5_0Publish(_)))
    }

    #[inline]
    fn encode(packet: &mut Packet, (): &mut ()) {
        std::hint::black_box(&packet.to_buffers());
    }

    fn bytes(packet: Packet) -> Vec<u8> {
        packet.to_buffers().iter().flat_map(|slice| slice.iter().copied()).collect()
    }
}

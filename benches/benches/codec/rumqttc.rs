//! The codec of `rumqttc`, a descendant of `mqttbytes`; its 5.0 half does not check that a topic is text.

use bytes::BytesMut;
use dunlin_codec::Version;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use crate::{Decode, Encode};

const NAME: &str = "rumqttc";
const PACKET_SIZE_MAX: usize = 256 << 20;

pub(crate) struct V3;

impl Decode for V3 {
    const NAME: &'static str = NAME;
    type Input = BytesMut;
    type Answer<'a> = Result<v4::Packet, rumqttc::mqttbytes::Error>;

    fn new(_: Version) -> Self {
        Self
    }

    fn input(frames: &[u8]) -> BytesMut {
        BytesMut::from(frames)
    }

    #[inline]
    fn decode(&mut self, input: &mut BytesMut) -> Self::Answer<'_> {
        v4::Packet::read(input, PACKET_SIZE_MAX)
    }

    #[inline]
    fn fields(answer: &Self::Answer<'_>, mut visit: impl FnMut(&[u8])) {
        match answer.as_ref().expect("valid") {
            v4::Packet::Publish(publish) => {
                visit(publish.topic.as_bytes());
                visit(&publish.payload);
            }
            v4::Packet::Subscribe(subscribe) => {
                subscribe.filters.iter().for_each(|filter| visit(filter.path.as_bytes()));
            }
            v4::Packet::Connect(connect) => {
                visit(connect.client_id.as_bytes());
                if let Some(will) = &connect.last_will {
                    visit(will.topic.as_bytes());
                    visit(&will.message);
                }
                if let Some(login) = &connect.login {
                    visit(login.username.as_bytes());
                    visit(login.password.as_bytes());
                }
            }
            other => unreachable!("no {other:?} among the samples"),
        }
    }
}

impl Encode for V3 {
    const NAME: &'static str = NAME;
    type Packet = v4::Packet;
    type Output = BytesMut;

    fn packet(frame: &[u8], _: Version) -> Option<v4::Packet> {
        Self.decode(&mut Self::input(frame)).ok()
    }

    #[inline]
    fn encode(packet: &mut v4::Packet, out: &mut BytesMut) {
        out.clear();
        packet.write(out, PACKET_SIZE_MAX).expect("valid");
    }

    fn bytes(mut packet: v4::Packet) -> Vec<u8> {
        let mut out = BytesMut::new();
        Self::encode(&mut packet, &mut out);
        out.into()
    }
}

pub(crate) struct V5;

impl Decode for V5 {
    const NAME: &'static str = NAME;
    type Input = BytesMut;
    type Answer<'a> = Result<v5::Packet, rumqttc::v5::mqttbytes::Error>;

    fn new(_: Version) -> Self {
        Self
    }

    fn input(frames: &[u8]) -> BytesMut {
        BytesMut::from(frames)
    }

    #[inline]
    fn decode(&mut self, input: &mut BytesMut) -> Self::Answer<'_> {
        v5::Packet::read(input, None)
    }

    #[inline]
    fn fields(answer: &Self::Answer<'_>, mut visit: impl FnMut(&[u8])) {
        match answer.as_ref().expect("valid") {
            v5::Packet::Publish(publish) => {
                visit(&publish.topic);
                for (name, value) in publish.properties.iter().flat_map(|all| &all.user_properties)
                {
                    visit(name.as_bytes());
                    visit(value.as_bytes());
                }
                visit(&publish.payload);
            }
            v5::Packet::Subscribe(subscribe) => {
                subscribe.filters.iter().for_each(|filter| visit(filter.path.as_bytes()));
            }
            v5::Packet::Connect(connect, will, login) => {
                visit(connect.client_id.as_bytes());
                if let Some(will) = will {
                    visit(&will.topic);
                    visit(&will.message);
                }
                if let Some(login) = login {
                    visit(login.username.as_bytes());
                    visit(login.password.as_bytes());
                }
            }
            other => unreachable!("no {other:?} among the samples"),
        }
    }
}

impl Encode for V5 {
    const NAME: &'static str = NAME;
    type Packet = v5::Packet;
    type Output = BytesMut;

    fn packet(frame: &[u8], _: Version) -> Option<v5::Packet> {
        Self.decode(&mut Self::input(frame)).ok()
    }

    #[inline]
    fn encode(packet: &mut v5::Packet, out: &mut BytesMut) {
        out.clear();
        packet.write(out, None).expect("valid");
    }

    fn bytes(mut packet: v5::Packet) -> Vec<u8> {
        let mut out = BytesMut::new();
        Self::encode(&mut packet, &mut out);
        out.into()
    }
}

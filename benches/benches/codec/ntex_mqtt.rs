//! `ntex-mqtt`: a codec for buffers of its own, whose pages chain payloads above 4 KiB instead of copying them.

use dunlin_codec::Version;
use ntex_bytes::{BytePages, BytesMut};
use ntex_codec::{Decoder as _, Encoder as _};
use ntex_mqtt::error::DecodeError;
use ntex_mqtt::{v3, v5};

use crate::{Decode, Encode};

const NAME: &str = "ntex-mqtt";
const ENCODER_NAME: &str = "ntex-mqtt chained";

pub(crate) struct V3(v3::codec::Codec);

impl Decode for V3 {
    const NAME: &'static str = NAME;
    type Input = BytesMut;
    type Answer<'a> = Result<Option<v3::codec::Decoded>, DecodeError>;

    fn new(_: Version) -> Self {
        Self(v3::codec::Codec::new())
    }

    fn input(frames: &[u8]) -> BytesMut {
        input(frames)
    }

    #[inline]
    fn decode(&mut self, input: &mut BytesMut) -> Self::Answer<'_> {
        self.0.decode(input)
    }

    #[inline]
    fn fields(answer: &Self::Answer<'_>, mut visit: impl FnMut(&[u8])) {
        use v3::codec::{Decoded, Packet};
        let Ok(Some(decoded)) = answer else { unreachable!("valid and complete") };
        match decoded {
            Decoded::Publish(publish, payload, _) => {
                visit(publish.topic.as_bytes());
                visit(payload);
            }
            Decoded::Packet(Packet::Subscribe { topic_filters, .. }, _) => {
                topic_filters.iter().for_each(|(filter, _)| visit(filter.as_bytes()));
            }
            Decoded::Packet(Packet::Connect(connect), _) => {
                visit(connect.client_id.as_bytes());
                if let Some(will) = &connect.last_will {
                    visit(will.topic.as_bytes());
                    visit(&will.message);
                }
                connect.username.iter().for_each(|name| visit(name.as_bytes()));
                connect.password.iter().for_each(|password| visit(password));
            }
            other => unreachable!("no {other:?} among the samples"),
        }
    }
}

/// What the codec takes, and takes away.
#[derive(Clone)]
pub(crate) struct Outgoing<C, E>(C, Option<E>);

impl Encode for V3 {
    const NAME: &'static str = ENCODER_NAME;
    type Packet = Outgoing<v3::codec::Codec, v3::codec::Encoded>;
    type Output = BytePages;

    fn packet(frame: &[u8], version: Version) -> Option<Self::Packet> {
        use v3::codec::{Decoded, Encoded};
        let encoded = match Self::new(version).decode(&mut input(frame)).expect("valid")? {
            Decoded::Packet(packet, _) => Encoded::Packet(packet),
            Decoded::Publish(publish, payload, _) => Encoded::Publish(publish, Some(payload)),
            Decoded::PayloadChunk(..) => unreachable!("the samples are complete"),
        };
        Some(Outgoing(v3::codec::Codec::new(), Some(encoded)))
    }

    #[inline]
    fn encode(Outgoing(codec, item): &mut Self::Packet, out: &mut BytePages) {
        out.clear();
        codec.encodev(item.take().expect("once"), out).expect("valid");
    }

    fn bytes(mut packet: Self::Packet) -> Vec<u8> {
        let mut out = BytePages::default();
        Self::encode(&mut packet, &mut out);
        out.freeze().to_vec()
    }
}

pub(crate) struct V5(v5::codec::Codec);

impl Decode for V5 {
    const NAME: &'static str = NAME;
    type Input = BytesMut;
    type Answer<'a> = Result<Option<v5::codec::Decoded>, DecodeError>;

    fn new(_: Version) -> Self {
        Self(v5::codec::Codec::new())
    }

    fn input(frames: &[u8]) -> BytesMut {
        input(frames)
    }

    #[inline]
    fn decode(&mut self, input: &mut BytesMut) -> Self::Answer<'_> {
        self.0.decode(input)
    }

    #[inline]
    fn fields(answer: &Self::Answer<'_>, mut visit: impl FnMut(&[u8])) {
        use v5::codec::{Decoded, Packet};
        let Ok(Some(decoded)) = answer else { unreachable!("valid and complete") };
        match decoded {
            Decoded::Publish(publish, payload, _) => {
                visit(publish.topic.as_bytes());
                for (name, value) in &publish.properties.user_properties {
                    visit(name.as_bytes());
                    visit(value.as_bytes());
                }
                visit(payload);
            }
            Decoded::Packet(Packet::Subscribe(subscribe), _) => {
                subscribe.topic_filters.iter().for_each(|(filter, _)| visit(filter.as_bytes()));
            }
            Decoded::Packet(Packet::Connect(connect), _) => {
                visit(connect.client_id.as_bytes());
                if let Some(will) = &connect.last_will {
                    visit(will.topic.as_bytes());
                    visit(&will.message);
                }
                connect.username.iter().for_each(|name| visit(name.as_bytes()));
                connect.password.iter().for_each(|password| visit(password));
            }
            other => unreachable!("no {other:?} among the samples"),
        }
    }
}

impl Encode for V5 {
    const NAME: &'static str = ENCODER_NAME;
    type Packet = Outgoing<v5::codec::Codec, v5::codec::Encoded>;
    type Output = BytePages;

    fn packet(frame: &[u8], version: Version) -> Option<Self::Packet> {
        use v5::codec::{Decoded, Encoded};
        let encoded = match Self::new(version).decode(&mut input(frame)).expect("valid")? {
            Decoded::Packet(packet, _) => Encoded::Packet(packet),
            Decoded::Publish(publish, payload, _) => Encoded::Publish(publish, Some(payload)),
            Decoded::PayloadChunk(..) => unreachable!("the samples are complete"),
        };
        Some(Outgoing(v5::codec::Codec::new(), Some(encoded)))
    }

    #[inline]
    fn encode(Outgoing(codec, item): &mut Self::Packet, out: &mut BytePages) {
        out.clear();
        codec.encodev(item.take().expect("once"), out).expect("valid");
    }

    fn bytes(mut packet: Self::Packet) -> Vec<u8> {
        let mut out = BytePages::default();
        Self::encode(&mut packet, &mut out);
        out.freeze().to_vec()
    }
}

/// A read buffer: ntex reserves room for the next fixed header in it, so that without any it would have to grow.
fn input(frames: &[u8]) -> BytesMut {
    let mut input = BytesMut::with_capacity(frames.len() + 16);
    input.extend_from_slice(frames);
    input
}

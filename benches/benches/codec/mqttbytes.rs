//! `mqttbytes`: packets read from a `BytesMut`, text copied, payload shared; each written by its own method.

use bytes::BytesMut;
use dunlin_codec::Version;
use mqttbytes::{v4, v5};

use crate::{Decode, Encode};

const NAME: &str = "mqttbytes";
const PACKET_SIZE_MAX: usize = 256 << 20;

/// One version of the protocol, in this crate or in `rumqttc`, whose codec descends from it: how a packet is read, shown and
/// written.
macro_rules! half {
    ($half:ident: $packet:ty, $error:ty, $read:expr, $show:expr, $write:expr) => {
        pub(crate) struct $half;

        impl Decode for $half {
            const NAME: &'static str = NAME;
            type Input = BytesMut;
            type Answer<'a> = Result<$packet, $error>;

            fn new(_: Version) -> Self {
                Self
            }

            fn input(frames: &[u8]) -> BytesMut {
                BytesMut::from(frames)
            }

            #[inline]
            fn decode(&mut self, input: &mut BytesMut) -> Self::Answer<'_> {
                $read(input)
            }

            #[inline]
            fn fields(answer: &Self::Answer<'_>, mut visit: impl FnMut(&[u8])) {
                $show(answer.as_ref().expect("valid"), &mut visit);
            }
        }

        impl Encode for $half {
            const NAME: &'static str = NAME;
            type Packet = $packet;
            type Output = BytesMut;

            fn packet(frame: &[u8], _: Version) -> Option<$packet> {
                Self.decode(&mut Self::input(frame)).ok()
            }

            #[inline]
            fn encode(packet: &mut $packet, out: &mut BytesMut) {
                out.clear();
                $write(packet, out);
            }

            fn bytes(mut packet: $packet) -> Vec<u8> {
                let mut out = BytesMut::new();
                Self::encode(&mut packet, &mut out);
                out.into()
            }
        }
    };
}

/// Shows all texts and binaries of a packet of 3.1.1, whichever of both crates `v4` is.
macro_rules! define_show_v4 {
    () => {
        fn show_v4(packet: &v4::Packet, visit: &mut impl FnMut(&[u8])) {
            match packet {
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
    };
}

/// The same of a PUBLISH of 5.0, whichever of both crates `v5` is.
macro_rules! define_show_publish {
    () => {
        fn show_publish(publish: &v5::Publish, visit: &mut impl FnMut(&[u8])) {
            visit(publish.topic.as_ref());
            for (name, value) in publish.properties.iter().flat_map(|all| &all.user_properties) {
                visit(name.as_bytes());
                visit(value.as_bytes());
            }
            visit(&publish.payload);
        }
    };
}

pub(crate) use {define_show_publish, define_show_v4, half};

half!(V3: v4::Packet, mqttbytes::Error, |input| v4::read(input, PACKET_SIZE_MAX), show_v4, write_v4);
half!(V5: v5::Packet, mqttbytes::Error, |input| v5::read(input, PACKET_SIZE_MAX), show_v5, write_v5);
define_show_v4!();
define_show_publish!();

fn show_v5(packet: &v5::Packet, visit: &mut impl FnMut(&[u8])) {
    match packet {
        v5::Packet::Publish(publish) => show_publish(publish, visit),
        v5::Packet::Subscribe(subscribe) => {
            subscribe.filters.iter().for_each(|filter| visit(filter.path.as_bytes()));
        }
        v5::Packet::Connect(connect) => {
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

#[inline]
fn write_v4(packet: &v4::Packet, out: &mut BytesMut) {
    let written = match packet {
        v4::Packet::Publish(publish) => publish.write(out),
        v4::Packet::Subscribe(subscribe) => subscribe.write(out),
        v4::Packet::Connect(connect) => connect.write(out),
        other => unreachable!("no {other:?} among the samples"),
    };
    written.expect("valid");
}

#[inline]
fn write_v5(packet: &v5::Packet, out: &mut BytesMut) {
    let written = match packet {
        v5::Packet::Publish(publish) => publish.write(out),
        v5::Packet::Subscribe(subscribe) => subscribe.write(out),
        v5::Packet::Connect(connect) => connect.write(out),
        other => unreachable!("no {other:?} among the samples"),
    };
    written.expect("valid");
}

//! The codec of `rumqttc`, a descendant of `mqttbytes`; its 5.0 half does not check that a topic is text.

use bytes::BytesMut;
use dunlin_codec::Version;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use crate::mqttbytes::{define_show_publish, define_show_v4, half};
use crate::{Decode, Encode};

const NAME: &str = "rumqttc";
const PACKET_SIZE_MAX: usize = 256 << 20;

half!(V3: v4::Packet, rumqttc::mqttbytes::Error, |input| v4::Packet::read(input, PACKET_SIZE_MAX), show_v4, write_v4);
half!(V5: v5::Packet, rumqttc::v5::mqttbytes::Error, |input| v5::Packet::read(input, None), show_v5, write_v5);
define_show_v4!();
define_show_publish!();

fn show_v5(packet: &v5::Packet, visit: &mut impl FnMut(&[u8])) {
    match packet {
        v5::Packet::Publish(publish) => show_publish(publish, visit),
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

#[inline]
fn write_v4(packet: &v4::Packet, out: &mut BytesMut) {
    packet.write(out, PACKET_SIZE_MAX).expect("valid");
}

#[inline]
fn write_v5(packet: &v5::Packet, out: &mut BytesMut) {
    packet.write(out, None).expect("valid");
}

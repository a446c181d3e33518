//! What the client said about itself in CONNECT, and what may therefore be sent to it.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use dunlin_codec::{Connect, Packet, Version};

/// The client's side of the bargain. Small, because every connection keeps it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Peer {
    pub(crate) version: Version,
    /// Whether acknowledgements may carry a Reason String and User Properties.
    pub(crate) problem_information: bool,
    /// QoS 1 and 2 PUBLISHes it takes at a time; 3.x clients do not say.
    pub(crate) receive_maximum: u16,
    pub(crate) topic_alias_maximum: u16,
    /// The largest packet it takes; `u32::MAX` if it does not say.
    pub(crate) packet_size_max: u32,
}

impl Peer {
    pub(crate) fn of(connect: &Connect<&[u8]>) -> Self {
        let properties = &connect.properties;
        Self {
            version: connect.version,
            problem_information: properties.request_problem_information,
            receive_maximum: properties.receive_maximum.map_or(u16::MAX, NonZeroU16::get),
            topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
            packet_size_max: properties.maximum_packet_size.map_or(u32::MAX, NonZeroU32::get),
        }
    }

    /// A client of which only the version is known.
    pub(crate) const fn unknown(version: Version) -> Self {
        Self {
            version,
            problem_information: true,
            receive_maximum: u16::MAX,
            topic_alias_maximum: 0,
            packet_size_max: u32::MAX,
        }
    }

    pub(crate) const fn is_v5(&self) -> bool {
        self.version.is_v5()
    }

    /// Whether a packet of this many bytes may be sent.
    // [MQTT-3.1.2-24]
    #[inline]
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        u32::try_from(bytes).is_ok_and(|bytes| bytes <= self.packet_size_max)
    }

    /// The packet as it may be sent, without what the client does not want or has no room for; `None` if not even the
    /// rest fits.
    pub(crate) fn admit(&self, mut packet: Packet<Bytes>) -> Option<Packet<Bytes>> {
        // [MQTT-3.1.2-29]
        if !self.problem_information
            && !matches!(packet, Packet::ConnAck(_) | Packet::Disconnect(_))
        {
            strip(&mut packet);
        }
        if self.takes_packet(&packet) {
            return Some(packet);
        }
        // [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2]
        // [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
        strip(&mut packet);
        self.takes_packet(&packet).then_some(packet)
    }

    fn takes_packet(&self, packet: &Packet<Bytes>) -> bool {
        packet.encoded_len(self.version).is_ok_and(|bytes| self.takes(bytes))
    }
}

/// Takes out what a packet can do without: Reason String and User Properties.
fn strip(packet: &mut Packet<Bytes>) {
    match packet {
        Packet::ConnAck(connack) => {
            connack.properties.reason_string = None;
            connack.properties.user_properties = Default::default();
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.properties = Default::default();
        }
        Packet::SubAck(suback) => suback.properties = Default::default(),
        Packet::UnsubAck(unsuback) => unsuback.properties = Default::default(),
        Packet::Disconnect(disconnect) => {
            disconnect.reason_string = None;
            disconnect.user_properties = Default::default();
        }
        Packet::Auth(auth) => {
            auth.reason_string = None;
            auth.user_properties = Default::default();
        }
        // Nothing in them can be left out, or they are not ours to send.
        Packet::Connect(_)
        | Packet::Publish(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::PingReq
        | Packet::PingResp => {}
    }
}

//! Exchanges of messages with a client, for machines that keep the state of one session.

use bytes::Bytes;
use dunlin_codec::{
    AckKind, Connect, ConnectProperties, Packet, PacketId, Publish, PublishProperties, Qos,
    ReasonCode, Text, Version, encode_ack,
};

/// Messages under way at once.
pub const WINDOWS: [usize; 2] = [20, 100];
/// The topic of every message.
pub const TOPIC: &str = "site/03/line/7/temperature";
/// The payload of every message.
pub const PAYLOAD: [u8; 64] = [b'x'; 64];

/// Who the client is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client {
    /// What it speaks.
    pub version: Version,
    /// Whether its session goes on when the connection ends, so that messages must be kept until acknowledged.
    pub is_kept: bool,
}

/// Which way messages go, as the server sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// One window of messages, from the first PUBLISH to the last acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Who the client is.
    pub client: Client,
    /// Which way the messages go.
    pub direction: Direction,
    /// With what QoS, 1 or 2.
    pub qos: Qos,
    /// Messages.
    pub window: usize,
}

impl Client {
    /// All that are compared.
    pub const ALL: [Self; 3] = [
        Self { version: Version::V3_1_1, is_kept: false },
        Self { version: Version::V3_1_1, is_kept: true },
        Self { version: Version::V5, is_kept: false },
    ];

    /// Its CONNECT.
    #[must_use]
    pub fn connect(self) -> Vec<u8> {
        let connect = Connect {
            version: self.version,
            clean_start: !self.is_kept,
            keep_alive: 60,
            client_id: text("line-7-gateway"),
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        frame(&Packet::Connect(connect), self.version)
    }

    /// The row of a connection that is opened.
    #[must_use]
    pub fn opening(self) -> String {
        format!("open {}", self.name())
    }

    fn name(self) -> String {
        let version = if self.version == Version::V5 { "5.0" } else { "3.1.1" };
        let kept = if self.is_kept { ", session goes on" } else { "" };
        format!("{version}{kept}")
    }
}

impl Exchange {
    /// The row in the results.
    #[must_use]
    pub fn name(&self) -> String {
        let direction = if self.direction == Direction::In { "in" } else { "out" };
        let Self { client, qos, window, .. } = self;
        format!("QoS {} {direction} {}, window {window}", *qos as u8, client.name())
    }

    /// The PUBLISHes, with the Packet Identifiers from 1 on.
    #[must_use]
    pub fn publishes(&self) -> Vec<u8> {
        (1..).take(self.window).flat_map(|number| self.publish(number)).collect()
    }

    fn publish(&self, number: u16) -> Vec<u8> {
        let publish = Publish {
            dup: false,
            retain: false,
            qos: self.qos,
            packet_id: PacketId::new(number),
            topic: text(TOPIC),
            properties: PublishProperties::default(),
            payload: Bytes::from_static(&PAYLOAD),
        };
        frame(&Packet::Publish(publish), self.client.version)
    }

    /// Acknowledgements of PUBLISHes with those identifiers.
    #[must_use]
    pub fn acks(&self, kind: AckKind) -> Vec<u8> {
        let mut frames = Vec::new();
        for id in (1..).take(self.window).filter_map(PacketId::new) {
            encode_ack(kind, id, ReasonCode::Success, self.client.version, &mut frames);
        }
        frames
    }
}

/// All exchanges, in the order of the results.
#[must_use]
pub fn all() -> Vec<Exchange> {
    let kinds = [Qos::AtLeastOnce, Qos::ExactlyOnce]
        .into_iter()
        .flat_map(|qos| [(qos, Direction::In), (qos, Direction::Out)]);
    kinds
        .flat_map(|(qos, direction)| {
            Client::ALL.into_iter().flat_map(move |client| {
                WINDOWS.map(|window| Exchange { client, direction, qos, window })
            })
        })
        .collect()
}

/// The rows, in the order of the results.
#[must_use]
pub fn names() -> Vec<String> {
    let openings = Client::ALL.iter().map(|client| client.opening());
    all().iter().map(Exchange::name).chain(openings).collect()
}

/// The Packet Identifiers of short packets that have one, in their order: what a client reads before it answers.
pub fn identifiers(mut frames: &[u8], mut each: impl FnMut(u16)) {
    while let [first, len, body @ ..] = frames {
        let Some((body, rest)) = body.split_at_checked(usize::from(*len)) else { return };
        let is_publish = first >> 4 == 3;
        let at = if is_publish { 2 + TOPIC.len() } else { 0 };
        if let Some([high, low]) = body.get(at..at + 2) {
            each(u16::from_be_bytes([*high, *low]));
        }
        frames = rest;
    }
}

fn frame(packet: &Packet<Bytes>, version: Version) -> Vec<u8> {
    let mut frame = Vec::new();
    packet.encode(version, &mut frame).expect("the packets of this table are valid");
    frame
}

fn text(text: &str) -> Text {
    Text::copy_from(text).expect("the texts of this table are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_finds_the_identifiers_in_what_it_reads() {
        for exchange in all() {
            let expected: Vec<u16> = (1..).take(exchange.window).collect();
            for frames in [exchange.publishes(), exchange.acks(AckKind::PubRel)] {
                let mut found = Vec::new();
                identifiers(&frames, |id| found.push(id));
                assert_eq!(found, expected, "{}", exchange.name());
            }
        }
    }
}

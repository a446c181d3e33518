//! `mqtt-protocol-core`: `Connection` as a server, with acknowledgements that it sends by itself.

use std::hint::black_box;
use std::sync::Arc;

use dunlin_benches::exchanges::{Client, PAYLOAD, TOPIC};
use dunlin_codec::{Qos, Version};
use mqtt_protocol_core::mqtt::Version as PeerVersion;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::role;
use mqtt_protocol_core::mqtt::connection::{Connection, Event};
use mqtt_protocol_core::mqtt::packet::{self, GenericPacketTrait, Packet, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, ConnectReturnCode};

use crate::{Machine, Server};

pub(crate) struct Peer {
    connection: Connection<role::Server>,
    is_v5: bool,
    /// Shared by all messages, as the library lets it be.
    payload: Arc<[u8]>,
}

impl Peer {
    fn accept(client: Client, connect: &[u8], written: &mut Vec<u8>) -> Self {
        let is_v5 = client.version == Version::V5;
        let version = if is_v5 { PeerVersion::V5_0 } else { PeerVersion::V3_1_1 };
        let mut connection = Connection::new(version);
        connection.set_auto_pub_response(true);
        let mut peer = Self { connection, is_v5, payload: PAYLOAD.as_slice().into() };
        peer.receive(connect, written);
        let connack: Packet = if is_v5 {
            let builder = v5_0::Connack::builder().session_present(false);
            builder.reason_code(ConnectReasonCode::Success).build().expect("valid").into()
        } else {
            let builder = v3_1_1::Connack::builder().session_present(false);
            builder.return_code(ConnectReturnCode::Accepted).build().expect("valid").into()
        };
        let events = peer.connection.send(connack);
        carry_out(events, written);
        peer
    }
}

/// Gives the bytes that were handed over.
fn carry_out(events: Vec<Event>, written: &mut Vec<u8>) -> usize {
    let mut bytes = 0;
    for event in events {
        match event {
            Event::RequestSendPacket { packet, .. } => {
                written.extend_from_slice(&packet.to_continuous_buffer());
            }
            Event::NotifyPacketReceived(Packet::V3_1_1Publish(publish)) => {
                bytes += publish.topic_name().len() + publish.payload().len();
                black_box(&publish);
            }
            Event::NotifyPacketReceived(Packet::V5_0Publish(publish)) => {
                bytes += publish.topic_name().len() + publish.payload().len();
                black_box(&publish);
            }
            Event::NotifyError(error) => panic!("nothing is wrong: {error:?}"),
            other => _ = black_box(&other),
        }
    }
    bytes
}

impl Machine for Peer {
    const NAME: &'static str = "mqtt-protocol-core";

    fn open(client: Client) -> Self {
        Self::accept(client, &client.connect(), &mut Vec::new())
    }

    fn receive(&mut self, read: &[u8], written: &mut Vec<u8>) -> usize {
        let mut bytes = 0;
        let mut read = Cursor::new(read);
        while read.position() < read.get_ref().len() as u64 {
            bytes += carry_out(self.connection.recv(&mut read), written);
        }
        bytes
    }

    fn publish(&mut self, qos: Qos, count: usize, written: &mut Vec<u8>) {
        let qos = match qos {
            Qos::AtMostOnce => packet::Qos::AtMostOnce,
            Qos::AtLeastOnce => packet::Qos::AtLeastOnce,
            Qos::ExactlyOnce => packet::Qos::ExactlyOnce,
        };
        for _ in 0..count {
            let id = self.connection.acquire_packet_id().expect("one is free");
            let payload = Arc::clone(&self.payload);
            let events = if self.is_v5 {
                let builder = v5_0::Publish::builder().topic_name(TOPIC).expect("valid");
                let builder = builder.qos(qos).packet_id(id).payload(payload);
                self.connection.checked_send(builder.build().expect("valid"))
            } else {
                let builder = v3_1_1::Publish::builder().topic_name(TOPIC).expect("valid");
                let builder = builder.qos(qos).packet_id(id).payload(payload);
                self.connection.checked_send(builder.build().expect("valid"))
            };
            carry_out(events, written);
        }
    }
}

impl Server for Peer {
    const NAME: &'static str = "mqtt-protocol-core";

    fn open(client: Client, connect: &[u8], written: &mut Vec<u8>) {
        black_box(Self::accept(client, connect, written).is_v5);
    }
}

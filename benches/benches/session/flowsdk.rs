//! `flowsdk`: its client without I/O. Messages go through it as they go through a server's.

use std::hint::black_box;
use std::time::Instant;

use dunlin_benches::exchanges::{Client, PAYLOAD, TOPIC};
use dunlin_codec::{Qos, Version};
use flowsdk::mqtt_client::commands::PublishCommand;
use flowsdk::mqtt_client::engine::MqttEvent;
use flowsdk::mqtt_client::{MqttClientOptions, PortableNoIoMqttClient};
use flowsdk::time::Timestamp;

use crate::Machine;

pub(crate) struct Peer {
    client: PortableNoIoMqttClient,
    began: Instant,
}

impl Peer {
    fn now(&self) -> Timestamp {
        let nanos = self.began.elapsed().as_nanos();
        Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Machine for Peer {
    const NAME: &'static str = "flowsdk";

    fn open(client: Client) -> Self {
        let is_v5 = client.version == Version::V5;
        let options = MqttClientOptions::builder()
            .client_id("line-7-gateway")
            .mqtt_version(if is_v5 { 5 } else { 4 })
            .clean_start(!client.is_kept)
            .keep_alive(60)
            .auto_ack(true)
            .max_outgoing_packet_count(10_000)
            .max_event_count(10_000)
            .build();
        let mut client = PortableNoIoMqttClient::new_at(options, Timestamp::ZERO);
        client.connect_at(Timestamp::ZERO).expect("it may connect");
        client.take_outgoing_at(Timestamp::ZERO).expect("CONNECT");
        let connack: &[u8] = if is_v5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
        client.handle_incoming_at(connack, Timestamp::ZERO).expect("accepted");
        assert!(client.is_connected());
        Self { client, began: Instant::now() }
    }

    fn receive(&mut self, read: &[u8], written: &mut Vec<u8>) -> usize {
        let now = self.now();
        let mut bytes = 0;
        for event in self.client.handle_incoming_at(read, now).expect("allowed") {
            if let MqttEvent::MessageReceived(message) = &event {
                bytes += message.topic_name.len() + message.payload.len();
            }
            black_box(&event);
        }
        written.extend_from_slice(&self.client.take_outgoing_at(now).expect("in time"));
        bytes
    }

    fn publish(&mut self, qos: Qos, count: usize, written: &mut Vec<u8>) {
        let now = self.now();
        for _ in 0..count {
            let command = PublishCommand::simple(TOPIC, PAYLOAD.to_vec(), qos as u8, false);
            self.client.publish_at(command, now).expect("allowed");
        }
        written.extend_from_slice(&self.client.take_outgoing_at(now).expect("in time"));
        black_box(self.client.take_events());
    }
}

//! `rumqttc`: `MqttState`, a client's side. Messages go through it as they go through a server's.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use dunlin_benches::exchanges::{Client, PAYLOAD, TOPIC};
use dunlin_codec::Qos;
use rumqttc::mqttbytes::{QoS, v4};
use rumqttc::v5::mqttbytes::{QoS as QoS5, v5};

use crate::Machine;

/// More than any window.
const IN_FLIGHT_MAX: u16 = 1000;
const PACKET_SIZE_MAX: usize = 256 << 20;

pub(crate) struct V3 {
    state: rumqttc::MqttState,
    /// What was read, which the library consumes.
    read: BytesMut,
    written: BytesMut,
}

impl V3 {
    /// Events are taken out as its event loop does.
    fn events(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(event) = self.state.events.pop_front() {
            if let rumqttc::Event::Incoming(v4::Packet::Publish(publish)) = &event {
                bytes += publish.topic.len() + publish.payload.len();
            }
            black_box(&event);
        }
        bytes
    }

    fn write(&mut self, packet: Option<v4::Packet>) {
        if let Some(packet) = packet {
            packet.write(&mut self.written, PACKET_SIZE_MAX).expect("valid");
        }
    }

    fn hand_out(&mut self, written: &mut Vec<u8>) {
        written.extend_from_slice(&self.written);
        self.written.clear();
    }
}

impl Machine for V3 {
    const NAME: &'static str = "rumqttc";

    fn open(_: Client) -> Self {
        let state = rumqttc::MqttState::new(IN_FLIGHT_MAX, false);
        Self { state, read: BytesMut::new(), written: BytesMut::new() }
    }

    fn receive(&mut self, read: &[u8], written: &mut Vec<u8>) -> usize {
        self.read.extend_from_slice(read);
        let mut bytes = 0;
        while !self.read.is_empty() {
            let packet = v4::Packet::read(&mut self.read, PACKET_SIZE_MAX).expect("valid");
            let answer = self.state.handle_incoming_packet(packet).expect("allowed");
            self.write(answer);
            bytes += self.events();
        }
        self.hand_out(written);
        bytes
    }

    fn publish(&mut self, qos: Qos, count: usize, written: &mut Vec<u8>) {
        let qos = match qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
            Qos::ExactlyOnce => QoS::ExactlyOnce,
        };
        for _ in 0..count {
            let payload = Bytes::from_static(&PAYLOAD);
            let publish = v4::Publish::from_bytes(TOPIC, qos, payload);
            let request = rumqttc::Request::Publish(publish);
            let packet = self.state.handle_outgoing_packet(request).expect("allowed");
            self.write(packet);
            self.events();
        }
        self.hand_out(written);
    }
}

pub(crate) struct V5 {
    state: rumqttc::v5::MqttState,
    read: BytesMut,
    written: BytesMut,
}

impl V5 {
    fn events(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(event) = self.state.events.pop_front() {
            if let rumqttc::v5::Event::Incoming(v5::Packet::Publish(publish)) = &event {
                bytes += publish.topic.len() + publish.payload.len();
            }
            black_box(&event);
        }
        bytes
    }

    fn write(&mut self, packet: Option<v5::Packet>) {
        if let Some(packet) = packet {
            packet.write(&mut self.written, None).expect("valid");
        }
    }

    fn hand_out(&mut self, written: &mut Vec<u8>) {
        written.extend_from_slice(&self.written);
        self.written.clear();
    }
}

impl Machine for V5 {
    const NAME: &'static str = "rumqttc";

    fn open(_: Client) -> Self {
        let state = rumqttc::v5::MqttState::new(IN_FLIGHT_MAX, false);
        Self { state, read: BytesMut::new(), written: BytesMut::new() }
    }

    fn receive(&mut self, read: &[u8], written: &mut Vec<u8>) -> usize {
        self.read.extend_from_slice(read);
        let mut bytes = 0;
        while !self.read.is_empty() {
            let packet = v5::Packet::read(&mut self.read, None).expect("valid");
            let answer = self.state.handle_incoming_packet(packet).expect("allowed");
            self.write(answer);
            bytes += self.events();
        }
        self.hand_out(written);
        bytes
    }

    fn publish(&mut self, qos: Qos, count: usize, written: &mut Vec<u8>) {
        let qos = match qos {
            Qos::AtMostOnce => QoS5::AtMostOnce,
            Qos::AtLeastOnce => QoS5::AtLeastOnce,
            Qos::ExactlyOnce => QoS5::ExactlyOnce,
        };
        for _ in 0..count {
            let payload = Bytes::from_static(&PAYLOAD);
            let publish = v5::Publish::new(TOPIC, qos, payload, None);
            let request = rumqttc::v5::Request::Publish(publish);
            let packet = self.state.handle_outgoing_packet(request).expect("allowed");
            self.write(packet);
            self.events();
        }
        self.hand_out(written);
    }
}

//! `rumqttc`: `MqttState`, a client's side. Messages go through it as they go through a server's.
//!
//! It has the same names twice, for 3.1.1 and for 5.0, with nothing in common.

pub(crate) use v3::Peer as V3;
pub(crate) use v5::Peer as V5;

/// The adapter for whatever `MqttState`, `Event`, `Request`, `Packet`, `Publish` and `QoS` are where this stands.
macro_rules! peer {
    () => {
        pub(crate) struct Peer {
            state: MqttState,
            /// What was read, which the library consumes.
            read: BytesMut,
            written: BytesMut,
        }

        impl Peer {
            /// Events are taken out as its event loop does.
            fn events(&mut self) -> usize {
                let mut bytes = 0;
                while let Some(event) = self.state.events.pop_front() {
                    if let Event::Incoming(Packet::Publish(publish)) = &event {
                        bytes += publish.topic.len() + publish.payload.len();
                    }
                    black_box(&event);
                }
                bytes
            }

            fn write(&mut self, packet: Option<Packet>) {
                if let Some(packet) = packet {
                    packet.write(&mut self.written, PACKET_SIZE_MAX).expect("valid");
                }
            }

            fn hand_out(&mut self, written: &mut Vec<u8>) {
                written.extend_from_slice(&self.written);
                self.written.clear();
            }
        }

        impl Machine for Peer {
            const NAME: &'static str = "rumqttc";

            fn open(_: Client) -> Self {
                let state = MqttState::new(IN_FLIGHT_MAX, false);
                Self { state, read: BytesMut::new(), written: BytesMut::new() }
            }

            fn receive(&mut self, read: &[u8], written: &mut Vec<u8>) -> usize {
                self.read.extend_from_slice(read);
                let mut bytes = 0;
                while !self.read.is_empty() {
                    let packet = Packet::read(&mut self.read, PACKET_SIZE_MAX).expect("valid");
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
                    let request = Request::Publish(publish(qos, Bytes::from_static(&PAYLOAD)));
                    let packet = self.state.handle_outgoing_packet(request).expect("allowed");
                    self.write(packet);
                    self.events();
                }
                self.hand_out(written);
            }
        }
    };
}

/// More than any window.
const IN_FLIGHT_MAX: u16 = 1000;

mod v3 {
    use std::hint::black_box;

    use bytes::{Bytes, BytesMut};
    use dunlin_benches::exchanges::{Client, PAYLOAD, TOPIC};
    use dunlin_codec::Qos;
    use rumqttc::mqttbytes::QoS;
    use rumqttc::mqttbytes::v4::{Packet, Publish};
    use rumqttc::{Event, MqttState, Request};

    use super::IN_FLIGHT_MAX;
    use crate::Machine;

    const PACKET_SIZE_MAX: usize = 256 << 20;

    peer!();

    fn publish(qos: QoS, payload: Bytes) -> Publish {
        Publish::from_bytes(TOPIC, qos, payload)
    }
}

mod v5 {
    use std::hint::black_box;

    use bytes::{Bytes, BytesMut};
    use dunlin_benches::exchanges::{Client, PAYLOAD, TOPIC};
    use dunlin_codec::Qos;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
    use rumqttc::v5::{Event, MqttState, Request};

    use super::IN_FLIGHT_MAX;
    use crate::Machine;

    const PACKET_SIZE_MAX: Option<u32> = None;

    peer!();

    fn publish(qos: QoS, payload: Bytes) -> Publish {
        Publish::new(TOPIC, qos, payload, None)
    }
}

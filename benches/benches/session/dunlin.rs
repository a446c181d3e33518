//! Dunlin's machine, driven as its broker does: acknowledgements without properties go the short way, and the clock is
//! read once for each read.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dunlin_benches::exchanges::{Client, PAYLOAD, TOPIC};
use dunlin_codec::{
    AckKind, DecodeLimits, Message, Packet, PacketRef, Publish, Qos, ReasonCode, TopicName,
    Version, decode, decode_connect, encode_ack, encode_publish_head, short_ack,
};
use dunlin_session::{
    Capabilities, Connection, Delivery, Input, Origin, Output, Outputs, Session, SubscriptionIds,
};

use crate::{Machine, Server};

/// Bytes of an acknowledgement without reason code and properties.
const SHORT_ACK_BYTES: usize = 4;

/// Messages are looked at where they were read.
pub(crate) struct Plain {
    connection: Connection,
    version: Version,
    limits: DecodeLimits,
    out: Outputs<'static>,
    message: Arc<Message>,
    seq: u64,
    /// Whether of each message that is handed over a copy is made for a queue.
    copies: bool,
}

/// Of each message that comes in a [`Message`] is made, as a broker does with those that it keeps.
pub(crate) struct Owned(Plain);

impl Plain {
    /// A connection whose CONNECT was accepted, with what it wrote.
    fn accept(client: Client, connect: &[u8], written: &mut Vec<u8>) -> Self {
        let now = Instant::now();
        let limits = DecodeLimits::default();
        let decoded = decode_connect(connect, &limits).expect("valid");
        let (connect, _) = decoded.expect("whole");
        let mut connection = Connection::new(Arc::new(Capabilities::default()), 0, now);
        let mut out = Outputs::new();
        connection
            .handle(Input::Packet(Packet::Connect(connect)), now, &mut out)
            .expect("the CONNECT breaks no rule");
        while let Some(output) = out.pop() {
            let answer = if let Output::Authenticate(_) = output {
                Input::Authenticated(Ok(None))
            } else if let Output::Attach(attach) = output {
                let session = Box::new(Session::new(attach.client_id));
                Input::Attached { session, session_present: false }
            } else if let Output::Send(packet) = output {
                packet.encode(client.version, written).expect("CONNACK is valid");
                continue;
            } else {
                panic!("nothing else is due: {output:?}")
            };
            connection.handle(answer, now, &mut out).expect("it is the answer");
        }
        let message = Arc::new(Message {
            topic: TopicName::copy_from(TOPIC).expect("valid"),
            payload: Bytes::from_static(&PAYLOAD),
            qos: Qos::ExactlyOnce,
            retain: false,
            properties: None,
        });
        let (version, out) = (client.version, out.recycle());
        Self { connection, version, limits, out, message, seq: 0, copies: false }
    }

    fn route<'a>(
        &mut self,
        publish: Publish<&'a [u8]>,
        now: Instant,
        out: &mut Outputs<'a>,
        written: &mut Vec<u8>,
    ) -> usize {
        let routed = self.connection.publish(publish, now, out).expect("allowed");
        let Some(route) = routed else { return 0 };
        let bytes = route.topic.as_bytes().len() + route.publish.payload.len();
        if self.copies {
            let topic = TopicName::copy_from(route.publish.topic).expect("valid");
            black_box(Arc::new(Message::copy_from(&route.publish, topic)));
        }
        black_box(&route);
        if let Some(token) = route.token {
            let version = self.version;
            self.connection.routed(token, ReasonCode::Success, |ack| {
                encode_ack(ack.kind, ack.packet_id, ack.reason, version, written);
            });
        }
        bytes
    }

    fn carry_out(&mut self, out: &mut Outputs<'_>, now: Instant, written: &mut Vec<u8>) {
        while let Some(output) = out.pop() {
            if let Output::Ack(ack) = output {
                encode_ack(ack.kind, ack.packet_id, ack.reason, self.version, written);
            } else if let Output::Persist { token: Some(token), .. } = output {
                // Nothing is stored by any of them, so that it is durable at once.
                self.connection.handle(Input::Durable { token }, now, out).expect("the answer");
            } else {
                black_box(&output);
            }
        }
    }
}

impl Machine for Plain {
    const NAME: &'static str = "dunlin";

    fn open(client: Client) -> Self {
        Self::accept(client, &client.connect(), &mut Vec::new())
    }

    fn receive(&mut self, mut read: &[u8], written: &mut Vec<u8>) -> usize {
        let now = Instant::now();
        let mut out = std::mem::take(&mut self.out).recycle();
        let mut bytes = 0;
        while !read.is_empty() {
            if let Some((AckKind::PubAck, packet_id)) = short_ack(read) {
                black_box(self.connection.puback(packet_id, now, &mut out));
                read = read.get(SHORT_ACK_BYTES..).unwrap_or_default();
            } else {
                let decoded: Option<(PacketRef<'_>, usize)> =
                    decode(read, self.version, &self.limits).expect("valid");
                let (packet, len) = decoded.expect("whole");
                read = read.get(len..).unwrap_or_default();
                if let Packet::Publish(publish) = packet {
                    bytes += self.route(publish, now, &mut out, written);
                } else {
                    self.connection
                        .handle(Input::Packet(packet), now, &mut out)
                        .expect("the packet is allowed");
                }
            }
            self.carry_out(&mut out, now, written);
        }
        self.out = out.recycle();
        bytes
    }

    fn publish(&mut self, qos: Qos, count: usize, written: &mut Vec<u8>) {
        let now = Instant::now();
        let mut out = std::mem::take(&mut self.out);
        for _ in 0..count {
            self.seq += 1;
            let delivery = Delivery {
                message: Arc::clone(&self.message),
                qos,
                retain: false,
                subscription_ids: SubscriptionIds::new(),
                seq: self.seq,
                expires_at: None,
                sent_before: false,
                origin: Origin::Plain,
            };
            let outgoing = self.connection.deliver(delivery, now, &mut out).expect("open");
            let outgoing = outgoing.expect("the window is no larger than the send quota");
            encode_publish_head(&outgoing.message, &outgoing.hop(), self.version, written);
            written.extend_from_slice(&outgoing.message.payload);
        }
        self.out = out;
    }
}

impl Machine for Owned {
    const NAME: &'static str = "dunlin owned";

    fn open(client: Client) -> Self {
        Self(Plain { copies: true, ..Plain::open_plain(client) })
    }

    fn receive(&mut self, read: &[u8], written: &mut Vec<u8>) -> usize {
        self.0.receive(read, written)
    }

    fn publish(&mut self, qos: Qos, count: usize, written: &mut Vec<u8>) {
        self.0.publish(qos, count, written);
    }
}

impl Plain {
    fn open_plain(client: Client) -> Self {
        <Self as Machine>::open(client)
    }
}

impl Server for Plain {
    const NAME: &'static str = "dunlin";

    fn open(client: Client, connect: &[u8], written: &mut Vec<u8>) {
        black_box(Self::accept(client, connect, written));
    }
}

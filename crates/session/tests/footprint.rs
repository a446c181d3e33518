//! What a session costs: bytes at rest, and no allocation on the way of a message.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that is wrong about its own data has failed"
)]

use std::alloc::System;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::{
    DecodeLimits, Message, PacketRef, PublishRef, Qos, ReasonCode, TopicName, Version, decode,
    decode_connect,
};
use dunlin_session::{Capabilities, Connection, Delivery, Input, Output, Outputs, Session};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LIMITS: DecodeLimits = DecodeLimits {
    packet_size_max: 1_000,
    text: dunlin_codec::TextRules { allow_control: false, allow_non_characters: false },
};

/// CONNECT of 3.1.1 by `client`, Clean Session.
const CONNECT: &[u8] = b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06client";
/// SUBSCRIBE to `building/7/floor/3/#` at QoS 0.
const SUBSCRIBE: &[u8] = b"\x82\x19\x00\x01\x00\x14building/7/floor/3/#\x00";
/// PUBLISH of `payload` to `a/b` at QoS 0, at QoS 1 with identifier 1, and at QoS 2 with identifier 2.
const PUBLISH_0: &[u8] = b"\x30\x0c\x00\x03a/bpayload";
const PUBLISH_1: &[u8] = b"\x32\x0e\x00\x03a/b\x00\x01payload";
const PUBLISH_2: &[u8] = b"\x34\x0e\x00\x03a/b\x00\x02payload";
const PUBREL_2: &[u8] = b"\x62\x02\x00\x02";

/// The start of simulated time.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to get an Instant; it is read once"
)]
fn now() -> Instant {
    Instant::now()
}

struct Server {
    connection: Connection,
    now: Instant,
    /// Room for outputs, passed on from read to read.
    room: Outputs<'static>,
}

impl Server {
    fn open(capabilities: &Arc<Capabilities>) -> Self {
        let now = now();
        let connection = Connection::new(Arc::clone(capabilities), 0, now);
        let mut server = Self { connection, now, room: Outputs::new() };
        let (connect, _) = decode_connect(CONNECT, &LIMITS).unwrap().unwrap();
        server.input(Input::Packet(PacketRef::Connect(connect)));
        assert!(server.connection.is_open());
        server
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (packet, _) = decode(bytes, Version::V3_1_1, &LIMITS).unwrap().unwrap();
        match packet {
            PacketRef::Publish(publish) => self.publish(publish),
            packet => self.input(Input::Packet(packet)),
        }
    }

    fn publish(&mut self, publish: PublishRef<'_>) {
        let mut out = std::mem::take(&mut self.room).recycle();
        let route = self.connection.publish(publish, self.now, &mut out).unwrap();
        if let Some(token) = route.and_then(|route| route.token) {
            self.connection.routed(token, ReasonCode::Success, |_| {});
        }
        self.room = out.recycle();
    }

    /// Carries out everything at once.
    fn input(&mut self, input: Input<'_>) {
        let mut out = std::mem::take(&mut self.room).recycle();
        self.connection.handle(input, self.now, &mut out).unwrap();
        while let Some(output) = out.pop() {
            let answer = match output {
                Output::Authenticate(_) => Input::Authenticated(Ok(None)),
                Output::Attach(attach) => Input::Attached {
                    session: Box::new(Session::new(attach.client_id)),
                    session_present: false,
                },
                Output::Subscribe { token, .. } => {
                    Input::Subscribed { token, reason_codes: vec![ReasonCode::Success] }
                }
                Output::Route(route) => match route.token {
                    Some(token) => Input::Routed { token, reason: ReasonCode::Success },
                    None => continue,
                },
                _ => continue,
            };
            self.connection.handle(answer, self.now, &mut out).unwrap();
        }
        self.room = out.recycle();
    }
}

// One test, because the allocator counts for all threads together.
#[test]
fn a_session_is_small_at_rest_and_still_on_the_way() {
    let capabilities = Arc::new(Capabilities::default());

    // The test runner's own thread is counted too, so that the least of several counts is the true one.
    let at_rest = || {
        let before = Region::new(ALLOCATOR);
        let mut server = Server::open(&capabilities);
        server.bytes(SUBSCRIBE);
        server.room = Outputs::new();
        let change = before.change();
        let heap = change.bytes_allocated - change.bytes_deallocated;
        (heap + size_of::<Connection>(), server)
    };
    let (bytes, mut server) = (0..10).map(|_| at_rest()).min_by_key(|(bytes, _)| *bytes).unwrap();
    assert!(bytes < 400, "an idle, subscribed client costs {bytes} bytes");
    assert!(size_of::<Connection>() <= 96, "{}", size_of::<Connection>());
    assert!(size_of::<Session>() <= 152, "{}", size_of::<Session>());

    let message = Arc::new(Message {
        topic: TopicName::copy_from("a/b").unwrap(),
        payload: Bytes::from_static(b"payload"),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: None,
    });
    let mut seq = 0;
    let mut round = || {
        server.bytes(PUBLISH_0);
        server.bytes(PUBLISH_1);
        server.bytes(PUBLISH_2);
        server.bytes(PUBREL_2);
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            seq += u64::from(u8::from(qos));
            server.input(Input::Deliver(Delivery {
                message: Arc::clone(&message),
                qos,
                retain: false,
                subscription_ids: Default::default(),
                seq,
                expires_at: None,
                sent_before: false,
                origin: Default::default(),
            }));
        }
        let [high, low] = u16::try_from(seq % 65_535 + 1).unwrap().to_be_bytes();
        server.bytes(&[0x40, 2, high, low]);
    };
    round();
    // For the same reason it takes a quiet moment to see this.
    let quiet = (0..10).any(|_| {
        let before = Region::new(ALLOCATOR);
        (0..1_000).for_each(|_| round());
        let change = before.change();
        change.allocations == 0 && change.reallocations == 0
    });
    assert!(quiet, "messages pass without an allocation");
    assert_eq!(server.connection.unacknowledged(), 0);
}

//! Every state against every event, as text: a transition that changes shows as a changed line.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use dunlin_codec::{Ack, Packet, Qos, ReasonCode, Version};
use dunlin_session::{Capabilities, Cause, Input, Session};

use crate::harness::{
    Answers, Bench, auth_packet, connect, delivery, disconnect_packet, id, puback, pubcomp,
    publish, publish_packet, pubrec, pubrel, subscribe_packet, text, unsubscribe_packet, will,
};

type State = (&'static str, fn() -> Bench);
type Event = (&'static str, fn(&mut Bench) -> Vec<String>);

/// One line for each event in each state.
fn table(states: &[State], events: &[Event]) -> String {
    let mut table = String::new();
    for (state, make) in states {
        writeln!(table, "{state}").unwrap();
        for (event, apply) in events {
            let mut bench = make();
            let lines = apply(&mut bench);
            let outcome = if lines.is_empty() { "nothing".to_owned() } else { lines.join("; ") };
            writeln!(table, "  {event:<22} {outcome}").unwrap();
        }
    }
    table
}

fn begun(version: Version) -> Bench {
    let mut connect = connect(version);
    connect.keep_alive = 10;
    connect.will = Some(will("w", 0));
    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(connect));
    bench
}

fn begun_with_method() -> Bench {
    let mut connect = connect(Version::V5);
    connect.properties.authentication_method = Some(text("M"));
    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(connect));
    bench.input(Input::AuthContinue(None));
    bench
}

fn attaching(version: Version) -> Bench {
    let mut bench = begun(version);
    bench.input(Input::Authenticated(Ok(None)));
    bench
}

fn attach(bench: &mut Bench) -> Vec<String> {
    let client_id = dunlin_codec::ClientId::new("client").unwrap();
    bench.input(Input::Attached {
        session: Box::new(Session::new(client_id)),
        session_present: false,
    })
}

fn open(version: Version) -> Bench {
    let mut bench = attaching(version);
    attach(&mut bench);
    bench
}

fn late(bench: &mut Bench) -> Vec<String> {
    bench.advance(Duration::from_secs(1_000));
    bench.timeout()
}

const PACKETS: [Event; 15] = [
    ("CONNECT", |bench| {
        let version = bench.connection.version().unwrap_or(Version::V5);
        bench.send(Packet::Connect(connect(version)))
    }),
    ("PUBLISH QoS 0", |bench| input(bench, publish_packet("t", Qos::AtMostOnce, 0))),
    ("PUBLISH QoS 1", |bench| input(bench, publish_packet("t", Qos::AtLeastOnce, 1))),
    ("PUBLISH QoS 2", |bench| input(bench, publish_packet("t", Qos::ExactlyOnce, 1))),
    ("PUBACK", |bench| input(bench, puback(1))),
    ("PUBREC", |bench| input(bench, pubrec(1))),
    ("PUBREL", |bench| input(bench, pubrel(1))),
    ("PUBCOMP", |bench| input(bench, pubcomp(1))),
    ("SUBSCRIBE", |bench| input(bench, subscribe_packet(1, &[("a", Qos::AtLeastOnce)]))),
    ("UNSUBSCRIBE", |bench| input(bench, unsubscribe_packet(1, &["a"]))),
    ("PINGREQ", |bench| input(bench, Packet::PingReq)),
    ("PINGRESP", |bench| input(bench, Packet::PingResp)),
    ("DISCONNECT", |bench| input(bench, disconnect_packet(ReasonCode::Success))),
    ("AUTH continue", |bench| {
        input(bench, auth_packet(ReasonCode::ContinueAuthentication, "M", "d"))
    }),
    ("AUTH again", |bench| input(bench, auth_packet(ReasonCode::ReAuthenticate, "M", "d"))),
];

const ANSWERS: [Event; 9] = [
    ("authenticated", |bench| bench.input(Input::Authenticated(Ok(None)))),
    ("not authenticated", |bench| {
        bench.input(Input::Authenticated(Err(ReasonCode::NotAuthorized)))
    }),
    ("authentication goes on", |bench| bench.input(Input::AuthContinue(None))),
    ("deliver QoS 0", |bench| bench.input(Input::Deliver(delivery(0, Qos::AtMostOnce)))),
    ("deliver QoS 1", |bench| bench.input(Input::Deliver(delivery(1, Qos::AtLeastOnce)))),
    ("timeout", late),
    ("close", |bench| bench.close(Cause::TakenOver)),
    ("lost", |bench| bench.input(Input::Lost)),
    ("early timeout", Bench::timeout),
];

/// A packet, even where the version that it would be encoded in is not known or does not have it.
fn input(bench: &mut Bench, packet: Packet<Bytes>) -> Vec<String> {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes).unwrap();
    let limits = dunlin_codec::DecodeLimits { packet_size_max: 10_000, text: Default::default() };
    let (packet, _) = dunlin_codec::decode(&bytes, Version::V5, &limits).unwrap().unwrap();
    bench.input(Input::Packet(packet))
}

#[test]
fn connection() {
    let states: [State; 8] = [
        ("AwaitConnect", || {
            let mut bench = Bench::new(Capabilities::default());
            bench.answers = Answers::Nothing;
            bench
        }),
        ("Authenticating, 5.0", || begun(Version::V5)),
        ("Authenticating, 5.0, the client's turn", begun_with_method),
        ("Authenticating, 3.1.1", || begun(Version::V3_1_1)),
        ("Attaching, 5.0", || attaching(Version::V5)),
        ("Open, 5.0", || open(Version::V5)),
        ("Open, 3.1.1", || open(Version::V3_1_1)),
        ("Closed", || {
            let mut bench = open(Version::V5);
            bench.input(Input::Lost);
            bench
        }),
    ];
    let events = [PACKETS.as_slice(), &ANSWERS].concat();
    insta::assert_snapshot!(table(&states, &events));
    // A session is handed over only where it was asked for, or where the connection ended meanwhile.
    let states: [State; 2] = [
        ("Attaching", || attaching(Version::V5)),
        ("Closed before CONNACK", || {
            let mut bench = attaching(Version::V5);
            bench.input(Input::Lost);
            bench
        }),
    ];
    insta::assert_snapshot!("connection_attached", table(&states, &[("attached", attach)]));
}

/// A message for the client at place 1, with Packet Identifier 2.
#[test]
fn outbound() {
    fn sent(qos: Qos) -> Bench {
        let mut bench = Bench::open(Version::V5);
        bench.deliver(1, qos);
        bench
    }
    fn queued(qos: Qos) -> Bench {
        let mut connect = connect(Version::V5);
        connect.properties.receive_maximum = std::num::NonZeroU16::new(1);
        let mut bench = Bench::open_with(Capabilities::default(), connect);
        bench.deliver(0, Qos::AtMostOnce);
        bench.deliver(3, Qos::AtLeastOnce);
        bench.deliver(1, qos);
        bench
    }
    fn resend(qos: Qos) -> Bench {
        let mut bench = Bench::open(Version::V5);
        bench.deliver(0, Qos::AtLeastOnce);
        bench.deliver(1, qos);
        bench.lose();
        let mut connect = connect(Version::V5);
        connect.properties.receive_maximum = std::num::NonZeroU16::new(1);
        bench.reconnect(connect);
        bench
    }
    fn releasing() -> Bench {
        let mut bench = sent(Qos::ExactlyOnce);
        bench.send(pubrec(2));
        bench
    }
    let states: [State; 9] = [
        ("unknown", || Bench::open(Version::V5)),
        ("Queued, QoS 1", || queued(Qos::AtLeastOnce)),
        ("Queued, QoS 2", || queued(Qos::ExactlyOnce)),
        ("Resend, QoS 1", || resend(Qos::AtLeastOnce)),
        ("Resend, QoS 2", || resend(Qos::ExactlyOnce)),
        ("Sent, QoS 1", || sent(Qos::AtLeastOnce)),
        ("Sent, QoS 2", || sent(Qos::ExactlyOnce)),
        ("Releasing", releasing),
        ("Released", || {
            let mut bench = releasing();
            bench.durable(1);
            bench
        }),
    ];
    let events: [Event; 7] = [
        ("PUBACK", |bench| bench.send(puback(2))),
        ("PUBACK, error", |bench| {
            bench.send(Packet::PubAck(Ack::new(id(2), ReasonCode::QuotaExceeded)))
        }),
        ("PUBREC", |bench| bench.send(pubrec(2))),
        ("PUBREC, error", |bench| {
            bench.send(Packet::PubRec(Ack::new(id(2), ReasonCode::QuotaExceeded)))
        }),
        ("PUBCOMP", |bench| bench.send(pubcomp(2))),
        ("connection lost", |bench| bench.lose()),
        ("session resumed", |bench| {
            bench.lose();
            bench.reconnect(connect(Version::V5)).split_off(2)
        }),
    ];
    insta::assert_snapshot!(table(&states, &events));
}

/// A message from the client with Packet Identifier 1.
#[test]
fn inbound() {
    fn at_least_once(version: Version) -> Bench {
        let mut bench = Bench::open(version);
        bench.send(publish_packet("t", Qos::AtLeastOnce, 1));
        bench
    }
    fn routing(version: Version) -> Bench {
        let mut bench = Bench::open(version);
        bench.send(publish_packet("t", Qos::ExactlyOnce, 1));
        bench
    }
    fn received(version: Version) -> Bench {
        let mut bench = routing(version);
        bench.routed(1);
        bench
    }
    fn releasing(version: Version) -> Bench {
        let mut bench = received(version);
        bench.send(pubrel(1));
        bench
    }
    fn dup(qos: Qos) -> Packet<Bytes> {
        let mut publish = publish("t", qos, 1);
        publish.dup = true;
        Packet::Publish(publish)
    }
    let states: [State; 10] = [
        ("unknown, 5.0", || Bench::open(Version::V5)),
        ("unknown, 3.1.1", || Bench::open(Version::V3_1_1)),
        ("QoS 1 routing, 5.0", || at_least_once(Version::V5)),
        ("QoS 1 routing, 3.1.1", || at_least_once(Version::V3_1_1)),
        ("QoS 2 Routing, 5.0", || routing(Version::V5)),
        ("QoS 2 Routing, 3.1.1", || routing(Version::V3_1_1)),
        ("QoS 2 Received, 5.0", || received(Version::V5)),
        ("QoS 2 Received, 3.1.1", || received(Version::V3_1_1)),
        ("QoS 2 Releasing, 5.0", || releasing(Version::V5)),
        ("QoS 2 Releasing, 3.1.1", || releasing(Version::V3_1_1)),
    ];
    let events: [Event; 8] = [
        ("PUBLISH QoS 1", |bench| bench.send(publish_packet("t", Qos::AtLeastOnce, 1))),
        ("PUBLISH QoS 1, DUP", |bench| bench.send(dup(Qos::AtLeastOnce))),
        ("PUBLISH QoS 2", |bench| bench.send(publish_packet("t", Qos::ExactlyOnce, 1))),
        ("PUBLISH QoS 2, DUP", |bench| bench.send(dup(Qos::ExactlyOnce))),
        ("PUBREL", |bench| bench.send(pubrel(1))),
        ("routed", |bench| answered(bench, |bench| bench.routed(1))),
        ("refused", |bench| answered(bench, |bench| bench.routed_as(1, ReasonCode::QuotaExceeded))),
        ("durable", |bench| answered(bench, |bench| bench.durable(bench.tokens()))),
    ];
    insta::assert_snapshot!(table(&states, &events));
}

/// An answer, where there was a question.
fn answered(bench: &mut Bench, answer: fn(&mut Bench) -> Vec<String>) -> Vec<String> {
    if bench.tokens() == 0 { Vec::new() } else { answer(bench) }
}

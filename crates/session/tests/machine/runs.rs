//! Runs: what they do is what their messages would do one by one.

use bytes::Bytes;
use dunlin_codec::{Connect, DecodeLimits, Packet, Qos, TopicName, Version, publish_run};
use dunlin_session::{Capabilities, Delivery, Input, Outputs, Run, Settled};

use crate::harness::{Bench, connect, connect_clean, id, puback, publish_packet, pubrec};

const QOS_1: Qos = Qos::AtLeastOnce;

/// So many PUBLISHes of QoS 1 to "t", the payload of each its number.
fn run(version: Version, count: usize, seq: u64) -> Run {
    run_of(version, (0..count).map(|number| number.to_string()).collect(), seq)
}

fn run_of(version: Version, payloads: Vec<String>, seq: u64) -> Run {
    let mut bytes = Vec::new();
    let count = payloads.len();
    for payload in payloads {
        let Packet::Publish(mut publish) = publish_packet("t", QOS_1, 9) else { unreachable!() };
        publish.payload = Bytes::from(payload);
        Packet::Publish(publish).encode(version, &mut bytes).unwrap();
    }
    let found = publish_run(&bytes, QOS_1, version, &DecodeLimits::default(), usize::MAX);
    assert_eq!((found.frames, found.bytes), (count, bytes.len()));
    let mut run =
        Run::new(&bytes, &found, TopicName::try_from("t").unwrap(), version).expect("a small run");
    run.place_at(seq);
    run
}

fn clean(version: Version, receive_maximum: Option<u16>) -> Bench {
    let mut connect: Connect<Bytes> = connect_clean(version);
    connect.properties.receive_maximum =
        receive_maximum.and_then(std::num::NonZeroU16::new).filter(|_| version.is_v5());
    Bench::open_with(Capabilities::default(), connect)
}

/// Delivers a run, and says with which Packet Identifiers it was sent; none if it was given back.
fn deliver_run(bench: &mut Bench, run: Run) -> Option<Vec<u16>> {
    let mut sent = Vec::new();
    let write = |run: &Run| sent.extend(run.packet_ids().map(|id| id.get()));
    bench.connection.deliver_run(run, write).ok().map(|()| sent)
}

fn pubacks(bench: &mut Bench, ids: &[u16]) -> Settled {
    let (settled, lines) = pubacks_and_more(bench, ids);
    assert_eq!(lines, [""; 0]);
    settled
}

fn pubacks_and_more(bench: &mut Bench, ids: &[u16]) -> (Settled, Vec<String>) {
    let mut bytes = Vec::new();
    for packet_id in ids {
        puback(*packet_id).encode(Version::V3_1_1, &mut bytes).unwrap();
    }
    let mut out = Outputs::new();
    let now = bench.now;
    let settled = bench.connection.pubacks_of_runs(&bytes, now, &mut out);
    (settled, bench.carry_out(&mut out))
}

// [MQTT-4.3.2-1] [MQTT-4.3.2-3] [MQTT-2.2.1-4] [MQTT-4.3.2-1 @3.1.1]
#[test]
fn a_run_is_sent_and_acknowledged_at_once() {
    for version in Version::ALL {
        let mut bench = clean(version, None);
        assert_eq!(deliver_run(&mut bench, run(version, 3, 1)), Some(vec![2, 3, 4]));
        assert_eq!(deliver_run(&mut bench, run(version, 2, 4)), Some(vec![5, 6]));
        assert_eq!(bench.connection.unacknowledged(), 5);
        // Each has a payload of one digit, and one byte of topic.
        assert_eq!(pubacks(&mut bench, &[2, 3, 4, 5, 9]), Settled { messages: 4, bytes: 8 });
        assert_eq!(bench.connection.unacknowledged(), 1);
        assert_eq!(pubacks(&mut bench, &[5]), Settled::default(), "a stray one");
        assert_eq!(pubacks(&mut bench, &[6]), Settled { messages: 1, bytes: 2 });
        assert_eq!(bench.connection.unacknowledged(), 0);
    }
}

#[test]
fn a_run_crosses_the_end_of_the_packet_identifiers() {
    let mut bench = clean(Version::V3_1_1, None);
    let ids = deliver_run(&mut bench, run(Version::V3_1_1, 3, 65_533)).unwrap();
    assert_eq!(ids, [65_534, 65_535, 1]);
    assert_eq!(pubacks(&mut bench, &ids), Settled { messages: 3, bytes: 6 });
}

// [MQTT-4.9.0-2] [MQTT-3.3.4-9]
#[test]
fn a_run_beyond_the_quota_is_given_back() {
    let mut bench = clean(Version::V5, Some(4));
    assert_eq!(deliver_run(&mut bench, run(Version::V5, 3, 1)), Some(vec![2, 3, 4]));
    assert_eq!(bench.connection.send_quota(), 1);
    assert_eq!(deliver_run(&mut bench, run(Version::V5, 2, 4)), None);
    assert_eq!(pubacks(&mut bench, &[2]), Settled { messages: 1, bytes: 2 });
    assert_eq!(deliver_run(&mut bench, run(Version::V5, 2, 4)), Some(vec![5, 6]));
    assert_eq!(bench.connection.send_quota(), 0);
}

#[test]
fn what_has_something_of_its_own_is_given_back() {
    let mut durable = Bench::open(Version::V5);
    assert_eq!(deliver_run(&mut durable, run(Version::V5, 1, 1)), None);
    let mut other_layout = clean(Version::V5, None);
    assert_eq!(deliver_run(&mut other_layout, run(Version::V3_1_1, 1, 1)), None);
    let mut small: Connect<Bytes> = connect_clean(Version::V5);
    small.properties.maximum_packet_size = std::num::NonZeroU32::new(100);
    let mut small = Bench::open_with(Capabilities::default(), small);
    let of = |payload: usize| run_of(Version::V5, vec!["x".repeat(payload)], 1);
    // Eight bytes before each payload.
    assert_eq!(deliver_run(&mut small, of(93)), None);
    assert_eq!(deliver_run(&mut small, of(92)), Some(vec![2]));
    let mut aliases: Connect<Bytes> = connect_clean(Version::V5);
    aliases.properties.topic_alias_maximum = Some(5);
    let capabilities = Capabilities { topic_alias_out_maximum: 5, ..Capabilities::default() };
    let mut aliases = Bench::open_with(capabilities, aliases);
    assert_eq!(deliver_run(&mut aliases, run(Version::V5, 1, 1)), None);
    let mut closed = clean(Version::V5, None);
    closed.lose();
    assert_eq!(deliver_run(&mut closed, run(Version::V5, 1, 1)), None);
}

/// Runs behind single messages, and acknowledgements in any order: as with single messages alone.
#[test]
fn any_order_of_acknowledgements_gives_what_single_messages_give() {
    let mut state = 1_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % bound
    };
    for round in 0..300 {
        let version = Version::ALL[usize::try_from(below(3)).unwrap()];
        let (mut bench, mut plain) = (clean(version, Some(40)), clean(version, Some(40)));
        let mut seq = 1;
        for _ in 0..60 {
            match below(6) {
                0 | 1 => {
                    let count = usize::try_from(1 + below(6)).unwrap();
                    let next = run(version, count, seq);
                    seq += count as u64;
                    for delivery in next.clone() {
                        plain.input(Input::Deliver(delivery));
                    }
                    let mut bytes = Vec::new();
                    let write = |run: &Run| bytes.extend_from_slice(run.bytes());
                    if let Err(run) = bench.connection.deliver_run(next, write) {
                        for delivery in run {
                            bench.input(Input::Deliver(delivery));
                        }
                    }
                }
                2 => {
                    let delivery: Delivery = run(version, 1, seq).next().unwrap();
                    let qos = if below(2) == 0 { QOS_1 } else { Qos::ExactlyOnce };
                    let delivery = Delivery { qos, ..delivery };
                    seq += 1;
                    let said = bench.input(Input::Deliver(delivery.clone()));
                    assert_eq!(said, plain.input(Input::Deliver(delivery)), "round {round}");
                }
                3 | 4 => {
                    // In order, as far as it goes.
                    let first = u16::try_from(below(seq) + 1).unwrap();
                    let ids: Vec<u16> = (first..first + 5).collect();
                    let (settled, said) = pubacks_and_more(&mut bench, &ids);
                    let mut expected = Vec::new();
                    for packet_id in &ids[..settled.messages] {
                        let mut said = plain.send(puback(*packet_id));
                        assert!(said.remove(0).starts_with("completed"), "round {round}");
                        expected.extend(said);
                    }
                    assert_eq!(said, expected, "round {round}");
                }
                _ => {
                    let packet_id = u16::try_from(below(seq + 2) + 1).unwrap();
                    let packet = if below(3) == 0 { pubrec(packet_id) } else { puback(packet_id) };
                    assert_eq!(bench.send(packet.clone()), plain.send(packet), "round {round}");
                }
            }
            let said =
                |bench: &Bench| (bench.connection.unacknowledged(), bench.connection.send_quota());
            assert_eq!(said(&bench), said(&plain), "round {round}");
        }
        assert_eq!(bench.lose(), plain.lose());
        assert_eq!(bench.session_end(), plain.session_end());
    }
}

// [MQTT-2.2.1-3] [MQTT-3.3.4-7] [MQTT-4.6.0-2 @3.1.1]
#[test]
fn a_run_from_the_client_is_noted_where_it_cannot_be_answered_at_once() {
    let capabilities = || Capabilities { receive_maximum: 4, ..Capabilities::default() };
    let mut bench = Bench::open_with(capabilities(), connect(Version::V5));
    assert!(bench.connection.answers_at_once());
    let now = bench.now;
    let mut tokens = Vec::new();
    let mut publish = |bench: &mut Bench, ids: &[u16]| {
        let ids: Vec<_> = ids.iter().map(|packet_id| id(*packet_id)).collect();
        bench.connection.publish_run(ids.into_iter(), now, &mut tokens)
    };
    assert!(publish(&mut bench, &[5, 6]));
    assert!(!bench.connection.answers_at_once(), "two answers are due");
    assert!(!publish(&mut bench, &[7, 5]), "one is in use");
    assert!(!publish(&mut bench, &[7, 7]), "one comes twice");
    assert!(!publish(&mut bench, &[7, 8, 9]), "more than the Receive Maximum");
    assert!(publish(&mut bench, &[7, 8]));
    assert_eq!(bench.connection.inbound_pending(), 4);
    assert_eq!(tokens.len(), 4);
    // The second is answered first, and waits for the first.
    let mut answers = Vec::new();
    for index in [1, 0, 2, 3] {
        bench.connection.routed(tokens[index], dunlin_codec::ReasonCode::Success, |ack| {
            answers.push(ack.packet_id.get());
        });
    }
    assert_eq!(answers, [5, 6, 7, 8]);
    assert!(bench.connection.answers_at_once());
    bench.send(publish_packet("t", Qos::ExactlyOnce, 1));
    assert!(!bench.connection.answers_at_once(), "an exchange has an identifier");
}

//! Runs: what they do is what their messages would do one by one.

use bytes::Bytes;
use dunlin_codec::{Connect, DecodeLimits, Packet, Qos, TopicName, Version, publish_run};
use dunlin_session::{Capabilities, Delivery, Input, Origin, Outputs, Run, Settled};

use crate::harness::{
    Bench, connect, connect_clean, id, puback, pubcomp, publish_packet, pubrec, pubrel,
};

const QOS_1: Qos = Qos::AtLeastOnce;

/// So many PUBLISHes of QoS 1 to "t", the payload of each its number.
fn run(version: Version, count: usize, seq: u64) -> Run {
    run_at(QOS_1, version, count, seq)
}

fn run_at(qos: Qos, version: Version, count: usize, seq: u64) -> Run {
    run_of(qos, version, (0..count).map(|number| number.to_string()).collect(), seq)
}

fn run_of(qos: Qos, version: Version, payloads: Vec<String>, seq: u64) -> Run {
    let mut bytes = Vec::new();
    let count = payloads.len();
    for payload in payloads {
        let Packet::Publish(mut publish) = publish_packet("t", qos, 9) else { unreachable!() };
        publish.payload = Bytes::from(payload);
        Packet::Publish(publish).encode(version, &mut bytes).unwrap();
    }
    let found = publish_run(&bytes, qos, version, &DecodeLimits::default(), usize::MAX);
    assert_eq!((found.frames, found.bytes), (count, bytes.len()));
    let mut run =
        Run::new(&bytes, &found, TopicName::try_from("t").unwrap(), qos, version).expect("small");
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

/// Acknowledgements of one kind come in: how many were taken at once, and what was said to them.
fn acks_at_once(
    bench: &mut Bench,
    ids: &[u16],
    packet: fn(u16) -> Packet<Bytes>,
) -> (usize, Vec<String>) {
    let mut bytes = Vec::new();
    for packet_id in ids {
        packet(*packet_id).encode(Version::V3_1_1, &mut bytes).unwrap();
    }
    let (now, mut out, mut answers) = (bench.now, Outputs::new(), Vec::new());
    let send = |id: dunlin_codec::PacketId| answers.push(format!("send PUBREL {id} success"));
    let taken = match bytes.first() {
        Some(0x40) => bench.connection.pubacks_of_runs(&bytes, now, &mut out).messages,
        Some(0x50) => bench.connection.pubrecs_of_runs(&bytes, now, send).messages,
        _ => bench.connection.pubcomps_of_runs(&bytes, now, &mut out),
    };
    answers.extend(bench.carry_out(&mut out));
    (taken, answers)
}

// [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-1 @3.1.1]
#[test]
fn a_run_of_qos_2_is_released_and_completed_at_once() {
    for version in Version::ALL {
        let mut bench = clean(version, None);
        let ids = deliver_run(&mut bench, run_at(Qos::ExactlyOnce, version, 4, 1)).unwrap();
        assert_eq!(ids, [2, 3, 4, 5]);
        assert_eq!(acks_at_once(&mut bench, &ids, pubcomp), (0, vec![]), "nothing was released");
        assert_eq!(acks_at_once(&mut bench, &ids, puback), (0, vec![]), "the wrong kind");
        let (taken, said) = acks_at_once(&mut bench, &ids[..3], pubrec);
        assert_eq!(said, ["2", "3", "4"].map(|id| format!("send PUBREL {id} success")));
        assert_eq!((taken, bench.connection.unacknowledged()), (3, 4));
        assert_eq!(acks_at_once(&mut bench, &ids, pubcomp), (3, vec![]));
        assert_eq!(bench.connection.unacknowledged(), 1);
        // The last one in the long way.
        assert_eq!(bench.send(pubrec(5)), ["send PUBREL 5 success"]);
        assert_eq!(bench.send(pubcomp(5)), ["completed 4: success"]);
        assert_eq!(bench.connection.unacknowledged(), 0);
    }
}

// [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-2 @3.1.1]
#[test]
fn a_run_of_qos_2_from_the_client_is_in_process_until_pubcomp() {
    for version in Version::ALL {
        let capabilities = Capabilities { receive_maximum: 4, ..Capabilities::default() };
        let mut bench = Bench::open_with(capabilities, connect_clean(version));
        let now = bench.now;
        let receive = |bench: &mut Bench, ids: &[u16]| {
            let ids: Vec<_> = ids.iter().map(|packet_id| id(*packet_id)).collect();
            bench.connection.receive_run(ids.into_iter(), now)
        };
        assert!(receive(&mut bench, &[5, 6, 7]));
        assert!(!receive(&mut bench, &[7]), "in process");
        assert!(!receive(&mut bench, &[8, 9]), "more than the Receive Maximum");
        // Its repeat is answered and not routed.
        let repeat = bench.send(publish_packet("t", Qos::ExactlyOnce, 6));
        assert_eq!(repeat, ["send PUBREC 6 success"]);
        let mut bytes = Vec::new();
        for packet_id in [7, 5, 6, 9] {
            pubrel(packet_id).encode(version, &mut bytes).unwrap();
        }
        let mut completed = Vec::new();
        let count = bench.connection.pubrels(&bytes, now, |id| completed.push(id.get()));
        assert_eq!((count, &completed[..]), (3, &[7, 5, 6][..]));
        assert!(receive(&mut bench, &[5, 6, 7]));
    }
    let mut durable = Bench::open(Version::V5);
    let now = durable.now;
    assert!(!durable.connection.receive_run([id(1)].into_iter(), now));
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
    let of = |payload: usize| run_of(QOS_1, Version::V5, vec!["x".repeat(payload)], 1);
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
        let mut released = Vec::new();
        for _ in 0..60 {
            match below(6) {
                0 | 1 => {
                    let count = usize::try_from(1 + below(6)).unwrap();
                    let qos = if below(2) == 0 { QOS_1 } else { Qos::ExactlyOnce };
                    let next = run_at(qos, version, count, seq);
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
                    let packet = [puback, pubrec, pubcomp][usize::try_from(below(3)).unwrap()];
                    let (taken, said) = acks_at_once(&mut bench, &ids, packet);
                    let mut expected = Vec::new();
                    for packet_id in &ids[..taken] {
                        released.push(format!("dropped {}: SessionEnded", packet_id - 1));
                        let mut said = plain.send(packet(*packet_id));
                        said.retain(|line| !line.starts_with("completed"));
                        expected.extend(said);
                    }
                    assert_eq!(said, expected, "round {round}");
                }
                _ => {
                    let packet_id = u16::try_from(below(seq + 2) + 1).unwrap();
                    let packet = [puback, pubrec, pubcomp][usize::try_from(below(3)).unwrap()];
                    let packet = packet(packet_id);
                    assert_eq!(bench.send(packet.clone()), plain.send(packet), "round {round}");
                }
            }
            let said =
                |bench: &Bench| (bench.connection.unacknowledged(), bench.connection.send_quota());
            assert_eq!(said(&bench), said(&plain), "round {round}");
        }
        // What was released out of a run is with the client, and nothing of it is left here.
        let (mut said, mut expected) = (bench.lose(), plain.lose());
        said.extend(bench.session_end());
        expected.extend(plain.session_end());
        said.retain(|line| !released.contains(line));
        expected.retain(|line| !released.contains(line));
        assert_eq!(said, expected, "round {round}");
    }
}

// [MQTT-4.8.2-4] [MQTT-4.8.2-5]
#[test]
fn a_leaving_member_gives_back_what_another_may_have_of_a_run() {
    let mut bench = clean(Version::V5, None);
    let by_group = |qos, count, seq| {
        let mut run = run_at(qos, Version::V5, count, seq);
        run.came_by_group(7);
        assert_eq!(run.origin(), Origin::Shared { group: 7, seq: 0 });
        run
    };
    let first = by_group(QOS_1, 4, 1);
    assert_eq!(deliver_run(&mut bench, first), Some(vec![2, 3, 4, 5]));
    assert_eq!(deliver_run(&mut bench, run(Version::V5, 2, 5)), Some(vec![6, 7]));
    let second = by_group(Qos::ExactlyOnce, 3, 7);
    assert_eq!(deliver_run(&mut bench, second), Some(vec![8, 9, 10]));
    assert_eq!(pubacks(&mut bench, &[2]), Settled { messages: 1, bytes: 2 });
    bench.lose();
    let mut session = bench.session.take().unwrap();
    let taken = session.take_unacknowledged_shared();
    let said = |delivery: &Delivery| {
        (delivery.seq, delivery.qos, delivery.origin, delivery.message.payload.clone())
    };
    let group = Origin::Shared { group: 7, seq: 0 };
    let expected = [(2, "1"), (3, "2"), (4, "3")]
        .map(|(seq, payload)| (seq, QOS_1, group, Bytes::from_static(payload.as_bytes())));
    assert_eq!(taken.iter().map(said).collect::<Vec<_>>(), expected);
    assert_eq!(session.inflight_len(), 5, "two of its own, and three that were begun");
    assert_eq!(session.take_unacknowledged_shared(), []);
}

// [MQTT-3.2.2-11]
#[test]
fn a_run_above_the_maximum_qos_is_taken_one_by_one() {
    for (maximum, qos) in [(Qos::AtMostOnce, QOS_1), (QOS_1, Qos::ExactlyOnce)] {
        let capabilities = Capabilities { maximum_qos: maximum, ..Capabilities::default() };
        let mut bench = Bench::open_with(capabilities, connect_clean(Version::V5));
        let (now, mut tokens) = (bench.now, Vec::new());
        assert!(!bench.connection.answers_at_once(qos));
        assert!(!bench.connection.publish_run(qos, [id(1)].into_iter(), now, &mut tokens));
        assert_eq!(tokens, []);
        if qos == Qos::ExactlyOnce {
            assert!(!bench.connection.receive_run([id(1)].into_iter(), now));
        }
        let said = bench.send(publish_packet("t", qos, 1));
        let expected = [
            "violation MQTT-3.2.2-11",
            "send DISCONNECT QoS not supported",
            "close: QoS is above the maximum",
        ];
        assert_eq!(said, expected);
    }
}

// [MQTT-2.2.1-3] [MQTT-3.3.4-7] [MQTT-4.6.0-2 @3.1.1]
#[test]
fn a_run_from_the_client_is_noted_where_it_cannot_be_answered_at_once() {
    let capabilities = || Capabilities { receive_maximum: 4, ..Capabilities::default() };
    let mut bench = Bench::open_with(capabilities(), connect(Version::V5));
    assert!(bench.connection.answers_at_once(QOS_1));
    let now = bench.now;
    let mut tokens = Vec::new();
    let mut publish = |bench: &mut Bench, ids: &[u16]| {
        let ids: Vec<_> = ids.iter().map(|packet_id| id(*packet_id)).collect();
        bench.connection.publish_run(QOS_1, ids.into_iter(), now, &mut tokens)
    };
    assert!(publish(&mut bench, &[5, 6]));
    assert!(!bench.connection.answers_at_once(QOS_1), "two answers are due");
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
    assert!(bench.connection.answers_at_once(QOS_1));
    bench.send(publish_packet("t", Qos::ExactlyOnce, 1));
    assert!(!bench.connection.answers_at_once(QOS_1), "an exchange has an identifier");
}

//! A new connection for an old session: what is repeated, what is remembered.

use std::num::NonZeroU16;

use bytes::Bytes;
use dunlin_codec::{Connect, Packet, Qos, SubscriptionOptions, Version};
use dunlin_session::{Delivery, Input, Restored, Session, SessionExpiry, Subscription};

use crate::harness::{
    Answers, Bench, connect, connect_clean, delivery, id, puback, pubcomp, publish, publish_packet,
    pubrec, pubrel, subscribe_packet,
};

const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

const NONE: [&str; 0] = [];

/// What follows CONNACK.
fn repeated(lines: Vec<String>) -> Vec<String> {
    assert_eq!(lines[2], "send CONNACK success present");
    lines[3..].to_vec()
}

fn connect_taking(receive_maximum: u16) -> Connect<Bytes> {
    let mut connect = connect(Version::V5);
    connect.properties.receive_maximum = NonZeroU16::new(receive_maximum);
    connect
}

fn dup(qos: Qos, id: u16) -> Packet<Bytes> {
    let mut publish = publish("t", qos, id);
    publish.dup = true;
    Packet::Publish(publish)
}

// [MQTT-4.4.0-1] [MQTT-4.4.0-1 @3.1.1] [MQTT-4.3.3-6] [MQTT-4.6.0-1] [MQTT-4.6.0-1 @3.1.1] [MQTT-3.3.1-1]
#[test]
fn unacknowledged_messages_are_repeated_in_order_with_their_identifiers() {
    for version in Version::ALL {
        let mut bench = Bench::open(version);
        for (seq, qos) in [(1, QOS_1), (2, QOS_2), (3, QOS_2), (4, QOS_1), (5, QOS_2)] {
            bench.deliver(seq, qos);
        }
        bench.send(puback(2));
        bench.send(pubrec(4));
        bench.durable(1);
        bench.lose();
        assert_eq!(
            repeated(bench.reconnect(connect(version))),
            [
                "send PUBREL 4 success",
                "send PUBLISH t QoS 2 id 3 dup",
                "send PUBLISH t QoS 1 id 5 dup",
                "send PUBLISH t QoS 2 id 6 dup",
            ]
        );
        // Never at any other time.
        bench.advance(std::time::Duration::from_secs(1_000));
        assert_eq!(bench.timeout(), NONE);
        assert_eq!(bench.send(pubcomp(4))[0], "completed 3: success");
    }
}

// [MQTT-3.1.2-6] [MQTT-3.2.2-3]
#[test]
fn a_session_without_expiry_is_not_resumed() {
    let mut bench = Bench::open_with(Default::default(), connect_clean(Version::V5));
    bench.deliver(1, QOS_1);
    bench.lose();
    let lines = bench.reconnect(connect(Version::V5));
    assert_eq!(lines[2..], ["send CONNACK success"]);
}

// [MQTT-4.9.0-1] [MQTT-4.9.0-2]
#[test]
fn repeated_messages_keep_to_the_new_quota_and_go_before_new_ones() {
    let mut bench = Bench::open_with(Default::default(), connect_taking(10));
    for seq in 1..=4 {
        bench.deliver(seq, if seq == 2 { QOS_2 } else { QOS_1 });
    }
    bench.send(pubrec(3));
    bench.durable(1);
    bench.lose();
    // PUBREL goes out without asking, but its exchange counts.
    assert_eq!(
        repeated(bench.reconnect(connect_taking(2))),
        ["send PUBREL 3 success", "send PUBLISH t QoS 1 id 2 dup"]
    );
    assert_eq!(bench.connection.send_quota(), 0);
    assert_eq!(bench.deliver(5, QOS_1), NONE);
    let sent = |lines: Vec<String>| lines.last().unwrap().clone();
    assert_eq!(sent(bench.send(puback(2))), "send PUBLISH t QoS 1 id 4 dup");
    assert_eq!(sent(bench.send(pubcomp(3))), "send PUBLISH t QoS 1 id 5 dup");
    assert_eq!(sent(bench.send(puback(4))), "send PUBLISH t QoS 1 id 6");
    assert_eq!(bench.connection.send_quota(), 0);
}

#[test]
fn more_releases_than_quota_leave_no_quota() {
    let mut bench = Bench::open_with(Default::default(), connect_taking(3));
    for seq in 1..=3 {
        bench.deliver(seq, QOS_2);
        bench.send(pubrec(u16::try_from(seq).unwrap() + 1));
        bench.durable(usize::try_from(seq).unwrap());
    }
    bench.lose();
    assert_eq!(repeated(bench.reconnect(connect_taking(1))).len(), 3);
    assert_eq!(bench.connection.send_quota(), 0);
    bench.send(pubcomp(2));
    bench.send(pubcomp(3));
    assert_eq!(bench.connection.send_quota(), 0);
    bench.send(pubcomp(4));
    assert_eq!(bench.connection.send_quota(), 1);
}

#[test]
fn acknowledgements_for_an_earlier_connection_count_too() {
    let mut bench = Bench::open_with(Default::default(), connect_taking(10));
    bench.deliver(1, QOS_1);
    bench.deliver(2, QOS_1);
    bench.deliver(3, QOS_2);
    bench.lose();
    assert_eq!(repeated(bench.reconnect(connect_taking(1))), ["send PUBLISH t QoS 1 id 2 dup"]);
    // The client answers what it got before, although it was not repeated yet.
    assert_eq!(bench.send(puback(3))[0], "completed 2: success");
    assert_eq!(bench.send(pubrec(4)), ["persist place 3 released #1"]);
    assert_eq!(bench.send(puback(2))[0], "completed 1: success");
    assert_eq!(bench.connection.send_quota(), 0, "the QoS 2 exchange is still open");
    bench.durable(1);
    bench.send(pubcomp(4));
    assert_eq!(bench.connection.send_quota(), 1);
    assert_eq!(bench.connection.unacknowledged(), 0);
}

// [MQTT-4.3.3-6]
#[test]
fn a_release_that_becomes_durable_between_connections_is_sent_on_the_next() {
    let mut bench = Bench::open(Version::V5);
    bench.deliver(1, QOS_2);
    bench.deliver(2, QOS_2);
    bench.send(pubrec(2));
    bench.send(pubrec(3));
    bench.lose();
    let token = bench.token(1);
    bench.session.as_mut().unwrap().durable(token);
    // The store may have refused the other one, so it is asked again; whichever answer comes first counts.
    assert_eq!(
        repeated(bench.reconnect(connect(Version::V5))),
        ["send PUBREL 2 success", "persist place 2 released #3"]
    );
    assert_eq!(bench.durable(2), ["send PUBREL 3 success"]);
    assert_eq!(bench.durable(3), NONE);
}

// [MQTT-4.3.3-10] [MQTT-4.3.3-2 @3.1.1]
#[test]
fn received_qos_2_identifiers_are_remembered() {
    for version in Version::ALL {
        let mut bench = Bench::open(version);
        bench.send(publish_packet("t", QOS_2, 1));
        bench.routed(1);
        bench.lose();
        bench.reconnect(connect(version));
        assert_eq!(bench.send(dup(QOS_2, 1)), ["send PUBREC 1 success"]);
        assert_eq!(bench.send(pubrel(1)), ["persist inbound 1 released #2"]);
        assert_eq!(bench.durable(2), ["send PUBCOMP 1 success"]);
    }
}

// [MQTT-4.3.3-10]
#[test]
fn a_message_that_is_being_routed_when_the_connection_is_lost_is_not_routed_again() {
    // Answered while the client is away.
    let mut bench = Bench::open(Version::V5);
    bench.send(publish_packet("t", QOS_2, 1));
    bench.lose();
    let token = bench.token(1);
    bench.session.as_mut().unwrap().routed(token, dunlin_codec::ReasonCode::Success);
    bench.reconnect(connect(Version::V5));
    assert_eq!(bench.send(dup(QOS_2, 1)), ["send PUBREC 1 success"]);

    // Answered on the next connection, before and after the repeat.
    let mut bench = Bench::open(Version::V5);
    bench.send(publish_packet("t", QOS_2, 1));
    bench.send(publish_packet("t", QOS_2, 2));
    bench.lose();
    bench.reconnect(connect(Version::V5));
    assert_eq!(bench.routed(2), NONE);
    assert_eq!(bench.send(dup(QOS_2, 1)), NONE);
    assert_eq!(bench.send(dup(QOS_2, 2)), NONE, "in order");
    assert_eq!(bench.routed(1), ["send PUBREC 1 success", "send PUBREC 2 success"]);

    // Refused while the client is away: the repeat is a new message.
    let mut bench = Bench::open(Version::V5);
    bench.send(publish_packet("t", QOS_2, 1));
    bench.lose();
    let token = bench.token(1);
    bench.session.as_mut().unwrap().routed(token, dunlin_codec::ReasonCode::QuotaExceeded);
    bench.reconnect(connect(Version::V5));
    assert_eq!(bench.send(dup(QOS_2, 1)), ["route t #2"]);
}

#[test]
fn an_inbound_release_is_answered_on_the_connection_that_asked() {
    let begin = || {
        let mut bench = Bench::open(Version::V5);
        bench.send(publish_packet("t", QOS_2, 1));
        bench.routed(1);
        bench.send(pubrel(1));
        bench.lose();
        bench.reconnect(connect(Version::V5));
        bench
    };
    let mut bench = begin();
    assert_eq!(bench.durable(2), NONE, "this connection did not ask");
    assert_eq!(bench.send(pubrel(1)), ["send PUBCOMP 1 packet identifier not found"]);

    // The store may have refused the first removal, so it is asked again, once; whichever answer comes first counts.
    let mut bench = begin();
    assert_eq!(bench.send(pubrel(1)), ["persist inbound 1 released #3"]);
    assert_eq!(bench.send(pubrel(1)), NONE);
    assert_eq!(bench.durable(2), ["send PUBCOMP 1 success"]);
    assert_eq!(bench.durable(3), NONE);
}

// [MQTT-3.3.4-7]
#[test]
fn exchanges_of_an_earlier_connection_do_not_count_for_the_receive_maximum() {
    let capabilities = dunlin_session::Capabilities { receive_maximum: 2, ..Default::default() };
    let mut bench = Bench::open_with(capabilities, connect(Version::V5));
    bench.send(publish_packet("t", QOS_2, 1));
    bench.send(publish_packet("t", QOS_2, 2));
    bench.routed(1);
    bench.routed(2);
    bench.lose();
    bench.reconnect(connect(Version::V5));
    assert_eq!(bench.send(publish_packet("t", QOS_2, 3)), ["route t #3"]);
    assert_eq!(bench.send(publish_packet("t", QOS_2, 4)), ["route t #4"]);
    assert_eq!(bench.send(pubrel(1)), ["persist inbound 1 released #5"]);
    bench.durable(5);
    // Its end gives back nothing that was not taken.
    assert_eq!(bench.send(publish_packet("t", QOS_2, 5))[0], "violation MQTT-3.3.4-7");
}

#[test]
fn answers_to_a_lost_subscribe_still_hold() {
    for away in [true, false] {
        let mut bench = Bench::open(Version::V5);
        bench.answers = Answers::Nothing;
        bench.send(subscribe_packet(1, &[("a", QOS_1)]));
        bench.lose();
        bench.answers = Answers::Handshakes;
        let token = bench.token(1);
        let reason_codes = vec![dunlin_codec::ReasonCode::GrantedQos1];
        if away {
            bench.session.as_mut().unwrap().answered(token, reason_codes);
            bench.reconnect(connect(Version::V5));
        } else {
            bench.reconnect(connect(Version::V5));
            assert_eq!(bench.input(Input::Subscribed { token, reason_codes }), NONE);
        }
        assert!(bench.connection.session().unwrap().subscription(b"a").is_some());
    }
}

#[test]
fn deliveries_that_come_while_the_connection_ends_wait_for_the_next() {
    let mut bench = Bench::open(Version::V5);
    bench.deliver(1, QOS_1);
    bench.input(Input::Lost);
    assert_eq!(bench.deliver(2, QOS_1), NONE);
    assert_eq!(bench.deliver(0, Qos::AtMostOnce), ["dropped 0: NotConnected"]);
    assert_eq!(
        repeated(bench.reconnect(connect(Version::V5))),
        ["send PUBLISH t QoS 1 id 2 dup", "send PUBLISH t QoS 1 id 3"]
    );
}

#[test]
fn a_restored_session_goes_on_where_it_was() {
    let options = SubscriptionOptions::with_qos(QOS_1);
    let filter = "a/#".try_into().unwrap();
    let restored = Restored {
        client_id: dunlin_codec::ClientId::new("client").unwrap(),
        expiry: SessionExpiry::NEVER,
        will: None,
        will_at: None,
        expires_at: None,
        subscriptions: vec![(filter, Subscription { options, subscription_id: None })],
        inbound: vec![id(7)],
        released: vec![6, 3],
    };
    let mut bench = Bench::new(Default::default());
    bench.session = Some(Box::new(Session::restore(restored)));
    assert_eq!(
        repeated(bench.reconnect(connect(Version::V5))),
        ["send PUBREL 4 success", "send PUBREL 7 success"]
    );
    // The queue delivers what may have been sent before the restart, between what was released, and what was not.
    for (seq, sent_before, line) in [
        (4, true, "send PUBLISH t QoS 1 id 5 dup"),
        (5, true, "send PUBLISH t QoS 1 id 6 dup"),
        (7, false, "send PUBLISH t QoS 1 id 8"),
    ] {
        let delivery = Delivery { sent_before, ..delivery(seq, QOS_1) };
        assert_eq!(bench.input(Input::Deliver(delivery)), [line]);
    }
    assert_eq!(bench.send(pubcomp(4))[0], "completed 3: success");
    assert_eq!(bench.send(puback(6))[0], "completed 5: success");
    assert_eq!(bench.send(pubcomp(7))[0], "completed 6: success");
    assert_eq!(bench.send(dup(QOS_2, 7)), ["send PUBREC 7 success"]);
    let session = bench.connection.session().unwrap();
    assert_eq!(session.subscription(b"a/#").unwrap().options, options);
}

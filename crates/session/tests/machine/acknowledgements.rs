//! PUBACK, PUBREC and PUBCOMP for the client's messages: when, in which order, and for which identifiers.

use dunlin_codec::{Packet, Qos, ReasonCode, Version};
use dunlin_session::Capabilities;

use crate::harness::{Bench, connect, connect_clean, publish, publish_packet, pubrel};

fn qos_1(id: u16) -> Packet<bytes::Bytes> {
    publish_packet("t", Qos::AtLeastOnce, id)
}

fn qos_2(id: u16) -> Packet<bytes::Bytes> {
    publish_packet("t", Qos::ExactlyOnce, id)
}

fn dup(qos: Qos, id: u16) -> Packet<bytes::Bytes> {
    let mut publish = publish("t", qos, id);
    publish.dup = true;
    Packet::Publish(publish)
}

const NONE: [&str; 0] = [];

// [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.2-2 @3.1.1]
#[test]
fn an_acknowledgement_waits_for_the_server_to_own_the_message() {
    for version in Version::ALL {
        let mut bench = Bench::open(version);
        assert_eq!(bench.send(qos_1(1)), ["route t #1"]);
        assert_eq!(bench.connection.inbound_pending(), 1);
        assert_eq!(bench.routed(1), ["send PUBACK 1 success"]);
        assert_eq!(bench.send(qos_2(1)), ["route t #2"]);
        assert_eq!(bench.routed(2), ["send PUBREC 1 success"]);
        assert_eq!(bench.connection.inbound_pending(), 0);
    }
}

// [MQTT-4.6.0-2 @3.1.1] [MQTT-4.6.0-3 @3.1.1]
#[test]
fn acknowledgements_of_one_kind_keep_the_order_of_their_publishes() {
    let mut bench = Bench::open(Version::V5);
    for packet in [qos_1(1), qos_2(2), qos_1(3), qos_2(4), qos_1(5)] {
        bench.send(packet);
    }
    assert_eq!(bench.routed(3), NONE);
    assert_eq!(bench.routed(5), NONE);
    assert_eq!(bench.routed(4), NONE);
    // PUBREC does not wait for PUBACK.
    assert_eq!(bench.routed(2), ["send PUBREC 2 success", "send PUBREC 4 success"]);
    // Other packets wait for neither.
    assert_eq!(bench.send(Packet::PingReq), ["send PINGRESP"]);
    assert_eq!(
        bench.routed(1),
        ["send PUBACK 1 success", "send PUBACK 3 success", "send PUBACK 5 success"]
    );
}

// [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.3.5-2 @3.1.1]
#[test]
fn the_servers_reason_is_told_in_5_0_only() {
    for (reason, told) in [
        (ReasonCode::NoMatchingSubscribers, "no matching subscribers"),
        (ReasonCode::NotAuthorized, "not authorized"),
        (ReasonCode::QuotaExceeded, "quota exceeded"),
    ] {
        let mut bench = Bench::open(Version::V5);
        bench.send(qos_1(1));
        assert_eq!(bench.routed_as(1, reason), [format!("send PUBACK 1 {told}")]);
        bench.send(qos_2(1));
        assert_eq!(bench.routed_as(2, reason), [format!("send PUBREC 1 {told}")]);

        let mut bench = Bench::open(Version::V3_1_1);
        bench.send(qos_1(1));
        assert_eq!(bench.routed_as(1, reason), ["send PUBACK 1 success"]);
        bench.send(qos_2(1));
        assert_eq!(bench.routed_as(2, reason), ["send PUBREC 1 success"]);
        assert_eq!(bench.send(pubrel(1)), ["persist inbound 1 released #3"]);
    }
}

// [MQTT-4.3.2-5] [MQTT-4.3.2-2 @3.1.1]
#[test]
fn after_puback_the_identifier_is_a_new_message_whatever_dup_says() {
    for version in Version::ALL {
        let mut bench = Bench::open(version);
        bench.send(qos_1(1));
        bench.routed(1);
        assert_eq!(bench.send(dup(Qos::AtLeastOnce, 1)), ["route t #2"]);
        assert_eq!(bench.routed(2), ["send PUBACK 1 success"]);
    }
}

// [MQTT-2.2.1-3] [MQTT-2.3.1-2 @3.1.1]
#[test]
fn a_qos_1_identifier_in_use_is_a_repeat_or_an_error() {
    // 3.x: a repeat, whatever DUP says.
    for packet in [qos_1(1), dup(Qos::AtLeastOnce, 1)] {
        let mut bench = Bench::open(Version::V3_1_1);
        bench.send(qos_1(1));
        assert_eq!(bench.send(packet), NONE);
        assert_eq!(bench.routed(1), ["send PUBACK 1 success"]);
    }
    // 5.0: a repeat with DUP, an error without.
    let mut bench = Bench::open(Version::V5);
    bench.send(qos_1(1));
    assert_eq!(bench.send(dup(Qos::AtLeastOnce, 1)), NONE);
    assert_eq!(bench.send(qos_1(1)), NONE, "its turn has not come");
    assert_eq!(
        bench.routed(1),
        ["send PUBACK 1 success", "send PUBACK 1 packet identifier in use"]
    );
    assert_eq!(bench.send(qos_1(1)), ["route t #2"]);
}

// [MQTT-2.2.1-3]
#[test]
fn an_identifier_in_use_by_the_other_kind_of_exchange_is_an_error_in_5_0() {
    let mut bench = Bench::open(Version::V5);
    bench.send(qos_2(1));
    bench.routed(1);
    assert_eq!(bench.send(qos_1(1)), ["send PUBACK 1 packet identifier in use"]);
    assert_eq!(bench.send(dup(Qos::AtLeastOnce, 1)), ["send PUBACK 1 packet identifier in use"]);
    bench.send(qos_1(2));
    assert_eq!(bench.send(qos_2(2)), ["send PUBREC 2 packet identifier in use"]);
    assert_eq!(bench.routed(2), ["send PUBACK 2 success"]);

    // Before 5.0 nobody can be told: both go their way.
    let mut bench = Bench::open(Version::V3_1_1);
    bench.send(qos_2(1));
    assert_eq!(bench.send(qos_1(1)), ["route t #2"]);
    assert_eq!(bench.routed(2), ["send PUBACK 1 success"]);
    assert_eq!(bench.routed(1), ["send PUBREC 1 success"]);
}

// [MQTT-4.3.3-10] [MQTT-4.3.3-2 @3.1.1]
#[test]
fn a_repeated_qos_2_publish_is_answered_but_not_routed_again() {
    for version in Version::ALL {
        for repeat in [qos_2(1), dup(Qos::ExactlyOnce, 1)] {
            let mut bench = Bench::open(version);
            bench.send(qos_2(1));
            assert_eq!(bench.send(repeat.clone()), NONE, "one PUBREC answers both");
            assert_eq!(bench.routed(1), ["send PUBREC 1 success"]);
            assert_eq!(bench.send(repeat.clone()), ["send PUBREC 1 success"]);
            assert_eq!(bench.send(repeat), ["send PUBREC 1 success"]);
        }
    }
}

#[test]
fn repeats_of_one_identifier_never_pile_up() {
    let mut bench = Bench::open(Version::V3_1_1);
    bench.send(qos_2(1));
    bench.send(qos_2(2));
    bench.routed(2);
    for _ in 0..100 {
        bench.send(qos_2(2));
    }
    assert_eq!(bench.connection.inbound_pending(), 2);
    assert_eq!(bench.routed(1), ["send PUBREC 1 success", "send PUBREC 2 success"]);
    assert_eq!(bench.connection.inbound_pending(), 0);
}

// [MQTT-4.3.3-11] [MQTT-4.3.3-12]
#[test]
fn pubcomp_waits_until_the_removal_is_durable() {
    for version in Version::ALL {
        let mut bench = Bench::open(version);
        bench.send(qos_2(1));
        bench.routed(1);
        assert_eq!(bench.send(pubrel(1)), ["persist inbound 1 released #2"]);
        assert_eq!(bench.send(pubrel(1)), NONE, "asked already");
        assert_eq!(bench.durable(2), ["send PUBCOMP 1 success"]);
        assert_eq!(bench.send(qos_2(1)), ["route t #3"], "the identifier is new again");
    }
}

// [MQTT-4.3.3-11]
#[test]
fn a_session_that_ends_with_its_connection_persists_nothing() {
    for version in Version::ALL {
        let mut bench = Bench::open_with(Capabilities::default(), connect_clean(version));
        bench.send(qos_2(1));
        bench.routed(1);
        assert_eq!(bench.send(pubrel(1)), ["send PUBCOMP 1 success"]);
    }
}

// [MQTT-2.2.1-5] [MQTT-2.3.1-6 @3.1.1]
#[test]
fn an_unknown_pubrel_is_answered() {
    assert_eq!(
        Bench::open(Version::V5).send(pubrel(9)),
        ["send PUBCOMP 9 packet identifier not found"]
    );
    assert_eq!(Bench::open(Version::V3_1_1).send(pubrel(9)), ["send PUBCOMP 9 success"]);
    assert_eq!(Bench::open(Version::V3_1).send(pubrel(9)), ["send PUBCOMP 9 success"]);
}

// [MQTT-4.3.3-12]
#[test]
fn an_identifier_is_in_use_until_pubcomp() {
    let mut bench = Bench::open(Version::V5);
    bench.send(qos_2(1));
    bench.routed(1);
    bench.send(pubrel(1));
    assert_eq!(bench.send(qos_2(1)), ["send PUBREC 1 packet identifier in use"]);
    assert_eq!(bench.durable(2), ["send PUBCOMP 1 success"]);

    let mut bench = Bench::open(Version::V3_1_1);
    bench.send(qos_2(1));
    bench.routed(1);
    bench.send(pubrel(1));
    assert_eq!(bench.send(qos_2(1)), NONE, "PUBCOMP is on its way");
    assert_eq!(bench.durable(2), ["send PUBCOMP 1 success"]);
}

// A client repeats its PUBLISH although PUBREC came, and goes on with PUBREL before the second PUBREC had its turn.
// The PUBREC that then has no meaning must not answer the next message with the same identifier.
#[test]
fn a_pubrec_that_is_overtaken_by_pubrel_is_taken_back() {
    let mut bench = Bench::open_with(Capabilities::default(), connect_clean(Version::V3_1_1));
    bench.send(qos_2(1));
    bench.routed(1);
    bench.send(qos_2(2));
    assert_eq!(bench.send(qos_2(1)), NONE, "it waits behind 2");
    assert_eq!(bench.send(pubrel(1)), ["send PUBCOMP 1 success"]);
    assert_eq!(bench.send(qos_2(1)), ["route t #3"]);
    assert_eq!(bench.routed(2), ["send PUBREC 2 success"]);
    assert_eq!(bench.routed(3), ["send PUBREC 1 success"]);
}

// [MQTT-3.3.4-7] [MQTT-4.9.0-2]
#[test]
fn more_than_the_receive_maximum_ends_a_5_0_connection() {
    let open = || {
        let capabilities = Capabilities { receive_maximum: 3, ..Default::default() };
        let mut bench = Bench::open_with(capabilities, connect_clean(Version::V5));
        bench.send(qos_1(1));
        bench.send(qos_2(2));
        bench.send(qos_2(3));
        bench
    };
    let told = "send DISCONNECT receive maximum exceeded";
    assert_eq!(open().send(qos_1(4))[..2], ["violation MQTT-3.3.4-7", told]);

    // PUBACK makes room; PUBREC does not, PUBCOMP does; PUBREC with an error does.
    let mut bench = open();
    bench.routed(1);
    assert_eq!(bench.send(qos_1(4)), ["route t #4"]);
    bench.routed(2);
    assert_eq!(bench.send(qos_1(5))[1], told);

    let mut bench = open();
    bench.routed(2);
    bench.send(pubrel(2));
    assert_eq!(bench.send(qos_1(4)), ["route t #4"]);

    let mut bench = open();
    bench.routed_as(2, ReasonCode::NotAuthorized);
    assert_eq!(bench.send(qos_1(4)), ["route t #4"]);
    assert_eq!(bench.send(qos_1(5))[1], told);

    // QoS 0 and repeats do not count.
    let mut bench = open();
    bench.send(publish_packet("t", Qos::AtMostOnce, 0));
    bench.send(dup(Qos::AtLeastOnce, 1));
    bench.send(dup(Qos::ExactlyOnce, 2));
    assert!(bench.connection.is_open());
}

#[test]
fn more_than_the_receive_maximum_of_a_3_x_client_is_not_read() {
    let capabilities = Capabilities { receive_maximum: 2, ..Default::default() };
    let mut bench = Bench::open_with(capabilities, connect(Version::V3_1_1));
    bench.send(qos_1(1));
    assert!(bench.connection.accepts_packets());
    bench.send(qos_2(2));
    assert!(bench.connection.receive_overrun());
    assert!(!bench.connection.accepts_packets());
    bench.routed(2);
    assert!(bench.connection.accepts_packets());
    // What waits for the client's PUBREL is the client's own affair: not reading would wait for ever.
    for (id, token) in [(3, 3), (4, 4), (5, 5)] {
        bench.send(qos_2(id));
        bench.routed(token);
        assert!(bench.connection.accepts_packets());
    }
}

// [MQTT-4.3.3-13] is kept by the server as it never applies an expiry to the exchange; only routing looks at it.
#[test]
fn answers_of_an_earlier_connection_do_not_confuse_a_later_one() {
    let mut bench = Bench::open(Version::V5);
    bench.send(qos_1(1));
    bench.lose();
    bench.reconnect(connect(Version::V5));
    assert_eq!(bench.send(dup(Qos::AtLeastOnce, 1)), ["route t #2"]);
    assert_eq!(bench.routed(1), NONE, "the connection that waited for it is gone");
    assert_eq!(bench.routed(2), ["send PUBACK 1 success"]);
}

//! Messages to the client: quota, acknowledgements, expiry.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use dunlin_codec::{Ack, Connect, Packet, Qos, ReasonCode, Version};
use dunlin_session::{Capabilities, Delivery, Input, Origin};

use crate::harness::{Bench, connect, connect_clean, delivery, id, puback, pubcomp, pubrec};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

const NONE: [&str; 0] = [];

/// A client that takes this many at a time, with a session that ends with the connection.
fn connect_taking(receive_maximum: u16) -> Connect<Bytes> {
    let mut connect = connect_clean(Version::V5);
    connect.properties.receive_maximum = NonZeroU16::new(receive_maximum);
    connect
}

fn open_taking(receive_maximum: u16) -> Bench {
    Bench::open_with(Capabilities::default(), connect_taking(receive_maximum))
}

fn pubrec_error(packet_id: u16) -> Packet<Bytes> {
    Packet::PubRec(Ack::new(id(packet_id), ReasonCode::QuotaExceeded))
}

// [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.2-3] [MQTT-4.3.2-1 @3.1.1]
#[test]
fn qos_1_is_over_with_puback() {
    for version in Version::ALL {
        let mut bench = Bench::open(version);
        assert_eq!(bench.deliver(0, QOS_0), ["send PUBLISH t"]);
        assert_eq!(bench.deliver(1, QOS_1), ["send PUBLISH t QoS 1 id 2"]);
        assert_eq!(bench.connection.unacknowledged(), 1);
        assert_eq!(bench.send(puback(2)), ["completed 1: success", "persist place 1 acknowledged"]);
        assert_eq!(bench.connection.unacknowledged(), 0);
        assert_eq!(bench.send(puback(2)), NONE, "a stray one is ignored");
    }
}

// [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-1 @3.1.1]
#[test]
fn qos_2_is_over_with_pubcomp() {
    for version in Version::ALL {
        let mut bench = Bench::open(version);
        assert_eq!(bench.deliver(1, QOS_2), ["send PUBLISH t QoS 2 id 2"]);
        assert_eq!(bench.send(pubcomp(2)), NONE, "nothing was released");
        assert_eq!(bench.send(pubrec(2)), ["persist place 1 released #1"]);
        assert_eq!(bench.send(pubrec(2)), NONE, "asked already");
        assert_eq!(bench.send(pubcomp(2)), NONE, "PUBREL did not go");
        assert_eq!(bench.durable(1), ["send PUBREL 2 success"]);
        assert_eq!(bench.send(pubrec(2)), ["send PUBREL 2 success"]);
        assert_eq!(
            bench.send(pubcomp(2)),
            ["completed 1: success", "persist place 1 acknowledged"]
        );
        assert_eq!(bench.connection.unacknowledged(), 0);
    }
}

#[test]
fn a_session_that_ends_with_its_connection_persists_nothing() {
    let mut bench = open_taking(10);
    bench.deliver(1, QOS_1);
    assert_eq!(bench.send(puback(2)), ["completed 1: success"]);
    bench.deliver(2, QOS_2);
    assert_eq!(bench.send(pubrec(3)), ["send PUBREL 3 success"]);
    assert_eq!(bench.send(pubcomp(3)), ["completed 2: success"]);
}

// [MQTT-4.3.3-4] [MQTT-4.4.0-2]
#[test]
fn an_error_from_the_client_ends_the_exchange() {
    let mut bench = Bench::open(Version::V5);
    bench.deliver(1, QOS_1);
    assert_eq!(
        bench.send(Packet::PubAck(Ack::new(id(2), ReasonCode::NotAuthorized))),
        ["completed 1: not authorized", "persist place 1 acknowledged"]
    );
    bench.deliver(2, QOS_2);
    assert_eq!(
        bench.send(pubrec_error(3)),
        ["completed 2: quota exceeded", "persist place 2 acknowledged"]
    );
    bench.lose();
    assert_eq!(
        bench.reconnect(connect(Version::V5)).last().unwrap(),
        "send CONNACK success present"
    );
}

// [MQTT-2.2.1-5]
#[test]
fn an_unknown_pubrec_is_answered() {
    assert_eq!(
        Bench::open(Version::V5).send(pubrec(9)),
        ["send PUBREL 9 packet identifier not found"]
    );
    assert_eq!(Bench::open(Version::V3_1_1).send(pubrec(9)), ["send PUBREL 9 success"]);
    assert_eq!(Bench::open(Version::V5).send(pubrec_error(9)), NONE, "nothing is left to release");
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_changes_nothing() {
    let mut bench = Bench::open(Version::V5);
    bench.deliver(1, QOS_1);
    bench.deliver(2, QOS_2);
    assert_eq!(bench.send(pubrec(2)), ["send PUBREL 2 packet identifier not found"]);
    assert_eq!(bench.send(puback(3)), NONE);
    assert_eq!(bench.connection.unacknowledged(), 2);
}

// [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-3.3.4-10] [MQTT-4.9.0-3]
#[test]
fn the_clients_receive_maximum_is_never_passed() {
    let mut bench = open_taking(2);
    assert_eq!(bench.connection.send_quota(), 2);
    bench.deliver(1, QOS_1);
    bench.deliver(2, QOS_2);
    assert_eq!(bench.connection.send_quota(), 0);
    // A caller that delivers all the same makes it wait, in order.
    assert_eq!(bench.deliver(3, QOS_1), NONE);
    assert_eq!(bench.deliver(4, QOS_1), NONE);
    // Everything else goes on.
    assert_eq!(bench.deliver(0, QOS_0), ["send PUBLISH t"]);
    assert_eq!(bench.send(Packet::PingReq), ["send PINGRESP"]);
    // PUBREC frees nothing, PUBCOMP does.
    assert_eq!(bench.send(pubrec(3)), ["send PUBREL 3 success"]);
    assert_eq!(bench.send(pubcomp(3)), ["completed 2: success", "send PUBLISH t QoS 1 id 4"]);
    assert_eq!(bench.connection.send_quota(), 0, "others wait before new ones");
    assert_eq!(bench.send(puback(2)), ["completed 1: success", "send PUBLISH t QoS 1 id 5"]);
    bench.send(puback(4));
    assert_eq!(bench.connection.send_quota(), 1);
}

#[test]
fn a_pubrec_with_an_error_frees_its_slot() {
    let mut bench = open_taking(1);
    bench.deliver(1, QOS_2);
    bench.deliver(2, QOS_1);
    assert_eq!(
        bench.send(pubrec_error(2)),
        ["completed 1: quota exceeded", "send PUBLISH t QoS 1 id 3"]
    );
}

#[test]
fn the_servers_own_limit_holds_where_the_client_allows_more() {
    for connect in [connect(Version::V3_1_1), connect(Version::V5)] {
        let capabilities = Capabilities { inflight_max: 5, ..Default::default() };
        assert_eq!(Bench::open_with(capabilities, connect).connection.send_quota(), 5);
    }
    assert_eq!(Bench::open(Version::V3_1_1).connection.send_quota(), 1_000);
}

// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[test]
fn expiry_is_counted_down_in_whole_seconds_and_drops_what_was_not_sent() {
    let deliver = |bench: &mut Bench, seq, qos, expires_in: Duration| {
        let expires_at = Some(bench.now + expires_in);
        bench.input(Input::Deliver(Delivery { expires_at, ..delivery(seq, qos) }))
    };
    let ms = Duration::from_millis;
    let mut bench = Bench::open(Version::V5);
    assert_eq!(deliver(&mut bench, 0, QOS_0, ms(10_000)), ["send PUBLISH t expires in 10"]);
    assert_eq!(deliver(&mut bench, 0, QOS_0, ms(9_001)), ["send PUBLISH t expires in 10"]);
    assert_eq!(deliver(&mut bench, 0, QOS_0, ms(9_000)), ["send PUBLISH t expires in 9"]);
    assert_eq!(deliver(&mut bench, 0, QOS_0, ms(0)), ["dropped 0: Expired"]);
    assert_eq!(
        deliver(&mut bench, 1, QOS_1, ms(0)),
        ["dropped 1: Expired", "persist place 1 acknowledged"]
    );
    // The next message goes on with its own place.
    assert_eq!(bench.deliver(2, QOS_1), ["send PUBLISH t QoS 1 id 3"]);
}

// [MQTT-3.3.2-5] [MQTT-4.3.3-7]
#[test]
fn expiry_is_never_applied_after_sending_began() {
    let mut bench = Bench::open(Version::V5);
    let expires_at = Some(bench.now + Duration::from_secs(5));
    bench.input(Input::Deliver(Delivery { expires_at, ..delivery(1, QOS_2) }));
    bench.advance(Duration::from_secs(10));
    bench.lose();
    let lines = bench.reconnect(connect(Version::V5));
    assert_eq!(lines.last().unwrap(), "send PUBLISH t QoS 2 id 2 dup expires in 0");
}

#[test]
fn what_waits_for_quota_expires_while_it_waits() {
    let mut bench = open_taking(1);
    bench.deliver(1, QOS_1);
    let expires_at = Some(bench.now + Duration::from_secs(5));
    bench.input(Input::Deliver(Delivery { expires_at, ..delivery(2, QOS_1) }));
    bench.deliver(3, QOS_1);
    bench.advance(Duration::from_secs(5));
    assert_eq!(
        bench.send(puback(2)),
        ["completed 1: success", "dropped 2: Expired", "send PUBLISH t QoS 1 id 4"]
    );
}

// [MQTT-2.2.1-4] [MQTT-2.3.1-4 @3.1.1]
#[test]
fn no_identifier_is_reused_while_in_use() {
    let capabilities = Capabilities { inflight_max: u16::MAX, ..Default::default() };
    let mut bench = Bench::open_with(capabilities, connect(Version::V3_1_1));
    bench.deliver(1, QOS_1);
    for seq in 2..=65_535 {
        let lines = bench.deliver(seq, QOS_1);
        let packet_id = u16::try_from(seq % 65_535 + 1).unwrap();
        assert_eq!(lines, [format!("send PUBLISH t QoS 1 id {packet_id}")]);
        bench.send(puback(packet_id));
    }
    assert_eq!(bench.connection.unacknowledged(), 1);
    let lines = bench.deliver(65_536, QOS_1);
    assert_eq!(lines[0], "violation MQTT-2.3.1-4 @3.1.1");
    assert!(bench.connection.is_closed());

    // Nothing is lost: both come again, the second when the first is acknowledged.
    let lines = bench.reconnect(connect(Version::V3_1_1));
    assert_eq!(lines[2..], ["send CONNACK success present", "send PUBLISH t QoS 1 id 2 dup"]);
    assert_eq!(bench.connection.send_quota(), 0);
    assert_eq!(
        bench.send(puback(2)),
        ["completed 1: success", "persist place 1 acknowledged", "send PUBLISH t QoS 1 id 2"]
    );
}

#[test]
fn places_may_be_left_out() {
    let mut bench = open_taking(100);
    for seq in [1, 5, 6, 40_000, 65_000] {
        bench.deliver(seq, QOS_1);
    }
    for seq in [40_000_u64, 5, 65_000, 1, 6] {
        let packet_id = u16::try_from(seq % 65_535 + 1).unwrap();
        assert_eq!(bench.send(puback(packet_id)), [format!("completed {seq}: success")]);
    }
    assert_eq!(bench.connection.unacknowledged(), 0);
    assert_eq!(bench.connection.send_quota(), 100);
}

// [MQTT-4.8.2-4] [MQTT-4.8.2-5]
#[test]
fn a_leaving_member_gives_back_what_another_may_have() {
    let shared = Origin::Shared { group: 7, seq: 0 };
    let deliver = |bench: &mut Bench, seq, qos, origin| {
        bench.input(Input::Deliver(Delivery { origin, ..delivery(seq, qos) }));
    };
    let mut bench = open_taking(4);
    deliver(&mut bench, 1, QOS_1, shared);
    deliver(&mut bench, 2, QOS_2, shared);
    deliver(&mut bench, 3, QOS_1, Origin::Plain);
    deliver(&mut bench, 4, QOS_2, shared);
    bench.send(pubrec(5));
    deliver(&mut bench, 5, QOS_2, shared);
    deliver(&mut bench, 6, QOS_1, Origin::Plain);
    bench.lose();
    let mut session = bench.session.take().unwrap();
    let taken: Vec<_> =
        session.take_unacknowledged_shared().iter().map(|taken| taken.seq).collect();
    assert_eq!(taken, [1, 5], "sent with QoS 1, and with QoS 2 what was not begun");
    assert_eq!(session.inflight_len(), 4);
    assert_eq!(session.take_unacknowledged_shared(), []);
}

#[test]
fn every_delivery_comes_back_when_the_session_ends() {
    let mut bench = open_taking(2);
    bench.deliver(1, QOS_1);
    bench.deliver(2, QOS_2);
    bench.deliver(3, QOS_1);
    bench.lose();
    assert_eq!(
        bench.session_end(),
        ["dropped 1: SessionEnded", "dropped 2: SessionEnded", "dropped 3: SessionEnded", "ended"]
    );
}

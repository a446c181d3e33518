//! What a PUBLISH of the client must be like.

use dunlin_codec::{Packet, PublishProperties, Qos, SubscriptionIds, Version};
use dunlin_session::{Capabilities, ReservedTopicPolicy};

use crate::harness::{Bench, connect, publish, publish_packet, pubrel, subscription_id};

fn too_deep() -> String {
    "/".repeat(128)
}

// [MQTT-4.3.1-1] [MQTT-3.3.4-1]
#[test]
fn qos_0_is_routed_and_forgotten() {
    for version in Version::ALL {
        let mut bench = Bench::open(version);
        assert_eq!(bench.send(publish_packet("a/b", Qos::AtMostOnce, 0)), ["route a/b"]);
    }
}

// [MQTT-3.3.4-6]
#[test]
fn a_subscription_identifier_is_a_protocol_error() {
    let mut odd = publish("t", Qos::AtMostOnce, 0);
    odd.properties = PublishProperties {
        subscription_ids: [subscription_id(3)].into_iter().collect::<SubscriptionIds<_>>(),
        ..Default::default()
    };
    assert_eq!(
        Bench::open(Version::V5).send(Packet::Publish(odd))[..2],
        ["violation MQTT-3.3.4-6", "send DISCONNECT protocol error"]
    );
}

// [MQTT-3.2.2-11] [MQTT-3.2.2-14]
#[test]
fn what_the_server_does_not_support_ends_the_connection() {
    let capabilities = Capabilities {
        maximum_qos: Qos::AtLeastOnce,
        retain_available: false,
        ..Default::default()
    };
    let open = |version| Bench::open_with(capabilities.clone(), connect(version));
    let strong = publish_packet("t", Qos::ExactlyOnce, 1);
    let mut retained = publish("t", Qos::AtMostOnce, 0);
    retained.retain = true;
    assert_eq!(
        open(Version::V5).send(strong.clone())[..2],
        ["violation MQTT-3.2.2-11", "send DISCONNECT QoS not supported"]
    );
    assert_eq!(
        open(Version::V5).send(Packet::Publish(retained))[..2],
        ["violation MQTT-3.2.2-14", "send DISCONNECT retain not supported"]
    );
    assert_eq!(
        open(Version::V3_1_1).send(strong),
        ["violation MQTT-4.8.0-2 @3.1.1", "close: QoS is above the maximum"]
    );
    assert_eq!(open(Version::V5).send(publish_packet("t", Qos::AtLeastOnce, 1)), ["route t #1"]);
}

// [MQTT-4.3.3-9] [MQTT-3.3.5-2 @3.1.1]
#[test]
fn topics_below_sys_are_the_servers_own() {
    let mut bench = Bench::open(Version::V5);
    assert_eq!(
        bench.send(publish_packet("$SYS/a", Qos::AtMostOnce, 0)),
        ["refused QoS 0: not authorized"]
    );
    assert_eq!(
        bench.send(publish_packet("$SYS/a", Qos::AtLeastOnce, 1)),
        ["send PUBACK 1 not authorized", "refused QoS 1: not authorized"]
    );
    assert_eq!(
        bench.send(publish_packet("$SYS/a", Qos::ExactlyOnce, 2)),
        ["send PUBREC 2 not authorized", "refused QoS 2: not authorized"]
    );
    // The exchange is over: the identifier is free.
    assert_eq!(bench.send(publish_packet("a", Qos::ExactlyOnce, 2)), ["route a #1"]);

    let mut bench = Bench::open(Version::V3_1_1);
    assert_eq!(
        bench.send(publish_packet("$SYS/a", Qos::AtLeastOnce, 1)),
        ["send PUBACK 1 success", "refused QoS 1: not authorized"]
    );
    assert_eq!(
        bench.send(publish_packet("$SYS/a", Qos::ExactlyOnce, 2)),
        ["send PUBREC 2 success", "refused QoS 2: not authorized"]
    );
    assert_eq!(bench.send(pubrel(2)), ["persist inbound 2 released #1"]);
    assert_eq!(bench.durable(1), ["send PUBCOMP 2 success"]);

    let reserved_topic_3x = ReservedTopicPolicy::Close;
    let capabilities = Capabilities { reserved_topic_3x, ..Default::default() };
    let mut bench = Bench::open_with(capabilities, connect(Version::V3_1));
    assert_eq!(
        bench.send(publish_packet("$SYS/a", Qos::AtMostOnce, 0)),
        ["violation MQTT-3.3.5-2 @3.1.1", "close: topic is below $SYS/"]
    );
}

#[test]
fn topics_with_too_many_levels_are_invalid() {
    let mut bench = Bench::open(Version::V5);
    assert_eq!(
        bench.send(publish_packet(&too_deep(), Qos::AtMostOnce, 0)),
        ["refused QoS 0: topic name invalid"]
    );
    assert_eq!(
        bench.send(publish_packet(&too_deep(), Qos::AtLeastOnce, 1))[0],
        "send PUBACK 1 topic name invalid"
    );
    assert_eq!(
        bench.send(publish_packet(&too_deep(), Qos::ExactlyOnce, 1))[0],
        "send PUBREC 1 topic name invalid"
    );
    assert_eq!(
        Bench::open(Version::V3_1_1).send(publish_packet(&too_deep(), Qos::AtMostOnce, 0)),
        ["violation MQTT-4.8.0-2 @3.1.1", "close: topic has more than 128 levels"]
    );
}

// [MQTT-3.3.2-2] [MQTT-4.7.1-1 @3.1.1]
#[test]
fn what_the_decoder_refuses_ends_the_connection_with_its_reason() {
    let mut bench = Bench::open(Version::V5);
    assert_eq!(
        bench.bytes(&[0x30, 4, 0, 1, b'#', 0])[..2],
        ["violation MQTT-3.3.2-2", "send DISCONNECT topic name invalid"]
    );
}

// [MQTT-4.13.1-1]
#[test]
fn packets_that_only_servers_send_are_protocol_errors() {
    for bytes in
        [[0xd0, 0].as_slice(), &[0x20, 3, 0, 0, 0], &[0x90, 4, 0, 1, 0, 0], &[0xb0, 4, 0, 1, 0, 0]]
    {
        let lines = Bench::open(Version::V5).bytes(bytes);
        assert_eq!(lines[..2], ["violation MQTT-4.13.1-1", "send DISCONNECT protocol error"]);
    }
}

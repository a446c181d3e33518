//! Topic Aliases both ways.

use bytes::Bytes;
use dunlin_codec::{Connect, Packet, Qos, TopicAlias, Version};
use dunlin_session::{Capabilities, Delivery, Input};

use crate::harness::{Bench, connect, delivery, message, publish};

fn aliased(topic: &str, alias: u16) -> Packet<Bytes> {
    let mut publish = publish(topic, Qos::AtMostOnce, 0);
    publish.properties.topic_alias = TopicAlias::new(alias);
    Packet::Publish(publish)
}

fn connect_with_aliases(maximum: u16) -> Connect<Bytes> {
    let mut connect = connect(Version::V5);
    connect.properties.topic_alias_maximum = Some(maximum);
    connect
}

fn deliver(bench: &mut Bench, topic: &str) -> Vec<String> {
    let message = message(topic);
    bench.input(Input::Deliver(Delivery { message, ..delivery(0, Qos::AtMostOnce) }))
}

// [MQTT-3.3.2-12]
#[test]
fn a_client_may_send_an_alias_for_its_topic() {
    let mut bench = Bench::open(Version::V5);
    assert_eq!(bench.send(aliased("a", 32)), ["route a"]);
    assert_eq!(bench.send(aliased("", 32)), ["route a (by alias)"]);
    assert_eq!(bench.send(aliased("b", 32)), ["route b"]);
    assert_eq!(bench.send(aliased("", 32)), ["route b (by alias)"]);
}

// [MQTT-3.3.2-8] [MQTT-3.2.2-17] [MQTT-3.2.2-18] [MQTT-3.3.2-9] [MQTT-4.7.3-1]
#[test]
fn wrong_aliases_end_the_connection() {
    let invalid = "send DISCONNECT topic alias invalid";
    assert_eq!(
        Bench::open(Version::V5).send(aliased("a", 33))[..2],
        ["violation MQTT-3.2.2-17", invalid]
    );
    // Alias 0 is found by the decoder.
    let zero = [0x30, 8, 0, 1, b'a', 3, 0x23, 0, 0, b'x'];
    assert_eq!(Bench::open(Version::V5).bytes(&zero)[..2], ["violation MQTT-3.3.2-8", invalid]);
    assert_eq!(
        Bench::open(Version::V5).send(aliased("", 1))[..2],
        ["violation MQTT-4.7.3-1", "send DISCONNECT protocol error"]
    );
    let none = Capabilities { topic_alias_maximum: 0, ..Default::default() };
    let lines = Bench::open_with(none, connect(Version::V5)).send(aliased("a", 1));
    assert_eq!(lines[1], invalid);
    let few_bytes = Capabilities { alias_bytes_max: 3, ..Default::default() };
    let lines = Bench::open_with(few_bytes, connect(Version::V5)).send(aliased("abcd", 1));
    assert_eq!(lines[1], "send DISCONNECT quota exceeded");
}

// [MQTT-3.3.2-7]
#[test]
fn aliases_end_with_the_connection() {
    let mut bench = Bench::open_with(Default::default(), connect_with_aliases(5));
    bench.send(aliased("a", 1));
    deliver(&mut bench, "t");
    bench.lose();
    bench.reconnect(connect_with_aliases(5));
    assert_eq!(deliver(&mut bench, "t"), ["send PUBLISH t sets alias 1"]);
    assert_eq!(bench.send(aliased("", 1))[0], "violation MQTT-4.7.3-1");
}

#[test]
fn an_alias_of_a_refused_message_is_set_all_the_same() {
    let mut bench = Bench::open(Version::V5);
    assert_eq!(bench.send(aliased("$SYS/x", 1)), ["refused QoS 0: not authorized"]);
    assert_eq!(bench.send(aliased("", 1)), ["refused QoS 0: not authorized"]);
}

// [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]
#[test]
fn the_server_sets_aliases_as_far_as_the_client_allows() {
    let mut bench = Bench::open_with(Default::default(), connect_with_aliases(2));
    assert_eq!(deliver(&mut bench, "a"), ["send PUBLISH a sets alias 1"]);
    assert_eq!(deliver(&mut bench, "b"), ["send PUBLISH b sets alias 2"]);
    assert_eq!(deliver(&mut bench, "c"), ["send PUBLISH c"]);
    assert_eq!(deliver(&mut bench, "a"), ["send PUBLISH a by alias 1"]);
    assert_eq!(deliver(&mut bench, "b"), ["send PUBLISH b by alias 2"]);

    let mut bench = Bench::open(Version::V5);
    assert_eq!(deliver(&mut bench, "a"), ["send PUBLISH a"]);

    let capabilities = Capabilities { topic_alias_out_maximum: 1, ..Default::default() };
    let mut bench = Bench::open_with(capabilities, connect_with_aliases(2));
    deliver(&mut bench, "a");
    assert_eq!(deliver(&mut bench, "b"), ["send PUBLISH b"]);
}

//! The client's Maximum Packet Size, and what it does not want to hear.

use std::num::NonZeroU32;

use bytes::Bytes;
use dunlin_codec::{Connect, Packet, Qos, Version};
use dunlin_session::{Delivery, Input, Output, Outputs};

use crate::harness::{Bench, connect, delivery, message, puback, subscribe_packet};

fn connect_limited(bytes: u32) -> Connect<Bytes> {
    let mut connect = connect(Version::V5);
    connect.properties.maximum_packet_size = NonZeroU32::new(bytes);
    connect
}

/// The DISCONNECT for a violation, to a client with this limit.
fn farewell(connect: Connect<Bytes>) -> dunlin_codec::Disconnect<Bytes> {
    let mut bench = Bench::open_with(Default::default(), connect);
    let mut out = Outputs::new();
    bench.connection.violated(dunlin_session::Violation::SecondConnect, bench.now, &mut out);
    let Some(Output::Send(packet)) = out.pop() else { panic!("5.0 is told") };
    let Packet::Disconnect(disconnect) = *packet else { panic!("{packet:?}") };
    disconnect
}

// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
#[test]
fn a_message_that_is_too_large_is_dropped_and_done_with() {
    let mut bench = Bench::open_with(Default::default(), connect_limited(40));
    let deliver = |bench: &mut Bench, seq, qos, topic: &str| {
        bench.input(Input::Deliver(Delivery { message: message(topic), ..delivery(seq, qos) }))
    };
    let long = "t".repeat(40);
    assert_eq!(deliver(&mut bench, 0, Qos::AtMostOnce, &long), ["dropped 0: TooLarge"]);
    assert_eq!(
        deliver(&mut bench, 1, Qos::AtLeastOnce, &long),
        ["dropped 1: TooLarge", "persist place 1 acknowledged"]
    );
    assert_eq!(bench.connection.unacknowledged(), 0);
    assert_eq!(bench.connection.send_quota(), 1_000, "it used no quota");
    assert_eq!(deliver(&mut bench, 2, Qos::AtLeastOnce, "t"), ["send PUBLISH t QoS 1 id 3"]);

    // 2 + 2 + topic + 2 + 1 + 7 bytes.
    assert!(deliver(&mut bench, 3, Qos::AtLeastOnce, &"t".repeat(26))[0].starts_with("send"));
    assert!(deliver(&mut bench, 4, Qos::AtLeastOnce, &"t".repeat(27))[0].starts_with("dropped"));
}

#[test]
fn what_was_sent_before_is_dropped_too_where_it_no_longer_fits() {
    let mut bench = Bench::open(Version::V5);
    let long = message(&"t".repeat(40));
    bench.input(Input::Deliver(Delivery { message: long, ..delivery(1, Qos::ExactlyOnce) }));
    bench.deliver(2, Qos::AtLeastOnce);
    bench.lose();
    let lines = bench.reconnect(connect_limited(40));
    assert_eq!(
        lines[3..],
        ["dropped 1: TooLarge", "persist place 1 acknowledged", "send PUBLISH t QoS 1 id 3 dup"]
    );
    assert_eq!(bench.send(puback(3))[0], "completed 2: success");
}

#[test]
fn an_alias_is_not_set_where_it_makes_the_packet_too_large() {
    let mut limited = connect_limited(40);
    limited.properties.topic_alias_maximum = Some(1);
    let mut bench = Bench::open_with(Default::default(), limited);
    let topic = "t".repeat(27);
    for _ in 0..2 {
        let message = message(&topic);
        let lines =
            bench.input(Input::Deliver(Delivery { message, ..delivery(0, Qos::AtMostOnce) }));
        assert_eq!(lines, [format!("send PUBLISH {topic}")]);
    }
}

// [MQTT-3.14.2-3] [MQTT-3.1.2-29]
#[test]
fn a_reason_string_is_given_where_it_fits() {
    assert!(farewell(connect(Version::V5)).reason_string.is_some());
    assert_eq!(farewell(connect_limited(30)).reason_string, None);
    // DISCONNECT may carry it even where problem information is not asked for.
    let mut unconcerned = connect(Version::V5);
    unconcerned.properties.request_problem_information = false;
    assert!(farewell(unconcerned).reason_string.is_some());
}

// [MQTT-3.1.2-24]
#[test]
fn a_subscribe_whose_answer_would_not_fit_ends_the_connection() {
    let filters: Vec<_> = (0..40).map(|number| format!("f{number}")).collect();
    let filters: Vec<_> = filters.iter().map(|filter| (filter.as_str(), Qos::AtMostOnce)).collect();
    let mut bench = Bench::open_with(Default::default(), connect_limited(40));
    assert_eq!(
        bench.send(subscribe_packet(1, &filters[..36]))[..2],
        ["violation MQTT-3.1.2-24", "send DISCONNECT packet too large"]
    );
    let mut bench = Bench::open_with(Default::default(), connect_limited(40));
    assert_eq!(bench.send(subscribe_packet(1, &filters[..35])).len(), 2);
    assert!(bench.connection.is_open());
}

#[test]
fn outputs_are_small_enough_to_pass_around() {
    assert!(size_of::<Output<'_>>() <= 256, "{}", size_of::<Output<'_>>());
}

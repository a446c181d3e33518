//! SUBSCRIBE and UNSUBSCRIBE.

use dunlin_codec::{Packet, Qos, ReasonCode, RetainHandling, SubscriptionOptions, Version};
use dunlin_session::{Capabilities, FILTERS_MAX, Input, REQUESTS_MAX};

use crate::harness::{
    Answers, Bench, connect, subscribe, subscribe_packet, subscription_id, unsubscribe_packet,
};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

const NONE: [&str; 0] = [];

fn filters(bench: &Bench) -> Vec<String> {
    let session = bench.connection.session().unwrap();
    session
        .subscriptions()
        .map(|(filter, subscription)| format!("{filter} {}", subscription.options.qos))
        .collect()
}

// [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.9.3-1]
// [MQTT-3.8.4-1 @3.1.1] [MQTT-3.8.4-2 @3.1.1] [MQTT-3.8.4-5 @3.1.1] [MQTT-3.9.3-1 @3.1.1]
#[test]
fn a_subscribe_is_answered_filter_by_filter() {
    for version in Version::ALL {
        let mut bench = Bench::open(version);
        assert_eq!(
            bench.send(subscribe_packet(7, &[("a", QOS_0), ("b/+", QOS_1), ("$share/g/c", QOS_2)])),
            [
                "subscribe #1: a QoS 0, b/+ QoS 1, $share/g/c QoS 2",
                "send SUBACK 7 success, granted QoS 1, granted QoS 2"
            ]
        );
        assert_eq!(filters(&bench), ["$share/g/c QoS 2", "a QoS 0", "b/+ QoS 1"]);
    }
}

// [MQTT-3.8.4-3] [MQTT-3.8.4-3 @3.1.1] [MQTT-3.3.1-10]
#[test]
fn the_same_filter_replaces_its_subscription() {
    let mut bench = Bench::open(Version::V5);
    let options = SubscriptionOptions {
        qos: QOS_2,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
    };
    let mut first = subscribe(1, &[("a", options)]);
    first.subscription_id = Some(subscription_id(5));
    bench.send(Packet::Subscribe(first));
    let known = *bench.connection.session().unwrap().subscription(b"a").unwrap();
    assert_eq!((known.options, known.subscription_id), (options, Some(subscription_id(5))));

    let lines = bench.send(subscribe_packet(2, &[("a", QOS_1), ("b", QOS_1), ("b", QOS_2)]));
    assert_eq!(lines[0], "subscribe #2: a QoS 1 existed, b QoS 1, b QoS 2 existed");
    let known = *bench.connection.session().unwrap().subscription(b"a").unwrap();
    assert_eq!(known.options, SubscriptionOptions::with_qos(QOS_1));
    assert_eq!(known.subscription_id, None, "the identifier goes with its subscription");
    assert_eq!(filters(&bench), ["a QoS 1", "b QoS 2"]);
}

// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn bad_filters_are_refused_one_by_one() {
    let bad = ["a/#/b", "a#", "+a", "", "$share/g", "$share//a", "$share/g+/a", "$share/g/"];
    for filter in bad {
        let mut bench = Bench::open(Version::V5);
        assert_eq!(
            bench.send(subscribe_packet(1, &[(filter, QOS_0), ("good", QOS_0)])),
            [
                "subscribe #1: topic filter invalid, good QoS 0",
                "send SUBACK 1 topic filter invalid, success"
            ],
            "{filter}"
        );
        assert_eq!(filters(&bench), ["good QoS 0"]);
    }
    let deep = "+/".repeat(128);
    let mut bench = Bench::open(Version::V5);
    let lines = bench.send(subscribe_packet(1, &[(&deep, QOS_0), (&deep[..255], QOS_0)]));
    assert_eq!(lines[1], "send SUBACK 1 topic filter invalid, success");
}

// [MQTT-3.8.3-2 @3.1.1]
#[test]
fn what_the_server_does_not_support_is_refused_with_its_code() {
    let capabilities = Capabilities {
        wildcard_subscription_available: false,
        shared_subscription_available: false,
        subscription_identifiers_available: false,
        ..Default::default()
    };
    let mut bench = Bench::open_with(capabilities.clone(), connect(Version::V5));
    let lines =
        bench.send(subscribe_packet(1, &[("a/#", QOS_0), ("$share/g/a", QOS_0), ("a", QOS_0)]));
    assert_eq!(
        lines[1],
        "send SUBACK 1 wildcard subscriptions not supported, shared subscriptions not supported, success"
    );
    let mut identified = subscribe(2, &[("b", SubscriptionOptions::with_qos(QOS_0))]);
    identified.subscription_id = Some(subscription_id(1));
    let lines = bench.send(Packet::Subscribe(identified));
    assert_eq!(lines[1], "send SUBACK 2 subscription identifiers not supported");

    // In 3.1.1 the encoder has one code for all of them.
    let mut bench = Bench::open_with(capabilities, connect(Version::V3_1_1));
    let lines = bench.send(subscribe_packet(1, &[("a/#", QOS_0), ("a", QOS_0)]));
    assert_eq!(lines[1], "send SUBACK 1 wildcard subscriptions not supported, success");
}

// [MQTT-3.2.2-10] [MQTT-3.8.4-7]
#[test]
fn no_more_than_the_maximum_qos_is_granted() {
    let capabilities = Capabilities { maximum_qos: QOS_1, ..Default::default() };
    let mut bench = Bench::open_with(capabilities, connect(Version::V5));
    let lines = bench.send(subscribe_packet(1, &[("a", QOS_2)]));
    assert_eq!(lines[1], "send SUBACK 1 granted QoS 1");
}

// [MQTT-3.8.3-4]
#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let options = SubscriptionOptions { no_local: true, ..Default::default() };
    let packet = Packet::Subscribe(subscribe(1, &[("$share/g/a", options)]));
    assert_eq!(
        Bench::open(Version::V5).send(packet)[..2],
        ["violation MQTT-3.8.3-4", "send DISCONNECT protocol error"]
    );
}

#[test]
fn subscriptions_are_bounded() {
    let capabilities = Capabilities { subscriptions_max: 2, ..Default::default() };
    let mut bench = Bench::open_with(capabilities, connect(Version::V5));
    let lines = bench.send(subscribe_packet(1, &[("a", QOS_0), ("b", QOS_0), ("c", QOS_0)]));
    assert_eq!(lines[1], "send SUBACK 1 success, success, quota exceeded");
    let lines = bench.send(subscribe_packet(2, &[("a", QOS_1), ("c", QOS_1)]));
    assert_eq!(lines[1], "send SUBACK 2 granted QoS 1, quota exceeded");
    bench.send(unsubscribe_packet(3, &["a"]));
    let lines = bench.send(subscribe_packet(4, &[("c", QOS_1)]));
    assert_eq!(lines[1], "send SUBACK 4 granted QoS 1");
}

#[test]
fn filters_in_one_packet_are_bounded() {
    let filters = vec![("f", QOS_0); FILTERS_MAX + 1];
    let lines = Bench::open(Version::V5).send(subscribe_packet(1, &filters));
    assert_eq!(lines[..2], ["violation MQTT-4.13.2-1", "send DISCONNECT quota exceeded"]);
}

// [MQTT-3.1 s3.9]
#[test]
fn a_suback_of_3_1_hides_refusals_and_reports_them() {
    let mut bench = Bench::open(Version::V3_1);
    assert_eq!(
        bench.send(subscribe_packet(1, &[("a#", QOS_1), ("a", QOS_2)])),
        [
            "subscribe #1: topic filter invalid, a QoS 2",
            "refusals hidden: 1",
            "send SUBACK 1 granted QoS 1, granted QoS 2"
        ]
    );
    assert_eq!(filters(&bench), ["a QoS 2"]);
}

#[test]
fn the_server_may_refuse_a_good_filter() {
    let mut bench = Bench::open(Version::V5);
    bench.answers = Answers::Nothing;
    bench.send(subscribe_packet(1, &[("a", QOS_1), ("b", QOS_1)]));
    let reason_codes = vec![ReasonCode::NotAuthorized, ReasonCode::GrantedQos1];
    assert_eq!(
        bench.input(Input::Subscribed { token: bench.token(1), reason_codes }),
        ["send SUBACK 1 not authorized, granted QoS 1"]
    );
    assert_eq!(filters(&bench), ["b QoS 1"]);
}

// [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]
// [MQTT-3.10.4-1 @3.1.1] [MQTT-3.10.4-4 @3.1.1] [MQTT-3.10.4-5 @3.1.1]
#[test]
fn an_unsubscribe_is_answered_filter_by_filter() {
    let mut bench = Bench::open(Version::V5);
    bench.send(subscribe_packet(1, &[("a/+", QOS_0), ("a/b", QOS_0)]));
    assert_eq!(
        bench.send(unsubscribe_packet(2, &["a/+", "c", "a#"])),
        [
            "unsubscribe #2: a/+ existed, c, topic filter invalid",
            "send UNSUBACK 2 success, no subscription existed, topic filter invalid"
        ]
    );
    assert_eq!(filters(&bench), ["a/b QoS 0"], "filters are compared, not matched");
    assert_eq!(
        bench.send(unsubscribe_packet(3, &["zzz"]))[1],
        "send UNSUBACK 3 no subscription existed"
    );
}

#[test]
fn requests_go_to_the_server_one_by_one() {
    let mut bench = Bench::open(Version::V5);
    bench.answers = Answers::Nothing;
    assert_eq!(bench.send(subscribe_packet(1, &[("a", QOS_1)])), ["subscribe #1: a QoS 1"]);
    assert_eq!(bench.send(subscribe_packet(2, &[("a", QOS_1)])), NONE);
    assert_eq!(bench.send(unsubscribe_packet(3, &["a"])), NONE);
    // Each finds the subscriptions as the one before left them.
    assert_eq!(
        bench.input(Input::Subscribed {
            token: bench.token(1),
            reason_codes: vec![ReasonCode::NotAuthorized]
        }),
        ["send SUBACK 1 not authorized", "subscribe #2: a QoS 1"]
    );
    assert_eq!(
        bench.input(Input::Subscribed {
            token: bench.token(2),
            reason_codes: vec![ReasonCode::GrantedQos1]
        }),
        ["send SUBACK 2 granted QoS 1", "unsubscribe #3: a existed"]
    );
    let reason_codes = vec![ReasonCode::Success];
    assert_eq!(
        bench.input(Input::Unsubscribed { token: bench.token(3), reason_codes }),
        ["send UNSUBACK 3 success"]
    );
}

#[test]
fn unanswered_requests_are_bounded() {
    let mut bench = Bench::open(Version::V5);
    bench.answers = Answers::Nothing;
    for number in 1..=u16::try_from(REQUESTS_MAX).unwrap() {
        assert!(bench.connection.accepts_packets());
        bench.send(subscribe_packet(number, &[("a", QOS_1)]));
    }
    assert!(!bench.connection.accepts_packets());
    let reason_codes = vec![ReasonCode::GrantedQos1];
    bench.input(Input::Subscribed { token: bench.token(1), reason_codes });
    assert!(bench.connection.accepts_packets());
}

//! One message to many receivers that differ, in every size that is treated differently on its way.

use crate::support::*;

/// Sizes around the borders between copying, sharing and chaining, and some far from them.
const SIZES: [usize; 14] =
    [0, 1, 16, 127, 128, 511, 512, 513, 2_047, 2_049, 16_383, 32_769, 131_073, 1_048_577];

fn payload(size: usize, number: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at * 31 + number * 7) % 251).expect("below 256")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.3.2-3] [MQTT-3.3.2-17] [MQTT-3.8.4-8] [MQTT-4.5.0-1] [MQTT-4.6.0-6] [MQTT-4.5.0-1 @3.1.1] [MQTT-4.6.0-6 @3.1.1]
async fn every_receiver_gets_every_message_in_its_own_form() {
    let server = Server::start().await;
    for from in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut receivers = Vec::new();
        for to in [Version::V3_1, Version::V3_1_1, Version::V5] {
            for granted in [QOS0, QOS1, QOS2] {
                let id = format!("{to:?}{granted:?}");
                let mut plain = server.connect(connect(to, &id)).await;
                plain.subscribe("a/+", granted).await;
                receivers.push((plain, granted, Vec::new()));
            }
        }
        for granted in [QOS0, QOS1, QOS2] {
            let id = format!("identified{granted:?}");
            let mut identified = server.connect(connect(Version::V5, &id)).await;
            identified.subscribe_as(Some(3), "a/+", options(granted)).await;
            identified.subscribe_as(Some(300), "#", options(QOS0)).await;
            receivers.push((identified, granted, vec![3, 300]));
        }
        let mut publisher = server.connect(connect(from, "publisher")).await;
        for (number, size) in SIZES.into_iter().enumerate() {
            for published in [QOS0, QOS1, QOS2] {
                let mut message =
                    publish(&format!("a/{number}"), payload(size, number)).qos(published);
                if from == Version::V5 && number % 2 == 0 {
                    message = message.with_every_property().expires(1_000);
                }
                publisher.publish(message.clone()).await;
                if from != Version::V5 {
                    message.properties = dunlin_codec::PublishProperties::default();
                }
                for (receiver, granted, ids) in &mut receivers {
                    let expected = message.clone().qos(published.min(*granted));
                    // With several identifiers the order is the server's.
                    let mut received = receiver.receive_and_acknowledge().await;
                    let mut found: Vec<u32> =
                        received.properties.subscription_ids.iter().map(|id| id.get()).collect();
                    found.sort_unstable();
                    assert_eq!(found, *ids);
                    received.properties.subscription_ids = Default::default();
                    received.packet_id = None;
                    let sent = message.properties.message_expiry_interval;
                    let left = &mut received.properties.message_expiry_interval;
                    assert_eq!(left.is_some(), sent.is_some() && receiver.version() == Version::V5);
                    // On a busy machine it may have waited.
                    *left =
                        left.map(|secs| if (990..=1_000).contains(&secs) { 1_000 } else { secs });
                    let expected =
                        in_version(expected.id_if_needed(1).into_packet(), receiver.version());
                    let Packet::Publish(mut expected) = expected else { unreachable!("a PUBLISH") };
                    expected.packet_id = None;
                    assert!(
                        received == expected,
                        "{from:?} {published:?} {size} bytes: {received:?} is not {expected:?}"
                    );
                }
            }
        }
        for (receiver, ..) in receivers {
            server.lose(receiver).await;
        }
        server.lose(publisher).await;
    }
}

versions!(a_burst_arrives_as_it_was_sent: V3_1, V3_1_1, V5);
// [MQTT-4.6.0-6] [MQTT-4.6.0-6 @3.1.1] Blocks of PUBLISHes that go through as they are, cut at any place, between others.
async fn a_burst_arrives_as_it_was_sent(version: Version) {
    let server = Server::start().await;
    let mut receivers = Vec::new();
    for to in [Version::V3_1_1, Version::V5] {
        let mut receiver = server.connect(connect(to, &format!("to{to:?}"))).await;
        receiver.send(subscribe(1, &[("a/#", QOS2), ("b", QOS0)])).await;
        receiver.expect(suback(1, &[ReasonCode::GrantedQos2, ReasonCode::Success])).await;
        receivers.push(receiver);
    }
    let mut publisher = server.connect(connect(version, "publisher")).await;
    // Runs of one topic, of several, of nobody's, with RETAIN, and QoS 1 in between.
    let topics = ["a/x", "a/x", "a/x", "nobody", "b", "b", "a/y", "a/x", "c", "a/x"];
    let mut expected = Vec::new();
    let mut bytes = Vec::new();
    let mut acknowledged = 0;
    for number in 0..2_000_usize {
        let topic = topics[number / 7 % topics.len()];
        let mut message = publish(topic, number.to_string());
        if number % 211 == 0 {
            acknowledged += 1;
            message = message.qos(QOS1).id(acknowledged);
        }
        if number % 307 == 0 {
            message = message.retain();
        }
        bytes.extend(publisher.encoded(message));
        if topic.starts_with('a') || topic == "b" {
            expected.push((topic, number.to_string(), number % 211 == 0));
        }
    }
    for part in bytes.chunks(4_099) {
        publisher.send_bytes(part).await;
    }
    let mut answers = publisher.receive_some(usize::from(acknowledged)).await;
    answers.sort_by_key(|packet| match packet {
        Packet::PubAck(ack) => ack.packet_id.get(),
        other => panic!("{other:?}"),
    });
    for receiver in &mut receivers {
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let message = receiver.receive_and_acknowledge().await;
            assert!(!message.retain && !message.dup);
            received.push((message.topic.as_str().to_owned(), text(&message.payload), message.qos));
        }
        // Order is kept for each topic and QoS.
        for topic in ["a/x", "a/y", "b"] {
            for qos1 in [false, true] {
                let sent: Vec<_> = expected
                    .iter()
                    .filter(|(to, _, above)| *to == topic && (*above && topic != "b") == qos1)
                    .map(|(_, payload, _)| payload.clone())
                    .collect();
                let came: Vec<_> = received
                    .iter()
                    .filter(|(to, _, qos)| to == topic && (*qos == QOS1) == qos1)
                    .map(|(_, payload, _)| payload.clone())
                    .collect();
                assert_eq!(came, sent, "{topic}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.5.0-1] More receivers than any table of one batch holds.
async fn a_hundred_and_fifty_receivers_all_get_it() {
    const RECEIVERS: usize = 150;
    let server = Server::start().await;
    let mut receivers = Vec::new();
    for number in 0..RECEIVERS {
        let mut receiver = server.connect(connect(Version::V3_1_1, &format!("r{number}"))).await;
        receiver.subscribe("all", QOS1).await;
        receiver.subscribe(&format!("one/{number}"), QOS0).await;
        receivers.push(receiver);
    }
    let mut publisher = server.connect(connect(Version::V3_1_1, "publisher")).await;
    let mut bytes = Vec::new();
    for round in 0..3 {
        for number in 0..RECEIVERS {
            bytes.extend(publisher.encoded(publish(&format!("one/{number}"), format!("{round}"))));
        }
        bytes.extend(publisher.encoded(publish("all", format!("{round}"))));
    }
    publisher.send_bytes(&bytes).await;
    for (number, receiver) in receivers.iter_mut().enumerate() {
        for round in 0..3 {
            receiver.expect(publish(&format!("one/{number}"), format!("{round}"))).await;
            receiver.expect(publish("all", format!("{round}"))).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.5.0-1] A connection that remembers one topic's receivers forgets the right one.
async fn a_small_route_cache_changes_nothing() {
    let server = Server::with(|config| config.limits.route_cache_entries_max = 1).await;
    let mut receiver = server.connect(connect(Version::V5, "receiver")).await;
    receiver.subscribe("a/+", QOS0).await;
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    for round in 0..50 {
        for topic in ["a/1", "a/2", "b", "a/1", "a/1", "a/3"] {
            publisher.send(publish(topic, round.to_string())).await;
            if topic != "b" {
                receiver.expect(publish(topic, round.to_string())).await;
            }
        }
    }
}

versions!(routes_follow_every_change_of_subscriptions: V3_1_1, V5);
// [MQTT-3.8.4-1] [MQTT-3.10.4-2] What a publisher remembers of a topic's receivers ends with SUBACK and UNSUBACK.
async fn routes_follow_every_change_of_subscriptions(version: Version) {
    let server = Server::start().await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    let mut witness = server.connect(connect(version, "witness")).await;
    witness.subscribe("#", QOS0).await;
    let mut receiver = server.connect(connect(version, "receiver")).await;
    for round in 0..60 {
        let filter = ["a/b", "a/+", "#", "a/#"][round % 4];
        receiver.subscribe(filter, QOS0).await;
        let payload = format!("{round} subscribed");
        publisher.send(publish("a/b", payload.clone())).await;
        receiver.expect(publish("a/b", payload.clone())).await;
        witness.expect(publish("a/b", payload)).await;
        receiver.unsubscribe(filter).await;
        let payload = format!("{round} unsubscribed");
        publisher.send(publish("a/b", payload.clone())).await;
        witness.expect(publish("a/b", payload)).await;
    }
    receiver.expect_nothing().await;
}

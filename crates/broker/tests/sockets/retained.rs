//! Retained messages: what is stored, what replaces it, who gets it and when.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::support::*;

versions!(a_retained_message_waits_for_new_subscriptions: V3_1, V3_1_1, V5);
// [MQTT-3.3.1-5] [MQTT-3.3.1-9] [MQTT-3.3.1-5 @3.1.1] [MQTT-3.3.1-6 @3.1.1] [MQTT-3.3.1-7 @3.1.1] [MQTT-3.3.1-8 @3.1.1]
async fn a_retained_message_waits_for_new_subscriptions(version: Version) {
    let server = Server::start().await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for qos in [QOS0, QOS1, QOS2] {
        let topic = format!("a/{qos:?}");
        publisher.publish(publish(&topic, "old").qos(qos).retain()).await;
        publisher.publish(publish(&topic, "new").qos(qos).retain()).await;
    }
    let levels = [QOS0, QOS1, QOS2];
    for (granted, stored) in
        levels.into_iter().flat_map(|granted| levels.map(|stored| (granted, stored)))
    {
        let topic = format!("a/{stored:?}");
        let mut client = server.connect(connect(version, "s")).await;
        client.subscribe(&topic, granted).await;
        let received = publish(&topic, "new").qos(granted.min(stored)).retain();
        client.expect_and_acknowledge(received).await;
        client.expect_nothing_for(Duration::from_millis(20)).await;
        server.lose(client).await;
    }
}

versions!(an_empty_retained_message_clears_the_topic: V3_1, V3_1_1, V5);
// [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-10 @3.1.1] [MQTT-3.3.1-11 @3.1.1] It is delivered like any other.
async fn an_empty_retained_message_clears_the_topic(version: Version) {
    let server = Server::with(|config| config.sys.interval = None).await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS1).await;
    for qos in [QOS0, QOS1, QOS2] {
        server.publish(publish("a", "kept").retain()).await;
        watcher.expect(publish("a", "kept")).await;
        server.publish(publish("a", "").qos(qos).retain()).await;
        watcher.expect_and_acknowledge(publish("a", "").qos(qos.min(QOS1))).await;
        let mut late = server.connect(connect(version, "late")).await;
        late.subscribe("a", QOS0).await;
        late.expect_nothing().await;
    }
    assert_eq!(server.metrics().retained_messages, 0);
}

versions!(a_message_without_retain_changes_nothing: V3_1, V3_1_1, V5);
// [MQTT-3.3.1-8] [MQTT-3.3.1-12 @3.1.1]
async fn a_message_without_retain_changes_nothing(version: Version) {
    let server = Server::start().await;
    server.publish(publish("a", "kept").retain()).await;
    server.publish(publish("a", "passing")).await;
    server.publish(publish("a", "")).await;
    server.publish(publish("b", "passing")).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("+", QOS0).await;
    client.expect(publish("a", "kept").retain()).await;
    client.expect_nothing().await;
}

versions!(retained_messages_outlive_their_publishers: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-7 @3.1.1] (4.1) They are no part of a session.
async fn retained_messages_outlive_their_publishers(version: Version) {
    let server = Server::start().await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    publisher.publish(publish("a", "kept").qos(QOS1).retain()).await;
    server.disconnect(publisher).await;
    let publisher = server.connect(connect(version, "publisher").clean(true)).await;
    server.disconnect(publisher).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a", QOS0).await;
    client.expect(publish("a", "kept").retain()).await;
}

versions!(a_retained_message_keeps_its_properties: V5);
// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
async fn a_retained_message_keeps_its_properties(version: Version) {
    let server = Server::start().await;
    server.publish(publish("a", "kept").retain().with_every_property()).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a", QOS0).await;
    client.expect(publish("a", "kept").retain().with_every_property()).await;
}

versions!(a_wildcard_brings_every_retained_message_once: V3_1, V3_1_1, V5);
// [MQTT-3.3.1-9] [MQTT-3.3.1-6 @3.1.1] [MQTT-4.7.2-1] Complete, and without the topics that begin with $.
async fn a_wildcard_brings_every_retained_message_once(version: Version) {
    const NAMES: usize = 1_000;
    let server = Server::start().await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    let mut expected = BTreeSet::new();
    for number in 0..NAMES {
        let topic = format!("a/{}/{number}", number % 7);
        publisher.publish(publish(&topic, number.to_string()).retain()).await;
        expected.insert(topic);
    }
    publisher.publish(publish("$a/x", "not matched").qos(QOS1).retain()).await;
    for (filter, qos) in [("#", QOS0), ("a/+/+", QOS1), ("+/#", QOS2)] {
        let mut client = server.connect(connect(version, "s")).await;
        client.subscribe(filter, qos).await;
        let mut received = BTreeSet::new();
        for _ in 0..NAMES {
            let Packet::Publish(message) = client.receive().await else {
                panic!("only messages come");
            };
            assert!(message.retain);
            assert!(received.insert(message.topic.as_str().to_owned()), "{message:?} came twice");
        }
        assert_eq!(received, expected);
        client.expect_nothing().await;
        server.lose(client).await;
    }
}

versions!(a_replay_keeps_to_the_clients_quota: V5);
// [MQTT-3.3.4-9] [MQTT-4.9.0-2] Stored at QoS 1, more of them than the window.
async fn a_replay_keeps_to_the_clients_quota(version: Version) {
    let server = Server::start().await;
    for number in 0..50 {
        server.publish(publish(&format!("a/{number}"), "x").qos(QOS1).retain()).await;
    }
    let mut client = server.connect(connect(version, "s").receive_maximum(3)).await;
    client.subscribe("a/+", QOS1).await;
    let mut topics = BTreeSet::new();
    let mut unacknowledged = Vec::new();
    while topics.len() < 50 {
        let Packet::Publish(message) = client.receive().await else {
            panic!("only messages come");
        };
        assert!(message.retain);
        topics.insert(message.topic.as_str().to_owned());
        unacknowledged.push(message.id_number());
        assert!(unacknowledged.len() <= 3);
        if unacknowledged.len() == 3 || topics.len() == 50 {
            for id in unacknowledged.drain(..) {
                client.send(puback(id)).await;
            }
        }
    }
    client.expect_nothing().await;
}

versions!(a_replay_stops_when_its_client_unsubscribes: V3_1_1, V5);
// [MQTT-3.10.4-2] [MQTT-3.10.4-2 @3.1.1] What is on its way may come; the rest of a long replay does not.
async fn a_replay_stops_when_its_client_unsubscribes(version: Version) {
    const NAMES: usize = 3_000;
    let server = Server::with(|config| config.limits.replay_bytes_ahead = 4_096).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for number in 0..NAMES {
        publisher.publish(publish(&format!("a/{number}"), vec![b'x'; 4_000]).retain()).await;
    }
    publisher.ping().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a/+", QOS0).await;
    client.send(unsubscribe(2, &["a/+"])).await;
    let mut received = 0;
    let deadline = Instant::now() + Duration::from_secs(4);
    loop {
        assert!(Instant::now() < deadline);
        match client.receive().await {
            Packet::Publish(_) => received += 1,
            Packet::UnsubAck(_) => break,
            other => panic!("{other:?}"),
        }
    }
    received += client.take_packets_for(SILENCE).await.len();
    assert!(received < NAMES, "all {NAMES} came");
}

versions!(every_subscriber_ends_with_the_newest_value: V3_1_1, V5);
// [MQTT-3.8.4-4] [MQTT-3.3.1-5] [MQTT-3.8.4-3 @3.1.1] Subscribing while the topic is overwritten: no gap, no value twice, none older.
async fn every_subscriber_ends_with_the_newest_value(version: Version) {
    const VALUES: usize = 150;
    let server = Server::start().await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    publisher.publish(publish("a", "0").qos(QOS1).retain()).await;
    let publishing = tokio::spawn(async move {
        for value in 1..VALUES {
            publisher.publish(publish("a", value.to_string()).qos(QOS1).retain()).await;
        }
    });
    let mut clients = Vec::new();
    for number in 0..40 {
        let mut client = server.connect(connect(version, &format!("s{number}"))).await;
        client.subscribe("a", QOS0).await;
        clients.push(client);
        sleep_ms(2).await;
    }
    within("the publisher", publishing).await.expect("it publishes all");
    for client in &mut clients {
        let mut values = Vec::new();
        let mut retained = 0;
        for packet in client.take_packets_for(Duration::from_millis(100)).await {
            let Packet::Publish(message) = packet else {
                panic!("only messages come");
            };
            retained += usize::from(message.retain);
            values.push(text(&message.payload).parse::<usize>().expect("a number"));
        }
        assert!(retained <= 1, "{retained} messages with RETAIN 1");
        let first = *values.first().expect("at least one value");
        // Every value from the first one on, once; a replay may come after live ones, but then it is not among them.
        let mut sorted = values.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), values.len(), "a value came twice: {values:?}");
        assert_eq!(*sorted.last().expect("at least one"), VALUES - 1, "{values:?}");
        assert_eq!(*values.last().expect("at least one"), VALUES - 1, "{values:?}");
        assert_eq!(sorted, (sorted[0]..VALUES).collect::<Vec<_>>(), "a gap after {first}");
    }
}

versions!(the_retained_message_is_some_publishers_last: V3_1_1, V5);
// [MQTT-3.3.1-5] [MQTT-4.6.0-5] Several publishers of one topic: each keeps its order, for the store as for receivers.
async fn the_retained_message_is_some_publishers_last(version: Version) {
    let server = Server::start().await;
    for (topic, qos) in [("a", QOS0), ("b", QOS1)] {
        let mut watchers = Vec::new();
        for number in 0..3 {
            let mut watcher = server.connect(connect(version, &format!("w{number}"))).await;
            watcher.subscribe(topic, QOS0).await;
            watchers.push(watcher);
        }
        let mut publishing = Vec::new();
        for number in 0..4 {
            let mut publisher = server.connect(connect(version, &format!("p{number}"))).await;
            publishing.push(tokio::spawn(async move {
                for value in 0..100 {
                    let message = publish(topic, format!("{number} {value}")).qos(qos);
                    publisher.publish(message.retain()).await;
                }
                publisher.ping().await;
            }));
        }
        for publishing in publishing {
            within("a publisher", publishing).await.expect("it publishes all");
        }
        let mut late = server.connect(connect(version, "late")).await;
        late.subscribe(topic, QOS0).await;
        let Packet::Publish(retained) = late.receive().await else {
            panic!("the retained message");
        };
        assert!(text(&retained.payload).ends_with(" 99"), "{retained:?}");
        for watcher in &mut watchers {
            let values = watcher.take_messages_for(SILENCE).await;
            assert_eq!(
                values.last(),
                Some(&text(&retained.payload)),
                "{qos:?}: what is kept came last"
            );
            for publisher in 0..4 {
                let own = |value: &&String| value.starts_with(&publisher.to_string());
                let values: Vec<_> = values.iter().filter(own).cloned().collect();
                let expected: Vec<_> =
                    (0..100).map(|value| format!("{publisher} {value}")).collect();
                assert_eq!(values, expected, "{qos:?}");
            }
        }
        for client in watchers.into_iter().chain([late]) {
            server.lose(client).await;
        }
    }
}

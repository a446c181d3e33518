//! A queue that is full: the three policies, and what a reader that is too slow costs.

use std::time::Duration;

use crate::support::*;

versions!(drop_new_keeps_the_oldest: V3_1, V3_1_1, V5);
// [MQTT-4.5.0-1] As far as the operator's bound lets it.
async fn drop_new_keeps_the_oldest(version: Version) {
    let server = Server::with(|config| config.limits.queue_messages_max = 3).await;
    server.leave_absent_subscriber(version).await;
    for number in 1..=5 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let mut client = server.absent_subscriber_returns(version).await;
    for number in 1..=3 {
        client.expect_and_acknowledge(publish("a", number.to_string()).qos(QOS1)).await;
    }
    client.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::QueueMessages), 2);
    server.publish(publish("a", "6").qos(QOS1)).await;
    client.expect_and_acknowledge(publish("a", "6").qos(QOS1)).await;
}

versions!(drop_oldest_keeps_the_newest: V3_1, V3_1_1, V5);
// [MQTT-4.5.0-1] As far as the operator's bound lets it.
async fn drop_oldest_keeps_the_newest(version: Version) {
    let server = Server::with(|config| {
        config.limits.queue_messages_max = 3;
        config.limits.overflow = Overflow::DropOldest;
    })
    .await;
    server.leave_absent_subscriber(version).await;
    for number in 1..=5 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let mut client = server.absent_subscriber_returns(version).await;
    for number in 3..=5 {
        client.expect_and_acknowledge(publish("a", number.to_string()).qos(QOS1)).await;
    }
    client.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::QueueMessages), 2);
}

versions!(drop_oldest_never_drops_what_was_sent: V3_1_1, V5);
// [MQTT-4.3.3-7] [MQTT-4.4.0-1]
async fn drop_oldest_never_drops_what_was_sent(version: Version) {
    let server = Server::with(|config| {
        config.limits.queue_messages_max = 3;
        config.limits.inflight_max = 2;
        config.limits.overflow = Overflow::DropOldest;
    })
    .await;
    let mut client = server.connect(connect(version, "absent").kept()).await;
    client.subscribe("a", QOS1).await;
    server.publish(publish("a", "1").qos(QOS1)).await;
    let one = client.expect_message(publish("a", "1").qos(QOS1)).await;
    server.publish(publish("a", "2").qos(QOS1)).await;
    let two = client.expect_message(publish("a", "2").qos(QOS1)).await;
    for number in 3..=6 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    client.send(puback(one)).await;
    client.send(puback(two)).await;
    client.expect_and_acknowledge(publish("a", "6").qos(QOS1)).await;
    client.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::QueueMessages), 3);
}

versions!(disconnect_ends_the_connection_of_a_client_that_falls_behind: V3_1, V3_1_1, V5);
// [MQTT-4.13.2-1] 0x97; the session stays.
async fn disconnect_ends_the_connection_of_a_client_that_falls_behind(version: Version) {
    let server = Server::with(|config| {
        config.limits.queue_messages_max = 3;
        config.limits.overflow = Overflow::Disconnect;
    })
    .await;
    let mut client = server.connect(connect(version, "absent").kept()).await;
    client.subscribe("a", QOS1).await;
    for number in 1..=3 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
        client.expect_message(publish("a", number.to_string()).qos(QOS1)).await;
    }
    client.ping().await;
    server.publish(publish("a", "4").qos(QOS1)).await;
    client.expect_end(ReasonCode::QuotaExceeded).await;
    drop(client);
    server.counts_ended(EndReason::QueueOverflow, 1).await;
    let mut client = server.absent_subscriber_returns(version).await;
    for number in 1..=3 {
        let Packet::Publish(message) = client.receive().await else {
            panic!("{number} is missing");
        };
        assert_eq!((text(&message.payload), message.dup), (number.to_string(), true));
    }
    client.expect_nothing().await;
}

versions!(disconnect_drops_the_new_message_of_an_absent_client: V3_1_1, V5);
// [MQTT-4.1.0-1] There is no connection to end, and the session stays.
async fn disconnect_drops_the_new_message_of_an_absent_client(version: Version) {
    let server = Server::with(|config| {
        config.limits.queue_messages_max = 2;
        config.limits.overflow = Overflow::Disconnect;
    })
    .await;
    server.leave_absent_subscriber(version).await;
    for number in 1..=4 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let mut client = server.absent_subscriber_returns(version).await;
    for number in 1..=2 {
        client.expect_and_acknowledge(publish("a", number.to_string()).qos(QOS1)).await;
    }
    client.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::QueueMessages), 2);
}

versions!(queues_are_bounded_in_bytes_too: V3_1_1, V5);
// [MQTT-4.5.0-1] As far as the operator's bound lets it.
async fn queues_are_bounded_in_bytes_too(version: Version) {
    for (overflow, kept) in [(Overflow::DropNew, ["1", "2"]), (Overflow::DropOldest, ["3", "4"])] {
        let server = Server::with(|config| {
            config.limits.queue_bytes_max = 25_000;
            config.limits.overflow = overflow;
        })
        .await;
        server.leave_absent_subscriber(version).await;
        for number in ["1", "2", "3", "4"] {
            server.publish(publish("a", number.repeat(10_000)).qos(QOS1)).await;
        }
        let mut client = server.absent_subscriber_returns(version).await;
        for number in kept {
            client.expect_and_acknowledge(publish("a", number.repeat(10_000)).qos(QOS1)).await;
        }
        client.expect_nothing().await;
        assert_eq!(server.dropped(DropReason::QueueBytes), 2);
    }
}

versions!(a_client_that_reads_nothing_costs_its_own_qos_0_messages: V3_1_1, V5);
// [MQTT-4.3.1-1] QoS 0 may be lost; memory may not.
async fn a_client_that_reads_nothing_costs_its_own_qos_0_messages(version: Version) {
    const MESSAGES: usize = 400;
    let server =
        Server::with(|config| config.limits.publisher_slow_max = Duration::from_millis(100)).await;
    let mut stuck = server.connect(connect(version, "stuck")).await;
    stuck.subscribe("a", QOS0).await;
    let mut reader = server.connect(connect(version, "reader")).await;
    reader.subscribe("a", QOS0).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    let publishing = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let mut payload = vec![b'x'; 100_000];
            payload[..4].copy_from_slice(format!("{number:04}").as_bytes());
            publisher.send(publish("a", payload)).await;
        }
        publisher.ping().await;
    });
    let mut received = Vec::new();
    while let Some(packet) = reader.receive_within(Duration::from_secs(1)).await {
        let Packet::Publish(message) = packet else {
            panic!("only messages come");
        };
        received.push(text(&message.payload[..4]));
    }
    // All of them, where the machine gives the reader its turn in time.
    assert!(received.is_sorted() && received.len() > MESSAGES / 2, "{received:?}");
    within("the publisher", publishing).await.expect("it publishes all");
    eventually("drops for the slow reader", || server.dropped(DropReason::SlowReader) > 0).await;
}

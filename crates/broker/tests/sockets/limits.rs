//! Every other bound: what happens at it, what the client is told, and what is counted.

use std::time::{Duration, Instant};

use crate::support::*;

// ---- Connections ----

versions!(connections_max_refuses_one_more: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2]
async fn connections_max_refuses_one_more(version: Version) {
    let server = Server::with(|config| config.limits.connections_max = Some(2)).await;
    let mut one = server.connect(connect(version, "one")).await;
    let mut two = server.connect(connect(version, "two")).await;
    let mut three = server.dial(version).await;
    let _ = three.try_send(connect(version, "three")).await;
    three.expect_refusal_or_end().await;
    one.ping().await;
    two.ping().await;
    eventually("the refusal to be counted", || server.metrics().connections_refused >= 1).await;
    server.disconnect(one).await;
    eventually("the place to be free", || server.metrics().connections_open == 1).await;
    let mut four = server.connect(connect(version, "four")).await;
    four.ping().await;
}

versions!(a_listener_has_its_own_connections_max: V3_1_1, V5);
// [MQTT-3.1.4-2]
async fn a_listener_has_its_own_connections_max(version: Version) {
    let server = Server::with(|config| config.listeners[0].connections_max = Some(1)).await;
    let mut one = server.connect(connect(version, "one")).await;
    let mut two = server.dial(version).await;
    let _ = two.try_send(connect(version, "two")).await;
    two.expect_refusal_or_end().await;
    one.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.4-1] (3.1) A client that does not say CONNECT in reasonable time is closed.
async fn the_connect_deadline_closes_who_says_nothing() {
    let server =
        Server::with(|config| config.limits.connect_deadline = Duration::from_millis(300)).await;
    let opened = Instant::now();
    let mut silent = server.dial(Version::V5).await;
    let mut half = server.dial(Version::V5).await;
    let bytes = half.encoded(connect(Version::V5, "s"));
    half.send_bytes(&bytes[..bytes.len() - 1]).await;
    let mut connected = server.connect(connect(Version::V5, "t")).await;
    silent.expect_closed().await;
    half.expect_closed().await;
    assert_elapsed(opened, 290, 1_500);
    connected.ping().await;
    server.counts_ended(EndReason::ConnectTimeout, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.4-1] Who has not completed CONNECT waits in the kernel's backlog at most.
async fn handshakes_max_holds_back_further_handshakes() {
    let server = Server::with(|config| {
        config.listeners[0].handshakes_max = 2;
        config.limits.connect_deadline = Duration::from_millis(700);
    })
    .await;
    let opened = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(server.dial(Version::V5).await);
    }
    sleep_ms(50).await;
    // Its turn comes when the silent ones have had theirs.
    let mut client = server.connect(connect(Version::V5, "s")).await;
    assert_elapsed(opened, 600, 3_000);
    client.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.2-24] A peer that takes nothing while bytes wait is given up.
async fn a_stalled_reader_is_closed() {
    let server =
        Server::with(|config| config.limits.write_stall_max = Duration::from_millis(500)).await;
    let mut stuck = server.connect(connect(Version::V5, "stuck")).await;
    stuck.subscribe("a", QOS0).await;
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    for _ in 0..30 {
        publisher.send(publish("a", vec![0; 1 << 20])).await;
    }
    server.counts_ended(EndReason::WriteStalled, 1).await;
    publisher.ping().await;
}

versions!(client_ids_longer_than_the_limit_are_refused: V3_1, V3_1_1, V5);
// [MQTT-3.1.3-8] [MQTT-3.1.3-9 @3.1.1] 0x85; 2 in 3.x.
async fn client_ids_longer_than_the_limit_are_refused(version: Version) {
    let server = Server::with(|config| config.limits.client_id_bytes_max = 30).await;
    let mut client = server.connect(connect(version, &"i".repeat(30))).await;
    client.ping().await;
    server.refused(connect(version, &"i".repeat(31)), ReasonCode::ClientIdentifierNotValid).await;
}

versions!(sessions_max_refuses_one_more: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x97; "server unavailable" in 3.x. Who has a session comes back to it.
async fn sessions_max_refuses_one_more(version: Version) {
    let server = Server::with(|config| config.limits.sessions_max = 2).await;
    let one = server.connect(connect(version, "one").kept()).await;
    server.disconnect(one).await;
    let mut two = server.connect(connect(version, "two")).await;
    server.refused(connect(version, "three"), ReasonCode::QuotaExceeded).await;
    let one = server.connect(connect(version, "one").kept()).await;
    one.assert_session_present(true);
    two.ping().await;
    server.disconnect(two).await;
    let mut three = server.connect(connect(version, "three")).await;
    three.ping().await;
}

// ---- Subscriptions ----

versions!(subscriptions_max_refuses_one_more: V3_1_1, V5);
// [MQTT-3.9.3-2] 0x97; 0x80 in 3.1.1.
async fn subscriptions_max_refuses_one_more(version: Version) {
    let server = Server::with(|config| config.limits.subscriptions_max = 2).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(subscribe(1, &[("a", QOS1), ("b", QOS1), ("c", QOS1), ("a", QOS2)])).await;
    client
        .expect(suback(
            1,
            &[
                ReasonCode::GrantedQos1,
                ReasonCode::GrantedQos1,
                ReasonCode::QuotaExceeded,
                ReasonCode::GrantedQos2,
            ],
        ))
        .await;
    server.publish(publish("c", "x").qos(QOS1)).await;
    client.expect_nothing().await;
    client.unsubscribe("b").await;
    client.subscribe("c", QOS1).await;
    server.publish(publish("c", "x").qos(QOS1)).await;
    client.expect_message(publish("c", "x").qos(QOS1)).await;
}

// ---- Retained ----

versions!(retained_messages_max_keeps_what_is_there: V3_1_1, V5);
// [MQTT-3.3.1-5] As far as the operator's bound lets it. 0x97, and the message is delivered all the same.
async fn retained_messages_max_keeps_what_is_there(version: Version) {
    let server = Server::with(|config| {
        config.limits.retained_messages_max = 2;
        config.sys.interval = None;
    })
    .await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for topic in ["a/1", "a/2"] {
        publisher.publish(publish(topic, "x").qos(QOS1).retain()).await;
    }
    publisher.send(publish("a/3", "x").qos(QOS1).id(9).retain()).await;
    publisher.expect(puback(9).code(ReasonCode::QuotaExceeded)).await;
    // Another value of a topic that has one takes its place.
    publisher.publish(publish("a/2", "y").qos(QOS1).retain()).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a/+", QOS0).await;
    client.expect_both(publish("a/1", "x").retain(), publish("a/2", "y").retain()).await;
    client.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::RetainedFull), 1);
    publisher.publish(publish("a/1", "").qos(QOS1).retain()).await;
    publisher.publish(publish("a/3", "x").qos(QOS1).retain()).await;
    assert_eq!(server.metrics().retained_messages, 2);
}

versions!(retained_bytes_max_keeps_what_is_there: V3_1_1, V5);
// [MQTT-3.3.1-5] As far as the operator's bound lets it.
async fn retained_bytes_max_keeps_what_is_there(version: Version) {
    let server = Server::with(|config| {
        config.limits.retained_bytes_max = Some(25_000);
        config.sys.interval = None;
    })
    .await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for topic in ["a/1", "a/2"] {
        publisher.publish(publish(topic, vec![b'x'; 10_000]).qos(QOS1).retain()).await;
    }
    publisher.send(publish("a/3", vec![b'x'; 10_000]).qos(QOS1).id(9).retain()).await;
    publisher.expect(puback(9).code(ReasonCode::QuotaExceeded)).await;
    assert_eq!(server.metrics().retained_messages, 2);
    assert_eq!(server.dropped(DropReason::RetainedFull), 1);
}

// ---- Shared groups ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) Bounded like any queue.
async fn the_queue_of_a_shared_group_is_bounded() {
    for by_bytes in [false, true] {
        let server = Server::with(|config| {
            if by_bytes {
                config.limits.shared_group_queue_bytes_max = 35_000;
            } else {
                config.limits.shared_group_queue_messages_max = 3;
            }
        })
        .await;
        let packet = || connect(Version::V5, "m").kept().receive_maximum(1);
        let mut member = server.connect(packet()).await;
        member.subscribe("$share/g/a", QOS1).await;
        let payload = |number: usize| number.to_string().repeat(10_000);
        server.publish(publish("a", payload(0)).qos(QOS1)).await;
        let mut id = member.expect_message(publish("a", payload(0)).qos(QOS1)).await;
        for number in 1..=6 {
            server.publish(publish("a", payload(number)).qos(QOS1)).await;
        }
        for number in 1..=3 {
            member.send(puback(id)).await;
            id = member.expect_message(publish("a", payload(number)).qos(QOS1)).await;
        }
        member.send(puback(id)).await;
        member.expect_nothing().await;
        assert_eq!(server.dropped(DropReason::GroupQueue), 3);
    }
}

// ---- Aliases ----

versions!(aliases_are_bounded_in_bytes: V5);
// (3.3.2.3.4) Inbound 0x97; outbound the topic is sent in full.
async fn aliases_are_bounded_in_bytes(version: Version) {
    let server = Server::with(|config| config.limits.alias_bytes_max = 1_000).await;
    let mut watcher = server.connect(connect(version, "watcher").alias_maximum(10)).await;
    watcher.subscribe("#", QOS0).await;
    let mut client = server.connect(connect(version, "s")).await;
    for alias in 1..=3 {
        let topic = alias.to_string().repeat(300);
        client.send(publish(&topic, "x").alias(alias)).await;
        assert_eq!(watcher.aliased_publish().await, (topic, "x".into()));
    }
    client.send(publish(&"4".repeat(300), "x").alias(4)).await;
    client.expect_end(ReasonCode::QuotaExceeded).await;
    for number in 5..=8 {
        let topic = number.to_string().repeat(300);
        for _ in 0..2 {
            server.publish(publish(&topic, "x")).await;
            assert_eq!(watcher.aliased_publish().await, (topic.clone(), "x".into()));
        }
    }
    assert!(watcher.alias_bytes() <= 1_000);
}

// ---- Memory and the store's queue ----

versions!(the_memory_budget_sheds_load_in_its_order: V3_1_1, V5);
// [MQTT-4.5.0-1] As far as the operator's bound lets it: no new connections, then no QoS 0, then 0x97 for QoS 1 and 2.
async fn the_memory_budget_sheds_load_in_its_order(version: Version) {
    let server = Server::with(|config| {
        config.limits.memory_bytes_max = Some(4 << 20);
        config.sys.interval = None;
    })
    .await;
    server.leave_absent_subscriber(version).await;
    let mut reader = server.connect(connect(version, "reader")).await;
    reader.subscribe("live", QOS0).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    let mut other = server.connect(connect(version, "other")).await;
    let mut taken = 0;
    let refusal = loop {
        let message = publish("a", vec![b'x'; 10_000]).qos(QOS1).id(1);
        // The one that is refused may close the connection on the way.
        let _ = publisher.try_send(message).await;
        match publisher.next_packet().await {
            Some(packet) if accepts(&packet) => taken += 1,
            refusal => break refusal,
        }
        assert!(taken < 1_000, "more than the budget was taken");
    };
    assert!((300..=450).contains(&taken), "{taken} messages of 10 kB in 4 MiB");
    // What is not kept is not acknowledged: 3.x has no other way to say so than to close. [MQTT-4.8.0-2 @3.1.1]
    let expected =
        (version == Version::V5).then(|| puback(1).code(ReasonCode::QuotaExceeded).into_packet());
    assert_eq!(refusal, expected);
    assert!(server.dropped(DropReason::MemoryBudget) >= 1);

    server.refused(connect(version, "one more"), ReasonCode::QuotaExceeded).await;
    let before = server.dropped(DropReason::MemoryBudget);
    other.send(publish("live", "x")).await;
    other.ping().await;
    reader.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::MemoryBudget), before + 1);
}

versions!(a_full_commit_queue_makes_publishers_wait: V3_1_1, V5);
// [MQTT-4.3.2-4] Nothing is refused, and nothing is lost.
async fn a_full_commit_queue_makes_publishers_wait(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, |config| {
        config.limits.commit_queue_messages_max = 4;
        config.limits.commit_batch_bytes_max = 1_000;
    })
    .await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("a", QOS1).await;
    let mut publishers = Vec::new();
    for number in 0..10 {
        publishers.push(server.connect(connect(version, &format!("p{number}"))).await);
    }
    disk.faults().hold();
    for publisher in &mut publishers {
        for id in 1..=10 {
            publisher.send(publish("a", "x".repeat(500)).qos(QOS1).id(id)).await;
        }
    }
    for publisher in &mut publishers {
        publisher.expect_nothing_for(Duration::from_millis(20)).await;
    }
    disk.faults().release();
    for publisher in &mut publishers {
        for id in 1..=10 {
            publisher.expect(puback(id)).await;
        }
    }
    assert_eq!(durable.take_messages(100).await.len(), 100);
    durable.expect_nothing().await;
}

// ---- Nothing is left behind ----

versions!(what_is_over_costs_nothing: V3_1_1, V5);
// [MQTT-4.1.0-2] Every gauge returns to where it began.
async fn what_is_over_costs_nothing(version: Version) {
    let server = Server::with(|config| config.sys.interval = None).await;
    let before = server.metrics();
    for round in 0..3 {
        let mut clients = Vec::new();
        for number in 0..5 {
            let mut client = server.connect(connect(version, &format!("c{number}")).kept()).await;
            client.subscribe("a/#", QOS2).await;
            client.subscribe("$share/g/a/#", QOS1).await;
            clients.push(client);
        }
        let mut publisher = server.connect(connect(version, "publisher")).await;
        for number in 0..20 {
            for qos in [QOS0, QOS1, QOS2] {
                let payload = vec![b'x'; number * 100];
                publisher.publish(publish(&format!("a/{number}"), payload).qos(qos)).await;
            }
            publisher.publish(publish(&format!("a/{number}"), "kept").qos(QOS1).retain()).await;
        }
        for (number, client) in clients.into_iter().enumerate() {
            match (round + number) % 3 {
                0 => client.end_session().await,
                _ => server.lose(client).await,
            }
        }
        for number in 0..20 {
            publisher.publish(publish(&format!("a/{number}"), "").qos(QOS1).retain()).await;
        }
        server.disconnect(publisher).await;
        for number in 0..5 {
            let client = server.connect(connect(version, &format!("c{number}")).clean(true)).await;
            server.disconnect(client).await;
        }
    }
    let gauges = |metrics: &dunlin_broker::Metrics| {
        [
            ("clients connected", metrics.clients_connected),
            ("sessions parked", metrics.sessions_parked),
            ("subscriptions", metrics.subscriptions),
            ("shared subscriptions", metrics.subscriptions_shared),
            ("retained messages", metrics.retained_messages),
            ("retained bytes", metrics.retained_bytes),
            ("queued messages", metrics.queued_messages),
            ("queued bytes", metrics.queued_bytes),
        ]
    };
    eventually("the gauges to return", || gauges(&server.metrics()) == gauges(&before)).await;
}

//! What is there after a restart or a crash, and what becomes of a store that fails.

use crate::support::*;

// ---- Restart ----

versions!(a_restart_restores_sessions_queues_and_retained_messages: V3_1, V3_1_1, V5);
// [MQTT-4.1.0-1] [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-3.3.1-5] [MQTT-4.1.0-1 @3.1.1] [MQTT-4.4.0-1 @3.1.1] [MQTT-3.1.2-7 @3.1.1]
async fn a_restart_restores_sessions_queues_and_retained_messages(version: Version) {
    for crash in [false, true] {
        let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
        server.publish(publish("retained", "kept").qos(QOS1).retain()).await;
        let sent = [("1", QOS1), ("2", QOS2), ("3", QOS2), ("4", QOS1)];
        let mut ids = Vec::new();
        for (payload, qos) in sent {
            server.publish(publish("a", payload).qos(qos)).await;
            ids.push(durable.expect_message(publish("a", payload).qos(qos)).await);
        }
        durable.send(pubrec(ids[1])).await;
        durable.expect(pubrel(ids[1])).await;
        server.lose(durable).await;
        server.publish(publish("a", "5").qos(QOS1)).await;
        let image = disk.image();
        server.shutdown().await;

        let server = Server::on(if crash { &image } else { &disk }).await;
        // Routes are there before the listener opens.
        server.publish(publish("a", "6").qos(QOS2)).await;
        let mut durable = server.connect(connect(version, "durable").kept()).await;
        durable.assert_session_present(true);
        let (released, messages) = durable.receive_resent(6).await;
        assert_eq!(released, [ids[1]]);
        assert_eq!(messages[0], publish("a", "1").qos(QOS1).id(ids[0]).dup());
        assert_eq!(messages[1], publish("a", "3").qos(QOS2).id(ids[2]).dup());
        assert_eq!(messages[2], publish("a", "4").qos(QOS1).id(ids[3]).dup());
        for (message, payload) in messages[3..].iter().zip(["5", "6"]) {
            assert_eq!(message.payload, payload);
            assert!(!ids.contains(&message.id_number()), "{message:?}");
        }
        durable.subscribe("retained", QOS1).await;
        durable.expect_message(publish("retained", "kept").qos(QOS1).retain()).await;
        server.shutdown().await;
    }
}

versions!(a_restart_keeps_subscription_options_and_identifiers: V5);
// [MQTT-3.8.4-3] [MQTT-3.3.4-3] [MQTT-3.8.3-3] [MQTT-3.3.1-13]
async fn a_restart_keeps_subscription_options_and_identifiers(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe_as(Some(5), "a", options(QOS1).keeping_retain()).await;
    client.subscribe_as(None, "b", options(QOS2).no_local()).await;
    client.subscribe_as(Some(6), "$share/g/c", options(QOS1)).await;
    server.lose(client).await;
    server.shutdown().await;

    let server = Server::on(&disk).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    server.publish(publish("a", "x").qos(QOS2).retain()).await;
    client
        .expect_and_acknowledge(publish("a", "x").qos(QOS1).retain().subscription_ids(&[5]))
        .await;
    client.publish(publish("b", "own").qos(QOS1)).await;
    client.expect_nothing().await;
    server.publish(publish("b", "other").qos(QOS2)).await;
    client.expect_and_acknowledge(publish("b", "other").qos(QOS2)).await;
    server.publish(publish("c", "shared").qos(QOS1)).await;
    client.expect_and_acknowledge(publish("c", "shared").qos(QOS1).subscription_ids(&[6])).await;
}

versions!(a_restart_brings_back_nothing_that_was_done: V3_1_1, V5);
// [MQTT-4.3.2-3] [MQTT-3.1.2-4] [MQTT-3.3.1-6] Acknowledged messages, ended sessions and cleared topics stay away.
async fn a_restart_brings_back_nothing_that_was_done(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    server.publish(publish("a", "1").qos(QOS1)).await;
    durable.expect_and_acknowledge(publish("a", "1").qos(QOS1)).await;
    server.publish(publish("a", "2").qos(QOS2)).await;
    durable.expect_and_acknowledge(publish("a", "2").qos(QOS2)).await;
    durable.ping().await;
    server.disconnect(durable).await;
    let ended = server.connect(connect(version, "ended").kept()).await;
    server.disconnect(ended).await;
    let ended = server.connect(connect(version, "ended").clean(true)).await;
    server.disconnect(ended).await;
    server.publish(publish("r", "old").qos(QOS1).retain()).await;
    server.publish(publish("r", "").qos(QOS1).retain()).await;
    server.shutdown().await;

    let server = Server::on(&disk).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    durable.expect_nothing().await;
    durable.subscribe("r", QOS1).await;
    durable.expect_nothing().await;
    let ended = server.connect(connect(version, "ended").kept()).await;
    ended.assert_session_present(false);
}

versions!(downtime_counts_for_the_session_expiry: V5);
// [MQTT-4.1.0-2]
async fn downtime_counts_for_the_session_expiry(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    for (id, expiry) in [("short", 1), ("long", 100)] {
        let client = server.connect(connect(version, id).clean(false).expiry(expiry)).await;
        server.lose(client).await;
    }
    server.shutdown().await;
    sleep_ms(1_300).await;
    let server = Server::on(&disk).await;
    let short = server.connect(connect(version, "short").clean(false)).await;
    short.assert_session_present(false);
    let long = server.connect(connect(version, "long").clean(false)).await;
    long.assert_session_present(true);
}

versions!(downtime_counts_for_the_message_expiry: V5);
// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
async fn downtime_counts_for_the_message_expiry(version: Version) {
    let (disk, server, durable) = Server::with_durable_subscriber(version).await;
    server.lose(durable).await;
    server.publish(publish("a", "short").qos(QOS1).expires(1)).await;
    server.publish(publish("a", "long").qos(QOS1).expires(100)).await;
    server.publish(publish("r/short", "x").qos(QOS1).expires(1).retain()).await;
    server.publish(publish("r/long", "x").qos(QOS1).expires(100).retain()).await;
    server.shutdown().await;
    sleep_ms(1_300).await;
    let server = Server::on(&disk).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    let remaining = durable.expect_expiring(publish("a", "long").qos(QOS1)).await;
    assert!((90..=99).contains(&remaining), "{remaining}");
    durable.subscribe("r/+", QOS0).await;
    let remaining = durable.expect_expiring(publish("r/long", "x").retain()).await;
    assert!((90..=99).contains(&remaining), "{remaining}");
    durable.expect_nothing().await;
}

// ---- Shared groups ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.3.2-4] (4.8.2) A group with a durable member is durable; what is handed over is there once.
async fn a_shared_group_with_a_durable_member_keeps_its_messages() {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    member.subscribe("$share/g/a", QOS1).await;
    server.lose(member).await;
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    disk.faults().hold();
    publisher.send(publish("a", "1").qos(QOS1).id(1)).await;
    publisher.expect_nothing().await;
    disk.faults().release();
    publisher.expect(puback(1)).await;
    let after_crash = Server::on(&disk.image()).await;
    let mut member = after_crash.connect(connect(Version::V5, "m").kept()).await;
    member.assert_session_present(true);
    member.expect_and_acknowledge(publish("a", "1").qos(QOS1)).await;
    member.expect_nothing().await;
}

// ---- A store that fails ----

versions!(a_full_store_refuses_what_it_cannot_keep: V3_1_1, V5);
// [MQTT-4.3.2-4] 0x97, or the end in 3.x; nothing of the message stays. [MQTT-4.8.0-2 @3.1.1]
async fn a_full_store_refuses_what_it_cannot_keep(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().fail_next(Failure::Full);
    publisher.send(publish("a", "lost").qos(QOS1).id(1)).await;
    match version {
        Version::V5 => publisher.expect(puback(1).code(ReasonCode::QuotaExceeded)).await,
        Version::V3_1 | Version::V3_1_1 => {
            publisher.expect_closed().await;
            publisher = server.connect(connect(version, "publisher")).await;
        }
    }
    durable.expect_nothing().await;
    // It goes on once there is room.
    publisher.publish(publish("a", "kept").qos(QOS1)).await;
    durable.expect_message(publish("a", "kept").qos(QOS1)).await;
    assert_eq!(server.metrics().store_failures, 1);
}

versions!(a_broken_store_acknowledges_nothing_more: V3_1_1, V5);
// [MQTT-4.3.2-4] An error of the disk is fatal for the store.
async fn a_broken_store_acknowledges_nothing_more(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().fail_next(Failure::Io);
    for id in 1..=2 {
        if publisher.try_send(publish("a", "x").qos(QOS1).id(id)).await.is_err() {
            break;
        }
    }
    for packet in publisher.take_packets_for(SILENCE).await {
        assert!(!accepts(&packet), "{packet:?}");
    }
    for packet in durable.take_packets_for(SILENCE).await {
        assert!(!matches!(packet, Packet::Publish(_)), "{packet:?}");
    }
}

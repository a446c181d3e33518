//! What is there after a restart or a crash, and what becomes of a store that fails.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dunlin_codec::ClientId;
use dunlin_store::{
    Batch, Change, MessageId, NamespaceNo, Publication, SessionKey, SessionNo, SessionRecord,
    Store, Target, UnixMillis,
};

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

versions!(a_client_that_was_connected_at_a_crash_counts_as_leaving_at_the_start: V5);
// [MQTT-4.1.0-1] [MQTT-4.1.0-2] The downtime is not its fault.
async fn a_client_that_was_connected_at_a_crash_counts_as_leaving_at_the_start(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let _client = server.connect(connect(version, "s").clean(false).expiry(1)).await;
    let image = disk.image();
    sleep_ms(1_300).await;
    let server = Server::on(&image).await;
    let client = server.connect(connect(version, "s").clean(false).expiry(1)).await;
    client.assert_session_present(true);
    server.lose(client).await;
    sleep_ms(1_300).await;
    let client = server.connect(connect(version, "s").clean(false)).await;
    client.assert_session_present(false);
}

versions!(an_expiry_changed_by_disconnect_survives_a_restart: V5);
// [MQTT-3.14.2-2] [MQTT-4.1.0-2]
async fn an_expiry_changed_by_disconnect_survives_a_restart(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    for (id, expiry) in [("ended", 0), ("short", 1), ("long", 100)] {
        let mut client = server.connect(connect(version, id).clean(false).expiry(50)).await;
        let mut packet = disconnect(ReasonCode::Success);
        packet.session_expiry_interval = Some(expiry);
        client.send(packet).await;
        client.expect_closed().await;
    }
    server.shutdown().await;
    sleep_ms(1_300).await;
    let server = Server::on(&disk).await;
    for (id, present) in [("ended", false), ("short", false), ("long", true)] {
        let client = server.connect(connect(version, id).clean(false)).await;
        assert_eq!(client.connack().session_present, present, "{id}");
    }
}

versions!(the_will_of_a_session_without_expiry_survives_a_crash: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.2-8 @3.1.1] Its connection is over, and nobody said goodbye. It goes out once.
async fn the_will_of_a_session_without_expiry_survives_a_crash(version: Version) {
    let (disk, server, durable) = Server::with_durable_subscriber(version).await;
    server.lose(durable).await;
    let packet = connect(version, "s").will(will("a", "gone").qos(QOS1).retain());
    let _client = server.connect(packet).await;
    let disconnected = connect(version, "t").will(will("a", "never").qos(QOS1));
    let disconnected = server.connect(disconnected).await;
    let commits = disk.faults().commits();
    server.disconnect(disconnected).await;
    // Nothing answers DISCONNECT, so nothing waits for the store.
    eventually("the end to be stored", || disk.faults().commits() > commits).await;

    let image = disk.image();
    let server = Server::on(&image).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    assert_eq!(durable.take_messages_for(SILENCE).await, ["gone"]);
    server.shutdown().await;
    let server = Server::on(&image).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    durable.expect_nothing().await;
    durable.subscribe("a", QOS0).await;
    durable.expect(publish("a", "gone").retain()).await;
}

versions!(a_long_queue_survives_restarts_in_its_order: V3_1_1, V5);
// [MQTT-4.6.0-1] [MQTT-4.6.0-5] [MQTT-4.4.0-1] [MQTT-4.6.0-6 @3.1.1] Nothing is missing; only what was not acknowledged is repeated.
async fn a_long_queue_survives_restarts_in_its_order(version: Version) {
    const MESSAGES: usize = 3_000;
    let (disk, mut server, durable) = Server::with_durable_subscriber(version).await;
    server.lose(durable).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for thousand in 0..MESSAGES / 1_000 {
        let mut bytes = Vec::new();
        for number in 0..1_000_u16 {
            let payload = (thousand * 1_000 + usize::from(number)).to_string();
            bytes.extend(publisher.encoded(publish("a", payload).qos(QOS1).id(number + 1)));
        }
        publisher.send_bytes(&bytes).await;
        publisher.receive_some(1_000).await;
    }
    server.lose(publisher).await;
    let mut received = Vec::new();
    for round in 0..3 {
        let image = disk.image();
        server.shutdown().await;
        server = Server::on(if round == 1 { &image } else { &disk }).await;
        let mut durable = server.connect(connect(version, "durable").kept()).await;
        durable.assert_session_present(true);
        if round == 1 {
            // After the crash: what is there is in order, and is left for the next round.
            let Packet::Publish(first) = durable.receive().await else {
                panic!("a message");
            };
            assert!(text(&first.payload).parse::<usize>().expect("a number") <= received.len());
            server.shutdown().await;
            server = Server::on(&disk).await;
            durable = server.connect(connect(version, "durable").kept()).await;
        }
        received.extend(durable.take_messages(1_000).await);
        durable.ping_among_messages().await;
        server.lose(durable).await;
    }
    let expected: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(received, expected);
}

versions!(downtime_counts_for_the_message_expiry: V5);
// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
async fn downtime_counts_for_the_message_expiry(version: Version) {
    let (disk, server, durable) = Server::with_durable_subscriber(version).await;
    server.lose(durable).await;
    // What was published in the very millisecond of the loss may have been sent.
    sleep_ms(20).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.1.0-2] [MQTT-3.3.2-5] What the store saw last is no later than now, whatever the clock says: the time down is zero.
async fn a_clock_that_was_set_back_counts_from_the_newest_time_in_the_store() {
    let newest = UnixMillis::from(SystemTime::now()).after(Duration::from_secs(3_600));
    let at = |secs: u64| UnixMillis(newest.0 - secs * 1_000);
    let mut disk = MemoryStore::new();
    let mut batch = Batch::new(MessageId::FIRST);
    for (number, id, expiry_secs, left) in [(1, "over", 2, 3), (2, "there", 10, 3)] {
        batch.push(Change::SessionOpened {
            session: SessionNo(number),
            namespace: NamespaceNo::DEFAULT,
            key: SessionKey::Client(ClientId::new(id).expect("a client id")),
            record: SessionRecord {
                expiry_secs,
                disconnected_at: Some(at(left)),
                ..SessionRecord::default()
            },
        });
    }
    let message = dunlin_broker::Message {
        topic: "a".try_into().expect("a topic"),
        payload: "x".into(),
        qos: QOS1,
        retain: false,
        properties: None,
    };
    let target = Target {
        session: SessionNo(2),
        seq: 1,
        qos: QOS1,
        retain: false,
        subscription_ids: Box::default(),
    };
    batch.publish(Publication {
        message: Arc::new(message),
        published_at: newest,
        expires_at: Some(newest.after(Duration::from_secs(1))),
        publisher: None,
        targets: vec![target],
    });
    Store::commit(&mut disk, &batch).expect("a commit");
    let server = Server::on(&disk).await;
    let over = server.connect(connect(Version::V5, "over").kept()).await;
    over.assert_session_present(false);
    // By the clock it would have an hour left.
    sleep_ms(1_200).await;
    let mut there = server.connect(connect(Version::V5, "there").kept()).await;
    there.assert_session_present(true);
    there.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::Expired), 1);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.8.2-4] (4.8.2) A message that one durable member handed to another is with the other alone, after a crash too.
async fn a_message_handed_over_has_one_owner_after_a_crash() {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut leaving = server.connect(connect(Version::V5, "leaving").kept()).await;
    leaving.subscribe("$share/g/a", QOS2).await;
    for (payload, qos) in [("1", QOS1), ("2", QOS2), ("3", QOS1)] {
        server.publish(publish("a", payload).qos(qos)).await;
        leaving.expect_message(publish("a", payload).qos(qos)).await;
    }
    let mut staying = server.connect(connect(Version::V5, "staying").kept()).await;
    staying.subscribe("$share/g/a", QOS2).await;
    server.lose(leaving).await;
    staying.expect_message(publish("a", "1").qos(QOS1)).await;
    staying.expect_message(publish("a", "3").qos(QOS1)).await;

    let after_crash = Server::on(&disk.image()).await;
    let mut leaving = after_crash.connect(connect(Version::V5, "leaving").kept()).await;
    leaving.assert_session_present(true);
    assert_eq!(leaving.take_messages_for(SILENCE).await, ["2"]);
    let mut staying = after_crash.connect(connect(Version::V5, "staying").kept()).await;
    staying.assert_session_present(true);
    assert_eq!(staying.take_messages_for(SILENCE).await, ["1", "3"]);
}

versions!(a_commit_that_finds_no_room_keeps_nothing: V3_1_1, V5);
// [MQTT-4.3.2-4] 0x97; before 5.0 the message is tried again until it is there. [MQTT-4.3.2-2 @3.1.1]
async fn a_commit_that_finds_no_room_keeps_nothing(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().fail_next(Failure::Full);
    publisher.send(publish("a", "first").qos(QOS1).id(1)).await;
    match version {
        Version::V5 => {
            publisher.expect(puback(1).code(ReasonCode::QuotaExceeded)).await;
            durable.expect_nothing().await;
        }
        Version::V3_1 | Version::V3_1_1 => {
            publisher.expect(puback(1)).await;
            durable.expect_message(publish("a", "first").qos(QOS1)).await;
        }
    }
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

versions!(what_was_sent_comes_with_dup_though_its_acknowledgement_was_lost: V3_1_1, V5);
// [MQTT-3.3.1-1] [MQTT-4.4.0-1] [MQTT-3.3.1-1 @3.1.1] Acknowledgements are stored late, so many may be lost together.
async fn what_was_sent_comes_with_dup_though_its_acknowledgement_was_lost(version: Version) {
    let disk = MemoryStore::new();
    let few = |config: &mut dunlin_broker::Config| config.limits.inflight_max = 5;
    let server = Server::on_with(&disk, few).await;
    server.leave_absent_subscriber(version).await;
    for number in 0..40 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let mut client = server.absent_subscriber_returns(version).await;
    disk.faults().hold();
    client.take_messages(40).await;
    let image = disk.image();
    disk.faults().release();
    let after_crash = Server::on_with(&image, few).await;
    let mut client = after_crash.absent_subscriber_returns(version).await;
    let mut again = 0;
    while let Some(packet) = client.receive_within(SILENCE).await {
        let Packet::Publish(message) = packet else {
            panic!("only messages come");
        };
        assert!(message.dup, "{message:?}");
        client.acknowledge(&message).await;
        again += 1;
    }
    assert_eq!(again, 40);
}

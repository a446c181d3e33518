//! What waits for the store and what does not.
//!
//! The store is one in memory that outlives the broker, is slow, stuck or full at command, and gives the image that a
//! crash at this moment would leave.

use std::time::{Duration, Instant};

use crate::support::*;

// ---- Messages ----

versions!(puback_and_pubrec_wait_for_the_commit: V3_1, V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.3.3-8] Ownership is taken when the message is on stable storage; the copy waits for it too.
// [MQTT-4.3.2-2 @3.1.1] [MQTT-4.3.3-2 @3.1.1]
async fn puback_and_pubrec_wait_for_the_commit(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for (qos, answer) in [(QOS1, puback(1)), (QOS2, pubrec(1))] {
        disk.faults().hold();
        publisher.send(publish("a", "x").qos(qos).id(1)).await;
        publisher.expect_nothing().await;
        durable.expect_nothing_for(Duration::from_millis(20)).await;
        disk.faults().release();
        publisher.expect(answer).await;
        durable.expect_and_acknowledge(publish("a", "x").qos(qos)).await;
    }
}

versions!(puback_takes_as_long_as_the_commit: V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.3.2-2 @3.1.1]
async fn puback_takes_as_long_as_the_commit(version: Version) {
    let (disk, server, _durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().delay(Duration::from_millis(300));
    let sent = Instant::now();
    publisher.publish(publish("a", "x").qos(QOS1)).await;
    assert_elapsed(sent, 300, 1_000);
}

versions!(an_acknowledged_message_survives_a_crash: V3_1, V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.5.0-1] [MQTT-4.3.2-2 @3.1.1] [MQTT-4.5.0-1 @3.1.1]
async fn an_acknowledged_message_survives_a_crash(version: Version) {
    let (disk, server, durable) = Server::with_durable_subscriber(version).await;
    server.lose(durable).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for number in 0..20 {
        publisher.publish(publish("a", number.to_string()).qos(QOS1)).await;
        if number % 5 != 4 {
            continue;
        }
        let after_crash = Server::on(&disk.image()).await;
        let mut durable = after_crash.connect(connect(version, "durable").kept()).await;
        durable.assert_session_present(true);
        // Whether they were sent before the crash cannot be known, so they may come with DUP.
        let expected: Vec<_> = (0..=number).map(|number| number.to_string()).collect();
        assert_eq!(durable.take_messages_for(Duration::from_millis(50)).await, expected);
    }
}

versions!(a_message_before_its_commit_is_not_sent: V3_1_1, V5);
// [MQTT-4.3.3-10] A durable session sees nothing that a crash could give another meaning.
async fn a_message_before_its_commit_is_not_sent(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    disk.faults().hold();
    let mut publisher = server.connect(connect(version, "publisher")).await;
    publisher.send(publish("a", "x").qos(QOS1).id(1)).await;
    durable.expect_nothing().await;
    durable.ping().await;
    disk.faults().release();
    durable.expect_message(publish("a", "x").qos(QOS1)).await;
}

versions!(a_retained_message_is_acknowledged_when_it_is_stored: V3_1, V3_1_1, V5);
// [MQTT-3.3.1-5] [MQTT-4.3.2-4] [MQTT-3.3.1-5 @3.1.1]
async fn a_retained_message_is_acknowledged_when_it_is_stored(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for (qos, payload) in [(QOS1, "1"), (QOS2, "2"), (QOS1, "")] {
        disk.faults().hold();
        publisher.send(publish("r", payload).qos(qos).id(1).retain()).await;
        publisher.expect_nothing().await;
        disk.faults().release();
        publisher.expect_acceptance(qos, 1).await;
        if qos == QOS2 {
            publisher.release(1).await;
        }
        let after_crash = Server::on(&disk.image()).await;
        let mut client = after_crash.connect(connect(version, "s")).await;
        client.subscribe("r", QOS2).await;
        if payload.is_empty() {
            client.expect_nothing().await;
        } else {
            client.expect_message(publish("r", payload).qos(qos).retain()).await;
        }
    }
}

// ---- What never waits ----

versions!(qos_0_never_waits: V3_1, V3_1_1, V5);
// [MQTT-4.3.1-1] Not to a durable session either.
async fn qos_0_never_waits(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().hold();
    publisher.send(publish("a", "x")).await;
    durable.expect(publish("a", "x")).await;
    // Nor behind a message that does.
    publisher.send(publish("a", "waits").qos(QOS1).id(1)).await;
    publisher.send(publish("a", "does not")).await;
    durable.expect(publish("a", "does not")).await;
    disk.faults().release();
    durable.expect_message(publish("a", "waits").qos(QOS1)).await;
}

versions!(a_session_that_ends_with_its_connection_never_waits: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-23] Nothing of it is stored, so there is nothing to wait for.
async fn a_session_that_ends_with_its_connection_never_waits(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let commits = disk.faults().commits();
    disk.faults().hold();
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a", QOS2).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for qos in [QOS0, QOS1, QOS2] {
        publisher.publish(publish("a", "x").qos(qos)).await;
        client.expect_and_acknowledge(publish("a", "x").qos(qos)).await;
        publisher.publish(publish("nobody", "x").qos(qos)).await;
    }
    client.unsubscribe("a").await;
    server.disconnect(client).await;
    disk.faults().release();
    assert_eq!(disk.faults().commits(), commits);
}

versions!(a_plain_subscriber_does_not_wait_for_a_durable_one: V3_1, V3_1_1, V5);
// [MQTT-4.3.2-4] The acknowledgement waits for both, the copy only for its own session.
async fn a_plain_subscriber_does_not_wait_for_a_durable_one(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut plain = server.connect(connect(version, "plain")).await;
    plain.subscribe("a", QOS2).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().hold();
    publisher.send(publish("a", "x").qos(QOS1).id(1)).await;
    plain.expect_and_acknowledge(publish("a", "x").qos(QOS1)).await;
    publisher.expect_nothing().await;
    durable.expect_nothing_for(Duration::from_millis(20)).await;
    disk.faults().release();
    publisher.expect(puback(1)).await;
    durable.expect_message(publish("a", "x").qos(QOS1)).await;
}

versions!(other_packets_do_not_wait_behind_a_withheld_acknowledgement: V3_1, V3_1_1, V5);
// [MQTT-4.6.0-2] PUBACKs keep their order, whatever they wait for; everything else goes on. [MQTT-4.9.0-3]
async fn other_packets_do_not_wait_behind_a_withheld_acknowledgement(version: Version) {
    let (disk, server, _durable) = Server::with_durable_subscriber(version).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("b", QOS0).await;
    disk.faults().hold();
    client.send(publish("a", "waits").qos(QOS1).id(1)).await;
    // This one need not wait for the disk, but may not overtake.
    client.send(publish("b", "x").qos(QOS1).id(2)).await;
    client.expect(publish("b", "x")).await;
    client.ping().await;
    client.send(publish("b", "y").qos(QOS2).id(3)).await;
    client.expect_both(publish("b", "y"), pubrec(3)).await;
    client.send(pubrel(3)).await;
    client.expect(pubcomp(3)).await;
    client.subscribe("c", QOS1).await;
    client.expect_nothing().await;
    disk.faults().release();
    client.expect(puback(1)).await;
    client.expect(puback(2)).await;
}

versions!(an_acknowledged_delivery_frees_its_slot_without_waiting: V5);
// [MQTT-4.9.0-2] Only a repetition is at stake: removals after PUBACK and PUBCOMP are lazy.
async fn an_acknowledged_delivery_frees_its_slot_without_waiting(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let packet = connect(version, "durable").kept().receive_maximum(1);
    let mut durable = server.connect(packet).await;
    durable.subscribe("a", QOS2).await;
    for (payload, qos) in [("1", QOS1), ("2", QOS2), ("3", QOS1)] {
        server.publish(publish("a", payload).qos(qos)).await;
    }
    let one = durable.expect_message(publish("a", "1").qos(QOS1)).await;
    disk.faults().hold();
    durable.send(puback(one)).await;
    let two = durable.expect_message(publish("a", "2").qos(QOS2)).await;
    disk.faults().release();
    durable.send(pubrec(two)).await;
    durable.expect(pubrel(two)).await;
    disk.faults().hold();
    durable.send(pubcomp(two)).await;
    durable.expect_message(publish("a", "3").qos(QOS1)).await;
    disk.faults().release();
}

// ---- QoS 2 ----

versions!(pubrel_waits_until_the_pubrec_is_stored: V3_1, V3_1_1, V5);
// [MQTT-4.3.3-6] After PUBREL the PUBLISH is never sent again, not after a crash either. [MQTT-4.3.3-1 @3.1.1]
async fn pubrel_waits_until_the_pubrec_is_stored(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    server.publish(publish("a", "x").qos(QOS2)).await;
    let id = durable.expect_message(publish("a", "x").qos(QOS2)).await;
    disk.faults().hold();
    durable.send(pubrec(id)).await;
    durable.expect_nothing().await;
    durable.ping().await;
    disk.faults().release();
    durable.expect(pubrel(id)).await;

    let after_crash = Server::on(&disk.image()).await;
    let mut durable = after_crash.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    durable.expect(pubrel(id)).await;
    durable.send(pubcomp(id)).await;
    durable.expect_nothing().await;
}

versions!(pubrec_waits_until_the_identifier_is_stored: V3_1, V3_1_1, V5);
// [MQTT-4.3.3-10] The identifier is session state of the publisher, whoever gets the message. [MQTT-4.3.3-2 @3.1.1]
async fn pubrec_waits_until_the_identifier_is_stored(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut publisher = server.connect(connect(version, "publisher").kept()).await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("b", QOS2).await;
    disk.faults().hold();
    let message = publish("b", "x").qos(QOS2).id(9);
    publisher.send(message.clone()).await;
    publisher.expect_nothing().await;
    disk.faults().release();
    publisher.expect(pubrec(9)).await;

    let after_crash = Server::on(&disk.image()).await;
    let mut watcher = after_crash.connect(connect(version, "watcher")).await;
    watcher.subscribe("b", QOS2).await;
    let mut publisher = after_crash.connect(connect(version, "publisher").kept()).await;
    publisher.assert_session_present(true);
    publisher.send(message.dup()).await;
    publisher.expect(pubrec(9)).await;
    watcher.expect_nothing().await;
    publisher.release(9).await;
}

versions!(pubcomp_waits_until_the_identifier_is_removed: V3_1, V3_1_1, V5);
// [MQTT-4.3.3-12] Otherwise a crash would swallow the client's next message with that identifier. [MQTT-4.3.3-2 @3.1.1]
async fn pubcomp_waits_until_the_identifier_is_removed(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut publisher = server.connect(connect(version, "publisher").kept()).await;
    publisher.send(publish("b", "x").qos(QOS2).id(9)).await;
    publisher.expect(pubrec(9).code(ReasonCode::NoMatchingSubscribers)).await;
    disk.faults().hold();
    publisher.send(pubrel(9)).await;
    publisher.expect_nothing().await;
    disk.faults().release();
    publisher.expect(pubcomp(9)).await;

    let after_crash = Server::on(&disk.image()).await;
    let mut watcher = after_crash.connect(connect(version, "watcher")).await;
    watcher.subscribe("b", QOS0).await;
    let mut publisher = after_crash.connect(connect(version, "publisher").kept()).await;
    publisher.assert_session_present(true);
    publisher.send(publish("b", "new").qos(QOS2).id(9)).await;
    publisher.expect(pubrec(9)).await;
    watcher.expect(publish("b", "new")).await;
}

// ---- Sessions ----

versions!(suback_and_unsuback_of_a_durable_session_wait: V3_1, V3_1_1, V5);
// [MQTT-3.8.4-1] [MQTT-3.10.4-4] What was acknowledged holds after a crash. [MQTT-4.1.0-1 @3.1.1]
async fn suback_and_unsuback_of_a_durable_session_wait(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    disk.faults().hold();
    client.send(subscribe(1, &[("a", QOS1), ("b", QOS1)])).await;
    client.expect_nothing().await;
    client.ping().await;
    disk.faults().release();
    client.expect(suback(1, &[ReasonCode::GrantedQos1, ReasonCode::GrantedQos1])).await;
    disk.faults().hold();
    client.send(unsubscribe(2, &["b"])).await;
    client.expect_nothing().await;
    disk.faults().release();
    client.expect(unsuback(2, &[ReasonCode::Success])).await;

    let after_crash = Server::on(&disk.image()).await;
    after_crash.publish(publish("a", "x").qos(QOS1)).await;
    after_crash.publish(publish("b", "x").qos(QOS1)).await;
    let mut client = after_crash.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    client.expect_message(publish("a", "x").qos(QOS1)).await;
    client.expect_nothing().await;
}

versions!(connack_of_a_clean_start_waits_until_the_old_session_is_gone: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-4] [MQTT-3.1.2-6 @3.1.1]
async fn connack_of_a_clean_start_waits_until_the_old_session_is_gone(version: Version) {
    let (disk, server, durable) = Server::with_durable_subscriber(version).await;
    server.disconnect(durable).await;
    disk.faults().hold();
    let mut client = server.dial(version).await;
    client.send(connect(version, "durable").clean(true)).await;
    client.expect_nothing().await;
    disk.faults().release();
    client.expect_connack(false).await;

    let after_crash = Server::on(&disk.image()).await;
    let client = after_crash.connect(connect(version, "durable").kept()).await;
    client.assert_session_present(false);
}

versions!(connack_waits_until_the_will_is_stored: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-7] [MQTT-3.1.2-8 @3.1.1]
async fn connack_waits_until_the_will_is_stored(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("will", QOS1).await;
    disk.faults().hold();
    let mut client = server.dial(version).await;
    let packet = connect(version, "s").kept().will(will("will", "gone").qos(QOS1));
    client.send(packet).await;
    client.expect_nothing().await;
    disk.faults().release();
    client.expect_connack(false).await;

    // A client that was connected at the crash is disconnected at the start; its Will goes out, and once only.
    let image = disk.image();
    let after_crash = Server::on(&image).await;
    let mut durable = after_crash.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    durable.expect_and_acknowledge(publish("will", "gone").qos(QOS1)).await;
    let again = Server::on(&image.image()).await;
    let mut durable = again.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    // The removal after PUBACK is lazy, so this very message may be repeated, but no second one comes.
    for packet in durable.take_packets_for(SILENCE).await {
        let Packet::Publish(message) = packet else {
            panic!("only messages come");
        };
        assert!(message.dup, "{message:?}");
    }
}

versions!(a_connect_that_changes_nothing_durable_does_not_wait: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-5] [MQTT-3.1.4-4 @3.1.1]
async fn a_connect_that_changes_nothing_durable_does_not_wait(version: Version) {
    let (disk, server, _durable) = Server::with_durable_subscriber(version).await;
    disk.faults().hold();
    let mut client = server.connect(connect(version, "s").clean(true)).await;
    client.ping().await;
    disk.faults().release();
}

// ---- Group commit ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.6.0-2] One commit takes what came while the last one ran.
async fn messages_of_one_batch_share_a_commit() {
    let (disk, server, _durable) = Server::with_durable_subscriber(Version::V5).await;
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    disk.faults().delay(Duration::from_millis(50));
    let before = disk.faults().commits();
    let sent = Instant::now();
    let mut bytes = Vec::new();
    for id in 1..=200 {
        bytes.extend(publisher.encoded(publish("a", "x").qos(QOS1).id(id)));
    }
    publisher.send_bytes(&bytes).await;
    for id in 1..=200 {
        publisher.expect(puback(id)).await;
    }
    assert_elapsed(sent, 50, 1_500);
    let commits = disk.faults().commits() - before;
    assert!(commits <= 10, "{commits} commits for 200 messages of one read");
}

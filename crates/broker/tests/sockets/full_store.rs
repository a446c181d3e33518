//! A store without room for messages: who is told, who is held back, and what goes on.

use std::time::Duration;

use dunlin_broker::{Durability, PublishError, StoreFull};
use dunlin_store::MemoryStore;

use crate::support::*;

versions!(a_5_0_publisher_is_told: V5);
// [MQTT-4.3.2-4] [MQTT-4.13.2-1] Nothing of the message stays.
async fn a_5_0_publisher_is_told(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().full(true);
    publisher.send(publish("a", "lost").qos(QOS1).id(1)).await;
    publisher.expect(puback(1).code(ReasonCode::QuotaExceeded)).await;
    publisher.send(publish("a", "lost").qos(QOS2).id(2)).await;
    publisher.expect(pubrec(2).code(ReasonCode::QuotaExceeded)).await;
    publisher.send(publish("r", "lost").qos(QOS1).id(3).retain()).await;
    publisher.expect(puback(3).code(ReasonCode::QuotaExceeded)).await;
    let message = dunlin_broker::Message {
        topic: "a".try_into().expect("a topic"),
        payload: "lost".into(),
        qos: QOS1,
        retain: false,
        properties: None,
    };
    assert_eq!(server.broker.publish(message).await, Err(PublishError::Store));
    disk.faults().full(false);
    publisher.publish(publish("a", "kept").qos(QOS1)).await;
    durable.expect_and_acknowledge(publish("a", "kept").qos(QOS1)).await;
    durable.subscribe("r", QOS1).await;
    durable.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::Store), 3);
}

versions!(a_3x_publisher_is_held_until_there_is_room: V3_1, V3_1_1);
// [MQTT-4.3.2-2 @3.1.1] [MQTT-4.6.0-2 @3.1.1] [MQTT-4.6.0-5 @3.1.1] In order, and nothing is lost.
async fn a_3x_publisher_is_held_until_there_is_room(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher").kept()).await;
    disk.faults().full(true);
    for id in 1..=20 {
        let qos = if id % 3 == 0 { QOS2 } else { QOS1 };
        publisher.send(publish("a", id.to_string()).qos(qos).id(id)).await;
    }
    publisher.expect_nothing().await;
    // It is read further, and needs no disk for this.
    publisher.ping().await;
    durable.expect_nothing().await;
    eventually("all to be held", || server.metrics().store_held_messages == 20).await;
    disk.faults().full(false);
    // Behind what is held, although there is room.
    publisher.send(publish("a", "21").qos(QOS1).id(21)).await;
    let mut ids = (Vec::new(), Vec::new());
    for packet in publisher.receive_some(21).await {
        match packet {
            Packet::PubAck(ack) => ids.0.push(ack.packet_id.get()),
            Packet::PubRec(ack) => ids.1.push(ack.packet_id.get()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ids.0, (1..=21).filter(|id| id % 3 != 0 || *id == 21).collect::<Vec<_>>());
    assert_eq!(ids.1, (1..=20).filter(|id| id % 3 == 0).collect::<Vec<_>>());
    let expected: Vec<_> = (1..=21).map(|id| id.to_string()).collect();
    assert_eq!(durable.take_messages(21).await, expected);
    assert_eq!(server.metrics().store_held_messages, 0);
    assert_eq!(server.dropped(DropReason::Store), 0);
}

versions!(order_holds_while_room_comes_and_goes: V3_1_1);
// [MQTT-4.6.0-5 @3.1.1] [MQTT-4.6.0-2 @3.1.1] Although several batches of one publisher are under way.
async fn order_holds_while_room_comes_and_goes(version: Version) {
    const MESSAGES: u16 = 600;
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    let faults = disk.faults();
    let weather = tokio::spawn(async move {
        for round in 0..40 {
            faults.full(round % 2 == 0);
            if round % 20 == 0 {
                faults.fail_next(Failure::Full);
            }
            sleep_ms(15).await;
        }
        faults.full(false);
    });
    for id in 1..=MESSAGES {
        publisher.send(publish("a", id.to_string()).qos(QOS1).id(id)).await;
        if id % 10 == 0 {
            sleep_ms(10).await;
        }
    }
    let expected: Vec<_> = (1..=MESSAGES).map(|id| id.to_string()).collect();
    assert_eq!(durable.take_messages(expected.len()).await, expected);
    for id in 1..=MESSAGES {
        publisher.expect(puback(id)).await;
    }
    weather.await.expect("the weather changes");
}

versions!(receive_maximum_brakes_a_held_publisher: V3_1_1);
// [MQTT-4.3.2-2 @3.1.1] What is held is bounded.
async fn receive_maximum_brakes_a_held_publisher(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, |config| config.limits.receive_maximum = 5).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("a", QOS2).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().full(true);
    for id in 1..=12 {
        publisher.send(publish("a", id.to_string()).qos(QOS1).id(id)).await;
    }
    eventually("the limit", || server.metrics().store_held_messages == 5).await;
    publisher.expect_nothing().await;
    assert_eq!(server.metrics().store_held_messages, 5);
    disk.faults().full(false);
    for id in 1..=12 {
        publisher.expect(puback(id)).await;
    }
    let expected: Vec<_> = (1..=12).map(|id| id.to_string()).collect();
    assert_eq!(durable.take_messages(12).await, expected);
}

versions!(a_3x_publisher_is_disconnected_where_that_is_set: V3_1, V3_1_1);
// [MQTT-4.8.0-2 @3.1.1] Nothing of the message stays, and its identifier is free.
async fn a_3x_publisher_is_disconnected_where_that_is_set(version: Version) {
    let disk = MemoryStore::new();
    let server =
        Server::on_with(&disk, |config| config.store_full_3x = StoreFull::Disconnect).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("a", QOS2).await;
    for qos in [QOS1, QOS2] {
        let mut publisher = server.connect(connect(version, "publisher").kept()).await;
        disk.faults().full(true);
        publisher.send(publish("a", "x").qos(qos).id(1)).await;
        publisher.expect_closed().await;
        disk.faults().full(false);
        let mut publisher = server.connect(connect(version, "publisher").kept()).await;
        publisher.send(publish("a", "x").qos(qos).id(1).dup()).await;
        publisher.expect_acceptance(qos, 1).await;
        if qos == QOS2 {
            publisher.release(1).await;
        }
        durable.expect_and_acknowledge(publish("a", "x").qos(qos)).await;
        server.lose(publisher).await;
    }
    durable.expect_nothing().await;
}

versions!(what_is_held_of_a_lost_connection_comes_once: V3_1, V3_1_1);
// [MQTT-4.3.3-2 @3.1.1] [MQTT-4.3.2-2 @3.1.1] QoS 1 is given up, to be sent again; QoS 2 has its identifier and is kept.
async fn what_is_held_of_a_lost_connection_comes_once(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut plain = server.connect(connect(version, "plain")).await;
    plain.subscribe("a", QOS2).await;
    let mut publisher = server.connect(connect(version, "publisher").kept()).await;
    disk.faults().full(true);
    publisher.send(publish("a", "one").qos(QOS1).id(1)).await;
    publisher.send(publish("a", "two").qos(QOS2).id(2)).await;
    plain.expect_and_acknowledge(publish("a", "one").qos(QOS1)).await;
    plain.expect_and_acknowledge(publish("a", "two").qos(QOS2)).await;
    eventually("both to be held", || server.metrics().store_held_messages == 2).await;
    server.lose(publisher).await;
    eventually("one to be given up", || server.metrics().store_held_messages == 1).await;
    assert_eq!(server.dropped(DropReason::Store), 1);

    let mut publisher = server.connect(connect(version, "publisher").kept()).await;
    publisher.assert_session_present(true);
    publisher.send(publish("a", "two").qos(QOS2).id(2).dup()).await;
    publisher.expect_nothing().await;
    disk.faults().full(false);
    publisher.expect(pubrec(2)).await;
    publisher.release(2).await;
    durable.expect_and_acknowledge(publish("a", "two").qos(QOS2)).await;
    publisher.publish(publish("a", "one").qos(QOS1).id(1).dup()).await;
    durable.expect_and_acknowledge(publish("a", "one").qos(QOS1)).await;
    // The one that got both had only the repetition of QoS 1 to expect.
    plain.expect_and_acknowledge(publish("a", "one").qos(QOS1)).await;
    plain.expect_nothing().await;
    durable.expect_nothing().await;
}

versions!(what_is_held_of_a_session_that_ends_is_given_up: V3_1, V3_1_1);
// [MQTT-3.1.2-6 @3.1.1]
async fn what_is_held_of_a_session_that_ends_is_given_up(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().full(true);
    publisher.send(publish("a", "one").qos(QOS1).id(1)).await;
    publisher.send(publish("a", "two").qos(QOS2).id(2)).await;
    eventually("both to be held", || server.metrics().store_held_messages == 2).await;
    server.lose(publisher).await;
    eventually("both to be given up", || server.metrics().store_held_messages == 0).await;
    assert_eq!(server.dropped(DropReason::Store), 2);
    disk.faults().full(false);
    server.publish(publish("a", "three").qos(QOS1)).await;
    durable.expect_and_acknowledge(publish("a", "three").qos(QOS1)).await;
    durable.expect_nothing().await;
}

versions!(all_else_goes_on_while_the_store_is_full: V3_1, V3_1_1, V5);
// [MQTT-4.9.0-3] Drains, acknowledgements, sessions and subscriptions; QoS 0 and what needs no store.
async fn all_else_goes_on_while_the_store_is_full(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    server.publish(publish("a", "1").qos(QOS1)).await;
    server.publish(publish("a", "2").qos(QOS2)).await;
    disk.faults().full(true);
    durable.expect_and_acknowledge(publish("a", "1").qos(QOS1)).await;
    durable.expect_and_acknowledge(publish("a", "2").qos(QOS2)).await;
    durable.ping().await;
    let mut fresh = server.connect(connect(version, "fresh").kept()).await;
    fresh.subscribe("b", QOS1).await;
    fresh.subscribe("c", QOS1).await;
    fresh.unsubscribe("c").await;
    server.publish(publish("b", "0")).await;
    fresh.expect(publish("b", "0")).await;
    let mut plain = server.connect(connect(version, "plain")).await;
    plain.subscribe("plain", QOS2).await;
    for qos in [QOS1, QOS2] {
        server.publish(publish("plain", "x").qos(qos)).await;
        plain.expect_and_acknowledge(publish("plain", "x").qos(qos)).await;
    }
    server.lose(durable).await;
    let image = disk.image();
    let after_crash = Server::on(&image).await;
    let mut durable = after_crash.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    durable.expect_nothing().await;
    after_crash.publish(publish("b", "3").qos(QOS1)).await;
    after_crash.publish(publish("c", "4").qos(QOS1)).await;
    let mut fresh = after_crash.connect(connect(version, "fresh").kept()).await;
    fresh.assert_session_present(true);
    fresh.expect_and_acknowledge(publish("b", "3").qos(QOS1)).await;
    fresh.expect_nothing().await;
}

versions!(what_the_store_need_not_hold_goes_on_while_it_is_full: V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.3.2-2 @3.1.1] A message at the lowest level asks for no room.
async fn what_the_store_need_not_hold_goes_on_while_it_is_full(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, |config| config.durability = Durability::Memory).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("a", QOS2).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().full(true);
    for qos in [QOS1, QOS2] {
        publisher.publish(publish("a", "x").qos(qos)).await;
        durable.expect_and_acknowledge(publish("a", "x").qos(qos)).await;
    }
}

versions!(a_will_waits_for_room_and_goes_out_once: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.2-8 @3.1.1] [MQTT-3.1.2-10 @3.1.1]
async fn a_will_waits_for_room_and_goes_out_once(version: Version) {
    for kept in [false, true] {
        let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
        let packet = connect(version, "s").will(will("a", "gone").qos(QOS1));
        let client = server.connect(if kept { packet.kept() } else { packet }).await;
        disk.faults().full(true);
        server.lose(client).await;
        eventually("the will to be held", || server.metrics().store_held_messages > 0).await;
        durable.expect_nothing().await;
        // A crash now finds it in the store still.
        let after_crash = Server::on(&disk.image()).await;
        let mut again = after_crash.connect(connect(version, "durable").kept()).await;
        again.expect_and_acknowledge(publish("a", "gone").qos(QOS1)).await;

        disk.faults().full(false);
        durable.expect_and_acknowledge(publish("a", "gone").qos(QOS1)).await;
        durable.ping().await;
        eventually("nothing to be held", || server.metrics().store_held_messages == 0).await;
        durable.expect_nothing().await;
        server.lose(durable).await;
        let after_crash = Server::on(&disk.image()).await;
        let mut again = after_crash.connect(connect(version, "durable").kept()).await;
        again.assert_session_present(true);
        again.expect_nothing().await;
    }
}

versions!(a_held_will_takes_no_newer_one_with_it: V3_1_1, V5);
// [MQTT-3.1.2-8] [MQTT-3.1.2-8 @3.1.1] The client is back with another Will before there is room for the first.
async fn a_held_will_takes_no_newer_one_with_it(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    let packet = |payload| connect(version, "s").kept().will(will("a", payload).qos(QOS1));
    let client = server.connect(packet("first")).await;
    disk.faults().full(true);
    server.lose(client).await;
    eventually("the will to be held", || server.metrics().store_held_messages > 0).await;
    let _client = server.connect(packet("second")).await;
    disk.faults().full(false);
    durable.expect_and_acknowledge(publish("a", "first").qos(QOS1)).await;
    durable.ping().await;
    eventually("nothing to be held", || server.metrics().store_held_messages == 0).await;
    let after_crash = Server::on(&disk.image()).await;
    let mut again = after_crash.connect(connect(version, "durable").kept()).await;
    again.assert_session_present(true);
    assert!(again.take_messages_for(SILENCE).await.contains(&"second".to_owned()));
}

versions!(changes_that_nobody_waits_for_are_tried_again: V3_1, V3_1_1, V5);
// [MQTT-4.3.2-3] [MQTT-4.1.0-1] Not even for them was there room, twice.
async fn changes_that_nobody_waits_for_are_tried_again(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    server.publish(publish("a", "1").qos(QOS1)).await;
    let commits = disk.faults().commits();
    disk.faults().fail_next(Failure::Full);
    disk.faults().fail_next(Failure::Full);
    durable.expect_and_acknowledge(publish("a", "1").qos(QOS1)).await;
    eventually("the store to refuse", || server.metrics().store_failures == 2).await;
    // Whoever takes them along may fail too.
    disk.faults().fail_next(Failure::Full);
    disk.faults().fail_next(Failure::Full);
    let mut other = server.dial(version).await;
    other.send(connect(version, "other").kept()).await;
    other.answered().await;
    eventually("the store to refuse", || server.metrics().store_failures == 4).await;
    eventually("another try", || disk.faults().commits() > commits).await;
    let after_crash = Server::on(&disk.image()).await;
    let mut again = after_crash.connect(connect(version, "durable").kept()).await;
    again.assert_session_present(true);
    again.expect_nothing().await;

    // The end of a session too, in its order with what comes later.
    disk.faults().fail_next(Failure::Full);
    disk.faults().fail_next(Failure::Full);
    server.lose(durable).await;
    eventually("the store to refuse", || server.metrics().store_failures == 6).await;
    let mut clean = server.connect(connect(version, "durable").clean(true)).await;
    clean.ping().await;
    let after_crash = Server::on(&disk.image()).await;
    let again = after_crash.connect(connect(version, "durable").kept()).await;
    again.assert_session_present(false);
}

versions!(a_refused_retained_message_leaves_the_one_before: V5);
// [MQTT-3.3.1-5] [MQTT-4.3.2-4] What was acknowledged stays, and is what a restart finds.
async fn a_refused_retained_message_leaves_the_one_before(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, |config| config.sys.interval = None).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    publisher.publish(publish("r", "kept").qos(QOS1).retain()).await;
    disk.faults().full(true);
    let mut bytes = Vec::new();
    for id in 1..=3 {
        bytes.extend(publisher.encoded(publish("r", "lost").qos(QOS1).id(id).retain()));
    }
    publisher.send_bytes(&bytes).await;
    for id in 1..=3 {
        publisher.expect(puback(id).code(ReasonCode::QuotaExceeded)).await;
    }
    // Nobody can be told of this one.
    publisher.send(publish("r", "lost").retain()).await;
    publisher.ping().await;
    eventually("it to be refused", || server.dropped(DropReason::Store) == 1).await;
    let mut client = server.connect(connect(version, "client")).await;
    client.subscribe("r", QOS1).await;
    client.expect_and_acknowledge(publish("r", "kept").qos(QOS1).retain()).await;
    assert_eq!(server.metrics().retained_messages, 1);
    disk.faults().full(false);
    publisher.publish(publish("r", "new").qos(QOS1).retain()).await;
    client.expect_and_acknowledge(publish("r", "new").qos(QOS1)).await;
    let after_crash = Server::on(&disk.image()).await;
    let mut client = after_crash.connect(connect(version, "client")).await;
    client.subscribe("r", QOS1).await;
    client.expect_and_acknowledge(publish("r", "new").qos(QOS1).retain()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) A group's message that found no room on its way to a member is tried again, though the member says nothing.
async fn a_message_of_a_group_that_found_no_room_is_tried_again() {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut member = server.connect(connect(Version::V5, "m").kept().receive_maximum(1)).await;
    member.subscribe("$share/g/a", QOS1).await;
    for payload in ["1", "2"] {
        server.publish(publish("a", payload).qos(QOS1)).await;
    }
    let first = member.expect_message(publish("a", "1").qos(QOS1)).await;
    let failures = server.metrics().store_failures;
    for _ in 0..6 {
        disk.faults().fail_next(Failure::Full);
    }
    member.send(puback(first)).await;
    member.expect_and_acknowledge(publish("a", "2").qos(QOS1)).await;
    assert_eq!(server.metrics().store_failures, failures + 6);
    member.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) [MQTT-4.3.2-2 @3.1.1] The member that was to get a held message ends: the group has it before it is acknowledged.
async fn a_held_message_stays_with_its_group_when_the_member_ends() {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut absent = server.connect(connect(Version::V5, "absent").kept()).await;
    absent.subscribe("$share/g/a", QOS1).await;
    server.lose(absent).await;
    let mut member = server.connect(connect(Version::V5, "member").kept()).await;
    member.subscribe("$share/g/a", QOS1).await;
    let mut publisher = server.connect(connect(Version::V3_1_1, "publisher")).await;
    disk.faults().fail_next(Failure::Full);
    publisher.send(publish("a", "x").qos(QOS1).id(1)).await;
    eventually("it to be held", || server.metrics().store_held_messages == 1).await;
    member.end_session().await;
    eventually("the member to end", || server.broker.drops("member").is_none()).await;
    disk.faults().hold();
    publisher.expect_nothing_for(Duration::from_millis(1_500)).await;
    disk.faults().release();
    publisher.expect(puback(1)).await;
    for server in [Server::on(&disk.image()).await, server] {
        let mut absent = server.connect(connect(Version::V5, "absent").kept()).await;
        absent.expect_and_acknowledge(publish("a", "x").qos(QOS1)).await;
        absent.expect_nothing().await;
    }
}

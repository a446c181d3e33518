//! What a client did not get, counted by client and reason.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::*;

fn drops<const N: usize>(counts: [(DropReason, u64); N]) -> Option<BTreeMap<DropReason, u64>> {
    Some(BTreeMap::from(counts))
}

versions!(drops_are_counted_by_client_and_reason: V3_1_1, V5);
// [MQTT-4.3.2-4] An acknowledged message goes missing for a stated reason only, and it is known to whom.
async fn drops_are_counted_by_client_and_reason(version: Version) {
    let server = Server::with(|config| config.limits.queue_messages_max = 3).await;
    server.leave_absent_subscriber(version).await;
    let mut other = server.connect(connect(version, "other").kept()).await;
    other.subscribe("a", QOS1).await;
    server.publish(publish("a", "expires").qos(QOS1).expires(1)).await;
    other.receive_and_acknowledge().await;
    for _ in 0..5 {
        server.publish(publish("a", "x").qos(QOS1)).await;
        other.expect_and_acknowledge(publish("a", "x").qos(QOS1)).await;
    }
    for _ in 0..4 {
        server.publish(publish("a", "x")).await;
        other.expect(publish("a", "x")).await;
    }
    assert_eq!(
        server.broker.drops("absent"),
        drops([(DropReason::QueueMessages, 3), (DropReason::Offline, 4)])
    );
    assert_eq!(server.broker.drops("other"), drops([]));
    assert_eq!(server.broker.drops("nobody"), None);
    sleep_ms(1_200).await;
    let mut client = server.absent_subscriber_returns(version).await;
    assert_eq!(client.take_messages(2).await, ["x", "x"]);
    let counts =
        drops([(DropReason::QueueMessages, 3), (DropReason::Offline, 4), (DropReason::Expired, 1)]);
    assert_eq!(server.broker.drops("absent"), counts);
    // They live as long as the session.
    server.lose(client).await;
    assert_eq!(server.broker.drops("absent"), counts);
    let client = server.connect(connect(version, "absent").clean(true)).await;
    assert_eq!(server.broker.drops("absent"), drops([]));
    server.lose(client).await;
    eventually("the session to end", || server.broker.drops("absent").is_none()).await;
}

versions!(drops_for_want_of_room_in_the_store_are_the_receivers: V5);
// [MQTT-4.3.2-4] [MQTT-4.13.2-1]
async fn drops_for_want_of_room_in_the_store_are_the_receivers(version: Version) {
    let (disk, server, _durable) = Server::with_durable_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().full(true);
    publisher.send(publish("a", "x").qos(QOS1).id(1)).await;
    publisher.expect(puback(1).code(ReasonCode::QuotaExceeded)).await;
    assert_eq!(server.broker.drops("durable"), drops([(DropReason::Store, 1)]));
    assert_eq!(server.broker.drops("publisher"), drops([]));
}

versions!(what_an_overflow_dropped_does_not_come_back: V3_1_1, V5);
// [MQTT-4.5.0-1] [MQTT-4.5.0-1 @3.1.1] A whole range of it: the oldest go, and stay away after a crash.
async fn what_an_overflow_dropped_does_not_come_back(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, |config| {
        config.limits.queue_bytes_max = 1_000;
        config.limits.overflow = Overflow::DropOldest;
    })
    .await;
    server.leave_absent_subscriber(version).await;
    for number in 0..20 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    // One that drives all of these out at once.
    server.publish(publish("a", vec![b'x'; 999]).qos(QOS1)).await;
    let commits = disk.faults().commits();
    server.publish(publish("b", "x").qos(QOS1).retain()).await;
    eventually("the drops to be stored", || disk.faults().commits() > commits).await;
    let counts = server.broker.drops("absent").expect("a session");
    assert_eq!(counts, BTreeMap::from([(DropReason::QueueBytes, 20)]));
    let after_crash = Server::on(&disk.image()).await;
    let mut client = after_crash.absent_subscriber_returns(version).await;
    assert_eq!(client.take_messages_for(SILENCE).await, ["x".repeat(999)]);
}

versions!(a_message_whose_receiver_ends_on_its_way_is_counted: V5);
// [MQTT-4.3.2-4] [MQTT-3.1.2-4] It was acknowledged, and its session ended while it went through the store.
async fn a_message_whose_receiver_ends_on_its_way_is_counted(version: Version) {
    let (disk, server, durable) = Server::with_durable_subscriber(version).await;
    server.lose(durable).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().hold();
    publisher.send(publish("a", "1").qos(QOS1).id(1)).await;
    eventually("the commit", || disk.faults().wait_until_stuck(Duration::ZERO)).await;
    // This one has no place yet when the session ends.
    publisher.send(publish("a", "2").qos(QOS1).id(2)).await;
    publisher.ping().await;
    let mut clean = server.dial(version).await;
    clean.send(connect(version, "durable").clean(true)).await;
    eventually("the session to end", || server.metrics().subscriptions == 0).await;
    disk.faults().release();
    publisher.expect(puback(1)).await;
    publisher.expect(puback(2)).await;
    clean.expect_connack(false).await;
    assert_eq!(server.dropped(DropReason::SessionEnded), 2);
}

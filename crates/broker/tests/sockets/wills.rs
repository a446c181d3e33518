//! Wills that a restart finds in the store: when they go out, how fast, and that they do so once.

use std::time::Instant;

use crate::support::*;

/// The will of a client that is connected when the broker is killed, and what a watcher gets after the restart.
async fn after_a_crash(version: Version, client: Connect) -> (Server, Client, Instant) {
    let (disk, server, durable) = Server::with_durable_subscriber(version).await;
    server.lose(durable).await;
    let _client = server.connect(client).await;
    let image = disk.image();
    let started = Instant::now();
    let server = Server::on(&image).await;
    let watcher = server.connect(connect(version, "durable").kept()).await;
    watcher.assert_session_present(true);
    (server, watcher, started)
}

versions!(a_will_of_a_session_without_expiry_goes_out_at_the_start: V5);
// [MQTT-3.1.2-8] [MQTT-3.1.3-9] The session is over with its connection, whatever the delay says.
async fn a_will_of_a_session_without_expiry_goes_out_at_the_start(version: Version) {
    for delay in [0, 100] {
        let packet = connect(version, "s").will(will("a", "gone").qos(QOS1).delay(delay));
        let (server, mut watcher, _) = after_a_crash(version, packet).await;
        watcher.expect_and_acknowledge(publish("a", "gone").qos(QOS1)).await;
        eventually("the session to end", || server.broker.drops("s").is_none()).await;
        let client = server.connect(connect(version, "s").kept()).await;
        client.assert_session_present(false);
    }
}

versions!(a_will_of_a_session_with_expiry_counts_its_delay_from_the_start: V5);
// [MQTT-3.1.3-9] [MQTT-3.1.2-8] The downtime does not count: the client was there when it began.
async fn a_will_of_a_session_with_expiry_counts_its_delay_from_the_start(version: Version) {
    for (delay, expiry) in [(0, 100), (1, 100), (100, 1)] {
        let message = will("a", "gone").qos(QOS1).delay(delay);
        let packet = connect(version, "s").clean(false).expiry(expiry).will(message);
        let (server, mut watcher, started) = after_a_crash(version, packet).await;
        let wait = delay.min(expiry);
        if wait > 0 {
            watcher.expect_nothing_for(std::time::Duration::from_millis(500)).await;
        }
        watcher.expect_and_acknowledge(publish("a", "gone").qos(QOS1)).await;
        assert_elapsed(started, u64::from(wait) * 1_000, u64::from(wait) * 1_000 + 1_500);
        watcher.expect_nothing().await;
        // The session goes on where the delay ended first.
        assert_eq!(server.broker.drops("s").is_some(), expiry > delay);
    }
}

versions!(a_client_that_is_back_before_the_delay_is_over_keeps_its_will: V5);
// [MQTT-3.1.3-9] Counted from the start, over another crash too.
async fn a_client_that_is_back_before_the_delay_is_over_keeps_its_will(version: Version) {
    let message = will("a", "gone").qos(QOS1).delay(1);
    let packet = connect(version, "s").clean(false).expiry(100).will(message);
    let (server, mut watcher, _) = after_a_crash(version, packet.clone()).await;
    let _client = server.connect(packet).await;
    watcher.expect_nothing_for(std::time::Duration::from_millis(1_300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.2-8] [MQTT-3.1.2-10] Not all at once, and each once, through crashes on the way.
async fn many_wills_go_out_at_a_pace_and_once() {
    const CLIENTS: usize = 60;
    let version = Version::V5;
    let (mut disk, server, durable) = Server::with_durable_subscriber(version).await;
    server.lose(durable).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let message = will("a", number.to_string()).qos(QOS1);
        clients.push(server.connect(connect(version, &format!("s{number}")).will(message)).await);
    }
    let mut published = 0;
    let mut received = Vec::new();
    for _ in 0..3 {
        disk = disk.image();
        let server = Server::on_with(&disk, |config| config.limits.wills_per_second_max = 10).await;
        let mut watcher = server.connect(connect(version, "durable").kept()).await;
        received.extend(watcher.take_messages(5).await);
        let so_far = server.metrics().wills_published;
        assert!(so_far < 40, "{so_far} wills in no time");
        published += so_far;
        server.lose(watcher).await;
    }
    assert!(published < CLIENTS as u64, "{published}");
    disk = disk.image();
    let server = Server::on(&disk).await;
    let mut watcher = server.connect(connect(version, "durable").kept()).await;
    received.extend(watcher.take_messages_for(SILENCE).await);
    let mut numbers: Vec<usize> =
        received.iter().map(|payload| payload.parse().expect("a number")).collect();
    numbers.sort_unstable();
    // A message whose acknowledgement was not stored yet is repeated; a will is not.
    numbers.dedup();
    assert_eq!(numbers, (0..CLIENTS).collect::<Vec<_>>());
    server.shutdown().await;
    let server = Server::on(&disk).await;
    let mut watcher = server.connect(connect(version, "durable").kept()).await;
    watcher.expect_nothing().await;
    assert_eq!(server.metrics().wills_published, 0);
}

versions!(a_will_is_seen_by_nobody_before_it_is_taken_from_the_store: V3_1_1, V5);
// [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.2-8 @3.1.1] Otherwise a crash would publish it once more.
async fn a_will_is_seen_by_nobody_before_it_is_taken_from_the_store(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS2).await;
    for qos in [QOS0, QOS1] {
        let client = server.connect(connect(version, "s").will(will("a", "gone").qos(qos))).await;
        disk.faults().hold();
        server.lose(client).await;
        watcher.expect_nothing().await;
        disk.faults().release();
        watcher.expect_and_acknowledge(publish("a", "gone").qos(qos)).await;
        let after_crash = Server::on(&disk.image()).await;
        let mut late = after_crash.connect(connect(version, "late")).await;
        late.subscribe("a", QOS2).await;
        assert_eq!(after_crash.metrics().wills_published, 0);
    }
}

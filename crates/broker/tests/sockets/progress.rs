//! Back-pressure never becomes a standstill: clients that flood one another, or themselves, go on.

use std::time::Duration;

use crate::support::*;

/// The longest time in which nothing at all may arrive.
const STALL_MAX: Duration = Duration::from_secs(2);

const MESSAGES: usize = 3_000;
const PAYLOAD: usize = 1_000;

/// What one client of a flood did.
#[derive(Debug, Default)]
struct Flood {
    received: usize,
    acknowledged: usize,
}

/// Publishes to the client `to` as fast as the window allows while taking what comes, until all of its own is acknowledged and as much has
/// come from the other. At QoS 0, where some may be lost, until nothing has come for a while.
async fn flood(mut client: Client, to: usize, qos: Qos) -> Flood {
    const WINDOW: usize = 100;
    let mut outcome = Flood::default();
    let mut sent = 0;
    let mut begun = 0;
    let writer = client.background_writer();
    loop {
        while sent < MESSAGES && (qos == QOS0 || begun < WINDOW) && writer.has_room() {
            sent += 1;
            let mut packet = publish(&exact(to), vec![b'x'; PAYLOAD]).qos(qos);
            if qos != QOS0 {
                begun += 1;
                packet = packet.id(u16::try_from(sent).expect("below 65,536"));
            }
            writer.write(packet);
        }
        let finished = sent == MESSAGES && begun == 0 && writer.is_empty();
        if finished && qos != QOS0 && outcome.received == MESSAGES {
            return outcome;
        }
        let may_end = finished && qos == QOS0;
        let patience = if may_end { Duration::from_millis(500) } else { STALL_MAX };
        tokio::select! {
            () = writer.progress() => {}
            packet = client.receive_within(patience) => match packet {
                None if may_end => return outcome,
                None => panic!("nothing moved for {STALL_MAX:?}: {outcome:?}, {sent} sent, {begun} begun"),
                Some(Packet::Publish(message)) => {
                    outcome.received += 1;
                    match message.qos {
                        Qos::AtMostOnce => {}
                        Qos::AtLeastOnce => writer.write(puback(message.id_number())),
                        Qos::ExactlyOnce => writer.write(pubrec(message.id_number())),
                    }
                }
                Some(Packet::PubRel(ack)) => writer.write(pubcomp(ack.packet_id.get())),
                Some(Packet::PubRec(ack)) => writer.write(pubrel(ack.packet_id.get())),
                Some(Packet::PubAck(_) | Packet::PubComp(_)) => {
                    begun -= 1;
                    outcome.acknowledged += 1;
                }
                Some(other) => panic!("{other:?} has no place in a flood"),
            },
        }
    }
}

/// Clients in a ring, each of which floods the next: one floods itself, two flood each other. `versions` are theirs.
async fn check_ring(versions: &[Version], filter: fn(usize) -> String, qos: Qos) {
    let server = Server::start().await;
    let mut clients = Vec::new();
    for (number, version) in versions.iter().enumerate() {
        let mut client = server.connect(connect(*version, &format!("c{number}"))).await;
        client.subscribe(&filter(number), qos).await;
        clients.push(client);
    }
    let floods: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(number, client)| tokio::spawn(flood(client, (number + 1) % versions.len(), qos)))
        .collect();
    for flood in floods {
        check_outcome(&within_flood(flood).await, qos);
    }
    server.assert_alive().await;
}

fn exact(number: usize) -> String {
    format!("to/{number}")
}

fn wildcard(number: usize) -> String {
    format!("+/{number}/#")
}

async fn within_flood(flood: tokio::task::JoinHandle<Flood>) -> Flood {
    tokio::time::timeout(Duration::from_secs(30), flood)
        .await
        .expect("the flood ends in 30 s")
        .expect("the flood makes progress")
}

fn check_outcome(outcome: &Flood, qos: Qos) {
    if qos == QOS0 {
        // Some may be dropped, by the receiver's own rule, but not all.
        assert!(outcome.received > MESSAGES / 100, "{outcome:?}");
    } else {
        assert_eq!(outcome.received, MESSAGES, "{outcome:?}");
        assert_eq!(outcome.acknowledged, MESSAGES, "{outcome:?}");
    }
}

versions!(two_clients_may_flood_each_other_at_qos_0: V3_1_1, V5);
// [MQTT-4.9.0-3]
async fn two_clients_may_flood_each_other_at_qos_0(version: Version) {
    check_ring(&[version; 2], exact, QOS0).await;
}

versions!(two_clients_may_flood_each_other_at_qos_1: V3_1_1, V5);
// [MQTT-4.9.0-3] [MQTT-3.3.4-8]
async fn two_clients_may_flood_each_other_at_qos_1(version: Version) {
    check_ring(&[version; 2], exact, QOS1).await;
}

versions!(two_clients_may_flood_each_other_at_qos_2: V3_1_1, V5);
// [MQTT-4.9.0-3] [MQTT-3.3.4-8]
async fn two_clients_may_flood_each_other_at_qos_2(version: Version) {
    check_ring(&[version; 2], exact, QOS2).await;
}

versions!(a_client_may_flood_itself_at_qos_0: V3_1_1, V5);
// [MQTT-4.9.0-3]
async fn a_client_may_flood_itself_at_qos_0(version: Version) {
    check_ring(&[version], exact, QOS0).await;
}

versions!(a_client_may_flood_itself_at_qos_1: V3_1_1, V5);
// [MQTT-4.9.0-3] [MQTT-3.3.4-8]
async fn a_client_may_flood_itself_at_qos_1(version: Version) {
    check_ring(&[version], exact, QOS1).await;
}

versions!(a_client_may_flood_itself_at_qos_2: V3_1_1, V5);
// [MQTT-4.9.0-3] [MQTT-3.3.4-8]
async fn a_client_may_flood_itself_at_qos_2(version: Version) {
    check_ring(&[version], exact, QOS2).await;
}

versions!(three_clients_may_flood_each_other_in_a_ring: V3_1_1, V5);
// [MQTT-4.9.0-3] [MQTT-3.3.4-8]
async fn three_clients_may_flood_each_other_in_a_ring(version: Version) {
    for qos in [QOS0, QOS1, QOS2] {
        check_ring(&[version; 3], exact, qos).await;
    }
}

versions!(a_ring_of_wildcards_and_both_versions_may_flood_itself: V3_1_1, V5);
// [MQTT-4.9.0-3] [MQTT-3.3.4-8]
async fn a_ring_of_wildcards_and_both_versions_may_flood_itself(version: Version) {
    for qos in [QOS0, QOS1, QOS2] {
        check_ring(&[version, Version::V5, Version::V3_1_1], wildcard, qos).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.2-22] Keep Alive stands still while the server does not read.
async fn a_publisher_that_is_not_read_does_not_time_out() {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, |config| config.limits.receive_maximum = 1).await;
    let mut durable = server.connect(connect(Version::V5, "durable").kept()).await;
    durable.subscribe("a", QOS1).await;
    let packet = connect(Version::V3_1_1, "publisher").keep_alive(1);
    let mut publisher = server.connect(packet).await;
    disk.faults().hold();
    for id in 1..=3 {
        publisher.send(publish("a", "x").qos(QOS1).id(id)).await;
    }
    sleep_ms(2_000).await;
    disk.faults().release();
    for id in 1..=3 {
        publisher.expect(puback(id)).await;
    }
    publisher.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.6.0-6] One loud publisher does not starve the others of a worker.
async fn a_loud_publisher_starves_nobody() {
    let server = Server::start().await;
    let mut sink = server.connect(connect(Version::V3_1_1, "sink")).await;
    sink.subscribe("loud", QOS0).await;
    let sinking = tokio::spawn(async move { sink.discard_until_closed().await });
    let mut loud = Vec::new();
    for number in 0..4 {
        let mut publisher =
            server.connect(connect(Version::V3_1_1, &format!("loud{number}"))).await;
        loud.push(tokio::spawn(async move {
            let burst = publisher.encoded(publish("loud", vec![b'x'; 64])).repeat(1_000);
            loop {
                if publisher.try_send_bytes(&burst).await.is_err() {
                    return;
                }
            }
        }));
    }
    let mut quiet = server.connect(connect(Version::V5, "quiet")).await;
    quiet.subscribe("quiet", QOS1).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let sent = std::time::Instant::now();
        quiet.send(publish("quiet", "x").qos(QOS1).id(1)).await;
        quiet.expect_own_message(1, "quiet", "x").await;
        slowest = slowest.max(sent.elapsed());
    }
    for publisher in loud {
        publisher.abort();
    }
    sinking.abort();
    assert!(slowest < STALL_MAX, "a quiet client waited {slowest:?}");
}

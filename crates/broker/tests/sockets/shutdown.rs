//! How the broker takes leave.

use std::time::{Duration, Instant};

use crate::support::*;

versions!(shutdown_tells_clients_and_keeps_their_sessions: V3_1, V3_1_1, V5);
// [MQTT-4.13.2-1] [MQTT-3.14.4-2] 0x8B
async fn shutdown_tells_clients_and_keeps_their_sessions(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let address = server.address();
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS1).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for number in 0..100 {
        publisher.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let begin = Instant::now();
    let (_, received) = tokio::join!(server.shutdown(), async {
        let mut received = 0;
        loop {
            match client.next_packet().await {
                Some(Packet::Publish(_)) => received += 1,
                Some(Packet::Disconnect(disconnect)) => {
                    assert_eq!(disconnect.reason_code, ReasonCode::ServerShuttingDown);
                    assert_eq!(version, Version::V5);
                }
                None => break,
                Some(other) => panic!("{other:?}"),
            }
        }
        received
    });
    assert!(received <= 100);
    publisher.expect_end(ReasonCode::ServerShuttingDown).await;
    assert_elapsed(begin, 0, 6_000);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the listener is closed");

    let server = Server::on(&disk).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    assert_eq!(client.take_messages_for(SILENCE).await.len(), 100);
}

versions!(shutdown_publishes_wills_before_the_sockets_close: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-8] [MQTT-3.1.2-8 @3.1.1]
async fn shutdown_publishes_wills_before_the_sockets_close(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("will", QOS1).await;
    let mut with_will =
        server.connect(connect(version, "s").will(will("will", "gone").qos(QOS1))).await;
    let ((), ()) = tokio::join!(server.shutdown(), async {
        durable.expect_message(publish("will", "gone").qos(QOS1)).await;
        durable.expect_end(ReasonCode::ServerShuttingDown).await;
        with_will.expect_end(ReasonCode::ServerShuttingDown).await;
    });
}

versions!(shutdown_does_not_wait_for_who_reads_nothing: V3_1_1, V5);
// [MQTT-4.13.2-1]
async fn shutdown_does_not_wait_for_who_reads_nothing(version: Version) {
    let server =
        Server::with(|config| config.limits.shutdown_drain_max = Duration::from_millis(500)).await;
    let mut stuck = server.connect(connect(version, "stuck")).await;
    stuck.subscribe("a", QOS0).await;
    for _ in 0..16 {
        server.publish(publish("a", vec![0; 1 << 20])).await;
    }
    let begin = Instant::now();
    server.shutdown().await;
    assert_elapsed(begin, 0, 2_500);
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_closes_who_has_not_said_connect() {
    let server = Server::start().await;
    let mut silent = server.dial(Version::V5).await;
    let mut half = server.dial(Version::V5).await;
    let bytes = half.encoded(connect(Version::V5, "s"));
    half.send_bytes(&bytes[..bytes.len() - 1]).await;
    while server.metrics().connections_open < 2 {
        sleep_ms(5).await;
    }
    // They sleep by now.
    sleep_ms(50).await;
    let begin = Instant::now();
    server.shutdown().await;
    silent.expect_closed().await;
    half.expect_closed().await;
    assert_elapsed(begin, 0, 2_500);
}

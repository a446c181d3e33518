//! When a silent peer is given up.
//!
//! Times begin before the client's last packet is sent: the server counts from when it has that, and its answer may be read much
//! later on a busy machine.

use std::time::Instant;

use crate::support::*;

versions!(a_silent_client_is_closed_at_one_and_a_half_keep_alives: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-22] [MQTT-3.2.2-22] [MQTT-3.1.2-24 @3.1.1] [MQTT-3.1 s3.1] The Will goes out.
async fn a_silent_client_is_closed_at_one_and_a_half_keep_alives(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(Version::V5, "watcher")).await;
    watcher.subscribe("will", QOS0).await;
    let packet = connect(version, "s").keep_alive(1).will(will("will", "gone"));
    let last_packet = Instant::now();
    let mut client = server.connect(packet).await;
    client.expect_end(ReasonCode::KeepAliveTimeout).await;
    assert_elapsed(last_packet, 1_400, 2_500);
    watcher.expect(publish("will", "gone")).await;
}

versions!(so_is_one_whose_time_is_further_away: V3_1_1);
// [MQTT-3.1.2-22] [MQTT-3.1.2-24 @3.1.1] What is due later than in five seconds is waited for in another way.
async fn so_is_one_whose_time_is_further_away(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").keep_alive(5)).await;
    sleep_ms(3_000).await;
    let last_packet = Instant::now();
    client.ping().await;
    client.expect_nothing_for(std::time::Duration::from_millis(4_000)).await;
    client.expect_closed().await;
    assert_elapsed(last_packet, 7_400, 8_800);
}

versions!(any_packet_keeps_a_client_alive: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-20] [MQTT-3.12.4-1] [MQTT-3.1.2-23 @3.1.1] [MQTT-3.12.4-1 @3.1.1]
async fn any_packet_keeps_a_client_alive(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").keep_alive(1)).await;
    sleep_ms(800).await;
    client.ping().await;
    sleep_ms(800).await;
    client.send(publish("nobody", "x")).await;
    sleep_ms(800).await;
    client.publish(publish("nobody", "x").qos(QOS1)).await;
    sleep_ms(800).await;
    client.ping().await;
}

versions!(messages_to_a_client_do_not_keep_it_alive: V3_1_1, V5);
// [MQTT-3.1.2-22] [MQTT-3.1.2-24 @3.1.1] What the client sends counts, not what it is sent.
async fn messages_to_a_client_do_not_keep_it_alive(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").keep_alive(1)).await;
    let last_packet = Instant::now();
    client.subscribe("a", QOS0).await;
    for _ in 0..4 {
        sleep_ms(250).await;
        server.publish(publish("a", "x")).await;
        client.expect(publish("a", "x")).await;
    }
    client.expect_end(ReasonCode::KeepAliveTimeout).await;
    assert_elapsed(last_packet, 1_400, 2_500);
}

versions!(keep_alive_0_is_no_keep_alive: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-22] [MQTT-3.1.2-24 @3.1.1]
async fn keep_alive_0_is_no_keep_alive(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").keep_alive(0)).await;
    sleep_ms(2_000).await;
    client.ping().await;
}

versions!(server_keep_alive_replaces_the_clients: V5);
// [MQTT-3.1.2-21] [MQTT-3.2.2-21]
async fn server_keep_alive_replaces_the_clients(version: Version) {
    let server = Server::with(|config| config.limits.keep_alive_max = Some(1)).await;
    for asked in [0, 600] {
        let last_packet = Instant::now();
        let mut client = server.connect(connect(version, "s").keep_alive(asked)).await;
        assert_eq!(client.connack().properties.server_keep_alive, Some(1));
        client.expect_end(ReasonCode::KeepAliveTimeout).await;
        assert_elapsed(last_packet, 1_400, 2_500);
    }
    let client = server.connect(connect(version, "s").keep_alive(1)).await;
    assert_eq!(client.connack().properties.server_keep_alive, None);
}

//! One client id, one connection; and when the Will Message of a connection goes out.

use std::time::{Duration, Instant};

use crate::support::*;
use futures_util::future::join_all;

/// A broker and a client that sees every will.
async fn watched() -> (Server, Client) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(Version::V5, "watcher")).await;
    watcher.subscribe("will/#", QOS2).await;
    (server, watcher)
}

// ---- Takeover ----

versions!(a_second_connect_takes_the_client_id_over: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-3] [MQTT-3.1.4-2 @3.1.1]
async fn a_second_connect_takes_the_client_id_over(version: Version) {
    let server = Server::start().await;
    for newer in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let id = format!("s{newer:?}");
        let mut old = server.connect(connect(version, &id).kept()).await;
        old.subscribe("a", QOS1).await;
        let mut new = server.connect(connect(newer, &id).kept()).await;
        new.assert_session_present(true);
        old.expect_end(ReasonCode::SessionTakenOver).await;

        server.publish(publish("a", "for the new one").qos(QOS1)).await;
        new.expect_and_acknowledge(publish("a", "for the new one").qos(QOS1)).await;
        server.lose(new).await;
    }
}

versions!(a_takeover_resends_what_the_old_connection_left: V3_1, V3_1_1, V5);
// [MQTT-4.4.0-1] [MQTT-4.4.0-1 @3.1.1] [MQTT-3.3.1-1] [MQTT-3.3.1-1 @3.1.1]
async fn a_takeover_resends_what_the_old_connection_left(version: Version) {
    let server = Server::start().await;
    let mut old = server.connect(connect(version, "s").kept()).await;
    old.subscribe("a", QOS1).await;
    server.publish(publish("a", "x").qos(QOS1)).await;
    let id = old.expect_message(publish("a", "x").qos(QOS1)).await;

    let mut new = server.connect(connect(version, "s").kept()).await;
    new.assert_session_present(true);
    new.expect(publish("a", "x").qos(QOS1).id(id).dup()).await;
    old.expect_end(ReasonCode::SessionTakenOver).await;
}

versions!(a_takeover_does_not_wait_for_a_peer_that_reads_nothing: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-3] [MQTT-3.1.4-2 @3.1.1] A dead peer must not keep its own client out.
async fn a_takeover_does_not_wait_for_a_peer_that_reads_nothing(version: Version) {
    let server = Server::start().await;
    let mut old = server.connect(connect(version, "s").kept()).await;
    old.subscribe("a", QOS0).await;
    let big = publish("a", vec![0; 1 << 20]);
    for _ in 0..16 {
        server.publish(big.clone()).await;
    }
    let before = Instant::now();
    let mut new = server.connect(connect(version, "s").kept()).await;
    assert!(new.is_alive().await);
    assert_elapsed(before, 0, 1_500);
}

versions!(a_takeover_storm_ends_with_one_owner: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-3] [MQTT-3.1.4-2 @3.1.1]
async fn a_takeover_storm_ends_with_one_owner(version: Version) {
    const CLIENTS: usize = 50;
    let server = Server::start().await;
    for round in 0..3 {
        let id = format!("storm{round}");
        let sockets = join_all((0..CLIENTS).map(|_| server.dial(version))).await;
        let connect = connect(version, &id).kept();
        let storm = sockets.into_iter().map(async |mut client| {
            client.send(connect.clone()).await;
            client.answered().await;
            client
        });
        let clients = within("an answer to every CONNECT", join_all(storm)).await;
        let mut owners = Vec::new();
        for mut client in clients {
            if client.is_alive().await {
                owners.push(client);
            }
        }
        assert_eq!(owners.len(), 1, "one owner");
        server.clients_connected(1).await;
        let owner = owners.first_mut().expect("one owner");
        owner.subscribe("a", QOS1).await;
        server.publish(publish("a", "x").qos(QOS1)).await;
        owner.expect_and_acknowledge(publish("a", "x").qos(QOS1)).await;
        drop(owners);
        server.clients_connected(0).await;
    }
}

// ---- The Will, when a connection ends without DISCONNECT ----

versions!(a_lost_connection_publishes_the_will: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-8] [MQTT-3.1.2-7] [MQTT-3.1.2-14] [MQTT-3.1.2-8 @3.1.1] [MQTT-3.1.2-16 @3.1.1] [MQTT-3.1.2-9 @3.1.1]
async fn a_lost_connection_publishes_the_will(version: Version) {
    let (server, mut watcher) = watched().await;
    for qos in [QOS0, QOS1, QOS2] {
        let packet = connect(version, "s").will(will("will/s", "gone").qos(qos));
        let client = server.connect(packet).await;
        drop(client);
        watcher.expect_and_acknowledge(publish("will/s", "gone").qos(qos)).await;
    }
    let mut late = server.connect(connect(version, "late")).await;
    late.subscribe("will/#", QOS2).await;
    late.expect_nothing().await;
}

versions!(a_retained_will_is_published_retained: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-15] [MQTT-3.1.2-17 @3.1.1]
async fn a_retained_will_is_published_retained(version: Version) {
    let (server, mut watcher) = watched().await;
    let packet = connect(version, "s").will(will("will/s", "gone").qos(QOS1).retain());
    drop(server.connect(packet).await);
    watcher.expect_and_acknowledge(publish("will/s", "gone").qos(QOS1)).await;

    let mut late = server.connect(connect(version, "late")).await;
    late.subscribe("will/#", QOS2).await;
    late.expect_and_acknowledge(publish("will/s", "gone").qos(QOS1).retain()).await;

    let clearing = connect(version, "s").will(will("will/s", "").qos(QOS1).retain());
    drop(server.connect(clearing).await);
    watcher.expect_and_acknowledge(publish("will/s", "").qos(QOS1)).await;
    let mut later = server.connect(connect(version, "later")).await;
    later.subscribe("will/#", QOS2).await;
    later.expect_nothing().await;
}

versions!(a_connection_without_a_will_leaves_silently: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-12 @3.1.1] [MQTT-3.1.2-10] A resumed session has the will of its latest CONNECT only.
async fn a_connection_without_a_will_leaves_silently(version: Version) {
    let (server, mut watcher) = watched().await;
    let with_will = connect(version, "s").kept().will(will("will/s", "first"));
    let client = server.connect(with_will).await;
    server.disconnect(client).await;
    let client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    server.lose(client).await;
    watcher.expect_nothing().await;
}

versions!(the_will_of_the_latest_connect_counts: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-7] [MQTT-3.1.2-8 @3.1.1]
async fn the_will_of_the_latest_connect_counts(version: Version) {
    let (server, mut watcher) = watched().await;
    for payload in ["first", "second"] {
        let packet = connect(version, "s").kept().will(will("will/s", payload));
        let client = server.connect(packet).await;
        server.lose(client).await;
        watcher.expect(publish("will/s", payload)).await;
    }
}

versions!(the_will_carries_its_properties: V5);
// [MQTT-3.1.3-10] [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
async fn the_will_carries_its_properties(version: Version) {
    let (server, mut watcher) = watched().await;
    let packet = connect(version, "s").will(will("will/s", "gone").with_every_property());
    drop(server.connect(packet).await);
    watcher.expect(publish("will/s", "gone").with_every_property()).await;
}

versions!(a_protocol_error_publishes_the_will: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-8] [MQTT-3.1.0-2] [MQTT-3.14.1-1] [MQTT-3.1.0-2 @3.1.1] [MQTT-3.14.1-1 @3.1.1]
async fn a_protocol_error_publishes_the_will(version: Version) {
    let (server, mut watcher) = watched().await;
    for (what, bytes, reason) in [
        ("flags of DISCONNECT", vec![0xE1, 0], ReasonCode::MalformedPacket),
        ("packet type 0", vec![0x00, 0], ReasonCode::MalformedPacket),
        ("a second CONNECT", connect_bytes(version, "s"), ReasonCode::ProtocolError),
    ] {
        let packet = connect(version, "s").will(will("will/s", what));
        let mut client = server.connect(packet).await;
        client.send_bytes(&bytes).await;
        client.expect_end(reason).await;
        watcher.expect(publish("will/s", what)).await;
    }
}

// ---- DISCONNECT ----

versions!(disconnect_deletes_the_will: V3_1, V3_1_1, V5);
// [MQTT-3.14.4-3] [MQTT-3.1.2-10] [MQTT-3.14.4-3 @3.1.1] [MQTT-3.1.2-10 @3.1.1]
async fn disconnect_deletes_the_will(version: Version) {
    let (server, mut watcher) = watched().await;
    for kept in [false, true] {
        let mut packet = connect(version, "s").will(will("will/s", "never"));
        if kept {
            packet = packet.kept();
        }
        let client = server.connect(packet).await;
        server.disconnect(client).await;
    }
    watcher.expect_nothing().await;
}

versions!(only_disconnect_with_reason_0_deletes_the_will: V5);
// [MQTT-3.1.2-8] [MQTT-3.14.4-3]
async fn only_disconnect_with_reason_0_deletes_the_will(version: Version) {
    let (server, mut watcher) = watched().await;
    for reason in [
        ReasonCode::DisconnectWithWillMessage,
        ReasonCode::UnspecifiedError,
        ReasonCode::ImplementationSpecificError,
        ReasonCode::QuotaExceeded,
    ] {
        let packet = connect(version, "s").will(will("will/s", "gone"));
        let mut client = server.connect(packet).await;
        client.send(disconnect(reason)).await;
        client.expect_closed().await;
        watcher.expect(publish("will/s", "gone")).await;
    }
}

versions!(disconnect_with_will_obeys_the_delay: V5);
// [MQTT-3.1.2-8]
async fn disconnect_with_will_obeys_the_delay(version: Version) {
    let (server, mut watcher) = watched().await;
    let packet = connect(version, "s").expiry(100).will(will("will/s", "gone").delay(1));
    let mut client = server.connect(packet).await;
    let left = Instant::now();
    client.send(disconnect(ReasonCode::DisconnectWithWillMessage)).await;
    client.expect_closed().await;
    watcher.expect(publish("will/s", "gone")).await;
    assert_elapsed(left, 900, 2_000);
}

versions!(a_shorter_expiry_in_disconnect_brings_the_will_forward: V5);
// [MQTT-3.1.2-8] The session's end comes before the Will Delay.
async fn a_shorter_expiry_in_disconnect_brings_the_will_forward(version: Version) {
    let (server, mut watcher) = watched().await;
    for (expiry, from, to) in [(0, 0, 500), (1, 900, 2_000)] {
        let packet = connect(version, "s").expiry(100).will(will("will/s", "gone").delay(100));
        let mut client = server.connect(packet).await;
        let left = Instant::now();
        let mut disconnect = disconnect(ReasonCode::DisconnectWithWillMessage);
        disconnect.session_expiry_interval = Some(expiry);
        client.send(disconnect).await;
        client.expect_closed().await;
        watcher.expect(publish("will/s", "gone")).await;
        assert_elapsed(left, from, to);
    }
}

// ---- Will Delay ----

versions!(the_will_goes_at_its_delay_or_at_the_end_of_the_session: V5);
// [MQTT-3.1.2-8] Whichever comes first.
async fn the_will_goes_at_its_delay_or_at_the_end_of_the_session(version: Version) {
    let cases = [
        ("the delay is shorter", 1, 100, 900, 2_000),
        ("the session is shorter", 100, 1, 900, 2_000),
        ("the session ends with the connection", 100, 0, 0, 500),
        ("no delay", 0, 100, 0, 500),
    ];
    join_all(cases.map(async |(what, delay, expiry, from, to)| {
        let (server, mut watcher) = watched().await;
        let packet = connect(version, "s").expiry(expiry).will(will("will/s", what).delay(delay));
        let client = server.connect(packet).await;
        let left = Instant::now();
        drop(client);
        watcher.expect(publish("will/s", what)).await;
        assert_elapsed(left, from, to);
    }))
    .await;
}

versions!(a_will_is_published_once: V5);
// [MQTT-3.1.2-10] Neither the end of the session nor a new connection brings it again.
async fn a_will_is_published_once(version: Version) {
    let (server, mut watcher) = watched().await;
    let packet = connect(version, "s").expiry(1).will(will("will/s", "gone"));
    drop(server.connect(packet).await);
    watcher.expect(publish("will/s", "gone")).await;
    let client = server.connect(connect(version, "s").clean(false)).await;
    drop(client);
    watcher.expect_nothing_for(Duration::from_millis(1_500)).await;
}

versions!(a_client_that_returns_in_time_cancels_its_will: V5);
// [MQTT-3.1.3-9]
async fn a_client_that_returns_in_time_cancels_its_will(version: Version) {
    let (server, mut watcher) = watched().await;
    let packet = connect(version, "s").expiry(100).will(will("will/s", "gone").delay(1));
    let client = server.connect(packet).await;
    server.lose(client).await;
    let client = server.connect(connect(version, "s").clean(false).expiry(100)).await;
    client.assert_session_present(true);
    watcher.expect_nothing_for(Duration::from_millis(1_600)).await;
    drop(client);
}

versions!(a_clean_start_before_the_delay_publishes_the_will_at_once: V5);
// [MQTT-3.1.2-8] [MQTT-3.1.2-4] Clean Start ends the old session.
async fn a_clean_start_before_the_delay_publishes_the_will_at_once(version: Version) {
    let (server, mut watcher) = watched().await;
    let packet = connect(version, "s").expiry(100).will(will("will/s", "gone").delay(100));
    let client = server.connect(packet).await;
    server.lose(client).await;
    watcher.expect_nothing().await;
    let _client = server.connect(connect(version, "s").clean(true)).await;
    watcher.expect(publish("will/s", "gone")).await;
}

// ---- Takeover and Will ----

versions!(a_takeover_publishes_the_will_of_3x: V3_1, V3_1_1);
// [MQTT-3.1.4-2 @3.1.1] [MQTT-3.1.2-8 @3.1.1]
async fn a_takeover_publishes_the_will_of_3x(version: Version) {
    let (server, mut watcher) = watched().await;
    for kept in [false, true] {
        let packet = || match kept {
            true => connect(version, "s").kept(),
            false => connect(version, "s"),
        };
        let mut old = server.connect(packet().will(will("will/s", "gone"))).await;
        let new = server.connect(packet()).await;
        old.expect_closed().await;
        watcher.expect(publish("will/s", "gone")).await;
        server.lose(new).await;
    }
    watcher.expect_nothing().await;
}

versions!(a_disconnect_counts_if_it_came_before_the_takeover: V3_1, V3_1_1, V5);
// [MQTT-3.14.4-3] [MQTT-3.14.4-3 @3.1.1] Whichever of the two connections is looked at first.
async fn a_disconnect_counts_if_it_came_before_the_takeover(version: Version) {
    const ROUNDS: usize = 300;
    let (server, mut watcher) = watched().await;
    for _ in 0..ROUNDS {
        let mut new = server.dial(version).await;
        let mut old = server.connect(connect(version, "s").will(will("will/s", "gone"))).await;
        old.send(disconnect(ReasonCode::Success)).await;
        new.send(connect(version, "s")).await;
        new.expect_connack(false).await;
        old.expect_closed().await;
        new.end_session().await;
    }
    watcher.expect_nothing().await;
}

versions!(a_takeover_publishes_a_will_without_delay: V5);
// [MQTT-3.1.4-3] [MQTT-3.1.2-8] The old Network Connection is closed: that is what the Will is for.
async fn a_takeover_publishes_a_will_without_delay(version: Version) {
    let (server, mut watcher) = watched().await;
    let packet = connect(version, "s").expiry(100).will(will("will/s", "gone"));
    let mut old = server.connect(packet).await;
    let new = server.connect(connect(version, "s").clean(false).expiry(100)).await;
    new.assert_session_present(true);
    old.expect_end(ReasonCode::SessionTakenOver).await;
    watcher.expect(publish("will/s", "gone")).await;
    watcher.expect_nothing().await;
}

versions!(a_takeover_that_ends_the_old_session_publishes_a_delayed_will_at_once: V5);
// [MQTT-3.1.4-3] [MQTT-3.1.2-8] Old expiry 0, or Clean Start 1.
async fn a_takeover_that_ends_the_old_session_publishes_a_delayed_will_at_once(version: Version) {
    let (server, mut watcher) = watched().await;
    for (old_expiry, clean_start) in [(0, false), (0, true), (100, true)] {
        let packet =
            connect(version, "s").expiry(old_expiry).will(will("will/s", "gone").delay(100));
        let mut old = server.connect(packet).await;
        let new = connect(version, "s").clean(clean_start);
        let new = server.connect(new).await;
        new.assert_session_present(false);
        old.expect_end(ReasonCode::SessionTakenOver).await;
        watcher.expect(publish("will/s", "gone")).await;
        server.lose(new).await;
    }
}

versions!(a_takeover_that_resumes_cancels_a_delayed_will: V5);
// [MQTT-3.1.3-9] [MQTT-3.1.4-3]
async fn a_takeover_that_resumes_cancels_a_delayed_will(version: Version) {
    let (server, mut watcher) = watched().await;
    let packet = connect(version, "s").expiry(100).will(will("will/s", "gone").delay(1));
    let mut old = server.connect(packet).await;
    let new = server.connect(connect(version, "s").clean(false).expiry(100)).await;
    new.assert_session_present(true);
    old.expect_end(ReasonCode::SessionTakenOver).await;
    watcher.expect_nothing_for(Duration::from_millis(1_600)).await;
    drop(new);
}

versions!(a_refused_connect_neither_takes_over_nor_leaves_a_will: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] [MQTT-3.1.2-8] A Will is stored when a CONNECT is accepted. [MQTT-3.1.2-8 @3.1.1]
async fn a_refused_connect_neither_takes_over_nor_leaves_a_will(version: Version) {
    let (server, mut watcher) = watched().await;
    let mut old = server.connect(connect(version, "s")).await;
    let refused = connect(version, "s").will(will("$SYS/will", "never"));
    server.refused(refused, ReasonCode::NotAuthorized).await;
    old.ping().await;
    watcher.expect_nothing().await;
}

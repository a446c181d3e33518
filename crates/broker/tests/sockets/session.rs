//! How long a session lives, who gets which Client Identifier, and what a returning client finds.

use std::time::Duration;

use crate::support::*;

versions!(a_session_without_expiry_ends_with_its_connection: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-23] Session Expiry Interval absent is 0. [MQTT-4.1.0-2] [MQTT-3.1.2-6 @3.1.1] [MQTT-3.1 s3.1]
async fn a_session_without_expiry_ends_with_its_connection(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").clean(true)).await;
    client.subscribe("a", QOS1).await;
    server.disconnect(client).await;
    server.publish(publish("a", "while away").qos(QOS1)).await;

    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(false);
    client.expect_nothing().await;
}

versions!(expiry_zero_is_the_same_as_expiry_absent: V5);
// [MQTT-3.1.2-23]
async fn expiry_zero_is_the_same_as_expiry_absent(version: Version) {
    let server = Server::start().await;
    for expiry in [None, Some(0)] {
        let mut first = connect(version, "s").clean(false);
        first.properties.session_expiry_interval = expiry;
        let client = server.connect(first).await;
        server.disconnect(client).await;
        let again = connect(version, "s").clean(false).expiry(100);
        let client = server.connect(again).await;
        client.assert_session_present(false);
        server.lose(client).await;
    }
}

versions!(expiry_of_all_ones_never_comes: V5);
// [MQTT-4.1.0-2] 0xFFFFFFFF: the session does not expire.
async fn expiry_of_all_ones_never_comes(version: Version) {
    let server = Server::start().await;
    for (id, expiry) in [("never", u32::MAX), ("soon", 1)] {
        let kept = connect(version, id).clean(false).expiry(expiry);
        let client = server.connect(kept).await;
        assert_eq!(client.connack().properties.session_expiry_interval, None);
        server.disconnect(client).await;
    }
    sleep_ms(1_600).await;
    let never = server.connect(connect(version, "never").clean(false)).await;
    never.assert_session_present(true);
    let soon = server.connect(connect(version, "soon").clean(false)).await;
    soon.assert_session_present(false);
}

versions!(expiry_counts_from_the_end_of_the_connection: V5);
// [MQTT-4.1.0-1] Session State is never dropped while the Network Connection is open. [MQTT-4.1.0-2]
async fn expiry_counts_from_the_end_of_the_connection(version: Version) {
    let server = Server::start().await;
    let short = || connect(version, "s").clean(false).expiry(1);
    let mut client = server.connect(short()).await;
    client.subscribe("a", QOS1).await;
    sleep_ms(1_500).await;
    server.publish(publish("a", "still here").qos(QOS1)).await;
    client.expect_and_acknowledge(publish("a", "still here").qos(QOS1)).await;
    server.lose(client).await;

    let client = server.connect(short()).await;
    client.assert_session_present(true);
}

versions!(clean_session_0_of_3x_never_expires: V3_1, V3_1_1);
// [MQTT-3.1.2-4 @3.1.1] [MQTT-3.1.2-5 @3.1.1] [MQTT-3.1 s3.1]
async fn clean_session_0_of_3x_never_expires(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").clean(false)).await;
    client.assert_session_present(false);
    client.subscribe("a", QOS1).await;
    server.disconnect(client).await;
    sleep_ms(1_200).await;
    server.publish(publish("a", "stored").qos(QOS1)).await;

    let mut client = server.connect(connect(version, "s").clean(false)).await;
    client.assert_session_present(true);
    client.expect_message(publish("a", "stored").qos(QOS1)).await;
}

versions!(session_expiry_max_ends_what_would_never_end: V3_1, V3_1_1, V5);
// [MQTT-4.1.0-2] The Server may use a shorter Session Expiry Interval than it was asked for.
async fn session_expiry_max_ends_what_would_never_end(version: Version) {
    let server = Server::with(|config| {
        config.limits.session_expiry_max = Some(Duration::from_secs(1));
    })
    .await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS1).await;
    server.disconnect(client).await;
    let client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    server.disconnect(client).await;

    sleep_ms(1_600).await;
    server.publish(publish("a", "too late").qos(QOS1)).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(false);
    client.expect_nothing().await;
}

versions!(session_expiry_max_is_told_in_connack: V5);
// (3.2.2.3.2) Only a value that differs from what the Client asked for is told.
async fn session_expiry_max_is_told_in_connack(version: Version) {
    let server = Server::with(|config| {
        config.limits.session_expiry_max = Some(Duration::from_secs(60));
    })
    .await;
    for (asked, told) in [
        (Some(u32::MAX), Some(60)),
        (Some(61), Some(60)),
        (Some(60), None),
        (Some(5), None),
        (Some(0), None),
        (None, None),
    ] {
        let mut packet = connect(version, "s").clean(true);
        packet.properties.session_expiry_interval = asked;
        let client = server.connect(packet).await;
        let properties = &client.connack().properties;
        assert_eq!(properties.session_expiry_interval, told, "asked for {asked:?}");
        server.lose(client).await;
    }
}

versions!(disconnect_changes_the_expiry: V5);
// [MQTT-3.14.2-2] The Client may; the Server never does. (3.14.2.2.2)
async fn disconnect_changes_the_expiry(version: Version) {
    let server = Server::start().await;
    let cases = [
        ("longer", 1, Some(100), true),
        ("shorter", 100, Some(1), false),
        ("ended", 100, Some(0), false),
        ("unchanged", 100, None, true),
    ];
    for (id, at_connect, at_disconnect, _) in cases {
        let packet = connect(version, id).clean(false).expiry(at_connect);
        let mut client = server.connect(packet).await;
        let mut disconnect = disconnect(ReasonCode::Success);
        disconnect.session_expiry_interval = at_disconnect;
        client.send(disconnect).await;
        client.expect_closed().await;
    }
    sleep_ms(1_600).await;
    for (id, .., present) in cases {
        let client = server.connect(connect(version, id).clean(false)).await;
        assert_eq!(client.connack().session_present, present, "{id}");
    }
}

versions!(disconnect_may_not_raise_the_expiry_from_zero: V5);
// [MQTT-3.14.2-2] (3.14.2.2.2) A Protocol Error.
async fn disconnect_may_not_raise_the_expiry_from_zero(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("will", QOS0).await;
    for absent in [true, false] {
        let mut packet = connect(version, "s").clean(false).will(will("will", "gone"));
        packet.properties.session_expiry_interval = (!absent).then_some(0);
        let mut client = server.connect(packet).await;
        let mut disconnect = disconnect(ReasonCode::Success);
        disconnect.session_expiry_interval = Some(10);
        client.send(disconnect).await;
        client.expect_end(ReasonCode::ProtocolError).await;
        watcher.expect(publish("will", "gone")).await;

        let client = server.connect(connect(version, "s").clean(false)).await;
        client.assert_session_present(false);
        server.lose(client).await;
    }
}

versions!(disconnect_may_repeat_an_expiry_of_zero: V5);
// [MQTT-3.14.2-2] (3.14.2.2.2) Only a value above 0 raises it.
async fn disconnect_may_repeat_an_expiry_of_zero(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    let mut disconnect = disconnect(ReasonCode::Success);
    disconnect.session_expiry_interval = Some(0);
    client.send(disconnect).await;
    client.expect_closed().await;
}

versions!(a_live_session_with_expiry_0_is_not_resumed: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-6] [MQTT-3.2.2-3] [MQTT-3.1.2-6 @3.1.1] [MQTT-3.2.2-3 @3.1.1]
async fn a_live_session_with_expiry_0_is_not_resumed(version: Version) {
    let server = Server::start().await;
    let mut old = server.connect(connect(version, "s").clean(true)).await;
    old.subscribe("a", QOS1).await;

    let mut new = server.connect(connect(version, "s").kept()).await;
    new.assert_session_present(false);
    old.expect_end(ReasonCode::SessionTakenOver).await;
    server.publish(publish("a", "for the old one").qos(QOS1)).await;
    new.expect_nothing().await;
}

versions!(a_kept_session_is_resumed_with_subscriptions_and_queue: V3_1, V3_1_1, V5);
// [MQTT-4.1.0-2 @3.1.1]
// [MQTT-3.1.2-5] [MQTT-3.2.2-3] [MQTT-3.1.2-23] [MQTT-4.5.0-1] [MQTT-3.1.2-4 @3.1.1] [MQTT-3.2.2-2 @3.1.1] [MQTT-4.5.0-1 @3.1.1]
async fn a_kept_session_is_resumed_with_subscriptions_and_queue(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(false);
    client.subscribe("a/#", QOS2).await;
    server.disconnect(client).await;
    server.publish(publish("a/1", "one").qos(QOS1)).await;
    server.publish(publish("a/2", "two").qos(QOS2)).await;

    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    client.expect_and_acknowledge(publish("a/1", "one").qos(QOS1)).await;
    client.expect_and_acknowledge(publish("a/2", "two").qos(QOS2)).await;
    server.publish(publish("a/3", "three").qos(QOS1)).await;
    client.expect_and_acknowledge(publish("a/3", "three").qos(QOS1)).await;
}

versions!(a_lost_connection_keeps_the_session_too: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-23] [MQTT-3.1.2-4 @3.1.1]
async fn a_lost_connection_keeps_the_session_too(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS1).await;
    server.lose(client).await;
    server.publish(publish("a", "x").qos(QOS1)).await;

    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    client.expect_message(publish("a", "x").qos(QOS1)).await;
}

versions!(a_clean_start_throws_the_old_session_away: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2] [MQTT-3.1.2-6 @3.1.1] [MQTT-3.1.4-3 @3.1.1] [MQTT-3.2.2-1 @3.1.1]
async fn a_clean_start_throws_the_old_session_away(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS1).await;
    server.disconnect(client).await;
    server.publish(publish("a", "queued").qos(QOS1)).await;

    let mut client = server.connect(connect(version, "s").clean(true)).await;
    client.assert_session_present(false);
    server.publish(publish("a", "live").qos(QOS1)).await;
    client.expect_nothing().await;
    server.disconnect(client).await;

    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(false);
    client.expect_nothing().await;
}

versions!(a_clean_start_with_expiry_begins_a_session_that_is_kept: V5);
// [MQTT-3.1.2-4] Clean Start says how it begins, the expiry how it ends.
async fn a_clean_start_with_expiry_begins_a_session_that_is_kept(version: Version) {
    let server = Server::start().await;
    let client = server.connect(connect(version, "s").clean(true).expiry(100)).await;
    server.disconnect(client).await;
    let client = server.connect(connect(version, "s").clean(false)).await;
    client.assert_session_present(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.3-2] [MQTT-3.1.3-2 @3.1.1] The Client Identifier alone names the session.
async fn a_session_may_be_resumed_in_another_version() {
    let server = Server::start().await;
    let order = [Version::V3_1, Version::V5, Version::V3_1_1, Version::V5];
    for (turn, pair) in order.windows(2).enumerate() {
        let [first, second] = *pair else { unreachable!("windows of two") };
        let id = format!("s{turn}");
        let mut client = server.connect(connect(first, &id).kept()).await;
        client.subscribe("a", QOS1).await;
        server.disconnect(client).await;
        server.publish(publish("a", "x").qos(QOS1)).await;
        let mut client = server.connect(connect(second, &id).kept()).await;
        client.assert_session_present(true);
        client.expect_and_acknowledge(publish("a", "x").qos(QOS1)).await;
        server.lose(client).await;
    }
}

versions!(an_empty_client_id_is_assigned: V5);
// [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
async fn an_empty_client_id_is_assigned(version: Version) {
    let server = Server::start().await;
    let mut seen = Vec::new();
    for clean in [true, false, true] {
        let anonymous = connect(version, "").clean(clean).expiry(100);
        let mut client = server.connect(anonymous).await;
        client.assert_session_present(false);
        let id = client.assigned_id();
        assert!((1..=22).contains(&id.len()), "{id} is too long");
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert!(!seen.contains(&id), "{id} was assigned before");
        client.subscribe("a", QOS1).await;
        server.disconnect(client).await;

        let mut again = server.connect(connect(version, &id).clean(false).expiry(0)).await;
        again.assert_session_present(true);
        assert_eq!(again.connack().properties.assigned_client_id, None);
        server.publish(publish("a", "x").qos(QOS1)).await;
        again.expect_and_acknowledge(publish("a", "x").qos(QOS1)).await;
        server.disconnect(again).await;
        seen.push(id);
    }
}

versions!(an_empty_client_id_with_clean_session_is_taken: V3_1_1);
// [MQTT-3.1.3-6 @3.1.1] Each gets an identifier of its own: none takes another over.
async fn an_empty_client_id_with_clean_session_is_taken(version: Version) {
    let server = Server::start().await;
    let mut first = server.connect(connect(version, "").clean(true)).await;
    let mut second = server.connect(connect(version, "").clean(true)).await;
    first.ping().await;
    second.ping().await;
}

versions!(an_empty_client_id_without_clean_session_is_refused: V3_1_1);
// [MQTT-3.1.3-7 @3.1.1] [MQTT-3.1.3-8 @3.1.1] [MQTT-3.1.3-9 @3.1.1] [MQTT-3.2.2-4 @3.1.1] [MQTT-3.2.2-5 @3.1.1]
async fn an_empty_client_id_without_clean_session_is_refused(version: Version) {
    let server = Server::start().await;
    let mut client = server.dial(version).await;
    client.send(connect(version, "").clean(false)).await;
    client.expect_bytes(&[0x20, 2, 0, 2]).await;
    client.expect_closed().await;
}

versions!(an_empty_client_id_is_always_refused: V3_1);
// [MQTT-3.1 s3.1] At least one character.
async fn an_empty_client_id_is_always_refused(version: Version) {
    let server = Server::start().await;
    for clean in [false, true] {
        let mut client = server.dial(version).await;
        client.send(connect(version, "").clean(clean)).await;
        client.expect_bytes(&[0x20, 2, 0, 2]).await;
        client.expect_closed().await;
    }
}

versions!(client_ids_of_any_length_are_taken: V3_1, V3_1_1, V5);
// [MQTT-3.1.3-5] [MQTT-3.1.3-5 @3.1.1] 1 to 23 bytes must be taken; longer ones are, in 3.1 too.
async fn client_ids_of_any_length_are_taken(version: Version) {
    let server = Server::start().await;
    for length in [1, 23, 24, 200, 65_535] {
        let id = "aZ09".repeat(16_384)[..length].to_owned();
        let client = server.connect(connect(version, &id).kept()).await;
        server.disconnect(client).await;
        let client = server.connect(connect(version, &id).kept()).await;
        client.assert_session_present(true);
    }
}

versions!(client_ids_of_any_characters_are_taken: V3_1, V3_1_1, V5);
// [MQTT-3.1.3-4] [MQTT-3.1.3-4 @3.1.1] Identifiers that differ in one byte are different clients.
async fn client_ids_of_any_characters_are_taken(version: Version) {
    let server = Server::start().await;
    let ids = ["a b", "A b", "ä/+#$", "a\u{308}/+#$", "\u{feff}a b", "設備-1"];
    let mut clients = Vec::new();
    for id in ids {
        clients.push(server.connect(connect(version, id)).await);
    }
    for client in &mut clients {
        client.ping().await;
    }
}

versions!(session_state_outlives_only_its_own_client_id: V3_1, V3_1_1, V5);
// [MQTT-3.1.3-2] [MQTT-3.1.3-2 @3.1.1]
async fn session_state_outlives_only_its_own_client_id(version: Version) {
    let server = Server::start().await;
    let mut one = server.connect(connect(version, "one").kept()).await;
    one.subscribe("a", QOS1).await;
    server.disconnect(one).await;
    server.publish(publish("a", "for one").qos(QOS1)).await;

    let mut two = server.connect(connect(version, "two").kept()).await;
    two.assert_session_present(false);
    two.expect_nothing().await;
    let mut one = server.connect(connect(version, "one").kept()).await;
    one.assert_session_present(true);
    one.expect_message(publish("a", "for one").qos(QOS1)).await;
}

versions!(what_follows_a_disconnect_is_ignored: V3_1, V3_1_1, V5);
// [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-3.14.4-2 @3.1.1] [MQTT-3.14.4-1 @3.1.1]
async fn what_follows_a_disconnect_is_ignored(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    let mut client = server.connect(connect(version, "s")).await;
    let mut bytes = client.encoded(publish("a", "before"));
    bytes.extend(client.encoded(disconnect(ReasonCode::Success)));
    bytes.extend(client.encoded(publish("a", "after")));
    client.send_bytes(&bytes).await;
    client.expect_closed().await;
    watcher.expect(publish("a", "before")).await;
    watcher.expect_nothing().await;
}

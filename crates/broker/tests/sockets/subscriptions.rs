//! Which copies a subscription brings, and with which options.

use crate::support::*;

// ---- Overlapping filters ----

versions!(overlapping_filters_bring_one_copy_at_the_highest_qos: V3_1, V3_1_1, V5);
// [MQTT-3.3.4-2] [MQTT-3.3.5-1 @3.1.1] [MQTT-3.8.4-8] [MQTT-3.8.4-6 @3.1.1]
async fn overlapping_filters_bring_one_copy_at_the_highest_qos(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    for (filter, qos) in [("a/b", QOS0), ("a/+", QOS2), ("#", QOS1)] {
        client.subscribe(filter, qos).await;
    }
    for (published, received) in [(QOS0, QOS0), (QOS1, QOS1), (QOS2, QOS2)] {
        server.publish(publish("a/b", "x").qos(published)).await;
        client.expect_and_acknowledge(publish("a/b", "x").qos(received)).await;
    }
    server.publish(publish("c", "x").qos(QOS2)).await;
    client.expect_and_acknowledge(publish("c", "x").qos(QOS1)).await;
    client.expect_nothing().await;
}

versions!(one_copy_carries_every_subscription_identifier: V5);
// [MQTT-3.3.4-3] [MQTT-3.3.4-4]
async fn one_copy_carries_every_subscription_identifier(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe_as(Some(7), "a/b", options(QOS0)).await;
    client.subscribe_as(Some(268_435_455), "a/+", options(QOS1)).await;
    client.subscribe_as(None, "a/#", options(QOS1)).await;
    client.subscribe_as(Some(7), "+/b", options(QOS0)).await;

    server.publish(publish("a/b", "x").qos(QOS1)).await;
    let (received, mut ids) = client.receive_identified().await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids, [7, 268_435_455]);
    assert_eq!(received, publish("a/b", "x").qos(QOS1).id(received.id_number()));

    server.publish(publish("a/c", "x")).await;
    client.expect(publish("a/c", "x").subscription_ids(&[268_435_455])).await;
    server.publish(publish("a/c/d", "x")).await;
    client.expect(publish("a/c/d", "x")).await;
    client.expect_nothing().await;
}

versions!(retain_is_kept_if_one_overlapping_filter_asks_for_it: V5);
// [MQTT-3.3.1-13] [MQTT-3.3.1-12]
async fn retain_is_kept_if_one_overlapping_filter_asks_for_it(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe_as(None, "a/+", options(QOS1)).await;
    client.subscribe_as(None, "a/b", options(QOS0).keeping_retain()).await;
    server.publish(publish("a/b", "x").qos(QOS1).retain()).await;
    client.expect_and_acknowledge(publish("a/b", "x").qos(QOS1).retain()).await;
    server.publish(publish("a/c", "x").qos(QOS1).retain()).await;
    client.expect_and_acknowledge(publish("a/c", "x").qos(QOS1)).await;
    client.expect_nothing().await;
}

versions!(a_filter_with_no_local_does_not_silence_another: V5);
// [MQTT-3.8.3-3] [MQTT-3.3.4-4] Only what matched without No Local counts: its QoS, its identifier.
async fn a_filter_with_no_local_does_not_silence_another(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe_as(Some(1), "a/b", options(QOS2).no_local()).await;
    client.subscribe_as(Some(2), "a/+", options(QOS0)).await;
    client.send(publish("a/b", "own").qos(QOS1).id(1)).await;
    client.expect_both(puback(1), publish("a/b", "own").subscription_ids(&[2])).await;
    server.publish(publish("a/b", "other").qos(QOS1)).await;
    let (received, mut ids) = client.receive_identified().await;
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    assert_eq!(received.qos, QOS1);
    client.expect_nothing().await;
}

versions!(a_shared_subscription_of_the_same_client_is_separate: V5);
// [MQTT-3.3.4-5] [MQTT-4.8.2-3]
async fn a_shared_subscription_of_the_same_client_is_separate(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe_as(Some(1), "a/+", options(QOS0)).await;
    client.subscribe_as(Some(2), "$share/g/a/+", options(QOS0)).await;
    server.publish(publish("a/b", "x")).await;
    client
        .expect_both(
            publish("a/b", "x").subscription_ids(&[1]),
            publish("a/b", "x").subscription_ids(&[2]),
        )
        .await;
    client.expect_nothing().await;
}

// ---- No Local ----

versions!(no_local_keeps_a_clients_own_messages_from_it: V5);
// [MQTT-3.8.3-3]
async fn no_local_keeps_a_clients_own_messages_from_it(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe_as(None, "a", options(QOS1).no_local()).await;
    for qos in [QOS0, QOS1, QOS2] {
        client.publish(publish("a", "own").qos(qos)).await;
    }
    client.expect_nothing().await;
    server.publish(publish("a", "other").qos(QOS1)).await;
    client.expect_and_acknowledge(publish("a", "other").qos(QOS1)).await;

    // The client is its identifier, also after a reconnect.
    server.lose(client).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    client.publish(publish("a", "own").qos(QOS1)).await;
    client.expect_nothing().await;
}

versions!(no_local_holds_for_the_clients_will_too: V5);
// [MQTT-3.8.3-3] The Will is published in the name of the client that left it.
async fn no_local_holds_for_the_clients_will_too(version: Version) {
    let server = Server::start().await;
    let packet = connect(version, "s").kept().will(will("a", "gone").qos(QOS1));
    let mut client = server.connect(packet).await;
    client.subscribe_as(None, "a", options(QOS1).no_local()).await;
    server.lose(client).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    client.expect_nothing().await;
}

versions!(own_messages_come_back_without_no_local: V3_1, V3_1_1, V5);
// [MQTT-3.3.5-1 @3.1.1] [MQTT-4.5.0-1]
async fn own_messages_come_back_without_no_local(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a", QOS2).await;
    client.send(publish("a", "0")).await;
    client.expect(publish("a", "0")).await;
}

versions!(no_local_on_a_shared_subscription_is_a_protocol_error: V5);
// [MQTT-3.8.3-4]
async fn no_local_on_a_shared_subscription_is_a_protocol_error(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(subscribe_with(1, None, &[("$share/g/a", options(QOS1).no_local())])).await;
    client.expect_end(ReasonCode::ProtocolError).await;
}

// ---- Retain Handling, Retain As Published ----

versions!(retain_handling_0_sends_at_every_subscribe: V3_1, V3_1_1, V5);
// [MQTT-3.3.1-9] [MQTT-3.8.4-4] [MQTT-3.3.1-6 @3.1.1] [MQTT-3.8.4-3 @3.1.1] [MQTT-3.3.1-8 @3.1.1]
async fn retain_handling_0_sends_at_every_subscribe(version: Version) {
    let server = Server::start().await;
    server.publish(publish("a", "kept").qos(QOS1).retain()).await;
    let mut client = server.connect(connect(version, "s")).await;
    for _ in 0..3 {
        // `subscribe` fails unless SUBACK is the first packet.
        client.subscribe("a", QOS1).await;
        client.expect_and_acknowledge(publish("a", "kept").qos(QOS1).retain()).await;
    }
    client.expect_nothing().await;
}

versions!(retain_handling_1_sends_only_to_a_new_subscription: V5);
// [MQTT-3.3.1-10]
async fn retain_handling_1_sends_only_to_a_new_subscription(version: Version) {
    let server = Server::start().await;
    server.publish(publish("a", "kept").retain()).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe_as(None, "a", options(QOS0).if_new()).await;
    client.expect(publish("a", "kept").retain()).await;
    client.subscribe_as(Some(1), "a", options(QOS1).if_new()).await;
    client.expect_nothing().await;
    // A resumed session's subscription is not new.
    server.lose(client).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe_as(None, "a", options(QOS0).if_new()).await;
    client.expect_nothing().await;
    // After UNSUBSCRIBE it is.
    client.unsubscribe("a").await;
    client.subscribe_as(None, "a", options(QOS0).if_new()).await;
    client.expect(publish("a", "kept").retain()).await;
}

versions!(retain_handling_2_sends_nothing: V5);
// [MQTT-3.3.1-11]
async fn retain_handling_2_sends_nothing(version: Version) {
    let server = Server::start().await;
    server.publish(publish("a", "kept").retain()).await;
    let mut client = server.connect(connect(version, "s")).await;
    for _ in 0..2 {
        client.subscribe_as(None, "a", options(QOS0).never()).await;
        client.expect_nothing().await;
    }
    server.publish(publish("a", "live").retain()).await;
    client.expect(publish("a", "live")).await;
}

versions!(retained_copies_have_retain_1_whatever_retain_as_published_says: V5);
// [MQTT-3.3.1-9] (3.3.1.3)
async fn retained_copies_have_retain_1_whatever_retain_as_published_says(version: Version) {
    let server = Server::start().await;
    server.publish(publish("a", "kept").retain()).await;
    let mut client = server.connect(connect(version, "s")).await;
    for options in [options(QOS0), options(QOS0).keeping_retain()] {
        client.subscribe_as(Some(9), "a", options).await;
        client.expect(publish("a", "kept").retain().subscription_ids(&[9])).await;
    }
}

versions!(retain_as_published_keeps_the_publishers_retain: V5);
// [MQTT-3.3.1-12] [MQTT-3.3.1-13]
async fn retain_as_published_keeps_the_publishers_retain(version: Version) {
    let server = Server::start().await;
    let mut plain = server.connect(connect(version, "plain")).await;
    plain.subscribe("a", QOS0).await;
    let mut kept = server.connect(connect(version, "kept")).await;
    kept.subscribe_as(None, "a", options(QOS0).keeping_retain()).await;
    server.publish(publish("a", "1").retain()).await;
    server.publish(publish("a", "2")).await;
    plain.expect(publish("a", "1")).await;
    plain.expect(publish("a", "2")).await;
    kept.expect(publish("a", "1").retain()).await;
    kept.expect(publish("a", "2")).await;
}

versions!(live_messages_have_retain_0_in_3x: V3_1, V3_1_1);
// [MQTT-3.3.1-9 @3.1.1]
async fn live_messages_have_retain_0_in_3x(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a", QOS1).await;
    server.publish(publish("a", "x").qos(QOS1).retain()).await;
    client.expect_and_acknowledge(publish("a", "x").qos(QOS1)).await;
}

versions!(a_shared_subscription_gets_no_retained_messages: V5);
// [MQTT-3.3.1-9] (4.8.2)
async fn a_shared_subscription_gets_no_retained_messages(version: Version) {
    let server = Server::start().await;
    server.publish(publish("a", "kept").retain()).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("$share/g/a", QOS1).await;
    client.expect_nothing().await;
    server.publish(publish("a", "live").retain()).await;
    client.expect(publish("a", "live")).await;
}

//! What is sent again, and when: after a break in between, and never else.

use std::time::Duration;

use crate::support::*;

versions!(resume_resends_in_order_with_the_same_identifiers: V3_1, V3_1_1, V5);
// [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-3.3.1-1] [MQTT-4.3.3-6] [MQTT-4.3.3-5]
// [MQTT-4.4.0-1 @3.1.1] [MQTT-4.6.0-1 @3.1.1] [MQTT-3.3.1-1 @3.1.1] [MQTT-4.3.3-1 @3.1.1]
async fn resume_resends_in_order_with_the_same_identifiers(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS2).await;
    let sent = [("1", QOS1), ("2", QOS2), ("3", QOS1), ("4", QOS2), ("5", QOS2)];
    let mut ids = Vec::new();
    for (payload, qos) in sent {
        server.publish(publish("a", payload).qos(qos)).await;
        ids.push(client.expect_message(publish("a", payload).qos(qos)).await);
    }
    // 2 is released; 3 is acknowledged; 1, 4 and 5 are not.
    client.send(pubrec(ids[1])).await;
    client.expect(pubrel(ids[1])).await;
    client.send(puback(ids[2])).await;
    client.ping().await;
    server.lose(client).await;
    server.publish(publish("a", "6").qos(QOS1)).await;

    for _ in 0..2 {
        let mut client = server.connect(connect(version, "s").kept()).await;
        client.assert_session_present(true);
        let (released, messages) = client.receive_resent(5).await;
        assert_eq!(released, [ids[1]]);
        assert_eq!(messages[0], publish("a", "1").qos(QOS1).id(ids[0]).dup());
        assert_eq!(messages[1], publish("a", "4").qos(QOS2).id(ids[3]).dup());
        assert_eq!(messages[2], publish("a", "5").qos(QOS2).id(ids[4]).dup());
        assert_eq!(messages[3].payload, "6");
        server.lose(client).await;
    }

    let mut client = server.connect(connect(version, "s").kept()).await;
    client.receive_resent(5).await;
    client.send(puback(ids[0])).await;
    client.send(pubcomp(ids[1])).await;
    client.complete(ids[3]).await;
    client.complete(ids[4]).await;
}

versions!(what_was_never_sent_comes_without_dup: V3_1, V3_1_1, V5);
// [MQTT-4.3.2-2] [MQTT-4.3.3-2] [MQTT-3.3.1-1] [MQTT-4.3.2-1 @3.1.1]
async fn what_was_never_sent_comes_without_dup(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS2).await;
    server.lose(client).await;
    server.publish(publish("a", "1").qos(QOS1)).await;
    server.publish(publish("a", "2").qos(QOS2)).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.expect_and_acknowledge(publish("a", "1").qos(QOS1)).await;
    client.expect_and_acknowledge(publish("a", "2").qos(QOS2)).await;
}

versions!(nothing_is_resent_while_the_connection_stands: V3_1, V3_1_1, V5);
// [MQTT-4.4.0-1] [MQTT-4.4.0-1 @3.1.1] Not by a timer either.
async fn nothing_is_resent_while_the_connection_stands(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a", QOS2).await;
    server.publish(publish("a", "1").qos(QOS1)).await;
    server.publish(publish("a", "2").qos(QOS2)).await;
    client.expect_message(publish("a", "1").qos(QOS1)).await;
    let id = client.expect_message(publish("a", "2").qos(QOS2)).await;
    client.send(pubrec(id)).await;
    client.expect(pubrel(id)).await;
    client.expect_nothing_for(Duration::from_millis(1_800)).await;
}

versions!(a_repeated_pubrec_is_answered_by_pubrel: V3_1, V3_1_1, V5);
// [MQTT-4.3.3-4] [MQTT-4.3.3-1 @3.1.1]
async fn a_repeated_pubrec_is_answered_by_pubrel(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a", QOS2).await;
    server.publish(publish("a", "x").qos(QOS2)).await;
    let id = client.expect_message(publish("a", "x").qos(QOS2)).await;
    for _ in 0..2 {
        client.send(pubrec(id)).await;
        client.expect(pubrel(id)).await;
    }
    client.send(pubcomp(id)).await;
    client.expect_nothing().await;
}

versions!(a_message_refused_by_the_client_does_not_come_back: V5);
// [MQTT-4.4.0-2]
async fn a_message_refused_by_the_client_does_not_come_back(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS2).await;
    server.publish(publish("a", "1").qos(QOS1)).await;
    server.publish(publish("a", "2").qos(QOS2)).await;
    let one = client.expect_message(publish("a", "1").qos(QOS1)).await;
    let two = client.expect_message(publish("a", "2").qos(QOS2)).await;
    client.send(puback(one).code(ReasonCode::QuotaExceeded)).await;
    client.send(pubrec(two).code(ReasonCode::QuotaExceeded)).await;
    client.ping().await;
    server.lose(client).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    client.expect_nothing().await;
}

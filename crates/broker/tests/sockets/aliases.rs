//! Topic Aliases, in both directions.

use crate::support::*;

versions!(an_inbound_alias_stands_for_its_topic: V5);
// [MQTT-3.3.2-12] [MQTT-3.2.2-17]
async fn an_inbound_alias_stands_for_its_topic(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("#", QOS0).await;
    let mut client = server.connect(connect(version, "s")).await;
    assert_eq!(client.connack().properties.topic_alias_maximum, Some(32));
    client.send(publish("first", "1").alias(1)).await;
    client.send(publish("", "2").alias(1)).await;
    client.send(publish("last", "3").alias(32)).await;
    client.send(publish("", "4").alias(32)).await;
    // A topic that comes with a known alias takes the alias over.
    client.send(publish("second", "5").alias(1)).await;
    client.send(publish("", "6").alias(1)).await;
    for (topic, payload) in [
        ("first", "1"),
        ("first", "2"),
        ("last", "3"),
        ("last", "4"),
        ("second", "5"),
        ("second", "6"),
    ] {
        watcher.expect(publish(topic, payload)).await;
    }
    // An alias is good at every QoS.
    client.send(publish("", "7").alias(1).qos(QOS1).id(1)).await;
    client.expect(puback(1)).await;
    client.send(publish("", "8").alias(1).qos(QOS2).id(2)).await;
    client.expect(pubrec(2)).await;
    watcher.expect(publish("second", "7")).await;
    watcher.expect(publish("second", "8")).await;
}

versions!(every_alias_up_to_the_announced_maximum_is_taken: V5);
// [MQTT-3.3.2-12]
async fn every_alias_up_to_the_announced_maximum_is_taken(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("#", QOS0).await;
    let mut client = server.connect(connect(version, "s")).await;
    for alias in 1..=32 {
        client.send(publish(&format!("t{alias}"), "set").alias(alias)).await;
        watcher.expect(publish(&format!("t{alias}"), "set")).await;
    }
    for alias in (1..=32).rev() {
        client.send(publish("", "used").alias(alias)).await;
        watcher.expect(publish(&format!("t{alias}"), "used")).await;
    }
}

versions!(an_alias_of_zero_or_above_the_maximum_ends_the_connection: V5);
// [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17]
async fn an_alias_of_zero_or_above_the_maximum_ends_the_connection(version: Version) {
    let server = Server::start().await;
    for alias in [0, 33, 65_535] {
        let mut client = server.connect(connect(version, "s")).await;
        let [high, low] = u16::to_be_bytes(alias);
        client.send_bytes(&[0x30, 8, 0, 1, b'a', 3, 0x23, high, low, b'x']).await;
        client.expect_end(ReasonCode::TopicAliasInvalid).await;
    }
}

versions!(no_alias_is_taken_where_none_is_announced: V5);
// [MQTT-3.2.2-18]
async fn no_alias_is_taken_where_none_is_announced(version: Version) {
    let server = Server::with(|config| config.limits.topic_alias_maximum = 0).await;
    let mut client = server.connect(connect(version, "s")).await;
    assert_eq!(client.connack().properties.topic_alias_maximum, None);
    client.send(publish("a", "x").alias(1)).await;
    client.expect_end(ReasonCode::TopicAliasInvalid).await;
}

versions!(an_unknown_alias_without_a_topic_is_a_protocol_error: V5);
// [MQTT-3.3.2-12] (3.3.2.3.4) [MQTT-4.7.3-1] An empty topic without an alias is one too.
async fn an_unknown_alias_without_a_topic_is_a_protocol_error(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(publish("", "x").alias(5)).await;
    client.expect_end(ReasonCode::ProtocolError).await;

    let mut client = server.connect(connect(version, "s")).await;
    client.send_bytes(&[0x30, 4, 0, 0, 0, b'x']).await;
    client.expect_end(ReasonCode::ProtocolError).await;
}

versions!(aliases_end_with_the_connection: V5);
// [MQTT-3.3.2-7]
async fn aliases_end_with_the_connection(version: Version) {
    let server = Server::start().await;
    let packet = || connect(version, "s").kept().alias_maximum(5);
    let mut client = server.connect(packet()).await;
    client.subscribe("a", QOS0).await;
    client.send(publish("a", "1").alias(1)).await;
    assert_eq!(client.aliased_publish().await, ("a".into(), "1".into()));
    server.lose(client).await;

    let mut client = server.connect(packet()).await;
    client.assert_session_present(true);
    // Outbound: the client of `aliased_publish` knows only what this connection taught it.
    server.publish(publish("a", "2")).await;
    assert_eq!(client.aliased_publish().await, ("a".into(), "2".into()));
    // Inbound.
    client.send(publish("", "3").alias(1)).await;
    client.expect_end(ReasonCode::ProtocolError).await;
}

versions!(outbound_aliases_stay_within_the_clients_maximum: V5);
// [MQTT-3.1.2-26] [MQTT-3.3.2-11] [MQTT-3.3.2-8]
async fn outbound_aliases_stay_within_the_clients_maximum(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").alias_maximum(2)).await;
    client.subscribe("#", QOS1).await;
    let topics = ["a/long/topic/one", "a/long/topic/two", "a/long/topic/three"];
    for round in 0..4 {
        for topic in topics {
            for qos in [QOS0, QOS1] {
                let payload = format!("{round}{qos:?}");
                server.publish(publish(topic, payload.clone()).qos(qos)).await;
                let (received, text) = client.aliased_publish().await;
                assert_eq!((received.as_str(), text), (topic, payload));
            }
        }
    }
    assert!(client.highest_alias() <= 2);
}

versions!(outbound_aliases_stay_within_the_servers_own_bound: V5);
// [MQTT-3.3.2-11] The server may set fewer than the client allows.
async fn outbound_aliases_stay_within_the_servers_own_bound(version: Version) {
    for maximum in [0, 3] {
        let server = Server::with(|config| config.limits.topic_alias_out_maximum = maximum).await;
        let mut client = server.connect(connect(version, "s").alias_maximum(65_535)).await;
        client.subscribe("#", QOS0).await;
        for round in 0..3 {
            for topic in ["a/1", "a/2", "a/3", "a/4", "a/5"] {
                server.publish(publish(topic, round.to_string())).await;
                assert_eq!(client.aliased_publish().await, (topic.into(), round.to_string()));
            }
        }
        assert!(client.highest_alias() <= maximum);
    }
}

versions!(no_alias_goes_to_a_client_that_takes_none: V5);
// [MQTT-3.1.2-27]
async fn no_alias_goes_to_a_client_that_takes_none(version: Version) {
    let server = Server::start().await;
    let mut absent = server.connect(connect(version, "absent")).await;
    let mut zero = server.connect(connect(version, "zero").alias_maximum(0)).await;
    for client in [&mut absent, &mut zero] {
        client.subscribe("a", QOS0).await;
    }
    for payload in ["1", "2", "3"] {
        server.publish(publish("a", payload)).await;
        absent.expect(publish("a", payload)).await;
        zero.expect(publish("a", payload)).await;
    }
}

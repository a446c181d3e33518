//! Who may send how much at a time, and what waits for CONNACK.

use std::time::Duration;

use crate::support::*;

// ---- Receive Maximum of the client ----

versions!(receive_maximum_counts_qos_1_and_2_together: V5);
// [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-3.3.4-9]
async fn receive_maximum_counts_qos_1_and_2_together(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").receive_maximum(3)).await;
    client.subscribe("a", QOS2).await;
    for (payload, qos) in [("1", QOS1), ("2", QOS2), ("3", QOS1), ("4", QOS2), ("5", QOS1)] {
        server.publish(publish("a", payload).qos(qos)).await;
    }
    let one = client.expect_message(publish("a", "1").qos(QOS1)).await;
    let two = client.expect_message(publish("a", "2").qos(QOS2)).await;
    let three = client.expect_message(publish("a", "3").qos(QOS1)).await;
    client.expect_nothing().await;

    client.send(puback(three)).await;
    let four = client.expect_message(publish("a", "4").qos(QOS2)).await;
    // A QoS 2 message keeps its slot until PUBCOMP.
    client.send(pubrec(two)).await;
    client.expect(pubrel(two)).await;
    client.expect_nothing().await;
    client.send(pubcomp(two)).await;
    let five = client.expect_message(publish("a", "5").qos(QOS1)).await;
    for id in [one, five] {
        client.send(puback(id)).await;
    }
    client.complete(four).await;
}

versions!(an_error_in_pubrec_or_puback_frees_the_slot: V5);
// [MQTT-4.4.0-2] [MQTT-4.3.3-4] [MQTT-4.9.0-2]
async fn an_error_in_pubrec_or_puback_frees_the_slot(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").receive_maximum(1)).await;
    client.subscribe("a", QOS2).await;
    for (payload, qos) in [("1", QOS2), ("2", QOS1), ("3", QOS2), ("4", QOS1)] {
        server.publish(publish("a", payload).qos(qos)).await;
    }
    for payload in ["1", "3"] {
        let id = client.expect_message(publish("a", payload).qos(QOS2)).await;
        client.send(pubrec(id).code(ReasonCode::ImplementationSpecificError)).await;
        let next = if payload == "1" { "2" } else { "4" };
        // No PUBREL comes: the next packet is the next message.
        let id = client.expect_message(publish("a", next).qos(QOS1)).await;
        client.send(puback(id).code(ReasonCode::UnspecifiedError)).await;
    }
    client.expect_nothing().await;
}

versions!(a_full_window_holds_nothing_else_back: V5);
// [MQTT-3.3.4-10] [MQTT-4.9.0-3]
async fn a_full_window_holds_nothing_else_back(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").receive_maximum(1)).await;
    client.subscribe("a", QOS1).await;
    server.publish(publish("a", "1").qos(QOS1)).await;
    server.publish(publish("a", "2").qos(QOS1)).await;
    let first = client.expect_message(publish("a", "1").qos(QOS1)).await;

    client.ping().await;
    client.subscribe("b", QOS0).await;
    server.publish(publish("b", "at most once")).await;
    client.expect(publish("b", "at most once")).await;
    client.send(publish("nobody", "x").qos(QOS1).id(7)).await;
    client.expect(puback(7).code(ReasonCode::NoMatchingSubscribers)).await;
    client.send(publish("nobody", "x").qos(QOS2).id(8)).await;
    client.expect(pubrec(8).code(ReasonCode::NoMatchingSubscribers)).await;
    client.send(pubrel(8)).await;
    client.expect(pubcomp(8)).await;
    client.unsubscribe("b").await;

    client.send(puback(first)).await;
    client.expect_message(publish("a", "2").qos(QOS1)).await;
}

versions!(receive_maximum_of_zero_is_refused: V5);
// [MQTT-4.9.0-1] (3.1.2.11.3) A Protocol Error.
async fn receive_maximum_of_zero_is_refused(version: Version) {
    let server = Server::start().await;
    let mut client = server.dial(version).await;
    #[rustfmt::skip]
    client.send_bytes(&[
        0x10, 17, 0, 4, b'M', b'Q', b'T', b'T', 5, 0x02, 0, 0,
        3, 0x21, 0, 0,
        0, 1, b's',
    ]).await;
    client.expect_connack_refusal(ReasonCode::ProtocolError).await;
}

versions!(inflight_max_bounds_what_3x_clients_hold: V3_1, V3_1_1, V5);
// [MQTT-4.9.0-2] 3.x has no Receive Maximum: the broker's own bound stands in for it.
async fn inflight_max_bounds_what_3x_clients_hold(version: Version) {
    let server = Server::with(|config| config.limits.inflight_max = 2).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a", QOS1).await;
    for payload in ["1", "2", "3"] {
        server.publish(publish("a", payload).qos(QOS1)).await;
    }
    let first = client.expect_message(publish("a", "1").qos(QOS1)).await;
    client.expect_message(publish("a", "2").qos(QOS1)).await;
    client.expect_nothing().await;
    client.send(puback(first)).await;
    client.expect_message(publish("a", "3").qos(QOS1)).await;
}

// ---- Receive Maximum of the server ----

versions!(passing_the_receive_maximum_ends_the_connection: V5);
// [MQTT-3.3.4-7] [MQTT-4.9.0-2]
async fn passing_the_receive_maximum_ends_the_connection(version: Version) {
    let server = Server::with(|config| config.limits.receive_maximum = 2).await;
    let mut client = server.connect(connect(version, "s")).await;
    assert_eq!(client.announced_receive_maximum(), Some(2));
    // A released message gives its slot back.
    for id in 1..=6 {
        client.publish(publish("nobody", "x").qos(QOS2).id(id)).await;
    }
    for id in 10..=11 {
        client.send(publish("nobody", "x").qos(QOS2).id(id)).await;
        client.expect(pubrec(id).code(ReasonCode::NoMatchingSubscribers)).await;
    }
    client.send(publish("nobody", "x").qos(QOS2).id(12)).await;
    client.expect_end(ReasonCode::ReceiveMaximumExceeded).await;
}

versions!(a_refused_qos_2_publish_holds_no_slot: V5);
// [MQTT-4.9.0-2] [MQTT-4.3.3-9] PUBREC of 0x80 or above ends the exchange.
async fn a_refused_qos_2_publish_holds_no_slot(version: Version) {
    let server = Server::with(|config| config.limits.receive_maximum = 2).await;
    let mut client = server.connect(connect(version, "s")).await;
    for id in 1..=6 {
        client.send(publish("$SYS/x", "x").qos(QOS2).id(id)).await;
        client.expect(pubrec(id).code(ReasonCode::NotAuthorized)).await;
    }
    client.ping().await;
}

versions!(a_3x_client_past_the_receive_maximum_is_not_read_further: V3_1, V3_1_1);
// [MQTT-4.3.2-2 @3.1.1] Braked by the withheld PUBACK, then by the socket; nothing is lost.
async fn a_3x_client_past_the_receive_maximum_is_not_read_further(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, |config| config.limits.receive_maximum = 4).await;
    let mut durable = server.connect(connect(Version::V5, "durable").kept()).await;
    durable.subscribe("a", QOS1).await;

    let mut client = server.connect(connect(version, "s")).await;
    disk.faults().hold();
    for id in 1..=10 {
        client.send(publish("a", id.to_string()).qos(QOS1).id(id)).await;
    }
    client.send(Packet::PingReq).await;
    client.expect_nothing().await;
    disk.faults().release();
    let mut packets = client.receive_some(11).await;
    // With 4 in process at most, PINGREQ is read when at least 7 are acknowledged.
    let answer = packets.iter().position(|packet| *packet == Packet::PingResp).expect("an answer");
    assert!(answer >= 7, "{packets:?}");
    packets.remove(answer);
    assert_eq!(packets, (1..=10).map(puback).collect::<Vec<_>>());
    for id in 1..=10 {
        durable.expect_and_acknowledge(publish("a", id.to_string()).qos(QOS1)).await;
    }
}

// ---- What comes together with CONNECT ----

versions!(a_publish_that_comes_with_connect_waits_for_connack: V3_1, V3_1_1, V5);
// [MQTT-3.2.0-1] [MQTT-3.1.4-5] [MQTT-3.2.0-1 @3.1.1] [MQTT-3.1.4-4 @3.1.1]
async fn a_publish_that_comes_with_connect_waits_for_connack(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    let mut client = server.dial(version).await;
    let mut bytes = client.encoded(connect(version, "s"));
    bytes.extend(client.encoded(publish("a", "0")));
    bytes.extend(client.encoded(publish("a", "1").qos(QOS1).id(1)));
    bytes.extend(client.encoded(publish("a", "2").qos(QOS2).id(2)));
    bytes.extend(client.encoded(Packet::PingReq));
    client.send_bytes(&bytes).await;
    client.expect_connack(false).await;
    let mut answers = client.receive_some(3).await;
    answers.sort_by_key(|packet| packet.packet_type() as u8);
    assert_eq!(answers, [puback(1).into_packet(), pubrec(2).into_packet(), Packet::PingResp]);
    for payload in ["0", "1", "2"] {
        watcher.expect(publish("a", payload)).await;
    }
}

versions!(a_publish_that_comes_with_a_refused_connect_is_never_processed: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-6] [MQTT-3.1.4-5 @3.1.1]
async fn a_publish_that_comes_with_a_refused_connect_is_never_processed(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    let mut client = server.dial(version).await;
    let mut bytes = client.encoded(connect(version, "s").will(will("$SYS/x", "never")));
    bytes.extend(client.encoded(publish("a", "never").retain()));
    bytes.extend(client.encoded(publish("a", "never").qos(QOS1).id(1)));
    client.send_bytes(&bytes).await;
    client.expect_connack_refusal(ReasonCode::NotAuthorized).await;
    watcher.expect_nothing().await;
    let mut late = server.connect(connect(version, "late")).await;
    late.subscribe("a", QOS0).await;
    late.expect_nothing().await;
}

versions!(connect_must_come_first: V3_1, V3_1_1, V5);
// [MQTT-3.1.0-1] [MQTT-3.14.0-1] [MQTT-3.1.0-1 @3.1.1]
async fn connect_must_come_first(version: Version) {
    let server = Server::start().await;
    for packet in [
        publish("a", "x").into_packet(),
        Packet::PingReq,
        subscribe(1, &[("a", QOS0)]).into_packet(),
    ] {
        let mut client = server.dial(version).await;
        client.send(packet).await;
        client.expect_closed().await;
    }
}

versions!(packets_may_come_byte_by_byte: V3_1, V3_1_1, V5);
// [MQTT-4.2-1] [MQTT-7.1.1-1 @3.1.1] A byte stream has no packet boundaries.
async fn packets_may_come_byte_by_byte(version: Version) {
    let server = Server::start().await;
    let mut client = server.dial(version).await;
    let mut bytes = client.encoded(connect(version, "s"));
    bytes.extend(client.encoded(subscribe(1, &[("a", QOS1)])));
    bytes.extend(client.encoded(publish("a", "x").qos(QOS1).id(1)));
    for byte in bytes {
        client.send_bytes(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.expect_connack(false).await;
    client.expect(suback(1, &[ReasonCode::GrantedQos1])).await;
    let mut answers = client.receive_some(2).await;
    answers.sort_by_key(|packet| packet.packet_type() as u8);
    let Some(Packet::Publish(received)) = answers.first() else {
        panic!("{answers:?} holds no PUBLISH");
    };
    assert_eq!(received.payload, "x");
    assert_eq!(answers.last(), Some(&puback(1).into_packet()));
}

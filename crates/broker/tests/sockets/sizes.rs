//! Packets that are too large for one side, and packets that must stay small.

use std::num::NonZeroU32;

use crate::support::*;

// ---- Too large for the client ----

versions!(a_publish_above_the_clients_maximum_is_dropped_and_done: V5);
// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
async fn a_publish_above_the_clients_maximum_is_dropped_and_done(version: Version) {
    const MAXIMUM: u32 = 100;
    let server = Server::start().await;
    for (id, qos) in [("s0", QOS0), ("s1", QOS1), ("s2", QOS2)] {
        let packet = connect(version, id).packet_size_max(MAXIMUM).receive_maximum(1);
        let mut client = server.connect(packet).await;
        client.subscribe("a", QOS2).await;
        // Fixed header, topic, [packet identifier], property length, payload.
        let overhead = 2 + 3 + if qos == QOS0 { 0 } else { 2 } + 1;
        let fits = "f".repeat(MAXIMUM as usize - overhead);
        let too_long = "t".repeat(MAXIMUM as usize - overhead + 1);
        for payload in [&too_long, &fits, &too_long, &fits] {
            server.publish(publish("a", payload.clone()).qos(qos)).await;
        }
        for _ in 0..2 {
            client.expect_and_acknowledge(publish("a", fits.clone()).qos(qos)).await;
        }
        client.expect_nothing().await;
        client.ping().await;
    }
    assert_eq!(server.dropped(DropReason::TooLarge), 6);
}

versions!(a_dropped_publish_does_not_come_back_at_resume: V5);
// [MQTT-3.1.2-25] As if it had completed.
async fn a_dropped_publish_does_not_come_back_at_resume(version: Version) {
    let server = Server::start().await;
    let small = connect(version, "s").kept().packet_size_max(40);
    let mut client = server.connect(small).await;
    client.subscribe("a", QOS1).await;
    server.publish(publish("a", "x".repeat(100)).qos(QOS1)).await;
    client.expect_nothing().await;
    server.lose(client).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    client.expect_nothing().await;
}

versions!(a_retained_message_above_the_clients_maximum_is_left_out: V5);
// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
async fn a_retained_message_above_the_clients_maximum_is_left_out(version: Version) {
    let server = Server::start().await;
    server.publish(publish("a/1", "x".repeat(100)).retain()).await;
    server.publish(publish("a/2", "x").retain()).await;
    let mut client = server.connect(connect(version, "s").packet_size_max(40)).await;
    client.subscribe("a/+", QOS0).await;
    client.expect(publish("a/2", "x").retain()).await;
    client.expect_nothing().await;
}

versions!(a_shared_message_too_large_for_one_member_may_go_to_another: V5);
// [MQTT-3.1.2-25] At least it must not stop the group.
async fn a_shared_message_too_large_for_one_member_may_go_to_another(version: Version) {
    let server = Server::start().await;
    let mut small = server.connect(connect(version, "small").packet_size_max(40)).await;
    small.subscribe("$share/g/a", QOS1).await;
    for _ in 0..2 {
        server.publish(publish("a", "x".repeat(100)).qos(QOS1)).await;
    }
    server.publish(publish("a", "x").qos(QOS1)).await;
    small.expect_and_acknowledge(publish("a", "x").qos(QOS1)).await;
}

// ---- Too large for the server ----

versions!(an_oversize_packet_is_refused_by_its_fixed_header: V3_1, V3_1_1, V5);
// [MQTT-3.2.2-15] [MQTT-4.13.2-1] Before the body is there. [MQTT-4.8.0-1 @3.1.1]
async fn an_oversize_packet_is_refused_by_its_fixed_header(version: Version) {
    let server = Server::with(|config| {
        config.limits.packet_bytes_max = 1_000;
        config.limits.packet_bytes_max_before_connect = 1_000;
    })
    .await;
    let mut client = server.connect(connect(version, "s")).await;
    if version == Version::V5 {
        let announced = client.connack().properties.maximum_packet_size;
        assert_eq!(announced, NonZeroU32::new(1_000));
    }
    // 3 bytes of fixed header and 997 of the rest are exactly the maximum.
    let overhead = 3 + if version == Version::V5 { 1 } else { 0 };
    let largest = publish("a", vec![b'x'; 997 - overhead]);
    assert_eq!(client.encoded(largest.clone()).len(), 1_000);
    client.send(largest).await;
    client.ping().await;

    // Remaining Length 998, and nothing else.
    client.send_bytes(&[0x30, 0xE6, 0x07]).await;
    client.expect_end(ReasonCode::PacketTooLarge).await;
}

versions!(the_default_maximum_is_16_mib: V3_1_1, V5);
// [MQTT-3.2.2-15]
async fn the_default_maximum_is_16_mib(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(Version::V3_1_1, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    let mut client = server.connect(connect(version, "s")).await;
    let head = 1 + 4 + 3 + if version == Version::V5 { 1 } else { 0 };
    let largest = publish("a", vec![b'x'; (16 << 20) - head]);
    assert_eq!(client.encoded(largest.clone()).len(), 16 << 20);
    client.send(largest.clone()).await;
    watcher.expect(largest).await;
    // 16 MiB - 4: one byte more than the maximum with its five bytes of fixed header.
    client.send_bytes(&[0x30, 0xFC, 0xFF, 0xFF, 0x07]).await;
    client.expect_end(ReasonCode::PacketTooLarge).await;
}

versions!(an_oversize_connect_is_refused_by_its_fixed_header: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-1] CONNACK 0x95 where the version is known; else, and in 3.x, just the end. [MQTT-3.2.2-6 @3.1.1]
async fn an_oversize_connect_is_refused_by_its_fixed_header(version: Version) {
    let server = Server::start().await;
    let mut client = server.dial(version).await;
    let start: &[u8] = match version {
        Version::V3_1 => b"\0\x06MQIsdp\x03",
        Version::V3_1_1 => b"\0\x04MQTT\x04",
        Version::V5 => b"\0\x04MQTT\x05",
    };
    // Remaining Length 131,072: with the fixed header a little more than 128 KiB.
    let bytes = [&[0x10, 0x80, 0x80, 0x08], start].concat();
    client.send_bytes(&bytes).await;
    match version {
        Version::V3_1 | Version::V3_1_1 => client.expect_closed().await,
        Version::V5 => client.expect_connack_refusal(ReasonCode::PacketTooLarge).await,
    }
}

versions!(a_connect_up_to_128_kib_is_taken: V3_1_1, V5);
// [MQTT-3.1.4-5]
async fn a_connect_up_to_128_kib_is_taken(version: Version) {
    let server = Server::start().await;
    let payload = vec![b'x'; 65_000];
    let id = "i".repeat(65_000);
    let packet = connect(version, &id).will(will("w", payload));
    let mut client = server.connect(packet).await;
    client.ping().await;
}

// ---- CONNACK ----

versions!(connack_omits_what_the_protocol_says_anyway: V5);
// [MQTT-3.2.2-1] [MQTT-3.2.2-8] (3.2.2.3) Defaults need not be sent. With an assigned identifier too it stays within 40 bytes.
async fn connack_omits_what_the_protocol_says_anyway(version: Version) {
    let server = Server::start().await;
    let mut client = server.dial(version).await;
    client.send(connect(version, "s")).await;
    #[rustfmt::skip]
    client.expect_bytes(&[
        0x20, 14, 0, 0, 11,
        0x21, 0x03, 0xE8,                   // Receive Maximum 1,000
        0x27, 0x01, 0x00, 0x00, 0x00,       // Maximum Packet Size 16 MiB
        0x22, 0x00, 0x20,                   // Topic Alias Maximum 32
    ]).await;

    let mut client = server.dial(version).await;
    client.send(connect(version, "").packet_size_max(40)).await;
    let connack = client.receive_bytes().await;
    assert!(connack.len() <= 40, "{} bytes: {connack:?}", connack.len());
}

versions!(connack_of_3x_is_four_bytes: V3_1, V3_1_1);
// [MQTT-3.2.0-1 @3.1.1]
async fn connack_of_3x_is_four_bytes(version: Version) {
    let server = Server::start().await;
    let mut client = server.dial(version).await;
    client.send(connect(version, "s").kept()).await;
    client.expect_bytes(&[0x20, 2, 0, 0]).await;
    server.disconnect(client).await;
    let mut client = server.dial(version).await;
    client.send(connect(version, "s").kept()).await;
    // The byte of Session Present is reserved in 3.1.
    let present = u8::from(version == Version::V3_1_1);
    client.expect_bytes(&[0x20, 2, present, 0]).await;
}

versions!(a_connack_that_does_not_fit_is_not_sent: V5);
// [MQTT-3.1.2-24] What the client must know does not fit: there is no connection to be had.
async fn a_connack_that_does_not_fit_is_not_sent(version: Version) {
    let server = Server::start().await;
    let mut fits = server.dial(version).await;
    fits.send(connect(version, "s").packet_size_max(16)).await;
    fits.expect_connack(false).await;
    for maximum in [1, 5, 15] {
        let mut client = server.dial(version).await;
        client.send(connect(version, "t").packet_size_max(maximum)).await;
        client.expect_closed().await;
    }
}

// ---- What is left out where it does not fit, or is not wanted ----

versions!(reason_strings_never_pass_the_clients_maximum: V5);
// [MQTT-3.2.2-19] [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.6.2-2] [MQTT-3.7.2-2] [MQTT-3.9.2-1] [MQTT-3.11.2-1] [MQTT-3.14.2-3]
// [MQTT-3.2.2-20] [MQTT-3.4.2-3] [MQTT-3.5.2-3] [MQTT-3.6.2-3] [MQTT-3.7.2-3] [MQTT-3.9.2-2] [MQTT-3.11.2-2] [MQTT-3.14.2-4] [MQTT-3.1.2-24]
async fn reason_strings_never_pass_the_clients_maximum(version: Version) {
    let server = Server::start().await;
    for maximum in [16, 17, 24, 40] {
        let packet = connect(version, "s").packet_size_max(maximum).problem_information(true);
        let mut client = server.connect(packet).await;
        client.send(publish("$SYS/x", "x").qos(QOS1).id(1)).await;
        client.send(publish("$SYS/x", "x").qos(QOS2).id(2)).await;
        client.send(subscribe(3, &[("a/#/b", QOS0)])).await;
        client.send(unsubscribe(4, &["nothing"])).await;
        client.send(pubrel(5)).await;
        client.send(pubrec(6)).await;
        // QoS 3.
        client.send_bytes(&[0x36, 3, 0, 1, b'a']).await;
        let packets = client.receive_sizes_until_closed().await;
        assert!(packets.iter().all(|&size| size <= maximum as usize), "{packets:?}");
        assert_eq!(packets.len(), 7, "{packets:?}");
    }
}

versions!(no_reason_string_where_problem_information_is_not_wanted: V5);
// [MQTT-3.1.2-29] Only PUBLISH, CONNACK and DISCONNECT may carry reason strings and user properties then.
async fn no_reason_string_where_problem_information_is_not_wanted(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").problem_information(false)).await;
    client.send(publish("$SYS/x", "x").qos(QOS1).id(1)).await;
    client.expect_bytes(&[0x40, 3, 0, 1, 0x87]).await;
    client.send(publish("$SYS/x", "x").qos(QOS2).id(2)).await;
    client.expect_bytes(&[0x50, 3, 0, 2, 0x87]).await;
    client.send(subscribe(3, &[("a/#/b", QOS0)])).await;
    client.expect_bytes(&[0x90, 4, 0, 3, 0, 0x8F]).await;
    client.send(unsubscribe(4, &["nothing"])).await;
    client.expect_bytes(&[0xB0, 4, 0, 4, 0, 0x11]).await;
    client.send(pubrel(5)).await;
    client.expect_bytes(&[0x70, 3, 0, 5, 0x92]).await;
    client.send(pubrec(6)).await;
    client.expect_bytes(&[0x62, 3, 0, 6, 0x92]).await;
    // What publishers wrote travels all the same.
    client.subscribe("a", QOS0).await;
    server.publish(publish("a", "x").with_every_property()).await;
    client.expect(publish("a", "x").with_every_property()).await;
}

versions!(acknowledgements_of_success_take_their_short_form: V3_1, V3_1_1, V5);
// [MQTT-2.2.2-1] (3.4.2.1) The Reason Code and an empty property length may be left out.
async fn acknowledgements_of_success_take_their_short_form(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(publish("a", "x").qos(QOS1).id(0x1234)).await;
    client.expect_bytes(&[0x40, 2, 0x12, 0x34]).await;
    client.send(publish("a", "x").qos(QOS2).id(0x4321)).await;
    client.expect_bytes(&[0x50, 2, 0x43, 0x21]).await;
    client.send(pubrel(0x4321)).await;
    client.expect_bytes(&[0x70, 2, 0x43, 0x21]).await;
    client.send(Packet::PingReq).await;
    client.expect_bytes(&[0xD0, 0]).await;
}

versions!(response_information_comes_only_when_asked_for: V5);
// [MQTT-3.1.2-28]
async fn response_information_comes_only_when_asked_for(version: Version) {
    let server = Server::with(|config| {
        config.listeners[0].response_information = Some("answers/".to_owned());
    })
    .await;
    for asked in [false, true] {
        let mut packet = connect(version, "s");
        packet.properties.request_response_information = asked;
        let client = server.connect(packet.clone()).await;
        let told = client.connack().properties.response_information.clone();
        assert_eq!(told, asked.then(|| wire_text("answers/")));
        server.lose(client).await;
        // It is left out before the connection is given up.
        let client = server.connect(packet.packet_size_max(16)).await;
        assert_eq!(client.connack().properties.response_information, None);
        server.lose(client).await;
    }
}

//! SUBSCRIBE and UNSUBSCRIBE: what they change, how they are answered, and what is refused.

use crate::support::*;

// ---- SUBACK ----

versions!(suback_has_a_code_per_filter_in_their_order: V3_1, V3_1_1, V5);
// [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2] [MQTT-2.2.1-6]
// [MQTT-3.8.4-1 @3.1.1] [MQTT-3.8.4-2 @3.1.1] [MQTT-3.8.4-4 @3.1.1] [MQTT-3.8.4-5 @3.1.1] [MQTT-3.9.3-1 @3.1.1] [MQTT-2.3.1-7 @3.1.1]
async fn suback_has_a_code_per_filter_in_their_order(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(subscribe(65_535, &[("c", QOS2), ("a", QOS0), ("b", QOS1), ("c", QOS1)])).await;
    client
        .expect(suback(
            65_535,
            &[
                ReasonCode::GrantedQos2,
                ReasonCode::Success,
                ReasonCode::GrantedQos1,
                ReasonCode::GrantedQos1,
            ],
        ))
        .await;
    // The last of two equal filters counts.
    server.publish(publish("c", "x").qos(QOS2)).await;
    client.expect_and_acknowledge(publish("c", "x").qos(QOS1)).await;
}

versions!(a_bad_filter_fails_alone: V3_1_1, V5);
// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2] [MQTT-3.9.3-2]
// [MQTT-4.7.1-2 @3.1.1] [MQTT-4.7.1-3 @3.1.1] [MQTT-3.9.3-2 @3.1.1]
async fn a_bad_filter_fails_alone(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    let mut bad = vec!["a/#/b", "a#", "#a", "a/b#", "a+", "+a", "a/b+/c", "##", "++", ""];
    if version == Version::V5 {
        bad.extend([
            "$share//a",
            "$share/g",
            "$share/g/",
            "$share/g+/a",
            "$share/g#/a",
            "$share/",
            "$share/g/a#",
        ]);
    }
    for filter in bad {
        client.send(subscribe(1, &[("good", QOS1), (filter, QOS1)])).await;
        let codes = [ReasonCode::GrantedQos1, ReasonCode::TopicFilterInvalid];
        client.expect(suback(1, &codes)).await;
    }
    server.publish(publish("good", "x").qos(QOS1)).await;
    client.expect_and_acknowledge(publish("good", "x").qos(QOS1)).await;
}

versions!(suback_of_3_1_never_says_0x80: V3_1);
// [MQTT-3.1 s3.9] Only granted QoS levels exist: what cannot be served ends the connection or is granted in vain.
async fn suback_of_3_1_never_says_0x80(version: Version) {
    let server = Server::with(|config| config.limits.subscriptions_max = 1).await;
    for filters in [vec![("a/#/b", QOS1)], vec![("a", QOS1), ("b", QOS1)]] {
        let mut client = server.connect(connect(version, "s")).await;
        client.send(subscribe(1, &filters)).await;
        match client.next_packet().await {
            None => continue,
            Some(Packet::SubAck(suback)) => {
                let codes: Vec<_> = suback.reason_codes.iter().collect();
                assert_eq!(codes.len(), filters.len());
                assert!(codes.iter().all(|code| !code.is_error()), "{codes:?}");
            }
            Some(other) => panic!("{other:?} is no answer to SUBSCRIBE"),
        }
        server.lose(client).await;
    }
}

versions!(an_equal_filter_replaces_the_subscription: V3_1, V3_1_1, V5);
// [MQTT-3.8.4-3] [MQTT-3.8.4-3 @3.1.1]
async fn an_equal_filter_replaces_the_subscription(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    for (subscribed, received) in [(QOS2, QOS2), (QOS0, QOS0), (QOS1, QOS1)] {
        client.subscribe("a/+", subscribed).await;
        server.publish(publish("a/b", "x").qos(QOS2)).await;
        client.expect_and_acknowledge(publish("a/b", "x").qos(received)).await;
    }
    client.unsubscribe("a/+").await;
    server.publish(publish("a/b", "x").qos(QOS2)).await;
    client.expect_nothing().await;
}

versions!(replacing_replaces_every_option_and_the_identifier: V5);
// [MQTT-3.8.4-3]
async fn replacing_replaces_every_option_and_the_identifier(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe_as(Some(1), "a", options(QOS0).keeping_retain().never()).await;
    server.publish(publish("a", "x").retain()).await;
    client.expect(publish("a", "x").retain().subscription_ids(&[1])).await;

    client.subscribe_as(Some(2), "a", options(QOS0).never()).await;
    server.publish(publish("a", "x").retain()).await;
    client.expect(publish("a", "x").subscription_ids(&[2])).await;

    client.subscribe_as(None, "a", options(QOS0).no_local().never()).await;
    server.publish(publish("a", "x")).await;
    client.expect(publish("a", "x")).await;
    client.publish(publish("a", "own")).await;
    client.expect_nothing().await;
}

versions!(replacing_loses_no_live_message: V3_1_1, V5);
// [MQTT-3.8.4-4] [MQTT-3.8.4-3 @3.1.1] The flow of publications is not interrupted.
async fn replacing_loses_no_live_message(version: Version) {
    const MESSAGES: usize = 200;
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a", QOS1).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    let publishing = tokio::spawn(async move {
        for number in 0..MESSAGES {
            publisher.publish(publish("a", number.to_string()).qos(QOS1)).await;
        }
    });
    let mut received = Vec::new();
    let mut next_subscribe = 1;
    while received.len() < MESSAGES {
        if received.len() >= next_subscribe * 10 {
            next_subscribe += 1;
            client.send(subscribe(1, &[("a", QOS1)])).await;
        }
        if let Packet::Publish(message) = client.receive().await {
            client.send(puback(message.id_number())).await;
            received.push(String::from_utf8_lossy(&message.payload).into_owned());
        }
    }
    within("the publisher", publishing).await.expect("it publishes all");
    let expected: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(received, expected);
}

versions!(delivery_qos_is_the_lesser_of_published_and_granted: V3_1, V3_1_1, V5);
// [MQTT-3.8.4-8] [MQTT-3.8.4-6 @3.1.1]
async fn delivery_qos_is_the_lesser_of_published_and_granted(version: Version) {
    let server = Server::start().await;
    let levels = [QOS0, QOS1, QOS2];
    for granted in levels {
        let mut client = server.connect(connect(version, "s")).await;
        client.subscribe("a", granted).await;
        for published in levels {
            server.publish(publish("a", "x").qos(published)).await;
            let received = published.min(granted);
            client.expect_and_acknowledge(publish("a", "x").qos(received)).await;
        }
        server.lose(client).await;
    }
}

// ---- UNSUBSCRIBE ----

versions!(unsubscribe_compares_filters_byte_by_byte: V3_1, V3_1_1, V5);
// [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]
// [MQTT-3.10.4-1 @3.1.1] [MQTT-3.10.4-4 @3.1.1] [MQTT-3.10.4-5 @3.1.1] [MQTT-3.10.4-6 @3.1.1]
async fn unsubscribe_compares_filters_byte_by_byte(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    for filter in ["a/b", "a/c", "a/+"] {
        client.subscribe(filter, QOS0).await;
    }
    client.send(unsubscribe(9, &["a/#", "a/b", "A/b", "a/b"])).await;
    let none = ReasonCode::NoSubscriptionExisted;
    client.expect(unsuback(9, &[none, ReasonCode::Success, none, none])).await;
    server.publish(publish("a/c", "x")).await;
    client.expect(publish("a/c", "x")).await;
    client.unsubscribe("a/+").await;
    server.publish(publish("a/b", "x")).await;
    server.publish(publish("a/c", "y")).await;
    client.expect(publish("a/c", "y")).await;
    client.expect_nothing().await;
}

versions!(unsubscribe_of_nothing_is_acknowledged: V3_1, V3_1_1, V5);
// [MQTT-3.10.4-5] [MQTT-3.10.4-5 @3.1.1]
async fn unsubscribe_of_nothing_is_acknowledged(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(unsubscribe(1, &["a"])).await;
    client.expect(unsuback(1, &[ReasonCode::NoSubscriptionExisted])).await;
}

versions!(nothing_new_comes_after_unsuback: V3_1, V3_1_1, V5);
// [MQTT-3.10.4-2] [MQTT-3.10.4-2 @3.1.1]
async fn nothing_new_comes_after_unsuback(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS1).await;
    client.unsubscribe("a").await;
    server.publish(publish("a", "x").qos(QOS1)).await;
    client.expect_nothing().await;
    // And it stays away from the kept session.
    server.lose(client).await;
    server.publish(publish("a", "x").qos(QOS1)).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    client.expect_nothing().await;
}

versions!(deliveries_begun_before_unsubscribe_are_completed: V3_1, V3_1_1, V5);
// [MQTT-3.10.4-3] [MQTT-3.10.4-3 @3.1.1]
async fn deliveries_begun_before_unsubscribe_are_completed(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS2).await;
    server.publish(publish("a", "1").qos(QOS1)).await;
    server.publish(publish("a", "2").qos(QOS2)).await;
    let one = client.expect_message(publish("a", "1").qos(QOS1)).await;
    let two = client.expect_message(publish("a", "2").qos(QOS2)).await;
    client.unsubscribe("a").await;
    server.lose(client).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    client.expect(publish("a", "1").qos(QOS1).id(one).dup()).await;
    client.expect(publish("a", "2").qos(QOS2).id(two).dup()).await;
    client.send(puback(one)).await;
    client.complete(two).await;
}

// ---- Malformed requests ----

versions!(subscribe_and_unsubscribe_need_a_filter: V3_1, V3_1_1, V5);
// [MQTT-3.8.3-2] [MQTT-3.10.3-2] [MQTT-3.8.3-3 @3.1.1] [MQTT-3.10.3-2 @3.1.1]
async fn subscribe_and_unsubscribe_need_a_filter(version: Version) {
    let server = Server::start().await;
    for first in [0x82, 0xA2] {
        let mut client = server.connect(connect(version, "s")).await;
        match version {
            Version::V5 => client.send_bytes(&[first, 3, 0, 1, 0]).await,
            Version::V3_1 | Version::V3_1_1 => client.send_bytes(&[first, 2, 0, 1]).await,
        }
        client.expect_end(ReasonCode::ProtocolError).await;
    }
}

versions!(flags_of_subscribe_and_unsubscribe_are_fixed: V3_1_1, V5);
// [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-2.1.3-1] [MQTT-3.8.1-1 @3.1.1] [MQTT-3.10.1-1 @3.1.1] [MQTT-2.2.2-2 @3.1.1]
async fn flags_of_subscribe_and_unsubscribe_are_fixed(version: Version) {
    let server = Server::start().await;
    for first in [0x80, 0x8A, 0xA0, 0xAA] {
        let mut client = server.connect(connect(version, "s")).await;
        let mut bytes = match first {
            0x80 | 0x8A => client.encoded(subscribe(1, &[("a", QOS0)])),
            _ => client.encoded(unsubscribe(1, &["a"])),
        };
        bytes[0] = first;
        client.send_bytes(&bytes).await;
        client.expect_end(ReasonCode::MalformedPacket).await;
    }
}

versions!(a_repeated_subscribe_of_3_1_has_dup: V3_1);
// [MQTT-3.1 s3.8] [MQTT-3.1 s3.10]
async fn a_repeated_subscribe_of_3_1_has_dup(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send_bytes(&[0x8A, 6, 0, 1, 0, 1, b'a', 1]).await;
    client.expect(suback(1, &[ReasonCode::GrantedQos1])).await;
    client.send_bytes(&[0xAA, 5, 0, 2, 0, 1, b'a']).await;
    client.expect(unsuback(2, &[ReasonCode::Success])).await;
}

versions!(reserved_subscription_options_are_malformed: V3_1_1, V5);
// [MQTT-3.8.3-5] [MQTT-3.8.3-4 @3.1.1]
async fn reserved_subscription_options_are_malformed(version: Version) {
    let server = Server::start().await;
    let malformed = ReasonCode::MalformedPacket;
    let cases: &[(u8, ReasonCode)] = match version {
        Version::V5 => &[
            (0x03, ReasonCode::ProtocolError),
            (0x30, ReasonCode::ProtocolError),
            (0x40, malformed),
            (0x80, malformed),
        ],
        Version::V3_1 | Version::V3_1_1 => {
            &[(0x03, malformed), (0x04, malformed), (0x80, malformed)]
        }
    };
    for &(options, reason) in cases {
        let mut client = server.connect(connect(version, "s")).await;
        match version {
            Version::V5 => client.send_bytes(&[0x82, 7, 0, 1, 0, 0, 1, b'a', options]).await,
            Version::V3_1 | Version::V3_1_1 => {
                client.send_bytes(&[0x82, 6, 0, 1, 0, 1, b'a', options]).await;
            }
        }
        client.expect_end(reason).await;
    }
}

versions!(packet_identifier_0_is_refused: V3_1, V3_1_1, V5);
// [MQTT-2.2.1-3] [MQTT-2.3.1-1 @3.1.1]
async fn packet_identifier_0_is_refused(version: Version) {
    let server = Server::start().await;
    for packet in [
        subscribe(1, &[("a", QOS0)]).into_packet(),
        unsubscribe(1, &["a"]).into_packet(),
        publish("a", "x").qos(QOS1).id(1).into_packet(),
        publish("a", "x").qos(QOS2).id(1).into_packet(),
    ] {
        let mut client = server.connect(connect(version, "s")).await;
        let at = if matches!(packet, Packet::Publish(_)) { 2 + 3 } else { 2 };
        let mut bytes = client.encoded(packet);
        bytes[at..at + 2].fill(0);
        client.send_bytes(&bytes).await;
        client.expect_end_in(&[ReasonCode::MalformedPacket, ReasonCode::ProtocolError]).await;
    }
}

versions!(subscription_identifier_0_is_a_protocol_error: V5);
// (3.8.2.1.2) Also twice, or in a PUBLISH of a client. [MQTT-3.3.4-6]
async fn subscription_identifier_0_is_a_protocol_error(version: Version) {
    let server = Server::start().await;
    let cases: [&[u8]; 3] = [
        &[0x82, 9, 0, 1, 2, 0x0B, 0, 0, 1, b'a', 0],
        &[0x82, 11, 0, 1, 4, 0x0B, 1, 0x0B, 2, 0, 1, b'a', 0],
        &[0x30, 7, 0, 1, b'a', 2, 0x0B, 1, b'x'],
    ];
    for bytes in cases {
        let mut client = server.connect(connect(version, "s")).await;
        client.send_bytes(bytes).await;
        client.expect_end(ReasonCode::ProtocolError).await;
    }
}

versions!(filters_that_are_no_utf_8_end_the_connection: V3_1, V3_1_1, V5);
// [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-4.7.3-2]
// [MQTT-3.8.3-1 @3.1.1] [MQTT-3.10.3-1 @3.1.1] [MQTT-4.7.3-2 @3.1.1]
async fn filters_that_are_no_utf_8_end_the_connection(version: Version) {
    let server = Server::start().await;
    let texts: [&[u8; 3]; 4] = [b"a\0b", b"\xED\xA0\x80", b"a\xFFb", b"ab\xC3"];
    for text in texts {
        for first in [0x82, 0xA2] {
            let mut client = server.connect(connect(version, "s")).await;
            let mut bytes = match first {
                0x82 => client.encoded(subscribe(1, &[("abc", QOS0)])),
                _ => client.encoded(unsubscribe(1, &["abc"])),
            };
            let at = bytes.windows(3).position(|window| window == b"abc").expect("the filter");
            bytes[at..at + 3].copy_from_slice(text);
            client.send_bytes(&bytes).await;
            client.expect_end(ReasonCode::MalformedPacket).await;
        }
    }
}

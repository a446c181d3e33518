//! Topic Names and Topic Filters on the wire: what is refused, what matches, and that nothing is rewritten.

use crate::support::*;

// ---- Below $SYS/ ----

versions!(clients_may_not_publish_below_sys: V3_1, V3_1_1, V5);
// (4.7.2) 0x87 in 5.0; in 3.x acknowledged, dropped and counted. [MQTT-3.3.5-2 @3.1.1]
async fn clients_may_not_publish_below_sys(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("$SYS/x/#", QOS2).await;
    let mut client = server.connect(connect(version, "s")).await;
    let refused = ReasonCode::NotAuthorized;
    client.send(publish("$SYS/x", "0")).await;
    client.send(publish("$SYS/x", "1").qos(QOS1).id(1).retain()).await;
    client.expect(puback(1).code(refused)).await;
    client.send(publish("$SYS/x/y", "2").qos(QOS2).id(2)).await;
    client.expect(pubrec(2).code(refused)).await;
    if version != Version::V5 {
        client.send(pubrel(2)).await;
        client.expect(pubcomp(2)).await;
    }
    client.ping().await;
    watcher.expect_nothing().await;
    let mut late = server.connect(connect(version, "late")).await;
    late.subscribe("$SYS/x", QOS0).await;
    late.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::ReservedTopic), 3);
}

versions!(a_3x_client_that_publishes_below_sys_is_closed_by_option: V3_1, V3_1_1);
// [MQTT-3.3.5-2 @3.1.1]
async fn a_3x_client_that_publishes_below_sys_is_closed_by_option(version: Version) {
    let server = Server::with(|config| config.sys.publish_3x = SysPublish::Close).await;
    for qos in [QOS0, QOS1, QOS2] {
        let mut client = server.connect(connect(version, "s")).await;
        let mut packet = publish("$SYS/x", "x").qos(qos);
        if qos != QOS0 {
            packet = packet.id(1);
        }
        client.send(packet).await;
        client.expect_closed().await;
    }
    server.counts_ended(EndReason::Violation, 3).await;
}

versions!(a_will_below_sys_is_refused: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] (4.7.2) 0x87; 5 in 3.x.
async fn a_will_below_sys_is_refused(version: Version) {
    let server = Server::start().await;
    let packet = connect(version, "s").will(will("$SYS/x", "never"));
    server.refused(packet, ReasonCode::NotAuthorized).await;
}

versions!(other_topics_that_begin_with_a_dollar_are_free: V3_1, V3_1_1, V5);
// (4.7.2) Only $SYS/ is the server's own here.
async fn other_topics_that_begin_with_a_dollar_are_free(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    for topic in ["$other/x", "$", "$SYSTEM/x", "$sys/x"] {
        client.subscribe(topic, QOS0).await;
        client.send(publish(topic, "x")).await;
        client.expect(publish(topic, "x")).await;
    }
}

// ---- Matching ----

versions!(filters_match_as_the_standard_says: V3_1, V3_1_1, V5);
// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1] [MQTT-3.3.2-3] [MQTT-4.7.1-2 @3.1.1] [MQTT-4.7.1-3 @3.1.1] [MQTT-4.7.2-1 @3.1.1] [MQTT-3.3.2-3 @3.1.1]
async fn filters_match_as_the_standard_says(version: Version) {
    let filters = [
        "#", "+", "/#", "/+", "+/+", "a", "a/#", "a/+", "a/b", "a/+/c", "+/b/#", "a//c", "/", "a/",
        "+/", "$x/#", "$x/+", "$x", "+/y", "A",
    ];
    let names = [
        "a", "/", "a/", "a/b", "a/b/c", "a//c", "/a", "//", "b", "A", "$x", "$x/y", "$x/y/z",
        "b/b/b/b",
    ];
    let server = Server::start().await;
    for filter in filters {
        let mut client = server.connect(connect(version, "s")).await;
        client.send(subscribe(1, &[(filter, QOS0), ("last", QOS0)])).await;
        client.expect(suback(1, &[ReasonCode::Success, ReasonCode::Success])).await;
        for name in names {
            server.publish(publish(name, "x")).await;
        }
        server.publish(publish("last", "end")).await;
        let mut received = Vec::new();
        loop {
            match client.receive().await {
                Packet::Publish(message) if message.payload == "end" => break,
                Packet::Publish(message) => received.push(message.topic.as_str().to_owned()),
                other => panic!("{other:?}"),
            }
        }
        let expected: Vec<_> =
            names.into_iter().filter(|name| matches_by_hand(filter, name)).collect();
        assert_eq!(received, expected, "{filter}");
        server.lose(client).await;
    }
}

/// Section 4.7 once more, from the text.
fn matches_by_hand(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (filter, name): (Vec<_>, Vec<_>) = (filter.split('/').collect(), name.split('/').collect());
    for (at, level) in filter.iter().enumerate() {
        match (*level, name.get(at)) {
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (level, Some(other)) if level == *other => {}
            _ => return false,
        }
    }
    filter.len() == name.len()
}

versions!(names_are_compared_byte_by_byte: V3_1, V3_1_1, V5);
// [MQTT-4.7.3-4] [MQTT-1.5.4-3] [MQTT-4.7.3-4 @3.1.1] [MQTT-1.5.3-3 @3.1.1] No normalisation; a BOM is a character.
async fn names_are_compared_byte_by_byte(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("#", QOS0).await;
    let names = [
        "\u{e9}",
        "e\u{301}",
        "\u{feff}a",
        "a\u{feff}",
        "a",
        "A",
        " a",
        "a ",
        "a/",
        "/a",
        "a//b",
        "a/b",
        "\u{fb01}",
        "fi",
        "\u{1F600}/\u{10348}",
    ];
    let mut client = server.connect(connect(version, "s")).await;
    for (number, name) in names.iter().enumerate() {
        client.publish(publish(name, number.to_string()).retain()).await;
        watcher.expect(publish(name, number.to_string())).await;
    }
    for (number, name) in names.iter().enumerate() {
        let mut late = server.connect(connect(version, "late")).await;
        late.subscribe(name, QOS0).await;
        late.expect(publish(name, number.to_string()).retain()).await;
        server.publish(publish(name, "live")).await;
        late.expect(publish(name, "live")).await;
        late.expect_nothing_for(std::time::Duration::from_millis(20)).await;
        server.lose(late).await;
    }
}

versions!(the_longest_topic_is_taken: V3_1, V3_1_1, V5);
// [MQTT-4.7.3-3] [MQTT-4.7.3-3 @3.1.1]
async fn the_longest_topic_is_taken(version: Version) {
    let server = Server::start().await;
    let topic = "t".repeat(65_535);
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe(&topic, QOS0).await;
    client.send(publish(&topic, "x")).await;
    client.expect(publish(&topic, "x")).await;
}

// ---- Levels ----

versions!(a_topic_deeper_than_128_levels_is_refused: V3_1_1, V5);
// [MQTT-3.4.2-1] 0x90; a limit of this server, and an option. [MQTT-3.3.5-2 @3.1.1]
async fn a_topic_deeper_than_128_levels_is_refused(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("#", QOS0).await;
    let deepest = vec!["l"; 128].join("/");
    let too_deep = vec!["l"; 129].join("/");
    let mut client = server.connect(connect(version, "s")).await;
    client.send(publish(&deepest, "x").qos(QOS1).id(1)).await;
    client.expect(puback(1)).await;
    watcher.expect(publish(&deepest, "x")).await;
    client.send(subscribe(2, &[(&deepest, QOS1), (&too_deep, QOS1)])).await;
    let codes = [ReasonCode::GrantedQos1, ReasonCode::TopicFilterInvalid];
    client.expect(suback(2, &codes)).await;
    client.send(publish(&too_deep, "x").qos(QOS1).id(3)).await;
    client.expect_refused_publish(3, ReasonCode::TopicNameInvalid).await;
    watcher.expect_nothing().await;
}

// ---- Malformed ----

versions!(a_topic_name_with_wildcards_ends_the_connection: V3_1, V3_1_1, V5);
// [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-3.3.2-2 @3.1.1] [MQTT-4.7.1-1 @3.1.1]
async fn a_topic_name_with_wildcards_ends_the_connection(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("#", QOS0).await;
    for text in [b"a/+", b"a/#", b"+++", b"a+b", b"##x"] {
        for qos in [QOS0, QOS1] {
            let mut client = server.connect(connect(version, "s")).await;
            client.send_publish_to(text, qos).await;
            client.expect_end(ReasonCode::TopicNameInvalid).await;
        }
    }
    watcher.expect_nothing().await;
}

versions!(a_topic_name_that_is_no_utf_8_ends_the_connection: V3_1, V3_1_1, V5);
// [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-3.3.2-1] [MQTT-4.7.3-2] [MQTT-1.5.3-1 @3.1.1] [MQTT-1.5.3-2 @3.1.1] [MQTT-3.3.2-1 @3.1.1] [MQTT-4.7.3-2 @3.1.1]
async fn a_topic_name_that_is_no_utf_8_ends_the_connection(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("#", QOS0).await;
    // NUL; a surrogate; an overlong slash; half a character.
    for text in [b"a\0b", b"\xED\xA0\x80", b"\xC0\xAFb", b"ab\xC3"] {
        for qos in [QOS0, QOS1] {
            let mut client = server.connect(connect(version, "s")).await;
            client.send_publish_to(text, qos).await;
            client.expect_end(ReasonCode::MalformedPacket).await;
        }
    }
    watcher.expect_nothing().await;
}

versions!(a_run_of_publishes_is_checked_like_a_single_one: V3_1, V3_1_1, V5);
// [MQTT-3.3.2-1] [MQTT-3.3.2-2] Also where many PUBLISHes come in one read.
async fn a_run_of_publishes_is_checked_like_a_single_one(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("#", QOS0).await;
    for (text, reason) in
        [(b"a/+", ReasonCode::TopicNameInvalid), (b"a\0b", ReasonCode::MalformedPacket)]
    {
        let mut client = server.connect(connect(version, "s")).await;
        let good = client.encoded(publish("good", "x"));
        let bad = client.encoded_publish_to(text, QOS0);
        let bytes = [good.repeat(20), bad.repeat(20), good.repeat(20)].concat();
        client.send_bytes(&bytes).await;
        client.expect_end(reason).await;
        for _ in 0..20 {
            watcher.expect(publish("good", "x")).await;
        }
        watcher.expect_nothing().await;
    }
}

versions!(an_empty_topic_name_ends_the_connection: V3_1, V3_1_1, V5);
// [MQTT-4.7.3-1] [MQTT-4.7.3-1 @3.1.1]
async fn an_empty_topic_name_ends_the_connection(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send_publish_to(b"", QOS0).await;
    client.expect_end(ReasonCode::ProtocolError).await;
}

versions!(a_response_topic_with_wildcards_is_a_protocol_error: V5);
// [MQTT-3.3.2-14]
async fn a_response_topic_with_wildcards_is_a_protocol_error(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send_bytes(&[0x30, 9, 0, 1, b'a', 5, 0x08, 0, 2, b'b', b'#']).await;
    client.expect_end_in(&[ReasonCode::ProtocolError, ReasonCode::TopicNameInvalid]).await;
}

versions!(texts_of_a_publish_that_are_no_utf_8_end_the_connection: V5);
// [MQTT-3.3.2-13] [MQTT-3.3.2-19] [MQTT-1.5.7-1] [MQTT-1.5.4-1]
async fn texts_of_a_publish_that_are_no_utf_8_end_the_connection(version: Version) {
    let server = Server::start().await;
    // Response Topic, Content Type, and a user property's name and value.
    let cases: [&[u8]; 4] = [
        &[0x30, 8, 0, 1, b'a', 4, 0x08, 0, 1, 0xFF],
        &[0x30, 8, 0, 1, b'a', 4, 0x03, 0, 1, 0xFF],
        &[0x30, 10, 0, 1, b'a', 6, 0x26, 0, 1, 0xFF, 0, 0],
        &[0x30, 10, 0, 1, b'a', 6, 0x26, 0, 0, 0, 1, 0],
    ];
    for bytes in cases {
        let mut client = server.connect(connect(version, "s")).await;
        client.send_bytes(bytes).await;
        client.expect_end(ReasonCode::MalformedPacket).await;
    }
}

versions!(control_characters_are_refused_unless_allowed: V3_1_1, V5);
// [MQTT-1.5.4-1] (1.5.4) They may be refused: in names, filters and client ids.
async fn control_characters_are_refused_unless_allowed(version: Version) {
    for allowed in [false, true] {
        let server = Server::with(|config| config.limits.allow_control_characters = allowed).await;
        for topic in ["a\u{1}", "a\u{7f}", "a\u{85}", "a\nb"] {
            check_questionable(&server, version, topic, allowed).await;
        }
    }
}

versions!(non_characters_are_refused_unless_allowed: V3_1_1, V5);
// [MQTT-1.5.4-1] (1.5.4)
async fn non_characters_are_refused_unless_allowed(version: Version) {
    for allowed in [false, true] {
        let server = Server::with(|config| config.limits.allow_non_characters = allowed).await;
        for topic in ["a\u{ffff}", "\u{fdd0}", "a\u{1fffe}"] {
            check_questionable(&server, version, topic, allowed).await;
        }
    }
}

async fn check_questionable(server: &Server, version: Version, text: &str, allowed: bool) {
    let mut client = server.connect(connect(version, "s")).await;
    client.send(subscribe(1, &[(text, QOS1)])).await;
    if allowed {
        client.expect(suback(1, &[ReasonCode::GrantedQos1])).await;
        client.send(publish(text, "x")).await;
        client.expect(publish(text, "x")).await;
        let other = server.connect(connect(version, text)).await;
        server.lose(other).await;
        server.lose(client).await;
        return;
    }
    client.expect(suback(1, &[ReasonCode::TopicFilterInvalid])).await;
    client.send(publish(text, "x")).await;
    client.expect_end(ReasonCode::TopicNameInvalid).await;
    server.refused(connect(version, text), ReasonCode::ClientIdentifierNotValid).await;
}

//! CONNECT: what is no CONNECT, what is refused, and what is answered.

use crate::support::*;

/// A CONNECT of `version` by hand, for what no encoder would write.
fn raw_connect(version: Version, flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = match version {
        Version::V3_1 => b"\0\x06MQIsdp\x03".to_vec(),
        Version::V3_1_1 => b"\0\x04MQTT\x04".to_vec(),
        Version::V5 => b"\0\x04MQTT\x05".to_vec(),
    };
    body.extend([flags, 0, 0]);
    if version == Version::V5 {
        body.push(u8::try_from(properties.len()).expect("few properties"));
        body.extend(properties);
    }
    body.extend(payload);
    let mut packet = vec![0x10, u8::try_from(body.len()).expect("a short CONNECT")];
    packet.extend(body);
    packet
}

/// 5.0 is told why; 3.x just closed. [MQTT-3.1.4-1 @3.1.1]
async fn check_malformed(
    server: &Server,
    version: Version,
    what: &str,
    bytes: &[u8],
    reason: ReasonCode,
) {
    let mut client = server.dial(version).await;
    client.send_bytes(bytes).await;
    match (version, client.next_packet().await) {
        (Version::V3_1 | Version::V3_1_1, None) => {}
        (Version::V5, Some(Packet::ConnAck(connack))) => {
            assert_eq!((connack.reason_code, connack.session_present), (reason, false), "{what}");
            client.expect_closed().await;
        }
        (_, other) => panic!("{what}: {other:?}"),
    }
}

const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

versions!(a_malformed_connect_is_refused: V3_1_1, V5);
// [MQTT-3.1.4-1] [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT-3.1.2-16] [MQTT-3.1.2-17]
// [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] [MQTT-3.2.2-6] [MQTT-3.2.2-7]
// [MQTT-3.1.4-1 @3.1.1] [MQTT-3.1.2-3 @3.1.1] [MQTT-3.1.2-9 @3.1.1] [MQTT-3.1.2-11 @3.1.1] [MQTT-3.1.2-13 @3.1.1] [MQTT-3.1.2-14 @3.1.1]
// [MQTT-3.1.2-15 @3.1.1] [MQTT-3.1.2-18 @3.1.1] [MQTT-3.1.2-19 @3.1.1] [MQTT-3.1.2-20 @3.1.1] [MQTT-3.1.2-21 @3.1.1] [MQTT-3.1.3-1 @3.1.1]
// [MQTT-3.1.3-3 @3.1.1] [MQTT-3.1.3-4 @3.1.1] [MQTT-3.1.3-10 @3.1.1] [MQTT-3.1.3-11 @3.1.1] [MQTT-3.2.2-6 @3.1.1]
async fn a_malformed_connect_is_refused(version: Version) {
    let server = Server::start().await;
    let will: &[u8] = match version {
        Version::V5 => b"\0\x01s\0\0\x01w\0\x01x",
        Version::V3_1 | Version::V3_1_1 => b"\0\x01s\0\x01w\0\x01x",
    };
    let bad_will_topic: &[u8] = match version {
        Version::V5 => b"\0\x01s\0\0\x02\xC0\xAF\0\x01x",
        Version::V3_1 | Version::V3_1_1 => b"\0\x01s\0\x02\xC0\xAF\0\x01x",
    };
    let cases: &[(&str, u8, &[u8])] = &[
        ("the reserved flag", CLEAN | 1, b"\0\x01s"),
        ("Will QoS 3", CLEAN | WILL | 0x18, will),
        ("Will QoS without a Will", CLEAN | 0x08, b"\0\x01s"),
        ("Will Retain without a Will", CLEAN | WILL_RETAIN, b"\0\x01s"),
        ("a Will that is not there", CLEAN | WILL, b"\0\x01s"),
        ("half a Will", CLEAN | WILL, &will[..will.len() - 3]),
        ("a Will without its flag", CLEAN, will),
        ("a Will Topic that is no UTF-8", CLEAN | WILL, bad_will_topic),
        ("a user name that is not there", CLEAN | USER_NAME, b"\0\x01s"),
        ("a user name without its flag", CLEAN, b"\0\x01s\0\x01u"),
        ("a user name that is no UTF-8", CLEAN | USER_NAME, b"\0\x01s\0\x01\xFF"),
        ("a user name with U+0000", CLEAN | USER_NAME, b"\0\x01s\0\x01\0"),
        ("a password that is not there", CLEAN | USER_NAME | PASSWORD, b"\0\x01s\0\x01u"),
        ("a password without its flag", CLEAN | USER_NAME, b"\0\x01s\0\x01u\0\x01p"),
        ("no client id", CLEAN, b""),
        ("half a client id", CLEAN, b"\0\x05s"),
        ("a client id that is no UTF-8", CLEAN, b"\0\x01\xFF"),
        ("a client id with U+0000", CLEAN, b"\0\x01\0"),
        ("a client id with a surrogate", CLEAN, b"\0\x03\xED\xA0\x80"),
    ];
    for (what, flags, payload) in cases {
        let bytes = raw_connect(version, *flags, &[], payload);
        check_malformed(&server, version, what, &bytes, ReasonCode::MalformedPacket).await;
    }
    server.assert_alive().await;
}

versions!(a_will_topic_with_wildcards_is_refused: V3_1, V3_1_1, V5);
// [MQTT-3.1.3-11] [MQTT-4.7.0-1] [MQTT-4.7.1-1 @3.1.1]
async fn a_will_topic_with_wildcards_is_refused(version: Version) {
    let server = Server::start().await;
    for topic in ["a/+", "#"] {
        let bytes = {
            let mut bytes = Vec::new();
            let packet = connect(version, "s").will(will(topic, "x")).into_packet();
            packet.encode(version, &mut bytes).expect("encoders do not check topics");
            bytes
        };
        check_malformed(&server, version, topic, &bytes, ReasonCode::TopicNameInvalid).await;
    }
}

versions!(a_password_without_a_user_name: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-22 @3.1.1] Only 5.0 allows it. [MQTT-3.1.2-19]
async fn a_password_without_a_user_name(version: Version) {
    let server = Server::start().await;
    let mut client = server.dial(version).await;
    client.send_bytes(&raw_connect(version, CLEAN | PASSWORD, &[], b"\0\x01s\0\x01p")).await;
    match version {
        Version::V5 => client.expect_connack(false).await,
        Version::V3_1 | Version::V3_1_1 => client.expect_closed().await,
    }
}

versions!(bad_properties_of_connect_are_refused: V5);
// [MQTT-1.5.7-1] [MQTT-2.2.2-1] [MQTT-1.5.5-1] [MQTT-3.2.2-7]
async fn bad_properties_of_connect_are_refused(version: Version) {
    let server = Server::start().await;
    let malformed = ReasonCode::MalformedPacket;
    let error = ReasonCode::ProtocolError;
    let cases: &[(&str, &[u8], ReasonCode)] = &[
        ("Receive Maximum 0", &[0x21, 0, 0], error),
        ("Maximum Packet Size 0", &[0x27, 0, 0, 0, 0], error),
        ("Session Expiry Interval twice", &[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1], error),
        ("Request Problem Information 2", &[0x17, 2], error),
        ("Request Response Information 2", &[0x19, 2], error),
        ("Authentication Data without a method", &[0x16, 0, 1, b'x'], error),
        ("a property of PUBLISH", &[0x23, 0, 1], malformed),
        ("no property at all", &[0x7F], malformed),
        ("half a property", &[0x11, 0, 0], malformed),
        ("a user property that is no UTF-8", &[0x26, 0, 1, 0xFF, 0, 0], malformed),
        ("an overlong property identifier", &[0x91, 0x00, 0, 0, 0, 1], malformed),
    ];
    for (what, properties, reason) in cases {
        let bytes = raw_connect(version, CLEAN, properties, b"\0\x01s");
        check_malformed(&server, version, what, &bytes, *reason).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.2-1] [MQTT-3.1.2-2] [MQTT-3.1.2-1 @3.1.1] [MQTT-3.1.2-2 @3.1.1] [MQTT-3.2.2-5 @3.1.1]
async fn unknown_protocols_are_not_served() {
    let server = Server::start().await;
    let cases: [(&[u8], Option<Version>); 7] = [
        (b"\0\x04MQTT\x06", Some(Version::V5)),
        (b"\0\x04MQTT\x03", Some(Version::V3_1_1)),
        (b"\0\x04MQTT\0", Some(Version::V3_1_1)),
        (b"\0\x06MQIsdp\x04", Some(Version::V3_1_1)),
        (b"\0\x04MQTX\x04", None),
        (b"\0\x04mqtt\x05", None),
        (b"\0\0\x05", None),
    ];
    for (start, answer) in cases {
        let mut bytes = vec![0x10, u8::try_from(start.len() + 7).expect("a short CONNECT")];
        bytes.extend(start);
        bytes.extend([CLEAN, 0, 0, 0, 0, 1, b's']);
        let mut client = server.dial(answer.unwrap_or(Version::V5)).await;
        client.send_bytes(&bytes).await;
        // An answer is optional; if one comes it is this one.
        match client.next_packet().await {
            None => {}
            Some(Packet::ConnAck(connack)) => {
                assert_eq!(
                    connack.reason_code,
                    ReasonCode::UnsupportedProtocolVersion,
                    "{start:?}"
                );
                client.expect_closed().await;
            }
            Some(other) => panic!("{start:?}: {other:?}"),
        }
    }
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.0-1] [MQTT-3.1.0-1 @3.1.1] What speaks another protocol is closed at once, without an answer.
async fn other_protocols_are_closed() {
    let server = Server::start().await;
    let cases: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\0",
        b"\xFF\xFF\xFF\xFF",
    ];
    for bytes in cases {
        let mut client = server.dial(Version::V5).await;
        client.send_bytes(bytes).await;
        client.expect_closed().await;
    }
    server.assert_alive().await;
}

versions!(a_second_connect_ends_the_connection: V3_1, V3_1_1, V5);
// [MQTT-3.1.0-2] [MQTT-3.2.0-2] [MQTT-3.1.0-2 @3.1.1]
async fn a_second_connect_ends_the_connection(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(connect(version, "s")).await;
    client.expect_end(ReasonCode::ProtocolError).await;
}

versions!(what_only_a_server_sends_ends_the_connection: V3_1, V3_1_1, V5);
// [MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]
async fn what_only_a_server_sends_ends_the_connection(version: Version) {
    let server = Server::start().await;
    for packet in [
        Packet::ConnAck(dunlin_codec::ConnAck::new(false, ReasonCode::Success)),
        suback(1, &[ReasonCode::Success]).into_packet(),
        unsuback(1, &[ReasonCode::Success]).into_packet(),
        Packet::PingResp,
    ] {
        let mut client = server.connect(connect(version, "s")).await;
        client.send(packet).await;
        client.expect_end(ReasonCode::ProtocolError).await;
    }
}

versions!(malformed_packets_end_the_connection: V3_1, V3_1_1, V5);
// [MQTT-4.13.1-1] [MQTT-2.1.3-1] [MQTT-1.5.5-1] [MQTT-3.15.1-1] [MQTT-4.8.0-1 @3.1.1] [MQTT-2.2.2-1 @3.1.1] [MQTT-2.2.2-2 @3.1.1]
async fn malformed_packets_end_the_connection(version: Version) {
    let server = Server::start().await;
    let cases: &[(&str, &[u8])] = &[
        ("type 0", &[0x00, 0]),
        ("flags of PINGREQ", &[0xC1, 0]),
        ("flags of PUBACK", &[0x42, 2, 0, 1]),
        ("flags of AUTH, or AUTH in 3.x", &[0xF1, 0]),
        ("a fifth byte of Remaining Length", &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ("an overlong Remaining Length", &[0xC0, 0x80, 0x00]),
        ("a PINGREQ with a body", &[0xC0, 1, 0]),
        ("a PUBACK of one byte", &[0x40, 1, 0]),
        ("a PUBLISH whose topic is cut", &[0x30, 3, 0, 5, b'a']),
        ("a PUBLISH without a packet identifier", &[0x32, 3, 0, 1, b'a']),
    ];
    for (what, bytes) in cases {
        let mut client = server.connect(connect(version, "s")).await;
        client.send_bytes(bytes).await;
        match (version, client.next_packet().await) {
            (Version::V3_1 | Version::V3_1_1, None) => {}
            (Version::V5, Some(Packet::Disconnect(disconnect))) => {
                assert_eq!(disconnect.reason_code, ReasonCode::MalformedPacket, "{what}");
                client.expect_closed().await;
            }
            (_, other) => panic!("{what}: {other:?}"),
        }
    }
    server.assert_alive().await;
}

versions!(disconnect_has_a_listed_reason_and_a_clients_properties: V5);
// [MQTT-3.14.2-1] [MQTT-3.14.2-2]
async fn disconnect_has_a_listed_reason_and_a_clients_properties(version: Version) {
    let server = Server::start().await;
    for bytes in [&[0xE0, 1, 0x92][..], &[0xE0, 1, 0x03], &[0xE0, 1, 0x86]] {
        let mut client = server.connect(connect(version, "s")).await;
        client.send_bytes(bytes).await;
        client.expect_end(ReasonCode::ProtocolError).await;
    }
}

versions!(auth_needs_a_method_in_connect: V5);
// [MQTT-4.12.0-7] [MQTT-4.12.0-6]
async fn auth_needs_a_method_in_connect(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    assert_eq!(client.connack().properties.authentication_method, None);
    client.send(auth(ReasonCode::ReAuthenticate, "PLAIN", "x")).await;
    client.expect_end(ReasonCode::ProtocolError).await;
}

versions!(an_unknown_authentication_method_is_refused: V5);
// [MQTT-4.12.0-1] [MQTT-4.12.0-4]
async fn an_unknown_authentication_method_is_refused(version: Version) {
    let server = Server::start().await;
    server
        .refused(
            connect(version, "s").method("SCRAM-SHA-1", "x"),
            ReasonCode::BadAuthenticationMethod,
        )
        .await;
}

versions!(user_properties_of_connect_are_taken: V5);
// [MQTT-1.5.7-1] (3.1.2.11.8)
async fn user_properties_of_connect_are_taken(version: Version) {
    let server = Server::start().await;
    let mut packet = connect(version, "s");
    packet.properties.user_properties =
        dunlin_codec::UserProperties::from_pairs([("a", "1"), ("a", "1")]).expect("short pairs");
    let mut client = server.connect(packet).await;
    client.ping().await;
}

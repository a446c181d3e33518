//! Packets that must be accepted: the whole value, and the same bytes when it is encoded.

use core::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use dunlin_codec::{
    Ack, AckProperties, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, DecodeLimits,
    Disconnect, Packet, PacketId, Publish, PublishProperties, Qos, ReasonCode, RetainHandling,
    SubAck, Subscribe, SubscribeFilters, SubscriptionId, SubscriptionOptions, TopicAlias, UnsubAck,
    Unsubscribe, UnsubscribeFilters, UserProperties, Version, Will, WillProperties,
};
use dunlin_topics::{Text, TextRules};

use crate::support::{ALL, V3, V3_1, V3_1_1, V5, decode_any, encode, packet, text};

/// Name, versions, packet, value.
type Accepted = (&'static str, &'static [Version], &'static str, Packet<Bytes>);

/// The bytes must decode to the value, and the value must encode to the bytes.
fn check(cases: Vec<Accepted>) {
    for (name, versions, notation, value) in cases {
        for &version in versions {
            let bytes = packet(notation);
            check_decodes(name, version, &bytes, &value);
            assert_eq!(encode(&value, version), bytes, "{name} of {version}");
        }
    }
}

/// The bytes must decode to the value, though the encoder writes it in another way.
fn check_decodes_only(cases: Vec<Accepted>) {
    for (name, versions, notation, value) in cases {
        for &version in versions {
            check_decodes(name, version, &packet(notation), &value);
            let again = encode(&value, version);
            check_decodes(name, version, &again, &value);
        }
    }
}

fn check_decodes(name: &str, version: Version, bytes: &[u8], value: &Packet<Bytes>) {
    let limits = DecodeLimits::default();
    // Bytes behind the packet must not matter.
    let frame = Bytes::from([bytes, &[0xFF; 8]].concat());
    let decoded = decode_any(&frame, version, &limits);
    let (decoded, len) = decoded
        .unwrap_or_else(|error| panic!("{name} of {version}: {error}"))
        .expect("a whole packet");
    assert_eq!(len, bytes.len(), "{name} of {version}");
    assert_eq!(decoded.to_owned_in(&frame), *value, "{name} of {version}");
    assert_eq!(decoded.packet_type(), value.packet_type());
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("not 0")
}

fn connect(version: Version) -> Connect<Bytes> {
    Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id: text("c"),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

fn will() -> Will<Bytes> {
    Will {
        topic: text("w"),
        payload: Bytes::from_static(b"gone"),
        qos: Qos::AtMostOnce,
        retain: false,
        delay_interval: 0,
        properties: WillProperties::default(),
    }
}

fn publish(topic: &str, payload: &'static [u8]) -> Publish<Bytes> {
    Publish {
        dup: false,
        retain: false,
        qos: Qos::AtMostOnce,
        packet_id: None,
        topic: text(topic),
        properties: PublishProperties::default(),
        payload: Bytes::from_static(payload),
    }
}

fn pairs(pairs: &[(&str, &str)]) -> UserProperties<Bytes> {
    UserProperties::from_pairs(pairs.iter().copied()).expect("short pairs")
}

#[test]
#[rustfmt::skip] // One case after the other.
fn connects() {
    use Version::{V3_1 as OLD, V3_1_1 as OLDER, V5 as NEW};
    let with = |version, change: fn(&mut Connect<Bytes>)| {
        let mut connect = connect(version);
        change(&mut connect);
        Packet::Connect(connect)
    };
    check(vec![
        ("plain", V3_1, "10 # $'MQIsdp' 03 02 003c $'c'", with(OLD, |_| {})),
        ("plain", V3_1_1, "10 # $'MQTT' 04 02 003c $'c'", with(OLDER, |_| {})),
        ("plain", V5, "10 # $'MQTT' 05 02 003c 00 $'c'", with(NEW, |_| {})),
        ("old session, no keep alive", V3_1_1, "10 # $'MQTT' 04 00 0000 $'c'", with(OLDER, |connect| {
            connect.clean_start = false;
            connect.keep_alive = 0;
        })),
        ("empty client id", V5, "10 # $'MQTT' 05 02 003c 00 $''", with(NEW, |connect| connect.client_id = Text::empty())),
        // [MQTT-3.1.3-5] Longer ids than 23 bytes, though 3.1 would refuse them.
        ("long client id", V3_1, "10 # $'MQIsdp' 03 02 003c $'a-client-id-of-more-than-23-bytes'", with(OLD, |connect| {
            connect.client_id = text("a-client-id-of-more-than-23-bytes");
        })),
        // [MQTT-1.5.4-3] [MQTT-1.5.3-3 @3.1.1]
        ("client id with BOM", V3_1_1, "10 # $'MQTT' 04 02 003c 0004 efbbbf63", with(OLDER, |connect| {
            connect.client_id = text("\u{feff}c");
        })),
        ("user name", V3_1_1, "10 # $'MQTT' 04 82 003c $'c' $'u'", with(OLDER, |connect| connect.user_name = Some(text("u")))),
        ("empty user name and password", V3_1, "10 # $'MQIsdp' 03 c2 003c $'c' $'' $''", with(OLD, |connect| {
            connect.user_name = Some(Text::empty());
            connect.password = Some(Bytes::new());
        })),
        ("binary password", V3_1_1, "10 # $'MQTT' 04 c2 003c $'c' $'u' 0003 00ff80", with(OLDER, |connect| {
            connect.user_name = Some(text("u"));
            connect.password = Some(Bytes::from_static(b"\x00\xff\x80"));
        })),
        // [MQTT-3.1.2-19] Since 5.0 a password may stand alone.
        ("password alone", V5, "10 # $'MQTT' 05 42 003c 00 $'c' $'p'", with(NEW, |connect| {
            connect.password = Some(Bytes::from_static(b"p"));
        })),
        ("control in user name", V3_1_1, "10 # $'MQTT' 04 82 003c $'c' 0001 0a", with(OLDER, |connect| {
            connect.user_name = Text::with_rules("\n", TextRules::PERMISSIVE).ok();
        })),
        ("will", V3_1_1, "10 # $'MQTT' 04 06 003c $'c' $'w' $'gone'", with(OLDER, |connect| connect.will = Some(will()))),
        ("will QoS 2 retained", V3_1, "10 # $'MQIsdp' 03 36 003c $'c' $'w' $''", with(OLD, |connect| {
            let payload = Bytes::new();
            connect.will = Some(Will { qos: Qos::ExactlyOnce, retain: true, payload, ..will() });
        })),
        ("will", V5, "10 # $'MQTT' 05 0e 003c 00 $'c' 00 $'w' $'gone'", with(NEW, |connect| {
            connect.will = Some(Will { qos: Qos::AtLeastOnce, ..will() });
        })),
        (
            "will with properties", V5,
            "10 # $'MQTT' 05 06 003c 00 $'c' 1f 18 00000005 01 01 02 00000007 08 $'r' 09 $'x' 03 $'t' 26 $'n' $'v' $'w' $'gone'",
            with(NEW, |connect| {
                connect.will = Some(Will {
                    delay_interval: 5,
                    properties: WillProperties {
                        payload_format_utf8: Some(true),
                        message_expiry_interval: Some(7),
                        response_topic: Some(text("r")),
                        correlation_data: Some(Bytes::from_static(b"x")),
                        content_type: Some(text("t")),
                        user_properties: pairs(&[("n", "v")]),
                    },
                    ..will()
                });
            }),
        ),
        (
            "properties", V5,
            "10 # $'MQTT' 05 02 003c 27 11 ffffffff 21 000a 27 00010000 22 0005 19 01 17 00 15 $'m' 16 $'d' 26 $'' $'' 26 $'' $'v' $'c'",
            with(NEW, |connect| {
                connect.properties = ConnectProperties {
                    session_expiry_interval: Some(u32::MAX),
                    receive_maximum: NonZeroU16::new(10),
                    maximum_packet_size: NonZeroU32::new(65_536),
                    topic_alias_maximum: Some(5),
                    request_response_information: true,
                    request_problem_information: false,
                    authentication_method: Some(text("m")),
                    authentication_data: Some(Bytes::from_static(b"d")),
                    user_properties: pairs(&[("", ""), ("", "v")]),
                };
            }),
        ),
    ]);
    check_decodes_only(vec![
        ("defaults said aloud", V5, "10 # $'MQTT' 05 02 003c 04 17 01 19 00 $'c'", with(NEW, |_| {})),
        ("will delay 0 said aloud", V5, "10 # $'MQTT' 05 06 003c 00 $'c' 05 18 00000000 $'w' $'gone'", with(NEW, |connect| {
            connect.will = Some(will());
        })),
    ]);
}

#[test]
#[rustfmt::skip] // One case after the other.
fn connacks() {
    let full = ConnAckProperties {
        session_expiry_interval: Some(10),
        receive_maximum: NonZeroU16::new(1),
        maximum_qos: Some(Qos::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: NonZeroU32::new(256),
        assigned_client_id: Some(text("c")),
        topic_alias_maximum: Some(0),
        reason_string: Some(text("r")),
        user_properties: pairs(&[("n", "v")]),
        wildcard_subscription_available: Some(true),
        subscription_identifiers_available: Some(false),
        shared_subscription_available: Some(true),
        server_keep_alive: Some(0),
        response_information: Some(text("i")),
        server_reference: Some(text("s")),
        authentication_method: Some(text("m")),
        authentication_data: Some(Bytes::new()),
    };
    let connack = |session_present, reason_code| Packet::ConnAck(ConnAck::new(session_present, reason_code));
    check(vec![
        ("accepted", V3, "20 02 00 00", connack(false, ReasonCode::Success)),
        ("session present", V3_1_1, "20 02 01 00", connack(true, ReasonCode::Success)),
        ("session present", V5, "20 03 01 00 00", connack(true, ReasonCode::Success)),
        ("level", V3, "20 02 00 01", connack(false, ReasonCode::UnsupportedProtocolVersion)),
        ("identifier", V3, "20 02 00 02", connack(false, ReasonCode::ClientIdentifierNotValid)),
        ("unavailable", V3, "20 02 00 03", connack(false, ReasonCode::ServerUnavailable)),
        ("password", V3, "20 02 00 04", connack(false, ReasonCode::BadUserNameOrPassword)),
        ("authorised", V3, "20 02 00 05", connack(false, ReasonCode::NotAuthorized)),
        ("authorised", V5, "20 03 00 87 00", connack(false, ReasonCode::NotAuthorized)),
        (
            "every property", V5,
            "20 # 00 00 3b 11 0000000a 21 0001 24 01 25 00 27 00000100 12 $'c' 22 0000 1f $'r' 28 01 29 00 2a 01 13 0000 1a $'i' 1c $'s' 15 $'m' 16 $'' 26 $'n' $'v'",
            Packet::ConnAck(ConnAck { properties: full, ..ConnAck::new(false, ReasonCode::Success) }),
        ),
    ]);
}

#[test]
#[rustfmt::skip] // One case after the other.
fn publishes() {
    let with = |change: fn(&mut Publish<Bytes>)| {
        let mut publish = publish("a/b", b"hi");
        change(&mut publish);
        Packet::Publish(publish)
    };
    let properties = |change: fn(&mut PublishProperties<Bytes>)| {
        let mut publish = publish("a/b", b"hi");
        change(&mut publish.properties);
        Packet::Publish(publish)
    };
    check(vec![
        ("plain", V3, "30 # $'a/b' 'hi'", with(|_| {})),
        ("plain", V5, "30 # $'a/b' 00 'hi'", with(|_| {})),
        ("no payload, retained", V3, "31 # $'a/b'", with(|publish| {
            publish.retain = true;
            publish.payload = Bytes::new();
        })),
        ("QoS 1", V3, "32 # $'a/b' 0007 'hi'", with(|publish| {
            (publish.qos, publish.packet_id) = (Qos::AtLeastOnce, Some(id(7)));
        })),
        ("QoS 2, DUP, RETAIN", V3, "3d # $'a/b' ffff 'hi'", with(|publish| {
            (publish.qos, publish.packet_id) = (Qos::ExactlyOnce, Some(id(65_535)));
            (publish.dup, publish.retain) = (true, true);
        })),
        ("QoS 1, DUP", V5, "3a # $'a/b' 0007 00 'hi'", with(|publish| {
            (publish.qos, publish.packet_id) = (Qos::AtLeastOnce, Some(id(7)));
            publish.dup = true;
        })),
        ("topic of one slash", V3, "30 # $'/'", with(|publish| {
            (publish.topic, publish.payload) = (text("/"), Bytes::new());
        })),
        ("topic beyond ASCII", V3, "30 # 0009 e38184e3818d2fc3a9 'hi'", with(|publish| publish.topic = text("\u{3044}\u{304d}/\u{e9}"))),
        ("topic of the server", V3, "30 # $'$SYS/x' 'hi'", with(|publish| publish.topic = text("$SYS/x"))),
        ("alias for the topic", V5, "30 # $'' 03 23 0001 'hi'", with(|publish| {
            publish.topic = Text::empty();
            publish.properties.topic_alias = TopicAlias::new(1);
        })),
        ("format", V5, "30 # $'a/b' 02 01 00 'hi'", properties(|it| it.payload_format_utf8 = Some(false))),
        ("expiry", V5, "30 # $'a/b' 05 02 00000000 'hi'", properties(|it| it.message_expiry_interval = Some(0))),
        ("largest alias", V5, "30 # $'a/b' 03 23 ffff 'hi'", properties(|it| it.topic_alias = TopicAlias::new(65_535))),
        ("empty content type", V5, "30 # $'a/b' 03 03 $'' 'hi'", properties(|it| it.content_type = Some(Text::empty()))),
        ("subscription ids", V5, "30 # $'a/b' 0a 0b 01 0b 8001 0b ffffff7f 'hi'", properties(|it| {
            it.subscription_ids = [1, 128, 268_435_455].into_iter().filter_map(SubscriptionId::new).collect();
        })),
        // [MQTT-3.3.2-18]
        ("user properties keep their order", V5, "30 # $'a/b' 15 26 $'b' $'1' 26 $'a' $'2' 26 $'b' $'1' 'hi'", properties(|it| {
            it.user_properties = pairs(&[("b", "1"), ("a", "2"), ("b", "1")]);
        })),
        ("all", V5, "30 # $'a/b' 1f 01 01 02 00000009 23 0002 08 $'r' 09 $'x' 0b 03 03 $'t' 26 $'n' $'v' 'hi'", properties(|it| {
            it.payload_format_utf8 = Some(true);
            it.message_expiry_interval = Some(9);
            it.topic_alias = TopicAlias::new(2);
            it.response_topic = Some(text("r"));
            it.correlation_data = Some(Bytes::from_static(b"x"));
            it.subscription_ids = SubscriptionId::new(3).into_iter().collect();
            it.content_type = Some(text("t"));
            it.user_properties = pairs(&[("n", "v")]);
        })),
    ]);
    check_decodes_only(vec![
        ("user properties between others", V5, "30 # $'a/b' 19 26 $'b' $'1' 01 01 26 $'a' $'2' 0b 05 26 $'b' $'3' 'hi'", properties(|it| {
            it.payload_format_utf8 = Some(true);
            it.subscription_ids = SubscriptionId::new(5).into_iter().collect();
            it.user_properties = pairs(&[("b", "1"), ("a", "2"), ("b", "3")]);
        })),
        ("subscription ids between others", V5, "30 # $'a/b' 0b 0b 05 26 $'n' $'v' 0b 06 'hi'", properties(|it| {
            it.subscription_ids = [5, 6].into_iter().filter_map(SubscriptionId::new).collect();
            it.user_properties = pairs(&[("n", "v")]);
        })),
    ]);
}

#[test]
#[rustfmt::skip] // One case after the other.
fn acknowledgements() {
    let ack = |reason_code| Ack::<Bytes>::new(id(1), reason_code);
    let said = |reason_code| Ack {
        properties: AckProperties { reason_string: Some(text("no")), user_properties: pairs(&[("n", "v")]) },
        ..ack(reason_code)
    };
    check(vec![
        ("PUBACK", ALL, "40 02 0001", Packet::PubAck(ack(ReasonCode::Success))),
        ("PUBREC", ALL, "50 02 0001", Packet::PubRec(ack(ReasonCode::Success))),
        ("PUBREL", ALL, "62 02 0001", Packet::PubRel(ack(ReasonCode::Success))),
        ("PUBCOMP", ALL, "70 02 0001", Packet::PubComp(ack(ReasonCode::Success))),
        ("PUBACK 0x10", V5, "40 03 0001 10", Packet::PubAck(ack(ReasonCode::NoMatchingSubscribers))),
        ("PUBREC 0x97", V5, "50 03 0001 97", Packet::PubRec(ack(ReasonCode::QuotaExceeded))),
        ("PUBREL 0x92", V5, "62 03 0001 92", Packet::PubRel(ack(ReasonCode::PacketIdentifierNotFound))),
        ("PUBCOMP 0x92", V5, "70 03 0001 92", Packet::PubComp(ack(ReasonCode::PacketIdentifierNotFound))),
        ("PUBACK with words", V5, "40 # 0001 87 0c 1f $'no' 26 $'n' $'v'", Packet::PubAck(said(ReasonCode::NotAuthorized))),
        ("PUBREC with words", V5, "50 # 0001 00 0c 1f $'no' 26 $'n' $'v'", Packet::PubRec(said(ReasonCode::Success))),
    ]);
    check_decodes_only(vec![
        ("success said aloud", V5, "40 03 0001 00", Packet::PubAck(ack(ReasonCode::Success))),
        ("no properties said aloud", V5, "40 04 0001 10 00", Packet::PubAck(ack(ReasonCode::NoMatchingSubscribers))),
        // [MQTT-3.1 s3.6] DUP of 3.1.
        ("PUBREL again", V3_1, "6a 02 0001", Packet::PubRel(ack(ReasonCode::Success))),
    ]);
}

#[test]
#[rustfmt::skip] // One case after the other.
fn subscribes() {
    let filters = |pairs: &[(&str, SubscriptionOptions)]| SubscribeFilters::from_pairs(pairs.iter().copied()).expect("filters");
    let subscribe = |pairs: &[(&str, SubscriptionOptions)]| Subscribe {
        packet_id: id(1),
        subscription_id: None,
        user_properties: UserProperties::default(),
        filters: filters(pairs),
    };
    let qos = SubscriptionOptions::with_qos;
    let all = SubscriptionOptions {
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let if_new = SubscriptionOptions { retain_handling: RetainHandling::SendIfNew, ..qos(Qos::AtMostOnce) };
    check(vec![
        ("one", V3, "82 # 0001 $'a/#' 01", Packet::Subscribe(subscribe(&[("a/#", qos(Qos::AtLeastOnce))]))),
        ("one", V5, "82 # 0001 00 $'a/#' 01", Packet::Subscribe(subscribe(&[("a/#", qos(Qos::AtLeastOnce))]))),
        ("three", V3, "82 # 0001 $'a' 00 $'+' 01 $'a' 02", Packet::Subscribe(subscribe(&[
            ("a", qos(Qos::AtMostOnce)), ("+", qos(Qos::AtLeastOnce)), ("a", qos(Qos::ExactlyOnce)),
        ]))),
        ("options", V5, "82 # 0001 00 $'a' 2e $'b' 10", Packet::Subscribe(subscribe(&[("a", all), ("b", if_new)]))),
        // A filter that is none is answered by its own reason code.
        ("no filters at all", V5, "82 # 0001 00 $'' 00 $'a#/+b' 00", Packet::Subscribe(subscribe(&[
            ("", qos(Qos::AtMostOnce)), ("a#/+b", qos(Qos::AtMostOnce)),
        ]))),
        ("properties", V5, "82 # 0001 09 0b 07 26 $'n' $'v' $'a' 00", Packet::Subscribe(Subscribe {
            subscription_id: SubscriptionId::new(7),
            user_properties: pairs(&[("n", "v")]),
            ..subscribe(&[("a", qos(Qos::AtMostOnce))])
        })),
    ]);
    check_decodes_only(vec![
        ("again in 3.1", V3_1, "8a # 0001 $'a' 00", Packet::Subscribe(subscribe(&[("a", qos(Qos::AtMostOnce))]))),
    ]);
}

#[test]
#[rustfmt::skip] // One case after the other.
fn subacks_and_unsubscribes() {
    let suback = |codes: &[ReasonCode]| Packet::SubAck(SubAck {
        packet_id: id(1),
        properties: AckProperties::default(),
        reason_codes: codes.iter().copied().collect(),
    });
    let unsuback = |codes: &[ReasonCode]| Packet::UnsubAck(UnsubAck {
        packet_id: id(1),
        properties: AckProperties::default(),
        reason_codes: codes.iter().copied().collect(),
    });
    let unsubscribe = |filters: &[&str]| Unsubscribe {
        packet_id: id(1),
        user_properties: UserProperties::default(),
        filters: UnsubscribeFilters::from_filters(filters.iter().copied()).expect("filters"),
    };
    let granted = [ReasonCode::Success, ReasonCode::GrantedQos1, ReasonCode::GrantedQos2];
    check(vec![
        ("SUBACK", V3, "90 # 0001 000102", suback(&granted)),
        ("SUBACK", V5, "90 # 0001 00 000102", suback(&granted)),
        ("SUBACK refused", V3_1_1, "90 # 0001 80", suback(&[ReasonCode::UnspecifiedError])),
        ("SUBACK refused", V5, "90 # 0001 00 8fa2", suback(&[
            ReasonCode::TopicFilterInvalid, ReasonCode::WildcardSubscriptionsNotSupported,
        ])),
        ("UNSUBSCRIBE", V3, "a2 # 0001 $'a' $'b/+'", Packet::Unsubscribe(unsubscribe(&["a", "b/+"]))),
        ("UNSUBSCRIBE", V5, "a2 # 0001 07 26 $'n' $'v' $'a'", Packet::Unsubscribe(Unsubscribe {
            user_properties: pairs(&[("n", "v")]),
            ..unsubscribe(&["a"])
        })),
        ("UNSUBACK", V3, "b0 02 0001", unsuback(&[])),
        ("UNSUBACK", V5, "b0 # 0001 00 0011", unsuback(&[ReasonCode::Success, ReasonCode::NoSubscriptionExisted])),
    ]);
    check_decodes_only(vec![
        ("UNSUBSCRIBE again in 3.1", V3_1, "aa # 0001 $'a'", Packet::Unsubscribe(unsubscribe(&["a"]))),
    ]);
}

#[test]
#[rustfmt::skip] // One case after the other.
fn pings_and_endings() {
    let disconnect = |reason_code| Disconnect::<Bytes>::new(reason_code);
    let auth = |reason_code, method| Auth::<Bytes> {
        reason_code,
        method,
        data: None,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    check(vec![
        ("PINGREQ", ALL, "c0 00", Packet::PingReq),
        ("PINGRESP", ALL, "d0 00", Packet::PingResp),
        ("DISCONNECT", ALL, "e0 00", Packet::Disconnect(disconnect(ReasonCode::Success))),
        ("DISCONNECT with will", V5, "e0 01 04", Packet::Disconnect(disconnect(ReasonCode::DisconnectWithWillMessage))),
        ("DISCONNECT, expiry", V5, "e0 # 00 05 11 00000000", Packet::Disconnect(Disconnect {
            session_expiry_interval: Some(0),
            ..disconnect(ReasonCode::Success)
        })),
        ("DISCONNECT, moved", V5, "e0 # 9d 0f 1f $'r' 1c $'s' 26 $'n' $'v'", Packet::Disconnect(Disconnect {
            reason_string: Some(text("r")),
            server_reference: Some(text("s")),
            user_properties: pairs(&[("n", "v")]),
            ..disconnect(ReasonCode::ServerMoved)
        })),
        ("AUTH", V5, "f0 00", Packet::Auth(auth(ReasonCode::Success, None))),
        ("AUTH again", V5, "f0 # 19 04 15 $'m'", Packet::Auth(auth(ReasonCode::ReAuthenticate, Some(text("m"))))),
        ("AUTH goes on", V5, "f0 # 18 13 15 $'m' 16 $'d' 1f $'r' 26 $'n' $'v'", Packet::Auth(Auth {
            data: Some(Bytes::from_static(b"d")),
            reason_string: Some(text("r")),
            user_properties: pairs(&[("n", "v")]),
            ..auth(ReasonCode::ContinueAuthentication, Some(text("m")))
        })),
    ]);
    check_decodes_only(vec![
        ("DISCONNECT said aloud", V5, "e0 01 00", Packet::Disconnect(disconnect(ReasonCode::Success))),
        ("DISCONNECT, no properties", V5, "e0 02 8b 00", Packet::Disconnect(disconnect(ReasonCode::ServerShuttingDown))),
        ("AUTH said aloud", V5, "f0 # 00 04 15 $'m'", Packet::Auth(auth(ReasonCode::Success, Some(text("m"))))),
    ]);
}

//! From CONNECT to CONNACK.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use dunlin_codec::{ConnAck, ConnAckProperties, Connect, Packet, Qos, ReasonCode, Version};
use dunlin_session::{
    AcceptedVersions, Capabilities, Cause, Input, Output, Outputs, Redirect, Session, SessionExpiry,
};

use crate::harness::{
    Answers, Bench, connect, connect_clean, disconnect_packet, publish_packet, text, will,
};

/// The CONNACK that this CONNECT leads to.
fn connack(capabilities: Capabilities, connect: Connect<Bytes>) -> ConnAck<Bytes> {
    let mut bench = Bench::new(capabilities);
    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(connect));
    bench.input(Input::Authenticated(Ok(None)));
    let client_id = bench.connection.client_id().unwrap().clone();
    let mut out = Outputs::new();
    let attached =
        Input::Attached { session: Box::new(Session::new(client_id)), session_present: false };
    bench.connection.handle(attached, bench.now, &mut out).unwrap();
    let Some(Output::Send(packet)) = out.pop() else { panic!("CONNACK comes first") };
    let Packet::ConnAck(connack) = *packet else { panic!("{packet:?}") };
    connack
}

/// The lines that this CONNECT leads to, and whether the connection is open after it.
fn attempt(capabilities: Capabilities, connect: Connect<Bytes>) -> (Vec<String>, bool) {
    let mut bench = Bench::new(capabilities);
    let lines = bench.send(Packet::Connect(connect));
    (lines, bench.connection.is_open())
}

#[track_caller]
fn assert_refused(capabilities: Capabilities, connect: Connect<Bytes>, expected: &[&str]) {
    let (lines, open) = attempt(capabilities, connect);
    assert_eq!(lines, expected);
    assert!(!open);
}

// [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.1.2-6]
#[test]
fn a_connect_is_authenticated_then_attached_then_acknowledged() {
    for version in Version::ALL {
        let mut bench = Bench::new(Capabilities::default());
        let lines = bench.send(Packet::Connect(connect_clean(version)));
        let expected = [
            "authenticate Connect client None",
            "attach client clean expiry 0 s",
            "send CONNACK success",
        ];
        assert_eq!(lines, expected, "{version}");
        assert!(bench.connection.is_open());
    }
}

// [MQTT-3.1.0-1] [MQTT-3.1.0-1 @3.1.1]
#[test]
fn a_first_packet_that_is_not_connect_gets_no_answer() {
    let mut bench = Bench::new(Capabilities::default());
    assert_eq!(
        bench.bytes(&[0xc0, 0x00]),
        [
            "violation MQTT-3.1.0-1",
            "close: PINGREQ: first packet is not CONNECT at byte 0 [MQTT-3.1.0-1]"
        ]
    );
    let mut bench = Bench::new(Capabilities::default());
    assert_eq!(
        bench.input(Input::Packet(Packet::PingReq)),
        ["violation MQTT-3.1.0-1", "close: first packet is PINGREQ, not CONNECT"]
    );
}

// [MQTT-3.1.0-2] [MQTT-3.1.0-2 @3.1.1]
#[test]
fn a_second_connect_ends_the_connection_and_the_will_goes_out() {
    let mut first = connect(Version::V5);
    first.will = Some(will("w", 0));
    let mut bench = Bench::open_with(Capabilities::default(), first);
    assert_eq!(
        bench.send(Packet::Connect(connect(Version::V5))),
        [
            "violation MQTT-3.1.0-2",
            "send DISCONNECT protocol error",
            "publish will to w",
            "close: second CONNECT on one connection"
        ]
    );
    let mut bench = Bench::open(Version::V3_1_1);
    assert_eq!(
        bench.send(Packet::Connect(connect(Version::V3_1_1))),
        ["violation MQTT-3.1.0-2 @3.1.1", "close: second CONNECT on one connection"]
    );
}

// [MQTT-3.1.2-2] [MQTT-3.1.2-2 @3.1.1]
#[test]
fn versions_that_are_not_served_are_told_so_in_their_own_form() {
    for (version, line) in [
        (Version::V3_1, "violation MQTT-3.1.2-2 @3.1.1"),
        (Version::V3_1_1, "violation MQTT-3.1.2-2 @3.1.1"),
        (Version::V5, "violation MQTT-3.1.2-2"),
    ] {
        let capabilities = Capabilities { versions: AcceptedVersions::NONE, ..Default::default() };
        let close = format!("close: version {version} is not served here");
        assert_refused(
            capabilities,
            connect(version),
            &[line, "send CONNACK unsupported protocol version", &close],
        );
    }
}

// [MQTT-3.1.2-2] [MQTT-3.1.2-2 @3.1.1]
#[test]
fn unknown_versions_are_told_so_in_the_form_they_may_understand() {
    for (level, form) in [(6, 5), (9, 5), (2, 3), (0, 3)] {
        let mut bench = Bench::new(Capabilities::default());
        bench.answers = Answers::Nothing;
        let mut out = Outputs::new();
        let bytes = [0x10, 0x0c, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 0, 0, 0];
        let limits =
            dunlin_codec::DecodeLimits { packet_size_max: 1_000, text: Default::default() };
        let error = dunlin_codec::decode_connect(&bytes, &limits).unwrap_err();
        bench.connection.violated(error.into(), bench.now, &mut out);
        let Some(Output::Send(packet)) = out.pop() else { panic!("level {level} is answered") };
        let Packet::ConnAck(connack) = *packet else { panic!("{packet:?}") };
        assert_eq!(connack.reason_code, ReasonCode::UnsupportedProtocolVersion);
        assert_eq!(connack.properties.reason_string.is_some(), form == 5, "level {level}");
    }
}

// [MQTT-3.1.4-1] [MQTT-3.1.4-1 @3.1.1]
#[test]
fn a_malformed_connect_is_told_so_in_5_0_only() {
    // A reserved Connect Flag.
    let mut v5 = [0x10, 0x0d, 0, 4, b'M', b'Q', b'T', b'T', 5, 3, 0, 0, 0, 0, 0];
    let mut bench = Bench::new(Capabilities::default());
    let lines = bench.bytes(&v5);
    assert_eq!(lines[..2], ["violation MQTT-3.1.2-3", "send CONNACK malformed packet"]);
    v5[1] = 0x0c;
    v5[8] = 4;
    let mut bench = Bench::new(Capabilities::default());
    let lines = bench.bytes(&v5[..14]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], "violation MQTT-3.1.2-3 @3.1.1");
}

// [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16] [MQTT-3.1.3-6 @3.1.1]
#[test]
fn an_empty_client_id_is_replaced_by_a_random_one() {
    let mut anonymous = connect_clean(Version::V5);
    anonymous.client_id = text("");
    let connack = connack(Capabilities::default(), anonymous.clone());
    let assigned = connack.properties.assigned_client_id.unwrap();
    assert!(assigned.len() <= 22);
    assert!(assigned.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));

    let mut ids = std::collections::HashSet::new();
    for entropy in 0..1_000_u128 {
        let mut connection = dunlin_session::Connection::new(
            Default::default(),
            entropy.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834),
            crate::harness::start(),
        );
        let mut bytes = Vec::new();
        Packet::Connect(anonymous.clone()).encode(Version::V5, &mut bytes).unwrap();
        let limits =
            dunlin_codec::DecodeLimits { packet_size_max: 1_000, text: Default::default() };
        let (connect, _) = dunlin_codec::decode_connect(&bytes, &limits).unwrap().unwrap();
        let mut out = Outputs::new();
        connection
            .handle(Input::Packet(Packet::Connect(connect)), crate::harness::start(), &mut out)
            .unwrap();
        ids.insert(connection.client_id().unwrap().clone());
    }
    assert_eq!(ids.len(), 1_000);

    anonymous.version = Version::V3_1_1;
    assert!(attempt(Capabilities::default(), anonymous).1);
}

// [MQTT-3.1.3-7 @3.1.1] [MQTT-3.1.3-8 @3.1.1] [MQTT-3.1.3-9 @3.1.1]
#[test]
fn an_empty_client_id_is_refused_where_the_version_needs_one() {
    for (version, clean_start) in
        [(Version::V3_1_1, false), (Version::V3_1, false), (Version::V3_1, true)]
    {
        let mut anonymous = connect(version);
        anonymous.client_id = text("");
        anonymous.clean_start = clean_start;
        assert_refused(
            Capabilities::default(),
            anonymous,
            &[
                "violation MQTT-3.1.3-8 @3.1.1",
                "send CONNACK client identifier not valid",
                "close: client identifier is empty",
            ],
        );
    }
}

// [MQTT-3.1.3-5] [MQTT-3.1.3-8]
#[test]
fn long_client_ids_are_accepted_up_to_the_limit() {
    for version in Version::ALL {
        let mut long = connect(version);
        long.client_id = text(&"x".repeat(5_000));
        assert!(attempt(Capabilities::default(), long.clone()).1, "{version}");
        let capabilities = Capabilities { client_id_bytes_max: 4_999, ..Default::default() };
        let (lines, open) = attempt(capabilities, long);
        assert!(!open);
        assert_eq!(lines[1], "send CONNACK client identifier not valid");
    }
}

#[test]
fn a_connack_with_an_assigned_id_and_default_capabilities_fits_in_40_bytes() {
    let mut anonymous = connect_clean(Version::V5);
    anonymous.client_id = text("");
    anonymous.properties.maximum_packet_size = NonZeroU32::new(40);
    let connack = connack(Capabilities::default(), anonymous);
    assert_eq!(Packet::ConnAck(connack).encoded_len(Version::V5), Ok(39));
}

// [MQTT-3.1.2-24] [MQTT-3.2.2-19]
#[test]
fn a_client_with_no_room_for_connack_is_closed_without_one() {
    let mut anonymous = connect_clean(Version::V5);
    anonymous.client_id = text("");
    anonymous.properties.maximum_packet_size = NonZeroU32::new(38);
    assert_refused(
        Capabilities::default(),
        anonymous,
        &[
            "authenticate Connect 70000000000000000000 None",
            "violation MQTT-3.1.2-24",
            "close: CONNACK exceeds the client's maximum packet size of 38",
        ],
    );
}

#[test]
fn connack_says_only_what_differs_from_the_defaults() {
    let plain =
        Capabilities { receive_maximum: u16::MAX, topic_alias_maximum: 0, ..Default::default() };
    let connack_of = |capabilities| connack(capabilities, connect(Version::V5)).properties;
    // The protocol knows no default for this one.
    let packet_size = ConnAckProperties {
        maximum_packet_size: NonZeroU32::new(16 * 1024 * 1024),
        ..Default::default()
    };
    assert_eq!(connack_of(plain.clone()), packet_size);

    let announced = connack_of(Capabilities {
        maximum_qos: Qos::AtLeastOnce,
        retain_available: false,
        wildcard_subscription_available: false,
        subscription_identifiers_available: false,
        shared_subscription_available: false,
        receive_maximum: 10,
        topic_alias_maximum: 3,
        session_expiry_max: Some(SessionExpiry::from_secs(60)),
        keep_alive_max: Some(30),
        response_information: Some(text("nobody asked")),
        ..plain
    });
    assert_eq!(announced.maximum_qos, Some(Qos::AtLeastOnce));
    assert_eq!(announced.retain_available, Some(false));
    assert_eq!(announced.wildcard_subscription_available, Some(false));
    assert_eq!(announced.subscription_identifiers_available, Some(false));
    assert_eq!(announced.shared_subscription_available, Some(false));
    assert_eq!(announced.receive_maximum.unwrap().get(), 10);
    assert_eq!(announced.topic_alias_maximum, Some(3));
    assert_eq!(announced.session_expiry_interval, Some(60));
    assert_eq!(announced.server_keep_alive, Some(30));
    // [MQTT-3.1.2-28]
    assert_eq!(announced.response_information, None);
}

// [MQTT-3.1.2-28]
#[test]
fn response_information_is_given_when_asked_for_and_left_out_first() {
    let capabilities =
        Capabilities { response_information: Some(text("replies/7")), ..Default::default() };
    let mut curious = connect(Version::V5);
    curious.properties.request_response_information = true;
    let given = connack(capabilities.clone(), curious.clone()).properties.response_information;
    assert_eq!(given, Some(text("replies/7")));
    curious.properties.maximum_packet_size = NonZeroU32::new(20);
    assert_eq!(connack(capabilities, curious).properties.response_information, None);
}

// [MQTT-3.1.2-6 @3.1.1] [MQTT-3.1.2-4 @3.1.1]
#[test]
fn the_session_expiry_is_what_was_asked_for_within_the_maximum() {
    let unlimited = Capabilities::default;
    let limited = || Capabilities {
        session_expiry_max: Some(SessionExpiry::from_secs(100)),
        ..Default::default()
    };
    let with_expiry = |expiry| {
        let mut connect = connect(Version::V5);
        connect.properties.session_expiry_interval = expiry;
        connect
    };
    for (capabilities, connect, expected) in [
        (unlimited(), with_expiry(None), "0 s"),
        (unlimited(), with_expiry(Some(7)), "7 s"),
        (unlimited(), with_expiry(Some(u32::MAX)), "never"),
        (limited(), with_expiry(Some(7)), "7 s"),
        (limited(), with_expiry(Some(101)), "100 s"),
        (limited(), with_expiry(Some(u32::MAX)), "100 s"),
        (unlimited(), connect_clean(Version::V3_1_1), "0 s"),
        (unlimited(), connect(Version::V3_1_1), "never"),
        (unlimited(), connect(Version::V3_1), "never"),
        (limited(), connect(Version::V3_1_1), "100 s"),
    ] {
        let (lines, _) = attempt(capabilities, connect);
        assert!(lines[1].ends_with(&format!("expiry {expected}")), "{lines:?}");
    }
}

// [MQTT-3.2.2-12] [MQTT-3.2.2-13]
#[test]
fn wills_that_the_server_does_not_support_are_refused() {
    let no_qos = || Capabilities { maximum_qos: Qos::AtMostOnce, ..Default::default() };
    let no_retain = || Capabilities { retain_available: false, ..Default::default() };
    let mut retained = will("w", 0);
    retained.retain = true;
    for (capabilities, will, told) in [
        (no_qos(), will("w", 0), Some("QoS not supported")),
        (no_retain(), retained, Some("retain not supported")),
        (Capabilities::default(), will("$SYS/w", 0), Some("not authorized")),
        (Capabilities::default(), will(&"/".repeat(128), 0), Some("topic name invalid")),
        (Capabilities::default(), will(&"/".repeat(127), 0), None),
    ] {
        let mut connect = connect(Version::V5);
        connect.will = Some(will);
        let (lines, open) = attempt(capabilities, connect);
        assert_eq!(open, told.is_none());
        if let Some(told) = told {
            assert_eq!(lines[1], format!("send CONNACK {told}"));
        }
    }
}

// [MQTT-3.2.2-6 @3.1.1]
#[test]
fn before_5_0_a_refusal_without_a_return_code_is_silent() {
    let mut reserved = connect(Version::V3_1_1);
    reserved.will = Some(will("$SYS/w", 0));
    let (lines, _) = attempt(Capabilities::default(), reserved);
    assert_eq!(lines[1], "send CONNACK not authorized");

    let mut strong = connect(Version::V3_1_1);
    strong.will = Some(will("w", 0));
    let capabilities = Capabilities { maximum_qos: Qos::AtMostOnce, ..Default::default() };
    assert_refused(
        capabilities,
        strong,
        &["violation MQTT-3.1.4-1 @3.1.1", "close: will QoS is above the maximum"],
    );
}

// [MQTT-3.1.4-2] [MQTT-3.2.2-7] [MQTT-3.1.4-6]
#[test]
fn the_server_may_refuse_while_authenticating_and_while_attaching() {
    for reason in [ReasonCode::BadUserNameOrPassword, ReasonCode::NotAuthorized] {
        let mut bench = Bench::new(Capabilities::default());
        bench.answers = Answers::Nothing;
        bench.send(Packet::Connect(connect(Version::V5)));
        assert_eq!(
            bench.input(Input::Authenticated(Err(reason))),
            [format!("send CONNACK {reason}"), format!("close: refused, {reason}")]
        );
        // What was sent behind CONNECT is never looked at.
        assert!(!bench.connection.accepts_packets());
        assert_eq!(bench.send(publish_packet("t", Qos::AtMostOnce, 0)), [""; 0]);
        assert!(bench.connection.detach().is_none());
    }

    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(connect(Version::V3_1_1)));
    bench.input(Input::Authenticated(Ok(None)));
    assert_eq!(
        bench.close(Cause::Reason(ReasonCode::QuotaExceeded)),
        ["send CONNACK quota exceeded", "close: refused, quota exceeded"]
    );
}

// [MQTT-3.14.0-1]
#[test]
fn before_connack_a_closing_server_says_what_connack_can_say() {
    for (cause, told) in [
        (Cause::ShuttingDown, "server unavailable"),
        (Cause::TakenOver, "unspecified error"),
        (
            Cause::Redirect(Box::new(Redirect {
                for_good: true,
                server_reference: Some(text("b")),
            })),
            "server moved",
        ),
    ] {
        let mut bench = Bench::new(Capabilities::default());
        bench.answers = Answers::Nothing;
        bench.send(Packet::Connect(connect(Version::V5)));
        assert_eq!(bench.close(cause)[0], format!("send CONNACK {told}"));
    }
}

// [MQTT-3.1.2-30]
#[test]
fn packets_behind_connect_wait_unread() {
    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    assert!(bench.connection.accepts_packets());
    bench.send(Packet::Connect(connect(Version::V5)));
    assert!(!bench.connection.accepts_packets());
    bench.input(Input::Authenticated(Ok(None)));
    assert!(!bench.connection.accepts_packets());
    let session = Box::new(Session::new(bench.connection.client_id().unwrap().clone()));
    bench.input(Input::Attached { session, session_present: false });
    assert!(bench.connection.accepts_packets());

    // A caller that hands it in all the same is told whose fault it looks like.
    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(connect(Version::V5)));
    let lines = bench.send(publish_packet("t", Qos::AtMostOnce, 0));
    assert_eq!(lines[..2], ["violation MQTT-3.1.2-30", "send CONNACK protocol error"]);
}

#[test]
fn a_client_may_leave_before_connack() {
    let mut giving_up = connect(Version::V5);
    giving_up.will = Some(will("w", 0));
    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(giving_up));
    assert_eq!(bench.send(disconnect_packet(ReasonCode::Success)), ["close: client left, success"]);
}

#[test]
fn a_session_that_comes_too_late_is_given_back() {
    let mut bench = Bench::open(Version::V5);
    bench.advance(Duration::from_secs(1));
    bench.lose();
    let expires_at = bench.session.as_ref().unwrap().expires_at();
    assert!(expires_at.is_some());

    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(connect(Version::V5)));
    bench.input(Input::Authenticated(Ok(None)));
    bench.advance(Duration::from_secs(1));
    bench.input(Input::Lost);
    let session = bench.session.take().unwrap();
    assert_eq!(bench.input(Input::Attached { session, session_present: true }), [""; 0]);
    let session = bench.connection.detach().unwrap();
    assert_eq!(session.expires_at(), expires_at, "as its own connection left it");
    assert!(session.is_resumable(bench.now));

    // A new one was nobody's yet.
    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(connect(Version::V5)));
    bench.input(Input::Authenticated(Ok(None)));
    let session = Box::new(Session::new(bench.connection.client_id().unwrap().clone()));
    bench.input(Input::Lost);
    bench.input(Input::Attached { session, session_present: false });
    assert!(bench.connection.detach().unwrap().has_ended(bench.now));
}

// [MQTT-3.2.2-2] [MQTT-3.2.2-1 @3.1.1]
#[test]
fn a_clean_start_is_never_told_of_a_session() {
    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(connect_clean(Version::V5)));
    bench.input(Input::Authenticated(Ok(None)));
    let session = Box::new(Session::new(bench.connection.client_id().unwrap().clone()));
    assert_eq!(
        bench.input(Input::Attached { session, session_present: true }),
        ["send CONNACK success"]
    );
}

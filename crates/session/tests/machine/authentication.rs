//! Enhanced authentication.

use bytes::Bytes;
use dunlin_codec::{Connect, Packet, Qos, ReasonCode, Version};
use dunlin_session::{Capabilities, Input, Output, Outputs, Session};

use crate::harness::{
    Answers, Bench, auth_packet, connect, disconnect_packet, publish_packet, text,
};

fn connect_with_method() -> Connect<Bytes> {
    let mut connect = connect(Version::V5);
    connect.properties.authentication_method = Some(text("SCRAM"));
    connect.properties.authentication_data = Some(Bytes::from_static(b"hello"));
    connect
}

/// A server that answers nothing by itself, and a client that sent CONNECT with a method.
fn begin() -> Bench {
    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(connect_with_method()));
    bench
}

fn continue_packet() -> Packet<Bytes> {
    auth_packet(ReasonCode::ContinueAuthentication, "SCRAM", "more")
}

/// An authenticated, open connection.
fn open() -> Bench {
    let mut bench = begin();
    bench.input(Input::Authenticated(Ok(None)));
    let session = Box::new(Session::new(bench.connection.client_id().unwrap().clone()));
    bench.input(Input::Attached { session, session_present: false });
    bench
}

// [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.2.0-1] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
#[test]
fn steps_go_back_and_forth_until_the_server_is_content() {
    let mut bench = begin();
    assert!(!bench.connection.accepts_packets(), "it is the server's turn");
    assert_eq!(
        bench.input(Input::AuthContinue(Some(Bytes::from_static(b"challenge")))),
        ["send AUTH continue authentication Some(b\"challenge\")"]
    );
    assert!(bench.connection.accepts_packets(), "it is the client's turn");
    assert_eq!(bench.send(continue_packet()), ["authenticate Continue client None"]);
    assert!(!bench.connection.accepts_packets());
    bench.input(Input::AuthContinue(None));
    bench.send(continue_packet());
    let data = Some(Bytes::from_static(b"proof"));
    assert_eq!(
        bench.input(Input::Authenticated(Ok(data.clone()))),
        ["attach client expiry 3600 s"]
    );

    let session = Box::new(Session::new(bench.connection.client_id().unwrap().clone()));
    let mut out = Outputs::new();
    let attached = Input::Attached { session, session_present: false };
    bench.connection.handle(attached, bench.now, &mut out).unwrap();
    let Some(Output::Send(packet)) = out.pop() else { panic!("CONNACK comes first") };
    let Packet::ConnAck(connack) = *packet else { panic!("{packet:?}") };
    assert_eq!(connack.properties.authentication_method, Some(text("SCRAM")));
    assert_eq!(connack.properties.authentication_data, data);
}

// [MQTT-4.12.0-1] [MQTT-4.12.0-4]
#[test]
fn a_refused_method_closes_the_connection() {
    assert_eq!(
        begin().input(Input::Authenticated(Err(ReasonCode::BadAuthenticationMethod))),
        ["send CONNACK bad authentication method", "close: refused, bad authentication method"]
    );
}

// [MQTT-3.1.2-30]
#[test]
fn before_connack_only_auth_and_disconnect_are_allowed() {
    let mut bench = begin();
    bench.input(Input::AuthContinue(None));
    assert_eq!(
        bench.send(publish_packet("t", Qos::AtMostOnce, 0)),
        ["violation MQTT-3.1.2-30", "send CONNACK protocol error", "close: PUBLISH before CONNACK"]
    );
    let mut bench = begin();
    bench.input(Input::AuthContinue(None));
    assert_eq!(bench.send(disconnect_packet(ReasonCode::Success)), ["close: client left, success"]);
}

// [MQTT-4.12.0-3] [MQTT-4.12.0-5]
#[test]
fn auth_with_another_method_or_reason_is_a_protocol_error() {
    for (packet, violation) in [
        (auth_packet(ReasonCode::ContinueAuthentication, "PLAIN", ""), "violation MQTT-4.12.0-5"),
        (auth_packet(ReasonCode::ReAuthenticate, "SCRAM", ""), "violation MQTT-4.12.0-3"),
    ] {
        let mut bench = begin();
        bench.input(Input::AuthContinue(None));
        assert_eq!(bench.send(packet)[..2], [violation, "send CONNACK protocol error"]);
    }
    let lines = begin().send(continue_packet());
    assert_eq!(lines[0], "violation MQTT-4.12.0-3", "out of turn");
}

// [MQTT-4.12.0-6] [MQTT-4.12.0-7]
#[test]
fn without_a_method_there_is_no_auth() {
    let mut bench = Bench::open(Version::V5);
    assert_eq!(
        bench.send(continue_packet())[..2],
        ["violation MQTT-4.12.0-7", "send DISCONNECT protocol error"]
    );
    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    bench.send(Packet::Connect(connect(Version::V5)));
    assert_eq!(
        bench.input(Input::AuthContinue(None)),
        ["send CONNACK bad authentication method", "close: refused, bad authentication method"]
    );
}

// [MQTT-4.12.1-1] [MQTT-4.12.1-2]
#[test]
fn an_open_connection_may_authenticate_anew() {
    let again = || auth_packet(ReasonCode::ReAuthenticate, "SCRAM", "hello");
    let mut bench = open();
    assert_eq!(bench.send(again()), ["authenticate Again client None"]);
    // Other packets go on meanwhile.
    assert_eq!(bench.send(Packet::PingReq), ["send PINGRESP"]);
    assert_eq!(bench.input(Input::AuthContinue(None)), ["send AUTH continue authentication None"]);
    assert_eq!(bench.send(continue_packet()), ["authenticate Continue client None"]);
    assert_eq!(bench.input(Input::Authenticated(Ok(None))), ["send AUTH success None"]);
    assert!(bench.connection.is_open());

    bench.send(again());
    assert_eq!(
        bench.input(Input::Authenticated(Err(ReasonCode::NotAuthorized))),
        ["send DISCONNECT not authorized", "close: by server, not authorized"]
    );

    let mut bench = open();
    let lines = bench.send(auth_packet(ReasonCode::ReAuthenticate, "PLAIN", ""));
    assert_eq!(lines[..2], ["violation MQTT-4.12.0-5", "send DISCONNECT protocol error"]);
    let mut bench = open();
    assert_eq!(bench.send(continue_packet())[0], "violation MQTT-4.12.0-3");
}

//! The Will, and the end of sessions.

use std::time::Duration;

use bytes::Bytes;
use dunlin_codec::{Connect, Disconnect, Packet, ReasonCode, Version};
use dunlin_session::{Capabilities, Cause, SessionExpiry};

use crate::harness::{Bench, connect, disconnect_packet, will};

fn connect_with_will(version: Version, expiry: u32, delay: u32) -> Connect<Bytes> {
    let mut connect = connect(version);
    connect.properties.session_expiry_interval = version.is_v5().then_some(expiry);
    connect.will = Some(will("w", delay));
    connect
}

fn open(version: Version, expiry: u32, delay: u32) -> Bench {
    Bench::open_with(Capabilities::default(), connect_with_will(version, expiry, delay))
}

const PUBLISHED: &str = "publish will to w";

// [MQTT-3.1.2-8] [MQTT-3.1.2-8 @3.1.1]
#[test]
fn a_lost_connection_publishes_the_will() {
    for version in Version::ALL {
        assert_eq!(open(version, 0, 0).lose(), [PUBLISHED, "close: lost"], "{version}");
    }
}

// [MQTT-3.14.4-3] [MQTT-3.14.4-3 @3.1.1] [MQTT-3.1.2-10]
#[test]
fn only_a_normal_disconnect_deletes_the_will() {
    for version in Version::ALL {
        let mut bench = open(version, 60, 0);
        let lines = bench.send(disconnect_packet(ReasonCode::Success));
        assert_eq!(lines, ["close: client left, success"], "{version}");
        bench.park();
        assert_eq!(bench.session.unwrap().will(), None);
    }
    for reason in [ReasonCode::DisconnectWithWillMessage, ReasonCode::UnspecifiedError] {
        let lines = open(Version::V5, 60, 0).send(disconnect_packet(reason));
        assert_eq!(lines, [PUBLISHED, &format!("close: client left, {reason}")]);
    }
}

// [MQTT-3.1.2-8]
#[test]
fn the_will_waits_for_its_delay() {
    for (leave, lines) in [
        (None, "close: lost"),
        (
            Some(ReasonCode::DisconnectWithWillMessage),
            "close: client left, disconnect with will message",
        ),
    ] {
        let mut bench = open(Version::V5, 60, 10);
        let left = match leave {
            None => bench.input(dunlin_session::Input::Lost),
            Some(reason) => bench.send(disconnect_packet(reason)),
        };
        assert_eq!(left, [lines]);
        bench.park();
        let session = bench.session.as_ref().unwrap();
        assert_eq!(session.next_deadline(), Some(bench.now + Duration::from_secs(10)));
        bench.advance(Duration::from_millis(9_999));
        assert_eq!(bench.session_timeout(), [""; 0]);
        bench.advance(Duration::from_millis(1));
        assert_eq!(bench.session_timeout(), [PUBLISHED]);
        // Never twice. [MQTT-3.1.2-10]
        assert_eq!(bench.session_timeout(), [""; 0]);
        bench.advance(Duration::from_secs(50));
        assert_eq!(bench.session_timeout(), ["ended"]);
    }
}

// [MQTT-3.1.2-8]
#[test]
fn the_end_of_the_session_does_not_wait_for_the_delay() {
    let mut bench = open(Version::V5, 10, 60);
    bench.lose();
    bench.advance(Duration::from_secs(10));
    assert!(bench.session.as_ref().unwrap().has_ended(bench.now));
    assert_eq!(bench.session_timeout(), [PUBLISHED, "ended"]);

    // A session that ends with its connection leaves no time for a delay at all.
    assert_eq!(open(Version::V5, 0, 60).lose(), [PUBLISHED, "close: lost"]);
}

#[test]
fn a_shorter_expiry_in_disconnect_brings_the_will_forward() {
    let mut bench = open(Version::V5, 60, 30);
    let mut disconnect = Disconnect::new(ReasonCode::DisconnectWithWillMessage);
    disconnect.session_expiry_interval = Some(5);
    bench.send(Packet::Disconnect(disconnect));
    bench.park();
    assert_eq!(bench.session.as_ref().unwrap().will_at(), Some(bench.now + Duration::from_secs(5)));
}

// [MQTT-3.1.3-9]
#[test]
fn a_client_that_comes_back_in_time_cancels_the_will_and_brings_its_own() {
    let mut bench = open(Version::V5, 60, 10);
    bench.lose();
    bench.advance(Duration::from_secs(9));
    bench.reconnect(connect(Version::V5));
    assert_eq!(bench.connection.session().unwrap().will(), None);
    bench.lose();
    bench.advance(Duration::from_secs(30));
    assert_eq!(bench.session_timeout(), [""; 0]);

    bench.reconnect(connect_with_will(Version::V5, 60, 0));
    assert_eq!(bench.lose(), [PUBLISHED, "close: lost"]);
}

// [MQTT-3.1.4-3] [MQTT-3.1.4-2 @3.1.1]
#[test]
fn a_takeover_tells_the_old_connection_and_treats_its_will_by_the_delay() {
    for (version, expiry, delay, expected) in [
        (Version::V5, 60, 0, &["send DISCONNECT session taken over", PUBLISHED][..]),
        (Version::V5, 0, 60, &["send DISCONNECT session taken over", PUBLISHED]),
        (Version::V5, 60, 60, &["send DISCONNECT session taken over"]),
        (Version::V3_1_1, 0, 0, &[PUBLISHED]),
        (Version::V3_1, 0, 0, &[PUBLISHED]),
    ] {
        let mut bench = open(version, expiry, delay);
        let lines = bench.close(Cause::TakenOver);
        let (close, before) = lines.split_last().unwrap();
        assert_eq!(close, "close: by server, session taken over");
        assert_eq!(before, expected, "{version} {expiry} {delay}");
    }

    // The new connection resumes: the delayed Will is cancelled.
    let mut bench = open(Version::V5, 60, 60);
    bench.close(Cause::TakenOver);
    bench.reconnect(connect(Version::V5));
    assert_eq!(bench.connection.session().unwrap().will(), None);

    // The new connection starts clean: the old session ends, and its Will goes out.
    let mut bench = open(Version::V5, 60, 60);
    bench.close(Cause::TakenOver);
    bench.park();
    assert_eq!(bench.session_end(), [PUBLISHED, "ended"]);
}

#[test]
fn violations_and_the_servers_own_closing_publish_the_will() {
    let mut bench = open(Version::V5, 60, 0);
    assert_eq!(
        bench.close(Cause::ShuttingDown),
        [
            "send DISCONNECT server shutting down",
            PUBLISHED,
            "close: by server, server shutting down"
        ]
    );
    let mut bench = open(Version::V3_1_1, 0, 0);
    assert_eq!(
        bench.bytes(&[0xc1, 0]),
        [
            "violation MQTT-2.2.2-1 @3.1.1",
            PUBLISHED,
            "close: PINGREQ: reserved flags of the fixed header are not as the packet type demands at byte 0 [MQTT-2.2.2-1 @3.1.1]"
        ]
    );
}

// [MQTT-3.1.2-23] [MQTT-4.1.0-2] [MQTT-3.1.2-5]
#[test]
fn a_session_lasts_as_long_as_agreed() {
    let open = |expiry| {
        let mut bench = open(Version::V5, expiry, 0);
        bench.send(disconnect_packet(ReasonCode::Success));
        bench.park();
        bench
    };
    let bench = open(0);
    let session = bench.session.unwrap();
    assert!(
        !session.is_durable() && !session.is_resumable(bench.now) && session.has_ended(bench.now)
    );

    let mut bench = open(60);
    bench.advance(Duration::from_secs(59));
    assert!(bench.session.as_ref().unwrap().is_resumable(bench.now));
    assert_eq!(bench.session_timeout(), [""; 0]);
    bench.advance(Duration::from_secs(1));
    assert!(!bench.session.as_ref().unwrap().is_resumable(bench.now));
    assert_eq!(bench.session_timeout(), ["ended"]);

    let mut bench = open(u32::MAX);
    assert_eq!(bench.session.as_ref().unwrap().next_deadline(), None);
    bench.advance(Duration::from_secs(u64::from(u32::MAX)));
    assert!(bench.session.as_ref().unwrap().is_resumable(bench.now));
}

// [MQTT-3.14.2-2]
#[test]
fn disconnect_may_change_the_expiry_but_not_raise_it_from_zero() {
    let leave = |bench: &mut Bench, expiry| {
        let mut disconnect = Disconnect::new(ReasonCode::Success);
        disconnect.session_expiry_interval = Some(expiry);
        bench.send(Packet::Disconnect(disconnect))
    };
    for (from, to) in [(60, 0), (60, 30), (60, 600), (0, 0), (60, u32::MAX)] {
        let mut bench = open(Version::V5, from, 0);
        assert_eq!(leave(&mut bench, to), ["close: client left, success"]);
        let expiry = bench.connection.session().unwrap().expiry();
        assert_eq!(expiry, SessionExpiry::from_secs(to));
    }
    let mut bench = open(Version::V5, 0, 0);
    assert_eq!(
        leave(&mut bench, 1),
        [
            "violation MQTT-3.14.2-2",
            "send DISCONNECT protocol error",
            PUBLISHED,
            "close: DISCONNECT raises a session expiry interval of 0"
        ]
    );

    let maximum = Some(SessionExpiry::from_secs(100));
    let capabilities = Capabilities { session_expiry_max: maximum, ..Default::default() };
    let mut bench = Bench::open_with(capabilities, connect_with_will(Version::V5, 60, 0));
    leave(&mut bench, 600);
    assert_eq!(bench.connection.session().unwrap().expiry(), SessionExpiry::from_secs(100));
}

//! Keep Alive and the deadline for CONNECT.

use std::time::Duration;

use dunlin_codec::{Packet, Version};
use dunlin_session::Capabilities;

use crate::harness::{Answers, Bench, connect};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn open(version: Version, keep_alive: u16, maximum: Option<u16>) -> Bench {
    let mut connect = connect(version);
    connect.keep_alive = keep_alive;
    Bench::open_with(Capabilities { keep_alive_max: maximum, ..Default::default() }, connect)
}

// [MQTT-3.1.2-22] [MQTT-3.1.2-24 @3.1.1]
#[test]
fn silence_of_one_and_a_half_keep_alives_ends_the_connection() {
    for (version, told) in [(Version::V5, true), (Version::V3_1_1, false), (Version::V3_1, false)] {
        let mut bench = open(version, 7, None);
        assert_eq!(bench.connection.next_deadline(), Some(bench.now + ms(10_500)));
        bench.advance(ms(10_000));
        assert_eq!(bench.timeout(), [""; 0]);
        bench.send(Packet::PingReq);
        bench.advance(ms(10_499));
        assert_eq!(bench.timeout(), [""; 0]);
        bench.advance(ms(1));
        let lines = bench.timeout();
        assert_eq!(lines.contains(&"send DISCONNECT keep alive timeout".to_owned()), told);
        assert_eq!(
            lines.last().unwrap(),
            "close: nothing arrived in one and a half times the keep alive of 7 s"
        );
    }
}

#[test]
fn keep_alive_zero_is_off() {
    let bench = open(Version::V5, 0, None);
    assert_eq!(bench.connection.next_deadline(), None);
}

#[test]
fn packets_that_are_not_handed_in_count_too() {
    let mut bench = open(Version::V5, 10, None);
    bench.advance(ms(14_000));
    bench.connection.touch(bench.now);
    assert_eq!(bench.connection.next_deadline(), Some(bench.now + ms(15_000)));
}

#[test]
fn the_keep_alive_stands_still_while_the_server_does_not_read() {
    let mut bench = open(Version::V5, 10, None);
    bench.connection.pause_keep_alive();
    bench.advance(ms(100_000));
    assert_eq!(bench.connection.next_deadline(), None);
    assert_eq!(bench.timeout(), [""; 0]);
    bench.connection.resume_keep_alive(bench.now);
    assert_eq!(bench.connection.next_deadline(), Some(bench.now + ms(15_000)));
}

// [MQTT-3.2.2-21] [MQTT-3.2.2-22]
#[test]
fn the_server_keep_alive_holds_for_clients_that_can_be_told() {
    for (version, asked, maximum, granted) in [
        (Version::V5, 100, Some(60), 60),
        (Version::V5, 0, Some(60), 60),
        (Version::V5, 50, Some(60), 50),
        (Version::V5, 50, None, 50),
        (Version::V3_1_1, 100, Some(60), 100),
        (Version::V3_1, 100, Some(60), 100),
    ] {
        let bench = open(version, asked, maximum);
        let deadline = bench.now + ms(granted * 1_500);
        assert_eq!(bench.connection.next_deadline(), Some(deadline), "{version} {asked}");
    }
}

#[test]
fn a_connection_that_is_not_established_in_time_is_closed_without_a_word() {
    let mut bench = Bench::new(Capabilities::default());
    bench.answers = Answers::Nothing;
    assert_eq!(bench.connection.next_deadline(), Some(bench.now + ms(10_000)));
    bench.advance(ms(9_999));
    bench.send(Packet::Connect(connect(Version::V5)));
    assert_eq!(bench.timeout(), [""; 0]);
    bench.advance(ms(1));
    assert_eq!(
        bench.timeout(),
        ["violation MQTT-3.1.4-2", "close: connection not established in time"]
    );
    assert_eq!(bench.connection.next_deadline(), None);
}

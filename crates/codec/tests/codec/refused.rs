//! Packets that must be refused: why, with which reason code, and at which byte.

use crate::support::{ALL, NOT_V3_1, V3, V3_1, V3_1_1, V5, decode_any, packet};
use dunlin_codec::{DecodeError, DecodeLimits, ReasonCode, Version};

/// Name, versions, packet, the broken statements of 5.0 and 3.1.1, reason code, offset.
type Refused = (&'static str, &'static [Version], &'static str, &'static str, u8, usize);

/// Decoding must fail, on the bytes as they are and with other packets behind them, and the
/// statement must be one of those listed.
fn check(cases: &[Refused]) {
    for &(name, versions, notation, statements, reason, offset) in cases {
        for &version in versions {
            let bytes = packet(notation);
            let error = refuse(name, version, &bytes);
            let found = format!("[{}]", error.spec());
            assert!(statements.contains(&found), "{name} of {version}: {error}, not {statements}");
            let is_v5 = error.version().is_none_or(Version::is_v5);
            assert!(is_v5 || !found.contains("5.0"), "{name} of {version}: {error}");
            assert_eq!(error.reason_code().as_u8(), reason, "{name} of {version}: {error}");
            assert_eq!(error.offset(), offset, "{name} of {version}: {error}");
        }
    }
}

fn refuse(name: &str, version: Version, bytes: &[u8]) -> DecodeError {
    let decode = |bytes: &[u8]| match decode_any(bytes, version, &DecodeLimits::default()) {
        Err(error) => error,
        Ok(packet) => panic!("{name} of {version}: accepted as {packet:?}"),
    };
    let error = decode(bytes);
    assert_eq!(error, decode(&[bytes, &[0xC0, 0x00]].concat()), "{name}: with a packet behind it");
    error
}

#[test]
#[rustfmt::skip] // One line per case.
fn fixed_header() {
    check(&[
        ("type 0", ALL, "00 00", "[MQTT-5.0 s2.1.2] [MQTT-3.1.1 s2.2.1]", 0x81, 0),
        ("AUTH before 5.0", V3, "f0 00", "[MQTT-3.1.1 s2.2.1]", 0x81, 0),
        ("CONNECT flags", ALL, "11 00", "[MQTT-2.1.3-1]", 0x81, 0),
        ("CONNACK flags", ALL, "21 02 0000", "[MQTT-2.1.3-1] [MQTT-2.2.2-1 @3.1.1]", 0x81, 0),
        ("PUBACK flags", ALL, "42 02 0001", "[MQTT-2.1.3-1] [MQTT-2.2.2-1 @3.1.1]", 0x81, 0),
        ("PUBREC flags", ALL, "52 02 0001", "[MQTT-2.1.3-1] [MQTT-2.2.2-1 @3.1.1]", 0x81, 0),
        ("PUBREL flags 0", ALL, "60 02 0001", "[MQTT-3.6.1-1] [MQTT-3.6.1-1 @3.1.1]", 0x81, 0),
        ("PUBREL flags 3", ALL, "63 02 0001", "[MQTT-3.6.1-1] [MQTT-3.6.1-1 @3.1.1]", 0x81, 0),
        ("PUBREL DUP", NOT_V3_1, "6a 02 0001", "[MQTT-3.6.1-1] [MQTT-3.6.1-1 @3.1.1]", 0x81, 0),
        ("PUBCOMP flags", ALL, "72 02 0001", "[MQTT-2.1.3-1] [MQTT-2.2.2-1 @3.1.1]", 0x81, 0),
        ("SUBSCRIBE flags 0", ALL, "80 00", "[MQTT-3.8.1-1] [MQTT-3.8.1-1 @3.1.1]", 0x81, 0),
        ("SUBSCRIBE DUP", NOT_V3_1, "8a 00", "[MQTT-3.8.1-1] [MQTT-3.8.1-1 @3.1.1]", 0x81, 0),
        ("SUBSCRIBE QoS 2", V3_1, "84 00", "[MQTT-3.8.1-1 @3.1.1]", 0x81, 0),
        ("SUBACK flags", ALL, "92 03 0001 00", "[MQTT-2.1.3-1] [MQTT-2.2.2-1 @3.1.1]", 0x81, 0),
        ("UNSUBSCRIBE flags 0", ALL, "a0 00", "[MQTT-3.10.1-1] [MQTT-3.10.1-1 @3.1.1]", 0x81, 0),
        ("UNSUBSCRIBE DUP", NOT_V3_1, "aa 00", "[MQTT-3.10.1-1] [MQTT-3.10.1-1 @3.1.1]", 0x81, 0),
        ("UNSUBACK flags", ALL, "b2 02 0001", "[MQTT-2.1.3-1] [MQTT-2.2.2-1 @3.1.1]", 0x81, 0),
        ("PINGREQ flags", ALL, "c1 00", "[MQTT-2.1.3-1] [MQTT-2.2.2-1 @3.1.1]", 0x81, 0),
        ("PINGRESP flags", ALL, "d8 00", "[MQTT-2.1.3-1] [MQTT-2.2.2-1 @3.1.1]", 0x81, 0),
        ("DISCONNECT flags", ALL, "e1 00", "[MQTT-3.14.1-1] [MQTT-3.14.1-1 @3.1.1]", 0x81, 0),
        ("AUTH flags", V5, "f2 00", "[MQTT-3.15.1-1]", 0x81, 0),
        ("remaining length, fifth byte", ALL, "30 ffffffff01", "[MQTT-1.5.5-1] [MQTT-3.1.1 s2.2.3]", 0x81, 1),
        ("remaining length, fourth goes on", ALL, "30 80808080", "[MQTT-1.5.5-1] [MQTT-3.1.1 s2.2.3]", 0x81, 1),
        ("remaining length 0 in two bytes", ALL, "c0 8000", "[MQTT-1.5.5-1] [MQTT-3.1.1 s2.2.3]", 0x81, 1),
        ("remaining length 2 in two bytes", ALL, "40 8200 0001", "[MQTT-1.5.5-1] [MQTT-3.1.1 s2.2.3]", 0x81, 1),
        ("remaining length 2 in four bytes", ALL, "40 82808000 0001", "[MQTT-1.5.5-1] [MQTT-3.1.1 s2.2.3]", 0x81, 1),
        ("PINGREQ with a body", ALL, "c0 01 00", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 2),
        ("PINGRESP with a body", ALL, "d0 02 0000", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 2),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn connect() {
    check(&[
        ("empty", ALL, "10 00", "[MQTT-3.1.4-1]", 0x81, 2),
        ("name cut", ALL, "10 # 0004 'MQT'", "[MQTT-3.1.4-1]", 0x81, 4),
        ("name MQTX", ALL, "10 # $'MQTX' 04 02 003c $'a'", "[MQTT-3.1.2-1]", 0x84, 2),
        ("name in lower case", ALL, "10 # $'mqtt' 04 02 003c $'a'", "[MQTT-3.1.2-1]", 0x84, 2),
        ("no name", ALL, "10 # $'' 04 02 003c $'a'", "[MQTT-3.1.2-1]", 0x84, 2),
        ("level missing", ALL, "10 # $'MQTT'", "[MQTT-3.1.4-1]", 0x81, 8),
        ("level 0", ALL, "10 # $'MQTT' 00 02 003c $'a'", "[MQTT-3.1.2-2]", 0x84, 8),
        ("level 6", ALL, "10 # $'MQTT' 06 02 003c 00 $'a'", "[MQTT-3.1.2-2]", 0x84, 8),
        ("MQTT at level 3", ALL, "10 # $'MQTT' 03 02 003c $'a'", "[MQTT-3.1.2-2]", 0x84, 8),
        ("MQIsdp at level 4", ALL, "10 # $'MQIsdp' 04 02 003c $'a'", "[MQTT-3.1.2-2]", 0x84, 10),
        ("bridge of 3.1", ALL, "10 # $'MQIsdp' 83 02 003c $'a'", "[MQTT-3.1.2-2]", 0x84, 10),
        ("bridge of 3.1.1", ALL, "10 # $'MQTT' 84 02 003c $'a'", "[MQTT-3.1.2-2]", 0x84, 8),
        ("flags missing", V3_1_1, "10 # $'MQTT' 04", "[MQTT-3.1.4-1 @3.1.1]", 0x81, 9),
        ("reserved flag", V5, "10 # $'MQTT' 05 03 003c 00 $'a'", "[MQTT-3.1.2-3]", 0x81, 9),
        ("reserved flag", V3_1_1, "10 # $'MQTT' 04 03 003c $'a'", "[MQTT-3.1.2-3 @3.1.1]", 0x81, 9),
        ("reserved flag", V3_1, "10 # $'MQIsdp' 03 03 003c $'a'", "[MQTT-3.1.2-3 @3.1.1]", 0x81, 11),
        ("will QoS 3", V5, "10 # $'MQTT' 05 1e 003c 00 $'a' 00 $'w' $''", "[MQTT-3.1.2-12]", 0x81, 9),
        ("will QoS 3", V3_1_1, "10 # $'MQTT' 04 1e 003c $'a' $'w' $''", "[MQTT-3.1.2-14 @3.1.1]", 0x81, 9),
        ("will QoS, no will", V5, "10 # $'MQTT' 05 0a 003c 00 $'a'", "[MQTT-3.1.2-11]", 0x81, 9),
        ("will QoS, no will", V3_1_1, "10 # $'MQTT' 04 12 003c $'a'", "[MQTT-3.1.2-13 @3.1.1]", 0x81, 9),
        ("will retain, no will", V5, "10 # $'MQTT' 05 22 003c 00 $'a'", "[MQTT-3.1.2-13]", 0x81, 9),
        ("will retain, no will", V3_1_1, "10 # $'MQTT' 04 22 003c $'a'", "[MQTT-3.1.2-15 @3.1.1]", 0x81, 9),
        ("password alone", V3_1_1, "10 # $'MQTT' 04 42 003c $'a' $'p'", "[MQTT-3.1.2-22 @3.1.1]", 0x81, 9),
        ("password alone", V3_1, "10 # $'MQIsdp' 03 42 003c $'a' $'p'", "[MQTT-3.1.2-22 @3.1.1]", 0x81, 11),
        ("keep alive cut", V3_1_1, "10 # $'MQTT' 04 02 00", "[MQTT-3.1.4-1 @3.1.1]", 0x81, 10),
        ("no client id", V5, "10 # $'MQTT' 05 02 003c 00", "[MQTT-3.1.3-3]", 0x81, 13),
        ("no client id", V3_1_1, "10 # $'MQTT' 04 02 003c", "[MQTT-3.1.3-3 @3.1.1]", 0x81, 12),
        ("client id cut", V3_1_1, "10 # $'MQTT' 04 02 003c 0002 'a'", "[MQTT-3.1.3-3 @3.1.1]", 0x81, 14),
        ("client id not UTF-8", V5, "10 # $'MQTT' 05 02 003c 00 0003 61ff62", "[MQTT-1.5.4-1]", 0x81, 16),
        ("client id surrogate", V3_1_1, "10 # $'MQTT' 04 02 003c 0003 eda080", "[MQTT-1.5.3-1 @3.1.1]", 0x81, 14),
        ("client id NUL", V5, "10 # $'MQTT' 05 02 003c 00 0002 6100", "[MQTT-1.5.4-2]", 0x81, 16),
        ("client id NUL", V3_1_1, "10 # $'MQTT' 04 02 003c 0001 00", "[MQTT-1.5.3-2 @3.1.1]", 0x81, 14),
        ("client id control", V5, "10 # $'MQTT' 05 02 003c 00 0002 6107", "[MQTT-3.1.3-8]", 0x85, 16),
        ("client id control", V3_1_1, "10 # $'MQTT' 04 02 003c 0002 6107", "[MQTT-3.1.3-9 @3.1.1]", 0x85, 15),
        ("will missing", V5, "10 # $'MQTT' 05 06 003c 00 $'a' 00", "[MQTT-3.1.2-9]", 0x81, 17),
        ("will missing", V3_1_1, "10 # $'MQTT' 04 06 003c $'a'", "[MQTT-3.1.2-9 @3.1.1]", 0x81, 15),
        ("will payload missing", V3_1_1, "10 # $'MQTT' 04 06 003c $'a' $'w'", "[MQTT-3.1.2-9 @3.1.1]", 0x81, 18),
        ("will properties missing", V5, "10 # $'MQTT' 05 06 003c 00 $'a'", "[MQTT-2.2.2-1]", 0x81, 16),
        ("will topic empty", V5, "10 # $'MQTT' 05 06 003c 00 $'a' 00 $'' $'p'", "[MQTT-4.7.3-1]", 0x82, 19),
        ("will topic wildcard", V5, "10 # $'MQTT' 05 06 003c 00 $'a' 00 $'w/+' $'p'", "[MQTT-3.3.2-2]", 0x90, 21),
        ("will topic not UTF-8", V5, "10 # $'MQTT' 05 06 003c 00 $'a' 00 0001 ff $'p'", "[MQTT-1.5.4-1]", 0x81, 19),
        ("will topic not UTF-8", V3_1_1, "10 # $'MQTT' 04 06 003c $'a' 0001 ff $'p'", "[MQTT-1.5.3-1 @3.1.1]", 0x81, 17),
        ("user name missing", V5, "10 # $'MQTT' 05 82 003c 00 $'a'", "[MQTT-3.1.2-17]", 0x81, 16),
        ("user name missing", V3_1_1, "10 # $'MQTT' 04 82 003c $'a'", "[MQTT-3.1.2-19 @3.1.1]", 0x81, 15),
        ("user name not UTF-8", V5, "10 # $'MQTT' 05 82 003c 00 $'a' 0001 80", "[MQTT-1.5.4-1]", 0x81, 18),
        ("password missing", V5, "10 # $'MQTT' 05 42 003c 00 $'a'", "[MQTT-3.1.2-19]", 0x81, 16),
        ("password missing", V3_1_1, "10 # $'MQTT' 04 c2 003c $'a' $'u'", "[MQTT-3.1.2-21 @3.1.1]", 0x81, 18),
        ("user name without its flag", V5, "10 # $'MQTT' 05 02 003c 00 $'a' $'u'", "[MQTT-3.1.4-1]", 0x81, 16),
        ("password without its flag", V3_1_1, "10 # $'MQTT' 04 82 003c $'a' $'u' $'p'", "[MQTT-3.1.4-1 @3.1.1]", 0x81, 18),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn connect_properties() {
    check(&[
        ("length missing", V5, "10 # $'MQTT' 05 02 003c", "[MQTT-2.2.2-1]", 0x81, 12),
        ("length beyond the packet", V5, "10 # $'MQTT' 05 02 003c 06 11 00000001", "[MQTT-5.0 s2.2.2.1]", 0x81, 13),
        ("length not the shortest", V5, "10 # $'MQTT' 05 02 003c 8000 $'a'", "[MQTT-1.5.5-1]", 0x81, 12),
        ("value cut", V5, "10 # $'MQTT' 05 02 003c 03 11 0000 $'a'", "[MQTT-5.0 s2.2.2.1]", 0x81, 14),
        ("unknown", V5, "10 # $'MQTT' 05 02 003c 02 04 00 $'a'", "[MQTT-5.0 s2.2.2.2]", 0x81, 13),
        ("unknown, two bytes", V5, "10 # $'MQTT' 05 02 003c 02 8001 $'a'", "[MQTT-5.0 s2.2.2.2]", 0x81, 13),
        ("known, not the shortest", V5, "10 # $'MQTT' 05 02 003c 06 9100 00000001 $'a'", "[MQTT-1.5.5-1]", 0x81, 13),
        ("of PUBLISH", V5, "10 # $'MQTT' 05 02 003c 03 23 0001 $'a'", "[MQTT-5.0 s2.2.2.2]", 0x81, 13),
        ("of a will", V5, "10 # $'MQTT' 05 02 003c 05 18 00000001 $'a'", "[MQTT-5.0 s2.2.2.2]", 0x81, 13),
        ("expiry twice", V5, "10 # $'MQTT' 05 02 003c 0a 11 00000001 11 00000001 $'a'", "[MQTT-5.0 s2.2.2.2]", 0x82, 18),
        ("receive maximum 0", V5, "10 # $'MQTT' 05 02 003c 03 21 0000 $'a'", "[MQTT-5.0 s2.2.2.2]", 0x82, 13),
        ("packet size 0", V5, "10 # $'MQTT' 05 02 003c 05 27 00000000 $'a'", "[MQTT-5.0 s2.2.2.2]", 0x82, 13),
        ("problem information 2", V5, "10 # $'MQTT' 05 02 003c 02 17 02 $'a'", "[MQTT-5.0 s2.2.2.2]", 0x82, 13),
        ("response information 255", V5, "10 # $'MQTT' 05 02 003c 02 19 ff $'a'", "[MQTT-5.0 s2.2.2.2]", 0x82, 13),
        ("data, no method", V5, "10 # $'MQTT' 05 02 003c 04 16 $'d' $'a'", "[MQTT-5.0 s4.12]", 0x82, 17),
        ("user property cut", V5, "10 # $'MQTT' 05 02 003c 05 26 $'n' 00 $'a'", "[MQTT-5.0 s2.2.2.1]", 0x81, 17),
        ("user property name not UTF-8", V5, "10 # $'MQTT' 05 02 003c 07 26 0001 ff $'v' $'a'", "[MQTT-1.5.4-1]", 0x81, 16),
        ("user property value NUL", V5, "10 # $'MQTT' 05 02 003c 07 26 $'n' 0001 00 $'a'", "[MQTT-1.5.4-2]", 0x81, 19),
        ("will: of CONNECT", V5, "10 # $'MQTT' 05 06 003c 00 $'a' 03 21 0001 $'w' $''", "[MQTT-5.0 s2.2.2.2]", 0x81, 17),
        ("will: alias", V5, "10 # $'MQTT' 05 06 003c 00 $'a' 03 23 0001 $'w' $''", "[MQTT-5.0 s2.2.2.2]", 0x81, 17),
        ("will: delay twice", V5, "10 # $'MQTT' 05 06 003c 00 $'a' 0a 18 00000001 18 00000001 $'w' $''", "[MQTT-5.0 s2.2.2.2]", 0x82, 22),
        ("will: format 2", V5, "10 # $'MQTT' 05 06 003c 00 $'a' 02 01 02 $'w' $''", "[MQTT-5.0 s2.2.2.2]", 0x82, 17),
        ("will: response topic", V5, "10 # $'MQTT' 05 06 003c 00 $'a' 05 08 $'#a' $'w' $''", "[MQTT-3.3.2-14]", 0x82, 20),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn connack() {
    check(&[
        ("empty", ALL, "20 00", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 2),
        ("no code", ALL, "20 01 00", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 3),
        ("reserved flags", V5, "20 03 02 00 00", "[MQTT-3.2.2-1]", 0x81, 2),
        ("reserved flags", V3, "20 02 80 00", "[MQTT-3.1.1 s3.2.2.1]", 0x81, 2),
        ("session present of 3.1", V3_1, "20 02 01 00", "[MQTT-3.1.1 s3.2.2.1]", 0x81, 2),
        ("refused with session", V5, "20 03 01 87 00", "[MQTT-3.2.2-6]", 0x82, 2),
        ("refused with session", V3_1_1, "20 02 01 05", "[MQTT-3.2.2-4 @3.1.1]", 0x82, 2),
        ("code 1", V5, "20 03 00 01 00", "[MQTT-3.2.2-8]", 0x82, 3),
        ("code 0x8e", V5, "20 03 00 8e 00", "[MQTT-3.2.2-8]", 0x82, 3),
        ("code 6", V3, "20 02 00 06", "[MQTT-3.1.1 s3.2.2.3]", 0x82, 3),
        ("no properties", V5, "20 02 00 00", "[MQTT-2.2.2-1]", 0x81, 4),
        ("bytes left", V5, "20 04 00 00 00 00", "[MQTT-4.13.1-1]", 0x81, 5),
        ("bytes left", V3, "20 03 00 00 00", "[MQTT-4.8.0-1 @3.1.1]", 0x81, 4),
        ("maximum QoS 2", V5, "20 05 00 00 02 24 02", "[MQTT-5.0 s2.2.2.2]", 0x82, 5),
        ("retain available 2", V5, "20 05 00 00 02 25 02", "[MQTT-5.0 s2.2.2.2]", 0x82, 5),
        ("receive maximum 0", V5, "20 06 00 00 03 21 0000", "[MQTT-5.0 s2.2.2.2]", 0x82, 5),
        ("packet size 0", V5, "20 08 00 00 05 27 00000000", "[MQTT-5.0 s2.2.2.2]", 0x82, 5),
        ("of CONNECT", V5, "20 05 00 00 02 17 00", "[MQTT-5.0 s2.2.2.2]", 0x81, 5),
        ("reason string twice", V5, "20 # 00 00 08 1f $'a' 1f $'b'", "[MQTT-5.0 s2.2.2.2]", 0x82, 9),
        ("data, no method", V5, "20 # 00 00 04 16 $'d'", "[MQTT-5.0 s4.12]", 0x82, 9),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn publish() {
    check(&[
        ("QoS 3", ALL, "36 # $'t' 0001 00", "[MQTT-3.3.1-4] [MQTT-3.3.1-4 @3.1.1]", 0x81, 0),
        ("QoS 3, DUP and RETAIN", ALL, "3f # $'t' 0001 00", "[MQTT-3.3.1-4] [MQTT-3.3.1-4 @3.1.1]", 0x81, 0),
        ("DUP on QoS 0", ALL, "38 # $'t' 00", "[MQTT-3.3.1-2] [MQTT-3.3.1-2 @3.1.1]", 0x81, 0),
        ("DUP and RETAIN on QoS 0", ALL, "39 # $'t' 00", "[MQTT-3.3.1-2] [MQTT-3.3.1-2 @3.1.1]", 0x81, 0),
        ("empty", ALL, "30 00", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 2),
        ("topic cut", ALL, "30 # 0002 't'", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 4),
        ("topic not UTF-8", ALL, "30 # 0002 74c3 00", "[MQTT-1.5.4-1] [MQTT-1.5.3-1 @3.1.1]", 0x81, 5),
        ("topic overlong slash", ALL, "30 # 0003 74c0af 00", "[MQTT-1.5.4-1] [MQTT-1.5.3-1 @3.1.1]", 0x81, 5),
        ("topic surrogate", ALL, "30 # 0003 eda080 00", "[MQTT-1.5.4-1] [MQTT-1.5.3-1 @3.1.1]", 0x81, 4),
        ("topic last surrogate", ALL, "30 # 0004 74edbfbf 00", "[MQTT-1.5.4-1] [MQTT-1.5.3-1 @3.1.1]", 0x81, 5),
        ("topic NUL", ALL, "30 # 0003 740074 00", "[MQTT-1.5.4-2] [MQTT-1.5.3-2 @3.1.1]", 0x81, 5),
        ("topic control", ALL, "30 # 0002 7401 00", "[MQTT-5.0 s1.5.4] [MQTT-3.1.1 s1.5.3]", 0x90, 5),
        ("topic non-character", ALL, "30 # 0004 74efbfbf 00", "[MQTT-5.0 s1.5.4] [MQTT-3.1.1 s1.5.3]", 0x90, 5),
        ("topic with +", ALL, "30 # $'a/+/c' 00", "[MQTT-3.3.2-2] [MQTT-3.3.2-2 @3.1.1]", 0x90, 6),
        ("topic with #", ALL, "30 # $'a/#' 00", "[MQTT-3.3.2-2] [MQTT-3.3.2-2 @3.1.1]", 0x90, 6),
        ("topic empty", V3, "30 # $''", "[MQTT-4.7.3-1 @3.1.1]", 0x82, 4),
        ("topic empty, no alias", V5, "30 # $'' 00", "[MQTT-4.7.3-1]", 0x82, 4),
        ("topic empty, another property", V5, "30 # $'' 02 01 00", "[MQTT-4.7.3-1]", 0x82, 4),
        ("no id", ALL, "32 # $'t'", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 5),
        ("id cut", ALL, "34 # $'t' 00", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 5),
        ("id 0 at QoS 1", ALL, "32 # $'t' 0000 00", "[MQTT-2.2.1-3] [MQTT-2.3.1-1 @3.1.1]", 0x82, 5),
        ("id 0 at QoS 2", ALL, "34 # $'t' 0000 00", "[MQTT-2.2.1-3] [MQTT-2.3.1-1 @3.1.1]", 0x82, 5),
        ("no properties", V5, "30 # $'t'", "[MQTT-2.2.2-1]", 0x81, 5),
        ("properties beyond the packet", V5, "30 # $'t' 03 01 00", "[MQTT-5.0 s2.2.2.1]", 0x81, 6),
        ("properties 128 beyond the packet", V5, "30 # $'t' 8001 01 00", "[MQTT-5.0 s2.2.2.1]", 0x81, 7),
        ("properties length cut", V5, "30 # $'t' 80", "[MQTT-4.13.1-1]", 0x81, 5),
        ("properties length, five bytes", V5, "30 # $'t' 8080808001", "[MQTT-1.5.5-1]", 0x81, 5),
        ("unknown property", V5, "30 # $'t' 02 7e 01", "[MQTT-5.0 s2.2.2.2]", 0x81, 6),
        ("unknown property 0", V5, "30 # $'t' 02 00 01", "[MQTT-5.0 s2.2.2.2]", 0x81, 6),
        ("property of CONNECT", V5, "30 # $'t' 05 11 00000001", "[MQTT-5.0 s2.2.2.2]", 0x81, 6),
        ("reason string", V5, "30 # $'t' 04 1f $'r'", "[MQTT-5.0 s2.2.2.2]", 0x81, 6),
        ("format 2", V5, "30 # $'t' 02 01 02", "[MQTT-5.0 s2.2.2.2]", 0x82, 6),
        ("format twice", V5, "30 # $'t' 04 01 00 01 00", "[MQTT-5.0 s2.2.2.2]", 0x82, 8),
        ("expiry twice", V5, "30 # $'t' 0a 02 00000001 02 00000001", "[MQTT-5.0 s2.2.2.2]", 0x82, 11),
        ("alias twice", V5, "30 # $'t' 06 23 0001 23 0001", "[MQTT-5.0 s2.2.2.2]", 0x82, 9),
        ("content type twice", V5, "30 # $'t' 06 03 $'' 03 $''", "[MQTT-5.0 s2.2.2.2]", 0x82, 9),
        ("response topic twice", V5, "30 # $'t' 08 08 $'r' 08 $'r'", "[MQTT-5.0 s2.2.2.2]", 0x82, 10),
        ("correlation data twice", V5, "30 # $'t' 06 09 $'' 09 $''", "[MQTT-5.0 s2.2.2.2]", 0x82, 9),
        ("alias 0", V5, "30 # $'t' 03 23 0000", "[MQTT-3.3.2-8]", 0x94, 7),
        ("alias cut", V5, "30 # $'t' 02 23 00", "[MQTT-5.0 s2.2.2.1]", 0x81, 7),
        ("response topic +", V5, "30 # $'t' 04 08 $'+'", "[MQTT-3.3.2-14]", 0x82, 9),
        ("response topic #", V5, "30 # $'t' 06 08 $'r/#'", "[MQTT-3.3.2-14]", 0x82, 11),
        ("response topic empty", V5, "30 # $'t' 03 08 $''", "[MQTT-3.3.2-14]", 0x82, 9),
        ("response topic not UTF-8", V5, "30 # $'t' 04 08 0001 ff", "[MQTT-1.5.4-1]", 0x81, 9),
        ("content type not UTF-8", V5, "30 # $'t' 04 03 0001 ff", "[MQTT-1.5.4-1]", 0x81, 9),
        ("content type cut", V5, "30 # $'t' 04 03 0002 74", "[MQTT-5.0 s2.2.2.1]", 0x81, 9),
        ("subscription id 0", V5, "30 # $'t' 02 0b 00", "[MQTT-5.0 s2.2.2.2]", 0x82, 6),
        ("subscription id, five bytes", V5, "30 # $'t' 06 0b 8080808001", "[MQTT-1.5.5-1]", 0x81, 7),
        ("subscription id, not the shortest", V5, "30 # $'t' 03 0b 8100", "[MQTT-1.5.5-1]", 0x81, 7),
        ("subscription id cut", V5, "30 # $'t' 02 0b 80", "[MQTT-5.0 s2.2.2.1]", 0x81, 7),
        ("user property without a value", V5, "30 # $'t' 04 26 $'n'", "[MQTT-5.0 s2.2.2.1]", 0x81, 10),
        ("user property surrogate", V5, "30 # $'t' 09 26 $'n' 0003 edaebf", "[MQTT-1.5.4-1]", 0x81, 12),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn acknowledgements() {
    check(&[
        ("PUBACK empty", ALL, "40 00", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 2),
        ("PUBACK id cut", ALL, "40 01 00", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 2),
        ("PUBACK id 0", ALL, "40 02 0000", "[MQTT-2.2.1-3] [MQTT-2.3.1-1 @3.1.1]", 0x82, 2),
        ("PUBACK bytes left", V3, "40 03 0001 00", "[MQTT-4.8.0-1 @3.1.1]", 0x81, 4),
        ("PUBACK code 1", V5, "40 03 0001 01", "[MQTT-3.4.2-1]", 0x82, 4),
        ("PUBACK code 0x92", V5, "40 03 0001 92", "[MQTT-3.4.2-1]", 0x82, 4),
        ("PUBREC code 0x92", V5, "50 03 0001 92", "[MQTT-3.5.2-1]", 0x82, 4),
        ("PUBREL code 0x10", V5, "62 03 0001 10", "[MQTT-3.6.2-1]", 0x82, 4),
        ("PUBREL code 0x80", V5, "62 03 0001 80", "[MQTT-3.6.2-1]", 0x82, 4),
        ("PUBREL id 0", ALL, "62 02 0000", "[MQTT-2.2.1-3] [MQTT-2.3.1-1 @3.1.1]", 0x82, 2),
        ("PUBCOMP code 0x91", V5, "70 03 0001 91", "[MQTT-3.7.2-1]", 0x82, 4),
        ("PUBCOMP bytes left", V3, "70 04 0001 0000", "[MQTT-4.8.0-1 @3.1.1]", 0x81, 4),
        ("PUBACK property cut", V5, "40 # 0001 00 04 1f $'a' 00", "[MQTT-4.13.1-1]", 0x81, 10),
        ("PUBACK properties beyond", V5, "40 # 0001 00 05 1f $'a'", "[MQTT-5.0 s2.2.2.1]", 0x81, 6),
        ("PUBACK reason string twice", V5, "40 # 0001 00 08 1f $'a' 1f $'b'", "[MQTT-5.0 s2.2.2.2]", 0x82, 10),
        ("PUBACK server reference", V5, "40 # 0001 00 04 1c $'a'", "[MQTT-5.0 s2.2.2.2]", 0x81, 6),
        ("PUBREC reason string not UTF-8", V5, "50 # 0001 00 04 1f 0001 ff", "[MQTT-1.5.4-1]", 0x81, 9),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn subscribe() {
    check(&[
        ("empty", ALL, "82 00", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 2),
        ("id 0", V5, "82 # 0000 00 $'a' 00", "[MQTT-2.2.1-3]", 0x82, 2),
        ("id 0", V3, "82 # 0000 $'a' 00", "[MQTT-2.3.1-1 @3.1.1]", 0x82, 2),
        ("no properties", V5, "82 # 0001", "[MQTT-2.2.2-1]", 0x81, 4),
        ("no filter", V5, "82 # 0001 00", "[MQTT-3.8.3-2]", 0x82, 5),
        ("no filter", V3, "82 # 0001", "[MQTT-3.8.3-3 @3.1.1]", 0x82, 4),
        ("filter cut", V3, "82 # 0001 0002 'a'", "[MQTT-4.8.0-1 @3.1.1]", 0x81, 6),
        ("no options", V3, "82 # 0001 $'a'", "[MQTT-4.8.0-1 @3.1.1]", 0x81, 7),
        ("no options of the second", V5, "82 # 0001 00 $'a' 00 $'b'", "[MQTT-4.13.1-1]", 0x81, 12),
        ("filter not UTF-8", V5, "82 # 0001 00 0002 61ff 00", "[MQTT-1.5.4-1]", 0x81, 8),
        ("filter not UTF-8", V3, "82 # 0001 0002 61ff 00", "[MQTT-1.5.3-1 @3.1.1]", 0x81, 7),
        ("filter NUL", V5, "82 # 0001 00 0001 00 00", "[MQTT-1.5.4-2]", 0x81, 7),
        ("QoS 3", V5, "82 # 0001 00 $'a' 03", "[MQTT-3.8.3-5]", 0x82, 8),
        ("QoS 3", V3, "82 # 0001 $'a' 03", "[MQTT-3.8.3-4 @3.1.1]", 0x82, 7),
        ("reserved bit 6", V5, "82 # 0001 00 $'a' 40", "[MQTT-3.8.3-5]", 0x81, 8),
        ("reserved bit 7", V5, "82 # 0001 00 $'a' 80", "[MQTT-3.8.3-5]", 0x81, 8),
        ("no local of 3.x", V3, "82 # 0001 $'a' 04", "[MQTT-3.8.3-4 @3.1.1]", 0x81, 7),
        ("retain handling 3", V5, "82 # 0001 00 $'a' 30", "[MQTT-5.0 s3.8.3.1]", 0x82, 8),
        ("bad options of the second", V5, "82 # 0001 00 $'a' 00 $'b' 30", "[MQTT-5.0 s3.8.3.1]", 0x82, 12),
        ("subscription id 0", V5, "82 # 0001 02 0b 00 $'a' 00", "[MQTT-5.0 s2.2.2.2]", 0x82, 5),
        ("subscription id twice", V5, "82 # 0001 04 0b 01 0b 01 $'a' 00", "[MQTT-5.0 s2.2.2.2]", 0x82, 7),
        ("reason string", V5, "82 # 0001 04 1f $'r' $'a' 00", "[MQTT-5.0 s2.2.2.2]", 0x81, 5),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn suback() {
    check(&[
        ("no code", V5, "90 # 0001 00", "[MQTT-3.8.4-6]", 0x82, 5),
        ("no code", V3, "90 # 0001", "[MQTT-3.8.4-5 @3.1.1]", 0x82, 4),
        ("id 0", V3, "90 # 0000 00", "[MQTT-2.3.1-1 @3.1.1]", 0x82, 2),
        ("code 3", V5, "90 # 0001 00 03", "[MQTT-3.9.3-2]", 0x82, 5),
        ("code 0x11", V5, "90 # 0001 00 00 11", "[MQTT-3.9.3-2]", 0x82, 6),
        ("code 3", V3, "90 # 0001 03", "[MQTT-3.9.3-2 @3.1.1]", 0x82, 4),
        ("code 0x87", V3, "90 # 0001 00 87", "[MQTT-3.9.3-2 @3.1.1]", 0x82, 5),
        ("failure of 3.1", V3_1, "90 # 0001 80", "[MQTT-3.9.3-2 @3.1.1]", 0x82, 4),
        ("subscription id", V5, "90 # 0001 02 0b 01 00", "[MQTT-5.0 s2.2.2.2]", 0x81, 5),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn unsubscribe() {
    check(&[
        ("empty", ALL, "a2 00", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 2),
        ("id 0", V5, "a2 # 0000 00 $'a'", "[MQTT-2.2.1-3]", 0x82, 2),
        ("no filter", V5, "a2 # 0001 00", "[MQTT-3.10.3-2]", 0x82, 5),
        ("no filter", V3, "a2 # 0001", "[MQTT-3.10.3-2 @3.1.1]", 0x82, 4),
        ("filter cut", V3, "a2 # 0001 $'a' 00", "[MQTT-4.8.0-1 @3.1.1]", 0x81, 7),
        ("filter not UTF-8", V5, "a2 # 0001 00 0001 c0", "[MQTT-1.5.4-1]", 0x81, 7),
        ("subscription id", V5, "a2 # 0001 02 0b 01 $'a'", "[MQTT-5.0 s2.2.2.2]", 0x81, 5),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn unsuback() {
    check(&[
        ("empty", ALL, "b0 00", "[MQTT-4.13.1-1] [MQTT-4.8.0-1 @3.1.1]", 0x81, 2),
        ("no properties", V5, "b0 02 0001", "[MQTT-2.2.2-1]", 0x81, 4),
        ("no code", V5, "b0 03 0001 00", "[MQTT-3.11.3-2]", 0x82, 5),
        ("code 1", V5, "b0 04 0001 00 01", "[MQTT-3.11.3-2]", 0x82, 5),
        ("bytes left", V3, "b0 03 0001 00", "[MQTT-4.8.0-1 @3.1.1]", 0x81, 4),
        ("id 0", V3, "b0 02 0000", "[MQTT-2.3.1-1 @3.1.1]", 0x82, 2),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn disconnect() {
    check(&[
        ("with a body", V3, "e0 01 00", "[MQTT-4.8.0-1 @3.1.1]", 0x81, 2),
        ("code 1", V5, "e0 01 01", "[MQTT-3.14.2-1]", 0x82, 2),
        ("code 0x84", V5, "e0 01 84", "[MQTT-3.14.2-1]", 0x82, 2),
        ("properties beyond the packet", V5, "e0 02 00 01", "[MQTT-5.0 s2.2.2.1]", 0x81, 4),
        ("bytes left", V5, "e0 03 00 00 00", "[MQTT-4.13.1-1]", 0x81, 4),
        ("of CONNACK", V5, "e0 # 00 03 13 000a", "[MQTT-5.0 s2.2.2.2]", 0x81, 4),
        ("expiry twice", V5, "e0 # 00 0a 11 00000001 11 00000001", "[MQTT-5.0 s2.2.2.2]", 0x82, 9),
        ("server reference not UTF-8", V5, "e0 # 9c 04 1c 0001 80", "[MQTT-1.5.4-1]", 0x81, 7),
    ]);
}

#[test]
#[rustfmt::skip] // One line per case.
fn auth() {
    check(&[
        ("code only", V5, "f0 01 18", "[MQTT-2.2.2-1]", 0x81, 3),
        ("code 0x17", V5, "f0 02 17 00", "[MQTT-3.15.2-1]", 0x82, 2),
        ("code 0x87", V5, "f0 02 87 00", "[MQTT-3.15.2-1]", 0x82, 2),
        ("no method", V5, "f0 02 18 00", "[MQTT-5.0 s4.12]", 0x82, 4),
        ("data, no method", V5, "f0 # 18 04 16 $'d'", "[MQTT-5.0 s4.12]", 0x82, 8),
        ("method twice", V5, "f0 # 18 08 15 $'m' 15 $'m'", "[MQTT-5.0 s2.2.2.2]", 0x82, 8),
        ("server reference", V5, "f0 # 18 08 15 $'m' 1c $'s'", "[MQTT-5.0 s2.2.2.2]", 0x81, 8),
        ("bytes left", V5, "f0 # 18 04 15 $'m' 00", "[MQTT-4.13.1-1]", 0x81, 8),
    ]);
}

/// An error in a CONNECT tells the version once it was read, so that the answer can be told in it.
#[test]
fn connect_errors_carry_the_version() {
    let version_of = |notation| refuse("version", Version::V5, &packet(notation)).version();
    assert_eq!(version_of("10 # $'MQTT' 09 02 003c 00 $'a'"), None);
    assert_eq!(version_of("10 # $'MQTT' 05 03 003c 00 $'a'"), Some(Version::V5));
    assert_eq!(version_of("10 # $'MQTT' 04 03 003c $'a'"), Some(Version::V3_1_1));
    assert_eq!(version_of("10 # $'MQIsdp' 03 03 003c $'a'"), Some(Version::V3_1));
}

/// [MQTT-3.1.0-1] [MQTT-3.1.0-1 @3.1.1]
#[test]
fn first_packet_must_be_connect() {
    for first in ["c0 00", "30 # $'t' 00", "e0 00", "82 # 0001 00 $'a' 00"] {
        let error = dunlin_codec::decode_connect(&packet(first), &DecodeLimits::default())
            .expect_err("not a CONNECT");
        assert_eq!((error.spec(), error.version()), ("MQTT-3.1.0-1", None), "{first}");
        assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
    }
}

/// An attacker makes errors by the million.
#[test]
fn errors_are_small() {
    assert!(size_of::<DecodeError>() <= 12);
    let error = refuse("QoS 3", Version::V3_1_1, &packet("36 00"));
    assert_eq!(error.to_string(), "PUBLISH: QoS is 3 at byte 0 [MQTT-3.3.1-4 @3.1.1]");
}

//! Headers as proxies send them, and as nobody should.

#![expect(clippy::cast_possible_truncation, reason = "the sizes of a test are small")]

use super::*;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = V2.to_vec();
    header.extend([command, family]);
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    header
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![kind];
    field.extend((value.len() as u16).to_be_bytes());
    field.extend(value);
    field
}

fn ssl(client: u8, verify: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    let mut value = vec![client];
    value.extend(verify.to_be_bytes());
    value.extend(fields.concat());
    tlv(0x20, &value)
}

const IPV4: &[u8] = &[192, 0, 2, 7, 203, 0, 113, 1, 0xC3, 0x50, 0x07, 0x5B];

fn inet(source: &str, destination: &str) -> Addresses {
    Addresses::Inet { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// What a header says, whole and with more behind it; cut anywhere before its end it says nothing.
#[track_caller]
fn check(bytes: &[u8], addresses: Addresses, authority: Option<&str>, tls: Option<ProxiedTls<'_>>) {
    let header = Header { len: bytes.len(), addresses, authority, tls };
    assert_eq!(parse(bytes), Ok(Some(header)));
    assert_eq!(parse(&[bytes, b"\x10\x0c\0\x04MQTT"].concat()), Ok(Some(header)));
    for len in 0..bytes.len() {
        assert_eq!(parse(&bytes[..len]), Ok(None), "{len}");
    }
}

#[test]
fn lines_are_read() {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1 \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff2 65535 65534\r\n";
    let cases = [
        (
            "PROXY TCP4 192.0.2.7 203.0.113.1 50000 1883\r\n",
            inet("192.0.2.7:50000", "203.0.113.1:1883"),
        ),
        ("PROXY TCP4 0.0.0.0 255.255.255.255 0 1\r\n", inet("0.0.0.0:0", "255.255.255.255:1")),
        ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", inet("[2001:db8::1]:1", "[::1]:65535")),
        (
            longest,
            inet(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff2]:65534",
            ),
        ),
        ("PROXY UNKNOWN\r\n", Addresses::Own),
        ("PROXY UNKNOWN ffff::1 whatever 65535\r\n", Addresses::Own),
    ];
    for (line, addresses) in cases {
        check(line.as_bytes(), addresses, None, None);
    }
    let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 16));
    assert_eq!(unknown.len(), V1_BYTES_MAX);
    check(unknown.as_bytes(), Addresses::Own, None, None);
}

#[test]
fn lines_that_are_none_are_refused() {
    let cases = [
        ("GET / HTTP/1.1\r\n", Malformed::Missing),
        ("proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n", Malformed::Missing),
        ("PROX\r\n", Malformed::Missing),
        ("PROXY\r\n", Malformed::Missing),
        ("PROXYTCP4 1.2.3.4 1.2.3.4 1 1\r\n", Malformed::Missing),
        ("PROXY! UNKNOWN\r\n", Malformed::Missing),
        ("PROXY \r\n", Malformed::Family),
        ("PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n", Malformed::Family),
        ("PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n", Malformed::Family),
        ("PROXY TCP4\r\n", Malformed::Fields),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Malformed::Fields),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n", Malformed::Fields),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n", Malformed::Fields),
        ("PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n", Malformed::Fields),
        ("PROXY TCP4 ::1 1.2.3.4 1 1\r\n", Malformed::Address),
        ("PROXY TCP6 1.2.3.4 ::1 1 1\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n", Malformed::Address),
        ("PROXY TCP4 01.2.3.4 1.2.3.4 1 1\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n", Malformed::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n", Malformed::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n", Malformed::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n", Malformed::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n\r\n", Malformed::Port),
    ];
    for (line, expected) in cases {
        assert_eq!(parse(line.as_bytes()), Err(expected), "{line:?}");
    }
    assert_eq!(parse(b"PROXY TCP4 \xff\r\n"), Err(Malformed::Fields));
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
    assert_eq!(parse(&endless.as_bytes()[..V1_BYTES_MAX - 1]), Ok(None));
    assert_eq!(parse(&endless.as_bytes()[..V1_BYTES_MAX]), Err(Malformed::TooLarge));
}

#[test]
fn headers_of_version_2_are_read() {
    let client = inet("192.0.2.7:50000", "203.0.113.1:1883");
    check(&v2(0x21, 0x11, IPV4), client, None, None);

    let mut ipv6 = vec![0; 36];
    (ipv6[0], ipv6[1], ipv6[31]) = (0x20, 0x01, 1);
    ipv6[32..].copy_from_slice(&[0, 5, 0, 6]);
    check(&v2(0x21, 0x21, &ipv6), inet("[2001::]:5", "[::1]:6"), None, None);

    check(&v2(0x21, 0x31, &[b'/'; 216]), Addresses::Unix, None, None);
    check(&v2(0x20, 0x00, &[]), Addresses::Own, None, None);
    check(&v2(0x20, 0x11, IPV4), Addresses::Own, None, None);
    check(&v2(0x20, 0xFF, b"whatever"), Addresses::Own, None, None);
    check(&v2(0x21, 0x00, &[]), Addresses::Own, None, None);
    check(&v2(0x21, 0x00, &tlv(0x02, b"a.example")), Addresses::Own, Some("a.example"), None);
    let largest = v2(0x21, 0x00, &tlv(0x04, &vec![0; V2_BYTES_MAX - 16 - 3]));
    assert_eq!(largest.len(), V2_BYTES_MAX);
    check(&largest, Addresses::Own, None, None);
}

#[test]
fn a_proxy_tells_of_tls() {
    let client = inet("192.0.2.7:50000", "203.0.113.1:1883");
    let fields = [
        tlv(0x21, b"TLSv1.3"),
        tlv(0x22, b"meter 17"),
        tlv(0x23, b"TLS_AES_128_GCM_SHA256"),
        tlv(0x24, b"SHA256"),
        tlv(0x25, b"RSA2048"),
    ];
    let told = ProxiedTls {
        is_tls: true,
        is_verified: true,
        version: Some("TLSv1.3"),
        common_name: Some("meter 17"),
    };
    let is_verified = [
        // (client, verify, verified): only TLS; a certificate in this connection; in the resumed session; one that was
        // not verified.
        (1, 0, false),
        (1 | 2, 0, true),
        (1 | 4, 0, true),
        (1 | 2 | 4, 0, true),
        (1 | 2, 20, false),
    ];
    for (flags, verify, is_verified) in is_verified {
        let body = [
            IPV4,
            &tlv(0x01, b"mqtt"),
            &tlv(0x02, "straße.example".as_bytes()),
            &ssl(flags, verify, &fields),
            &tlv(0x05, b"unique"),
            &tlv(0xE0, &[0xFF; 4]),
        ];
        let told = ProxiedTls { is_verified, ..told };
        check(&v2(0x21, 0x11, &body.concat()), client, Some("straße.example"), Some(told));
    }
    let none = ProxiedTls::default();
    check(&v2(0x21, 0x11, &[IPV4, &ssl(0, 0, &[])].concat()), client, None, Some(none));
}

#[test]
fn a_checksum_counts_if_there_is_one() {
    // The polynomial, bit by bit.
    let crc32c = |bytes: &[u8]| {
        !bytes.iter().fold(!0_u32, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
                if sum & 1 == 1 { sum >> 1 ^ 0x82F6_3B78 } else { sum >> 1 }
            })
        })
    };
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    let mut bytes = v2(0x21, 0x11, &[IPV4, &tlv(0x03, &[0; 4]), &tlv(0x04, b"padding")].concat());
    let at = 16 + IPV4.len() + 3;
    let sum = crc32c(&bytes);
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    check(&bytes, inet("192.0.2.7:50000", "203.0.113.1:1883"), None, None);
    for changed in [16, at, bytes.len() - 1] {
        let mut bytes = bytes.clone();
        bytes[changed] ^= 1;
        assert_eq!(parse(&bytes), Err(Malformed::Checksum), "{changed}");
    }
    for len in [0, 3, 5] {
        let bytes = v2(0x21, 0x11, &[IPV4, &tlv(0x03, &vec![0; len])].concat());
        assert_eq!(parse(&bytes), Err(Malformed::Tlv));
    }
}

#[test]
fn headers_of_version_2_that_are_none_are_refused() {
    let cases = [
        (v2(0x11, 0x11, IPV4), Malformed::Version),
        (v2(0x31, 0x11, IPV4), Malformed::Version),
        (v2(0x22, 0x11, IPV4), Malformed::Command),
        (v2(0x21, 0x12, IPV4), Malformed::Family),
        (v2(0x21, 0x10, IPV4), Malformed::Family),
        (v2(0x21, 0x41, IPV4), Malformed::Family),
        (v2(0x21, 0x11, &IPV4[1..]), Malformed::Length),
        (v2(0x21, 0x21, &[0; 35]), Malformed::Length),
        (v2(0x21, 0x31, &[0; 215]), Malformed::Length),
        (v2(0x21, 0x11, &[IPV4, &[2]].concat()), Malformed::Tlv),
        (v2(0x21, 0x11, &[IPV4, &[2, 0, 1]].concat()), Malformed::Tlv),
        (v2(0x21, 0x11, &[IPV4, &[2, 0xFF, 0xFF, b'a']].concat()), Malformed::Tlv),
        (v2(0x21, 0x11, &[IPV4, &tlv(0x20, &[1, 0, 0, 0])].concat()), Malformed::Tlv),
        (v2(0x21, 0x11, &[IPV4, &ssl(1, 0, &[vec![0x22, 0, 9]])].concat()), Malformed::Tlv),
        (v2(0x21, 0x11, &[IPV4, &tlv(0x02, b"\xff")].concat()), Malformed::Text),
        (v2(0x21, 0x11, &[IPV4, &tlv(0x02, b"a\nb")].concat()), Malformed::Text),
        (v2(0x21, 0x11, &[IPV4, &ssl(3, 0, &[tlv(0x22, b"a\0")])].concat()), Malformed::Text),
        (b"\r\n\r\n\0\r\nQUIT \x21\x11\0\0".to_vec(), Malformed::Missing),
        (b"\r\nGET".to_vec(), Malformed::Missing),
    ];
    for (bytes, expected) in cases {
        assert_eq!(parse(&bytes), Err(expected), "{}", bytes.escape_ascii());
    }
    // Said by the head alone: nobody waits for a body that is not taken.
    let mut head = v2(0x21, 0x11, &[])[..14].to_vec();
    head.extend(((V2_BYTES_MAX - 16 + 1) as u16).to_be_bytes());
    assert_eq!(parse(&head), Err(Malformed::TooLarge));
}

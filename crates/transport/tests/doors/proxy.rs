//! PROXY headers in front of MQTT.

use std::net::SocketAddr;

use dunlin_transport::proxy::{ProxySources, V1_BYTES_MAX};
use dunlin_transport::{Details, Door, Peer, ProxyFacts, Refusal, Refused, Transport};

use crate::support::{address, send};

fn door(trusted: &str) -> Door {
    let mut door = Door::default();
    door.proxy = Some(ProxySources { trusted: vec![trusted.parse().unwrap()] });
    door
}

fn peer(client: &str, proxy: ProxyFacts) -> Peer {
    Peer {
        address: client.parse::<SocketAddr>().ok(),
        transport: Transport::Tcp,
        details: Some(Box::new(Details { proxy: Some(proxy), ..Details::default() })),
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_who_the_client_is() {
    let door = door("127.0.0.0/8");
    assert!(!door.is_plain());
    let bytes = b"PROXY TCP4 192.0.2.7 203.0.113.1 50000 1883\r\n\x10\x0c\0\x04MQTT";
    for piece in [1, 7, 1000] {
        let (client, opened) = send(&door, bytes, piece).await;
        let opened = opened.unwrap();
        let facts = ProxyFacts { address: address(&client), ..ProxyFacts::default() };
        assert_eq!(opened.peer, peer("192.0.2.7:50000", facts));
        // What was not yet read of MQTT is in the socket.
        assert!(b"\x10\x0c\0\x04MQTT".starts_with(&opened.received));
    }
}

#[tokio::test]
async fn a_name_that_the_proxy_verified_is_offered_and_no_other() {
    let header = |verify: u8| {
        let tls =
            [&[0x20, 0, 19, 3, 0, 0, 0, verify][..], b"\x21\0\x03TLS", b"\x22\0\x05meter"].concat();
        let body =
            [&[192, 0, 2, 7, 203, 0, 113, 1, 0xC3, 0x50, 7, 0x5B][..], b"\x02\0\x04host", &tls]
                .concat();
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &(body.len() as u16).to_be_bytes()[..], &body].concat()
    };
    for (verify, common_name) in [(0, Some("meter".into())), (1, None)] {
        let (client, opened) = send(&door("127.0.0.1"), &header(verify), 1000).await;
        let facts = ProxyFacts {
            address: address(&client),
            common_name,
            server_name: Some("host".into()),
            tls_version: Some("TLS".into()),
        };
        let opened = opened.unwrap();
        assert_eq!(opened.peer, peer("192.0.2.7:50000", facts));
        assert_eq!(opened.received, b"");
    }
}

#[tokio::test]
async fn a_proxy_that_connects_for_itself_is_the_client() {
    let (client, opened) = send(&door("127.0.0.1"), b"PROXY UNKNOWN\r\n", 1000).await;
    let facts = ProxyFacts { address: address(&client), ..ProxyFacts::default() };
    let own = client.local_addr().unwrap().to_string();
    assert_eq!(opened.unwrap().peer, peer(&own, facts));
}

#[tokio::test]
async fn what_is_no_header_or_from_no_trusted_source_is_refused() {
    let long = [b"PROXY UNKNOWN ", &[b'x'; V1_BYTES_MAX][..]].concat();
    let cases: [(&str, &[u8], Refusal, &str); 5] = [
        ("192.0.2.0/24", b"PROXY UNKNOWN\r\n", Refusal::ProxyUntrusted, ""),
        ("127.0.0.1", b"\x10\x0c\0\x04MQTT", Refusal::ProxyMissing, "no PROXY header"),
        ("127.0.0.1", b"PROXY TCP4\r\n", Refusal::ProxyInvalid, "fields are missing or too many"),
        ("127.0.0.1", &long, Refusal::ProxyTooLarge, "header is longer than the limit"),
        ("127.0.0.1", b"\r\n\r\n\0\r\nQUIT\n\x33", Refusal::ProxyInvalid, "version is not 2"),
    ];
    for (trusted, bytes, why, detail) in cases {
        let (client, outcome) = send(&door(trusted), bytes, 1000).await;
        let expected = Refused { why, detail: detail.into(), address: address(&client) };
        assert_eq!(outcome.unwrap_err(), expected);
    }
}

//! WebSockets over a socket, from the request to the last close frame.

use std::io::ErrorKind;
use std::time::Duration;

use dunlin_transport::http::{AllowedOrigins, UpgradeRules};
use dunlin_transport::websocket::{FrameViolation, violation};
use dunlin_transport::{
    Details, Door, Farewell, Opened, Peer, Protocol, ProxyFacts, Refusal, Stream, Transport,
    WebSocketFacts,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{address, connect, head, poll_read_once, read, rest, send, write};

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n";

fn request(more: &str) -> Vec<u8> {
    format!("{REQUEST}{more}\r\n").into_bytes()
}

fn door(protocol: Protocol) -> Door {
    let mut door = Door::default();
    door.protocol = protocol;
    door
}

fn ws() -> Door {
    door(Protocol::WebSocket(UpgradeRules::default()))
}

fn auto() -> Door {
    door(Protocol::Auto(UpgradeRules::default()))
}

/// A frame of a client, masked with 1, 2, 3, 4.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let head = match payload.len() {
        len @ 0..126 => vec![first, 0x80 | len as u8],
        len => vec![first, 0xFE, (len >> 8) as u8, len as u8],
    };
    let masked = payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask);
    head.into_iter().chain([1, 2, 3, 4]).chain(masked).collect()
}

/// A client that is through the door, and the other end.
async fn open() -> (TcpStream, Stream) {
    let (mut client, opened) = send(&ws(), &request(""), 1000).await;
    head(&mut client).await;
    (client, opened.unwrap().stream)
}

#[tokio::test]
async fn a_request_opens_the_door_and_frames_may_follow_at_once() {
    let bytes = [request(""), frame(0x82, b"abc"), frame(0x89, b"?")].concat();
    for (door, piece) in [(ws(), 1), (ws(), 60), (ws(), 1000), (auto(), 1), (auto(), 1000)] {
        let (mut client, opened) = send(&door, &bytes, piece).await;
        let Opened { mut stream, peer, received, .. } = opened.unwrap();
        let websocket =
            WebSocketFacts { path: "/mqtt".into(), origin: None, subprotocol: Some("mqtt".into()) };
        let details = Details { websocket: Some(websocket), ..Details::default() };
        let expected = Peer {
            address: address(&client),
            transport: Transport::Ws,
            details: Some(Box::new(details)),
        };
        assert_eq!(peer, expected);
        client.write_all(&frame(0x82, b"d")).await.unwrap();
        let plain = [received.clone(), read(&mut stream, 4 - received.len()).await].concat();
        assert_eq!(plain, b"abcd");
        write(&mut stream, &[b"", b"x", b"yz"]).await;
        assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
        let mut answers = [0; 8];
        client.read_exact(&mut answers).await.unwrap();
        assert_eq!(&answers, b"\x8A\x01?\x82\x03xyz");
    }
}

#[tokio::test]
async fn one_port_serves_both() {
    let bytes = b"\x10\x0c\0\x04MQTT";
    let (_client, opened) = send(&auto(), bytes, 1).await;
    let mut opened = opened.unwrap();
    assert_eq!((opened.peer.transport, opened.peer.details), (Transport::Tcp, None));
    let missing = bytes.len() - opened.received.len();
    let plain = [opened.received, read(&mut opened.stream, missing).await].concat();
    assert_eq!(plain, bytes);
}

#[tokio::test]
async fn what_is_refused_is_told_why_also_when_much_is_unread() {
    let large = request(&format!("X: {}\r\n", "x".repeat(100_000)));
    let foreign = request("Origin: https://page.example\r\n");
    let path = String::from_utf8(request("")).unwrap().replace("/mqtt", "/");
    let other = String::from_utf8(request("")).unwrap().replace(": mqtt", ": chat");
    let cases: [(&[u8], &str, Refusal); 6] = [
        (&large, "431", Refusal::HttpTooLarge),
        (&foreign, "403", Refusal::WebSocketOrigin),
        (path.as_bytes(), "404", Refusal::WebSocketPath),
        (other.as_bytes(), "400", Refusal::WebSocketSubprotocol),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "426", Refusal::HttpNotUpgrade),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde", "405", Refusal::HttpNotUpgrade),
    ];
    for (bytes, status, why) in cases {
        for door in [ws(), auto()] {
            let (mut client, opened) = connect().await;
            let from = opened.peer.address;
            let client = async move {
                client.write_all(bytes).await.unwrap();
                rest(&mut client).await
            };
            let (outcome, answer) = tokio::join!(door.open(opened), client);
            let refused = outcome.unwrap_err();
            assert_eq!((refused.why, refused.address), (why, from));
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_by_its_first_bytes() {
    let unknown = Refusal::ProtocolUnknown;
    let cases: [(Door, &[u8], Refusal); 6] = [
        (ws(), b"\x10\x0c\0\x04MQTT", Refusal::MqttOnWebSocket),
        (ws(), b"\x16\x03\x01", Refusal::TlsOnPlain),
        (auto(), b"\x16\x03\x01", Refusal::TlsOnPlain),
        (ws(), b"\0", unknown),
        (auto(), b"PROXY UNKNOWN\r\n", Refusal::ProxyUnexpected),
        (auto(), b"hello", unknown),
    ];
    for (door, bytes, why) in cases {
        let (_client, outcome) = send(&door, bytes, 1).await;
        assert_eq!(outcome.unwrap_err().why, why);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_in_its_request_is_no_failure() {
    let (client, opened) = connect().await;
    let door = ws();
    let leave = async {
        let mut client = client;
        client.write_all(&request("")[..50]).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(door.open(opened), leave);
    assert_eq!(outcome.unwrap_err().why, Refusal::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_ends_at_the_deadline() {
    let (mut client, opened) = connect().await;
    client.write_all(&request("")[..50]).await.unwrap();
    let mut door = ws();
    door.deadline = Duration::from_secs(5);
    let started = tokio::time::Instant::now();
    assert_eq!(door.open(opened).await.unwrap_err().why, Refusal::HandshakeTimeout);
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_behind_a_proxy_is_known_by_its_address() {
    let origins = AllowedOrigins::These(vec!["https://page.example".parse().unwrap()]);
    let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let rules = UpgradeRules { origins, trusted_proxies, ..UpgradeRules::default() };
    let bytes = request("Origin: https://page.example\r\nX-Forwarded-For: 192.0.2.7\r\n");
    let (client, opened) = send(&door(Protocol::Auto(rules)), &bytes, 1000).await;
    let websocket = WebSocketFacts {
        path: "/mqtt".into(),
        origin: Some("https://page.example".into()),
        subprotocol: Some("mqtt".into()),
    };
    let proxy = ProxyFacts { address: address(&client), ..ProxyFacts::default() };
    let details = Details { websocket: Some(websocket), proxy: Some(proxy), ..Details::default() };
    let expected = Peer {
        address: "192.0.2.7:0".parse().ok(),
        transport: Transport::Ws,
        details: Some(Box::new(details)),
    };
    assert_eq!(opened.unwrap().peer, expected);
}

// [MQTT-6.0.0-1] [MQTT-6.0.0-1 @3.1.1]
#[tokio::test]
async fn a_broken_rule_is_an_error_once_and_the_peer_reads_why() {
    let unmasked = b"\x82\x01a".to_vec();
    let cases = [
        (frame(0x81, b"text"), FrameViolation::Text, 1003_u16),
        (unmasked, FrameViolation::Unmasked, 1002),
        (frame(0x89, &[0; 126]), FrameViolation::ControlTooLong, 1002),
    ];
    for (bytes, broken, code) in cases {
        let (mut client, mut stream) = open().await;
        client.write_all(&[frame(0x82, b"ab"), bytes, vec![0x82; 5000]].concat()).await.unwrap();
        assert_eq!(read(&mut stream, 2).await, b"ab");
        let error = stream.read(&mut [0; 100]).await.unwrap_err();
        assert_eq!((error.kind(), violation(&error)), (ErrorKind::InvalidData, Some(broken)));
        std::future::poll_fn(|cx| stream.poll_shutdown(cx)).await.unwrap();
        let answer = [&[0x88, 2], &code.to_be_bytes()[..]].concat();
        assert_eq!(rest(&mut client).await, answer);
        // What it sent besides is read and thrown away until it closes.
        drop(client);
        assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_close_frame_is_the_end_and_is_answered() {
    let (mut client, mut stream) = open().await;
    client.write_all(&[frame(0x82, b"ab"), frame(0x88, b"\x03\xE9")].concat()).await.unwrap();
    assert_eq!(read(&mut stream, 2).await, b"ab");
    assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 0);
    assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 0);
    drop(stream);
    assert_eq!(rest(&mut client).await, b"\x88\x02\x03\xE9");
}

#[tokio::test]
async fn our_side_closes_with_a_close_frame_that_says_why() {
    let cases = [
        (None, 1000_u16),
        (Some(Farewell::Done), 1000),
        (Some(Farewell::GoingAway), 1001),
        (Some(Farewell::ProtocolError), 1002),
        (Some(Farewell::Refused), 1008),
        (Some(Farewell::TooBig), 1009),
        (Some(Farewell::Failed), 1011),
    ];
    for (farewell, code) in cases {
        let (mut client, mut stream) = open().await;
        write(&mut stream, &[b"bye"]).await;
        if let Some(farewell) = farewell {
            stream.say(farewell);
        }
        std::future::poll_fn(|cx| stream.poll_shutdown(cx)).await.unwrap();
        let expected = [b"\x82\x03bye\x88\x02", &code.to_be_bytes()[..]].concat();
        assert_eq!(rest(&mut client).await, expected);
        client.write_all(&frame(0x88, &code.to_be_bytes())).await.unwrap();
        assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_half_closed_socket_is_the_end_of_reading_only() {
    let (mut client, mut stream) = open().await;
    client.write_all(&frame(0x82, b"ab")).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read(&mut stream, 2).await, b"ab");
    assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 0);
    write(&mut stream, &[b"still"]).await;
    drop(stream);
    assert_eq!(rest(&mut client).await, b"\x82\x05still");
}

#[tokio::test]
async fn pings_without_end_do_not_keep_a_thread() {
    let (mut client, mut stream) = open().await;
    client.write_all(&frame(0x89, b"?").repeat(10_000)).await.unwrap();
    let mut pong = Vec::new();
    while pong.len() < 3 {
        // Each call has an end, although more has arrived.
        assert!(poll_read_once(&mut stream).await.is_pending());
        tokio::task::yield_now().await;
        let _ = client.try_read_buf(&mut pong);
    }
    assert!(pong.starts_with(b"\x8A\x01?"));
}

#[tokio::test]
async fn what_arrived_can_be_asked_for_at_once() {
    let (mut client, mut stream) = open().await;
    let mut scratch = [0; 100];
    assert_eq!(stream.read_now(&mut scratch).unwrap_err().kind(), ErrorKind::WouldBlock);
    client.write_all(&[frame(0x8A, b"."), frame(0x82, b"ab")].concat()).await.unwrap();
    let count = loop {
        match stream.read_now(&mut scratch) {
            Ok(count) => break count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(&scratch[..count], b"ab");
}

#[tokio::test]
async fn much_goes_both_ways_while_the_socket_is_full() {
    const COUNT: usize = 3_000_000;
    let (client, mut stream) = open().await;
    let bytes: Vec<u8> = (0..COUNT).map(|at| (at % 251) as u8).collect();
    let (mut from, mut to) = client.into_split();
    let sent = bytes.clone();
    let sending = tokio::spawn(async move {
        for (index, piece) in sent.chunks(5_003).enumerate() {
            to.write_all(&frame(if index == 0 { 0x02 } else { 0x00 }, piece)).await.unwrap();
            if index % 50 == 0 {
                to.write_all(&frame(0x89, b"ping")).await.unwrap();
            }
        }
        to
    });
    let receiving = tokio::spawn(async move {
        let (mut plain, mut pongs) = (Vec::new(), 0);
        while plain.len() < COUNT {
            let (first, len) = (from.read_u8().await.unwrap(), from.read_u8().await.unwrap());
            let len = match len {
                126 => from.read_u16().await.unwrap().into(),
                127 => from.read_u64().await.unwrap() as usize,
                len => usize::from(len),
            };
            let mut payload = vec![0; len];
            from.read_exact(&mut payload).await.unwrap();
            match first {
                0x82 => plain.extend(payload),
                0x8A => {
                    assert_eq!(payload, b"ping");
                    pongs += 1;
                }
                first => panic!("{first}"),
            }
        }
        (plain, pongs)
    });
    assert!(read(&mut stream, COUNT).await == bytes);
    let pieces: Vec<&[u8]> = bytes.chunks(40_000).collect();
    write(&mut stream, &pieces).await;
    let (plain, pongs) = receiving.await.unwrap();
    assert!(plain == bytes && pongs > 0);
    drop(sending.await.unwrap());
}

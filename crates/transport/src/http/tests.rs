//! Requests of real clients, and of nobody's.

use std::net::SocketAddr;

use super::*;
use crate::peer::WebSocketFacts;
use crate::refusal::Refusal;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request as clients send it, with some of its lines replaced: `Name: value` for its field's line, `-Name` to leave it
/// out, anything with another name beside the others. The first line is replaced by one that has no colon before its path.
fn request(changes: &[&str]) -> Vec<u8> {
    let key = format!("Sec-WebSocket-Key: {KEY}");
    let mut lines = vec![
        "GET /mqtt HTTP/1.1",
        "Host: broker.example:8080",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        &key,
        "Sec-WebSocket-Protocol: mqtt",
    ];
    for change in changes {
        if change.ends_with("HTTP/1.1")
            || change.ends_with("HTTP/1.0")
            || change.ends_with("HTTP/2.0")
        {
            lines[0] = change;
        } else if let Some(name) = change.strip_prefix('-') {
            lines.retain(|line| !line.starts_with(name));
        } else {
            lines.push(change);
        }
    }
    (lines.join("\r\n") + "\r\n\r\n").into_bytes()
}

fn facts(path: &str, origin: Option<&str>, subprotocol: Option<&str>) -> WebSocketFacts {
    WebSocketFacts {
        path: path.into(),
        origin: origin.map(Into::into),
        subprotocol: subprotocol.map(Into::into),
    }
}

/// The same whole, with frames behind it, and cut anywhere.
#[track_caller]
fn judge(
    request: &[u8],
    rules: &UpgradeRules,
    from: Option<&str>,
) -> Result<(WebSocketFacts, Option<SocketAddr>), HttpRefusal> {
    let from = from.map(|from| from.parse().unwrap());
    let whole = Handshake::default().receive(request, rules, from);
    let said = |outcome: Result<Option<Upgrade>, HttpRefusal>| {
        let upgrade = outcome?.expect("the head is complete");
        Ok((upgrade.facts, upgrade.client))
    };
    let more = [request, b"\x82\x80\0\0\0\0"].concat();
    let outcome = Handshake::default().receive(&more, rules, from);
    assert_eq!(outcome, whole);
    if let Ok(Some(upgrade)) = &whole {
        assert_eq!(upgrade.consumed, request.len());
    }
    for cut in 1..request.len() {
        let mut handshake = Handshake::default();
        let (one, two) = request.split_at(cut);
        let cut = handshake.receive(one, rules, from).and_then(|none| {
            assert_eq!(none, None);
            handshake.receive(two, rules, from)
        });
        let whole = whole
            .clone()
            .map(|upgrade| upgrade.map(|upgrade| Upgrade { consumed: two.len(), ..upgrade }));
        assert_eq!(cut, whole);
    }
    let mut handshake = Handshake::default();
    let mut bytes = request.iter();
    let bytewise = bytes.find_map(|byte| handshake.receive(&[*byte], rules, from).transpose());
    assert_eq!(bytes.next(), None);
    assert_eq!(bytewise.transpose().and_then(|last| said(Ok(last))), said(whole.clone()));
    said(whole)
}

// [MQTT-6.0.0-3] [MQTT-6.0.0-3 @3.1.1] [MQTT-6.0.0-4] [MQTT-6.0.0-4 @3.1.1]
#[test]
fn the_answer_names_the_subprotocol_and_the_proof() {
    let cases: [(&[&str], &str); 6] = [
        (&[], "mqtt"),
        (&["-Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqttv3.1"], "mqttv3.1"),
        (&["-Sec-WebSocket-Protocol", "sec-websocket-protocol:mqttv3.1,mqtt"], "mqtt"),
        (&["-Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: chat, mqtt"], "mqtt"),
        (&["Sec-WebSocket-Protocol: mqttv3.1"], "mqtt"),
        (
            &[
                "-Sec-WebSocket-Protocol",
                "Sec-WebSocket-Protocol: chat",
                "Sec-WebSocket-Protocol: mqttv3.1",
            ],
            "mqttv3.1",
        ),
    ];
    for (changes, subprotocol) in cases {
        let request = request(changes);
        let upgrade = Handshake::default().receive(&request, &UpgradeRules::default(), None);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
             Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        );
        let expected = Upgrade {
            consumed: request.len(),
            answer: answer.into_bytes(),
            facts: facts("/mqtt", None, Some(subprotocol)),
            client: None,
        };
        assert_eq!(upgrade, Ok(Some(expected)), "{changes:?}");
    }
}

#[test]
fn requests_of_all_kinds_of_clients_are_taken() {
    let plain = Ok((facts("/mqtt", None, Some("mqtt")), None));
    let cases: [&[&str]; 7] = [
        &[],
        &["-Connection", "Connection: keep-alive, Upgrade", "-Upgrade", "Upgrade: WebSocket"],
        &["-Connection", "connection:keep-alive", "connection:upgrade"],
        &["GET /mqtt?token=x HTTP/1.1"],
        &["GET ws://broker.example:8080/mqtt HTTP/1.1"],
        &["GET http://broker.example/mqtt?x=://y HTTP/1.1"],
        &[
            "Content-Length: 0",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        ],
    ];
    for changes in cases {
        assert_eq!(judge(&request(changes), &UpgradeRules::default(), None), plain, "{changes:?}");
    }
    // Lines that end with LF alone.
    let request: Vec<u8> = request(&[]).into_iter().filter(|byte| *byte != b'\r').collect();
    assert_eq!(judge(&request, &UpgradeRules::default(), None), plain);
}

#[test]
fn what_is_no_request_for_a_websocket_is_told_why() {
    let cases: [(&[&str], HttpRefusal); 25] = [
        (&["POST /mqtt HTTP/1.1"], HttpRefusal::Method),
        (&["HEAD / HTTP/1.1"], HttpRefusal::Method),
        (&["GET /mqtt HTTP/2.0"], HttpRefusal::Malformed),
        (&["GET  /mqtt HTTP/1.1"], HttpRefusal::Malformed),
        (&["Bad Name: x"], HttpRefusal::Malformed),
        (&["Content-Length: 5"], HttpRefusal::Body),
        (&["Content-Length: 0", "Content-Length: 5"], HttpRefusal::Body),
        (&["Transfer-Encoding: chunked"], HttpRefusal::Body),
        (&["-Upgrade"], HttpRefusal::NotUpgrade),
        (&["-Upgrade", "Upgrade: h2c"], HttpRefusal::NotUpgrade),
        (&["-Connection"], HttpRefusal::NotUpgrade),
        (&["-Connection", "Connection: close"], HttpRefusal::NotUpgrade),
        (&["-Connection", "GET / HTTP/1.0"], HttpRefusal::NotUpgrade),
        (&["GET /mqtt HTTP/1.0"], HttpRefusal::HttpVersion),
        (&["-Host"], HttpRefusal::Host),
        (&["Host: another"], HttpRefusal::Host),
        (&["GET / HTTP/1.1"], HttpRefusal::Path),
        (&["GET /mqtt/ HTTP/1.1"], HttpRefusal::Path),
        (&["GET /MQTT HTTP/1.1"], HttpRefusal::Path),
        (&["GET http://mqtt HTTP/1.1"], HttpRefusal::Path),
        (&["-Sec-WebSocket-Version"], HttpRefusal::Version),
        (&["-Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"], HttpRefusal::Version),
        (&["Sec-WebSocket-Version: 13"], HttpRefusal::Version),
        (&["-Sec-WebSocket-Key"], HttpRefusal::Key),
        (&["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="], HttpRefusal::Key),
    ];
    for (changes, expected) in cases {
        let judged = judge(&request(changes), &UpgradeRules::default(), None);
        assert_eq!(judged, Err(expected), "{changes:?}");
    }
    for key in [
        "",
        "AAAA",
        "AAAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAA\u{e9}==",
    ] {
        let key = format!("Sec-WebSocket-Key: {key}");
        let request = request(&["-Sec-WebSocket-Key", &key]);
        assert_eq!(judge(&request, &UpgradeRules::default(), None), Err(HttpRefusal::Key), "{key}");
    }
}

// [MQTT-6.0.0-3] [MQTT-6.0.0-3 @3.1.1]
#[test]
fn a_client_without_the_subprotocol_is_refused_unless_it_names_none_and_may() {
    let none = request(&["-Sec-WebSocket-Protocol"]);
    let other = request(&["-Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: chat, MQTT"]);
    let strict = UpgradeRules::default();
    let mild = UpgradeRules { without_subprotocol: true, ..UpgradeRules::default() };
    assert_eq!(judge(&none, &strict, None), Err(HttpRefusal::Subprotocol));
    assert_eq!(judge(&other, &strict, None), Err(HttpRefusal::Subprotocol));
    assert_eq!(judge(&other, &mild, None), Err(HttpRefusal::Subprotocol));
    assert_eq!(judge(&none, &mild, None), Ok((facts("/mqtt", None, None), None)));
    let upgrade = Handshake::default().receive(&none, &mild, None).unwrap().unwrap();
    assert!(!String::from_utf8(upgrade.answer).unwrap().contains("Protocol:"));
}

#[test]
fn pages_of_foreign_origins_are_kept_out() {
    let app = request(&["Origin: https://app.example"]);
    let evil = request(&["Origin: https://evil.example"]);
    let both = request(&["Origin: https://app.example", "Origin: https://evil.example"]);
    let none = UpgradeRules::default();
    let these = AllowedOrigins::These(vec!["https://app.example".parse().unwrap()]);
    let these = UpgradeRules { origins: these, ..UpgradeRules::default() };
    let any = UpgradeRules { origins: AllowedOrigins::Any, ..UpgradeRules::default() };
    let taken = |origin| Ok((facts("/mqtt", Some(origin), Some("mqtt")), None));
    assert_eq!(judge(&app, &none, None), Err(HttpRefusal::Origin));
    assert_eq!(judge(&app, &these, None), taken("https://app.example"));
    assert_eq!(judge(&evil, &these, None), Err(HttpRefusal::Origin));
    assert_eq!(judge(&both, &these, None), Err(HttpRefusal::Origin));
    assert_eq!(judge(&evil, &any, None), taken("https://evil.example"));
}

#[test]
fn programs_that_name_this_server_as_their_origin_are_no_pages() {
    let cases = [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", true),
        ("127.0.0.1:8080", "https://127.0.0.1:8080", true),
        ("192.0.2.7", "http://192.0.2.7", true),
        ("[::1]:8080", "http://[::1]:8080", true),
        ("[::1]", "http://[::1]", true),
        ("LocalHost:8080", "http://localhost:8080", true),
        ("localhost", "http://localhost", true),
        ("127.0.0.1:8080", "http://127.0.0.1:8081", false),
        ("127.0.0.1:8080", "http://127.0.0.1", false),
        ("127.0.0.1:8080", "http://localhost:8080", false),
        ("127.0.0.1:8080", "null", false),
        ("127.0.0.1:8080", "127.0.0.1:8080", false),
        // A name that its owner points here, and a page from there.
        ("page.example:8080", "http://page.example:8080", false),
        ("localhost.page.example", "http://localhost.page.example", false),
        ("127.0.0.1.page.example", "http://127.0.0.1.page.example", false),
    ];
    for (host, origin, is_taken) in cases {
        let request = request(&["-Host", &format!("Host: {host}"), &format!("Origin: {origin}")]);
        let judged = judge(&request, &UpgradeRules::default(), None);
        let taken = Ok((facts("/mqtt", Some(origin), Some("mqtt")), None));
        assert_eq!(
            judged,
            if is_taken { taken } else { Err(HttpRefusal::Origin) },
            "{host} {origin}"
        );
    }
}

#[test]
fn trusted_proxies_name_the_client() {
    let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let rules = UpgradeRules { trusted_proxies: trusted.into(), ..UpgradeRules::default() };
    let cases: [(&str, &[&str], Option<&str>); 16] = [
        ("10.0.0.1", &["X-Forwarded-For: 192.0.2.7"], Some("192.0.2.7:0")),
        ("::ffff:10.0.0.1", &["x-forwarded-for:192.0.2.7"], Some("192.0.2.7:0")),
        ("192.0.2.1", &["X-Forwarded-For: 192.0.2.7", "X-Real-IP: 192.0.2.7"], None),
        ("10.0.0.1", &[], None),
        ("10.0.0.1", &["X-Forwarded-For: 192.0.2.9, 192.0.2.7"], Some("192.0.2.7:0")),
        (
            "10.0.0.1",
            &["X-Forwarded-For: 192.0.2.9, 192.0.2.7 ,10.1.1.1,fd00::1"],
            Some("192.0.2.7:0"),
        ),
        (
            "10.0.0.1",
            &[
                "X-Forwarded-For: 192.0.2.9",
                "X-Forwarded-For: 192.0.2.7",
                "X-Forwarded-For: 10.1.1.1",
            ],
            Some("192.0.2.7:0"),
        ),
        ("10.0.0.1", &["X-Forwarded-For: 10.0.0.3, 10.0.0.2"], Some("10.0.0.3:0")),
        ("10.0.0.1", &["X-Forwarded-For: 192.0.2.7:5000"], Some("192.0.2.7:5000")),
        ("10.0.0.1", &["X-Forwarded-For: [2001:db8::7]:5000"], Some("[2001:db8::7]:5000")),
        ("fd00::2", &["X-Forwarded-For: [2001:db8::7]"], Some("[2001:db8::7]:0")),
        ("10.0.0.1", &["X-Forwarded-For: unknown"], None),
        ("10.0.0.1", &["X-Forwarded-For: 192.0.2.9, unknown, 10.0.0.2"], Some("10.0.0.2:0")),
        ("10.0.0.1", &["X-Forwarded-For: ", "X-Real-IP: 192.0.2.7"], None),
        ("10.0.0.1", &["X-Real-IP: 192.0.2.7"], Some("192.0.2.7:0")),
        ("10.0.0.1", &["X-Real-IP: 192.0.2.7", "X-Forwarded-For: 192.0.2.8"], Some("192.0.2.8:0")),
    ];
    for (from, changes, expected) in cases {
        let (_, client) = judge(&request(changes), &rules, Some(from)).unwrap();
        assert_eq!(client, expected.map(|address| address.parse().unwrap()), "{from} {changes:?}");
    }
    let (_, client) = judge(&request(&["X-Real-IP: 192.0.2.7"]), &rules, None).unwrap();
    assert_eq!(client, None);
}

#[test]
fn a_head_above_the_limit_is_not_waited_for() {
    let rules = UpgradeRules { head_bytes_max: 300, ..UpgradeRules::default() };
    let fits = request(&[&format!("X: {}", "x".repeat(300 - request(&["X: "]).len()))]);
    assert_eq!(fits.len(), 300);
    assert!(judge(&fits, &rules, None).is_ok());
    let larger = request(&[&format!("X: {}", "x".repeat(100_000))]);
    let mut handshake = Handshake::default();
    assert_eq!(handshake.receive(&larger[..299], &rules, None), Ok(None));
    assert_eq!(handshake.receive(&larger[299..], &rules, None), Err(HttpRefusal::TooLarge));
    assert_eq!(handshake.head.len(), 300);
    assert_eq!(Handshake::default().receive(&larger, &rules, None), Err(HttpRefusal::TooLarge));

    let many: Vec<String> = (0..HEADERS_MAX - 6).map(|number| format!("X-{number}: x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(judge(&request(&many), &UpgradeRules::default(), None).is_ok());
    let more = [&many[..], &["Y: y"]].concat();
    let judged = judge(&request(&more), &UpgradeRules::default(), None);
    assert_eq!(judged, Err(HttpRefusal::TooLarge));
}

#[test]
fn refusals_are_answers_of_http() {
    let answers = [
        (HttpRefusal::TooLarge, "431 ", Refusal::HttpTooLarge),
        (HttpRefusal::Malformed, "400 ", Refusal::HttpInvalid),
        (HttpRefusal::Body, "400 ", Refusal::HttpInvalid),
        (HttpRefusal::Method, "405 ", Refusal::HttpNotUpgrade),
        (HttpRefusal::NotUpgrade, "426 ", Refusal::HttpNotUpgrade),
        (HttpRefusal::Path, "404 ", Refusal::WebSocketPath),
        (HttpRefusal::HttpVersion, "426 ", Refusal::WebSocketInvalid),
        (HttpRefusal::Host, "400 ", Refusal::WebSocketInvalid),
        (HttpRefusal::Version, "426 ", Refusal::WebSocketInvalid),
        (HttpRefusal::Key, "400 ", Refusal::WebSocketInvalid),
        (HttpRefusal::Origin, "403 ", Refusal::WebSocketOrigin),
        (HttpRefusal::Subprotocol, "400 ", Refusal::WebSocketSubprotocol),
    ];
    for (refusal, status, counted) in answers {
        let answer = String::from_utf8(refusal.answer()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
        assert_eq!(body.matches('\n').count(), 1);
        assert_eq!(refusal.refusal(), counted);
    }
    assert_eq!(
        String::from_utf8(HttpRefusal::Version.answer()).unwrap(),
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Connection: Upgrade, close\r\nContent-Type: text/plain\r\nContent-Length: 45\r\n\r\n\
         Only version 13 of WebSocket is spoken here.\n"
    );
    let method = String::from_utf8(HttpRefusal::Method.answer()).unwrap();
    assert!(method.contains("\r\nAllow: GET\r\nConnection: close\r\n"), "{method}");
}

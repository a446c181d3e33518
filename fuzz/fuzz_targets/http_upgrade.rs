//! Requests for a WebSocket: the same however they are cut, and accepted by exactly the rules that a plain reading of their
//! lines finds kept.
//!
//! The first byte chooses the rules, the second is the length of the pieces, the rest is the request.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use dunlin_transport::http::{
    AllowedOrigins, HEADERS_MAX, Handshake, HttpRefusal, Upgrade, UpgradeRules,
};
use libfuzzer_sys::fuzz_target;

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fuzz_target!(|input: &[u8]| {
    let [choice, len, request @ ..] = input else { return };
    let origins = match choice & 3 {
        0 => AllowedOrigins::none(),
        1 => AllowedOrigins::These(vec!["https://a.example".parse().expect("an origin")]),
        _ => AllowedOrigins::Any,
    };
    let rules = UpgradeRules {
        origins,
        without_subprotocol: choice & 4 != 0,
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a range")],
        head_bytes_max: if choice & 8 == 0 { 8192 } else { 200 },
        ..UpgradeRules::default()
    };
    let whole = take(&rules, [request]);
    assert_eq!(whole, take(&rules, request.chunks(usize::from(*len).max(1))));
    assert_eq!(whole, take(&rules, request.chunks(1)));
    match &whole {
        Some(Ok((end, upgrade))) => {
            let head = &request[..*end];
            assert!(end <= &rules.head_bytes_max);
            assert!(kept(head, &rules).is_none_or(|kept| kept), "accepted");
            let answer = std::str::from_utf8(&upgrade.answer).expect("an answer is text");
            assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"));
            assert_eq!(answer.matches("\r\n\r\n").count(), 1);
        }
        Some(Err(refusal)) => {
            let answer = refusal.answer();
            assert!(answer.starts_with(b"HTTP/1.1 4"));
            let end = request.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            if let Some(head) = end.and_then(|end| request.get(..end)) {
                let is_kept =
                    head.len() <= rules.head_bytes_max && kept(head, &rules) == Some(true);
                assert!(!is_kept, "refused: {refusal}");
            }
        }
        None => assert!(request.len() < rules.head_bytes_max),
    }
});

type Outcome = Option<Result<(usize, Upgrade), HttpRefusal>>;

/// Where the head ends and what comes of it, if anything does.
fn take<'p>(rules: &UpgradeRules, pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let (mut handshake, mut before) = (Handshake::default(), 0);
    for piece in pieces {
        match handshake.receive(piece, rules, Some(FROM)) {
            Ok(Some(upgrade)) => {
                let end = before + upgrade.consumed;
                return Some(Ok((end, Upgrade { consumed: 0, ..upgrade })));
            }
            Ok(None) => before += piece.len(),
            Err(refusal) => return Some(Err(refusal)),
        }
    }
    None
}

/// Whether a head keeps the rules, read line by line; `None` if it is written in a way that this reading does not know.
fn kept(head: &[u8], rules: &UpgradeRules) -> Option<bool> {
    let head = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !target.starts_with('/') || target.contains("://") {
        return None;
    }
    if !target.bytes().chain(method.bytes()).all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut fields: Vec<(String, &str)> = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        let is_name =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let is_value = value.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if !is_name || !is_value || value.trim() != value {
            return None;
        }
        fields.push((name.to_ascii_lowercase(), value));
    }
    let all = |name: &str| {
        fields.iter().filter(|(one, _)| one == name).map(|(_, value)| *value).collect::<Vec<_>>()
    };
    let list = |name: &str| -> Vec<String> {
        all(name).join(",").split(',').map(|one| one.trim().to_owned()).collect()
    };
    let has =
        |name: &str, wanted: &str| list(name).iter().any(|one| one.to_ascii_lowercase() == wanted);
    let key = all("sec-websocket-key");
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let is_key = key.len() == 1
        && key[0].len() == 24
        && key[0].ends_with("==")
        // The last digit has four bits that no byte takes.
        && matches!(key[0].as_bytes()[21], b'A' | b'Q' | b'g' | b'w')
        && key[0].bytes().take(22).all(alphabet);
    let offered = list("sec-websocket-protocol");
    let is_offered = offered.iter().any(|one| one == "mqtt" || one == "mqttv3.1");
    let is_none = all("sec-websocket-protocol").is_empty();
    Some(
        method == "GET"
            && version == "HTTP/1.1"
            && target.split('?').next() == Some("/mqtt")
            && fields.len() <= HEADERS_MAX
            && has("upgrade", "websocket")
            && has("connection", "upgrade")
            && all("host").len() == 1
            && all("sec-websocket-version") == ["13"]
            && is_key
            && all("transfer-encoding").is_empty()
            && all("content-length").iter().all(|length| *length == "0")
            && all("origin").iter().all(|origin| {
                let origin = origin.to_ascii_lowercase();
                let host = all("host").concat().to_ascii_lowercase();
                is_allowed(&origin, rules) || is_machine(&host) && is_page(&origin, &host)
            })
            && (is_offered || is_none && rules.without_subprotocol),
    )
}

fn is_allowed(origin: &str, rules: &UpgradeRules) -> bool {
    match &rules.origins {
        AllowedOrigins::Any => true,
        AllowedOrigins::These(origins) => !origins.is_empty() && origin == "https://a.example",
    }
}

fn is_page(origin: &str, host: &str) -> bool {
    origin == format!("http://{host}") || origin == format!("https://{host}")
}

/// Whether a host is an address or localhost, with a port or without.
fn is_machine(host: &str) -> bool {
    let with_port = if host.ends_with(']') || !host.contains(':') {
        format!("{host}:1")
    } else {
        host.to_owned()
    };
    with_port.parse::<std::net::SocketAddr>().is_ok() || host.split(':').next() == Some("localhost")
}

//! A service that is asked who a client is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_auth::Secret;
use dunlin_auth::http::{
    CalloutConfig, CalloutFailure, HttpAuthenticator, OnFailure, Url, UrlError,
};
use dunlin_broker::{AuthRequest, Authenticator, Decision, Identity, Peer, ReasonCode, Version};
use serde_json::{Value, json};

use crate::log::Log;
use crate::service::{Reply, Service};

fn request(name: Option<&str>, password: Option<&[u8]>) -> AuthRequest {
    AuthRequest {
        client_id: "c".to_owned(),
        version: Version::V3_1_1,
        address: Some("192.0.2.7:40000".parse().unwrap()),
        listener: "outside".to_owned(),
        peer: Peer::default(),
        user_name: name.map(str::to_owned),
        password: password.map(Bytes::copy_from_slice),
        method: None,
        data: None,
        reauthentication: false,
        state: None,
    }
}

fn alice() -> AuthRequest {
    request(Some("alice"), Some(b"secret"))
}

fn config(service: &Service) -> CalloutConfig {
    let mut config = CalloutConfig::new(Url::parse(&service.url("/login?x=1")).unwrap());
    config.http.ca_file = Some(service.certificate());
    config
}

fn step(config: CalloutConfig) -> Arc<HttpAuthenticator> {
    Arc::new(HttpAuthenticator::new(config).unwrap())
}

/// What became of a request, in words; the end of an identity is left out.
async fn outcome(step: &HttpAuthenticator, request: AuthRequest) -> String {
    match step.authenticate(request).await.decision {
        Decision::Accept { mut identity, data } => {
            assert_eq!(data, None);
            identity.expires = None;
            if identity == Identity::anonymous() {
                "accept nobody".to_owned()
            } else {
                assert_eq!(identity, Identity::named(identity.user.clone()));
                format!("accept {}", identity.user)
            }
        }
        Decision::Refuse(reason) => format!("refuse {:#x}", reason as u8),
        Decision::PassOn => "pass on".to_owned(),
        Decision::Continue { .. } => "continue".to_owned(),
    }
}

#[tokio::test]
async fn the_service_is_told_who_wants_in_and_says_who_that_is() {
    let accepted = json!({"result": "accept", "user": "alice of oslo", "tenant": "t", "roles": ["a", "b"],
                          "attributes": {"site": "oslo"}, "expires_in": 60});
    for service in [
        Service::start(Reply::json(&accepted)).await,
        Service::secure(Reply::json(&accepted)).await,
    ] {
        let mut config = config(&service);
        config.http.headers =
            vec![("Authorization".to_owned(), Secret::new("Bearer of-the-broker"))];
        let step = step(config);
        let before = Instant::now();
        let decision = step.authenticate(alice()).await.decision;
        let Decision::Accept { identity, .. } = decision else { panic!("{decision:?}") };
        let lasts = identity.expires.expect("an end").duration_since(before);
        assert!(lasts >= Duration::from_secs(60) && lasts < Duration::from_secs(70), "{lasts:?}");
        let mut expected = Identity::named("alice of oslo");
        expected.tenant = Some("t".to_owned());
        expected.roles = vec!["a".to_owned(), "b".to_owned()];
        expected.attributes = vec![("claims.site".to_owned(), "oslo".to_owned())];
        expected.expires = identity.expires;
        assert_eq!(identity, expected);

        let (head, body) = service.questions().remove(0);
        assert!(head.starts_with("post /login?x=1 http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
        assert!(head.contains("\r\nauthorization: bearer of-the-broker"), "{head}");
        let expected = json!({"client_id": "c", "user_name": "alice", "password": "secret",
                              "address": "192.0.2.7", "listener": "outside", "version": "3.1.1"});
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_no_text_is_asked_as_such() {
    let service = Service::start(Reply::json(&json!({"result": "pass_on"}))).await;
    let step = step(config(&service));
    let mut local = request(None, Some(&[0xFF, 0]));
    local.address = None;
    assert_eq!(outcome(&step, local).await, "pass on");
    let (_, body) = service.questions().remove(0);
    let expected = json!({"client_id": "c", "user_name": null, "password_base64": "/wA=",
                          "address": null, "listener": "outside", "version": "3.1.1"});
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);

    // An AUTH exchange is for others, and is not asked about.
    let by_method = AuthRequest { method: Some("JWT".to_owned()), ..alice() };
    assert_eq!(outcome(&step, by_method).await, "pass on");
    assert_eq!(service.questions().len(), 1);
}

#[tokio::test]
async fn the_client_s_own_name_holds_where_the_service_gives_none() {
    let service = Service::start(Reply::json(&json!({"result": "accept"}))).await;
    let step = step(config(&service));
    assert_eq!(outcome(&step, alice()).await, "accept alice");
    // Nobody comes in as the anonymous user by an empty name.
    assert_eq!(outcome(&step, request(Some(""), None)).await, "refuse 0x88");
    assert_eq!(outcome(&step, request(None, None)).await, "refuse 0x88");
    assert_eq!(step.failed(CalloutFailure::Malformed), 2);
}

#[tokio::test]
async fn every_failure_is_closed_unless_the_step_says_otherwise() {
    let service = Service::start(Reply::Silence).await;
    let accepted = r#"{"result": "accept"}"#;
    let endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n{}", " ".repeat(65_537));
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned();
    let chunks = [
        &endless[..],
        &b"10000\r\n"[..],
        " ".repeat(0x10000).as_bytes(),
        b"\r\n8000\r\n",
        " ".repeat(0x8000).as_bytes(),
    ]
    .concat();
    let cases = [
        (Reply::Silence, CalloutFailure::Timeout),
        (Reply::Says(500, accepted.to_owned()), CalloutFailure::Status),
        (Reply::Says(204, String::new()), CalloutFailure::Status),
        (Reply::Says(302, accepted.to_owned()), CalloutFailure::Status),
        (Reply::Says(401, accepted.to_owned()), CalloutFailure::Status),
        (Reply::Says(200, String::new()), CalloutFailure::Malformed),
        (Reply::Says(200, "null".to_owned()), CalloutFailure::Malformed),
        (Reply::Says(200, "[".repeat(60_000)), CalloutFailure::Malformed),
        (Reply::Says(200, format!("{accepted}{accepted}")), CalloutFailure::Malformed),
        (
            Reply::Says(200, r#"{"result": "accept", "is_superuser": true}"#.to_owned()),
            CalloutFailure::Malformed,
        ),
        (Reply::Raw(huge.into_bytes()), CalloutFailure::TooLong),
        (Reply::Raw(chunks), CalloutFailure::TooLong),
        (Reply::Raw(head.into_bytes()), CalloutFailure::Broken),
        (Reply::Raw(cut.into_bytes()), CalloutFailure::Broken),
        (Reply::Raw(b"no HTTP at all\r\n\r\n".to_vec()), CalloutFailure::Broken),
        (Reply::Raw(Vec::new()), CalloutFailure::Broken),
        (Reply::Endless(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()), CalloutFailure::Timeout),
        (Reply::Endless(b"x".to_vec()), CalloutFailure::Broken),
    ];
    for (reply, failure) in cases {
        service.says(reply.clone());
        let expected = [
            (OnFailure::Refuse, "refuse 0x88"),
            (OnFailure::PassOn, "pass on"),
            (OnFailure::Accept, "accept alice"),
        ];
        for (on_failure, expected) in expected {
            let mut config = config(&service);
            config.on_failure = on_failure;
            config.http.timeout = Duration::from_millis(300);
            if failure != CalloutFailure::Timeout {
                config.http.timeout = Duration::from_secs(20);
            }
            let step = step(config);
            let words = format!("{:.100}", format!("{reply:?}"));
            assert_eq!(outcome(&step, alice()).await, expected, "{words}");
            let counted = CalloutFailure::ALL.map(|one| (one.name(), step.failed(one)));
            let only = CalloutFailure::ALL.map(|one| (one.name(), u64::from(one == failure)));
            assert_eq!(counted, only, "{words}");
        }
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_or_not_who_it_should_be_is_a_failure() {
    let service = Service::secure(Reply::json(&json!({"result": "accept"}))).await;
    let other = Service::secure(Reply::Silence).await;
    // Another's certificate vouches for nothing.
    let mut config = config(&service);
    config.http.ca_file = Some(other.certificate());
    let step = step(config.clone());
    assert_eq!(outcome(&step, alice()).await, "refuse 0x88");
    assert_eq!(step.failed(CalloutFailure::Connect), 1);
    assert_eq!(service.questions(), []);

    drop(service);
    let gone = self::step(config);
    assert_eq!(outcome(&gone, alice()).await, "refuse 0x88");
    assert_eq!(gone.failed(CalloutFailure::Connect), 1);
}

#[tokio::test]
async fn an_unproven_client_without_a_name_is_nobody_when_failures_let_in() {
    let service = Service::start(Reply::Says(500, String::new())).await;
    let mut config = config(&service);
    config.on_failure = OnFailure::Accept;
    assert_eq!(outcome(&step(config), request(None, None)).await, "accept nobody");
}

#[tokio::test]
async fn answers_are_kept_by_what_was_asked() {
    let service = Service::start(Reply::json(&json!({"result": "accept"}))).await;
    let step = step(config(&service));
    for _ in 0..3 {
        assert_eq!(outcome(&step, alice()).await, "accept alice");
    }
    assert_eq!(service.questions().len(), 1);

    // Another password, name, client or address is another question.
    service.says(Reply::json(&json!({"result": "refuse", "reason_code": 135})));
    let others = [
        request(Some("alice"), Some(b"guess")),
        request(Some("alice"), None),
        request(Some("alicesecret"), Some(b"")),
        AuthRequest { client_id: "d".to_owned(), ..alice() },
        AuthRequest { listener: "inside".to_owned(), ..alice() },
        AuthRequest { address: Some("192.0.2.8:40000".parse().unwrap()), ..alice() },
        AuthRequest { version: Version::V5, ..alice() },
    ];
    let count = others.len();
    for other in others {
        assert_eq!(outcome(&step, other).await, "refuse 0x87");
    }
    assert_eq!(service.questions().len(), 1 + count);
    assert_eq!(outcome(&step, request(Some("alice"), Some(b"guess"))).await, "refuse 0x87");
    assert_eq!(service.questions().len(), 1 + count);

    // A port is nobody's own.
    let moved = AuthRequest { address: Some("192.0.2.7:40001".parse().unwrap()), ..alice() };
    assert_eq!(outcome(&step, moved).await, "accept alice");

    step.forget();
    assert_eq!(outcome(&step, alice()).await, "refuse 0x87");
}

#[tokio::test]
async fn failures_are_not_kept() {
    let service = Service::start(Reply::Says(503, String::new())).await;
    let step = step(config(&service));
    assert_eq!(outcome(&step, alice()).await, "refuse 0x88");
    service.says(Reply::json(&json!({"result": "accept"})));
    assert_eq!(outcome(&step, alice()).await, "accept alice");
}

#[tokio::test]
async fn no_password_no_header_and_no_answer_is_ever_logged() {
    let (log, _guard) = Log::start();
    let replies = [
        Reply::json(&json!({"result": "accept", "attributes": {"site": "of-the-answer"}})),
        Reply::Says(200, r#"{"result": "of-the-answer", "user": "of-the-answer"}"#.to_owned()),
        Reply::Says(500, "of-the-answer".to_owned()),
        Reply::Raw(b"of-the-answer\r\n\r\n".to_vec()),
    ];
    for reply in replies {
        let service = Service::secure(reply).await;
        let mut config = config(&service);
        config.http.headers =
            vec![("Authorization".to_owned(), Secret::new("Bearer of-the-broker"))];
        tracing::info!(?config, "a configuration");
        let step = step(config);
        let request = request(Some("alice"), Some(b"of-the-client"));
        let decided = step.authenticate(request).await;
        tracing::info!(request = ?decided.request, ?step, "a step");
    }
    let log = log.text();
    assert_eq!(log.matches("callout_failed").count(), 3);
    for secret in ["of-the-broker", "of-the-client", "of-the-answer"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn questions_at_once_are_bounded_and_so_are_those_who_wait() {
    let service = Service::start(Reply::Waits(r#"{"result": "accept"}"#.to_owned())).await;
    let mut config = config(&service);
    config.questions_max = 2;
    config.waiting_max = 1;
    config.http.timeout = Duration::from_secs(30);
    let step = step(config);
    let ask = |name: &'static str| {
        let step = Arc::clone(&step);
        tokio::spawn(async move { outcome(&step, request(Some(name), None)).await })
    };
    let asked = [ask("a"), ask("b")];
    service.asked(2).await;
    // One of these two waits for its turn, the other finds no room.
    let waiting = [ask("c"), ask("d")];
    while step.failed(CalloutFailure::Crowded) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(service.questions().len(), 2);
    service.open_gate();
    for (asked, name) in asked.into_iter().zip(["a", "b"]) {
        assert_eq!(asked.await.unwrap(), format!("accept {name}"));
    }
    let mut outcomes = Vec::new();
    for waiting in waiting {
        outcomes.push(waiting.await.unwrap());
    }
    outcomes.sort_unstable();
    assert!(outcomes[0].starts_with("accept ") && outcomes[1] == "refuse 0x88", "{outcomes:?}");
    assert_eq!(service.questions().len(), 3);
}

#[tokio::test]
async fn connections_are_used_again() {
    let service = Service::start(Reply::json(&json!({"result": "accept"}))).await;
    let step = step(config(&service));
    for number in 0..20 {
        let name = format!("client {number}");
        assert_eq!(outcome(&step, request(Some(&name), None)).await, format!("accept {name}"));
    }
    assert_eq!((service.questions().len(), service.connections()), (20, 1));
}

#[test]
fn addresses_are_held_to_what_is_safe() {
    let parse = |text: &str| Url::parse(text).map(|url| (url.to_string(), url.is_exposed()));
    let safe = |text: &str| Ok((text.to_owned(), false));
    assert_eq!(parse("https://auth.example/a?b"), safe("https://auth.example/a?b"));
    assert_eq!(parse("http://127.0.0.1:80/"), safe("http://127.0.0.1:80/"));
    assert_eq!(parse("http://[::1]:80/"), safe("http://[::1]:80/"));
    assert_eq!(parse("http://localhost/"), safe("http://localhost/"));
    assert_eq!(parse("http://auth.example/"), Ok(("http://auth.example/".to_owned(), true)));
    assert_eq!(
        parse("http://localhost.example/"),
        Ok(("http://localhost.example/".to_owned(), true))
    );
    assert_eq!(parse("ftp://auth.example/"), Err(UrlError::Scheme));
    assert_eq!(parse("https://me:secret@auth.example/"), Err(UrlError::Credentials));
    assert_eq!(parse("/login"), Err(UrlError::Invalid));
    assert_eq!(parse(""), Err(UrlError::Invalid));
}

#[test]
fn headers_that_cannot_be_sent_are_said_without_their_values() {
    let mut config = CalloutConfig::new(Url::parse("https://auth.example/").unwrap());
    config.http.headers = vec![("Authorization".to_owned(), Secret::new("Bearer \n"))];
    let error = HttpAuthenticator::new(config).map(|_| ()).expect_err("refused").to_string();
    assert_eq!(
        error,
        "the header \"Authorization\" cannot be sent: its name or its value has a character that no header has"
    );
    assert_eq!(ReasonCode::ServerUnavailable as u8, 0x88);
}

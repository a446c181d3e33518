//! The step of a chain: where it finds a token, what it passes on, what it says, and what it never says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dunlin_auth::jwt::{JwtAuthenticator, JwtConfig, KeySet, Rejection, TokenPlace};
use dunlin_broker::{AuthRequest, Authenticator, Decision, Identity, Peer, ReasonCode, Version};
use serde_json::json;

use crate::fixtures::*;
use crate::log::Log;

fn request() -> AuthRequest {
    AuthRequest {
        client_id: "c".to_owned(),
        version: Version::V5,
        address: None,
        listener: "test".to_owned(),
        peer: Peer::default(),
        user_name: None,
        password: None,
        method: None,
        data: None,
        reauthentication: false,
        state: None,
    }
}

fn by_password(password: &str) -> AuthRequest {
    AuthRequest {
        user_name: Some("anybody".to_owned()),
        password: Some(Bytes::copy_from_slice(password.as_bytes())),
        ..request()
    }
}

fn by_name(name: &str) -> AuthRequest {
    AuthRequest { user_name: Some(name.to_owned()), ..request() }
}

fn by_method(method: &str, data: Option<&str>) -> AuthRequest {
    let data = data.map(|data| Bytes::copy_from_slice(data.as_bytes()));
    AuthRequest { method: Some(method.to_owned()), data, ..request() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn good() -> String {
    token(
        &json!({"sub": "alice", "iss": "here", "exp": now() + 100, "roles": "a b", "site": "oslo"}),
    )
}

fn step() -> JwtAuthenticator {
    let mut config = JwtConfig::default();
    config.places.push(TokenPlace::UserName);
    config.rules.claims.issuers = vec!["here".to_owned()];
    config.rules.names.tenant = Some("sub".to_owned());
    config.rules.names.roles = Some("roles".to_owned());
    config.rules.names.attributes = vec![("site".to_owned(), "site".to_owned())];
    JwtAuthenticator::new(config, secret_key(), None)
}

/// What became of a request, in words.
async fn outcome(step: &JwtAuthenticator, request: AuthRequest) -> String {
    match step.authenticate(request).await.decision {
        Decision::Accept { identity, data } => {
            assert_eq!(data, None);
            format!("accept {}", identity.user)
        }
        Decision::Refuse(reason) => format!("refuse {:#x}", reason as u8),
        Decision::PassOn => "pass on".to_owned(),
        Decision::Continue { .. } => "continue".to_owned(),
    }
}

#[tokio::test]
async fn a_bearer_becomes_an_identity_that_ends_with_the_token() {
    let before = std::time::Instant::now();
    let decision = step().authenticate(by_password(&good())).await.decision;
    let Decision::Accept { identity, .. } = decision else { panic!("{decision:?}") };
    let lasts = identity.expires.expect("an end").duration_since(before);
    assert!(lasts > Duration::from_secs(125) && lasts < Duration::from_secs(135), "{lasts:?}");
    let mut expected = Identity::named("alice");
    expected.tenant = Some("alice".to_owned());
    expected.roles = vec!["a".to_owned(), "b".to_owned()];
    expected.attributes = vec![("claims.site".to_owned(), "oslo".to_owned())];
    expected.expires = identity.expires;
    assert_eq!(identity, expected);
}

#[tokio::test]
async fn a_token_is_found_where_it_may_be_and_others_are_passed_on() {
    let (step, good) = (step(), good());
    let elsewhere = token(&json!({"sub": "alice", "iss": "elsewhere", "exp": now() + 100}));
    let expired = token(&json!({"sub": "alice", "iss": "here", "exp": now() - 100}));
    let cases = [
        (by_password(&good), "accept alice"),
        (by_name(&good), "accept alice"),
        (by_method("JWT", Some(&good)), "accept alice"),
        (by_method("SCRAM-SHA-256", Some(&good)), "pass on"),
        (by_password("hunter2"), "pass on"),
        (by_password("a.b.c"), "pass on"),
        (by_password(""), "pass on"),
        (by_name("alice"), "pass on"),
        (request(), "pass on"),
        (by_password(&elsewhere), "pass on"),
        (by_method("JWT", Some(&elsewhere)), "pass on"),
        (by_password(&expired), "refuse 0x86"),
        (by_name(&expired), "refuse 0x86"),
        (by_method("JWT", Some(&expired)), "refuse 0x87"),
        (by_method("JWT", Some("hunter2")), "refuse 0x87"),
        (by_method("JWT", None), "refuse 0x87"),
        // Of a token that is too long it is not read whose it is.
        (by_password(&format!("{good}{}", "A".repeat(9_000))), "refuse 0x86"),
    ];
    for (number, (request, expected)) in cases.into_iter().enumerate() {
        assert_eq!(outcome(&step, request).await, expected, "case {number}");
    }
    assert_eq!(step.rejected(Rejection::Expired), 3);
    assert_eq!(step.rejected(Rejection::Malformed), 2);
    assert_eq!(step.rejected(Rejection::TooLong), 1);
    assert_eq!(step.rejected(Rejection::Signature), 0);
}

#[tokio::test]
async fn a_refused_token_does_not_stand_for_a_name_any_more() {
    let step = step();
    let named = async |request| step.authenticate(request).await.request.user_name;
    let (good, forged) = (good(), format!("{}x", &good()[..good().len() - 1]));
    assert_eq!(named(by_name(&forged)).await.as_deref(), Some("(token)"));
    assert_eq!(named(by_password(&forged)).await.as_deref(), Some("anybody"));
    // What another step may know is given back as it was.
    assert_eq!(named(by_name("alice")).await.as_deref(), Some("alice"));
    assert_eq!(named(by_name(&good)).await, Some(good));
}

#[tokio::test]
async fn without_any_key_the_answer_is_no() {
    let step = JwtAuthenticator::new(JwtConfig::default(), KeySet::default(), None);
    assert_eq!(outcome(&step, by_password(&good())).await, "refuse 0x86");
    assert_eq!(step.rejected(Rejection::KeyUnknown), 1);
    assert_eq!(ReasonCode::BadUserNameOrPassword as u8, 0x86);
}

#[tokio::test]
async fn no_token_and_no_secret_is_ever_logged() {
    let (log, _guard) = Log::start();
    let step = step();
    let good = good();
    let expired = token(&json!({"sub": "alice-of-the-claims", "iss": "here", "exp": 1}));
    let forged = format!("{}x", &good[..good.len() - 1]);
    for token in [&good, &expired, &forged] {
        for request in [by_password(token), by_method("JWT", Some(token))] {
            tracing::info!(?request, "a request");
            let step = step.authenticate(request).await;
            tracing::info!(?step, "a step");
        }
    }
    tracing::info!(?step, "the authenticator");
    let log = log.text();
    assert_eq!(log.matches("token_refused").count(), 4);
    for token in [&good, &expired, &forged] {
        for part in token.split('.') {
            assert!(!log.contains(part), "{part} in {log}");
        }
    }
    assert!(!log.contains(SECRET) && !log.contains("alice-of-the-claims"), "{log}");
}

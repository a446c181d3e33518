//! What a token says, once its signature is right.

use std::time::Duration;

use dunlin_auth::jwt::{Bearer, ClaimNames, Rejection, TokenRules};
use serde_json::{Value, json};

use crate::fixtures::*;

fn judge(rules: &TokenRules, claims: &Value) -> Result<Bearer, Rejection> {
    rules.judge(token(claims).as_bytes(), &secret_key(), at(NOW))
}

/// The outcome without what it says of the bearer.
fn taken(rules: &TokenRules, claims: &Value) -> Result<(), Rejection> {
    judge(rules, claims).map(|_| ())
}

#[test]
fn times_are_held_against_the_clock_with_thirty_seconds_of_leeway() {
    let rules = TokenRules::default();
    let cases = [
        (json!({"exp": NOW + 100}), Ok(Some(130))),
        (json!({"exp": NOW}), Ok(Some(30))),
        (json!({"exp": NOW - 29}), Ok(Some(1))),
        (json!({"exp": NOW - 30}), Err(Rejection::Expired)),
        (json!({"exp": NOW - 1_000}), Err(Rejection::Expired)),
        (json!({"exp": -1}), Err(Rejection::Expired)),
        (json!({"exp": 0}), Err(Rejection::Expired)),
        (json!({"exp": NOW as f64 + 70.5}), Ok(Some(100))),
        // Ten years are as long as anything lasts.
        (json!({"exp": u64::MAX}), Ok(Some(315_360_000))),
        (json!({"exp": 1e300}), Ok(Some(315_360_000))),
        (json!({"exp": "2033-05-18"}), Err(Rejection::Claims)),
        (json!({"exp": null}), Err(Rejection::Claims)),
        (json!({}), Err(Rejection::NoExpiry)),
        (json!({"exp": NOW + 100, "nbf": NOW + 30}), Ok(Some(130))),
        (json!({"exp": NOW + 100, "nbf": NOW + 31}), Err(Rejection::NotYetValid)),
        (json!({"exp": NOW + 100, "nbf": -5}), Ok(Some(130))),
        (json!({"exp": NOW + 100, "nbf": "soon"}), Err(Rejection::Claims)),
    ];
    for (mut claims, expected) in cases {
        claims["sub"] = "alice".into();
        let lasts = judge(&rules, &claims).map(|bearer| bearer.lasts.map(|lasts| lasts.as_secs()));
        assert_eq!(lasts, expected, "{claims}");
    }
}

#[test]
fn another_leeway_and_no_end_are_possible() {
    let mut rules = TokenRules::default();
    rules.claims.leeway = Duration::ZERO;
    rules.claims.allow_without_expiry = true;
    let lasts = |claims: Value| judge(&rules, &claims).map(|bearer| bearer.lasts);
    assert_eq!(lasts(json!({"sub": "a", "exp": NOW})), Err(Rejection::Expired));
    assert_eq!(lasts(json!({"sub": "a", "exp": NOW + 1})), Ok(Some(Duration::from_secs(1))));
    assert_eq!(lasts(json!({"sub": "a", "nbf": NOW + 1})), Err(Rejection::NotYetValid));
    assert_eq!(lasts(json!({"sub": "a"})), Ok(None));
}

#[test]
fn issuer_and_audience_are_among_those_that_are_taken() {
    let mut rules = TokenRules::default();
    rules.claims.issuers = vec!["one".to_owned(), "two".to_owned()];
    rules.claims.audiences = vec!["mqtt".to_owned(), "broker".to_owned()];
    let cases = [
        (json!({"iss": "two", "aud": "mqtt"}), Ok(())),
        (json!({"iss": "one", "aud": ["x", "broker"]}), Ok(())),
        (json!({"iss": "one", "aud": ["x"]}), Err(Rejection::Audience)),
        (json!({"iss": "one", "aud": []}), Err(Rejection::Audience)),
        (json!({"iss": "one", "aud": {"mqtt": true}}), Err(Rejection::Audience)),
        (json!({"iss": "one", "aud": "mqtt "}), Err(Rejection::Audience)),
        (json!({"iss": "one"}), Err(Rejection::Audience)),
        (json!({"iss": "three", "aud": "mqtt"}), Err(Rejection::Issuer)),
        (json!({"iss": ["one"], "aud": "mqtt"}), Err(Rejection::Issuer)),
        (json!({"aud": "mqtt"}), Err(Rejection::Issuer)),
    ];
    for (mut claims, expected) in cases {
        claims["sub"] = "alice".into();
        claims["exp"] = NOW.into();
        assert_eq!(taken(&rules, &claims), expected, "{claims}");
    }
}

#[test]
fn claims_become_user_tenant_roles_and_attributes() {
    let mut names = ClaimNames::default();
    names.user = "preferred_username".to_owned();
    names.tenant = Some("org.id".to_owned());
    names.roles = Some("realm_access.roles".to_owned());
    names.attributes =
        [("site", "site"), ("level", "level"), ("admin", "admin"), ("zones", "zones")]
            .map(|(claim, attribute)| (claim.to_owned(), attribute.to_owned()))
            .to_vec();
    names.attributes.push(("https://example/x.y".to_owned(), "xy".to_owned()));
    let mut rules = TokenRules::default();
    rules.names = names;
    let claims = json!({
        "exp": NOW, "preferred_username": "alice", "org": {"id": 17},
        "realm_access": {"roles": ["reader", "writer", "reader", ""]},
        "site": "oslo", "level": 3, "admin": false, "zones": ["a", 1], "https://example/x.y": "z",
    });
    let expected = Bearer {
        user: "alice".to_owned(),
        tenant: Some("17".to_owned()),
        roles: vec!["reader".to_owned(), "writer".to_owned()],
        attributes: [
            ("site", "oslo"),
            ("level", "3"),
            ("admin", "false"),
            ("zones", "a 1"),
            ("xy", "z"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        lasts: Some(Duration::from_secs(30)),
    };
    assert_eq!(judge(&rules, &claims), Ok(expected));
}

#[test]
fn roles_are_a_list_or_one_text_with_blanks() {
    let mut rules = TokenRules::default();
    rules.names.roles = Some("scope".to_owned());
    let many = |count: usize| (0..count).map(|number| format!("r{number:03}")).collect::<Vec<_>>();
    let texts = |roles: &[&str]| Ok(roles.iter().map(|role| (*role).to_owned()).collect());
    let cases = [
        (json!("read  write"), texts(&["read", "write"])),
        (json!(""), texts(&[])),
        (json!(["read write"]), texts(&["read write"])),
        (json!([]), texts(&[])),
        (Value::Null, texts(&[])),
        (json!(many(64)), Ok(many(64))),
        (json!(many(65)), Err(Rejection::Claims)),
        (json!(many(65).join(" ")), Err(Rejection::Claims)),
        (json!(["x".repeat(1_025)]), Err(Rejection::Claims)),
        (json!(["read", 1]), Err(Rejection::Claims)),
        (json!({"read": true}), Err(Rejection::Claims)),
        (json!(7), Err(Rejection::Claims)),
    ];
    for (roles, expected) in cases {
        let claims = json!({"sub": "a", "exp": NOW, "scope": roles});
        assert_eq!(judge(&rules, &claims).map(|bearer| bearer.roles), expected, "{roles}");
    }
    let without = json!({"sub": "a", "exp": NOW});
    assert_eq!(judge(&rules, &without).map(|bearer| bearer.roles), texts(&[]));
}

#[test]
fn a_claim_that_is_needed_is_a_text_of_bounded_length() {
    let mut rules = TokenRules::default();
    rules.names.tenant = Some("tenant".to_owned());
    rules.names.attributes = vec![("site".to_owned(), "site".to_owned())];
    let long = "x".repeat(1_025);
    let cases = [
        (json!({"tenant": "t"}), Err(Rejection::ClaimMissing)),
        (json!({"sub": "a"}), Err(Rejection::ClaimMissing)),
        (json!({"sub": "a", "tenant": null}), Err(Rejection::ClaimMissing)),
        (json!({"sub": "", "tenant": "t"}), Err(Rejection::Claims)),
        (json!({"sub": "a", "tenant": ""}), Err(Rejection::Claims)),
        (json!({"sub": ["a"], "tenant": "t"}), Err(Rejection::Claims)),
        (json!({"sub": "a\u{0}b", "tenant": "t"}), Err(Rejection::Claims)),
        (json!({"sub": long, "tenant": "t"}), Err(Rejection::Claims)),
        (json!({"sub": "a", "tenant": long}), Err(Rejection::Claims)),
        (json!({"sub": "a", "tenant": "t", "site": long}), Err(Rejection::Claims)),
        (json!({"sub": "a", "tenant": "t", "site": {"x": 1}}), Err(Rejection::Claims)),
        (json!({"sub": "a", "tenant": "t", "site": [[1]]}), Err(Rejection::Claims)),
        (json!({"sub": "a", "tenant": "t", "site": null}), Ok(())),
        (json!({"sub": "a", "tenant": "t"}), Ok(())),
    ];
    for (mut claims, expected) in cases {
        claims["exp"] = NOW.into();
        assert_eq!(taken(&rules, &claims), expected, "{claims}");
    }
}

#[test]
fn what_is_no_token_is_malformed_and_too_much_is_refused() {
    let rules = TokenRules::default();
    let refused =
        |bytes: &[u8]| rules.judge(bytes, &secret_key(), at(NOW)).expect_err("nobody signed it");
    let good = token(&json!({"sub": "a", "exp": NOW}));
    let cases: [(String, Rejection); 9] = [
        (String::new(), Rejection::Malformed),
        ("..".to_owned(), Rejection::Malformed),
        ("a.b".to_owned(), Rejection::Malformed),
        (format!("{good}."), Rejection::Malformed),
        (format!("{good}="), Rejection::Malformed),
        (good.replace('.', " ."), Rejection::Malformed),
        (format!(" {good}"), Rejection::Malformed),
        (format!("{good}{}", "A".repeat(8_192)), Rejection::TooLong),
        (good.replacen("eyJ", "fyJ", 1), Rejection::Malformed),
    ];
    for (bytes, expected) in cases {
        assert_eq!(refused(bytes.as_bytes()), expected, "{bytes}");
    }
    let signed = |claims: &str| with_header(&json!({"alg": "HS256"}), claims);
    assert_eq!(refused(signed("[]").as_bytes()), Rejection::Claims);
    assert_eq!(refused(signed("{").as_bytes()), Rejection::Claims);
    assert_eq!(refused(signed(&"[".repeat(1_000)).as_bytes()), Rejection::Claims);
    let mut many = json!({"sub": "a", "exp": NOW});
    for number in 0..63 {
        many[format!("c{number}")] = number.into();
    }
    assert_eq!(refused(token(&many).as_bytes()), Rejection::Claims);
}

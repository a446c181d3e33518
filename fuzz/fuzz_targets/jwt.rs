//! Tokens and sets of keys, as a client and an issuer may send them.
//!
//! The input's first byte says what the rest is: `t` a token, `k` a set of keys, `c` claims that are then signed as they
//! should be, `h` a header that is then signed with claims that would be taken. Anything else is ignored.

#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use dunlin_auth::Secret;
use dunlin_auth::jwt::{
    CLAIM_BYTES_MAX, JWKS_KEYS_MAX, Key, KeySet, Origin, ROLES_MAX, Rejection, TokenRules,
};
use libfuzzer_sys::fuzz_target;

/// Long enough for every HMAC.
const SECRET: &[u8; 64] = b"sixty-four characters that are a secret of nobody but this test.";

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    match kind {
        b't' => token(rest),
        b'k' => keys(rest),
        b'c' => claims(rest),
        b'h' => header(rest),
        _ => {}
    }
});

fn rules() -> TokenRules {
    let mut rules = TokenRules::default();
    rules.claims.audiences = vec!["mqtt".to_owned()];
    rules.names.tenant = Some("org.id".to_owned());
    rules.names.roles = Some("roles".to_owned());
    rules.names.attributes = vec![("site".to_owned(), "site".to_owned())];
    rules
}

fn secret() -> KeySet {
    KeySet::new(vec![Key::secret(None, &Secret::new(*SECRET), &[]).expect("a long secret")])
}

fn judge(token: &[u8]) -> Result<(), Rejection> {
    let now = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let bearer = rules().judge(token, &secret(), now)?;
    assert!(!bearer.user.is_empty() && bearer.user.len() <= CLAIM_BYTES_MAX);
    assert!(bearer.tenant.is_some_and(|tenant| !tenant.is_empty()));
    assert!(bearer.roles.len() <= ROLES_MAX && bearer.attributes.len() <= 1);
    assert!(bearer.lasts.is_some_and(|lasts| !lasts.is_zero()));
    Ok(())
}

/// Nobody signed it, so it is not taken.
fn token(bytes: &[u8]) {
    assert!(judge(bytes).is_err());
}

fn keys(json: &[u8]) {
    let file = KeySet::from_json(json, Origin::File, &[]);
    let network = KeySet::from_json(json, Origin::Network, &[]);
    if let Ok(keys) = &file {
        assert!(!keys.is_empty() && keys.len() + keys.skipped() <= JWKS_KEYS_MAX);
    }
    // What the network may say is no more than what a file may.
    if let Ok(keys) = network {
        assert!(file.is_ok_and(|file| keys.len() <= file.len()));
    }
}

fn claims(json: &[u8]) {
    let _ = judge(&signed(br#"{"alg":"HS256"}"#, json));
}

fn header(json: &[u8]) {
    let claims = br#"{"sub":"a","aud":"mqtt","org":{"id":1},"exp":2000000000}"#;
    let judged = judge(&signed(json, claims));
    // Only this key and this algorithm are what it says.
    if judged.is_ok() {
        let text = String::from_utf8_lossy(json).into_owned();
        assert!(text.contains("alg") || text.contains('\\'));
    }
}

fn signed(header: &[u8], claims: &[u8]) -> Vec<u8> {
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(signature.as_ref())).into_bytes()
}

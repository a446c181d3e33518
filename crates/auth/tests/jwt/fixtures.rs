//! What `make_tokens.py` wrote, and tokens made here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dunlin_auth::Secret;
use dunlin_auth::jwt::{Algorithm, Key, KeySet};
use serde_json::Value;

/// The secret of tokens that are made here.
pub(crate) const SECRET: &str = "a secret of thirty-two characters";
/// The time at which they are judged, in seconds since 1970.
pub(crate) const NOW: u64 = 2_000_000_000;

pub(crate) fn written() -> Value {
    serde_json::from_str(include_str!("tokens.json")).unwrap()
}

pub(crate) fn algorithm(entry: &Value) -> Algorithm {
    Algorithm::parse(entry["algorithm"].as_str().unwrap()).unwrap()
}

/// All keys of the file, by PEM and under their names.
pub(crate) fn all_keys() -> KeySet {
    let file = written();
    let keys = file["keys"].as_object().unwrap().iter().map(|(name, key)| {
        let id = Some(name.clone());
        match key["secret"].as_str() {
            Some(secret) => Key::secret(id, &Secret::new(secret), &[]).unwrap(),
            None => Key::public_pem(id, key["pem"].as_str().unwrap().as_bytes(), &[]).unwrap(),
        }
    });
    KeySet::new(keys.collect())
}

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// The one key of [`token`].
pub(crate) fn secret_key() -> KeySet {
    KeySet::new(vec![Key::secret(None, &Secret::new(SECRET), &[Algorithm::Hs256]).unwrap()])
}

/// A token with these claims, signed by [`SECRET`].
pub(crate) fn token(claims: &Value) -> String {
    with_header(&serde_json::json!({"alg": "HS256"}), &claims.to_string())
}

pub(crate) fn with_header(header: &Value, claims: &str) -> String {
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encoded(&header.to_string()), encoded(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

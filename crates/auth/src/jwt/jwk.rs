//! Keys as JSON: one JWK, or a set of them (RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::Secret;

use super::algorithm::Algorithm;
use super::key::{Key, KeyError};

/// Bytes of a set of keys. A longer one is refused.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;
/// Keys of a set, usable or not. A larger set is refused.
pub const JWKS_KEYS_MAX: usize = 64;

/// Where a set of keys comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A file of this machine: it may hold secrets.
    File,
    /// Another machine: a secret that it tells everybody is none, so symmetric keys are left out.
    Network,
}

/// Why something is no set of keys.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// It is longer than [`JWKS_BYTES_MAX`].
    #[error("it has more than {JWKS_BYTES_MAX} bytes")]
    TooLong,
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It is neither `{"keys": [...]}` nor one key.
    #[error("it is neither a key (\"kty\") nor a set of keys (\"keys\")")]
    NotJwks,
    /// It has more than [`JWKS_KEYS_MAX`] keys.
    #[error("it has more than {JWKS_KEYS_MAX} keys")]
    TooMany,
    /// None of its keys is one that tokens can be verified by.
    #[error("none of its {0} keys can verify a token{first}", first = .1.map(|error| format!(" ({error})")).unwrap_or_default())]
    NoKey(usize, Option<KeyError>),
}

/// The members of a key that matter here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<String>,
}

/// The keys of a set, and how many of it are of no use here.
#[derive(Debug)]
pub(super) struct Jwks {
    pub(super) keys: Vec<Key>,
    pub(super) skipped: usize,
}

/// Reads a set of keys, or a single one. A key that is for something else, or of a kind that is not served, is skipped: one
/// such key does not spoil the others.
pub(super) fn parse(
    json: &[u8],
    origin: Origin,
    algorithms: &[Algorithm],
) -> Result<Jwks, JwksError> {
    if json.len() > JWKS_BYTES_MAX {
        return Err(JwksError::TooLong);
    }
    let mut document: Value = serde_json::from_slice(json)?;
    let listed = if document.get("kty").is_some() {
        vec![document]
    } else if let Some(Value::Array(listed)) = document.get_mut("keys").map(Value::take) {
        listed
    } else {
        return Err(JwksError::NotJwks);
    };
    if listed.len() > JWKS_KEYS_MAX {
        return Err(JwksError::TooMany);
    }
    let total = listed.len();
    let mut keys = Vec::new();
    let mut first = None;
    for value in listed {
        let key = serde_json::from_value(value).map_err(|_| KeyError::Unknown);
        match key.and_then(|jwk| key_of(jwk, origin, algorithms)) {
            Ok(key) => keys.push(key),
            Err(error) => first = first.or(Some(error)),
        }
    }
    if keys.is_empty() {
        return Err(JwksError::NoKey(total, first));
    }
    Ok(Jwks { skipped: total - keys.len(), keys })
}

fn key_of(jwk: Jwk, origin: Origin, wanted: &[Algorithm]) -> Result<Key, KeyError> {
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err(KeyError::NoAlgorithm);
    }
    if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Err(KeyError::NoAlgorithm);
    }
    // A key that names its algorithm is for this one only.
    let algorithms = match &jwk.alg {
        Some(name) => {
            let named = Algorithm::parse(name).ok_or(KeyError::NoAlgorithm)?;
            if !wanted.is_empty() && !wanted.contains(&named) {
                return Err(KeyError::NoAlgorithm);
            }
            vec![named]
        }
        None => wanted.to_vec(),
    };
    if jwk.kty != "oct" && jwk.d.is_some() {
        return Err(KeyError::PrivateKey);
    }
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("oct", _) if origin == Origin::File => {
            Key::secret(jwk.kid, &Secret::new(decoded(jwk.k)?), &algorithms)
        }
        ("RSA", _) => Key::rsa_components(jwk.kid, &decoded(jwk.n)?, &decoded(jwk.e)?, &algorithms),
        ("EC", Some("P-256")) => {
            Key::point(jwk.kid, Algorithm::Es256, &point(jwk.x, jwk.y, 32)?, &algorithms)
        }
        ("EC", Some("P-384")) => {
            Key::point(jwk.kid, Algorithm::Es384, &point(jwk.x, jwk.y, 48)?, &algorithms)
        }
        ("EC", Some("P-521")) => {
            Key::point(jwk.kid, Algorithm::Es512, &point(jwk.x, jwk.y, 66)?, &algorithms)
        }
        ("OKP", Some("Ed25519")) => {
            Key::point(jwk.kid, Algorithm::EdDsa, &decoded(jwk.x)?, &algorithms)
        }
        _ => Err(KeyError::Unknown),
    }
}

/// The point of a curve whose coordinates have this many bytes each, uncompressed.
fn point(x: Option<String>, y: Option<String>, bytes: usize) -> Result<Vec<u8>, KeyError> {
    let (x, y) = (decoded(x)?, decoded(y)?);
    if x.len() != bytes || y.len() != bytes {
        return Err(KeyError::Unknown);
    }
    Ok([&[4], &*x, &*y].concat())
}

fn decoded(member: Option<String>) -> Result<Vec<u8>, KeyError> {
    let member = member.ok_or(KeyError::Unknown)?;
    URL_SAFE_NO_PAD.decode(member).map_err(|_| KeyError::Unknown)
}

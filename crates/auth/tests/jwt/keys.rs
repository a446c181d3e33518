//! What is a key, what is none, and how one is chosen.

use dunlin_auth::Secret;
use dunlin_auth::jwt::{
    Algorithm, Bearer, JWKS_BYTES_MAX, Key, KeyError, KeySet, Origin, Rejection, TokenRules,
};
use serde_json::{Value, json};

use crate::fixtures::*;

fn names(key: &Key) -> Vec<&'static str> {
    key.algorithms().map(Algorithm::name).collect()
}

#[test]
fn a_key_is_for_what_its_kind_allows_and_a_configuration_narrows() {
    let file = written();
    let cases: [(&str, &[&str]); 5] = [
        ("rsa", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
        ("ES256", &["ES256"]),
        ("ES384", &["ES384"]),
        ("ES512", &["ES512"]),
        ("EdDSA", &["EdDSA"]),
    ];
    for (name, expected) in cases {
        let pem = file["keys"][name]["pem"].as_str().unwrap().as_bytes();
        assert_eq!(names(&Key::public_pem(None, pem, &[]).unwrap()), expected);
        let wanted = [Algorithm::Hs256, Algorithm::parse(expected[0]).unwrap()];
        assert_eq!(names(&Key::public_pem(None, pem, &wanted).unwrap()), &expected[..1]);
        let none = Key::public_pem(None, pem, &[Algorithm::Hs256]);
        assert_eq!(none.err(), Some(KeyError::NoAlgorithm));
    }
}

#[test]
fn a_secret_is_as_long_as_the_hash() {
    let all = |bytes: usize, algorithms: &[Algorithm]| {
        Key::secret(None, &Secret::new(vec![b'x'; bytes]), algorithms).map(|key| names(&key))
    };
    assert_eq!(all(31, &[]), Err(KeyError::SecretTooShort(32)));
    assert_eq!(all(32, &[]), Ok(vec!["HS256"]));
    assert_eq!(all(48, &[]), Ok(vec!["HS256", "HS384"]));
    assert_eq!(all(64, &[]), Ok(vec!["HS256", "HS384", "HS512"]));
    assert_eq!(all(64, &[Algorithm::Hs384]), Ok(vec!["HS384"]));
    assert_eq!(all(63, &[Algorithm::Hs512]), Err(KeyError::SecretTooShort(64)));
    assert_eq!(all(64, &[Algorithm::Rs256]), Err(KeyError::NoAlgorithm));
}

#[test]
fn what_is_no_key_is_said() {
    let file = written();
    let pem = |text: &str| Key::public_pem(None, text.as_bytes(), &[]).err();
    let good = file["keys"]["rsa"]["pem"].as_str().unwrap();
    assert_eq!(pem(""), Some(KeyError::NotPem));
    assert_eq!(pem("not a key"), Some(KeyError::NotPem));
    assert_eq!(pem(&good.replace("PUBLIC KEY", "RSA PUBLIC KEY")), Some(KeyError::NotPem));
    assert_eq!(pem(&good.replace("PUBLIC KEY", "PRIVATE KEY")), Some(KeyError::PrivateKey));
    assert_eq!(pem(&good.replacen("MII", "MIJ", 1)), Some(KeyError::Unknown));
    assert_eq!(pem(&"x".repeat(65_537)), Some(KeyError::TooLong));
    let small = file["small"]["pem"].as_str().unwrap();
    assert_eq!(pem(small), Some(KeyError::RsaSize));
    // A public key that is given as a secret is what a forger hopes for.
    for name in ["rsa", "ES256", "EdDSA"] {
        let pem = file["keys"][name]["pem"].as_str().unwrap();
        let secret = Key::secret(None, &Secret::new(pem), &[]);
        assert_eq!(secret.err(), Some(KeyError::SecretIsKey));
    }
}

#[test]
fn a_set_keeps_what_can_verify_and_counts_the_rest() {
    let file = written();
    let jwk = |name: &str, more: Value| {
        let mut jwk = file["keys"][name]["jwk"].clone();
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    };
    let oct =
        json!({"kty": "oct", "k": "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBjaGFyYWN0ZXJz", "kid": "oct"});
    let set = json!({"keys": [
        jwk("rsa", json!({"kid": "rsa", "alg": "PS256", "use": "sig"})),
        jwk("ES256", json!({"kid": "es", "key_ops": ["verify"]})),
        oct,
        jwk("rsa", json!({"use": "enc"})),
        jwk("rsa", json!({"alg": "RSA-OAEP"})),
        jwk("rsa", json!({"alg": "HS256"})),
        jwk("rsa", json!({"d": "AQAB"})),
        jwk("rsa", json!({"n": "AQAB"})),
        jwk("rsa", json!({"e": "AQABAQABAQABAQAB"})),
        jwk("ES256", json!({"key_ops": ["sign"]})),
        jwk("ES256", json!({"crv": "P-384"})),
        jwk("ES256", json!({"crv": "secp256k1"})),
        // A point that is not on the curve.
        jwk("ES256", json!({"x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"})),
        jwk("EdDSA", json!({"crv": "Ed448"})),
        {"kty": "other"},
        17,
    ]});
    let found = |origin| {
        let keys = KeySet::from_json(set.to_string().as_bytes(), origin, &[]).unwrap();
        let listed: Vec<_> =
            keys.iter().map(|key| (key.id().unwrap().to_owned(), names(key))).collect();
        (listed, keys.skipped())
    };
    let rsa = ("rsa".to_owned(), vec!["PS256"]);
    let es = ("es".to_owned(), vec!["ES256"]);
    let secret = ("oct".to_owned(), vec!["HS256"]);
    assert_eq!(found(Origin::File), (vec![rsa.clone(), es.clone(), secret], 13));
    // A secret that is told to everybody is none.
    assert_eq!(found(Origin::Network), (vec![rsa, es], 14));
}

#[test]
fn what_is_no_set_of_keys_is_said() {
    let error = |json: &str| {
        KeySet::from_json(json.as_bytes(), Origin::File, &[]).expect_err("refused").to_string()
    };
    assert_eq!(error(""), "it is no JSON: EOF while parsing a value at line 1 column 0");
    for json in ["[]", "{}", "17", r#"{"keys": {}}"#, r#"{"keys": 1}"#] {
        assert_eq!(error(json), "it is neither a key (\"kty\") nor a set of keys (\"keys\")");
    }
    assert_eq!(error(r#"{"keys": []}"#), "none of its 0 keys can verify a token");
    assert_eq!(
        error(r#"{"kty": "oct", "k": "YQ"}"#),
        "none of its 1 keys can verify a token (the secret is shorter than the 32 bytes that its algorithm asks for \
         (RFC 7518, section 3.2))"
    );
    let many = json!({"keys": vec![json!({}); 65]}).to_string();
    assert_eq!(error(&many), "it has more than 64 keys");
    assert_eq!(error(&" ".repeat(JWKS_BYTES_MAX + 1)), "it has more than 262144 bytes");
}

/// Keys with these names, of which the one at `signer` signs.
fn keys(ids: &[Option<&str>], signer: usize) -> KeySet {
    let key = |(place, id): (usize, &Option<&str>)| {
        let secret = if place == signer { SECRET.to_owned() } else { format!("{place:032}") };
        Key::secret(id.map(str::to_owned), &Secret::new(secret), &[]).unwrap()
    };
    KeySet::new(ids.iter().enumerate().map(key).collect())
}

#[test]
fn a_token_names_its_key_or_fits_few() {
    let judge = |keys: &KeySet, kid: Option<&str>| {
        let header = json!({"alg": "HS256", "kid": kid});
        let claims = json!({"sub": "a", "exp": NOW}).to_string();
        let token = with_header(&header, &claims);
        let judged = TokenRules::default().judge(token.as_bytes(), keys, at(NOW));
        judged.map(|Bearer { user, .. }| assert_eq!(user, "a"))
    };
    let (a, b) = (Some("a"), Some("b"));
    let cases = [
        (keys(&[a, b], 1), b, Ok(())),
        (keys(&[a, b], 1), a, Err(Rejection::Signature)),
        (keys(&[a, b], 1), None, Ok(())),
        (keys(&[a, b], 1), Some("c"), Err(Rejection::KeyUnknown)),
        // Two keys of one name, as while one takes the other's place.
        (keys(&[a, a], 1), a, Ok(())),
        // A key without a name is for any.
        (keys(&[a, None], 1), Some("c"), Ok(())),
        (keys(&[a, None], 1), a, Err(Rejection::Signature)),
        (keys(&[a; 4], 3), None, Ok(())),
        (keys(&[a; 5], 3), None, Err(Rejection::KeyUnknown)),
        (keys(&[a; 5], 3), a, Err(Rejection::KeyUnknown)),
        (keys(&[], 0), None, Err(Rejection::KeyUnknown)),
        (keys(&[], 0), a, Err(Rejection::KeyUnknown)),
    ];
    for (number, (keys, kid, expected)) in cases.into_iter().enumerate() {
        assert_eq!(judge(&keys, kid), expected, "case {number}");
    }
}

//! Who signed a token, and who only says so.

use dunlin_auth::jwt::{Bearer, ClaimNames, KeySet, Origin, Rejection, TokenRules};
use proptest::prelude::*;

use crate::fixtures::*;

fn rules() -> TokenRules {
    let mut names = ClaimNames::default();
    names.tenant = Some("sub".to_owned());
    names.roles = Some("mqttScope".to_owned());
    let mut rules = TokenRules::default();
    rules.names = names;
    rules
}

fn bearer() -> Bearer {
    Bearer {
        user: "testTenant".to_owned(),
        tenant: Some("testTenant".to_owned()),
        roles: vec!["BUBBLE_UP_READ_CONSUMER".to_owned(), "OTHER".to_owned()],
        attributes: Vec::new(),
        // They end in 2100; ten years are as long as anything lasts.
        lasts: Some(std::time::Duration::from_secs(315_360_000)),
    }
}

#[test]
fn tokens_of_another_library_are_taken_with_every_algorithm() {
    let (file, keys) = (written(), all_keys());
    let mut seen = Vec::new();
    for entry in file["tokens"].as_array().unwrap() {
        let token = entry["token"].as_str().unwrap();
        assert_eq!(rules().judge(token.as_bytes(), &keys, at(NOW)), Ok(bearer()), "{entry}");
        seen.push(algorithm(entry));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, dunlin_auth::jwt::Algorithm::ALL);
}

#[test]
fn a_key_by_jwk_is_the_same_as_by_pem() {
    let file = written();
    for entry in file["tokens"].as_array().unwrap() {
        let jwk = file["keys"][entry["key"].as_str().unwrap()]["jwk"].to_string();
        if jwk != "null" {
            let keys = KeySet::from_json(jwk.as_bytes(), Origin::Network, &[algorithm(entry)]);
            let token = entry["token"].as_str().unwrap();
            let judged = rules().judge(token.as_bytes(), &keys.unwrap(), at(NOW));
            assert_eq!(judged, Ok(bearer()), "{entry}");
        }
    }
}

#[test]
fn forged_tokens_are_refused_for_what_is_wrong_with_them() {
    let (file, keys) = (written(), all_keys());
    let forged = file["forged"].as_array().unwrap();
    assert!(forged.len() > 20);
    for entry in forged {
        let judged = rules().judge(entry["token"].as_str().unwrap().as_bytes(), &keys, at(NOW));
        let reason = judged.expect_err(entry["name"].as_str().unwrap()).name();
        assert_eq!(reason, entry["reason"].as_str().unwrap(), "{}", entry["name"]);
    }
}

#[test]
fn a_key_takes_no_algorithm_but_those_it_is_for() {
    let file = written();
    for signed in file["tokens"].as_array().unwrap() {
        let key = &file["keys"][signed["key"].as_str().unwrap()];
        for bound in dunlin_auth::jwt::Algorithm::ALL {
            let Some(jwk) = key.get("jwk") else { continue };
            let mut jwk = jwk.clone();
            jwk["alg"] = bound.name().into();
            // A name of an algorithm that the key cannot be for leaves no key.
            let Ok(keys) = KeySet::from_json(jwk.to_string().as_bytes(), Origin::File, &[]) else {
                continue;
            };
            let token = signed["token"].as_str().unwrap();
            let judged = rules().judge(token.as_bytes(), &keys, at(NOW)).map(|_| ());
            let expected =
                if bound == algorithm(signed) { Ok(()) } else { Err(Rejection::AlgorithmNotOfKey) };
            assert_eq!(judged, expected, "{} by a key for {}", signed["algorithm"], bound.name());
        }
    }
}

proptest! {
    /// A token is worth nothing as soon as a single bit of it is another.
    #[test]
    fn no_changed_token_is_taken(which in 0..23_usize, place: prop::sample::Index, bit in 0..7_u8) {
        let file = written();
        let tokens = file["tokens"].as_array().unwrap();
        let mut token = tokens[which % tokens.len()]["token"].as_str().unwrap().as_bytes().to_vec();
        let place = place.index(token.len());
        token[place] ^= 1 << bit;
        prop_assert!(rules().judge(&token, &all_keys(), at(NOW)).is_err());
    }

    /// Whatever arrives is judged, and what nobody signed is refused.
    #[test]
    fn no_bytes_without_a_signature_are_taken(bytes: Vec<u8>, header: Vec<u8>, claims: Vec<u8>) {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        prop_assert!(rules().judge(&bytes, &all_keys(), at(NOW)).is_err());
        let shaped = format!("{}.{}.AAAA", BASE64.encode(header), BASE64.encode(claims));
        prop_assert!(rules().judge(shaped.as_bytes(), &all_keys(), at(NOW)).is_err());
    }
}

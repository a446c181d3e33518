//! Keys of an issuer that come from its address.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use dunlin_auth::http::Url;
use dunlin_auth::jwt::{
    JwksConfig, JwtAuthenticator, JwtConfig, KeySet, Rejection, RemoteError, RemoteKeys,
};
use dunlin_broker::{AuthRequest, Authenticator, Decision, Peer, Version};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::service::{Reply, Service};

/// The key of an issuer, of which only the public part is told.
struct Signer {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        Self { id, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id, "x": x, "y": y})
    }

    fn token(&self) -> String {
        let header = json!({"alg": "ES256", "kid": self.id}).to_string();
        let claims = json!({"sub": "alice", "exp": 4_102_444_800_u64}).to_string();
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64.encode(signature.as_ref()))
    }
}

fn set(signers: &[&Signer]) -> Reply {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    Reply::json(&json!({"keys": keys}))
}

fn config(service: &Service) -> JwksConfig {
    let mut config = JwksConfig::new(Url::parse(&service.url("/jwks.json")).unwrap());
    config.http.ca_file = Some(service.certificate());
    config.unknown_key_wait = Duration::ZERO;
    config
}

fn step(config: JwksConfig) -> JwtAuthenticator {
    let keys = RemoteKeys::new(config).unwrap();
    let step = JwtAuthenticator::new(JwtConfig::default(), KeySet::default(), Some(keys));
    step.fetch();
    step
}

async fn outcome(step: &JwtAuthenticator, token: &str) -> String {
    let request = AuthRequest {
        client_id: "c".to_owned(),
        version: Version::V5,
        address: None,
        listener: "test".to_owned(),
        peer: Peer::default(),
        user_name: None,
        password: Some(Bytes::copy_from_slice(token.as_bytes())),
        method: None,
        data: None,
        reauthentication: false,
        state: None,
    };
    match step.authenticate(request).await.decision {
        Decision::Accept { identity, .. } => format!("accept {}", identity.user),
        Decision::Refuse(reason) => format!("refuse {:#x}", reason as u8),
        Decision::PassOn => "pass on".to_owned(),
        Decision::Continue { .. } => "continue".to_owned(),
    }
}

#[tokio::test]
async fn keys_come_by_https_before_the_first_client_is_judged() {
    let signer = Signer::new("one");
    let service = Service::secure(set(&[&signer])).await;
    let step = step(config(&service));
    assert_eq!(outcome(&step, &signer.token()).await, "accept alice");
    let (head, _) = service.questions().remove(0);
    assert!(head.starts_with("get /jwks.json http/1.1\r\n"), "{head}");
    // Another key of the same name proves nothing.
    assert_eq!(outcome(&step, &Signer::new("one").token()).await, "refuse 0x86");
    assert_eq!(step.rejected(Rejection::Signature), 1);
    assert_eq!(service.questions().len(), 1);
}

#[tokio::test]
async fn a_token_of_a_new_key_makes_the_keys_come_anew() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let service = Service::start(set(&[&old])).await;
    let step = step(config(&service));
    assert_eq!(outcome(&step, &old.token()).await, "accept alice");
    service.says(set(&[&new]));
    assert_eq!(outcome(&step, &new.token()).await, "accept alice");
    // What the issuer has taken back counts no more.
    assert_eq!(outcome(&step, &old.token()).await, "refuse 0x86");
    assert_eq!(step.rejected(Rejection::KeyUnknown), 1);
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_broker_ask_again_and_again() {
    let signer = Signer::new("one");
    let service = Service::start(set(&[&signer])).await;
    let mut config = config(&service);
    config.unknown_key_wait = Duration::from_secs(3_600);
    let step = step(config);
    assert_eq!(outcome(&step, &signer.token()).await, "accept alice");
    for _ in 0..20 {
        assert_eq!(outcome(&step, &Signer::new("other").token()).await, "refuse 0x86");
    }
    assert_eq!(service.questions().len(), 1);
    assert_eq!(step.rejected(Rejection::KeyUnknown), 20);
}

#[tokio::test]
async fn the_last_keys_stay_while_the_address_fails() {
    let (signer, other) = (Signer::new("one"), Signer::new("other"));
    let service = Service::start(set(&[&signer])).await;
    let step = step(config(&service));
    assert_eq!(outcome(&step, &signer.token()).await, "accept alice");
    let many = json!({"keys": vec![signer.jwk(); 65]});
    let failures = [
        Reply::Says(500, String::new()),
        Reply::Says(200, "no keys".to_owned()),
        Reply::Says(200, r#"{"keys": []}"#.to_owned()),
        Reply::json(&many),
        Reply::Says(200, " ".repeat(256 * 1024 + 1)),
        Reply::Raw(Vec::new()),
    ];
    for (number, failure) in failures.into_iter().enumerate() {
        service.says(failure);
        assert_eq!(outcome(&step, &other.token()).await, "refuse 0x86");
        service.asked(number + 2).await;
        assert_eq!(outcome(&step, &signer.token()).await, "accept alice");
    }
}

#[tokio::test]
async fn while_there_are_no_keys_clients_are_told_to_come_again() {
    let signer = Signer::new("one");
    let service = Service::start(Reply::Says(503, String::new())).await;
    let mut config = config(&service);
    config.unknown_key_wait = Duration::from_secs(3_600);
    let step = step(config);
    assert_eq!(outcome(&step, &signer.token()).await, "refuse 0x88");
    assert_eq!(step.rejected(Rejection::KeysMissing), 1);
    // A second later the address is asked again.
    service.says(set(&[&signer]));
    service.asked(2).await;
    while outcome(&step, &signer.token()).await != "accept alice" {
        tokio::task::yield_now().await;
    }
}

#[test]
fn keys_are_not_asked_for_where_they_can_be_changed_on_their_way() {
    let config = JwksConfig::new(Url::parse("http://issuer.example/jwks.json").unwrap());
    let error = RemoteKeys::new(config).expect_err("refused");
    assert!(matches!(error, RemoteError::Exposed(_)));
    assert_eq!(
        error.to_string(),
        "http://issuer.example/jwks.json is asked without TLS: keys that can be changed on their way prove nothing"
    );
}

#[tokio::test]
async fn the_task_ends_with_the_keys() {
    let service = Service::start(Reply::Silence).await;
    let keys = RemoteKeys::new(config(&service)).unwrap();
    // However often it is called, there is one task.
    keys.fetch();
    keys.fetch();
    service.asked(1).await;
    assert_eq!(service.questions().len(), 1);
    assert!(keys.current().is_none());
    drop(keys);
    let alive = || Handle::current().metrics().num_alive_tasks();
    // The service's two tasks, and nothing of the client that waits for an answer.
    while alive() > 2 {
        tokio::task::yield_now().await;
    }
}

//! Tokens through a whole broker: who comes in, who has to go when the token ends, and who stays by a newer one.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

#[path = "jwt/fixtures.rs"]
#[expect(dead_code, reason = "another test uses the rest of it")]
mod fixtures;
#[path = "../../broker/tests/sockets/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dunlin_auth::jwt::{JwtAuthenticator, JwtConfig};
use serde_json::json;

use fixtures::{secret_key, token};
use support::*;

/// Long enough for a test to be over, however slow the machine.
const LONG: f64 = 3_600.0;

/// A broker that lets in by tokens, to the moment.
async fn server() -> Server {
    let mut config = JwtConfig::default();
    config.rules.claims.leeway = Duration::ZERO;
    let step = JwtAuthenticator::new(config, secret_key(), None);
    Server::built(
        |config| config.listeners[0].allow_anonymous = false,
        |builder| builder.authenticator(Arc::new(step)),
    )
    .await
}

/// A token of `user` that ends so many seconds from now.
fn lasting(user: &str, seconds: f64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    token(&json!({"sub": user, "exp": now + seconds}))
}

versions!(a_token_lets_in_until_it_ends: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] [MQTT-4.13.2-1] [MQTT-4.8.0-2 @3.1.1]
async fn a_token_lets_in_until_it_ends(version: Version) {
    let server = server().await;
    let mut stays = server.connect(connect(version, "a").user("x", &lasting("alice", LONG))).await;
    let mut goes = server.connect(connect(version, "b").user("x", &lasting("bob", 0.6))).await;
    let wrong = ReasonCode::BadUserNameOrPassword;
    server.refused(connect(version, "c").user("x", &lasting("carol", -0.1)), wrong).await;
    server.refused(connect(version, "c").user("x", "a password"), wrong).await;
    goes.expect_end(ReasonCode::NotAuthorized).await;
    server.counts_ended(EndReason::AuthenticationExpired, 1).await;
    stays.ping().await;
}

versions!(a_client_stays_by_a_newer_token: V5);
// [MQTT-4.12.1-1] [MQTT-4.12.1-2] [MQTT-4.12.0-5]
async fn a_client_stays_by_a_newer_token(version: Version) {
    let server = server().await;
    let by_method =
        |id: &str, seconds: f64| connect(version, id).method("JWT", &lasting("alice", seconds));
    let mut stays = server.connect(by_method("stays", 0.8)).await;
    let mut goes = server.connect(by_method("goes", 0.8)).await;
    let again = auth(ReasonCode::ReAuthenticate, "JWT", &lasting("alice", LONG));
    stays.send(again).await;
    let mut answer = auth(ReasonCode::Success, "JWT", "");
    answer.data = None;
    stays.expect(answer).await;
    goes.expect_end(ReasonCode::NotAuthorized).await;
    stays.ping().await;

    // One that has ended, or is another's, is no newer one.
    for token in [lasting("alice", -1.0), lasting("bob", LONG)] {
        let mut client = server.connect(by_method("other", LONG)).await;
        client.send(auth(ReasonCode::ReAuthenticate, "JWT", &token)).await;
        client.expect_end(ReasonCode::NotAuthorized).await;
    }
    stays.ping().await;
    server.refused(by_method("late", -1.0), ReasonCode::NotAuthorized).await;
}

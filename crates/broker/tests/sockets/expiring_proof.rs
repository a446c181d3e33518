//! What a client proved itself by ends, as a token does, and how a client stays by proving itself anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_broker::{AuthRequest, Authenticator, BoxFuture, Decision, Identity, Step};

use crate::support::*;

/// Far enough for a test to be over, however slow the machine.
const LONG: u64 = 3_600_000;

/// Takes `USER MILLISECONDS` for a proof of being that user which lasts that long; as the Password, or in an AUTH exchange.
#[derive(Debug)]
struct Tokens;

impl Authenticator for Tokens {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        let shown = request.data.as_ref().or(request.password.as_ref());
        let token = shown.and_then(|shown| std::str::from_utf8(shown).ok());
        let parts = token.and_then(|token| token.split_once(' '));
        let decision = match parts.and_then(|(user, millis)| Some((user, millis.parse().ok()?))) {
            Some((user, millis)) => {
                let mut identity = Identity::named(user);
                identity.expires = Some(Instant::now() + Duration::from_millis(millis));
                Decision::Accept { identity, data: None }
            }
            None => Decision::Refuse(ReasonCode::BadUserNameOrPassword),
        };
        Box::pin(std::future::ready(Step { decision, request }))
    }
}

async fn gated() -> Server {
    Server::built(
        |config| config.listeners[0].allow_anonymous = false,
        |builder| builder.authenticator(Arc::new(Tokens)),
    )
    .await
}

fn token(user: &str, millis: u64) -> String {
    format!("{user} {millis}")
}

/// CONNECT with the token as Password.
fn shown(version: Version, id: &str, token: &str) -> Connect {
    connect(version, id).user("anybody", token)
}

versions!(a_connection_ends_with_the_proof: V3_1, V3_1_1, V5);
// [MQTT-4.13.2-1] 0x87; 3.x has no word for it, so the connection is closed. [MQTT-4.8.0-2 @3.1.1] The Will goes out.
async fn a_connection_ends_with_the_proof(version: Version) {
    let server = gated().await;
    let mut watcher = server.connect(shown(Version::V5, "watcher", &token("w", LONG))).await;
    watcher.subscribe("will", QOS0).await;
    let packet = shown(version, "s", &token("alice", 300)).kept().will(will("will", "gone"));
    let mut client = server.connect(packet).await;
    client.subscribe("a", QOS1).await;
    client.expect_end(ReasonCode::NotAuthorized).await;
    watcher.expect(publish("will", "gone")).await;
    server.counts_ended(EndReason::AuthenticationExpired, 1).await;

    // The session outlives it and waits for another proof.
    let client = server.connect(shown(version, "s", &token("alice", LONG)).kept()).await;
    client.assert_session_present(true);
}

versions!(a_client_that_never_pauses_is_ended_too: V3_1, V3_1_1, V5);
// A connection that always has something to read does not outlive its proof by that.
async fn a_client_that_never_pauses_is_ended_too(version: Version) {
    let server = gated().await;
    let mut client = server.connect(shown(version, "s", &token("alice", 300))).await;
    let flood = client.encoded(publish("nobody", vec![b'x'; 1_000])).repeat(100);
    within("the broker to close", async { while client.try_send_bytes(&flood).await.is_ok() {} })
        .await;
    server.counts_ended(EndReason::AuthenticationExpired, 1).await;
}

versions!(a_newer_proof_takes_the_place_of_the_first: V5);
// [MQTT-4.12.1-1] Who proves itself anew stays; who does so by something that ends earlier goes earlier.
async fn a_newer_proof_takes_the_place_of_the_first(version: Version) {
    let server = gated().await;
    let mut stays =
        server.connect(connect(version, "stays").method("TOKEN", &token("alice", 400))).await;
    let mut goes =
        server.connect(connect(version, "goes").method("TOKEN", &token("alice", LONG))).await;
    for (client, millis) in [(&mut stays, LONG), (&mut goes, 400)] {
        client.send(auth(ReasonCode::ReAuthenticate, "TOKEN", &token("alice", millis))).await;
        client.receive().await;
    }
    goes.expect_end(ReasonCode::NotAuthorized).await;
    // What the first one began with has ended as well by now.
    stays.ping().await;
    server.counts_ended(EndReason::AuthenticationExpired, 1).await;
}

versions!(nobody_becomes_another_by_proving_itself_anew: V5);
// [MQTT-4.12.1-2] The session belongs to who made it.
async fn nobody_becomes_another_by_proving_itself_anew(version: Version) {
    let server = gated().await;
    let packet = connect(version, "s").method("TOKEN", &token("alice", LONG));
    let mut client = server.connect(packet).await;
    client.send(auth(ReasonCode::ReAuthenticate, "TOKEN", &token("carol", LONG))).await;
    client.expect_end(ReasonCode::NotAuthorized).await;
}

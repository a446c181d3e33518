//! Who is let in, by User Name and Password or in an AUTH exchange.

use std::sync::Arc;

use dunlin_broker::{AuthRequest, Authenticator, BoxFuture, Decision, Identity, Step};

use crate::support::*;

/// Lets `alice` and `carol` in by their password, and whoever answers the riddle of method `RIDDLE`.
#[derive(Debug)]
struct Gate;

impl Authenticator for Gate {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let accept =
                |user: &str| Decision::Accept { identity: Identity::named(user), data: None };
            let data = request.data.as_deref();
            let decision = match (request.method.as_deref(), request.user_name.as_deref()) {
                (Some("RIDDLE"), _) => match data {
                    Some(b"begin") => Decision::Continue {
                        data: Some(Bytes::from_static(b"what has keys and no locks?")),
                        state: Box::new(7_u32),
                    },
                    Some(b"a piano") => {
                        let state =
                            request.state.as_ref().and_then(|state| state.downcast_ref::<u32>());
                        assert_eq!(state, Some(&7));
                        Decision::Accept {
                            identity: Identity::named("piano"),
                            data: Some(Bytes::from_static(b"welcome")),
                        }
                    }
                    _ => Decision::Refuse(ReasonCode::NotAuthorized),
                },
                (None, Some(user @ ("alice" | "carol")))
                    if request.password.as_deref() == Some(b"secret") =>
                {
                    accept(user)
                }
                (None, Some("alice")) => Decision::Refuse(ReasonCode::BadUserNameOrPassword),
                _ => Decision::PassOn,
            };
            Step { decision, request }
        })
    }
}

async fn gated() -> Server {
    Server::built(
        |config| config.listeners[0].allow_anonymous = false,
        |builder| builder.authenticator(Arc::new(Gate)),
    )
    .await
}

versions!(an_authenticator_decides_who_comes_in: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x86, 0x87; 4, 5 in 3.x.
async fn an_authenticator_decides_who_comes_in(version: Version) {
    let server = gated().await;
    let mut alice = server.connect(connect(version, "s").user("alice", "secret")).await;
    alice.ping().await;
    let wrong = connect(version, "t").user("alice", "guess");
    server.refused(wrong, ReasonCode::BadUserNameOrPassword).await;
    server.refused(connect(version, "t").user("bob", "x"), ReasonCode::BadUserNameOrPassword).await;
    server.refused(connect(version, "t"), ReasonCode::NotAuthorized).await;
    alice.ping().await;
}

versions!(a_refused_client_disturbs_nobody: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] [MQTT-3.1.4-3] Who is not let in takes nobody over.
async fn a_refused_client_disturbs_nobody(version: Version) {
    let server = gated().await;
    let mut alice = server.connect(connect(version, "s").user("alice", "secret").kept()).await;
    alice.subscribe("a", QOS1).await;
    let wrong = connect(version, "s").user("alice", "guess").clean(true);
    server.refused(wrong, ReasonCode::BadUserNameOrPassword).await;
    alice.ping().await;
}

versions!(a_session_belongs_to_who_made_it: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] [MQTT-3.1.3-2] Another user neither resumes it, nor takes it over, nor ends it. 0x85; 2 in 3.x.
async fn a_session_belongs_to_who_made_it(version: Version) {
    let server = gated().await;
    let packet = || connect(version, "s").user("alice", "secret").kept();
    let mut alice = server.connect(packet()).await;
    alice.subscribe("a", QOS1).await;
    for clean in [false, true] {
        let other = connect(version, "s").user("carol", "secret").clean(clean);
        server.refused(other, ReasonCode::ClientIdentifierNotValid).await;
    }
    alice.ping().await;
    server.disconnect(alice).await;
    let other = connect(version, "s").user("carol", "secret").clean(true);
    server.refused(other, ReasonCode::ClientIdentifierNotValid).await;
    let alice = server.connect(packet()).await;
    alice.assert_session_present(true);
}

versions!(an_auth_exchange_leads_to_connack: V5);
// [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.15.2-1] [MQTT-3.2.0-1]
async fn an_auth_exchange_leads_to_connack(version: Version) {
    let server = gated().await;
    let mut client = server.dial(version).await;
    client.send(connect(version, "s").method("RIDDLE", "begin")).await;
    client
        .expect(auth(ReasonCode::ContinueAuthentication, "RIDDLE", "what has keys and no locks?"))
        .await;
    client.send(auth(ReasonCode::ContinueAuthentication, "RIDDLE", "a piano")).await;
    client.expect_connack(false).await;
    let properties = &client.connack().properties;
    assert_eq!(properties.authentication_method, Some(wire_text("RIDDLE")));
    assert_eq!(properties.authentication_data.as_deref(), Some(&b"welcome"[..]));
    client.ping().await;

    // Once more, while connected. [MQTT-4.12.1-1]
    client.send(auth(ReasonCode::ReAuthenticate, "RIDDLE", "begin")).await;
    client
        .expect(auth(ReasonCode::ContinueAuthentication, "RIDDLE", "what has keys and no locks?"))
        .await;
    client.ping().await;
    client.send(auth(ReasonCode::ContinueAuthentication, "RIDDLE", "a piano")).await;
    client.expect(auth(ReasonCode::Success, "RIDDLE", "welcome")).await;
    client.ping().await;
}

versions!(a_failed_auth_exchange_ends_the_connection: V5);
// [MQTT-4.12.0-4] [MQTT-4.12.1-2] [MQTT-4.12.1-1] [MQTT-4.12.0-5] [MQTT-3.1.2-30]
async fn a_failed_auth_exchange_ends_the_connection(version: Version) {
    let server = gated().await;
    let begin = async || {
        let mut client = server.dial(version).await;
        client.send(connect(version, "s").method("RIDDLE", "begin")).await;
        client
            .expect(auth(
                ReasonCode::ContinueAuthentication,
                "RIDDLE",
                "what has keys and no locks?",
            ))
            .await;
        client
    };
    let mut client = begin().await;
    client.send(auth(ReasonCode::ContinueAuthentication, "RIDDLE", "a safe")).await;
    client.expect_connack_refusal(ReasonCode::NotAuthorized).await;

    let mut client = begin().await;
    client.send(auth(ReasonCode::ContinueAuthentication, "OTHER", "a piano")).await;
    client.expect_refusal_or_end().await;

    // Nothing but AUTH and DISCONNECT may come before CONNACK.
    let mut client = begin().await;
    client.send(publish("a", "x")).await;
    client.expect_refusal_or_end().await;

    for (method, data, reason) in [
        ("RIDDLE", "a safe", ReasonCode::NotAuthorized),
        ("OTHER", "begin", ReasonCode::ProtocolError),
    ] {
        let mut client = begin().await;
        client.send(auth(ReasonCode::ContinueAuthentication, "RIDDLE", "a piano")).await;
        client.expect_connack(false).await;
        client.send(auth(ReasonCode::ReAuthenticate, method, data)).await;
        client.expect_end(reason).await;
    }
}

//! Whom a listener asks about its clients, and what guards hear and say about logins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunlin_broker::{
    AuthRequest, Authenticator, BoxFuture, Decision, Identity, ListenerConfig, Login, LoginGuard,
    ServerError, Step,
};

use crate::support::*;

/// Lets one user in with the password `secret`, refuses that user with another, and knows nobody else.
struct Knows(&'static str);

impl Authenticator for Knows {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let decision = match (request.user_name.as_deref(), request.password.as_deref()) {
                (Some("panics"), _) => panic!("on purpose"),
                (Some("slow"), _) => std::future::pending().await,
                (Some(user), Some(b"secret")) if user == self.0 => {
                    Decision::Accept { identity: Identity::named(user), data: None }
                }
                (Some(user), _) if user == self.0 => Decision::Refuse(ReasonCode::NotAuthorized),
                _ => Decision::PassOn,
            };
            Step { decision, request }
        })
    }
}

/// Notes what it hears, and does not admit `banned`.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no panic while locked"))
    }
}

impl LoginGuard for Notes {
    fn admit(&self, request: &AuthRequest) -> Result<(), ReasonCode> {
        match request.user_name.as_deref() {
            Some("banned") => Err(ReasonCode::Banned),
            _ => Ok(()),
        }
    }

    fn judged(&self, login: &Login<'_>) {
        let user = login.request.user_name.as_deref().unwrap_or("-");
        let outcome = match login.outcome {
            Ok(identity) => format!("is {:?}", identity.user),
            Err(reason) => format!("{reason:?}"),
        };
        let note = format!("{} {user}: {:?} says {outcome}", login.request.listener, login.by);
        self.0.lock().expect("no panic while locked").push(note);
    }
}

async fn guarded(configure: impl FnOnce(&mut ListenerConfig)) -> (Server, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let guard = Arc::clone(&notes);
    let server = Server::built(
        |config| {
            config.limits.hook_deadline = Duration::from_millis(100);
            configure(&mut config.listeners[0]);
        },
        |builder| {
            builder
                .named_authenticator("first", Arc::new(Knows("alice")))
                .named_authenticator("second", Arc::new(Knows("bob")))
                .login_guard(guard)
        },
    )
    .await;
    (server, notes)
}

versions!(a_listener_asks_all_in_their_order_or_those_it_names: V3_1, V3_1_1, V5);
async fn a_listener_asks_all_in_their_order_or_those_it_names(version: Version) {
    let chains: [(Option<&[&str]>, [&str; 2]); 4] = [
        (None, ["test alice: \"first\" says is \"alice\"", "test bob: \"second\" says is \"bob\""]),
        (
            Some(&["second", "first"]),
            ["test alice: \"first\" says is \"alice\"", "test bob: \"second\" says is \"bob\""],
        ),
        (
            Some(&["second"]),
            ["test alice: \"\" says BadUserNameOrPassword", "test bob: \"second\" says is \"bob\""],
        ),
        (Some(&[]), ["test alice: \"\" says is \"\"", "test bob: \"\" says is \"\""]),
    ];
    for (names, expected) in chains {
        let (server, notes) = guarded(|listener| {
            listener.authentication =
                names.map(|names| names.iter().map(ToString::to_string).collect());
        })
        .await;
        for user in ["alice", "bob"] {
            let mut client = server.dial(version).await;
            client.send(connect(version, user).user(user, "secret")).await;
            client.answered().await;
        }
        assert_eq!(notes.take(), expected, "{names:?}");
    }
}

#[tokio::test]
async fn a_listener_cannot_ask_whom_nobody_knows() {
    let mut listener = ListenerConfig::new("lan", free_port());
    listener.authentication = Some(vec!["fist".to_owned()]);
    let mut config = dunlin_broker::Config::default();
    config.listeners = vec![listener];
    let builder = dunlin_broker::Broker::builder().config(config);
    let started = builder.named_authenticator("first", Arc::new(Knows("alice"))).start().await;
    let Err(ServerError::Config(invalid)) = started else { panic!("{started:?}") };
    assert_eq!(
        (invalid.setting(), invalid.reason()),
        ("listeners.lan.authentication", "names an authenticator that is not there")
    );
}

#[tokio::test]
async fn a_listener_for_others_needs_a_chain_of_its_own() {
    let mut listener = ListenerConfig::new(
        "lan",
        "0.0.0.0:0".parse::<std::net::SocketAddr>().expect("an address"),
    );
    listener.authentication = Some(Vec::new());
    let mut config = dunlin_broker::Config::default();
    config.listeners = vec![listener];
    let builder = dunlin_broker::Broker::builder().config(config);
    let started = builder.authenticator(Arc::new(Knows("alice"))).start().await;
    assert!(
        matches!(&started, Err(ServerError::Unprotected { name, .. }) if name == "lan"),
        "{started:?}"
    );
}

versions!(credentials_that_nobody_knows_are_refused_where_anonymous_clients_are_welcome: V3_1, V3_1_1, V5);
async fn credentials_that_nobody_knows_are_refused_where_anonymous_clients_are_welcome(
    version: Version,
) {
    let (server, notes) = guarded(|listener| listener.allow_anonymous = true).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.ping().await;
    let unknown = connect(version, "t").user("carol", "secret");
    server.refused(unknown, ReasonCode::BadUserNameOrPassword).await;
    assert_eq!(
        notes.take(),
        ["test -: \"\" says is \"\"", "test carol: \"\" says BadUserNameOrPassword"]
    );
}

versions!(a_guard_refuses_before_anybody_is_asked: V3_1, V3_1_1, V5);
async fn a_guard_refuses_before_anybody_is_asked(version: Version) {
    let (server, notes) = guarded(|_| {}).await;
    let banned = connect(version, "s").user("banned", "secret");
    server.refused(banned, ReasonCode::Banned).await;
    assert_eq!(notes.take(), [""; 0]);
    let metrics = server.metrics();
    assert_eq!((metrics.logins_not_admitted, metrics.logins_refused), (1, 0));
}

versions!(an_authenticator_that_panics_or_hangs_costs_one_login: V3_1, V3_1_1, V5);
async fn an_authenticator_that_panics_or_hangs_costs_one_login(version: Version) {
    let (server, notes) = guarded(|_| {}).await;
    let mut client = server.dial(version).await;
    client.send(connect(version, "s").user("panics", "secret")).await;
    client.expect_refusal_or_end().await;
    server.refused(connect(version, "s").user("slow", "secret"), ReasonCode::ServerBusy).await;
    let mut bob = server.connect(connect(version, "s").user("bob", "secret")).await;
    bob.ping().await;
    assert_eq!(notes.take(), ["test bob: \"second\" says is \"bob\""]);
    let metrics = server.metrics();
    assert_eq!((metrics.hook_panics, metrics.logins_late, metrics.logins_refused), (1, 1, 0));
}

//! A file of users before a whole broker: passwords in every version, SCRAM by the client of another project, and who waits.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

#[path = "../../broker/tests/sockets/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use dunlin_auth::{
    Audit, PasswordFile, PasswordFileOptions, Rate, Throttle, ThrottleRules, User, Users, Verifier,
    Workers, WorkersOptions,
};
use rsasl::prelude::{Mechname, SASLClient, SASLConfig, Session};
use tempfile::TempDir;

use support::*;

/// `secret` and `other`, by `argon2 somesalt -id -t 2 -k 64 -p 1 -l 24 -e`: at a cost that suits a test.
const SECRET: &str = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$XNht5dmC0J+tiCljQyIRmqlu/tC+ySPM";
const OTHER: &str = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$xoPlGZEPeou/OX19uDA1+KyC6JslEN6f";

const METHOD: &str = "SCRAM-SHA-256";

/// A broker with a file of users, which is there as long as this.
struct Guarded {
    server: Server,
    file: Arc<PasswordFile>,
    throttle: Arc<Throttle>,
    folder: TempDir,
}

impl Guarded {
    /// Knows `alice` and `carol`, both with the password `secret`; of `alice` it has a verifier too.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let verifier = Verifier::make("secret").unwrap();
        let lines = format!("alice:{SECRET}:role=reader:scram={verifier}\ncarol:{SECRET}\n");
        std::fs::write(&path, lines).unwrap();
        let workers = Workers::start(WorkersOptions::default()).unwrap();
        let file = PasswordFile::open(path, PasswordFileOptions::default(), workers).unwrap();
        let file = Arc::new(file);
        // A day is longer than any test.
        let mut rules = ThrottleRules::default();
        rules.per_address_and_user = Rate::new(5, Duration::from_secs(86_400));
        let throttle = Arc::new(Throttle::new(rules));
        let (step, guard) = (Arc::clone(&file), Arc::clone(&throttle));
        let server = Server::built(
            |config| config.listeners[0].allow_anonymous = false,
            |builder| {
                let builder = builder.named_authenticator("file", step);
                builder.login_guard(guard).login_guard(Arc::new(Audit))
            },
        )
        .await;
        Self { server, file, throttle, folder }
    }

    fn change(&self, change: impl FnOnce(&mut Users)) {
        let path = self.folder.path().join("users");
        let mut users = Users::read(&path).unwrap();
        change(&mut users);
        users.write(&path).unwrap();
        assert!(self.file.reload().unwrap());
        assert!(!self.file.reload().unwrap());
    }
}

versions!(a_right_password_comes_in_and_nothing_else_does: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x86; 4 in 3.x. Who is not there hears the same as who has another password.
async fn a_right_password_comes_in_and_nothing_else_does(version: Version) {
    let guarded = Guarded::start().await;
    let server = &guarded.server;
    for _ in 0..2 {
        let mut alice = server.connect(connect(version, "s").user("alice", "secret")).await;
        alice.ping().await;
        for (user, password) in [("alice", "Secret"), ("nobody", "secret")] {
            let wrong = connect(version, "t").user(user, password);
            server.refused(wrong, ReasonCode::BadUserNameOrPassword).await;
        }
    }
    server.refused(connect(version, "t"), ReasonCode::NotAuthorized).await;
}

versions!(a_changed_file_holds_at_once: V3_1, V3_1_1, V5);
async fn a_changed_file_holds_at_once(version: Version) {
    let guarded = Guarded::start().await;
    let server = &guarded.server;
    let right = || connect(version, "s").user("carol", "secret");
    server.connect(right()).await.ping().await;
    guarded.change(|users| {
        let mut carol = users.user("carol").unwrap().clone();
        carol.password = OTHER.parse().unwrap();
        users.put(carol);
    });
    // What was right before was remembered, and is not any more.
    server.refused(right(), ReasonCode::BadUserNameOrPassword).await;
    server.connect(connect(version, "s").user("carol", "other")).await.ping().await;
    guarded.change(|users| {
        users.remove("carol").unwrap();
        users.put(User::new("carol").unwrap());
    });
    let without_password = connect(version, "s").user("carol", "other");
    server.refused(without_password, ReasonCode::BadUserNameOrPassword).await;
}

versions!(who_fails_too_often_waits_and_others_do_not: V3_1, V3_1_1, V5);
// 0x9F; 3 in 3.x.
async fn who_fails_too_often_waits_and_others_do_not(version: Version) {
    let guarded = Guarded::start().await;
    let server = &guarded.server;
    for _ in 0..5 {
        let wrong = connect(version, "t").user("alice", "guess");
        server.refused(wrong, ReasonCode::BadUserNameOrPassword).await;
    }
    let right = connect(version, "t").user("alice", "secret");
    server.refused(right, ReasonCode::ConnectionRateExceeded).await;
    server.connect(connect(version, "s").user("carol", "secret")).await.ping().await;
    assert_eq!(guarded.throttle.refused(), 1);
    let metrics = server.metrics();
    assert_eq!((metrics.logins_refused, metrics.logins_not_admitted), (5, 1));
}

/// A client's side of SCRAM-SHA-256, which another project wrote.
struct Scram(Session);

impl Scram {
    fn new(user: &str, password: &str) -> Self {
        let config = SASLConfig::with_credentials(None, user.into(), password.into()).unwrap();
        let mechanism = Mechname::parse(METHOD.as_bytes()).unwrap();
        Self(SASLClient::new(config).start_suggested(&[mechanism]).unwrap())
    }

    /// What the client says to what the server said, and whether that is all; it has to believe the server.
    fn step(&mut self, input: Option<&[u8]>) -> (String, bool) {
        let mut out = Vec::new();
        let state = self.0.step(input, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), state.is_finished())
    }

    fn first(&mut self) -> String {
        self.step(None).0
    }

    fn proof(&mut self, server_first: &[u8]) -> String {
        self.step(Some(server_first)).0
    }

    fn believes(&mut self, server_final: &[u8]) -> bool {
        self.step(Some(server_final)).1
    }
}

/// The data of an AUTH with this reason.
async fn received(client: &mut Client, reason: ReasonCode) -> Bytes {
    match client.receive().await {
        Packet::Auth(auth) => {
            assert_eq!(auth.reason_code, reason);
            auth.data.unwrap()
        }
        other => panic!("AUTH was to come, not {other:?}"),
    }
}

const GO_ON: ReasonCode = ReasonCode::ContinueAuthentication;

versions!(scram_lets_in_and_proves_the_server_and_again_while_connected: V5);
// [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.1-1] [MQTT-4.12.1-2]
async fn scram_lets_in_and_proves_the_server_and_again_while_connected(version: Version) {
    let guarded = Guarded::start().await;
    let mut scram = Scram::new("alice", "secret");
    let mut client = guarded.server.dial(version).await;
    client.send(connect(version, "s").method(METHOD, &scram.first())).await;
    let server_first = received(&mut client, GO_ON).await;
    client.send(auth(GO_ON, METHOD, &scram.proof(&server_first))).await;
    client.expect_connack(false).await;
    let server_final = client.connack().properties.authentication_data.clone().unwrap();
    assert!(scram.believes(&server_final));
    client.ping().await;

    let mut scram = Scram::new("alice", "secret");
    client.send(auth(ReasonCode::ReAuthenticate, METHOD, &scram.first())).await;
    let server_first = received(&mut client, GO_ON).await;
    client.send(auth(GO_ON, METHOD, &scram.proof(&server_first))).await;
    assert!(scram.believes(&received(&mut client, ReasonCode::Success).await));
    client.ping().await;

    // A wrong proof ends it.
    let mut scram = Scram::new("alice", "guess");
    client.send(auth(ReasonCode::ReAuthenticate, METHOD, &scram.first())).await;
    let server_first = received(&mut client, GO_ON).await;
    client.send(auth(GO_ON, METHOD, &scram.proof(&server_first))).await;
    client.expect_end(ReasonCode::NotAuthorized).await;
}

versions!(scram_tells_nobody_who_is_there: V5);
// [MQTT-4.12.0-4]
async fn scram_tells_nobody_who_is_there(version: Version) {
    let guarded = Guarded::start().await;
    // Salt and iterations as the server says them; then it refuses.
    let begin = async |user: &str, password: &str| {
        let mut scram = Scram::new(user, password);
        let mut client = guarded.server.dial(version).await;
        client.send(connect(version, "s").method(METHOD, &scram.first())).await;
        let server_first = received(&mut client, GO_ON).await;
        client.send(auth(GO_ON, METHOD, &scram.proof(&server_first))).await;
        client.expect_connack_refusal(ReasonCode::NotAuthorized).await;
        let text = String::from_utf8(server_first.to_vec()).unwrap();
        text.split_once(",s=").unwrap().1.to_owned()
    };
    let alice = begin("alice", "guess").await;
    // Who is not there, and who is there without a verifier, looks the same: a salt of one length that stays as it is.
    let mut salts = vec![alice.clone()];
    for user in ["nobody", "carol"] {
        let once = begin(user, "secret").await;
        assert_eq!(once, begin(user, "secret").await);
        assert_eq!(once.len(), alice.len());
        assert!(once.ends_with(",i=4096"), "{once}");
        salts.push(once);
    }
    salts.sort();
    salts.dedup();
    assert_eq!(salts.len(), 3);
}

versions!(what_is_no_scram_is_refused: V5);
// [MQTT-4.12.0-1] [MQTT-4.12.0-4]
async fn what_is_no_scram_is_refused(version: Version) {
    let guarded = Guarded::start().await;
    for first in ["", "n,,n=alice", "p=tls-exporter,,n=alice,r=x"] {
        let packet = connect(version, "s").method(METHOD, first);
        guarded.server.refused(packet, ReasonCode::NotAuthorized).await;
    }
    let other = connect(version, "s").method("SCRAM-SHA-1", "n,,n=alice,r=x");
    guarded.server.refused(other, ReasonCode::BadAuthenticationMethod).await;
}

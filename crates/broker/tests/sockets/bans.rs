//! Who is not let in, by the operator's word or the broker's own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use dunlin_broker::config::Protocol;
use dunlin_broker::{
    AboveLimit, AuthRequest, Authenticator, Ban, BanList, BanTarget, BansConfig, BoxFuture, Config,
    Decision, Identity, Named, Step, TenantRule, UnixSeconds,
};

use crate::support::*;

/// Lets everybody in but those with the password `wrong`. A user `acme/alice` belongs to the tenant `acme`.
#[derive(Debug)]
struct Doorman;

impl Authenticator for Doorman {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let decision = match (&request.user_name, request.password.as_deref()) {
                (_, Some(b"wrong")) => Decision::Refuse(ReasonCode::BadUserNameOrPassword),
                (Some(user), _) => {
                    Decision::Accept { identity: Identity::named(user.clone()), data: None }
                }
                (None, _) => Decision::PassOn,
            };
            Step { decision, request }
        })
    }
}

async fn with(set: impl FnOnce(&mut BansConfig), bans: BanList) -> Server {
    Server::built(
        |config| {
            config.tenants.rules = vec![TenantRule::UserName { separator: '/' }];
            set(&mut config.bans);
        },
        |builder| builder.authenticator(Arc::new(Doorman)).bans(bans),
    )
    .await
}

fn of(target: BanTarget) -> Ban {
    Ban { target, until: None, reason: "a test".into() }
}

fn here() -> BanTarget {
    BanTarget::Address("127.0.0.0/8".parse().expect("a range"))
}

versions!(who_is_banned_is_told_and_not_let_in: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] [MQTT-3.1.4-3] 0x8A; 5 in 3.x. [MQTT-4.13.2-1] Who is there already is told 0x98.
async fn who_is_banned_is_told_and_not_let_in(version: Version) {
    let eve = || connect(version, "e").user("acme/eve", "x");
    for (target, also) in [
        (BanTarget::User(Named::anywhere("acme/eve")), connect(version, "f").user("acme/eve", "x")),
        (
            BanTarget::User(Named::of("acme", "acme/eve")),
            connect(version, "f").user("acme/eve", "x"),
        ),
        (BanTarget::Client(Named::anywhere("e")), connect(version, "e").user("other/bob", "x")),
        (BanTarget::Client(Named::of("acme", "e")), connect(version, "e").user("acme/bob", "x")),
        (here(), connect(version, "f").user("other/bob", "x")),
    ] {
        let server = with(|_| {}, BanList::default()).await;
        let mut there = server.connect(eve()).await;
        let mut other = server.connect(connect(version, "o").user("other/ann", "x")).await;
        assert_eq!(server.broker.ban(of(target.clone())), Ok(None));
        there.expect_end(ReasonCode::AdministrativeAction).await;
        server.refused(eve(), ReasonCode::Banned).await;
        server.refused(also, ReasonCode::Banned).await;
        assert_eq!(server.metrics().connects_banned, 2, "{target}");
        if target == here() {
            other.expect_end(ReasonCode::AdministrativeAction).await;
        } else {
            other.ping().await;
        }
        assert_eq!(server.broker.bans(), [of(target.clone())]);
        assert_eq!(server.broker.unban(&target), Some(of(target.clone())));
        assert_eq!(server.broker.unban(&target), None);
        let mut again = server.connect(eve()).await;
        again.ping().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_banned_in_one_tenant_is_somebody_else_in_another() {
    let server = with(|_| {}, BanList::default()).await;
    let mut other = server.connect(connect(Version::V5, "c").user("other/x", "x")).await;
    for target in
        [BanTarget::Client(Named::of("acme", "c")), BanTarget::User(Named::of("acme", "other/x"))]
    {
        assert_eq!(server.broker.ban(of(target)), Ok(None));
    }
    other.ping().await;
    server.refused(connect(Version::V5, "c").user("acme/x", "x"), ReasonCode::Banned).await;
    let mut again = server.connect(connect(Version::V5, "c").user("other/x", "x")).await;
    again.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bans_of_an_earlier_run_hold_and_those_whose_time_is_over_do_not() {
    let mut bans = BanList::default();
    for (id, until) in [("for ever", None), ("past", Some(UnixSeconds(1)))] {
        let target = BanTarget::Client(Named::anywhere(id));
        bans.add(Ban { until, ..of(target) }, UnixSeconds(0)).expect("there is room");
    }
    let server = with(|_| {}, bans).await;
    server.refused(connect(Version::V5, "for ever"), ReasonCode::Banned).await;
    let mut past = server.connect(connect(Version::V5, "past")).await;
    past.ping().await;
    assert_eq!(server.broker.bans(), [of(BanTarget::Client(Named::anywhere("for ever")))]);
    // Whoever keeps them hears of each change.
    let seen = server.broker.bans_changed(u64::MAX).await;
    server.broker.ban(of(here())).expect("there is room");
    assert_ne!(server.broker.bans_changed(seen).await, seen);
}

fn flapping(bans: &mut BansConfig) {
    bans.flap_connects = Some(3);
    bans.flap_within = Duration::from_secs(3_600);
}

versions!(who_connects_again_and_again_is_kept_out: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x8A; 5 in 3.x. In its own tenant only, and not by others' wrong passwords.
async fn who_connects_again_and_again_is_kept_out(version: Version) {
    let server = with(flapping, BanList::default()).await;
    for _ in 0..5 {
        let wrong = connect(version, "c").user("acme/a", "wrong");
        server.refused(wrong, ReasonCode::BadUserNameOrPassword).await;
    }
    for _ in 0..2 {
        let client = server.connect(connect(version, "c").user("acme/a", "x")).await;
        server.disconnect(client).await;
    }
    for _ in 0..2 {
        server.refused(connect(version, "c").user("acme/a", "x"), ReasonCode::Banned).await;
    }
    let mut other = server.connect(connect(version, "c").user("other/a", "x")).await;
    other.ping().await;
    assert_eq!((server.metrics().bans_made, server.metrics().connects_banned), (1, 2));
    let bans = server.broker.bans();
    let [Ban { target, until: Some(_), reason }] = &bans[..] else { panic!("{bans:?}") };
    assert_eq!(*target, BanTarget::Client(Named::of("acme", "c")));
    assert_eq!(&**reason, "connected 3 times in a short time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_with_one_client_id_the_one_that_is_there_stays() {
    let server = with(flapping, BanList::default()).await;
    let first = server.connect(connect(Version::V5, "c")).await;
    let mut second = server.connect(connect(Version::V5, "c")).await;
    drop(first);
    server.refused(connect(Version::V5, "c"), ReasonCode::Banned).await;
    second.ping().await;
}

/// A client from another address of this machine.
async fn from(last: u8, server: &Server, connect: Connect) -> Client {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).expect("an address of this machine");
    let stream = socket.connect(server.address()).await.expect("a connection");
    let mut client = Client::on(stream, connect.version);
    client.send(connect).await;
    client
}

versions!(an_address_from_which_logins_fail_is_kept_out_and_its_users_come_from_elsewhere: V3_1_1, V5);
// [MQTT-3.1.4-2] 0x8A; 5 in 3.x.
async fn an_address_from_which_logins_fail_is_kept_out_and_its_users_come_from_elsewhere(
    version: Version,
) {
    let failing = |bans: &mut BansConfig| {
        bans.failures = Some(3);
        bans.failures_within = Duration::from_secs(3_600);
        bans.exempt = vec!["127.0.0.9".parse().expect("a range")];
    };
    let server = with(failing, BanList::default()).await;
    let alice = |password| connect(version, "a").user("alice", password);
    let mut there = from(7, &server, connect(version, "b").user("bob", "x")).await;
    assert!(there.was_accepted().await);
    for _ in 0..3 {
        let mut wrong = from(7, &server, alice("wrong")).await;
        wrong.expect_connack_refusal(ReasonCode::BadUserNameOrPassword).await;
    }
    let mut right = from(7, &server, alice("x")).await;
    right.expect_connack_refusal(ReasonCode::Banned).await;
    let bans = server.broker.bans();
    let [Ban { target, reason, .. }] = &bans[..] else { panic!("{bans:?}") };
    assert_eq!(*target, BanTarget::Address("127.0.0.7".parse().expect("a range")));
    assert_eq!(&**reason, "3 failed logins");
    // Who is there stays, and she comes in from where nobody guessed.
    there.ping().await;
    let mut elsewhere = from(8, &server, alice("x")).await;
    assert!(elsewhere.was_accepted().await);
    for _ in 0..4 {
        let mut wrong = from(9, &server, alice("wrong")).await;
        wrong.expect_connack_refusal(ReasonCode::BadUserNameOrPassword).await;
    }
    assert_eq!(server.metrics().bans_made, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_handshake_comes_first_a_banned_address_is_closed_before_it() {
    let server = Server::with(|config| config.listeners[0].protocol = Protocol::WebSocket).await;
    server.broker.ban(of(here())).expect("there is room");
    let mut client = server.dial(Version::V5).await;
    // Nobody reads the request.
    client.expect_closed().await;
    assert_eq!((server.metrics().connects_banned, server.metrics().connections_accepted), (1, 0));
    assert!(server.broker.unban(&here()).is_some());
    let _client = server.dial(Version::V5).await;
    eventually("a client to be let in", || server.metrics().connections_accepted == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rules_hold_at_once() {
    let server = with(|_| {}, BanList::default()).await;
    let mut config = Config::clone(&server.broker.config());
    flapping(&mut config.bans);
    server.broker.reload(config, AboveLimit::Keep).await.expect("a configuration that works");
    for _ in 0..2 {
        let client = server.connect(connect(Version::V5, "c")).await;
        server.disconnect(client).await;
    }
    server.refused(connect(Version::V5, "c"), ReasonCode::Banned).await;
}

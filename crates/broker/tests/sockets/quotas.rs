//! Limits for clients, users, roles, tenants, listeners and the broker, all of them by sockets.
//!
//! Rates are so slow that no test sees a second token, and patience is either none or longer than any test.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use dunlin_broker::config::Quotas;
use dunlin_broker::{
    AboveLimit, AuthRequest, Authenticator, BoxFuture, Config, Decision, Identity, ListenerConfig,
    OverRate, QuotaEvent, QuotaLimit, QuotaRule, QuotaScope, Rate, Step, TenantRule,
};

/// Lets everybody in but those with the password `wrong`, and gives them the role that is their password. A user `acme/alice`
/// belongs to the tenant `acme`.
#[derive(Debug)]
struct Doorman;

impl Authenticator for Doorman {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let decision = match (&request.user_name, request.password.as_deref()) {
                (_, Some(b"wrong")) => Decision::Refuse(ReasonCode::BadUserNameOrPassword),
                (Some(user), password) => {
                    let mut identity = Identity::named(user.clone());
                    identity.roles.push(text(password.unwrap_or_default()));
                    Decision::Accept { identity, data: None }
                }
                (None, _) => Decision::PassOn,
            };
            Step { decision, request }
        })
    }
}

fn rule(whom: &str, set: impl FnOnce(&mut Quotas)) -> QuotaRule {
    let mut rule = QuotaRule::new(whom.parse().expect("somebody"));
    set(&mut rule.quotas);
    rule
}

fn hourly(count: u64) -> Option<Rate> {
    Some(Rate::new(count, Duration::from_secs(3_600)))
}

fn configure(config: &mut Config, rules: &[QuotaRule]) {
    config.tenants.rules = vec![TenantRule::UserName { separator: '/' }];
    config.quotas = rules.to_vec();
}

/// A broker with these rules and two listeners.
async fn with(rules: &[QuotaRule]) -> Server {
    Server::built(
        |config| {
            configure(config, rules);
            config.listeners.push(ListenerConfig::new("second", free_port()));
        },
        |builder| builder.authenticator(Arc::new(Doorman)),
    )
    .await
}

/// The same broker with other rules.
async fn reload(
    server: &Server,
    rules: &[QuotaRule],
    above: AboveLimit,
) -> Vec<(String, u64, u64)> {
    let mut config = Config::clone(&server.broker.config());
    config.quotas = rules.to_vec();
    let report = server.broker.reload(config, above).await.expect("a configuration that works");
    report.above.iter().map(|it| (it.setting.clone(), it.limit, it.clients.count)).collect()
}

fn counted(server: &Server, scope: QuotaScope, limit: QuotaLimit) -> u64 {
    server.metrics().quotas.get(&QuotaEvent { scope, limit }).copied().unwrap_or(0)
}

fn comer(version: Version, id: &str, user: &str, role: &str) -> Connect {
    connect(version, id).user(user, role)
}

// ---- Connections ----

versions!(connections_are_counted_for_whoever_they_are_limited_for: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x97; "server unavailable" in 3.x.
async fn connections_are_counted_for_whoever_they_are_limited_for(version: Version) {
    use QuotaScope::{Broker, Listener, Role, Tenant, User};
    // Whom it is for, who still comes in beside two clients of `acme/alice` with the role `r`, and who does not.
    for (whom, scope, others, refused) in [
        ("user acme/alice", User, ("acme/bob", "r"), ("acme/alice", "x")),
        ("each user", User, ("acme/bob", "r"), ("acme/alice", "x")),
        ("role r", Role, ("acme/bob", "r"), ("acme/alice", "r")),
        ("tenant acme", Tenant, ("other/alice", "r"), ("acme/bob", "x")),
        ("each tenant", Tenant, ("other/alice", "r"), ("acme/bob", "x")),
    ] {
        let server = with(&[rule(whom, |quotas| quotas.connections = Some(2))]).await;
        let one = server.connect(comer(version, "1", "acme/alice", "r")).await;
        let mut two = server.connect(comer(version, "2", "acme/alice", "r")).await;
        let mut other = server.connect(comer(version, "3", others.0, others.1)).await;
        let third = || comer(version, "4", refused.0, refused.1);
        server.refused(third(), ReasonCode::QuotaExceeded).await;
        assert_eq!(counted(&server, scope, QuotaLimit::Connections), 1, "{whom}");
        two.ping().await;
        other.ping().await;
        server.disconnect(one).await;
        let mut third = server.connect(third()).await;
        third.ping().await;
    }
    for (whom, scope) in
        [("broker", Broker), ("listener test", Listener), ("each listener", Listener)]
    {
        let server = with(&[rule(whom, |quotas| quotas.connections = Some(1))]).await;
        let mut one = server.connect(connect(version, "1").user("a", "x")).await;
        server.refused(connect(version, "2").user("b", "x"), ReasonCode::QuotaExceeded).await;
        let mut elsewhere = Client::dial(server.broker.local_addrs()[1], version).await;
        elsewhere.send(connect(version, "3").user("c", "x")).await;
        assert_eq!(elsewhere.was_accepted().await, scope == Listener, "{whom}");
        let refusals = if scope == Listener { 1 } else { 2 };
        assert_eq!(counted(&server, scope, QuotaLimit::Connections), refusals, "{whom}");
        one.ping().await;
    }
}

versions!(whoever_comes_again_takes_its_own_place: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-3]
async fn whoever_comes_again_takes_its_own_place(version: Version) {
    let server = with(&[
        rule("each client", |quotas| quotas.connections = Some(1)),
        rule("each user", |quotas| quotas.connections = Some(1)),
    ])
    .await;
    for _ in 0..3 {
        let mut client = server.connect(comer(version, "s", "alice", "r").kept()).await;
        client.ping().await;
        std::mem::forget(client);
    }
    // Another user's name for the place does not help.
    server.refused(comer(version, "t", "alice", "r"), ReasonCode::QuotaExceeded).await;
}

versions!(connects_come_no_faster_than_they_may: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x9F; "server unavailable" in 3.x. Who guesses passwords uses up nobody's connects.
async fn connects_come_no_faster_than_they_may(version: Version) {
    let server = with(&[rule("each user", |quotas| quotas.connects = hourly(2))]).await;
    for _ in 0..3 {
        let wrong = connect(version, "s").user("alice", "wrong");
        server.refused(wrong, ReasonCode::BadUserNameOrPassword).await;
    }
    for _ in 0..2 {
        let client = server.connect(comer(version, "s", "alice", "r")).await;
        server.disconnect(client).await;
    }
    server.refused(comer(version, "s", "alice", "r"), ReasonCode::ConnectionRateExceeded).await;
    assert_eq!(counted(&server, QuotaScope::User, QuotaLimit::Connects), 1);
    let mut bob = server.connect(comer(version, "s", "bob", "r")).await;
    bob.ping().await;
}

// ---- The way in ----

versions!(who_sends_too_fast_is_read_more_slowly: V3_1, V3_1_1, V5);
// Nothing is lost, and a higher limit is taken up at once, also by those who wait.
async fn who_sends_too_fast_is_read_more_slowly(version: Version) {
    for qos in [QOS0, QOS1] {
        let server = with(&[rule("each client", |quotas| quotas.messages_in = hourly(3))]).await;
        let mut subscriber = server.connect(comer(version, "s", "s", "r")).await;
        subscriber.subscribe("a", QOS0).await;
        let mut loud = server.connect(comer(version, "p", "p", "r")).await;
        let other = server.connect(comer(version, "q", "q", "r")).await;
        for number in 0..5 {
            let message = publish("a", format!("{number}")).qos(qos);
            loud.send(if qos == QOS0 { message } else { message.id(number + 1) }).await;
        }
        assert_eq!(subscriber.take_messages(3).await, ["0", "1", "2"]);
        if qos == QOS1 {
            for id in 1..=3 {
                loud.expect(puback(id)).await;
            }
        }
        loud.send(dunlin_codec::Packet::PingReq).await;
        loud.expect_nothing().await;
        subscriber.expect_nothing().await;
        assert_eq!(counted(&server, QuotaScope::Client, QuotaLimit::MessagesIn), 1);
        // Another client has its own.
        let mut other = other;
        other.publish(publish("a", "other").qos(QOS1)).await;
        assert_eq!(subscriber.take_messages(1).await, ["other"]);
        reload(&server, &[], AboveLimit::Keep).await;
        assert_eq!(subscriber.take_messages(2).await, ["3", "4"]);
        if qos == QOS1 {
            loud.expect(puback(4)).await;
            loud.expect(puback(5)).await;
        }
        loud.expect(dunlin_codec::Packet::PingResp).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_shares_its_rate_and_no_other_tenants() {
    let server = with(&[rule("each tenant", |quotas| quotas.messages_in = hourly(3))]).await;
    let mut one = server.connect(comer(Version::V5, "1", "acme/alice", "r")).await;
    let mut two = server.connect(comer(Version::V5, "2", "acme/bob", "r")).await;
    let mut foreign = server.connect(comer(Version::V5, "1", "other/alice", "r")).await;
    one.publish(publish("a", "x").qos(QOS1)).await;
    one.publish(publish("a", "x").qos(QOS1)).await;
    two.publish(publish("a", "x").qos(QOS1)).await;
    two.send(publish("a", "x").qos(QOS1).id(9)).await;
    one.send(publish("a", "x").qos(QOS1).id(9)).await;
    two.expect_nothing().await;
    one.expect_nothing().await;
    assert_eq!(counted(&server, QuotaScope::Tenant, QuotaLimit::MessagesIn), 2);
    foreign.publish(publish("a", "x").qos(QOS1)).await;
    // What is no PUBLISH uses nothing up.
    for _ in 0..5 {
        foreign.ping().await;
    }
}

versions!(bytes_are_limited_like_messages: V3_1_1, V5);
async fn bytes_are_limited_like_messages(version: Version) {
    let server = with(&[rule("user p", |quotas| quotas.bytes_in = hourly(100))]).await;
    let mut subscriber = server.connect(comer(version, "s", "s", "r")).await;
    subscriber.subscribe("a", QOS0).await;
    let mut loud = server.connect(comer(version, "p", "p", "r")).await;
    for letter in ["1", "2", "3"] {
        loud.send(publish("a", letter.repeat(40))).await;
    }
    assert_eq!(subscriber.take_messages(2).await, ["1".repeat(40), "2".repeat(40)]);
    subscriber.expect_nothing().await;
    assert_eq!(counted(&server, QuotaScope::User, QuotaLimit::BytesIn), 1);
    reload(&server, &[], AboveLimit::Keep).await;
    assert_eq!(subscriber.take_messages(1).await, ["3".repeat(40)]);
}

fn impatient(over_rate: OverRate) -> QuotaRule {
    let mut rule = rule("broker", |quotas| quotas.messages_in = hourly(2));
    (rule.over_rate, rule.patience) = (over_rate, Duration::ZERO);
    rule
}

versions!(what_is_too_much_is_dropped_where_that_is_set: V3_1, V3_1_1, V5);
// [MQTT-4.3.2-4] 5.0 is told with 0x97; before it nobody can be, so what must be acknowledged waits. [MQTT-3.3.5-2 @3.1.1]
async fn what_is_too_much_is_dropped_where_that_is_set(version: Version) {
    let server = with(&[impatient(OverRate::Drop)]).await;
    let mut subscriber = server.connect(comer(version, "s", "s", "r")).await;
    subscriber.subscribe("a", QOS0).await;
    let mut loud = server.connect(comer(version, "p", "p", "r")).await;
    for number in 0..5 {
        loud.send(publish("a", format!("{number}"))).await;
    }
    loud.ping().await;
    assert_eq!(subscriber.take_messages(2).await, ["0", "1"]);
    assert_eq!(server.dropped(DropReason::OverRate), 3);
    loud.send(publish("a", "5").qos(QOS1).id(1)).await;
    if version == Version::V5 {
        loud.expect_refused_publish(1, ReasonCode::QuotaExceeded).await;
        assert_eq!(server.dropped(DropReason::OverRate), 4);
    } else {
        loud.expect_nothing().await;
    }
    subscriber.expect_nothing().await;
    reload(&server, &[], AboveLimit::Keep).await;
    if version != Version::V5 {
        loud.expect(puback(1)).await;
        assert_eq!(subscriber.take_messages(1).await, ["5"]);
    }
    loud.publish(publish("a", "6").qos(QOS1)).await;
    assert_eq!(subscriber.take_messages(1).await, ["6"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.3.2-12] What is dropped may set a Topic Alias that a later message uses.
async fn a_dropped_message_sets_its_topic_alias() {
    let server = with(&[impatient(OverRate::Drop)]).await;
    let mut subscriber = server.connect(comer(Version::V5, "s", "s", "r")).await;
    subscriber.subscribe("long/topic", QOS0).await;
    let mut loud = server.connect(comer(Version::V5, "p", "p", "r")).await;
    loud.send(publish("x", "1")).await;
    loud.send(publish("x", "2")).await;
    loud.send(publish("long/topic", "dropped").alias(7)).await;
    loud.ping().await;
    assert_eq!(server.dropped(DropReason::OverRate), 1);
    reload(&server, &[], AboveLimit::Keep).await;
    loud.send(publish("", "sent").alias(7)).await;
    assert_eq!(subscriber.take_messages(1).await, ["sent"]);
}

versions!(who_keeps_sending_too_fast_is_disconnected_where_that_is_set: V3_1, V3_1_1, V5);
// [MQTT-4.13.2-1] 0x96.
async fn who_keeps_sending_too_fast_is_disconnected_where_that_is_set(version: Version) {
    let server = with(&[impatient(OverRate::Disconnect)]).await;
    let mut loud = server.connect(comer(version, "p", "p", "r")).await;
    for number in 0..3 {
        loud.send(publish("a", format!("{number}"))).await;
    }
    loud.expect_end(ReasonCode::MessageRateTooHigh).await;
    server.counts_ended(EndReason::OverRate, 1).await;
    assert_eq!(counted(&server, QuotaScope::Broker, QuotaLimit::OverRate), 1);
}

// ---- The way out ----

versions!(who_is_sent_too_much_gets_it_more_slowly: V3_1, V3_1_1, V5);
async fn who_is_sent_too_much_gets_it_more_slowly(version: Version) {
    for limits in [
        rule("client s", |quotas| quotas.messages_out = hourly(2)),
        rule("role slow", |quotas| quotas.bytes_out = hourly(90)),
    ] {
        let server = with(&[limits]).await;
        let mut subscriber = server.connect(comer(version, "s", "s", "slow")).await;
        subscriber.subscribe("a", QOS1).await;
        for letter in ["1", "2", "3", "4"] {
            server.publish(publish("a", letter.repeat(40)).qos(QOS1)).await;
            // One after the other, so that each finds what is left.
            if ["1", "2"].contains(&letter) {
                subscriber.expect_and_acknowledge(publish("a", letter.repeat(40)).qos(QOS1)).await;
            }
        }
        // What was asked is answered all the same.
        subscriber.ping().await;
        let held = |limit| counted(&server, QuotaScope::Client, limit);
        let of_role = counted(&server, QuotaScope::Role, QuotaLimit::BytesOut);
        assert_eq!(held(QuotaLimit::MessagesOut) + of_role, 1);
        reload(&server, &[], AboveLimit::Keep).await;
        for letter in ["3", "4"] {
            subscriber.expect_and_acknowledge(publish("a", letter.repeat(40)).qos(QOS1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_are_replayed_no_faster() {
    let server = with(&[rule("client s", |quotas| quotas.messages_out = hourly(1))]).await;
    for name in ["r/1", "r/2", "r/3"] {
        server.publish(publish(name, vec![b'x'; 20_000]).retain()).await;
    }
    let mut subscriber = server.connect(comer(Version::V5, "s", "s", "r")).await;
    subscriber.subscribe("r/+", QOS0).await;
    let got = subscriber.take_messages_for(SILENCE).await.len();
    assert!((1..3).contains(&got), "one step of the replay and no more, not {got}");
    reload(&server, &[], AboveLimit::Keep).await;
    assert_eq!(subscriber.take_messages(3 - got).await.len(), 3 - got);
}

// ---- What is retained ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.3.1-5] What has its place keeps it. [MQTT-4.3.2-4] 0x97. $SYS is not the tenant's.
async fn a_tenant_retains_as_much_as_it_may() {
    let limits = rule("each tenant", |quotas| {
        quotas.retained_messages = Some(2);
        quotas.retained_bytes = Some(500);
    });
    let server = with(&[limits]).await;
    let mut client = server.connect(comer(Version::V5, "s", "acme/alice", "r")).await;
    let full = ReasonCode::QuotaExceeded;
    client.publish(publish("a", "1").qos(QOS1).retain()).await;
    client.publish(publish("b", "1").qos(QOS1).retain()).await;
    client.send(publish("c", "1").qos(QOS1).retain().id(100)).await;
    client.expect_refused_publish(100, full).await;
    client.publish(publish("a", "2").qos(QOS1).retain()).await;
    client.send(publish("a", vec![0; 600]).qos(QOS1).retain().id(101)).await;
    client.expect_refused_publish(101, full).await;
    client.publish(publish("b", "").qos(QOS1).retain()).await;
    client.publish(publish("c", "3").qos(QOS1).retain()).await;
    for limit in [QuotaLimit::RetainedMessages, QuotaLimit::RetainedBytes] {
        assert_eq!(counted(&server, QuotaScope::Tenant, limit), 1, "{limit:?}");
    }
    let mut other = server.connect(comer(Version::V5, "s", "other/alice", "r")).await;
    other.publish(publish("c", "1").qos(QOS1).retain()).await;
    reload(&server, &[], AboveLimit::Keep).await;
    client.publish(publish("d", "4").qos(QOS1).retain()).await;
    client.subscribe("#", QOS0).await;
    let mut kept = client.take_messages(3).await;
    kept.sort();
    assert_eq!(kept, ["2", "3", "4"]);
}

// ---- What each session may have ----

versions!(filters_and_topics_are_limited_for_whoever_they_are_limited_for: V3_1_1, V5);
// [MQTT-3.9.3-2] 0x97 and 0x8F; 0x80 in 3.1.1. [MQTT-3.3.5-2 @3.1.1] 0x90; before 5.0 the connection is closed.
async fn filters_and_topics_are_limited_for_whoever_they_are_limited_for(version: Version) {
    let limits = rule("each user", |quotas| {
        quotas.subscriptions = Some(2);
        quotas.filter_levels = Some(3);
        quotas.topic_bytes = Some(10);
    });
    let server = with(&[limits]).await;
    let mut client = server.connect(comer(version, "s", "alice", "r")).await;
    client
        .send(subscribe(1, &[("a", QOS1), ("b/c/d/e", QOS1), ("b/c/d", QOS1), ("e", QOS1)]))
        .await;
    let codes = [
        ReasonCode::GrantedQos1,
        ReasonCode::TopicFilterInvalid,
        ReasonCode::GrantedQos1,
        ReasonCode::QuotaExceeded,
    ];
    client.expect(suback(1, &codes)).await;
    client.publish(publish("0123456789", "x").qos(QOS1)).await;
    client.send(publish("0123456789x", "x").qos(QOS1).id(9)).await;
    if version == Version::V5 {
        client.expect_refused_publish(9, ReasonCode::TopicNameInvalid).await;
        client.ping().await;
    } else {
        client.expect_closed().await;
    }
    for limit in [QuotaLimit::Subscriptions, QuotaLimit::FilterLevels, QuotaLimit::TopicBytes] {
        assert_eq!(counted(&server, QuotaScope::User, limit), 1, "{limit:?}");
    }
    // Anonymous clients are no user's.
    let mut anonymous = server.connect(connect(version, "t")).await;
    anonymous.subscribe("a/b/c/d", QOS1).await;
    anonymous.publish(publish("0123456789x", "x").qos(QOS1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.2.2-22] and what else CONNACK says: never more than the listener offers.
async fn connack_says_what_quotas_leave() {
    let hour = Duration::from_secs(3_600);
    let limits = rule("tenant acme", |quotas| {
        quotas.packet_bytes = Some(1_000);
        quotas.inflight = Some(7);
        quotas.session_expiry_max = Some(hour);
        quotas.keep_alive_min = Some(Duration::from_secs(60));
        quotas.keep_alive_max = Some(Duration::from_secs(100));
    });
    let server = with(&[limits]).await;
    for (asked, told) in [(10, Some(60)), (60, None), (80, None), (101, Some(100)), (0, Some(100))]
    {
        let kept = comer(Version::V5, "s", "acme/alice", "r").kept().keep_alive(asked);
        let client = server.connect(kept).await;
        let properties = &client.connack().properties;
        assert_eq!(properties.server_keep_alive, told, "{asked}");
        assert_eq!(properties.session_expiry_interval, Some(3_600));
        assert_eq!(properties.receive_maximum.map(std::num::NonZeroU16::get), Some(7));
        assert_eq!(properties.maximum_packet_size.map(std::num::NonZeroU32::get), Some(1_000));
    }
    let mut other =
        server.connect(comer(Version::V5, "s", "other/alice", "r").keep_alive(10)).await;
    assert_eq!(other.connack().properties.server_keep_alive, None);
    other.publish(publish("a", vec![0; 2_000]).qos(QOS1)).await;
    let mut client = server.connect(comer(Version::V5, "s", "acme/alice", "r")).await;
    client.send(publish("a", vec![0; 2_000])).await;
    client.expect_end(ReasonCode::PacketTooLarge).await;
}

versions!(before_5_0_a_keep_alive_that_is_too_short_is_refused: V3_1, V3_1_1);
// [MQTT-3.1.4-2 @3.1.1] "server unavailable": there is no way to tell another one.
async fn before_5_0_a_keep_alive_that_is_too_short_is_refused(version: Version) {
    let least = |quotas: &mut Quotas| quotas.keep_alive_min = Some(Duration::from_secs(60));
    let server = with(&[rule("each client", least)]).await;
    server.refused(connect(version, "s").keep_alive(10), ReasonCode::QuotaExceeded).await;
    assert_eq!(counted(&server, QuotaScope::Client, QuotaLimit::KeepAlive), 1);
    for secs in [0, 60] {
        let mut client = server.connect(connect(version, "s").keep_alive(secs)).await;
        client.ping().await;
    }
}

versions!(queues_are_limited_for_whoever_they_are_limited_for: V3_1_1, V5);
// [MQTT-4.1.0-1] Those of absent clients too.
async fn queues_are_limited_for_whoever_they_are_limited_for(version: Version) {
    let server = with(&[rule("client small", |quotas| quotas.queue_messages = Some(3))]).await;
    for id in ["small", "large"] {
        let mut client = server.connect(connect(version, id).kept()).await;
        client.subscribe("a", QOS1).await;
        server.disconnect(client).await;
    }
    for number in 0..5 {
        server.publish(publish("a", format!("{number}")).qos(QOS1)).await;
    }
    assert_eq!(server.dropped(DropReason::QueueMessages), 2);
    for (id, count) in [("small", 3), ("large", 5)] {
        let mut client = server.connect(connect(version, id).kept()).await;
        for number in 0..count {
            client.expect_and_acknowledge(publish("a", format!("{number}")).qos(QOS1)).await;
        }
        client.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_connack_did_not_speak_of_changes_for_those_who_are_there() {
    let server = with(&[]).await;
    let mut client = server.connect(comer(Version::V5, "s", "alice", "r")).await;
    client.subscribe("a", QOS1).await;
    let limits = rule("role r", |quotas| {
        quotas.subscriptions = Some(1);
        quotas.inflight = Some(1);
    });
    reload(&server, &[limits], AboveLimit::Keep).await;
    client.send(subscribe(7, &[("b", QOS1)])).await;
    client.expect(suback(7, &[ReasonCode::QuotaExceeded])).await;
    assert_eq!(counted(&server, QuotaScope::Role, QuotaLimit::Subscriptions), 1);
    reload(&server, &[], AboveLimit::Keep).await;
    client.subscribe("b", QOS1).await;
}

// ---- Other rules while the broker runs ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_for_those_who_are_there() {
    let server = with(&[]).await;
    let mut subscriber = server.connect(comer(Version::V5, "s", "s", "r")).await;
    subscriber.subscribe("a", QOS0).await;
    let mut client = server.connect(comer(Version::V5, "p", "p", "r")).await;
    client.publish(publish("a", "0").qos(QOS1)).await;
    reload(&server, &[rule("user p", |quotas| quotas.messages_in = hourly(1))], AboveLimit::Keep)
        .await;
    client.publish(publish("a", "1").qos(QOS1)).await;
    client.send(publish("a", "2").qos(QOS1).id(9)).await;
    client.expect_nothing().await;
    assert_eq!(subscriber.take_messages_for(SILENCE).await, ["0", "1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.13.2-1] 0x97.
async fn who_is_above_a_lowered_limit_is_named_and_goes_only_if_that_is_asked_for() {
    let server = with(&[rule("tenant acme", |quotas| quotas.connections = Some(3))]).await;
    let mut clients = Vec::new();
    for id in ["1", "2", "3"] {
        clients.push(server.connect(comer(Version::V5, id, "acme/alice", "r")).await);
    }
    let mut other = server.connect(comer(Version::V5, "1", "other/alice", "r")).await;
    let lower = [rule("each tenant", |quotas| quotas.connections = Some(1))];
    let above = |clients| ("quotas of tenant acme: connections_max".to_owned(), 1, clients);
    assert_eq!(reload(&server, &lower, AboveLimit::Keep).await, [above(3)]);
    for client in &mut clients {
        client.ping().await;
    }
    server.refused(comer(Version::V5, "4", "acme/alice", "r"), ReasonCode::QuotaExceeded).await;
    // It is said of limits that become lower; this one is as it was, and holds all the same.
    assert_eq!(reload(&server, &lower, AboveLimit::Enforce).await, []);
    server.counts_ended(EndReason::LimitLowered, 2).await;
    other.ping().await;
    let mut left = 0;
    for client in &mut clients {
        left += u64::from(client.is_alive().await);
    }
    assert_eq!(left, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_limits_did_is_below_sys() {
    let server = Server::built(
        |config| {
            configure(config, &[rule("each user", |quotas| quotas.connections = Some(1))]);
            config.sys.interval = Some(Duration::from_millis(100));
        },
        |builder| builder.authenticator(Arc::new(Doorman)),
    )
    .await;
    let mut client = server.connect(comer(Version::V5, "1", "alice", "r")).await;
    server.refused(comer(Version::V5, "2", "alice", "r"), ReasonCode::QuotaExceeded).await;
    client.subscribe("$SYS/broker/quotas/#", QOS0).await;
    let message = client.receive().await;
    let dunlin_codec::Packet::Publish(message) = message else { panic!("{message:?}") };
    let got = (message.topic.as_str(), text(&message.payload));
    assert_eq!(got, ("$SYS/broker/quotas/user/connections", "1".to_owned()));
}

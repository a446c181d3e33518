//! What clients may do: rules at CONNECT, PUBLISH and SUBSCRIBE, for messages on their way, and when they change.
#![allow(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

#[path = "rights/oracle.rs"]
mod oracle;
#[path = "sockets/support/mod.rs"]
mod support;

use std::sync::Arc;

use dunlin_access::{Action, Caps, Holder, Options, Overlap, RuleSet, RuleSetBuilder, Silent};
use dunlin_broker::{
    AuthRequest, Authenticator, BoxFuture, Decision, ForeignSessions, Identity, Question, Step,
};
use dunlin_topics::SubscriptionFilter;

use support::*;

fn rules(add: impl FnOnce(&mut RuleSetBuilder)) -> RuleSet {
    let mut builder = RuleSet::builder();
    add(&mut builder);
    builder.build()
}

fn allow(builder: &mut RuleSetBuilder, action: Action, filter: &str) {
    builder.allow(Holder::everyone(), action, filter, Caps::default()).expect("a rule");
}

fn deny(builder: &mut RuleSetBuilder, action: Action, filter: &str) {
    builder.deny(Holder::everyone(), action, filter).expect("a rule");
}

/// Everybody may subscribe to everything and publish below `a`.
fn below_a(options: Options) -> RuleSet {
    rules(|builder| {
        builder.options(options);
        allow(builder, Action::Publish, "a/#");
        allow(builder, Action::Subscribe, "#");
    })
}

async fn with(rules: RuleSet) -> Server {
    Server::built(|config| config.sys.interval = None, |builder| builder.rules(rules)).await
}

fn filtering() -> Options {
    Options { overlap: Overlap::Filter, ..Options::default() }
}

// ---- PUBLISH ----

versions!(a_message_that_is_not_allowed_goes_to_nobody: V3_1, V3_1_1, V5);
// [MQTT-4.13.2-1] 0x87; before 5.0 nobody can be told.
async fn a_message_that_is_not_allowed_goes_to_nobody(version: Version) {
    let server = with(below_a(Options::default())).await;
    let mut other = server.connect(connect(Version::V5, "other")).await;
    other.subscribe("#", QOS1).await;
    let mut client = server.connect(connect(version, "client")).await;
    for (number, (topic, qos)) in
        [("b", QOS0), ("b", QOS1), ("b", QOS2), ("a/x", QOS0), ("a/x", QOS1)].iter().enumerate()
    {
        let forbidden = *topic == "b";
        let message = publish(topic, number.to_string()).qos(*qos).id_if_needed(1);
        if forbidden && *qos > QOS0 && version == Version::V5 {
            client.send(message).await;
            let refusal = if *qos == QOS1 { puback(1) } else { pubrec(1) };
            client.expect(refusal.code(ReasonCode::NotAuthorized)).await;
        } else {
            client.publish(message).await;
        }
    }
    client.ping().await;
    assert_eq!(other.take_messages(2).await, ["3", "4"]);
    other.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::NotAuthorized), 3);
    assert_eq!(server.metrics().publish_refused, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caps_bound_qos_and_retain() {
    let caps = Caps { qos_max: dunlin_access::Qos::AtLeastOnce, retain: false };
    let server = with(rules(|builder| {
        builder.allow(Holder::everyone(), Action::Publish, "a", caps).expect("a rule");
        builder.allow(Holder::everyone(), Action::Subscribe, "#", caps).expect("a rule");
    }))
    .await;
    let mut client = server.connect(connect(Version::V5, "client")).await;
    client.send(subscribe(1, &[("a", QOS2)])).await;
    client.expect(suback(1, &[ReasonCode::GrantedQos1])).await;
    client.send(publish("a", "x").qos(QOS2).id(1)).await;
    client.expect(pubrec(1).code(ReasonCode::NotAuthorized)).await;
    client.send(publish("a", "x").qos(QOS1).id(2).retain()).await;
    client.expect(puback(2).code(ReasonCode::NotAuthorized)).await;
    assert_eq!(server.metrics().retained_messages, 0);
    client.send(publish("a", "x").qos(QOS1).id(3)).await;
    client.expect_own_message(3, "a", "x").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_told_is_disconnected_where_the_rules_say_so() {
    let options = Options {
        refused_publish: Silent::Disconnect,
        refused_subscribe_3_1: Silent::Disconnect,
        ..Options::default()
    };
    let server = with(rules(|builder| {
        builder.options(options);
        allow(builder, Action::Publish, "a");
    }))
    .await;
    let mut new = server.connect(connect(Version::V5, "new")).await;
    new.send(publish("b", "x").qos(QOS1).id(1)).await;
    new.expect(puback(1).code(ReasonCode::NotAuthorized)).await;
    new.send(publish("b", "x")).await;
    new.expect_end(ReasonCode::NotAuthorized).await;
    let mut old = server.connect(connect(Version::V3_1_1, "old")).await;
    old.send(publish("b", "x").qos(QOS1).id(1)).await;
    old.expect_closed().await;
    let mut oldest = server.connect(connect(Version::V3_1, "oldest")).await;
    oldest.send(subscribe(1, &[("b", QOS1)])).await;
    oldest.ended().await;
    server.counts_ended(EndReason::NotAuthorized, 3).await;
}

// ---- SUBSCRIBE ----

versions!(filters_are_judged_one_by_one: V3_1_1, V5);
// [MQTT-3.9.3-2] A filter that reaches beyond the rights is refused, one within is not, shared ones by what they match.
async fn filters_are_judged_one_by_one(version: Version) {
    let server = with(rules(|builder| {
        allow(builder, Action::Subscribe, "a/+");
        deny(builder, Action::Subscribe, "a/secret");
        allow(builder, Action::Subscribe, "c/#");
    }))
    .await;
    let mut client = server.connect(connect(version, "client")).await;
    let refused = if version == Version::V5 {
        ReasonCode::NotAuthorized
    } else {
        ReasonCode::UnspecifiedError
    };
    let filters =
        [("a/x", QOS1), ("a/+", QOS1), ("a/#", QOS1), ("$share/g/c/+", QOS1), ("b", QOS1)];
    client.send(subscribe(1, &filters)).await;
    let granted = ReasonCode::GrantedQos1;
    client.expect(suback(1, &[granted, refused, refused, granted, refused])).await;
    assert_eq!(server.metrics().subscribe_refused, 3);
}

versions!(a_filter_that_reaches_too_far_is_served_as_far_as_it_may: V3_1_1, V5);
// Live, retained and queued alike.
async fn a_filter_that_reaches_too_far_is_served_as_far_as_it_may(version: Version) {
    let server = with(rules(|builder| {
        builder.options(filtering());
        allow(builder, Action::Publish, "#");
        allow(builder, Action::Subscribe, "a/#");
        deny(builder, Action::Subscribe, "a/secret");
    }))
    .await;
    for topic in ["a/open", "a/secret", "b"] {
        server.publish(publish(topic, format!("retained {topic}")).qos(QOS1).retain()).await;
    }
    let mut client = server.connect(connect(version, "client").kept()).await;
    client.subscribe("#", QOS1).await;
    assert_eq!(client.take_messages(1).await, ["retained a/open"]);
    let publish_all = async |what: &str| {
        for topic in ["a/secret", "b", "a/open"] {
            for qos in [QOS0, QOS1] {
                server.publish(publish(topic, format!("{what} {topic}")).qos(qos)).await;
            }
        }
    };
    publish_all("live").await;
    assert_eq!(client.take_messages(2).await, ["live a/open"; 2]);
    client.expect_nothing().await;
    server.lose(client).await;
    publish_all("queued").await;
    let mut client = server.connect(connect(version, "client").kept()).await;
    assert_eq!(client.take_messages(1).await, ["queued a/open"]);
    client.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_message_goes_to_a_member_that_may_have_it() {
    let server = with(rules(|builder| {
        builder.options(filtering());
        allow(builder, Action::Publish, "#");
        for (client, filter) in [("one", "a"), ("two", "b")] {
            builder
                .allow(Holder::client(client), Action::Subscribe, filter, Caps::default())
                .expect("a rule");
        }
    }))
    .await;
    let mut one = server.connect(connect(Version::V5, "one")).await;
    one.subscribe("$share/g/#", QOS1).await;
    let mut two = server.connect(connect(Version::V5, "two")).await;
    two.subscribe("$share/g/#", QOS1).await;
    for number in 0..4 {
        for topic in ["a", "b", "c"] {
            server.publish(publish(topic, format!("{topic}{number}")).qos(QOS1)).await;
        }
    }
    assert_eq!(one.take_messages(4).await, ["a0", "a1", "a2", "a3"]);
    assert_eq!(two.take_messages(4).await, ["b0", "b1", "b2", "b3"]);
    one.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::NotAuthorized), 4);
}

// ---- Wills ----

versions!(a_will_has_to_be_allowed: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x87, and again when it is due.
async fn a_will_has_to_be_allowed(version: Version) {
    let server = with(below_a(Options::default())).await;
    let bad = connect(version, "client").will(will("b", "gone"));
    server.refused(bad, ReasonCode::NotAuthorized).await;
    let mut other = server.connect(connect(Version::V5, "other")).await;
    other.subscribe("a/will", QOS1).await;
    for after in ["a/#", "b/#"] {
        let mut client = server.dial(version).await;
        client.send(connect(version, "client").will(will("a/will", after).qos(QOS1))).await;
        client.expect_connack(false).await;
        let changed = rules(|builder| {
            allow(builder, Action::Publish, after);
            allow(builder, Action::Subscribe, "#");
        });
        server.broker.set_rules(changed).await;
        server.lose(client).await;
    }
    assert_eq!(other.take_messages(1).await, ["a/#"]);
    other.expect_nothing().await;
    assert_eq!(server.metrics().wills_refused, 2);
}

// ---- Changed rules ----

versions!(lost_rights_end_subscriptions: V3_1, V3_1_1, V5);
// Of clients that are connected, and of those that are away, for good: after a restart too.
async fn lost_rights_end_subscriptions(version: Version) {
    let disk = MemoryStore::new();
    let everything = || {
        rules(|builder| {
            allow(builder, Action::Publish, "#");
            allow(builder, Action::Subscribe, "#");
        })
    };
    let start = async || {
        let build = |builder: dunlin_broker::Builder| {
            builder.store(Box::new(disk.clone())).rules(everything())
        };
        Server::built(|config| config.sys.interval = None, build).await
    };
    let server = start().await;
    let mut online = server.connect(connect(version, "online")).await;
    let mut away = server.connect(connect(version, "away").kept()).await;
    for client in [&mut online, &mut away] {
        client.subscribe("a", QOS1).await;
        client.subscribe("b", QOS1).await;
    }
    server.lose(away).await;
    for topic in ["a", "b"] {
        server.publish(publish(topic, format!("before {topic}")).qos(QOS1)).await;
    }
    assert_eq!(online.take_messages(2).await, ["before a", "before b"]);
    let narrower = rules(|builder| {
        allow(builder, Action::Publish, "#");
        allow(builder, Action::Subscribe, "b");
    });
    server.broker.set_rules(narrower).await;
    assert_eq!(server.metrics().subscriptions_removed, 2);
    assert_eq!(server.metrics().subscriptions, 2);
    // What was queued for the lost subscription alone is gone, and counted.
    assert_eq!(server.dropped(DropReason::NotAuthorized), 1);
    for topic in ["a", "b"] {
        server.publish(publish(topic, format!("after {topic}")).qos(QOS1)).await;
    }
    assert_eq!(online.take_messages(1).await, ["after b"]);
    online.expect_nothing().await;
    drop(online);
    server.shutdown().await;

    // The store has heard of it: rights that come back do not bring the subscription back.
    let server = start().await;
    server.publish(publish("a", "much later").qos(QOS1)).await;
    let mut away = server.connect(connect(version, "away").kept()).await;
    assert_eq!(away.take_messages(2).await, ["before b", "after b"]);
    away.expect_nothing().await;
    assert_eq!(server.metrics().subscriptions, 1);
}

versions!(what_waits_for_a_subscription_that_stays_is_held_against_other_rules: V3_1_1, V5);
// With a filter that is served as far as it may, for clients that are there, durable or not, and for those that are away.
async fn what_waits_for_a_subscription_that_stays_is_held_against_other_rules(version: Version) {
    let allowing = |denied: &[&str]| {
        rules(|builder| {
            builder.options(filtering());
            allow(builder, Action::Publish, "#");
            allow(builder, Action::Subscribe, "a/#");
            denied.iter().for_each(|filter| deny(builder, Action::Subscribe, filter));
        })
    };
    let server = Server::built(
        |config| config.limits.inflight_max = 1,
        |builder| builder.rules(allowing(&["a/never"])),
    )
    .await;
    let mut slow = server.connect(connect(version, "slow")).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    let mut away = server.connect(connect(version, "away").kept()).await;
    for client in [&mut slow, &mut durable, &mut away] {
        client.subscribe("#", QOS1).await;
    }
    server.lose(away).await;
    for topic in ["a/first", "a/secret", "a/open"] {
        server.publish(publish(topic, topic.to_owned()).qos(QOS1)).await;
    }
    let mut first = Vec::new();
    for client in [&mut slow, &mut durable] {
        first.push(client.expect_message(publish("a/first", "a/first").qos(QOS1)).await);
    }
    server.broker.set_rules(allowing(&["a/never", "a/secret"])).await;
    for (client, id) in [&mut slow, &mut durable].into_iter().zip(first) {
        client.send(puback(id)).await;
        client.expect_and_acknowledge(publish("a/open", "a/open").qos(QOS1)).await;
        client.expect_nothing().await;
    }
    let mut away = server.connect(connect(version, "away").kept()).await;
    assert_eq!(away.take_messages(2).await, ["a/first", "a/open"]);
    away.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::NotAuthorized), 3);
    assert_eq!(server.metrics().queued_messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_of_another_start_hold_for_a_session_that_is_resumed() {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut client = server.connect(connect(Version::V5, "s").kept()).await;
    client.subscribe("a", QOS1).await;
    client.subscribe("b", QOS1).await;
    server.lose(client).await;
    for topic in ["a", "b"] {
        server.publish(publish(topic, topic.to_owned()).qos(QOS1)).await;
    }
    server.shutdown().await;
    let narrower = rules(|builder| allow(builder, Action::Subscribe, "b"));
    let build =
        |builder: dunlin_broker::Builder| builder.store(Box::new(disk.clone())).rules(narrower);
    let server = Server::built(|_| {}, build).await;
    let mut client = server.connect(connect(Version::V5, "s").kept()).await;
    client.assert_session_present(true);
    assert_eq!(client.take_messages(1).await, ["b"]);
    client.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::NotAuthorized), 1);
    assert_eq!(server.metrics().subscriptions, 1);
}

// ---- Who it is ----

/// Lets everybody in by name; the password names a role.
#[derive(Debug)]
struct Vouching;

impl Authenticator for Vouching {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let mut identity = Identity::named(request.user_name.as_deref().unwrap_or_default());
            identity.roles = request.password.as_deref().map(text).into_iter().collect();
            Step { decision: Decision::Accept { identity, data: None }, request }
        })
    }
}

versions!(anonymous_sessions_belong_to_the_anonymous_user_of_their_listener: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x85; 2 in 3.x.
async fn anonymous_sessions_belong_to_the_anonymous_user_of_their_listener(version: Version) {
    let server = Server::with(|config| {
        for (name, user) in [("second", None), ("apart", Some("apart"))] {
            let mut listener = dunlin_broker::ListenerConfig::new(name, free_port());
            listener.anonymous_user = user.map(str::to_owned);
            config.listeners.push(listener);
        }
    })
    .await;
    let addresses = server.broker.local_addrs();
    let by = async |listener: usize| {
        let mut client = Client::dial(addresses[listener], version).await;
        client.send(connect(version, "s").kept()).await;
        client
    };
    let mut client = by(0).await;
    client.expect_connack(false).await;
    server.lose(client).await;
    let mut client = by(1).await;
    client.expect_connack(version > Version::V3_1).await;
    server.lose(client).await;
    by(2).await.expect_connack_refusal(ReasonCode::ClientIdentifierNotValid).await;
    // Nor does a name that looks like that user's help, or one where nobody checks names.
    let mut client = Client::dial(addresses[2], version).await;
    client.send(connect(version, "s").user("apart", "").kept()).await;
    client.expect_connack_refusal(ReasonCode::ClientIdentifierNotValid).await;
    assert_eq!(server.metrics().sessions_of_others_refused, 2);
}

versions!(another_identity_gets_no_session_of_others_unless_that_is_wanted: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x85; 2 in 3.x.
async fn another_identity_gets_no_session_of_others_unless_that_is_wanted(version: Version) {
    for wanted in [ForeignSessions::Refuse, ForeignSessions::Allow] {
        let server = Server::built(
            |config| config.access.foreign_sessions = wanted,
            |builder| builder.authenticator(Arc::new(Vouching)),
        )
        .await;
        let mut alice = server.connect(connect(version, "s").user("alice", "").kept()).await;
        alice.subscribe("a", QOS1).await;
        server.lose(alice).await;
        let carol = connect(version, "s").user("carol", "").kept();
        if wanted == ForeignSessions::Refuse {
            server.refused(carol, ReasonCode::ClientIdentifierNotValid).await;
            assert_eq!(server.metrics().sessions_of_others_refused, 1);
        } else {
            let carol = server.connect(carol).await;
            carol.assert_session_present(true);
            assert_eq!(server.metrics().sessions_of_others_refused, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_and_placeholders_make_the_rights_of_a_client() {
    let rules = rules(|builder| {
        let role = Holder::role("BUBBLE_UP_READ_CONSUMER");
        builder
            .allow(role, Action::Subscribe, "{username}/read/#", Caps::default())
            .expect("a rule");
    });
    let server =
        Server::built(|_| {}, |builder| builder.authenticator(Arc::new(Vouching)).rules(rules))
            .await;
    let role = "BUBBLE_UP_READ_CONSUMER";
    let mut client = server.connect(connect(Version::V5, "c").user("u1", role)).await;
    client.send(subscribe(1, &[("u1/read/#", QOS0), ("u1/#", QOS0), ("u2/read/#", QOS0)])).await;
    let refused = ReasonCode::NotAuthorized;
    client.expect(suback(1, &[ReasonCode::Success, refused, refused])).await;
    let mut other = server.connect(connect(Version::V5, "d").user("u1", "OTHER")).await;
    other.send(subscribe(1, &[("u1/read/#", QOS0)])).await;
    other.expect(suback(1, &[refused])).await;
    // What would change the meaning of a filter does not get in.
    let bad = connect(Version::V5, "e").user("u1/#", role);
    server.refused(bad, ReasonCode::NotAuthorized).await;

    let tenant = server.broker.tenant("default").expect("it is there");
    let identity = |roles: &[&str]| {
        let mut identity = Identity::named("u1");
        identity.roles = roles.iter().map(|&role| role.to_owned()).collect();
        identity
    };
    let question = || Question::Subscribe {
        filter: SubscriptionFilter::try_from("u1/read/x").expect("a filter"),
        qos: dunlin_access::Qos::AtMostOnce,
    };
    assert!(!tenant.explain("c", &identity(&[role]), question()).is_refused());
    assert!(tenant.explain("c", &identity(&[]), question()).is_refused());
}

/// Takes what a client shows in an AUTH exchange for the one role that it has, whenever it shows it.
#[derive(Debug)]
struct OfRoles;

impl Authenticator for OfRoles {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        let mut identity = Identity::named("u");
        identity.roles = vec![text(request.data.as_deref().unwrap_or_default())];
        let decision = Decision::Accept { identity, data: None };
        Box::pin(std::future::ready(Step { decision, request }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.12.1-1] A newer proof may come with other roles: they count from then on, and what the old ones allowed is lost.
async fn who_proves_itself_anew_has_the_rights_of_its_newer_roles() {
    let rules = rules(|builder| {
        let mut add = |role: &str, action, filter: &str| {
            builder.allow(Holder::role(role), action, filter, Caps::default()).expect("a rule");
        };
        add("reader", Action::Subscribe, "a");
        add("reader", Action::Subscribe, "b");
        add("writer", Action::Subscribe, "b");
        add("writer", Action::Publish, "b");
    });
    let server = Server::built(
        |config| config.sys.interval = None,
        |builder| builder.authenticator(Arc::new(OfRoles)).rules(rules),
    )
    .await;
    let mut client = server.connect(connect(Version::V5, "c").method("ROLE", "reader")).await;
    client.subscribe("a", QOS1).await;
    client.subscribe("b", QOS1).await;
    client.send(publish("b", "too early").qos(QOS1).id_if_needed(1)).await;
    client.expect(puback(1).code(ReasonCode::NotAuthorized)).await;

    client.send(auth(ReasonCode::ReAuthenticate, "ROLE", "writer")).await;
    client.expect(Auth { data: None, ..auth(ReasonCode::Success, "ROLE", "") }).await;
    client.publish(publish("b", "now")).await;
    assert_eq!(client.take_messages(1).await, ["now"]);
    assert_eq!(server.metrics().subscriptions_removed, 1);
    assert_eq!(server.metrics().subscriptions, 1);
    client.send(subscribe(3, &[("a", QOS0)])).await;
    client.expect(suback(3, &[ReasonCode::NotAuthorized])).await;
}

/// Takes a client's Password for its tenant.
#[derive(Debug)]
struct OfTenants;

impl Authenticator for OfTenants {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        let mut identity = Identity::named(request.user_name.clone().unwrap_or_default());
        let password = request.password.as_deref().unwrap_or_default();
        identity.tenant = Some(text(password));
        let decision = Decision::Accept { identity, data: None };
        Box::pin(std::future::ready(Step { decision, request }))
    }
}

versions!(a_tenant_without_a_namespace_fills_its_place_in_rules: V3_1_1, V5);
// Tenants that share a namespace are kept apart by their names at the front of topics: whom one is of, its authenticator says.
async fn a_tenant_without_a_namespace_fills_its_place_in_rules(version: Version) {
    let rules = rules(|builder| {
        allow(builder, Action::Subscribe, "{tenantId}/read/#");
        builder
            .allow(Holder::tenant("office"), Action::Publish, "+/read/#", Caps::default())
            .expect("a rule");
    });
    let server =
        Server::built(|_| {}, |builder| builder.authenticator(Arc::new(OfTenants)).rules(rules))
            .await;
    let mut reader = server.connect(connect(version, "reader").user("r", "one")).await;
    reader.send(subscribe(1, &[("one/read/#", QOS1), ("two/read/#", QOS1)])).await;
    reader.expect(suback(1, &[ReasonCode::GrantedQos1, ReasonCode::NotAuthorized])).await;
    let mut office = server.connect(connect(version, "office").user("o", "office")).await;
    office.publish(publish("two/read/x", "for two").qos(QOS1)).await;
    office.publish(publish("one/read/x", "for one").qos(QOS1)).await;
    reader.expect_message(publish("one/read/x", "for one").qos(QOS1)).await;
}

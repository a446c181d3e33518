//! What tenants show each other by rules, and that nothing else crosses.

use std::collections::BTreeMap;

use dunlin_access::{Action, Caps, Holder, Options, Overlap};
use dunlin_broker::{AboveLimit, Config, RuleSet, TenantExport};
use dunlin_topics::TopicFilter;

use super::*;

fn export(from: &str, filter: &str, to: &str, below: Option<&str>) -> TenantExport {
    let filter = TopicFilter::copy_from(filter).expect("a filter");
    let mut rule = TenantExport::new(from, filter, to);
    rule.below = below.map(|below| TopicName::copy_from(below).expect("a name"));
    rule
}

/// Clients belong to the tenant that is their Password.
async fn with_exports(disk: &MemoryStore, exports: Vec<TenantExport>) -> Server {
    Server::built(
        |config| {
            config.sys.interval = None;
            config.tenants.rules = vec![TenantRule::Identity];
            config.tenants.exports = exports;
        },
        |builder| builder.store(Box::new(disk.clone())).authenticator(Arc::new(Vouching)),
    )
    .await
}

fn weather() -> Vec<TenantExport> {
    vec![export("weather", "public/#", "acme", Some("shared/weather"))]
}

versions!(what_is_exported_reaches_the_other_tenant_and_nothing_else_does: V3_1, V3_1_1, V5);
// At each QoS, to plain and shared subscriptions, and to sessions whose clients are away.
async fn what_is_exported_reaches_the_other_tenant_and_nothing_else_does(version: Version) {
    let server = with_exports(&MemoryStore::new(), weather()).await;
    let member = |id: &str| connect(version, id).user(id, "acme");
    let mut plain = server.connect(member("plain")).await;
    plain.subscribe("shared/#", QOS2).await;
    let mut group = server.connect(member("group")).await;
    group.subscribe("$share/g/shared/weather/+/wind", QOS1).await;
    let mut away = server.connect(member("away").kept()).await;
    away.subscribe("#", QOS1).await;
    server.lose(away).await;
    let mut weather = server.connect(connect(version, "w").user("w", "weather")).await;
    let mut neighbour = server.connect(connect(version, "n").user("n", "weather")).await;
    neighbour.subscribe("#", QOS0).await;
    let mut acme = server.connect(member("back")).await;

    for (topic, qos) in [("public/wind", QOS0), ("public/wind", QOS1), ("public/wind", QOS2)] {
        let payload = format!("{topic} {qos:?}");
        weather.publish(publish(topic, payload.clone()).qos(qos).id_if_needed(7)).await;
        neighbour.expect_and_acknowledge(publish(topic, payload.clone())).await;
        let there = format!("shared/weather/{topic}");
        for (client, qos) in [(&mut plain, qos), (&mut group, qos.min(QOS1))] {
            client.expect_and_acknowledge(publish(&there, payload.clone()).qos(qos)).await;
        }
    }
    weather.publish(publish("private/wind", "not this").qos(QOS1).id(8)).await;
    neighbour.expect_and_acknowledge(publish("private/wind", "not this")).await;
    // Never the other way, and not back: the topic stands in both trees.
    acme.publish(publish("shared/weather/public/wind", "not back").qos(QOS1).id(9)).await;
    acme.publish(publish("public/wind", "not back").qos(QOS1).id(9)).await;
    neighbour.expect_nothing().await;
    assert_eq!(plain.take_messages(1).await, ["not back"]);
    assert_eq!(group.take_messages(1).await, ["not back"]);

    let mut away = server.connect(member("away").kept()).await;
    away.assert_session_present(true);
    let expected = ["public/wind AtLeastOnce", "public/wind ExactlyOnce", "not back", "not back"];
    assert_eq!(away.take_messages(4).await, expected);
    away.expect_nothing().await;
    let figures = server.broker.exports();
    assert_eq!(figures.iter().map(|each| each.messages).collect::<Vec<_>>(), [3]);
}

versions!(retained_messages_and_wills_are_shown_by_the_same_rules: V3_1_1, V5);
// [MQTT-3.3.1-9] [MQTT-3.1.2-14] A subscription is shown what is retained by its names there; the message stays where it is.
async fn retained_messages_and_wills_are_shown_by_the_same_rules(version: Version) {
    let disk = MemoryStore::new();
    let mut exports = weather();
    exports.push(export("weather", "plain/+", "acme", None));
    let server = with_exports(&disk, exports.clone()).await;
    let mut weather = server.connect(connect(version, "w").user("w", "weather")).await;
    for topic in ["public/a", "public/b", "private/a", "plain/a", "plain/a/b"] {
        weather.publish(publish(topic, topic.to_owned()).qos(QOS1).id(1).retain()).await;
    }
    server.disconnect(weather).await;
    server.shutdown().await;

    // After a restart too.
    let server = with_exports(&disk, exports).await;
    let mut acme = server.connect(connect(version, "a").user("a", "acme")).await;
    acme.publish(publish("plain/own", "own").qos(QOS1).id(1).retain()).await;
    let cases: [(&str, &[&str]); 5] = [
        ("#", &["own", "plain/a", "public/a", "public/b"]),
        ("shared/weather/public/a", &["public/a"]),
        ("+/+/+/b", &["public/b"]),
        ("public/#", &[]),
        ("plain/#", &["own", "plain/a"]),
    ];
    for (filter, expected) in cases {
        acme.subscribe(filter, QOS1).await;
        let mut shown = acme.take_messages(expected.len()).await;
        shown.sort();
        assert_eq!(shown, expected, "{filter}");
        acme.expect_nothing().await;
        acme.unsubscribe(filter).await;
    }
    // Its own message of the same name goes before it.
    acme.publish(publish("plain/a", "ours").qos(QOS1).id(1).retain()).await;
    acme.subscribe("plain/a", QOS1).await;
    assert_eq!(acme.take_messages(1).await, ["ours"]);
    acme.expect_nothing().await;

    // Gone there, gone here; and the removal is a message like others.
    acme.subscribe("shared/weather/public/+", QOS1).await;
    acme.take_messages(2).await;
    let mut weather = server
        .connect(
            connect(version, "w").user("w", "weather").will(will("public/gone", "gone").qos(QOS1)),
        )
        .await;
    weather.publish(publish("public/a", "").qos(QOS1).id(1).retain()).await;
    acme.expect_and_acknowledge(publish("shared/weather/public/a", "").qos(QOS1)).await;
    server.lose(weather).await;
    acme.expect_and_acknowledge(publish("shared/weather/public/gone", "gone").qos(QOS1)).await;
    acme.subscribe("shared/weather/#", QOS1).await;
    assert_eq!(acme.take_messages(1).await, ["public/b"]);
    acme.expect_nothing().await;
}

versions!(an_acknowledgement_covers_what_crossed: V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.3.2-2 @3.1.1] No PUBACK before the copies of durable sessions of the other tenant are stored.
async fn an_acknowledgement_covers_what_crossed(version: Version) {
    let disk = MemoryStore::new();
    let server = with_exports(&disk, weather()).await;
    let member = || connect(version, "away").user("away", "acme").kept();
    let mut away = server.connect(member()).await;
    away.subscribe("shared/#", QOS2).await;
    server.lose(away).await;
    let mut weather = server.connect(connect(version, "w").user("w", "weather")).await;
    for (qos, answer) in [(QOS1, puback(1)), (QOS2, pubrec(1))] {
        disk.faults().hold();
        weather.send(publish("public/a", format!("{qos:?}")).qos(qos).id(1)).await;
        weather.expect_nothing().await;
        disk.faults().release();
        weather.expect(answer).await;
    }
    // What is queued stays queued, whatever the rules say later.
    let after_crash = with_exports(&disk.image(), Vec::new()).await;
    let mut away = after_crash.connect(member()).await;
    away.assert_session_present(true);
    assert_eq!(away.take_messages(2).await, ["AtLeastOnce", "ExactlyOnce"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_crosses_is_refused_as_a_whole_when_the_store_is_full() {
    let disk = MemoryStore::new();
    let server = with_exports(&disk, weather()).await;
    let mut away = server.connect(connect(Version::V5, "away").user("away", "acme").kept()).await;
    away.subscribe("shared/#", QOS1).await;
    server.lose(away).await;
    let mut weather = server.connect(connect(Version::V5, "w").user("w", "weather")).await;
    disk.faults().full(true);
    weather.send(publish("public/a", "x").qos(QOS1).id(1)).await;
    weather.expect(puback(1).code(ReasonCode::QuotaExceeded)).await;
    disk.faults().full(false);
    assert_eq!(server.dropped(DropReason::Store), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_who_subscribes_are_those_for_the_names_there() {
    let mut rules = RuleSet::builder();
    rules.options(Options { overlap: Overlap::Filter, ..Options::default() });
    rules.allow(Holder::everyone(), Action::Publish, "#", Caps::default()).expect("a rule");
    rules.allow(Holder::everyone(), Action::Subscribe, "#", Caps::default()).expect("a rule");
    rules
        .deny(Holder::tenant("acme"), Action::Subscribe, "shared/weather/public/secret")
        .expect("a rule");
    let rules = rules.build();
    let server = Server::built(
        |config| {
            config.tenants.rules = vec![TenantRule::Identity];
            config.tenants.exports = weather();
        },
        |builder| builder.authenticator(Arc::new(Vouching)).rules(rules),
    )
    .await;
    let mut weather = server.connect(connect(Version::V5, "w").user("w", "weather")).await;
    for topic in ["public/secret", "public/open"] {
        weather.publish(publish(topic, format!("retained {topic}")).qos(QOS1).id(1).retain()).await;
    }
    let mut acme = server.connect(connect(Version::V5, "a").user("a", "acme")).await;
    acme.subscribe("shared/#", QOS1).await;
    assert_eq!(acme.take_messages(1).await, ["retained public/open"]);
    for topic in ["public/secret", "public/open"] {
        weather.publish(publish(topic, format!("live {topic}")).qos(QOS1).id(1)).await;
    }
    assert_eq!(acme.take_messages(1).await, ["live public/open"]);
    acme.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_come_and_go_while_clients_stay() {
    let server = with_exports(&MemoryStore::new(), Vec::new()).await;
    let mut publisher = server.connect(connect(Version::V5, "w").user("w", "weather")).await;
    let mut acme = server.connect(connect(Version::V5, "a").user("a", "acme")).await;
    acme.subscribe("#", QOS1).await;
    let reload = async |exports: Vec<TenantExport>| {
        let mut config = Config::clone(&server.broker.config());
        config.tenants.exports = exports;
        let report = server.broker.reload(config, AboveLimit::Keep).await.expect("rules that work");
        report.settings.into_iter().map(|each| each.setting).collect::<Vec<_>>()
    };
    let mut publish_both = async |what: &str| {
        for topic in ["public/a", "other/a"] {
            // At QoS 0 by a route that is remembered, and singly.
            publisher.publish(publish(topic, format!("{what} {topic} 0"))).await;
            publisher.publish(publish(topic, format!("{what} {topic} 1")).qos(QOS1).id(1)).await;
        }
    };
    publish_both("none").await;
    acme.expect_nothing().await;
    assert_eq!(reload(weather()).await, ["tenants.exports"]);
    publish_both("one").await;
    assert_eq!(acme.take_messages(2).await, ["one public/a 0", "one public/a 1"]);
    let other = vec![export("weather", "other/+", "acme", None)];
    reload([weather(), other.clone()].concat()).await;
    publish_both("both").await;
    let both = ["both public/a 0", "both public/a 1", "both other/a 0", "both other/a 1"];
    assert_eq!(acme.take_messages(4).await, both);
    // A rule that stays goes on counting.
    let figures = server.broker.exports();
    assert_eq!(figures.iter().map(|each| each.messages).collect::<Vec<_>>(), [4, 2]);
    reload(other).await;
    publish_both("other").await;
    assert_eq!(acme.take_messages(2).await, ["other other/a 0", "other other/a 1"]);
    reload(Vec::new()).await;
    publish_both("again none").await;
    acme.expect_nothing().await;
    // One tenant's rule for a tenant that nobody has come into yet holds from its first client on.
    reload(vec![export("weather", "#", "later", None)]).await;
    let mut later = server.connect(connect(Version::V5, "l").user("l", "later")).await;
    later.subscribe("#", QOS1).await;
    publish_both("late").await;
    assert_eq!(later.take_messages(4).await.len(), 4);
}

// Also after another tenant has come, for which the rules are looked at anew.
#[tokio::test]
async fn a_rule_that_is_stated_twice_is_one() {
    let twice = [weather(), weather(), vec![export("acme", "#", "later", None)]].concat();
    let server = with_exports(&MemoryStore::new(), twice).await;
    let member = |id: &str, tenant: &str| connect(Version::V5, id).user(id, tenant);
    let mut weather = server.connect(member("w", "weather")).await;
    let mut acme = server.connect(member("a", "acme")).await;
    acme.subscribe("#", QOS1).await;
    let _later = server.connect(member("l", "later")).await;
    let mut kept = publish("public/wind", "1").qos(QOS1).id(1);
    kept.retain = true;
    weather.publish(kept).await;
    assert_eq!(acme.take_messages(1).await, ["1"]);
    acme.expect_nothing().await;
    let mut late = server.connect(member("late", "acme")).await;
    late.subscribe("#", QOS1).await;
    assert_eq!(late.take_messages(1).await, ["1"]);
    late.expect_nothing().await;
    let figures = server.broker.exports();
    assert_eq!(figures.iter().map(|each| each.messages).collect::<Vec<_>>(), [1, 1, 0]);
}

// ---- Against an oracle ----

const TENANTS: [&str; 3] = ["one", "two", "three"];
const NAMES: [&str; 6] = ["a", "a/b", "p/a", "p/a/b", "/a", "$x/a"];
const EXPORTED: [&str; 6] = ["#", "a/#", "a", "+/a", "p/+/b", "a/+"];
const BELOW: [Option<&str>; 3] = [None, Some("p"), Some("p/a")];
const ASKED: [&str; 6] = ["#", "p/#", "p/a/+", "+/a", "a/b", "$x/#"];

/// Somebody of a tenant publishes.
#[derive(Clone, Copy, Debug)]
struct Said {
    tenant: usize,
    name: usize,
    retain: bool,
    way: Way,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Client(Qos),
    Process,
    Will,
}

fn said() -> impl Strategy<Value = Said> {
    let way = prop_oneof![
        Just(Way::Client(QOS0)),
        Just(Way::Client(QOS1)),
        Just(Way::Client(QOS2)),
        Just(Way::Process),
        Just(Way::Will),
    ];
    (0..TENANTS.len(), 0..NAMES.len(), any::<bool>(), way)
        .prop_map(|(tenant, name, retain, way)| Said { tenant, name, retain, way })
}

fn rules() -> impl Strategy<Value = Vec<TenantExport>> {
    let rule = (0..TENANTS.len(), 1..TENANTS.len(), 0..EXPORTED.len(), 0..BELOW.len());
    let rule = rule.prop_map(|(from, step, filter, below)| {
        let to = (from + step) % TENANTS.len();
        export(TENANTS[from], EXPORTED[filter], TENANTS[to], BELOW[below])
    });
    proptest::collection::vec(rule, 0..5)
}

fn matches(filter: &str, name: &str) -> bool {
    let name = TopicName::copy_from(name).expect("a name");
    TopicFilter::copy_from(filter).expect("a filter").matches(&name)
}

/// The name that a topic of one tenant has in another, by the rules as they are written.
fn name_in(rules: &[TenantExport], from: usize, to: usize, name: &str) -> Option<String> {
    if from == to {
        return Some(name.to_owned());
    }
    let between = |rule: &&TenantExport| {
        rule.from == TENANTS[from] && rule.to == TENANTS[to] && !name.starts_with('$')
    };
    let rule = rules.iter().filter(between).find(|rule| matches(rule.filter.as_str(), name))?;
    Some(match &rule.below {
        None => name.to_owned(),
        Some(below) => format!("{}/{name}", below.as_str()),
    })
}

/// The clients of one tenant: one that subscribes to all, one that is away, one of a shared group.
struct Members {
    live: Client,
    group: Client,
    speaker: Client,
}

fn of(tenant: usize, id: &str) -> Connect {
    connect(Version::V5, id).user(id, TENANTS[tenant])
}

impl Members {
    async fn come(server: &Server, tenant: usize) -> Self {
        let mut live = server.connect(of(tenant, "live")).await;
        live.subscribe("#", QOS1).await;
        live.subscribe("$x/#", QOS1).await;
        let mut group = server.connect(of(tenant, "group")).await;
        group.subscribe("$share/g/#", QOS1).await;
        let mut away = server.connect(of(tenant, "away").kept()).await;
        away.subscribe("p/#", QOS1).await;
        server.lose(away).await;
        Self { live, group, speaker: server.connect(of(tenant, "speaker")).await }
    }
}

/// All that has come for a client, as topic and payload.
async fn heard(client: &mut Client) -> Vec<(String, String)> {
    let mut heard = Vec::new();
    // What is posted before the first answer is written before the second.
    for _ in 0..3 {
        client.send(Packet::PingReq).await;
        loop {
            match client.receive().await {
                Packet::PingResp => break,
                Packet::Publish(message) => {
                    heard.push((message.topic.as_str().to_owned(), text(&message.payload)));
                    client.acknowledge(&message).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    heard
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

async fn say(server: &Server, members: &mut [Members], said: Said, payload: &str) {
    let Said { tenant, name, retain, way } = said;
    match way {
        Way::Client(qos) => {
            let mut message = publish(NAMES[name], payload.to_owned()).qos(qos).id_if_needed(1);
            message.retain = retain;
            members[tenant].speaker.publish(message).await;
            members[tenant].speaker.ping().await;
        }
        Way::Process => {
            let message = Message {
                topic: TopicName::copy_from(NAMES[name]).expect("a topic"),
                payload: payload.to_owned().into(),
                qos: QOS1,
                retain,
                properties: None,
            };
            let tenant = server.broker.tenant(TENANTS[tenant]).expect("a tenant");
            tenant.publish(message).await.expect("the store takes it");
        }
        Way::Will => {
            let mut last = will(NAMES[name], payload.to_owned()).qos(QOS1);
            last.retain = retain;
            let before = server.metrics().wills_published;
            let gone = server.connect(of(tenant, "gone").will(last)).await;
            server.lose(gone).await;
            will_published(server, before).await;
            settled(server).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 64, ..ProptestConfig::default() })]

    // Exactly the chosen topics cross, once, one way, and no further; live, queued, retained, shared, wills and in-process.
    #[test]
    fn exactly_what_the_rules_choose_crosses(
        rules in rules(),
        said in proptest::collection::vec(said(), 1..12),
        asked in 0..ASKED.len(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let server = with_exports(&MemoryStore::new(), rules.clone()).await;
            let mut members = Vec::new();
            for tenant in 0..TENANTS.len() {
                members.push(Members::come(&server, tenant).await);
            }
            let mut retained: [BTreeMap<String, String>; TENANTS.len()] = Default::default();
            for (number, each) in said.iter().enumerate() {
                let payload = number.to_string();
                say(&server, &mut members, *each, &payload).await;
                if each.retain {
                    retained[each.tenant].insert(NAMES[each.name].to_owned(), payload);
                }
            }
            for (to, member) in members.iter_mut().enumerate() {
                let arrives = |(number, said): (usize, &Said)| {
                    let name = name_in(&rules, said.tenant, to, NAMES[said.name])?;
                    Some((name, number.to_string(), *said))
                };
                let all: Vec<(String, String, Said)> =
                    said.iter().enumerate().filter_map(arrives).collect();
                let expected = |wanted: &dyn Fn(&str, Way) -> bool| {
                    let wanted = all.iter().filter(|(name, _, said)| wanted(name, said.way));
                    wanted.map(|(name, payload, _)| (name.clone(), payload.clone())).collect::<Vec<_>>()
                };
                let everything = |name: &str| matches("#", name);
                prop_assert_eq!(heard(&mut member.live).await, expected(&|_, _| true), "live");
                let shared = sorted(expected(&|name, _| everything(name)));
                prop_assert_eq!(sorted(heard(&mut member.group).await), shared, "shared");
                let mut away = server.connect(of(to, "away").kept()).await;
                let queued = expected(&|name, way| {
                    matches("p/#", name) && way != Way::Client(QOS0)
                });
                prop_assert_eq!(heard(&mut away).await, queued, "queued");

                let mut shown: Vec<(String, String)> = retained[to].clone().into_iter().collect();
                for (from, kept) in retained.iter().enumerate().filter(|(from, _)| *from != to) {
                    for (name, payload) in kept {
                        let there = name_in(&rules, from, to, name);
                        let there = there.filter(|name| !retained[to].contains_key(name));
                        shown.extend(there.map(|name| (name, payload.clone())));
                    }
                }
                shown.retain(|(name, _)| matches(ASKED[asked], name));
                let mut late = server.connect(of(to, "late")).await;
                late.subscribe(ASKED[asked], QOS1).await;
                prop_assert_eq!(sorted(heard(&mut late).await), sorted(shown), "retained");
            }
            Ok(())
        })?;
    }
}

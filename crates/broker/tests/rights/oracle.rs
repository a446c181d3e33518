//! Rules drawn at random, through the whole broker, against a look at each topic by itself: what is forbidden reaches nobody, and
//! nothing that is allowed is refused; live, queued, retained, by wills, to shared groups, and over a change of the rules.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_broker::{Message, TopicName};
use dunlin_topics::TopicFilter;
use proptest::prelude::*;

use super::*;

/// A rule of the oracle: allow or deny, publish or subscribe, a filter.
type Drawn = (bool, bool, String);

/// `z` stands in no rule, so that names over these letters, one level deeper than any filter, tell filters apart as all names
/// would.
const LETTERS: [&str; 3] = ["a", "b", "z"];

fn universe() -> Vec<TopicName> {
    let mut names: Vec<String> = LETTERS.iter().map(|&letter| letter.to_owned()).collect();
    let mut from = 0;
    for _ in 0..3 {
        let upto = names.len();
        for index in from..upto {
            for letter in LETTERS {
                names.push(format!("{}/{letter}", names[index]));
            }
        }
        from = upto;
    }
    names.into_iter().map(|name| TopicName::try_from(name).expect("a name")).collect()
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => Just("a"), 3 => Just("b"), 2 => Just("+")];
    let ending = prop_oneof![2 => Just(""), 1 => Just("/#")];
    (proptest::collection::vec(level, 1..4), ending, proptest::bool::weighted(0.05)).prop_map(
        |(levels, ending, all)| {
            if all { "#".to_owned() } else { format!("{}{ending}", levels.join("/")) }
        },
    )
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let rule = (proptest::bool::weighted(0.75), any::<bool>(), filter());
    proptest::collection::vec(rule, 1..7)
}

fn made(drawn: &[Drawn], overlap: Overlap) -> RuleSet {
    rules(|builder| {
        builder.options(Options { overlap, ..Options::default() });
        for (allows, publishes, filter) in drawn {
            let action = if *publishes { Action::Publish } else { Action::Subscribe };
            if *allows { allow(builder, action, filter) } else { deny(builder, action, filter) }
        }
    })
}

fn may(drawn: &[Drawn], publish: bool, name: &TopicName) -> bool {
    let matching = |allows: bool| {
        drawn.iter().any(|(allow, action, filter)| {
            let filter = TopicFilter::try_from(filter.as_str()).expect("a filter");
            *allow == allows && *action == publish && filter.matches(name)
        })
    };
    matching(true) && !matching(false)
}

fn grants(drawn: &[Drawn], overlap: Overlap, filter: &str, universe: &[TopicName]) -> bool {
    let filter = TopicFilter::try_from(filter).expect("a filter");
    let mut names = universe.iter().filter(|name| filter.matches(name));
    match overlap {
        Overlap::Refuse => names.all(|name| may(drawn, false, name)),
        Overlap::Filter => names.any(|name| may(drawn, false, name)),
    }
}

fn matches(filter: &str, name: &TopicName) -> bool {
    TopicFilter::try_from(filter).expect("a filter").matches(name)
}

/// How a message comes to the broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Client {
        qos: Qos,
        retain: bool,
    },
    /// From inside the process, which is not bound by the rules.
    Process,
    Will,
}

fn way() -> impl Strategy<Value = Way> {
    let qos = prop_oneof![Just(QOS0), Just(QOS1), Just(QOS2)];
    prop_oneof![
        3 => (qos, any::<bool>()).prop_map(|(qos, retain)| Way::Client { qos, retain }),
        1 => Just(Way::Process),
        1 => Just(Way::Will),
    ]
}

/// A message that the rules let in.
struct Accepted {
    topic: TopicName,
    payload: String,
    qos: Qos,
}

/// One rule set in force, and the clients under it.
struct Scene {
    server: Server,
    overlap: Overlap,
    universe: Vec<TopicName>,
    rules: Vec<Drawn>,
    publisher: Client,
    live: Client,
    /// The only member of a group for each filter.
    member: Client,
    /// What the clients are subscribed to: they all asked for the same.
    granted: BTreeSet<String>,
    retained: BTreeMap<TopicName, String>,
}

/// Asks for each filter, in a group of its own if `shared`, and compares the answers.
async fn subscribe_all(
    client: &mut Client,
    filters: &[String],
    expected: impl Fn(&str) -> bool,
    shared: bool,
) -> Result<(), TestCaseError> {
    for filter in filters {
        let asked = if shared { format!("$share/g/{filter}") } else { filter.clone() };
        client.send(subscribe(1, &[(&asked, QOS1)])).await;
        let answer = client.receive().await;
        let Packet::SubAck(answer) = &answer else { panic!("{answer:?}") };
        let code =
            if expected(filter) { ReasonCode::GrantedQos1 } else { ReasonCode::NotAuthorized };
        prop_assert_eq!(answer.reason_codes.iter().collect::<Vec<_>>(), [code], "{}", asked);
    }
    Ok(())
}

/// All that has come for a client.
async fn heard(client: &mut Client) -> Vec<String> {
    let mut got = Vec::new();
    // What is posted before the first answer is written before the second.
    for _ in 0..3 {
        client.send_bytes(b"\xC0\x00").await;
        loop {
            match client.receive().await {
                Packet::PingResp => break,
                Packet::Publish(message) => {
                    got.push(text(&message.payload));
                    client.acknowledge(&message).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    got
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

impl Scene {
    fn delivers(&self, topic: &TopicName) -> bool {
        may(&self.rules, false, topic)
    }

    fn grants(&self, filter: &str) -> bool {
        grants(&self.rules, self.overlap, filter, &self.universe)
    }

    /// How many of the granted filters match.
    fn matching(&self, topic: &TopicName) -> usize {
        self.granted.iter().filter(|filter| matches(filter, topic)).count()
    }

    /// Sends one message in its way; none if it was refused.
    async fn send(
        &mut self,
        topic: &TopicName,
        way: Way,
        payload: String,
    ) -> Result<Option<Accepted>, TestCaseError> {
        let allowed = may(&self.rules, true, topic);
        let mut qos = QOS1;
        let mut accepted = allowed;
        match way {
            Way::Client { qos: of_client, retain } => {
                qos = of_client;
                let mut message = publish(topic.as_str(), payload.clone()).qos(qos).id_if_needed(1);
                message.retain = retain;
                if allowed || qos == QOS0 {
                    self.publisher.publish(message).await;
                    self.publisher.ping().await;
                } else {
                    self.publisher.send(message).await;
                    let refusal = if qos == QOS1 { puback(1) } else { pubrec(1) };
                    self.publisher.expect(refusal.code(ReasonCode::NotAuthorized)).await;
                }
                if allowed && retain {
                    self.retained.insert(topic.clone(), payload.clone());
                }
            }
            Way::Process => {
                accepted = true;
                let message = Message {
                    topic: topic.clone(),
                    payload: payload.clone().into(),
                    qos,
                    retain: false,
                    properties: None,
                };
                self.server.broker.publish(message).await.expect("the broker takes it");
            }
            Way::Will => {
                let last = will(topic.as_str(), payload.clone()).qos(qos);
                let packet = connect(Version::V5, "gone").will(last);
                if allowed {
                    let before = self.server.metrics().wills_published;
                    let gone = self.server.connect(packet).await;
                    self.server.lose(gone).await;
                    let published = || self.server.metrics().wills_published > before;
                    eventually("a will", published).await;
                } else {
                    self.server.refused(packet, ReasonCode::NotAuthorized).await;
                }
            }
        }
        Ok(accepted.then(|| Accepted { topic: topic.clone(), payload, qos }))
    }

    /// Sends all messages and compares what the clients hear that are there. Gives what was accepted.
    async fn round(
        &mut self,
        name: &str,
        sent: &[(TopicName, Way)],
    ) -> Result<Vec<Accepted>, TestCaseError> {
        let mut accepted = Vec::new();
        for (number, (topic, way)) in sent.iter().enumerate() {
            accepted.extend(self.send(topic, *way, format!("{name} {number}")).await?);
        }
        self.settle().await;
        let copies = |each: &Accepted, most: usize| {
            let count = if self.delivers(&each.topic) { self.matching(&each.topic) } else { 0 };
            vec![each.payload.clone(); count.min(most)]
        };
        let live: Vec<String> = accepted.iter().flat_map(|each| copies(each, 1)).collect();
        let shared = accepted.iter().flat_map(|each| copies(each, usize::MAX)).collect();
        prop_assert_eq!(heard(&mut self.live).await, live, "{}: live", name);
        prop_assert_eq!(sorted(heard(&mut self.member).await), sorted(shared), "{}: shared", name);
        Ok(accepted)
    }

    /// What was said so far has gone where it goes.
    async fn settle(&self) {
        let elsewhere = self.server.broker.tenant("elsewhere").expect("a tenant");
        let message = Message {
            topic: TopicName::try_from("x").expect("a topic"),
            payload: "x".into(),
            qos: QOS1,
            retain: true,
            properties: None,
        };
        elsewhere.publish(message).await.expect("the store takes it");
    }

    /// Puts other rules in force; subscriptions that they do not grant are gone.
    async fn change(&mut self, rules: Vec<Drawn>) -> Result<(), TestCaseError> {
        self.server.broker.set_rules(made(&rules, self.overlap)).await;
        self.rules = rules;
        let granted = std::mem::take(&mut self.granted);
        self.granted = granted.into_iter().filter(|filter| self.grants(filter)).collect();
        // Of three clients.
        let left = 3 * self.granted.len() as u64;
        prop_assert_eq!(self.server.metrics().subscriptions, left);
        Ok(())
    }

    /// What somebody who comes now is shown of what is retained.
    async fn compare_retained(&self, filters: &[String]) -> Result<(), TestCaseError> {
        let mut late = self.server.connect(connect(Version::V5, "late")).await;
        for filter in filters {
            late.send(subscribe(1, &[(filter, QOS1)])).await;
            let Packet::SubAck(_) = late.receive().await else { panic!("no SUBACK") };
            let shown = self.retained.iter().filter(|(topic, _)| {
                self.grants(filter) && matches(filter, topic) && self.delivers(topic)
            });
            let shown = shown.map(|(_, payload)| payload.clone()).collect();
            prop_assert_eq!(sorted(heard(&mut late).await), sorted(shown), "retained, {}", filter);
        }
        self.server.disconnect(late).await;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 128, ..ProptestConfig::default() })]

    // No message on a topic that the rules forbid is delivered, none that they allow is refused; before and after a change.
    #[test]
    fn the_broker_does_what_the_rules_say(
        (before, after) in (drawn(), drawn()),
        filters in proptest::collection::btree_set(filter(), 1..5),
        picks in proptest::collection::vec((any::<proptest::sample::Index>(), way()), 1..10),
        filters_deliveries in any::<bool>(),
    ) {
        let overlap = if filters_deliveries { Overlap::Filter } else { Overlap::Refuse };
        let filters: Vec<String> = filters.into_iter().collect();
        let universe = universe();
        let sent: Vec<(TopicName, Way)> =
            picks.iter().map(|(pick, way)| (pick.get(&universe).clone(), *way)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let server = with(made(&before, overlap)).await;
            let expected = |filter: &str| grants(&before, overlap, filter, &universe);
            let mut live = server.connect(connect(Version::V5, "live")).await;
            subscribe_all(&mut live, &filters, expected, false).await?;
            let mut member = server.connect(connect(Version::V5, "member")).await;
            subscribe_all(&mut member, &filters, expected, true).await?;
            let mut away = server.connect(connect(Version::V5, "away").kept()).await;
            subscribe_all(&mut away, &filters, expected, false).await?;
            server.lose(away).await;
            let publisher = server.connect(connect(Version::V5, "publisher")).await;
            let granted = filters.iter().filter(|filter| expected(filter)).cloned().collect();
            let mut scene = Scene {
                server,
                overlap,
                universe: universe.clone(),
                rules: before.clone(),
                publisher,
                live,
                member,
                granted,
                retained: BTreeMap::new(),
            };
            let early = scene.round("before", &sent).await?;
            let queued = |scene: &Scene, accepted: &[Accepted]| {
                let kept = accepted.iter().filter(|each| {
                    each.qos > QOS0 && scene.delivers(&each.topic) && scene.matching(&each.topic) > 0
                });
                kept.map(|each| each.payload.clone()).collect::<BTreeSet<_>>()
            };
            let before_change = queued(&scene, &early);
            scene.compare_retained(&filters).await?;
            scene.change(after).await?;
            let late = scene.round("after", &sent).await?;
            scene.compare_retained(&filters).await?;
            // Of what was queued before, only what was allowed then and is now.
            let mut expected = queued(&scene, &late);
            expected.extend(queued(&scene, &early).intersection(&before_change).cloned());
            let mut away = scene.server.connect(connect(Version::V5, "away").kept()).await;
            let came = heard(&mut away).await;
            prop_assert_eq!(came.len(), expected.len(), "queued: {:?}", came);
            prop_assert_eq!(came.into_iter().collect::<BTreeSet<_>>(), expected, "queued");
            Ok(())
        })?;
    }
}

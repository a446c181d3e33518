//! Random rule sets and clients, beside an oracle that applies every rule to every name.

use std::sync::{Arc, LazyLock};

use dunlin_access::{
    Action, Caps, Decision, Effect, Holder, Options, Origin, Overlap, Publication, Qos, Refusal,
    Rights, RightsCache, RuleSet, Subject, Verdict,
};
use dunlin_topics::{TopicFilter, matches};
use proptest::prelude::*;

const LEVELS: [&str; 5] = ["a", "b", "t", "$s", "{username}"];
/// Among them the values of the placeholders, and a text that is in no filter.
const NAME_LEVELS: [&str; 6] = ["a", "b", "t", "$s", "u", "new"];

/// A rule as plain data.
#[derive(Clone, Debug)]
struct PlainRule {
    who: PlainHolder,
    tenant: Option<&'static str>,
    action: Action,
    effect: Effect,
    filter: String,
}

#[derive(Clone, Copy, Debug)]
enum PlainHolder {
    Everyone,
    Anonymous,
    Authenticated,
    User(&'static str),
    Client(&'static str),
    Role(&'static str),
}

#[derive(Clone, Debug)]
struct PlainClient {
    user: Option<&'static str>,
    tenant: Option<&'static str>,
    client_id: &'static str,
    roles: Vec<String>,
}

impl PlainRule {
    fn holder(&self) -> Holder {
        let holder = match self.who {
            PlainHolder::Everyone => Holder::everyone(),
            PlainHolder::Anonymous => Holder::anonymous(),
            PlainHolder::Authenticated => Holder::authenticated(),
            PlainHolder::User(name) => Holder::user(name),
            PlainHolder::Client(id) => Holder::client(id),
            PlainHolder::Role(name) => Holder::role(name),
        };
        match self.tenant {
            Some(tenant) => holder.within(tenant),
            None => holder,
        }
    }

    /// The filter with the client's values, if the rule is for it.
    fn filter_for(&self, client: &PlainClient) -> Option<String> {
        let is_for = match self.who {
            PlainHolder::Everyone => true,
            PlainHolder::Anonymous => client.user.is_none(),
            PlainHolder::Authenticated => client.user.is_some(),
            PlainHolder::User(name) => client.user == Some(name),
            PlainHolder::Client(id) => client.client_id == id,
            // The rules give `second` to the user `u`.
            PlainHolder::Role(name) => {
                client.roles.iter().any(|role| role == name)
                    || name == "second" && client.user == Some("u")
            }
        };
        if !is_for || self.tenant.is_some() && self.tenant != client.tenant {
            return None;
        }
        if self.filter.contains("{username}") && client.user.is_none()
            || self.filter.contains("{tenantId}") && client.tenant.is_none()
        {
            return None;
        }
        let filter = self.filter.replace("{username}", client.user.unwrap_or_default());
        Some(filter.replace("{tenantId}", client.tenant.unwrap_or_default()))
    }
}

/// Every rule for every name.
struct Oracle {
    is_open: bool,
    /// Filled, of those that are for the client.
    rules: Vec<(Action, Effect, String)>,
}

impl Oracle {
    fn new(rules: &[PlainRule], is_open: bool, client: &PlainClient) -> Self {
        let filled = rules
            .iter()
            .filter_map(|rule| Some((rule.action, rule.effect, rule.filter_for(client)?)));
        Self { is_open, rules: filled.collect() }
    }

    fn allows(&self, action: Action, name: &str, qos: Qos, retain: bool) -> bool {
        let about =
            self.rules.iter().filter(|(of, _, filter)| *of == action && matches(filter, name));
        let effects: Vec<Effect> = about.map(|(_, effect, _)| *effect).collect();
        let lets = |effect: &Effect| matches!(effect, Effect::Allow(caps) if qos <= caps.qos_max && (caps.retain || !retain));
        self.is_open || !effects.contains(&Effect::Deny) && effects.iter().any(lets)
    }

    fn verdict(&self, filter: &str, qos: Qos, overlap: Overlap, names: &[String]) -> PlainVerdict {
        let inside: Vec<_> = names.iter().filter(|name| matches(filter, name)).collect();
        let allows = |name: &str, qos| self.allows(Action::Subscribe, name, qos, false);
        let lower = [Qos::ExactlyOnce, Qos::AtLeastOnce, Qos::AtMostOnce];
        let lower = lower.into_iter().filter(|lower| *lower <= qos);
        if let Some(qos) = lower.clone().find(|qos| inside.iter().all(|name| allows(name, *qos))) {
            return PlainVerdict::Granted(qos);
        }
        let left: Vec<_> = inside.iter().filter(|name| allows(name, Qos::AtMostOnce)).collect();
        if overlap == Overlap::Refuse || left.is_empty() {
            return PlainVerdict::Refused;
        }
        let mut lower = lower.filter(|qos| left.iter().all(|name| allows(name, *qos)));
        PlainVerdict::Filtered(lower.next().expect("QoS 0 is allowed by whatever allows"))
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PlainVerdict {
    Granted(Qos),
    Filtered(Qos),
    Refused,
}

impl From<Verdict> for PlainVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Granted(qos) => Self::Granted(qos),
            Verdict::Filtered(qos) => Self::Filtered(qos),
            Verdict::Refused(_) => Self::Refused,
        }
    }
}

static NAMES: LazyLock<Vec<String>> = LazyLock::new(all_names);

fn all_names() -> Vec<String> {
    let mut names = Vec::new();
    let mut deepest = vec![String::new()];
    for depth in 0..4 {
        let longer = deepest.iter().flat_map(|above: &String| {
            NAME_LEVELS.iter().map(move |level| match depth {
                0 => (*level).to_owned(),
                _ => format!("{above}/{level}"),
            })
        });
        deepest = longer.collect();
        names.extend(deepest.iter().cloned());
    }
    names
}

fn qos() -> impl Strategy<Value = Qos> {
    prop::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn filter(levels: Vec<&'static str>) -> impl Strategy<Value = String> {
    let level = prop::sample::select(levels);
    (prop::collection::vec(level, 1..=3), prop::bool::weighted(0.3)).prop_map(
        |(mut levels, multi)| {
            if multi {
                levels.pop();
                levels.push("#");
            }
            levels.join("/")
        },
    )
}

fn rule() -> impl Strategy<Value = PlainRule> {
    let who = prop::sample::select(vec![
        PlainHolder::Everyone,
        PlainHolder::Anonymous,
        PlainHolder::Authenticated,
        PlainHolder::User("u"),
        PlainHolder::Client("c"),
        PlainHolder::Role("first"),
        PlainHolder::Role("second"),
    ]);
    let tenant = prop::sample::select(vec![None, None, Some("t"), Some("other")]);
    let action = prop::sample::select(vec![Action::Publish, Action::Subscribe]);
    let effect = prop_oneof![
        1 => Just(Effect::Deny),
        2 => (qos(), any::<bool>()).prop_map(|(qos_max, retain)| Effect::Allow(Caps { qos_max, retain })),
    ];
    let mut levels = LEVELS.to_vec();
    levels.extend(["{tenantId}", "+", "+", "+"]);
    (who, tenant, action, effect, filter(levels)).prop_map(
        |(who, tenant, action, effect, filter)| PlainRule { who, tenant, action, effect, filter },
    )
}

fn client() -> impl Strategy<Value = PlainClient> {
    let roles = prop::sample::subsequence(vec!["first".to_owned(), "third".to_owned()], 0..=2);
    (
        prop::sample::select(vec![None, Some("u"), Some("b")]),
        prop::sample::select(vec![None, Some("t")]),
        prop::sample::select(vec!["c", "d"]),
        roles,
    )
        .prop_map(|(user, tenant, client_id, roles)| PlainClient {
            user,
            tenant,
            client_id,
            roles,
        })
}

fn build(rules: &[PlainRule], overlap: Overlap) -> Arc<RuleSet> {
    let mut builder = RuleSet::builder();
    builder.options(Options { overlap, ..Options::default() });
    for (line, rule) in (1..).zip(rules) {
        let origin = Origin { file: "rules".into(), line };
        builder
            .add(rule.holder(), rule.action, rule.effect, &rule.filter, origin)
            .expect("a random rule is a legal one");
    }
    if !rules.is_empty() {
        builder.give_role(Holder::user("u"), "second");
    }
    Arc::new(builder.build())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_message_goes_where_the_rules_forbid_and_all_go_where_they_allow(
        rules in prop::collection::vec(rule(), 0..10),
        client in client(),
        filters in prop::collection::vec((filter(vec!["a", "b", "t", "u", "$s", "+", "+"]), qos()), 6),
        messages in prop::collection::vec((any::<prop::sample::Index>(), qos(), any::<bool>()), 30),
        overlap in prop::sample::select(vec![Overlap::Refuse, Overlap::Filter]),
    ) {
        let names = &*NAMES;
        let rule_set = build(&rules, overlap);
        let subject = Subject {
            user: client.user,
            tenant: client.tenant,
            client_id: client.client_id,
            roles: &client.roles,
            attributes: &[],
        };
        let rights = RightsCache::new(Arc::clone(&rule_set)).rights(&subject).expect("good values");
        let oracle = Oracle::new(&rules, rules.is_empty(), &client);

        for (index, qos, retain) in messages {
            let name = index.get(names);
            let decision = rights.publish(&Publication { topic: name.as_bytes(), qos, retain });
            let expected = oracle.allows(Action::Publish, name, qos, retain);
            prop_assert_eq!(decision.is_allowed(), expected, "publish {} {} {}", name, qos, retain);
            prop_assert!(names_its_rule(&rule_set, &oracle, name, Action::Publish, decision));

            let decision = rights.deliver(name.as_bytes());
            let expected = oracle.allows(Action::Subscribe, name, Qos::AtMostOnce, false);
            prop_assert_eq!(decision.is_allowed(), expected, "deliver {}", name);
            prop_assert!(names_its_rule(&rule_set, &oracle, name, Action::Subscribe, decision));
        }
        for (text, qos) in filters {
            let Ok(filter) = TopicFilter::copy_from(&text) else { continue };
            let verdict = PlainVerdict::from(rights.subscribe(&filter, qos));
            prop_assert_eq!(verdict, oracle.verdict(&text, qos, overlap, names), "{}", text);
            prop_assert!(delivers_what_is_allowed(&rights, &oracle, &text, verdict, names));
        }
    }
}

/// Whether the rule that a decision names is about this.
fn names_its_rule(
    rules: &RuleSet,
    oracle: &Oracle,
    name: &str,
    action: Action,
    decision: Decision,
) -> bool {
    let rule = match decision {
        Decision::Allowed(rule) => rule,
        Decision::Refused(refusal) => refusal.rule(),
    };
    let Some(rule) = rule.and_then(|rule| rules.rule(rule)) else {
        return oracle.is_open || decision == Decision::Refused(Refusal::NotAllowed);
    };
    let is_deny = rule.effect() == Effect::Deny;
    rule.action() == action
        && is_deny == matches!(decision, Decision::Refused(Refusal::Denied(_)))
        && oracle.rules.iter().any(|(of, effect, filter)| {
            *of == action && *effect == rule.effect() && matches(filter, name)
        })
}

/// Plays what a broker does with a subscription: a message goes out if the filter matches, and the delivery is allowed
/// where the verdict says to ask.
fn delivers_what_is_allowed(
    rights: &Rights,
    oracle: &Oracle,
    filter: &str,
    verdict: PlainVerdict,
    names: &[String],
) -> bool {
    names.iter().filter(|name| matches(filter, name)).all(|name| {
        let is_allowed = |qos| oracle.allows(Action::Subscribe, name, qos, false);
        match verdict {
            PlainVerdict::Refused => true,
            PlainVerdict::Granted(qos) => is_allowed(qos),
            PlainVerdict::Filtered(qos) => {
                let goes_out = rights.deliver(name.as_bytes()).is_allowed();
                goes_out == is_allowed(Qos::AtMostOnce) && (!goes_out || is_allowed(qos))
            }
        }
    })
}

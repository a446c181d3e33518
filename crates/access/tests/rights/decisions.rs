//! What is decided, by whole values.

use std::sync::Arc;

use dunlin_access::{
    Action, Caps, Decision, Holder, InvalidSubject, Options, Overlap, Placeholder, Publication,
    Qos, Refusal, Rights, RuleId, RuleSet, Subject, ValueProblem, Verdict,
};
use dunlin_topics::TopicFilter;

/// The rights of the user `u` with the client id `c` by these rules about everyone: `+filter` allows, `-filter` denies.
fn rights(overlap: Overlap, rules: &[&str]) -> Rights {
    let mut builder = RuleSet::builder();
    builder.options(Options { overlap, ..Options::default() });
    for rule in rules {
        for action in [Action::Publish, Action::Subscribe] {
            let (sign, filter) = rule.split_at(1);
            let added = match sign {
                "+" => builder.allow(Holder::everyone(), action, filter, Caps::default()),
                _ => builder.deny(Holder::everyone(), action, filter),
            };
            added.expect(rule);
        }
    }
    let subject = Subject { user: Some("u"), client_id: "c", ..Subject::default() };
    Rights::new(&Arc::new(builder.build()), &subject).expect("good values")
}

fn rule(rights: &Rights, refusal: Refusal) -> String {
    let rule = refusal.rule().and_then(|rule| rights.rules().rule(rule));
    let filter = rule.map_or_else(|| "nothing".to_owned(), |rule| rule.filter().to_owned());
    format!("{refusal} ({filter})")
}

fn subscribed(rights: &Rights, filter: &str) -> String {
    match rights.subscribe(&TopicFilter::copy_from(filter).expect(filter), Qos::ExactlyOnce) {
        Verdict::Granted(qos) => format!("granted at {qos}"),
        Verdict::Filtered(qos) => format!("filtered at {qos}"),
        Verdict::Refused(refusal) => rule(rights, refusal),
    }
}

fn published(rights: &Rights, topic: &str) -> String {
    let topic = topic.as_bytes();
    let message = Publication { topic, qos: Qos::ExactlyOnce, retain: true };
    match rights.publish(&message) {
        Decision::Allowed(_) => "allowed".to_owned(),
        Decision::Refused(refusal) => rule(rights, refusal),
    }
}

#[test]
fn filters_are_sets_and_not_texts() {
    let rights = rights(Overlap::Refuse, &["+a/#", "+b/+", "+{username}/x", "-a/secret/#"]);
    for (filter, expected) in [
        ("a/b/+", "granted at QoS 2"),
        ("a/x", "granted at QoS 2"),
        ("a", "granted at QoS 2"),
        ("a/+/b", "a rule denies it (a/secret/#)"),
        ("a/#", "a rule denies it (a/secret/#)"),
        ("a/secret", "a rule denies it (a/secret/#)"),
        ("b/+", "granted at QoS 2"),
        ("b/#", "the filter matches more than the rules allow (b/+)"),
        ("u/x", "granted at QoS 2"),
        ("u/+", "the filter matches more than the rules allow ({username}/x)"),
        ("c/#", "no rule allows it (nothing)"),
    ] {
        assert_eq!(subscribed(&rights, filter), expected, "{filter}");
    }
}

#[test]
fn what_reaches_too_far_can_be_filtered() {
    let rights = rights(Overlap::Filter, &["+a/#", "+b/+", "-a/secret/#"]);
    for (filter, expected) in [
        ("a/b", "granted at QoS 2"),
        ("a/#", "filtered at QoS 2"),
        ("#", "filtered at QoS 2"),
        ("+/+", "filtered at QoS 2"),
        ("a/secret/#", "a rule denies it (a/secret/#)"),
        ("$SYS/#", "no rule allows it (nothing)"),
    ] {
        assert_eq!(subscribed(&rights, filter), expected, "{filter}");
    }
    assert!(rights.deliver(b"a/b").is_allowed());
    assert!(!rights.deliver(b"a/secret/b").is_allowed());
    assert!(!rights.deliver(b"c").is_allowed());
}

/// What the server keeps for itself is granted by name only. [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
#[test]
fn a_wildcard_grants_nothing_that_begins_with_a_dollar() {
    let all = rights(Overlap::Refuse, &["+#"]);
    assert_eq!(subscribed(&all, "#"), "granted at QoS 2");
    assert_eq!(subscribed(&all, "$SYS/#"), "no rule allows it (nothing)");
    assert_eq!(published(&all, "$SYS/x"), "no rule allows it (nothing)");
    assert_eq!(published(&all, "a/$SYS"), "allowed");
    let named = rights(Overlap::Refuse, &["+#", "+$SYS/+"]);
    assert_eq!(subscribed(&named, "$SYS/x"), "granted at QoS 2");
    assert_eq!(
        subscribed(&named, "$SYS/#"),
        "the filter matches more than the rules allow ($SYS/+)"
    );
}

#[test]
fn caps_bound_messages_and_subscriptions() {
    let mut builder = RuleSet::builder();
    let caps = |qos_max, retain| Caps { qos_max, retain };
    let mut allow = |action, filter, caps| {
        builder.allow(Holder::everyone(), action, filter, caps).expect(filter);
    };
    allow(Action::Publish, "a/#", caps(Qos::AtLeastOnce, false));
    allow(Action::Publish, "a/b", caps(Qos::AtMostOnce, true));
    allow(Action::Subscribe, "a/+", caps(Qos::AtMostOnce, false));
    allow(Action::Subscribe, "a/b", caps(Qos::AtLeastOnce, false));
    let rights = Rights::new(&Arc::new(builder.build()), &Subject::default()).expect("rights");

    let publish = |topic: &str, qos, retain| match rights.publish(&Publication {
        topic: topic.as_bytes(),
        qos,
        retain,
    }) {
        Decision::Allowed(_) => "allowed".to_owned(),
        Decision::Refused(refusal) => rule(&rights, refusal),
    };
    assert_eq!(publish("a/x", Qos::AtLeastOnce, false), "allowed");
    assert_eq!(
        publish("a/x", Qos::ExactlyOnce, false),
        "the QoS is higher than the rule allows (a/#)"
    );
    assert_eq!(
        publish("a/x", Qos::AtMostOnce, true),
        "the rule does not allow retained messages (a/#)"
    );
    assert_eq!(publish("a/b", Qos::AtMostOnce, true), "allowed");
    assert_eq!(
        publish("a/b", Qos::AtLeastOnce, true),
        "the rule does not allow retained messages (a/#)"
    );
    assert_eq!(subscribed(&rights, "a/b"), "granted at QoS 1");
    assert_eq!(subscribed(&rights, "a/+"), "granted at QoS 0");
}

#[test]
fn without_rules_everything_is_allowed_and_with_one_nothing_else_is() {
    let open = rights(Overlap::Refuse, &[]);
    assert_eq!(published(&open, "$SYS/x"), "allowed");
    assert_eq!(subscribed(&open, "#"), "granted at QoS 2");

    let mut builder = RuleSet::builder();
    builder.give_role(Holder::user("somebody"), "something");
    let rules = Arc::new(builder.build());
    let closed = Rights::new(&rules, &Subject::default()).expect("rights");
    assert_eq!(published(&closed, "a"), "no rule allows it (nothing)");
    assert_eq!(subscribed(&closed, "a"), "no rule allows it (nothing)");
}

#[test]
fn a_value_that_would_reach_beyond_its_level_refuses_the_client_and_says_which_rule_needs_it() {
    let mut builder = RuleSet::builder();
    let caps = Caps::default();
    builder.allow(Holder::everyone(), Action::Publish, "x", caps).expect("a rule");
    builder.allow(Holder::role("r"), Action::Publish, "{clientId}/#", caps).expect("a rule");
    let rules = Arc::new(builder.build());
    let with = Subject { client_id: "a/b", roles: &["r".to_owned()], ..Subject::default() };
    let without = Subject { client_id: "a/b", ..Subject::default() };

    assert!(Rights::new(&rules, &without).is_ok(), "no rule for it needs the value");
    let error = Rights::new(&rules, &with).expect_err("the value has a separator");
    let rule = rules.rules().nth(1).expect("the second rule");
    let expected = InvalidSubject::Value {
        placeholder: Placeholder::ClientId,
        problem: ValueProblem::Holds('/'),
        rule: second_rule(&rules),
        origin: rule.origin().clone(),
    };
    assert_eq!(error, expected);
    let line = rule.origin().line;
    let file = file!();
    assert_eq!(
        error.to_string(),
        format!("{{clientId}} in the rule at {file}:{line}: the value holds '/'")
    );
}

fn second_rule(rules: &Arc<RuleSet>) -> RuleId {
    let subject = Subject { client_id: "c", roles: &["r".to_owned()], ..Subject::default() };
    let rights = Rights::new(rules, &subject).expect("a good value");
    let message = Publication { topic: b"c/x", qos: Qos::AtMostOnce, retain: false };
    match rights.publish(&message) {
        Decision::Allowed(Some(rule)) => rule,
        Decision::Allowed(None) | Decision::Refused(_) => panic!("the second rule allows it"),
    }
}

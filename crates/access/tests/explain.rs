//! What an administrator reads.

use std::sync::Arc;

use dunlin_access::{
    Action, Caps, Effect, Holder, Origin, Qos, Question, RuleSet, Subject, explain,
};
use dunlin_topics::{SubscriptionFilter, TopicName};

fn rules() -> Arc<RuleSet> {
    let allow = Effect::Allow(Caps::default());
    let capped = Effect::Allow(Caps { qos_max: Qos::AtLeastOnce, retain: false });
    let mut builder = RuleSet::builder();
    for (line, holder, action, effect, filter) in [
        (3, Holder::role("reader"), Action::Subscribe, allow, "{tenantId}/read/#"),
        (4, Holder::role("reader"), Action::Subscribe, Effect::Deny, "{tenantId}/read/raw/#"),
        (7, Holder::role("writer"), Action::Publish, capped, "{tenantId}/{clientId}/#"),
        (9, Holder::user("alice"), Action::Subscribe, allow, "alice/{claims.site}"),
        (12, Holder::tenant("other"), Action::Subscribe, allow, "+/read/x"),
    ] {
        let origin = Origin { file: "acl.toml".into(), line };
        builder.add(holder, action, effect, filter, origin).expect(filter);
    }
    builder.give_role(Holder::user("alice"), "reader");
    Arc::new(builder.build())
}

fn text(rules: &Arc<RuleSet>, subject: &Subject<'_>, question: Question) -> String {
    explain(rules, subject, question).to_string()
}

fn subscribe(filter: &str) -> Question {
    let filter = SubscriptionFilter::try_from(filter).expect(filter);
    Question::Subscribe { filter, qos: Qos::AtLeastOnce }
}

fn alice<'a>(roles: &'a [String]) -> Subject<'a> {
    Subject {
        user: Some("alice"),
        tenant: Some("acme"),
        client_id: "c1",
        roles,
        ..Subject::default()
    }
}

#[test]
fn explanations_are_reviewed() {
    let rules = rules();
    let roles = ["writer".to_owned(), "auditor".to_owned()];
    let topic = TopicName::copy_from("acme/c1/x").expect("a name");
    let publish =
        |retain| Question::Publish { topic: topic.clone(), qos: Qos::AtLeastOnce, retain };
    let mut all = String::new();
    for (subject, question) in [
        (alice(&roles), subscribe("acme/read/day/+")),
        (alice(&roles), subscribe("$share/g/acme/read/#")),
        (alice(&[]), subscribe("acme/+/x")),
        (alice(&roles), publish(false)),
        (alice(&roles), publish(true)),
        (alice(&[]), publish(false)),
        (alice(&[]), Question::Deliver { topic: topic.clone() }),
        (Subject { client_id: "a/b", ..alice(&roles) }, publish(false)),
        (Subject::default(), subscribe("acme/read/x")),
    ] {
        all += &text(&rules, &subject, question);
        all.push('\n');
    }
    all += &text(&Arc::default(), &alice(&[]), subscribe("#"));
    insta::assert_snapshot!("explanations", all);
}

#[test]
fn what_is_granted_in_part_says_so() {
    let mut builder = RuleSet::builder();
    builder.options(dunlin_access::Options {
        overlap: dunlin_access::Overlap::Filter,
        ..Default::default()
    });
    let origin = Origin { file: "acl".into(), line: 1 };
    let allow = Effect::Allow(Caps::default());
    builder.add(Holder::everyone(), Action::Subscribe, allow, "a/#", origin).expect("a rule");
    let text = text(&Arc::new(builder.build()), &Subject::default(), subscribe("#"));
    assert_eq!(
        text,
        "allowed in part: subscribe # at QoS 1: granted at QoS 1, and each delivery is checked\n\
         roles: none\n\
         rules that are for this client:\n\
         \x20 acl:1: everyone: allow subscribe a/#: applies to part of it\n\
         not listed: 0 rules for others, 0 about the other action\n"
    );
}

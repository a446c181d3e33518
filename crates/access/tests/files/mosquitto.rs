//! Mosquitto's format.

use std::sync::Arc;

use dunlin_access::{
    Overlap, Publication, Qos, Rights, Subject, Verdict, parse_mosquitto_acl, write_rules,
};
use dunlin_topics::TopicFilter;

/// As people have them, with what is seldom seen.
const FILE: &str = "\
# This affects access control for clients with no username.
topic read $SYS/#
topic announce/all

# This only affects clients with username \"roger\".
user roger
topic foo/bar
topic deny foo/bar/secret
topic read plant {1}/state of things

user  sam smith
topic write  sensors/+/in
  topic readwrite sam/#
#topic old

# This affects all clients.
pattern write $SYS/broker/connection/%c/state
pattern readwrite home/%u/#
pattern deny home/+/raw/#
pattern read %u-%c/x
";

#[test]
fn a_file_is_read_line_by_line() {
    let acl = parse_mosquitto_acl("acl", FILE);
    let rules: Vec<_> =
        acl.rules.rules().map(|rule| format!("{} {rule}", rule.origin().line)).collect();
    assert_eq!(
        rules,
        [
            "2 anonymous clients: allow subscribe $SYS/#",
            "3 anonymous clients: allow publish announce/all",
            "3 anonymous clients: allow subscribe announce/all",
            "7 user roger: allow publish foo/bar",
            "7 user roger: allow subscribe foo/bar",
            "8 user roger: deny publish foo/bar/secret",
            "8 user roger: deny subscribe foo/bar/secret",
            "9 user roger: allow subscribe plant {{1}}/state of things",
            "12 user sam smith: allow publish sensors/+/in",
            "13 user sam smith: allow publish sam/#",
            "13 user sam smith: allow subscribe sam/#",
            "17 everyone: allow publish $SYS/broker/connection/{clientId}/state",
            "18 everyone: allow publish home/{username}/#",
            "18 everyone: allow subscribe home/{username}/#",
            "19 everyone: deny publish home/+/raw/#",
            "19 everyone: deny subscribe home/+/raw/#",
            "20 everyone: allow subscribe {username}-{clientId}/x",
        ]
    );
    assert_eq!(acl.rules.options().overlap, Overlap::Filter);
    let remarks: Vec<_> = acl.remarks.iter().map(ToString::to_string).collect();
    assert_eq!(
        remarks,
        [
            "acl:17: a client whose user name or client id is empty or holds a / is refused at CONNECT, since it would \
             reach beyond its level of a pattern; Mosquitto takes it",
        ]
    );
}

#[test]
fn what_cannot_be_carried_is_listed() {
    let text = "topic\ntopic reed a\ntopic a/#/b\nuser\ntopic lost\npattern read +%u\nfoo bar\nuser u\ntopic home/#\n\
                pattern deny home/%c\n\ttopic x\n";
    let acl = parse_mosquitto_acl("acl", text);
    let remarks: Vec<_> = acl.remarks.iter().map(ToString::to_string).collect();
    assert_eq!(
        remarks,
        [
            "acl:1: a topic without a topic: the line is left out",
            "acl:2: `reed` is none of read, write, readwrite, deny: the line is left out",
            "acl:3: topic filter goes on after the # at byte 2: the line is left out",
            "acl:4: a user without a name: the lines for it are left out",
            "acl:5: the line belongs to a user without a name and is left out",
            "acl:6: topic filter has a wildcard at byte 0 that is not a level of its own: the line is left out",
            "acl:7: unknown keyword `foo`: the line is left out",
            "acl:10: with Mosquitto a `topic` line that allows comes before this `pattern deny`; here what denies comes \
             first",
            "acl:10: a client whose user name or client id is empty or holds a / is refused at CONNECT, since it would \
             reach beyond its level of a pattern; Mosquitto takes it",
            "acl:11: unknown keyword `\ttopic`: the line is left out",
        ]
    );
    assert_eq!(acl.rules.rules().len(), 4);
}

#[test]
fn rights_are_those_of_mosquitto() {
    let rules = Arc::new(parse_mosquitto_acl("acl", FILE).rules);
    let rights = |user, client_id| {
        let subject = Subject { user, client_id, ..Subject::default() };
        Rights::new(&rules, &subject).expect("good values")
    };
    let publishes = |rights: &Rights, topic: &str| {
        let message = Publication { topic: topic.as_bytes(), qos: Qos::ExactlyOnce, retain: true };
        rights.publish(&message).is_allowed()
    };
    let (nobody, roger) = (rights(None, "c"), rights(Some("roger"), "c"));
    assert!(publishes(&nobody, "announce/all") && !publishes(&roger, "announce/all"));
    assert!(publishes(&roger, "foo/bar") && !publishes(&roger, "foo/bar/secret"));
    assert!(publishes(&roger, "home/roger/x") && !publishes(&roger, "home/sam smith/x"));
    assert!(!publishes(&nobody, "home//x"), "without a name no pattern with it");
    assert!(publishes(&nobody, "$SYS/broker/connection/c/state"));
    assert!(roger.deliver(b"roger-c/x").is_allowed());

    // Mosquitto looks at deliveries, not at subscriptions.
    let all = TopicFilter::try_from("#").expect("a filter");
    assert_eq!(roger.subscribe(&all, Qos::ExactlyOnce), Verdict::Filtered(Qos::ExactlyOnce));
    assert!(roger.deliver(b"home/roger/x").is_allowed());
    assert!(!roger.deliver(b"home/roger/raw/x").is_allowed());
}

#[test]
fn an_empty_file_allows_nothing() {
    assert!(!parse_mosquitto_acl("acl", "").rules.is_open());
}

#[test]
fn as_a_file_of_our_own_it_is_reviewed() {
    insta::assert_snapshot!("converted", write_rules(&parse_mosquitto_acl("acl", FILE).rules));
}

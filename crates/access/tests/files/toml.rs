//! The format of our own.

use std::sync::Arc;

use dunlin_access::{
    Action, Caps, Effect, Holder, Options, Origin, Overlap, Qos, Question, RuleSet, Silent,
    Subject, explain, parse_rules, write_rules,
};
use dunlin_topics::TopicName;
use proptest::prelude::*;

const UTILITY: &str = include_str!("data/utility.toml");

fn listed(rules: &RuleSet) -> Vec<String> {
    rules.rules().map(|rule| format!("{} {rule}", rule.origin().line)).collect()
}

#[test]
fn a_file_is_read_with_its_lines() {
    let rules = parse_rules("acl.toml", UTILITY).expect("the file is good");
    assert_eq!(
        rules.options(),
        Options {
            overlap: Overlap::Refuse,
            refused_publish: Silent::Disconnect,
            refused_subscribe_3_1: Silent::Drop,
        }
    );
    assert_eq!(
        listed(&rules),
        [
            "8 role BUBBLE_UP_READ_CONSUMER: allow subscribe {tenantId}/read/#",
            "12 role COMMAND_SENDER: allow publish {tenantId}/command/{clientId}/+ up to QoS 1, not retained",
            "13 role COMMAND_SENDER: allow publish {tenantId}/command/all",
            "15 role COMMAND_SENDER: allow subscribe {tenantId}/reply/{clientId}/#",
            "16 role COMMAND_SENDER: deny publish {tenantId}/command/+/firmware",
            "19 everyone: allow subscribe public/#",
            "22 anonymous clients: deny subscribe public/prices/#",
            "31 client gateway-1: allow publish state/gateway-1",
            "34 everyone of tenant ssni: allow subscribe $SYS/#",
            "37 role OPERATOR of tenant ssni: allow publish +/command/#",
        ]
    );
}

/// Roles that the file gives, by the roles that an explanation lists.
#[test]
fn a_file_gives_roles() {
    let rules = Arc::new(parse_rules("acl.toml", UTILITY).expect("the file is good"));
    let roles = |user, tenant| {
        let subject = Subject { user, tenant, client_id: "c", ..Subject::default() };
        let topic = TopicName::copy_from("x").expect("a name");
        explain(&rules, &subject, Question::Deliver { topic }).roles
    };
    let known =
        |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), true)).collect::<Vec<_>>();
    assert_eq!(roles(None, None), []);
    assert_eq!(roles(Some("x"), None), known(&["BUBBLE_UP_READ_CONSUMER"]));
    let both = known(&["BUBBLE_UP_READ_CONSUMER", "COMMAND_SENDER"]);
    assert_eq!(roles(Some("o'neill@example.com"), Some("other")), both);
    assert_eq!(roles(Some("bob"), Some("other")), known(&["BUBBLE_UP_READ_CONSUMER"]));
    let all = known(&["BUBBLE_UP_READ_CONSUMER", "COMMAND_SENDER", "OPERATOR"]);
    assert_eq!(roles(Some("bob"), Some("ssni")), all);
}

#[test]
fn slips_are_refused_with_line_and_advice() {
    for (text, expected) in [
        ("overlap = 'refuze'", &["1: `overlap` must be \"refuse\" or \"filter\""][..]),
        ("overlapp = 'refuse'", &["1: unknown key `overlapp`: did you mean `overlap`?"]),
        (
            "colour = 1",
            &[
                "1: unknown key `colour`: there are overlap, refused_publish, refused_subscribe_3_1, tenants, everyone, anonymous, authenticated, roles, users, clients",
            ],
        ),
        ("refused_publish = 1", &["1: `refused_publish` must be \"drop\" or \"disconnect\""]),
        ("[role.a]", &["1: unknown key `role`: did you mean `roles`?"]),
        ("roles = ['a']", &["1: `roles` must be sections, [roles.NAME]"]),
        ("everyone = ['a']", &["1: `everyone` must be a section, [everyone]"]),
        ("[users]\nalice = ['a']", &["2: `users.alice` must be a section"]),
        ("[users.'']\npublish = ['a']", &["1: a name must not be empty"]),
        (
            "[roles.a]\npublish = 'a'\nsubscibe = ['b']\nroles = ['a']",
            &[
                "2: `publish` must be a list, [\"...\"]",
                "3: unknown key `subscibe`: did you mean `subscribe`?",
                "4: a role cannot be given roles",
            ],
        ),
        (
            "[everyone]\npublish = ['a',\n 'a/+b',\n '{clientid}/x', 7]",
            &[
                "3: `a/+b`: topic filter has a wildcard at byte 2 that is not a level of its own",
                "4: `{clientid}/x`: unknown placeholder {clientid}: did you mean {clientId}?",
                "4: a rule must be a filter in quotes, or { filter = \"...\", ... }",
            ],
        ),
        (
            "[everyone]\nsubscribe = [{ filter = 'a', retain = true }]",
            &["2: `retain` is about publishing"],
        ),
        (
            "[everyone]\npublish = [{ qos_max = 3, filer = 'a' }]",
            &[
                "2: a rule without a `filter`",
                "2: `qos_max` must be 0, 1 or 2",
                "2: unknown key `filer`: did you mean `filter`?",
            ],
        ),
        (
            "[everyone]\ndeny_publish = [{ filter = 'a', qos_max = 1 }]",
            &["2: a rule that denies has a filter and nothing else"],
        ),
        (
            "[roles.reader]\n[users.alice]\nroles = ['raeder', 'x', 1]",
            &[
                "3: a role must be a name in quotes",
                "3: no role `raeder` is defined: did you mean `reader`?",
                "3: no role `x` is defined",
            ],
        ),
        (
            "[tenants.t.roles.r]\n[tenants.other.users.alice]\nroles = ['r']\n[tenants.t.overlap]\n[users.bob]\nroles = ['r']",
            &[
                "3: no role `r` is defined",
                "4: unknown key `overlap`: there are everyone, anonymous, authenticated, roles, users, clients",
            ],
        ),
        ("[everyone]\n[everyone]", &["2: duplicate key"]),
        ("a = = 1", &["1: extra `=`, expected nothing"]),
    ] {
        let problems = parse_rules("f", text).expect_err(text);
        let mut problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let mut expected: Vec<_> = expected.iter().map(|line| format!("f:{line}")).collect();
        problems.sort();
        expected.sort();
        assert_eq!(problems, expected, "{text}");
    }
}

#[test]
fn a_file_that_says_nothing_allows_everything_and_a_role_closes_it() {
    assert!(parse_rules("f", "# nothing\noverlap = 'filter'\n").expect("it is good").is_open());
    assert!(!parse_rules("f", "[roles.nobody]\n").expect("it is good").is_open());
}

#[test]
fn what_is_written_is_reviewed() {
    let rules = parse_rules("acl.toml", UTILITY).expect("the file is good");
    insta::assert_snapshot!("written", write_rules(&rules));
    let mut closed = RuleSet::builder();
    closed.close();
    let again = parse_rules("f", &write_rules(&closed.build())).expect("it reads back");
    assert!(!again.is_open());
    let again = parse_rules("f", &write_rules(&RuleSet::default())).expect("it reads back");
    assert!(again.is_open());
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,3}", "[ -~]{1,4}", "\\PC{1,3}", Just("a\n\"\\\t".to_owned())]
}

fn holder() -> impl Strategy<Value = Holder> {
    (0..6, name(), prop::option::of(name())).prop_map(|(which, name, tenant)| {
        let holder = match which {
            0 => Holder::everyone(),
            1 => Holder::anonymous(),
            2 => Holder::authenticated(),
            3 => Holder::user(&name),
            4 => Holder::client(&name),
            _ => Holder::role(&name),
        };
        match tenant {
            Some(tenant) => holder.within(&tenant),
            None => holder,
        }
    })
}

fn rule() -> impl Strategy<Value = (Holder, Action, Effect, String)> {
    let filter =
        prop_oneof!["[a-z]/[+]/#", "\\{claims\\.x\\}/[ a-z\"\\\\]{1,5}", Just("{{a}}".to_owned())];
    let action = prop::sample::select(vec![Action::Publish, Action::Subscribe]);
    (holder(), action, 0..3_u8, any::<bool>(), any::<bool>(), filter).prop_map(
        |(holder, action, digit, retain, denies, filter)| {
            let qos_max = Qos::of_digit(digit).unwrap_or_default();
            // What has no meaning is not written.
            let retain = retain || action == Action::Subscribe;
            let effect =
                if denies { Effect::Deny } else { Effect::Allow(Caps { qos_max, retain }) };
            (holder, action, effect, filter)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        rules in prop::collection::vec(rule(), 0..8),
        given in prop::collection::vec((0..2, name(), name()), 0..4),
        file in name(),
    ) {
        let mut builder = RuleSet::builder();
        for (holder, action, effect, filter) in &rules {
            let origin = Origin { file: file.as_str().into(), line: 1 };
            builder.add(holder.clone(), *action, *effect, filter, origin).expect("a legal rule");
        }
        for (which, name, role) in &given {
            let holder = if *which == 0 { Holder::user(name) } else { Holder::authenticated() };
            builder.give_role(holder, role);
        }
        let written = builder.build();
        let text = write_rules(&written);
        let read = match parse_rules("f", &text) {
            Ok(read) => read,
            Err(problems) => panic!("{problems:?}\n{text}"),
        };
        let sorted = |rules: &RuleSet| {
            let mut all: Vec<_> = rules.rules().map(ToString::to_string).collect();
            all.sort();
            all
        };
        prop_assert_eq!(sorted(&written), sorted(&read));
        prop_assert_eq!(written.is_open(), read.is_open());
        // The second differs in its comments, which say where each rule was read.
        let second = write_rules(&read);
        let third = write_rules(&parse_rules("f", &second).expect("it reads back"));
        prop_assert_eq!(second, third);
    }
}

//! What is a Topic Name, a Topic Filter, a Shared Subscription: sections 4.7 and 4.8.2.

use dunlin_topics::{
    InvalidText, InvalidTopicFilter, InvalidTopicName, SharedFilter, SubscriptionFilter, Text,
    TextRules, TopicFilter, TopicName, check_topic_filter, check_topic_name,
};

use InvalidTopicFilter::{
    MultiLevelNotLast, ShareFilterEmpty, ShareNameEmpty, ShareNameWildcard, WildcardInLevel,
};

/// Texts that are both, with their levels.
const BOTH: [(&str, &[&str]); 12] = [
    ("a", &["a"]),
    (" ", &[" "]),
    ("a/b", &["a", "b"]),
    // Empty levels are levels.
    ("/", &["", ""]),
    ("/a", &["", "a"]),
    ("a/", &["a", ""]),
    ("a//b", &["a", "", "b"]),
    ("///", &["", "", "", ""]),
    ("$SYS/broker/uptime", &["$SYS", "broker", "uptime"]),
    ("$share", &["$share"]),
    ("Grüße/an Alle", &["Grüße", "an Alle"]),
    ("\u{FEFF}a", &["\u{FEFF}a"]),
];

/// Filters that are no names, with what would be wrong with the name.
const FILTERS_ONLY: [(&str, usize); 12] = [
    ("#", 0),
    ("+", 0),
    ("a/#", 2),
    ("/#", 1),
    ("a//#", 3),
    ("+/#", 0),
    ("+/+", 0),
    ("/+", 1),
    ("+/", 0),
    ("a/+/b", 2),
    ("$SYS/#", 5),
    ("$SYS/+/a", 5),
];

/// Texts that are neither, with what is wrong with the filter.
const NEITHER: [(&str, InvalidTopicFilter); 24] = [
    ("a#", WildcardInLevel { offset: 1 }),
    ("#a", WildcardInLevel { offset: 0 }),
    ("##", WildcardInLevel { offset: 0 }),
    ("a/b#", WildcardInLevel { offset: 3 }),
    ("a/#b", WildcardInLevel { offset: 2 }),
    ("a/#b/c", WildcardInLevel { offset: 2 }),
    ("a#/b", WildcardInLevel { offset: 1 }),
    ("ü#", WildcardInLevel { offset: 2 }),
    ("a+", WildcardInLevel { offset: 1 }),
    ("+a", WildcardInLevel { offset: 0 }),
    ("++", WildcardInLevel { offset: 0 }),
    ("+#", WildcardInLevel { offset: 0 }),
    ("#+", WildcardInLevel { offset: 0 }),
    ("a/b+", WildcardInLevel { offset: 3 }),
    ("a/+b", WildcardInLevel { offset: 2 }),
    ("a/+b/c", WildcardInLevel { offset: 2 }),
    ("a+/b", WildcardInLevel { offset: 1 }),
    ("+/a+", WildcardInLevel { offset: 3 }),
    ("#/", MultiLevelNotLast { offset: 0 }),
    ("#/a", MultiLevelNotLast { offset: 0 }),
    ("#/#", MultiLevelNotLast { offset: 0 }),
    ("a/#/", MultiLevelNotLast { offset: 2 }),
    ("a/#/b", MultiLevelNotLast { offset: 2 }),
    ("/#/+", MultiLevelNotLast { offset: 1 }),
];

/// Shared Subscriptions: the whole, the share name and the filter.
const SHARED: [(&str, &str, &str); 10] = [
    ("$share/g/a", "g", "a"),
    ("$share/g/#", "g", "#"),
    ("$share/g/+/b", "g", "+/b"),
    ("$share/g/a/b/#", "g", "a/b/#"),
    ("$share/g//", "g", "/"),
    ("$share/g//a", "g", "/a"),
    ("$share/$share/$SYS/#", "$share", "$SYS/#"),
    ("$share/a group/a", "a group", "a"),
    ("$share/ü/ü", "ü", "ü"),
    // What follows the share name is a filter as it stands, even this.
    ("$share/g/$share/g/a", "g", "$share/g/a"),
];

const NOT_SHARED: [(&str, InvalidTopicFilter); 16] = [
    // [MQTT-4.8.2-1]
    ("$share/", ShareNameEmpty),
    ("$share//", ShareNameEmpty),
    ("$share//a", ShareNameEmpty),
    ("$share///", ShareNameEmpty),
    // [MQTT-4.8.2-2]
    ("$share/g", ShareFilterEmpty),
    ("$share/g/", ShareFilterEmpty),
    ("$share/+/a", ShareNameWildcard { offset: 7 }),
    ("$share/#/a", ShareNameWildcard { offset: 7 }),
    ("$share/#", ShareNameWildcard { offset: 7 }),
    ("$share/g+/a", ShareNameWildcard { offset: 8 }),
    ("$share/a#b/a", ShareNameWildcard { offset: 8 }),
    ("$share/g#", ShareNameWildcard { offset: 8 }),
    // The filter behind it obeys the rules of filters.
    ("$share/g/a#", WildcardInLevel { offset: 10 }),
    ("$share/g/+a", WildcardInLevel { offset: 9 }),
    ("$share/g/#/a", MultiLevelNotLast { offset: 9 }),
    ("$share/g/a/#/b", MultiLevelNotLast { offset: 11 }),
];

fn name(text: &str) -> Result<TopicName, InvalidTopicName> {
    let checked = check_topic_name(text.as_bytes(), TextRules::default());
    let name = TopicName::try_from(text);
    assert_eq!(name.as_ref().map(TopicName::as_str).map_err(|error| *error), checked);
    assert_eq!(TopicName::try_from(text.to_owned()), name);
    assert_eq!(TopicName::try_from(Text::try_from(text).expect("only the syntax is wrong")), name);
    name
}

fn filter(text: &str) -> Result<TopicFilter, InvalidTopicFilter> {
    let checked = check_topic_filter(text.as_bytes(), TextRules::default());
    let filter = TopicFilter::try_from(text);
    assert_eq!(filter.as_ref().map(TopicFilter::as_str).map_err(|error| *error), checked);
    assert_eq!(TopicFilter::try_from(text.to_owned()), filter);
    let of_text = TopicFilter::try_from(Text::try_from(text).expect("only the syntax is wrong"));
    assert_eq!(of_text, filter);
    filter
}

#[test]
fn names_are_filters_of_the_same_levels() -> Result<(), Box<dyn std::error::Error>> {
    for (text, levels) in BOTH {
        let (name, filter) = (name(text)?, filter(text)?);
        assert!(name.levels().eq(levels.iter().copied()), "{text}");
        assert!(name.levels().rev().eq(levels.iter().copied().rev()), "{text}");
        assert!(filter.levels().eq(levels.iter().copied()), "{text}");
        assert_eq!(name.level_count(), levels.len(), "{text}");
        assert_eq!(filter.level_count(), levels.len(), "{text}");
        assert_eq!(name.is_reserved(), text.starts_with('$'), "{text}");
        assert!(!filter.has_wildcards(), "{text}");
        assert_eq!(name.len(), text.len(), "{text}");
        assert_eq!(TopicFilter::from(name), filter, "{text}");
    }
    Ok(())
}

// [MQTT-4.7.0-1] [MQTT-4.7.1-1 @3.1.1] [MQTT-4.7.1-1] [MQTT-4.7.1-2]
#[test]
fn wildcards_stand_in_filters_only() -> Result<(), InvalidTopicFilter> {
    for (text, offset) in FILTERS_ONLY {
        assert!(filter(text)?.has_wildcards(), "{text}");
        assert_eq!(name(text), Err(InvalidTopicName::Wildcard { offset }), "{text}");
    }
    Ok(())
}

// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.1-2 @3.1.1] [MQTT-4.7.1-3 @3.1.1]
#[test]
fn a_wildcard_is_a_whole_level_and_the_multi_level_one_is_last() {
    for (text, error) in NEITHER {
        assert_eq!(filter(text), Err(error), "{text}");
        assert!(matches!(name(text), Err(InvalidTopicName::Wildcard { .. })), "{text}");
    }
}

// [MQTT-4.7.3-1] [MQTT-4.7.3-1 @3.1.1]
#[test]
fn nothing_is_neither_name_nor_filter() {
    assert_eq!(name(""), Err(InvalidTopicName::Empty));
    assert_eq!(filter(""), Err(InvalidTopicFilter::Empty));
    let nothing = SubscriptionFilter::try_from("");
    assert_eq!(nothing, Err(InvalidTopicFilter::Empty));
}

// [MQTT-4.7.3-2] [MQTT-4.7.3-3] [MQTT-4.7.3-2 @3.1.1] [MQTT-4.7.3-3 @3.1.1]
#[test]
fn names_and_filters_are_text() {
    let refused = [
        ("a/\0".into(), InvalidText::Null { offset: 2 }),
        ("a\u{7}".into(), InvalidText::Control { offset: 1 }),
        ("\u{FFFF}".into(), InvalidText::NonCharacter { offset: 0 }),
        ("a/".repeat(40_000), InvalidText::TooLong { length: 80_000 }),
    ];
    for (text, error) in refused {
        assert_eq!(TopicName::copy_from(&text), Err(InvalidTopicName::Text(error)));
        assert_eq!(TopicFilter::copy_from(&text), Err(InvalidTopicFilter::Text(error)));
        let shared = format!("$share/g/{text}");
        assert!(SubscriptionFilter::try_from(&*shared).is_err());
    }
    assert!(TopicName::parse(b"a\x07", TextRules::PERMISSIVE).is_ok());
    assert!(TopicFilter::parse(b"a\x07/#", TextRules::PERMISSIVE).is_ok());
    assert!(SubscriptionFilter::parse(b"$share/\x07/a", TextRules::PERMISSIVE).is_ok());
    assert!(TopicName::parse(b"\xED\xA0\x80", TextRules::PERMISSIVE).is_err());
    assert!(TopicName::copy_from(&"/".repeat(65_535)).is_ok());
}

// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn a_shared_subscription_is_a_group_and_a_filter() -> Result<(), InvalidTopicFilter> {
    for (whole, group, filter) in SHARED {
        let shared = SharedFilter::parse(whole.as_bytes(), TextRules::default())?;
        assert_eq!(shared.group(), group, "{whole}");
        assert_eq!(shared.filter(), filter, "{whole}");
        assert_eq!(shared.as_str(), whole);

        let subscription = SubscriptionFilter::try_from(whole)?;
        assert!(subscription.is_shared());
        assert_eq!(subscription.topic_filter(), filter, "{whole}");
        assert_eq!(subscription.group(), Some(shared.group()));
        assert_eq!(subscription.as_str(), whole);
        assert_eq!(subscription, SubscriptionFilter::Shared(shared));
    }
    Ok(())
}

// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn a_share_name_has_characters_no_wildcards_and_a_filter_behind() {
    for (whole, error) in NOT_SHARED {
        assert_eq!(SubscriptionFilter::try_from(whole), Err(error), "{whole}");
        assert_eq!(SharedFilter::parse(whole.as_bytes(), TextRules::default()), Err(error));
    }
    for plain in ["a", "$share", "$shared/g/a", "/$share/g/a", "$SHARE/g/a", "#"] {
        let subscription = SubscriptionFilter::try_from(plain);
        assert_eq!(subscription, TopicFilter::try_from(plain).map(SubscriptionFilter::Plain));
        let shared = SharedFilter::parse(plain.as_bytes(), TextRules::default());
        assert_eq!(shared, Err(ShareNameEmpty), "{plain}");
    }
}

#[test]
fn errors_name_the_statement_and_the_byte() {
    for (error, spec, offset) in [
        (InvalidTopicFilter::Text(InvalidText::Null { offset: 3 }), "MQTT-1.5.4-2", Some(3)),
        (InvalidTopicFilter::Empty, "MQTT-4.7.3-1", None),
        (WildcardInLevel { offset: 3 }, "MQTT-4.7.1-2", Some(3)),
        (MultiLevelNotLast { offset: 3 }, "MQTT-4.7.1-1", Some(3)),
        (ShareNameEmpty, "MQTT-4.8.2-1", None),
        (ShareNameWildcard { offset: 3 }, "MQTT-4.8.2-2", Some(3)),
        (ShareFilterEmpty, "MQTT-4.8.2-2", None),
    ] {
        assert_eq!((error.spec(), error.offset()), (spec, offset), "{error}");
    }
    for (error, spec, offset) in [
        (InvalidTopicName::Text(InvalidText::Null { offset: 3 }), "MQTT-1.5.4-2", 3),
        (InvalidTopicName::Empty, "MQTT-4.7.3-1", 0),
        (InvalidTopicName::Wildcard { offset: 3 }, "MQTT-4.7.0-1", 3),
    ] {
        assert_eq!((error.spec(), error.offset()), (spec, offset), "{error}");
    }
}

/// A session may keep ten thousand of them.
#[test]
fn a_subscription_filter_is_hardly_larger_than_its_text() {
    assert!(size_of::<SubscriptionFilter>() <= size_of::<Text>() + 8);
}

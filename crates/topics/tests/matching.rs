//! One filter against one name, by the oracle and by both indexes.

use dunlin_topics::{FilterIndex, NameIndex, TopicFilter, TopicName};

/// A filter, a name, and whether they match.
const CASES: [(&str, &str, bool); 62] = [
    ("a", "a", true),
    ("a/b", "a/b", true),
    ("/", "/", true),
    ("//", "//", true),
    ("#", "a", true),
    ("#", "/", true),
    ("#", "a/b/c", true),
    ("/#", "/", true),
    ("/#", "/a", true),
    // `#` stands for the parent too. [MQTT-4.7.1-1] [MQTT-4.7.1-2 @3.1.1]
    ("a/#", "a", true),
    ("a/#", "a/", true),
    ("a/#", "a/b", true),
    ("a/#", "a/b/c", true),
    ("a/b/#", "a/b", true),
    ("+/#", "a", true),
    ("+/#", "/", true),
    ("a/+/#", "a/b", true),
    // `+` stands for exactly one level, which may be empty. [MQTT-4.7.1-2] [MQTT-4.7.1-3 @3.1.1]
    ("+", "a", true),
    ("+/+", "/", true),
    ("/+", "/a", true),
    ("/+", "/", true),
    ("+/", "/", true),
    ("+/a", "/a", true),
    ("a/+", "a/", true),
    ("a/+/c", "a/b/c", true),
    ("a/+/c", "a//c", true),
    ("+/b/+", "a/b/c", true),
    // Reserved names match filters that say so. [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
    ("$SYS/#", "$SYS", true),
    ("$SYS/#", "$SYS/a", true),
    ("$SYS/+", "$SYS/a", true),
    ("a/#", "a/$b", true),
    ("a/+", "a/$b", true),
    ("$", "$", true),
    ("a", "A", false),
    ("a", "a/", false),
    ("a", "/a", false),
    ("a/", "a", false),
    ("a", "ab", false),
    ("ab", "a", false),
    ("a b", "a  b", false),
    ("/", "//", false),
    ("a/b", "a", false),
    ("a/b", "a/b/c", false),
    ("a/#", "ab", false),
    ("a/#", "b", false),
    ("a/#", "/a", false),
    ("a/b/#", "a", false),
    ("+/b/#", "b", false),
    ("+", "/", false),
    ("+", "a/b", false),
    ("+", "/a", false),
    ("/+", "a", false),
    ("+/+", "a", false),
    ("+/+", "a/b/c", false),
    ("a/+", "a", false),
    ("a/+/c", "a/c", false),
    // [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
    ("#", "$SYS", false),
    ("#", "$", false),
    ("+", "$SYS", false),
    ("+/a", "$SYS/a", false),
    ("+/#", "$SYS/a", false),
    ("$SYS/#", "$SYSTEM", false),
];

/// Neither composed nor decomposed, neither stripped nor folded. [MQTT-4.7.3-4]
/// [MQTT-4.7.3-4 @3.1.1] [MQTT-1.5.4-3] [MQTT-1.5.3-3 @3.1.1]
const NOT_NORMALISED: [(&str, &str, bool); 6] = [
    ("\u{FC}", "\u{FC}", true),
    ("\u{FC}", "u\u{308}", false),
    ("\u{FEFF}a", "\u{FEFF}a", true),
    ("\u{FEFF}a", "a", false),
    ("\u{FEFF}$a", "$a", false),
    ("ß", "ss", false),
];

#[test]
fn the_oracle_and_both_indexes_agree_with_the_table() -> Result<(), Box<dyn std::error::Error>> {
    for (filter, name, expected) in CASES.into_iter().chain(NOT_NORMALISED) {
        let case = format!("{filter} {name}");
        let (filter, name) = (TopicFilter::try_from(filter)?, TopicName::try_from(name)?);
        assert_eq!(filter.matches(&name), expected, "{case}");

        let mut filters = FilterIndex::new();
        filters.insert(&filter, 1, ());
        let mut visits = 0;
        filters.matches(name.as_bytes(), |_, ()| visits += 1);
        assert_eq!(visits, usize::from(expected), "{case}");

        let mut names = NameIndex::new();
        names.insert((name, ()));
        assert_eq!(names.cursor(&filter).next(&names).is_some(), expected, "{case}");
    }
    Ok(())
}

/// All cases at once, so that filters and names are in each other's way.
#[test]
fn both_indexes_tell_the_cases_of_the_table_apart() -> Result<(), Box<dyn std::error::Error>> {
    let cases: Vec<_> = CASES.into_iter().chain(NOT_NORMALISED).collect();
    let mut filters = FilterIndex::new();
    let mut names = NameIndex::new();
    for (filter, name, _) in &cases {
        filters.insert(&TopicFilter::try_from(*filter)?, *filter, ());
        names.insert((TopicName::try_from(*name)?, ()));
    }
    for (filter, name, expected) in cases {
        let mut found = false;
        filters.matches(name.as_bytes(), |key, ()| found |= *key == filter);
        assert_eq!(found, expected, "{filter} {name}");

        let mut cursor = names.cursor(&TopicFilter::try_from(filter)?);
        let mut found = false;
        while let Some((next, ())) = cursor.next(&names) {
            found |= *next == name;
        }
        assert_eq!(found, expected, "{filter} {name}");
    }
    Ok(())
}

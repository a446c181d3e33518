//! Filters as sets of names, beside an oracle that looks at every name.
//!
//! Filters have up to three levels of a few texts. Names have up to four, of the same texts and one that no filter has:
//! that is enough to tell any two sets of such filters apart.

use std::sync::LazyLock;

use dunlin_access::{contains, covered_by, overlaps};
use dunlin_topics::{TopicFilter, TopicName};
use proptest::prelude::*;

const LITERALS: [&str; 4] = ["a", "b", "", "$s"];

static NAMES: LazyLock<Vec<TopicName>> = LazyLock::new(names);

fn names() -> Vec<TopicName> {
    let mut texts: Vec<String> = Vec::new();
    let mut deepest: Vec<String> = vec![String::new()];
    for depth in 0..4 {
        deepest = deepest
            .iter()
            .flat_map(|above| {
                LITERALS.iter().chain(&["new"]).map(move |level| match depth {
                    0 => (*level).to_owned(),
                    _ => format!("{above}/{level}"),
                })
            })
            .collect();
        texts.extend(deepest.iter().cloned());
    }
    texts.iter().filter_map(|text| TopicName::copy_from(text).ok()).collect()
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    let levels =
        prop::collection::vec(prop::sample::select(vec!["a", "b", "", "$s", "+", "+", "+"]), 0..=3);
    (levels, any::<bool>()).prop_filter_map("a filter has a level", |(mut levels, multi)| {
        if multi {
            levels.truncate(2);
            levels.push("#");
        }
        TopicFilter::copy_from(&levels.join("/")).ok()
    })
}

fn matched(filter: &TopicFilter) -> Vec<&'static TopicName> {
    NAMES.iter().filter(|name| filter.matches(name)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn two_filters_are_compared_as_their_names_are(outer in filter(), inner in filter()) {
        let inside = matched(&inner);
        let expected = inside.iter().all(|name| outer.matches(name));
        prop_assert_eq!(contains(&outer, &inner), expected);
        prop_assert_eq!(covered_by(&inner, [&outer]), expected);
        let expected = inside.iter().any(|name| outer.matches(name));
        prop_assert_eq!(overlaps(&outer, &inner), expected);
        prop_assert_eq!(overlaps(&inner, &outer), expected);
    }

    #[test]
    fn several_filters_cover_what_their_names_cover(
        outer in prop::collection::vec(filter(), 0..8),
        inner in filter(),
    ) {
        let expected = matched(&inner)
            .iter()
            .all(|name| outer.iter().any(|outer| outer.matches(name)));
        prop_assert_eq!(covered_by(&inner, &outer), expected);
    }
}

/// Sets that random ones seldom are.
#[test]
fn what_several_filters_cover_together() {
    for (inner, outer, expected) in [
        ("a/#", &["a", "a/+", "a/+/+/#"][..], true),
        ("a/#", &["a", "a/+/#"], true),
        ("a/#", &["a/+", "a/+/#"], false),
        ("#", &["+", "+/+/#"], true),
        ("#", &["+/#"], true),
        ("#", &["+", "+/+"], false),
        ("+/b", &["a/b", "b/b"], false),
        ("a/b/#", &["a/+/c", "a/b", "a/+/#"], true),
        ("$SYS/#", &["#", "+/#", "+"], false),
        ("$SYS/a", &["$SYS/+"], true),
        ("$SYS", &["$SYS/#"], true),
        ("a", &[], false),
    ] {
        let filters = outer.iter().map(|text| TopicFilter::copy_from(text).expect(text));
        let filters: Vec<_> = filters.collect();
        let inner_filter = TopicFilter::copy_from(inner).expect(inner);
        assert_eq!(covered_by(&inner_filter, &filters), expected, "{inner} by {outer:?}");
    }
}

/// The depth of a filter is a client's choice: no call nests deeper for it, and no time explodes.
#[test]
fn hostile_filters_end() {
    let deep = TopicFilter::new("+/".repeat(32_767) + "#").expect("a filter");
    let deeper = TopicFilter::new("a/".repeat(32_767) + "a").expect("a filter");
    assert!(contains(&deep, &deeper));
    assert!(!contains(&deeper, &deep));
    assert!(overlaps(&deep, &deeper));
    assert!(covered_by(&deeper, [&deep]));
    assert!(!covered_by(&deep, [&deeper]));
}

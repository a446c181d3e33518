//! The index of filters against the oracle: the same operations on both, the same answers.

use std::collections::BTreeMap;

use dunlin_topics::{FilterIndex, TopicFilter, TopicName, matches};
use proptest::prelude::*;

/// Entries by filter and key, looked up by asking the oracle about each.
#[derive(Default)]
struct Model(BTreeMap<(TopicFilter, u32), u32>);

impl Model {
    fn matches(&self, name: &str) -> Vec<(u32, u32)> {
        let found = self.0.iter().filter(|((filter, _), _)| matches(filter.as_str(), name));
        sorted(found.map(|((_, key), value)| (*key, *value)).collect())
    }

    fn wildcard_len(&self) -> usize {
        self.0.keys().filter(|(filter, _)| filter.has_wildcards()).count()
    }
}

fn found(index: &FilterIndex<u32, u32>, name: &str) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    index.matches(name.as_bytes(), |key, value| found.push((*key, *value)));
    sorted(found)
}

fn sorted(mut entries: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    entries.sort_unstable();
    entries
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(TopicFilter, u32),
    Remove(TopicFilter, u32),
    Match(String),
}

/// Few different levels, so that filters and names meet; one is longer than any room kept for it.
fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b", "$x", "a level of more than sixteen bytes", "ü"])
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a name has characters", |name| !name.is_empty())
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![3 => level(), 2 => Just("+")];
    (prop::collection::vec(level, 0..6), any::<bool>())
        .prop_map(|(mut levels, multi)| {
            levels.extend(multi.then_some("#"));
            levels.join("/")
        })
        .prop_filter_map("a filter has characters", |filter| TopicFilter::try_from(filter).ok())
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (filter(), 0..4_u32).prop_map(|(filter, key)| Operation::Insert(filter, key)),
        3 => (filter(), 0..4_u32).prop_map(|(filter, key)| Operation::Remove(filter, key)),
        4 => name().prop_map(Operation::Match),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_operations_have_the_same_answers(
        operations in prop::collection::vec(operation(), 1..200),
    ) {
        let mut index = FilterIndex::new();
        let mut model = Model::default();
        for (number, operation) in (0..).zip(operations) {
            match operation {
                Operation::Insert(filter, key) => {
                    let replaced = model.0.insert((filter.clone(), key), number);
                    prop_assert_eq!(index.insert(&filter, key, number), replaced);
                    prop_assert_eq!(index.get(&filter, &key), Some(&number));
                }
                Operation::Remove(filter, key) => {
                    let removed = model.0.remove(&(filter.clone(), key));
                    prop_assert_eq!(index.remove(&filter, &key), removed);
                    prop_assert_eq!(index.get(&filter, &key), None);
                }
                Operation::Match(name) => {
                    prop_assert_eq!(found(&index, &name), model.matches(&name), "{}", name);
                }
            }
            prop_assert_eq!(index.len(), model.0.len());
            prop_assert_eq!(index.wildcard_len(), model.wildcard_len());
        }
        // And back to nothing.
        for ((filter, key), value) in model.0 {
            prop_assert_eq!(index.remove(&filter, &key), Some(value));
        }
        prop_assert!(index.is_empty());
    }

    /// Any text that passes as a filter, beside any text that passes as a name.
    #[test]
    fn hostile_filters_and_names_have_the_same_answer(
        filter in "([a$/+#\u{80}\u{FEFF}\u{10000}]|\\PC){1,24}",
        name in "([a$/\u{80}\u{FEFF}\u{10000}]|\\PC){1,24}",
    ) {
        let (Ok(filter), Ok(name)) = (TopicFilter::try_from(filter), TopicName::try_from(name)) else {
            return Ok(());
        };
        let mut index = FilterIndex::new();
        index.insert(&filter, 1, 2);
        let expected = if filter.matches(&name) { vec![(1, 2)] } else { vec![] };
        prop_assert_eq!(found(&index, name.as_str()), expected);
    }

    /// Lookups are made with bytes: what is no name must do no harm.
    #[test]
    fn bytes_that_are_no_name_do_no_harm(bytes: Vec<u8>, filters in prop::collection::vec(filter(), 1..20)) {
        let mut index = FilterIndex::new();
        for filter in &filters {
            index.insert(filter, 1, ());
        }
        index.matches(&bytes, |_, ()| {});
    }
}

/// A filter may have 65,535 levels. That is no reason to recurse as deep, nor to ask for memory.
#[test]
fn the_deepest_filters_match_the_deepest_names() {
    let deep = |level: &str, separators: usize| format!("{level}/").repeat(separators);
    let filters =
        ["+/".repeat(32_767), deep("", 65_534) + "#", deep("a", 32_767), deep("a", 9) + "#"];
    let mut index = FilterIndex::new();
    for (key, filter) in (0..).zip(&filters) {
        index.insert(&TopicFilter::copy_from(filter).expect("of 65,535 bytes at most"), key, 0);
    }
    for name in [deep("", 65_535), deep("a", 32_767), deep("a", 32_766), deep("b", 32_767)] {
        let oracle = (0..).zip(&filters).filter(|(_, filter)| matches(filter, &name));
        let expected: Vec<_> = oracle.map(|(key, _)| (key, 0)).collect();
        assert_eq!(found(&index, &name), expected, "{} bytes", name.len());
    }
}

/// At each of its levels the name can go two ways, and there are filters for all of them.
#[test]
fn all_ways_through_the_trie_are_gone_once() {
    let mut index = FilterIndex::new();
    let levels = 12;
    for ways in 0..1_u32 << levels {
        let level = |depth: u32| if ways >> depth & 1 == 0 { "a" } else { "+" };
        let filter: Vec<_> = (0..levels).map(level).collect();
        index.insert(&TopicFilter::new(filter.join("/")).expect("a filter"), ways, 0);
    }
    let name = vec!["a"; levels as usize].join("/");
    let expected: Vec<_> = (0..1 << levels).map(|ways| (ways, 0)).collect();
    assert_eq!(found(&index, &name), expected);
    assert_eq!(found(&index, &name.replacen('a', "$a", 1)), []);
}

/// Inserting and removing must not look at all the others each time: this would take minutes.
#[test]
fn a_hundred_thousand_subscribe_by_one_filter_and_leave() {
    const COUNT: u32 = 100_000;
    for filter in ["news", "news/#", "+/a"] {
        let filter = TopicFilter::try_from(filter).expect("a filter");
        let mut index = FilterIndex::new();
        for key in 0..COUNT {
            assert_eq!(index.insert(&filter, key, key), None);
        }
        assert_eq!(index.insert(&filter, 77, 1), Some(77));
        assert_eq!(index.len(), COUNT as usize);
        // In another order than they came.
        for number in 0..COUNT {
            let key = (number * 7_919) % COUNT;
            let value = if key == 77 { 1 } else { key };
            assert_eq!(index.get(&filter, &key), Some(&value));
            assert_eq!(index.remove(&filter, &key), Some(value));
            assert_eq!(index.remove(&filter, &key), None);
        }
        assert!(index.is_empty());
    }
}

/// Around the number from which on keys are found by hash, both ways, all are kept.
#[test]
fn subscribers_come_and_go_where_the_way_to_find_them_changes() {
    let filter = TopicFilter::try_from("a/+").expect("a filter");
    let mut index = FilterIndex::new();
    let mut model = BTreeMap::new();
    let targets = [40_usize, 20, 35, 10, 33, 1, 2, 64, 0, 3];
    let mut next = 0_u32;
    for target in targets {
        while model.len() < target {
            model.insert(next, next);
            index.insert(&filter, next, next);
            next += 1;
        }
        while model.len() > target {
            let key = *model.keys().nth(model.len() / 2).expect("it is not empty");
            assert_eq!(index.remove(&filter, &key), model.remove(&key));
        }
        assert_eq!(found(&index, "a/b"), model.clone().into_iter().collect::<Vec<_>>());
    }
}

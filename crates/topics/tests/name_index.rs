//! The index of names against the oracle, and what a cursor promises while names come and go.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_topics::{NameCursor, NameIndex, TopicFilter, TopicName, matches};
use proptest::prelude::*;

/// Levels that lie around the separator in the order of the bytes, so that `a`, `a-b`, `a/b` and
/// `a0` are neighbours.
fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "a-b", "a0", "b", "$x", "$", "%", " ", "ü"])
}

fn name() -> impl Strategy<Value = TopicName> {
    prop::collection::vec(level(), 1..5)
        .prop_filter_map("a name has characters", |levels| TopicName::new(levels.join("/")).ok())
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![3 => level(), 2 => Just("+")];
    (prop::collection::vec(level, 0..5), any::<bool>())
        .prop_map(|(mut levels, multi)| {
            levels.extend(multi.then_some("#"));
            levels.join("/")
        })
        .prop_filter_map("a filter has characters", |filter| TopicFilter::try_from(filter).ok())
}

fn all<V: Copy>(mut cursor: NameCursor, index: &NameIndex<(TopicName, V)>) -> Vec<(Vec<u8>, V)> {
    let mut all = Vec::new();
    while let Some((name, value)) = cursor.next(index) {
        all.push((name.as_bytes().to_vec(), *value));
    }
    assert!(cursor.is_done());
    all
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(TopicName),
    Remove(TopicName),
    Find(TopicFilter),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => name().prop_map(Operation::Insert),
        2 => name().prop_map(Operation::Remove),
        2 => filter().prop_map(Operation::Find),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_operations_have_the_same_answers(
        operations in prop::collection::vec(operation(), 1..200),
    ) {
        let mut index = NameIndex::new();
        let mut model = BTreeMap::new();
        for (number, operation) in (0_u32..).zip(operations) {
            match operation {
                Operation::Insert(name) => {
                    let entry = (name.clone(), number);
                    let before = index.insert(entry.clone()).map(|(_, number)| number);
                    prop_assert_eq!(before, model.insert(name.clone(), number));
                    prop_assert_eq!(index.get(name.as_bytes()), Some(&entry));
                }
                Operation::Remove(name) => {
                    prop_assert_eq!(index.remove(name.as_bytes()), model.remove_entry(&name));
                    prop_assert_eq!(index.get(name.as_bytes()), None);
                }
                Operation::Find(filter) => {
                    let expected: Vec<_> = model
                        .iter()
                        .filter(|(name, _)| matches(filter.as_str(), name.as_str()))
                        .map(|(name, value)| (name.as_bytes().to_vec(), *value))
                        .collect();
                    prop_assert_eq!(all(index.cursor(&filter), &index), expected, "{}", filter);
                }
            }
            prop_assert_eq!(index.len(), model.len());
        }
        prop_assert!(index.iter().cloned().eq(model));
    }

    /// However the steps are cut into stretches, the same names come, and each stretch is bounded.
    #[test]
    fn stretches_of_any_length_give_the_same_names(
        names in prop::collection::vec(name(), 1..100),
        filter in filter(),
        stretches in prop::collection::vec((1..12_usize, 0..4_usize), 1..8),
    ) {
        let mut index = NameIndex::new();
        for name in &names {
            index.insert((name.clone(), ()));
        }
        let mut cursor = index.cursor(&filter);
        let mut came = Vec::new();
        for (steps_max, dropped_after) in stretches.into_iter().cycle().take(10_000) {
            // One name at least, or it would never end.
            let stretch = cursor.resume(&index, steps_max).take(dropped_after + 1);
            let before = came.len();
            came.extend(stretch.map(|(name, ())| (name.as_bytes().to_vec(), ())));
            prop_assert!(came.len() - before <= steps_max);
            if cursor.is_done() {
                break;
            }
        }
        prop_assert_eq!(came, all(index.cursor(&filter), &index));
    }

    /// Names come and go between the steps of a replay.
    #[test]
    fn what_stays_comes_exactly_once_and_nothing_comes_twice(
        staying in prop::collection::vec(name(), 1..60),
        changes in prop::collection::vec((name(), any::<bool>(), 1..4_usize), 0..100),
        filter in filter(),
    ) {
        let mut index = NameIndex::new();
        for name in &staying {
            index.insert((name.clone(), 0));
        }
        let staying: BTreeSet<_> = staying.into_iter().collect();
        let mut seen_in_index: BTreeSet<_> = staying.clone();
        let mut cursor = index.cursor(&filter);
        let mut came = Vec::new();
        for (number, (name, comes, steps_max)) in (1..).zip(changes) {
            if comes {
                index.insert((name.clone(), number));
                seen_in_index.insert(name);
            } else if !staying.contains(&name) {
                index.remove(name.as_bytes());
            }
            came.extend(cursor.resume(&index, steps_max).map(|(name, _)| name.as_bytes().to_vec()));
        }
        came.extend(all(cursor, &index).into_iter().map(|(name, _)| name));

        prop_assert!(came.is_sorted_by(|one, next| one < next), "forward, and never twice");
        for name in &came {
            let name = TopicName::new(name.clone()).expect("it went in as one");
            prop_assert!(filter.matches(&name) && seen_in_index.contains(&name));
        }
        for name in staying.iter().filter(|name| filter.matches(name)) {
            prop_assert!(came.iter().any(|came| *name.as_bytes() == **came), "{} stayed", name);
        }
    }
}

/// So many names that chunks are split, joined, and taken out from the front, the middle and the end.
#[derive(Clone, Debug)]
enum Stretch {
    Insert(u16, u16),
    Remove(u16, u16),
}

fn stretch() -> impl Strategy<Value = Stretch> {
    let few = || (0..1_200_u16, 0..300_u16);
    prop_oneof![
        few().prop_map(|(first, count)| Stretch::Insert(first, count)),
        few().prop_map(|(first, count)| Stretch::Remove(first, count)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn many_names_have_the_same_answers(
        stretches in prop::collection::vec((stretch(), 1..7_usize), 1..24),
    ) {
        let name = |number: u16| TopicName::new(format!("{}/{:03}", number % 7, number / 7));
        let filters = ["#", "3/#", "+/042", "6/+", "0/000"].map(TopicFilter::try_from);
        let mut index = NameIndex::new();
        let mut model = BTreeMap::new();
        for (stretch, step) in stretches {
            let (is_insert, first, count) = match stretch {
                Stretch::Insert(first, count) => (true, first, count),
                Stretch::Remove(first, count) => (false, first, count),
            };
            for number in (first..first + count).step_by(step) {
                let name = name(number).expect("a name");
                if is_insert {
                    let before = index.insert((name.clone(), number));
                    prop_assert_eq!(before.is_some(), model.insert(name, number).is_some());
                } else {
                    prop_assert_eq!(index.remove(name.as_bytes()), model.remove_entry(&name));
                }
            }
            prop_assert_eq!(index.len(), model.len());
            prop_assert_eq!(index.iter().len(), model.len());
            prop_assert!(index.iter().cloned().eq(model.clone()));
            for filter in filters.iter().flatten() {
                let mut found = all(index.cursor(filter), &index).into_iter();
                let expected = model.iter().filter(|(name, _)| filter.matches(name));
                prop_assert!(expected.map(|(name, value)| (name.as_bytes().to_vec(), *value)).eq(&mut found));
            }
        }
    }
}

/// The cursor is asked for rare names among many, and must not look at all of them.
#[test]
fn what_cannot_match_is_jumped_over() -> Result<(), Box<dyn std::error::Error>> {
    let mut index = NameIndex::new();
    for site in 0..100 {
        for device in 0..200 {
            for reading in ["power", "state"] {
                let name = format!("s{site:02}/d{device:03}/{reading}");
                index.insert((TopicName::new(name)?, ()));
            }
        }
    }
    index.insert((TopicName::try_from("$SYS/uptime")?, ()));
    for (filter, matching, steps_max) in [
        ("s42/#", 400, 420),
        ("s42/d007/#", 2, 30),
        ("s42/d007/state", 1, 40),
        ("+/d007/state", 100, 2_500),
        ("+/d007", 0, 2_500),
        ("+/nothing/#", 0, 2_500),
        ("nothing/#", 0, 20),
        ("s42/+/state", 200, 420),
    ] {
        let mut cursor = index.cursor(&TopicFilter::try_from(filter)?);
        assert_eq!(cursor.resume(&index, steps_max).count(), matching, "{filter}");
        assert!(cursor.is_done(), "{filter} took more than {steps_max} steps");
    }
    Ok(())
}

#[test]
fn a_cursor_outlives_the_index_it_began_with() -> Result<(), Box<dyn std::error::Error>> {
    let mut index = NameIndex::new();
    index.insert((TopicName::try_from("a")?, 1));
    let mut cursor = NameCursor::new(TopicFilter::try_from("#")?);
    assert_eq!(cursor.next(&index), Some(&(TopicName::try_from("a")?, 1)));
    drop(index);

    let mut restarted = NameIndex::new();
    for (name, value) in [("a", 2), ("b", 3)] {
        restarted.insert((TopicName::try_from(name)?, value));
    }
    let sent = std::thread::spawn(move || cursor.next(&restarted).map(|(_, value)| *value));
    assert_eq!(sent.join().expect("the thread ends"), Some(3));
    Ok(())
}

#[test]
fn no_steps_are_no_steps() -> Result<(), Box<dyn std::error::Error>> {
    let mut index = NameIndex::new();
    let mut cursor = index.cursor(&TopicFilter::try_from("a")?);
    assert_eq!(cursor.resume(&index, 0).count(), 0);
    assert!(!cursor.is_done());
    index.insert((TopicName::try_from("a")?, ()));
    assert_eq!(cursor.resume(&index, 1).count(), 1);
    assert_eq!(cursor.next(&index), None);
    assert!(cursor.is_done());
    Ok(())
}

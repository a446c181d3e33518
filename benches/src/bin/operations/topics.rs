//! Names and filters.

use std::hint::black_box;

use dunlin_benches::subscriptions::{Workload, deep, exact, mix};
use dunlin_topics::{
    FilterIndex, TextRules, TopicFilter, check_topic_filter, check_topic_name, matches,
};

use crate::Operation;

pub(crate) const OPERATIONS: &[(&str, Operation)] = &[
    ("topics/check-name", |times| {
        for _ in 0..times {
            black_box(check_topic_name(black_box(NAME.as_bytes()), TextRules::default()))
                .expect("valid");
        }
    }),
    ("topics/check-filter", |times| {
        for _ in 0..times {
            black_box(check_topic_filter(black_box(FILTER.as_bytes()), TextRules::default()))
                .expect("valid");
        }
    }),
    ("topics/matches", |times| {
        for _ in 0..times {
            assert!(matches(black_box(FILTER), black_box(NAME)));
        }
    }),
    ("topics/lookup-exact-1k", |times| look_up(&exact("exact 1k", 1_000), times)),
    ("topics/lookup-mix-10k", |times| look_up(&mix(), times)),
    ("topics/lookup-deep", |times| look_up(&deep(), times)),
    ("topics/insert-and-remove", insert_and_remove),
];

const NAME: &str = "site/03/line/7/temperature";
const FILTER: &str = "site/+/line/+/#";

fn index(workload: &Workload) -> FilterIndex<u32, ()> {
    let mut index = FilterIndex::new();
    for (filter, subscriber) in &workload.filters {
        index.insert(&TopicFilter::copy_from(filter).expect("valid"), *subscriber, ());
    }
    index
}

fn look_up(workload: &Workload, times: u32) {
    let index = index(workload);
    for name in workload.names.iter().cycle().take(times as usize) {
        let mut found = 0;
        index.matches(black_box(name.as_bytes()), |_, ()| found += 1);
        black_box(found);
    }
}

fn insert_and_remove(times: u32) {
    let mut index = index(&mix());
    let filter = TopicFilter::copy_from(FILTER).expect("valid");
    for _ in 0..times {
        index.insert(black_box(&filter), u32::MAX, ());
        index.remove(black_box(&filter), &u32::MAX);
    }
}

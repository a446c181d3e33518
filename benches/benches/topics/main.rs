//! Who subscribed to a name: Dunlin's index, other crates' and simpler means, in one run.
//!
//! Before it is timed, each must find the same subscribers for many names of a workload.

#![expect(missing_docs, reason = "criterion makes an undocumented function")]

mod matchers;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use dunlin_benches::subscriptions::{self, Workload};
use dunlin_topics::FilterIndex;

use crate::matchers::{HashTable, LinearScan, Matcher, MqttTopicEngine, MqttTopicTree};

/// Names of which all matchers must find the same subscribers.
const CHECKED: usize = 50;

fn lookups(criterion: &mut Criterion) {
    for workload in &subscriptions::all() {
        let filters = &workload.filters;
        // All are made before any is timed, so that none finds a heap in disorder that another left.
        let index = FilterIndex::of(filters);
        let table = HashTable::of(filters);
        let tree = MqttTopicTree::of(filters);
        let engine = MqttTopicEngine::of(filters);
        let scan = LinearScan::of(filters);

        let group = criterion.benchmark_group(format!("lookup/{}", workload.name));
        let mut lookups = Lookups { group, workload };
        lookups.time(&index);
        if workload.is_exact() {
            lookups.time(&table);
        }
        lookups.time(&tree);
        lookups.time(&engine);
        lookups.time(&scan);
        lookups.group.finish();
    }
}

/// One workload, to be looked up in by each matcher.
struct Lookups<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    workload: &'a Workload,
}

impl Lookups<'_> {
    fn time<M: Matcher>(&mut self, matcher: &M) {
        let Self { group, workload } = self;
        let names: Vec<_> = workload.names.iter().map(|name| M::name(name)).collect();
        for (name, text) in names.iter().zip(&workload.names).take(CHECKED) {
            let mut found = Vec::new();
            matcher.matches(name, |subscriber| found.push(subscriber));
            found.sort_unstable();
            assert_eq!(found, workload.subscribers(text), "{} finds for {text}", M::NAME);
        }

        let mut next = names.iter().cycle();
        group.bench_function(M::NAME, |bencher| {
            bencher.iter(|| {
                let Some(name) = next.next() else { return };
                matcher.matches(black_box(name), |subscriber| _ = black_box(subscriber));
            });
        });
    }
}

criterion_group!(benches, lookups);
criterion_main!(benches);

//! Queues and retained messages in Dunlin's store, in other embedded engines and in a bare log, in one run.
//!
//! Before it is timed, each must give back after it was opened anew what went into it, with the same numbers in the same
//! order. A group of messages is one commit, and the commit returns when it is on stable storage.

#![expect(missing_docs, reason = "criterion makes an undocumented function")]
#![expect(clippy::indexing_slicing, reason = "sessions are numbered from 0, and a bench may panic")]

mod dunlin;
mod fjall;
mod log;
mod memory;
mod redb;
mod sqlite;

use std::collections::BTreeMap;
use std::env;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use criterion::{criterion_group, criterion_main};
use dunlin_benches::queues::{BACKLOG, GROUP, RETAINED, SESSIONS, Work};
use tempfile::TempDir;

/// The numbers of the messages in each session's queue, by session from 0 on.
type Contents = Vec<Vec<u64>>;
/// The numbers in the payloads of retained messages, by topic.
type Retained = BTreeMap<String, u64>;

/// Queues of sessions, and retained messages.
trait Store: Sized {
    const NAME: &'static str;
    /// Whether it is still there when it is opened again.
    const IS_DURABLE: bool;

    /// Opens or makes one in a folder, which has nothing else in it.
    fn open(folder: &Path) -> Self;
    /// Puts messages with these numbers into the queues of the first so many sessions. Returns when they are durable.
    fn enqueue(&mut self, numbers: &[u64], sessions: u32);
    /// Reads the oldest messages of a queue, at most a group, and acknowledges them: that need not be durable, since it
    /// only repeats messages if it is lost. Gives their numbers.
    fn take(&mut self, session: u32) -> Vec<u64>;
    /// Keeps messages with these numbers, each for its topic. Returns when they are durable.
    fn retain(&mut self, messages: &[(String, u64)]);
    /// Reads what the queues hold.
    fn contents(&mut self) -> Contents;
    /// Reads all retained messages.
    fn retained(&mut self) -> Retained;
}

fn durable(criterion: &mut Criterion) {
    for work in Work::ALL {
        let group = criterion.benchmark_group(format!("store/{}", work.name(true)));
        let mut run = Run::new(group, work);
        run.time::<dunlin::Disk>();
        run.time::<log::Log>();
        run.time::<sqlite::OnDisk>();
        run.time::<redb::OnDisk>();
        run.time::<fjall::OnDisk>();
        run.group.finish();
    }
}

fn in_memory(criterion: &mut Criterion) {
    // There is nothing to be opened again.
    for work in Work::ALL.into_iter().filter(|work| *work != Work::Open) {
        let group = criterion.benchmark_group(format!("store/{}", work.name(false)));
        let mut run = Run::new(group, work);
        run.time::<dunlin::Memory>();
        run.time::<memory::Tables>();
        run.time::<sqlite::InMemory>();
        run.time::<redb::InMemory>();
        run.group.finish();
    }
}

struct Run<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    work: Work,
}

impl<'a> Run<'a> {
    fn new(mut group: BenchmarkGroup<'a, WallTime>, work: Work) -> Self {
        group.sampling_mode(SamplingMode::Flat).sample_size(20);
        Self { group, work }
    }

    fn time<S: Store>(&mut self) {
        prove::<S>();
        match self.work {
            Work::Enqueue(sessions) => self.enqueue::<S>(sessions),
            Work::Drain => self.drain::<S>(),
            Work::Retain => self.retain::<S>(),
            Work::Open => self.open::<S>(),
        }
    }

    fn enqueue<S: Store>(&mut self, sessions: u32) {
        let folder = folder();
        let mut store = S::open(folder.path());
        let mut next = 0;
        self.group.throughput(Throughput::Elements(GROUP as u64));
        self.group.bench_function(S::NAME, |bencher| {
            bencher.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        let numbers = group_from(&mut next);
                        timed(|| store.enqueue(black_box(&numbers), sessions))
                    })
                    .sum()
            });
        });
    }

    fn drain<S: Store>(&mut self) {
        let folder = folder();
        let mut store = S::open(folder.path());
        let mut next = 0;
        self.group.throughput(Throughput::Elements(BACKLOG as u64));
        self.group.bench_function(S::NAME, |bencher| {
            bencher.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        for _ in 0..BACKLOG / GROUP {
                            store.enqueue(&group_from(&mut next), 1);
                        }
                        timed(|| while !black_box(store.take(0)).is_empty() {})
                    })
                    .sum()
            });
        });
    }

    fn retain<S: Store>(&mut self) {
        let folder = folder();
        let mut store = S::open(folder.path());
        let mut next = 0;
        self.group.throughput(Throughput::Elements(GROUP as u64));
        self.group.bench_function(S::NAME, |bencher| {
            bencher.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        let messages = retained_from(&mut next);
                        timed(|| store.retain(black_box(&messages)))
                    })
                    .sum()
            });
        });
    }

    fn open<S: Store>(&mut self) {
        let folder = folder();
        let mut store = S::open(folder.path());
        let mut next = 0;
        while next < RETAINED {
            store.retain(&retained_from(&mut next));
        }
        drop(store);
        self.group.throughput(Throughput::Elements(next.min(RETAINED)));
        self.group.bench_function(S::NAME, |bencher| {
            bencher.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        let mut opened = None;
                        let took = timed(|| {
                            let mut store = S::open(folder.path());
                            black_box(store.retained());
                            opened = Some(store);
                        });
                        drop(opened);
                        took
                    })
                    .sum()
            });
        });
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn group_from(next: &mut u64) -> Vec<u64> {
    let first = *next;
    *next += GROUP as u64;
    (first..*next).collect()
}

fn retained_from(next: &mut u64) -> Vec<(String, u64)> {
    let topic = |number: u64| dunlin_benches::queues::retained_topic(number % RETAINED);
    group_from(next).into_iter().map(|number| (topic(number), number)).collect()
}

/// What goes in comes out again, after it was opened anew where that is promised.
fn prove<S: Store>() {
    let folder = folder();
    let mut store = S::open(folder.path());
    let mut expected = vec![Vec::new(); SESSIONS as usize];
    let mut next = 0;
    for sessions in [1, 10, SESSIONS, 1] {
        let numbers = group_from(&mut next);
        store.enqueue(&numbers, sessions);
        for queue in expected.iter_mut().take(sessions as usize) {
            queue.extend_from_slice(&numbers);
        }
    }
    let mut taken = store.take(0);
    taken.extend(store.take(0));
    assert_eq!(taken, expected[0].drain(..2 * GROUP).collect::<Vec<_>>(), "{} drains", S::NAME);
    let mut retained = Retained::new();
    // Some of the topics get another message.
    for (topic, number) in [(0, 0), (32, 100)] {
        let mut from = topic;
        let messages: Vec<_> =
            retained_from(&mut from).into_iter().map(|(topic, at)| (topic, at + number)).collect();
        store.retain(&messages);
        retained.extend(messages);
    }
    if S::IS_DURABLE {
        drop(store);
        store = S::open(folder.path());
    }
    assert!(store.contents() == expected, "{} has the queues", S::NAME);
    assert_eq!(store.retained(), retained, "{} has the retained messages", S::NAME);
}

/// A folder on the disk that is to be measured, which is where programs are built if nothing else is said.
fn folder() -> TempDir {
    let data = env::var_os("DUNLIN_BENCH_DATA").or_else(|| env::var_os("CARGO_TARGET_DIR"));
    let data = data.map_or_else(|| PathBuf::from("../target"), PathBuf::from);
    TempDir::new_in(data).expect("DUNLIN_BENCH_DATA must be a folder")
}

criterion_group!(benches, durable, in_memory);
criterion_main!(benches);

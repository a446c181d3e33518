//! Order, grouping, bounds and the end of the committer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dunlin_store::{
    Batch, Committer, CommitterOptions, Durability, MemoryStore, MessageId, Reader, Report, Room,
    Store, StoreError, Submission, SubmitError, Visitor,
};

use support::Snapshot;
use support::probe::{Bench, Does, Event, Log, PATIENCE, Probe, lazy_change};

#[test]
fn whatever_waits_is_the_next_group() {
    let bench = Bench::new(CommitterOptions::default());
    bench.hold_at(1);
    for name in 2..=100 {
        bench.publish(name);
    }
    let before = bench.store.faults().commits();
    bench.store.faults().release();
    bench.committer.flush();
    assert_eq!(bench.store.faults().commits() - before, 2, "one for the first, one for all others");
    assert_eq!(bench.log.succeeded(), (1..=100).collect::<Vec<_>>());
    assert_eq!(bench.stored_places(), (1..=100).collect::<Vec<_>>());
}

#[test]
fn a_group_is_prepared_then_committed_then_finished_in_the_order_of_submission() {
    let bench = Bench::new(CommitterOptions::default());
    bench.hold_at(1);
    for name in 2..=4 {
        bench.publish(name);
    }
    assert_eq!(bench.log.events(), [Event::Prepared(1)], "nothing finishes before its commit");
    bench.store.faults().release();
    bench.committer.flush();
    let finished = |name| Event::Finished(name, Ok(()));
    let prepared = Event::Prepared;
    assert_eq!(
        bench.log.events(),
        [
            prepared(1),
            finished(1),
            prepared(2),
            prepared(3),
            prepared(4),
            finished(2),
            finished(3),
            finished(4)
        ]
    );
}

#[test]
fn a_batch_is_bounded_in_submissions_and_in_bytes() {
    for options in [
        CommitterOptions { batch_max: 10, ..CommitterOptions::default() },
        CommitterOptions { batch_bytes_max: 1_099, ..CommitterOptions::default() },
    ] {
        let bench = Bench::new(options);
        bench.hold_at(1);
        for name in 2..=31 {
            bench.publish(name);
        }
        let before = bench.store.faults().commits();
        bench.store.faults().release();
        bench.committer.flush();
        assert_eq!(bench.store.faults().commits() - before, 1 + 3);
        assert_eq!(bench.log.succeeded(), (1..=31).collect::<Vec<_>>());
    }
}

#[test]
fn a_submission_above_the_bound_of_a_batch_makes_one_alone() {
    let bench =
        Bench::new(CommitterOptions { batch_bytes_max: 1_000, ..CommitterOptions::default() });
    bench.hold_at(1);
    for (name, size) in [(2, 100), (3, 5_000), (4, 100), (5, 100)] {
        bench.committer.submit(Probe { size, ..bench.probe(name, Does::Publish) }).unwrap();
    }
    let before = bench.store.faults().commits();
    bench.store.faults().release();
    bench.committer.flush();
    assert_eq!(bench.store.faults().commits() - before, 4, "(1) (2) (3) (4 5)");
    assert_eq!(bench.log.succeeded(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_full_queue_gives_the_submission_back_at_once() {
    for options in [
        CommitterOptions { queue_max: 5, ..CommitterOptions::default() },
        CommitterOptions { queue_bytes_max: 599, ..CommitterOptions::default() },
    ] {
        let bench = Bench::new(options);
        bench.hold_at(1);
        for name in 2..=6 {
            bench.publish(name);
        }
        let begin = Instant::now();
        let refused = bench.committer.submit(bench.probe(7, Does::Publish)).unwrap_err();
        assert!(begin.elapsed() < Duration::from_secs(1), "it did not wait for the disk");
        assert!(matches!(refused, SubmitError::Full(_)));
        assert_eq!(refused.into_submission().name, 7);
        let stats = bench.committer.stats();
        assert_eq!((stats.refused, stats.waiting, stats.waiting_bytes), (1, 5, 500));

        bench.store.faults().release();
        bench.committer.flush();
        bench.publish(7);
        bench.committer.flush();
        assert_eq!(bench.stored_places(), (1..=7).collect::<Vec<_>>());
        let stats = bench.committer.stats();
        assert_eq!((stats.finished, stats.waiting, stats.waiting_bytes), (7, 0, 0));
    }
}

#[test]
fn a_submission_above_the_bound_of_the_queue_is_taken_when_nothing_else_waits() {
    let bench =
        Bench::new(CommitterOptions { queue_bytes_max: 1_000, ..CommitterOptions::default() });
    bench.hold_at(1);
    bench.committer.submit(Probe { size: 1_000_000, ..bench.probe(2, Does::Publish) }).unwrap();
    let refused = bench.committer.submit(bench.probe(3, Does::Publish));
    assert!(matches!(refused, Err(SubmitError::Full(_))));
    bench.store.faults().release();
    bench.committer.flush();
    assert_eq!(bench.log.succeeded(), [1, 2]);
}

#[test]
fn a_submission_without_changes_waits_for_those_before_it_and_writes_nothing() {
    let bench = Bench::new(CommitterOptions::default());
    bench.hold_at(1);
    bench.committer.submit(bench.probe(2, Does::Nothing)).unwrap();
    assert_eq!(bench.log.succeeded(), []);
    bench.store.faults().release();
    bench.committer.flush();
    assert_eq!(bench.log.succeeded(), [1, 2]);
    assert_eq!(bench.committer.stats().commits, 1);
}

#[test]
fn message_ids_go_on_where_the_store_ended() {
    let bench = Bench::new(CommitterOptions::default());
    bench.publish(1);
    bench.committer.shutdown().unwrap();
    let mut store = bench.store.clone();
    let shown = Snapshot::of(&mut store);
    let last = shown.queue(support::probe::SESSION)[0].1;
    assert!(shown.meta().next_message > last);

    let again = Bench::over(store, shown.meta().next_message, CommitterOptions::default());
    again.publish(2);
    again.committer.flush();
    let queue = Snapshot::of(&mut again.store.image()).queue(support::probe::SESSION);
    assert_eq!(queue, [(1, last), (2, last.next())]);
}

#[test]
fn shutdown_commits_what_waits_and_closes_the_store() {
    let bench = Bench::new(CommitterOptions { batch_max: 3, ..CommitterOptions::default() });
    bench.store.faults().delay(Duration::from_millis(2));
    for name in 1..=30 {
        bench.publish(name);
    }
    bench.committer.shutdown().unwrap();
    assert_eq!(bench.log.succeeded(), (1..=30).collect::<Vec<_>>());
    assert_eq!(bench.stored_places(), (1..=30).collect::<Vec<_>>());
    assert!(Snapshot::of(&mut bench.store.image()).meta().clean);

    let refused = bench.committer.submit(bench.probe(31, Does::Publish));
    assert!(matches!(refused, Err(SubmitError::Closed(Probe { name: 31, .. }))));
    bench.committer.flush();
    bench.committer.shutdown().unwrap();
}

#[test]
fn a_store_that_was_not_closed_is_not_clean() {
    let bench = Bench::new(CommitterOptions::default());
    bench.publish(1);
    bench.committer.flush();
    assert!(!Snapshot::of(&mut bench.store.image()).meta().clean);
}

#[test]
fn a_dropped_committer_still_commits_what_waits() {
    let bench = Bench::new(CommitterOptions::default());
    bench.hold_at(1);
    bench.publish(2);
    let Bench { store, committer, log, .. } = bench;
    drop(committer);
    store.faults().release();
    let deadline = Instant::now() + PATIENCE;
    while log.succeeded().len() < 2 && Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!(log.succeeded(), [1, 2]);
}

/// Submits the next of a row from its own completion.
struct Chain {
    left: u32,
    committer: Arc<Mutex<Option<Committer<Self>>>>,
    log: Log,
}

impl Submission for Chain {
    fn size(&self) -> usize {
        1
    }

    fn prepare(&mut self, batch: &mut Batch, _room: Room) {
        batch.push(lazy_change());
    }

    fn take_back(&mut self) {}

    fn finish(self, outcome: Result<(), &StoreError>) {
        self.log.push(Event::Finished(u64::from(self.left), outcome.map_err(ToString::to_string)));
        if let Some(left) = self.left.checked_sub(1) {
            let committer = Arc::clone(&self.committer);
            let next = Self { left, ..self };
            committer.lock().unwrap().as_ref().unwrap().submit(next).unwrap();
        }
    }
}

#[test]
fn a_completion_may_submit() {
    let committer = Committer::start(
        Box::new(MemoryStore::new()),
        MessageId::FIRST,
        CommitterOptions::default(),
        |_| {},
    )
    .unwrap();
    let log = Log::default();
    let shared = Arc::new(Mutex::new(Some(committer)));
    let first = Chain { left: 9, committer: Arc::clone(&shared), log: log.clone() };
    shared.lock().unwrap().as_ref().unwrap().submit(first).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while log.succeeded().len() < 10 && Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!(log.succeeded(), (0..10).rev().collect::<Vec<_>>());
    let committer = shared.lock().unwrap().take().unwrap();
    committer.shutdown().unwrap();
}

/// What each commit was asked for.
type Commits = Arc<Mutex<Vec<(Durability, MessageId, MessageId)>>>;

#[derive(Debug, Default)]
struct Recorder {
    inner: MemoryStore,
    commits: Commits,
}

impl Store for Recorder {
    fn recover(&mut self, visitor: &mut dyn Visitor) -> Result<Report, StoreError> {
        self.inner.recover(visitor)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.commits.lock().unwrap().push((batch.durability(), batch.first_id(), batch.next_id()));
        self.inner.commit(batch)
    }

    fn reader(&self) -> Box<dyn Reader> {
        self.inner.reader()
    }
}

struct Level(Option<Durability>);

impl Submission for Level {
    fn size(&self) -> usize {
        1
    }

    fn prepare(&mut self, batch: &mut Batch, _room: Room) {
        batch.push(lazy_change());
        if let Some(level) = self.0 {
            batch.require(level);
        }
    }

    fn take_back(&mut self) {}

    fn finish(self, _: Result<(), &StoreError>) {}
}

#[test]
fn the_store_learns_the_strictest_level_of_a_group_and_a_lazy_group_uses_up_an_id() {
    let store = Recorder::default();
    let (commits, faults) = (Arc::clone(&store.commits), store.inner.faults());
    let committer =
        Committer::start(Box::new(store), MessageId::FIRST, CommitterOptions::default(), |_| {})
            .unwrap();
    faults.hold();
    committer.submit(Level(None)).unwrap();
    assert!(faults.wait_until_stuck(PATIENCE));
    for level in [Some(Durability::Os), Some(Durability::Fsync), None] {
        committer.submit(Level(level)).unwrap();
    }
    faults.release();
    committer.flush();
    committer.submit(Level(Some(Durability::Os))).unwrap();
    committer.shutdown().unwrap();
    let id = MessageId;
    assert_eq!(
        *commits.lock().unwrap(),
        [
            (Durability::Memory, id(1), id(2)),
            (Durability::Fsync, id(2), id(3)),
            (Durability::Os, id(3), id(4))
        ]
    );
}

//! A disk that is full, broken or slow, and what the committer makes of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::time::{Duration, Instant};

use dunlin_store::{
    CommitterOptions, Failure, MemoryStore, MessageId, NamespaceNo, Store, StoreError,
};

use support::probe::{Bench, Does, Event, PATIENCE, SESSION};
use support::{Snapshot, topic};

#[test]
fn a_full_store_fails_every_submission_of_the_batch_and_no_other() {
    let bench = Bench::new(CommitterOptions::default());
    bench.hold_at(1);
    bench.publish(2);
    bench.publish(3);
    bench.store.faults().fail_next(Failure::Full);
    bench.store.faults().release();
    bench.committer.flush();
    let full = StoreError::Full.to_string();
    assert_eq!(bench.log.failed(), [(1, full)]);
    assert_eq!(bench.log.succeeded(), [2, 3]);
    assert_eq!(bench.stored_places(), [2, 3], "nothing of it is left behind");
    assert!(!bench.committer.has_failed());
    assert!(bench.failures.lock().unwrap().is_empty());
    let stats = bench.committer.stats();
    assert_eq!((stats.commits, stats.failures, stats.finished), (1, 1, 3));
}

#[test]
fn what_a_full_store_refused_may_be_tried_again_under_the_same_places_and_new_ids() {
    let bench = Bench::new(CommitterOptions::default());
    bench.publish(1);
    bench.committer.flush();
    let before = Snapshot::of(&mut bench.store.image());
    bench.store.faults().fail_next(Failure::Full);
    bench.publish(2);
    bench.committer.flush();
    assert_eq!(Snapshot::of(&mut bench.store.image()), before);
    bench.publish(2);
    bench.committer.flush();
    let queue = Snapshot::of(&mut bench.store.image()).queue(SESSION);
    let first = queue[0].1;
    assert_eq!(queue, [(1, first), (2, first.next().next())], "a failed id is not used again");
}

#[test]
fn a_broken_store_fails_everything_that_waits_or_comes_and_is_not_touched_again() {
    for (failure, words) in
        [(Failure::Io, "cannot be read or written"), (Failure::Corrupt, "damaged")]
    {
        let bench = Bench::new(CommitterOptions { batch_max: 2, ..CommitterOptions::default() });
        bench.publish(1);
        bench.committer.flush();
        let commits = bench.store.faults().commits();

        bench.hold_at(2);
        for name in 3..=8 {
            bench.publish(name);
        }
        bench.store.faults().fail_next(failure);
        bench.store.faults().release();
        bench.committer.flush();
        bench.publish(9);
        bench.committer.flush();

        assert_eq!(bench.log.succeeded(), [1]);
        let failed = bench.log.failed();
        assert!(failed.iter().map(|(name, _)| *name).eq(2..=9));
        assert!(failed.iter().all(|(_, error)| error.contains(words)), "{failed:?}");
        assert!(!bench.log.events().contains(&Event::Prepared(3)), "nothing is numbered in vain");
        assert_eq!(bench.store.faults().commits(), commits);
        assert_eq!(bench.failures.lock().unwrap().len(), 1, "said once");
        assert!(bench.committer.has_failed());
        assert_eq!(bench.stored_places(), [1]);

        let error = bench.committer.shutdown().unwrap_err();
        assert!(error.is_fatal() && error.to_string().contains(words));
        assert!(!Snapshot::of(&mut bench.store.image()).meta().clean);
    }
}

#[test]
fn a_panic_in_a_submission_stops_the_committer_and_leaves_nobody_waiting() {
    let bench = Bench::new(CommitterOptions::default());
    bench.hold_at(1);
    bench.publish(2);
    bench.committer.submit(bench.probe(3, Does::Panic)).unwrap();
    bench.publish(4);
    bench.store.faults().release();
    bench.committer.flush();
    bench.publish(5);
    bench.committer.flush();
    assert_eq!(bench.log.succeeded(), [1]);
    assert_eq!(
        bench.log.failed(),
        [(5, StoreError::Stopped.to_string())],
        "those of the group are dropped"
    );
    assert_eq!(bench.stored_places(), [1]);
    assert!(bench.committer.has_failed());
    assert!(matches!(bench.committer.shutdown(), Err(StoreError::Stopped)));
}

#[test]
fn a_place_is_never_given_to_two_messages() {
    let bench = Bench::new(CommitterOptions::default());
    bench.publish(1);
    bench.committer.flush();
    bench.publish(1);
    bench.committer.flush();
    assert!(matches!(bench.committer.shutdown(), Err(StoreError::Stopped)));
    assert_eq!(bench.log.succeeded(), [1]);
}

#[test]
fn a_delay_makes_each_commit_slow() {
    let bench = Bench::new(CommitterOptions::default());
    bench.store.faults().delay(Duration::from_millis(20));
    let begin = Instant::now();
    for name in 1..=3 {
        bench.publish(name);
        bench.committer.flush();
    }
    assert!(begin.elapsed() >= Duration::from_millis(60));
    bench.store.faults().delay(Duration::ZERO);
    bench.publish(4);
    bench.committer.flush();
    assert_eq!(bench.log.succeeded(), [1, 2, 3, 4]);
}

#[test]
fn a_commit_that_is_held_is_not_in_the_store() {
    let bench = Bench::new(CommitterOptions::default());
    assert!(
        !bench.store.faults().wait_until_stuck(Duration::from_millis(1)),
        "nothing is held yet"
    );
    bench.hold_at(1);
    assert_eq!(bench.stored_places(), []);
    assert_eq!(bench.log.succeeded(), []);
    bench.store.faults().release();
    bench.committer.flush();
    assert_eq!(bench.stored_places(), [1]);
}

#[test]
fn failures_happen_in_the_order_in_which_they_were_asked_for() {
    let bench = Bench::new(CommitterOptions::default());
    bench.store.faults().fail_next(Failure::Full);
    bench.store.faults().fail_next(Failure::Full);
    bench.store.faults().fail_next(Failure::Io);
    for name in 1..=3 {
        bench.publish(name);
        bench.committer.flush();
        assert_eq!(bench.committer.has_failed(), name == 3);
    }
    assert_eq!(bench.log.failed().len(), 3);
}

#[test]
fn a_read_fails_at_command() {
    let store = MemoryStore::new();
    let mut reader = store.reader();
    store.faults().fail_next_read(Failure::Io);
    store.faults().fail_next_read(Failure::Corrupt);
    let read = reader.read(&[MessageId::FIRST], &mut |_, _| panic!("nothing is read"));
    assert!(matches!(read, Err(StoreError::Io(_))));
    let read = reader.read_retained(NamespaceNo::DEFAULT, &topic("t"));
    assert!(matches!(read, Err(StoreError::Corrupt(_))));
    reader.read(&[MessageId::FIRST], &mut |_, found| assert!(found.is_none())).unwrap();
}

#[test]
fn an_image_has_the_contents_but_not_the_faults_and_not_what_comes_later() {
    let bench = Bench::new(CommitterOptions::default());
    bench.publish(1);
    bench.committer.flush();
    bench.store.faults().fail_next(Failure::Io);
    let image = bench.store.image();
    let next = Snapshot::of(&mut image.clone()).meta().next_message;
    let other = Bench::over(image, next, CommitterOptions::default());
    other.publish(2);
    other.committer.flush();
    assert_eq!(other.stored_places(), [1, 2]);
    assert_eq!(bench.stored_places(), [1]);
}

#[test]
fn a_commit_that_does_not_come_back_is_told_of_and_ends_everything() {
    let stall_max = Duration::from_millis(100);
    let bench = Bench::new(CommitterOptions { stall_max, ..CommitterOptions::default() });
    bench.hold_at(1);
    bench.publish(2);
    let deadline = Instant::now() + PATIENCE;
    while bench.failures.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "nobody has noticed");
        std::thread::sleep(Duration::from_millis(1));
    }
    let words = "the store has not answered for 0 seconds, and is busy with a commit, which waits for the disk";
    assert_eq!(*bench.failures.lock().unwrap(), [words]);
    assert!(bench.committer.has_failed());
    assert_eq!(bench.log.succeeded(), [], "nothing is acknowledged any more");
    // What was on its way to the disk may have got there; what comes later does not.
    bench.store.faults().release();
    bench.committer.flush();
    bench.publish(3);
    bench.committer.flush();
    assert_eq!(bench.stored_places(), [1]);
    assert_eq!(bench.failures.lock().unwrap().len(), 1, "said once");
}

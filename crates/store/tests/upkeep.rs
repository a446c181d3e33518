//! What the store on disk does between commits.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::fs;
use std::thread;
use std::time::Duration;

use dunlin_store::{Batch, Change, Durability, MessageId, SessionNo};

use support::subject::{Disk, Subject};
use support::{Snapshot, open, publication, target};

const A: SessionNo = SessionNo(1);

#[test]
fn cursors_are_written_though_acknowledgements_never_pause() {
    let mut disk = Disk::new();
    Snapshot::of(disk.store());
    let mut batch = Batch::new(MessageId::FIRST);
    batch.push(open(A, "anna"));
    for seq in 1..=100 {
        batch.publish(publication("p", vec![target(A, seq)]));
    }
    batch.require(Durability::Fsync);
    disk.store().commit(&batch).unwrap();
    // Nothing but acknowledgements, and never a pause in which the store is idle.
    for seq in 1..=50 {
        let mut lazy = Batch::new(batch.next_id());
        lazy.push(Change::Acknowledged { session: A, first: seq, last: seq });
        disk.store().commit(&lazy).unwrap();
        disk.store().look_after(false).unwrap();
        thread::sleep(Duration::from_millis(4));
    }
    let written = Snapshot::of(disk.image().store()).sessions[&A].cursor.acknowledged_through();
    assert!(written > 0, "after 200 ms none of 50 acknowledgements is written");
}

#[test]
fn a_long_log_is_moved_into_the_database_by_the_start() {
    let mut disk = Disk::new();
    Snapshot::of(disk.store());
    let mut batch = Batch::new(MessageId::FIRST);
    batch.push(open(A, "anna"));
    let payload = "x".repeat(1 << 20);
    for seq in 1..=20 {
        batch.publish(publication(&payload, vec![target(A, seq)]));
    }
    batch.require(Durability::Fsync);
    disk.store().commit(&batch).unwrap();
    // Killed before the log was looked after.
    let mut image = disk.image();
    Snapshot::of(image.store());
    let database = fs::metadata(image.path().join("store.sqlite3")).unwrap().len();
    assert!(database > 20 << 20, "{database} bytes are in the database");
}

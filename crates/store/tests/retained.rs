//! Retained messages whose submissions overtake each other on the way to the store.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use dunlin_store::{
    Batch, Change, MemoryStore, MessageId, NamespaceNo, Store, TOMBSTONES_MAX, UnixMillis,
};

use support::{Snapshot, message, topic};

fn retain(name: &str, number: u64, payload: Option<&str>) -> Change {
    let (namespace, at) = (NamespaceNo::DEFAULT, UnixMillis(number));
    match payload {
        Some(payload) => Change::Retained {
            namespace,
            number,
            message: message(name, payload),
            stored_at: at,
            expires_at: Some(UnixMillis(number + 1)),
        },
        None => Change::Unretained { namespace, topic: topic(name), number, removed_at: at },
    }
}

fn commit(store: &mut MemoryStore, changes: impl IntoIterator<Item = Change>) {
    let mut batch = Batch::new(MessageId::FIRST);
    for change in changes {
        batch.push(change);
    }
    store.commit(&batch).unwrap();
}

/// The number and payload retained for `name`.
fn retained(store: &MemoryStore, name: &str) -> Option<(u64, Vec<u8>)> {
    let record = store.reader().read_retained(NamespaceNo::DEFAULT, &topic(name)).unwrap()?;
    assert_eq!(record.stored_at, UnixMillis(record.number));
    assert_eq!(record.expires_at, Some(UnixMillis(record.number + 1)));
    Some((record.number, record.message.payload.to_vec()))
}

#[test]
fn the_higher_number_wins_within_a_batch_and_over_batches() {
    let mut store = MemoryStore::new();
    commit(&mut store, [retain("t", 2, Some("two")), retain("t", 1, Some("one"))]);
    assert_eq!(retained(&store, "t"), Some((2, b"two".to_vec())));
    commit(&mut store, [retain("t", 1, Some("one"))]);
    commit(&mut store, [retain("t", 1, None)]);
    assert_eq!(retained(&store, "t"), Some((2, b"two".to_vec())));
    commit(&mut store, [retain("t", 3, Some("three"))]);
    assert_eq!(retained(&store, "t"), Some((3, b"three".to_vec())));
    assert_eq!(Snapshot::of(&mut store).meta().next_retained, 4);
}

#[test]
fn a_removal_wins_over_an_older_message_that_comes_later() {
    let mut store = MemoryStore::new();
    commit(&mut store, [retain("t", 2, None)]);
    commit(&mut store, [retain("t", 1, Some("one"))]);
    assert_eq!(retained(&store, "t"), None);
    commit(&mut store, [retain("t", 3, Some("three"))]);
    assert_eq!(retained(&store, "t"), Some((3, b"three".to_vec())));
}

#[test]
fn removals_are_forgotten_oldest_first_and_when_the_store_is_opened_again() {
    let mut store = MemoryStore::new();
    let last = TOMBSTONES_MAX as u64;
    // One more than is remembered, the first topic removed twice: what is forgotten is its first removal.
    commit(&mut store, [retain("t/1", 1, None), retain("t/1", 2, None)]);
    commit(&mut store, (2..=last).map(|n| retain(&format!("t/{n}"), 10 + n, None)));
    commit(&mut store, [retain("t/1", 1, Some("old"))]);
    assert_eq!(retained(&store, "t/1"), None, "the second removal is among the newest");
    commit(&mut store, [retain("more", 1, None)]);
    commit(&mut store, [retain("t/1", 1, Some("old")), retain("t/2", 1, Some("old"))]);
    assert_eq!(retained(&store, "t/1"), Some((1, b"old".to_vec())));
    assert_eq!(retained(&store, "t/2"), None);

    Snapshot::of(&mut store);
    commit(&mut store, [retain("t/2", 1, Some("old"))]);
    assert_eq!(retained(&store, "t/2"), Some((1, b"old".to_vec())));
}

#[test]
fn the_newest_time_is_found_again() {
    let mut store = MemoryStore::new();
    assert_eq!(Snapshot::of(&mut store).report.newest, None);
    commit(&mut store, [retain("t", 7, Some("p")), retain("u", 5, None)]);
    assert_eq!(Snapshot::of(&mut store).report.newest, Some(UnixMillis(7)));
}

//! Queues: what stands in them, what leaves them, and what never enters.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use dunlin_store::{Batch, Change, MemoryStore, MessageId, SessionNo, Store};

use support::{Snapshot, open, publication, target};

const ONE: SessionNo = SessionNo(1);
const TWO: SessionNo = SessionNo(2);

fn two_sessions() -> Batch {
    let mut batch = Batch::new(MessageId::FIRST);
    batch.push(open(ONE, "one"));
    batch.push(open(TWO, "two"));
    batch
}

#[test]
fn acknowledgements_free_the_messages() {
    let (mut store, mut batch) = (MemoryStore::new(), two_sessions());
    for seq in 1..=10 {
        batch.publish(publication("p", vec![target(ONE, seq), target(TWO, seq)]));
    }
    batch.push(Change::Acknowledged { session: ONE, first: 1, last: 10 });
    batch.push(Change::Acknowledged { session: TWO, first: 3, last: 4 });
    store.commit(&batch).unwrap();
    let shown = Snapshot::of(&mut store.image());
    assert_eq!(shown.messages.len(), 8);
    assert!(shown.queue(ONE).is_empty());

    let mut end = Batch::new(batch.next_id());
    end.push(Change::SessionEnded { session: TWO });
    store.commit(&end).unwrap();
    let shown = Snapshot::of(&mut store);
    assert!(shown.messages.is_empty());
    assert_eq!(shown.meta().next_message, end.next_id(), "though no message is left");
    assert_eq!(shown.meta().next_session, SessionNo(3));
}

#[test]
fn a_target_that_is_acknowledged_or_gone_gets_nothing() {
    let (mut store, mut batch) = (MemoryStore::new(), two_sessions());
    batch.push(Change::Acknowledged { session: ONE, first: 1, last: 1 });
    batch.publish(publication("for nobody", vec![target(ONE, 1), target(SessionNo(3), 1)]));
    let second = batch.publish(publication("for two", vec![target(ONE, 1), target(TWO, 1)]));
    store.commit(&batch).unwrap();
    let shown = Snapshot::of(&mut store);
    assert_eq!(shown.messages.len(), 1);
    assert_eq!(shown.queue(TWO), [(1, second)]);
    assert!(shown.queue(ONE).is_empty());
}

#[test]
fn a_message_is_handed_over_with_its_payload_and_leaves_the_other_queue() {
    let (mut store, mut batch) = (MemoryStore::new(), two_sessions());
    let old = batch.publish(publication("work", vec![target(ONE, 1)]));
    let new = batch.hand_over(ONE, 1, target(TWO, 1));
    store.commit(&batch).unwrap();
    let mut read = Vec::new();
    store.reader().read(&[old, new], &mut |_, publication| read.push(publication)).unwrap();
    let [None, Some(publication)] = &read[..] else { panic!("{read:?}") };
    assert_eq!(&publication.message.payload[..], b"work");
    assert_eq!(publication.target(TWO, 1), Some(&target(TWO, 1)));
    assert_eq!(publication.target(ONE, 1), None);
    let shown = Snapshot::of(&mut store);
    assert!(shown.queue(ONE).is_empty());
    assert_eq!(shown.queue(TWO), [(1, new)]);
    assert!(shown.sessions.values().any(|session| session.cursor.is_acknowledged(1)));
}

#[test]
fn a_hand_over_from_or_to_what_is_gone_does_nothing() {
    let (mut store, mut batch) = (MemoryStore::new(), two_sessions());
    let id = batch.publish(publication("work", vec![target(ONE, 1)]));
    batch.hand_over(ONE, 1, target(SessionNo(3), 1));
    batch.hand_over(ONE, 2, target(TWO, 1));
    batch.hand_over(SessionNo(3), 1, target(TWO, 2));
    store.commit(&batch).unwrap();
    let shown = Snapshot::of(&mut store);
    assert_eq!(shown.queue(ONE), [(1, id)]);
    assert!(shown.queue(TWO).is_empty());
}

#[test]
fn a_new_session_under_a_key_ends_the_older_one() {
    let (mut store, mut batch) = (MemoryStore::new(), two_sessions());
    batch.publish(publication("old", vec![target(ONE, 1)]));
    batch.push(open(SessionNo(3), "one"));
    // The older one is gone; what still comes for it is for nobody, and its end does not end the newer.
    batch.publish(publication("late", vec![target(ONE, 2)]));
    batch.push(Change::SessionEnded { session: ONE });
    store.commit(&batch).unwrap();
    let shown = Snapshot::of(&mut store);
    assert_eq!(shown.sessions.keys().collect::<Vec<_>>(), [&TWO, &SessionNo(3)]);
    assert!(shown.messages.is_empty());
}

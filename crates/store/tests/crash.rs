//! Many threads, a store that is now and then full, and a kill at any moment: nothing that was acknowledged is lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use dunlin_store::{
    Batch, Committer, CommitterOptions, Durability, Failure, MemoryStore, MessageId, Room,
    SessionNo, Store, StoreError, Submission, SubmitError,
};

use support::{Snapshot, open, publication, target};

const THREADS: u32 = 4;
const READS: u64 = 300;
/// PUBLISHes that one read of a socket brings.
const MESSAGES: u64 = 5;

/// What a publisher holds a PUBACK for.
type Acknowledged = Arc<Mutex<BTreeSet<(SessionNo, u64, MessageId)>>>;

/// What a broker keeps of a queue: the last place given out, known on the committer's thread only.
#[derive(Debug)]
struct Queue {
    session: SessionNo,
    last: AtomicU64,
}

/// The messages of one read: as many places in the queue, numbered when they are prepared.
struct Read {
    queue: Arc<Queue>,
    places: Vec<(u64, MessageId)>,
    acknowledged: Acknowledged,
}

impl Submission for Read {
    fn size(&self) -> usize {
        1_000
    }

    fn prepare(&mut self, batch: &mut Batch, room: Room) {
        if room == Room::NoMessages {
            return;
        }
        for _ in 0..MESSAGES {
            let seq = self.queue.last.fetch_add(1, Ordering::Relaxed) + 1;
            let id = batch.publish(publication("p", vec![target(self.queue.session, seq)]));
            self.places.push((seq, id));
        }
        batch.require(Durability::Fsync);
    }

    // Every later submission of this batch is taken back too, and none of the next is prepared yet.
    fn take_back(&mut self) {
        self.queue.last.fetch_sub(self.places.drain(..).len() as u64, Ordering::Relaxed);
    }

    fn finish(self, outcome: Result<(), &StoreError>) {
        if outcome.is_ok() {
            let mut acknowledged = self.acknowledged.lock().unwrap();
            acknowledged
                .extend(self.places.iter().map(|(seq, id)| (self.queue.session, *seq, *id)));
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let mut store = MemoryStore::new();
    let mut batch = Batch::new(MessageId::FIRST);
    for session in 1..=THREADS {
        batch.push(open(SessionNo(session), &format!("client-{session}")));
    }
    store.commit(&batch).unwrap();
    let options = CommitterOptions { queue_max: 16, batch_max: 8, ..CommitterOptions::default() };
    let committer =
        Committer::start(Box::new(store.clone()), batch.next_id(), options, |_| {}).unwrap();
    let acknowledged = Acknowledged::default();
    store.faults().fail_next(Failure::Full);

    thread::scope(|scope| {
        let publishers: Vec<_> = (1..=THREADS)
            .map(|session| {
                let queue =
                    Arc::new(Queue { session: SessionNo(session), last: AtomicU64::new(0) });
                let (committer, acknowledged) = (&committer, Arc::clone(&acknowledged));
                scope.spawn(move || publish(&queue, committer, &acknowledged))
            })
            .collect();
        while !publishers.iter().all(|publisher| publisher.is_finished()) {
            store.faults().fail_next(Failure::Full);
            // First what is acknowledged, then the image: whatever is in the first must be in the second.
            let promised = acknowledged.lock().unwrap().clone();
            assert_all_stored(&promised, &store.image());
            thread::sleep(Duration::from_millis(2));
        }
    });
    committer.shutdown().unwrap();
    let promised = acknowledged.lock().unwrap();
    assert_all_stored(&promised, &store);
    let stored: usize = (1..=THREADS).map(|session| queue(&store, SessionNo(session)).len()).sum();
    assert_eq!(stored, promised.len(), "and nothing else is stored");
    assert!(committer.stats().failures > 0, "some commits did fail");
}

fn publish(queue: &Arc<Queue>, committer: &Committer<Read>, acknowledged: &Acknowledged) {
    for _ in 0..READS {
        let mut read = Read {
            queue: Arc::clone(queue),
            places: Vec::new(),
            acknowledged: Arc::clone(acknowledged),
        };
        while let Err(SubmitError::Full(back)) = committer.submit(read) {
            read = back;
            thread::sleep(Duration::from_micros(50));
        }
    }
}

fn queue(store: &MemoryStore, session: SessionNo) -> Vec<(u64, MessageId)> {
    Snapshot::of(&mut store.image()).queue(session)
}

fn assert_all_stored(promised: &BTreeSet<(SessionNo, u64, MessageId)>, store: &MemoryStore) {
    let shown = Snapshot::of(&mut store.image());
    for session in (1..=THREADS).map(SessionNo) {
        let queue = shown.queue(session);
        assert!(
            queue.iter().map(|(seq, _)| *seq).eq(1..=queue.len() as u64),
            "places have no holes"
        );
        assert!(queue.is_sorted_by_key(|(_, id)| *id), "ids rise with places");
    }
    let stored: BTreeSet<_> = (1..=THREADS)
        .map(SessionNo)
        .flat_map(|session| {
            shown.queue(session).into_iter().map(move |(seq, id)| (session, seq, id))
        })
        .collect();
    let lost: Vec<_> = promised.difference(&stored).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

//! A submission that writes down what happens to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunlin_store::{
    Batch, Change, Committer, CommitterOptions, Durability, MemoryStore, MessageId, Room,
    SessionNo, Store, StoreError, Submission,
};

use super::{Snapshot, open, publication, target};

/// Long enough for any thread of this machine to get its turn.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The session all probes publish to.
pub const SESSION: SessionNo = SessionNo(1);

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    Prepared(u64),
    Finished(u64, Result<(), String>),
}

/// Events in the order in which they happened.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub fn push(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    /// The names of the probes that finished without an error.
    pub fn succeeded(&self) -> Vec<u64> {
        let finished = self.events().into_iter().filter_map(|event| match event {
            Event::Finished(name, Ok(())) => Some(name),
            Event::Finished(_, Err(_)) | Event::Prepared(_) => None,
        });
        finished.collect()
    }

    /// The names and errors of the probes that failed.
    pub fn failed(&self) -> Vec<(u64, String)> {
        let failed = self.events().into_iter().filter_map(|event| match event {
            Event::Finished(name, Err(error)) => Some((name, error)),
            Event::Finished(_, Ok(())) | Event::Prepared(_) => None,
        });
        failed.collect()
    }
}

/// What a probe does in `prepare`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Does {
    /// Publishes one message at the place that is its name.
    Publish,
    Nothing,
    Panic,
}

#[derive(Debug)]
pub struct Probe {
    pub name: u64,
    pub size: usize,
    pub does: Does,
    pub log: Log,
    /// Whether there was no room for what it publishes.
    pub refused: bool,
}

impl Submission for Probe {
    fn size(&self) -> usize {
        self.size
    }

    fn prepare(&mut self, batch: &mut Batch, room: Room) {
        self.refused = self.does == Does::Publish && room == Room::NoMessages;
        if room == Room::All {
            self.log.push(Event::Prepared(self.name));
        }
        match self.does {
            Does::Publish if self.refused => {}
            Does::Publish => {
                batch
                    .publish(publication(&self.name.to_string(), vec![target(SESSION, self.name)]));
                batch.require(Durability::Fsync);
            }
            Does::Nothing => {}
            Does::Panic => panic!("a bug in a submission"),
        }
    }

    fn take_back(&mut self) {}

    fn finish(self, outcome: Result<(), &StoreError>) {
        let refused = if self.refused { Err(&StoreError::Full) } else { Ok(()) };
        let outcome = outcome.and(refused).map_err(ToString::to_string);
        self.log.push(Event::Finished(self.name, outcome));
    }
}

/// A committer over a memory store in which [`SESSION`] is open.
#[derive(Debug)]
pub struct Bench {
    pub store: MemoryStore,
    pub committer: Committer<Probe>,
    pub log: Log,
    /// What `on_failed` was called with.
    pub failures: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    pub fn new(options: CommitterOptions) -> Self {
        let mut store = MemoryStore::new();
        let mut batch = Batch::new(MessageId::FIRST);
        batch.push(open(SESSION, "bench"));
        store.commit(&batch).unwrap();
        let next = Snapshot::of(&mut store).meta().next_message;
        Self::over(store, next, options)
    }

    pub fn over(store: MemoryStore, next: MessageId, options: CommitterOptions) -> Self {
        let failures = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&failures);
        let on_failed = move |error: &StoreError| seen.lock().unwrap().push(error.to_string());
        let committer =
            Committer::start(Box::new(store.clone()), next, options, on_failed).unwrap();
        Self { store, committer, log: Log::default(), failures }
    }

    pub fn probe(&self, name: u64, does: Does) -> Probe {
        Probe { name, size: 100, does, log: self.log.clone(), refused: false }
    }

    pub fn publish(&self, name: u64) {
        self.committer.submit(self.probe(name, Does::Publish)).unwrap();
    }

    /// Publishes `name` and waits until its commit is held back, so that everything after it waits in the queue.
    pub fn hold_at(&self, name: u64) {
        self.store.faults().hold();
        self.publish(name);
        assert!(self.store.faults().wait_until_stuck(PATIENCE));
    }

    /// The places that the queue holds after a kill at this moment.
    pub fn stored_places(&self) -> Vec<u64> {
        let queue = Snapshot::of(&mut self.store.image()).queue(SESSION);
        queue.into_iter().map(|(seq, _)| seq).collect()
    }
}

/// The changes that do not matter to a test but make a commit.
pub fn lazy_change() -> Change {
    Change::Acknowledged { session: SESSION, first: 1, last: 0 }
}

//! What goes to the store, and what happens when it is there.
//!
//! A [`Write`] is one submission to the committer: everything that one connection's batch has to make durable. On the
//! committer's thread its messages get their numbers, in the order of the commits; when they are durable they enter their
//! queues, and those who wait are told.

mod copies;
mod copy;
mod entry;
mod finishing;
mod publish;

use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use dunlin_codec::ReasonCode;
use dunlin_session::{Session, SessionExpiry};
use dunlin_store::{
    Batch, Durability, Room as StoreRoom, SessionRecord, StoreError, Submission, UnixMillis,
    WillRecord,
};
use tokio::sync::oneshot;

use crate::core::Core;
use crate::mailbox::{Mailbox, Notice};

pub(crate) use copies::Copies;
pub(crate) use copy::{Arrival, GroupTarget, Own, QueueTarget, Shared, in_group};
pub(crate) use entry::Entry;
pub(crate) use publish::{PublishEntry, RetainedPlace};

use copy::Arrivals;
use entry::Preparing;
use finishing::{Finished, Finishing};

/// One submission.
#[derive(Debug)]
pub(crate) struct Write {
    core: Weak<Core>,
    /// Whose batch it is: told when its entries with tokens are durable.
    owner: Option<Arc<Mailbox>>,
    /// What the store had no room for before: it goes first.
    first: Vec<Entry>,
    entries: Vec<Entry>,
    size: usize,
    /// Told when all of it is durable, or failed.
    done: Option<oneshot::Sender<Result<(), ()>>>,
}

impl Write {
    pub(crate) fn new(core: &Arc<Core>, owner: Option<Arc<Mailbox>>, entries: Vec<Entry>) -> Self {
        let size = entries.iter().map(Entry::size).sum();
        Self { core: Arc::downgrade(core), owner, first: Vec::new(), entries, size, done: None }
    }

    /// Takes another write of the same owner behind this one.
    pub(crate) fn append(&mut self, mut other: Self) {
        debug_assert!(other.done.is_none(), "nobody waits for a batch as a whole");
        self.entries.append(&mut other.entries);
        self.size += other.size;
    }

    /// Tells `done`, if there is one, when all of it is durable.
    pub(crate) fn tell(&mut self, done: Option<oneshot::Sender<Result<(), ()>>>) {
        self.done = done;
    }
}

impl Submission for Write {
    fn size(&self) -> usize {
        self.size
    }

    fn prepare(&mut self, batch: &mut Batch, room: StoreRoom) {
        let core = self.core.upgrade();
        if let Some(core) = &core {
            core.saw_room(room);
        }
        let mut to = Preparing {
            core: core.as_ref(),
            batch,
            room,
            now: UnixMillis::from(SystemTime::now()),
            monotonic: Instant::now(),
            broker_level: core.as_ref().map_or(Durability::Fsync, |core| core.config().durability),
            all_wait: false,
        };
        if let Some(holding) = to.holding() {
            self.first = holding.take_changes();
            self.first.iter_mut().for_each(|entry| entry.prepare(&mut to));
        }
        to.all_wait = self.done.is_some();
        self.entries.iter_mut().for_each(|entry| entry.prepare(&mut to));
    }

    fn take_back(&mut self) {
        let core = self.core.upgrade();
        for entry in self.first.iter_mut().chain(&mut self.entries) {
            entry.take_back(core.as_ref(), self.owner.as_ref());
        }
        if let Some(core) = core {
            core.holding.put_changes_back(std::mem::take(&mut self.first));
            core.see_to_held();
        }
    }

    fn finish(self, outcome: Result<(), &StoreError>) {
        let Some(core) = self.core.upgrade() else { return };
        let result = match outcome {
            Ok(()) => Finished::Durable,
            Err(error) if error.is_fatal() => Finished::Failed,
            Err(_) => Finished::NoRoom,
        };
        let mut finishing = Finishing {
            core: &core,
            owner: self.owner.as_ref(),
            result,
            asked: false,
            complete: result == Finished::Durable,
            arrivals: Arrivals::default(),
            notices: Vec::new(),
            kept: Vec::new(),
        };
        self.first.into_iter().for_each(|entry| finishing.entry(entry));
        finishing.asked = self.done.is_some();
        self.entries.into_iter().for_each(|entry| finishing.entry(entry));
        let Finishing { complete, arrivals, notices, kept, .. } = finishing;
        arrivals.post(&core);
        core.hold(None, None, kept);
        if let Some(owner) = self.owner.filter(|_| !notices.is_empty()) {
            owner.notify(notices);
        }
        if let Some(done) = self.done {
            // The one who asked may be gone, which is nobody's loss.
            let _ = done.send(if complete { Ok(()) } else { Err(()) });
        }
    }
}

/// What answers mean to a session without a connection.
pub(crate) fn answer_parked(session: &mut Session, notices: &[Notice]) {
    for notice in notices {
        match *notice {
            Notice::Routed { token, reason } => session.routed(token, reason),
            Notice::NotStored { token } => session.routed(token, ReasonCode::QuotaExceeded),
            Notice::Durable { token } => session.durable(token),
            Notice::StoreFailed | Notice::PublishWill | Notice::LookAtBans => {}
        }
    }
}

/// What the store keeps of a session.
pub(crate) fn record(
    expiry: SessionExpiry,
    owner: &str,
    will: Option<&dunlin_session::Will>,
    disconnected_at: Option<UnixMillis>,
) -> SessionRecord {
    SessionRecord {
        expiry_secs: expiry.as_secs(),
        owner: owner.into(),
        will: will.map(|will| WillRecord {
            message: Arc::clone(&will.message),
            delay_secs: will.delay_secs,
        }),
        disconnected_at,
    }
}

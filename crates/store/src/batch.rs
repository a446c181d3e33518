//! What one commit writes.

use std::sync::Arc;

use crate::change::Change;
use crate::id::{MessageId, SessionNo};
use crate::record::{Publication, Target};

/// What must be true of a batch before its commit may return.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Durability {
    /// Nothing: it may reach the disk together with a later commit. For what may be lost at the cost of a repetition.
    #[default]
    Memory,
    /// It is with the operating system: survives the end of the process, not a loss of power.
    Os,
    /// It is on stable storage.
    Fsync,
}

/// A sequence of changes that become durable together or not at all.
///
/// ```
/// use dunlin_store::{Batch, Change, Durability, MessageId, SessionNo};
///
/// let mut batch = Batch::new(MessageId::FIRST);
/// batch.push(Change::Acknowledged { session: SessionNo(7), first: 1, last: 3 });
/// assert_eq!(batch.durability(), Durability::Memory);
/// batch.require(Durability::Fsync);
/// assert_eq!(batch.durability(), Durability::Fsync);
/// ```
#[derive(Debug)]
pub struct Batch {
    changes: Vec<Change>,
    first_id: MessageId,
    next_id: MessageId,
    durability: Durability,
}

impl Batch {
    /// An empty batch that hands out message ids from `first` on.
    #[must_use]
    pub const fn new(first: MessageId) -> Self {
        Self {
            changes: Vec::new(),
            first_id: first,
            next_id: first,
            durability: Durability::Memory,
        }
    }

    /// Adds a message, which gets the next id.
    pub fn publish(&mut self, publication: impl Into<Arc<Publication>>) -> MessageId {
        let id = self.take_id();
        let publication = publication.into();
        self.changes.push(Change::Published { id, publication });
        id
    }

    /// Moves the message at place `from_seq` of the queue of `from` to the place `to`, under the next id.
    pub fn hand_over(&mut self, from: SessionNo, from_seq: u64, to: Target) -> MessageId {
        let id = self.take_id();
        self.changes.push(Change::HandedOver { id, from, from_seq, to });
        id
    }

    /// Adds a change.
    ///
    /// # Panics
    /// On [`Change::Published`] and [`Change::HandedOver`], whose ids only [`Batch::publish`] and
    /// [`Batch::hand_over`] can give.
    pub fn push(&mut self, change: Change) {
        assert!(
            !matches!(change, Change::Published { .. } | Change::HandedOver { .. }),
            "a change that takes a message id must get it from the batch"
        );
        self.changes.push(change);
    }

    /// Asks that the commit wait for at least `durability`. The strictest wish holds for the whole batch.
    pub fn require(&mut self, durability: Durability) {
        self.durability = self.durability.max(durability);
    }

    /// What the commit must wait for.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.durability
    }

    /// The changes, in order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether there is nothing to commit.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The lowest id that this batch could hand out.
    #[must_use]
    pub const fn first_id(&self) -> MessageId {
        self.first_id
    }

    /// One more than the highest id that this batch has used up. The store must keep it: after a restart no lower id
    /// may be handed out.
    #[must_use]
    pub const fn next_id(&self) -> MessageId {
        self.next_id
    }

    /// Uses up an id if no change did, so that the highest id in the store always names its last commit: a store can
    /// then tell that commits are missing at its end.
    pub(crate) fn seal(&mut self) {
        if self.next_id == self.first_id {
            self.take_id();
        }
    }

    /// Makes the batch empty for the next commit, keeping its room and going on with the ids.
    pub(crate) fn renew(&mut self) {
        self.changes.clear();
        self.first_id = self.next_id;
        self.durability = Durability::default();
    }

    const fn take_id(&mut self) -> MessageId {
        let id = self.next_id;
        self.next_id = id.next();
        id
    }
}

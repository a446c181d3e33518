//! The store in memory: what a disk would hold, without the disk.

mod apply;
mod faults;
mod retained;
mod show;
mod tables;

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dunlin_codec::TopicName;

use crate::backend::{Reader, Report, RetainedRecord, Room, Store, Visitor};
use crate::batch::Batch;
use crate::error::StoreError;
use crate::id::{MessageId, NamespaceNo};
use crate::record::Publication;

pub use faults::{Failure, Faults};
use tables::Tables;

/// A store that lives as long as the last handle on it, and the model for every other store.
///
/// A clone is a handle on the same contents: give one to a broker, keep one, and give that to the next broker as if the
/// first had been started anew. [`MemoryStore::image`] is what a broker would find if the first were killed now.
/// [`MemoryStore::faults`] makes it slow or failing at command.
///
/// Every [`Durability`](crate::Durability) is the same to it: what is committed is there for the next recovery.
#[derive(Clone, Default)]
pub struct MemoryStore {
    tables: Arc<RwLock<Tables>>,
    faults: Faults,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own with a copy of what is committed now: what stays if the process is killed at this moment.
    /// It has no faults.
    #[must_use]
    pub fn image(&self) -> Self {
        Self {
            tables: Arc::new(RwLock::new(self.read_tables().clone())),
            faults: Faults::default(),
        }
    }

    /// The faults of this store and of every handle on it.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Tables are valid between any two statements that could panic, so a poisoned lock is sound.
    fn read_tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_tables(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn outlives_process(&self) -> bool {
        false
    }

    fn recover(&mut self, visitor: &mut dyn Visitor) -> Result<Report, StoreError> {
        let mut tables = self.write_tables();
        let report = tables.show(visitor);
        tables.reopen();
        Ok(report)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.faults.before_commit()?;
        self.write_tables().apply(batch);
        self.faults.after_commit();
        Ok(())
    }

    fn room(&mut self) -> Room {
        self.faults.room()
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(MemoryReader { store: self.clone() })
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.write_tables().close();
        Ok(())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read_tables().fmt_summary(&mut f.debug_struct("MemoryStore"))
    }
}

#[derive(Debug)]
struct MemoryReader {
    store: MemoryStore,
}

impl Reader for MemoryReader {
    fn read(
        &mut self,
        ids: &[MessageId],
        each: &mut dyn FnMut(MessageId, Option<Arc<Publication>>),
    ) -> Result<(), StoreError> {
        self.store.faults.before_read()?;
        for &id in ids {
            // The lock is not held while `each` runs: it may take its time, or ask the store.
            let publication = self.store.read_tables().publication(id);
            each(id, publication);
        }
        self.store.faults.after_read(ids.len());
        Ok(())
    }

    fn read_retained(
        &mut self,
        namespace: NamespaceNo,
        topic: &TopicName,
    ) -> Result<Option<RetainedRecord>, StoreError> {
        self.store.faults.before_read()?;
        Ok(self.store.read_tables().retained(namespace, topic))
    }
}

/// An error as a disk would give it.
fn injected_error() -> io::Error {
    io::Error::other("injected fault")
}

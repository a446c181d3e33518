//! The store on disk: SQLite, with one record for each publish.
//!
//! A message is one row that holds it and the list of places it stands at; the queue of a session is a list of message ids
//! in memory, and what it has acknowledged is one small row. So a publish to a hundred sessions writes one place at the
//! end of one table, and a start needs the heads of the rows only. `docs/FORMAT.md` describes every byte.
//!
//! One connection writes and checkpoints, and the committer's thread owns it. Readers have connections of their own and
//! hold no transaction for longer than one call.

mod bytes;
mod error;
mod folder;
mod index;
mod layout;
mod messages;
mod read;
mod recover;
mod salvage;
mod schema;
mod survey;
mod tools;
mod upkeep;
mod wal;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::backend::{Reader, Report, Room, Store, StoreStatus, Visitor};
use crate::batch::Batch;
use crate::error::StoreError;
use crate::id::MessageId;
use crate::tombstones::Tombstones;

pub use error::OpenError;
pub use salvage::Salvaged;
pub use tools::{BackedUp, Checked, Stats, backup, check, repair, stats};

use error::about;
use folder::{Folder, Witness};
use index::Index;
use read::DiskReader;
use schema::{State, Writer};
use wal::Tail;
use write::Buffers;

/// How a store on disk is to be kept.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DiskOptions {
    /// Bytes that the database may hold, what is free in it left out. At this size new messages are refused; by as much
    /// more as the ballast has, the state of sessions may still grow. None: only the disk is a bound.
    pub max_bytes: Option<u64>,
    /// Bytes kept aside for the time when the disk is full, so that deletes and cursors can still be written.
    pub ballast_bytes: u64,
    /// How long what was written without waiting for stable storage may stay so.
    pub sync_interval: Duration,
    /// Whether a damaged store is put aside and begun anew with what can be read of it. Otherwise it is not opened.
    pub salvage: bool,
    /// Cursors written with one commit at the most, oldest first. Those left out follow with later commits: a loss only
    /// repeats messages, with DUP.
    pub cursors_per_commit: usize,
    /// Free bytes in the database from which on its file is made smaller.
    pub free_bytes_max: u64,
}

impl Default for DiskOptions {
    /// No bound but the disk, 64 MiB of ballast, a second, 2,000 cursors, 64 MiB of free room in the file.
    fn default() -> Self {
        Self {
            max_bytes: None,
            ballast_bytes: 64 << 20,
            sync_interval: Duration::from_secs(1),
            salvage: false,
            cursors_per_commit: 2_000,
            free_bytes_max: 64 << 20,
        }
    }
}

/// A store in a directory of its own.
pub struct DiskStore {
    folder: Folder,
    options: DiskOptions,
    writer: Writer,
    state: State,
    index: Index,
    tombstones: Tombstones,
    buffers: Buffers,
    witness: Witness,
    status: Arc<StoreStatus>,
    upkeep: upkeep::Upkeep,
    salvaged: Option<Salvaged>,
    tail: Tail,
}

impl DiskStore {
    /// Opens the store in `folder`, or makes one there.
    ///
    /// # Errors
    /// [`OpenError`], in words for the operator. Nothing was changed then.
    pub fn open(folder: &Path, options: DiskOptions) -> Result<Self, OpenError> {
        let folder = Folder::open(folder)?;
        salvage::complete(&folder)?;
        let salvaged = if options.salvage { salvage::salvage_if_damaged(&folder)? } else { None };
        let needed = options.ballast_bytes;
        let mut ballast_gone = !folder.has_ballast(needed) && folder.take_ballast(needed).is_err();
        // A store that is there is opened on a full disk too: to be drained.
        if ballast_gone && !folder.database().exists() {
            return Err(OpenError::NoRoom {
                path: folder.path().to_owned(),
                free: folder.free(),
                needed,
            });
        }
        let tail = wal::inspect(&folder.wal())
            .map_err(|error| OpenError::Folder { path: folder.wal(), error })?;
        let mut witness = folder.witness()?;
        let begin = survey::may_begin(&folder, &mut witness)?;
        folder.make_database()?;
        let writer = match Writer::open(&folder.database(), begin) {
            // To be drained it must be opened, and that too takes room for a log.
            Err(OpenError::Store { error: StoreError::Full, .. }) if !ballast_gone => {
                ballast_gone = true;
                folder
                    .drop_ballast()
                    .map_err(|error| OpenError::Folder { path: folder.path().to_owned(), error })?;
                Writer::open(&folder.database(), begin)?
            }
            writer => writer?,
        };
        // What an earlier process left in the log counts too.
        writer.wal_pages.store(u32::try_from(tail.frames).unwrap_or(u32::MAX), Ordering::Relaxed);
        let state = survey::state_beside(&folder, &writer.connection, &mut witness, &tail)?;
        let mut store = Self {
            upkeep: upkeep::Upkeep::new(state.last, needed, ballast_gone),
            folder,
            options,
            writer,
            state,
            index: Index::default(),
            tombstones: Tombstones::default(),
            buffers: Buffers::default(),
            witness,
            status: Arc::default(),
            salvaged,
            tail,
        };
        store.refresh_status();
        let max_bytes = store.options.max_bytes;
        store
            .set_max_bytes(max_bytes)
            .map_err(|error| OpenError::Store { file: store.folder.database(), error })?;
        Ok(store)
    }

    /// Changes [`DiskOptions::max_bytes`].
    ///
    /// # Errors
    /// A fatal one.
    pub fn set_max_bytes(&mut self, max_bytes: Option<u64>) -> Result<(), StoreError> {
        self.options.max_bytes = max_bytes;
        let bound = max_bytes.map(|bytes| bytes.saturating_add(self.options.ballast_bytes));
        self.writer.bound(bound).map_err(error::store_error)
    }

    /// What had to be put aside when it was opened with [`DiskOptions::salvage`]; none if it was sound.
    #[must_use]
    pub const fn salvaged(&self) -> Option<&Salvaged> {
        self.salvaged.as_ref()
    }

    /// Bytes at the end of the log that belonged to no whole commit and were cut off when it was opened: what was being
    /// written when the power went or the process was killed. Nothing of it was acknowledged.
    #[must_use]
    pub const fn torn_bytes(&self) -> u64 {
        self.tail.torn_bytes
    }

    /// The database's file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.database()
    }
}

impl Store for DiskStore {
    fn recover(&mut self, visitor: &mut dyn Visitor) -> Result<Report, StoreError> {
        self.load(visitor).map_err(|error| about(&self.folder.database(), error))
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let written = self.write(batch);
        if matches!(written, Err(StoreError::Full)) {
            self.found_full();
        }
        written.map_err(|error| about(&self.folder.database(), error))
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(DiskReader::new(self.folder.database()))
    }

    fn room(&mut self) -> Room {
        self.room_now()
    }

    fn look_after(&mut self, idle: bool) -> Result<Option<Duration>, StoreError> {
        self.keep_up(idle, Instant::now()).map_err(|error| about(&self.folder.database(), error))
    }

    fn status(&self) -> Arc<StoreStatus> {
        Arc::clone(&self.status)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.write_all_out().map_err(|error| about(&self.folder.database(), error))
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore")
            .field("folder", &self.folder.path())
            .field("sessions", &self.index.len())
            .field("messages", &self.index.messages.rows())
            .field("last", &self.state.last)
            .finish_non_exhaustive()
    }
}

/// The last id, as far as commits are known to be on stable storage.
#[derive(Clone, Copy, Debug)]
struct Progress {
    synced: MessageId,
    witnessed: MessageId,
}

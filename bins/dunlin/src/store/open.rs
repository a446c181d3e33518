//! A data directory as a store that is open, or one message why it cannot be.

use std::path::{Path, PathBuf};

use dunlin_store::{DiskOptions, DiskStore, MemoryStore, OpenError, Store, StoreError};

use crate::configuration::{Backend, Configuration};
use crate::failure::Failure;

/// Stands in a data directory while an export is read into it: what is there is a part of something.
const UNFINISHED: &str = "import.unfinished";

/// The store that a broker is to run on.
pub(crate) fn open(
    configuration: &Configuration,
    salvage: bool,
) -> Result<Box<dyn Store>, Failure> {
    let store = &configuration.store;
    match store.backend {
        Backend::Memory => {
            tracing::warn!(event = "store_in_memory", "nothing that is kept survives this process");
            Ok(Box::new(MemoryStore::new()))
        }
        Backend::Disk => {
            let mut options = DiskOptions::default();
            options.max_bytes = store.max_bytes;
            options.ballast_bytes = store.ballast_bytes;
            options.sync_interval = store.sync_interval;
            options.salvage = salvage;
            let store = open_disk(&configuration.data_dir, options)?;
            tell(&store);
            Ok(Box::new(store))
        }
    }
}

/// What an operator has to know about the store that was opened.
fn tell(store: &DiskStore) {
    let bytes = store.torn_bytes();
    if bytes > 0 {
        tracing::warn!(
            event = "torn_tail_cut",
            bytes,
            "cut off what was being written when the last run ended; nothing of it was acknowledged"
        );
    }
    let Some(salvaged) = store.salvaged() else { return };
    for line in salvaged.to_string().lines() {
        tracing::warn!(event = "salvaged", "{line}");
    }
}

pub(super) fn open_disk(folder: &Path, options: DiskOptions) -> Result<DiskStore, Failure> {
    refuse_unfinished(folder)?;
    DiskStore::open(folder, options).map_err(|error| refused(&error))
}

pub(super) fn unfinished(folder: &Path) -> PathBuf {
    folder.join(UNFINISHED)
}

fn refuse_unfinished(folder: &Path) -> Result<(), Failure> {
    if !unfinished(folder).exists() {
        return Ok(());
    }
    Err(Failure::DataDir(format!(
        "the data directory {} holds a part of an import that was cut off: remove it and import again",
        folder.display()
    )))
}

/// Damage has an exit code of its own.
pub(super) fn refused(error: &OpenError) -> Failure {
    let mut message = error.to_string();
    if let OpenError::Store { error: StoreError::Io(cause), .. } = error {
        message.push_str(&format!(": {cause}"));
    }
    if matches!(error, OpenError::Damaged { .. }) {
        Failure::Damaged(message)
    } else {
        Failure::DataDir(message)
    }
}

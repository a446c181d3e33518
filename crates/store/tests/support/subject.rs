//! What a model test needs of a back-end: to fail at command, to be killed, to be opened again.

use std::fs;
use std::path::Path;

use dunlin_store::{Batch, DiskOptions, DiskStore, Failure, MemoryStore, Store, StoreError};
use tempfile::TempDir;

pub trait Subject: Sized {
    fn new() -> Self;
    fn store(&mut self) -> &mut dyn Store;
    /// Commits a batch as if there were no room. It may succeed all the same, where it takes none.
    fn commit_without_room(&mut self, batch: &Batch) -> Result<(), StoreError>;
    /// What a kill at this moment would leave.
    fn image(&self) -> Self;
    /// Ends in order and begins again.
    fn reopen(&mut self);
    /// Does what was put off.
    fn catch_up(&mut self) {}
}

impl Subject for MemoryStore {
    fn new() -> Self {
        Self::new()
    }

    fn store(&mut self) -> &mut dyn Store {
        self
    }

    fn commit_without_room(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.faults().fail_next(Failure::Full);
        self.commit(batch)
    }

    fn image(&self) -> Self {
        self.image()
    }

    fn reopen(&mut self) {}
}

/// A store on disk in a directory that goes with it.
pub struct Disk {
    store: Option<DiskStore>,
    folder: TempDir,
}

/// No ballast, so that a test does not write 64 MiB.
pub fn options() -> DiskOptions {
    let mut options = DiskOptions::default();
    options.ballast_bytes = 0;
    options
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // The index of the log is made anew from the log.
        if !entry.file_name().to_str().unwrap().ends_with("-shm") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

impl Disk {
    pub fn on(folder: TempDir) -> Self {
        let store = Some(DiskStore::open(folder.path(), options()).unwrap());
        Self { store, folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn disk(&mut self) -> &mut DiskStore {
        self.store.as_mut().unwrap()
    }
}

impl Subject for Disk {
    fn new() -> Self {
        Self::on(TempDir::new().unwrap())
    }

    fn store(&mut self) -> &mut dyn Store {
        self.disk()
    }

    fn commit_without_room(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.disk().set_max_bytes(Some(1)).unwrap();
        let committed = self.disk().commit(batch);
        self.disk().set_max_bytes(None).unwrap();
        committed
    }

    fn image(&self) -> Self {
        let folder = TempDir::new().unwrap();
        copy(self.folder.path(), folder.path());
        Self::on(folder)
    }

    fn reopen(&mut self) {
        self.disk().close().unwrap();
        // The lock goes with it.
        self.store = None;
        self.store = Some(DiskStore::open(self.folder.path(), options()).unwrap());
    }

    fn catch_up(&mut self) {
        for _ in 0..8 {
            self.disk().look_after(true).unwrap();
        }
    }
}

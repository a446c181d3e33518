//! The data directory: who may use it, and the small files beside the database.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs4::{FileExt as _, available_space};

use super::bytes::{Bytes, seal, unseal};
use super::error::OpenError;
use crate::id::MessageId;

const DATABASE: &str = "store.sqlite3";
const LOCK: &str = "lock";
const WITNESS: &str = "witness";
const BALLAST: &str = "ballast";

/// What the witness file begins with.
const WITNESS_MAGIC: &[u8; 4] = b"DUNW";

/// A data directory, used by this process alone while this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held locked.
    _lock: File,
}

impl Folder {
    /// Makes the directory if it is not there, readable by its owner only, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Folder { path: path.to_owned(), error };
        make(path).map_err(failed)?;
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        owner_only(&mut options);
        let mut lock = options
            .open(&lock_path)
            .map_err(|error| OpenError::Folder { path: lock_path.clone(), error })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                    holder: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(OpenError::Folder { path: lock_path, error });
            }
        }
        // For whoever finds it locked.
        let holder = format!("process {}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.write_all(holder.as_bytes()))
            .map_err(|error| OpenError::Folder { path: lock_path, error })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn database(&self) -> PathBuf {
        database(&self.path)
    }

    pub(super) fn wal(&self) -> PathBuf {
        wal(&self.path)
    }

    /// Makes the database's file, so that it and what SQLite puts beside it can be read by its owner only.
    pub(super) fn make_database(&self) -> Result<(), OpenError> {
        make_database(&self.path)
    }

    /// Bytes that may still be written to the disk. A system that does not say has all.
    pub(super) fn free(&self) -> u64 {
        available_space(&self.path).unwrap_or(u64::MAX)
    }

    // ---- The ballast ----

    /// Room that is kept for the time when there is no other: given back, deletes and cursors can be written.
    pub(super) fn has_ballast(&self, bytes: u64) -> bool {
        fs::metadata(self.path.join(BALLAST)).is_ok_and(|file| file.len() >= bytes)
    }

    /// Takes the room of the ballast; leaves nothing behind if there is not enough.
    pub(super) fn take_ballast(&self, bytes: u64) -> io::Result<()> {
        let path = self.path.join(BALLAST);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        owner_only(&mut options);
        let taken = options.open(&path).and_then(|file| {
            file.allocate(bytes)?;
            file.sync_all()
        });
        if taken.is_err() {
            let _ = fs::remove_file(&path);
        }
        taken
    }

    pub(super) fn drop_ballast(&self) -> io::Result<()> {
        match fs::remove_file(self.path.join(BALLAST)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_folder(&self.path),
        }
    }

    // ---- The witness ----

    /// The file that knows how far the store had come.
    pub(super) fn witness(&self) -> Result<Witness, OpenError> {
        let path = self.path.join(WITNESS);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        owner_only(&mut options);
        let file =
            options.open(&path).map_err(|error| OpenError::Folder { path: path.clone(), error })?;
        Ok(Witness { file, path })
    }
}

pub(super) fn database(folder: &Path) -> PathBuf {
    folder.join(DATABASE)
}

pub(super) fn make_database(folder: &Path) -> Result<(), OpenError> {
    let path = database(folder);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    owner_only(&mut options);
    options.open(&path).map_err(|error| OpenError::Folder { path, error })?;
    sync_folder(folder).map_err(|error| OpenError::Folder { path: folder.to_owned(), error })
}

pub(super) fn wal(folder: &Path) -> PathBuf {
    folder.join(format!("{DATABASE}-wal"))
}

/// The files that make up the store, the lock and the ballast left out.
pub(super) fn files(folder: &Path) -> [PathBuf; 4] {
    [database(folder), wal(folder), folder.join(format!("{DATABASE}-shm")), folder.join(WITNESS)]
}

/// Makes a directory, readable by its owner only.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // The new name is durable too. A parent that cannot be opened was there before.
        let _ = sync_folder(parent);
    }
    Ok(())
}

fn owner_only(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    let _ = options;
}

/// Makes what was created, renamed or removed in a directory durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(path)?.sync_all()?;
    let _ = path;
    Ok(())
}

/// The highest id whose commit is on stable storage, beside the database: a store whose last commit is older than that has
/// lost what was acknowledged.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    path: PathBuf,
}

impl Witness {
    /// None if nothing was written yet.
    pub(super) fn read(&mut self) -> Result<Option<MessageId>, OpenError> {
        let failed = |error| OpenError::Folder { path: self.path.clone(), error };
        let mut sealed = Vec::new();
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        (&self.file).take(64).read_to_end(&mut sealed).map_err(failed)?;
        // It was being made when the power went, and says nothing.
        if sealed.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let read = || {
            let mut bytes = Bytes(unseal(&sealed, &[WITNESS_MAGIC])?.strip_prefix(WITNESS_MAGIC)?);
            let id = bytes.u64()?;
            bytes.end()?;
            Some(MessageId(id))
        };
        match read() {
            Some(id) => Ok(Some(id)),
            None => Err(OpenError::Damaged {
                file: self.path.clone(),
                what: "its checksum is wrong".into(),
                more: 0,
            }),
        }
    }

    /// Writes it in place: 16 bytes that no disk tears apart.
    pub(super) fn write(&mut self, id: MessageId) -> io::Result<()> {
        let mut sealed = WITNESS_MAGIC.to_vec();
        sealed.extend_from_slice(&id.0.to_le_bytes());
        seal(&mut sealed, 0, &[WITNESS_MAGIC]);
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&sealed)?;
        self.file.sync_data()
    }
}

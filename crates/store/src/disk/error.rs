//! Why a data directory cannot be opened, in words for whoever runs the broker.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ffi;

use crate::error::StoreError;

/// Why a store on disk was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory, or a file in it, cannot be made, read or written.
    #[error("{} cannot be used as part of the data directory: {error}", path.display())]
    Folder {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Another process has it.
    #[error(
        "the data directory {} is in use by {holder}: stop that one, or choose another directory with --data-dir",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, such as "process 4711".
        holder: String,
    },
    /// A later version of this program wrote it.
    #[error(
        "{} has format {found}, and this version reads up to format {known}: run the version that wrote it, or a later one",
        file.display()
    )]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// It holds what was never written, or does not hold what was.
    #[error("the store is damaged: {}", damage(file, what, *more))]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Which record, and what is wrong with it.
        what: Box<str>,
        /// Records beside this one in which something is wrong.
        more: u64,
    },
    /// The SQLite library in this program must not be used.
    #[error(
        "this program was built with SQLite {found}, which can damage a store: {needed} or later is needed"
    )]
    Library {
        /// Its version.
        found: String,
        /// The first one without that fault.
        needed: &'static str,
    },
    /// The directory is to be filled, and is not empty.
    #[error("the data directory {} holds a store already: choose an empty one with --data-dir", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// There is no store to look at.
    #[error("there is no store in {}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// There is no room to begin with.
    #[error(
        "the disk of the data directory {} has {free} bytes free, and {needed} are needed to start: make room, or \
         lower store.ballast_bytes", path.display()
    )]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// Reading or writing failed.
    #[error("{}: {error}", file.display())]
    Store {
        /// The database.
        file: PathBuf,
        /// What failed.
        #[source]
        error: StoreError,
    },
}

impl OpenError {
    /// A failure of the store in `file`.
    pub(super) fn store(file: &Path, error: StoreError) -> Self {
        let file = file.to_owned();
        if let StoreError::Corrupt(what) = error {
            return Self::Damaged { file, what, more: 0 };
        }
        Self::Store { file, error }
    }
}

/// Which file, which record, and what to do.
fn damage(file: &Path, what: &str, more: u64) -> String {
    format!(
        "{}: {}. Nothing was changed. Restore a backup; or look at all of it with `dunlin store check`, and start once \
         with --salvage, which puts the damaged files aside and lists what is lost",
        file.display(),
        counted(what, more)
    )
}

/// The first thing that is wrong, and how many others are.
pub(super) fn counted(what: &str, more: u64) -> String {
    match more {
        0 => what.to_owned(),
        1 => format!("{what}, and 1 other record is wrong"),
        more => format!("{what}, and {more} other records are wrong"),
    }
}

/// What SQLite says, as what follows from it.
pub(super) fn store_error(error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode;
    // A value of another kind than was written, or a text that is none.
    let rusqlite::Error::SqliteFailure(cause, _) = &error else {
        return StoreError::Corrupt(error.to_string().into());
    };
    // The index of the log grows in memory that the disk has to have room for.
    let no_room =
        [ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMMAP].contains(&cause.extended_code);
    if cause.code == ErrorCode::DiskFull || no_room {
        StoreError::Full
    } else if matches!(cause.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) {
        StoreError::Corrupt(error.to_string().into())
    } else {
        let doing = doing(cause.extended_code);
        StoreError::Io(io::Error::other(format!(
            "{error}{doing} (SQLite code {})",
            cause.extended_code
        )))
    }
}

/// What the system refused.
fn doing(extended_code: i32) -> &'static str {
    match extended_code {
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => " when it was synced to the disk",
        ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_TRUNCATE => " when it was written",
        ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ => " when it was read",
        _ => "",
    }
}

/// The error with the file that it is about, where it does not say so itself.
pub(super) fn about(file: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Io(error) => {
            StoreError::Io(io::Error::new(error.kind(), format!("{}: {error}", file.display())))
        }
        StoreError::Corrupt(what) => StoreError::Corrupt(damage(file, &what, 0).into()),
        other @ (StoreError::Full | StoreError::Stalled { .. } | StoreError::Stopped) => other,
    }
}

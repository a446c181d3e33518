//! What can go wrong with a store, and what follows.

use std::io;

/// Why a commit, a read or a recovery failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no room. The commit left nothing behind, and a later one may succeed.
    #[error("the store is full")]
    Full,
    /// Reading or writing failed. What was written is not known, so nothing may be acknowledged any more.
    #[error("the store cannot be read or written: {0}")]
    Io(io::Error),
    /// The store holds something that it never wrote.
    #[error("the store is damaged: {0}")]
    Corrupt(Box<str>),
    /// The committer's thread did not get on. What it waits for may never come, so nothing more is acknowledged.
    #[error("the store has not answered for {seconds} seconds, and is busy with {doing}")]
    Stalled {
        /// What it was doing.
        doing: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// The committer ended by a panic: a bug, here or in a submission. Nothing more is acknowledged.
    #[error("the committer of the store has stopped")]
    Stopped,
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl StoreError {
    /// Whether nothing may be acknowledged any more until the store is opened again.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::Full)
    }
}

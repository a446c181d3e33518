//! One thing that is wrong, and where.

use std::fmt;
use std::path::PathBuf;

/// Printed as `path:line: words`, which editors turn into a link.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Finding {
    pub(crate) path: PathBuf,
    /// Counted from 1; 0 where the finding is about the whole file.
    pub(crate) line: usize,
    pub(crate) words: String,
}

impl Finding {
    pub(crate) fn in_file(path: impl Into<PathBuf>, words: impl Into<String>) -> Self {
        Self::at(path, 0, words)
    }

    pub(crate) fn at(path: impl Into<PathBuf>, line: usize, words: impl Into<String>) -> Self {
        Self { path: path.into(), line, words: words.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.line {
            0 => write!(f, "{path}: {}", self.words),
            line => write!(f, "{path}:{line}: {}", self.words),
        }
    }
}

//! What is wrong in a file, and in which line.

use std::fmt;

use crate::rule::Origin;

/// One thing to put right, in one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where it stands.
    pub origin: Origin,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// The lines of a text, found by offset.
#[derive(Debug)]
pub(crate) struct Lines {
    file: std::sync::Arc<str>,
    /// Where each line but the first begins.
    starts: Vec<usize>,
}

impl Lines {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let starts = text.match_indices('\n').map(|(offset, _)| offset + 1).collect();
        Self { file: file.into(), starts }
    }

    pub(crate) fn origin(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset) + 1;
        self.at_line(line)
    }

    pub(crate) fn at_line(&self, line: usize) -> Origin {
        Origin { file: std::sync::Arc::clone(&self.file), line }
    }

    pub(crate) fn problem(&self, offset: usize, message: impl Into<String>) -> Problem {
        Problem { origin: self.origin(offset), message: message.into() }
    }
}

//! What is wrong with a configuration, and where it stands.

use std::fmt;
use std::rc::Rc;

/// Where a value was given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// A line of the configuration file, counted from 1.
    File { name: Rc<str>, line: usize },
    /// An environment variable.
    Variable(String),
    /// An option of the command line, with its value if that helps.
    Flag(String),
    /// A section of the configuration, wherever it was said.
    Section(String),
    /// Nowhere: it is the default, and another value does not go with it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
            Self::Section(name) => write!(f, "[{name}]"),
            Self::Default => f.write_str("configuration"),
        }
    }
}

/// One thing to put right, in one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    pub(crate) origin: Origin,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(origin: Origin, message: impl Into<String>) -> Self {
        Self { origin, message: message.into() }
    }
}

/// Of a file of rules.
impl From<dunlin_access::Problem> for Problem {
    fn from(dunlin_access::Problem { origin, message }: dunlin_access::Problem) -> Self {
        Self::new(Origin::File { name: (&*origin.file).into(), line: origin.line }, message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

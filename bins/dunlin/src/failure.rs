//! Why `dunlin` did not run to a good end, and the exit code that says so to scripts.

use std::fmt;

use crate::problem::Problem;

/// The end of a run that was not asked for. Its text is one line per thing to put right.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The broker or its runtime failed.
    Run(String),
    /// The command line was not understood.
    Usage(String),
    /// The configuration was refused.
    Configuration(Vec<Problem>),
    /// The running broker refuses a configuration, in its own words.
    Refused(String),
    /// An address could not be opened.
    Listen(String),
    /// The data directory cannot be used.
    DataDir(String),
    /// The store is damaged.
    Damaged(String),
    /// What was asked has an answer, which is no and has been printed.
    AnswerIsNo,
}

impl Failure {
    /// Part of the interface: `--help` and `docs/CONFIGURATION.md` list these.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Run(_) => 1,
            Self::Usage(_) => 2,
            Self::Configuration(_) | Self::Refused(_) => 3,
            Self::Listen(_) => 4,
            Self::DataDir(_) => 5,
            Self::Damaged(_) => 6,
            Self::AnswerIsNo => 7,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(problems) => {
                problems.iter().try_for_each(|problem| writeln!(f, "dunlin: {problem}"))
            }
            Self::Refused(text) => f.write_str(text),
            Self::AnswerIsNo => Ok(()),
            Self::Run(message)
            | Self::Usage(message)
            | Self::Listen(message)
            | Self::DataDir(message)
            | Self::Damaged(message) => {
                writeln!(f, "dunlin: {message}")
            }
        }
    }
}

//! `dunlin store`: what an operator does with a data directory beside running a broker on it.

mod export;
mod import;
mod line;
mod open;
mod show;
mod take;
#[cfg(test)]
mod tests;
mod tools;
mod transfer;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dunlin_access::nearest;

use crate::failure::Failure;

pub(crate) use open::open;

pub(crate) const HELP: &str = "\
dunlin store: what is kept in the data directory

Usage: dunlin store check [OPTIONS]          read everything and say whether it is sound; exit code 6 if not
       dunlin store repair [OPTIONS]         put aside what cannot be read and say what was lost by it
       dunlin store stats [OPTIONS]          sizes and counts
       dunlin store export [FILE] [OPTIONS]  write everything as lines of JSON, to standard output without FILE
       dunlin store import FILE [OPTIONS]    read an export (`-`: from standard input) into a new data directory
       dunlin store backup DIR [OPTIONS]     copy the store to the new folder DIR, also while a broker runs on it

check, repair, export and import need the data directory for themselves: stop the broker first, or work on a backup.
A backup is a data directory: `dunlin --data-dir DIR` runs on it.

Options:
      --data-dir DIR     the data directory; ./data by default
  -c, --config FILE      the broker's file, for its data_dir
      --log LEVEL        as `dunlin --help` says; so does --log-format
  -h, --help             this text

What an export holds is described in docs/EXPORT.md, what is safe when in docs/DURABILITY.md.

Exit codes: 0 done, and the store is sound; 1 failed; 2 command line not understood; 3 configuration refused;
5 the data directory cannot be used; 6 the store is damaged
";

/// What to do with a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum StoreCommand {
    Check,
    Repair,
    Stats,
    /// None: to standard output.
    Export(Option<PathBuf>),
    Import(PathBuf),
    Backup(PathBuf),
}

const COMMANDS: [&str; 6] = ["check", "repair", "stats", "export", "import", "backup"];

impl StoreCommand {
    /// The words after `store`. What is left of them belongs to no command.
    pub(crate) fn read(words: &mut impl Iterator<Item = OsString>) -> Result<Self, Failure> {
        let usage = |message: String| Failure::Usage(message);
        let word = words.next().ok_or_else(|| {
            usage("`dunlin store` needs a command: see dunlin store --help".to_owned())
        })?;
        let mut path = |what: &str| {
            let path = words.next().map(PathBuf::from);
            path.ok_or_else(|| usage(format!("`dunlin store {}` needs a {what}", word.display())))
        };
        Ok(match &*word.to_string_lossy() {
            "check" => Self::Check,
            "repair" => Self::Repair,
            "stats" => Self::Stats,
            "export" => Self::Export(words.next().map(PathBuf::from)),
            "import" => Self::Import(path("file")?),
            "backup" => Self::Backup(path("folder")?),
            name => {
                let near = nearest(name, COMMANDS.into_iter());
                let advice = near.map_or_else(
                    || "see dunlin store --help".to_owned(),
                    |near| format!("did you mean {near}?"),
                );
                return Err(usage(format!("unknown command store {name}: {advice}")));
            }
        })
    }
}

impl StoreCommand {
    /// Does it to the store in `folder`.
    pub(crate) fn run(&self, folder: &Path) -> Result<(), Failure> {
        match self {
            Self::Check => tools::check(folder),
            Self::Repair => tools::repair(folder),
            Self::Stats => tools::stats(folder),
            Self::Export(file) => transfer::export_to(folder, file.as_deref()),
            Self::Import(file) => transfer::import_from(folder, file),
            Self::Backup(to) => tools::backup(folder, to),
        }
    }

    /// Where it copies the store to, if it does.
    pub(crate) fn copies_to(&self) -> Option<&Path> {
        match self {
            Self::Backup(to) => Some(to),
            Self::Check | Self::Repair | Self::Stats | Self::Export(_) | Self::Import(_) => None,
        }
    }
}

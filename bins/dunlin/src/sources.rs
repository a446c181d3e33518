//! Where the configuration comes from, read as often as it is wanted: at the start, and at each reload.

use std::path::{Path, PathBuf};

use crate::args::Arguments;
use crate::configuration::{Assembled, Sources, assemble};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::file;
use crate::problem::Problem;

/// A good configuration with what is odd about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) assembled: Assembled,
    pub(crate) warnings: Vec<Problem>,
}

/// A configuration file's content in the place of the file itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Candidate {
    /// What messages call it.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The file that arguments and environment name, if they name one.
pub(crate) fn path(arguments: &Arguments) -> Option<PathBuf> {
    let environment = Environment::read(std::env::vars_os());
    arguments.config.clone().or_else(|| environment.config.map(PathBuf::from))
}

/// Reads all sources in rising order: file, environment, command line.
pub(crate) fn load(arguments: &Arguments) -> Result<Loaded, Failure> {
    let file = path(arguments);
    load_from(arguments, || file.as_deref().map_or(Ok(Vec::new()), file::read))
}

/// The same with other content in the place of the file.
pub(crate) fn load_candidate(
    arguments: &Arguments,
    candidate: &Candidate,
) -> Result<Loaded, Failure> {
    load_from(arguments, || file::parse(&candidate.name, &candidate.text))
}

fn load_from(
    arguments: &Arguments,
    file: impl FnOnce() -> Result<Vec<crate::configuration::Assignment>, Vec<Problem>>,
) -> Result<Loaded, Failure> {
    let environment = Environment::read(std::env::vars_os());
    if !environment.problems.is_empty() {
        return Err(Failure::Configuration(environment.problems));
    }
    let mut assignments = file().map_err(Failure::Configuration)?;
    assignments.extend(environment.assignments);
    assignments.extend(arguments.assignments.iter().cloned());
    let listen =
        if arguments.listen.is_empty() { environment.listen } else { arguments.listen.clone() };
    let allow_anonymous = arguments.allow_anonymous.clone().or(environment.allow_anonymous);
    let assembled = assemble(Sources { assignments, listen, allow_anonymous })
        .map_err(Failure::Configuration)?;
    Ok(Loaded { assembled, warnings: environment.warnings })
}

/// What a file looks like from outside: whether it has changed, without reading it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Look(Option<(std::time::SystemTime, u64)>);

impl Look {
    /// Follows links, so that a link that points elsewhere is a change.
    pub(crate) fn at(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))))
    }
}

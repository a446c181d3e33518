//! `dunlin import mosquitto`: a configuration from Mosquitto's, and line by line what could not be carried.

mod conf;
mod listener;
mod plan;
#[cfg(test)]
mod tests;
mod write;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use dunlin_access::{parse_mosquitto_acl, write_rules};
use lexopt::{Arg, Parser};

use crate::acl;
use crate::failure::Failure;
use crate::import::conf::{CONF_BYTES_MAX, Conf};
use crate::import::plan::Plan;
use crate::problem::{Origin, Problem};

pub(crate) const HELP: &str = "\
dunlin import: a configuration from another broker's

Usage: dunlin import mosquitto --conf mosquitto.conf [--to FOLDER]

Writes dunlin.toml, and acl.toml if there is an acl_file, to FOLDER, or to the current one. Files that are there already are
not overwritten. On standard output stands line by line what could not be carried, or means something else here:
look at each before you start the broker.

Options:
      --conf FILE        Mosquitto's configuration; files of its include_dir are read too
      --to FOLDER        where to write
";

/// What becomes of a configuration of Mosquitto's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Imported {
    /// The configuration, as `dunlin.toml` holds it. Rules of an `acl_file` are not in it.
    pub configuration: String,
    /// What could not be carried, or means something else, each with its line.
    pub remarks: Vec<String>,
}

/// Makes a configuration of the text of a `mosquitto.conf`. Nothing is read but this text: what its `include_dir` names is for
/// the caller to append.
#[must_use]
pub fn import_mosquitto(text: &str) -> Imported {
    let mut conf = Conf::default();
    conf.read(&"mosquitto.conf".into(), text);
    let plan = Plan::of(&conf);
    Imported {
        configuration: write::configuration(&plan),
        remarks: plan.remarks.iter().map(ToString::to_string).collect(),
    }
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ImportCommand {
    Help,
    Mosquitto { conf: PathBuf, to: PathBuf },
}

impl ImportCommand {
    /// Reads what follows the word `import`.
    pub(crate) fn read(parser: &mut Parser) -> Result<Self, Failure> {
        let (mut broker, mut conf, mut to) = (None, None, PathBuf::from("."));
        let usage = |error: lexopt::Error| refused(&format!("{error}: see dunlin import --help"));
        while let Some(argument) = parser.next().map_err(usage)? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => return Ok(Self::Help),
                Arg::Value(word) if broker.is_none() && word == "mosquitto" => broker = Some(word),
                Arg::Value(word) => {
                    let message =
                        format!("unexpected word {}: see dunlin import --help", word.display());
                    return Err(refused(&message));
                }
                Arg::Long("conf") => conf = Some(PathBuf::from(parser.value().map_err(usage)?)),
                Arg::Long("to") => to = PathBuf::from(parser.value().map_err(usage)?),
                Arg::Long(name) => {
                    return Err(refused(&format!(
                        "unknown option --{name}: see dunlin import --help"
                    )));
                }
                Arg::Short(letter) => {
                    return Err(refused(&format!(
                        "unknown option -{letter}: see dunlin import --help"
                    )));
                }
            }
        }
        match (broker, conf) {
            (None, _) => {
                Err(refused("`dunlin import` needs a broker: dunlin import mosquitto --conf FILE"))
            }
            (Some(_), None) => Err(refused("`dunlin import mosquitto` needs a file: --conf FILE")),
            (Some(_), Some(conf)) => Ok(Self::Mosquitto { conf, to }),
        }
    }

    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Help => print(HELP),
            Self::Mosquitto { conf, to } => {
                let mut read = Conf::default();
                read_conf(&mut read, &conf, true)?;
                let mut plan = Plan::of(&read);
                let rules = rules(&mut plan, &conf)?;
                let to = std::path::absolute(&to)
                    .map_err(|error| Failure::Run(format!("{}: {error}", to.display())))?;
                plan.place_rules(&to.join("acl.toml").display().to_string());
                write_new(&to.join("dunlin.toml"), &write::configuration(&plan))?;
                if let Some(rules) = &rules {
                    write_new(&to.join("acl.toml"), rules)?;
                }
                print(&report(&plan, &to, rules.is_some()))
            }
        }
    }
}

/// Reads a file and those of its `include_dir`, which include no further ones, as with Mosquitto.
fn read_conf(conf: &mut Conf, path: &Path, follows: bool) -> Result<(), Failure> {
    let text = acl::read(path)?;
    let name: Rc<str> = path.display().to_string().into();
    if text.len() > CONF_BYTES_MAX {
        let problem = Problem::new(
            Origin::Flag(name.to_string()),
            format!("more than {CONF_BYTES_MAX} bytes"),
        );
        return Err(Failure::Configuration(vec![problem]));
    }
    conf.read(&name, &text);
    let folders: Vec<PathBuf> = conf
        .global
        .iter()
        .filter(|line| line.file == name && line.keyword == "include_dir")
        .map(|line| PathBuf::from(&line.value))
        .collect();
    for folder in folders.iter().filter(|_| follows) {
        for file in conf_files(folder)? {
            read_conf(conf, &file, false)?;
        }
    }
    Ok(())
}

/// The files `*.conf` of a folder, sorted as Mosquitto reads them.
fn conf_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: io::Error| {
        let origin = Origin::Flag(folder.display().to_string());
        Failure::Configuration(vec![Problem::new(origin, format!("cannot be read: {error}"))])
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The rules of the first file that is named, as a file of ours; remarks go to the plan.
fn rules(plan: &mut Plan, conf: &Path) -> Result<Option<String>, Failure> {
    let mut files: Vec<String> = plan.rules.iter().map(|line| line.value.clone()).collect();
    files.dedup();
    let Some(file) = files.first() else { return Ok(None) };
    // Mosquitto takes a path from where it is started; beside its configuration is where it mostly is.
    let beside = conf.parent().map(|folder| folder.join(file)).filter(|path| path.exists());
    let path = beside.unwrap_or_else(|| PathBuf::from(file));
    let acl = parse_mosquitto_acl(&path.display().to_string(), &acl::read(&path)?);
    plan.remarks.extend(acl.remarks.into_iter().map(Problem::from));
    for line in plan.rules.iter().filter(|line| line.value != *file) {
        let origin = Origin::File { name: Rc::clone(&line.file), line: line.number };
        let message = format!("`acl_file {}`: only the first file of rules is written", line.value);
        plan.remarks.push(Problem::new(origin, message));
    }
    Ok(Some(write_rules(&acl.rules)))
}

fn report(plan: &Plan, to: &Path, has_rules: bool) -> String {
    let files = if has_rules { "dunlin.toml and acl.toml" } else { "dunlin.toml" };
    let mut out = format!("{files} written to {}\n", to.display());
    if plan.remarks.is_empty() {
        out += "everything was carried\n";
        return out;
    }
    out += "what could not be carried, or means something else here:\n";
    for remark in &plan.remarks {
        out += &format!("  {remark}\n");
    }
    out
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::Run(format!("{}: {error}", path.display())))
}

fn refused(message: &str) -> Failure {
    Failure::Usage(message.to_owned())
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::Run(format!("cannot write: {error}")))
}

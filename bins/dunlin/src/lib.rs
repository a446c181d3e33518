//! `dunlin`, the MQTT broker as a program: command line, configuration, log, signals and runtime.
//!
//! Everything about MQTT is in the library `dunlin-broker`, which any program can embed. This one holds what the program is made
//! of, so that others can use what needs no broker: [`import_mosquitto`] reads a configuration of Mosquitto's without touching a file.

mod acl;
mod args;
mod audit_file;
mod authentication;
mod ban;
mod configuration;
#[cfg(unix)]
mod control;
mod environment;
mod failure;
mod file;
mod import;
mod log_lines;
mod lookup_login;
mod notation;
mod problem;
mod quota;
mod reload;
mod rules;
mod run;
#[cfg(unix)]
mod service;
mod service_login;
mod settings;
mod sources;
mod store;
mod telemetry;
mod token_login;
mod user;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use dunlin_broker::audit::TARGET as AUDIT_TARGET;

use crate::args::{Arguments, Command, HELP};
use crate::authentication::Authentication;
use crate::ban::BanCommand;
use crate::configuration::{Backend, Configuration};
use crate::failure::Failure;
use crate::problem::Problem;
use crate::sources::{Loaded, load};
use crate::telemetry::LogHandle;

pub use crate::import::{Imported, import_mosquitto};

/// The program: reads the command line, does what it says, and gives the exit code that says how that ended.
#[must_use]
pub fn main() -> ExitCode {
    match dunlin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = write!(io::stderr(), "{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dunlin() -> Result<(), Failure> {
    let mut arguments = Arguments::read(std::env::args_os().skip(1))?;
    let salvage = arguments.salvage;
    match std::mem::take(&mut arguments.command) {
        Command::Help => print(HELP),
        Command::Acl(command) => command.run(),
        Command::Ban(command) => ask_about_bans(&arguments, &command),
        Command::Import(command) => command.run(),
        Command::StoreHelp => print(store::HELP),
        Command::UserHelp => print(user::HELP),
        Command::User(command) => {
            let file = std::mem::take(&mut arguments.user.file);
            let options = std::mem::take(&mut arguments.user);
            let file = match file {
                Some(file) => file,
                None => user::file_of(&load(&arguments)?.assembled.configuration)?,
            };
            print(&command.run(&file, &options)?)
        }
        Command::Store(command) => {
            let loaded = load(&arguments)?;
            let Configuration { data_dir, audit, .. } = &loaded.assembled.configuration;
            let log = log_to(&loaded.assembled.configuration)?;
            let ran = command.run(data_dir);
            if let (Ok(()), Some(to), Some(_)) = (&ran, command.copies_to(), &audit.file) {
                // The broker that runs on the folder does not know of it.
                tracing::info!(
                    target: AUDIT_TARGET, event = "store_backup", from = %data_dir.display(),
                    to = %to.display(), "the store was copied"
                );
            }
            log.finish();
            ran
        }
        Command::Version => print(concat!("dunlin ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Config if arguments.defaults => print(&file::write(&Configuration::default())),
        Command::Config => print(&file::write(&load(&arguments)?.assembled.configuration)),
        Command::Check => {
            let loaded = load(&arguments)?;
            check(&loaded)?;
            if arguments.diff { diff(&arguments, &loaded) } else { Ok(()) }
        }
        Command::Run => {
            // While the process has one thread.
            #[cfg(unix)]
            let inherited = dunlin_broker::Inherited::from_env();
            let loaded = load(&arguments)?;
            let log = log_to(&loaded.assembled.configuration)?;
            for Problem { origin, message } in &loaded.warnings {
                tracing::warn!(event = "environment_ignored", variable = %origin, "{message}");
            }
            let has_audit_file = loaded.assembled.configuration.audit.file.is_some();
            let start = run::Start {
                assembled: loaded.assembled,
                arguments,
                log: log.clone(),
                salvage,
                #[cfg(unix)]
                inherited,
            };
            let ended = run::run(start);
            // It is told on standard error in any case.
            if let Err(failure) = ended.as_ref().map_err(ToString::to_string)
                && has_audit_file
            {
                let reason = failure.trim_end();
                tracing::error!(target: AUDIT_TARGET, event = "broker_failed", reason);
            }
            log.finish();
            ended
        }
    }
}

/// Begins to log as the configuration says.
fn log_to(configuration: &Configuration) -> Result<LogHandle, Failure> {
    telemetry::start(&configuration.log, &configuration.audit).map_err(|error| {
        let file = configuration.audit.file.as_deref().unwrap_or_else(|| Path::new(""));
        telemetry::audit_failure(file, &error)
    })
}

/// Says what the running broker would change, were this its configuration.
#[cfg(unix)]
fn diff(arguments: &Arguments, loaded: &Loaded) -> Result<(), Failure> {
    let candidate = match sources::path(arguments) {
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Failure::Run(format!("{name} cannot be read: {error}")))?;
            Some(sources::Candidate { name, text })
        }
        None => None,
    };
    let data_dir = &loaded.assembled.configuration.data_dir;
    print(&format!(
        "the running broker would:\n{}",
        control::ask_plan(data_dir, candidate.as_ref())?
    ))
}

/// Shows or changes who is banned from the running broker.
#[cfg(unix)]
fn ask_about_bans(arguments: &Arguments, command: &BanCommand) -> Result<(), Failure> {
    if *command == BanCommand::Help {
        return print(ban::HELP);
    }
    let data_dir = load(arguments)?.assembled.configuration.data_dir;
    print(&control::ask(&data_dir, &command.question())?)
}

#[cfg(not(unix))]
fn ask_about_bans(_: &Arguments, command: &BanCommand) -> Result<(), Failure> {
    if *command == BanCommand::Help {
        return print(ban::HELP);
    }
    Err(Failure::Usage("`dunlin ban` works on Unix systems only".to_owned()))
}

#[cfg(not(unix))]
fn diff(_: &Arguments, _: &Loaded) -> Result<(), Failure> {
    Err(Failure::Usage("--diff works on Unix systems only".to_owned()))
}

fn check(loaded: &Loaded) -> Result<(), Failure> {
    let mut text: String =
        loaded.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    for listener in &loaded.assembled.configuration.broker.listeners {
        let who = if listener.allow_anonymous {
            "anonymous clients allowed"
        } else {
            "no anonymous clients"
        };
        text.push_str(&format!(
            "would listen on {} ({}, {who})\n",
            listener.address, listener.name
        ));
    }
    text.push_str(&Authentication::open(&loaded.assembled.configuration)?.summary());
    let Configuration { store, data_dir, .. } = &loaded.assembled.configuration;
    text.push_str(&match store.backend {
        Backend::Disk => format!("would keep its data in {}\n", data_dir.display()),
        Backend::Memory => {
            "would keep its data in memory and lose it with the process\n".to_owned()
        }
    });
    let rules = rules::read(&loaded.assembled.configuration)?;
    if !rules.is_open() {
        text.push_str(&format!("would let clients do what {} rules allow\n", rules.rules().len()));
    }
    text.push_str("the configuration is good\n");
    print(&text)
}

/// A reader that has gone away is no failure: `dunlin config --defaults | head`.
fn print(text: &str) -> Result<(), Failure> {
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

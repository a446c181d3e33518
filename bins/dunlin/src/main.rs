//! `dunlin`, the MQTT broker as a program: command line, configuration, log, signals, runtime and allocator.
//!
//! Everything about MQTT is in the library `dunlin-broker`, which any program can embed.

mod args;
mod audit_file;
mod authentication;
mod configuration;
mod environment;
mod failure;
mod file;
mod notation;
mod problem;
mod rules;
mod run;
mod settings;
mod store;
mod telemetry;
mod user;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::{Arguments, Command, HELP};
use crate::authentication::Authentication;
use crate::configuration::{Assembled, Backend, Configuration, Sources, assemble};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::problem::{Origin, Problem};

// Queues free on one thread what another allocated, at millions of messages a second: see docs/adr/0003.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
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
        Command::StoreHelp => print(store::HELP),
        Command::UserHelp => print(user::HELP),
        Command::User(command) => {
            let file = std::mem::take(&mut arguments.user.file);
            let options = std::mem::take(&mut arguments.user);
            let file = match file {
                Some(file) => file,
                None => user::file_of(&load(arguments)?.assembled.configuration)?,
            };
            print(&command.run(&file, &options)?)
        }
        Command::Store(command) => {
            let loaded = load(arguments)?;
            log_to(&loaded.assembled.configuration)?;
            command.run(&loaded.assembled.configuration.data_dir)
        }
        Command::Version => print(concat!("dunlin ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Config if arguments.defaults => print(&file::write(&Configuration::default())),
        Command::Config => print(&file::write(&load(arguments)?.assembled.configuration)),
        Command::Check => check(load(arguments)?),
        Command::Run => {
            let loaded = load(arguments)?;
            log_to(&loaded.assembled.configuration)?;
            for Problem { origin, message } in &loaded.warnings {
                tracing::warn!(event = "environment_ignored", variable = %origin, "{message}");
            }
            run::run(&loaded.assembled, salvage)
        }
    }
}

/// Begins to log as the configuration says.
fn log_to(configuration: &Configuration) -> Result<(), Failure> {
    telemetry::start(&configuration.log, &configuration.audit).map_err(|error| {
        let file = configuration.audit.file.as_deref().unwrap_or_else(|| Path::new(""));
        let message = format!("{} cannot be opened: {error}", file.display());
        Failure::Configuration(vec![Problem::new(Origin::Section("audit".to_owned()), message)])
    })
}

/// A good configuration with what is odd about it.
struct Loaded {
    assembled: Assembled,
    warnings: Vec<Problem>,
}

/// Reads all sources in rising order: file, environment, command line.
fn load(arguments: Arguments) -> Result<Loaded, Failure> {
    let environment = Environment::read(std::env::vars_os());
    if !environment.problems.is_empty() {
        return Err(Failure::Configuration(environment.problems));
    }
    let path = arguments.config.or_else(|| environment.config.map(PathBuf::from));
    let mut assignments = match path {
        Some(path) => file::read(&path).map_err(Failure::Configuration)?,
        None => Vec::new(),
    };
    assignments.extend(environment.assignments);
    assignments.extend(arguments.assignments);
    let listen = if arguments.listen.is_empty() { environment.listen } else { arguments.listen };
    let allow_anonymous = arguments.allow_anonymous.or(environment.allow_anonymous);
    let assembled = assemble(Sources { assignments, listen, allow_anonymous })
        .map_err(Failure::Configuration)?;
    Ok(Loaded { assembled, warnings: environment.warnings })
}

fn check(loaded: Loaded) -> Result<(), Failure> {
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

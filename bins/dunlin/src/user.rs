//! `dunlin user`: the users of a file.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, IsTerminal as _};
use std::path::{Path, PathBuf};

use dunlin_access::nearest;
use dunlin_auth::{PASSWORD_BYTES_MAX, PasswordHash, Secret, User, Users, UsersError, Verifier};

use crate::authentication::AuthKind;
use crate::configuration::Configuration;
use crate::failure::Failure;

pub(crate) const HELP: &str = "\
dunlin user: the users of a file, for sections [auth.NAME] of kind \"file\"

Usage: dunlin user add NAME [OPTIONS]       make a user; the file too if it is not there
       dunlin user passwd NAME [OPTIONS]    give a user another password
       dunlin user remove NAME [OPTIONS]    take a user out
       dunlin user list [OPTIONS]           all users with their tenants and roles; no hashes

The password is asked for twice on a terminal; otherwise it is the first line of standard input. It is never an argument,
since others on the machine see those. A running broker takes a changed file up by itself.

Options:
      --file FILE           the file of users; without it the one that the configuration names
  -c, --config FILE         the broker's file, for that
      --password-file FILE  the password is the first line of FILE
      --scram               keep a verifier for SCRAM-SHA-256 beside the hash
      --role ROLE           a role of the user; repeatable
      --tenant TENANT       the tenant that the user belongs to
      --attribute NAME=VALUE  what else is known of the user; repeatable
  -h, --help                this text

What a line of the file holds is described in docs/AUTHENTICATION.md.

Exit codes: 0 done; 1 failed; 2 command line not understood; 3 configuration refused
";

/// What to do with a file of users.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum UserCommand {
    Add(String),
    Passwd(String),
    Remove(String),
    List,
}

/// What the options say about it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct UserOptions {
    pub(crate) file: Option<PathBuf>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) scram: bool,
    pub(crate) roles: Vec<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
}

const COMMANDS: [&str; 4] = ["add", "passwd", "remove", "list"];

impl UserCommand {
    /// The words after `user`. What is left of them belongs to no command.
    pub(crate) fn read(words: &mut impl Iterator<Item = OsString>) -> Result<Self, Failure> {
        let usage = |message: String| Failure::Usage(message);
        let word = words.next().ok_or_else(|| {
            usage("`dunlin user` needs a command: see dunlin user --help".to_owned())
        })?;
        let mut name = || match words.next().map(OsString::into_string) {
            Some(Ok(name)) => Ok(name),
            Some(Err(_)) => Err(usage("a user's name must be UTF-8 text".to_owned())),
            None => Err(usage(format!("`dunlin user {}` needs a name", word.display()))),
        };
        Ok(match &*word.to_string_lossy() {
            "add" => Self::Add(name()?),
            "passwd" => Self::Passwd(name()?),
            "remove" => Self::Remove(name()?),
            "list" => Self::List,
            other => {
                let advice = nearest(other, COMMANDS.into_iter()).map_or_else(
                    || "see dunlin user --help".to_owned(),
                    |near| format!("did you mean {near}?"),
                );
                return Err(usage(format!("unknown command user {other}: {advice}")));
            }
        })
    }

    /// Does it to the file at `path`; gives what there is to print.
    pub(crate) fn run(self, path: &Path, options: &UserOptions) -> Result<String, Failure> {
        match self {
            Self::Add(name) => add(path, &name, options),
            Self::Passwd(name) => passwd(path, &name, options),
            Self::Remove(name) => {
                let _lock = lock(path)?;
                let mut users = Users::read(path).map_err(failed)?;
                users.remove(&name).ok_or_else(|| unknown(path, &name))?;
                users.write(path).map_err(failed)?;
                Ok(String::new())
            }
            Self::List => Users::read(path).map(|users| list(&users)).map_err(failed),
        }
    }
}

/// The only file of users that the configuration names.
pub(crate) fn file_of(configuration: &Configuration) -> Result<PathBuf, Failure> {
    let files = configuration.auth.iter().filter(|section| section.kind == AuthKind::File);
    let mut paths = files.filter_map(|section| section.settings.file.path.as_ref());
    match (paths.next(), paths.next()) {
        (Some(path), None) => Ok(path.clone()),
        (None, _) => Err(Failure::Usage(
            "which file? --file says it, or --config a configuration with a section [auth.file]"
                .to_owned(),
        )),
        (Some(_), Some(_)) => Err(Failure::Usage(
            "which file? the configuration names several: --file says it".to_owned(),
        )),
    }
}

fn add(path: &Path, name: &str, options: &UserOptions) -> Result<String, Failure> {
    let mut user = User::new(name).map_err(|error| Failure::Usage(error.to_string()))?;
    user.tenant.clone_from(&options.tenant);
    user.roles.clone_from(&options.roles);
    user.attributes.clone_from(&options.attributes);
    // Before somebody types a password for nothing; it is looked at again below.
    if existing(path)?.is_some_and(|users| users.user(name).is_some()) {
        return Err(already(path, name));
    }
    set_password(&mut user, options)?;
    let _lock = lock(path)?;
    let mut users = existing(path)?.unwrap_or_default();
    if users.user(name).is_some() {
        return Err(already(path, name));
    }
    store(path, &mut users, user)?;
    Ok(String::new())
}

fn passwd(path: &Path, name: &str, options: &UserOptions) -> Result<String, Failure> {
    if options.tenant.is_some() || !options.roles.is_empty() || !options.attributes.is_empty() {
        let message = "`dunlin user passwd` changes the password alone: --role, --tenant and --attribute go with `add`";
        return Err(Failure::Usage(message.to_owned()));
    }
    let user = |users: &Users| users.user(name).cloned().ok_or_else(|| unknown(path, name));
    let mut fresh = user(&Users::read(path).map_err(failed)?)?;
    // A verifier of the former password would let it in still.
    let scram = options.scram || fresh.scram.is_some();
    set_password(&mut fresh, &UserOptions { scram, ..options.clone() })?;
    let _lock = lock(path)?;
    let mut users = Users::read(path).map_err(failed)?;
    let mut changed = user(&users)?;
    (changed.password, changed.scram) = (fresh.password, fresh.scram);
    store(path, &mut users, changed)?;
    Ok(String::new())
}

fn store(path: &Path, users: &mut Users, user: User) -> Result<(), Failure> {
    if user.scram.is_some() {
        users.keep_decoys();
    }
    users.put(user);
    users.write(path).map_err(failed)
}

fn list(users: &Users) -> String {
    let mut text = String::new();
    for user in users.iter() {
        let _ = write!(text, "{}", user.name());
        if let Some(tenant) = &user.tenant {
            let _ = write!(text, " tenant={tenant}");
        }
        for role in &user.roles {
            let _ = write!(text, " role={role}");
        }
        let kind = match (user.password.is_locked(), user.password.is_weak()) {
            (true, _) => " (no password)",
            (_, true) => " (weak hash)",
            _ => "",
        };
        let scram = if user.scram.is_some() { " (SCRAM)" } else { "" };
        let _ = writeln!(text, "{kind}{scram}");
    }
    text
}

fn existing(path: &Path) -> Result<Option<Users>, Failure> {
    if path.exists() { Users::read(path).map(Some).map_err(failed) } else { Ok(None) }
}

/// Keeps others from changing the file until it is dropped. It is a file of its own, since the other one is replaced.
fn lock(path: &Path) -> Result<File, Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let path = path.with_file_name(name);
    let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| Failure::Run(format!("{} cannot be locked: {error}", path.display())))
}

fn set_password(user: &mut User, options: &UserOptions) -> Result<(), Failure> {
    let password = password(options)?;
    let made = PasswordHash::make(password.expose());
    user.password = made.map_err(|error| Failure::Run(error.to_string()))?;
    user.scram = None;
    if options.scram {
        let text = password
            .expose_str()
            .ok_or_else(|| Failure::Run("a password for SCRAM must be UTF-8 text".to_owned()))?;
        let made = Verifier::make(text).map_err(|error| Failure::Run(error.to_string()))?;
        user.scram = Some(made);
    }
    Ok(())
}

fn password(options: &UserOptions) -> Result<Secret, Failure> {
    let failed = |from: &str, error: &io::Error| {
        Failure::Run(format!("the password cannot be read from {from}: {error}"))
    };
    if let Some(path) = &options.password_file {
        let from = path.display().to_string();
        let file = File::open(path).map_err(|error| failed(&from, &error))?;
        return first_line(io::BufReader::new(file)).map_err(|error| failed(&from, &error));
    }
    if !io::stdin().is_terminal() {
        return first_line(io::stdin().lock()).map_err(|error| failed("standard input", &error));
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map_err(|error| failed("the terminal", &error))
    };
    let (once, twice) = (Secret::new(ask("Password: ")?), Secret::new(ask("Once more: ")?));
    if once == twice { Ok(once) } else { Err(Failure::Run("the two are not the same".to_owned())) }
}

/// Bounded, so that a wrong file ends in words and not in memory.
fn first_line(input: impl BufRead) -> io::Result<Secret> {
    let mut line = Vec::new();
    input.take(PASSWORD_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(Secret::new(line))
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn failed(error: UsersError) -> Failure {
    Failure::Run(error.to_string())
}

fn unknown(path: &Path, name: &str) -> Failure {
    Failure::Run(format!("{} has no user {name:?}", path.display()))
}

fn already(path: &Path, name: &str) -> Failure {
    Failure::Run(format!(
        "{} has a user {name:?} already: `dunlin user passwd` gives it another password",
        path.display()
    ))
}

//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use dunlin_access::nearest;
use lexopt::{Arg, Parser, ValueExt as _};

use crate::acl::AclCommand;
use crate::ban::{BanCommand, Whereabouts};
use crate::configuration::{Assignment, Listen};
use crate::failure::Failure;
use crate::import::ImportCommand;
use crate::problem::Origin;
use crate::store::StoreCommand;
use crate::user::{UserCommand, UserOptions};

pub(crate) const HELP: &str = "\
dunlin: an MQTT 3.1, 3.1.1 and 5.0 broker

Usage: dunlin [run] [OPTIONS]               serve clients until SIGTERM or SIGINT
       dunlin check [--diff] [OPTIONS]      say whether the configuration is good, and exit; with --diff also what the
                                            running broker would change for it, and whom it would disconnect
       dunlin config [--defaults | OPTIONS]  print the whole configuration, or the default one, with comments
       dunlin store COMMAND [OPTIONS]       check, repair, measure, export, import or back up what is stored:
                                            `dunlin store --help`
       dunlin user COMMAND [OPTIONS]        add, remove or list the users of a file, or change a password:
                                            `dunlin user --help`
       dunlin acl COMMAND [OPTIONS]         check rules about who may do what, or explain them: `dunlin acl --help`
       dunlin ban COMMAND [OPTIONS]         list, add or take back bans of the running broker: `dunlin ban --help`
       dunlin import mosquitto --conf FILE  make a configuration of Mosquitto's: `dunlin import --help`

Without options dunlin listens on 127.0.0.1:1883 and [::1]:1883, lets this machine's clients in, and keeps sessions,
queues and retained messages in ./data: what it has acknowledged survives a restart, a crash and a loss of power.

Options:
  -c, --config FILE      TOML file; `dunlin config --defaults` prints one with every key
  -l, --listen HOST:PORT listen here instead of what the file says; repeatable; port 0 takes a free port,
                         and the line `listening on ...` says which
      --allow-anonymous  let clients in without credentials where --listen opens an address to other machines
      --data-dir DIR     folder for what must survive a restart; made if it is not there; ./data by default
      --salvage          start although the store is damaged: what cannot be read is put aside and listed
      --log LEVEL        error, warn, info, debug, trace, off; or by module: info,dunlin_broker=debug
      --log-format FORMAT  text or json, on standard error
  -h, --help             this text
  -V, --version          the version

Environment: every key of the file is a variable, limits.overflow is DUNLIN_LIMITS_OVERFLOW; DUNLIN_CONFIG,
DUNLIN_LISTEN (several by commas), DUNLIN_ALLOW_ANONYMOUS=true, DUNLIN_DATA_DIR and DUNLIN_LOG stand for the options.
What an option says wins over a variable, and a variable over the file.

Signals: SIGHUP takes the configuration anew (docs/LISTENERS.md). The first SIGTERM or SIGINT says goodbye to the clients, lets connections drain for up to
limits.shutdown_drain_max and exits 0; a second one exits at once.

Exit codes: 0 stopped as asked, or the configuration is good; 1 failed while running; 2 command line not understood;
3 configuration refused; 4 an address could not be opened; 5 the data directory cannot be used: another process has it,
it cannot be written, or a newer dunlin made it; 6 the store is damaged;
7 the answer of `dunlin acl explain` is no
";

/// What to do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Command {
    #[default]
    Run,
    Check,
    Config,
    Store(StoreCommand),
    User(UserCommand),
    Acl(AclCommand),
    Ban(BanCommand),
    Import(ImportCommand),
    Help,
    StoreHelp,
    UserHelp,
    Version,
}

/// The command line, understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) config: Option<PathBuf>,
    /// `config --defaults`.
    pub(crate) defaults: bool,
    /// `check --diff`.
    pub(crate) diff: bool,
    pub(crate) salvage: bool,
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) listen: Vec<Listen>,
    pub(crate) allow_anonymous: Option<Origin>,
    pub(crate) user: UserOptions,
}

const COMMANDS: [&str; 9] =
    ["run", "check", "config", "store", "user", "acl", "ban", "import", "help"];

const OPTIONS: [&str; 11] = [
    "config",
    "listen",
    "allow-anonymous",
    "data-dir",
    "salvage",
    "log",
    "log-format",
    "defaults",
    "diff",
    "help",
    "version",
];

/// Options of `dunlin user` alone.
const USER_OPTIONS: [&str; 6] = ["file", "password-file", "scram", "role", "tenant", "attribute"];

impl Arguments {
    /// Reads the arguments after the program's name.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let mut parser = Parser::from_args(arguments);
        let mut read = Self::default();
        let mut words: Vec<OsString> = Vec::new();
        while let Some(argument) = parser.next().map_err(usage)? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => {
                    let command = match words.first().and_then(|word| word.to_str()) {
                        Some("store") => Command::StoreHelp,
                        Some("user") => Command::UserHelp,
                        _ => Command::Help,
                    };
                    return Ok(Self { command, ..Self::default() });
                }
                Arg::Short('V') | Arg::Long("version") => {
                    return Ok(Self { command: Command::Version, ..Self::default() });
                }
                Arg::Value(word) if words.is_empty() && word == "acl" => {
                    // It has options of its own, and reads no configuration.
                    read.command = Command::Acl(AclCommand::read(&mut parser)?);
                    return read.without_options("acl");
                }
                Arg::Value(word) if words.is_empty() && word == "ban" => {
                    let read = read.without_options("ban")?;
                    let (command, whereabouts) = BanCommand::read(&mut parser)?;
                    return Ok(read.about_bans(command, whereabouts));
                }
                Arg::Value(word) if words.is_empty() && word == "import" => {
                    read.command = Command::Import(ImportCommand::read(&mut parser)?);
                    return read.without_options("import");
                }
                Arg::Value(word) => words.push(word),
                Arg::Long("defaults") => read.defaults = true,
                Arg::Long("diff") => read.diff = true,
                Arg::Long("salvage") => read.salvage = true,
                Arg::Short('c') | Arg::Long("config") => {
                    read.config = Some(PathBuf::from(parser.value().map_err(usage)?))
                }
                Arg::Short('l') | Arg::Long("listen") => {
                    read.listen.push(listen(text(&mut parser)?))
                }
                Arg::Long("allow-anonymous") => {
                    read.allow_anonymous = Some(Origin::Flag("--allow-anonymous".to_owned()));
                }
                Arg::Long("data-dir") => read.assign("data_dir", "--data-dir", text(&mut parser)?),
                Arg::Long("log") => read.assign("log.level", "--log", text(&mut parser)?),
                Arg::Long("log-format") => {
                    read.assign("log.format", "--log-format", text(&mut parser)?)
                }
                Arg::Long("file") => read.user.file = Some(parser.value().map_err(usage)?.into()),
                Arg::Long("password-file") => {
                    read.user.password_file = Some(parser.value().map_err(usage)?.into())
                }
                Arg::Long("scram") => read.user.scram = true,
                Arg::Long("role") => read.user.roles.push(text(&mut parser)?),
                Arg::Long("tenant") => read.user.tenant = Some(text(&mut parser)?),
                Arg::Long("attribute") => {
                    let attribute = text(&mut parser)?;
                    let (name, value) = attribute.split_once('=').ok_or_else(|| {
                        Failure::Usage(format!("--attribute must be NAME=VALUE, not {attribute}"))
                    })?;
                    read.user.attributes.push((name.to_owned(), value.to_owned()));
                }
                Arg::Long(name) => return Err(unknown_option(name)),
                Arg::Short(letter) => {
                    return Err(Failure::Usage(format!(
                        "unknown option -{letter}: see dunlin --help"
                    )));
                }
            }
        }
        read.command = command_of(words)?;
        read.check()?;
        Ok(read)
    }

    /// Options that say nothing to the command are a misunderstanding.
    fn check(&self) -> Result<(), Failure> {
        let is_store = matches!(self.command, Command::Store(_));
        let is_user = matches!(self.command, Command::User(_));
        let message = if self.defaults && self.command != Command::Config {
            "--defaults goes with `dunlin config`"
        } else if self.diff && self.command != Command::Check {
            "--diff goes with `dunlin check`"
        } else if self.salvage && self.command != Command::Run {
            "--salvage goes with `dunlin run`"
        } else if is_store && (!self.listen.is_empty() || self.allow_anonymous.is_some()) {
            "`dunlin store` serves no clients: --listen and --allow-anonymous go with `dunlin run`"
        } else if is_user && (!self.listen.is_empty() || self.allow_anonymous.is_some()) {
            "`dunlin user` serves no clients: --listen and --allow-anonymous go with `dunlin run`"
        } else if !is_user && self.user != UserOptions::default() {
            "--file, --password-file, --scram, --role, --tenant and --attribute go with `dunlin user`"
        } else {
            return Ok(());
        };
        Err(Failure::Usage(message.to_owned()))
    }

    /// For a command that takes none of the options that stood before it.
    fn without_options(self, command: &str) -> Result<Self, Failure> {
        let is_bare = self.config.is_none()
            && self.assignments.is_empty()
            && self.listen.is_empty()
            && self.allow_anonymous.is_none()
            && !self.defaults
            && !self.salvage
            && self.user == UserOptions::default();
        if is_bare {
            return Ok(self);
        }
        let message =
            format!("options of `dunlin {command}` stand behind it: see dunlin {command} --help");
        Err(Failure::Usage(message))
    }

    /// For a command that needs no more than the place of the data directory.
    fn about_bans(mut self, command: BanCommand, whereabouts: Whereabouts) -> Self {
        let Whereabouts { config, data_dir } = whereabouts;
        self.command = Command::Ban(command);
        self.config = config;
        if let Some(data_dir) = data_dir {
            self.assign("data_dir", "--data-dir", data_dir);
        }
        self
    }

    fn assign(&mut self, path: &str, flag: &str, value: String) {
        let origin = Origin::Flag(flag.to_owned());
        self.assignments.push(Assignment { path: path.to_owned(), value, origin });
    }
}

fn listen(address: String) -> Listen {
    let origin = Origin::Flag(format!("--listen {address}"));
    Listen { address, origin }
}

fn text(parser: &mut Parser) -> Result<String, Failure> {
    parser.value().and_then(|value| value.string()).map_err(usage)
}

/// The words that are no options: the command and what it is about.
fn command_of(words: Vec<OsString>) -> Result<Command, Failure> {
    let mut words = words.into_iter();
    let Some(word) = words.next() else { return Ok(Command::Run) };
    let name = word.to_string_lossy();
    let command = match &*name {
        "run" => Command::Run,
        "check" => Command::Check,
        "config" => Command::Config,
        "store" => Command::Store(StoreCommand::read(&mut words)?),
        "user" => Command::User(UserCommand::read(&mut words)?),
        "help" => Command::Help,
        _ => {
            let near = nearest(&name, COMMANDS.into_iter());
            return Err(Failure::Usage(format!("unknown command {name}: {}", advice(near, ""))));
        }
    };
    match words.next() {
        Some(word) => Err(Failure::Usage(format!("unexpected word {}", word.display()))),
        None => Ok(command),
    }
}

fn unknown_option(name: &str) -> Failure {
    Failure::Usage(format!(
        "unknown option --{name}: {}",
        advice(nearest(name, OPTIONS.into_iter().chain(USER_OPTIONS)), "--")
    ))
}

fn advice(near: Option<&str>, dashes: &str) -> String {
    near.map_or_else(
        || "see dunlin --help".to_owned(),
        |near| format!("did you mean {dashes}{near}?"),
    )
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn usage(error: lexopt::Error) -> Failure {
    Failure::Usage(format!("{error}: see dunlin --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        Arguments::read(line.split_whitespace().map(OsString::from))
            .map_err(|failure| failure.to_string())
    }

    fn refused(line: &str) -> String {
        read(line).expect_err(line)
    }

    #[test]
    fn help_is_reviewed() {
        insta::assert_snapshot!("help", HELP);
        assert!(OPTIONS.iter().all(|option| HELP.contains(&format!("--{option}"))));
        assert!(COMMANDS.iter().all(|command| *command == "help" || HELP.contains(command)));
    }

    #[test]
    fn commands() {
        for (line, command) in [
            ("", Command::Run),
            ("run", Command::Run),
            ("check --config x", Command::Check),
            ("--config x check", Command::Check),
            ("config --defaults", Command::Config),
            ("help", Command::Help),
            ("store --help", Command::StoreHelp),
            ("store export -h", Command::StoreHelp),
            ("store check", Command::Store(StoreCommand::Check)),
            ("--data-dir d store repair", Command::Store(StoreCommand::Repair)),
            ("store stats --data-dir d", Command::Store(StoreCommand::Stats)),
            ("store export", Command::Store(StoreCommand::Export(None))),
            ("store export x", Command::Store(StoreCommand::Export(Some("x".into())))),
            ("acl --help", Command::Acl(AclCommand::Help)),
            ("ban --help", Command::Ban(BanCommand::Help)),
            ("ban list -c x", Command::Ban(BanCommand::List)),
            ("import --help", Command::Import(ImportCommand::Help)),
            (
                "import mosquitto --conf a --to b",
                Command::Import(ImportCommand::Mosquitto { conf: "a".into(), to: "b".into() }),
            ),
            ("store import x", Command::Store(StoreCommand::Import("x".into()))),
            ("store backup d", Command::Store(StoreCommand::Backup("d".into()))),
            ("user --help", Command::UserHelp),
            ("user list --file f", Command::User(UserCommand::List)),
            ("user add alice --scram", Command::User(UserCommand::Add("alice".to_owned()))),
            ("user passwd alice", Command::User(UserCommand::Passwd("alice".to_owned()))),
            ("user remove alice", Command::User(UserCommand::Remove("alice".to_owned()))),
            ("run --help", Command::Help),
            ("-V", Command::Version),
        ] {
            assert_eq!(read(line).expect(line).command, command, "{line}");
        }
    }

    #[test]
    fn options() {
        let read = read("run -c a.toml --listen 127.0.0.1:0 -l=[::1]:7 --allow-anonymous --data-dir d --log debug").expect("legal");
        assert_eq!(read.config, Some(PathBuf::from("a.toml")));
        let addresses: Vec<&str> =
            read.listen.iter().map(|listen| listen.address.as_str()).collect();
        assert_eq!(addresses, ["127.0.0.1:0", "[::1]:7"]);
        assert!(read.allow_anonymous.is_some());
        let assignments: Vec<String> = read
            .assignments
            .iter()
            .map(|each| format!("{}: {} = {}", each.origin, each.path, each.value))
            .collect();
        assert_eq!(assignments, ["--data-dir: data_dir = d", "--log: log.level = debug"]);
    }

    #[test]
    fn slips() {
        assert_eq!(
            refused("--lisen x"),
            "dunlin: unknown option --lisen: did you mean --listen?\n"
        );
        assert_eq!(refused("--colour"), "dunlin: unknown option --colour: see dunlin --help\n");
        assert_eq!(refused("chekc"), "dunlin: unknown command chekc: did you mean check?\n");
        assert_eq!(refused("-x"), "dunlin: unknown option -x: see dunlin --help\n");
        assert_eq!(refused("run twice"), "dunlin: unexpected word twice\n");
        assert_eq!(refused("run --defaults"), "dunlin: --defaults goes with `dunlin config`\n");
        for (line, message) in [
            ("import", "`dunlin import` needs a broker: dunlin import mosquitto --conf FILE"),
            ("import mosquitto", "`dunlin import mosquitto` needs a file: --conf FILE"),
            ("import mosquitto x", "unexpected word x: see dunlin import --help"),
            ("import --fonc x", "unknown option --fonc: see dunlin import --help"),
            ("store", "`dunlin store` needs a command: see dunlin store --help"),
            ("store chek", "unknown command store chek: did you mean check?"),
            ("store colour", "unknown command store colour: see dunlin store --help"),
            ("store import", "`dunlin store import` needs a file"),
            ("store backup", "`dunlin store backup` needs a folder"),
            ("store check x", "unexpected word x"),
            ("store check --salvage", "--salvage goes with `dunlin run`"),
            (
                "store check --listen x",
                "`dunlin store` serves no clients: --listen and --allow-anonymous go with `dunlin run`",
            ),
        ] {
            assert_eq!(refused(line), format!("dunlin: {message}\n"), "{line}");
        }
        assert_eq!(
            refused("-c x acl check f"),
            "dunlin: options of `dunlin acl` stand behind it: see dunlin acl --help\n"
        );
        assert!(refused("--config").contains("missing argument for option '--config'"));
    }
}

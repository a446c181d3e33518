//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::configuration::{Assignment, Listen};
use crate::failure::Failure;
use crate::nearest::nearest;
use crate::problem::Origin;

pub(crate) const HELP: &str = "\
dunlin: an MQTT 3.1, 3.1.1 and 5.0 broker

Usage: dunlin [run] [OPTIONS]               serve clients until SIGTERM or SIGINT
       dunlin check [OPTIONS]               say whether the configuration is good, and exit
       dunlin config [--defaults | OPTIONS]  print the whole configuration, or the default one, with comments

Without options dunlin listens on 127.0.0.1:1883 and [::1]:1883 and lets this machine's clients in.

Options:
  -c, --config FILE      TOML file; `dunlin config --defaults` prints one with every key
  -l, --listen HOST:PORT listen here instead of what the file says; repeatable; port 0 takes a free port,
                         and the line `listening on ...` says which
      --allow-anonymous  let clients in without credentials where --listen opens an address to other machines
      --data-dir DIR     folder for what must survive a restart. Accepted now and used by the next release:
                         this one makes sure that it can write there and keeps everything in memory
      --log LEVEL        error, warn, info, debug, trace, off; or by module: info,dunlin_broker=debug
      --log-format FORMAT  text or json, on standard error
  -h, --help             this text
  -V, --version          the version

Environment: every key of the file is a variable, limits.overflow is DUNLIN_LIMITS_OVERFLOW; DUNLIN_CONFIG,
DUNLIN_LISTEN (several by commas), DUNLIN_ALLOW_ANONYMOUS=true, DUNLIN_DATA_DIR and DUNLIN_LOG stand for the options.
What an option says wins over a variable, and a variable over the file.

Signals: the first SIGTERM or SIGINT says goodbye to the clients, lets connections drain for up to
limits.shutdown_drain_max and exits 0; a second one exits at once.

Exit codes: 0 stopped as asked, or the configuration is good; 1 failed while running; 2 command line not understood;
3 configuration refused; 4 an address could not be opened; 5 the data directory cannot be used
";

/// What to do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Command {
    #[default]
    Run,
    Check,
    Config,
    Help,
    Version,
}

/// The command line, understood.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) config: Option<PathBuf>,
    /// `config --defaults`.
    pub(crate) defaults: bool,
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) listen: Vec<Listen>,
    pub(crate) allow_anonymous: Option<Origin>,
}

const COMMANDS: [(&str, Command); 3] =
    [("run", Command::Run), ("check", Command::Check), ("config", Command::Config)];

const OPTIONS: [&str; 9] = [
    "config",
    "listen",
    "allow-anonymous",
    "data-dir",
    "log",
    "log-format",
    "defaults",
    "help",
    "version",
];

impl Arguments {
    /// Reads the arguments after the program's name.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let mut parser = Parser::from_args(arguments);
        let mut read = Self::default();
        let mut command = None;
        while let Some(argument) = parser.next().map_err(usage)? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => {
                    return Ok(Self { command: Command::Help, ..Self::default() });
                }
                Arg::Short('V') | Arg::Long("version") => {
                    return Ok(Self { command: Command::Version, ..Self::default() });
                }
                Arg::Value(word) if command.is_none() => command = Some(command_of(&word)?),
                Arg::Value(word) => {
                    return Err(Failure::Usage(format!("unexpected word {}", word.display())));
                }
                Arg::Long("defaults") => read.defaults = true,
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
                Arg::Long(name) => return Err(unknown_option(name)),
                Arg::Short(letter) => {
                    return Err(Failure::Usage(format!(
                        "unknown option -{letter}: see dunlin --help"
                    )));
                }
            }
        }
        read.command = command.unwrap_or_default();
        if read.defaults && read.command != Command::Config {
            return Err(Failure::Usage("--defaults goes with `dunlin config`".to_owned()));
        }
        Ok(read)
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

fn command_of(word: &OsString) -> Result<Command, Failure> {
    let word = word.to_string_lossy();
    if word == "help" {
        return Ok(Command::Help);
    }
    if let Some(&(_, command)) = COMMANDS.iter().find(|(name, _)| *name == word) {
        return Ok(command);
    }
    let near = nearest(&word, COMMANDS.iter().map(|&(name, _)| name));
    Err(Failure::Usage(format!("unknown command {word}: {}", advice(near, ""))))
}

fn unknown_option(name: &str) -> Failure {
    Failure::Usage(format!(
        "unknown option --{name}: {}",
        advice(nearest(name, OPTIONS.into_iter()), "--")
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
        assert!(refused("--config").contains("missing argument for option '--config'"));
    }
}

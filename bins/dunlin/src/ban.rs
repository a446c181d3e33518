//! `dunlin ban`: who is not let in, as the running broker knows it; and the file that keeps it over a restart.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dunlin_access::{nearest, parse_bans, write_bans};
use dunlin_broker::{Ban, BanList, BanTarget, Broker, Named, UnixSeconds};
use lexopt::{Arg, Parser, ValueExt as _};

use crate::failure::Failure;
use crate::notation::{Notation as _, Time};
use crate::problem::{Origin, Problem};

pub(crate) const HELP: &str = "\
dunlin ban: who is not let in (docs/LIMITS.md), asked of the running broker

Usage: dunlin ban list [OPTIONS]                    all bans, with why and for how long
       dunlin ban add address RANGE [OPTIONS]       ban an address or a network: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32
       dunlin ban add user NAME [OPTIONS]           ban a user
       dunlin ban add client ID [OPTIONS]           ban a client id
       dunlin ban remove address|user|client WHOM   take a ban back

Who is banned and connected is disconnected; its session stays. The bans are kept in bans.toml in the data directory.

Options:
      --for TIME         of add: for how long, such as 10min, 2h, 7d; without it until it is taken back
      --reason TEXT      of add: why, for whoever reads the list
      --tenant NAME      the user or client of this tenant only; without it in all
  -c, --config FILE      the broker's file, which says where its data directory is
      --data-dir DIR     the data directory itself
  -h, --help             this text

Exit codes: 0 done; 1 no broker answers; 2 command line not understood; 3 refused by the broker
";

/// The bans' file in the data directory.
const FILE: &str = "bans.toml";

/// What is asked of the running broker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum BanCommand {
    Help,
    List,
    Add { target: BanTarget, time: Option<Duration>, reason: String },
    Remove(BanTarget),
}

/// Where the broker is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Whereabouts {
    pub(crate) config: Option<PathBuf>,
    pub(crate) data_dir: Option<String>,
}

const COMMANDS: [&str; 3] = ["list", "add", "remove"];
const KINDS: [&str; 3] = ["address", "user", "client"];
const OPTIONS: [&str; 6] = ["for", "reason", "tenant", "config", "data-dir", "help"];

/// What the options said.
#[derive(Default)]
struct Said {
    time: Option<Duration>,
    reason: Option<String>,
    tenant: Option<String>,
}

impl BanCommand {
    /// Reads what follows the word `ban`.
    pub(crate) fn read(parser: &mut Parser) -> Result<(Self, Whereabouts), Failure> {
        let (mut words, mut said) = (Vec::new(), Said::default());
        let mut whereabouts = Whereabouts::default();
        while let Some(argument) = parser.next().map_err(usage)? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => return Ok((Self::Help, whereabouts)),
                Arg::Short('c') | Arg::Long("config") => {
                    whereabouts.config = Some(parser.value().map_err(usage)?.into());
                }
                Arg::Long("data-dir") => whereabouts.data_dir = Some(text(parser)?),
                Arg::Long("reason") => said.reason = Some(text(parser)?),
                Arg::Long("tenant") => said.tenant = Some(text(parser)?),
                Arg::Long("for") => {
                    let time = text(parser)?;
                    let read = Time::read(&time).filter(|time| time.as_secs() > 0);
                    let wrong = || {
                        refused(format!(
                            "--for must be {}, at least 1s, not {time}",
                            Time::expected()
                        ))
                    };
                    said.time = Some(read.ok_or_else(wrong)?);
                }
                Arg::Long(name) => return Err(unknown("option", name, &OPTIONS, "--")),
                Arg::Short(letter) => return Err(refused(format!("unknown option -{letter}"))),
                Arg::Value(word) => words.push(word.string().map_err(usage)?),
            }
        }
        Ok((Self::of(words, said)?, whereabouts))
    }

    fn of(words: Vec<String>, said: Said) -> Result<Self, Failure> {
        let mut words = words.into_iter();
        let command = words.next();
        let Said { time, reason, tenant } = said;
        let command = match command.as_deref() {
            Some("list") => Self::List,
            Some("add") => {
                let target = target(&mut words, "add", tenant.as_deref())?;
                Self::Add { target, time, reason: reason.clone().unwrap_or_default() }
            }
            Some("remove") => Self::Remove(target(&mut words, "remove", tenant.as_deref())?),
            Some(other) => return Err(unknown("command ban", other, &COMMANDS, "")),
            None => return Err(refused("`dunlin ban` needs a command")),
        };
        if let Some(word) = words.next() {
            return Err(refused(format!("unexpected word {word}")));
        }
        if !matches!(command, Self::Add { .. }) && (time.is_some() || reason.is_some()) {
            return Err(refused("--for and --reason go with `dunlin ban add`"));
        }
        if command == Self::List && tenant.is_some() {
            return Err(refused("--tenant goes with `dunlin ban add` and `dunlin ban remove`"));
        }
        Ok(command)
    }

    /// The question to the broker: a line, and below it whom it is about, as the file of bans says it.
    pub(crate) fn question(&self) -> String {
        let about = |target: &BanTarget, until, reason: &str| {
            let (target, reason) = (target.clone(), reason.into());
            let mut list = BanList::default();
            // There is room for one.
            let _ = list.add(Ban { target, until, reason }, UnixSeconds(0));
            write_bans(&list, UnixSeconds(0))
        };
        match self {
            Self::Help | Self::List => "ban list\n".to_owned(),
            Self::Add { target, time, reason } => {
                let until = time.map(|time| UnixSeconds(now().0.saturating_add(time.as_secs())));
                format!("ban add\n{}", about(target, until, reason))
            }
            Self::Remove(target) => format!("ban remove\n{}", about(target, None, "")),
        }
    }
}

fn target(
    words: &mut impl Iterator<Item = String>,
    command: &str,
    tenant: Option<&str>,
) -> Result<BanTarget, Failure> {
    let needs =
        || refused(format!("`dunlin ban {command}` needs address, user or client and whom"));
    let (kind, whom) = (words.next().ok_or_else(needs)?, words.next());
    let named = |name: &str| Named { name: name.into(), tenant: tenant.map(Box::from) };
    let target = match (kind.as_str(), whom.as_deref()) {
        ("address", Some(range)) => {
            if tenant.is_some() {
                return Err(refused("an address is banned for all tenants"));
            }
            let wrong = |error| refused(format!("{range}: {error}"));
            BanTarget::Address(range.parse().map_err(wrong)?)
        }
        ("user", Some(name)) => BanTarget::User(named(name)),
        ("client", Some(id)) => BanTarget::Client(named(id)),
        ("address" | "user" | "client", None) => return Err(needs()),
        (other, _) => return Err(unknown("kind of ban", other, &KINDS, "")),
    };
    Ok(target)
}

/// What somebody asks of the bans by the control socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum BanRequest {
    List,
    Add(Ban),
    Remove(BanTarget),
}

impl BanRequest {
    /// The question behind the word `ban`; none if it is none.
    pub(crate) fn read(verb: &str, text: &str) -> Option<Self> {
        let one = || {
            let list = parse_bans("question", text, UnixSeconds(0)).ok()?;
            let ban = list.iter().next().cloned();
            ban.filter(|_| list.len() == 1)
        };
        match verb {
            "list" => Some(Self::List),
            "add" => one().map(Self::Add),
            "remove" => one().map(|ban| Self::Remove(ban.target)),
            _ => None,
        }
    }

    /// Does it; gives what there is to print.
    pub(crate) fn run(self, broker: &Broker) -> Result<String, Failure> {
        match self {
            Self::List => Ok(list(&broker.bans(), now())),
            Self::Add(ban) => {
                let target = ban.target.clone();
                let before = broker
                    .ban(ban)
                    .map_err(|full| Failure::Refused(format!("dunlin: {full}\n")))?;
                let instead = before.map_or("", |_| ", in the place of another ban");
                Ok(format!("banned {target}{instead}\n"))
            }
            Self::Remove(target) => match broker.unban(&target) {
                Some(_) => Ok(format!("{target} may come in again\n")),
                None => Err(Failure::Refused(format!("dunlin: there is no ban of {target}\n"))),
            },
        }
    }
}

/// One line for each.
fn list(bans: &[Ban], UnixSeconds(now): UnixSeconds) -> String {
    let mut out = String::new();
    for Ban { target, until, reason } in bans {
        let time = match until {
            None => "until it is taken back".to_owned(),
            Some(UnixSeconds(until)) => format!("for {}", span(until.saturating_sub(now))),
        };
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let _ = writeln!(out, "{target}, {time}{why}");
    }
    if out.is_empty() {
        out.push_str("nobody is banned\n");
    }
    out
}

/// `1d 2h 3min 4s`, in the two largest units.
fn span(secs: u64) -> String {
    let units =
        [("d", secs / 86_400), ("h", secs / 3_600 % 24), ("min", secs / 60 % 60), ("s", secs % 60)];
    let said =
        units.iter().skip_while(|(_, count)| *count == 0).take(2).filter(|(_, count)| *count > 0);
    let said: Vec<String> = said.map(|(unit, count)| format!("{count}{unit}")).collect();
    if said.is_empty() { "0s".to_owned() } else { said.join(" ") }
}

pub(crate) fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixSeconds(since.map_or(0, |since| since.as_secs()))
}

/// Reads the bans of an earlier run. One that cannot be read is not overlooked: those in it would be let in.
pub(crate) fn read(data_dir: &Path) -> Result<BanList, Failure> {
    let path = data_dir.join(FILE);
    let name = path.display().to_string();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BanList::default()),
        Err(error) => {
            let problem = Problem::new(Origin::Flag(name), format!("cannot be read: {error}"));
            return Err(Failure::Configuration(vec![problem]));
        }
    };
    parse_bans(&name, &text, now()).map_err(|problems| {
        let count = problems.len();
        let first = problems.into_iter().next().map(Problem::from);
        let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        let advice = "put it right, or move the file away to begin without bans";
        let first = first.map(|Problem { origin, message }| {
            Problem::new(origin, format!("{message}{more}: {advice}"))
        });
        Failure::Configuration(first.into_iter().collect())
    })
}

/// Keeps bans in the data directory as they change.
#[derive(Debug)]
pub(crate) struct BanFile {
    path: PathBuf,
    /// The number of the changes that are in it.
    written: u64,
}

impl BanFile {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE), written: 0 }
    }

    /// Waits for a change.
    pub(crate) async fn changed(&self, broker: &Broker) -> u64 {
        broker.bans_changed(self.written).await
    }

    /// Writes them all, in one step for whoever reads.
    pub(crate) async fn write(&mut self, broker: &Broker, number: u64) {
        let mut list = BanList::default();
        for ban in broker.bans() {
            // There was room for them before.
            let _ = list.add(ban, now());
        }
        let (path, text) = (self.path.clone(), write_bans(&list, now()));
        let written = tokio::task::spawn_blocking(move || replace(&path, &text)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(event = "bans_not_written", %error, "a restart would not know them");
        }
        self.written = number;
    }
}

/// The file has the old content or the new one, whatever happens.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("toml.new");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn unknown(what: &str, name: &str, known: &[&'static str], dashes: &str) -> Failure {
    let near = nearest(name, known.iter().copied());
    let advice = near.map(|near| format!(": did you mean {dashes}{near}?")).unwrap_or_default();
    refused(format!("unknown {what} {dashes}{name}{advice}"))
}

fn refused(message: impl Into<String>) -> Failure {
    Failure::Usage(format!("{}: see dunlin ban --help", message.into()))
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn usage(error: lexopt::Error) -> Failure {
    refused(error.to_string())
}

fn text(parser: &mut Parser) -> Result<String, Failure> {
    parser.value().and_then(|value| value.string()).map_err(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<BanCommand, String> {
        let mut parser = Parser::from_args(line.split_whitespace());
        let read = BanCommand::read(&mut parser);
        read.map(|(command, _)| command).map_err(|failure| failure.to_string())
    }

    #[test]
    fn commands() {
        let user = BanTarget::User(Named::of("acme", "eve"));
        let reason = "why".to_owned();
        for (line, expected) in [
            ("list --data-dir d", BanCommand::List),
            ("list --help", BanCommand::Help),
            ("remove user eve --tenant acme", BanCommand::Remove(user.clone())),
            (
                "add --for 2h user eve --tenant acme --reason why",
                BanCommand::Add { target: user, time: Some(Duration::from_secs(7_200)), reason },
            ),
            (
                "add address 10.0.0.0/8",
                BanCommand::Add {
                    target: BanTarget::Address("10.0.0.0/8".parse().expect("a range")),
                    time: None,
                    reason: String::new(),
                },
            ),
        ] {
            assert_eq!(command(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn slips() {
        for (line, message) in [
            ("", "`dunlin ban` needs a command"),
            ("lst", "unknown command ban lst: did you mean list?"),
            ("add", "`dunlin ban add` needs address, user or client and whom"),
            ("add user", "`dunlin ban add` needs address, user or client and whom"),
            ("add usr eve", "unknown kind of ban usr: did you mean user?"),
            ("add address 10.0.0.1/8", "10.0.0.1/8: the address has bits behind the prefix"),
            ("add address 10.0.0.1 --tenant t", "an address is banned for all tenants"),
            ("add user eve mallory", "unexpected word mallory"),
            ("list --reason x", "--for and --reason go with `dunlin ban add`"),
            ("list --resaon x", "unknown option --resaon: did you mean --reason?"),
        ] {
            let expected = format!("dunlin: {message}: see dunlin ban --help\n");
            assert_eq!(command(line), Err(expected), "{line}");
        }
        let wrong = command("add user eve --for ever").expect_err("no time");
        assert!(wrong.starts_with("dunlin: --for must be a time such as"), "{wrong}");
    }

    #[test]
    fn a_question_is_what_was_said() {
        let target = BanTarget::Client(Named::of("t \"x\"", "c\n1"));
        let time = Some(Duration::from_secs(100));
        let add = BanCommand::Add { target: target.clone(), time, reason: "so".to_owned() };
        let question = add.question();
        let (verb, text) = question.split_once('\n').expect("a line");
        let read = BanRequest::read(verb.trim_start_matches("ban "), text);
        let Some(BanRequest::Add(ban)) = read else { panic!("{read:?}") };
        assert_eq!((&ban.target, &*ban.reason), (&target, "so"));
        assert!(ban.until.is_some_and(|UnixSeconds(until)| until >= now().0 + 90));
        let question = BanCommand::Remove(target.clone()).question();
        let (verb, text) = question.split_once('\n').expect("a line");
        assert_eq!(verb, "ban remove");
        assert_eq!(BanRequest::read("remove", text), Some(BanRequest::Remove(target)));
        assert_eq!(BanRequest::read("list", ""), Some(BanRequest::List));
        for (verb, text) in [("add", ""), ("add", "[[ban]]\n"), ("drop", "")] {
            assert_eq!(BanRequest::read(verb, text), None);
        }
    }

    #[test]
    fn the_list_says_who_how_long_and_why() {
        let ban = |target, until: Option<u64>, reason: &str| Ban {
            target,
            until: until.map(UnixSeconds),
            reason: reason.into(),
        };
        let bans = [
            ban(BanTarget::Address("10.0.0.0/8".parse().expect("a range")), Some(190), "scans"),
            ban(BanTarget::User(Named::anywhere("eve")), None, ""),
            ban(BanTarget::Client(Named::of("t", "c")), Some(100 + 90_061), "flaps"),
        ];
        assert_eq!(
            list(&bans, UnixSeconds(100)),
            "address 10.0.0.0/8, for 1min 30s: scans\n\
             user eve, until it is taken back\n\
             client c of tenant t, for 1d 1h: flaps\n"
        );
        assert_eq!(list(&[], UnixSeconds(0)), "nobody is banned\n");
    }
}

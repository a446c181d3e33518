//! `dunlin acl`: whether a file of rules is good, and why somebody may do something or not.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_access::{
    Qos, Question, RuleSet, Subject, explain, nearest, parse_mosquitto_acl, parse_rules,
};
use dunlin_broker::TopicName;
use lexopt::{Arg, Parser, ValueExt as _};

use crate::failure::Failure;
use crate::problem::{Origin, Problem};

pub(crate) const HELP: &str = "\
dunlin acl: rules about who may publish and subscribe to what (docs/ACCESS.md)

Usage: dunlin acl check FILE                            say what is wrong with a file of rules
       dunlin acl explain --acl FILE [OPTIONS] publish TOPIC
       dunlin acl explain --acl FILE [OPTIONS] subscribe FILTER
       dunlin acl explain --acl FILE [OPTIONS] receive TOPIC
                                                        say whether a client may do that, by which rule, and what
                                                        every other rule has to do with it

Options of both:
      --mosquitto        the file is an acl_file of Mosquitto; what of it means something else here is listed

Options of explain:
      --acl FILE         the file of rules
      --user NAME        the user; without it the client is anonymous
      --tenant NAME      the tenant
      --client ID        the client id
      --role NAME        a role that its authentication gives it; repeatable
      --attribute NAME=VALUE  something else that is known of it: claims.site=oslo, cert.cn=meter7; repeatable
      --qos 0|1|2        0 if it is not said
      --retain           the message is to be retained

Exit codes: 0 the file is good, or the answer is yes; 2 command line not understood; 3 the file is not good;
7 the answer is no
";

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AclCommand {
    Help,
    Check { file: RulesFile },
    Explain { file: RulesFile, client: Box<Client>, question: Question },
}

/// Rules in one of two formats.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct RulesFile {
    path: PathBuf,
    is_mosquitto: bool,
}

/// Who is asked about.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Client {
    user: Option<String>,
    tenant: Option<String>,
    id: String,
    roles: Vec<String>,
    attributes: Vec<(String, String)>,
}

const COMMANDS: [&str; 2] = ["check", "explain"];
const ACTIONS: [&str; 3] = ["publish", "subscribe", "receive"];
const OPTIONS: [&str; 9] =
    ["acl", "mosquitto", "user", "tenant", "client", "role", "attribute", "qos", "retain"];

impl AclCommand {
    /// Reads what follows the word `acl`.
    pub(crate) fn read(parser: &mut Parser) -> Result<Self, Failure> {
        let mut words = Vec::new();
        let mut path = None;
        let mut is_mosquitto = false;
        let mut client = Client::default();
        let (mut qos, mut retain) = (Qos::AtMostOnce, false);
        let mut options: Vec<&str> = Vec::new();
        while let Some(argument) = parser.next().map_err(usage)? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => return Ok(Self::Help),
                Arg::Value(word) => words.push(word.string().map_err(usage)?),
                Arg::Long("mosquitto") => is_mosquitto = true,
                Arg::Long(name) => {
                    let option = OPTIONS.iter().find(|option| **option == name);
                    options.extend(option);
                    match name {
                        "acl" => path = Some(PathBuf::from(parser.value().map_err(usage)?)),
                        "user" => client.user = Some(text(parser)?),
                        "tenant" => client.tenant = Some(text(parser)?),
                        "client" => client.id = text(parser)?,
                        "role" => client.roles.push(text(parser)?),
                        "attribute" => client.attributes.push(attribute(&text(parser)?)?),
                        "qos" => qos = quality(&text(parser)?)?,
                        "retain" => retain = true,
                        _ => return Err(unknown("option", name, &OPTIONS, "--")),
                    }
                }
                Arg::Short(letter) => return Err(refused(format!("unknown option -{letter}"))),
            }
        }
        let mut words = words.into_iter();
        let command = words.next();
        match command.as_deref() {
            Some("check") => {
                if let Some(option) = options.first() {
                    return Err(refused(format!("--{option} goes with `dunlin acl explain`")));
                }
                let path =
                    words.next().ok_or_else(|| refused("`dunlin acl check` needs a file"))?;
                end(words.next())?;
                Ok(Self::Check { file: RulesFile { path: path.into(), is_mosquitto } })
            }
            Some("explain") => {
                let action = words.next();
                let topic = words.next();
                end(words.next())?;
                let (Some(action), Some(topic)) = (action, topic) else {
                    let message =
                        "`dunlin acl explain` needs publish, subscribe or receive, and a topic";
                    return Err(refused(message));
                };
                let question = question(&action, &topic, qos, retain)?;
                let needs = "`dunlin acl explain` needs a file of rules: --acl FILE";
                let path = path.ok_or_else(|| refused(needs))?;
                let file = RulesFile { path, is_mosquitto };
                Ok(Self::Explain { file, client: Box::new(client), question })
            }
            Some(word) => Err(unknown("command acl", word, &COMMANDS, "")),
            None => Err(refused("`dunlin acl` needs a command: check or explain")),
        }
    }

    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Help => print(HELP),
            Self::Check { file } => {
                let rules = file.rules()?;
                let name = file.path.display();
                let count = rules.rules().len();
                print(&match rules.is_open() {
                    true => {
                        format!("{name}: good, but without rules: everybody may do everything\n")
                    }
                    false => format!("{name}: good, {count} rules\n"),
                })
            }
            Self::Explain { file, client, question } => {
                let rules = Arc::new(file.rules()?);
                let explanation = explain(&rules, &client.subject(), question);
                print(&explanation.to_string())?;
                if explanation.is_refused() { Err(Failure::AnswerIsNo) } else { Ok(()) }
            }
        }
    }
}

impl Client {
    fn subject(&self) -> Subject<'_> {
        Subject {
            user: self.user.as_deref(),
            tenant: self.tenant.as_deref(),
            client_id: &self.id,
            roles: &self.roles,
            attributes: &self.attributes,
        }
    }
}

impl RulesFile {
    fn rules(&self) -> Result<RuleSet, Failure> {
        let name = self.path.display().to_string();
        let text = read(&self.path)?;
        if !self.is_mosquitto {
            return parse_rules(&name, &text).map_err(|problems| {
                Failure::Configuration(problems.into_iter().map(Problem::from).collect())
            });
        }
        let acl = parse_mosquitto_acl(&name, &text);
        for remark in &acl.remarks {
            print(&format!("{remark}\n"))?;
        }
        Ok(acl.rules)
    }
}

/// The whole of a file that the command line names.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        let origin = Origin::Flag(path.display().to_string());
        Failure::Configuration(vec![Problem::new(origin, format!("cannot be read: {error}"))])
    })
}

fn question(action: &str, topic: &str, qos: Qos, retain: bool) -> Result<Question, Failure> {
    let bad = |error: &dyn std::fmt::Display| refused(format!("{topic}: {error}"));
    if retain && action != "publish" {
        return Err(refused("--retain goes with publish"));
    }
    match action {
        "publish" => {
            let topic = TopicName::copy_from(topic).map_err(|error| bad(&error))?;
            Ok(Question::Publish { topic, qos, retain })
        }
        "receive" => {
            let topic = TopicName::copy_from(topic).map_err(|error| bad(&error))?;
            Ok(Question::Deliver { topic })
        }
        "subscribe" => {
            let filter = topic.try_into().map_err(|error| bad(&error))?;
            Ok(Question::Subscribe { filter, qos })
        }
        _ => Err(unknown("action", action, &ACTIONS, "")),
    }
}

fn attribute(text: &str) -> Result<(String, String), Failure> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| refused(format!("--attribute {text}: it is NAME=VALUE")))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn quality(text: &str) -> Result<Qos, Failure> {
    let digit = text.parse().ok();
    digit.and_then(Qos::of_digit).ok_or_else(|| refused(format!("--qos {text}: it is 0, 1 or 2")))
}

fn text(parser: &mut Parser) -> Result<String, Failure> {
    parser.value().and_then(|value| value.string()).map_err(usage)
}

fn end(word: Option<String>) -> Result<(), Failure> {
    word.map_or(Ok(()), |word| Err(refused(format!("unexpected word {word}"))))
}

fn unknown(what: &str, word: &str, known: &[&str], dashes: &str) -> Failure {
    let advice = nearest(word, known.iter().copied()).map_or_else(
        || "see dunlin acl --help".to_owned(),
        |near| format!("did you mean {dashes}{near}?"),
    );
    refused(format!("unknown {what} {dashes}{word}: {advice}"))
}

fn refused(message: impl Into<String>) -> Failure {
    Failure::Usage(message.into())
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn usage(error: lexopt::Error) -> Failure {
    refused(format!("{error}: see dunlin acl --help"))
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::Run(format!("cannot write: {error}")))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn read(line: &str) -> Result<AclCommand, String> {
        let mut parser = Parser::from_args(line.split_whitespace().map(OsString::from));
        AclCommand::read(&mut parser).map_err(|failure| failure.to_string())
    }

    #[test]
    fn every_option_is_in_the_help() {
        assert!(OPTIONS.iter().all(|option| HELP.contains(&format!("--{option}"))));
        assert!(COMMANDS.iter().chain(&ACTIONS).all(|word| HELP.contains(word)));
        assert_eq!(read("explain --help"), Ok(AclCommand::Help));
    }

    #[test]
    fn a_client_is_described_by_options() {
        let line = "explain --acl f publish a/b --user u --tenant t --client c --role r --role s \
                    --attribute claims.site=a=b --qos 1 --retain --mosquitto";
        let client = Client {
            user: Some("u".into()),
            tenant: Some("t".into()),
            id: "c".into(),
            roles: vec!["r".into(), "s".into()],
            attributes: vec![("claims.site".into(), "a=b".into())],
        };
        let topic = TopicName::copy_from("a/b").expect("a name");
        let expected = AclCommand::Explain {
            file: RulesFile { path: "f".into(), is_mosquitto: true },
            client: Box::new(client),
            question: Question::Publish { topic, qos: Qos::AtLeastOnce, retain: true },
        };
        assert_eq!(read(line), Ok(expected));
    }

    #[test]
    fn slips() {
        for (line, message) in [
            ("", "`dunlin acl` needs a command: check or explain"),
            ("chek f", "unknown command acl chek: did you mean check?"),
            ("check", "`dunlin acl check` needs a file"),
            ("check f g", "unexpected word g"),
            ("check f --user u", "--user goes with `dunlin acl explain`"),
            (
                "explain publish",
                "`dunlin acl explain` needs publish, subscribe or receive, and a topic",
            ),
            ("explain publish a", "`dunlin acl explain` needs a file of rules: --acl FILE"),
            ("explain publsh a --acl f", "unknown action publsh: did you mean publish?"),
            ("explain publish a/# --acl f", "a/#: topic name has a wildcard at byte 2"),
            (
                "explain subscribe a/#/b --acl f",
                "a/#/b: topic filter goes on after the # at byte 2",
            ),
            ("explain subscribe a --retain --acl f", "--retain goes with publish"),
            ("explain --qos 3", "--qos 3: it is 0, 1 or 2"),
            ("explain --attribute x", "--attribute x: it is NAME=VALUE"),
            ("explain --usr x", "unknown option --usr: did you mean --user?"),
            ("explain -x", "unknown option -x"),
        ] {
            assert_eq!(read(line), Err(format!("dunlin: {message}\n")), "{line}");
        }
    }
}

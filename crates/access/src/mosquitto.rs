//! Mosquitto's `acl_file`.
//!
//! What Mosquitto means by its lines, as its manual says and its broker does:
//!
//! - Lines before the first `user` are for anonymous clients, lines behind it for that user. `pattern` lines are for everybody,
//!   with `%u` and `%c` filled; a pattern with `%u` is not for anonymous clients.
//! - `read` is checked when a message is about to be delivered, and never when a client subscribes. Hence
//!   [`Overlap::Filter`].
//! - What no line allows is denied. A `deny` of a user comes before everything that allows; a `pattern deny` comes before
//!   other patterns only.

use dunlin_topics::TopicFilter;

use crate::containment::overlaps;
use crate::file::RULES_FILE_BYTES_MAX;
use crate::problem::{Lines, Problem};
use crate::rule::{Action, Caps, Effect, Holder, Origin};
use crate::rule_set::{Options, Overlap, RuleSet, RuleSetBuilder};

/// Rules from Mosquitto, and what of them means something else here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MosquittoAcl {
    /// The rules. Closed, even if the file has none, as with Mosquitto.
    pub rules: RuleSet,
    /// Line by line what could not be carried, or works otherwise here. Empty if all is as it was.
    pub remarks: Vec<Problem>,
}

/// Reads an `acl_file` of Mosquitto. `name` is the file's, as it is to stand in origins and remarks.
///
/// ```
/// use dunlin_access::parse_mosquitto_acl;
///
/// let acl = parse_mosquitto_acl("acl", "\
/// topic read public/#
///
/// user alice
/// topic readwrite alice/#
/// topic deny alice/raw/#
/// topicc read b
///
/// pattern write clients/%c/state
/// ");
/// let remarks: Vec<String> = acl.remarks.iter().map(ToString::to_string).collect();
/// assert_eq!(remarks[0], "acl:6: unknown keyword `topicc`: the line is left out");
/// let rules: Vec<String> = acl.rules.rules().map(ToString::to_string).collect();
/// assert_eq!(rules[0], "anonymous clients: allow subscribe public/#");
/// assert_eq!(rules[5], "everyone: allow publish clients/{clientId}/state");
/// ```
#[must_use]
pub fn parse_mosquitto_acl(name: &str, text: &str) -> MosquittoAcl {
    let mut reader = Reader {
        lines: Lines::new(name, text),
        builder: RuleSet::builder(),
        holder: Holder::anonymous(),
        allowed: Vec::new(),
        pattern_denies: Vec::new(),
        first_pattern: None,
        remarks: Vec::new(),
    };
    reader.builder.options(Options { overlap: Overlap::Filter, ..Options::default() }).close();
    if text.len() > RULES_FILE_BYTES_MAX {
        let message = format!("more than {RULES_FILE_BYTES_MAX} bytes: the file is left out");
        reader.remark(1, message);
        return reader.finish();
    }
    for (number, line) in (1..).zip(text.lines()) {
        reader.line(number, line.trim_ascii_end());
    }
    reader.finish()
}

struct Reader {
    lines: Lines,
    builder: RuleSetBuilder,
    /// Who the next `topic` is for.
    holder: Holder,
    /// Of `topic` lines that allow.
    allowed: Vec<(Action, TopicFilter)>,
    pattern_denies: Vec<(usize, TopicFilter)>,
    first_pattern: Option<usize>,
    remarks: Vec<Problem>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Access {
    Read,
    Write,
    ReadWrite,
    Deny,
}

impl Access {
    fn of(word: &str) -> Option<Self> {
        match word {
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            "readwrite" => Some(Self::ReadWrite),
            "deny" => Some(Self::Deny),
            _ => None,
        }
    }

    const fn actions(self) -> &'static [Action] {
        match self {
            Self::Read => &[Action::Subscribe],
            Self::Write => &[Action::Publish],
            Self::ReadWrite | Self::Deny => &[Action::Publish, Action::Subscribe],
        }
    }
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let line = line.trim_start_matches(' ');
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_ascii();
        match keyword {
            "user" if rest.is_empty() => {
                // Lines that follow must not become somebody else's.
                self.holder = Holder::user("");
                self.remark(number, "a user without a name: the lines for it are left out");
            }
            "user" => self.holder = Holder::user(rest),
            "topic" | "pattern" if rest.is_empty() => {
                self.remark(number, format!("a {keyword} without a topic: the line is left out"));
            }
            "topic" if self.holder == Holder::user("") => {
                self.remark(number, "the line belongs to a user without a name and is left out");
            }
            "topic" => self.topic(number, rest),
            "pattern" => self.pattern(number, rest),
            _ => self.remark(number, format!("unknown keyword `{keyword}`: the line is left out")),
        }
    }

    fn topic(&mut self, number: usize, rest: &str) {
        let Some((access, filter)) = self.access(number, rest) else { return };
        let holder = self.holder.clone();
        if !self.add(number, &holder, access, &doubled(filter)) {
            return;
        }
        if let (true, Ok(filter)) = (access != Access::Deny, TopicFilter::copy_from(filter)) {
            let actions = access.actions().iter();
            self.allowed.extend(actions.map(|action| (*action, filter.clone())));
        }
    }

    fn pattern(&mut self, number: usize, rest: &str) {
        let Some((access, filter)) = self.access(number, rest) else { return };
        let template = doubled(filter).replace("%u", "{username}").replace("%c", "{clientId}");
        if !self.add(number, &Holder::everyone(), access, &template) {
            return;
        }
        if template.contains("{username}") || template.contains("{clientId}") {
            self.first_pattern.get_or_insert(number);
        }
        // What stands for the names may be anything; a whole level is the widest.
        let widest = filter
            .split('/')
            .map(|level| if level.contains("%u") || level.contains("%c") { "+" } else { level });
        let widest = widest.collect::<Vec<_>>().join("/");
        if let (Access::Deny, Ok(filter)) = (access, TopicFilter::copy_from(&widest)) {
            self.pattern_denies.push((number, filter));
        }
    }

    /// `read a/b`, or `a/b` alone, which is for reading and writing.
    fn access<'a>(&mut self, number: usize, rest: &'a str) -> Option<(Access, &'a str)> {
        let Some((word, filter)) = rest.split_once(' ') else {
            return Some((Access::ReadWrite, rest));
        };
        let access = Access::of(word);
        if access.is_none() {
            let message =
                format!("`{word}` is none of read, write, readwrite, deny: the line is left out");
            self.remark(number, message);
        }
        Some((access?, filter.trim_ascii()))
    }

    fn add(&mut self, number: usize, holder: &Holder, access: Access, template: &str) -> bool {
        for &action in access.actions() {
            let effect = match access {
                Access::Deny => Effect::Deny,
                Access::Read | Access::Write | Access::ReadWrite => Effect::Allow(Caps::default()),
            };
            let origin: Origin = self.lines.at_line(number);
            if let Err(error) =
                self.builder.add(holder.clone(), action, effect, template, origin).map(|_| ())
            {
                self.remark(number, format!("{error}: the line is left out"));
                return false;
            }
        }
        true
    }

    fn remark(&mut self, number: usize, message: impl Into<String>) {
        self.remarks.push(Problem { origin: self.lines.at_line(number), message: message.into() });
    }

    fn finish(mut self) -> MosquittoAcl {
        for (number, denied) in std::mem::take(&mut self.pattern_denies) {
            if self.allowed.iter().any(|(_, allowed)| overlaps(allowed, &denied)) {
                let message = "with Mosquitto a `topic` line that allows comes before this \
                               `pattern deny`; here what denies comes first";
                self.remark(number, message);
            }
        }
        if let Some(number) = self.first_pattern {
            let message = "a client whose user name or client id is empty or holds a / is refused at \
                           CONNECT, since it would reach beyond its level of a pattern; Mosquitto \
                           takes it";
            self.remark(number, message);
        }
        self.remarks.sort_by_key(|remark| remark.origin.line);
        MosquittoAcl { rules: self.builder.build(), remarks: self.remarks }
    }
}

/// Braces that Mosquitto takes as they are.
fn doubled(filter: &str) -> String {
    filter.replace('{', "{{").replace('}', "}}")
}

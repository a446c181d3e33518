//! A filter with placeholders, which CONNECT fills.

use std::fmt;

use dunlin_topics::{InvalidTopicFilter, TextRules, TopicFilter};
use smallvec::SmallVec;

use crate::nearest::nearest;
use crate::subject::Subject;

/// The most levels a rule's filter has. A deeper one is refused where the rule is read.
pub const RULE_LEVELS_MAX: usize = 128;

/// A part of a filter that is different for each client.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Placeholder {
    /// `{tenantId}`: the tenant.
    TenantId,
    /// `{username}`: the user that the client authenticated as.
    Username,
    /// `{clientId}`: the Client Identifier.
    ClientId,
    /// `{claims.NAME}`: a claim of the token that the client came with.
    Claim(Box<str>),
    /// `{cert.cn}`: the common name of the certificate that the client came with.
    CertCn,
}

/// What a claim's placeholder begins with.
const CLAIMS: &str = "claims.";
const CERT_CN: &str = "cert.cn";
/// As in rules, for suggestions.
const NAMES: [&str; 5] = ["tenantId", "username", "clientId", "claims.NAME", CERT_CN];

impl Placeholder {
    /// By what stands between the braces.
    fn of(name: &str) -> Option<Self> {
        match name {
            "tenantId" => Some(Self::TenantId),
            "username" => Some(Self::Username),
            "clientId" => Some(Self::ClientId),
            CERT_CN => Some(Self::CertCn),
            _ => name
                .strip_prefix(CLAIMS)
                .filter(|claim| !claim.is_empty())
                .map(|claim| Self::Claim(claim.into())),
        }
    }

    /// What it stands for with this client; none if the client has no such thing.
    ///
    /// # Errors
    ///
    /// Why the value cannot stand in a filter. A value that holds a separator or wildcard would reach beyond its level.
    pub(crate) fn value<'a>(&self, subject: &Subject<'a>) -> Result<Option<&'a str>, ValueProblem> {
        let value = match self {
            Self::TenantId => subject.tenant,
            Self::Username => subject.user,
            Self::ClientId => Some(subject.client_id),
            Self::Claim(claim) => attribute(subject, |name| {
                name.strip_prefix(CLAIMS).is_some_and(|name| name == &**claim)
            })?,
            Self::CertCn => attribute(subject, |name| name == CERT_CN)?,
        };
        value.map(check).transpose()
    }
}

fn attribute<'a>(
    subject: &Subject<'a>,
    is_meant: impl Fn(&str) -> bool,
) -> Result<Option<&'a str>, ValueProblem> {
    let mut values = subject.attributes.iter().filter(|(name, _)| is_meant(name));
    let value = values.next().map(|(_, value)| &**value);
    if values.next().is_some() { Err(ValueProblem::Several) } else { Ok(value) }
}

fn check(value: &str) -> Result<&str, ValueProblem> {
    if value.is_empty() {
        return Err(ValueProblem::Empty);
    }
    match value.chars().find(|letter| matches!(letter, '/' | '+' | '#' | '\0')) {
        Some(letter) => Err(ValueProblem::Holds(letter)),
        None => Ok(value),
    }
}

/// As it stands in rules, braces included.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TenantId => f.write_str("{tenantId}"),
            Self::Username => f.write_str("{username}"),
            Self::ClientId => f.write_str("{clientId}"),
            Self::Claim(claim) => write!(f, "{{{CLAIMS}{claim}}}"),
            Self::CertCn => write!(f, "{{{CERT_CN}}}"),
        }
    }
}

/// Why a value cannot stand for its placeholder.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueProblem {
    /// It has no characters.
    #[error("the value is empty")]
    Empty,
    /// It holds a character that would reach beyond its level: `/`, `+`, `#` or U+0000.
    #[error("the value holds {0:?}")]
    Holds(char),
    /// It begins with `$` where the filter would begin with it, which would reach what the server keeps for itself.
    #[error("the value begins with '$' and would begin the filter")]
    Reserved,
    /// There is more than one value.
    #[error("there are several values")]
    Several,
    /// With it the filter is no filter any more, for instance too long.
    #[error("the filled filter is refused: {0}")]
    Filter(InvalidTopicFilter),
}

/// Why a rule's filter is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTemplate {
    /// A `{` without its `}`.
    #[error("the {{ at byte {0} is not closed; a brace that is meant is written twice")]
    Unclosed(usize),
    /// A `}` without its `{`.
    #[error("the }} at byte {0} closes nothing; a brace that is meant is written twice")]
    Unopened(usize),
    /// Braces around something that is no placeholder.
    #[error("unknown placeholder {{{name}}}{}", advice(*.near))]
    Unknown {
        /// What stands between the braces.
        name: Box<str>,
        /// What was most likely meant.
        near: Option<&'static str>,
    },
    /// No Topic Filter, whatever stands for the placeholders.
    #[error("{0}")]
    Filter(InvalidTopicFilter),
    /// More than [`RULE_LEVELS_MAX`] levels.
    #[error("the filter has {0} levels, more than {RULE_LEVELS_MAX}")]
    TooDeep(usize),
}

fn advice(near: Option<&str>) -> String {
    match near {
        Some(near) => format!(": did you mean {{{near}}}?"),
        None => format!(": there are {{{}}}", NAMES.join("}, {")),
    }
}

/// A filter with placeholders, checked when it was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Template {
    parts: SmallVec<[Part; 2]>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Text(Box<str>),
    Hole(Placeholder),
}

impl Template {
    /// Reads a filter in which `{name}` is a placeholder, `{{` a brace that opens and `}}` one that closes.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let mut template = Self { parts: SmallVec::new() };
        let mut plain = String::new();
        let mut letters = text.char_indices().peekable();
        while let Some((offset, letter)) = letters.next() {
            let is_doubled = letters.peek().is_some_and(|&(_, next)| next == letter);
            match letter {
                '{' | '}' if is_doubled => {
                    plain.push(letter);
                    letters.next();
                }
                '}' => return Err(InvalidTemplate::Unopened(offset)),
                '{' => {
                    let behind = text.get(offset + 1..).unwrap_or_default();
                    let (name, _) =
                        behind.split_once('}').ok_or(InvalidTemplate::Unclosed(offset))?;
                    let placeholder = Placeholder::of(name).ok_or_else(|| unknown(name))?;
                    // As many characters as the name has, and the brace.
                    letters.nth(name.chars().count());
                    template.push_text(&mut plain);
                    template.parts.push(Part::Hole(placeholder));
                }
                _ => plain.push(letter),
            }
        }
        template.push_text(&mut plain);
        template.check()?;
        Ok(template)
    }

    fn push_text(&mut self, plain: &mut String) {
        if !plain.is_empty() {
            self.parts.push(Part::Text(std::mem::take(plain).into()));
        }
    }

    /// A value is never empty and has no separators, so one letter stands for all of them.
    fn check(&self) -> Result<(), InvalidTemplate> {
        let text = self.text_with(|_| "x");
        let filter = TopicFilter::parse(text.as_bytes(), TextRules::PERMISSIVE)
            .map_err(InvalidTemplate::Filter)?;
        let levels = filter.level_count();
        if levels > RULE_LEVELS_MAX { Err(InvalidTemplate::TooDeep(levels)) } else { Ok(()) }
    }

    fn text_with<'a>(&'a self, value: impl Fn(&Placeholder) -> &'a str) -> String {
        let part = |part: &'a Part| match part {
            Part::Text(text) => &**text,
            Part::Hole(placeholder) => value(placeholder),
        };
        self.parts.iter().map(part).collect()
    }

    /// The placeholders in it, in their order.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(placeholder) => Some(placeholder),
            Part::Text(_) => None,
        })
    }

    /// The filter for this client.
    pub(crate) fn fill(&self, subject: &Subject<'_>) -> Result<TopicFilter, Unfilled> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Hole(placeholder) => {
                    let refused = |problem| Unfilled::Refused(placeholder.clone(), problem);
                    let value = placeholder.value(subject).map_err(refused)?;
                    let value = value.ok_or_else(|| Unfilled::Missing(placeholder.clone()))?;
                    if text.is_empty() && value.starts_with('$') {
                        return Err(refused(ValueProblem::Reserved));
                    }
                    text.push_str(value);
                }
            }
        }
        TopicFilter::parse(text.as_bytes(), TextRules::PERMISSIVE).map_err(|error| {
            // Without placeholders it was checked when it was read, so there is one.
            let placeholder = self.placeholders().next().cloned();
            let placeholder = placeholder.unwrap_or(Placeholder::ClientId);
            Unfilled::Refused(placeholder, ValueProblem::Filter(error))
        })
    }
}

fn unknown(name: &str) -> InvalidTemplate {
    InvalidTemplate::Unknown { name: name.into(), near: nearest(name, NAMES.into_iter()) }
}

/// Why a template gives no filter for a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Unfilled {
    /// The client has no such thing: the rule is not for it.
    Missing(Placeholder),
    /// The client has something that must not stand in a filter.
    Refused(Placeholder, ValueProblem),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_template() {
        for (text, expected) in [
            ("a/b", Ok("a/b")),
            ("{tenantId}/read/#", Ok("x/read/#")),
            ("a/dev-{clientId}-{username}/+", Ok("a/dev-x-x/+")),
            ("{claims.site}/{cert.cn}", Ok("x/x")),
            ("{{a}}/{username}}}", Ok("{a}/x}")),
            ("é{username}é/{clientId}", Ok("éxé/x")),
            (
                "a/{username",
                Err("the { at byte 2 is not closed; a brace that is meant is written twice"),
            ),
            ("a}/b", Err("the } at byte 1 closes nothing; a brace that is meant is written twice")),
            ("{userName}", Err("unknown placeholder {userName}: did you mean {username}?")),
            ("{clientid}", Err("unknown placeholder {clientid}: did you mean {clientId}?")),
            (
                "{claims.}",
                Err(
                    "unknown placeholder {claims.}: there are {tenantId}, {username}, {clientId}, {claims.NAME}, {cert.cn}",
                ),
            ),
            (
                "{}",
                Err(
                    "unknown placeholder {}: there are {tenantId}, {username}, {clientId}, {claims.NAME}, {cert.cn}",
                ),
            ),
            ("", Err("topic filter is empty")),
            (
                "a/+{username}",
                Err("topic filter has a wildcard at byte 2 that is not a level of its own"),
            ),
            ("#/{username}", Err("topic filter goes on after the # at byte 0")),
        ] {
            let found = Template::parse(text).map(|template| template.text_with(|_| "x"));
            let found = found.map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(|error| &**error), expected, "{text}");
        }
        assert_eq!(Template::parse(&"/".repeat(127)).err(), None);
        assert_eq!(Template::parse(&"/".repeat(128)), Err(InvalidTemplate::TooDeep(129)));
    }

    #[test]
    fn values_stay_in_their_level() {
        let attributes = [("claims.site", "north"), ("claims.group", "a"), ("claims.group", "b")];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let check = |template: &str, user: Option<&str>, client_id: &str| {
            let subject =
                Subject { user, client_id, attributes: &attributes, ..Subject::default() };
            let template = Template::parse(template).expect(template);
            template.fill(&subject).map(|filter| filter.to_string())
        };
        let refused = |placeholder, problem| Err(Unfilled::Refused(placeholder, problem));
        let holds = ValueProblem::Holds;

        assert_eq!(check("{username}/#", Some("u"), "c"), Ok("u/#".to_owned()));
        assert_eq!(check("a/x{clientId}y/{claims.site}", None, "c"), Ok("a/xcy/north".to_owned()));
        assert_eq!(check("{username}", None, "c"), Err(Unfilled::Missing(Placeholder::Username)));
        assert_eq!(
            check("{claims.other}", None, "c"),
            Err(Unfilled::Missing(Placeholder::Claim("other".into())))
        );
        for (value, problem) in [
            ("", ValueProblem::Empty),
            ("a/b", holds('/')),
            ("+", holds('+')),
            ("a#", holds('#')),
            ("a\0", holds('\0')),
            ("$SYS", ValueProblem::Reserved),
        ] {
            assert_eq!(
                check("{username}/#", Some(value), "c"),
                refused(Placeholder::Username, problem)
            );
        }
        assert_eq!(check("u/{username}", Some("$SYS"), "c"), Ok("u/$SYS".to_owned()));
        assert_eq!(
            check("{claims.group}", None, "c"),
            refused(Placeholder::Claim("group".into()), ValueProblem::Several)
        );
        let long = "x".repeat(65_535);
        assert!(matches!(
            check("a/{clientId}", None, &long),
            Err(Unfilled::Refused(Placeholder::ClientId, ValueProblem::Filter(_)))
        ));
    }
}

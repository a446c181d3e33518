//! What one client may do: the rules for it, filled and packed.

use std::fmt;
use std::sync::Arc;

use dunlin_topics::TopicFilter;

use crate::containment::{Levels, intersection, levels};
use crate::rule::{Action, Caps, Effect, Origin, Qos, Rule, RuleId};
use crate::rule_set::{Overlap, RuleSet, Section, SectionId};
use crate::subject::Subject;
use crate::table::{Draft, Entry, FilterTable};
use crate::template::{Placeholder, Unfilled, ValueProblem};

/// The most bytes that the filters of one client's rules have together, publishing and subscribing apart. A client with
/// more is refused, which takes rules by the ten thousand.
pub const RIGHTS_TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a client may do.
///
/// Made once per set of rules that are for a client and per values of their placeholders, and shared by all clients that
/// have those in common: see [`RightsCache`](crate::RightsCache). To ask for a topic allocates nothing.
#[derive(Clone, Debug)]
pub struct Rights {
    rules: Arc<RuleSet>,
    publish: FilterTable,
    subscribe: FilterTable,
}

/// A message that a client wants to publish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Publication<'a> {
    /// The bytes of its Topic Name.
    pub topic: &'a [u8],
    /// Its QoS.
    pub qos: Qos,
    /// Whether it is to be retained.
    pub retain: bool,
}

/// Whether a message may go the way it wants to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// It may, by this rule; by none where there are no rules at all.
    Allowed(Option<RuleId>),
    /// It may not.
    Refused(Refusal),
}

impl Decision {
    /// Whether it may.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// Whether a subscription is granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is, for all that its filter matches, at this QoS: the lower of what was asked for and what the rules allow.
    Granted(Qos),
    /// It is granted at this QoS as far as the client's rights go, under [`Overlap::Filter`]: each message has to be asked
    /// about with [`Rights::deliver`] before it goes to the client, live, queued and retained alike.
    Filtered(Qos),
    /// It is not.
    Refused(Refusal),
}

/// Why something may not be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// A rule denies it, or part of what a filter matches.
    Denied(RuleId),
    /// No rule allows it.
    NotAllowed,
    /// The rule would allow it at a lower QoS.
    Qos(RuleId),
    /// The rule would allow it, were it not to be retained.
    Retain(RuleId),
    /// The filter matches more than the rules allow. This one allows part of it.
    TooWide(RuleId),
}

impl Refusal {
    /// The rule that decided, or would have allowed it otherwise.
    #[must_use]
    pub const fn rule(&self) -> Option<RuleId> {
        match *self {
            Self::NotAllowed => None,
            Self::Denied(rule) | Self::Qos(rule) | Self::Retain(rule) | Self::TooWide(rule) => {
                Some(rule)
            }
        }
    }
}

/// In a few words, without the rule.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied(_) => "a rule denies it",
            Self::NotAllowed => "no rule allows it",
            Self::Qos(_) => "the QoS is higher than the rule allows",
            Self::Retain(_) => "the rule does not allow retained messages",
            Self::TooWide(_) => "the filter matches more than the rules allow",
        })
    }
}

/// Why a client has no rights that could be said.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSubject {
    /// Something about it must not stand in a filter.
    #[error("{placeholder} in the rule at {origin}: {problem}")]
    Value {
        /// What of it.
        placeholder: Placeholder,
        /// Why not.
        problem: ValueProblem,
        /// The rule that needs it.
        rule: RuleId,
        /// Where that stands.
        origin: Origin,
    },
    /// Its rules have more than [`RIGHTS_TEXT_BYTES_MAX`] bytes of filters.
    #[error("the filters of its rules have more than {RIGHTS_TEXT_BYTES_MAX} bytes together")]
    TooLarge,
}

impl Rights {
    /// The rights of a client under some rules.
    ///
    /// A rule whose placeholder the client has no value for, such as `{username}` with an anonymous one, is not for it.
    ///
    /// # Errors
    ///
    /// A value that must not stand in a filter, or too many filters: such a client is not to be let in.
    pub fn new(rules: &Arc<RuleSet>, subject: &Subject<'_>) -> Result<Self, InvalidSubject> {
        Self::of_sections(rules, subject, rules.standing(subject).sections)
    }

    /// The rights by the sections that are about the client.
    pub(crate) fn of_sections(
        rules: &Arc<RuleSet>,
        subject: &Subject<'_>,
        sections: impl IntoIterator<Item = SectionId>,
    ) -> Result<Self, InvalidSubject> {
        let mut publish = Draft::default();
        let mut subscribe = Draft::default();
        let sections = sections.into_iter().filter_map(|id| rules.section(id));
        for &id in sections.flat_map(|section: &Section| &section.rules) {
            let Some(rule) = rules.rule(id) else { continue };
            let Some(filter) = fill(id, rule, subject)? else { continue };
            let draft = match rule.action {
                Action::Publish => &mut publish,
                Action::Subscribe => &mut subscribe,
            };
            if draft.text_bytes() + filter.len() > RIGHTS_TEXT_BYTES_MAX {
                return Err(InvalidSubject::TooLarge);
            }
            draft.insert(&filter, id, rule.effect);
        }
        Ok(Self {
            rules: Arc::clone(rules),
            publish: publish.finish(),
            subscribe: subscribe.finish(),
        })
    }

    /// The rules that these rights come from.
    #[must_use]
    pub const fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Bytes that these rights take, the rule set apart, which all share.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.publish.heap_bytes() + self.subscribe.heap_bytes()
    }

    /// Whether a message may be published: asked of each PUBLISH, of a will at CONNECT, and again when it fires.
    ///
    /// Allocates nothing. A `topic` that is no Topic Name gives an answer without meaning.
    #[must_use]
    pub fn publish(&self, message: &Publication<'_>) -> Decision {
        self.decide(&self.publish, message.topic, |rule, caps| {
            if message.qos > caps.qos_max {
                Some(Refusal::Qos(rule))
            } else if message.retain && !caps.retain {
                Some(Refusal::Retain(rule))
            } else {
                None
            }
        })
    }

    /// Whether a message on a topic may be sent to the client: asked for subscriptions that are [`Verdict::Filtered`].
    ///
    /// Allocates nothing. A `topic` that is no Topic Name gives an answer without meaning.
    #[must_use]
    pub fn deliver(&self, topic: &[u8]) -> Decision {
        self.decide(&self.subscribe, topic, |_, _| None)
    }

    /// A rule that denies decides, else one that allows, of several the first in the file.
    fn decide(
        &self,
        table: &FilterTable,
        topic: &[u8],
        objection: impl Fn(RuleId, Caps) -> Option<Refusal>,
    ) -> Decision {
        if self.rules.is_open() {
            return Decision::Allowed(None);
        }
        let mut denies = None;
        let mut allows = None;
        let mut objects: Option<Refusal> = None;
        table.matches(topic, &mut |entry| match entry.effect {
            Effect::Deny => keep_first(&mut denies, entry.rule),
            Effect::Allow(caps) => match objection(entry.rule, caps) {
                None => keep_first(&mut allows, entry.rule),
                Some(refusal) => {
                    if objects.is_none_or(|first| refusal.rule() < first.rule()) {
                        objects = Some(refusal);
                    }
                }
            },
        });
        match (denies, allows) {
            (Some(rule), _) => Decision::Refused(Refusal::Denied(rule)),
            (None, Some(rule)) => Decision::Allowed(Some(rule)),
            (None, None) => Decision::Refused(objects.unwrap_or(Refusal::NotAllowed)),
        }
    }

    /// Whether a filter may be subscribed to at a QoS. Of a Shared Subscription it takes the filter behind the share name.
    ///
    /// Filters are sets of names here: what counts is whether all names that the filter matches are allowed, by whichever
    /// rules together, and none is denied. The answer is exact, as [`covered_by`](crate::covered_by) says.
    #[must_use]
    pub fn subscribe(&self, filter: &TopicFilter, qos: Qos) -> Verdict {
        if self.rules.is_open() {
            return Verdict::Granted(qos);
        }
        let asked = Asked { table: &self.subscribe, filter: levels(filter.as_bytes()) };
        let denies = asked.first_overlapping(|entry| entry.effect == Effect::Deny);
        let granted = qos.downwards().find(|qos| asked.is_covered_at(*qos));
        match (denies, granted) {
            (None, Some(qos)) => return Verdict::Granted(qos),
            (Some(rule), _) if self.rules.options().overlap == Overlap::Refuse => {
                return Verdict::Refused(Refusal::Denied(rule));
            }
            _ => {}
        }
        let Some(allows) = asked.first_left() else {
            let refusal = denies.map_or(Refusal::NotAllowed, Refusal::Denied);
            return Verdict::Refused(refusal);
        };
        match self.rules.options().overlap {
            Overlap::Refuse => Verdict::Refused(Refusal::TooWide(allows)),
            Overlap::Filter => Verdict::Filtered(asked.qos_of_what_is_left(qos)),
        }
    }
}

/// The filter of a rule for this client; none if the rule is not for it.
fn fill(
    id: RuleId,
    rule: &Rule,
    subject: &Subject<'_>,
) -> Result<Option<TopicFilter>, InvalidSubject> {
    match rule.template.fill(subject) {
        Ok(filter) => Ok(Some(filter)),
        Err(Unfilled::Missing(_)) => Ok(None),
        Err(Unfilled::Refused(placeholder, problem)) => {
            let origin = rule.origin.clone();
            Err(InvalidSubject::Value { placeholder, problem, rule: id, origin })
        }
    }
}

fn keep_first(first: &mut Option<RuleId>, rule: RuleId) {
    if first.is_none_or(|first| rule < first) {
        *first = Some(rule);
    }
}

/// A filter that somebody wants to subscribe to, beside the rules about subscribing.
struct Asked<'a> {
    table: &'a FilterTable,
    filter: Levels<'a>,
}

impl<'a> Asked<'a> {
    /// What the filter and an entry's have in common.
    fn common(&self, entry: &Entry) -> Option<Levels<'a>> {
        intersection(&self.filter, &levels(self.table.filter(entry)))
    }

    fn first_overlapping(&self, which: impl Fn(&Entry) -> bool) -> Option<RuleId> {
        let overlapping = self.table.entries().iter().filter(|entry| which(entry));
        overlapping.filter(|entry| self.common(entry).is_some()).map(|entry| entry.rule).min()
    }

    /// Whether rules that allow this QoS cover all of it.
    fn is_covered_at(&self, qos: Qos) -> bool {
        self.table.covers(&self.filter, |entry| allows_at(entry, qos))
    }

    /// The first rule that allows something of it that none denies.
    fn first_left(&self) -> Option<RuleId> {
        let left = self.table.entries().iter().filter(|entry| {
            let is_denied = |common: Levels<'_>| {
                self.table.covers(&common, |entry| entry.effect == Effect::Deny)
            };
            entry.effect != Effect::Deny && self.common(entry).is_some_and(|all| !is_denied(all))
        });
        left.map(|entry| entry.rule).min()
    }

    /// The highest QoS at which everything that may be delivered at all may be delivered.
    fn qos_of_what_is_left(&self, asked: Qos) -> Qos {
        let holds_at = |qos: Qos| {
            let mut lower =
                self.table.entries().iter().filter(|entry| {
                    matches!(entry.effect, Effect::Allow(_)) && !allows_at(entry, qos)
                });
            lower.all(|entry| {
                self.common(entry).is_none_or(|common| {
                    self.table.covers(&common, |other| {
                        other.effect == Effect::Deny || allows_at(other, qos)
                    })
                })
            })
        };
        asked.downwards().find(|qos| holds_at(*qos)).unwrap_or(Qos::AtMostOnce)
    }
}

fn allows_at(entry: &Entry, qos: Qos) -> bool {
    matches!(entry.effect, Effect::Allow(caps) if caps.qos_max >= qos)
}

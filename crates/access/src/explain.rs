//! Why something is allowed or refused, in words and with every rule that has to do with it.
//!
//! The answer is what [`Rights`] says, the same call that a live broker makes; what is said of each rule beside it is found
//! by looking at that rule alone.

use std::fmt;
use std::sync::Arc;

use dunlin_topics::{SubscriptionFilter, TopicFilter, TopicName};

use crate::containment::{contains, overlaps};
use crate::rights::{Decision, InvalidSubject, Publication, Refusal, Rights, Verdict};
use crate::rule::{Action, Caps, Effect, Qos, Rule, RuleId};
use crate::rule_set::RuleSet;
use crate::subject::Subject;
use crate::template::{Placeholder, Unfilled, ValueProblem};

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// May the client publish this?
    Publish {
        /// The Topic Name.
        topic: TopicName,
        /// The QoS.
        qos: Qos,
        /// Whether it is to be retained.
        retain: bool,
    },
    /// May the client subscribe to this?
    Subscribe {
        /// What it would send.
        filter: SubscriptionFilter,
        /// The QoS.
        qos: Qos,
    },
    /// May a message on this topic be sent to the client, whatever it subscribed to?
    Deliver {
        /// The Topic Name.
        topic: TopicName,
    },
}

/// What came of a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Of [`Rights::publish`] or [`Rights::deliver`].
    Decision(Decision),
    /// Of [`Rights::subscribe`].
    Verdict(Verdict),
    /// The client would not be let in.
    NotLetIn(InvalidSubject),
}

/// Why something is allowed or refused.
///
/// Its text is for an administrator: the answer with the rule that decided it, who the client is to the rules, and each
/// rule that has to do with the question.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// What was asked.
    pub question: Question,
    /// What the live check says.
    pub answer: Answer,
    /// The roles of the client, those that the rules give it included, each with whether any rule is about it.
    pub roles: Vec<(String, bool)>,
    /// The placeholders of the rules that are for the client, with their values: none if it has no such thing.
    pub values: Vec<(Placeholder, Result<Option<String>, ValueProblem>)>,
    /// Every rule of the rule set, in the order in which they were written.
    pub considered: Vec<Considered>,
    rules: Arc<RuleSet>,
}

/// What a rule has to do with the question.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Considered {
    /// The rule.
    pub rule: RuleId,
    /// Its filter with the values of this client; none if the client lacks one or it is refused.
    pub filter: Option<TopicFilter>,
    /// Whether it is about the topic or part of the filter in question, whoever it is for.
    pub is_about_it: bool,
    /// Why it applies, or why not.
    pub finding: Finding,
}

/// Why a rule applies, or why it does not.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// It is about the other action.
    OtherAction,
    /// It is for somebody else.
    OtherHolder,
    /// The client has nothing that this placeholder could stand for.
    NoValue(Placeholder),
    /// What the client has for this placeholder must not stand in a filter.
    BadValue(Placeholder, ValueProblem),
    /// It is about other topics.
    OtherTopic,
    /// It allows a lower QoS only.
    QosTooHigh,
    /// It does not allow retained messages.
    NotRetained,
    /// It applies to part of what the filter matches.
    InPart,
    /// It applies to all of it.
    Applies,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherAction => f.write_str("is about the other action"),
            Self::OtherHolder => f.write_str("is not for this client"),
            Self::NoValue(placeholder) => write!(f, "is not for a client without {placeholder}"),
            Self::BadValue(placeholder, problem) => write!(f, "{placeholder}: {problem}"),
            Self::OtherTopic => f.write_str("is about other topics"),
            Self::QosTooHigh => f.write_str("allows a lower QoS only"),
            Self::NotRetained => f.write_str("does not allow retained messages"),
            Self::InPart => f.write_str("applies to part of it"),
            Self::Applies => f.write_str("applies"),
        }
    }
}

/// Says why a client may do something, or why not.
///
/// ```
/// use std::sync::Arc;
///
/// use dunlin_access::{Action, Caps, Holder, Qos, Question, RuleSet, Subject, explain};
/// use dunlin_topics::TopicName;
///
/// let mut rules = RuleSet::builder();
/// rules.allow(Holder::role("reader"), Action::Subscribe, "{tenantId}/read/#", Caps::default())?;
/// let rules = Arc::new(rules.build());
///
/// let roles = ["reader".to_owned()];
/// let subject = Subject { tenant: Some("acme"), client_id: "c", roles: &roles, ..Subject::default() };
/// let question = Question::Publish {
///     topic: TopicName::copy_from("acme/read/x")?,
///     qos: Qos::AtMostOnce,
///     retain: false,
/// };
/// let text = explain(&rules, &subject, question).to_string();
/// assert!(text.starts_with("refused: publish acme/read/x at QoS 0: no rule allows it\n"), "{text}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn explain(rules: &Arc<RuleSet>, subject: &Subject<'_>, question: Question) -> Explanation {
    let standing = rules.standing(subject);
    let answer = match Rights::new(rules, subject) {
        Ok(rights) => question.answer(&rights),
        Err(error) => Answer::NotLetIn(error),
    };
    let sections = standing.sections.iter().filter_map(|id| rules.section(*id));
    let (mut own, mut placeholders) = (Vec::new(), Vec::new());
    for section in sections {
        own.extend(section.rules.iter().copied());
        placeholders.extend(section.placeholders.iter().cloned());
    }
    own.sort_unstable();
    placeholders.sort_unstable();
    placeholders.dedup();
    let role = |role: &str| (role.to_owned(), rules.knows_role(role, subject.tenant));
    let value = |placeholder: Placeholder| {
        let value = placeholder.value(subject).map(|value| value.map(str::to_owned));
        (placeholder, value)
    };
    let considered = rules.rules().enumerate().map(|(index, rule)| {
        let id = RuleId::of(index);
        question.consider(id, rule, subject, own.binary_search(&id).is_ok())
    });
    Explanation {
        answer,
        roles: standing.roles.iter().map(|name| role(name)).collect(),
        values: placeholders.into_iter().map(value).collect(),
        considered: considered.collect(),
        question,
        rules: Arc::clone(rules),
    }
}

impl Question {
    fn answer(&self, rights: &Rights) -> Answer {
        match self {
            Self::Publish { topic, qos, retain } => {
                let message = Publication { topic: topic.as_bytes(), qos: *qos, retain: *retain };
                Answer::Decision(rights.publish(&message))
            }
            Self::Deliver { topic } => Answer::Decision(rights.deliver(topic.as_bytes())),
            Self::Subscribe { filter, qos } => {
                Answer::Verdict(rights.subscribe(filter.topic_filter(), *qos))
            }
        }
    }

    const fn action(&self) -> Action {
        match self {
            Self::Publish { .. } => Action::Publish,
            Self::Subscribe { .. } | Self::Deliver { .. } => Action::Subscribe,
        }
    }

    fn consider(&self, id: RuleId, rule: &Rule, subject: &Subject<'_>, is_own: bool) -> Considered {
        let filled = rule.template.fill(subject);
        let finding = match &filled {
            Ok(filter) => self.compare(filter, rule.effect),
            Err(Unfilled::Missing(placeholder)) => Finding::NoValue(placeholder.clone()),
            Err(Unfilled::Refused(placeholder, problem)) => {
                Finding::BadValue(placeholder.clone(), *problem)
            }
        };
        let is_other_action = rule.action != self.action();
        let is_about_it = !is_other_action && filled.is_ok() && finding != Finding::OtherTopic;
        let finding = if is_other_action {
            Finding::OtherAction
        } else if is_own {
            finding
        } else {
            Finding::OtherHolder
        };
        Considered { rule: id, filter: filled.ok(), is_about_it, finding }
    }

    /// What a rule with this filter means for the question, looked at alone.
    fn compare(&self, filter: &TopicFilter, effect: Effect) -> Finding {
        let caps = match effect {
            Effect::Allow(caps) => caps,
            Effect::Deny => Caps::default(),
        };
        match self {
            Self::Publish { topic, .. } | Self::Deliver { topic } if !filter.matches(topic) => {
                Finding::OtherTopic
            }
            Self::Publish { qos, .. } if *qos > caps.qos_max => Finding::QosTooHigh,
            Self::Publish { retain: true, .. } if !caps.retain => Finding::NotRetained,
            Self::Publish { .. } | Self::Deliver { .. } => Finding::Applies,
            Self::Subscribe { filter: asked, .. } => {
                let asked = asked.topic_filter();
                if contains(filter, asked) {
                    Finding::Applies
                } else if overlaps(filter, asked) {
                    Finding::InPart
                } else {
                    Finding::OtherTopic
                }
            }
        }
    }
}

/// As an administrator would put it.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish { topic, qos, retain } => {
                write!(f, "publish {topic} at {qos}")?;
                f.write_str(if *retain { ", retained" } else { "" })
            }
            Self::Subscribe { filter, qos } => write!(f, "subscribe {filter} at {qos}"),
            Self::Deliver { topic } => write!(f, "be sent {topic}"),
        }
    }
}

impl Explanation {
    /// Whether the answer is no.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        match self.answer {
            Answer::Decision(decision) => !decision.is_allowed(),
            Answer::Verdict(verdict) => matches!(verdict, Verdict::Refused(_)),
            Answer::NotLetIn(_) => true,
        }
    }

    /// The rule that decided: of a granted subscription the first that allows all of it, none if several do so together.
    #[must_use]
    pub fn rule(&self) -> Option<RuleId> {
        match &self.answer {
            Answer::Decision(Decision::Allowed(rule)) => *rule,
            Answer::Decision(Decision::Refused(refusal))
            | Answer::Verdict(Verdict::Refused(refusal)) => refusal.rule(),
            Answer::Verdict(Verdict::Granted(qos) | Verdict::Filtered(qos)) => {
                let allowing = self.considered.iter().filter(|each| {
                    let effect = self.rules.rule(each.rule).map(Rule::effect);
                    matches!(effect, Some(Effect::Allow(caps)) if caps.qos_max >= *qos)
                });
                let mut whole = allowing.filter(|each| each.finding == Finding::Applies);
                whole.next().map(|each| each.rule)
            }
            Answer::NotLetIn(InvalidSubject::Value { rule, .. }) => Some(*rule),
            Answer::NotLetIn(InvalidSubject::TooLarge) => None,
        }
    }

    fn write_answer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let question = &self.question;
        let refused = |f: &mut fmt::Formatter<'_>, refusal: Refusal| {
            writeln!(f, "refused: {question}: {refusal}")
        };
        match &self.answer {
            Answer::Decision(Decision::Allowed(_)) => writeln!(f, "allowed: {question}"),
            Answer::Decision(Decision::Refused(refusal))
            | Answer::Verdict(Verdict::Refused(refusal)) => refused(f, *refusal),
            Answer::Verdict(Verdict::Granted(qos)) => {
                writeln!(f, "allowed: {question}: granted at {qos}")
            }
            Answer::Verdict(Verdict::Filtered(qos)) => writeln!(
                f,
                "allowed in part: {question}: granted at {qos}, and each delivery is checked"
            ),
            Answer::NotLetIn(error) => {
                writeln!(f, "refused: the client is not let in: {error}")
            }
        }
    }

    fn write_rule(&self, f: &mut fmt::Formatter<'_>, id: RuleId) -> fmt::Result {
        match self.rules.rule(id) {
            Some(rule) => write!(f, "{}: {rule}", rule.origin),
            None => Ok(()),
        }
    }

    fn write_considered(&self, f: &mut fmt::Formatter<'_>, each: &Considered) -> fmt::Result {
        f.write_str("  ")?;
        self.write_rule(f, each.rule)?;
        let is_filled = self.rules.rule(each.rule).is_some_and(|rule| {
            each.filter.as_ref().is_some_and(|filter| filter.as_str() != rule.filter())
        });
        if let Some(filter) = each.filter.as_ref().filter(|_| is_filled) {
            write!(f, " = {filter}")?;
        }
        writeln!(f, ": {}", each.finding)
    }
}

/// Several lines, the last with its end. Rules that are about the other action or for others are counted, not listed,
/// unless they are about what was refused.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_answer(f)?;
        if self.rules.is_open() {
            return writeln!(f, "there are no rules, so everybody may do everything");
        }
        if let Some(rule) = self.rule() {
            f.write_str("rule: ")?;
            self.write_rule(f, rule)?;
            f.write_str("\n")?;
        } else if let Answer::Verdict(Verdict::Granted(_)) = self.answer {
            writeln!(f, "rule: several together")?;
        }
        f.write_str("roles:")?;
        for (role, is_known) in &self.roles {
            write!(f, " {role}{}", if *is_known { "" } else { " (no rule is for it)" })?;
        }
        f.write_str(if self.roles.is_empty() { " none\n" } else { "\n" })?;
        for (placeholder, value) in &self.values {
            match value {
                Ok(Some(value)) => writeln!(f, "{placeholder} = {value}"),
                Ok(None) => writeln!(f, "{placeholder}: this client has none"),
                Err(problem) => writeln!(f, "{placeholder}: {problem}"),
            }?;
        }
        let mut own = self
            .considered
            .iter()
            .filter(|each| !matches!(each.finding, Finding::OtherAction | Finding::OtherHolder))
            .peekable();
        let none = if own.peek().is_none() { " none" } else { "" };
        writeln!(f, "rules that are for this client:{none}")?;
        own.try_for_each(|each| self.write_considered(f, each))?;
        let others = || self.considered.iter().filter(|each| each.finding == Finding::OtherHolder);
        if self.is_refused() && others().any(|each| each.is_about_it) {
            writeln!(f, "rules about it that are for others:")?;
            for each in others().filter(|each| each.is_about_it) {
                self.write_considered(f, each)?;
            }
        }
        let other_action =
            self.considered.iter().filter(|each| each.finding == Finding::OtherAction);
        writeln!(
            f,
            "not listed: {} rules for others, {} about the other action",
            others().filter(|each| !self.is_refused() || !each.is_about_it).count(),
            other_action.count()
        )
    }
}

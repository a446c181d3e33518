//! All rules together: who has which roles, which rules are for whom, and what a refusal means.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;

use hashbrown::HashMap;

use crate::rule::{Action, Caps, Effect, Holder, Origin, Rule, RuleId, Who};
use crate::subject::Subject;
use crate::template::{InvalidTemplate, Placeholder, Template};

/// The most rules of a rule set. One more is refused where it is read or added.
pub const RULES_MAX: usize = 1_000_000;

/// What happens to a subscription whose filter reaches further than its client's rights: over a topic that a rule denies,
/// or over one that none allows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Overlap {
    /// It is refused, and the client is told.
    #[default]
    Refuse,
    /// It is granted as far as it goes: each delivery is checked. One that could never get anything is refused all the same.
    Filter,
}

/// What happens to a client that did what it may not, where its version of MQTT has no way of telling it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Silent {
    /// Nothing but an event and a counter: the message is dropped, the subscription never served.
    #[default]
    Drop,
    /// Its connection is closed.
    Disconnect,
}

/// What a rule set says beside its rules.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// For filters that reach too far.
    pub overlap: Overlap,
    /// For a refused message at QoS 0, or from a client of MQTT 3.x.
    pub refused_publish: Silent,
    /// For a refused subscription of a client of MQTT 3.1, whose SUBACK knows no refusal.
    pub refused_subscribe_3_1: Silent,
}

/// Who may do what. Never changes: another rule set takes its place.
///
/// A rule set that names nobody at all lets everybody do everything. As soon as it has a rule, or gives somebody a role,
/// what no rule allows is refused.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RuleSet {
    options: Options,
    rules: Vec<Rule>,
    sections: Vec<Section>,
    by_holder: HashMap<Holder, SectionId>,
    is_closed: bool,
}

/// What is said about one holder.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Section {
    pub(crate) rules: Vec<RuleId>,
    /// The roles it gives to whom it is about, sorted.
    roles: BTreeSet<Box<str>>,
    /// Those of its rules, without repetitions.
    pub(crate) placeholders: BTreeSet<Placeholder>,
}

impl Section {
    /// The roles it gives, sorted.
    pub(crate) fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|role| &**role)
    }
}

/// The number of a section in its rule set.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct SectionId(u32);

impl RuleSet {
    /// A rule set to be made rule by rule.
    #[must_use]
    pub fn builder() -> RuleSetBuilder {
        RuleSetBuilder::default()
    }

    /// Whether everybody may do everything.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !self.is_closed
    }

    /// What it says beside its rules.
    #[must_use]
    pub const fn options(&self) -> Options {
        self.options
    }

    /// All rules, in the order in which they were written.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter()
    }

    /// A rule that a decision names.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.index())
    }

    /// Whether there is a rule for this role, for the tenant or for all.
    pub(crate) fn knows_role(&self, role: &str, tenant: Option<&str>) -> bool {
        let scopes = [None, tenant];
        scopes
            .iter()
            .any(|scope| self.section_of(&Holder::new(*scope, Who::Role(role.into()))).is_some())
    }

    /// All holders that something is said about, in no particular order.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&Holder, &Section)> {
        self.by_holder.iter().filter_map(|(holder, id)| Some((holder, self.section(*id)?)))
    }

    pub(crate) fn section(&self, id: SectionId) -> Option<&Section> {
        self.sections.get(id.0 as usize)
    }

    fn section_of(&self, holder: &Holder) -> Option<SectionId> {
        self.by_holder.get(holder).copied()
    }

    /// What the subject is: its roles, those that the rules give it included, and the sections that are about it, both
    /// sorted.
    pub(crate) fn standing(&self, subject: &Subject<'_>) -> Standing {
        let mut standing = Standing::default();
        standing.roles.extend(subject.roles.iter().map(|role| Box::from(&**role)));
        let scopes = [None, subject.tenant];
        let scopes = if subject.tenant.is_some() { &scopes[..] } else { &scopes[..1] };
        for scope in scopes {
            let mut named = vec![Who::Everyone, Who::Client(subject.client_id.into())];
            match subject.user {
                Some(user) => named.extend([Who::Authenticated, Who::User(user.into())]),
                None => named.push(Who::Anonymous),
            }
            for who in named {
                let Some(id) = self.section_of(&Holder::new(*scope, who)) else { continue };
                standing.sections.insert(id);
                let given = self.section(id).map(|section| &section.roles);
                standing.roles.extend(given.into_iter().flatten().cloned());
            }
        }
        for scope in scopes {
            for role in &standing.roles {
                let holder = Holder::new(*scope, Who::Role(role.clone()));
                standing.sections.extend(self.section_of(&holder));
            }
        }
        standing
    }
}

/// What a subject is in a rule set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) roles: BTreeSet<Box<str>>,
    pub(crate) sections: BTreeSet<SectionId>,
}

/// Why a rule cannot be added.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRule {
    /// Its filter is none.
    #[error(transparent)]
    Filter(#[from] InvalidTemplate),
    /// There are [`RULES_MAX`] already.
    #[error("more than {RULES_MAX} rules")]
    TooMany,
}

/// What makes a [`RuleSet`].
///
/// ```
/// use dunlin_access::{Action, Caps, Holder, RuleSet};
///
/// let mut rules = RuleSet::builder();
/// rules.allow(Holder::role("reader"), Action::Subscribe, "{tenantId}/read/#", Caps::default())?;
/// rules.deny(Holder::everyone(), Action::Publish, "control/#")?;
/// rules.give_role(Holder::user("alice"), "reader");
/// let rules = rules.build();
/// assert_eq!(rules.rules().len(), 2);
/// # Ok::<(), dunlin_access::InvalidRule>(())
/// ```
#[derive(Debug, Default)]
pub struct RuleSetBuilder {
    made: RuleSet,
    sections: BTreeMap<Holder, Section>,
}

impl RuleSetBuilder {
    /// Says what holds beside the rules.
    pub fn options(&mut self, options: Options) -> &mut Self {
        self.made.options = options;
        self
    }

    /// Refuses what no rule allows, even if there is no rule at all.
    pub fn close(&mut self) -> &mut Self {
        self.made.is_closed = true;
        self
    }

    /// Gives a role to a holder. To give one to a role has no effect.
    pub fn give_role(&mut self, holder: Holder, role: &str) -> &mut Self {
        self.close();
        self.section(holder).roles.insert(role.into());
        self
    }

    /// Adds a rule that allows. Its origin is the line of the call.
    ///
    /// # Errors
    ///
    /// What is wrong with the filter, or that there are too many rules.
    #[track_caller]
    pub fn allow(
        &mut self,
        holder: Holder,
        action: Action,
        filter: &str,
        caps: Caps,
    ) -> Result<&mut Self, InvalidRule> {
        self.add(holder, action, Effect::Allow(caps), filter, caller())
    }

    /// Adds a rule that denies. Its origin is the line of the call.
    ///
    /// # Errors
    ///
    /// What is wrong with the filter, or that there are too many rules.
    #[track_caller]
    pub fn deny(
        &mut self,
        holder: Holder,
        action: Action,
        filter: &str,
    ) -> Result<&mut Self, InvalidRule> {
        self.add(holder, action, Effect::Deny, filter, caller())
    }

    /// Adds a rule that was written elsewhere.
    ///
    /// # Errors
    ///
    /// What is wrong with the filter, or that there are too many rules.
    pub fn add(
        &mut self,
        holder: Holder,
        action: Action,
        effect: Effect,
        filter: &str,
        origin: Origin,
    ) -> Result<&mut Self, InvalidRule> {
        if self.made.rules.len() == RULES_MAX {
            return Err(InvalidRule::TooMany);
        }
        let template = Template::parse(filter)?;
        let id = RuleId::of(self.made.rules.len());
        self.close();
        let section = self.section(holder.clone());
        section.rules.push(id);
        section.placeholders.extend(template.placeholders().cloned());
        let rule = Rule { holder, action, effect, template, filter: filter.into(), origin };
        self.made.rules.push(rule);
        Ok(self)
    }

    /// The rule set.
    #[must_use]
    pub fn build(self) -> RuleSet {
        let mut made = self.made;
        for (number, (holder, section)) in (0..).zip(self.sections) {
            made.sections.push(section);
            made.by_holder.insert(holder, SectionId(number));
        }
        made
    }

    fn section(&mut self, holder: Holder) -> &mut Section {
        self.sections.entry(holder).or_default()
    }
}

#[track_caller]
fn caller() -> Origin {
    let place = Location::caller();
    Origin { file: place.file().into(), line: place.line() as usize }
}

//! One rule: for whom, what, and where it stands.

use std::fmt;
use std::sync::Arc;

use crate::template::Template;

/// A Quality of Service, as a bound.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    #[default]
    ExactlyOnce,
}

impl Qos {
    /// By its digit.
    #[must_use]
    pub const fn of_digit(digit: u8) -> Option<Self> {
        match digit {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// 0, 1 or 2.
    #[must_use]
    pub const fn digit(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }

    /// This one and those below it, from this one on.
    pub(crate) fn downwards(self) -> impl Iterator<Item = Self> {
        (0..=self.digit()).rev().filter_map(Self::of_digit)
    }
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QoS {}", self.digit())
    }
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Sending messages, wills included.
    Publish,
    /// Subscribing, and being sent messages.
    Subscribe,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        })
    }
}

/// What an allowing rule lets through beside the topic.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Caps {
    /// The highest QoS. A message above it is not allowed by this rule; a subscription is granted with it.
    pub qos_max: Qos,
    /// Whether a message may be a retained one. Of no meaning to subscriptions.
    pub retain: bool,
}

impl Default for Caps {
    /// Everything.
    fn default() -> Self {
        Self { qos_max: Qos::ExactlyOnce, retain: true }
    }
}

/// Which way a rule decides. A rule that denies overrides all that allow.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Effect {
    /// Allows, within limits.
    Allow(Caps),
    /// Denies.
    Deny,
}

/// Who a rule is for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Holder {
    tenant: Option<Box<str>>,
    who: Who,
}

/// Of a tenant, or of all.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Who {
    Everyone,
    Anonymous,
    Authenticated,
    User(Box<str>),
    Client(Box<str>),
    Role(Box<str>),
}

impl Holder {
    const fn of(who: Who) -> Self {
        Self { tenant: None, who }
    }

    pub(crate) fn new(tenant: Option<&str>, who: Who) -> Self {
        Self { tenant: tenant.map(Into::into), who }
    }

    /// Every client.
    #[must_use]
    pub const fn everyone() -> Self {
        Self::of(Who::Everyone)
    }

    /// Clients that did not authenticate.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self::of(Who::Anonymous)
    }

    /// Clients that did.
    #[must_use]
    pub const fn authenticated() -> Self {
        Self::of(Who::Authenticated)
    }

    /// The user of this name, of whichever tenant.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self::of(Who::User(name.into()))
    }

    /// The client with this Client Identifier.
    #[must_use]
    pub fn client(id: &str) -> Self {
        Self::of(Who::Client(id.into()))
    }

    /// Whoever has this role.
    #[must_use]
    pub fn role(name: &str) -> Self {
        Self::of(Who::Role(name.into()))
    }

    /// Every client of this tenant.
    #[must_use]
    pub fn tenant(name: &str) -> Self {
        Self::everyone().within(name)
    }

    pub(crate) const fn who(&self) -> &Who {
        &self.who
    }

    pub(crate) const fn is_role(&self) -> bool {
        matches!(self.who, Who::Role(_))
    }

    pub(crate) fn tenant_name(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The same, of this tenant only.
    #[must_use]
    pub fn within(self, tenant: &str) -> Self {
        Self { tenant: Some(tenant.into()), ..self }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Everyone => f.write_str("everyone"),
            Who::Anonymous => f.write_str("anonymous clients"),
            Who::Authenticated => f.write_str("authenticated clients"),
            Who::User(name) => write!(f, "user {name}"),
            Who::Client(id) => write!(f, "client {id}"),
            Who::Role(name) => write!(f, "role {name}"),
        }?;
        self.tenant.as_ref().map_or(Ok(()), |tenant| write!(f, " of tenant {tenant}"))
    }
}

/// Where a rule was written.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Origin {
    /// The file's name, as it was given to whoever read it.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The number of a rule in its rule set: rules count in the order in which they were written.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RuleId(u32);

impl RuleId {
    pub(crate) const FIRST: Self = Self(0);

    /// `RULES_MAX` fits.
    pub(crate) fn of(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One rule of a rule set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    pub(crate) holder: Holder,
    pub(crate) action: Action,
    pub(crate) effect: Effect,
    pub(crate) template: Template,
    pub(crate) filter: Box<str>,
    pub(crate) origin: Origin,
}

impl Rule {
    /// Who it is for.
    #[must_use]
    pub const fn holder(&self) -> &Holder {
        &self.holder
    }

    /// What it is about.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// Which way it decides.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }

    /// The filter as it was written, placeholders unfilled.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Where it was written.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// In one line, without its origin: `role reader: allow subscribe {tenantId}/read/# up to QoS 1`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { holder, action, effect, filter, .. } = self;
        match effect {
            Effect::Deny => write!(f, "{holder}: deny {action} {filter}"),
            Effect::Allow(caps) => {
                write!(f, "{holder}: allow {action} {filter}")?;
                if caps.qos_max < Qos::ExactlyOnce {
                    write!(f, " up to {}", caps.qos_max)?;
                }
                if !caps.retain && *action == Action::Publish {
                    f.write_str(", not retained")?;
                }
                Ok(())
            }
        }
    }
}

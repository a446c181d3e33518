//! Who may publish and subscribe to what in MQTT, and why.
//!
//! - A [`RuleSet`] holds rules that allow or deny filters to everybody, to users, roles, tenants and clients. A rule may
//!   leave places open that CONNECT fills: `{tenantId}/read/#`.
//! - [`Rights`] are what the rules come to for one client: may it publish this, subscribe to that, be sent this? Clients that
//!   have the same rules and values share them through a [`RightsCache`].
//! - [`parse_rules`] reads a rule set from a file, [`write_rules`] writes it, and [`parse_mosquitto_acl`] reads Mosquitto's.
//! - [`TokenBucket`], [`EffectiveQuotas`], [`BanList`], [`FlapDetector`] and [`LoginThrottle`] say how much somebody may do, and
//!   who is not let in for now.
//! - [`explain`] says why: the answer of the same call that a live broker makes, with the rule that decided and where it
//!   stands, the values of the placeholders, and every other rule that has to do with it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use dunlin_access::{Action, Caps, Holder, Qos, RightsCache, RuleSet, Subject, Verdict};
//! use dunlin_topics::TopicFilter;
//!
//! let mut rules = RuleSet::builder();
//! rules.allow(Holder::role("reader"), Action::Subscribe, "{tenantId}/read/#", Caps::default())?;
//! let mut cache = RightsCache::new(Arc::new(rules.build()));
//!
//! let roles = ["reader".to_owned()];
//! let subject = Subject { tenant: Some("acme"), client_id: "c", roles: &roles, ..Subject::default() };
//! let rights = cache.rights(&subject)?;
//!
//! let within = TopicFilter::try_from("acme/read/+/x")?;
//! assert_eq!(rights.subscribe(&within, Qos::AtLeastOnce), Verdict::Granted(Qos::AtLeastOnce));
//! let beyond = TopicFilter::try_from("acme/#")?;
//! assert!(matches!(rights.subscribe(&beyond, Qos::AtLeastOnce), Verdict::Refused(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How rules decide
//!
//! - Where there are no rules at all, everything is allowed. Otherwise what no rule allows is refused.
//! - A rule that denies overrides all that allow. The order of rules decides nothing but which one is named as the reason.
//! - Rules for everybody, for anonymous or authenticated clients, for a user, a client, a tenant and for each role count
//!   together.
//! - A message may be published if a rule allows its topic with its QoS and, if so, as a retained one. A rule with a lower QoS
//!   lowers a subscription instead of refusing it.
//! - A filter may be subscribed to if all names that it matches are allowed, by whichever rules together, and none is denied.
//!   [`Overlap`] says what happens to filters that reach further.
//! - Wildcards of rules match as those of subscriptions do: `#` does not reach names that begin with `$`.
//!
//! # What it is not
//!
//! It does not find out who a client is: whoever authenticates it fills the [`Subject`]. It does no I/O and reads no clock.
//!
//! # Limits
//!
//! [`RULES_MAX`] rules in a set, [`RULE_LEVELS_MAX`] levels in a rule's filter, [`RIGHTS_TEXT_BYTES_MAX`] bytes of filters
//! for one client, [`RightsCache::ENTRIES_MAX`] rights found again, [`BanList::BANS_MAX`] bans, [`FlapDetector::CLIENTS_MAX`]
//! clients and [`LoginThrottle::ENTRIES_MAX`] addresses remembered; what happens at each is said there.

mod cache;
mod containment;
mod explain;
mod file;
mod limits;
mod mosquitto;
mod nearest;
mod problem;
mod rights;
mod rule;
mod rule_set;
mod subject;
mod table;
mod template;

pub use crate::cache::RightsCache;
pub use crate::containment::{contains, covered_by, overlaps};
pub use crate::explain::{Answer, Considered, Explanation, Finding, Question, explain};
pub use crate::file::{RULES_FILE_BYTES_MAX, parse_rules, write_rules};
pub use crate::limits::{
    AddressRange, BAN_FILE_BYTES_MAX, Ban, BanList, BanListFull, BanTarget, EffectiveQuotas,
    FLAP_CONNECTS_MAX, FlapDetector, FlapRule, InvalidAddressRange, Limit, LoginThrottle, Named,
    Quotas, Rate, Scope, ThrottleRules, Throttled, ThrottledBy, TokenBucket, UnixSeconds, Visitor,
    parse_bans, write_bans,
};
pub use crate::mosquitto::{MosquittoAcl, parse_mosquitto_acl};
pub use crate::nearest::nearest;
pub use crate::problem::Problem;
pub use crate::rights::{
    Decision, InvalidSubject, Publication, RIGHTS_TEXT_BYTES_MAX, Refusal, Rights, Verdict,
};
pub use crate::rule::{Action, Caps, Effect, Holder, Origin, Qos, Rule, RuleId};
pub use crate::rule_set::{
    InvalidRule, Options, Overlap, RULES_MAX, RuleSet, RuleSetBuilder, Silent,
};
pub use crate::subject::Subject;
pub use crate::template::{InvalidTemplate, Placeholder, RULE_LEVELS_MAX, ValueProblem};

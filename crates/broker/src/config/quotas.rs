//! Who may do how much: limits for a client, a user, a role, a tenant, a listener or the whole broker.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use dunlin_access::Quotas;

use super::{AT_LEAST_ONE, InvalidConfig};

/// The most rules. Each is looked at when a client connects.
pub const QUOTA_RULES_MAX: usize = 10_000;

/// The smallest packet limit that leaves room for a useful packet.
const PACKET_BYTES_LEAST: u64 = 64;

/// Limits for somebody.
///
/// What a client may do is what all rules about it allow together: of each limit the tightest holds. Where a rule names
/// somebody, it takes the place of the rule for each of the kind, limit by limit.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct QuotaRule {
    /// Whom they are for.
    pub whom: Whom,
    /// The limits.
    pub quotas: Quotas,
    /// What happens to a client that keeps sending faster than `messages_in` or `bytes_in` let it.
    pub over_rate: OverRate,
    /// How long what a client has sent waits before that happens. Until then, and for good with [`OverRate::Wait`], the client
    /// is only read more slowly.
    pub patience: Duration,
}

impl QuotaRule {
    /// No limits yet.
    #[must_use]
    pub fn new(whom: Whom) -> Self {
        Self {
            whom,
            quotas: Quotas::default(),
            over_rate: OverRate::default(),
            patience: Duration::from_millis(500),
        }
    }
}

/// Whom a rule about quotas is for.
///
/// It is written `broker`, `listener lan`, `tenant acme`, `role reader`, `user alice`, `client c1`, and for all of a kind
/// `each listener`, `each tenant`, `each user`, `each client`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Whom {
    /// All clients together.
    Broker,
    /// All clients of a listener together.
    Listener(String),
    /// All clients of each listener together.
    EachListener,
    /// All clients of a tenant together.
    Tenant(String),
    /// All clients of each tenant together.
    EachTenant,
    /// All clients of a user that has this role together: the role's limits are for each user anew.
    Role(String),
    /// All clients of a user together. In each tenant the user of this name is another one.
    User(String),
    /// All clients of each user together. Anonymous clients are no user's.
    EachUser,
    /// The client with this Client Identifier. In each tenant it is another one.
    Client(String),
    /// Each client.
    EachClient,
}

/// Makes somebody of a name.
type Make = fn(String) -> Whom;

/// The kinds, with what stands before a name.
const NAMED: [(&str, Make); 5] = [
    ("listener", Whom::Listener),
    ("tenant", Whom::Tenant),
    ("role", Whom::Role),
    ("user", Whom::User),
    ("client", Whom::Client),
];

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker => f.write_str("broker"),
            Self::Listener(name) => write!(f, "listener {name}"),
            Self::EachListener => f.write_str("each listener"),
            Self::Tenant(name) => write!(f, "tenant {name}"),
            Self::EachTenant => f.write_str("each tenant"),
            Self::Role(name) => write!(f, "role {name}"),
            Self::User(name) => write!(f, "user {name}"),
            Self::EachUser => f.write_str("each user"),
            Self::Client(id) => write!(f, "client {id}"),
            Self::EachClient => f.write_str("each client"),
        }
    }
}

/// A text that names nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not `broker`, nor `listener`, `tenant`, `role`, `user` or `client` with a name, nor `each listener`, `each tenant`, `each user` or `each client`"
)]
pub struct InvalidWhom;

impl FromStr for Whom {
    type Err = InvalidWhom;

    fn from_str(text: &str) -> Result<Self, InvalidWhom> {
        match text {
            "broker" => return Ok(Self::Broker),
            "each listener" => return Ok(Self::EachListener),
            "each tenant" => return Ok(Self::EachTenant),
            "each user" => return Ok(Self::EachUser),
            "each client" => return Ok(Self::EachClient),
            _ => {}
        }
        let (kind, name) = text.split_once(' ').ok_or(InvalidWhom)?;
        let (_, make) = NAMED.iter().find(|(known, _)| *known == kind).ok_or(InvalidWhom)?;
        if name.is_empty() { Err(InvalidWhom) } else { Ok(make(name.to_owned())) }
    }
}

/// What happens to a client that keeps sending faster than it may.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OverRate {
    /// It is read no faster than it may send, for as long as it takes. Nothing is lost.
    #[default]
    Wait,
    /// What is too much is dropped and counted: QoS 0 in silence, QoS 1 and 2 of MQTT 5.0 with 0x97. QoS 1 and 2 of 3.x, which
    /// cannot be told, wait.
    Drop,
    /// It is disconnected, with 0x96.
    Disconnect,
}

/// Refuses rules that cannot work, naming the first one.
pub(super) fn check(rules: &[QuotaRule]) -> Result<(), InvalidConfig> {
    if rules.len() > QUOTA_RULES_MAX {
        return Err(InvalidConfig::new("quotas", "are more than 10000"));
    }
    for (index, rule) in rules.iter().enumerate() {
        let invalid =
            |key: &str, reason| InvalidConfig::new(format!("quotas.{}.{key}", index + 1), reason);
        let quotas = &rule.quotas;
        let at_least_one = [
            ("connections_max", quotas.connections),
            ("filter_levels_max", quotas.filter_levels),
            ("topic_bytes_max", quotas.topic_bytes),
            ("queue_messages_max", quotas.queue_messages),
            ("queue_bytes_max", quotas.queue_bytes),
            ("inflight_max", quotas.inflight),
        ];
        if let Some((key, _)) = at_least_one.into_iter().find(|(_, value)| *value == Some(0)) {
            return Err(invalid(key, AT_LEAST_ONE));
        }
        // Whose a retained message is, is not known after a restart; in which tenant it is, always is.
        let of_tenants = [
            ("retained_messages_max", quotas.retained_messages),
            ("retained_bytes_max", quotas.retained_bytes),
        ];
        let is_tenant = matches!(rule.whom, Whom::Tenant(_) | Whom::EachTenant);
        if let Some((key, _)) =
            of_tenants.into_iter().find(|(_, value)| value.is_some() && !is_tenant)
        {
            return Err(invalid(key, "is for tenants; for all together it is in limits"));
        }
        if quotas.packet_bytes.is_some_and(|bytes| bytes < PACKET_BYTES_LEAST) {
            return Err(invalid("packet_bytes_max", "must be at least 64 bytes"));
        }
        let least = Duration::from_secs(1);
        let spans = [
            ("keep_alive_min", quotas.keep_alive_min),
            ("keep_alive_max", quotas.keep_alive_max),
            ("session_expiry_max", quotas.session_expiry_max),
        ];
        let wrong = spans.into_iter().find(|(_, span)| span.is_some_and(|span| span < least));
        if let Some((key, _)) = wrong {
            return Err(invalid(key, "must be at least 1s"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "broker",
            "listener lan",
            "each listener",
            "tenant acme",
            "each tenant",
            "role a reader",
            "user alice",
            "each user",
            "client c 1",
            "each client",
        ] {
            let whom: Whom = text.parse().expect(text);
            assert_eq!(whom.to_string(), text);
        }
        for text in ["", "user", "user ", "each", "each role", "clients x", "Broker"] {
            assert_eq!(text.parse::<Whom>(), Err(InvalidWhom), "{text}");
        }
    }

    #[test]
    fn limits_that_leave_nothing_are_refused_by_name() {
        let mut rule = QuotaRule::new(Whom::EachClient);
        assert_eq!(check(std::slice::from_ref(&rule)), Ok(()));
        rule.quotas.packet_bytes = Some(63);
        let error = check(&[QuotaRule::new(Whom::Broker), rule.clone()]).expect_err("too small");
        assert_eq!(error.to_string(), "quotas.2.packet_bytes_max must be at least 64 bytes");
        rule.quotas = Quotas::default();
        rule.quotas.retained_bytes = Some(1);
        let error = check(std::slice::from_ref(&rule)).expect_err("not a tenant's");
        assert_eq!(error.setting(), "quotas.1.retained_bytes_max");
        rule.whom = Whom::EachTenant;
        assert_eq!(check(&[rule]), Ok(()));
    }
}

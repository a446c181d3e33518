//! Which tenant a client belongs to: rules that an operator states, looked at when its CONNECT is accepted.

use crate::config::InvalidConfig;
use crate::exports::{EXPORTS_MAX, TenantExport};
use crate::namespace::DEFAULT;
use crate::policy::Identity;

/// Which tenants there are and whose clients come into which.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TenantsConfig {
    /// The first rule that names a tenant for a client counts.
    pub rules: Vec<TenantRule>,
    /// What becomes of a client for which no rule names a tenant.
    pub otherwise: NoTenant,
    /// Tenants that may be open beside the default one. A client that would open one more is refused with 0x97. A tenant
    /// is open once a client, or this process, came into it, and stays open, after a restart too.
    pub tenants_max: u32,
    /// What tenants show each other, at most 1,000 rules. Without any they have nothing in common.
    pub exports: Vec<TenantExport>,
}

impl Default for TenantsConfig {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            otherwise: NoTenant::default(),
            tenants_max: 10_000,
            exports: Vec::new(),
        }
    }
}

/// What becomes of a client for which no rule names a tenant.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NoTenant {
    /// It comes into the namespace `default`.
    #[default]
    Default,
    /// It is refused with 0x87.
    Refuse,
}

/// Where the name of a client's tenant comes from.
///
/// What a client, or who vouches for it, says can name any tenant but `default`, which is the operator's: only
/// [`Listener`](Self::Listener) and [`Everybody`](Self::Everybody) can lead there.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TenantRule {
    /// From the authenticator, which knew it: [`Identity::tenant`].
    Identity,
    /// From an attribute of the identity, such as the claim `sub` of a token.
    Attribute(String),
    /// From the host name that the client asked for in its TLS handshake, without this ending: with `.mqtt.example.com`
    /// a client of `acme.mqtt.example.com` belongs to `acme`. A name with more labels before the ending names none.
    ServerName {
        /// What follows the tenant's name, with its dot.
        ending: String,
    },
    /// From the name that the client proved to be its own: what stands before the first of this character.
    UserName {
        /// What follows the tenant's name.
        separator: char,
    },
    /// All clients of one listener belong to one tenant.
    Listener {
        /// The listener's name.
        listener: String,
        /// The tenant's.
        tenant: String,
    },
    /// Everybody whom no earlier rule concerned belongs to this tenant.
    Everybody(String),
}

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comer<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) listener: &'a str,
    /// The host name of the TLS handshake, in small letters.
    pub(crate) server_name: Option<&'a str>,
}

impl TenantsConfig {
    /// The name of a client's tenant; none if no rule names one and such clients are refused.
    pub(crate) fn tenant_of<'a>(&'a self, comer: Comer<'a>) -> Option<&'a str> {
        let named = self.rules.iter().find_map(|rule| rule.tenant_of(comer));
        named.or(match self.otherwise {
            NoTenant::Default => Some(DEFAULT),
            NoTenant::Refuse => None,
        })
    }

    pub(crate) fn check(&self) -> Result<(), InvalidConfig> {
        if self.exports.len() > EXPORTS_MAX {
            return Err(InvalidConfig::new("tenants.exports", "has more than 1,000 rules"));
        }
        for (position, export) in self.exports.iter().enumerate() {
            export.check(position)?;
        }
        for rule in &self.rules {
            let empty = match rule {
                TenantRule::Identity | TenantRule::UserName { .. } => false,
                TenantRule::Attribute(name) => name.is_empty(),
                TenantRule::ServerName { ending } => !ending.starts_with('.'),
                TenantRule::Listener { listener, tenant } => {
                    listener.is_empty() || tenant.is_empty()
                }
                TenantRule::Everybody(tenant) => tenant.is_empty(),
            };
            if empty {
                return Err(InvalidConfig::new(
                    "tenants.rules",
                    "hold one without a name, or with an ending that begins with no dot",
                ));
            }
        }
        Ok(())
    }
}

impl TenantRule {
    fn tenant_of<'a>(&'a self, comer: Comer<'a>) -> Option<&'a str> {
        let said = match self {
            Self::Identity => comer.identity.tenant.as_deref(),
            Self::Attribute(name) => comer.identity.attribute(name),
            Self::ServerName { ending } => {
                let label = comer.server_name.and_then(|name| name.strip_suffix(ending.as_str()));
                label.filter(|label| !label.contains('.'))
            }
            Self::UserName { separator } => {
                comer.identity.user.split_once(*separator).map(|(tenant, _)| tenant)
            }
            Self::Listener { listener, tenant } => {
                return (listener == comer.listener).then_some(tenant);
            }
            Self::Everybody(tenant) => return Some(tenant),
        };
        said.filter(|name| !name.is_empty() && *name != DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(user: &str, tenant: Option<&str>, attributes: &[(&str, &str)]) -> Identity {
        Identity {
            tenant: tenant.map(str::to_owned),
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Identity::named(user)
        }
    }

    #[test]
    fn the_first_rule_that_names_a_tenant_counts() {
        let config = TenantsConfig {
            rules: vec![
                TenantRule::Identity,
                TenantRule::Attribute("sub".to_owned()),
                TenantRule::ServerName { ending: ".mqtt.example.com".to_owned() },
                TenantRule::UserName { separator: '/' },
                TenantRule::Listener { listener: "lan".to_owned(), tenant: "default".to_owned() },
            ],
            ..TenantsConfig::default()
        };
        let refusing = TenantsConfig { otherwise: NoTenant::Refuse, ..config.clone() };
        let everybody = TenantsConfig {
            rules: vec![TenantRule::Everybody("ssni".to_owned())],
            ..TenantsConfig::default()
        };
        let cases: [(Identity, &str, Option<&str>, Option<&str>); 10] = [
            (identity("u", Some("one"), &[("sub", "two")]), "wan", None, Some("one")),
            (identity("u", None, &[("sub", "two")]), "wan", None, Some("two")),
            (identity("u", None, &[]), "wan", Some("three.mqtt.example.com"), Some("three")),
            (identity("u", None, &[]), "wan", Some("x.y.mqtt.example.com"), None),
            (identity("four/u", None, &[]), "wan", Some("mqtt.example.com"), Some("four")),
            (identity("u", None, &[]), "lan", None, Some("default")),
            // The operator's namespace is nobody's to name, and an empty name is none.
            (identity("default/u", Some("default"), &[("sub", "default")]), "wan", None, None),
            (identity("/u", Some(""), &[("sub", "")]), "wan", Some(".mqtt.example.com"), None),
            (identity("u", None, &[("other", "two")]), "wan", None, None),
            (Identity::anonymous(), "wan", None, None),
        ];
        for (identity, listener, server_name, expected) in &cases {
            let comer = Comer { identity, listener, server_name: *server_name };
            assert_eq!(refusing.tenant_of(comer), *expected, "{identity:?}");
            assert_eq!(config.tenant_of(comer), expected.or(Some("default")), "{identity:?}");
            assert_eq!(everybody.tenant_of(comer), Some("ssni"));
        }
    }

    #[test]
    fn a_rule_without_a_name_is_refused() {
        let refused = |rule| {
            let config = TenantsConfig { rules: vec![rule], ..TenantsConfig::default() };
            config.check().is_err()
        };
        assert!(refused(TenantRule::Attribute(String::new())));
        assert!(refused(TenantRule::ServerName { ending: "example.com".to_owned() }));
        assert!(refused(TenantRule::Everybody(String::new())));
        assert!(!refused(TenantRule::UserName { separator: '/' }));
        assert_eq!(TenantsConfig::default().check(), Ok(()));
    }
}

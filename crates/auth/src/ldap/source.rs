//! Asking a directory about a client.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use ldap3::{LdapConnSettings, Scope};
use rustls::ClientConfig;

use super::config::{Finding, Groups, LdapConfig, LdapConfigError};
use super::connection::{Connection, Search, failed};
use super::entry::{Entry, first_value};
use super::template::{DnTemplate, FilterTemplate, Places};
use crate::lookup::{
    Found, Question, ROLES_MAX, RecordDraft, SourceError, SourceFailure, UserSource,
};
use crate::trust::{self, NoCertificates};
use crate::{Secret, random};

/// Users of a directory.
pub struct Ldap {
    url: String,
    starttls: bool,
    tls: Arc<ClientConfig>,
    finding: Finding,
    user_attribute: Option<String>,
    tenant_attribute: Option<String>,
    roles_attribute: Option<String>,
    attributes: Vec<(String, String)>,
    groups: Option<Groups>,
    /// All attributes of a user that are asked for.
    wanted: Vec<String>,
    /// The entry of a user that does not exist, which is asked for all the same.
    nobody: String,
}

/// What one question needs: who searches, if anybody does, and who is checked.
pub struct LdapConnections {
    searching: Option<Connection>,
    checking: Connection,
}

impl fmt::Debug for LdapConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LdapConnections").finish_non_exhaustive()
    }
}

impl fmt::Debug for Ldap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ldap").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Ldap {
    /// A source that asks this directory. Nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// [`LdapConfigError`] when the address, the certificates or the password to search with cannot be used.
    pub fn new(config: LdapConfig) -> Result<Self, LdapConfigError> {
        let host = ["ldap://", "ldaps://", "ldapi://"]
            .into_iter()
            .find_map(|scheme| config.url.strip_prefix(scheme));
        let is_host = |host: &str| {
            !host.is_empty() && !host.contains(['@', '/', '?', '#']) && !host.starts_with(':')
        };
        if !host.is_some_and(is_host) {
            return Err(LdapConfigError::Url);
        }
        if let Finding::Search { bind: Some((_, password)), .. } = &config.finding
            && password.expose_str().is_none_or(str::is_empty)
        {
            return Err(LdapConfigError::Password);
        }
        let untrusted = |NoCertificates { path, reason }| LdapConfigError::CaFile { path, reason };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trust::roots(config.ca_file.as_deref()).map_err(untrusted)?)
            .with_no_client_auth();
        let named = [&config.user_attribute, &config.tenant_attribute, &config.roles_attribute];
        let named = named.into_iter().flatten().cloned();
        let others = config.attributes.iter().map(|(_, attribute)| attribute.clone());
        let chance = u64::from_be_bytes(random::bytes().unwrap_or_default());
        let below = match &config.finding {
            Finding::Search { base, .. } if !base.is_empty() => format!(",{base}"),
            Finding::Search { .. } | Finding::Template(_) => String::new(),
        };
        Ok(Self {
            wanted: named.chain(others).collect(),
            nobody: format!("cn=nobody-{chance:x}{below}"),
            url: config.url,
            starttls: config.starttls,
            tls: Arc::new(tls),
            finding: config.finding,
            user_attribute: config.user_attribute,
            tenant_attribute: config.tenant_attribute,
            roles_attribute: config.roles_attribute,
            attributes: config.attributes,
            groups: config.groups,
        })
    }

    /// Whether passwords can be read on their way: it is another machine, and there is no TLS.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let Some(host) = self.url.strip_prefix("ldap://") else { return false };
        let host = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((host, _)) => host,
            None => host.split_once(':').map_or(host, |(host, _)| host),
        };
        let is_loopback =
            host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        !self.starttls && host != "localhost" && !is_loopback
    }

    async fn open(&self) -> Result<Connection, SourceError> {
        let settings =
            LdapConnSettings::new().set_config(Arc::clone(&self.tls)).set_starttls(self.starttls);
        Connection::open(settings, &self.url).await
    }

    async fn open_all(&self) -> Result<LdapConnections, SourceError> {
        let checking = self.open().await?;
        let searching = match &self.finding {
            Finding::Template(_) => None,
            Finding::Search { bind, .. } => {
                let mut searching = self.open().await?;
                if let Some((dn, password)) = bind {
                    sign_in(&mut searching, dn, password).await?;
                }
                Some(searching)
            }
        };
        Ok(LdapConnections { searching, checking })
    }

    async fn ask(
        &self,
        connections: &mut LdapConnections,
        question: &Question,
    ) -> Result<Found, SourceError> {
        // A password of LDAP is text (RFC 4511, section 4.2).
        let Ok(password) = std::str::from_utf8(&question.password) else {
            return Ok(Found::Disproven);
        };
        let LdapConnections { searching, checking } = connections;
        match (&self.finding, searching) {
            (Finding::Search { base, filter, .. }, Some(searching)) => {
                let entry = self.find(searching, question, base, filter).await?;
                let dn = entry.as_ref().map_or(self.nobody.as_str(), |entry| &entry.dn);
                // For who is not there as well: neither the answer nor its time says who is.
                let groups = self.roles_of(searching, question, dn).await?;
                let is_right = checking.bind(dn, password).await?;
                match entry {
                    None => Ok(Found::Nobody),
                    Some(_) if !is_right => Ok(Found::Disproven),
                    Some(entry) => self.proven(question, &entry, &groups),
                }
            }
            (Finding::Template(template), _) => {
                self.ask_by_name(checking, question, password, template).await
            }
            (Finding::Search { .. }, None) => {
                Err(failed(SourceFailure::Broken, "nobody is there to search"))
            }
        }
    }

    async fn find(
        &self,
        searching: &mut Connection,
        question: &Question,
        base: &str,
        filter: &FilterTemplate,
    ) -> Result<Option<Entry>, SourceError> {
        let filter = filter.fill(places(question, ""));
        let search = Search {
            base,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: &self.wanted_or_none(),
            entries_max: 1,
        };
        let mut entries = searching.search(search).await?;
        if entries.len() > 1 {
            let words = "several entries fit the user: `filter` must say which one it is";
            return Err(failed(SourceFailure::Malformed, words));
        }
        Ok(entries.pop())
    }

    async fn ask_by_name(
        &self,
        checking: &mut Connection,
        question: &Question,
        password: &str,
        template: &DnTemplate,
    ) -> Result<Found, SourceError> {
        let dn = template.fill(places(question, ""));
        if !checking.bind(&dn, password).await? {
            return Ok(Found::Nobody);
        }
        let groups = self.roles_of(checking, question, &dn).await?;
        let mut entry = Entry::without_attributes(dn.clone());
        if !self.wanted.is_empty() {
            let search = Search {
                base: &dn,
                scope: Scope::Base,
                filter: "(objectClass=*)",
                attributes: &self.wanted,
                entries_max: 1,
            };
            let found = checking.search(search).await?.pop();
            entry = found.ok_or_else(|| {
                let words = "a user cannot read its own entry: it needs the right to, or all of `user_attribute`, \
                             `tenant_attribute`, `roles_attribute` and `attributes` say nothing";
                failed(SourceFailure::Malformed, words)
            })?;
        }
        self.proven(question, &entry, &groups)
    }

    /// The roles by the groups of this entry.
    async fn roles_of(
        &self,
        searching: &mut Connection,
        question: &Question,
        dn: &str,
    ) -> Result<Vec<String>, SourceError> {
        let Some(Groups { base, filter, attribute }) = &self.groups else { return Ok(Vec::new()) };
        let filter = filter.fill(places(question, dn));
        let search = Search {
            base,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: std::slice::from_ref(attribute),
            entries_max: ROLES_MAX,
        };
        let groups = searching.search(search).await?;
        if groups.len() > ROLES_MAX {
            let words = format!("a user is in more than {ROLES_MAX} groups");
            return Err(failed(SourceFailure::Malformed, &words));
        }
        let first = |group: &Entry| group.values(attribute).first().cloned();
        Ok(groups.iter().filter_map(first).collect())
    }

    fn proven(
        &self,
        question: &Question,
        entry: &Entry,
        groups: &[String],
    ) -> Result<Found, SourceError> {
        let mut draft = RecordDraft::default();
        if let Some(attribute) = &self.user_attribute {
            let values = entry.values(attribute);
            let given = question.user_name.to_lowercase();
            let same = values.iter().find(|value| value.to_lowercase() == given);
            let user = same.or_else(|| values.first()).ok_or_else(|| {
                let words = format!("the user's entry has no attribute {attribute:?}");
                failed(SourceFailure::Malformed, &words)
            })?;
            draft.user(user)?;
        }
        let tenant = self.tenant_attribute.as_deref().and_then(|name| entry.values(name).first());
        if let Some(tenant) = tenant {
            draft.tenant(tenant)?;
        }
        let roles = self.roles_attribute.as_deref().map_or(&[][..], |name| entry.values(name));
        roles.iter().try_for_each(|role| draft.role(&first_value(role)))?;
        groups.iter().try_for_each(|role| draft.role(role))?;
        for (name, attribute) in &self.attributes {
            if let Some(value) = entry.values(attribute).first() {
                draft.attribute(name, value)?;
            }
        }
        Ok(Found::Proven(draft.identity(&question.user_name)))
    }

    /// "1.1" asks for no attribute (RFC 4511, section 4.5.1.8), an empty list for all.
    fn wanted_or_none(&self) -> Vec<String> {
        if self.wanted.is_empty() { vec!["1.1".to_owned()] } else { self.wanted.clone() }
    }
}

fn places<'a>(question: &'a Question, dn: &'a str) -> Places<'a> {
    Places { user_name: &question.user_name, client_id: &question.client_id, dn }
}

async fn sign_in(
    searching: &mut Connection,
    dn: &str,
    password: &Secret,
) -> Result<(), SourceError> {
    let password = password.expose_str().unwrap_or_default();
    if searching.bind(dn, password).await? {
        return Ok(());
    }
    let words = "the directory does not let in who is to search: `bind_dn` and `bind_password`";
    Err(failed(SourceFailure::Connect, words))
}

impl UserSource for Ldap {
    type Connection = LdapConnections;

    const CHECKS_PASSWORDS: bool = true;

    fn name(&self) -> String {
        self.url.clone()
    }

    fn is_about_connection(&self) -> bool {
        let finds = match &self.finding {
            Finding::Template(template) => template.is_about_connection(),
            Finding::Search { filter, .. } => filter.is_about_connection(),
        };
        finds || self.groups.as_ref().is_some_and(|groups| groups.filter.is_about_connection())
    }

    async fn connect(&self) -> Result<LdapConnections, SourceError> {
        caught(self.open_all()).await
    }

    async fn look_up(
        &self,
        connections: &mut LdapConnections,
        question: &Question,
    ) -> Result<Found, SourceError> {
        caught(self.ask(connections, question)).await
    }
}

/// The library panics over answers that are not built as they should be. That costs the connection and no more.
async fn caught<T>(
    asked: impl Future<Output = Result<T, SourceError>> + Send,
) -> Result<T, SourceError> {
    AssertUnwindSafe(asked)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(failed(SourceFailure::Broken, "the directory's answer is no LDAP")))
}

//! Sections `[auth.NAME]` about databases and directories: from what one says to the step that asks.

use std::path::PathBuf;
use std::sync::Arc;

use dunlin_auth::lookup::{Lookup, LookupOptions, UserSource};
use dunlin_auth::{SecretSource, Workers};
use dunlin_broker::Authenticator;

use crate::authentication::{AuthKind, AuthSettings};

/// What a section about a database that is asked by queries says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SqlSettings {
    pub(crate) url: Option<SecretSource>,
    pub(crate) password: Option<SecretSource>,
    pub(crate) query: Option<String>,
}

/// What a section about a file of SQLite says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SqliteSettings {
    pub(crate) path: Option<PathBuf>,
    pub(crate) query: Option<String>,
}

/// What a section about Redis says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RedisSettings {
    pub(crate) url: Option<SecretSource>,
    pub(crate) password: Option<SecretSource>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) key: String,
    pub(crate) attributes: Vec<String>,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: None,
            password: None,
            ca_file: None,
            key: "mqtt:user:{username}".to_owned(),
            attributes: Vec::new(),
        }
    }
}

/// What a section about a directory says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LdapSettings {
    pub(crate) url: Option<String>,
    pub(crate) starttls: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) user_dn: Option<String>,
    pub(crate) bind_dn: Option<String>,
    pub(crate) bind_password: Option<SecretSource>,
    pub(crate) base: Option<String>,
    pub(crate) filter: String,
    pub(crate) user_attribute: Option<String>,
    pub(crate) tenant_attribute: Option<String>,
    pub(crate) roles_attribute: Option<String>,
    pub(crate) attributes: Vec<String>,
    pub(crate) group_base: Option<String>,
    pub(crate) group_filter: String,
    pub(crate) group_attribute: String,
}

impl Default for LdapSettings {
    fn default() -> Self {
        Self {
            url: None,
            starttls: false,
            ca_file: None,
            user_dn: None,
            bind_dn: None,
            bind_password: None,
            base: None,
            filter: "(uid={username})".to_owned(),
            user_attribute: Some("uid".to_owned()),
            tenant_attribute: None,
            roles_attribute: None,
            attributes: Vec::new(),
            group_base: None,
            group_filter: "(member={dn})".to_owned(),
            group_attribute: "cn".to_owned(),
        }
    }
}

/// A step, and whether what it asks can be read on its way.
pub(crate) struct Opened {
    pub(crate) step: Arc<dyn Authenticator>,
    pub(crate) is_exposed: bool,
}

/// The step that a section of one of these kinds asks for.
pub(crate) fn open(
    kind: AuthKind,
    settings: &AuthSettings,
    workers: &Workers,
) -> Result<Opened, String> {
    match kind {
        AuthKind::Postgres => open_postgres(settings, workers),
        AuthKind::MySql => open_mysql(settings, workers),
        AuthKind::Sqlite => open_sqlite(settings, workers),
        AuthKind::Redis => open_redis(settings, workers),
        AuthKind::Ldap => open_ldap(settings, workers),
        AuthKind::File | AuthKind::Peer | AuthKind::Jwt | AuthKind::Http => {
            Err("asks no database".to_owned())
        }
    }
}

#[cfg_attr(
    not(any(
        feature = "postgres",
        feature = "mysql",
        feature = "sqlite",
        feature = "redis",
        feature = "ldap"
    )),
    expect(dead_code, reason = "each of these kinds asks by it")
)]
fn lookup<S: UserSource>(
    source: S,
    options: LookupOptions,
    workers: &Workers,
    is_exposed: bool,
) -> Opened {
    Opened { step: Arc::new(Lookup::new(source, options, workers.clone())), is_exposed }
}

/// What stands in the place of a way that this program was built without.
#[cfg(not(all(
    feature = "postgres",
    feature = "mysql",
    feature = "sqlite",
    feature = "redis",
    feature = "ldap"
)))]
fn absent(feature: &str) -> Result<Opened, String> {
    Err(format!(
        "this program was built without `{feature}`: build it with this feature, or with `databases` for all of them"
    ))
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "redis", feature = "ldap"))]
fn resolved(source: Option<&SecretSource>) -> Result<Option<dunlin_auth::Secret>, String> {
    source.map(|source| source.resolve().map_err(|error| error.to_string())).transpose()
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
fn query(text: Option<&String>) -> Result<dunlin_auth::sql::Query, String> {
    let text = text.ok_or("says no `query`: who the client {username} is")?;
    dunlin_auth::sql::Query::parse(text).map_err(|error| format!("cannot use `query`: {error}"))
}

#[cfg(feature = "postgres")]
fn open_postgres(settings: &AuthSettings, workers: &Workers) -> Result<Opened, String> {
    let SqlSettings { url, password, query: text } = &settings.sql;
    let url = resolved(url.as_ref())?.ok_or("says no `url`: the database's address")?;
    let mut config = dunlin_auth::sql::PostgresConfig::new(url, query(text.as_ref())?);
    config.password = resolved(password.as_ref())?;
    config.statement_timeout = settings.lookup.timeout;
    let source = dunlin_auth::sql::Postgres::new(&config).map_err(|error| error.to_string())?;
    let is_exposed = source.is_exposed();
    Ok(lookup(source, settings.lookup, workers, is_exposed))
}

#[cfg(not(feature = "postgres"))]
fn open_postgres(_: &AuthSettings, _: &Workers) -> Result<Opened, String> {
    absent("postgres")
}

#[cfg(feature = "mysql")]
fn open_mysql(settings: &AuthSettings, workers: &Workers) -> Result<Opened, String> {
    let SqlSettings { url, password, query: text } = &settings.sql;
    let url = resolved(url.as_ref())?.ok_or("says no `url`: the database's address")?;
    let mut config = dunlin_auth::sql::MySqlConfig::new(url, query(text.as_ref())?);
    config.password = resolved(password.as_ref())?;
    config.statement_timeout = settings.lookup.timeout;
    let source = dunlin_auth::sql::MySql::new(&config).map_err(|error| error.to_string())?;
    let is_exposed = source.is_exposed();
    Ok(lookup(source, settings.lookup, workers, is_exposed))
}

#[cfg(not(feature = "mysql"))]
fn open_mysql(_: &AuthSettings, _: &Workers) -> Result<Opened, String> {
    absent("mysql")
}

#[cfg(feature = "sqlite")]
fn open_sqlite(settings: &AuthSettings, workers: &Workers) -> Result<Opened, String> {
    let SqliteSettings { path, query: text } = &settings.sqlite;
    let path = path.clone().ok_or("says no `path`: the file")?;
    let mut config = dunlin_auth::sql::SqliteConfig::new(path, query(text.as_ref())?);
    config.statement_timeout = settings.lookup.timeout;
    let source = dunlin_auth::sql::Sqlite::new(&config);
    Ok(lookup(source, settings.lookup, workers, false))
}

#[cfg(not(feature = "sqlite"))]
fn open_sqlite(_: &AuthSettings, _: &Workers) -> Result<Opened, String> {
    absent("sqlite")
}

#[cfg(feature = "redis")]
fn open_redis(settings: &AuthSettings, workers: &Workers) -> Result<Opened, String> {
    let RedisSettings { url, password, ca_file, key, attributes } = &settings.redis;
    let url = resolved(url.as_ref())?.ok_or("says no `url`: the server's address")?;
    let mut config = dunlin_auth::redis::RedisConfig::new(url);
    config.password = resolved(password.as_ref())?;
    config.ca_file.clone_from(ca_file);
    config.key.clone_from(key);
    config.attributes.clone_from(attributes);
    let source = dunlin_auth::redis::Redis::new(&config).map_err(|error| error.to_string())?;
    let is_exposed = source.is_exposed();
    Ok(lookup(source, settings.lookup, workers, is_exposed))
}

#[cfg(not(feature = "redis"))]
fn open_redis(_: &AuthSettings, _: &Workers) -> Result<Opened, String> {
    absent("redis")
}

#[cfg(feature = "ldap")]
fn open_ldap(settings: &AuthSettings, workers: &Workers) -> Result<Opened, String> {
    use dunlin_auth::ldap::{FilterTemplate, Groups, Ldap, LdapConfig};

    let said = &settings.ldap;
    let url = said.url.clone().ok_or("says no `url`: the directory's address")?;
    let mut config = LdapConfig::new(url, finding(said)?);
    config.starttls = said.starttls;
    config.ca_file.clone_from(&said.ca_file);
    config.user_attribute.clone_from(&said.user_attribute);
    config.tenant_attribute.clone_from(&said.tenant_attribute);
    config.roles_attribute.clone_from(&said.roles_attribute);
    let attribute = |named: &String| match named.split_once('=') {
        Some((name, attribute)) => (name.to_owned(), attribute.to_owned()),
        None => (named.clone(), named.clone()),
    };
    config.attributes = said.attributes.iter().map(attribute).collect();
    if let Some(base) = &said.group_base {
        let filter = FilterTemplate::parse_for_groups(&said.group_filter)
            .map_err(|error| format!("cannot use `group_filter`: it {error}"))?;
        let attribute = said.group_attribute.clone();
        config.groups = Some(Groups { base: base.clone(), filter, attribute });
    }
    let source = Ldap::new(config).map_err(|error| error.to_string())?;
    let is_exposed = source.is_exposed();
    Ok(lookup(source, settings.lookup, workers, is_exposed))
}

#[cfg(feature = "ldap")]
fn finding(said: &LdapSettings) -> Result<dunlin_auth::ldap::Finding, String> {
    use dunlin_auth::ldap::{DnTemplate, FilterTemplate, Finding};

    if let Some(template) = &said.user_dn {
        if said.base.is_some() || said.bind_dn.is_some() {
            return Err("says both `user_dn` and how to search: `base` and `bind_dn` are for that"
                .to_owned());
        }
        let template = DnTemplate::parse(template)
            .map_err(|error| format!("cannot use `user_dn`: it {error}"))?;
        return Ok(Finding::Template(template));
    }
    let base = said.base.clone().ok_or(
        "says neither `user_dn`, by which a user's entry is known, nor `base`, below which it is searched for",
    )?;
    let filter = FilterTemplate::parse(&said.filter)
        .map_err(|error| format!("cannot use `filter`: it {error}"))?;
    let bind = match (&said.bind_dn, resolved(said.bind_password.as_ref())?) {
        (None, None) => None,
        (Some(dn), Some(password)) => Some((dn.clone(), password)),
        (Some(_), None) | (None, Some(_)) => {
            return Err(
                "says one of `bind_dn` and `bind_password`: each needs the other".to_owned()
            );
        }
    };
    Ok(Finding::Search { bind, base, filter })
}

#[cfg(not(feature = "ldap"))]
fn open_ldap(_: &AuthSettings, _: &Workers) -> Result<Opened, String> {
    absent("ldap")
}

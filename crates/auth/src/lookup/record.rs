//! What a source knows of one user, read strictly.

use dunlin_broker::Identity;

use super::source::{SourceError, SourceFailure};
use crate::hash::PasswordHash;

/// Roles of one user. A record with more is a failure.
pub const ROLES_MAX: usize = 256;
/// Attributes of one user. A record with more is a failure.
pub const ATTRIBUTES_MAX: usize = 64;
/// Bytes of a text in a record. One with a longer text is a failure.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// A user with what is kept of its password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// What is kept of its password.
    pub password: PasswordHash,
    /// Who it is.
    pub identity: Identity,
}

/// A record of which one text after the other becomes known. Empty texts say nothing.
#[derive(Debug, Default)]
#[cfg_attr(
    not(any(feature = "postgres", feature = "mysql", feature = "sqlite", feature = "redis")),
    allow(dead_code, reason = "a directory tells no hash")
)]
pub(crate) struct RecordDraft {
    password: Option<String>,
    user: Option<String>,
    tenant: Option<String>,
    roles: Vec<String>,
    attributes: Vec<(String, String)>,
}

#[cfg_attr(
    not(all(
        feature = "postgres",
        feature = "mysql",
        feature = "sqlite",
        feature = "redis",
        feature = "ldap"
    )),
    allow(dead_code, reason = "each source fills in what it knows")
)]
impl RecordDraft {
    /// What stands in the column or field of this name.
    pub(crate) fn field(&mut self, name: &str, value: &str) -> Result<(), SourceError> {
        match name {
            "password_hash" => set(&mut self.password, name, value),
            "user_name" => set(&mut self.user, name, value),
            "tenant" => set(&mut self.tenant, name, value),
            "roles" => value
                .split(|letter: char| letter == ',' || letter.is_whitespace())
                .try_for_each(|role| self.role(role)),
            _ => self.attribute(name, value),
        }
    }

    /// One role. That it is known already is no failure: a join repeats it.
    pub(crate) fn role(&mut self, role: &str) -> Result<(), SourceError> {
        let role = checked("roles", role)?;
        if role.is_empty() || self.roles.iter().any(|known| known == role) {
            return Ok(());
        }
        if self.roles.len() >= ROLES_MAX {
            return Err(malformed(format!("there are more than {ROLES_MAX} roles")));
        }
        self.roles.push(role.to_owned());
        Ok(())
    }

    /// Rules have a place for it: `{claims.NAME}`. It keeps its first value.
    pub(crate) fn attribute(&mut self, name: &str, value: &str) -> Result<(), SourceError> {
        let value = checked(name, value)?;
        let name = format!("claims.{}", checked("the name of an attribute", name)?);
        if value.is_empty() || self.attributes.iter().any(|(known, _)| *known == name) {
            return Ok(());
        }
        if self.attributes.len() >= ATTRIBUTES_MAX {
            return Err(malformed(format!("there are more than {ATTRIBUTES_MAX} attributes")));
        }
        self.attributes.push((name, value.to_owned()));
        Ok(())
    }

    pub(crate) fn user(&mut self, name: &str) -> Result<(), SourceError> {
        set(&mut self.user, "user_name", name)
    }

    pub(crate) fn tenant(&mut self, tenant: &str) -> Result<(), SourceError> {
        set(&mut self.tenant, "tenant", tenant)
    }

    /// Who that is: the user of the record, else the one that the client names.
    pub(crate) fn identity(self, named: &str) -> Identity {
        let mut identity = Identity::named(self.user.unwrap_or_else(|| named.to_owned()));
        identity.tenant = self.tenant;
        identity.roles = self.roles;
        identity.attributes = self.attributes;
        identity
    }

    /// The record. Without a hash nobody comes in by it.
    pub(crate) fn record(mut self, named: &str) -> Result<Record, SourceError> {
        let password = match self.password.take() {
            Some(hash) => hash
                .parse()
                .map_err(|error| malformed(format!("the password_hash of {named:?} {error}")))?,
            None => PasswordHash::LOCKED,
        };
        Ok(Record { password, identity: self.identity(named) })
    }
}

/// Several rows about one user must agree.
fn set(place: &mut Option<String>, name: &str, value: &str) -> Result<(), SourceError> {
    let value = checked(name, value)?;
    if value.is_empty() {
        return Ok(());
    }
    match place {
        Some(known) if known != value => {
            Err(malformed(format!("there are several values of {name}: is it about one user?")))
        }
        Some(_) => Ok(()),
        None => {
            *place = Some(value.to_owned());
            Ok(())
        }
    }
}

fn checked<'a>(name: &str, value: &'a str) -> Result<&'a str, SourceError> {
    if value.len() > TEXT_BYTES_MAX || value.contains('\0') {
        let name: String = name.chars().take(64).collect();
        return Err(malformed(format!("{name:?} has more than {TEXT_BYTES_MAX} bytes, or U+0000")));
    }
    Ok(value)
}

fn malformed(words: String) -> SourceError {
    SourceError::new(SourceFailure::Malformed, words)
}

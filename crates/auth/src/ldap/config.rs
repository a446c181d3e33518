//! Which directory is asked, and how.

use std::path::PathBuf;

use super::template::{DnTemplate, FilterTemplate, InvalidTemplate};
use crate::Secret;

/// A directory.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct LdapConfig {
    /// `ldaps://HOST`, `ldap://HOST` or `ldapi://%2Frun%2Fldapi`, each with `:PORT` if it is another one.
    pub url: String,
    /// Begins TLS on a connection to `ldap://` before anything is said.
    pub starttls: bool,
    /// A file with the certificates (PEM) of those who may vouch for the directory. None: the system's.
    pub ca_file: Option<PathBuf>,
    /// How a user's entry is found.
    pub finding: Finding,
    /// The attribute that says who a user is. Directories take `alice` and `ALICE` for the same name, and rules do not. None:
    /// the User Name is taken as the client gives it.
    pub user_attribute: Option<String>,
    /// The attribute that names the tenant.
    pub tenant_attribute: Option<String>,
    /// The attribute whose values are roles. Of a value that is the name of an entry, the first part counts: `ops` of
    /// `cn=ops,ou=groups,dc=example`.
    pub roles_attribute: Option<String>,
    /// Further attributes for `{claims.NAME}` in rules: the name there, and the directory's. Their first value counts.
    pub attributes: Vec<(String, String)>,
    /// Groups that are searched for, since a user's entry does not name them everywhere.
    pub groups: Option<Groups>,
}

/// How a user's entry is found.
#[derive(Clone, Debug)]
pub enum Finding {
    /// Its name follows from the User Name. Nobody can tell then a user that does not exist from a wrong password.
    Template(DnTemplate),
    /// It is searched for below an entry.
    Search {
        /// Who searches. None: nobody by name.
        bind: Option<(String, Secret)>,
        /// The entry below which users are.
        base: String,
        /// Which one it is. If several fit, none does.
        filter: FilterTemplate,
    },
}

/// Groups that name their members.
#[derive(Clone, Debug)]
pub struct Groups {
    /// The entry below which they are.
    pub base: String,
    /// Those of a user.
    pub filter: FilterTemplate,
    /// Their attribute that is the role.
    pub attribute: String,
}

impl LdapConfig {
    /// This directory, asked so, with the attribute `uid` as the name of users and without roles.
    #[must_use]
    pub fn new(url: String, finding: Finding) -> Self {
        Self {
            url,
            starttls: false,
            ca_file: None,
            finding,
            user_attribute: Some("uid".to_owned()),
            tenant_attribute: None,
            roles_attribute: None,
            attributes: Vec::new(),
            groups: None,
        }
    }
}

/// Why a directory cannot be asked.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum LdapConfigError {
    /// The address is none.
    #[error(
        "the address of the directory is none: one looks as ldaps://HOST, without user and path"
    )]
    Url,
    /// A template cannot be used.
    #[error("`{0}` {1}")]
    Template(&'static str, #[source] InvalidTemplate),
    /// The password of who searches is no UTF-8.
    #[error("the password to search with is no UTF-8")]
    Password,
    /// The file with certificates cannot be read or holds none.
    #[error("{path} is no file with certificates: {reason}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

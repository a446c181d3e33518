//! Clients whom a directory knows: it is asked by LDAP (RFC 4511), and checks passwords itself by a simple bind.
//!
//! Either the name of a user's entry follows from the User Name ([`Finding::Template`]), or the entry is searched for
//! ([`Finding::Search`]). Whatever a client sends is escaped where it becomes part of a name (RFC 4514) or of a filter (RFC
//! 4515), and an empty password is never sent, since a directory would take it for somebody who wants to be nobody and say
//! yes (RFC 4513, section 5.1.2).

mod config;
mod connection;
mod entry;
mod source;
mod template;

pub use config::{Finding, Groups, LdapConfig, LdapConfigError};
pub use source::{Ldap, LdapConnections};
pub use template::{DnTemplate, FilterTemplate, InvalidTemplate};

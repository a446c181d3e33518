//! A connection to a directory, with the answers that matter here.

use ldap3::{LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchOptions};
use tokio::task::JoinHandle;

use super::entry::Entry;
use crate::lookup::{SourceError, SourceFailure};

/// Characters of what a directory says that are handed on.
const WORDS_MAX: usize = 400;

/// One connection, which ends with this value.
#[derive(Debug)]
pub(super) struct Connection {
    ldap: ldap3::Ldap,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Entries below which entry are searched for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'a> {
    pub(super) base: &'a str,
    pub(super) scope: Scope,
    pub(super) filter: &'a str,
    pub(super) attributes: &'a [String],
    pub(super) entries_max: usize,
}

impl Connection {
    pub(super) async fn open(settings: LdapConnSettings, url: &str) -> Result<Self, SourceError> {
        let opened = LdapConnAsync::with_settings(settings, url).await;
        let (connection, ldap) =
            opened.map_err(|error| failed(SourceFailure::Connect, &error.to_string()))?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer hears that there is none.
            let _ = connection.drive().await;
        });
        Ok(Self { ldap, driver })
    }

    /// Whether this is the password of this entry.
    pub(super) async fn bind(&mut self, dn: &str, password: &str) -> Result<bool, SourceError> {
        debug_assert!(!password.is_empty(), "it would be somebody who wants to be nobody");
        let answer = self.ldap.simple_bind(dn, password).await.map_err(|error| broken(&error))?;
        match answer.rc {
            SUCCESS => Ok(true),
            // The wrong password, no such entry, an entry without a password, a name that is none, locked or not allowed to.
            49 | 32 | 48 | 34 | 53 | 50 | 19 => Ok(false),
            _ => Err(refused(&answer)),
        }
    }

    /// The entries that fit; one more than `entries_max` if there are more.
    pub(super) async fn search(&mut self, search: Search<'_>) -> Result<Vec<Entry>, SourceError> {
        let limit = i32::try_from(search.entries_max + 1).unwrap_or(i32::MAX);
        let Search { base, scope, filter, attributes, .. } = search;
        self.ldap.with_search_options(SearchOptions::new().sizelimit(limit));
        let found = self.ldap.search(base, scope, filter, attributes).await;
        let ldap3::SearchResult(entries, answer) = found.map_err(|error| broken(&error))?;
        match answer.rc {
            SUCCESS | SIZE_LIMIT_EXCEEDED => {
                Ok(entries.into_iter().filter_map(Entry::read).collect())
            }
            _ => Err(refused(&answer)),
        }
    }
}

// RFC 4511, appendix A.
const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;

fn refused(answer: &LdapResult) -> SourceError {
    let failure = match answer.rc {
        3 => SourceFailure::Timeout,
        // operationsError, busy, unavailable, unwilling, other.
        1 | 51 | 52 | 53 | 80 => SourceFailure::Broken,
        _ => SourceFailure::Refused,
    };
    failed(failure, &format!("the directory says {answer}"))
}

fn broken(error: &LdapError) -> SourceError {
    let is_ours = matches!(error, LdapError::FilterParsing);
    let failure = if is_ours { SourceFailure::Refused } else { SourceFailure::Broken };
    failed(failure, &error.to_string())
}

pub(super) fn failed(failure: SourceFailure, words: &str) -> SourceError {
    SourceError::new(failure, words.chars().take(WORDS_MAX).collect::<String>())
}

//! What PostgreSQL and MySQL have in common: an address that may hold a password, and what becomes of errors.

use sqlx::error::DatabaseError;

use crate::lookup::{SourceError, SourceFailure};

/// Characters of what a database says that are handed on.
const WORDS_MAX: usize = 400;

/// An error of a database as a failure; the database's own errors differ.
pub(super) fn failed(
    error: &sqlx::Error,
    of_database: impl Fn(&dyn DatabaseError) -> SourceFailure,
) -> SourceError {
    let is_broken = matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed
    );
    let is_malformed = matches!(
        error,
        sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
    );
    let failure = if let sqlx::Error::Database(error) = error {
        of_database(&**error)
    } else if is_broken {
        SourceFailure::Broken
    } else if is_malformed {
        SourceFailure::Malformed
    } else {
        SourceFailure::Refused
    };
    SourceError::new(failure, words(error))
}

/// Whatever stood in the way of a connection, it is an outage.
pub(super) fn not_connected(error: &sqlx::Error) -> SourceError {
    SourceError::new(SourceFailure::Connect, words(error))
}

fn words(error: &sqlx::Error) -> String {
    error.to_string().chars().take(WORDS_MAX).collect()
}

/// Whether this is another machine. A path is a socket of this one.
pub(super) fn is_elsewhere(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    !(host == "localhost" || host.starts_with('/') || is_loopback)
}

/// The first parameter of an address that is none of these. The libraries would log it with its value, which may be a secret.
pub(super) fn unknown_parameter(url: &str, known: &[&str]) -> Option<String> {
    let (_, parameters) = url.split_once('?')?;
    let parameters = parameters.split_once('#').map_or(parameters, |(parameters, _)| parameters);
    let names =
        parameters.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    let unknown = names.into_iter().find(|name| {
        let is_known = known.contains(name)
            || known.iter().any(|known| known.ends_with('[') && name.starts_with(known));
        !name.is_empty() && !is_known
    })?;
    Some(unknown.chars().take(40).collect())
}

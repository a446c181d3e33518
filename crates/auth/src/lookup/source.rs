//! What a database or a directory has to do to be asked about clients.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;

use bytes::Bytes;
use dunlin_broker::Identity;

use super::record::Record;

/// One kind of database or directory.
///
/// Connections are made, kept and given up by [`Lookup`](super::Lookup): a source sees each from one question at a time. A
/// connection whose question failed, or was given up because it took too long, is dropped and never used again.
pub trait UserSource: Send + Sync + 'static {
    /// One connection.
    type Connection: Send + 'static;

    /// Whether it checks passwords by itself, as a directory does. Where it does not, [`Lookup`](super::Lookup) computes a hash
    /// for a name that nobody has as well.
    const CHECKS_PASSWORDS: bool = false;

    /// What it is called in logs. No secret may stand in it.
    fn name(&self) -> String;

    /// Whether its answer depends on more than User Name and Password: Client Identifier, address or listener.
    fn is_about_connection(&self) -> bool {
        false
    }

    /// Makes a connection.
    ///
    /// # Errors
    ///
    /// [`SourceError`] when there is none to be had.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, SourceError>> + Send;

    /// Asks about a client.
    ///
    /// # Errors
    ///
    /// [`SourceError`] when there is no answer, or none that can be used.
    fn look_up(
        &self,
        connection: &mut Self::Connection,
        question: &Question,
    ) -> impl Future<Output = Result<Found, SourceError>> + Send;
}

/// Who wants to come in. Whatever stands in it comes from a client and proves nothing.
#[non_exhaustive]
#[derive(Clone, Eq, PartialEq)]
pub struct Question {
    /// The User Name. It is never empty.
    pub user_name: String,
    /// The Password, for sources that check it themselves. It is never empty, and has at most
    /// [`PASSWORD_BYTES_MAX`](crate::PASSWORD_BYTES_MAX) bytes.
    pub password: Bytes,
    /// The Client Identifier.
    pub client_id: String,
    /// Its address. None: it came by a Unix socket.
    pub address: Option<IpAddr>,
    /// The listener's name.
    pub listener: String,
}

impl fmt::Debug for Question {
    /// Leaves out the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("user_name", &self.user_name)
            .field("client_id", &self.client_id)
            .field("address", &self.address)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// What a source knows of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// There is nobody of this name.
    Nobody,
    /// There is, and this is known of it. Its password is yet to be checked.
    Record(Record),
    /// The source has checked the password, and this is who that is.
    Proven(Identity),
    /// The source has checked the password, and it is wrong.
    Disproven,
}

/// Why a source did not answer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SourceFailure {
    /// Not within the timeout.
    Timeout,
    /// More clients wait for their turn than `waiting_max`.
    Crowded,
    /// No connection is to be had.
    Connect,
    /// The connection broke off, or the source cannot answer now.
    Broken,
    /// It refuses the question, which is a mistake of whoever wrote it, or of the client's in what stands in it.
    Refused,
    /// What it says is not what an answer looks like.
    Malformed,
}

impl SourceFailure {
    /// Every kind of failure.
    pub const ALL: [Self; 6] =
        [Self::Timeout, Self::Crowded, Self::Connect, Self::Broken, Self::Refused, Self::Malformed];

    /// The stable name, as in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Crowded => "crowded",
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
        }
    }

    /// Whether the source is away, so that a client may be let in or passed on for that. A client can make a source refuse a
    /// question, and a record that cannot be read is there all the same: neither may open a door.
    #[must_use]
    pub const fn is_outage(self) -> bool {
        match self {
            Self::Timeout | Self::Crowded | Self::Connect | Self::Broken => true,
            Self::Refused | Self::Malformed => false,
        }
    }
}

/// A failure with what there is to say about it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: {words}", failure.name())]
pub struct SourceError {
    /// Its kind.
    pub failure: SourceFailure,
    /// What happened, for whoever runs the source. No secret may stand in it.
    pub words: String,
}

impl SourceError {
    /// A failure of this kind.
    #[must_use]
    pub fn new(failure: SourceFailure, words: impl Into<String>) -> Self {
        Self { failure, words: words.into() }
    }
}

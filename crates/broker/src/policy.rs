//! Who a client is: the chain of authenticators and what they answer.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::ReasonCode;
use dunlin_codec::Version;
use dunlin_transport::Peer;

/// A future that an object-safe trait can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who a client turned out to be.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// The name it authenticated by; empty for an anonymous client.
    pub user: String,
    /// The tenant it belongs to, where the authenticator knows it. It counts only where a rule of
    /// [`TenantsConfig`](crate::TenantsConfig) says so.
    pub tenant: Option<String>,
    /// The roles it was given, in no particular order.
    pub roles: Vec<String>,
    /// What else is known of it, such as claims of a token.
    pub attributes: Vec<(String, String)>,
    /// When what proved it ends, such as a token. The connection is closed then, unless the client has proven itself anew
    /// (5.0 AUTH) by something that lasts longer. None: it lasts as long as the connection.
    pub expires: Option<Instant>,
}

impl Identity {
    /// A client that gave no credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The first attribute with this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A client known by name.
    #[must_use]
    pub fn named(user: impl Into<String>) -> Self {
        Self { user: user.into(), ..Self::default() }
    }
}

/// What a client shows to be let in, one step of it.
pub struct AuthRequest {
    /// The Client Identifier, assigned or its own.
    pub client_id: String,
    /// The protocol version.
    pub version: Version,
    /// The peer.
    pub address: Option<SocketAddr>,
    /// What is known of the peer: how it came in, its certificate, the owner of its process, what a proxy said.
    pub peer: Peer,
    /// The listener's name.
    pub listener: String,
    /// The User Name, if sent.
    pub user_name: Option<String>,
    /// The Password, if sent.
    pub password: Option<Bytes>,
    /// The Authentication Method of MQTT 5.0, if sent.
    pub method: Option<String>,
    /// The Authentication Data of this step.
    pub data: Option<Bytes>,
    /// Whether this client is connected already and proves itself anew.
    pub reauthentication: bool,
    /// What the authenticator kept from the step before.
    pub state: Option<Box<dyn Any + Send>>,
}

impl fmt::Debug for AuthRequest {
    /// Leaves out what must not stand in a log: password and authentication data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRequest")
            .field("client_id", &self.client_id)
            .field("version", &self.version)
            .field("address", &self.address)
            .field("transport", &self.peer.transport)
            .field("listener", &self.listener)
            .field("user_name", &self.user_name)
            .field("method", &self.method)
            .field("reauthentication", &self.reauthentication)
            .finish_non_exhaustive()
    }
}

/// What an authenticator says.
pub enum Decision {
    /// This client is who it says.
    Accept {
        /// Who that is.
        identity: Identity,
        /// Authentication Data for the CONNACK, or the AUTH that ends a re-authentication.
        data: Option<Bytes>,
    },
    /// This client is refused, with the reason that it is told.
    Refuse(ReasonCode),
    /// This authenticator does not know; the next one is asked. The last pass-on is a refusal, unless the listener
    /// allows anonymous clients and the client showed no credentials.
    PassOn,
    /// One more step of an AUTH exchange (MQTT 5.0 only).
    Continue {
        /// Authentication Data for the client.
        data: Option<Bytes>,
        /// What the authenticator wants back with the next step.
        state: Box<dyn Any + Send>,
    },
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept { identity, .. } => {
                f.debug_struct("Accept").field("identity", identity).finish_non_exhaustive()
            }
            Self::Refuse(reason) => f.debug_tuple("Refuse").field(reason).finish(),
            Self::PassOn => f.write_str("PassOn"),
            Self::Continue { .. } => f.write_str("Continue"),
        }
    }
}

/// One way of knowing who a client is.
pub trait Authenticator: Send + Sync + 'static {
    /// Judges one step. Runs on the connection's task: what computes or blocks for long belongs on a thread of its own.
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step>;
}

/// A [`Decision`], with the request given back so that the next authenticator can be asked.
#[derive(Debug)]
pub struct Step {
    /// What was decided.
    pub decision: Decision,
    /// The request as it came.
    pub request: AuthRequest,
}

/// What came of a login.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// What the client showed. An authenticator that found the user's name in Authentication Data has put it there as User
    /// Name.
    pub request: &'a AuthRequest,
    /// The name of the authenticator that had the answer; empty if none had.
    pub by: &'a str,
    /// Who the client is, or what it is told instead.
    pub outcome: Result<&'a Identity, ReasonCode>,
}

impl<'a> Login<'a> {
    /// For those who test a guard.
    #[must_use]
    pub const fn new(
        request: &'a AuthRequest,
        by: &'a str,
        outcome: Result<&'a Identity, ReasonCode>,
    ) -> Self {
        Self { request, by, outcome }
    }
}

/// What looks at logins from outside: a throttle, a list of banned addresses, a log of those refused.
///
/// Both methods run on the connection's task and have to answer at once.
pub trait LoginGuard: Send + Sync + 'static {
    /// A client has sent CONNECT, and no authenticator was asked yet. An error refuses it with that reason: no authenticator
    /// is asked, and nobody is told of it.
    ///
    /// # Errors
    ///
    /// The reason code that the client gets.
    fn admit(&self, request: &AuthRequest) -> Result<(), ReasonCode> {
        let _ = request;
        Ok(())
    }

    /// A client was judged, at CONNECT or when it proved itself anew.
    fn judged(&self, login: &Login<'_>);
}

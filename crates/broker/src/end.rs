//! How a Network Connection ended: not an error but a value, one structured event each.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dunlin_codec::Version;
use dunlin_transport::Transport;

/// Why a Network Connection ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EndReason {
    /// The client sent DISCONNECT.
    ClientDisconnected,
    /// The client closed, or the network failed, without DISCONNECT.
    ConnectionLost,
    /// Another connection took the session over.
    TakenOver,
    /// Nothing arrived for one and a half times the Keep Alive.
    KeepAliveTimeout,
    /// CONNECT did not arrive, or was not accepted, in time.
    ConnectTimeout,
    /// The packets broke a rule of the standard.
    Violation,
    /// CONNECT was refused.
    Refused,
    /// The peer took no byte for `write_stall_max` while bytes waited.
    WriteStalled,
    /// The session's queue was full and its overflow policy is `disconnect`.
    QueueOverflow,
    /// The embedder or an operator closed it.
    Kicked,
    /// What the client had proven itself by has ended, such as a token.
    AuthenticationExpired,
    /// The broker is shutting down.
    ShuttingDown,
    /// A hook panicked, or the connection's own code did.
    Panicked,
    /// The store failed.
    StoreFailed,
    /// A message was not taken for want of memory, and the client's version has no way to say so.
    OutOfMemory,
    /// Its listener was taken away by a reload.
    ListenerRemoved,
    /// A reload lowered `connections_max`, and whoever is above it was to be disconnected.
    LimitLowered,
    /// The client did what it may not, its version or QoS has no way to be told, and the rules say that it is disconnected; or
    /// other rules have no rights for such a client at all.
    NotAuthorized,
    /// The client kept sending faster than it may, and its rule says that it is disconnected then.
    OverRate,
    /// It was banned.
    Banned,
}

impl EndReason {
    /// Every reason, in the order of the snapshot.
    pub const ALL: [Self; 20] = [
        Self::ClientDisconnected,
        Self::ConnectionLost,
        Self::TakenOver,
        Self::KeepAliveTimeout,
        Self::ConnectTimeout,
        Self::Violation,
        Self::Refused,
        Self::WriteStalled,
        Self::QueueOverflow,
        Self::Kicked,
        Self::AuthenticationExpired,
        Self::ShuttingDown,
        Self::Panicked,
        Self::StoreFailed,
        Self::OutOfMemory,
        Self::ListenerRemoved,
        Self::LimitLowered,
        Self::NotAuthorized,
        Self::OverRate,
        Self::Banned,
    ];

    /// The stable name, as in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientDisconnected => "client_disconnected",
            Self::ConnectionLost => "connection_lost",
            Self::TakenOver => "taken_over",
            Self::KeepAliveTimeout => "keep_alive_timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::Violation => "violation",
            Self::Refused => "refused",
            Self::WriteStalled => "write_stalled",
            Self::QueueOverflow => "queue_overflow",
            Self::Kicked => "kicked",
            Self::AuthenticationExpired => "authentication_expired",
            Self::ShuttingDown => "shutting_down",
            Self::Panicked => "panicked",
            Self::StoreFailed => "store_failed",
            Self::OutOfMemory => "out_of_memory",
            Self::ListenerRemoved => "listener_removed",
            Self::LimitLowered => "limit_lowered",
            Self::NotAuthorized => "not_authorized",
            Self::OverRate => "over_rate",
            Self::Banned => "banned",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The record of one Network Connection, given to hooks and to the log when it has ended.
#[derive(Clone, Debug)]
pub struct ConnectionEnd {
    /// The Client Identifier; empty before CONNECT.
    pub client_id: String,
    /// The tenant it belonged to, once that was known.
    pub tenant: Option<Arc<str>>,
    /// The peer.
    pub address: Option<SocketAddr>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// How the peer came in.
    pub transport: Transport,
    /// The protocol version, once CONNECT told it.
    pub version: Option<Version>,
    /// Why it ended.
    pub reason: EndReason,
    /// The rule that was broken, as the standard numbers it, or the name of the limit.
    pub rule: Option<&'static str>,
    /// What happened, in words.
    pub detail: String,
    /// From accepting to the end.
    pub duration: Duration,
    /// Control Packets received.
    pub packets_received: u64,
    /// Control Packets sent.
    pub packets_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
}

impl ConnectionEnd {
    /// Writes the one line that every connection leaves in the log.
    pub(crate) fn log(&self) {
        tracing::info!(
            event = "connection_end",
            client_id = %self.client_id,
            tenant = self.tenant.as_deref(),
            address = self.address.map(tracing::field::display),
            listener = %self.listener,
            transport = self.transport.name(),
            version = self.version.map(tracing::field::debug),
            reason = self.reason.name(),
            rule = self.rule,
            detail = %self.detail,
            duration_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            packets_received = self.packets_received,
            packets_sent = self.packets_sent,
            bytes_received = self.bytes_received,
            bytes_sent = self.bytes_sent,
            "connection ended"
        );
    }
}

//! What limits did, counted by whose they are and which they are.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whose limit it is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum QuotaScope {
    /// One client's.
    Client,
    /// That of all clients of a user.
    User,
    /// That of all clients of a user with a role.
    Role,
    /// That of all clients of a tenant.
    Tenant,
    /// That of all clients of a listener.
    Listener,
    /// That of all clients.
    Broker,
}

impl QuotaScope {
    /// Every scope, the narrowest first.
    pub const ALL: [Self; 6] =
        [Self::Client, Self::User, Self::Role, Self::Tenant, Self::Listener, Self::Broker];

    /// The stable name, as in logs and below `$SYS/broker/quotas/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::User => "user",
            Self::Role => "role",
            Self::Tenant => "tenant",
            Self::Listener => "listener",
            Self::Broker => "broker",
        }
    }
}

/// Which limit it is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum QuotaLimit {
    /// A connection was refused: there are as many as there may be.
    Connections,
    /// A connection was refused: they come too fast.
    Connects,
    /// A client was read more slowly because its messages come too fast.
    MessagesIn,
    /// The same because its bytes do.
    BytesIn,
    /// A client was disconnected because it kept sending faster than it may.
    OverRate,
    /// A client was sent its messages more slowly.
    MessagesOut,
    /// The same because of their bytes.
    BytesOut,
    /// A message was not retained: there are as many as there may be.
    RetainedMessages,
    /// The same because of their bytes.
    RetainedBytes,
    /// A subscription was refused: the session has as many as it may.
    Subscriptions,
    /// A subscription was refused: its filter has too many levels.
    FilterLevels,
    /// A message was refused: its Topic Name is too long.
    TopicBytes,
    /// A connection was refused: its Keep Alive is too short, and its version cannot be told another one.
    KeepAlive,
}

impl QuotaLimit {
    /// Every limit that is counted, in the order of the snapshot.
    pub const ALL: [Self; 13] = [
        Self::Connections,
        Self::Connects,
        Self::MessagesIn,
        Self::BytesIn,
        Self::OverRate,
        Self::MessagesOut,
        Self::BytesOut,
        Self::RetainedMessages,
        Self::RetainedBytes,
        Self::Subscriptions,
        Self::FilterLevels,
        Self::TopicBytes,
        Self::KeepAlive,
    ];

    /// The stable name, as in logs and below `$SYS/broker/quotas/SCOPE/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Connects => "connects",
            Self::MessagesIn => "messages_in",
            Self::BytesIn => "bytes_in",
            Self::OverRate => "over_rate",
            Self::MessagesOut => "messages_out",
            Self::BytesOut => "bytes_out",
            Self::RetainedMessages => "retained_messages",
            Self::RetainedBytes => "retained_bytes",
            Self::Subscriptions => "subscriptions",
            Self::FilterLevels => "filter_levels",
            Self::TopicBytes => "topic_bytes",
            Self::KeepAlive => "keep_alive",
        }
    }
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct QuotaEvent {
    /// Whose it is.
    pub scope: QuotaScope,
    /// Which it is.
    pub limit: QuotaLimit,
}

const CELLS: usize = QuotaScope::ALL.len() * QuotaLimit::ALL.len();

/// How often each limit was reached. Made with the first time.
#[derive(Debug, Default)]
pub(crate) struct QuotaCounts(OnceLock<Box<[AtomicU64; CELLS]>>);

impl QuotaCounts {
    pub(crate) fn add(&self, event: QuotaEvent, count: u64) {
        let cells = self.0.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
        let index = event.scope as usize * QuotaLimit::ALL.len() + event.limit as usize;
        if let Some(cell) = cells.get(index) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What happened at all.
    pub(crate) fn snapshot(&self) -> BTreeMap<QuotaEvent, u64> {
        let Some(cells) = self.0.get() else { return BTreeMap::new() };
        let events = QuotaScope::ALL
            .into_iter()
            .flat_map(|scope| QuotaLimit::ALL.map(|limit| QuotaEvent { scope, limit }));
        let counts =
            events.zip(cells.iter()).map(|(event, cell)| (event, cell.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_cell_of_its_own() {
        let counts = QuotaCounts::default();
        assert_eq!(counts.snapshot(), BTreeMap::new());
        let mut expected = BTreeMap::new();
        for scope in QuotaScope::ALL {
            for limit in QuotaLimit::ALL {
                let event = QuotaEvent { scope, limit };
                let count = expected.len() as u64 + 1;
                counts.add(event, count);
                expected.insert(event, count);
            }
        }
        assert_eq!((expected.len(), counts.snapshot()), (CELLS, expected));
    }
}

//! What the broker counts, and the snapshot of it.
//!
//! Every counter is a relaxed atomic that connections add to once per batch, never once per message, and each thread to
//! a copy of its own: they are added up where somebody looks.
//! [`Metrics`] is the snapshot: plain numbers, the same that the `$SYS` tree publishes.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use dunlin_transport::Refusal;

use crate::end::EndReason;
use crate::quotas::{QuotaCounts, QuotaEvent};
use crate::stripes::Striped;

/// Why an Application Message, or one copy of it, was not delivered.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DropReason {
    /// The session's queue held `queue_messages_max` messages.
    QueueMessages,
    /// The session's queue held `queue_bytes_max` bytes.
    QueueBytes,
    /// A QoS 0 copy for a receiver that does not read fast enough.
    SlowReader,
    /// A QoS 0 copy for a session without a Network Connection.
    Offline,
    /// The Message Expiry Interval passed before sending began.
    Expired,
    /// The packet would exceed the receiver's Maximum Packet Size.
    TooLarge,
    /// The session ended with messages in its queue.
    SessionEnded,
    /// The broker's memory budget is used up.
    MemoryBudget,
    /// The publisher may not publish to this topic.
    NotAuthorized,
    /// A client published below `$SYS/`.
    ReservedTopic,
    /// A shared group's own queue was full.
    GroupQueue,
    /// No room for another retained message.
    RetainedFull,
    /// A hook refused it.
    Hook,
    /// The store could not take it.
    Store,
    /// Its publisher kept sending faster than it may.
    OverRate,
}

impl DropReason {
    /// Every reason, in the order of the snapshot.
    pub const ALL: [Self; 15] = [
        Self::QueueMessages,
        Self::QueueBytes,
        Self::SlowReader,
        Self::Offline,
        Self::Expired,
        Self::TooLarge,
        Self::SessionEnded,
        Self::MemoryBudget,
        Self::NotAuthorized,
        Self::ReservedTopic,
        Self::GroupQueue,
        Self::RetainedFull,
        Self::Hook,
        Self::Store,
        Self::OverRate,
    ];

    /// The stable name, as in logs and below `$SYS/broker/publish/messages/dropped/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueMessages => "queue_messages",
            Self::QueueBytes => "queue_bytes",
            Self::SlowReader => "slow_reader",
            Self::Offline => "offline",
            Self::Expired => "expired",
            Self::TooLarge => "too_large",
            Self::SessionEnded => "session_ended",
            Self::MemoryBudget => "memory_budget",
            Self::NotAuthorized => "not_authorized",
            Self::ReservedTopic => "reserved_topic",
            Self::GroupQueue => "group_queue",
            Self::RetainedFull => "retained_full",
            Self::Hook => "hook",
            Self::Store => "store",
            Self::OverRate => "over_rate",
        }
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What some threads have counted. A gauge that one thread raises and another lowers is below zero here.
        #[derive(Debug, Default)]
        pub(crate) struct Cells {
            $($(#[doc = $doc])+ pub(crate) $name: AtomicU64,)+
            dropped: [AtomicU64; DropReason::ALL.len()],
            ended: [AtomicU64; EndReason::ALL.len()],
            refused: [AtomicU64; Refusal::ALL.len()],
            pub(crate) quotas: QuotaCounts,
        }

        /// A snapshot of every counter. Totals since the start unless said otherwise.
        #[non_exhaustive]
        #[derive(Clone, Debug, Default, Eq, PartialEq)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Copies of messages not delivered, by reason.
            pub dropped: BTreeMap<DropReason, u64>,
            /// Network Connections ended, by reason.
            pub connections_ended: BTreeMap<EndReason, u64>,
            /// Whole days until the first certificate of each TLS listener ends; negative if it has.
            pub certificate_days_left: BTreeMap<String, i64>,
            /// Connections that ended before their first byte of MQTT, by reason.
            pub handshakes_refused: BTreeMap<Refusal, u64>,
            /// How often somebody's limit was reached, by whose and which it is. What never happened is not in it.
            pub quotas: BTreeMap<QuotaEvent, u64>,
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Metrics {
                Metrics {
                    // A gauge that was lowered before it was raised, by two threads, is zero for a moment.
                    $($name: u64::try_from(self.sum(|cells| &cells.$name).cast_signed()).unwrap_or(0),)+
                    dropped: self.by_reason(&DropReason::ALL, |cells| &cells.dropped),
                    certificate_days_left: BTreeMap::new(),
                    handshakes_refused: self.by_reason(Refusal::ALL, |cells| &cells.refused),
                    quotas: self.quotas(),
                    connections_ended: self.by_reason(&EndReason::ALL, |cells| &cells.ended),
                }
            }
        }

        impl Metrics {
            /// Adds another snapshot, counter by counter.
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
                for (reason, count) in &other.dropped {
                    *self.dropped.entry(*reason).or_default() += count;
                }
                for (why, count) in &other.handshakes_refused {
                    *self.handshakes_refused.entry(*why).or_default() += count;
                }
                for (event, count) in &other.quotas {
                    *self.quotas.entry(*event).or_default() += count;
                }
                for (reason, count) in &other.connections_ended {
                    *self.connections_ended.entry(*reason).or_default() += count;
                }
            }

            /// Every plain counter with its name, in the order of declaration.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

counters! {
    /// Network Connections accepted.
    connections_accepted,
    /// Network Connections open now.
    connections_open,
    /// Clients connected now (CONNACK 0x00 sent).
    clients_connected,
    /// The most clients connected at one time.
    clients_maximum,
    /// Sessions without a Network Connection now.
    sessions_parked,
    /// Sessions that ended because their Session Expiry Interval passed.
    sessions_expired,
    /// Connections refused because `connections_max` was reached.
    connections_refused,
    /// Times that accepting paused because `handshakes_max` of the listener was reached.
    handshakes_paused,
    /// Times that accepting paused because no descriptor was free.
    accept_paused,
    /// Bytes read from Network Connections.
    bytes_received,
    /// Bytes written to Network Connections.
    bytes_sent,
    /// Control Packets received.
    packets_received,
    /// Control Packets sent.
    packets_sent,
    /// PUBLISH packets received.
    publish_received,
    /// PUBLISH packets sent.
    publish_sent,
    /// Bytes of payload in the PUBLISH packets received.
    publish_bytes_received,
    /// Bytes of payload in the PUBLISH packets sent.
    publish_bytes_sent,
    /// PUBLISHes that matched no subscription.
    publish_unmatched,
    /// Subscriptions now, shared ones included.
    subscriptions,
    /// Shared Subscriptions now.
    subscriptions_shared,
    /// Retained messages now.
    retained_messages,
    /// Bytes of retained messages now.
    retained_bytes,
    /// Messages with QoS above 0 in queues now.
    queued_messages,
    /// Bytes in queues towards clients now.
    queued_bytes,
    /// Messages of long queues read back from the store.
    messages_paged_in,
    /// Wills published.
    wills_published,
    /// Times that a QoS 0 publisher was not read for a while, for the sake of its receiver.
    publishers_slowed,
    /// Times that such a wait reached `publisher_slow_max`, so that the receiver's drop rule acted.
    publishers_slowed_full,
    /// Microseconds that QoS 0 publishers were not read, of all of them together.
    publishers_slowed_micros,
    /// Times that acknowledgements of a QoS 1 or 2 publisher were withheld for a while, for the sake of its receiver.
    publishers_braked,
    /// Times that such a wait reached `publisher_slow_max`, so that the receiver's drop rule acts.
    publishers_braked_full,
    /// Microseconds that acknowledgements were withheld, of all publishers together.
    publishers_braked_micros,
    /// Messages moved from one member of a shared group to another.
    shared_redistributed,
    /// Filters of 3.1 clients granted although refused, and never served (3.1 has no failure code).
    subscriptions_unserved,
    /// Commits that the store refused.
    store_failures,
    /// Commits of the store.
    store_commits,
    /// Microseconds that half of the commits took at the most.
    store_commit_p50_micros,
    /// Microseconds that 99 of 100 commits took at the most.
    store_commit_p99_micros,
    /// Microseconds that the longest commit took.
    store_commit_max_micros,
    /// Batches of changes that wait for a commit now.
    store_waiting,
    /// Bytes of the store on disk now.
    store_bytes,
    /// Bytes of them in the log that is not yet part of the database.
    store_wal_bytes,
    /// Bytes of them that hold nothing at present.
    store_free_bytes,
    /// 1 while the store has no room for messages.
    store_full,
    /// Times that the store became full.
    store_times_full,
    /// Messages held now, until the store has room for them.
    store_held_messages,
    /// PUBLISHes that their clients may not send.
    publish_refused,
    /// Filters that their clients may not subscribe to.
    subscribe_refused,
    /// Wills that their clients may not have published, at CONNECT or when they were due.
    wills_refused,
    /// Subscriptions taken away because other rules came into force, or other rights at the next CONNECT.
    subscriptions_removed,
    /// CONNECTs of clients, users and addresses that are banned, and connections closed for it before that.
    connects_banned,
    /// Bans that the broker made by itself.
    bans_made,
    /// CONNECTs with the Client Identifier of another identity's session.
    sessions_of_others_refused,
    /// Security and administrative events that the program could not write to the file that it keeps of them.
    audit_events_lost,
    /// Tenants that were not opened because there were `tenants_max`.
    tenants_refused,
    /// Panics in hooks, authenticators and guards of logins; each ended one connection.
    hook_panics,
    /// Logins that an authenticator refused, or that none had an answer for.
    logins_refused,
    /// Logins that a guard refused before an authenticator was asked.
    logins_not_admitted,
    /// Logins refused because the authenticators took longer than `hook_deadline`.
    logins_late,
}

/// The live counters of one broker or one tenant. They stand for the cells of the calling thread.
#[derive(Debug)]
pub(crate) struct Counters(Striped<Cells>);

impl Deref for Counters {
    type Target = Cells;

    #[inline]
    fn deref(&self) -> &Cells {
        &self.0
    }
}

impl Counters {
    /// With cells for each core, but no more than `stripes_max`: about 1 KiB each.
    pub(crate) fn up_to(stripes_max: usize) -> Self {
        Self(Striped::up_to(stripes_max))
    }

    /// With cells for each core.
    pub(crate) fn by_core() -> Self {
        Self(Striped::by_core())
    }

    fn sum(&self, cell: impl Fn(&Cells) -> &AtomicU64) -> u64 {
        let counts = self.0.iter().map(|cells| cell(cells).load(Ordering::Relaxed));
        counts.fold(0, u64::wrapping_add)
    }

    fn by_reason<R: Copy + Ord>(
        &self,
        reasons: &[R],
        cells: impl Fn(&Cells) -> &[AtomicU64],
    ) -> BTreeMap<R, u64> {
        let mut counts: BTreeMap<R, u64> = reasons.iter().map(|reason| (*reason, 0)).collect();
        for stripe in self.0.iter() {
            for (reason, cell) in reasons.iter().zip(cells(stripe)) {
                *counts.entry(*reason).or_default() += cell.load(Ordering::Relaxed);
            }
        }
        counts
    }

    fn quotas(&self) -> BTreeMap<QuotaEvent, u64> {
        let mut counts = BTreeMap::new();
        for (event, count) in self.0.iter().flat_map(|cells| cells.quotas.snapshot()) {
            *counts.entry(event).or_default() += count;
        }
        counts
    }

    pub(crate) fn drop_many(&self, reason: DropReason, count: u64) {
        if let Some(cell) = self.dropped.get(reason as usize) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn refused(&self, why: Refusal) {
        if let Some(cell) = self.refused.get(why as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn client_connected(&self) {
        add(&self.clients_connected, 1);
        let connected = self.sum(|cells| &cells.clients_connected);
        // A maximum is no sum: one cell has it.
        if let Some(cells) = self.0.iter().next() {
            cells.clients_maximum.fetch_max(connected, Ordering::Relaxed);
        }
    }

    pub(crate) fn ended(&self, reason: EndReason) {
        if let Some(cell) = self.ended.get(reason as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Adds without ordering: counters are read for information only.
pub(crate) fn add(cell: &AtomicU64, count: u64) {
    cell.fetch_add(count, Ordering::Relaxed);
}

/// Moves a gauge up or down.
pub(crate) fn shift(cell: &AtomicU64, by: i64) {
    cell.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
}

/// Takes away from a gauge.
pub(crate) fn sub(cell: &AtomicU64, count: u64) {
    cell.fetch_sub(count, Ordering::Relaxed);
}

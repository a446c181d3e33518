//! The values that the store keeps.

use std::sync::Arc;

use dunlin_codec::{ClientId, Message, Qos, SubscriptionId, SubscriptionOptions, Text};

use crate::id::{SessionNo, UnixMillis};

/// Whose queue a session number stands for. Unique within a namespace.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SessionKey {
    /// The session of a client.
    Client(ClientId),
    /// The queue of a shared group with a durable member, by its whole filter (`$share/{group}/{filter}`).
    Group(Text),
}

/// What is kept of a session beside its subscriptions and its queue.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionRecord {
    /// Seconds after the end of the Network Connection at which the session ends; [`SessionRecord::NEVER`] for
    /// never. Zero is kept too: such a session is in the store only for the sake of its will.
    pub expiry_secs: u32,
    /// The name of the identity that made the session; empty for an anonymous client.
    pub owner: Box<str>,
    /// The Will Message that must still be published if the client does not take it back.
    pub will: Option<WillRecord>,
    /// When the Network Connection ended; `None` while there is one. A store that was not closed holds `None` for
    /// every session connected then: count it as disconnected at the start.
    pub disconnected_at: Option<UnixMillis>,
}

impl SessionRecord {
    /// The Session Expiry Interval of a session that never expires.
    pub const NEVER: u32 = u32::MAX;
}

/// A Will Message and when it is due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WillRecord {
    /// What to publish, with the QoS and RETAIN to publish it with.
    pub message: Arc<Message>,
    /// The Will Delay Interval in seconds.
    pub delay_secs: u32,
}

/// One subscription of a session; its Topic Filter is the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SubscriptionRecord {
    /// The options as granted, so with the granted QoS.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier, if the client gave one.
    pub subscription_id: Option<SubscriptionId>,
}

/// A message with the queues it stands in: the one record that a publish costs, however many sessions it goes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publication {
    /// The Application Message.
    pub message: Arc<Message>,
    /// When it was received.
    pub published_at: UnixMillis,
    /// When it expires, if it does.
    pub expires_at: Option<UnixMillis>,
    /// The session it came from, if that session has a number.
    pub publisher: Option<SessionNo>,
    /// One place in a queue each. The record lives until every one is acknowledged or its session ended.
    pub targets: Vec<Target>,
}

impl Publication {
    /// The target that is number `seq` in the queue of `session`.
    #[must_use]
    pub fn target(&self, session: SessionNo, seq: u64) -> Option<&Target> {
        self.targets.iter().find(|target| target.session == session && target.seq == seq)
    }
}

/// One place in the queue of one session, and how this session gets the message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Whose queue.
    pub session: SessionNo,
    /// The place in the queue: from 1, rising by one with each message of this session, never one that was used
    /// before. Given by whoever submits, while the batch is prepared. A place may stay empty; it costs a little.
    pub seq: u64,
    /// The QoS of this copy: the lower of the publisher's and the granted one.
    pub qos: Qos,
    /// The RETAIN flag of this copy.
    pub retain: bool,
    /// The Subscription Identifiers of all subscriptions that matched.
    pub subscription_ids: Box<[SubscriptionId]>,
}

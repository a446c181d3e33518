//! Messages on their way to the client.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::{Hop, Message, PacketId, Qos, ReasonCode, SubscriptionId, TopicAlias};
use smallvec::SmallVec;

/// The Subscription Identifiers of all subscriptions that a message matched.
pub type SubscriptionIds = SmallVec<[SubscriptionId; 1]>;

/// One message for one client, as the server's queue hands it over.
///
/// A delivery with QoS above 0 comes back exactly once: as [`Completed`], as [`Dropped`], or by
/// [`Session::take_unacknowledged_shared`](crate::Session::take_unacknowledged_shared).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// The QoS of this copy: the lower of the publisher's and the granted one.
    pub qos: Qos,
    /// The RETAIN flag of this copy.
    pub retain: bool,
    /// The Subscription Identifiers to send along.
    pub subscription_ids: SubscriptionIds,
    /// The place among the session's messages with QoS above 0: contiguous, rising, never used twice. 0 for QoS 0.
    ///
    /// The Packet Identifier follows from it, so that a message keeps its own over reconnects and restarts. Places that
    /// the queue gave up before handing them over may be left out.
    pub seq: u64,
    /// When the message expires. Not looked at any more once sending began.
    pub expires_at: Option<Instant>,
    /// Whether sending may have begun before a restart: then it is sent with DUP and no longer expires.
    pub sent_before: bool,
    /// By which kind of subscription it came.
    pub origin: Origin,
}

/// By which kind of subscription a delivery came.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Origin {
    /// A subscription of this client alone.
    #[default]
    Plain,
    /// A Shared Subscription. The numbers are the caller's own.
    Shared {
        /// Which group.
        group: u32,
        /// The message's place in the group's queue.
        seq: u64,
    },
}

impl Origin {
    /// Whether it came by a Shared Subscription.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Shared { .. })
    }
}

/// Some messages that were handed to the client, and that nothing is kept of any more.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Settled {
    /// How many.
    pub messages: usize,
    /// What they have as [`Message::size`].
    pub bytes: usize,
}

impl Settled {
    /// Adds a message; none is one whose content is not known, and which was never counted.
    #[inline]
    pub fn add(&mut self, message: Option<&Message>) {
        if let Some(message) = message {
            self.messages += 1;
            self.bytes += message.size();
        }
    }
}

impl AddAssign for Settled {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// A PUBLISH to write.
///
/// It must be written, and in the order of the outputs, or the connection closed: a Topic Alias that is set by it is
/// relied on from then on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// The message.
    pub message: Arc<Message>,
    /// The QoS of this copy.
    pub qos: Qos,
    /// The Packet Identifier; `None` for QoS 0.
    pub packet_id: Option<PacketId>,
    /// Whether it may have been sent before.
    pub dup: bool,
    /// The RETAIN flag of this copy.
    pub retain: bool,
    /// The Subscription Identifiers to send along.
    pub subscription_ids: SubscriptionIds,
    /// The Topic Alias, and whether it is known already, so that the Topic Name is left out.
    pub topic_alias: Option<(TopicAlias, bool)>,
    /// What is left of the Message Expiry Interval, in seconds.
    pub message_expiry_interval: Option<u32>,
}

impl Outgoing {
    /// What distinguishes this copy from others of the message, as the codec wants it.
    #[inline]
    #[must_use]
    pub fn hop(&self) -> Hop<'_> {
        Hop {
            qos: self.qos,
            packet_id: self.packet_id,
            dup: self.dup,
            retain: self.retain,
            topic_alias: self.topic_alias,
            subscription_ids: &self.subscription_ids,
            message_expiry_interval: self.message_expiry_interval,
        }
    }
}

/// A delivery with QoS above 0 is over: the client acknowledged it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Completed {
    /// Its place.
    pub seq: u64,
    /// By which kind of subscription it came.
    pub origin: Origin,
    /// What the client said in PUBACK, PUBREC or PUBCOMP. From 0x80 on it refused the message, which for a shared group
    /// ends it too. [MQTT-4.8.2-6]
    pub reason: ReasonCode,
    /// The message; `None` if the session was restored when only PUBCOMP was missing.
    pub message: Option<Arc<Message>>,
}

/// A delivery that is not sent, or never acknowledged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dropped {
    /// What is dropped.
    pub delivery: Delivery,
    /// Why.
    pub why: DropReason,
}

/// Why a delivery is dropped.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DropReason {
    /// The message expired before sending began.
    Expired,
    /// The packet would be larger than the client's Maximum Packet Size. A shared group may try another member.
    TooLarge,
    /// QoS 0, and there is no connection any more.
    NotConnected,
    /// The session ended before the client acknowledged it.
    SessionEnded,
}

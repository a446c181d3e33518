//! The changes of durable state: nothing else alters what must survive.

use std::sync::Arc;

use dunlin_codec::{Message, PacketId, Text, TopicName};

use crate::id::{MessageId, NamespaceNo, SessionNo, UnixMillis};
use crate::record::{Publication, SessionKey, SessionRecord, SubscriptionRecord, Target};

/// One change of durable state.
///
/// A change that names a session which is not (or no longer) in the store does nothing: a session may end while
/// changes to it wait to be committed. Changes take effect in the order in which they stand in their batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A namespace gets its name.
    NamespaceOpened {
        /// Its number.
        namespace: NamespaceNo,
        /// Its name.
        name: Text,
    },
    /// A session begins. If its key still has another session, that one ends here.
    SessionOpened {
        /// Its number, never used before.
        session: SessionNo,
        /// The namespace it lives in.
        namespace: NamespaceNo,
        /// Whose it is.
        key: SessionKey,
        /// What is kept of it.
        record: SessionRecord,
    },
    /// The record of a session is replaced: the client came or left, or another expiry or will was agreed.
    SessionUpdated {
        /// Which session.
        session: SessionNo,
        /// What is kept of it from now on.
        record: SessionRecord,
    },
    /// A session ends, with its subscriptions, its queue, its Packet Identifiers and its will.
    SessionEnded {
        /// Which session.
        session: SessionNo,
    },
    /// The will of a session was published or given up. In one batch with its publication, so never published twice.
    WillTaken {
        /// Which session.
        session: SessionNo,
    },
    /// A subscription was made or replaced.
    Subscribed {
        /// Which session.
        session: SessionNo,
        /// The filter as the client wrote it, `$share/{group}/` included.
        filter: Text,
        /// Its options.
        record: SubscriptionRecord,
    },
    /// A subscription was removed.
    Unsubscribed {
        /// Which session.
        session: SessionNo,
        /// The filter as the client wrote it.
        filter: Text,
    },
    /// A message enters the queues of its targets. Made by [`Batch::publish`](crate::Batch::publish).
    ///
    /// A target whose place is acknowledged already is ignored like one whose session has ended. With no target left
    /// nothing is stored, but the id is used up.
    Published {
        /// The id of the record.
        id: MessageId,
        /// The message and its targets.
        publication: Arc<Publication>,
    },
    /// A message moves from one queue to another: a shared group hands it to a member, or takes it back. Made by
    /// [`Batch::hand_over`](crate::Batch::hand_over).
    ///
    /// The message gets a new id, so that within each session ids rise with places. Nothing happens (but the id is
    /// used up) when one of the places is acknowledged already or one of the sessions has ended.
    HandedOver {
        /// The new id of the message.
        id: MessageId,
        /// The queue it leaves, ...
        from: SessionNo,
        /// ... and its place there, which becomes acknowledged.
        from_seq: u64,
        /// Its place in the other queue.
        to: Target,
    },
    /// The places `first..=last` of a queue are done with: acknowledged by the client, expired or dropped.
    Acknowledged {
        /// Whose queue.
        session: SessionNo,
        /// The first place.
        first: u64,
        /// The last place.
        last: u64,
    },
    /// PUBREC came in: from now on PUBREL is repeated on resume, not PUBLISH.
    OutboundReleased {
        /// Whose queue.
        session: SessionNo,
        /// The place of the message.
        seq: u64,
    },
    /// A PUBLISH with QoS 2 came in: its Packet Identifier is in use until PUBREL.
    InboundStored {
        /// The session that published.
        session: SessionNo,
        /// The identifier it used.
        packet_id: PacketId,
    },
    /// PUBREL came in: the identifier is free again.
    InboundReleased {
        /// The session that published.
        session: SessionNo,
        /// The identifier it used.
        packet_id: PacketId,
    },
    /// A message becomes the retained one of its topic, unless a change with a higher number came before.
    ///
    /// The number is the order of retained messages in the broker's memory; with it, memory and store agree even if
    /// two publishers' submissions overtake each other on the way here.
    Retained {
        /// The namespace of the topic.
        namespace: NamespaceNo,
        /// The higher number wins.
        number: u64,
        /// The message, with its topic.
        message: Arc<Message>,
        /// When it was received.
        stored_at: UnixMillis,
        /// When it expires, if it does.
        expires_at: Option<UnixMillis>,
    },
    /// A topic has no retained message any more, unless a change with a higher number came before.
    ///
    /// It is remembered, so that a message with a lower number that comes later is not kept, until the store is opened
    /// again, or [`TOMBSTONES_MAX`](crate::TOMBSTONES_MAX) later removals.
    Unretained {
        /// The namespace of the topic.
        namespace: NamespaceNo,
        /// The topic.
        topic: TopicName,
        /// The higher number wins.
        number: u64,
        /// When it was removed.
        removed_at: UnixMillis,
    },
}

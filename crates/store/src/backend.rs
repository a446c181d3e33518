//! What a back-end of the store can do.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use dunlin_codec::{Message, PacketId, Qos, Text, TopicName};

use crate::batch::Batch;
use crate::cursor::Cursor;
use crate::error::StoreError;
use crate::id::{MessageId, NamespaceNo, SessionNo, UnixMillis};
use crate::record::{Publication, SessionKey, SessionRecord, SubscriptionRecord, Target};

/// A place that keeps what a broker must not lose. It has one owner, the [`Committer`](crate::Committer).
pub trait Store: fmt::Debug + Send {
    /// Shows everything that the store holds, in an order in which each thing follows what it refers to: the
    /// [`Meta`], namespaces, sessions (rising numbers), messages (rising ids), retained messages.
    ///
    /// Called once, before the first commit.
    ///
    /// # Errors
    /// When the store cannot be read or is damaged; the visitor has then seen a part.
    fn recover(&mut self, visitor: &mut dyn Visitor) -> Result<Report, StoreError>;

    /// Writes a batch, all of it or nothing, and returns when it is as safe as [`Batch::durability`] asks.
    ///
    /// # Errors
    /// [`StoreError::Full`] leaves the store as it was before the batch. Any other error is fatal: whether the batch
    /// was written is not known, and no further commit may be tried.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// A way to read messages, for any thread. It sees at least what was committed when it was asked.
    fn reader(&self) -> Box<dyn Reader>;

    /// What there is room for now. Asked before each batch is put together.
    fn room(&mut self) -> Room {
        Room::All
    }

    /// Does a little of what was put off: writes that nobody waits for, room to be given back. Called after each commit,
    /// and with `idle` when nothing came for as long as the last call had asked for. Must not take longer than a commit.
    ///
    /// # Errors
    /// A fatal one.
    fn look_after(&mut self, idle: bool) -> Result<Option<Duration>, StoreError> {
        let _ = idle;
        Ok(None)
    }

    /// What the store says of itself, kept up to date.
    fn status(&self) -> Arc<StoreStatus> {
        Arc::default()
    }

    /// Whether the contents are still there when the process has ended. Where they are not, a broker that shuts down
    /// in order publishes the wills it could not publish later.
    fn outlives_process(&self) -> bool {
        true
    }

    /// Writes what is not written yet and notes that the store was left in order. Nothing is called after it.
    ///
    /// # Errors
    /// When that cannot be written. Nothing acknowledged is lost by it.
    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What a store has room for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Room {
    /// Everything.
    #[default]
    All,
    /// Nothing that takes more room: no new messages. What frees room still finds some, and the state of sessions.
    NoMessages,
}

/// Sizes in bytes and counts of a store, as it last saw them. Plain numbers for an operator to see; zero where a
/// back-end has no such thing.
#[derive(Debug, Default)]
pub struct StoreStatus {
    /// What the store takes on disk, everything included.
    pub bytes: AtomicU64,
    /// What of it is the log that is not yet part of the database.
    pub wal_bytes: AtomicU64,
    /// What of it holds nothing at present, and is used again before more is asked for.
    pub free_bytes: AtomicU64,
    /// Messages stored, those included that are done with and not yet removed.
    pub messages: AtomicU64,
    /// 1 while there is [no room for messages](Room::NoMessages).
    pub full: AtomicU64,
    /// How often it became full.
    pub times_full: AtomicU64,
}

/// Reads messages back whose payload is not in memory.
pub trait Reader: fmt::Debug + Send {
    /// Reads messages by id and hands them to `each` in the order of `ids`; `None` for one that is gone.
    ///
    /// # Errors
    /// When the store cannot be read; `each` may have seen a part.
    fn read(
        &mut self,
        ids: &[MessageId],
        each: &mut dyn FnMut(MessageId, Option<Arc<Publication>>),
    ) -> Result<(), StoreError>;

    /// Reads the retained message of a topic.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read_retained(
        &mut self,
        namespace: NamespaceNo,
        topic: &TopicName,
    ) -> Result<Option<RetainedRecord>, StoreError>;
}

/// Takes in what [`Store::recover`] shows.
pub trait Visitor {
    /// First of all: what the store knows about itself.
    fn meta(&mut self, meta: &Meta);
    /// A namespace other than the default one.
    fn namespace(&mut self, namespace: NamespaceNo, name: &Text);
    /// A session with all that belongs to it but its queue.
    fn session(&mut self, session: StoredSession);
    /// A message with the targets that still wait for it, without its payload.
    fn message(&mut self, message: &MessageHeader<'_>);
    /// A retained message.
    fn retained(&mut self, retained: RetainedRecord);
}

/// What a store knows about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Meta {
    /// The version of its format.
    pub format: u32,
    /// Whether it was closed in order.
    pub clean: bool,
    /// Above every message id ever used.
    pub next_message: MessageId,
    /// Above every session number ever used.
    pub next_session: SessionNo,
    /// Above the number of every retained message in the store.
    pub next_retained: u64,
}

/// A session as it stands in the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredSession {
    /// Its number.
    pub session: SessionNo,
    /// The namespace it lives in.
    pub namespace: NamespaceNo,
    /// Whose it is.
    pub key: SessionKey,
    /// What is kept of it.
    pub record: SessionRecord,
    /// Its subscriptions, by filter.
    pub subscriptions: Vec<(Text, SubscriptionRecord)>,
    /// The Packet Identifiers of its QoS 2 PUBLISHes that were not released yet, rising.
    pub inbound: Vec<PacketId>,
    /// How far it has come with its queue.
    pub cursor: Cursor,
}

/// A stored message without its payload: what is needed to rebuild the queues.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MessageHeader<'a> {
    /// Its id.
    pub id: MessageId,
    /// What it costs in memory, as [`Message::size`].
    pub size: usize,
    /// The QoS it was published with.
    pub qos: Qos,
    /// When it was received.
    pub published_at: UnixMillis,
    /// When it expires, if it does.
    pub expires_at: Option<UnixMillis>,
    /// The session it came from, if that session has a number.
    pub publisher: Option<SessionNo>,
    /// The targets that still wait for it: not acknowledged, session not ended. Never empty.
    pub targets: &'a [Target],
}

/// A retained message as it stands in the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetainedRecord {
    /// The namespace of its topic.
    pub namespace: NamespaceNo,
    /// The message, with its topic.
    pub message: Arc<Message>,
    /// Its place in the order of retained messages.
    pub number: u64,
    /// When it was received.
    pub stored_at: UnixMillis,
    /// When it expires, if it does.
    pub expires_at: Option<UnixMillis>,
}

/// What a recovery found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Sessions shown.
    pub sessions: u64,
    /// Their subscriptions.
    pub subscriptions: u64,
    /// Messages shown.
    pub messages: u64,
    /// Their targets.
    pub targets: u64,
    /// Retained messages shown.
    pub retained: u64,
    /// The newest time in the store. Where the clock stands before it, count the time the broker was down as zero.
    pub newest: Option<UnixMillis>,
}

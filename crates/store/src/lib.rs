//! What an MQTT broker must not lose, and when it is safe.
//!
//! * A [`Change`] is the only way in which durable state changes: a session began, a message entered queues, a PUBREL
//!   came in. Changes that belong together stand in one [`Batch`], which becomes durable as a whole or not at all.
//! * A [`Store`] commits batches and shows at the next start what they have made. [`MemoryStore`] is one, and the model
//!   for the others; with its [`Faults`] it is also a disk that is slow, full or broken at command.
//! * [`DiskStore`] keeps a data directory: SQLite, with one record for each publish.
//! * The [`Committer`] owns the store. It takes [`Submission`]s from any thread, commits all that wait in one go, and
//!   tells each when it is durable. That is when a PUBACK may be sent.
//!
//! It is no state machine and knows none: it keeps records, under numbers that the broker gives.
//!
//! # A message on its way
//!
//! ```
//! use std::sync::{Arc, mpsc};
//!
//! use bytes::Bytes;
//! use dunlin_codec::{ClientId, Message, Qos, TopicName};
//! use dunlin_store::{
//!     Batch, Change, Committer, CommitterOptions, Durability, MemoryStore, MessageId, NamespaceNo, Publication,
//!     Room, SessionKey, SessionNo, SessionRecord, StoreError, Submission, Target, UnixMillis,
//! };
//!
//! /// A PUBLISH that waits for its PUBACK.
//! struct Publish {
//!     message: Arc<Message>,
//!     to: SessionNo,
//!     puback: mpsc::Sender<bool>,
//! }
//!
//! impl Submission for Publish {
//!     fn size(&self) -> usize {
//!         self.message.size()
//!     }
//!
//!     fn prepare(&mut self, batch: &mut Batch, _room: Room) {
//!         // A broker opens the session long before, and counts the places of its queue here.
//!         batch.push(Change::SessionOpened {
//!             session: self.to,
//!             namespace: NamespaceNo::DEFAULT,
//!             key: SessionKey::Client(ClientId::new("reader").expect("a client id")),
//!             record: SessionRecord { expiry_secs: 3600, ..SessionRecord::default() },
//!         });
//!         batch.publish(Publication {
//!             message: Arc::clone(&self.message),
//!             published_at: UnixMillis::from(std::time::SystemTime::now()),
//!             expires_at: None,
//!             publisher: None,
//!             targets: vec![Target {
//!                 session: self.to,
//!                 seq: 1,
//!                 qos: Qos::AtLeastOnce,
//!                 retain: false,
//!                 subscription_ids: Box::default(),
//!             }],
//!         });
//!         batch.require(Durability::Fsync);
//!     }
//!
//!     fn take_back(&mut self) {}
//!
//!     fn finish(self, outcome: Result<(), &StoreError>) {
//!         let _ = self.puback.send(outcome.is_ok());
//!     }
//! }
//!
//! let store = MemoryStore::new();
//! let options = CommitterOptions::default();
//! let committer = Committer::start(Box::new(store.clone()), MessageId::FIRST, options, |error| {
//!     eprintln!("no acknowledgement from here on: {error}");
//! })?;
//!
//! let (puback, acknowledged) = mpsc::channel();
//! let message = Arc::new(Message {
//!     topic: TopicName::try_from("a/b")?,
//!     payload: Bytes::from_static(b"hello"),
//!     qos: Qos::AtLeastOnce,
//!     retain: false,
//!     properties: None,
//! });
//! committer.submit(Publish { message, to: SessionNo::FIRST, puback })?;
//! assert!(acknowledged.recv()?);
//! committer.shutdown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # At the start
//!
//! [`Store::recover`] shows a [`Visitor`] all there is, messages without their payloads. The broker rebuilds routes,
//! queues and timers from it, goes on with the numbers of [`Meta`], and then starts the committer. Payloads come later,
//! through a [`Reader`].
//!
//! # Promises of every back-end
//!
//! * A batch is in the store wholly or not at all, and batches in the order of their commits.
//! * Message ids and session numbers are never used twice. Within a session ids rise with places.
//! * A message is in the store until each of its targets is acknowledged, or the session of that target has ended.
//! * What is acknowledged stays acknowledged, over any restart in order. A kill may bring back what was acknowledged last
//!   ([`Change::Acknowledged`] alone may come with a later commit than its own): it is sent again with DUP.
//! * Of two retained messages of one topic the one with the higher number stays.
//!
//! # Limits
//!
//! What waits for the disk is bounded by [`CommitterOptions`], in submissions and in bytes; beyond it a submission comes
//! back at once, and nothing here ever waits on behalf of a caller but the calls that say so. A store counts sessions in
//! 32 bits, over its whole life.

#![forbid(unsafe_code)]

mod backend;
mod batch;
mod change;
mod commit;
mod cursor;
pub mod disk;
mod error;
mod id;
mod memory;
mod record;
mod tombstones;

pub use backend::{
    MessageHeader, Meta, Reader, Report, RetainedRecord, Room, Store, StoreStatus, StoredSession,
    Visitor,
};
pub use batch::{Batch, Durability};
pub use change::Change;
pub use commit::{Committer, CommitterOptions, CommitterStats, Submission, SubmitError};
pub use cursor::Cursor;
pub use disk::{DiskOptions, DiskStore, OpenError};
pub use error::StoreError;
pub use id::{MessageId, NamespaceNo, SessionNo, UnixMillis};
pub use memory::{Failure, Faults, MemoryStore};
pub use record::{Publication, SessionKey, SessionRecord, SubscriptionRecord, Target, WillRecord};
pub use tombstones::TOMBSTONES_MAX;

//! What an MQTT broker must not lose.

#![forbid(unsafe_code)]

mod backend;
mod batch;
mod change;
mod commit;
mod cursor;
mod error;
mod id;
mod memory;
mod record;

pub use backend::{
    MessageHeader, Meta, Reader, Report, RetainedRecord, Store, StoredSession, Visitor,
};
pub use batch::{Batch, Durability};
pub use change::Change;
pub use commit::{Committer, CommitterOptions, CommitterStats, Submission, SubmitError};
pub use cursor::Cursor;
pub use error::StoreError;
pub use id::{MessageId, NamespaceNo, SessionNo, UnixMillis};
pub use memory::{Failure, Faults, MemoryStore, TOMBSTONES_MAX};
pub use record::{Publication, SessionKey, SessionRecord, SubscriptionRecord, Target, WillRecord};

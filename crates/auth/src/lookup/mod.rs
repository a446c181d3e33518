//! Clients whom a database or a directory knows: it is asked about each login.
//!
//! A [`UserSource`] is one kind of database. [`Lookup`] is the step of a chain that asks it, with what has to hold for all
//! kinds alike: connections that are bounded, kept and made again; a time within which there is an answer; the same work for
//! a name that nobody has as for a wrong password; what becomes of clients while the source does not answer; and what is kept
//! of its answers.
//!
//! ```
//! use dunlin_auth::lookup::{Found, Lookup, LookupOptions, Question, Record, SourceError, UserSource};
//! use dunlin_auth::{PasswordHash, Workers, WorkersOptions};
//! use dunlin_broker::Identity;
//!
//! /// Knows one user.
//! struct Alone(PasswordHash);
//!
//! impl UserSource for Alone {
//!     type Connection = ();
//!
//!     fn name(&self) -> String {
//!         "alone".to_owned()
//!     }
//!
//!     async fn connect(&self) -> Result<(), SourceError> {
//!         Ok(())
//!     }
//!
//!     async fn look_up(&self, (): &mut (), question: &Question) -> Result<Found, SourceError> {
//!         if question.user_name != "alice" {
//!             return Ok(Found::Nobody);
//!         }
//!         let identity = Identity::named("alice");
//!         Ok(Found::Record(Record { password: self.0.clone(), identity }))
//!     }
//! }
//!
//! let source = Alone(PasswordHash::make(b"correct horse")?);
//! let workers = Workers::start(WorkersOptions::default())?;
//! let step = Lookup::new(source, LookupOptions::default(), workers);
//! # drop(step);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod pool;
mod record;
mod source;
mod stand_ins;
mod step;
#[cfg(test)]
mod tests;

pub use record::{ATTRIBUTES_MAX, ROLES_MAX, Record, TEXT_BYTES_MAX};
pub use source::{Found, Question, SourceError, SourceFailure, UserSource};
pub use step::{Lookup, LookupOptions, UnknownUser};

#[cfg_attr(
    not(any(
        feature = "postgres",
        feature = "mysql",
        feature = "sqlite",
        feature = "redis",
        feature = "ldap"
    )),
    expect(unused_imports, reason = "each of these ways makes records of what it reads")
)]
pub(crate) use record::RecordDraft;

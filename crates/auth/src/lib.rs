//! Ways to know who a client is, behind the broker's trait [`Authenticator`](dunlin_broker::Authenticator).
//!
//! The broker asks the authenticators of a listener one after the other; each accepts, refuses, or passes the question on.
//! This crate holds those that most installations need, and what stands around them. It knows nothing of sockets, sessions or
//! configuration files.
//!
//! * [`PasswordFile`]: a file of users with Argon2id hashes and SCRAM verifiers; Mosquitto's password files as they are.
//! * [`PeerRule`]: who a client is by its certificate, the owner of its process, or what a proxy said.
//! * `jwt` and `http`, behind features of these names: tokens, and a service that is asked over HTTP.
//! * [`lookup`]: databases and directories that are asked about users, one's own included; behind features of their names
//!   PostgreSQL, MySQL and SQLite (`sql`), Redis (`redis`) and LDAP (`ldap`).
//! * [`Workers`]: the threads that compute hashes, with a bounded and fair line before them.
//! * [`Throttle`]: a [`LoginGuard`](dunlin_broker::LoginGuard) that makes who fails too often wait.
//! * [`Audit`]: a guard that logs who came in and who did not.
//! * [`SecretSource`]: where a secret is kept, so that a configuration says that and not what it is.
//!
//! # A broker with a file of users
//!
//! ```
//! use std::sync::Arc;
//!
//! use dunlin_auth::{
//!     Audit, PasswordFile, PasswordFileOptions, PasswordHash, Throttle, ThrottleRules, User, Users, Workers, WorkersOptions,
//! };
//! use dunlin_broker::Broker;
//!
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # runtime.block_on(async {
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("users");
//! let mut users = Users::default();
//! let mut alice = User::new("alice")?;
//! alice.password = PasswordHash::make(b"correct horse")?;
//! users.put(alice);
//! users.write(&path)?;
//!
//! let workers = Workers::start(WorkersOptions::default())?;
//! let file = Arc::new(PasswordFile::open(path, PasswordFileOptions::default(), workers)?);
//! file.watch();
//! let broker = Broker::builder()
//!     .listen("127.0.0.1:0".parse()?)
//!     .allow_anonymous(false)
//!     .named_authenticator("file", file)
//!     .login_guard(Arc::new(Throttle::new(ThrottleRules::default())))
//!     .login_guard(Arc::new(Audit))
//!     .start()
//!     .await?;
//! broker.shutdown().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Bounds
//!
//! | Bound | Rule at it | Counter |
//! |---|---|---|
//! | [`WorkersOptions::waiting_max`] | the newest of the address with most of them waiting is refused: Server busy | [`WorkersCounts::refused_full`] |
//! | [`WorkersOptions::waiting_per_address_max`] | refused: Server busy | [`WorkersCounts::refused_address`] |
//! | [`CacheOptions::entries_max`] | the oldest is forgotten | |
//! | [`ThrottleRules`] | refused: Connection rate exceeded | [`Throttle::refused`] |
//! | [`LookupOptions::waiting_max`](lookup::LookupOptions::waiting_max), [`LookupOptions::timeout`](lookup::LookupOptions::timeout) | a failure of the source | [`Lookup::failed`](lookup::Lookup::failed) |
//! | [`LookupOptions::cache_entries_max`](lookup::LookupOptions::cache_entries_max) | the oldest is forgotten | [`Lookup::forgotten`](lookup::Lookup::forgotten) |
//! | [`LoginThrottle::ENTRIES_MAX`](dunlin_access::LoginThrottle::ENTRIES_MAX) | the earlier ones are forgotten | |
//! | [`PASSWORD_BYTES_MAX`] | it is a wrong password | |
//! | [`USERS_MAX`], [`LINE_BYTES_MAX`], [`FILE_BYTES_MAX`] and such | the file is refused with its line | |

mod answers;
mod audit;
mod cache;
mod hash;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "jwt")]
pub mod jwt;
#[cfg(feature = "ldap")]
pub mod ldap;
pub mod lookup;
mod mac;
mod on_failure;
mod origin;
mod password_file;
mod peer_rule;
mod random;
#[cfg(feature = "redis")]
pub mod redis;
mod scram;
mod secret;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
pub mod sql;
mod throttle;
#[cfg(any(feature = "http", feature = "ldap"))]
mod trust;
mod turns;
mod user;
mod users;
mod workers;

pub use audit::{Audit, EVENTS as AUDIT_EVENTS, TARGET as AUDIT_TARGET};
pub use cache::CacheOptions;
pub use dunlin_access::{Rate, ThrottleRules};
pub use hash::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, BCRYPT_COST_MAX, CannotHash,
    InvalidHash, PASSWORD_BYTES_MAX, PBKDF2_ITERATIONS_MAX, PasswordHash,
};
pub use on_failure::OnFailure;
pub use origin::Origin;
pub use password_file::{PasswordFile, PasswordFileOptions};
pub use peer_rule::{InvalidPeerRule, PEER_STARS_MAX, PeerField, PeerRule};
pub use scram::{
    ITERATIONS as SCRAM_ITERATIONS, InvalidVerifier, MESSAGE_BYTES_MAX as SCRAM_MESSAGE_BYTES_MAX,
    METHOD as SCRAM_METHOD, NoVerifier, Verifier,
};
pub use secret::{SECRET_BYTES_MAX, Secret, SecretError, SecretSource};
pub use throttle::Throttle;
pub use user::{ATTRIBUTES_MAX, InvalidUser, LINE_BYTES_MAX, ROLES_MAX, User};
pub use users::{FILE_BYTES_MAX, USERS_MAX, Users, UsersError};
pub use workers::{Busy, Scratch, Workers, WorkersCounts, WorkersOptions};

//! Ways to know who a client is, behind the broker's trait
//! [`Authenticator`](dunlin_broker::policy::Authenticator).
//!
//! The broker asks the authenticators of a listener one after the other; each accepts, refuses, or passes the question on.
//! This crate holds those that most installations need. It knows nothing of sockets, sessions or configuration files.
//!
//! What an installation keeps secret, such as a key or the password of a database, is given as a [`SecretSource`]: a
//! configuration then says where the secret is, and not what it is.

#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "jwt")]
pub mod jwt;
mod secret;

pub use secret::{SECRET_BYTES_MAX, Secret, SecretError, SecretSource};

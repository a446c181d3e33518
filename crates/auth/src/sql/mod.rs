//! Clients who stand in a table of a database: PostgreSQL, MySQL and MariaDB, or a file of SQLite.
//!
//! A [`Query`] says who a client is, by at most one user. What it gives is read by the names of its columns:
//!
//! | Column | |
//! |---|---|
//! | `password_hash` | what is kept of the password, as [`PasswordHash`](crate::PasswordHash) reads it; NULL: nobody comes in by it |
//! | `user_name` | who that is; else the client's User Name is |
//! | `tenant` | the tenant |
//! | `roles` | a role, or several with commas or blanks between them; in PostgreSQL also an array |
//! | any other | an attribute of this name, for `{claims.NAME}` in rules |
//!
//! Columns are texts. Several rows are about one user, and their roles are added up; where they differ in anything else that
//! there can be one of, nobody comes in by them.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod query;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod server;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "mysql")]
pub use mysql::{MySql, MySqlConfig};
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresConfig};
pub use query::{InvalidQuery, Query};
#[cfg(feature = "sqlite")]
pub use sqlite::{Sqlite, SqliteConfig, SqliteConnection};

/// Rows that are read. An answer with more is a failure.
pub const ROWS_MAX: usize = crate::lookup::ROLES_MAX;

/// Why a database cannot be asked.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum DatabaseConfigError {
    /// The address is none. It is not shown, since a password may stand in it.
    #[error("the address of the database is none: one looks as {0}")]
    Url(&'static str),
    /// The address has a parameter that is not known. Its value is not shown.
    #[error("the address of the database has the parameter {0:?}, which is none")]
    Parameter(String),
    /// The password is no UTF-8.
    #[error("the password of the database is no UTF-8")]
    Password,
    /// The query cannot be used.
    #[error("{0}")]
    Query(#[from] InvalidQuery),
}

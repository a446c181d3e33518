//! MySQL and MariaDB.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlRow, MySqlSslMode};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Executor as _,
    MySqlConnection, Row as _, ValueRef as _,
};

use super::query::{Dialect, Place};
use super::server::{failed, is_elsewhere, not_connected, unknown_parameter};
use super::{DatabaseConfigError, Query, ROWS_MAX};
use crate::Secret;
use crate::lookup::{Found, Question, RecordDraft, SourceError, SourceFailure, UserSource};

/// What may stand behind the `?` of an address.
const PARAMETERS: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslca",
    "ssl-ca",
    "charset",
    "collation",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];

/// Which database is asked, and what.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct MySqlConfig {
    /// `mysql://USER@HOST:PORT/DATABASE?ssl-mode=VERIFY_IDENTITY`. A password may stand in it.
    pub url: Secret,
    /// The password, where the address has none.
    pub password: Option<Secret>,
    /// Who a client is. Most collations take `alice`, `ALICE` and `alice ` for the same: the column `user_name` then says
    /// which it is.
    pub query: Query,
    /// For how long the server may work at an answer, where it can be told. Then it gives up by itself.
    pub statement_timeout: Duration,
}

impl MySqlConfig {
    /// This database and this query, for five seconds at the most.
    #[must_use]
    pub fn new(url: Secret, query: Query) -> Self {
        Self { url, password: None, query, statement_timeout: Duration::from_secs(5) }
    }
}

/// Users of a MySQL or MariaDB database.
pub struct MySql {
    options: MySqlConnectOptions,
    statement: Arc<str>,
    places: Vec<Place>,
    is_about_connection: bool,
    /// MariaDB's way to set the timeout, and MySQL's.
    preludes: [String; 2],
}

impl fmt::Debug for MySql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySql").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl MySql {
    /// A source that asks this database. Nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// [`DatabaseConfigError`] when the address or the password cannot be used.
    pub fn new(config: &MySqlConfig) -> Result<Self, DatabaseConfigError> {
        let url = config
            .url
            .expose_str()
            .filter(|url| url.starts_with("mysql://") || url.starts_with("mariadb://"));
        let refused = DatabaseConfigError::Url("mysql://USER@HOST/DATABASE");
        let Some(url) = url else { return Err(refused) };
        if let Some(unknown) = unknown_parameter(url, &PARAMETERS) {
            return Err(DatabaseConfigError::Parameter(unknown));
        }
        let Ok(mut options) = url.parse::<MySqlConnectOptions>() else { return Err(refused) };
        if let Some(password) = &config.password {
            let password = password.expose_str().ok_or(DatabaseConfigError::Password)?;
            options = options.password(password);
        }
        options = options.disable_statement_logging();
        let statement = config.query.statement(Dialect::Positional);
        let millis = config.statement_timeout.as_millis();
        Ok(Self {
            options,
            statement: statement.text.into(),
            places: statement.places,
            is_about_connection: config.query.is_about_connection(),
            preludes: [
                format!("SET max_statement_time = {}.{:03}", millis / 1_000, millis % 1_000),
                format!("SET max_execution_time = {millis}"),
            ],
        })
    }

    /// Whether hashes can be read on their way: it is another machine, and nothing proves that it is the right one.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.options.get_socket().is_none()
            && is_elsewhere(self.options.get_host())
            && !matches!(self.options.get_ssl_mode(), MySqlSslMode::VerifyIdentity)
    }
}

impl UserSource for MySql {
    type Connection = MySqlConnection;

    fn name(&self) -> String {
        let place = match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        };
        format!("mysql {place}/{}", self.options.get_database().unwrap_or_default())
    }

    fn is_about_connection(&self) -> bool {
        self.is_about_connection
    }

    async fn connect(&self) -> Result<MySqlConnection, SourceError> {
        let connection = MySqlConnection::connect_with(&self.options).await;
        let mut connection = connection.map_err(|error| not_connected(&error))?;
        for prelude in &self.preludes {
            // Each server knows one of them.
            if connection.execute(AssertSqlSafe(prelude.clone())).await.is_ok() {
                break;
            }
        }
        Ok(connection)
    }

    async fn look_up(
        &self,
        connection: &mut MySqlConnection,
        question: &Question,
    ) -> Result<Found, SourceError> {
        // The statement is the operator's, and what clients send is bound to it.
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&self.statement)));
        for place in &self.places {
            query = query.bind(place.value(question));
        }
        let (mut draft, mut count) = (RecordDraft::default(), 0);
        let mut rows = query.fetch(connection);
        while let Some(row) = rows.try_next().await.map_err(|error| failed(&error, kind))? {
            count += 1;
            if count > ROWS_MAX {
                let words = format!("the query gives more than {ROWS_MAX} rows");
                return Err(SourceError::new(SourceFailure::Malformed, words));
            }
            read(&row, &mut draft)?;
        }
        if count == 0 {
            return Ok(Found::Nobody);
        }
        draft.record(&question.user_name).map(Found::Record)
    }
}

fn read(row: &MySqlRow, draft: &mut RecordDraft) -> Result<(), SourceError> {
    for (index, column) in row.columns().iter().enumerate() {
        let name = column.name();
        let value = row.try_get_raw(index).map_err(|error| failed(&error, kind))?;
        if value.is_null() {
            continue;
        }
        // Texts with a binary collation are bytes, as is what GROUP_CONCAT makes of them.
        let text = row
            .try_get::<&str, _>(index)
            .ok()
            .or_else(|| std::str::from_utf8(row.try_get::<&[u8], _>(index).ok()?).ok());
        let Some(text) = text else {
            let words =
                format!("the column {name:?} is no text: CAST({name} AS CHAR) makes it one");
            return Err(SourceError::new(SourceFailure::Malformed, words));
        };
        draft.field(name, text)?;
    }
    Ok(())
}

fn kind(error: &dyn DatabaseError) -> SourceFailure {
    let number = error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number);
    match number {
        // Interrupted; its time is over, in MariaDB and in MySQL.
        Some(1317 | 1969 | 3024) => SourceFailure::Timeout,
        // Too many connections, shutdown, killed, out of memory or resources, full disk, lock wait, deadlock.
        Some(1040 | 1053 | 1927 | 1037 | 1041 | 1021 | 1205 | 1213) => SourceFailure::Broken,
        _ if error.code().is_some_and(|code| code.starts_with("08")) => SourceFailure::Broken,
        _ => SourceFailure::Refused,
    }
}

//! PostgreSQL.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgRow, PgSslMode};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Executor as _, PgConnection,
    Row as _, ValueRef as _,
};

use super::query::{Dialect, Place};
use super::server::{failed, is_elsewhere, not_connected, unknown_parameter};
use super::{DatabaseConfigError, Query, ROWS_MAX};
use crate::Secret;
use crate::lookup::{Found, Question, RecordDraft, SourceError, SourceFailure, UserSource};

/// What may stand behind the `?` of an address.
const PARAMETERS: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[",
];

/// Which database is asked, and what.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full`, as `psql` takes it. A password may stand in it.
    pub url: Secret,
    /// The password, where the address has none.
    pub password: Option<Secret>,
    /// Who a client is.
    pub query: Query,
    /// For how long the server may work at an answer. Then it gives up by itself.
    pub statement_timeout: Duration,
}

impl PostgresConfig {
    /// This database and this query, for five seconds at the most.
    #[must_use]
    pub fn new(url: Secret, query: Query) -> Self {
        Self { url, password: None, query, statement_timeout: Duration::from_secs(5) }
    }
}

/// Users of a PostgreSQL database.
pub struct Postgres {
    options: PgConnectOptions,
    statement: Arc<str>,
    places: Vec<Place>,
    is_about_connection: bool,
    prelude: String,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Postgres {
    /// A source that asks this database. Nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// [`DatabaseConfigError`] when the address or the password cannot be used.
    pub fn new(config: &PostgresConfig) -> Result<Self, DatabaseConfigError> {
        let url = config
            .url
            .expose_str()
            .filter(|url| url.starts_with("postgres://") || url.starts_with("postgresql://"));
        let refused = DatabaseConfigError::Url("postgres://USER@HOST/DATABASE");
        let Some(url) = url else { return Err(refused) };
        if let Some(unknown) = unknown_parameter(url, &PARAMETERS) {
            return Err(DatabaseConfigError::Parameter(unknown));
        }
        let Ok(mut options) = url.parse::<PgConnectOptions>() else { return Err(refused) };
        if let Some(password) = &config.password {
            let password = password.expose_str().ok_or(DatabaseConfigError::Password)?;
            options = options.password(password);
        }
        // What is not asked for does not confuse a pooler in between.
        options = options.extra_float_digits(None).disable_statement_logging();
        if options.get_application_name().is_none() {
            options = options.application_name("dunlin");
        }
        let statement = config.query.statement(Dialect::Dollar);
        Ok(Self {
            options,
            statement: statement.text.into(),
            places: statement.places,
            is_about_connection: config.query.is_about_connection(),
            prelude: format!("SET statement_timeout = {}", config.statement_timeout.as_millis()),
        })
    }

    /// Whether hashes can be read on their way: it is another machine, and nothing proves that it is the right one.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.options.get_socket().is_none()
            && is_elsewhere(self.options.get_host())
            && !matches!(self.options.get_ssl_mode(), PgSslMode::VerifyFull)
    }
}

impl UserSource for Postgres {
    type Connection = PgConnection;

    fn name(&self) -> String {
        let place = match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        };
        let database = self.options.get_database().unwrap_or_else(|| self.options.get_username());
        format!("postgres {place}/{database}")
    }

    fn is_about_connection(&self) -> bool {
        self.is_about_connection
    }

    async fn connect(&self) -> Result<PgConnection, SourceError> {
        let connection = PgConnection::connect_with(&self.options).await;
        let mut connection = connection.map_err(|error| not_connected(&error))?;
        let prelude = AssertSqlSafe(self.prelude.clone());
        connection.execute(prelude).await.map_err(|error| not_connected(&error))?;
        Ok(connection)
    }

    async fn look_up(
        &self,
        connection: &mut PgConnection,
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

fn read(row: &PgRow, draft: &mut RecordDraft) -> Result<(), SourceError> {
    for (index, column) in row.columns().iter().enumerate() {
        let name = column.name();
        let value = row.try_get_raw(index).map_err(|error| failed(&error, kind))?;
        if value.is_null() {
            continue;
        }
        if let Ok(text) = row.try_get::<&str, _>(index) {
            draft.field(name, text)?;
        } else if name == "roles"
            && let Ok(roles) = row.try_get::<Vec<Option<String>>, _>(index)
        {
            roles.iter().flatten().try_for_each(|role| draft.role(role))?;
        } else {
            let words = format!("the column {name:?} is no text: {name}::text makes it one");
            return Err(SourceError::new(SourceFailure::Malformed, words));
        }
    }
    Ok(())
}

/// By the class of the SQLSTATE (appendix A of PostgreSQL's manual).
fn kind(error: &dyn DatabaseError) -> SourceFailure {
    let code = error.code().unwrap_or_default();
    match code.get(..2).unwrap_or_default() {
        // query_canceled: by statement_timeout.
        "57" if code == "57014" => SourceFailure::Timeout,
        // Connections, resources, an operator's intervention, the system, the server itself.
        "08" | "53" | "57" | "58" | "XX" => SourceFailure::Broken,
        _ => SourceFailure::Refused,
    }
}

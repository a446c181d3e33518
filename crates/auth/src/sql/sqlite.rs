//! A file of SQLite.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, params_from_iter};

use super::query::{Dialect, Statement};
use super::{Query, ROWS_MAX};
use crate::lookup::{Found, Question, RecordDraft, SourceError, SourceFailure, UserSource};

/// Steps of SQLite's machine from one look at the clock to the next.
const STEPS: i32 = 1_000;

/// Which file is asked, and what.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SqliteConfig {
    /// The file. It is only read.
    pub path: PathBuf,
    /// Who a client is.
    pub query: Query,
    /// For how long an answer may take, waiting for whoever writes included. Then it is given up.
    pub statement_timeout: Duration,
}

impl SqliteConfig {
    /// This file and this query, for five seconds at the most.
    #[must_use]
    pub fn new(path: PathBuf, query: Query) -> Self {
        Self { path, query, statement_timeout: Duration::from_secs(5) }
    }
}

/// Users of a file of SQLite. It is read on threads that may block.
#[derive(Debug)]
pub struct Sqlite {
    file: Arc<File>,
    is_about_connection: bool,
}

/// A connection, and which file it is to: who puts another one in its place means that one to be read.
#[derive(Debug)]
pub struct SqliteConnection {
    connection: Connection,
    inode: Option<u64>,
}

struct File {
    path: PathBuf,
    statement: Statement,
    timeout: Duration,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// A source that asks this file. It is not opened yet.
    #[must_use]
    pub fn new(config: &SqliteConfig) -> Self {
        Self {
            file: Arc::new(File {
                path: config.path.clone(),
                statement: config.query.statement(Dialect::Numbered),
                timeout: config.statement_timeout,
            }),
            is_about_connection: config.query.is_about_connection(),
        }
    }
}

impl UserSource for Sqlite {
    /// None while a thread has it.
    type Connection = Option<SqliteConnection>;

    fn name(&self) -> String {
        format!("sqlite {}", self.file.path.display())
    }

    fn is_about_connection(&self) -> bool {
        self.is_about_connection
    }

    async fn connect(&self) -> Result<Option<SqliteConnection>, SourceError> {
        let file = Arc::clone(&self.file);
        on_thread(move || file.open()).await.map(Some)
    }

    async fn look_up(
        &self,
        connection: &mut Option<SqliteConnection>,
        question: &Question,
    ) -> Result<Found, SourceError> {
        let gone = || SourceError::new(SourceFailure::Broken, "the connection is gone");
        let mut opened = connection.take().ok_or_else(gone)?;
        let (file, question) = (Arc::clone(&self.file), question.clone());
        let (opened, found) = on_thread(move || {
            let found = file.ask(&mut opened, &question)?;
            Ok((opened, found))
        })
        .await?;
        *connection = Some(opened);
        Ok(found)
    }
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let ended = |_| SourceError::new(SourceFailure::Broken, "the thread ended");
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

impl File {
    /// Which file there is. None: there is none, or the system has no such number.
    fn inode(&self) -> Option<u64> {
        #[cfg(unix)]
        return std::fs::metadata(&self.path)
            .ok()
            .map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata));
        #[cfg(not(unix))]
        None
    }

    fn open(&self) -> Result<SqliteConnection, SourceError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed =
            |error: rusqlite::Error| SourceError::new(SourceFailure::Connect, error.to_string());
        let inode = self.inode();
        let connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        connection.busy_timeout(self.timeout).map_err(failed)?;
        Ok(SqliteConnection { connection, inode })
    }

    fn ask(
        &self,
        opened: &mut SqliteConnection,
        question: &Question,
    ) -> Result<Found, SourceError> {
        let SqliteConnection { connection, inode } = opened;
        if *inode != self.inode() {
            return Err(SourceError::new(SourceFailure::Broken, "the file is another one"));
        }
        let Some(deadline) = Instant::now().checked_add(self.timeout) else {
            return Err(SourceError::new(SourceFailure::Timeout, "the timeout is too long"));
        };
        // The caller gave up by then, and nobody else would stop it.
        connection
            .progress_handler(STEPS, Some(move || Instant::now() > deadline))
            .map_err(|error| failed(&error))?;
        let draft = self.read(connection, question)?;
        draft
            .map_or(Ok(Found::Nobody), |draft| draft.record(&question.user_name).map(Found::Record))
    }

    fn read(
        &self,
        connection: &Connection,
        question: &Question,
    ) -> Result<Option<RecordDraft>, SourceError> {
        let failed = |error: rusqlite::Error| failed(&error);
        let mut statement = connection.prepare_cached(&self.statement.text).map_err(failed)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let values = self.statement.places.iter().map(|place| place.value(question));
        let mut rows = statement.query(params_from_iter(values)).map_err(failed)?;
        let (mut draft, mut count) = (None, 0);
        while let Some(row) = rows.next().map_err(failed)? {
            count += 1;
            if count > ROWS_MAX {
                return Err(malformed(format!("the query gives more than {ROWS_MAX} rows")));
            }
            let draft = draft.get_or_insert_with(RecordDraft::default);
            for (index, name) in names.iter().enumerate() {
                let text = match row.get_ref(index).map_err(failed)? {
                    ValueRef::Null => continue,
                    ValueRef::Text(text) => std::str::from_utf8(text).ok(),
                    ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => None,
                };
                let Some(text) = text else {
                    let words = format!(
                        "the column {name:?} is no text: CAST({name} AS TEXT) makes it one"
                    );
                    return Err(malformed(words));
                };
                draft.field(name, text)?;
            }
        }
        Ok(draft)
    }
}

fn malformed(words: String) -> SourceError {
    SourceError::new(SourceFailure::Malformed, words)
}

fn failed(error: &rusqlite::Error) -> SourceError {
    let failure = match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => SourceFailure::Timeout,
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::SchemaChanged,
        ) => SourceFailure::Broken,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => SourceFailure::Malformed,
        _ => SourceFailure::Refused,
    };
    SourceError::new(failure, error.to_string())
}

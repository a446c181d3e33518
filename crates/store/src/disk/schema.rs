//! The tables, how the database is opened, and the one row that is written with each commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crc32c::crc32c;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::bytes::{Bytes, checksum, seal, unseal};
use super::error::{OpenError, store_error};
use crate::id::{MessageId, SessionNo, UnixMillis};

/// The version of the format. An older one is brought to it when it is opened.
pub(super) const FORMAT: u32 = 1;

/// The first SQLite in which a checkpoint on a second connection cannot damage the database.
const SQLITE_NEEDED: (i32, &str) = (3_051_003, "3.51.3");

/// How long another connection is waited for. None keeps the database locked.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(10);

/// Pages that SQLite can number.
const PAGES_MAX: u64 = 4_294_967_294;

/// What SQLite calls a database that gives room back when it is told to.
const INCREMENTAL: u8 = 2;

/// Bytes of a page.
pub(super) const PAGE_BYTES: u64 = 4096;

const TABLES: &str = "
CREATE TABLE meta     (k TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE namespace(ns INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE session  (sno INTEGER PRIMARY KEY, ns INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL,
                       v BLOB NOT NULL, UNIQUE(ns, kind, name));
CREATE TABLE sub      (sno INTEGER NOT NULL, filter TEXT NOT NULL, v BLOB NOT NULL, PRIMARY KEY(sno, filter)) WITHOUT ROWID;
CREATE TABLE inq2     (sno INTEGER NOT NULL, pkid INTEGER NOT NULL, PRIMARY KEY(sno, pkid)) WITHOUT ROWID;
CREATE TABLE cursor   (sno INTEGER PRIMARY KEY, v BLOB NOT NULL);
CREATE TABLE msg      (mid INTEGER PRIMARY KEY, hdr BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE retained (ns INTEGER NOT NULL, topic TEXT NOT NULL, num INTEGER NOT NULL, v BLOB NOT NULL, UNIQUE(ns, topic));
";

/// The tables whose rows are counted, in the order in which [`State`] has them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Table {
    Namespace,
    Session,
    Sub,
    Inq2,
    Cursor,
    Msg,
    Retained,
}

impl Table {
    pub(super) const ALL: [Self; 7] = [
        Self::Namespace,
        Self::Session,
        Self::Sub,
        Self::Inq2,
        Self::Cursor,
        Self::Msg,
        Self::Retained,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Session => "session",
            Self::Sub => "sub",
            Self::Inq2 => "inq2",
            Self::Cursor => "cursor",
            Self::Msg => "msg",
            Self::Retained => "retained",
        }
    }
}

/// How many rows a table has, and which: the sum of a number made of each key. A row that is lost, or has lost its way to
/// another key, changes it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    pub(super) rows: u64,
    sum: u64,
}

impl Tally {
    pub(super) const fn add(&mut self, key: u64) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(key);
    }

    pub(super) const fn sub(&mut self, key: u64) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(key);
    }
}

/// A number for a key of one or two numbers, spread over all bits.
pub(super) const fn number_key(first: u64, second: u64) -> u64 {
    spread(spread(first) ^ second)
}

/// A number for a key of a number and a text.
pub(super) fn text_key(number: u64, text: &[u8]) -> u64 {
    let other = checksum(&[b"dunlin", text]);
    number_key(number, u64::from(crc32c(text)) << 32 | u64::from(other))
}

/// The finaliser of SplitMix64.
const fn spread(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// What the store knows about itself: one row, written with each commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct State {
    /// The id of the last commit: the highest that was ever used up.
    pub(super) last: MessageId,
    pub(super) next_session: SessionNo,
    pub(super) next_retained: u64,
    pub(super) newest: Option<UnixMillis>,
    /// Whether it was closed in order.
    pub(super) clean: bool,
    tallies: [Tally; Table::ALL.len()],
}

impl Default for State {
    fn default() -> Self {
        Self {
            last: MessageId(0),
            next_session: SessionNo::FIRST,
            next_retained: 0,
            newest: None,
            clean: true,
            tallies: [Tally::default(); Table::ALL.len()],
        }
    }
}

impl State {
    const VERSION: u8 = 1;

    pub(super) fn tally(&mut self, table: Table) -> &mut Tally {
        self.tallies.get_mut(table as usize).expect("there is a tally for each table")
    }

    pub(super) fn saw(&mut self, time: Option<UnixMillis>) {
        self.newest = self.newest.max(time);
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(Self::VERSION);
        out.extend_from_slice(&self.last.0.to_le_bytes());
        out.extend_from_slice(&self.next_session.0.to_le_bytes());
        out.extend_from_slice(&self.next_retained.to_le_bytes());
        out.extend_from_slice(&self.newest.map_or(0, |at| at.0.saturating_add(1)).to_le_bytes());
        out.push(u8::from(self.clean));
        for tally in self.tallies {
            out.extend_from_slice(&tally.rows.to_le_bytes());
            out.extend_from_slice(&tally.sum.to_le_bytes());
        }
        seal(out, 0, &[b"state"]);
    }

    fn read(sealed: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(unseal(sealed, &[b"state"])?);
        if bytes.byte()? != Self::VERSION {
            return None;
        }
        let last = MessageId(bytes.u64()?);
        let next_session = SessionNo(bytes.u32()?);
        let next_retained = bytes.u64()?;
        let newest = bytes.u64()?.checked_sub(1).map(UnixMillis);
        let clean = bytes.byte()? != 0;
        let mut tallies = [Tally::default(); Table::ALL.len()];
        for tally in &mut tallies {
            *tally = Tally { rows: bytes.u64()?, sum: bytes.u64()? };
        }
        bytes.end()?;
        Some(Self { last, next_session, next_retained, newest, clean, tallies })
    }

    /// The row as it stands; none if it is not there or wrong.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let sealed: Option<Vec<u8>> = connection
            .query_row("SELECT v FROM meta WHERE k = 'state'", [], |row| row.get(0))
            .optional()?;
        Ok(sealed.and_then(|sealed| Self::read(&sealed)))
    }

    pub(super) fn store(
        &self,
        connection: &Connection,
        buffer: &mut Vec<u8>,
    ) -> rusqlite::Result<()> {
        self.put(buffer);
        connection
            .prepare_cached("INSERT INTO meta(k, v) VALUES('state', ?1) ON CONFLICT(k) DO UPDATE SET v = excluded.v")?
            .execute([&buffer[..]])?;
        Ok(())
    }
}

/// The connection that writes and checkpoints, the only one that does.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    /// Pages in the log.
    pub(super) wal_pages: Arc<AtomicU32>,
    /// Whether commits are synced at present.
    synced: bool,
}

impl Writer {
    /// Opens a database and brings an older format up to date. Only with `begin` it makes the tables if there are none.
    pub(super) fn open(file: &Path, begin: bool) -> Result<Self, OpenError> {
        let (needed, name) = SQLITE_NEEDED;
        if rusqlite::version_number() < needed {
            let found = rusqlite::version().to_owned();
            return Err(OpenError::Library { found, needed: name });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_URI;
        let failed = |error| open_failure(file, error);
        let connection = Connection::open_with_flags(uri(file), flags).map_err(failed)?;
        let wal_pages = Arc::new(AtomicU32::new(0));
        let mut writer = Self { connection, wal_pages, synced: true };
        writer.prepare(file, begin)?;
        Ok(writer)
    }

    /// The log becomes part of the database when this is dropped. Without it the files of a store that turns out to be
    /// damaged stay as they are: what SQLite cannot read of a log is gone once the log is.
    pub(super) fn merge_at_end(&self) -> rusqlite::Result<()> {
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(())
    }

    /// Makes the database whole without its log, and closes it.
    pub(super) fn merge(self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.merge_at_end()?;
        self.connection.close().map_err(|(_, error)| error)
    }

    fn prepare(&mut self, file: &Path, begin: bool) -> Result<(), OpenError> {
        let failed = |error| open_failure(file, error);
        let connection = &mut self.connection;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(failed)?;
        connection.busy_timeout(BUSY_WAIT).map_err(failed)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(failed)?;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)
            .map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        let kind: u8 =
            connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).map_err(failed)?;
        if kind != INCREMENTAL {
            // Where it is set already, this would be one more commit.
            connection
                .execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;")
                .map_err(failed)?;
        }
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
                 PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -65536;",
            )
            .map_err(failed)?;
        // A word misspelt above would break the promise without anybody noticing.
        for (name, wanted) in [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("page_size", "4096"),
            ("auto_vacuum", "2"),
        ] {
            let found: String = connection
                .pragma_query_value(None, name, |row| {
                    row.get::<_, rusqlite::types::Value>(0).map(|value| match value {
                        rusqlite::types::Value::Integer(number) => number.to_string(),
                        rusqlite::types::Value::Text(text) => text,
                        rusqlite::types::Value::Null
                        | rusqlite::types::Value::Real(_)
                        | rusqlite::types::Value::Blob(_) => String::new(),
                    })
                })
                .map_err(failed)?;
            if found != wanted {
                return Err(OpenError::Damaged {
                    file: file.to_owned(),
                    what: format!("its {name} is {found} and cannot be made {wanted}").into(),
                    more: 0,
                });
            }
        }
        let pages = Arc::clone(&self.wal_pages);
        connection
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: i32| {
                pages.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(failed)?;
        match format(connection).map_err(failed)? {
            None if begin => create_tables(connection).map_err(failed),
            None => Err(OpenError::Damaged {
                file: file.to_owned(),
                what: "its tables are missing".into(),
                more: 0,
            }),
            Some(FORMAT) => Ok(()),
            Some(found) if found > FORMAT => {
                Err(OpenError::Newer { file: file.to_owned(), found, known: FORMAT })
            }
            Some(found) => Err(OpenError::Damaged {
                file: file.to_owned(),
                what: format!("its format {found} was never written").into(),
                more: 0,
            }),
        }
    }

    /// Bytes beyond which every write fails as on a full disk. What is in use already stays.
    pub(super) fn bound(&self, bytes: Option<u64>) -> rusqlite::Result<()> {
        let pages = match bytes {
            None => PAGES_MAX,
            Some(bytes) => bytes.div_ceil(PAGE_BYTES).clamp(1, PAGES_MAX),
        };
        self.connection.pragma_update(None, "max_page_count", pages)
    }

    /// From here on commits wait for stable storage, or do not.
    pub(super) fn sync_commits(&mut self, synced: bool) -> rusqlite::Result<()> {
        if self.synced != synced {
            let level = if synced { "FULL" } else { "NORMAL" };
            self.connection
                .prepare_cached(&format!("PRAGMA synchronous = {level}"))?
                .query([])?
                .next()?;
            self.synced = synced;
        }
        Ok(())
    }
}

/// A connection that only reads.
pub(super) fn open_reader(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(file), flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.execute_batch("PRAGMA query_only = 1; PRAGMA cache_size = -8192;")?;
    Ok(connection)
}

/// The file with the wish that no commit shares a block with the one before: some disks tear a block when the power goes.
fn uri(file: &Path) -> String {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut uri = "file:".to_owned();
    for byte in absolute.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri + "?psow=0"
}

/// The format that the database says it has; none if it has no tables yet.
pub(super) fn format(connection: &Connection) -> rusqlite::Result<Option<u32>> {
    let tables: u64 = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'",
        [],
        |row| row.get(0),
    )?;
    if tables == 0 {
        return Ok(None);
    }
    let found: Option<Vec<u8>> = connection
        .query_row("SELECT CAST(v AS BLOB) FROM meta WHERE k = 'format'", [], |row| row.get(0))
        .optional()?;
    let number = found.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
    Ok(Some(number.unwrap_or(0)))
}

fn create_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    let uuid: String =
        transaction.query_row("SELECT lower(hex(randomblob(16)))", [], |row| row.get(0))?;
    let insert = "INSERT INTO meta(k, v) VALUES(?1, ?2)";
    transaction.execute(insert, params!["format", FORMAT.to_string().as_bytes()])?;
    transaction.execute(insert, params!["uuid", uuid.as_bytes()])?;
    State::default().store(&transaction, &mut Vec::new())?;
    transaction.commit()
}

pub(super) fn open_failure(file: &Path, error: rusqlite::Error) -> OpenError {
    OpenError::store(file, store_error(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_switch_between_synced_and_not_takes_effect() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("store.sqlite3");
        std::fs::write(&file, []).unwrap();
        let mut writer = Writer::open(&file, true).unwrap();
        for synced in [false, true, false, true, false, false, true] {
            writer.sync_commits(synced).unwrap();
            let level: u8 = writer
                .connection
                .pragma_query_value(None, "synchronous", |row| row.get(0))
                .unwrap();
            assert_eq!(level, if synced { 2 } else { 1 });
        }
    }
}

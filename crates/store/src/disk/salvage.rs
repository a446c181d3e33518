//! What is sound of a damaged store, in a new one; the old files put aside; and the list of what is lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Row, params};

use super::error::{OpenError, store_error};
use super::folder::{self, Folder};
use super::layout;
use super::schema::{State, Table, Writer, number_key, open_failure, text_key};
use super::survey::{may_begin, state_beside, survey};
use super::wal;
use crate::backend::{MessageHeader, Meta, RetainedRecord, StoredSession, Visitor};
use crate::cursor::Cursor;
use crate::error::StoreError;
use crate::id::{MessageId, NamespaceNo, SessionNo};

/// Keys behind one that cannot be read that are tried one by one: about as many as stand on a page.
const ONE_BY_ONE: i64 = 1_024;
/// Where a new store is made of a damaged one.
const WORK: &str = "salvaging";
/// What the directory of a new store is called when it is whole; behind it is the number of the quarantine.
const READY: &str = "salvaged-";

/// What was lost when a damaged store was put aside. Its [`Display`](fmt::Display) lists all of it, a line each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Salvaged {
    /// Where the damaged files are now.
    pub quarantine: PathBuf,
    /// What was found to be wrong first.
    pub cause: String,
    /// Clients (or shared groups) whose sessions are lost, with all that waited for them.
    pub sessions: Vec<String>,
    /// Subscriptions that are lost: whose, and the filter.
    pub subscriptions: Vec<(String, String)>,
    /// Clients of which it is not known how far they had come: they may get again what they had.
    pub cursors: Vec<String>,
    /// Messages that are lost, by the client that they waited for.
    pub messages: BTreeMap<String, u64>,
    /// Records of messages that are lost, those included that nobody waited for any more.
    pub records: u64,
    /// Lost messages whose topic could still be read, by topic.
    pub topics: BTreeMap<String, u64>,
    /// Topics whose retained message is lost.
    pub retained: Vec<String>,
    /// Rows that are missing without a trace, by table.
    pub missing: BTreeMap<&'static str, u64>,
    /// Sessions, messages and retained messages that were kept.
    pub kept: (u64, u64, u64),
}

impl fmt::Display for Salvaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the store was damaged: {}", self.cause)?;
        writeln!(f, "its files are now in {}", self.quarantine.display())?;
        let (sessions, messages, retained) = self.kept;
        writeln!(
            f,
            "kept: {sessions} sessions, {messages} messages, {retained} retained messages"
        )?;
        for client in &self.sessions {
            writeln!(f, "lost: the session of {client:?}, with its subscriptions and its queue")?;
        }
        for (client, filter) in &self.subscriptions {
            writeln!(f, "lost: the subscription of {client:?} to {filter:?}")?;
        }
        for (client, count) in &self.messages {
            writeln!(f, "lost: {count} messages that waited for {client:?}")?;
        }
        if self.records > 0 {
            writeln!(
                f,
                "lost: {} records of messages in all, with those that nobody waited for any more",
                self.records
            )?;
        }
        for (topic, count) in &self.topics {
            writeln!(f, "lost: {count} messages of topic {topic:?}, among those above")?;
        }
        for topic in &self.retained {
            writeln!(f, "lost: the retained message of {topic:?}")?;
        }
        for client in &self.cursors {
            writeln!(f, "lost: how far {client:?} had come; it may get messages again")?;
        }
        for (table, count) in &self.missing {
            writeln!(f, "lost: {count} rows of table {table} that nothing else tells of")?;
        }
        Ok(())
    }
}

/// Takes nothing in.
#[derive(Debug)]
pub(super) struct Nobody;

impl Visitor for Nobody {
    fn meta(&mut self, _: &Meta) {}
    fn namespace(&mut self, _: NamespaceNo, _: &dunlin_codec::Text) {}
    fn session(&mut self, _: StoredSession) {}
    fn message(&mut self, _: &MessageHeader<'_>) {}
    fn retained(&mut self, _: RetainedRecord) {}
}

/// Salvages a store if anything is wrong with it.
pub(super) fn salvage_if_damaged(folder: &Folder) -> Result<Option<Salvaged>, OpenError> {
    if !folder.database().exists() && may_begin(folder, &mut folder.witness()?).is_ok() {
        return Ok(None);
    }
    match first_damage(folder)? {
        Some(cause) => salvage(folder, cause).map(Some),
        None => Ok(None),
    }
}

/// The first thing that is wrong with a store, in words.
fn first_damage(folder: &Folder) -> Result<Option<String>, OpenError> {
    let file = folder.database();
    let look = || {
        let tail = wal::inspect(&folder.wal())
            .map_err(|error| OpenError::Folder { path: folder.wal(), error })?;
        let mut witness = folder.witness()?;
        let writer = Writer::open(&file, may_begin(folder, &mut witness)?)?;
        let state = state_beside(folder, &writer.connection, &mut witness, &tail)?;
        survey(&writer.connection, &state, i64::MAX, &mut Nobody)
            .map_err(|error| OpenError::store(&file, error))
    };
    match look() {
        Ok(survey) => Ok(survey.findings.list.into_iter().next()),
        Err(OpenError::Damaged { what, .. }) => Ok(Some(what.into())),
        Err(error) => Err(error),
    }
}

/// The new store is made in a directory of its own, and only when it is whole does it take the place of the old one.
fn salvage(folder: &Folder, cause: String) -> Result<Salvaged, OpenError> {
    let witnessed = folder.witness().and_then(|mut witness| witness.read()).ok().flatten();
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let work = folder.path().join(WORK);
    let made = remake(folder, &work, cause, witnessed);
    let ready = folder.path().join(format!("{READY}{millis}"));
    let placed = made.and_then(|made| {
        let failed = |error| OpenError::Folder { path: work.clone(), error };
        fs::rename(&work, &ready).map_err(failed)?;
        folder::sync_folder(folder.path()).map_err(failed)?;
        Ok(made)
    });
    let (mut report, last) = match placed {
        Ok(made) => made,
        Err(error) => {
            // The old one is as it was. What cannot be removed now is, the next time.
            let _ = fs::remove_dir_all(&work);
            return Err(error);
        }
    };
    report.quarantine = put_in_place(folder, &ready)?;
    folder
        .witness()?
        .write(last)
        .map_err(|error| OpenError::Folder { path: folder.path().to_owned(), error })?;
    Ok(report)
}

/// Makes a store of what is sound in the one in `folder`; its last id is beside the report.
fn remake(
    folder: &Folder,
    work: &Path,
    cause: String,
    witnessed: Option<MessageId>,
) -> Result<(Salvaged, MessageId), OpenError> {
    let file = folder::database(work);
    let failed = |error| OpenError::Store { file: file.clone(), error };
    let beside = |error| OpenError::Folder { path: work.to_owned(), error };
    if work.exists() {
        fs::remove_dir_all(work).map_err(beside)?;
    }
    folder::make(work).map_err(beside)?;
    folder::make_database(work)?;
    let mut salvage = Salvage::new(Salvaged { cause, ..Salvaged::default() });
    let writer = Writer::open(&file, true)?;
    // A file that is no database any more gives nothing, which the report says.
    if let Ok(old) = open_old(&folder.database()) {
        salvage.copy(&old, &writer.connection).map_err(failed)?;
    }
    salvage.finish(&writer.connection, witnessed).map_err(failed)?;
    writer.merge().map_err(|error| open_failure(&file, error))?;
    File::open(&file).and_then(|file| file.sync_all()).map_err(beside)?;
    folder::sync_folder(work).map_err(beside)?;
    Ok((salvage.report, salvage.state.last))
}

/// A salvaged store that is whole, and has not taken the place of the damaged one yet.
pub(super) fn unplaced(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    names.find(|path| name(path).is_some_and(|name| name.starts_with(READY)))
}

/// Ends a salvage that a kill had cut off.
pub(super) fn complete(folder: &Folder) -> Result<(), OpenError> {
    match unplaced(folder.path()) {
        Some(ready) => put_in_place(folder, &ready).map(|_| ()),
        None => Ok(()),
    }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// Moves the store's files to a directory beside it, and the new database in their place. Each step may be the last before
/// a kill: begun again, it goes on. The directory of the old files.
fn put_in_place(folder: &Folder, ready: &Path) -> Result<PathBuf, OpenError> {
    let millis = name(ready).and_then(|name| name.strip_prefix(READY)).unwrap_or_default();
    let quarantine = folder.path().join(format!("quarantine-{millis}"));
    let failed = |error| OpenError::Folder { path: quarantine.clone(), error };
    let new = folder::database(ready);
    if new.exists() {
        folder::make(&quarantine).map_err(failed)?;
        for file in folder::files(folder.path()) {
            if let Some(name) = file.file_name().filter(|_| file.exists()) {
                fs::rename(&file, quarantine.join(name)).map_err(failed)?;
            }
        }
        folder::sync_folder(&quarantine)
            .and_then(|()| folder::sync_folder(folder.path()))
            .and_then(|()| fs::rename(&new, folder.database()))
            .and_then(|()| folder::sync_folder(folder.path()))
            .map_err(failed)?;
    }
    fs::remove_dir_all(ready).map_err(failed)?;
    Ok(quarantine)
}

/// Opens the damaged database so that nothing in its files changes.
fn open_old(file: &Path) -> rusqlite::Result<Connection> {
    // Beside an empty one SQLite would remove the log.
    if fs::metadata(file).is_ok_and(|file| file.len() == 0) {
        return Err(rusqlite::Error::QueryReturnedNoRows);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.execute_batch("PRAGMA query_only = 1; PRAGMA wal_autocheckpoint = 0;")?;
    Ok(connection)
}

/// The copy under way.
struct Salvage {
    report: Salvaged,
    state: State,
    /// The state of the old store, if it could be read.
    old: Option<State>,
    names: HashMap<SessionNo, String>,
    cursors: HashMap<SessionNo, Cursor>,
    /// The sessions whose cursor is gone.
    unknown: BTreeSet<SessionNo>,
    /// Rows of cursors that could be read, sound or not.
    cursor_rows: u64,
    /// The highest place at which a message is known to have stood.
    last_places: HashMap<SessionNo, u64>,
    /// Places at which a sound message stands.
    places: HashMap<SessionNo, BTreeSet<u64>>,
    buffer: Vec<u8>,
}

impl Salvage {
    fn new(report: Salvaged) -> Self {
        Self {
            report,
            state: State::default(),
            old: None,
            names: HashMap::new(),
            cursors: HashMap::new(),
            unknown: BTreeSet::new(),
            cursor_rows: 0,
            last_places: HashMap::new(),
            places: HashMap::new(),
            buffer: Vec::new(),
        }
    }

    fn copy(&mut self, old: &Connection, new: &Connection) -> Result<(), StoreError> {
        self.old = State::load(old).ok().flatten();
        new.execute_batch("BEGIN IMMEDIATE").map_err(store_error)?;
        self.namespaces(old, new)?;
        self.sessions(old, new)?;
        self.cursors(old, new)?;
        self.messages(old, new)?;
        self.retained(old, new)?;
        Ok(())
    }

    /// Counts what is missing, writes what was found out, and commits.
    fn finish(&mut self, new: &Connection, witnessed: Option<MessageId>) -> Result<(), StoreError> {
        if new.is_autocommit() {
            new.execute_batch("BEGIN IMMEDIATE").map_err(store_error)?;
        }
        self.count_lost_places(new)?;
        if let Some(mut old) = self.old {
            for table in Table::ALL {
                let lost = old.tally(table).rows.saturating_sub(self.state.tally(table).rows);
                let told = match table {
                    Table::Session => self.report.sessions.len(),
                    Table::Sub => self.report.subscriptions.len(),
                    Table::Retained => self.report.retained.len(),
                    // Messages are told of by the places at which they stood.
                    Table::Msg => {
                        self.report.records = lost;
                        continue;
                    }
                    Table::Cursor => continue,
                    Table::Namespace | Table::Inq2 => 0,
                };
                let lost = lost.saturating_sub(told as u64);
                if lost > 0 {
                    self.report.missing.insert(table.name(), lost);
                }
            }
            self.state.last = self.state.last.max(old.last);
            self.state.next_session = self.state.next_session.max(old.next_session);
            self.state.next_retained = self.state.next_retained.max(old.next_retained);
            self.state.newest = old.newest;
        }
        self.state.last = self.state.last.max(witnessed.unwrap_or(MessageId(0)));
        let rows = |table| self.state.clone().tally(table).rows;
        self.report.kept = (rows(Table::Session), rows(Table::Msg), rows(Table::Retained));
        self.state.store(new, &mut self.buffer).map_err(store_error)?;
        new.execute_batch("COMMIT").map_err(store_error)
    }

    fn namespaces(&mut self, old: &Connection, new: &Connection) -> Result<(), StoreError> {
        let sql = "SELECT ns, name FROM namespace WHERE ns BETWEEN ?1 AND ?2 ORDER BY ns";
        each_readable(old, sql, &mut |row| {
            let (number, name): (u32, String) = (row.get(0)?, row.get(1)?);
            insert(new, "INSERT INTO namespace(ns, name) VALUES(?1, ?2)", params![number, name])?;
            self.state.tally(Table::Namespace).add(text_key(number.into(), name.as_bytes()));
            Ok(())
        })
    }

    fn sessions(&mut self, old: &Connection, new: &Connection) -> Result<(), StoreError> {
        let sql =
            "SELECT sno, ns, kind, name, v FROM session WHERE sno BETWEEN ?1 AND ?2 ORDER BY sno";
        each_readable(old, sql, &mut |row| {
            let number = SessionNo(row.get(0)?);
            let name = String::from_utf8_lossy(row.get_ref(3)?.as_bytes().unwrap_or_default())
                .into_owned();
            self.used(number);
            let (namespace, kind, sealed) =
                (NamespaceNo(row.get(1)?), row.get(2)?, row.get::<_, Vec<u8>>(4)?);
            let key = layout::key(kind, &name);
            if key.and_then(|key| layout::session(&sealed, number, namespace, &key)).is_none() {
                self.report.sessions.push(name);
                return Ok(());
            }
            insert(
                new,
                "INSERT INTO session(sno, ns, kind, name, v) VALUES(?1, ?2, ?3, ?4, ?5)",
                params![number.0, namespace.0, kind, name, sealed],
            )?;
            self.state.tally(Table::Session).add(number_key(number.0.into(), 0));
            self.names.insert(number, name);
            Ok(())
        })?;
        let sessions: Vec<SessionNo> = self.names.keys().copied().collect();
        for number in sessions {
            self.subscriptions(old, new, number)?;
            self.inbound(old, new, number);
        }
        Ok(())
    }

    /// A number that must not be given to another session, though its own may be lost.
    fn used(&mut self, number: SessionNo) {
        self.state.next_session = self.state.next_session.max(number.next().unwrap_or(number));
    }

    fn name(&self, session: SessionNo) -> String {
        self.names.get(&session).cloned().unwrap_or_else(|| format!("session {session}"))
    }

    fn subscriptions(
        &mut self,
        old: &Connection,
        new: &Connection,
        number: SessionNo,
    ) -> Result<(), StoreError> {
        let mut read = Vec::new();
        // What cannot be read is missing in the count.
        let _ = each(old, "SELECT filter, v FROM sub WHERE sno = ?1", [number.0], &mut |row| {
            read.push((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?));
            Ok(())
        });
        for (filter, sealed) in read {
            if layout::subscription(&sealed, number, &filter).is_none() {
                self.report.subscriptions.push((self.name(number), filter));
                continue;
            }
            insert(
                new,
                "INSERT INTO sub(sno, filter, v) VALUES(?1, ?2, ?3)",
                params![number.0, filter, sealed],
            )
            .map_err(store_error)?;
            self.state.tally(Table::Sub).add(text_key(number.0.into(), filter.as_bytes()));
        }
        Ok(())
    }

    fn inbound(&mut self, old: &Connection, new: &Connection, number: SessionNo) {
        let sql = "SELECT pkid FROM inq2 WHERE sno = ?1";
        let _ = each(old, sql, [number.0], &mut |row| {
            let id: u16 = row.get(0)?;
            insert(new, "INSERT INTO inq2(sno, pkid) VALUES(?1, ?2)", params![number.0, id])?;
            self.state.tally(Table::Inq2).add(number_key(number.0.into(), id.into()));
            Ok(())
        });
    }

    fn cursors(&mut self, old: &Connection, new: &Connection) -> Result<(), StoreError> {
        let sql = "SELECT sno, v FROM cursor WHERE sno BETWEEN ?1 AND ?2 ORDER BY sno";
        each_readable(old, sql, &mut |row| {
            let number = SessionNo(row.get(0)?);
            let sealed: Vec<u8> = row.get(1)?;
            self.cursor_rows += 1;
            self.used(number);
            if !self.names.contains_key(&number) {
                return Ok(());
            }
            let Some(cursor) = layout::cursor(&sealed, number) else {
                self.unknown.insert(number);
                return Ok(());
            };
            self.put_cursor(new, number, &sealed)?;
            self.cursors.insert(number, cursor);
            Ok(())
        })
    }

    fn put_cursor(
        &mut self,
        new: &Connection,
        number: SessionNo,
        sealed: &[u8],
    ) -> rusqlite::Result<()> {
        insert(new, "INSERT INTO cursor(sno, v) VALUES(?1, ?2)", params![number.0, sealed])?;
        self.state.tally(Table::Cursor).add(number_key(number.0.into(), 0));
        Ok(())
    }

    fn messages(&mut self, old: &Connection, new: &Connection) -> Result<(), StoreError> {
        let sql = "SELECT mid, hdr, body FROM msg WHERE mid BETWEEN ?1 AND ?2 ORDER BY mid";
        each_readable(old, sql, &mut |row| {
            let id = MessageId(row.get::<_, i64>(0)?.cast_unsigned());
            let (sealed, body) = (row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(2)?);
            self.state.last = self.state.last.max(id);
            let header = layout::header(id, &sealed);
            for target in header.iter().flat_map(|header| &header.targets) {
                self.used(target.session);
                // Places rise with ids.
                self.last_places.insert(target.session, target.seq);
            }
            let Some(header) = header.filter(|header| layout::body_is_sound(header, &body)) else {
                // Only one of the two may be wrong, and the other one still tell the topic.
                let topic = layout::message(&body, dunlin_codec::Qos::AtMostOnce).map_or_else(
                    || "(not readable)".to_owned(),
                    |message| message.topic.as_str().to_owned(),
                );
                *self.report.topics.entry(topic).or_default() += 1;
                return Ok(());
            };
            for target in &header.targets {
                self.places.entry(target.session).or_default().insert(target.seq);
            }
            insert(
                new,
                "INSERT INTO msg(mid, hdr, body) VALUES(?1, ?2, ?3)",
                params![id.0.cast_signed(), sealed, body],
            )?;
            self.state.tally(Table::Msg).add(number_key(id.0, 0));
            Ok(())
        })
    }

    fn retained(&mut self, old: &Connection, new: &Connection) -> Result<(), StoreError> {
        let sql = "SELECT rowid, ns, topic, num, v FROM retained WHERE rowid BETWEEN ?1 AND ?2 ORDER BY rowid";
        each_readable(old, sql, &mut |row| {
            let namespace = NamespaceNo(row.get(1)?);
            let topic = String::from_utf8_lossy(row.get_ref(2)?.as_bytes().unwrap_or_default())
                .into_owned();
            let (number, sealed): (i64, Vec<u8>) = (row.get(3)?, row.get(4)?);
            if layout::retained(&sealed, namespace, &topic, number.cast_unsigned()).is_none() {
                self.report.retained.push(topic);
                return Ok(());
            }
            insert(
                new,
                "INSERT INTO retained(ns, topic, num, v) VALUES(?1, ?2, ?3, ?4)",
                params![namespace.0, topic, number, sealed],
            )?;
            let next = number.cast_unsigned().saturating_add(1);
            self.state.next_retained = self.state.next_retained.max(next);
            self.state.tally(Table::Retained).add(text_key(namespace.0.into(), topic.as_bytes()));
            Ok(())
        })
    }

    /// A session without a row has acknowledged nothing, unless rows are missing: then it is not known, where its first message
    /// does not stand at the first place.
    fn find_lost_cursors(&mut self) {
        let lost = self.old.map(|mut old| old.tally(Table::Cursor).rows > self.cursor_rows);
        if lost == Some(false) {
            return;
        }
        let known = lost.is_some();
        for &number in self.names.keys().filter(|number| !self.cursors.contains_key(number)) {
            let first = self.places.get(&number).and_then(|places| places.first());
            if first.map_or(known, |first| *first > 1) {
                self.unknown.insert(number);
            }
        }
    }

    /// Places rise without gaps, so that those of lost messages are known: no message stands there, and they are not
    /// acknowledged. Of a session whose cursor is lost too, the places before its first message count as done with.
    fn count_lost_places(&mut self, new: &Connection) -> Result<(), StoreError> {
        self.find_lost_cursors();
        for number in std::mem::take(&mut self.unknown) {
            self.report.cursors.push(self.name(number));
            let first = self.places.get(&number).and_then(|places| places.first().copied());
            let mut cursor = Cursor::default();
            cursor.acknowledge(1, first.unwrap_or(1).saturating_sub(1));
            let mut sealed = Vec::new();
            layout::put_cursor(&mut sealed, number, &cursor);
            self.put_cursor(new, number, &sealed).map_err(store_error)?;
            self.cursors.insert(number, cursor);
        }
        let mut lost = BTreeMap::new();
        let none = BTreeSet::new();
        for (number, last) in &self.last_places {
            if !self.names.contains_key(number) {
                continue;
            }
            let places = self.places.get(number).unwrap_or(&none);
            let cursor = self.cursors.get(number).cloned().unwrap_or_default();
            let from = cursor.acknowledged_through() + 1;
            let here = places.range(from..).filter(|seq| !cursor.is_acknowledged(**seq)).count();
            let done = (from..=*last).filter(|seq| cursor.is_acknowledged(*seq)).count();
            let expected = (last + 1).saturating_sub(from);
            let missing = expected.saturating_sub(here as u64 + done as u64);
            if missing > 0 {
                lost.insert(self.name(*number), missing);
            }
        }
        self.report.messages = lost;
        Ok(())
    }
}

fn insert(new: &Connection, sql: &str, row: impl rusqlite::Params) -> rusqlite::Result<()> {
    new.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

fn each(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    take: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

/// Calls `take` with every row that can be read, in the order of the key in the first column, which `sql` bounds by its
/// two parameters. Behind a row that cannot be read it goes on where the next one can.
fn each_readable(
    old: &Connection,
    sql: &str,
    take: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    // Keys begin at zero.
    let mut from = Some(0);
    while let Some(key) = from {
        let mut last = None;
        let mut failed = None;
        let read = each(old, sql, [key, i64::MAX], &mut |row| {
            last = row.get(0).ok().or(last);
            // What cannot be written is another matter than what cannot be read.
            match take(row) {
                Err(error @ rusqlite::Error::SqliteFailure(..)) => {
                    failed = Some(error);
                    Err(rusqlite::Error::QueryReturnedNoRows)
                }
                _ => Ok(()),
            }
        });
        if let Some(error) = failed {
            return Err(store_error(error));
        }
        if read.is_ok() {
            return Ok(());
        }
        from = match last.map(|last: i64| last.saturating_add(1)) {
            Some(next) if is_readable(old, sql, next) => Some(next),
            next => next_readable(old, sql, next.unwrap_or(key)),
        };
    }
    Ok(())
}

/// Whether the first row from `key` on can be read, or there is none.
fn is_readable(old: &Connection, sql: &str, key: i64) -> bool {
    let mut found = false;
    let read = each(old, sql, [key, i64::MAX], &mut |_| {
        found = true;
        Err(rusqlite::Error::QueryReturnedNoRows)
    });
    found || read.is_ok()
}

/// The lowest key above `bad` from which on rows can be read again. What is close is tried one by one; farther away it steps
/// faster and then back, and an island between two damages may be passed over.
fn next_readable(old: &Connection, sql: &str, bad: i64) -> Option<i64> {
    let (mut low, mut step) = (bad, 1_i64);
    let mut high = loop {
        if low == i64::MAX {
            return None;
        }
        let next = low.saturating_add(step);
        if is_readable(old, sql, next) {
            break next;
        }
        if next - bad > ONE_BY_ONE {
            step = step.saturating_mul(2);
        }
        low = next;
    };
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_readable(old, sql, middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

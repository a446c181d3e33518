//! Everything in the tables, read in one pass and held against its checksums and counts.

use std::collections::HashMap;
use std::iter::Peekable;

use dunlin_codec::{PacketId, Text};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement};

use super::error::{OpenError, store_error};
use super::folder::{Folder, Witness};
use super::index::{Index, Session};
use super::layout;
use super::schema::{FORMAT, State, Table, Tally, number_key, open_failure, text_key};
use super::wal::Tail;
use crate::backend::{MessageHeader, Meta, Report, StoredSession, Visitor};
use crate::cursor::Cursor;
use crate::error::StoreError;
use crate::id::{MessageId, NamespaceNo, SessionNo};
use crate::record::SubscriptionRecord;

/// Bodies up to this size stand beside their heads, so that checking them costs no other page.
pub(super) const SMALL_BODY: i64 = 2_048;
/// Findings that are kept in words. Beyond, they are counted.
const WORDS_MAX: usize = 1_000;

/// What is wrong with a store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Findings {
    /// In words, the first [`WORDS_MAX`] of them.
    pub(super) list: Vec<String>,
    pub(super) count: u64,
}

impl Findings {
    pub(super) fn add(&mut self, what: String) {
        self.count += 1;
        if self.list.len() < WORDS_MAX {
            self.list.push(what);
        }
    }

    /// What is wrong first, and how much else, if anything is.
    pub(super) fn first(self) -> Option<(String, u64)> {
        let what = self.list.into_iter().next()?;
        Some((what, self.count.saturating_sub(1)))
    }
}

/// What a pass over the tables gave.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) index: Index,
    pub(super) report: Report,
    pub(super) findings: Findings,
    /// Messages that nobody waits for.
    pub(super) dead: u64,
    found: State,
}

/// Whether a store may be begun here: nothing was acknowledged yet. Where something was, the database must be there.
/// SQLite would remove the log beside an empty one.
pub(super) fn may_begin(folder: &Folder, witness: &mut Witness) -> Result<bool, OpenError> {
    let Some(witnessed) = witness.read()?.filter(|witnessed| witnessed.0 > 0) else {
        return Ok(true);
    };
    let file = folder.database();
    if std::fs::metadata(&file).is_ok_and(|file| file.len() > 0) {
        return Ok(false);
    }
    let what = format!("it is missing or empty, and commits up to {witnessed} were acknowledged");
    Err(OpenError::Damaged { file, what: what.into(), more: 0 })
}

/// The state that the database has, held against the witness beside it.
pub(super) fn state_beside(
    folder: &Folder,
    connection: &Connection,
    witness: &mut Witness,
    tail: &Tail,
) -> Result<State, OpenError> {
    let file = folder.database();
    let damaged =
        |what: String| OpenError::Damaged { file: file.clone(), what: what.into(), more: 0 };
    let state = State::load(connection).map_err(|error| open_failure(&file, error))?;
    let state =
        state.ok_or_else(|| damaged("the row of its state is missing or wrong".to_owned()))?;
    if let Some(witnessed) = witness.read()?.filter(|witnessed| *witnessed > state.last) {
        let torn = match tail.torn_bytes {
            0 => String::new(),
            bytes => format!(", and {bytes} bytes at the end of its log cannot be read"),
        };
        return Err(damaged(format!(
            "its last commit is {}, and commits up to {witnessed} were acknowledged{torn}",
            state.last
        )));
    }
    Ok(state)
}

/// Reads all tables and shows them to `visitor`.
///
/// Bodies of more than `body_max` bytes are not looked at.
pub(super) fn survey(
    connection: &Connection,
    state: &State,
    body_max: i64,
    visitor: &mut dyn Visitor,
) -> Result<Survey, StoreError> {
    let mut survey = Survey::default();
    survey.report.newest = state.newest;
    visitor.meta(&Meta {
        format: FORMAT,
        clean: state.clean,
        next_message: state.last.next(),
        next_session: state.next_session,
        next_retained: state.next_retained,
    });
    survey.namespaces(connection, visitor)?;
    survey.sessions(connection, visitor)?;
    survey.messages(connection, state, body_max, visitor)?;
    survey.retained(connection, state, visitor)?;
    survey.compare(state);
    Ok(survey)
}

impl Survey {
    fn count(&mut self, table: Table, key: u64) {
        self.found.tally(table).add(key);
    }

    fn namespaces(
        &mut self,
        connection: &Connection,
        visitor: &mut dyn Visitor,
    ) -> Result<(), StoreError> {
        each(connection, "SELECT ns, name FROM namespace ORDER BY ns", |row| {
            let (number, name): (u32, String) = (row.get(0)?, row.get(1)?);
            self.count(Table::Namespace, text_key(number.into(), name.as_bytes()));
            match layout::permissive(&name) {
                Some(name) => visitor.namespace(NamespaceNo(number), &name),
                None => self.findings.add(format!("namespace {number}: its name is no text")),
            }
            Ok(())
        })
    }

    fn sessions(
        &mut self,
        connection: &Connection,
        visitor: &mut dyn Visitor,
    ) -> Result<(), StoreError> {
        let mut cursors = self.cursors(connection)?;
        let mut subs = connection
            .prepare("SELECT sno, filter, v FROM sub ORDER BY sno, filter")
            .map_err(store_error)?;
        let mut subs = Column::new(&mut subs, |row| {
            Ok((SessionNo(row.get(0)?), (row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?)))
        })?;
        let mut inbound = connection
            .prepare("SELECT sno, pkid FROM inq2 ORDER BY sno, pkid")
            .map_err(store_error)?;
        let mut inbound =
            Column::new(&mut inbound, |row| Ok((SessionNo(row.get(0)?), row.get::<_, u16>(1)?)))?;
        each(connection, "SELECT sno, ns, kind, name, v FROM session ORDER BY sno", |row| {
            let number = SessionNo(row.get(0)?);
            let (namespace, name) = (NamespaceNo(row.get(1)?), row.get::<_, String>(3)?);
            self.count(Table::Session, number_key(number.0.into(), 0));
            let key = layout::key(row.get(2)?, &name);
            let sealed = row.get_ref(4)?.as_blob().unwrap_or_default();
            let record =
                key.as_ref().and_then(|key| layout::session(sealed, number, namespace, key));
            let cursor = cursors.remove(&number).unwrap_or_default();
            let subscriptions = self.subscriptions(&mut subs, number, &name)?;
            let inbound = self.inbound(&mut inbound, number)?;
            let (Some(key), Some(record)) = (key, record) else {
                self.findings.add(format!("session {number} of {name:?}: its checksum is wrong"));
                return Ok(());
            };
            self.report.sessions += 1;
            self.report.subscriptions += subscriptions.len() as u64;
            self.index.load(number, Session::new(namespace, key.clone(), cursor.clone()));
            visitor.session(StoredSession {
                session: number,
                namespace,
                key,
                record,
                subscriptions,
                inbound,
                cursor,
            });
            Ok(())
        })?;
        let mut orphans = Vec::new();
        while let Some((number, (filter, _))) = subs.next()? {
            self.count(Table::Sub, text_key(number.0.into(), filter.as_bytes()));
            orphans.push(format!(
                "the subscription of session {number} to {filter:?}: there is no such session"
            ));
        }
        while let Some((number, id)) = inbound.next()? {
            self.count(Table::Inq2, number_key(number.0.into(), id.into()));
            orphans.push(format!(
                "packet identifier {id} of session {number}: there is no such session"
            ));
        }
        orphans.extend(
            cursors
                .keys()
                .map(|number| format!("the cursor of session {number}: there is no such session")),
        );
        orphans.into_iter().for_each(|orphan| self.findings.add(orphan));
        Ok(())
    }

    fn cursors(
        &mut self,
        connection: &Connection,
    ) -> Result<HashMap<SessionNo, Cursor>, StoreError> {
        let mut cursors = HashMap::new();
        each(connection, "SELECT sno, v FROM cursor ORDER BY sno", |row| {
            let number = SessionNo(row.get(0)?);
            self.count(Table::Cursor, number_key(number.0.into(), 0));
            match layout::cursor(row.get_ref(1)?.as_blob().unwrap_or_default(), number) {
                Some(cursor) => {
                    cursors.insert(number, cursor);
                }
                None => self
                    .findings
                    .add(format!("the cursor of session {number}: its checksum is wrong")),
            }
            Ok(())
        })?;
        Ok(cursors)
    }

    fn subscriptions(
        &mut self,
        rows: &mut Column<'_, (SessionNo, (String, Vec<u8>))>,
        session: SessionNo,
        name: &str,
    ) -> rusqlite::Result<Vec<(Text, SubscriptionRecord)>> {
        let mut subscriptions = Vec::new();
        while let Some((number, (filter, sealed))) =
            rows.next_if(|(number, _)| *number <= session)?
        {
            self.count(Table::Sub, text_key(number.0.into(), filter.as_bytes()));
            let record = layout::subscription(&sealed, number, &filter);
            match (layout::permissive(&filter), record) {
                (Some(filter), Some(record)) if number == session => {
                    subscriptions.push((filter, record));
                }
                (Some(_), Some(_)) => self.findings.add(format!(
                    "the subscription of session {number} to {filter:?}: there is no such session"
                )),
                (None, _) | (_, None) => self.findings.add(format!(
                    "the subscription of {name:?} (session {number}) to {filter:?}: its checksum is wrong"
                )),
            }
        }
        Ok(subscriptions)
    }

    fn inbound(
        &mut self,
        rows: &mut Column<'_, (SessionNo, u16)>,
        session: SessionNo,
    ) -> rusqlite::Result<Vec<PacketId>> {
        let mut inbound = Vec::new();
        while let Some((number, id)) = rows.next_if(|(number, _)| *number <= session)? {
            self.count(Table::Inq2, number_key(number.0.into(), id.into()));
            match PacketId::new(id) {
                Some(id) if number == session => inbound.push(id),
                _ => self
                    .findings
                    .add(format!("packet identifier {id} of session {number}: nobody used it")),
            }
        }
        Ok(inbound)
    }

    fn messages(
        &mut self,
        connection: &Connection,
        state: &State,
        body_max: i64,
        visitor: &mut dyn Visitor,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT mid, hdr, CASE WHEN length(body) <= {body_max} THEN body END, length(body) FROM msg ORDER BY mid"
        );
        each(connection, &sql, |row| {
            let id = MessageId(row.get::<_, i64>(0)?.cast_unsigned());
            self.count(Table::Msg, number_key(id.0, 0));
            let sealed = row.get_ref(1)?.as_blob().unwrap_or_default();
            let Some(mut header) = layout::header(id, sealed) else {
                self.findings.add(format!("message {id}: the checksum of its head is wrong"));
                return Ok(());
            };
            let body_len: i64 = row.get(3)?;
            let sound = match row.get_ref(2)? {
                ValueRef::Blob(body) => layout::body_is_sound(&header, body),
                ValueRef::Null => header.body_len == body_len.cast_unsigned(),
                ValueRef::Text(_) | ValueRef::Integer(_) | ValueRef::Real(_) => false,
            };
            if !sound {
                self.findings.add(format!("message {id}: the checksum of its body is wrong"));
                return Ok(());
            }
            if id > state.last {
                self.findings.add(format!("message {id} is above the last commit {}", state.last));
            }
            header.targets.retain(|target| self.index.takes(target.session, target.seq));
            for target in &header.targets {
                self.index.load_place(id, target.session, target.seq);
            }
            let waiting = u32::try_from(header.targets.len()).unwrap_or(u32::MAX);
            self.index.messages.insert(id, waiting);
            if waiting == 0 {
                self.dead += 1;
                return Ok(());
            }
            self.report.messages += 1;
            self.report.targets += u64::from(waiting);
            visitor.message(&MessageHeader {
                id,
                size: header.size,
                qos: header.qos,
                published_at: header.published_at,
                expires_at: header.expires_at,
                publisher: header.publisher,
                targets: &header.targets,
            });
            Ok(())
        })
    }

    fn retained(
        &mut self,
        connection: &Connection,
        state: &State,
        visitor: &mut dyn Visitor,
    ) -> Result<(), StoreError> {
        each(connection, "SELECT ns, topic, num, v FROM retained", |row| {
            let namespace = NamespaceNo(row.get(0)?);
            let topic = row.get_ref(1)?.as_bytes().unwrap_or_default();
            self.count(Table::Retained, text_key(namespace.0.into(), topic));
            let number = row.get::<_, i64>(2)?.cast_unsigned();
            let sealed = row.get_ref(3)?.as_blob().unwrap_or_default();
            let name = std::str::from_utf8(topic);
            let record =
                name.ok().and_then(|name| layout::retained(sealed, namespace, name, number));
            match record {
                Some(record) if number < state.next_retained => {
                    self.report.retained += 1;
                    visitor.retained(record);
                }
                _ => {
                    let topic = String::from_utf8_lossy(topic);
                    self.findings
                        .add(format!("the retained message of {topic:?}: its checksum is wrong"));
                }
            }
            Ok(())
        })
    }

    /// What is there against what should be.
    fn compare(&mut self, state: &State) {
        let mut expected = *state;
        for table in Table::ALL {
            let (wanted, found): (Tally, Tally) =
                (*expected.tally(table), *self.found.tally(table));
            if wanted == found {
                continue;
            }
            let name = table.name();
            self.findings.add(if wanted.rows == found.rows {
                format!(
                    "table {name}: some of its {} rows are not those that were written",
                    found.rows
                )
            } else {
                format!("table {name}: it has {} rows and should have {}", found.rows, wanted.rows)
            });
        }
    }
}

/// Calls `take` with each row.
fn each(
    connection: &Connection,
    sql: &str,
    mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare(sql).map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
    while let Some(row) = rows.next().map_err(store_error)? {
        take(row).map_err(store_error)?;
    }
    Ok(())
}

type Mapped<'s, T> = Box<dyn Iterator<Item = rusqlite::Result<T>> + 's>;

/// Rows that are read beside those of another table, in the same order.
struct Column<'s, T>(Peekable<Mapped<'s, T>>);

impl<'s, T: 's> Column<'s, T> {
    fn new(
        statement: &'s mut Statement<'_>,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T> + 's,
    ) -> Result<Self, StoreError> {
        let rows = statement.query_map([], map).map_err(store_error)?;
        Ok(Self((Box::new(rows) as Mapped<'s, T>).peekable()))
    }

    fn next(&mut self) -> Result<Option<T>, StoreError> {
        self.0.next().transpose().map_err(store_error)
    }

    fn next_if(&mut self, want: impl Fn(&T) -> bool) -> rusqlite::Result<Option<T>> {
        self.0.next_if(|row| row.as_ref().map_or(true, &want)).transpose()
    }
}

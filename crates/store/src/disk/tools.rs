//! What an operator does with a store: look whether it is sound, mend it, see its sizes, copy it.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::OpenError;
use super::folder::{self, Folder};
use super::salvage::{Nobody, Salvaged, complete, salvage_if_damaged, unplaced};
use super::schema::{self, PAGE_BYTES, State, Table, Writer, open_failure, open_reader};
use super::survey::{Findings, may_begin, state_beside, survey};
use super::wal;
use crate::backend::Report;

/// Where a copy is made.
const WORK: &str = "copying";

/// What [`check`] found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Checked {
    /// The database.
    pub file: PathBuf,
    /// What is in it.
    pub report: Report,
    /// Messages that nobody waits for, and whose rows are still to be removed.
    pub dead: u64,
    /// Bytes at the end of the log that belong to no whole commit: nothing of it was acknowledged.
    pub torn_bytes: u64,
    /// What is wrong, in words; the first thousand.
    pub findings: Vec<String>,
    /// How much is wrong.
    pub wrong: u64,
}

impl Checked {
    /// Whether everything is as it was written.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.wrong == 0
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{}: {finding}", self.file.display())?;
        }
        let shown = self.findings.len() as u64;
        if self.wrong > shown {
            writeln!(f, "and {} more", self.wrong - shown)?;
        }
        let Report { sessions, subscriptions, messages, targets, retained, .. } = self.report;
        writeln!(
            f,
            "{sessions} sessions, {subscriptions} subscriptions, {messages} messages at {targets} places, {retained} \
             retained messages, {} messages to be removed",
            self.dead
        )?;
        if self.torn_bytes > 0 {
            writeln!(
                f,
                "{} bytes at the end of the log belong to no whole commit and are cut off at the next start; nothing of \
                 it was acknowledged",
                self.torn_bytes
            )?;
        }
        match self.wrong {
            0 => writeln!(f, "the store is sound"),
            wrong => writeln!(f, "the store is damaged: {wrong} findings"),
        }
    }
}

/// Reads all of a store that nobody uses, every payload too, and holds it against its checksums and counts.
///
/// # Errors
/// When it cannot be read for another reason than damage, or is in use.
pub fn check(folder: &Path) -> Result<Checked, OpenError> {
    let folder = existing(folder)?;
    let file = folder.database();
    let tail = wal::inspect(&folder.wal())
        .map_err(|error| OpenError::Folder { path: folder.wal(), error })?;
    let mut checked =
        Checked { file: file.clone(), torn_bytes: tail.torn_bytes, ..Checked::default() };
    let mut findings = Findings::default();
    let mut look = || {
        let mut witness = folder.witness()?;
        let writer = Writer::open(&file, may_begin(&folder, &mut witness)?)?;
        let pages = integrity(&writer.connection).map_err(|error| open_failure(&file, error))?;
        pages.into_iter().for_each(|page| findings.add(page));
        let state = state_beside(&folder, &writer.connection, &mut witness, &tail)?;
        survey(&writer.connection, &state, i64::MAX, &mut Nobody)
            .map_err(|error| OpenError::store(&file, error))
    };
    match look() {
        Ok(survey) => {
            checked.report = survey.report;
            checked.dead = survey.dead;
            findings.count += survey.findings.count;
            findings.list.extend(survey.findings.list);
        }
        Err(OpenError::Damaged { what, .. }) => findings.add(what.into()),
        Err(error) => return Err(error),
    }
    checked.wrong = findings.count;
    checked.findings = findings.list;
    Ok(checked)
}

/// What SQLite finds wrong with the pages.
fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check(100)")?;
    let lines = statement.query_map([], |row| row.get(0))?;
    let lines: Vec<String> = lines.collect::<rusqlite::Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// Puts a damaged store aside and keeps what is sound of it; none if all of it is.
///
/// # Errors
/// When it is in use, or the new store cannot be written.
pub fn repair(folder: &Path) -> Result<Option<Salvaged>, OpenError> {
    salvage_if_damaged(&existing(folder)?)
}

fn existing(folder: &Path) -> Result<Folder, OpenError> {
    if !folder::database(folder).exists() && unplaced(folder).is_none() {
        return Err(OpenError::Missing { path: folder.to_owned() });
    }
    let folder = Folder::open(folder)?;
    complete(&folder)?;
    Ok(folder)
}

/// What a store holds and takes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The database.
    pub file: PathBuf,
    /// The version of its format.
    pub format: u32,
    /// The number of its last commit.
    pub last: u64,
    /// Whether it was closed in order; `false` while it is in use.
    pub clean: bool,
    /// Its tables and their rows.
    pub rows: Vec<(&'static str, u64)>,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// Bytes of it that hold nothing.
    pub free_bytes: u64,
    /// Bytes of its log.
    pub wal_bytes: u64,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "file: {}", self.file.display())?;
        writeln!(f, "format: {}", self.format)?;
        writeln!(f, "last commit: {}", self.last)?;
        writeln!(f, "closed in order: {}", if self.clean { "yes" } else { "no" })?;
        for (table, rows) in &self.rows {
            writeln!(f, "{table}: {rows}")?;
        }
        writeln!(f, "database bytes: {}", self.database_bytes)?;
        writeln!(f, "free bytes: {}", self.free_bytes)?;
        writeln!(f, "log bytes: {}", self.wal_bytes)
    }
}

/// The sizes of a store, which may be in use.
///
/// # Errors
/// When it cannot be read, or its state is damaged.
pub fn stats(folder: &Path) -> Result<Stats, OpenError> {
    let file = folder::database(folder);
    if !file.exists() {
        return Err(OpenError::Missing { path: folder.to_owned() });
    }
    let failed = |error| open_failure(&file, error);
    let connection = open_reader(&file).map_err(failed)?;
    let format = schema::format(&connection).map_err(failed)?.unwrap_or(0);
    let mut state =
        State::load(&connection).map_err(failed)?.ok_or_else(|| OpenError::Damaged {
            file: file.clone(),
            what: "the row of its state is missing or wrong".into(),
            more: 0,
        })?;
    let pages = |name: &str| {
        connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0)).map_err(failed)
    };
    Ok(Stats {
        format,
        last: state.last.0,
        clean: state.clean,
        rows: Table::ALL.iter().map(|table| (table.name(), state.tally(*table).rows)).collect(),
        database_bytes: pages("page_count")? * PAGE_BYTES,
        free_bytes: pages("freelist_count")? * PAGE_BYTES,
        wal_bytes: fs::metadata(folder::wal(folder)).map_or(0, |file| file.len()),
        file,
    })
}

/// What [`backup`] made.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BackedUp {
    /// Where it is.
    pub folder: PathBuf,
    /// The number of its last commit.
    pub last: u64,
    /// What is in it.
    pub report: Report,
    /// Its bytes.
    pub bytes: u64,
}

impl fmt::Display for BackedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { sessions, messages, retained, .. } = self.report;
        writeln!(
            f,
            "{}: {sessions} sessions, {messages} messages, {retained} retained messages, {} bytes, up to commit {}; \
             read once more and sound",
            self.folder.display(),
            self.bytes,
            self.last
        )
    }
}

/// Copies a store, which may be in use, as it is at one moment, and reads the copy once more. The copy is a data directory
/// of its own.
///
/// # Errors
/// When the store cannot be read, or the copy not written; or `to` holds a store already.
pub fn backup(folder: &Path, to: &Path) -> Result<BackedUp, OpenError> {
    let file = folder::database(folder);
    if !file.exists() {
        return Err(OpenError::Missing { path: folder.to_owned() });
    }
    let copy = Folder::open(to)?;
    if copy.database().exists() {
        return Err(OpenError::NotEmpty { path: to.to_owned() });
    }
    // It gets its name when it is whole and sound, so that nobody takes a part of one for a backup.
    let work = to.join(WORK);
    let failed = |error| OpenError::Folder { path: work.clone(), error };
    if work.exists() {
        fs::remove_dir_all(&work).map_err(failed)?;
    }
    folder::make(&work).map_err(failed)?;
    let made = copy_into(&file, &work).and_then(|(state, report)| {
        let target = copy.database();
        copy.witness()?.write(state.last).map_err(failed)?;
        fs::rename(folder::database(&work), &target)
            .and_then(|()| folder::sync_folder(to))
            .map_err(failed)?;
        let bytes = fs::metadata(&target).map_or(0, |file| file.len());
        Ok(BackedUp { folder: to.to_owned(), last: state.last.0, report, bytes })
    });
    let removed = fs::remove_dir_all(&work).map_err(failed);
    made.and_then(|made| removed.map(|()| made))
}

/// Copies a database into a directory, and reads the copy.
fn copy_into(file: &Path, work: &Path) -> Result<(State, Report), OpenError> {
    let target = folder::database(work);
    let connection = open_reader(file).map_err(|error| open_failure(file, error))?;
    let name = target.to_str().ok_or_else(|| OpenError::Folder {
        path: target.clone(),
        error: std::io::Error::other("its name is no text"),
    })?;
    // SQLite writes into an empty file, which is readable by its owner only.
    folder::make_database(work)?;
    // It writes another file, but it is a write.
    let writes = connection.pragma_update(None, "query_only", false);
    writes.map_err(|error| open_failure(file, error))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| open_failure(&target, error))?;
    drop(connection);
    let unsynced = |error| OpenError::Folder { path: target.clone(), error };
    File::open(&target).and_then(|file| file.sync_all()).map_err(unsynced)?;
    let writer = Writer::open(&target, false)?;
    let state = State::load(&writer.connection)
        .map_err(|error| open_failure(&target, error))?
        .ok_or_else(|| OpenError::Damaged {
            file: target.clone(),
            what: "the row of its state is missing or wrong".into(),
            more: 0,
        })?;
    let seen = survey(&writer.connection, &state, i64::MAX, &mut Nobody)
        .map_err(|error| OpenError::store(&target, error))?;
    if let Some((what, more)) = seen.findings.first() {
        return Err(OpenError::Damaged { file: target, what: what.into(), more });
    }
    writer.merge().map_err(|error| open_failure(&target, error))?;
    folder::sync_folder(work).map_err(unsynced)?;
    Ok((state, seen.report))
}

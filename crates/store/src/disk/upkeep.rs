//! What is done between commits: cursors that wait, checkpoints, rows that nobody waits for, room given back, the witness.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::params;

use super::error::store_error;
use super::messages::Runs;
use super::schema::{BUSY_WAIT, PAGE_BYTES};
use super::{DiskStore, Progress};
use crate::backend::Room;
use crate::error::StoreError;
use crate::id::MessageId;

/// Pages written to the log from which on they are moved into the database: a quarter of the ballast, within these bounds.
const WAL_PAGES: (u64, u64) = (256, 4_000);
/// What a page takes in the log.
const FRAME_BYTES: u64 = PAGE_BYTES + 24;
/// How many times that may be in the log before readers are waited for, a little, so that it can begin anew.
const WAL_ROUNDS: u32 = 3;
/// How long readers are waited for.
const READERS_WAIT: Duration = Duration::from_millis(50);
/// How long a cursor may wait for a commit that it can go with.
const CURSOR_WAIT: Duration = Duration::from_millis(50);
/// Rows removed in one step, where nobody waits and where somebody does.
const REMOVED_IDLE: usize = 4_096;
const REMOVED_BUSY: usize = 1_024;
/// From one look for rows to be removed that found none to the next, while there is work: it passes all blocks by.
const DEAD_EVERY: Duration = Duration::from_millis(10);
/// Free pages given back in one step.
const PAGES_PER_STEP: u32 = 256;
/// Steps of giving back room in one call, where nobody waits.
const IDLE_STEPS: usize = 4;
/// From one look at the sizes to the next.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// From one try to take the ballast back to the next.
const BALLAST_EVERY: Duration = Duration::from_secs(2);
/// How often the witness is written.
const WITNESS_EVERY: Duration = Duration::from_secs(1);

/// What is to be done, and since when.
#[derive(Debug)]
pub(super) struct Upkeep {
    progress: Progress,
    /// When something was first written without being synced.
    unsynced_since: Option<Instant>,
    /// When cursors were last written.
    noted_at: Instant,
    /// Pages written to the log from which on they are moved into the database.
    wal_pages_max: u32,
    /// Pages of the log when it was last moved into the database.
    moved_pages: u32,
    witnessed_at: Instant,
    looked_at: Option<Instant>,
    /// When no row was found that is to be removed.
    dead_looked_at: Option<Instant>,
    /// Whether the ballast was given up, or never there: new messages are refused.
    ballast_gone: bool,
    ballast_tried: Option<Instant>,
    /// Bytes in use in the database, as last seen.
    used: u64,
    free_pages: u64,
    disk_free: u64,
    wal_bytes: u64,
    full: bool,
    /// Whether it is the disk that has no room, not the store's own bound.
    short: bool,
}

impl Upkeep {
    pub(super) fn new(last: MessageId, ballast_bytes: u64, ballast_gone: bool) -> Self {
        let (least, most) = WAL_PAGES;
        let pages = (ballast_bytes / 4 / PAGE_BYTES).clamp(least, most);
        Self {
            wal_pages_max: u32::try_from(pages).unwrap_or(u32::MAX),
            progress: Progress { synced: last, witnessed: last },
            unsynced_since: None,
            noted_at: Instant::now(),
            moved_pages: 0,
            witnessed_at: Instant::now(),
            looked_at: None,
            dead_looked_at: None,
            ballast_gone,
            ballast_tried: None,
            used: 0,
            free_pages: 0,
            disk_free: u64::MAX,
            wal_bytes: 0,
            full: false,
            short: false,
        }
    }
}

impl DiskStore {
    /// A commit has succeeded.
    pub(super) fn committed(&mut self, synced: bool) {
        if synced {
            // All that was written to the log before is synced with it.
            self.upkeep.progress.synced = self.state.last;
            self.upkeep.unsynced_since = None;
        } else {
            self.upkeep.unsynced_since.get_or_insert_with(Instant::now);
        }
    }

    /// Cursors are in the transaction under way.
    pub(super) fn noted(&mut self) {
        self.upkeep.noted_at = Instant::now();
    }

    /// Does a little; says when it wants to be called again if nothing comes.
    pub(super) fn keep_up(
        &mut self,
        idle: bool,
        now: Instant,
    ) -> Result<Option<Duration>, StoreError> {
        self.mind_log()?;
        self.bear_witness(now)?;
        let due = self.upkeep.unsynced_since.is_some_and(|since| {
            now.saturating_duration_since(since) >= self.options.sync_interval
        });
        // Where nothing but acknowledgements comes, no commit takes the cursors along.
        let late = now.saturating_duration_since(self.upkeep.noted_at) >= CURSOR_WAIT;
        if due || (idle || late) && self.index.has_dirty() {
            self.note_all(due)?;
        }
        let mut busy = self.remove_dead(idle, now)?;
        busy |= self.shrink(idle)?;
        let looked = self.upkeep.looked_at;
        if looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_EVERY) {
            self.upkeep.looked_at = Some(now);
            self.refresh_status();
        }
        self.mind_ballast(now);
        Ok(self.next_look(busy))
    }

    /// How long until something is due.
    fn next_look(&self, busy: bool) -> Option<Duration> {
        let upkeep = &self.upkeep;
        let witness = upkeep.progress.witnessed < upkeep.progress.synced;
        if busy {
            Some(Duration::from_millis(1))
        } else if self.index.has_dirty() {
            Some(CURSOR_WAIT)
        } else if upkeep.unsynced_since.is_some() {
            Some(self.options.sync_interval.min(LOOK_EVERY))
        } else if upkeep.full || upkeep.ballast_gone || self.index.messages.has_dead() {
            Some(LOOK_EVERY)
        } else if witness {
            Some(WITNESS_EVERY)
        } else {
            None
        }
    }

    /// Writes the cursors that wait, without anybody waiting for it; `sync` makes all that was written durable.
    fn note_all(&mut self, sync: bool) -> Result<(), StoreError> {
        self.upkeep_transaction(sync, |store| {
            let max = store.options.cursors_per_commit;
            store.flush_cursors(max)
        })?;
        Ok(())
    }

    /// A transaction of the store's own; whether it was committed. That there is no room for it is no failure: it is tried
    /// again.
    fn upkeep_transaction(
        &mut self,
        sync: bool,
        act: impl FnOnce(&mut Self) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        self.index.begin();
        let before = self.state;
        let done = self.try_upkeep(sync, act);
        match done {
            Ok(()) => {
                self.index.keep();
                Ok(true)
            }
            Err(error) => {
                if !self.writer.connection.is_autocommit() {
                    let _ = self.writer.connection.execute_batch("ROLLBACK");
                }
                self.index.take_back();
                self.state = before;
                if error.is_fatal() {
                    return Err(error);
                }
                self.found_full();
                Ok(false)
            }
        }
    }

    fn try_upkeep(
        &mut self,
        sync: bool,
        act: impl FnOnce(&mut Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.writer.sync_commits(sync).map_err(store_error)?;
        self.execute("BEGIN IMMEDIATE")?;
        act(self)?;
        self.store_state()?;
        self.execute("COMMIT")?;
        self.committed(sync);
        Ok(())
    }

    // ---- The log ----

    /// Moves the log into the database when there is enough in it. A start does so before anybody waits for a commit: the
    /// log may have grown behind a reader that took long.
    pub(super) fn mind_log(&mut self) -> Result<(), StoreError> {
        let pages = self.writer.wal_pages.load(Ordering::Relaxed);
        // Where it holds fewer than were moved last, it has begun anew.
        if pages < self.upkeep.moved_pages {
            self.upkeep.moved_pages = 0;
        }
        let most = self.upkeep.wal_pages_max;
        if pages - self.upkeep.moved_pages >= most {
            self.checkpoint(pages >= most * WAL_ROUNDS)?;
            self.upkeep.moved_pages = pages;
        }
        Ok(())
    }

    /// Moves the log into the database. Unlike SQLite's own checkpoints it hears of errors: what a disk failed to sync once
    /// it may report as synced the next time.
    fn checkpoint(&mut self, wait: bool) -> Result<(), StoreError> {
        let connection = &self.writer.connection;
        let moved: rusqlite::Result<()> = if wait {
            let patience = |time| connection.busy_timeout(time);
            patience(READERS_WAIT)
                .and_then(|()| {
                    connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
                })
                .and_then(|()| patience(BUSY_WAIT))
        } else {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        };
        match moved.map_err(store_error) {
            Err(StoreError::Full) => {
                self.found_full();
                Ok(())
            }
            moved => moved,
        }
    }

    fn bear_witness(&mut self, now: Instant) -> Result<(), StoreError> {
        let upkeep = &mut self.upkeep;
        if upkeep.progress.witnessed < upkeep.progress.synced
            && now.saturating_duration_since(upkeep.witnessed_at) >= WITNESS_EVERY
        {
            upkeep.witnessed_at = now;
            upkeep.progress.witnessed = upkeep.progress.synced;
            self.witness.write(upkeep.progress.synced)?;
        }
        Ok(())
    }

    // ---- Rows and room ----

    /// Removes rows that nobody waits for, where their cursors are written; whether there may be more.
    fn remove_dead(&mut self, idle: bool, now: Instant) -> Result<bool, StoreError> {
        let looked = self.upkeep.dead_looked_at;
        let rests = looked.is_some_and(|at| now.saturating_duration_since(at) < DEAD_EVERY);
        if !self.index.messages.has_dead() || rests && !idle {
            return Ok(false);
        }
        let pressed = self.upkeep.full;
        let written_below = self.index.written_below();
        let runs = self.index.messages.dead(
            if idle { REMOVED_IDLE } else { REMOVED_BUSY },
            written_below,
            self.state.last.0,
            idle || pressed,
        );
        if runs.is_empty() {
            self.upkeep.dead_looked_at = Some(now);
            return Ok(false);
        }
        let removed = self.upkeep_transaction(false, |store| store.delete(&runs))?;
        if removed {
            self.index.messages.removed(&runs);
        }
        Ok(removed)
    }

    fn delete(&mut self, runs: &Runs) -> Result<(), StoreError> {
        let mut statement = self
            .writer
            .connection
            .prepare_cached("DELETE FROM msg WHERE mid BETWEEN ?1 AND ?2")
            .map_err(store_error)?;
        for &(first, last) in runs {
            statement
                .execute(params![first.cast_signed(), last.cast_signed()])
                .map_err(store_error)?;
        }
        drop(statement);
        let index = &self.index;
        let dead = runs.iter().flat_map(|&(first, last)| first..=last);
        self.state.forget_messages(dead.filter(|&id| index.messages.is_dead(id)));
        Ok(())
    }

    /// Makes the file smaller if much of it is free; whether there may be more to do.
    fn shrink(&mut self, idle: bool) -> Result<bool, StoreError> {
        // What is free in the file is no room on the disk, and only that ends the state of being full.
        let most = if self.upkeep.short { 0 } else { self.options.free_bytes_max / PAGE_BYTES };
        let free = self.upkeep.free_pages;
        // While there is work, free room will be used again: only what is far too much is given back then.
        if free <= most || !idle && free <= most * 4 {
            return Ok(false);
        }
        let steps = if idle { IDLE_STEPS } else { 1 };
        for _ in 0..steps {
            let given = self.upkeep_transaction(false, |store| {
                let sql = format!("PRAGMA incremental_vacuum({PAGES_PER_STEP})");
                let mut statement =
                    store.writer.connection.prepare_cached(&sql).map_err(store_error)?;
                let mut rows = statement.query([]).map_err(store_error)?;
                while rows.next().map_err(store_error)?.is_some() {}
                Ok(())
            })?;
            if !given {
                // There is no room for it in the log. At the next look it is tried again.
                self.upkeep.free_pages = 0;
                return Ok(false);
            }
        }
        let given = u64::from(PAGES_PER_STEP) * steps as u64;
        self.upkeep.free_pages = free.saturating_sub(given);
        if self.upkeep.free_pages <= most {
            // Only a checkpoint makes the file smaller.
            self.checkpoint(false)?;
        }
        Ok(true)
    }

    /// Looks at the sizes.
    pub(super) fn refresh_status(&mut self) {
        let connection = &self.writer.connection;
        let number = |sql: &str| {
            connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.query_row([], |row| row.get::<_, u64>(0)))
                .unwrap_or(0)
        };
        let (pages, free) = (number("PRAGMA page_count"), number("PRAGMA freelist_count"));
        let len = |path| fs::metadata(path).map_or(0, |file| file.len());
        let wal = len(self.folder.wal());
        self.upkeep.free_pages = free;
        self.upkeep.used = pages.saturating_sub(free) * PAGE_BYTES;
        self.upkeep.disk_free = self.folder.free();
        self.upkeep.wal_bytes = wal;
        let status = &self.status;
        let ballast = if self.upkeep.ballast_gone { 0 } else { self.options.ballast_bytes };
        let bytes = len(self.folder.database()) + wal + ballast;
        status.bytes.store(bytes, Ordering::Relaxed);
        status.wal_bytes.store(wal, Ordering::Relaxed);
        status.free_bytes.store(free * PAGE_BYTES, Ordering::Relaxed);
        status.messages.store(self.index.messages.rows(), Ordering::Relaxed);
    }

    /// Whether new messages are taken. A store that was full takes them again when a twentieth of its bound is free, or
    /// three times the ballast.
    pub(super) fn room_now(&mut self) -> Room {
        let upkeep = &mut self.upkeep;
        let ballast = self.options.ballast_bytes;
        let over = |margin: u64| {
            self.options
                .max_bytes
                .is_some_and(|max| upkeep.used >= max.saturating_sub(max / 20 * margin))
        };
        let was = upkeep.full;
        // What is free in the database is room too; but the log must find its own, and what it holds another in the database.
        let free = upkeep.disk_free.saturating_add(upkeep.free_pages * PAGE_BYTES);
        let round = u64::from(upkeep.wal_pages_max) * FRAME_BYTES;
        let log = upkeep.disk_free.saturating_add(upkeep.wal_bytes.min(round));
        let short = free < ballast.saturating_mul(if was { 3 } else { 2 }) || log < round * 2;
        upkeep.full = upkeep.ballast_gone || over(u64::from(was)) || short;
        upkeep.short = upkeep.ballast_gone || short;
        if upkeep.full && !was {
            self.status.times_full.fetch_add(1, Ordering::Relaxed);
        }
        self.status.full.store(u64::from(upkeep.full), Ordering::Relaxed);
        if upkeep.full { Room::NoMessages } else { Room::All }
    }

    /// A write found no room: the ballast goes, so that what frees room can be written.
    pub(super) fn found_full(&mut self) {
        if !self.upkeep.ballast_gone {
            self.upkeep.ballast_gone = true;
            // Without it there is no more room than before, which the next write finds.
            let _ = self.folder.drop_ballast();
        }
        self.upkeep.ballast_tried = Some(Instant::now());
        self.refresh_status();
    }

    /// A message takes so much more, until the sizes are looked at again.
    pub(super) fn grew(&mut self, bytes: usize) {
        self.upkeep.used = self.upkeep.used.saturating_add(bytes as u64);
    }

    /// Takes the ballast back when there is room for it twice.
    fn mind_ballast(&mut self, now: Instant) {
        let upkeep = &mut self.upkeep;
        let tried = upkeep.ballast_tried;
        if !upkeep.ballast_gone
            || tried.is_some_and(|at| now.saturating_duration_since(at) < BALLAST_EVERY)
        {
            return;
        }
        upkeep.ballast_tried = Some(now);
        let bytes = self.options.ballast_bytes;
        if self.folder.free() >= bytes.saturating_mul(2) && self.folder.take_ballast(bytes).is_ok()
        {
            upkeep.ballast_gone = false;
            upkeep.disk_free = self.folder.free();
        }
    }

    /// Writes all cursors that wait.
    pub(super) fn write_cursors_out(&mut self) -> Result<(), StoreError> {
        self.whole_transaction(|store| store.flush_cursors(usize::MAX))
    }

    /// Notes that the store is in use, so that only an end in order makes it clean again.
    pub(super) fn mark_open(&mut self) -> Result<(), StoreError> {
        self.whole_transaction(|store| {
            store.state.clean = false;
            Ok(())
        })
    }

    /// Writes everything that waits, and that the store is left in order.
    pub(super) fn write_all_out(&mut self) -> Result<(), StoreError> {
        self.whole_transaction(|store| {
            store.state.clean = true;
            store.flush_cursors(usize::MAX)
        })?;
        self.witness.write(self.state.last)?;
        let truncated: rusqlite::Result<()> =
            self.writer.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        truncated.map_err(store_error)
    }

    /// A synced transaction that must succeed; on a full disk with the room of the ballast.
    fn whole_transaction(
        &mut self,
        act: impl Fn(&mut Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if self.upkeep_transaction(true, &act)? || self.upkeep_transaction(true, &act)? {
            return Ok(());
        }
        Err(StoreError::Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Store as _;
    use crate::disk::DiskOptions;

    /// A store of which some pages are free.
    fn with_free_pages(folder: &std::path::Path) -> DiskStore {
        let options = DiskOptions { ballast_bytes: 1, ..DiskOptions::default() };
        let mut store = DiskStore::open(folder, options).unwrap();
        let sql = "INSERT INTO msg VALUES(1, x'', zeroblob(4000000)); DELETE FROM msg;";
        store.writer.connection.execute_batch(sql).unwrap();
        store.refresh_status();
        assert!(store.upkeep.free_pages > 900, "{:?}", store.upkeep);
        store
    }

    #[test]
    fn a_full_disk_gets_back_all_that_is_free_in_the_file() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut store = with_free_pages(folder.path());
        assert!(!store.shrink(true).unwrap(), "it is kept, to be used again");
        store.upkeep.disk_free = 0;
        assert_eq!(store.room(), Room::NoMessages);
        while store.shrink(false).unwrap() {}
        store.refresh_status();
        assert_eq!(store.upkeep.free_pages, 0);
        assert_eq!(store.room(), Room::All);
        assert!(fs::metadata(store.file()).unwrap().len() < 1 << 20);
    }
}

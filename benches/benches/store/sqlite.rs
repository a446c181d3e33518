//! `rusqlite` as it is used most: a row for each message in each queue, one transaction for each group. With a write-ahead
//! log that is synced at each commit, but not at those that take messages out.

use std::path::Path;

use dunlin_benches::queues::{GROUP, SESSIONS, TOPIC, number_in, payload};
use rusqlite::{Connection, params};

use crate::{Contents, Retained, Store};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS queue(session INTEGER NOT NULL, seq INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
                                 PRIMARY KEY(session, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retained(topic TEXT PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;
";

pub(crate) type OnDisk = Sqlite<true>;
pub(crate) type InMemory = Sqlite<false>;

pub(crate) struct Sqlite<const ON_DISK: bool> {
    connection: Connection,
    /// The next place in each queue.
    next: Vec<u64>,
}

impl<const ON_DISK: bool> Sqlite<ON_DISK> {
    /// Whether commits are waited for; a file's only.
    fn synchronous(&self, level: &str) {
        if ON_DISK {
            self.connection
                .pragma_update(None, "synchronous", level)
                .expect("between transactions");
        }
    }

    fn read(&self, session: u32, limit: usize) -> Vec<(u64, u64)> {
        let sql = "SELECT seq, topic, payload FROM queue WHERE session = ?1 ORDER BY seq LIMIT ?2";
        let mut select = self.connection.prepare_cached(sql).expect("valid");
        let rows = select.query_map(params![session, limit], |row| {
            let topic: String = row.get(1)?;
            assert_eq!(topic, TOPIC);
            let payload: Vec<u8> = row.get(2)?;
            Ok((row.get(0)?, number_in(&payload).expect("whole")))
        });
        rows.expect("readable").map(|row| row.expect("readable")).collect()
    }
}

impl<const ON_DISK: bool> Store for Sqlite<ON_DISK> {
    const NAME: &'static str = "rusqlite";
    const IS_DURABLE: bool = ON_DISK;

    fn open(folder: &Path) -> Self {
        let connection = if ON_DISK {
            let connection = Connection::open(folder.join("rows.sqlite3")).expect("a file");
            connection.pragma_update(None, "journal_mode", "WAL").expect("a file may have one");
            connection.pragma_update(None, "cache_size", -65_536).expect("a number");
            connection
        } else {
            Connection::open_in_memory().expect("memory")
        };
        connection.execute_batch(TABLES).expect("tables");
        let next = (0..SESSIONS)
            .map(|session| {
                let sql = "SELECT coalesce(max(seq) + 1, 1) FROM queue WHERE session = ?1";
                connection.query_row(sql, [session], |row| row.get(0)).expect("readable")
            })
            .collect();
        let store = Self { connection, next };
        store.synchronous("FULL");
        store
    }

    fn enqueue(&mut self, numbers: &[u64], sessions: u32) {
        let transaction = self.connection.transaction().expect("nobody else writes");
        {
            let sql = "INSERT INTO queue VALUES(?1, ?2, ?3, ?4)";
            let mut insert = transaction.prepare_cached(sql).expect("valid");
            for number in numbers {
                let payload = payload(*number);
                for (session, seq) in (0..sessions).zip(&mut self.next) {
                    insert.execute(params![session, *seq, TOPIC, payload]).expect("there is room");
                    *seq += 1;
                }
            }
        }
        transaction.commit().expect("durable");
    }

    fn take(&mut self, session: u32) -> Vec<u64> {
        let rows = self.read(session, GROUP);
        if let Some((last, _)) = rows.last() {
            self.synchronous("NORMAL");
            let sql = "DELETE FROM queue WHERE session = ?1 AND seq <= ?2";
            let mut delete = self.connection.prepare_cached(sql).expect("valid");
            delete.execute(params![session, last]).expect("written");
            self.synchronous("FULL");
        }
        rows.into_iter().map(|(_, number)| number).collect()
    }

    fn retain(&mut self, messages: &[(String, u64)]) {
        let transaction = self.connection.transaction().expect("nobody else writes");
        {
            let sql = "INSERT OR REPLACE INTO retained VALUES(?1, ?2)";
            let mut insert = transaction.prepare_cached(sql).expect("valid");
            for (topic, number) in messages {
                insert.execute(params![topic, payload(*number)]).expect("there is room");
            }
        }
        transaction.commit().expect("durable");
    }

    fn contents(&mut self) -> Contents {
        let numbers = |session| {
            let rows = self.read(session, 1_000_000);
            rows.into_iter().map(|(_, number)| number).collect()
        };
        (0..SESSIONS).map(numbers).collect()
    }

    fn retained(&mut self) -> Retained {
        let mut select =
            self.connection.prepare("SELECT topic, payload FROM retained").expect("valid");
        let rows = select.query_map([], |row| {
            let payload: Vec<u8> = row.get(1)?;
            Ok((row.get(0)?, number_in(&payload).expect("whole")))
        });
        rows.expect("readable").map(|row| row.expect("readable")).collect()
    }
}

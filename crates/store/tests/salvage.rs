//! What is kept of a store of which pages are gone, and what the list of losses says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::Path;

use dunlin_store::disk::{Salvaged, check, repair};
use dunlin_store::{Batch, Change, DiskStore, Durability, MessageId, SessionNo, Store};
use rusqlite::Connection;
use tempfile::TempDir;

use support::subject::options;
use support::{Snapshot, open, publication, target};

const PAGE: usize = 4_096;
const MESSAGES: u64 = 300;

/// A session with messages, some to a page, of which the first ten are acknowledged.
fn closed(folder: &Path) {
    let mut store = DiskStore::open(folder, options()).unwrap();
    Snapshot::of(&mut store);
    let mut batch = Batch::new(MessageId::FIRST);
    for number in 1..=3 {
        batch.push(open(SessionNo(number), &format!("client-{number}")));
    }
    for seq in 1..=MESSAGES {
        let payload = format!("payload-{seq:04}-{}", "x".repeat(500));
        batch.publish(publication(&payload, vec![target(SessionNo(1), seq)]));
    }
    batch.push(Change::Acknowledged { session: SessionNo(1), first: 1, last: 10 });
    batch.require(Durability::Fsync);
    store.commit(&batch).unwrap();
    store.close().unwrap();
}

/// Makes the page zeros on which the payload of `seq` begins; the places of all payloads that begin there.
fn wipe(folder: &Path, seq: u64) -> Vec<u64> {
    let file = folder.join("store.sqlite3");
    let mut bytes = fs::read(&file).unwrap();
    let find = |page: &[u8], seq: u64| {
        let wanted = format!("payload-{seq:04}-").into_bytes();
        page.windows(wanted.len()).any(|window| window == wanted)
    };
    let page = bytes.chunks_mut(PAGE).find(|page| find(page, seq)).unwrap();
    let wiped = (1..=MESSAGES).filter(|seq| find(page, *seq)).collect();
    page.fill(0);
    fs::write(file, bytes).unwrap();
    wiped
}

fn salvaged(folder: &Path) -> (Salvaged, Vec<u64>) {
    let salvaged = repair(folder).unwrap().unwrap();
    assert!(check(folder).unwrap().is_sound());
    let shown = Snapshot::of(&mut DiskStore::open(folder, options()).unwrap());
    let kept = shown.queue(SessionNo(1)).into_iter().map(|(seq, _)| seq).collect();
    (salvaged, kept)
}

#[test]
fn a_page_takes_only_its_own_messages_along() {
    for seq in [150, MESSAGES] {
        let folder = TempDir::new().unwrap();
        closed(folder.path());
        let wiped = wipe(folder.path(), seq);
        assert!(wiped.len() > 2, "{wiped:?}");
        let (salvaged, kept) = salvaged(folder.path());
        assert!(kept.iter().copied().eq((11..=MESSAGES).filter(|seq| !wiped.contains(seq))));
        assert_eq!(salvaged.records, wiped.len() as u64, "{salvaged}");
    }
}

#[test]
fn a_message_at_the_end_of_a_queue_is_missed_too() {
    let folder = TempDir::new().unwrap();
    closed(folder.path());
    Connection::open(folder.path().join("store.sqlite3"))
        .unwrap()
        .execute("UPDATE msg SET body = x'00' WHERE mid = (SELECT max(mid) FROM msg)", [])
        .unwrap();
    let (salvaged, kept) = salvaged(folder.path());
    assert!(kept.into_iter().eq(11..MESSAGES));
    assert_eq!(salvaged.messages.into_iter().collect::<Vec<_>>(), [("client-1".to_owned(), 1)]);
    assert_eq!(salvaged.records, 1);
}

#[test]
fn lost_cursors_are_no_lost_messages() {
    let folder = TempDir::new().unwrap();
    closed(folder.path());
    // The rows of what is acknowledged are gone, and with them the only trace of it.
    let file = folder.path().join("store.sqlite3");
    let connection = Connection::open(&file).unwrap();
    connection.execute("DELETE FROM msg WHERE mid <= 10", []).unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'cursor'";
    let root: usize = connection.query_row(root, [], |row| row.get(0)).unwrap();
    drop(connection);
    let mut bytes = fs::read(&file).unwrap();
    bytes[(root - 1) * PAGE..root * PAGE].fill(0);
    fs::write(&file, bytes).unwrap();
    let (salvaged, kept) = salvaged(folder.path());
    assert!(kept.into_iter().eq(11..=MESSAGES));
    assert_eq!(salvaged.messages.len(), 0, "{salvaged}");
    assert!(salvaged.cursors.contains(&"client-1".to_owned()), "{salvaged}");
}

#[test]
fn a_number_of_a_lost_session_is_not_given_out_again() {
    let folder = TempDir::new().unwrap();
    closed(folder.path());
    let connection = Connection::open(folder.path().join("store.sqlite3")).unwrap();
    for sql in ["DELETE FROM meta WHERE k = 'state'", "DELETE FROM session", "DELETE FROM cursor"] {
        connection.execute(sql, []).unwrap();
    }
    drop(connection);
    repair(folder.path()).unwrap().unwrap();
    let shown = Snapshot::of(&mut DiskStore::open(folder.path(), options()).unwrap());
    assert_eq!(shown.meta().next_session, SessionNo(2), "messages still wait for session 1");
}

//! The store on disk: what it refuses, what it finds, what it gives back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use dunlin_store::disk::{backup, check, repair, stats};
use dunlin_store::{
    Batch, Change, DiskOptions, DiskStore, Durability, MessageId, NamespaceNo, OpenError, Room,
    SessionNo, Store, UnixMillis,
};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use support::subject::{Disk, Subject, copy, options};
use support::{Snapshot, message, open, packet_id, publication, subscription, target, text, topic};

const A: SessionNo = SessionNo(1);
const B: SessionNo = SessionNo(2);

fn database(folder: &Path) -> PathBuf {
    folder.join("store.sqlite3")
}

fn wal(folder: &Path) -> PathBuf {
    folder.join("store.sqlite3-wal")
}

fn commit(store: &mut DiskStore, batch: &mut Batch) {
    batch.require(Durability::Fsync);
    store.commit(batch).unwrap();
    *batch = Batch::new(batch.next_id());
}

/// Two sessions with a subscription each and ten messages, two of which A has acknowledged; a retained message.
fn fill(store: &mut DiskStore) -> Batch {
    Snapshot::of(store);
    let mut batch = Batch::new(MessageId::FIRST);
    for (session, name) in [(A, "anna"), (B, "bert")] {
        batch.push(open(session, name));
        let record = subscription(dunlin_codec::Qos::AtLeastOnce);
        batch.push(Change::Subscribed { session, filter: text(&format!("of/{name}")), record });
    }
    batch.push(Change::InboundStored { session: A, packet_id: packet_id(7) });
    for seq in 1..=10 {
        let payload = format!("payload number {seq}");
        batch.publish(publication(&payload, vec![target(A, seq), target(B, seq)]));
    }
    batch.push(Change::Acknowledged { session: A, first: 1, last: 2 });
    batch.push(retained("weather/station", 1, Some("rain")));
    commit(store, &mut batch);
    batch
}

fn retained(name: &str, number: u64, payload: Option<&str>) -> Change {
    let (namespace, at) = (NamespaceNo::DEFAULT, UnixMillis(number));
    match payload {
        Some(payload) => Change::Retained {
            namespace,
            number,
            message: message(name, payload),
            stored_at: at,
            expires_at: None,
        },
        None => Change::Unretained { namespace, topic: topic(name), number, removed_at: at },
    }
}

fn reopened(folder: &Path) -> Snapshot {
    Snapshot::of(&mut DiskStore::open(folder, options()).unwrap())
}

fn recover(folder: &Path) -> Result<Snapshot, String> {
    let mut store = DiskStore::open(folder, options()).map_err(|error| error.to_string())?;
    let mut snapshot = Snapshot::default();
    snapshot.report = store.recover(&mut snapshot).map_err(|error| error.to_string())?;
    Ok(snapshot)
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let folder = TempDir::new().unwrap();
    let _first = DiskStore::open(folder.path(), options()).unwrap();
    let error = DiskStore::open(folder.path(), options()).unwrap_err();
    let holder = format!("process {}", std::process::id());
    assert!(
        matches!(&error, OpenError::InUse { holder: found, .. } if *found == holder),
        "{error}"
    );
    assert!(matches!(check(folder.path()), Err(OpenError::InUse { .. })));
}

#[cfg(unix)]
#[test]
fn the_directory_and_its_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("deep/data");
    let mut store = DiskStore::open(&folder, options()).unwrap();
    fill(&mut store);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    let expected =
        ["ballast", "lock", "store.sqlite3", "store.sqlite3-shm", "store.sqlite3-wal", "witness"];
    assert_eq!(names, expected);
}

#[test]
fn a_later_format_is_left_alone() {
    let folder = TempDir::new().unwrap();
    drop(DiskStore::open(folder.path(), options()).unwrap());
    let file = database(folder.path());
    Connection::open(&file)
        .unwrap()
        .execute("UPDATE meta SET v = '2' WHERE k = 'format'", [])
        .unwrap();
    let error = DiskStore::open(folder.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("store.sqlite3"), "{error}");
}

#[test]
fn acknowledgements_that_were_not_written_yet_repeat_messages_and_lose_none() {
    let mut disk = Disk::new();
    let mut batch = fill(disk.disk());
    let before = Snapshot::of(disk.image().store());
    // Nobody waits for these, so they are with the next commit, or soon after.
    batch.push(Change::Acknowledged { session: B, first: 1, last: 10 });
    disk.disk().commit(&batch).unwrap();
    assert_eq!(Snapshot::of(disk.image().store()), before);
    disk.catch_up();
    let queue = Snapshot::of(disk.image().store()).queue(B);
    assert_eq!(queue, []);
}

#[test]
fn rows_that_nobody_waits_for_go_and_places_never_come_again() {
    let mut disk = Disk::new();
    let mut batch = fill(disk.disk());
    batch.push(Change::Acknowledged { session: A, first: 1, last: 10 });
    batch.push(Change::Acknowledged { session: B, first: 1, last: 10 });
    commit(disk.disk(), &mut batch);
    disk.catch_up();
    assert_eq!(stats(disk.path()).unwrap().rows[5], ("msg", 0));
    let shown = Snapshot::of(disk.image().store());
    assert_eq!(shown.sessions[&A].cursor.next_seq(), 11);
    assert_eq!(shown.meta().next_message, batch.next_id());
}

#[test]
fn the_file_gets_smaller_when_its_content_is_gone() {
    let folder = TempDir::new().unwrap();
    let mut options = options();
    options.free_bytes_max = 1 << 20;
    let mut store = DiskStore::open(folder.path(), options).unwrap();
    let mut batch = fill(&mut store);
    let payload = "x".repeat(10_000);
    for seq in 11..=2_010 {
        batch.publish(publication(&payload, vec![target(A, seq)]));
        if seq % 100 == 0 {
            commit(&mut store, &mut batch);
        }
    }
    commit(&mut store, &mut batch);
    let full = stats(folder.path()).unwrap().database_bytes;
    assert!(full > 20_000_000, "{full}");
    batch.push(Change::SessionEnded { session: A });
    batch.push(Change::SessionEnded { session: B });
    commit(&mut store, &mut batch);
    // Sizes are looked at a few times a second.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        store.look_after(true).unwrap();
        let bytes = fs::metadata(database(folder.path())).unwrap().len();
        if bytes < 2 << 20 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "it still has {bytes} bytes");
    }
    store.close().unwrap();
    assert_eq!(fs::metadata(wal(folder.path())).unwrap().len(), 0, "the log is given back");
}

#[test]
fn large_messages_come_back_whole() {
    let mut disk = Disk::new();
    let mut batch = fill(disk.disk());
    let payload = "large ".repeat(1_000_000);
    let id = batch.publish(publication(&payload, vec![target(A, 11)]));
    commit(disk.disk(), &mut batch);
    let mut image = disk.image();
    let shown = Snapshot::of(image.store());
    assert_eq!(
        shown.messages.last().map(|(id, size, _)| (*id, *size)),
        Some((id, payload.len() + 1))
    );
    let mut read = None;
    image.store().reader().read(&[id], &mut |_, found| read = found).unwrap();
    assert_eq!(read.unwrap().message.payload, payload.as_bytes());
}

#[test]
fn at_its_bound_it_takes_what_frees_room_and_then_messages_again() {
    let folder = TempDir::new().unwrap();
    let mut options = DiskOptions::default();
    options.ballast_bytes = 1 << 20;
    options.max_bytes = Some(4 << 20);
    let mut store = DiskStore::open(folder.path(), options).unwrap();
    let mut batch = fill(&mut store);
    let payload = "x".repeat(10_000);
    let mut seq = 10;
    let pause = std::time::Duration::from_millis(260);
    while store.room() == Room::All {
        for _ in 0..50 {
            seq += 1;
            batch.publish(publication(&payload, vec![target(A, seq)]));
        }
        commit(&mut store, &mut batch);
        std::thread::sleep(pause);
        store.look_after(false).unwrap();
        assert!(seq < 2_000, "it has a bound");
    }
    // Beyond the bound the state of sessions is still taken, up to the ballast's size.
    batch.push(open(SessionNo(3), "carl"));
    batch.push(Change::Acknowledged { session: A, first: 1, last: seq });
    batch.push(Change::Acknowledged { session: B, first: 1, last: seq });
    commit(&mut store, &mut batch);
    let mut steps = 0;
    while store.room() == Room::NoMessages {
        store.look_after(true).unwrap();
        std::thread::sleep(pause / 10);
        steps += 1;
        assert!(steps < 200, "it has room again");
    }
    batch.publish(publication(&payload, vec![target(SessionNo(3), 1)]));
    commit(&mut store, &mut batch);
    store.close().unwrap();
    drop(store);
    let shown = reopened(folder.path());
    assert_eq!((shown.report.sessions, shown.report.messages), (3, 1));
}

#[test]
fn a_backup_of_a_store_in_use_is_a_store() {
    let mut disk = Disk::new();
    fill(disk.disk());
    let to = TempDir::new().unwrap();
    let target_folder = to.path().join("copy");
    let made = backup(disk.path(), &target_folder).unwrap();
    assert_eq!((made.report.messages, made.report.retained), (10, 1));
    assert_eq!(reopened(&target_folder), Snapshot::of(disk.image().store()));
    assert!(check(&target_folder).unwrap().is_sound());
    assert!(matches!(backup(disk.path(), &target_folder), Err(OpenError::NotEmpty { .. })));
    let nowhere = to.path().join("nothing");
    assert!(matches!(backup(&nowhere, &to.path().join("b")), Err(OpenError::Missing { .. })));
}

#[test]
fn a_copy_that_is_not_whole_is_no_store() {
    let folder = TempDir::new().unwrap();
    closed(folder.path());
    let damage = |sql: &str| {
        let connection = Connection::open(database(folder.path())).unwrap();
        assert_eq!(connection.execute(sql, []).unwrap(), 1);
    };
    damage("UPDATE msg SET body = CAST(body || x'00' AS BLOB) WHERE mid = 5");
    let to = TempDir::new().unwrap();
    // What a backup left that was killed.
    fs::create_dir(to.path().join("copying")).unwrap();
    fs::write(to.path().join("copying/store.sqlite3"), "a part").unwrap();
    let error = backup(folder.path(), to.path()).unwrap_err().to_string();
    assert!(error.contains("message 5: the checksum of its body"), "{error}");
    assert!(!database(to.path()).exists());
    damage("UPDATE msg SET body = CAST(substr(body, 1, length(body) - 1) AS BLOB) WHERE mid = 5");
    backup(folder.path(), to.path()).unwrap();
    assert!(!to.path().join("copying").exists());
    assert_eq!(reopened(to.path()), reopened(folder.path()));
}

#[test]
fn a_torn_end_of_the_log_is_cut_and_told_of() {
    let mut disk = Disk::new();
    let batch = fill(disk.disk());
    let folder = TempDir::new().unwrap();
    copy(disk.path(), folder.path());
    let whole = fs::metadata(wal(folder.path())).unwrap().len();
    // The next commit, of which the kill left a part.
    let mut next = Batch::new(batch.next_id());
    next.publish(publication("lost", vec![target(A, 11)]));
    next.require(Durability::Fsync);
    disk.disk().commit(&next).unwrap();
    let log = fs::read(wal(disk.path())).unwrap();
    let torn = usize::try_from(whole).unwrap() + 4_120 + 100;
    fs::write(wal(folder.path()), &log[..torn]).unwrap();
    let mut store = DiskStore::open(folder.path(), options()).unwrap();
    assert_eq!(store.torn_bytes(), 4_220, "a whole frame and a part of one");
    let shown = Snapshot::of(&mut store);
    assert_eq!(shown.report.messages, 10);
    assert_eq!(shown.meta().next_message, batch.next_id());
}

#[test]
fn commits_that_are_missing_against_the_witness_are_refused() {
    let mut disk = Disk::new();
    let mut batch = fill(disk.disk());
    let folder = TempDir::new().unwrap();
    copy(disk.path(), folder.path());
    batch.publish(publication("acknowledged", vec![target(A, 11)]));
    commit(disk.disk(), &mut batch);
    std::thread::sleep(std::time::Duration::from_millis(1_050));
    disk.catch_up();
    fs::copy(disk.path().join("witness"), folder.path().join("witness")).unwrap();
    let error = DiskStore::open(folder.path(), options()).unwrap_err().to_string();
    assert!(error.contains("commits up to") && error.contains("--salvage"), "{error}");
    let salvaged = repair(folder.path()).unwrap().unwrap();
    assert!(salvaged.cause.contains("commits up to"), "{salvaged}");
    let shown = reopened(folder.path());
    assert_eq!(shown.report.messages, 10);
    assert_eq!(shown.meta().next_message, batch.next_id(), "no id is given out twice");
}

#[test]
fn a_store_that_is_refused_stays_as_it_is() {
    let mut disk = Disk::new();
    let mut batch = fill(disk.disk());
    batch.publish(publication("acknowledged", vec![target(A, 11)]));
    commit(disk.disk(), &mut batch);
    std::thread::sleep(std::time::Duration::from_millis(1_050));
    disk.catch_up();
    let folder = TempDir::new().unwrap();
    copy(disk.path(), folder.path());
    // One byte in the middle of the log: what is behind it cannot be read by SQLite, and may be by somebody else.
    let mut log = fs::read(wal(folder.path())).unwrap();
    let middle = log.len() / 2;
    log[middle] ^= 1;
    fs::write(wal(folder.path()), &log).unwrap();
    let before = fs::read(database(folder.path())).unwrap();
    for _ in 0..2 {
        let error = DiskStore::open(folder.path(), options()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(!check(folder.path()).unwrap().is_sound());
        assert!(fs::read(wal(folder.path())).is_ok_and(|found| found == log), "the log");
        assert!(fs::read(database(folder.path())).unwrap() == before, "the database");
    }
    // A salvage that fails changes nothing either.
    let in_the_way = folder.path().join("salvaging");
    fs::write(&in_the_way, "not a directory").unwrap();
    repair(folder.path()).unwrap_err();
    assert!(fs::read(wal(folder.path())).is_ok_and(|found| found == log), "the log");
    assert!(matches!(DiskStore::open(folder.path(), options()), Err(OpenError::Damaged { .. })));
    fs::remove_file(&in_the_way).unwrap();
    let salvaged = repair(folder.path()).unwrap().unwrap();
    assert!(fs::read(wal(&salvaged.quarantine)).unwrap() == log, "put aside as it was");
}

/// A store that was closed in order, with more than one page in each table.
fn closed(folder: &Path) -> Snapshot {
    let mut store = DiskStore::open(folder, options()).unwrap();
    let mut batch = fill(&mut store);
    for number in 3..60 {
        let session = SessionNo(number);
        batch.push(open(session, &format!("client-{number}")));
        for filter in 0..4 {
            let record = subscription(dunlin_codec::Qos::ExactlyOnce);
            batch.push(Change::Subscribed {
                session,
                filter: text(&format!("f/{filter}")),
                record,
            });
        }
        let payload = "p".repeat(number as usize * 20);
        batch.publish(publication(
            &payload,
            vec![target(session, 1), target(A, u64::from(number) + 8)],
        ));
        batch.push(retained(&format!("r/{number}"), u64::from(number), Some(&payload)));
    }
    commit(&mut store, &mut batch);
    store.close().unwrap();
    drop(store);
    reopened(folder)
}

#[test]
fn a_wrong_row_is_named_and_salvage_lists_what_it_took_along() {
    let folder = TempDir::new().unwrap();
    closed(folder.path());
    let connection = Connection::open(database(folder.path())).unwrap();
    let flip = |sql: &str| assert_eq!(connection.execute(sql, []).unwrap(), 1, "{sql}");
    flip("UPDATE msg SET body = zeroblob(length(body)) WHERE mid = 5");
    flip("UPDATE msg SET hdr = x'00' WHERE mid = 6");
    flip("DELETE FROM msg WHERE mid = 7");
    flip("UPDATE session SET v = x'01' WHERE name = 'client-9'");
    flip("UPDATE sub SET v = x'01' WHERE sno = 2");
    flip("DELETE FROM sub WHERE sno = 3 AND filter = 'f/0'");
    flip("UPDATE retained SET v = x'01' WHERE topic = 'r/5'");
    flip("UPDATE cursor SET v = x'01' WHERE sno = 1");
    drop(connection);

    let error = recover(folder.path()).unwrap_err();
    assert!(error.contains("store.sqlite3") && error.contains("--salvage"), "{error}");
    assert!(error.contains("the cursor of session 1: its checksum is wrong, and"), "{error}");
    let checked = check(folder.path()).unwrap();
    assert!(!checked.is_sound());
    let all = checked.to_string();
    for part in [
        "message 5: the checksum of its body",
        "message 6: the checksum of its head",
        "session 9 of \"client-9\"",
        "\"bert\" (session 2) to",
        "retained message of \"r/5\"",
        "table msg: it has",
        "table sub: it has",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }

    let mut options = options();
    options.salvage = true;
    let mut store = DiskStore::open(folder.path(), options).unwrap();
    let salvaged = store.salvaged().unwrap().clone();
    assert_eq!(salvaged.sessions, ["client-9"]);
    assert_eq!(salvaged.subscriptions, [("bert".to_owned(), "of/bert".to_owned())]);
    assert_eq!(salvaged.cursors, ["anna"]);
    assert_eq!(salvaged.retained, ["r/5"]);
    assert_eq!(salvaged.messages.get("bert"), Some(&3));
    assert_eq!(salvaged.topics.get("t"), Some(&1), "{salvaged}");
    assert_eq!(salvaged.missing.get("sub"), Some(&5), "one, and the four of client-9");
    assert!(database(&salvaged.quarantine).exists());
    let shown = Snapshot::of(&mut store);
    assert_eq!(shown.report.sessions, 58);
    drop(store);
    assert!(check(folder.path()).unwrap().is_sound());
    assert_eq!(repair(folder.path()).unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever byte is flipped: the store shows what was written, or says that it is damaged; and can be salvaged.
    #[test]
    fn no_flipped_byte_passes(at in 0.0..1.0_f64, bit in 0..8_u8) {
        let folder = TempDir::new().unwrap();
        let written = closed(folder.path());
        let file = database(folder.path());
        let mut bytes = fs::read(&file).unwrap();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in the file")]
        let place = (at * bytes.len() as f64) as usize;
        bytes[place] ^= 1 << bit;
        fs::write(&file, &bytes).unwrap();
        match recover(folder.path()) {
            Ok(shown) => prop_assert_eq!(shown.sessions, written.sessions),
            Err(error) => prop_assert!(error.contains("store.sqlite3"), "{}", error),
        }
        let mut options = options();
        options.salvage = true;
        let mut store = DiskStore::open(folder.path(), options).unwrap();
        Snapshot::of(&mut store);
    }
}

#[test]
fn a_salvage_that_was_killed_between_two_renames_is_ended_by_the_next_start() {
    let folder = TempDir::new().unwrap();
    let written = closed(folder.path());
    let sound = TempDir::new().unwrap();
    copy(folder.path(), sound.path());
    fs::write(database(folder.path()), b"damaged").unwrap();
    // Killed before the first of the old files was moved, after the last one, and after the new one was.
    for killed in ["before", "between", "after"] {
        let ready = folder.path().join("salvaged-77");
        fs::create_dir(&ready).unwrap();
        fs::copy(database(sound.path()), database(&ready)).unwrap();
        if killed != "before" {
            fs::remove_file(database(folder.path())).unwrap();
        }
        if killed == "after" {
            fs::rename(database(&ready), database(folder.path())).unwrap();
        }
        assert_eq!(
            recover(folder.path()).map(|shown| shown.messages),
            Ok(written.messages.clone())
        );
        assert!(!ready.exists(), "{killed}");
        assert!(check(folder.path()).unwrap().is_sound(), "{killed}");
    }
    assert!(database(&folder.path().join("quarantine-77")).exists());
}

#[test]
fn a_name_that_is_no_text_is_damage_too() {
    let folder = TempDir::new().unwrap();
    closed(folder.path());
    Connection::open(database(folder.path()))
        .unwrap()
        .execute("UPDATE session SET name = CAST(x'41FF42' AS TEXT) WHERE sno = 9", [])
        .unwrap();
    let error = recover(folder.path()).unwrap_err();
    assert!(error.contains("store.sqlite3") && error.contains("--salvage"), "{error}");
    assert!(!check(folder.path()).unwrap().is_sound());
    let salvaged = repair(folder.path()).unwrap().unwrap();
    assert_eq!(salvaged.sessions, ["A\u{FFFD}B"]);
    assert_eq!(reopened(folder.path()).report.sessions, 58);
}

#[test]
fn a_body_of_another_type_is_damage_too() {
    let folder = TempDir::new().unwrap();
    closed(folder.path());
    // One bit of the row's own head tells bytes from text.
    Connection::open(database(folder.path()))
        .unwrap()
        .execute("UPDATE msg SET body = CAST(body AS TEXT) WHERE mid = 5", [])
        .unwrap();
    let error = recover(folder.path()).unwrap_err();
    assert!(error.contains("message 5: the checksum of its body"), "{error}");
    assert!(!check(folder.path()).unwrap().is_sound());
    assert_eq!(repair(folder.path()).unwrap().map(|salvaged| salvaged.records), Some(1));
}

#[test]
fn a_database_that_is_gone_is_missed() {
    let mut disk = Disk::new();
    fill(disk.disk());
    std::thread::sleep(std::time::Duration::from_millis(1_050));
    disk.catch_up();
    let folder = TempDir::new().unwrap();
    copy(disk.path(), folder.path());
    fs::remove_file(database(folder.path())).unwrap();
    let log = fs::read(wal(folder.path())).unwrap();
    let error = DiskStore::open(folder.path(), options()).unwrap_err().to_string();
    assert!(error.contains("missing or empty") && error.contains("--salvage"), "{error}");
    assert!(fs::read(wal(folder.path())).unwrap() == log, "its log is still there");
    let mut options = options();
    options.salvage = true;
    let store = DiskStore::open(folder.path(), options).unwrap();
    let salvaged = store.salvaged().unwrap();
    assert!(fs::read(wal(&salvaged.quarantine)).unwrap() == log, "and put aside");
}

#[test]
fn a_file_that_is_no_database_is_put_aside() {
    let folder = TempDir::new().unwrap();
    closed(folder.path());
    fs::write(database(folder.path()), b"this is no database at all, and long enough to look at")
        .unwrap();
    let error = recover(folder.path()).unwrap_err();
    assert!(error.contains("store.sqlite3") && error.contains("--salvage"), "{error}");
    let salvaged = repair(folder.path()).unwrap().unwrap();
    assert_eq!(salvaged.kept, (0, 0, 0));
    let shown = reopened(folder.path());
    assert_eq!(shown.report.sessions, 0);
}

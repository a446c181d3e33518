//! How many durable publishes a second a disk takes, beside what it takes to sync a file at all.
//!
//! ```sh
//! cargo run --release -p dunlin-store --example throughput -- ./somewhere-on-that-disk
//! ```
//!
//! Each line is a number of publishers that wait for each of their messages, and of sessions that each message goes to.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_codec::{ClientId, Message, Qos, TopicName};
use dunlin_store::{
    Batch, Change, Committer, CommitterOptions, DiskOptions, DiskStore, Durability, MessageHeader,
    Meta, NamespaceNo, Publication, RetainedRecord, Room, SessionKey, SessionNo, SessionRecord,
    Store as _, StoreError, StoredSession, Submission, Target, UnixMillis, Visitor,
};

const SECONDS: u64 = 4;
const PAYLOAD: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let folder =
        std::env::args_os().nth(1).map_or_else(|| PathBuf::from("throughput"), PathBuf::from);
    fs::create_dir_all(&folder)?;
    println!("fdatasync of one 4 KiB block: p50 {:?}", fdatasync(&folder)?);
    println!("sessions  publishers  publishes/s    places/s  commit p50  commit p99");
    for (sessions, publishers) in
        [(1, 1), (1, 16), (1, 256), (10, 16), (10, 256), (100, 16), (100, 256)]
    {
        let run = run(&folder.join(format!("{sessions}-{publishers}")), sessions, publishers)?;
        println!(
            "{sessions:8}  {publishers:10}  {:11}  {:10}  {:10?}  {:10?}",
            run.publishes,
            run.publishes * u64::from(sessions),
            run.p50,
            run.p99
        );
    }
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn fdatasync(folder: &Path) -> Result<Duration, Box<dyn Error>> {
    let mut file = File::create(folder.join("probe"))?;
    file.write_all(&[1; 4 << 20])?;
    file.sync_all()?;
    let mut took = Vec::new();
    for block in 0..1_000 {
        file.seek(SeekFrom::Start(block * 4_096))?;
        file.write_all(&[2; 4_096])?;
        let began = Instant::now();
        file.sync_data()?;
        took.push(began.elapsed());
    }
    took.sort();
    Ok(took.get(took.len() / 2).copied().unwrap_or_default())
}

struct Figures {
    publishes: u64,
    p50: Duration,
    p99: Duration,
}

/// A publisher's message; it publishes the next when told of this one.
struct Publish {
    first: SessionNo,
    sessions: u32,
    places: Arc<AtomicU64>,
    message: Arc<Message>,
    done: mpsc::Sender<u32>,
    publisher: u32,
}

impl Submission for Publish {
    fn size(&self) -> usize {
        self.message.size()
    }

    fn prepare(&mut self, batch: &mut Batch, _room: Room) {
        let seq = self.places.fetch_add(1, Ordering::Relaxed) + 1;
        let target = |offset| Target {
            session: SessionNo(self.first.0 + offset),
            seq,
            qos: Qos::AtLeastOnce,
            retain: false,
            subscription_ids: Box::default(),
        };
        batch.publish(Publication {
            message: Arc::clone(&self.message),
            published_at: UnixMillis(1),
            expires_at: None,
            publisher: None,
            targets: (0..self.sessions).map(target).collect(),
        });
        batch.require(Durability::Fsync);
    }

    fn take_back(&mut self) {}

    fn finish(self, outcome: Result<(), &StoreError>) {
        if outcome.is_ok() {
            let _ = self.done.send(self.publisher);
        }
    }
}

fn run(folder: &Path, sessions: u32, publishers: u32) -> Result<Figures, Box<dyn Error>> {
    let mut store = DiskStore::open(folder, DiskOptions::default())?;
    let mut meta = None;
    store.recover(&mut Only(&mut meta))?;
    let mut batch = Batch::new(meta.ok_or("a store has a meta")?.next_message);
    // Each publisher has sessions of its own.
    for number in 1..=sessions * publishers {
        batch.push(Change::SessionOpened {
            session: SessionNo(number),
            namespace: NamespaceNo::DEFAULT,
            key: SessionKey::Client(ClientId::new(format!("client-{number}"))?),
            record: SessionRecord { expiry_secs: 3_600, ..SessionRecord::default() },
        });
    }
    batch.require(Durability::Fsync);
    store.commit(&batch)?;
    let options = CommitterOptions::default();
    let committer = Committer::start(Box::new(store), batch.next_id(), options, |_| {})?;
    let places: Vec<Arc<AtomicU64>> = (0..publishers).map(|_| Arc::default()).collect();
    let message = Arc::new(Message {
        topic: TopicName::try_from("plant/line/machine/temperature")?,
        payload: Bytes::from(vec![7; PAYLOAD]),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: None,
    });
    let (done, acknowledged) = mpsc::channel();
    let publish = |publisher: u32| Publish {
        first: SessionNo(1 + publisher * sessions),
        sessions,
        places: places.get(publisher as usize).map_or_else(Arc::default, Arc::clone),
        message: Arc::clone(&message),
        done: done.clone(),
        publisher,
    };
    let began = Instant::now();
    for publisher in 0..publishers {
        committer.submit(publish(publisher)).map_err(|_| "the queue is full")?;
    }
    let mut count = 0;
    while began.elapsed() < Duration::from_secs(SECONDS) {
        let publisher = acknowledged.recv()?;
        count += 1;
        committer.submit(publish(publisher)).map_err(|_| "the queue is full")?;
    }
    let stats = committer.stats();
    committer.shutdown()?;
    fs::remove_dir_all(folder)?;
    Ok(Figures { publishes: count / SECONDS, p50: stats.commit_p50, p99: stats.commit_p99 })
}

/// Takes the meta out of a recovery.
struct Only<'a>(&'a mut Option<Meta>);

impl Visitor for Only<'_> {
    fn meta(&mut self, meta: &Meta) {
        *self.0 = Some(meta.clone());
    }
    fn namespace(&mut self, _: NamespaceNo, _: &dunlin_codec::Text) {}
    fn session(&mut self, _: StoredSession) {}
    fn message(&mut self, _: &MessageHeader<'_>) {}
    fn retained(&mut self, _: RetainedRecord) {}
}

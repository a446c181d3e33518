//! `fjall`: each message once, and a small entry for each queue that it is in; one batch for each group, synced as
//! `fdatasync` does, but not where messages are taken out. A message stays until all queues are past it, which nobody
//! waits for here.

use std::path::Path;

use dunlin_benches::queues::{GROUP, SESSIONS, TOPIC, number_in, payload};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::{Contents, Retained, Store};

pub(crate) struct OnDisk {
    database: Database,
    messages: Keyspace,
    queues: Keyspace,
    retained: Keyspace,
    next_message: u64,
    next: Vec<u64>,
    /// The first place in each queue, so that what was taken out is not looked through.
    first: Vec<u64>,
}

fn place(session: u32, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    let (high, low) = key.split_at_mut(4);
    high.copy_from_slice(&session.to_be_bytes());
    low.copy_from_slice(&seq.to_be_bytes());
    key
}

fn seq(key: &[u8]) -> u64 {
    u64::from_be_bytes(*key.last_chunk().expect("a place"))
}

impl OnDisk {
    fn number(&self, id: &[u8]) -> u64 {
        let body = self.messages.get(id).expect("readable").expect("it is in a queue");
        let payload = body.strip_prefix(TOPIC.as_bytes()).expect("the topic");
        number_in(payload).expect("whole")
    }

    fn read(&self, session: u32, limit: usize) -> Vec<(u64, u64)> {
        let first = self.first[session as usize];
        self.queues
            .range(place(session, first)..place(session + 1, 0))
            .take(limit)
            .map(|entry| entry.into_inner().expect("readable"))
            .map(|(key, id)| (seq(&key), self.number(&id)))
            .collect()
    }
}

impl Store for OnDisk {
    const NAME: &'static str = "fjall";
    const IS_DURABLE: bool = true;

    fn open(folder: &Path) -> Self {
        let database = Database::builder(folder.join("trees")).open().expect("a folder");
        let tree = |name| database.keyspace(name, KeyspaceCreateOptions::default).expect("a tree");
        let (messages, queues, retained) = (tree("messages"), tree("queues"), tree("retained"));
        let last = messages.last_key_value().map(|entry| seq(&entry.key().expect("readable")));
        let ends = |session| {
            let mut keys = queues
                .range(place(session, 0)..place(session + 1, 0))
                .map(|entry| seq(&entry.key().expect("readable")));
            let first = keys.next();
            (first.unwrap_or(1), keys.next_back().or(first).map_or(1, |last| last + 1))
        };
        let (first, next) = (0..SESSIONS).map(ends).unzip();
        let next_message = last.map_or(0, |last| last + 1);
        Self { database, messages, queues, retained, next_message, next, first }
    }

    fn enqueue(&mut self, numbers: &[u64], sessions: u32) {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for number in numbers {
            let id = self.next_message.to_be_bytes();
            self.next_message += 1;
            batch.insert(&self.messages, id, [TOPIC.as_bytes(), &payload(*number)].concat());
            for (session, seq) in (0..sessions).zip(&mut self.next) {
                batch.insert(&self.queues, place(session, *seq), id);
                *seq += 1;
            }
        }
        batch.commit().expect("durable");
    }

    fn take(&mut self, session: u32) -> Vec<u64> {
        let rows = self.read(session, GROUP);
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for (seq, _) in &rows {
            batch.remove(&self.queues, place(session, *seq));
        }
        batch.commit().expect("written");
        if let Some((last, _)) = rows.last() {
            self.first[session as usize] = last + 1;
        }
        rows.into_iter().map(|(_, number)| number).collect()
    }

    fn retain(&mut self, messages: &[(String, u64)]) {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (topic, number) in messages {
            batch.insert(&self.retained, topic.as_bytes(), payload(*number));
        }
        batch.commit().expect("durable");
    }

    fn contents(&mut self) -> Contents {
        let numbers = |session| {
            let rows = self.read(session, usize::MAX);
            rows.into_iter().map(|(_, number)| number).collect()
        };
        (0..SESSIONS).map(numbers).collect()
    }

    fn retained(&mut self) -> Retained {
        let entries = self.retained.iter().map(|entry| entry.into_inner().expect("readable"));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let number = |payload: &[u8]| number_in(payload).expect("whole");
        entries.map(|(topic, value)| (text(&topic), number(&value))).collect()
    }
}

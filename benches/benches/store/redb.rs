//! `redb`: each message once, and a small entry for each queue that it is in. Taking out is a commit of its kind that need
//! not reach the disk.

use std::path::Path;

use dunlin_benches::queues::{GROUP, SESSIONS, TOPIC, number_in, payload};
use redb::backends::InMemoryBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::{Contents, Retained, Store};

/// By its number in the store: for how many queues it still is there, and its topic with its payload.
const MESSAGES: TableDefinition<'_, u64, (u32, &[u8])> = TableDefinition::new("messages");
/// By session and place: which message.
const QUEUES: TableDefinition<'_, (u32, u64), u64> = TableDefinition::new("queues");
const RETAINED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("retained");

pub(crate) type OnDisk = Redb<true>;
pub(crate) type InMemory = Redb<false>;

pub(crate) struct Redb<const ON_DISK: bool> {
    database: Database,
    next_message: u64,
    next: Vec<u64>,
}

impl<const ON_DISK: bool> Store for Redb<ON_DISK> {
    const NAME: &'static str = "redb";
    const IS_DURABLE: bool = ON_DISK;

    fn open(folder: &Path) -> Self {
        let database = if ON_DISK {
            Database::create(folder.join("tables.redb")).expect("a file")
        } else {
            let builder = Database::builder();
            builder.create_with_backend(InMemoryBackend::new()).expect("memory")
        };
        let begin = database.begin_write().expect("nobody else writes");
        let next_message = {
            let messages = begin.open_table(MESSAGES).expect("a table");
            messages.last().expect("readable").map_or(0, |(id, _)| id.value() + 1)
        };
        let next = {
            let queues = begin.open_table(QUEUES).expect("a table");
            let last = |session| {
                let mut range = queues.range((session, 0)..(session + 1, 0)).expect("readable");
                range.next_back().map_or(1, |entry| entry.expect("readable").0.value().1 + 1)
            };
            (0..SESSIONS).map(last).collect()
        };
        begin.open_table(RETAINED).expect("a table");
        begin.commit().expect("durable");
        Self { database, next_message, next }
    }

    fn enqueue(&mut self, numbers: &[u64], sessions: u32) {
        let write = self.database.begin_write().expect("nobody else writes");
        {
            let mut messages = write.open_table(MESSAGES).expect("a table");
            let mut queues = write.open_table(QUEUES).expect("a table");
            for number in numbers {
                let id = self.next_message;
                self.next_message += 1;
                let body = [TOPIC.as_bytes(), &payload(*number)].concat();
                messages.insert(id, (sessions, &body[..])).expect("there is room");
                for (session, seq) in (0..sessions).zip(&mut self.next) {
                    queues.insert((session, *seq), id).expect("there is room");
                    *seq += 1;
                }
            }
        }
        write.commit().expect("durable");
    }

    fn take(&mut self, session: u32) -> Vec<u64> {
        let mut write = self.database.begin_write().expect("nobody else writes");
        write.set_durability(Durability::None).expect("there are no savepoints");
        let mut numbers = Vec::new();
        {
            let mut messages = write.open_table(MESSAGES).expect("a table");
            let mut queues = write.open_table(QUEUES).expect("a table");
            let ids: Vec<_> = queues
                .range((session, 0)..(session + 1, 0))
                .expect("readable")
                .take(GROUP)
                .map(|entry| entry.map(|(place, id)| (place.value(), id.value())))
                .map(|entry| entry.expect("readable"))
                .collect();
            for (place, id) in ids {
                queues.remove(place).expect("written");
                let taken = messages.remove(id).expect("written").map(|message| {
                    let (left, body) = message.value();
                    (left, body.to_vec())
                });
                let (left, body) = taken.expect("it is in a queue");
                numbers.push(number(&body));
                if left > 1 {
                    messages.insert(id, (left - 1, &body[..])).expect("written");
                }
            }
        }
        write.commit().expect("written");
        numbers
    }

    fn retain(&mut self, messages: &[(String, u64)]) {
        let write = self.database.begin_write().expect("nobody else writes");
        {
            let mut retained = write.open_table(RETAINED).expect("a table");
            for (topic, number) in messages {
                retained.insert(topic.as_str(), &payload(*number)[..]).expect("there is room");
            }
        }
        write.commit().expect("durable");
    }

    fn contents(&mut self) -> Contents {
        let read = self.database.begin_read().expect("readable");
        let messages = read.open_table(MESSAGES).expect("a table");
        let queues = read.open_table(QUEUES).expect("a table");
        let mut contents = vec![Vec::new(); SESSIONS as usize];
        for entry in queues.iter().expect("readable") {
            let (place, id) = entry.expect("readable");
            let message = messages.get(id.value()).expect("readable").expect("it is in a queue");
            contents[place.value().0 as usize].push(number(message.value().1));
        }
        contents
    }

    fn retained(&mut self) -> Retained {
        let read = self.database.begin_read().expect("readable");
        let retained = read.open_table(RETAINED).expect("a table");
        let entries = retained.iter().expect("readable").map(|entry| entry.expect("readable"));
        let number = |payload: &[u8]| number_in(payload).expect("whole");
        entries.map(|(topic, value)| (topic.value().to_owned(), number(value.value()))).collect()
    }
}

/// The number in what is kept of a message.
fn number(body: &[u8]) -> u64 {
    let payload = body.strip_prefix(TOPIC.as_bytes()).expect("the topic");
    number_in(payload).expect("whole")
}

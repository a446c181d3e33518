//! A bare log: what a commit writes is appended, then `fdatasync`. Nothing is ever taken out of it, so that it is no store,
//! but what a store is measured against. A queue is a list of places in the file.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use dunlin_benches::queues::{
    GROUP, PAYLOAD_BYTES, SESSIONS, TOPIC, number_in, payload, retained_topic,
};

use crate::{Contents, Retained, Store};

/// A record: its kind, the length of what follows, and that.
const MESSAGE: u8 = 1;
const TAKEN: u8 = 2;
const RETAINED: u8 = 3;
const HEAD_BYTES: usize = 5;

pub(crate) struct Log {
    file: File,
    end: u64,
    buffer: Vec<u8>,
    /// Where the payloads of a session's messages begin.
    queues: Vec<VecDeque<u64>>,
    retained: Retained,
}

impl Log {
    fn record(&mut self, kind: u8, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&u32::try_from(len).expect("short").to_be_bytes());
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
    }

    fn write(&mut self) {
        self.file.write_all(&self.buffer).expect("the disk has room");
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
    }

    /// Takes in a record that begins at this place.
    fn load(&mut self, at: u64, kind: u8, body: &[u8]) {
        match kind {
            MESSAGE => {
                let (sessions, _) = body.split_first_chunk().expect("whole");
                let count = u32::from_be_bytes(*sessions);
                let payload_at = at + (HEAD_BYTES + body.len() - PAYLOAD_BYTES) as u64;
                for queue in self.queues.iter_mut().take(count as usize) {
                    queue.push_back(payload_at);
                }
            }
            TAKEN => {
                let (session, count) = body.split_first_chunk().expect("whole");
                let session = u32::from_be_bytes(*session) as usize;
                let count = u32::from_be_bytes(count.try_into().expect("whole"));
                self.queues[session].drain(..count as usize);
            }
            _ => {
                let (topic, payload) = body.split_at(body.len() - PAYLOAD_BYTES);
                let topic = String::from_utf8(topic.to_vec()).expect("text");
                self.retained.insert(topic, number_in(payload).expect("whole"));
            }
        }
    }

    fn number_at(&self, at: u64) -> u64 {
        let mut payload = [0; PAYLOAD_BYTES];
        self.file.read_exact_at(&mut payload, at).expect("it is there");
        number_in(&payload).expect("whole")
    }
}

impl Store for Log {
    const NAME: &'static str = "bare log";
    const IS_DURABLE: bool = true;

    fn open(folder: &Path) -> Self {
        let path = folder.join("log");
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path).expect("a file");
        let queues = vec![VecDeque::new(); SESSIONS as usize];
        let (buffer, retained) = (Vec::new(), Retained::new());
        let mut log = Self { file, end: 0, buffer, queues, retained };
        let mut bytes = Vec::new();
        log.file.read_to_end(&mut bytes).expect("readable");
        let mut records = &bytes[..];
        while let [kind, a, b, c, d, rest @ ..] = records {
            let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let (body, rest) = rest.split_at(len);
            log.load(log.end, *kind, body);
            log.end += (HEAD_BYTES + len) as u64;
            records = rest;
        }
        log
    }

    fn enqueue(&mut self, numbers: &[u64], sessions: u32) {
        for number in numbers {
            let at = self.end + self.buffer.len() as u64;
            // Places are written for each session, as everybody else must.
            let places: Vec<u8> = (0..sessions).flat_map(|session| session.to_be_bytes()).collect();
            let payload = payload(*number);
            let parts = [&sessions.to_be_bytes(), &places[..], TOPIC.as_bytes(), &payload];
            let len: usize = parts.iter().map(|part| part.len()).sum();
            self.record(MESSAGE, &parts);
            let payload_at = at + (HEAD_BYTES + len - PAYLOAD_BYTES) as u64;
            for queue in self.queues.iter_mut().take(sessions as usize) {
                queue.push_back(payload_at);
            }
        }
        self.write();
        self.file.sync_data().expect("durable");
    }

    fn take(&mut self, session: u32) -> Vec<u64> {
        let queue = &mut self.queues[session as usize];
        let count = queue.len().min(GROUP);
        let places: Vec<_> = queue.drain(..count).collect();
        if places.is_empty() {
            return Vec::new();
        }
        let numbers = places.into_iter().map(|at| self.number_at(at)).collect();
        let count = u32::try_from(count).expect("a group");
        self.record(TAKEN, &[&session.to_be_bytes(), &count.to_be_bytes()]);
        self.write();
        numbers
    }

    fn retain(&mut self, messages: &[(String, u64)]) {
        for (topic, number) in messages {
            self.record(RETAINED, &[topic.as_bytes(), &payload(*number)]);
        }
        self.write();
        self.file.sync_data().expect("durable");
    }

    fn contents(&mut self) -> Contents {
        let numbers = |queue: &VecDeque<u64>| queue.iter().map(|at| self.number_at(*at)).collect();
        self.queues.iter().map(numbers).collect()
    }

    fn retained(&mut self) -> Retained {
        debug_assert!(self.retained.len() < 2 || self.retained.contains_key(&retained_topic(0)));
        std::mem::take(&mut self.retained)
    }
}

//! Dunlin's store behind its committer, as the broker has it: what enters queues is one submission, and the thread that
//! commits is woken for it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use dunlin_benches::queues::{GROUP, PAYLOAD_BYTES, SESSIONS, TOPIC, number_in, payload};
use dunlin_codec::{ClientId, Message, Qos, TopicName};
use dunlin_store::{
    Batch, Change, Committer, CommitterOptions, DiskOptions, DiskStore, Durability, MemoryStore,
    MessageHeader, MessageId, Meta, NamespaceNo, Publication, Reader, RetainedRecord, Room,
    SessionKey, SessionNo, SessionRecord, StoreError, StoredSession, Submission, Target,
    UnixMillis, Visitor,
};

use crate::{Contents, Retained, Store};

pub(crate) type Disk = Dunlin<true>;
pub(crate) type Memory = Dunlin<false>;

/// A store, and what the broker keeps of it in memory.
pub(crate) struct Dunlin<const ON_DISK: bool> {
    committer: Committer<Changes>,
    reader: Box<dyn Reader>,
    queues: Vec<Queue>,
    /// The number of the next message, and of the next retained one.
    next: MessageId,
    next_retained: u64,
    /// As it was opened, until another is stored.
    retained: Retained,
    topic: TopicName,
}

/// The messages of a session that are not acknowledged: its first place, and where they are.
#[derive(Clone, Default)]
struct Queue {
    first: u64,
    messages: VecDeque<MessageId>,
}

/// What becomes durable together.
struct Changes {
    publications: Vec<Publication>,
    others: Vec<Change>,
    durability: Durability,
}

impl Submission for Changes {
    fn size(&self) -> usize {
        self.publications.len() * PAYLOAD_BYTES
    }

    fn prepare(&mut self, batch: &mut Batch, _: Room) {
        for publication in self.publications.drain(..) {
            batch.publish(publication);
        }
        for change in self.others.drain(..) {
            batch.push(change);
        }
        batch.require(self.durability);
    }

    fn take_back(&mut self) {
        unreachable!("the disk has room");
    }

    fn finish(self, outcome: Result<(), &StoreError>) {
        outcome.expect("the store takes it");
    }
}

/// Collects what a store shows when it is opened.
#[derive(Default)]
struct Found {
    queues: Vec<Queue>,
    next: Option<MessageId>,
    next_retained: u64,
    retained: Retained,
}

impl Visitor for Found {
    fn meta(&mut self, meta: &Meta) {
        self.next = Some(meta.next_message);
        self.next_retained = meta.next_retained;
    }

    fn namespace(&mut self, _: NamespaceNo, _: &dunlin_codec::Text) {}

    fn session(&mut self, session: StoredSession) {
        let first = session.cursor.acknowledged_through() + 1;
        self.queues.push(Queue { first, messages: VecDeque::new() });
    }

    fn message(&mut self, message: &MessageHeader<'_>) {
        for target in message.targets {
            let queue = self.queues.get_mut(index(target.session)).expect("sessions come first");
            assert_eq!(target.seq, queue.first + queue.messages.len() as u64);
            queue.messages.push_back(message.id);
        }
    }

    fn retained(&mut self, retained: RetainedRecord) {
        let number = number_in(&retained.message.payload).expect("whole");
        self.retained.insert(retained.message.topic.as_str().to_owned(), number);
    }
}

const fn index(session: SessionNo) -> usize {
    (session.0 - SessionNo::FIRST.0) as usize
}

const fn session(index: u32) -> SessionNo {
    SessionNo(SessionNo::FIRST.0 + index)
}

fn message(topic: TopicName, number: u64) -> Arc<Message> {
    let payload = payload(number).into();
    Arc::new(Message { topic, payload, qos: Qos::AtLeastOnce, retain: false, properties: None })
}

impl<const ON_DISK: bool> Dunlin<ON_DISK> {
    fn begin(&mut self) {
        let opened = |index| Change::SessionOpened {
            session: session(index),
            namespace: NamespaceNo::DEFAULT,
            key: SessionKey::Client(ClientId::new(format!("client-{index}")).expect("valid")),
            record: SessionRecord { expiry_secs: SessionRecord::NEVER, ..SessionRecord::default() },
        };
        self.commit(Vec::new(), (0..SESSIONS).map(opened).collect(), Durability::Fsync);
        let empty = Queue { first: 1, messages: VecDeque::new() };
        self.queues = vec![empty; SESSIONS as usize];
        // A commit without a message uses up one number.
        self.next = self.next.next();
    }

    fn commit(&self, publications: Vec<Publication>, others: Vec<Change>, durability: Durability) {
        let changes = Changes { publications, others, durability };
        self.committer.submit(changes).expect("there is room");
        self.committer.flush();
    }

    fn read(&mut self, ids: &[MessageId]) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(ids.len());
        self.reader
            .read(ids, &mut |_, publication| {
                let publication = publication.expect("it is not acknowledged");
                numbers.push(number_in(&publication.message.payload).expect("whole"));
            })
            .expect("the store can be read");
        numbers
    }
}

impl<const ON_DISK: bool> Store for Dunlin<ON_DISK> {
    const NAME: &'static str = "dunlin";
    const IS_DURABLE: bool = ON_DISK;

    fn open(folder: &Path) -> Self {
        let mut store: Box<dyn dunlin_store::Store> = if ON_DISK {
            let options = DiskOptions::default();
            Box::new(DiskStore::open(folder, options).expect("it can be opened"))
        } else {
            Box::new(MemoryStore::new())
        };
        let mut found = Found::default();
        store.recover(&mut found).expect("sound");
        let reader = store.reader();
        let next = found.next.unwrap_or(MessageId::FIRST);
        let options = CommitterOptions::default();
        let committer = Committer::start(store, next, options, |_| {}).expect("a thread");
        let mut opened = Self {
            committer,
            reader,
            queues: found.queues,
            next,
            next_retained: found.next_retained.max(1),
            retained: found.retained,
            topic: TopicName::copy_from(TOPIC).expect("valid"),
        };
        if opened.queues.is_empty() {
            opened.begin();
        }
        opened
    }

    fn enqueue(&mut self, numbers: &[u64], sessions: u32) {
        let mut publications = Vec::with_capacity(numbers.len());
        for number in numbers {
            let mut targets = Vec::with_capacity(sessions as usize);
            for (queue, session) in self.queues.iter_mut().zip((0..sessions).map(session)) {
                let seq = queue.first + queue.messages.len() as u64;
                queue.messages.push_back(self.next);
                targets.push(Target {
                    session,
                    seq,
                    qos: Qos::AtLeastOnce,
                    retain: false,
                    subscription_ids: Box::default(),
                });
            }
            self.next = self.next.next();
            publications.push(Publication {
                message: message(self.topic.clone(), *number),
                published_at: UnixMillis(1_800_000_000_000),
                expires_at: None,
                publisher: None,
                targets,
            });
        }
        self.commit(publications, Vec::new(), Durability::Fsync);
    }

    fn take(&mut self, of: u32) -> Vec<u64> {
        let queue = self.queues.get_mut(of as usize).expect("there is such a session");
        let count = queue.messages.len().min(GROUP);
        let ids: Vec<_> = queue.messages.drain(..count).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let first = queue.first;
        queue.first += count as u64;
        let last = queue.first - 1;
        let numbers = self.read(&ids);
        let session = session(of);
        let acknowledged = Change::Acknowledged { session, first, last };
        self.commit(Vec::new(), vec![acknowledged], Durability::Memory);
        self.next = self.next.next();
        numbers
    }

    fn retain(&mut self, messages: &[(String, u64)]) {
        let mut changes = Vec::with_capacity(messages.len());
        for (name, number) in messages {
            let topic = TopicName::copy_from(name).expect("valid");
            changes.push(Change::Retained {
                namespace: NamespaceNo::DEFAULT,
                number: self.next_retained,
                message: message(topic, *number),
                stored_at: UnixMillis(1_800_000_000_000),
                expires_at: None,
            });
            self.next_retained += 1;
            if !ON_DISK {
                self.retained.insert(name.clone(), *number);
            }
        }
        self.commit(Vec::new(), changes, Durability::Fsync);
        self.next = self.next.next();
    }

    fn contents(&mut self) -> Contents {
        let queues = self.queues.clone();
        let ids = |queue: Queue| queue.messages.into_iter().collect::<Vec<_>>();
        queues.into_iter().map(|queue| self.read(&ids(queue))).collect()
    }

    fn retained(&mut self) -> Retained {
        std::mem::take(&mut self.retained)
    }
}

impl<const ON_DISK: bool> Drop for Dunlin<ON_DISK> {
    fn drop(&mut self) {
        self.committer.shutdown().expect("it can be closed");
    }
}

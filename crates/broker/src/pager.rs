//! Reads the messages of long queues back from the store, ahead of the clients that take them.
//!
//! One thread reads for all sessions, a batch for each in turn, so that no worker of the runtime ever waits for the disk. A
//! session that asks is in the line once, until the pager finds that its window is filled, that nothing is left to be read,
//! or that its client is gone.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use dunlin_codec::Message;
use dunlin_session::{Delivery, Origin};
use dunlin_store::{MessageId, Publication, Reader, SessionNo, StoreError, Target, UnixMillis};
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::clock::Clock;
use crate::core::Core;
use crate::mailbox::Mailbox;
use crate::metrics::{DropReason, add};
use crate::pages::{Entry, Expiry};
use crate::queue::{Drops, Window};

/// Messages read in one go: as many as a reader may ask for without being in the way of the commits.
pub(crate) const READ_STEP: usize = 100;
/// Bytes of messages for several sessions that are kept for the next of them.
const CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// When memory is short, windows are filled to this part only.
const SHORT_PART: usize = 8;
/// How long a shutdown waits for a read.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How long what several sessions want is kept when nobody asks.
const CACHE_TIME: Duration = Duration::from_secs(1);
/// From a read that failed for now to the next try.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The sessions that wait for messages, and the thread that reads them.
#[derive(Debug)]
pub(crate) struct Pager {
    line: Arc<Line>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Whether the store itself is in memory.
    store_in_memory: bool,
}

/// Who waits. Bounded: a session is in it once.
#[derive(Debug, Default)]
struct Line {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    mailboxes: VecDeque<Arc<Mailbox>>,
    closed: bool,
    /// Whether the thread has let go of the store.
    ended: bool,
}

impl Line {
    fn push(&self, mailbox: Arc<Mailbox>) {
        let mut waiting = self.waiting.lock();
        if !waiting.closed {
            waiting.mailboxes.push_back(mailbox);
            drop(waiting);
            self.changed.notify_one();
        }
    }

    /// The next one; none when the line is closed. Calls `idle` when nobody has come for a while.
    fn pop(&self, mut idle: impl FnMut()) -> Option<Arc<Mailbox>> {
        let mut waiting = self.waiting.lock();
        let mut idles = false;
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(mailbox) = waiting.mailboxes.pop_front() {
                return Some(mailbox);
            }
            if idles {
                self.changed.wait(&mut waiting);
            } else if self.changed.wait_for(&mut waiting, CACHE_TIME).timed_out() {
                idles = true;
                MutexGuard::unlocked(&mut waiting, &mut idle);
            }
        }
    }

    fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.mailboxes = VecDeque::new();
        drop(waiting);
        self.changed.notify_all();
    }
}

impl Pager {
    pub(crate) fn new(store_in_memory: bool) -> Self {
        Self { line: Arc::default(), thread: Mutex::default(), store_in_memory }
    }

    /// Begins to read.
    pub(crate) fn start(&self, core: &Arc<Core>, reader: Box<dyn Reader>) -> io::Result<()> {
        let line = Arc::clone(&self.line);
        let core = Arc::downgrade(core);
        let work = move || run(&line, &core, reader);
        let thread = std::thread::Builder::new().name("dunlin-pager".to_owned()).spawn(work)?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Reads more for a session that [was told to ask](Mailbox::collect).
    pub(crate) fn ask(&self, mailbox: &Arc<Mailbox>) {
        self.line.push(Arc::clone(mailbox));
    }

    /// Whether the store could not be read, so that queues no longer move.
    pub(crate) fn has_failed(&self) -> bool {
        self.line.failed.load(Ordering::Acquire)
    }

    /// Ends the thread and with it its hold on the store, and waits until it has ended, but not for a disk that hangs.
    pub(crate) fn stop(&self) {
        self.line.close();
        if self.thread.lock().take().is_none() {
            return;
        }
        let mut waiting = self.line.waiting.lock();
        let hangs = self.line.changed.wait_while_for(&mut waiting, |it| !it.ended, STOP_MAX);
        if hangs.timed_out() {
            tracing::warn!(
                event = "pager_hangs",
                "the store is still being read; nobody waits for it"
            );
        }
    }
}

impl Drop for Pager {
    /// Whoever drops it may be the thread itself, so nobody waits for that.
    fn drop(&mut self) {
        self.line.close();
    }
}

impl Core {
    /// How much of a durable session's queue may be in memory, as things stand.
    pub(crate) fn window(&self) -> Window {
        let limits = &self.config().limits;
        Window {
            messages: limits.queue_memory_messages_max,
            bytes: limits.queue_memory_bytes_max,
            closed: self.budget.is_short(),
            wanted: false,
            store_in_memory: self.pager.store_in_memory,
        }
    }

    /// How far the window of a connected client is filled.
    fn window_to_fill(&self) -> Window {
        let window = self.window();
        if !window.closed {
            return window;
        }
        let (messages, bytes) = (window.messages / SHORT_PART, window.bytes / SHORT_PART);
        Window { messages: messages.max(1), bytes: bytes.max(1), ..window }
    }
}

/// Says so when the thread ends, and when that is before its time: queues would stand still without a word.
struct Watch<'a> {
    line: &'a Line,
    core: &'a Weak<Core>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            fail(self.line, self.core);
        }
        self.line.waiting.lock().ended = true;
        self.line.changed.notify_all();
    }
}

/// The broker is of no use any more: it ends as it does when a commit fails.
fn fail(line: &Line, core: &Weak<Core>) {
    line.failed.store(true, Ordering::Release);
    line.close();
    if let Some(core) = core.upgrade() {
        core.closing.send_replace(true);
    }
}

fn run(line: &Line, core: &Weak<Core>, reader: Box<dyn Reader>) {
    // Dropped after the reader is.
    let _watch = Watch { line, core };
    let mut reading = Reading::new(reader);
    while let Some(mailbox) = line.pop(|| reading.cache.clear()) {
        let Some(core) = core.upgrade() else { return };
        match reading.serve(&core, &mailbox) {
            Ok(Goes::On) => line.push(mailbox),
            Ok(Goes::NoFurther) => {}
            Err(error) if error.is_fatal() => {
                tracing::error!(event = "store_failed", %error, "the store cannot be read: the broker ends");
                fail(line, &Arc::downgrade(&core));
                return;
            }
            Err(error) => {
                tracing::warn!(event = "store_read_refused", %error, "the store could not be read for now");
                drop(core);
                std::thread::sleep(AGAIN_AFTER);
                line.push(mailbox);
            }
        }
    }
}

/// Whether a session is to be looked at again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Goes {
    On,
    NoFurther,
}

/// What the thread works with.
#[derive(Debug)]
struct Reading {
    reader: Box<dyn Reader>,
    cache: Cache,
    /// What one session is to get, and what was found of it.
    wanted: Vec<Entry>,
    found: Vec<Option<Delivery>>,
    missing: Vec<MessageId>,
}

impl Reading {
    fn new(reader: Box<dyn Reader>) -> Self {
        Self {
            reader,
            cache: Cache::default(),
            wanted: Vec::new(),
            found: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Reads the next batch for one session.
    fn serve(&mut self, core: &Arc<Core>, mailbox: &Arc<Mailbox>) -> Result<Goes, StoreError> {
        let mut drops = Drops::default();
        self.wanted.clear();
        let window = core.window_to_fill();
        let charge = mailbox.next_to_read(window, READ_STEP, &mut self.wanted, &mut drops);
        mailbox.namespace.charge(charge);
        core.report(mailbox, drops);
        if self.wanted.is_empty() {
            return Ok(Goes::NoFurther);
        }
        self.read(core, mailbox.session_no)?;
        // When memory is short, others need it more.
        if core.budget.is_short() {
            self.cache.clear();
        }
        add(&mailbox.namespace.counters.messages_paged_in, self.wanted.len() as u64);
        let mut drops = Drops::default();
        let read = self.wanted.drain(..).zip(self.found.drain(..));
        let (more, charge) = mailbox.take_read(read, &mut drops);
        mailbox.namespace.charge(charge);
        for lost in drops.list.iter().filter(|dropped| dropped.reason == DropReason::Store) {
            let client_id = mailbox.client_id.as_str();
            tracing::error!(
                event = "message_lost",
                client_id,
                place = lost.seq,
                "a queued message is not in the store"
            );
        }
        core.report(mailbox, drops);
        Ok(if more { Goes::On } else { Goes::NoFurther })
    }

    /// Finds everything that is wanted, in its order.
    fn read(&mut self, core: &Arc<Core>, session: SessionNo) -> Result<(), StoreError> {
        let Self { reader, cache, wanted, found, missing } = self;
        let clock = Clock::now(None);
        found.clear();
        missing.clear();
        for entry in wanted.iter() {
            let known = cache.get(entry.id);
            if known.is_none() {
                missing.push(entry.id);
            }
            found.push(known.and_then(|known| known.delivery(session, entry, clock)));
        }
        // A message may stand in one queue twice.
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        reader.read(missing, &mut |id, publication| {
            let Some(publication) = publication else { return };
            let known = Known::new(core, publication);
            let first = wanted.partition_point(|entry| entry.id < id);
            for (entry, found) in wanted.iter().zip(found.iter_mut()).skip(first) {
                if entry.id != id {
                    break;
                }
                *found = known.delivery(session, entry, clock);
            }
            cache.put(id, known);
        })
    }
}

/// A message that was read, with the places it stands in.
#[derive(Debug)]
struct Known {
    message: Arc<Message>,
    expires_at: Option<UnixMillis>,
    /// By session and place.
    targets: Vec<Target>,
}

impl Known {
    fn new(core: &Core, publication: Arc<Publication>) -> Self {
        let Publication { message, expires_at, mut targets, .. } =
            Arc::unwrap_or_clone(publication);
        let order = |target: &Target| (target.session, target.seq);
        if !targets.is_sorted_by_key(order) {
            targets.sort_unstable_by_key(order);
        }
        Self { message: core.own_message(message), expires_at, targets }
    }

    /// The copy for one place; none if the message does not stand there.
    fn delivery(&self, session: SessionNo, entry: &Entry, clock: Clock) -> Option<Delivery> {
        let at = self
            .targets
            .binary_search_by_key(&(session, entry.seq), |target| (target.session, target.seq));
        let target = self.targets.get(at.ok()?)?;
        let stored = || self.expires_at.and_then(|at| clock.at(at));
        Some(Delivery {
            message: Arc::clone(&self.message),
            qos: target.qos,
            retain: target.retain,
            subscription_ids: target.subscription_ids.iter().copied().collect(),
            seq: target.seq,
            expires_at: match entry.expiry {
                Expiry::Never => None,
                Expiry::At(at) => Some(at),
                Expiry::Far => stored(),
            },
            sent_before: entry.sent_before || entry.may_repeat,
            origin: Origin::Plain,
        })
    }

    fn size(&self) -> usize {
        self.message.size() + self.targets.len() * size_of::<Target>()
    }
}

/// Messages that other sessions will want too, the oldest forgotten first. Bounded by [`CACHE_BYTES_MAX`] and
/// [`CACHE_TIME`], and by what memory is left.
#[derive(Debug, Default)]
struct Cache {
    known: HashMap<MessageId, Known>,
    order: VecDeque<MessageId>,
    bytes: usize,
}

impl Cache {
    fn clear(&mut self) {
        *self = Self::default();
    }

    fn get(&self, id: MessageId) -> Option<&Known> {
        self.known.get(&id)
    }

    fn put(&mut self, id: MessageId, known: Known) {
        let size = known.size();
        // What one session wants is wanted once.
        if known.targets.len() < 2 || size > CACHE_BYTES_MAX {
            return;
        }
        if self.known.insert(id, known).is_none() {
            self.bytes += size;
            self.order.push_back(id);
        }
        while self.bytes > CACHE_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.known.remove(&oldest).map_or(0, |known| known.size());
        }
    }
}

impl Core {
    /// A message from the store, with its payload charged to the budget while it is in memory.
    pub(crate) fn own_message(&self, message: Arc<Message>) -> Arc<Message> {
        let payload = self.budget.own_stored(&message.payload);
        match payload {
            Some(payload) => Arc::new(Message { payload, ..Message::clone(&message) }),
            None => message,
        }
    }
}

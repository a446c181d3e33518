//! `dunlin store import`: what an export says, into a store that holds nothing.
//!
//! A file is read once, from its beginning to its end, and kept nowhere but in the store. It is checked as it comes: each
//! value for itself, each line against those before it, and the whole by the counts in its last line.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, BufRead, Read as _};

use dunlin_codec::Text;
use dunlin_store::{
    Batch, Change, Cursor, Durability, MessageHeader, MessageId, Meta, NamespaceNo, Publication,
    RetainedRecord, SessionKey, SessionNo, SessionRecord, Store, StoreError, StoredSession,
    Visitor,
};

use super::line::{Counts, Head, Line, VERSION};
use super::take::{self, Wrong};

/// Changes of one commit, ...
const BATCH_CHANGES: usize = 1_000;
/// ... and bytes of their messages.
const BATCH_BYTES: usize = 4 << 20;

/// The longest line: one message of the largest size there is, as base64, with properties and many targets beside it.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// Why an import did not come to its end.
#[derive(Debug)]
pub(super) enum ImportError {
    /// The store holds something.
    NotEmpty,
    /// The file says something that cannot be.
    Line { number: u64, wrong: Wrong },
    /// The file cannot be read.
    Read(io::Error),
    /// The store does not take it.
    Store(StoreError),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEmpty => {
                f.write_str("the store is not empty, and an import needs an empty one")
            }
            Self::Line { number, wrong } => write!(f, "line {number}: {wrong}"),
            Self::Read(error) => write!(f, "the file cannot be read: {error}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for ImportError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Reads all of `input` into `store`. After an error the store may hold a part.
pub(super) fn import(
    store: &mut dyn Store,
    input: &mut dyn BufRead,
) -> Result<Counts, ImportError> {
    let mut found = Found::default();
    store.recover(&mut found)?;
    if found.anything {
        return Err(ImportError::NotEmpty);
    }
    let mut import = Import {
        batch: Batch::new(found.next_message.unwrap_or(MessageId::FIRST)),
        bytes: 0,
        store,
        seen: Seen::default(),
    };
    let mut lines = Lines { input, number: 0, text: Vec::new() };
    while let Some(text) = lines.next()? {
        let taken = parse(text).and_then(|line| import.take(line));
        taken.map_err(|wrong| ImportError::Line { number: lines.number, wrong })?;
        if import.batch.changes().len() >= BATCH_CHANGES || import.bytes >= BATCH_BYTES {
            import.commit(Durability::Memory)?;
        }
    }
    if import.seen.part != Part::End {
        let wrong = "the file ends here without its last line, so a part of it is missing";
        return Err(ImportError::Line { number: lines.number, wrong: wrong.to_owned() });
    }
    import.commit(Durability::Fsync)?;
    Ok(import.seen.counts)
}

/// What a store holds that should hold nothing.
#[derive(Debug, Default)]
struct Found {
    next_message: Option<MessageId>,
    anything: bool,
}

impl Visitor for Found {
    fn meta(&mut self, meta: &Meta) {
        self.next_message = Some(meta.next_message);
    }

    fn namespace(&mut self, _namespace: NamespaceNo, _name: &Text) {
        self.anything = true;
    }

    fn session(&mut self, _session: StoredSession) {
        self.anything = true;
    }

    fn message(&mut self, _message: &MessageHeader<'_>) {
        self.anything = true;
    }

    fn retained(&mut self, _retained: RetainedRecord) {
        self.anything = true;
    }
}

struct Lines<'a> {
    input: &'a mut dyn BufRead,
    number: u64,
    text: Vec<u8>,
}

impl Lines<'_> {
    /// The next line; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<&[u8]>, ImportError> {
        self.text.clear();
        let mut input = (&mut *self.input).take(LINE_BYTES_MAX);
        if input.read_until(b'\n', &mut self.text)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.text.last() == Some(&b'\n') {
            return Ok(Some(&self.text));
        }
        let wrong = "the line is cut: the file ends, or the line is longer than any message";
        Err(ImportError::Line { number: self.number, wrong: wrong.to_owned() })
    }
}

fn parse(text: &[u8]) -> Result<Line, Wrong> {
    serde_json::from_slice(text).map_err(|error| {
        // The parser counts lines too, and always from 1.
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let plain = text.strip_suffix(&place).unwrap_or(&text);
        format!("column {}: {plain}", error.column())
    })
}

/// The parts of a file, in their order.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
enum Part {
    #[default]
    Nothing,
    Head,
    Namespaces,
    Sessions,
    Retained,
    Messages,
    End,
}

/// What stood in the lines so far.
#[derive(Debug, Default)]
struct Seen {
    part: Part,
    counts: Counts,
    next_session: u32,
    namespaces: HashSet<NamespaceNo>,
    last_session: u32,
    keys: HashSet<(NamespaceNo, SessionKey)>,
    queues: HashMap<SessionNo, Queue>,
}

#[derive(Debug)]
struct Queue {
    cursor: Cursor,
    /// The place of the last message.
    last: u64,
}

struct Import<'a> {
    store: &'a mut dyn Store,
    batch: Batch,
    /// Of the messages in the batch.
    bytes: usize,
    seen: Seen,
}

impl Import<'_> {
    fn take(&mut self, line: Line) -> Result<(), Wrong> {
        self.seen.enter(&line)?;
        match line {
            Line::DunlinExport(head) => self.seen.head(&head)?,
            Line::Namespace(line) => {
                let namespace = NamespaceNo(line.number);
                let name = take::text("name", line.name)?;
                self.seen.namespace(namespace)?;
                self.batch.push(Change::NamespaceOpened { namespace, name });
            }
            Line::Session(line) => {
                let session = take::session(*line)?;
                self.seen.session(&session)?;
                self.session(session);
            }
            Line::Retained(line) => {
                let record = take::retained(*line)?;
                self.seen.known(record.namespace)?;
                self.seen.counts.retained += 1;
                self.bytes += record.message.size();
                self.batch.push(Change::Retained {
                    namespace: record.namespace,
                    number: record.number,
                    message: record.message,
                    stored_at: record.stored_at,
                    expires_at: record.expires_at,
                });
            }
            Line::Message(line) => {
                let publication = take::message(*line)?;
                self.seen.message(&publication)?;
                self.bytes += publication.message.size();
                self.batch.publish(publication);
            }
            Line::End(counts) => {
                self.seen.end(counts)?;
                self.use_up_session_numbers();
            }
        }
        Ok(())
    }

    fn session(&mut self, stored: StoredSession) {
        let session = stored.session;
        let StoredSession { namespace, key, record, cursor, .. } = stored;
        self.batch.push(Change::SessionOpened { session, namespace, key, record });
        for (filter, record) in stored.subscriptions {
            self.batch.push(Change::Subscribed { session, filter, record });
        }
        for packet_id in stored.inbound {
            self.batch.push(Change::InboundStored { session, packet_id });
        }
        // Before the messages, so that no place is filled that is done with.
        let through = cursor.acknowledged_through();
        let begin = (through > 0).then_some((1, through));
        for (first, last) in begin.into_iter().chain(cursor.ranges()) {
            self.batch.push(Change::Acknowledged { session, first, last });
        }
        for seq in cursor.released() {
            self.batch.push(Change::OutboundReleased { session, seq });
        }
        self.seen.queues.insert(session, Queue { cursor, last: 0 });
    }

    /// Numbers of sessions that ended are not used again: a message may still name one as its publisher.
    fn use_up_session_numbers(&mut self) {
        let Some(last_used) = self.seen.next_session.checked_sub(1) else { return };
        if last_used <= self.seen.last_session {
            return;
        }
        let session = SessionNo(last_used);
        self.batch.push(Change::SessionOpened {
            session,
            // No tenant gets this number and no group this name, so that nobody's session ends by it.
            namespace: NamespaceNo(u32::MAX),
            key: SessionKey::Group(Text::empty()),
            record: SessionRecord::default(),
        });
        self.batch.push(Change::SessionEnded { session });
    }

    fn commit(&mut self, durability: Durability) -> Result<(), StoreError> {
        self.batch.require(durability);
        self.store.commit(&self.batch)?;
        self.store.look_after(false)?;
        self.batch = Batch::new(self.batch.next_id());
        self.bytes = 0;
        Ok(())
    }
}

impl Seen {
    /// Lines of one kind stand together, and the kinds in their order.
    fn enter(&mut self, line: &Line) -> Result<(), Wrong> {
        let part = match line {
            Line::DunlinExport(_) => Part::Head,
            Line::Namespace(_) => Part::Namespaces,
            Line::Session(_) => Part::Sessions,
            Line::Retained(_) => Part::Retained,
            Line::Message(_) => Part::Messages,
            Line::End(_) => Part::End,
        };
        if (self.part == Part::Nothing) != (part == Part::Head) {
            return Err("an export begins with its one line `dunlin_export`".to_owned());
        }
        if self.part == Part::End {
            return Err("nothing may follow the line `end`".to_owned());
        }
        if part < self.part {
            return Err(format!("{part:?} stand before {:?}", self.part).to_lowercase());
        }
        self.part = part;
        Ok(())
    }

    fn head(&mut self, head: &Head) -> Result<(), Wrong> {
        if head.version != VERSION {
            return Err(format!(
                "the export has version {} and was written by {}; this dunlin reads version {VERSION}",
                head.version, head.program
            ));
        }
        self.next_session = head.next_session;
        Ok(())
    }

    fn namespace(&mut self, namespace: NamespaceNo) -> Result<(), Wrong> {
        self.counts.namespaces += 1;
        if namespace == NamespaceNo::DEFAULT || !self.namespaces.insert(namespace) {
            return Err(format!("namespace {namespace} is there already"));
        }
        Ok(())
    }

    fn known(&self, namespace: NamespaceNo) -> Result<(), Wrong> {
        if namespace == NamespaceNo::DEFAULT || self.namespaces.contains(&namespace) {
            return Ok(());
        }
        Err(format!("no line before says what namespace {namespace} is"))
    }

    fn session(&mut self, stored: &StoredSession) -> Result<(), Wrong> {
        let number = stored.session.0;
        self.known(stored.namespace)?;
        if number <= self.last_session {
            return Err(format!("session {number} stands behind {}", self.last_session));
        }
        if !self.keys.insert((stored.namespace, stored.key.clone())) {
            return Err(format!("session {number} is the second one of its client"));
        }
        self.last_session = number;
        self.counts.sessions += 1;
        self.counts.subscriptions += stored.subscriptions.len() as u64;
        Ok(())
    }

    fn message(&mut self, publication: &Publication) -> Result<(), Wrong> {
        for target in &publication.targets {
            let session = target.session;
            let Some(queue) = self.queues.get_mut(&session) else {
                return Err(format!("no line before says who session {session} is"));
            };
            if queue.cursor.is_acknowledged(target.seq) {
                return Err(format!("session {session} is done with its place {}", target.seq));
            }
            if target.seq <= queue.last {
                return Err(format!(
                    "place {} of session {session} stands behind {}",
                    target.seq, queue.last
                ));
            }
            queue.last = target.seq;
        }
        self.counts.messages += 1;
        self.counts.targets += publication.targets.len() as u64;
        Ok(())
    }

    fn end(&self, counts: Counts) -> Result<(), Wrong> {
        if counts == self.counts {
            return Ok(());
        }
        Err(format!("the file should hold {counts}, and it holds {}", self.counts))
    }
}

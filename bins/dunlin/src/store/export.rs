//! `dunlin store export`: everything that a store holds, line by line, in a format that outlives it.
//!
//! Nothing is collected but what is small: a cursor for each session, and the ids of the messages as runs of numbers
//! that follow each other. Payloads pass through, a few at a time.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};

use dunlin_codec::Text;
use dunlin_store::{
    Cursor, MessageHeader, MessageId, Meta, NamespaceNo, RetainedRecord, SessionNo, Store,
    StoreError, StoredSession, Target, Visitor,
};

use super::line::{Counts, Head, Line, Namespace, VERSION};
use super::show;

/// Messages read from the store at a time.
const READ_STEP: usize = 100;

/// Why an export did not come to its end.
#[derive(Debug)]
pub(super) enum ExportError {
    /// The store cannot be read.
    Store(StoreError),
    /// A message that the store showed is not there.
    Gone(MessageId),
    /// The file cannot be written.
    Write(io::Error),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Gone(id) => write!(f, "the store is damaged: message {id} is missing"),
            Self::Write(error) => write!(f, "the export cannot be written: {error}"),
        }
    }
}

impl From<StoreError> for ExportError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Writes everything that `store` holds to `out`; `written_at` is for the first line.
pub(super) fn export(
    store: &mut dyn Store,
    written_at: u64,
    out: &mut dyn Write,
) -> Result<Counts, ExportError> {
    let mut writer = Writer {
        out,
        written_at,
        counts: Counts::default(),
        cursors: HashMap::new(),
        ids: Runs::default(),
        failure: None,
    };
    store.recover(&mut writer)?;
    writer.checked()?;
    writer.messages(store)?;
    let counts = writer.counts;
    writer.line(&Line::End(counts));
    writer.checked()?;
    writer.out.flush()?;
    Ok(counts)
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    written_at: u64,
    counts: Counts,
    cursors: HashMap<SessionNo, Cursor>,
    ids: Runs,
    /// The first one; after it nothing is written.
    failure: Option<io::Error>,
}

impl Writer<'_> {
    fn line(&mut self, line: &Line) {
        if self.failure.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut *self.out, line)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"));
        self.failure = written.err();
    }

    fn checked(&mut self) -> Result<(), ExportError> {
        self.failure.take().map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn messages(&mut self, store: &dyn Store) -> Result<(), ExportError> {
        let mut reader = store.reader();
        let ids = std::mem::take(&mut self.ids);
        let mut ids = ids.iter();
        loop {
            let step: Vec<MessageId> = ids.by_ref().take(READ_STEP).collect();
            if step.is_empty() {
                return Ok(());
            }
            let mut gone = None;
            reader.read(&step, &mut |id, publication| match publication {
                Some(publication) => {
                    let message = show::message(&publication, |target| self.waits(target));
                    self.counts.messages += 1;
                    self.counts.targets += message.targets.len() as u64;
                    self.line(&Line::Message(Box::new(message)));
                }
                None => gone = Some(id),
            })?;
            if let Some(id) = gone {
                return Err(ExportError::Gone(id));
            }
            self.checked()?;
        }
    }

    /// Whether the session is there and not done with the message.
    fn waits(&self, target: &Target) -> bool {
        self.cursors.get(&target.session).is_some_and(|cursor| !cursor.is_acknowledged(target.seq))
    }
}

impl Visitor for Writer<'_> {
    fn meta(&mut self, meta: &Meta) {
        self.line(&Line::DunlinExport(Head {
            version: VERSION,
            program: concat!("dunlin ", env!("CARGO_PKG_VERSION")).to_owned(),
            written_at: self.written_at,
            next_session: meta.next_session.0,
        }));
    }

    fn namespace(&mut self, namespace: NamespaceNo, name: &Text) {
        self.counts.namespaces += 1;
        let name = name.as_str().to_owned();
        self.line(&Line::Namespace(Namespace { number: namespace.0, name }));
    }

    fn session(&mut self, session: StoredSession) {
        self.counts.sessions += 1;
        self.counts.subscriptions += session.subscriptions.len() as u64;
        self.line(&Line::Session(Box::new(show::session(&session))));
        self.cursors.insert(session.session, session.cursor);
    }

    fn message(&mut self, message: &MessageHeader<'_>) {
        self.ids.push(message.id);
    }

    fn retained(&mut self, retained: RetainedRecord) {
        self.counts.retained += 1;
        self.line(&Line::Retained(Box::new(show::retained(&retained))));
    }
}

/// Rising ids: first and last of each run of ids that follow each other.
#[derive(Debug, Default)]
struct Runs(Vec<(u64, u64)>);

impl Runs {
    fn push(&mut self, MessageId(id): MessageId) {
        match self.0.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(id) => *last = id,
            Some(_) | None => self.0.push((id, id)),
        }
    }

    fn iter(&self) -> impl Iterator<Item = MessageId> {
        self.0.iter().flat_map(|&(first, last)| first..=last).map(MessageId)
    }
}

//! What the store knows in memory: sessions, how far they have come, and which message stands at which place.
//!
//! All of it is derived from the tables, and changed before them while a batch is applied. What a batch has done can be
//! taken back until it is committed.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::messages::Messages;
use crate::cursor::Cursor;
use crate::id::{MessageId, NamespaceNo, SessionNo};
use crate::record::SessionKey;

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) namespace: NamespaceNo,
    pub(super) key: SessionKey,
    pub(super) cursor: Cursor,
    /// The place of the first of `ids`.
    front: u64,
    /// The messages at the places from `front` on; 0 where none waits.
    ids: VecDeque<u64>,
    /// When the cursor became other than its row is; 0 if it is as its row.
    ticket: u64,
    /// The batch in which the cursor was saved for taking back.
    saved_in: u64,
}

impl Session {
    pub(super) fn new(namespace: NamespaceNo, key: SessionKey, cursor: Cursor) -> Self {
        let front = cursor.acknowledged_through() + 1;
        Self { namespace, key, cursor, front, ids: VecDeque::new(), ticket: 0, saved_in: 0 }
    }

    fn index(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.front)?).ok()
    }

    pub(super) fn at(&self, seq: u64) -> Option<MessageId> {
        let id = *self.ids.get(self.index(seq)?)?;
        (id > 0).then_some(MessageId(id))
    }

    /// Puts a message at a place; what was there before.
    fn put(&mut self, seq: u64, id: u64) -> u64 {
        if self.ids.is_empty() {
            self.front = seq;
        }
        while seq < self.front {
            self.ids.push_front(0);
            self.front -= 1;
        }
        let Some(index) = self.index(seq) else { return 0 };
        if self.ids.len() == index {
            self.ids.push_back(id);
            return 0;
        }
        if self.ids.len() < index {
            self.ids.resize(index + 1, 0);
        }
        self.ids.get_mut(index).map_or(0, |place| std::mem::replace(place, id))
    }

    /// Gives back the places at the front that nobody waits at any more.
    fn trim(&mut self) {
        while self.ids.front() == Some(&0) {
            self.ids.pop_front();
            self.front += 1;
        }
        if self.ids.is_empty() && self.ids.capacity() > 64 {
            self.ids = VecDeque::new();
        }
    }

    /// Its messages, in the order of their places.
    pub(super) fn queue(&self) -> impl Iterator<Item = u64> {
        self.ids.iter().copied().filter(|id| *id > 0)
    }
}

/// One step of a batch, to be taken back.
#[derive(Debug)]
enum Undo {
    Opened(SessionNo),
    Discarded(SessionNo, Box<Session>),
    /// Boxed like the one above: most steps are of the next kind, and small.
    Cursor(SessionNo, Box<Cursor>),
    /// A message was put at this place.
    Put(SessionNo, u64),
    /// This message was taken from this place.
    Taken(SessionNo, u64, u64),
    Inserted(MessageId),
}

#[derive(Debug, Default)]
pub(super) struct Index {
    sessions: HashMap<SessionNo, Session>,
    keys: HashMap<(NamespaceNo, SessionKey), SessionNo>,
    pub(super) messages: Messages,
    undo: Vec<Undo>,
    /// Sessions to be trimmed when the batch is committed.
    touched: Vec<SessionNo>,
    /// Sessions whose cursor is not as its row is, oldest first.
    dirty: VecDeque<(u64, SessionNo)>,
    /// What this batch has taken from the front of `dirty`.
    flushed: Vec<(u64, SessionNo)>,
    last_ticket: u64,
    batch: u64,
}

impl Index {
    pub(super) fn get(&self, session: SessionNo) -> Option<&Session> {
        self.sessions.get(&session)
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    // ---- Loading ----

    pub(super) fn load(&mut self, number: SessionNo, session: Session) {
        self.keys.insert((session.namespace, session.key.clone()), number);
        self.sessions.insert(number, session);
    }

    pub(super) fn load_place(&mut self, id: MessageId, session: SessionNo, seq: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.put(seq, id.0);
        }
    }

    // ---- The changes of a batch ----

    pub(super) fn begin(&mut self) {
        self.batch += 1;
        debug_assert!(self.undo.is_empty() && self.flushed.is_empty());
    }

    /// The session that has this key now.
    pub(super) fn holder(&self, namespace: NamespaceNo, key: &SessionKey) -> Option<SessionNo> {
        self.keys.get(&(namespace, key.clone())).copied()
    }

    pub(super) fn open(&mut self, number: SessionNo, namespace: NamespaceNo, key: &SessionKey) {
        assert!(!self.sessions.contains_key(&number), "session number {number} is in use");
        self.load(number, Session::new(namespace, key.clone(), Cursor::default()));
        self.undo.push(Undo::Opened(number));
    }

    /// Takes a session out, and its messages from its places; whether it was there.
    pub(super) fn discard(&mut self, number: SessionNo) -> bool {
        let Some(session) = self.sessions.remove(&number) else { return false };
        self.keys.remove(&(session.namespace, session.key.clone()));
        for id in session.queue() {
            self.messages.release(id, self.last_ticket);
        }
        self.undo.push(Undo::Discarded(number, Box::new(session)));
        true
    }

    /// Whether this place can be filled: the session is there and is not done with it.
    pub(super) fn takes(&self, session: SessionNo, seq: u64) -> bool {
        self.sessions.get(&session).is_some_and(|session| !session.cursor.is_acknowledged(seq))
    }

    /// Puts a message at a place if it [takes](Self::takes) one; whether it does.
    pub(super) fn put(&mut self, id: MessageId, session: SessionNo, seq: u64) -> bool {
        let found = self.sessions.get_mut(&session);
        let Some(found) = found.filter(|session| !session.cursor.is_acknowledged(seq)) else {
            return false;
        };
        let before = found.put(seq, id.0);
        // Two messages at one place would mean that one of them is lost, though it will be acknowledged.
        assert!(before == 0, "place {seq} of session {session} is taken");
        self.undo.push(Undo::Put(session, seq));
        true
    }

    pub(super) fn inserted(&mut self, id: MessageId, waiting: u32) {
        self.messages.insert(id, waiting);
        self.undo.push(Undo::Inserted(id));
    }

    /// The places are done with; their cursor's row is to be written at some time.
    pub(super) fn acknowledge(&mut self, number: SessionNo, first: u64, last: u64) {
        if !self.save_cursor(number) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&number) else { return };
        session.cursor.acknowledge(first, last);
        if session.ticket == 0 {
            self.last_ticket += 1;
            session.ticket = self.last_ticket;
            self.dirty.push_back((session.ticket, number));
        }
        let end = session.front + session.ids.len() as u64;
        for seq in first.max(session.front)..last.saturating_add(1).min(end) {
            let Some(place) = session.index(seq).and_then(|index| session.ids.get_mut(index))
            else {
                break;
            };
            let id = std::mem::take(place);
            if id > 0 {
                self.messages.release(id, self.last_ticket);
                self.undo.push(Undo::Taken(number, seq, id));
            }
        }
    }

    pub(super) fn release(&mut self, number: SessionNo, seq: u64) {
        if self.save_cursor(number)
            && let Some(session) = self.sessions.get_mut(&number)
        {
            session.cursor.release(seq);
        }
    }

    /// Keeps the cursor as it was before this batch; `false` if there is no such session.
    fn save_cursor(&mut self, number: SessionNo) -> bool {
        let Some(session) = self.sessions.get_mut(&number) else { return false };
        if session.saved_in != self.batch {
            session.saved_in = self.batch;
            self.undo.push(Undo::Cursor(number, Box::new(session.cursor.clone())));
            self.touched.push(number);
        }
        true
    }

    /// The next session whose cursor should be written, oldest first.
    pub(super) fn next_dirty(&mut self) -> Option<SessionNo> {
        while let Some((ticket, number)) = self.dirty.pop_front() {
            self.flushed.push((ticket, number));
            if self.sessions.get(&number).is_some_and(|session| session.ticket == ticket) {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Every cursor with a ticket below this one is written.
    pub(super) fn written_below(&self) -> u64 {
        self.dirty.front().map_or(self.last_ticket + 1, |(ticket, _)| *ticket)
    }

    /// The batch is committed.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
        for (ticket, number) in self.flushed.drain(..) {
            if let Some(session) = self.sessions.get_mut(&number)
                && session.ticket == ticket
            {
                session.ticket = 0;
            }
        }
        for number in self.touched.drain(..) {
            if let Some(session) = self.sessions.get_mut(&number) {
                session.trim();
            }
        }
    }

    /// The batch is not committed: everything is as before.
    pub(super) fn take_back(&mut self) {
        while let Some((ticket, number)) = self.flushed.pop() {
            self.dirty.push_front((ticket, number));
        }
        while let Some(step) = self.undo.pop() {
            match step {
                Undo::Opened(number) => {
                    if let Some(session) = self.sessions.remove(&number) {
                        self.keys.remove(&(session.namespace, session.key));
                    }
                }
                Undo::Discarded(number, session) => {
                    for id in session.queue() {
                        self.messages.keep(id);
                    }
                    self.load(number, *session);
                }
                Undo::Cursor(number, cursor) => {
                    if let Some(session) = self.sessions.get_mut(&number) {
                        session.cursor = *cursor;
                        session.saved_in = 0;
                    }
                }
                Undo::Put(number, seq) => {
                    if let Some(session) = self.sessions.get_mut(&number) {
                        session.put(seq, 0);
                    }
                }
                Undo::Taken(number, seq, id) => {
                    if let Some(session) = self.sessions.get_mut(&number) {
                        session.put(seq, id);
                        self.messages.keep(id);
                    }
                }
                Undo::Inserted(id) => self.messages.remove(id),
            }
        }
        // What the batch had dirtied stays so: its cursor is written once in vain.
        for number in self.touched.drain(..) {
            if let Some(session) = self.sessions.get_mut(&number) {
                session.trim();
            }
        }
    }
}

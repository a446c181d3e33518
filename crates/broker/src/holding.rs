//! What the store has no room for, kept until there is some, and tried again in its order.
//!
//! All decisions fall on the committer's thread, where each write is prepared in the order of its submission. Changes of
//! sessions that found no room stand before everything in the next batch. Messages wait in lines: one for each MQTT 3.x
//! client that published some, and one for what the broker itself has to publish. While a line is not empty, what comes
//! later for it is put behind it, whether there is room or not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_store::{Change, SessionNo};
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::core::Core;
use crate::mailbox::Mailbox;
use crate::persist::{Entry, Write};

/// The line of the broker itself: wills, and messages that were acknowledged before they came to the store.
pub(crate) const BROKER_LINE: SessionNo = SessionNo(0);

/// From one try to the next.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is held. Bounds: for each client the messages it may have unacknowledged, its Receive Maximum; for the broker one
/// will and one record for each session that ends, and what goes to members of shared groups or came back from them.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// Whether there is anything, read without the lock.
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    changes: Vec<Entry>,
    lines: HashMap<SessionNo, Line>,
    /// Sessions of which the broker's line holds something, and how much: what changes them next must not overtake it.
    sessions: HashMap<SessionNo, usize>,
    /// Whether a task runs that tries again.
    trying: bool,
}

#[derive(Debug, Default)]
struct Line {
    /// Who is told what becomes of it.
    owner: Option<Arc<Mailbox>>,
    entries: VecDeque<Entry>,
    /// What the batch that is being committed will add.
    coming: usize,
}

impl Holding {
    /// Whether anything is held.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Messages held, of all lines.
    pub(crate) fn messages(&self) -> u64 {
        let state = self.state.lock();
        state.lines.values().map(|line| line.entries.len() as u64).sum()
    }

    /// The changes held, in their order.
    pub(crate) fn take_changes(&self) -> Vec<Entry> {
        let mut state = self.state.lock();
        let changes = std::mem::take(&mut state.changes);
        self.note(&state);
        changes
    }

    /// Puts them back, before those that came since.
    pub(crate) fn put_changes_back(&self, mut changes: Vec<Entry>) {
        if changes.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        changes.append(&mut state.changes);
        state.changes = changes;
        self.note(&state);
    }

    /// Whether what comes for this line has to go behind it.
    pub(crate) fn has_line(&self, line: SessionNo) -> bool {
        self.state.lock().lines.contains_key(&line)
    }

    /// Whether something of this session waits in the broker's line.
    pub(crate) fn has_session(&self, session: SessionNo) -> bool {
        self.state.lock().sessions.contains_key(&session)
    }

    /// The front of a line, of up to so many bytes, but one entry at least. An emptied line is gone.
    pub(crate) fn take_front(&self, line: SessionNo, bytes_max: usize) -> Vec<Entry> {
        let mut taken = Vec::new();
        let mut state = self.state.lock();
        let State { lines, sessions, .. } = &mut *state;
        let Some(found) = lines.get_mut(&line) else { return taken };
        let mut bytes = 0_usize;
        while let Some(entry) = found.entries.front() {
            bytes = bytes.saturating_add(entry.size());
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            taken.extend(found.entries.pop_front());
        }
        if found.is_over() {
            lines.remove(&line);
        }
        if line == BROKER_LINE {
            taken.iter().for_each(|entry| count(sessions, entry, false));
        }
        self.note(&state);
        taken
    }

    /// Puts entries back to the front of their line.
    pub(crate) fn put_front_back(
        &self,
        line: SessionNo,
        owner: Option<&Arc<Mailbox>>,
        entries: Vec<Entry>,
    ) {
        let mut state = self.state.lock();
        for entry in entries.into_iter().rev() {
            if line == BROKER_LINE {
                count(&mut state.sessions, &entry, true);
            }
            state.line(line, owner).entries.push_front(entry);
        }
        self.note(&state);
    }

    /// Ends a line; gives what was in it.
    pub(crate) fn end_line(&self, line: SessionNo) -> VecDeque<Entry> {
        let mut state = self.state.lock();
        let ended = state.lines.remove(&line);
        self.note(&state);
        ended.map_or_else(VecDeque::new, |line| line.entries)
    }

    /// A newer record of the session goes to the store now: what is held must not undo it. A will stays, but takes no will
    /// from the store any more, since that would be the new one.
    pub(crate) fn superseded(&self, session: SessionNo) {
        let mut state = self.state.lock();
        state.sessions.remove(&session);
        if let Some(line) = state.lines.get_mut(&BROKER_LINE) {
            line.entries.retain_mut(|entry| {
                if let Entry::Publish(entry) = entry {
                    entry.will_of = entry.will_of.filter(|other| *other != session);
                }
                session_of(entry) != Some(session)
            });
            if line.is_over() {
                state.lines.remove(&BROKER_LINE);
            }
        }
        self.note(&state);
    }

    /// Notes that something will be put into a line at the end of this batch: what comes for it meanwhile goes behind it.
    pub(crate) fn announce(&self, line: SessionNo, of: Option<SessionNo>) {
        let mut state = self.state.lock();
        state.line(line, None).coming += 1;
        if let Some(session) = of.filter(|_| line == BROKER_LINE) {
            *state.sessions.entry(session).or_default() += 1;
        }
        self.note(&state);
    }

    /// It will not: the batch is put together anew.
    pub(crate) fn revoke(&self, line: SessionNo, of: Option<SessionNo>) {
        let mut state = self.state.lock();
        let found = state.line(line, None);
        found.coming = found.coming.saturating_sub(1);
        if state.lines.get(&line).is_some_and(Line::is_over) {
            state.lines.remove(&line);
        }
        if let Some(session) = of.filter(|_| line == BROKER_LINE) {
            uncount(&mut state.sessions, session);
        }
        self.note(&state);
    }

    /// Puts what was announced at the end of its line.
    fn keep(&self, line: SessionNo, owner: Option<&Arc<Mailbox>>, mut entry: Entry) {
        let mut state = self.state.lock();
        let session = session_of(&entry).filter(|_| line == BROKER_LINE);
        // A newer record of the session is in the same batch.
        let superseded = session.is_some_and(|session| !state.sessions.contains_key(&session));
        let found = state.line(line, owner);
        found.coming = found.coming.saturating_sub(1);
        if !superseded {
            found.entries.push_back(entry);
        } else if let Entry::Publish(will) = &mut entry {
            will.will_of = None;
            found.entries.push_back(entry);
        }
        if found.is_over() {
            state.lines.remove(&line);
        }
        self.note(&state);
    }

    /// Keeps something at the end of its line, or changes, which stand in none.
    fn hold(&self, line: Option<SessionNo>, owner: Option<&Arc<Mailbox>>, entries: Vec<Entry>) {
        let mut state = self.state.lock();
        for entry in entries {
            match line {
                None => state.changes.push(entry),
                Some(line) => {
                    if line == BROKER_LINE {
                        count(&mut state.sessions, &entry, true);
                    }
                    state.line(line, owner).entries.push_back(entry);
                }
            }
        }
        self.note(&state);
    }

    /// Whether the caller must begin to try again: something is held, and nobody does.
    fn begins_to_try(&self) -> bool {
        let mut state = self.state.lock();
        let held = !state.lines.is_empty() || !state.changes.is_empty();
        held && !std::mem::replace(&mut state.trying, true)
    }

    /// The lines to be tried, with those who are told; none if nothing is held, and then nobody tries any more.
    fn to_try(&self) -> Option<Vec<(SessionNo, Option<Arc<Mailbox>>)>> {
        let mut state = self.state.lock();
        if state.lines.is_empty() && state.changes.is_empty() {
            *state = State::default();
            return None;
        }
        let mut lines: Vec<_> =
            state.lines.iter().map(|(number, line)| (*number, line.owner.clone())).collect();
        // Whoever tries takes the changes along.
        if lines.is_empty() {
            lines.push((BROKER_LINE, None));
        }
        Some(lines)
    }

    fn note(&self, state: &State) {
        self.any.store(!state.changes.is_empty() || !state.lines.is_empty(), Ordering::Relaxed);
    }
}

impl State {
    fn line(&mut self, line: SessionNo, owner: Option<&Arc<Mailbox>>) -> &mut Line {
        let line = self.lines.entry(line).or_default();
        if line.owner.is_none() {
            line.owner = owner.map(Arc::clone);
        }
        line
    }
}

impl Line {
    fn is_over(&self) -> bool {
        self.entries.is_empty() && self.coming == 0
    }
}

/// The session that an entry of the broker's line changes.
fn session_of(entry: &Entry) -> Option<SessionNo> {
    match entry {
        Entry::Publish(entry) => entry.will_of,
        Entry::Change { change, .. } => record_of(change),
        Entry::HandOver { .. } | Entry::GiveBack { .. } | Entry::Again { .. } | Entry::Left(_) => {
            None
        }
    }
}

/// The session whose record, with its will in it, is replaced or removed by a change.
pub(crate) const fn record_of(change: &Change) -> Option<SessionNo> {
    match change {
        Change::SessionUpdated { session, .. }
        | Change::SessionEnded { session }
        | Change::WillTaken { session } => Some(*session),
        Change::NamespaceOpened { .. }
        | Change::SessionOpened { .. }
        | Change::Subscribed { .. }
        | Change::Unsubscribed { .. }
        | Change::Published { .. }
        | Change::HandedOver { .. }
        | Change::Acknowledged { .. }
        | Change::OutboundReleased { .. }
        | Change::InboundStored { .. }
        | Change::InboundReleased { .. }
        | Change::Retained { .. }
        | Change::Unretained { .. } => None,
    }
}

fn count(sessions: &mut HashMap<SessionNo, usize>, entry: &Entry, more: bool) {
    let Some(session) = session_of(entry) else { return };
    if more {
        *sessions.entry(session).or_default() += 1;
    } else {
        uncount(sessions, session);
    }
}

fn uncount(sessions: &mut HashMap<SessionNo, usize>, session: SessionNo) {
    if let Some(held) = sessions.get_mut(&session) {
        *held = held.saturating_sub(1);
        if *held == 0 {
            sessions.remove(&session);
        }
    }
}

impl Core {
    /// Keeps what the store has no room for, to try it again.
    pub(crate) fn hold(
        self: &Arc<Self>,
        line: Option<SessionNo>,
        owner: Option<&Arc<Mailbox>>,
        entries: Vec<Entry>,
    ) {
        if !entries.is_empty() {
            self.holding.hold(line, owner, entries);
            self.see_to_held();
        }
    }

    /// Keeps what was announced when the store had no room for it.
    pub(crate) fn keep(
        self: &Arc<Self>,
        line: SessionNo,
        owner: Option<&Arc<Mailbox>>,
        entry: Entry,
    ) {
        self.holding.keep(line, owner, entry);
        self.see_to_held();
    }

    /// Lets somebody try again, if something is held.
    pub(crate) fn see_to_held(self: &Arc<Self>) {
        if self.holding.begins_to_try() {
            self.runtime.spawn(Arc::clone(self).try_again());
        }
    }

    /// Hands in another try of a line.
    pub(crate) fn try_line(self: &Arc<Self>, line: SessionNo, owner: Option<Arc<Mailbox>>) {
        let entries = vec![Entry::Again { line, taken: Vec::new() }];
        self.submit_later(Write::new(self, owner, entries));
    }

    /// Runs while anything is held.
    async fn try_again(self: Arc<Self>) {
        loop {
            tokio::time::sleep(AGAIN_AFTER).await;
            let Some(lines) = self.holding.to_try() else { return };
            if self.committer.has_failed() || self.is_closing() {
                return;
            }
            for (line, owner) in lines {
                self.try_line(line, owner);
            }
        }
    }
}

//! What comes of a write when its commit is over.

use std::sync::Arc;

use dunlin_session::Token;
use dunlin_store::Change;

use super::copy::{Arrivals, in_group};
use super::entry::Entry;
use super::publish::PublishEntry;
use crate::core::Core;
use crate::holding::BROKER_LINE;
use crate::mailbox::{Mailbox, Notice};

/// What became of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Finished {
    Durable,
    /// Nothing of it is in the store, which goes on.
    NoRoom,
    /// The store has failed.
    Failed,
}

/// What comes of a write.
pub(super) struct Finishing<'a> {
    pub(super) core: &'a Arc<Core>,
    pub(super) owner: Option<&'a Arc<Mailbox>>,
    pub(super) result: Finished,
    /// Whether somebody asked for all of it at once, and tries again himself.
    pub(super) asked: bool,
    /// Whether all of it is durable.
    pub(super) complete: bool,
    pub(super) arrivals: Arrivals,
    pub(super) notices: Vec<Notice>,
    /// Changes that found no room and must get there.
    pub(super) kept: Vec<Entry>,
}

impl Finishing<'_> {
    pub(super) fn entry(&mut self, entry: Entry) {
        match entry {
            Entry::Publish(entry) => self.publish(entry),
            Entry::Change { change, token, behind } => self.change(change, token, behind),
            Entry::HandOver { group, from_seq, mut shared, mut to } => {
                if self.result != Finished::Durable {
                    shared.id = None;
                    to.take_back();
                    // Put back into the group it would wait for a word of the member that was chosen.
                    if self.result == Finished::NoRoom {
                        self.kept.push(Entry::HandOver { group, from_seq, shared, to });
                    }
                } else if to.has_no_place() {
                    // A member that ended before it got its place leaves the message where it was.
                    let delivery = to.own.with(&shared.message, shared.expires_at);
                    self.core.offer_group(&group, delivery, from_seq);
                } else {
                    self.arrivals.add(shared, [to]);
                }
            }
            Entry::GiveBack { from, from_seq, group, delivery, seq } => match self.result {
                Finished::Durable => {
                    group.give_back(vec![in_group(&group, delivery, seq)]);
                    self.core.dispatch_group(&group);
                }
                // It stays with the member in the store, and comes back to it or to the group when there is room.
                Finished::NoRoom | Finished::Failed => {
                    group.take_number_back(seq);
                    if self.result == Finished::NoRoom {
                        self.kept.push(Entry::GiveBack { from, from_seq, group, delivery, seq: 0 });
                    }
                }
            },
            Entry::Again { line, taken } => {
                let progress = !taken.is_empty() && self.result == Finished::Durable;
                taken.into_iter().for_each(|entry| self.entry(entry));
                if progress && self.core.holding.has_line(line) {
                    self.core.try_line(line, self.owner.map(Arc::clone));
                }
            }
            Entry::Left(line) => {
                let mut kept = Vec::new();
                for entry in self.core.holding.end_line(line) {
                    match entry {
                        // [MQTT-4.3.3-2 @3.1.1] The session knows its Packet Identifier and will not take it twice.
                        Entry::Publish(entry) if entry.inbound.is_some() => {
                            kept.push(Entry::Publish(entry));
                        }
                        Entry::Publish(entry) => self.notices.extend(entry.failed(self.core)),
                        // Nothing else stands in a client's line.
                        Entry::Change { .. }
                        | Entry::HandOver { .. }
                        | Entry::GiveBack { .. }
                        | Entry::Again { .. }
                        | Entry::Left(_) => {}
                    }
                }
                self.core.hold(Some(line), self.owner, kept);
            }
        }
    }

    pub(super) fn publish(&mut self, mut entry: Box<PublishEntry>) {
        match self.result {
            Finished::Durable if !entry.refused => {
                self.notices.extend(entry.finished(self.core, &mut self.arrivals));
            }
            Finished::Durable | Finished::NoRoom if entry.line.is_some() => {
                entry.take_back();
                self.complete = false;
                match (entry.refused, entry.line) {
                    (true, Some(line)) => {
                        self.core.keep(line, self.owner, Entry::Publish(entry));
                    }
                    (_, line) => self.core.hold(line, self.owner, vec![Entry::Publish(entry)]),
                }
            }
            Finished::Durable | Finished::NoRoom | Finished::Failed => {
                self.complete = false;
                self.notices.extend(entry.failed(self.core));
            }
        }
    }

    pub(super) fn change(&mut self, change: Change, token: Option<Token>, behind: bool) {
        match self.result {
            Finished::Durable | Finished::NoRoom if behind => {
                self.core.keep(BROKER_LINE, None, Entry::change(change));
            }
            Finished::Durable => {
                self.notices.extend(token.map(|token| Notice::Durable { token }));
            }
            Finished::NoRoom => {
                self.notices.extend(token.map(|_| Notice::StoreFailed));
                // What has changed in memory has to be so in the store. Who asked for a session does not get it, but the
                // old one is over.
                if !self.asked || matches!(change, Change::SessionEnded { .. }) {
                    self.kept.push(Entry::change(change));
                }
            }
            Finished::Failed => self.notices.extend(token.map(|_| Notice::StoreFailed)),
        }
    }
}

//! One thing to make durable, and how it gets into a batch.

use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::{Message, Qos};
use dunlin_session::{Delivery, Token};
use dunlin_store::{Batch, Change, Durability, Room as StoreRoom, SessionNo, UnixMillis};

use super::copy::{QueueTarget, Shared, target};
use super::publish::PublishEntry;
use crate::core::Core;
use crate::holding::{BROKER_LINE, Holding, record_of};
use crate::mailbox::Mailbox;
use crate::share::Group;

/// What one wait for the store may cost beside its messages, for the committer's bounds.
const ENTRY_BYTES: usize = 128;
/// Bytes of a line that are tried together; a larger message is tried alone.
const TRIED_BYTES_MAX: usize = 256 * 1024;

/// One thing to make durable.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A message for queues, boxed because it is large.
    Publish(Box<PublishEntry>),
    /// A change of a session, with the token of who waits for it.
    Change {
        change: Change,
        token: Option<Token>,
        /// Whether it was put behind the session's will, for which there was no room.
        behind: bool,
    },
    /// A message that waited in a shared group goes to a member.
    HandOver { group: Arc<Group>, from_seq: u64, shared: Shared, to: QueueTarget },
    /// A message comes back from a member to its group.
    GiveBack { from: SessionNo, from_seq: u64, group: Arc<Group>, delivery: Delivery, seq: u64 },
    /// What [is held](crate::holding) in a line is tried again.
    Again { line: SessionNo, taken: Vec<Self> },
    /// The connection of an MQTT 3.x client is over: what is held in its line is given up, except QoS 2 messages of a
    /// session that goes on.
    Left(SessionNo),
}

impl Entry {
    /// A change nobody waits for.
    pub(crate) const fn change(change: Change) -> Self {
        Self::awaited(change, None)
    }

    /// A change, and who waits for it.
    pub(crate) const fn awaited(change: Change, token: Option<Token>) -> Self {
        Self::Change { change, token, behind: false }
    }

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Publish(entry) => {
                let bytes = entry.own.message.size() * (1 + entry.exported.len());
                ENTRY_BYTES + bytes + entry.len() * size_of::<QueueTarget>()
            }
            // What it may take from its line.
            Self::Again { .. } => ENTRY_BYTES + TRIED_BYTES_MAX,
            Self::Change { .. } | Self::HandOver { .. } | Self::GiveBack { .. } | Self::Left(_) => {
                ENTRY_BYTES
            }
        }
    }

    pub(super) fn prepare(&mut self, to: &mut Preparing<'_>) {
        match self {
            Self::Publish(entry) => {
                entry.refused = to.room == StoreRoom::NoMessages && entry.takes_room(to)
                    || to.holding().zip(entry.line).is_some_and(|(held, line)| held.has_line(line));
                if !entry.refused {
                    entry.prepare(to);
                } else if let (Some(core), Some(line)) = (to.core, entry.line) {
                    core.holding.announce(line, entry.will_of);
                }
            }
            Self::Change { change, token, behind } => {
                let waits = token.is_some() || to.all_wait;
                *behind = to.puts_behind_will(change, waits);
                match to.core.filter(|_| *behind) {
                    Some(core) => core.holding.announce(BROKER_LINE, record_of(change)),
                    None => to.batch.push(change.clone()),
                }
                if waits {
                    to.batch.require(to.broker_level);
                }
            }
            Self::HandOver { group, from_seq, shared, to: member } => {
                let level = to.level_of(&shared.message);
                if let Some(target) = member.number() {
                    shared.id = Some(to.batch.hand_over(group.session_no, *from_seq, target));
                }
                to.batch.require(to.with_packet_ids(level, member.own.qos));
            }
            Self::GiveBack { from, from_seq, group, delivery, seq } => {
                *seq = group.number();
                to.batch.hand_over(*from, *from_seq, target(group.session_no, *seq, delivery));
                to.batch.require(to.level_of(&delivery.message));
            }
            Self::Again { line, taken } => {
                if to.room == StoreRoom::All
                    && let Some(core) = to.core
                {
                    *taken = core.holding.take_front(*line, TRIED_BYTES_MAX);
                }
                // What was put behind a will stays behind it, and follows it here.
                for entry in taken {
                    match entry {
                        Self::Publish(entry) => {
                            entry.refused = false;
                            entry.prepare(to);
                        }
                        Self::Change { change, behind, .. } => {
                            *behind = false;
                            to.batch.push(change.clone());
                        }
                        Self::HandOver { .. }
                        | Self::GiveBack { .. }
                        | Self::Again { .. }
                        | Self::Left(_) => {
                            debug_assert!(false, "only messages and records stand in lines");
                        }
                    }
                }
            }
            Self::Left(_) => {}
        }
    }

    pub(super) fn take_back(&mut self, core: Option<&Arc<Core>>, owner: Option<&Arc<Mailbox>>) {
        match self {
            Self::Publish(entry) => {
                entry.take_back();
                if let (Some(core), Some(line)) = (core.filter(|_| entry.refused), entry.line) {
                    core.holding.revoke(line, entry.will_of);
                }
            }
            Self::Change { change, behind, .. } => {
                if let Some(core) = core.filter(|_| *behind) {
                    core.holding.revoke(BROKER_LINE, record_of(change));
                }
            }
            Self::Left(_) => {}
            Self::HandOver { shared, to, .. } => {
                shared.id = None;
                to.take_back();
            }
            Self::GiveBack { group, seq, .. } => {
                group.take_number_back(*seq);
                *seq = 0;
            }
            Self::Again { line, taken } => {
                taken.iter_mut().for_each(|entry| entry.take_back(core, owner));
                if let Some(core) = core {
                    core.holding.put_front_back(*line, owner, std::mem::take(taken));
                }
            }
        }
    }
}

/// What is known while a write is put into a batch.
pub(super) struct Preparing<'a> {
    pub(super) core: Option<&'a Arc<Core>>,
    pub(super) batch: &'a mut Batch,
    pub(super) room: StoreRoom,
    pub(super) now: UnixMillis,
    pub(super) monotonic: Instant,
    /// What the state of sessions is written with.
    pub(super) broker_level: Durability,
    /// Whether somebody waits for all of the write.
    pub(super) all_wait: bool,
}

impl Preparing<'_> {
    /// What is held, if anything is.
    pub(super) fn holding(&self) -> Option<&Holding> {
        self.core.map(|core| &core.holding).filter(|holding| holding.any())
    }

    /// How durable a message has to be that is moved from queue to queue: it is in the store already.
    pub(super) fn level_of(&self, message: &Message) -> Durability {
        let level = self.core.map(|core| core.level(&message.topic, None));
        level.unwrap_or(self.broker_level).max(Durability::Os)
    }

    /// The same for a copy with this QoS. What is sent at QoS 2 must not be forgotten more easily than the Packet Identifier
    /// that the client has seen: another message would get it, and be taken for a repetition. [MQTT-4.3.3-10]
    pub(super) fn with_packet_ids(&self, level: Durability, qos: Qos) -> Durability {
        if qos == Qos::ExactlyOnce { level.max(self.broker_level) } else { level }
    }

    /// Whether a change of a session has to wait because the session's will does, which would go from the store with it.
    pub(super) fn puts_behind_will(&self, change: &Change, waits: bool) -> bool {
        let Some(holding) = self.holding() else { return false };
        let Some(session) = record_of(change).filter(|session| holding.has_session(*session))
        else {
            return false;
        };
        if waits {
            holding.superseded(session);
        }
        !waits
    }
}

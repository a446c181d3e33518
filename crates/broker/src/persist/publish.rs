//! A message for durable queues: numbered, stored once for all of a tenant's, and acknowledged.

use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::{Message, PacketId, ReasonCode};
use dunlin_session::Token;
use dunlin_store::{Change, Durability, Publication, SessionNo};

use super::copies::Copies;
use super::copy::Arrivals;
use super::entry::Preparing;
use crate::core::Core;
use crate::fanout::Staged;
use crate::lane::Patience;
use crate::mailbox::Notice;
use crate::metrics::DropReason;
use crate::namespace::Namespace;

/// Whose retained message it is, and its number among them.
#[derive(Debug)]
pub(crate) struct RetainedPlace {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) number: u64,
}

/// A message for durable queues.
#[derive(Debug)]
pub(crate) struct PublishEntry {
    pub(crate) own: Copies,
    /// The same message for other tenants that are shown it, under the name that its topic has there.
    pub(crate) exported: Vec<Copies>,
    pub(crate) expires_at: Option<Instant>,
    pub(crate) publisher: Option<SessionNo>,
    /// The Packet Identifier of a QoS 2 PUBLISH from a durable session.
    pub(crate) inbound: Option<PacketId>,
    /// Where it is retained, if it is.
    pub(crate) retained: Option<RetainedPlace>,
    /// A will that is published: it is taken from the store in the same batch.
    pub(crate) will_of: Option<SessionNo>,
    /// Copies of such a will that need no store: they go out when it is taken, so that it goes out once.
    pub(crate) copies: Vec<Staged>,
    /// Who waits for the acknowledgement, and what it is to say.
    pub(crate) token: Option<(Token, ReasonCode)>,
    /// How durable it has to be.
    pub(crate) level: Durability,
    /// The line in which it waits while the store has no room; without one it is refused.
    pub(crate) line: Option<SessionNo>,
    /// Whether the store had no room for it when it was prepared.
    pub(crate) refused: bool,
}

impl PublishEntry {
    /// One that leads nowhere yet.
    pub(crate) fn new(message: &Arc<Message>, level: Durability) -> Self {
        Self::of(Copies::new(message), level)
    }

    /// One for these queues.
    pub(crate) const fn of(own: Copies, level: Durability) -> Self {
        Self {
            own,
            exported: Vec::new(),
            expires_at: None,
            publisher: None,
            inbound: None,
            retained: None,
            will_of: None,
            copies: Vec::new(),
            token: None,
            level,
            line: None,
            refused: false,
        }
    }

    const fn message(&self) -> &Arc<Message> {
        &self.own.message
    }

    /// The copies for each tenant.
    fn all(&self) -> impl Iterator<Item = &Copies> {
        std::iter::once(&self.own).chain(&self.exported)
    }

    /// Copies, of all tenants together.
    pub(super) fn len(&self) -> usize {
        self.all().map(Copies::len).sum()
    }

    pub(super) fn prepare(&mut self, to: &mut Preparing<'_>) {
        let Preparing { now, monotonic, .. } = *to;
        let expires_at =
            self.expires_at.map(|at| now.after(at.saturating_duration_since(monotonic)));
        let before = self.level_needed(to);
        let mut places = Vec::with_capacity(1 + self.exported.len());
        for copies in std::iter::once(&mut self.own).chain(&mut self.exported) {
            places.push(copies.number(to.core, self.expires_at));
        }
        // Members of groups are among them now.
        let level = before.max(self.level_needed(to));
        let batch = &mut *to.batch;
        batch.require(level);
        // [MQTT-4.3.3-8] The id of a QoS 2 message is stored with it.
        if let (Some(packet_id), Some(session)) = (self.inbound, self.publisher) {
            batch.push(Change::InboundStored { session, packet_id });
        }
        if let Some(session) = self.will_of {
            batch.push(Change::WillTaken { session });
        }
        if let Some(RetainedPlace { namespace, number }) = &self.retained {
            let (namespace, number, message) = (namespace.number, *number, self.message());
            // [MQTT-3.3.1-6] [MQTT-3.3.1-7]
            batch.push(if message.payload.is_empty() {
                let topic = message.topic.clone();
                Change::Unretained { namespace, topic, number, removed_at: now }
            } else {
                let message = Arc::clone(message);
                Change::Retained { namespace, number, message, stored_at: now, expires_at }
            });
        }
        let publisher = self.publisher;
        let all = std::iter::once(&mut self.own).chain(&mut self.exported);
        for (copies, targets) in all.zip(places) {
            // At the lowest level a place in the queue is all that a message gets.
            if !targets.is_empty() && level > Durability::Memory {
                copies.id = Some(batch.publish(Publication {
                    message: Arc::clone(&copies.message),
                    published_at: now,
                    expires_at,
                    publisher,
                    targets,
                }));
            }
        }
    }

    pub(super) fn finished(self, core: &Arc<Core>, arrivals: &mut Arrivals) -> Option<Notice> {
        if let Some(RetainedPlace { namespace, number }) = &self.retained {
            namespace.retained.settled(self.message(), *number, self.expires_at);
        }
        let mut groups = self.own.arrive(self.expires_at, arrivals);
        for copies in self.exported {
            groups.append(&mut copies.arrive(self.expires_at, arrivals));
        }
        for mut staged in self.copies {
            core.post(&mut staged, Patience::None, &core.config().limits);
        }
        groups.into_iter().for_each(|target| target.arrive(core));
        self.token.map(|(token, reason)| Notice::Routed { token, reason })
    }

    /// How durable it has to be, by itself and for the sake of what it is written with.
    fn level_needed(&self, to: &Preparing<'_>) -> Durability {
        // A will that is taken from the store is part of a session's state.
        let level = match self.will_of {
            Some(_) => self.level.max(to.broker_level),
            None => self.level,
        };
        self.all().fold(level, |level, copies| copies.level_needed(level, to))
    }

    /// Whether it leaves more in the store than was there before.
    pub(super) fn takes_room(&self, to: &Preparing<'_>) -> bool {
        let retains = self.retained.is_some() && !self.message().payload.is_empty();
        let queues = self.all().any(|copies| !copies.is_empty());
        retains || self.inbound.is_some() || queues && self.level_needed(to) > Durability::Memory
    }

    /// Its places in all queues are free again.
    pub(super) fn take_back(&mut self) {
        self.own.take_back();
        self.exported.iter_mut().for_each(Copies::take_back);
    }

    pub(super) fn failed(mut self, core: &Core) -> Option<Notice> {
        self.take_back();
        if let Some(RetainedPlace { namespace, number }) = &self.retained {
            namespace.retained.take_back(&self.message().topic, *number);
            // Who published it is told, if he waits.
            if self.token.is_none() {
                let counters = &namespace.counters;
                core.report_publish(counters, "", Some(self.message()), DropReason::Store);
            }
        }
        self.all().for_each(|copies| copies.failed(core));
        // The store has room for no more. [MQTT-4.13.2-1]
        self.token.map(|(token, _)| Notice::NotStored { token })
    }
}

//! A PUBLISH from a client, taken one by one: hooks, retained messages, QoS above 0.

use std::sync::Arc;
use std::time::Instant;

use dunlin_access::{Refusal, Silent};
use dunlin_codec::{Message, Qos, ReasonCode, TopicName, Version};
use dunlin_session::{Route, RouteTopic, Token};

use crate::access::{Attempt, objection};
use crate::budget::Pressure;
use crate::config::StoreFull;
use crate::core::Core;
use crate::end::EndReason;
use crate::fanout::{Routed, Source, Staging};
use crate::hooks::guarded;
use crate::metrics::{DropReason, add};

use super::Driver;
use super::batch::BatchRoute;

impl Driver {
    /// Routes one message. Returns what to tell the machine at once; none if the store has to have the message first, or
    /// nobody waits.
    pub(super) fn route(
        &mut self,
        route: Route<'_>,
        staging: &mut Staging,
        now: Instant,
    ) -> Option<(Token, ReasonCode)> {
        let Route { token, publish, topic } = route;
        let answer = |reason| token.map(|token| (token, reason));
        if let Some(reason) = self.refused_for_memory(publish.qos, staging) {
            // Before 5.0 a PUBLISH cannot be refused, and what is not kept must not be acknowledged.
            if publish.qos > Qos::AtMostOnce && self.machine.version() != Some(Version::V5) {
                self.closes_for = Some(EndReason::OutOfMemory);
                return None;
            }
            return answer(reason);
        }
        if self.core.interests.publish || publish.retain {
            return self.route_singly(&Route { token, publish, topic }, staging, now);
        }
        let source = self.source(token, publish.qos, publish.packet_id);
        let Some(found) = self.batch_route(topic.as_bytes(), now) else {
            return self.route_singly(&Route { token, publish, topic }, staging, now);
        };
        let BatchRoute { core, mailbox, route: targets, qos_max } = found;
        if qos_max.is_none_or(|max| publish.qos > max) {
            return self.forbidden(&Route { token, publish, topic });
        }
        if targets.is_empty() {
            add(&mailbox.namespace.counters.publish_unmatched, 1);
            // Nobody would look at the message, so it is not made; a QoS 2 id of a durable session is stored all the same.
            if source.inbound.is_none() {
                return answer(ReasonCode::NoMatchingSubscribers);
            }
        }
        let message = Arc::new(core.own(&publish, targets.name.clone()));
        let routed = staging.message(core, targets, &message, None, source, now);
        self.routed(routed, source)
    }

    /// What to tell the machine at once.
    fn routed(&mut self, routed: Routed, source: Source) -> Option<(Token, ReasonCode)> {
        match routed {
            Routed::Now(reason) => source.token.map(|token| (token, reason)),
            Routed::AfterCommit => {
                self.stored |= source.line.is_some();
                None
            }
        }
    }

    /// Routes a message that hooks may change, or that is to be retained: not by a route made for many.
    fn route_singly(
        &mut self,
        route: &Route<'_>,
        staging: &mut Staging,
        now: Instant,
    ) -> Option<(Token, ReasonCode)> {
        let answer = |reason| route.token.map(|token| (token, reason));
        let core = Arc::clone(&self.core);
        let Some(name) = self.topic_name(&route.topic) else {
            return answer(ReasonCode::TopicNameInvalid);
        };
        if self.objection(route).is_some() {
            return self.forbidden(route);
        }
        let mut message = core.own(&route.publish, name);
        if core.interests.publish {
            let client = self.client.take()?;
            let verdict = guarded(|| core.hooks.on_publish(&client, &mut message));
            self.client = Some(client);
            match verdict {
                Some(Ok(())) => {}
                Some(Err(reason)) => {
                    self.report_publish(Some(&message), DropReason::Hook);
                    return answer(reason);
                }
                // An answer, so that nothing of the session waits for one for ever.
                None => {
                    self.hook_panicked = true;
                    return answer(ReasonCode::UnspecifiedError);
                }
            }
        }
        let message = Arc::new(message);
        let source = self.source(route.token, route.publish.qos, route.publish.packet_id);
        if message.retain {
            return self.route_retained(&core, &message, source, staging, now);
        }
        let mailbox = self.mailbox.as_ref()?;
        let targets = mailbox.namespace.route(message.topic.clone(), Some(mailbox));
        if targets.is_empty() {
            add(&mailbox.namespace.counters.publish_unmatched, 1);
        }
        let routed = staging.message(&core, &targets, &message, None, source, now);
        self.routed(routed, source)
    }

    /// Why the client may not publish this; none if it may.
    fn objection(&self, route: &Route<'_>) -> Option<Refusal> {
        let publish = &route.publish;
        let topic = route.topic.as_bytes();
        objection(self.rights.as_deref(), topic, publish.qos, publish.retain)
    }

    /// The client may not publish this. It is told so, where it can be; else its message is dropped, or its connection
    /// closed, as the rules say.
    fn forbidden(&mut self, route: &Route<'_>) -> Option<(Token, ReasonCode)> {
        let refusal = self.objection(route)?;
        add(&self.counters().publish_refused, 1);
        self.report_publish(None, DropReason::NotAuthorized);
        if let Some(mailbox) = &self.mailbox {
            let topic = String::from_utf8_lossy(route.topic.as_bytes());
            self.core.refused(mailbox, Attempt::Publish, &topic, refusal);
        }
        let cannot_be_told =
            route.publish.qos == Qos::AtMostOnce || self.machine.version() != Some(Version::V5);
        let options = self.rights.as_ref().map(|rights| rights.rules().options());
        if cannot_be_told && options?.refused_publish == Silent::Disconnect {
            self.closes_for = Some(EndReason::NotAuthorized);
            return None;
        }
        route.token.map(|token| (token, ReasonCode::NotAuthorized))
    }

    /// Keeps or removes the retained message of a topic, and posts the message before anybody else can do so.
    fn route_retained(
        &mut self,
        core: &Arc<Core>,
        message: &Arc<Message>,
        mut source: Source,
        staging: &mut Staging,
        now: Instant,
    ) -> Option<(Token, ReasonCode)> {
        let mailbox = self.mailbox.clone()?;
        let namespace = &mailbox.namespace;
        let _order = namespace.retained.order(&message.topic);
        let (targets, retained) = core.retain(namespace, message, Some(&mailbox), now);
        if retained.is_none() {
            source.refused = Some(ReasonCode::QuotaExceeded);
            // 5.0 is told so, and its exchange is over with that; before it, nobody can be told and it goes on.
            source.inbound = source.inbound.filter(|_| self.machine.version() != Some(Version::V5));
        }
        if targets.is_empty() {
            add(&namespace.counters.publish_unmatched, 1);
        }
        let routed = staging.message(core, &targets, message, retained, source, now);
        self.post_at_once(staging);
        self.routed(routed, source)
    }

    fn topic_name(&self, topic: &RouteTopic<'_>) -> Option<TopicName> {
        match topic {
            RouteTopic::Wire(text) => TopicName::with_rules(
                bytes::Bytes::copy_from_slice(text.as_bytes()),
                self.limits.text,
            )
            .ok(),
            RouteTopic::Aliased(name) => Some(name.clone()),
        }
    }

    /// Near the memory budget's end messages are refused, QoS 0 first.
    fn refused_for_memory(&self, qos: Qos, staging: &mut Staging) -> Option<ReasonCode> {
        let limit = if qos == Qos::AtMostOnce { Pressure::DropQos0 } else { Pressure::RefuseAll };
        if staging.pressure(&self.core) < limit {
            return None;
        }
        self.report_publish(None, DropReason::MemoryBudget);
        Some(ReasonCode::QuotaExceeded)
    }

    fn source(
        &self,
        token: Option<Token>,
        qos: Qos,
        packet_id: Option<dunlin_codec::PacketId>,
    ) -> Source {
        let Some(mailbox) = &self.mailbox else { return Source { token, ..Source::default() } };
        let durable = mailbox.is_durable();
        Source {
            session: mailbox.is_stored().then_some(mailbox.session_no),
            inbound: packet_id.filter(|_| durable && qos == Qos::ExactlyOnce),
            token,
            refused: None,
            will_of: None,
            level: self.listener.durability,
            line: (self.holds() && qos > Qos::AtMostOnce).then_some(mailbox.session_no),
        }
    }

    /// Whether messages of this client wait while the store has no room, because it cannot be told.
    pub(super) fn holds(&self) -> bool {
        self.core.config().store_full_3x == StoreFull::Hold
            && self.machine.version() != Some(Version::V5)
    }
}

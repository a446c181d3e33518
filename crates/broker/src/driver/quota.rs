//! Keeping a client to its rates: what of a batch is taken in, what becomes of the rest, and when it is sent something.

use std::sync::Arc;
use std::time::Instant;

use dunlin_access::{EffectiveQuotas, Visitor};
use dunlin_codec::{Packet, Qos, ReasonCode, Version};
use dunlin_session::{Capabilities, Input, Outputs, SubscribeItem, Violation};

use crate::end::EndReason;
use crate::fanout::Staging;
use crate::mailbox::Mailbox;
use crate::metrics::DropReason;
use crate::policy::Identity;
use crate::quotas::{Beyond, Permit, QueueLimits, QuotaEvent, QuotaLimit, Who, limited};

use super::opening::tenant_of;
use super::reading::Received;
use super::{Driver, State};

impl Driver {
    /// How much of a batch may be taken in.
    #[inline]
    pub(super) fn permit(&mut self, data: &[u8], now: Instant) -> Permit {
        match &mut self.quota {
            None => Permit::all(data.len()),
            Some(quota) => {
                let permit = quota.permit(data, &self.limits, now);
                if let Some(event) = permit.event {
                    self.counters().quotas.add(event, 1);
                }
                permit
            }
        }
    }

    /// What the batch was paid for and was not taken in, because the client has to wait for an answer first.
    #[cold]
    pub(super) fn not_taken(&self, data: &[u8]) {
        if let Some(quota) = &self.quota {
            quota.not_taken(data, &self.limits);
        }
    }

    /// Sees to what the client sent beyond its rate. Gives how much of it was taken in.
    #[cold]
    pub(super) fn take_beyond(
        &mut self,
        beyond: Beyond,
        data: &[u8],
        received: &mut Received,
        staging: &mut Staging,
        now: Instant,
    ) -> usize {
        match beyond {
            Beyond::Wait => 0,
            Beyond::Disconnect => {
                self.evict(EndReason::OverRate, staging, now);
                0
            }
            Beyond::Drop => {
                let mut out = Outputs::new();
                let mut at = 0;
                while self.state == State::Open
                    && self.machine.accepts_packets()
                    && self.pending.is_none()
                    && let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty())
                {
                    match self.decode(rest) {
                        Ok(Some((Packet::Publish(publish), used))) => {
                            // Who cannot be told has to wait.
                            if publish.qos > Qos::AtMostOnce && self.version() != Version::V5 {
                                break;
                            }
                            at += used;
                            received.publish(&publish);
                            // The machine has to see it: it may set a Topic Alias, or break a rule.
                            let taken = match self.machine.publish(publish, now, &mut out) {
                                Ok(Some(route)) => {
                                    self.report_publish(None, DropReason::OverRate);
                                    if let Some(token) = route.token {
                                        self.acknowledge(token, ReasonCode::QuotaExceeded);
                                    }
                                    Ok(())
                                }
                                Ok(None) => Ok(()),
                                Err(violation) => Err(violation),
                            };
                            self.settle(taken, &mut out, staging, now);
                        }
                        Ok(Some((packet, used))) => {
                            at += used;
                            received.packets += 1;
                            self.feed_into(Input::Packet(packet), &mut out, staging, now);
                        }
                        Ok(None) => break,
                        Err(error) => {
                            self.malformed(error, rest, staging, now);
                            break;
                        }
                    }
                }
                at
            }
        }
    }

    /// How many messages with QoS above 0 the client may be sent; none if nothing is to be sent for now.
    #[inline]
    pub(super) fn room_out(&mut self, now: Instant) -> Option<usize> {
        self.quota.as_mut().map_or(Some(usize::MAX), |quota| quota.room_out(now))
    }

    /// Whether there was none when it was asked last.
    #[inline]
    pub(super) fn held_out(&self) -> bool {
        self.quota.as_ref().is_some_and(|quota| quota.holds_out())
    }

    /// Counts that something waits for it.
    pub(super) fn count_held_out(&mut self) {
        if let Some(event) = self.quota.as_mut().and_then(|quota| quota.holds_back()) {
            self.counters().quotas.add(event, 1);
        }
    }

    /// What the writer had before messages were put into it: for [`Driver::pay_for_sent`].
    #[inline]
    pub(super) fn written(&self) -> (u64, usize) {
        (self.writer.packets, self.writer.len())
    }

    /// Pays for what was put into the writer since.
    #[inline]
    pub(super) fn pay_for_sent(&self, before: (u64, usize), now: Instant) {
        let Some(quota) = &self.quota else { return };
        let messages = self.writer.packets - before.0;
        let bytes = self.writer.len().saturating_sub(before.1) as u64;
        quota.sent(messages, bytes, now);
    }

    /// Offers a client no more than its quotas allow, before CONNACK says what it is offered.
    pub(super) fn offer(&mut self, identity: &Identity) -> Result<(), Violation> {
        let Some(quotas) = self.quotas_of(identity) else { return Ok(()) };
        let offered = Arc::clone(self.machine.capabilities());
        let own = limited(&offered, &quotas);
        if own == *offered {
            return Ok(());
        }
        self.machine.limit(Arc::new(own))
    }

    /// What limits a client that is known and not yet connected.
    fn quotas_of(&self, identity: &Identity) -> Option<EffectiveQuotas> {
        let mut client = self.client.clone()?;
        client.identity = identity.clone();
        let tenant = tenant_of(&self.core.config(), &client)?;
        self.core.quotas.effective(Who {
            tenant: &tenant,
            user: &identity.user,
            client_id: &client.client_id,
            roles: &identity.roles,
            listener: self.listener.name(),
        })
    }

    /// Counts a CONNECT that asked for what is not offered.
    pub(super) fn count_refused_offer(&self, violation: &Violation, identity: &Identity) {
        let Some(quotas) = self.quotas_of(identity) else { return };
        let event = if matches!(violation, Violation::KeepAliveTooShort { .. }) {
            QuotaEvent::of(QuotaLimit::KeepAlive, quotas.keep_alive_min.as_ref())
        } else {
            QuotaEvent::of(QuotaLimit::TopicBytes, quotas.topic_bytes.as_ref())
        };
        if let Some(event) = event {
            self.counters().quotas.add(event, 1);
        }
    }

    /// What limits the client, which is connected.
    fn present_quotas(&self) -> Option<EffectiveQuotas> {
        self.who(|who| self.core.quotas.effective(who))?
    }

    /// Has what waits for the client kept within its quotas, and looks at its next requests by them.
    pub(super) fn keep_queue_limits(&self, mailbox: &Mailbox) {
        let limits = self.present_quotas().as_ref().and_then(QueueLimits::of);
        mailbox.set_queue_limits(limits);
    }

    /// Counts the filters that a SUBSCRIBE has beyond the client's quotas.
    pub(super) fn count_refused_filters(&self, items: &[SubscribeItem]) {
        if self.quota.is_none() || items.iter().all(|item| item.filter.is_ok()) {
            return;
        }
        let Some(quotas) = self.present_quotas() else { return };
        for item in items {
            let event = match item.filter {
                Err(ReasonCode::QuotaExceeded) => {
                    QuotaEvent::of(QuotaLimit::Subscriptions, quotas.subscriptions.as_ref())
                }
                Err(ReasonCode::TopicFilterInvalid) => {
                    QuotaEvent::of(QuotaLimit::FilterLevels, quotas.filter_levels.as_ref())
                }
                Ok(_) | Err(_) => None,
            };
            if let Some(event) = event {
                self.counters().quotas.add(event, 1);
            }
        }
    }

    /// Counts a message whose topic is longer than the client's quotas allow.
    #[cold]
    pub(super) fn count_refused_topic(&self) {
        let quotas = self.present_quotas();
        let set = quotas.as_ref().and_then(|quotas| quotas.topic_bytes.as_ref());
        if let Some(event) = QuotaEvent::of(QuotaLimit::TopicBytes, set) {
            self.counters().quotas.add(event, 1);
        }
    }

    /// The connected client, as rules about quotas see it.
    fn who<T>(&self, look: impl FnOnce(Who<'_>) -> T) -> Option<T> {
        let mailbox = self.mailbox.as_ref()?;
        let owner = mailbox.owner();
        let vouched = mailbox.vouched();
        Some(look(Who {
            tenant: &mailbox.namespace.name,
            user: &owner,
            client_id: mailbox.client_id.as_str(),
            roles: vouched.as_deref().map_or(&[], |vouched| &vouched.roles),
            listener: self.listener.name(),
        }))
    }

    /// Whether the client, which is connected, is one of those that are not let in.
    pub(super) fn is_banned(&self) -> bool {
        let Some(mailbox) = &self.mailbox else { return false };
        let owner = mailbox.owner();
        let visitor = Visitor {
            address: self.remote.address().map(|address| address.ip()),
            user: (!owner.is_empty()).then_some(&*owner),
            client_id: Some(mailbox.client_id.as_str()),
            tenant: Some(&mailbox.namespace.name),
        };
        self.core.bans.find(&visitor).is_some()
    }

    /// Finds out anew what limits the client. Nobody is put out by it.
    pub(super) fn take_quota_anew(&mut self, now: Instant) {
        // The new places before the old ones go, so that no account is forgotten in between.
        let quota = self.who(|who| self.core.quotas.admit_present(who, now)).flatten();
        self.quota = quota;
        let (generation, offered) = self.listener.capabilities(&self.core);
        self.limits_seen = generation;
        self.offer_anew(&offered);
        if let Some(mailbox) = &self.mailbox {
            self.keep_queue_limits(mailbox);
        }
    }

    /// Holds the client to what is offered now, by its listener and its quotas, as far as CONNACK did not speak of it.
    pub(super) fn offer_anew(&mut self, offered: &Arc<Capabilities>) {
        let told = self.machine.capabilities();
        let quotas = self.present_quotas();
        if quotas.is_none() && !self.is_limited(offered) {
            self.machine.set_capabilities(Arc::clone(offered));
            return;
        }
        let now = quotas.map_or_else(|| Capabilities::clone(offered), |it| limited(offered, &it));
        let next = Capabilities {
            receive_maximum: told.receive_maximum,
            inflight_max: told.inflight_max,
            maximum_packet_size: told.maximum_packet_size,
            session_expiry_max: told.session_expiry_max,
            keep_alive_max: told.keep_alive_max,
            keep_alive_min: told.keep_alive_min,
            ..now
        };
        if **told != next {
            self.machine.set_capabilities(Arc::new(next));
        }
    }

    /// Whether the client was told of less than its listener offers, which holds as long as it is connected.
    fn is_limited(&self, offered: &Capabilities) -> bool {
        let told = self.machine.capabilities();
        told.receive_maximum != offered.receive_maximum
            || told.inflight_max != offered.inflight_max
            || told.maximum_packet_size != offered.maximum_packet_size
            || told.session_expiry_max != offered.session_expiry_max
            || told.keep_alive_max != offered.keep_alive_max
            || told.keep_alive_min != offered.keep_alive_min
    }
}

/// What a client is told whose limit was reached when it wanted to come in.
pub(super) const fn refusal(event: QuotaEvent) -> ReasonCode {
    if matches!(event.limit, QuotaLimit::Connects) {
        ReasonCode::ConnectionRateExceeded
    } else {
        ReasonCode::QuotaExceeded
    }
}

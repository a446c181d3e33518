//! What outlives the Network Connection.

use std::time::Instant;

use dunlin_codec::{ClientId, PacketId, Qos, ReasonCode, SubscriptionFilter};

use crate::delivery::{Delivery, DropReason, Dropped};
use crate::event::{Output, Outputs};
use crate::expiry::SessionExpiry;
use crate::inbound::{Exchange, Exchanges, settle_exchange};
use crate::outbound::Outbound;
use crate::requests::Request;
use crate::subscriptions::{Subscription, Subscriptions};
use crate::token::{Token, Tokens};
use crate::will::Will;

/// The Session State of one client, as the server keeps it.
///
/// While there is a Network Connection it belongs to its [`Connection`](crate::Connection). Between connections it is
/// parked with the caller, who hands it the answers that still come in ([`routed`](Self::routed),
/// [`durable`](Self::durable), [`answered`](Self::answered)), looks at [`next_deadline`](Self::next_deadline), and [`end`](Self::end)s it.
// [MQTT-3.1.2-23] [MQTT-3.1.3-2] [MQTT-4.1.0-1] [MQTT-3.1.3-2 @3.1.1] [MQTT-4.1.0-1 @3.1.1]
#[derive(Debug)]
pub struct Session {
    client_id: ClientId,
    expiry: SessionExpiry,
    will: Option<Box<Will>>,
    /// Set while the client is not there. While it is, or its CONNECT is being processed, there is nothing to wait for.
    absence: Option<Box<Absence>>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) exchanges: Exchanges,
    pub(crate) outbound: Outbound,
    pub(crate) tokens: Tokens,
    /// SUBSCRIBE and UNSUBSCRIBE that the server has not answered when their connection ended: one for each of these.
    #[expect(
        clippy::box_collection,
        reason = "nearly all sessions have none, and are 16 bytes smaller for it"
    )]
    unanswered: Option<Box<Vec<Request>>>,
}

/// What becomes of the session of a client that is not there.
#[derive(Debug)]
struct Absence {
    /// When the Will is published; `None` if there is none, or never.
    will_at: Option<Instant>,
    /// When the session ends; `None` for never.
    expires_at: Option<Instant>,
}

/// What is known of a session after a restart. Its unacknowledged messages are
/// [delivered](crate::Input::Deliver) again.
#[derive(Debug)]
pub struct Restored {
    /// Whose it is.
    pub client_id: ClientId,
    /// The Session Expiry Interval agreed last.
    pub expiry: SessionExpiry,
    /// The Will that is not published.
    pub will: Option<Will>,
    /// When the Will is published.
    pub will_at: Option<Instant>,
    /// When the session ends; `None` for never.
    pub expires_at: Option<Instant>,
    /// The subscriptions.
    pub subscriptions: Vec<(SubscriptionFilter, Subscription)>,
    /// Packet Identifiers of QoS 2 PUBLISHes that were received and not released.
    pub inbound: Vec<PacketId>,
    /// Places of QoS 2 messages that were released by PUBREC and not completed.
    pub released: Vec<u64>,
}

impl Session {
    /// A session without any state, for a CONNECT that is being processed.
    // [MQTT-3.1.2-6]
    #[must_use]
    pub fn new(client_id: ClientId) -> Self {
        Self {
            client_id,
            expiry: SessionExpiry::AT_CLOSE,
            will: None,
            absence: None,
            subscriptions: Subscriptions::default(),
            exchanges: Exchanges::default(),
            outbound: Outbound::default(),
            tokens: Tokens::default(),
            unanswered: None,
        }
    }

    /// A session as it was before a restart, its client away.
    #[must_use]
    pub fn restore(restored: Restored) -> Self {
        let mut exchanges = Exchanges::default();
        for packet_id in restored.inbound {
            exchanges.insert(packet_id, Exchange::restored());
        }
        Self {
            expiry: restored.expiry,
            will: restored.will.map(Box::new),
            absence: Some(Box::new(Absence {
                will_at: restored.will_at,
                expires_at: restored.expires_at,
            })),
            subscriptions: restored.subscriptions.into_iter().collect(),
            exchanges,
            outbound: Outbound::restore(restored.released),
            ..Self::new(restored.client_id)
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn client_id(&self) -> &ClientId {
        &self.client_id
    }

    /// The Session Expiry Interval agreed last.
    #[must_use]
    pub const fn expiry(&self) -> SessionExpiry {
        self.expiry
    }

    /// Whether its state must survive a restart.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        !self.expiry.is_at_close()
    }

    /// Whether a new Network Connection may go on with it: it has not ended, and would not by losing its connection.
    #[must_use]
    pub fn is_resumable(&self, now: Instant) -> bool {
        self.is_durable() && !self.has_ended(now)
    }

    /// Whether the client is away and the session's time is over. It is then to be [ended](Self::end).
    // [MQTT-4.1.0-2] [MQTT-4.1.0-2 @3.1.1]
    #[must_use]
    pub fn has_ended(&self, now: Instant) -> bool {
        let absence = self.absence.as_ref();
        absence.and_then(|absence| absence.expires_at).is_some_and(|at| at <= now)
    }

    /// The Will, until it is published or given up.
    #[must_use]
    pub fn will(&self) -> Option<&Will> {
        self.will.as_deref()
    }

    /// Takes the Will to publish it now, by the server's will: it is not published again.
    // [MQTT-3.1.2-10]
    pub fn take_will(&mut self) -> Option<Will> {
        if let Some(absence) = &mut self.absence {
            absence.will_at = None;
        }
        self.will.take().map(|will| *will)
    }

    /// When the Will is published, if the client is away.
    #[must_use]
    pub fn will_at(&self) -> Option<Instant> {
        self.absence.as_ref()?.will_at
    }

    /// When the session ends, if the client is away and it ever does.
    #[must_use]
    pub fn expires_at(&self) -> Option<Instant> {
        self.absence.as_ref()?.expires_at
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.will_at(), self.expires_at()].into_iter().flatten().min()
    }

    /// Publishes the Will if it is due, and ends the session if that is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outputs<'_>) {
        self.publish_due_will(now, out);
        if self.has_ended(now) {
            self.end(out);
        }
    }

    /// Ends the session: its Will is published if it still stands, and its messages are dropped.
    // [MQTT-3.1.2-8]
    pub fn end(&mut self, out: &mut Outputs<'_>) {
        self.absence = Some(Box::new(Absence { will_at: None, expires_at: None }));
        if let Some(will) = self.will.take() {
            out.push(Output::PublishWill(will.message));
        }
        for delivery in self.outbound.take_all() {
            out.push(Output::Dropped(Dropped { delivery, why: DropReason::SessionEnded }));
        }
        out.push(Output::Ended);
    }

    /// The subscriptions, with the options granted.
    pub fn subscriptions(
        &self,
    ) -> impl ExactSizeIterator<Item = (&SubscriptionFilter, &Subscription)> {
        self.subscriptions.iter()
    }

    /// The subscription with this filter, `$share/{group}/` included.
    #[must_use]
    pub fn subscription(&self, filter: &[u8]) -> Option<&Subscription> {
        self.subscriptions.get(filter)
    }

    pub(crate) fn has_subscription(&self, filter: &SubscriptionFilter) -> bool {
        self.subscriptions.get(filter.as_bytes()).is_some()
    }

    /// Lowers the QoS that a subscription was granted; gives it as it is now, none if there is no such subscription.
    pub fn limit_subscription(&mut self, filter: &[u8], qos: Qos) -> Option<Subscription> {
        let subscription = self.subscriptions.get_mut(filter)?;
        subscription.options.qos = subscription.options.qos.min(qos);
        Some(*subscription)
    }

    /// Takes a subscription away by the server's will.
    pub fn remove_subscription(&mut self, filter: &[u8]) -> Option<Subscription> {
        self.subscriptions.remove(filter)
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// How many messages with QoS above 0 were handed over and are not acknowledged.
    #[must_use]
    pub fn inflight_len(&self) -> usize {
        self.outbound.len()
    }

    /// Takes out, of the messages that came by a Shared Subscription, those which may go to another member of the group:
    /// with QoS 1 all, with QoS 2 those not begun. For a session whose client is away.
    // [MQTT-4.8.2-4] [MQTT-4.8.2-5]
    pub fn take_unacknowledged_shared(&mut self) -> Vec<Delivery> {
        self.outbound.take_unacknowledged_shared()
    }

    /// The answer to an [`Output::Route`] of an earlier connection, while there is none.
    pub fn routed(&mut self, token: Token, reason: ReasonCode) {
        if let Some(packet_id) = token.packet_id() {
            settle_exchange(&mut self.exchanges, packet_id, reason);
        }
    }

    /// The answer to an [`Output::Persist`] of an earlier connection, while there is none.
    pub fn durable(&mut self, token: Token) {
        let Some(packet_id) = token.packet_id() else { return };
        if token.is_outbound() {
            self.outbound.released(packet_id);
        } else if self.exchanges.get_mut(packet_id).is_some_and(|exchange| exchange.is_releasing())
        {
            self.exchanges.remove(packet_id);
        }
    }

    /// The answer to an [`Output::Subscribe`] or [`Output::Unsubscribe`] of an earlier connection, while there is none: its
    /// client will not see it, but it holds.
    pub fn answered(&mut self, token: Token, mut reason_codes: Vec<ReasonCode>) {
        let Some(unanswered) = &mut self.unanswered else { return };
        let place = unanswered.iter().position(|request| request.token() == token);
        if let Some(request) = place.map(|index| unanswered.swap_remove(index)) {
            if unanswered.is_empty() {
                self.unanswered = None;
            }
            request.settle(&mut reason_codes, self);
        }
    }

    /// A new Network Connection takes it. A Will of an earlier one that is not out yet is given up.
    // [MQTT-3.1.3-9] [MQTT-3.1.2-5]
    pub(crate) fn attach(&mut self, expiry: SessionExpiry, will: Option<Will>) {
        self.expiry = expiry;
        self.will = will.map(Box::new);
        self.absence = None;
        for exchange in self.exchanges.values_mut() {
            exchange.begin_connection();
        }
    }

    /// DISCONNECT set another Session Expiry Interval.
    pub(crate) fn set_expiry(&mut self, expiry: SessionExpiry) {
        self.expiry = expiry;
    }

    /// DISCONNECT took the Will back.
    // [MQTT-3.1.2-10] [MQTT-3.14.4-3] [MQTT-3.14.4-3 @3.1.1]
    pub(crate) fn drop_will(&mut self) {
        self.will = None;
    }

    /// Its connection ends while this request is with the server.
    pub(crate) fn keep_unanswered(&mut self, request: Option<Request>) {
        if let Some(request) = request {
            self.unanswered.get_or_insert_default().push(request);
        }
    }

    /// The Network Connection ended. A session that another connection left behind is not touched.
    pub(crate) fn detach(&mut self, now: Instant, out: &mut Outputs<'_>) {
        if self.absence.is_none() {
            let will_at = self.will.as_ref().and_then(|will| will.deadline(self.expiry, now));
            let expires_at = self.expiry.deadline(now);
            self.absence = Some(Box::new(Absence { will_at, expires_at }));
            self.publish_due_will(now, out);
        }
    }

    // [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.2-10 @3.1.1] [MQTT-3.1.2-12 @3.1.1]
    fn publish_due_will(&mut self, now: Instant, out: &mut Outputs<'_>) {
        let Some(absence) = &mut self.absence else { return };
        if absence.will_at.is_some_and(|at| at <= now) {
            absence.will_at = None;
            if let Some(will) = self.will.take() {
                out.push(Output::PublishWill(will.message));
            }
        }
    }
}

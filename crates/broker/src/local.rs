//! Publishers and subscribers inside this process.
//!
//! They pass the same hooks, limits and queues as a client on a socket.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use dunlin_codec::{
    ClientId, Message, Qos, ReasonCode, RetainHandling, SubscriptionId, SubscriptionOptions,
    Version,
};
use dunlin_session::{Delivery, Settled};
use dunlin_topics::SubscriptionFilter;
use dunlin_transport::Peer;
use futures_core::Stream;
use tokio::sync::oneshot;

use crate::budget::Pressure;
use crate::core::Core;
use crate::fanout::{Routed, Source, Staging};
use crate::hooks::{Client, Guarded, guarded};
use crate::lane::Patience;
use crate::mailbox::{Collected, Mailbox, Wants, Wire};
use crate::metrics::{DropReason, add};
use crate::namespace::Namespace;
use crate::policy::{BoxFuture, Identity};
use crate::queue::{Drops, Parcel};
use crate::retained::Replay;
use crate::router::SubscriptionEntry;
use crate::share::Group;

/// The Client Identifier that hooks see for what happens inside this process.
const CLIENT_ID: &str = "$in-process";
/// Messages taken from the queue at a time.
const AHEAD: usize = 64;

/// Why a message of this process was not published.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PublishError {
    /// It was refused, for the same reason that a client would get in PUBACK.
    #[error("the message was refused: {0:?}")]
    Refused(ReasonCode),
    /// The store could not take it.
    #[error("the store did not take the message")]
    Store,
    /// The broker is shutting down.
    #[error("the broker is shutting down")]
    Closed,
}

/// Why a filter of this process was not subscribed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SubscribeError {
    /// It is no Topic Filter.
    #[error("not a topic filter")]
    InvalidFilter,
    /// It was refused, for the same reason that a client would get in SUBACK.
    #[error("the subscription was refused: {0:?}")]
    Refused(ReasonCode),
    /// The broker is shutting down.
    #[error("the broker is shutting down")]
    Closed,
}

/// How to subscribe inside this process.
#[derive(Clone, Copy, Debug)]
pub struct SubscribeOptions {
    /// The options of the standard. By default QoS 2, and retained messages first.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier.
    pub subscription_id: Option<SubscriptionId>,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            options: SubscriptionOptions {
                qos: Qos::ExactlyOnce,
                no_local: false,
                retain_as_published: true,
                retain_handling: RetainHandling::SendAtSubscribe,
            },
            subscription_id: None,
        }
    }
}

/// A message that a [`Subscription`] received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// The message.
    pub message: Arc<Message>,
    /// The QoS of this copy.
    pub qos: Qos,
    /// The RETAIN flag of this copy.
    pub retain: bool,
}

fn client(namespace: &Namespace) -> Client {
    Client {
        client_id: CLIENT_ID.to_owned(),
        tenant: Arc::clone(&namespace.name),
        version: Version::V5,
        address: None,
        peer: Peer::default(),
        listener: "in-process".into(),
        identity: Identity::named(CLIENT_ID),
    }
}

/// Publishes for this process; resolves when a PUBACK would have been sent.
pub(crate) async fn publish(
    core: &Arc<Core>,
    namespace: &Arc<Namespace>,
    mut message: Message,
) -> Result<ReasonCode, PublishError> {
    if core.is_closing() {
        return Err(PublishError::Closed);
    }
    check_publish(core, namespace, &mut message)?;
    let (sender, done) = oneshot::channel();
    let message = Arc::new(message);
    let routed = core.publish(namespace, &message, None, Source::default(), Some(sender));
    match routed {
        Routed::Now(reason) => Ok(reason),
        Routed::AfterCommit => match done.await {
            Ok(Ok(())) => Ok(ReasonCode::Success),
            Ok(Err(())) | Err(_) => Err(PublishError::Store),
        },
    }
}

fn check_publish(
    core: &Arc<Core>,
    namespace: &Namespace,
    message: &mut Message,
) -> Result<(), PublishError> {
    let topic = message.topic.as_bytes();
    let refuse = |reason, why, message: &Message| {
        core.report_publish(&namespace.counters, CLIENT_ID, Some(message), why);
        Err(PublishError::Refused(reason))
    };
    if topic == b"$SYS" || topic.starts_with(b"$SYS/") {
        return refuse(ReasonCode::NotAuthorized, DropReason::ReservedTopic, message);
    }
    if message.topic.levels().count() > usize::from(core.config().limits.topic_levels_max) {
        return refuse(ReasonCode::TopicNameInvalid, DropReason::NotAuthorized, message);
    }
    let limit =
        if message.qos == Qos::AtMostOnce { Pressure::DropQos0 } else { Pressure::RefuseAll };
    if core.budget.pressure() >= limit {
        return refuse(ReasonCode::QuotaExceeded, DropReason::MemoryBudget, message);
    }
    if core.interests.publish {
        match guarded(|| core.hooks.on_publish(&client(namespace), message)) {
            Some(Ok(())) => {}
            Some(Err(reason)) => return refuse(reason, DropReason::Hook, message),
            None => return refuse(ReasonCode::UnspecifiedError, DropReason::Hook, message),
        }
    }
    Ok(())
}

/// A subscription of this process: a stream of messages.
///
/// What it does not take waits in a queue with the bounds and the overflow rule of a session's. Dropping it ends the
/// subscription.
pub struct Subscription {
    core: Arc<Core>,
    mailbox: Arc<Mailbox>,
    filter: SubscriptionFilter,
    group: Option<Arc<Group>>,
    /// In the order in which they are sent.
    replays: VecDeque<Replay>,
    ready: VecDeque<Delivery>,
    ended: bool,
    /// Messages taken by the program, since the mailbox was told last.
    settled: Settled,
    /// Ready when the broker shuts down.
    closing: BoxFuture<'static, ()>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("filter", &self.filter.as_str())
            .finish_non_exhaustive()
    }
}

pub(crate) async fn subscribe(
    core: &Arc<Core>,
    namespace: &Arc<Namespace>,
    filter: &str,
    wanted: SubscribeOptions,
) -> Result<Subscription, SubscribeError> {
    if core.is_closing() {
        return Err(SubscribeError::Closed);
    }
    let rules = dunlin_codec::TextRules {
        allow_control: core.config().limits.allow_control_characters,
        allow_non_characters: core.config().limits.allow_non_characters,
    };
    let filter = SubscriptionFilter::parse(filter.as_bytes(), rules)
        .map_err(|_| SubscribeError::InvalidFilter)?;
    // The same codes as in SUBACK.
    if filter.topic_filter().levels().count() > usize::from(core.config().limits.topic_levels_max) {
        return Err(SubscribeError::Refused(ReasonCode::TopicFilterInvalid));
    }
    let mut options = wanted.options;
    if core.interests.subscribe {
        let deadline = core.config().limits.hook_deadline;
        let client = client(namespace);
        let asked = Guarded(core.hooks.on_subscribe(&client, filter.as_str(), options));
        options = match tokio::time::timeout(deadline, asked).await {
            Ok(Some(verdict)) => verdict.map_err(SubscribeError::Refused)?,
            Ok(None) => {
                add(&core.counters.hook_panics, 1);
                return Err(SubscribeError::Refused(ReasonCode::UnspecifiedError));
            }
            Err(_) => return Err(SubscribeError::Refused(ReasonCode::UnspecifiedError)),
        };
    }
    let subscription =
        dunlin_session::Subscription { options, subscription_id: wanted.subscription_id };
    let entry = SubscriptionEntry::of(&subscription);
    let client_id = ClientId::new(CLIENT_ID).map_err(|_| SubscribeError::InvalidFilter)?;
    let mailbox = Arc::new(namespace.make(client_id, ""));
    mailbox.attach(Wire::Messages, false, u32::MAX, 0);
    mailbox.set_credit(AHEAD);
    let plain = matches!(filter, SubscriptionFilter::Plain(_));
    let replayed = plain && options.retain_handling != RetainHandling::DoNotSend;
    let (_, replays) = namespace.router.subscribe(
        &filter,
        &mailbox,
        entry,
        |shared| Core::make_group(namespace, shared),
        || if replayed { namespace.replays(filter.topic_filter(), entry) } else { Vec::new() },
    );
    add(&namespace.counters.subscriptions, 1);
    let group = match &filter {
        SubscriptionFilter::Shared(shared) => {
            add(&namespace.counters.subscriptions_shared, 1);
            namespace.router.group(shared)
        }
        SubscriptionFilter::Plain(_) => None,
    };
    Ok(Subscription {
        core: Arc::clone(core),
        mailbox,
        filter,
        group,
        replays: replays.into(),
        ready: VecDeque::new(),
        ended: false,
        settled: Settled::default(),
        closing: Box::pin(core.closed()),
    })
}

impl Subscription {
    /// The next message; none when the broker has ended the subscription.
    pub async fn recv(&mut self) -> Option<Received> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                match self.take(delivery) {
                    Some(received) => return Poll::Ready(Some(received)),
                    None => continue,
                }
            }
            if self.ended {
                return Poll::Ready(None);
            }
            self.collect(cx);
            if self.ready.is_empty() && !self.replay_more() && !self.pull() && !self.ended {
                if self.closing.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.ended = true;
            }
        }
    }

    fn take(&mut self, mut delivery: Delivery) -> Option<Received> {
        if delivery.qos > Qos::AtMostOnce {
            self.settled.add(Some(&delivery.message));
        }
        let namespace = &self.mailbox.namespace;
        let hooked = !self.core.interests.deliver
            || guarded(|| self.core.hooks.on_deliver(&client(namespace), &mut delivery.message))
                .unwrap_or(false);
        let expired = delivery.expires_at.is_some_and(|at| at <= Instant::now());
        self.core.group_finished(&delivery);
        if hooked && !expired {
            return Some(Received {
                message: delivery.message,
                qos: delivery.qos,
                retain: delivery.retain,
            });
        }
        let mut drops = Drops::default();
        drops.one(if expired { DropReason::Expired } else { DropReason::Hook }, delivery);
        self.core.report(&self.mailbox, drops);
        None
    }

    fn collect(&mut self, cx: &Context<'_>) {
        let mut collected = Collected::default();
        let core = Arc::clone(&self.core);
        let settled = std::mem::take(&mut self.settled);
        let config = core.config();
        let wants = Wants { lane: true, quota: AHEAD, settled, limits: &config.limits };
        self.mailbox.collect(cx, wants, &mut collected);
        self.mailbox.namespace.charge(collected.charge);
        self.mailbox.set_credit(AHEAD);
        while let Some((delivery, _)) = collected.lane.pop() {
            self.ready.push_back(delivery);
        }
        self.ready.extend(collected.parcels.into_iter().flat_map(Parcel::into_deliveries));
        self.ended |= collected.eviction.is_some();
    }

    fn replay_more(&mut self) -> bool {
        let Some(replay) = self.replays.front_mut() else { return false };
        let bytes = self.core.config().limits.replay_bytes_ahead.min(16 * 1024);
        let ready = &mut self.ready;
        let retained = &self.mailbox.namespace.retained;
        if replay.step(retained, None, bytes, Instant::now(), |deliveries| ready.extend(deliveries))
        {
            self.replays.pop_front();
        }
        true
    }

    /// Takes what waits in the shared group.
    fn pull(&mut self) -> bool {
        let Some(group) = self.group.clone().filter(|group| group.has_waiting()) else {
            return false;
        };
        let Some(member) = group.member(&self.mailbox) else { return false };
        let mut staging = Staging::default();
        for delivery in group.take(AHEAD) {
            self.core.hand_over(&mut staging, &group, &member, delivery);
        }
        staging.flush(&self.core, Patience::None, &mut Vec::new());
        true
    }
}

impl Stream for Subscription {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        self.poll_recv(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.mailbox.set_offline();
        self.core.unsubscribe(&self.filter, &self.mailbox);
        if self.group.is_some() {
            let mut unsent = Vec::from(std::mem::take(&mut self.ready));
            unsent.extend(self.mailbox.take_where(|_| true));
            self.core.give_back(&self.mailbox, unsent);
        }
        let mut drops = Drops::default();
        self.mailbox.namespace.charge(self.mailbox.end(&mut drops));
        self.core.report(&self.mailbox, drops);
    }
}

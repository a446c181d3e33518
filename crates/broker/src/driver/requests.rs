//! SUBSCRIBE and UNSUBSCRIBE: from the client's filters to the index of subscriptions, the store and the answer.

use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::RetainHandling;
use dunlin_codec::{ReasonCode, SubscriptionOptions, Text};
use dunlin_session::{Input, Outputs, SubscribeItem, Token, UnsubscribeItem};
use dunlin_store::{Change, SubscriptionRecord};
use dunlin_topics::SubscriptionFilter;

use crate::core::Core;
use crate::fanout::Staging;
use crate::metrics::add;
use crate::persist::Entry;
use crate::retained::Replay;
use crate::router::SubscriptionEntry;

use super::Driver;
use super::opening::{Pending, judge};

/// A request whose changes are on their way to the store. At most `REQUESTS_MAX` of the session at a time.
#[derive(Debug)]
pub(super) struct Request {
    token: Token,
    reason_codes: Vec<ReasonCode>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Subscribe(Vec<Replay>),
    Unsubscribe,
}

/// A SUBSCRIBE that hooks have judged.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) token: Token,
    pub(super) items: Vec<SubscribeItem>,
}

impl Request {
    /// The connection is gone before anything was subscribed.
    pub(super) fn refused(token: Token, filters: usize) -> Self {
        let reason_codes = vec![ReasonCode::UnspecifiedError; filters];
        Self { token, reason_codes, kind: Kind::Unsubscribe }
    }

    /// The connection is gone; the session keeps what was asked for.
    pub(super) fn settle(self, session: &mut dunlin_session::Session) {
        session.answered(self.token, self.reason_codes);
    }
}

impl Driver {
    pub(super) fn subscribe(
        &mut self,
        token: Token,
        items: Vec<SubscribeItem>,
        out: &mut Outputs<'_>,
        staging: &mut Staging,
        now: Instant,
    ) {
        if self.core.interests.subscribe
            && let Some(client) = self.client.clone()
        {
            let core = Arc::clone(&self.core);
            let filters = items.len();
            let judged = Box::pin(judge(core, client, token, items));
            self.pending = Some(Box::new(Pending::Subscribe { token, filters, judged }));
            return;
        }
        let request = self.subscribed(Judged { token, items }, staging);
        self.answer(request, out, staging, now);
    }

    /// Puts the filters into the index. Live messages flow from here on; retained ones follow the SUBACK.
    pub(super) fn subscribed(&mut self, judged: Judged, staging: &mut Staging) -> Request {
        // What this client publishes from here on finds the new subscriptions, in the same read too.
        self.batch = self.batch.wrapping_add(1);
        let mut reason_codes = Vec::with_capacity(judged.items.len());
        let mut replays = Vec::new();
        for item in judged.items {
            let filter = match item.filter {
                Ok(filter) => filter,
                Err(reason) => {
                    reason_codes.push(reason);
                    continue;
                }
            };
            replays.extend(self.subscribe_one(
                &filter,
                item.options,
                item.subscription_id,
                item.existed,
                staging,
            ));
            // [MQTT-3.8.4-7] The granted QoS.
            reason_codes.push(match item.options.qos {
                dunlin_codec::Qos::AtMostOnce => ReasonCode::Success,
                dunlin_codec::Qos::AtLeastOnce => ReasonCode::GrantedQos1,
                dunlin_codec::Qos::ExactlyOnce => ReasonCode::GrantedQos2,
            });
        }
        Request { token: judged.token, reason_codes, kind: Kind::Subscribe(replays) }
    }

    fn subscribe_one(
        &mut self,
        filter: &SubscriptionFilter,
        options: SubscriptionOptions,
        subscription_id: Option<dunlin_codec::SubscriptionId>,
        existed: bool,
        staging: &mut Staging,
    ) -> Option<Replay> {
        let mailbox = self.mailbox.clone()?;
        let entry = SubscriptionEntry {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            subscription_id,
        };
        // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] Shared subscriptions get no retained messages.
        let replayed = match (filter, options.retain_handling) {
            (SubscriptionFilter::Shared(_), _) | (_, RetainHandling::DoNotSend) => false,
            (SubscriptionFilter::Plain(_), RetainHandling::SendAtSubscribe) => true,
            (SubscriptionFilter::Plain(_), RetainHandling::SendIfNew) => !existed,
        };
        let namespace = &mailbox.namespace;
        let (new, replay) = namespace.router.subscribe(
            filter,
            &mailbox,
            entry,
            |shared| Core::make_group(namespace, shared),
            || replayed.then(|| namespace.retained.replay(filter.topic_filter(), entry)),
        );
        if new {
            add(&namespace.counters.subscriptions, 1);
        }
        if let SubscriptionFilter::Shared(shared) = filter {
            if new {
                add(&namespace.counters.subscriptions_shared, 1);
            }
            if let Some(group) = namespace.router.group(shared) {
                if mailbox.is_durable() {
                    staging.writes.extend(Core::group_opened(&group));
                }
                let groups = &mut self.busy(Instant::now()).groups;
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
        }
        if mailbox.is_durable()
            && let Ok(text) = Text::try_from(filter.as_str())
        {
            let record = SubscriptionRecord { options, subscription_id };
            let session = mailbox.session_no;
            staging.writes.push(Entry::change(Change::Subscribed {
                session,
                filter: text,
                record,
            }));
        }
        // A replacement goes on where its predecessor was only if that is what was asked for.
        self.drop_replays(filter);
        replay
    }

    pub(super) fn unsubscribe(
        &mut self,
        token: Token,
        items: &[UnsubscribeItem],
        out: &mut Outputs<'_>,
        staging: &mut Staging,
        now: Instant,
    ) {
        self.batch = self.batch.wrapping_add(1);
        let reason_codes = items.iter().map(|item| self.unsubscribe_one(item, staging)).collect();
        self.answer(Request { token, reason_codes, kind: Kind::Unsubscribe }, out, staging, now);
    }

    fn unsubscribe_one(&mut self, item: &UnsubscribeItem, staging: &mut Staging) -> ReasonCode {
        let filter = match &item.filter {
            Ok(filter) => filter,
            Err(reason) => return *reason,
        };
        let Some(mailbox) = self.mailbox.clone() else { return ReasonCode::NoSubscriptionExisted };
        // [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-2 @3.1.1]
        let group = match filter {
            SubscriptionFilter::Shared(shared) => mailbox.namespace.router.group(shared),
            SubscriptionFilter::Plain(_) => None,
        };
        let existed = self.core.unsubscribe(filter, &mailbox);
        if let Some(group) = group {
            // What was not sent is for the others; what was begun is completed. [MQTT-3.10.4-3]
            // [MQTT-3.10.4-3 @3.1.1]
            let unsent = mailbox.take_where(|delivery| group.sent(delivery));
            if let Some(busy) = &mut self.busy {
                busy.groups.retain(|other| *other != group);
            }
            self.core.give_back(&mailbox, unsent);
        }
        self.drop_replays(filter);
        if existed
            && mailbox.is_durable()
            && let Ok(filter) = Text::try_from(filter.as_str())
        {
            staging
                .writes
                .push(Entry::change(Change::Unsubscribed { session: mailbox.session_no, filter }));
        }
        if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted }
    }

    /// Answers at once, or when the store has what the session must not forget.
    pub(super) fn answer(
        &mut self,
        request: Request,
        out: &mut Outputs<'_>,
        staging: &mut Staging,
        now: Instant,
    ) {
        let durable = self.mailbox.as_ref().is_some_and(|mailbox| mailbox.is_durable());
        // The last change carries the token: all of one batch become durable together.
        if durable
            && let Some(Entry::Change { token, .. }) = staging.writes.last_mut()
            && token.is_none()
        {
            *token = Some(request.token);
            self.busy(now).requests.push(request);
            return;
        }
        self.complete(request, out, now);
    }

    /// The store has the changes of a request.
    pub(super) fn request_durable(
        &mut self,
        request: Request,
        staging: &mut Staging,
        now: Instant,
    ) {
        let mut out = Outputs::new();
        self.complete(request, &mut out, now);
        self.carry_out_all(&mut out, staging, now);
    }

    /// Takes the request that waits for this token.
    pub(super) fn take_request(&mut self, token: Token) -> Option<Request> {
        let requests = &mut self.busy.as_mut()?.requests;
        let position = requests.iter().position(|request| request.token == token)?;
        Some(requests.remove(position))
    }

    fn complete(&mut self, request: Request, out: &mut Outputs<'_>, now: Instant) {
        let Request { token, reason_codes, kind } = request;
        let (input, replays) = match kind {
            Kind::Subscribe(replays) => (Input::Subscribed { token, reason_codes }, replays),
            Kind::Unsubscribe => (Input::Unsubscribed { token, reason_codes }, Vec::new()),
        };
        if let Err(violation) = self.machine.handle(input, now, out) {
            self.machine.violated(violation, now, out);
        }
        // SUBACK is among the outputs by now, so it leaves before the first of these.
        self.add_replays(replays, now);
    }
}

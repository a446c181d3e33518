//! SUBSCRIBE and UNSUBSCRIBE: from the client's filters to the index of subscriptions, the store and the answer.

use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::RetainHandling;
use dunlin_codec::{ReasonCode, SubscriptionOptions};
use dunlin_session::{Input, Outputs, SubscribeItem, Subscription, Token, UnsubscribeItem};
use dunlin_topics::SubscriptionFilter;

use crate::access::{Grant, grant, subscribed};
use crate::core::Core;
use crate::end::EndReason;
use crate::fanout::Staging;
use crate::mailbox::Counted;
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
    /// The rules that it was judged by.
    rules: u64,
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
        Self { token, reason_codes, kind: Kind::Unsubscribe, rules: 0 }
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
        mut items: Vec<SubscribeItem>,
        out: &mut Outputs<'_>,
        staging: &mut Staging,
        now: Instant,
    ) {
        self.count_refused_filters(&items);
        if !self.judge_filters(&mut items) {
            self.closes_for = Some(EndReason::NotAuthorized);
            let refused = Request::refused(token, items.len());
            self.answer(refused, out, staging, now);
            return;
        }
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
            replays.append(&mut self.subscribe_one(
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
        let (token, kind) = (judged.token, Kind::Subscribe(replays));
        Request { token, reason_codes, kind, rules: self.rules_seen }
    }

    fn subscribe_one(
        &mut self,
        filter: &SubscriptionFilter,
        options: SubscriptionOptions,
        subscription_id: Option<dunlin_codec::SubscriptionId>,
        existed: bool,
        staging: &mut Staging,
    ) -> Vec<Replay> {
        let Some(mailbox) = self.mailbox.clone() else { return Vec::new() };
        let filtered = matches!(
            grant(self.rights.as_deref(), filter, options.qos),
            Grant::Granted { filtered: true, .. }
        );
        let subscription = Subscription { options, subscription_id };
        let entry = SubscriptionEntry { filtered, ..SubscriptionEntry::of(&subscription) };
        // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] Shared subscriptions get no retained messages.
        let replayed = match (filter, options.retain_handling) {
            (SubscriptionFilter::Shared(_), _) | (_, RetainHandling::DoNotSend) => false,
            (SubscriptionFilter::Plain(_), RetainHandling::SendAtSubscribe) => true,
            (SubscriptionFilter::Plain(_), RetainHandling::SendIfNew) => !existed,
        };
        let namespace = &mailbox.namespace;
        let (new, replays) = namespace.router.subscribe(
            filter,
            &mailbox,
            entry,
            |shared| Core::make_group(namespace, shared),
            || if replayed { namespace.replays(filter.topic_filter(), entry) } else { Vec::new() },
        );
        if new {
            mailbox.count_subscription(Counted::New);
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
        staging.writes.extend(subscribed(&mailbox, filter, &subscription));
        // A replacement goes on where its predecessor was only if that is what was asked for.
        self.drop_replays(filter);
        replays
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
        let (kind, rules) = (Kind::Unsubscribe, self.rules_seen);
        self.answer(Request { token, reason_codes, kind, rules }, out, staging, now);
    }

    fn unsubscribe_one(&mut self, item: &UnsubscribeItem, staging: &mut Staging) -> ReasonCode {
        let filter = match &item.filter {
            Ok(filter) => filter,
            Err(reason) => return *reason,
        };
        let Some(mailbox) = self.mailbox.clone() else { return ReasonCode::NoSubscriptionExisted };
        let (existed, entry) = self.core.take_subscription_away(&mailbox, filter);
        if let (SubscriptionFilter::Shared(_), Some(busy)) = (filter, &mut self.busy) {
            busy.groups.retain(|group| group.filter.as_str() != filter.as_str());
        }
        self.drop_replays(filter);
        staging.writes.extend(entry);
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
        let Request { token, reason_codes, kind, rules } = request;
        let (input, replays) = match kind {
            Kind::Subscribe(replays) => (Input::Subscribed { token, reason_codes }, replays),
            Kind::Unsubscribe => (Input::Unsubscribed { token, reason_codes }, Vec::new()),
        };
        if let Err(violation) = self.machine.handle(input, now, out) {
            self.machine.violated(violation, now, out);
        }
        // The session knows its subscriptions only now: those that were judged by other rules are looked over once more.
        if rules != self.rules_seen {
            self.rules_seen = u64::MAX;
        }
        // SUBACK is among the outputs by now, so it leaves before the first of these.
        self.add_replays(replays, now);
    }
}

//! The end of a batch: copies are posted, writes handed in; and what a busy connection keeps from batch to batch.

use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use dunlin_codec::{Qos, ReasonCode};
use dunlin_session::Token;

use crate::core::Core;
use crate::crowding::{Crowded, Wait};
use crate::fanout::{Staged, Staging};
use crate::handing_in::NotTaken;
use crate::lane::{Patience, Posted};
use crate::mailbox::Mailbox;
use crate::metrics::{Counters, add};
use crate::persist::Write;
use crate::retained::Replay;
use crate::router::Route;
use crate::share::Group;

use super::requests::Request;
use super::routes::{RouteCache, TopicRules};
use super::{Driver, State};

/// What a busy connection has.
pub(super) struct Busy {
    pub(super) routes: RouteCache,
    /// Copies that slow receivers have no room for yet, and since when.
    pub(super) held: Vec<Staged>,
    pub(super) held_since: Option<Instant>,
    /// What the committer had no room for.
    pub(super) stuck: Option<Write>,
    /// Answers to this client's PUBLISHes that are withheld while too much waits for a receiver: at most its Receive Maximum.
    pub(super) braked: Vec<(Token, ReasonCode)>,
    /// Where that waits, if it is not held here, and since when the publisher waits for it.
    pub(super) braked_by: Option<(Crowded, Instant)>,
    slowed_wait: Wait,
    braked_wait: Wait,
    /// Retained messages still to be sent, by subscription.
    pub(super) replays: Vec<Replay>,
    /// SUBSCRIBEs and UNSUBSCRIBEs whose changes are on their way to the store.
    pub(super) requests: Vec<Request>,
    /// The shared groups this client is a member of.
    pub(super) groups: Vec<Arc<Group>>,
    pub(super) used: Instant,
}

/// Where messages of one topic go in this batch.
pub(super) struct BatchRoute<'a> {
    pub(super) core: &'a Arc<Core>,
    pub(super) mailbox: &'a Arc<Mailbox>,
    pub(super) route: &'a Route,
    /// The highest QoS at which the client may publish to it; none if it may not at all.
    pub(super) qos_max: Option<Qos>,
}

impl Busy {
    fn new(entries_max: usize, now: Instant) -> Self {
        Self {
            routes: RouteCache::new(entries_max),
            held: Vec::new(),
            held_since: None,
            stuck: None,
            braked: Vec::new(),
            braked_by: None,
            slowed_wait: Wait::default(),
            braked_wait: Wait::default(),
            replays: Vec::new(),
            requests: Vec::new(),
            groups: Vec::new(),
            used: now,
        }
    }

    /// Whether there is nothing that must be kept.
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
            && self.held.is_empty()
            && self.stuck.is_none()
            && self.braked.is_empty()
            && self.braked_by.is_none()
            && self.replays.is_empty()
            && self.requests.is_empty()
            && self.groups.is_empty()
    }

    /// Whether the client is not read because of what is held.
    pub(super) fn slows(&self) -> bool {
        self.held.iter().any(|staged| staged.post.at_most_once)
    }

    /// Whether answers to its PUBLISHes are withheld.
    pub(super) fn brakes(&self) -> bool {
        self.braked_by.is_some() || self.held.iter().any(|staged| !staged.post.at_most_once)
    }

    /// Counts waits that have begun or ended by now.
    pub(super) fn count_waits(&mut self, counters: &Counters, now: Instant) {
        let (times, micros) = (&counters.publishers_slowed, &counters.publishers_slowed_micros);
        self.slowed_wait.note(self.slows(), now, times, micros);
        let (times, micros) = (&counters.publishers_braked, &counters.publishers_braked_micros);
        self.braked_wait.note(!self.braked.is_empty(), now, times, micros);
    }
}

impl Driver {
    pub(super) fn busy(&mut self, now: Instant) -> &mut Busy {
        let core = &self.core;
        let busy = self.busy.get_or_insert_with(|| {
            Box::new(Busy::new(core.config().limits.route_cache_entries_max, now))
        });
        busy.used = now;
        busy
    }

    pub(super) fn topic_rules(&self) -> TopicRules {
        let capabilities = self.machine.capabilities();
        TopicRules {
            text: self.limits.text,
            levels_max: capabilities.topic_levels_max,
            bytes_max: capabilities.topic_bytes_max,
        }
    }

    pub(super) fn batch_route(&mut self, topic: &[u8], now: Instant) -> Option<BatchRoute<'_>> {
        let rules = self.topic_rules();
        self.busy(now);
        let Self { core, mailbox, busy, batch, rights, .. } = self;
        let busy = busy.as_mut()?;
        let mailbox = mailbox.as_ref()?;
        let (route, qos_max) = busy.routes.get(topic, *batch, rules, mailbox, rights.as_deref())?;
        Some(BatchRoute { core, mailbox, route, qos_max })
    }

    /// Posts what the batch has for others and hands in what has to be durable.
    pub(super) fn finish_batch(&mut self, staging: &mut Staging, cx: &Context<'_>) {
        if staging.is_empty() {
            return;
        }
        self.flush(staging, Some(cx));
        if let Some(write) = staging.take_write(&self.core, self.mailbox.as_ref()) {
            self.hand_in(write);
        }
    }

    /// Posts and hands in what is staged, before the batch ends.
    pub(super) fn post_at_once(&mut self, staging: &mut Staging) {
        self.flush(staging, None);
        if let Some(write) = staging.take_write(&self.core, self.mailbox.as_ref()) {
            self.hand_in(write);
        }
    }

    /// Hands a write in, behind what the committer had no room for.
    fn hand_in(&mut self, write: Write) {
        if self.state != State::Open {
            // Nobody is there to try again.
            self.core.submit_later(write);
            return;
        }
        let write = match self.busy.as_mut().and_then(|busy| busy.stuck.take()) {
            Some(mut stuck) => {
                stuck.append(write);
                stuck
            }
            None => write,
        };
        if let Err(NotTaken::Full(write)) = self.core.submit(write) {
            self.busy(Instant::now()).stuck = Some(write);
        }
    }

    pub(super) fn flush(&mut self, staging: &mut Staging, cx: Option<&Context<'_>>) {
        let mut held =
            self.busy.as_mut().map_or_else(Vec::new, |busy| std::mem::take(&mut busy.held));
        let patience = match cx {
            Some(cx) if self.state == State::Open => self.patience(cx),
            _ => Patience::None,
        };
        staging.flush(&self.core, patience, &mut held);
        if !held.is_empty() {
            let now = Instant::now();
            let busy = self.busy(now);
            busy.held = held;
            busy.held_since.get_or_insert(now);
            self.count_waits(now);
        }
    }

    fn patience<'a>(&self, cx: &'a Context<'_>) -> Patience<'a> {
        Patience::Waits {
            waker: cx.waker(),
            from: self.core.lane_soft(),
            read: self.may_be_slowed(),
        }
    }

    fn count_waits(&mut self, now: Instant) {
        let counters = self
            .mailbox
            .as_ref()
            .map_or(&self.core.counters, |mailbox| &mailbox.namespace.counters);
        if let Some(busy) = &mut self.busy {
            busy.count_waits(counters, now);
        }
    }

    /// Posts and hands in all that this client has sent, held or staged, so that nothing that comes now overtakes it.
    pub(super) fn hand_all_in(&mut self, staging: &mut Staging) {
        let core = Arc::clone(&self.core);
        let mut stuck = None;
        if let Some(busy) = &mut self.busy {
            busy.held_since = None;
            for mut staged in std::mem::take(&mut busy.held) {
                core.post(&mut staged, Patience::None, &core.config().limits);
            }
            stuck = busy.stuck.take();
        }
        self.count_waits(Instant::now());
        self.flush(staging, None);
        let write = staging.take_write(&core, self.mailbox.as_ref());
        for write in stuck.into_iter().chain(write) {
            core.submit_later(write);
        }
    }

    /// Whether this publisher may be read more slowly for a slow receiver: not if somebody waits for it, or two could wait for
    /// each other.
    fn may_be_slowed(&self) -> bool {
        let idle = self.mailbox.as_ref().is_none_or(|mailbox| mailbox.queued() == (0, 0));
        self.state == State::Open
            && idle
            && self.writer.is_empty()
            && self.machine.unacknowledged() == 0
    }

    /// Tries again what slow receivers had no room for.
    pub(super) fn post_held(&mut self, now: Instant, cx: &Context<'_>) {
        if self.busy.as_ref().is_none_or(|busy| busy.held.is_empty()) {
            return;
        }
        let patience = self.patience(cx);
        let Self { core, mailbox, busy: Some(busy), .. } = self else { return };
        let config = core.config();
        let slow_max = config.limits.publisher_slow_max;
        let waited =
            busy.held_since.is_some_and(|since| now.saturating_duration_since(since) >= slow_max);
        let patience = if waited { Patience::Exhausted } else { patience };
        if let Some(mailbox) = mailbox.as_ref().filter(|_| waited) {
            let counters = &mailbox.namespace.counters;
            add(&counters.publishers_slowed_full, busy.slows().into());
            add(&counters.publishers_braked_full, busy.brakes().into());
        }
        busy.held.retain_mut(|staged| core.post(staged, patience, &config.limits) == Posted::Wait);
        if busy.held.is_empty() {
            busy.held_since = None;
        }
        self.count_waits(now);
    }

    /// Tries again to hand in what the committer had no room for.
    pub(super) fn resubmit(&mut self, now: Instant) {
        let Some(busy) = &mut self.busy else { return };
        if let Some(write) = busy.stuck.take()
            && let Err(NotTaken::Full(write)) = self.core.submit(write)
        {
            busy.stuck = Some(write);
            busy.used = now;
        }
    }

    /// What to answer to the PUBLISH staged last, if it is to be answered now: nothing for a while if so much waits for a
    /// receiver that this publisher is to be braked.
    #[inline]
    pub(super) fn braked(
        &mut self,
        answer: Option<(Token, ReasonCode)>,
        staging: &mut Staging,
        now: Instant,
    ) -> Option<(Token, ReasonCode)> {
        if let Some(crowded) = staging.crowded.take() {
            self.busy(now).braked_by.get_or_insert((crowded, now));
        }
        answer.and_then(|answer| self.withheld(answer, now))
    }

    /// The answer to a PUBLISH whose message is with everybody now; `None` if it is withheld for a while.
    #[inline]
    pub(super) fn withheld(
        &mut self,
        answer: (Token, ReasonCode),
        now: Instant,
    ) -> Option<(Token, ReasonCode)> {
        let Some(busy) = self.busy.as_mut().filter(|busy| busy.brakes()) else {
            return Some(answer);
        };
        busy.braked.push(answer);
        self.count_waits(now);
        None
    }

    /// Lets the withheld answers go when the receiver has caught up, or was waited for long enough.
    pub(super) fn release_brake(&mut self, now: Instant, cx: &Context<'_>) {
        let Some(busy) = &mut self.busy else { return };
        if let Some((crowded, since)) = &busy.braked_by {
            let slow_max = self.core.config().limits.publisher_slow_max;
            if now.saturating_duration_since(*since) >= slow_max {
                crowded.give_brake_up();
                if let Some(mailbox) = &self.mailbox {
                    add(&mailbox.namespace.counters.publishers_braked_full, 1);
                }
            } else if crowded.brake(cx.waker()) {
                return;
            }
            busy.braked_by = None;
        }
        if busy.braked.is_empty() || busy.brakes() {
            return;
        }
        for (token, reason) in std::mem::take(&mut busy.braked) {
            self.acknowledge(token, reason);
        }
        self.count_waits(now);
    }
}

//! From the mailbox to the socket: what arrived for this client, retained messages, its shared groups.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll};
use std::time::Instant;

use dunlin_codec::{Qos, ReasonCode, Version};
use dunlin_session::{Connection, Delivery, Input, Outputs, Violation};
use dunlin_topics::SubscriptionFilter;
use dunlin_transport::Stream;

use crate::core::Core;
use crate::end::EndReason;
use crate::fanout::Staging;
use crate::handing_in::NotTaken;
use crate::hooks::guarded;
use crate::lane::{Patience, Post, Tally};
use crate::mailbox::{Collected, Mailbox, Notice, Wants, Wire};
use crate::metrics::DropReason;
use crate::persist::Write;
use crate::queue::{Drops, Parcel};
use crate::retained::Replay;

use super::ending::LINGER;
use super::{Driver, State, WRITER_AHEAD};

/// Messages taken from the mailbox in one go.
const DELIVERIES_MAX: usize = 512;
/// Retained messages on their way in the client's own queue while more are to be replayed.
pub(super) const REPLAY_QUEUE_MAX: u32 = 64;

impl Driver {
    /// Takes what has arrived for this client since the last turn.
    pub(super) fn collect(
        &mut self,
        staging: &mut Staging,
        collected: &mut Collected,
        now: Instant,
        cx: &Context<'_>,
    ) {
        let Some(mailbox) = self.mailbox.clone() else { return };
        let room_out = self.room_out(now);
        let room = self.writer.len() < WRITER_AHEAD && room_out.is_some();
        let quota =
            if room { usize::from(self.machine.send_quota()).min(DELIVERIES_MAX) } else { 0 };
        let quota = quota.min(room_out.unwrap_or(0));
        let before = self.written();
        let settled = std::mem::take(&mut self.settled);
        let config = self.core.config();
        let wants = Wants { lane: room, quota, settled, limits: &config.limits };
        mailbox.collect(cx, wants, collected);
        if collected.asks {
            self.core.pager.ask(&mailbox);
        }
        mailbox.namespace.charge(collected.charge);
        self.writer.append(collected.lane.head(), std::mem::take(&mut collected.tally));
        while let Some((delivery, mut behind)) = collected.lane.pop() {
            self.deliver_all(&mailbox, std::iter::once(Parcel::One(delivery)), staging, now);
            self.writer.append(&mut behind, Tally::default());
        }
        self.waiting = small(collected.waiting);
        self.queued = small(collected.queued);
        self.left = collected.left;
        if room_out.is_none() && (collected.waiting > 0 || collected.left) {
            self.count_held_out();
        }
        // All that was taken is with the machine before anything can end the connection: what it has is not lost.
        if !collected.parcels.is_empty() {
            self.deliver_all(&mailbox, collected.parcels.drain(..), staging, now);
        }
        self.pay_for_sent(before, now);
        for notice in collected.notices.drain(..) {
            self.noticed(notice, staging, now);
        }
        if self.busy.as_ref().is_some_and(|busy| !busy.groups.is_empty()) {
            self.pull(&mailbox, staging);
        }
    }

    fn noticed(&mut self, notice: Notice, staging: &mut Staging, now: Instant) {
        match notice {
            Notice::Routed { token, reason } => {
                if let Some((token, reason)) = self.withheld((token, reason), now) {
                    self.feed(Input::Routed { token, reason }, staging, now);
                }
            }
            // [MQTT-4.3.2-4] What is not stored is not acknowledged. 5.0 can say why [MQTT-4.13.2-1]; before it, only the end
            // of the connection says that the message has to be sent again. [MQTT-4.8.0-2 @3.1.1]
            Notice::NotStored { token } if self.machine.version() == Some(Version::V5) => {
                self.feed(Input::Routed { token, reason: ReasonCode::QuotaExceeded }, staging, now);
            }
            Notice::NotStored { token } => {
                // Nobody will ask for this message again, so that the client can send it again.
                if let Some(session) = self.machine.session_mut() {
                    session.routed(token, ReasonCode::QuotaExceeded);
                }
                self.evict(EndReason::StoreFailed, staging, now);
            }
            Notice::Durable { token } => match self.take_request(token) {
                Some(request) => self.request_durable(request, staging, now),
                None => self.feed(Input::Durable { token }, staging, now),
            },
            Notice::StoreFailed => self.evict(EndReason::StoreFailed, staging, now),
            Notice::LookAtBans => {
                if self.is_banned() {
                    self.evict(EndReason::Banned, staging, now);
                }
            }
            Notice::PublishWill => {
                let will = self.machine.session_mut().and_then(dunlin_session::Session::take_will);
                if let (Some(will), Some(mailbox)) = (will, &self.mailbox) {
                    self.core.publish_will(&will.message, mailbox);
                }
            }
        }
    }

    /// Gives messages to the machine and writes what it says, then sees to what went wrong.
    pub(super) fn deliver_all(
        &mut self,
        mailbox: &Arc<Mailbox>,
        parcels: impl Iterator<Item = Parcel>,
        staging: &mut Staging,
        now: Instant,
    ) {
        let mut out = std::mem::take(&mut staging.outputs).recycle();
        let mut taken = Ok(());
        let mut hooks = self.core.interests.deliver;
        for parcel in parcels {
            let run = match parcel {
                Parcel::One(delivery) => {
                    let one = self.deliver(mailbox, delivery, &mut hooks, &mut out, now);
                    taken = taken.and(one);
                    continue;
                }
                Parcel::Run(run) => run,
            };
            let recheck = self.recheck.as_ref();
            let plain = !hooks && recheck.is_none_or(|recheck| run.seq() > recheck.upto);
            let Self { machine, writer, .. } = self;
            let refused =
                if plain { machine.deliver_run(run, |run| writer.run(run)) } else { Err(run) };
            for delivery in refused.err().into_iter().flatten() {
                let one = self.deliver(mailbox, delivery, &mut hooks, &mut out, now);
                taken = taken.and(one);
            }
        }
        self.settle(taken, &mut out, staging, now);
        staging.outputs = out.recycle();
        if self.core.interests.deliver && !hooks {
            self.panicked(staging, now);
        }
    }

    /// Gives one message to the machine, if it may be sent, and writes it.
    #[inline]
    fn deliver(
        &mut self,
        mailbox: &Arc<Mailbox>,
        mut delivery: Delivery,
        hooks: &mut bool,
        out: &mut Outputs<'_>,
        now: Instant,
    ) -> Result<(), Violation> {
        if !self.passes_recheck(&delivery) {
            self.refused(mailbox, delivery, DropReason::NotAuthorized);
            return Ok(());
        }
        if *hooks {
            match self.hook_delivers(&mut delivery) {
                Some(true) => {}
                Some(false) => {
                    self.refused(mailbox, delivery, DropReason::Hook);
                    return Ok(());
                }
                None => *hooks = false,
            }
        }
        if let Some(outgoing) = self.machine.deliver(delivery, now, out)? {
            self.writer.publish(&outgoing, self.version());
        }
        Ok(())
    }

    /// Whether what was queued before the client lost rights may still be sent. What has no place yet came later.
    #[inline]
    fn passes_recheck(&self, delivery: &Delivery) -> bool {
        let Some(recheck) = &self.recheck else { return true };
        let (rights, session) = (self.rights.as_deref(), self.machine.session());
        delivery.seq == 0
            || delivery.seq > recheck.upto
            || recheck.passes(delivery, rights, session)
    }

    /// This copy is not to be sent.
    fn refused(&mut self, mailbox: &Arc<Mailbox>, delivery: Delivery, reason: DropReason) {
        if delivery.qos > Qos::AtMostOnce {
            self.settled.add(Some(&delivery.message));
        }
        self.core.group_finished(&delivery);
        let mut drops = Drops::default();
        drops.one(reason, delivery);
        self.core.report(mailbox, drops);
    }

    /// What the hook says; none if it panicked.
    fn hook_delivers(&self, delivery: &mut Delivery) -> Option<bool> {
        match &self.client {
            Some(client) => guarded(|| self.core.hooks.on_deliver(client, &mut delivery.message)),
            None => Some(true),
        }
    }

    /// Takes from the queues of this client's shared groups what its quota allows, and says what is left of it.
    fn pull(&mut self, mailbox: &Arc<Mailbox>, staging: &mut Staging) {
        let quota = usize::from(self.machine.send_quota()).saturating_sub(self.queued as usize);
        let quota = if self.held_out() { 0 } else { quota };
        mailbox.set_credit(quota);
        // See `dispatch_group`.
        fence(Ordering::SeqCst);
        let Some(busy) = self.busy.as_ref().filter(|busy| busy.stuck.is_none()) else { return };
        let mut taken = 0;
        for group in busy.groups.iter().filter(|group| group.has_waiting()) {
            let Some(member) = group.member(mailbox) else { continue };
            while taken < quota.min(DELIVERIES_MAX) && mailbox.take_credit() {
                let Some(delivery) = group.take_for(&member) else {
                    mailbox.give_credit();
                    break;
                };
                self.core.hand_over(staging, group, &member, delivery);
                taken += 1;
            }
        }
    }

    /// Sends the next retained messages of the subscriptions made, as far as the client keeps up.
    pub(super) fn replay(&mut self, staging: &mut Staging, now: Instant) {
        let ahead = self.replay_ahead();
        if self.held_out() {
            return;
        }
        let Some(mailbox) = self.mailbox.clone() else { return };
        let Some(busy) = self.busy.as_mut().filter(|busy| !busy.replays.is_empty()) else { return };
        if self.writer.len() >= ahead || self.queued >= REPLAY_QUEUE_MAX || busy.stuck.is_some() {
            return;
        }
        let core = Arc::clone(&self.core);
        let mut now_written = Vec::new();
        let mut queued = 0;
        let mut stuck = None;
        let mut drops = Drops::default();
        let rights = self.rights.as_deref();
        if let Some(replay) = busy.replays.first_mut() {
            let room = (ahead - self.writer.len()).min(16 * 1024);
            // Copies that go by the queue are in it before a newer message of their topic can be.
            let ended = replay.step(&mailbox.namespace.retained, rights, room, now, |deliveries| {
                let (written, by_queue): (Vec<Delivery>, Vec<Delivery>) =
                    deliveries.into_iter().partition(|delivery| delivery.qos == Qos::AtMostOnce);
                now_written = written;
                queued = small(by_queue.len());
                stuck = post_replayed(&core, &mailbox, by_queue, &mut drops);
            });
            if ended {
                busy.replays.remove(0);
            }
            busy.stuck = stuck;
        }
        self.core.report(&mailbox, drops);
        self.queued += queued;
        let before = self.written();
        self.deliver_all(&mailbox, now_written.into_iter().map(Parcel::One), staging, now);
        self.pay_for_sent(before, now);
    }

    pub(super) fn replay_ahead(&self) -> usize {
        self.core.config().limits.replay_bytes_ahead.min(WRITER_AHEAD)
    }

    pub(super) fn add_replays(&mut self, replays: Vec<Replay>, now: Instant) {
        if !replays.is_empty() {
            self.busy(now).replays.extend(replays);
        }
    }

    /// The subscription with this filter is replaced or gone.
    pub(super) fn drop_replays(&mut self, filter: &SubscriptionFilter) {
        if let (SubscriptionFilter::Plain(filter), Some(busy)) = (filter, &mut self.busy) {
            busy.replays.retain(|replay| replay.filter() != filter.as_bytes());
        }
    }

    pub(super) fn poll_write(&mut self, now: Instant, cx: &mut Context<'_>) -> io::Result<()> {
        match self.state {
            State::Open | State::Closing => {}
            // A layer may have its last word to say yet. The peer has what was meant for it, so an error is no matter.
            State::Lingering if matches!(self.socket, Stream::Layered(_)) => {
                let _ = self.socket.poll_shutdown(cx);
                return Ok(());
            }
            State::Lingering | State::Closed => return Ok(()),
        }
        match self.writer.poll_flush(&mut self.socket, now, cx) {
            Poll::Ready(Ok(())) => {
                if self.state == State::Closing {
                    self.state = State::Lingering;
                    self.closes_by(now + LINGER);
                    self.socket.say(self.farewell());
                    let _ = self.socket.poll_shutdown(cx);
                }
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(()),
        }
    }
}

/// Puts retained messages into a client's own queue, by way of the store if its session is durable. Gives the write back
/// if there is no room for it now.
fn post_replayed(
    core: &Arc<Core>,
    mailbox: &Arc<Mailbox>,
    deliveries: Vec<Delivery>,
    drops: &mut Drops,
) -> Option<Write> {
    if deliveries.is_empty() {
        return None;
    }
    let mut staging = Staging::default();
    if mailbox.is_durable() {
        for delivery in deliveries {
            staging.queue(core, mailbox, delivery);
        }
        let write = staging.take_write(core, Some(mailbox))?;
        return match core.submit(write) {
            Err(NotTaken::Full(write)) => Some(write),
            Ok(()) | Err(NotTaken::Closed) => None,
        };
    }
    let parcels = deliveries.into_iter().map(Parcel::One).collect();
    let mut post = Post { parcels, ..Post::default() };
    let (_, charge) =
        mailbox.post(&mut post, mailbox.wire(), Patience::None, &core.config().limits, drops);
    mailbox.namespace.charge(charge);
    None
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// How QoS 0 copies for this client are made.
pub(super) fn wire_of(machine: &Connection, deliver_hook: bool) -> Wire {
    match machine.version() {
        Some(version) if machine.peer_topic_alias_maximum() == 0 && !deliver_hook => {
            Wire::of(version)
        }
        _ => Wire::Messages,
    }
}

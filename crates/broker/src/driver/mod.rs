//! The one loop of a Network Connection.
//!
//! One task per connection, one turn per wake-up: take what arrived for this client, write it, read what the client
//! sent, route it, post it to its receivers, write the answers. A publisher never writes another client's socket. What
//! one turn may read is bounded, so that a loud client cannot starve the others on its worker.
//!
//! The protocol is the machine's ([`Connection`]): the driver feeds it and carries out what it says.

mod access;
mod batch;
mod delivering;
mod ending;
mod opening;
mod partial;
mod publish;
mod quota;
mod reading;
mod remote;
mod requests;
mod routes;
mod timing;
mod writer;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use dunlin_access::Rights;
use dunlin_codec::{DecodeLimits, Message, Qos, ReasonCode, Version};
use dunlin_session::{
    Completed, Connection, Input, Origin, Output, Outputs, Persist, Settled, Token, Violation,
};
use dunlin_store::SessionNo;
use dunlin_transport::{Opened, Stream};
use tokio::time::Sleep;

use crate::access::Recheck;
use crate::alarms::Alarm;
use crate::core::Core;
use crate::end::EndReason;
use crate::fanout::Staging;
use crate::hooks::Client;
use crate::listen::Listener;
use crate::mailbox::{Collected, Mailbox};
use crate::metrics::{Counters, DropReason, add};
use crate::persist::Entry;
use crate::quotas::Held;

use batch::Busy;
use delivering::REPLAY_QUEUE_MAX;
use ending::EndNote;
use opening::{Opening, Pending};
use partial::Partial;
use remote::Remote;
use writer::Writer;

/// Reads of one turn.
const READS_MAX: usize = 4;
/// Bytes waiting in the writer from which on nothing more is taken for this client: it waits in its mailbox, bounded.
const WRITER_AHEAD: usize = 128 * 1024;

/// What a worker thread lends to the connection whose turn it is.
#[derive(Default)]
struct Scratch {
    read: Vec<u8>,
    staging: Staging,
    collected: Collected,
}

thread_local! {
    static SCRATCH: RefCell<Option<Box<Scratch>>> = const { RefCell::new(None) };
}

/// One Network Connection. Most are idle, so what only a busy or an opening one needs is boxed.
pub(crate) struct Driver {
    core: Arc<Core>,
    listener: Arc<Listener>,
    socket: Stream,
    remote: Remote,
    machine: Connection,
    limits: DecodeLimits,
    writer: Writer,
    /// The beginning of a packet whose end has not arrived.
    partial: Partial,
    mailbox: Option<Arc<Mailbox>>,
    /// Who this is, and until when: for hooks and authenticators; made when CONNECT is judged.
    client: Option<Box<Client>>,
    opening: Option<Box<Opening>>,
    busy: Option<Box<Busy>>,
    /// An answer that is being waited for, before which nothing is read.
    pending: Option<Box<Pending>>,
    state: State,
    /// For what is due soon.
    sleep: Option<Pin<Box<Sleep>>>,
    /// For what is due later.
    alarm: Option<Alarm>,
    /// Counts batches, so that a route is checked once in each.
    batch: u32,
    /// Messages with QoS above 0 that could be taken from the mailbox, as last seen.
    waiting: u32,
    /// The same with those on their way through the store.
    queued: u32,
    /// Whether QoS 0 was left in the mailbox.
    left: bool,
    /// Whether `partial` may hold whole packets: they were not to be read yet, or were read together with what went before MQTT.
    unread: bool,
    /// Whether this connection still counts as one in its handshake.
    in_handshake: bool,
    /// Whether a hook panicked while a packet was taken: the connection closes after it.
    hook_panicked: bool,
    /// A message was not taken and its publisher cannot be told: the connection closes, for this reason.
    closes_for: Option<EndReason>,
    /// What limits the client; none if nothing does beside what holds for all.
    quota: Option<Box<Held>>,
    /// What the client may do; none if everything.
    rights: Option<Arc<Rights>>,
    /// The rules that these rights come from.
    rules_seen: u64,
    /// What is to be held against them, if anything is.
    recheck: Option<Box<Recheck>>,
    /// The number of the configuration whose limits hold.
    limits_seen: u32,
    /// Whether reading is held back, so that the Keep Alive stands still.
    paused: bool,
    /// When it began, in nanoseconds since the broker did.
    began: u64,
    packets_received: u64,
    bytes_received: u64,
    /// The version in which a client is refused whose CONNECT could not be read.
    refused_as: Version,
    /// Messages with QoS above 0 that the client is done with, since the mailbox was told last.
    settled: Settled,
    /// Whether a message of this client waited for the store that is held while there is no room.
    stored: bool,
    /// Why the broker closed it, if it did.
    evicted: Option<EndReason>,
    ended: Option<Box<EndNote>>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Packets go both ways.
    Open,
    /// The session is gone; what is said last is written.
    Closing,
    /// All is written and our side is shut; the peer may read it.
    Lingering,
    Closed,
}

impl Driver {
    pub(crate) fn new(
        core: Arc<Core>,
        listener: Arc<Listener>,
        Opened { stream, peer, received }: Opened,
    ) -> Self {
        let now = Instant::now();
        let (limits_seen, capabilities) = listener.capabilities(&core);
        let limits = DecodeLimits {
            packet_size_max: core.config().limits.packet_bytes_max_before_connect,
            text: capabilities.text,
        };
        let machine = Connection::new(capabilities, opening::entropy(), now);
        let began = core.started.elapsed().as_nanos().try_into().unwrap_or(u64::MAX);
        Self {
            core,
            listener,
            socket: stream,
            remote: peer.into(),
            machine,
            limits,
            writer: Writer::default(),
            unread: !received.is_empty(),
            partial: received.into(),
            mailbox: None,
            client: None,
            busy: None,
            opening: None,
            pending: None,
            state: State::Open,
            sleep: None,
            alarm: None,
            batch: 0,
            waiting: 0,
            queued: 0,
            left: false,
            in_handshake: true,
            hook_panicked: false,
            closes_for: None,
            quota: None,
            rights: None,
            rules_seen: 0,
            recheck: None,
            limits_seen,
            paused: false,
            began,
            packets_received: 0,
            bytes_received: 0,
            refused_as: Version::V5,
            settled: Settled::default(),
            stored: false,
            evicted: None,
            ended: None,
        }
    }

    fn turn(&mut self, scratch: &mut Scratch, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let Scratch { read, staging, collected } = scratch;
        for _ in 0..READS_MAX {
            if self.state == State::Open {
                self.look_after_opening(staging, now);
                self.poll_pending(staging, now, cx);
                self.keep_to_the_rules(staging, now);
                self.collect(staging, collected, now, cx);
                self.post_held(now, cx);
                self.release_brake(now, cx);
                self.resubmit(now);
                self.replay(staging, now);
                self.finish_batch(staging, cx);
            }
            if let Some(reason) = collected.eviction.take() {
                self.take_what_arrived(read, staging, now);
                self.evict(reason, staging, now);
                self.finish_batch(staging, cx);
            }
            if let Err(error) = self.poll_write(now, cx) {
                self.take_what_arrived(read, staging, now);
                self.finish_batch(staging, cx);
                self.lost(&error, now);
                return Poll::Ready(());
            }
            let more = match self.state {
                State::Open => self.poll_read(read, staging, now, cx),
                State::Closing | State::Lingering | State::Closed => {
                    self.poll_linger(read, now, cx)
                }
            };
            self.finish_batch(staging, cx);
            if self.state == State::Closed {
                // What the peer closed on its side is closed on ours in the layer's own words too, as far as the socket
                // takes them at once: RFC 8446 s6.1.
                if matches!(self.socket, Stream::Layered(_)) {
                    let _ = self.socket.poll_shutdown(cx);
                }
                return Poll::Ready(());
            }
            if !more && !self.has_work() {
                self.forget_if_idle(now);
                self.wake_at_closing(cx);
                return self.poll_timers(read, staging, now, cx);
            }
        }
        if self.is_write_stalled(now) || self.has_expired(now) {
            self.due(now);
        }
        // There is more to do, and others wait for this worker.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether another round would find something to do without being woken.
    fn has_work(&self) -> bool {
        let closing_done = self.state == State::Closing && self.writer.is_empty();
        let deliverable =
            self.waiting > 0 && self.writer.len() < WRITER_AHEAD && self.machine.send_quota() > 0;
        let replayable =
            self.busy.as_ref().is_some_and(|busy| !busy.replays.is_empty() && busy.stuck.is_none())
                && self.writer.len() < self.replay_ahead()
                && self.queued < REPLAY_QUEUE_MAX;
        self.state == State::Open
            && (deliverable || replayable || self.left && self.writer.is_empty())
            && !self.held_out()
            || closing_done
    }

    /// Feeds the machine and carries out what it says.
    pub(super) fn feed(&mut self, input: Input<'_>, staging: &mut Staging, now: Instant) {
        let mut out = std::mem::take(&mut staging.outputs).recycle();
        self.feed_into(input, &mut out, staging, now);
        staging.outputs = out.recycle();
    }

    pub(super) fn feed_into<'a>(
        &mut self,
        input: Input<'a>,
        out: &mut Outputs<'a>,
        staging: &mut Staging,
        now: Instant,
    ) {
        let taken = self.machine.handle(input, now, out);
        self.settle(taken, out, staging, now);
    }

    /// Carries out what came of one input.
    #[inline]
    fn settle<'a>(
        &mut self,
        taken: Result<(), Violation>,
        out: &mut Outputs<'a>,
        staging: &mut Staging,
        now: Instant,
    ) {
        if let Err(violation) = taken {
            if matches!(violation, Violation::TopicTooLong { .. }) {
                self.count_refused_topic();
            }
            self.machine.violated(violation, now, out);
        }
        self.carry_out_all(out, staging, now);
        if std::mem::take(&mut self.hook_panicked) {
            self.panicked(staging, now);
        }
        if let Some(reason) = self.closes_for.take() {
            self.evict(reason, staging, now);
        }
    }

    pub(super) fn carry_out_all<'a>(
        &mut self,
        out: &mut Outputs<'a>,
        staging: &mut Staging,
        now: Instant,
    ) {
        while let Some(output) = out.pop() {
            self.carry_out(output, out, staging, now);
        }
    }

    fn carry_out<'a>(
        &mut self,
        output: Output<'a>,
        out: &mut Outputs<'a>,
        staging: &mut Staging,
        now: Instant,
    ) {
        match output {
            Output::Route(route) => {
                let answer = self.route(*route, staging, now);
                if let Some((token, reason)) = self.braked(answer, staging, now) {
                    self.acknowledge(token, reason);
                }
            }
            Output::Ack(ack) => self.writer.acknowledgement(ack, self.version()),
            Output::Publish(outgoing) => self.writer.publish(&outgoing, self.version()),
            Output::Completed(completed) => self.completed(&completed, staging),
            Output::Send(packet) => self.writer.packet(&packet, self.version()),
            Output::PingResp => self.writer.ping_response(),
            Output::Persist { token, change } => {
                if let Some(mailbox) = &self.mailbox {
                    match change {
                        Persist::Acknowledged(seq) => staging.acknowledged(mailbox.session_no, seq),
                        Persist::InboundReleased(_) | Persist::OutboundReleased(_) => staging
                            .writes
                            .push(Entry::awaited(self.core.change_of(mailbox, change), token)),
                    }
                }
            }
            Output::Subscribe { token, items } => self.subscribe(token, items, out, staging, now),
            Output::Unsubscribe { token, items } => {
                self.unsubscribe(token, &items, out, staging, now)
            }
            Output::Authenticate(request) => self.authenticate(&request),
            Output::Attach(request) => self.attach(*request),
            Output::PublishWill(message) => {
                self.hand_all_in(staging);
                if let Some(mailbox) = &self.mailbox {
                    self.core.publish_will(&message, mailbox);
                }
            }
            Output::Dropped(dropped) => {
                if dropped.delivery.qos > Qos::AtMostOnce {
                    self.settled.add(Some(&dropped.delivery.message));
                }
                if let Some(mailbox) = &self.mailbox {
                    self.core.delivery_dropped(mailbox, &dropped);
                }
            }
            Output::PublishRefused { reason, .. } => {
                let why = if reason == ReasonCode::NotAuthorized {
                    DropReason::ReservedTopic
                } else {
                    DropReason::NotAuthorized
                };
                if reason == ReasonCode::TopicNameInvalid {
                    self.count_refused_topic();
                }
                self.report_publish(None, why);
            }
            Output::RefusalsHidden(count) => {
                add(&self.counters().subscriptions_unserved, count as u64)
            }
            Output::Ended => {}
            Output::Close(end) => {
                self.hand_all_in(staging);
                self.close(end, now);
            }
        }
    }

    /// A message is with everybody who gets it: what may be acknowledged now is written.
    #[inline]
    fn acknowledge(&mut self, token: Token, reason: ReasonCode) {
        let version = self.version();
        let Self { machine, writer, .. } = self;
        machine.routed(token, reason, |ack| writer.acknowledgement(ack, version));
    }

    /// A delivery is over.
    #[inline]
    fn completed(&mut self, completed: &Completed, staging: &mut Staging) {
        self.settled.add(completed.message.as_deref());
        if let Origin::Shared { group, seq } = completed.origin
            && seq > 0
        {
            staging.acknowledged(SessionNo(group), seq);
        }
    }

    pub(super) fn version(&self) -> Version {
        self.machine.version().unwrap_or(self.refused_as)
    }

    /// Where this connection is counted: with its tenant, once it is known.
    #[inline]
    pub(super) fn counters(&self) -> &Counters {
        self.mailbox.as_ref().map_or(&self.core.counters, |mailbox| &mailbox.namespace.counters)
    }

    /// Reports a message of this client that goes to nobody.
    pub(super) fn report_publish(&self, message: Option<&Message>, reason: DropReason) {
        self.core.report_publish(self.counters(), self.client_id(), message, reason);
    }

    pub(super) fn client_id(&self) -> &str {
        self.mailbox.as_ref().map_or("", |mailbox| mailbox.client_id.as_str())
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = SCRATCH.with(|place| place.borrow_mut().take()).unwrap_or_default();
        let outcome = self.turn(&mut scratch, cx);
        let Self { core, mailbox, writer, .. } = &mut *self;
        writer
            .report(mailbox.as_ref().map_or(&core.counters, |mailbox| &mailbox.namespace.counters));
        SCRATCH.with(|place| *place.borrow_mut() = Some(scratch));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With what the runtime adds, 96 bytes, an idle connection's task is to fit the allocator's class of 512.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Driver>() <= 384, "{}", size_of::<Driver>());
    }
}

//! The one loop of a Network Connection.
//!
//! One task per connection, one turn per wake-up: take what arrived for this client, write it, read what the client
//! sent, route it, post it to its receivers, write the answers. A publisher never writes another client's socket. What
//! one turn may read is bounded, so that a loud client cannot starve the others on its worker.
//!
//! The protocol is the machine's ([`Connection`]): the driver feeds it and carries out what it says.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dunlin_codec::{
    DecodeError, DecodeLimits, Packet, Qos, ReasonCode, Version, decode, decode_connect,
    publish_run,
};
use dunlin_session::{Cause, Connection, Delivery, End, Input, Output, Outputs, Violation};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::attach::park;
use crate::buffers;
use crate::core::Core;
use crate::end::{ConnectionEnd, EndReason};
use crate::fanout::{Run, Staged, Staging};
use crate::handshake::Pending;
use crate::hooks::Client;
use crate::listen::Listener;
use crate::mailbox::{Collected, Mailbox, Notice, Patience, Posted, Wants, Wire};
use crate::metrics::{DropReason, add, sub};
use crate::persist::{Entry, Write};
use crate::policy::BoxFuture;
use crate::queue::Drops;
use crate::requests::Request;
use crate::retained::Replay;
use crate::router::Route;
use crate::routes::{RouteCache, TopicRules};
use crate::share::Group;
use crate::writer::Writer;

/// Reads of one turn.
const READS_MAX: usize = 4;
/// Bytes of one run: large enough to pay, small enough to be shared by receivers of different speed.
const RUN_BYTES_MAX: usize = 64 * 1024;
/// Bytes waiting in the writer from which on nothing more is taken for this client: it waits in its mailbox, bounded.
const WRITER_AHEAD: usize = 128 * 1024;
/// Bytes waiting in the writer from which on the client is not read: it sends requests and does not take the answers.
const WRITER_MAX: usize = 1024 * 1024;
/// Messages taken from the mailbox in one go.
const DELIVERIES_MAX: usize = 512;
/// Retained messages on their way in the client's own queue while more are to be replayed.
const REPLAY_QUEUE_MAX: usize = 64;
/// After the last packet was written: how long the peer may take to close, so that it can still read what it was told.
const LINGER: Duration = Duration::from_millis(500);
/// How long a connection that gave its session up may take to write what it has to say.
const CLOSING_MAX: Duration = Duration::from_secs(5);
/// A connection that did not publish for so long gives its routes back.
const IDLE_AFTER: Duration = Duration::from_secs(10);

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

/// One Network Connection.
pub(crate) struct Driver {
    pub(crate) core: Arc<Core>,
    pub(crate) listener: Arc<Listener>,
    socket: TcpStream,
    address: SocketAddr,
    pub(crate) machine: Connection,
    pub(crate) limits: DecodeLimits,
    pub(crate) writer: Writer,
    /// The beginning of a packet whose end has not arrived.
    partial: Vec<u8>,
    pub(crate) mailbox: Option<Arc<Mailbox>>,
    /// Who this is; made when CONNECT is judged.
    pub(crate) client: Option<Box<Client>>,
    /// What a busy connection has that an idle one does not.
    busy: Option<Box<Busy>>,
    /// An answer that is being waited for, before which nothing is read.
    pub(crate) pending: Option<Pending>,
    /// SUBSCRIBEs and UNSUBSCRIBEs whose changes are on their way to the store.
    pub(crate) requests: Vec<Request>,
    /// What an authenticator wants back with the client's next AUTH.
    pub(crate) auth_state: Option<Box<dyn Any + Send>>,
    /// The shared groups this client is a member of.
    pub(crate) groups: Vec<Arc<Group>>,
    state: State,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Messages with QoS above 0 left in the mailbox, as last seen.
    waiting: usize,
    /// Whether QoS 0 was left in the mailbox.
    left: bool,
    /// Whether `partial` holds whole packets that were not to be read yet.
    unread: bool,
    /// Whether this connection still counts as one in its handshake.
    pub(crate) in_handshake: bool,
    /// Tells a connection that has no mailbox yet that the broker shuts down.
    pub(crate) closing: Option<BoxFuture<'static, ()>>,
    /// Whether reading is held back, so that the Keep Alive stands still.
    paused: bool,
    started: Instant,
    packets_received: u64,
    bytes_received: u64,
    /// Why the broker closed it, if it did.
    pub(crate) evicted: Option<EndReason>,
    ended: Option<(EndReason, Option<&'static str>, String)>,
}

/// What a busy connection has.
pub(crate) struct Busy {
    routes: RouteCache,
    /// Copies that slow receivers have no room for yet, and since when.
    held: Vec<Staged>,
    held_since: Option<Instant>,
    /// What the committer had no room for.
    stuck: Option<Write>,
    replays: Vec<Replay>,
    batch: u64,
    used: Instant,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Packets go both ways.
    Open,
    /// The session is gone; what is said last is written until then.
    Closing(Instant),
    /// All is written and our side is shut; the peer may read it until then.
    Lingering(Instant),
    Closed,
}

impl Driver {
    pub(crate) fn new(
        core: Arc<Core>,
        listener: Arc<Listener>,
        socket: TcpStream,
        address: SocketAddr,
    ) -> Self {
        let now = Instant::now();
        let machine =
            Connection::new(Arc::clone(&listener.capabilities), crate::handshake::entropy(), now);
        let limits = DecodeLimits {
            packet_size_max: core.config.limits.packet_bytes_max_before_connect,
            text: listener.capabilities.text,
        };
        let mut watched = core.closing.subscribe();
        let closing = async move {
            // An error means that the broker is gone, which is a closing too.
            let _ = watched.wait_for(|closing| *closing).await;
        };
        Self {
            core,
            listener,
            socket,
            address,
            machine,
            limits,
            writer: Writer::default(),
            partial: Vec::new(),
            mailbox: None,
            client: None,
            busy: None,
            pending: None,
            requests: Vec::new(),
            auth_state: None,
            groups: Vec::new(),
            state: State::Open,
            sleep: None,
            waiting: 0,
            left: false,
            unread: false,
            in_handshake: true,
            closing: Some(Box::pin(closing)),
            paused: false,
            started: now,
            packets_received: 0,
            bytes_received: 0,
            evicted: None,
            ended: None,
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    // ---- One turn ----

    fn turn(&mut self, scratch: &mut Scratch, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let Scratch { read, staging, collected } = scratch;
        for _ in 0..READS_MAX {
            if matches!(self.state, State::Open) {
                if self.closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready())
                {
                    self.closing = None;
                    self.evict(EndReason::ShuttingDown, staging, now);
                }
                self.poll_pending(staging, now, cx);
                self.collect(staging, collected, now, cx);
                self.post_held(now, cx);
                self.resubmit(now);
                self.replay(staging, now);
                self.finish_batch(staging, cx);
            }
            if !self.poll_write(now, cx) {
                return Poll::Ready(());
            }
            let more = match self.state {
                State::Open => self.poll_read(read, staging, now, cx),
                State::Closing(_) | State::Lingering(_) | State::Closed => {
                    self.poll_linger(read, now, cx)
                }
            };
            self.finish_batch(staging, cx);
            if matches!(self.state, State::Closed) {
                return Poll::Ready(());
            }
            if !more && !self.has_work() {
                return self.poll_timers(now, cx);
            }
        }
        // There is more to do, and others wait for this worker.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether another round would find something to do without being woken.
    fn has_work(&self) -> bool {
        let closing_done = matches!(self.state, State::Closing(_)) && self.writer.is_empty();
        let deliverable =
            self.waiting > 0 && self.writer.len() < WRITER_AHEAD && self.machine.send_quota() > 0;
        let replayable = self.busy.as_ref().is_some_and(|busy| !busy.replays.is_empty())
            && self.writer.len() < self.replay_ahead()
            && self.waiting < REPLAY_QUEUE_MAX;
        matches!(self.state, State::Open)
            && (deliverable || replayable || self.left && self.writer.is_empty())
            || closing_done
    }

    fn replay_ahead(&self) -> usize {
        self.core.config.limits.replay_bytes_ahead.min(WRITER_AHEAD)
    }

    /// Feeds the machine and carries out what it says.
    pub(crate) fn feed(&mut self, input: Input<'_>, staging: &mut Staging, now: Instant) {
        let mut out = Outputs::new();
        self.feed_into(input, &mut out, staging, now);
    }

    fn feed_into<'a>(
        &mut self,
        input: Input<'a>,
        out: &mut Outputs<'a>,
        staging: &mut Staging,
        now: Instant,
    ) {
        if let Err(violation) = self.machine.handle(input, now, out) {
            self.machine.violated(violation, now, out);
        }
        self.carry_out_all(out, staging, now);
    }

    pub(crate) fn carry_out_all<'a>(
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
                if let Some((token, reason)) = self.route(route, staging, now) {
                    if let Err(violation) =
                        self.machine.handle(Input::Routed { token, reason }, now, out)
                    {
                        self.machine.violated(violation, now, out);
                    }
                }
            }
            Output::Ack(ack) => self.writer.acknowledgement(ack, self.version()),
            Output::Publish(outgoing) => self.writer.publish(&outgoing, self.version()),
            Output::Completed(completed) => {
                if let dunlin_session::Origin::Shared { group, seq } = completed.origin {
                    self.core.group_acknowledged(group, seq);
                }
            }
            Output::Send(packet) => self.writer.packet(&packet, self.version()),
            Output::PingResp => self.writer.ping_response(),
            Output::Persist { token, change } => {
                if let Some(mailbox) = &self.mailbox {
                    staging.writes.push(Entry::Change {
                        change: self.core.change_of(mailbox, change),
                        token,
                    });
                }
            }
            Output::Subscribe { token, items } => self.subscribe(token, items, out, staging, now),
            Output::Unsubscribe { token, items } => {
                self.unsubscribe(token, &items, out, staging, now)
            }
            Output::Authenticate(request) => self.authenticate(&request),
            Output::Attach(request) => self.attach(*request),
            Output::PublishWill(message) => {
                if let Some(mailbox) = &self.mailbox {
                    self.core.publish_will(&message, mailbox);
                }
            }
            Output::Dropped(dropped) => {
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
                self.core.report_publish(self.client_id(), None, why);
            }
            Output::RefusalsHidden(count) => {
                add(&self.core.counters.subscriptions_unserved, count as u64)
            }
            Output::Ended => {}
            Output::Close(end) => self.close(end, now),
        }
    }

    fn version(&self) -> Version {
        // Only a client whose CONNECT could not be read has none, and it is sent nothing but what 5.0 can say.
        self.machine.version().unwrap_or(Version::V5)
    }

    pub(crate) fn client_id(&self) -> &str {
        self.mailbox.as_ref().map_or("", |mailbox| mailbox.client_id.as_str())
    }

    // ---- The way to the client ----

    /// Takes what has arrived for this client since the last turn.
    fn collect(
        &mut self,
        staging: &mut Staging,
        collected: &mut Collected,
        now: Instant,
        cx: &Context<'_>,
    ) {
        let Some(mailbox) = self.mailbox.clone() else { return };
        let room = self.writer.len() < WRITER_AHEAD;
        let quota =
            if room { usize::from(self.machine.send_quota()).min(DELIVERIES_MAX) } else { 0 };
        let wants = Wants { lane: room, qos0: DELIVERIES_MAX, quota };
        mailbox.collect(cx, wants, collected);
        self.core.budget.change(collected.charge);
        self.writer.append(&mut collected.lane, std::mem::take(&mut collected.lane_publishes));
        self.waiting = collected.waiting;
        self.left = collected.left;
        for notice in collected.notices.drain(..) {
            self.noticed(notice, staging, now);
        }
        for delivery in collected.deliveries.drain(..) {
            self.deliver(&mailbox, delivery, staging, now);
        }
        if !self.groups.is_empty() {
            self.pull(&mailbox, staging);
        }
        if let Some(reason) = collected.eviction.take() {
            self.evict(reason, staging, now);
        }
    }

    fn noticed(&mut self, notice: Notice, staging: &mut Staging, now: Instant) {
        match notice {
            Notice::Routed { token, reason } => {
                self.feed(Input::Routed { token, reason }, staging, now)
            }
            Notice::Durable { token } => match self.take_request(token) {
                Some(request) => self.request_durable(request, staging, now),
                None => self.feed(Input::Durable { token }, staging, now),
            },
            Notice::StoreFailed => self.evict(EndReason::StoreFailed, staging, now),
            Notice::PublishWill => {
                let will = self.machine.session_mut().and_then(dunlin_session::Session::take_will);
                if let (Some(will), Some(mailbox)) = (will, &self.mailbox) {
                    self.core.publish_will(&will.message, mailbox);
                }
            }
        }
    }

    fn deliver(
        &mut self,
        mailbox: &Arc<Mailbox>,
        mut delivery: Delivery,
        staging: &mut Staging,
        now: Instant,
    ) {
        if self.core.interests.deliver && !self.hook_delivers(&mut delivery, staging, now) {
            let mut drops = Drops::default();
            self.core.group_finished(&delivery);
            drops.one(DropReason::Hook, delivery);
            self.core.report(mailbox, drops);
            return;
        }
        self.feed(Input::Deliver(delivery), staging, now);
    }

    fn hook_delivers(
        &mut self,
        delivery: &mut Delivery,
        staging: &mut Staging,
        now: Instant,
    ) -> bool {
        let Some(client) = self.client.take() else { return true };
        let core = Arc::clone(&self.core);
        let verdict = guarded(|| core.hooks.on_deliver(&client, &mut delivery.message));
        self.client = Some(client);
        verdict.unwrap_or_else(|| {
            self.panicked(staging, now);
            false
        })
    }

    /// Takes from the queues of this client's shared groups what its quota allows.
    fn pull(&mut self, mailbox: &Arc<Mailbox>, staging: &mut Staging) {
        let quota = usize::from(self.machine.send_quota()).saturating_sub(self.waiting);
        mailbox.set_credit(quota);
        if quota == 0 || self.waiting > 0 {
            return;
        }
        for group in &self.groups {
            if !group.has_waiting() {
                continue;
            }
            let Some(member) = group.member(mailbox) else { continue };
            for delivery in group.take(quota.min(DELIVERIES_MAX)) {
                self.core.hand_over(staging, group, &member, delivery);
            }
            return;
        }
    }

    /// Sends the next retained messages of the subscriptions made, as far as the client keeps up.
    fn replay(&mut self, staging: &mut Staging, now: Instant) {
        let ahead = self.replay_ahead();
        let Some(mailbox) = self.mailbox.clone() else { return };
        let Some(busy) = self.busy.as_mut().filter(|busy| !busy.replays.is_empty()) else { return };
        if self.writer.len() >= ahead || self.waiting >= REPLAY_QUEUE_MAX || busy.stuck.is_some() {
            return;
        }
        let mut deliveries = Vec::new();
        if let Some(replay) = busy.replays.first_mut() {
            let room = (ahead - self.writer.len()).min(16 * 1024);
            if replay.step(&self.core.namespace.retained, room, now, &mut deliveries) {
                busy.replays.remove(0);
            }
        }
        for delivery in deliveries {
            if delivery.qos == Qos::AtMostOnce {
                self.deliver(&mailbox, delivery, staging, now);
            } else {
                self.waiting += 1;
                staging.to_queue(&self.core, &mailbox, delivery);
            }
        }
    }

    pub(crate) fn add_replays(&mut self, replays: Vec<Replay>, now: Instant) {
        if !replays.is_empty() {
            self.busy(now).replays.extend(replays);
        }
    }

    pub(crate) fn drop_replays(&mut self, filter: &[u8]) {
        if let Some(busy) = &mut self.busy {
            busy.replays.retain(|replay| replay.filter() != filter);
        }
    }

    fn poll_write(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        if matches!(self.state, State::Lingering(_) | State::Closed) {
            return true;
        }
        match self.writer.poll_flush(&self.socket, now, cx) {
            Poll::Ready(Ok(())) => {
                if matches!(self.state, State::Closing(_)) {
                    self.state = State::Lingering(now + LINGER);
                    let _ =
                        socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Write);
                }
                true
            }
            Poll::Ready(Err(error)) => {
                self.lost(&error, now);
                false
            }
            Poll::Pending => true,
        }
    }

    // ---- The way from the client ----

    /// One read and what follows from it; `true` if there may be more.
    fn poll_read(
        &mut self,
        read: &mut Vec<u8>,
        staging: &mut Staging,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> bool {
        let reads = self.reads();
        if self.paused == reads {
            self.paused = !reads;
            if reads {
                self.machine.resume_keep_alive(now);
            } else {
                self.machine.pause_keep_alive();
            }
        }
        if !reads {
            return false;
        }
        // What was kept back while an answer was awaited goes first.
        if !self.partial.is_empty() && self.unread {
            self.unread = false;
            let kept = std::mem::take(&mut self.partial);
            self.take_in(&kept, staging, now);
            return true;
        }
        if self.partial.len() >= buffers::BUFFER_BYTES / 2 {
            return self.poll_read_large(staging, now, cx);
        }
        read.resize(buffers::BUFFER_BYTES, 0);
        let kept = self.partial.len();
        if let Some(front) = read.get_mut(..kept) {
            front.copy_from_slice(&self.partial);
        }
        let mut buffer = ReadBuf::new(read.get_mut(kept..).unwrap_or_default());
        match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let count = buffer.filled().len();
                if count == 0 {
                    self.closed_by_peer(staging, now);
                    return false;
                }
                self.bytes_received += count as u64;
                add(&self.core.counters.bytes_received, count as u64);
                self.partial = Vec::new();
                self.take_in(read.get(..kept + count).unwrap_or_default(), staging, now);
                true
            }
            Poll::Ready(Err(error)) => {
                self.lost(&error, now);
                false
            }
            Poll::Pending => false,
        }
    }

    /// Reads more of a packet that is larger than the thread's buffer. Memory grows with what has arrived, never with
    /// what the length promises.
    fn poll_read_large(
        &mut self,
        staging: &mut Staging,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> bool {
        let kept = self.partial.len();
        let whole = match dunlin_codec::frame_len(&self.partial, &self.limits) {
            Ok(dunlin_codec::FrameLen::Partial { needed: Some(needed) }) => needed,
            Ok(_) => kept + buffers::BUFFER_BYTES,
            Err(error) => {
                self.malformed(error, staging, now);
                return true;
            }
        };
        let room = (whole.saturating_sub(kept)).clamp(1, kept.max(buffers::BUFFER_BYTES));
        self.partial.resize(kept + room, 0);
        let mut buffer = ReadBuf::new(self.partial.get_mut(kept..).unwrap_or_default());
        let polled = Pin::new(&mut self.socket).poll_read(cx, &mut buffer);
        let count = buffer.filled().len();
        self.partial.truncate(kept + count);
        match polled {
            Poll::Ready(Ok(())) if count == 0 => self.closed_by_peer(staging, now),
            Poll::Ready(Ok(())) => {
                self.bytes_received += count as u64;
                add(&self.core.counters.bytes_received, count as u64);
                if self.partial.len() >= whole {
                    let kept = std::mem::take(&mut self.partial);
                    self.take_in(&kept, staging, now);
                }
                return true;
            }
            Poll::Ready(Err(error)) => self.lost(&error, now),
            Poll::Pending => {}
        }
        false
    }

    /// Whether the client is read now.
    fn reads(&self) -> bool {
        let busy =
            self.busy.as_ref().is_some_and(|busy| !busy.held.is_empty() || busy.stuck.is_some());
        self.pending.is_none()
            && !busy
            && self.machine.accepts_packets()
            && self.writer.len() < WRITER_MAX
    }

    /// Decodes what was read and keeps what is not complete, or not to be read yet.
    fn take_in(&mut self, data: &[u8], staging: &mut Staging, now: Instant) {
        self.busy(now).batch += 1;
        let mut out = Outputs::new();
        let mut at = 0;
        let mut received = Received::default();
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            if !matches!(self.state, State::Open) {
                break;
            }
            if !self.machine.accepts_packets() || self.pending.is_some() {
                self.unread = true;
                break;
            }
            if rest.first() == Some(&0x30)
                && let Some(used) = self.take_run(rest, staging, &mut received, now)
            {
                at += used;
            } else {
                match self.decode(rest) {
                    Ok(Some((packet, used))) => {
                        at += used;
                        received.packet(&packet);
                        self.feed_into(Input::Packet(packet), &mut out, staging, now);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.malformed(error, staging, now);
                        break;
                    }
                }
            }
            if staging.is_large() {
                // Posted early; what a slow receiver cannot take is held, and the rest of this read still staged.
                self.flush(staging, None);
            }
        }
        received.count(&self.core);
        self.packets_received += received.packets;
        if matches!(self.state, State::Open) {
            self.partial = data.get(at..).unwrap_or_default().to_vec();
        }
    }

    fn decode<'a>(
        &self,
        input: &'a [u8],
    ) -> Result<Option<(Packet<&'a [u8]>, usize)>, DecodeError> {
        match self.machine.version() {
            Some(version) => decode(input, version, &self.limits),
            None => Ok(decode_connect(input, &self.limits)?
                .map(|(connect, used)| (Packet::Connect(connect), used))),
        }
    }

    /// Takes a run of QoS 0 PUBLISHes past the machine, which would only say that they are to be routed.
    fn take_run(
        &mut self,
        input: &[u8],
        staging: &mut Staging,
        received: &mut Received,
        now: Instant,
    ) -> Option<usize> {
        if !self.machine.is_open() || self.core.interests.publish {
            return None;
        }
        let version = self.machine.version()?;
        let run = publish_run(input, version, &self.limits, RUN_BYTES_MAX);
        if run.frames == 0 {
            return None;
        }
        let (core, route) = self.batch_route(run.topic, now)?;
        let frames = run.frames as u64;
        if route.is_empty() {
            add(&core.counters.publish_unmatched, frames);
        }
        let bytes = input.get(..run.bytes)?;
        staging.run(core, route, Run { bytes, frames, largest: run.largest, version }, now);
        self.machine.touch(now);
        received.packets += frames;
        received.publishes += frames;
        received.publish_bytes += run.bytes as u64;
        Some(run.bytes)
    }

    fn topic_rules(&self) -> TopicRules {
        TopicRules {
            text: self.limits.text,
            levels_max: self.listener.capabilities.topic_levels_max,
        }
    }

    pub(crate) fn busy(&mut self, now: Instant) -> &mut Busy {
        let entries_max = self.core.config.limits.route_cache_entries_max;
        let busy = self.busy.get_or_insert_with(|| {
            Box::new(Busy {
                routes: RouteCache::new(entries_max),
                held: Vec::new(),
                held_since: None,
                stuck: None,
                replays: Vec::new(),
                batch: 0,
                used: now,
            })
        });
        busy.used = now;
        busy
    }

    pub(crate) fn batch_route(
        &mut self,
        topic: &[u8],
        now: Instant,
    ) -> Option<(&Arc<Core>, &Route)> {
        let rules = self.topic_rules();
        self.busy(now);
        let Self { core, mailbox, busy, .. } = self;
        let busy = busy.as_mut()?;
        let route =
            busy.routes.get(topic, busy.batch, rules, &core.namespace.router, mailbox.as_ref())?;
        Some((core, route))
    }

    // ---- The end of a batch ----

    /// Posts what the batch has for others and hands in what has to be durable.
    fn finish_batch(&mut self, staging: &mut Staging, cx: &Context<'_>) {
        if staging.is_empty() {
            return;
        }
        self.flush(staging, Some(cx));
        if let Some(write) = staging.take_write(&self.core, self.mailbox.as_ref())
            && let Err(write) = self.core.submit(write)
        {
            self.busy(Instant::now()).stuck = Some(write);
        }
    }

    fn flush(&mut self, staging: &mut Staging, cx: Option<&Context<'_>>) {
        let mut held = Vec::new();
        let patience = match cx {
            Some(cx) if self.may_wait() => Patience::Waits(cx.waker()),
            _ => Patience::None,
        };
        staging.flush(&self.core, patience, &mut held);
        if !held.is_empty() {
            add(&self.core.counters.publishers_slowed, 1);
            let now = Instant::now();
            let busy = self.busy(now);
            busy.held.append(&mut held);
            busy.held_since.get_or_insert(now);
        }
    }

    /// Whether this publisher may wait for a slow receiver: not if somebody waits for it, or two could wait for each other.
    fn may_wait(&self) -> bool {
        let idle = self.mailbox.as_ref().is_none_or(|mailbox| mailbox.queued() == (0, 0));
        matches!(self.state, State::Open)
            && idle
            && self.writer.is_empty()
            && self.machine.unacknowledged() == 0
    }

    /// Tries again what slow receivers had no room for.
    fn post_held(&mut self, now: Instant, cx: &Context<'_>) {
        let slow_max = self.core.config.limits.publisher_slow_max;
        let may_wait = self.may_wait();
        let core = Arc::clone(&self.core);
        let Some(busy) = self.busy.as_mut().filter(|busy| !busy.held.is_empty()) else { return };
        let waited =
            busy.held_since.is_some_and(|since| now.saturating_duration_since(since) >= slow_max);
        let patience = match (waited, may_wait) {
            (true, _) => Patience::Exhausted,
            (false, true) => Patience::Waits(cx.waker()),
            (false, false) => Patience::None,
        };
        if waited {
            add(&core.counters.publishers_slowed_full, 1);
        }
        let mut charge = 0;
        busy.held.retain_mut(|staged| {
            let mut drops = Drops::default();
            let limits = &core.config.limits;
            let (posted, cost) =
                staged.mailbox.post(&mut staged.post, staged.wire, patience, limits, &mut drops);
            charge += cost;
            core.report(&staged.mailbox, drops);
            posted == Posted::Wait
        });
        core.budget.change(charge);
        if busy.held.is_empty() {
            busy.held_since = None;
        }
    }

    /// Tries again to hand in what the committer had no room for.
    fn resubmit(&mut self, now: Instant) {
        let core = Arc::clone(&self.core);
        if let Some(busy) = &mut self.busy
            && let Some(write) = busy.stuck.take()
            && let Err(write) = core.submit(write)
        {
            busy.stuck = Some(write);
            busy.used = now;
        }
    }

    // ---- Time ----

    fn poll_timers(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(at) = self.next_deadline() else {
                self.sleep = None;
                return Poll::Pending;
            };
            let sleep = match &mut self.sleep {
                Some(sleep) => {
                    // Moved only if it is late: an early wake-up costs less than moving the timer at each packet.
                    if sleep.deadline() > at.into() || sleep.is_elapsed() {
                        sleep.as_mut().reset(at.into());
                    }
                    sleep
                }
                none => none.insert(Box::pin(tokio::time::sleep_until(at.into()))),
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = now.max(Instant::now());
            if at > now {
                continue;
            }
            // What is due is seen to in a turn of its own.
            self.due(now);
            cx.waker().wake_by_ref();
            return if matches!(self.state, State::Closed) {
                Poll::Ready(())
            } else {
                Poll::Pending
            };
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let limits = &self.core.config.limits;
        let state = match self.state {
            State::Open => self.machine.next_deadline(),
            State::Closing(at) | State::Lingering(at) => Some(at),
            State::Closed => None,
        };
        let stalled = self.writer.waiting_since().map(|since| since + limits.write_stall_max);
        let held = self
            .busy
            .as_ref()
            .and_then(|busy| busy.held_since)
            .map(|since| since + limits.publisher_slow_max);
        let stuck = self
            .busy
            .as_ref()
            .filter(|busy| busy.stuck.is_some())
            .map(|busy| busy.used + Duration::from_millis(5));
        let idle = self.busy.as_ref().map(|busy| busy.used + IDLE_AFTER);
        [state, stalled, held, stuck, idle].into_iter().flatten().min()
    }

    fn due(&mut self, now: Instant) {
        let stall_max = self.core.config.limits.write_stall_max;
        if self.writer.waiting_since().is_some_and(|since| now >= since + stall_max) {
            self.note_end(
                EndReason::WriteStalled,
                Some("write_stall_max"),
                format!("no byte taken in {stall_max:?}"),
            );
            self.writer.clear();
            self.abandon(now);
            return;
        }
        match self.state {
            State::Open => {
                if self.machine.next_deadline().is_some_and(|at| at <= now) {
                    let mut staging = Staging::default();
                    self.feed(Input::Timeout, &mut staging, now);
                    self.hand_in(&mut staging);
                }
                self.forget_if_idle(now);
            }
            State::Closing(at) | State::Lingering(at) if at <= now => self.state = State::Closed,
            State::Closing(_) | State::Lingering(_) | State::Closed => {}
        }
    }

    fn forget_if_idle(&mut self, now: Instant) {
        let idle = |busy: &Busy| {
            busy.held.is_empty()
                && busy.stuck.is_none()
                && busy.replays.is_empty()
                && now >= busy.used + IDLE_AFTER
        };
        if self.busy.as_ref().is_some_and(|busy| idle(busy)) {
            self.busy = None;
        }
    }

    /// Hands in what was staged outside of a turn.
    fn hand_in(&mut self, staging: &mut Staging) {
        self.flush(staging, None);
        if let Some(write) = staging.take_write(&self.core, self.mailbox.as_ref()) {
            self.core.submit_later(write);
        }
    }

    // ---- The end ----

    fn malformed(&mut self, error: DecodeError, staging: &mut Staging, now: Instant) {
        let mut out = Outputs::new();
        self.machine.violated(Violation::from(error), now, &mut out);
        self.carry_out_all(&mut out, staging, now);
    }

    /// The broker wants the connection closed.
    pub(crate) fn evict(&mut self, reason: EndReason, staging: &mut Staging, now: Instant) {
        if !matches!(self.state, State::Open) {
            return;
        }
        self.evicted = Some(reason);
        let cause = match reason {
            EndReason::TakenOver => Cause::TakenOver,
            EndReason::ShuttingDown => Cause::ShuttingDown,
            EndReason::QueueOverflow => Cause::Reason(ReasonCode::QuotaExceeded),
            EndReason::Kicked => Cause::Reason(ReasonCode::AdministrativeAction),
            _ => Cause::Reason(ReasonCode::UnspecifiedError),
        };
        self.feed(Input::Close(cause), staging, now);
    }

    pub(crate) fn panicked(&mut self, staging: &mut Staging, now: Instant) {
        add(&self.core.counters.hook_panics, 1);
        tracing::error!(
            event = "hook_panic",
            client_id = self.client_id(),
            "a hook panicked; its connection is closed"
        );
        self.evict(EndReason::Panicked, staging, now);
    }

    /// The machine is done: the session is parked at once, and what was said last is still written.
    fn close(&mut self, end: End, now: Instant) {
        let (reason, rule, detail) = describe(end, self.evicted, self.machine.version());
        self.note_end(reason, rule, detail);
        self.release(now);
        if matches!(self.state, State::Open) {
            let closing_max = if self.core.is_closing() {
                self.core.config.limits.shutdown_drain_max
            } else {
                CLOSING_MAX
            };
            self.state = State::Closing(now + closing_max);
        }
    }

    fn closed_by_peer(&mut self, staging: &mut Staging, now: Instant) {
        self.note_end(EndReason::ConnectionLost, None, "closed by the peer".to_owned());
        self.feed(Input::Lost, staging, now);
        self.abandon(now);
    }

    fn lost(&mut self, error: &io::Error, now: Instant) {
        self.note_end(EndReason::ConnectionLost, None, error.to_string());
        self.abandon(now);
    }

    /// Nothing more can be said to the peer.
    fn abandon(&mut self, now: Instant) {
        if !self.machine.is_closed() {
            let mut staging = Staging::default();
            self.feed(Input::Lost, &mut staging, now);
            self.hand_in(&mut staging);
        }
        self.release(now);
        self.state = State::Closed;
    }

    /// Gives the session back.
    fn release(&mut self, now: Instant) {
        self.pending = None;
        if let Some(busy) = self.busy.take() {
            // What nobody had room for is dropped by those who have none.
            for mut staged in busy.held {
                let mut drops = Drops::default();
                let limits = &self.core.config.limits;
                let (_, charge) = staged.mailbox.post(
                    &mut staged.post,
                    staged.wire,
                    Patience::None,
                    limits,
                    &mut drops,
                );
                self.core.budget.change(charge);
                self.core.report(&staged.mailbox, drops);
            }
            if let Some(write) = busy.stuck {
                self.core.submit_later(write);
            }
            if let Some(mailbox) = self.mailbox.as_ref().filter(|_| !busy.replays.is_empty()) {
                mailbox.add_replays(busy.replays);
            }
        }
        let session = self.machine.detach();
        if let (Some(mut session), Some(mailbox)) = (session, self.mailbox.clone()) {
            // The client will not see the answers, but what was asked holds.
            for request in self.requests.drain(..) {
                request.settle(&mut session);
            }
            sub(&self.core.counters.clients_connected, 1);
            park(&self.core, &mailbox, session, now);
        }
        self.listener.handshake_over(&mut self.in_handshake);
        self.groups = Vec::new();
    }

    fn note_end(&mut self, reason: EndReason, rule: Option<&'static str>, detail: String) {
        self.ended.get_or_insert((reason, rule, detail));
    }

    /// After the last packet: reads on so that the peer's system does not throw away what it was told.
    fn poll_linger(&mut self, read: &mut Vec<u8>, now: Instant, cx: &mut Context<'_>) -> bool {
        if let State::Closing(at) | State::Lingering(at) = self.state
            && at <= now
        {
            self.state = State::Closed;
            return false;
        }
        read.resize(buffers::BUFFER_BYTES, 0);
        let mut buffer = ReadBuf::new(read);
        match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => true,
            Poll::Ready(_) => {
                self.state = State::Closed;
                false
            }
            Poll::Pending => false,
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = SCRATCH.with(|place| place.borrow_mut().take()).unwrap_or_default();
        let outcome = self.turn(&mut scratch, cx);
        let Self { core, writer, .. } = &mut *self;
        writer.report(&core.counters);
        SCRATCH.with(|place| *place.borrow_mut() = Some(scratch));
        outcome
    }
}

impl Drop for Driver {
    /// However the task ends, by a panic too: the session is parked and the end recorded.
    fn drop(&mut self) {
        let now = Instant::now();
        if !matches!(self.state, State::Closed | State::Closing(_) | State::Lingering(_)) {
            let reason = match (std::thread::panicking(), self.core.is_closing()) {
                (true, _) => EndReason::Panicked,
                (false, true) => EndReason::ShuttingDown,
                (false, false) => EndReason::ConnectionLost,
            };
            self.note_end(reason, None, String::new());
            self.abandon(now);
        }
        let core = Arc::clone(&self.core);
        let counters = &core.counters;
        self.writer.report(counters);
        sub(&counters.connections_open, 1);
        self.core.connections.fetch_sub(1, Ordering::Relaxed);
        self.listener.connection_over();
        let (reason, rule, detail) =
            self.ended.take().unwrap_or((EndReason::ConnectionLost, None, String::new()));
        counters.ended(reason);
        let end = ConnectionEnd {
            client_id: self.client_id().to_owned(),
            address: Some(self.address),
            version: self.machine.version(),
            reason,
            rule,
            detail,
            duration: now.saturating_duration_since(self.started),
            packets_received: self.packets_received,
            packets_sent: self.writer.packets,
            bytes_received: self.bytes_received,
            bytes_sent: self.writer.bytes,
        };
        end.log();
        if self.core.interests.disconnect
            && guarded(|| self.core.hooks.on_disconnect(&end)).is_none()
        {
            add(&self.core.counters.hook_panics, 1);
        }
    }
}

/// Runs a hook; none if it panicked.
pub(crate) fn guarded<T>(hook: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(hook)).ok()
}

/// What one batch of packets adds to the counters.
#[derive(Debug, Default)]
struct Received {
    packets: u64,
    publishes: u64,
    publish_bytes: u64,
}

impl Received {
    fn packet(&mut self, packet: &Packet<&[u8]>) {
        self.packets += 1;
        if let Packet::Publish(publish) = packet {
            self.publishes += 1;
            self.publish_bytes += publish.payload.len() as u64;
        }
    }

    fn count(&self, core: &Core) {
        add(&core.counters.packets_received, self.packets);
        add(&core.counters.publish_received, self.publishes);
        add(&core.counters.publish_bytes_received, self.publish_bytes);
    }
}

/// The reason, the rule and the words for the record of a connection's end.
fn describe(
    end: End,
    evicted: Option<EndReason>,
    version: Option<Version>,
) -> (EndReason, Option<&'static str>, String) {
    match end {
        End::Disconnected(reason) => {
            (EndReason::ClientDisconnected, None, format!("DISCONNECT {reason:?}"))
        }
        End::Lost => (EndReason::ConnectionLost, None, String::new()),
        End::Violated(violation) => {
            let reason = match violation {
                Violation::KeepAliveTimeout { .. } => EndReason::KeepAliveTimeout,
                Violation::ConnectTimeout => EndReason::ConnectTimeout,
                _ => EndReason::Violation,
            };
            (reason, Some(violation.spec(version)), violation.to_string())
        }
        End::Refused(reason) => {
            (evicted.unwrap_or(EndReason::Refused), None, format!("CONNACK {reason:?}"))
        }
        End::Closed(reason) => {
            (evicted.unwrap_or(EndReason::Kicked), None, format!("DISCONNECT {reason:?}"))
        }
    }
}

/// How QoS 0 copies for this client are made.
pub(crate) fn wire_of(machine: &Connection, deliver_hook: bool) -> Wire {
    match machine.version() {
        Some(version) if machine.peer_topic_alias_maximum() == 0 && !deliver_hook => {
            Wire::of(version)
        }
        _ => Wire::Messages,
    }
}

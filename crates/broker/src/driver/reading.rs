//! From the socket to the machine: reads, packets across reads, runs that pass the machine by.

use std::task::{Context, Poll};
use std::time::Instant;

use dunlin_codec::{
    AckKind, DecodeError, DecodeLimits, FrameLen, Packet, PacketRef, PublishRef, Qos, ReasonCode,
    decode, decode_connect, frame_len, frames_of_run, publish_run, short_ack, whole_frame_len,
};
use dunlin_session::{Acknowledgement, Input, Outputs, Run};

use crate::buffers;
use crate::crowding::Crowded;
use crate::fanout::{Ready, RunBytes, Staging};
use crate::metrics::{Counters, add};
use crate::quotas::Permit;

use super::batch::BatchRoute;
use super::{Driver, State};

/// Bytes of an acknowledgement without reason code.
const SHORT_ACK_BYTES: usize = 4;
/// From so many bytes the beginning of a packet stays where it is until the rest has arrived, and is no longer copied
/// before each read.
const LARGE_BYTES: usize = 16 * 1024;
/// Bytes of one run: large enough to pay, small enough to be shared by receivers of different speed.
const RUN_BYTES_MAX: usize = 64 * 1024;
/// The same for one with QoS above 0, all of which is kept until its last message is acknowledged.
const ACKNOWLEDGED_RUN_BYTES_MAX: usize = 16 * 1024;
/// Bytes waiting in the writer from which on the client is not read: it sends requests and does not take the answers.
const WRITER_MAX: usize = 1024 * 1024;

/// A packet and the bytes it took.
type Decoded<'a> = (PacketRef<'a>, usize);

impl Driver {
    /// One read and what follows from it; `true` if there may be more.
    pub(super) fn poll_read(
        &mut self,
        read: &mut Vec<u8>,
        staging: &mut Staging,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> bool {
        let reads = self.reads() && self.quota.as_ref().is_none_or(|quota| quota.reads(now));
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
            let kept = self.partial.take();
            self.take_in(&kept, staging, now);
            return true;
        }
        if self.partial.len() >= LARGE_BYTES {
            return self.poll_read_large(staging, now, cx);
        }
        let room = room_behind(&self.partial, read);
        match self.socket.poll_read(cx, room) {
            Poll::Ready(Ok(0)) => {
                self.closed_by_peer(staging, now);
                false
            }
            Poll::Ready(Ok(count)) => {
                self.take_read(count, read, staging, now);
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
        let whole = match frame_len(&self.partial, &self.limits) {
            Ok(FrameLen::Partial { needed: Some(needed) }) => needed,
            Ok(_) => kept + buffers::BUFFER_BYTES,
            Err(error) => {
                let kept = self.partial.take();
                self.malformed(error, &kept, staging, now);
                return true;
            }
        };
        let room = whole.saturating_sub(kept).clamp(1, buffers::BUFFER_BYTES);
        let partial = self.partial.buffer();
        partial.resize(kept + room, 0);
        let polled = self.socket.poll_read(cx, partial.get_mut(kept..).unwrap_or_default());
        let count = if let Poll::Ready(Ok(count)) = polled { count } else { 0 };
        partial.truncate(kept + count);
        match polled {
            Poll::Ready(Ok(0)) => self.closed_by_peer(staging, now),
            Poll::Ready(Ok(count)) => {
                self.bytes_received += count as u64;
                add(&self.counters().bytes_received, count as u64);
                if self.partial.len() >= whole {
                    let kept = self.partial.take();
                    self.take_in(&kept, staging, now);
                }
                return true;
            }
            Poll::Ready(Err(error)) => self.lost(&error, now),
            Poll::Pending => {}
        }
        false
    }

    /// Takes in what the client had sent when something else ends the connection, so that a DISCONNECT that came in time
    /// counts [MQTT-3.14.4-3], and a packet that came before its Keep Alive was over [MQTT-3.1.2-22]. The socket itself is
    /// asked: the runtime may not have heard of it yet. At most one buffer. Whether there was anything.
    pub(super) fn take_what_arrived(
        &mut self,
        read: &mut Vec<u8>,
        staging: &mut Staging,
        now: Instant,
    ) -> bool {
        let kept = self.partial.len();
        if self.state != State::Open || !self.reads() || self.unread || kept >= LARGE_BYTES {
            return false;
        }
        if self.quota.as_ref().is_some_and(|quota| !quota.reads(now)) {
            return false;
        }
        let room = room_behind(&self.partial, read);
        let Ok(count @ 1..) = self.socket.read_now(room) else { return false };
        self.take_read(count, read, staging, now);
        true
    }

    /// Takes in what was kept and the `count` bytes that were read behind it.
    fn take_read(&mut self, count: usize, read: &[u8], staging: &mut Staging, now: Instant) {
        self.bytes_received += count as u64;
        add(&self.counters().bytes_received, count as u64);
        let kept = self.partial.take().len();
        self.take_in(read.get(..kept + count).unwrap_or_default(), staging, now);
    }

    /// Whether the client is read now.
    pub(super) fn reads(&self) -> bool {
        let busy = self.busy.as_ref().is_some_and(|busy| busy.slows() || busy.stuck.is_some());
        self.pending.is_none()
            && !busy
            && self.machine.accepts_packets()
            && self.writer.len() < WRITER_MAX
    }

    /// Decodes what was read and keeps what is not complete, or not to be read yet.
    fn take_in(&mut self, data: &[u8], staging: &mut Staging, now: Instant) {
        self.batch = self.batch.wrapping_add(1);
        self.keep_to_the_rules(staging, now);
        self.keep_to_the_limits();
        staging.begin();
        let mut out = std::mem::take(&mut staging.outputs).recycle();
        let mut at = 0;
        let mut received = Received::default();
        let Permit { upto, beyond, .. } = self.permit(data, now);
        while let Some(rest) = data.get(at..upto).filter(|rest| !rest.is_empty()) {
            if self.state != State::Open {
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
            } else if let Some(used) = self.take_acknowledged_run(rest, staging, &mut received, now)
            {
                at += used;
            } else if let Some(packets) = self.take_short_acks(rest, &mut out, staging, now) {
                at += packets * SHORT_ACK_BYTES;
                received.packets += packets as u64;
            } else if let Some((AckKind::PubAck, packet_id)) =
                short_ack(rest).filter(|_| self.machine.is_open())
            {
                at += SHORT_ACK_BYTES;
                received.packets += 1;
                if let Some(completed) = self.machine.puback(packet_id, now, &mut out) {
                    self.completed(&completed, staging);
                }
                self.settle(Ok(()), &mut out, staging, now);
            } else {
                match self.decode(rest) {
                    Ok(Some((Packet::Publish(publish), used))) => {
                        at += used;
                        received.publish(&publish);
                        self.take_publish(publish, &mut out, staging, now);
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
            if staging.is_large() {
                // Posted early. Nothing is held back for a slow receiver here: the hard bound of its lane acts.
                self.flush(staging, None);
            }
        }
        staging.outputs = out.recycle();
        if at < upto {
            self.not_taken(data.get(at..upto).unwrap_or_default());
        } else if upto < data.len() && self.state == State::Open {
            let rest = data.get(at..).unwrap_or_default();
            at += self.take_beyond(beyond, rest, &mut received, staging, now);
            // It is looked at again when there are tokens, with what the socket has then.
            self.unread = true;
        }
        received.count(self.counters());
        self.packets_received += received.packets;
        if self.state == State::Open {
            self.partial.keep(data.get(at..).unwrap_or_default());
        }
    }

    /// Takes other limits over, if there are others.
    #[inline]
    fn keep_to_the_limits(&mut self) {
        if self.limits_seen == self.core.generation() {
            return;
        }
        let (generation, capabilities) = self.listener.capabilities(&self.core);
        self.limits_seen = generation;
        self.offer_anew(&capabilities);
        if let Some(busy) = &mut self.busy {
            busy.routes.clear();
        }
    }

    pub(super) fn decode<'a>(&self, input: &'a [u8]) -> Result<Option<Decoded<'a>>, DecodeError> {
        match self.machine.version() {
            Some(version) => decode(input, version, &self.limits),
            None => Ok(decode_connect(input, &self.limits)?
                .map(|(connect, used)| (Packet::Connect(connect), used))),
        }
    }

    /// Takes one PUBLISH.
    #[inline]
    fn take_publish<'a>(
        &mut self,
        publish: PublishRef<'a>,
        out: &mut Outputs<'a>,
        staging: &mut Staging,
        now: Instant,
    ) {
        let taken = match self.machine.publish(publish, now, out) {
            Ok(Some(route)) => {
                let answer = self.route(route, staging, now);
                if let Some((token, reason)) = self.braked(answer, staging, now) {
                    self.acknowledge(token, reason);
                }
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(violation) => Err(violation),
        };
        self.settle(taken, out, staging, now);
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
        let run = publish_run(input, Qos::AtMostOnce, version, &self.limits, RUN_BYTES_MAX);
        if run.frames == 0 {
            return None;
        }
        let found = self.batch_route(run.topic, now)?;
        // What is refused is told and counted one by one.
        found.qos_max?;
        let BatchRoute { core, mailbox, route, .. } = found;
        let frames = run.frames as u64;
        if route.is_empty() {
            add(&mailbox.namespace.counters.publish_unmatched, frames);
        }
        let bytes = input.get(..run.bytes)?;
        staging.run(
            core,
            route,
            RunBytes { bytes, frames, largest: run.largest, payload: run.payload as u64, version },
            now,
        );
        self.machine.touch(now);
        received.packets += frames;
        received.publishes += frames;
        received.publish_bytes += run.payload as u64;
        Some(run.bytes)
    }

    /// Takes a run of PUBLISHes with QoS above 0 whose messages can be with everybody who gets them as soon as they are
    /// staged, and answers it.
    // [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.2-2 @3.1.1] [MQTT-4.3.3-2 @3.1.1] The answers leave after the end of the
    // batch, which posts the messages.
    fn take_acknowledged_run(
        &mut self,
        input: &[u8],
        staging: &mut Staging,
        received: &mut Received,
        now: Instant,
    ) -> Option<usize> {
        let qos = match input.first() {
            Some(0x32) => Qos::AtLeastOnce,
            Some(0x34) => Qos::ExactlyOnce,
            _ => return None,
        };
        if !self.machine.is_open() || self.core.interests.publish {
            return None;
        }
        // What is received of a durable session at QoS 2 has to be stored first, one by one.
        if qos == Qos::ExactlyOnce && self.mailbox.as_ref().is_none_or(|own| own.is_durable()) {
            return None;
        }
        let version = self.machine.version()?;
        let limits = self.limits;
        let find = |limits: &_, max| publish_run(input, qos, version, limits, max);
        let first = find(&limits, whole_frame_len(input)?);
        if first.frames == 0 {
            return None;
        }
        let BatchRoute { core, route, qos_max, .. } = self.batch_route(first.topic, now)?;
        // What is refused is told and counted one by one.
        qos_max.filter(|max| *max >= qos)?;
        let Ready { name, size_max, crowded } =
            staging.takes_run(core, route, first.largest, qos)?;
        let size_max = u32::try_from(size_max).unwrap_or(u32::MAX).min(limits.packet_size_max);
        let limits = DecodeLimits { packet_size_max: size_max, ..limits };
        let run = find(&limits, ACKNOWLEDGED_RUN_BYTES_MAX);
        let bytes = input.get(..run.bytes)?;
        // It is copied only if it is taken: what is not is looked at again with each of its packets.
        if !self.answers_run(bytes, qos, crowded, staging, now) {
            staging.no_run();
            return None;
        }
        let staged = Run::new(bytes, &run, name, qos, version)?;
        staging.acknowledged_run(&self.core, &staged);
        self.machine.touch(now);
        let frames = run.frames as u64;
        received.packets += frames;
        received.publishes += frames;
        received.publish_bytes += run.payload as u64;
        Some(run.bytes)
    }

    /// Has the PUBLISHes of a run answered: at once, or as soon as those before it are and nobody is to be braked for its
    /// receivers. `false` if they have to be taken one by one.
    fn answers_run(
        &mut self,
        bytes: &[u8],
        qos: Qos,
        crowded: Option<Crowded>,
        staging: &mut Staging,
        now: Instant,
    ) -> bool {
        let version = self.version();
        let ids = frames_of_run(bytes, version).filter_map(|frame| frame.packet_id);
        let braked = self.busy.as_ref().is_some_and(|busy| busy.brakes());
        if self.machine.answers_at_once(qos) && !braked && crowded.is_none() {
            let kind = if qos == Qos::AtLeastOnce { AckKind::PubAck } else { AckKind::PubRec };
            let taken = kind == AckKind::PubAck || self.machine.receive_run(ids.clone(), now);
            if taken {
                self.writer.short_acks(kind, ids, version);
            }
            return taken;
        }
        let mut tokens = std::mem::take(&mut staging.tokens);
        let taken = self.machine.publish_run(qos, ids, now, &mut tokens);
        if taken {
            staging.crowded = crowded;
        }
        for token in tokens.drain(..) {
            if let Some((token, reason)) =
                self.braked(Some((token, ReasonCode::Success)), staging, now)
            {
                self.acknowledge(token, reason);
            }
        }
        staging.tokens = tokens;
        taken
    }

    /// Takes acknowledgements of four bytes as many at once as there are, if they come as they mostly do; how many.
    #[inline]
    fn take_short_acks<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Outputs<'a>,
        staging: &mut Staging,
        now: Instant,
    ) -> Option<usize> {
        let version = self.version();
        let Self { machine, writer, settled, .. } = self;
        let answer = |kind| {
            move |packet_id| {
                let reason = ReasonCode::Success;
                writer.acknowledgement(Acknowledgement { kind, packet_id, reason }, version);
            }
        };
        let count = match short_ack(input)?.0 {
            AckKind::PubAck => {
                let acknowledged = machine.pubacks_of_runs(input, now, out);
                *settled += acknowledged;
                acknowledged.messages
            }
            AckKind::PubRec => {
                let received = machine.pubrecs_of_runs(input, now, answer(AckKind::PubRel));
                *settled += received;
                received.messages
            }
            AckKind::PubRel => machine.pubrels(input, now, answer(AckKind::PubComp)),
            AckKind::PubComp => machine.pubcomps_of_runs(input, now, out),
        };
        if count == 0 {
            return None;
        }
        self.settle(Ok(()), out, staging, now);
        Some(count)
    }
}

/// Puts what was kept at the front of the thread's buffer, and gives the rest to read into.
fn room_behind<'a>(kept: &[u8], read: &'a mut Vec<u8>) -> &'a mut [u8] {
    buffers::whole(read);
    let (front, room) = read.split_at_mut(kept.len());
    front.copy_from_slice(kept);
    room
}

/// What one batch of packets adds to the counters.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) packets: u64,
    publishes: u64,
    publish_bytes: u64,
}

impl Received {
    pub(super) fn publish(&mut self, publish: &PublishRef<'_>) {
        self.packets += 1;
        self.publishes += 1;
        self.publish_bytes += publish.payload.len() as u64;
    }

    fn count(&self, counters: &Counters) {
        add(&counters.packets_received, self.packets);
        add(&counters.publish_received, self.publishes);
        add(&counters.publish_bytes_received, self.publish_bytes);
    }
}

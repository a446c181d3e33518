//! Messages with QoS above 0 on their way to the client, from delivery to the last acknowledgement.

use std::collections::VecDeque;

use dunlin_codec::{AckKind, PacketId, Qos, ReasonCode, short_ack_bytes};

use crate::delivery::{Completed, Delivery, Dropped, Origin, Outgoing, Settled};
use crate::error::Violation;
use crate::event::{Acknowledgement, Output, Outputs, Persist};
use crate::packet_ids::{PACKET_IDS, packet_id_of, release_idle_room, seq_from};
use crate::quota::SendQuota;
use crate::run::Run;
use crate::sender::Sender;
use crate::token::Tokens;

/// Finished slots between unfinished ones that are worth sweeping up.
const SWEEP_MIN: usize = 64;
/// Runs that a session without any may keep room for.
const RUNS_KEPT: usize = 4;

/// The unacknowledged messages of a session, in their order.
///
/// Slots are sorted by place, and nearly always contiguous, so that a Packet Identifier leads to its slot by a
/// subtraction. Bound: the places from the first slot to the last one sent are fewer than there are Packet Identifiers;
/// who lets them run out is closed. Finished slots in between are swept up when they are the majority.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// The first one is never [`Stage::Done`].
    slots: VecDeque<Slot>,
    /// Slots with [`Stage::Done`].
    done: u32,
    /// Slots with [`Stage::Queued`] or [`Stage::Resend`].
    waiting: u32,
    /// No slot before this place waits.
    waiting_from: u64,
    /// Runs that were sent, without the messages that were acknowledged: all of them before the first slot. They become
    /// slots as soon as the client does anything else than acknowledge them in their order.
    runs: Option<Box<Runs>>,
    /// What this Network Connection still lets through.
    quota: SendQuota,
}

/// Runs that were sent.
#[derive(Debug, Default)]
struct Runs {
    list: VecDeque<SentRun>,
    /// Messages in all of them.
    messages: usize,
}

/// A run that was sent, and is not over.
#[derive(Debug)]
struct SentRun {
    /// What is not acknowledged, by PUBACK or PUBREC.
    run: Run,
    /// How many before it are released by PUBREC, and await PUBCOMP.
    released: u32,
}

impl SentRun {
    /// The place of the first message that is not over.
    fn seq(&self) -> u64 {
        self.run.seq() - u64::from(self.released)
    }

    fn is_over(&self) -> bool {
        self.run.is_empty() && self.released == 0
    }
}

#[derive(Debug)]
struct Slot {
    seq: u64,
    stage: Stage,
    /// `None` when done, and in [`Stage::Released`] after a restart.
    delivery: Option<Delivery>,
}

/// How far a message has come.
///
/// ```text
/// Queued ──► Sent ──PUBACK──────────────────────────────────► Done
///             │ ▲ └──PUBREC──► Releasing ──durable──► Released ──PUBCOMP──► Done
///    new      │ │ quota        (durable sessions)    (PUBREL sent)
/// connection  ▼ │
///            Resend
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Never sent; waits for quota.
    Queued,
    /// Sent on an earlier connection; waits for quota on this one.
    Resend,
    /// Sent on this connection.
    Sent,
    /// PUBREC came; PUBREL waits until this is durable.
    Releasing,
    /// PUBREL sent, PUBCOMP awaited.
    Released,
    /// Acknowledged, dropped or handed over.
    Done,
}

impl Outbound {
    /// The unacknowledged and waiting messages of a restored session of which only PUBCOMP is missing.
    pub(crate) fn restore(mut released: Vec<u64>) -> Self {
        released.sort_unstable();
        released.dedup();
        let slots = released
            .into_iter()
            .map(|seq| Slot { seq, stage: Stage::Released, delivery: None })
            .collect();
        Self { slots, ..Self::default() }
    }

    /// How many more messages with QoS above 0 may be handed over now. None while others wait: they go first.
    #[inline]
    pub(crate) fn available(&self) -> u16 {
        if self.waiting > 0 { 0 } else { self.quota.available() }
    }

    /// Messages not acknowledged for good.
    pub(crate) fn len(&self) -> usize {
        let in_runs = self.runs.as_ref().map_or(0, |runs| runs.messages);
        self.slots.len() - self.done as usize + in_runs
    }

    /// The place of the first message that is not acknowledged.
    #[inline]
    fn first(&self) -> Option<u64> {
        let run = self.runs.as_ref().and_then(|runs| runs.list.front()).map(SentRun::seq);
        run.or_else(|| self.slots.front().map(|slot| slot.seq))
    }

    /// A new Network Connection with this send quota. What was sent on an earlier one is due again; PUBREL goes out at
    /// once, PUBLISH by [`pump`](Self::pump).
    // [MQTT-4.4.0-1] [MQTT-4.4.0-1 @3.1.1] [MQTT-4.3.3-6] [MQTT-4.9.0-1]
    pub(crate) fn resume(&mut self, maximum: u16, tokens: &mut Tokens, out: &mut Outputs<'_>) {
        self.unroll();
        self.quota = SendQuota::new(maximum);
        self.waiting = 0;
        self.waiting_from = self.slots.front().map_or(0, |slot| slot.seq);
        for slot in &mut self.slots {
            match slot.stage {
                Stage::Queued | Stage::Resend => self.waiting += 1,
                Stage::Sent => {
                    slot.stage = Stage::Resend;
                    self.waiting += 1;
                }
                // The release may have been refused by the store, so that nobody would answer: it is asked for once more.
                Stage::Releasing => {
                    self.quota.take();
                    let id = packet_id_of(slot.seq);
                    let (token, change) =
                        (Some(tokens.next_outbound(id)), Persist::OutboundReleased(slot.seq));
                    out.push(Output::Persist { token, change });
                }
                Stage::Released => {
                    self.quota.take();
                    out.push(ack(AckKind::PubRel, packet_id_of(slot.seq), ReasonCode::Success));
                }
                Stage::Done => {}
            }
        }
    }

    /// Takes a message with QoS above 0 and gives its PUBLISH, or lets it wait behind others and for quota.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        delivery: Delivery,
        durable: bool,
        sender: &mut Sender<'_>,
        out: &mut Outputs<'_>,
    ) -> Result<Option<Outgoing>, Violation> {
        // [MQTT-2.2.1-4] [MQTT-2.3.1-4 @3.1.1]
        let exhausted = self.first().is_some_and(|first| delivery.seq >= first + PACKET_IDS);
        // [MQTT-4.9.0-2]
        if exhausted || self.available() == 0 {
            self.queue(delivery);
            return if exhausted { Err(Violation::PacketIdsExhausted) } else { Ok(None) };
        }
        Ok(self.send(delivery, durable, sender, out))
    }

    /// Takes a run, which `write` is to send now; gives it back if its messages have to be delivered one by one.
    // [MQTT-4.9.0-2] [MQTT-4.6.0-1] [MQTT-4.6.0-1 @3.1.1]
    #[inline]
    pub(crate) fn deliver_run(&mut self, run: Run, write: impl FnOnce(&Run)) -> Result<(), Run> {
        let first = self.first().unwrap_or_else(|| run.seq());
        if !self.slots.is_empty()
            || run.len() > usize::from(self.quota.available())
            || run.end() > first + PACKET_IDS
        {
            return Err(run);
        }
        write(&run);
        self.quota.take_many(run.len());
        let runs = self.runs.get_or_insert_default();
        runs.messages += run.len();
        runs.list.push_back(SentRun { run, released: 0 });
        Ok(())
    }

    /// PUBACKs came in, the first at the front of `input`, each without reason code: takes those that answer runs, in their
    /// order, and says what is over.
    // [MQTT-4.3.2-3] [MQTT-4.4.0-2]
    #[inline]
    pub(crate) fn pubacks_of_runs(&mut self, input: &[u8]) -> Settled {
        let mut settled = Settled::default();
        let Some(runs) = &mut self.runs else { return settled };
        let (acks, _) = input.as_chunks();
        for &ack in acks {
            let Some(SentRun { run, .. }) = runs.list.front_mut() else { break };
            let due = short_ack_bytes(AckKind::PubAck, packet_id_of(run.seq()));
            if run.qos() != Qos::AtLeastOnce || ack != due {
                break;
            }
            settled.messages += 1;
            settled.bytes += run.forget_first();
            if run.is_empty() {
                runs.list.pop_front();
            }
        }
        self.runs_over(settled.messages);
        settled
    }

    /// The same for PUBRECs: `send` is to answer each by PUBREL. What it says is not over, but is not kept any more.
    // [MQTT-4.3.3-3] [MQTT-4.3.3-4]
    #[inline]
    pub(crate) fn pubrecs_of_runs(
        &mut self,
        input: &[u8],
        mut send: impl FnMut(PacketId),
    ) -> Settled {
        let mut settled = Settled::default();
        let Some(runs) = &mut self.runs else { return settled };
        let mut rest = runs.list.iter_mut().skip_while(|sent| sent.run.is_empty()).peekable();
        let (acks, _) = input.as_chunks();
        for &ack in acks {
            let Some(sent) = rest.peek_mut() else { break };
            let id = packet_id_of(sent.run.seq());
            if sent.run.qos() != Qos::ExactlyOnce || ack != short_ack_bytes(AckKind::PubRec, id) {
                break;
            }
            settled.messages += 1;
            settled.bytes += sent.run.forget_first();
            sent.released += 1;
            send(id);
            if sent.run.is_empty() {
                rest.next();
            }
        }
        settled
    }

    /// The same for PUBCOMPs: how many there were.
    // [MQTT-4.3.3-5]
    #[inline]
    pub(crate) fn pubcomps_of_runs(&mut self, input: &[u8]) -> usize {
        let Some(runs) = &mut self.runs else { return 0 };
        let mut over = 0;
        let (acks, _) = input.as_chunks();
        for &ack in acks {
            let Some(sent) = runs.list.front_mut() else { break };
            let due = short_ack_bytes(AckKind::PubComp, packet_id_of(sent.seq()));
            if sent.released == 0 || ack != due {
                break;
            }
            over += 1;
            sent.released -= 1;
            if sent.is_over() {
                runs.list.pop_front();
            }
        }
        self.runs_over(over);
        over
    }

    /// So many messages of runs are over.
    #[inline]
    fn runs_over(&mut self, messages: usize) {
        self.quota.give_back_many(messages);
        let Some(runs) = &mut self.runs else { return };
        runs.messages -= messages;
        // An idle session is small.
        if runs.list.is_empty() && runs.list.capacity() > RUNS_KEPT {
            self.runs = None;
        }
    }

    /// Turns what is left of runs into slots.
    #[cold]
    fn unroll(&mut self) {
        let Some(runs) = self.runs.take() else { return };
        for sent in runs.list.into_iter().rev() {
            let released = (sent.seq()..sent.run.seq()).map(|seq| Slot {
                seq,
                stage: Stage::Released,
                delivery: None,
            });
            let unacknowledged = sent.run.map(|delivery| Slot {
                seq: delivery.seq,
                stage: Stage::Sent,
                delivery: Some(delivery),
            });
            let slots: Vec<Slot> = released.chain(unacknowledged).collect();
            slots.into_iter().rev().for_each(|slot| self.slots.push_front(slot));
        }
    }

    /// Turns runs into slots if the message with this Packet Identifier is in one.
    #[inline]
    fn unroll_for(&mut self, id: PacketId) {
        let runs = self.runs.as_ref().map(|runs| &runs.list);
        let ends = runs.and_then(|runs| Some((runs.front()?.seq(), runs.back()?.run.end())));
        if ends.is_some_and(|(first, end)| seq_from(first, id) < end) {
            self.unroll();
        }
    }

    /// Keeps a message for the next connection, or until there is quota.
    pub(crate) fn queue(&mut self, delivery: Delivery) {
        let stage = if delivery.sent_before { Stage::Resend } else { Stage::Queued };
        let seq = delivery.seq;
        self.waiting_from = if self.waiting == 0 { seq } else { self.waiting_from.min(seq) };
        self.waiting += u32::from(self.insert(Slot { seq, stage, delivery: Some(delivery) }));
    }

    #[inline]
    fn send(
        &mut self,
        delivery: Delivery,
        durable: bool,
        sender: &mut Sender<'_>,
        out: &mut Outputs<'_>,
    ) -> Option<Outgoing> {
        let seq = delivery.seq;
        match sender.outgoing(&delivery, Some(packet_id_of(seq)), delivery.sent_before) {
            Ok(outgoing) => {
                if !self.insert(Slot { seq, stage: Stage::Sent, delivery: Some(delivery) }) {
                    return None;
                }
                self.quota.take();
                Some(outgoing)
            }
            Err(why) => {
                out.push(Output::Dropped(Dropped { delivery, why }));
                acknowledged(seq, durable, out);
                None
            }
        }
    }

    /// Sends what waits, as far as the quota goes.
    // [MQTT-3.3.4-9] [MQTT-4.6.0-1] [MQTT-4.6.0-1 @3.1.1]
    pub(crate) fn pump(&mut self, durable: bool, sender: &mut Sender<'_>, out: &mut Outputs<'_>) {
        while self.waiting > 0 && self.quota.available() > 0 {
            let Some(index) = self.first_waiting() else { return };
            let first = self.first().unwrap_or_default();
            let Some(slot) = self.slots.get_mut(index) else { return };
            // [MQTT-2.2.1-4] The identifier is still in use.
            if slot.seq >= first + PACKET_IDS {
                return;
            }
            let Some(delivery) = slot.delivery.as_ref() else { return };
            let seq = slot.seq;
            let dup = slot.stage == Stage::Resend;
            self.waiting -= 1;
            self.waiting_from = seq + 1;
            match sender.outgoing(delivery, Some(packet_id_of(seq)), dup) {
                Ok(outgoing) => {
                    slot.stage = Stage::Sent;
                    self.quota.take();
                    out.push(Output::Publish(outgoing));
                }
                Err(why) => {
                    if let Some(delivery) = self.finish(index) {
                        out.push(Output::Dropped(Dropped { delivery, why }));
                    }
                    acknowledged(seq, durable, out);
                }
            }
        }
    }

    /// PUBACK came in: gives the delivery that is over.
    // [MQTT-4.3.2-3] [MQTT-4.4.0-2]
    #[inline]
    pub(crate) fn puback(&mut self, id: PacketId, reason: ReasonCode) -> Option<Completed> {
        self.unroll_for(id);
        // A stray PUBACK is ignored. [MQTT-2.2.1-5]
        let index = self.unacknowledged(id, Qos::AtLeastOnce)?;
        self.leave_wire(index);
        self.complete(index, reason)
    }

    /// PUBREC came in.
    pub(crate) fn pubrec(
        &mut self,
        id: PacketId,
        reason: ReasonCode,
        tokens: Option<&mut Tokens>,
        out: &mut Outputs<'_>,
    ) -> KnownId {
        self.unroll_for(id);
        let Some(index) = self.unacknowledged(id, Qos::ExactlyOnce) else {
            return self.pubrec_again(id, out);
        };
        // [MQTT-4.3.3-4] [MQTT-4.4.0-2]
        if reason.is_error() {
            self.leave_wire(index);
            over(self.complete(index, reason), tokens.is_some(), out);
            return KnownId::Yes;
        }
        self.enter_wire(index);
        let Some(slot) = self.slots.get_mut(index) else { return KnownId::Yes };
        // What PUBREL stands for must be durable before it is sent, or a restart would repeat the PUBLISH.
        // [MQTT-4.3.3-6]
        if let Some(tokens) = tokens {
            slot.stage = Stage::Releasing;
            let (token, change) =
                (Some(tokens.next_outbound(id)), Persist::OutboundReleased(slot.seq));
            out.push(Output::Persist { token, change });
        } else {
            slot.stage = Stage::Released;
            out.push(ack(AckKind::PubRel, id, ReasonCode::Success));
        }
        KnownId::Yes
    }

    /// PUBREC came in for a message that is not unacknowledged.
    fn pubrec_again(&self, id: PacketId, out: &mut Outputs<'_>) -> KnownId {
        match self.index_of(id).and_then(|index| self.slots.get(index)).map(|slot| slot.stage) {
            Some(Stage::Releasing) => KnownId::Yes,
            Some(Stage::Released) => {
                out.push(ack(AckKind::PubRel, id, ReasonCode::Success));
                KnownId::Yes
            }
            Some(Stage::Queued | Stage::Resend | Stage::Sent | Stage::Done) | None => KnownId::No,
        }
    }

    /// The release of this message is durable: whether PUBREL may go out.
    pub(crate) fn released(&mut self, id: PacketId) -> bool {
        let slot = self.index_of(id).and_then(|index| self.slots.get_mut(index));
        match slot {
            Some(slot) if slot.stage == Stage::Releasing => {
                slot.stage = Stage::Released;
                true
            }
            _ => false,
        }
    }

    /// PUBCOMP came in.
    // [MQTT-4.3.3-5]
    pub(crate) fn pubcomp(
        &mut self,
        id: PacketId,
        reason: ReasonCode,
        durable: bool,
        out: &mut Outputs<'_>,
    ) {
        self.unroll_for(id);
        let Some(index) = self.index_of(id) else { return };
        if self.slots.get(index).is_some_and(|slot| slot.stage == Stage::Released) {
            self.quota.give_back();
            over(self.complete(index, reason), durable, out);
        }
    }

    /// Takes out, of the messages that came by a shared subscription, those which may go to another member of the group:
    /// with QoS 1 all, with QoS 2 those not begun. For a session without a connection.
    // [MQTT-4.8.2-4] [MQTT-4.8.2-5]
    pub(crate) fn take_unacknowledged_shared(&mut self) -> Vec<Delivery> {
        self.unroll();
        let mut taken = Vec::new();
        for index in 0..self.slots.len() {
            if self.slots.get(index).is_some_and(Slot::may_go_to_another) {
                taken.extend(self.forget(index));
            }
        }
        let waiting = self.slots.iter().filter(|slot| slot.waits()).count();
        self.waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        self.sweep();
        taken
    }

    /// Takes out every message, in order. For the end of a session.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Delivery> + use<> {
        self.unroll();
        std::mem::take(self).slots.into_iter().filter_map(|slot| slot.delivery)
    }

    /// Puts a slot in its place, unless that is taken.
    fn insert(&mut self, slot: Slot) -> bool {
        if self.slots.back().is_none_or(|last| last.seq < slot.seq) {
            self.slots.push_back(slot);
            return true;
        }
        // Only a restored session gets messages behind a later one that is released already.
        match self.slots.binary_search_by_key(&slot.seq, |slot| slot.seq) {
            Ok(_) => {
                debug_assert!(false, "place {} was delivered twice", slot.seq);
                false
            }
            Err(index) => {
                self.slots.insert(index, slot);
                true
            }
        }
    }

    /// The slot of the message with this Packet Identifier.
    #[inline]
    fn index_of(&self, id: PacketId) -> Option<usize> {
        let first = self.slots.front()?.seq;
        let seq = seq_from(first, id);
        let guess = usize::try_from(seq - first).ok()?;
        if self.slots.get(guess).is_some_and(|slot| slot.seq == seq) {
            return Some(guess);
        }
        self.slots.binary_search_by_key(&seq, |slot| slot.seq).ok()
    }

    /// The slot of the message with this Packet Identifier and QoS that was sent, on this connection or an earlier one,
    /// and not acknowledged.
    // [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.2-1 @3.1.1] [MQTT-4.3.3-1 @3.1.1]
    #[inline]
    fn unacknowledged(&self, id: PacketId, qos: Qos) -> Option<usize> {
        let index = self.index_of(id)?;
        let slot = self.slots.get(index)?;
        let sent = matches!(slot.stage, Stage::Sent | Stage::Resend);
        (sent && slot.delivery.as_ref().is_some_and(|delivery| delivery.qos == qos))
            .then_some(index)
    }

    /// The first slot that waits.
    fn first_waiting(&mut self) -> Option<usize> {
        let start = self.slots.partition_point(|slot| slot.seq < self.waiting_from);
        (start..self.slots.len()).find(|&index| self.slots.get(index).is_some_and(Slot::waits))
    }

    /// An unacknowledged message no longer uses quota, or no longer waits for it.
    #[inline]
    fn leave_wire(&mut self, index: usize) {
        match self.slots.get(index).map(|slot| slot.stage) {
            Some(Stage::Sent) => self.quota.give_back(),
            // The client acknowledged what it got on an earlier connection.
            _ => self.waiting -= 1,
        }
    }

    /// An unacknowledged message uses quota, even if it was not sent again on this connection.
    fn enter_wire(&mut self, index: usize) {
        if self.slots.get(index).is_some_and(|slot| slot.stage == Stage::Resend) {
            self.waiting -= 1;
            self.quota.take();
        }
    }

    #[inline]
    fn complete(&mut self, index: usize, reason: ReasonCode) -> Option<Completed> {
        let seq = self.slots.get(index).map(|slot| slot.seq)?;
        let delivery = self.finish(index);
        let origin = delivery.as_ref().map_or(Origin::Plain, |delivery| delivery.origin);
        Some(Completed { seq, origin, reason, message: delivery.map(|delivery| delivery.message) })
    }

    /// The slot is done with. Indices are no longer valid.
    #[inline]
    fn finish(&mut self, index: usize) -> Option<Delivery> {
        let delivery = self.forget(index);
        self.sweep();
        delivery
    }

    #[inline]
    fn forget(&mut self, index: usize) -> Option<Delivery> {
        let slot = self.slots.get_mut(index)?;
        slot.stage = Stage::Done;
        self.done += 1;
        slot.delivery.take()
    }

    /// Keeps the first slot unfinished, and the finished ones few.
    #[inline]
    fn sweep(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.stage == Stage::Done) {
            self.slots.pop_front();
            self.done -= 1;
        }
        let done = self.done as usize;
        if done >= SWEEP_MIN && done * 2 > self.slots.len() {
            self.slots.retain(|slot| slot.stage != Stage::Done);
            self.done = 0;
        }
        release_idle_room(&mut self.slots);
    }
}

impl Slot {
    const fn waits(&self) -> bool {
        matches!(self.stage, Stage::Queued | Stage::Resend)
    }

    fn may_go_to_another(&self) -> bool {
        self.delivery.as_ref().is_some_and(|delivery| {
            delivery.origin.is_shared()
                && match self.stage {
                    Stage::Queued => true,
                    Stage::Resend | Stage::Sent => delivery.qos == Qos::AtLeastOnce,
                    Stage::Releasing | Stage::Released | Stage::Done => false,
                }
        })
    }
}

/// Whether a Packet Identifier belongs to an exchange that goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KnownId {
    Yes,
    No,
}

/// Tells of a delivery that is over, and the store of its place.
pub(crate) fn over(completed: Option<Completed>, durable: bool, out: &mut Outputs<'_>) {
    if let Some(completed) = completed {
        let seq = completed.seq;
        out.push(Output::Completed(completed));
        acknowledged(seq, durable, out);
    }
}

/// An acknowledgement. It carries no property, so that it fits whatever CONNACK fitted.
// [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3]
pub(crate) fn ack<'a>(kind: AckKind, packet_id: PacketId, reason: ReasonCode) -> Output<'a> {
    Output::Ack(Acknowledgement { kind, packet_id, reason })
}

/// A loss of this record only repeats the message with DUP, so nothing waits for it.
#[inline]
pub(crate) fn acknowledged(seq: u64, durable: bool, out: &mut Outputs<'_>) {
    if durable {
        out.push(Output::Persist { token: None, change: Persist::Acknowledged(seq) });
    }
}

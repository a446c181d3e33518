//! Messages with QoS above 0 from the client, from PUBLISH to the last acknowledgement.
//!
//! What must outlive the connection, the QoS 2 exchanges, is [`Exchanges`] and belongs to the session; what ends with it,
//! the acknowledgements that are due and the count for the Receive Maximum, is [`Inbound`].

use dunlin_codec::{AckKind, PacketId, Qos, ReasonCode, short_acks};

use crate::ack_queue::AckQueue;
use crate::error::Violation;
use crate::event::{Acknowledgement, Output, Outputs, Persist};
use crate::outbound::ack;
use crate::packet_ids::PacketIdMap;
use crate::token::{Token, Tokens};

/// The QoS 2 exchanges that a client has begun and not finished.
///
/// Bound: the number of Packet Identifiers, four to eight bytes each.
// [MQTT-4.3.3-10] [MQTT-4.3.3-2 @3.1.1]
pub(crate) type Exchanges = PacketIdMap<Exchange>;

// [MQTT-4.3.3-13] It knows nothing of the message, so no expiry can end it early.
#[derive(Debug)]
pub(crate) struct Exchange {
    stage: Stage,
    /// Whether its PUBLISH came on this connection, so that it counts for the Receive Maximum.
    counted: bool,
    /// Whether a PUBREC for it stands in this connection's queue.
    pubrec_due: bool,
    /// Whether PUBREL came on this connection, so that PUBCOMP is due.
    pubcomp_due: bool,
}

/// How far an exchange has come.
///
/// ```text
/// PUBLISH ──► Routing ──routed──► Received ──PUBREL──► Releasing ──durable──► gone
///                          (PUBREC sent)        (durable sessions)    (PUBCOMP sent)
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// The server does not own the message yet.
    Routing,
    /// The server owns the message; repeats are not routed again.
    Received,
    /// PUBREL came; PUBCOMP waits until this is durable.
    Releasing,
}

impl Exchange {
    /// One that is known from before a restart.
    pub(crate) const fn restored() -> Self {
        Self { stage: Stage::Received, counted: false, pubrec_due: false, pubcomp_due: false }
    }

    /// One whose PUBLISH came just now, so that PUBREC is due.
    const fn begun(stage: Stage) -> Self {
        Self { stage, counted: true, pubrec_due: true, pubcomp_due: false }
    }

    /// A new Network Connection: nothing was received on it, so nothing is due.
    pub(crate) const fn begin_connection(&mut self) {
        self.counted = false;
        self.pubrec_due = false;
        self.pubcomp_due = false;
    }

    pub(crate) fn is_releasing(&self) -> bool {
        self.stage == Stage::Releasing
    }
}

/// What the inbound side needs to know of the session and the client.
pub(crate) struct Rules<'s> {
    pub(crate) exchanges: &'s mut Exchanges,
    pub(crate) tokens: &'s mut Tokens,
    /// Whether the client speaks 5.0, so that it can be told what went wrong.
    pub(crate) v5: bool,
    /// Whether the session's changes must be durable.
    pub(crate) durable: bool,
    /// The announced Receive Maximum.
    pub(crate) receive_maximum: u16,
}

/// A PUBLISH with QoS above 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) qos: Qos,
    pub(crate) packet_id: PacketId,
    pub(crate) dup: bool,
    /// Why its message is not to be routed.
    pub(crate) refused: Option<ReasonCode>,
}

/// The acknowledgements that one Network Connection owes, and how many PUBLISHes are in process on it.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    pubacks: AckQueue,
    pubrecs: AckQueue,
    /// Packet Identifiers in `pubacks`.
    at_least_once: PacketIdMap<()>,
    /// PUBLISHes with QoS above 0 until PUBACK, PUBREC with an error, or PUBCOMP is sent.
    in_process: u32,
}

impl Inbound {
    /// PUBLISHes whose acknowledgement waits for the server.
    pub(crate) fn withheld(&self) -> usize {
        self.pubacks.len() + self.pubrecs.len()
    }

    /// Takes a PUBLISH: gives the token if the message is to be routed. An answer that is due goes out by
    /// [`flush`](Self::flush).
    // [MQTT-3.3.4-1] [MQTT-3.3.4-1 @3.1.1]
    #[inline]
    pub(crate) fn publish(
        &mut self,
        received: Received,
        rules: &mut Rules<'_>,
    ) -> Result<Option<Token>, Violation> {
        match received.qos {
            Qos::AtMostOnce => Ok(None),
            Qos::AtLeastOnce => self.publish_at_least_once(received, rules),
            Qos::ExactlyOnce => self.publish_exactly_once(received, rules),
        }
    }

    // [MQTT-4.3.2-5] [MQTT-4.3.2-2 @3.1.1] After PUBACK the same identifier is a new message: nothing is remembered of it.
    fn publish_at_least_once(
        &mut self,
        received: Received,
        rules: &mut Rules<'_>,
    ) -> Result<Option<Token>, Violation> {
        let Received { packet_id, dup, refused, .. } = received;
        let repeated = self.at_least_once.contains(packet_id);
        if repeated && (!rules.v5 || dup) {
            // The one PUBACK that is due answers both. [MQTT-2.3.1-2 @3.1.1]
            return Ok(None);
        }
        self.count(rules)?;
        // [MQTT-2.2.1-3] In 3.x an exchange of the other kind with the same identifier goes its own way.
        if repeated || (rules.v5 && rules.exchanges.contains(packet_id)) {
            self.pubacks.push_ready(packet_id, ReasonCode::PacketIdentifierInUse);
            return Ok(None);
        }
        if let Some(reason) = refused {
            // [MQTT-3.3.5-2 @3.1.1] Before 5.0 nobody can be told.
            self.pubacks.push_ready(packet_id, if rules.v5 { reason } else { ReasonCode::Success });
            return Ok(None);
        }
        let token = rules.tokens.next(packet_id);
        self.at_least_once.insert(packet_id, ());
        self.pubacks.push(packet_id, token);
        Ok(Some(token))
    }

    /// Whether the PUBLISHes of a run need not be looked at one by one.
    // [MQTT-2.2.1-3] [MQTT-3.3.4-7] [MQTT-4.3.2-5] [MQTT-4.3.3-10]
    fn takes_run(&self, qos: Qos, ids: impl Iterator<Item = PacketId>, rules: &Rules<'_>) -> bool {
        let room = u32::from(rules.receive_maximum).saturating_sub(self.in_process);
        let (at_least_once, exactly_once) = match qos {
            Qos::AtMostOnce => return false,
            Qos::AtLeastOnce => (true, rules.v5),
            Qos::ExactlyOnce => (rules.v5, true),
        };
        let mut last = None;
        let mut count = 0;
        for id in ids {
            // Rising, none can come twice in the run.
            let new = last.is_none_or(|last| id > last)
                && !(at_least_once && self.at_least_once.contains(id))
                && !(exactly_once && rules.exchanges.contains(id));
            count += 1;
            if !new || count > room {
                return false;
            }
            last = Some(id);
        }
        true
    }

    /// Takes the PUBLISHes of a run, that all are to be routed; `false`, and nothing is taken, if one of them is to be
    /// looked at by itself.
    pub(crate) fn publish_run(
        &mut self,
        qos: Qos,
        ids: impl Iterator<Item = PacketId> + Clone,
        rules: &mut Rules<'_>,
        tokens: &mut Vec<Token>,
    ) -> bool {
        if !self.takes_run(qos, ids.clone(), rules) {
            return false;
        }
        for id in ids {
            let token = rules.tokens.next(id);
            if qos == Qos::AtLeastOnce {
                self.at_least_once.insert(id, ());
                self.pubacks.push(id, token);
            } else {
                rules.exchanges.insert(id, Exchange::begun(Stage::Routing));
                self.pubrecs.push(id, token);
            }
            self.in_process += 1;
            tokens.push(token);
        }
        true
    }

    /// The same for a run of QoS 2 that is with everybody already, and answered by the caller.
    pub(crate) fn receive_run(
        &mut self,
        ids: impl Iterator<Item = PacketId> + Clone,
        rules: &mut Rules<'_>,
    ) -> bool {
        if rules.durable || !self.takes_run(Qos::ExactlyOnce, ids.clone(), rules) {
            return false;
        }
        for id in ids {
            let exchange = Exchange { pubrec_due: false, ..Exchange::begun(Stage::Received) };
            rules.exchanges.insert(id, exchange);
            self.in_process += 1;
        }
        true
    }

    /// PUBRELs came in, the first at the front of `input`, each without reason code: takes those that end an exchange of
    /// which nothing else is due, in any order, and has each answered by PUBCOMP. How many there were.
    // [MQTT-4.3.3-11]
    pub(crate) fn pubrels(
        &mut self,
        input: &[u8],
        rules: &mut Rules<'_>,
        mut send: impl FnMut(PacketId),
    ) -> usize {
        let mut count = 0;
        if rules.durable {
            return count;
        }
        for (kind, id) in short_acks(input) {
            if kind != AckKind::PubRel {
                break;
            }
            let ends = rules
                .exchanges
                .get_mut(id)
                .is_some_and(|exchange| exchange.stage == Stage::Received && !exchange.pubrec_due);
            if !ends {
                break;
            }
            if let Some(exchange) = rules.exchanges.remove(id) {
                self.in_process -= u32::from(exchange.counted);
            }
            send(id);
            count += 1;
        }
        count
    }

    fn publish_exactly_once(
        &mut self,
        received: Received,
        rules: &mut Rules<'_>,
    ) -> Result<Option<Token>, Violation> {
        let Received { packet_id, refused, .. } = received;
        if rules.exchanges.contains(packet_id) {
            return self.publish_again(packet_id, rules).map(|()| None);
        }
        self.count(rules)?;
        // [MQTT-2.2.1-3]
        if rules.v5 && self.at_least_once.contains(packet_id) {
            self.pubrecs.push_ready(packet_id, ReasonCode::PacketIdentifierInUse);
            return Ok(None);
        }
        match refused {
            // [MQTT-4.3.3-9] The exchange ends with PUBREC.
            Some(reason) if rules.v5 => {
                self.pubrecs.push_ready(packet_id, reason);
                Ok(None)
            }
            // [MQTT-3.3.5-2 @3.1.1] Before 5.0 nobody can be told, so the exchange goes on without a message.
            Some(_) => {
                rules.exchanges.insert(packet_id, Exchange::begun(Stage::Received));
                self.pubrecs.push_ready(packet_id, ReasonCode::Success);
                Ok(None)
            }
            None => {
                rules.exchanges.insert(packet_id, Exchange::begun(Stage::Routing));
                let token = rules.tokens.next(packet_id);
                self.pubrecs.push(packet_id, token);
                Ok(Some(token))
            }
        }
    }

    /// A PUBLISH whose Packet Identifier is in use by a QoS 2 exchange: answered by PUBREC, but not routed again.
    // [MQTT-4.3.3-10] [MQTT-4.3.3-2 @3.1.1]
    fn publish_again(
        &mut self,
        packet_id: PacketId,
        rules: &mut Rules<'_>,
    ) -> Result<(), Violation> {
        let Some(&mut Exchange { stage, counted, pubrec_due, .. }) =
            rules.exchanges.get_mut(packet_id)
        else {
            return Ok(());
        };
        // [MQTT-4.3.3-12] PUBREL came, PUBCOMP did not go: the identifier is not free yet.
        if stage == Stage::Releasing {
            if rules.v5 {
                self.count(rules)?;
                self.pubrecs.push_ready(packet_id, ReasonCode::PacketIdentifierInUse);
            }
            return Ok(());
        }
        // One PUBREC is enough for all repeats until it is sent.
        if pubrec_due {
            return Ok(());
        }
        if !counted {
            self.count(rules)?;
        }
        if stage == Stage::Routing {
            self.pubrecs.push(packet_id, rules.tokens.next(packet_id));
        } else {
            self.pubrecs.push_ready(packet_id, ReasonCode::Success);
        }
        if let Some(exchange) = rules.exchanges.get_mut(packet_id) {
            exchange.counted = true;
            exchange.pubrec_due = true;
        }
        Ok(())
    }

    /// One more PUBLISH is in process.
    #[inline]
    fn count(&mut self, rules: &Rules<'_>) -> Result<(), Violation> {
        // [MQTT-3.3.4-7] [MQTT-4.9.0-2]
        if rules.v5 && self.in_process >= u32::from(rules.receive_maximum) {
            return Err(Violation::ReceiveMaximumExceeded { maximum: rules.receive_maximum });
        }
        self.in_process += 1;
        Ok(())
    }

    /// A message is owned by the server, or refused.
    // [MQTT-4.3.2-4] [MQTT-4.3.3-8]
    #[inline]
    pub(crate) fn routed(&mut self, token: Token, reason: ReasonCode, rules: &mut Rules<'_>) {
        // [MQTT-3.3.5-2 @3.1.1] Before 5.0 a refused PUBLISH is acknowledged like any other.
        let reason = if rules.v5 { reason } else { ReasonCode::Success };
        let Some(packet_id) = token.packet_id() else { return };
        if self.at_least_once.contains(packet_id) && self.pubacks.settle(token, reason) {
            return;
        }
        if settle_exchange(rules.exchanges, packet_id, reason) {
            self.pubrecs.settle_id(packet_id, reason);
        }
    }

    /// PUBREL came in.
    // [MQTT-4.3.3-11]
    pub(crate) fn pubrel(
        &mut self,
        packet_id: PacketId,
        rules: &mut Rules<'_>,
        out: &mut Outputs<'_>,
    ) {
        match rules.exchanges.get_mut(packet_id) {
            Some(exchange) if exchange.stage == Stage::Received && rules.durable => {
                // A removal that is lost would swallow the client's next message with this identifier.
                exchange.stage = Stage::Releasing;
                exchange.pubcomp_due = true;
                let (token, change) =
                    (Some(rules.tokens.next(packet_id)), Persist::InboundReleased(packet_id));
                out.push(Output::Persist { token, change });
            }
            Some(exchange) if exchange.stage == Stage::Received => {
                self.finish(packet_id, rules.exchanges, out)
            }
            // Its removal may have been refused by the store, so that nobody would answer: it is asked for once more on each
            // connection.
            Some(exchange) if exchange.stage == Stage::Releasing && !exchange.pubcomp_due => {
                exchange.pubcomp_due = true;
                let (token, change) =
                    (Some(rules.tokens.next(packet_id)), Persist::InboundReleased(packet_id));
                out.push(Output::Persist { token, change });
            }
            Some(exchange) if exchange.stage == Stage::Releasing => {}
            // [MQTT-2.2.1-5] [MQTT-2.3.1-6 @3.1.1]
            Some(_) | None => out.push(ack(AckKind::PubComp, packet_id, not_found(rules.v5))),
        }
    }

    /// The removal of this identifier is durable.
    pub(crate) fn released(
        &mut self,
        packet_id: PacketId,
        exchanges: &mut Exchanges,
        out: &mut Outputs<'_>,
    ) {
        match exchanges.get_mut(packet_id) {
            Some(exchange) if exchange.is_releasing() && exchange.pubcomp_due => {
                self.finish(packet_id, exchanges, out);
            }
            Some(exchange) if exchange.is_releasing() => {
                exchanges.remove(packet_id);
            }
            _ => {}
        }
    }

    /// Ends an exchange by PUBCOMP.
    // [MQTT-4.3.3-12]
    fn finish(&mut self, packet_id: PacketId, exchanges: &mut Exchanges, out: &mut Outputs<'_>) {
        let Some(exchange) = exchanges.remove(packet_id) else { return };
        if exchange.pubrec_due {
            // The client repeated its PUBLISH, then released it without waiting: PUBREC has no meaning any more.
            self.pubrecs.forget(packet_id);
        }
        self.in_process -= u32::from(exchange.counted);
        out.push(ack(AckKind::PubComp, packet_id, ReasonCode::Success));
    }

    /// Gives every acknowledgement whose turn it is, to be sent: PUBACKs in the order of their PUBLISHes, and PUBRECs likewise.
    // [MQTT-4.6.0-2 @3.1.1] [MQTT-4.6.0-3 @3.1.1] Those are duties of the client only in 5.0; we keep them all the same.
    #[inline]
    pub(crate) fn flush(
        &mut self,
        exchanges: &mut Exchanges,
        mut send: impl FnMut(Acknowledgement),
    ) {
        while let Some((packet_id, reason, routed)) = self.pubacks.pop_ready() {
            self.in_process -= 1;
            if routed {
                self.at_least_once.remove(packet_id);
            }
            send(Acknowledgement { kind: AckKind::PubAck, packet_id, reason });
        }
        while let Some((packet_id, reason, _)) = self.pubrecs.pop_ready() {
            if reason.is_error() {
                self.in_process -= 1;
            } else if let Some(exchange) = exchanges.get_mut(packet_id) {
                exchange.pubrec_due = false;
            }
            send(Acknowledgement { kind: AckKind::PubRec, packet_id, reason });
        }
    }
}

/// The answer of the server for a QoS 2 message: whether its exchange waited for it.
pub(crate) fn settle_exchange(
    exchanges: &mut Exchanges,
    packet_id: PacketId,
    reason: ReasonCode,
) -> bool {
    match exchanges.get_mut(packet_id) {
        Some(exchange) if exchange.stage == Stage::Routing && reason.is_error() => {
            // [MQTT-4.3.3-9]
            exchanges.remove(packet_id);
            true
        }
        Some(exchange) if exchange.stage == Stage::Routing => {
            exchange.stage = Stage::Received;
            true
        }
        _ => false,
    }
}

/// What PUBCOMP and PUBREL say about a Packet Identifier that is not in use.
pub(crate) const fn not_found(v5: bool) -> ReasonCode {
    if v5 { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success }
}

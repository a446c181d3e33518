//! The open Network Connection: from CONNACK to its end.

use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::{AckKind, Auth, Disconnect, Packet, PacketId, PacketRef, Qos, ReasonCode};

use crate::alias::{AliasBounds, InboundAliases, OutboundAliases};
use crate::authentication::Authentication;
use crate::delivery::{Completed, Delivery, Dropped, Outgoing, Settled};
use crate::error::Violation;
use crate::event::{Acknowledgement, Output, Outputs};
use crate::expiry::SessionExpiry;
use crate::handshake::Handshake;
use crate::inbound::{Inbound, Rules, not_found};
use crate::limits::Capabilities;
use crate::outbound::{KnownId, ack, acknowledged, over};
use crate::peer::Peer;
use crate::requests::Requests;
use crate::run::Run;
use crate::sender::Sender;
use crate::session::Session;
use crate::timers::KeepAlive;
use crate::token::Token;

/// All that ends with the connection, and the session, which does not.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) session: Box<Session>,
    pub(crate) peer: Peer,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) requests: Requests,
    // Boxed, because most connections have none of them.
    pub(crate) inbound: Option<Box<Inbound>>,
    pub(crate) inbound_aliases: Option<Box<InboundAliases>>,
    outbound_aliases: Option<Box<OutboundAliases>>,
    authentication: Option<Box<Authentication>>,
}

/// What a packet leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// The connection goes on.
    Stay,
    /// The client left with this reason code.
    Leave(ReasonCode),
}

impl Open {
    /// Gives the session to the connection, and repeats what the client may not have got.
    pub(crate) fn begin(
        handshake: Handshake,
        mut session: Box<Session>,
        capabilities: &Capabilities,
        now: Instant,
        out: &mut Outputs<'_>,
    ) -> Self {
        let peer = handshake.peer;
        let keep_alive = KeepAlive::new(handshake.keep_alive(), now);
        session.attach(handshake.session_expiry(), handshake.will);
        let quota = peer.receive_maximum.min(capabilities.inflight_max.max(1));
        let Session { outbound, tokens, .. } = &mut *session;
        outbound.resume(quota, tokens, out);
        let mut open = Self {
            session,
            peer,
            keep_alive,
            inbound: None,
            requests: Requests::default(),
            inbound_aliases: None,
            outbound_aliases: outbound_aliases(&peer, capabilities),
            authentication: handshake.authentication.map(Box::new),
        };
        open.pump(now, out);
        open
    }

    /// A packet came in.
    pub(crate) fn packet<'a>(
        &mut self,
        packet: PacketRef<'a>,
        capabilities: &Capabilities,
        now: Instant,
        out: &mut Outputs<'a>,
    ) -> Result<Next, Violation> {
        self.keep_alive.touch(now);
        let durable = self.session.is_durable();
        match packet {
            Packet::Publish(publish) => {
                if let Some(route) = self.publish(publish, capabilities, out)? {
                    out.push(Output::Route(Box::new(route)));
                }
            }
            Packet::PubAck(ack) => {
                let completed = self.session.outbound.puback(ack.packet_id, ack.reason_code);
                over(completed, durable, out);
                self.pump(now, out);
            }
            Packet::PubRec(rec) => {
                let session = &mut *self.session;
                let tokens = durable.then_some(&mut session.tokens);
                let known = session.outbound.pubrec(rec.packet_id, rec.reason_code, tokens, out);
                // [MQTT-2.2.1-5] An answer to a refusal would have no end.
                if known == KnownId::No && !rec.reason_code.is_error() {
                    out.push(ack(AckKind::PubRel, rec.packet_id, not_found(self.peer.is_v5())));
                }
                self.pump(now, out);
            }
            Packet::PubRel(rel) => {
                let (inbound, mut rules) = self.inbound(capabilities);
                inbound.pubrel(rel.packet_id, &mut rules, out);
            }
            Packet::PubComp(comp) => {
                self.session.outbound.pubcomp(comp.packet_id, comp.reason_code, durable, out);
                self.pump(now, out);
            }
            Packet::Subscribe(subscribe) => {
                self.requests.subscribe(
                    &subscribe,
                    &mut self.session,
                    &self.peer,
                    capabilities,
                    out,
                )?;
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.requests.unsubscribe(
                    &unsubscribe,
                    &mut self.session,
                    &self.peer,
                    capabilities,
                    out,
                )?;
            }
            // [MQTT-3.12.4-1] [MQTT-3.12.4-1 @3.1.1]
            Packet::PingReq => out.push(Output::PingResp),
            Packet::Disconnect(disconnect) => return self.disconnect(&disconnect, capabilities),
            Packet::Auth(auth) => self.auth(&auth, out)?,
            // [MQTT-3.1.0-2] [MQTT-3.1.0-2 @3.1.1]
            Packet::Connect(_) => return Err(Violation::SecondConnect),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(Violation::ServerPacket(packet.packet_type()));
            }
        }
        Ok(Next::Stay)
    }

    /// PUBLISHes whose acknowledgement waits for the server.
    #[inline]
    pub(crate) fn withheld(&self) -> usize {
        self.inbound.as_ref().map_or(0, |inbound| inbound.withheld())
    }

    /// The server answered an [`Output::Route`].
    #[inline]
    pub(crate) fn routed(
        &mut self,
        token: Token,
        reason: ReasonCode,
        capabilities: &Capabilities,
        send: impl FnMut(Acknowledgement),
    ) {
        let (inbound, mut rules) = self.inbound(capabilities);
        inbound.routed(token, reason, &mut rules);
        inbound.flush(rules.exchanges, send);
    }

    /// The server answered an [`Output::Persist`].
    pub(crate) fn durable(&mut self, token: Token, out: &mut Outputs<'_>) {
        let Some(packet_id) = token.packet_id() else { return };
        if !token.is_outbound() {
            self.inbound.get_or_insert_default().released(
                packet_id,
                &mut self.session.exchanges,
                out,
            );
        } else if self.session.outbound.released(packet_id) {
            // [MQTT-4.3.3-4] [MQTT-4.6.0-4 @3.1.1] Answers come in the order of the changes, so of the PUBRECs.
            out.push(ack(AckKind::PubRel, packet_id, ReasonCode::Success));
        }
    }

    /// A message for the client: gives the PUBLISH to send now, if there is one.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        delivery: Delivery,
        now: Instant,
        out: &mut Outputs<'_>,
    ) -> Result<Option<Outgoing>, Violation> {
        let (session, mut sender) = self.sender(now);
        if delivery.qos > Qos::AtMostOnce {
            let durable = session.is_durable();
            return session.outbound.deliver(delivery, durable, &mut sender, out);
        }
        // [MQTT-3.3.4-10] [MQTT-4.9.0-3] [MQTT-4.3.1-1] [MQTT-4.3.1-1 @3.1.1] QoS 0 asks for no quota.
        Ok(match sender.outgoing(&delivery, None, false) {
            Ok(outgoing) => Some(outgoing),
            Err(why) => {
                out.push(Output::Dropped(Dropped { delivery, why }));
                None
            }
        })
    }

    /// PUBACK without reason code came in: gives the delivery that is over.
    #[inline]
    pub(crate) fn puback(
        &mut self,
        packet_id: PacketId,
        now: Instant,
        out: &mut Outputs<'_>,
    ) -> Option<Completed> {
        self.keep_alive.touch(now);
        let durable = self.session.is_durable();
        let completed = self.session.outbound.puback(packet_id, ReasonCode::Success)?;
        acknowledged(completed.seq, durable, out);
        self.pump(now, out);
        Some(completed)
    }

    /// PUBACKs without reason code came in: takes those at the front that answer runs.
    #[inline]
    pub(crate) fn pubacks_of_runs(
        &mut self,
        input: &[u8],
        now: Instant,
        out: &mut Outputs<'_>,
    ) -> Settled {
        let settled = self.session.outbound.pubacks_of_runs(input);
        if settled.messages > 0 {
            self.keep_alive.touch(now);
            self.pump(now, out);
        }
        settled
    }

    /// PUBCOMPs without reason code came in: takes those at the front that answer runs.
    #[inline]
    pub(crate) fn pubcomps_of_runs(
        &mut self,
        input: &[u8],
        now: Instant,
        out: &mut Outputs<'_>,
    ) -> usize {
        let over = self.session.outbound.pubcomps_of_runs(input);
        if over > 0 {
            self.keep_alive.touch(now);
            self.pump(now, out);
        }
        over
    }

    /// Whether a PUBLISH can be answered as soon as it is routed, with nothing to be noted about one of QoS 1.
    // [MQTT-2.2.1-3] [MQTT-4.6.0-2 @3.1.1] [MQTT-4.6.0-3 @3.1.1] [MQTT-3.3.4-7] Nothing is in process that the identifier of
    // one of QoS 1 could belong to, that is to be answered before it, or that counts for the Receive Maximum.
    #[inline]
    pub(crate) fn answers_at_once(&self, qos: Qos) -> bool {
        let free =
            qos > Qos::AtLeastOnce || !self.peer.is_v5() || self.session.exchanges.is_empty();
        free && self.withheld() == 0
    }

    /// A run for the client.
    #[inline]
    pub(crate) fn deliver_run(&mut self, run: Run, write: impl FnOnce(&Run)) -> Result<(), Run> {
        // Its acknowledgements are not told of one by one, so it is nothing for a session that outlives its connection; nor
        // may there be anything that each copy has of its own.
        let plain = !self.session.is_durable()
            && self.outbound_aliases.is_none()
            && run.version().is_v5() == self.peer.is_v5()
            && run.largest() <= self.peer.packet_size_max;
        if !plain {
            return Err(run);
        }
        self.session.outbound.deliver_run(run, write)
    }

    /// Sends what waited for quota.
    #[inline]
    fn pump(&mut self, now: Instant, out: &mut Outputs<'_>) {
        let (session, mut sender) = self.sender(now);
        let durable = session.is_durable();
        session.outbound.pump(durable, &mut sender, out);
    }

    /// DISCONNECT came in.
    fn disconnect(
        &mut self,
        disconnect: &Disconnect<&[u8]>,
        capabilities: &Capabilities,
    ) -> Result<Next, Violation> {
        if let Some(asked) = disconnect.session_expiry_interval.map(SessionExpiry::from_secs) {
            // [MQTT-3.14.2-2]
            if self.session.expiry().is_at_close() && !asked.is_at_close() {
                return Err(Violation::ExpiryRaised);
            }
            self.session.set_expiry(asked.at_most(capabilities.session_expiry_max));
        }
        // [MQTT-3.14.4-3] [MQTT-3.1.2-8] [MQTT-3.14.4-3 @3.1.1] Any other reason code leaves the Will standing.
        if disconnect.reason_code == ReasonCode::Success {
            self.session.drop_will();
        }
        Ok(Next::Leave(disconnect.reason_code))
    }

    /// AUTH came in.
    fn auth<'a>(&mut self, auth: &Auth<&'a [u8]>, out: &mut Outputs<'a>) -> Result<(), Violation> {
        // [MQTT-4.12.0-7]
        let authentication = self.authentication.as_mut().ok_or(Violation::AuthUnexpected)?;
        let client_id = self.session.client_id();
        let question = authentication.receive(auth, self.peer.version, client_id)?;
        out.push(Output::Authenticate(Box::new(question)));
        Ok(())
    }

    /// The server answered a step of an authentication that began on the open connection: what the client is told.
    pub(crate) fn authenticated(
        &mut self,
        data: Option<Bytes>,
        done: bool,
        out: &mut Outputs<'_>,
    ) -> Result<(), Violation> {
        let Some(authentication) =
            self.authentication.as_mut().filter(|running| running.awaits_server())
        else {
            return Ok(());
        };
        let packet = if done { authentication.succeed(data) } else { authentication.go_on(data) };
        let maximum = self.peer.packet_size_max;
        let packet = self.peer.admit(packet).ok_or(Violation::AnswerTooLarge { maximum })?;
        out.push(Output::Send(Box::new(packet)));
        Ok(())
    }

    /// The inbound side, and what of the session it works on.
    #[inline]
    pub(crate) fn inbound<'s>(
        &'s mut self,
        capabilities: &Capabilities,
    ) -> (&'s mut Inbound, Rules<'s>) {
        let durable = self.session.is_durable();
        let Session { exchanges, tokens, .. } = &mut *self.session;
        let v5 = self.peer.is_v5();
        let rules = Rules {
            exchanges,
            tokens,
            v5,
            durable,
            receive_maximum: capabilities.receive_maximum.max(1),
        };
        (self.inbound.get_or_insert_default(), rules)
    }

    #[inline]
    fn sender(&mut self, now: Instant) -> (&mut Session, Sender<'_>) {
        let sender =
            Sender { peer: &self.peer, aliases: self.outbound_aliases.as_deref_mut(), now };
        (&mut self.session, sender)
    }
}

// [MQTT-3.1.2-26] [MQTT-3.1.2-27]
fn outbound_aliases(peer: &Peer, capabilities: &Capabilities) -> Option<Box<OutboundAliases>> {
    let alias_max = peer.topic_alias_maximum.min(capabilities.topic_alias_out_maximum);
    let bounds = AliasBounds { alias_max, bytes_max: capabilities.alias_bytes_max };
    (alias_max > 0).then(|| Box::new(OutboundAliases::new(bounds)))
}

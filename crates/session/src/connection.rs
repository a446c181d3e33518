//! The front door: one client's Network Connection as a machine.

use std::sync::Arc;
use std::time::Instant;

use dunlin_codec::{ClientId, Packet, PacketId, PacketRef, Publish, Qos, ReasonCode, Version};

use crate::delivery::{Completed, Delivery, DropReason, Dropped, Outgoing, Settled};
use crate::error::Violation;
use crate::event::{Acknowledgement, Cause, End, Input, Output, Outputs, Route};
use crate::handshake::Handshake;
use crate::limits::Capabilities;
use crate::open::{Next, Open};
use crate::peer::Peer;
use crate::run::Run;
use crate::session::Session;
use crate::token::Token;

/// One client's Network Connection, from its first byte to its end.
///
/// It has no clock, no socket and no memory of its outputs: each call of [`handle`](Self::handle) consumes one input
/// completely, and pushes what is to be done to a buffer that the caller owns. See the [crate](crate) for the loop around
/// it.
#[derive(Debug)]
pub struct Connection {
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) state: State,
}

/// How far the connection has come.
///
/// ```text
/// AwaitConnect ──CONNECT──► Authenticating ──authenticated──► Attaching ──attached──► Open
///       │                        │  ▲                             │                    │
///       │                        └──┘ AUTH                        │                    │
///       └──────────────┬─────────┴────────────────────────────────┴────────────────────┘
///                      ▼  refused, violated, left, closed, lost
///                    Closed
/// ```
#[derive(Debug)]
pub(crate) enum State {
    /// No CONNECT came that could be accepted.
    AwaitConnect(Awaited),
    /// CONNECT came; who the client is remains to be shown.
    Authenticating(Box<Handshake>),
    /// The client is known; its session remains to be found.
    Attaching(Box<Handshake>),
    /// CONNACK is out.
    Open(Open),
    /// The end. Holds the session until it is taken, and what CONNECT said about the client.
    Closed { session: Option<Box<Session>>, peer: Option<Peer> },
}

/// What a connection has while it waits for CONNECT.
#[derive(Debug)]
pub(crate) struct Awaited {
    /// The randomness for an assigned Client Identifier: in bytes, so that it does not align all that is as large as this.
    pub(crate) entropy: [u8; 16],
    /// When CONNACK must be out.
    pub(crate) connect_by: Option<Instant>,
    /// What CONNECT said about the client, if it came and was not acceptable.
    pub(crate) peer: Option<Peer>,
}

impl Connection {
    /// A connection that waits for CONNECT. The entropy makes an assigned Client Identifier unguessable; it must be fresh
    /// for each connection.
    #[must_use]
    pub fn new(capabilities: Arc<Capabilities>, entropy: u128, now: Instant) -> Self {
        let connect_by =
            capabilities.connect_deadline.and_then(|deadline| now.checked_add(deadline));
        let awaited = Awaited { entropy: entropy.to_ne_bytes(), connect_by, peer: None };
        Self { capabilities, state: State::AwaitConnect(awaited) }
    }

    /// Offers the client something else now that it is known: to be called before the answer to
    /// [`Output::Authenticate`] that lets it in, so that CONNACK says it.
    ///
    /// # Errors
    ///
    /// CONNECT asked for what is not offered: to be handed to [`violated`](Self::violated).
    pub fn limit(&mut self, capabilities: Arc<Capabilities>) -> Result<(), Violation> {
        let checked = match &mut self.state {
            State::Authenticating(handshake) => handshake.limit(&capabilities),
            State::AwaitConnect(_)
            | State::Attaching(_)
            | State::Open(_)
            | State::Closed { .. } => Ok(()),
        };
        self.capabilities = capabilities;
        checked
    }

    /// Takes one input, and pushes what is to be done for it.
    ///
    /// # Errors
    ///
    /// The client broke a rule. The caller hands the violation to [`violated`](Self::violated); any other input in between
    /// is taken too.
    #[inline]
    pub fn handle<'a>(
        &mut self,
        input: Input<'a>,
        now: Instant,
        out: &mut Outputs<'a>,
    ) -> Result<(), Violation> {
        match input {
            Input::Packet(packet) => self.packet(packet, now, out),
            Input::Routed { token, reason } => {
                self.routed(token, reason, |ack| out.push(Output::Ack(ack)));
                Ok(())
            }
            Input::Deliver(delivery) => {
                if let Some(outgoing) = self.deliver(delivery, now, out)? {
                    out.push(Output::Publish(outgoing));
                }
                Ok(())
            }
            Input::Durable { token } => {
                self.durable(token, out);
                Ok(())
            }
            Input::Subscribed { token, reason_codes }
            | Input::Unsubscribed { token, reason_codes } => {
                self.answered(token, reason_codes, out)
            }
            Input::Authenticated(Ok(data)) => self.authenticated(data, out),
            Input::Authenticated(Err(reason)) => {
                self.close(&Cause::Reason(reason), now, out);
                Ok(())
            }
            Input::AuthContinue(data) => self.go_on(data, now, out),
            Input::Attached { session, session_present } => {
                self.attached(session, session_present, now, out);
                Ok(())
            }
            Input::Timeout => self.timeout(now),
            Input::Close(cause) => {
                self.close(&cause, now, out);
                Ok(())
            }
            Input::Lost => {
                self.end(End::Lost, now, out);
                Ok(())
            }
        }
    }

    /// [`Input::Packet`] with a PUBLISH, for who handles many: what is to be routed is given back, not pushed.
    ///
    /// # Errors
    ///
    /// As for [`handle`](Self::handle).
    #[inline]
    pub fn publish<'a>(
        &mut self,
        publish: Publish<&'a [u8]>,
        now: Instant,
        out: &mut Outputs<'a>,
    ) -> Result<Option<Route<'a>>, Violation> {
        if let State::Open(open) = &mut self.state {
            open.keep_alive.touch(now);
            return open.publish(publish, &self.capabilities, out);
        }
        self.packet(Packet::Publish(publish), now, out)?;
        Ok(None)
    }

    /// [`Input::Packet`] with a PUBACK that has neither reason code nor properties, for who handles many: the delivery that
    /// is over is given back, not pushed.
    #[inline]
    pub fn puback(
        &mut self,
        packet_id: PacketId,
        now: Instant,
        out: &mut Outputs<'_>,
    ) -> Option<Completed> {
        match &mut self.state {
            State::Open(open) => open.puback(packet_id, now, out),
            State::AwaitConnect(_)
            | State::Authenticating(_)
            | State::Attaching(_)
            | State::Closed { .. } => None,
        }
    }

    /// [`puback`](Self::puback) for several at once: takes those at the front of `input` that answer messages of runs in
    /// their order, each of four bytes, and says what is over.
    #[inline]
    pub fn pubacks_of_runs(
        &mut self,
        input: &[u8],
        now: Instant,
        out: &mut Outputs<'_>,
    ) -> Settled {
        match &mut self.state {
            State::Open(open) => open.pubacks_of_runs(input, now, out),
            State::AwaitConnect { .. }
            | State::Authenticating(_)
            | State::Attaching(_)
            | State::Closed { .. } => Settled::default(),
        }
    }

    /// Whether PUBLISHes that were routed may be answered at once: no answer is due before theirs. Those of QoS 1 need not even
    /// be handed in then, unless QoS 2 of a 5.0 client is in process. The caller checks their topic.
    #[inline]
    #[must_use]
    pub fn answers_at_once(&self, qos: Qos) -> bool {
        self.may_publish_at(qos) && self.open().is_some_and(|open| open.answers_at_once(qos))
    }

    /// Whether the client may publish at this QoS; what it does against that is for [`publish`](Self::publish) to answer.
    // [MQTT-3.2.2-11]
    #[inline]
    fn may_publish_at(&self, qos: Qos) -> bool {
        qos <= self.capabilities.maximum_qos
    }

    /// [`pubacks_of_runs`](Self::pubacks_of_runs) for PUBRECs, each of which `send` is to answer by PUBREL. The exchanges
    /// are not over, but their messages are not kept any more.
    #[inline]
    pub fn pubrecs_of_runs(
        &mut self,
        input: &[u8],
        now: Instant,
        send: impl FnMut(PacketId),
    ) -> Settled {
        let State::Open(open) = &mut self.state else { return Settled::default() };
        open.keep_alive.touch(now);
        open.session.outbound.pubrecs_of_runs(input, send)
    }

    /// The same for PUBCOMPs: how many there were.
    #[inline]
    pub fn pubcomps_of_runs(&mut self, input: &[u8], now: Instant, out: &mut Outputs<'_>) -> usize {
        let State::Open(open) = &mut self.state else { return 0 };
        open.pubcomps_of_runs(input, now, out)
    }

    /// Takes PUBRELs at the front of `input`, each of four bytes, as long as nothing but PUBCOMP is due for them, which
    /// `send` is to write; how many there were.
    #[inline]
    pub fn pubrels(&mut self, input: &[u8], now: Instant, send: impl FnMut(PacketId)) -> usize {
        let State::Open(open) = &mut self.state else { return 0 };
        open.keep_alive.touch(now);
        let (inbound, mut rules) = open.inbound(&self.capabilities);
        inbound.pubrels(input, &mut rules, send)
    }

    /// [`publish`](Self::publish) for the PUBLISHes of a run of `qos` with these Packet Identifiers, all of which are to be
    /// routed: pushes the tokens to be answered. `false`, and nothing is taken, if they have to be handed in one by one.
    pub fn publish_run(
        &mut self,
        qos: Qos,
        ids: impl Iterator<Item = PacketId> + Clone,
        now: Instant,
        tokens: &mut Vec<Token>,
    ) -> bool {
        if !self.may_publish_at(qos) {
            return false;
        }
        let State::Open(open) = &mut self.state else { return false };
        open.keep_alive.touch(now);
        let (inbound, mut rules) = open.inbound(&self.capabilities);
        inbound.publish_run(qos, ids, &mut rules, tokens)
    }

    /// The same for a run of QoS 2 that can be [answered at once](Self::answers_at_once), by PUBREC. Nor may the session be
    /// durable, because what came in would have to be stored.
    pub fn receive_run(
        &mut self,
        ids: impl Iterator<Item = PacketId> + Clone,
        now: Instant,
    ) -> bool {
        if !self.may_publish_at(Qos::ExactlyOnce) {
            return false;
        }
        let State::Open(open) = &mut self.state else { return false };
        open.keep_alive.touch(now);
        let (inbound, mut rules) = open.inbound(&self.capabilities);
        inbound.receive_run(ids, &mut rules)
    }

    /// [`deliver`](Self::deliver) for the messages of a run, which has its places: `write` is to send it with its
    /// [Packet Identifiers](Run::packet_ids), now.
    ///
    /// # Errors
    ///
    /// Gives the run back, if its messages have to be delivered one by one.
    #[inline]
    pub fn deliver_run(&mut self, run: Run, write: impl FnOnce(&Run)) -> Result<(), Run> {
        match &mut self.state {
            State::Open(open) => open.deliver_run(run, write),
            State::AwaitConnect { .. }
            | State::Authenticating(_)
            | State::Attaching(_)
            | State::Closed { .. } => Err(run),
        }
    }

    /// [`Input::Routed`], for who handles many: the acknowledgements to write now are given to `send`, not pushed.
    #[inline]
    pub fn routed(&mut self, token: Token, reason: ReasonCode, send: impl FnMut(Acknowledgement)) {
        match &mut self.state {
            State::Open(open) => open.routed(token, reason, &self.capabilities, send),
            State::Closed { session: Some(session), .. } => session.routed(token, reason),
            State::AwaitConnect(_)
            | State::Authenticating(_)
            | State::Attaching(_)
            | State::Closed { session: None, .. } => {}
        }
    }

    /// [`Input::Deliver`], for who handles many: the PUBLISH to write now is given back, not pushed.
    ///
    /// # Errors
    ///
    /// As for [`handle`](Self::handle).
    #[inline]
    pub fn deliver(
        &mut self,
        delivery: Delivery,
        now: Instant,
        out: &mut Outputs<'_>,
    ) -> Result<Option<Outgoing>, Violation> {
        match &mut self.state {
            State::Open(open) => return open.deliver(delivery, now, out),
            // It came while the connection ended: the next one sends it.
            State::Closed { session: Some(session), .. } if delivery.qos > Qos::AtMostOnce => {
                session.outbound.queue(delivery);
            }
            State::AwaitConnect(_)
            | State::Authenticating(_)
            | State::Attaching(_)
            | State::Closed { .. } => {
                out.push(Output::Dropped(Dropped { delivery, why: DropReason::NotConnected }));
            }
        }
        Ok(None)
    }

    /// Whether the next packet may be handed in. While it may not, it is kept unread: the server has to answer first, or
    /// the client sent more than it has room for.
    #[inline]
    #[must_use]
    pub fn accepts_packets(&self) -> bool {
        match &self.state {
            State::AwaitConnect(_) => true,
            // [MQTT-3.1.2-30] [MQTT-3.1.4-6] What came behind CONNECT waits for CONNACK, and is never seen after a refusal.
            State::Authenticating(handshake) => {
                handshake.authentication.as_ref().is_some_and(|running| running.awaits_client())
            }
            State::Open(open) => open.requests.accept() && !self.receive_overrun(),
            State::Attaching(_) | State::Closed { .. } => false,
        }
    }

    /// When [`Input::Timeout`] is due: CONNACK is late, or the client silent.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::AwaitConnect(awaited) => awaited.connect_by,
            State::Authenticating(handshake) | State::Attaching(handshake) => handshake.connect_by,
            State::Open(open) => open.keep_alive.deadline(),
            State::Closed { .. } => None,
        }
    }

    /// A whole packet arrived that is not handed in, such as a QoS 0 PUBLISH that is forwarded as it is.
    #[inline]
    pub fn touch(&mut self, now: Instant) {
        if let State::Open(open) = &mut self.state {
            open.keep_alive.touch(now);
        }
    }

    /// The server does not read for a while: silence is not the client's.
    pub fn pause_keep_alive(&mut self) {
        if let State::Open(open) = &mut self.state {
            open.keep_alive.pause();
        }
    }

    /// The server reads again: the Keep Alive starts anew.
    pub fn resume_keep_alive(&mut self, now: Instant) {
        if let State::Open(open) = &mut self.state {
            open.keep_alive.resume(now);
        }
    }

    /// The client's version, once CONNECT told it.
    #[inline]
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.peer().map(|peer| peer.version)
    }

    /// The Client Identifier, once CONNECT told it or one was assigned.
    #[must_use]
    pub fn client_id(&self) -> Option<&ClientId> {
        match &self.state {
            State::AwaitConnect(_) => None,
            State::Authenticating(handshake) | State::Attaching(handshake) => {
                Some(&handshake.client_id)
            }
            State::Open(open) => Some(open.session.client_id()),
            State::Closed { session, .. } => session.as_deref().map(Session::client_id),
        }
    }

    /// Whether CONNACK is out and the connection goes on.
    #[inline]
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the connection ended.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// What is offered to the client.
    #[inline]
    #[must_use]
    pub const fn capabilities(&self) -> &Arc<Capabilities> {
        &self.capabilities
    }

    /// Other bounds hold from the next packet on. What CONNACK announces is to be as it was, because the client keeps to that.
    pub fn set_capabilities(&mut self, capabilities: Arc<Capabilities>) {
        self.capabilities = capabilities;
    }

    /// How many more messages with QoS above 0 may be delivered now.
    // [MQTT-3.3.4-9] [MQTT-4.9.0-2]
    #[inline]
    #[must_use]
    pub fn send_quota(&self) -> u16 {
        self.open().map_or(0, |open| open.session.outbound.available())
    }

    /// How many messages with QoS above 0 were handed over and are not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.session().map_or(0, Session::inflight_len)
    }

    /// How many PUBLISHes wait for the server's answer, so that their acknowledgement is withheld.
    #[inline]
    #[must_use]
    pub fn inbound_pending(&self) -> usize {
        self.open().map_or(0, |open| open.withheld())
    }

    /// Whether a 3.x client, which knows no Receive Maximum, has as many PUBLISHes waiting for the server as it would
    /// allow. Then the caller reads no further until some are answered.
    #[inline]
    #[must_use]
    pub fn receive_overrun(&self) -> bool {
        let maximum = usize::from(self.capabilities.receive_maximum.max(1));
        self.open().is_some_and(|open| !open.peer.is_v5() && open.withheld() >= maximum)
    }

    /// The largest packet the client takes; `u32::MAX` if it set no limit.
    #[must_use]
    pub fn peer_packet_size_max(&self) -> u32 {
        self.peer().map_or(u32::MAX, |peer| peer.packet_size_max)
    }

    /// The highest Topic Alias the client takes.
    #[must_use]
    pub fn peer_topic_alias_maximum(&self) -> u16 {
        self.peer().map_or(0, |peer| peer.topic_alias_maximum)
    }

    /// The session, while the connection is open and until it is taken.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        match &self.state {
            State::Open(open) => Some(&open.session),
            State::Closed { session, .. } => session.as_deref(),
            State::AwaitConnect(_) | State::Authenticating(_) | State::Attaching(_) => None,
        }
    }

    /// The session, to be changed by the server's will.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Open(open) => Some(&mut open.session),
            State::Closed { session, .. } => session.as_deref_mut(),
            State::AwaitConnect(_) | State::Authenticating(_) | State::Attaching(_) => None,
        }
    }

    /// Takes the session out of a connection that ended, to be parked, with the times of its Will and its end set; or to
    /// be ended, if [that time](Session::has_ended) has come.
    pub fn detach(&mut self) -> Option<Box<Session>> {
        match &mut self.state {
            State::Closed { session, .. } => session.take(),
            State::AwaitConnect(_)
            | State::Authenticating(_)
            | State::Attaching(_)
            | State::Open(_) => None,
        }
    }

    /// What CONNECT said about the client, once it came.
    #[inline]
    pub(crate) const fn peer(&self) -> Option<&Peer> {
        match &self.state {
            State::AwaitConnect(awaited) => awaited.peer.as_ref(),
            State::Authenticating(handshake) | State::Attaching(handshake) => Some(&handshake.peer),
            State::Open(open) => Some(&open.peer),
            State::Closed { peer, .. } => peer.as_ref(),
        }
    }

    #[inline]
    const fn open(&self) -> Option<&Open> {
        match &self.state {
            State::Open(open) => Some(open),
            State::AwaitConnect(_)
            | State::Authenticating(_)
            | State::Attaching(_)
            | State::Closed { .. } => None,
        }
    }

    #[inline]
    fn packet<'a>(
        &mut self,
        packet: PacketRef<'a>,
        now: Instant,
        out: &mut Outputs<'a>,
    ) -> Result<(), Violation> {
        match &mut self.state {
            State::Open(open) => match open.packet(packet, &self.capabilities, now, out)? {
                Next::Stay => {}
                // [MQTT-3.14.4-2] [MQTT-3.14.4-1 @3.1.1]
                Next::Leave(reason) => self.end(End::Disconnected(reason), now, out),
            },
            State::AwaitConnect(_) => return self.first_packet(packet, out),
            State::Authenticating(_) => return self.packet_before_connack(packet, now, out),
            State::Attaching(_) => return Err(Violation::BeforeConnAck(packet.packet_type())),
            // [MQTT-3.14.4-1] [MQTT-3.1.4-6] [MQTT-3.14.4-2 @3.1.1] [MQTT-3.1.4-5 @3.1.1]
            State::Closed { .. } => {}
        }
        Ok(())
    }

    fn durable(&mut self, token: Token, out: &mut Outputs<'_>) {
        match &mut self.state {
            State::Open(open) => open.durable(token, out),
            State::Closed { session: Some(session), .. } => session.durable(token),
            State::AwaitConnect(_)
            | State::Authenticating(_)
            | State::Attaching(_)
            | State::Closed { session: None, .. } => {}
        }
    }

    fn answered(
        &mut self,
        token: Token,
        reason_codes: Vec<ReasonCode>,
        out: &mut Outputs<'_>,
    ) -> Result<(), Violation> {
        match &mut self.state {
            State::Open(Open { requests, session, peer, .. }) => {
                requests.answered(token, reason_codes, session, peer, &self.capabilities, out)
            }
            State::Closed { session: Some(session), .. } => {
                session.answered(token, reason_codes);
                Ok(())
            }
            State::AwaitConnect(_)
            | State::Authenticating(_)
            | State::Attaching(_)
            | State::Closed { session: None, .. } => Ok(()),
        }
    }

    fn timeout(&self, now: Instant) -> Result<(), Violation> {
        match &self.state {
            State::AwaitConnect(_) | State::Authenticating(_) | State::Attaching(_) => {
                match self.next_deadline() {
                    Some(deadline) if deadline <= now => Err(Violation::ConnectTimeout),
                    _ => Ok(()),
                }
            }
            State::Open(open) => open.keep_alive.check(now),
            State::Closed { .. } => Ok(()),
        }
    }
}

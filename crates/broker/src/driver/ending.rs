//! How a connection ends, whoever ends it: the session is given back at once, what was said last is still written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dunlin_codec::{DecodeError, ReasonCode, Version, peek_connect_level};
use dunlin_session::{Cause, End, Input, Outputs, Violation};
use dunlin_transport::{Farewell, Refusal, Refused, Sniffed, sniff};

use crate::attach::park;
use crate::buffers;
use crate::end::{ConnectionEnd, EndReason};
use crate::fanout::Staging;
use crate::hooks::guarded;
use crate::metrics::{add, sub};
use crate::persist::{Entry, Write};

use super::opening::Pending;
use super::requests::Request;
use super::{Driver, State};

/// After the last packet was written: how long the peer may take to close, so that it can still read what it was told.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// How long a connection that gave its session up may take to write what it has to say.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// What the record of the end will say.
#[derive(Debug)]
pub(super) struct EndNote {
    reason: EndReason,
    rule: Option<&'static str>,
    detail: String,
    farewell: Farewell,
    /// When the socket closes, written or not.
    closes_at: Option<Instant>,
}

impl EndNote {
    fn lost() -> Self {
        Self {
            reason: EndReason::ConnectionLost,
            rule: None,
            detail: String::new(),
            farewell: Farewell::Done,
            closes_at: None,
        }
    }
}

impl Driver {
    pub(super) fn malformed(
        &mut self,
        error: DecodeError,
        input: &[u8],
        staging: &mut Staging,
        now: Instant,
    ) {
        self.note_foreign(input, now);
        self.refused_as = error.version().unwrap_or_else(|| version_that_understands(input));
        let mut out = Outputs::new();
        self.machine.violated(Violation::from(error), now, &mut out);
        self.carry_out_all(&mut out, staging, now);
    }

    /// A client that begins with TLS, HTTP or a PROXY header where plain MQTT is spoken is at the wrong port, which is worth a
    /// line.
    fn note_foreign(&self, input: &[u8], now: Instant) {
        if self.mailbox.is_some() || self.packets_received > 0 {
            return;
        }
        let why = match sniff(input) {
            Some(Sniffed::Tls) => Refusal::TlsOnPlain,
            Some(Sniffed::Http) => Refusal::HttpOnPlain,
            Some(Sniffed::Proxy) => Refusal::ProxyUnexpected,
            Some(Sniffed::Mqtt | Sniffed::Unknown) | None => return,
        };
        self.core.counters.refused(why);
        let refused = Refused::new(why, self.remote.address());
        self.core.refusals.log(self.listener.name(), &refused, now);
    }

    /// The broker wants the connection closed.
    pub(super) fn evict(&mut self, reason: EndReason, staging: &mut Staging, now: Instant) {
        if self.state != State::Open {
            return;
        }
        self.evicted = Some(reason);
        let cause = match reason {
            EndReason::TakenOver => Cause::TakenOver,
            EndReason::ShuttingDown => Cause::ShuttingDown,
            EndReason::QueueOverflow | EndReason::LimitLowered => {
                Cause::Reason(ReasonCode::QuotaExceeded)
            }
            EndReason::Kicked | EndReason::ListenerRemoved | EndReason::Banned => {
                Cause::Reason(ReasonCode::AdministrativeAction)
            }
            EndReason::AuthenticationExpired | EndReason::NotAuthorized => {
                Cause::Reason(ReasonCode::NotAuthorized)
            }
            EndReason::OverRate => Cause::Reason(ReasonCode::MessageRateTooHigh),
            EndReason::StoreFailed
            | EndReason::OutOfMemory
            | EndReason::Panicked
            | EndReason::ClientDisconnected
            | EndReason::ConnectionLost
            | EndReason::KeepAliveTimeout
            | EndReason::ConnectTimeout
            | EndReason::Violation
            | EndReason::Refused
            | EndReason::WriteStalled => Cause::Reason(ReasonCode::UnspecifiedError),
        };
        self.feed(Input::Close(cause), staging, now);
    }

    pub(super) fn panicked(&mut self, staging: &mut Staging, now: Instant) {
        add(&self.core.counters.hook_panics, 1);
        tracing::error!(
            event = "hook_panic",
            client_id = self.client_id(),
            "a hook panicked; its connection is closed"
        );
        self.evict(EndReason::Panicked, staging, now);
    }

    /// The machine is done: the session is parked at once, and what was said last is still written.
    pub(super) fn close(&mut self, end: End, now: Instant) {
        let (reason, rule, detail) = describe(end, self.evicted, self.machine.version());
        self.note_end(reason, rule, detail);
        if let (End::Violated(violation), Some(note)) = (end, &mut self.ended)
            && violation.reason_code() == ReasonCode::PacketTooLarge
        {
            note.farewell = Farewell::TooBig;
        }
        self.release(now);
        if self.state == State::Open {
            let closing_max = if self.core.is_closing() {
                self.core.config().limits.shutdown_drain_max
            } else {
                CLOSING_MAX
            };
            self.state = State::Closing;
            self.closes_by(now + closing_max);
        }
    }

    pub(super) fn closed_by_peer(&mut self, staging: &mut Staging, now: Instant) {
        self.note_end(EndReason::ConnectionLost, None, "closed by the peer".to_owned());
        self.feed(Input::Lost, staging, now);
        self.abandon(now);
    }

    pub(super) fn lost(&mut self, error: &io::Error, now: Instant) {
        #[cfg(feature = "websocket")]
        if let Some(violation) = dunlin_transport::websocket::violation(error) {
            // The client is there, and is told by a close frame what it did. MQTT has nothing more to say to it.
            self.note_end(EndReason::Violation, Some(violation.spec()), violation.to_string());
            self.give_up(now);
            self.writer.clear();
            self.state = State::Closing;
            self.closes_by(now + CLOSING_MAX);
            return;
        }
        self.note_end(EndReason::ConnectionLost, None, error.to_string());
        self.abandon(now);
    }

    /// Nothing more can be said to the peer.
    pub(super) fn abandon(&mut self, now: Instant) {
        self.give_up(now);
        self.state = State::Closed;
    }

    /// Gives the session back as that of a client that went without a word.
    fn give_up(&mut self, now: Instant) {
        if !self.machine.is_closed() {
            let mut staging = Staging::default();
            self.feed(Input::Lost, &mut staging, now);
            self.hand_all_in(&mut staging);
        }
        self.release(now);
    }

    /// What a layer that has words for it tells the peer.
    pub(super) fn farewell(&self) -> Farewell {
        self.ended.as_ref().map_or(Farewell::Done, |note| note.farewell)
    }

    /// Gives the session back.
    pub(super) fn release(&mut self, now: Instant) {
        // Whatever ends the connection, what it has sent goes first.
        self.hand_all_in(&mut Staging::default());
        if let Some(mailbox) = self.mailbox.as_ref().filter(|_| std::mem::take(&mut self.stored)) {
            // What it sent is decided on before this; what is held then was never acknowledged.
            let left = vec![Entry::Left(mailbox.session_no)];
            self.core.submit_later(Write::new(&self.core, Some(Arc::clone(mailbox)), left));
        }
        let pending = self.pending.take();
        self.opening = None;
        // Before the session is anybody else's: who takes it over finds the place free.
        self.quota = None;
        let mut requests = Vec::new();
        let mut braked = Vec::new();
        if let Some(mut busy) = self.busy.take() {
            braked = std::mem::take(&mut busy.braked);
            busy.count_waits(self.counters(), now);
            requests = busy.requests;
            if let Some(mailbox) = self.mailbox.as_ref().filter(|_| !busy.replays.is_empty()) {
                mailbox.add_replays(busy.replays);
            }
        }
        let session = self.machine.detach();
        if let (Some(mut session), Some(mailbox)) = (session, self.mailbox.clone()) {
            // The client will not see the answers, but what was asked holds.
            mailbox.settle(std::mem::take(&mut self.settled));
            if let Some(Pending::Subscribe { token, filters, .. }) = pending.as_deref() {
                requests.push(Request::refused(*token, *filters));
            }
            for (token, reason) in braked {
                session.routed(token, reason);
            }
            for request in requests {
                request.settle(&mut session);
            }
            sub(&self.core.counters.clients_connected, 1);
            sub(&mailbox.namespace.counters.clients_connected, 1);
            park(&self.core, &mailbox, session, now);
        }
        self.listener.places.handshake_over(&mut self.in_handshake);
    }

    /// Sets the time at which a connection that has ended closes its socket.
    pub(super) fn closes_by(&mut self, at: Instant) {
        self.ended.get_or_insert_with(|| Box::new(EndNote::lost())).closes_at = Some(at);
    }

    pub(super) fn closing_deadline(&self) -> Option<Instant> {
        self.ended.as_ref().filter(|_| self.state != State::Open)?.closes_at
    }

    pub(super) fn note_end(
        &mut self,
        reason: EndReason,
        rule: Option<&'static str>,
        detail: String,
    ) {
        let farewell = farewell(reason);
        self.ended.get_or_insert_with(|| {
            Box::new(EndNote { reason, rule, detail, farewell, closes_at: None })
        });
    }

    /// After the last packet: reads on so that the peer's system does not throw away what it was told.
    pub(super) fn poll_linger(
        &mut self,
        read: &mut Vec<u8>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> bool {
        if self.closing_deadline().is_some_and(|at| at <= now) {
            self.state = State::Closed;
            return false;
        }
        buffers::whole(read);
        match self.socket.poll_read(cx, read) {
            Poll::Ready(Ok(1..)) => true,
            Poll::Ready(_) => {
                self.state = State::Closed;
                false
            }
            Poll::Pending => false,
        }
    }
}

impl Drop for Driver {
    /// However the task ends, by a panic too: the session is parked and the end recorded.
    fn drop(&mut self) {
        let now = Instant::now();
        if self.state == State::Open {
            let reason = match (std::thread::panicking(), self.core.is_closing()) {
                (true, _) => EndReason::Panicked,
                (false, true) => EndReason::ShuttingDown,
                (false, false) => EndReason::ConnectionLost,
            };
            self.note_end(reason, None, String::new());
            self.abandon(now);
        }
        let core = Arc::clone(&self.core);
        core.alarms.cancel(&mut self.alarm, self.began);
        let mailbox = self.mailbox.clone();
        let counters =
            mailbox.as_ref().map_or(&core.counters, |mailbox| &mailbox.namespace.counters);
        self.writer.report(counters);
        sub(&core.counters.connections_open, 1);
        self.core.connections.fetch_sub(1, Ordering::Relaxed);
        self.listener.places.connection_over();
        let EndNote { reason, rule, detail, .. } =
            self.ended.take().map_or_else(EndNote::lost, |note| *note);
        counters.ended(reason);
        let end = ConnectionEnd {
            client_id: self.client_id().to_owned(),
            tenant: mailbox.as_ref().map(|mailbox| Arc::clone(&mailbox.namespace.name)),
            address: self.remote.address(),
            listener: Arc::clone(self.listener.name()),
            transport: self.remote.transport(),
            version: self.machine.version(),
            reason,
            rule,
            detail,
            duration: now
                .saturating_duration_since(core.started + Duration::from_nanos(self.began)),
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

/// The version in whose form a CONNECT that could not be read is refused. [MQTT-3.1.2-2] [MQTT-3.1.2-2 @3.1.1]
fn version_that_understands(input: &[u8]) -> Version {
    // The highest bit of the level marks bridges, in a convention older than 5.0.
    match peek_connect_level(input).map(|level| level & 0x7F) {
        Some(..5) => Version::V3_1_1,
        Some(5..) | None => Version::V5,
    }
}

/// What a layer that has words for it says at an end for this reason.
fn farewell(reason: EndReason) -> Farewell {
    match reason {
        EndReason::ClientDisconnected
        | EndReason::ConnectionLost
        | EndReason::KeepAliveTimeout
        | EndReason::ConnectTimeout
        | EndReason::WriteStalled => Farewell::Done,
        EndReason::ShuttingDown | EndReason::ListenerRemoved => Farewell::GoingAway,
        EndReason::Violation => Farewell::ProtocolError,
        EndReason::TakenOver
        | EndReason::Refused
        | EndReason::QueueOverflow
        | EndReason::Kicked
        | EndReason::AuthenticationExpired
        | EndReason::NotAuthorized
        | EndReason::OverRate
        | EndReason::Banned
        | EndReason::LimitLowered => Farewell::Refused,
        EndReason::Panicked | EndReason::StoreFailed | EndReason::OutOfMemory => Farewell::Failed,
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
            let reason = if matches!(violation, Violation::KeepAliveTimeout { .. }) {
                EndReason::KeepAliveTimeout
            } else if violation == Violation::ConnectTimeout {
                EndReason::ConnectTimeout
            } else {
                EndReason::Violation
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

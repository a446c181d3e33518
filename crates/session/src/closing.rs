//! How a connection ends, and what the client is told.

use std::mem;
use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::{
    ConnAck, DecodeErrorKind, Disconnect, Packet, PacketType, ReasonCode, Text, Version,
};

use crate::connection::{Connection, State};
use crate::error::Violation;
use crate::event::{Cause, End, Output, Outputs};
use crate::peer::Peer;

impl Connection {
    /// The client broke a rule, found here or by the decoder: it is told as far as its version allows, and the connection
    /// ends.
    // [MQTT-4.13.1-1] [MQTT-4.13.2-1] [MQTT-4.8.0-1 @3.1.1]
    pub fn violated(&mut self, violation: Violation, now: Instant, out: &mut Outputs<'_>) {
        let peer = self.peer().copied().or_else(|| peer_of(&violation));
        let told = match (&self.state, peer) {
            (State::Open(open), _) => farewell(Reason::of(&violation), &open.peer),
            (State::Closed { .. }, _) | (_, None) => None,
            (_, Some(peer)) if is_answered(&violation) => refusal(Reason::of(&violation), &peer),
            (_, Some(_)) => None,
        };
        send(told, out);
        self.end(End::Violated(violation), now, out);
    }

    /// The server ends the connection, or refuses it.
    // [MQTT-3.1.4-3] [MQTT-3.1.4-2 @3.1.1] [MQTT-4.12.0-4] [MQTT-4.12.1-2]
    pub(crate) fn close(&mut self, cause: &Cause, now: Instant, out: &mut Outputs<'_>) {
        let code = cause.reason_code();
        let reason =
            Reason { code, words: None, server_reference: cause.server_reference().cloned() };
        let (told, end) = match (&self.state, self.peer()) {
            (State::Open(open), _) => (farewell(reason, &open.peer), End::Closed(code)),
            (State::Closed { .. }, _) | (_, None) => (None, End::Refused(code)),
            // [MQTT-3.14.0-1] Before CONNACK there is no DISCONNECT.
            (_, Some(peer)) => (refusal(reason, peer), End::Refused(code)),
        };
        send(told, out);
        self.end(end, now, out);
    }

    /// Ends the connection: the Will goes out or waits, and the session can be taken.
    pub(crate) fn end(&mut self, end: End, now: Instant, out: &mut Outputs<'_>) {
        let peer = self.peer().copied();
        let session = match mem::replace(&mut self.state, State::Closed { session: None, peer }) {
            State::Open(open) => {
                let mut session = open.session;
                session.keep_unanswered(open.requests.into_given_out());
                session.detach(now, out);
                Some(session)
            }
            State::AwaitConnect(_) | State::Authenticating(_) | State::Attaching(_) => None,
            closed @ State::Closed { .. } => {
                self.state = closed;
                return;
            }
        };
        self.state = State::Closed { session, peer };
        out.push(Output::Close(end));
    }
}

fn send(packet: Option<Packet<Bytes>>, out: &mut Outputs<'_>) {
    if let Some(packet) = packet {
        out.push(Output::Send(Box::new(packet)));
    }
}

/// What a client is told about the end.
struct Reason {
    code: ReasonCode,
    words: Option<Text>,
    server_reference: Option<Text>,
}

impl Reason {
    fn of(violation: &Violation) -> Self {
        let words = Text::copy_from(&violation.to_string()).ok();
        Self { code: violation.reason_code(), words, server_reference: None }
    }
}

/// The DISCONNECT for a 5.0 client; a 3.x client knows none from a server.
// [MQTT-3.14.2-1] [MQTT-3.14.2-2]
fn farewell(reason: Reason, peer: &Peer) -> Option<Packet<Bytes>> {
    if !peer.is_v5() {
        return None;
    }
    let listed = reason.code.is_allowed_in(PacketType::Disconnect);
    let code = if listed { reason.code } else { ReasonCode::UnspecifiedError };
    let mut disconnect = Disconnect::new(code);
    disconnect.server_reference = reason.server_reference;
    disconnect.reason_string = reason.words;
    peer.admit(Packet::Disconnect(disconnect))
}

/// The CONNACK that refuses, if the client's version has one for this reason.
// [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8]
// [MQTT-3.2.2-4 @3.1.1] [MQTT-3.2.2-5 @3.1.1] [MQTT-3.2.2-6 @3.1.1]
fn refusal(reason: Reason, peer: &Peer) -> Option<Packet<Bytes>> {
    let code = in_connack(reason.code);
    let mut connack = ConnAck::new(false, code);
    if peer.is_v5() {
        connack.properties.server_reference = reason.server_reference;
        connack.properties.reason_string = reason.words;
    } else {
        code.connect_return_code()?;
    }
    peer.admit(Packet::ConnAck(connack))
}

/// The code that comes nearest in CONNACK to one that is not listed for it.
fn in_connack(code: ReasonCode) -> ReasonCode {
    if code.is_error() && code.is_allowed_in(PacketType::ConnAck) {
        code
    } else if code == ReasonCode::ServerShuttingDown {
        ReasonCode::ServerUnavailable
    } else {
        ReasonCode::UnspecifiedError
    }
}

/// Whether a client that is not connected yet gets any answer.
fn is_answered(violation: &Violation) -> bool {
    !matches!(
        violation,
        // [MQTT-3.1.0-1] [MQTT-3.1.0-1 @3.1.1] It may be no MQTT client at all.
        Violation::ConnectExpected(_)
            | Violation::ConnectTimeout
            // [MQTT-3.1.2-24]
            | Violation::ConnAckTooLarge { .. }
    )
}

/// What is known of a client whose CONNECT could not be decoded: its version, perhaps.
fn peer_of(violation: &Violation) -> Option<Peer> {
    let Violation::Malformed(error) = violation else { return None };
    if error.packet_type() != Some(PacketType::Connect) {
        return None;
    }
    let version = match (error.version(), error.kind()) {
        (Some(version), _) => version,
        // [MQTT-3.1.2-2] [MQTT-3.1.2-2 @3.1.1] It is told in the form that it may understand.
        (None, DecodeErrorKind::ProtocolLevel { level }) if level >= Version::V5.level() => {
            Version::V5
        }
        (None, DecodeErrorKind::ProtocolLevel { .. }) => Version::V3_1_1,
        (None, _) => return None,
    };
    Some(Peer::unknown(version))
}

//! The connection until CONNACK.

use std::mem;
use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::{Auth, Connect, Packet, PacketRef, ReasonCode};

use crate::connection::{Connection, State};
use crate::error::Violation;
use crate::event::{Cause, End, Output, Outputs};
use crate::handshake::Handshake;
use crate::open::Open;
use crate::peer::Peer;
use crate::session::Session;

impl Connection {
    /// The first packet came in.
    pub(crate) fn first_packet<'a>(
        &mut self,
        packet: PacketRef<'a>,
        out: &mut Outputs<'a>,
    ) -> Result<(), Violation> {
        // [MQTT-3.1.0-1] [MQTT-3.1.0-1 @3.1.1]
        let Packet::Connect(connect) = packet else {
            return Err(Violation::ConnectExpected(packet.packet_type()));
        };
        self.connect(&connect, out)
    }

    fn connect<'a>(
        &mut self,
        connect: &Connect<&'a [u8]>,
        out: &mut Outputs<'a>,
    ) -> Result<(), Violation> {
        let State::AwaitConnect(awaited) = &mut self.state else { return Ok(()) };
        // Known first, so that even a refusal keeps to what the client takes.
        awaited.peer = Some(Peer::of(connect));
        let handshake = Handshake::begin(connect, &self.capabilities, awaited)?;
        out.push(Output::Authenticate(Box::new(handshake.authenticate(connect))));
        self.state = State::Authenticating(Box::new(handshake));
        Ok(())
    }

    /// A packet came in while the client is being authenticated.
    pub(crate) fn packet_before_connack<'a>(
        &mut self,
        packet: PacketRef<'a>,
        now: Instant,
        out: &mut Outputs<'a>,
    ) -> Result<(), Violation> {
        if let Packet::Auth(auth) = &packet {
            return self.auth_before_connack(auth, out);
        }
        // [MQTT-3.1.2-30]
        let Packet::Disconnect(disconnect) = packet else {
            return Err(Violation::BeforeConnAck(packet.packet_type()));
        };
        // The client gave up. Its Will was never accepted.
        self.end(End::Disconnected(disconnect.reason_code), now, out);
        Ok(())
    }

    fn auth_before_connack<'a>(
        &mut self,
        auth: &Auth<&'a [u8]>,
        out: &mut Outputs<'a>,
    ) -> Result<(), Violation> {
        let State::Authenticating(handshake) = &mut self.state else { return Ok(()) };
        let Handshake { authentication, client_id, peer, .. } = &mut **handshake;
        // [MQTT-4.12.0-7]
        let authentication = authentication.as_mut().ok_or(Violation::AuthUnexpected)?;
        let question = authentication.receive(auth, peer.version, client_id)?;
        out.push(Output::Authenticate(Box::new(question)));
        Ok(())
    }

    /// The client is who it says it is.
    pub(crate) fn authenticated(
        &mut self,
        data: Option<Bytes>,
        out: &mut Outputs<'_>,
    ) -> Result<(), Violation> {
        match mem::replace(&mut self.state, State::Closed { session: None, peer: None }) {
            State::Authenticating(mut handshake) => {
                let attach = handshake.authenticated(data, &self.capabilities);
                self.state = State::Attaching(handshake);
                out.push(Output::Attach(Box::new(attach?)));
                Ok(())
            }
            State::Open(mut open) => {
                let told = open.authenticated(data, true, out);
                self.state = State::Open(open);
                told
            }
            other @ (State::AwaitConnect(_) | State::Attaching(_) | State::Closed { .. }) => {
                self.state = other;
                Ok(())
            }
        }
    }

    /// The authentication needs another step.
    pub(crate) fn go_on(
        &mut self,
        data: Option<Bytes>,
        now: Instant,
        out: &mut Outputs<'_>,
    ) -> Result<(), Violation> {
        match &mut self.state {
            State::Authenticating(handshake) => {
                let Some(authentication) = handshake.authentication.as_mut() else {
                    // [MQTT-4.12.0-6] There is no method to go on with.
                    self.close(&Cause::Reason(ReasonCode::BadAuthenticationMethod), now, out);
                    return Ok(());
                };
                let maximum = handshake.peer.packet_size_max;
                let packet = handshake.peer.admit(authentication.go_on(data));
                let packet = packet.ok_or(Violation::AnswerTooLarge { maximum })?;
                out.push(Output::Send(Box::new(packet)));
                Ok(())
            }
            State::Open(open) => open.authenticated(data, false, out),
            State::AwaitConnect(_) | State::Attaching(_) | State::Closed { .. } => Ok(()),
        }
    }

    /// The session is there: CONNACK goes out.
    pub(crate) fn attached(
        &mut self,
        mut session: Box<Session>,
        session_present: bool,
        now: Instant,
        out: &mut Outputs<'_>,
    ) {
        match mem::replace(&mut self.state, State::Closed { session: None, peer: None }) {
            State::Attaching(mut handshake) => {
                // [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.2.0-1 @3.1.1] CONNACK comes before what is repeated.
                out.push(Output::Send(Box::new(handshake.accept(session_present))));
                self.state =
                    State::Open(Open::begin(*handshake, session, &self.capabilities, now, out));
            }
            // The connection ended while its session was looked for. It never was this connection's, so that it is
            // given back as another one left it; a new one ends.
            State::Closed { peer, .. } => {
                session.detach(now, out);
                self.state = State::Closed { session: Some(session), peer };
            }
            other @ (State::AwaitConnect(_) | State::Authenticating(_) | State::Open(_)) => {
                debug_assert!(false, "a session nobody asked for");
                self.state = other;
            }
        }
    }
}

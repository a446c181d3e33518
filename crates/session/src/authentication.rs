//! Enhanced authentication: whose turn it is in the exchange of AUTH packets.

use bytes::Bytes;
use dunlin_codec::{Auth, ClientId, Packet, ReasonCode, Text, Version};

use crate::error::Violation;
use crate::event::{AuthStep, Authenticate};

/// The exchange of one Network Connection whose CONNECT named a method.
#[derive(Debug)]
pub(crate) struct Authentication {
    method: Text,
    turn: Turn,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    /// The server has to say what follows.
    Server,
    /// The client has to send AUTH 0x18.
    Client,
    /// It is authenticated, and may begin anew by AUTH 0x19.
    Done,
}

impl Authentication {
    /// CONNECT came in.
    pub(crate) const fn begin(method: Text) -> Self {
        Self { method, turn: Turn::Server }
    }

    pub(crate) const fn method(&self) -> &Text {
        &self.method
    }

    /// Whether the client is to send AUTH.
    pub(crate) fn awaits_client(&self) -> bool {
        self.turn == Turn::Client
    }

    /// Whether the server is to answer.
    pub(crate) fn awaits_server(&self) -> bool {
        self.turn == Turn::Server
    }

    /// AUTH came in: the question to the server.
    pub(crate) fn receive<'a>(
        &mut self,
        auth: &Auth<&'a [u8]>,
        version: Version,
        client_id: &ClientId,
    ) -> Result<Authenticate<'a>, Violation> {
        // [MQTT-4.12.0-5] [MQTT-4.12.1-1]
        if auth.method != Some(self.method.as_str()) {
            return Err(Violation::AuthMethodChanged);
        }
        let step = match (self.turn, auth.reason_code) {
            // [MQTT-4.12.0-3]
            (Turn::Client, ReasonCode::ContinueAuthentication) => AuthStep::Continue,
            (Turn::Done, ReasonCode::ReAuthenticate) => AuthStep::Again,
            (Turn::Server | Turn::Client | Turn::Done, _) => return Err(Violation::AuthReason),
        };
        self.turn = Turn::Server;
        Ok(Authenticate {
            version,
            client_id: client_id.clone(),
            user_name: None,
            password: None,
            method: Some(self.method.clone()),
            data: auth.data,
            step,
        })
    }

    /// The AUTH that asks the client for another step.
    // [MQTT-4.12.0-2]
    pub(crate) fn go_on(&mut self, data: Option<Bytes>) -> Packet<Bytes> {
        self.turn = Turn::Client;
        self.packet(ReasonCode::ContinueAuthentication, data)
    }

    /// The client is authenticated; on an open connection it is told by AUTH.
    pub(crate) fn succeed(&mut self, data: Option<Bytes>) -> Packet<Bytes> {
        self.turn = Turn::Done;
        self.packet(ReasonCode::Success, data)
    }

    // [MQTT-4.12.0-5] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
    fn packet(&self, reason_code: ReasonCode, data: Option<Bytes>) -> Packet<Bytes> {
        Packet::Auth(Auth {
            reason_code,
            method: Some(self.method.clone()),
            data,
            reason_string: None,
            user_properties: Default::default(),
        })
    }
}

//! From CONNECT to CONNACK.

use std::mem;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::{
    ClientId, ConnAck, ConnAckProperties, Connect, Message, Packet, Qos, ReasonCode, Text,
    TextRules, Version,
};

use crate::authentication::Authentication;
use crate::connection::Awaited;
use crate::error::Violation;
use crate::event::{Attach, AuthStep, Authenticate};
use crate::expiry::SessionExpiry;
use crate::limits::Capabilities;
use crate::peer::Peer;
use crate::publish::{is_reserved, is_too_deep};
use crate::will::Will;

/// The characters of an assigned Client Identifier, which every server must accept. [MQTT-3.1.3-5]
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters of an assigned Client Identifier. They carry 119 bits, and with 20 of them the CONNACK of the default
/// capabilities has 39 bytes.
const ASSIGNED_LEN: usize = 20;

/// A CONNECT that was found acceptable, and what is agreed so far.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) peer: Peer,
    /// When CONNACK must be out.
    pub(crate) connect_by: Option<Instant>,
    pub(crate) client_id: ClientId,
    client_id_assigned: bool,
    pub(crate) clean_start: bool,
    keep_alive: Agreed<u16>,
    session_expiry: Agreed<SessionExpiry>,
    pub(crate) will: Option<Will>,
    response_information: bool,
    pub(crate) authentication: Option<Authentication>,
    /// The answer, as far as it is known.
    connack: ConnAck<Bytes>,
}

/// What was asked for, and what is granted.
#[derive(Clone, Copy, Debug)]
struct Agreed<T> {
    asked: T,
    granted: T,
}

impl<T: Copy + Eq> Agreed<T> {
    const fn new(asked: T, granted: T) -> Self {
        Self { asked, granted }
    }

    fn announced(self) -> Option<T> {
        (self.asked != self.granted).then_some(self.granted)
    }
}

impl Handshake {
    /// Checks a CONNECT against what the server offers.
    // [MQTT-3.1.4-1] [MQTT-3.1.4-2]
    pub(crate) fn begin(
        connect: &Connect<&[u8]>,
        capabilities: &Capabilities,
        awaited: &Awaited,
    ) -> Result<Self, Violation> {
        // [MQTT-3.1.2-2] [MQTT-3.1.2-2 @3.1.1]
        if !capabilities.versions.accepts(connect.version) {
            return Err(Violation::VersionNotServed(connect.version));
        }
        let entropy = u128::from_ne_bytes(awaited.entropy);
        let (client_id, client_id_assigned) = client_id(connect, capabilities, entropy)?;
        let method = connect.properties.authentication_method.map(text).transpose()?;
        Ok(Self {
            peer: Peer::of(connect),
            connect_by: awaited.connect_by,
            client_id,
            client_id_assigned,
            clean_start: connect.clean_start,
            keep_alive: keep_alive(connect.keep_alive, connect.version, capabilities)?,
            session_expiry: session_expiry(connect, capabilities),
            will: will(connect, capabilities)?,
            response_information: connect.properties.request_response_information,
            authentication: method.map(Authentication::begin),
            connack: ConnAck::new(false, ReasonCode::Success),
        })
    }

    /// Holds the client to what it is offered now that it is known.
    pub(crate) fn limit(&mut self, capabilities: &Capabilities) -> Result<(), Violation> {
        self.keep_alive = keep_alive(self.keep_alive.asked, self.peer.version, capabilities)?;
        let asked = self.session_expiry.asked;
        self.session_expiry = Agreed::new(asked, asked.at_most(capabilities.session_expiry_max));
        let Some(will) = &self.will else { return Ok(()) };
        check_will_topic(will.message.topic.as_bytes(), capabilities)
    }

    /// The question whether the client is who it says it is.
    pub(crate) fn authenticate<'a>(&self, connect: &Connect<&'a [u8]>) -> Authenticate<'a> {
        Authenticate {
            version: self.peer.version,
            client_id: self.client_id.clone(),
            user_name: connect.user_name,
            password: connect.password,
            method: self
                .authentication
                .as_ref()
                .map(|authentication| authentication.method().clone()),
            data: connect.properties.authentication_data,
            step: AuthStep::Connect,
        }
    }

    /// The client is authenticated: the question for its session. CONNACK is ready from here on.
    pub(crate) fn authenticated(
        &mut self,
        data: Option<Bytes>,
        capabilities: &Capabilities,
    ) -> Result<Attach, Violation> {
        if let Some(authentication) = &mut self.authentication {
            authentication.succeed(None);
        }
        if self.peer.is_v5() {
            self.connack.properties = self.properties(data, capabilities);
        }
        self.fit_connack()?;
        Ok(Attach {
            version: self.peer.version,
            client_id: self.client_id.clone(),
            client_id_assigned: self.client_id_assigned,
            clean_start: self.clean_start,
            session_expiry: self.session_expiry.granted,
            will: self.will.clone(),
            keep_alive: self.keep_alive.granted,
        })
    }

    /// The CONNACK that accepts.
    // [MQTT-3.1.4-5] [MQTT-3.1.4-4 @3.1.1]
    pub(crate) fn accept(&mut self, session_present: bool) -> Packet<Bytes> {
        let mut connack = mem::replace(&mut self.connack, ConnAck::new(false, ReasonCode::Success));
        // [MQTT-3.1.4-4] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
        // [MQTT-3.1.4-3 @3.1.1] [MQTT-3.2.2-1 @3.1.1] [MQTT-3.2.2-2 @3.1.1] [MQTT-3.2.2-3 @3.1.1]
        connack.session_present = session_present && !self.clean_start;
        Packet::ConnAck(connack)
    }

    pub(crate) const fn keep_alive(&self) -> u16 {
        self.keep_alive.granted
    }

    pub(crate) const fn session_expiry(&self) -> SessionExpiry {
        self.session_expiry.granted
    }

    /// Makes sure that CONNACK can be sent, if need be without what is not required.
    // [MQTT-3.1.2-24]
    fn fit_connack(&mut self) -> Result<(), Violation> {
        if self.peer.admit(Packet::ConnAck(self.connack.clone())).is_none() {
            self.connack.properties.response_information = None;
            let maximum = self.peer.packet_size_max;
            let fitting = self.peer.admit(Packet::ConnAck(self.connack.clone()));
            fitting.ok_or(Violation::ConnAckTooLarge { maximum })?;
        }
        Ok(())
    }

    /// What CONNACK tells: only what differs from the protocol's defaults.
    fn properties(
        &self,
        data: Option<Bytes>,
        capabilities: &Capabilities,
    ) -> ConnAckProperties<Bytes> {
        let unavailable = |available: bool| (!available).then_some(false);
        let method = self.authentication.as_ref().map(|running| running.method().clone());
        let response_information = capabilities.response_information.clone();
        let receive_maximum = NonZeroU16::new(capabilities.receive_maximum.max(1));
        ConnAckProperties {
            session_expiry_interval: self.session_expiry.announced().map(SessionExpiry::as_secs),
            receive_maximum: receive_maximum.filter(|maximum| *maximum != NonZeroU16::MAX),
            // [MQTT-3.2.2-9]
            maximum_qos: Some(capabilities.maximum_qos).filter(|qos| *qos != Qos::ExactlyOnce),
            retain_available: unavailable(capabilities.retain_available),
            maximum_packet_size: NonZeroU32::new(capabilities.maximum_packet_size),
            // [MQTT-3.1.3-7] [MQTT-3.2.2-16]
            assigned_client_id: self.client_id_assigned.then(|| self.client_id.text()),
            topic_alias_maximum: Some(capabilities.topic_alias_maximum).filter(|max| *max != 0),
            wildcard_subscription_available: unavailable(
                capabilities.wildcard_subscription_available,
            ),
            subscription_identifiers_available: unavailable(
                capabilities.subscription_identifiers_available,
            ),
            shared_subscription_available: unavailable(capabilities.shared_subscription_available),
            // [MQTT-3.2.2-22]
            server_keep_alive: self.keep_alive.announced(),
            // [MQTT-3.1.2-28]
            response_information: response_information.filter(|_| self.response_information),
            // [MQTT-4.12.0-5] [MQTT-4.12.0-6]
            authentication_data: data.filter(|_| method.is_some()),
            authentication_method: method,
            ..ConnAckProperties::default()
        }
    }
}

/// The Client Identifier, and whether it is assigned.
fn client_id(
    connect: &Connect<&[u8]>,
    capabilities: &Capabilities,
    entropy: u128,
) -> Result<(ClientId, bool), Violation> {
    let id = connect.client_id.as_bytes();
    // [MQTT-3.1.3-5] [MQTT-3.1.3-5 @3.1.1]
    if !id.is_empty() {
        let maximum = capabilities.client_id_bytes_max;
        if id.len() > usize::from(maximum) {
            return Err(Violation::ClientIdTooLong { maximum });
        }
        let id = ClientId::parse(id, TextRules::PERMISSIVE);
        return id.map(|id| (id, false)).map_err(|_| Violation::ClientIdNotText);
    }
    match connect.version {
        // [MQTT-3.1 s3.1] It has 1 to 23 characters.
        Version::V3_1 => Err(Violation::ClientIdEmpty),
        // [MQTT-3.1.3-7 @3.1.1] [MQTT-3.1.3-8 @3.1.1]
        Version::V3_1_1 if !connect.clean_start => Err(Violation::ClientIdEmpty),
        // [MQTT-3.1.3-6] [MQTT-3.1.3-6 @3.1.1]
        Version::V3_1_1 | Version::V5 => Ok((assigned_client_id(entropy), true)),
    }
}

fn assigned_client_id(mut entropy: u128) -> ClientId {
    let id = std::iter::repeat_with(|| {
        let digit = usize::try_from(entropy % 62).unwrap_or_default();
        entropy /= 62;
        ALPHABET.get(digit).copied().unwrap_or_default()
    });
    let id: Vec<u8> = id.take(ASSIGNED_LEN).collect();
    ClientId::new(id).expect("letters and digits are valid text")
}

// [MQTT-3.2.2-21] [MQTT-3.2.2-22]
fn keep_alive(
    asked: u16,
    version: Version,
    capabilities: &Capabilities,
) -> Result<Agreed<u16>, Violation> {
    let maximum = capabilities.keep_alive_max.filter(|maximum| *maximum > 0);
    let minimum =
        capabilities.keep_alive_min.map(|least| maximum.map_or(least, |most| least.min(most)));
    let too_short = minimum.filter(|minimum| asked > 0 && asked < *minimum);
    let too_long = maximum.filter(|maximum| asked == 0 || asked > *maximum);
    // Before 5.0 a client cannot be told that another interval holds.
    if !version.is_v5() {
        return match too_short {
            Some(minimum) => Err(Violation::KeepAliveTooShort { minimum }),
            None => Ok(Agreed::new(asked, asked)),
        };
    }
    Ok(Agreed::new(asked, too_short.or(too_long).unwrap_or(asked)))
}

fn session_expiry(connect: &Connect<&[u8]>, capabilities: &Capabilities) -> Agreed<SessionExpiry> {
    let asked = match connect.version {
        Version::V5 => {
            SessionExpiry::from_secs(connect.properties.session_expiry_interval.unwrap_or(0))
        }
        // [MQTT-3.1.2-6 @3.1.1]
        Version::V3_1 | Version::V3_1_1 if connect.clean_start => SessionExpiry::AT_CLOSE,
        // [MQTT-3.1.2-4 @3.1.1]
        Version::V3_1 | Version::V3_1_1 => SessionExpiry::NEVER,
    };
    Agreed::new(asked, asked.at_most(capabilities.session_expiry_max))
}

// [MQTT-3.1.2-7] [MQTT-3.1.2-8 @3.1.1]
fn will(connect: &Connect<&[u8]>, capabilities: &Capabilities) -> Result<Option<Will>, Violation> {
    let Some(will) = &connect.will else { return Ok(None) };
    // [MQTT-3.2.2-12]
    if will.qos > capabilities.maximum_qos {
        return Err(Violation::WillQosNotSupported);
    }
    // [MQTT-3.2.2-13]
    if will.retain && !capabilities.retain_available {
        return Err(Violation::WillRetainNotSupported);
    }
    if is_reserved(will.topic.as_bytes()) {
        return Err(Violation::WillTopicReserved);
    }
    check_will_topic(will.topic.as_bytes(), capabilities)?;
    let message = Message::from_will(will).map_err(|_| Violation::WillTopicInvalid)?;
    Ok(Some(Will { message: Arc::new(message), delay_secs: will.delay_interval }))
}

fn check_will_topic(topic: &[u8], capabilities: &Capabilities) -> Result<(), Violation> {
    if is_too_deep(topic, capabilities.topic_levels_max) {
        return Err(Violation::WillTopicTooDeep { maximum: capabilities.topic_levels_max });
    }
    if topic.len() > usize::from(capabilities.topic_bytes_max) {
        return Err(Violation::WillTopicTooLong { maximum: capabilities.topic_bytes_max });
    }
    Ok(())
}

fn text(text: &str) -> Result<Text, Violation> {
    Text::parse(text.as_bytes(), TextRules::PERMISSIVE).map_err(|_| Violation::AuthMethodChanged)
}

//! CONNACK.

use core::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Body, Sink},
    error::{DecodeErrorKind, EncodeError, Fault},
    packet::PacketType,
    primitive::{Reader, fault_at},
    property::{
        self, id,
        reader::PropertyReader,
        user::UserProperties,
        writer::{PropertySink, PropertyWriter},
    },
    qos::Qos,
    reason::ReasonCode,
    version::Version,
};

const SESSION_PRESENT: u8 = 1;

/// The answer to CONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnAck<B: Buffer> {
    /// Whether the server goes on with a stored session; 3.1 cannot say it.
    pub session_present: bool,
    /// What came of it; in 3.x as far as a return code says the same.
    pub reason_code: ReasonCode,
    /// Properties, of 5.0 only.
    pub properties: ConnAckProperties<B>,
}

/// The properties of CONNACK.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnAckProperties<B: Buffer> {
    /// Seconds the session outlives the connection; absent is what CONNECT asked for.
    pub session_expiry_interval: Option<u32>,
    /// QoS 1 and 2 messages the server takes at once; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest QoS the server takes; absent is 2, and 2 is not written.
    pub maximum_qos: Option<Qos>,
    /// Whether the server retains messages; absent is `true`.
    pub retain_available: Option<bool>,
    /// Bytes a packet to the server may have.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The Client Identifier the server chose.
    pub assigned_client_id: Option<B::Text>,
    /// The highest Topic Alias the server accepts; absent is 0.
    pub topic_alias_maximum: Option<u16>,
    /// Words for people, not to be parsed.
    pub reason_string: Option<B::Text>,
    /// User properties.
    pub user_properties: UserProperties<B>,
    /// Whether filters may have wildcards; absent is `true`.
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscriptions may have identifiers; absent is `true`.
    pub subscription_identifiers_available: Option<bool>,
    /// Whether subscriptions may be shared; absent is `true`.
    pub shared_subscription_available: Option<bool>,
    /// Seconds of Keep Alive the client must use; absent is its own.
    pub server_keep_alive: Option<u16>,
    /// What the client may build response topics from.
    pub response_information: Option<B::Text>,
    /// Another server to use.
    pub server_reference: Option<B::Text>,
    /// The method of an enhanced authentication.
    pub authentication_method: Option<B::Text>,
    /// Data for it; never without a method.
    pub authentication_data: Option<B>,
}

impl<B: Buffer> Default for ConnAckProperties<B> {
    fn default() -> Self {
        Self {
            session_expiry_interval: None,
            receive_maximum: None,
            maximum_qos: None,
            retain_available: None,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: None,
            reason_string: None,
            user_properties: UserProperties::default(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: None,
            shared_subscription_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

impl<B: Buffer> ConnAck<B> {
    /// A CONNACK without properties.
    pub fn new(session_present: bool, reason_code: ReasonCode) -> Self {
        Self { session_present, reason_code, properties: ConnAckProperties::default() }
    }
}

impl<'a> ConnAck<&'a [u8]> {
    pub(crate) fn decode(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        let flags_at = reader.offset();
        let session_present = match reader.u8()? {
            0 => false,
            // [MQTT-3.1 s3.2] In 3.1 this byte is reserved as a whole.
            SESSION_PRESENT if version != Version::V3_1 => true,
            // [MQTT-3.2.2-1]
            _ => return Err(fault_at(DecodeErrorKind::ConnAckFlags, flags_at)),
        };
        // [MQTT-3.2.2-8]
        let reason_code = match version {
            Version::V5 => reader.reason_code(PacketType::ConnAck)?,
            Version::V3_1 | Version::V3_1_1 => read_return_code(&mut reader)?,
        };
        // [MQTT-3.2.2-6] [MQTT-3.2.2-4 @3.1.1]
        if session_present && reason_code != ReasonCode::Success {
            return Err(fault_at(DecodeErrorKind::SessionPresentOnRefusal, flags_at));
        }
        let properties = if version.is_v5() {
            ConnAckProperties::decode(&mut reader)?
        } else {
            ConnAckProperties::default()
        };
        reader.finish()?;
        Ok(Self { session_present, reason_code, properties })
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> ConnAck<Bytes> {
        let properties = &self.properties;
        ConnAck {
            session_present: self.session_present,
            reason_code: self.reason_code,
            properties: ConnAckProperties {
                session_expiry_interval: properties.session_expiry_interval,
                receive_maximum: properties.receive_maximum,
                maximum_qos: properties.maximum_qos,
                retain_available: properties.retain_available,
                maximum_packet_size: properties.maximum_packet_size,
                assigned_client_id: frame.maybe_text(properties.assigned_client_id),
                topic_alias_maximum: properties.topic_alias_maximum,
                reason_string: frame.maybe_text(properties.reason_string),
                user_properties: properties.user_properties.to_owned_in(frame),
                wildcard_subscription_available: properties.wildcard_subscription_available,
                subscription_identifiers_available: properties.subscription_identifiers_available,
                shared_subscription_available: properties.shared_subscription_available,
                server_keep_alive: properties.server_keep_alive,
                response_information: frame.maybe_text(properties.response_information),
                server_reference: frame.maybe_text(properties.server_reference),
                authentication_method: frame.maybe_text(properties.authentication_method),
                authentication_data: frame.maybe_bytes(properties.authentication_data),
            },
        }
    }
}

fn read_return_code(reader: &mut Reader<'_>) -> Result<ReasonCode, Fault> {
    let at = reader.offset();
    let code = reader.u8()?;
    ReasonCode::from_connect_return_code(code)
        .ok_or_else(|| fault_at(DecodeErrorKind::ReasonCode { code }, at))
}

impl<'a> ConnAckProperties<&'a [u8]> {
    fn decode(packet: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut properties = PropertyReader::new(packet, property::CONNACK)?;
        let mut this = Self::default();
        while let Some(property) = properties.next()? {
            match property {
                id::SESSION_EXPIRY_INTERVAL => {
                    this.session_expiry_interval = Some(properties.u32()?)
                }
                id::RECEIVE_MAXIMUM => this.receive_maximum = Some(properties.non_zero_u16()?),
                id::MAXIMUM_QOS => this.maximum_qos = Some(read_maximum_qos(&mut properties)?),
                id::RETAIN_AVAILABLE => this.retain_available = Some(properties.bool()?),
                id::MAXIMUM_PACKET_SIZE => {
                    this.maximum_packet_size = Some(properties.non_zero_u32()?)
                }
                id::ASSIGNED_CLIENT_IDENTIFIER => {
                    this.assigned_client_id = Some(properties.text()?)
                }
                id::TOPIC_ALIAS_MAXIMUM => this.topic_alias_maximum = Some(properties.u16()?),
                id::REASON_STRING => this.reason_string = Some(properties.text()?),
                id::WILDCARD_SUBSCRIPTION_AVAILABLE => {
                    this.wildcard_subscription_available = Some(properties.bool()?);
                }
                id::SUBSCRIPTION_IDENTIFIER_AVAILABLE => {
                    this.subscription_identifiers_available = Some(properties.bool()?);
                }
                id::SHARED_SUBSCRIPTION_AVAILABLE => {
                    this.shared_subscription_available = Some(properties.bool()?);
                }
                id::SERVER_KEEP_ALIVE => this.server_keep_alive = Some(properties.u16()?),
                id::RESPONSE_INFORMATION => this.response_information = Some(properties.text()?),
                id::SERVER_REFERENCE => this.server_reference = Some(properties.text()?),
                id::AUTHENTICATION_METHOD => this.authentication_method = Some(properties.text()?),
                _ => this.authentication_data = Some(properties.binary()?),
            }
        }
        if this.authentication_data.is_some() && this.authentication_method.is_none() {
            return Err(packet.fault(DecodeErrorKind::AuthenticationMethodMissing));
        }
        this.user_properties = properties.user_properties();
        Ok(this)
    }
}

/// Reads Maximum QoS, which says 0 or 1: to say 2 it is left out.
fn read_maximum_qos(properties: &mut PropertyReader<'_>) -> Result<Qos, Fault> {
    Ok(if properties.bool()? { Qos::AtLeastOnce } else { Qos::AtMostOnce })
}

impl<B: Buffer> Body for ConnAck<B> {
    fn first_byte(&self, version: Version) -> Result<u8, EncodeError> {
        let listed = match version {
            Version::V5 => self.reason_code.is_allowed_in(PacketType::ConnAck),
            // [MQTT-3.2.2-6 @3.1.1]
            Version::V3_1 | Version::V3_1_1 => self.reason_code.connect_return_code().is_some(),
        };
        if !listed || (self.session_present && self.reason_code != ReasonCode::Success) {
            return Err(EncodeError::ReasonCode);
        }
        let properties = &self.properties;
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(EncodeError::AuthenticationMethod);
        }
        Ok(PacketType::ConnAck.first_byte())
    }

    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.u8(u8::from(self.session_present && version != Version::V3_1));
        match version {
            Version::V5 => {
                sink.u8(self.reason_code.as_u8());
                sink.properties(&self.properties);
            }
            Version::V3_1 | Version::V3_1_1 => {
                sink.u8(self.reason_code.connect_return_code().unwrap_or_default());
            }
        }
    }
}

impl<B: Buffer> PropertyWriter for ConnAckProperties<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_u32(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        sink.property_u16(id::RECEIVE_MAXIMUM, self.receive_maximum.map(NonZeroU16::get));
        let limited = self.maximum_qos.filter(|qos| *qos < Qos::ExactlyOnce);
        sink.property_bool(id::MAXIMUM_QOS, limited.map(|qos| qos > Qos::AtMostOnce));
        sink.property_bool(id::RETAIN_AVAILABLE, self.retain_available);
        sink.property_u32(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size.map(NonZeroU32::get));
        sink.property_field(id::ASSIGNED_CLIENT_IDENTIFIER, self.assigned_client_id.as_ref());
        sink.property_u16(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        sink.property_field(id::REASON_STRING, self.reason_string.as_ref());
        sink.property_bool(
            id::WILDCARD_SUBSCRIPTION_AVAILABLE,
            self.wildcard_subscription_available,
        );
        sink.property_bool(
            id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
            self.subscription_identifiers_available,
        );
        sink.property_bool(id::SHARED_SUBSCRIPTION_AVAILABLE, self.shared_subscription_available);
        sink.property_u16(id::SERVER_KEEP_ALIVE, self.server_keep_alive);
        sink.property_field(id::RESPONSE_INFORMATION, self.response_information.as_ref());
        sink.property_field(id::SERVER_REFERENCE, self.server_reference.as_ref());
        sink.property_field(id::AUTHENTICATION_METHOD, self.authentication_method.as_ref());
        sink.property_field(id::AUTHENTICATION_DATA, self.authentication_data.as_ref());
        sink.user_properties(&self.user_properties);
    }
}

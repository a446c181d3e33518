//! CONNECT.

use core::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use dunlin_topics::TextRules;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Body, Sink},
    error::{DecodeErrorKind, EncodeError, Fault},
    packet::{PacketType, will::Will},
    primitive::{Reader, fault_at},
    property::{
        self, id,
        reader::PropertyReader,
        user::UserProperties,
        writer::{PropertySink, PropertyWriter},
    },
    qos::Qos,
    version::Version,
};

const CLEAN_START: u8 = 1 << 1;
const WILL: u8 = 1 << 2;
const WILL_RETAIN: u8 = 1 << 5;
const PASSWORD: u8 = 1 << 6;
const USER_NAME: u8 = 1 << 7;

/// A client asks for a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connect<B: Buffer> {
    /// The version asked for.
    pub version: Version,
    /// Clean Start, which 3.x calls Clean Session.
    pub clean_start: bool,
    /// Seconds, 0 switches it off.
    pub keep_alive: u16,
    /// The Client Identifier; empty asks the server for one.
    pub client_id: B::Text,
    /// What to publish when the connection ends badly.
    pub will: Option<Will<B>>,
    /// User name.
    pub user_name: Option<B::Text>,
    /// Password; before 5.0 only together with a user name.
    pub password: Option<B>,
    /// Properties, of 5.0 only.
    pub properties: ConnectProperties<B>,
}

/// A CONNECT borrowed from the bytes it was decoded from.
pub type ConnectRef<'a> = Connect<&'a [u8]>;

/// The properties of CONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectProperties<B: Buffer> {
    /// Seconds the session outlives the connection; absent is 0, `u32::MAX` is for ever.
    pub session_expiry_interval: Option<u32>,
    /// QoS 1 and 2 messages the client takes at once; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Bytes a packet to the client may have.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The highest Topic Alias the client accepts; absent is 0.
    pub topic_alias_maximum: Option<u16>,
    /// Whether the client would like Response Information; absent is `false`.
    pub request_response_information: bool,
    /// Whether the client takes reason strings and user properties on any packet; absent is `true`.
    pub request_problem_information: bool,
    /// The method of an enhanced authentication.
    pub authentication_method: Option<B::Text>,
    /// Data for it; never without a method.
    pub authentication_data: Option<B>,
    /// User properties.
    pub user_properties: UserProperties<B>,
}

impl<B: Buffer> Default for ConnectProperties<B> {
    fn default() -> Self {
        Self {
            session_expiry_interval: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: None,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }
}

/// A fault in a CONNECT, with the version it asked for as far as that was read.
pub(crate) type ConnectFault = (Fault, Option<Version>);

impl<'a> Connect<&'a [u8]> {
    pub(crate) fn decode(mut reader: Reader<'a>, rules: TextRules) -> Result<Self, ConnectFault> {
        let version = read_version(&mut reader).map_err(|fault| (fault, None))?;
        Self::decode_as(version, reader, rules).map_err(|fault| (fault, Some(version)))
    }

    fn decode_as(
        version: Version,
        mut reader: Reader<'a>,
        rules: TextRules,
    ) -> Result<Self, Fault> {
        let flags_at = reader.offset();
        let flags = reader.u8()?;
        let will_qos = check_flags(flags, version).map_err(|kind| fault_at(kind, flags_at))?;
        let keep_alive = reader.u16()?;
        let properties = if version.is_v5() {
            ConnectProperties::decode(&mut reader)?
        } else {
            ConnectProperties::default()
        };
        // [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-4]
        let client_id = reader
            .text_with(rules, DecodeErrorKind::ClientIdNotAllowed)
            .map_err(missing(DecodeErrorKind::ClientIdMissing))?;
        // [MQTT-3.1.2-9]
        let will = match will_qos {
            Some(qos) => Some(
                Will::decode(&mut reader, version, rules, qos, flags & WILL_RETAIN != 0)
                    .map_err(missing(DecodeErrorKind::WillMissing))?,
            ),
            None => None,
        };
        // [MQTT-3.1.2-17] [MQTT-3.1.3-12]
        let user_name = match flags & USER_NAME {
            0 => None,
            _ => Some(reader.text().map_err(missing(DecodeErrorKind::UserNameMissing))?),
        };
        // [MQTT-3.1.2-19]
        let password = match flags & PASSWORD {
            0 => None,
            _ => Some(reader.binary().map_err(missing(DecodeErrorKind::PasswordMissing))?),
        };
        // [MQTT-3.1.2-16] [MQTT-3.1.2-18]
        reader.finish()?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self {
            version,
            clean_start,
            keep_alive,
            client_id,
            will,
            user_name,
            password,
            properties,
        })
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> Connect<Bytes> {
        let properties = &self.properties;
        Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive: self.keep_alive,
            client_id: frame.text(self.client_id),
            will: self.will.as_ref().map(|will| will.slice(frame)),
            user_name: frame.maybe_text(self.user_name),
            password: frame.maybe_bytes(self.password),
            properties: ConnectProperties {
                session_expiry_interval: properties.session_expiry_interval,
                receive_maximum: properties.receive_maximum,
                maximum_packet_size: properties.maximum_packet_size,
                topic_alias_maximum: properties.topic_alias_maximum,
                request_response_information: properties.request_response_information,
                request_problem_information: properties.request_problem_information,
                authentication_method: frame.maybe_text(properties.authentication_method),
                authentication_data: frame.maybe_bytes(properties.authentication_data),
                user_properties: properties.user_properties.to_owned_in(frame),
            },
        }
    }
}

/// Reads protocol name and level.
fn read_version(reader: &mut Reader<'_>) -> Result<Version, Fault> {
    let name_at = reader.offset();
    let name = reader.binary()?;
    // [MQTT-3.1.2-1] [MQTT-3.1.2-1 @3.1.1]
    if !Version::ALL.iter().any(|version| version.protocol_name().as_bytes() == name) {
        return Err(fault_at(DecodeErrorKind::ProtocolName, name_at));
    }
    let level_at = reader.offset();
    let level = reader.u8()?;
    // [MQTT-3.1.2-2] [MQTT-3.1.2-2 @3.1.1] The highest bit marks a bridge of some vendors; it is no version.
    Version::from_wire(name, level)
        .ok_or_else(|| fault_at(DecodeErrorKind::ProtocolLevel { level }, level_at))
}

/// Checks the Connect Flags, and gives the Will QoS if there is a Will.
fn check_flags(flags: u8, version: Version) -> Result<Option<Qos>, DecodeErrorKind> {
    // [MQTT-3.1.2-3] [MQTT-3.1.2-3 @3.1.1]
    if flags & 1 != 0 {
        return Err(DecodeErrorKind::ConnectFlagReserved);
    }
    // [MQTT-3.1.2-22 @3.1.1] Version 5.0 dropped this rule.
    if flags & (USER_NAME | PASSWORD) == PASSWORD && !version.is_v5() {
        return Err(DecodeErrorKind::PasswordWithoutUserName);
    }
    // [MQTT-3.1.2-12] [MQTT-3.1.2-14 @3.1.1]
    let qos = Qos::from_bits(flags >> 3 & 0b11).ok_or(DecodeErrorKind::WillQos)?;
    if flags & WILL != 0 {
        return Ok(Some(qos));
    }
    // [MQTT-3.1.2-11] [MQTT-3.1.2-13 @3.1.1]
    if qos != Qos::AtMostOnce {
        return Err(DecodeErrorKind::WillQosWithoutWill);
    }
    // [MQTT-3.1.2-13] [MQTT-3.1.2-15 @3.1.1]
    if flags & WILL_RETAIN != 0 {
        return Err(DecodeErrorKind::WillRetainWithoutWill);
    }
    Ok(None)
}

/// Says which field it was that the packet was too short for.
fn missing(kind: DecodeErrorKind) -> impl Fn(Fault) -> Fault {
    move |fault| {
        if fault.kind == DecodeErrorKind::Truncated { Fault { kind, ..fault } } else { fault }
    }
}

impl<'a> ConnectProperties<&'a [u8]> {
    fn decode(packet: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut properties = PropertyReader::new(packet, property::CONNECT)?;
        let mut this = Self::default();
        while let Some(property) = properties.next()? {
            match property {
                id::SESSION_EXPIRY_INTERVAL => {
                    this.session_expiry_interval = Some(properties.u32()?)
                }
                id::RECEIVE_MAXIMUM => this.receive_maximum = Some(properties.non_zero_u16()?),
                id::MAXIMUM_PACKET_SIZE => {
                    this.maximum_packet_size = Some(properties.non_zero_u32()?)
                }
                id::TOPIC_ALIAS_MAXIMUM => this.topic_alias_maximum = Some(properties.u16()?),
                id::REQUEST_RESPONSE_INFORMATION => {
                    this.request_response_information = properties.bool()?
                }
                id::REQUEST_PROBLEM_INFORMATION => {
                    this.request_problem_information = properties.bool()?
                }
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

impl<B: Buffer> Body for Connect<B> {
    fn first_byte(&self, _: Version) -> Result<u8, EncodeError> {
        // [MQTT-3.1.2-22 @3.1.1]
        if self.password.is_some() && self.user_name.is_none() && !self.version.is_v5() {
            return Err(EncodeError::NotInVersion);
        }
        let properties = &self.properties;
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(EncodeError::AuthenticationMethod);
        }
        Ok(PacketType::Connect.first_byte())
    }

    fn write(&self, _: Version, sink: &mut impl Sink) {
        sink.field(self.version.protocol_name().as_bytes());
        sink.u8(self.version.level());
        sink.u8(self.flags());
        sink.u16(self.keep_alive);
        if self.version.is_v5() {
            sink.properties(&self.properties);
        }
        sink.field(self.client_id.as_ref());
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                sink.properties(will);
            }
            sink.field(will.topic.as_ref());
            sink.field(will.payload.as_ref());
        }
        if let Some(user_name) = &self.user_name {
            sink.field(user_name.as_ref());
        }
        if let Some(password) = &self.password {
            sink.field(password.as_ref());
        }
    }
}

impl<B: Buffer> Connect<B> {
    fn flags(&self) -> u8 {
        let mut flags = 0;
        for (set, flag) in [
            (self.clean_start, CLEAN_START),
            (self.user_name.is_some(), USER_NAME),
            (self.password.is_some(), PASSWORD),
        ] {
            flags |= if set { flag } else { 0 };
        }
        if let Some(will) = &self.will {
            flags |= WILL | u8::from(will.qos) << 3 | if will.retain { WILL_RETAIN } else { 0 };
        }
        flags
    }
}

impl<B: Buffer> PropertyWriter for ConnectProperties<B> {
    #[inline]
    fn is_empty(&self) -> bool {
        self.session_expiry_interval.is_none()
            && self.receive_maximum.is_none()
            && self.maximum_packet_size.is_none()
            && self.topic_alias_maximum.is_none()
            && !self.request_response_information
            && self.request_problem_information
            && self.authentication_method.is_none()
            && self.authentication_data.is_none()
            && self.user_properties.is_empty()
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.property_u32(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        sink.property_u16(id::RECEIVE_MAXIMUM, self.receive_maximum.map(NonZeroU16::get));
        sink.property_u32(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size.map(NonZeroU32::get));
        sink.property_u16(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        sink.property_bool(
            id::REQUEST_RESPONSE_INFORMATION,
            self.request_response_information.then_some(true),
        );
        sink.property_bool(
            id::REQUEST_PROBLEM_INFORMATION,
            (!self.request_problem_information).then_some(false),
        );
        sink.property_field(id::AUTHENTICATION_METHOD, self.authentication_method.as_ref());
        sink.property_field(id::AUTHENTICATION_DATA, self.authentication_data.as_ref());
        sink.user_properties(&self.user_properties);
    }
}

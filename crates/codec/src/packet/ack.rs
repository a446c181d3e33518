//! PUBACK, PUBREC, PUBREL and PUBCOMP: one layout, four types.

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Body, Sink},
    error::{EncodeError, Fault},
    id::PacketId,
    packet::PacketType,
    primitive::Reader,
    property::{
        self, id,
        reader::PropertyReader,
        user::UserProperties,
        writer::{PropertySink, PropertyWriter},
    },
    reason::ReasonCode,
    version::Version,
};

/// Which of the four acknowledgements of a PUBLISH.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AckKind {
    /// PUBACK, the answer to QoS 1.
    PubAck,
    /// PUBREC, the first answer to QoS 2.
    PubRec,
    /// PUBREL, the answer to PUBREC.
    PubRel,
    /// PUBCOMP, the answer to PUBREL.
    PubComp,
}

impl From<AckKind> for PacketType {
    #[inline]
    fn from(kind: AckKind) -> Self {
        match kind {
            AckKind::PubAck => Self::PubAck,
            AckKind::PubRec => Self::PubRec,
            AckKind::PubRel => Self::PubRel,
            AckKind::PubComp => Self::PubComp,
        }
    }
}

/// The acknowledgement of a PUBLISH, or of a step of its exchange.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ack<B: Buffer> {
    /// The identifier of the PUBLISH. [MQTT-2.2.1-5]
    pub packet_id: PacketId,
    /// What came of it; always success before 5.0.
    pub reason_code: ReasonCode,
    /// Properties, of 5.0 only.
    pub properties: AckProperties<B>,
}

/// The properties of the acknowledgements of PUBLISH, SUBSCRIBE and UNSUBSCRIBE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AckProperties<B: Buffer> {
    /// Words for people, not to be parsed.
    pub reason_string: Option<B::Text>,
    /// User properties.
    pub user_properties: UserProperties<B>,
}

impl<B: Buffer> AckProperties<B> {
    /// Whether there is no property at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user_properties.is_empty()
    }
}

impl<B: Buffer> Default for AckProperties<B> {
    #[inline]
    fn default() -> Self {
        Self { reason_string: None, user_properties: UserProperties::default() }
    }
}

impl<B: Buffer> Ack<B> {
    /// An acknowledgement without properties.
    #[inline]
    pub fn new(packet_id: PacketId, reason_code: ReasonCode) -> Self {
        Self { packet_id, reason_code, properties: AckProperties::default() }
    }
}

impl<'a> Ack<&'a [u8]> {
    #[inline]
    pub(crate) fn decode(
        packet: PacketType,
        mut reader: Reader<'a>,
        version: Version,
    ) -> Result<Self, Fault> {
        let packet_id = reader.packet_id()?;
        if reader.is_empty() {
            return Ok(Self::new(packet_id, ReasonCode::Success));
        }
        if !version.is_v5() {
            return Err(reader.trailing());
        }
        // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
        let reason_code = reader.reason_code(packet)?;
        if reader.is_empty() {
            return Ok(Self::new(packet_id, reason_code));
        }
        let properties = AckProperties::decode(&mut reader)?;
        reader.finish()?;
        Ok(Self { packet_id, reason_code, properties })
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> Ack<Bytes> {
        Ack {
            packet_id: self.packet_id,
            reason_code: self.reason_code,
            properties: self.properties.slice(frame),
        }
    }
}

impl<'a> AckProperties<&'a [u8]> {
    pub(crate) fn decode(packet: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut properties = PropertyReader::new(packet, property::ACK)?;
        let mut reason_string = None;
        while properties.next()?.is_some() {
            reason_string = Some(properties.text()?);
        }
        Ok(Self { reason_string, user_properties: properties.user_properties() })
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> AckProperties<Bytes> {
        AckProperties {
            reason_string: frame.maybe_text(self.reason_string),
            user_properties: self.user_properties.to_owned_in(frame),
        }
    }
}

impl<B: Buffer> PropertyWriter for AckProperties<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_field(id::REASON_STRING, self.reason_string.as_ref());
        sink.user_properties(&self.user_properties);
    }
}

/// An acknowledgement with its type.
pub(crate) struct AckBody<'p, B: Buffer> {
    pub(crate) kind: AckKind,
    pub(crate) ack: &'p Ack<B>,
}

impl<B: Buffer> Body for AckBody<'_, B> {
    fn first_byte(&self, version: Version) -> Result<u8, EncodeError> {
        let packet = PacketType::from(self.kind);
        if version.is_v5() && !self.ack.reason_code.is_allowed_in(packet) {
            return Err(EncodeError::ReasonCode);
        }
        Ok(packet.first_byte())
    }

    /// Leaves out what may be left out: the properties if there are none, then the reason code if it is success.
    fn write(&self, version: Version, sink: &mut impl Sink) {
        let Ack { packet_id, reason_code, properties } = self.ack;
        sink.u16(packet_id.get());
        if !version.is_v5() || (properties.is_empty() && *reason_code == ReasonCode::Success) {
            return;
        }
        sink.u8(reason_code.as_u8());
        if !properties.is_empty() {
            sink.properties(properties);
        }
    }
}

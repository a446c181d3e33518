//! UNSUBACK.

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Body, Sink},
    error::{EncodeError, Fault},
    id::PacketId,
    packet::{PacketType, ack::AckProperties, suback::ReasonCodes},
    primitive::Reader,
    reason::ReasonCode,
    version::Version,
};

/// The answer to UNSUBSCRIBE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnsubAck<B: Buffer> {
    /// The identifier of the UNSUBSCRIBE. [MQTT-2.2.1-6]
    pub packet_id: PacketId,
    /// Properties, of 5.0 only.
    pub properties: AckProperties<B>,
    /// One for each filter, in their order [MQTT-3.11.3-1]; none before 5.0.
    pub reason_codes: ReasonCodes<B>,
}

impl<'a> UnsubAck<&'a [u8]> {
    pub(crate) fn decode(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        let packet_id = reader.packet_id()?;
        if !version.is_v5() {
            reader.finish()?;
            let (properties, reason_codes) = (AckProperties::default(), ReasonCodes::default());
            return Ok(Self { packet_id, properties, reason_codes });
        }
        let properties = AckProperties::decode(&mut reader)?;
        // [MQTT-3.11.3-2]
        let reason_codes = ReasonCodes::decode(reader, is_listed, PacketType::UnsubAck)?;
        Ok(Self { packet_id, properties, reason_codes })
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> UnsubAck<Bytes> {
        UnsubAck {
            packet_id: self.packet_id,
            properties: self.properties.slice(frame),
            reason_codes: self.reason_codes.slice(frame),
        }
    }
}

const fn is_listed(code: ReasonCode) -> bool {
    code.is_allowed_in(PacketType::UnsubAck)
}

impl<B: Buffer> Body for UnsubAck<B> {
    fn first_byte(&self, version: Version) -> Result<u8, EncodeError> {
        if version.is_v5() {
            self.reason_codes.check(is_listed)?;
        }
        Ok(PacketType::UnsubAck.first_byte())
    }

    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            sink.properties(&self.properties);
            sink.bytes(self.reason_codes.as_bytes());
        }
    }
}

//! SUBACK.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Body, Sink},
    error::{DecodeErrorKind, EncodeError, Fault},
    id::PacketId,
    packet::{PacketType, ack::AckProperties},
    primitive::Reader,
    reason::ReasonCode,
    version::Version,
};

/// The answer to SUBSCRIBE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubAck<B: Buffer> {
    /// The identifier of the SUBSCRIBE. [MQTT-2.2.1-6]
    pub packet_id: PacketId,
    /// Properties, of 5.0 only.
    pub properties: AckProperties<B>,
    /// One for each filter, in their order. [MQTT-3.9.3-1]
    pub reason_codes: ReasonCodes<B>,
}

impl<'a> SubAck<&'a [u8]> {
    pub(crate) fn decode(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        let packet_id = reader.packet_id()?;
        let properties = if version.is_v5() {
            AckProperties::decode(&mut reader)?
        } else {
            AckProperties::default()
        };
        let reason_codes =
            ReasonCodes::decode(reader, |code| is_listed(code, version), PacketType::SubAck)?;
        Ok(Self { packet_id, properties, reason_codes })
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> SubAck<Bytes> {
        SubAck {
            packet_id: self.packet_id,
            properties: self.properties.slice(frame),
            reason_codes: self.reason_codes.slice(frame),
        }
    }
}

/// Whether a SUBACK of this version may carry the code. [MQTT-3.9.3-2] [MQTT-3.9.3-2 @3.1.1]
fn is_listed(code: ReasonCode, version: Version) -> bool {
    match version {
        Version::V5 => code.is_allowed_in(PacketType::SubAck),
        Version::V3_1_1 => code <= ReasonCode::GrantedQos2 || code == ReasonCode::UnspecifiedError,
        // [MQTT-3.1 s3.9] It only grants.
        Version::V3_1 => code <= ReasonCode::GrantedQos2,
    }
}

/// The reason codes of a SUBACK or UNSUBACK, in the order of the filters they answer.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct ReasonCodes<B: Buffer> {
    codes: B,
}

impl<'a> ReasonCodes<&'a [u8]> {
    pub(crate) fn decode(
        mut reader: Reader<'a>,
        is_listed: impl Fn(ReasonCode) -> bool,
        packet: PacketType,
    ) -> Result<Self, Fault> {
        let codes = reader.rest();
        // [MQTT-3.8.4-6] [MQTT-3.11.3-2]
        if codes.is_empty() {
            return Err(reader.fault(DecodeErrorKind::ReasonCodesMissing));
        }
        while !reader.is_empty() {
            let at = reader;
            let code = reader.reason_code(packet)?;
            if !is_listed(code) {
                return Err(at.fault(DecodeErrorKind::ReasonCode { code: code.as_u8() }));
            }
        }
        Ok(Self { codes })
    }

    pub(crate) fn slice(self, frame: Frame<'_>) -> ReasonCodes<Bytes> {
        ReasonCodes { codes: frame.bytes(self.codes) }
    }
}

impl FromIterator<ReasonCode> for ReasonCodes<Bytes> {
    fn from_iter<I: IntoIterator<Item = ReasonCode>>(codes: I) -> Self {
        Self { codes: codes.into_iter().map(ReasonCode::as_u8).collect::<Vec<_>>().into() }
    }
}

impl<B: Buffer> ReasonCodes<B> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.codes.as_ref().len()
    }

    /// Whether there are none, as in an UNSUBACK before 5.0.
    pub fn is_empty(&self) -> bool {
        self.codes.as_ref().is_empty()
    }

    /// Each of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = ReasonCode> + Clone {
        self.codes.as_ref().iter().filter_map(|code| ReasonCode::from_u8(*code))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.codes.as_ref()
    }

    /// What keeps a packet with these codes from being encoded.
    pub(crate) fn check(&self, is_listed: impl Fn(ReasonCode) -> bool) -> Result<(), EncodeError> {
        if self.is_empty() {
            return Err(EncodeError::Empty);
        }
        if !self.iter().all(is_listed) {
            return Err(EncodeError::ReasonCode);
        }
        Ok(())
    }
}

impl<B: Buffer> fmt::Debug for ReasonCodes<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<B: Buffer> Body for SubAck<B> {
    fn first_byte(&self, version: Version) -> Result<u8, EncodeError> {
        self.reason_codes.check(|code| is_listed(in_version(code, version), version))?;
        Ok(PacketType::SubAck.first_byte())
    }

    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            sink.properties(&self.properties);
            sink.bytes(self.reason_codes.as_bytes());
            return;
        }
        for code in self.reason_codes.iter() {
            sink.u8(in_version(code, version).as_u8());
        }
    }
}

/// The code that says the same in this version: 3.1.1 knows one failure.
fn in_version(code: ReasonCode, version: Version) -> ReasonCode {
    match version {
        Version::V3_1_1 if code.is_error() => ReasonCode::UnspecifiedError,
        Version::V3_1 | Version::V3_1_1 | Version::V5 => code,
    }
}

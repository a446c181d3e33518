//! AUTH, of 5.0 only.

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Body, Sink},
    error::{DecodeErrorKind, EncodeError, Fault},
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

/// A step of an enhanced authentication.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Auth<B: Buffer> {
    /// Success, continue, or start again.
    pub reason_code: ReasonCode,
    /// The method in use; absent only in the shortest form, which says success and nothing else.
    pub method: Option<B::Text>,
    /// Data for the method.
    pub data: Option<B>,
    /// Words for people, not to be parsed.
    pub reason_string: Option<B::Text>,
    /// User properties.
    pub user_properties: UserProperties<B>,
}

impl<B: Buffer> Auth<B> {
    /// An AUTH without method, data or properties: the shortest form.
    fn new(reason_code: ReasonCode) -> Self {
        Self {
            reason_code,
            method: None,
            data: None,
            reason_string: None,
            user_properties: UserProperties::default(),
        }
    }

    fn is_shortest(&self) -> bool {
        self.reason_code == ReasonCode::Success
            && self.method.is_none()
            && self.data.is_none()
            && self.reason_string.is_none()
            && self.user_properties.is_empty()
    }
}

impl<'a> Auth<&'a [u8]> {
    pub(crate) fn decode(mut reader: Reader<'a>) -> Result<Self, Fault> {
        if reader.is_empty() {
            return Ok(Self::new(ReasonCode::Success));
        }
        // [MQTT-3.15.2-1]
        let mut this = Self::new(reader.reason_code(PacketType::Auth)?);
        let mut properties = PropertyReader::new(&mut reader, property::AUTH)?;
        while let Some(property) = properties.next()? {
            match property {
                id::AUTHENTICATION_METHOD => this.method = Some(properties.text()?),
                id::AUTHENTICATION_DATA => this.data = Some(properties.binary()?),
                _ => this.reason_string = Some(properties.text()?),
            }
        }
        this.user_properties = properties.user_properties();
        if this.method.is_none() {
            return Err(reader.fault(DecodeErrorKind::AuthenticationMethodMissing));
        }
        reader.finish()?;
        Ok(this)
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> Auth<Bytes> {
        Auth {
            reason_code: self.reason_code,
            method: frame.maybe_text(self.method),
            data: frame.maybe_bytes(self.data),
            reason_string: frame.maybe_text(self.reason_string),
            user_properties: self.user_properties.to_owned_in(frame),
        }
    }
}

impl<B: Buffer> Body for Auth<B> {
    fn first_byte(&self, version: Version) -> Result<u8, EncodeError> {
        if !version.is_v5() {
            return Err(EncodeError::NotInVersion);
        }
        if !self.reason_code.is_allowed_in(PacketType::Auth) {
            return Err(EncodeError::ReasonCode);
        }
        if self.method.is_none() && !self.is_shortest() {
            return Err(EncodeError::AuthenticationMethod);
        }
        Ok(PacketType::Auth.first_byte())
    }

    fn write(&self, _: Version, sink: &mut impl Sink) {
        if !self.is_shortest() {
            sink.u8(self.reason_code.as_u8());
            sink.properties(self);
        }
    }
}

impl<B: Buffer> PropertyWriter for Auth<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_field(id::AUTHENTICATION_METHOD, self.method.as_ref());
        sink.property_field(id::AUTHENTICATION_DATA, self.data.as_ref());
        sink.property_field(id::REASON_STRING, self.reason_string.as_ref());
        sink.user_properties(&self.user_properties);
    }
}

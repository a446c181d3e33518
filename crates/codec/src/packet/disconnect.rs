//! DISCONNECT.

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Body, Sink},
    error::{EncodeError, Fault},
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

/// Nothing will follow. Before 5.0 only a client says so, and gives no reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Disconnect<B: Buffer> {
    /// Why; success is a normal disconnection, which before 5.0 it always is.
    pub reason_code: ReasonCode,
    /// Seconds the session outlives the connection; absent leaves it as it was. From a client only.
    pub session_expiry_interval: Option<u32>,
    /// Words for people, not to be parsed.
    pub reason_string: Option<B::Text>,
    /// Another server to use. From a server only.
    pub server_reference: Option<B::Text>,
    /// User properties.
    pub user_properties: UserProperties<B>,
}

impl<B: Buffer> Disconnect<B> {
    /// A DISCONNECT without properties.
    pub fn new(reason_code: ReasonCode) -> Self {
        Self {
            reason_code,
            session_expiry_interval: None,
            reason_string: None,
            server_reference: None,
            user_properties: UserProperties::default(),
        }
    }

    fn has_properties(&self) -> bool {
        self.session_expiry_interval.is_some()
            || self.reason_string.is_some()
            || self.server_reference.is_some()
            || !self.user_properties.is_empty()
    }
}

impl<'a> Disconnect<&'a [u8]> {
    pub(crate) fn decode(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        if reader.is_empty() {
            return Ok(Self::new(ReasonCode::Success));
        }
        if !version.is_v5() {
            return Err(reader.trailing());
        }
        // [MQTT-3.14.2-1]
        let mut this = Self::new(reader.reason_code(PacketType::Disconnect)?);
        if reader.is_empty() {
            return Ok(this);
        }
        let mut properties = PropertyReader::new(&mut reader, property::DISCONNECT)?;
        while let Some(property) = properties.next()? {
            match property {
                id::SESSION_EXPIRY_INTERVAL => {
                    this.session_expiry_interval = Some(properties.u32()?)
                }
                id::REASON_STRING => this.reason_string = Some(properties.text()?),
                _ => this.server_reference = Some(properties.text()?),
            }
        }
        this.user_properties = properties.user_properties();
        reader.finish()?;
        Ok(this)
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> Disconnect<Bytes> {
        Disconnect {
            reason_code: self.reason_code,
            session_expiry_interval: self.session_expiry_interval,
            reason_string: frame.maybe_text(self.reason_string),
            server_reference: frame.maybe_text(self.server_reference),
            user_properties: self.user_properties.to_owned_in(frame),
        }
    }
}

impl<B: Buffer> Body for Disconnect<B> {
    fn first_byte(&self, version: Version) -> Result<u8, EncodeError> {
        if version.is_v5() && !self.reason_code.is_allowed_in(PacketType::Disconnect) {
            return Err(EncodeError::ReasonCode);
        }
        Ok(PacketType::Disconnect.first_byte())
    }

    /// Leaves out what may be left out: the properties if there are none, then the reason code if it is success.
    fn write(&self, version: Version, sink: &mut impl Sink) {
        let has_properties = self.has_properties();
        if !version.is_v5() || (!has_properties && self.reason_code == ReasonCode::Success) {
            return;
        }
        sink.u8(self.reason_code.as_u8());
        if has_properties {
            sink.properties(self);
        }
    }
}

impl<B: Buffer> PropertyWriter for Disconnect<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_u32(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        sink.property_field(id::REASON_STRING, self.reason_string.as_ref());
        sink.property_field(id::SERVER_REFERENCE, self.server_reference.as_ref());
        sink.user_properties(&self.user_properties);
    }
}

//! The Will, as CONNECT carries it.

use bytes::Bytes;
use dunlin_topics::TextRules;

use crate::{
    buffer::{Buffer, Frame},
    encoder::Sink,
    error::Fault,
    packet::publish::read_response_topic,
    primitive::Reader,
    property::{
        self, id,
        reader::PropertyReader,
        user::UserProperties,
        writer::{PropertySink, PropertyWriter},
    },
    qos::Qos,
    version::Version,
};

/// The Will: a message the server publishes when the connection ends without a normal DISCONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Will<B: Buffer> {
    /// Topic Name.
    pub topic: B::Text,
    /// Payload, at most 65,535 bytes.
    pub payload: B,
    /// QoS it is published with.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// Seconds between the end of the connection and the Will; 0 if absent.
    pub delay_interval: u32,
    /// Properties that travel with the message, of 5.0 only.
    pub properties: WillProperties<B>,
}

/// The properties of a Will that travel with its message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WillProperties<B: Buffer> {
    /// Whether the payload is UTF-8 text; absent is `false`.
    pub payload_format_utf8: Option<bool>,
    /// Seconds the message lives.
    pub message_expiry_interval: Option<u32>,
    /// Topic Name for a response.
    pub response_topic: Option<B::Text>,
    /// What relates a response to its request.
    pub correlation_data: Option<B>,
    /// What the payload is.
    pub content_type: Option<B::Text>,
    /// User properties, in their order.
    pub user_properties: UserProperties<B>,
}

impl<B: Buffer> Default for WillProperties<B> {
    fn default() -> Self {
        Self {
            payload_format_utf8: None,
            message_expiry_interval: None,
            response_topic: None,
            correlation_data: None,
            content_type: None,
            user_properties: UserProperties::default(),
        }
    }
}

impl<'a> Will<&'a [u8]> {
    pub(crate) fn decode(
        reader: &mut Reader<'a>,
        version: Version,
        rules: TextRules,
        qos: Qos,
        retain: bool,
    ) -> Result<Self, Fault> {
        let (delay_interval, properties) = match version {
            Version::V5 => WillProperties::decode(reader, rules)?,
            Version::V3_1 | Version::V3_1_1 => (0, WillProperties::default()),
        };
        // [MQTT-3.1.3-11]
        let topic = reader.topic_name(rules)?;
        let payload = reader.binary()?;
        Ok(Self { topic, payload, qos, retain, delay_interval, properties })
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> Will<Bytes> {
        let properties = &self.properties;
        Will {
            topic: frame.text(self.topic),
            payload: frame.bytes(self.payload),
            qos: self.qos,
            retain: self.retain,
            delay_interval: self.delay_interval,
            properties: WillProperties {
                payload_format_utf8: properties.payload_format_utf8,
                message_expiry_interval: properties.message_expiry_interval,
                response_topic: frame.maybe_text(properties.response_topic),
                correlation_data: frame.maybe_bytes(properties.correlation_data),
                content_type: frame.maybe_text(properties.content_type),
                user_properties: properties.user_properties.to_owned_in(frame),
            },
        }
    }
}

impl<'a> WillProperties<&'a [u8]> {
    /// Reads the Will Delay Interval and the properties of the message.
    fn decode(packet: &mut Reader<'a>, rules: TextRules) -> Result<(u32, Self), Fault> {
        let mut properties = PropertyReader::new(packet, property::WILL)?;
        let mut delay_interval = 0;
        let mut this = Self::default();
        while let Some(property) = properties.next()? {
            match property {
                id::WILL_DELAY_INTERVAL => delay_interval = properties.u32()?,
                id::PAYLOAD_FORMAT_INDICATOR => this.payload_format_utf8 = Some(properties.bool()?),
                id::MESSAGE_EXPIRY_INTERVAL => {
                    this.message_expiry_interval = Some(properties.u32()?)
                }
                id::RESPONSE_TOPIC => {
                    this.response_topic = Some(read_response_topic(&mut properties, rules)?)
                }
                id::CORRELATION_DATA => this.correlation_data = Some(properties.binary()?),
                _ => this.content_type = Some(properties.text()?),
            }
        }
        this.user_properties = properties.user_properties();
        Ok((delay_interval, this))
    }
}

impl<B: Buffer> PropertyWriter for Will<B> {
    #[inline]
    fn is_empty(&self) -> bool {
        let properties = &self.properties;
        self.delay_interval == 0
            && properties.payload_format_utf8.is_none()
            && properties.message_expiry_interval.is_none()
            && properties.response_topic.is_none()
            && properties.correlation_data.is_none()
            && properties.content_type.is_none()
            && properties.user_properties.is_empty()
    }

    fn write(&self, sink: &mut impl Sink) {
        let properties = &self.properties;
        sink.property_u32(
            id::WILL_DELAY_INTERVAL,
            (self.delay_interval != 0).then_some(self.delay_interval),
        );
        sink.property_bool(id::PAYLOAD_FORMAT_INDICATOR, properties.payload_format_utf8);
        sink.property_u32(id::MESSAGE_EXPIRY_INTERVAL, properties.message_expiry_interval);
        sink.property_field(id::RESPONSE_TOPIC, properties.response_topic.as_ref());
        sink.property_field(id::CORRELATION_DATA, properties.correlation_data.as_ref());
        sink.property_field(id::CONTENT_TYPE, properties.content_type.as_ref());
        sink.user_properties(&properties.user_properties);
    }
}

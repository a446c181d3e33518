//! PUBLISH.

use bytes::Bytes;
use dunlin_topics::{InvalidTopicName, TextRules, check_topic_name};

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Body, Sink},
    error::{DecodeErrorKind, EncodeError, Fault},
    id::{PacketId, TopicAlias},
    packet::PacketType,
    primitive::{Reader, fault_at, text_fault},
    property::{
        self, id,
        reader::PropertyReader,
        subscription_ids::SubscriptionIds,
        user::UserProperties,
        writer::{PropertySink, PropertyWriter},
    },
    qos::Qos,
    version::Version,
};

pub(crate) const DUP: u8 = 1 << 3;
pub(crate) const RETAIN: u8 = 1;

/// An Application Message on one hop.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publish<B: Buffer> {
    /// Whether it may have been sent before; never on QoS 0.
    pub dup: bool,
    /// Whether it is to be retained, or was.
    pub retain: bool,
    /// Quality of Service of this hop.
    pub qos: Qos,
    /// There if and only if the QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Topic Name; empty only in 5.0, where a Topic Alias stands for it.
    pub topic: B::Text,
    /// Properties, of 5.0 only.
    pub properties: PublishProperties<B>,
    /// Payload.
    pub payload: B,
}

/// A PUBLISH borrowed from the bytes it was decoded from.
pub type PublishRef<'a> = Publish<&'a [u8]>;

/// The properties of PUBLISH.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublishProperties<B: Buffer> {
    /// Whether the payload is UTF-8 text; absent is `false`.
    pub payload_format_utf8: Option<bool>,
    /// Seconds the message lives.
    pub message_expiry_interval: Option<u32>,
    /// Stands for the Topic Name, on this connection and in this direction.
    pub topic_alias: Option<TopicAlias>,
    /// Topic Name for a response.
    pub response_topic: Option<B::Text>,
    /// What relates a response to its request.
    pub correlation_data: Option<B>,
    /// What the payload is.
    pub content_type: Option<B::Text>,
    /// The subscriptions it was sent for; from a server only.
    pub subscription_ids: SubscriptionIds<B>,
    /// User properties, in their order.
    pub user_properties: UserProperties<B>,
}

impl<B: Buffer> PublishProperties<B> {
    /// Whether there is no property at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.payload_format_utf8.is_none()
            && self.message_expiry_interval.is_none()
            && self.topic_alias.is_none()
            && self.response_topic.is_none()
            && self.correlation_data.is_none()
            && self.content_type.is_none()
            && self.subscription_ids.is_empty()
            && self.user_properties.is_empty()
    }
}

impl<B: Buffer> Default for PublishProperties<B> {
    #[inline]
    fn default() -> Self {
        Self {
            payload_format_utf8: None,
            message_expiry_interval: None,
            topic_alias: None,
            response_topic: None,
            correlation_data: None,
            content_type: None,
            subscription_ids: SubscriptionIds::default(),
            user_properties: UserProperties::default(),
        }
    }
}

impl<'a> Publish<&'a [u8]> {
    /// Reads what follows the fixed header, whose flags were checked.
    ///
    /// Inlined by force: it builds the packet in the caller's place, where a call would move it (17 to 13 ns).
    #[inline(always)]
    pub(crate) fn decode(
        first: u8,
        mut reader: Reader<'a>,
        version: Version,
        rules: TextRules,
    ) -> Result<Self, Fault> {
        let topic_at = reader.offset() + 2;
        // [MQTT-3.3.2-1] [MQTT-3.3.2-1 @3.1.1]
        let topic = match reader.topic_name(rules) {
            Ok(topic) => topic,
            // A Topic Alias may stand for it; whether there is one is known below.
            Err(fault) if fault.kind == DecodeErrorKind::TopicEmpty && version.is_v5() => "",
            Err(fault) => return Err(fault),
        };
        let qos = Qos::from_bits(first >> 1 & 0b11).unwrap_or_default();
        // [MQTT-2.2.1-2] [MQTT-2.3.1-5 @3.1.1]
        let packet_id = match qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce | Qos::ExactlyOnce => Some(reader.packet_id()?),
        };
        let properties = if version.is_v5() {
            PublishProperties::decode(&mut reader, rules)?
        } else {
            PublishProperties::default()
        };
        if topic.is_empty() && properties.topic_alias.is_none() {
            // [MQTT-4.7.3-1]
            return Err(fault_at(DecodeErrorKind::TopicEmpty, topic_at));
        }
        Ok(Self {
            dup: first & DUP != 0,
            retain: first & RETAIN != 0,
            qos,
            packet_id,
            topic,
            properties,
            payload: reader.rest(),
        })
    }

    #[inline]
    pub(crate) fn slice(&self, frame: Frame<'_>) -> Publish<Bytes> {
        Publish { payload: frame.bytes(self.payload), ..self.slice_head(frame) }
    }

    /// All but the payload, which is left empty.
    #[inline(always)]
    pub(crate) fn slice_head(&self, frame: Frame<'_>) -> Publish<Bytes> {
        Publish {
            dup: self.dup,
            retain: self.retain,
            qos: self.qos,
            packet_id: self.packet_id,
            topic: frame.text(self.topic),
            properties: self.properties.slice(frame),
            payload: Bytes::new(),
        }
    }
}

impl<'a> PublishProperties<&'a [u8]> {
    #[inline(always)]
    fn slice(&self, frame: Frame<'_>) -> PublishProperties<Bytes> {
        if self.is_empty() {
            return PublishProperties::default();
        }
        PublishProperties {
            payload_format_utf8: self.payload_format_utf8,
            message_expiry_interval: self.message_expiry_interval,
            topic_alias: self.topic_alias,
            response_topic: frame.maybe_text(self.response_topic),
            correlation_data: frame.maybe_bytes(self.correlation_data),
            content_type: frame.maybe_text(self.content_type),
            subscription_ids: self.subscription_ids.to_owned_in(frame),
            user_properties: self.user_properties.to_owned_in(frame),
        }
    }

    #[inline]
    pub(crate) fn decode(packet: &mut Reader<'a>, rules: TextRules) -> Result<Self, Fault> {
        if packet.skip_zero() {
            return Ok(Self::default());
        }
        Self::decode_some(packet, rules)
    }

    fn decode_some(packet: &mut Reader<'a>, rules: TextRules) -> Result<Self, Fault> {
        let mut properties =
            PropertyReader::new(packet, property::PUBLISH)?.repeating_subscription_ids();
        let mut this = Self::default();
        while let Some(property) = properties.next()? {
            match property {
                id::PAYLOAD_FORMAT_INDICATOR => this.payload_format_utf8 = Some(properties.bool()?),
                id::MESSAGE_EXPIRY_INTERVAL => {
                    this.message_expiry_interval = Some(properties.u32()?)
                }
                id::TOPIC_ALIAS => this.topic_alias = Some(read_topic_alias(&mut properties)?),
                id::RESPONSE_TOPIC => {
                    this.response_topic = Some(read_response_topic(&mut properties, rules)?)
                }
                id::CORRELATION_DATA => this.correlation_data = Some(properties.binary()?),
                // [MQTT-3.3.2-19]
                _ => this.content_type = Some(properties.text()?),
            }
        }
        this.subscription_ids = properties.subscription_ids();
        this.user_properties = properties.user_properties();
        Ok(this)
    }
}

// [MQTT-3.3.2-8]
fn read_topic_alias(properties: &mut PropertyReader<'_>) -> Result<TopicAlias, Fault> {
    let at = properties.fields().offset();
    TopicAlias::new(properties.u16()?).ok_or_else(|| fault_at(DecodeErrorKind::TopicAliasZero, at))
}

/// Reads a Response Topic, of PUBLISH or of a Will.
pub(crate) fn read_response_topic<'a>(
    properties: &mut PropertyReader<'a>,
    rules: TextRules,
) -> Result<&'a str, Fault> {
    let bytes = properties.binary()?;
    let start = properties.fields().offset() - bytes.len();
    check_topic_name(bytes, rules).map_err(|error| match error {
        // [MQTT-3.3.2-13]
        InvalidTopicName::Text(error) => text_fault(error, start, DecodeErrorKind::ResponseTopic),
        // [MQTT-3.3.2-14]
        error @ (InvalidTopicName::Empty | InvalidTopicName::Wildcard { .. } | _) => {
            fault_at(DecodeErrorKind::ResponseTopic, start + error.offset())
        }
    })
}

impl<B: Buffer> Body for Publish<B> {
    fn first_byte(&self, version: Version) -> Result<u8, EncodeError> {
        if self.packet_id.is_some() != (self.qos > Qos::AtMostOnce) {
            return Err(EncodeError::PacketId);
        }
        let topic: &[u8] = self.topic.as_ref();
        if topic.is_empty() && !(version.is_v5() && self.properties.topic_alias.is_some()) {
            return Err(EncodeError::NotInVersion);
        }
        Ok(first_byte(self.dup, self.qos, self.retain))
    }

    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.field(self.topic.as_ref());
        if let Some(packet_id) = self.packet_id {
            sink.u16(packet_id.get());
        }
        if version.is_v5() {
            sink.properties(&self.properties);
        }
        sink.bytes(self.payload.as_ref());
    }
}

/// The first byte of a PUBLISH. [MQTT-3.3.1-2]: never DUP on QoS 0.
#[inline]
pub(crate) const fn first_byte(dup: bool, qos: Qos, retain: bool) -> u8 {
    let dup = if dup && !matches!(qos, Qos::AtMostOnce) { DUP } else { 0 };
    PacketType::Publish.first_byte() | dup | (qos as u8) << 1 | retain as u8
}

impl<B: Buffer> PropertyWriter for PublishProperties<B> {
    #[inline]
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.property_bool(id::PAYLOAD_FORMAT_INDICATOR, self.payload_format_utf8);
        sink.property_u32(id::MESSAGE_EXPIRY_INTERVAL, self.message_expiry_interval);
        sink.property_u16(id::TOPIC_ALIAS, self.topic_alias.map(TopicAlias::get));
        sink.property_field(id::RESPONSE_TOPIC, self.response_topic.as_ref());
        sink.property_field(id::CORRELATION_DATA, self.correlation_data.as_ref());
        for subscription_id in self.subscription_ids.iter() {
            sink.subscription_id(subscription_id);
        }
        sink.property_field(id::CONTENT_TYPE, self.content_type.as_ref());
        sink.user_properties(&self.user_properties);
    }
}

//! The Application Message: what travels from end to end, apart from any hop.

use alloc::boxed::Box;

use bytes::Bytes;
use dunlin_topics::{InvalidTopicName, Text, TextRules, TopicName};

use crate::{
    packet::{
        publish::{Publish, PublishProperties},
        will::{Will, WillProperties},
    },
    property::user::UserProperties,
    qos::Qos,
};

/// An Application Message: what a publisher sent, without anything of the hop it came by.
///
/// Made from a packet it owns allocations of its own size, so that a small message never keeps a large
/// read buffer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Topic Name.
    pub topic: TopicName,
    /// Payload.
    pub payload: Bytes,
    /// Quality of Service it was published with.
    pub qos: Qos,
    /// Whether it was published to be retained.
    pub retain: bool,
    /// Properties that travel with it; boxed because most messages have none.
    pub properties: Option<Box<MessageProperties>>,
}

/// The properties that travel with a message, all passed on unchanged but for the waiting time taken from the
/// Message Expiry Interval.
// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MessageProperties {
    /// Whether the payload is UTF-8 text.
    pub payload_format_utf8: Option<bool>,
    /// Seconds it lives, as received.
    pub message_expiry_interval: Option<u32>,
    /// Topic Name for a response.
    pub response_topic: Option<TopicName>,
    /// What relates a response to its request.
    pub correlation_data: Option<Bytes>,
    /// What the payload is.
    pub content_type: Option<Text>,
    /// User properties, in their order.
    pub user_properties: UserProperties<Bytes>,
}

impl Message {
    /// Copies what of a PUBLISH travels on. The topic is given, because an alias may stand for it.
    #[must_use]
    pub fn copy_from(publish: &Publish<&[u8]>, topic: TopicName) -> Self {
        Self {
            topic,
            payload: Bytes::copy_from_slice(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            properties: MessageProperties::copy_from_publish(&publish.properties).map(Box::new),
        }
    }

    /// Copies the message of a Will.
    ///
    /// # Errors
    ///
    /// The topic is not a Topic Name, which a decoded Will never has.
    pub fn from_will(will: &Will<&[u8]>) -> Result<Self, InvalidTopicName> {
        Ok(Self {
            topic: TopicName::parse(will.topic.as_bytes(), TextRules::PERMISSIVE)?,
            payload: Bytes::copy_from_slice(will.payload),
            qos: will.qos,
            retain: will.retain,
            properties: MessageProperties::copy_from_will(&will.properties).map(Box::new),
        })
    }

    /// Bytes it costs: topic, payload and properties.
    #[must_use]
    pub fn size(&self) -> usize {
        let properties = self.properties.as_deref().map_or(0, MessageProperties::size);
        self.topic.len() + self.payload.len() + properties
    }

    /// Seconds it lives, as received.
    #[inline]
    #[must_use]
    pub fn message_expiry_interval(&self) -> Option<u32> {
        self.properties.as_ref()?.message_expiry_interval
    }
}

impl MessageProperties {
    /// Whether there is no property at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Bytes they cost.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + self.response_topic.as_ref().map_or(0, TopicName::len)
            + self.correlation_data.as_ref().map_or(0, Bytes::len)
            + self.content_type.as_ref().map_or(0, Text::len)
            + self.user_properties.size()
    }

    fn copy_from_publish(publish: &PublishProperties<&[u8]>) -> Option<Self> {
        // Most messages have none; those of 3.x never.
        if publish.is_empty() {
            return None;
        }
        let this = Self {
            payload_format_utf8: publish.payload_format_utf8,
            message_expiry_interval: publish.message_expiry_interval,
            response_topic: publish.response_topic.and_then(copy_topic),
            correlation_data: publish.correlation_data.map(Bytes::copy_from_slice),
            content_type: publish.content_type.and_then(copy_text),
            user_properties: publish.user_properties.copy(),
        };
        (!this.is_empty()).then_some(this)
    }

    fn copy_from_will(will: &WillProperties<&[u8]>) -> Option<Self> {
        let this = Self {
            payload_format_utf8: will.payload_format_utf8,
            message_expiry_interval: will.message_expiry_interval,
            response_topic: will.response_topic.and_then(copy_topic),
            correlation_data: will.correlation_data.map(Bytes::copy_from_slice),
            content_type: will.content_type.and_then(copy_text),
            user_properties: will.user_properties.copy(),
        };
        (!this.is_empty()).then_some(this)
    }
}

// What was decoded was checked, by rules at least as strict as these.

fn copy_topic(topic: &str) -> Option<TopicName> {
    TopicName::parse(topic.as_bytes(), TextRules::PERMISSIVE).ok()
}

fn copy_text(text: &str) -> Option<Text> {
    Text::parse(text.as_bytes(), TextRules::PERMISSIVE).ok()
}

//! The way out of a message: the head of a PUBLISH for one hop, written straight from the shared message.

use alloc::vec::Vec;

use dunlin_topics::TopicName;

use crate::{
    encoder::{Counter, Sink},
    id::{PacketId, SubscriptionId, TopicAlias},
    message::{Message, MessageProperties},
    packet::publish,
    primitive::varint_len,
    property::{id, writer::PropertySink},
    qos::Qos,
    version::Version,
};

/// What a PUBLISH has beyond its message: all that belongs to one hop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hop<'a> {
    /// Quality of Service of this hop.
    pub qos: Qos,
    /// There if and only if the QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Whether this is a retransmission.
    pub dup: bool,
    /// The RETAIN flag for this receiver.
    pub retain: bool,
    /// An alias for the topic, and whether the receiver knows it already, so that the topic may be left out.
    pub topic_alias: Option<(TopicAlias, bool)>,
    /// The receiver's subscriptions that it is sent for.
    pub subscription_ids: &'a [SubscriptionId],
    /// Seconds the message still has to live; this is what goes out, not what the message came with.
    pub message_expiry_interval: Option<u32>,
}

/// The lengths of the parts of a PUBLISH.
#[derive(Clone, Copy)]
struct Lengths {
    /// All properties, without the length before them.
    properties: usize,
    /// All that follows the fixed header.
    remaining: usize,
}

/// Bytes of the whole PUBLISH: head and payload.
#[inline]
#[must_use]
pub fn publish_len(message: &Message, hop: &Hop<'_>, version: Version) -> usize {
    let Lengths { remaining, .. } = lengths(message, hop, version);
    1 + varint_len(remaining) + remaining
}

/// Appends all of a PUBLISH that comes before the payload; the caller sends `message.payload` right behind it.
///
/// Nothing is checked again: a message is valid by construction. What [`publish_len`] puts above
/// [`PACKET_SIZE_MAX`](crate::PACKET_SIZE_MAX) cannot be said and must not be written.
#[inline]
pub fn encode_publish_head(message: &Message, hop: &Hop<'_>, version: Version, out: &mut Vec<u8>) {
    let Lengths { properties, remaining } = lengths(message, hop, version);
    let topic = topic(message, hop, version);
    out.reserve(1 + varint_len(remaining) + remaining - message.payload.len());
    out.u8(publish::first_byte(hop.dup, hop.qos, hop.retain));
    out.varint(remaining);
    out.field(topic);
    if let Some(packet_id) = hop.packet_id {
        out.u16(packet_id.get());
    }
    if version.is_v5() {
        out.varint(properties);
        if properties > 0 {
            write_properties(message.properties.as_deref(), hop, out);
        }
    }
}

#[inline]
fn lengths(message: &Message, hop: &Hop<'_>, version: Version) -> Lengths {
    let id = if hop.packet_id.is_some() { 2 } else { 0 };
    let before = 2 + topic(message, hop, version).len() + id;
    if !version.is_v5() {
        return Lengths { properties: 0, remaining: before + message.payload.len() };
    }
    let properties = if message.properties.is_none() && hop.is_plain() {
        0
    } else {
        Counter::count(|counter| write_properties(message.properties.as_deref(), hop, counter))
    };
    let remaining = before + varint_len(properties) + properties + message.payload.len();
    Lengths { properties, remaining }
}

#[inline]
fn topic<'a>(message: &'a Message, hop: &Hop<'_>, version: Version) -> &'a [u8] {
    match hop.topic_alias {
        Some((_, true)) if version.is_v5() => &[],
        _ => message.topic.as_bytes(),
    }
}

impl Hop<'_> {
    /// Whether it adds no property.
    #[inline]
    const fn is_plain(&self) -> bool {
        self.topic_alias.is_none()
            && self.subscription_ids.is_empty()
            && self.message_expiry_interval.is_none()
    }
}

fn write_properties(message: Option<&MessageProperties>, hop: &Hop<'_>, sink: &mut impl Sink) {
    // [MQTT-3.3.2-6]
    sink.property_u32(id::MESSAGE_EXPIRY_INTERVAL, hop.message_expiry_interval);
    sink.property_u16(id::TOPIC_ALIAS, hop.topic_alias.map(|(alias, _)| alias.get()));
    // [MQTT-3.3.4-3]
    for subscription_id in hop.subscription_ids {
        sink.subscription_id(*subscription_id);
    }
    let Some(message) = message else { return };
    sink.property_bool(id::PAYLOAD_FORMAT_INDICATOR, message.payload_format_utf8);
    sink.property_field(id::RESPONSE_TOPIC, message.response_topic.as_ref().map(TopicName::text));
    sink.property_field(id::CORRELATION_DATA, message.correlation_data.as_ref());
    sink.property_field(id::CONTENT_TYPE, message.content_type.as_ref());
    sink.user_properties(&message.user_properties);
}

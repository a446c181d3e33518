//! What a store holds, as the lines of an export.

use dunlin_codec::{Message as Application, MessageProperties, SubscriptionId};
use dunlin_store::{
    Publication, RetainedRecord, SessionKey, StoredSession, SubscriptionRecord, Target, UnixMillis,
};

use super::line::{
    Binary, Content, Message, Properties, Retained, Session, Subscription, Target as TargetLine,
    Will,
};

pub(super) fn session(stored: &StoredSession) -> Session {
    let (client_id, group) = match &stored.key {
        SessionKey::Client(id) => (Some(id.as_str().to_owned()), None),
        SessionKey::Group(filter) => (None, Some(filter.as_str().to_owned())),
    };
    let record = &stored.record;
    Session {
        number: stored.session.0,
        namespace: stored.namespace.0,
        client_id,
        group,
        owner: record.owner.to_string(),
        expiry_secs: record.expiry_secs,
        disconnected_at: record.disconnected_at.map(millis),
        will: record
            .will
            .as_ref()
            .map(|will| Will { delay_secs: will.delay_secs, content: content(&will.message) }),
        subscriptions: stored
            .subscriptions
            .iter()
            .map(|(filter, record)| subscription(filter.as_str(), record))
            .collect(),
        inbound: stored.inbound.iter().map(|id| id.get()).collect(),
        acknowledged_through: stored.cursor.acknowledged_through(),
        acknowledged: stored.cursor.ranges().collect(),
        released: stored.cursor.released().collect(),
    }
}

fn subscription(filter: &str, record: &SubscriptionRecord) -> Subscription {
    let options = record.options;
    Subscription {
        filter: filter.to_owned(),
        qos: options.qos.into(),
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        // Bits 4 and 5 of the Subscription Options.
        retain_handling: options.to_bits() >> 4,
        subscription_id: record.subscription_id.map(SubscriptionId::get),
    }
}

pub(super) fn retained(record: &RetainedRecord) -> Retained {
    Retained {
        namespace: record.namespace.0,
        number: record.number,
        stored_at: millis(record.stored_at),
        expires_at: record.expires_at.map(millis),
        content: content(&record.message),
    }
}

/// A message with those of its targets that still wait for it.
pub(super) fn message(publication: &Publication, waits: impl Fn(&Target) -> bool) -> Message {
    Message {
        published_at: millis(publication.published_at),
        expires_at: publication.expires_at.map(millis),
        publisher: publication.publisher.map(|session| session.0),
        targets: publication
            .targets
            .iter()
            .filter(|target| waits(target))
            .map(|target| TargetLine {
                session: target.session.0,
                seq: target.seq,
                qos: target.qos.into(),
                retain: target.retain,
                subscription_ids: target.subscription_ids.iter().map(|id| id.get()).collect(),
            })
            .collect(),
        content: content(&publication.message),
    }
}

fn content(message: &Application) -> Content {
    Content {
        topic: message.topic.as_str().to_owned(),
        qos: message.qos.into(),
        retain: message.retain,
        properties: message
            .properties
            .as_deref()
            .filter(|properties| !properties.is_empty())
            .map(properties),
        payload: Binary(message.payload.to_vec()),
    }
}

fn properties(properties: &MessageProperties) -> Properties {
    let pairs = properties.user_properties.iter();
    Properties {
        payload_format_utf8: properties.payload_format_utf8,
        message_expiry_interval: properties.message_expiry_interval,
        response_topic: properties.response_topic.as_ref().map(|topic| topic.as_str().to_owned()),
        correlation_data: properties.correlation_data.as_ref().map(|data| Binary(data.to_vec())),
        content_type: properties.content_type.as_ref().map(|text| text.as_str().to_owned()),
        user_properties: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

const fn millis(time: UnixMillis) -> u64 {
    time.0
}

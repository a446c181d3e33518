//! Lines of an export as what a store keeps. Every value is checked again: a file may have been written by anybody.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_codec::{
    ClientId, Message as Application, MessageProperties, PacketId, Qos, SubscriptionId,
    SubscriptionOptions, Text, TextRules, TopicName, UserProperties,
};
use dunlin_store::{
    Cursor, NamespaceNo, Publication, RetainedRecord, SessionKey, SessionNo, SessionRecord,
    StoredSession, SubscriptionRecord, Target, UnixMillis, WillRecord,
};

use super::line::{
    Content, Message, Properties, Retained, Session, Subscription, Target as TargetLine,
};

/// What is wrong with a value, as the end of "line 7: ...".
pub(super) type Wrong = String;

/// What the broker let in stays in, whatever rules it has today.
const RULES: TextRules = TextRules::PERMISSIVE;

pub(super) fn session(line: Session) -> Result<StoredSession, Wrong> {
    let number = line.number;
    if number == 0 {
        return Err("a session's number is at least 1".to_owned());
    }
    let key = match (line.client_id, line.group) {
        (Some(id), None) => SessionKey::Client(
            ClientId::with_rules(id, RULES).map_err(|error| format!("`client_id`: {error}"))?,
        ),
        (None, Some(filter)) => SessionKey::Group(text("group", filter)?),
        (Some(_), Some(_)) | (None, None) => {
            return Err(format!("session {number} must have either `client_id` or `group`"));
        }
    };
    let will = line.will.map(|will| {
        Ok::<_, Wrong>(WillRecord {
            message: Arc::new(application(will.content)?),
            delay_secs: will.delay_secs,
        })
    });
    let cursor = cursor(line.acknowledged_through, &line.acknowledged, &line.released)
        .ok_or_else(|| format!("the places of session {number} contradict each other"))?;
    Ok(StoredSession {
        session: SessionNo(number),
        namespace: NamespaceNo(line.namespace),
        key,
        record: SessionRecord {
            expiry_secs: line.expiry_secs,
            owner: line.owner.into(),
            will: will.transpose()?,
            disconnected_at: line.disconnected_at.map(UnixMillis),
        },
        subscriptions: subscriptions(line.subscriptions)?,
        inbound: line.inbound.into_iter().map(packet_id).collect::<Result<_, _>>()?,
        cursor,
    })
}

/// The cursor that is written so, `None` if none is.
fn cursor(through: u64, ranges: &[(u64, u64)], released: &[u64]) -> Option<Cursor> {
    let mut cursor = Cursor::default();
    cursor.acknowledge(1, through);
    ranges.iter().for_each(|&(first, last)| cursor.acknowledge(first, last));
    released.iter().for_each(|&seq| cursor.release(seq));
    let same = cursor.acknowledged_through() == through
        && cursor.ranges().eq(ranges.iter().copied())
        && cursor.released().eq(released.iter().copied())
        && !released.contains(&0);
    same.then_some(cursor)
}

fn subscriptions(lines: Vec<Subscription>) -> Result<Vec<(Text, SubscriptionRecord)>, Wrong> {
    let mut filters = HashSet::new();
    let mut all = Vec::with_capacity(lines.len());
    for line in lines {
        let record = SubscriptionRecord {
            options: options(&line)?,
            subscription_id: line.subscription_id.map(subscription_id).transpose()?,
        };
        let filter = text("filter", line.filter)?;
        if !filters.insert(filter.clone()) {
            return Err(format!("two subscriptions to `{}`", filter.as_str()));
        }
        all.push((filter, record));
    }
    Ok(all)
}

fn options(line: &Subscription) -> Result<SubscriptionOptions, Wrong> {
    // Bits 4 and 5 of the Subscription Options.
    let handling = (line.retain_handling <= 2)
        .then(|| SubscriptionOptions::from_bits(line.retain_handling << 4))
        .flatten()
        .ok_or_else(|| format!("`retain_handling` is 0, 1 or 2, not {}", line.retain_handling))?;
    Ok(SubscriptionOptions {
        qos: qos(line.qos)?,
        no_local: line.no_local,
        retain_as_published: line.retain_as_published,
        retain_handling: handling.retain_handling,
    })
}

pub(super) fn retained(line: Retained) -> Result<RetainedRecord, Wrong> {
    Ok(RetainedRecord {
        namespace: NamespaceNo(line.namespace),
        number: line.number,
        stored_at: UnixMillis(line.stored_at),
        expires_at: line.expires_at.map(UnixMillis),
        message: Arc::new(application(line.content)?),
    })
}

pub(super) fn message(line: Message) -> Result<Publication, Wrong> {
    if line.targets.is_empty() {
        return Err("the message waits for nobody: `targets` is empty".to_owned());
    }
    Ok(Publication {
        published_at: UnixMillis(line.published_at),
        expires_at: line.expires_at.map(UnixMillis),
        publisher: line.publisher.map(SessionNo),
        targets: line.targets.into_iter().map(target).collect::<Result<_, _>>()?,
        message: Arc::new(application(line.content)?),
    })
}

fn target(line: TargetLine) -> Result<Target, Wrong> {
    Ok(Target {
        session: SessionNo(line.session),
        seq: line.seq,
        qos: qos(line.qos)?,
        retain: line.retain,
        subscription_ids: line
            .subscription_ids
            .into_iter()
            .map(subscription_id)
            .collect::<Result<_, _>>()?,
    })
}

fn application(content: Content) -> Result<Application, Wrong> {
    Ok(Application {
        topic: topic("topic", content.topic)?,
        payload: content.payload.0.into(),
        qos: qos(content.qos)?,
        retain: content.retain,
        properties: content.properties.map(properties).transpose()?.map(Box::new),
    })
}

fn properties(line: Properties) -> Result<MessageProperties, Wrong> {
    let pairs = line.user_properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(MessageProperties {
        payload_format_utf8: line.payload_format_utf8,
        message_expiry_interval: line.message_expiry_interval,
        response_topic: line
            .response_topic
            .map(|text| topic("response_topic", text))
            .transpose()?,
        correlation_data: line.correlation_data.map(|data| Bytes::from(data.0)),
        content_type: line.content_type.map(|value| text("content_type", value)).transpose()?,
        user_properties: UserProperties::from_pairs(pairs)
            .map_err(|error| format!("`user_properties`: {error}"))?,
    })
}

pub(super) fn text(key: &str, value: String) -> Result<Text, Wrong> {
    Text::with_rules(value, RULES).map_err(|error| format!("`{key}`: {error}"))
}

fn topic(key: &str, value: String) -> Result<TopicName, Wrong> {
    TopicName::with_rules(value, RULES).map_err(|error| format!("`{key}`: {error}"))
}

fn qos(level: u8) -> Result<Qos, Wrong> {
    Qos::try_from(level).map_err(|error| error.to_string())
}

fn packet_id(id: u16) -> Result<PacketId, Wrong> {
    PacketId::new(id).ok_or_else(|| "a packet identifier is never 0".to_owned())
}

fn subscription_id(id: u32) -> Result<SubscriptionId, Wrong> {
    SubscriptionId::new(id)
        .ok_or_else(|| format!("a subscription identifier is from 1 to 268435455, not {id}"))
}

//! The bytes of each record, as `docs/FORMAT.md` describes them.
//!
//! Every record ends with a checksum that covers its key too, so that a row which lost its way to another key is found.

use std::sync::Arc;

use dunlin_codec::{
    ClientId, DecodeLimits, Hop, Message, PACKET_SIZE_MAX, Packet, Qos, SubscriptionId,
    SubscriptionOptions, Text, TextRules, TopicName, Version, decode, encode_publish_head,
};

use super::bytes::{Bytes, checksum, put_field, put_varint, seal, unseal, unzigzag, zigzag};
use crate::backend::RetainedRecord;
use crate::cursor::Cursor;
use crate::id::{MessageId, NamespaceNo, SessionNo, UnixMillis};
use crate::record::{
    Publication, SessionKey, SessionRecord, SubscriptionRecord, Target, WillRecord,
};

/// The version of each record's own layout.
const VERSION: u8 = 1;

const QOS_BITS: u8 = 0b11;
const TARGET_RETAIN: u8 = 1 << 2;
const TARGET_IDS: u8 = 1 << 3;
const HEADER_RETAIN: u8 = 1 << 2;

/// A stored message without its body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) published_at: UnixMillis,
    pub(super) expires_at: Option<UnixMillis>,
    pub(super) publisher: Option<SessionNo>,
    pub(super) targets: Vec<Target>,
    pub(super) size: usize,
    pub(super) body_len: u64,
    pub(super) body_crc: u32,
}

// ---- Messages ----

/// The topic, the properties and the payload of a message: a PUBLISH of MQTT 5.0 with QoS 0.
pub(super) fn put_message(out: &mut Vec<u8>, message: &Message) {
    let hop = Hop {
        qos: Qos::AtMostOnce,
        packet_id: None,
        dup: false,
        retain: message.retain,
        topic_alias: None,
        subscription_ids: &[],
        message_expiry_interval: message.message_expiry_interval(),
    };
    encode_publish_head(message, &hop, Version::V5, out);
    out.extend_from_slice(&message.payload);
}

pub(super) fn message(bytes: &[u8], qos: Qos) -> Option<Message> {
    let limits = DecodeLimits { packet_size_max: PACKET_SIZE_MAX, text: TextRules::PERMISSIVE };
    let Ok(Some((Packet::Publish(publish), used))) = decode(bytes, Version::V5, &limits) else {
        return None;
    };
    let topic = TopicName::parse(publish.topic.as_bytes(), TextRules::PERMISSIVE).ok()?;
    (used == bytes.len()).then(|| Message { qos, ..Message::copy_from(&publish, topic) })
}

/// The two columns of a stored message.
pub(super) fn put_publication(
    id: MessageId,
    publication: &Publication,
    header: &mut Vec<u8>,
    body: &mut Vec<u8>,
) {
    body.clear();
    put_message(body, &publication.message);
    header.clear();
    header.push(VERSION);
    let retain = if publication.message.retain { HEADER_RETAIN } else { 0 };
    header.push(publication.message.qos as u8 | retain);
    put_varint(header, publication.published_at.0);
    put_maybe(header, publication.expires_at.map(|at| at.0));
    put_maybe(header, publication.publisher.map(|session| session.0.into()));
    put_varint(header, publication.targets.len() as u64);
    let mut before = 0;
    for target in &publication.targets {
        let session = i64::from(target.session.0);
        put_varint(header, zigzag(session - before));
        before = session;
        put_target(header, target);
    }
    put_varint(header, publication.message.size() as u64);
    put_varint(header, body.len() as u64);
    header.extend_from_slice(&checksum(&[body]).to_le_bytes());
    seal(header, 0, &[&id.0.to_le_bytes()]);
}

fn put_target(out: &mut Vec<u8>, target: &Target) {
    put_varint(out, target.seq);
    let retain = if target.retain { TARGET_RETAIN } else { 0 };
    let ids = if target.subscription_ids.is_empty() { 0 } else { TARGET_IDS };
    out.push(target.qos as u8 | retain | ids);
    if ids != 0 {
        put_varint(out, target.subscription_ids.len() as u64);
        for id in &target.subscription_ids {
            put_varint(out, id.get().into());
        }
    }
}

/// `None` if the checksum or anything else is wrong.
pub(super) fn header(id: MessageId, sealed: &[u8]) -> Option<Header> {
    let mut bytes = Bytes(unseal(sealed, &[&id.0.to_le_bytes()])?);
    let flags = versioned(&mut bytes)?.byte()?;
    let published_at = UnixMillis(bytes.varint()?);
    let expires_at = maybe(&mut bytes)?.map(UnixMillis);
    let publisher = match maybe(&mut bytes)? {
        None => None,
        Some(session) => Some(SessionNo(u32::try_from(session).ok()?)),
    };
    let count = bytes.varint()?;
    let mut targets = Vec::with_capacity(usize::try_from(count).ok()?.min(sealed.len()));
    let mut session = 0;
    for _ in 0..count {
        session += unzigzag(bytes.varint()?);
        targets.push(target(&mut bytes, SessionNo(u32::try_from(session).ok()?))?);
    }
    let size = usize::try_from(bytes.varint()?).ok()?;
    let (body_len, body_crc) = (bytes.varint()?, bytes.u32()?);
    bytes.end()?;
    Some(Header {
        qos: qos(flags)?,
        retain: flags & HEADER_RETAIN != 0,
        published_at,
        expires_at,
        publisher,
        targets,
        size,
        body_len,
        body_crc,
    })
}

fn target(bytes: &mut Bytes<'_>, session: SessionNo) -> Option<Target> {
    let seq = bytes.varint()?;
    let flags = bytes.byte()?;
    let mut subscription_ids = Vec::new();
    if flags & TARGET_IDS != 0 {
        for _ in 0..bytes.varint()? {
            subscription_ids.push(SubscriptionId::new(bytes.u32_varint()?)?);
        }
    }
    let subscription_ids = subscription_ids.into_boxed_slice();
    Some(Target {
        session,
        seq,
        qos: qos(flags)?,
        retain: flags & TARGET_RETAIN != 0,
        subscription_ids,
    })
}

/// Whether the body is what the header says it is.
pub(super) fn body_is_sound(header: &Header, body: &[u8]) -> bool {
    header.body_len == body.len() as u64 && header.body_crc == checksum(&[body])
}

/// `None` if the body is not what the header says it is.
pub(super) fn publication(header: Header, body: &[u8]) -> Option<Publication> {
    if !body_is_sound(&header, body) {
        return None;
    }
    Some(Publication {
        message: Arc::new(message(body, header.qos)?),
        published_at: header.published_at,
        expires_at: header.expires_at,
        publisher: header.publisher,
        targets: header.targets,
    })
}

// ---- Sessions ----

/// The number that stands for a kind of key in the table of sessions.
pub(super) const fn kind(key: &SessionKey) -> u8 {
    match key {
        SessionKey::Client(_) => 0,
        SessionKey::Group(_) => 1,
    }
}

pub(super) fn key_text(key: &SessionKey) -> &str {
    match key {
        SessionKey::Client(client_id) => client_id.as_str(),
        SessionKey::Group(filter) => filter.as_str(),
    }
}

pub(super) fn key(kind: i64, text: &str) -> Option<SessionKey> {
    match kind {
        0 => ClientId::with_rules(text.to_owned(), TextRules::PERMISSIVE)
            .ok()
            .map(SessionKey::Client),
        1 => permissive(text).map(SessionKey::Group),
        _ => None,
    }
}

pub(super) fn put_session(
    out: &mut Vec<u8>,
    session: SessionNo,
    namespace: NamespaceNo,
    key: &SessionKey,
    record: &SessionRecord,
) {
    out.clear();
    out.push(VERSION);
    put_varint(out, record.expiry_secs.into());
    put_field(out, record.owner.as_bytes());
    put_maybe(out, record.disconnected_at.map(|at| at.0));
    match &record.will {
        None => out.push(0),
        Some(will) => {
            out.push(1 + will.message.qos as u8);
            put_varint(out, will.delay_secs.into());
            put_message(out, &will.message);
        }
    }
    seal(out, 0, &session_key(session, namespace, kind(key), key_text(key)).each());
}

pub(super) fn session(
    sealed: &[u8],
    session: SessionNo,
    namespace: NamespaceNo,
    key: &SessionKey,
) -> Option<SessionRecord> {
    let covered = session_key(session, namespace, kind(key), key_text(key));
    let mut bytes = Bytes(unseal(sealed, &covered.each())?);
    let expiry_secs = versioned(&mut bytes)?.u32_varint()?;
    let owner = std::str::from_utf8(bytes.field()?).ok()?.into();
    let disconnected_at = maybe(&mut bytes)?.map(UnixMillis);
    let will = match bytes.byte()? {
        0 => {
            bytes.end()?;
            None
        }
        marked => {
            let delay_secs = bytes.u32_varint()?;
            let message = Arc::new(message(bytes.0, qos(marked - 1)?)?);
            Some(WillRecord { message, delay_secs })
        }
    };
    Some(SessionRecord { expiry_secs, owner, will, disconnected_at })
}

/// What the checksum of a session's row covers beside its value.
struct SessionKeyBytes<'a>([u8; 4], [u8; 4], [u8; 1], &'a [u8]);

impl SessionKeyBytes<'_> {
    fn each(&self) -> [&[u8]; 4] {
        [&self.0, &self.1, &self.2, self.3]
    }
}

fn session_key(
    session: SessionNo,
    namespace: NamespaceNo,
    kind: u8,
    text: &str,
) -> SessionKeyBytes<'_> {
    SessionKeyBytes(session.0.to_le_bytes(), namespace.0.to_le_bytes(), [kind], text.as_bytes())
}

pub(super) fn put_subscription(
    out: &mut Vec<u8>,
    session: SessionNo,
    filter: &str,
    record: &SubscriptionRecord,
) {
    out.clear();
    out.push(VERSION);
    out.push(record.options.to_bits());
    put_varint(out, record.subscription_id.map_or(0, |id| id.get().into()));
    seal(out, 0, &[&session.0.to_le_bytes(), filter.as_bytes()]);
}

pub(super) fn subscription(
    sealed: &[u8],
    session: SessionNo,
    filter: &str,
) -> Option<SubscriptionRecord> {
    let mut bytes = Bytes(unseal(sealed, &[&session.0.to_le_bytes(), filter.as_bytes()])?);
    let options = SubscriptionOptions::from_bits(versioned(&mut bytes)?.byte()?)?;
    let subscription_id = match bytes.u32_varint()? {
        0 => None,
        id => Some(SubscriptionId::new(id)?),
    };
    bytes.end()?;
    Some(SubscriptionRecord { options, subscription_id })
}

// ---- Cursors ----

pub(super) fn put_cursor(out: &mut Vec<u8>, session: SessionNo, cursor: &Cursor) {
    out.clear();
    out.push(VERSION);
    let through = cursor.acknowledged_through();
    put_varint(out, through);
    put_varint(out, cursor.ranges().count() as u64);
    let mut before = through;
    for (first, last) in cursor.ranges() {
        put_varint(out, first - before);
        put_varint(out, last - first);
        before = last;
    }
    put_varint(out, cursor.released().count() as u64);
    let mut before = through;
    for seq in cursor.released() {
        put_varint(out, seq - before);
        before = seq;
    }
    seal(out, 0, &[&session.0.to_le_bytes()]);
}

pub(super) fn cursor(sealed: &[u8], session: SessionNo) -> Option<Cursor> {
    let mut bytes = Bytes(unseal(sealed, &[&session.0.to_le_bytes()])?);
    let through = versioned(&mut bytes)?.varint()?;
    let mut cursor = Cursor::default();
    cursor.acknowledge(1, through);
    let mut before = through;
    for _ in 0..bytes.varint()? {
        let first = before.checked_add(bytes.varint()?)?;
        before = first.checked_add(bytes.varint()?)?;
        cursor.acknowledge(first, before);
    }
    let mut before = through;
    for _ in 0..bytes.varint()? {
        before = before.checked_add(bytes.varint()?)?;
        cursor.release(before);
    }
    bytes.end()?;
    Some(cursor)
}

// ---- Retained messages ----

pub(super) fn put_retained(out: &mut Vec<u8>, record: &RetainedRecord) {
    out.clear();
    out.push(VERSION);
    out.push(record.message.qos as u8);
    put_varint(out, record.stored_at.0);
    put_maybe(out, record.expires_at.map(|at| at.0));
    put_message(out, &record.message);
    let topic = record.message.topic.as_bytes();
    seal(out, 0, &[&record.namespace.0.to_le_bytes(), &record.number.to_le_bytes(), topic]);
}

pub(super) fn retained(
    sealed: &[u8],
    namespace: NamespaceNo,
    topic: &str,
    number: u64,
) -> Option<RetainedRecord> {
    let key: [&[u8]; 3] = [&namespace.0.to_le_bytes(), &number.to_le_bytes(), topic.as_bytes()];
    let mut bytes = Bytes(unseal(sealed, &key)?);
    let flags = versioned(&mut bytes)?.byte()?;
    let stored_at = UnixMillis(bytes.varint()?);
    let expires_at = maybe(&mut bytes)?.map(UnixMillis);
    let message = Arc::new(message(bytes.0, qos(flags)?)?);
    (message.topic.as_str() == topic).then_some(RetainedRecord {
        namespace,
        message,
        number,
        stored_at,
        expires_at,
    })
}

// ---- Parts ----

/// A text that was taken before, under whatever rules then held.
pub(super) fn permissive(text: &str) -> Option<Text> {
    Text::with_rules(text.to_owned(), TextRules::PERMISSIVE).ok()
}

fn versioned<'a, 'b>(bytes: &'a mut Bytes<'b>) -> Option<&'a mut Bytes<'b>> {
    (bytes.byte()? == VERSION).then_some(bytes)
}

fn qos(flags: u8) -> Option<Qos> {
    Qos::try_from(flags & QOS_BITS).ok()
}

/// A number that may be missing: 0, or one more than the number.
fn put_maybe(out: &mut Vec<u8>, value: Option<u64>) {
    put_varint(out, value.map_or(0, |value| value.saturating_add(1)));
}

fn maybe(bytes: &mut Bytes<'_>) -> Option<Option<u64>> {
    Some(bytes.varint()?.checked_sub(1))
}

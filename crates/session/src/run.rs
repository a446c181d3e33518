//! Messages for one client that go out as they came in: PUBLISHes of QoS 1 or 2, of which only the Packet Identifier
//! changes.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_codec::{Message, PacketId, Qos, TopicName, Version, frames_of_run, transcode_run};

use crate::delivery::{Delivery, Origin, SubscriptionIds};
use crate::packet_ids::packet_id_of;

/// Consecutive messages of QoS 1 or of QoS 2 to one topic, for one client: its copies of what [`dunlin_codec::publish_run`] found.
///
/// It stands for as many [`Delivery`]s, and becomes them where they have to be told apart; those that were released by PUBREC
/// do not come back any more. All copies share one block of
/// bytes, which lives as long as one of its messages is wanted by anybody.
#[derive(Clone, Debug)]
pub struct Run {
    block: Arc<[u8]>,
    /// The first byte of `block` that is still part of the run.
    from: u32,
    /// The byte behind the last.
    to: u32,
    frames: u32,
    /// Bytes of all topics and payloads.
    size: u32,
    largest: u32,
    topic: TopicName,
    qos: Qos,
    version: Version,
    seq: u64,
    origin: Origin,
}

impl Run {
    /// Copies a run that [`dunlin_codec::publish_run`] found at the front of `input` for `qos`, above 0, and `version`.
    /// `topic` is its topic, checked. None if the run has 4 GiB or more.
    #[must_use]
    pub fn new(
        input: &[u8],
        found: &dunlin_codec::Run<'_>,
        topic: TopicName,
        qos: Qos,
        version: Version,
    ) -> Option<Self> {
        let small = |size: usize| u32::try_from(size).ok();
        let block = input.get(..found.bytes)?;
        Some(Self {
            from: 0,
            to: small(found.bytes)?,
            frames: small(found.frames)?,
            size: small(found.frames * topic.len() + found.payload)?,
            largest: small(found.largest)?,
            block: block.into(),
            topic,
            qos,
            version,
            seq: 0,
            origin: Origin::Plain,
        })
    }

    /// How many messages it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.frames as usize
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Bytes of all topics and payloads together, as [`Message::size`] counts them.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size as usize
    }

    /// Bytes of all payloads.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.size().saturating_sub(self.topic.len() * self.len())
    }

    /// Bytes of the largest packet, at least.
    #[must_use]
    pub const fn largest(&self) -> u32 {
        self.largest
    }

    /// The QoS of its messages.
    #[must_use]
    pub const fn qos(&self) -> Qos {
        self.qos
    }

    /// The topic of its messages.
    #[must_use]
    pub const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The layout of its packets.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Its packets, with the Packet Identifiers that their publisher gave them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.block.get(self.from as usize..self.to as usize).unwrap_or_default()
    }

    /// The place of its first message among the session's messages with QoS above 0, as in [`Delivery::seq`]; those behind
    /// it follow. 0 while it has none.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Gives its messages their places, from `seq` on.
    pub const fn place_at(&mut self, seq: u64) {
        self.seq = seq;
    }

    /// By which kind of subscription its messages come.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Makes them messages of the shared group with this number, in whose own queue they have no place.
    pub const fn came_by_group(&mut self, group: u32) {
        self.origin = Origin::Shared { group, seq: 0 };
    }

    /// The Packet Identifiers with which it goes out.
    // [MQTT-2.2.1-4] [MQTT-2.3.1-4 @3.1.1]
    pub fn packet_ids(&self) -> impl Iterator<Item = PacketId> + use<> {
        (self.seq..self.seq + u64::from(self.frames)).map(packet_id_of)
    }

    /// The same messages in the layout of another version, and at `qos` if that is lower than theirs. At QoS 0 they are no
    /// run: see [`transcode_run`].
    #[must_use]
    pub fn transcoded(&self, to: Version, qos: Qos) -> Self {
        let qos = qos.max(Qos::AtLeastOnce).min(self.qos);
        let mut block = Vec::with_capacity(self.bytes().len() + self.len());
        transcode_run(self.bytes(), self.version, to, qos, &mut block);
        Self {
            from: 0,
            to: u32::try_from(block.len()).unwrap_or(u32::MAX),
            // One byte of properties, and one more of Remaining Length.
            largest: self.largest.saturating_add(2),
            block: block.into(),
            topic: self.topic.clone(),
            qos,
            version: to,
            ..*self
        }
    }

    /// Takes the first `count` messages away from it.
    #[must_use]
    pub fn split_front(&mut self, count: usize) -> Self {
        let mut front = self.clone();
        for _ in 0..count.min(self.len()) {
            self.forget_first();
        }
        front.to = self.from;
        front.frames -= self.frames;
        front.size -= self.size;
        front
    }

    /// Takes the first message away from it, as one of its own.
    pub fn pop(&mut self) -> Option<Delivery> {
        let frame = frames_of_run(self.bytes(), self.version).next()?;
        let message = Arc::new(Message {
            topic: self.topic.clone(),
            payload: Bytes::copy_from_slice(frame.payload()),
            qos: self.qos,
            retain: false,
            properties: None,
        });
        let delivery = Delivery {
            message,
            qos: self.qos,
            retain: false,
            subscription_ids: SubscriptionIds::new(),
            seq: self.seq,
            expires_at: None,
            sent_before: false,
            origin: self.origin,
        };
        self.forget_first();
        Some(delivery)
    }

    /// Forgets the first message; gives its size.
    #[inline]
    pub(crate) fn forget_first(&mut self) -> usize {
        let Some(frame) = frames_of_run(self.bytes(), self.version).next() else { return 0 };
        let size = self.topic.len() + frame.payload().len();
        self.from += small(frame.bytes.len());
        self.size -= small(size);
        self.frames -= 1;
        if self.seq > 0 {
            self.seq += 1;
        }
        size
    }

    /// The place behind its last message.
    pub(crate) fn end(&self) -> u64 {
        self.seq + u64::from(self.frames)
    }
}

impl Iterator for Run {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        self.pop()
    }
}

/// What is part of a run has fewer bytes than 4 GiB.
fn small(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

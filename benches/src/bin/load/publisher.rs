//! One publisher's messages: a block of frames made once, in which number, time and identifier are patched before it is
//! sent again.

use std::ops::Range;

use dunlin_benches::wire::{Publish, Version, put_user_property};

use crate::payload::{self, Stamp};
use crate::topics::Topics;

/// Bytes of frames that go out by one write at the most, unless one frame is longer.
pub(crate) const BLOCK: usize = 64 * 1024;

/// What all messages of a run have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) version: Version,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payload: usize,
    pub(crate) properties: usize,
}

impl Shape {
    /// The properties of each message.
    pub(crate) fn properties(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in 0..self.properties {
            put_user_property(&format!("name-{number}"), "some-value", &mut bytes);
        }
        bytes
    }
}

/// When the messages of a publisher are due, in nanoseconds of the run: its `n`th is number `n * of + index` of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) start: u64,
    pub(crate) per_second: u64,
    pub(crate) of: u64,
    pub(crate) index: u64,
}

impl Schedule {
    pub(crate) fn due(&self, message: u64) -> u64 {
        self.start + nanos(message * self.of + self.index, self.per_second)
    }
}

/// When the message of this number is due after the first, at this rate.
pub(crate) fn nanos(message: u64, per_second: u64) -> u64 {
    let nanos = u128::from(message) * 1_000_000_000 / u128::from(per_second.max(1));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[derive(Debug)]
pub(crate) struct Publisher {
    block: Vec<u8>,
    frame: usize,
    frames: u64,
    /// Where in a frame.
    id_at: usize,
    payload_at: usize,
    streams: Range<u32>,
    qos: u8,
    /// The part of the block that is on its way.
    unwritten: Range<usize>,
    /// Messages made, and those of them that are acknowledged.
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    /// Acknowledgements of another message than the oldest: the standards want them in order.
    pub(crate) disordered: u64,
    /// Messages under way at once.
    pub(crate) window: u64,
    /// Messages that are to be sent at the most.
    pub(crate) limit: u64,
    pub(crate) schedule: Option<Schedule>,
    /// Messages that are due.
    pub(crate) due: u64,
    /// Deliveries that the messages of one round over the streams lead to.
    copies: Vec<u64>,
}

impl Publisher {
    /// One that publishes to these streams in turn. `copies` says how often each stream is delivered.
    pub(crate) fn new(topics: &Topics, streams: Range<u32>, shape: Shape, copies: &[u64]) -> Self {
        let (mut block, properties) = (Vec::new(), shape.properties());
        let mut text = [0; payload::HEAD].to_vec();
        text.extend(payload::filler(shape.payload));
        let (mut id_at, mut payload_at, mut frame, mut frames) = (0, 0, 0, 0);
        while frames == 0 || block.len() + frame * streams.len() <= BLOCK {
            for stream in streams.clone() {
                let start = block.len();
                let topic = topics.get(stream).unwrap_or_default();
                let (id, at) = Publish {
                    qos: shape.qos,
                    retain: shape.retain,
                    topic,
                    id: 0,
                    properties: &properties,
                    payload: &text,
                }
                .write(shape.version, &mut block);
                (id_at, payload_at, frame) = (id - start, at - start, block.len() - start);
                frames += 1;
            }
        }
        let copies =
            streams.clone().filter_map(|one| copies.get(usize::try_from(one).ok()?)).copied();
        Self {
            block,
            frame,
            frames,
            id_at,
            payload_at,
            qos: shape.qos,
            unwritten: 0..0,
            sent: 0,
            acknowledged: 0,
            disordered: 0,
            window: u64::MAX,
            limit: u64::MAX,
            schedule: None,
            due: 0,
            copies: copies.collect(),
            streams,
        }
    }

    /// Bytes that are to be written before any other.
    pub(crate) fn unwritten(&self) -> &[u8] {
        self.block.get(self.unwritten.clone()).unwrap_or_default()
    }

    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.unwritten.start += bytes;
    }

    /// Messages that may be sent now as far as this publisher alone knows.
    pub(crate) fn may_send(&self) -> u64 {
        let window = self.window.saturating_sub(self.sent - self.acknowledged);
        let due = if self.schedule.is_some() { self.due } else { u64::MAX };
        window.min(due).min(self.limit.saturating_sub(self.sent))
    }

    /// Frames of one block.
    pub(crate) fn frames(&self) -> u64 {
        (BLOCK / self.frame).max(1).try_into().unwrap_or(u64::MAX)
    }

    /// Makes at most so many messages ready to be written, no more than one block, and says how many deliveries they lead
    /// to. What was ready before must have been written.
    pub(crate) fn prepare(&mut self, most: u64, now: u64) -> u64 {
        let position = self.sent % self.frames;
        let count = most.min(self.frames - position).min(self.frames());
        let range = self.bytes_of(position)..self.bytes_of(position + count);
        let streams = u64::from(self.streams.end - self.streams.start).max(1);
        let (mut round, mut place) = (self.sent / streams, self.sent % streams);
        let mut deliveries = 0;
        let run = self.block.get_mut(range.clone()).unwrap_or_default();
        for (message, frame) in (self.sent..).zip(run.chunks_exact_mut(self.frame)) {
            if self.qos > 0
                && let Some(id) = frame.get_mut(self.id_at..self.id_at + 2)
            {
                id.copy_from_slice(&identifier(message).to_be_bytes());
            }
            let time = self.schedule.map_or(now, |schedule| schedule.due(message));
            let offset = u32::try_from(place).unwrap_or_default();
            let number = u32::try_from(round).unwrap_or(u32::MAX);
            let stamp = Stamp { stream: self.streams.start + offset, number, time };
            if let Some(head) = frame.get_mut(self.payload_at..self.payload_at + payload::HEAD) {
                head.copy_from_slice(&stamp.bytes());
            }
            deliveries +=
                usize::try_from(place).ok().and_then(|place| self.copies.get(place)).unwrap_or(&0);
            place += 1;
            if place == streams {
                (place, round) = (0, round + 1);
            }
        }
        self.sent += count;
        self.due = self.due.saturating_sub(count);
        self.unwritten = range;
        deliveries
    }

    fn bytes_of(&self, frames: u64) -> usize {
        usize::try_from(frames).unwrap_or_default() * self.frame
    }

    /// A PUBACK or PUBCOMP.
    pub(crate) fn acknowledge(&mut self, id: u16) {
        self.disordered += u64::from(id != identifier(self.acknowledged));
        // More than were sent is no reason to panic: it was counted above.
        self.acknowledged = (self.acknowledged + 1).min(self.sent);
    }

    /// How many messages of each of its streams were made.
    pub(crate) fn sent_by_stream(&self) -> impl Iterator<Item = (u32, u64)> {
        let streams = u64::from(self.streams.end - self.streams.start).max(1);
        let (rounds, more) = (self.sent / streams, self.sent % streams);
        let counts = (0..).map(move |place| rounds + u64::from(place < more));
        self.streams.clone().zip(counts)
    }
}

/// The Packet Identifier of a publisher's message.
fn identifier(message: u64) -> u16 {
    u16::try_from(message % 65_535 + 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use dunlin_benches::wire::split;

    use super::*;

    const SHAPE: Shape =
        Shape { version: Version::V5, qos: 1, retain: false, payload: 20, properties: 2 };

    fn messages(publisher: &mut Publisher) -> Vec<(Stamp, u16, Vec<u8>)> {
        let mut rest = publisher.unwritten();
        let mut messages = Vec::new();
        while let Some((frame, after)) = split(rest).unwrap() {
            let publish = Publish::read(frame, SHAPE.version).unwrap();
            assert_eq!(publish.properties, SHAPE.properties());
            assert_eq!(publish.payload[payload::HEAD..], payload::filler(20));
            let stamp = Stamp::read(publish.payload).unwrap();
            messages.push((stamp, publish.id, publish.topic.to_vec()));
            rest = after;
        }
        let written = publisher.unwritten().len();
        publisher.wrote(written);
        messages
    }

    #[test]
    fn messages_go_round_the_topics_and_are_numbered_in_each() {
        let mut topics = Topics::default();
        for topic in ["zz", "t0", "t1", "t2"] {
            topics.push(topic);
        }
        let mut publisher = Publisher::new(&topics, 1..4, SHAPE, &[9, 1, 0, 2]);
        let mut all = Vec::new();
        // Past the end of the block, where a run is cut.
        let rounds = 2 * publisher.frames() / 4;
        for round in 0..rounds {
            let before = publisher.sent;
            publisher.prepare(4, round);
            assert!((1..=4).contains(&(publisher.sent - before)));
            all.extend(messages(&mut publisher).into_iter().map(|message| (round, message)));
        }
        assert_eq!(all.len(), usize::try_from(publisher.sent).unwrap());
        for (index, (round, message)) in (0..).zip(all) {
            let (place, number) = (index % 3, index / 3);
            let stamp = Stamp { stream: 1 + place, number, time: round };
            let id = u16::try_from(index + 1).unwrap();
            assert_eq!(message, (stamp, id, format!("t{place}").into_bytes()));
        }
        let sent: u64 = publisher.sent_by_stream().map(|(_, count)| count).sum();
        assert_eq!(sent, publisher.sent);
    }

    #[test]
    fn window_limit_and_schedule_say_how_many_may_go() {
        let mut topics = Topics::default();
        topics.push("t");
        let mut publisher = Publisher::new(&topics, 0..1, SHAPE, &[3]);
        publisher.window = 5;
        publisher.limit = 7;
        assert_eq!(publisher.may_send(), 5);
        assert_eq!(publisher.prepare(4, 0), 12);
        assert_eq!(publisher.may_send(), 1);
        (1..=4).for_each(|id| publisher.acknowledge(id));
        assert_eq!((publisher.may_send(), publisher.disordered), (3, 0));
        publisher.schedule = Some(Schedule { start: 100, per_second: 10, of: 2, index: 1 });
        assert_eq!(publisher.may_send(), 0);
        publisher.due = 2;
        assert_eq!(publisher.may_send(), 2);
        publisher.wrote(publisher.unwritten().len());
        publisher.prepare(2, 0);
        let times: Vec<u64> =
            messages(&mut publisher).iter().map(|(stamp, ..)| stamp.time).collect();
        assert_eq!(times, [900_000_100, 1_100_000_100]);
        publisher.acknowledge(6);
        assert_eq!(publisher.disordered, 1);
    }
}

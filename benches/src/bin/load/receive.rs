//! What a client does with what comes in: every message is checked against what was sent, and acknowledged.

use dunlin_benches::wire::{Frame, Publish, Version, acknowledgement, first, identifier, split};
use hdrhistogram::Histogram;

use crate::client::Client;
use crate::ledger::Group;
use crate::payload::{self, Stamp};
use crate::publisher::Shape;
use crate::topics::Topics;

/// What every delivery is to look like.
#[derive(Debug)]
pub(crate) struct Expected {
    version: Version,
    qos: u8,
    pub(crate) retain: bool,
    properties: Vec<u8>,
    filler: Vec<u8>,
}

impl Expected {
    /// Of messages of this shape, by subscriptions with this QoS.
    pub(crate) fn new(shape: Shape, qos: u8) -> Self {
        Self {
            version: shape.version,
            qos: qos.min(shape.qos),
            retain: false,
            properties: shape.properties(),
            filler: payload::filler(shape.payload),
        }
    }

    #[inline]
    fn check(&self, publish: &Publish<'_>, topics: &Topics) -> Option<Stamp> {
        let (_, filler) = publish.payload.split_at_checked(payload::HEAD)?;
        let stamp = Stamp::read(publish.payload)?;
        let right = publish.qos == self.qos
            && publish.retain == self.retain
            && topics.get(stamp.stream) == Some(publish.topic)
            && same(publish.properties, &self.properties)
            && same(filler, &self.filler);
        right.then_some(stamp)
    }
}

/// Compared without a look at what is empty: where an empty slice points to nothing, the C library's comparison takes a
/// hundred nanoseconds on processors with AVX-512.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// What all clients together got.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Messages, right ones and repeated ones.
    pub(crate) deliveries: u64,
    /// When the last of them came, and the last of anything.
    pub(crate) last_delivery: u64,
    pub(crate) last_read: u64,
    /// Packets that are none, or not as the message was sent.
    pub(crate) bad: u64,
    /// Reason codes from 0x80 on.
    pub(crate) refused: u64,
    /// While it is measured: from when a message was due until it was read, in nanoseconds.
    pub(crate) latencies: Option<Histogram<u64>>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { deliveries: 0, last_delivery: 0, last_read: 0, bad: 0, refused: 0, latencies: None }
    }
}

/// Takes the packets of one read.
pub(crate) struct Receiver<'a> {
    pub(crate) expected: &'a Expected,
    pub(crate) topics: &'a Topics,
    pub(crate) groups: &'a mut [Group],
    pub(crate) tally: &'a mut Tally,
    pub(crate) now: u64,
}

impl Receiver<'_> {
    pub(crate) fn take(&mut self, client: &mut Client, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            match split(rest) {
                Ok(Some((frame, after))) => {
                    self.frame(client, frame);
                    rest = after;
                }
                Ok(None) => break,
                Err(_) => {
                    self.tally.bad += 1;
                    client.closed = true;
                    return;
                }
            }
        }
        client.carry.extend_from_slice(rest);
        self.tally.last_read = self.now;
    }

    #[inline]
    fn frame(&mut self, client: &mut Client, frame: Frame<'_>) {
        if frame.first & 0xf0 == first::PUBLISH {
            self.publish(client, frame);
            return;
        }
        let id = identifier(frame.body).unwrap_or_default();
        let code = frame.body.get(2).copied().unwrap_or_default();
        self.tally.refused += u64::from(code >= 0x80);
        match frame.first {
            first::PUBACK | first::PUBCOMP => match &mut client.publisher {
                Some(publisher) => publisher.acknowledge(id),
                None => self.tally.bad += 1,
            },
            first::PUBREC => client.out.extend(acknowledgement(first::PUBREL, id)),
            first::PUBREL => client.out.extend(acknowledgement(first::PUBCOMP, id)),
            first::SUBACK => {
                let codes = frame.body.get(2..).unwrap_or_default();
                let refused = codes.last().is_some_and(|code| *code >= 0x80);
                self.tally.refused += u64::from(refused && code < 0x80);
            }
            first::PINGRESP | first::UNSUBACK => {}
            first::DISCONNECT => client.closed = true,
            _ => self.tally.bad += 1,
        }
    }

    #[inline]
    fn publish(&mut self, client: &mut Client, frame: Frame<'_>) {
        let Some(publish) = Publish::read(frame, self.expected.version) else {
            self.tally.bad += 1;
            return;
        };
        match publish.qos {
            0 => {}
            1 => client.out.extend(acknowledgement(first::PUBACK, publish.id)),
            _ => client.out.extend(acknowledgement(first::PUBREC, publish.id)),
        }
        let Some(stamp) = self.expected.check(&publish, self.topics) else {
            self.tally.bad += 1;
            return;
        };
        self.tally.deliveries += 1;
        self.tally.last_delivery = self.now;
        match client.group.and_then(|group| self.groups.get_mut(group)) {
            Some(group) => group.take(stamp.stream, stamp.number),
            None => client.ledger.take(stamp.stream, stamp.number),
        }
        if let Some(latencies) = &mut self.tally.latencies {
            latencies.saturating_record(self.now.saturating_sub(stamp.time));
        }
    }
}

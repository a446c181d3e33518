//! Runs: PUBLISHes of one QoS, one behind the other, that may be forwarded byte for byte, but for the Packet Identifier.

use alloc::vec::Vec;

use dunlin_topics::TextRules;

use crate::{
    encoder::Sink,
    header::{DecodeLimits, Header},
    id::PacketId,
    packet::{PacketType, publish::PublishProperties},
    primitive::Reader,
    qos::Qos,
    version::Version,
};

/// A PUBLISH of QoS 0 that is neither retained nor repeated.
const AT_MOST_ONCE: u8 = PacketType::Publish.first_byte();
/// The same of QoS 1 and 2.
const AT_LEAST_ONCE: u8 = AT_MOST_ONCE | 1 << 1;
const EXACTLY_ONCE: u8 = AT_MOST_ONCE | 2 << 1;

/// Whole PUBLISHes of one QoS to one topic at the front of the input that any other hop may get as they are, but for the
/// Packet Identifier.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Run<'a> {
    /// Bytes of all of them.
    pub bytes: usize,
    /// How many there are.
    pub frames: usize,
    /// Bytes of the largest of them.
    pub largest: usize,
    /// Bytes of all their payloads.
    pub payload: usize,
    /// The topic of all of them, not empty, and not checked.
    pub topic: &'a [u8],
}

/// Finds the longest run of `qos` at the front of the input of at most `max_bytes` bytes.
///
/// Each of its frames has DUP 0 and RETAIN 0, the topic of the first and a Packet Identifier if the QoS asks for one. In 5.0
/// those of QoS 0 have such properties only as are passed on unaltered, and no others have any. Whether the topic is a Topic Name is not checked: the caller does that once per topic. What ends
/// the run, which may be an incomplete or a malformed packet, is for [`decode`](crate::decode) to say.
#[must_use]
pub fn publish_run<'a>(
    input: &'a [u8],
    qos: Qos,
    version: Version,
    limits: &DecodeLimits,
    max_bytes: usize,
) -> Run<'a> {
    let input = input.get(..max_bytes).unwrap_or(input);
    let form = Form::of(qos, version);
    let Some(first) = Head::read(input, form, limits) else { return Run::default() };
    let mut run = Run {
        bytes: first.len,
        frames: 1,
        largest: first.len,
        payload: first.payload_len(),
        topic: first.topic,
    };
    let mut previous = first;
    loop {
        let rest = input.get(run.bytes..).unwrap_or_default();
        // Messages to one topic mostly have the same length and properties too: then one comparison says nearly all.
        let same = rest.len() >= previous.len
            && rest.starts_with(previous.same)
            && (!form.has_id || form.payload_at(rest, previous.same.len(), limits).is_some());
        if !same {
            match Head::read(rest, form, limits) {
                Some(head) if head.topic == run.topic => previous = head,
                _ => return run,
            }
        }
        run.bytes += previous.len;
        run.frames += 1;
        run.largest = run.largest.max(previous.len);
        run.payload += previous.payload_len();
    }
}

/// The frames of a run, each with the place of its Packet Identifier, if it has one, and of its payload.
///
/// `run` is what [`publish_run`] found; what is not of that form ends it.
pub fn frames_of_run(run: &[u8], version: Version) -> impl Iterator<Item = RunFrame<'_>> + Clone {
    let form = Form::of_first(run, version);
    let mut rest = run;
    core::iter::from_fn(move || {
        let form = form?;
        let head = Head::read(rest, form, &PERMISSIVE)?;
        let (frame, after) = rest.split_at_checked(head.len)?;
        rest = after;
        let packet_id = form.has_id.then(|| PacketId::new(id_at(frame, head.same.len())?));
        Some(RunFrame { bytes: frame, packet_id: packet_id.flatten(), payload_at: head.payload_at })
    })
}

/// A PUBLISH of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RunFrame<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Its Packet Identifier; none at QoS 0.
    pub packet_id: Option<PacketId>,
    /// Where in it the payload begins.
    pub payload_at: usize,
}

impl<'a> RunFrame<'a> {
    /// The Application Message.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.payload_at..).unwrap_or_default()
    }
}

/// Gives the frames of a run of QoS 1 or 2 other Packet Identifiers, in their order, as long as there are any.
///
/// `run` is what [`publish_run`] found; what is not of that form ends it.
pub fn renumber_run(run: &mut [u8], ids: impl IntoIterator<Item = PacketId>) {
    let mut rest = run;
    for id in ids {
        if !matches!(rest.first(), Some(&(AT_LEAST_ONCE | EXACTLY_ONCE))) {
            return;
        }
        let Ok(Some(Header { header_len, len })) = Header::read(rest, &PERMISSIVE) else { return };
        let Some(topic_len) = id_at(rest, header_len) else { return };
        let Some((frame, after)) = core::mem::take(&mut rest).split_at_mut_checked(len) else {
            return;
        };
        let at = header_len + 2 + usize::from(topic_len);
        let Some(place) = frame.get_mut(at..at + 2) else { return };
        place.copy_from_slice(&id.get().to_be_bytes());
        rest = after;
    }
}

/// Rewrites a run, frame by frame, for the layout of `to` and for `qos`, if that is lower than its own: MQTT 5.0 has an empty
/// property set where 3.x has nothing, and QoS 0 has no Packet Identifier.
///
/// `run` is what [`publish_run`] found for `from`; what is not of that form ends the rewriting.
// [MQTT-3.8.4-8] [MQTT-2.2.1-2] [MQTT-3.8.4-6 @3.1.1] [MQTT-2.3.1-5 @3.1.1]
pub fn transcode_run(run: &[u8], from: Version, to: Version, qos: Qos, out: &mut Vec<u8>) {
    let Some(form) = Form::of_first(run, from) else { return };
    let lower = Form::of(qos, to);
    let lower = if lower.first_byte < form.first_byte { lower } else { form };
    if from.is_v5() == to.is_v5() && lower.first_byte == form.first_byte {
        out.extend_from_slice(run);
        return;
    }
    let mut rest = run;
    while let Some(head) = Head::read(rest, form, &PERMISSIVE) {
        let (frame, after) = rest.split_at(head.len);
        let payload = frame.get(head.payload_at..).unwrap_or_default();
        let properties: &[u8] = if to.is_v5() { &[0] } else { &[] };
        let id_at = head.same.len();
        let id: &[u8] =
            if lower.has_id { frame.get(id_at..id_at + 2).unwrap_or_default() } else { &[] };
        out.u8(lower.first_byte);
        out.varint(2 + head.topic.len() + id.len() + properties.len() + payload.len());
        out.field(head.topic);
        out.extend_from_slice(id);
        out.extend_from_slice(properties);
        out.extend_from_slice(payload);
        rest = after;
    }
}

/// The length of the first packet of the input; `None` if it is not all there, or no packet.
#[must_use]
pub fn whole_frame_len(input: &[u8]) -> Option<usize> {
    let header = Header::read(input, &PERMISSIVE).ok().flatten()?;
    (input.len() >= header.len).then_some(header.len)
}

/// For what was found within the limits before.
const PERMISSIVE: DecodeLimits =
    DecodeLimits { packet_size_max: u32::MAX, text: TextRules::PERMISSIVE };

/// The two bytes there.
#[inline]
fn id_at(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

/// What the frames of a run look like.
#[derive(Clone, Copy, Debug)]
struct Form {
    first_byte: u8,
    has_id: bool,
    has_properties: bool,
}

impl Form {
    const fn of(qos: Qos, version: Version) -> Self {
        let (first_byte, has_id) = match qos {
            Qos::AtMostOnce => (AT_MOST_ONCE, false),
            Qos::AtLeastOnce => (AT_LEAST_ONCE, true),
            Qos::ExactlyOnce => (EXACTLY_ONCE, true),
        };
        Self { first_byte, has_id, has_properties: version.is_v5() }
    }

    /// The form of a run that was found before.
    fn of_first(run: &[u8], version: Version) -> Option<Self> {
        let qos = match *run.first()? {
            AT_MOST_ONCE => Qos::AtMostOnce,
            AT_LEAST_ONCE => Qos::AtLeastOnce,
            EXACTLY_ONCE => Qos::ExactlyOnce,
            _ => return None,
        };
        Some(Self::of(qos, version))
    }

    /// Where the payload begins, in a frame whose topic ends at `at`; none if there is anything before it that is not to be
    /// passed on as it is, or is malformed.
    // [MQTT-2.2.1-3] [MQTT-2.3.1-1 @3.1.1] The identifier is not 0.
    #[inline]
    fn payload_at(self, frame: &[u8], mut at: usize, limits: &DecodeLimits) -> Option<usize> {
        if self.has_id {
            if id_at(frame, at)? == 0 {
                return None;
            }
            at += 2;
        }
        if !self.has_properties {
            return Some(at);
        }
        match *frame.get(at)? {
            0 => Some(at + 1),
            _ if self.has_id => None,
            _ => passed_on(frame, at, limits),
        }
    }
}

/// Where the properties of a frame end that begin at `at`, if all of them are passed on unaltered.
// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
fn passed_on(frame: &[u8], at: usize, limits: &DecodeLimits) -> Option<usize> {
    let mut reader = Reader::new(frame.get(at..)?, frame.len());
    let properties = PublishProperties::decode(&mut reader, limits.text).ok()?;
    let own = properties.topic_alias.is_some()
        || properties.message_expiry_interval.is_some()
        || !properties.subscription_ids.is_empty();
    (!own).then(|| frame.len() - reader.rest().len())
}

/// All of a frame that comes before its payload.
#[derive(Clone, Copy, Debug)]
struct Head<'a> {
    /// What comes before the payload, or before the Packet Identifier if there is one: a frame that begins with the same is
    /// like this one.
    same: &'a [u8],
    topic: &'a [u8],
    payload_at: usize,
    /// Bytes of the whole frame.
    len: usize,
}

impl<'a> Head<'a> {
    #[inline]
    const fn payload_len(&self) -> usize {
        self.len - self.payload_at
    }

    /// Reads the head of a whole frame that can be part of a run.
    #[inline]
    fn read(input: &'a [u8], form: Form, limits: &DecodeLimits) -> Option<Self> {
        if *input.first()? != form.first_byte {
            return None;
        }
        let Header { header_len, len } = Header::read(input, limits).ok().flatten()?;
        let frame = input.get(..len)?;
        let (topic_len, rest) = frame.get(header_len..)?.split_first_chunk()?;
        let topic = rest.get(..usize::from(u16::from_be_bytes(*topic_len)))?;
        if topic.is_empty() {
            return None;
        }
        let topic_end = header_len + 2 + topic.len();
        let payload_at = form.payload_at(frame, topic_end, limits)?;
        let same = frame.get(..if form.has_id { topic_end } else { payload_at })?;
        Some(Self { same, topic, payload_at, len })
    }
}

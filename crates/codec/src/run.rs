//! Runs: PUBLISHes of QoS 0, one behind the other, that may be forwarded byte for byte.

use alloc::vec::Vec;

use dunlin_topics::TextRules;

use crate::{
    encoder::Sink,
    header::{DecodeLimits, Header},
    packet::PacketType,
    version::Version,
};

/// A PUBLISH of QoS 0 that is neither retained nor repeated.
const FIRST_BYTE: u8 = PacketType::Publish.first_byte();

/// Whole PUBLISHes of QoS 0 to one topic at the front of the input, none of them with anything of its own but
/// the payload.
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

/// Finds the longest run at the front of the input of at most `max_bytes` bytes.
///
/// Each of its frames has RETAIN 0, the topic of the first and, in 5.0, no properties. Whether the topic is a
/// Topic Name is not checked: the caller does that once per topic. What ends the run, which may be an
/// incomplete or a malformed packet, is for [`decode`](crate::decode) to say.
#[must_use]
pub fn publish_run<'a>(
    input: &'a [u8],
    version: Version,
    limits: &DecodeLimits,
    max_bytes: usize,
) -> Run<'a> {
    let input = input.get(..max_bytes).unwrap_or(input);
    let Some(first) = Head::read(input, version, limits) else { return Run::default() };
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
        // Messages to one topic mostly have the same length too: then one comparison says it all.
        if !(rest.len() >= previous.len && rest.starts_with(previous.bytes)) {
            match Head::read(rest, version, limits) {
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

/// Rewrites a run for the other layout, frame by frame: MQTT 5.0 has an empty property set where 3.x has nothing.
///
/// `run` is what [`publish_run`] found for `from`; what is not of that form ends the rewriting.
pub fn transcode_run(run: &[u8], from: Version, to: Version, out: &mut Vec<u8>) {
    if from.is_v5() == to.is_v5() {
        out.extend_from_slice(run);
        return;
    }
    let limits = DecodeLimits { packet_size_max: u32::MAX, text: TextRules::PERMISSIVE };
    let mut rest = run;
    while let Some(head) = Head::read(rest, from, &limits) {
        let (frame, after) = rest.split_at(head.len);
        let payload = frame.get(head.bytes.len()..).unwrap_or_default();
        let properties: &[u8] = if to.is_v5() { &[0] } else { &[] };
        out.u8(FIRST_BYTE);
        out.varint(2 + head.topic.len() + properties.len() + payload.len());
        out.field(head.topic);
        out.extend_from_slice(properties);
        out.extend_from_slice(payload);
        rest = after;
    }
}

/// The length of the first packet of the input; `None` if it is not all there, or no packet.
#[must_use]
pub fn whole_frame_len(input: &[u8]) -> Option<usize> {
    let limits = DecodeLimits { packet_size_max: u32::MAX, text: TextRules::PERMISSIVE };
    let header = Header::read(input, &limits).ok().flatten()?;
    (input.len() >= header.len).then_some(header.len)
}

/// All of a frame that comes before its payload.
#[derive(Clone, Copy, Debug)]
struct Head<'a> {
    bytes: &'a [u8],
    topic: &'a [u8],
    /// Bytes of the whole frame.
    len: usize,
}

impl<'a> Head<'a> {
    #[inline]
    const fn payload_len(&self) -> usize {
        self.len - self.bytes.len()
    }

    /// Reads the head of a whole frame that can be part of a run.
    #[inline]
    fn read(input: &'a [u8], version: Version, limits: &DecodeLimits) -> Option<Self> {
        if *input.first()? != FIRST_BYTE {
            return None;
        }
        let Header { header_len, len } = Header::read(input, limits).ok().flatten()?;
        let body = input.get(header_len..len)?;
        let (topic_len, rest) = body.split_first_chunk()?;
        let topic = rest.get(..usize::from(u16::from_be_bytes(*topic_len)))?;
        if topic.is_empty() {
            return None;
        }
        let mut head_len = header_len + 2 + topic.len();
        if version.is_v5() {
            if *input.get(head_len)? != 0 {
                return None;
            }
            head_len += 1;
        }
        // A topic that fills the frame leaves no byte for the property length.
        if head_len > len {
            return None;
        }
        Some(Self { bytes: input.get(..head_len)?, topic, len })
    }
}

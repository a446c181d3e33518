//! The fixed header: packet type, flags and Remaining Length.

use dunlin_topics::TextRules;

use crate::{
    error::{DecodeError, DecodeErrorKind, Fault},
    packet::PacketType,
    primitive::{VARINT_MAX, Varint, fault_at},
    version::Version,
};

/// Bytes of the longest packet that the protocol can say, fixed header included.
pub const PACKET_SIZE_MAX: u32 = VARINT_MAX + 5;

/// What a decoder accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecodeLimits {
    /// Bytes a whole packet may have, fixed header included. Decided from the fixed header, before any
    /// body arrives.
    pub packet_size_max: u32,
    /// Characters allowed in Topic Names and Client Identifiers. Other text may hold any character but U+0000.
    pub text: TextRules,
}

impl Default for DecodeLimits {
    /// Packets as long as the protocol allows, and the default rules for text.
    fn default() -> Self {
        Self { packet_size_max: PACKET_SIZE_MAX, text: TextRules::default() }
    }
}

/// How long the packet at the front of the input is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameLen {
    /// The whole packet is there and has so many bytes.
    Complete(usize),
    /// More bytes must arrive.
    Partial {
        /// Bytes of the whole packet, `None` while its fixed header is incomplete.
        needed: Option<usize>,
    },
}

/// Tells from the fixed header how long the packet at the front of the input is.
///
/// # Errors
///
/// The Remaining Length is malformed, or the packet is larger than the limit.
#[inline]
pub fn frame_len(input: &[u8], limits: &DecodeLimits) -> Result<FrameLen, DecodeError> {
    match Header::read(input, limits) {
        Ok(Some(header)) if header.len <= input.len() => Ok(FrameLen::Complete(header.len)),
        Ok(Some(header)) => Ok(FrameLen::Partial { needed: Some(header.len) }),
        Ok(None) => Ok(FrameLen::Partial { needed: None }),
        Err(fault) => Err(DecodeError::new(
            fault,
            input.first().and_then(|first| PacketType::from_bits(first >> 4)),
            None,
        )),
    }
}

/// The lengths a fixed header tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Bytes of the fixed header, at most 5.
    pub(crate) header_len: usize,
    /// Bytes of the whole packet.
    pub(crate) len: usize,
}

impl Header {
    /// Reads the Remaining Length behind the first byte; `None` while it is incomplete.
    #[inline]
    pub(crate) fn read(input: &[u8], limits: &DecodeLimits) -> Result<Option<Self>, Fault> {
        let Some((_, after)) = input.split_first() else { return Ok(None) };
        match Varint::read(after) {
            Varint::Value(remaining, bytes) => {
                let header_len = 1 + bytes;
                let len = header_len + remaining as usize;
                // [MQTT-3.2.2-15]
                if len > limits.packet_size_max as usize {
                    return Err(fault_at(DecodeErrorKind::PacketTooLarge, 1));
                }
                Ok(Some(Self { header_len, len }))
            }
            Varint::Partial => Ok(None),
            Varint::Invalid => Err(fault_at(DecodeErrorKind::RemainingLength, 1)),
        }
    }
}

/// Checks the type and the flags of a first byte, so that a wrong one is refused before the rest arrives.
#[inline]
pub(crate) fn check_first_byte(first: u8, version: Version) -> Result<PacketType, Fault> {
    let Some(packet) = PacketType::from_bits(first >> 4) else {
        return Err(fault_at(DecodeErrorKind::PacketTypeReserved, 0));
    };
    let flags = first & 0x0F;
    let kind = match packet {
        PacketType::Publish => return check_publish_flags(flags).map(|()| packet),
        PacketType::Auth if !version.is_v5() => DecodeErrorKind::PacketTypeReserved,
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => {
            // [MQTT-3.1 s3.6] In 3.1 these three travel with QoS 1 and may carry DUP.
            let mask = if version == Version::V3_1 { 0b0111 } else { 0b1111 };
            if flags & mask == 0b0010 {
                return Ok(packet);
            }
            DecodeErrorKind::FlagsReserved
        }
        PacketType::Connect
        | PacketType::ConnAck
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubComp
        | PacketType::SubAck
        | PacketType::UnsubAck
        | PacketType::PingReq
        | PacketType::PingResp
        | PacketType::Disconnect
        | PacketType::Auth => {
            // [MQTT-2.1.3-1] [MQTT-2.2.2-1 @3.1.1] [MQTT-2.2.2-2 @3.1.1]
            if flags == 0 {
                return Ok(packet);
            }
            DecodeErrorKind::FlagsReserved
        }
    };
    Err(fault_at(kind, 0))
}

#[inline]
fn check_publish_flags(flags: u8) -> Result<(), Fault> {
    match flags & 0b1110 {
        // [MQTT-3.3.1-4] [MQTT-3.3.1-4 @3.1.1]
        0b0110 | 0b1110 => Err(fault_at(DecodeErrorKind::PublishQos, 0)),
        // [MQTT-3.3.1-2] [MQTT-3.3.1-2 @3.1.1]
        0b1000 => Err(fault_at(DecodeErrorKind::DupAtMostOnce, 0)),
        _ => Ok(()),
    }
}

//! The data types of the wire: integers, length-prefixed text and binary data.

use dunlin_topics::{InvalidText, InvalidTopicName, TextRules, check_text, check_topic_name};

use crate::{
    ascii::{is_plain_name, is_plain_text},
    error::{DecodeErrorKind, Fault},
    id::PacketId,
    packet::PacketType,
    reason::ReasonCode,
};

/// The largest Variable Byte Integer, and so the largest Remaining Length.
pub(crate) const VARINT_MAX: u32 = 268_435_455;

/// Bytes that the Variable Byte Integer of a value takes.
#[inline]
pub(crate) const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// What comes of reading a Variable Byte Integer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Varint {
    /// The value and the bytes it took.
    Value(u32, usize),
    /// The input ends before the integer does.
    Partial,
    /// A fifth byte, or more bytes than the value needs.
    Invalid,
}

impl Varint {
    /// Reads a Variable Byte Integer from the front of the input.
    #[inline]
    pub(crate) fn read(input: &[u8]) -> Self {
        match input {
            [low @ 0..=0x7F, ..] => Self::Value(u32::from(*low), 1),
            // [MQTT-1.5.5-1] A last byte of 0 would be one byte too many.
            [low, high @ 1..=0x7F, ..] => {
                Self::Value(u32::from(*low & 0x7F) | u32::from(*high) << 7, 2)
            }
            _ => Self::read_long(input),
        }
    }

    fn read_long(input: &[u8]) -> Self {
        let mut value = 0;
        for (index, byte) in input.iter().take(4).enumerate() {
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                // [MQTT-1.5.5-1]
                return if *byte == 0 && index > 0 {
                    Self::Invalid
                } else {
                    Self::Value(value, index + 1)
                };
            }
        }
        if input.len() < 4 { Self::Partial } else { Self::Invalid }
    }
}

/// Reads fields one after the other from a packet, or from the properties within it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Offset in the packet of the byte behind `rest`.
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads `rest`, behind which lies the byte `end` of the packet.
    #[inline]
    pub(crate) const fn new(rest: &'a [u8], end: usize) -> Self {
        Self { rest, end }
    }

    /// What has not been read.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Offset in the packet of the next byte.
    #[inline]
    pub(crate) const fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// A fault at the next byte.
    #[cold]
    pub(crate) fn fault(&self, kind: DecodeErrorKind) -> Fault {
        fault_at(kind, self.offset())
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.fault(DecodeErrorKind::Truncated)),
        }
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.rest.split_first_chunk() {
            Some((chunk, rest)) => {
                self.rest = rest;
                Ok(*chunk)
            }
            None => Err(self.fault(DecodeErrorKind::Truncated)),
        }
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        self.chunk().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        self.chunk().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        self.chunk().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u32, Fault> {
        match Varint::read(self.rest) {
            Varint::Value(value, len) => {
                self.take(len)?;
                Ok(value)
            }
            Varint::Partial => Err(self.fault(DecodeErrorKind::Truncated)),
            Varint::Invalid => Err(self.fault(DecodeErrorKind::VariableByteInteger)),
        }
    }

    /// A Packet Identifier. [MQTT-2.2.1-3] [MQTT-2.3.1-1 @3.1.1]
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Fault> {
        let at = self.offset();
        PacketId::new(self.u16()?).ok_or_else(|| fault_at(DecodeErrorKind::PacketIdZero, at))
    }

    /// A reason code that the standard lists for this packet.
    pub(crate) fn reason_code(&mut self, packet: PacketType) -> Result<ReasonCode, Fault> {
        let at = self.offset();
        let code = self.u8()?;
        ReasonCode::from_u8(code)
            .filter(|reason| reason.is_allowed_in(packet))
            .ok_or_else(|| fault_at(DecodeErrorKind::ReasonCode { code }, at))
    }

    /// Skips a property length of 0, if that is what comes next.
    #[inline]
    pub(crate) fn skip_zero(&mut self) -> bool {
        match self.rest {
            [0, rest @ ..] => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Checks that nothing is left.
    #[inline]
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        if self.is_empty() { Ok(()) } else { Err(self.trailing()) }
    }

    /// The fault of bytes that are left.
    #[cold]
    pub(crate) fn trailing(&self) -> Fault {
        self.fault(DecodeErrorKind::TrailingBytes)
    }

    /// Binary data: two bytes of length, then as many bytes.
    ///
    /// This and the text below are inlined by force, so that the reader stays in registers: a call would
    /// store and reload it for every field (CONNECT 60 to 30 ns).
    #[inline(always)]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 string that is nobody's name: any character but U+0000.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, Fault> {
        self.text_with(TextRules::PERMISSIVE, DecodeErrorKind::TextNotUtf8)
    }

    /// A UTF-8 string whose characters are restricted.
    #[inline(always)]
    pub(crate) fn text_with(
        &mut self,
        rules: TextRules,
        not_allowed: DecodeErrorKind,
    ) -> Result<&'a str, Fault> {
        let bytes = self.binary()?;
        if is_plain_text(bytes)
            && let Ok(text) = str::from_utf8(bytes)
        {
            return Ok(text);
        }
        check_text(bytes, rules)
            .map_err(|error| text_fault(error, self.offset() - bytes.len(), not_allowed))
    }

    /// Checks a UTF-8 string that is nobody's name, to be read later.
    #[inline(always)]
    pub(crate) fn skip_text(&mut self) -> Result<(), Fault> {
        let bytes = self.binary()?;
        if is_plain_text(bytes) {
            return Ok(());
        }
        self.check_skipped(bytes)
    }

    #[cold]
    fn check_skipped(&self, bytes: &[u8]) -> Result<(), Fault> {
        match check_text(bytes, TextRules::PERMISSIVE) {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(text_fault(error, self.offset() - bytes.len(), DecodeErrorKind::TextNotUtf8))
            }
        }
    }

    /// A Topic Name, not empty and without wildcards.
    #[inline(always)]
    pub(crate) fn topic_name(&mut self, rules: TextRules) -> Result<&'a str, Fault> {
        let bytes = self.binary()?;
        if is_plain_name(bytes)
            && !bytes.is_empty()
            && let Ok(topic) = str::from_utf8(bytes)
        {
            return Ok(topic);
        }
        check_topic_name(bytes, rules)
            .map_err(|error| self.topic_fault(error, self.offset() - bytes.len()))
    }

    #[cold]
    fn topic_fault(&self, error: InvalidTopicName, start: usize) -> Fault {
        match error {
            InvalidTopicName::Text(error) => {
                text_fault(error, start, DecodeErrorKind::TopicNotAllowed)
            }
            // [MQTT-3.3.2-2] [MQTT-3.1.3-11]
            InvalidTopicName::Wildcard { offset } => {
                fault_at(DecodeErrorKind::TopicWildcard, start + offset)
            }
            InvalidTopicName::Empty | _ => fault_at(DecodeErrorKind::TopicEmpty, start),
        }
    }
}

#[cold]
pub(crate) fn fault_at(kind: DecodeErrorKind, offset: usize) -> Fault {
    Fault { kind, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
}

/// The fault of a text, and its place in the packet given that of the text.
#[cold]
pub(crate) fn text_fault(error: InvalidText, start: usize, not_allowed: DecodeErrorKind) -> Fault {
    let kind = match error {
        // [MQTT-1.5.4-2] [MQTT-1.5.3-2 @3.1.1]
        InvalidText::Null { .. } => DecodeErrorKind::TextNul,
        InvalidText::Control { .. } | InvalidText::NonCharacter { .. } => not_allowed,
        // [MQTT-1.5.4-1] [MQTT-1.5.3-1 @3.1.1]
        InvalidText::NotUtf8 { .. }
        | InvalidText::Surrogate { .. }
        | InvalidText::TooLong { .. }
        | _ => DecodeErrorKind::TextNotUtf8,
    };
    fault_at(kind, start + error.offset())
}

//! Properties of MQTT 5.0: which may stand where, and how to read and write them.

use alloc::vec::Vec;
use core::{fmt, num::NonZeroU16, num::NonZeroU32};

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Counter, Sink},
    error::{DecodeErrorKind, EncodeError, Fault},
    id::SubscriptionId,
    primitive::{Reader, Varint},
};

/// Property identifiers.
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// A set of property identifiers, one bit each: all are below 64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PropertySet(u64);

impl PropertySet {
    const fn of(ids: &[u8]) -> Self {
        let mut bits = 0;
        let mut rest = ids;
        while let [id, others @ ..] = rest {
            bits |= 1 << *id;
            rest = others;
        }
        Self(bits)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline]
    const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }
}

/// What travels with a message, in PUBLISH and in a Will.
const MESSAGE: PropertySet = PropertySet::of(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
]);
const AUTHENTICATION: PropertySet =
    PropertySet::of(&[id::AUTHENTICATION_METHOD, id::AUTHENTICATION_DATA]);

pub(crate) const PUBLISH: PropertySet =
    MESSAGE.and(PropertySet::of(&[id::SUBSCRIPTION_IDENTIFIER, id::TOPIC_ALIAS]));
pub(crate) const WILL: PropertySet = MESSAGE.and(PropertySet::of(&[id::WILL_DELAY_INTERVAL]));
pub(crate) const CONNECT: PropertySet = AUTHENTICATION.and(PropertySet::of(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::REQUEST_PROBLEM_INFORMATION,
    id::REQUEST_RESPONSE_INFORMATION,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
]));
pub(crate) const CONNACK: PropertySet = AUTHENTICATION.and(PropertySet::of(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::ASSIGNED_CLIENT_IDENTIFIER,
    id::SERVER_KEEP_ALIVE,
    id::RESPONSE_INFORMATION,
    id::SERVER_REFERENCE,
    id::REASON_STRING,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::MAXIMUM_QOS,
    id::RETAIN_AVAILABLE,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
    id::WILDCARD_SUBSCRIPTION_AVAILABLE,
    id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    id::SHARED_SUBSCRIPTION_AVAILABLE,
]));
/// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
pub(crate) const ACK: PropertySet = PropertySet::of(&[id::REASON_STRING, id::USER_PROPERTY]);
pub(crate) const SUBSCRIBE: PropertySet =
    PropertySet::of(&[id::SUBSCRIPTION_IDENTIFIER, id::USER_PROPERTY]);
pub(crate) const UNSUBSCRIBE: PropertySet = PropertySet::of(&[id::USER_PROPERTY]);
pub(crate) const DISCONNECT: PropertySet =
    ACK.and(PropertySet::of(&[id::SESSION_EXPIRY_INTERVAL, id::SERVER_REFERENCE]));
pub(crate) const AUTH: PropertySet = ACK.and(AUTHENTICATION);

const KNOWN: PropertySet = WILL.and(PUBLISH).and(CONNECT).and(CONNACK);

/// Reads the properties of one packet, front to back.
///
/// It checks what holds for all of them: the length, that each belongs here, and that none is repeated which
/// may not be. User properties and Subscription Identifiers are checked and skipped; where they lie is kept.
#[derive(Debug)]
pub(crate) struct PropertyReader<'a> {
    fields: Reader<'a>,
    block: &'a [u8],
    allowed: PropertySet,
    repeatable: PropertySet,
    seen: PropertySet,
    /// Identifier of the property being read.
    id: u8,
    user: Span,
    subscription_ids: Span,
}

/// Where in the block the first of a kind begins and the last one ends.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn add(&mut self, start: usize, end: usize) {
        if self.end == 0 {
            self.start = start;
        }
        self.end = end;
    }

    fn of(self, block: &[u8]) -> &[u8] {
        block.get(self.start..self.end).unwrap_or(&[])
    }
}

impl<'a> PropertyReader<'a> {
    /// Reads the property length, and takes the properties out of the packet.
    #[inline]
    pub(crate) fn new(packet: &mut Reader<'a>, allowed: PropertySet) -> Result<Self, Fault> {
        if packet.is_empty() {
            // [MQTT-2.2.2-1]
            return Err(packet.fault(DecodeErrorKind::PropertyLengthMissing));
        }
        let len = packet.varint()? as usize;
        let Some(block) = packet.rest().get(..len) else {
            return Err(packet.fault(DecodeErrorKind::PropertyLength));
        };
        packet.take(len)?;
        Ok(Self {
            fields: Reader::new(block, packet.offset()),
            block,
            allowed,
            repeatable: PropertySet::of(&[id::USER_PROPERTY]),
            seen: PropertySet(0),
            id: 0,
            user: Span::default(),
            subscription_ids: Span::default(),
        })
    }

    /// Lets the Subscription Identifier stand here more than once.
    #[inline]
    pub(crate) const fn repeating_subscription_ids(mut self) -> Self {
        self.repeatable = self.repeatable.and(PropertySet::of(&[id::SUBSCRIPTION_IDENTIFIER]));
        self
    }

    /// The identifier of the next property that has a value of its own; its value is to be read next.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<u8>, Fault> {
        while !self.fields.is_empty() {
            let start = self.position();
            self.id = self.identifier()?;
            match self.id {
                id::USER_PROPERTY => {
                    // [MQTT-1.5.7-1]
                    self.text()?;
                    self.text()?;
                    self.user.add(start, self.position());
                }
                id::SUBSCRIPTION_IDENTIFIER => {
                    self.subscription_id()?;
                    self.subscription_ids.add(start, self.position());
                }
                other => return Ok(Some(other)),
            }
        }
        Ok(None)
    }

    #[inline]
    fn position(&self) -> usize {
        self.block.len() - self.fields.rest().len()
    }

    #[inline]
    fn identifier(&mut self) -> Result<u8, Fault> {
        let here = self.fields;
        // All identifiers in use have one byte; the encoding would allow four.
        let id = u8::try_from(self.fields.varint().map_err(within)?).unwrap_or(u8::MAX);
        let bit = if id < 64 { 1 << id } else { 0 };
        if !self.allowed.has(bit) {
            let misplaced = KNOWN.has(bit);
            return Err(here.fault(if misplaced {
                DecodeErrorKind::PropertyMisplaced { id }
            } else {
                DecodeErrorKind::PropertyUnknown { id }
            }));
        }
        if self.seen.has(bit) && !self.repeatable.has(bit) {
            return Err(here.fault(DecodeErrorKind::PropertyRepeated { id }));
        }
        self.seen.0 |= bit;
        Ok(id)
    }

    /// The value just read is out of range.
    #[cold]
    pub(crate) fn out_of_range(&self) -> Fault {
        self.fields.fault(DecodeErrorKind::PropertyValue { id: self.id })
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        self.fields.u16().map_err(within)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        self.fields.u32().map_err(within)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        self.fields.u8().map_err(within)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Fault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.out_of_range()),
        }
    }

    pub(crate) fn non_zero_u16(&mut self) -> Result<NonZeroU16, Fault> {
        NonZeroU16::new(self.u16()?).ok_or_else(|| self.out_of_range())
    }

    pub(crate) fn non_zero_u32(&mut self) -> Result<NonZeroU32, Fault> {
        NonZeroU32::new(self.u32()?).ok_or_else(|| self.out_of_range())
    }

    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, Fault> {
        self.fields.text().map_err(within)
    }

    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Fault> {
        self.fields.binary().map_err(within)
    }

    /// The fields, for text with rules of its own.
    pub(crate) const fn fields(&mut self) -> &mut Reader<'a> {
        &mut self.fields
    }

    fn subscription_id(&mut self) -> Result<(), Fault> {
        let id = self.fields.varint().map_err(within)?;
        if id == 0 { Err(self.out_of_range()) } else { Ok(()) }
    }

    /// The user properties that went by.
    #[inline]
    pub(crate) fn user_properties(&self) -> UserProperties<&'a [u8]> {
        UserProperties { block: self.user.of(self.block) }
    }

    /// The Subscription Identifiers that went by.
    #[inline]
    pub(crate) fn subscription_ids(&self) -> SubscriptionIds<&'a [u8]> {
        SubscriptionIds { block: self.subscription_ids.of(self.block) }
    }
}

/// Tells the end of the properties from that of the packet.
#[inline]
pub(crate) fn within(fault: Fault) -> Fault {
    match fault.kind {
        DecodeErrorKind::Truncated => Fault { kind: DecodeErrorKind::PropertyTruncated, ..fault },
        _ => fault,
    }
}

/// Writes properties behind their length.
#[inline]
pub(crate) fn write_block<S: Sink>(sink: &mut S, write: impl PropertyWriter) {
    sink.varint(Counter::count(|counter| write.write(counter)));
    write.write(sink);
}

/// Properties that can be written twice: to count them, and to fill them in.
pub(crate) trait PropertyWriter {
    fn write(&self, sink: &mut impl Sink);
}

/// Writing single properties.
pub(crate) trait PropertySink: Sink {
    #[inline]
    fn property_bool(&mut self, id: u8, value: Option<bool>) {
        if let Some(value) = value {
            self.bytes(&[id, u8::from(value)]);
        }
    }

    #[inline]
    fn property_u16(&mut self, id: u8, value: Option<u16>) {
        if let Some(value) = value {
            self.u8(id);
            self.u16(value);
        }
    }

    #[inline]
    fn property_u32(&mut self, id: u8, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(id);
            self.u32(value);
        }
    }

    #[inline]
    fn property_field<T: AsRef<[u8]>>(&mut self, id: u8, value: Option<&T>) {
        if let Some(value) = value {
            self.u8(id);
            self.field(value.as_ref());
        }
    }

    #[inline]
    fn user_properties<B: Buffer>(&mut self, properties: &UserProperties<B>) {
        for property in RawProperties::of(properties.block.as_ref(), id::USER_PROPERTY) {
            self.bytes(property);
        }
    }

    #[inline]
    fn subscription_id(&mut self, subscription_id: SubscriptionId) {
        self.u8(id::SUBSCRIPTION_IDENTIFIER);
        self.varint(subscription_id.get() as usize);
    }
}

impl<S: Sink> PropertySink for S {}

/// User properties, in their order; names may repeat.
///
/// They are kept as they are on the wire, checked when decoded, and read one by one.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<B: Buffer> {
    /// Whole properties, in which others may stand between the user properties.
    block: B,
}

impl<B: Buffer> UserProperties<B> {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.block.as_ref().is_empty()
    }

    /// How many there are; this counts them.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Name and value of each, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        RawProperties::of(self.block.as_ref(), id::USER_PROPERTY).map(pair)
    }

    /// Bytes they take on the wire.
    pub fn size(&self) -> usize {
        Counter::count(|counter| counter.user_properties(self))
    }

    /// A copy in an allocation of its own size.
    #[must_use]
    pub fn copy(&self) -> UserProperties<Bytes> {
        if self.is_empty() {
            return UserProperties::default();
        }
        let mut block = Vec::with_capacity(self.size());
        block.user_properties(self);
        UserProperties { block: block.into() }
    }
}

impl UserProperties<&[u8]> {
    pub(crate) fn to_owned_in(self, frame: Frame<'_>) -> UserProperties<Bytes> {
        UserProperties { block: frame.bytes(self.block) }
    }
}

impl UserProperties<Bytes> {
    /// Makes user properties of pairs of name and value.
    ///
    /// # Errors
    ///
    /// A name or value is longer than 65,535 bytes.
    pub fn from_pairs<'p>(
        pairs: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Self, EncodeError> {
        let mut block = Vec::new();
        for (name, value) in pairs {
            if name.len().max(value.len()) > usize::from(u16::MAX) {
                return Err(EncodeError::FieldTooLong);
            }
            block.u8(id::USER_PROPERTY);
            block.field(name.as_bytes());
            block.field(value.as_bytes());
        }
        Ok(Self { block: block.into() })
    }
}

impl<B: Buffer> PartialEq for UserProperties<B> {
    fn eq(&self, other: &Self) -> bool {
        let raw = |block| RawProperties::of(block, id::USER_PROPERTY);
        raw(self.block.as_ref()).eq(raw(other.block.as_ref()))
    }
}

impl<B: Buffer> Eq for UserProperties<B> {}

impl<B: Buffer> fmt::Debug for UserProperties<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The Subscription Identifiers of a PUBLISH, in their order.
#[derive(Clone, Copy, Default)]
pub struct SubscriptionIds<B: Buffer> {
    /// Whole properties, in which others may stand between the identifiers.
    block: B,
}

impl<B: Buffer> SubscriptionIds<B> {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.block.as_ref().is_empty()
    }

    /// Each of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = SubscriptionId> + Clone {
        RawProperties::of(self.block.as_ref(), id::SUBSCRIPTION_IDENTIFIER).filter_map(|property| {
            match Varint::read(property.get(1..)?) {
                Varint::Value(id, _) => SubscriptionId::new(id),
                Varint::Partial | Varint::Invalid => None,
            }
        })
    }
}

impl SubscriptionIds<&[u8]> {
    pub(crate) fn to_owned_in(self, frame: Frame<'_>) -> SubscriptionIds<Bytes> {
        SubscriptionIds { block: frame.bytes(self.block) }
    }
}

impl FromIterator<SubscriptionId> for SubscriptionIds<Bytes> {
    fn from_iter<I: IntoIterator<Item = SubscriptionId>>(ids: I) -> Self {
        let mut block = Vec::new();
        for id in ids {
            block.subscription_id(id);
        }
        Self { block: block.into() }
    }
}

impl<B: Buffer> PartialEq for SubscriptionIds<B> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<B: Buffer> Eq for SubscriptionIds<B> {}

impl<B: Buffer> fmt::Debug for SubscriptionIds<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(SubscriptionId::get)).finish()
    }
}

/// The properties with one identifier among checked ones, each with its identifier byte.
#[derive(Clone, Debug)]
struct RawProperties<'a> {
    rest: Reader<'a>,
    id: u8,
}

impl<'a> RawProperties<'a> {
    #[inline]
    const fn of(block: &'a [u8], id: u8) -> Self {
        Self { rest: Reader::new(block, block.len()), id }
    }

    #[inline]
    fn step(&mut self) -> Result<(u8, &'a [u8]), Fault> {
        let before = self.rest.rest();
        let id = self.rest.u8()?;
        skip_value(&mut self.rest, id)?;
        let len = before.len() - self.rest.rest().len();
        Ok((id, before.get(..len).unwrap_or_default()))
    }
}

impl<'a> Iterator for RawProperties<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            // The block was checked before, so nothing fails here.
            let (id, property) = self.step().ok()?;
            if id == self.id {
                return Some(property);
            }
        }
        None
    }
}

/// Skips the value of a property that was checked before.
#[inline]
fn skip_value(reader: &mut Reader<'_>, id: u8) -> Result<(), Fault> {
    match id {
        id::USER_PROPERTY => {
            reader.binary()?;
            reader.binary()?;
        }
        id::SUBSCRIPTION_IDENTIFIER => {
            reader.varint()?;
        }
        id::PAYLOAD_FORMAT_INDICATOR
        | id::REQUEST_PROBLEM_INFORMATION
        | id::REQUEST_RESPONSE_INFORMATION
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_SUBSCRIPTION_AVAILABLE
        | id::SUBSCRIPTION_IDENTIFIER_AVAILABLE
        | id::SHARED_SUBSCRIPTION_AVAILABLE => {
            reader.u8()?;
        }
        id::SERVER_KEEP_ALIVE | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => {
            reader.u16()?;
        }
        id::MESSAGE_EXPIRY_INTERVAL
        | id::SESSION_EXPIRY_INTERVAL
        | id::WILL_DELAY_INTERVAL
        | id::MAXIMUM_PACKET_SIZE => {
            reader.u32()?;
        }
        _ => {
            reader.binary()?;
        }
    }
    Ok(())
}

/// Name and value of a checked user property.
fn pair(property: &[u8]) -> (&str, &str) {
    let mut reader = Reader::new(property, property.len());
    let mut read = || -> Result<(&str, &str), Fault> {
        reader.u8()?;
        Ok((reader.text()?, reader.text()?))
    };
    read().unwrap_or_default()
}

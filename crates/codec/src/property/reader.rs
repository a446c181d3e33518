//! Reading properties.

use core::num::{NonZeroU16, NonZeroU32};

use crate::{
    error::{DecodeErrorKind, Fault},
    primitive::{Reader, fault_at},
    property::{KNOWN, PropertySet, id, subscription_ids::SubscriptionIds, user::UserProperties},
};

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
    /// Identifier of the property being read, and its place in the packet.
    id: u8,
    id_at: usize,
    user: Span,
    subscription_ids: Span,
}

/// Where in the block the first of a kind begins and the last one ends.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: usize,
    end: usize,
    /// Whether others stand between.
    has_gaps: bool,
}

impl Span {
    fn add(&mut self, start: usize, end: usize) {
        if self.end == 0 {
            self.start = start;
        } else {
            self.has_gaps |= self.end != start;
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
            id_at: 0,
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
            self.id_at = self.fields.offset();
            self.id = self.identifier()?;
            match self.id {
                id::USER_PROPERTY => {
                    // [MQTT-1.5.7-1]
                    self.fields.skip_text().map_err(within)?;
                    self.fields.skip_text().map_err(within)?;
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
        // All identifiers in use have one byte; the encoding would allow four.
        let id = u8::try_from(self.fields.varint().map_err(within)?).unwrap_or(u8::MAX);
        let bit = if id < 64 { 1 << id } else { 0 };
        if !self.allowed.has(bit) {
            let misplaced = KNOWN.has(bit);
            let kind = if misplaced {
                DecodeErrorKind::PropertyMisplaced { id }
            } else {
                DecodeErrorKind::PropertyUnknown { id }
            };
            return Err(fault_at(kind, self.id_at));
        }
        if self.seen.has(bit) && !self.repeatable.has(bit) {
            return Err(fault_at(DecodeErrorKind::PropertyRepeated { id }, self.id_at));
        }
        self.seen.0 |= bit;
        Ok(id)
    }

    /// The value just read is out of range.
    #[cold]
    pub(crate) fn out_of_range(&self) -> Fault {
        fault_at(DecodeErrorKind::PropertyValue { id: self.id }, self.id_at)
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
        UserProperties::checked(self.user.of(self.block), self.user.has_gaps)
    }

    /// The Subscription Identifiers that went by.
    #[inline]
    pub(crate) fn subscription_ids(&self) -> SubscriptionIds<&'a [u8]> {
        SubscriptionIds::checked(self.subscription_ids.of(self.block))
    }
}

/// Tells the end of the properties from that of the packet.
#[inline]
fn within(fault: Fault) -> Fault {
    if fault.kind == DecodeErrorKind::Truncated {
        Fault { kind: DecodeErrorKind::PropertyTruncated, ..fault }
    } else {
        fault
    }
}

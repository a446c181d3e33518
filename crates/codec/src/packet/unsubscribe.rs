//! UNSUBSCRIBE.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Body, Sink, check_field},
    error::{DecodeErrorKind, EncodeError, Fault},
    id::PacketId,
    packet::PacketType,
    primitive::Reader,
    property::{
        self,
        reader::PropertyReader,
        user::UserProperties,
        writer::{PropertySink, PropertyWriter},
    },
    version::Version,
};

/// A client asks for messages no more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unsubscribe<B: Buffer> {
    /// Relates the UNSUBACK.
    pub packet_id: PacketId,
    /// User properties, of 5.0 only.
    pub user_properties: UserProperties<B>,
    /// What is given up; never empty.
    pub filters: UnsubscribeFilters<B>,
}

impl<'a> Unsubscribe<&'a [u8]> {
    pub(crate) fn decode(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        let packet_id = reader.packet_id()?;
        let mut user_properties = UserProperties::default();
        if version.is_v5() {
            let mut properties = PropertyReader::new(&mut reader, property::UNSUBSCRIBE)?;
            while properties.next()?.is_some() {}
            user_properties = properties.user_properties();
        }
        let filters = UnsubscribeFilters::decode(reader)?;
        Ok(Self { packet_id, user_properties, filters })
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> Unsubscribe<Bytes> {
        Unsubscribe {
            packet_id: self.packet_id,
            user_properties: self.user_properties.to_owned_in(frame),
            filters: UnsubscribeFilters { block: frame.bytes(self.filters.block) },
        }
    }
}

/// The Topic Filters of an UNSUBSCRIBE, in their order: well formed text, kept as it is on the wire.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct UnsubscribeFilters<B: Buffer> {
    block: B,
}

impl<'a> UnsubscribeFilters<&'a [u8]> {
    fn decode(mut reader: Reader<'a>) -> Result<Self, Fault> {
        let block = reader.rest();
        // [MQTT-3.10.3-2] [MQTT-3.10.3-2 @3.1.1]
        if block.is_empty() {
            return Err(reader.fault(DecodeErrorKind::FiltersMissing));
        }
        while !reader.is_empty() {
            // [MQTT-3.10.3-1] [MQTT-3.10.3-1 @3.1.1]
            reader.skip_text()?;
        }
        Ok(Self { block })
    }
}

impl UnsubscribeFilters<Bytes> {
    /// Makes a list of filters.
    ///
    /// # Errors
    ///
    /// The list is empty, or a filter is longer than 65,535 bytes or holds U+0000.
    pub fn from_filters<'p>(
        filters: impl IntoIterator<Item = &'p str>,
    ) -> Result<Self, EncodeError> {
        let mut block = Vec::new();
        for filter in filters {
            check_field(filter)?;
            block.field(filter.as_bytes());
        }
        if block.is_empty() {
            return Err(EncodeError::Empty);
        }
        Ok(Self { block: block.into() })
    }
}

impl<B: Buffer> UnsubscribeFilters<B> {
    /// How many there are; this counts them.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none, which no decoded UNSUBSCRIBE has.
    pub fn is_empty(&self) -> bool {
        self.block.as_ref().is_empty()
    }

    /// Each of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        let block = self.block.as_ref();
        let mut reader = Reader::new(block, block.len());
        // The block was checked before, so this ends where the block does.
        core::iter::from_fn(move || reader.text().ok())
    }
}

impl<B: Buffer> fmt::Debug for UnsubscribeFilters<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<B: Buffer> Body for Unsubscribe<B> {
    fn first_byte(&self, _: Version) -> Result<u8, EncodeError> {
        // [MQTT-3.10.3-2]
        if self.filters.is_empty() {
            return Err(EncodeError::Empty);
        }
        Ok(PacketType::Unsubscribe.first_byte())
    }

    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            sink.properties(&self.user_properties);
        }
        sink.bytes(self.filters.block.as_ref());
    }
}

impl<B: Buffer> PropertyWriter for UserProperties<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.user_properties(self);
    }
}

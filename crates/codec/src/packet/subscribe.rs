//! SUBSCRIBE.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Body, Sink, check_field},
    error::{DecodeErrorKind, EncodeError, Fault},
    id::{PacketId, SubscriptionId},
    packet::PacketType,
    primitive::{Reader, fault_at},
    property::{
        self,
        reader::PropertyReader,
        user::UserProperties,
        writer::{PropertySink, PropertyWriter},
    },
    qos::Qos,
    version::Version,
};

const QOS: u8 = 0b11;
const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

/// A client asks for messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subscribe<B: Buffer> {
    /// Relates the SUBACK.
    pub packet_id: PacketId,
    /// What the server shall name these subscriptions by; of 5.0 only.
    pub subscription_id: Option<SubscriptionId>,
    /// User properties, of 5.0 only.
    pub user_properties: UserProperties<B>,
    /// What is asked for; never empty.
    pub filters: SubscribeFilters<B>,
}

impl<'a> Subscribe<&'a [u8]> {
    pub(crate) fn decode(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        let packet_id = reader.packet_id()?;
        let (mut subscription_id, mut user_properties) = (None, UserProperties::default());
        if version.is_v5() {
            let mut properties = PropertyReader::new(&mut reader, property::SUBSCRIBE)?;
            while properties.next()?.is_some() {}
            subscription_id = properties.subscription_ids().iter().next();
            user_properties = properties.user_properties();
        }
        let filters = SubscribeFilters::decode(reader, version)?;
        Ok(Self { packet_id, subscription_id, user_properties, filters })
    }

    pub(crate) fn slice(&self, frame: Frame<'_>) -> Subscribe<Bytes> {
        Subscribe {
            packet_id: self.packet_id,
            subscription_id: self.subscription_id,
            user_properties: self.user_properties.to_owned_in(frame),
            filters: self.filters.slice(frame),
        }
    }
}

/// How a subscription wants its messages.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SubscriptionOptions {
    /// The highest QoS the client wants.
    pub qos: Qos,
    /// Whether messages the client published itself stay away; of 5.0 only.
    pub no_local: bool,
    /// Whether messages keep the RETAIN flag they were published with; of 5.0 only.
    pub retain_as_published: bool,
    /// Whether retained messages come at once; of 5.0 only.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// What 3.x knows: only a QoS.
    #[must_use]
    pub const fn with_qos(qos: Qos) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        }
    }

    /// The byte on the wire of 5.0, which is good for keeping the options too.
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        self.qos as u8
            | if self.no_local { NO_LOCAL } else { 0 }
            | if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 }
            | (self.retain_handling as u8) << 4
    }

    /// The options of a byte of 5.0, `None` if it is not one.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        Self::decode(bits, Version::V5).ok()
    }

    #[inline]
    fn decode(bits: u8, version: Version) -> Result<Self, DecodeErrorKind> {
        // [MQTT-3.8.3-5] [MQTT-3.8.3-4 @3.1.1]
        let reserved = if version.is_v5() { 0b1100_0000 } else { 0b1111_1100 };
        if bits & reserved != 0 {
            return Err(DecodeErrorKind::SubscriptionOptionsReserved);
        }
        Ok(Self {
            qos: Qos::from_bits(bits & QOS).ok_or(DecodeErrorKind::SubscriptionQos)?,
            no_local: bits & NO_LOCAL != 0,
            retain_as_published: bits & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match bits >> 4 & 0b11 {
                0 => RetainHandling::SendAtSubscribe,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                // [MQTT-3.3.1-11]
                _ => return Err(DecodeErrorKind::RetainHandling),
            },
        })
    }
}

/// Whether a SUBSCRIBE brings retained messages.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum RetainHandling {
    /// Always. [MQTT-3.3.1-9]
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription is new. [MQTT-3.3.1-10]
    SendIfNew = 1,
    /// Never. [MQTT-3.3.1-11]
    DoNotSend = 2,
}

/// The Topic Filters of a SUBSCRIBE with their options, in their order.
///
/// They are kept as they are on the wire and read one by one. Each is well formed text; whether it is a Topic
/// Filter is answered filter by filter, so that is for who reads them.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct SubscribeFilters<B: Buffer> {
    block: B,
    /// Whether options say more than a QoS, which 3.x cannot.
    needs_v5: bool,
}

impl<'a> SubscribeFilters<&'a [u8]> {
    fn decode(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        let block = reader.rest();
        // [MQTT-3.8.3-2] [MQTT-3.8.3-3 @3.1.1]
        if block.is_empty() {
            return Err(reader.fault(DecodeErrorKind::FiltersMissing));
        }
        let mut needs_v5 = false;
        while !reader.is_empty() {
            // [MQTT-3.8.3-1] [MQTT-3.8.3-1 @3.1.1]
            reader.skip_text()?;
            let options_at = reader.offset();
            let options = reader.u8()?;
            SubscriptionOptions::decode(options, version)
                .map_err(|kind| fault_at(kind, options_at))?;
            needs_v5 |= options & !QOS != 0;
        }
        Ok(Self { block, needs_v5 })
    }

    fn slice(self, frame: Frame<'_>) -> SubscribeFilters<Bytes> {
        SubscribeFilters { block: frame.bytes(self.block), needs_v5: self.needs_v5 }
    }
}

impl SubscribeFilters<Bytes> {
    /// Makes a list of filters and options.
    ///
    /// # Errors
    ///
    /// The list is empty, or a filter is longer than 65,535 bytes or holds U+0000.
    pub fn from_pairs<'p>(
        pairs: impl IntoIterator<Item = (&'p str, SubscriptionOptions)>,
    ) -> Result<Self, EncodeError> {
        let (mut block, mut needs_v5) = (Vec::new(), false);
        for (filter, options) in pairs {
            check_field(filter)?;
            block.field(filter.as_bytes());
            block.u8(options.to_bits());
            needs_v5 |= options.to_bits() & !QOS != 0;
        }
        if block.is_empty() {
            return Err(EncodeError::Empty);
        }
        Ok(Self { block: block.into(), needs_v5 })
    }
}

impl<B: Buffer> SubscribeFilters<B> {
    /// How many there are; this counts them.
    pub fn len(&self) -> usize {
        self.raw().count()
    }

    /// Whether there are none, which no decoded SUBSCRIBE has.
    pub fn is_empty(&self) -> bool {
        self.block.as_ref().is_empty()
    }

    /// Filter and options of each, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, SubscriptionOptions)> + Clone {
        self.raw().filter_map(|(filter, options)| {
            Some((core::str::from_utf8(filter).ok()?, SubscriptionOptions::from_bits(options)?))
        })
    }

    #[inline]
    fn raw(&self) -> impl Iterator<Item = (&[u8], u8)> + Clone {
        let block = self.block.as_ref();
        let mut reader = Reader::new(block, block.len());
        // The block was checked before, so this ends where the block does.
        core::iter::from_fn(move || Some((reader.binary().ok()?, reader.u8().ok()?)))
    }
}

impl<B: Buffer> fmt::Debug for SubscribeFilters<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<B: Buffer> Body for Subscribe<B> {
    fn first_byte(&self, _: Version) -> Result<u8, EncodeError> {
        // [MQTT-3.8.3-2]
        if self.filters.is_empty() {
            return Err(EncodeError::Empty);
        }
        Ok(PacketType::Subscribe.first_byte())
    }

    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            sink.properties(self);
        }
        if version.is_v5() || !self.filters.needs_v5 {
            return sink.bytes(self.filters.block.as_ref());
        }
        for (filter, options) in self.filters.raw() {
            sink.field(filter);
            sink.u8(options & QOS);
        }
    }
}

impl<B: Buffer> PropertyWriter for Subscribe<B> {
    fn write(&self, sink: &mut impl Sink) {
        if let Some(subscription_id) = self.subscription_id {
            sink.subscription_id(subscription_id);
        }
        sink.user_properties(&self.user_properties);
    }
}

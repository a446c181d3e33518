//! Writing properties.

use crate::{
    buffer::Buffer,
    encoder::Sink,
    id::SubscriptionId,
    property::{id, user::UserProperties},
};

/// Properties that can be written, to count them or to fill them in.
pub(crate) trait PropertyWriter {
    /// Whether one look tells that there are none, as most packets have.
    #[inline]
    fn is_empty(&self) -> bool {
        false
    }

    fn write(&self, sink: &mut impl Sink);
}

/// Writing single properties.
pub(crate) trait PropertySink: Sink + Sized {
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
        properties.write(self);
    }

    #[inline]
    fn subscription_id(&mut self, subscription_id: SubscriptionId) {
        self.u8(id::SUBSCRIPTION_IDENTIFIER);
        self.varint(subscription_id.get() as usize);
    }
}

impl<S: Sink> PropertySink for S {}

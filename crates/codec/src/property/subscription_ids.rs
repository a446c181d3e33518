//! Subscription Identifiers.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    id::SubscriptionId,
    primitive::Reader,
    property::{id, raw::seek, writer::PropertySink},
};

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
        let block = self.block.as_ref();
        let mut reader = Reader::new(block, block.len());
        core::iter::from_fn(move || {
            seek(&mut reader, id::SUBSCRIPTION_IDENTIFIER)?;
            SubscriptionId::new(reader.varint().ok()?)
        })
    }
}

impl<'a> SubscriptionIds<&'a [u8]> {
    /// Identifiers that a reader checked.
    pub(crate) const fn checked(block: &'a [u8]) -> Self {
        Self { block }
    }

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

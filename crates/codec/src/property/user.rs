//! User properties.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::{
    buffer::{Buffer, Frame},
    encoder::{Counter, Sink, check_field},
    error::EncodeError,
    primitive::Reader,
    property::{id, raw::seek},
};

/// User properties, in their order; names may repeat.
///
/// They are kept as they are on the wire, checked when decoded, and read one by one.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<B: Buffer> {
    /// Whole properties, the first and the last of them user properties.
    block: B,
    /// Whether other properties stand between the user properties.
    has_gaps: bool,
}

impl<B: Buffer> UserProperties<B> {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.block.as_ref().is_empty()
    }

    /// How many there are; this counts them.
    pub fn len(&self) -> usize {
        self.pairs().count()
    }

    /// Name and value of each, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.pairs().map(|(name, value)| (text(name), text(value)))
    }

    /// Bytes they take on the wire.
    pub fn size(&self) -> usize {
        Counter::count(|counter| self.write(counter))
    }

    /// A copy in an allocation of its own size.
    #[must_use]
    pub fn copy(&self) -> UserProperties<Bytes> {
        if !self.has_gaps {
            return UserProperties {
                block: Bytes::copy_from_slice(self.block.as_ref()),
                has_gaps: false,
            };
        }
        let mut block = Vec::with_capacity(self.size());
        self.write(&mut block);
        UserProperties { block: block.into(), has_gaps: false }
    }

    #[inline]
    pub(crate) fn write(&self, sink: &mut impl Sink) {
        if !self.has_gaps {
            return sink.bytes(self.block.as_ref());
        }
        for (name, value) in self.pairs() {
            sink.u8(id::USER_PROPERTY);
            sink.field(name);
            sink.field(value);
        }
    }

    #[inline]
    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let block = self.block.as_ref();
        let mut reader = Reader::new(block, block.len());
        core::iter::from_fn(move || {
            seek(&mut reader, id::USER_PROPERTY)?;
            Some((reader.binary().ok()?, reader.binary().ok()?))
        })
    }
}

impl<'a> UserProperties<&'a [u8]> {
    /// User properties that a reader checked.
    pub(crate) const fn checked(block: &'a [u8], has_gaps: bool) -> Self {
        Self { block, has_gaps }
    }

    pub(crate) fn to_owned_in(self, frame: Frame<'_>) -> UserProperties<Bytes> {
        UserProperties { block: frame.bytes(self.block), has_gaps: self.has_gaps }
    }
}

impl UserProperties<Bytes> {
    /// Makes user properties of pairs of name and value.
    ///
    /// # Errors
    ///
    /// A name or value is longer than 65,535 bytes or holds U+0000.
    pub fn from_pairs<'p>(
        pairs: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Self, EncodeError> {
        let mut block = Vec::new();
        for (name, value) in pairs {
            check_field(name)?;
            check_field(value)?;
            block.u8(id::USER_PROPERTY);
            block.field(name.as_bytes());
            block.field(value.as_bytes());
        }
        Ok(Self { block: block.into(), has_gaps: false })
    }
}

impl<B: Buffer> PartialEq for UserProperties<B> {
    fn eq(&self, other: &Self) -> bool {
        self.pairs().eq(other.pairs())
    }
}

impl<B: Buffer> Eq for UserProperties<B> {}

impl<B: Buffer> fmt::Debug for UserProperties<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Text that was checked when it was decoded.
#[inline]
fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}

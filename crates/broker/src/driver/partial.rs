//! The beginning of a packet whose end has not arrived.

use std::ops::Deref;

/// Bytes that were read and not taken in yet. Most connections have none, and are 16 bytes smaller for it.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "so that none takes eight bytes")]
pub(super) struct Partial(Option<Box<Vec<u8>>>);

impl Partial {
    /// Keeps a copy of these bytes, and nothing else.
    #[inline]
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        *self = Self::from(bytes.to_vec());
    }

    /// To be added to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        self.0.get_or_insert_default()
    }

    /// Takes all of it out.
    #[inline]
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.take().map_or_else(Vec::new, |bytes| *bytes)
    }
}

impl From<Vec<u8>> for Partial {
    fn from(bytes: Vec<u8>) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(bytes)))
    }
}

impl Deref for Partial {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |bytes| bytes)
    }
}

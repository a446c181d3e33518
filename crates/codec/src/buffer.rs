//! The two faces of a packet: borrowed from the input, or owned slices of it.

use core::fmt::Debug;

use bytes::Bytes;
use dunlin_topics::{Text, TextRules};

/// What a packet's text and data are kept in: `&[u8]` for the borrowed face, [`Bytes`] for the owned one.
pub trait Buffer: AsRef<[u8]> + Clone + Debug + Default + Eq + sealed::Sealed {
    /// What text is kept in.
    type Text: AsRef<str> + AsRef<[u8]> + Clone + Debug + Eq;
}

impl<'a> Buffer for &'a [u8] {
    type Text = &'a str;
}

impl Buffer for Bytes {
    type Text = Text;
}

mod sealed {
    #[expect(unnameable_types, reason = "that is what keeps others from implementing it")]
    pub trait Sealed {}
    impl Sealed for &[u8] {}
    impl Sealed for bytes::Bytes {}
}

/// Makes the owned face of a packet: slices of the frame it was decoded from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a>(pub(crate) &'a Bytes);

impl Frame<'_> {
    pub(crate) fn bytes(self, part: &[u8]) -> Bytes {
        self.0.slice_ref(part)
    }

    pub(crate) fn text(self, part: &str) -> Text {
        Text::with_rules(self.bytes(part.as_bytes()), TextRules::PERMISSIVE)
            .expect("decoded text is well formed")
    }

    pub(crate) fn maybe_bytes(self, part: Option<&[u8]>) -> Option<Bytes> {
        part.map(|part| self.bytes(part))
    }

    pub(crate) fn maybe_text(self, part: Option<&str>) -> Option<Text> {
        part.map(|part| self.text(part))
    }
}

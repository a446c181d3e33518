//! UTF-8 strings as MQTT carries them: checked once, cheap to clone.

use bytes::Bytes;

/// The most bytes a UTF-8 Encoded String can have: its length travels in two bytes.
// [MQTT-4.7.3-3]
pub const TEXT_BYTES_MAX: usize = 65_535;

/// Which code points are let through although the standard advises against them.
///
/// The default refuses both groups. U+0000 and surrogates are never let through.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TextRules {
    /// Accept the control characters U+0001 to U+001F and U+007F to U+009F.
    pub allow_control: bool,
    /// Accept the non-characters U+FDD0 to U+FDEF and the last two code points of each plane.
    pub allow_non_characters: bool,
}

impl TextRules {
    /// Accepts all that the standard does not forbid outright.
    pub const PERMISSIVE: Self = Self { allow_control: true, allow_non_characters: true };
}

/// Why some bytes are not a string that MQTT may carry.
///
/// Every variant with an `offset` names the first byte of the first offending sequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidText {
    /// Longer than the two-byte length field can say.
    #[error("text of {length} bytes is longer than 65535 bytes")]
    TooLong {
        /// How many bytes there were.
        length: usize,
    },
    /// Not well-formed UTF-8.
    #[error("text is not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// Where in the text.
        offset: usize,
    },
    /// UTF-8 of a surrogate, U+D800 to U+DFFF.
    #[error("text has a surrogate at byte {offset}")]
    Surrogate {
        /// Where in the text.
        offset: usize,
    },
    /// U+0000.
    #[error("text has a null character at byte {offset}")]
    Null {
        /// Where in the text.
        offset: usize,
    },
    /// A control character that the [`TextRules`] refuse.
    #[error("text has a control character at byte {offset}")]
    Control {
        /// Where in the text.
        offset: usize,
    },
    /// A non-character that the [`TextRules`] refuse.
    #[error("text has a non-character at byte {offset}")]
    NonCharacter {
        /// Where in the text.
        offset: usize,
    },
}

impl InvalidText {
    /// The byte at which the text went wrong.
    #[must_use]
    pub const fn offset(&self) -> usize {
        match *self {
            Self::TooLong { .. } => TEXT_BYTES_MAX,
            Self::NotUtf8 { offset }
            | Self::Surrogate { offset }
            | Self::Null { offset }
            | Self::Control { offset }
            | Self::NonCharacter { offset } => offset,
        }
    }

    /// The statement of MQTT 5.0 that was broken, or the section where there is no statement.
    #[must_use]
    pub const fn spec(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "MQTT-4.7.3-3",
            Self::NotUtf8 { .. } | Self::Surrogate { .. } => "MQTT-1.5.4-1",
            Self::Null { .. } => "MQTT-1.5.4-2",
            Self::Control { .. } | Self::NonCharacter { .. } => "MQTT s1.5.4",
        }
    }
}

/// Checks that `bytes` are a UTF-8 Encoded String under `rules`, and returns them as one.
///
/// Nothing is changed on the way: a byte order mark stays, and nothing is normalised.
///
/// # Errors
///
/// The first thing that is wrong with the text.
// A BOM is an ordinary character to this function. [MQTT-1.5.4-3] [MQTT-1.5.3-3 @3.1.1]
pub fn check_text(bytes: &[u8], rules: TextRules) -> Result<&str, InvalidText> {
    // [MQTT-4.7.3-3] [MQTT-4.7.3-3 @3.1.1]
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(InvalidText::TooLong { length: bytes.len() });
    }
    let text =
        core::str::from_utf8(bytes).map_err(|error| ill_formed(bytes, error.valid_up_to()))?;
    // Nearly all text is printable ASCII, where nothing can be refused.
    if is_printable_ascii(bytes) {
        return Ok(text);
    }
    match text.char_indices().find_map(|(offset, c)| refusal(c, offset, rules)) {
        Some(refusal) => Err(refusal),
        None => Ok(text),
    }
}

/// Checks as [`check_text`], for those who want no `&str` of it: printable ASCII needs no second look then.
#[inline]
fn check(bytes: &[u8], rules: TextRules) -> Result<(), InvalidText> {
    if bytes.len() <= TEXT_BYTES_MAX && is_printable_ascii(bytes) {
        return Ok(());
    }
    check_text(bytes, rules).map(|_| ())
}

/// Says in what way the bytes at `offset`, the first that are not UTF-8, are wrong.
// [MQTT-1.5.4-1] [MQTT-1.5.3-1 @3.1.1]
fn ill_formed(bytes: &[u8], offset: usize) -> InvalidText {
    match bytes.get(offset..offset + 3) {
        Some([0xED, 0xA0..=0xBF, 0x80..=0xBF]) => InvalidText::Surrogate { offset },
        _ => InvalidText::NotUtf8 { offset },
    }
}

// No early exit, so that the compiler checks many bytes at once.
fn is_printable_ascii(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, byte| all & matches!(byte, 0x20..=0x7E))
}

fn refusal(c: char, offset: usize, rules: TextRules) -> Option<InvalidText> {
    match c {
        // [MQTT-1.5.4-2] [MQTT-4.7.3-2] [MQTT-1.5.3-2 @3.1.1] [MQTT-4.7.3-2 @3.1.1]
        '\0' => Some(InvalidText::Null { offset }),
        '\u{1}'..='\u{1F}' | '\u{7F}'..='\u{9F}' if !rules.allow_control => {
            Some(InvalidText::Control { offset })
        }
        _ if is_non_character(c) && !rules.allow_non_characters => {
            Some(InvalidText::NonCharacter { offset })
        }
        _ => None,
    }
}

fn is_non_character(c: char) -> bool {
    matches!(c, '\u{FDD0}'..='\u{FDEF}') || u32::from(c) & 0xFFFE == 0xFFFE
}

/// A UTF-8 Encoded String that was checked when it was made.
///
/// A clone shares the bytes. Text made from a slice of a larger buffer keeps all of that buffer
/// alive: [`Text::parse`] and [`Text::copy_from`] give what is kept for long an allocation of its
/// own size.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Text(Bytes);

impl Text {
    /// Takes bytes that are text under the default [`TextRules`].
    ///
    /// # Errors
    ///
    /// As [`check_text`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidText> {
        Self::with_rules(bytes, TextRules::default())
    }

    /// Takes bytes that are text under `rules`.
    ///
    /// # Errors
    ///
    /// As [`check_text`].
    pub fn with_rules(bytes: impl Into<Bytes>, rules: TextRules) -> Result<Self, InvalidText> {
        let bytes = bytes.into();
        check(&bytes, rules)?;
        Ok(Self(bytes))
    }

    /// Copies bytes that are text under `rules` into an allocation of their own.
    ///
    /// # Errors
    ///
    /// As [`check_text`].
    pub fn parse(bytes: &[u8], rules: TextRules) -> Result<Self, InvalidText> {
        check(bytes, rules)?;
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }

    /// Copies a string that is text under the default [`TextRules`].
    ///
    /// # Errors
    ///
    /// As [`check_text`].
    pub fn copy_from(text: &str) -> Result<Self, InvalidText> {
        Self::parse(text.as_bytes(), TextRules::default())
    }

    /// The same text in an allocation of its own.
    #[must_use]
    pub(crate) fn to_own(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The text without characters.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Bytes::new())
    }

    /// The text as a string. This looks at every byte again, so prefer [`Text::as_bytes`] where
    /// bytes will do.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("every constructor checks that the bytes are UTF-8")
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes of the text, to be shared.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// How many bytes the text has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the text has no characters.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The part of the text from byte `start` to byte `end`, sharing the same allocation.
    ///
    /// Both must lie on character boundaries; within this crate they stand beside `/` or `$`.
    pub(crate) fn slice(&self, start: usize, end: usize) -> Self {
        debug_assert!(self.as_str().is_char_boundary(start) && self.as_str().is_char_boundary(end));
        Self(self.0.slice(start..end))
    }
}

/// The trait impls that [`Text`], `TopicName` and `TopicFilter` have in common. All of them have
/// `new`, `copy_from`, `as_str` and `as_bytes`; equality, order and hash are those of the bytes.
macro_rules! text_traits {
    ($type:ty, $error:ty) => {
        impl core::fmt::Debug for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<[u8]> for $type {
            fn as_ref(&self) -> &[u8] {
                self.as_bytes()
            }
        }

        impl core::borrow::Borrow<[u8]> for $type {
            fn borrow(&self) -> &[u8] {
                self.as_bytes()
            }
        }

        impl TryFrom<&str> for $type {
            type Error = $error;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                Self::copy_from(text)
            }
        }

        impl TryFrom<alloc::string::String> for $type {
            type Error = $error;

            fn try_from(text: alloc::string::String) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl TryFrom<bytes::Bytes> for $type {
            type Error = $error;

            fn try_from(bytes: bytes::Bytes) -> Result<Self, Self::Error> {
                Self::new(bytes)
            }
        }

        impl core::str::FromStr for $type {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::copy_from(text)
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }
    };
}

pub(crate) use text_traits;

text_traits!(Text, InvalidText);

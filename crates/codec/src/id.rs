//! Identifiers that are checked once and then carried by type.

use core::{borrow::Borrow, fmt, num::NonZeroU16, num::NonZeroU32};

use bytes::Bytes;
use dunlin_topics::{InvalidText, Text, TextRules};

use crate::primitive::VARINT_MAX;

/// Names a packet while it waits for its acknowledgement; never 0. [MQTT-2.2.1-3]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The identifier with this number, `None` for 0.
    #[inline]
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number on the wire.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl From<NonZeroU16> for PacketId {
    fn from(id: NonZeroU16) -> Self {
        Self(id)
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Stands for a Topic Name on one connection and in one direction; never 0. [MQTT-3.3.2-8]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicAlias(NonZeroU16);

impl TopicAlias {
    /// The alias with this number, `None` for 0.
    #[inline]
    #[must_use]
    pub const fn new(alias: u16) -> Option<Self> {
        match NonZeroU16::new(alias) {
            Some(alias) => Some(Self(alias)),
            None => None,
        }
    }

    /// The number on the wire.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl From<NonZeroU16> for TopicAlias {
    fn from(alias: NonZeroU16) -> Self {
        Self(alias)
    }
}

impl fmt::Display for TopicAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number a client gives to a subscription, to find it again on what arrives by it: 1 to 268,435,455.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// The largest one, which is the largest Variable Byte Integer.
    pub const MAX: Self = Self(NonZeroU32::new(VARINT_MAX).expect("it is not zero"));

    /// The identifier with this number, `None` for 0 and above [`SubscriptionId::MAX`].
    #[inline]
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        match NonZeroU32::new(id) {
            Some(id) if id.get() <= VARINT_MAX => Some(Self(id)),
            _ => None,
        }
    }

    /// The number on the wire.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a client and its Session State. Empty only on the wire, where it asks the server for one.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(Text);

impl ClientId {
    /// Checks a Client Identifier by the default rules for text.
    ///
    /// # Errors
    ///
    /// What [`Text::new`] refuses.
    pub fn new(id: impl Into<Bytes>) -> Result<Self, InvalidText> {
        Text::new(id).map(Self)
    }

    /// Checks a Client Identifier by the given rules for text.
    ///
    /// # Errors
    ///
    /// What [`Text::with_rules`] refuses.
    pub fn with_rules(id: impl Into<Bytes>, rules: TextRules) -> Result<Self, InvalidText> {
        Text::with_rules(id.into(), rules).map(Self)
    }

    /// The identifier of no bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Text::empty())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// As bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// As checked text, which is how packets carry it.
    #[must_use]
    pub const fn text(&self) -> &Text {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the client left it to the server to choose one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Borrow<[u8]> for ClientId {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for ClientId {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<Text> for ClientId {
    fn from(text: Text) -> Self {
        Self(text)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

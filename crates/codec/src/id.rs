//! Identifiers that are checked once and then carried by type.

use alloc::sync::Arc;
use core::{borrow::Borrow, fmt, num::NonZeroU16, num::NonZeroU32};

use bytes::Bytes;
use dunlin_topics::{InvalidText, Text, TextRules, check_text};

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
///
/// It has its bytes to itself, and a clone shares them: a server keeps several of each client.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(Arc<[u8]>);

impl ClientId {
    /// Checks a Client Identifier by the default rules for text.
    ///
    /// # Errors
    ///
    /// What [`Text::new`] refuses.
    pub fn new(id: impl Into<Bytes>) -> Result<Self, InvalidText> {
        Self::with_rules(id, TextRules::default())
    }

    /// Checks a Client Identifier by the given rules for text.
    ///
    /// # Errors
    ///
    /// What [`Text::with_rules`] refuses.
    pub fn with_rules(id: impl Into<Bytes>, rules: TextRules) -> Result<Self, InvalidText> {
        Self::parse(&id.into(), rules)
    }

    /// Copies a Client Identifier that keeps to the given rules for text.
    ///
    /// # Errors
    ///
    /// What [`check_text`] refuses.
    pub fn parse(id: &[u8], rules: TextRules) -> Result<Self, InvalidText> {
        check_text(id, rules)?;
        Ok(Self(id.into()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("every constructor checks that the bytes are UTF-8")
    }

    /// As bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A copy as text, which is how packets carry it.
    #[must_use]
    pub fn text(&self) -> Text {
        Text::parse(&self.0, TextRules::PERMISSIVE)
            .expect("every constructor checks that the bytes are text")
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
        Self(text.as_bytes().into())
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

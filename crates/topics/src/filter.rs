//! Topic Filters: what a subscription asks for.

use bytes::Bytes;

use crate::levels::{self, Levels, SEPARATOR};
use crate::matching;
use crate::name::TopicName;
use crate::text::{InvalidText, Text, TextRules, check_text, text_traits};

/// The wildcard that stands for exactly one level.
pub(crate) const SINGLE_LEVEL: u8 = b'+';
/// The wildcard that stands for any number of last levels.
pub(crate) const MULTI_LEVEL: u8 = b'#';

/// Whether a byte of a name or filter is a wildcard. Both are ASCII, so that no other character
/// has such a byte inside.
pub(crate) const fn is_wildcard(byte: u8) -> bool {
    matches!(byte, SINGLE_LEVEL | MULTI_LEVEL)
}

/// Why some bytes are not a Topic Filter, or not one of a Shared Subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTopicFilter {
    /// Not a string that MQTT may carry.
    #[error("topic filter: {0}")]
    Text(InvalidText),
    /// No characters at all.
    #[error("topic filter is empty")]
    Empty,
    /// A `+` or `#` that shares its level with other characters.
    #[error("topic filter has a wildcard at byte {offset} that is not a level of its own")]
    WildcardInLevel {
        /// Where in the filter the wildcard is.
        offset: usize,
    },
    /// A `#` with levels after it.
    #[error("topic filter goes on after the # at byte {offset}")]
    MultiLevelNotLast {
        /// Where in the filter the wildcard is.
        offset: usize,
    },
    /// `$share/` without a share name behind it.
    #[error("shared subscription has no share name")]
    ShareNameEmpty,
    /// A share name with a `+` or `#`.
    #[error("share name has a wildcard at byte {offset}")]
    ShareNameWildcard {
        /// Where in the whole text the wildcard is.
        offset: usize,
    },
    /// `$share/{group}` or `$share/{group}/` without a filter behind it.
    #[error("shared subscription has no topic filter")]
    ShareFilterEmpty,
}

impl InvalidTopicFilter {
    /// The byte at which the filter went wrong, if it is not the end of it.
    #[must_use]
    pub const fn offset(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.offset()),
            Self::WildcardInLevel { offset }
            | Self::MultiLevelNotLast { offset }
            | Self::ShareNameWildcard { offset } => Some(*offset),
            Self::Empty | Self::ShareNameEmpty | Self::ShareFilterEmpty => None,
        }
    }

    /// The statement of MQTT 5.0 that was broken.
    #[must_use]
    pub const fn spec(&self) -> &'static str {
        match self {
            Self::Text(text) => text.spec(),
            Self::Empty => "MQTT-4.7.3-1",
            Self::WildcardInLevel { .. } => "MQTT-4.7.1-2",
            Self::MultiLevelNotLast { .. } => "MQTT-4.7.1-1",
            Self::ShareNameEmpty => "MQTT-4.8.2-1",
            Self::ShareNameWildcard { .. } | Self::ShareFilterEmpty => "MQTT-4.8.2-2",
        }
    }
}

impl From<InvalidText> for InvalidTopicFilter {
    fn from(error: InvalidText) -> Self {
        Self::Text(error)
    }
}

/// Checks that `bytes` are a Topic Filter under `rules`, and returns them as a string.
///
/// A leading `$share/` has no meaning here: see [`SubscriptionFilter`](crate::SubscriptionFilter).
///
/// # Errors
///
/// The first thing that is wrong with the filter.
pub fn check_topic_filter(bytes: &[u8], rules: TextRules) -> Result<&str, InvalidTopicFilter> {
    let text = check_text(bytes, rules)?;
    check_filter_syntax(bytes)?;
    Ok(text)
}

/// Checks what makes a Topic Filter of a text.
fn check_filter_syntax(bytes: &[u8]) -> Result<(), InvalidTopicFilter> {
    // [MQTT-4.7.3-1] [MQTT-4.7.3-1 @3.1.1]
    if bytes.is_empty() {
        return Err(InvalidTopicFilter::Empty);
    }
    for (offset, &byte) in bytes.iter().enumerate() {
        if is_wildcard(byte) {
            check_wildcard(bytes, offset, byte)?;
        }
    }
    Ok(())
}

fn check_wildcard(bytes: &[u8], offset: usize, wildcard: u8) -> Result<(), InvalidTopicFilter> {
    let begins_level = offset == 0 || bytes.get(offset - 1) == Some(&SEPARATOR);
    match bytes.get(offset + 1) {
        None if begins_level => Ok(()),
        // [MQTT-4.7.1-1] [MQTT-4.7.1-2 @3.1.1]
        Some(&SEPARATOR) if begins_level && wildcard == MULTI_LEVEL => {
            Err(InvalidTopicFilter::MultiLevelNotLast { offset })
        }
        Some(&SEPARATOR) if begins_level => Ok(()),
        // [MQTT-4.7.1-2] [MQTT-4.7.1-3 @3.1.1]
        _ => Err(InvalidTopicFilter::WildcardInLevel { offset }),
    }
}

/// The filter of a subscription that is not shared, checked when it was made.
///
/// A clone shares the bytes, as with [`Text`].
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicFilter(Text);

impl TopicFilter {
    /// Takes bytes that are a Topic Filter under the default [`TextRules`].
    ///
    /// # Errors
    ///
    /// As [`check_topic_filter`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidTopicFilter> {
        Self::with_rules(bytes, TextRules::default())
    }

    /// Takes bytes that are a Topic Filter under `rules`.
    ///
    /// # Errors
    ///
    /// As [`check_topic_filter`].
    pub fn with_rules(
        bytes: impl Into<Bytes>,
        rules: TextRules,
    ) -> Result<Self, InvalidTopicFilter> {
        Self::try_from(Text::with_rules(bytes, rules)?)
    }

    /// Copies bytes that are a Topic Filter under `rules` into an allocation of their own.
    ///
    /// # Errors
    ///
    /// As [`check_topic_filter`].
    pub fn parse(bytes: &[u8], rules: TextRules) -> Result<Self, InvalidTopicFilter> {
        check_filter_syntax(bytes)?;
        Ok(Self(Text::parse(bytes, rules)?))
    }

    /// Copies a string that is a Topic Filter under the default [`TextRules`].
    ///
    /// # Errors
    ///
    /// As [`check_topic_filter`].
    pub fn copy_from(text: &str) -> Result<Self, InvalidTopicFilter> {
        Self::parse(text.as_bytes(), TextRules::default())
    }

    /// The filter as a string; this looks at every byte again.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The bytes of the filter.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The filter as text, to be shared.
    #[must_use]
    pub const fn text(&self) -> &Text {
        &self.0
    }

    /// How many bytes the filter has: at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a Topic Filter is never empty")]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The levels of the filter, from the root on.
    #[must_use]
    pub fn levels(&self) -> Levels<'_> {
        Levels::new(self.as_str())
    }

    /// How many levels the filter has, wildcards included: at least 1.
    #[must_use]
    pub fn level_count(&self) -> usize {
        levels::count(self.as_bytes())
    }

    /// Whether there is a `+` or `#` in the filter. Without one it matches one name: itself.
    #[must_use]
    pub fn has_wildcards(&self) -> bool {
        self.as_bytes().iter().any(|&byte| is_wildcard(byte))
    }

    /// Whether the filter matches `name`.
    #[must_use]
    pub fn matches(&self, name: &TopicName) -> bool {
        matching::matches(self.as_str(), name.as_str())
    }
}

text_traits!(TopicFilter, InvalidTopicFilter);

/// The rules that the text was checked by go on holding for the filter.
impl TryFrom<Text> for TopicFilter {
    type Error = InvalidTopicFilter;

    fn try_from(text: Text) -> Result<Self, Self::Error> {
        check_filter_syntax(text.as_bytes())?;
        Ok(Self(text))
    }
}

/// Every Topic Name is a Topic Filter that matches itself alone.
impl From<TopicName> for TopicFilter {
    fn from(name: TopicName) -> Self {
        Self(name.into())
    }
}

impl From<TopicFilter> for Text {
    fn from(filter: TopicFilter) -> Self {
        filter.0
    }
}

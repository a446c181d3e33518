//! Topic Names: what a message is published to.

use bytes::Bytes;

use crate::filter::is_wildcard;
use crate::levels::{self, Levels};
use crate::text::{InvalidText, Text, TextRules, check_text, text_traits};

/// Why some bytes are not a Topic Name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTopicName {
    /// Not a string that MQTT may carry.
    #[error("topic name: {0}")]
    Text(InvalidText),
    /// No characters at all.
    #[error("topic name is empty")]
    Empty,
    /// A `+` or a `#`, which only filters may have.
    #[error("topic name has a wildcard at byte {offset}")]
    Wildcard {
        /// Where in the name.
        offset: usize,
    },
}

impl InvalidTopicName {
    /// The byte at which the name went wrong.
    #[must_use]
    pub const fn offset(&self) -> usize {
        match self {
            Self::Text(text) => text.offset(),
            Self::Empty => 0,
            Self::Wildcard { offset } => *offset,
        }
    }

    /// The statement of MQTT 5.0 that was broken.
    #[must_use]
    pub const fn spec(&self) -> &'static str {
        match self {
            Self::Text(text) => text.spec(),
            Self::Empty => "MQTT-4.7.3-1",
            Self::Wildcard { .. } => "MQTT-4.7.0-1",
        }
    }
}

impl From<InvalidText> for InvalidTopicName {
    fn from(error: InvalidText) -> Self {
        Self::Text(error)
    }
}

/// Checks that `bytes` are a Topic Name under `rules`, and returns them as a string.
///
/// # Errors
///
/// The first thing that is wrong with the name.
pub fn check_topic_name(bytes: &[u8], rules: TextRules) -> Result<&str, InvalidTopicName> {
    let text = check_text(bytes, rules)?;
    check_name_syntax(bytes)?;
    Ok(text)
}

/// Checks what makes a Topic Name of a text.
fn check_name_syntax(bytes: &[u8]) -> Result<(), InvalidTopicName> {
    // [MQTT-4.7.3-1] [MQTT-4.7.3-1 @3.1.1]
    if bytes.is_empty() {
        return Err(InvalidTopicName::Empty);
    }
    // [MQTT-4.7.0-1] [MQTT-4.7.1-1 @3.1.1]
    match bytes.iter().position(|&byte| is_wildcard(byte)) {
        Some(offset) => Err(InvalidTopicName::Wildcard { offset }),
        None => Ok(()),
    }
}

/// The name of the topic that a message is published to, checked when it was made.
///
/// A clone shares the bytes, as with [`Text`].
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicName(Text);

impl TopicName {
    /// Takes bytes that are a Topic Name under the default [`TextRules`].
    ///
    /// # Errors
    ///
    /// As [`check_topic_name`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidTopicName> {
        Self::with_rules(bytes, TextRules::default())
    }

    /// Takes bytes that are a Topic Name under `rules`.
    ///
    /// # Errors
    ///
    /// As [`check_topic_name`].
    pub fn with_rules(bytes: impl Into<Bytes>, rules: TextRules) -> Result<Self, InvalidTopicName> {
        Self::try_from(Text::with_rules(bytes, rules)?)
    }

    /// Copies bytes that are a Topic Name under `rules` into an allocation of their own.
    ///
    /// # Errors
    ///
    /// As [`check_topic_name`].
    pub fn parse(bytes: &[u8], rules: TextRules) -> Result<Self, InvalidTopicName> {
        check_name_syntax(bytes)?;
        Ok(Self(Text::parse(bytes, rules)?))
    }

    /// Copies a string that is a Topic Name under the default [`TextRules`].
    ///
    /// # Errors
    ///
    /// As [`check_topic_name`].
    pub fn copy_from(text: &str) -> Result<Self, InvalidTopicName> {
        Self::parse(text.as_bytes(), TextRules::default())
    }

    /// The same name in an allocation of its own. A first clone takes 24 bytes more for as long as any is there: this
    /// one leaves a name that is kept for long as small as it is.
    #[must_use]
    pub fn to_own(&self) -> Self {
        Self(self.0.to_own())
    }

    /// The name as a string; this looks at every byte again.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The name as text, to be shared.
    #[must_use]
    pub const fn text(&self) -> &Text {
        &self.0
    }

    /// How many bytes the name has: at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a Topic Name is never empty")]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The levels of the name, from the root on.
    #[must_use]
    pub fn levels(&self) -> Levels<'_> {
        Levels::new(self.as_str())
    }

    /// How many levels the name has: at least 1.
    #[must_use]
    pub fn level_count(&self) -> usize {
        levels::count(self.as_bytes())
    }

    /// Whether the name begins with `$`, and so is kept for the Server's own use.
    // [MQTT-4.7.2-1]
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.as_bytes().first() == Some(&b'$')
    }
}

text_traits!(TopicName, InvalidTopicName);

/// The rules that the text was checked by go on holding for the name.
impl TryFrom<Text> for TopicName {
    type Error = InvalidTopicName;

    fn try_from(text: Text) -> Result<Self, Self::Error> {
        check_name_syntax(text.as_bytes())?;
        Ok(Self(text))
    }
}

impl From<TopicName> for Text {
    fn from(name: TopicName) -> Self {
        name.0
    }
}

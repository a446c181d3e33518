//! Filters of Shared Subscriptions, and the one type for what a SUBSCRIBE may carry.

use alloc::sync::Arc;
use core::fmt;

use crate::filter::{InvalidTopicFilter, TopicFilter, is_wildcard};
use crate::levels::SEPARATOR;
use crate::text::{Text, TextRules};

/// What the filter of a Shared Subscription begins with.
const SHARE_PREFIX: &str = "$share/";

/// `$share/{group}/{filter}`: a filter, and the group whose members take turns at its messages.
///
/// A clone shares everything.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SharedFilter(Arc<Parts>);

/// The group and the filter are slices of the whole. Compared first, the whole decides all.
#[derive(Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Parts {
    whole: Text,
    group: Text,
    filter: TopicFilter,
}

impl SharedFilter {
    /// Copies bytes that are the filter of a Shared Subscription, `$share/` included.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the text, the share name or the filter. Bytes that do
    /// not begin with `$share/` have no share name.
    pub fn parse(bytes: &[u8], rules: TextRules) -> Result<Self, InvalidTopicFilter> {
        Self::try_from(Text::parse(bytes, rules)?)
    }

    /// The share name, which says whose turn it is together with the filter.
    #[must_use]
    pub fn group(&self) -> &Text {
        &self.0.group
    }

    /// The filter behind the share name.
    #[must_use]
    pub fn filter(&self) -> &TopicFilter {
        &self.0.filter
    }

    /// All of it, `$share/` included.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.0.whole
    }

    /// All of it, `$share/` included, as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.whole.as_str()
    }

    /// The bytes of all of it, `$share/` included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.whole.as_bytes()
    }
}

/// The rules that the text was checked by go on holding for the filter.
impl TryFrom<Text> for SharedFilter {
    type Error = InvalidTopicFilter;

    fn try_from(whole: Text) -> Result<Self, Self::Error> {
        let group_start = SHARE_PREFIX.len();
        let group_len = group_len(whole.as_bytes())?;
        let filter_start = group_start + group_len + 1;
        let group = whole.slice(group_start, group_start + group_len);
        let filter = TopicFilter::try_from(whole.slice(filter_start, whole.len()))
            .map_err(|error| within_whole(error, filter_start))?;
        Ok(Self(Arc::new(Parts { whole, group, filter })))
    }
}

/// How many bytes the share name has that follows `$share/`, if a filter may follow it in turn.
fn group_len(whole: &[u8]) -> Result<usize, InvalidTopicFilter> {
    let behind = whole.strip_prefix(SHARE_PREFIX.as_bytes()).unwrap_or_default();
    let end = behind.iter().position(|&byte| byte == SEPARATOR || is_wildcard(byte));
    match end.and_then(|end| behind.get(end).map(|&byte| (end, byte))) {
        // [MQTT-4.8.2-1]
        None if behind.is_empty() => Err(InvalidTopicFilter::ShareNameEmpty),
        Some((0, SEPARATOR)) => Err(InvalidTopicFilter::ShareNameEmpty),
        // [MQTT-4.8.2-2]
        None => Err(InvalidTopicFilter::ShareFilterEmpty),
        Some((end, SEPARATOR)) => Ok(end),
        Some((end, _wildcard)) => {
            Err(InvalidTopicFilter::ShareNameWildcard { offset: SHARE_PREFIX.len() + end })
        }
    }
}

/// Says of an error in the filter that begins at `start` where in the whole it is.
fn within_whole(error: InvalidTopicFilter, start: usize) -> InvalidTopicFilter {
    match error {
        InvalidTopicFilter::Empty => InvalidTopicFilter::ShareFilterEmpty,
        InvalidTopicFilter::WildcardInLevel { offset } => {
            InvalidTopicFilter::WildcardInLevel { offset: offset + start }
        }
        InvalidTopicFilter::MultiLevelNotLast { offset } => {
            InvalidTopicFilter::MultiLevelNotLast { offset: offset + start }
        }
        // The text was checked as a whole, and the others are not found in a filter alone.
        InvalidTopicFilter::Text(_)
        | InvalidTopicFilter::ShareNameEmpty
        | InvalidTopicFilter::ShareNameWildcard { .. }
        | InvalidTopicFilter::ShareFilterEmpty => error,
    }
}

impl fmt::Debug for SharedFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for SharedFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A filter as it stands in SUBSCRIBE and UNSUBSCRIBE: of a Shared Subscription if it begins with
/// `$share/`, plain otherwise.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SubscriptionFilter {
    /// All matching messages go to the one subscriber.
    Plain(TopicFilter),
    /// Each matching message goes to one member of the group.
    Shared(SharedFilter),
}

impl SubscriptionFilter {
    /// Copies bytes that are the filter of a subscription into an allocation of their own.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the text, the share name or the filter.
    pub fn parse(bytes: &[u8], rules: TextRules) -> Result<Self, InvalidTopicFilter> {
        Self::try_from(Text::parse(bytes, rules)?)
    }

    /// The filter that names are held against: without `$share/{group}/`.
    #[must_use]
    pub fn topic_filter(&self) -> &TopicFilter {
        match self {
            Self::Plain(filter) => filter,
            Self::Shared(shared) => shared.filter(),
        }
    }

    /// The share name, if the subscription is shared.
    #[must_use]
    pub fn group(&self) -> Option<&Text> {
        match self {
            Self::Plain(_) => None,
            Self::Shared(shared) => Some(shared.group()),
        }
    }

    /// The whole text, as the Client sent it.
    #[must_use]
    pub fn text(&self) -> &Text {
        match self {
            Self::Plain(filter) => filter.text(),
            Self::Shared(shared) => shared.text(),
        }
    }

    /// The whole text as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text().as_str()
    }

    /// The bytes of the whole text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text().as_bytes()
    }

    /// Whether the subscription is shared.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }
}

/// The rules that the text was checked by go on holding for the filter.
impl TryFrom<Text> for SubscriptionFilter {
    type Error = InvalidTopicFilter;

    fn try_from(text: Text) -> Result<Self, Self::Error> {
        // [MQTT-4.8.2-1]
        if text.as_bytes().starts_with(SHARE_PREFIX.as_bytes()) {
            SharedFilter::try_from(text).map(Self::Shared)
        } else {
            TopicFilter::try_from(text).map(Self::Plain)
        }
    }
}

impl TryFrom<&str> for SubscriptionFilter {
    type Error = InvalidTopicFilter;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::parse(text.as_bytes(), TextRules::default())
    }
}

impl fmt::Display for SubscriptionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

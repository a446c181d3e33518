//! Filters as sets of names: which of two holds more, and whether they have a name in common.

use dunlin_topics::TopicFilter;
use smallvec::SmallVec;

use crate::table::FilterTable;

/// One level of a filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level<'a> {
    /// This text and nothing else.
    Literal(&'a [u8]),
    /// `+`.
    Single,
    /// `#`, which is the last one.
    Multi,
}

/// The levels of a filter. Deeper ones are rare and cost an allocation.
pub(crate) type Levels<'a> = SmallVec<[Level<'a>; 12]>;

impl<'a> Level<'a> {
    pub(crate) fn of(text: &'a [u8]) -> Self {
        match text {
            b"+" => Self::Single,
            b"#" => Self::Multi,
            _ => Self::Literal(text),
        }
    }

    /// Whether a filter that begins so is for names that begin with `$`.
    // [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
    pub(crate) fn is_reserved(self) -> bool {
        matches!(self, Self::Literal([b'$', ..]))
    }
}

/// The levels of the filter that these bytes are.
pub(crate) fn levels(filter: &[u8]) -> Levels<'_> {
    filter.split(|&byte| byte == b'/').map(Level::of).collect()
}

/// Whether every name that `inner` matches is matched by `outer` too.
///
/// That is what decides whether who may subscribe to `outer` may subscribe to `inner`. The text does not: `a/#` contains
/// `a/+/b` and `a`, while `a/+` does not contain `a/#`; `#` and `+/#` contain each other, since a name has a level. Names that begin with `$` are out of reach for a wildcard in the
/// first level, so `#` does not contain `$SYS/#`.
///
/// ```
/// use dunlin_access::contains;
/// use dunlin_topics::TopicFilter;
///
/// let filter = |text| TopicFilter::copy_from(text);
/// assert!(contains(&filter("a/#")?, &filter("a/+/b")?));
/// assert!(contains(&filter("a/#")?, &filter("a")?));
/// assert!(!contains(&filter("a/+")?, &filter("a/#")?));
/// assert!(!contains(&filter("#")?, &filter("$SYS/#")?));
/// # Ok::<(), dunlin_topics::InvalidTopicFilter>(())
/// ```
///
/// The answer is exact, except that it takes names to be of any length: two filters of which one is so long that MQTT has
/// no room for a name that tells them apart are still told apart.
#[must_use]
pub fn contains(outer: &TopicFilter, inner: &TopicFilter) -> bool {
    covered_by(inner, [outer])
}

/// Whether there is a name that both match.
///
/// ```
/// use dunlin_access::overlaps;
/// use dunlin_topics::TopicFilter;
///
/// let filter = |text| TopicFilter::copy_from(text);
/// assert!(overlaps(&filter("a/+")?, &filter("+/b")?));
/// assert!(overlaps(&filter("a/#")?, &filter("a")?));
/// assert!(!overlaps(&filter("a/+")?, &filter("a")?));
/// assert!(!overlaps(&filter("#")?, &filter("$SYS/#")?));
/// # Ok::<(), dunlin_topics::InvalidTopicFilter>(())
/// ```
///
/// The answer is exact, names taken to be of any length as in [`contains`].
#[must_use]
pub fn overlaps(one: &TopicFilter, other: &TopicFilter) -> bool {
    intersection(&levels(one.as_bytes()), &levels(other.as_bytes())).is_some()
}

/// Whether every name that `inner` matches is matched by at least one of `outer`.
///
/// More can be true of several filters together than of each alone: `a` and `a/+/#` cover `a/#`, since what the second
/// lacks is the first. The answer is exact, names taken to be of any length as in [`contains`].
///
/// ```
/// use dunlin_access::covered_by;
/// use dunlin_topics::TopicFilter;
///
/// let filter = |text| TopicFilter::copy_from(text);
/// let [a, below] = [filter("a")?, filter("a/+/#")?];
/// assert!(covered_by(&filter("a/#")?, [&a, &below]));
/// assert!(!covered_by(&filter("a/#")?, [&below]));
/// # Ok::<(), dunlin_topics::InvalidTopicFilter>(())
/// ```
#[must_use]
pub fn covered_by<'a>(
    inner: &TopicFilter,
    outer: impl IntoIterator<Item = &'a TopicFilter>,
) -> bool {
    let table = FilterTable::of_filters(outer);
    table.covers(&levels(inner.as_bytes()), |_| true)
}

/// The filter that matches exactly the names which both match: filters are closed under intersection.
pub(crate) fn intersection<'a>(one: &[Level<'a>], other: &[Level<'a>]) -> Option<Levels<'a>> {
    if is_out_of_reach(one, other) || is_out_of_reach(other, one) {
        return None;
    }
    let mut both = Levels::new();
    let (mut ones, mut others) = (one.iter(), other.iter());
    loop {
        match (ones.next(), others.next()) {
            (None, None) => break,
            (Some(Level::Multi), rest) => {
                both.extend(rest.copied());
                both.extend(others.copied());
                break;
            }
            (rest, Some(Level::Multi)) => {
                both.extend(rest.copied());
                both.extend(ones.copied());
                break;
            }
            (Some(Level::Single), Some(&level)) | (Some(&level), Some(Level::Single)) => {
                both.push(level);
            }
            (Some(Level::Literal(one)), Some(Level::Literal(other))) if one == other => {
                both.push(Level::Literal(one));
            }
            _ => return None,
        }
    }
    (both.as_slice() != EMPTY_NAME).then_some(both)
}

/// What `/#` and `+` have in common, and no name has: it would be empty.
// [MQTT-4.7.3-1] [MQTT-4.7.3-1 @3.1.1]
pub(crate) const EMPTY_NAME: &[Level<'_>] = &[Level::Literal(b"")];

/// Whether `inner` is for names that begin with `$`, and `outer` begins with a wildcard, which never matches them.
// [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
fn is_out_of_reach(outer: &[Level<'_>], inner: &[Level<'_>]) -> bool {
    matches!(outer.first(), Some(Level::Single | Level::Multi))
        && inner.first().is_some_and(|level| level.is_reserved())
}

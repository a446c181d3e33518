//! The topic of each stream. A stream is what one publisher sends to one topic, numbered from zero.

use std::ops::Range;

/// Topics of one length, so that all frames of a publisher have one length too.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    text: Vec<u8>,
    length: usize,
}

impl Topics {
    /// # Panics
    ///
    /// If a topic has another length than those before.
    pub(crate) fn push(&mut self, topic: &str) -> u32 {
        assert!(self.length == 0 || self.length == topic.len(), "`{topic}` has another length");
        self.length = topic.len();
        self.text.extend(topic.as_bytes());
        u32::try_from(self.count() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn count(&self) -> usize {
        self.text.len().checked_div(self.length).unwrap_or(0)
    }

    pub(crate) fn get(&self, stream: u32) -> Option<&[u8]> {
        let start = usize::try_from(stream).ok()?.checked_mul(self.length)?;
        self.text.get(start..start + self.length)
    }

    pub(crate) fn all(&self) -> Range<u32> {
        0..u32::try_from(self.count()).unwrap_or(u32::MAX)
    }
}

/// Whether a Topic Filter (no shared one) matches a Topic Name that does not begin with `$`.
pub(crate) fn matches(filter: &str, topic: &[u8]) -> bool {
    let mut levels = topic.split(|byte| *byte == b'/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (text, Some(level)) if text.as_bytes() == level => {}
            (_, Some(_)) => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_what_the_standard_says() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a", "a/b", false),
            ("a/b", "a", false),
            ("+", "a", true),
            ("+", "a/b", false),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a//c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("#", "a/b", true),
            ("+/x/#", "a/x", true),
            ("+/x/#", "a/y/x", false),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(matches(filter, topic.as_bytes()), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn a_stream_has_its_topic() {
        let mut topics = Topics::default();
        assert_eq!((topics.count(), topics.get(0)), (0, Some(&[][..])));
        assert_eq!((topics.push("a/1"), topics.push("a/2")), (0, 1));
        assert_eq!((topics.get(1), topics.get(2)), (Some(&b"a/2"[..]), None));
        assert_eq!((topics.count(), topics.all()), (2, 0..2));
    }
}

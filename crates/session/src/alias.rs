//! Topic Aliases: numbers that stand for topics, on one Network Connection and in one direction.

// [MQTT-3.3.2-7] Both tables belong to the connection and end with it.

use dunlin_codec::{TextRules, TopicAlias, TopicName};

use crate::error::Violation;
use crate::event::RouteTopic;

/// The aliases that the client set.
///
/// Bounds: the announced Topic Alias Maximum, and bytes of topics; what passes either ends the connection.
#[derive(Debug, Default)]
pub(crate) struct InboundAliases {
    /// At index `alias - 1`. Grows to the highest alias used.
    topics: Vec<Option<TopicName>>,
    bytes: usize,
}

/// The bounds of [`InboundAliases`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct AliasBounds {
    pub(crate) alias_max: u16,
    pub(crate) bytes_max: usize,
}

impl InboundAliases {
    /// The topic of a PUBLISH that carries this alias; sets the alias if it carries a topic too.
    pub(crate) fn resolve<'a>(
        &mut self,
        alias: TopicAlias,
        topic: &'a str,
        bounds: AliasBounds,
    ) -> Result<RouteTopic<'a>, Violation> {
        let alias = alias.get();
        // [MQTT-3.2.2-17] [MQTT-3.2.2-18] [MQTT-3.3.2-9]
        if alias > bounds.alias_max {
            return Err(Violation::TopicAliasTooHigh { alias, maximum: bounds.alias_max });
        }
        let index = usize::from(alias) - 1;
        let known = self.topics.get(index).and_then(Option::as_ref);
        if topic.is_empty() {
            // [MQTT-3.3.2-12] [MQTT-4.7.3-1]
            let known = known.ok_or(Violation::TopicAliasUnknown { alias })?;
            return Ok(RouteTopic::Aliased(known.clone()));
        }
        if known.is_none_or(|known| known.as_bytes() != topic.as_bytes()) {
            self.set(index, topic, bounds.bytes_max)?;
        }
        Ok(RouteTopic::Wire(topic))
    }

    /// Keeps the topic, in an allocation of its own so that it does not pin what it was read into.
    fn set(&mut self, index: usize, topic: &str, bytes_max: usize) -> Result<(), Violation> {
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        let Some(place) = self.topics.get_mut(index) else { return Ok(()) };
        let bytes = self.bytes - place.as_ref().map_or(0, TopicName::len) + topic.len();
        if bytes > bytes_max {
            return Err(Violation::TopicAliasBytes { maximum: bytes_max });
        }
        *place = TopicName::parse(topic.as_bytes(), TextRules::PERMISSIVE).ok();
        self.bytes = bytes;
        Ok(())
    }
}

/// The aliases that the server set: the first topics sent, until a bound is reached.
///
/// Bounds: the client's Topic Alias Maximum, our own, and bytes of topics. At a bound, further topics go out in full.
#[derive(Debug)]
pub(crate) struct OutboundAliases {
    /// The topic of alias `index + 1`.
    topics: Vec<TopicName>,
    bytes: usize,
    /// Where the last topic was found: most often the next one is the same.
    last: usize,
    bounds: AliasBounds,
}

impl OutboundAliases {
    pub(crate) const fn new(bounds: AliasBounds) -> Self {
        Self { topics: Vec::new(), bytes: 0, last: 0, bounds }
    }

    /// The alias to send with this topic, and whether the client knows it already; to be [set](Self::set) when sent
    /// otherwise.
    // [MQTT-3.1.2-26] [MQTT-3.3.2-11]
    pub(crate) fn find(&mut self, topic: &TopicName) -> Option<(TopicAlias, bool)> {
        if let Some(index) = self.index_of(topic) {
            self.last = index;
            return Some((alias_at(index)?, true));
        }
        let room = self.bounds.bytes_max - self.bytes;
        let free = self.topics.len() < usize::from(self.bounds.alias_max) && topic.len() <= room;
        if free { Some((alias_at(self.topics.len())?, false)) } else { None }
    }

    /// The alias that [`find`](Self::find) offered for this topic goes out with it.
    pub(crate) fn set(&mut self, topic: &TopicName) {
        // Copied, so that a topic kept for long does not pin a whole message.
        if let Ok(topic) = TopicName::parse(topic.as_bytes(), TextRules::PERMISSIVE) {
            self.bytes += topic.len();
            self.last = self.topics.len();
            self.topics.push(topic);
        }
    }

    fn index_of(&self, topic: &TopicName) -> Option<usize> {
        if self.topics.get(self.last).is_some_and(|last| last == topic) {
            return Some(self.last);
        }
        self.topics.iter().position(|known| known == topic)
    }
}

fn alias_at(index: usize) -> Option<TopicAlias> {
    u16::try_from(index + 1).ok().and_then(TopicAlias::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: AliasBounds = AliasBounds { alias_max: 2, bytes_max: 8 };

    fn alias(alias: u16) -> TopicAlias {
        TopicAlias::new(alias).unwrap()
    }

    fn topic(topic: &str) -> TopicName {
        TopicName::copy_from(topic).unwrap()
    }

    // [MQTT-3.3.2-12] [MQTT-3.2.2-17]
    #[test]
    fn inbound_aliases_are_set_replaced_and_refused() {
        let mut aliases = InboundAliases::default();
        let mut resolve = |number, topic| aliases.resolve(alias(number), topic, BOUNDS);
        assert_eq!(resolve(1, ""), Err(Violation::TopicAliasUnknown { alias: 1 }));
        assert_eq!(resolve(2, "a/b"), Ok(RouteTopic::Wire("a/b")));
        assert_eq!(resolve(1, ""), Err(Violation::TopicAliasUnknown { alias: 1 }));
        assert_eq!(resolve(2, ""), Ok(RouteTopic::Aliased(topic("a/b"))));
        assert_eq!(resolve(2, "c"), Ok(RouteTopic::Wire("c")));
        assert_eq!(resolve(2, ""), Ok(RouteTopic::Aliased(topic("c"))));
        assert_eq!(resolve(3, "a"), Err(Violation::TopicAliasTooHigh { alias: 3, maximum: 2 }));
    }

    #[test]
    fn inbound_aliases_are_bounded_in_bytes() {
        let mut aliases = InboundAliases::default();
        let mut resolve = |number, topic| aliases.resolve(alias(number), topic, BOUNDS);
        assert_eq!(resolve(1, "12345678"), Ok(RouteTopic::Wire("12345678")));
        assert_eq!(resolve(1, "1234567"), Ok(RouteTopic::Wire("1234567")));
        assert_eq!(resolve(2, "1"), Ok(RouteTopic::Wire("1")));
        assert_eq!(resolve(2, "12"), Err(Violation::TopicAliasBytes { maximum: 8 }));
    }

    // [MQTT-3.1.2-26] [MQTT-3.3.2-11]
    #[test]
    fn outbound_aliases_stay_within_the_bounds() {
        let mut aliases = OutboundAliases::new(BOUNDS);
        assert_eq!(aliases.find(&topic("a")), Some((alias(1), false)));
        // Offered again as long as it was not sent.
        assert_eq!(aliases.find(&topic("b")), Some((alias(1), false)));
        aliases.set(&topic("b"));
        assert_eq!(aliases.find(&topic("b")), Some((alias(1), true)));
        assert_eq!(aliases.find(&topic("12345678")), None, "eight bytes are one too many");
        aliases.set(&topic("a"));
        assert_eq!(aliases.find(&topic("a")), Some((alias(2), true)));
        assert_eq!(aliases.find(&topic("b")), Some((alias(1), true)));
        assert_eq!(aliases.find(&topic("c")), None, "both are taken");
    }
}

//! What finds the subscribers of a name, each called as its documentation says.

use dunlin_topics::{FilterIndex, TopicFilter, matches};
use hashbrown::HashMap;
use mqtt_topic_engine::{QoS, TopicPath, TopicPatternPath, TopicRouter};
use mqtt_topic_tree::TopicTree;

/// Filters with their subscribers.
pub(crate) trait Matcher {
    const NAME: &'static str;
    /// A name as the matcher takes it. Making one is not timed, though some take allocations for it.
    type Name<'a>;

    fn of(filters: &[(String, u32)]) -> Self;
    fn name(name: &str) -> Self::Name<'_>;
    fn matches(&self, name: &Self::Name<'_>, visit: impl FnMut(u32));
}

impl Matcher for FilterIndex<u32, ()> {
    const NAME: &'static str = "dunlin";
    type Name<'a> = &'a str;

    fn of(filters: &[(String, u32)]) -> Self {
        let mut index = Self::new();
        for (filter, subscriber) in filters {
            index.insert(&TopicFilter::copy_from(filter).expect("valid"), *subscriber, ());
        }
        index
    }

    fn name(name: &str) -> &str {
        name
    }

    #[inline]
    fn matches(&self, name: &&str, mut visit: impl FnMut(u32)) {
        self.matches(name.as_bytes(), |subscriber, ()| visit(*subscriber));
    }
}

/// `mqtt_topic_tree`, whose result is a list with room for all subscribers there are.
pub(crate) struct MqttTopicTree(TopicTree);

impl Matcher for MqttTopicTree {
    const NAME: &'static str = "mqtt_topic_tree";
    type Name<'a> = mqtt_topic_tree::TopicName;

    fn of(filters: &[(String, u32)]) -> Self {
        let mut tree = TopicTree::default();
        for (filter, subscriber) in filters {
            let filter = mqtt_topic_tree::TopicFilter::try_from(filter.clone()).expect("valid");
            tree.add_subscription(filter, u64::from(*subscriber), mqtt_topic_tree::QoS::Level0);
        }
        Self(tree)
    }

    fn name(name: &str) -> Self::Name<'_> {
        Self::Name::try_from(name.to_owned()).unwrap_or_else(|_| unreachable!("{name} is valid"))
    }

    #[inline]
    fn matches(&self, name: &Self::Name<'_>, mut visit: impl FnMut(u32)) {
        for subscriber in self.0.get_subscriptions(name) {
            visit(u32::try_from(subscriber.client_id).unwrap_or(u32::MAX));
        }
    }
}

/// `mqtt-topic-engine`, whose result is a list too.
pub(crate) struct MqttTopicEngine(TopicRouter<u32>);

impl Matcher for MqttTopicEngine {
    const NAME: &'static str = "mqtt-topic-engine";
    type Name<'a> = TopicPath;

    fn of(filters: &[(String, u32)]) -> Self {
        let mut router = TopicRouter::new();
        for (filter, subscriber) in filters {
            let pattern = TopicPatternPath::try_from(filter.as_str()).expect("valid");
            router.add_subscription(pattern, QoS::AtMostOnce, *subscriber);
        }
        Self(router)
    }

    fn name(name: &str) -> TopicPath {
        TopicPath::new(name).expect("valid")
    }

    #[inline]
    fn matches(&self, name: &TopicPath, mut visit: impl FnMut(u32)) {
        for (_, _, subscriber) in self.0.get_subscribers(name) {
            visit(*subscriber);
        }
    }
}

/// Every filter asked in turn.
pub(crate) struct LinearScan(Vec<(String, u32)>);

impl Matcher for LinearScan {
    const NAME: &'static str = "linear scan";
    type Name<'a> = &'a str;

    fn of(filters: &[(String, u32)]) -> Self {
        Self(filters.to_vec())
    }

    fn name(name: &str) -> &str {
        name
    }

    #[inline]
    fn matches(&self, name: &&str, mut visit: impl FnMut(u32)) {
        for (filter, subscriber) in &self.0 {
            if matches(filter, name) {
                visit(*subscriber);
            }
        }
    }
}

/// A bare hash table with the hasher that `hashbrown` brings, for filters without wildcards.
pub(crate) struct HashTable(HashMap<Box<[u8]>, u32>);

impl Matcher for HashTable {
    const NAME: &'static str = "hash table";
    type Name<'a> = &'a str;

    fn of(filters: &[(String, u32)]) -> Self {
        let entry = |(filter, subscriber): &(String, u32)| (filter.as_bytes().into(), *subscriber);
        Self(filters.iter().map(entry).collect())
    }

    fn name(name: &str) -> &str {
        name
    }

    #[inline]
    fn matches(&self, name: &&str, visit: impl FnMut(u32)) {
        self.0.get(name.as_bytes()).copied().into_iter().for_each(visit);
    }
}

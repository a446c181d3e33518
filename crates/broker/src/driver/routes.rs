//! The routes that one connection has used lately.

use std::sync::Arc;

use dunlin_access::Rights;
use dunlin_codec::{Qos, TextRules, TopicName};
use hashbrown::HashMap;

use crate::access::qos_max;
use crate::mailbox::Mailbox;
use crate::router::Route;

/// What a connection remembers of the topics it publishes to. Given back when the connection is idle.
#[derive(Debug)]
pub(super) struct RouteCache {
    /// By topic: where it stands in `routes`.
    index: HashMap<Box<[u8]>, usize>,
    routes: Vec<Cached>,
    last: usize,
    /// The one that goes next when there is no room.
    oldest: usize,
    entries_max: usize,
    /// Receivers in all routes, at most [`TARGETS_MAX`] of them.
    targets: usize,
}

/// Receivers that one connection's routes may name, some 4 MiB.
const TARGETS_MAX: usize = 64 * 1024;

#[derive(Debug)]
struct Cached {
    route: Route,
    /// The highest QoS at which this client may publish to the topic what is not to be retained; none if it may not at all.
    qos_max: Option<Qos>,
    /// The batch in which the route was last found current.
    checked: u32,
}

/// What a Topic Name has to be for this connection's messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicRules {
    pub(super) text: TextRules,
    pub(super) levels_max: u16,
    pub(super) bytes_max: u16,
}

impl RouteCache {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            index: HashMap::new(),
            routes: Vec::new(),
            last: 0,
            oldest: 0,
            entries_max,
            targets: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.entries_max);
    }

    /// The route of `topic`, as it is at the beginning of this batch or later. None if clients may not publish to it, or
    /// it is no Topic Name: then the session has to say what follows.
    pub(super) fn get(
        &mut self,
        topic: &[u8],
        batch: u32,
        rules: TopicRules,
        from: &Arc<Mailbox>,
        rights: Option<&Rights>,
    ) -> Option<(&Route, Option<Qos>)> {
        let namespace = &from.namespace;
        let position = match self.routes.get(self.last) {
            Some(cached) if cached.route.name.as_bytes() == topic => self.last,
            _ => match self.index.get(topic) {
                Some(position) => *position,
                None => {
                    let route = namespace.route(client_topic(topic, rules)?, Some(from));
                    self.insert(route, qos_max(rights, topic), batch)
                }
            },
        };
        self.last = position;
        let cached = self.routes.get_mut(position)?;
        if cached.checked != batch {
            if !namespace.is_current(&cached.route) {
                cached.route = namespace.route(cached.route.name.clone(), Some(from));
            }
            cached.checked = batch;
        }
        Some((&cached.route, cached.qos_max))
    }

    fn insert(&mut self, route: Route, qos_max: Option<Qos>, batch: u32) -> usize {
        let key: Box<[u8]> = route.name.as_bytes().into();
        self.targets += route.len();
        if self.targets > TARGETS_MAX {
            let targets = route.len();
            self.clear();
            self.targets = targets;
        }
        // Not known to be current in any batch: it is looked at once more, which costs two loads.
        let cached = Cached { route, qos_max, checked: batch.wrapping_sub(1) };
        let position = if self.routes.len() < self.entries_max {
            self.routes.push(cached);
            self.routes.len() - 1
        } else {
            let position = self.oldest;
            self.oldest = (position + 1) % self.entries_max;
            if let Some(place) = self.routes.get_mut(position) {
                self.index.remove(place.route.name.as_bytes());
                *place = cached;
            }
            position
        };
        self.index.insert(key, position);
        position
    }
}

/// The topic as a name of its own, if a client may publish to it.
fn client_topic(topic: &[u8], rules: TopicRules) -> Option<TopicName> {
    let reserved = topic.starts_with(b"$SYS/") || topic == b"$SYS";
    let levels = topic.iter().filter(|byte| **byte == b'/').count() + 1;
    let too_long = topic.len() > usize::from(rules.bytes_max);
    if reserved || too_long || levels > usize::from(rules.levels_max) {
        return None;
    }
    TopicName::with_rules(bytes::Bytes::copy_from_slice(topic), rules.text).ok()
}

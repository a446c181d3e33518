//! Messages that cross from one tenant to another, by rules that an operator states.
//!
//! Nothing else leads from one namespace to another. What crosses goes to the other tenant's subscriptions and no
//! further: it is not published there, so that it crosses once and never comes back. A retained message stays where it is;
//! a subscription in the other tenant is shown it by the rule, for as long as the rule is in force.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam_utils::sync::ShardedLockReadGuard;
use dunlin_codec::{Message, Text, TextRules, TopicName};
use dunlin_store::NamespaceNo;
use dunlin_topics::TopicFilter;

use crate::config::InvalidConfig;
use crate::mailbox::Mailbox;
use crate::metrics::add;
use crate::namespace::{NAME_BYTES_MAX, Namespace};
use crate::retained::Replay;
use crate::router::{Route, Stamp, SubscriptionEntry, Tables};

/// Rules that there may be.
pub(crate) const EXPORTS_MAX: usize = 1_000;

/// What one tenant shows another: messages whose topic matches a filter reach the other tenant's subscriptions too.
///
/// Of several rules from one tenant to another, the first that matches a topic counts.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct TenantExport {
    /// The tenant whose clients publish.
    pub from: String,
    /// The topics that cross. It matches no name that begins with `$`.
    pub filter: TopicFilter,
    /// The tenant whose clients subscribe.
    pub to: String,
    /// Where the topics stand there: `below` the levels of this name, each by its whole own name. None: by their own names.
    pub below: Option<TopicName>,
}

impl TenantExport {
    /// A rule by which topics keep their names.
    #[must_use]
    pub fn new(from: impl Into<String>, filter: TopicFilter, to: impl Into<String>) -> Self {
        Self { from: from.into(), filter, to: to.into(), below: None }
    }

    pub(crate) fn check(&self, position: usize) -> Result<(), InvalidConfig> {
        let invalid = |key: &str, reason| {
            Err(InvalidConfig::new(format!("tenants.exports.{}.{key}", position + 1), reason))
        };
        for (key, name) in [("from", &self.from), ("to", &self.to)] {
            let is_text = Text::try_from(name.as_str()).is_ok();
            if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_text {
                return invalid(key, "must be the name of a tenant, 1 to 255 bytes");
            }
        }
        if self.from == self.to {
            return invalid("to", "must be another tenant than `from`");
        }
        if self.filter.as_bytes().starts_with(b"$") {
            return invalid(
                "filter",
                "must not begin with $: such topics never leave their tenant",
            );
        }
        if self.below.as_ref().is_some_and(|below| below.as_bytes().starts_with(b"$")) {
            return invalid("below", "must not begin with $");
        }
        Ok(())
    }

    /// Whether messages of this topic cross.
    fn matches(&self, name: &TopicName) -> bool {
        self.filter.matches(name) && !name.as_bytes().starts_with(b"$")
    }

    /// A topic's name in the other tenant; none if it would be longer than a name may be.
    fn name_there(&self, name: &TopicName) -> Option<TopicName> {
        match &self.below {
            None => Some(name.clone()),
            Some(below) => {
                let there = format!("{}/{}", below.as_str(), name.as_str());
                TopicName::with_rules(there, TextRules::PERMISSIVE).ok()
            }
        }
    }

    /// The filter that matches a topic where `there` matches its name in the other tenant; none if it matches no such name.
    fn filter_here(&self, there: &TopicFilter) -> Option<TopicFilter> {
        let Some(below) = &self.below else { return Some(there.clone()) };
        let mut rest = there.as_str();
        for level in below.as_str().split('/') {
            let (first, after) = match rest.split_once('/') {
                Some((first, after)) => (first, Some(after)),
                None => (rest, None),
            };
            match first {
                "#" => return parsed("#"),
                "+" => {}
                same if same == level => {}
                _ => return None,
            }
            rest = after?;
        }
        parsed(rest)
    }
}

/// What was part of a filter is judged by its syntax only.
fn parsed(filter: &str) -> Option<TopicFilter> {
    TopicFilter::parse(filter.as_bytes(), TextRules::PERMISSIVE).ok()
}

/// A rule in force between two tenants that are there.
#[derive(Debug)]
pub(crate) struct Export {
    pub(crate) rule: TenantExport,
    pub(crate) from: Arc<Namespace>,
    pub(crate) to: Arc<Namespace>,
    in_force: AtomicBool,
    /// Messages that reached somebody by it.
    messages: AtomicU64,
}

impl Export {
    pub(crate) fn new(rule: TenantExport, from: Arc<Namespace>, to: Arc<Namespace>) -> Self {
        Self { rule, from, to, in_force: AtomicBool::new(true), messages: AtomicU64::new(0) }
    }

    /// What retained messages are on their way to be shown by it are shown no more.
    pub(crate) fn end(&self) {
        self.in_force.store(false, Ordering::Release);
    }

    pub(crate) fn is_in_force(&self) -> bool {
        self.in_force.load(Ordering::Acquire)
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// A retained message as the other tenant is shown it; none if another rule counts for it, or its name there would be too
    /// long, or that name has a retained message of the other tenant's own.
    pub(crate) fn shown(&self, message: &Arc<Message>) -> Option<Arc<Message>> {
        let exports = self.from.links.exports.load();
        let counts = counting(&exports, &self.to, &message.topic)?;
        if !std::ptr::eq(&**counts, self) {
            return None;
        }
        let shown = self.message_there(message)?;
        (!self.to.retained.has(&shown.topic)).then_some(shown)
    }

    fn message_there(&self, message: &Arc<Message>) -> Option<Arc<Message>> {
        if self.rule.below.is_none() {
            return Some(Arc::clone(message));
        }
        let topic = self.rule.name_there(&message.topic)?;
        Some(Arc::new(Message { topic, ..Message::clone(message) }))
    }

    /// What a subscription to the filter `there` is to be shown: the filter of it here, and the one to search by, which is the
    /// narrower one of that and the rule's. None if the rule shows nothing of it.
    pub(crate) fn wanted(&self, there: &TopicFilter) -> Option<(TopicFilter, TopicFilter)> {
        let here = self.rule.filter_here(there)?;
        let fixed = |filter: &TopicFilter| {
            let wildcard = |byte: &u8| matches!(byte, b'+' | b'#');
            filter.as_bytes().iter().position(wildcard).unwrap_or(usize::MAX)
        };
        let narrower = fixed(&self.rule.filter) > fixed(&here);
        let searched = if narrower { self.rule.filter.clone() } else { here.clone() };
        Some((here, searched))
    }
}

/// The rules that concern one namespace, in their order.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// By which its messages leave. Changed while nobody walks for receivers here.
    pub(crate) exports: ArcSwap<Vec<Arc<Export>>>,
    /// By which it is shown others'. Changed after the other side's `exports`.
    pub(crate) imports: ArcSwap<Vec<Arc<Export>>>,
}

impl Links {
    /// Lets go of the other namespaces.
    pub(crate) fn clear(&self) {
        self.exports.store(Arc::default());
        self.imports.store(Arc::default());
    }
}

/// The rule that counts for messages of this topic on their way to `to`.
fn counting<'a>(
    exports: &'a [Arc<Export>],
    to: &Arc<Namespace>,
    name: &TopicName,
) -> Option<&'a Arc<Export>> {
    exports.iter().find(|each| Arc::ptr_eq(&each.to, to) && each.rule.matches(name))
}

/// The rules that count for messages of this topic, one for each tenant that gets them, with their name there.
fn leading(exports: &[Arc<Export>], name: &TopicName) -> Vec<(Arc<Export>, TopicName)> {
    let counts = |export: &&Arc<Export>| {
        counting(exports, &export.to, name).is_some_and(|it| Arc::ptr_eq(it, export))
    };
    exports
        .iter()
        .filter(counts)
        .filter_map(|export| Some((Arc::clone(export), export.rule.name_there(name)?)))
        .collect()
}

/// Where messages of one topic go in another tenant.
#[derive(Debug)]
pub(crate) struct ExportRoute {
    export: Arc<Export>,
    /// The route of the name that they have there.
    pub(crate) route: Route,
}

impl ExportRoute {
    /// A message as it goes there.
    pub(crate) fn message(&self, message: &Arc<Message>) -> Arc<Message> {
        if self.export.rule.below.is_none() {
            return Arc::clone(message);
        }
        Arc::new(Message { topic: self.route.name.clone(), ..Message::clone(message) })
    }

    /// So many messages went by it.
    pub(crate) fn crossed(&self, count: u64) {
        add(&self.export.messages, count);
    }

    fn is_current(&self) -> bool {
        self.export.to.router.is_current(self.route.stamp)
    }
}

impl Namespace {
    /// Walks for the receivers of `name` here, and in the tenants that rules show it to. `from` is who publishes.
    // [MQTT-3.3.2-3] [MQTT-3.3.2-3 @3.1.1] [MQTT-4.5.0-1] [MQTT-4.5.0-1 @3.1.1]
    pub(crate) fn route(&self, name: TopicName, from: Option<&Arc<Mailbox>>) -> Route {
        // Before the look at the rules: a change of them moves the counters on.
        let stamp = self.router.stamp(name.as_bytes());
        let there = leading(&self.links.exports.load(), &name).into_iter();
        let exports = there.map(|(export, name)| {
            let stamp = export.to.router.stamp(name.as_bytes());
            let route = export.to.router.read().route(name, None, stamp);
            ExportRoute { export, route }
        });
        let exports = exports.collect();
        Route { exports, ..self.router.read().route(name, from, stamp) }
    }

    /// Whether nothing that concerns the route has changed since it was made.
    #[inline]
    pub(crate) fn is_current(&self, route: &Route) -> bool {
        self.router.is_current(route.stamp) && route.exports.iter().all(ExportRoute::is_current)
    }

    /// The same as [`Namespace::route`], and runs `while_locked` while no subscription can come or go, here and where the topic
    /// is shown.
    pub(crate) fn route_locked<T>(
        &self,
        name: &TopicName,
        from: Option<&Arc<Mailbox>>,
        while_locked: impl FnOnce() -> T,
    ) -> (Route, T) {
        loop {
            let exports = self.links.exports.load_full();
            let there = leading(&exports, name);
            let stamp = self.router.stamp(name.as_bytes());
            let stamps: Vec<Stamp> = there
                .iter()
                .map(|(export, name)| export.to.router.stamp(name.as_bytes()))
                .collect();
            let others = there.iter().map(|(export, _)| &*export.to);
            let guards = Guards::lock(std::iter::once(self).chain(others));
            // Rules change while nobody has these: from here on they stay.
            if !Arc::ptr_eq(&exports, &self.links.exports.load()) {
                continue;
            }
            let Some(own) = guards.of(self) else { continue };
            // Not a clone: the message is kept, and the route is not.
            let own = own.route(name.to_own(), from, stamp);
            let exports = there.iter().zip(stamps).filter_map(|((export, name), stamp)| {
                let route = guards.of(&export.to)?.route(name.clone(), None, stamp);
                Some(ExportRoute { export: Arc::clone(export), route })
            });
            return (Route { exports: exports.collect(), ..own }, while_locked());
        }
    }

    /// The replays of the retained messages that a subscription to `filter`, made now, is shown: this namespace's own, and
    /// others' by the rules. To be called under the router's write guard.
    pub(crate) fn replays(&self, filter: &TopicFilter, entry: SubscriptionEntry) -> Vec<Replay> {
        let imports = self.links.imports.load();
        let imported = imports.iter().filter_map(|it| Replay::of_import(it, filter, entry));
        // Most filters have no wildcards and are for a topic that has no retained message.
        let own = self.retained.may_have(filter).then(|| self.retained.replay(filter, entry));
        own.into_iter().chain(imported).collect()
    }
}

/// The subscriptions of some namespaces, none of which can change. Taken in the order of the namespaces' numbers, so that
/// two who take several never wait for each other.
struct Guards<'a>(Vec<(NamespaceNo, ShardedLockReadGuard<'a, Tables>)>);

impl<'a> Guards<'a> {
    fn lock(namespaces: impl Iterator<Item = &'a Namespace>) -> Self {
        let mut namespaces: Vec<&Namespace> = namespaces.collect();
        namespaces.sort_unstable_by_key(|namespace| namespace.number);
        namespaces.dedup_by_key(|namespace| namespace.number);
        Self(namespaces.into_iter().map(|each| (each.number, each.router.read())).collect())
    }

    fn of(&self, namespace: &Namespace) -> Option<&Tables> {
        let found = self.0.iter().find(|(number, _)| *number == namespace.number);
        found.map(|(_, tables)| &**tables)
    }
}

/// What a rule did.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExportFigures {
    /// The rule.
    pub rule: TenantExport,
    /// Messages that reached somebody by it since it came into force, whatever their number; retained ones that a
    /// subscription was shown are not among them. 0 while one of its tenants is not there.
    pub messages: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(filter: &str, below: Option<&str>) -> TenantExport {
        let mut rule =
            TenantExport::new("one", TopicFilter::copy_from(filter).expect("a filter"), "two");
        rule.below = below.map(|below| TopicName::copy_from(below).expect("a name"));
        rule
    }

    #[test]
    fn a_filter_there_is_the_one_here_that_matches_the_same_topics() {
        let cases = [
            (None, "a/+", Some("a/+")),
            (Some("x"), "#", Some("#")),
            (Some("x"), "x/#", Some("#")),
            (Some("x"), "+/#", Some("#")),
            (Some("x"), "x", None),
            (Some("x"), "+", None),
            (Some("x"), "x/", None),
            (Some("x"), "x//a", Some("/a")),
            (Some("x"), "y/#", None),
            (Some("x/y"), "x/+/a/#", Some("a/#")),
            (Some("x/y"), "x/#", Some("#")),
            (Some("x/y"), "x/z/#", None),
            (Some("x/y"), "+/+/+", Some("+")),
            (Some("x/"), "x//a", Some("a")),
        ];
        for (below, there, here) in cases {
            let filter = TopicFilter::copy_from(there).expect("a filter");
            let found = export("#", below).filter_here(&filter);
            assert_eq!(found.as_ref().map(TopicFilter::as_str), here, "{below:?} {there}");
        }
    }

    #[test]
    fn names_there_are_matched_as_names_here() {
        let names = ["a", "a/b", "/a", "a/", "b/a/c"];
        let filters =
            ["#", "+", "x/#", "x/+", "x/y/#", "x/y/+/b", "x/+/a", "+/y/a/#", "x//a", "x/y//a"];
        for below in [None, Some("x"), Some("x/y"), Some("x/")] {
            let rule = export("#", below);
            for name in names {
                let name = TopicName::copy_from(name).expect("a name");
                let there = rule.name_there(&name).expect("a name");
                for filter in filters {
                    let filter = TopicFilter::copy_from(filter).expect("a filter");
                    let here = rule.filter_here(&filter);
                    assert_eq!(
                        here.is_some_and(|here| here.matches(&name)),
                        filter.matches(&there),
                        "{below:?} {name:?} {filter:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn rules_that_cannot_work_are_refused_by_name() {
        let refused = |change: fn(&mut TenantExport)| {
            let mut rule = export("a/#", Some("x"));
            change(&mut rule);
            rule.check(1).expect_err("it cannot work").setting().to_owned()
        };
        assert_eq!(export("a/#", Some("x")).check(0), Ok(()));
        assert_eq!(refused(|rule| rule.from.clear()), "tenants.exports.2.from");
        assert_eq!(refused(|rule| rule.to = "t".repeat(256)), "tenants.exports.2.to");
        assert_eq!(refused(|rule| rule.to = rule.from.clone()), "tenants.exports.2.to");
        assert_eq!(
            refused(|rule| rule.filter = TopicFilter::copy_from("$SYS/#").expect("a filter")),
            "tenants.exports.2.filter"
        );
        assert_eq!(
            refused(|rule| rule.below = TopicName::copy_from("$x").ok()),
            "tenants.exports.2.below"
        );
    }
}

//! Who publishes what to whom in each scenario.

use std::ops::Range;

use crate::options::{Options, Scenario};
use crate::topics::{Topics, matches};

/// What one client does.
#[derive(Debug, Default)]
pub(crate) struct Role {
    pub(crate) id: String,
    pub(crate) publishes: Range<u32>,
    pub(crate) filters: Vec<String>,
    /// The streams that its filters match, unless it is a member of a group.
    pub(crate) receives: Vec<u32>,
    pub(crate) group: Option<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) topics: Topics,
    pub(crate) roles: Vec<Role>,
    /// Shared groups, each of which gets every stream.
    pub(crate) groups: usize,
}

impl Layout {
    /// Of a scenario in which messages go from clients to clients; others have none.
    pub(crate) fn of(options: &Options) -> Self {
        match options.scenario {
            Scenario::P2p => p2p(options),
            Scenario::Both => both(options),
            Scenario::FanIn => fan_in(options),
            Scenario::FanOut => fan_out(options),
            Scenario::Shared => shared(options),
            Scenario::Wildcard => wildcard(options),
            Scenario::Storm | Scenario::Offline | Scenario::Retained => Self::default(),
        }
    }

    /// How often each stream is delivered.
    pub(crate) fn copies(&self) -> Vec<u64> {
        let mut copies = vec![u64::try_from(self.groups).unwrap_or_default(); self.topics.count()];
        for stream in self.roles.iter().flat_map(|role| &role.receives) {
            let index = usize::try_from(*stream).unwrap_or(usize::MAX);
            copies.get_mut(index).into_iter().for_each(|count| *count += 1);
        }
        copies
    }

    fn publisher(&mut self, number: usize, topics: impl IntoIterator<Item = String>) -> Range<u32> {
        let start = self.topics.all().end;
        for topic in topics {
            self.topics.push(&topic);
        }
        let publishes = start..self.topics.all().end;
        let id = format!("publisher-{number:05}");
        self.roles.push(Role { id, publishes: publishes.clone(), ..Role::default() });
        publishes
    }

    fn subscriber(&mut self, number: usize, filters: Vec<String>, receives: Vec<u32>) {
        let id = format!("subscriber-{number:05}");
        self.roles.push(Role { id, filters, receives, ..Role::default() });
    }
}

fn p2p(options: &Options) -> Layout {
    let mut layout = Layout::default();
    for pair in 0..options.pairs {
        let topics: Vec<String> =
            (0..options.topics).map(|topic| format!("p2p/{pair:05}/{topic:03}")).collect();
        let streams = layout.publisher(pair, topics.clone());
        layout.subscriber(pair, topics, streams.collect());
    }
    layout
}

fn both(options: &Options) -> Layout {
    let mut layout = Layout::default();
    let topic = |number| format!("both/{number:05}");
    for number in 0..2 * options.pairs {
        layout.topics.push(&topic(number));
    }
    for (number, stream) in (0..2 * options.pairs).zip(layout.topics.all()) {
        layout.roles.push(Role {
            id: format!("both-{number:05}"),
            publishes: stream..stream + 1,
            filters: vec![topic(number ^ 1)],
            receives: vec![stream ^ 1],
            group: None,
        });
    }
    layout
}

fn fan_in(options: &Options) -> Layout {
    let mut layout = Layout::default();
    let topic = "fan-in".to_owned();
    for number in 0..options.publishers {
        layout.publisher(number, [topic.clone()]);
    }
    for number in 0..options.subscribers {
        let streams = layout.topics.all().collect();
        layout.subscriber(number, vec![topic.clone()], streams);
    }
    layout
}

fn fan_out(options: &Options) -> Layout {
    let mut layout = Layout::default();
    let topic = |number| format!("fan-out/{number:05}");
    for number in 0..options.publishers {
        layout.publisher(number, [topic(number)]);
    }
    for number in 0..options.subscribers {
        let streams = layout.topics.all().collect();
        layout.subscriber(number, (0..options.publishers).map(topic).collect(), streams);
    }
    layout
}

fn shared(options: &Options) -> Layout {
    let mut layout = Layout { groups: options.groups, ..Layout::default() };
    for number in 0..options.publishers {
        layout.publisher(number, [format!("shared/{number:05}")]);
    }
    for number in 0..options.groups * options.subscribers {
        let group = number % options.groups;
        layout.roles.push(Role {
            id: format!("member-{number:05}"),
            filters: vec![format!("$share/group-{group}/shared/#")],
            group: Some(group),
            ..Role::default()
        });
    }
    layout
}

/// Sites, devices of each, values of each.
const SITES: usize = 10;
const DEVICES: usize = 20;
const VALUES: usize = 5;

fn wildcard(options: &Options) -> Layout {
    let mut layout = Layout::default();
    let topics = SITES * DEVICES * VALUES;
    let topic = |number: usize| {
        let (value, device, site) =
            (number % VALUES, number / VALUES % DEVICES, number / VALUES / DEVICES % SITES);
        (site, device, value)
    };
    let text = |number| {
        let (site, device, value) = topic(number);
        format!("site/{site:02}/device/{device:02}/value-{value}")
    };
    for publisher in 0..options.publishers {
        layout.publisher(publisher, (publisher..topics).step_by(options.publishers).map(text));
    }
    for number in 0..options.subscribers {
        // Whose topics are spread over all, by a step that has no divisor in common with their number.
        let (site, device, value) = topic(number * 377);
        // 2 of 5 for one topic, every fourth for a value of all devices of a site, and so on; one of 100 for all.
        let hot = match number % 100 {
            0..40 => format!("site/{site:02}/device/{device:02}/value-{value}"),
            40..65 => format!("site/{site:02}/device/+/value-{value}"),
            65..80 => format!("site/+/device/{device:02}/value-{value}"),
            80..90 => format!("site/{site:02}/device/{device:02}/#"),
            90..99 => format!("site/{site:02}/#"),
            _ => "site/#".to_owned(),
        };
        let receives = layout.topics.all();
        let receives = receives
            .filter(|stream| layout.topics.get(*stream).is_some_and(|topic| matches(&hot, topic)))
            .collect();
        let cold = (number..options.cold).step_by(options.subscribers).map(|number| {
            let (site, device, _) = topic(number * 377);
            match number % 3 {
                0 => format!("site/{site:02}/device/{device:02}/cold-{number}"),
                1 => format!("site/{site:02}/device/+/cold-{number}"),
                _ => format!("site/+/device/{device:02}/cold-{number}/#"),
            }
        });
        let filters = cold.chain([hot.clone()]).collect();
        layout.subscriber(number, filters, receives);
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a role's filters match among all topics is what it is said to receive.
    #[test]
    fn who_subscribes_receives_what_the_filters_match() {
        for scenario in
            [Scenario::P2p, Scenario::Both, Scenario::FanIn, Scenario::FanOut, Scenario::Wildcard]
        {
            let options = Options {
                scenario,
                pairs: 3,
                topics: 4,
                publishers: 10,
                subscribers: 200,
                cold: 1_000,
                ..Options::default()
            };
            let layout = Layout::of(&options);
            let mut deliveries = 0;
            for role in &layout.roles {
                let streams = layout.topics.all();
                let matched: Vec<u32> = streams
                    .filter(|stream| {
                        let topic = layout.topics.get(*stream).unwrap();
                        role.filters.iter().any(|filter| matches(filter, topic))
                    })
                    .collect();
                assert_eq!(role.receives, matched, "{}", role.id);
                deliveries += u64::try_from(matched.len()).unwrap();
            }
            assert_eq!(layout.copies().iter().sum::<u64>(), deliveries, "{scenario:?}");
            assert!(deliveries > 0, "{scenario:?}");
        }
    }

    #[test]
    fn every_group_gets_every_stream() {
        let scenario = Scenario::Shared;
        let options =
            Options { scenario, publishers: 3, subscribers: 4, groups: 2, ..Options::default() };
        let layout = Layout::of(&options);
        assert_eq!(layout.copies(), [2, 2, 2]);
        let members = |group| layout.roles.iter().filter(|role| role.group == group).count();
        assert_eq!([members(None), members(Some(0)), members(Some(1))], [3, 4, 4]);
    }
}

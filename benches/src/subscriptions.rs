//! Filters that clients subscribed by, and names of messages to look up.

use dunlin_topics::matches;

/// Filters and names under one title.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What it is called in the results.
    pub name: &'static str,
    /// Every filter with the subscriber who has it. No pair is there twice.
    pub filters: Vec<(String, u32)>,
    /// Names to look up, in an order that follows no pattern.
    pub names: Vec<String>,
}

impl Workload {
    /// Whether no filter has a wildcard, so that a hash table would do.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.filters.iter().any(|(filter, _)| filter.contains(['+', '#']))
    }

    /// Those who get a message of this name, in rising order.
    #[must_use]
    pub fn subscribers(&self, name: &str) -> Vec<u32> {
        let matching = self.filters.iter().filter(|(filter, _)| matches(filter, name));
        let mut subscribers: Vec<_> = matching.map(|(_, subscriber)| *subscriber).collect();
        subscribers.sort_unstable();
        subscribers
    }
}

/// All workloads, in the order of the results.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![exact("exact 1k", 1_000), exact("exact 100k", 100_000), mix(), fan_out(), deep()]
}

/// As many devices, each with one subscriber of its own.
#[must_use]
pub fn exact(name: &'static str, devices: u32) -> Workload {
    let topic = |device: u32| format!("site/{:03}/device/{device:08}", device % 1000);
    Workload {
        name,
        filters: (0..devices).map(|device| (topic(device), device)).collect(),
        names: shuffled(devices).into_iter().map(topic).collect(),
    }
}

/// Of 10,000 devices on 100 sites: most watched wherever they are, some with all they tell, some by one metric at a
/// known place, and everything of each site watched as well.
#[must_use]
pub fn mix() -> Workload {
    let devices = 10_000;
    let site = |device: u32| device % 100;
    let filter = |device: u32| match device % 10 {
        0 => format!("site/{}/dev/{device}/#", site(device)),
        1 => format!("site/{}/dev/{device}/metric", site(device)),
        _ => format!("site/+/dev/{device}/metric"),
    };
    let sites = (0..100).map(|site| (format!("site/{site}/#"), devices + site));
    Workload {
        name: "wildcards 10k",
        filters: (0..devices).map(|device| (filter(device), device)).chain(sites).collect(),
        names: shuffled(devices)
            .into_iter()
            .map(|device| format!("site/{}/dev/{device}/metric", site(device)))
            .collect(),
    }
}

/// One filter that 200 clients subscribed by.
fn fan_out() -> Workload {
    Workload {
        name: "fan-out 200",
        filters: (0..200).map(|client| ("site/3/line/+/alarm".to_owned(), client)).collect(),
        names: shuffled(100).into_iter().map(|line| format!("site/3/line/{line}/alarm")).collect(),
    }
}

/// Names of ten levels, of which filters leave one open.
#[must_use]
pub fn deep() -> Workload {
    let cells = 1_000;
    let levels = |cell: u32, robot: &str| {
        let (plant, hall, line) = (cell % 4, cell / 4 % 5, cell / 20 % 10);
        format!("corp/eu/plant/{plant}/hall/{hall}/line/{line}/{robot}/cell-{cell}")
    };
    Workload {
        name: "10 levels 1k",
        filters: (0..cells).map(|cell| (levels(cell, "+"), cell)).collect(),
        names: shuffled(cells).into_iter().map(|cell| levels(cell, "robot")).collect(),
    }
}

/// The numbers below `count`, each once, in an order without a pattern but the same in every run.
fn shuffled(count: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    let mut state = 0x9E37_79B9_u32;
    for unplaced in (1..numbers.len()).rev() {
        // Xorshift: plenty for places in a list.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        numbers.swap(unplaced, state as usize % (unplaced + 1));
    }
    numbers
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use dunlin_topics::{TopicFilter, TopicName};

    #[test]
    fn filters_are_valid_and_names_have_subscribers() {
        for workload in all() {
            let distinct: HashSet<_> = workload.filters.iter().collect();
            assert_eq!(distinct.len(), workload.filters.len(), "{}", workload.name);
            for (filter, _) in &workload.filters {
                TopicFilter::copy_from(filter).expect(filter);
            }
            for name in workload.names.iter().take(20) {
                TopicName::copy_from(name).expect(name);
                assert!(!workload.subscribers(name).is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn shuffling_keeps_each_number() {
        for count in [1, 100, 1_000, 10_000, 100_000] {
            let numbers: HashSet<_> = shuffled(count).into_iter().collect();
            assert_eq!(numbers.len(), count as usize);
        }
    }
}

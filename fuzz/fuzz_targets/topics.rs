//! Both indexes beside the oracle that compares one filter with one name.
//!
//! The input is lines: `+filter` subscribes, `-filter` gives up, `>name` adds a name, `<name` takes it away, anything else
//! is ignored. After each line all is compared.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use dunlin_topics::{
    FilterIndex, NameCursor, NameIndex, SubscriptionFilter, TextRules, TopicFilter, TopicName,
    matches,
};
use libfuzzer_sys::fuzz_target;

/// Lines that are looked at: comparing everything is quadratic.
const LINES_MAX: usize = 40;

fuzz_target!(|input: &[u8]| {
    let mut model = Model::default();
    for line in input.split(|byte| *byte == b'\n').take(LINES_MAX) {
        let Some((verb, text)) = line.split_first() else { continue };
        model.apply(*verb, text);
        model.compare();
    }
    model.finish_replay();
});

#[derive(Default)]
struct Model {
    filters: FilterIndex<u16, u16>,
    plain_filters: BTreeMap<(String, u16), u16>,
    names: NameIndex<(TopicName, u16)>,
    plain_names: BTreeMap<String, u16>,
    /// A replay that goes on while names come and go.
    replay: Option<Replay>,
    number: u16,
}

struct Replay {
    cursor: NameCursor,
    filter: String,
    /// Names that were there all the time, so that they must come exactly once.
    due: BTreeSet<String>,
    seen: BTreeSet<String>,
}

impl Model {
    fn apply(&mut self, verb: u8, text: &[u8]) {
        self.number += 1;
        match verb {
            b'+' => self.subscribe(text),
            b'-' => self.unsubscribe(text),
            b'>' => self.add(text),
            b'<' => self.take(text),
            _ => {
                // Whatever it is, it is parsed without a panic.
                let _ = SubscriptionFilter::parse(text, TextRules::default());
            }
        }
        self.step_replay();
    }

    fn subscribe(&mut self, text: &[u8]) {
        let Ok(filter) = TopicFilter::parse(text, TextRules::PERMISSIVE) else { return };
        let key = self.number % 3;
        let before = self.plain_filters.insert((filter.as_str().into(), key), self.number);
        assert_eq!(self.filters.insert(&filter, key, self.number), before);
        if self.replay.is_none() {
            let due = self
                .plain_names
                .keys()
                .filter(|name| matches(filter.as_str(), name))
                .cloned()
                .collect();
            self.replay = Some(Replay {
                cursor: self.names.cursor(&filter),
                filter: filter.as_str().into(),
                due,
                seen: BTreeSet::new(),
            });
        }
    }

    fn unsubscribe(&mut self, text: &[u8]) {
        let Ok(filter) = TopicFilter::parse(text, TextRules::PERMISSIVE) else { return };
        for key in 0..3 {
            let before = self.plain_filters.remove(&(filter.as_str().into(), key));
            assert_eq!(self.filters.remove(&filter, &key), before);
        }
    }

    fn add(&mut self, text: &[u8]) {
        let Ok(name) = TopicName::parse(text, TextRules::PERMISSIVE) else { return };
        let before = self.plain_names.insert(name.as_str().into(), self.number);
        let replaced = self.names.insert((name, self.number)).map(|(_, number)| number);
        assert_eq!(replaced, before);
    }

    fn take(&mut self, text: &[u8]) {
        let before = str::from_utf8(text).ok().and_then(|name| self.plain_names.remove(name));
        assert_eq!(self.names.remove(text).map(|(_, number)| number), before);
        if let (Some(replay), Ok(name)) = (&mut self.replay, str::from_utf8(text)) {
            replay.due.remove(name);
        }
    }

    /// One name more of the replay.
    fn step_replay(&mut self) {
        let Some(replay) = &mut self.replay else { return };
        let Some((name, value)) = replay.cursor.next(&self.names) else {
            assert!(replay.due.is_empty(), "{:?} never came by {}", replay.due, replay.filter);
            self.replay = None;
            return;
        };
        let name = name.as_str();
        assert!(matches(&replay.filter, name), "{name} does not match {}", replay.filter);
        assert_eq!(self.plain_names.get(name), Some(value));
        assert!(replay.seen.insert(name.into()), "{name} came twice");
        replay.due.remove(name);
    }

    fn finish_replay(&mut self) {
        while self.replay.is_some() {
            self.step_replay();
        }
    }

    fn compare(&self) {
        assert_eq!(self.filters.len(), self.plain_filters.len());
        assert_eq!(self.names.len(), self.plain_names.len());
        for name in self.plain_names.keys() {
            let mut found = Vec::new();
            self.filters.matches(name.as_bytes(), |key, value| found.push((*key, *value)));
            found.sort_unstable();
            let mut expected: Vec<_> = self
                .plain_filters
                .iter()
                .filter(|((filter, _), _)| matches(filter, name))
                .map(|((_, key), value)| (*key, *value))
                .collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "filters of {name}");
        }
        for (filter, _) in self.plain_filters.keys() {
            let parsed =
                TopicFilter::parse(filter.as_bytes(), TextRules::PERMISSIVE).expect("a filter");
            let mut cursor = self.names.cursor(&parsed);
            let mut found = BTreeSet::new();
            while let Some((name, _)) = cursor.next(&self.names) {
                assert!(found.insert(name.as_bytes().to_vec()), "a name came twice by {filter}");
            }
            let expected: BTreeSet<_> = self
                .plain_names
                .keys()
                .filter(|name| matches(filter, name))
                .map(|name| name.clone().into_bytes())
                .collect();
            assert_eq!(found, expected, "names of {filter}");
        }
    }
}

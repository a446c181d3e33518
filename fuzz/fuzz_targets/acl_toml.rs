//! The file of rules: no panic on any text; what is read can be written, and reads back as the same rules.

#![no_main]

use dunlin_access::{RuleSet, UnixSeconds, parse_bans, parse_rules, write_bans, write_rules};
use libfuzzer_sys::fuzz_target;

fn listed(rules: &RuleSet) -> Vec<String> {
    let mut all: Vec<_> = rules.rules().map(ToString::to_string).collect();
    all.sort();
    all
}

fuzz_target!(|text: &str| {
    match parse_rules("f", text) {
        Ok(rules) => {
            let written = write_rules(&rules);
            let again = parse_rules("f", &written).expect("what is written reads back");
            assert_eq!(listed(&rules), listed(&again));
            assert_eq!(rules.is_open(), again.is_open());
            assert_eq!(rules.options(), again.options());
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let lines = text.matches('\n').count() + 1;
            assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.origin.line)));
        }
    }
    let now = UnixSeconds(1_000);
    if let Ok(bans) = parse_bans("f", text, now) {
        let again = parse_bans("f", &write_bans(&bans, now), now).expect("it reads back");
        assert_eq!(bans.len(), again.len());
    }
});

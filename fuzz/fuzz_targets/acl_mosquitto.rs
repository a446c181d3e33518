//! Mosquitto's file of rules: no panic on any text, every line is carried or remarked on, and the rules can be written as a
//! file of our own.

#![no_main]

use std::collections::BTreeSet;

use dunlin_access::{parse_mosquitto_acl, parse_rules, write_rules};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let acl = parse_mosquitto_acl("f", text);
    assert!(!acl.rules.is_open(), "what Mosquitto's file does not allow is denied");

    let mut dealt_with: BTreeSet<usize> =
        acl.rules.rules().map(|rule| rule.origin().line).collect();
    dealt_with.extend(acl.remarks.iter().map(|remark| remark.origin.line));
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_ascii_end();
        let begins_section = line.trim_start_matches(' ').starts_with("user ");
        let is_nothing = line.is_empty() || line.starts_with('#') || begins_section;
        assert!(is_nothing || dealt_with.contains(&number), "line {number} is lost: {line:?}");
    }

    let again = parse_rules("f", &write_rules(&acl.rules)).expect("what is written reads back");
    assert_eq!(again.rules().len(), acl.rules.rules().len());
});

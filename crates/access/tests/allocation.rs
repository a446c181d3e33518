//! What is asked of the allocator. One test only: others beside it would be counted too.

use std::alloc::System;
use std::sync::Arc;

use dunlin_access::{
    Action, Caps, Holder, Publication, Qos, Rights, RightsCache, RuleSet, Subject,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// `count` rules for each action, a tenth of which deny.
fn rules(count: usize) -> Arc<RuleSet> {
    let mut builder = RuleSet::builder();
    for number in 0..count {
        for action in [Action::Publish, Action::Subscribe] {
            let holder = Holder::role("role");
            let added = match number % 10 {
                0 => builder.deny(holder, action, &format!("{{tenantId}}/secret{number}/#")),
                1..5 => builder.allow(
                    holder,
                    action,
                    &format!("{{tenantId}}/site{number}/+/state"),
                    Caps::default(),
                ),
                _ => builder.allow(
                    holder,
                    action,
                    &format!("{{tenantId}}/read{number}/#"),
                    Caps::default(),
                ),
            };
            added.expect("a rule");
        }
    }
    Arc::new(builder.build())
}

fn rights(rules: &Arc<RuleSet>) -> Rights {
    let roles = ["role".to_owned()];
    let subject =
        Subject { tenant: Some("acme"), client_id: "c", roles: &roles, ..Subject::default() };
    Rights::new(rules, &subject).expect("good values")
}

#[test]
fn checks_ask_for_nothing_and_rights_for_little() {
    let rules = rules(100);
    let rights = rights(&rules);
    let topics =
        ["acme/read7/a/b", "acme/site3/x/state", "acme/secret10/x", "acme", "$SYS/x", "other/y"];
    let deep = "acme/read7".to_owned() + &"/x".repeat(30_000);

    let region = Region::new(ALLOCATOR);
    let mut allowed = 0;
    for topic in topics.into_iter().chain([&*deep]) {
        let message = Publication { topic: topic.as_bytes(), qos: Qos::ExactlyOnce, retain: true };
        allowed += usize::from(rights.publish(&message).is_allowed());
        allowed += usize::from(rights.deliver(topic.as_bytes()).is_allowed());
    }
    let change = region.change();
    assert_eq!(allowed, 6);
    assert_eq!((change.allocations, change.reallocations), (0, 0));

    // A hundred rules for each action take less than 100 bytes a rule, and clients share them.
    assert!(rights.bytes() < 20_000, "{}", rights.bytes());
    let few = self::rights(&self::rules(3));
    assert!(few.bytes() < 1_000, "{}", few.bytes());
    println!("3 and 3 rules: {} bytes; 100 and 100: {}", few.bytes(), rights.bytes());

    // To find shared rights leaves nothing behind for the second client.
    let mut cache = RightsCache::new(rules);
    let roles = ["role".to_owned()];
    let subject = |client_id| Subject {
        tenant: Some("acme"),
        client_id,
        roles: &roles,
        ..Subject::default()
    };
    let first = cache.rights(&subject("1")).expect("rights");
    let region = Region::new(ALLOCATOR);
    let second = cache.rights(&subject("2")).expect("rights");
    let change = region.change();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(change.bytes_allocated, change.bytes_deallocated);
}

//! What a client may do: checks against 100 rules, of exact topics, wildcards and denials.
//!
//! Before it is timed, each check must have the answer that the rules give.

#![expect(missing_docs, reason = "criterion makes an undocumented function")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use dunlin_access::{
    Action, Caps, Holder, Publication, Qos, Rights, RightsCache, RuleSet, Subject,
};

/// Rules for each action.
const RULES: usize = 100;

/// A third each of exact topics and of wildcards, the rest wide; every tenth denies.
fn rules() -> Arc<RuleSet> {
    let mut builder = RuleSet::builder();
    for number in 0..RULES {
        for action in [Action::Publish, Action::Subscribe] {
            let role = Holder::role("role");
            let added = match (number % 10, number % 3) {
                (0, _) => builder.deny(role, action, &format!("{{tenantId}}/secret{number}/#")),
                (_, 0) => {
                    let filter = format!("{{tenantId}}/state/{number}");
                    builder.allow(role, action, &filter, Caps::default())
                }
                (_, 1) => {
                    let filter = format!("{{tenantId}}/site{number}/+/state");
                    builder.allow(role, action, &filter, Caps::default())
                }
                _ => {
                    let filter = format!("{{tenantId}}/read{number}/#");
                    builder.allow(role, action, &filter, Caps::default())
                }
            };
            assert!(added.is_ok(), "rule {number} is one");
        }
    }
    Arc::new(builder.build())
}

fn checks(criterion: &mut Criterion) {
    let rules = rules();
    let roles = ["role".to_owned()];
    let subject =
        Subject { tenant: Some("acme"), client_id: "c", roles: &roles, ..Subject::default() };
    let Ok(rights) = Rights::new(&rules, &subject) else { return };
    let topics = [
        ("exact", "acme/state/93", true),
        ("wildcard", "acme/site94/x/state", true),
        ("deep", "acme/read95/a/b/c/d/e", true),
        ("denied", "acme/secret90/x", false),
        ("unknown", "other/state/93", false),
    ];
    for (name, topic, allowed) in topics {
        let message = Publication { topic: topic.as_bytes(), qos: Qos::AtLeastOnce, retain: false };
        assert_eq!(rights.publish(&message).is_allowed(), allowed, "{name}");
        assert_eq!(rights.deliver(topic.as_bytes()).is_allowed(), allowed, "{name}");
        criterion.bench_function(&format!("access/publish/{name}"), |bencher| {
            bencher.iter(|| black_box(rights.publish(black_box(&message))).is_allowed());
        });
        criterion.bench_function(&format!("access/deliver/{name}"), |bencher| {
            bencher.iter(|| black_box(rights.deliver(black_box(topic.as_bytes()))).is_allowed());
        });
    }
    let mut cache = RightsCache::new(Arc::clone(&rules));
    let first = cache.rights(&subject).ok();
    assert!(first.is_some(), "the client has rights");
    criterion.bench_function("access/rights/shared", |bencher| {
        bencher.iter(|| cache.rights(black_box(&subject)).is_ok());
    });
    criterion.bench_function("access/rights/made", |bencher| {
        bencher.iter(|| Rights::new(black_box(&rules), black_box(&subject)).is_ok());
    });
}

criterion_group!(benches, checks);
criterion_main!(benches);

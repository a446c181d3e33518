//! Rights among a hundred rules.

use std::hint::black_box;
use std::sync::Arc;

use dunlin_access::{Action, Caps, Holder, Publication, Qos, Rights, RuleSet, Subject};
use dunlin_topics::TopicFilter;

use crate::Operation;

pub(crate) const OPERATIONS: &[(&str, Operation)] = &[
    ("access/publish-100-rules", |times| {
        let rights = rights();
        let topic = b"plant/37/line/3/temperature";
        let message = Publication { topic, qos: Qos::AtLeastOnce, retain: false };
        for _ in 0..times {
            black_box(rights.publish(black_box(&message)));
        }
    }),
    ("access/deliver-100-rules", |times| {
        let rights = rights();
        for _ in 0..times {
            black_box(rights.deliver(black_box(b"plant/37/line/3/temperature")));
        }
    }),
    ("access/subscribe-100-rules", |times| {
        let rights = rights();
        let filter = TopicFilter::copy_from("plant/37/line/+/temperature").expect("valid");
        for _ in 0..times {
            black_box(rights.subscribe(black_box(&filter), Qos::AtLeastOnce));
        }
    }),
];

fn rights() -> Rights {
    let mut rules = RuleSet::builder();
    for number in 0..45 {
        let filter = format!("plant/{number}/line/+/#");
        for action in [Action::Publish, Action::Subscribe] {
            rules.allow(Holder::everyone(), action, &filter, Caps::default()).expect("valid");
        }
    }
    for number in 0..10 {
        let filter = format!("plant/{number}/line/+/secret/#");
        rules.deny(Holder::everyone(), Action::Publish, &filter).expect("valid");
    }
    Rights::new(&Arc::new(rules.build()), &Subject::default()).expect("a subject without values")
}

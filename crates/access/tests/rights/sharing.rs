//! Which clients share their rights.

use std::sync::Arc;

use dunlin_access::{
    Action, Caps, Decision, Holder, Publication, Qos, RightsCache, RuleSet, Subject,
};

fn rules() -> Arc<RuleSet> {
    let mut builder = RuleSet::builder();
    let caps = Caps::default();
    for (holder, filter) in [
        (Holder::role("reader"), "{tenantId}/read/#"),
        (Holder::role("owner"), "{clientId}/#"),
        (Holder::user("alice"), "alice/#"),
    ] {
        builder.allow(holder, Action::Subscribe, filter, caps).expect(filter);
    }
    Arc::new(builder.build())
}

#[test]
fn clients_share_what_they_have_in_common() {
    let mut cache = RightsCache::new(rules());
    let [reader, owner] = [["reader".to_owned()], ["owner".to_owned()]];
    let client = |client_id, user, tenant, roles| Subject {
        user,
        tenant,
        client_id,
        roles,
        ..Subject::default()
    };
    let mut rights = |subject| cache.rights(&subject).expect("good values");

    let one = rights(client("1", Some("bob"), Some("t"), &reader));
    assert!(Arc::ptr_eq(&one, &rights(client("2", Some("carol"), Some("t"), &reader))));
    assert!(!Arc::ptr_eq(&one, &rights(client("3", Some("bob"), Some("other"), &reader))));
    assert!(!Arc::ptr_eq(&one, &rights(client("1", Some("alice"), Some("t"), &reader))));

    let own = rights(client("1", None, None, &owner));
    assert!(Arc::ptr_eq(&own, &rights(client("1", Some("bob"), None, &owner))));
    let other = rights(client("2", None, None, &owner));
    assert!(!Arc::ptr_eq(&own, &other));
    assert!(own.deliver(b"1/x").is_allowed() && !own.deliver(b"2/x").is_allowed());
    assert!(other.deliver(b"2/x").is_allowed() && !other.deliver(b"1/x").is_allowed());
}

#[test]
fn new_rules_are_found_at_once() {
    let mut cache = RightsCache::new(rules());
    let subject = Subject { client_id: "c", ..Subject::default() };
    let message = Publication { topic: b"x", qos: Qos::AtMostOnce, retain: false };
    let before = cache.rights(&subject).expect("rights");
    cache.replace(Arc::default());
    let after = cache.rights(&subject).expect("rights");
    assert!(!before.publish(&message).is_allowed(), "who holds rights keeps them");
    assert_eq!(after.publish(&message), Decision::Allowed(None));
}

#[test]
fn the_table_is_bounded_and_correct_beyond_its_bound() {
    let mut cache = RightsCache::new(rules());
    let roles = ["owner".to_owned()];
    let mut held = Vec::new();
    for number in 0..RightsCache::ENTRIES_MAX + 10 {
        let client_id = number.to_string();
        let subject = Subject { client_id: &client_id, roles: &roles, ..Subject::default() };
        let rights = cache.rights(&subject).expect("rights");
        assert!(rights.deliver(client_id.as_bytes()).is_allowed());
        // Half of them stay connected.
        if number % 2 == 0 {
            held.push(rights);
        }
        assert!(cache.len() <= RightsCache::ENTRIES_MAX);
    }
    assert_eq!(cache.len(), RightsCache::ENTRIES_MAX / 2 + 10);
}

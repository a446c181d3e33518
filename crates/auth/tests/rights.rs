//! From a token to what its bearer may do: claims fill the places that rules leave open.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

#[path = "jwt/fixtures.rs"]
#[expect(dead_code, reason = "another test uses the rest of it")]
mod fixtures;

use std::sync::Arc;

use bytes::Bytes;
use dunlin_access::{
    Decision, InvalidSubject, Publication, Qos, Rights, RuleSet, Subject, Verdict, parse_rules,
};
use dunlin_auth::jwt::{JwtAuthenticator, JwtConfig};
use dunlin_broker::{AuthRequest, Authenticator, Identity, Peer, Version};
use dunlin_topics::TopicFilter;
use serde_json::{Value, json};

use fixtures::{secret_key, token};

/// A utility's roles: what is read from meters goes to the tenant whose meters they are.
const RULES: &str = r#"
[roles.BUBBLE_UP_READ_CONSUMER]
subscribe = ["{tenantId}/read/#"]

[roles.COMMAND_SENDER]
publish = ["{tenantId}/command/{claims.region}/+/request"]
"#;

fn rules() -> Arc<RuleSet> {
    Arc::new(parse_rules("roles.toml", RULES).expect("the rules are good"))
}

/// Who brings a token with these claims.
async fn bearer(claims: Value) -> Identity {
    let mut config = JwtConfig::default();
    config.rules.names.tenant = Some("sub".to_owned());
    config.rules.names.roles = Some("mqttScope".to_owned());
    config.rules.names.attributes = vec![("place.region".to_owned(), "region".to_owned())];
    let step = JwtAuthenticator::new(config, secret_key(), None);
    let mut claims = claims;
    claims["exp"] = 4_102_444_800_u64.into();
    let request = AuthRequest {
        client_id: "c".to_owned(),
        version: Version::V5,
        address: None,
        listener: "test".to_owned(),
        peer: Peer::default(),
        user_name: None,
        password: Some(Bytes::from(token(&claims))),
        method: None,
        data: None,
        reauthentication: false,
        state: None,
    };
    match step.authenticate(request).await.decision {
        dunlin_broker::Decision::Accept { identity, .. } => identity,
        refused => panic!("{refused:?}"),
    }
}

fn rights(identity: &Identity) -> Result<Rights, InvalidSubject> {
    let subject = Subject {
        user: Some(&identity.user),
        tenant: identity.tenant.as_deref(),
        client_id: "c",
        roles: &identity.roles,
        attributes: &identity.attributes,
    };
    Rights::new(&rules(), &subject)
}

fn subscribes(rights: &Rights, filter: &str) -> bool {
    let verdict = rights.subscribe(&TopicFilter::try_from(filter).unwrap(), Qos::ExactlyOnce);
    assert!(matches!(verdict, Verdict::Granted(Qos::ExactlyOnce) | Verdict::Refused(_)));
    verdict == Verdict::Granted(Qos::ExactlyOnce)
}

fn publishes(rights: &Rights, topic: &str) -> bool {
    let message = Publication { topic: topic.as_bytes(), qos: Qos::AtLeastOnce, retain: false };
    matches!(rights.publish(&message), Decision::Allowed(Some(_)))
}

#[tokio::test]
async fn a_role_gives_a_tenant_its_readings_and_nothing_else() {
    let claims = json!({"sub": "testTenant", "mqttScope": ["BUBBLE_UP_READ_CONSUMER"]});
    let rights = rights(&bearer(claims).await).unwrap();
    for filter in ["testTenant/read/#", "testTenant/read", "testTenant/read/+/kwh"] {
        assert!(subscribes(&rights, filter), "{filter}");
    }
    let beyond = [
        "#",
        "+/read/#",
        "testTenant/#",
        "testTenant/+/x",
        "testTenant/alarm",
        "testTenant/+",
        "otherTenant/read/#",
        "testTenant2/read/#",
        "read/#",
        "/testTenant/read/#",
    ];
    for filter in beyond {
        assert!(!subscribes(&rights, filter), "{filter}");
    }
    for topic in ["testTenant/read/1", "testTenant/command/north/1/request", "x"] {
        assert!(!publishes(&rights, topic), "{topic}");
    }
}

#[tokio::test]
async fn a_claim_within_a_claim_fills_a_place_of_a_rule() {
    let claims =
        json!({"sub": "t", "mqttScope": "COMMAND_SENDER OTHER", "place": {"region": "north"}});
    let rights = rights(&bearer(claims).await).unwrap();
    assert!(publishes(&rights, "t/command/north/7/request"));
    for topic in
        ["t/command/south/7/request", "t/command/north/7/response", "u/command/north/7/request"]
    {
        assert!(!publishes(&rights, topic), "{topic}");
    }
    assert!(!subscribes(&rights, "t/read/#"));
}

#[tokio::test]
async fn no_claim_reaches_beyond_its_place() {
    for tenant in ["+", "#", "a/b", "t/#"] {
        let claims = json!({"sub": tenant, "mqttScope": ["BUBBLE_UP_READ_CONSUMER"]});
        assert!(rights(&bearer(claims).await).is_err(), "{tenant}");
    }
    let claims = json!({"sub": "t", "mqttScope": ["COMMAND_SENDER"], "place": {"region": "+"}});
    assert!(rights(&bearer(claims).await).is_err());
    // A claim that is not there fills nothing: the rule is no rule for this client.
    let claims = json!({"sub": "t", "mqttScope": ["COMMAND_SENDER"]});
    let rights = rights(&bearer(claims).await).unwrap();
    assert!(!publishes(&rights, "t/command//7/request"));
    assert!(!publishes(&rights, "t/command/north/7/request"));
}

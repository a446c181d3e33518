//! What a listener offers, what it has switched off, and which versions it serves.

use std::num::NonZeroU32;

use dunlin_broker::{Broker, Config, ListenerConfig, config::AcceptedVersions};

use crate::support::*;

async fn listener(configure: impl FnOnce(&mut ListenerConfig)) -> Server {
    Server::with(|config| configure(&mut config.listeners[0])).await
}

// ---- Versions ----

versions!(a_version_that_is_not_served_is_refused: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-2] [MQTT-3.1.2-2 @3.1.1] [MQTT-3.2.2-7] 0x84; 1 in 3.x.
async fn a_version_that_is_not_served_is_refused(version: Version) {
    let server = listener(|listener| {
        listener.versions = AcceptedVersions {
            v3_1: version != Version::V3_1,
            v3_1_1: version != Version::V3_1_1,
            v5: version != Version::V5,
        };
    })
    .await;
    server.refused(connect(version, "s"), ReasonCode::UnsupportedProtocolVersion).await;
    for other in [Version::V3_1, Version::V3_1_1, Version::V5] {
        if other != version {
            let mut client = server.connect(connect(other, "s")).await;
            client.ping().await;
        }
    }
}

// ---- Maximum QoS ----

versions!(maximum_qos_is_announced_and_enforced: V3_1, V3_1_1, V5);
// [MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-11] [MQTT-3.2.2-12] [MQTT-3.8.4-6 @3.1.1] [MQTT-4.8.0-2 @3.1.1]
async fn maximum_qos_is_announced_and_enforced(version: Version) {
    for maximum in [QOS0, QOS1] {
        let server = listener(|listener| listener.maximum_qos = maximum).await;
        let mut client = server.connect(connect(version, "s")).await;
        if version == Version::V5 {
            assert_eq!(client.connack().properties.maximum_qos, Some(maximum));
        }
        client.send(subscribe(1, &[("a", QOS2), ("b", QOS1), ("c", QOS0)])).await;
        let codes = [granted(maximum), granted(maximum.min(QOS1)), granted(QOS0)];
        client.expect(suback(1, &codes)).await;
        let allowed = publish("c", "x").qos(maximum);
        client.publish(if maximum == QOS0 { allowed } else { allowed.id(2) }).await;
        client.expect(publish("c", "x")).await;

        for above in [QOS1, QOS2] {
            if above <= maximum {
                continue;
            }
            let mut client = server.connect(connect(version, "above")).await;
            client.send(publish("a", "x").qos(above).id(1)).await;
            client.expect_end(ReasonCode::QosNotSupported).await;
            // Also to those who would get it in one piece.
            let mut client = server.connect(connect(version, "above").clean(true)).await;
            client.subscribe("c", QOS0).await;
            let two = [1, 2].map(|id| client.encoded(publish("c", "x").qos(above).id(id)));
            client.send_bytes(&two.concat()).await;
            client.expect_end(ReasonCode::QosNotSupported).await;
            let refused = connect(version, "above").will(will("a", "x").qos(above));
            server.refused(refused, ReasonCode::QosNotSupported).await;
        }
        let accepted = connect(version, "will").will(will("a", "x").qos(maximum));
        let _client = server.connect(accepted).await;
    }
}

// ---- Retain ----

versions!(retain_switched_off_is_announced_and_enforced: V3_1, V3_1_1, V5);
// [MQTT-3.2.2-13] [MQTT-3.2.2-14] [MQTT-4.8.0-2 @3.1.1]
async fn retain_switched_off_is_announced_and_enforced(version: Version) {
    let server = listener(|listener| listener.retain_available = false).await;
    let mut client = server.connect(connect(version, "s")).await;
    if version == Version::V5 {
        assert_eq!(client.connack().properties.retain_available, Some(false));
    }
    client.subscribe("a", QOS0).await;
    client.publish(publish("a", "x")).await;
    client.expect(publish("a", "x")).await;
    client.send(publish("a", "x").retain()).await;
    client.expect_end(ReasonCode::RetainNotSupported).await;
    let refused = connect(version, "s").will(will("a", "x").retain());
    server.refused(refused, ReasonCode::RetainNotSupported).await;
}

// ---- Subscriptions ----

versions!(wildcards_switched_off_are_announced_and_refused: V3_1_1, V5);
// [MQTT-3.8.3-2 @3.1.1] [MQTT-3.9.3-2] 0xA2; 0x80 in 3.1.1.
async fn wildcards_switched_off_are_announced_and_refused(version: Version) {
    let server = listener(|listener| listener.wildcard_subscription_available = false).await;
    let mut client = server.connect(connect(version, "s")).await;
    if version == Version::V5 {
        assert_eq!(client.connack().properties.wildcard_subscription_available, Some(false));
    }
    client.send(subscribe(1, &[("a/+", QOS1), ("a/b", QOS1), ("#", QOS1)])).await;
    let refused = ReasonCode::WildcardSubscriptionsNotSupported;
    client.expect(suback(1, &[refused, ReasonCode::GrantedQos1, refused])).await;
    server.publish(publish("a/c", "x")).await;
    server.publish(publish("a/b", "x")).await;
    client.expect(publish("a/b", "x")).await;
    client.expect_nothing().await;
}

versions!(subscription_identifiers_switched_off_are_announced_and_refused: V5);
// [MQTT-3.9.3-2] 0xA1
async fn subscription_identifiers_switched_off_are_announced_and_refused(version: Version) {
    let server = listener(|listener| listener.subscription_identifiers_available = false).await;
    let mut client = server.connect(connect(version, "s")).await;
    assert_eq!(client.connack().properties.subscription_identifiers_available, Some(false));
    client.send(subscribe_with(1, Some(5), &[("a", options(QOS1))])).await;
    client.expect(suback(1, &[ReasonCode::SubscriptionIdentifiersNotSupported])).await;
    client.subscribe("b", QOS1).await;
    server.publish(publish("a", "x")).await;
    client.expect_nothing().await;
}

versions!(shared_subscriptions_switched_off_are_announced_and_refused: V3_1_1, V5);
// [MQTT-3.9.3-2] 0x9E; 0x80 in 3.1.1.
async fn shared_subscriptions_switched_off_are_announced_and_refused(version: Version) {
    let server = listener(|listener| listener.shared_subscription_available = false).await;
    let mut client = server.connect(connect(version, "s")).await;
    if version == Version::V5 {
        assert_eq!(client.connack().properties.shared_subscription_available, Some(false));
    }
    client.send(subscribe(1, &[("$share/g/a", QOS1), ("a", QOS1)])).await;
    let codes = [ReasonCode::SharedSubscriptionsNotSupported, ReasonCode::GrantedQos1];
    client.expect(suback(1, &codes)).await;
    server.publish(publish("a", "x")).await;
    client.expect(publish("a", "x")).await;
    client.expect_nothing().await;
}

versions!(everything_is_offered_by_default: V5);
// [MQTT-3.2.2-9] (3.2.2.3) What is available is not mentioned.
async fn everything_is_offered_by_default(version: Version) {
    let server = Server::start().await;
    let client = server.connect(connect(version, "s")).await;
    let mut expected = dunlin_codec::ConnAck::new(false, ReasonCode::Success);
    expected.properties.receive_maximum = std::num::NonZeroU16::new(1_000);
    expected.properties.maximum_packet_size = NonZeroU32::new(16 << 20);
    expected.properties.topic_alias_maximum = Some(32);
    assert_eq!(*client.connack(), expected);
}

// ---- Several listeners ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.2-1] Clients of all listeners meet; what is switched off is off on its own listener only.
async fn listeners_differ_but_lead_to_one_broker() {
    let server = Server::with(|config| {
        let mut strict = ListenerConfig::new("strict", free_port());
        strict.maximum_qos = QOS0;
        strict.retain_available = false;
        config.listeners.push(strict);
    })
    .await;
    let addresses = server.broker.local_addrs();
    assert_eq!(addresses.len(), 2);
    let mut plain = server.connect(connect(Version::V5, "plain")).await;
    plain.subscribe("a", QOS2).await;
    assert_eq!(plain.connack().properties.maximum_qos, None);

    let mut strict = Client::dial(addresses[1], Version::V5).await;
    strict.send(connect(Version::V5, "strict")).await;
    strict.expect_connack(false).await;
    assert_eq!(strict.connack().properties.maximum_qos, Some(QOS0));
    strict.publish(publish("a", "from the other side")).await;
    plain.expect(publish("a", "from the other side")).await;
    plain.publish(publish("r", "kept").qos(QOS1).retain()).await;
    strict.send(subscribe(1, &[("r", QOS1)])).await;
    strict.expect(suback(1, &[ReasonCode::Success])).await;
    strict.expect(publish("r", "kept").retain()).await;

    // A client id is one client, wherever it comes in.
    let mut again = Client::dial(addresses[1], Version::V5).await;
    again.send(connect(Version::V5, "plain")).await;
    again.expect_connack(false).await;
    plain.expect_end(ReasonCode::SessionTakenOver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.2-1]
async fn ipv6_is_served_like_ipv4() {
    let Ok(probe) = std::net::TcpListener::bind("[::1]:0") else {
        return; // This machine has no IPv6.
    };
    drop(probe);
    let server = Server::with(|config| {
        let address = "[::1]:0".parse::<std::net::SocketAddr>().expect("an address");
        config.listeners.push(ListenerConfig::new("six", address));
    })
    .await;
    let address = server.broker.local_addrs()[1];
    assert!(address.is_ipv6());
    let mut client = Client::dial(address, Version::V5).await;
    client.send(connect(Version::V5, "six")).await;
    client.expect_connack(false).await;
    client.subscribe("a", QOS0).await;
    server.publish(publish("a", "x")).await;
    client.expect(publish("a", "x")).await;
}

// ---- Anonymous clients ----

versions!(anonymous_clients_need_to_be_allowed: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x87 and 0x86; 5 and 4 in 3.x.
async fn anonymous_clients_need_to_be_allowed(version: Version) {
    let server = listener(|listener| listener.allow_anonymous = false).await;
    server.refused(connect(version, "s"), ReasonCode::NotAuthorized).await;
    let named = connect(version, "s").user("somebody", "secret");
    server.refused(named, ReasonCode::BadUserNameOrPassword).await;
}

// ---- What cannot be started ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_an_error_that_names_it() {
    let server = Server::start().await;
    let mut config = Config::default();
    config.listeners = vec![ListenerConfig::new("second", server.address())];
    let error = within("the start to fail", Broker::builder().config(config).start())
        .await
        .expect_err("the port is in use");
    let message = error.to_string();
    assert!(message.contains(&server.address().to_string()), "{message}");
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_cannot_work_is_an_error_that_names_it() {
    let mut config = Config::default();
    config.limits.receive_maximum = 0;
    let error = Broker::builder().config(config).start().await.expect_err("0 cannot work");
    let message = error.to_string();
    assert!(message.contains("receive_maximum"), "{message}");
}

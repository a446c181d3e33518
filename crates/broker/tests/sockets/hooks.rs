//! What the program around the broker may observe, change or refuse.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dunlin_broker::{BoxFuture, Client as HookClient, ConnectionEnd, Hooks, Interests};
use dunlin_codec::{Message, SubscriptionOptions};
use dunlin_topics::TopicName;

use crate::support::*;

/// What the hooks of these tests saw, and what they do, by topic and client id.
#[derive(Debug, Default)]
struct Probe {
    seen: Mutex<Vec<String>>,
    ends: Mutex<Vec<ConnectionEnd>>,
}

impl Probe {
    fn note(&self, what: String) {
        self.seen.lock().expect("not poisoned").push(what);
    }

    fn has(&self, what: &str) -> bool {
        self.seen.lock().expect("not poisoned").iter().any(|seen| seen == what)
    }
}

impl Hooks for Probe {
    fn interests(&self) -> Interests {
        Interests::ALL
    }

    fn on_connect<'a>(&'a self, client: &'a HookClient) -> BoxFuture<'a, Result<(), ReasonCode>> {
        self.note(format!("connect {} {:?} {}", client.client_id, client.version, client.listener));
        Box::pin(async move {
            match client.client_id.as_str() {
                "banned" => Err(ReasonCode::Banned),
                "slow" => {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    Ok(())
                }
                "too slow" => std::future::pending().await,
                "panics at connect" => panic!("a test's own panic"),
                _ => Ok(()),
            }
        })
    }

    fn on_subscribe<'a>(
        &'a self,
        client: &'a HookClient,
        filter: &'a str,
        options: SubscriptionOptions,
    ) -> BoxFuture<'a, Result<SubscriptionOptions, ReasonCode>> {
        self.note(format!("subscribe {} {filter} {:?}", client.client_id, options.qos));
        Box::pin(async move {
            match filter {
                "secret" => Err(ReasonCode::NotAuthorized),
                "lowered" => Ok(SubscriptionOptions { qos: QOS0, ..options }),
                "panics" => panic!("a test's own panic"),
                _ => Ok(options),
            }
        })
    }

    fn on_publish(&self, client: &HookClient, message: &mut Message) -> Result<(), ReasonCode> {
        self.note(format!("publish {} {}", client.client_id, message.topic));
        match message.topic.as_str() {
            "refused" => return Err(ReasonCode::PayloadFormatInvalid),
            "changed" => message.payload = Bytes::from_static(b"changed"),
            "moved" => message.topic = TopicName::try_from("moved/here").expect("a topic name"),
            "panics" => panic!("a test's own panic"),
            _ => {}
        }
        Ok(())
    }

    fn on_deliver(&self, client: &HookClient, message: &mut Arc<Message>) -> bool {
        self.note(format!("deliver {} {}", client.client_id, message.topic));
        match (message.topic.as_str(), client.client_id.as_str()) {
            ("personal", id) => {
                let mut own = Message::clone(message);
                own.payload = Bytes::from(format!("for {id}"));
                *message = Arc::new(own);
                true
            }
            ("withheld", "one") => false,
            ("panics at deliver", "one") => panic!("a test's own panic"),
            _ => true,
        }
    }

    fn on_drop(&self, client_id: &str, message: Option<&Message>, reason: DropReason) {
        let topic = message.map_or("?", |message| message.topic.as_str());
        self.note(format!("drop {client_id} {topic} {}", reason.name()));
    }

    fn on_disconnect(&self, end: &ConnectionEnd) {
        self.ends.lock().expect("not poisoned").push(end.clone());
        let rule = end.rule.unwrap_or("-");
        self.note(format!("disconnect {} {} {rule}", end.client_id, end.reason.name()));
    }
}

async fn hooked() -> (Arc<Probe>, Server) {
    let probe = Arc::new(Probe::default());
    let hooks = Arc::clone(&probe);
    let server = Server::built(
        |config| config.limits.hook_deadline = Duration::from_secs(1),
        |builder| builder.hooks(hooks),
    )
    .await;
    (probe, server)
}

versions!(hooks_see_what_happens: V3_1, V3_1_1, V5);
async fn hooks_see_what_happens(version: Version) {
    let (probe, server) = hooked().await;
    let mut one = server.connect(connect(version, "one").kept()).await;
    assert!(probe.has(&format!("connect one {version:?} test")), "{probe:?}");
    one.subscribe("a/#", QOS1).await;
    assert!(probe.has("subscribe one a/# AtLeastOnce"), "{probe:?}");
    one.send(publish("a/1", "x")).await;
    one.expect(publish("a/1", "x")).await;
    assert!(probe.has("publish one a/1"), "{probe:?}");
    assert!(probe.has("deliver one a/1"), "{probe:?}");
    server.disconnect(one).await;
    eventually("the end", || probe.has("disconnect one client_disconnected -")).await;
    server.publish(publish("a/2", "dropped")).await;
    eventually("the drop", || probe.has("drop one a/2 offline") || probe.has("drop one ? offline"))
        .await;
    let two = server.connect(connect(version, "two")).await;
    server.lose(two).await;
    eventually("the loss", || probe.has("disconnect two connection_lost -")).await;
}

versions!(a_connect_hook_may_refuse: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-2] 0x8A; 5 in 3.x.
async fn a_connect_hook_may_refuse(version: Version) {
    let (_probe, server) = hooked().await;
    server.refused(connect(version, "banned"), ReasonCode::Banned).await;
    let mut client = server.connect(connect(version, "welcome")).await;
    client.ping().await;
}

versions!(what_comes_while_a_connect_hook_thinks_waits: V3_1, V3_1_1, V5);
// [MQTT-3.1.4-6] [MQTT-3.2.0-1] [MQTT-3.1.4-5 @3.1.1]
async fn what_comes_while_a_connect_hook_thinks_waits(version: Version) {
    let (_probe, server) = hooked().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    let mut client = server.dial(version).await;
    let mut bytes = client.encoded(connect(version, "slow"));
    bytes.extend(client.encoded(publish("a", "early").qos(QOS1).id(1)));
    client.send_bytes(&bytes).await;
    watcher.expect_nothing_for(Duration::from_millis(250)).await;
    client.expect_connack(false).await;
    client.expect(puback(1)).await;
    watcher.expect(publish("a", "early")).await;
}

versions!(a_hook_that_does_not_answer_in_time_says_no: V3_1_1, V5);
// [MQTT-3.1.4-2]
async fn a_hook_that_does_not_answer_in_time_says_no(version: Version) {
    let (_probe, server) = hooked().await;
    let begin = Instant::now();
    let mut client = server.dial(version).await;
    client.send(connect(version, "too slow")).await;
    client.expect_refusal_or_end().await;
    assert_elapsed(begin, 900, 2_500);
}

versions!(a_subscribe_hook_may_change_or_refuse: V3_1_1, V5);
// [MQTT-3.8.4-7] [MQTT-3.9.3-2] [MQTT-3.8.4-5 @3.1.1]
async fn a_subscribe_hook_may_change_or_refuse(version: Version) {
    let (_probe, server) = hooked().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(subscribe(1, &[("lowered", QOS2), ("secret", QOS1), ("plain", QOS1)])).await;
    let codes = [ReasonCode::Success, ReasonCode::NotAuthorized, ReasonCode::GrantedQos1];
    client.expect(suback(1, &codes)).await;
    server.publish(publish("secret", "x").qos(QOS1)).await;
    server.publish(publish("lowered", "x").qos(QOS1)).await;
    client.expect(publish("lowered", "x")).await;
    client.expect_nothing().await;
}

versions!(a_publish_hook_may_change_or_refuse: V3_1, V3_1_1, V5);
// [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.3.5-2 @3.1.1]
async fn a_publish_hook_may_change_or_refuse(version: Version) {
    let (_probe, server) = hooked().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("#", QOS0).await;
    let mut client = server.connect(connect(version, "s")).await;
    let refused = ReasonCode::PayloadFormatInvalid;
    client.send(publish("refused", "x")).await;
    client.send(publish("refused", "x").qos(QOS1).id(1)).await;
    client.expect(puback(1).code(refused)).await;
    client.send(publish("refused", "x").qos(QOS2).id(2)).await;
    client.expect(pubrec(2).code(refused)).await;
    if version != Version::V5 {
        client.release(2).await;
    }
    watcher.expect_nothing().await;
    for qos in [QOS0, QOS1, QOS2] {
        client.publish(publish("changed", "x").qos(qos)).await;
        watcher.expect(publish("changed", "changed")).await;
        client.publish(publish("moved", "x").qos(qos)).await;
        watcher.expect(publish("moved/here", "x")).await;
    }
    // Also within a run of PUBLISHes that could go through as they are.
    let mut bytes = Vec::new();
    for topic in ["plain", "changed", "changed", "plain", "refused", "plain"] {
        bytes.extend(client.encoded(publish(topic, "x")));
    }
    client.send_bytes(&bytes).await;
    for (topic, payload) in [
        ("plain", "x"),
        ("changed", "changed"),
        ("changed", "changed"),
        ("plain", "x"),
        ("plain", "x"),
    ] {
        watcher.expect(publish(topic, payload)).await;
    }
    assert_eq!(server.dropped(DropReason::Hook), 4);
}

versions!(a_deliver_hook_may_replace_or_withhold: V3_1, V3_1_1, V5);
// [MQTT-4.5.0-1] As far as the hook lets it; for one receiver and not for another.
async fn a_deliver_hook_may_replace_or_withhold(version: Version) {
    let (_probe, server) = hooked().await;
    let mut one = server.connect(connect(version, "one")).await;
    let mut two = server.connect(connect(version, "two")).await;
    for client in [&mut one, &mut two] {
        client.subscribe("#", QOS1).await;
    }
    for qos in [QOS0, QOS1] {
        server.publish(publish("personal", "x").qos(qos)).await;
        one.expect_and_acknowledge(publish("personal", "for one").qos(qos)).await;
        two.expect_and_acknowledge(publish("personal", "for two").qos(qos)).await;
        server.publish(publish("withheld", "x").qos(qos)).await;
        two.expect_and_acknowledge(publish("withheld", "x").qos(qos)).await;
        one.expect_nothing().await;
    }
}

versions!(a_panicking_hook_ends_its_own_connection_only: V3_1, V3_1_1, V5);
// [MQTT-4.13.2-1]
async fn a_panicking_hook_ends_its_own_connection_only(version: Version) {
    let (probe, server) = hooked().await;
    let mut other = server.connect(connect(version, "other")).await;
    other.subscribe("#", QOS0).await;

    let mut client = server.connect(connect(version, "one").kept()).await;
    client.subscribe("kept", QOS1).await;
    client.send(publish("panics", "x").qos(QOS1).id(1)).await;
    client.ended().await;
    drop(client);
    let mut client = server.connect(connect(version, "one").kept()).await;
    client.assert_session_present(true);
    client.send(subscribe(2, &[("panics", QOS1)])).await;
    client.ended().await;
    drop(client);
    let mut client = server.dial(version).await;
    client.send(connect(version, "panics at connect")).await;
    client.ended().await;
    drop(client);
    let mut client = server.connect(connect(version, "one").kept()).await;
    client.subscribe("panics at deliver", QOS0).await;
    server.publish(publish("panics at deliver", "x")).await;
    client.ended().await;
    drop(client);
    other.expect(publish("panics at deliver", "x")).await;

    // Nobody else notices, and the session of the one is still there.
    other.ping().await;
    server.publish(publish("kept", "x").qos(QOS1)).await;
    other.expect(publish("kept", "x")).await;
    let mut client = server.connect(connect(version, "one").kept()).await;
    client.assert_session_present(true);
    client.expect_and_acknowledge(publish("kept", "x").qos(QOS1)).await;
    assert_eq!(server.metrics().hook_panics, 4);
    server.counts_ended(EndReason::Panicked, 4).await;
    assert!(probe.has("disconnect one panicked -"), "{probe:?}");
}

versions!(the_record_of_a_connection_names_the_broken_rule: V3_1_1, V5);
// [MQTT-3.1.0-2] [MQTT-3.1.0-2 @3.1.1]
async fn the_record_of_a_connection_names_the_broken_rule(version: Version) {
    let (probe, server) = hooked().await;
    let mut client = server.connect(connect(version, "one")).await;
    client.send(connect(version, "one")).await;
    client.expect_end(ReasonCode::ProtocolError).await;
    let rule = match version {
        Version::V5 => "MQTT-3.1.0-2",
        Version::V3_1 | Version::V3_1_1 => "MQTT-3.1.0-2 @3.1.1",
    };
    eventually("the record", || probe.has(&format!("disconnect one violation {rule}"))).await;
}

versions!(the_record_of_a_connection_counts_what_went_over_it: V3_1, V3_1_1, V5);
async fn the_record_of_a_connection_counts_what_went_over_it(version: Version) {
    let (probe, server) = hooked().await;
    let mut client = server.connect(connect(version, "one")).await;
    let address = client.local_addr();
    let sent = [
        client.encoded(connect(version, "one")),
        client.encoded(publish("nobody", "x").qos(QOS1).id(1)),
        client.encoded(Packet::PingReq),
        client.encoded(disconnect(ReasonCode::Success)),
    ];
    client.publish(publish("nobody", "x").qos(QOS1)).await;
    client.ping().await;
    sleep_ms(50).await;
    let connack = client.encoded(Packet::ConnAck(client.connack().clone())).len() as u64;
    server.disconnect(client).await;
    let no_match = if version == Version::V5 { 5 } else { 4 };
    eventually("the record", || probe.ends.lock().expect("not poisoned").len() == 1).await;
    let ends = probe.ends.lock().expect("not poisoned");
    let end = ends.first().expect("one connection");
    assert_eq!((end.client_id.as_str(), end.version), ("one", Some(version)));
    assert_eq!((end.address, end.reason), (Some(address), EndReason::ClientDisconnected));
    assert_eq!((end.packets_received, end.packets_sent), (4, 3));
    assert_eq!(end.bytes_received, sent.iter().map(Vec::len).sum::<usize>() as u64);
    assert_eq!(end.bytes_sent, connack + no_match + 2);
    assert!(end.duration >= Duration::from_millis(50) && end.duration < PATIENCE);
}

//! The `$SYS` tree, and the numbers behind it.

use std::{collections::BTreeMap, panic::Location, time::Duration};

use crate::support::*;

const INTERVAL: Duration = Duration::from_millis(100);

async fn counting() -> Server {
    Server::with(|config| config.sys.interval = Some(INTERVAL)).await
}

/// Everything below `$SYS/` as a new subscriber gets it.
async fn tree(server: &Server) -> BTreeMap<String, String> {
    let mut client = server.connect(connect(Version::V5, "tree")).await;
    client.subscribe("$SYS/#", QOS0).await;
    let mut values = BTreeMap::new();
    for packet in client.take_packets_for(Duration::from_millis(30)).await {
        let Packet::Publish(message) = packet else {
            panic!("{packet:?} is no value");
        };
        values.insert(message.topic.as_str().to_owned(), text(&message.payload));
    }
    server.lose(client).await;
    values
}

/// Waits until a value of the tree is this one.
#[track_caller]
fn shows(server: &Server, name: &str, expected: impl Into<String>) -> impl Future<Output = ()> {
    let (name, expected) = (format!("$SYS/broker/{name}"), expected.into());
    within_at(Location::caller(), PATIENCE, format!("{name} to be {expected}"), async move {
        let mut client = server.connect(connect(Version::V5, "shows")).await;
        client.subscribe(&name, QOS0).await;
        loop {
            if let Packet::Publish(message) = client.receive().await
                && text(&message.payload) == expected
            {
                break;
            }
        }
        server.lose(client).await;
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.7.2) The names that users of Mosquitto look for.
async fn the_well_known_names_are_there() {
    let server = counting().await;
    sleep_ms(150).await;
    let values = tree(&server).await;
    for name in [
        "version",
        "uptime",
        "clients/total",
        "clients/connected",
        "clients/disconnected",
        "clients/active",
        "clients/inactive",
        "clients/maximum",
        "clients/expired",
        "messages/received",
        "messages/sent",
        "messages/stored",
        "store/messages/count",
        "store/messages/bytes",
        "bytes/received",
        "bytes/sent",
        "publish/messages/received",
        "publish/messages/sent",
        "publish/messages/dropped",
        "publish/bytes/received",
        "publish/bytes/sent",
        "subscriptions/count",
        "shared_subscriptions/count",
        "retained messages/count",
    ] {
        assert!(
            values.contains_key(&format!("$SYS/broker/{name}")),
            "{name} is not in {values:#?}"
        );
    }
    for name in [
        "connections",
        "sockets",
        "bytes/received",
        "bytes/sent",
        "messages/received",
        "messages/sent",
        "publish/received",
        "publish/sent",
        "publish/dropped",
    ] {
        for span in ["1min", "5min", "15min"] {
            let name = format!("$SYS/broker/load/{name}/{span}");
            let value = values.get(&name).unwrap_or_else(|| panic!("{name} is not in {values:#?}"));
            assert!(value.parse::<f64>().is_ok_and(|load| load >= 0.0), "{name}: {value}");
        }
    }
    assert!(values["$SYS/broker/version"].starts_with("dunlin "));
    assert!(values["$SYS/broker/uptime"].ends_with(" seconds"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drops_are_told_by_reason() {
    let server = counting().await;
    for reason in DropReason::ALL {
        shows(&server, &format!("publish/messages/dropped/{}", reason.name()), "0").await;
    }
    let mut client = server.connect(connect(Version::V5, "s")).await;
    client.send(publish("$SYS/x", "x")).await;
    shows(&server, "publish/messages/dropped/reserved_topic", "1").await;
    shows(&server, "publish/messages/dropped", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_counter_is_in_the_tree_and_in_the_snapshot() {
    let server = counting().await;
    sleep_ms(150).await;
    let values = tree(&server).await;
    for (name, _) in server.metrics().named() {
        let topic = format!("$SYS/broker/metrics/{name}");
        let value = values.get(&topic).unwrap_or_else(|| panic!("{topic} is not there"));
        assert!(value.parse::<u64>().is_ok(), "{topic}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.7.2-1] [MQTT-3.3.1-9] Retained, and apart from `#`.
async fn the_tree_is_retained_and_not_part_of_everything() {
    let server = counting().await;
    sleep_ms(150).await;
    let mut everything = server.connect(connect(Version::V5, "everything")).await;
    everything.subscribe("#", QOS0).await;
    everything.subscribe("+/broker/uptime", QOS0).await;
    everything.expect_nothing_for(INTERVAL * 3).await;
    let mut version = server.connect(connect(Version::V3_1_1, "version")).await;
    version.subscribe("$SYS/broker/version", QOS1).await;
    let expected = publish("$SYS/broker/version", concat!("dunlin ", env!("CARGO_PKG_VERSION")));
    version.expect(expected.retain()).await;
    version.expect_nothing_for(INTERVAL * 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_interval_there_is_no_tree() {
    let server = Server::with(|config| config.sys.interval = None).await;
    let mut client = server.connect(connect(Version::V5, "s")).await;
    client.subscribe("$SYS/#", QOS0).await;
    client.expect_nothing().await;
    assert_eq!(server.metrics().retained_messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_subscriptions_are_counted() {
    let server = Server::with(|config| config.sys.interval = None).await;
    let mut one = server.connect(connect(Version::V5, "one").kept()).await;
    let mut two = server.connect(connect(Version::V3_1_1, "two")).await;
    one.subscribe("a", QOS1).await;
    one.subscribe("a", QOS2).await;
    one.subscribe("$share/g/a", QOS2).await;
    two.subscribe("a", QOS1).await;
    let metrics = server.metrics();
    assert_eq!(metrics.clients_connected, 2);
    assert_eq!(metrics.connections_open, 2);
    assert_eq!(metrics.connections_accepted, 2);
    assert_eq!((metrics.subscriptions, metrics.subscriptions_shared), (3, 1));

    server.disconnect(one).await;
    server.lose(two).await;
    let metrics = server.metrics();
    assert_eq!((metrics.clients_connected, metrics.clients_maximum), (0, 2));
    assert_eq!(metrics.sessions_parked, 1);
    assert_eq!((metrics.subscriptions, metrics.subscriptions_shared), (2, 1));
    server.counts_ended(EndReason::ClientDisconnected, 1).await;
    server.counts_ended(EndReason::ConnectionLost, 1).await;

    let one = server.connect(connect(Version::V5, "one").clean(true)).await;
    let metrics = server.metrics();
    assert_eq!(
        (metrics.sessions_parked, metrics.subscriptions, metrics.subscriptions_shared),
        (0, 0, 0)
    );
    server.lose(one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_and_bytes_are_counted() {
    let server = Server::with(|config| config.sys.interval = None).await;
    let mut sent = Vec::new();
    let mut client = server.connect(connect(Version::V3_1_1, "s")).await;
    sent.push(client.encoded(connect(Version::V3_1_1, "s")).len());
    client.send(subscribe(1, &[("a", QOS1)])).await;
    client.expect(suback(1, &[ReasonCode::GrantedQos1])).await;
    sent.push(client.encoded(subscribe(1, &[("a", QOS1)])).len());
    for packet in [publish("b", "1"), publish("a", "12345"), publish("a", "123").qos(QOS1).id(1)] {
        sent.push(client.encoded(packet.clone()).len());
        let qos = packet.qos;
        client.send(packet).await;
        match (qos, sent.len()) {
            (Qos::AtMostOnce, 3) => {}
            (Qos::AtMostOnce, _) => client.expect(publish("a", "12345")).await,
            _ => client.expect_own_message(1, "a", "123").await,
        }
    }
    sent.push(4); // The PUBACK of `expect_own_message`.
    client.ping().await;
    sent.push(2);
    // Counters follow what they count by a moment. CONNACK, SUBACK, two PUBLISHes, PUBACK, PINGRESP:
    eventually("the counters", || server.metrics().packets_sent == 6).await;
    let metrics = server.metrics();
    assert_eq!(metrics.packets_received, sent.len() as u64);
    assert_eq!(metrics.bytes_received, sent.iter().sum::<usize>() as u64);
    assert_eq!(metrics.publish_received, 3);
    assert_eq!(metrics.publish_bytes_received, 9);
    assert_eq!(metrics.publish_unmatched, 1);
    assert_eq!(metrics.publish_sent, 2);
    assert_eq!(metrics.bytes_sent, 4 + 5 + 10 + 10 + 4 + 2);
    assert_eq!(metrics.queued_messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_and_retained_messages_are_counted() {
    let server = Server::with(|config| config.sys.interval = None).await;
    let mut client = server.connect(connect(Version::V5, "s").kept()).await;
    client.subscribe("a", QOS1).await;
    server.lose(client).await;
    for number in 0..5 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let metrics = server.metrics();
    assert_eq!(metrics.queued_messages, 5);
    assert!(metrics.queued_bytes > 0);
    let mut client = server.connect(connect(Version::V5, "s").kept()).await;
    assert_eq!(client.take_messages_for(SILENCE).await.len(), 5);
    eventually("the queue to be empty", || server.metrics().queued_messages == 0).await;
    assert_eq!(server.metrics().queued_bytes, 0);

    for (topic, payload, count) in
        [("r/1", "x", 1), ("r/2", "x", 2), ("r/1", "y", 2), ("r/1", "", 1), ("r/2", "", 0)]
    {
        server.publish(publish(topic, payload).qos(QOS1).retain()).await;
        assert_eq!(server.metrics().retained_messages, count);
    }
    assert_eq!(server.metrics().retained_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_in_use_is_told_and_given_back() {
    let server = counting().await;
    sleep_ms(250).await;
    // The tree itself takes some, and its values change in length.
    let before = memory_used(&server).await;
    let mut absent = server.connect(connect(Version::V5, "absent").kept()).await;
    absent.subscribe("a/#", QOS2).await;
    let mut stuck = server.connect(connect(Version::V3_1_1, "stuck")).await;
    stuck.subscribe("a/#", QOS1).await;
    server.lose(absent).await;
    for size in [10, 1_000, 100_000] {
        for qos in [QOS0, QOS1, QOS2] {
            server.publish(publish("a/1", vec![b'x'; size]).qos(qos)).await;
            server.publish(publish("a/2", vec![b'x'; size]).qos(qos).retain()).await;
        }
    }
    sleep_ms(250).await;
    let used = memory_used(&server).await;
    assert!(used > before + 300_000, "{used}");

    server.publish(publish("a/2", "").qos(QOS1).retain()).await;
    server.lose(stuck).await;
    let absent = server.connect(connect(Version::V5, "absent").clean(true)).await;
    server.lose(absent).await;
    within("the memory to be given back", async {
        while memory_used(&server).await > before + 2_000 {
            sleep_ms(50).await;
        }
    })
    .await;
}

async fn memory_used(server: &Server) -> u64 {
    let used = &tree(server).await["$SYS/broker/memory/used"];
    used.parse().expect("a number of bytes")
}

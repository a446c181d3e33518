//! The broker as a library: in any runtime, beside another one, with messages of the program around it.

use std::time::Instant;

use dunlin_broker::SubscribeOptions;
use dunlin_codec::Message;
use dunlin_topics::TopicName;
use futures_util::StreamExt;

use crate::support::*;

// ---- Runtimes ----

fn message(topic: &str, payload: &str, qos: Qos) -> Message {
    Message {
        topic: TopicName::try_from(topic).expect("a topic name"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos,
        retain: false,
        properties: None,
    }
}

/// What every runtime must allow: clients, messages from and to the program, and an end.
async fn check_broker_in_this_runtime() {
    let server = Server::start().await;
    let mut stream =
        server.broker.subscribe("up/#", SubscribeOptions::default()).await.expect("a subscription");
    let mut client = server.connect(connect(Version::V5, "s")).await;
    client.subscribe("down", QOS1).await;
    client.publish(publish("up/1", "hello").qos(QOS1)).await;
    let received = within("a message", stream.next()).await.expect("the stream goes on");
    assert_eq!((received.message.topic.as_str(), received.qos), ("up/1", QOS1));
    assert_eq!(received.message.payload, "hello");
    server.broker.publish(message("down", "you", QOS1)).await.expect("the broker takes it");
    client.expect_and_acknowledge(publish("down", "you").qos(QOS1)).await;
    server.shutdown().await;
    client.expect_end(ReasonCode::ServerShuttingDown).await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_broker_runs_in_a_current_thread_runtime() {
    check_broker_in_this_runtime().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_runs_in_a_multi_thread_runtime() {
    check_broker_in_this_runtime().await;
}

#[test]
fn a_broker_leaves_with_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start());
    let begin = Instant::now();
    drop(runtime);
    drop(server);
    assert_elapsed(begin, 0, 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.3-2] Nothing is shared: not topics, not retained messages, not client ids, not numbers.
async fn two_brokers_in_one_process_know_nothing_of_each_other() {
    let one = Server::start().await;
    let two = Server::start().await;
    let mut first = one.connect(connect(Version::V5, "s").kept()).await;
    first.subscribe("#", QOS1).await;
    let mut second = two.connect(connect(Version::V5, "s").kept()).await;
    second.assert_session_present(false);
    second.subscribe("#", QOS1).await;
    one.publish(publish("a", "one").qos(QOS1).retain()).await;
    first.expect_and_acknowledge(publish("a", "one").qos(QOS1)).await;
    second.expect_nothing().await;
    let mut late = two.connect(connect(Version::V5, "late")).await;
    late.subscribe("#", QOS1).await;
    late.expect_nothing().await;
    assert_eq!(two.metrics().publish_received, 0);
    one.shutdown().await;
    first.expect_end(ReasonCode::ServerShuttingDown).await;
    second.ping().await;
}

versions!(a_client_may_be_closed_by_the_program: V3_1, V3_1_1, V5);
// [MQTT-4.13.2-1] 0x98; its session stays.
async fn a_client_may_be_closed_by_the_program(version: Version) {
    let server = Server::start().await;
    assert!(!server.broker.disconnect("s"));
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS1).await;
    assert!(server.broker.disconnect("s"));
    client.expect_end(ReasonCode::AdministrativeAction).await;
    drop(client);
    server.counts_ended(EndReason::Kicked, 1).await;
    let client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_learns_that_the_store_has_failed() {
    let (disk, server, _durable) = Server::with_durable_subscriber(Version::V5).await;
    assert!(!server.broker.has_failed());
    disk.faults().fail_next(Failure::Io);
    let error = server.broker.publish(message("a", "x", QOS1)).await;
    assert!(error.is_err(), "{error:?}");
    within("the broker to close", server.broker.closed()).await;
    assert!(server.broker.has_failed());
}

// ---- publish and subscribe ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.4.2-1] The program is told what a client would be told.
async fn publish_tells_what_became_of_the_message() {
    let server = Server::start().await;
    for qos in [QOS0, QOS1, QOS2] {
        let reason = server.broker.publish(message("nobody", "x", qos)).await;
        assert_eq!(reason.expect("it is taken"), ReasonCode::NoMatchingSubscribers, "{qos:?}");
    }
    let mut client = server.connect(connect(Version::V5, "s")).await;
    client.subscribe("a", QOS2).await;
    for qos in [QOS0, QOS1, QOS2] {
        let reason = server.broker.publish(message("a", "x", qos)).await;
        assert_eq!(reason.expect("it is taken"), ReasonCode::Success, "{qos:?}");
        client.expect_and_acknowledge(publish("a", "x").qos(qos)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.3.2-4]
async fn publish_at_qos_1_resolves_when_a_puback_would_go_out() {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut durable = server.connect(connect(Version::V5, "durable").kept()).await;
    durable.subscribe("a", QOS1).await;
    disk.faults().hold();
    let publishing = server.broker.publish(message("a", "x", QOS1));
    let mut publishing = std::pin::pin!(publishing);
    let early = tokio::time::timeout(SILENCE, publishing.as_mut()).await;
    assert!(early.is_err(), "{early:?} came before the commit");
    disk.faults().release();
    let reason = within("the commit", publishing).await;
    assert_eq!(reason.expect("it is taken"), ReasonCode::Success);
    durable.expect_message(publish("a", "x").qos(QOS1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.3.1-5] [MQTT-3.3.1-9]
async fn retained_messages_cross_in_both_directions() {
    let server = Server::start().await;
    let mut retained = message("a", "from the program", QOS1);
    retained.retain = true;
    let _ = server.broker.publish(retained).await.expect("it is taken");
    let mut client = server.connect(connect(Version::V5, "s")).await;
    client.subscribe("a", QOS0).await;
    client.expect(publish("a", "from the program").retain()).await;

    client.publish(publish("b", "from a client").qos(QOS1).retain()).await;
    let mut stream =
        server.broker.subscribe("b", SubscribeOptions::default()).await.expect("a subscription");
    let received = within("the retained message", stream.next()).await.expect("the stream goes on");
    assert_eq!(
        (text(&received.message.payload).as_str(), received.retain),
        ("from a client", true)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.6.0-6] [MQTT-3.10.4-2]
async fn a_stream_brings_messages_in_order_until_it_is_dropped() {
    let server = Server::start().await;
    let before = server.metrics().subscriptions;
    let mut stream =
        server.broker.subscribe("a/+", SubscribeOptions::default()).await.expect("a subscription");
    assert_eq!(server.metrics().subscriptions, before + 1);
    let mut client = server.connect(connect(Version::V3_1_1, "s")).await;
    for number in 0..100 {
        client.publish(publish("a/b", number.to_string()).qos(QOS1)).await;
    }
    for number in 0..100 {
        let received = within("a message", stream.next()).await.expect("the stream goes on");
        assert_eq!(text(&received.message.payload), number.to_string());
    }
    drop(stream);
    eventually("the subscription to go", || server.metrics().subscriptions == before).await;
    client.send(publish("a/b", "x").qos(QOS1).id(9)).await;
    client.expect(puback(9)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.7.2) The program passes the same policy and limits as a client.
async fn the_program_is_no_exception_to_the_rules() {
    let server = Server::with(|config| config.limits.topic_levels_max = 3).await;
    let reserved = server.broker.publish(message("$SYS/x", "x", QOS1)).await;
    assert!(!matches!(reserved, Ok(reason) if !reason.is_error()), "{reserved:?}");
    let too_deep = server.broker.publish(message("a/b/c/d", "x", QOS1)).await;
    assert!(!matches!(too_deep, Ok(reason) if !reason.is_error()), "{too_deep:?}");
    assert!(server.broker.subscribe("a/b/c/d", SubscribeOptions::default()).await.is_err());
    assert!(server.broker.subscribe("a/#/b", SubscribeOptions::default()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.9.0-3] Its queue is bounded like any other, and harms nobody else.
async fn a_stream_that_is_not_read_holds_nobody_back() {
    let server = Server::with(|config| config.limits.queue_messages_max = 10).await;
    let stream =
        server.broker.subscribe("a", SubscribeOptions::default()).await.expect("a subscription");
    let mut reader = server.connect(connect(Version::V5, "reader")).await;
    reader.subscribe("a", QOS1).await;
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    for number in 0..200 {
        publisher.publish(publish("a", number.to_string()).qos(QOS1)).await;
        reader.expect_and_acknowledge(publish("a", number.to_string()).qos(QOS1)).await;
    }
    drop(stream);
}

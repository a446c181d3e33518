//! How durable a message has to be: by topic, by listener, by broker; and what each level waits for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_broker::Config;
use dunlin_broker::config::{Durability, DurabilityRule, TopicFilter};
use dunlin_codec::Text;
use dunlin_store::{
    Batch, Change, Cursor, MessageHeader, Meta, NamespaceNo, Reader, Report, RetainedRecord, Store,
    StoreError, StoredSession, Visitor,
};

use crate::support::*;

/// A store that notes how durable each batch had to be, and how many messages it held.
#[derive(Clone, Debug, Default)]
struct Witness {
    disk: MemoryStore,
    seen: Arc<Mutex<Vec<(Durability, usize)>>>,
}

impl Witness {
    /// What was committed since this was asked last.
    fn take(&self) -> Vec<(Durability, usize)> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for Witness {
    fn recover(&mut self, visitor: &mut dyn Visitor) -> Result<Report, StoreError> {
        self.disk.recover(visitor)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let messages = batch.changes().iter();
        let messages = messages.filter(|change| matches!(change, Change::Published { .. })).count();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((batch.durability(), messages));
        drop(seen);
        self.disk.commit(batch)
    }

    fn reader(&self) -> Box<dyn Reader> {
        self.disk.reader()
    }
}

fn rule(filter: &str, level: Durability) -> DurabilityRule {
    DurabilityRule { filter: TopicFilter::try_from(filter).expect("a filter"), level }
}

/// `fsync/#`, `os/#` and `memory/#` are what they say; of two rules that match, the first counts.
fn with_rules(config: &mut Config) {
    config.durability_rules = vec![
        rule("memory/not/+", Durability::Fsync),
        rule("memory/#", Durability::Memory),
        rule("memory/never/asked", Durability::Os),
        rule("os/#", Durability::Os),
        rule("fsync/#", Durability::Fsync),
    ];
}

async fn on_witness(configure: impl FnOnce(&mut Config)) -> (Witness, Server) {
    let witness = Witness::default();
    let store = Box::new(witness.clone());
    let server = Server::built(configure, |builder| builder.store(store)).await;
    (witness, server)
}

versions!(a_rule_goes_before_the_listener_and_the_listener_before_the_broker: V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.3.2-2 @3.1.1]
async fn a_rule_goes_before_the_listener_and_the_listener_before_the_broker(version: Version) {
    use Durability::{Fsync, Memory, Os};
    for (broker, listener) in
        [(Fsync, None), (Os, None), (Fsync, Some(Os)), (Memory, Some(Fsync)), (Os, Some(Memory))]
    {
        let (witness, server) = on_witness(|config| {
            with_rules(config);
            config.durability = broker;
            config.listeners[0].durability = listener;
        })
        .await;
        let mut durable = server.connect(connect(version, "durable").kept()).await;
        witness.take();
        durable.subscribe("#", QOS1).await;
        // The state of sessions is as the broker says, whatever the listener does.
        assert_eq!(witness.take(), [(broker, 0)], "SUBSCRIBE");
        let mut publisher = server.connect(connect(version, "publisher")).await;
        for (topic, level) in [
            ("fsync/a", Fsync),
            ("os/a", Os),
            ("memory/a", Memory),
            ("memory/not/this", Fsync),
            ("memory/never/asked", Memory),
            ("other", listener.unwrap_or(broker)),
        ] {
            publisher.publish(publish(topic, "x").qos(QOS1)).await;
            // What is at the lowest level needs no commit.
            let expected = if level == Memory { vec![] } else { vec![(level, 1)] };
            assert_eq!(witness.take(), expected, "{topic}, {broker:?}, {listener:?}");
        }
        assert_eq!(durable.take_messages(6).await, ["x"; 6]);
    }
}

versions!(a_message_of_this_process_and_a_will_have_the_level_of_their_topic: V5);
// [MQTT-3.1.2-14]
async fn a_message_of_this_process_and_a_will_have_the_level_of_their_topic(version: Version) {
    let (witness, server) = on_witness(with_rules).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("#", QOS1).await;
    witness.take();
    for (topic, expected) in [
        ("os/a", vec![(Durability::Os, 1)]),
        ("memory/a", vec![]),
        ("other", vec![(Durability::Fsync, 1)]),
    ] {
        let message = dunlin_broker::Message {
            topic: topic.try_into().expect("a topic"),
            payload: "x".into(),
            qos: QOS1,
            retain: false,
            properties: None,
        };
        assert_eq!(server.broker.publish(message).await, Ok(ReasonCode::Success));
        assert_eq!(witness.take(), expected, "{topic}");
    }
    assert_eq!(durable.take_messages(3).await, ["x"; 3]);
    // A will is taken from the store in the same batch, as durably as the state of sessions is.
    let packet = connect(version, "s").will(will("os/will", "gone").qos(QOS1));
    let client = server.connect(packet).await;
    witness.take();
    drop(client);
    durable.expect_message(publish("os/will", "gone").qos(QOS1)).await;
    assert_eq!(witness.take().first(), Some(&(Durability::Fsync, 1)));
}

versions!(packet_identifiers_are_as_durable_as_the_broker_says: V3_1_1, V5);
// [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-12] An identifier that a client has seen must not come back for another message.
async fn packet_identifiers_are_as_durable_as_the_broker_says(version: Version) {
    let (witness, server) = on_witness(with_rules).await;
    let mut publisher = server.connect(connect(version, "publisher").kept()).await;
    witness.take();
    publisher.send(publish("memory/a", "x").qos(QOS2).id(1)).await;
    publisher.expect(pubrec(1).code(ReasonCode::NoMatchingSubscribers)).await;
    // Lost with its message, nothing but the message is at stake.
    assert_eq!(witness.take(), [(Durability::Memory, 0)]);
    publisher.release(1).await;
    assert_eq!(witness.take(), [(Durability::Fsync, 0)]);

    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("#", QOS2).await;
    witness.take();
    publisher.publish(publish("memory/a", "one").qos(QOS1)).await;
    assert_eq!(witness.take(), []);
    publisher.send(publish("memory/a", "two").qos(QOS2).id(2)).await;
    publisher.expect(pubrec(2)).await;
    assert_eq!(witness.take(), [(Durability::Fsync, 1)]);
    durable.expect_message(publish("memory/a", "one").qos(QOS1)).await;
    let two = durable.expect_message(publish("memory/a", "two").qos(QOS2)).await;
    witness.take();
    durable.send(pubrec(two)).await;
    durable.expect(pubrel(two)).await;
    assert_eq!(witness.take(), [(Durability::Fsync, 0)]);
}

versions!(memory_waits_for_no_commit_and_survives_nothing: V3_1, V3_1_1, V5);
// [MQTT-4.3.2-4] PUBACK means that it is queued. [MQTT-4.3.2-2 @3.1.1]
async fn memory_waits_for_no_commit_and_survives_nothing(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, with_rules).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("#", QOS1).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().hold();
    for payload in ["1", "2"] {
        publisher.publish(publish("memory/a", payload).qos(QOS1)).await;
        durable.expect_message(publish("memory/a", payload).qos(QOS1)).await;
    }
    // A client that is away finds it in its queue.
    server.lose(durable).await;
    disk.faults().release();
    publisher.publish(publish("memory/a", "3").qos(QOS1)).await;
    let after_crash = Server::on(&disk.image()).await;
    let mut durable = after_crash.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    durable.expect_nothing().await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    assert_eq!(durable.take_messages_for(SILENCE).await, ["1", "2", "3"]);
}

/// How far each session has come.
#[derive(Debug, Default)]
struct Cursors(Vec<Cursor>);

impl Visitor for Cursors {
    fn meta(&mut self, _: &Meta) {}
    fn namespace(&mut self, _: NamespaceNo, _: &Text) {}
    fn session(&mut self, session: StoredSession) {
        self.0.push(session.cursor);
    }
    fn message(&mut self, _: &MessageHeader<'_>) {}
    fn retained(&mut self, _: RetainedRecord) {}
}

versions!(places_that_a_crash_left_empty_are_done_with: V3_1_1, V5);
// The places of messages that were lost stayed open in the cursor of their session, which became longer with each crash and
// was written anew with each acknowledgement.
async fn places_that_a_crash_left_empty_are_done_with(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, with_rules).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("#", QOS1).await;
    server.lose(durable).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for (topic, payload) in [
        ("memory/a", "lost 1"),
        ("fsync/a", "kept 2"),
        ("memory/a", "lost 3"),
        ("memory/a", "lost 4"),
        ("fsync/a", "kept 5"),
        ("memory/a", "lost 6"),
    ] {
        publisher.publish(publish(topic, payload).qos(QOS1)).await;
    }
    let image = disk.image();
    let server = Server::on(&image).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    assert_eq!(durable.take_messages(2).await, ["kept 2", "kept 5"]);
    server.publish(publish("a", "next 6").qos(QOS1)).await;
    assert_eq!(durable.take_messages(1).await, ["next 6"]);
    server.disconnect(durable).await;
    server.shutdown().await;
    let mut cursors = Cursors::default();
    image.clone().recover(&mut cursors).expect("a store in memory can be read");
    let mut done = Cursor::default();
    done.acknowledge(1, 6);
    assert_eq!(cursors.0, [done]);
}

versions!(os_and_fsync_wait_for_the_commit: V3_1, V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.3.2-2 @3.1.1]
async fn os_and_fsync_wait_for_the_commit(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, with_rules).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("#", QOS1).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    for topic in ["os/a", "fsync/a"] {
        disk.faults().hold();
        publisher.send(publish(topic, "x").qos(QOS1).id(1)).await;
        publisher.expect_nothing().await;
        durable.expect_nothing_for(Duration::from_millis(20)).await;
        disk.faults().release();
        publisher.expect(puback(1)).await;
        durable.expect_and_acknowledge(publish(topic, "x").qos(QOS1)).await;
    }
}

versions!(acknowledgements_keep_their_order_over_mixed_levels: V3_1, V3_1_1, V5);
// [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-2 @3.1.1] [MQTT-4.6.0-3 @3.1.1] Whatever each of them waits for.
async fn acknowledgements_keep_their_order_over_mixed_levels(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, with_rules).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("#", QOS1).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    let topics = ["fsync/a", "memory/a", "os/a", "memory/a", "fsync/a"];
    for qos in [QOS1, QOS2] {
        disk.faults().hold();
        let mut bytes = Vec::new();
        for (topic, id) in topics.iter().zip(1..) {
            bytes.extend(publisher.encoded(publish(topic, id.to_string()).qos(qos).id(id)));
        }
        publisher.send_bytes(&bytes).await;
        // In later batches too.
        publisher.send(publish("memory/a", "6").qos(qos).id(6)).await;
        publisher.send(publish("fsync/a", "7").qos(qos).id(7)).await;
        publisher.expect_nothing().await;
        disk.faults().release();
        for id in 1..=7 {
            publisher.expect_acceptance(qos, id).await;
        }
        if qos == QOS2 {
            for id in 1..=7 {
                publisher.release(id).await;
            }
        }
        assert_eq!(durable.take_messages(7).await, ["1", "2", "3", "4", "5", "6", "7"]);
    }
}

versions!(places_without_a_message_in_the_store_disturb_nothing: V3_1_1, V5);
// [MQTT-4.6.0-1] [MQTT-4.3.2-4] Messages at the lowest level are gone, all others are there in order, and new ones follow.
async fn places_without_a_message_in_the_store_disturb_nothing(version: Version) {
    let mut disk = MemoryStore::new();
    let mut server = Server::on_with(&disk, with_rules).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("#", QOS1).await;
    server.lose(durable).await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for (topic, kept) in [("memory/a", false), ("os/a", true), ("memory/a", false)] {
            for number in 0..5 {
                let payload = format!("{topic} {round} {number}");
                server.publish(publish(topic, payload.clone()).qos(QOS1)).await;
                expected.extend(kept.then_some(payload));
            }
        }
        disk = disk.image();
        server = Server::on_with(&disk, with_rules).await;
    }
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    assert_eq!(durable.take_messages(expected.len()).await, expected);
    server.publish(publish("memory/a", "last").qos(QOS1)).await;
    durable.expect_and_acknowledge(publish("memory/a", "last").qos(QOS1)).await;
    durable.ping().await;
    server.lose(durable).await;
    server.shutdown().await;
    let server = Server::on(&disk).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    durable.expect_nothing().await;
}

versions!(a_repetition_is_marked_behind_places_without_a_message: V5);
// [MQTT-3.3.1-1] [MQTT-4.4.0-1] However many messages of the lowest level went with the crash.
async fn a_repetition_is_marked_behind_places_without_a_message(version: Version) {
    let configure = |config: &mut Config| {
        with_rules(config);
        config.limits.inflight_max = 5;
    };
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, configure).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("#", QOS1).await;
    server.lose(durable).await;
    for number in 0..20 {
        server.publish(publish("memory/a", number.to_string()).qos(QOS1)).await;
    }
    server.publish(publish("os/a", "x").qos(QOS1)).await;
    let mut disk = disk.image();
    for dup in [false, true, true] {
        let server = Server::on_with(&disk, configure).await;
        let mut durable = server.connect(connect(version, "durable").kept()).await;
        durable.assert_session_present(true);
        let Packet::Publish(message) = durable.receive().await else { panic!("a message") };
        assert_eq!((message.dup, text(&message.payload)), (dup, "x".to_owned()));
        disk = disk.image();
    }
}

versions!(a_retained_message_at_the_lowest_level_is_stored_and_not_waited_for: V3_1_1, V5);
// [MQTT-3.3.1-5] [MQTT-3.3.1-5 @3.1.1]
async fn a_retained_message_at_the_lowest_level_is_stored_and_not_waited_for(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, with_rules).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    disk.faults().hold();
    publisher.publish(publish("memory/r", "x").qos(QOS1).retain()).await;
    let commits = disk.faults().commits();
    disk.faults().release();
    eventually("the message to be stored", || disk.faults().commits() > commits).await;
    let after_crash = Server::on(&disk.image()).await;
    let mut client = after_crash.connect(connect(version, "s")).await;
    client.subscribe("memory/r", QOS1).await;
    client.expect_message(publish("memory/r", "x").qos(QOS1).retain()).await;
}

versions!(a_shared_group_keeps_its_messages_at_the_lowest_level_too: V5);
// [MQTT-4.3.2-4] (4.8.2) They have to be in the store to be handed from member to member.
async fn a_shared_group_keeps_its_messages_at_the_lowest_level_too(version: Version) {
    let (witness, server) = on_witness(with_rules).await;
    let mut member = server.connect(connect(version, "m").kept()).await;
    member.subscribe("$share/g/memory/a", QOS1).await;
    server.lose(member).await;
    let mut publisher = server.connect(connect(version, "publisher")).await;
    witness.take();
    publisher.publish(publish("memory/a", "1").qos(QOS1)).await;
    assert_eq!(witness.take(), [(Durability::Os, 1)]);
    let after_crash = Server::on(&witness.disk.image()).await;
    let mut member = after_crash.connect(connect(version, "m").kept()).await;
    member.assert_session_present(true);
    member.expect_and_acknowledge(publish("memory/a", "1").qos(QOS1)).await;
    let mut member = server.connect(connect(version, "m").kept()).await;
    member.expect_and_acknowledge(publish("memory/a", "1").qos(QOS1)).await;
}

versions!(acknowledgements_of_one_read_are_one_change: V3_1_1, V5);
// [MQTT-4.3.2-3] A client that takes its queue in large steps costs the store little.
async fn acknowledgements_of_one_read_are_one_change(version: Version) {
    const MESSAGES: u16 = 100;
    let witness = Changes::default();
    let store = Box::new(witness.clone());
    let server = Server::built(|_| {}, |builder| builder.store(store)).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("a", QOS1).await;
    for _ in 0..MESSAGES {
        server.publish(publish("a", "x").qos(QOS1)).await;
    }
    let mut bytes = Vec::new();
    for packet in durable.receive_some(usize::from(MESSAGES)).await {
        let Packet::Publish(message) = packet else { panic!("a message") };
        bytes.extend(durable.encoded(puback(message.id_number())));
    }
    durable.send_bytes(&bytes).await;
    eventually("all to be acknowledged", || witness.acknowledged() == u64::from(MESSAGES)).await;
    // One read each, or very few.
    assert!(witness.changes() <= 5, "{} changes", witness.changes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_tell_of_the_store() {
    let (disk, server, _durable) = Server::with_durable_subscriber(Version::V5).await;
    disk.faults().delay(Duration::from_millis(30));
    server.publish(publish("a", "x").qos(QOS1)).await;
    disk.faults().delay(Duration::ZERO);
    let metrics = server.metrics();
    assert_eq!(metrics.store_commits, disk.faults().commits());
    assert!(metrics.store_commit_max_micros >= 30_000, "{metrics:?}");
    assert!(metrics.store_commit_p50_micros <= metrics.store_commit_p99_micros, "{metrics:?}");
    disk.faults().hold();
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    publisher.send(publish("a", "held").qos(QOS1).id(1)).await;
    assert!(disk.faults().wait_until_stuck(PATIENCE));
    publisher.send(publish("a", "waits").qos(QOS1).id(2)).await;
    eventually("a batch to wait", || server.metrics().store_waiting == 1).await;
    disk.faults().release();
    publisher.expect(puback(1)).await;
    publisher.expect(puback(2)).await;
    assert_eq!(server.metrics().store_waiting, 0);
}

/// A store that counts the acknowledgements that it is told of.
#[derive(Clone, Debug, Default)]
struct Changes {
    disk: MemoryStore,
    counts: Arc<Mutex<(usize, u64)>>,
}

impl Changes {
    fn changes(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn acknowledged(&self) -> u64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl Store for Changes {
    fn recover(&mut self, visitor: &mut dyn Visitor) -> Result<Report, StoreError> {
        self.disk.recover(visitor)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for change in batch.changes() {
            if let Change::Acknowledged { first, last, .. } = change {
                counts.0 += 1;
                counts.1 += last - first + 1;
            }
        }
        drop(counts);
        self.disk.commit(batch)
    }

    fn reader(&self) -> Box<dyn Reader> {
        self.disk.reader()
    }
}

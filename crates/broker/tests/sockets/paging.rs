//! Queues of which only the front is in memory: they are to be queues like any other.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_broker::Config;
use dunlin_codec::TopicName;
use dunlin_store::{
    Batch, MessageId, NamespaceNo, Publication, Reader, Report, RetainedRecord, Store, StoreError,
    Visitor,
};
use futures_util::future::join_all;

use crate::support::*;

/// Very little is in memory, so that nearly all goes the long way.
fn small_window(config: &mut Config) {
    config.limits.queue_memory_messages_max = 4;
}

/// Publishes numbers to `a`, and waits until they are taken over.
async fn feed(server: &Server, numbers: Range<usize>, qos: Qos) {
    if qos == QOS2 {
        for number in numbers {
            server.publish(publish("a", number.to_string()).qos(qos)).await;
        }
        return;
    }
    let mut publisher = server.connect(connect(Version::V5, "numbers")).await;
    let numbers: Vec<usize> = numbers.collect();
    for part in numbers.chunks(500) {
        let mut bytes = Vec::new();
        for (number, id) in part.iter().zip(1..) {
            bytes.extend(publisher.encoded(publish("a", number.to_string()).qos(qos).id(id)));
        }
        publisher.send_bytes(&bytes).await;
        publisher.receive_some(part.len()).await;
    }
    server.disconnect(publisher).await;
}

fn texts(numbers: Range<usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

/// Payloads in the order in which each came first.
fn first_of_each(payloads: &[String]) -> Vec<String> {
    let mut seen = Vec::new();
    for payload in payloads {
        if !seen.contains(payload) {
            seen.push(payload.clone());
        }
    }
    seen
}

versions!(a_long_queue_drains_in_its_order: V3_1, V3_1_1, V5);
// [MQTT-4.6.0-1] [MQTT-4.6.0-6] [MQTT-4.4.0-1] [MQTT-4.6.0-6 @3.1.1] Across connections, each message once.
async fn a_long_queue_drains_in_its_order(version: Version) {
    for (qos, messages) in [(QOS1, 1_000), (QOS2, 200)] {
        let (_, server, durable) = on_small_window(version).await;
        server.lose(durable).await;
        feed(&server, 0..messages, qos).await;
        assert_eq!(server.metrics().queued_messages, messages as u64);
        let mut received = Vec::new();
        for _ in 0..4 {
            let mut durable = server.connect(connect(version, "durable").kept()).await;
            durable.assert_session_present(true);
            received.extend(durable.take_messages(messages / 4).await);
            durable.ping_among_messages().await;
            server.lose(durable).await;
        }
        assert_eq!(received, texts(0..messages), "{qos:?}");
        let mut durable = server.connect(connect(version, "durable").kept()).await;
        assert_eq!(durable.take_messages_for(SILENCE).await, [""; 0]);
        let metrics = server.metrics();
        assert_eq!((metrics.queued_messages, metrics.queued_bytes), (0, 0));
        assert!(metrics.messages_paged_in >= messages as u64 - 4, "{}", metrics.messages_paged_in);
        assert_eq!(metrics.dropped.values().sum::<u64>(), 0);
    }
}

/// A broker with a small window and a subscriber of `a`, as [`Server::with_durable_subscriber`].
async fn on_small_window(version: Version) -> (MemoryStore, Server, Client) {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, small_window).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("a", QOS2).await;
    (disk, server, durable)
}

versions!(a_long_queue_survives_restarts: V3_1_1, V5);
// [MQTT-4.6.0-1] [MQTT-4.4.0-1] [MQTT-4.1.0-1] [MQTT-4.6.0-6 @3.1.1] In order, and after a stop in order each message once.
async fn a_long_queue_survives_restarts(version: Version) {
    for (qos, messages) in [(QOS1, 400), (QOS2, 120)] {
        let (disk, mut server, durable) = on_small_window(version).await;
        server.lose(durable).await;
        let mut received = Vec::new();
        for round in 0..4 {
            feed(&server, round * messages / 4..(round + 1) * messages / 4, qos).await;
            server.shutdown().await;
            server = Server::on_with(&disk, small_window).await;
            let mut durable = server.connect(connect(version, "durable").kept()).await;
            durable.assert_session_present(true);
            // It falls behind, so that a growing rest is read by one broker after the other.
            received.extend(durable.take_messages(messages / 8).await);
            durable.ping_among_messages().await;
            server.lose(durable).await;
        }
        let mut durable = server.connect(connect(version, "durable").kept()).await;
        received.extend(durable.take_messages_for(SILENCE).await);
        assert_eq!(received, texts(0..messages), "{qos:?}");
    }
}

versions!(a_crash_in_mid_drain_loses_nothing: V3_1_1, V5);
// [MQTT-4.4.0-1] [MQTT-4.3.2-3] [MQTT-4.6.0-1] What may have been sent is repeated with DUP, what came later is not.
async fn a_crash_in_mid_drain_loses_nothing(version: Version) {
    const MESSAGES: usize = 300;
    let (disk, server, durable) = on_small_window(version).await;
    server.lose(durable).await;
    feed(&server, 0..MESSAGES, QOS1).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    let mut received = durable.take_messages(MESSAGES / 3).await;
    server.lose(durable).await;
    sleep_ms(20).await;
    feed(&server, MESSAGES..MESSAGES + 20, QOS1).await;
    let after_crash = Server::on_with(&disk.image(), |config| {
        small_window(config);
        config.limits.inflight_max = 10;
    })
    .await;
    let mut durable = after_crash.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    let mut again = Vec::new();
    while let Some(packet) = durable.receive_within(SILENCE).await {
        let Packet::Publish(message) = packet else {
            panic!("only messages come");
        };
        let payload = text(&message.payload);
        let number: usize = payload.parse().expect("a number");
        assert_eq!(message.dup, number < MESSAGES, "{message:?}");
        again.push(payload);
        durable.acknowledge(&message).await;
    }
    assert!(
        again.first().expect("a message").parse::<usize>().expect("a number") <= received.len()
    );
    received.extend(again);
    assert_eq!(first_of_each(&received), texts(0..MESSAGES + 20));
}

versions!(what_arrives_while_a_queue_drains_stays_behind_it: V3_1_1, V5);
// [MQTT-4.6.0-1] [MQTT-4.6.0-6] [MQTT-4.6.0-6 @3.1.1]
async fn what_arrives_while_a_queue_drains_stays_behind_it(version: Version) {
    const MESSAGES: usize = 2_000;
    let (_, server, durable) = on_small_window(version).await;
    server.lose(durable).await;
    feed(&server, 0..MESSAGES / 2, QOS1).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    let (received, ()) = futures_util::join!(
        durable.take_messages(MESSAGES),
        feed(&server, MESSAGES / 2..MESSAGES, QOS1)
    );
    assert_eq!(received, texts(0..MESSAGES));
    durable.expect_nothing().await;
}

versions!(every_copy_keeps_its_own_form: V5);
// [MQTT-3.3.4-3] [MQTT-3.3.1-13] [MQTT-3.8.4-8] [MQTT-3.3.1-12] One message in the store, read back for each of its receivers.
async fn every_copy_keeps_its_own_form(version: Version) {
    const MESSAGES: u32 = 30;
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, small_window).await;
    let mut absent = Vec::new();
    for number in 1..=20_u32 {
        let id = format!("s{number}");
        let mut client = server.connect(connect(version, &id).kept()).await;
        let qos = if number % 2 == 0 { QOS1 } else { QOS2 };
        let options = if number % 3 == 0 { options(qos).keeping_retain() } else { options(qos) };
        client.subscribe_as(Some(number), "a/+", options).await;
        server.lose(client).await;
        absent.push((number, id, qos));
    }
    for number in 0..MESSAGES {
        let topic = format!("a/{number}");
        let message = publish(&topic, number.to_string()).qos(QOS2).retain();
        server.publish(message.with_every_property()).await;
    }
    join_all(absent.into_iter().map(|(number, id, qos)| {
        let server = &server;
        async move {
            let packet = connect(version, &id).kept().receive_maximum(1);
            let mut client = server.connect(packet).await;
            client.assert_session_present(true);
            for message in 0..MESSAGES {
                let topic = format!("a/{message}");
                let mut expected = publish(&topic, message.to_string()).with_every_property();
                expected.retain = number % 3 == 0;
                let expected = expected.qos(qos).subscription_ids(&[number]);
                client.expect_and_acknowledge(expected).await;
            }
        }
    }))
    .await;
    assert_eq!(server.metrics().queued_bytes, 0);
    // Each that is in nobody's window once, for all of them.
    assert_eq!(disk.faults().messages_read(), u64::from(MESSAGES) - 4);
    assert_eq!(server.metrics().messages_paged_in, 20 * (u64::from(MESSAGES) - 4));
}

versions!(the_overflow_policy_acts_on_the_whole_queue: V3_1_1, V5);
// [MQTT-4.5.0-1] As far as the operator's bound lets it; what was dropped does not come back after a restart.
async fn the_overflow_policy_acts_on_the_whole_queue(version: Version) {
    let cases = [
        (Overflow::DropNew, 0..40),
        (Overflow::DropOldest, 60..100),
        (Overflow::Disconnect, 0..40),
    ];
    for (overflow, kept) in cases {
        let bounded = |config: &mut Config| {
            small_window(config);
            config.limits.queue_messages_max = 40;
            config.limits.overflow = overflow;
        };
        let disk = MemoryStore::new();
        let server = Server::on_with(&disk, bounded).await;
        server.leave_absent_subscriber(version).await;
        // One by one: what is on its way through the store is not to be dropped.
        for number in 0..100 {
            server.publish(publish("a", number.to_string()).qos(QOS1)).await;
        }
        assert_eq!(server.dropped(DropReason::QueueMessages), 60, "{overflow:?}");
        assert_eq!(server.metrics().queued_messages, 40, "{overflow:?}");
        server.shutdown().await;
        let server = Server::on_with(&disk, bounded).await;
        assert_eq!(server.metrics().queued_messages, 40, "{overflow:?}");
        feed(&server, 100..101, QOS1).await;
        let mut client = server.absent_subscriber_returns(version).await;
        let mut expected = texts(kept);
        if overflow == Overflow::DropOldest {
            expected.remove(0);
            expected.push("100".to_owned());
        }
        assert_eq!(client.take_messages_for(SILENCE).await, expected, "{overflow:?}");
        assert_eq!(server.dropped(DropReason::QueueMessages), 1, "{overflow:?}");
        assert_eq!(server.metrics().queued_bytes, 0);
    }
}

versions!(the_bytes_of_the_whole_queue_are_bounded: V3_1_1);
// [MQTT-4.5.0-1] As far as the operator's bound lets it.
async fn the_bytes_of_the_whole_queue_are_bounded(version: Version) {
    let server = Server::with(|config| {
        config.limits.queue_bytes_max = 100_500;
        config.limits.queue_memory_bytes_max = 25_000;
    })
    .await;
    server.leave_absent_subscriber(version).await;
    for number in 0..15 {
        let payload = format!("{number:02}").repeat(5_000);
        server.publish(publish("a", payload).qos(QOS1)).await;
    }
    assert_eq!(server.dropped(DropReason::QueueBytes), 5);
    let mut client = server.absent_subscriber_returns(version).await;
    for number in 0..10 {
        let payload = format!("{number:02}").repeat(5_000);
        client.expect_and_acknowledge(publish("a", payload).qos(QOS1)).await;
    }
    client.expect_nothing().await;
}

versions!(a_message_expires_wherever_it_waits: V5);
// [MQTT-3.3.2-5] [MQTT-3.3.2-6] In memory or not, before a restart or after it.
async fn a_message_expires_wherever_it_waits(version: Version) {
    for restart in [false, true] {
        let (disk, mut server, durable) = on_small_window(version).await;
        server.lose(durable).await;
        sleep_ms(20).await;
        for number in 0..40 {
            let expiry = if number % 4 == 0 { 100 } else { 1 };
            let message = publish("a", number.to_string()).qos(QOS1).expires(expiry);
            server.publish(message).await;
        }
        if restart {
            server.shutdown().await;
            server = Server::on_with(&disk, small_window).await;
        }
        sleep_ms(1_300).await;
        let mut durable = server.connect(connect(version, "durable").kept()).await;
        for number in (0..40).step_by(4) {
            let message = publish("a", number.to_string()).qos(QOS1);
            let remaining = durable.expect_expiring(message).await;
            assert!((90..=99).contains(&remaining), "{remaining}");
        }
        durable.expect_nothing().await;
        assert_eq!(server.dropped(DropReason::Expired), 30);
        // Only what was to be sent was read.
        let read = server.metrics().messages_paged_in;
        assert_eq!(read, if restart { 10 } else { 9 });
    }
}

versions!(an_expired_message_takes_nobodys_place: V5);
// [MQTT-3.3.2-5] A full queue drops first what has expired, without reading it.
async fn an_expired_message_takes_nobodys_place(version: Version) {
    let server = Server::with(|config| {
        small_window(config);
        config.limits.queue_messages_max = 20;
    })
    .await;
    server.leave_absent_subscriber(version).await;
    for number in 0..20 {
        let message = publish("a", number.to_string()).qos(QOS1);
        let message = if number % 2 == 0 { message.expires(1) } else { message };
        server.publish(message).await;
    }
    sleep_ms(1_200).await;
    feed(&server, 20..30, QOS1).await;
    assert_eq!(server.dropped(DropReason::Expired), 10);
    assert_eq!(server.dropped(DropReason::QueueMessages), 0);
    assert_eq!(server.metrics().messages_paged_in, 0);
    let mut client = server.absent_subscriber_returns(version).await;
    let mut expected: Vec<String> = (1..20).step_by(2).map(|number| number.to_string()).collect();
    expected.extend(texts(20..30));
    assert_eq!(client.take_messages_for(SILENCE).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.8.2-4] (4.8.2) A member's long queue of its own, and what the group sends it, come each once.
async fn a_member_of_a_group_has_a_long_queue_of_its_own() {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, small_window).await;
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    member.subscribe("a", QOS1).await;
    member.subscribe("$share/g/b", QOS1).await;
    server.lose(member).await;
    feed(&server, 0..200, QOS1).await;
    for number in 200..300 {
        server.publish(publish("b", number.to_string()).qos(QOS1)).await;
    }
    let image = disk.image();
    for server in [server, Server::on_with(&image, small_window).await] {
        let mut member = server.connect(connect(Version::V5, "m").kept()).await;
        member.assert_session_present(true);
        let mut received = member.take_messages(150).await;
        server.lose(member).await;
        let mut member = server.connect(connect(Version::V5, "m").kept()).await;
        received.extend(member.take_messages_for(SILENCE).await);
        let mut received = first_of_each(&received);
        received.sort_by_key(|payload| payload.parse::<usize>().expect("a number"));
        assert_eq!(received, texts(0..300));
    }
}

versions!(a_takeover_in_mid_drain_continues_the_queue: V3_1_1, V5);
// [MQTT-3.1.4-3] [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-3.1.4-2 @3.1.1]
async fn a_takeover_in_mid_drain_continues_the_queue(version: Version) {
    const MESSAGES: usize = 400;
    let (disk, server, durable) = on_small_window(version).await;
    server.lose(durable).await;
    feed(&server, 0..MESSAGES, QOS2).await;
    disk.faults().delay_reads(Duration::from_millis(1));
    let mut received = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut durable = server.connect(connect(version, "durable").kept()).await;
        durable.assert_session_present(true);
        received.extend(durable.take_messages(30).await);
        durable.ping_among_messages().await;
        // The next one comes while this one is still there, and while the store is read for it.
        clients.push(durable);
    }
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    received.extend(durable.take_messages_for(SILENCE).await);
    assert_eq!(received, texts(0..MESSAGES));
}

versions!(a_slow_store_slows_nobody_else: V3_1_1, V5);
// [MQTT-4.6.0-1] Reads wait on a thread of their own.
async fn a_slow_store_slows_nobody_else(version: Version) {
    let (disk, server, durable) = on_small_window(version).await;
    server.lose(durable).await;
    feed(&server, 0..40, QOS1).await;
    let mut other = server.connect(connect(version, "other")).await;
    other.subscribe("b", QOS1).await;
    disk.faults().delay_reads(Duration::from_millis(30));
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    let begin = Instant::now();
    let (received, ()) = futures_util::join!(durable.take_messages(40), async {
        for number in 0..50 {
            server.publish(publish("b", number.to_string()).qos(QOS1)).await;
            other.expect_and_acknowledge(publish("b", number.to_string()).qos(QOS1)).await;
        }
        assert_elapsed(begin, 0, 1_000);
    });
    assert_eq!(received, texts(0..40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.6.0-1] A shutdown waits for the read that goes on, so that the store is closed alone, and for no further one.
async fn a_shutdown_in_mid_read_loses_nothing() {
    let (disk, server, durable) = on_small_window(Version::V5).await;
    server.lose(durable).await;
    feed(&server, 0..40, QOS1).await;
    disk.faults().delay_reads(Duration::from_millis(300));
    let mut durable = server.connect(connect(Version::V5, "durable").kept()).await;
    let mut received = durable.take_messages(4).await;
    durable.ping_among_messages().await;
    server.shutdown().await;
    disk.faults().delay_reads(Duration::ZERO);
    let server = Server::on_with(&disk, small_window).await;
    let mut durable = server.connect(connect(Version::V5, "durable").kept()).await;
    durable.assert_session_present(true);
    received.extend(durable.take_messages(36).await);
    assert_eq!(received, texts(0..40));
}

versions!(a_read_that_fails_for_now_is_tried_again: V3_1_1, V5);
// [MQTT-4.6.0-1]
async fn a_read_that_fails_for_now_is_tried_again(version: Version) {
    let (disk, server, durable) = on_small_window(version).await;
    server.lose(durable).await;
    feed(&server, 0..20, QOS1).await;
    disk.faults().fail_next_read(Failure::Full);
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    assert_eq!(durable.take_messages(20).await, texts(0..20));
    assert!(!server.broker.has_failed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.3.2-4] What cannot be read was not lost: the broker ends instead of going on without it.
async fn a_store_that_cannot_be_read_ends_the_broker() {
    for failure in [Failure::Io, Failure::Corrupt] {
        let (disk, server, durable) = on_small_window(Version::V5).await;
        server.lose(durable).await;
        feed(&server, 0..20, QOS1).await;
        disk.faults().fail_next_read(failure);
        let _durable = server.connect(connect(Version::V5, "durable").kept()).await;
        within("the broker to close", server.broker.closed()).await;
        assert!(server.broker.has_failed());
        let after = Server::on_with(&disk.image(), small_window).await;
        let mut durable = after.connect(connect(Version::V5, "durable").kept()).await;
        let received = durable.take_messages_for(SILENCE).await;
        assert_eq!(first_of_each(&received), texts(0..20), "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.6.0-1] Messages of any size pass a window that is smaller than each of them.
async fn a_message_larger_than_the_window_passes() {
    let server = Server::with(|config| config.limits.queue_memory_bytes_max = 1).await;
    server.leave_absent_subscriber(Version::V5).await;
    for number in 0..20 {
        let payload = format!("{number:02}").repeat(10_000);
        server.publish(publish("a", payload).qos(QOS1)).await;
    }
    let mut client = server.absent_subscriber_returns(Version::V5).await;
    for number in 0..20 {
        let payload = format!("{number:02}").repeat(10_000);
        client.expect_and_acknowledge(publish("a", payload).qos(QOS1)).await;
    }
    client.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.5.0-1] When memory is short, the store keeps what comes, and connections stay possible.
async fn short_memory_is_left_to_others() {
    let server = Server::with(|config| {
        config.limits.memory_bytes_max = Some(1 << 20);
        config.limits.retained_bytes_max = Some(1 << 20);
        config.sys.interval = None;
    })
    .await;
    server.leave_absent_subscriber(Version::V5).await;
    feed(&server, 0..10, QOS1).await;
    for number in 0..8 {
        let topic = format!("r/{number}");
        server.publish(publish(&topic, vec![b'x'; 100 << 10]).qos(QOS1).retain()).await;
    }
    feed(&server, 10..50, QOS1).await;
    let mut client = server.absent_subscriber_returns(Version::V5).await;
    assert_eq!(client.take_messages(50).await, texts(0..50));
    client.expect_nothing().await;
    assert_eq!(server.metrics().messages_paged_in, 40);
}

/// A store whose readers break down.
#[derive(Debug)]
struct Unreadable(MemoryStore);

impl Store for Unreadable {
    fn recover(&mut self, visitor: &mut dyn Visitor) -> Result<Report, StoreError> {
        self.0.recover(visitor)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.0.commit(batch)
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Broken)
    }
}

#[derive(Debug)]
struct Broken;

impl Reader for Broken {
    fn read(
        &mut self,
        _: &[MessageId],
        _: &mut dyn FnMut(MessageId, Option<Arc<Publication>>),
    ) -> Result<(), StoreError> {
        panic!("a test's own panic")
    }

    fn read_retained(
        &mut self,
        _: NamespaceNo,
        _: &TopicName,
    ) -> Result<Option<RetainedRecord>, StoreError> {
        Ok(None)
    }
}

/// A store that has lost what is to be read.
#[derive(Debug)]
struct Forgetful(MemoryStore);

impl Store for Forgetful {
    fn recover(&mut self, visitor: &mut dyn Visitor) -> Result<Report, StoreError> {
        self.0.recover(visitor)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.0.commit(batch)
    }

    fn reader(&self) -> Box<dyn Reader> {
        MemoryStore::new().reader()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.6.0-1] Queues never stand still without a word.
async fn a_reader_that_panics_ends_the_broker() {
    let server = Server::built(small_window, |builder| {
        builder.store(Box::new(Unreadable(MemoryStore::new())))
    })
    .await;
    server.leave_absent_subscriber(Version::V5).await;
    feed(&server, 0..10, QOS1).await;
    let mut client = server.absent_subscriber_returns(Version::V5).await;
    assert_eq!(client.take_messages(4).await, texts(0..4));
    within("the broker to close", server.broker.closed()).await;
    assert!(server.broker.has_failed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.6.0-1] What the store does not have is counted, and the rest goes on.
async fn a_message_that_is_gone_is_counted() {
    let server = Server::built(small_window, |builder| {
        builder.store(Box::new(Forgetful(MemoryStore::new())))
    })
    .await;
    server.leave_absent_subscriber(Version::V5).await;
    feed(&server, 0..10, QOS1).await;
    let mut client = server.absent_subscriber_returns(Version::V5).await;
    assert_eq!(client.take_messages(4).await, texts(0..4));
    eventually("the others to be counted", || server.dropped(DropReason::Store) == 6).await;
    feed(&server, 10..11, QOS1).await;
    assert_eq!(client.take_messages(1).await, ["10"]);
    assert!(!server.broker.has_failed());
    assert_eq!(server.metrics().queued_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.2-4] A session that ends takes its whole queue with it, and it is counted.
async fn the_end_of_a_session_counts_its_whole_queue() {
    let (disk, server, durable) = on_small_window(Version::V5).await;
    server.lose(durable).await;
    feed(&server, 0..100, QOS1).await;
    let client = server.connect(connect(Version::V5, "durable").clean(true)).await;
    client.assert_session_present(false);
    assert_eq!(server.dropped(DropReason::SessionEnded), 100);
    assert_eq!((server.metrics().queued_messages, server.metrics().queued_bytes), (0, 0));
    assert_eq!(format!("{disk:?}").matches("messages: 0").count(), 1, "{disk:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.5.0-1] What was read for several sessions does not stay in memory when it is wanted elsewhere.
async fn what_was_read_gives_its_memory_back() {
    let server = Server::with(|config| {
        small_window(config);
        config.limits.memory_bytes_max = Some(8 << 20);
        config.sys.interval = None;
    })
    .await;
    for id in ["one", "two"] {
        let mut client = server.connect(connect(Version::V5, id).kept()).await;
        client.subscribe("a", QOS1).await;
        server.lose(client).await;
    }
    let payload = "x".repeat(100 << 10);
    for _ in 0..8 {
        for _ in 0..20 {
            server.publish(publish("a", payload.clone()).qos(QOS1)).await;
        }
        for id in ["one", "two"] {
            let mut client = server.connect(connect(Version::V5, id).kept()).await;
            assert_eq!(client.take_messages(20).await.len(), 20);
            client.ping_among_messages().await;
            server.lose(client).await;
        }
    }
    assert_eq!(server.dropped(DropReason::MemoryBudget), 0);
}

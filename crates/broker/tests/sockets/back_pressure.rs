//! Publishers are slowed before anything is lost, for a bounded time, and nobody else is.

use std::time::Duration;

use crate::support::*;

/// Far longer than everything takes that a test does within it.
const LONG: Duration = Duration::from_secs(30);

/// More than the kernel holds for a reader that reads nothing, and the broker's bound on top.
const FLOOD: usize = 3_000;
const FLOOD_PAYLOAD: usize = 10_000;

/// A client that subscribed to `a` and reads nothing any more.
async fn dead_subscriber(server: &Server, version: Version, qos: Qos) -> Client {
    let mut client = server.connect(connect(version, "dead")).await;
    client.shrink_receive_buffer();
    client.subscribe("a", qos).await;
    client
}

/// Publishes to `a` with at most `window` messages on their way, until all are acknowledged.
async fn publish_all(mut client: Client, qos: Qos, count: usize, window: usize) {
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < count {
        while sent < count && sent - acknowledged < window {
            sent += 1;
            let id = u16::try_from(sent).expect("below 65,536");
            client.send(publish("a", sent.to_string()).qos(qos).id(id)).await;
        }
        match client.receive_within(LONG).await {
            Some(Packet::PubAck(_) | Packet::PubComp(_)) => acknowledged += 1,
            Some(Packet::PubRec(ack)) => client.send(pubrel(ack.packet_id.get())).await,
            other => panic!("{other:?} instead of an acknowledgement"),
        }
    }
}

/// Takes `count` messages slowly: with a pause after each few.
async fn take_slowly(client: &mut Client, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        match client.receive_within(LONG).await {
            Some(Packet::Publish(message)) => {
                taken.push(text(&message.payload));
                match message.qos {
                    Qos::AtMostOnce => {}
                    Qos::AtLeastOnce => client.send(puback(message.id_number())).await,
                    Qos::ExactlyOnce => client.send(pubrec(message.id_number())).await,
                }
                if taken.len() % 20 == 0 {
                    sleep_ms(2).await;
                }
            }
            Some(Packet::PubRel(ack)) => client.send(pubcomp(ack.packet_id.get())).await,
            other => panic!("{other:?} instead of a message, after {}", taken.len()),
        }
    }
    taken
}

// ---- QoS 0: reading more slowly ----

versions!(a_dead_subscriber_makes_a_qos_0_publisher_wait_once: V3_1_1, V5);
// [MQTT-4.3.1-1] Until the reader takes something again, its drop rule acts at once.
async fn a_dead_subscriber_makes_a_qos_0_publisher_wait_once(version: Version) {
    let server = Server::start().await;
    let _dead = dead_subscriber(&server, version, QOS0).await;
    let mut publisher = server.connect(connect(version, "p")).await;
    for _ in 0..FLOOD {
        publisher.send(publish("a", vec![b'x'; FLOOD_PAYLOAD])).await;
    }
    publisher.ping().await;
    let metrics = server.metrics();
    assert_eq!(metrics.publishers_slowed_full, 1);
    assert!(metrics.publishers_slowed_micros >= 1_000_000, "{metrics:?}");
    assert!(server.dropped(DropReason::SlowReader) > 0);
    assert_eq!((metrics.publishers_braked, metrics.publishers_braked_micros), (0, 0));
}

versions!(a_dead_subscriber_slows_only_those_who_publish_to_it: V3_1_1, V5);
// [MQTT-4.6.0-6]
async fn a_dead_subscriber_slows_only_those_who_publish_to_it(version: Version) {
    let server = Server::with(|config| config.limits.publisher_slow_max = LONG).await;
    let dead = dead_subscriber(&server, version, QOS0).await;
    let mut publisher = server.connect(connect(version, "p")).await;
    let writer = publisher.background_writer();
    for _ in 0..FLOOD {
        writer.write(publish("a", vec![b'x'; FLOOD_PAYLOAD]));
    }
    // It is not read any more: nothing comes in from anybody.
    let mut received = 0;
    loop {
        sleep_ms(200).await;
        let now = server.metrics().bytes_received;
        if now == received {
            break;
        }
        received = now;
    }
    assert!(!writer.is_empty(), "the publisher waits");
    let mut other = server.connect(connect(version, "other")).await;
    other.subscribe("b", QOS1).await;
    for _ in 0..50 {
        other.send(publish("b", "x").qos(QOS1).id(1)).await;
        other.expect_own_message(1, "b", "x").await;
    }
    assert!(!writer.is_empty(), "the publisher still waits");
    assert_eq!(server.metrics().publishers_slowed_full, 0);
    // With the reader its publisher's wait is over.
    drop(dead);
    eventually("the rest to be read", || writer.is_empty()).await;
    writer.write(Packet::PingReq);
    assert_eq!(publisher.receive().await, Packet::PingResp);
}

versions!(the_keep_alive_of_a_slowed_publisher_stands_still: V3_1_1, V5);
// [MQTT-3.1.2-22] [MQTT-3.1.2-24 @3.1.1] It cannot be heard while it is not read.
async fn the_keep_alive_of_a_slowed_publisher_stands_still(version: Version) {
    let server =
        Server::with(|config| config.limits.publisher_slow_max = Duration::from_secs(3)).await;
    let _dead = dead_subscriber(&server, version, QOS0).await;
    let mut publisher = server.connect(connect(version, "p").keep_alive(1)).await;
    let writer = publisher.background_writer();
    for _ in 0..FLOOD {
        writer.write(publish("a", vec![b'x'; FLOOD_PAYLOAD]));
    }
    eventually("the wait to end", || server.metrics().publishers_slowed_full == 1).await;
    writer.write(Packet::PingReq);
    assert_eq!(publisher.receive().await, Packet::PingResp);
}

versions!(a_publisher_that_has_something_to_acknowledge_is_not_slowed: V3_1_1, V5);
// [MQTT-4.9.0-3] Its acknowledgement may stand behind what it publishes.
async fn a_publisher_that_has_something_to_acknowledge_is_not_slowed(version: Version) {
    let server = Server::with(|config| config.limits.publisher_slow_max = LONG).await;
    let _dead = dead_subscriber(&server, version, QOS0).await;
    let mut publisher = server.connect(connect(version, "p")).await;
    publisher.subscribe("own", QOS1).await;
    server.publish(publish("own", "x").qos(QOS1)).await;
    let id = publisher.expect_message(publish("own", "x").qos(QOS1)).await;
    for _ in 0..FLOOD {
        publisher.send(publish("a", vec![b'x'; FLOOD_PAYLOAD])).await;
    }
    publisher.ping().await;
    assert_eq!(server.metrics().publishers_slowed, 0);
    assert!(server.dropped(DropReason::SlowReader) > 0);
    publisher.send(puback(id)).await;
}

versions!(a_wait_for_one_reader_is_one_for_all: V3_1_1, V5);
// [MQTT-4.3.1-1] [MQTT-4.6.0-6] Who reads gets everything, once the wait for the one that does not is over.
async fn a_wait_for_one_reader_is_one_for_all(version: Version) {
    const MESSAGES: usize = 1_500;
    let server = Server::start().await;
    let _dead = dead_subscriber(&server, version, QOS0).await;
    let mut readers = Vec::new();
    for number in 0..3 {
        let mut reader = server.connect(connect(version, &format!("r{number}"))).await;
        reader.subscribe("a", QOS0).await;
        readers.push(tokio::spawn(async move { reader.take_messages(MESSAGES).await.len() }));
    }
    let mut publisher = server.connect(connect(version, "p")).await;
    for _ in 0..MESSAGES {
        publisher.send(publish("a", vec![b'x'; FLOOD_PAYLOAD])).await;
    }
    publisher.ping().await;
    for reader in readers {
        assert_eq!(reader.await.expect("a reader"), MESSAGES, "{:?}", server.metrics().dropped);
    }
    assert_eq!(server.metrics().publishers_slowed_full, 1);
    assert!(server.dropped(DropReason::SlowReader) > 0);
}

versions!(without_a_time_to_wait_the_drop_rules_act_at_once: V3_1_1, V5);
// [MQTT-4.3.1-1] [MQTT-4.3.2-4]
async fn without_a_time_to_wait_the_drop_rules_act_at_once(version: Version) {
    let server = Server::with(|config| {
        config.limits.publisher_slow_max = Duration::ZERO;
        config.limits.queue_messages_max = 800;
        config.limits.inflight_max = 10;
    })
    .await;
    let _dead = dead_subscriber(&server, version, QOS0).await;
    let mut publisher = server.connect(connect(version, "p")).await;
    for _ in 0..FLOOD {
        publisher.send(publish("a", vec![b'x'; FLOOD_PAYLOAD])).await;
    }
    publisher.ping().await;
    assert!(server.dropped(DropReason::SlowReader) > 0);
    let mut silent = server.connect(connect(version, "silent")).await;
    silent.subscribe("b", QOS1).await;
    for number in 1..=1_000 {
        publisher.publish(publish("b", "x").qos(QOS1).id(number)).await;
    }
    assert_eq!(server.dropped(DropReason::QueueMessages), 200);
}

versions!(while_memory_is_short_publishers_wait_for_whatever_waits: V3_1_1, V5);
// [MQTT-4.3.1-1] [MQTT-4.6.0-6] From 90 % of it on, long before the reader's own bound.
async fn while_memory_is_short_publishers_wait_for_whatever_waits(version: Version) {
    let server = Server::with(|config| {
        config.limits.publisher_slow_max = LONG;
        config.limits.memory_bytes_max = Some(8 << 20);
        config.limits.qos0_lane_bytes_soft = 1 << 30;
        config.limits.qos0_lane_bytes_hard = 1 << 30;
        config.sys.interval = None;
    })
    .await;
    let dead = dead_subscriber(&server, version, QOS0).await;
    let mut publisher = server.connect(connect(version, "p")).await;
    let writer = publisher.background_writer();
    for _ in 0..FLOOD {
        writer.write(publish("a", vec![b'x'; FLOOD_PAYLOAD]));
    }
    eventually("the publisher to wait", || server.metrics().publishers_slowed == 1).await;
    assert!(!writer.is_empty(), "it is not read");
    let dropped = [DropReason::SlowReader, DropReason::MemoryBudget];
    assert_eq!(dropped.map(|reason| server.dropped(reason)), [0, 0]);
    drop(dead);
    eventually("the rest to be read", || writer.is_empty()).await;
    assert_eq!(server.metrics().publishers_slowed_full, 0);
}

versions!(many_publishers_to_one_reader_have_their_turns: V3_1_1, V5);
// [MQTT-4.6.0-6] Nobody waits for so long that anything is dropped while the reader reads.
async fn many_publishers_to_one_reader_have_their_turns(version: Version) {
    const PUBLISHERS: usize = 20;
    const MESSAGES: usize = 100;
    let server = Server::with(|config| {
        config.limits.publisher_slow_max = Duration::from_secs(4);
        config.limits.qos0_lane_bytes_soft = 64 << 10;
        config.limits.qos0_lane_bytes_hard = 256 << 10;
    })
    .await;
    let mut reader = server.connect(connect(version, "reader")).await;
    reader.shrink_receive_buffer();
    reader.subscribe("a", QOS0).await;
    let mut publishers = Vec::new();
    for number in 0..PUBLISHERS {
        let mut client = server.connect(connect(version, &format!("p{number}"))).await;
        let bytes = client.encoded(publish("a", vec![b'x'; 10_000])).repeat(MESSAGES);
        publishers.push(tokio::spawn(async move {
            let sent = client.try_send_bytes(&bytes).await;
            (client, sent.is_ok())
        }));
    }
    let received = reader.count_publishes_until_quiet(Duration::from_secs(1)).await;
    assert_eq!(received, PUBLISHERS * MESSAGES, "{:?}", server.metrics().dropped);
    assert!(server.metrics().publishers_slowed > 0);
    assert_eq!(server.metrics().publishers_slowed_full, 0);
    for publisher in publishers {
        assert!(publisher.await.expect("a publisher").1);
    }
}

// ---- QoS 1 and 2: acknowledging later ----

versions!(a_subscriber_that_acknowledges_nothing_brakes_once: V3_1_1, V5);
// [MQTT-4.3.2-4] Then its queue's rule acts.
async fn a_subscriber_that_acknowledges_nothing_brakes_once(version: Version) {
    for qos in [QOS1, QOS2] {
        let server = Server::with(|config| {
            config.limits.queue_messages_max = 800;
            config.limits.inflight_max = 10;
        })
        .await;
        let mut dead = server.connect(connect(version, "dead")).await;
        dead.subscribe("a", qos).await;
        let publisher = server.connect(connect(version, "p")).await;
        publish_all(publisher, qos, 1_000, 50).await;
        let metrics = server.metrics();
        assert_eq!(metrics.publishers_braked_full, 1);
        assert!(metrics.publishers_braked_micros >= 1_000_000, "{metrics:?}");
        assert!(server.dropped(DropReason::QueueMessages) > 0);
        assert_eq!((metrics.publishers_slowed, metrics.publishers_slowed_micros), (0, 0));
    }
}

/// What is published to a slow reader whose queue is full at a fraction of it, and none of which may be lost.
async fn check_nothing_is_lost(version: Version, kept: bool) {
    const MESSAGES: usize = 3_000;
    for qos in [QOS1, QOS2] {
        let server = Server::with(|config| {
            config.limits.publisher_slow_max = LONG;
            config.limits.queue_messages_max = 800;
            config.limits.inflight_max = 20;
        })
        .await;
        let mut reader = connect(version, "reader");
        if kept {
            reader = reader.kept();
        }
        let mut reader = server.connect(reader).await;
        reader.subscribe("a", qos).await;
        let publisher = server.connect(connect(version, "p")).await;
        let publishing = tokio::spawn(publish_all(publisher, qos, MESSAGES, 100));
        let expected: Vec<_> = (1..=MESSAGES).map(|number| number.to_string()).collect();
        assert_eq!(take_slowly(&mut reader, MESSAGES).await, expected);
        publishing.await.expect("all is acknowledged");
        assert_eq!(server.dropped(DropReason::QueueMessages), 0);
        assert!(server.metrics().publishers_braked > 0);
    }
}

versions!(a_slow_reader_brakes_before_it_loses: V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.6.0-6]
async fn a_slow_reader_brakes_before_it_loses(version: Version) {
    check_nothing_is_lost(version, false).await;
}

versions!(a_slow_reader_with_a_session_brakes_before_it_loses: V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.6.0-6] By way of the store.
async fn a_slow_reader_with_a_session_brakes_before_it_loses(version: Version) {
    check_nothing_is_lost(version, true).await;
}

versions!(a_slow_group_brakes_before_it_loses: V3_1_1, V5);
// [MQTT-4.8.2-4] [MQTT-4.3.2-4]
async fn a_slow_group_brakes_before_it_loses(version: Version) {
    const MESSAGES: usize = 2_000;
    for kept in [false, true] {
        let server = Server::with(|config| {
            config.limits.publisher_slow_max = LONG;
            config.limits.shared_group_queue_messages_max = 400;
            config.limits.inflight_max = 20;
        })
        .await;
        let mut member = connect(version, "member");
        if kept {
            member = member.kept();
        }
        let mut member = server.connect(member).await;
        member.subscribe("$share/g/a", QOS1).await;
        let publisher = server.connect(connect(version, "p")).await;
        let publishing = tokio::spawn(publish_all(publisher, QOS1, MESSAGES, 100));
        let mut taken = take_slowly(&mut member, MESSAGES).await;
        publishing.await.expect("all is acknowledged");
        taken.sort_by_key(|number| number.parse::<usize>().expect("a number"));
        assert_eq!(taken, (1..=MESSAGES).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(server.dropped(DropReason::GroupQueue), 0);
        assert!(server.metrics().publishers_braked > 0);
    }
}

versions!(a_braked_publisher_is_read: V3_1_1, V5);
// [MQTT-3.12.4-1] [MQTT-4.9.0-3] Its socket brakes no QoS 1 publisher: PINGREQ is answered before what stands before it.
async fn a_braked_publisher_is_read(version: Version) {
    let server = Server::with(|config| {
        config.limits.publisher_slow_max = LONG;
        config.limits.queue_messages_max = 80;
        config.limits.inflight_max = 10;
    })
    .await;
    let mut dead = server.connect(connect(version, "dead")).await;
    dead.subscribe("a", QOS1).await;
    let mut first = server.connect(connect(version, "first")).await;
    for number in 1..=30 {
        first.send(publish("a", "x").qos(QOS1).id(number)).await;
    }
    eventually("a crowd", || server.metrics().queued_messages == 20).await;
    let mut publisher = server.connect(connect(version, "p")).await;
    publisher.send(publish("a", "x").qos(QOS1).id(1)).await;
    publisher.send(Packet::PingReq).await;
    publisher.expect(Packet::PingResp).await;
    publisher.expect_nothing().await;
    assert!(server.metrics().publishers_braked > 0);
    // With the subscriber its publishers' wait is over.
    drop(dead);
    publisher.expect(puback(1)).await;
    assert_eq!(server.metrics().publishers_braked_full, 0);
}

versions!(a_qos_1_publisher_to_a_qos_0_reader_is_braked_and_read: V3_1_1, V5);
// [MQTT-3.12.4-1] [MQTT-4.3.2-4] The same where only the reader's subscription has QoS 0.
async fn a_qos_1_publisher_to_a_qos_0_reader_is_braked_and_read(version: Version) {
    let server = Server::with(|config| config.limits.publisher_slow_max = LONG).await;
    let dead = dead_subscriber(&server, version, QOS0).await;
    let mut publisher = server.connect(connect(version, "p")).await;
    let mut number = 0;
    // On a busy machine the first brakes are let go again: what the reader's task had not yet passed to its socket was all that
    // waited. In the end the socket takes no more.
    loop {
        number += 1;
        assert!(usize::from(number) < FLOOD, "the publisher was never braked for good");
        let payload = vec![b'x'; FLOOD_PAYLOAD];
        publisher.send(publish("a", payload).qos(QOS1).id(number)).await;
        let answer = loop {
            match publisher.receive_within(SILENCE).await {
                None if server.metrics().publishers_braked == 0 => {}
                answer => break answer,
            }
        };
        if let Some(answer) = answer {
            assert_eq!(answer, puback(number).into_packet());
            continue;
        }
        publisher.send(Packet::PingReq).await;
        match publisher.receive().await {
            Packet::PingResp => break,
            answer => assert_eq!(answer, puback(number).into_packet()),
        }
        publisher.expect(Packet::PingResp).await;
    }
    assert_eq!(server.metrics().publishers_slowed, 0);
    drop(dead);
    publisher.expect(puback(number)).await;
    assert_eq!(server.metrics().publishers_braked_full, 0);
    assert_eq!(server.dropped(DropReason::SlowReader), 0);
}

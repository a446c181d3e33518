//! From when on acknowledgements of QoS 1 come later, until when, and for whom they do not.

use std::collections::VecDeque;
use std::time::Duration;

use dunlin_broker::config::Limits;

use crate::support::*;

/// Far longer than everything takes that a test does within it.
const LONG: Duration = Duration::from_secs(30);
/// What a client may have to acknowledge.
const UNDER_WAY: u16 = 10;
const PAYLOAD: usize = 10_000;
/// Eighty messages, with some room for what counts beside the payload.
const EIGHTY: usize = 80 * (PAYLOAD + 40);

async fn server(limits: impl FnOnce(&mut Limits)) -> Server {
    Server::with(|config| {
        config.limits.publisher_slow_max = LONG;
        config.limits.inflight_max = UNDER_WAY;
        limits(&mut config.limits);
    })
    .await
}

/// Publishes a message, and waits for its acknowledgement.
async fn publish_one(publisher: &mut Client, id: u16) {
    publisher.publish(publish("a", vec![b'x'; PAYLOAD]).qos(QOS1).id(id)).await;
}

/// The identifier of the next message.
async fn next_id(reader: &mut Client) -> u16 {
    match reader.receive().await {
        Packet::Publish(message) => message.id_number(),
        other => panic!("{other:?} is no message"),
    }
}

/// What waits: a tenth with the reader, more than an eighth of what may behind it.
async fn check_thresholds(version: Version, filter: &str, limits: fn(&mut Limits)) {
    let server = server(limits).await;
    let mut reader = server.connect(connect(version, "reader")).await;
    reader.subscribe(filter, QOS1).await;
    let mut publisher = server.connect(connect(version, "p")).await;
    let mut sent = VecDeque::new();
    for id in 1..=UNDER_WAY {
        publish_one(&mut publisher, id).await;
        sent.push_back(next_id(&mut reader).await);
    }
    // With the eleventh that waits it is more than an eighth, and those after it are answered later.
    for id in 11..=21 {
        publish_one(&mut publisher, id).await;
    }
    publisher.send(publish("a", vec![b'x'; PAYLOAD]).qos(QOS1).id(22)).await;
    publisher.expect_nothing().await;
    // Six of the twelve that wait then are more than a sixteenth, five are not.
    for left in (5..12).rev() {
        publisher.expect_nothing_for(Duration::from_millis(20)).await;
        assert_eq!(server.metrics().publishers_braked_micros, 0, "{left} are to be left");
        reader.send(puback(sent.pop_front().expect("a message"))).await;
        sent.push_back(next_id(&mut reader).await);
    }
    publisher.expect(puback(22)).await;
    let metrics = server.metrics();
    assert_eq!((metrics.publishers_braked, metrics.publishers_braked_full), (1, 0));
}

versions!(an_eighth_of_the_messages_brakes_until_a_sixteenth_is_left: V3_1_1, V5);
// [MQTT-4.3.2-4]
async fn an_eighth_of_the_messages_brakes_until_a_sixteenth_is_left(version: Version) {
    check_thresholds(version, "a", |limits| limits.queue_messages_max = 80).await;
}

versions!(an_eighth_of_the_bytes_brakes_until_a_sixteenth_is_left: V3_1_1, V5);
// [MQTT-4.3.2-4]
async fn an_eighth_of_the_bytes_brakes_until_a_sixteenth_is_left(version: Version) {
    check_thresholds(version, "a", |limits| limits.queue_bytes_max = EIGHTY).await;
}

versions!(so_do_an_eighth_and_a_sixteenth_of_a_groups_messages: V3_1_1, V5);
// [MQTT-4.3.2-4] (4.8.2)
async fn so_do_an_eighth_and_a_sixteenth_of_a_groups_messages(version: Version) {
    let limits = |limits: &mut Limits| limits.shared_group_queue_messages_max = 80;
    check_thresholds(version, "$share/g/a", limits).await;
}

versions!(so_do_an_eighth_and_a_sixteenth_of_a_groups_bytes: V3_1_1, V5);
// [MQTT-4.3.2-4] (4.8.2)
async fn so_do_an_eighth_and_a_sixteenth_of_a_groups_bytes(version: Version) {
    let limits = |limits: &mut Limits| limits.shared_group_queue_bytes_max = EIGHTY;
    check_thresholds(version, "$share/g/a", limits).await;
}

versions!(what_came_while_a_client_was_away_brakes_nobody: V3_1_1, V5);
// [MQTT-4.3.2-4] Its publishers are not to pay for its absence.
async fn what_came_while_a_client_was_away_brakes_nobody(version: Version) {
    let server = server(|limits| limits.queue_messages_max = 80).await;
    server.leave_absent_subscriber(version).await;
    let mut publisher = server.connect(connect(version, "p")).await;
    for id in 1..=40 {
        publish_one(&mut publisher, id).await;
    }
    let mut reader = server.absent_subscriber_returns(version).await;
    let mut sent = VecDeque::new();
    for _ in 0..UNDER_WAY {
        sent.push_back(next_id(&mut reader).await);
    }
    for id in 41..=60 {
        publish_one(&mut publisher, id).await;
    }
    assert_eq!(server.metrics().publishers_braked, 0);
    // Once it has caught up it is waited for like others.
    for _ in UNDER_WAY..60 {
        reader.send(puback(sent.pop_front().expect("a message"))).await;
        sent.push_back(next_id(&mut reader).await);
    }
    // What goes through the store is counted when it is there: one message later than elsewhere.
    for id in 61..=72 {
        publish_one(&mut publisher, id).await;
    }
    publisher.send(publish("a", "x").qos(QOS1).id(73)).await;
    publisher.expect_nothing().await;
    assert_eq!(server.metrics().publishers_braked, 1);
}

versions!(who_was_given_up_is_waited_for_again_when_it_has_caught_up: V3_1_1, V5);
// [MQTT-4.3.2-4]
async fn who_was_given_up_is_waited_for_again_when_it_has_caught_up(version: Version) {
    let server = server(|limits| {
        limits.publisher_slow_max = Duration::from_millis(300);
        limits.queue_messages_max = 400;
    })
    .await;
    let mut reader = server.connect(connect(version, "reader")).await;
    reader.subscribe("a", QOS1).await;
    let mut publisher = server.connect(connect(version, "p")).await;
    let mut sent = VecDeque::new();
    for round in 1..=3 {
        for id in 1..=100 {
            publish_one(&mut publisher, id).await;
        }
        // One wait, however much comes for it afterwards.
        assert_eq!(server.metrics().publishers_braked_full, round);
        for _ in 0..100 {
            if sent.len() == usize::from(UNDER_WAY) {
                reader.send(puback(sent.pop_front().expect("a message"))).await;
            }
            sent.push_back(next_id(&mut reader).await);
        }
    }
    assert_eq!(server.dropped(DropReason::QueueMessages), 0);
}

//! Messages that live for a time, and wills that wait for one.

use std::time::Instant;

use crate::support::*;

// ---- Message expiry ----

versions!(a_message_that_expired_in_the_queue_is_dropped: V5);
// [MQTT-3.3.2-5]
async fn a_message_that_expired_in_the_queue_is_dropped(version: Version) {
    let server = Server::start().await;
    server.leave_absent_subscriber(version).await;
    server.publish(publish("a", "expires").qos(QOS1).expires(1)).await;
    server.publish(publish("a", "stays").qos(QOS1)).await;
    sleep_ms(1_200).await;
    let mut client = server.absent_subscriber_returns(version).await;
    client.expect_and_acknowledge(publish("a", "stays").qos(QOS1)).await;
    client.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::Expired), 1);
}

versions!(messages_expire_for_3x_receivers_too: V3_1, V3_1_1);
// [MQTT-3.3.2-5]
async fn messages_expire_for_3x_receivers_too(version: Version) {
    let server = Server::start().await;
    server.leave_absent_subscriber(version).await;
    server.publish(publish("a", "expires").qos(QOS1).expires(1)).await;
    server.publish(publish("a", "stays").qos(QOS1).expires(100)).await;
    sleep_ms(1_200).await;
    let mut client = server.absent_subscriber_returns(version).await;
    client.expect_and_acknowledge(publish("a", "stays").qos(QOS1)).await;
    client.expect_nothing().await;
}

versions!(the_expiry_is_passed_on_less_the_time_waited: V5);
// [MQTT-3.3.2-6]
async fn the_expiry_is_passed_on_less_the_time_waited(version: Version) {
    let server = Server::start().await;
    let mut live = server.connect(connect(version, "live")).await;
    live.subscribe("a", QOS1).await;
    server.leave_absent_subscriber(version).await;
    server.publish(publish("a", "x").qos(QOS1).expires(10)).await;
    live.expect_and_acknowledge(publish("a", "x").qos(QOS1).expires(10)).await;
    sleep_ms(1_300).await;
    let mut client = server.absent_subscriber_returns(version).await;
    let remaining = client.expect_expiring(publish("a", "x").qos(QOS1)).await;
    assert!((8..=9).contains(&remaining), "{remaining}");
}

versions!(retained_messages_expire: V5);
// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
async fn retained_messages_expire(version: Version) {
    let server = Server::start().await;
    server.publish(publish("a/short", "x").retain().expires(1)).await;
    server.publish(publish("a/long", "x").retain().expires(10)).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.subscribe("a/long", QOS0).await;
    client.expect(publish("a/long", "x").retain().expires(10)).await;
    sleep_ms(1_300).await;
    client.subscribe("a/+", QOS0).await;
    let remaining = client.expect_expiring(publish("a/long", "x").retain()).await;
    assert!((8..=9).contains(&remaining), "{remaining}");
    client.expect_nothing().await;
}

versions!(the_expiry_of_a_will_counts_from_its_publication: V5);
// [MQTT-3.3.2-6] (3.1.3.2.4)
async fn the_expiry_of_a_will_counts_from_its_publication(version: Version) {
    let server = Server::start().await;
    let mut live = server.connect(connect(version, "live")).await;
    live.subscribe("a", QOS1).await;
    server.leave_absent_subscriber(version).await;
    let will = will("a", "gone").qos(QOS1).expires(10).delay(1);
    drop(server.connect(connect(version, "s").expiry(100).will(will)).await);
    live.expect_and_acknowledge(publish("a", "gone").qos(QOS1).expires(10)).await;
    sleep_ms(1_300).await;
    let mut client = server.absent_subscriber_returns(version).await;
    let remaining = client.expect_expiring(publish("a", "gone").qos(QOS1)).await;
    assert!((8..=9).contains(&remaining), "{remaining}");
}

versions!(expiry_is_not_applied_once_sending_began: V5);
// [MQTT-4.3.3-7] [MQTT-4.3.3-13] [MQTT-4.4.0-1]
async fn expiry_is_not_applied_once_sending_began(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "absent").kept()).await;
    client.subscribe("a", QOS2).await;
    let mut ids = Vec::new();
    for (payload, qos) in [("1", QOS1), ("2", QOS2), ("3", QOS2)] {
        server.publish(publish("a", payload).qos(qos).expires(1)).await;
        ids.push(client.expect_message(publish("a", payload).qos(qos).expires(1)).await);
    }
    client.send(pubrec(ids[2])).await;
    client.expect(pubrel(ids[2])).await;
    server.lose(client).await;
    sleep_ms(1_300).await;
    let mut client = server.absent_subscriber_returns(version).await;
    let (released, messages) = client.receive_resent(3).await;
    assert_eq!(released, [ids[2]]);
    for (at, payload) in ["1", "2"].into_iter().enumerate() {
        let message = &messages[at];
        assert_eq!((text(&message.payload).as_str(), message.id_number()), (payload, ids[at]));
        assert!(message.dup);
    }
    // Inbound: the exchange ends as ever, although the message has expired meanwhile.
    client.send(publish("a/b", "x").qos(QOS2).id(9).expires(1)).await;
    client.expect(pubrec(9).code(ReasonCode::NoMatchingSubscribers)).await;
    sleep_ms(1_200).await;
    client.send(pubrel(9)).await;
    client.expect(pubcomp(9)).await;
}

// ---- Will delay ----

versions!(a_will_waits_as_long_as_its_delay: V5);
// [MQTT-3.1.2-8] [MQTT-3.1.3-9]
async fn a_will_waits_as_long_as_its_delay(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("will/#", QOS0).await;
    let begin = Instant::now();
    for delay in [2, 1, 0] {
        let id = format!("s{delay}");
        let will = will(&format!("will/{delay}"), "gone").delay(delay);
        drop(server.connect(connect(version, &id).expiry(100).will(will)).await);
    }
    for (delay, from) in [(0, 0), (1, 900), (2, 1_900)] {
        watcher.expect(publish(&format!("will/{delay}"), "gone")).await;
        assert_elapsed(begin, from, from + 1_000);
    }
}

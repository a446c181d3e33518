//! What once went wrong under load, at a restart or where two features meet: each test tells its story first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dunlin_broker::{Client as HookClient, Hooks, Interests, SubscribeOptions};
use dunlin_codec::Message;
use futures_util::StreamExt;

use crate::support::*;

fn numbers(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

/// These PUBLISHes in one write, so that the broker reads them together.
fn encoded(client: &Client, messages: impl IntoIterator<Item = Publish>) -> Vec<u8> {
    messages.into_iter().flat_map(|message| client.encoded(message)).collect()
}

/// The payloads that these clients get and acknowledge, sorted.
async fn taken_by(clients: [&mut Client; 2]) -> Vec<String> {
    let mut payloads = Vec::new();
    for client in clients {
        payloads.extend(client.take_messages_for(SILENCE).await);
    }
    payloads.sort();
    payloads
}

// ---- Shared groups ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// After a restart a group numbered from 1 again although messages 1 to 3 still waited in it, and the store ended over the
// collision. The numbers now go on behind what waits.
// [MQTT-4.5.0-1]
async fn a_group_goes_on_behind_what_waits_in_it_after_a_restart() {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    member.subscribe("$share/g/a", QOS1).await;
    server.lose(member).await;
    for number in 0..3 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    server.shutdown().await;

    let server = Server::on(&disk).await;
    server.publish(publish("a", "3").qos(QOS1)).await;
    assert!(!server.broker.has_failed());
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    assert_eq!(member.take_messages_for(SILENCE).await, numbers(0, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// A message was put back into a group's queue at each restart for as long as somebody else still had to get it, whoever of
// the group had acknowledged it. A restart now brings back only what the group has not had.
// [MQTT-4.4.0-1]
async fn what_a_group_acknowledged_does_not_come_back_for_the_sake_of_others() {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    server.leave_absent_subscriber(Version::V5).await;
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    member.subscribe("$share/g/a", QOS1).await;
    server.lose(member).await;
    server.publish(publish("a", "once").qos(QOS1)).await;
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    assert_eq!(member.take_messages_for(SILENCE).await, ["once"]);
    server.lose(member).await;
    server.shutdown().await;

    let server = Server::on(&disk).await;
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    member.assert_session_present(true);
    member.expect_nothing().await;
    let mut absent = server.absent_subscriber_returns(Version::V5).await;
    assert_eq!(absent.take_messages_for(SILENCE).await, ["once"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// A member whose session ends with its connection lost its turn to one with a stored session each time, because only the
// latter can be handed a message through the store. Both now get their share.
// (4.8.2)
async fn members_with_and_without_a_stored_session_take_turns() {
    let server = Server::start().await;
    let mut passing = server.connect(connect(Version::V5, "passing")).await;
    passing.subscribe("$share/g/a", QOS1).await;
    let mut durable = server.connect(connect(Version::V5, "durable").kept()).await;
    durable.subscribe("$share/g/a", QOS1).await;
    for number in 0..10 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let passing = passing.take_messages_for(SILENCE).await;
    let durable = durable.take_messages_for(SILENCE).await;
    assert_eq!((passing.len(), durable.len()), (5, 5), "{passing:?} {durable:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// A QoS 1 message for a durable member that was granted QoS 0 was stored under a number that nothing ever acknowledged, and
// so came again after each restart. It is now done with when it is sent.
// [MQTT-4.3.1-1]
async fn a_group_member_granted_qos_0_gets_each_message_once() {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    member.subscribe("$share/g/a", QOS0).await;
    for number in 0..3 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
        member.expect(publish("a", number.to_string())).await;
    }
    server.lose(member).await;
    server.shutdown().await;

    let server = Server::on(&disk).await;
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    member.assert_session_present(true);
    member.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// Messages that waited for their commit when the chosen member left were put into that member's queue, to wait for as long
// as its session. They now go to a member that is there.
// (4.8.2) [MQTT-4.5.0-1]
async fn what_is_not_yet_stored_when_its_member_leaves_goes_to_another() {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut leaving = server.connect(connect(Version::V5, "leaving").kept()).await;
    leaving.subscribe("$share/g/a", QOS1).await;
    let mut staying = server.connect(connect(Version::V5, "staying").kept()).await;
    staying.subscribe("$share/g/a", QOS1).await;
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    disk.faults().hold();
    for id in 1..=6 {
        publisher.send(publish("a", id.to_string()).qos(QOS1).id(id)).await;
        publisher.ping().await;
    }
    server.lose(leaving).await;
    disk.faults().release();
    let mut received = staying.take_messages_for(SILENCE).await;
    received.sort();
    assert_eq!(received, numbers(1, 7));
}

// ---- A store with a full queue, or without room ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// A message that went from a group's queue to a member while the committer had no room was to be handed in later by a task,
// which cannot be made on the committer's own thread: the store ended. The message now waits, and all goes on.
// [MQTT-4.3.2-4] [MQTT-4.5.0-1]
async fn a_group_hands_its_messages_on_while_the_committer_is_full() {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, |config| config.limits.commit_queue_messages_max = 1).await;
    let mut passing = server.connect(connect(Version::V5, "passing")).await;
    passing.subscribe("$share/g/a", QOS1).await;
    let mut durable = server.connect(connect(Version::V5, "durable").kept()).await;
    durable.subscribe("$share/g/a", QOS1).await;
    durable.subscribe("b", QOS1).await;
    let mut one = server.connect(connect(Version::V5, "one")).await;
    let mut two = server.connect(connect(Version::V5, "two")).await;
    disk.faults().hold();
    one.send(publish("a", "shared").qos(QOS1).id(1)).await;
    one.ping().await;
    two.send(publish("b", "plain").qos(QOS1).id(1)).await;
    two.ping().await;
    disk.faults().release();
    one.expect(puback(1)).await;
    two.expect(puback(1)).await;
    assert_eq!(taken_by([&mut passing, &mut durable]).await, ["plain", "shared"]);
    assert!(!server.broker.has_failed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// The same happened when the last commits of a broker that shuts down led to new ones for a group, and the store reported
// that it had failed. What comes too late is now left for the next start.
async fn a_shutdown_amid_the_traffic_of_a_group_is_in_order() {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, |config| {
        config.limits.shutdown_drain_max = Duration::from_millis(100);
    })
    .await;
    let mut durable =
        server.connect(connect(Version::V5, "durable").kept().receive_maximum(5)).await;
    durable.subscribe("$share/g/a", QOS1).await;
    let mut passing = server.connect(connect(Version::V5, "passing")).await;
    passing.subscribe("$share/g/a", QOS1).await;
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    let faults = disk.faults();
    faults.hold();
    for id in 1..=50 {
        publisher.send(publish("a", "x").qos(QOS1).id(id)).await;
    }
    publisher.ping().await;
    tokio::spawn(async move {
        // By then the connections are closed, and the committer takes nothing more.
        sleep_ms(2_000).await;
        faults.release();
    });
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// A QoS 2 PUBLISH right before DISCONNECT that met a full committer was never handed in: its exchange stayed open in the
// session, and no repetition was ever answered. It is now handed in when there is room.
// [MQTT-4.3.3-8] [MQTT-4.3.3-10]
async fn a_publish_before_disconnect_waits_for_a_full_committer() {
    let disk = MemoryStore::new();
    let server = Server::on_with(&disk, |config| config.limits.commit_queue_messages_max = 1).await;
    let mut subscriber = server.connect(connect(Version::V5, "subscriber").kept()).await;
    subscriber.subscribe("a", QOS2).await;
    let mut publisher = server.connect(connect(Version::V5, "publisher").kept()).await;
    let mut one = server.connect(connect(Version::V5, "one")).await;
    let mut two = server.connect(connect(Version::V5, "two")).await;
    disk.faults().hold();
    one.send(publish("a", "1").qos(QOS1).id(1)).await;
    one.ping().await;
    two.send(publish("a", "2").qos(QOS1).id(1)).await;
    two.ping().await;
    let mut bytes = publisher.encoded(publish("a", "3").qos(QOS2).id(1));
    bytes.extend(publisher.encoded(disconnect(ReasonCode::Success)));
    publisher.send_bytes(&bytes).await;
    server.clients_connected(3).await;
    disk.faults().release();

    let mut publisher = server.connect(connect(Version::V5, "publisher").kept()).await;
    publisher.assert_session_present(true);
    publisher.send(publish("a", "3").qos(QOS2).id(1).dup()).await;
    publisher.expect_acceptance(QOS2, 1).await;
    publisher.release(1).await;
    let mut received = subscriber.take_messages_for(SILENCE).await;
    received.sort();
    assert_eq!(received, numbers(1, 4));
}

versions!(a_release_that_met_a_full_store_can_be_repeated: V3_1_1, V5);
// When the store had no room for a PUBREL, the session went on as if it were being stored for ever, and PUBCOMP never came.
// The repetition is now stored.
// [MQTT-4.3.3-11] [MQTT-4.3.3-2 @3.1.1]
async fn a_release_that_met_a_full_store_can_be_repeated(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut publisher = server.connect(connect(version, "publisher").kept()).await;
    publisher.send(publish("a", "x").qos(QOS2).id(1)).await;
    publisher.expect_acceptance(QOS2, 1).await;
    // Without new messages there is no room either.
    disk.faults().fail_next(Failure::Full);
    disk.faults().fail_next(Failure::Full);
    publisher.send(pubrel(1)).await;
    publisher.ended().await;

    let mut publisher = server.connect(connect(version, "publisher").kept()).await;
    publisher.assert_session_present(true);
    publisher.release(1).await;
}

versions!(a_pubrec_that_met_a_full_store_is_stored_at_resume: V3_1_1, V5);
// When the store had no room for a PUBREC, the resumed session sent neither the PUBLISH nor PUBREL, and one place of the
// quota was gone. The PUBREC is now stored at resume, and PUBREL follows.
// [MQTT-4.3.3-4] [MQTT-4.4.0-1] [MQTT-4.4.0-1 @3.1.1]
async fn a_pubrec_that_met_a_full_store_is_stored_at_resume(version: Version) {
    let (disk, server, mut durable) = Server::with_durable_subscriber(version).await;
    server.publish(publish("a", "x").qos(QOS2)).await;
    let id = durable.expect_message(publish("a", "x").qos(QOS2)).await;
    // Without new messages there is no room either.
    disk.faults().fail_next(Failure::Full);
    disk.faults().fail_next(Failure::Full);
    durable.send(pubrec(id)).await;
    durable.ended().await;

    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.assert_session_present(true);
    durable.expect(pubrel(id)).await;
    durable.send(pubcomp(id)).await;
    durable.expect_nothing().await;
}

// ---- Order ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// A Will went out before what its client had sent in the same write as its last packet, so that a status topic ended with
// the older state. It now goes out last.
// [MQTT-3.1.2-8] [MQTT-4.6.0-6]
async fn a_will_comes_after_what_its_client_published() {
    let server = Server::start().await;
    let mut subscriber = server.connect(connect(Version::V5, "s")).await;
    subscriber.subscribe("status", QOS0).await;
    let mut publisher =
        server.connect(connect(Version::V5, "p").will(will("status", "offline"))).await;
    let mut bytes = publisher.encoded(publish("status", "online"));
    bytes.extend(publisher.encoded(disconnect(ReasonCode::DisconnectWithWillMessage)));
    publisher.send_bytes(&bytes).await;
    subscriber.expect(publish("status", "online")).await;
    subscriber.expect(publish("status", "offline")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// QoS 0 messages with a Message Expiry Interval went another way than those without, and were overtaken by them. All of one
// topic now keep their order.
// [MQTT-4.6.0-6]
async fn a_message_that_expires_keeps_its_place() {
    let server = Server::start().await;
    let mut subscriber = server.connect(connect(Version::V5, "s")).await;
    subscriber.subscribe("a", QOS0).await;
    let mut publisher = server.connect(connect(Version::V5, "p")).await;
    let messages =
        [publish("a", "1").expires(60), publish("a", "2"), publish("a", "3").expires(60)];
    let bytes = encoded(&publisher, messages);
    publisher.send_bytes(&bytes).await;
    assert_eq!(subscriber.take_messages(3).await, numbers(1, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// While the QoS 0 messages kept for an absent client were sent to it, newer ones overtook them. They now wait.
// [MQTT-4.6.0-6]
async fn queued_qos_0_messages_come_before_newer_ones() {
    let server = Server::with(|config| config.limits.queue_qos0 = true).await;
    let mut subscriber = server.connect(connect(Version::V5, "s").kept()).await;
    subscriber.subscribe("a", QOS0).await;
    server.lose(subscriber).await;
    let mut publisher = server.connect(connect(Version::V5, "p")).await;
    let messages = |numbers: Vec<String>| numbers.into_iter().map(|number| publish("a", number));
    let bytes = encoded(&publisher, messages(numbers(0, 2_000)));
    publisher.send_bytes(&bytes).await;
    publisher.ping().await;

    let mut subscriber = server.dial(Version::V5).await;
    subscriber.send(connect(Version::V5, "s").kept()).await;
    for message in messages(numbers(2_000, 3_000)) {
        publisher.send(message).await;
    }
    subscriber.expect_connack(true).await;
    assert_eq!(subscriber.take_messages(3_000).await, numbers(0, 3_000));
}

versions!(a_subscription_holds_for_what_was_read_with_it: V3_1, V3_1_1, V5);
// PUBLISH, SUBSCRIBE and PUBLISH to one topic in one write: the second PUBLISH went the way that was found for the first,
// although SUBACK was already out; UNSUBSCRIBE likewise. The way is now looked up again.
// [MQTT-3.10.4-2] [MQTT-3.10.4-2 @3.1.1] (3.8.4)
async fn a_subscription_holds_for_what_was_read_with_it(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "c")).await;
    let mut bytes = client.encoded(publish("a", "1"));
    bytes.extend(client.encoded(subscribe(1, &[("a", QOS0)])));
    bytes.extend(client.encoded(publish("a", "2")));
    client.send_bytes(&bytes).await;
    client.expect(suback(1, &[granted(QOS0)])).await;
    client.expect(publish("a", "2")).await;
    client.expect_nothing().await;

    let mut bytes = client.encoded(unsubscribe(2, &["a"]));
    bytes.extend(client.encoded(publish("a", "3")));
    client.send_bytes(&bytes).await;
    client.expect(unsuback(2, &[ReasonCode::Success])).await;
    client.expect_nothing().await;
}

// ---- Queues and sizes ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// What a client acknowledged in the write that ended with DISCONNECT stayed counted in its queue, until the queue passed for
// full for ever. It is now taken off.
// [MQTT-4.5.0-1]
async fn an_acknowledgement_right_before_disconnect_frees_its_place() {
    let server = Server::with(|config| config.limits.queue_messages_max = 3).await;
    let mut client = server.connect(connect(Version::V5, "c").kept()).await;
    client.subscribe("a", QOS1).await;
    for number in 0..5 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
        let id = client.expect_message(publish("a", number.to_string()).qos(QOS1)).await;
        let mut bytes = client.encoded(puback(id));
        bytes.extend(client.encoded(disconnect(ReasonCode::Success)));
        client.send_bytes(&bytes).await;
        client.expect_closed().await;
        client = server.connect(connect(Version::V5, "c").kept()).await;
        client.assert_session_present(true);
    }
    assert_eq!(server.dropped(DropReason::QueueMessages), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// Messages that a full queue dropped used up Packet Identifiers: behind 65,535 of them a client with one message unacknowledged
// was disconnected, because its identifier was about to come again. Only what is sent now takes one.
// [MQTT-2.2.1-4]
async fn dropped_messages_take_no_packet_identifier() {
    const DROPPED: usize = 70_000;
    let server = Server::with(|config| config.limits.queue_messages_max = 10).await;
    let mut subscriber = server.connect(connect(Version::V5, "s").receive_maximum(5)).await;
    subscriber.subscribe("a", QOS1).await;
    let mut publisher = server.connect(connect(Version::V5, "p")).await;
    for number in 0..10 {
        publisher.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let bytes = encoded(&publisher, (1..=500).map(|id| publish("a", "dropped").qos(QOS1).id(id)));
    for _ in 0..DROPPED / 500 {
        publisher.send_bytes(&bytes).await;
        publisher.receive_some(500).await;
    }
    assert_eq!(server.dropped(DropReason::QueueMessages), DROPPED as u64);

    let first = subscriber.expect_message(publish("a", "0").qos(QOS1)).await;
    assert_eq!(subscriber.take_messages(9).await, numbers(1, 10));
    subscriber.ping().await;
    publisher.publish(publish("a", "10").qos(QOS1)).await;
    subscriber.expect_and_acknowledge(publish("a", "10").qos(QOS1)).await;
    subscriber.send(puback(first)).await;
    subscriber.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// QoS 0 messages to a client with Topic Aliases shared the bound of its QoS 1 messages, so that a flood of the former
// dropped the latter, and its publisher was not slowed. They now have the bound of QoS 0.
// [MQTT-4.5.0-1]
async fn a_flood_at_qos_0_takes_no_room_from_qos_1() {
    let server = Server::with(|config| config.limits.queue_messages_max = 1_000).await;
    let mut subscriber = server.connect(connect(Version::V5, "s").kept().alias_maximum(1)).await;
    subscriber.subscribe("#", QOS1).await;
    subscriber.shrink_receive_buffer();
    let mut publisher = server.connect(connect(Version::V5, "p")).await;
    let bytes = publisher.encoded(publish("flood", vec![b'x'; 10_000]));
    for _ in 0..3_000 {
        publisher.send_bytes(&bytes).await;
    }
    publisher.ping().await;
    for number in 0..10 {
        publisher.publish(publish("important", number.to_string()).qos(QOS1)).await;
    }
    assert!(server.metrics().publishers_slowed > 0);
    assert_eq!(server.dropped(DropReason::QueueMessages), 0);
    let mut important = Vec::new();
    while important.len() < 10 {
        let (topic, payload) = subscriber.aliased_publish().await;
        important.extend((topic == "important").then_some(payload));
    }
    assert_eq!(important, numbers(0, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// A PUBLISH of 3.x grows by one byte of Property Length when it goes to a client of 5.0, and by another if its Remaining
// Length grows over 127: only the first was reckoned with. Both now are.
// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
async fn a_packet_that_grows_over_the_maximum_in_5_0_is_not_sent() {
    let server = Server::start().await;
    let mut subscriber = server.connect(connect(Version::V5, "s").packet_size_max(130)).await;
    subscriber.subscribe("a", QOS0).await;
    let mut publisher = server.connect(connect(Version::V3_1_1, "p")).await;
    let (small, large) = (publish("a", vec![b'x'; 123]), publish("a", vec![b'x'; 124]));
    assert_eq!(subscriber.encoded(small.clone()).len(), 129);
    assert_eq!(
        (publisher.encoded(large.clone()).len(), subscriber.encoded(large.clone()).len()),
        (129, 131)
    );
    publisher.send(large).await;
    publisher.send(small.clone()).await;
    subscriber.expect(small).await;
    assert_eq!(server.dropped(DropReason::TooLarge), 1);
}

// ---- The program around the broker ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// A subscription of the program is no client that the broker could disconnect, and waited for ever after a shutdown. It now
// ends with the broker.
async fn a_subscription_of_the_program_ends_with_the_broker() {
    let server = Server::start().await;
    let mut stream =
        server.broker.subscribe("a", SubscribeOptions::default()).await.expect("a subscription");
    let reading = tokio::spawn(async move { stream.next().await.map(|received| received.qos) });
    server.shutdown().await;
    let last = within("the end of the stream", reading).await.expect("it does not panic");
    assert_eq!(last, None);
}

/// Panics at each drop.
#[derive(Debug)]
struct PanicsAtDrop;

impl Hooks for PanicsAtDrop {
    fn interests(&self) -> Interests {
        let mut interests = Interests::NONE;
        interests.drop = true;
        interests
    }

    fn on_drop(&self, _: &str, _: Option<&Message>, _: DropReason) {
        panic!("a test's own panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// What a group's queue drops is told to the program on the committer's thread, where a panic of `on_drop` ended the store.
// Now it is counted, and nothing else happens.
// [MQTT-4.3.2-4]
async fn a_drop_hook_that_panics_is_counted_and_no_more() {
    let server = Server::built(
        |config| config.limits.shared_group_queue_messages_max = 1,
        |builder| builder.hooks(Arc::new(PanicsAtDrop)),
    )
    .await;
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    member.subscribe("$share/g/a", QOS1).await;
    server.lose(member).await;
    for number in 0..3 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    eventually("the drops", || server.dropped(DropReason::GroupQueue) == 2).await;
    eventually("the panics", || server.metrics().hook_panics == 2).await;
    let mut member = server.connect(connect(Version::V5, "m").kept()).await;
    assert_eq!(member.take_messages_for(SILENCE).await, ["0"]);
    assert!(!server.broker.has_failed());
}

/// Panics at the first delivery.
#[derive(Debug, Default)]
struct PanicsAtDelivery {
    has_panicked: AtomicBool,
}

impl Hooks for PanicsAtDelivery {
    fn interests(&self) -> Interests {
        let mut interests = Interests::NONE;
        interests.deliver = true;
        interests
    }

    fn on_deliver(&self, _: &HookClient, _: &mut Arc<Message>) -> bool {
        assert!(self.has_panicked.swap(true, Ordering::Relaxed), "a test's own panic");
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// A connection that ended amid the messages that it had taken from its queue, here by a panic of `on_deliver`, threw them away.
// They now stay in the session.
// [MQTT-4.5.0-1] [MQTT-4.1.0-1]
async fn a_panic_at_a_delivery_loses_no_message() {
    let server =
        Server::built(|_| {}, |builder| builder.hooks(Arc::new(PanicsAtDelivery::default()))).await;
    server.leave_absent_subscriber(Version::V5).await;
    for number in 0..5 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let mut client = server.dial(Version::V5).await;
    client.send(connect(Version::V5, "absent").kept()).await;
    client.ended().await;
    let mut client = server.absent_subscriber_returns(Version::V5).await;
    assert_eq!(client.take_messages_for(SILENCE).await, numbers(0, 5));
}

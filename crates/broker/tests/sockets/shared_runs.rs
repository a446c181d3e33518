//! Runs for shared groups: they are parted among the members, and nobody can tell.

use std::collections::BTreeSet;
use std::time::Duration;

use dunlin_broker::SubscribeOptions;
use futures_util::StreamExt;

use crate::runs::{numbers, piece, piece_at};
use crate::support::*;

async fn member(server: &Server, version: Version, id: &str, qos: Qos) -> Client {
    let mut member = server.connect(connect(version, id).clean(true)).await;
    member.subscribe("$share/g/a", qos).await;
    member
}

fn sorted(mut payloads: Vec<String>) -> Vec<String> {
    payloads.sort();
    payloads
}

versions!(a_run_is_parted_evenly_among_members_of_each_version: V3_1, V3_1_1, V5);
// (4.8.2) In turn: a run of ninety leaves as many with each of three, whatever they speak; each message is taken once.
// [MQTT-4.3.2-4] [MQTT-4.3.3-8]
async fn a_run_is_parted_evenly_among_members_of_each_version(version: Version) {
    for qos in [QOS1, QOS2] {
        let server = Server::start().await;
        let mut members = Vec::new();
        for (id, version) in [("m0", Version::V3_1), ("m1", Version::V3_1_1), ("m2", Version::V5)] {
            members.push(member(&server, version, id, QOS2).await);
        }
        let mut beside = server.connect(connect(Version::V5, "beside").clean(true)).await;
        beside.subscribe("#", qos).await;
        let mut from = server.connect(connect(version, "from").clean(true)).await;
        let payloads = numbers(0, 90);
        let bytes = piece_at(&from, qos, "a", 1, &payloads);
        from.send_bytes(&bytes).await;
        for id in 1..=90 {
            from.expect_acceptance(qos, id).await;
        }
        let mut all = Vec::new();
        for member in &mut members {
            let taken = member.take_messages_for(SILENCE).await;
            assert_eq!(taken.len(), 30, "{qos:?}");
            all.extend(taken);
        }
        assert_eq!(sorted(all), sorted(payloads.clone()), "{qos:?}");
        assert_eq!(beside.take_messages(90).await, payloads, "{qos:?}");
    }
}

versions!(a_member_gets_of_a_run_what_its_quota_allows: V5);
// [MQTT-4.9.0-2] [MQTT-3.3.4-9] Members without quota are passed over, and what nobody can take waits.
async fn a_member_gets_of_a_run_what_its_quota_allows(version: Version) {
    let server = Server::start().await;
    let mut members = Vec::new();
    for (id, maximum) in [("m0", 3), ("m1", 20)] {
        let packet = connect(version, id).clean(true).receive_maximum(maximum);
        let mut member = server.connect(packet).await;
        member.subscribe("$share/g/a", QOS1).await;
        members.push(member);
    }
    let mut from = server.connect(connect(version, "from").clean(true)).await;
    let payloads = numbers(0, 40);
    let bytes = piece(&from, "a", 1, &payloads);
    from.send_bytes(&bytes).await;
    for id in 1..=40 {
        from.expect(puback(id)).await;
    }
    let mut held: Vec<Vec<Publish>> = Vec::new();
    for (member, maximum) in members.iter_mut().zip([3, 20]) {
        let mut taken = Vec::new();
        for packet in member.receive_some(maximum).await {
            let Packet::Publish(message) = packet else { panic!("{packet:?}") };
            taken.push(message);
        }
        member.expect_nothing().await;
        held.push(taken);
    }
    let mut all: Vec<String> =
        held.iter().flatten().map(|message| text(&message.payload)).collect();
    for (member, taken) in members.iter_mut().zip(&held) {
        for message in taken {
            member.send(puback(message.id_number())).await;
        }
    }
    for member in &mut members {
        all.extend(member.take_messages_for(SILENCE).await);
    }
    assert_eq!(sorted(all), sorted(payloads));
}

versions!(what_a_member_leaves_of_a_run_goes_to_another: V5);
// [MQTT-4.8.2-4] Sent and not acknowledged, or not sent at all: to another, as new messages.
async fn what_a_member_leaves_of_a_run_goes_to_another(version: Version) {
    let server = Server::start().await;
    let packet = connect(version, "leaving").clean(true).receive_maximum(10);
    let mut leaving = server.connect(packet).await;
    leaving.subscribe("$share/g/a", QOS1).await;
    let mut from = server.connect(connect(version, "from").clean(true)).await;
    let payloads = numbers(0, 25);
    let bytes = piece(&from, "a", 1, &payloads);
    from.send_bytes(&bytes).await;
    for id in 1..=25 {
        from.expect(puback(id)).await;
    }
    let mut ids = Vec::new();
    for payload in &payloads[..10] {
        ids.push(leaving.expect_message(publish("a", payload.clone()).qos(QOS1)).await);
    }
    // The first two in their order, then one out of it.
    for id in [ids[0], ids[1], ids[5]] {
        leaving.send(puback(id)).await;
    }
    let taken = [0, 1, 5].map(|place: usize| payloads[place].clone());
    for payload in &payloads[10..13] {
        leaving.expect_message(publish("a", payload.clone()).qos(QOS1)).await;
    }
    let mut staying = member(&server, version, "staying", QOS1).await;
    let mut received = staying.take_messages(12).await;
    assert_eq!(received, payloads[13..]);
    server.lose(leaving).await;
    while let Some(packet) = staying.receive_within(SILENCE).await {
        let Packet::Publish(message) = packet else { panic!("{packet:?}") };
        assert!(!message.dup, "{message:?}");
        staying.acknowledge(&message).await;
        received.push(text(&message.payload));
    }
    let expected = payloads.into_iter().filter(|payload| !taken.contains(payload)).collect();
    assert_eq!(sorted(received), sorted(expected));
}

versions!(begun_qos_2_of_a_run_stays_with_its_member: V3_1_1, V5);
// [MQTT-4.8.2-5] What was sent at QoS 2 goes to no other member, in whatever state it is.
async fn begun_qos_2_of_a_run_stays_with_its_member(version: Version) {
    let server = Server::start().await;
    let mut leaving = member(&server, version, "leaving", QOS2).await;
    let mut from = server.connect(connect(version, "from").clean(true)).await;
    let payloads = numbers(0, 4);
    let bytes = piece_at(&from, QOS2, "a", 1, &payloads);
    from.send_bytes(&bytes).await;
    for id in 1..=4 {
        from.expect(pubrec(id)).await;
    }
    let mut ids = Vec::new();
    for payload in &payloads {
        ids.push(leaving.expect_message(publish("a", payload.clone()).qos(QOS2)).await);
    }
    leaving.send(pubrec(ids[0])).await;
    leaving.expect(pubrel(ids[0])).await;
    let mut staying = member(&server, version, "staying", QOS2).await;
    server.lose(leaving).await;
    staying.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.8.2-3] [MQTT-3.8.4-8] Subscription Identifiers, the granted QoS and the Maximum Packet Size are each member's own.
async fn members_get_their_part_of_a_run_in_the_form_that_is_theirs() {
    let server = Server::start().await;
    let mut named = server.connect(connect(Version::V5, "named").clean(true)).await;
    named.subscribe_as(Some(7), "$share/g/a", options(QOS1)).await;
    let mut lower = member(&server, Version::V5, "lower", QOS0).await;
    let mut plain = member(&server, Version::V3_1_1, "plain", QOS1).await;
    let small = connect(Version::V5, "small").clean(true).packet_size_max(100);
    let mut small = server.connect(small).await;
    small.subscribe("$share/g/a", QOS1).await;
    let mut inside =
        server.broker.subscribe("$share/g/a", SubscribeOptions::default()).await.expect("a member");

    let mut from = server.connect(connect(Version::V3_1_1, "from").clean(true)).await;
    let payloads: Vec<String> = (0..9).map(|number| number.to_string()).collect();
    let mut bytes = piece(&from, "a", 1, &payloads);
    let large = "x".repeat(100);
    bytes.extend(from.encoded(publish("a", large.clone()).qos(QOS1).id(10)));
    from.send_bytes(&bytes).await;
    for id in 1..=10 {
        from.expect(puback(id)).await;
    }
    // Two for each, in the order of their coming.
    for payload in ["0", "1"] {
        let (message, ids) = named.receive_identified().await;
        assert_eq!((text(&message.payload), message.qos, ids), (payload.to_owned(), QOS1, vec![7]));
        named.acknowledge(&message).await;
    }
    for payload in ["2", "3"] {
        lower.expect(publish("a", payload)).await;
    }
    for payload in ["4", "5"] {
        plain.expect_and_acknowledge(publish("a", payload).qos(QOS1)).await;
    }
    for payload in ["6", "7"] {
        small.expect_and_acknowledge(publish("a", payload).qos(QOS1)).await;
    }
    let mut taken = Vec::new();
    for _ in 0..2 {
        let received = within("a message", inside.next()).await.expect("the stream goes on");
        taken.push(text(&received.message.payload));
    }
    assert_eq!(taken, ["8".to_owned(), large]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) [MQTT-4.8.2-4] Through members that come and go: each message is taken at least once.
async fn no_message_of_a_run_is_lost_while_members_come_and_go() {
    const PIECES: u32 = 60;
    const PIECE: u32 = 25;
    let server = Server::start().await;
    let mut stable = member(&server, Version::V5, "stable", QOS1).await;
    let mut from = server.connect(connect(Version::V5, "from").clean(true)).await;
    let publishing = tokio::spawn(async move {
        for number in 0..PIECES {
            let payloads = numbers(number * PIECE, (number + 1) * PIECE);
            let bytes = piece(&from, "a", 1, &payloads);
            from.send_bytes(&bytes).await;
            for id in (1..).take(PIECE as usize) {
                from.expect(puback(id)).await;
            }
        }
    });
    let mut seen = BTreeSet::new();
    for round in 0..10 {
        let version = [Version::V3_1_1, Version::V5][round % 2];
        let mut guest = member(&server, version, &format!("guest{round}"), QOS1).await;
        // Takes some, acknowledges them in their order but for every seventh, and is lost with the rest.
        for turn in 0..40 {
            let Some(Packet::Publish(message)) = guest.receive_within(SILENCE).await else {
                break;
            };
            if turn % 7 != round % 7 {
                guest.send(puback(message.id_number())).await;
                seen.insert(text(&message.payload));
            }
        }
        drop(guest);
        seen.extend(stable.take_messages_for(Duration::from_millis(20)).await);
    }
    within("the publisher", publishing).await.expect("it publishes all");
    let expected: BTreeSet<String> = numbers(0, PIECES * PIECE).into_iter().collect();
    while seen.len() < expected.len() {
        let Some(Packet::Publish(message)) = stable.receive_within(PATIENCE).await else {
            break;
        };
        stable.acknowledge(&message).await;
        seen.insert(text(&message.payload));
    }
    assert_eq!(seen, expected);
}

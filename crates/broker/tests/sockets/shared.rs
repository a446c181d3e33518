//! Shared Subscriptions: one member of the group gets each message, and none is lost when a member leaves.

use futures_util::future::join_all;

use crate::support::*;

/// Members `m0`, `m1`, ... of group `g` on `a`.
async fn members(server: &Server, count: usize, qos: Qos) -> Vec<Client> {
    let mut members = Vec::new();
    for number in 0..count {
        let id = format!("m{number}");
        let mut member = server.connect(connect(Version::V5, &id).kept()).await;
        member.subscribe("$share/g/a", qos).await;
        members.push(member);
    }
    members
}

async fn publish_numbers(server: &Server, count: usize, qos: Qos) {
    for number in 0..count {
        server.publish(publish("a", number.to_string()).qos(qos)).await;
    }
}

/// Payloads of `count` messages taken and acknowledged by any of `members`, sorted.
async fn drain(members: &mut [Client], count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    for member in members {
        for message in member.take_messages_for(SILENCE).await {
            payloads.push(message);
        }
    }
    assert_eq!(payloads.len(), count, "{payloads:?}");
    payloads.sort();
    payloads
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) Each message goes to one member, in turn.
async fn members_take_turns() {
    for qos in [QOS0, QOS1, QOS2] {
        let server = Server::start().await;
        let mut members = members(&server, 3, qos).await;
        publish_numbers(&server, 9, qos).await;
        let mut all = Vec::new();
        for member in &mut members {
            let taken = member.take_messages_for(SILENCE).await;
            assert_eq!(taken.len(), 3, "{qos:?}: {taken:?}");
            all.extend(taken);
        }
        all.sort();
        assert_eq!(all, numbers(9), "{qos:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) Clients of 3.x may be members too.
async fn members_may_speak_any_version() {
    let server = Server::start().await;
    let mut members = Vec::new();
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut member = server.connect(connect(version, &format!("m{version:?}"))).await;
        member.subscribe("$share/g/a/+", QOS1).await;
        members.push(member);
    }
    for number in 0..9 {
        server.publish(publish("a/b", number.to_string()).qos(QOS1)).await;
    }
    let mut all = Vec::new();
    for member in &mut members {
        let taken = member.take_messages_for(SILENCE).await;
        assert_eq!(taken.len(), 3, "{taken:?}");
        all.extend(taken);
        member.unsubscribe("$share/g/a/+").await;
    }
    all.sort();
    assert_eq!(all, numbers(9));
    assert_eq!(server.metrics().subscriptions_shared, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) Groups are independent of one another, and of ordinary subscriptions.
async fn every_group_gets_its_own_copy() {
    let server = Server::start().await;
    let mut plain = server.connect(connect(Version::V5, "plain")).await;
    plain.subscribe("a", QOS0).await;
    let mut one = server.connect(connect(Version::V5, "one")).await;
    one.subscribe("$share/g/a", QOS0).await;
    let mut two = server.connect(connect(Version::V5, "two")).await;
    two.subscribe("$share/h/a", QOS0).await;
    // The same group name on another filter is another group.
    let mut three = server.connect(connect(Version::V5, "three")).await;
    three.subscribe("$share/g/+", QOS0).await;
    for payload in ["1", "2"] {
        server.publish(publish("a", payload)).await;
        for client in [&mut plain, &mut one, &mut two, &mut three] {
            client.expect(publish("a", payload)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.8.2-3]
async fn a_member_gets_at_most_its_granted_qos() {
    let server = Server::start().await;
    for granted in [QOS0, QOS1, QOS2] {
        let mut member = server.connect(connect(Version::V5, "m")).await;
        member.subscribe("$share/g/a", granted).await;
        for published in [QOS0, QOS1, QOS2] {
            server.publish(publish("a", "x").qos(published)).await;
            let received = published.min(granted);
            member.expect_and_acknowledge(publish("a", "x").qos(received)).await;
        }
        server.lose(member).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.9.0-2] (4.8.2) A member without quota is passed over.
async fn a_member_without_quota_is_passed_over() {
    let server = Server::start().await;
    let mut busy = server.connect(connect(Version::V5, "busy").receive_maximum(1)).await;
    busy.subscribe("$share/g/a", QOS1).await;
    let mut free = server.connect(connect(Version::V5, "free")).await;
    free.subscribe("$share/g/a", QOS1).await;
    publish_numbers(&server, 7, QOS1).await;
    let mut payloads = free.take_messages_for(SILENCE).await;
    assert_eq!(payloads.len(), 6);
    let Packet::Publish(first) = busy.receive().await else {
        panic!("the busy member gets one message");
    };
    busy.expect_nothing().await;
    payloads.push(text(&first.payload));
    payloads.sort();
    assert_eq!(payloads, numbers(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.9.0-2] The group waits for an acknowledgement, and loses nothing.
async fn messages_wait_while_no_member_has_quota() {
    let server = Server::start().await;
    let mut only = server.connect(connect(Version::V5, "only").receive_maximum(1)).await;
    only.subscribe("$share/g/a", QOS1).await;
    publish_numbers(&server, 4, QOS1).await;
    let first = only.expect_message(publish("a", "0").qos(QOS1)).await;
    only.expect_nothing().await;

    // A member that joins takes what waits.
    let mut other = server.connect(connect(Version::V5, "other").receive_maximum(1)).await;
    other.subscribe("$share/g/a", QOS1).await;
    other.expect_message(publish("a", "1").qos(QOS1)).await;
    other.expect_nothing().await;
    only.send(puback(first)).await;
    only.expect_message(publish("a", "2").qos(QOS1)).await;
    only.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) Unsent QoS 1 and 2 and unacknowledged QoS 1 go to another member, as new messages: DUP 0.
async fn what_a_leaving_member_left_goes_to_another() {
    let ways = [Leave::Lost, Leave::Disconnected, Leave::SessionEnded, Leave::LostForGood];
    let cases = ways.into_iter().flat_map(|leave| [QOS1, QOS2].map(|qos| (leave, qos)));
    join_all(cases.map(|(leave, qos)| check_leaving(leave, qos))).await;
}

async fn check_leaving(leave: Leave, qos: Qos) {
    let server = Server::start().await;
    let mut staying = server.connect(connect(Version::V5, "staying").receive_maximum(1)).await;
    staying.subscribe("$share/g/a", QOS2).await;
    server.publish(publish("a", "first").qos(QOS1)).await;
    let first = staying.expect_message(publish("a", "first").qos(QOS1)).await;

    // Two of the six go to the member that will leave, the others wait: `staying` has no quota.
    let packet = connect(Version::V5, "leaving").receive_maximum(2);
    let packet = if leave == Leave::LostForGood { packet } else { packet.kept() };
    let mut leaving = server.connect(packet).await;
    leaving.subscribe("$share/g/a", QOS2).await;
    publish_numbers(&server, 6, qos).await;
    for number in 0..2 {
        leaving.expect_message(publish("a", number.to_string()).qos(qos)).await;
    }
    leaving.expect_nothing().await;
    leave.act(&server, leaving).await;
    staying.expect_nothing().await;
    staying.send(puback(first)).await;

    // Begun QoS 2 stays with its member. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
    let expected: Vec<_> = if qos == QOS2 { (2..6).collect() } else { (0..6).collect() };
    let mut received = Vec::new();
    while let Some(packet) = staying.receive_within(SILENCE).await {
        let Packet::Publish(message) = packet else {
            panic!("{leave:?} {qos:?}: {packet:?}");
        };
        assert!(!message.dup, "{leave:?} {qos:?}: {message:?}");
        staying.acknowledge(&message).await;
        received.push(text(&message.payload).parse::<usize>().expect("a number"));
    }
    received.sort_unstable();
    assert_eq!(received, expected, "{leave:?} {qos:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) At once, where another member has quota.
async fn what_a_leaving_member_left_goes_at_once_to_who_has_quota() {
    for leave in [Leave::Lost, Leave::Disconnected, Leave::SessionEnded, Leave::LostForGood] {
        let server = Server::start().await;
        let packet = connect(Version::V5, "leaving");
        let packet = if leave == Leave::LostForGood { packet } else { packet.kept() };
        let mut leaving = server.connect(packet).await;
        leaving.subscribe("$share/g/a", QOS1).await;
        publish_numbers(&server, 4, QOS1).await;
        for number in 0..4 {
            leaving.expect_message(publish("a", number.to_string()).qos(QOS1)).await;
        }
        let mut staying = server.connect(connect(Version::V5, "staying")).await;
        staying.subscribe("$share/g/a", QOS1).await;
        leave.act(&server, leaving).await;
        let mut received = staying.take_messages_for(SILENCE).await;
        received.sort();
        assert_eq!(received, numbers(4), "{leave:?}");
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Leave {
    /// The connection breaks; the session stays.
    Lost,
    /// DISCONNECT; the session stays.
    Disconnected,
    /// DISCONNECT that ends the session.
    SessionEnded,
    /// The connection breaks, and the session ends with it.
    LostForGood,
}

impl Leave {
    async fn act(self, server: &Server, client: Client) {
        match self {
            Self::Lost | Self::LostForGood => server.lose(client).await,
            Self::Disconnected => server.disconnect(client).await,
            Self::SessionEnded => client.end_session().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.10.4-3] Begun deliveries are completed with who unsubscribed; what waits goes to the others.
async fn unsubscribing_leaves_begun_messages_with_their_member() {
    let server = Server::start().await;
    let mut leaving = server.connect(connect(Version::V5, "leaving").receive_maximum(1)).await;
    leaving.subscribe("$share/g/a", QOS1).await;
    server.publish(publish("a", "0").qos(QOS1)).await;
    let begun = leaving.expect_message(publish("a", "0").qos(QOS1)).await;
    let mut staying = server.connect(connect(Version::V5, "staying").receive_maximum(1)).await;
    staying.subscribe("$share/g/a", QOS1).await;
    for number in 1..4 {
        server.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let first = staying.expect_message(publish("a", "1").qos(QOS1)).await;
    leaving.unsubscribe("$share/g/a").await;
    leaving.send(puback(begun)).await;
    leaving.expect_nothing().await;
    staying.send(puback(first)).await;
    assert_eq!(staying.take_messages_for(SILENCE).await, ["2", "3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.8.2-4] [MQTT-4.8.2-5]
async fn begun_qos_2_goes_to_no_other_member() {
    let server = Server::start().await;
    let begin = connect(Version::V5, "m0").kept();
    let mut member = server.connect(begin.clone()).await;
    member.subscribe("$share/g/a", QOS2).await;
    server.publish(publish("a", "x").qos(QOS2)).await;
    let id = member.expect_message(publish("a", "x").qos(QOS2)).await;
    let mut other = server.connect(connect(Version::V5, "m1")).await;
    other.subscribe("$share/g/a", QOS2).await;
    server.lose(member).await;
    other.expect_nothing().await;

    // It is completed with the member that began it.
    let mut member = server.connect(begin.clone()).await;
    member.expect(publish("a", "x").qos(QOS2).id(id).dup()).await;
    member.send(pubrec(id)).await;
    member.expect(pubrel(id)).await;
    server.lose(member).await;
    other.expect_nothing().await;
    let mut member = server.connect(begin).await;
    member.expect(pubrel(id)).await;
    // And with nobody if that session ends.
    member.end_session().await;
    other.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.8.2-5]
async fn unacknowledged_qos_2_ends_with_its_session() {
    let server = Server::start().await;
    let mut member = server.connect(connect(Version::V5, "m0")).await;
    member.subscribe("$share/g/a", QOS2).await;
    server.publish(publish("a", "x").qos(QOS2)).await;
    member.expect_message(publish("a", "x").qos(QOS2)).await;
    let mut other = server.connect(connect(Version::V5, "m1")).await;
    other.subscribe("$share/g/a", QOS2).await;
    server.lose(member).await;
    other.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.8.2-6]
async fn a_negative_answer_ends_the_message_for_the_group() {
    let server = Server::start().await;
    let mut members = members(&server, 2, QOS2).await;
    for qos in [QOS1, QOS2] {
        server.publish(publish("a", "refused").qos(qos)).await;
        let (who, id) = {
            let [one, two] = members.as_mut_slice() else { unreachable!("two members") };
            first_of(one, two).await
        };
        let answer = match qos {
            QOS1 => puback(id).code(ReasonCode::NotAuthorized),
            _ => pubrec(id).code(ReasonCode::NotAuthorized),
        };
        members[who].send(answer).await;
        for member in &mut members {
            member.expect_nothing().await;
        }
    }
    for member in members {
        server.lose(member).await;
    }
    // Nor does it come back at resume.
    for id in ["m0", "m1"] {
        let mut member = server.connect(connect(Version::V5, id).kept()).await;
        member.assert_session_present(true);
        member.expect_nothing().await;
    }
}

/// Who of the two got the next message, and its packet identifier.
async fn first_of(one: &mut Client, two: &mut Client) -> (usize, u16) {
    let (who, packet) = tokio::select! {
        packet = one.receive() => (0, packet),
        packet = two.receive() => (1, packet),
    };
    let Packet::Publish(message) = packet else {
        panic!("{packet:?} is no PUBLISH");
    };
    (who, message.id_number())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) A group of clients that are all away keeps QoS 1 and 2 for whoever comes first.
async fn a_group_of_absent_members_keeps_its_messages() {
    let server = Server::start().await;
    for member in members(&server, 2, QOS2).await {
        server.lose(member).await;
    }
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    for (payload, qos) in [("0", QOS1), ("1", QOS2), ("lost", QOS0), ("2", QOS1)] {
        publisher.publish(publish("a", payload).qos(qos)).await;
    }
    let mut back = server.connect(connect(Version::V5, "m1").kept()).await;
    back.assert_session_present(true);
    assert_eq!(drain(std::slice::from_mut(&mut back), 3).await, numbers(3));
    let mut other = server.connect(connect(Version::V5, "m0").kept()).await;
    other.assert_session_present(true);
    other.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) A member that is away does not get what one that is there can take.
async fn members_that_are_there_are_preferred() {
    let server = Server::start().await;
    let mut all = members(&server, 3, QOS1).await;
    server.lose(all.remove(0)).await;
    publish_numbers(&server, 8, QOS1).await;
    assert_eq!(drain(&mut all, 8).await, numbers(8));
    let mut back = server.connect(connect(Version::V5, "m0").kept()).await;
    back.assert_session_present(true);
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) QoS 0 goes to members that are there, or to nobody.
async fn qos_0_is_not_kept_for_an_absent_group() {
    let server = Server::start().await;
    let only = members(&server, 1, QOS1).await.remove(0);
    server.lose(only).await;
    server.publish(publish("a", "lost")).await;
    let mut back = server.connect(connect(Version::V5, "m0").kept()).await;
    back.assert_session_present(true);
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.10.4-2] (4.8.2) The rest of the group goes on.
async fn the_group_goes_on_without_a_member_that_unsubscribed() {
    let server = Server::start().await;
    let mut members = members(&server, 2, QOS1).await;
    members[0].unsubscribe("$share/g/a").await;
    publish_numbers(&server, 4, QOS1).await;
    members[0].expect_nothing().await;
    assert_eq!(drain(&mut members[1..], 4).await, numbers(4));
    members[1].unsubscribe("$share/g/a").await;
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    publisher.send(publish("a", "x").qos(QOS1).id(1)).await;
    publisher.expect(puback(1).code(ReasonCode::NoMatchingSubscribers)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-4.7.1-1] [MQTT-4.7.2-1] Wildcards work in a shared filter as in any other.
async fn a_shared_filter_may_hold_wildcards() {
    let server = Server::start().await;
    let mut member = server.connect(connect(Version::V5, "m")).await;
    member.subscribe("$share/g/#", QOS0).await;
    server.publish(publish("$other/x", "not matched")).await;
    server.publish(publish("x/y/z", "matched")).await;
    member.expect(publish("x/y/z", "matched")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) Many messages through many members that come and go: each is taken at least once.
async fn no_message_is_lost_while_members_come_and_go() {
    const MESSAGES: usize = 300;
    let server = Server::start().await;
    let mut stable = server.connect(connect(Version::V5, "stable")).await;
    stable.subscribe("$share/g/a", QOS1).await;
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    let publishing = tokio::spawn(async move {
        for number in 0..MESSAGES {
            publisher.publish(publish("a", number.to_string()).qos(QOS1)).await;
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..10 {
        let mut guest = server.connect(connect(Version::V5, &format!("guest{round}"))).await;
        guest.subscribe("$share/g/a", QOS1).await;
        // Takes some, acknowledges every other, and is lost with the rest.
        for turn in 0..10 {
            let Some(Packet::Publish(message)) = guest.receive_within(SILENCE).await else {
                break;
            };
            if turn % 2 == 0 {
                guest.send(puback(message.id_number())).await;
                seen.insert(text(&message.payload));
            }
        }
        drop(guest);
        seen.extend(stable.take_messages_for(std::time::Duration::from_millis(30)).await);
    }
    within("the publisher", publishing).await.expect("it publishes all");
    while seen.len() < MESSAGES {
        let Some(Packet::Publish(message)) = stable.receive_within(PATIENCE).await else {
            break;
        };
        stable.acknowledge(&message).await;
        seen.insert(text(&message.payload));
    }
    let mut expected = numbers(MESSAGES);
    expected.sort();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

//! Many PUBLISHes of QoS 1 in one piece: they pass as runs, and nobody can tell.

use crate::support::*;

/// PUBLISHes of QoS 1 in one piece, with Packet Identifiers from `first` on.
pub(crate) fn piece(client: &Client, topic: &str, first: u16, payloads: &[String]) -> Vec<u8> {
    piece_at(client, QOS1, topic, first, payloads)
}

pub(crate) fn piece_at(
    client: &Client,
    qos: Qos,
    topic: &str,
    first: u16,
    payloads: &[String],
) -> Vec<u8> {
    let packet = |(id, payload): (u16, &String)| {
        client.encoded(publish(topic, payload.clone()).qos(qos).id(id))
    };
    (first..).zip(payloads).flat_map(packet).collect()
}

pub(crate) fn numbers(from: u32, to: u32) -> Vec<String> {
    // Of different lengths.
    (from..to).map(|number| format!("{number}{}", "x".repeat((number % 7) as usize))).collect()
}

versions!(a_run_reaches_clients_of_each_version_in_order: V3_1, V3_1_1, V5);
// [MQTT-4.6.0-6] [MQTT-4.6.0-2] [MQTT-4.3.2-1] [MQTT-4.3.2-4] [MQTT-2.2.1-3] [MQTT-4.6.0-6 @3.1.1]
async fn a_run_reaches_clients_of_each_version_in_order(version: Version) {
    let server = Server::start().await;
    let mut old = server.connect(connect(Version::V3_1_1, "old").clean(true)).await;
    let mut new = server.connect(connect(Version::V5, "new").clean(true)).await;
    old.subscribe("a/+", QOS1).await;
    new.subscribe("a/b", QOS2).await;
    let mut from = server.connect(connect(version, "from").clean(true)).await;
    let payloads = numbers(0, 300);
    let bytes = piece(&from, "a/b", 1, &payloads);
    from.send_bytes(&bytes).await;
    for id in 1..=300 {
        from.expect(puback(id)).await;
    }
    for client in [&mut old, &mut new] {
        let mut ids = Vec::new();
        for payload in &payloads {
            ids.push(client.expect_message(publish("a/b", payload.clone()).qos(QOS1)).await);
        }
        let expected: Vec<u16> = (ids[0]..ids[0] + 300).collect();
        assert_eq!(ids, expected);
        // The even ones first, then the odd ones from the last to the first.
        for id in ids.iter().filter(|id| **id % 2 == 0) {
            client.send(puback(*id)).await;
        }
        for id in ids.iter().rev().filter(|id| **id % 2 == 1) {
            client.send(puback(*id)).await;
        }
        client.ping().await;
    }
    // All are acknowledged: there is room for as many again.
    let bytes = piece(&from, "a/b", 1, &payloads);
    from.send_bytes(&bytes).await;
    for payload in &payloads {
        old.expect_and_acknowledge(publish("a/b", payload.clone()).qos(QOS1)).await;
        new.expect_and_acknowledge(publish("a/b", payload.clone()).qos(QOS1)).await;
    }
}

versions!(a_run_reaches_clients_at_the_qos_that_they_were_granted: V3_1, V3_1_1, V5);
// [MQTT-3.8.4-8] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.6.0-6] [MQTT-3.8.4-6 @3.1.1] Also if their sessions outlive their connections.
async fn a_run_reaches_clients_at_the_qos_that_they_were_granted(version: Version) {
    let server = Server::start().await;
    let mut clients = Vec::new();
    for (number, &to) in Version::ALL.iter().enumerate() {
        for granted in [QOS0, QOS1, QOS2] {
            let id = format!("{number}{granted:?}");
            let kept = granted == QOS0 && to.is_v5();
            let packet = connect(to, &id).clean(true);
            let mut client = server.connect(if kept { packet.kept() } else { packet }).await;
            client.subscribe("a/b", granted).await;
            clients.push((granted, client));
        }
    }
    let mut from = server.connect(connect(version, "from").clean(true)).await;
    for (qos, count) in [(QOS1, 1), (QOS1, 60), (QOS2, 60)] {
        let payloads = numbers(0, count);
        let bytes = piece_at(&from, qos, "a/b", 1, &payloads);
        from.send_bytes(&bytes).await;
        for id in (1..).take(payloads.len()) {
            from.expect_acceptance(qos, id).await;
        }
        for id in (1..).take(payloads.len()).filter(|_| qos == QOS2) {
            from.release(id).await;
        }
        for (granted, client) in &mut clients {
            let qos = qos.min(*granted);
            let mut ids = Vec::new();
            for payload in &payloads {
                let expected = publish("a/b", payload.clone()).qos(qos);
                if qos == QOS0 {
                    client.expect(expected).await;
                } else {
                    ids.push(client.expect_message(expected).await);
                }
            }
            for id in ids {
                if qos == QOS1 {
                    client.send(puback(id)).await;
                } else {
                    client.complete(id).await;
                }
            }
            client.ping().await;
        }
    }
}

versions!(a_run_keeps_its_place_among_other_messages: V3_1_1, V5);
// [MQTT-4.6.0-6] [MQTT-3.8.4-8] [MQTT-4.6.0-6 @3.1.1]
async fn a_run_keeps_its_place_among_other_messages(version: Version) {
    let server = Server::start().await;
    let mut to = server.connect(connect(version, "to").clean(true)).await;
    to.subscribe("a", QOS2).await;
    let mut from = server.connect(connect(version, "from").clean(true)).await;
    let mut bytes = piece(&from, "a", 1, &numbers(0, 3));
    bytes.extend(from.encoded(publish("a", "two").qos(QOS2).id(4)));
    bytes.extend(from.encoded(publish("a", "dup").qos(QOS1).id(5).dup()));
    bytes.extend(piece(&from, "a", 6, &numbers(3, 6)));
    bytes.extend(from.encoded(publish("a", "large".repeat(2_000)).qos(QOS1).id(9)));
    bytes.extend(piece(&from, "a", 10, &numbers(6, 8)));
    from.send_bytes(&bytes).await;
    let mut ids = Vec::new();
    for payload in numbers(0, 3) {
        ids.push(to.expect_message(publish("a", payload).qos(QOS1)).await);
    }
    ids.push(to.expect_message(publish("a", "two").qos(QOS2)).await);
    ids.push(to.expect_message(publish("a", "dup").qos(QOS1)).await);
    for payload in numbers(3, 6) {
        ids.push(to.expect_message(publish("a", payload).qos(QOS1)).await);
    }
    ids.push(to.expect_message(publish("a", "large".repeat(2_000)).qos(QOS1)).await);
    for payload in numbers(6, 8) {
        ids.push(to.expect_message(publish("a", payload).qos(QOS1)).await);
    }
    for (place, id) in ids.into_iter().enumerate() {
        if place == 3 {
            to.complete(id).await;
        } else {
            to.send(puback(id)).await;
        }
    }
    to.ping().await;
}

versions!(a_run_beyond_a_clients_receive_maximum_waits: V5);
// [MQTT-3.3.4-9] [MQTT-4.9.0-2]
async fn a_run_beyond_a_clients_receive_maximum_waits(version: Version) {
    let server = Server::start().await;
    let mut to = server.connect(connect(version, "to").clean(true).receive_maximum(3)).await;
    to.subscribe("a", QOS1).await;
    let mut from = server.connect(connect(version, "from").clean(true)).await;
    let payloads = numbers(0, 20);
    let bytes = piece(&from, "a", 1, &payloads);
    from.send_bytes(&bytes).await;
    let mut ids = Vec::new();
    for payload in &payloads[..3] {
        ids.push(to.expect_message(publish("a", payload.clone()).qos(QOS1)).await);
    }
    to.expect_nothing().await;
    for payload in &payloads[3..] {
        to.send(puback(ids.remove(0))).await;
        ids.push(to.expect_message(publish("a", payload.clone()).qos(QOS1)).await);
    }
}

versions!(a_run_for_a_crowded_client_is_answered_when_it_catches_up: V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.6.0-2] Braked by the withheld PUBACK; all are answered in their order, and nothing is lost.
async fn a_run_for_a_crowded_client_is_answered_when_it_catches_up(version: Version) {
    let server = Server::with(|config| {
        config.limits.queue_messages_max = 800;
        config.limits.inflight_max = 10;
        config.limits.publisher_slow_max = std::time::Duration::from_secs(3_600);
    })
    .await;
    let mut to = server.connect(connect(Version::V5, "to").clean(true)).await;
    to.subscribe("a", QOS1).await;
    let mut from = server.connect(connect(version, "from").clean(true)).await;
    // An eighth of what may wait, and more than that.
    let (first, second) = (numbers(0, 150), numbers(150, 200));
    let bytes = piece(&from, "a", 1, &first);
    from.send_bytes(&bytes).await;
    for id in 1..=150 {
        from.expect(puback(id)).await;
    }
    let bytes = piece(&from, "a", 151, &second);
    from.send_bytes(&bytes).await;
    from.expect_nothing().await;
    for payload in first.iter().chain(&second) {
        to.expect_and_acknowledge(publish("a", payload.clone()).qos(QOS1)).await;
    }
    for id in 151..=200 {
        from.expect(puback(id)).await;
    }
}

versions!(a_run_of_qos_2_is_delivered_exactly_once: V3_1, V3_1_1, V5);
// [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [MQTT-4.3.3-1 @3.1.1] [MQTT-4.3.3-2 @3.1.1]
async fn a_run_of_qos_2_is_delivered_exactly_once(version: Version) {
    let server = Server::start().await;
    let mut old = server.connect(connect(Version::V3_1_1, "old").clean(true)).await;
    let mut new = server.connect(connect(Version::V5, "new").clean(true)).await;
    old.subscribe("a/b", QOS2).await;
    new.subscribe("a/+", QOS2).await;
    let mut from = server.connect(connect(version, "from").clean(true)).await;
    let payloads = numbers(0, 60);
    for _ in 0..2 {
        let bytes = piece_at(&from, QOS2, "a/b", 1, &payloads);
        from.send_bytes(&bytes).await;
        for id in 1..=60 {
            from.expect(pubrec(id)).await;
        }
        // They are repeated, and go to nobody.
        from.send_bytes(&bytes).await;
        for id in 1..=60 {
            from.expect(pubrec(id)).await;
        }
        for id in (1..=60).rev() {
            from.send(pubrel(id)).await;
        }
        for id in (1..=60).rev() {
            from.expect(pubcomp(id)).await;
        }
        for client in [&mut old, &mut new] {
            let mut ids = Vec::new();
            for payload in &payloads {
                ids.push(client.expect_message(publish("a/b", payload.clone()).qos(QOS2)).await);
            }
            client.expect_nothing().await;
            let bytes: Vec<u8> = ids.iter().flat_map(|id| client.encoded(pubrec(*id))).collect();
            client.send_bytes(&bytes).await;
            for id in &ids {
                client.expect(pubrel(*id)).await;
            }
            let bytes: Vec<u8> = ids.iter().flat_map(|id| client.encoded(pubcomp(*id))).collect();
            client.send_bytes(&bytes).await;
            client.ping().await;
        }
    }
}

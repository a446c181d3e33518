//! Delivery at QoS 0, 1 and 2, in both directions.

use crate::support::*;

// ---- The three flows ----

versions!(each_qos_has_its_own_answer: V3_1, V3_1_1, V5);
// [MQTT-2.2.1-2] [MQTT-4.3.3-1] [MQTT-4.3.3-3] [MQTT-2.3.1-5 @3.1.1] A PUBLISH of QoS 0 has no packet identifier, and no answer.
// [MQTT-3.3.4-1] [MQTT-2.2.1-5] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11] [MQTT-4.3.1-1]
// [MQTT-3.3.4-1 @3.1.1] [MQTT-2.3.1-6 @3.1.1] [MQTT-4.3.2-2 @3.1.1] [MQTT-4.3.3-2 @3.1.1] [MQTT-4.3.1-1 @3.1.1]
async fn each_qos_has_its_own_answer(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS2).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(publish("a", "0")).await;
    client.send(publish("a", "1").qos(QOS1).id(65_535)).await;
    client.expect(puback(65_535)).await;
    client.send(publish("a", "2").qos(QOS2).id(1)).await;
    client.expect(pubrec(1)).await;
    client.send(pubrel(1)).await;
    client.expect(pubcomp(1)).await;
    client.expect_nothing().await;

    watcher.expect(publish("a", "0")).await;
    let one = watcher.expect_message(publish("a", "1").qos(QOS1)).await;
    watcher.send(puback(one)).await;
    let two = watcher.expect_message(publish("a", "2").qos(QOS2)).await;
    watcher.send(pubrec(two)).await;
    watcher.expect(pubrel(two)).await;
    watcher.send(pubcomp(two)).await;
    watcher.expect_nothing().await;
}

versions!(acknowledgements_leave_in_the_order_of_the_publishes: V3_1, V3_1_1, V5);
// [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4] [MQTT-4.6.0-2 @3.1.1] [MQTT-4.6.0-3 @3.1.1]
async fn acknowledgements_leave_in_the_order_of_the_publishes(version: Version) {
    let server = Server::start().await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("durable", QOS2).await;
    let mut plain = server.connect(connect(version, "plain")).await;
    plain.subscribe("plain", QOS2).await;
    let mut client = server.connect(connect(version, "s")).await;
    // What goes to a durable session waits for the store; what follows it must not overtake.
    for (qos, first) in [(QOS1, 100), (QOS2, 200)] {
        let mut bytes = Vec::new();
        for id in first..first + 50 {
            let topic = if id % 3 == 0 { "durable" } else { "plain" };
            bytes.extend(client.encoded(publish(topic, "x").qos(qos).id(id)));
        }
        client.send_bytes(&bytes).await;
        for id in first..first + 50 {
            match qos {
                QOS1 => client.expect(puback(id)).await,
                _ => client.expect(pubrec(id)).await,
            }
        }
    }
}

versions!(pubrels_leave_in_the_order_of_the_pubrecs: V3_1, V3_1_1, V5);
// [MQTT-4.6.0-4] [MQTT-4.6.0-4 @3.1.1] Also those of a durable session, which wait for the store.
async fn pubrels_leave_in_the_order_of_the_pubrecs(version: Version) {
    let server = Server::start().await;
    for kept in [false, true] {
        let packet = connect(version, "s").clean(!kept);
        let mut client = server.connect(if kept { packet.kept() } else { packet }).await;
        client.subscribe("a", QOS2).await;
        let mut ids = Vec::new();
        for number in 0..20 {
            server.publish(publish("a", number.to_string()).qos(QOS2)).await;
            ids.push(client.expect_message(publish("a", number.to_string()).qos(QOS2)).await);
        }
        ids.swap(3, 17);
        let pubrecs: Vec<u8> = ids.iter().flat_map(|&id| client.encoded(pubrec(id))).collect();
        client.send_bytes(&pubrecs).await;
        for id in ids {
            client.expect(pubrel(id)).await;
        }
        server.lose(client).await;
    }
}

versions!(messages_keep_their_order: V3_1, V3_1_1, V5);
// [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT-4.6.0-5 @3.1.1] [MQTT-4.6.0-6 @3.1.1]
async fn messages_keep_their_order(version: Version) {
    const MESSAGES: usize = 500;
    let server = Server::start().await;
    for qos in [QOS0, QOS1, QOS2] {
        let id = format!("watcher{qos:?}");
        let mut watcher = server.connect(connect(version, &id)).await;
        watcher.subscribe("a", qos).await;
        let mut client = server.connect(connect(version, "s")).await;
        let publishing = tokio::spawn(async move {
            for number in 0..MESSAGES {
                client.publish(publish("a", number.to_string()).qos(qos)).await;
            }
        });
        let expected: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
        assert_eq!(watcher.take_messages(MESSAGES).await, expected, "{qos:?}");
        within("the publisher", publishing).await.expect("it publishes all");
        server.lose(watcher).await;
    }
}

versions!(packet_identifiers_run_through_all_values: V3_1_1);
// [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-2.3.1-4 @3.1.1] Past 65,535 they begin anew, without 0 and without one in flight.
async fn packet_identifiers_run_through_all_values(version: Version) {
    const MESSAGES: usize = 66_000;
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS1).await;
    let mut client = server.connect(connect(version, "s")).await;
    let publishing = tokio::spawn(async move {
        let message = publish("a", "x").qos(QOS1);
        for burst in 0..MESSAGES / 500 {
            let mut bytes = Vec::new();
            for number in 0..500 {
                let id = u16::try_from((burst * 500 + number) % 60_000 + 1).expect("below 65,536");
                bytes.extend(client.encoded(message.clone().id(id)));
            }
            client.send_bytes(&bytes).await;
            client.receive_some(500).await;
        }
    });
    let mut previous = 0_u16;
    for _ in 0..MESSAGES {
        let Packet::Publish(message) = watcher.receive().await else {
            panic!("only messages come");
        };
        let id = message.id_number();
        assert_ne!(id, previous);
        previous = id;
        watcher.send(puback(id)).await;
    }
    within("the publisher", publishing).await.expect("it publishes all");
}

versions!(one_message_may_not_stay_unacknowledged_for_ever: V5);
// [MQTT-2.2.1-4] [MQTT-2.3.1-4 @3.1.1] Identifiers follow the order of messages, so that nothing is written when one is sent. A
// client that leaves one unacknowledged until its identifier is due again is closed.
async fn one_message_may_not_stay_unacknowledged_for_ever(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS1).await;
    let mut client = server.connect(connect(version, "s")).await;
    let publishing = tokio::spawn(async move {
        for _ in 0..140 {
            let mut bytes = Vec::new();
            for id in 1..=500 {
                bytes.extend(client.encoded(publish("a", "x").qos(QOS1).id(id)));
            }
            client.send_bytes(&bytes).await;
            client.receive_some(500).await;
        }
    });
    let mut acknowledged = 0;
    let mut first = None;
    loop {
        match watcher.next_packet().await {
            Some(Packet::Publish(message)) => {
                let id = message.id_number();
                if *first.get_or_insert(id) == id {
                    continue;
                }
                acknowledged += 1;
                // The last ones may find the server gone already.
                let _ = watcher.try_send(puback(id)).await;
            }
            Some(Packet::Disconnect(disconnect)) => {
                assert_eq!(disconnect.reason_code, ReasonCode::QuotaExceeded);
            }
            None => break,
            Some(other) => panic!("{other:?}"),
        }
    }
    assert!((64_000..65_535).contains(&acknowledged), "{acknowledged}");
    within("the publisher", publishing).await.expect("it publishes all");
}

// ---- Identifiers that come again ----

versions!(an_identifier_is_free_after_puback: V3_1, V3_1_1, V5);
// [MQTT-4.3.2-5] [MQTT-4.3.2-2 @3.1.1] Even with DUP 1 it is a new message.
async fn an_identifier_is_free_after_puback(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    let mut client = server.connect(connect(version, "s")).await;
    let plain = publish("a", "x").qos(QOS1).id(1);
    for packet in [plain.clone(), plain.clone(), plain.dup()] {
        client.send(packet).await;
        client.expect(puback(1)).await;
        watcher.expect(publish("a", "x")).await;
    }
}

versions!(dup_is_not_passed_on: V3_1, V3_1_1, V5);
// [MQTT-3.3.1-3] [MQTT-3.3.1-1] [MQTT-3.3.1-3 @3.1.1]
async fn dup_is_not_passed_on(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS2).await;
    let mut client = server.connect(connect(version, "s")).await;
    for qos in [QOS1, QOS2] {
        client.publish(publish("a", "x").qos(qos).dup()).await;
        watcher.expect_and_acknowledge(publish("a", "x").qos(qos)).await;
    }
}

versions!(a_repeated_qos_2_publish_is_delivered_once: V3_1, V3_1_1, V5);
// [MQTT-4.3.3-10] [MQTT-4.3.3-12] [MQTT-4.3.3-2 @3.1.1]
async fn a_repeated_qos_2_publish_is_delivered_once(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    let mut client = server.connect(connect(version, "s")).await;
    let message = publish("a", "x").qos(QOS2).id(7);
    client.send(message.clone()).await;
    client.expect(pubrec(7)).await;
    for _ in 0..3 {
        client.send(message.clone().dup()).await;
        client.expect(pubrec(7)).await;
    }
    watcher.expect(publish("a", "x")).await;
    watcher.expect_nothing().await;
    client.release(7).await;
    // Now the identifier is new again.
    client.send(message).await;
    client.expect(pubrec(7)).await;
    watcher.expect(publish("a", "x")).await;
}

versions!(an_inbound_qos_2_identifier_survives_a_reconnect: V3_1, V3_1_1, V5);
// [MQTT-4.3.3-10] [MQTT-4.1.0-1] [MQTT-4.3.3-2 @3.1.1] [MQTT-4.1.0-1 @3.1.1]
async fn an_inbound_qos_2_identifier_survives_a_reconnect(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    let message = publish("a", "x").qos(QOS2).id(7);
    client.send(message.clone()).await;
    client.expect(pubrec(7)).await;
    watcher.expect(publish("a", "x")).await;
    server.lose(client).await;

    let mut client = server.connect(connect(version, "s").kept()).await;
    client.assert_session_present(true);
    client.send(message.dup()).await;
    client.expect(pubrec(7)).await;
    watcher.expect_nothing().await;
    client.send(pubrel(7)).await;
    client.expect(pubcomp(7)).await;
    client.send(pubrel(7)).await;
    client.expect(pubcomp(7).code(ReasonCode::PacketIdentifierNotFound)).await;
}

versions!(an_inbound_qos_2_identifier_ends_with_its_session: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-4] [MQTT-3.1.2-6 @3.1.1]
async fn an_inbound_qos_2_identifier_ends_with_its_session(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    for clean in [false, true] {
        let mut client = server.connect(connect(version, "s").kept().clean(clean)).await;
        client.send(publish("a", "x").qos(QOS2).id(7)).await;
        client.expect(pubrec(7)).await;
        watcher.expect(publish("a", "x")).await;
        server.lose(client).await;
    }
}

versions!(an_identifier_in_use_is_refused: V5);
// [MQTT-2.2.1-3] A QoS 1 message cannot have the identifier of a QoS 2 message that was not released.
async fn an_identifier_in_use_is_refused(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("a", QOS0).await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(publish("a", "two").qos(QOS2).id(7)).await;
    client.expect(pubrec(7)).await;
    watcher.expect(publish("a", "two")).await;
    client.send(publish("a", "one").qos(QOS1).id(7)).await;
    client.expect(puback(7).code(ReasonCode::PacketIdentifierInUse)).await;
    watcher.expect_nothing().await;
    client.release(7).await;
    client.send(publish("a", "one").qos(QOS1).id(7)).await;
    client.expect(puback(7)).await;
    watcher.expect(publish("a", "one")).await;
}

versions!(an_identifier_in_process_is_refused: V5);
// [MQTT-2.2.1-3] While its PUBACK is withheld the identifier is in use.
async fn an_identifier_in_process_is_refused(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut durable = server.connect(connect(version, "durable").kept()).await;
    durable.subscribe("a", QOS1).await;
    let mut client = server.connect(connect(version, "s")).await;
    disk.faults().hold();
    client.send(publish("a", "one").qos(QOS1).id(7)).await;
    client.send(publish("a", "another").qos(QOS1).id(7)).await;
    client.expect_nothing().await;
    disk.faults().release();
    client.expect(puback(7)).await;
    client.expect(puback(7).code(ReasonCode::PacketIdentifierInUse)).await;
    durable.expect_and_acknowledge(publish("a", "one").qos(QOS1)).await;
    durable.expect_nothing().await;
}

versions!(a_repeat_of_a_message_in_process_is_answered_once: V3_1, V3_1_1, V5);
// [MQTT-2.3.1-2 @3.1.1] And not routed again. [MQTT-4.3.2-4]
async fn a_repeat_of_a_message_in_process_is_answered_once(version: Version) {
    let disk = MemoryStore::new();
    let server = Server::on(&disk).await;
    let mut durable = server.connect(connect(Version::V5, "durable").kept()).await;
    durable.subscribe("a", QOS2).await;
    let mut client = server.connect(connect(version, "s")).await;
    for (qos, answer) in [(QOS1, puback(7)), (QOS2, pubrec(7))] {
        disk.faults().hold();
        let message = publish("a", "x").qos(qos).id(7);
        client.send(message.clone()).await;
        client.send(message.clone().dup()).await;
        client.expect_nothing().await;
        disk.faults().release();
        client.expect(answer).await;
        client.expect_nothing().await;
        durable.expect_and_acknowledge(publish("a", "x").qos(qos)).await;
        durable.expect_nothing().await;
    }
}

versions!(answers_to_unknown_identifiers: V3_1, V3_1_1, V5);
// [MQTT-2.2.1-5] [MQTT-4.3.3-11] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-2.3.1-6 @3.1.1]
async fn answers_to_unknown_identifiers(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    let unknown = ReasonCode::PacketIdentifierNotFound;
    client.send(pubrel(5)).await;
    client.expect(pubcomp(5).code(unknown)).await;
    client.send(pubrec(6)).await;
    client.expect(pubrel(6).code(unknown)).await;
    if version == Version::V5 {
        // The answer to our PUBREL, and strays: nothing is left to say.
        client.send(pubcomp(6).code(unknown)).await;
        // An error in PUBREC ends what did not begin.
        client.send(pubrec(8).code(ReasonCode::UnspecifiedError)).await;
    }
    client.send(puback(7)).await;
    client.send(pubcomp(7)).await;
    client.ping().await;
}

versions!(nobody_matched_is_told: V3_1, V3_1_1, V5);
// [MQTT-3.4.2-1] [MQTT-3.5.2-1] 0x10; plain in 3.x.
async fn nobody_matched_is_told(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(publish("nobody", "x").qos(QOS1).id(1)).await;
    client.expect(puback(1).code(ReasonCode::NoMatchingSubscribers)).await;
    client.send(publish("nobody", "x").qos(QOS2).id(2)).await;
    client.expect(pubrec(2).code(ReasonCode::NoMatchingSubscribers)).await;
    client.send(pubrel(2)).await;
    client.expect(pubcomp(2)).await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("nobody", QOS0).await;
    client.send(publish("nobody", "x").qos(QOS1).id(3)).await;
    client.expect(puback(3)).await;
}

// ---- QoS 0 and absent clients ----

versions!(qos_0_for_an_absent_client_is_dropped: V3_1, V3_1_1, V5);
// [MQTT-4.5.0-1] [MQTT-3.1.2-5 @3.1.1] (4.1) QoS 0 is no part of what must be kept.
async fn qos_0_for_an_absent_client_is_dropped(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS1).await;
    server.lose(client).await;
    server.publish(publish("a", "dropped")).await;
    server.publish(publish("a", "kept").qos(QOS1)).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.expect_and_acknowledge(publish("a", "kept").qos(QOS1)).await;
    client.expect_nothing().await;
    assert_eq!(server.dropped(DropReason::Offline), 1);
}

versions!(qos_0_for_an_absent_client_is_queued_by_option: V3_1, V3_1_1, V5);
// [MQTT-3.1.2-5 @3.1.1] (4.1) It may be kept.
async fn qos_0_for_an_absent_client_is_queued_by_option(version: Version) {
    let server = Server::with(|config| config.limits.queue_qos0 = true).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.subscribe("a", QOS1).await;
    server.lose(client).await;
    server.publish(publish("a", "0")).await;
    server.publish(publish("a", "1").qos(QOS1)).await;
    let mut client = server.connect(connect(version, "s").kept()).await;
    client.expect_both_messages(publish("a", "0"), publish("a", "1").qos(QOS1)).await;
    assert_eq!(server.dropped(DropReason::Offline), 0);
}

// ---- Malformed ----

versions!(bad_flags_of_publish_end_the_connection: V3_1, V3_1_1, V5);
// [MQTT-3.3.1-4] [MQTT-3.3.1-2] [MQTT-3.3.1-4 @3.1.1] [MQTT-3.3.1-2 @3.1.1]
async fn bad_flags_of_publish_end_the_connection(version: Version) {
    let server = Server::start().await;
    let mut watcher = server.connect(connect(version, "watcher")).await;
    watcher.subscribe("#", QOS0).await;
    // QoS 3, with and without DUP; DUP with QoS 0.
    for first in [0x36, 0x3E, 0x38] {
        let mut client = server.connect(connect(version, "s")).await;
        let mut bytes = client.encoded(publish("a", "x").qos(QOS1).id(1));
        bytes[0] = first;
        client.send_bytes(&bytes).await;
        client.expect_end(ReasonCode::MalformedPacket).await;
    }
    watcher.expect_nothing().await;
}

versions!(flags_of_pubrel_are_fixed: V3_1_1, V5);
// [MQTT-3.6.1-1] [MQTT-3.6.1-1 @3.1.1]
async fn flags_of_pubrel_are_fixed(version: Version) {
    let server = Server::start().await;
    for first in [0x60, 0x6A] {
        let mut client = server.connect(connect(version, "s")).await;
        client.send_bytes(&[first, 2, 0, 1]).await;
        client.expect_end(ReasonCode::MalformedPacket).await;
    }
}

versions!(a_repeated_pubrel_of_3_1_has_dup: V3_1);
// [MQTT-3.1 s3.6]
async fn a_repeated_pubrel_of_3_1_has_dup(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.send(publish("a", "x").qos(QOS2).id(1)).await;
    client.expect(pubrec(1)).await;
    client.send_bytes(&[0x6A, 2, 0, 1]).await;
    client.expect(pubcomp(1)).await;
}

versions!(unlisted_reason_codes_of_acknowledgements_end_the_connection: V5);
// [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
async fn unlisted_reason_codes_of_acknowledgements_end_the_connection(version: Version) {
    let server = Server::start().await;
    for (first, code) in [(0x40, 0x92), (0x50, 0x04), (0x62, 0x10), (0x70, 0x80)] {
        let mut client = server.connect(connect(version, "s")).await;
        client.send_bytes(&[first, 3, 0, 1, code]).await;
        client.expect_end(ReasonCode::ProtocolError).await;
    }
}

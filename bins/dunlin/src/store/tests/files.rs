//! Files case by case: what they look like, and how a broken one is refused.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_codec::{
    ClientId, Message, MessageProperties, PacketId, Qos, SubscriptionId, SubscriptionOptions, Text,
    TopicName, UserProperties,
};
use dunlin_store::{
    Batch, Change, Failure, MemoryStore, MessageId, NamespaceNo, Publication, SessionKey,
    SessionNo, SessionRecord, Store, SubscriptionRecord, Target, UnixMillis, WillRecord,
};

use super::{exported, imported};
use crate::store::import::{ImportError, import};

/// A store with one of everything.
fn example() -> MemoryStore {
    let reader = SessionNo(4);
    let message = |payload: &'static [u8]| Message {
        topic: TopicName::new("plant/7/temperature").expect("a topic"),
        payload: Bytes::from_static(payload),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: None,
    };
    let properties = MessageProperties {
        payload_format_utf8: Some(true),
        message_expiry_interval: Some(60),
        response_topic: TopicName::new("plant/7/answers").ok(),
        correlation_data: Some(Bytes::from_static(&[0, 255])),
        content_type: Text::copy_from("text/plain").ok(),
        user_properties: UserProperties::from_pairs([("unit", "°C"), ("unit", "K")])
            .expect("short texts"),
    };
    let will = WillRecord { message: Arc::new(message(b"")), delay_secs: 30 };
    let publication = |seq: &[u64]| Publication {
        message: Arc::new(Message {
            properties: Some(Box::new(properties.clone())),
            ..message(b"21.5")
        }),
        published_at: UnixMillis(1_700_000_000_001),
        expires_at: Some(UnixMillis(1_700_000_060_001)),
        publisher: Some(SessionNo(2)),
        targets: seq
            .iter()
            .map(|&seq| Target {
                session: reader,
                seq,
                qos: Qos::AtLeastOnce,
                retain: false,
                subscription_ids: SubscriptionId::new(9).into_iter().collect(),
            })
            .collect(),
    };
    let mut batch = Batch::new(MessageId::FIRST);
    batch.push(Change::SessionOpened {
        session: SessionNo(2),
        namespace: NamespaceNo::DEFAULT,
        key: SessionKey::Client(ClientId::new("writer").expect("a client id")),
        record: SessionRecord {
            expiry_secs: SessionRecord::NEVER,
            will: Some(will),
            ..SessionRecord::default()
        },
    });
    batch.push(Change::InboundStored {
        session: SessionNo(2),
        packet_id: PacketId::new(17).expect("above 0"),
    });
    batch.push(Change::SessionOpened {
        session: reader,
        namespace: NamespaceNo::DEFAULT,
        key: SessionKey::Client(ClientId::new("reader").expect("a client id")),
        record: SessionRecord {
            expiry_secs: 3_600,
            owner: "anna".into(),
            will: None,
            disconnected_at: Some(UnixMillis(1_700_000_000_000)),
        },
    });
    batch.push(Change::Subscribed {
        session: reader,
        filter: Text::copy_from("plant/#").expect("text"),
        record: SubscriptionRecord {
            options: SubscriptionOptions::from_bits(0b0010_1001).expect("options"),
            subscription_id: SubscriptionId::new(9),
        },
    });
    (1..=5).for_each(|seq| {
        batch.publish(publication(&[seq]));
    });
    batch.push(Change::Acknowledged { session: reader, first: 1, last: 2 });
    batch.push(Change::Acknowledged { session: reader, first: 4, last: 4 });
    batch.push(Change::OutboundReleased { session: reader, seq: 3 });
    batch.push(Change::Retained {
        namespace: NamespaceNo::DEFAULT,
        number: 12,
        message: Arc::new(Message { retain: true, ..message(b"20") }),
        stored_at: UnixMillis(1_700_000_000_000),
        expires_at: None,
    });
    // Numbers that are gone stay used.
    batch.push(Change::SessionOpened {
        session: SessionNo(8),
        namespace: NamespaceNo::DEFAULT,
        key: SessionKey::Client(ClientId::new("gone").expect("a client id")),
        record: SessionRecord::default(),
    });
    batch.push(Change::SessionEnded { session: SessionNo(8) });
    let mut store = MemoryStore::new();
    store.commit(&batch).expect("it has no faults");
    store
}

#[test]
fn the_format_is_reviewed() {
    let text = exported(&example()).replace(env!("CARGO_PKG_VERSION"), "X.Y.Z");
    insta::assert_snapshot!("export", text);
}

/// `docs/EXPORT.md` shows this very file.
#[test]
fn the_description_shows_what_is_written() {
    let description = include_str!("../../../../../docs/EXPORT.md");
    for line in exported(&example()).replace(env!("CARGO_PKG_VERSION"), "X.Y.Z").lines() {
        assert!(description.lines().any(|each| each == line), "docs/EXPORT.md lacks: {line}");
    }
}

#[test]
fn an_import_says_what_it_took() {
    let (store, counts) = imported(&exported(&example())).expect("it is good");
    assert_eq!(
        counts.to_string(),
        "2 sessions with 1 subscriptions, 1 retained messages, 2 messages in 2 places of queues"
    );
    assert_eq!(exported(&store), exported(&example()));
}

#[test]
fn a_file_that_is_cut_is_refused_wherever_it_was_cut() {
    let whole = exported(&example());
    for end in 0..whole.len() {
        let Some(part) = whole.get(..end) else { continue };
        let error = imported(part).expect_err(part);
        assert!(matches!(error, ImportError::Line { .. }), "{error}: {part}");
    }
    let without_a_message: Vec<&str> =
        whole.lines().enumerate().filter(|(index, _)| *index != 4).map(|(_, line)| line).collect();
    refused(
        &(without_a_message.join("\n") + "\n"),
        "line 6: the file should hold 2 sessions with 1 subscriptions, 1 retained messages, 2 messages in 2 places of \
         queues, and it holds 2 sessions with 1 subscriptions, 1 retained messages, 1 messages in 1 places of queues",
    );
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = imported(text).expect_err(text);
    assert_eq!(error.to_string(), message);
}

/// The example with one text replaced.
#[track_caller]
fn refused_with(from: &str, to: &str, message: &str) {
    let whole = exported(&example());
    assert!(whole.contains(from), "{from}");
    refused(&whole.replacen(from, to, 1), message);
}

#[test]
fn every_slip_is_named_with_its_line() {
    refused("", "line 0: the file ends here without its last line, so a part of it is missing");
    refused(
        "{\"end\":",
        "line 1: the line is cut: the file ends, or the line is longer than any message",
    );
    refused("SQLite\n", "line 1: column 1: expected value");
    refused(
        "{\"message\":{\"published_at\":1,\"targets\":[],\"content\":{\"topic\":\"a\",\"qos\":0,\"retain\":false,\
         \"payload\":\"\"}}}\n",
        "line 1: an export begins with its one line `dunlin_export`",
    );
    refused_with(
        "{\"version\":1,",
        "{\"version\":2,\"colour\":\"red\",",
        &format!(
            "line 1: the export has version 2 and was written by dunlin {}; this dunlin reads version 1",
            env!("CARGO_PKG_VERSION")
        ),
    );
    refused_with(
        "\"owner\":\"anna\"",
        "\"ovner\":\"anna\"",
        "line 3: column 65: unknown field `ovner`, expected one of `number`, `namespace`, `client_id`, `group`, `owner`, \
         `expiry_secs`, `disconnected_at`, `will`, `subscriptions`, `inbound`, `acknowledged_through`, `acknowledged`, \
         `released`",
    );
    refused_with("\"number\":4", "\"number\":2", "line 3: session 2 stands behind 2");
    refused_with("\"reader\"", "\"writer\"", "line 3: session 4 is the second one of its client");
    refused_with(
        "\"client_id\":\"reader\",",
        "",
        "line 3: session 4 must have either `client_id` or `group`",
    );
    refused_with(
        "\"number\":4,\"namespace\":0",
        "\"number\":4,\"namespace\":5",
        "line 3: no line before says what namespace 5 is",
    );
    for (from, to) in [
        ("[[4,4]]", "[[3,4]]"),
        ("[[4,4]]", "[[4,3]]"),
        ("[[4,4]]", "[[6,6],[4,4]]"),
        ("\"released\":[3]", "\"released\":[4]"),
        ("\"released\":[3]", "\"released\":[3,3]"),
    ] {
        refused_with(from, to, "line 3: the places of session 4 contradict each other");
    }
    refused_with("\"inbound\":[17]", "\"inbound\":[0]", "line 2: a packet identifier is never 0");
    refused_with(
        "\"retain_handling\":2",
        "\"retain_handling\":3",
        "line 3: `retain_handling` is 0, 1 or 2, not 3",
    );
    refused_with("\"seq\":3", "\"seq\":4", "line 5: session 4 is done with its place 4");
    refused_with("\"seq\":3", "\"seq\":7", "line 6: place 5 of session 4 stands behind 7");
    refused_with("\"session\":4", "\"session\":3", "line 5: no line before says who session 3 is");
    refused_with(
        "\"seq\":3,\"qos\":1",
        "\"seq\":3,\"qos\":3",
        "line 5: 3 is not a quality of service, which is 0, 1 or 2",
    );
    let whole = exported(&example());
    refused(
        &format!("{whole}{{\"namespace\":{{\"number\":5,\"name\":\"x\"}}}}\n"),
        "line 8: nothing may follow the line `end`",
    );
    let mut lines: Vec<&str> = whole.lines().collect();
    lines.swap(3, 4);
    refused(&(lines.join("\n") + "\n"), "line 5: retained stand before messages");
}

#[test]
fn a_store_that_holds_something_is_left_alone() {
    let mut store = example();
    let before = exported(&store);
    let error = import(&mut store, &mut before.as_bytes()).expect_err("it is not empty");
    assert!(matches!(error, ImportError::NotEmpty), "{error}");
    assert_eq!(exported(&store), before);
}

#[test]
fn a_store_that_fails_ends_the_import() {
    let mut store = MemoryStore::new();
    store.faults().fail_next(Failure::Full);
    let error = import(&mut store, &mut exported(&example()).as_bytes()).expect_err("it is full");
    assert_eq!(error.to_string(), "the store is full");
}

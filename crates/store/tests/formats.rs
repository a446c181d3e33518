//! A store of each format that there ever was can be opened, and shows what was put into it.
//!
//! `DUNLIN_WRITE_FORMAT=1 cargo test -p dunlin-store --test formats` writes the one of a new format, once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use dunlin_codec::{
    Message, MessageProperties, Qos, RetainHandling, SubscriptionId, SubscriptionOptions,
};
use dunlin_store::{
    Batch, Change, DiskStore, Durability, MemoryStore, MessageId, NamespaceNo, Publication,
    SessionKey, SessionNo, SessionRecord, Store, SubscriptionRecord, Target, UnixMillis,
    WillRecord,
};
use tempfile::TempDir;

use support::subject::{copy, options};
use support::{Snapshot, client, packet_id, text, topic};

fn folder(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(format.to_string())
}

fn full_message() -> Arc<Message> {
    let properties = MessageProperties {
        payload_format_utf8: Some(true),
        message_expiry_interval: Some(3_600),
        response_topic: Some(topic("answer/here")),
        correlation_data: Some(Bytes::from_static(&[0, 1, 2, 255])),
        content_type: Some(text("text/plain")),
        ..MessageProperties::default()
    };
    Arc::new(Message {
        topic: topic("weather/station/7"),
        payload: Bytes::from_static("18.5 °C".as_bytes()),
        qos: Qos::ExactlyOnce,
        retain: true,
        properties: Some(Box::new(properties)),
    })
}

fn record(expiry_secs: u32, owner: &str, disconnected_at: Option<u64>) -> SessionRecord {
    SessionRecord {
        expiry_secs,
        owner: owner.into(),
        will: None,
        disconnected_at: disconnected_at.map(UnixMillis),
    }
}

fn to(session: u32, seq: u64, qos: Qos, ids: &[u32]) -> Target {
    Target {
        session: SessionNo(session),
        seq,
        qos,
        retain: !ids.is_empty(),
        subscription_ids: ids.iter().filter_map(|id| SubscriptionId::new(*id)).collect(),
    }
}

/// A batch with a change of every kind and every field in use.
fn everything() -> Batch {
    let mut batch = Batch::new(MessageId::FIRST);
    let tenant = NamespaceNo(4);
    batch.push(Change::NamespaceOpened { namespace: tenant, name: text("tenant") });
    let open = |number, namespace, key, record| Change::SessionOpened {
        session: SessionNo(number),
        namespace,
        key,
        record,
    };
    let mut willing = record(60, "", None);
    willing.will = Some(WillRecord { message: full_message(), delay_secs: 30 });
    batch.push(open(
        1,
        NamespaceNo::DEFAULT,
        client("reader"),
        record(SessionRecord::NEVER, "", None),
    ));
    batch.push(open(
        2,
        NamespaceNo::DEFAULT,
        client("left"),
        record(7_200, "somebody", Some(1_700_000_000_123)),
    ));
    batch.push(open(3, tenant, client("reader"), willing));
    let group = SessionKey::Group(text("$share/g/weather/#"));
    batch.push(open(300, NamespaceNo::DEFAULT, group, record(SessionRecord::NEVER, "", None)));
    for (session, filter, id, retain_handling) in [
        (1, "weather/#", None, RetainHandling::SendAtSubscribe),
        (2, "$share/g/weather/#", None, RetainHandling::DoNotSend),
        (2, "weather/+/7", SubscriptionId::new(268_435_455), RetainHandling::SendIfNew),
    ] {
        let options = SubscriptionOptions {
            qos: Qos::ExactlyOnce,
            no_local: id.is_some(),
            retain_as_published: id.is_some(),
            retain_handling,
        };
        let record = SubscriptionRecord { options, subscription_id: id };
        batch.push(Change::Subscribed {
            session: SessionNo(session),
            filter: text(filter),
            record,
        });
    }
    for id in [1, 65_535] {
        batch.push(Change::InboundStored { session: SessionNo(1), packet_id: packet_id(id) });
    }
    for seq in 1..=9 {
        batch.publish(Publication {
            message: full_message(),
            published_at: UnixMillis(1_700_000_000_000 + seq),
            expires_at: Some(UnixMillis(1_700_003_600_000 + seq)),
            publisher: Some(SessionNo(3)),
            targets: vec![
                to(2, seq, Qos::ExactlyOnce, &[1, 268_435_455]),
                to(300, seq, Qos::AtLeastOnce, &[]),
                to(1, seq, Qos::AtLeastOnce, &[]),
            ],
        });
    }
    batch.hand_over(SessionNo(300), 3, to(1, 10, Qos::AtLeastOnce, &[]));
    for (session, first, last) in [(1, 1, 4), (1, 6, 7), (2, 2, 2)] {
        batch.push(Change::Acknowledged { session: SessionNo(session), first, last });
    }
    for seq in [1, 5] {
        batch.push(Change::OutboundReleased { session: SessionNo(2), seq });
    }
    for (namespace, number, expires_at) in
        [(NamespaceNo::DEFAULT, 5, None), (tenant, 9, Some(UnixMillis(1)))]
    {
        batch.push(Change::Retained {
            namespace,
            number,
            message: full_message(),
            stored_at: UnixMillis(1_700_000_000_777),
            expires_at,
        });
    }
    batch.require(Durability::Fsync);
    batch
}

fn expected() -> Snapshot {
    let mut model = MemoryStore::new();
    Snapshot::of(&mut model);
    model.commit(&everything()).unwrap();
    model.close().unwrap();
    Snapshot::of(&mut model)
}

#[test]
fn format_1() {
    let kept = TempDir::new().unwrap();
    copy(&folder(1), kept.path());
    let mut store = DiskStore::open(kept.path(), options()).unwrap();
    let shown = Snapshot::of(&mut store);
    assert_eq!(shown, expected());
    let mut read = Vec::new();
    let ids = [MessageId(1), MessageId(10)];
    store.reader().read(&ids, &mut |id, found| read.push((id, found))).unwrap();
    for (id, found) in read {
        assert_eq!(found.unwrap().message, full_message(), "message {id}");
    }
}

#[test]
fn the_present_format_is_kept_too() {
    let fresh = TempDir::new().unwrap();
    let mut store = DiskStore::open(fresh.path(), options()).unwrap();
    let format = Snapshot::of(&mut store).meta().format;
    store.commit(&everything()).unwrap();
    store.close().unwrap();
    drop(store);
    let folder = folder(format);
    // What a version wrote is never written anew.
    if folder.exists() || std::env::var_os("DUNLIN_WRITE_FORMAT").is_none() {
        assert!(folder.join("store.sqlite3").exists(), "write it with DUNLIN_WRITE_FORMAT=1");
        return;
    }
    fs::create_dir_all(&folder).unwrap();
    for name in ["store.sqlite3", "witness"] {
        fs::copy(fresh.path().join(name), folder.join(name)).unwrap();
    }
}

//! The load and the relay at work: small runs against a broker in this process, of which every message must come, and
//! come once.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends with what fails")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use dunlin_broker::Broker;
use serde_json::{Map, Value, json};

/// What the load says of a run.
fn load(address: SocketAddr, arguments: &str) -> Map<String, Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(arguments.split_whitespace())
        .args(["--port", &address.port().to_string(), "--pid", &std::process::id().to_string()])
        .args(["--idle", "20"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Everything that can go wrong with a message, beside what was sent and received.
fn counts(report: &Map<String, Value>) -> Value {
    let mut counts = Map::new();
    for name in [
        "sent",
        "expected",
        "received",
        "lost",
        "duplicates",
        "gaps",
        "bad_frames",
        "misrouted",
        "disordered",
        "unacknowledged",
        "refused",
        "closed",
    ] {
        counts.insert(name.to_owned(), report[name].clone());
    }
    Value::Object(counts)
}

/// That all of it went right.
fn whole(sent: u64, received: u64) -> Value {
    json!({
        "sent": sent, "expected": received, "received": received, "lost": 0, "duplicates": 0,
        "gaps": 0, "bad_frames": 0, "misrouted": 0, "disordered": 0, "unacknowledged": 0,
        "refused": 0, "closed": 0,
    })
}

async fn with_broker(test: impl FnOnce(SocketAddr) + Send + 'static) {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let broker = Broker::builder().listen(listen).allow_anonymous(true).start().await.unwrap();
    let address = broker.local_addrs()[0];
    tokio::task::spawn_blocking(move || test(address)).await.unwrap();
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_from_clients_to_clients_comes_once() {
    with_broker(|address| {
        for (arguments, sent, received) in [
            ("p2p --pairs 3 --topics 4 --messages 101 --credit 50", 303, 303),
            ("p2p --pairs 2 --messages 100 --mqtt 5.0 --properties 3 --credit 20", 200, 200),
            ("p2p --pairs 2 --messages 200 --mqtt 5.0 --qos 1 --window 7 --payload 16", 400, 400),
            ("p2p --pairs 2 --messages 100 --qos 2 --window 100 --payload 100000", 200, 200),
            ("both --pairs 2 --messages 100 --credit 40", 400, 400),
            ("both --pairs 2 --messages 100 --qos 2", 400, 400),
            ("fan-in --publishers 5 --subscribers 2 --messages 50 --qos 1", 250, 500),
            ("fan-out --publishers 2 --subscribers 10 --messages 50 --credit 100", 100, 1_000),
            ("shared --publishers 3 --groups 2 --subscribers 3 --messages 50 --qos 1", 150, 300),
            // Each topic twice: 40 filters with one topic, 25 with 20, 15 with 10, 10 with 5, 9 with 100, 1 with all.
            (
                "wildcard --publishers 10 --subscribers 100 --cold 300 --messages 200 --qos 1",
                2_000,
                5_280,
            ),
        ] {
            assert_eq!(counts(&load(address, arguments)), whole(sent, received), "{arguments}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_subscriber_comes_once() {
    with_broker(|address| {
        let report = load(address, "offline --sessions 6 --publishers 2 --messages 30 --window 10");
        assert_eq!(counts(&report), whole(180, 180));
        assert_eq!(report["sessions_present"], 6.0);
        let report = load(address, "retained --names 61 --repeat 2 --publishers 2");
        assert_eq!(counts(&report), whole(61, 2 * 61 + 2 * 31));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_due_at_times_and_clients_come_and_go_beside_them() {
    with_broker(|address| {
        let report = load(address, "p2p --pairs 5 --rate 1000 --warm 0.1 --secs 0.4");
        let sent = report["sent"].as_u64().unwrap();
        assert!(sent > 0);
        assert_eq!(counts(&report), whole(sent, sent));
        let report = load(address, "p2p --pairs 2 --credit 10 --churn 100 --warm 0.2 --secs 0.5");
        let sent = report["sent"].as_u64().unwrap();
        assert_eq!(counts(&report), whole(sent, sent));
        assert!(report["churn_connects_per_s"].as_f64().unwrap() > 0.0);
        assert!(report["churn_subscribes_per_s"].as_f64().unwrap() > 0.0);
        let report = load(address, "storm --connections 50 --outstanding 5 --hold 0");
        assert_eq!(counts(&report), whole(0, 0));
        assert_eq!(report["clients"], 50);
    })
    .await;
}

struct Relay(Child, SocketAddr);

impl Relay {
    fn start() -> Self {
        let relay = Command::new(env!("CARGO_BIN_EXE_relay")).stdout(Stdio::piped()).spawn();
        let mut relay = relay.unwrap();
        let mut line = String::new();
        BufReader::new(relay.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self(relay, address)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_relay_passes_messages_and_acknowledgements_on() {
    let relay = Relay::start();
    for (arguments, sent, received) in [
        ("p2p --pairs 3 --topics 2 --messages 101 --mqtt 5.0", 303, 303),
        ("p2p --pairs 3 --messages 3000 --payload 3000", 9_000, 9_000),
        ("p2p --pairs 2 --messages 100 --qos 1", 200, 200),
        ("p2p --pairs 2 --messages 100 --qos 2", 200, 200),
        ("both --pairs 2 --messages 1000", 4_000, 4_000),
        ("fan-in --publishers 5 --subscribers 1 --messages 500", 2_500, 2_500),
        ("fan-out --publishers 1 --subscribers 10 --messages 500", 500, 5_000),
    ] {
        // A new one for each: it remembers for ever who subscribed to what.
        let fresh = Relay::start();
        assert_eq!(counts(&load(fresh.1, arguments)), whole(sent, received), "{arguments}");
    }
    let report = load(relay.1, "storm --connections 20 --hold 0");
    assert_eq!(counts(&report), whole(0, 0));
}

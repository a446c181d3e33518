//! The memory that a slow reader of many retained messages costs. One test, so that the process is its own.
#![allow(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

#[path = "sockets/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::*;

/// Enough that sending them all at once would cost several times the bound. `DUNLIN_RETAINED_NAMES` sets another number: a
/// million takes half a minute more in a debug build.
const NAMES: usize = 300_000;
const PAYLOAD: usize = 100;
const READ_BYTES_PER_SEC: usize = 1 << 20;
const WATCHED: Duration = Duration::from_secs(6);
const GROWTH_MAX: usize = 8 << 20;

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
    let pages: usize = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("the second field is the resident pages");
    pages * 4_096
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.3.1-9] `#` over very many retained names: complete, paced, and at nobody else's cost.
async fn a_slow_reader_of_every_retained_message_costs_little() {
    let names = std::env::var("DUNLIN_RETAINED_NAMES")
        .map_or(NAMES, |names| names.parse().expect("a number"));
    let server = Server::with(|config| config.sys.interval = None).await;
    let mut publisher = server.connect(connect(Version::V3_1_1, "publisher")).await;
    let payload = vec![b'x'; PAYLOAD];
    for thousand in 0..names / 1_000 {
        let mut bytes = Vec::new();
        for number in 0..1_000 {
            let topic = format!("retained/{thousand}/{number}");
            bytes.extend(publisher.encoded(publish(&topic, payload.clone()).retain()));
        }
        publisher.send_bytes(&bytes).await;
        publisher.ping().await;
    }
    let stored = server.metrics().retained_messages;
    assert_eq!(stored, (names / 1_000 * 1_000) as u64);

    let mut other = server.connect(connect(Version::V5, "other")).await;
    other.subscribe("live", QOS1).await;
    let mut reader = server.connect(connect(Version::V3_1_1, "reader")).await;
    reader.shrink_receive_buffer();
    let before = resident();
    reader.send(subscribe(1, &[("retained/#", QOS0)])).await;

    let begin = Instant::now();
    let mut highest = before;
    let mut slowest = Duration::ZERO;
    let mut taken = 0;
    while begin.elapsed() < WATCHED {
        // Reads what 1 MiB/s allows so far, then lets another client have a turn.
        let allowed = begin.elapsed().as_millis() as usize * READ_BYTES_PER_SEC / 1_000;
        if allowed > taken {
            taken += reader.discard_some(allowed - taken).await;
        }
        let sent = Instant::now();
        other.send(publish("live", "x").qos(QOS1).id(1)).await;
        other.expect_own_message(1, "live", "x").await;
        slowest = slowest.max(sent.elapsed());
        highest = highest.max(resident());
        sleep_ms(5).await;
    }
    let growth = highest - before;
    assert!(growth < GROWTH_MAX, "resident memory grew by {} KiB", growth >> 10);
    assert!(slowest < Duration::from_millis(500), "another client waited {slowest:?}");

    // The rest as fast as it comes: every name is there.
    let total = reader.count_publishes_until_quiet(Duration::from_secs(1)).await;
    assert_eq!(total, names / 1_000 * 1_000);
}

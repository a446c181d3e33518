//! What happens when the process has no descriptor left. One test, because it lowers the limit of its whole process.
#![allow(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

#[path = "sockets/support/mod.rs"]
mod support;

use std::time::Duration;

use support::*;

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// [MQTT-3.1.4-2] Accepting pauses; who is connected is served on, and others come in when there is room again.
async fn accepting_pauses_without_descriptors_and_goes_on_with_them() {
    let server = Server::with(|config| {
        config.limits.connections_max = Some(10_000);
        config.limits.accept_pause = Duration::from_millis(100);
    })
    .await;
    let mut first = server.connect(connect(Version::V5, "first")).await;
    first.subscribe("a", QOS1).await;

    // The clients are in this process too: each takes a descriptor before the broker needs one for it.
    let open = std::fs::read_dir("/proc/self/fd").expect("Linux has /proc").count() as u64;
    let (soft, hard) = rlimit::Resource::NOFILE.get().expect("the limit of open files");
    rlimit::Resource::NOFILE.set(open + 20, hard).expect("it may be lowered");
    let mut waiting = Vec::new();
    while server.metrics().accept_paused == 0 {
        match tokio::net::TcpStream::connect(server.address()).await {
            Ok(stream) => waiting.push(stream),
            // The last descriptor went to a client: the broker gets the next that is given back, and then needs one more.
            Err(_) => drop(waiting.pop()),
        }
        sleep_ms(5).await;
    }
    first.send(publish("a", "x").qos(QOS1).id(1)).await;
    first.expect_own_message(1, "a", "x").await;

    drop(waiting);
    let mut second = server.connect(connect(Version::V5, "second")).await;
    second.ping().await;
    rlimit::Resource::NOFILE.set(soft, hard).expect("it may be raised up to the hard limit");
    first.ping().await;
}

//! A raw MQTT client, a broker to point it at, and the waits that every test shares.
//!
//! The client sends and receives the codec's owned packets, or plain bytes where a test needs input that no encoder
//! would write. Every wait is bounded: a test fails after [`PATIENCE`] with what it was waiting for and where.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test binary uses its own part of the kit"
)]
#![allow(
    unreachable_pub,
    unnameable_types,
    missing_docs,
    reason = "a module of test binaries has no face outside them"
)]

pub mod client;
pub mod exchange;
pub mod expect;
pub mod packets;
pub mod receive;
pub mod server;

use std::{
    future::Future,
    panic::Location,
    time::{Duration, Instant},
};

pub use bytes::Bytes;
pub use dunlin_codec::{Qos, ReasonCode, Version};

pub use self::{client::*, expect::*, packets::*, server::*};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long a test listens before it believes that nothing comes.
pub const SILENCE: Duration = Duration::from_millis(200);

/// Awaits `future`, and fails with `what` and the caller's place when it takes longer than [`PATIENCE`].
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    within_at(Location::caller(), PATIENCE, what.to_owned(), future)
}

/// [`within`] with a time and a place of its own.
pub async fn within_at<F: Future>(
    place: &'static Location<'static>,
    patience: Duration,
    what: String,
    future: F,
) -> F::Output {
    match tokio::time::timeout(patience, future).await {
        Ok(output) => output,
        Err(_) => panic!("{place}: waited {patience:?} for {what}"),
    }
}

/// Asks `condition` until it holds.
#[track_caller]
pub fn eventually<C: FnMut() -> bool>(what: &str, mut condition: C) -> impl Future<Output = ()> {
    within(what, async move {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

pub async fn sleep_ms(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Fails unless `since` lies between `from` and `to` milliseconds ago.
#[track_caller]
pub fn assert_elapsed(since: Instant, from: u64, to: u64) {
    let elapsed = since.elapsed();
    assert!(
        elapsed >= Duration::from_millis(from) && elapsed <= Duration::from_millis(to),
        "took {elapsed:?}, expected {from} ms to {to} ms"
    );
}

/// Runs `body` in each of the versions at once, and fails with the versions in which it failed.
pub async fn in_each_version<F>(versions: &[Version], body: impl Fn(Version) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let running: Vec<_> =
        versions.iter().map(|&version| (version, tokio::spawn(body(version)))).collect();
    let mut failed = Vec::new();
    for (version, running) in running {
        if running.await.is_err() {
            failed.push(version);
        }
    }
    assert!(failed.is_empty(), "failed in {failed:?}");
}

/// Makes a test of a body that takes a version: `versions!(name: V3_1, V3_1_1, V5);` before `async fn name(version: Version)`.
macro_rules! versions {
    ($body:ident: $($version:ident),+) => {
        mod $body {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_each_version() {
                let versions = [$(dunlin_codec::Version::$version),+];
                crate::support::in_each_version(&versions, super::$body).await;
            }
        }
    };
}

pub(crate) use versions;

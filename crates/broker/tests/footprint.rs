//! What a connected, subscribed client that says nothing costs the broker in memory. One test, because the allocator counts
//! for the whole process.
#![allow(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

#[path = "sockets/support/mod.rs"]
mod support;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::*;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLIENTS: usize = 300;

/// What one client has, of all that it was given.
const HEAP_BYTES_MAX: usize = 1_450;
/// Allocations from the accepted socket to SUBACK.
const ALLOCATIONS_MAX: usize = 55;

/// Connects by 3.1.1 and subscribes to a filter of 23 bytes. What this takes is on the stack.
fn connected(server: &Server, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("somebody listens");
    let mut packets = *b"\x10\x14\x00\x04MQTT\x04\x02\x01\x2c\x00\x08client00\
        \x82\x1c\x00\x01\x00\x17building/floor/room/c00\x00";
    let last = packets.len() - 1;
    for behind in [22, last] {
        packets[behind - 2] = b'0' + u8::try_from(number / 64).expect("small");
        packets[behind - 1] = b'0' + u8::try_from(number % 64).expect("small");
    }
    stream.write_all(&packets).expect("sent");
    let mut answers = [0; 9];
    stream.read_exact(&mut answers).expect("CONNACK and SUBACK");
    assert_eq!(answers, *b"\x20\x02\x00\x00\x90\x03\x00\x01\x00");
    stream
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_idle_subscribed_client_costs_little() {
    let server = Server::with(|config| config.sys.interval = None).await;
    let mut clients = Vec::with_capacity(CLIENTS);
    let warm: Vec<TcpStream> =
        (CLIENTS..CLIENTS + 50).map(|number| connected(&server, number)).collect();

    let before = Region::new(ALLOCATOR);
    clients.extend((0..CLIENTS).map(|number| connected(&server, number)));
    sleep_ms(200).await;
    let change = before.change();
    let bytes = change.bytes_allocated - change.bytes_deallocated;
    let (bytes, allocations) = (bytes / CLIENTS, change.allocations / CLIENTS);
    assert_eq!(server.metrics().clients_connected, (CLIENTS + warm.len()) as u64);
    assert!(bytes <= HEAP_BYTES_MAX, "{bytes} bytes for each client");
    assert!(allocations <= ALLOCATIONS_MAX, "{allocations} allocations for each client");
}

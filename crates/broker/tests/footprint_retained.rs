//! What a retained message costs in memory, with the store in memory that keeps it too. One test, because the allocator
//! counts for the whole process.
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

const NAMES: usize = 20_000;
/// Messages of the publisher under way.
const WINDOW: usize = 100;
const PAYLOAD: usize = 64;

/// What a name of 16 bytes has, its payload apart: a message with its name takes 112, its place in the index 32 and its
/// record in the store 48. The rest is room in the index and in the store's table.
const HEAP_BYTES_MAX: usize = 220;
/// Those that stay are four; the others are of its way.
const ALLOCATIONS_MAX: usize = 12;

/// Publishes with QoS 1 and RETAIN, and waits for each PUBACK: then the store has the message.
fn publish(stream: &mut TcpStream, names: std::ops::Range<usize>) {
    let mut packets = Vec::with_capacity(WINDOW * 100);
    let mut answers = [0; WINDOW * 4];
    for number in names {
        let id = u8::try_from(number % WINDOW + 1).expect("small");
        let branch = if number % 2 == 0 { 'x' } else { 'y' };
        packets.extend_from_slice(b"\x33\x54\x00\x10");
        write!(packets, "{number:08}/{branch}/value").expect("into memory");
        packets.extend_from_slice(&[0, id]);
        packets.extend_from_slice(&[id; PAYLOAD]);
        if usize::from(id) == WINDOW {
            stream.write_all(&packets).expect("sent");
            stream.read_exact(&mut answers).expect("a PUBACK for each");
            packets.clear();
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_retained_name_costs_little() {
    let server = Server::with(|config| config.sys.interval = None).await;
    let mut stream = TcpStream::connect(server.address()).expect("somebody listens");
    stream.write_all(b"\x10\x12\x00\x04MQTT\x04\x02\x00\x00\x00\x06client").expect("sent");
    stream.read_exact(&mut [0; 4]).expect("CONNACK");
    publish(&mut stream, 0..NAMES);
    sleep_ms(200).await;

    let before = Region::new(ALLOCATOR);
    publish(&mut stream, NAMES..2 * NAMES);
    sleep_ms(200).await;
    let change = before.change();
    let bytes = (change.bytes_allocated - change.bytes_deallocated) / NAMES;
    let allocations = change.allocations / NAMES;
    assert_eq!(server.metrics().retained_messages, 2 * NAMES as u64);
    assert!(bytes <= HEAP_BYTES_MAX + PAYLOAD, "{bytes} bytes for each name");
    assert!(allocations <= ALLOCATIONS_MAX, "{allocations} allocations for each name");
}

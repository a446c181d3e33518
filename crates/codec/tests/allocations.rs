//! What the peer says about lengths allocates nothing; only bytes that arrived do.
//!
//! A test binary of its own, because it counts the allocations of the whole process.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at the packets it sent")]

use std::alloc::System;

use bytes::BytesMut;
use dunlin_codec::{DecodeLimits, Decoder, Packet, PacketType, Version, decode, decode_connect};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Asserts that `act` allocates at most so many bytes. The harness may allocate at the same time, so that one
/// try of several is enough: what `act` does by itself it does every time.
fn allocates_at_most(bytes_max: usize, what: &str, mut act: impl FnMut()) {
    let fewest = (0..20)
        .map(|_| {
            let region = Region::new(ALLOCATOR);
            act();
            let stats = region.change();
            stats.bytes_allocated + stats.bytes_reallocated.max(0).unsigned_abs()
        })
        .min();
    assert!(fewest <= Some(bytes_max), "{what} allocates {fewest:?} bytes");
}

#[test]
fn announced_lengths_allocate_nothing() {
    let limits = DecodeLimits::default();
    let hostile: [&[u8]; 8] = [
        // A packet of 256 MiB of which little has arrived.
        b"\x30\xff\xff\xff\x7f\x00\x01t",
        b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x05",
        // Fields and properties that reach beyond the packet.
        b"\x30\x04\xff\xff/a",
        b"\x30\x08\x00\x01t\xff\xff\xff\x7f\x26",
        b"\x82\x07\x00\x01\x00\xff\xffab",
        b"\x10\x10\x00\x04MQTT\x05\xc2\x00\x00\x00\xff\xffab",
        // A limit passed, and text that is none.
        b"\x30\xff\xff\xff\xff\x7f",
        b"\x30\x05\x00\x03\xff\xff\xff",
    ];
    for bytes in hostile {
        for version in Version::ALL {
            allocates_at_most(0, "borrowed", || drop(decode(bytes, version, &limits)));
        }
        allocates_at_most(0, "connect", || drop(decode_connect(bytes, &limits)));
    }

    // The owned face keeps what the caller has read, and asks for no more.
    let mut input = BytesMut::from(hostile[0]);
    allocates_at_most(0, "owned", || {
        let mut decoder = Decoder::client(Version::V3_1_1, limits);
        assert_eq!(decoder.next_packet(&mut input), Ok(None));
    });
    assert!(input.capacity() < 64);

    // Whole packets with all that the borrowed face reads lazily.
    let whole: [&[u8]; 4] = [
        b"\x30\x19\x00\x01t\x12\x0b\x01\x26\x00\x01n\x00\x01v\x0b\x02\x26\x00\x01n\x00\x01vhi!",
        b"\x82\x0d\x00\x01\x00\x00\x01a\x00\x00\x03b/#\x01",
        b"\x90\x06\x00\x01\x00\x00\x01\x87",
        b"\xe0\x11\x8b\x0f\x1f\x00\x05later\x26\x00\x01n\x00\x01v",
    ];
    for bytes in whole {
        allocates_at_most(0, "borrowed", || {
            let (packet, len) = decode(bytes, Version::V5, &limits).unwrap().unwrap();
            assert_eq!(len, bytes.len());
            match packet {
                Packet::Publish(publish) => {
                    assert_eq!(publish.properties.user_properties.iter().count(), 2);
                    assert_eq!(publish.properties.subscription_ids.iter().count(), 2);
                }
                Packet::Subscribe(subscribe) => {
                    assert_eq!(subscribe.filters.len(), 2)
                }
                Packet::SubAck(suback) => {
                    assert_eq!(suback.reason_codes.iter().count(), 3)
                }
                other => assert_eq!(other.packet_type(), PacketType::Disconnect),
            }
        });
    }
}

//! Uses the codec and the topics without std. Were std anywhere in their tree, its panic handler would be a second one,
//! and this library would not build.
#![no_std]

extern crate alloc;

mod allocator;

use alloc::vec::Vec;

use dunlin_codec::{DecodeLimits, Packet, Version, decode};
use dunlin_topics::{FilterIndex, NameIndex, TextRules, TopicFilter, TopicName};

/// A PUBLISH of MQTT 5.0: topic `a/b`, no properties, payload `hi`.
const PUBLISH: &[u8] = &[0x30, 0x08, 0x00, 0x03, b'a', b'/', b'b', 0x00, b'h', b'i'];

/// Called by the program that links this library; 0 when everything gave what it must.
#[unsafe(no_mangle)]
pub extern "C" fn purity_check() -> i32 {
    match (packet_round_trip(), filter_match(), retained_names()) {
        (Some(true), Some(true), Some(true)) => 0,
        _ => 1,
    }
}

fn packet_round_trip() -> Option<bool> {
    let limits = DecodeLimits { packet_size_max: 1024, text: TextRules::default() };
    let (packet, length) = decode(PUBLISH, Version::V5, &limits).ok()??;
    let Packet::Publish(publish) = &packet else { return None };
    let mut encoded = Vec::new();
    packet.encode(Version::V5, &mut encoded).ok()?;
    Some(length == PUBLISH.len() && publish.payload == b"hi" && encoded == PUBLISH)
}

fn filter_match() -> Option<bool> {
    let mut index = FilterIndex::new();
    for (key, filter) in ["a/b", "a/+", "#", "a/c", "b/+"].iter().enumerate() {
        index.insert(&TopicFilter::copy_from(filter).ok()?, key, ());
    }
    let mut matched = Vec::new();
    index.matches(b"a/b", |key, ()| matched.push(*key));
    matched.sort_unstable();
    Some(matched == [0, 1, 2])
}

fn retained_names() -> Option<bool> {
    let mut names = NameIndex::new();
    for name in ["a/b", "a/c", "b"] {
        names.insert((TopicName::copy_from(name).ok()?, name.len()));
    }
    let mut cursor = names.cursor(&TopicFilter::copy_from("a/#").ok()?);
    let mut found = 0;
    while cursor.next(&names).is_some() {
        found += 1;
    }
    Some(found == 2)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

//! What a lookup costs in an index of so many filters, beside a bare hash table of the same names.
//!
//! `cargo run --release --example lookups -- 1000000 exact` prints times. Instructions come from
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='*look_up_all*' lookups 1000000 exact 100000
//! ```
//!
//! where the toggled function runs once over the index and nothing else is counted.

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::Instant;

use dunlin_topics::{FilterIndex, KeyedState, TopicFilter};
use hashbrown::HashMap;

/// Every name has as many bytes.
const NAME_LEN: usize = 24;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments.next().map_or(Ok(1_000_000), |count| count.parse())?;
    let kind = arguments.next().unwrap_or_else(|| "exact".to_owned());
    let lookups: usize = arguments.next().map_or(Ok(2_000_000), |lookups| lookups.parse())?;

    let mut index = FilterIndex::new();
    let mut table = HashMap::with_hasher(KeyedState::default());
    for number in 0..count {
        index.insert(&TopicFilter::new(filter(&kind, number))?, number, number);
        table.insert(name(number).into_bytes().into_boxed_slice(), number);
    }
    let names = random_names(count, lookups);

    let started = Instant::now();
    let found = look_up_all(&index, &names);
    let index_time = started.elapsed();
    assert!(found >= lookups, "each name has its filter");

    let started = Instant::now();
    let sum: u64 =
        names.iter().filter_map(|name| table.get(name.as_slice())).map(|&n| u64::from(n)).sum();
    let table_time = started.elapsed();
    black_box(sum);

    let per_lookup = |time: std::time::Duration| time.as_nanos() / lookups as u128;
    println!(
        "{count} filters ({kind}): {} ns per lookup, bare hash table {} ns, {found} found",
        per_lookup(index_time),
        per_lookup(table_time),
    );
    Ok(())
}

#[inline(never)]
fn look_up_all(index: &FilterIndex<u32, u32>, names: &[[u8; NAME_LEN]]) -> usize {
    let mut found = 0;
    for name in names {
        index.matches(name, |key, _| {
            black_box(key);
            found += 1;
        });
    }
    found
}

fn name(number: u32) -> String {
    format!("site/{:03}/device/{number:08}", number % 1000)
}

/// A filter for the name of the same number.
fn filter(kind: &str, number: u32) -> String {
    match kind {
        // Each tenth device is watched from two sides.
        "mixed" if number.is_multiple_of(10) => format!("site/+/device/{number:08}"),
        // Each thousandth.
        "some" if number.is_multiple_of(1000) => format!("site/+/device/{number:08}"),
        // A filter for each device, but not for its site.
        "single" => format!("site/+/device/{number:08}"),
        // All of the trie is on the way: a level for the device in the middle.
        "multi" => format!("site/{:03}/device/{number:08}/#", number % 1000),
        _ => name(number),
    }
}

fn random_names(count: u32, lookups: usize) -> Vec<[u8; NAME_LEN]> {
    let chance = RandomState::new();
    (0..lookups)
        .map(|lookup| {
            let number = u32::try_from(chance.hash_one(lookup) % u64::from(count)).unwrap_or(0);
            name(number).into_bytes().try_into().expect("names below 10^8 have one length")
        })
        .collect()
}

//! What it costs to keep a million names and to go through those that match a filter.
//!
//! `cargo run --release --example replay -- 1000000`

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::hint::black_box;
use std::time::Instant;

use dunlin_topics::{NameIndex, TopicFilter, TopicName};

/// Filters that match all, a tenth, a thousandth, one, and none of the names.
const FILTERS: [&str; 8] = [
    "#",
    "site/+/device/+/power",
    "site/007/#",
    "+/007/+/+/power",
    "site/+/device/00000007/power",
    "site/007/device/00000007/power",
    "+/+/+/+/nothing",
    "+/+/nothing/#",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let mut names = Vec::new();
    for number in 0..count {
        names.push(TopicName::new(name(number * 7_919 % count))?);
    }

    let mut index = NameIndex::new();
    let each = |started: Instant| started.elapsed().as_nanos() / u128::from(count);
    let started = Instant::now();
    for name in &names {
        index.insert((name.clone(), 0_u64));
    }
    println!("{count} names: {} ns to insert each", each(started));
    let started = Instant::now();
    for name in &names {
        index.insert((name.clone(), 1_u64));
    }
    println!("{count} names: {} ns to replace each", each(started));

    for filter in FILTERS {
        let filter = TopicFilter::try_from(filter)?;
        let started = Instant::now();
        let mut cursor = index.cursor(&filter);
        let mut found = 0_u64;
        let mut waits = 0_u64;
        while !cursor.is_done() {
            found += cursor.resume(&index, 1_000).map(black_box).count() as u64;
            waits += 1;
        }
        println!("{:>10.2?} for {found} of {filter}, in {waits} parts", started.elapsed());

        let started = Instant::now();
        let mut cursor = index.cursor(&filter);
        while let Some(one) = cursor.next(&index) {
            black_box(one);
        }
        println!("{:>10.2?} for the same, resumed for each name", started.elapsed());
    }
    Ok(())
}

/// Each device has ten readings, each thousandth device is on the same site.
fn name(number: u64) -> String {
    let reading = ["power", "state", "volt", "amp", "temp", "rssi", "fw", "ip", "up", "lag"];
    let device = number / 10;
    let reading = reading.get((number % 10) as usize).unwrap_or(&"more");
    format!("site/{:03}/device/{device:08}/{reading}", device % 1000)
}

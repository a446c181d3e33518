//! What a filter, a name and a subscriber cost in memory, as the allocator saw it.

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::alloc::System;

use dunlin_topics::{FilterIndex, NameIndex, TopicFilter, TopicName};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Just behind the growth of a hash table, and well behind it.
    for count in [1_000, 100_000, 920_000, 1_000_000, 1_800_000] {
        report("exact filters of 24 bytes", count, || {
            filters(count, |number| format!("site/{:03}/device/{number:08}", number % 1000))
        })?;
    }
    for count in [1_000, 100_000, 1_000_000] {
        report("filters with +", count, || {
            filters(count, |number| format!("site/{:03}/{number:08}/+", number % 1000))
        })?;
        report("names of 3 levels, 24 bytes", count, || {
            names(count, |number| format!("site/{:03}/device-{number:08}", number % 1000))
        })?;
        report("names of 5 levels, 35 bytes", count, || {
            names(count, |number| {
                format!("eu/site/{:03}/device-{number:08}/reading", number % 1000)
            })
        })?;
        report("subscribers of one filter", count, || subscribers(count))?;
    }
    Ok(())
}

/// Prints what `build` left allocated, by entry, what it freed again left out.
fn report<T>(
    what: &str,
    count: u32,
    build: impl FnOnce() -> Result<T, Box<dyn std::error::Error>>,
) -> Result<(), Box<dyn std::error::Error>> {
    let region = Region::new(ALLOCATOR);
    let built = build()?;
    let held = region.change();
    let bytes = held.bytes_allocated.saturating_sub(held.bytes_deallocated);
    let blocks = held.allocations.saturating_sub(held.deallocations);
    let each = |total: usize| total as f64 / f64::from(count);
    println!("{count:>9} {what:<28} {:>6.1} bytes, {:.2} blocks each", each(bytes), each(blocks));
    drop(built);
    Ok(())
}

type Built<T> = Result<T, Box<dyn std::error::Error>>;

fn filters(count: u32, text: impl Fn(u32) -> String) -> Built<FilterIndex<u32, u32>> {
    let mut index = FilterIndex::new();
    for number in 0..count {
        index.insert(&TopicFilter::new(text(number))?, number, number);
    }
    Ok(index)
}

fn names(count: u32, text: impl Fn(u32) -> String) -> Built<NameIndex<(TopicName, u64)>> {
    let mut index = NameIndex::new();
    for number in 0..u64::from(count) {
        // Not in the order of the names: chunks are split at all lengths.
        let number = number * 7_919 % u64::from(count);
        let name = text(u32::try_from(number)?);
        index.insert((TopicName::copy_from(&name)?, number));
    }
    Ok(index)
}

fn subscribers(count: u32) -> Built<FilterIndex<u32, u32>> {
    let filter = TopicFilter::try_from("news")?;
    let mut index = FilterIndex::new();
    for number in 0..count {
        index.insert(&filter, number, number);
    }
    Ok(index)
}

//! What is asked of the allocator, as the allocator saw it. One test only: others beside it would
//! be counted too.

use std::alloc::System;

use dunlin_topics::{FilterIndex, NameIndex, TopicFilter, TopicName, check_topic_name};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn count<T>(what: impl FnOnce() -> T) -> (T, Stats) {
    let region = Region::new(ALLOCATOR);
    let result = what();
    (result, region.change())
}

fn held(stats: &Stats) -> usize {
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

#[test]
fn memory_is_asked_for_where_it_is_kept_and_nowhere_else() -> Result<(), Box<dyn std::error::Error>>
{
    lookups_ask_for_nothing()?;
    checks_ask_for_nothing();
    a_million_exact_filters_cost_less_than_150_bytes_each()?;
    names_cost_their_entries_and_little_more()?;
    what_is_removed_is_given_back()?;
    Ok(())
}

fn lookups_ask_for_nothing() -> Result<(), Box<dyn std::error::Error>> {
    let deep = "a/".repeat(32_767);
    let filters =
        ["a/b/c", "a/+/c", "+/+/+", "#", "a/#", "+/b/#", "a/b", "$SYS/#", &*deep, "+/a/#"];
    let mut index = FilterIndex::new();
    for filter in filters {
        for key in 0..200_u32 {
            index.insert(&TopicFilter::copy_from(filter)?, key, key);
        }
    }
    for depth in 1..300 {
        index.insert(&TopicFilter::new("a/".repeat(depth) + "+/a")?, 0, 0);
    }
    let (visits, stats) = count(|| {
        let mut visits = 0;
        for name in ["a/b/c", "a", "x/y/z", "$SYS/uptime", "a/b/c/d/e/f", "nothing", &*deep] {
            index.matches(name.as_bytes(), |_, _| visits += 1);
        }
        visits
    });
    assert!(visits > 2_000, "{visits}");
    assert_eq!((stats.allocations, stats.reallocations), (0, 0));
    Ok(())
}

fn checks_ask_for_nothing() {
    let ((), stats) = count(|| {
        for text in [&b"a/b"[..], b"a/\0", b"a/+", b"\xFF", b""] {
            let _ = check_topic_name(text, Default::default());
        }
    });
    assert_eq!(stats.allocations, 0);
}

fn a_million_exact_filters_cost_less_than_150_bytes_each() -> Result<(), Box<dyn std::error::Error>>
{
    let mut index = FilterIndex::<u32, u32>::new();
    let (result, stats) = count(|| {
        (0..1_000_000).try_for_each(|number| {
            let filter = TopicFilter::new(format!("site/{:03}/device/{number:08}", number % 1000))?;
            assert_eq!(filter.len(), 24);
            index.insert(&filter, number, number);
            Ok::<_, Box<dyn std::error::Error>>(())
        })
    });
    result?;
    let each = held(&stats) / index.len();
    assert!(each < 150, "{each} bytes each");
    Ok(())
}

/// An entry is 40 bytes here, and its name another 35.
fn names_cost_their_entries_and_little_more() -> Result<(), Box<dyn std::error::Error>> {
    let name = |number: u64| {
        let number = number * 7_919 % 100_000;
        TopicName::copy_from(&format!("eu/site/{:03}/device-{number:08}/reading", number % 1000))
    };
    let mut index = NameIndex::new();
    let region = Region::new(ALLOCATOR);
    for number in 0..100_000_u64 {
        index.insert((name(number)?, number));
    }
    let each = held(&region.change()) / index.len();
    assert!(each < 75 + 10, "{each} bytes each");

    for number in (0..100_000).filter(|number| number % 10 > 0) {
        assert!(index.remove(name(number)?.as_bytes()).is_some());
    }
    let each = held(&region.change()) / index.len();
    assert!(each < 75 + 30, "{each} bytes each of those that stayed");
    Ok(())
}

fn what_is_removed_is_given_back() -> Result<(), Box<dyn std::error::Error>> {
    let filter = |number: u32| match number % 3 {
        0 => TopicFilter::new(format!("site/{number}/+")),
        1 => TopicFilter::new(format!("site/{number}")),
        _ => TopicFilter::try_from("site/one filter of many"),
    };
    let mut index = FilterIndex::<u32, u32>::new();
    let kept = 10_000;
    for number in 0..kept {
        index.insert(&filter(number)?, number, number);
    }
    let (result, stats) = count(|| {
        for number in kept..300_000 {
            index.insert(&filter(number)?, number, number);
        }
        for number in kept..300_000 {
            index.remove(&filter(number)?, &number);
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    });
    result?;
    assert_eq!(index.len(), kept as usize);
    let each = held(&stats) / index.len();
    assert!(each < 400, "{each} bytes more for each that stayed");

    let ((), stats) = count(|| drop(index));
    assert!(stats.bytes_deallocated > 0 && stats.allocations == 0);
    Ok(())
}

//! The same broker built in several ways, such as with several allocators: side by side, in turn, several times.

use crate::burst::{self, Burst, mib};
use crate::rate::{self, FAN_OUT, PAIRS};
use crate::{Outcome, resident_each};

const ROUNDS: usize = 3;

#[derive(Default)]
struct Figures {
    idle: Vec<u64>,
    pairs: Vec<u64>,
    fan_out: Vec<u64>,
    bursts: Vec<Burst>,
}

/// `given` are paths, with `NAME=` before each if it is to have a name. Prints a table of medians in Markdown.
pub(crate) fn compare(given: &[&str]) -> Outcome<()> {
    let named = given.iter().map(|given| given.split_once('=').unwrap_or((given, given)));
    let mut all: Vec<_> = named.map(|(name, path)| (name, path, Figures::default())).collect();
    for round in 1..=ROUNDS {
        for (name, path, figures) in &mut all {
            println!("round {round} of {ROUNDS}: {name}");
            figures.idle.push(resident_each(path, crate::clients::Kind::Tcp, crate::IDLE)?);
            figures.pairs.push(rate::measure(path, PAIRS)?);
            figures.fan_out.push(rate::measure(path, FAN_OUT)?);
            figures.bursts.push(burst::measure(path, burst::MESSAGES)?);
        }
    }
    println!(
        "| | QoS 1, pairs, a CPU second | QoS 1, fan-out, a CPU second | idle connection | before | peak | at the end | after 2 s | after 5 s | after 10 s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, _, figures) in &all {
        let of = |each: fn(&Burst) -> u64| {
            format!("{} MiB", mib(median(figures.bursts.iter().map(each).collect())))
        };
        let [at_the_end, two, five, ten] = [
            of(|burst| burst.after[0]),
            of(|burst| burst.after[1]),
            of(|burst| burst.after[2]),
            of(|burst| burst.after[3]),
        ];
        println!(
            "| {name} | {} k | {} k | {} B | {} | {} | {at_the_end} | {two} | {five} | {ten} |",
            median(figures.pairs.clone()) / 1000,
            median(figures.fan_out.clone()) / 1000,
            median(figures.idle.clone()),
            of(|burst| burst.before),
            of(|burst| burst.peak),
        );
    }
    Ok(())
}

fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or_default()
}

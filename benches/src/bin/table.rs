//! Prints what the benches measured last as Markdown: `cargo run --package dunlin-benches --bin table`.
//!
//! A cell is the time of the fastest sample, because what else a machine does only ever adds to it, and how many times
//! the time of Dunlin that is. What writes for vectored output is compared with Dunlin doing so, where it does.

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use dunlin_benches::{exchanges, packets, queues, subscriptions};

/// Marks in a name what writes for vectored output.
const CHAINED: &str = " chained";
/// What others are compared with, the first of these that a row has.
const BASELINES: [&str; 2] = ["dunlin owned", "dunlin"];

/// Nanoseconds by table, by row, by column.
type Tables = BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>>;

fn main() -> io::Result<()> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let mut tables = Tables::new();
    collect(&target.join("criterion"), &mut tables)?;

    let rows: Vec<_> = packets::all()
        .into_iter()
        .map(|sample| sample.name)
        .chain(subscriptions::all().iter().map(|workload| workload.name.to_owned()))
        .chain(exchanges::names())
        .chain(queues::names())
        .collect();
    for (title, table) in &tables {
        print(title, table, &rows);
    }
    Ok(())
}

/// Every measurement is a folder `new` somewhere below, with a file that names it and one with its samples.
fn collect(folder: &Path, tables: &mut Tables) -> io::Result<()> {
    if folder.ends_with("new") {
        let benchmark = fs::read_to_string(folder.join("benchmark.json"))?;
        let sample = fs::read_to_string(folder.join("sample.json"))?;
        let text = |key| after(&benchmark, key)?.strip_prefix('"')?.split('"').next();
        if let (Some(group), Some(column), Some(time)) =
            (text("group_id"), text("function_id"), fastest(&sample))
            && let Some((title, row)) = group.split_once('/')
        {
            let table = tables.entry(title.to_owned()).or_default();
            let time = time / elements(&benchmark);
            table.entry(row.to_owned()).or_default().insert(column.to_owned(), time);
        }
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, tables)?;
        }
    }
    Ok(())
}

/// Packets per iteration.
fn elements(benchmark: &str) -> f64 {
    let number = after(benchmark, "Elements").and_then(|rest| rest.split('}').next());
    number.and_then(|number| number.trim().parse().ok()).unwrap_or(1.0)
}

/// Nanoseconds per iteration in the fastest sample.
fn fastest(sample: &str) -> Option<f64> {
    let iterations = numbers(sample, "iters")?;
    let times = numbers(sample, "times")?;
    times.into_iter().zip(iterations).map(|(time, count)| time / count).reduce(f64::min)
}

fn numbers(json: &str, key: &str) -> Option<Vec<f64>> {
    let list = after(json, key)?.strip_prefix('[')?.split(']').next()?;
    list.split(',').map(|number| number.trim().parse().ok()).collect()
}

/// What follows a key in JSON that has each key once.
fn after<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let (_, value) = json.split_once(&format!("\"{key}\":"))?;
    Some(value.trim_start())
}

fn print(title: &str, table: &BTreeMap<String, BTreeMap<String, f64>>, order: &[String]) {
    let mut columns: Vec<_> =
        table.values().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>().into_iter().collect();
    columns.sort_by_key(|name| !is_ours(name));
    println!(
        "\n| {title} |{}",
        columns.iter().map(|name| format!(" {name} |")).collect::<String>()
    );
    println!("|---|{}", "---:|".repeat(columns.len()));
    for name in order {
        let Some(row) = table.get(name) else { continue };
        let cells = columns.iter().map(|column| cell(row, column));
        println!("| {name} |{}", cells.map(|cell| format!(" {cell} |")).collect::<String>());
    }
}

fn cell(row: &BTreeMap<String, f64>, column: &str) -> String {
    let Some(time) = row.get(column) else { return String::new() };
    let words = match *time {
        time if time < 1e3 => format!("{time:.1} ns"),
        time if time < 1e6 => format!("{:.2} µs", time / 1e3),
        time => format!("{:.2} ms", time / 1e6),
    };
    match baseline(row, column) {
        Some(baseline) if !is_ours(column) => format!("{words} ({:.2})", time / baseline),
        _ => words,
    }
}

fn baseline(row: &BTreeMap<String, f64>, column: &str) -> Option<f64> {
    let chained = column.ends_with(CHAINED).then_some("dunlin chained");
    chained.into_iter().chain(BASELINES).find_map(|name| row.get(name).copied())
}

fn is_ours(column: &str) -> bool {
    column.starts_with("dunlin")
}

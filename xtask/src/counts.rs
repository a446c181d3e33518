//! How many instructions hot operations take: a count does not depend on what else a machine does, a time does.
//!
//! Each operation of `benches/src/bin/operations` runs twice under valgrind, with different numbers of repetitions; what the two
//! runs differ by is the operation's own, without its preparation. Counts move a little with the compiler and with the
//! processor that valgrind finds, hence the tolerance.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::finding::Finding;

/// What was counted before, relative to the repository's root.
pub(crate) const BASELINE: &str = "benches/instructions.txt";
/// An operation may take so much more than before, in percent.
const TOLERANCE_PERCENT: u64 = 5;
/// Repetitions of the two runs.
const FEW: u64 = 200;
const MANY: u64 = 2_200;

/// Instructions by operation.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Builds the operations and counts them all.
pub(crate) fn count(root: &Path) -> io::Result<Counts> {
    let build =
        ["build", "--release", "--locked", "--package", "dunlin-benches", "--bin", "operations"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    if !Command::new(cargo).args(build).current_dir(root).status()?.success() {
        return Err(io::Error::other("the operations do not build"));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let binary = root.join(target).join("release/operations");
    let list = Command::new(&binary).arg("list").output()?;
    let mut counts = Counts::new();
    for name in String::from_utf8_lossy(&list.stdout).lines() {
        let few = run(&binary, name, FEW)?;
        let many = run(&binary, name, MANY)?;
        counts.insert(name.to_owned(), many.saturating_sub(few) / (MANY - FEW));
    }
    Ok(counts)
}

/// The instructions of one run.
fn run(binary: &Path, name: &str, times: u64) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(binary)
        .args([name, &times.to_string()])
        .output()
        .map_err(|error| {
            io::Error::other(format!(
                "valgrind cannot be run: {error}; it is a package of most systems"
            ))
        })?;
    let words = String::from_utf8_lossy(&output.stderr);
    let collected = words.lines().find_map(|line| line.split_once("Collected : "));
    match collected.and_then(|(_, count)| count.trim().parse().ok()) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(io::Error::other(format!("valgrind does not count {name}: {words}"))),
    }
}

/// What stands in a file of `operation count` lines.
pub(crate) fn read(path: &Path) -> io::Result<Counts> {
    let text = fs::read_to_string(path).map_err(|error| {
        io::Error::other(format!(
            "{}: {error}; make it with `cargo xtask counts --write`",
            path.display()
        ))
    })?;
    parse(&text).ok_or_else(|| {
        io::Error::other(format!("{}: each line is an operation and a number", path.display()))
    })
}

fn parse(text: &str) -> Option<Counts> {
    text.lines()
        .map(|line| {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        })
        .collect()
}

pub(crate) fn write(path: &Path, counts: &Counts) -> io::Result<()> {
    let lines = counts.iter().map(|(name, count)| format!("{name} {count}\n"));
    fs::write(path, lines.collect::<String>())
}

/// What was counted beside what was before.
pub(crate) struct Report {
    pub(crate) table: String,
    pub(crate) findings: Vec<Finding>,
}

pub(crate) fn compare(before: &Counts, now: &Counts) -> Report {
    let mut table = format!("{:<34} {:>8} {:>8} {:>7}\n", "instructions", "before", "now", "ratio");
    let mut findings = Vec::new();
    for (name, &count) in now {
        let Some(&old) = before.get(name) else {
            findings.push(Finding::in_file(
                BASELINE,
                format!("{name} is not in it: `cargo xtask counts --write`"),
            ));
            continue;
        };
        let percent = count * 100 / old.max(1);
        table.push_str(&format!(
            "{name:<34} {old:>8} {count:>8} {:>3}.{:02}\n",
            percent / 100,
            percent % 100
        ));
        if count * 100 > old * (100 + TOLERANCE_PERCENT) {
            findings.push(Finding::in_file(
                BASELINE,
                format!("{name} takes {count} instructions, {old} before"),
            ));
        }
    }
    for name in before.keys().filter(|name| !now.contains_key(*name)) {
        findings.push(Finding::in_file(BASELINE, format!("there is no operation {name}")));
    }
    Report { table, findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, u64)]) -> Counts {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn what_takes_more_than_the_tolerance_is_found() {
        let before = counts(&[("gone", 1), ("less", 100), ("more", 100), ("within", 100)]);
        let now = counts(&[("less", 50), ("more", 106), ("new", 7), ("within", 105)]);
        let Report { table, findings } = compare(&before, &now);
        let expected = [
            "more takes 106 instructions, 100 before",
            "new is not in it: `cargo xtask counts --write`",
            "there is no operation gone",
        ];
        assert_eq!(findings, expected.map(|words| Finding::in_file(BASELINE, words)));
        let lines = [
            "instructions                         before      now   ratio",
            "less                                    100       50   0.50",
            "more                                    100      106   1.06",
            "within                                  100      105   1.05",
        ];
        assert_eq!(table, lines.map(|line| format!("{line}\n")).concat());
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(parse("a/b 12\nc 3\n"), Some(counts(&[("a/b", 12), ("c", 3)])));
        assert_eq!(parse("a/b\n"), None);
        assert_eq!(parse("a x\n"), None);
    }
}

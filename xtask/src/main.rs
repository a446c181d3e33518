//! Checks of this repository that need logic, so that they are Rust and not shell.
//!
//! `cargo xtask spec` compares what the code cites with the two standards; `cargo xtask tidy` looks for what no compiler
//! sees: layers, leftover marks, dead files. Both are tests too, so that `cargo test --workspace` runs them. `cargo xtask
//! counts` counts the instructions of hot operations, and needs valgrind.

mod citation;
mod counts;
mod csv;
mod finding;
mod layers;
mod norms;
mod spec;
mod tidy;
mod tree;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::finding::Finding;
use crate::tree::Tree;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  spec   which statements of the standards are cited, by code and by tests; fails on unknown ids
  tidy   layers, leftover marks, titles, file sizes, dead files; fails on any finding
  counts [--write]
         instructions of hot operations, counted by valgrind, beside benches/instructions.txt; fails where one takes
         more than before by more than the tolerance; --write keeps what was counted as what to compare with
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let root = tree::repository_root();
    let outcome = match (command.as_deref(), arguments.next().as_deref()) {
        (Some("spec"), None) => run_spec(&root),
        (Some("tidy"), None) => run_tidy(&root),
        (Some("counts"), None) => run_counts(&root, false),
        (Some("counts"), Some("--write")) => run_counts(&root, true),
        (Some("help" | "--help" | "-h"), None) => print(USAGE).map(|()| true),
        _ => {
            // A usage error is the caller's: its text belongs on the error stream.
            return io::stderr()
                .write_all(USAGE.as_bytes())
                .map_or(ExitCode::FAILURE, |()| ExitCode::from(2));
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_spec(root: &Path) -> io::Result<bool> {
    let report = spec::report(&Tree::read(root)?)?;
    print(&report.to_string())?;
    conclude("spec", &report.findings)
}

fn run_tidy(root: &Path) -> io::Result<bool> {
    let tree = Tree::read(root)?;
    conclude("tidy", &tidy::findings(&tree)?)
}

fn run_counts(root: &Path, write: bool) -> io::Result<bool> {
    let counts = counts::count(root)?;
    let path = root.join(counts::BASELINE);
    if write {
        counts::write(&path, &counts)?;
        return print(&format!("counts: {} operations written\n", counts.len())).map(|()| true);
    }
    let report = counts::compare(&counts::read(&path)?, &counts);
    print(&report.table)?;
    conclude("counts", &report.findings)
}

/// Prints the findings and a closing line; true when there are none.
fn conclude(name: &str, findings: &[Finding]) -> io::Result<bool> {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!("{finding}\n"));
    }
    text.push_str(&format!("{name}: {} findings\n", findings.len()));
    print(&text)?;
    Ok(findings.is_empty())
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

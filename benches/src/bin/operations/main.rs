//! Does one hot operation a number of times: `operations NAME TIMES`, or `operations list`.
//!
//! It is what `cargo xtask counts` counts the instructions of, twice with different numbers: the difference is what the
//! operation itself takes, whatever its preparation took.

#![expect(clippy::print_stdout, reason = "the list is what is asked for")]

mod access;
mod codec;
mod session;
mod topics;

use std::process::ExitCode;

/// Prepares, then does the operation so many times.
type Operation = fn(u32);

fn all() -> impl Iterator<Item = (&'static str, Operation)> {
    let groups = [codec::OPERATIONS, topics::OPERATIONS, access::OPERATIONS, session::OPERATIONS];
    groups.into_iter().flatten().copied()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["list"] => {
            all().for_each(|(name, _)| println!("{name}"));
            ExitCode::SUCCESS
        }
        [name, times] => {
            let operation = all().find(|(known, _)| known == name).map(|(_, operation)| operation);
            let (Some(operation), Ok(times)) = (operation, times.parse()) else {
                println!("no operation {name}, or {times} is no number: see `operations list`");
                return ExitCode::FAILURE;
            };
            operation(times);
            ExitCode::SUCCESS
        }
        _ => {
            println!("operations NAME TIMES | operations list");
            ExitCode::FAILURE
        }
    }
}

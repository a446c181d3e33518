//! What threads cost each other: `contention [parts|broker] [--threads 1,2,4,8] [--seconds 1]`.
//!
//! Each row is one thing that connections share, each column a number of threads that use it at once. A cell is the CPU
//! time of one operation in ns, with the context switches that threads asked for, by a thousand operations. Where there
//! are more threads than cores nothing can get faster; what a thing costs in CPU time says whether it would: it stays the
//! same where nobody waits for anybody, and grows with the threads where they do.

#![expect(clippy::print_stdout, reason = "the table is what is asked for")]

mod broker;
mod clients;
mod measure;
mod parts;

use std::process::ExitCode;
use std::time::Duration;

use measure::Cost;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What can go wrong here is of no interest beyond its words.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much is measured.
#[derive(Clone, Debug)]
struct Options {
    threads: Vec<usize>,
    /// Of each cell.
    lasts: Duration,
    parts: bool,
    broker: bool,
    /// What a row's name must have in it.
    only: String,
}

impl Options {
    fn read() -> Option<Self> {
        let mut options = Self {
            threads: vec![1, 2, 4, 8],
            lasts: Duration::from_secs(1),
            parts: true,
            broker: true,
            only: String::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "parts" => options.broker = false,
                "broker" => options.parts = false,
                "--threads" => {
                    let list = arguments.next()?;
                    options.threads =
                        list.split(',').map(|count| count.parse().ok()).collect::<Option<_>>()?;
                }
                "--seconds" => {
                    options.lasts =
                        Duration::try_from_secs_f64(arguments.next()?.parse().ok()?).ok()?
                }
                "--only" => options.only = arguments.next()?,
                _ => return None,
            }
        }
        Some(options)
    }

    fn head(&self, title: &str) {
        let columns: String = self.threads.iter().map(|count| format!(" {count} |")).collect();
        println!("\n| {title} |{columns}\n|---|{}", "---:|".repeat(self.threads.len()));
    }

    fn row(&self, name: &str, mut cell: impl FnMut(usize) -> Outcome<Cost>) -> Outcome<()> {
        if !name.contains(&self.only) {
            return Ok(());
        }
        let cells: Outcome<String> =
            self.threads.iter().map(|count| Ok(format!(" {} |", cell(*count)?))).collect();
        println!("| {name} |{}", cells?);
        Ok(())
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::read() else {
        println!("contention [parts|broker] [--threads 1,2,4,8] [--seconds 1] [--only WORDS]");
        return ExitCode::FAILURE;
    };
    let measured = (|| {
        if options.parts {
            parts::measure(&options)?;
        }
        if options.broker {
            broker::measure(&options)?;
        }
        Outcome::Ok(())
    })();
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

//! The program `dunlin`. What it does is in the library of this name; the allocator is the program's own affair.

use std::process::ExitCode;

// Queues free on one thread what another allocated, at millions of messages a second: see docs/adr/0003.
#[cfg(all(feature = "jemalloc", unix))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(all(feature = "mimalloc", not(all(feature = "jemalloc", unix))))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    dunlin::main()
}

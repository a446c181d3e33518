//! CPU time and context switches of threads, as the system counts them.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::Outcome;

/// Operations between two looks at the clock.
const STRIDE: u64 = 64;

/// What threads have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Nanoseconds on a processor.
    pub(crate) cpu: u64,
    /// Context switches that the thread asked for, because it waited.
    pub(crate) waits: u64,
}

/// What operations took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) operations: u64,
    pub(crate) used: Used,
}

impl Used {
    /// Of the calling thread.
    pub(crate) fn here() -> Outcome<Self> {
        Self::of("/proc/thread-self")
    }

    /// Of all threads of this process whose names begin like this.
    pub(crate) fn by_name(prefix: &str) -> Outcome<Self> {
        let mut used = Self::default();
        for entry in fs::read_dir("/proc/self/task")? {
            let folder = entry?.path();
            let folder = folder.to_str().unwrap_or_default();
            // A thread may end meanwhile.
            let name = fs::read_to_string(format!("{folder}/comm")).unwrap_or_default();
            if name.starts_with(prefix) {
                used += Self::of(folder).unwrap_or_default();
            }
        }
        Ok(used)
    }

    fn of(folder: &str) -> Outcome<Self> {
        let schedule = fs::read_to_string(format!("{folder}/schedstat"))?;
        let cpu = schedule.split_ascii_whitespace().next().ok_or("schedstat is empty")?.parse()?;
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let waits = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
            .ok_or("status says nothing of context switches")?
            .trim()
            .parse()?;
        Ok(Self { cpu, waits })
    }

    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            waits: self.waits.saturating_sub(earlier.waits),
        }
    }
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.waits += other.waits;
    }
}

impl fmt::Display for Cost {
    #[expect(clippy::cast_precision_loss, reason = "of counts below 2^52")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations = self.operations.max(1) as f64;
        let cpu = self.used.cpu as f64 / operations;
        write!(f, "{cpu:.*}", if cpu < 100.0 { 1 } else { 0 })?;
        let waits = self.used.waits as f64 * 1000.0 / operations;
        if waits >= 0.05 { write!(f, " ({waits:.1})") } else { Ok(()) }
    }
}

/// Has so many threads do operations at once; each makes its own.
pub(crate) fn threads<O: FnMut() + 'static>(
    count: usize,
    lasts: Duration,
    make: impl Fn(usize) -> O + Send + Sync + 'static,
) -> Outcome<Cost> {
    let stop = Arc::new(AtomicBool::new(false));
    let begin = Arc::new(Barrier::new(count + 1));
    let make = Arc::new(make);
    let workers: Vec<_> = (0..count)
        .map(|number| {
            let (stop, begin, make) = (Arc::clone(&stop), Arc::clone(&begin), Arc::clone(&make));
            thread::spawn(move || {
                let mut operation = make(number);
                begin.wait();
                let before = Used::here()?;
                let mut operations = 0;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..STRIDE {
                        operation();
                    }
                    operations += STRIDE;
                }
                Outcome::Ok(Cost { operations, used: Used::here()?.since(before) })
            })
        })
        .collect();
    begin.wait();
    thread::sleep(lasts);
    stop.store(true, Ordering::Relaxed);
    let mut whole = Cost::default();
    for worker in workers {
        let cost = worker.join().map_err(|_| "a thread panicked")??;
        whole.operations += cost.operations;
        whole.used += cost.used;
    }
    Ok(whole)
}

/// Does something a thousand times a second until it is dropped.
pub(crate) struct Meanwhile {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Meanwhile {
    pub(crate) fn start(mut act: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                act();
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

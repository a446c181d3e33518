//! What the kernel says of processes and of the machine. Linux only.

use std::fs;

use crate::Outcome;

/// Of processor times in /proc: USER_HZ, which is 100 on every architecture that Linux runs on with glibc or musl.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds since the start: of the broker, of this program, and of everything on the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Processors {
    pub(crate) broker: f64,
    pub(crate) load: f64,
    pub(crate) all: f64,
}

impl Processors {
    pub(crate) fn now(broker: Option<u32>) -> Outcome<Self> {
        let broker = broker.map_or(Ok(0.0), |pid| of_process(&pid.to_string()))?;
        Ok(Self { broker, load: of_process("self")?, all: of_machine()? })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            broker: self.broker - before.broker,
            load: self.load - before.load,
            all: self.all - before.all,
        }
    }

    /// What neither is the broker's nor this program's.
    pub(crate) fn others(self) -> f64 {
        (self.all - self.broker - self.load).max(0.0)
    }
}

/// utime and stime, of all threads, those included that have ended.
fn of_process(process: &str) -> Outcome<f64> {
    let stat = read(&format!("/proc/{process}/stat"))?;
    // The name, which comes second, may hold anything but ends with the last bracket.
    let after = stat.rsplit_once(") ").ok_or("no name in stat")?.1;
    let fields = after.split(' ').skip(11).take(2);
    ticks(fields)
}

/// All but idle and iowait: user, nice, system, irq, softirq, steal.
fn of_machine() -> Outcome<f64> {
    let stat = read("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let fields = line.split_ascii_whitespace().skip(1).take(8).enumerate();
    ticks(fields.filter(|(index, _)| ![3, 4].contains(index)).map(|(_, field)| field))
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> Outcome<f64> {
    let mut sum = 0.0;
    for field in fields {
        sum += field.parse::<f64>()?;
    }
    Ok(sum / TICKS_PER_SECOND)
}

/// Resident bytes now, and at the most since the process started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(process: Option<u32>) -> Outcome<Self> {
        let Some(pid) = process else { return Ok(Self::default()) };
        let status = read(&format!("/proc/{pid}/status"))?;
        let of = |name: &str| -> Outcome<u64> {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no memory")?;
            Ok(1024 * line.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<u64>()?)
        };
        Ok(Self { now: of("VmRSS")?, peak: of("VmHWM")? })
    }
}

fn read(path: &str) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_processors() {
        let before = Processors::now(Some(std::process::id())).unwrap();
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 60 {}
        let used = Processors::now(Some(std::process::id())).unwrap().since(before);
        assert!(used.broker > 0.0 && used.load > 0.0 && used.all > 0.0, "{used:?}");
        let memory = Memory::of(Some(std::process::id())).unwrap();
        assert!(memory.now > 0 && memory.peak >= memory.now, "{memory:?}");
    }
}

//! This machine's counters, as Linux tells them under `/proc`.

use std::fs;
use std::io;
use std::path::Path;

/// One value and the topic below the host's own under which it is published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reading {
    /// `memory/available_bytes`, `network/eth0/received_bytes`.
    pub(crate) topic: String,
    pub(crate) value: String,
}

impl Reading {
    fn new(topic: impl Into<String>, value: impl ToString) -> Self {
        Self { topic: topic.into(), value: value.to_string() }
    }
}

/// Reads the counters. CPU use is a difference between two readings, so the sampler remembers the last one.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    last_cpu: Option<CpuTime>,
}

impl Sampler {
    /// All readings of this moment from the tree below `proc`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub(crate) fn sample(&mut self, proc: &Path) -> io::Result<Vec<Reading>> {
        let text = |name: &str| fs::read_to_string(proc.join(name));
        let mut readings = self.cpu(&text("stat")?);
        readings.extend(load(&text("loadavg")?));
        readings.extend(memory(&text("meminfo")?));
        readings.extend(disks(&text("diskstats")?));
        readings.extend(networks(&text("net/dev")?));
        readings.extend(uptime(&text("uptime")?));
        Ok(readings)
    }

    /// The share of time since the last reading in which the processors worked; the first reading has none.
    fn cpu(&mut self, stat: &str) -> Vec<Reading> {
        let Some(now) = CpuTime::read(stat) else { return Vec::new() };
        let last = self.last_cpu.replace(now);
        let mut readings = Vec::from([Reading::new("cpu/busy_ticks", now.busy)]);
        if let Some(percent) = last.and_then(|last| now.percent_since(last)) {
            readings.push(Reading::new("cpu/used_percent", percent));
        }
        readings
    }
}

/// Ticks since the machine started, over all processors.
#[derive(Clone, Copy, Debug)]
struct CpuTime {
    busy: u64,
    all: u64,
}

impl CpuTime {
    fn read(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of user and nice already.
        let ticks: Vec<u64> =
            line.split_whitespace().take(8).filter_map(|tick| tick.parse().ok()).collect();
        let waiting: u64 = ticks.iter().skip(3).take(2).sum();
        let all: u64 = ticks.iter().sum();
        Some(Self { busy: all - waiting, all })
    }

    fn percent_since(self, last: Self) -> Option<u64> {
        let all = self.all.checked_sub(last.all).filter(|&ticks| ticks > 0)?;
        Some(self.busy.saturating_sub(last.busy) * 100 / all)
    }
}

fn load(loadavg: &str) -> Vec<Reading> {
    let names = ["load/1min", "load/5min", "load/15min"];
    names
        .into_iter()
        .zip(loadavg.split_whitespace())
        .map(|(name, value)| Reading::new(name, value))
        .collect()
}

fn memory(meminfo: &str) -> Vec<Reading> {
    let names = [
        ("MemTotal:", "memory/total_bytes"),
        ("MemAvailable:", "memory/available_bytes"),
        ("Cached:", "memory/cached_bytes"),
        ("SwapTotal:", "memory/swap_total_bytes"),
        ("SwapFree:", "memory/swap_free_bytes"),
    ];
    let reading = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let (_, topic) = names.iter().find(|(known, _)| *known == name)?;
        let kibibytes: u64 = words.next()?.parse().ok()?;
        Some(Reading::new(*topic, kibibytes * 1024))
    };
    meminfo.lines().filter_map(reading).collect()
}

/// The kernel counts in sectors of 512 bytes, whatever the disk's own.
const SECTOR_BYTES: u64 = 512;

fn disks(diskstats: &str) -> Vec<Reading> {
    let readings = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, _, name, _, _, read, _, _, _, written, ..] = words.as_slice() else { return None };
        let is_virtual = name.starts_with("loop") || name.starts_with("ram");
        let (read, written): (u64, u64) = (read.parse().ok()?, written.parse().ok()?);
        (!is_virtual && read + written > 0).then(|| {
            [
                Reading::new(format!("disk/{name}/read_bytes"), read * SECTOR_BYTES),
                Reading::new(format!("disk/{name}/written_bytes"), written * SECTOR_BYTES),
            ]
        })
    };
    diskstats.lines().filter_map(readings).flatten().collect()
}

fn networks(dev: &str) -> Vec<Reading> {
    let readings = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let name = name.trim();
        let counters: Vec<u64> =
            counters.split_whitespace().filter_map(|counter| counter.parse().ok()).collect();
        let &[received, .., sent, _, _, _, _, _, _, _] = counters.as_slice() else { return None };
        (received + sent > 0).then(|| {
            [
                Reading::new(format!("network/{name}/received_bytes"), received),
                Reading::new(format!("network/{name}/sent_bytes"), sent),
            ]
        })
    };
    dev.lines().filter_map(readings).flatten().collect()
}

fn uptime(uptime: &str) -> Vec<Reading> {
    let seconds = uptime.split('.').next().unwrap_or_default();
    Vec::from([Reading::new("uptime_seconds", seconds)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(readings: Vec<Reading>, expected: &[(&str, &str)]) {
        let readings: Vec<(&str, &str)> = readings
            .iter()
            .map(|reading| (reading.topic.as_str(), reading.value.as_str()))
            .collect();
        assert_eq!(readings, expected);
    }

    #[test]
    fn cpu_use_is_a_difference() {
        let mut sampler = Sampler::default();
        check(
            sampler.cpu("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 2 3\n"),
            &[("cpu/busy_ticks", "20")],
        );
        check(
            sampler.cpu("cpu  40 0 20 120 20 0 0 0 7 7\n"),
            &[("cpu/busy_ticks", "60"), ("cpu/used_percent", "40")],
        );
        check(sampler.cpu("cpu  40 0 20 120 20 0 0 0 7 7\n"), &[("cpu/busy_ticks", "60")]);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        check(
            memory(
                "MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\nCached: 3 kB\nSwapCached: 9 kB\n",
            ),
            &[
                ("memory/total_bytes", "2097152"),
                ("memory/available_bytes", "1048576"),
                ("memory/cached_bytes", "3072"),
            ],
        );
    }

    #[test]
    fn disks_and_networks_that_never_worked_are_left_out() {
        check(
            disks(
                "   7  0 loop0 5 0 8 0 0 0 0 0 0 0 0\n 254 0 vda 9 0 4 1 7 0 2 1 0 1 1\n 254 16 vdb 0 0 0 0 0 0 0 0 0 0 0\n",
            ),
            &[("disk/vda/read_bytes", "2048"), ("disk/vda/written_bytes", "1024")],
        );
        check(
            networks(
                "Inter-|   Receive | Transmit\n face |bytes packets\n    lo: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n  eth1: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
            ),
            &[("network/lo/received_bytes", "5"), ("network/lo/sent_bytes", "6")],
        );
    }

    #[test]
    fn load_and_uptime() {
        check(
            load("2.38 1.01 0.43 4/109 5140\n"),
            &[("load/1min", "2.38"), ("load/5min", "1.01"), ("load/15min", "0.43")],
        );
        check(uptime("351735.47 234388.90\n"), &[("uptime_seconds", "351735")]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_counters() {
        let readings = Sampler::default().sample(Path::new("/proc")).expect("a /proc");
        for topic in ["cpu/busy_ticks", "load/1min", "memory/total_bytes", "uptime_seconds"] {
            assert!(readings.iter().any(|reading| reading.topic == topic), "{topic}: {readings:?}");
        }
        let legal = |reading: &Reading| !reading.topic.contains(['+', '#']);
        assert!(
            readings.iter().all(legal),
            "a Topic Name holds no wildcard [MQTT-3.3.2-2]: {readings:?}"
        );
    }
}

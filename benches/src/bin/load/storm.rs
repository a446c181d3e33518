//! Clients that connect and subscribe as fast as the broker lets them in, and stay: what each takes of its time and
//! memory.

use std::time::Duration;

use mio::{Events, Poll};

use crate::Outcome;
use crate::clock::Clock;
use crate::dialer::{Dialer, Then};
use crate::options::Options;
use crate::process::{Memory, Processors};
use crate::publisher::nanos;
use crate::report::{Report, float, micros};

/// What the first ones make for all is not theirs.
const BEFORE: u64 = 100;

pub(crate) fn run(options: &Options) -> Outcome<Report> {
    let mut storm =
        Storm { poll: Poll::new()?, events: Events::with_capacity(1024), clock: Clock::start() };
    let mut first = Dialer::new(options, Then::Subscribe, "first", 1 << 40);
    storm.dial(&mut first, options, BEFORE)?;
    let before = Memory::of(options.pid)?;
    let count = u64::try_from(options.connections)?;
    let mut dialer = Dialer::new(options, Then::Subscribe, "storm", 0);
    let (began, processors) = (storm.clock.now(), Processors::now(options.pid)?);
    storm.dial(&mut dialer, options, count)?;
    let secs = micros(storm.clock.now() - began) / 1e6;
    let used = Processors::now(options.pid)?.since(processors);
    std::thread::sleep(options.hold);
    let after = Memory::of(options.pid)?;
    let mut report = Report { clients: options.connections, ..Report::default() };
    report.window(secs, used, secs, float(dialer.served));
    report.refused = dialer.failed;
    report.lost = count - dialer.served;
    report.rss_before = before.now;
    report.rss_peak = after.peak;
    report.rss_end = after.now;
    let each = float(dialer.served.max(1));
    report.add("connects_per_s", float(dialer.served) / secs);
    report.add("cpu_us_each", used.broker * 1e6 / each);
    report.add("resident_bytes_each", (float(after.now) - float(before.now)) / each);
    Ok(report)
}

struct Storm {
    poll: Poll,
    events: Events,
    clock: Clock,
}

impl Storm {
    /// Until all are served or failed, or nothing has come of any for a while.
    fn dial(&mut self, dialer: &mut Dialer, options: &Options, count: u64) -> Outcome<()> {
        let outstanding = u64::try_from(options.outstanding)?;
        let idle = u64::try_from(options.idle.as_nanos())?.max(3_000_000_000);
        let (began, mut begun) = (self.clock.now(), 0);
        let (mut ended, mut last) = (0, began);
        while ended < count {
            let now = self.clock.now();
            let is_due = |message| options.rate == 0 || began + nanos(message, options.rate) <= now;
            while begun < count && dialer.outstanding() < outstanding && is_due(begun) {
                dialer.dial(self.poll.registry())?;
                begun += 1;
            }
            self.poll.poll(&mut self.events, Some(Duration::from_millis(1)))?;
            for event in &self.events {
                dialer.event(self.poll.registry(), event.token())?;
            }
            if dialer.served + dialer.failed > ended {
                (ended, last) = (dialer.served + dialer.failed, now);
            } else if now - last > idle {
                break;
            }
        }
        Ok(())
    }
}

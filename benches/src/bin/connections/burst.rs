//! Large messages that pile up for clients that do not read, and the memory that is given back when these have read them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::broker::Broker;
use crate::clients::Kind;
use crate::mqtt::Client;

pub(crate) const MESSAGES: usize = 100_000;
const PAYLOAD: usize = 16 * 1024;
/// Publishers, each with a subscriber of its own.
const PAIRS: usize = 10;
const WINDOW: usize = 50;
/// After the last message was taken.
const SECONDS: [u64; 4] = [0, 2, 5, 10];

/// Resident bytes.
pub(crate) struct Burst {
    pub(crate) before: u64,
    pub(crate) peak: u64,
    /// After each of [`SECONDS`].
    pub(crate) after: [u64; SECONDS.len()],
}

impl Burst {
    /// What is left after the longest time, above what there was before.
    pub(crate) fn left(&self) -> u64 {
        self.after.last().copied().unwrap_or_default().saturating_sub(self.before)
    }
}

impl fmt::Display for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "before {}, peak {} MiB;", mib(self.before), mib(self.peak))?;
        for (seconds, bytes) in SECONDS.iter().zip(self.after) {
            write!(f, " {} after {seconds} s,", mib(bytes))?;
        }
        write!(f, " so {} MiB kept", mib(self.left()))
    }
}

pub(crate) fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

pub(crate) fn measure(binary: &str, messages: usize) -> Outcome<Burst> {
    let broker = Broker::start(binary)?;
    let port = broker.port(Kind::Tcp);
    let each = messages / PAIRS;
    let mut pairs = Vec::new();
    for number in 0..PAIRS {
        let topic = format!("burst/{number}");
        let mut subscriber = Client::connect(port, &format!("s{number}"))?;
        subscriber.subscribe(&topic)?;
        let mut publisher = Client::connect(port, &format!("p{number}"))?;
        // What the first messages make for all is not the burst's.
        publisher.publish(&topic, &[0; PAYLOAD], 10, 10)?;
        subscriber.take(&topic, PAYLOAD, 10)?;
        pairs.push((topic, publisher, subscriber));
    }
    thread::sleep(Duration::from_secs(1));
    let before = broker.resident_bytes()?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let peak = scope.spawn(|| {
            let mut peak = 0;
            while !over.load(Ordering::Relaxed) {
                peak = broker.resident_bytes()?.max(peak);
                thread::sleep(Duration::from_millis(20));
            }
            Outcome::Ok(peak)
        });
        let published = at_once(&mut pairs, |topic, publisher, _| {
            publisher.publish(topic, &[0; PAYLOAD], each, WINDOW)
        });
        let taken = published.and_then(|()| {
            at_once(&mut pairs, |topic, _, subscriber| subscriber.take(topic, PAYLOAD, each))
        });
        over.store(true, Ordering::Relaxed);
        let peak = peak.join().map_err(|_| "a thread failed")?;
        taken?;
        let drained = Instant::now();
        let mut after = [0; SECONDS.len()];
        for (bytes, seconds) in after.iter_mut().zip(SECONDS) {
            thread::sleep(Duration::from_secs(seconds).saturating_sub(drained.elapsed()));
            *bytes = broker.resident_bytes()?;
        }
        Ok(Burst { before, peak: peak?, after })
    })
}

/// Does the same with all pairs, each in a thread of its own.
fn at_once(
    pairs: &mut [(String, Client, Client)],
    act: impl Fn(&str, &mut Client, &mut Client) -> Outcome<()> + Sync,
) -> Outcome<()> {
    thread::scope(|scope| {
        let act = &act;
        let running: Vec<_> = pairs
            .iter_mut()
            .map(|(topic, publisher, subscriber)| {
                scope.spawn(move || act(topic, publisher, subscriber))
            })
            .collect();
        running.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread failed")?)
    })
}

//! A hundred clients that send each other messages at a steady rate, and how long those take.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::clients::connect;

const CLIENTS: usize = 100;
/// Between two messages of all.
const STEP: Duration = Duration::from_micros(500);

pub(crate) struct Exchange {
    times: Arc<Mutex<Vec<Duration>>>,
}

/// How long the messages of some time took.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    fn at(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list of some thousands"
        )]
        let place = (self.0.len() as f64 * share) as usize;
        self.0.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn p99(&self) -> Duration {
        self.at(0.99)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.at(share).as_secs_f64() * 1e3);
        let most = self.0.last().copied().unwrap_or_default().as_secs_f64() * 1e3;
        write!(
            f,
            "{} messages, p50 {p50:.3}, p99 {p99:.3}, p99.9 {p999:.3}, at most {most:.3} ms",
            self.0.len()
        )
    }
}

impl Exchange {
    /// Each client subscribes to its own topic and publishes to the next one's, in turn, for as long as the process lives.
    pub(crate) fn start(port: u16) -> Outcome<Self> {
        let times = Arc::new(Mutex::new(Vec::new()));
        let began = Instant::now();
        let mut streams = Vec::with_capacity(CLIENTS);
        for number in 0..CLIENTS {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.write_all(&connect(&format!("x{number:02}")))?;
            stream.read_exact(&mut [0; 4])?;
            let subscribe =
                [&[0x82, 8, 0, 1, 0, 3][..], format!("x{number:02}").as_bytes(), &[0]].concat();
            stream.write_all(&subscribe)?;
            stream.read_exact(&mut [0; 5])?;
            let (mut reader, times) = (stream.try_clone()?, Arc::clone(&times));
            // A message is a topic of three bytes and the time when it was due.
            thread::spawn(move || {
                let mut message = [0; 15];
                while reader.read_exact(&mut message).is_ok() {
                    let due = message.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                    let took = began.elapsed().saturating_sub(Duration::from_nanos(due));
                    if let Ok(mut times) = times.lock() {
                        times.push(took);
                    }
                }
            });
            streams.push(stream);
        }
        thread::spawn(move || {
            let mut due = began.elapsed();
            for number in (0..CLIENTS).cycle() {
                due += STEP;
                thread::sleep(due.saturating_sub(began.elapsed()));
                let to = (number + 1) % CLIENTS;
                let nanos = u64::try_from(due.as_nanos()).unwrap_or_default();
                let head = [&[0x30, 13, 0, 3][..], format!("x{to:02}").as_bytes()].concat();
                let message = [head.as_slice(), &nanos.to_be_bytes()].concat();
                let sent = streams.get_mut(number).map(|stream| stream.write_all(&message));
                if !matches!(sent, Some(Ok(()))) {
                    return;
                }
            }
        });
        Ok(Self { times })
    }

    pub(crate) fn during(&self, time: Duration) -> Outcome<Times> {
        let until = Instant::now() + time;
        self.until(|| Ok(Instant::now() >= until))
    }

    pub(crate) fn until(&self, mut over: impl FnMut() -> Outcome<bool>) -> Outcome<Times> {
        self.taken()?;
        while !over()? {
            thread::sleep(Duration::from_millis(20));
        }
        let mut times = self.taken()?;
        times.sort_unstable();
        Ok(Times(times))
    }

    fn taken(&self) -> Outcome<Vec<Duration>> {
        Ok(std::mem::take(&mut *self.times.lock().map_err(|_| "a client failed")?))
    }
}

//! Messages at QoS 1 for each second of the broker's processor time.

use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::broker::Broker;
use crate::clients::Kind;
use crate::mqtt::Client;

const PAYLOAD: usize = 64;
const WINDOW: usize = 100;
const SECONDS: u64 = 4;

/// Who publishes to how many.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    topics: usize,
    subscribers_each: usize,
}

/// Twenty pairs.
pub(crate) const PAIRS: Shape = Shape { topics: 20, subscribers_each: 1 };
/// One to fifty.
pub(crate) const FAN_OUT: Shape = Shape { topics: 1, subscribers_each: 50 };

/// Deliveries for each second of the broker's processor time.
pub(crate) fn measure(binary: &str, shape: Shape) -> Outcome<u64> {
    let broker = Broker::start(binary)?;
    let port = broker.port(Kind::Tcp);
    let mut publishers = Vec::new();
    let mut subscribers = Vec::new();
    for number in 0..shape.topics {
        let topic = format!("rate/{number:02}");
        for subscriber in 0..shape.subscribers_each {
            let mut client = Client::connect(port, &format!("s{number}-{subscriber}"))?;
            client.subscribe(&topic)?;
            subscribers.push((topic.clone(), client));
        }
        publishers.push((topic, Client::connect(port, &format!("p{number}"))?));
    }
    thread::scope(|scope| {
        let takers: Vec<_> = subscribers
            .into_iter()
            .map(|(topic, mut client)| {
                scope.spawn(move || {
                    let mut taken = 0_u64;
                    // Ends with its publisher's last window, when the broker does.
                    while client.take(&topic, PAYLOAD, WINDOW).is_ok() {
                        taken += WINDOW as u64;
                    }
                    taken
                })
            })
            .collect();
        let began = Instant::now();
        let senders: Vec<_> = publishers
            .into_iter()
            .map(|(topic, mut client)| {
                scope.spawn(move || {
                    while began.elapsed() < Duration::from_secs(SECONDS) {
                        client.publish(&topic, &[b'x'; PAYLOAD], WINDOW, WINDOW)?;
                    }
                    Outcome::Ok(())
                })
            })
            .collect();
        let sent: Outcome<()> = senders
            .into_iter()
            .try_for_each(|sender| sender.join().map_err(|_| "a publisher failed")?);
        // What is on its way arrives.
        thread::sleep(Duration::from_secs(1));
        let cpu = broker.cpu_seconds()?;
        drop(broker);
        let taken: u64 = takers.into_iter().map(|taker| taker.join().unwrap_or_default()).sum();
        sent?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rate of some millions, to be read by people"
        )]
        let rate = (taken as f64 / cpu) as u64;
        Ok(rate)
    })
}

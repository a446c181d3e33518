//! What a run came to: one line of JSON.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::process::Processors;

/// Times are in the unit of the field's name, memory in bytes. What a scenario does not have is left out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    pub(crate) mqtt: &'static str,
    pub(crate) qos: u8,
    pub(crate) payload: usize,
    pub(crate) clients: usize,
    /// Of the whole run: messages published, deliveries that these were to lead to, and those that came, each once.
    pub(crate) sent: u64,
    pub(crate) expected: u64,
    pub(crate) received: u64,
    /// Expected and not received.
    pub(crate) lost: u64,
    /// Numbers that came again, or after a later one.
    pub(crate) duplicates: u64,
    /// Numbers that a later one came before.
    pub(crate) gaps: u64,
    /// Packets that are none, or not as the message was sent.
    pub(crate) bad_frames: u64,
    /// Messages that nobody asked for there.
    pub(crate) misrouted: u64,
    /// Acknowledgements out of order, and those that did not come.
    pub(crate) disordered: u64,
    pub(crate) unacknowledged: u64,
    pub(crate) refused: u64,
    /// Connections that the broker closed.
    pub(crate) closed: usize,
    /// Times that all credit was gone with what it stood for.
    pub(crate) stalls: u64,
    /// Inside of the window: how long it was, deliveries a second, and a second of the broker's processor time.
    pub(crate) window_secs: f64,
    pub(crate) rate: f64,
    pub(crate) per_cpu_second: Option<f64>,
    pub(crate) broker_cpu_secs: f64,
    pub(crate) broker_cores: f64,
    pub(crate) load_cores: f64,
    pub(crate) other_cores: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) max_us: Option<f64>,
    /// How late the load itself was with messages that were due: part of their times.
    pub(crate) late_max_us: Option<f64>,
    /// Of the broker: before the clients came, at the most until the end, and at the end.
    pub(crate) rss_before: u64,
    pub(crate) rss_peak: u64,
    pub(crate) rss_end: u64,
    #[serde(flatten)]
    pub(crate) own: serde_json::Map<String, serde_json::Value>,
}

impl Report {
    /// How much came in so many seconds, and what was used for it in a time that may be longer.
    pub(crate) fn window(&mut self, secs: f64, used: Processors, used_in: f64, deliveries: f64) {
        self.window_secs = secs;
        self.rate = deliveries / secs;
        self.per_cpu_second = (used.broker > 0.0).then(|| deliveries / used.broker);
        self.broker_cpu_secs = used.broker;
        self.broker_cores = used.broker / used_in;
        self.load_cores = used.load / used_in;
        self.other_cores = used.others() / used_in;
    }

    pub(crate) fn latencies(&mut self, latencies: &Histogram<u64>) {
        if latencies.is_empty() {
            return;
        }
        self.p50_us = Some(micros(latencies.value_at_quantile(0.5)));
        self.p99_us = Some(micros(latencies.value_at_quantile(0.99)));
        self.max_us = Some(micros(latencies.max()));
    }

    /// A figure that only one scenario has.
    pub(crate) fn add(&mut self, name: &str, value: f64) {
        self.own.insert(name.to_owned(), value.into());
    }
}

#[expect(clippy::cast_precision_loss, reason = "52 bits of nanoseconds are a month")]
pub(crate) fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// Counts of things, which are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

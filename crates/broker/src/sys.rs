//! The `$SYS` tree: the broker's own numbers as retained messages, kept in memory only.
//!
//! Names are those that users of Mosquitto know; what it does not have follows the same pattern. A value is published
//! when it has changed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use dunlin_codec::{Message, Qos, TopicName};
use hashbrown::HashMap;

use crate::core::Core;
use crate::fanout::Source;
use crate::metrics::Metrics;

/// The spans of the load averages, in minutes.
const SPANS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

/// Where there is no tree, there is nothing to do but to wait for a configuration that wants one.
const NO_TREE_PAUSE: Duration = Duration::from_secs(3600);

/// Publishes until the broker is gone, at the interval that its configuration says.
pub(crate) async fn run(core: Weak<Core>) {
    let mut tree = Tree::default();
    let mut loads = Loads::default();
    loop {
        let Some(alive) = core.upgrade() else { return };
        if alive.is_closing() {
            return;
        }
        let interval = alive.config().sys.interval;
        if let Some(interval) = interval {
            let metrics = alive.metrics();
            loads.update(&metrics, interval);
            tree.publish(&alive, &metrics, &loads);
        } else {
            tree.clear(&alive);
        }
        let next = tokio::time::Instant::now() + interval.unwrap_or(NO_TREE_PAUSE);
        let mut closing = alive.closing.subscribe();
        loop {
            // Before the look at the configuration, so that no change comes in between unheard.
            let changed = alive.reconfigured.notified();
            if alive.config().sys.interval != interval {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                () = changed => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
        }
    }
}

/// The values as published last.
#[derive(Debug, Default)]
struct Tree {
    published: HashMap<String, String>,
}

impl Tree {
    fn publish(&mut self, core: &Arc<Core>, metrics: &Metrics, loads: &Loads) {
        let sessions = metrics.clients_connected + metrics.sessions_parked;
        let dropped: u64 = metrics.dropped.values().sum();
        let values: [(&str, String); 30] = [
            ("version", concat!("dunlin ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("uptime", format!("{} seconds", core.started.elapsed().as_secs())),
            ("clients/total", sessions.to_string()),
            ("clients/connected", metrics.clients_connected.to_string()),
            ("clients/active", metrics.clients_connected.to_string()),
            ("clients/disconnected", metrics.sessions_parked.to_string()),
            ("clients/inactive", metrics.sessions_parked.to_string()),
            ("clients/maximum", metrics.clients_maximum.to_string()),
            ("clients/expired", metrics.sessions_expired.to_string()),
            ("messages/received", metrics.packets_received.to_string()),
            ("messages/sent", metrics.packets_sent.to_string()),
            ("messages/stored", (metrics.queued_messages + metrics.retained_messages).to_string()),
            (
                "store/messages/count",
                (metrics.queued_messages + metrics.retained_messages).to_string(),
            ),
            ("store/messages/bytes", (metrics.queued_bytes + metrics.retained_bytes).to_string()),
            ("bytes/received", metrics.bytes_received.to_string()),
            ("bytes/sent", metrics.bytes_sent.to_string()),
            ("publish/messages/received", metrics.publish_received.to_string()),
            ("publish/messages/sent", metrics.publish_sent.to_string()),
            ("publish/messages/dropped", dropped.to_string()),
            ("publish/bytes/received", metrics.publish_bytes_received.to_string()),
            ("publish/bytes/sent", metrics.publish_bytes_sent.to_string()),
            ("subscriptions/count", metrics.subscriptions.to_string()),
            ("shared_subscriptions/count", metrics.subscriptions_shared.to_string()),
            ("retained messages/count", metrics.retained_messages.to_string()),
            ("retained messages/bytes", metrics.retained_bytes.to_string()),
            ("queued messages/count", metrics.queued_messages.to_string()),
            ("queued messages/bytes", metrics.queued_bytes.to_string()),
            ("memory/used", core.budget.used().to_string()),
            ("wills/published", metrics.wills_published.to_string()),
            ("connections/open", metrics.connections_open.to_string()),
        ];
        for (name, value) in values {
            self.set(core, name, value);
        }
        for (reason, count) in &metrics.dropped {
            self.set(
                core,
                &format!("publish/messages/dropped/{}", reason.name()),
                count.to_string(),
            );
        }
        for (reason, count) in &metrics.connections_ended {
            self.set(core, &format!("connections/ended/{}", reason.name()), count.to_string());
        }
        for (why, count) in &metrics.handshakes_refused {
            self.set(core, &format!("connections/refused/{}", why.name()), count.to_string());
        }
        for (name, count) in metrics.named() {
            self.set(core, &format!("metrics/{name}"), count.to_string());
        }
        for (name, load) in &loads.by_name {
            for ((span, _), average) in SPANS.iter().zip(load.averages) {
                self.set(core, &format!("load/{name}/{span}"), format!("{average:.2}"));
            }
        }
    }

    /// Takes back what was published.
    fn clear(&mut self, core: &Arc<Core>) {
        for (name, _) in std::mem::take(&mut self.published) {
            publish(core, &name, Bytes::new()); // [MQTT-3.3.1-6] [MQTT-3.3.1-10 @3.1.1]
        }
    }

    fn set(&mut self, core: &Arc<Core>, name: &str, value: String) {
        if self.published.get(name) == Some(&value) {
            return;
        }
        publish(core, name, Bytes::from(value.clone()));
        self.published.insert(name.to_owned(), value);
    }
}

fn publish(core: &Arc<Core>, name: &str, payload: Bytes) {
    if let Ok(topic) = TopicName::try_from(format!("$SYS/broker/{name}")) {
        let message =
            Message { topic, payload, qos: Qos::AtMostOnce, retain: true, properties: None };
        core.publish(&Arc::new(message), None, Source::default(), None);
    }
}

/// Averages per minute over the last minutes, as of a machine's load.
#[derive(Debug, Default)]
struct Loads {
    by_name: Vec<(&'static str, Load)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    total: u64,
    averages: [f64; 3],
}

impl Loads {
    fn update(&mut self, metrics: &Metrics, interval: Duration) {
        let totals = [
            ("messages/received", metrics.packets_received),
            ("messages/sent", metrics.packets_sent),
            ("publish/received", metrics.publish_received),
            ("publish/sent", metrics.publish_sent),
            ("publish/dropped", metrics.dropped.values().sum()),
            ("bytes/received", metrics.bytes_received),
            ("bytes/sent", metrics.bytes_sent),
            ("sockets", metrics.connections_accepted),
            ("connections", metrics.connections_accepted.saturating_sub(metrics.connections_open)),
        ];
        if self.by_name.is_empty() {
            self.by_name = totals.map(|(name, _)| (name, Load::default())).to_vec();
        }
        for ((_, load), (_, total)) in self.by_name.iter_mut().zip(totals) {
            load.update(total, interval);
        }
    }
}

impl Load {
    fn update(&mut self, total: u64, interval: Duration) {
        let minutes = interval.as_secs_f64() / 60.0;
        let count = u32::try_from(total.saturating_sub(self.total)).unwrap_or(u32::MAX);
        let rate = f64::from(count) / minutes;
        self.total = total;
        for ((_, span), average) in SPANS.iter().zip(&mut self.averages) {
            let weight = (-minutes / span).exp();
            *average = rate + weight * (*average - rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_load_becomes_the_average_sooner_over_a_shorter_span() {
        let mut load = Load::default();
        for step in 1..=60 {
            load.update(step * 100, Duration::from_secs(10));
        }
        let [one, five, fifteen] = load.averages;
        // 100 in ten seconds are 600 a minute.
        assert!((599.0..=600.0).contains(&one), "{one}");
        assert!((500.0..599.0).contains(&five), "{five}");
        assert!((250.0..500.0).contains(&fifteen), "{fifteen}");
    }
}

//! The `$SYS` tree of each namespace: numbers as retained messages, kept in memory only. In the default namespace they
//! are the whole broker's, in a tenant's its own.
//!
//! Names are those that users of Mosquitto know; what it does not have follows the same pattern. A value is published
//! when it has changed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use dunlin_codec::{Message, Qos, TopicName};
use dunlin_store::NamespaceNo;
use hashbrown::HashMap;

use crate::core::Core;
use crate::fanout::Source;
use crate::metrics::Metrics;
use crate::namespace::Namespace;

/// The spans of the load averages, in minutes.
const SPANS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

/// Where there is no tree, there is nothing to do but to wait for a configuration that wants one.
const NO_TREE_PAUSE: Duration = Duration::from_secs(3600);

/// Publishes until the broker is gone, at the interval that its configuration says.
pub(crate) async fn run(core: Weak<Core>) {
    let mut trees: HashMap<NamespaceNo, Tree> = HashMap::new();
    let mut loads = Loads::default();
    loop {
        let Some(alive) = core.upgrade() else { return };
        if alive.is_closing() {
            return;
        }
        let interval = alive.config().sys.interval;
        for namespace in alive.namespaces.all() {
            let tree = trees.entry(namespace.number).or_default();
            let Some(interval) = interval else {
                tree.clear(&alive, &namespace);
                continue;
            };
            if namespace.number == NamespaceNo::DEFAULT {
                let metrics = alive.metrics();
                loads.update(&metrics, interval);
                tree.publish_whole(&alive, &namespace, &metrics, &loads);
            } else {
                tree.publish_own(&alive, &namespace, &namespace.metrics());
            }
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
    /// The whole broker's numbers, for its operator.
    fn publish_whole(
        &mut self,
        core: &Arc<Core>,
        namespace: &Arc<Namespace>,
        metrics: &Metrics,
        loads: &Loads,
    ) {
        let values: [(&str, String); 4] = [
            ("version", concat!("dunlin ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("uptime", format!("{} seconds", core.started.elapsed().as_secs())),
            ("memory/used", core.budget.used().to_string()),
            ("connections/open", metrics.connections_open.to_string()),
        ];
        for (name, value) in values {
            self.set(core, namespace, name, value);
        }
        for (name, value) in clients(metrics) {
            self.set(core, namespace, name, value.to_string());
        }
        for (name, value) in counted(metrics) {
            self.set(core, namespace, &name, value.to_string());
        }
        for (listener, days) in &metrics.certificate_days_left {
            let name = format!("listeners/{listener}/certificate_days");
            self.set(core, namespace, &name, days.to_string());
        }
        for (why, count) in &metrics.handshakes_refused {
            let name = format!("connections/refused/{}", why.name());
            self.set(core, namespace, &name, count.to_string());
        }
        for (position, figures) in core.export_figures().iter().enumerate() {
            let name = format!("exports/{}/messages", position + 1);
            self.set(core, namespace, &name, figures.messages.to_string());
        }
        for (name, count) in metrics.named() {
            self.set(core, namespace, &format!("metrics/{name}"), count.to_string());
        }
        for (name, load) in &loads.by_name {
            for ((span, _), average) in SPANS.iter().zip(load.averages) {
                let name = format!("load/{name}/{span}");
                self.set(core, namespace, &name, format!("{average:.2}"));
            }
        }
    }

    /// A tenant's own numbers. Those that never were anything but zero are left out, so that a tenant that does nothing
    /// costs nothing.
    fn publish_own(&mut self, core: &Arc<Core>, namespace: &Arc<Namespace>, metrics: &Metrics) {
        let clients = clients(metrics).into_iter().map(|(name, value)| (name.to_owned(), value));
        for (name, value) in clients.chain(counted(metrics)) {
            if value > 0 || self.published.contains_key(&name) {
                self.set(core, namespace, &name, value.to_string());
            }
        }
    }

    /// Takes back what was published.
    fn clear(&mut self, core: &Arc<Core>, namespace: &Arc<Namespace>) {
        for (name, _) in std::mem::take(&mut self.published) {
            publish(core, namespace, &name, Bytes::new()); // [MQTT-3.3.1-6] [MQTT-3.3.1-10 @3.1.1]
        }
    }

    fn set(&mut self, core: &Arc<Core>, namespace: &Arc<Namespace>, name: &str, value: String) {
        if self.published.get(name) == Some(&value) {
            return;
        }
        publish(core, namespace, name, Bytes::from(value.clone()));
        self.published.insert(name.to_owned(), value);
    }
}

fn publish(core: &Arc<Core>, namespace: &Arc<Namespace>, name: &str, payload: Bytes) {
    if let Ok(topic) = TopicName::try_from(format!("$SYS/broker/{name}")) {
        let message =
            Message { topic, payload, qos: Qos::AtMostOnce, retain: true, properties: None };
        core.publish(namespace, &Arc::new(message), None, Source::default(), None);
    }
}

/// What clients do and have.
fn clients(metrics: &Metrics) -> [(&'static str, u64); 26] {
    let stored = metrics.queued_messages + metrics.retained_messages;
    [
        ("clients/total", metrics.clients_connected + metrics.sessions_parked),
        ("clients/connected", metrics.clients_connected),
        ("clients/active", metrics.clients_connected),
        ("clients/disconnected", metrics.sessions_parked),
        ("clients/inactive", metrics.sessions_parked),
        ("clients/maximum", metrics.clients_maximum),
        ("clients/expired", metrics.sessions_expired),
        ("messages/received", metrics.packets_received),
        ("messages/sent", metrics.packets_sent),
        ("messages/stored", stored),
        ("store/messages/count", stored),
        ("store/messages/bytes", metrics.queued_bytes + metrics.retained_bytes),
        ("bytes/received", metrics.bytes_received),
        ("bytes/sent", metrics.bytes_sent),
        ("publish/messages/received", metrics.publish_received),
        ("publish/messages/sent", metrics.publish_sent),
        ("publish/messages/dropped", metrics.dropped.values().sum()),
        ("publish/bytes/received", metrics.publish_bytes_received),
        ("publish/bytes/sent", metrics.publish_bytes_sent),
        ("subscriptions/count", metrics.subscriptions),
        ("shared_subscriptions/count", metrics.subscriptions_shared),
        ("retained messages/count", metrics.retained_messages),
        ("retained messages/bytes", metrics.retained_bytes),
        ("queued messages/count", metrics.queued_messages),
        ("queued messages/bytes", metrics.queued_bytes),
        ("wills/published", metrics.wills_published),
    ]
}

/// What is counted by reason.
fn counted(metrics: &Metrics) -> impl Iterator<Item = (String, u64)> {
    let dropped = metrics.dropped.iter();
    let dropped = dropped
        .map(|(reason, count)| (format!("publish/messages/dropped/{}", reason.name()), *count));
    let ended = metrics.connections_ended.iter();
    let ended =
        ended.map(|(reason, count)| (format!("connections/ended/{}", reason.name()), *count));
    let quotas = metrics.quotas.iter();
    let quotas = quotas.map(|(event, count)| {
        (format!("quotas/{}/{}", event.scope.name(), event.limit.name()), *count)
    });
    dropped.chain(ended).chain(quotas)
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

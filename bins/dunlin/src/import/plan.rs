//! What becomes of each line: a setting, nothing because it is so anyway, or a remark.

use std::collections::BTreeMap;

use super::conf::{Conf, Line};
use crate::problem::{Origin, Problem};
use crate::settings::SECTIONS;

/// A configuration in the making, and what could not be carried into it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By section, in the order in which they are written; "" are the keys above all sections.
    pub(crate) sections: BTreeMap<&'static str, Vec<Entry>>,
    /// Sections `[auth.NAME]`, by their names.
    pub(crate) steps: Vec<PlannedStep>,
    pub(crate) listeners: Vec<PlannedListener>,
    /// Files of rules, with the line that names each.
    pub(crate) rules: Vec<Line>,
    /// Bridges, as they stood.
    pub(crate) bridges: Vec<Line>,
    pub(crate) remarks: Vec<Problem>,
}

/// A key with its value as it is written.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: &'static str,
    pub(crate) value: String,
}

/// One section `[auth.NAME]`.
#[derive(Debug)]
pub(crate) struct PlannedStep {
    pub(crate) name: String,
    pub(crate) entries: Vec<Entry>,
}

/// One section `[listeners.NAME]`.
#[derive(Debug)]
pub(crate) struct PlannedListener {
    pub(crate) name: String,
    pub(crate) entries: Vec<Entry>,
    /// Why it must not be opened as it stands here: it would let in whom it does not let in there.
    pub(crate) withheld: Option<&'static str>,
    /// Whether the first file of rules is for its clients.
    pub(crate) has_rules: bool,
    /// What begins it.
    pub(crate) head: Option<Line>,
}

/// What a line comes to.
pub(super) enum Outcome {
    /// It became a setting, or is so anyway.
    Carried,
    /// It could not be carried, or not as it was.
    Remark(String),
}

pub(super) use Outcome::{Carried, Remark};

impl Plan {
    /// Says of every line what becomes of it.
    pub(crate) fn of(conf: &Conf) -> Self {
        let mut plan = Self::default();
        for line in &conf.global {
            let outcome = plan.global(conf, line);
            plan.note(line, outcome);
        }
        let has_default = conf.listeners.is_empty() || !conf.default_listener.lines.is_empty();
        let own = has_default.then_some(&conf.default_listener).into_iter();
        for block in own.chain(&conf.listeners) {
            plan.listener(conf, block);
        }
        plan.put_rules_in_force();
        for line in conf.bridges.iter().flat_map(|bridge| bridge.head.iter().chain(&bridge.lines)) {
            plan.bridges.push(line.clone());
            plan.note(line, Remark("bridges are not there yet".to_owned()));
        }
        if plan.listeners.iter().all(|listener| listener.withheld.is_some()) {
            let message = "no listener could be carried; so that nobody comes in whom Mosquitto keeps out, the only one \
                           is on this machine and lets nobody in";
            plan.remarks.push(Problem::new(Origin::Default, message));
            let entry = |key, value: &str| Entry { key, value: value.to_owned() };
            let address = entry("address", &text("127.0.0.1:1883"));
            let entries = vec![address, entry("allow_anonymous", "false")];
            plan.listeners.push(PlannedListener {
                name: "nobody".to_owned(),
                entries,
                withheld: None,
                has_rules: false,
                head: None,
            });
        }
        plan.remarks.sort_by_key(|remark| match &remark.origin {
            Origin::File { name, line } => (name.to_string(), *line),
            Origin::Variable(_) | Origin::Flag(_) | Origin::Section(_) | Origin::Default => {
                (String::new(), 0)
            }
        });
        plan
    }

    /// There is one file of rules here, and it is for all clients.
    fn put_rules_in_force(&mut self) {
        let open: Vec<&PlannedListener> =
            self.listeners.iter().filter(|listener| listener.withheld.is_none()).collect();
        let others: Vec<Line> = open
            .iter()
            .filter(|listener| !listener.has_rules)
            .filter_map(|listener| listener.head.clone())
            .collect();
        let is_used = open.iter().any(|listener| listener.has_rules);
        let Some(first) = self.rules.first().cloned() else { return };
        let users = open.iter().filter(|listener| listener.has_rules).any(|listener| {
            listener
                .entries
                .iter()
                .any(|entry| entry.key == "authentication" && entry.value != "[]")
        });
        if !is_used {
            let message = "is written as a file of rules, but no listener that it is for is opened: nothing puts it in force";
            return self.note(&first, Remark(message.to_owned()));
        }
        if !users {
            let message = "nobody checks user names here, so all clients are anonymous, and rules for a user are for nobody";
            self.note(&first, Remark(message.to_owned()));
        }
        let outcome = self.set("access", "file", text("acl.toml"));
        self.note(&first, outcome);
        for line in others {
            let message = "had no rules, and those of the other listeners are for its clients too: a file of rules is for all";
            self.note(&line, Remark(message.to_owned()));
        }
    }

    /// Says where the file of rules is, if one is in force.
    pub(super) fn place_rules(&mut self, path: &str) {
        if self.sections.contains_key("access") {
            let outcome = self.set("access", "file", text(path));
            debug_assert!(matches!(outcome, Carried), "it was set before");
        }
    }

    pub(super) fn note(&mut self, line: &Line, outcome: Outcome) {
        if let Remark(message) = outcome {
            let said = format!("{} {}", line.keyword, line.shown());
            let origin = Origin::File { name: std::rc::Rc::clone(&line.file), line: line.number };
            let remark = Problem::new(origin, format!("`{}`: {message}", said.trim_end()));
            // What is said for each listener is said once.
            if !self.remarks.contains(&remark) {
                self.remarks.push(remark);
            }
        }
    }

    /// Sets a key, if this program has it.
    pub(super) fn set(
        &mut self,
        section: &'static str,
        key: &'static str,
        value: String,
    ) -> Outcome {
        let known = SECTIONS.iter().find(|known| known.name == section);
        if !known.is_some_and(|known| known.settings.iter().any(|setting| setting.key == key)) {
            return Remark("this release has no setting for it".to_owned());
        }
        let entries = self.sections.entry(section).or_default();
        entries.retain(|entry| entry.key != key);
        entries.push(Entry { key, value });
        Carried
    }

    pub(super) fn limit(&mut self, key: &'static str, value: impl ToString) -> Outcome {
        self.set("limits", key, value.to_string())
    }

    /// Two of Mosquitto's limits are one here: the smaller counts.
    fn packet_bytes_max(&mut self, bytes: u64) -> Outcome {
        let mut said = self.sections.get("limits").into_iter().flatten();
        let said = said.find(|entry| entry.key == "packet_bytes_max");
        let before = said.and_then(|entry| entry.value.parse().ok()).unwrap_or(u64::MAX);
        self.limit("packet_bytes_max", bytes.min(before))
    }

    fn global(&mut self, conf: &Conf, line: &Line) -> Outcome {
        let value = line.value.as_str();
        let number = || value.parse::<u64>().ok();
        let remark = |message: &str| Remark(message.to_owned());
        match line.keyword.as_str() {
            "per_listener_settings" | "include_dir" => Carried,
            "persistence" => match value {
                "true" => self.set("store", "backend", text("disk")),
                "false" => self.set("store", "backend", text("memory")),
                _ => remark(NO_SWITCH),
            },
            "persistence_location" => match self.set("", "data_dir", text(value)) {
                Carried => {
                    remark("becomes data_dir; what Mosquitto has stored there is not taken over")
                }
                refused @ Remark(_) => refused,
            },
            "persistence_file" => {
                remark("the store has a folder, data_dir, and names its files itself")
            }
            "autosave_interval" | "autosave_on_changes" => {
                remark("not needed: what is acknowledged is stored before (store.durability)")
            }
            "persistent_client_expiration" => match period(value) {
                Some((time, is_exact)) => match self.limit("session_expiry_max", text(&time)) {
                    Carried if !is_exact => remark("a month is taken as 30 days, a year as 365"),
                    outcome @ (Carried | Remark(_)) => outcome,
                },
                None => remark("not a time such as 2h, 14d, 2w, 3m or 1y"),
            },
            "max_inflight_messages" => match number() {
                Some(0) => {
                    remark("there is no limit without end; limits.inflight_max keeps its default")
                }
                Some(count) if count <= 65_535 => self.limit("inflight_max", count),
                _ => remark(NO_NUMBER),
            },
            "max_queued_messages" => match number() {
                Some(0) => {
                    remark("a queue has a bound here; limits.queue_messages_max keeps its default")
                }
                Some(count) => self.limit("queue_messages_max", count),
                None => remark(NO_NUMBER),
            },
            "max_queued_bytes" => match number() {
                Some(0) => {
                    remark("a queue has a bound here; limits.queue_bytes_max keeps its default")
                }
                Some(bytes) => self.limit("queue_bytes_max", bytes),
                None => remark(NO_NUMBER),
            },
            "queue_qos0_messages" => match switch(value) {
                Some(on) => self.limit("queue_qos0", on),
                None => remark(NO_SWITCH),
            },
            "max_packet_size" => match number() {
                Some(bytes) if bytes >= 20 => self.packet_bytes_max(bytes),
                _ => remark("not a number of at least 20"),
            },
            "message_size_limit" => match number() {
                Some(0) => {
                    remark("a packet has a bound here; limits.packet_bytes_max keeps its default")
                }
                Some(bytes) => match self.packet_bytes_max(bytes.saturating_add(66_000)) {
                    Carried => remark(
                        "becomes limits.packet_bytes_max, which counts the whole packet: 66,000 bytes more \
                         for topic and properties",
                    ),
                    refused @ Remark(_) => refused,
                },
                None => remark(NO_NUMBER),
            },
            "max_keepalive" => match number() {
                Some(0) => self.limit("keep_alive_max", text("none")),
                Some(secs) if secs <= 65_535 => {
                    self.limit("keep_alive_max", text(&format!("{secs}s")))
                }
                _ => remark(NO_NUMBER),
            },
            "memory_limit" => match number() {
                Some(0) => Carried,
                Some(bytes) => match self.limit("memory_bytes_max", bytes) {
                    Carried => remark(
                        "becomes limits.memory_bytes_max, which counts messages and sessions",
                    ),
                    refused @ Remark(_) => refused,
                },
                None => remark(NO_NUMBER),
            },
            "sys_interval" => match number() {
                Some(0) => self.set("sys", "interval", text("none")),
                Some(secs) => self.set("sys", "interval", text(&format!("{secs}s"))),
                None => remark(NO_NUMBER),
            },
            // These become keys of each listener.
            "retain_available" | "allow_anonymous" | "set_tcp_nodelay" => match switch(value) {
                Some(_) => Carried,
                None => remark(NO_SWITCH),
            },
            // What it comes to is seen with the listeners.
            "password_file" => Carried,
            "acl_file" => {
                self.rules.push(line.clone());
                Carried
            }
            "log_dest" => match value {
                "stderr" => Carried,
                "none" => self.set("log", "level", text("off")),
                _ => remark(
                    "the log is written to standard error; the service manager takes it from there",
                ),
            },
            "log_type" => self.log_type(conf, value),
            "connection_messages" | "log_timestamp" if value == "true" => Carried,
            "log_timestamp"
            | "log_timestamp_format"
            | "log_facility"
            | "connection_messages"
            | "websockets_log_level" => {
                remark("a line of the log has its own form: log.level, log.format")
            }
            "allow_zero_length_clientid" if value == "true" => Carried,
            "allow_duplicate_messages" => remark(
                "each subscriber gets a message once for all of its overlapping subscriptions, 5.0 clients with every identifier",
            ),
            "upgrade_outgoing_qos" if value == "false" => Carried,
            "upgrade_outgoing_qos" => {
                remark("a message is never sent at a higher QoS than it came with")
            }
            "check_retain_source" => {
                remark("rights are checked when a message is delivered, not who published it once")
            }
            "user" => remark("the service manager starts the program as a user of its own"),
            "pid_file" => remark("there is no such file: the service manager knows the process"),
            "clientid_prefixes" => remark(
                "not carried: a rule on {clientId} or an authenticator can say who may come in",
            ),
            "auto_id_prefix" => remark("ids that the broker gives have no prefix"),
            "psk_file" => remark("pre-shared keys of TLS are not supported"),
            "plugin" | "auth_plugin" => remark("plugins of Mosquitto cannot be loaded"),
            keyword if keyword.starts_with("auth_opt_") || keyword.starts_with("plugin_opt_") => {
                remark("belongs to a plugin of Mosquitto, which cannot be loaded")
            }
            keyword if keyword.starts_with("bridge_") => {
                remark("belongs to a bridge, and none has begun")
            }
            _ => remark("unknown here"),
        }
    }

    /// The most talkative of all types that are on.
    fn log_type(&mut self, conf: &Conf, value: &str) -> Outcome {
        const TYPES: [(&str, &str); 11] = [
            ("none", "off"),
            ("error", "error"),
            ("warning", "warn"),
            ("notice", "info"),
            ("information", "info"),
            ("subscribe", "info"),
            ("unsubscribe", "info"),
            ("websockets", "info"),
            ("internal", "debug"),
            ("debug", "debug"),
            ("all", "debug"),
        ];
        let place = |value: &str| TYPES.iter().position(|(name, _)| *name == value);
        if place(value).is_none() {
            return Remark("unknown here".to_owned());
        }
        let all = conf.global.iter().filter(|line| line.keyword == "log_type");
        let most = all.filter_map(|line| place(&line.value)).max();
        let level = most.and_then(|place| TYPES.get(place)).map_or("info", |(_, level)| level);
        self.set("log", "level", text(level))
    }
}

pub(super) const NO_NUMBER: &str = "not a number that can be carried";
pub(super) const NO_SWITCH: &str = "neither true nor false";
pub(super) fn switch(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// `14d`, `3m`: the same as a time of ours, and whether it is exactly the same.
fn period(value: &str) -> Option<(String, bool)> {
    let unit = value.chars().last()?;
    let count: u64 = value.strip_suffix(unit)?.parse().ok()?;
    let (days, is_exact) = match unit {
        'h' => return Some((format!("{count}h"), true)),
        'd' => (1, true),
        'w' => (7, true),
        'm' => (30, false),
        'y' => (365, false),
        _ => return None,
    };
    Some((format!("{}d", count.checked_mul(days)?), is_exact))
}

/// A text of TOML.
pub(super) fn text(value: &str) -> String {
    // Strings of JSON are strings of TOML, but for one control character.
    serde_json::Value::from(value).to_string().replace('\u{7F}', "\\u007F")
}

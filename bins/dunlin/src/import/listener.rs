//! What becomes of the lines about one listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::conf::{Block, Conf, Line};
use super::plan::{
    Carried, Entry, NO_NUMBER, NO_SWITCH, Outcome, Plan, PlannedListener, PlannedStep, Remark,
    switch, text,
};
use crate::settings::LISTENER;

impl Plan {
    pub(super) fn listener(&mut self, conf: &Conf, block: &Block) {
        let said = |keyword: &str| block.lines.iter().rfind(|line| line.keyword == keyword);
        let mut draft = Draft::default();
        for line in &block.lines {
            let outcome = draft.line(self, line);
            self.note(line, outcome);
        }
        let globally = |keyword: &str| conf.global.iter().rfind(|line| line.keyword == keyword);
        for (theirs, ours) in
            [("retain_available", "retain_available"), ("set_tcp_nodelay", "tcp_nodelay")]
        {
            if let Some((line, on)) =
                globally(theirs).and_then(|line| Some((line, switch(&line.value)?)))
            {
                let outcome = draft.set(ours, on);
                self.note(line, outcome);
            }
        }
        // Without a listener of its own Mosquitto serves this machine and lets everybody in; with one it does not.
        let is_local = conf.listeners.is_empty()
            && block.head.is_none()
            && said("port").is_none()
            && said("bind_address").is_none();
        let anonymous = said("allow_anonymous").or_else(|| globally("allow_anonymous"));
        let anonymous = anonymous.and_then(|line| switch(&line.value)).unwrap_or(is_local);
        // Who has no certificate with a name is refused there, anonymous clients or not.
        let anonymous = anonymous && !draft.knows_by_certificate;
        draft.entries.push(Entry { key: "allow_anonymous", value: anonymous.to_string() });

        let passwords = said("password_file").or_else(|| globally("password_file"));
        let rules = said("acl_file").or_else(|| globally("acl_file"));
        let has_rules = rules
            .is_some_and(|line| self.rules.first().is_some_and(|first| first.value == line.value));
        if rules.is_some() && !has_rules {
            draft
                .withheld
                .get_or_insert("it has rules of its own, and there is one file of rules for all");
        }
        draft.finish_tls(self, block);
        draft.finish_websocket(self, anonymous);
        let steps = match (draft.knows_by_certificate, passwords) {
            (true, _) => vec![self.step_of_certificates()],
            (false, Some(line)) => vec![self.step_of_passwords(line)],
            (false, None) => Vec::new(),
        };
        // A section for another listener is not for this one.
        draft.entries.push(Entry { key: "authentication", value: list(&steps) });

        let addresses = match self.addresses(block, is_local) {
            Ok(addresses) => addresses,
            Err((line, message)) => return self.note(&line, Remark(message)),
        };
        if addresses.len() > 1
            && draft.max_connections
            && let Some(line) = said("max_connections")
        {
            let message = "counts for IPv4 and IPv6 each, since those are two listeners here";
            self.note(line, Remark(message.to_owned()));
        }
        let number = self.listeners.len() + 1;
        let first = draft.entries;
        for (place, address) in addresses.iter().enumerate() {
            let mut entries = vec![Entry { key: "address", value: text(address) }];
            entries.extend(
                first.iter().map(|Entry { key, value }| Entry { key, value: value.clone() }),
            );
            let suffix = if place == 0 { "" } else { "-ipv6" };
            let name = format!("mosquitto-{number}{suffix}");
            self.listeners.push(PlannedListener {
                name,
                entries,
                withheld: draft.withheld,
                has_rules,
                head: block.head.clone(),
            });
        }
    }

    /// The section by which clients are known by the Common Names of their certificates; made when it is first needed.
    fn step_of_certificates(&mut self) -> String {
        let entries = vec![
            Entry { key: "kind", value: text("peer") },
            Entry { key: "field", value: text("cn") },
        ];
        self.step("certificates", entries)
    }

    /// The section with this file of passwords; made when it is first needed.
    fn step_of_passwords(&mut self, line: &Line) -> String {
        let entries = vec![
            Entry { key: "kind", value: text("file") },
            Entry { key: "path", value: text(&line.value) },
        ];
        self.step("passwords", entries)
    }

    /// A section with these keys: one that is there already, or a new one that begins with `name`.
    fn step(&mut self, name: &str, entries: Vec<Entry>) -> String {
        if let Some(step) = self.steps.iter().find(|step| step.entries == entries) {
            return step.name.clone();
        }
        let name = match self.steps.iter().filter(|step| step.name.starts_with(name)).count() {
            0 => name.to_owned(),
            count => format!("{name}-{}", count + 1),
        };
        self.steps.push(PlannedStep { name: name.clone(), entries });
        name
    }

    /// Where a listener listens: on one address, or on all of IPv4 and all of IPv6.
    fn addresses(&mut self, block: &Block, is_local: bool) -> Result<Vec<String>, (Line, String)> {
        let said = |keyword: &str| block.lines.iter().rfind(|line| line.keyword == keyword);
        let (port, host, line) = match &block.head {
            Some(head) => {
                let mut words = head.value.split_ascii_whitespace();
                let port = words.next().unwrap_or_default();
                (port, words.next(), Some(head))
            }
            None => (said("port").map_or("1883", |line| &line.value), None, said("port")),
        };
        let bind = said("bind_address");
        let host = host.or_else(|| bind.map(|line| line.value.as_str()));
        let line = line.or(bind);
        let refused = |message: String| {
            let nowhere =
                Line { file: "".into(), number: 0, keyword: String::new(), value: String::new() };
            (line.cloned().unwrap_or(nowhere), message)
        };
        let port: u16 =
            port.parse().map_err(|_| refused("not a port; the listener is left out".to_owned()))?;
        match host {
            Some(path) if port == 0 && path.starts_with('/') => {
                if let Some(line) = line {
                    let message =
                        "unix_mode, 660, says here who may open the socket; there the umask did";
                    self.note(line, Remark(message.to_owned()));
                }
                Ok(vec![format!("unix:{path}")])
            }
            _ if port == 0 => Err(refused(
                "port 0 needs the path of a Unix socket; the listener is left out".to_owned(),
            )),
            Some("localhost") => Ok(loopback(port)),
            Some(host) => {
                let ip: IpAddr = host.parse().map_err(|_| {
                    refused("a listener needs an IP address and no name; it is left out".to_owned())
                })?;
                Ok(vec![SocketAddr::from((ip, port)).to_string()])
            }
            None if is_local => Ok(loopback(port)),
            None => {
                let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).to_string();
                let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).to_string();
                Ok(match said("socket_domain").map(|line| line.value.as_str()) {
                    Some("ipv4") => vec![v4],
                    Some("ipv6") => vec![v6],
                    _ => vec![v4, v6],
                })
            }
        }
    }
}

fn loopback(port: u16) -> Vec<String> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
    vec![v4, SocketAddr::from((Ipv6Addr::LOCALHOST, port)).to_string()]
}

/// A listener in the making.
#[derive(Default)]
struct Draft {
    entries: Vec<Entry>,
    withheld: Option<&'static str>,
    max_connections: bool,
    /// A line of TLS stands in it.
    speaks_tls: bool,
    requires_certificates: bool,
    knows_by_certificate: bool,
    speaks_websocket: Option<Line>,
    origins: Vec<String>,
}

impl Draft {
    fn set(&mut self, key: &'static str, value: impl ToString) -> Outcome {
        if !knows_listener(key) {
            return Remark("this release has no setting for it".to_owned());
        }
        self.entries.retain(|entry| entry.key != key);
        self.entries.push(Entry { key, value: value.to_string() });
        Carried
    }

    /// A setting of TLS that is the path of a file.
    fn tls(&mut self, key: &'static str, path: &str) -> Outcome {
        self.speaks_tls = true;
        self.set(key, text(path))
    }

    fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Sees that what was said about TLS makes a whole, so that nothing goes in the clear and nobody comes in unseen.
    fn finish_tls(&mut self, plan: &mut Plan, block: &Block) {
        let said = |keyword: &str| block.lines.iter().rfind(|line| line.keyword == keyword);
        let speaks = self.speaks_tls || self.requires_certificates || self.knows_by_certificate;
        if speaks && !(self.has("tls_certificate") && self.has("tls_key")) {
            self.withheld
                .get_or_insert("lines about TLS stand in it, and certfile or keyfile is missing");
        }
        if self.requires_certificates {
            let _ = self.set("tls_client_certificates", text("required"));
            if !self.has("tls_client_authorities") {
                self.withheld.get_or_insert(
                    "its clients need certificates, and the authorities are in no cafile",
                );
            }
            return;
        }
        if self.knows_by_certificate {
            self.withheld
                .get_or_insert("its clients are known by certificates that they need not show");
        }
        // Without being asked for a certificate no client shows one.
        for (keyword, key) in
            [("cafile", "tls_client_authorities"), ("crlfile", "tls_client_revocations")]
        {
            if self.has(key)
                && let Some(line) = said(keyword)
            {
                self.entries.retain(|entry| entry.key != key);
                let message = "not needed: clients are not asked for certificates";
                plan.note(line, Remark(message.to_owned()));
            }
        }
    }

    /// What a listener for WebSocket does otherwise here.
    fn finish_websocket(&mut self, plan: &mut Plan, anonymous: bool) {
        let Some(line) = self.speaks_websocket.take() else { return };
        let mut message =
            "the path is /mqtt and the subprotocol mqtt has to be named (websocket_path, websocket_require_subprotocol)"
                .to_owned();
        if anonymous && self.origins.is_empty() {
            message += "; pages of browsers may not connect until websocket_origins names them";
        }
        plan.note(&line, Remark(message));
    }

    fn line(&mut self, plan: &mut Plan, line: &Line) -> Outcome {
        let value = line.value.as_str();
        let remark = |message: &str| Remark(message.to_owned());
        match line.keyword.as_str() {
            "port" | "bind_address" => Carried,
            "socket_domain" if matches!(value, "ipv4" | "ipv6") => Carried,
            "allow_anonymous" => match switch(value) {
                Some(_) => Carried,
                None => remark(NO_SWITCH),
            },
            "max_connections" => match value.parse::<i64>() {
                Ok(-1) => Carried,
                Ok(count @ 1..) => {
                    self.max_connections = true;
                    self.set("connections_max", count)
                }
                _ => remark(NO_NUMBER),
            },
            "max_qos" => match value {
                "0" | "1" | "2" => self.set("maximum_qos", value),
                _ => remark("not 0, 1 or 2"),
            },
            "max_topic_alias" => match value.parse::<u16>() {
                Ok(count) => match plan.limit("topic_alias_maximum", count) {
                    Carried => remark("becomes limits.topic_alias_maximum, for all listeners"),
                    refused @ Remark(_) => refused,
                },
                Err(_) => remark(NO_NUMBER),
            },
            "protocol" => match value {
                "mqtt" => Carried,
                "websockets" => {
                    self.speaks_websocket = Some(line.clone());
                    self.set("protocol", text("websocket"))
                }
                _ => remark("unknown here"),
            },
            "accept_protocol_versions" => remark("set versions of the listener"),
            "websockets_origin" => match value.parse::<dunlin_broker::config::Origin>() {
                Ok(_) => {
                    self.origins.push(value.to_owned());
                    let origins = list(&self.origins);
                    self.set("websocket_origins", origins)
                }
                Err(_) => remark("not an origin such as https://app.example"),
            },
            "certfile" => self.tls("tls_certificate", value),
            "keyfile" => self.tls("tls_key", value),
            "cafile" => self.tls("tls_client_authorities", value),
            "crlfile" => match self.tls("tls_client_revocations", value) {
                Carried => remark(
                    "each certificate of a client's chain has to be covered by a list here, not the client's alone",
                ),
                refused @ Remark(_) => refused,
            },
            "capath" => {
                self.speaks_tls = true;
                remark(
                    "a folder of authorities is not read: name their files in tls_client_authorities",
                )
            }
            "require_certificate" => match switch(value) {
                Some(on) => {
                    self.requires_certificates = on;
                    Carried
                }
                None => {
                    self.withheld = Some("it is not clear whether its clients need certificates");
                    remark(NO_SWITCH)
                }
            },
            "tls_version" => {
                self.speaks_tls = true;
                match value {
                    "tlsv1.3" => self.set("tls_minimum", text("1.3")),
                    "tlsv1.2" => self.set("tls_minimum", text("1.2")),
                    _ => remark("TLS 1.2 is the oldest that is spoken here"),
                }
            }
            "ciphers" | "ciphers_tls1.3" | "dhparamfile" => {
                self.speaks_tls = true;
                remark(
                    "cipher suites are not chosen here: all that are spoken are AEAD with forward secrecy",
                )
            }
            "tls_keyform" if value == "pem" => Carried,
            "tls_engine" | "tls_engine_kpass_sha1" | "tls_keyform" => {
                self.withheld = Some("its key is in an engine of OpenSSL, which is not asked here");
                remark("keys come from files; the listener is written as a comment")
            }
            "psk_hint" => {
                self.withheld =
                    Some("its clients come by pre-shared keys, which are not supported");
                remark(
                    "pre-shared keys of TLS are not supported; the listener is written as a comment",
                )
            }
            "use_identity_as_username" if value == "true" => {
                self.knows_by_certificate = true;
                Carried
            }
            "use_subject_as_username" if value == "true" => {
                self.withheld = Some(
                    "its users are called by the subjects of their certificates, which are written in another form here",
                );
                remark(
                    "not carried; the listener is written as a comment. See `field = \"dn\"` in [auth.NAME]",
                )
            }
            "use_identity_as_username" | "use_subject_as_username" | "use_username_as_clientid"
                if value == "false" =>
            {
                Carried
            }
            "use_identity_as_username" | "use_subject_as_username" => {
                self.withheld = Some("it is not clear how its clients are known");
                remark(NO_SWITCH)
            }
            "use_username_as_clientid" => remark(
                "a client keeps the id that it says; a rule with {username} can bind topics to the user",
            ),
            "mount_point" => {
                self.withheld =
                    Some("its clients are kept apart by a mount point, which is not carried");
                remark(
                    "not carried: tenants keep clients apart; the listener is written as a comment",
                )
            }
            "http_dir" => remark("files are not served"),
            "bind_interface" => remark("a listener needs the interface's address"),
            // What it comes to is seen when all lines are read.
            "password_file" => Carried,
            "acl_file" => {
                plan.rules.push(line.clone());
                Carried
            }
            _ => remark("unknown here"),
        }
    }
}

fn knows_listener(key: &str) -> bool {
    LISTENER.iter().any(|setting| setting.key == key)
}

/// A list of texts of TOML.
fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| text(item)).collect();
    format!("[{}]", items.join(", "))
}

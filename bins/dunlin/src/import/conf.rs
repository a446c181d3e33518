//! The lines of a `mosquitto.conf`, each with where it belongs. Needs nothing but `std`, so that a fuzz target can take it as
//! it is.

use std::rc::Rc;

/// The most bytes of a file. A longer one is refused unread.
pub(crate) const CONF_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One line that says something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    pub(crate) file: Rc<str>,
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) keyword: String,
    /// What follows the keyword, without blanks around it.
    pub(crate) value: String,
}

/// Lines that belong together, with the one that begins them; none for the listener that Mosquitto has by `port` or nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Block {
    pub(crate) head: Option<Line>,
    pub(crate) lines: Vec<Line>,
}

/// A file, with those that it includes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Conf {
    pub(crate) global: Vec<Line>,
    /// What is said about listeners before the first of them.
    pub(crate) default_listener: Block,
    pub(crate) listeners: Vec<Block>,
    pub(crate) bridges: Vec<Block>,
}

/// What is said about one listener. `allow_anonymous`, `password_file` and `acl_file` are too, but only with
/// `per_listener_settings`.
const LISTENER_WORDS: [&str; 29] = [
    "bind_address",
    "bind_interface",
    "cafile",
    "capath",
    "certfile",
    "ciphers",
    "ciphers_tls1.3",
    "crlfile",
    "dhparamfile",
    "http_dir",
    "keyfile",
    "max_connections",
    "max_qos",
    "max_topic_alias",
    "mount_point",
    "port",
    "protocol",
    "psk_hint",
    "require_certificate",
    "socket_domain",
    "tls_engine",
    "tls_engine_kpass_sha1",
    "tls_keyform",
    "tls_version",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
    "websockets_origin",
    "accept_protocol_versions",
];

/// These say who may come in, which Mosquitto keeps by listener if it is told to.
pub(crate) const SECURITY_WORDS: [&str; 3] = ["allow_anonymous", "password_file", "acl_file"];

/// What is said about one bridge, beside all that begins with `bridge_`.
const BRIDGE_WORDS: [&str; 23] = [
    "address",
    "addresses",
    "cleansession",
    "local_cleansession",
    "clientid",
    "idle_timeout",
    "keepalive_interval",
    "local_clientid",
    "local_password",
    "local_username",
    "notification_topic",
    "notifications",
    "notifications_local_only",
    "password",
    "remote_clientid",
    "remote_password",
    "remote_username",
    "restart_timeout",
    "round_robin",
    "start_type",
    "threshold",
    "topic",
    "try_private",
];

impl Conf {
    /// Adds the lines of a file, as if they stood at the end. `include_dir` is a line like others: to read what it names is
    /// the caller's business.
    pub(crate) fn read(&mut self, file: &Rc<str>, text: &str) {
        for (number, text) in (1..).zip(text.lines()) {
            if let Some(line) = Line::of(file, number, text) {
                self.add(line);
            }
        }
    }

    /// Puts one line where it belongs.
    pub(crate) fn add(&mut self, line: Line) {
        let keyword = line.keyword.as_str();
        let new = |line| Block { head: Some(line), lines: Vec::new() };
        if keyword == "listener" {
            self.listeners.push(new(line));
        } else if keyword == "connection" {
            self.bridges.push(new(line));
        } else if keyword.starts_with("bridge_") || BRIDGE_WORDS.contains(&keyword) {
            match self.bridges.last_mut() {
                Some(bridge) => bridge.lines.push(line),
                None => self.global.push(line),
            }
        } else if LISTENER_WORDS.contains(&keyword)
            || SECURITY_WORDS.contains(&keyword) && self.is_by_listener()
        {
            let last = self.listeners.last_mut();
            last.unwrap_or(&mut self.default_listener).lines.push(line);
        } else {
            self.global.push(line);
        }
    }

    /// Whether each listener has its own passwords and rules.
    pub(crate) fn is_by_listener(&self) -> bool {
        let said = self.global.iter().rfind(|line| line.keyword == "per_listener_settings");
        said.is_some_and(|line| line.value == "true")
    }
}

impl Line {
    /// None for a comment or nothing.
    fn of(file: &Rc<str>, number: usize, text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let (keyword, value) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        Some(Self {
            file: Rc::clone(file),
            number,
            keyword: keyword.to_owned(),
            value: value.trim_ascii().to_owned(),
        })
    }

    /// The value as it may be shown: a secret stays in the one file that it is in.
    pub(crate) fn shown(&self) -> &str {
        let is_secret = self.keyword.contains("password") && self.keyword != "password_file"
            || self.keyword == "bridge_psk"
            || self.keyword.starts_with("auth_opt_")
            || self.keyword.starts_with("plugin_opt_");
        if is_secret && !self.value.is_empty() { "(left out)" } else { &self.value }
    }
}

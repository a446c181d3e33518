//! From what was said in the file, the environment and on the command line to one [`Configuration`].
//!
//! Each source says the same thing, a list of [`Assignment`]s in rising order. They are applied here, in one place, so
//! that a slip is answered in the same words wherever it was made, and with the place where it was made.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use dunlin_access::nearest;
use dunlin_broker::config::{Durability, DurabilityRule, TopicFilter};
use dunlin_broker::{Config, ListenerConfig};

use crate::problem::{Origin, Problem};
use crate::settings::{LISTENER, RULE, SECTIONS, Setting};
use crate::telemetry;

/// The port that MQTT clients try when they are told none.
const PORT: u16 = 1883;

/// Syncing more often than this is the level "fsync" under another name.
const SYNC_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// A smaller store would have no room from the start.
const MAX_BYTES_MIN: u64 = 1 << 20;

/// Everything that one start of `dunlin` needs to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Configuration {
    pub(crate) broker: Config,
    pub(crate) data_dir: PathBuf,
    pub(crate) store: StoreConfig,
    pub(crate) log: telemetry::LogConfig,
    pub(crate) runtime: RuntimeConfig,
    pub(crate) access: AccessFile,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            broker: Config::default(),
            data_dir: PathBuf::from("./data"),
            store: StoreConfig::default(),
            log: telemetry::LogConfig::default(),
            runtime: RuntimeConfig::default(),
            access: AccessFile::default(),
        }
    }
}

/// How what must survive is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct StoreConfig {
    pub(crate) backend: Backend,
    /// None: as the disk allows.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) ballast_bytes: u64,
    pub(crate) sync_interval: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            backend: Backend::Disk,
            max_bytes: None,
            ballast_bytes: 64 << 20,
            sync_interval: Duration::from_secs(1),
        }
    }
}

/// Where it is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Backend {
    /// In the data directory.
    Disk,
    /// In memory: it is gone with the process.
    Memory,
}

/// Where the rules about who may do what are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct AccessFile {
    /// None: there are none, and everybody may do everything.
    pub(crate) file: Option<PathBuf>,
}

/// How the process runs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct RuntimeConfig {
    /// None: one per core.
    pub(crate) worker_threads: Option<usize>,
}

/// One setting given one value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Assignment {
    /// `limits.receive_maximum`, `listeners.lan.address`, `durability.1.filter`, `data_dir`.
    pub(crate) path: String,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

/// A rule `[[durability]]` as far as it was said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct RuleDraft {
    pub(crate) filter: Option<TopicFilter>,
    pub(crate) level: Option<Durability>,
}

/// What all sources said together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// In rising order: a later one wins.
    pub(crate) assignments: Vec<Assignment>,
    /// Addresses that replace all listeners of the assignments, if there are any.
    pub(crate) listen: Vec<Listen>,
    /// Where it was said that the listeners of `listen` take anonymous clients.
    pub(crate) allow_anonymous: Option<Origin>,
}

/// One `--listen`.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    pub(crate) address: String,
    pub(crate) origin: Origin,
}

/// A configuration, and whether anybody said where to listen.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) configuration: Configuration,
    /// The listeners are the ones that stand for having said nothing.
    pub(crate) default_listeners: bool,
}

/// Applies the assignments and checks the result. All problems are found before any is reported.
pub(crate) fn assemble(sources: Sources) -> Result<Assembled, Vec<Problem>> {
    let mut assembly = Assembly::default();
    for assignment in sources.assignments {
        assembly.apply(assignment);
    }
    assembly.finish(&sources.listen, sources.allow_anonymous)
}

#[derive(Default)]
struct Assembly {
    configuration: Configuration,
    /// Listeners in the order in which they were first named, each with what was said about it.
    listeners: Vec<(String, Vec<Assignment>)>,
    /// What was said about each rule of durability, by its number.
    rules: BTreeMap<usize, Vec<Assignment>>,
    /// Where each setting got its value.
    origins: HashMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Assembly {
    fn apply(&mut self, assignment: Assignment) {
        self.origins.insert(assignment.path.clone(), assignment.origin.clone());
        if let Some((name, key)) = listener_path(&assignment.path) {
            let (name, key) = (name.to_owned(), key.to_owned());
            return self.note_listener(&name, Assignment { path: key, ..assignment });
        }
        if let Some((number, key)) = rule_path(&assignment.path) {
            let path = key.to_owned();
            return self.rules.entry(number).or_default().push(Assignment { path, ..assignment });
        }
        let found = SECTIONS.iter().find_map(|section| {
            section.settings.iter().find(|setting| section.path(setting.key) == assignment.path)
        });
        match found {
            Some(setting) => self.set_global(setting, &assignment),
            None => self.problems.push(Problem::new(assignment.origin, unknown(&assignment.path))),
        }
    }

    fn set_global(&mut self, setting: &Setting<Configuration>, assignment: &Assignment) {
        if let Err(expected) = (setting.read)(&mut self.configuration, &assignment.value) {
            self.problems.push(wrong_value(&assignment.path, assignment, &expected));
        }
    }

    fn note_listener(&mut self, name: &str, assignment: Assignment) {
        match self.listeners.iter_mut().find(|(other, _)| other == name) {
            Some((_, assignments)) => assignments.push(assignment),
            None => self.listeners.push((name.to_owned(), vec![assignment])),
        }
    }

    fn finish(
        mut self,
        listen: &[Listen],
        anonymous: Option<Origin>,
    ) -> Result<Assembled, Vec<Problem>> {
        let named = !self.listeners.is_empty();
        // Listeners that `--listen` replaces are still read, so that a slip in the file shows at once and not later.
        let mut listeners = self.named_listeners();
        if let Some(origin) = &anonymous
            && listen.is_empty()
            && named
        {
            let message = "goes with --listen: a listener of the file takes anonymous clients if \
                           `allow_anonymous = true` stands in its own section";
            self.problems.push(Problem::new(origin.clone(), message));
        }
        if !listen.is_empty() {
            listeners = self.said_listeners(listen, anonymous.is_some());
        }
        let default_listeners = listen.is_empty() && !named;
        if default_listeners {
            listeners = loopback_listeners();
        }
        self.refuse_open_listeners(&listeners);
        self.configuration.broker.listeners = listeners;
        self.configuration.broker.durability_rules = self.durability_rules();
        self.lower_limit_before_connect();
        self.check();
        if self.problems.is_empty() {
            Ok(Assembled { configuration: self.configuration, default_listeners })
        } else {
            Err(self.problems)
        }
    }

    fn named_listeners(&mut self) -> Vec<ListenerConfig> {
        let drafts = std::mem::take(&mut self.listeners);
        drafts
            .into_iter()
            .filter_map(|(name, assignments)| self.named_listener(&name, &assignments))
            .collect()
    }

    /// The address comes first, since what is said without words depends on it.
    fn named_listener(&mut self, name: &str, assignments: &[Assignment]) -> Option<ListenerConfig> {
        let first = assignments.first()?;
        let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        if name.is_empty() || !name.chars().all(legal) {
            let message =
                format!("the listener's name {name:?} may hold letters, digits, `_` and `-` only");
            self.problems.push(Problem::new(first.origin.clone(), message));
            return None;
        }
        if !assignments.iter().any(|assignment| assignment.path == "address") {
            let message =
                format!("[listeners.{name}] says no `address`, such as \"127.0.0.1:{PORT}\"");
            self.problems.push(Problem::new(first.origin.clone(), message));
        }
        let mut listener = ListenerConfig::default();
        let (address, rest): (Vec<_>, Vec<_>) =
            assignments.iter().partition(|each| each.path == "address");
        self.set_listener(&mut listener, name, &address);
        listener = ListenerConfig::new(name, listener.address);
        self.set_listener(&mut listener, name, &rest);
        Some(listener)
    }

    fn set_listener(
        &mut self,
        listener: &mut ListenerConfig,
        name: &str,
        assignments: &[&Assignment],
    ) {
        for assignment in assignments {
            let path = format!("listeners.{name}.{}", assignment.path);
            let Some(setting) = LISTENER.iter().find(|setting| setting.key == assignment.path)
            else {
                self.problems.push(Problem::new(assignment.origin.clone(), unknown(&path)));
                continue;
            };
            if let Err(expected) = (setting.read)(listener, &assignment.value) {
                self.problems.push(wrong_value(&path, assignment, &expected));
            }
        }
    }

    fn durability_rules(&mut self) -> Vec<DurabilityRule> {
        let drafts = std::mem::take(&mut self.rules);
        drafts.into_values().filter_map(|assignments| self.durability_rule(&assignments)).collect()
    }

    fn durability_rule(&mut self, assignments: &[Assignment]) -> Option<DurabilityRule> {
        let first = assignments.first()?;
        let mut rule = RuleDraft::default();
        for assignment in assignments {
            let path = format!("durability.{}", assignment.path);
            let Some(setting) = RULE.iter().find(|setting| setting.key == assignment.path) else {
                self.problems.push(Problem::new(assignment.origin.clone(), unknown(&path)));
                continue;
            };
            if let Err(expected) = (setting.read)(&mut rule, &assignment.value) {
                self.problems.push(wrong_value(&path, assignment, &expected));
            }
        }
        let missing =
            RULE.iter().filter(|setting| assignments.iter().all(|each| each.path != setting.key));
        for setting in missing {
            let message = format!("a rule [[durability]] without a `{}`", setting.key);
            self.problems.push(Problem::new(first.origin.clone(), message));
        }
        Some(DurabilityRule { filter: rule.filter?, level: rule.level? })
    }

    /// The listeners of `--listen`: one for each address of the host.
    fn said_listeners(&mut self, listen: &[Listen], anonymous: bool) -> Vec<ListenerConfig> {
        let mut listeners: Vec<ListenerConfig> = Vec::new();
        for Listen { address, origin } in listen {
            let addresses = match resolve(address) {
                Ok(addresses) => addresses,
                Err(message) => {
                    self.problems.push(Problem::new(origin.clone(), message));
                    continue;
                }
            };
            for address in addresses {
                let name = format!("listen-{}", listeners.len() + 1);
                self.origins.insert(format!("listeners.{name}.address"), origin.clone());
                let mut listener = ListenerConfig::new(name, address);
                listener.allow_anonymous |= anonymous;
                listeners.push(listener);
            }
        }
        listeners
    }

    /// A listener that other machines reach must be open to everybody on purpose, never by oversight.
    fn refuse_open_listeners(&mut self, listeners: &[ListenerConfig]) {
        for listener in
            listeners.iter().filter(|listener| !listener.is_loopback() && !listener.allow_anonymous)
        {
            let origin = self.origin(&format!("listeners.{}.address", listener.name));
            let remedy = match origin {
                Origin::Flag(_) => "add --allow-anonymous".to_owned(),
                Origin::Variable(ref name) if name == "DUNLIN_LISTEN" => {
                    "set DUNLIN_ALLOW_ANONYMOUS=true".to_owned()
                }
                Origin::File { .. } | Origin::Variable(_) | Origin::Default => {
                    format!(
                        "put `allow_anonymous = true` into its section [listeners.{}]",
                        listener.name
                    )
                }
            };
            let message = format!(
                "{} can be reached from other machines, and no authentication is set up: {remedy} to let every client in, \
                 or listen on 127.0.0.1",
                listener.address
            );
            self.problems.push(Problem::new(origin, message));
        }
    }

    /// Whoever lowers the limit for all packets means the ones before CONNECT too.
    fn lower_limit_before_connect(&mut self) {
        let limits = &mut self.configuration.broker.limits;
        if !self.origins.contains_key("limits.packet_bytes_max_before_connect") {
            limits.packet_bytes_max_before_connect =
                limits.packet_bytes_max_before_connect.min(limits.packet_bytes_max);
        }
    }

    fn check(&mut self) {
        if let Err(invalid) = self.configuration.broker.check() {
            let origin = self.origin(invalid.setting());
            self.problems.push(Problem::new(
                origin,
                format!("`{}` {}", invalid.setting(), invalid.reason()),
            ));
        }
        if self.configuration.runtime.worker_threads == Some(0) {
            let origin = self.origin("runtime.worker_threads");
            self.problems.push(Problem::new(origin, "`runtime.worker_threads` must be at least 1"));
        }
        if self.configuration.store.max_bytes.is_some_and(|bytes| bytes < MAX_BYTES_MIN) {
            let origin = self.origin("store.max_bytes");
            self.problems.push(Problem::new(origin, "`store.max_bytes` must be at least 1 MiB"));
        }
        if self.configuration.store.sync_interval < SYNC_INTERVAL_MIN {
            let origin = self.origin("store.sync_interval");
            self.problems.push(Problem::new(origin, "`store.sync_interval` must be at least 10ms"));
        }
    }

    fn origin(&self, path: &str) -> Origin {
        self.origins.get(path).cloned().unwrap_or(Origin::Default)
    }
}

/// The name and the key of `listeners.NAME.KEY`.
fn listener_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("listeners.")?.rsplit_once('.')
}

/// The number and the key of `durability.NUMBER.KEY`.
fn rule_path(path: &str) -> Option<(usize, &str)> {
    let (number, key) = path.strip_prefix("durability.")?.split_once('.')?;
    Some((number.parse().ok()?, key))
}

fn wrong_value(path: &str, assignment: &Assignment, expected: &str) -> Problem {
    Problem::new(
        assignment.origin.clone(),
        format!("`{path}` must be {expected}, not `{}`", assignment.value),
    )
}

/// What to say about a key that nobody knows.
fn unknown(path: &str) -> String {
    if path == "listeners" {
        return "each listener is a section of its own, [listeners.NAME]".to_owned();
    }
    if path == "durability" {
        return "rules are tables, [[durability]] each; the broker's own level is `store.durability`"
            .to_owned();
    }
    if SECTIONS.iter().any(|section| section.name == path) {
        return format!("`{path}` is a section, [{path}], not a key");
    }
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let advice = if path.starts_with("listeners.") {
        nearest(key, LISTENER.iter().map(|setting| setting.key))
            .map(|near| format!("did you mean `{near}`?"))
    } else if path.starts_with("durability.") {
        nearest(key, RULE.iter().map(|setting| setting.key))
            .map(|near| format!("did you mean `{near}`?"))
    } else {
        nearest_setting(section, key)
    };
    let fallback = || "`dunlin config --defaults` shows every key".to_owned();
    format!("unknown key `{path}`: {}", advice.unwrap_or_else(fallback))
}

/// The same key in its right section, or a slip in this section, or in the section's name.
fn nearest_setting(section: &str, key: &str) -> Option<String> {
    let right =
        SECTIONS.iter().find(|other| other.settings.iter().any(|setting| setting.key == key));
    if let Some(right) = right {
        return Some(if right.name.is_empty() {
            format!("`{key}` stands above all sections")
        } else {
            format!("`{key}` belongs into [{}]", right.name)
        });
    }
    if let Some(known) = SECTIONS.iter().find(|other| other.name == section) {
        let near = nearest(key, known.settings.iter().map(|setting| setting.key));
        if let Some(near) = near {
            return Some(format!("did you mean `{near}`?"));
        }
    }
    let everywhere = SECTIONS
        .iter()
        .flat_map(|other| other.settings.iter().map(move |setting| (other, setting.key)));
    let near = nearest(key, everywhere.clone().map(|(_, key)| key))?;
    let (home, near) = everywhere.into_iter().find(|&(_, key)| key == near)?;
    Some(format!("did you mean `{}`?", home.path(near)))
}

/// Where a broker listens that was told nothing: on this machine, for this machine.
fn loopback_listeners() -> Vec<ListenerConfig> {
    let v4 = ListenerConfig::new("local", SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    let v6 = ListenerConfig::new("local-ipv6", SocketAddr::from((Ipv6Addr::LOCALHOST, PORT)));
    // Where IPv6 is switched off, ::1 cannot be bound at all, whatever the port.
    let has_v6 = TcpListener::bind((IpAddr::V6(Ipv6Addr::LOCALHOST), 0)).is_ok();
    if has_v6 { vec![v4, v6] } else { vec![v4] }
}

fn resolve(address: &str) -> Result<Vec<SocketAddr>, String> {
    let advice = format!(
        "must be HOST:PORT such as 127.0.0.1:{PORT}, [::1]:{PORT} or localhost:{PORT}, not `{address}`"
    );
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(advice);
    };
    if host.is_empty() || host.contains(':') || port.parse::<u16>().is_err() {
        return Err(advice);
    }
    match address.to_socket_addrs() {
        Ok(found) => {
            let mut addresses: Vec<SocketAddr> = Vec::new();
            for address in found {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        }
        Err(error) => Err(format!("the host of `{address}` is not known here: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: usize) -> Origin {
        Origin::File { name: "dunlin.toml".into(), line }
    }

    fn sources(assignments: &[(&str, &str)]) -> Sources {
        let numbered = assignments.iter().enumerate();
        let assignments = numbered.map(|(index, &(path, value))| Assignment {
            path: path.to_owned(),
            value: value.to_owned(),
            origin: line(index + 1),
        });
        Sources { assignments: assignments.collect(), ..Sources::default() }
    }

    fn listen(addresses: &[&str]) -> Vec<Listen> {
        let origin = |address: &str| Origin::Flag(format!("--listen {address}"));
        addresses
            .iter()
            .map(|&address| Listen { address: address.to_owned(), origin: origin(address) })
            .collect()
    }

    #[track_caller]
    fn refused(sources: Sources, expected: &[&str]) {
        let problems = assemble(sources).expect_err("the configuration has problems");
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected);
    }

    fn assembled(sources: Sources) -> Configuration {
        assemble(sources).expect("the configuration is fine").configuration
    }

    #[test]
    fn a_later_assignment_wins() {
        let config =
            assembled(sources(&[("limits.receive_maximum", "5"), ("limits.receive_maximum", "6")]));
        assert_eq!(config.broker.limits.receive_maximum, 6);
    }

    #[test]
    fn without_a_word_it_listens_on_loopback_for_anonymous_clients() {
        let Assembled { configuration, default_listeners } =
            assemble(Sources::default()).expect("defaults");
        assert!(default_listeners);
        let addresses: Vec<String> = configuration
            .broker
            .listeners
            .iter()
            .map(|listener| listener.address.to_string())
            .collect();
        assert_eq!(addresses.first().map(String::as_str), Some("127.0.0.1:1883"));
        assert!(addresses.len() == 1 || addresses.get(1).map(String::as_str) == Some("[::1]:1883"));
        assert!(configuration.broker.listeners.iter().all(|listener| listener.allow_anonymous));
    }

    #[test]
    fn slips_are_answered_with_the_nearest_key() {
        refused(
            sources(&[
                ("limits.recieve_maximum", "5"),
                ("limit.packet_bytes_max", "5"),
                ("data_dri", "/var"),
                ("sys.data_dir", "/var"),
                ("listeners.lan.adress", "127.0.0.1:1"),
                ("listeners.lan.address", "127.0.0.1:1"),
                ("limits.colour", "red"),
                ("listeners", "a table"),
                ("sys", "5"),
            ]),
            &[
                "dunlin.toml:1: unknown key `limits.recieve_maximum`: did you mean `receive_maximum`?",
                "dunlin.toml:2: unknown key `limit.packet_bytes_max`: `packet_bytes_max` belongs into [limits]",
                "dunlin.toml:3: unknown key `data_dri`: did you mean `data_dir`?",
                "dunlin.toml:4: unknown key `sys.data_dir`: `data_dir` stands above all sections",
                "dunlin.toml:7: unknown key `limits.colour`: `dunlin config --defaults` shows every key",
                "dunlin.toml:8: each listener is a section of its own, [listeners.NAME]",
                "dunlin.toml:9: `sys` is a section, [sys], not a key",
                "dunlin.toml:5: unknown key `listeners.lan.adress`: did you mean `address`?",
            ],
        );
    }

    #[test]
    fn wrong_values_are_named_with_what_they_must_be() {
        refused(
            sources(&[
                ("limits.receive_maximum", "many"),
                ("limits.overflow", "drop"),
                ("limits.queue_qos0", "1"),
            ]),
            &[
                "dunlin.toml:1: `limits.receive_maximum` must be a whole number from 0 to 65535, not `many`",
                "dunlin.toml:2: `limits.overflow` must be one of \"drop_new\", \"drop_oldest\", \"disconnect\", not `drop`",
                "dunlin.toml:3: `limits.queue_qos0` must be true or false, not `1`",
            ],
        );
    }

    #[test]
    fn what_the_library_refuses_is_shown_where_it_was_written() {
        refused(
            sources(&[("limits.queue_qos0", "true"), ("limits.receive_maximum", "0")]),
            &["dunlin.toml:2: `limits.receive_maximum` must be at least 1"],
        );
        refused(
            sources(&[
                ("listeners.a.address", "127.0.0.1:7"),
                ("listeners.b.address", "127.0.0.1:7"),
            ]),
            &["dunlin.toml:2: `listeners.b.address` is the address of another listener too"],
        );
    }

    #[test]
    fn the_limit_before_connect_follows_a_lower_one_unless_it_is_said() {
        let limits = assembled(sources(&[("limits.packet_bytes_max", "1 KiB")])).broker.limits;
        assert_eq!(limits.packet_bytes_max_before_connect, 1_024);
        refused(
            sources(&[
                ("limits.packet_bytes_max", "1 KiB"),
                ("limits.packet_bytes_max_before_connect", "2 KiB"),
            ]),
            &["dunlin.toml:2: `limits.packet_bytes_max_before_connect` must not be more than \
               limits.packet_bytes_max"],
        );
    }

    #[test]
    fn a_listener_for_other_machines_must_allow_anonymous_clients_in_its_own_section() {
        let lan = [
            ("listeners.lan.address", "0.0.0.0:1883"),
            ("listeners.local.address", "127.0.0.1:1884"),
        ];
        refused(
            sources(&lan),
            &[
                "dunlin.toml:1: 0.0.0.0:1883 can be reached from other machines, and no authentication is set up: \
               put `allow_anonymous = true` into its section [listeners.lan] to let every client in, or listen on 127.0.0.1",
            ],
        );
        let mut elsewhere = lan.to_vec();
        elsewhere.push(("listeners.local.allow_anonymous", "true"));
        assert!(assemble(sources(&elsewhere)).is_err());
        let mut its_own = lan.to_vec();
        its_own.push(("listeners.lan.allow_anonymous", "true"));
        assert!(
            assembled(sources(&its_own))
                .broker
                .listeners
                .iter()
                .all(|listener| listener.allow_anonymous)
        );
    }

    #[test]
    fn listen_replaces_the_listeners_and_has_its_own_permission() {
        let file = [("listeners.local.address", "127.0.0.1:1884")];
        let said = Sources { listen: listen(&["127.0.0.1:0", "[::1]:7"]), ..sources(&file) };
        let names: Vec<String> = assembled(said)
            .broker
            .listeners
            .into_iter()
            .map(|listener| listener.address.to_string())
            .collect();
        assert_eq!(names, ["127.0.0.1:0", "[::1]:7"]);

        let open = Sources { listen: listen(&["0.0.0.0:7"]), ..Sources::default() };
        refused(
            open.clone(),
            &[
                "--listen 0.0.0.0:7: 0.0.0.0:7 can be reached from other machines, and no authentication is set up: \
               add --allow-anonymous to let every client in, or listen on 127.0.0.1",
            ],
        );
        let permitted =
            Sources { allow_anonymous: Some(Origin::Flag("--allow-anonymous".to_owned())), ..open };
        assert!(assemble(permitted).is_ok());
    }

    #[test]
    fn the_flag_alone_opens_no_listener_of_the_file() {
        let said = Sources {
            allow_anonymous: Some(Origin::Flag("--allow-anonymous".to_owned())),
            ..sources(&[("listeners.local.address", "127.0.0.1:1884")])
        };
        refused(
            said,
            &[
                "--allow-anonymous: goes with --listen: a listener of the file takes anonymous clients if \
               `allow_anonymous = true` stands in its own section",
            ],
        );
    }

    #[test]
    fn rules_of_durability_keep_their_order() {
        let config = assembled(sources(&[
            ("durability.1.filter", "telemetry/#"),
            ("durability.1.level", "os"),
            ("durability.2.level", "memory"),
            ("durability.2.filter", "+/noise"),
            ("store.durability", "os"),
            ("listeners.lan.address", "127.0.0.1:1"),
            ("listeners.lan.durability", "memory"),
        ]));
        let rule = |filter: &'static str, level| DurabilityRule {
            filter: TopicFilter::new(filter).expect("a filter"),
            level,
        };
        let expected = [rule("telemetry/#", Durability::Os), rule("+/noise", Durability::Memory)];
        assert_eq!(config.broker.durability_rules, expected);
        assert_eq!(config.broker.durability, Durability::Os);
        let levels: Vec<_> =
            config.broker.listeners.iter().map(|listener| listener.durability).collect();
        assert_eq!(levels, [Some(Durability::Memory)]);
    }

    #[test]
    fn slips_in_what_is_kept_name_the_choices() {
        refused(
            sources(&[
                ("store.durability", "sync"),
                ("store.backend", "ram"),
                ("store.full_3x", "drop"),
                ("durability", "os"),
                ("durability.1.filter", "a/#/b"),
                ("durability.1.levle", "os"),
                ("durability.2.filter", "a"),
                ("durability.2.level", "never"),
                ("store.sync_interval", "1ms"),
                ("store.max_bytes", "64 KiB"),
            ]),
            &[
                "dunlin.toml:1: `store.durability` must be one of \"fsync\", \"os\", \"memory\", not `sync`",
                "dunlin.toml:2: `store.backend` must be one of \"disk\", \"memory\", not `ram`",
                "dunlin.toml:3: `store.full_3x` must be one of \"hold\", \"disconnect\", not `drop`",
                "dunlin.toml:4: rules are tables, [[durability]] each; the broker's own level is \
                 `store.durability`",
                "dunlin.toml:5: `durability.filter` must be a topic filter such as \"telemetry/#\" or \"+/alarm\", not `a/#/b`",
                "dunlin.toml:6: unknown key `durability.levle`: did you mean `level`?",
                "dunlin.toml:5: a rule [[durability]] without a `level`",
                "dunlin.toml:8: `durability.level` must be one of \"fsync\", \"os\", \"memory\", not `never`",
                "dunlin.toml:10: `store.max_bytes` must be at least 1 MiB",
                "dunlin.toml:9: `store.sync_interval` must be at least 10ms",
            ],
        );
    }

    #[test]
    fn bad_addresses_of_listen() {
        for bad in ["1883", "127.0.0.1", "127.0.0.1:", ":1883", "127.0.0.1:99999", "::1:1883"] {
            let problems =
                assemble(Sources { listen: listen(&[bad]), ..Sources::default() }).expect_err(bad);
            let text = problems.first().expect("one problem").to_string();
            assert!(text.contains("must be HOST:PORT such as"), "{text}");
        }
    }

    #[test]
    fn a_listener_needs_an_address_and_a_plain_name() {
        refused(
            sources(&[
                ("listeners.lan.maximum_qos", "1"),
                ("listeners.a b.address", "127.0.0.1:1"),
            ]),
            &[
                "dunlin.toml:1: [listeners.lan] says no `address`, such as \"127.0.0.1:1883\"",
                "dunlin.toml:2: the listener's name \"a b\" may hold letters, digits, `_` and `-` only",
            ],
        );
    }
}

//! From what was said in the file, the environment and on the command line to one [`Configuration`].
//!
//! Each source says the same thing, a list of [`Assignment`]s in rising order. They are applied here, in one place, so
//! that a slip is answered in the same words wherever it was made, and with the place where it was made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use dunlin_access::nearest;
use dunlin_broker::config::{Durability, DurabilityRule, QuotaRule, TopicFilter};
use dunlin_broker::{Config, ListenerConfig, TenantExport, TopicName};

use crate::authentication::{AuthKind, AuthSection, AuthSettings, LoginsConfig, asks};
use crate::notation::{Notation, Word};
use crate::problem::{Origin, Problem};
use crate::quota::QuotaDraft;
use crate::settings::{
    AUTH, EXPORT, EXPORT_OPTIONAL, KINDS, LISTENER, QUOTA, RULE, SECTIONS, Setting,
};
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
    /// How clients are known, in the order in which listeners ask that name none.
    pub(crate) auth: Vec<AuthSection>,
    pub(crate) logins: LoginsConfig,
    pub(crate) audit: telemetry::AuditConfig,
    pub(crate) log: telemetry::LogConfig,
    pub(crate) reload: ReloadConfig,
    pub(crate) runtime: RuntimeConfig,
    pub(crate) access: AccessFile,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            broker: Config::default(),
            data_dir: PathBuf::from("./data"),
            store: StoreConfig::default(),
            auth: Vec::new(),
            logins: LoginsConfig::default(),
            audit: telemetry::AuditConfig::default(),
            log: telemetry::LogConfig::default(),
            reload: ReloadConfig::default(),
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

/// How a changed configuration is taken while the broker runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ReloadConfig {
    pub(crate) watch: bool,
    pub(crate) watch_interval: Duration,
    pub(crate) enforce_limits: bool,
}

impl Default for ReloadConfig {
    fn default() -> Self {
        Self { watch: false, watch_interval: Duration::from_secs(2), enforce_limits: false }
    }
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

/// A rule `[[tenants.exports]]` as far as it was said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ExportDraft {
    pub(crate) from: Option<String>,
    pub(crate) filter: Option<TopicFilter>,
    pub(crate) to: Option<String>,
    pub(crate) below: Option<TopicName>,
}

impl ExportDraft {
    fn rule(self) -> Option<TenantExport> {
        let mut rule = TenantExport::new(self.from?, self.filter?, self.to?);
        rule.below = self.below;
        Some(rule)
    }
}

impl From<&TenantExport> for ExportDraft {
    fn from(rule: &TenantExport) -> Self {
        let TenantExport { from, filter, to, below, .. } = rule.clone();
        Self { from: Some(from), filter: Some(filter), to: Some(to), below }
    }
}

/// What was said about each rule of one kind, by its number.
type Drafts = BTreeMap<usize, Vec<Assignment>>;

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
    /// Ways to know clients in the order in which they were first named, each with what was said about it.
    auths: Vec<(String, Vec<Assignment>)>,
    /// The rules of durability.
    rules: Drafts,
    /// Those of quotas.
    quotas: Drafts,
    /// Those by which tenants show each other topics.
    exports: Drafts,
    /// Listeners of `--listen` that take anonymous clients because that was said.
    opened: HashSet<String>,
    /// Where each setting got its value.
    origins: HashMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Assembly {
    fn apply(&mut self, assignment: Assignment) {
        self.origins.insert(assignment.path.clone(), assignment.origin.clone());
        if let Some((name, key)) = named_path("listeners", &assignment.path) {
            let (name, key) = (name.to_owned(), key.to_owned());
            return note(&mut self.listeners, &name, Assignment { path: key, ..assignment });
        }
        if let Some((name, key)) = named_path("auth", &assignment.path) {
            let (name, key) = (name.to_owned(), key.to_owned());
            return note(&mut self.auths, &name, Assignment { path: key, ..assignment });
        }
        for (kind, rules) in [
            ("durability", &mut self.rules),
            ("quotas", &mut self.quotas),
            ("tenants.exports", &mut self.exports),
        ] {
            if let Some((number, key)) = rule_path(kind, &assignment.path) {
                let path = key.to_owned();
                return rules.entry(number).or_default().push(Assignment { path, ..assignment });
            }
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
        self.configuration.auth = self.auth_sections();
        self.close_asking_listeners(&mut listeners);
        self.refuse_unknown_steps(&listeners);
        self.refuse_open_listeners(&listeners);
        self.configuration.broker.listeners = listeners;
        self.configuration.broker.durability_rules = self.durability_rules();
        self.configuration.broker.quotas = self.quota_rules();
        self.configuration.broker.tenants.exports = self.tenant_exports();
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
        if !is_plain(name) {
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

    fn auth_sections(&mut self) -> Vec<AuthSection> {
        let drafts = std::mem::take(&mut self.auths);
        drafts
            .into_iter()
            .filter_map(|(name, assignments)| self.auth_section(name, &assignments))
            .collect()
    }

    /// The kind comes first, since it says which other keys there are.
    fn auth_section(&mut self, name: String, assignments: &[Assignment]) -> Option<AuthSection> {
        let first = assignments.first()?;
        if !is_plain(&name) {
            let message = format!(
                "the name {name:?} of a section [auth.NAME] may hold letters, digits, `_` and `-` only"
            );
            self.problems.push(Problem::new(first.origin.clone(), message));
            return None;
        }
        let mut settings = AuthSettings::default();
        let (general, special): (Vec<_>, Vec<_>) = assignments
            .iter()
            .partition(|each| AUTH.iter().any(|setting| setting.key == each.path));
        self.set_auth(&mut settings, &name, &AUTH.iter().collect::<Vec<_>>(), &general);
        let said = settings.kind.or_else(|| <Word as Notation<_>>::read(&name));
        let found = said.and_then(|said| KINDS.iter().find(|kind| kind.kind == said));
        let Some(found) = found else {
            // A wrong kind was answered already.
            if general.is_empty() {
                let kinds = <Word as Notation<AuthKind>>::expected();
                let message = format!("[auth.{name}] says no `kind`: {kinds}");
                self.problems.push(Problem::new(first.origin.clone(), message));
            }
            return None;
        };
        settings.kind = Some(found.kind);
        self.set_auth(&mut settings, &name, &found.all().collect::<Vec<_>>(), &special);
        Some(AuthSection { name, kind: found.kind, settings })
    }

    fn set_auth(
        &mut self,
        settings: &mut AuthSettings,
        name: &str,
        known: &[&'static Setting<AuthSettings>],
        assignments: &[&Assignment],
    ) {
        for assignment in assignments {
            let path = format!("auth.{name}.{}", assignment.path);
            let Some(setting) = known.iter().find(|setting| setting.key == assignment.path) else {
                let keys = known.iter().copied().chain(AUTH).map(|setting| setting.key);
                let advice = nearest(&assignment.path, keys).map_or_else(
                    || "`dunlin config --defaults` shows every key".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                let message = format!("unknown key `{path}`: {advice}");
                self.problems.push(Problem::new(assignment.origin.clone(), message));
                continue;
            };
            if let Err(expected) = (setting.read)(settings, &assignment.value) {
                self.problems.push(wrong_value(&path, assignment, &expected));
            }
        }
    }

    /// Where somebody is asked who clients are, one that shows nothing comes in only if that was said.
    fn close_asking_listeners(&self, listeners: &mut [ListenerConfig]) {
        for listener in listeners.iter_mut() {
            let said =
                self.origins.contains_key(&format!("listeners.{}.allow_anonymous", listener.name))
                    || self.opened.contains(&listener.name);
            if !said && asks(&self.configuration, listener) {
                listener.allow_anonymous = false;
            }
        }
    }

    /// A listener can only ask whom there is.
    fn refuse_unknown_steps(&mut self, listeners: &[ListenerConfig]) {
        for listener in listeners {
            for step in listener.authentication.iter().flatten() {
                if self.configuration.auth.iter().any(|section| section.name == *step) {
                    continue;
                }
                let setting = format!("listeners.{}.authentication", listener.name);
                let names = self.configuration.auth.iter().map(|section| section.name.as_str());
                let advice = nearest(step, names)
                    .map(|near| format!(": did you mean `{near}`?"))
                    .unwrap_or_default();
                let message = format!(
                    "`{setting}` names `{step}`, and there is no section [auth.{step}]{advice}"
                );
                self.problems.push(Problem::new(self.origin(&setting), message));
            }
        }
    }

    fn durability_rules(&mut self) -> Vec<DurabilityRule> {
        let drafts = std::mem::take(&mut self.rules);
        let rules = drafts.into_values().filter_map(|said| self.rule("durability", RULE, &said));
        let rules: Vec<RuleDraft> = rules.collect();
        let complete =
            |rule: RuleDraft| Some(DurabilityRule { filter: rule.filter?, level: rule.level? });
        rules.into_iter().filter_map(complete).collect()
    }

    fn tenant_exports(&mut self) -> Vec<TenantExport> {
        let drafts = std::mem::take(&mut self.exports);
        let rules =
            drafts.into_values().filter_map(|said| self.rule("tenants.exports", EXPORT, &said));
        let rules: Vec<ExportDraft> = rules.collect();
        rules.into_iter().filter_map(ExportDraft::rule).collect()
    }

    /// One rule of those that stand in tables of this name.
    fn rule<T: Default>(
        &mut self,
        kind: &str,
        settings: &[Setting<T>],
        assignments: &[Assignment],
    ) -> Option<T> {
        let first = assignments.first()?;
        let mut rule = T::default();
        self.set_rule(kind, settings, &mut rule, assignments);
        let missing = settings.iter().filter(|setting| {
            setting.key != EXPORT_OPTIONAL
                && assignments.iter().all(|each| each.path != setting.key)
        });
        for setting in missing {
            let message = format!("a rule [[{kind}]] without a `{}`", setting.key);
            self.problems.push(Problem::new(first.origin.clone(), message));
        }
        Some(rule)
    }

    fn set_rule<T>(
        &mut self,
        kind: &str,
        settings: &[Setting<T>],
        rule: &mut T,
        assignments: &[Assignment],
    ) {
        for assignment in assignments {
            let path = format!("{kind}.{}", assignment.path);
            let Some(setting) = settings.iter().find(|setting| setting.key == assignment.path)
            else {
                self.problems.push(Problem::new(assignment.origin.clone(), unknown(&path)));
                continue;
            };
            if let Err(expected) = (setting.read)(rule, &assignment.value) {
                self.problems.push(wrong_value(&path, assignment, &expected));
            }
        }
    }

    fn quota_rules(&mut self) -> Vec<QuotaRule> {
        let drafts = std::mem::take(&mut self.quotas);
        drafts.into_values().filter_map(|assignments| self.quota_rule(&assignments)).collect()
    }

    fn quota_rule(&mut self, assignments: &[Assignment]) -> Option<QuotaRule> {
        let first = assignments.first()?;
        let mut draft = QuotaDraft::default();
        self.set_rule("quotas", QUOTA, &mut draft, assignments);
        if assignments.iter().all(|each| each.path != "for") {
            let message = "a rule [[quotas]] without a `for`";
            self.problems.push(Problem::new(first.origin.clone(), message));
        }
        draft.finish()
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
                if anonymous {
                    self.opened.insert(listener.name.clone());
                }
                listeners.push(listener);
            }
        }
        listeners
    }

    /// A listener that other machines reach must be open to everybody on purpose, never by oversight.
    fn refuse_open_listeners(&mut self, listeners: &[ListenerConfig]) {
        let closed = |listener: &&ListenerConfig| {
            !listener.is_local()
                && !listener.allow_anonymous
                && !asks(&self.configuration, listener)
        };
        let closed: Vec<&ListenerConfig> = listeners.iter().filter(closed).collect();
        for listener in closed {
            let origin = self.origin(&format!("listeners.{}.address", listener.name));
            let remedy = match origin {
                Origin::Flag(_) => "add --allow-anonymous".to_owned(),
                Origin::Variable(ref name) if name == "DUNLIN_LISTEN" => {
                    "set DUNLIN_ALLOW_ANONYMOUS=true".to_owned()
                }
                Origin::File { .. }
                | Origin::Variable(_)
                | Origin::Section(_)
                | Origin::Default => {
                    format!(
                        "put `allow_anonymous = true` into its section [listeners.{}]",
                        listener.name
                    )
                }
            };
            let message = format!(
                "{} can be reached from other machines, and no authentication is set up: make users with `dunlin user add` \
                 and say where they are, `path` in a section [auth.file]; or {remedy} to let every client in; or listen on \
                 127.0.0.1",
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
        if let Some((setting, message)) = self.configuration.logins.invalid() {
            self.problems
                .push(Problem::new(self.origin(setting), format!("`{setting}` {message}")));
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

/// The name and the key of `listeners.NAME.KEY` and such.
fn named_path<'a>(sections: &str, path: &'a str) -> Option<(&'a str, &'a str)> {
    path.strip_prefix(sections)?.strip_prefix('.')?.rsplit_once('.')
}

/// Adds to what was said about `name`.
fn note(sections: &mut Vec<(String, Vec<Assignment>)>, name: &str, assignment: Assignment) {
    match sections.iter_mut().find(|(other, _)| other == name) {
        Some((_, assignments)) => assignments.push(assignment),
        None => sections.push((name.to_owned(), vec![assignment])),
    }
}

/// Whether a section may be called so.
fn is_plain(name: &str) -> bool {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    !name.is_empty() && name.chars().all(legal)
}

/// The number and the key of `KIND.NUMBER.KEY`.
fn rule_path<'a>(kind: &str, path: &'a str) -> Option<(usize, &'a str)> {
    let (number, key) = path.strip_prefix(kind)?.strip_prefix('.')?.split_once('.')?;
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
    if path == "auth" {
        return "each way to know clients is a section of its own, [auth.NAME]".to_owned();
    }
    if path == "durability" {
        return "rules are tables, [[durability]] each; the broker's own level is `store.durability`"
            .to_owned();
    }
    if path == "quotas" {
        return "quotas are tables, [[quotas]] each; what holds for all is in [limits]".to_owned();
    }
    if path == "tenants.exports" {
        return "rules are tables, [[tenants.exports]] each".to_owned();
    }
    if SECTIONS.iter().any(|section| section.name == path) {
        return format!("`{path}` is a section, [{path}], not a key");
    }
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let advice = if path.starts_with("listeners.") {
        nearest(key, LISTENER.iter().map(|setting| setting.key))
            .map(|near| format!("did you mean `{near}`?"))
    } else if path.starts_with("tenants.exports.") {
        nearest(key, EXPORT.iter().map(|setting| setting.key))
            .map(|near| format!("did you mean `{near}`?"))
    } else if path.starts_with("durability.") {
        nearest(key, RULE.iter().map(|setting| setting.key))
            .map(|near| format!("did you mean `{near}`?"))
    } else if path.starts_with("quotas.") {
        nearest(key, QUOTA.iter().map(|setting| setting.key))
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
mod tests;

//! From sections `[auth.NAME]` to authenticators, and from `[logins]` to what stands around them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dunlin_auth::jwt::JwtAuthenticator;
use dunlin_auth::lookup::LookupOptions;
use dunlin_auth::{
    Audit, CacheOptions, PasswordFile, PasswordFileOptions, PeerField, PeerRule, Rate, Throttle,
    ThrottleRules, Workers, WorkersOptions,
};
use dunlin_broker::{Authenticator, Authenticators, ListenerConfig};

use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::lookup_login::{self, LdapSettings, Opened, RedisSettings, SqlSettings, SqliteSettings};
use crate::problem::{Origin, Problem};
use crate::service_login::{self, HttpSettings};
use crate::sources::Look;
use crate::token_login::{self, JwtSettings};

/// A way to know clients: one section `[auth.NAME]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AuthSection {
    pub(crate) name: String,
    pub(crate) kind: AuthKind,
    pub(crate) settings: AuthSettings,
}

/// The ways there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AuthKind {
    /// A file of users.
    File,
    /// The certificate, the owner of the process, a proxy's word.
    Peer,
    /// Tokens.
    Jwt,
    /// A service that is asked.
    Http,
    /// A PostgreSQL database.
    Postgres,
    /// A MySQL or MariaDB database.
    MySql,
    /// A file of SQLite.
    Sqlite,
    /// A Redis server.
    Redis,
    /// A directory.
    Ldap,
}

/// The settings of every kind; a section says those of its own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct AuthSettings {
    /// None: the section's name says it.
    pub(crate) kind: Option<AuthKind>,
    pub(crate) file: FileSettings,
    pub(crate) peer: PeerSettings,
    pub(crate) jwt: JwtSettings,
    pub(crate) http: HttpSettings,
    pub(crate) sql: SqlSettings,
    pub(crate) sqlite: SqliteSettings,
    pub(crate) redis: RedisSettings,
    pub(crate) ldap: LdapSettings,
    /// What holds for databases and directories of every kind.
    pub(crate) lookup: LookupOptions,
}

/// What a section about a file of users says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FileSettings {
    pub(crate) path: Option<PathBuf>,
    pub(crate) scram: bool,
    pub(crate) watch_interval: Duration,
    pub(crate) cache_entries_max: usize,
    pub(crate) cache_ttl: Duration,
}

impl Default for FileSettings {
    fn default() -> Self {
        let options = PasswordFileOptions::default();
        Self {
            path: None,
            scram: options.scram,
            watch_interval: options.watch_interval,
            cache_entries_max: options.cache.entries_max,
            cache_ttl: options.cache.ttl,
        }
    }
}

/// What a section about what lies between a client and MQTT says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PeerSettings {
    pub(crate) field: Option<PeerField>,
    pub(crate) pattern: String,
    pub(crate) user: String,
    pub(crate) tenant: Option<String>,
    pub(crate) roles: Vec<String>,
}

impl Default for PeerSettings {
    fn default() -> Self {
        let (pattern, user) = ("*".to_owned(), "{value}".to_owned());
        Self { field: None, pattern, user, tenant: None, roles: Vec::new() }
    }
}

/// What holds for logins by whichever way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LoginsConfig {
    /// None: half of the processors.
    pub(crate) hash_threads: Option<usize>,
    pub(crate) hash_waiting_max: usize,
    pub(crate) hash_waiting_per_address_max: usize,
    pub(crate) throttle: bool,
    pub(crate) address_failures_max: u64,
    pub(crate) address_failures_per: Duration,
    pub(crate) user_failures_max: u64,
    pub(crate) user_failures_per: Duration,
}

impl Default for LoginsConfig {
    fn default() -> Self {
        let (workers, rules) = (WorkersOptions::default(), ThrottleRules::default());
        let (address_failures_max, address_failures_per) = rules.per_address.tokens_per();
        let (user_failures_max, user_failures_per) = rules.per_address_and_user.tokens_per();
        Self {
            hash_threads: None,
            hash_waiting_max: workers.waiting_max,
            hash_waiting_per_address_max: workers.waiting_per_address_max,
            throttle: true,
            address_failures_max,
            address_failures_per,
            user_failures_max,
            user_failures_per,
        }
    }
}

impl LoginsConfig {
    fn workers(&self) -> WorkersOptions {
        let default = WorkersOptions::default();
        WorkersOptions {
            threads: self.hash_threads.and_then(NonZeroUsize::new).unwrap_or(default.threads),
            waiting_max: self.hash_waiting_max,
            waiting_per_address_max: self.hash_waiting_per_address_max,
        }
    }

    fn rules(&self) -> ThrottleRules {
        let mut rules = ThrottleRules::default();
        rules.per_address = Rate::new(self.address_failures_max, self.address_failures_per);
        rules.per_address_and_user = Rate::new(self.user_failures_max, self.user_failures_per);
        rules
    }

    /// A setting that cannot work, with what is wrong about it.
    pub(crate) fn invalid(&self) -> Option<(&'static str, &'static str)> {
        let numbers = [
            ("logins.hash_threads", self.hash_threads.unwrap_or(1)),
            ("logins.hash_waiting_max", self.hash_waiting_max),
            ("logins.hash_waiting_per_address_max", self.hash_waiting_per_address_max),
        ];
        if let Some((setting, _)) = numbers.into_iter().find(|(_, value)| *value == 0) {
            return Some((setting, "must be at least 1"));
        }
        let failures = [
            ("logins.address_failures_max", self.address_failures_max),
            ("logins.user_failures_max", self.user_failures_max),
        ];
        if let Some((setting, _)) = failures.into_iter().find(|(_, value)| *value == 0) {
            return Some((setting, "must be at least 1"));
        }
        let spans = [
            ("logins.address_failures_per", self.address_failures_per),
            ("logins.user_failures_per", self.user_failures_per),
        ];
        let legal = Duration::from_secs(1)..=Rate::PER_MAX;
        let wrong = spans.into_iter().find(|(_, span)| !legal.contains(span));
        wrong.map(|(setting, _)| (setting, "must be from 1s to 1d"))
    }
}

/// Whether `listener` asks anybody.
pub(crate) fn asks(configuration: &Configuration, listener: &ListenerConfig) -> bool {
    match &listener.authentication {
        None => !configuration.auth.is_empty(),
        Some(names) => !names.is_empty(),
    }
}

/// The authenticators of a configuration, ready to be asked.
#[derive(Clone, Default)]
pub(crate) struct Authentication {
    steps: Vec<OpenStep>,
    /// What stands around them, if there is a step.
    around: Option<Around>,
}

/// What `[logins]` asks for: the threads that compute hashes, and the brake.
#[derive(Clone)]
struct Around {
    logins: LoginsConfig,
    workers: Workers,
    throttle: Option<Arc<Throttle>>,
}

impl Around {
    fn new(logins: &LoginsConfig) -> Result<Self, Failure> {
        let workers = Workers::start(logins.workers())
            .map_err(|error| Failure::Run(format!("no thread for password hashes: {error}")))?;
        let throttle = logins.throttle.then(|| Arc::new(Throttle::new(logins.rules())));
        if let Some(throttle) = &throttle {
            workers.brake(Arc::clone(throttle));
        }
        Ok(Self { logins: logins.clone(), workers, throttle })
    }
}

/// The step of one section.
#[derive(Clone)]
struct OpenStep {
    section: AuthSection,
    /// How the files that it has read looked then, if it is kept as long as they stay the same.
    kept_while: Option<Vec<Look>>,
    authenticator: Arc<dyn Authenticator>,
    has: Has,
}

/// What a step has beside answers.
#[derive(Clone)]
enum Has {
    File(Arc<PasswordFile>),
    Tokens(Arc<JwtAuthenticator>),
    /// It asks another machine in a way in which passwords or their hashes can be read.
    Exposed,
    Nothing,
}

impl OpenStep {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.authenticator, &other.authenticator)
    }

    /// Whether it can go on under this section: a file that is watched, keys that were fetched. What else has a section is
    /// opened anew, since files and secrets that it names may hold something else by now.
    fn stays(&self, section: &AuthSection) -> bool {
        self.section == *section
            && self.kept_while == kept_while(section)
            && self.kept_while.is_some()
    }
}

/// The files of a section that has more to lose than its settings, as they look now.
fn kept_while(section: &AuthSection) -> Option<Vec<Look>> {
    match section.kind {
        AuthKind::File => Some(Vec::new()),
        AuthKind::Jwt => {
            let files = token_login::files_beside_keys(&section.settings.jwt)?;
            Some(files.iter().map(|path| Look::at(path)).collect())
        }
        AuthKind::Peer
        | AuthKind::Http
        | AuthKind::Postgres
        | AuthKind::MySql
        | AuthKind::Sqlite
        | AuthKind::Redis
        | AuthKind::Ldap => None,
    }
}

impl Authentication {
    /// Opens what the sections name.
    pub(crate) fn open(configuration: &Configuration) -> Result<Self, Failure> {
        Self::default().renewed(configuration)
    }

    /// Those of another configuration: of these, what can go on does.
    pub(crate) fn renewed(&self, configuration: &Configuration) -> Result<Self, Failure> {
        let mut renewed = Self::default();
        if configuration.auth.is_empty() {
            return Ok(renewed);
        }
        // What the brake has counted is kept as long as it counts in the same way.
        let present = self.around.clone().filter(|around| around.logins == configuration.logins);
        let same_workers = present.is_some();
        let around = match present {
            Some(present) => present,
            None => Around::new(&configuration.logins)?,
        };
        let mut problems = Vec::new();
        for section in &configuration.auth {
            let present = self.steps.iter().find(|step| step.section.name == section.name);
            let stays = |step: &&OpenStep| {
                step.stays(section) && (same_workers || section.kind != AuthKind::File)
            };
            match present.filter(stays) {
                Some(step) => renewed.steps.push(step.clone()),
                None => match open_step(section, &around.workers) {
                    Ok(step) => renewed.steps.push(step),
                    Err(message) => {
                        let origin = Origin::Section(format!("auth.{}", section.name));
                        problems.push(Problem::new(origin, message));
                    }
                },
            }
        }
        if !problems.is_empty() {
            return Err(Failure::Configuration(problems));
        }
        renewed.around = Some(around);
        Ok(renewed)
    }

    /// What `dunlin check` says of it.
    pub(crate) fn summary(&self) -> String {
        let line = |step: &OpenStep| {
            let name = &step.section.name;
            let Has::File(file) = &step.has else {
                return format!("would know clients by {name}\n");
            };
            let users = file.users();
            let weak = users.iter().filter(|user| user.password.is_weak()).count();
            let advice = match weak {
                0 => String::new(),
                _ => format!(
                    ", {weak} with a hash that is too fast: `dunlin user passwd` makes a better one"
                ),
            };
            format!(
                "would know clients by {name}: {} users in {}{advice}\n",
                users.len(),
                file.path().display()
            )
        };
        self.steps.iter().map(line).collect()
    }

    /// Begins what goes on beside the answers, of the steps that `before` does not have. To be called on the runtime.
    pub(crate) fn begin(&self, before: &Self) {
        let is_new = |step: &&OpenStep| before.steps.iter().all(|earlier| !earlier.is(step));
        for step in self.steps.iter().filter(is_new) {
            match &step.has {
                Has::File(file) => file.watch(),
                Has::Tokens(tokens) => tokens.fetch(),
                Has::Exposed => tracing::warn!(
                    event = "passwords_exposed",
                    section = step.section.name,
                    "what this section asks is on another machine, and no TLS proves and hides that: passwords, or what is \
                     kept of them, can be read on their way"
                ),
                Has::Nothing => {}
            }
        }
    }

    /// For the broker.
    pub(crate) fn authenticators(&self) -> Authenticators {
        let mut authenticators = Authenticators::default();
        for step in &self.steps {
            authenticators.add(&step.section.name, Arc::clone(&step.authenticator));
        }
        if let Some(throttle) = self.around.as_ref().and_then(|around| around.throttle.clone()) {
            authenticators.add_guard(throttle);
        }
        authenticators.add_guard(Arc::new(Audit));
        authenticators
    }
}

fn open_step(section: &AuthSection, workers: &Workers) -> Result<OpenStep, String> {
    let kept_while = kept_while(section);
    let AuthSection { kind, settings, .. } = section;
    let (authenticator, has): (Arc<dyn Authenticator>, Has) = match kind {
        AuthKind::File => {
            let file = open_file(&settings.file, workers.clone())?;
            (Arc::clone(&file) as _, Has::File(file))
        }
        AuthKind::Peer => (Arc::new(peer_rule(&settings.peer)?), Has::Nothing),
        AuthKind::Jwt => {
            let tokens = token_login::open(&settings.jwt)?;
            (Arc::clone(&tokens) as _, Has::Tokens(tokens))
        }
        AuthKind::Http => {
            let exposed = service_login::is_exposed(&settings.http);
            let has = if exposed { Has::Exposed } else { Has::Nothing };
            (service_login::open(&settings.http)?, has)
        }
        AuthKind::Postgres
        | AuthKind::MySql
        | AuthKind::Sqlite
        | AuthKind::Redis
        | AuthKind::Ldap => {
            let Opened { step, is_exposed } = lookup_login::open(*kind, settings, workers)?;
            (step, if is_exposed { Has::Exposed } else { Has::Nothing })
        }
    };
    Ok(OpenStep { section: section.clone(), kept_while, authenticator, has })
}

fn peer_rule(settings: &PeerSettings) -> Result<PeerRule, String> {
    let PeerSettings { field, pattern, user, tenant, roles } = settings;
    let field = field.ok_or("says no `field`")?;
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    PeerRule::new(field, pattern, user, tenant.as_deref(), &roles)
        .map_err(|error| error.to_string())
}

fn open_file(settings: &FileSettings, workers: Workers) -> Result<Arc<PasswordFile>, String> {
    let path =
        settings.path.as_ref().ok_or("says no `path`: make a file with `dunlin user add`")?;
    let mut options = PasswordFileOptions::default();
    options.scram = settings.scram;
    options.watch_interval = settings.watch_interval;
    options.cache =
        CacheOptions { entries_max: settings.cache_entries_max, ttl: settings.cache_ttl };
    let file = PasswordFile::open(path, options, workers).map_err(|error| error.to_string())?;
    Ok(Arc::new(file))
}

//! From sections `[auth.NAME]` to authenticators, and from `[logins]` to what stands around them.

use std::collections::BTreeMap;
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
use dunlin_broker::{Authenticator, Builder, ListenerConfig};

use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::lookup_login::{self, LdapSettings, Opened, RedisSettings, SqlSettings, SqliteSettings};
use crate::problem::{Origin, Problem};
use crate::service_login::{self, HttpSettings};
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
pub(crate) struct Authentication {
    steps: Vec<(String, Arc<dyn Authenticator>)>,
    files: BTreeMap<String, Arc<PasswordFile>>,
    tokens: Vec<Arc<JwtAuthenticator>>,
    /// Sections that ask another machine in a way in which passwords or their hashes can be read.
    exposed: Vec<String>,
    throttle: Option<Arc<Throttle>>,
}

impl Authentication {
    /// Opens what the sections name.
    pub(crate) fn open(configuration: &Configuration) -> Result<Self, Failure> {
        let mut authentication = Self {
            steps: Vec::new(),
            files: BTreeMap::new(),
            tokens: Vec::new(),
            exposed: Vec::new(),
            throttle: None,
        };
        if configuration.auth.is_empty() {
            return Ok(authentication);
        }
        let workers = Workers::start(configuration.logins.workers())
            .map_err(|error| Failure::Run(format!("no thread for password hashes: {error}")))?;
        let mut problems = Vec::new();
        for section in &configuration.auth {
            if let Err(message) = authentication.add(section, &workers) {
                let origin = Origin::Section(format!("auth.{}", section.name));
                problems.push(Problem::new(origin, message));
            }
        }
        if !problems.is_empty() {
            return Err(Failure::Configuration(problems));
        }
        let logins = &configuration.logins;
        authentication.throttle = logins.throttle.then(|| Arc::new(Throttle::new(logins.rules())));
        if let Some(throttle) = &authentication.throttle {
            workers.brake(Arc::clone(throttle));
        }
        Ok(authentication)
    }

    fn add(&mut self, section: &AuthSection, workers: &Workers) -> Result<(), String> {
        let AuthSection { name, kind, settings } = section;
        let step: Arc<dyn Authenticator> = match kind {
            AuthKind::File => {
                let file = open_file(&settings.file, workers.clone())?;
                self.files.insert(name.clone(), Arc::clone(&file));
                file
            }
            AuthKind::Peer => Arc::new(peer_rule(&settings.peer)?),
            AuthKind::Jwt => {
                let tokens = token_login::open(&settings.jwt)?;
                self.tokens.push(Arc::clone(&tokens));
                tokens
            }
            AuthKind::Http => {
                if service_login::is_exposed(&settings.http) {
                    self.exposed.push(name.clone());
                }
                service_login::open(&settings.http)?
            }
            AuthKind::Postgres
            | AuthKind::MySql
            | AuthKind::Sqlite
            | AuthKind::Redis
            | AuthKind::Ldap => {
                let Opened { step, is_exposed } = lookup_login::open(*kind, settings, workers)?;
                if is_exposed {
                    self.exposed.push(name.clone());
                }
                step
            }
        };
        self.steps.push((name.clone(), step));
        Ok(())
    }

    /// What `dunlin check` says of it.
    pub(crate) fn summary(&self) -> String {
        let line = |(name, _): &(String, Arc<dyn Authenticator>)| match self.files.get(name) {
            Some(file) => {
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
            }
            None => format!("would know clients by {name}\n"),
        };
        self.steps.iter().map(line).collect()
    }

    /// Gives the broker its authenticators. To be called on the runtime.
    pub(crate) fn install(self, mut builder: Builder) -> Builder {
        for file in self.files.values() {
            file.watch();
        }
        for tokens in &self.tokens {
            tokens.fetch();
        }
        for section in &self.exposed {
            tracing::warn!(
                event = "passwords_exposed",
                section,
                "what this section asks is on another machine, and no TLS proves and hides that: passwords, or what is kept \
                 of them, can be read on their way"
            );
        }
        for (name, step) in self.steps {
            builder = builder.named_authenticator(&name, step);
        }
        if let Some(throttle) = self.throttle {
            builder = builder.login_guard(throttle);
        }
        builder.login_guard(Arc::new(Audit))
    }
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

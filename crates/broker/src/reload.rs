//! Another configuration for a running broker: what it would change, and the change.
//!
//! What can fail is done first. A reload that fails has changed nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::allowed::Allowed;
use crate::audit::ADMIN_TARGET;
use crate::chain::Authenticators;
use crate::config::{Applies, BROKER, Config, LISTENER, ListenerConfig, differences};
use crate::core::Core;
use crate::end::EndReason;
use crate::listen::{Change, Listeners, Places, load_proofs};
use crate::mailbox::Mailbox;
use crate::queue::Drops;
use crate::quotas::{Key, QuotaScope};
use crate::server::{Broker, ServerError};

/// Clients that a report names; further ones are counted only.
const NAMES_MAX: usize = 1_000;
/// Clients that one line of the log names.
const LOGGED_MAX: usize = 20;

/// What a reload does to those who are above a limit that it lowers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AboveLimit {
    /// They are named in the report and stay as they are. What comes anew keeps to the limit.
    #[default]
    Keep,
    /// Connections beyond `connections_max` are closed with "quota exceeded", and the oldest messages of queues beyond
    /// `queue_messages_max` and `queue_bytes_max` are dropped and counted. Sessions, subscriptions and retained messages are never removed.
    Enforce,
}

/// What a reload did, or would do.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReloadReport {
    /// Settings that differ, outside the listeners. Those that need a restart are named here and stay as they were.
    pub settings: Vec<ChangedSetting>,
    /// Listeners that differ.
    pub listeners: Vec<ChangedListener>,
    /// Limits that are lower than what is there.
    pub above: Vec<LimitExceeded>,
}

impl ReloadReport {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.listeners.is_empty()
    }
}

/// A setting whose value differs.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChangedSetting {
    /// Its name, as in a configuration file.
    pub setting: String,
    /// When the new value takes effect.
    pub applies: Applies,
}

/// A listener that differs.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChangedListener {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub change: ListenerChange,
    /// Connections that are open there.
    pub connections: u32,
    /// The clients that are disconnected by it.
    pub disconnected: Clients,
}

/// What becomes of a listener.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenerChange {
    /// It opens.
    Added,
    /// It closes. Its clients are disconnected with "administrative action"; their sessions stay.
    Removed,
    /// It takes other settings. Its clients stay connected, under what they were granted; those that come from now on find the
    /// new settings. With another address it moves there.
    Changed(Vec<ChangedSetting>),
}

/// Some clients, by name as far as there are not too many.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Clients {
    /// How many.
    pub count: u64,
    /// Their Client Identifiers in alphabetical order, at most 1,000.
    pub names: Vec<String>,
}

impl Clients {
    fn new(mut names: Vec<String>) -> Self {
        let count = names.len() as u64;
        names.sort_unstable();
        names.truncate(NAMES_MAX);
        Self { count, names }
    }
}

/// A limit that is lower than what is there.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitExceeded {
    /// The limit, as in a configuration file.
    pub setting: String,
    /// Its new value.
    pub limit: u64,
    /// What is there: of a limit that holds for each session, the most that one of them has.
    pub found: u64,
    /// The sessions that are above it, where the limit holds for each.
    pub clients: Clients,
}

impl Broker {
    /// What [`Broker::reload`] would do with this configuration. Nothing changes.
    ///
    /// # Errors
    ///
    /// [`ServerError`] when a setting cannot work. Whether addresses can be taken is not tried.
    pub fn plan(&self, config: &Config) -> Result<ReloadReport, ServerError> {
        self.plan_with(config, &self.core.authenticators.load())
    }

    /// The same for [`Broker::reload_with`].
    ///
    /// # Errors
    ///
    /// As [`Broker::plan`].
    pub fn plan_with(
        &self,
        config: &Config,
        authenticators: &Authenticators,
    ) -> Result<ReloadReport, ServerError> {
        self.check(config, authenticators)?;
        Ok(report(&self.core, &self.listeners.lock(), config))
    }

    /// Takes another configuration. Listeners are added, removed and changed without touching the others, limits apply at
    /// once, and what cannot change while the broker runs stays as it was and is named in the report: see [`Applies`].
    ///
    /// # Errors
    ///
    /// [`ServerError`] when a setting cannot work or an address cannot be taken. Nothing has changed then.
    pub async fn reload(
        &self,
        config: Config,
        above: AboveLimit,
    ) -> Result<ReloadReport, ServerError> {
        self.change(config, above, None).await
    }

    /// The same with others who say who clients are, in the place of all that were set up before. Who is connected stays, and
    /// so does an exchange of AUTH packets that has begun; all other clients are judged by the new ones, those that prove
    /// themselves anew included.
    ///
    /// # Errors
    ///
    /// As [`Broker::reload`].
    pub async fn reload_with(
        &self,
        config: Config,
        above: AboveLimit,
        authenticators: Authenticators,
    ) -> Result<ReloadReport, ServerError> {
        self.change(config, above, Some(authenticators)).await
    }

    async fn change(
        &self,
        config: Config,
        above: AboveLimit,
        authenticators: Option<Authenticators>,
    ) -> Result<ReloadReport, ServerError> {
        let present = self.core.authenticators.load_full();
        self.check(&config, authenticators.as_ref().unwrap_or(&present))?;
        let present = self.core.proofs.lock().clone();
        let proofs = load_proofs(&config.listeners, present).await?;
        let mut listeners = self.listeners.lock();
        let prepared = listeners.prepare(&config.listeners)?;
        let report = report(&self.core, &listeners, &config);
        let effective = effective(&self.core.config(), config);
        if let Some(authenticators) = authenticators {
            self.core.authenticators.store(Arc::new(authenticators));
        }
        listeners.adopt(&self.core, &effective, prepared, proofs);
        drop(listeners);
        self.core.adopt(effective);
        if above == AboveLimit::Enforce {
            enforce(&self.core, &self.listeners.lock());
        }
        report.log();
        Ok(report)
    }

    fn check(&self, config: &Config, authenticators: &Authenticators) -> Result<(), ServerError> {
        config.check()?;
        authenticators.check(config)?;
        if self.core.is_closing() { Err(ServerError::Closing) } else { Ok(()) }
    }
}

/// The new configuration, with what only a restart can change as it was: so the next reload names it again.
fn effective(present: &Config, mut wanted: Config) -> Config {
    for setting in BROKER.iter().filter(|setting| setting.applies == Applies::Restart) {
        (setting.take)(&mut wanted, present);
    }
    let sockets = LISTENER.iter().filter(|setting| setting.applies == Applies::Restart);
    for listener in &mut wanted.listeners {
        let same =
            |old: &&ListenerConfig| old.name == listener.name && old.address == listener.address;
        if let Some(old) = present.listeners.iter().find(same) {
            sockets.clone().for_each(|setting| (setting.take)(listener, old));
        }
    }
    wanted
}

fn report(core: &Core, listeners: &Listeners, wanted: &Config) -> ReloadReport {
    let present = core.config();
    let settings = changed("", &differences(BROKER, &present, wanted));
    let changes = listeners.changes(&wanted.listeners).into_iter();
    let listeners_changed = changes.map(|(name, change)| {
        let places = listeners.places().find(|(config, _)| config.name == name);
        let places = places.map(|(_, places)| &**places);
        let disconnected = match (&change, places) {
            (Change::Removed, Some(places)) => clients_of(core, places),
            (Change::Removed | Change::Added | Change::Changed(_), _) => Clients::default(),
        };
        let change = match change {
            Change::Added => ListenerChange::Added,
            Change::Removed => ListenerChange::Removed,
            Change::Changed(keys) => {
                ListenerChange::Changed(changed(&format!("listeners.{name}."), &keys))
            }
        };
        let connections = places.map_or(0, Places::connections);
        ChangedListener { name, change, connections, disconnected }
    });
    ReloadReport {
        settings,
        listeners: listeners_changed.collect(),
        above: above(core, listeners, &present, wanted),
    }
}

fn changed(prefix: &str, keys: &[(&'static str, Applies)]) -> Vec<ChangedSetting> {
    let setting = |&(key, applies): &(&str, Applies)| ChangedSetting {
        setting: format!("{prefix}{key}"),
        applies,
    };
    keys.iter().map(setting).collect()
}

/// The clients that are connected by a listener.
fn clients_of(core: &Core, places: &Places) -> Clients {
    let mut names = Vec::new();
    core.for_each_session(|mailbox| {
        if mailbox.is_connected_by(places.number) {
            names.push(mailbox.client_id.as_str().to_owned());
        }
    });
    Clients::new(names)
}

/// The connected clients of an account.
fn connected_as(core: &Core, listeners: &Listeners, key: &Key) -> Clients {
    let belongs = belongs_to(listeners, key);
    let mut names = Vec::new();
    core.for_each_session(|mailbox| {
        if mailbox.is_online() && belongs(mailbox) {
            names.push(mailbox.client_id.as_str().to_owned());
        }
    });
    Clients::new(names)
}

/// Whether a client's connections count for an account.
fn belongs_to<'a>(listeners: &Listeners, key: &'a Key) -> impl Fn(&Mailbox) -> bool + use<'a> {
    let number = listeners
        .places()
        .find(|(config, _)| config.name == *key.name)
        .map(|(_, places)| places.number);
    let Key { scope, name, tenant, user } = key;
    move |mailbox| {
        let in_tenant = |tenant: &str| *mailbox.namespace.name == *tenant;
        match scope {
            QuotaScope::Client => mailbox.client_id.as_str() == &**name && in_tenant(tenant),
            QuotaScope::User => mailbox.owner() == *name && in_tenant(tenant),
            QuotaScope::Role => {
                let vouched = mailbox.vouched();
                let has =
                    vouched.is_some_and(|vouched| vouched.roles.iter().any(|it| **it == **name));
                has && mailbox.owner() == *user && in_tenant(tenant)
            }
            QuotaScope::Tenant => in_tenant(name),
            QuotaScope::Listener => number.is_some_and(|number| mailbox.is_connected_by(number)),
            QuotaScope::Broker => true,
        }
    }
}

/// The limits that become lower than what is there.
fn above(
    core: &Core,
    listeners: &Listeners,
    present: &Config,
    wanted: &Config,
) -> Vec<LimitExceeded> {
    let mut found = Vec::new();
    let mut whole = |setting: &str, before: u64, limit: u64, there: u64| {
        if limit < before && there > limit {
            let setting = setting.to_owned();
            found.push(LimitExceeded { setting, limit, found: there, clients: Clients::default() });
        }
    };
    let (old, new) = (Allowed::of(&present.limits), Allowed::of(&wanted.limits));
    let connections = core.connections.load(Ordering::Relaxed);
    whole("limits.connections_max", old.connections, new.connections, connections);
    let common = core.namespaces.common();
    let bytes = common.totals.bytes();
    whole("limits.retained_bytes_max", old.retained_bytes, new.retained_bytes, bytes);
    whole("limits.memory_bytes_max", old.memory_bytes, new.memory_bytes, core.budget.used());
    let (old, new) = (&present.limits, &wanted.limits);
    let sessions = common.numbers.sessions();
    whole("limits.sessions_max", old.sessions_max.into(), new.sessions_max.into(), sessions);
    whole(
        "limits.retained_messages_max",
        old.retained_messages_max,
        new.retained_messages_max,
        common.totals.messages(),
    );
    for (config, places) in listeners.places() {
        let Some(later) = wanted.listeners.iter().find(|later| later.name == config.name) else {
            continue;
        };
        let most = |config: &ListenerConfig| u64::from(config.connections_max.unwrap_or(u32::MAX));
        let setting = format!("listeners.{}.connections_max", config.name);
        whole(&setting, most(config), most(later), places.connections().into());
    }
    let subscriptions = (old.subscriptions_max.into(), new.subscriptions_max.into());
    found.extend(sessions_above(core, "limits.subscriptions_max", subscriptions, |session| {
        session.subscriptions().into()
    }));
    let messages = (old.queue_messages_max as u64, new.queue_messages_max as u64);
    found.extend(sessions_above(core, "limits.queue_messages_max", messages, |session| {
        session.load().0 as u64
    }));
    let bytes = (old.queue_bytes_max as u64, new.queue_bytes_max as u64);
    found.extend(sessions_above(core, "limits.queue_bytes_max", bytes, |session| {
        session.load().1 as u64
    }));
    let quotas = core.quotas.above(&wanted.quotas).into_iter();
    found.extend(quotas.map(|(key, limit, found)| LimitExceeded {
        setting: format!("quotas of {key}: connections_max"),
        limit,
        found,
        clients: connected_as(core, listeners, &key),
    }));
    found
}

/// The sessions that have more than a limit that becomes lower.
fn sessions_above(
    core: &Core,
    setting: &str,
    (before, limit): (u64, u64),
    count: impl Fn(&Mailbox) -> u64,
) -> Option<LimitExceeded> {
    if limit >= before {
        return None;
    }
    let (mut names, mut most) = (Vec::new(), 0);
    core.for_each_session(|mailbox| {
        let there = count(mailbox);
        if there > limit {
            most = most.max(there);
            names.push(mailbox.client_id.as_str().to_owned());
        }
    });
    let setting = setting.to_owned();
    (most > 0).then(|| LimitExceeded { setting, limit, found: most, clients: Clients::new(names) })
}

/// Makes those who are above a limit keep to it.
fn enforce(core: &Arc<Core>, listeners: &Listeners) {
    let config = core.config();
    for (listener, places) in listeners.places() {
        let most = listener.connections_max.unwrap_or(u32::MAX);
        let beyond = places.connections().saturating_sub(most);
        close_some(core, beyond.into(), |mailbox| mailbox.is_connected_by(places.number));
    }
    let allowed = Allowed::of(&config.limits).connections;
    let beyond = core.connections.load(Ordering::Relaxed).saturating_sub(allowed);
    close_some(core, beyond, |mailbox| mailbox.is_online());
    // Under the rules as they are now, whether this reload changed them or not.
    for (key, most, there) in core.quotas.over_full() {
        let belongs = belongs_to(listeners, &key);
        close_some(core, there - most, |mailbox| mailbox.is_online() && belongs(mailbox));
    }
    core.for_each_session(|mailbox| {
        let mut drops = Drops::default();
        mailbox.namespace.charge(mailbox.trim(&config.limits, &mut drops));
        core.report(mailbox, drops);
    });
}

/// Closes so many connections. There is no order of merit among clients: whoever is found first goes.
fn close_some(core: &Core, mut count: u64, choose: impl Fn(&Mailbox) -> bool) {
    core.for_each_session(|mailbox| {
        if count > 0 && choose(mailbox) {
            mailbox.evict(EndReason::LimitLowered);
            count -= 1;
        }
    });
}

impl ReloadReport {
    /// One line for each thing that changed, and for each that could not.
    fn log(&self) {
        for ChangedSetting { setting, applies } in &self.settings {
            log_setting(setting, *applies);
        }
        for ChangedListener { name, change, connections, disconnected } in &self.listeners {
            match change {
                ListenerChange::Added => {
                    tracing::info!(
                        target: ADMIN_TARGET, event = "listener_added", listener = %name,
                        "the listener is open"
                    );
                }
                ListenerChange::Removed => tracing::info!(
                    target: ADMIN_TARGET,
                    event = "listener_removed",
                    listener = %name,
                    connections,
                    clients = disconnected.count,
                    "the listener is closed and its clients are disconnected"
                ),
                ListenerChange::Changed(settings) => {
                    settings.iter().for_each(|each| log_setting(&each.setting, each.applies));
                }
            }
        }
        for LimitExceeded { setting, limit, found, clients } in &self.above {
            let names: Vec<&str> =
                clients.names.iter().map(String::as_str).take(LOGGED_MAX).collect();
            let names = names.join(", ");
            tracing::warn!(
                event = "above_limit", %setting, limit, found, sessions = clients.count, %names,
                "the limit is lower than what is there"
            );
        }
    }
}

fn log_setting(setting: &str, applies: Applies) {
    match applies {
        Applies::Live => {
            tracing::info!(event = "setting_changed", %setting, "the setting has changed")
        }
        Applies::NewConnections => tracing::info!(
            event = "setting_changed", %setting,
            "the setting has changed: it holds for connections that begin from now on"
        ),
        Applies::Restart => tracing::warn!(
            event = "setting_needs_restart", %setting,
            "the setting cannot change while the broker runs: it takes effect at the next start"
        ),
    }
}

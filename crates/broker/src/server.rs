//! The broker as a value: built, started, used from inside the process, shut down.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dunlin_access::{BanList, RuleSet};
use dunlin_codec::{Message, ReasonCode};
use dunlin_store::{Committer, CommitterOptions, MemoryStore, MessageId, Store, StoreError};
#[cfg(unix)]
use dunlin_transport::Inherited;
use dunlin_transport::Place;
use dunlin_transport::tls::TlsError;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::alarms::{self, Alarms};
use crate::allowed::Allowed;
use crate::bans::Bans;
use crate::budget::Budget;
use crate::chain::Authenticators;
use crate::config::{Config, Endpoint, InvalidConfig, ListenerConfig};
use crate::core::Core;
use crate::end::EndReason;
use crate::exports::ExportFigures;
use crate::handing_in::Backlog;
use crate::holding::Holding;
use crate::hooks::{Hooks, Interests, NoHooks};
use crate::janitor::{self, Timers};
use crate::listen::{self, Listeners, Proofs, RefusalLog, load_proofs};
use crate::local::{PublishError, SubscribeError, SubscribeOptions, Subscription};
use crate::metrics::{Counters, DropReason, Metrics};
use crate::namespace::{Common, Namespaces, TenantError};
use crate::pager::Pager;
use crate::policy::{Authenticator, LoginGuard};
use crate::quotas::Book;
use crate::recovery;
use crate::retained::Totals;
use crate::sys;
use crate::tenant::Tenant;

/// Between the wills and the closing of sockets at a shutdown: what the wills' receivers have to be woken in.
const WILLS_SETTLE: Duration = Duration::from_millis(50);
/// How often that is waited for at the most.
const WILLS_SETTLE_STEPS: usize = 40;

/// Why a broker did not start.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// A listener could not take its address.
    #[error("listener {name:?} cannot listen on {address}: {source}")]
    Bind {
        /// The listener.
        name: String,
        /// The address it wanted.
        address: Endpoint,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A listener that others can reach lets nobody in, or everybody, and nothing says that this is meant.
    #[error(
        "listener {name:?} on {address} is reachable from other machines and has no authentication: \
         set `allow_anonymous = true` in its own section if everybody may connect"
    )]
    Unprotected {
        /// The listener.
        name: String,
        /// Its address.
        address: Endpoint,
    },
    /// The certificates of a listener are not good.
    #[error("listener {name:?}: {source}")]
    Tls {
        /// The listener.
        name: String,
        /// The file and what is wrong with it.
        #[source]
        source: TlsError,
    },
    /// The store could not be read.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    /// The broker is shutting down.
    #[error("the broker is shutting down")]
    Closing,
    /// The system gave no thread for the store.
    #[error("no thread for the store")]
    Thread(#[source] io::Error),
}

/// Puts a broker together.
pub struct Builder {
    config: Config,
    store: Option<Box<dyn Store>>,
    store_niceness: i32,
    hooks: Arc<dyn Hooks>,
    authenticators: Authenticators,
    rules: RuleSet,
    bans: BanList,
    audit_events_lost: Arc<AtomicU64>,
    #[cfg(unix)]
    inherited: Option<Inherited>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Builder {
    /// Takes this configuration in the place of the default one, and of listeners added before.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Adds a listener with the default settings. Port 0 takes a free port: [`Broker::local_addrs`] says which.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        let name = format!("listener-{}", self.config.listeners.len() + 1);
        self.config.listeners.push(ListenerConfig::new(name, address));
        self
    }

    /// Lets clients without credentials in, or not, on every listener added so far.
    #[must_use]
    pub fn allow_anonymous(mut self, allow: bool) -> Self {
        for listener in &mut self.config.listeners {
            listener.allow_anonymous = allow;
        }
        self
    }

    /// Keeps what must not be lost in this store. By default it is kept in memory and is gone with the process.
    #[must_use]
    pub fn store(mut self, store: Box<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Lets the thread that commits to the store step back when processors are short, from 0 (not at all) to 19, as `nice`
    /// counts it: clients that wait for no disk are then served first. On Linux only.
    #[must_use]
    pub const fn store_niceness(mut self, niceness: i32) -> Self {
        self.store_niceness = niceness;
        self
    }

    /// Calls these hooks.
    #[must_use]
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks = hooks;
        self
    }

    /// Asks this authenticator, after those added before, on every listener that does not name the ones it asks
    /// ([`ListenerConfig::authentication`]).
    #[must_use]
    pub fn authenticator(self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.named_authenticator("", authenticator)
    }

    /// The same under a name, by which listeners ask for it and logs speak of it. Of two with one name, listeners mean the
    /// first.
    #[must_use]
    pub fn named_authenticator(
        mut self,
        name: &str,
        authenticator: Arc<dyn Authenticator>,
    ) -> Self {
        self.authenticators.add(name, authenticator);
        self
    }

    /// Lets this look at every login on every listener, after those added before.
    #[must_use]
    pub fn login_guard(mut self, guard: Arc<dyn LoginGuard>) -> Self {
        self.authenticators.add_guard(guard);
        self
    }

    /// Asks these in the place of all that were set up before.
    #[must_use]
    pub fn authenticators(mut self, authenticators: Authenticators) -> Self {
        self.authenticators = authenticators;
        self
    }

    /// Lets clients do what these rules allow. By default there are none, and everybody may do everything. The process around
    /// the broker makes the rules and is not bound by them: what it publishes and subscribes to passes.
    #[must_use]
    pub fn rules(mut self, rules: RuleSet) -> Self {
        self.rules = rules;
        self
    }

    /// Does not let these in. By default there is no ban. What becomes of them is the program's to keep over a restart:
    /// [`Broker::bans_changed`].
    #[must_use]
    pub fn bans(mut self, bans: BanList) -> Self {
        self.bans = bans;
        self
    }

    /// Shows this counter among the broker's own as [`Metrics::audit_events_lost`]: who writes [the events](crate::audit) to a
    /// file counts there those that it could not write.
    #[must_use]
    pub fn audit_events_lost(mut self, counter: Arc<AtomicU64>) -> Self {
        self.audit_events_lost = counter;
        self
    }

    /// Takes the sockets that the service manager handed over, for listeners that name them.
    #[cfg(unix)]
    #[must_use]
    pub fn inherited(mut self, sockets: Inherited) -> Self {
        self.inherited = Some(sockets);
        self
    }

    /// Starts the broker on the tokio runtime that this is called in: restores what the store has, then listens.
    ///
    /// # Errors
    ///
    /// [`ServerError`] when a setting cannot work, the store cannot be read or an address cannot be taken. Nothing is left
    /// running then.
    pub async fn start(self) -> Result<Broker, ServerError> {
        let Self { mut config, store, store_niceness, hooks, authenticators, rules, bans, .. } =
            self;
        config.check()?;
        authenticators.check(&config)?;
        let before_connect =
            config.limits.packet_bytes_max_before_connect.min(config.limits.packet_bytes_max);
        config.limits.packet_bytes_max_before_connect = before_connect;
        let mut store = store.unwrap_or_else(|| Box::new(MemoryStore::new()));
        let keeps_wills = store.outlives_process();
        let recovered = recovery::read(&mut *store, config.limits.inflight_max)?;
        let mut reader = store.reader();
        let next_message =
            recovered.meta.as_ref().map_or(MessageId::FIRST, |meta| meta.next_message);
        #[cfg(unix)]
        let mut listeners = Listeners::new(self.inherited);
        #[cfg(not(unix))]
        let mut listeners = Listeners::default();
        let proofs = load_proofs(&config.listeners, Proofs::new()).await?;
        let prepared = listeners.prepare(&config.listeners)?;
        let closing = watch::Sender::new(false);
        let failed = closing.clone();
        let options = CommitterOptions {
            queue_max: config.limits.commit_queue_messages_max,
            batch_bytes_max: config.limits.commit_batch_bytes_max,
            niceness: store_niceness,
            ..CommitterOptions::default()
        };
        let committer = Committer::start(store, next_message, options, move |error| {
            tracing::error!(event = "store_failed", %error, "the store has failed: nothing more is acknowledged");
            failed.send_replace(true);
        })
        .map_err(ServerError::Thread)?;
        let pager = Pager::new(!keeps_wills);
        let audit_events_lost = self.audit_events_lost;
        let policy = Policy { hooks, authenticators, rules, bans, audit_events_lost };
        let core = core(config.clone(), policy, committer, pager, closing);
        recovery::restore(&core, recovered, &mut *reader)?;
        core.limit_retained();
        core.link_tenants();
        core.pager.start(&core, reader).map_err(ServerError::Thread)?;
        listeners.adopt(&core, &config, prepared, proofs);
        tokio::spawn(janitor::run(Arc::downgrade(&core)));
        tokio::spawn(alarms::run(Arc::downgrade(&core)));
        tokio::spawn(sys::run(Arc::downgrade(&core)));
        Ok(Broker { core, listeners: Mutex::new(listeners), keeps_wills })
    }
}

/// What others have a say in.
struct Policy {
    hooks: Arc<dyn Hooks>,
    authenticators: Authenticators,
    rules: RuleSet,
    bans: BanList,
    audit_events_lost: Arc<AtomicU64>,
}

fn core(
    config: Config,
    policy: Policy,
    committer: Committer<crate::persist::Write>,
    pager: Pager,
    closing: watch::Sender<bool>,
) -> Arc<Core> {
    let Policy { hooks, authenticators, rules, bans, audit_events_lost } = policy;
    let allowed = Allowed::of(&config.limits);
    let budget = Budget::new(allowed.memory_bytes);
    let common = Common {
        budget: Arc::clone(&budget),
        numbers: Arc::default(),
        expiries: Arc::default(),
        totals: Arc::new(Totals::new(config.limits.retained_messages_max, allowed.retained_bytes)),
    };
    let interests: Interests = hooks.interests();
    let started = Instant::now();
    Arc::new_cyclic(|me| Core {
        me: me.clone(),
        counters: Counters::by_core(),
        budget,
        namespaces: Namespaces::new(common),
        access: Access::new(rules),
        quotas: Book::new(&config.quotas),
        bans: Bans::new(bans, &config.bans),
        config: ArcSwap::from_pointee(config),
        hooks,
        interests,
        authenticators: ArcSwap::from_pointee(authenticators),
        committer,
        backlog: Backlog::default(),
        holding: Holding::default(),
        store_is_full: AtomicBool::new(false),
        pager,
        runtime: Handle::current(),
        timers: Timers::default(),
        alarms: Arc::new(Alarms::new(started)),
        closing,
        tasks: TaskTracker::new(),
        connections: AtomicU64::new(0),
        connections_max: AtomicU64::new(allowed.connections),
        turns: listen::turns(),
        proofs: Mutex::default(),
        refusals: RefusalLog::default(),
        audit_events_lost,
        reconfigured: Notify::new(),
        generation: AtomicU32::new(1),
        started,
    })
}

/// A running MQTT broker.
///
/// It runs on the tokio runtime that started it, keeps no global state, and any number of them run in one process.
/// Dropping it closes it without ceremony; [`Broker::shutdown`] takes leave of its clients first.
#[derive(Debug)]
pub struct Broker {
    pub(crate) core: Arc<Core>,
    pub(crate) listeners: Mutex<Listeners>,
    /// Whether the store has the wills over a restart, so that a shutdown need not publish them.
    keeps_wills: bool,
}

impl Broker {
    /// Puts a broker together.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            config: Config::default(),
            store: None,
            store_niceness: 0,
            hooks: Arc::new(NoHooks),
            authenticators: Authenticators::default(),
            rules: RuleSet::default(),
            bans: BanList::default(),
            audit_events_lost: Arc::default(),
            #[cfg(unix)]
            inherited: None,
        }
    }

    /// The TCP and QUIC addresses it listens on, in the order of the listeners. A reload may change them.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners().iter().filter_map(|(_, place)| place.address()).collect()
    }

    /// Each listener's name with where it listens, in the order of the configuration; a listener to which several sockets
    /// were handed over stands there as often. A reload may change them.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, Place)> {
        self.listeners.lock().open_places()
    }

    /// The configuration as it is now: after a reload with what only a restart can change as it was.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.core.config.load_full()
    }

    /// The tenant with this name, opened if it is not there. `default` is where clients come for which no rule of
    /// [`TenantsConfig`](crate::TenantsConfig) names a tenant.
    ///
    /// # Errors
    ///
    /// [`TenantError`] when that is no name, or there is no room for another tenant.
    pub fn tenant(&self, name: &str) -> Result<Tenant, TenantError> {
        if self.core.is_closing() {
            return Err(TenantError::Closed);
        }
        Ok(Tenant::new(&self.core, self.core.open_namespace(name)?))
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<RuleSet> {
        self.core.access.rules()
    }

    /// Puts other rules in force, for all sessions. Resolves when every subscription that they take away is gone, those of
    /// clients that are away included, and with it what was queued for it alone. A session whose client was not here since
    /// the start is looked over when it comes: what its roles are is not known before.
    pub async fn set_rules(&self, rules: RuleSet) {
        self.core.set_rules(rules).await;
    }

    /// The names of all tenants, `default` first, then in the order of their opening.
    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<str>> {
        self.core.namespaces.all().iter().map(|namespace| Arc::clone(&namespace.name)).collect()
    }

    /// The rules by which tenants show each other messages, in their order, and what came of each.
    #[must_use]
    pub fn exports(&self) -> Vec<ExportFigures> {
        self.core.export_figures()
    }

    /// The default tenant.
    fn own(&self) -> Tenant {
        Tenant::new(&self.core, Arc::clone(self.core.namespaces.default()))
    }

    /// Publishes a message from inside the process, as a client of the tenant `default` would. With QoS above 0 it resolves when a PUBACK would
    /// have been sent, and to what the PUBACK would say.
    ///
    /// # Errors
    ///
    /// [`PublishError`] when a hook or a limit refuses it, or the store cannot take it.
    pub async fn publish(&self, message: Message) -> Result<ReasonCode, PublishError> {
        self.own().publish(message).await
    }

    /// Subscribes from inside the process, as a client of the tenant `default` would; shared filters too.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] when the filter is invalid or a hook refuses it.
    pub async fn subscribe(
        &self,
        filter: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, SubscribeError> {
        self.own().subscribe(filter, options).await
    }

    /// Every counter as it is now, over all tenants.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.core.metrics()
    }

    /// Copies of messages that a client of the tenant `default` did not get since its session began, by reason; none if it has no session. The
    /// numbers live as long as the session, and not over a restart.
    #[must_use]
    pub fn drops(&self, client_id: &str) -> Option<BTreeMap<DropReason, u64>> {
        self.own().drops(client_id)
    }

    /// Closes the Network Connection of a client of the tenant `default`, whose session stays; whether there is such a session.
    #[must_use]
    pub fn disconnect(&self, client_id: &str) -> bool {
        self.own().disconnect(client_id)
    }

    /// Resolves when the broker has closed: by [`Broker::shutdown`] in another task, or because its store has failed.
    pub async fn closed(&self) {
        // The sender lives in `core`, so this ends by the value only.
        let _ = self.core.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Whether the store has failed, so that nothing more can be acknowledged.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.core.committer.has_failed() || self.core.pager.has_failed()
    }

    /// Waits until every connection has published its will, and a little longer so that the wills reach their receivers.
    async fn wills_settle(&self) {
        for _ in 0..WILLS_SETTLE_STEPS {
            let mut unheard = false;
            self.core.for_each_session(|mailbox| unheard |= mailbox.has_notices());
            tokio::time::sleep(WILLS_SETTLE).await;
            if !unheard {
                return;
            }
        }
    }

    /// Takes leave: no new connections; wills are published if the store does not keep them; clients of MQTT 5.0 are told
    /// 0x8B; what waits for a client is written as far as it takes it within `shutdown_drain_max`; the store is closed.
    ///
    /// # Errors
    ///
    /// The store's error, if it could not be closed in order. Nothing acknowledged is lost by it.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        let core = Arc::clone(&self.core);
        core.closing.send_replace(true);
        if !self.keeps_wills {
            core.publish_wills();
            self.wills_settle().await;
        }
        core.for_each_session(|mailbox| mailbox.evict(EndReason::ShuttingDown));
        core.tasks.close();
        let drain = core.config().limits.shutdown_drain_max + Duration::from_secs(1);
        if tokio::time::timeout(drain, core.tasks.wait()).await.is_err() {
            tracing::warn!(event = "shutdown_forced", "some connections did not drain in time");
        }
        let closing = tokio::task::spawn_blocking(move || {
            core.pager.stop();
            core.committer.shutdown()
        });
        closing.await.unwrap_or(Err(StoreError::Stopped))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.core.closing.send_replace(true);
        self.core.for_each_session(|mailbox| mailbox.evict(EndReason::ShuttingDown));
    }
}

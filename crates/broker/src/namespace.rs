//! Tenants: what topics, Client Identifiers and shared groups live in.
//!
//! A mailbox and a group hold their namespace and reach everything through it: registry, subscriptions, retained messages,
//! counters. Nothing else leads from one client to another, so nothing leads from one namespace to another, unless a rule
//! says so: [`crate::exports`]. Only the broker itself knows all of them.

use std::fmt;
use std::sync::Arc;

use dunlin_codec::{ClientId, Text};
use dunlin_store::{Change, NamespaceNo};
use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::budget::{Budget, Charge};
use crate::core::Core;
use crate::exports::{Export, ExportFigures, Links, TenantExport};
use crate::mailbox::Mailbox;
use crate::metrics::{Counters, Metrics, add, shift};
use crate::registry::{Numbers, Registry};
use crate::retained::{Expiries, RetainedSet, Totals};
use crate::router::Router;

/// The name of the namespace that is there without being opened. Clients come into it where no rule says otherwise.
pub(crate) const DEFAULT: &str = "default";
/// Bytes in a tenant's name.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Copies of the counters of a tenant that was opened: there may be many tenants, and few are as busy as the default one.
const TENANT_STRIPES_MAX: usize = 4;

/// Everything that messages, topics and Client Identifiers of one tenant live in.
pub(crate) struct Namespace {
    pub(crate) number: NamespaceNo,
    pub(crate) name: Arc<str>,
    pub(crate) registry: Registry,
    pub(crate) router: Router,
    pub(crate) retained: RetainedSet,
    /// Rules by which other tenants are shown its messages, and it theirs.
    pub(crate) links: Links,
    /// What its clients do; the broker's totals are the sum over all namespaces.
    pub(crate) counters: Counters,
    budget: Arc<Budget>,
}

impl fmt::Debug for Namespace {
    /// Mailboxes hold their namespace, which holds the mailboxes: its name is enough.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.name).finish()
    }
}

impl Namespace {
    /// The mailbox of a client's session, or a new one, which is then the caller's. The `bool` says which: `true` for a new
    /// one.
    pub(crate) fn find_or_make(
        self: &Arc<Self>,
        client_id: &ClientId,
        owner: &str,
    ) -> (Arc<Mailbox>, bool) {
        self.registry.find_or_make(client_id, || self.make(client_id.clone(), owner))
    }

    /// Puts a new mailbox in the place of `old`, whose session is over; none if somebody else did before.
    pub(crate) fn replace(
        self: &Arc<Self>,
        old: &Arc<Mailbox>,
        owner: &str,
    ) -> Option<Arc<Mailbox>> {
        self.registry.replace(old, || self.make(old.client_id.clone(), owner))
    }

    /// A mailbox that the registry does not know.
    pub(crate) fn make(self: &Arc<Self>, client_id: ClientId, owner: &str) -> Mailbox {
        Mailbox::new(Arc::clone(self), client_id, self.registry.next_session_no(), owner)
    }

    /// Takes account of what queues and lanes took in or gave back. Once per batch.
    pub(crate) fn charge(&self, charge: Charge) {
        if charge != Charge::default() {
            self.budget.change(charge.budget);
            shift(&self.counters.queued_messages, charge.messages);
            shift(&self.counters.queued_bytes, charge.bytes);
        }
    }

    /// What its clients did and have.
    pub(crate) fn metrics(&self) -> Metrics {
        let mut metrics = self.counters.snapshot();
        metrics.retained_messages = self.retained.len();
        metrics.retained_bytes = self.retained.bytes();
        metrics.connections_open = metrics.clients_connected;
        metrics
    }

    /// Lets go of everything: mailboxes hold their namespace, so that nothing of it would end by itself.
    fn clear(&self) {
        self.registry.clear();
        self.router.clear();
        self.links.clear();
    }
}

/// Why a tenant was not opened.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TenantError {
    /// Its name is empty, longer than 255 bytes, or holds a character that no MQTT text may hold.
    #[error("not a tenant's name")]
    InvalidName,
    /// There are as many as there may be.
    #[error("no room for another tenant")]
    TooMany,
    /// The broker is shutting down.
    #[error("the broker is shutting down")]
    Closed,
}

/// What every namespace of a broker is made with.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) budget: Arc<Budget>,
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) expiries: Arc<Expiries>,
    pub(crate) totals: Arc<Totals>,
}

impl Common {
    fn make(&self, number: NamespaceNo, name: &str) -> Arc<Namespace> {
        let is_default = number == NamespaceNo::DEFAULT;
        let counters =
            if is_default { Counters::by_core() } else { Counters::up_to(TENANT_STRIPES_MAX) };
        Arc::new(Namespace {
            number,
            name: name.into(),
            registry: Registry::new(Arc::clone(&self.numbers)),
            router: Router::new(),
            retained: RetainedSet::new(
                number,
                Arc::clone(&self.totals),
                Arc::clone(&self.budget),
                Arc::clone(&self.expiries),
            ),
            links: Links::default(),
            counters,
            budget: Arc::clone(&self.budget),
        })
    }
}

/// All namespaces of one broker.
#[derive(Debug)]
pub(crate) struct Namespaces {
    common: Common,
    default: Arc<Namespace>,
    others: RwLock<Others>,
}

/// The namespaces beside the default one, at most `tenants_max`.
#[derive(Debug, Default)]
struct Others {
    by_name: HashMap<Arc<str>, Arc<Namespace>>,
    by_number: HashMap<NamespaceNo, Arc<Namespace>>,
    /// The highest number ever given.
    last: u32,
    /// The rules in force between those that are there, at most [`EXPORTS_MAX`](crate::exports::EXPORTS_MAX).
    exports: Vec<Arc<Export>>,
}

impl Others {
    fn insert(&mut self, namespace: &Arc<Namespace>) {
        self.last = self.last.max(namespace.number.0);
        self.by_name.insert(Arc::clone(&namespace.name), Arc::clone(namespace));
        self.by_number.insert(namespace.number, Arc::clone(namespace));
    }
}

impl Namespaces {
    pub(crate) fn new(common: Common) -> Self {
        let default = common.make(NamespaceNo::DEFAULT, DEFAULT);
        Self { common, default, others: RwLock::default() }
    }

    pub(crate) const fn default(&self) -> &Arc<Namespace> {
        &self.default
    }

    pub(crate) const fn common(&self) -> &Common {
        &self.common
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Namespace>> {
        if name == DEFAULT {
            return Some(Arc::clone(&self.default));
        }
        self.others.read().by_name.get(name).map(Arc::clone)
    }

    pub(crate) fn by_number(&self, number: NamespaceNo) -> Option<Arc<Namespace>> {
        if number == NamespaceNo::DEFAULT {
            return Some(Arc::clone(&self.default));
        }
        self.others.read().by_number.get(&number).map(Arc::clone)
    }

    /// Every namespace, the default one first, then in the order of their opening.
    pub(crate) fn all(&self) -> Vec<Arc<Namespace>> {
        let mut all: Vec<_> = self.others.read().by_number.values().map(Arc::clone).collect();
        all.sort_unstable_by_key(|namespace| namespace.number);
        all.insert(0, Arc::clone(&self.default));
        all
    }

    /// Puts these rules in force between the namespaces that are there. One that was in force goes on, and one that is stated
    /// twice is one.
    fn link(&self, others: &mut Others, rules: &[TenantExport]) {
        let find = |name: &str| match name {
            DEFAULT => Some(Arc::clone(&self.default)),
            _ => others.by_name.get(name).map(Arc::clone),
        };
        let mut exports: Vec<Arc<Export>> = Vec::new();
        for rule in rules {
            if exports.iter().any(|export| export.rule == *rule) {
                continue;
            }
            let present = others.exports.iter().find(|export| export.rule == *rule);
            let made = || {
                let (from, to) = (find(&rule.from)?, find(&rule.to)?);
                Some(Arc::new(Export::new(rule.clone(), from, to)))
            };
            exports.extend(present.map(Arc::clone).or_else(made));
        }
        let before = std::mem::replace(&mut others.exports, exports);
        let is_over =
            |export: &&Arc<Export>| others.exports.iter().all(|stays| !Arc::ptr_eq(stays, export));
        before.iter().filter(is_over).for_each(|export| export.end());
        let concerned = |side: fn(&Export) -> &Arc<Namespace>| {
            let all = before.iter().chain(&others.exports).map(|export| side(export));
            all.map(|namespace| (namespace.number, Arc::clone(namespace)))
                .collect::<HashMap<_, _>>()
        };
        let of = |namespace: &Arc<Namespace>, side: fn(&Export) -> &Arc<Namespace>| {
            let own = others.exports.iter().filter(|export| Arc::ptr_eq(side(export), namespace));
            Arc::new(own.map(Arc::clone).collect::<Vec<_>>())
        };
        // First what leaves: a subscription that is shown retained messages by a rule has missed none that came after them.
        for namespace in concerned(|export| &export.from).values() {
            let exports = of(namespace, |export| &export.from);
            let present = namespace.links.exports.load();
            let same = present.iter().map(Arc::as_ptr).eq(exports.iter().map(Arc::as_ptr));
            if !same {
                namespace.router.change_rules(|| namespace.links.exports.store(exports));
            }
        }
        for namespace in concerned(|export| &export.to).values() {
            namespace.links.imports.store(of(namespace, |export| &export.to));
        }
    }

    /// Puts a namespace back that the store knows.
    pub(crate) fn restore(&self, number: NamespaceNo, name: &str) {
        self.others.write().insert(&self.common.make(number, name));
    }
}

impl Core {
    /// The namespace with this name, opened if it is not there. The store hears of it before it hears of anything in it.
    pub(crate) fn open_namespace(&self, name: &str) -> Result<Arc<Namespace>, TenantError> {
        if let Some(namespace) = self.namespaces.find(name) {
            return Ok(namespace);
        }
        let text = Text::try_from(name).map_err(|_| TenantError::InvalidName)?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(TenantError::InvalidName);
        }
        let mut others = self.namespaces.others.write();
        if let Some(namespace) = others.by_name.get(name) {
            return Ok(Arc::clone(namespace));
        }
        let number = others.last.checked_add(1).map(NamespaceNo);
        let room = others.by_name.len() < self.config().tenants.tenants_max as usize;
        let Some(number) = number.filter(|_| room) else {
            add(&self.counters.tenants_refused, 1);
            return Err(TenantError::TooMany);
        };
        let namespace = self.namespaces.common.make(number, name);
        let (messages, bytes) = self.quotas.retained(name);
        namespace.retained.set_own_limits(messages, bytes);
        // Under the lock, so that whoever finds it comes behind this in the store.
        self.note(Change::NamespaceOpened { namespace: number, name: text });
        others.insert(&namespace);
        let rules = &self.config().tenants.exports;
        if rules.iter().any(|rule| rule.from == name || rule.to == name) {
            self.namespaces.link(&mut others, rules);
        }
        tracing::info!(event = "tenant_opened", tenant = name, number = number.0);
        Ok(namespace)
    }
}

impl Core {
    /// Puts the rules of the configuration in force between the tenants that are there.
    pub(crate) fn link_tenants(&self) {
        let mut others = self.namespaces.others.write();
        // Taken under the lock, so that the last one who does this has the last configuration.
        self.namespaces.link(&mut others, &self.config().tenants.exports);
    }

    /// The configured rules, and what came of them.
    pub(crate) fn export_figures(&self) -> Vec<ExportFigures> {
        let config = self.config();
        let others = self.namespaces.others.read();
        let figures = |rule: &TenantExport| {
            let export = others.exports.iter().find(|export| export.rule == *rule);
            let messages = export.map_or(0, |export| export.messages());
            ExportFigures { rule: rule.clone(), messages }
        };
        config.tenants.exports.iter().map(figures).collect()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in self.all() {
            namespace.clear();
        }
    }
}

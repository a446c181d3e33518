//! Who may do how much: the rules in force, and the accounts that connections share.
//!
//! A connection is told its limits when it is let in. What several share, such as a tenant's rate, is an [`Account`], found
//! here by who it is for; the connection holds its accounts in a [`Held`] and never comes back to the book. Where no rule is
//! about a client it holds nothing, and each batch of it asks one question: whether there is something.
//!
//! An account that nobody holds stays until its buckets are full again, so that nobody gets new ones by coming back. Of those
//! there are [`RESTING_MAX`] at the most; beyond, they are forgotten.

mod account;
mod event;
mod frames;
mod held;
mod offered;

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dunlin_access::{EffectiveQuotas, Quotas, Scope};
use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;

pub(crate) use self::account::Account;
pub(crate) use self::event::QuotaCounts;
pub use self::event::{QuotaEvent, QuotaLimit, QuotaScope};
pub(crate) use self::held::{Beyond, Held, Permit};

pub(crate) use self::offered::{QueueLimits, limited};
use crate::config::{OverRate, QuotaRule, Whom};

/// Parts of the table with a lock of their own.
const SHARDS: usize = 16;
/// Accounts that nobody holds and whose buckets are not full, in one part of the table.
const RESTING_MAX: usize = 16 * 1024;
/// Accounts in one part of the table from which on is looked for those that are not needed any more.
const SWEEP_LEAST: usize = 256;

/// Who is to be let in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) tenant: &'a str,
    /// Empty for an anonymous client.
    pub(crate) user: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) roles: &'a [String],
    pub(crate) listener: &'a str,
}

/// Whose account it is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key {
    pub(crate) scope: QuotaScope,
    /// Whose, by the name that rules are found by; empty for the broker.
    pub(crate) name: Box<str>,
    /// The tenant that it is in; empty where that does not matter.
    pub(crate) tenant: Box<str>,
    /// The user that has a role.
    pub(crate) user: Box<str>,
}

impl Key {
    fn new(scope: QuotaScope, name: &str, tenant: &str, user: &str) -> Self {
        Self { scope, name: name.into(), tenant: tenant.into(), user: user.into() }
    }

    /// Where the limit was set, as the rules know it.
    fn place(&self) -> Scope {
        let name = || Arc::from(&*self.name);
        match self.scope {
            QuotaScope::Client => Scope::Client(name()),
            QuotaScope::User => Scope::User(name()),
            QuotaScope::Role => Scope::Role(name()),
            QuotaScope::Tenant => Scope::Tenant(name()),
            QuotaScope::Listener => Scope::Listener(name()),
            QuotaScope::Broker => Scope::Broker,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scope.name())?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        if !self.user.is_empty() {
            write!(f, " of user {}", self.user)?;
        }
        if !self.tenant.is_empty() {
            write!(f, " of tenant {}", self.tenant)?;
        }
        Ok(())
    }
}

/// Limits as one or two rules set them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Terms {
    pub(crate) quotas: Quotas,
    pub(crate) over_rate: OverRate,
    pub(crate) patience: Duration,
}

impl Terms {
    const fn of(rule: &QuotaRule) -> Self {
        let QuotaRule { quotas, over_rate, patience, .. } = rule;
        Self { quotas: *quotas, over_rate: *over_rate, patience: *patience }
    }

    /// These, and where they say nothing those.
    fn or(self, other: Self) -> Self {
        Self { quotas: self.quotas.or(other.quotas), ..self }
    }
}

/// The rules about one kind.
#[derive(Debug, Default)]
struct Kind {
    named: HashMap<String, Terms>,
    each: Option<Terms>,
}

impl Kind {
    /// What holds for this name; none if no rule is about it.
    fn terms(&self, name: &str) -> Option<Terms> {
        match (self.named.get(name), self.each) {
            (Some(named), Some(each)) => Some(named.or(each)),
            (Some(terms), None) => Some(*terms),
            (None, each) => each,
        }
    }
}

/// The rules as they are looked up.
#[derive(Debug, Default)]
struct Rules([Kind; QuotaScope::ALL.len()]);

impl Rules {
    fn new(rules: &[QuotaRule]) -> Self {
        let mut all = Self::default();
        for rule in rules {
            let terms = Terms::of(rule);
            let (scope, name) = match &rule.whom {
                Whom::Broker => (QuotaScope::Broker, None),
                Whom::Listener(name) => (QuotaScope::Listener, Some(name)),
                Whom::EachListener => (QuotaScope::Listener, None),
                Whom::Tenant(name) => (QuotaScope::Tenant, Some(name)),
                Whom::EachTenant => (QuotaScope::Tenant, None),
                Whom::Role(name) => (QuotaScope::Role, Some(name)),
                Whom::User(name) => (QuotaScope::User, Some(name)),
                Whom::EachUser => (QuotaScope::User, None),
                Whom::Client(name) => (QuotaScope::Client, Some(name)),
                Whom::EachClient => (QuotaScope::Client, None),
            };
            let Some(kind) = all.0.get_mut(scope as usize) else { continue };
            // Of two rules about one the earlier counts, limit by limit.
            match name {
                Some(name) => {
                    let named = kind.named.entry(name.clone()).or_insert(terms);
                    *named = named.or(terms);
                }
                None => kind.each = Some(kind.each.map_or(terms, |each| each.or(terms))),
            }
        }
        all
    }

    fn terms(&self, scope: QuotaScope, name: &str) -> Option<Terms> {
        self.0.get(scope as usize)?.terms(name)
    }

    /// All that is said about somebody, the narrowest first.
    fn about(&self, who: Who<'_>) -> Vec<(Key, Terms)> {
        let Who { tenant, user, client_id, roles, listener } = who;
        let mut keys = vec![Key::new(QuotaScope::Client, client_id, tenant, "")];
        if !user.is_empty() {
            keys.push(Key::new(QuotaScope::User, user, tenant, ""));
        }
        keys.extend(roles.iter().map(|role| Key::new(QuotaScope::Role, role, tenant, user)));
        keys.push(Key::new(QuotaScope::Tenant, tenant, "", ""));
        keys.push(Key::new(QuotaScope::Listener, listener, "", ""));
        keys.push(Key::new(QuotaScope::Broker, "", "", ""));
        let terms = |key: Key| self.terms(key.scope, &key.name).map(|terms| (key, terms));
        keys.into_iter().filter_map(terms).collect()
    }
}

/// One part of the table.
#[derive(Debug, Default)]
struct Shard {
    accounts: HashMap<Key, Arc<Account>>,
    /// How many there may be before it is swept.
    sweep_at: usize,
}

impl Shard {
    /// Forgets the accounts that nobody holds and that have nothing to remember; all that nobody holds if there are too many.
    fn sweep(&mut self, now: Instant) {
        self.accounts
            .retain(|_, account| Arc::strong_count(account) > 1 || !account.is_at_rest(now));
        let is_held = |account: &Arc<Account>| Arc::strong_count(account) > 1;
        let resting = self.accounts.values().filter(|account| !is_held(account)).count();
        if resting > RESTING_MAX {
            self.accounts.retain(|_, account| is_held(account));
        }
        self.sweep_at = (self.accounts.len() * 2).max(SWEEP_LEAST);
    }
}

/// Why somebody is not let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NotAdmitted {
    pub(crate) event: QuotaEvent,
    /// Whose limit it is.
    pub(crate) whose: String,
}

/// All accounts of a broker.
#[derive(Debug)]
pub(crate) struct Book {
    rules: ArcSwap<Rules>,
    /// Whether there is any rule.
    any: AtomicBool,
    shards: [Mutex<Shard>; SHARDS],
    hasher: DefaultHashBuilder,
}

impl Book {
    pub(crate) fn new(rules: &[QuotaRule]) -> Self {
        Self {
            rules: ArcSwap::from_pointee(Rules::new(rules)),
            any: AtomicBool::new(!rules.is_empty()),
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Puts other rules in force, for the accounts that there are too. Who has none and should comes to
    /// [`Book::admit_present`] by itself.
    pub(crate) fn set_rules(&self, rules: &[QuotaRule], now: Instant) {
        self.rules.store(Arc::new(Rules::new(rules)));
        self.any.store(!rules.is_empty(), Ordering::Release);
        let rules = self.rules.load();
        self.for_each(|account| {
            let key = account.key();
            account.set_terms(rules.terms(key.scope, &key.name).unwrap_or_default(), now);
        });
    }

    /// What limits somebody, and who set it; none if no rule is about it.
    pub(crate) fn effective(&self, who: Who<'_>) -> Option<EffectiveQuotas> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let about = self.rules.load().about(who);
        let places = about.iter().map(|(key, terms)| (key.place(), &terms.quotas));
        (!about.is_empty()).then(|| EffectiveQuotas::tightest(places))
    }

    /// How many retained messages a tenant may have, and how many bytes of them.
    pub(crate) fn retained(&self, tenant: &str) -> (Option<u64>, Option<u64>) {
        let quotas = self.rules.load().terms(QuotaScope::Tenant, tenant).unwrap_or_default().quotas;
        (quotas.retained_messages, quotas.retained_bytes)
    }

    /// Lets somebody in, if there is room in all its accounts. `takes_over` says that it takes the place of a connection that
    /// it has already, which is about to go.
    pub(crate) fn admit(
        &self,
        who: Who<'_>,
        takes_over: impl FnOnce() -> bool,
        now: Instant,
    ) -> Result<Option<Box<Held>>, NotAdmitted> {
        let accounts = self.accounts(who, now);
        if accounts.is_empty() {
            return Ok(None);
        }
        let takes_over = takes_over();
        for (entered, account) in accounts.iter().enumerate() {
            if let Err(limit) = account.enter(takes_over, now) {
                accounts.iter().take(entered).for_each(|account| account.give_entrance_back());
                let key = account.key();
                let event = QuotaEvent { scope: key.scope, limit };
                return Err(NotAdmitted { event, whose: key.to_string() });
            }
        }
        Ok(Held::new(accounts))
    }

    /// What somebody holds who is in already, under the rules as they are now: nobody is put out by it.
    pub(crate) fn admit_present(&self, who: Who<'_>, now: Instant) -> Option<Box<Held>> {
        let accounts = self.accounts(who, now);
        accounts.iter().for_each(|account| account.stay());
        Held::new(accounts)
    }

    fn accounts(&self, who: Who<'_>, now: Instant) -> Vec<Arc<Account>> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let about = self.rules.load().about(who);
        about.into_iter().map(|(key, terms)| self.account(key, terms, now)).collect()
    }

    fn account(&self, key: Key, terms: Terms, now: Instant) -> Arc<Account> {
        let [first, ..] = &self.shards;
        let index = usize::try_from(self.hasher.hash_one(&key) % SHARDS as u64).unwrap_or(0);
        let mut shard = self.shards.get(index).unwrap_or(first).lock();
        if let Some(account) = shard.accounts.get(&key) {
            return Arc::clone(account);
        }
        if shard.accounts.len() >= shard.sweep_at {
            shard.sweep(now);
        }
        let account = Arc::new(Account::new(key.clone(), terms, now));
        shard.accounts.insert(key, Arc::clone(&account));
        account
    }

    pub(crate) fn for_each(&self, mut each: impl FnMut(&Arc<Account>)) {
        for shard in &self.shards {
            shard.lock().accounts.values().for_each(&mut each);
        }
    }

    /// The accounts that have more connections than other rules would let in, where those are stricter than the rules now.
    pub(crate) fn above(&self, wanted: &[QuotaRule]) -> Vec<(Key, u64, u64)> {
        let (present, wanted) = (self.rules.load(), Rules::new(wanted));
        let mut above = Vec::new();
        self.for_each(|account| {
            let key = account.key();
            let limit = |rules: &Rules| rules.terms(key.scope, &key.name)?.quotas.connections;
            let Some(new) = limit(&wanted) else { return };
            let there = account.connections();
            if there > new && limit(&present).is_none_or(|old| new < old) {
                above.push((key.clone(), new, there));
            }
        });
        above.sort_by_key(|(key, ..)| key.to_string());
        above
    }

    /// The accounts that have more connections than they may, with how many they may have and have.
    pub(crate) fn over_full(&self) -> Vec<(Key, u64, u64)> {
        let mut over = Vec::new();
        self.for_each(|account| {
            let there = account.connections();
            if let Some(most) = account.terms().quotas.connections.filter(|most| there > *most) {
                over.push((account.key().clone(), most, there));
            }
        });
        over
    }
}

#[cfg(test)]
mod tests;

//! Who is not let in: the list of bans, and what puts somebody on it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dunlin_access::{
    AddressRange, Ban, BanList, BanListFull, BanTarget, FlapDetector, FlapRule, Named, UnixSeconds,
    Visitor,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::audit::TARGET;
use crate::config::BansConfig;
use crate::core::Core;
use crate::mailbox::Notice;
use crate::metrics::add;
use crate::server::Broker;

/// The bits of an IPv6 address that are banned: who has one mostly has all that begin with the same.
const IPV6_PREFIX: u8 = 64;

/// The bans of a broker.
#[derive(Debug)]
pub(crate) struct Bans {
    list: RwLock<BanList>,
    /// Whether there is any.
    any: AtomicBool,
    watchers: Mutex<Watchers>,
    /// Rises with each change.
    changes: watch::Sender<u64>,
}

/// What looks at connects and failed logins, where that is wanted.
#[derive(Debug, Default)]
struct Watchers {
    flapping: Option<(FlapRule, FlapDetector)>,
    failing: Option<(FlapRule, FlapDetector)>,
}

/// Begins anew where the rule is another one.
fn renew(watcher: &mut Option<(FlapRule, FlapDetector)>, rule: Option<FlapRule>) {
    if watcher.as_ref().map(|(rule, _)| *rule) != rule {
        *watcher = rule.map(|rule| (rule, FlapDetector::new(rule)));
    }
}

fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixSeconds(since.map_or(0, |since| since.as_secs()))
}

impl Bans {
    pub(crate) fn new(list: BanList, config: &BansConfig) -> Self {
        let bans = Self {
            any: AtomicBool::new(!list.is_empty()),
            list: RwLock::new(list),
            watchers: Mutex::default(),
            changes: watch::Sender::new(0),
        };
        bans.set_rules(config);
        bans
    }

    /// Takes other rules. What was seen under the same ones stays known.
    pub(crate) fn set_rules(&self, config: &BansConfig) {
        let mut watchers = self.watchers.lock();
        renew(&mut watchers.flapping, config.flapping());
        renew(&mut watchers.failing, config.failing());
    }

    /// Why somebody is not let in; none if it is.
    pub(crate) fn find(&self, visitor: &Visitor<'_>) -> Option<Ban> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.list.read().find(visitor, now()).cloned()
    }

    fn add(&self, ban: Ban) -> Result<Option<Ban>, BanListFull> {
        let before = self.list.write().add(ban, now())?;
        self.any.store(true, Ordering::Release);
        self.changed();
        Ok(before)
    }

    fn remove(&self, target: &BanTarget) -> Option<Ban> {
        let mut list = self.list.write();
        let removed = list.remove(target);
        self.any.store(!list.is_empty(), Ordering::Release);
        drop(list);
        if removed.is_some() {
            self.changed();
        }
        removed
    }

    fn changed(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    /// The bans that hold, sorted.
    fn all(&self) -> Vec<Ban> {
        let now = now();
        let list = self.list.read();
        let holding = list.iter().filter(|ban| ban.until.is_none_or(|until| now < until));
        let mut all: Vec<Ban> = holding.cloned().collect();
        drop(list);
        all.sort_unstable_by(|one, other| one.target.cmp(&other.target));
        all
    }
}

impl Core {
    /// Why a client is not let in: counted and logged by this. Asked before it is known who it is, and again when it is.
    pub(crate) fn is_banned(&self, visitor: &Visitor<'_>) -> bool {
        let Some(ban) = self.bans.find(visitor) else { return false };
        add(&self.counters.connects_banned, 1);
        if let Some(left_out) = self.access.may_log() {
            let Ban { target, reason, .. } = ban;
            tracing::warn!(event = "client_banned", %target, %reason, left_out, "not let in");
        }
        true
    }

    /// A client has connected whom its authenticators know; `true` if it flaps and is banned for it.
    pub(crate) fn flaps(&self, tenant: &str, client_id: &str, now: Instant) -> bool {
        let mut watchers = self.bans.watchers.lock();
        let Some((rule, flapping)) = &mut watchers.flapping else { return false };
        let connects = rule.connects;
        // No name holds a NUL.
        let Some(ban) = flapping.connected(&format!("{tenant}\0{client_id}"), now) else {
            return false;
        };
        drop(watchers);
        let target = BanTarget::Client(Named::of(tenant, client_id));
        self.ban_for(target, ban, &format!("connected {connects} times in a short time"));
        add(&self.counters.connects_banned, 1);
        true
    }

    /// A login from an address has failed.
    pub(crate) fn login_failed(&self, address: IpAddr, now: Instant) {
        if self.config().bans.is_exempt(address) {
            return;
        }
        let mut watchers = self.bans.watchers.lock();
        let Some((rule, failing)) = &mut watchers.failing else { return };
        let failures = rule.connects;
        let prefix = if address.to_canonical().is_ipv4() { 32 } else { IPV6_PREFIX };
        let range = AddressRange::around(address, prefix);
        let Some(ban) = failing.connected(&range.to_string(), now) else { return };
        drop(watchers);
        self.ban_for(BanTarget::Address(range), ban, &format!("{failures} failed logins"));
    }

    fn ban_for(&self, target: BanTarget, time: Duration, reason: &str) {
        let UnixSeconds(now) = now();
        let secs = time.as_secs();
        tracing::warn!(target: TARGET, event = "banned", %target, secs, reason);
        add(&self.counters.bans_made, 1);
        let until = Some(UnixSeconds(now.saturating_add(secs)));
        if let Err(full) = self.bans.add(Ban { target, until, reason: reason.into() }) {
            tracing::error!(event = "bans_full", error = %full);
        }
    }
}

impl Broker {
    /// The bans that hold, sorted by whom they are about.
    #[must_use]
    pub fn bans(&self) -> Vec<Ban> {
        self.core.bans.all()
    }

    /// Bans somebody: a client is refused with 0x8A from now on, 3.x with 0x05, and one that is connected is disconnected with
    /// 0x98; its session stays. Gives the ban for the same target whose place this one takes.
    ///
    /// # Errors
    ///
    /// [`BanListFull`].
    pub fn ban(&self, ban: Ban) -> Result<Option<Ban>, BanListFull> {
        let Ban { target, reason, .. } = ban.clone();
        let before = self.core.bans.add(ban)?;
        tracing::warn!(target: TARGET, event = "banned", %target, %reason);
        self.core.for_each_session(|mailbox| {
            let may_be_meant = match &target {
                BanTarget::Address(_) => true,
                BanTarget::User(named) => mailbox.owner() == named.name,
                BanTarget::Client(named) => mailbox.client_id.as_str() == &*named.name,
            };
            if may_be_meant && mailbox.is_on_a_listener() {
                mailbox.notify(vec![Notice::LookAtBans]);
            }
        });
        Ok(before)
    }

    /// Takes a ban back.
    #[must_use]
    pub fn unban(&self, target: &BanTarget) -> Option<Ban> {
        let removed = self.core.bans.remove(target);
        if removed.is_some() {
            tracing::info!(target: TARGET, event = "ban_taken_back", %target);
        }
        removed
    }

    /// Resolves when there were other changes to the bans than the first `seen`, with the number of all: for whoever keeps them
    /// over a restart.
    pub async fn bans_changed(&self, seen: u64) -> u64 {
        let mut changes = self.core.bans.changes.subscribe();
        // The sender lives in `core`, so there is a value.
        changes.wait_for(|number| *number != seen).await.map_or(seen, |number| *number)
    }
}

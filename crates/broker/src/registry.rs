//! Which session a Client Identifier names.
//!
//! The lock is held for a look-up only. It may be taken before a mailbox's lock, never while one is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dunlin_codec::ClientId;
use dunlin_store::SessionNo;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::mailbox::Mailbox;
use crate::metrics::shift;

/// Parts of the table with a lock of their own, so that many CONNECTs at once do not queue up.
const SHARDS: usize = 16;

/// What the registries of one broker share: session numbers are the store's, which has all namespaces in it.
#[derive(Debug)]
pub(crate) struct Numbers {
    next_session: AtomicU32,
    /// Sessions in all registries.
    sessions: AtomicU64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { next_session: AtomicU32::new(SessionNo::FIRST.0), sessions: AtomicU64::new(0) }
    }
}

impl Numbers {
    /// Numbers below this one were used before the start.
    pub(crate) fn set_next_session_no(&self, next: SessionNo) {
        self.next_session.fetch_max(next.0, Ordering::Relaxed);
    }

    /// Sessions of the whole broker, connected or not.
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }
}

/// The sessions of one namespace.
#[derive(Debug)]
pub(crate) struct Registry {
    shards: [Mutex<HashMap<ClientId, Arc<Mailbox>>>; SHARDS],
    hasher: hashbrown::DefaultHashBuilder,
    numbers: Arc<Numbers>,
}

impl Registry {
    pub(crate) fn new(numbers: Arc<Numbers>) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: hashbrown::DefaultHashBuilder::default(),
            numbers,
        }
    }

    fn shard(&self, client_id: &ClientId) -> &Mutex<HashMap<ClientId, Arc<Mailbox>>> {
        use std::hash::BuildHasher;
        let [first, ..] = &self.shards;
        let index = usize::try_from(self.hasher.hash_one(client_id.as_bytes()) % SHARDS as u64)
            .unwrap_or(0);
        self.shards.get(index).unwrap_or(first)
    }

    /// A number for a session or a shared group, never used before.
    pub(crate) fn next_session_no(&self) -> SessionNo {
        SessionNo(self.numbers.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// The mailbox of a client's session, or the one that `make` makes. The `bool` says which: `true` for a new one.
    pub(crate) fn find_or_make(
        &self,
        client_id: &ClientId,
        make: impl FnOnce() -> Mailbox,
    ) -> (Arc<Mailbox>, bool) {
        let mut shard = self.shard(client_id).lock();
        if let Some(mailbox) = shard.get(client_id) {
            return (Arc::clone(mailbox), false);
        }
        let mailbox = Arc::new(make());
        shard.insert(client_id.clone(), Arc::clone(&mailbox));
        self.count(1);
        (mailbox, true)
    }

    fn count(&self, by: i64) {
        shift(&self.numbers.sessions, by);
    }

    pub(crate) fn find(&self, client_id: &ClientId) -> Option<Arc<Mailbox>> {
        self.shard(client_id).lock().get(client_id).map(Arc::clone)
    }

    /// Puts what `make` makes in the place of `old`, whose session is over; none if somebody else did before.
    pub(crate) fn replace(
        &self,
        old: &Arc<Mailbox>,
        make: impl FnOnce() -> Mailbox,
    ) -> Option<Arc<Mailbox>> {
        let mut shard = self.shard(&old.client_id).lock();
        let place = shard.get_mut(&old.client_id).filter(|mailbox| Arc::ptr_eq(mailbox, old))?;
        let mailbox = Arc::new(make());
        *place = Arc::clone(&mailbox);
        Some(mailbox)
    }

    /// Adds a session from the store.
    pub(crate) fn restore(&self, mailbox: Arc<Mailbox>) {
        let client_id = mailbox.client_id.clone();
        if self.shard(&client_id).lock().insert(client_id.clone(), mailbox).is_none() {
            self.count(1);
        }
    }

    /// Forgets a session that has ended.
    pub(crate) fn remove(&self, mailbox: &Arc<Mailbox>) {
        let mut shard = self.shard(&mailbox.client_id).lock();
        if shard.get(&mailbox.client_id).is_some_and(|other| Arc::ptr_eq(other, mailbox)) {
            shard.remove(&mailbox.client_id);
            self.count(-1);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let mailboxes = std::mem::take(&mut *shard.lock());
            self.count(-i64::try_from(mailboxes.len()).unwrap_or(0));
        }
    }

    /// Every mailbox, a shard at a time.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Arc<Mailbox>)) {
        for shard in &self.shards {
            let mailboxes: Vec<Arc<Mailbox>> = shard.lock().values().map(Arc::clone).collect();
            mailboxes.iter().for_each(&mut each);
        }
    }
}

//! Which session a Client Identifier names.
//!
//! The lock is held for a look-up only. It may be taken before a mailbox's lock, never while one is held.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dunlin_codec::ClientId;
use dunlin_store::SessionNo;
use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::mailbox::Mailbox;
use crate::metrics::shift;

/// Parts of the table with a lock of their own, so that many CONNECTs at once do not queue up.
const SHARDS: usize = 16;
/// Places that a shard keeps when it is emptied. Beyond, it gives three unused quarters back.
const KEPT: usize = 64;

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

/// By the Client Identifier, which the mailbox itself has: a place takes nine bytes.
type Shard = HashTable<Arc<Mailbox>>;

/// The sessions of one namespace.
#[derive(Debug)]
pub(crate) struct Registry {
    shards: [Mutex<Shard>; SHARDS],
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

    fn hash(&self, client_id: &ClientId) -> u64 {
        self.hasher.hash_one(client_id.as_bytes())
    }

    /// The part of the table for this hash. It goes by bits that the table itself has no use for: it takes the lowest and the
    /// highest ones.
    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        let [first, ..] = &self.shards;
        let index = usize::try_from((hash >> 32) % SHARDS as u64).unwrap_or(0);
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
        let hash = self.hash(client_id);
        let mut shard = self.shard(hash).lock();
        if let Some(mailbox) = shard.find(hash, |mailbox| mailbox.client_id == *client_id) {
            return (Arc::clone(mailbox), false);
        }
        let mailbox = Arc::new(make());
        shard.insert_unique(hash, Arc::clone(&mailbox), |other| self.hash(&other.client_id));
        self.count(1);
        (mailbox, true)
    }

    fn count(&self, by: i64) {
        shift(&self.numbers.sessions, by);
    }

    pub(crate) fn find(&self, client_id: &ClientId) -> Option<Arc<Mailbox>> {
        let hash = self.hash(client_id);
        let shard = self.shard(hash).lock();
        shard.find(hash, |mailbox| mailbox.client_id == *client_id).map(Arc::clone)
    }

    /// Puts what `make` makes in the place of `old`, whose session is over; none if somebody else did before.
    pub(crate) fn replace(
        &self,
        old: &Arc<Mailbox>,
        make: impl FnOnce() -> Mailbox,
    ) -> Option<Arc<Mailbox>> {
        let hash = self.hash(&old.client_id);
        let mut shard = self.shard(hash).lock();
        let place = shard.find_mut(hash, |mailbox| Arc::ptr_eq(mailbox, old))?;
        let mailbox = Arc::new(make());
        *place = Arc::clone(&mailbox);
        Some(mailbox)
    }

    /// Adds a session from the store.
    pub(crate) fn restore(&self, mailbox: Arc<Mailbox>) {
        let hash = self.hash(&mailbox.client_id);
        let mut shard = self.shard(hash).lock();
        match shard.find_mut(hash, |other| other.client_id == mailbox.client_id) {
            Some(place) => *place = mailbox,
            None => {
                shard.insert_unique(hash, mailbox, |other| self.hash(&other.client_id));
                self.count(1);
            }
        }
    }

    /// Forgets a session that has ended.
    pub(crate) fn remove(&self, mailbox: &Arc<Mailbox>) {
        let hash = self.hash(&mailbox.client_id);
        let mut shard = self.shard(hash).lock();
        if let Ok(place) = shard.find_entry(hash, |other| Arc::ptr_eq(other, mailbox)) {
            place.remove();
            self.count(-1);
            if shard.capacity() > KEPT && shard.len() < shard.capacity() / 4 {
                let room = shard.len() * 2;
                shard.shrink_to(room, |other| self.hash(&other.client_id));
            }
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
            let mailboxes: Vec<Arc<Mailbox>> = shard.lock().iter().map(Arc::clone).collect();
            mailboxes.iter().for_each(&mut each);
        }
    }
}

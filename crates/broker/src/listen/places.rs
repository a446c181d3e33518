//! What a listener keeps while its settings change: its name, its number, and who is inside.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::chain::Chain;
use crate::config::ListenerConfig;

/// The places of one listener, as long as it is there.
pub(crate) struct Places {
    pub(crate) name: Arc<str>,
    /// Names it among all listeners that this broker ever had, in four bytes.
    pub(crate) number: u32,
    handshakes: AtomicU32,
    handshakes_max: AtomicU32,
    connections: AtomicU32,
    connections_max: AtomicU32,
    /// Told when a handshake is over, for the one who accepts.
    pub(crate) freed: Notify,
    /// Becomes `true` when the listener is taken away.
    removed: watch::Sender<bool>,
    /// Who says who a client is, of those who come and of those who prove themselves anew.
    chain: ArcSwap<Chain>,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Places {
    pub(crate) fn new(number: u32, config: &ListenerConfig) -> Arc<Self> {
        let places = Self {
            name: config.name.as_str().into(),
            number,
            handshakes: AtomicU32::new(0),
            handshakes_max: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            connections_max: AtomicU32::new(0),
            freed: Notify::new(),
            removed: watch::Sender::new(false),
            chain: ArcSwap::default(),
        };
        places.set_limits(config);
        Arc::new(places)
    }

    /// Takes other limits. Who is inside stays, also above a lower one.
    pub(crate) fn set_limits(&self, config: &ListenerConfig) {
        self.handshakes_max.store(config.handshakes_max, Ordering::Relaxed);
        let connections_max = config.connections_max.unwrap_or(u32::MAX);
        self.connections_max.store(connections_max, Ordering::Relaxed);
        self.freed.notify_one();
    }

    /// Who says who a client is from now on.
    pub(crate) fn chain(&self) -> Arc<Chain> {
        self.chain.load_full()
    }

    pub(crate) fn set_chain(&self, chain: Chain) {
        self.chain.store(Arc::new(chain));
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether another client may begin its handshake.
    pub(crate) fn has_handshake_room(&self) -> bool {
        self.handshakes.load(Ordering::Acquire) < self.handshakes_max.load(Ordering::Relaxed)
    }

    /// Takes a place for a new connection; `false` if all are taken.
    pub(crate) fn take(&self) -> bool {
        let most = self.connections_max.load(Ordering::Relaxed);
        if self.connections.fetch_add(1, Ordering::AcqRel) >= most {
            self.connections.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        self.handshakes.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// A connection's CONNECT is accepted, or it has ended: what `in_handshake` says, once.
    pub(crate) fn handshake_over(&self, in_handshake: &mut bool) {
        if std::mem::take(in_handshake) {
            let before = self.handshakes.fetch_sub(1, Ordering::AcqRel);
            if before >= self.handshakes_max.load(Ordering::Relaxed) {
                self.freed.notify_one();
            }
        }
    }

    pub(crate) fn connection_over(&self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }

    /// The listener is taken away, and its clients with it.
    pub(crate) fn remove(&self) {
        self.removed.send_replace(true);
    }

    pub(crate) fn is_removed(&self) -> bool {
        *self.removed.borrow()
    }

    /// Changes when the listener is taken away.
    pub(crate) fn removal(&self) -> watch::Receiver<bool> {
        self.removed.subscribe()
    }
}

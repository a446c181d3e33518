//! The listeners that are open, and how they become others while the broker runs.
//!
//! A listener is a task for each of its sockets and a handle to them, the [`Open`]. What can fail comes first and touches nothing:
//! [`Listeners::prepare`] takes the sockets that are wanted. [`Listeners::adopt`] cannot fail.

use std::io;
use std::sync::Arc;

#[cfg(unix)]
use dunlin_transport::Inherited;
use dunlin_transport::{Acceptor, Bound, Place};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Applies, Config, Endpoint, LISTENER, ListenerConfig, differences};
use crate::core::Core;
use crate::end::EndReason;
use crate::server::ServerError;

use super::{Listener, Places, Proofs, accept, proof};

/// The listeners that are open, in the order of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: Vec<Open>,
    last_number: u32,
    /// Sockets that were handed over and that no listener has taken.
    #[cfg(unix)]
    inherited: Option<Inherited>,
}

/// One listener and the hold on its task.
#[derive(Debug)]
struct Open {
    config: ListenerConfig,
    places: Arc<Places>,
    /// What its tasks accept from: who comes after it on this address takes it over.
    sockets: Sockets,
    /// What those who connect from now on are served with. The tasks end when this is gone.
    offer: watch::Sender<Arc<Listener>>,
    /// Looks at the files of its certificates.
    _watch: Option<AbortOnDropHandle<()>>,
}

/// What becomes of one listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Added,
    Removed,
    Changed(Vec<(&'static str, Applies)>),
}

/// The sockets of one listener: one, or those that were handed over under one name.
type Sockets = Vec<(Place, Arc<Acceptor>)>;

/// Sockets for the listeners of a configuration, in their order; none for one that keeps its own.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<Option<Sockets>>);

impl Listeners {
    /// With the sockets that were handed over to the process.
    #[cfg(unix)]
    pub(crate) fn new(inherited: Option<Inherited>) -> Self {
        Self { inherited, ..Self::default() }
    }

    /// Each listener's name with where it listens, in the order of the configuration.
    pub(crate) fn open_places(&self) -> Vec<(String, Place)> {
        let each = |open: &Open| {
            let name = open.config.name.clone();
            open.sockets.iter().map(move |(place, _)| (name.clone(), place.clone())).collect()
        };
        self.open.iter().flat_map(each as fn(&Open) -> Vec<_>).collect()
    }

    /// Each listener's configured name with its places.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&ListenerConfig, &Arc<Places>)> {
        self.open.iter().map(|open| (&open.config, &open.places))
    }

    fn find(&self, name: &str) -> Option<&Open> {
        self.open.iter().find(|open| open.config.name == name)
    }

    /// What would become of each listener that does not stay as it is.
    pub(crate) fn changes(&self, wanted: &[ListenerConfig]) -> Vec<(String, Change)> {
        let gone = self.open.iter().filter(|open| named(wanted, &open.config.name).is_none());
        let removed = gone.map(|open| (open.config.name.clone(), Change::Removed));
        let others = wanted.iter().filter_map(|config| {
            let change = match self.find(&config.name) {
                None => Change::Added,
                Some(open) => {
                    let keys = differences(LISTENER, &open.config, config);
                    if keys.is_empty() {
                        return None;
                    }
                    Change::Changed(keys)
                }
            };
            Some((config.name.clone(), change))
        });
        removed.chain(others).collect()
    }

    /// Takes the sockets that these listeners need and do not have.
    ///
    /// # Errors
    ///
    /// [`ServerError::Bind`] for the first that cannot be taken. Nothing has changed then.
    pub(crate) fn prepare(&mut self, wanted: &[ListenerConfig]) -> Result<Prepared, ServerError> {
        let mut prepared = Vec::with_capacity(wanted.len());
        for config in wanted {
            let keeps = |open: &&Open| open.config.address == config.address;
            if self.find(&config.name).filter(keeps).is_some() {
                prepared.push(None);
                continue;
            }
            let sockets = self.sockets(config, wanted).map_err(|source| ServerError::Bind {
                name: config.name.clone(),
                address: config.address.clone(),
                source,
            })?;
            prepared.push(Some(sockets));
        }
        Ok(Prepared(prepared))
    }

    /// A new socket, or that of a listener that gives the same address up: so a listener can be renamed without a moment
    /// in which nobody listens.
    fn sockets(
        &mut self,
        config: &ListenerConfig,
        wanted: &[ListenerConfig],
    ) -> io::Result<Sockets> {
        let gives_up = |open: &&Open| {
            let later = named(wanted, &open.config.name);
            open.config.address == config.address
                && later.is_none_or(|later| later.address != config.address)
        };
        if let Some(open) = self.open.iter().find(gives_up) {
            return Ok(open.sockets.clone());
        }
        let bound = match &config.address {
            Endpoint::Inherited(name) => self.take_inherited(name)?,
            Endpoint::Tcp(_) | Endpoint::Quic(_) | Endpoint::Unix(_) => vec![accept::bind(config)?],
        };
        let accepting = |bound: Bound| Ok((bound.place()?, Arc::new(bound.into_acceptor()?)));
        bound.into_iter().map(accepting).collect()
    }

    #[cfg(unix)]
    fn take_inherited(&mut self, name: &str) -> io::Result<Vec<Bound>> {
        let nothing = || io::Error::new(io::ErrorKind::NotFound, "no socket was handed over");
        self.inherited.as_mut().ok_or_else(nothing)?.take(name)
    }

    #[cfg(not(unix))]
    fn take_inherited(&mut self, _: &str) -> io::Result<Vec<Bound>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes the listeners those of the configuration. Clients of a listener that goes are disconnected; those of one that
    /// changes stay.
    pub(crate) fn adopt(
        &mut self,
        core: &Arc<Core>,
        config: &Config,
        prepared: Prepared,
        proofs: Proofs,
    ) {
        let authenticators = core.authenticators.load();
        let mut before = std::mem::take(&mut self.open);
        for (listener, sockets) in config.listeners.iter().zip(prepared.0) {
            let position = before.iter().position(|open| open.config.name == listener.name);
            let old = position.map(|position| before.swap_remove(position));
            let places = match &old {
                Some(old) => Arc::clone(&old.places),
                None => {
                    self.last_number += 1;
                    Places::new(self.last_number, listener)
                }
            };
            let tls = proofs.get(&listener.name);
            let _watch = tls.map(|tls| proof::watch(listener, tls));
            places.set_limits(listener);
            places.set_chain(authenticators.chain(listener));
            let offered = Listener::new(config, listener, tls.cloned(), Arc::clone(&places));
            self.open.push(match (sockets, old) {
                (Some(sockets), _) => {
                    let offer = watch::Sender::new(offered);
                    for (_, acceptor) in &sockets {
                        let (core, acceptor) = (Arc::clone(core), Arc::clone(acceptor));
                        core.runtime.clone().spawn(accept::serve(
                            core,
                            offer.subscribe(),
                            acceptor,
                        ));
                    }
                    Open { config: listener.clone(), places, sockets, offer, _watch }
                }
                (None, Some(old)) => {
                    old.offer.send_replace(offered);
                    if old.config.backlog != listener.backlog {
                        for (_, acceptor) in &old.sockets {
                            // There is nothing to do about a system that refuses it.
                            let _ = acceptor.set_backlog(listener.backlog);
                        }
                    }
                    Open { config: listener.clone(), _watch, ..old }
                }
                (None, None) => {
                    unreachable!("a listener without a socket keeps that of its old self")
                }
            });
        }
        for gone in before {
            gone.close(core);
        }
        *core.proofs.lock() = proofs;
    }
}

impl Open {
    /// Accepts no more, and takes leave of its clients.
    fn close(self, core: &Core) {
        let Self { places, offer, sockets, .. } = self;
        drop((offer, sockets));
        // In this order: a client that comes in between sees that the listener is gone when it has its session.
        places.remove();
        core.for_each_session(|mailbox| {
            mailbox.evict_from(places.number, EndReason::ListenerRemoved);
        });
    }
}

fn named<'a>(listeners: &'a [ListenerConfig], name: &str) -> Option<&'a ListenerConfig> {
    listeners.iter().find(|listener| listener.name == name)
}

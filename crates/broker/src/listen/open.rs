//! The listeners that are open, and how they become others while the broker runs.
//!
//! A listener is a task that accepts and a handle to it, the [`Open`]. What can fail comes first and touches nothing:
//! [`Listeners::prepare`] takes the sockets that are wanted. [`Listeners::adopt`] cannot fail.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Applies, Config, LISTENER, ListenerConfig, differences};
use crate::core::Core;
use crate::end::EndReason;
use crate::server::ServerError;

use super::tcp::{self, Accepting, Socket};
use super::{Listener, Places};

/// The listeners that are open, in the order of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: Vec<Open>,
    last_number: u32,
}

/// One listener and the hold on its task.
#[derive(Debug)]
struct Open {
    config: ListenerConfig,
    places: Arc<Places>,
    /// The socket that the task accepts from: who comes after it on this address takes it over.
    socket: Socket,
    /// What those who connect from now on are served with. The task ends when this is gone.
    offer: watch::Sender<Arc<Listener>>,
}

/// What becomes of one listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Added,
    Removed,
    Changed(Vec<(&'static str, Applies)>),
}

/// Sockets for the listeners of a configuration, in their order; none for one that keeps its own.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<Option<(Socket, Accepting)>>);

impl Listeners {
    /// The addresses, in the order of the configuration.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.iter().map(|open| open.socket.address).collect()
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
    pub(crate) fn prepare(&self, wanted: &[ListenerConfig]) -> Result<Prepared, ServerError> {
        let one = |config: &ListenerConfig| {
            let keeps = |open: &&Open| open.config.address == config.address;
            if self.find(&config.name).filter(keeps).is_some() {
                return Ok(None);
            }
            self.take_socket(config, wanted).map(Some).map_err(|source| ServerError::Bind {
                name: config.name.clone(),
                address: config.address,
                source,
            })
        };
        wanted.iter().map(one).collect::<Result<_, _>>().map(Prepared)
    }

    /// A new socket, or that of a listener that gives the same address up: so a listener can be renamed without a moment
    /// in which nobody listens.
    fn take_socket(
        &self,
        config: &ListenerConfig,
        wanted: &[ListenerConfig],
    ) -> io::Result<(Socket, Accepting)> {
        let gives_up = |open: &&Open| {
            let later = named(wanted, &open.config.name);
            open.config.address == config.address
                && later.is_none_or(|later| later.address != config.address)
        };
        let socket = match self.open.iter().find(gives_up) {
            Some(open) => open.socket.share()?,
            None => tcp::bind(config)?,
        };
        let accepting = socket.accepting()?;
        Ok((socket, accepting))
    }

    /// Makes the listeners those of the configuration. Clients of a listener that goes are disconnected; those of one that
    /// changes stay.
    pub(crate) fn adopt(&mut self, core: &Arc<Core>, config: &Config, prepared: Prepared) {
        let mut before = std::mem::take(&mut self.open);
        for (listener, socket) in config.listeners.iter().zip(prepared.0) {
            let position = before.iter().position(|open| open.config.name == listener.name);
            let old = position.map(|position| before.swap_remove(position));
            let places = match &old {
                Some(old) => Arc::clone(&old.places),
                None => {
                    self.last_number += 1;
                    Places::new(self.last_number, listener)
                }
            };
            let chain = core.authenticators.chain(listener);
            let offered = Listener::new(config, listener, chain, Arc::clone(&places));
            places.set_limits(listener);
            self.open.push(match (socket, old) {
                (Some((socket, accepting)), _) => {
                    let offer = watch::Sender::new(offered);
                    let serving = tcp::serve(Arc::clone(core), offer.subscribe(), accepting);
                    core.runtime.spawn(serving);
                    Open { config: listener.clone(), places, socket, offer }
                }
                (None, Some(old)) => {
                    old.offer.send_replace(offered);
                    if old.config.backlog != listener.backlog {
                        old.socket.set_backlog(listener.backlog);
                    }
                    Open { config: listener.clone(), ..old }
                }
                (None, None) => {
                    unreachable!("a listener without a socket keeps that of its old self")
                }
            });
        }
        for gone in before {
            gone.close(core);
        }
    }
}

impl Open {
    /// Accepts no more, and takes leave of its clients.
    fn close(self, core: &Core) {
        let Self { places, offer, socket, .. } = self;
        drop((offer, socket));
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

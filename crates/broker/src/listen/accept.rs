//! Accepting: one task for each socket of a listener.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_transport::tcp::{self, ListenOptions, TcpOptions, TcpProbes};
use dunlin_transport::{Acceptor, Bound};
use tokio::sync::watch;

use crate::config::{Endpoint, ListenerConfig};
use crate::core::Core;
use crate::metrics::add;

use super::Listener;
use super::entering::enter;

/// After an accept that failed for another reason.
const FAILED_PAUSE: Duration = Duration::from_millis(1);
/// From one line about missing descriptors to the next.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Takes what the listener listens on, unless it is handed over.
// [MQTT-4.2-1] [MQTT-7.1.1-1 @3.1.1]
pub(crate) fn bind(config: &ListenerConfig) -> io::Result<Bound> {
    match &config.address {
        Endpoint::Tcp(address) => tcp::bind(*address, &listen_options(config)),
        #[cfg(feature = "quic")]
        Endpoint::Quic(address) => dunlin_transport::quic::bind(*address, &listen_options(config)),
        #[cfg(not(feature = "quic"))]
        Endpoint::Quic(_) => Err(io::ErrorKind::Unsupported.into()),
        #[cfg(unix)]
        Endpoint::Unix(path) => {
            use dunlin_transport::unix::{UnixError, UnixOptions, bind};
            let options = UnixOptions {
                mode: config.unix_mode,
                user: config.unix_user.clone(),
                group: config.unix_group.clone(),
                backlog: config.backlog,
                ..UnixOptions::new(path)
            };
            bind(&options).map_err(|error| {
                let kind = match &error {
                    UnixError::Live(_) => io::ErrorKind::AddrInUse,
                    UnixError::System { source, .. } => source.kind(),
                    UnixError::NoSocket(_) | UnixError::NoUser(_) | UnixError::NoGroup(_) | _ => {
                        io::ErrorKind::Other
                    }
                };
                io::Error::new(kind, error)
            })
        }
        #[cfg(not(unix))]
        Endpoint::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        Endpoint::Inherited(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn listen_options(config: &ListenerConfig) -> ListenOptions {
    ListenOptions {
        backlog: config.backlog,
        reuse_port: config.reuse_port,
        receive_buffer: config.receive_buffer_bytes,
        send_buffer: config.send_buffer_bytes,
    }
}

/// What is set on the sockets of a listener's clients.
pub(crate) fn tcp_options(config: &ListenerConfig) -> TcpOptions {
    let probes = |idle| TcpProbes { idle, ..TcpProbes::default() };
    TcpOptions {
        nodelay: config.tcp_nodelay,
        keepalive: config.tcp_keepalive.map(probes),
        user_timeout: config.tcp_user_timeout,
    }
}

/// Accepts until the broker closes or the listener is taken away.
pub(crate) async fn serve(
    core: Arc<Core>,
    mut offer: watch::Receiver<Arc<Listener>>,
    acceptor: Arc<Acceptor>,
) {
    let mut closing = core.closing.subscribe();
    // Connections without them work too.
    let set_options = |listener: &Listener| drop(acceptor.set_options(&listener.tcp));
    set_options(&offer.borrow_and_update());
    let places = Arc::clone(&offer.borrow().places);
    let mut complained: Option<Instant> = None;
    loop {
        // At the limit of handshakes the kernel's backlog holds the others.
        if !places.has_handshake_room() {
            add(&core.counters.handshakes_paused, 1);
        }
        while !places.has_handshake_room() {
            tokio::select! {
                () = places.freed.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                _ = closing.wait_for(|closing| *closing) => return,
                changed = offer.changed() => match changed {
                    Ok(()) => set_options(&offer.borrow()),
                    Err(_) => return,
                },
            }
        }
        let accepted = tokio::select! {
            // First, so that in a storm nobody else is asked each time: the runtime has others asked now and then.
            biased;
            accepted = acceptor.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => return,
            changed = offer.changed() => match changed {
                Ok(()) => {
                    set_options(&offer.borrow());
                    continue;
                }
                Err(_) => return,
            },
        };
        match accepted {
            Ok(opened) => {
                let listener = Arc::clone(&offer.borrow());
                enter(&core, listener, opened);
            }
            Err(error) if out_of_descriptors(&error) => {
                add(&core.counters.accept_paused, 1);
                if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                    complained = Some(Instant::now());
                    tracing::error!(
                        event = "accept_paused",
                        listener = %places.name,
                        %error,
                        "no descriptor is free: accepting pauses; raise the limit of open files or lower connections_max"
                    );
                }
                let pause = core.config().limits.accept_pause;
                tokio::time::sleep(pause).await;
            }
            // Mostly a peer that went away before it was accepted; if it is anything worse, there is a pause.
            Err(error) => {
                let name = &places.name;
                tracing::debug!(event = "accept_failed", listener = %name, %error, "accepting failed");
                tokio::time::sleep(FAILED_PAUSE).await;
            }
        }
    }
}

/// EMFILE or ENFILE: this process, or the machine, has no descriptor left.
fn out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}

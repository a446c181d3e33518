//! Plain TCP.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_transport::{Opened, Peer};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::config::ListenerConfig;
use crate::core::Core;
use crate::metrics::add;

use super::Listener;
use super::entering::enter;

/// A dead peer behind a NAT is noticed after this and a few probes more.
const TCP_KEEPALIVE_AFTER: Duration = Duration::from_secs(120);
/// After an accept that failed for another reason.
const FAILED_PAUSE: Duration = Duration::from_millis(1);
/// From one line about missing descriptors to the next.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// A socket that has its address. Whoever accepts from it has a descriptor of its own.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: StdListener,
    pub(crate) address: SocketAddr,
}

/// The side of a socket that clients are accepted from.
#[derive(Debug)]
pub(crate) struct Accepting(TcpListener);

impl Socket {
    /// The same socket once more: connections that wait in it are not lost when its old owner goes.
    pub(crate) fn share(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, address: self.address })
    }

    /// To be called inside the runtime that will accept.
    pub(crate) fn accepting(&self) -> io::Result<Accepting> {
        TcpListener::from_std(self.socket.try_clone()?).map(Accepting)
    }

    /// Lets the kernel hold so many connections from now on. Those it holds stay.
    pub(crate) fn set_backlog(&self, backlog: u32) {
        // A socket that listens takes this again and again; there is nothing to do about a system that refuses it.
        let _ = SockRef::from(&self.socket).listen(i32::try_from(backlog).unwrap_or(i32::MAX));
    }
}

/// Takes the address. An IPv6 one takes IPv6 only, so that `[::]` and `0.0.0.0` can stand side by side.
// [MQTT-4.2-1] [MQTT-7.1.1-1 @3.1.1]
pub(crate) fn bind(config: &ListenerConfig) -> io::Result<Socket> {
    let socket =
        RawSocket::new(Domain::for_address(config.address), Type::STREAM, Some(Protocol::TCP))?;
    if config.address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&config.address.into())?;
    socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    let socket = StdListener::from(socket);
    let address = socket.local_addr()?;
    Ok(Socket { socket, address })
}

/// Accepts until the broker closes or the listener is taken away.
pub(crate) async fn serve(
    core: Arc<Core>,
    mut offer: watch::Receiver<Arc<Listener>>,
    Accepting(socket): Accepting,
) {
    let mut closing = core.closing.subscribe();
    let places = Arc::clone(&offer.borrow_and_update().places);
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
                gone = offer.changed() => if gone.is_err() { return },
            }
        }
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => return,
            changed = offer.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        match accepted {
            Ok((stream, address)) => {
                let listener = Arc::clone(&offer.borrow());
                admit(&core, listener, stream, address);
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

fn admit(core: &Arc<Core>, listener: Arc<Listener>, stream: TcpStream, address: SocketAddr) {
    // Packets are written in batches already; and a half-open connection is found out sooner or later.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE_AFTER));
    enter(core, listener, Opened::new(stream.into(), Peer::tcp(address)));
}

/// EMFILE or ENFILE: this process, or the machine, has no descriptor left.
fn out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}

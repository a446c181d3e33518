//! Plain TCP.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::config::ListenerConfig;
use crate::core::Core;
use crate::driver::Driver;
use crate::listen::Listener;
use crate::metrics::add;

/// A dead peer behind a NAT is noticed after this and a few probes more.
const TCP_KEEPALIVE_AFTER: Duration = Duration::from_secs(120);
/// After an accept that failed for another reason.
const FAILED_PAUSE: Duration = Duration::from_millis(1);
/// From one line about missing descriptors to the next.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// A listener that has its address.
#[derive(Debug)]
pub(crate) struct BoundListener {
    socket: StdListener,
    pub(crate) address: SocketAddr,
}

/// Takes the address. An IPv6 one takes IPv6 only, so that `[::]` and `0.0.0.0` can stand side by side.
// [MQTT-4.2-1] [MQTT-7.1.1-1 @3.1.1]
pub(crate) fn bind(config: &ListenerConfig) -> io::Result<BoundListener> {
    let socket =
        Socket::new(Domain::for_address(config.address), Type::STREAM, Some(Protocol::TCP))?;
    if config.address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&config.address.into())?;
    socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    let socket = StdListener::from(socket);
    let address = socket.local_addr()?;
    Ok(BoundListener { socket, address })
}

/// Accepts until the broker closes.
pub(crate) async fn serve(
    core: Arc<Core>,
    listener: Arc<Listener>,
    bound: BoundListener,
) -> io::Result<()> {
    let socket = TcpListener::from_std(bound.socket)?;
    let mut closing = core.closing.subscribe();
    let mut complained: Option<Instant> = None;
    loop {
        // At the limit of handshakes the kernel's backlog holds the others.
        if !listener.has_handshake_room() {
            add(&core.counters.handshakes_paused, 1);
        }
        while !listener.has_handshake_room() {
            tokio::select! {
                () = listener.freed.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                _ = closing.wait_for(|closing| *closing) => return Ok(()),
            }
        }
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => return Ok(()),
        };
        match accepted {
            Ok((stream, address)) => admit(&core, &listener, stream, address),
            Err(error) if out_of_descriptors(&error) => {
                add(&core.counters.accept_paused, 1);
                if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                    complained = Some(Instant::now());
                    tracing::error!(
                        event = "accept_paused",
                        listener = %listener.name,
                        %error,
                        "no descriptor is free: accepting pauses; raise the limit of open files or lower connections_max"
                    );
                }
                tokio::time::sleep(core.config().limits.accept_pause).await;
            }
            // Mostly a peer that went away before it was accepted; if it is anything worse, there is a pause.
            Err(error) => {
                let name = &listener.name;
                tracing::debug!(event = "accept_failed", listener = %name, %error, "accepting failed");
                tokio::time::sleep(FAILED_PAUSE).await;
            }
        }
    }
}

fn admit(core: &Arc<Core>, listener: &Arc<Listener>, stream: TcpStream, address: SocketAddr) {
    if !core.take_place() {
        add(&core.counters.connections_refused, 1);
        return;
    }
    if !listener.take_place() {
        core.connections.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        add(&core.counters.connections_refused, 1);
        return;
    }
    // Packets are written in batches already; and a half-open connection is found out sooner or later.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE_AFTER));
    add(&core.counters.connections_accepted, 1);
    add(&core.counters.connections_open, 1);
    let driver = Driver::new(Arc::clone(core), Arc::clone(listener), stream, address);
    core.tasks.spawn(driver);
}

/// EMFILE or ENFILE: this process, or the machine, has no descriptor left.
fn out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}

//! TCP sockets: how a listener takes its address, and what is set on the sockets of its clients.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive, Type};

use crate::acceptor::Bound;
use crate::address;

/// How a listener's own socket is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListenOptions {
    /// Connections that the kernel holds until they are accepted; it cuts this to its own maximum.
    pub backlog: u32,
    /// Whether other sockets of the same user may have the same address too, the kernel spreading clients over them.
    pub reuse_port: bool,
    /// Bytes of the kernel's receive buffer of each client; by default the kernel sizes it as it goes.
    pub receive_buffer: Option<usize>,
    /// Bytes of the kernel's send buffer of each client; by default the kernel sizes it as it goes.
    pub send_buffer: Option<usize>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 4096, reuse_port: false, receive_buffer: None, send_buffer: None }
    }
}

/// Takes an address. One of IPv6 takes IPv6 only, so that `[::]` and `0.0.0.0` can stand side by side and mean the same on
/// every system.
///
/// # Errors
///
/// Those of the system: the address is taken, is none of this machine, or its port needs a privilege.
pub fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<Bound> {
    let socket = address::take(address, Type::STREAM, options)?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(Bound::Tcp(TcpListener::from(socket)))
}

/// What is set on the socket of each client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpOptions {
    /// Whether small writes leave at once. They should: packets are gathered before they are written.
    pub nodelay: bool,
    /// How a silent peer is probed; none: it is not.
    pub keepalive: Option<TcpProbes>,
    /// How long what was written may stay unacknowledged before the connection counts as lost (TCP_USER_TIMEOUT, on Linux);
    /// none: as long as the kernel goes on trying, about a quarter of an hour.
    pub user_timeout: Option<Duration>,
}

/// How a silent peer is probed, so that one behind a NAT that forgot it is found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpProbes {
    /// From the last that was heard to the first probe; whole seconds.
    pub idle: Duration,
    /// From one probe to the next; whole seconds.
    pub interval: Duration,
    /// Probes without an answer before the connection counts as lost.
    pub count: u32,
}

impl Default for TcpProbes {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(15), count: 4 }
    }
}

impl Default for TcpOptions {
    /// A peer that is gone is noticed after two minutes, whether anything is being sent to it or not.
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(TcpProbes::default()),
            user_timeout: Some(Duration::from_secs(120)),
        }
    }
}

impl TcpOptions {
    /// Makes these the options of a socket, whatever it had before.
    ///
    /// # Errors
    ///
    /// The first one of the system, after all were tried: a connection without them works too.
    pub(crate) fn set(&self, socket: &SockRef<'_>) -> io::Result<()> {
        let nodelay = socket.set_tcp_nodelay(self.nodelay);
        let keepalive = match self.keepalive {
            Some(probes) => socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(probes.idle)
                    .with_interval(probes.interval)
                    .with_retries(probes.count),
            ),
            None => socket.set_keepalive(false),
        };
        #[cfg(target_os = "linux")]
        let user_timeout = socket.set_tcp_user_timeout(self.user_timeout);
        #[cfg(not(target_os = "linux"))]
        let user_timeout = Ok(());
        nodelay.and(keepalive).and(user_timeout)
    }
}

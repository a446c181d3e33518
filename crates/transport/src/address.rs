//! How a listener takes its address, of TCP or of UDP.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

use crate::tcp::ListenOptions;

/// A socket of this kind that has its address. One of IPv6 takes IPv6 only, so that `[::]` and `0.0.0.0` can stand side by
/// side and mean the same on every system.
pub(crate) fn take(address: SocketAddr, kind: Type, options: &ListenOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // With UDP this would let another program have the same address.
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    #[cfg(unix)]
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    // The sockets of TCP clients inherit these, and the receive buffer has to be known before the window is agreed on.
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

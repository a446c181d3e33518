//! Listening sockets of every kind that clients connect to, behind one face.

use std::fmt;
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::net::UnixListener as StdUnixListener;
#[cfg(unix)]
use std::path::PathBuf;

use socket2::SockRef;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use crate::door::Opened;
use crate::peer::Peer;
#[cfg(unix)]
use crate::peer::{Credentials, Transport};
#[cfg(feature = "quic")]
use crate::quic;
use crate::stream::Stream;
use crate::tcp::TcpOptions;
#[cfg(unix)]
use crate::unix::SocketFile;

/// A listening socket that has its address. Clients that connect now wait in the kernel.
#[derive(Debug)]
pub enum Bound {
    /// Of TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket, with its file if it is ours to remove.
    #[cfg(unix)]
    Unix(StdUnixListener, Option<SocketFile>),
    /// Of UDP, for QUIC.
    #[cfg(feature = "quic")]
    Quic(std::net::UdpSocket),
}

/// Where clients connect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// An address of TCP or UDP.
    Address(SocketAddr),
    /// The path of a Unix socket; empty if it has none.
    #[cfg(unix)]
    Path(PathBuf),
}

impl Place {
    /// The address, where it is one.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            #[cfg(unix)]
            Self::Path(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            #[cfg(unix)]
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl Bound {
    /// Where clients connect.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn place(&self) -> io::Result<Place> {
        match self {
            Self::Tcp(socket) => Ok(Place::Address(socket.local_addr()?)),
            #[cfg(unix)]
            Self::Unix(socket, _) => {
                let address = socket.local_addr()?;
                Ok(Place::Path(address.as_pathname().map(Into::into).unwrap_or_default()))
            }
            #[cfg(feature = "quic")]
            Self::Quic(socket) => Ok(Place::Address(socket.local_addr()?)),
        }
    }

    /// Begins to accept, inside a runtime.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn into_acceptor(self) -> io::Result<Acceptor> {
        let kind = match self {
            Self::Tcp(socket) => Kind::Tcp(TcpListener::from_std(socket)?),
            #[cfg(unix)]
            Self::Unix(socket, file) => Kind::Unix(UnixListener::from_std(socket)?, file),
            #[cfg(feature = "quic")]
            Self::Quic(socket) => Kind::Quic(quic::Endpoint::new(socket)?),
        };
        Ok(Acceptor {
            kind,
            #[cfg(not(target_os = "linux"))]
            options: std::sync::Mutex::default(),
        })
    }
}

/// Accepts clients. Dropped, it closes its socket and removes the file of a Unix socket; clients that the kernel still held
/// are cut off.
#[derive(Debug)]
pub struct Acceptor {
    kind: Kind,
    /// What each accepted socket is given where it does not have it from the one that listens.
    #[cfg(not(target_os = "linux"))]
    options: std::sync::Mutex<Option<TcpOptions>>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, #[expect(dead_code, reason = "held to be dropped")] Option<SocketFile>),
    #[cfg(feature = "quic")]
    Quic(quic::Endpoint),
}

impl Acceptor {
    /// Lets the kernel hold so many connections from now on. Those it holds stay.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn set_backlog(&self, backlog: u32) -> io::Result<()> {
        // A socket that listens takes this again.
        let socket = match &self.kind {
            Kind::Tcp(socket) => SockRef::from(socket),
            #[cfg(unix)]
            Kind::Unix(socket, _) => SockRef::from(socket),
            // The kernel holds no connections of it.
            #[cfg(feature = "quic")]
            Kind::Quic(_) => return Ok(()),
        };
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
    }

    /// Sets the options of TCP of all clients that connect from now on. Clients that come by something else have none.
    ///
    /// On Linux an accepted socket has those of the socket that listens, so that nothing needs to be set for each client.
    ///
    /// # Errors
    ///
    /// The first one of the system, after all were tried: connections without them work too.
    pub fn set_options(&self, options: &TcpOptions) -> io::Result<()> {
        match &self.kind {
            #[cfg(target_os = "linux")]
            Kind::Tcp(socket) => options.set(&SockRef::from(socket)),
            #[cfg(not(target_os = "linux"))]
            Kind::Tcp(_) => {
                let mut place =
                    self.options.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                *place = Some(*options);
                Ok(())
            }
            #[cfg(unix)]
            Kind::Unix(..) => Ok(()),
            #[cfg(feature = "quic")]
            Kind::Quic(_) => Ok(()),
        }
    }

    /// The next client. Nothing is lost when this is dropped before it is done.
    ///
    /// # Errors
    ///
    /// Those of the system: of one client that went away meanwhile, or because no descriptor is free.
    pub async fn accept(&self) -> io::Result<Opened> {
        match &self.kind {
            Kind::Tcp(socket) => {
                let (socket, address) = socket.accept().await?;
                #[cfg(not(target_os = "linux"))]
                {
                    let options = *self.options.lock().unwrap_or_else(|it| it.into_inner());
                    // A connection without them works too.
                    let _ = options.map(|options| options.set(&SockRef::from(&socket)));
                }
                Ok(Opened::new(Stream::Tcp(socket), Peer::tcp(address)))
            }
            #[cfg(unix)]
            Kind::Unix(socket, _) => {
                let (socket, _) = socket.accept().await?;
                let mut peer = Peer { transport: Transport::Unix, ..Peer::default() };
                if let Ok(owner) = socket.peer_cred() {
                    peer.details_mut().credentials =
                        Some(Credentials { uid: owner.uid(), gid: owner.gid(), pid: owner.pid() });
                }
                Ok(Opened::new(Stream::Unix(socket), peer))
            }
            #[cfg(feature = "quic")]
            Kind::Quic(endpoint) => endpoint.accept().await,
        }
    }
}

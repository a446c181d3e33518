//! Listening sockets that the service manager opened and hands over, by name (systemd's socket activation).

use std::env;
use std::io;

use listenfd::ListenFd;
use socket2::SockRef;

use crate::acceptor::Bound;

/// The sockets that were handed over and not taken yet.
///
/// It is made once, at the beginning of the program: the environment says which descriptors they are, and that is taken out
/// of the environment so that no child takes them for its own.
#[derive(Default)]
pub struct Inherited {
    sockets: Option<ListenFd>,
    /// The name of each socket (`FileDescriptorName=`), in order; empty where it is taken.
    names: Vec<String>,
}

impl std::fmt::Debug for Inherited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inherited").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Inherited {
    /// What the environment of this process names. To be called while the process has one thread.
    #[must_use]
    pub fn from_env() -> Self {
        let named = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let sockets = ListenFd::from_env();
        let mut names: Vec<String> = named.split(':').map(str::to_owned).collect();
        // What the manager calls a socket without a name.
        names.resize(sockets.len(), "unknown".to_owned());
        Self { sockets: Some(sockets), names }
    }

    /// The names of the sockets that nobody has taken.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Takes all sockets of this name: of TCP, Unix sockets, and of UDP for QUIC.
    ///
    /// # Errors
    ///
    /// If a descriptor is none of these, or nobody listens on it; [`NotFound`](io::ErrorKind::NotFound) if there is no socket of
    /// this name.
    pub fn take(&mut self, name: &str) -> io::Result<Vec<Bound>> {
        let mut taken = Vec::new();
        let Some(sockets) = &mut self.sockets else { return Err(nothing(name)) };
        for (index, found) in self.names.iter_mut().enumerate() {
            if found == name && !name.is_empty() {
                found.clear();
                taken.extend(take(sockets, index)?);
            }
        }
        if taken.is_empty() { Err(nothing(name)) } else { Ok(taken) }
    }
}

fn nothing(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("no socket named `{name}` was handed over by the service manager"),
    )
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<Option<Bound>> {
    if let Ok(socket) = sockets.take_tcp_listener(index) {
        let Some(socket) = socket else { return Ok(None) };
        listening(SockRef::from(&socket))?;
        return Ok(Some(Bound::Tcp(socket)));
    }
    #[cfg(feature = "quic")]
    if let Ok(socket) = sockets.take_udp_socket(index) {
        let Some(socket) = socket else { return Ok(None) };
        socket.set_nonblocking(true)?;
        return Ok(Some(Bound::Quic(socket)));
    }
    let Some(socket) = sockets.take_unix_listener(index)? else { return Ok(None) };
    listening(SockRef::from(&socket))?;
    // The file is the manager's.
    Ok(Some(Bound::Unix(socket, None)))
}

fn listening(socket: SockRef<'_>) -> io::Result<()> {
    if !socket.is_listener()? {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a socket that was handed over does not listen",
        ));
    }
    socket.set_nonblocking(true)
}

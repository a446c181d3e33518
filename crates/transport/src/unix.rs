//! Unix sockets: a file that clients of this machine connect to, with a mode and an owner.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Group, User};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::acceptor::Bound;

/// A Unix socket to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnixOptions {
    /// The file. The kernel allows about a hundred bytes.
    pub path: PathBuf,
    /// Who may connect, as permissions to write: `0o660` are owner and group.
    pub mode: u32,
    /// The owner, by name or number; none: whoever runs the broker. Another one needs the privilege to give files away.
    pub user: Option<String>,
    /// The group, by name or number; none: that of whoever runs the broker.
    pub group: Option<String>,
    /// Connections that the kernel holds until they are accepted.
    pub backlog: u32,
}

impl UnixOptions {
    /// A socket for its owner and group.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: 0o660, user: None, group: None, backlog: 4096 }
    }
}

/// Why a Unix socket could not be made.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// Another process accepts clients there.
    #[error("{}: another process is listening on this socket", .0.display())]
    Live(PathBuf),
    /// The file is there and is no socket: it is not ours to replace.
    #[error("{}: the file exists and is no socket; it is left as it is", .0.display())]
    NoSocket(PathBuf),
    /// The system knows no such user.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// The system knows no such group.
    #[error("there is no group `{0}`")]
    NoGroup(String),
    /// The system refused.
    #[error("{}: {what}: {source}", .path.display())]
    System {
        /// The socket's file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes the socket. A file that a process left behind is replaced, one that somebody listens on is not.
///
/// # Errors
///
/// [`UnixError`]; nothing is left behind that was not there before.
pub fn bind(options: &UnixOptions) -> Result<Bound, UnixError> {
    let path = &options.path;
    let failed = |what| move |source| UnixError::System { path: path.clone(), what, source };
    let user = options.user.as_deref().map(user_number).transpose()?;
    let group = options.group.as_deref().map(group_number).transpose()?;
    make_way(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("no socket"))?;
    // The file takes its mode from the socket, so that there is no moment in which others could connect.
    fchmod(socket.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| failed("cannot set the mode")(errno.into()))?;
    let address = SockAddr::unix(path).map_err(failed("no path for a socket"))?;
    socket.bind(&address).map_err(failed("cannot be made"))?;
    let file = SocketFile::new(path.clone()).map_err(failed("cannot be read"))?;
    if user.is_some() || group.is_some() {
        chown(path, user, group).map_err(failed("cannot be given to its owner"))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(options.mode))
        .map_err(failed("cannot set the mode"))?;
    socket
        .listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))
        .and_then(|()| socket.set_nonblocking(true))
        .map_err(failed("cannot listen"))?;
    Ok(Bound::Unix(UnixListener::from(socket), Some(file)))
}

/// Removes what a process that is gone left behind.
fn make_way(path: &Path) -> Result<(), UnixError> {
    let failed = |what| move |source| UnixError::System { path: path.into(), what, source };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("cannot be read")(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(UnixError::NoSocket(path.into()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(UnixError::Live(path.into())),
        // Nobody listens.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("what was left behind cannot be removed"))
        }
        Err(error) => Err(failed("cannot find out whether it is in use")(error)),
    }
}

fn user_number(user: &str) -> Result<u32, UnixError> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    match User::from_name(user) {
        Ok(Some(found)) => Ok(found.uid.as_raw()),
        Ok(None) | Err(_) => Err(UnixError::NoUser(user.into())),
    }
}

fn group_number(group: &str) -> Result<u32, UnixError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    match Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        Ok(None) | Err(_) => Err(UnixError::NoGroup(group.into())),
    }
}

/// The file of a socket of ours. Dropped, it is removed, unless another one stands in its place by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: PathBuf) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Self { path, device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

//! The stream of plain bytes that a connection's task holds, whatever lies below.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

#[cfg(feature = "quic")]
use crate::quic::QuicStream;

/// A stream of plain bytes, owned by one task.
///
/// Reads go into memory that is the caller's, so that an idle stream owns none. Writes are tried first and registered for
/// only when the socket takes nothing:
///
/// ```text
/// try_write_vectored ─WouldBlock─► poll_write_ready ─Ready─► try_write_vectored ...
///        └─ all taken ─► poll_flush
/// ```
///
/// One task polls all of it: wake-ups for reading and for writing go to the waker that was given last.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP: each call is one call of the socket.
    Tcp(TcpStream),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
    /// The stream of a QUIC connection.
    #[cfg(feature = "quic")]
    Quic(Box<QuicStream>),
    /// Anything that transforms the bytes, or has no socket of its own.
    Layered(Box<dyn Layer>),
}

/// Why our side closes, for layers that can tell.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Farewell {
    /// All is done.
    Done,
    /// The broker is shutting down, or this listener is.
    GoingAway,
    /// The client broke a rule of MQTT.
    ProtocolError,
    /// The client may not do what it does, or is to give way.
    Refused,
    /// The client sent more than is taken.
    TooBig,
    /// The broker cannot go on with it.
    Failed,
}

/// A transformation of bytes over another stream. The methods are those of [`Stream`].
///
/// What a layer has to say by itself, an alert or a pong, it writes from within whatever is called next, reading included:
/// `poll_read` registers for writing too as long as something of the layer's own waits.
pub trait Layer: std::fmt::Debug + Send {
    /// See [`Stream::poll_read`].
    fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>>;

    /// See [`Stream::read_now`].
    fn read_now(&mut self, scratch: &mut [u8]) -> io::Result<usize>;

    /// See [`Stream::try_write_vectored`].
    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// See [`Stream::poll_write_ready`].
    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// See [`Stream::poll_flush`].
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// See [`Stream::say`].
    fn say(&mut self, _farewell: Farewell) {}

    /// See [`Stream::poll_shutdown`].
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Stream {
    /// Reads plain bytes into `scratch`, which is not empty; 0 is the end of the stream.
    ///
    /// Pending means that no plain byte is left inside the stream and that the task will be woken.
    ///
    /// # Errors
    ///
    /// Those of the socket, and of what the peer sent if a layer cannot read it. Nothing more can be read then.
    #[inline]
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(scratch);
        let polled = match self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, &mut buffer),
            #[cfg(unix)]
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, &mut buffer),
            #[cfg(feature = "quic")]
            Self::Quic(layer) => return layer.poll_read(cx, scratch),
            Self::Layered(layer) => return layer.poll_read(cx, scratch),
        };
        ready!(polled)?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Reads what has arrived by asking the socket itself, because the runtime may not have heard of it yet. Registers
    /// nothing.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing has arrived, else as [`poll_read`](Self::poll_read).
    pub fn read_now(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => (&*SockRef::from(&*socket)).read(scratch),
            #[cfg(unix)]
            Self::Unix(socket) => (&*SockRef::from(&*socket)).read(scratch),
            #[cfg(feature = "quic")]
            Self::Quic(layer) => layer.read_now(scratch),
            Self::Layered(layer) => layer.read_now(scratch),
        }
    }

    /// Writes as much of `slices` as is taken now; at least one byte unless they are empty.
    ///
    /// A layer may hold what it took, transformed and within its bound, until [`poll_flush`](Self::poll_flush).
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is taken now: [`poll_write_ready`](Self::poll_write_ready) registers for the moment when it
    /// is worth another try. Else those of the socket.
    #[inline]
    pub fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            // One piece costs the kernel less by `send` than as a list of one.
            (Self::Tcp(socket), [slice]) => socket.try_write(slice),
            (Self::Tcp(socket), _) => socket.try_write_vectored(slices),
            #[cfg(unix)]
            (Self::Unix(socket), _) => socket.try_write_vectored(slices),
            #[cfg(feature = "quic")]
            (Self::Quic(layer), _) => layer.try_write_vectored(slices),
            (Self::Layered(layer), _) => layer.try_write_vectored(slices),
        }
    }

    /// Ready when another [`try_write_vectored`](Self::try_write_vectored) is worth it.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    #[inline]
    pub fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_ready(cx),
            #[cfg(unix)]
            Self::Unix(socket) => socket.poll_write_ready(cx),
            #[cfg(feature = "quic")]
            Self::Quic(layer) => layer.poll_write_ready(cx),
            Self::Layered(layer) => layer.poll_write_ready(cx),
        }
    }

    /// Ready when the socket has taken all that was written.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            #[cfg(unix)]
            Self::Unix(_) => Poll::Ready(Ok(())),
            #[cfg(feature = "quic")]
            Self::Quic(layer) => layer.poll_flush(cx),
            Self::Layered(layer) => layer.poll_flush(cx),
        }
    }

    /// Has the layers that have words for it say why nothing more comes. The first reason counts, and where none was
    /// given it is [`Farewell::Done`]. What is said is written by [`poll_flush`](Self::poll_flush) or
    /// [`poll_shutdown`](Self::poll_shutdown), behind which nothing can be written.
    pub fn say(&mut self, farewell: Farewell) {
        match self {
            Self::Tcp(_) => {}
            #[cfg(unix)]
            Self::Unix(_) => {}
            #[cfg(feature = "quic")]
            Self::Quic(layer) => layer.say(farewell),
            Self::Layered(layer) => layer.say(farewell),
        }
    }

    /// Flushes, says in each layer's way that nothing more comes, and shuts our side of the socket. The peer may still be
    /// read.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Poll::Ready(SockRef::from(&*socket).shutdown(Shutdown::Write)),
            #[cfg(unix)]
            Self::Unix(socket) => Poll::Ready(SockRef::from(&*socket).shutdown(Shutdown::Write)),
            #[cfg(feature = "quic")]
            Self::Quic(layer) => layer.poll_shutdown(cx),
            Self::Layered(layer) => layer.poll_shutdown(cx),
        }
    }

    /// [`poll_read`](Self::poll_read), for what is asked and answered before a client is let through.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, scratch)).await
    }

    /// [`poll_shutdown`](Self::poll_shutdown), for a client that is not let through.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    /// Writes and flushes all of `bytes`, for what is asked and answered before a client is let through.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        poll_fn(|cx| {
            while !rest.is_empty() {
                match self.try_write_vectored(&[IoSlice::new(rest)]) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(self.poll_write_ready(cx))?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            self.poll_flush(cx)
        })
        .await
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }
}

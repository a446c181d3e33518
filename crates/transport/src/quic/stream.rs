//! The stream of a QUIC connection.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use quinn::{Connection, ConnectionError, Incoming, ReadError, RecvStream, SendStream, WriteError};

use crate::stream::Layer;

/// Bytes that were written and that the connection has not taken.
const OUTGOING_BYTES_MAX: usize = 64 * 1024;

/// The stream of a QUIC connection, or a client that asks for one and has not been let in by a [`Door`](crate::Door) yet.
/// Nothing can be read of such a one or written to it; dropped, it is refused.
pub struct QuicStream {
    state: State,
}

#[expect(clippy::large_enum_variant, reason = "it is boxed already, and knocks for a moment only")]
enum State {
    Knocking(Knock),
    Open(Open),
    /// The handshake failed.
    Refused,
}

/// Who knocks.
pub(super) struct Knock {
    pub(super) incoming: Incoming,
    /// Held as long as the handshake is not over.
    pub(super) handshake: Arc<()>,
}

struct Open {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    /// What the connection has not taken; the first `sent` bytes it has.
    outgoing: Vec<u8>,
    sent: usize,
    /// Whether we said that nothing more comes.
    shut: bool,
    /// Who is to be woken when something arrives.
    reader: Option<Waker>,
}

impl fmt::Debug for QuicStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Knocking(_) => "Knocking",
            State::Open(_) => "Open",
            State::Refused => "Refused",
        };
        f.debug_tuple("QuicStream").field(&state).finish()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // What is on its way gets lost, as with a socket; whoever wants it to arrive shuts the stream first and waits for the
        // peer to close.
        self.connection.close(0_u32.into(), b"");
    }
}

impl QuicStream {
    pub(super) const fn knocking(incoming: Incoming, handshake: Arc<()>) -> Self {
        Self { state: State::Knocking(Knock { incoming, handshake }) }
    }

    pub(super) fn open(connection: Connection, send: SendStream, receive: RecvStream) -> Self {
        let open = Open {
            connection,
            send,
            receive,
            outgoing: Vec::new(),
            sent: 0,
            shut: false,
            reader: None,
        };
        Self { state: State::Open(open) }
    }

    /// Who knocks, once.
    pub(super) fn take_knock(&mut self) -> Option<Knock> {
        match std::mem::replace(&mut self.state, State::Refused) {
            State::Knocking(knock) => Some(knock),
            state @ (State::Open(_) | State::Refused) => {
                self.state = state;
                None
            }
        }
    }

    fn open_mut(&mut self) -> io::Result<&mut Open> {
        match &mut self.state {
            State::Open(open) => Ok(open),
            State::Knocking(_) | State::Refused => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Open {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = ready!(self.receive.poll_read(cx, scratch));
        Poll::Ready(match read {
            Ok(count) => Ok(count),
            // A client that closes its connection in peace has said all it had to say.
            Err(ReadError::ConnectionLost(ConnectionError::ApplicationClosed(_))) => Ok(0),
            Err(error) => Err(error.into()),
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.outgoing.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.send).poll_write(cx, rest));
            self.sent += written.map_err(|error: WriteError| io::Error::from(error))?;
        }
        self.outgoing = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl Layer for QuicStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let open = self.open_mut()?;
        let polled = open.poll_receive(cx, scratch);
        if polled.is_pending() && !open.reader.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
            open.reader = Some(cx.waker().clone());
        }
        polled
    }

    fn read_now(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let open = self.open_mut()?;
        // Looking takes the place of whoever is to be woken, so it is done in that one's name.
        let waker = open.reader.clone().unwrap_or_else(|| Waker::noop().clone());
        match open.poll_receive(&mut Context::from_waker(&waker), scratch) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Copies: what a connection takes it takes from a task that can be woken, which is asked by `poll_flush`.
    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let open = self.open_mut()?;
        if open.shut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut taken = 0;
        for slice in slices {
            let room = OUTGOING_BYTES_MAX.saturating_sub(open.outgoing.len());
            let piece = slice.get(..room.min(slice.len())).unwrap_or_default();
            open.outgoing.extend_from_slice(piece);
            taken += piece.len();
        }
        if taken == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(taken)
    }

    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open_mut()?.poll_send(cx)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open_mut()?.poll_send(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let open = self.open_mut()?;
        ready!(open.poll_send(cx))?;
        if !std::mem::replace(&mut open.shut, true) {
            // If the peer has stopped it already, nothing is left to say.
            let _ = open.send.finish();
        }
        Poll::Ready(Ok(()))
    }
}

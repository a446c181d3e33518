//! A TLS session that is past its handshake: a stream over another stream.
//!
//! Idle, it owns no buffer: records are read into memory of the thread and decrypted there. It keeps only the beginning of a
//! record whose end has not arrived, and what its socket has not taken.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use rustls::server::UnbufferedServerConnection;

use crate::stream::{Layer, Stream};

use super::records::{self, Pumped, RECORD_BYTES};

/// Bytes of records that are read at once, what was kept of the last read included.
const READ_BYTES: usize = 128 * 1024;
/// Bytes that a read asks for at least, however little room there is for what comes of them.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Plain bytes that one write takes at most.
const WRITE_BYTES: usize = 64 * 1024;
/// Bytes of one kept buffer of a thread; a larger one is given back to the system.
const KEPT_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    /// What a thread lends to the session whose turn it is.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::EMPTY) };
}

struct Scratch {
    /// Records that arrive. It keeps its length, so that it is not filled with zeros for each read.
    incoming: Vec<u8>,
    /// Records that leave.
    outgoing: Vec<u8>,
    /// Small pieces that become one record.
    gathered: Vec<u8>,
}

impl Scratch {
    const EMPTY: Self = Self { incoming: Vec::new(), outgoing: Vec::new(), gathered: Vec::new() };

    fn lend() -> Self {
        SCRATCH.with(|place| std::mem::replace(&mut *place.borrow_mut(), Self::EMPTY))
    }

    fn give_back(self) {
        let largest = self.incoming.capacity().max(self.outgoing.capacity());
        if largest <= KEPT_BYTES_MAX {
            SCRATCH.with(|place| *place.borrow_mut() = self);
        }
    }
}

/// A TLS session over a stream.
pub(super) struct Session {
    below: Stream,
    machine: UnbufferedServerConnection,
    /// Records that are not complete, at most one or so.
    incoming: Vec<u8>,
    plain: Plain,
    /// Records that the stream below has not taken; the first `sent` bytes it has.
    outgoing: Vec<u8>,
    sent: usize,
    state: State,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Nothing more can be read.
    ended: bool,
    /// We said that nothing more comes.
    shut: bool,
    /// What the peer sent breaks the protocol: what came before it is read, then this.
    broken: Option<Box<rustls::Error>>,
}

/// Plain bytes that a reader had no room for: at most what one read of records holds.
#[derive(Default)]
struct Plain {
    bytes: Vec<u8>,
    at: usize,
}

impl Plain {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Moves what is there to `scratch`.
    fn fill(&mut self, scratch: &mut [u8]) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = copy(rest, scratch);
        self.at += count;
        if self.at == self.bytes.len() {
            *self = Self::default();
        }
        count
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..count), to.get_mut(..count)) {
        to.copy_from_slice(from);
    }
    count
}

/// Whether what could not be written now can be later.
fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("below", &self.below)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session whose handshake is to come. `incoming` was read of the stream already.
    pub(super) fn new(
        below: Stream,
        machine: UnbufferedServerConnection,
        incoming: Vec<u8>,
    ) -> Self {
        let (plain, state) = (Plain::default(), State::default());
        Self { below, machine, incoming, plain, outgoing: Vec::new(), sent: 0, state }
    }

    pub(super) const fn machine(&self) -> &UnbufferedServerConnection {
        &self.machine
    }

    pub(super) fn incoming(&self) -> &[u8] {
        &self.incoming
    }

    /// Takes in the records that have arrived, as far as they are complete.
    pub(super) fn advance(&mut self) -> Result<(), rustls::Error> {
        let Self { machine, incoming, plain, outgoing, .. } = self;
        let pumped = records::pump(machine, incoming, outgoing, |bytes| plain.add(bytes));
        self.consumed(pumped)
    }

    /// Reads more records, at most `bytes_max`; 0 is the end of the stream below.
    pub(super) async fn read_records(&mut self, bytes_max: usize) -> io::Result<usize> {
        let before = self.incoming.len();
        self.incoming.resize(before + bytes_max, 0);
        let place = self.incoming.get_mut(before..).unwrap_or_default();
        let count = self.below.read(place).await;
        self.incoming.truncate(before + *count.as_ref().unwrap_or(&0));
        count
    }

    /// Forgets records that nobody will take in.
    pub(super) fn discard_records(&mut self) {
        self.incoming = Vec::new();
    }

    /// The peer broke the protocol: nothing of it is taken in any more.
    fn fail(&mut self, error: &rustls::Error) {
        self.incoming = Vec::new();
        self.state.broken = Some(Box::new(error.clone()));
    }

    /// One round: what is there already, else what `fetch` gets from the stream below.
    fn read_with(
        &mut self,
        scratch: &mut [u8],
        mut fetch: impl FnMut(&mut Stream, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let count = self.plain.fill(scratch);
            if count > 0 || scratch.is_empty() {
                return Poll::Ready(Ok(count));
            }
            if let Some(error) = &self.state.broken {
                return Poll::Ready(Err(records::broken((**error).clone())));
            }
            if self.state.ended {
                return Poll::Ready(Ok(0));
            }
            let mut lent = Scratch::lend();
            let outcome = self.read_once(&mut lent.incoming, scratch, &mut fetch);
            lent.give_back();
            match ready!(outcome)? {
                0 => {}
                count => return Poll::Ready(Ok(count)),
            }
        }
    }

    /// Reads records once. How many plain bytes came of them; 0 if none did or there is nothing more to read.
    fn read_once(
        &mut self,
        buffer: &mut Vec<u8>,
        scratch: &mut [u8],
        fetch: &mut impl FnMut(&mut Stream, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let kept = self.incoming.len();
        // What was kept may be more than a record only while a message of the handshake's kind is spread over several.
        let wanted = READ_BYTES.max(kept + READ_BYTES_MIN);
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        copy(&self.incoming, buffer);
        let room = scratch.len().max(READ_BYTES_MIN);
        let end = buffer.len().min(kept + room);
        let place = buffer.get_mut(kept..end).unwrap_or_default();
        let count = ready!(fetch(&mut self.below, place))?;
        if count == 0 {
            // Without a word that nothing more comes. MQTT's packets have their lengths, so nothing can be cut off unnoticed.
            self.state.ended = true;
            return Poll::Ready(Ok(0));
        }
        let arrived = buffer.get_mut(..kept + count).unwrap_or_default();
        let mut filled = 0;
        let Self { machine, plain, outgoing, .. } = self;
        let pumped = records::pump(machine, arrived, outgoing, |bytes| {
            let now = copy(bytes, scratch.get_mut(filled..).unwrap_or_default());
            filled += now;
            plain.add(bytes.get(now..).unwrap_or_default());
        });
        match pumped {
            Ok(pumped) => {
                self.state.ended |= pumped.ended;
                let rest = arrived.get(pumped.used..).filter(|_| !self.state.ended);
                self.incoming = rest.unwrap_or_default().to_vec();
            }
            Err(error) => self.fail(&error),
        }
        Poll::Ready(Ok(filled))
    }

    /// Sends what waits; `WouldBlock` if not all of it was taken.
    fn send(&mut self) -> io::Result<()> {
        while let Some(rest) = self.outgoing.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.below.try_write_vectored(&[IoSlice::new(rest)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outgoing = Vec::new();
        self.sent = 0;
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.send() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.below.poll_write_ready(cx))?;
                }
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Encrypts what comes next of `slices` behind `outgoing`; how many bytes of them.
    fn encrypt(
        &mut self,
        slices: &[IoSlice<'_>],
        gathered: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<usize, rustls::Error> {
        let mut taken = 0;
        for slice in slices {
            let mut rest: &[u8] = slice;
            rest = rest.get(..(WRITE_BYTES - taken).min(rest.len())).unwrap_or_default();
            taken += rest.len();
            // Many small pieces become one record, and a large one is not copied.
            if gathered.len() + rest.len() >= RECORD_BYTES && !gathered.is_empty() {
                let fitting = rest.len().min(RECORD_BYTES - gathered.len());
                let (now, later) = rest.split_at_checked(fitting).unwrap_or((rest, &[]));
                gathered.extend_from_slice(now);
                self.encrypt_piece(gathered, outgoing)?;
                gathered.clear();
                rest = later;
            }
            let whole = rest.len() - rest.len() % RECORD_BYTES;
            let (now, later) = rest.split_at_checked(whole).unwrap_or((rest, &[]));
            if !now.is_empty() {
                self.encrypt_piece(now, outgoing)?;
            }
            gathered.extend_from_slice(later);
            if taken == WRITE_BYTES {
                break;
            }
        }
        if !gathered.is_empty() {
            self.encrypt_piece(gathered, outgoing)?;
        }
        Ok(taken)
    }

    fn encrypt_piece(&mut self, bytes: &[u8], outgoing: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let Self { machine, incoming, plain, .. } = self;
        let pumped = records::encrypt(machine, incoming, outgoing, |bytes| plain.add(bytes), bytes);
        self.consumed(pumped)
    }

    /// What the machine has made of what was kept.
    fn consumed(&mut self, pumped: Result<Pumped, rustls::Error>) -> Result<(), rustls::Error> {
        match pumped {
            Ok(Pumped { used, ended }) => {
                self.state.ended |= ended;
                if used >= self.incoming.len() || self.state.ended {
                    self.incoming = Vec::new();
                } else {
                    self.incoming.drain(..used);
                }
                Ok(())
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }
}

impl Layer for Session {
    fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = self.read_with(scratch, |below, place| below.poll_read(cx, place));
        if !self.outgoing.is_empty() {
            // An alert, or an answer to new keys. If it cannot be sent, the next write will say so.
            let _ = self.poll_send(cx);
        }
        polled
    }

    fn read_now(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let polled = self.read_with(scratch, |below, place| Poll::Ready(below.read_now(place)));
        match polled {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.state.shut || self.state.broken.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // One write's worth waits at the most.
        self.send()?;
        let mut lent = Scratch::lend();
        let Scratch { outgoing, gathered, .. } = &mut lent;
        outgoing.clear();
        gathered.clear();
        let outcome = match self.encrypt(slices, gathered, outgoing) {
            Ok(taken) => match self.below.try_write_vectored(&[IoSlice::new(outgoing)]) {
                Ok(sent) => {
                    self.outgoing = outgoing.get(sent..).unwrap_or_default().to_vec();
                    Ok(taken)
                }
                Err(error) if is_for_later(&error) => {
                    self.outgoing.clone_from(outgoing);
                    Ok(taken)
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(records::broken(error)),
        };
        lent.give_back();
        outcome
    }

    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.below.poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.state.shut && self.state.broken.is_none() {
            self.state.shut = true;
            let Self { machine, incoming, plain, outgoing, .. } = self;
            // What cannot be said any more does not keep the socket from being shut.
            let closed = records::close(machine, incoming, outgoing, |bytes| plain.add(bytes));
            let _ = self.consumed(closed);
        }
        ready!(self.poll_flush(cx))?;
        self.below.poll_shutdown(cx)
    }
}

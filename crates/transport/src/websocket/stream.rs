//! A WebSocket as a layer over another stream.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll, ready};

use super::{CloseCode, End, FrameViolation, Framer, Outgoing};
use crate::stream::{Farewell, Layer, Stream};

/// Pieces that are given to the stream below in one call, besides the head.
const SLICES_MAX: usize = 64;
/// Reads in one call that bring no plain byte; then others have their turn.
const READS_MAX: usize = 4;

/// A stream of MQTT bytes within the binary messages of a WebSocket. It buffers nothing: bytes are unmasked where the
/// caller has them read to, and written from where they are.
#[derive(Debug)]
pub(super) struct WebSocket {
    below: Stream,
    framer: Framer,
    /// Whether the caller knows why nothing more comes.
    told: bool,
}

impl WebSocket {
    pub(super) const fn new(below: Stream, framer: Framer) -> Self {
        Self { below, framer, told: false }
    }

    /// What a read of the stream below brought; `None` if that was nothing for the caller.
    fn received(&mut self, bytes: &mut [u8]) -> Option<io::Result<usize>> {
        if bytes.is_empty() {
            return Some(Ok(0));
        }
        let received = self.framer.receive(bytes);
        if received.plain > 0 {
            return Some(Ok(received.plain));
        }
        self.end()
    }

    /// How the stream has ended, if it has. A violation is told once; then what else arrives is thrown away, so that the
    /// peer may read our close frame before the socket is gone.
    fn end(&mut self) -> Option<io::Result<usize>> {
        match self.framer.end()? {
            End::Closed(_) => Some(Ok(0)),
            End::Violated(_) if self.told => None,
            End::Violated(violation) => {
                self.told = true;
                Some(Err(io::Error::new(ErrorKind::InvalidData, violation)))
            }
        }
    }

    /// Writes pongs and close frames as far as they are taken now.
    fn write_control(&mut self) -> io::Result<()> {
        while self.framer.has_control() {
            let Some(Outgoing::Control(frame)) = self.framer.outgoing(0) else { break };
            let written = at_least_one(self.below.try_write_vectored(&[IoSlice::new(frame)]))?;
            self.framer.wrote(written);
        }
        Ok(())
    }

    /// Ready when all control frames are with the socket.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.framer.has_control() {
            return Poll::Ready(Ok(()));
        }
        loop {
            match self.write_control() {
                Ok(()) => return self.below.poll_flush(cx),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.below.poll_write_ready(cx))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Layer for WebSocket {
    fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        for _ in 0..READS_MAX {
            // If it fails, so does what the caller does next; what has arrived is read all the same.
            let _ = self.poll_control(cx);
            if let Some(end) = self.end() {
                return Poll::Ready(end);
            }
            let count = ready!(self.below.poll_read(cx, scratch))?;
            let received = self.received(scratch.get_mut(..count).unwrap_or_default());
            let _ = self.poll_control(cx);
            if let Some(received) = received {
                return Poll::Ready(received);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn read_now(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        for _ in 0..READS_MAX {
            if let Some(end) = self.end() {
                return end;
            }
            let count = self.below.read_now(scratch)?;
            if let Some(received) = self.received(scratch.get_mut(..count).unwrap_or_default()) {
                return received;
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_control()?;
        let slices = slices.get(..SLICES_MAX).unwrap_or(slices);
        let total = slices.iter().map(|slice| slice.len()).sum();
        loop {
            match self.framer.outgoing(total) {
                Some(Outgoing::Control(frame)) => {
                    let frame = IoSlice::new(frame);
                    let written = at_least_one(self.below.try_write_vectored(&[frame]))?;
                    self.framer.wrote(written);
                }
                Some(Outgoing::Data { head, plain }) => {
                    let mut framed = [IoSlice::new(&[]); SLICES_MAX + 1];
                    let count = frame(head, slices, plain, &mut framed);
                    let framed = framed.get(..count).unwrap_or_default();
                    let written = at_least_one(self.below.try_write_vectored(framed))?;
                    let taken = self.framer.wrote(written);
                    // Where only some of the head was taken, the next try says that there is no more room.
                    if taken > 0 || plain == 0 {
                        return Ok(taken);
                    }
                }
                None if total == 0 => return Ok(0),
                // Our close frame is out.
                None => return Err(ErrorKind::BrokenPipe.into()),
            }
        }
    }

    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_write_ready(cx)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_control(cx))?;
        self.below.poll_flush(cx)
    }

    fn say(&mut self, farewell: Farewell) {
        self.framer.close(match farewell {
            Farewell::Done => CloseCode::Normal,
            Farewell::GoingAway => CloseCode::GoingAway,
            Farewell::ProtocolError => CloseCode::ProtocolError,
            Farewell::Refused => CloseCode::Policy,
            Farewell::TooBig => CloseCode::TooBig,
            Farewell::Failed => CloseCode::Internal,
        });
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Where a frame was begun whose end will not come, no close frame can be sent.
        self.say(Farewell::Done);
        ready!(self.poll_control(cx))?;
        self.below.poll_shutdown(cx)
    }
}

/// Puts a head and the first `plain` bytes of the slices together, and says how many slices that makes.
fn frame<'a>(
    head: &'a [u8],
    slices: &'a [IoSlice<'_>],
    plain: usize,
    framed: &mut [IoSlice<'a>; SLICES_MAX + 1],
) -> usize {
    let mut rest = plain;
    let pieces = slices.iter().map(|slice| {
        let piece = slice.get(..rest).unwrap_or(slice);
        rest -= piece.len();
        piece
    });
    let pieces = std::iter::once(head).chain(pieces).filter(|piece| !piece.is_empty());
    let mut count = 0;
    for (place, piece) in framed.iter_mut().zip(pieces) {
        *place = IoSlice::new(piece);
        count += 1;
    }
    count
}

/// A write that takes nothing of something, and does not say why, would be tried for ever.
fn at_least_one(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        written => written,
    }
}

/// The rule of a WebSocket that the client broke, if that is why a read failed.
#[must_use]
pub fn violation(error: &io::Error) -> Option<FrameViolation> {
    error.get_ref()?.downcast_ref().copied()
}

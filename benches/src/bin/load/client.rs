//! One client's connection: what it has to write, and what it has read of a packet that is not complete.

use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;

use dunlin_benches::stream::read_behind;
use dunlin_benches::wire::DISCONNECT;
use mio::net::TcpStream;

use crate::ledger::Ledger;
use crate::publisher::Publisher;

/// What a write came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Written {
    All,
    /// The socket is full: an event says when it is not.
    Blocked,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// The beginning of a packet.
    pub(crate) carry: Vec<u8>,
    /// Acknowledgements and other small packets.
    pub(crate) out: Vec<u8>,
    written: usize,
    pub(crate) publisher: Option<Publisher>,
    pub(crate) ledger: Ledger,
    pub(crate) group: Option<usize>,
    pub(crate) closed: bool,
    /// Whether the socket took all that it got.
    pub(crate) writable: bool,
    /// Whether it stands in the queue of those that have something to write, or to read.
    pub(crate) to_write: bool,
    pub(crate) to_read: bool,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            carry: Vec::new(),
            out: Vec::new(),
            written: 0,
            publisher: None,
            ledger: Ledger::default(),
            group: None,
            closed: false,
            writable: true,
            to_write: false,
            to_read: false,
        }
    }

    pub(crate) fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Says goodbye; nothing more is read.
    pub(crate) fn leave(&mut self) {
        self.out.extend(DISCONNECT);
        self.flush();
        self.closed = true;
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Writes what is begun, then the small packets. Nothing may come between the parts of a packet, so that a block goes
    /// first if it is begun.
    pub(crate) fn flush(&mut self) -> Written {
        let outcome = self.write();
        self.writable = outcome == Written::All;
        self.closed |= outcome == Written::Closed;
        outcome
    }

    fn write(&mut self) -> Written {
        // Small packets that are begun wait for nothing; no block is begun while they are.
        if self.written == 0
            && let Some(publisher) = &mut self.publisher
        {
            while !publisher.unwritten().is_empty() {
                match attempt(self.stream.write(publisher.unwritten())) {
                    Ok(count) => publisher.wrote(count),
                    Err(outcome) => return outcome,
                }
            }
        }
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match attempt(self.stream.write(rest)) {
                Ok(count) => self.written += count,
                Err(outcome) => return outcome,
            }
        }
        self.out.clear();
        self.written = 0;
        Written::All
    }

    /// Reads once behind what is carried over, into a buffer that has room for it. The bytes that are there then, and
    /// whether there may be more to read.
    pub(crate) fn read<'b>(&mut self, buffer: &'b mut [u8]) -> (&'b [u8], bool) {
        let taken = read_behind(&mut self.stream, &mut self.carry, buffer);
        self.closed |= taken.closed;
        (taken.bytes, taken.more)
    }
}

fn attempt(outcome: io::Result<usize>) -> Result<usize, Written> {
    match outcome {
        Ok(0) => Err(Written::Closed),
        Ok(count) => Ok(count),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Written::Blocked),
        Err(_) => Err(Written::Closed),
    }
}

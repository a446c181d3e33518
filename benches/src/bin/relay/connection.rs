//! One client's socket, with what it has not taken yet.

use std::io::{ErrorKind, Write};

use dunlin_benches::stream::read_behind;
use dunlin_benches::wire::Version;
use mio::net::TcpStream;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) version: Version,
    /// The beginning of a packet.
    pub(crate) carry: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    /// Whom its messages go to, once the first has come.
    pub(crate) targets: Option<Vec<usize>>,
    /// Whose messages it got last.
    pub(crate) source: Option<usize>,
    /// Those that are not read until it has taken all.
    pub(crate) waiting: Vec<usize>,
    pub(crate) to_read: bool,
    pub(crate) closed: bool,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            version: Version::V3_1_1,
            carry: Vec::new(),
            out: Vec::new(),
            written: 0,
            targets: None,
            source: None,
            waiting: Vec::new(),
            to_read: false,
            closed: false,
        }
    }

    /// Whether it has not taken all that it got.
    pub(crate) fn is_full(&self) -> bool {
        !self.out.is_empty() && !self.closed
    }

    /// Writes what it takes, and keeps the rest.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.out.is_empty() && !rest.is_empty() && !self.closed {
            match self.stream.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.closed = true,
            }
        }
        if !self.closed {
            self.out.extend_from_slice(rest);
        }
    }

    /// Goes on with what was kept.
    pub(crate) fn flush(&mut self) {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.out.clear();
        self.written = 0;
    }

    /// Reads once behind what is carried over. The bytes that are there then, and whether there may be more to read.
    pub(crate) fn read<'b>(&mut self, buffer: &'b mut [u8]) -> (&'b [u8], bool) {
        let taken = read_behind(&mut self.stream, &mut self.carry, buffer);
        self.closed |= taken.closed;
        (taken.bytes, taken.more)
    }
}

//! Accepts, reads and passes on.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;

use dunlin_benches::wire::{Frame, first, split};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use crate::answers;
use crate::connection::Connection;

/// Bytes of one read at the most.
const READ: usize = 256 * 1024;

const LISTENER: Token = Token(usize::MAX - 1);

/// Where packets go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// To those who subscribed.
    Targets,
    /// To the publisher.
    Source,
    /// Nowhere: the relay answers.
    Answer,
}

impl Way {
    fn of(first: u8) -> Self {
        match first & 0xf0 {
            0x30 | 0x60 => Self::Targets,
            first::PUBACK | first::PUBREC | first::PUBCOMP => Self::Source,
            _ => Self::Answer,
        }
    }
}

pub(crate) struct Relay {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    /// A place is not taken again: there are as many as a run has clients.
    connections: Vec<Option<Connection>>,
    subscribers: HashMap<Vec<u8>, Vec<usize>>,
    readers: VecDeque<usize>,
    buffer: Vec<u8>,
}

impl Relay {
    pub(crate) fn listen(address: SocketAddr) -> Outcome<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            listener,
            connections: Vec::new(),
            subscribers: HashMap::new(),
            readers: VecDeque::new(),
            buffer: vec![0; READ],
        })
    }

    pub(crate) fn address(&self) -> Outcome<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    pub(crate) fn turn(&mut self) -> Outcome<()> {
        let wait = if self.readers.is_empty() { None } else { Some(std::time::Duration::ZERO) };
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            outcome => outcome?,
        }
        let mut accept = false;
        for event in &self.events {
            let Token(index) = event.token();
            accept |= event.token() == LISTENER;
            let Some(Some(connection)) = self.connections.get_mut(index) else { continue };
            if event.is_writable() {
                connection.flush();
                if !connection.is_full() {
                    let waiting = std::mem::take(&mut connection.waiting);
                    self.readers.extend(waiting);
                }
            }
            if event.is_readable() || event.is_read_closed() {
                connection.to_read = true;
                self.readers.push_back(index);
            }
        }
        if accept {
            self.accept()?;
        }
        for _ in 0..self.readers.len() {
            let Some(index) = self.readers.pop_front() else { break };
            self.read(index);
        }
        Ok(())
    }

    fn accept(&mut self) -> Outcome<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client has left.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error.into()),
            };
            // If it has left, reading says so.
            let _ = stream.set_nodelay(true);
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(self.connections.len());
            self.poll.registry().register(&mut stream, token, interest)?;
            self.connections.push(Some(Connection::new(stream)));
        }
    }

    /// Reads once, unless somebody whom it goes to is full.
    fn read(&mut self, index: usize) {
        let Some(slot) = self.connections.get_mut(index) else { return };
        // Out of its place while it is read, so that the others can be written to.
        let Some(mut connection) = slot.take_if(|connection| connection.to_read) else { return };
        if let Some(full) = self.full_target(&connection, index) {
            if let Some(Some(target)) = self.connections.get_mut(full) {
                target.waiting.push(index);
            }
            self.put(index, connection);
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let (bytes, more) = connection.read(&mut buffer);
        connection.to_read = more;
        self.pass(index, &mut connection, bytes);
        self.buffer = buffer;
        if more {
            self.readers.push_back(index);
        }
        self.put(index, connection);
    }

    /// Back into its place; one that is closed is gone.
    fn put(&mut self, index: usize, connection: Connection) {
        if connection.closed {
            // Those that wait for it need not any more.
            self.readers.extend(&connection.waiting);
            return;
        }
        if let Some(slot) = self.connections.get_mut(index) {
            *slot = Some(connection);
        }
    }

    fn full_target(&self, connection: &Connection, index: usize) -> Option<usize> {
        let full = |target: &usize| {
            *target != index
                && self
                    .connections
                    .get(*target)
                    .is_some_and(|target| target.as_ref().is_some_and(Connection::is_full))
        };
        let source = connection.source.iter();
        connection.targets.iter().flatten().chain(source).copied().find(full)
    }

    /// Consecutive packets with the same way go on as one run of bytes.
    fn pass(&mut self, index: usize, connection: &mut Connection, bytes: &[u8]) {
        let (mut run, mut way) = (0, Way::Answer);
        let mut rest = bytes;
        while let Ok(Some((frame, after))) = split(rest) {
            let start = bytes.len() - rest.len();
            let next = Way::of(frame.first);
            if next != way || next == Way::Answer {
                self.send_on(index, connection, way, bytes.get(run..start).unwrap_or_default());
                (run, way) = (start, next);
            }
            match next {
                Way::Targets if connection.targets.is_none() => {
                    connection.targets = Some(self.targets(index, frame));
                }
                Way::Answer => {
                    self.answer(index, connection, frame);
                    run = bytes.len() - after.len();
                }
                Way::Targets | Way::Source => {}
            }
            rest = after;
        }
        let end = bytes.len() - rest.len();
        self.send_on(index, connection, way, bytes.get(run..end).unwrap_or_default());
        connection.carry.extend_from_slice(rest);
    }

    /// Whom a publisher's messages go to, and to whom they say whose they are.
    fn targets(&mut self, index: usize, first: Frame<'_>) -> Vec<usize> {
        let topic = answers::topic(first).unwrap_or_default();
        let targets = self.subscribers.get(topic).cloned().unwrap_or_default();
        for target in &targets {
            if let Some(Some(target)) = self.connections.get_mut(*target) {
                target.source = Some(index);
            }
        }
        targets
    }

    fn send_on(&mut self, index: usize, connection: &mut Connection, way: Way, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (targets, source) = match way {
            Way::Targets => (connection.targets.as_deref().unwrap_or_default(), None),
            Way::Source => (&[][..], connection.source),
            Way::Answer => return,
        };
        // One that subscribed to its own topic is not in its place now.
        let itself = targets.contains(&index);
        for target in targets.iter().chain(&source) {
            if let Some(Some(target)) = self.connections.get_mut(*target) {
                target.send(bytes);
            }
        }
        if itself {
            connection.send(bytes);
        }
    }

    fn answer(&mut self, index: usize, connection: &mut Connection, frame: Frame<'_>) {
        match frame.first {
            first::CONNECT => {
                connection.version = answers::version(frame.body);
                connection.send(answers::connack(connection.version));
            }
            first::SUBSCRIBE => match answers::suback(connection.version, frame.body) {
                Some((answer, filters)) => {
                    for filter in filters {
                        self.subscribers.entry(filter).or_default().push(index);
                    }
                    connection.send(&answer);
                }
                None => connection.closed = true,
            },
            first::PINGREQ => connection.send(&[first::PINGRESP, 0]),
            _ => connection.closed = true,
        }
    }
}

//! Clients that connect beside each other, as fast as the broker lets them in.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use dunlin_benches::wire::{DISCONNECT, Version, connect, first, split, subscribe};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::Outcome;
use crate::handshake::read_connack;
use crate::options::Options;

/// What becomes of a client that the broker has let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Then {
    /// It subscribes and stays.
    Subscribe,
    /// It leaves at once.
    Leave,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Connecting,
    AwaitsConnack,
    AwaitsSuback,
    Served,
}

#[derive(Debug)]
struct Dialled {
    stream: TcpStream,
    stage: Stage,
    received: Vec<u8>,
    number: u64,
}

#[derive(Debug)]
pub(crate) struct Dialer {
    broker: SocketAddr,
    version: Version,
    then: Then,
    prefix: &'static str,
    /// The token of the first.
    base: usize,
    clients: Vec<Option<Dialled>>,
    free: Vec<usize>,
    begun: u64,
    /// Those that got what they wanted, and those that did not.
    pub(crate) served: u64,
    pub(crate) failed: u64,
}

impl Dialer {
    pub(crate) fn new(options: &Options, then: Then, prefix: &'static str, base: usize) -> Self {
        Self {
            broker: options.broker,
            version: options.version,
            then,
            prefix,
            base,
            clients: Vec::new(),
            free: Vec::new(),
            begun: 0,
            served: 0,
            failed: 0,
        }
    }

    /// Those that are neither served nor failed.
    pub(crate) fn outstanding(&self) -> u64 {
        self.begun - self.served - self.failed
    }

    /// Begins one.
    pub(crate) fn dial(&mut self, registry: &Registry) -> Outcome<()> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        let mut stream = TcpStream::connect(self.broker)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(self.base + place), interest)?;
        self.begun += 1;
        let number = self.begun;
        let dialled = Dialled { stream, stage: Stage::Connecting, received: Vec::new(), number };
        if let Some(slot) = self.clients.get_mut(place) {
            *slot = Some(dialled);
        }
        Ok(())
    }

    /// Takes an event of one of them; others are left alone.
    pub(crate) fn event(&mut self, registry: &Registry, token: Token) -> Outcome<()> {
        let Some(place) = token.0.checked_sub(self.base) else { return Ok(()) };
        let Some(slot) = self.clients.get_mut(place) else { return Ok(()) };
        let Some(client) = slot else { return Ok(()) };
        let was = client.stage;
        let kept = client.go_on(self.version, self.prefix, self.then);
        match (was, kept) {
            // One that was served and that the broker closes later is another matter: the broker's memory tells.
            (Stage::Served, _) | (_, Ok(false)) => return Ok(()),
            (_, Ok(true)) => self.served += 1,
            (_, Err(())) => self.failed += 1,
        }
        if kept.is_err() || self.then == Then::Leave {
            if let Some(mut client) = slot.take() {
                registry.deregister(&mut client.stream)?;
            }
            self.free.push(place);
        }
        Ok(())
    }
}

impl Dialled {
    /// Does what can be done now. Whether it is served.
    fn go_on(&mut self, version: Version, prefix: &str, then: Then) -> Result<bool, ()> {
        let name = format!("{prefix}-{:07}", self.number);
        if self.stage == Stage::Connecting {
            if self.stream.take_error().map_err(drop)?.is_some() {
                return Err(());
            }
            if self.stream.peer_addr().is_err() {
                return Ok(false);
            }
            // A failure shows when it is written to.
            let _ = self.stream.set_nodelay(true);
            self.say(&connect(version, &name, false))?;
            self.stage = Stage::AwaitsConnack;
        }
        self.read()?;
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        while let Some((frame, after)) = split(rest).map_err(drop)? {
            rest = after;
            match (self.stage, frame.first, then) {
                (Stage::AwaitsConnack, first::CONNACK, _) => {
                    read_connack(version, frame.body).map_err(drop)?;
                    if then == Then::Leave {
                        self.say(&DISCONNECT)?;
                        self.stage = Stage::Served;
                        return Ok(true);
                    }
                    self.say(&subscribe(version, 1, &[format!("{prefix}/{name}")], 0))?;
                    self.stage = Stage::AwaitsSuback;
                }
                (Stage::AwaitsSuback, first::SUBACK, _) if frame.body.last() == Some(&0) => {
                    self.stage = Stage::Served;
                    return Ok(true);
                }
                _ => return Err(()),
            }
        }
        self.received = rest.to_vec();
        Ok(false)
    }

    /// The few bytes of a handshake always find room in a socket.
    fn say(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.stream.write_all(bytes).map_err(drop)
    }

    fn read(&mut self) -> Result<(), ()> {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(()),
                Ok(count) => self.received.extend(buffer.iter().take(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(()),
            }
        }
    }
}

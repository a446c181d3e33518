//! What goes on beside the messages: wildcard subscriptions that come and go, and clients that connect and leave.

use std::io::{ErrorKind, Read, Write};

use dunlin_benches::wire::{first, split, subscribe, unsubscribe};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::Outcome;
use crate::dialer::{Dialer, Then};
use crate::handshake;
use crate::options::Options;
use crate::publisher::nanos;

/// Tokens of the clients that subscribe, and of those that connect.
const SUBSCRIBERS: usize = 1 << 40;
const CONNECTS: usize = 1 << 41;

/// Clients that subscribe in turn.
const CLIENTS: usize = 20;

/// Of each kind: what the broker has not answered. Beyond it no more is begun, so that a rate is not reached.
const OUTSTANDING: u64 = 1_000;

pub(crate) struct Churn {
    options: Options,
    subscribers: Vec<Subscriber>,
    dialer: Dialer,
    start: u64,
    /// Turns that are over: each is one SUBSCRIBE, one UNSUBSCRIBE and one connect.
    begun: u64,
    /// SUBACKs and UNSUBACKs.
    pub(crate) answered: u64,
    asked: u64,
    pub(crate) refused: u64,
}

struct Subscriber {
    stream: TcpStream,
    out: Vec<u8>,
    received: Vec<u8>,
}

impl Churn {
    pub(crate) fn open(options: &Options, registry: &Registry, now: u64) -> Outcome<Self> {
        let mut subscribers = Vec::new();
        for number in 0..CLIENTS {
            let opened = handshake::open(options, &format!("churn-{number:02}"), false, &[])?;
            let mut stream = opened.stream;
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, Token(SUBSCRIBERS + number), interest)?;
            subscribers.push(Subscriber { stream, out: Vec::new(), received: Vec::new() });
        }
        Ok(Self {
            options: options.clone(),
            subscribers,
            dialer: Dialer::new(options, Then::Leave, "churns", CONNECTS),
            start: now,
            begun: 0,
            answered: 0,
            asked: 0,
            refused: 0,
        })
    }

    pub(crate) fn connects(&self) -> u64 {
        self.dialer.served
    }

    pub(crate) fn failed(&self) -> u64 {
        self.dialer.failed + self.refused
    }

    /// Begins what is due.
    pub(crate) fn turn(&mut self, registry: &Registry, now: u64) -> Outcome<()> {
        while self.start + nanos(self.begun, self.options.churn) <= now {
            let round = self.begun;
            self.begun += 1;
            if self.dialer.outstanding() < OUTSTANDING {
                self.dialer.dial(registry)?;
            }
            if self.asked - self.answered < OUTSTANDING {
                self.subscribe(round);
            }
        }
        Ok(())
    }

    /// A filter comes and the one of the round before goes, on each client in turn.
    fn subscribe(&mut self, round: u64) {
        let clients = u64::try_from(CLIENTS).unwrap_or(1);
        let index = usize::try_from(round % clients).unwrap_or_default();
        let Some(subscriber) = self.subscribers.get_mut(index) else { return };
        let filter = |round: u64| format!("churn/{:05}/+/{}/#", round % 100_000, round % 7);
        let id = |number: u64| u16::try_from(number % 30_000 + 1).unwrap_or(1);
        let round = round / clients;
        let (version, qos) = (self.options.version, self.options.qos);
        subscriber.out.extend(subscribe(version, id(2 * round), &[filter(round)], qos));
        self.asked += 1;
        if let Some(before) = round.checked_sub(1) {
            subscriber.out.extend(unsubscribe(version, id(2 * round + 1), &filter(before)));
            self.asked += 1;
        }
        subscriber.flush();
    }

    pub(crate) fn event(&mut self, registry: &Registry, token: Token) -> Outcome<()> {
        if token.0 >= CONNECTS {
            return self.dialer.event(registry, token);
        }
        let place = token.0.checked_sub(SUBSCRIBERS);
        if let Some(subscriber) = place.and_then(|place| self.subscribers.get_mut(place)) {
            subscriber.flush();
            let (answered, refused) = subscriber.read();
            self.answered += answered;
            self.refused += refused;
        }
        Ok(())
    }
}

impl Subscriber {
    fn flush(&mut self) {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // An event comes when there is room; a connection that is closed shows in the rate.
                Err(_) => return,
            }
        }
    }

    /// SUBACKs and UNSUBACKs, and how many of them refuse.
    fn read(&mut self) -> (u64, u64) {
        let mut buffer = [0; 4096];
        let (mut answered, mut refused) = (0, 0);
        while let Ok(count @ 1..) = self.stream.read(&mut buffer) {
            self.received.extend(buffer.iter().take(count));
            let received = std::mem::take(&mut self.received);
            let mut rest = received.as_slice();
            while let Ok(Some((frame, after))) = split(rest) {
                rest = after;
                let answer = matches!(frame.first, first::SUBACK | first::UNSUBACK);
                let code = frame.body.last().copied().unwrap_or_default();
                answered += u64::from(answer);
                // An UNSUBACK of 3.1.1 ends with its identifier.
                refused += u64::from(frame.first == first::SUBACK && code >= 0x80);
            }
            self.received = rest.to_vec();
        }
        (answered, refused)
    }
}

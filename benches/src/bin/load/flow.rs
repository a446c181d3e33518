//! All clients of a run in one thread: whoever may send sends one block, whoever has something to read is read once, and
//! so on.

use std::collections::VecDeque;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use crate::churn::Churn;
use crate::client::{Client, Written};
use crate::clock::{Clock, Timer};
use crate::ledger::Group;
use crate::publisher::{Schedule, nanos};
use crate::receive::{Expected, Receiver, Tally};
use crate::topics::Topics;

/// Bytes of one read at the most.
const READ: usize = 256 * 1024;

/// A credit that is used up and does not come back for so long is lost with its messages.
const STALL: u64 = 1_000_000_000;

/// What is no client's.
const TIMER: Token = Token(usize::MAX - 1);

pub(crate) struct Flow {
    pub(crate) clock: Clock,
    pub(crate) clients: Vec<Client>,
    pub(crate) groups: Vec<Group>,
    pub(crate) topics: Topics,
    pub(crate) tally: Tally,
    pub(crate) churn: Option<Churn>,
    pub(crate) expected: Expected,
    /// Whether publishers may begin further messages.
    pub(crate) publishing: bool,
    /// Deliveries that may be outstanding; 0 is no limit.
    pub(crate) credit: u64,
    /// The most deliveries of one message.
    pub(crate) copies_max: u64,
    publishers: u64,
    /// Deliveries before the credit that was forgiven last.
    settled: u64,
    outstanding: u64,
    /// When a message was begun last.
    last_sent: u64,
    pub(crate) stalls: u64,
    /// How late messages were begun, in nanoseconds, where they are due at times.
    pub(crate) late_max: u64,
    pace: Option<Pace>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    writers: VecDeque<usize>,
    readers: VecDeque<usize>,
}

/// Messages that are due at times, to all publishers in turn.
struct Pace {
    timer: Timer,
    start: u64,
    per_second: u64,
    publishers: Vec<usize>,
    /// The next message of all.
    next: u64,
}

impl Flow {
    pub(crate) fn new(topics: Topics, expected: Expected, frame_max: usize) -> Outcome<Self> {
        Ok(Self {
            clock: Clock::start(),
            clients: Vec::new(),
            groups: Vec::new(),
            topics,
            tally: Tally::new(),
            churn: None,
            expected,
            publishing: false,
            credit: 0,
            copies_max: 1,
            publishers: 0,
            settled: 0,
            outstanding: 0,
            last_sent: 0,
            stalls: 0,
            late_max: 0,
            pace: None,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; READ + frame_max],
            writers: VecDeque::new(),
            readers: VecDeque::new(),
        })
    }

    /// Takes a client in and says its index.
    pub(crate) fn add(&mut self, mut client: Client) -> Outcome<usize> {
        let index = self.clients.len();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(client.stream_mut(), Token(index), interest)?;
        self.publishers += u64::from(client.publisher.is_some());
        self.clients.push(client);
        self.wake(index);
        Ok(index)
    }

    pub(crate) fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// Lets messages be due at this rate from now on.
    pub(crate) fn pace(&mut self, per_second: u64) -> Outcome<()> {
        let timer = Timer::new(self.poll.registry(), TIMER)?;
        let publishers: Vec<usize> = (0..)
            .zip(&self.clients)
            .filter(|(_, client)| client.publisher.is_some())
            .map(|(index, _)| index)
            .collect();
        let start = self.clock.now();
        for (index, client) in (0..).zip(&publishers) {
            if let Some(publisher) =
                self.clients.get_mut(*client).and_then(|client| client.publisher.as_mut())
            {
                let of = publishers.len().try_into()?;
                publisher.schedule = Some(Schedule { start, per_second, of, index });
            }
        }
        self.pace = Some(Pace { timer, start, per_second, publishers, next: 0 });
        Ok(())
    }

    /// Has a client write what it has to, in its turn.
    pub(crate) fn wake(&mut self, index: usize) {
        if let Some(client) = self.clients.get_mut(index)
            && client.writable
            && !client.to_write
        {
            client.to_write = true;
            self.writers.push_back(index);
        }
    }

    /// Has all publishers look whether they may send.
    pub(crate) fn publish(&mut self) {
        self.publishing = true;
        (0..self.clients.len()).for_each(|index| self.wake(index));
    }

    /// One turn of everything, which waits no longer than a few milliseconds.
    pub(crate) fn turn(&mut self) -> Outcome<()> {
        self.fall_due();
        let starved = self.write();
        let busy = !(self.readers.is_empty() && (starved || self.writers.is_empty()));
        let timeout = self.timeout(busy)?;
        self.poll.poll(&mut self.events, Some(timeout)).or_else(|error| {
            // What was asked for comes with the next turn.
            if error.kind() == std::io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
        })?;
        self.take_events()?;
        self.read();
        if let Some(churn) = &mut self.churn {
            churn.turn(self.poll.registry(), self.clock.now())?;
        }
        let last = self.tally.last_delivery.max(self.last_sent);
        if starved && self.clock.now().saturating_sub(last) > STALL {
            self.settled = self.tally.deliveries;
            self.outstanding = 0;
            self.stalls += 1;
        }
        Ok(())
    }

    /// Zero if there is more to do. Else an event comes when the next message is due, or this time goes by.
    fn timeout(&self, busy: bool) -> Outcome<Duration> {
        if busy {
            return Ok(Duration::ZERO);
        }
        if let Some(pace) = self.pace.as_ref().filter(|_| self.publishing) {
            let due = pace.start + nanos(pace.next, pace.per_second);
            match due.saturating_sub(self.clock.now()) {
                0 => return Ok(Duration::ZERO),
                wait => pace.timer.arm(wait)?,
            }
        }
        Ok(Duration::from_millis(if self.churn.is_some() { 1 } else { 10 }))
    }

    fn fall_due(&mut self) {
        if !self.publishing {
            return;
        }
        let now = self.clock.now();
        while let Some(pace) = &mut self.pace {
            if pace.start + nanos(pace.next, pace.per_second) > now {
                break;
            }
            let count = u64::try_from(pace.publishers.len()).unwrap_or(u64::MAX).max(1);
            let place = usize::try_from(pace.next % count).unwrap_or_default();
            pace.next += 1;
            let Some(index) = pace.publishers.get(place).copied() else { break };
            if let Some(publisher) =
                self.clients.get_mut(index).and_then(|client| client.publisher.as_mut())
            {
                publisher.due += 1;
            }
            self.wake(index);
        }
    }

    /// One block of each client that may send. Whether somebody could go on if there was credit.
    fn write(&mut self) -> bool {
        let mut starved = false;
        for _ in 0..self.writers.len() {
            let Some(index) = self.writers.pop_front() else { break };
            let Some(client) = self.clients.get_mut(index) else { continue };
            client.to_write = false;
            if client.closed || client.flush() != Written::All {
                continue;
            }
            let Some(publisher) = client.publisher.as_mut().filter(|_| self.publishing) else {
                continue;
            };
            let mut most = publisher.may_send();
            if most == 0 {
                continue;
            }
            if self.credit > 0 {
                let settled = self.tally.deliveries - self.settled;
                let free =
                    (self.credit + settled).saturating_sub(self.outstanding) / self.copies_max;
                // Not a message at a time: a block, or a half of what each would have if all had the same.
                let least = self.credit / self.copies_max / 2 / self.publishers.max(1);
                if free < most.min(publisher.frames()).min(least).max(1) {
                    starved = true;
                    client.to_write = true;
                    self.writers.push_back(index);
                    continue;
                }
                most = most.min(free);
            }
            let now = self.clock.now();
            if let Some(schedule) = publisher.schedule {
                self.late_max = self.late_max.max(now.saturating_sub(schedule.due(publisher.sent)));
            }
            self.last_sent = now;
            self.outstanding += publisher.prepare(most, now);
            let again = publisher.may_send() > 0;
            if client.flush() == Written::All && again {
                client.to_write = true;
                self.writers.push_back(index);
            }
        }
        starved
    }

    fn take_events(&mut self) -> Outcome<()> {
        let mut writable = Vec::new();
        for event in &self.events {
            let Token(index) = event.token();
            let Some(client) = self.clients.get_mut(index) else {
                if let Some(churn) = &mut self.churn {
                    churn.event(self.poll.registry(), event.token())?;
                }
                continue;
            };
            if (event.is_readable() || event.is_read_closed()) && !client.to_read {
                client.to_read = true;
                self.readers.push_back(index);
            }
            if event.is_writable() && !client.writable {
                client.writable = true;
                writable.push(index);
            }
        }
        writable.into_iter().for_each(|index| self.wake(index));
        Ok(())
    }

    fn read(&mut self) {
        for _ in 0..self.readers.len() {
            let Some(index) = self.readers.pop_front() else { break };
            let Some(client) = self.clients.get_mut(index) else { continue };
            client.to_read = false;
            if client.closed {
                continue;
            }
            let (bytes, more) = client.read(&mut self.buffer);
            let mut receiver = Receiver {
                expected: &self.expected,
                topics: &self.topics,
                groups: &mut self.groups,
                tally: &mut self.tally,
                now: self.clock.now(),
            };
            receiver.take(client, bytes);
            if more {
                client.to_read = true;
                self.readers.push_back(index);
            }
            let may = client.publisher.as_ref().is_some_and(|publisher| publisher.may_send() > 0);
            if !client.out.is_empty() || (may && self.publishing) {
                self.wake(index);
            }
        }
    }
}

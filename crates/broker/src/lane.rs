//! QoS 0 copies on their way to a connected client, and the rule when it does not keep up.

use std::collections::VecDeque;
use std::task::Waker;

use dunlin_session::Delivery;

use crate::chunks::Chunks;
use crate::config::Limits;
use crate::metrics::DropReason;
use crate::queue::Drops;

/// QoS 0 copies in their order: most are encoded already, by their publishers; those that can expire are encoded when they
/// are sent, with what is left of their time.
#[derive(Debug, Default)]
pub(crate) struct Content {
    head: Chunks,
    /// Each message with what is encoded behind it.
    rest: VecDeque<(Delivery, Chunks)>,
}

impl Content {
    /// Bytes of all of it.
    pub(crate) fn len(&self) -> usize {
        let rest =
            self.rest.iter().map(|(delivery, behind)| delivery.message.size() + behind.len());
        self.head.len() + rest.sum::<usize>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.rest.is_empty()
    }

    /// Where the next encoded copy goes.
    pub(crate) fn encoded(&mut self) -> &mut Chunks {
        match self.rest.back_mut() {
            Some((_, behind)) => behind,
            None => &mut self.head,
        }
    }

    /// Puts a message behind what is there.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.rest.push_back((delivery, Chunks::default()));
    }

    /// Moves all of `other` behind what is there.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.encoded().append(&mut other.head);
        self.rest.append(&mut other.rest);
    }

    /// What is encoded at the front.
    pub(crate) fn head(&mut self) -> &mut Chunks {
        &mut self.head
    }

    /// The next message behind the front, with what is encoded behind it.
    pub(crate) fn pop(&mut self) -> Option<(Delivery, Chunks)> {
        let next = self.rest.pop_front();
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
        next
    }

    /// Forgets everything; gives the number of messages that were not encoded.
    pub(crate) fn clear(&mut self) -> u64 {
        self.head.clear();
        let messages = self.rest.len() as u64;
        self.rest = VecDeque::new();
        messages
    }
}

/// QoS 0 copies for a connected client.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Bounded by `qos0_lane_bytes_hard`.
    pub(crate) content: Content,
    /// What of it is encoded.
    pub(crate) tally: Tally,
    /// Whether the receiver let a publisher wait as long as it may and took nothing: until it takes something again,
    /// nobody waits for it.
    stalled: bool,
    /// Publishers that wait for room. At most one entry for each connection.
    pub(crate) slowed: Vec<Waker>,
}

/// PUBLISHes that are encoded already, for the counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) publishes: u64,
    /// Bytes of their payloads.
    pub(crate) payload: u64,
}

impl Tally {
    pub(crate) const fn add(&mut self, other: Self) {
        self.publishes += other.publishes;
        self.payload += other.payload;
    }
}

/// What a publisher brings for one receiver at the end of a batch.
#[derive(Debug, Default)]
pub(crate) struct Post {
    /// Encoded for `wire`.
    pub(crate) lane: Content,
    pub(crate) tally: Tally,
    pub(crate) deliveries: Vec<Delivery>,
    /// What comes back: messages of shared groups that this receiver was chosen for and cannot take any more.
    pub(crate) returned: Vec<Delivery>,
}

/// How posting went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Posted {
    /// All of it was taken or dropped.
    Done,
    /// The receiver's lane is full: what the lane should take is still with the publisher, who is woken when there is
    /// room.
    Wait,
}

/// How a publisher stands towards a slow receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience<'a> {
    /// It can wait.
    Waits {
        /// Woken when there is room.
        waker: &'a Waker,
        /// Bytes in the receiver's lane from which on it waits.
        from: usize,
    },
    /// It waited as long as it may.
    Exhausted,
    /// It must not wait: others wait for it, or nobody is there to wait.
    None,
}

impl Lane {
    /// Takes in what one batch has for it.
    pub(crate) fn take(
        &mut self,
        post: &mut Post,
        same_wire: bool,
        patience: Patience<'_>,
        limits: &Limits,
        drops: &mut Drops,
    ) -> Posted {
        let held = self.content.len();
        let reason = match patience {
            // The receiver went, or came back with another version, since the copy was made.
            _ if !same_wire => Some(DropReason::Offline),
            Patience::Waits { waker, from } if held >= from && !self.stalled => {
                if !self.slowed.iter().any(|other| other.will_wake(waker)) {
                    self.slowed.push(waker.clone());
                }
                return Posted::Wait;
            }
            Patience::Exhausted if held >= limits.qos0_lane_bytes_soft => {
                self.stalled = true;
                Some(DropReason::SlowReader)
            }
            // What is larger than the bound by itself passes when nothing else waits.
            Patience::Waits { .. } | Patience::Exhausted | Patience::None => {
                let full = held > 0 && held + post.lane.len() > limits.qos0_lane_bytes_hard;
                full.then_some(DropReason::SlowReader)
            }
        };
        let tally = std::mem::take(&mut post.tally);
        match reason {
            Some(reason) => drops.block(reason, tally.publishes + post.lane.clear()),
            None => {
                self.content.append(&mut post.lane);
                self.tally.add(tally);
            }
        }
        Posted::Done
    }
}

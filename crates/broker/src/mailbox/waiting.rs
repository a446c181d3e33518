//! What waits for a session: nothing, nearly always.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use dunlin_session::{Delivery, Settled};

use crate::budget::Charge;
use crate::config::Limits;
use crate::queue::{Drops, Parcel, Queue};

/// The queue of a session, made when something enters it and given back when nothing is left that it would have to
/// remember. A session without one is 120 bytes smaller.
///
/// Whatever only reads finds an empty queue where there is none, and what has nothing to do there does not make one.
#[derive(Debug, Default)]
pub(super) struct Waiting(Option<Box<Queue>>);

static NOTHING: Queue = Queue::new();

impl Waiting {
    pub(super) fn settle(&mut self, settled: Settled) {
        if let Some(queue) = &mut self.0 {
            queue.settle(settled);
        }
    }

    pub(super) fn pop_to_send(&mut self, max: usize) -> Option<Parcel> {
        self.0.as_mut()?.pop_to_send(max)
    }

    pub(super) fn pop_qos0(&mut self) -> Option<Delivery> {
        self.0.as_mut()?.pop_qos0()
    }

    pub(super) fn take_where(&mut self, want: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        self.0.as_mut().map_or_else(Vec::new, |queue| queue.take_where(want))
    }

    pub(super) fn ask_for_more(&mut self, limits: &Limits) -> bool {
        self.0.as_mut().is_some_and(|queue| queue.ask_for_more(limits))
    }

    pub(super) fn asks_no_more(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.asks_no_more();
        }
    }

    pub(super) fn trim(&mut self, limits: &Limits, drops: &mut Drops) {
        if let Some(queue) = &mut self.0 {
            queue.trim(limits, drops);
        }
    }

    pub(super) fn drop_expired(&mut self, now: Instant, drops: &mut Drops) {
        if let Some(queue) = &mut self.0 {
            queue.drop_expired(now, drops);
        }
    }

    pub(super) fn clear(&mut self) -> u64 {
        self.0.as_mut().map_or(0, |queue| queue.clear())
    }

    /// See [`Queue::take_charge`]. A queue that has nothing more to remember goes.
    pub(super) fn take_charge(&mut self) -> Charge {
        let Some(queue) = &mut self.0 else { return Charge::default() };
        let charge = queue.take_charge();
        if queue.is_idle() {
            self.0 = None;
        }
        charge
    }
}

impl From<Queue> for Waiting {
    fn from(queue: Queue) -> Self {
        Self((!queue.is_idle()).then(|| Box::new(queue)))
    }
}

impl Deref for Waiting {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Waiting {
    fn deref_mut(&mut self) -> &mut Queue {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use dunlin_codec::{Message, Qos, TopicName};

    use super::super::Mailbox;
    use super::*;

    fn delivery() -> Delivery {
        let message = Message {
            topic: TopicName::copy_from("a").unwrap(),
            payload: Bytes::from_static(b"payload"),
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: None,
        };
        Delivery {
            message: Arc::new(message),
            qos: Qos::AtLeastOnce,
            retain: false,
            subscription_ids: Default::default(),
            seq: 0,
            expires_at: None,
            sent_before: false,
            origin: Default::default(),
        }
    }

    /// With the two counts of its `Arc` it is to fit the allocator's class of 192.
    #[test]
    fn the_mailbox_of_an_idle_session_is_small() {
        assert!(size_of::<Mailbox>() + 16 <= 192, "{}", size_of::<Mailbox>());
    }

    #[test]
    fn a_queue_is_there_as_long_as_it_has_to_remember_something() {
        let mut waiting = Waiting::default();
        assert_eq!((waiting.messages(), waiting.bytes(), waiting.is_empty()), (0, 0, true));
        waiting.settle(Settled::default());
        assert!(waiting.pop_to_send(1).is_none() && waiting.0.is_none());

        waiting.push(delivery());
        assert_ne!(waiting.take_charge(), Charge::default());
        let Some(Parcel::One(sent)) = waiting.pop_to_send(1) else { panic!("it waits") };
        assert_ne!(waiting.take_charge(), Charge::default());
        assert!(waiting.0.is_some(), "what is sent and not acknowledged takes room");
        let mut settled = Settled::default();
        settled.add(Some(&sent.message));
        waiting.settle(settled);
        assert_eq!(waiting.take_charge(), Charge::default());
        assert!(waiting.0.is_none());

        waiting.reserve_always(1);
        waiting.take_charge();
        assert!(waiting.0.is_some(), "and so does what is on its way through the store");
        waiting.release(1);
        waiting.take_charge();
        assert!(waiting.0.is_none());
    }
}

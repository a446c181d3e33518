//! What comes in for a session: copies from publishers, what the store has, what its owner is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Instant;

use dunlin_codec::{Message, Qos};
use dunlin_session::{Delivery, Settled};

use crate::budget::Charge;
use crate::config::Limits;
use crate::end::EndReason;
use crate::lane::{Patience, Post, Posted};
use crate::metrics::DropReason;
use crate::pages::Entry;
use crate::persist::{Arrival, answer_parked};
use crate::queue::{Drops, Offered, Parcel, Window};
use crate::retained::Replay;

use super::{Mailbox, Notice, Owner, State, Wire, wake};

impl Mailbox {
    /// Takes in what a publisher's batch has for this receiver.
    // [MQTT-3.1.2-5 @3.1.1] Connected or not.
    pub(crate) fn post(
        &self,
        post: &mut Post,
        wire: Wire,
        patience: Patience<'_>,
        limits: &Limits,
        drops: &mut Drops,
    ) -> (Posted, Charge) {
        let mut state = self.lock();
        let own = state.own_limits(limits);
        let limits = own.as_ref().unwrap_or(limits);
        let mut charge = Charge::default();
        // What a shared group sent to a member that is gone is for the others.
        if !self.is_online() {
            let shared = post.parcels.extract_if(.., |parcel| parcel.is_shared());
            post.returned.extend(shared.flat_map(Parcel::into_deliveries));
        }
        if matches!(state.owner, Owner::Ended) {
            let gone = post.lane.clear() + std::mem::take(&mut post.tally).publishes;
            let parcels: usize = post.parcels.iter().map(Parcel::len).sum();
            drops.block(DropReason::SessionEnded, gone + parcels as u64);
            post.parcels.clear();
            return (Posted::Done, charge);
        }
        for parcel in post.parcels.drain(..) {
            let delivery = match parcel {
                Parcel::One(delivery) => delivery,
                Parcel::Run(run) => {
                    state.offer_run(run, limits, drops);
                    continue;
                }
            };
            match (delivery.qos, self.is_online()) {
                // The client came while it was on its way to the queue, of which QoS 0 was sent already.
                (Qos::AtMostOnce, true) => {
                    charge += state.lane.get_or_insert_default().take_late(delivery, limits, drops);
                }
                (Qos::AtMostOnce, false) if !limits.queue_qos0 => {
                    drops.one(DropReason::Offline, delivery);
                }
                (Qos::AtMostOnce | Qos::AtLeastOnce | Qos::ExactlyOnce, _) => {
                    state.offer(delivery, limits, drops);
                }
            }
        }
        let mut posted = Posted::Done;
        let mut slowed = Vec::new();
        if !post.lane.is_empty() {
            let same_wire = self.wire() == wire;
            let lane = state.lane.get_or_insert_default();
            let before = lane.content.len();
            posted = lane.take(post, same_wire, patience, limits, drops);
            charge += Charge::of_bytes(i64::try_from(lane.content.len() - before).unwrap_or(0));
            if posted == Posted::Done {
                slowed = lane.next(limits);
            }
        }
        charge += state.queue.take_charge();
        self.look_for_crowd(&state, limits);
        let waker = state.signal();
        drop(state);
        wake(waker);
        slowed.into_iter().for_each(Waker::wake);
        (posted, charge)
    }

    /// From now on publishers are braked for a connected client, if enough waits for it.
    fn look_for_crowd(&self, state: &State, limits: &Limits) {
        if !state.brake_released && self.is_online() && state.queue.is_crowded(limits) {
            self.crowded.store(true, Ordering::Relaxed);
        }
    }

    /// Keeps room for a message that goes through the store first; `false` if it was dropped by the overflow policy.
    pub(crate) fn reserve(
        &self,
        message: &Arc<Message>,
        limits: &Limits,
        drops: &mut Drops,
    ) -> bool {
        let mut state = self.lock();
        if matches!(state.owner, Owner::Ended) {
            return false;
        }
        let own = state.own_limits(limits);
        let limits = own.as_ref().unwrap_or(limits);
        match state.queue.reserve(message.size(), limits, drops) {
            Ok(()) => {
                self.look_for_crowd(&state, limits);
                true
            }
            Err((reason, outcome)) => {
                drops.message(reason, Arc::clone(message));
                let waker = if outcome == Offered::Disconnect {
                    state.evict(EndReason::QueueOverflow)
                } else {
                    None
                };
                drop(state);
                wake(waker);
                false
            }
        }
    }

    /// The next place in the session's order; none if the session has ended.
    pub(crate) fn number(&self) -> Option<u64> {
        let mut state = self.lock();
        if matches!(state.owner, Owner::Ended) {
            return None;
        }
        state.last_seq += 1;
        Some(state.last_seq)
    }

    /// Takes in numbered messages that are durable now. Those of shared groups come back if
    /// the client is gone; those without a number too, because the session had ended before they could get one. What was for
    /// an ended session alone is dropped.
    pub(crate) fn post_durable<'a>(
        &self,
        arrivals: impl Iterator<Item = Arrival<'a>>,
        window: Window,
        drops: &mut Drops,
    ) -> (Vec<Delivery>, Charge) {
        let mut state = self.lock();
        let ended = matches!(state.owner, Owner::Ended);
        let online = self.is_online();
        let window = Window { wanted: online, ..window };
        let mut returned = Vec::new();
        let mut lost = 0;
        for arrival in arrivals {
            state.queue.release(arrival.shared.message.size());
            if arrival.own.origin.is_shared() && !online {
                returned.push(arrival.into_delivery());
            } else if ended {
                lost += 1;
            } else {
                state.queue.push_stored(arrival, window);
            }
        }
        drops.block(DropReason::SessionEnded, lost);
        let charge = state.queue.take_charge();
        let waker = state.signal();
        drop(state);
        wake(waker);
        (returned, charge)
    }

    /// Keeps room whatever the limits say: the message was accepted before, by the group it comes from.
    pub(crate) fn reserve_always(&self, size: usize) {
        self.lock().queue.reserve_always(size);
    }

    /// Gives reserved room back.
    pub(crate) fn release(&self, size: usize) {
        self.lock().queue.release(size);
    }

    /// The store refused a message: its place, if it had one, is free again. Only the committer numbers messages of a durable
    /// session, and it tells of a refusal before it numbers on, so no later place is taken.
    pub(crate) fn take_back(&self, seq: u64) {
        if seq > 0 {
            let mut state = self.lock();
            state.last_seq = state.last_seq.min(seq - 1);
        }
    }

    /// What the pager is to read for a connected client: at most `max` messages. What has expired is dropped.
    pub(crate) fn next_to_read(
        &self,
        window: Window,
        max: usize,
        into: &mut Vec<Entry>,
        drops: &mut Drops,
    ) -> Charge {
        let mut state = self.lock();
        if !matches!(state.owner, Owner::Live) {
            state.queue.asks_no_more();
            return Charge::default();
        }
        let ready = state.queue.ready();
        state.queue.next_to_read(window, max, Instant::now(), into, drops);
        let charge = state.queue.take_charge();
        // What need not be read is there already.
        let waker = if state.queue.ready() > ready { state.signal() } else { None };
        drop(state);
        wake(waker);
        charge
    }

    /// Takes in what the pager has read; whether it is to go on. A client that went meanwhile asks again when it is back.
    pub(crate) fn take_read(
        &self,
        read: impl Iterator<Item = (Entry, Option<Delivery>)>,
        drops: &mut Drops,
    ) -> (bool, Charge) {
        let mut state = self.lock();
        if !matches!(state.owner, Owner::Live) {
            state.queue.asks_no_more();
            return (false, Charge::default());
        }
        state.queue.take_read(read, Instant::now(), drops);
        let charge = state.queue.take_charge();
        let waker = state.signal();
        drop(state);
        wake(waker);
        (true, charge)
    }

    /// Tells the owner something, or the parked session itself.
    pub(crate) fn notify(&self, notices: Vec<Notice>) {
        let mut state = self.lock();
        match &mut state.owner {
            Owner::Parked(session) => answer_parked(session, &notices),
            Owner::Live if notices.is_empty() => {}
            Owner::Live => state.notices.get_or_insert_default().extend(notices),
            Owner::Ended => {}
        }
        let waker = state.signal();
        drop(state);
        wake(waker);
    }

    /// Messages taken out to be sent are done with, or go elsewhere.
    pub(crate) fn settle(&self, settled: Settled) {
        self.lock().queue.settle(settled);
    }

    /// Adds retained messages to be sent; the owner is woken.
    pub(crate) fn add_replays(&self, replays: impl IntoIterator<Item = Replay>) {
        let mut state = self.lock();
        state.few.get_or_insert_default().replays.extend(replays);
        let waker = state.signal();
        drop(state);
        wake(waker);
    }

    pub(crate) fn take_replays(&self) -> Vec<Replay> {
        self.lock().take_from_few(|few| std::mem::take(&mut few.replays))
    }
}

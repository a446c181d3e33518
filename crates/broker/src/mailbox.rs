//! Where messages for one session arrive, and who owns that session now.
//!
//! A mailbox is one per session and lives as long as it. It keeps its identity through takeover and reconnect, so that
//! lists of targets stay valid. Its parts are behind one lock, held for a few steps only: no await, no second mailbox's
//! lock, no store call and no hook under it.
//!
//! ```text
//!            claim              park                 claim
//!  (new) ──► Live ──────────► Parked ───────► Live ... ──► Ended
//!              │ a second claim asks the owner to park      ▲
//!              └────────────── session ends ────────────────┘
//! ```

mod arriving;
mod standing;
mod subscriber;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Instant;

use dunlin_codec::{ClientId, Version};
use dunlin_session::{Delivery, Run, Session, Settled, Token};
use dunlin_store::SessionNo;
use parking_lot::{Mutex, MutexGuard};

use crate::budget::Charge;
use crate::config::Limits;
use crate::drops::{DropCounts, DropReport};
use crate::end::EndReason;
use crate::lane::{Content, Lane, Tally};
use crate::metrics::DropReason;
use crate::namespace::Namespace;
use crate::persist::answer_parked;
use crate::queue::{Drops, Offered, Parcel, Queue};
use crate::retained::Replay;

use standing::{Marks, Standing};
use waiting::Waiting;

pub(crate) use subscriber::{Counted, Subscriber};

/// How QoS 0 copies for a receiver are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Wire {
    /// There is no Network Connection.
    Offline = 0,
    /// The publisher encodes for MQTT 3.1 and 3.1.1, which share one layout.
    V3 = 1,
    /// The publisher encodes for MQTT 5.0.
    V5 = 2,
    /// The receiver encodes: it has Topic Aliases, a deliver hook, or is not on a socket.
    Messages = 3,
}

impl Wire {
    /// The layout that a version writes.
    pub(crate) const fn of(version: Version) -> Self {
        match version {
            Version::V3_1 | Version::V3_1_1 => Self::V3,
            Version::V5 => Self::V5,
        }
    }

    const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::V3,
            2 => Self::V5,
            3 => Self::Messages,
            _ => Self::Offline,
        }
    }
}

/// What another task tells the owner of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    /// A message of this publisher is owned: durable where it must be.
    Routed { token: Token, reason: dunlin_codec::ReasonCode },
    /// The store did not take a message of this publisher.
    NotStored { token: Token },
    /// A change of this session is durable.
    Durable { token: Token },
    /// The store refused a change of this session.
    StoreFailed,
    /// The broker shuts down, and the will would be lost with it.
    PublishWill,
    /// Somebody was banned: perhaps this client.
    LookAtBans,
}

/// Who has the session now.
#[derive(Debug)]
enum Owner {
    /// A connection's task.
    Live,
    /// Nobody: whoever holds the lock.
    Parked(Box<Session>),
    /// It is over.
    Ended,
}

#[derive(Debug)]
struct State {
    owner: Owner,
    /// How often the session was claimed. Only the newest claimant gets it.
    claims: u32,
    /// Wakes the owner.
    waker: Option<Waker>,
    /// Whether the owner was woken since it last looked.
    signaled: bool,
    /// Why the owner is to let go, if it is.
    eviction: Option<EndReason>,
    /// Encoded QoS 0 PUBLISHes, while there are any.
    lane: Option<Box<Lane>>,
    queue: Waiting,
    /// Whether braking did not help: until little waits here, nobody is braked for this client.
    brake_released: bool,
    /// One for each message of this client that waits for the store: bounded by its Receive Maximum.
    #[expect(
        clippy::box_collection,
        reason = "nearly all sessions have none, and are 16 bytes smaller for it"
    )]
    notices: Option<Box<Vec<Notice>>>,
    /// The number of the last message with QoS above 0.
    last_seq: u64,
    /// What nearly all mailboxes have nothing of.
    few: Option<Box<Few>>,
    /// Copies that the client did not get, if there are any.
    dropped: Option<Box<DropCounts>>,
    /// The identity that made the session; empty for an anonymous one.
    identity: Box<str>,
    /// What rules and authenticators say of the client, where they say anything.
    standing: Option<Box<Standing>>,
}

/// What few mailboxes have.
#[derive(Debug, Default)]
struct Few {
    /// Whoever waits for the session.
    claimant: Option<Waker>,
    /// Publishers whose acknowledgements are withheld until less waits here. At most one entry for each connection.
    braked: Vec<Waker>,
    /// Retained messages not sent yet, by subscription. At most one for each SUBSCRIBE's filters.
    replays: Vec<Replay>,
}

/// Where messages for one session arrive.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// What the session lives in, and all that it can reach.
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) client_id: ClientId,
    pub(crate) session_no: SessionNo,
    wire: AtomicU8,
    /// Whether the session has an expiry above 0, so that messages for it go through the store.
    durable: AtomicBool,
    /// Whether the store knows the session.
    stored: AtomicBool,
    /// What is asked of its standing without its lock.
    marks: Marks,
    packet_size_max: AtomicU32,
    /// The number of the listener that the client last connected by; 0 if it did not connect since the start.
    listener: AtomicU32,
    /// Subscriptions of the session that are in the index.
    subscriptions: AtomicU32,
    /// Whether so much waits for a connected client that publishers with QoS above 0 are braked.
    crowded: AtomicBool,
    /// Messages with QoS above 0 that the client could be sent at once, as its owner saw it last. For shared groups.
    credit: AtomicI32,
    state: Mutex<State>,
}

/// What a claim led to.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// The session as it was left.
    Session(Box<Session>),
    /// Its owner was asked to let go; poll again when woken.
    Wait,
    /// A later claim goes before this one.
    Superseded,
    /// The session ended meanwhile.
    Ended,
}

impl Mailbox {
    /// A mailbox whose session is with the caller.
    pub(crate) fn new(
        namespace: Arc<Namespace>,
        client_id: ClientId,
        session_no: SessionNo,
        identity: &str,
    ) -> Self {
        let queue = Queue::default();
        Self::with_owner(namespace, client_id, session_no, identity, Owner::Live, queue, 0)
    }

    /// A mailbox for a session restored from the store, with what waits for it and what that costs.
    pub(crate) fn restored(
        namespace: Arc<Namespace>,
        session: Box<Session>,
        session_no: SessionNo,
        identity: &str,
        mut queue: Queue,
        last_seq: u64,
    ) -> (Self, Charge) {
        let charge = queue.take_charge();
        let durable = session.is_durable();
        let mailbox = Self::with_owner(
            namespace,
            session.client_id().clone(),
            session_no,
            identity,
            Owner::Parked(session),
            queue,
            last_seq,
        );
        mailbox.durable.store(durable, Ordering::Relaxed);
        mailbox.stored.store(true, Ordering::Relaxed);
        (mailbox, charge)
    }

    fn with_owner(
        namespace: Arc<Namespace>,
        client_id: ClientId,
        session_no: SessionNo,
        identity: &str,
        owner: Owner,
        queue: Queue,
        last_seq: u64,
    ) -> Self {
        Self {
            namespace,
            client_id,
            session_no,
            wire: AtomicU8::new(Wire::Offline as u8),
            durable: AtomicBool::new(false),
            stored: AtomicBool::new(false),
            marks: Marks::default(),
            packet_size_max: AtomicU32::new(u32::MAX),
            listener: AtomicU32::new(0),
            subscriptions: AtomicU32::new(0),
            crowded: AtomicBool::new(false),
            credit: AtomicI32::new(0),
            state: Mutex::new(State {
                owner,
                claims: 0,
                waker: None,
                signaled: false,
                eviction: None,
                lane: None,
                queue: queue.into(),
                brake_released: false,
                notices: None,
                last_seq,
                few: None,
                dropped: None,
                identity: identity.into(),
                standing: None,
            }),
        }
    }

    pub(crate) fn wire(&self) -> Wire {
        Wire::from_u8(self.wire.load(Ordering::Relaxed))
    }

    pub(crate) fn is_online(&self) -> bool {
        self.wire() != Wire::Offline
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Acquire)
    }

    /// Whether the store knows the session.
    pub(crate) fn is_stored(&self) -> bool {
        self.stored.load(Ordering::Acquire)
    }

    /// Notes that the store is told of the session; whether it knew it already.
    pub(crate) fn set_stored(&self) -> bool {
        self.stored.swap(true, Ordering::AcqRel)
    }

    /// The identity that made the session; empty for an anonymous one.
    pub(crate) fn owner(&self) -> Box<str> {
        self.lock().identity.clone()
    }

    /// The session is another identity's from now on.
    pub(crate) fn set_owner(&self, identity: &str) {
        self.lock().identity = identity.into();
    }

    /// No publisher is to count on a Network Connection any more.
    pub(crate) fn set_offline(&self) {
        self.wire.store(Wire::Offline as u8, Ordering::Relaxed);
        self.credit.store(0, Ordering::Relaxed);
    }

    pub(crate) fn packet_size_max(&self) -> u32 {
        self.packet_size_max.load(Ordering::Relaxed)
    }

    /// Notes how many messages with QoS above 0 the client could be sent at once.
    pub(crate) fn set_credit(&self, messages: usize) {
        self.credit.store(i32::try_from(messages).unwrap_or(i32::MAX), Ordering::Relaxed);
    }

    /// Takes one of them; `false` if there is none.
    pub(crate) fn take_credit(&self) -> bool {
        self.take_credits(1) == 1
    }

    /// Takes so many of them, or as many as there are; how many.
    pub(crate) fn take_credits(&self, wanted: usize) -> usize {
        let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
        let taken = wanted.min(self.credit.load(Ordering::Relaxed));
        if taken <= 0 {
            return 0;
        }
        self.credit.fetch_sub(taken, Ordering::Relaxed);
        usize::try_from(taken).unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    // ---- Ownership ----

    /// Asks for the session; the owner, if there is one, is asked to let go. Returns the claim's number.
    pub(crate) fn claim(&self) -> u32 {
        let mut state = self.lock();
        state.claims = state.claims.wrapping_add(1);
        let claim = state.claims;
        let superseded = state.take_claimant();
        let owner = if matches!(state.owner, Owner::Live) {
            state.evict(EndReason::TakenOver)
        } else {
            None
        };
        drop(state);
        wake(superseded);
        wake(owner);
        claim
    }

    /// Tries to get the claimed session.
    pub(crate) fn poll_claim(&self, claim: u32, cx: &Context<'_>) -> Claimed {
        let mut state = self.lock();
        if matches!(state.owner, Owner::Ended) {
            return Claimed::Ended;
        }
        if state.claims != claim {
            return Claimed::Superseded;
        }
        match std::mem::replace(&mut state.owner, Owner::Live) {
            Owner::Parked(session) => {
                state.eviction = None;
                Claimed::Session(session)
            }
            Owner::Live => {
                state.few.get_or_insert_default().claimant = Some(cx.waker().clone());
                Claimed::Wait
            }
            Owner::Ended => unreachable!("checked above, under the same lock"),
        }
    }

    /// The session's Network Connection is there: from now on it is served as `wire` says.
    pub(crate) fn attach(&self, wire: Wire, durable: bool, packet_size_max: u32, listener: u32) {
        let mut state = self.lock();
        self.listener.store(listener, Ordering::Relaxed);
        self.wire.store(wire as u8, Ordering::Relaxed);
        // Nobody who publishes now is to blame for what has come to wait in the client's absence.
        state.brake_released = !state.queue.is_empty();
        // What was queued while the client was away goes before what comes now.
        while let Some(delivery) = state.queue.pop_qos0() {
            state.lane.get_or_insert_default().content.push(delivery);
        }
        self.durable.store(durable, Ordering::Release);
        self.packet_size_max.store(packet_size_max, Ordering::Relaxed);
    }

    /// The owner gives the session back, to be claimed again. What only a Network Connection could take is dropped.
    pub(crate) fn park(&self, mut session: Box<Session>, drops: &mut Drops) -> Charge {
        let mut state = self.lock();
        self.set_offline();
        answer_parked(&mut session, state.notices.as_deref().map_or(&[], Vec::as_slice));
        let mut slowed = state.disconnected(drops);
        slowed.extend(self.release_brake(&mut state));
        state.owner = Owner::Parked(session);
        let claimant = state.take_claimant();
        let charge = state.queue.take_charge();
        drop(state);
        wake(claimant);
        slowed.into_iter().for_each(Waker::wake);
        charge
    }

    /// Marks the session's end: nothing is taken in any more, what waits is dropped and counted.
    pub(crate) fn end(&self, drops: &mut Drops) -> Charge {
        let mut state = self.lock();
        self.set_offline();
        let mut slowed = state.disconnected(drops);
        slowed.extend(self.release_brake(&mut state));
        state.owner = Owner::Ended;
        state.take_from_few(|few| few.replays = Vec::new());
        drops.block(DropReason::SessionEnded, state.queue.clear());
        let claimant = state.take_claimant();
        let charge = state.queue.take_charge();
        drop(state);
        wake(claimant);
        slowed.into_iter().for_each(Waker::wake);
        charge
    }

    /// Gives back what was taken by [`Mailbox::take_credit`] and not used.
    pub(crate) fn give_credit(&self) {
        self.credit.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether something was said that the owner has not heard.
    pub(crate) fn has_notices(&self) -> bool {
        self.lock().notices.as_ref().is_some_and(|notices| !notices.is_empty())
    }

    /// Does something with a parked session; none if it is not parked.
    pub(crate) fn with_parked<T>(&self, act: impl FnOnce(&mut Session) -> T) -> Option<T> {
        match &mut self.lock().owner {
            Owner::Parked(session) => Some(act(session)),
            Owner::Live | Owner::Ended => None,
        }
    }

    /// Takes a parked session out if `due` says so, to end it. The mailbox must be ended next.
    pub(crate) fn take_parked_if(
        &self,
        due: impl FnOnce(&Session) -> bool,
    ) -> Option<Box<Session>> {
        let mut state = self.lock();
        if !matches!(&state.owner, Owner::Parked(session) if due(session)) {
            return None;
        }
        match std::mem::replace(&mut state.owner, Owner::Live) {
            Owner::Parked(session) => Some(session),
            Owner::Live | Owner::Ended => unreachable!("checked above, under the same lock"),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.lock().owner, Owner::Ended)
    }

    /// Whether the client is connected, by the listener with this number.
    pub(crate) fn is_connected_by(&self, listener: u32) -> bool {
        self.is_online() && self.listener.load(Ordering::Relaxed) == listener
    }

    /// The same as [`Mailbox::evict`], if the client is connected by this listener.
    pub(crate) fn evict_from(&self, listener: u32, reason: EndReason) {
        let mut state = self.lock();
        let waker = if self.is_connected_by(listener) { state.evict(reason) } else { None };
        drop(state);
        wake(waker);
    }

    /// Messages with QoS above 0 that wait, and bytes of all that wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.queue.messages(), state.queue.bytes())
    }

    /// Drops the oldest messages until the queue keeps to its limits.
    pub(crate) fn trim(&self, limits: &Limits, drops: &mut Drops) -> Charge {
        let mut state = self.lock();
        let own = state.own_limits(limits);
        let limits = own.as_ref().unwrap_or(limits);
        state.queue.trim(limits, drops);
        state.queue.take_charge()
    }

    /// Asks the owner to close its Network Connection.
    pub(crate) fn evict(&self, reason: EndReason) {
        let waker = self.lock().evict(reason);
        wake(waker);
    }

    // ---- The way out ----

    /// Hands the owner what has arrived. Encoded QoS 0 is appended to `writer` if `wants.lane`.
    pub(crate) fn collect(&self, cx: &Context<'_>, wants: Wants<'_>, into: &mut Collected) {
        let mut state = self.lock();
        state.signaled = false;
        state.queue.settle(wants.settled);
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        into.eviction = state.eviction;
        if let Some(mut notices) = state.notices.take() {
            into.notices.append(&mut notices);
        }
        let mut slowed = Vec::new();
        into.charge = Charge::default();
        if wants.lane
            && let Some(mut lane) = state.lane.take()
        {
            into.charge += Charge::of_bytes(-i64::try_from(lane.content.len()).unwrap_or(0));
            into.lane.append(&mut lane.content);
            into.tally.add(lane.tally);
            // As many as there is room for; each calls the next while there is.
            slowed.extend(lane.line.call());
            slowed.extend(lane.line.call());
            state.lane = Lane::emptied(lane.line);
        }
        let mut quota = wants.quota;
        while let Some(mut parcel) = state.queue.pop_to_send(quota) {
            quota -= parcel.len();
            // What goes through the store has its place from there; any other gets it when it is sent, so that what is
            // dropped before uses none up.
            match &mut parcel {
                Parcel::One(delivery) if delivery.seq == 0 => {
                    state.last_seq += 1;
                    delivery.seq = state.last_seq;
                }
                Parcel::One(_) => {}
                Parcel::Run(run) => {
                    run.place_at(state.last_seq + 1);
                    state.last_seq += run.len() as u64;
                }
            }
            into.parcels.push(parcel);
        }
        let own = state.own_limits(wants.limits);
        let limits = own.as_ref().unwrap_or(wants.limits);
        into.asks = state.queue.ask_for_more(limits);
        into.left = state.lane.as_ref().is_some_and(|lane| !lane.content.is_empty());
        into.waiting = state.queue.ready();
        into.queued = state.queue.messages();
        if state.queue.is_empty() {
            state.queue.shrink();
        }
        into.charge += state.queue.take_charge();
        if state.queue.is_relieved(limits) {
            state.brake_released = false;
            slowed.extend(self.release_brake(&mut state));
        }
        drop(state);
        slowed.into_iter().for_each(Waker::wake);
    }

    /// Whether publishers with QoS above 0 are to be braked for the sake of this client.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Wakes the publisher when less waits here; `false` if it need not wait.
    pub(crate) fn brake(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if !self.is_crowded() {
            return false;
        }
        let braked = &mut state.few.get_or_insert_default().braked;
        if !braked.iter().any(|other| other.will_wake(waker)) {
            braked.push(waker.clone());
        }
        true
    }

    /// The client did not catch up in the time that publishers wait for it.
    pub(crate) fn give_brake_up(&self) {
        let mut state = self.lock();
        state.brake_released = true;
        let braked = self.release_brake(&mut state);
        drop(state);
        braked.into_iter().for_each(Waker::wake);
    }

    fn release_brake(&self, state: &mut State) -> Vec<Waker> {
        self.crowded.store(false, Ordering::Relaxed);
        state.take_from_few(|few| std::mem::take(&mut few.braked))
    }

    /// Takes messages with QoS above 0 back that were not sent yet.
    pub(crate) fn take_where(&self, want: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        self.lock().queue.take_where(want)
    }

    /// Counts copies that the client does not get; gives what is to be logged.
    pub(crate) fn count_drops(&self, reason: DropReason, count: u64) -> DropReport {
        let now = Instant::now();
        let mut state = self.lock();
        let ended = matches!(state.owner, Owner::Ended);
        let dropped = state.dropped.get_or_insert_with(|| Box::new(DropCounts::new(now)));
        let mut report = dropped.add(reason, count, now);
        // Nobody will ask again.
        if ended {
            report.extend(dropped.rest());
        }
        report
    }

    /// Copies that the client did not get since its session began.
    pub(crate) fn drops(&self) -> BTreeMap<DropReason, u64> {
        self.lock().dropped.as_ref().map_or_else(BTreeMap::new, |dropped| dropped.totals())
    }

    /// Messages with QoS above 0 waiting here, and bytes of any.
    pub(crate) fn queued(&self) -> (usize, usize) {
        let state = self.lock();
        (
            state.queue.messages(),
            state.queue.bytes() + state.lane.as_ref().map_or(0, |lane| lane.content.len()),
        )
    }

    /// Drops the messages whose time has passed from a parked session's queue.
    pub(crate) fn drop_expired(&self, now: Instant, drops: &mut Drops) -> Charge {
        let mut state = self.lock();
        state.queue.drop_expired(now, drops);
        state.queue.take_charge()
    }
}

/// What the owner can take now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants<'a> {
    /// Encoded QoS 0 and QoS 0 messages.
    pub(crate) lane: bool,
    /// Messages with QoS above 0.
    pub(crate) quota: usize,
    /// What the client is done with.
    pub(crate) settled: Settled,
    pub(crate) limits: &'a Limits,
}

/// What the owner took.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) eviction: Option<EndReason>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) lane: Content,
    pub(crate) tally: Tally,
    /// From its queue, with their places.
    pub(crate) parcels: Vec<Parcel>,
    /// Whether [the pager](crate::pager) is to read more.
    pub(crate) asks: bool,
    /// Whether QoS 0 is left that was not asked for.
    pub(crate) left: bool,
    /// Messages with QoS above 0 left in the queue.
    pub(crate) waiting: usize,
    /// The same with those on their way through the store.
    pub(crate) queued: usize,
    /// What the budget and the gauges are to hear of.
    pub(crate) charge: Charge,
}

impl State {
    /// Takes something out of what few have, which goes when that was the last of it.
    fn take_from_few<T: Default>(&mut self, take: impl FnOnce(&mut Few) -> T) -> T {
        let Some(few) = &mut self.few else { return T::default() };
        let taken = take(few);
        if few.claimant.is_none() && few.braked.is_empty() && few.replays.is_empty() {
            self.few = None;
        }
        taken
    }

    fn take_claimant(&mut self) -> Option<Waker> {
        self.take_from_few(|few| few.claimant.take())
    }

    /// The owner's waker, if it has not been woken since it last looked.
    fn signal(&mut self) -> Option<Waker> {
        if self.signaled {
            return None;
        }
        self.signaled = true;
        self.waker.clone()
    }

    fn evict(&mut self, reason: EndReason) -> Option<Waker> {
        // The first reason stands: it is what happened.
        self.eviction.get_or_insert(reason);
        self.signal()
    }

    fn offer(&mut self, delivery: Delivery, limits: &Limits, drops: &mut Drops) {
        if self.queue.offer(delivery, limits, drops) == Offered::Disconnect {
            self.eviction.get_or_insert(EndReason::QueueOverflow);
        }
    }

    fn offer_run(&mut self, run: Run, limits: &Limits, drops: &mut Drops) {
        if self.queue.offer_run(run, limits, drops) == Offered::Disconnect {
            self.eviction.get_or_insert(EndReason::QueueOverflow);
        }
    }

    /// Drops what only a Network Connection could take; returns the publishers that waited for it.
    fn disconnected(&mut self, drops: &mut Drops) -> Vec<Waker> {
        self.waker = None;
        self.signaled = false;
        self.eviction = None;
        self.notices = None;
        let Some(mut lane) = self.lane.take() else { return Vec::new() };
        self.queue.charge(Charge::of_bytes(-i64::try_from(lane.content.len()).unwrap_or(0)));
        let messages = lane.content.clear();
        drops.block(DropReason::Offline, lane.tally.publishes + messages);
        lane.line.dissolve()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

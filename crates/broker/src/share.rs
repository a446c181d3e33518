//! Shared groups: each message goes to one member.
//!
//! A member that is online and has send quota left is preferred, in turn. Where there is none, a message with QoS above 0
//! waits in the group's own queue, from which members take as their quota comes back; QoS 0 is dropped if nobody is
//! online. Order within a group is not promised.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use dunlin_codec::{Qos, TopicName};
use dunlin_session::{Delivery, Origin};
use dunlin_store::SessionNo;
use dunlin_topics::SharedFilter;
use parking_lot::Mutex;

use crate::config::Limits;
use crate::mailbox::Mailbox;
use crate::namespace::Namespace;
use crate::router::SubscriptionEntry;

/// One group: everybody who subscribed to the same `$share/{group}/{filter}`.
#[derive(Debug)]
pub(crate) struct Group {
    /// Where all its members live.
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) filter: SharedFilter,
    /// Its queue's number in the store, which also names the group in a [`Delivery`].
    pub(crate) session_no: SessionNo,
    /// Whether the store knows the group.
    stored: AtomicBool,
    /// Whether messages wait in the queue: read by members without the lock.
    waiting: AtomicBool,
    /// Whether so much waits, although a member is connected, that publishers are braked.
    crowded: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: Vec<Member>,
    /// Where the next search begins.
    next: usize,
    /// Bounded by `shared_group_queue_messages_max` and `shared_group_queue_bytes_max`.
    queue: VecDeque<Delivery>,
    bytes: usize,
    last_seq: u64,
    /// Publishers whose acknowledgements are withheld until less waits. At most one entry for each connection.
    braked: Vec<Waker>,
    /// Whether braking did not help: until little waits, nobody is braked for this group.
    brake_released: bool,
    /// Messages and bytes that are little, as the limits were when there was much.
    little: (usize, usize),
}

impl State {
    /// The next member that can take messages of this topic and QoS, in turn, and how many of `most` it takes. One with quota
    /// gives so much of it up.
    fn choose(&mut self, topic: &[u8], qos: Qos, most: usize) -> Option<(Member, usize)> {
        let count = self.members.len();
        for offset in 0..count {
            let index = (self.next + offset) % count;
            let Some(member) = self.members.get(index) else { break };
            let taken = if !member.mailbox.is_online() || !member.may_get(topic) {
                0
            } else if qos.min(member.entry.qos) == Qos::AtMostOnce {
                most
            } else {
                member.mailbox.take_credits(most)
            };
            if taken > 0 {
                self.next = index + 1;
                return Some((member.clone(), taken));
            }
        }
        None
    }
}

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) entry: SubscriptionEntry,
}

impl Member {
    /// Whether a message of this topic may go to this member.
    pub(crate) fn may_get(&self, topic: &[u8]) -> bool {
        !self.entry.filtered || self.mailbox.may_get(topic)
    }

    /// Makes a group's message this member's. [MQTT-4.8.2-3]
    pub(crate) fn adapt(&self, group: &Group, mut delivery: Delivery) -> Delivery {
        let group_seq = match delivery.origin {
            Origin::Plain => delivery.seq,
            Origin::Shared { seq, .. } => seq,
        };
        delivery.qos = delivery.message.qos.min(self.entry.qos);
        delivery.retain = delivery.message.retain && self.entry.retain_as_published;
        delivery.subscription_ids = self.entry.subscription_id.into_iter().collect();
        delivery.origin = Origin::Shared { group: group.session_no.0, seq: group_seq };
        delivery.seq = 0;
        delivery
    }
}

impl Group {
    pub(crate) fn new(
        namespace: Arc<Namespace>,
        filter: SharedFilter,
        session_no: SessionNo,
    ) -> Self {
        Self {
            namespace,
            filter,
            session_no,
            stored: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// A group whose queue is in the store already.
    pub(crate) fn restored(
        namespace: Arc<Namespace>,
        filter: SharedFilter,
        session_no: SessionNo,
        last_seq: u64,
    ) -> Self {
        let group = Self::new(namespace, filter, session_no);
        group.stored.store(true, Ordering::Relaxed);
        group.state.lock().last_seq = last_seq;
        group
    }

    /// Adds a member or replaces its options; whether it is new.
    pub(crate) fn join(&self, mailbox: &Arc<Mailbox>, entry: SubscriptionEntry) -> bool {
        debug_assert!(Arc::ptr_eq(&self.namespace, &mailbox.namespace), "a group is one tenant's");
        let mut state = self.state.lock();
        if let Some(member) =
            state.members.iter_mut().find(|member| Arc::ptr_eq(&member.mailbox, mailbox))
        {
            member.entry = entry;
            return false;
        }
        state.members.push(Member { mailbox: Arc::clone(mailbox), entry });
        true
    }

    /// Removes a member; whether it was one.
    pub(crate) fn leave(&self, mailbox: &Arc<Mailbox>) -> bool {
        let mut state = self.state.lock();
        let before = state.members.len();
        state.members.retain(|member| !Arc::ptr_eq(&member.mailbox, mailbox));
        state.members.len() < before
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().members.is_empty()
    }

    /// Whether the group's messages go through the store: one of its members outlives its connection
    /// and acknowledges what it gets.
    pub(crate) fn is_durable(&self) -> bool {
        let holds =
            |member: &Member| member.mailbox.is_durable() && member.entry.qos > Qos::AtMostOnce;
        self.state.lock().members.iter().any(holds)
    }

    /// Whether the store knows the group; notes that it does from now on.
    pub(crate) fn set_stored(&self) -> bool {
        self.stored.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_stored(&self) -> bool {
        self.stored.load(Ordering::Acquire)
    }

    /// The next member that can take a message of this topic and QoS, in turn. One with quota gives one of it up.
    pub(crate) fn choose(&self, topic: &[u8], qos: Qos) -> Option<Member> {
        self.state.lock().choose(topic, qos, 1).map(|(member, _)| member)
    }

    /// Parts `count` consecutive messages of this topic and QoS among the members that can take some, in turn and as evenly
    /// as they go: who gets how many of the next ones. Members with quota give so much of it up. What nobody can take is left.
    pub(crate) fn part(
        &self,
        topic: &[u8],
        qos: Qos,
        count: usize,
        parts: &mut Vec<(Member, usize)>,
    ) {
        let mut state = self.state.lock();
        let each = count.div_ceil(state.members.len().max(1));
        let mut left = count;
        while left > 0 {
            let Some((member, taken)) = state.choose(topic, qos, each.min(left)) else { break };
            left -= taken;
            parts.push((member, taken));
        }
    }

    /// The member with this mailbox.
    pub(crate) fn member(&self, mailbox: &Arc<Mailbox>) -> Option<Member> {
        self.state
            .lock()
            .members
            .iter()
            .find(|member| Arc::ptr_eq(&member.mailbox, mailbox))
            .cloned()
    }

    /// The next place in the group's own queue.
    pub(crate) fn number(&self) -> u64 {
        let mut state = self.state.lock();
        state.last_seq += 1;
        state.last_seq
    }

    /// Lets a message wait for a member; gives it back if there is no room.
    pub(crate) fn wait(&self, delivery: Delivery, limits: &Limits) -> Result<(), Delivery> {
        let mut state = self.state.lock();
        let size = delivery.message.size();
        let full = state.queue.len() >= limits.shared_group_queue_messages_max
            || (state.bytes > 0 && state.bytes + size > limits.shared_group_queue_bytes_max);
        if full {
            return Err(delivery);
        }
        state.bytes += size;
        state.queue.push_back(delivery);
        self.waiting.store(true, Ordering::Release);
        let (messages, bytes) =
            (limits.shared_group_queue_messages_max, limits.shared_group_queue_bytes_max);
        let crowded = state.queue.len() > messages / 8 || state.bytes > bytes / 8;
        if crowded && !state.brake_released && !self.is_crowded() {
            state.little = (messages / 16, bytes / 16);
            let drains = state.members.iter().any(|member| member.mailbox.is_online());
            self.crowded.store(drains, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether publishers with QoS above 0 are to be braked for the sake of this group.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Wakes the publisher when less waits here; `false` if it need not wait.
    pub(crate) fn brake(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        if !self.is_crowded() {
            return false;
        }
        if !state.braked.iter().any(|other| other.will_wake(waker)) {
            state.braked.push(waker.clone());
        }
        true
    }

    /// The members did not catch up in the time that publishers wait for them.
    pub(crate) fn give_brake_up(&self) {
        let mut state = self.state.lock();
        state.brake_released = true;
        self.crowded.store(false, Ordering::Relaxed);
        let braked = std::mem::take(&mut state.braked);
        drop(state);
        braked.into_iter().for_each(Waker::wake);
    }

    /// Something was taken from the queue: if little is left, the publishers that waited for that are given back.
    fn relieved(&self, state: &mut State) -> Vec<Waker> {
        if state.queue.is_empty() {
            state.queue = VecDeque::new();
            self.waiting.store(false, Ordering::Release);
        }
        if state.queue.len() > state.little.0 || state.bytes > state.little.1 {
            return Vec::new();
        }
        state.brake_released = false;
        self.crowded.store(false, Ordering::Relaxed);
        std::mem::take(&mut state.braked)
    }

    /// Puts a message back that waited here before a restart, whatever the bounds: it was accepted.
    pub(crate) fn restore(&self, delivery: Delivery) {
        let mut state = self.state.lock();
        state.bytes += delivery.message.size();
        state.queue.push_back(delivery);
        self.waiting.store(true, Ordering::Release);
    }

    /// The store refused the place given last, if one was given: it is free again.
    pub(crate) fn take_number_back(&self, seq: u64) {
        if seq > 0 {
            let mut state = self.state.lock();
            state.last_seq = state.last_seq.min(seq - 1);
        }
    }

    /// Puts messages back to the front, in their order. They were accepted once, so the bounds do not apply.
    pub(crate) fn give_back(&self, deliveries: Vec<Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for delivery in deliveries.into_iter().rev() {
            state.bytes += delivery.message.size();
            state.queue.push_front(delivery);
        }
        self.waiting.store(true, Ordering::Release);
    }

    /// Whether a delivery came through this group.
    pub(crate) fn sent(&self, delivery: &Delivery) -> bool {
        matches!(delivery.origin, Origin::Shared { group, .. } if group == self.session_no.0)
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Whether any member may ever get a message of this topic.
    pub(crate) fn is_for_some(&self, topic: &[u8]) -> bool {
        let state = self.state.lock();
        state.members.is_empty() || state.members.iter().any(|member| member.may_get(topic))
    }

    /// Takes the first waiting message that this member may get.
    pub(crate) fn take_for(&self, member: &Member) -> Option<Delivery> {
        if !member.entry.filtered {
            return self.take(1).pop();
        }
        let mut state = self.state.lock();
        let may_get = |delivery: &Delivery| member.may_get(delivery.message.topic.as_bytes());
        let position = state.queue.iter().position(may_get)?;
        let delivery = state.queue.remove(position)?;
        state.bytes -= delivery.message.size();
        let braked = self.relieved(&mut state);
        drop(state);
        braked.into_iter().for_each(Waker::wake);
        Some(delivery)
    }

    /// The topic of the message that waits longest.
    pub(crate) fn first_waiting(&self) -> Option<TopicName> {
        self.state.lock().queue.front().map(|delivery| delivery.message.topic.clone())
    }

    /// Takes up to `count` waiting messages.
    pub(crate) fn take(&self, count: usize) -> Vec<Delivery> {
        let mut state = self.state.lock();
        let count = count.min(state.queue.len());
        let taken: Vec<Delivery> = state.queue.drain(..count).collect();
        state.bytes -= taken.iter().map(|delivery| delivery.message.size()).sum::<usize>();
        let braked = self.relieved(&mut state);
        drop(state);
        braked.into_iter().for_each(Waker::wake);
        taken
    }
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.session_no == other.session_no
    }
}

impl Eq for Group {}

impl std::hash::Hash for Group {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.session_no.hash(state);
    }
}

//! How messages of shared groups find a member, and come back from one that leaves.
//!
//! A message that waits in a group with a durable member is in the store under the group's own number. With a durable
//! member it moves under that member's number, in one atomic change; with another member it stays where it is until that
//! member has acknowledged it.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use dunlin_codec::Qos;
use dunlin_session::{Delivery, Origin, Session, Settled};
use dunlin_store::{Change, SessionKey, SessionNo, SessionRecord};
use dunlin_topics::SharedFilter;

use crate::core::Core;
use crate::fanout::Staging;
use crate::holding::BROKER_LINE;
use crate::lane::Patience;
use crate::mailbox::Mailbox;
use crate::metrics::{DropReason, add};
use crate::namespace::Namespace;
use crate::persist::{Entry, GroupTarget, PublishEntry, QueueTarget, Shared, Write, in_group};
use crate::share::{Group, Member};

impl Core {
    /// The group of a shared filter, made when its first member comes.
    pub(crate) fn make_group(namespace: &Arc<Namespace>, filter: &SharedFilter) -> Arc<Group> {
        let number = namespace.registry.next_session_no();
        Arc::new(Group::new(Arc::clone(namespace), filter.clone(), number))
    }

    /// What the store must be told when a durable session joins a group: its queue.
    pub(crate) fn group_opened(group: &Group) -> Option<Entry> {
        if group.set_stored() {
            return None;
        }
        let key = SessionKey::Group(group.filter.text().clone());
        let record =
            SessionRecord { expiry_secs: SessionRecord::NEVER, ..SessionRecord::default() };
        let namespace = group.namespace.number;
        Some(Entry::change(Change::SessionOpened {
            session: group.session_no,
            namespace,
            key,
            record,
        }))
    }

    /// Lets a message wait in a group for a member with quota.
    fn wait_in_group(&self, group: &Group, delivery: Delivery) {
        let (reason, delivery) = if group.is_for_some(delivery.message.topic.as_bytes()) {
            match group.wait(delivery, &self.config().limits) {
                Ok(()) => return,
                Err(delivery) => (DropReason::GroupQueue, delivery),
            }
        } else {
            (DropReason::NotAuthorized, delivery)
        };
        let (counters, filter) = (&group.namespace.counters, group.filter.as_str());
        self.report_publish(counters, filter, Some(&delivery.message), reason);
        self.group_finished(&delivery);
    }

    /// Gives a group's message to a member that can take it, or lets it wait. `seq` is its place in the store, 0 for none.
    pub(crate) fn offer_group(self: &Arc<Self>, group: &Arc<Group>, delivery: Delivery, seq: u64) {
        self.wait_in_group(group, in_group(group, delivery, seq));
        self.dispatch_group(group);
    }

    /// Hands waiting messages to members with quota, as far as there are any.
    pub(crate) fn dispatch_group(self: &Arc<Self>, group: &Arc<Group>) {
        // A member notes its quota and then looks whether something waits; here it is the other way round. Whichever comes
        // second sees the other.
        fence(Ordering::SeqCst);
        let mut staging = Staging::default();
        while let Some(topic) = group.first_waiting() {
            let Some(member) = group.choose(topic.as_bytes(), Qos::ExactlyOnce) else { break };
            let Some(delivery) = group.take_for(&member) else { break };
            self.hand_over(&mut staging, group, &member, delivery);
        }
        staging.flush(self, Patience::None, &mut Vec::new());
        if let Some(write) = staging.take_write(self, None) {
            self.submit_later(write);
        }
    }

    /// Stages one of a group's messages for a member.
    pub(crate) fn hand_over(
        &self,
        staging: &mut Staging,
        group: &Arc<Group>,
        member: &Member,
        delivery: Delivery,
    ) {
        let from_seq = group_seq(&delivery);
        let mut delivery = member.adapt(group, delivery);
        let mailbox = Arc::clone(&member.mailbox);
        // A member with granted QoS 0 acknowledges nothing: with the sending the message is done with.
        if delivery.qos == Qos::AtMostOnce {
            delivery.origin = Origin::Plain;
            staging.delivery(self, mailbox, delivery);
            self.group_acknowledged(group.session_no.0, from_seq);
        } else if !mailbox.is_durable() {
            staging.delivery(self, mailbox, delivery);
        } else {
            delivery.origin = Origin::Shared { group: group.session_no.0, seq: 0 };
            if from_seq == 0 {
                staging.queue(self, &mailbox, delivery);
                return;
            }
            let (message, expires_at) = (Arc::clone(&delivery.message), delivery.expires_at);
            let shared = Shared { message, expires_at, id: None };
            let to = QueueTarget::reserve_always(mailbox, delivery);
            let group = Arc::clone(group);
            staging.writes.push(Entry::HandOver { group, from_seq, shared, to });
        }
    }

    /// A group's message is done with: its place in the store, if it has one there, is free.
    pub(crate) fn group_finished(&self, delivery: &Delivery) {
        if let Origin::Shared { group, seq } = delivery.origin {
            self.group_acknowledged(group, seq);
        }
    }

    /// The place `seq` in a group's stored queue is done with; 0 is no place.
    pub(crate) fn group_acknowledged(&self, group: u32, seq: u64) {
        if seq > 0 {
            self.note(Change::Acknowledged { session: SessionNo(group), first: seq, last: seq });
        }
    }

    /// A member leaves its groups, for now or for good: what it was not sent, or has not acknowledged, is for others.
    /// [MQTT-4.8.2-4] [MQTT-4.8.2-5] A QoS 2 message that was begun stays with it.
    pub(crate) fn leave_groups(self: &Arc<Self>, mailbox: &Arc<Mailbox>, session: &mut Session) {
        let mut back = session.take_unacknowledged_shared();
        let mut settled = Settled::default();
        back.iter().for_each(|delivery| settled.add(Some(&delivery.message)));
        mailbox.settle(settled);
        back.extend(mailbox.take_where(|delivery| delivery.origin.is_shared()));
        self.give_back(mailbox, back);
    }

    /// Messages come back from a member to their groups, which offer them to others.
    pub(crate) fn give_back(
        self: &Arc<Self>,
        mailbox: &Arc<Mailbox>,
        mut deliveries: Vec<Delivery>,
    ) {
        while let Some(number) = deliveries.first().and_then(group_number) {
            let ours: Vec<Delivery> = deliveries
                .extract_if(.., |delivery| group_number(delivery) == Some(number))
                .collect();
            match mailbox.namespace.router.group_by_number(number) {
                Some(group) => self.give_back_to(&group, mailbox, ours),
                // The group is gone, and with it everybody who could get them.
                None => self.drop_copies(mailbox, DropReason::SessionEnded, ours.len() as u64),
            }
        }
    }

    fn give_back_to(
        self: &Arc<Self>,
        group: &Arc<Group>,
        mailbox: &Arc<Mailbox>,
        deliveries: Vec<Delivery>,
    ) {
        add(&group.namespace.counters.shared_redistributed, deliveries.len() as u64);
        let mut entries = Vec::new();
        let mut now = Vec::new();
        for delivery in deliveries {
            let stored_with_member = group_seq(&delivery) == 0 && mailbox.is_durable();
            if !stored_with_member {
                let seq = group_seq(&delivery);
                now.push(in_group(group, delivery, seq));
            } else if delivery.seq > 0 && !mailbox.has_ended() {
                let (from, from_seq) = (mailbox.session_no, delivery.seq);
                entries.push(Entry::GiveBack {
                    from,
                    from_seq,
                    group: Arc::clone(group),
                    delivery,
                    seq: 0,
                });
            } else {
                // Its place went with the member's session: the group gets it as a new message.
                let level = self.level(&delivery.message.topic, None);
                let mut entry = PublishEntry::new(&delivery.message, level);
                entry.expires_at = delivery.expires_at;
                entry.line = Some(BROKER_LINE);
                let group = Arc::clone(group);
                entry.own.groups.push(GroupTarget { group, delivery, member: None });
                entries.push(Entry::Publish(Box::new(entry)));
            }
        }
        group.give_back(now);
        if !entries.is_empty() {
            self.submit_later(Write::new(self, None, entries));
        }
        self.dispatch_group(group);
    }
}

/// The group that a delivery came through.
fn group_number(delivery: &Delivery) -> Option<SessionNo> {
    match delivery.origin {
        Origin::Plain => None,
        Origin::Shared { group, .. } => Some(SessionNo(group)),
    }
}

/// A delivery's place in its group's stored queue; 0 if it has none there.
fn group_seq(delivery: &Delivery) -> u64 {
    match delivery.origin {
        Origin::Plain => 0,
        Origin::Shared { seq, .. } => seq,
    }
}

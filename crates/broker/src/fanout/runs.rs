//! Runs: consecutive PUBLISHes of one topic that go to their receivers as one block.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::{
    DecodeLimits, Message, Packet, Qos, TextRules, TopicName, Version, decode, transcode_run,
};
use dunlin_session::Run;
use smallvec::SmallVec;

use crate::budget::Pressure;
use crate::chunks::Chunks;
use crate::core::Core;
use crate::crowding::Crowded;
use crate::lane::Tally;
use crate::mailbox::{Mailbox, Wire};
use crate::metrics::DropReason;
use crate::queue::Parcel;
use crate::router::Route;
use crate::share::Group;

use super::{Staging, delivery_of};

/// From this many bytes a run for several receivers is one block that they share.
const SHARE_BYTES_MIN: usize = 1024;
/// Bytes of packets with QoS above 0 from which on they are no run for several receivers.
const SHARED_PACKET_MAX: usize = 512;
/// Bytes of packets from which on they are none for one either: their payloads are rather written from where they are.
const PACKET_MAX: usize = 4 * 1024;

/// Consecutive QoS 0 PUBLISHes of one topic, as they came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunBytes<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) frames: u64,
    /// The largest packet.
    pub(crate) largest: usize,
    /// Bytes of all payloads.
    pub(crate) payload: u64,
    pub(crate) version: Version,
}

/// What is known of a run with QoS above 0 that can be staged.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) name: TopicName,
    /// Bytes that each of its packets may have.
    pub(crate) size_max: usize,
    /// Where so much waits that the publisher is to be braked.
    pub(crate) crowded: Option<Crowded>,
}

impl Staging {
    /// Stages a run of QoS 0 PUBLISHes.
    pub(crate) fn run(&mut self, core: &Arc<Core>, route: &Route, run: RunBytes<'_>, now: Instant) {
        if self.pressure(core) >= Pressure::DropQos0 {
            let there = route.exports.iter().map(|there| &there.route);
            for route in std::iter::once(route).chain(there) {
                core.drop_run(route, run.frames);
            }
            return;
        }
        let mut block = Block::new(run, route.targets.len() > 1);
        let mut messages = None;
        for target in &route.targets {
            let Some(mailbox) = target.mailbox.upgrade() else { continue };
            let wire = mailbox.wire();
            // In the other layout a packet can be two bytes longer: its property length, and one more of Remaining Length.
            let fits = run.largest + 2 <= mailbox.packet_size_max() as usize;
            match wire {
                Wire::Offline if !core.config().limits.queue_qos0 => {
                    core.drop_copies(&mailbox, DropReason::Offline, run.frames);
                }
                Wire::V3 | Wire::V5 if fits && target.subscription_ids.is_empty() => {
                    self.bytes += run.bytes.len();
                    let post = &mut self.entry(mailbox, wire).post;
                    post.at_most_once = true;
                    block.append_to(post.lane.encoded(), wire);
                    post.tally.add(Tally { publishes: run.frames, payload: run.payload });
                }
                Wire::Offline | Wire::V3 | Wire::V5 | Wire::Messages => {
                    let messages = messages.get_or_insert_with(|| run.messages(core, &route.name));
                    for message in messages.iter() {
                        self.copy(core, &mailbox, target, message, now);
                    }
                }
            }
        }
        for group in &route.groups {
            self.run_to_group(core, group, route, run, now);
        }
        // Mostly under other names, so that no bytes can be forwarded.
        for there in route.exports.iter().filter(|there| !there.route.is_empty()) {
            there.crossed(run.frames);
            for message in messages.get_or_insert_with(|| run.messages(core, &route.name)) {
                let copies = self.copies(core, &there.route, &there.message(message), now);
                debug_assert!(copies.is_empty(), "QoS 0 goes through no store");
            }
        }
    }

    /// Looks whether runs of `qos`, above 0, that begin with packets like this one can be staged as they are, because all that
    /// would be done for each of their messages is to copy it to connected clients, some of them chosen by groups, that have
    /// sessions which are not durable, or get it at QoS 0. [`Staging::acknowledged_run`] or [`Staging::no_run`] comes next.
    pub(crate) fn takes_run(
        &mut self,
        core: &Core,
        route: &Route,
        largest: usize,
        qos: Qos,
    ) -> Option<Ready> {
        // Payloads of some size are charged to the budget once for all receivers, and need a message for that.
        let several = route.targets.len() + route.groups.len() > 1;
        let size_max = if several { SHARED_PACKET_MAX } else { PACKET_MAX };
        let plain = largest <= size_max
            && !(route.targets.is_empty() && route.groups.is_empty())
            && route.exports.is_empty()
            && !route.groups.iter().any(|group| group.is_durable())
            && self.pressure(core) < Pressure::SlowPublishers;
        if !plain {
            return None;
        }
        let mut crowded = None;
        for group in &route.groups {
            if group.is_crowded() {
                crowded = Some(Crowded::Group(Arc::clone(group)));
            }
        }
        for target in &route.targets {
            let Some(mailbox) = target.mailbox.upgrade() else { continue };
            let wire = mailbox.wire();
            // [MQTT-3.8.4-8] [MQTT-3.8.4-6 @3.1.1]
            let qos = qos.min(target.qos);
            let takes = target.subscription_ids.is_empty()
                && matches!(wire, Wire::V3 | Wire::V5)
                && (qos == Qos::AtMostOnce || !mailbox.is_durable())
                && size_max + 2 <= mailbox.packet_size_max() as usize;
            if !takes {
                self.no_run();
                return None;
            }
            if qos > Qos::AtMostOnce && mailbox.is_crowded() {
                crowded = Some(Crowded::Client(Arc::clone(&mailbox)));
            }
            self.receivers.push(Receiver { mailbox, wire, qos });
        }
        self.groups.extend_from_slice(&route.groups);
        Some(Ready { name: route.name.clone(), size_max, crowded })
    }

    /// The run is not staged.
    pub(crate) fn no_run(&mut self) {
        self.receivers.clear();
        self.groups.clear();
    }

    /// Stages a run for the receivers and groups that were found for it.
    pub(crate) fn acknowledged_run(&mut self, core: &Arc<Core>, run: &Run) {
        let mut groups = std::mem::take(&mut self.groups);
        for group in groups.drain(..) {
            self.acknowledged_run_to_group(core, &group, run.clone());
        }
        self.groups = groups;
        let mut receivers = std::mem::take(&mut self.receivers);
        let mut forms = Forms::new(run, receivers.len() > 1);
        for receiver in receivers.drain(..) {
            self.acknowledged_run_to(receiver, &mut forms);
        }
        self.receivers = receivers;
    }

    fn acknowledged_run_to(&mut self, receiver: Receiver, forms: &mut Forms<'_>) {
        let Receiver { mailbox, wire, qos } = receiver;
        let run = forms.run;
        self.bytes += run.size();
        let post = &mut self.entry(mailbox, wire).post;
        if qos == Qos::AtMostOnce {
            forms.append_to(post.lane.encoded(), wire);
            let tally = Tally { publishes: run.len() as u64, payload: run.payload_len() as u64 };
            post.tally.add(tally);
        } else {
            post.parcels.push(Parcel::Run(forms.at(wire, qos)));
        }
    }

    /// Parts a run among the members of a group. Messages for those who get them in a form of their own, and what no member
    /// has quota for, go one by one.
    fn acknowledged_run_to_group(&mut self, core: &Arc<Core>, group: &Arc<Group>, mut rest: Run) {
        rest.came_by_group(group.session_no.0);
        let mut parts = std::mem::take(&mut self.parts);
        group.part(rest.topic().as_bytes(), rest.qos(), rest.len(), &mut parts);
        for (member, count) in parts.drain(..) {
            let part = rest.split_front(count);
            let wire = member.mailbox.wire();
            let qos = part.qos().min(member.entry.qos);
            let plain = matches!(wire, Wire::V3 | Wire::V5)
                && member.entry.subscription_id.is_none()
                && part.largest() + 2 <= member.mailbox.packet_size_max();
            if plain {
                let receiver = Receiver { mailbox: member.mailbox, wire, qos };
                self.acknowledged_run_to(receiver, &mut Forms::new(&part, false));
                continue;
            }
            for delivery in part {
                let delivery = member.adapt(group, delivery);
                self.delivery(core, Arc::clone(&member.mailbox), delivery);
            }
        }
        self.parts = parts;
        for delivery in rest {
            core.offer_group(group, delivery, 0);
        }
    }

    fn run_to_group(
        &mut self,
        core: &Core,
        group: &Group,
        route: &Route,
        run: RunBytes<'_>,
        now: Instant,
    ) {
        // Near enough for a counter.
        let average = run.payload / run.frames.max(1);
        for frame in run.split() {
            let Some(member) = group.choose(route.name.as_bytes(), Qos::AtMostOnce) else {
                group.namespace.counters.drop_many(DropReason::Offline, 1);
                continue;
            };
            let wire = member.mailbox.wire();
            let single =
                RunBytes { bytes: frame, frames: 1, largest: frame.len(), payload: average, ..run };
            let plain = member.entry.subscription_id.is_none()
                && frame.len() + 2 <= member.mailbox.packet_size_max() as usize;
            if plain && matches!(wire, Wire::V3 | Wire::V5) {
                let post = &mut self.entry(member.mailbox, wire).post;
                post.at_most_once = true;
                Block::new(single, false).append_to(post.lane.encoded(), wire);
                post.tally.add(Tally { publishes: 1, payload: average });
            } else {
                for message in single.messages(core, &route.name) {
                    let delivery = member.adapt(group, delivery_of(&message, now));
                    self.delivery(core, Arc::clone(&member.mailbox), delivery);
                }
            }
        }
    }
}

/// Who gets a copy of a run with QoS above 0, and in which form.
#[derive(Debug)]
pub(super) struct Receiver {
    mailbox: Arc<Mailbox>,
    wire: Wire,
    qos: Qos,
}

/// A run with QoS above 0 in the forms that receivers need, each made when first asked for.
struct Forms<'a> {
    run: &'a Run,
    several: bool,
    /// At a QoS above 0.
    made: SmallVec<[Run; 2]>,
    /// At QoS 0, in the layouts of 3.x and 5.0, for several receivers.
    at_most_once: [Option<Bytes>; 2],
}

impl<'a> Forms<'a> {
    fn new(run: &'a Run, several: bool) -> Self {
        Self { run, several, made: SmallVec::new(), at_most_once: [None, None] }
    }

    /// At a QoS above 0.
    fn at(&mut self, wire: Wire, qos: Qos) -> Run {
        let fits = |run: &&Run| Wire::of(run.version()) == wire && run.qos() == qos;
        if let Some(run) = std::iter::once(self.run).chain(&self.made).find(fits) {
            return run.clone();
        }
        let made = self.run.transcoded(version_of(wire), qos);
        if self.several {
            self.made.push(made.clone());
        }
        made
    }

    /// At QoS 0.
    fn append_to(&mut self, lane: &mut Chunks, wire: Wire) {
        let Self { run, several, .. } = *self;
        let to = version_of(wire);
        // Without identifiers it is shorter than it was, whatever the layout.
        let write = |bytes: &mut Vec<u8>| {
            transcode_run(run.bytes(), run.version(), to, Qos::AtMostOnce, bytes);
        };
        if !several {
            lane.with_tail(run.bytes().len(), write);
            return;
        }
        let [v3, v5] = &mut self.at_most_once;
        let block = if to.is_v5() { v5 } else { v3 }.get_or_insert_with(|| {
            let mut bytes = Vec::with_capacity(run.bytes().len());
            write(&mut bytes);
            Bytes::from(bytes)
        });
        lane.push_shared(block);
    }
}

/// A version in which such a client reads.
const fn version_of(wire: Wire) -> Version {
    match wire {
        Wire::V5 => Version::V5,
        Wire::V3 | Wire::Offline | Wire::Messages => Version::V3_1_1,
    }
}

/// A run of QoS 0 in the layouts and forms that receivers need, each made when first asked for.
struct Block<'a> {
    run: RunBytes<'a>,
    several: bool,
    same: Option<Bytes>,
    other: Option<Bytes>,
}

impl<'a> Block<'a> {
    fn new(run: RunBytes<'a>, several: bool) -> Self {
        Self {
            run,
            several: several && run.bytes.len() >= SHARE_BYTES_MIN,
            same: None,
            other: None,
        }
    }

    fn append_to(&mut self, lane: &mut Chunks, wire: Wire) {
        let run = self.run;
        if wire == Wire::of(run.version) {
            if self.several {
                lane.push_shared(
                    self.same.get_or_insert_with(|| Bytes::copy_from_slice(run.bytes)),
                );
            } else {
                lane.extend(run.bytes);
            }
            return;
        }
        let other = self.other.get_or_insert_with(|| {
            let mut bytes = Vec::with_capacity(run.bytes.len() + run.bytes.len() / 16);
            let to = version_of(wire);
            transcode_run(run.bytes, run.version, to, Qos::AtMostOnce, &mut bytes);
            Bytes::from(bytes)
        });
        lane.push_shared(other);
    }
}

impl<'a> RunBytes<'a> {
    /// Its packets.
    fn split(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let len = dunlin_codec::whole_frame_len(rest)?;
            let (frame, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(frame)
        })
    }

    /// Its packets as messages.
    fn messages(self, core: &Core, name: &TopicName) -> Vec<Arc<Message>> {
        // The run was checked as a whole against the listener's limits; here only its parts are wanted.
        let limits = DecodeLimits {
            packet_size_max: u32::MAX,
            text: TextRules { allow_control: true, allow_non_characters: true },
        };
        let message = |frame: &[u8]| match decode(frame, self.version, &limits) {
            Ok(Some((Packet::Publish(publish), _))) => {
                Some(Arc::new(core.own(&publish, name.clone())))
            }
            _ => None,
        };
        self.split().filter_map(message).collect()
    }
}

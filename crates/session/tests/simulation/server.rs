//! The machine with a small server around it: a disk that is written late, answers that come later still, and crashes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_codec::{
    Ack, AckKind, ClientId, DecodeLimits, Message, Packet, PacketId, PacketRef, Qos, ReasonCode,
    TopicName, Version, decode, decode_connect, encode_publish_head,
};
use dunlin_session::{
    Capabilities, Connection, Delivery, Input, Output, Outputs, Persist, Restored, Session,
    SessionExpiry, Token,
};

use crate::client::{Number, number_of, topic_of};
use crate::pipe::Pipe;
use crate::rng::Rng;

/// What survives a crash.
#[derive(Default)]
pub(crate) struct Disk {
    /// Numbers of the client's messages, QoS 1 and QoS 2 apart, in the order of their commits.
    pub(crate) routed: [Vec<Number>; 2],
    inbound: BTreeSet<u16>,
    /// The messages for the client that are not acknowledged, by their place.
    queue: BTreeMap<u64, (Number, Qos)>,
    released: BTreeSet<u64>,
}

/// A write on its way to the disk. Writes are made in their order.
enum Write {
    Publish { token: Token, qos: Qos, packet_id: PacketId, number: Number },
    Change { token: Option<Token>, change: Persist },
}

/// An answer on its way to the session. Answers may overtake each other.
#[derive(Clone, Copy)]
enum Answer {
    Routed(Token),
    Durable(Token),
}

pub(crate) struct Server {
    capabilities: Arc<Capabilities>,
    version: Version,
    pub(crate) connection: Option<Connection>,
    session: Option<Box<Session>>,
    pub(crate) disk: Disk,
    writes: VecDeque<(Instant, Write)>,
    answers: Vec<(Instant, Answer)>,
    next_seq: u64,
    /// Places that wait in the queue.
    undelivered: VecDeque<u64>,
    pub(crate) queued: Number,
    /// Places before this one may have been sent.
    delivered: u64,
    monitor: Monitor,
}

/// Watches the wire towards the client.
#[derive(Default)]
struct Monitor {
    /// Which message each identifier in use stands for.
    in_use: HashMap<PacketId, u64>,
    /// PUBLISHes of this connection that are not acknowledged for good.
    on_the_way: BTreeSet<PacketId>,
    quota: usize,
}

impl Server {
    pub(crate) fn new(version: Version, rng: &mut Rng) -> Self {
        let capabilities = Capabilities {
            // The client's own window is smaller.
            receive_maximum: 40,
            inflight_max: u16::try_from(rng.below(30) + 1).unwrap(),
            ..Default::default()
        };
        Self {
            capabilities: Arc::new(capabilities),
            version,
            connection: None,
            session: None,
            disk: Disk::default(),
            writes: VecDeque::new(),
            answers: Vec::new(),
            // Near the end of the Packet Identifiers, so that they come round.
            next_seq: 65_535 * 3 - 100,
            undelivered: VecDeque::new(),
            queued: 0,
            delivered: 0,
            monitor: Monitor::default(),
        }
    }

    pub(crate) fn idle(&self) -> bool {
        self.writes.is_empty() && self.answers.is_empty() && self.disk.queue.is_empty()
    }

    pub(crate) fn accept(&mut self, receive_maximum: u16, now: Instant) {
        self.connection = Some(Connection::new(Arc::clone(&self.capabilities), 1, now));
        self.monitor.on_the_way.clear();
        self.monitor.quota = usize::from(receive_maximum.min(self.capabilities.inflight_max));
    }

    /// The connection is lost; the session stays.
    pub(crate) fn lost(&mut self, now: Instant) {
        let Some(mut connection) = self.connection.take() else { return };
        let mut out = Outputs::new();
        connection.handle(Input::Lost, now, &mut out).unwrap();
        self.session = connection.detach().or_else(|| self.session.take());
    }

    /// Everything but the disk is lost.
    pub(crate) fn crash(&mut self) {
        self.connection = None;
        self.writes.clear();
        self.answers.clear();
        // An identifier means the same message after the crash.
        let known: BTreeSet<_> = self.disk.queue.keys().copied().collect();
        self.monitor.in_use.retain(|_, seq| known.contains(seq));
        let id = |id: &u16| PacketId::new(*id).unwrap();
        self.session = Some(Box::new(Session::restore(Restored {
            client_id: ClientId::new("client").unwrap(),
            expiry: SessionExpiry::NEVER,
            will: None,
            will_at: None,
            expires_at: None,
            subscriptions: Vec::new(),
            inbound: self.disk.inbound.iter().map(id).collect(),
            released: self.disk.released.iter().copied().collect(),
        })));
        self.undelivered = self
            .disk
            .queue
            .keys()
            .copied()
            .filter(|seq| !self.disk.released.contains(seq))
            .collect();
    }

    /// One more message for the client is in its queue, durably.
    pub(crate) fn enqueue(&mut self, rng: &mut Rng) {
        let qos = if rng.one_in(2) { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        self.disk.queue.insert(self.next_seq, (self.queued, qos));
        self.undelivered.push_back(self.next_seq);
        self.next_seq += 1;
        self.queued += 1;
    }

    /// Hands queued messages over, as far as the quota goes.
    pub(crate) fn deliver(&mut self, world: &mut Wire<'_>) {
        while self.connection.as_ref().is_some_and(|connection| connection.send_quota() > 0) {
            let Some(seq) = self.undelivered.pop_front() else { return };
            let (number, qos) = self.disk.queue[&seq];
            let sent_before = seq < self.delivered;
            self.delivered = self.delivered.max(seq + 1);
            let delivery = Delivery {
                message: message(number),
                qos,
                retain: false,
                subscription_ids: Default::default(),
                seq,
                expires_at: None,
                sent_before,
                origin: Default::default(),
            };
            self.input(Input::Deliver(delivery), world);
        }
    }

    /// The client's bytes have arrived.
    pub(crate) fn receive(&mut self, bytes: &[u8], world: &mut Wire<'_>) {
        let Some(connection) = &self.connection else { return };
        assert!(connection.accepts_packets(), "everything is answered at once but messages");
        let limits = DecodeLimits { packet_size_max: 100_000, text: Default::default() };
        let packet = match connection.version() {
            None => Packet::Connect(decode_connect(bytes, &limits).unwrap().unwrap().0),
            Some(version) => decode(bytes, version, &limits).unwrap().unwrap().0,
        };
        self.monitor.acknowledged(&packet);
        self.input(Input::Packet(packet), world);
    }

    /// Writes to the disk what has come to its turn, and gives the answers that are due.
    pub(crate) fn work(&mut self, world: &mut Wire<'_>) {
        while self.writes.front().is_some_and(|(at, _)| *at <= world.now) {
            let Some((_, write)) = self.writes.pop_front() else { return };
            if let Some(answer) = self.disk.commit(write) {
                let at = world.now + Duration::from_millis(world.rng.below(15));
                self.answers.push((at, answer));
            }
        }
        let (due, later) = self.answers.drain(..).partition(|(at, _)| *at <= world.now);
        self.answers = later;
        let due: Vec<(Instant, Answer)> = due;
        for (_, answer) in due {
            self.answer(answer, world);
        }
    }

    fn answer(&mut self, answer: Answer, world: &mut Wire<'_>) {
        match (answer, &mut self.session) {
            (Answer::Routed(token), Some(session)) => session.routed(token, ReasonCode::Success),
            (Answer::Durable(token), Some(session)) => session.durable(token),
            (Answer::Routed(token), None) => {
                self.input(Input::Routed { token, reason: ReasonCode::Success }, world);
            }
            (Answer::Durable(token), None) => self.input(Input::Durable { token }, world),
        }
    }

    fn input(&mut self, input: Input<'_>, world: &mut Wire<'_>) {
        let Some(mut connection) = self.connection.take() else { return };
        let mut out = Outputs::new();
        connection.handle(input, world.now, &mut out).expect("the client keeps to the rules");
        self.connection = Some(connection);
        while let Some(output) = out.pop() {
            self.carry_out(output, world);
        }
    }

    fn carry_out(&mut self, output: Output<'_>, world: &mut Wire<'_>) {
        match output {
            Output::Authenticate(_) => self.input(Input::Authenticated(Ok(None)), world),
            Output::Attach(attach) => {
                let old = self.session.take();
                let session_present = old.is_some();
                let session = old.unwrap_or_else(|| Box::new(Session::new(attach.client_id)));
                self.input(Input::Attached { session, session_present }, world);
            }
            Output::Send(packet) => {
                let mut bytes = Vec::new();
                packet.encode(self.version, &mut bytes).unwrap();
                world.to_client.push(bytes, world.now, world.rng);
            }
            Output::Ack(ack) => {
                let packet = ack_packet(ack.kind, Ack::new(ack.packet_id, ack.reason));
                let mut bytes = Vec::new();
                packet.encode(self.version, &mut bytes).unwrap();
                world.to_client.push(bytes, world.now, world.rng);
            }
            Output::Publish(outgoing) => {
                self.monitor.sent(&outgoing, number_of(&outgoing.message.payload));
                let mut bytes = Vec::new();
                encode_publish_head(&outgoing.message, &outgoing.hop(), self.version, &mut bytes);
                bytes.extend_from_slice(&outgoing.message.payload);
                world.to_client.push(bytes, world.now, world.rng);
            }
            Output::Route(route) => {
                let number = number_of(route.publish.payload);
                assert_eq!(route.topic.as_bytes(), topic_of(number).as_bytes());
                let token = route.token.expect("every message has QoS 1 or 2");
                let packet_id = route.publish.packet_id.expect("every message has QoS 1 or 2");
                self.write(
                    Write::Publish { token, qos: route.publish.qos, packet_id, number },
                    world,
                );
            }
            Output::Persist { token, change } => self.write(Write::Change { token, change }, world),
            Output::Completed(completed) => {
                // Only what was acknowledged is over. [MQTT-4.4.0-1]
                assert!(self.disk.queue.contains_key(&completed.seq));
                self.monitor.in_use.retain(|_, seq| *seq != completed.seq);
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn write(&mut self, write: Write, world: &mut Wire<'_>) {
        let at = world.now + Duration::from_millis(world.rng.below(10));
        let at = self.writes.back().map_or(at, |(last, _)| at.max(*last));
        self.writes.push_back((at, write));
    }
}

/// The other end, and the time.
pub(crate) struct Wire<'w> {
    pub(crate) to_client: &'w mut Pipe,
    pub(crate) now: Instant,
    pub(crate) rng: &'w mut Rng,
}

impl Disk {
    fn commit(&mut self, write: Write) -> Option<Answer> {
        match write {
            Write::Publish { token, qos, packet_id, number } => {
                let row = usize::from(qos == Qos::ExactlyOnce);
                self.routed[row].push(number);
                if qos == Qos::ExactlyOnce {
                    self.inbound.insert(packet_id.get());
                }
                Some(Answer::Routed(token))
            }
            Write::Change { token, change } => {
                match change {
                    Persist::InboundReleased(packet_id) => {
                        self.inbound.remove(&packet_id.get());
                    }
                    Persist::OutboundReleased(seq) => {
                        self.released.insert(seq);
                    }
                    Persist::Acknowledged(seq) => {
                        self.queue.remove(&seq);
                        self.released.remove(&seq);
                    }
                }
                token.map(Answer::Durable)
            }
        }
    }
}

impl Monitor {
    // [MQTT-2.2.1-4] [MQTT-3.3.4-9] [MQTT-4.9.0-2]
    fn sent(&mut self, outgoing: &dunlin_session::Outgoing, number: Number) {
        let Some(id) = outgoing.packet_id else { return };
        // The place follows from the number: both count up together.
        let seq = 65_535 * 3 - 100 + number;
        let known = self.in_use.insert(id, seq);
        if !outgoing.dup {
            assert_eq!(known, None, "identifier {id} is in use");
        }
        assert!(
            known.is_none_or(|known| known == seq),
            "identifier {id} stands for another message"
        );
        assert!(self.on_the_way.insert(id), "identifier {id} is on its way already");
        assert!(self.on_the_way.len() <= self.quota, "the quota of {} is passed", self.quota);
    }

    fn acknowledged(&mut self, packet: &PacketRef<'_>) {
        match packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                self.on_the_way.remove(&ack.packet_id);
            }
            Packet::PubRec(rec) if rec.reason_code.is_error() => {
                self.on_the_way.remove(&rec.packet_id);
            }
            _ => {}
        }
    }
}

fn message(number: Number) -> Arc<Message> {
    Arc::new(Message {
        topic: TopicName::copy_from(&topic_of(number)).unwrap(),
        payload: Bytes::copy_from_slice(&number.to_be_bytes()),
        qos: Qos::ExactlyOnce,
        retain: false,
        properties: None,
    })
}

fn ack_packet(kind: AckKind, ack: Ack<Bytes>) -> Packet<Bytes> {
    match kind {
        AckKind::PubAck => Packet::PubAck(ack),
        AckKind::PubRec => Packet::PubRec(ack),
        AckKind::PubRel => Packet::PubRel(ack),
        AckKind::PubComp => Packet::PubComp(ack),
    }
}

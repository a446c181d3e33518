//! A small client that keeps to the rules, and checks that the server does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU16;

use bytes::Bytes;
use dunlin_codec::{
    Ack, Connect, ConnectProperties, DecodeLimits, Packet, PacketId, Publish, PublishProperties,
    Qos, ReasonCode, Text, TopicAlias, Version, decode,
};

use crate::rng::Rng;

/// Messages in one direction are numbered from 0; the number is the payload.
pub(crate) type Number = u64;

pub(crate) fn topic_of(number: Number) -> String {
    format!("topic/{}", number % 5)
}

pub(crate) fn number_of(payload: &[u8]) -> Number {
    Number::from_be_bytes(payload.try_into().expect("eight bytes"))
}

pub(crate) struct Client {
    pub(crate) version: Version,
    pub(crate) receive_maximum: u16,
    alias_maximum: u16,
    connected: bool,
    /// Packets to send, in order.
    pub(crate) outbox: VecDeque<Packet<Bytes>>,

    // What it publishes.
    pub(crate) published: Number,
    window: usize,
    last_id: u16,
    unacknowledged: Vec<Sent>,
    /// QoS 1 and QoS 2 PUBLISHes of this connection, in the order in which they must be answered.
    expected_answers: [VecDeque<PacketId>; 2],
    aliases_set: bool,

    // What it receives.
    exchanges: HashMap<PacketId, Number>,
    pub(crate) received: [Vec<Number>; 2],
    pub(crate) refused: HashSet<Number>,
    aliases: HashMap<TopicAlias, String>,
}

struct Sent {
    number: Number,
    qos: Qos,
    id: PacketId,
    released: bool,
}

fn row(qos: Qos) -> usize {
    usize::from(qos == Qos::ExactlyOnce)
}

impl Client {
    pub(crate) fn new(version: Version, rng: &mut Rng) -> Self {
        Self {
            version,
            receive_maximum: u16::try_from(rng.below(20) + 1).unwrap(),
            alias_maximum: u16::try_from(rng.below(4)).unwrap(),
            connected: false,
            outbox: VecDeque::new(),
            published: 0,
            window: 1 + usize::try_from(rng.below(20)).unwrap(),
            last_id: 0,
            unacknowledged: Vec::new(),
            expected_answers: Default::default(),
            aliases_set: false,
            exchanges: HashMap::new(),
            received: Default::default(),
            refused: HashSet::new(),
            aliases: HashMap::new(),
        }
    }

    pub(crate) fn idle(&self) -> bool {
        self.unacknowledged.is_empty() && self.outbox.is_empty() && self.exchanges.is_empty()
    }

    pub(crate) fn connect(&mut self) -> Packet<Bytes> {
        let v5 = self.version.is_v5();
        self.outbox.clear();
        self.expected_answers = Default::default();
        self.aliases.clear();
        self.aliases_set = false;
        Packet::Connect(Connect {
            version: self.version,
            clean_start: false,
            keep_alive: 0,
            client_id: Text::copy_from("client").unwrap(),
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties {
                session_expiry_interval: v5.then_some(u32::MAX),
                receive_maximum: NonZeroU16::new(self.receive_maximum).filter(|_| v5),
                topic_alias_maximum: v5.then_some(self.alias_maximum),
                ..Default::default()
            },
        })
    }

    pub(crate) fn lost(&mut self) {
        self.connected = false;
        self.outbox.clear();
    }

    /// Publishes one more message, if the window is open.
    pub(crate) fn publish(&mut self, rng: &mut Rng) {
        if !self.connected || self.unacknowledged.len() >= self.window {
            return;
        }
        let number = self.published;
        self.published += 1;
        let qos = if rng.one_in(2) { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        let id = self.free_id(rng);
        self.unacknowledged.push(Sent { number, qos, id, released: false });
        self.send_publish(number, qos, id, false);
    }

    /// Lowest free in some windows, counting up in others.
    fn free_id(&mut self, rng: &mut Rng) -> PacketId {
        if self.window.is_multiple_of(2) && !rng.one_in(10) {
            self.last_id = 0;
        }
        loop {
            self.last_id = if self.last_id == u16::MAX { 1 } else { self.last_id + 1 };
            let id = PacketId::new(self.last_id).unwrap();
            if self.unacknowledged.iter().all(|sent| sent.id != id) {
                return id;
            }
        }
    }

    fn send_publish(&mut self, number: Number, qos: Qos, id: PacketId, dup: bool) {
        let mut properties = PublishProperties::default();
        let mut topic = topic_of(number);
        // One topic goes by an alias once it is set.
        if self.version.is_v5() && number.is_multiple_of(5) {
            properties.topic_alias = TopicAlias::new(7);
            if self.aliases_set {
                topic.clear();
            }
            self.aliases_set = true;
        }
        self.expected_answers[row(qos)].push_back(id);
        self.outbox.push_back(Packet::Publish(Publish {
            dup,
            retain: false,
            qos,
            packet_id: Some(id),
            topic: Text::copy_from(&topic).unwrap(),
            properties,
            payload: Bytes::copy_from_slice(&number.to_be_bytes()),
        }));
    }

    /// A 3.x client may repeat a QoS 2 PUBLISH whenever it likes.
    pub(crate) fn repeat_one(&mut self, rng: &mut Rng) {
        let waiting: Vec<_> = self
            .unacknowledged
            .iter()
            .filter(|sent| sent.qos == Qos::ExactlyOnce && !sent.released)
            .collect();
        if self.connected && !self.version.is_v5() && !waiting.is_empty() {
            let index = usize::try_from(rng.below(waiting.len() as u64)).unwrap();
            let (number, id) = (waiting[index].number, waiting[index].id);
            self.send_publish(number, Qos::ExactlyOnce, id, true);
        }
    }

    pub(crate) fn receive(&mut self, bytes: &[u8], rng: &mut Rng) {
        let limits = DecodeLimits { packet_size_max: 100_000, text: Default::default() };
        let (packet, length) = decode(bytes, self.version, &limits).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        match packet {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.reason_code, ReasonCode::Success);
                assert!(!self.connected, "[MQTT-3.2.0-2]");
                assert!(connack.session_present || self.published == 0, "[MQTT-3.2.2-3]");
                self.connected = true;
                self.resend();
            }
            Packet::Publish(publish) => self.receive_publish(&publish, rng),
            Packet::PubAck(ack) => {
                self.answered(Qos::AtLeastOnce, ack.packet_id);
                self.unacknowledged
                    .retain(|sent| sent.id != ack.packet_id || sent.qos != Qos::AtLeastOnce);
            }
            Packet::PubRec(rec) => {
                assert!(!rec.reason_code.is_error(), "{}", rec.reason_code);
                self.answered(Qos::ExactlyOnce, rec.packet_id);
                if let Some(sent) =
                    self.unacknowledged.iter_mut().find(|sent| sent.id == rec.packet_id)
                {
                    sent.released = true;
                }
                self.outbox.push_back(Packet::PubRel(Ack::new(rec.packet_id, ReasonCode::Success)));
            }
            Packet::PubComp(comp) => {
                self.unacknowledged.retain(|sent| sent.id != comp.packet_id || !sent.released);
            }
            Packet::PubRel(rel) => {
                // [MQTT-4.3.3-11]
                let known =
                    self.exchanges.remove(&rel.packet_id).is_some() || !self.version.is_v5();
                let reason =
                    if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
                self.outbox.push_back(Packet::PubComp(Ack::new(rel.packet_id, reason)));
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// [MQTT-4.6.0-2 @3.1.1] [MQTT-4.6.0-3 @3.1.1] Answers come in the order of the PUBLISHes.
    fn answered(&mut self, qos: Qos, id: PacketId) {
        let expected = &mut self.expected_answers[row(qos)];
        if self.version.is_v5() || qos == Qos::AtLeastOnce {
            assert_eq!(expected.pop_front(), Some(id), "answers keep the order of the PUBLISHes");
        }
    }

    /// [MQTT-4.4.0-1] [MQTT-4.6.0-1]
    fn resend(&mut self) {
        let sent: Vec<_> = self
            .unacknowledged
            .iter()
            .map(|sent| (sent.number, sent.qos, sent.id, sent.released))
            .collect();
        for (number, qos, id, released) in sent {
            if released {
                self.outbox.push_back(Packet::PubRel(Ack::new(id, ReasonCode::Success)));
            } else {
                self.send_publish(number, qos, id, true);
            }
        }
    }

    fn receive_publish(&mut self, publish: &Publish<&[u8]>, rng: &mut Rng) {
        let number = number_of(publish.payload);
        self.check_topic(publish, number);
        let Some(id) = publish.packet_id else { return };
        if publish.qos == Qos::AtLeastOnce {
            self.received[0].push(number);
            self.outbox.push_back(Packet::PubAck(Ack::new(id, ReasonCode::Success)));
            return;
        }
        if let Some(known) = self.exchanges.get(&id) {
            assert_eq!(
                *known, number,
                "[MQTT-2.2.1-4] an identifier in use stands for one message"
            );
            assert!(publish.dup, "[MQTT-3.3.1-1]");
        } else if self.refused.contains(&number) || (self.version.is_v5() && rng.one_in(50)) {
            self.refused.insert(number);
            self.outbox.push_back(Packet::PubRec(Ack::new(id, ReasonCode::QuotaExceeded)));
            return;
        } else {
            assert!(!self.received[1].contains(&number), "[MQTT-4.3.3-10] {number} came twice");
            self.received[1].push(number);
            self.exchanges.insert(id, number);
        }
        self.outbox.push_back(Packet::PubRec(Ack::new(id, ReasonCode::Success)));
    }

    /// [MQTT-3.3.2-7] [MQTT-3.3.2-11]
    fn check_topic(&mut self, publish: &Publish<&[u8]>, number: Number) {
        let mut topic = publish.topic.to_owned();
        if let Some(alias) = publish.properties.topic_alias {
            assert!(alias.get() <= self.alias_maximum, "[MQTT-3.1.2-26]");
            if topic.is_empty() {
                topic = self.aliases.get(&alias).expect("a known alias").clone();
            } else {
                self.aliases.insert(alias, topic.clone());
            }
        }
        assert_eq!(topic, topic_of(number));
    }
}

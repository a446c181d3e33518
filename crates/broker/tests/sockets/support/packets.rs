//! Packets in the words of a test: a function for the common form, a method for each thing that differs.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use dunlin_codec::{
    PacketId, Qos, ReasonCode, RetainHandling, SubscribeFilters, SubscriptionId,
    SubscriptionOptions, TopicAlias, UnsubscribeFilters, UserProperties, Version,
};
use dunlin_topics::{Text, TextRules};

pub type Packet = dunlin_codec::Packet<Bytes>;
pub type Connect = dunlin_codec::Connect<Bytes>;
pub type ConnAck = dunlin_codec::ConnAck<Bytes>;
pub type Publish = dunlin_codec::Publish<Bytes>;
pub type Will = dunlin_codec::Will<Bytes>;
pub type Disconnect = dunlin_codec::Disconnect<Bytes>;
pub type Subscribe = dunlin_codec::Subscribe<Bytes>;
pub type SubAck = dunlin_codec::SubAck<Bytes>;
pub type Unsubscribe = dunlin_codec::Unsubscribe<Bytes>;
pub type UnsubAck = dunlin_codec::UnsubAck<Bytes>;
pub type Auth = dunlin_codec::Auth<Bytes>;

pub const QOS0: Qos = Qos::AtMostOnce;
pub const QOS1: Qos = Qos::AtLeastOnce;
pub const QOS2: Qos = Qos::ExactlyOnce;

/// Any text that can be written, also what a broker refuses.
pub fn wire_text(text: &str) -> Text {
    Text::with_rules(Bytes::copy_from_slice(text.as_bytes()), TextRules::PERMISSIVE)
        .expect("text that can be written")
}

/// A payload as text.
pub fn text(payload: &[u8]) -> String {
    String::from_utf8(payload.to_vec()).expect("tests publish text")
}

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).expect("not 0")
}

pub trait IntoPacket {
    fn into_packet(self) -> Packet;
}

impl IntoPacket for Packet {
    fn into_packet(self) -> Packet {
        self
    }
}

macro_rules! into_packet {
    ($($name:ident)+) => {
        $(impl IntoPacket for $name {
            fn into_packet(self) -> Packet {
                Packet::$name(self)
            }
        })+
    };
}

into_packet!(Connect ConnAck Publish Subscribe SubAck Unsubscribe UnsubAck Disconnect Auth);

// ---- CONNECT ----

/// A CONNECT with Clean Start (Clean Session), without Keep Alive.
pub fn connect(version: Version, id: &str) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive: 0,
        client_id: wire_text(id),
        will: None,
        user_name: None,
        password: None,
        properties: dunlin_codec::ConnectProperties::default(),
    }
}

/// The bytes of [`connect`].
pub fn connect_bytes(version: Version, id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    connect(version, id)
        .into_packet()
        .encode(version, &mut bytes)
        .expect("a CONNECT can be encoded");
    bytes
}

pub trait ConnectExt {
    /// Resumes a session if there is one, and leaves it behind without end: Clean Session 0 of 3.x.
    fn kept(self) -> Self;
    fn clean(self, clean: bool) -> Self;
    fn expiry(self, secs: u32) -> Self;
    fn keep_alive(self, secs: u16) -> Self;
    fn will(self, will: Will) -> Self;
    fn receive_maximum(self, maximum: u16) -> Self;
    fn packet_size_max(self, maximum: u32) -> Self;
    fn alias_maximum(self, maximum: u16) -> Self;
    fn problem_information(self, wanted: bool) -> Self;
    fn user(self, name: &str, password: &str) -> Self;
    fn method(self, method: &str, data: &str) -> Self;
}

impl ConnectExt for Connect {
    fn kept(mut self) -> Self {
        self.properties.session_expiry_interval = Some(u32::MAX);
        self.clean(false)
    }

    fn clean(mut self, clean: bool) -> Self {
        self.clean_start = clean;
        self
    }

    fn expiry(mut self, secs: u32) -> Self {
        self.properties.session_expiry_interval = Some(secs);
        self
    }

    fn keep_alive(mut self, secs: u16) -> Self {
        self.keep_alive = secs;
        self
    }

    fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    fn receive_maximum(mut self, maximum: u16) -> Self {
        self.properties.receive_maximum = NonZeroU16::new(maximum);
        self
    }

    fn packet_size_max(mut self, maximum: u32) -> Self {
        self.properties.maximum_packet_size = NonZeroU32::new(maximum);
        self
    }

    fn alias_maximum(mut self, maximum: u16) -> Self {
        self.properties.topic_alias_maximum = Some(maximum);
        self
    }

    fn problem_information(mut self, wanted: bool) -> Self {
        self.properties.request_problem_information = wanted;
        self
    }

    fn user(mut self, name: &str, password: &str) -> Self {
        self.user_name = Some(wire_text(name));
        self.password = Some(Bytes::copy_from_slice(password.as_bytes()));
        self
    }

    fn method(mut self, method: &str, data: &str) -> Self {
        self.properties.authentication_method = Some(wire_text(method));
        self.properties.authentication_data = Some(Bytes::copy_from_slice(data.as_bytes()));
        self
    }
}

// ---- Messages: PUBLISH and Will ----

/// A PUBLISH at QoS 0.
pub fn publish(topic: &str, payload: impl Into<Bytes>) -> Publish {
    Publish {
        dup: false,
        retain: false,
        qos: QOS0,
        packet_id: None,
        topic: wire_text(topic),
        properties: dunlin_codec::PublishProperties::default(),
        payload: payload.into(),
    }
}

/// A Will at QoS 0 without delay.
pub fn will(topic: &str, payload: impl Into<Bytes>) -> Will {
    Will {
        topic: wire_text(topic),
        payload: payload.into(),
        qos: QOS0,
        retain: false,
        delay_interval: 0,
        properties: dunlin_codec::WillProperties::default(),
    }
}

/// What a message is in both of its forms.
pub trait MessageExt {
    fn qos(self, qos: Qos) -> Self;
    fn retain(self) -> Self;
    fn expires(self, secs: u32) -> Self;
    /// Sets each property that travels with a message, except its expiry.
    fn with_every_property(self) -> Self;
}

macro_rules! set_every_property {
    ($properties:expr) => {{
        let properties = &mut $properties;
        properties.payload_format_utf8 = Some(true);
        properties.response_topic = Some(wire_text("answer/here"));
        properties.correlation_data = Some(Bytes::from_static(b"\0\x01\xFF"));
        properties.content_type = Some(wire_text("text/plain; \u{feff}"));
        let pairs = [("z", "1"), ("a", "2"), ("z", "1"), ("", ""), ("a", "\u{e9}")];
        properties.user_properties = UserProperties::from_pairs(pairs).expect("short pairs");
    }};
}

impl MessageExt for Publish {
    fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    fn expires(mut self, secs: u32) -> Self {
        self.properties.message_expiry_interval = Some(secs);
        self
    }

    fn with_every_property(mut self) -> Self {
        set_every_property!(self.properties);
        self
    }
}

impl MessageExt for Will {
    fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    fn expires(mut self, secs: u32) -> Self {
        self.properties.message_expiry_interval = Some(secs);
        self
    }

    fn with_every_property(mut self) -> Self {
        set_every_property!(self.properties);
        self
    }
}

pub trait PublishExt {
    fn id(self, id: u16) -> Self;
    /// [`PublishExt::id`] if the QoS is above 0.
    fn id_if_needed(self, id: u16) -> Self;
    fn id_number(&self) -> u16;
    fn dup(self) -> Self;
    fn alias(self, alias: u16) -> Self;
    fn subscription_ids(self, ids: &[u32]) -> Self;
}

impl PublishExt for Publish {
    fn id(mut self, id: u16) -> Self {
        self.packet_id = Some(packet_id(id));
        self
    }

    fn id_if_needed(self, id: u16) -> Self {
        if self.qos == QOS0 { self } else { self.id(id) }
    }

    fn id_number(&self) -> u16 {
        self.packet_id.expect("a PUBLISH with a packet identifier").get()
    }

    fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    fn alias(mut self, alias: u16) -> Self {
        self.properties.topic_alias = Some(TopicAlias::new(alias).expect("not 0"));
        self
    }

    fn subscription_ids(mut self, ids: &[u32]) -> Self {
        self.properties.subscription_ids =
            ids.iter().map(|&id| SubscriptionId::new(id).expect("in range")).collect();
        self
    }
}

pub trait WillExt {
    fn delay(self, secs: u32) -> Self;
}

impl WillExt for Will {
    fn delay(mut self, secs: u32) -> Self {
        self.delay_interval = secs;
        self
    }
}

// ---- Acknowledgements ----

/// PUBACK, PUBREC, PUBREL or PUBCOMP with reason code 0; see [`AckExt::code`].
pub type AckPacket = Packet;

fn ack(id: u16) -> dunlin_codec::Ack<Bytes> {
    dunlin_codec::Ack::new(packet_id(id), ReasonCode::Success)
}

pub fn puback(id: u16) -> AckPacket {
    Packet::PubAck(ack(id))
}

pub fn pubrec(id: u16) -> AckPacket {
    Packet::PubRec(ack(id))
}

pub fn pubrel(id: u16) -> AckPacket {
    Packet::PubRel(ack(id))
}

pub fn pubcomp(id: u16) -> AckPacket {
    Packet::PubComp(ack(id))
}

pub trait AckExt {
    fn code(self, code: ReasonCode) -> Self;
}

impl AckExt for AckPacket {
    fn code(mut self, code: ReasonCode) -> Self {
        let (Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack)) =
            &mut self
        else {
            panic!("{self:?} is no acknowledgement of a PUBLISH");
        };
        ack.reason_code = code;
        self
    }
}

// ---- Subscriptions ----

pub fn options(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions::with_qos(qos)
}

pub trait OptionsExt {
    fn no_local(self) -> Self;
    fn keeping_retain(self) -> Self;
    /// Retain Handling 1.
    fn if_new(self) -> Self;
    /// Retain Handling 2.
    fn never(self) -> Self;
}

impl OptionsExt for SubscriptionOptions {
    fn no_local(self) -> Self {
        Self { no_local: true, ..self }
    }

    fn keeping_retain(self) -> Self {
        Self { retain_as_published: true, ..self }
    }

    fn if_new(self) -> Self {
        Self { retain_handling: RetainHandling::SendIfNew, ..self }
    }

    fn never(self) -> Self {
        Self { retain_handling: RetainHandling::DoNotSend, ..self }
    }
}

pub fn subscribe(id: u16, filters: &[(&str, Qos)]) -> Subscribe {
    let filters: Vec<_> = filters.iter().map(|&(filter, qos)| (filter, options(qos))).collect();
    subscribe_with(id, None, &filters)
}

pub fn subscribe_with(
    id: u16,
    number: Option<u32>,
    filters: &[(&str, SubscriptionOptions)],
) -> Subscribe {
    Subscribe {
        packet_id: packet_id(id),
        subscription_id: number.map(|number| SubscriptionId::new(number).expect("in range")),
        user_properties: UserProperties::default(),
        filters: SubscribeFilters::from_pairs(filters.iter().copied())
            .expect("filters that can be written"),
    }
}

pub fn suback(id: u16, codes: &[ReasonCode]) -> SubAck {
    SubAck {
        packet_id: packet_id(id),
        properties: dunlin_codec::AckProperties::default(),
        reason_codes: codes.iter().copied().collect(),
    }
}

pub fn unsubscribe(id: u16, filters: &[&str]) -> Unsubscribe {
    Unsubscribe {
        packet_id: packet_id(id),
        user_properties: UserProperties::default(),
        filters: UnsubscribeFilters::from_filters(filters.iter().copied())
            .expect("filters that can be written"),
    }
}

/// An UNSUBACK; in 3.x it has no codes.
pub fn unsuback(id: u16, codes: &[ReasonCode]) -> UnsubAck {
    UnsubAck {
        packet_id: packet_id(id),
        properties: dunlin_codec::AckProperties::default(),
        reason_codes: codes.iter().copied().collect(),
    }
}

/// The code of SUBACK that grants `qos`.
pub const fn granted(qos: Qos) -> ReasonCode {
    match qos {
        Qos::AtMostOnce => ReasonCode::Success,
        Qos::AtLeastOnce => ReasonCode::GrantedQos1,
        Qos::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}

// ---- The rest ----

pub fn disconnect(reason_code: ReasonCode) -> Disconnect {
    Disconnect::new(reason_code)
}

pub fn auth(reason_code: ReasonCode, method: &str, data: &str) -> Auth {
    Auth {
        reason_code,
        method: Some(wire_text(method)),
        data: Some(Bytes::copy_from_slice(data.as_bytes())),
        reason_string: None,
        user_properties: UserProperties::default(),
    }
}

/// Whether the packet takes a PUBLISH over: PUBACK or PUBREC below 0x80.
pub fn accepts(packet: &Packet) -> bool {
    matches!(packet, Packet::PubAck(ack) | Packet::PubRec(ack) if !ack.reason_code.is_error())
}

/// `packet` as `version` can say it: what the version has no field for is left out.
pub fn in_version(packet: Packet, version: Version) -> Packet {
    let mut bytes = Vec::new();
    packet
        .encode(version, &mut bytes)
        .unwrap_or_else(|error| panic!("{packet:?} cannot be encoded: {error}"));
    let limits = permissive();
    let frame = Bytes::from(bytes);
    let (decoded, _) = dunlin_codec::decode(&frame, version, &limits)
        .unwrap_or_else(|error| panic!("{packet:?} cannot be decoded: {error}"))
        .expect("a whole packet");
    decoded.to_owned_in(&frame)
}

/// The limits of a client that takes whatever is well formed.
pub const fn permissive() -> dunlin_codec::DecodeLimits {
    dunlin_codec::DecodeLimits { packet_size_max: 268_435_460, text: TextRules::PERMISSIVE }
}

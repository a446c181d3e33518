//! A server of one client around the machine: inputs go in as real packets, outputs come out as lines of text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_codec::{
    Ack, Auth, Connect, ConnectProperties, DecodeLimits, Disconnect, Message, Packet, PacketId,
    Publish, PublishProperties, Qos, ReasonCode, Subscribe, SubscribeFilters, SubscriptionId,
    SubscriptionOptions, Text, TextRules, TopicName, Unsubscribe, UnsubscribeFilters, Version,
    Will, WillProperties, decode, decode_connect,
};
use dunlin_session::{
    AckKind, Capabilities, Cause, Connection, Delivery, Input, Origin, Outgoing, Output, Outputs,
    Persist, RouteTopic, Session, SubscribeItem, Token, Violation,
};

/// What the server does by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Accepts who connects, grants what is subscribed; leaves messages and disks to the test.
    Handshakes,
    /// Nothing.
    Nothing,
}

/// One machine, one clock, and the sessions that outlive the machine.
pub(crate) struct Bench {
    pub(crate) connection: Connection,
    pub(crate) session: Option<Box<Session>>,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) now: Instant,
    pub(crate) answers: Answers,
    /// Every token in the order of its appearance: `#1` is the first.
    tokens: Vec<Token>,
}

impl Bench {
    pub(crate) fn new(capabilities: Capabilities) -> Self {
        let capabilities = Arc::new(capabilities);
        let now = start();
        let connection = Connection::new(Arc::clone(&capabilities), 7, now);
        Self {
            connection,
            session: None,
            capabilities,
            now,
            answers: Answers::Handshakes,
            tokens: Vec::new(),
        }
    }

    /// A client of this version, connected with a session that lasts.
    pub(crate) fn open(version: Version) -> Self {
        Self::open_with(Capabilities::default(), connect(version))
    }

    pub(crate) fn open_with(capabilities: Capabilities, connect: Connect<Bytes>) -> Self {
        let mut bench = Self::new(capabilities);
        let lines = bench.send(Packet::Connect(connect));
        assert!(bench.connection.is_open(), "{lines:?}");
        bench
    }

    /// The packet arrives, by way of its bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, packet: Packet<Bytes>) -> Vec<String> {
        let version = match (&packet, self.connection.version()) {
            (Packet::Connect(connect), _) => connect.version,
            (_, version) => version.expect("CONNECT comes first"),
        };
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).unwrap();
        self.bytes(&bytes)
    }

    /// These bytes arrive.
    #[track_caller]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Vec<String> {
        let limits = DecodeLimits {
            packet_size_max: self.capabilities.maximum_packet_size,
            text: self.capabilities.text,
        };
        let decoded = match self.connection.version() {
            None => decode_connect(bytes, &limits)
                .map(|packet| packet.map(|(packet, _)| Packet::Connect(packet))),
            Some(version) => {
                decode(bytes, version, &limits).map(|packet| packet.map(|(packet, _)| packet))
            }
        };
        match decoded {
            Ok(packet) => self.input(Input::Packet(packet.expect("a whole packet"))),
            Err(error) => self.violated(error.into()),
        }
    }

    /// The input goes in; what comes out goes to paper, and the server does its part.
    pub(crate) fn input(&mut self, input: Input<'_>) -> Vec<String> {
        let mut out = Outputs::new();
        let result = self.connection.handle(input, self.now, &mut out);
        let mut lines = self.carry_out(&mut out);
        if let Err(violation) = result {
            lines.extend(self.violated(violation));
        }
        lines
    }

    fn violated(&mut self, violation: Violation) -> Vec<String> {
        let mut out = Outputs::new();
        let spec = violation.spec(self.connection.version());
        let mut lines = vec![format!("violation {spec}")];
        self.connection.violated(violation, self.now, &mut out);
        lines.extend(self.carry_out(&mut out));
        lines
    }

    pub(crate) fn carry_out(&mut self, out: &mut Outputs<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(output) = out.pop() {
            lines.push(self.line(&output));
            if self.answers == Answers::Handshakes {
                lines.extend(self.answer(output));
            }
        }
        lines
    }

    fn answer(&mut self, output: Output<'_>) -> Vec<String> {
        match output {
            Output::Authenticate(_) => self.input(Input::Authenticated(Ok(None))),
            Output::Attach(attach) => {
                let old = self
                    .session
                    .take()
                    .filter(|old| old.is_resumable(self.now) && !attach.clean_start);
                let session_present = old.is_some();
                let session =
                    old.unwrap_or_else(|| Box::new(Session::new(attach.client_id.clone())));
                self.input(Input::Attached { session, session_present })
            }
            Output::Subscribe { token, items } => self.input(Input::Subscribed {
                token,
                reason_codes: items.iter().map(grant).collect(),
            }),
            Output::Unsubscribe { token, items } => {
                let code = |existed| {
                    if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted }
                };
                let reason_codes = items.iter().map(|item| code(item.existed)).collect();
                self.input(Input::Unsubscribed { token, reason_codes })
            }
            _ => Vec::new(),
        }
    }

    /// The connection is lost, and its session parked.
    pub(crate) fn lose(&mut self) -> Vec<String> {
        let lines = self.input(Input::Lost);
        self.park();
        lines
    }

    /// The session of the ended connection is parked, and a new connection begins.
    pub(crate) fn park(&mut self) {
        assert!(self.connection.is_closed());
        self.session = self.connection.detach();
        self.connection = Connection::new(Arc::clone(&self.capabilities), 8, self.now);
    }

    pub(crate) fn reconnect(&mut self, connect: Connect<Bytes>) -> Vec<String> {
        if self.connection.is_closed() {
            self.park();
        }
        self.send(Packet::Connect(connect))
    }

    pub(crate) fn advance(&mut self, duration: Duration) {
        self.now += duration;
    }

    /// The time of the connection's deadline has come.
    pub(crate) fn timeout(&mut self) -> Vec<String> {
        self.input(Input::Timeout)
    }

    /// The time of the parked session's deadline has come.
    pub(crate) fn session_timeout(&mut self) -> Vec<String> {
        let mut out = Outputs::new();
        self.session.as_mut().unwrap().handle_timeout(self.now, &mut out);
        self.carry_out(&mut out)
    }

    /// The parked session is ended.
    pub(crate) fn session_end(&mut self) -> Vec<String> {
        let mut out = Outputs::new();
        self.session.as_mut().unwrap().end(&mut out);
        self.carry_out(&mut out)
    }

    pub(crate) fn routed(&mut self, number: usize) -> Vec<String> {
        self.routed_as(number, ReasonCode::Success)
    }

    pub(crate) fn routed_as(&mut self, number: usize, reason: ReasonCode) -> Vec<String> {
        self.input(Input::Routed { token: self.token(number), reason })
    }

    pub(crate) fn durable(&mut self, number: usize) -> Vec<String> {
        self.input(Input::Durable { token: self.token(number) })
    }

    pub(crate) fn close(&mut self, cause: Cause) -> Vec<String> {
        self.input(Input::Close(cause))
    }

    /// The message with this place is delivered.
    pub(crate) fn deliver(&mut self, seq: u64, qos: Qos) -> Vec<String> {
        self.input(Input::Deliver(delivery(seq, qos)))
    }

    pub(crate) fn token(&self, number: usize) -> Token {
        self.tokens[number - 1]
    }

    /// How many tokens have appeared.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    fn number(&mut self, token: Token) -> usize {
        if let Some(index) = self.tokens.iter().position(|known| *known == token) {
            return index + 1;
        }
        self.tokens.push(token);
        self.tokens.len()
    }

    fn line(&mut self, output: &Output<'_>) -> String {
        match output {
            Output::Authenticate(question) => {
                let step = question.step;
                format!("authenticate {step:?} {} {:?}", question.client_id, question.user_name)
            }
            Output::Attach(attach) => format!(
                "attach {}{} expiry {}",
                attach.client_id,
                if attach.clean_start { " clean" } else { "" },
                attach.session_expiry
            ),
            Output::Send(packet) => format!("send {}", packet_line(packet)),
            Output::Ack(ack) => format!("send {} {} {}", kind(ack.kind), ack.packet_id, ack.reason),
            Output::PingResp => "send PINGRESP".to_owned(),
            Output::Publish(outgoing) => format!("send {}", outgoing_line(outgoing)),
            Output::Route(route) => {
                let topic = match &route.topic {
                    RouteTopic::Wire(topic) => (*topic).to_owned(),
                    RouteTopic::Aliased(topic) => format!("{topic} (by alias)"),
                };
                match route.token {
                    Some(token) => format!("route {topic} #{}", self.number(token)),
                    None => format!("route {topic}"),
                }
            }
            Output::PublishRefused { qos, reason } => format!("refused {qos}: {reason}"),
            Output::Subscribe { token, items } => {
                let items: Vec<_> = items.iter().map(item_line).collect();
                format!("subscribe #{}: {}", self.number(*token), items.join(", "))
            }
            Output::Unsubscribe { token, items } => {
                let items: Vec<_> = items
                    .iter()
                    .map(|item| match &item.filter {
                        Ok(filter) => {
                            format!("{filter}{}", if item.existed { " existed" } else { "" })
                        }
                        Err(reason) => reason.to_string(),
                    })
                    .collect();
                format!("unsubscribe #{}: {}", self.number(*token), items.join(", "))
            }
            Output::Persist { token, change } => {
                let change = match change {
                    Persist::InboundReleased(packet_id) => format!("inbound {packet_id} released"),
                    Persist::OutboundReleased(seq) => format!("place {seq} released"),
                    Persist::Acknowledged(seq) => format!("place {seq} acknowledged"),
                };
                match token {
                    Some(token) => format!("persist {change} #{}", self.number(*token)),
                    None => format!("persist {change}"),
                }
            }
            Output::PublishWill(message) => format!("publish will to {}", message.topic),
            Output::Dropped(dropped) => {
                format!("dropped {}: {:?}", dropped.delivery.seq, dropped.why)
            }
            Output::Completed(completed) => {
                format!("completed {}: {}", completed.seq, completed.reason)
            }
            Output::RefusalsHidden(count) => format!("refusals hidden: {count}"),
            Output::Ended => "ended".to_owned(),
            Output::Close(end) => format!("close: {}", end_line(end)),
        }
    }
}

fn end_line(end: &dunlin_session::End) -> String {
    use dunlin_session::End;
    match end {
        End::Disconnected(reason) => format!("client left, {reason}"),
        End::Lost => "lost".to_owned(),
        End::Violated(violation) => violation.to_string(),
        End::Refused(reason) => format!("refused, {reason}"),
        End::Closed(reason) => format!("by server, {reason}"),
    }
}

fn packet_line(packet: &Packet<Bytes>) -> String {
    match packet {
        Packet::ConnAck(connack) => {
            let present = if connack.session_present { " present" } else { "" };
            format!("CONNACK {}{present}", connack.reason_code)
        }
        Packet::SubAck(suback) => {
            let codes: Vec<_> = suback.reason_codes.iter().map(|code| code.to_string()).collect();
            format!("SUBACK {} {}", suback.packet_id, codes.join(", "))
        }
        Packet::UnsubAck(unsuback) => {
            let codes: Vec<_> = unsuback.reason_codes.iter().map(|code| code.to_string()).collect();
            format!("UNSUBACK {} {}", unsuback.packet_id, codes.join(", "))
        }
        Packet::Disconnect(disconnect) => format!("DISCONNECT {}", disconnect.reason_code),
        Packet::Auth(auth) => format!("AUTH {} {:?}", auth.reason_code, auth.data),
        other => format!("{other:?}"),
    }
}

fn outgoing_line(outgoing: &Outgoing) -> String {
    let mut line = format!("PUBLISH {}", outgoing.message.topic);
    if let Some(packet_id) = outgoing.packet_id {
        line += &format!(" {} id {packet_id}", outgoing.qos);
    }
    if outgoing.dup {
        line += " dup";
    }
    if let Some((alias, known)) = outgoing.topic_alias {
        line += &format!(" {} alias {alias}", if known { "by" } else { "sets" });
    }
    if let Some(seconds) = outgoing.message_expiry_interval {
        line += &format!(" expires in {seconds}");
    }
    line
}

fn item_line(item: &SubscribeItem) -> String {
    match &item.filter {
        Ok(filter) => {
            format!("{filter} {}{}", item.options.qos, if item.existed { " existed" } else { "" })
        }
        Err(reason) => reason.to_string(),
    }
}

const fn kind(kind: AckKind) -> &'static str {
    match kind {
        AckKind::PubAck => "PUBACK",
        AckKind::PubRec => "PUBREC",
        AckKind::PubRel => "PUBREL",
        AckKind::PubComp => "PUBCOMP",
    }
}

pub(crate) fn grant(item: &SubscribeItem) -> ReasonCode {
    match (&item.filter, item.options.qos) {
        (Err(reason), _) => *reason,
        (Ok(_), Qos::AtMostOnce) => ReasonCode::Success,
        (Ok(_), Qos::AtLeastOnce) => ReasonCode::GrantedQos1,
        (Ok(_), Qos::ExactlyOnce) => ReasonCode::GrantedQos2,
    }
}

/// A moment for the clock to start at. The machine only ever sees differences.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to get an Instant; it is read once"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

pub(crate) fn text(text: &str) -> Text {
    Text::copy_from(text).unwrap()
}

pub(crate) fn message(topic: &str) -> Arc<Message> {
    Arc::new(Message {
        topic: TopicName::with_rules(
            Bytes::copy_from_slice(topic.as_bytes()),
            TextRules::PERMISSIVE,
        )
        .unwrap(),
        payload: Bytes::from_static(b"payload"),
        qos: Qos::ExactlyOnce,
        retain: false,
        properties: None,
    })
}

pub(crate) fn delivery(seq: u64, qos: Qos) -> Delivery {
    Delivery {
        message: message("t"),
        qos,
        retain: false,
        subscription_ids: Default::default(),
        seq,
        expires_at: None,
        sent_before: false,
        origin: Origin::Plain,
    }
}

/// A CONNECT for a session that lasts an hour, or for ever in 3.x.
pub(crate) fn connect(version: Version) -> Connect<Bytes> {
    Connect {
        version,
        clean_start: false,
        keep_alive: 0,
        client_id: text("client"),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties {
            session_expiry_interval: version.is_v5().then_some(3_600),
            ..Default::default()
        },
    }
}

/// A CONNECT for a session that ends with its connection.
pub(crate) fn connect_clean(version: Version) -> Connect<Bytes> {
    let mut connect = connect(version);
    connect.clean_start = true;
    connect.properties.session_expiry_interval = None;
    connect
}

pub(crate) fn will(topic: &str, delay_interval: u32) -> Will<Bytes> {
    Will {
        topic: text(topic),
        payload: Bytes::from_static(b"gone"),
        qos: Qos::AtLeastOnce,
        retain: false,
        delay_interval,
        properties: WillProperties::default(),
    }
}

pub(crate) fn publish(topic: &str, qos: Qos, packet_id: u16) -> Publish<Bytes> {
    Publish {
        dup: false,
        retain: false,
        qos,
        packet_id: PacketId::new(packet_id),
        topic: text(topic),
        properties: PublishProperties::default(),
        payload: Bytes::from_static(b"payload"),
    }
}

pub(crate) fn publish_packet(topic: &str, qos: Qos, packet_id: u16) -> Packet<Bytes> {
    Packet::Publish(publish(topic, qos, packet_id))
}

pub(crate) fn puback(packet_id: u16) -> Packet<Bytes> {
    Packet::PubAck(Ack::new(id(packet_id), ReasonCode::Success))
}

pub(crate) fn pubrec(packet_id: u16) -> Packet<Bytes> {
    Packet::PubRec(Ack::new(id(packet_id), ReasonCode::Success))
}

pub(crate) fn pubrel(packet_id: u16) -> Packet<Bytes> {
    Packet::PubRel(Ack::new(id(packet_id), ReasonCode::Success))
}

pub(crate) fn pubcomp(packet_id: u16) -> Packet<Bytes> {
    Packet::PubComp(Ack::new(id(packet_id), ReasonCode::Success))
}

pub(crate) fn subscribe(
    packet_id: u16,
    filters: &[(&str, SubscriptionOptions)],
) -> Subscribe<Bytes> {
    Subscribe {
        packet_id: id(packet_id),
        subscription_id: None,
        user_properties: Default::default(),
        filters: SubscribeFilters::from_pairs(filters.iter().copied()).unwrap(),
    }
}

pub(crate) fn subscribe_packet(packet_id: u16, filters: &[(&str, Qos)]) -> Packet<Bytes> {
    let filters: Vec<_> = filters
        .iter()
        .map(|(filter, qos)| (*filter, SubscriptionOptions::with_qos(*qos)))
        .collect();
    Packet::Subscribe(subscribe(packet_id, &filters))
}

pub(crate) fn unsubscribe_packet(packet_id: u16, filters: &[&str]) -> Packet<Bytes> {
    Packet::Unsubscribe(Unsubscribe {
        packet_id: id(packet_id),
        user_properties: Default::default(),
        filters: UnsubscribeFilters::from_filters(filters.iter().copied()).unwrap(),
    })
}

pub(crate) fn subscription_id(id: u32) -> SubscriptionId {
    SubscriptionId::new(id).unwrap()
}

pub(crate) fn disconnect_packet(reason_code: ReasonCode) -> Packet<Bytes> {
    Packet::Disconnect(Disconnect::new(reason_code))
}

pub(crate) fn auth_packet(
    reason_code: ReasonCode,
    method: &str,
    data: &'static str,
) -> Packet<Bytes> {
    Packet::Auth(Auth {
        reason_code,
        method: Some(text(method)),
        data: Some(Bytes::from_static(data.as_bytes())),
        reason_string: None,
        user_properties: Default::default(),
    })
}

//! Tenants: who comes into which, and that none learns of another.
#![allow(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

#[path = "tenants/exports.rs"]
mod exports;
#[path = "sockets/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use dunlin_broker::{
    AuthRequest, Authenticator, BoxFuture, Decision, Identity, ListenerConfig, Message, NoTenant,
    Step, SubscribeOptions, Subscription, TenantError, TenantRule, TopicName,
};
use futures_util::FutureExt;
use proptest::prelude::*;

use support::*;

/// Lets everybody in by the name given, `tenant:` in the password being what it vouches for.
#[derive(Debug)]
struct Vouching;

impl Authenticator for Vouching {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let mut identity = Identity::named(request.user_name.as_deref().unwrap_or_default());
            identity.tenant = request.password.as_deref().map(text).filter(|it| !it.is_empty());
            Step { decision: Decision::Accept { identity, data: None }, request }
        })
    }
}

async fn with_rules(rules: Vec<TenantRule>, otherwise: NoTenant, tenants_max: u32) -> Server {
    Server::built(
        |config| {
            config.tenants.rules = rules;
            config.tenants.otherwise = otherwise;
            config.tenants.tenants_max = tenants_max;
        },
        |builder| builder.authenticator(Arc::new(Vouching)),
    )
    .await
}

versions!(a_client_comes_into_the_tenant_that_a_rule_names: V3_1, V3_1_1, V5);
async fn a_client_comes_into_the_tenant_that_a_rule_names(version: Version) {
    let rules = vec![TenantRule::Identity, TenantRule::UserName { separator: '/' }];
    let server = with_rules(rules, NoTenant::Refuse, 2).await;
    let mut one = server.connect(connect(version, "s").user("u", "one")).await;
    one.subscribe("#", QOS1).await;
    // The same Client Identifier elsewhere takes nobody over.
    let mut two = server.connect(connect(version, "s").user("two/u", "")).await;
    two.subscribe("#", QOS1).await;
    one.ping().await;
    let mut other = server.connect(connect(version, "t").user("one/x", "")).await;
    other.publish(publish("a", "for one").qos(QOS1)).await;
    one.expect_and_acknowledge(publish("a", "for one").qos(QOS1)).await;
    two.expect_nothing().await;
    assert_eq!(
        server.broker.tenants().iter().map(|name| &**name).collect::<Vec<_>>(),
        ["default", "one", "two"]
    );

    // Nobody's word leads to the operator's namespace, and where no rule names a tenant nobody gets in.
    server.refused(connect(version, "s").user("u", "default"), ReasonCode::NotAuthorized).await;
    server.refused(connect(version, "s").user("u", ""), ReasonCode::NotAuthorized).await;
    // There is room for two.
    server.refused(connect(version, "s").user("u", "three"), ReasonCode::QuotaExceeded).await;
    assert_eq!(server.metrics().tenants_refused, 1);
    assert_eq!(server.broker.tenant("three").err(), Some(TenantError::TooMany));
    assert_eq!(server.broker.tenant("").err(), Some(TenantError::InvalidName));
    let (one, two) = (server.broker.tenant("one"), server.broker.tenant("two"));
    let connected = |tenant: Result<dunlin_broker::Tenant, TenantError>| {
        tenant.expect("it is open").metrics().clients_connected
    };
    assert_eq!((connected(one), connected(two)), (2, 1));
    assert_eq!(server.metrics().clients_connected, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_sys_tree_has_its_own_figures_only() {
    let server = Server::built(
        |config| {
            config.sys.interval = Some(std::time::Duration::from_millis(100));
            config.tenants.rules = vec![TenantRule::Identity];
        },
        |builder| builder.authenticator(Arc::new(Vouching)),
    )
    .await;
    let mut crowd = Vec::new();
    for number in 0..3 {
        let id = format!("c{number}");
        crowd.push(server.connect(connect(Version::V5, &id).user("u", "other")).await);
    }
    let mut one = server.connect(connect(Version::V5, "s").user("u", "one")).await;
    one.subscribe("$SYS/broker/clients/#", QOS0).await;
    let mut operator = server.connect(connect(Version::V5, "s").user("u", "")).await;
    operator.subscribe("$SYS/broker/clients/connected", QOS0).await;
    loop {
        let Packet::Publish(message) = operator.receive().await else { panic!("no message") };
        if message.payload == "5" {
            break;
        }
    }
    // By then its own were published too, one way or the other.
    sleep_ms(150).await;
    let seen = one.take_messages_for(SILENCE).await;
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|value| value == "1"), "{seen:?}");
    one.subscribe("$SYS/#", QOS0).await;
    for packet in one.take_packets_for(std::time::Duration::from_millis(30)).await {
        let Packet::Publish(message) = packet else { panic!("{packet:?} is no value") };
        let topic = message.topic.as_str();
        for operators in ["$SYS/broker/version", "uptime", "memory", "metrics/", "load/"] {
            assert!(!topic.contains(operators), "{topic}");
        }
    }
}

// ---- Nobody learns of another tenant ----

const CLIENTS: [&str; 3] = ["x", "y", "z"];
const TOPICS: [&str; 4] = ["a", "b/1", "b/2", "s"];
const FILTERS: [&str; 6] = ["a", "b/+", "#", "$share/g/s", "$share/g/b/+", "w"];
/// Messages of this topic are counted over all clients: which member of a group gets one is the group's to say.
const SHARED: [&str; 3] = ["b/1", "b/2", "s"];

/// Something that the clients of a tenant do. The number says which client.
#[derive(Clone, Debug)]
enum Act {
    Connect { client: usize, kept: bool, will: bool },
    Lose(usize),
    Disconnect(usize),
    Subscribe { client: usize, filter: usize, qos: Qos },
    Unsubscribe { client: usize, filter: usize },
    Publish { client: usize, topic: usize, qos: Qos, retain: bool, empty: bool },
    InProcess { topic: usize, retain: bool },
}

fn act() -> impl Strategy<Value = Act> {
    let client = || 0..CLIENTS.len();
    let qos = || prop_oneof![Just(QOS0), Just(QOS1)];
    prop_oneof![
        3 => (client(), any::<bool>(), any::<bool>())
            .prop_map(|(client, kept, will)| Act::Connect { client, kept, will }),
        1 => client().prop_map(Act::Lose),
        1 => client().prop_map(Act::Disconnect),
        4 => (client(), 0..FILTERS.len(), qos())
            .prop_map(|(client, filter, qos)| Act::Subscribe { client, filter, qos }),
        1 => (client(), 0..FILTERS.len())
            .prop_map(|(client, filter)| Act::Unsubscribe { client, filter }),
        6 => (client(), 0..TOPICS.len(), qos(), any::<bool>(), proptest::bool::weighted(0.1))
            .prop_map(|(client, topic, qos, retain, empty)| {
                Act::Publish { client, topic, qos, retain, empty }
            }),
        1 => (0..TOPICS.len(), any::<bool>())
            .prop_map(|(topic, retain)| Act::InProcess { topic, retain }),
    ]
}

/// The clients of one tenant, and all that they ever saw.
struct Side {
    name: &'static str,
    address: SocketAddr,
    clients: [Option<Client>; CLIENTS.len()],
    wills: [bool; CLIENTS.len()],
    local: Option<Subscription>,
    /// Makes payloads unlike each other.
    count: usize,
    trace: Vec<String>,
    /// What has come since the last step, in whatever order.
    heard: Vec<String>,
}

impl Side {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            address: free_port(),
            clients: Default::default(),
            wills: [false; CLIENTS.len()],
            local: None,
            count: 0,
            trace: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// A broker was started.
    async fn arrives(&mut self, server: &Server, position: usize) {
        self.address = server.broker.local_addrs()[position];
        let tenant = server.broker.tenant(self.name).expect("a tenant");
        let options = SubscribeOptions::default();
        self.local = Some(tenant.subscribe("#", options).await.expect("a subscription"));
        self.watch(server).await;
    }

    async fn leaves(&mut self, server: &Server) {
        for client in 0..CLIENTS.len() {
            self.act(server, Act::Disconnect(client)).await;
        }
        self.local = None;
    }

    /// The payload says whose it is and comes once; tenants' payloads have equal lengths.
    fn payload(&mut self) -> String {
        self.count += 1;
        format!("{} {}", self.name, self.count)
    }

    async fn act(&mut self, server: &Server, act: Act) {
        match act {
            Act::Connect { client, kept, will: with_will } => {
                let payload = self.payload();
                let mut packet = connect(Version::V5, CLIENTS[client]);
                if kept {
                    packet = packet.kept();
                }
                if with_will {
                    packet = packet.will(will("w", payload).qos(QOS1));
                }
                let mut new = Client::dial(self.address, Version::V5).await;
                let wills = server.metrics().wills_published;
                new.send(packet).await;
                let answer = new.receive().await;
                self.trace.push(brief_of(&answer));
                if let Some(mut old) = self.clients[client].replace(new) {
                    old.discard_until_closed().await;
                    if self.wills[client] {
                        will_published(server, wills).await;
                    }
                }
                self.wills[client] = with_will;
            }
            Act::Lose(client) => {
                let Some(gone) = self.clients[client].take() else { return };
                let wills = server.metrics().wills_published;
                server.lose(gone).await;
                if std::mem::take(&mut self.wills[client]) {
                    will_published(server, wills).await;
                }
            }
            Act::Disconnect(client) => {
                let Some(gone) = self.clients[client].take() else { return };
                self.wills[client] = false;
                server.disconnect(gone).await;
            }
            Act::Subscribe { client, filter, qos } => {
                let packet = subscribe(1, &[(FILTERS[filter], qos)]).into_packet();
                self.exchange(client, packet, |packet| matches!(packet, Packet::SubAck(_))).await;
            }
            Act::Unsubscribe { client, filter } => {
                let packet = unsubscribe(1, &[FILTERS[filter]]).into_packet();
                self.exchange(client, packet, |packet| matches!(packet, Packet::UnsubAck(_))).await;
            }
            Act::Publish { client, topic, qos, retain, empty } => {
                let payload = if empty { String::new() } else { self.payload() };
                let mut message = publish(TOPICS[topic], payload).qos(qos).id_if_needed(1);
                message.retain = retain;
                let message = message.into_packet();
                if qos == QOS1 {
                    self.exchange(client, message, |packet| matches!(packet, Packet::PubAck(_)))
                        .await;
                } else if let Some(socket) = &mut self.clients[client] {
                    socket.send(message).await;
                    self.ping(client).await;
                }
            }
            Act::InProcess { topic, retain } => {
                let payload = self.payload();
                let message = Message {
                    topic: TopicName::try_from(TOPICS[topic]).expect("a topic"),
                    payload: payload.into(),
                    qos: QOS1,
                    retain,
                    properties: None,
                };
                let tenant = server.broker.tenant(self.name).expect("a tenant");
                self.trace.push(format!("{:?}", tenant.publish(message).await));
            }
        }
    }

    async fn ping(&mut self, client: usize) {
        self.exchange(client, Packet::PingReq, |packet| matches!(packet, Packet::PingResp)).await;
    }

    /// Sends something and waits for the answer; what comes before is heard.
    async fn exchange(&mut self, client: usize, packet: Packet, answers: fn(&Packet) -> bool) {
        let name = CLIENTS[client];
        let Some(client) = &mut self.clients[client] else { return };
        client.send(packet).await;
        loop {
            let packet = client.receive().await;
            if let Packet::Publish(message) = &packet {
                let topic = message.topic.as_str();
                let line = format!("{topic} {} {}", text(&message.payload), message.retain);
                self.heard.push(if SHARED.contains(&topic) {
                    line
                } else {
                    format!("{name} {line}")
                });
                if message.qos == QOS1 {
                    client.acknowledge(message).await;
                }
                continue;
            }
            if !matches!(packet, Packet::PingResp) {
                self.heard.push(format!("{name} {}", brief_of(&packet)));
            }
            if answers(&packet) {
                return;
            }
        }
    }

    /// Notes what has come for everybody since the last time.
    async fn watch(&mut self, server: &Server) {
        settled(server).await;
        for client in 0..CLIENTS.len() {
            // What is posted before the first answer is written before the second.
            self.ping(client).await;
            self.ping(client).await;
        }
        while let Some(local) = &mut self.local
            && let Some(Some(received)) = local.recv().now_or_never()
        {
            let topic = received.message.topic.as_str();
            self.heard.push(format!("in process {topic} {}", text(&received.message.payload)));
        }
        self.heard.sort();
        self.trace.append(&mut self.heard);
    }
}

/// What a packet says, without what the broker may choose freely.
fn brief_of(packet: &Packet) -> String {
    match packet {
        Packet::ConnAck(connack) => {
            format!("CONNACK {} {:?}", connack.session_present, connack.reason_code)
        }
        Packet::SubAck(suback) => format!("{:?}", suback.reason_codes),
        Packet::UnsubAck(unsuback) => format!("{:?}", unsuback.reason_codes),
        Packet::PubAck(puback) => format!("PUBACK {:?}", puback.reason_code),
        other => format!("{other:?}"),
    }
}

async fn will_published(server: &Server, before: u64) {
    eventually("a will", || server.metrics().wills_published > before).await;
}

/// Waits until everything that goes through the store has come where it goes.
async fn settled(server: &Server) {
    let barrier = server.broker.tenant("barrier").expect("a tenant");
    let message = Message {
        topic: TopicName::try_from("barrier").expect("a topic"),
        payload: "x".into(),
        qos: QOS1,
        retain: true,
        properties: None,
    };
    barrier.publish(message).await.expect("the store takes it");
}

/// Runs the acts, those between two restarts together, and gives what each side saw.
async fn run(mut sides: Vec<Side>, phases: &[Vec<(usize, Act)>]) -> Vec<Vec<String>> {
    let disk = MemoryStore::new();
    for phase in phases {
        let server = Server::on_with(&disk, |config| {
            config.sys.interval = None;
            config.listeners.clear();
            for side in &sides {
                config.listeners.push(ListenerConfig::new(side.name, free_port()));
                config.tenants.rules.push(TenantRule::Listener {
                    listener: side.name.to_owned(),
                    tenant: side.name.to_owned(),
                });
            }
        })
        .await;
        for (position, side) in sides.iter_mut().enumerate() {
            side.arrives(&server, position).await;
        }
        for (number, act) in phase {
            let Some(side) = sides.get_mut(*number) else { continue };
            side.act(&server, act.clone()).await;
            for side in &mut sides {
                side.watch(&server).await;
            }
        }
        for side in &mut sides {
            side.leaves(&server).await;
        }
        server.shutdown().await;
    }
    sides.into_iter().map(|side| side.trace).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 64, ..ProptestConfig::default() })]

    // Takeover, `$share`, retained messages, wills, in-process subscribers, and the store after a restart: what a tenant's
    // clients see is what they see when nobody else is there.
    #[test]
    fn what_a_tenant_sees_does_not_depend_on_another(
        phases in proptest::collection::vec(
            proptest::collection::vec((0..2_usize, act()), 1..40),
            1..4,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let together = run(vec![Side::new("one"), Side::new("two")], &phases).await;
            let alone = |number: usize| {
                let own = |phase: &Vec<(usize, Act)>| {
                    let acts = phase.iter().filter(|(side, _)| *side == number);
                    acts.map(|(_, act)| (0, act.clone())).collect()
                };
                phases.iter().map(own).collect::<Vec<Vec<_>>>()
            };
            let one = run(vec![Side::new("one")], &alone(0)).await;
            let two = run(vec![Side::new("two")], &alone(1)).await;
            prop_assert_eq!(&together[0], &one[0]);
            prop_assert_eq!(&together[1], &two[0]);
            Ok(())
        })?;
    }
}

//! A broker in this process, on a free port, and what tests ask of it besides packets.

use std::{net::SocketAddr, panic::Location, sync::Arc};

use dunlin_broker::{Broker, Builder, Config, ListenerConfig, Metrics};
use dunlin_codec::{ReasonCode, Version};
use dunlin_store::Store;
use tokio::sync::Mutex;

use super::*;

pub use dunlin_broker::config::{Overflow, SysPublish};
pub use dunlin_broker::{DropReason, EndReason};
pub use dunlin_store::{Failure, MemoryStore};

#[derive(Debug)]
pub struct Server {
    pub broker: Broker,
    address: SocketAddr,
    /// Publishes what the tests do not care who published.
    feeder: Mutex<Option<Client>>,
}

/// Starting.
impl Server {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With a configuration that begins as the default one with one listener on a free port.
    pub async fn with(configure: impl FnOnce(&mut Config)) -> Self {
        Self::on_with(&MemoryStore::new(), configure).await
    }

    pub async fn on(disk: &MemoryStore) -> Self {
        Self::on_with(disk, |_| {}).await
    }

    pub async fn on_with(disk: &MemoryStore, configure: impl FnOnce(&mut Config)) -> Self {
        Self::built(configure, |builder| builder.store(Box::new(disk.clone()))).await
    }

    pub async fn built(
        configure: impl FnOnce(&mut Config),
        build: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let mut config = Config::default();
        config.listeners = vec![ListenerConfig::new("test", free_port())];
        configure(&mut config);
        let builder = build(Broker::builder().config(config));
        let broker =
            within("the broker to start", builder.start()).await.expect("a broker that starts");
        let address = *broker.local_addrs().first().expect("a listener");
        Self { broker, address, feeder: Mutex::new(None) }
    }
}

/// Any free port of this machine.
pub fn free_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Scenes that several features begin with.
impl Server {
    /// A broker on a disk that can be held, and a durable subscriber of `a` at QoS 2.
    pub async fn with_durable_subscriber(version: Version) -> (MemoryStore, Self, Client) {
        let disk = MemoryStore::new();
        let server = Self::on(&disk).await;
        let mut durable = server.connect(connect(version, "durable").kept()).await;
        durable.subscribe("a", QOS2).await;
        (disk, server, durable)
    }

    /// A durable client that is away, subscribed to `a` at QoS 1.
    pub async fn leave_absent_subscriber(&self, version: Version) {
        let mut client = self.connect(connect(version, "absent").kept()).await;
        client.subscribe("a", QOS1).await;
        self.lose(client).await;
    }

    /// That client, back again.
    pub async fn absent_subscriber_returns(&self, version: Version) -> Client {
        let client = self.connect(connect(version, "absent").kept()).await;
        client.assert_session_present(true);
        client
    }
}

/// Clients.
impl Server {
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn dial(&self, version: Version) -> Client {
        Client::dial(self.address, version).await
    }

    /// A client that was let in.
    #[track_caller]
    pub fn connect(&self, connect: Connect) -> impl Future<Output = Client> {
        let place = Location::caller();
        async move {
            let mut client = self.dial(connect.version).await;
            client.send(connect).await;
            client.accepted_at(place).await;
            client
        }
    }

    /// A client that is told `reason`, or what 3.x has for it, and not let in.
    pub async fn refused(&self, connect: Connect, reason: ReasonCode) {
        let mut client = self.dial(connect.version).await;
        client.send(connect).await;
        client.expect_connack_refusal(reason).await;
    }

    /// DISCONNECT, and the broker has done what follows from it.
    pub async fn disconnect(&self, mut client: Client) {
        let before = self.metrics().clients_connected;
        client.send(disconnect(ReasonCode::Success)).await;
        client.expect_closed().await;
        self.left(before).await;
    }

    /// The network connection breaks, and the broker has noticed.
    pub async fn lose(&self, client: Client) {
        let before = self.metrics().clients_connected;
        drop(client);
        self.left(before).await;
    }

    async fn left(&self, before: u64) {
        eventually("the broker to notice that a client left", || {
            self.metrics().clients_connected < before
        })
        .await;
    }

    /// Waits until exactly this many clients are connected, the one behind [`Server::publish`] not counted.
    pub async fn clients_connected(&self, count: u64) {
        let feeder = u64::from(self.feeder.lock().await.is_some());
        eventually("the clients to be counted", || {
            self.metrics().clients_connected == count + feeder
        })
        .await;
    }

    /// Publishes as a client of its own, and waits until the broker has taken the message over.
    pub async fn publish(&self, message: Publish) {
        let mut feeder = self.feeder.lock().await;
        if feeder.is_none() {
            *feeder = Some(self.connect(connect(Version::V5, "feeder")).await);
        }
        let feeder = feeder.as_mut().expect("it was just made");
        let qos = message.qos;
        feeder.publish(message).await;
        if qos == QOS0 {
            feeder.ping().await;
        }
    }

    pub async fn assert_alive(&self) {
        let mut client = self.connect(connect(Version::V5, "is it alive")).await;
        client.ping().await;
    }
}

/// Numbers, and the end.
impl Server {
    pub fn metrics(&self) -> Metrics {
        self.broker.metrics()
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.metrics().dropped.get(&reason).copied().unwrap_or(0)
    }

    /// Waits until this many connections are recorded to have ended so. A record is made when the socket is closed, which
    /// may wait for the peer.
    #[track_caller]
    pub fn counts_ended(&self, reason: EndReason, count: u64) -> impl Future<Output = ()> {
        let what = format!("{count} connections to end as {}", reason.name());
        let ended = move || self.metrics().connections_ended.get(&reason).copied().unwrap_or(0);
        within_at(Location::caller(), PATIENCE, what, async move {
            while ended() != count {
                sleep_ms(5).await;
            }
        })
    }

    pub async fn shutdown(self) {
        let patience = PATIENCE + PATIENCE;
        let place = Location::caller();
        within_at(place, patience, "the broker to shut down".to_owned(), self.broker.shutdown())
            .await
            .expect("the store closes in order");
    }
}

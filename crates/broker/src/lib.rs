//! An MQTT broker as a library: it runs inside your tokio runtime, serves MQTT 3.1, 3.1.1 and 5.0, and lets you publish,
//! subscribe and hook in from the same process.
//!
//! ```
//! use dunlin_broker::{Broker, Message, Qos, SubscribeOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::builder().listen("127.0.0.1:0".parse()?).start().await?;
//! println!("listening on {:?}", broker.local_addrs());
//!
//! let mut readings = broker.subscribe("site/+/temperature", SubscribeOptions::default()).await?;
//! broker
//!     .publish(Message {
//!         topic: "site/7/temperature".try_into()?,
//!         payload: "21.5".into(),
//!         qos: Qos::AtLeastOnce,
//!         retain: true,
//!         properties: None,
//!     })
//!     .await?;
//! let received = readings.recv().await.ok_or("the broker has closed")?;
//! assert_eq!(&received.message.payload[..], b"21.5");
//! drop(readings);
//! broker.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it is, and what it is not
//!
//! It owns listeners, connections, routing, queues, policy, limits, hooks and metrics. The protocol of one client is
//! [`dunlin_session`]'s, bytes are [`dunlin_codec`]'s, what must survive is [`dunlin_store`]'s. It reads no configuration
//! file, installs no signal handler, sets up no log and tunes no runtime: that is the program's around it.
//!
//! # How it works
//!
//! One task per connection. A publisher's task routes its messages, stages the copies by receiver and posts them to the
//! receivers' mailboxes at the end of each batch; a receiver's task writes its own socket. What must be durable goes
//! through one committer thread, and what depends on it waits for it: no PUBACK before the message is stored for every
//! session that outlives its connection.
//!
//! # Limits
//!
//! Every queue, table and buffer has a named bound in [`config::Limits`], a stated rule at the bound, and a counter by
//! reason in [`Metrics`].

mod access;
mod alarms;
mod allowed;
mod attach;
pub mod audit;
mod bans;
mod budget;
mod buffers;
mod chain;
mod chunks;
mod clock;
pub mod config;
mod core;
mod crowding;
mod driver;
mod drops;
mod end;
mod exports;
mod fanout;
mod groups;
mod handing_in;
mod holding;
mod hooks;
mod janitor;
mod lane;
mod listen;
mod local;
mod mailbox;
mod metrics;
mod namespace;
mod pager;
mod pages;
mod persist;
mod policy;
mod queue;
mod quotas;
mod recovery;
mod registry;
mod reload;
mod retained;
mod router;
mod server;
mod share;
mod stripes;
mod sys;
mod tenant;
mod tenants;

pub use chain::Authenticators;
pub use config::{
    AcceptedVersions, AccessConfig, Applies, BansConfig, Config, Durability, DurabilityRule,
    Endpoint, ForeignSessions, InvalidConfig, Limits, ListenerConfig, OverRate, Overflow,
    QuotaRule, Quotas, Rate, StoreFull, SysConfig, SysPublish, Whom,
};
pub use dunlin_access::{
    Ban, BanList, BanListFull, BanTarget, Explanation, Named, Question, RuleSet, UnixSeconds,
};
pub use dunlin_codec::{Message, Qos, ReasonCode, SubscriptionOptions, TopicName, Version};
pub use dunlin_store::{MemoryStore, Store};
#[cfg(unix)]
pub use dunlin_transport::Inherited;
pub use dunlin_transport::{
    Certificate, Credentials, Details, Peer, Place, ProxyFacts, Refusal, TlsFacts, Transport,
    WebSocketFacts,
};
pub use end::{ConnectionEnd, EndReason};
pub use exports::{ExportFigures, TenantExport};
pub use hooks::{Client, Hooks, Interests, NoHooks};
pub use local::{PublishError, Received, SubscribeError, SubscribeOptions, Subscription};
pub use metrics::{DropReason, Metrics};
pub use namespace::TenantError;
pub use policy::{
    AuthRequest, Authenticator, BoxFuture, Decision, Identity, Login, LoginGuard, Step,
};
pub use quotas::{QuotaEvent, QuotaLimit, QuotaScope};
pub use reload::{
    AboveLimit, ChangedListener, ChangedSetting, Clients, LimitExceeded, ListenerChange,
    ReloadReport,
};
pub use server::{Broker, Builder, ServerError};
pub use tenant::Tenant;
pub use tenants::{NoTenant, TenantRule, TenantsConfig};

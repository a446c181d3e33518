//! What an operator decides: where to listen, and every bound the broker keeps.
//!
//! All of it is plain data with a [`Default`], so that a program fills it by hand and the `dunlin` binary from a file.
//! Nothing here reads a file, a clock or the machine; [`Config::check`] alone says what cannot work.
//! Each bound has a name here, a rule at the bound, stated on the field, and a counter by reason in the metrics.

mod applies;
mod bans;
mod endpoint;
mod limits;
mod listener;
mod quotas;

use std::fmt;
use std::time::Duration;

pub use applies::{Applies, applies};
pub use bans::BansConfig;
pub use dunlin_access::{Quotas, Rate};
pub use dunlin_codec::TopicFilter;
pub use dunlin_session::AcceptedVersions;
pub use dunlin_store::Durability;
pub use dunlin_transport::IpRange;
pub use dunlin_transport::http::{AllowedOrigins, Origin};
pub use dunlin_transport::tls::{ClientCertificates, TlsVersion};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use limits::{Limits, Overflow};
pub use listener::{ListenerConfig, Protocol};
pub use quotas::{InvalidWhom, OverRate, QUOTA_RULES_MAX, QuotaRule, Whom};

use crate::tenants::TenantsConfig;

pub(crate) use applies::{BROKER, LISTENER, differences};

/// Everything an operator decides about one broker.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Where clients connect. None by default: such a broker serves its own process only.
    pub listeners: Vec<ListenerConfig>,
    /// Every bound, for all listeners.
    pub limits: Limits,
    /// The `$SYS` tree.
    pub sys: SysConfig,
    /// What an acknowledgement promises where neither a rule nor the listener says otherwise, and what the state of
    /// sessions is written with: subscriptions, wills, Packet Identifiers. A copy granted QoS 2 is sent under such an
    /// identifier, so a message that has one for a durable session is written with this level at least.
    pub durability: Durability,
    /// What it promises for some topics. The first rule that matches counts, before the listener's level.
    pub durability_rules: Vec<DurabilityRule>,
    /// What happens to a 3.x client whose message the store has no room for.
    pub store_full_3x: StoreFull,
    /// Which tenants there are and whose clients come into which.
    pub tenants: TenantsConfig,
    /// What holds for identities beside the rules.
    pub access: AccessConfig,
    /// Who may do how much, beside [`limits`](Self::limits).
    pub quotas: Vec<QuotaRule>,
    /// Who is kept out for a while.
    pub bans: BansConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            limits: Limits::default(),
            sys: SysConfig::default(),
            durability: Durability::Fsync,
            durability_rules: Vec::new(),
            store_full_3x: StoreFull::default(),
            tenants: TenantsConfig::default(),
            access: AccessConfig::default(),
            quotas: Vec::new(),
            bans: BansConfig::default(),
        }
    }
}

impl Config {
    /// Refuses values that cannot work, naming the first one.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] with the setting's name, as it is written in a configuration file.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        for (position, listener) in self.listeners.iter().enumerate() {
            listener.check()?;
            let earlier = self.listeners.iter().take(position);
            if earlier.clone().any(|other| other.name == listener.name) {
                return Err(listener.invalid("name", "is the name of another listener too"));
            }
            if earlier.clone().any(|other| other.address.excludes(&listener.address)) {
                return Err(listener.invalid("address", "is the address of another listener too"));
            }
        }
        self.limits.check()?;
        self.tenants.check()?;
        quotas::check(&self.quotas)?;
        self.bans.check()?;
        self.sys.check()
    }
}

/// What happens to an MQTT 3.x client that publishes where nobody may, below `$SYS/`. (A 5.0 client is told 0x87.)
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SysPublish {
    /// The message is acknowledged, dropped and counted: 3.x has no way to say no.
    #[default]
    Drop,
    /// The connection is closed.
    Close,
}

/// What an acknowledgement promises for the topics that a filter matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DurabilityRule {
    /// The topics.
    pub filter: TopicFilter,
    /// The level.
    pub level: Durability,
}

/// What happens to an MQTT 3.x client whose message the store has no room for. (A 5.0 client is told 0x97.)
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StoreFull {
    /// Its acknowledgement is withheld and the message tried again, in order, until there is room: 3.x has no way to say
    /// no. [`Limits::receive_maximum`] bounds what one client can have held. What is held when its connection ends is
    /// dropped: it was never acknowledged, and the client sends it again. Messages of QoS 2 from a session that goes on are
    /// kept, since their Packet Identifiers are known.
    #[default]
    Hold,
    /// The connection is closed.
    Disconnect,
}

/// What holds for identities beside the rules.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct AccessConfig {
    /// What happens to a client that connects with the Client Identifier of a session that another identity made.
    pub foreign_sessions: ForeignSessions,
}

/// What happens to a client that connects with the Client Identifier of a session that another identity made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ForeignSessions {
    /// It is refused, with 0x85, or 0x02 in MQTT 3.x.
    #[default]
    Refuse,
    /// It takes the session over, which is its own from then on.
    Allow,
}

/// The `$SYS` tree: the broker's own numbers as retained messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SysConfig {
    /// How often the values are published. None: there is no `$SYS` tree.
    pub interval: Option<Duration>,
    /// What happens to a 3.x client that publishes below `$SYS/`.
    pub publish_3x: SysPublish,
}

impl SysConfig {
    fn check(&self) -> Result<(), InvalidConfig> {
        if self.interval.is_some_and(|interval| interval < Duration::from_millis(100)) {
            return Err(InvalidConfig::new("sys.interval", "must be at least 100ms, or none"));
        }
        Ok(())
    }
}

impl Default for SysConfig {
    fn default() -> Self {
        Self { interval: Some(Duration::from_secs(10)), publish_3x: SysPublish::default() }
    }
}

const AT_LEAST_ONE: &str = "must be at least 1";

/// A setting whose value cannot work.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidConfig {
    setting: String,
    reason: &'static str,
}

impl InvalidConfig {
    pub(crate) fn new(setting: impl Into<String>, reason: &'static str) -> Self {
        Self { setting: setting.into(), reason }
    }

    /// The setting as it is written in a configuration file, such as `limits.receive_maximum`.
    pub fn setting(&self) -> &str {
        &self.setting
    }

    /// What is wrong with it, as the rest of a sentence that begins with the setting.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.reason)
    }
}

impl std::error::Error for InvalidConfig {}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    #[track_caller]
    fn refused(setting: &str, change: impl FnOnce(&mut Config)) {
        let mut config = Config { listeners: vec![ListenerConfig::default()], ..Config::default() };
        change(&mut config);
        let error = config.check().expect_err("the value cannot work");
        assert_eq!(error.setting(), setting, "{error}");
    }

    #[test]
    fn the_defaults_pass_their_own_check() {
        assert_eq!(Config::default().check(), Ok(()));
        assert_eq!(ListenerConfig::default().check(), Ok(()));
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_name() {
        refused("limits.packet_bytes_max", |config| config.limits.packet_bytes_max = 2);
        refused("limits.packet_bytes_max", |config| config.limits.packet_bytes_max = 268_435_461);
        refused("limits.packet_bytes_max_before_connect", |config| {
            config.limits.packet_bytes_max_before_connect = config.limits.packet_bytes_max + 1;
        });
        // [MQTT-4.9.0-1]
        refused("limits.receive_maximum", |config| config.limits.receive_maximum = 0);
        refused("limits.connections_max", |config| config.limits.connections_max = Some(0));
        refused("limits.wills_per_second_max", |config| config.limits.wills_per_second_max = 0);
        refused("limits.queue_messages_max", |config| config.limits.queue_messages_max = 0);
        refused("limits.queue_memory_bytes_max", |config| config.limits.queue_memory_bytes_max = 0);
        refused("limits.qos0_lane_bytes_hard", |config| config.limits.qos0_lane_bytes_hard = 1);
        refused("limits.connect_deadline", |config| {
            config.limits.connect_deadline = Duration::ZERO
        });
        refused("sys.interval", |config| config.sys.interval = Some(Duration::ZERO));
        refused("listeners.default.versions", |config| {
            config.listeners.first_mut().expect("one listener").versions = AcceptedVersions::NONE;
        });
    }

    #[cfg(not(any(feature = "tls", feature = "websocket")))]
    #[test]
    fn a_listener_that_needs_what_this_build_has_not_is_refused() {
        fn first(config: &mut Config) -> &mut ListenerConfig {
            config.listeners.first_mut().expect("one listener")
        }
        refused("listeners.default.tls_certificate", |config| {
            first(config).tls_certificate = vec!["server.pem".into()];
        });
        refused("listeners.default.address", |config| {
            first(config).address = "quic:127.0.0.1:0".parse().expect("an address");
        });
        for protocol in [Protocol::WebSocket, Protocol::Auto] {
            refused("listeners.default.protocol", |config| first(config).protocol = protocol);
        }
    }

    #[cfg(feature = "quic")]
    #[test]
    fn a_quic_listener_has_a_certificate_and_times_that_fit() {
        let quic = |change: fn(&mut ListenerConfig)| {
            move |config: &mut Config| {
                let address: Endpoint = "quic:127.0.0.1:0".parse().expect("an address");
                let mut listener = ListenerConfig::new("default", address);
                listener.tls_certificate = vec!["server.pem".into()];
                listener.tls_key = vec!["server.key".into()];
                change(&mut listener);
                config.listeners = vec![listener];
            }
        };
        let mut good = Config::default();
        quic(|_| {})(&mut good);
        assert_eq!(good.check(), Ok(()));
        refused("listeners.default.tls_certificate", quic(|it| it.tls_certificate.clear()));
        refused("listeners.default.protocol", quic(|it| it.protocol = Protocol::WebSocket));
        refused("listeners.default.protocol", quic(|it| it.proxy_protocol_from = Some(vec![])));
        refused(
            "listeners.default.quic_idle_timeout",
            quic(|it| it.quic_idle_timeout = Duration::from_millis(999)),
        );
        refused(
            "listeners.default.quic_keep_alive",
            quic(|it| it.quic_keep_alive = Some(Duration::ZERO)),
        );
        refused(
            "listeners.default.quic_keep_alive",
            quic(|it| it.quic_keep_alive = Some(it.quic_idle_timeout)),
        );
    }

    #[test]
    fn two_listeners_share_neither_name_nor_address() {
        refused("listeners.default.name", |config| {
            config.listeners.push(ListenerConfig::default())
        });
        refused("listeners.second.address", |config| {
            config
                .listeners
                .push(ListenerConfig { name: "second".to_owned(), ..ListenerConfig::default() });
        });
        let free = |name| ListenerConfig::new(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let config = Config { listeners: vec![free("a"), free("b")], ..Config::default() };
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn anonymous_clients_are_allowed_on_loopback_only() {
        let allowed = |address: &str| {
            let address: Endpoint = address.parse().expect("an address");
            ListenerConfig::new("x", address).allow_anonymous
        };
        for address in ["127.0.0.1:1883", "127.8.9.1:0", "[::1]:1883", "[::ffff:127.0.0.1]:1883"] {
            assert!(allowed(address), "{address}");
        }
        for address in ["0.0.0.0:1883", "[::]:1883", "192.168.1.2:1883", "[fe80::1]:1883"] {
            assert!(!allowed(address), "{address}");
        }
    }
}

//! One address where clients connect, and what is offered there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dunlin_codec::Qos;
use dunlin_session::AcceptedVersions;
use dunlin_store::Durability;

use super::{AT_LEAST_ONE, InvalidConfig};

/// One address where clients connect, and what is offered there.
///
/// What is switched off is announced in CONNACK and enforced with its own reason code.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// Its name in logs, metrics and messages. Unique.
    pub name: String,
    /// Where it listens. Port 0 takes a free port.
    pub address: SocketAddr,
    /// Whether a client may connect without credentials. By default only where the address is a loopback one.
    pub allow_anonymous: bool,
    /// The names of the authenticators that are asked about a client, in this order; see
    /// [`Builder::named_authenticator`](crate::Builder::named_authenticator). None: all, in the order in which they were added.
    pub authentication: Option<Vec<String>>,
    /// The protocol versions served. Others are refused with "unsupported protocol version".
    pub versions: AcceptedVersions,
    /// The highest QoS of a PUBLISH from a client, and granted to a subscription.
    pub maximum_qos: Qos,
    /// Whether clients may publish retained messages.
    pub retain_available: bool,
    /// Whether filters may hold `+` and `#`.
    pub wildcard_subscription_available: bool,
    /// Whether MQTT 5.0 clients may number their subscriptions.
    pub subscription_identifiers_available: bool,
    /// Whether `$share/{group}/{filter}` is served.
    pub shared_subscription_available: bool,
    /// What MQTT 5.0 clients that ask for it get as Response Information: by convention the beginning of topics for responses.
    pub response_information: Option<String>,
    /// Connections that have not yet completed CONNECT. At the limit accepting pauses, and the kernel's backlog fills.
    pub handshakes_max: u32,
    /// Open connections of this listener. A further one is closed at once. None: only [`Limits::connections_max`](super::Limits::connections_max)
    /// counts.
    pub connections_max: Option<u32>,
    /// Connections that the kernel completes and holds until they are accepted.
    pub backlog: u32,
    /// What an acknowledgement promises to the clients of this listener. None: [`Config::durability`](super::Config::durability).
    pub durability: Option<Durability>,
}

impl ListenerConfig {
    /// A listener that offers everything. Anonymous clients are allowed if `address` is a loopback one.
    pub fn new(name: impl Into<String>, address: SocketAddr) -> Self {
        Self {
            name: name.into(),
            address,
            allow_anonymous: is_loopback(address.ip()),
            authentication: None,
            versions: AcceptedVersions::default(),
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            response_information: None,
            handshakes_max: 1_024,
            connections_max: None,
            backlog: 1_024,
            durability: None,
        }
    }

    /// Whether only this machine can reach the listener: 127.0.0.0/8 or ::1.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.address.ip())
    }

    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        if self.name.is_empty() {
            return Err(InvalidConfig::new("listeners", "holds a listener without a name"));
        }
        if self.versions == AcceptedVersions::NONE {
            return Err(self.invalid("versions", "must hold at least one version"));
        }
        if self.handshakes_max == 0 {
            return Err(self.invalid("handshakes_max", AT_LEAST_ONE));
        }
        if self.backlog == 0 {
            return Err(self.invalid("backlog", AT_LEAST_ONE));
        }
        Ok(())
    }

    pub(super) fn invalid(&self, key: &str, reason: &'static str) -> InvalidConfig {
        InvalidConfig::new(format!("listeners.{}.{key}", self.name), reason)
    }
}

impl Default for ListenerConfig {
    /// 127.0.0.1:1883, for this machine's anonymous clients.
    fn default() -> Self {
        Self::new("default", SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)))
    }
}

/// An IPv4 address that is written as IPv6 counts as the IPv4 address.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

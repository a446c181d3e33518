//! What the server offers on one listener, and every bound that the machine keeps.

use std::time::Duration;

use dunlin_codec::{Qos, Text, TextRules, Version};

use crate::expiry::SessionExpiry;

/// SUBSCRIBE and UNSUBSCRIBE packets of one client that may wait for their answers.
///
/// At the bound [`Connection::accepts_packets`](crate::Connection::accepts_packets) says no, so that the caller reads
/// no further until one is answered.
pub const REQUESTS_MAX: usize = 32;

/// Topic Filters in the unanswered SUBSCRIBE and UNSUBSCRIBE packets of one client, beyond which the same rule holds. One
/// packet alone may have more.
pub const PENDING_FILTERS_MAX: usize = 1_024;

/// Topic Filters in one SUBSCRIBE or UNSUBSCRIBE. More are no client's need: it is closed with 0x97.
pub const FILTERS_MAX: usize = 65_536;

/// What one listener offers its clients: announced in CONNACK where it differs from the protocol's default, and
/// enforced. Any value is legal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// The protocol versions served. Another one is refused with 0x84 (3.x: 0x01).
    pub versions: AcceptedVersions,
    /// The highest QoS of a PUBLISH or a Will; subscriptions are granted no more. Above it: 0x9B.
    pub maximum_qos: Qos,
    /// Whether a PUBLISH or a Will may be retained. Otherwise: 0x9A.
    pub retain_available: bool,
    /// Whether filters may hold `+` and `#`. Otherwise: 0xA2.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may carry an identifier. Otherwise: 0xA1.
    pub subscription_identifiers_available: bool,
    /// Whether `$share/{group}/{filter}` is served, for every version. Otherwise: 0x9E.
    pub shared_subscription_available: bool,
    /// QoS 1 and 2 PUBLISHes of one client in process at a time. A 5.0 client that sends more is closed with 0x93; for a
    /// 3.x client see [`Connection::receive_overrun`](crate::Connection::receive_overrun). Zero counts as one.
    pub receive_maximum: u16,
    /// QoS 1 and 2 PUBLISHes to one client that may be unacknowledged at a time; a lower Receive Maximum of the
    /// client's goes before it. Further ones wait. Zero counts as one.
    pub inflight_max: u16,
    /// The largest packet taken, announced as Maximum Packet Size. Who decodes enforces it.
    pub maximum_packet_size: u32,
    /// The highest Topic Alias a client may set. Above it: 0x94.
    pub topic_alias_maximum: u16,
    /// Topic Aliases set towards one client, if it allows as many. Further topics are sent in full.
    pub topic_alias_out_maximum: u16,
    /// Bytes of the topics that stand behind Topic Aliases, for each direction. Inbound, passing it is refused with
    /// 0x97; outbound, further topics are sent in full.
    pub alias_bytes_max: usize,
    /// The longest Session Expiry Interval granted; clients of 5.0 are told. `None`: as the client asks.
    pub session_expiry_max: Option<SessionExpiry>,
    /// The longest Keep Alive granted to 5.0 clients, which are told by Server Keep Alive; one that switched it off gets
    /// this one. Clients of 3.x cannot be told and keep theirs. `None`: as the client asks.
    pub keep_alive_max: Option<u16>,
    /// The shortest Keep Alive. 5.0 clients that ask for a shorter one are told this one; one of 3.x cannot be told and is
    /// refused. Counts after `keep_alive_max`.
    pub keep_alive_min: Option<u16>,
    /// From the start of the connection to CONNACK, authentication included. Later it is closed.
    pub connect_deadline: Option<Duration>,
    /// Subscriptions of one session. A further one is refused with 0x97.
    pub subscriptions_max: u32,
    /// Levels of a Topic Name or Topic Filter. A deeper one is invalid: 0x90 or 0x8F.
    pub topic_levels_max: u16,
    /// Levels of a Topic Filter, where those are to be fewer. A deeper one is invalid: 0x8F.
    pub filter_levels_max: u16,
    /// Bytes of a Topic Name. A longer one is invalid: 0x90.
    pub topic_bytes_max: u16,
    /// Bytes of a Client Identifier. A longer one is refused with 0x85.
    pub client_id_bytes_max: u16,
    /// Response Information, given to 5.0 clients that ask for it.
    pub response_information: Option<Text>,
    /// The characters that filters may hold, the same as for decoding.
    pub text: TextRules,
    /// What follows when a 3.x client publishes below `$SYS/`: it cannot be told why.
    pub reserved_topic_3x: ReservedTopicPolicy,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            versions: AcceptedVersions::default(),
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            receive_maximum: 1_000,
            inflight_max: 1_000,
            maximum_packet_size: 16 * 1024 * 1024,
            topic_alias_maximum: 32,
            topic_alias_out_maximum: 32,
            alias_bytes_max: 16 * 1024,
            session_expiry_max: None,
            keep_alive_max: None,
            keep_alive_min: None,
            connect_deadline: Some(Duration::from_secs(10)),
            subscriptions_max: 10_000,
            topic_levels_max: 128,
            filter_levels_max: u16::MAX,
            topic_bytes_max: u16::MAX,
            client_id_bytes_max: u16::MAX,
            response_information: None,
            text: TextRules::default(),
            reserved_topic_3x: ReservedTopicPolicy::default(),
        }
    }
}

/// The protocol versions that a listener serves; by default all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AcceptedVersions {
    /// MQTT 3.1.
    pub v3_1: bool,
    /// MQTT 3.1.1.
    pub v3_1_1: bool,
    /// MQTT 5.0.
    pub v5: bool,
}

impl AcceptedVersions {
    /// No version: a place to start from; who serves none refuses every CONNECT.
    pub const NONE: Self = Self { v3_1: false, v3_1_1: false, v5: false };

    /// Whether this version is served.
    #[must_use]
    pub const fn accepts(self, version: Version) -> bool {
        match version {
            Version::V3_1 => self.v3_1,
            Version::V3_1_1 => self.v3_1_1,
            Version::V5 => self.v5,
        }
    }
}

impl Default for AcceptedVersions {
    fn default() -> Self {
        Self { v3_1: true, v3_1_1: true, v5: true }
    }
}

/// What follows when a 3.x client publishes below `$SYS/`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReservedTopicPolicy {
    /// The message is dropped and counted, the PUBLISH acknowledged.
    #[default]
    Drop,
    /// The connection is closed.
    Close,
}

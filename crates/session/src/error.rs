//! What a client can do wrong beyond malformed packets.

use dunlin_codec::{DecodeError, PacketType, ReasonCode, Version};

/// A rule that the client broke. What follows is the end of its connection: hand it to
/// [`Connection::violated`](crate::Connection::violated), which tells the client where its version allows it.
///
/// `Copy` and free of allocations, because an attacker can make them by the million.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The bytes are not a packet.
    #[error(transparent)]
    Malformed(#[from] DecodeError),

    /// The first packet is not CONNECT.
    #[error("first packet is {0}, not CONNECT")]
    ConnectExpected(PacketType),
    /// A second CONNECT.
    #[error("second CONNECT on one connection")]
    SecondConnect,
    /// A packet that only servers send.
    #[error("{0} comes from servers only")]
    ServerPacket(PacketType),
    /// CONNACK could not be sent in time.
    #[error("connection not established in time")]
    ConnectTimeout,
    /// The listener does not serve this version.
    #[error("version {0} is not served here")]
    VersionNotServed(Version),
    /// An empty Client Identifier where the version needs one.
    #[error("client identifier is empty")]
    ClientIdEmpty,
    /// The Client Identifier has too many bytes.
    #[error("client identifier has more than {maximum} bytes")]
    ClientIdTooLong {
        /// The limit.
        maximum: u16,
    },
    /// The Client Identifier is not valid text.
    #[error("client identifier is not valid text")]
    ClientIdNotText,
    /// The Will Topic is not a Topic Name.
    #[error("will topic is not a topic name")]
    WillTopicInvalid,
    /// The Will QoS is above the server's maximum.
    #[error("will QoS is above the maximum")]
    WillQosNotSupported,
    /// The Will is to be retained, but nothing is here.
    #[error("will is to be retained, but retained messages are not available")]
    WillRetainNotSupported,
    /// The Will Topic is below `$SYS/`.
    #[error("will topic is below $SYS/")]
    WillTopicReserved,
    /// The Will Topic has too many levels.
    #[error("will topic has more than {maximum} levels")]
    WillTopicTooDeep {
        /// The limit.
        maximum: u16,
    },
    /// The Will Topic has too many bytes.
    #[error("will topic has more than {maximum} bytes")]
    WillTopicTooLong {
        /// The limit.
        maximum: u16,
    },
    /// A 3.x client asks for a Keep Alive that is too short, and cannot be told another one.
    #[error("keep alive is less than {minimum} s")]
    KeepAliveTooShort {
        /// The limit in seconds.
        minimum: u16,
    },
    /// CONNACK with the properties it must carry exceeds the client's Maximum Packet Size.
    #[error("CONNACK exceeds the client's maximum packet size of {maximum}")]
    ConnAckTooLarge {
        /// The client's limit.
        maximum: u32,
    },

    /// Another packet than AUTH or DISCONNECT before CONNACK.
    #[error("{0} before CONNACK")]
    BeforeConnAck(PacketType),
    /// AUTH although CONNECT had no Authentication Method.
    #[error("AUTH without an authentication method in CONNECT")]
    AuthUnexpected,
    /// AUTH with another method than CONNECT.
    #[error("AUTH with another authentication method than CONNECT")]
    AuthMethodChanged,
    /// AUTH with a reason code that does not belong there.
    #[error("AUTH with a reason code that does not belong there")]
    AuthReason,

    /// Nothing arrived in one and a half times the Keep Alive.
    #[error("nothing arrived in one and a half times the keep alive of {keep_alive} s")]
    KeepAliveTimeout {
        /// The Keep Alive in seconds.
        keep_alive: u16,
    },
    /// More QoS 1 and 2 PUBLISHes than the Receive Maximum.
    #[error("more than {maximum} PUBLISHes with QoS above 0 in process")]
    ReceiveMaximumExceeded {
        /// The announced Receive Maximum.
        maximum: u16,
    },
    /// A Topic Alias above the maximum.
    #[error("topic alias {alias} is above the maximum of {maximum}")]
    TopicAliasTooHigh {
        /// The alias.
        alias: u16,
        /// The announced Topic Alias Maximum.
        maximum: u16,
    },
    /// A Topic Alias without topic that was never set.
    #[error("topic alias {alias} stands for no topic")]
    TopicAliasUnknown {
        /// The alias.
        alias: u16,
    },
    /// The topics behind the Topic Aliases have too many bytes.
    #[error("topic aliases hold more than {maximum} bytes")]
    TopicAliasBytes {
        /// The limit.
        maximum: usize,
    },
    /// A Subscription Identifier in PUBLISH.
    #[error("PUBLISH of a client with a subscription identifier")]
    SubscriptionIdInPublish,
    /// QoS above the server's maximum.
    #[error("QoS is above the maximum")]
    QosNotSupported,
    /// RETAIN, but nothing is retained here.
    #[error("RETAIN is set, but retained messages are not available")]
    RetainNotSupported,
    /// A 3.x client published below `$SYS/`.
    #[error("topic is below $SYS/")]
    TopicReserved,
    /// A 3.x client published to a topic with too many levels.
    #[error("topic has more than {maximum} levels")]
    TopicTooDeep {
        /// The limit.
        maximum: u16,
    },
    /// A 3.x client published to a topic with too many bytes.
    #[error("topic has more than {maximum} bytes")]
    TopicTooLong {
        /// The limit.
        maximum: u16,
    },
    /// A message stayed unacknowledged while 65,535 later ones went by, so that its Packet Identifier came round.
    #[error("a message stayed unacknowledged while 65535 later ones went by")]
    PacketIdsExhausted,

    /// No Local on a Shared Subscription.
    #[error("no local is set on a shared subscription")]
    NoLocalOnShared,
    /// A SUBSCRIBE or UNSUBSCRIBE with too many Topic Filters.
    #[error("more than {maximum} topic filters in one packet")]
    TooManyFilters {
        /// The limit.
        maximum: usize,
    },
    /// The answer would exceed the client's own Maximum Packet Size.
    #[error("answer exceeds the client's maximum packet size of {maximum}")]
    AnswerTooLarge {
        /// The client's limit.
        maximum: u32,
    },
    /// DISCONNECT raises a Session Expiry Interval of 0.
    #[error("DISCONNECT raises a session expiry interval of 0")]
    ExpiryRaised,
}

impl Violation {
    /// The reason code that tells the client.
    #[must_use]
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::Malformed(error) => error.reason_code(),
            Self::VersionNotServed(_) => ReasonCode::UnsupportedProtocolVersion,
            Self::ClientIdEmpty | Self::ClientIdTooLong { .. } | Self::ClientIdNotText => {
                ReasonCode::ClientIdentifierNotValid
            }
            Self::WillQosNotSupported | Self::QosNotSupported => ReasonCode::QosNotSupported,
            Self::WillRetainNotSupported | Self::RetainNotSupported => {
                ReasonCode::RetainNotSupported
            }
            Self::WillTopicReserved | Self::TopicReserved => ReasonCode::NotAuthorized,
            Self::WillTopicInvalid
            | Self::WillTopicTooDeep { .. }
            | Self::WillTopicTooLong { .. }
            | Self::TopicTooDeep { .. }
            | Self::TopicTooLong { .. } => ReasonCode::TopicNameInvalid,
            Self::ConnAckTooLarge { .. } | Self::AnswerTooLarge { .. } => {
                ReasonCode::PacketTooLarge
            }
            Self::KeepAliveTimeout { .. } => ReasonCode::KeepAliveTimeout,
            Self::ReceiveMaximumExceeded { .. } => ReasonCode::ReceiveMaximumExceeded,
            Self::TopicAliasTooHigh { .. } => ReasonCode::TopicAliasInvalid,
            Self::TopicAliasBytes { .. }
            | Self::KeepAliveTooShort { .. }
            | Self::PacketIdsExhausted
            | Self::TooManyFilters { .. } => ReasonCode::QuotaExceeded,
            Self::ConnectExpected(_)
            | Self::SecondConnect
            | Self::ServerPacket(_)
            | Self::ConnectTimeout
            | Self::BeforeConnAck(_)
            | Self::AuthUnexpected
            | Self::AuthMethodChanged
            | Self::AuthReason
            | Self::TopicAliasUnknown { .. }
            | Self::SubscriptionIdInPublish
            | Self::NoLocalOnShared
            | Self::ExpiryRaised => ReasonCode::ProtocolError,
        }
    }

    /// The statement of the standard that was broken, in the version that the client speaks: `MQTT-3.1.0-2`, or
    /// `MQTT-3.1.0-2 @3.1.1`. Limits of our own name the statement that lets a server close the connection.
    ///
    /// MQTT 3.1 numbers nothing, so its clients are held against 3.1.1.
    #[must_use]
    pub const fn spec(&self, version: Option<Version>) -> &'static str {
        let (v5, v3) = self.specs();
        match version {
            Some(Version::V3_1 | Version::V3_1_1) => v3,
            Some(Version::V5) | None => v5,
        }
    }

    /// The broken statement of 5.0 and that of 3.1.1.
    const fn specs(&self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed(error) => (error.spec(), error.spec()),
            Self::ConnectExpected(_) => ("MQTT-3.1.0-1", "MQTT-3.1.0-1 @3.1.1"),
            Self::SecondConnect => ("MQTT-3.1.0-2", "MQTT-3.1.0-2 @3.1.1"),
            Self::ServerPacket(_) => ("MQTT-4.13.1-1", "MQTT-4.8.0-1 @3.1.1"),
            Self::ConnectTimeout => ("MQTT-3.1.4-2", "MQTT-4.8.0-2 @3.1.1"),
            Self::VersionNotServed(_) => ("MQTT-3.1.2-2", "MQTT-3.1.2-2 @3.1.1"),
            Self::ClientIdEmpty => ("MQTT-3.1.3-8", "MQTT-3.1.3-8 @3.1.1"),
            Self::ClientIdTooLong { .. } => ("MQTT-3.1.3-8", "MQTT-3.1.3-9 @3.1.1"),
            Self::ClientIdNotText => ("MQTT-3.1.3-4", "MQTT-3.1.3-4 @3.1.1"),
            Self::WillTopicInvalid => ("MQTT-3.1.3-11", "MQTT-3.1.3-10 @3.1.1"),
            Self::WillQosNotSupported => ("MQTT-3.2.2-12", "MQTT-3.1.4-1 @3.1.1"),
            Self::WillRetainNotSupported => ("MQTT-3.2.2-13", "MQTT-3.1.4-1 @3.1.1"),
            Self::WillTopicReserved
            | Self::WillTopicTooDeep { .. }
            | Self::WillTopicTooLong { .. }
            | Self::KeepAliveTooShort { .. } => ("MQTT-3.1.4-2", "MQTT-3.1.4-1 @3.1.1"),
            Self::ConnAckTooLarge { .. } => ("MQTT-3.1.2-24", "MQTT-3.2.2-6 @3.1.1"),
            Self::BeforeConnAck(_) => ("MQTT-3.1.2-30", "MQTT-3.1.4-5 @3.1.1"),
            Self::AuthUnexpected => ("MQTT-4.12.0-7", "MQTT-4.8.0-1 @3.1.1"),
            Self::AuthMethodChanged => ("MQTT-4.12.0-5", "MQTT-4.8.0-1 @3.1.1"),
            Self::AuthReason => ("MQTT-4.12.0-3", "MQTT-4.8.0-1 @3.1.1"),
            Self::KeepAliveTimeout { .. } => ("MQTT-3.1.2-22", "MQTT-3.1.2-24 @3.1.1"),
            Self::ReceiveMaximumExceeded { .. } => ("MQTT-3.3.4-7", "MQTT-4.8.0-2 @3.1.1"),
            Self::TopicAliasTooHigh { .. } => ("MQTT-3.2.2-17", "MQTT-4.8.0-1 @3.1.1"),
            Self::TopicAliasUnknown { .. } => ("MQTT-4.7.3-1", "MQTT-4.7.3-1 @3.1.1"),
            Self::TopicAliasBytes { .. } => ("MQTT-4.13.2-1", "MQTT-4.8.0-2 @3.1.1"),
            Self::SubscriptionIdInPublish => ("MQTT-3.3.4-6", "MQTT-4.8.0-1 @3.1.1"),
            Self::QosNotSupported => ("MQTT-3.2.2-11", "MQTT-4.8.0-2 @3.1.1"),
            Self::RetainNotSupported => ("MQTT-3.2.2-14", "MQTT-4.8.0-2 @3.1.1"),
            Self::TooManyFilters { .. } => ("MQTT-4.13.2-1", "MQTT-4.8.0-2 @3.1.1"),
            Self::TopicReserved => ("MQTT-4.13.2-1", "MQTT-3.3.5-2 @3.1.1"),
            Self::TopicTooDeep { .. } | Self::TopicTooLong { .. } => {
                ("MQTT-4.13.2-1", "MQTT-4.8.0-2 @3.1.1")
            }
            Self::PacketIdsExhausted => ("MQTT-2.2.1-4", "MQTT-2.3.1-4 @3.1.1"),
            Self::NoLocalOnShared => ("MQTT-3.8.3-4", "MQTT-4.8.0-1 @3.1.1"),
            Self::AnswerTooLarge { .. } => ("MQTT-3.1.2-24", "MQTT-4.8.0-2 @3.1.1"),
            Self::ExpiryRaised => ("MQTT-3.14.2-2", "MQTT-4.8.0-1 @3.1.1"),
        }
    }
}

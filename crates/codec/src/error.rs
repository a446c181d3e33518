//! What can be wrong with bytes from the network, and with values that are to be encoded.

use core::fmt;

use crate::{packet::PacketType, reason::ReasonCode, version::Version};

/// Bytes that are not a packet. Follows: answer with [`DecodeError::reason_code`] where the version
/// allows it, then close.
///
/// `Copy` and free of allocations, because an attacker can make them by the million.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DecodeError {
    kind: DecodeErrorKind,
    packet: Option<PacketType>,
    version: Option<Version>,
    offset: u32,
}

impl DecodeError {
    pub(crate) const fn new(
        fault: Fault,
        packet: Option<PacketType>,
        version: Option<Version>,
    ) -> Self {
        Self { kind: fault.kind, packet, version, offset: fault.offset }
    }

    /// Which rule was broken.
    #[must_use]
    pub const fn kind(&self) -> DecodeErrorKind {
        self.kind
    }

    /// The type of the packet, `None` if its first byte names none.
    #[must_use]
    pub const fn packet_type(&self) -> Option<PacketType> {
        self.packet
    }

    /// The version of the connection, or what a refused CONNECT asked for; `None` where that is unknown.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Where in the packet the rule was broken, counted in bytes from its first byte.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    /// The reason code that tells the peer.
    #[must_use]
    pub const fn reason_code(&self) -> ReasonCode {
        self.kind.reason_code()
    }

    /// The statement of the standard that was broken, such as `MQTT-2.1.3-1` of 5.0 or
    /// `MQTT-2.2.2-1 @3.1.1`. Where no statement has a number it is a section: `MQTT-5.0 s2.1.2`.
    ///
    /// MQTT 3.1 numbers nothing, so its errors name the statement of 3.1.1; an unknown version is taken for 5.0.
    #[must_use]
    pub const fn spec(&self) -> &'static str {
        let (v5, v3) = self.kind.specs(self.packet);
        match self.version {
            Some(Version::V3_1 | Version::V3_1_1) => v3,
            Some(Version::V5) | None => v5,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.packet {
            Some(packet) => write!(f, "{packet}: ")?,
            None => f.write_str("packet: ")?,
        }
        write!(f, "{} at byte {} [{}]", self.kind, self.offset, self.spec())
    }
}

impl core::error::Error for DecodeError {}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// Type 0, or AUTH before 5.0.
    #[error("packet type is reserved")]
    PacketTypeReserved,
    /// The low four bits of the first byte are not what the packet type demands.
    #[error("reserved flags of the fixed header are not as the packet type demands")]
    FlagsReserved,
    /// The Remaining Length has a fifth byte or is not the shortest form.
    #[error("remaining length is not a shortest variable byte integer of at most four bytes")]
    RemainingLength,
    /// The packet is larger than [`DecodeLimits::packet_size_max`](crate::DecodeLimits).
    #[error("packet is larger than the limit")]
    PacketTooLarge,
    /// The first packet of a connection is not CONNECT.
    #[error("first packet is not CONNECT")]
    ConnectExpected,
    /// A field reaches beyond the end of the packet.
    #[error("field reaches beyond the end of the packet")]
    Truncated,
    /// Bytes are left after the last field.
    #[error("bytes are left after the last field")]
    TrailingBytes,
    /// A Variable Byte Integer has a fifth byte or is not the shortest form.
    #[error("variable byte integer is not of the shortest form")]
    VariableByteInteger,
    /// Text is not UTF-8, or holds a surrogate.
    #[error("text is not UTF-8")]
    TextNotUtf8,
    /// Text holds U+0000.
    #[error("text holds U+0000")]
    TextNul,
    /// The Packet Identifier is 0.
    #[error("packet identifier is 0")]
    PacketIdZero,

    /// The protocol name is none of ours.
    #[error("protocol name is unknown")]
    ProtocolName,
    /// The protocol level is none of ours, or not one of this protocol name.
    #[error("protocol level {level} is not supported")]
    ProtocolLevel {
        /// The level asked for.
        level: u8,
    },
    /// The lowest bit of the Connect Flags is set.
    #[error("reserved connect flag is set")]
    ConnectFlagReserved,
    /// Will QoS is 3.
    #[error("will QoS is 3")]
    WillQos,
    /// Will QoS without a Will.
    #[error("will QoS is set without the will flag")]
    WillQosWithoutWill,
    /// Will Retain without a Will.
    #[error("will retain is set without the will flag")]
    WillRetainWithoutWill,
    /// A password without a user name, before 5.0.
    #[error("password flag is set without the user name flag")]
    PasswordWithoutUserName,
    /// The payload ends before the Client Identifier.
    #[error("client identifier is missing")]
    ClientIdMissing,
    /// The Client Identifier holds control characters or non-characters.
    #[error("client identifier holds characters that are not allowed")]
    ClientIdNotAllowed,
    /// The Will Flag is set, but the payload has no whole Will.
    #[error("will topic or will payload is missing")]
    WillMissing,
    /// The User Name Flag is set, but the payload has no user name.
    #[error("user name is missing")]
    UserNameMissing,
    /// The Password Flag is set, but the payload has no password.
    #[error("password is missing")]
    PasswordMissing,

    /// Both QoS bits are set.
    #[error("QoS is 3")]
    PublishQos,
    /// DUP on QoS 0.
    #[error("DUP is set on QoS 0")]
    DupAtMostOnce,
    /// The Topic Name has no bytes, and no Topic Alias stands for it.
    #[error("topic name is empty")]
    TopicEmpty,
    /// The Topic Name has a wildcard.
    #[error("topic name holds a wildcard")]
    TopicWildcard,
    /// The Topic Name holds control characters or non-characters.
    #[error("topic name holds characters that are not allowed")]
    TopicNotAllowed,
    /// The Topic Alias is 0.
    #[error("topic alias is 0")]
    TopicAliasZero,
    /// The Response Topic is empty, has a wildcard, or characters that are not allowed.
    #[error("response topic is not a topic name")]
    ResponseTopic,

    /// The property length is missing.
    #[error("property length is missing")]
    PropertyLengthMissing,
    /// The properties reach beyond the end of the packet.
    #[error("properties reach beyond the end of the packet")]
    PropertyLength,
    /// A field reaches beyond the end of the properties.
    #[error("property reaches beyond the end of the properties")]
    PropertyTruncated,
    /// No property has this identifier.
    #[error("property 0x{id:02x} is unknown")]
    PropertyUnknown {
        /// The identifier; 255 stands for everything above.
        id: u8,
    },
    /// The property does not belong into this packet.
    #[error("property 0x{id:02x} does not belong here")]
    PropertyMisplaced {
        /// The identifier.
        id: u8,
    },
    /// The property stands there twice but may only stand once.
    #[error("property 0x{id:02x} is repeated")]
    PropertyRepeated {
        /// The identifier.
        id: u8,
    },
    /// The property has a value outside of its range.
    #[error("property 0x{id:02x} has a value out of range")]
    PropertyValue {
        /// The identifier.
        id: u8,
    },
    /// Authentication Data without an Authentication Method.
    #[error("authentication data stands without an authentication method")]
    AuthenticationMethodMissing,

    /// The reason code or return code is not listed for this packet.
    #[error("reason code 0x{code:02x} is not listed for this packet")]
    ReasonCode {
        /// The number.
        code: u8,
    },
    /// SUBACK or UNSUBACK without a reason code.
    #[error("no reason codes")]
    ReasonCodesMissing,
    /// Reserved Connect Acknowledge Flags are set.
    #[error("reserved connect acknowledge flags are set")]
    ConnAckFlags,
    /// Session Present beside a refusal.
    #[error("session present beside a refusal")]
    SessionPresentOnRefusal,

    /// SUBSCRIBE or UNSUBSCRIBE without a Topic Filter.
    #[error("no topic filters")]
    FiltersMissing,
    /// The requested QoS is 3.
    #[error("requested QoS is 3")]
    SubscriptionQos,
    /// Retain Handling is 3.
    #[error("retain handling is 3")]
    RetainHandling,
    /// Reserved bits of the Subscription Options are set.
    #[error("reserved subscription options are set")]
    SubscriptionOptionsReserved,
}

impl DecodeErrorKind {
    /// The reason code that tells the peer.
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::PacketTooLarge => ReasonCode::PacketTooLarge,
            Self::ProtocolName | Self::ProtocolLevel { .. } => {
                ReasonCode::UnsupportedProtocolVersion
            }
            Self::ClientIdNotAllowed => ReasonCode::ClientIdentifierNotValid,
            Self::TopicWildcard | Self::TopicNotAllowed => ReasonCode::TopicNameInvalid,
            Self::TopicAliasZero => ReasonCode::TopicAliasInvalid,
            Self::ConnectExpected
            | Self::PacketIdZero
            | Self::TopicEmpty
            | Self::ResponseTopic
            | Self::PropertyRepeated { .. }
            | Self::PropertyValue { .. }
            | Self::AuthenticationMethodMissing
            | Self::ReasonCode { .. }
            | Self::ReasonCodesMissing
            | Self::SessionPresentOnRefusal
            | Self::FiltersMissing
            | Self::SubscriptionQos
            | Self::RetainHandling => ReasonCode::ProtocolError,
            Self::PacketTypeReserved
            | Self::FlagsReserved
            | Self::RemainingLength
            | Self::Truncated
            | Self::TrailingBytes
            | Self::VariableByteInteger
            | Self::TextNotUtf8
            | Self::TextNul
            | Self::ConnectFlagReserved
            | Self::WillQos
            | Self::WillQosWithoutWill
            | Self::WillRetainWithoutWill
            | Self::PasswordWithoutUserName
            | Self::ClientIdMissing
            | Self::WillMissing
            | Self::UserNameMissing
            | Self::PasswordMissing
            | Self::PublishQos
            | Self::DupAtMostOnce
            | Self::PropertyLengthMissing
            | Self::PropertyLength
            | Self::PropertyTruncated
            | Self::PropertyUnknown { .. }
            | Self::PropertyMisplaced { .. }
            | Self::ConnAckFlags
            | Self::SubscriptionOptionsReserved => ReasonCode::MalformedPacket,
        }
    }

    /// The broken statement of 5.0 and that of 3.1.1.
    const fn specs(self, packet: Option<PacketType>) -> (&'static str, &'static str) {
        match self {
            Self::PacketTypeReserved => ("MQTT-5.0 s2.1.2", "MQTT-3.1.1 s2.2.1"),
            Self::FlagsReserved => flags_specs(packet),
            Self::RemainingLength => ("MQTT-1.5.5-1", "MQTT-3.1.1 s2.2.3"),
            Self::PacketTooLarge => ("MQTT-3.2.2-15", "MQTT-4.8.0-2 @3.1.1"),
            Self::ConnectExpected => ("MQTT-3.1.0-1", "MQTT-3.1.0-1 @3.1.1"),
            Self::Truncated | Self::TrailingBytes
                if matches!(packet, Some(PacketType::Connect)) =>
            {
                ("MQTT-3.1.4-1", "MQTT-3.1.4-1 @3.1.1")
            }
            Self::Truncated | Self::TrailingBytes => ("MQTT-4.13.1-1", "MQTT-4.8.0-1 @3.1.1"),
            Self::VariableByteInteger => ("MQTT-1.5.5-1", "MQTT-4.8.0-1 @3.1.1"),
            Self::TextNotUtf8 => ("MQTT-1.5.4-1", "MQTT-1.5.3-1 @3.1.1"),
            Self::TextNul => ("MQTT-1.5.4-2", "MQTT-1.5.3-2 @3.1.1"),
            Self::PacketIdZero => ("MQTT-2.2.1-3", "MQTT-2.3.1-1 @3.1.1"),
            Self::ProtocolName => ("MQTT-3.1.2-1", "MQTT-3.1.2-1 @3.1.1"),
            Self::ProtocolLevel { .. } => ("MQTT-3.1.2-2", "MQTT-3.1.2-2 @3.1.1"),
            Self::ConnectFlagReserved => ("MQTT-3.1.2-3", "MQTT-3.1.2-3 @3.1.1"),
            Self::WillQos => ("MQTT-3.1.2-12", "MQTT-3.1.2-14 @3.1.1"),
            Self::WillQosWithoutWill => ("MQTT-3.1.2-11", "MQTT-3.1.2-13 @3.1.1"),
            Self::WillRetainWithoutWill => ("MQTT-3.1.2-13", "MQTT-3.1.2-15 @3.1.1"),
            Self::PasswordWithoutUserName => ("MQTT-3.1.2-19", "MQTT-3.1.2-22 @3.1.1"),
            Self::ClientIdMissing => ("MQTT-3.1.3-3", "MQTT-3.1.3-3 @3.1.1"),
            Self::ClientIdNotAllowed => ("MQTT-3.1.3-8", "MQTT-3.1.3-9 @3.1.1"),
            Self::WillMissing => ("MQTT-3.1.2-9", "MQTT-3.1.2-9 @3.1.1"),
            Self::UserNameMissing => ("MQTT-3.1.2-17", "MQTT-3.1.2-19 @3.1.1"),
            Self::PasswordMissing => ("MQTT-3.1.2-19", "MQTT-3.1.2-21 @3.1.1"),
            Self::PublishQos => ("MQTT-3.3.1-4", "MQTT-3.3.1-4 @3.1.1"),
            Self::DupAtMostOnce => ("MQTT-3.3.1-2", "MQTT-3.3.1-2 @3.1.1"),
            Self::TopicEmpty => ("MQTT-4.7.3-1", "MQTT-4.7.3-1 @3.1.1"),
            Self::TopicWildcard => ("MQTT-3.3.2-2", "MQTT-3.3.2-2 @3.1.1"),
            Self::TopicNotAllowed => ("MQTT-5.0 s1.5.4", "MQTT-3.1.1 s1.5.3"),
            Self::TopicAliasZero => ("MQTT-3.3.2-8", "MQTT-3.3.2-8"),
            Self::ResponseTopic => ("MQTT-3.3.2-14", "MQTT-3.3.2-14"),
            Self::PropertyLengthMissing => ("MQTT-2.2.2-1", "MQTT-2.2.2-1"),
            Self::PropertyLength | Self::PropertyTruncated => {
                ("MQTT-5.0 s2.2.2.1", "MQTT-5.0 s2.2.2.1")
            }
            Self::PropertyUnknown { .. }
            | Self::PropertyMisplaced { .. }
            | Self::PropertyRepeated { .. }
            | Self::PropertyValue { .. } => ("MQTT-5.0 s2.2.2.2", "MQTT-5.0 s2.2.2.2"),
            Self::AuthenticationMethodMissing => ("MQTT-5.0 s4.12", "MQTT-5.0 s4.12"),
            Self::ReasonCode { .. } => reason_specs(packet),
            Self::ReasonCodesMissing => match packet {
                Some(PacketType::UnsubAck) => ("MQTT-3.11.3-2", "MQTT-3.11.3-2"),
                _ => ("MQTT-3.8.4-6", "MQTT-3.8.4-5 @3.1.1"),
            },
            Self::ConnAckFlags => ("MQTT-3.2.2-1", "MQTT-3.1.1 s3.2.2.1"),
            Self::SessionPresentOnRefusal => ("MQTT-3.2.2-6", "MQTT-3.2.2-4 @3.1.1"),
            Self::FiltersMissing => match packet {
                Some(PacketType::Unsubscribe) => ("MQTT-3.10.3-2", "MQTT-3.10.3-2 @3.1.1"),
                _ => ("MQTT-3.8.3-2", "MQTT-3.8.3-3 @3.1.1"),
            },
            Self::SubscriptionQos | Self::SubscriptionOptionsReserved => {
                ("MQTT-3.8.3-5", "MQTT-3.8.3-4 @3.1.1")
            }
            Self::RetainHandling => ("MQTT-5.0 s3.8.3.1", "MQTT-3.8.3-4 @3.1.1"),
        }
    }
}

const fn flags_specs(packet: Option<PacketType>) -> (&'static str, &'static str) {
    match packet {
        Some(PacketType::PubRel) => ("MQTT-3.6.1-1", "MQTT-3.6.1-1 @3.1.1"),
        Some(PacketType::Subscribe) => ("MQTT-3.8.1-1", "MQTT-3.8.1-1 @3.1.1"),
        Some(PacketType::Unsubscribe) => ("MQTT-3.10.1-1", "MQTT-3.10.1-1 @3.1.1"),
        Some(PacketType::Disconnect) => ("MQTT-3.14.1-1", "MQTT-3.14.1-1 @3.1.1"),
        Some(PacketType::Auth) => ("MQTT-3.15.1-1", "MQTT-2.2.2-1 @3.1.1"),
        _ => ("MQTT-2.1.3-1", "MQTT-2.2.2-1 @3.1.1"),
    }
}

const fn reason_specs(packet: Option<PacketType>) -> (&'static str, &'static str) {
    match packet {
        Some(PacketType::ConnAck) => ("MQTT-3.2.2-8", "MQTT-3.1.1 s3.2.2.3"),
        Some(PacketType::PubAck) => ("MQTT-3.4.2-1", "MQTT-3.4.2-1"),
        Some(PacketType::PubRec) => ("MQTT-3.5.2-1", "MQTT-3.5.2-1"),
        Some(PacketType::PubRel) => ("MQTT-3.6.2-1", "MQTT-3.6.2-1"),
        Some(PacketType::PubComp) => ("MQTT-3.7.2-1", "MQTT-3.7.2-1"),
        Some(PacketType::SubAck) => ("MQTT-3.9.3-2", "MQTT-3.9.3-2 @3.1.1"),
        Some(PacketType::UnsubAck) => ("MQTT-3.11.3-2", "MQTT-3.11.3-2"),
        Some(PacketType::Auth) => ("MQTT-3.15.2-1", "MQTT-3.15.2-1"),
        _ => ("MQTT-3.14.2-1", "MQTT-3.14.2-1"),
    }
}

/// A broken rule and where; the packet and the version are added at the front door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: DecodeErrorKind,
    pub(crate) offset: u32,
}

/// A value that has no form on the wire.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Text or binary data is longer than 65,535 bytes.
    #[error("text or binary data is longer than 65,535 bytes")]
    FieldTooLong,
    /// Text holds U+0000.
    #[error("text holds U+0000")]
    TextNul,
    /// The packet, or its properties, are longer than 268,435,455 bytes.
    #[error("packet is longer than 268,435,455 bytes")]
    PacketTooLong,
    /// The version has no such packet, or no way to say this.
    #[error("the protocol version cannot say this")]
    NotInVersion,
    /// A PUBLISH of QoS 1 or 2 without a Packet Identifier, or one of QoS 0 with it.
    #[error("packet identifier and QoS do not belong together")]
    PacketId,
    /// The reason code is not listed for this packet.
    #[error("reason code is not listed for this packet")]
    ReasonCode,
    /// Authentication Data without an Authentication Method.
    #[error("authentication data without an authentication method")]
    AuthenticationMethod,
    /// A list that must not be empty is empty.
    #[error("list of topic filters or reason codes is empty")]
    Empty,
}

//! Reason codes: one table of code, words and the packets that may carry it.

use core::fmt;

use crate::packet::PacketType;

// The packets that may carry a reason code. PUBACK shares its list with PUBREC, and PUBREL with PUBCOMP.
const CONNACK: u8 = 1;
const PUBLISHED: u8 = 1 << 1;
const RELEASED: u8 = 1 << 2;
const SUBACK: u8 = 1 << 3;
const UNSUBACK: u8 = 1 << 4;
const DISCONNECT: u8 = 1 << 5;
const AUTH: u8 = 1 << 6;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $words:literal, $packets:expr;)+) => {
        /// Why a packet was answered as it was, in the words of MQTT 5.0.
        ///
        /// The return codes of 3.x are translated, see [`ReasonCode::connect_return_code`].
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $code,)+
        }

        impl ReasonCode {
            /// Every reason code, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The reason code with this number, if the standard names one.
            #[must_use]
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)+
                    _ => None,
                }
            }

            const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)+
                }
            }

            const fn packets(self) -> u8 {
                match self {
                    $(Self::$name => $packets,)+
                }
            }
        }
    };
}

reason_codes! {
    /// Success; in SUBACK: granted QoS 0; in DISCONNECT: normal disconnection.
    Success = 0x00, "success", CONNACK | PUBLISHED | RELEASED | UNSUBACK | AUTH | DISCONNECT | SUBACK;
    /// The subscription was accepted with QoS 1.
    GrantedQos1 = 0x01, "granted QoS 1", SUBACK;
    /// The subscription was accepted with QoS 2.
    GrantedQos2 = 0x02, "granted QoS 2", SUBACK;
    /// The client leaves and asks that its Will Message be published.
    DisconnectWithWillMessage = 0x04, "disconnect with will message", DISCONNECT;
    /// The message was accepted, but nobody subscribes to its topic.
    NoMatchingSubscribers = 0x10, "no matching subscribers", PUBLISHED;
    /// There was no such subscription to delete.
    NoSubscriptionExisted = 0x11, "no subscription existed", UNSUBACK;
    /// The authentication goes on with another step.
    ContinueAuthentication = 0x18, "continue authentication", AUTH;
    /// The client starts a new authentication.
    ReAuthenticate = 0x19, "re-authenticate", AUTH;
    /// It failed, and the sender does not say why.
    UnspecifiedError = 0x80, "unspecified error", CONNACK | PUBLISHED | SUBACK | UNSUBACK | DISCONNECT;
    /// The packet could not be parsed.
    MalformedPacket = 0x81, "malformed packet", CONNACK | DISCONNECT;
    /// The packet was unexpected, or carried what it may not carry.
    ProtocolError = 0x82, "protocol error", CONNACK | DISCONNECT;
    /// Correct, but this receiver does not take it.
    ImplementationSpecificError = 0x83, "implementation specific error", CONNACK | PUBLISHED | SUBACK | UNSUBACK | DISCONNECT;
    /// The server does not speak the version asked for.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version", CONNACK;
    /// The Client Identifier is well formed but not allowed.
    ClientIdentifierNotValid = 0x85, "client identifier not valid", CONNACK;
    /// User name or password were not accepted.
    BadUserNameOrPassword = 0x86, "bad user name or password", CONNACK;
    /// The client may not do this.
    NotAuthorized = 0x87, "not authorized", CONNACK | PUBLISHED | SUBACK | UNSUBACK | DISCONNECT;
    /// The server is not available.
    ServerUnavailable = 0x88, "server unavailable", CONNACK;
    /// The server is busy; try again later.
    ServerBusy = 0x89, "server busy", CONNACK | DISCONNECT;
    /// The client was banned by an administrator.
    Banned = 0x8A, "banned", CONNACK;
    /// The server is shutting down.
    ServerShuttingDown = 0x8B, "server shutting down", DISCONNECT;
    /// The authentication method is not supported, or not the one in use.
    BadAuthenticationMethod = 0x8C, "bad authentication method", CONNACK | DISCONNECT;
    /// Nothing arrived for one and a half times the Keep Alive.
    KeepAliveTimeout = 0x8D, "keep alive timeout", DISCONNECT;
    /// Another connection took over this Client Identifier.
    SessionTakenOver = 0x8E, "session taken over", DISCONNECT;
    /// The Topic Filter is well formed but not accepted here.
    TopicFilterInvalid = 0x8F, "topic filter invalid", SUBACK | UNSUBACK | DISCONNECT;
    /// The Topic Name is well formed but not accepted here.
    TopicNameInvalid = 0x90, "topic name invalid", CONNACK | PUBLISHED | DISCONNECT;
    /// The Packet Identifier is already in use.
    PacketIdentifierInUse = 0x91, "packet identifier in use", PUBLISHED | SUBACK | UNSUBACK;
    /// The Packet Identifier is not in use.
    PacketIdentifierNotFound = 0x92, "packet identifier not found", RELEASED;
    /// More QoS 1 and 2 messages are in flight than the Receive Maximum allows.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded", DISCONNECT;
    /// The Topic Alias is zero or above the maximum.
    TopicAliasInvalid = 0x94, "topic alias invalid", DISCONNECT;
    /// The packet is larger than the receiver allows.
    PacketTooLarge = 0x95, "packet too large", CONNACK | DISCONNECT;
    /// Messages arrive too fast.
    MessageRateTooHigh = 0x96, "message rate too high", DISCONNECT;
    /// A limit of the implementation or of the administrator was passed.
    QuotaExceeded = 0x97, "quota exceeded", CONNACK | PUBLISHED | SUBACK | DISCONNECT;
    /// The connection was closed by an administrator.
    AdministrativeAction = 0x98, "administrative action", DISCONNECT;
    /// The payload is not what its Payload Format Indicator says.
    PayloadFormatInvalid = 0x99, "payload format invalid", CONNACK | PUBLISHED | DISCONNECT;
    /// The server does not keep retained messages.
    RetainNotSupported = 0x9A, "retain not supported", CONNACK | DISCONNECT;
    /// The QoS is above the server's Maximum QoS.
    QosNotSupported = 0x9B, "QoS not supported", CONNACK | DISCONNECT;
    /// The client should use another server for now.
    UseAnotherServer = 0x9C, "use another server", CONNACK | DISCONNECT;
    /// The client should use another server for good.
    ServerMoved = 0x9D, "server moved", CONNACK | DISCONNECT;
    /// The server does not offer Shared Subscriptions.
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported", SUBACK | DISCONNECT;
    /// Connections are made too fast.
    ConnectionRateExceeded = 0x9F, "connection rate exceeded", CONNACK | DISCONNECT;
    /// The connection lasted as long as it was allowed to.
    MaximumConnectTime = 0xA0, "maximum connect time", DISCONNECT;
    /// The server does not offer Subscription Identifiers.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported", SUBACK | DISCONNECT;
    /// The server does not offer wildcard subscriptions.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported", SUBACK | DISCONNECT;
}

impl ReasonCode {
    /// The number on the wire.
    #[inline]
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether it says that something failed (0x80 and above).
    #[inline]
    #[must_use]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether the standard lists this code for packets of this type.
    #[must_use]
    pub const fn is_allowed_in(self, packet: PacketType) -> bool {
        let place = match packet {
            PacketType::ConnAck => CONNACK,
            PacketType::PubAck | PacketType::PubRec => PUBLISHED,
            PacketType::PubRel | PacketType::PubComp => RELEASED,
            PacketType::SubAck => SUBACK,
            PacketType::UnsubAck => UNSUBACK,
            PacketType::Disconnect => DISCONNECT,
            PacketType::Auth => AUTH,
            PacketType::Connect
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::PingReq
            | PacketType::PingResp => 0,
        };
        self.packets() & place != 0
    }

    /// The return code of a 3.x CONNACK that says the same, `None` if there is none: then the
    /// connection is closed without CONNACK.
    // [MQTT-3.2.2-6 @3.1.1]
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "3.x knows five of forty failures")]
    pub const fn connect_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => Some(5),
            _ => None,
        }
    }

    /// The reason code for the return code of a 3.x CONNACK.
    #[must_use]
    pub const fn from_connect_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

//! Properties of MQTT 5.0: their identifiers, and which of them may stand where.

pub(crate) mod raw;
pub(crate) mod reader;
pub(crate) mod subscription_ids;
pub(crate) mod user;
pub(crate) mod writer;

/// Property identifiers.
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// A set of property identifiers, one bit each: all are below 64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PropertySet(u64);

impl PropertySet {
    const fn of(ids: &[u8]) -> Self {
        let mut bits = 0;
        let mut rest = ids;
        while let [id, others @ ..] = rest {
            bits |= 1 << *id;
            rest = others;
        }
        Self(bits)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline]
    const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }
}

/// What travels with a message, in PUBLISH and in a Will.
const MESSAGE: PropertySet = PropertySet::of(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
]);
const AUTHENTICATION: PropertySet =
    PropertySet::of(&[id::AUTHENTICATION_METHOD, id::AUTHENTICATION_DATA]);

pub(crate) const PUBLISH: PropertySet =
    MESSAGE.and(PropertySet::of(&[id::SUBSCRIPTION_IDENTIFIER, id::TOPIC_ALIAS]));
pub(crate) const WILL: PropertySet = MESSAGE.and(PropertySet::of(&[id::WILL_DELAY_INTERVAL]));
pub(crate) const CONNECT: PropertySet = AUTHENTICATION.and(PropertySet::of(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::REQUEST_PROBLEM_INFORMATION,
    id::REQUEST_RESPONSE_INFORMATION,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
]));
pub(crate) const CONNACK: PropertySet = AUTHENTICATION.and(PropertySet::of(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::ASSIGNED_CLIENT_IDENTIFIER,
    id::SERVER_KEEP_ALIVE,
    id::RESPONSE_INFORMATION,
    id::SERVER_REFERENCE,
    id::REASON_STRING,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::MAXIMUM_QOS,
    id::RETAIN_AVAILABLE,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
    id::WILDCARD_SUBSCRIPTION_AVAILABLE,
    id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    id::SHARED_SUBSCRIPTION_AVAILABLE,
]));
/// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
pub(crate) const ACK: PropertySet = PropertySet::of(&[id::REASON_STRING, id::USER_PROPERTY]);
pub(crate) const SUBSCRIBE: PropertySet =
    PropertySet::of(&[id::SUBSCRIPTION_IDENTIFIER, id::USER_PROPERTY]);
pub(crate) const UNSUBSCRIBE: PropertySet = PropertySet::of(&[id::USER_PROPERTY]);
pub(crate) const DISCONNECT: PropertySet =
    ACK.and(PropertySet::of(&[id::SESSION_EXPIRY_INTERVAL, id::SERVER_REFERENCE]));
pub(crate) const AUTH: PropertySet = ACK.and(AUTHENTICATION);

const KNOWN: PropertySet = WILL.and(PUBLISH).and(CONNECT).and(CONNACK);

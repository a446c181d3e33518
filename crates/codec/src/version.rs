//! The three protocol versions and what names them on the wire.

use core::fmt;

/// A protocol version this codec speaks.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V3_1,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    V3_1_1,
    /// MQTT 5.0: protocol name `MQTT`, version 5.
    V5,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 3] = [Self::V3_1, Self::V3_1_1, Self::V5];

    /// The protocol name a CONNECT of this version carries.
    #[must_use]
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V3_1 => "MQIsdp",
            Self::V3_1_1 | Self::V5 => "MQTT",
        }
    }

    /// Length of the protocol name, which is its own second byte on the wire.
    pub(crate) const fn protocol_name_len(self) -> u8 {
        match self {
            Self::V3_1 => 6,
            Self::V3_1_1 | Self::V5 => 4,
        }
    }

    /// The protocol level (5.0 says protocol version) a CONNECT of this version carries.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::V3_1 => 3,
            Self::V3_1_1 => 4,
            Self::V5 => 5,
        }
    }

    /// Whether packets carry properties and reason codes.
    #[inline]
    #[must_use]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The version that a protocol name and level stand for.
    pub(crate) fn from_wire(name: &[u8], level: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.protocol_name().as_bytes() == name && version.level() == level)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3_1 => "3.1",
            Self::V3_1_1 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

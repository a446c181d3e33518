//! Quality of Service.

use core::fmt;

/// How hard sender and receiver try to deliver an Application Message.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Qos {
    /// QoS 0: sent once, never acknowledged.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: repeated after a reconnect until acknowledged.
    AtLeastOnce = 1,
    /// QoS 2: delivered once, by a two-step exchange.
    ExactlyOnce = 2,
}

impl Qos {
    /// The level for two bits, `None` for 3, which no packet may carry.
    #[inline]
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> Self {
        qos as Self
    }
}

impl TryFrom<u8> for Qos {
    type Error = InvalidQos;

    fn try_from(level: u8) -> Result<Self, InvalidQos> {
        Self::from_bits(level).ok_or(InvalidQos(level))
    }
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QoS {}", *self as u8)
    }
}

/// A number that is not a Quality of Service.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} is not a quality of service, which is 0, 1 or 2")]
pub struct InvalidQos(pub u8);

//! The limits whose value the machine decides where the configuration does not.

use crate::budget::default_max;
use crate::config::Limits;

/// Descriptors kept back from clients: for the store, logs and whatever else the process has open.
const DESCRIPTORS_RESERVED: u64 = 64;

/// These limits as they are on this machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Allowed {
    pub(crate) connections: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) retained_bytes: u64,
}

impl Allowed {
    pub(crate) fn of(limits: &Limits) -> Self {
        let memory_bytes = limits.memory_bytes_max.unwrap_or_else(default_max);
        Self {
            connections: limits.connections_max.map_or_else(descriptors, u64::from),
            memory_bytes,
            retained_bytes: limits.retained_bytes_max.unwrap_or(memory_bytes / 2),
        }
    }
}

/// The soft descriptor limit less a reserve.
fn descriptors() -> u64 {
    let soft = rlimit::Resource::NOFILE.get_soft().unwrap_or(1024);
    soft.saturating_sub(DESCRIPTORS_RESERVED).max(16)
}

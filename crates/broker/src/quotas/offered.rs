//! What a client is offered where its quotas allow less than its listener.

use std::time::Duration;

use dunlin_access::{EffectiveQuotas, Limit, Scope};
use dunlin_session::Capabilities;

use super::event::{QuotaEvent, QuotaLimit, QuotaScope};
use crate::listen::expiry;

/// The most that may wait for a client.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct QueueLimits {
    pub(crate) messages: Option<usize>,
    pub(crate) bytes: Option<usize>,
}

impl QueueLimits {
    /// None where nothing is limited.
    pub(crate) fn of(quotas: &EffectiveQuotas) -> Option<Self> {
        let most = |limit: &Option<Limit<u64>>| {
            limit.as_ref().map(|limit| usize::try_from(limit.value).unwrap_or(usize::MAX))
        };
        let limits =
            Self { messages: most(&quotas.queue_messages), bytes: most(&quotas.queue_bytes) };
        (limits != Self::default()).then_some(limits)
    }
}

/// What is offered under quotas: never more than by the listener.
pub(crate) fn limited(offered: &Capabilities, quotas: &EffectiveQuotas) -> Capabilities {
    let mut own = offered.clone();
    lower(&mut own.subscriptions_max, &quotas.subscriptions);
    lower(&mut own.filter_levels_max, &quotas.filter_levels);
    lower(&mut own.topic_bytes_max, &quotas.topic_bytes);
    lower(&mut own.maximum_packet_size, &quotas.packet_bytes);
    lower(&mut own.inflight_max, &quotas.inflight);
    lower(&mut own.receive_maximum, &quotas.inflight);
    let longest = quotas.keep_alive_max.as_ref().map(seconds);
    own.keep_alive_max = own.keep_alive_max.into_iter().chain(longest).min();
    own.keep_alive_min = quotas.keep_alive_min.as_ref().map(seconds);
    let longest = quotas.session_expiry_max.as_ref().map(|limit| expiry(limit.value));
    own.session_expiry_max = match (own.session_expiry_max, longest) {
        (Some(offered), longest) => Some(offered.at_most(longest)),
        (None, longest) => longest,
    };
    own
}

fn lower<T: Copy + Ord + TryFrom<u64>>(value: &mut T, limit: &Option<Limit<u64>>) {
    // A limit that the type cannot hold is none.
    if let Some(limit) = limit.as_ref().and_then(|limit| T::try_from(limit.value).ok()) {
        *value = limit.min(*value);
    }
}

/// What a Keep Alive can say.
fn seconds(limit: &Limit<Duration>) -> u16 {
    u16::try_from(limit.value.as_secs()).unwrap_or(u16::MAX)
}

impl QuotaEvent {
    /// A limit that a session keeps was reached; none if it was not set by a quota.
    pub(crate) fn of<T>(limit: QuotaLimit, set: Option<&Limit<T>>) -> Option<Self> {
        let scope = match &set?.scope {
            Scope::Broker => QuotaScope::Broker,
            Scope::Listener(_) => QuotaScope::Listener,
            Scope::Tenant(_) => QuotaScope::Tenant,
            Scope::Role(_) => QuotaScope::Role,
            Scope::User(_) => QuotaScope::User,
            Scope::Client(_) => QuotaScope::Client,
            _ => return None,
        };
        Some(Self { scope, limit })
    }
}

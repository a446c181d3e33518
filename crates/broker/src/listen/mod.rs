//! Listeners: addresses where clients connect, and what is offered there.

mod tcp;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dunlin_codec::{Text, TextRules};
use dunlin_session::{Capabilities, ReservedTopicPolicy, SessionExpiry};
use dunlin_store::Durability;

use crate::config::{Config, ListenerConfig, SysPublish};

pub(crate) use tcp::{BoundListener, bind, serve};

/// One listener, as its connections see it.
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) allow_anonymous: bool,
    /// What an acknowledgement promises here, where it is not as everywhere.
    pub(crate) durability: Option<Durability>,
    handshakes: AtomicU32,
    handshakes_max: u32,
    connections: AtomicU32,
    connections_max: u32,
    /// Told when a handshake is over, for the one who accepts.
    pub(crate) freed: tokio::sync::Notify,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Listener {
    pub(crate) fn new(config: &Config, listener: &ListenerConfig) -> Self {
        Self {
            name: listener.name.as_str().into(),
            capabilities: Arc::new(capabilities(config, listener)),
            allow_anonymous: listener.allow_anonymous,
            durability: listener.durability,
            handshakes: AtomicU32::new(0),
            handshakes_max: listener.handshakes_max,
            connections: AtomicU32::new(0),
            connections_max: listener.connections_max.unwrap_or(u32::MAX),
            freed: tokio::sync::Notify::new(),
        }
    }

    /// Whether another client may begin its handshake.
    pub(crate) fn has_handshake_room(&self) -> bool {
        self.handshakes.load(Ordering::Acquire) < self.handshakes_max
    }

    /// Takes a place for a new connection; `false` if all are taken.
    pub(crate) fn take_place(&self) -> bool {
        if self.connections.fetch_add(1, Ordering::AcqRel) >= self.connections_max {
            self.connections.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        self.handshakes.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// A connection's CONNECT is accepted, or it has ended: what `in_handshake` says, once.
    pub(crate) fn handshake_over(&self, in_handshake: &mut bool) {
        if std::mem::take(in_handshake)
            && self.handshakes.fetch_sub(1, Ordering::AcqRel) >= self.handshakes_max
        {
            self.freed.notify_one();
        }
    }

    pub(crate) fn connection_over(&self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a listener offers, as the session machine wants it.
fn capabilities(config: &Config, listener: &ListenerConfig) -> Capabilities {
    let limits = &config.limits;
    Capabilities {
        versions: listener.versions,
        maximum_qos: listener.maximum_qos,
        retain_available: listener.retain_available,
        wildcard_subscription_available: listener.wildcard_subscription_available,
        subscription_identifiers_available: listener.subscription_identifiers_available,
        shared_subscription_available: listener.shared_subscription_available,
        receive_maximum: limits.receive_maximum,
        inflight_max: limits.inflight_max,
        maximum_packet_size: limits.packet_bytes_max,
        topic_alias_maximum: limits.topic_alias_maximum,
        topic_alias_out_maximum: limits.topic_alias_out_maximum,
        alias_bytes_max: limits.alias_bytes_max,
        session_expiry_max: limits.session_expiry_max.map(expiry),
        keep_alive_max: limits.keep_alive_max,
        connect_deadline: Some(limits.connect_deadline),
        subscriptions_max: limits.subscriptions_max,
        topic_levels_max: limits.topic_levels_max,
        client_id_bytes_max: limits.client_id_bytes_max,
        response_information: listener
            .response_information
            .as_deref()
            .and_then(|text| Text::try_from(text).ok()),
        text: TextRules {
            allow_control: limits.allow_control_characters,
            allow_non_characters: limits.allow_non_characters,
        },
        reserved_topic_3x: match config.sys.publish_3x {
            SysPublish::Drop => ReservedTopicPolicy::Drop,
            SysPublish::Close => ReservedTopicPolicy::Close,
        },
    }
}

/// In whole seconds, at least one: a session that is to last shorter would not last at all.
fn expiry(duration: Duration) -> SessionExpiry {
    let secs = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    SessionExpiry::from_secs(u32::try_from(secs).unwrap_or(u32::MAX - 1).max(1))
}

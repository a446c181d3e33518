//! Listeners: addresses where clients connect, and what is offered there.

mod accept;
mod entering;
mod open;
mod places;
mod proof;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dunlin_codec::{Text, TextRules};
use dunlin_session::{Capabilities, ReservedTopicPolicy, SessionExpiry};
use dunlin_store::Durability;
use dunlin_transport::Door;
use dunlin_transport::http::{AllowedOrigins, UpgradeRules};
use dunlin_transport::proxy::ProxySources;
use dunlin_transport::tcp::TcpOptions;
use dunlin_transport::tls::Tls;
use parking_lot::Mutex;

use crate::config::{Config, ListenerConfig, Protocol, SysPublish};
use crate::core::Core;

pub(crate) use entering::{RefusalLog, turns};
pub(crate) use open::{Change, Listeners};
pub(crate) use places::Places;
pub(crate) use proof::{Proofs, days_left, load as load_proofs};

/// What a listener offers, as the connections see it that began under these settings.
pub(crate) struct Listener {
    /// What is offered under the limits of one configuration, with its number.
    offered: Mutex<(u32, Arc<Capabilities>)>,
    pub(crate) allow_anonymous: bool,
    /// Whose the sessions of its anonymous clients are, where they are not everybody's.
    pub(crate) anonymous_user: Option<String>,
    /// What an acknowledgement promises here, where it is not as everywhere.
    pub(crate) durability: Option<Durability>,
    /// What is set on its clients' sockets.
    pub(crate) tcp: TcpOptions,
    /// What lies between the socket and MQTT.
    pub(crate) door: Door,
    /// What stays the same when the settings change.
    pub(crate) places: Arc<Places>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("name", self.name()).finish_non_exhaustive()
    }
}

impl Listener {
    pub(crate) fn new(
        config: &Config,
        listener: &ListenerConfig,
        tls: Option<Arc<Tls>>,
        places: Arc<Places>,
    ) -> Arc<Self> {
        Arc::new(Self {
            offered: Mutex::new((0, Arc::new(capabilities(config, listener)))),
            allow_anonymous: listener.allow_anonymous,
            anonymous_user: listener.anonymous_user.clone(),
            durability: listener.durability,
            tcp: accept::tcp_options(listener),
            door: door(listener, tls),
            places,
        })
    }

    /// What is offered, under the limits of the present configuration, whose number comes first. What CONNACK announces is as
    /// it was when these settings came; the rest holds for those who are connected too.
    pub(crate) fn capabilities(&self, core: &Core) -> (u32, Arc<Capabilities>) {
        let generation = core.generation();
        let mut offered = self.offered.lock();
        if offered.0 != generation {
            let mut capabilities = Capabilities::clone(&offered.1);
            take_live(&mut capabilities, &core.config());
            *offered = (generation, Arc::new(capabilities));
        }
        (generation, Arc::clone(&offered.1))
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.places.name
    }
}

/// The layers that a listener's clients pass.
fn door(listener: &ListenerConfig, tls: Option<Arc<Tls>>) -> Door {
    let mut door = Door::default();
    door.deadline = listener.handshake_deadline;
    door.proxy = listener.proxy_protocol_from.clone().map(|trusted| ProxySources { trusted });
    door.tls = tls;
    #[cfg(feature = "quic")]
    {
        door.quic.idle_timeout = listener.quic_idle_timeout;
        door.quic.keep_alive = listener.quic_keep_alive;
    }
    door.protocol = match listener.protocol {
        Protocol::Mqtt => dunlin_transport::Protocol::Mqtt,
        Protocol::WebSocket => dunlin_transport::Protocol::WebSocket(upgrade_rules(listener)),
        Protocol::Auto => dunlin_transport::Protocol::Auto(upgrade_rules(listener)),
    };
    door
}

/// What a listener asks of a WebSocket request.
fn upgrade_rules(listener: &ListenerConfig) -> UpgradeRules {
    let unsaid =
        || if listener.allow_anonymous { AllowedOrigins::none() } else { AllowedOrigins::Any };
    UpgradeRules {
        path: listener.websocket_path.as_str().into(),
        without_subprotocol: !listener.websocket_require_subprotocol,
        origins: listener.websocket_origins.clone().unwrap_or_else(unsaid),
        trusted_proxies: listener.websocket_trusted_proxies.clone(),
        head_bytes_max: listener.websocket_head_bytes_max,
    }
}

/// What a listener offers, as the session machine wants it.
fn capabilities(config: &Config, listener: &ListenerConfig) -> Capabilities {
    let limits = &config.limits;
    let mut capabilities = Capabilities {
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
        keep_alive_min: None,
        connect_deadline: Some(limits.connect_deadline),
        client_id_bytes_max: limits.client_id_bytes_max,
        response_information: listener
            .response_information
            .as_deref()
            .and_then(|text| Text::try_from(text).ok()),
        text: TextRules {
            allow_control: limits.allow_control_characters,
            allow_non_characters: limits.allow_non_characters,
        },
        ..Capabilities::default()
    };
    take_live(&mut capabilities, config);
    capabilities
}

/// What nobody was told, so that it can change while a connection goes on.
fn take_live(capabilities: &mut Capabilities, config: &Config) {
    capabilities.subscriptions_max = config.limits.subscriptions_max;
    capabilities.topic_levels_max = config.limits.topic_levels_max;
    capabilities.reserved_topic_3x = match config.sys.publish_3x {
        SysPublish::Drop => ReservedTopicPolicy::Drop,
        SysPublish::Close => ReservedTopicPolicy::Close,
    };
}

/// In whole seconds, at least one: a session that is to last shorter would not last at all.
pub(crate) fn expiry(duration: Duration) -> SessionExpiry {
    let secs = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    SessionExpiry::from_secs(u32::try_from(secs).unwrap_or(u32::MAX - 1).max(1))
}

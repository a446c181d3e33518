//! Which settings a running broker takes, and when.
//!
//! One table: the comparison of two configurations, the report of a reload and the documentation are made from it.

use super::{Config, ListenerConfig};

/// When a changed setting takes effect in a running broker.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Applies {
    /// At once, for everybody.
    Live,
    /// For Network Connections that begin afterwards. Those that are there keep what they were granted: the standard knows
    /// no way to take back what CONNACK said.
    NewConnections,
    /// When the broker is started anew; for a setting of a listener's socket, when the listener gets another address. A reload
    /// names the setting and leaves it as it was.
    Restart,
}

impl Applies {
    /// The stable name, as in logs, messages and documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NewConnections => "new connections",
            Self::Restart => "restart",
        }
    }
}

/// One setting of a `T`: its key, when a change takes effect, how two are compared and how one is taken over.
pub(crate) struct Setting<T> {
    pub(crate) key: &'static str,
    pub(crate) applies: Applies,
    pub(crate) differs: fn(&T, &T) -> bool,
    /// Gives the first the value of the second.
    pub(crate) take: fn(&mut T, &T),
}

macro_rules! table {
    ($name:ident: $type:ty { $($key:literal $applies:ident $($field:ident).+,)+ }) => {
        pub(crate) const $name: &[Setting<$type>] = &[$(Setting {
            key: $key,
            applies: Applies::$applies,
            differs: |one, other| one.$($field).+ != other.$($field).+,
            take: |one, other| one.$($field).+.clone_from(&other.$($field).+),
        },)+];
    };
}

table! { BROKER: Config {
    "store.durability" Live durability,
    "store.full_3x" Live store_full_3x,
    "durability" Live durability_rules,
    "sys.interval" Live sys.interval,
    "sys.publish_3x" Live sys.publish_3x,
    "access.foreign_sessions" Live access.foreign_sessions,
    "quotas" Live quotas,
    "bans.flap_connects" Live bans.flap_connects,
    "bans.flap_within" Live bans.flap_within,
    "bans.flap_ban" Live bans.flap_ban,
    "bans.failures" Live bans.failures,
    "bans.failures_within" Live bans.failures_within,
    "bans.failures_ban" Live bans.failures_ban,
    "bans.exempt" Live bans.exempt,
    "tenants.rules" NewConnections tenants.rules,
    "tenants.otherwise" NewConnections tenants.otherwise,
    "tenants.tenants_max" Live tenants.tenants_max,
    "tenants.exports" Live tenants.exports,
    "limits.packet_bytes_max" NewConnections limits.packet_bytes_max,
    "limits.packet_bytes_max_before_connect" NewConnections limits.packet_bytes_max_before_connect,
    "limits.topic_levels_max" Live limits.topic_levels_max,
    "limits.client_id_bytes_max" NewConnections limits.client_id_bytes_max,
    "limits.allow_control_characters" NewConnections limits.allow_control_characters,
    "limits.allow_non_characters" NewConnections limits.allow_non_characters,
    "limits.connections_max" Live limits.connections_max,
    "limits.connect_deadline" NewConnections limits.connect_deadline,
    "limits.keep_alive_max" NewConnections limits.keep_alive_max,
    "limits.write_stall_max" Live limits.write_stall_max,
    "limits.shutdown_drain_max" Live limits.shutdown_drain_max,
    "limits.accept_pause" Live limits.accept_pause,
    "limits.hook_deadline" Live limits.hook_deadline,
    "limits.receive_maximum" NewConnections limits.receive_maximum,
    "limits.inflight_max" NewConnections limits.inflight_max,
    "limits.topic_alias_maximum" NewConnections limits.topic_alias_maximum,
    "limits.topic_alias_out_maximum" NewConnections limits.topic_alias_out_maximum,
    "limits.alias_bytes_max" NewConnections limits.alias_bytes_max,
    "limits.sessions_max" Live limits.sessions_max,
    "limits.session_expiry_max" NewConnections limits.session_expiry_max,
    "limits.subscriptions_max" Live limits.subscriptions_max,
    "limits.queue_messages_max" Live limits.queue_messages_max,
    "limits.queue_bytes_max" Live limits.queue_bytes_max,
    "limits.queue_memory_messages_max" Live limits.queue_memory_messages_max,
    "limits.queue_memory_bytes_max" Live limits.queue_memory_bytes_max,
    "limits.overflow" Live limits.overflow,
    "limits.queue_qos0" Live limits.queue_qos0,
    "limits.qos0_lane_bytes_soft" Live limits.qos0_lane_bytes_soft,
    "limits.qos0_lane_bytes_hard" Live limits.qos0_lane_bytes_hard,
    "limits.publisher_slow_max" Live limits.publisher_slow_max,
    "limits.shared_group_queue_messages_max" Live limits.shared_group_queue_messages_max,
    "limits.shared_group_queue_bytes_max" Live limits.shared_group_queue_bytes_max,
    "limits.route_cache_entries_max" NewConnections limits.route_cache_entries_max,
    "limits.retained_messages_max" Live limits.retained_messages_max,
    "limits.retained_bytes_max" Live limits.retained_bytes_max,
    "limits.replay_bytes_ahead" Live limits.replay_bytes_ahead,
    "limits.memory_bytes_max" Live limits.memory_bytes_max,
    "limits.commit_queue_messages_max" Restart limits.commit_queue_messages_max,
    "limits.commit_batch_bytes_max" Restart limits.commit_batch_bytes_max,
    "limits.wills_per_second_max" Live limits.wills_per_second_max,
} }

table! { LISTENER: ListenerConfig {
    "address" Live address,
    "protocol" NewConnections protocol,
    "allow_anonymous" NewConnections allow_anonymous,
    "anonymous_user" NewConnections anonymous_user,
    "authentication" NewConnections authentication,
    "versions" NewConnections versions,
    "maximum_qos" NewConnections maximum_qos,
    "retain_available" NewConnections retain_available,
    "wildcard_subscription_available" NewConnections wildcard_subscription_available,
    "subscription_identifiers_available" NewConnections subscription_identifiers_available,
    "shared_subscription_available" NewConnections shared_subscription_available,
    "response_information" NewConnections response_information,
    "handshakes_max" Live handshakes_max,
    "connections_max" Live connections_max,
    "backlog" Live backlog,
    "handshake_deadline" NewConnections handshake_deadline,
    "tls_certificate" NewConnections tls_certificate,
    "tls_key" NewConnections tls_key,
    "tls_client_certificates" NewConnections tls_client_certificates,
    "tls_client_authorities" NewConnections tls_client_authorities,
    "tls_client_revocations" NewConnections tls_client_revocations,
    "tls_minimum" NewConnections tls_minimum,
    "tls_tickets" NewConnections tls_tickets,
    "tls_watch_interval" Live tls_watch_interval,
    "websocket_path" NewConnections websocket_path,
    "websocket_origins" NewConnections websocket_origins,
    "websocket_require_subprotocol" NewConnections websocket_require_subprotocol,
    "websocket_head_bytes_max" NewConnections websocket_head_bytes_max,
    "websocket_trusted_proxies" NewConnections websocket_trusted_proxies,
    "proxy_protocol_from" NewConnections proxy_protocol_from,
    "tcp_nodelay" NewConnections tcp_nodelay,
    "tcp_keepalive" NewConnections tcp_keepalive,
    "tcp_user_timeout" NewConnections tcp_user_timeout,
    "quic_idle_timeout" NewConnections quic_idle_timeout,
    "quic_keep_alive" NewConnections quic_keep_alive,
    "reuse_port" Restart reuse_port,
    "receive_buffer_bytes" Restart receive_buffer_bytes,
    "send_buffer_bytes" Restart send_buffer_bytes,
    "unix_mode" Restart unix_mode,
    "unix_user" Restart unix_user,
    "unix_group" Restart unix_group,
    "durability" NewConnections durability,
} }

/// When a change of this setting takes effect; none if there is no such setting of the library. Settings are named as in a
/// configuration file, such as `limits.receive_maximum`; those of a listener `listeners.NAME.backlog`.
#[must_use]
pub fn applies(setting: &str) -> Option<Applies> {
    if let Some((_, key)) = setting.strip_prefix("listeners.").and_then(|rest| rest.split_once('.'))
    {
        return LISTENER.iter().find(|entry| entry.key == key).map(|entry| entry.applies);
    }
    BROKER.iter().find(|entry| entry.key == setting).map(|entry| entry.applies)
}

/// The keys in which two differ, with when that takes effect, in the order of the table.
pub(crate) fn differences<T>(
    table: &[Setting<T>],
    one: &T,
    other: &T,
) -> Vec<(&'static str, Applies)> {
    let different = table.iter().filter(|setting| (setting.differs)(one, other));
    different.map(|setting| (setting.key, setting.applies)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Debug;

    use crate::config::{AccessConfig, BansConfig, Limits, SysConfig};
    use crate::tenants::TenantsConfig;

    use super::*;

    /// The fields of a struct as its Debug output names them.
    fn fields(value: &impl Debug) -> BTreeSet<String> {
        let text = format!("{value:#?}");
        let own = text
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| !line.starts_with(' '));
        own.filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect()
    }

    fn keys<T>(table: &[Setting<T>], section: &str) -> BTreeSet<String> {
        let keys = table.iter().filter_map(|setting| setting.key.strip_prefix(section));
        keys.map(str::to_owned).collect()
    }

    #[test]
    fn every_field_has_its_row() {
        assert_eq!(keys(BROKER, "limits."), fields(&Limits::default()));
        assert_eq!(keys(BROKER, "sys."), fields(&SysConfig::default()));
        assert_eq!(keys(BROKER, "tenants."), fields(&TenantsConfig::default()));
        assert_eq!(keys(BROKER, "access."), fields(&AccessConfig::default()));
        assert_eq!(keys(BROKER, "bans."), fields(&BansConfig::default()));
        let mut listener = fields(&ListenerConfig::default());
        assert!(listener.remove("name"), "the name says which listener it is");
        assert_eq!(keys(LISTENER, ""), listener);
        let mut rest = fields(&Config::default());
        assert!(rest.remove("listeners"));
        let nested = ["limits", "sys", "tenants", "access", "bans"];
        for section in nested {
            assert!(rest.remove(section));
        }
        let is_nested = |row: &Setting<Config>| {
            row.key.split_once('.').is_some_and(|(section, _)| nested.contains(&section))
        };
        assert_eq!(BROKER.iter().filter(|row| !is_nested(row)).count(), rest.len());
    }

    #[test]
    fn a_difference_is_seen_and_can_be_taken_over() {
        let mut other = Config::default();
        other.limits.receive_maximum += 1;
        other.limits.commit_batch_bytes_max += 1;
        other.sys.interval = None;
        let expected = [
            ("sys.interval", Applies::Live),
            ("limits.receive_maximum", Applies::NewConnections),
            ("limits.commit_batch_bytes_max", Applies::Restart),
        ];
        let mut one = Config::default();
        assert_eq!(differences(BROKER, &one, &other), expected);
        for setting in BROKER {
            (setting.take)(&mut one, &other);
        }
        assert_eq!(one, other);
    }

    #[test]
    fn settings_are_found_by_their_names_in_a_file() {
        assert_eq!(applies("limits.overflow"), Some(Applies::Live));
        assert_eq!(applies("listeners.lan.versions"), Some(Applies::NewConnections));
        assert_eq!(applies("limits.overflov"), None);
        assert_eq!(applies("data_dir"), None);
    }
}

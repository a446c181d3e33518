//! Every bound that the broker keeps, with the rule at the bound.

use std::time::Duration;

use super::{AT_LEAST_ONE, InvalidConfig};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The largest MQTT packet there can be: first byte, four bytes of Remaining Length, and the largest Remaining Length.
const PACKET_BYTES_LIMIT: u32 = 1 + 4 + 268_435_455;

/// The smallest packet limit that leaves room for a useful CONNECT.
const PACKET_BYTES_LEAST: u32 = 64;

/// What a full queue does with one more message. It acts on the whole queue, in memory or on disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Overflow {
    /// The new message is dropped.
    #[default]
    DropNew,
    /// The oldest messages that were not sent yet are dropped until the new one fits.
    DropOldest,
    /// The new message is dropped and the client disconnected with "quota exceeded"; its session stays.
    Disconnect,
}
/// Every bound that the broker keeps, with the rule at the bound. Bytes are bytes as they cost, not as they are compressed
/// or shared, unless a field says otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    // ---- Packets and texts ----
    /// The largest packet taken from a client, announced as Maximum Packet Size and decided from the fixed header.
    /// A larger one closes the connection with 0x95.
    pub packet_bytes_max: u32,
    /// The same before CONNECT is accepted, when nobody is known yet. Never more than `packet_bytes_max`.
    pub packet_bytes_max_before_connect: u32,
    /// Levels in a Topic Name or Topic Filter. Deeper ones are refused as invalid.
    pub topic_levels_max: u16,
    /// Bytes in a Client Identifier. A longer one is refused as not valid.
    pub client_id_bytes_max: u16,
    /// Takes U+0001 to U+001F and U+007F to U+009F in names, filters and client ids. By default they are refused.
    pub allow_control_characters: bool,
    /// Takes the code points that Unicode keeps from being characters, such as U+FFFF. By default they are refused.
    pub allow_non_characters: bool,

    // ---- Connections ----
    /// Open connections of all listeners. A further one is closed at once. None: the soft descriptor limit less a reserve.
    pub connections_max: Option<u32>,
    /// From accepting a connection to its CONNECT accepted, authentication included. Later it is closed.
    pub connect_deadline: Duration,
    /// The longest Keep Alive granted. A 5.0 client that asks for more, or for none, is told this as Server Keep Alive;
    /// a 3.x client cannot be told and keeps what it asked for. None: as the client asks.
    pub keep_alive_max: Option<u16>,
    /// How long a peer may take no byte while bytes wait for it. Then it is closed.
    pub write_stall_max: Duration,
    /// How long `shutdown` lets connections drain. Then they are closed as they are.
    pub shutdown_drain_max: Duration,
    /// How long accepting pauses when the process has no descriptor left.
    pub accept_pause: Duration,
    /// How long an asynchronous hook may take to answer, or all authenticators of a listener together. Then the answer is no.
    pub hook_deadline: Duration,

    // ---- Flow ----
    /// QoS 1 and 2 messages taken from one client and not yet acknowledged, announced as Receive Maximum. A 5.0 client
    /// that sends more is closed with 0x93; a 3.x client is not read further.
    pub receive_maximum: u16,
    /// QoS 1 and 2 messages sent to one client and not yet acknowledged, 5.0 clients that allow more included. Further
    /// ones wait in the queue.
    pub inflight_max: u16,
    /// Topic Aliases that a client may set, announced as Topic Alias Maximum. A higher one is refused with 0x94.
    pub topic_alias_maximum: u16,
    /// Topic Aliases set towards one client, where it allows them. Further topics are sent in full.
    pub topic_alias_out_maximum: u16,
    /// Bytes of topics that one connection's aliases may hold, in each direction. Inbound, passing it is refused with
    /// 0x97; outbound, further topics are sent in full.
    pub alias_bytes_max: usize,

    // ---- Sessions and subscriptions ----
    /// Sessions, connected or not. A client that would make one more is refused with 0x97.
    pub sessions_max: u32,
    /// The longest Session Expiry Interval granted, told to 5.0 clients in CONNACK; Clean Session 0 of 3.x gets it too.
    /// None: as the client asks.
    pub session_expiry_max: Option<Duration>,
    /// Subscriptions of one session. A further one is answered 0x97 (3.1.1: 0x80).
    pub subscriptions_max: u32,

    // ---- Queues ----
    /// Messages waiting for one session, sent but unacknowledged ones included. At the limit `overflow` decides.
    pub queue_messages_max: usize,
    /// Bytes of the messages waiting for one session, each counted in full. At the limit `overflow` decides.
    pub queue_bytes_max: usize,
    /// Messages of a durable session's queue that are in memory. Those behind them are in the store, and are read back as the
    /// client takes what goes before. When memory is short, new messages are left to the store at once.
    pub queue_memory_messages_max: usize,
    /// Bytes of those messages. The rule is the same; one message of any size may be in memory.
    pub queue_memory_bytes_max: usize,
    /// What a full queue does with one more message.
    pub overflow: Overflow,
    /// Queues QoS 0 messages for a session while its client is away. By default they are dropped.
    pub queue_qos0: bool,
    /// Bytes queued at QoS 0 for a connected client before the publishers that cause them are read more slowly.
    pub qos0_lane_bytes_soft: usize,
    /// Bytes queued at QoS 0 for a connected client. Further QoS 0 messages for it are dropped.
    pub qos0_lane_bytes_hard: usize,
    /// The longest that a publisher waits for slower receivers: at QoS 0 it is read more slowly; at QoS 1 and 2 its
    /// acknowledgements come later while an eighth of a receiver's queue, or of a shared group's, is full. Then their drop
    /// rule acts.
    pub publisher_slow_max: Duration,
    /// Messages waiting in one shared group for a member that can take them. Further ones are dropped.
    pub shared_group_queue_messages_max: usize,
    /// Bytes of those messages. Further ones are dropped.
    pub shared_group_queue_bytes_max: usize,
    /// Entries of one connection's cache from topic to receivers. The oldest is forgotten.
    pub route_cache_entries_max: usize,

    // ---- Retained messages ----
    /// Retained messages. One for a further topic is not kept, and a QoS 1 or 2 publisher told 0x97.
    pub retained_messages_max: u64,
    /// Bytes of retained messages, topic and properties included. The rule is the same. None: half of `memory_bytes_max`.
    pub retained_bytes_max: Option<u64>,
    /// How far the replay of retained messages to new subscriptions runs ahead of what their client takes, at most 128 KiB.
    pub replay_bytes_ahead: usize,

    // ---- The whole broker ----
    /// Bytes of queued and retained messages in memory. A payload of 512 bytes or more is counted once, however many hold it;
    /// a smaller one with each queue that holds it. Near the limit load is shed in this order: no new connections (from 85 %),
    /// QoS 0 publishers slowed while anything waits for their receivers, QoS 0 dropped, QoS 1 and 2 refused with 0x97.
    /// None: half of the memory of the machine, or of the control group if that is less.
    pub memory_bytes_max: Option<u64>,
    /// Batches of changes that wait for the store's next commit, one for each read of a connection. At the limit those who
    /// made them are not read until there is room.
    pub commit_queue_messages_max: usize,
    /// Bytes that one commit of the store takes together.
    pub commit_batch_bytes_max: usize,
    /// Wills published in one second of those that become due while their clients are away, say after a restart. Further
    /// ones wait their turn. A client's own DISCONNECT or lost connection is not braked by it.
    pub wills_per_second_max: u32,
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        self.check_packets()?;
        self.check_queues()?;
        self.check_durations()?;
        let at_least_one = [
            ("limits.topic_levels_max", u64::from(self.topic_levels_max)),
            ("limits.client_id_bytes_max", u64::from(self.client_id_bytes_max)),
            ("limits.connections_max", self.connections_max.map_or(1, u64::from)),
            ("limits.keep_alive_max", self.keep_alive_max.map_or(1, u64::from)),
            ("limits.receive_maximum", u64::from(self.receive_maximum)), // [MQTT-4.9.0-1] 0 may not be announced.
            ("limits.inflight_max", u64::from(self.inflight_max)),
            ("limits.sessions_max", u64::from(self.sessions_max)),
            ("limits.subscriptions_max", u64::from(self.subscriptions_max)),
            ("limits.memory_bytes_max", self.memory_bytes_max.unwrap_or(1)),
            ("limits.wills_per_second_max", u64::from(self.wills_per_second_max)),
        ];
        match at_least_one.into_iter().find(|&(_, value)| value == 0) {
            Some((setting, _)) => Err(InvalidConfig::new(setting, AT_LEAST_ONE)),
            None => Ok(()),
        }
    }

    fn check_packets(&self) -> Result<(), InvalidConfig> {
        let both = [
            ("limits.packet_bytes_max", self.packet_bytes_max),
            ("limits.packet_bytes_max_before_connect", self.packet_bytes_max_before_connect),
        ];
        for (setting, value) in both {
            if !(PACKET_BYTES_LEAST..=PACKET_BYTES_LIMIT).contains(&value) {
                return Err(InvalidConfig::new(setting, "must be from 64 to 268435460 bytes"));
            }
        }
        if self.packet_bytes_max_before_connect > self.packet_bytes_max {
            let reason = "must not be more than limits.packet_bytes_max";
            return Err(InvalidConfig::new("limits.packet_bytes_max_before_connect", reason));
        }
        Ok(())
    }

    fn check_queues(&self) -> Result<(), InvalidConfig> {
        let at_least_one = [
            ("limits.queue_messages_max", self.queue_messages_max),
            ("limits.queue_bytes_max", self.queue_bytes_max),
            ("limits.queue_memory_messages_max", self.queue_memory_messages_max),
            ("limits.queue_memory_bytes_max", self.queue_memory_bytes_max),
            ("limits.qos0_lane_bytes_soft", self.qos0_lane_bytes_soft),
            ("limits.shared_group_queue_messages_max", self.shared_group_queue_messages_max),
            ("limits.shared_group_queue_bytes_max", self.shared_group_queue_bytes_max),
            ("limits.route_cache_entries_max", self.route_cache_entries_max),
            ("limits.replay_bytes_ahead", self.replay_bytes_ahead),
            ("limits.commit_queue_messages_max", self.commit_queue_messages_max),
            ("limits.commit_batch_bytes_max", self.commit_batch_bytes_max),
        ];
        if let Some((setting, _)) = at_least_one.into_iter().find(|&(_, value)| value == 0) {
            return Err(InvalidConfig::new(setting, AT_LEAST_ONE));
        }
        if self.qos0_lane_bytes_hard < self.qos0_lane_bytes_soft {
            let reason = "must not be less than limits.qos0_lane_bytes_soft";
            return Err(InvalidConfig::new("limits.qos0_lane_bytes_hard", reason));
        }
        Ok(())
    }

    fn check_durations(&self) -> Result<(), InvalidConfig> {
        let positive = [
            ("limits.connect_deadline", self.connect_deadline),
            ("limits.write_stall_max", self.write_stall_max),
            ("limits.accept_pause", self.accept_pause),
            ("limits.hook_deadline", self.hook_deadline),
        ];
        match positive.into_iter().find(|(_, value)| value.is_zero()) {
            Some((setting, _)) => Err(InvalidConfig::new(setting, "must be more than 0s")),
            None => Ok(()),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 16 * 1024 * 1024,
            packet_bytes_max_before_connect: 128 * 1024,
            topic_levels_max: 128,
            // No less than the wire allows: long ids are common, and the packet limit before CONNECT bounds them already.
            client_id_bytes_max: u16::MAX,
            allow_control_characters: false,
            allow_non_characters: false,

            connections_max: None,
            connect_deadline: Duration::from_secs(10),
            keep_alive_max: None,
            write_stall_max: Duration::from_secs(60),
            shutdown_drain_max: Duration::from_secs(5),
            accept_pause: Duration::from_millis(500),
            hook_deadline: Duration::from_secs(5),

            receive_maximum: 1_000,
            inflight_max: 1_000,
            topic_alias_maximum: 32,
            topic_alias_out_maximum: 32,
            alias_bytes_max: 4 * KIB,

            sessions_max: 10_000_000,
            session_expiry_max: None,
            subscriptions_max: 10_000,

            queue_messages_max: 50_000,
            queue_bytes_max: 64 * MIB,
            queue_memory_messages_max: 256,
            queue_memory_bytes_max: 128 * KIB,
            overflow: Overflow::DropNew,
            queue_qos0: false,
            qos0_lane_bytes_soft: 256 * KIB,
            qos0_lane_bytes_hard: MIB,
            publisher_slow_max: Duration::from_secs(1),
            shared_group_queue_messages_max: 50_000,
            shared_group_queue_bytes_max: 64 * MIB,
            route_cache_entries_max: 1_024,

            retained_messages_max: 10_000_000,
            retained_bytes_max: None,
            replay_bytes_ahead: 128 * KIB,

            memory_bytes_max: None,
            commit_queue_messages_max: 16_384,
            commit_batch_bytes_max: 4 * MIB,
            wills_per_second_max: 1_000,
        }
    }
}

//! The lines of an export as they stand in the file: `docs/EXPORT.md` describes them for those who have no `dunlin`.
//!
//! Each line is one JSON object with one key, which says what the line is about. Nothing in here depends on how a store
//! keeps its records, so that a file outlives the format of any store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version that this program writes, and the newest one that it reads.
pub(super) const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The first one.
    DunlinExport(Head),
    Namespace(Namespace),
    Session(Box<Session>),
    Retained(Box<Retained>),
    Message(Box<Message>),
    /// The last one: what a whole file holds.
    End(Counts),
}

/// What the file is. A later version may say more, so unknown keys are no error here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Head {
    pub(super) version: u32,
    /// Who wrote it, for people.
    pub(super) program: String,
    /// When it was written, for people.
    pub(super) written_at: u64,
    /// Above every session number that was ever used.
    #[serde(default)]
    pub(super) next_session: u32,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Namespace {
    pub(super) number: u32,
    pub(super) name: String,
}

/// A session, or the queue of a shared group: either `client_id` or `group` is there.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    pub(super) number: u32,
    pub(super) namespace: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    pub(super) owner: String,
    pub(super) expiry_secs: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disconnected_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) will: Option<Will>,
    pub(super) subscriptions: Vec<Subscription>,
    /// Packet Identifiers.
    pub(super) inbound: Vec<u16>,
    pub(super) acknowledged_through: u64,
    /// First and last places of ranges beyond it.
    pub(super) acknowledged: Vec<(u64, u64)>,
    /// Places.
    pub(super) released: Vec<u64>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Will {
    pub(super) delay_secs: u32,
    pub(super) content: Content,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscription {
    pub(super) filter: String,
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) retain_handling: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subscription_id: Option<u32>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retained {
    pub(super) namespace: u32,
    pub(super) number: u64,
    pub(super) stored_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<u64>,
    pub(super) content: Content,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    pub(super) published_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<u64>,
    /// The number of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) publisher: Option<u32>,
    pub(super) targets: Vec<Target>,
    pub(super) content: Content,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) session: u32,
    pub(super) seq: u64,
    pub(super) qos: u8,
    pub(super) retain: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) subscription_ids: Vec<u32>,
}

/// An Application Message.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) properties: Option<Properties>,
    pub(super) payload: Binary,
}

/// By the names that the standard gives them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Properties {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload_format_utf8: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message_expiry_interval: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) response_topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) correlation_data: Option<Binary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    /// Name and value, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) user_properties: Vec<(String, String)>,
}

/// How many of each thing stand in the file.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    pub(super) namespaces: u64,
    pub(super) sessions: u64,
    pub(super) subscriptions: u64,
    pub(super) retained: u64,
    pub(super) messages: u64,
    pub(super) targets: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} sessions with {} subscriptions, {} retained messages, {} messages in {} places of queues",
            self.sessions, self.subscriptions, self.retained, self.messages, self.targets
        )
    }
}

/// Bytes, as base64 with the standard alphabet and padding.
#[derive(Debug)]
pub(super) struct Binary(pub(super) Vec<u8>);

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text);
        bytes.map(Self).map_err(|error| serde::de::Error::custom(format!("no base64: {error}")))
    }
}

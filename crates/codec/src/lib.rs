//! MQTT packets.
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod ascii;
mod buffer;
mod decoder;
mod encoder;
mod error;
mod header;
mod id;
mod message;
mod packet;
mod primitive;
mod property;
mod qos;
mod reason;
mod run;
mod template;
mod version;

pub use crate::buffer::Buffer;
pub use crate::decoder::{
    Decoder, decode, decode_connect, peek_connect_level, peek_connect_version, short_ack,
};
pub use crate::encoder::encode_ack;
pub use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
pub use crate::header::{DecodeLimits, FrameLen, frame_len};
pub use crate::id::{ClientId, PacketId, SubscriptionId, TopicAlias};
pub use crate::message::{Message, MessageProperties};
pub use crate::packet::ack::{Ack, AckKind, AckProperties};
pub use crate::packet::auth::Auth;
pub use crate::packet::connack::{ConnAck, ConnAckProperties};
pub use crate::packet::connect::{Connect, ConnectProperties, ConnectRef};
pub use crate::packet::disconnect::Disconnect;
pub use crate::packet::publish::{Publish, PublishProperties, PublishRef};
pub use crate::packet::suback::{ReasonCodes, SubAck};
pub use crate::packet::subscribe::{
    RetainHandling, Subscribe, SubscribeFilters, SubscriptionOptions,
};
pub use crate::packet::unsuback::UnsubAck;
pub use crate::packet::unsubscribe::{Unsubscribe, UnsubscribeFilters};
pub use crate::packet::will::{Will, WillProperties};
pub use crate::packet::{Packet, PacketRef, PacketType};
pub use crate::property::{subscription_ids::SubscriptionIds, user::UserProperties};
pub use crate::qos::{InvalidQos, Qos};
pub use crate::reason::ReasonCode;
pub use crate::run::{Run, publish_run, transcode_run, whole_frame_len};
pub use crate::template::{Hop, encode_publish_head, publish_len};
pub use crate::version::Version;
pub use dunlin_topics::{
    InvalidTopicFilter, InvalidTopicName, SharedFilter, SubscriptionFilter, Text, TextRules,
    TopicFilter, TopicName, check_topic_name,
};

//! MQTT packets of the versions 3.1, 3.1.1 and 5.0: bytes to values and back.
//!
//! One decoder with two faces. [`decode`] borrows: packets over `&[u8]`, for a server that reads many packets at
//! once and keeps little; it allocates nothing, whatever the bytes say. [`Decoder`] owns: packets over
//! [`Bytes`](bytes::Bytes) whose topic, payload and lists are slices of the frame. Both give the same
//! [`Packet`] of the same structs, with public fields, for all versions.
//!
//! It is strict: what a standard calls malformed, or a protocol error that a single packet can show, is refused
//! with the reason code and the statement of the standard, see [`DecodeError`]. What depends on earlier packets
//! is for a session to judge, such as a second CONNECT or a Topic Alias above the maximum.
//!
//! No I/O, no clock, no async, no sessions, no `unsafe`; `no_std` with `alloc`.
//!
//! # Driving it
//!
//! The first packet says which version the connection speaks, then packets are taken off the front of what has
//! arrived until there is none:
//!
//! ```
//! use dunlin_codec::{DecodeLimits, Packet, Qos, decode, decode_connect};
//!
//! // What one read brought: CONNECT of 5.0, a PUBLISH, and the first byte of the next packet.
//! let read = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c\x32\x0a\x00\x03a/b\x00\x07\x00hi\xc0";
//! let mut limits = DecodeLimits { packet_size_max: 128 * 1024, ..DecodeLimits::default() };
//!
//! let (connect, mut taken) = decode_connect(read, &limits)?.expect("the CONNECT is whole");
//! assert_eq!(connect.client_id, "c");
//!
//! limits.packet_size_max = 16 * 1024 * 1024;
//! while let Some((packet, len)) = decode(&read[taken..], connect.version, &limits)? {
//!     match packet {
//!         Packet::Publish(publish) => {
//!             assert_eq!((publish.topic, publish.qos), ("a/b", Qos::AtLeastOnce));
//!             assert_eq!(publish.payload, b"hi");
//!         }
//!         other => println!("{}", other.packet_type()),
//!     }
//!     taken += len;
//! }
//! // The byte that is left waits for more to arrive.
//! assert_eq!(read.len() - taken, 1);
//! # Ok::<(), dunlin_codec::DecodeError>(())
//! ```
//!
//! Encoding appends to a buffer of the caller's:
//!
//! ```
//! use bytes::Bytes;
//! use dunlin_codec::{Packet, PacketId, Subscribe, SubscribeFilters, SubscriptionOptions, Qos, Version};
//!
//! let subscribe = Packet::<Bytes>::Subscribe(Subscribe {
//!     packet_id: PacketId::new(1).expect("not 0"),
//!     subscription_id: None,
//!     user_properties: Default::default(),
//!     filters: SubscribeFilters::from_pairs([("a/#", SubscriptionOptions::with_qos(Qos::AtLeastOnce))])?,
//! });
//! let mut out = Vec::new();
//! subscribe.encode(Version::V3_1_1, &mut out)?;
//! assert_eq!(out, b"\x82\x08\x00\x01\x00\x03a/#\x01");
//! assert_eq!(subscribe.encoded_len(Version::V3_1_1), Ok(out.len()));
//! # Ok::<(), dunlin_codec::EncodeError>(())
//! ```
//!
//! # For a server
//!
//! [`Message`] is what travels from end to end, [`Publish`] one hop of it. [`encode_publish_head`] writes the PUBLISH
//! of a message straight from the shared value; [`publish_run`] finds PUBLISHes that may be forwarded as
//! they are; [`encode_ack`], [`short_ack`] and [`short_acks`] are the short ways for acknowledgements.
//!
//! # Limits
//!
//! [`DecodeLimits::packet_size_max`] bounds a packet, decided from its fixed header. Nothing else is bounded, because
//! nothing else grows: lists are checked once and read lazily where they lie. An owned packet keeps the buffer it
//! was cut from; what is kept for long should be copied out, as [`Message::copy_from`] does.
//!
//! # Where it is stricter or milder than others
//!
//! * DUP on QoS 0, Remaining Lengths that are not the shortest, and CONNACK with Session Present beside a refusal
//!   are refused in every version, though 3.1 says nothing of them.
//! * Client Identifiers may be longer than the 23 bytes of 3.1.
//! * In 3.1, DUP is accepted on PUBREL, SUBSCRIBE and UNSUBSCRIBE.
//! * Control characters and non-characters are refused in Topic Names and Client Identifiers unless
//!   [`DecodeLimits::text`] allows them, and accepted elsewhere.
//! * A Topic Filter only has to be text here: whether it is a filter is answered filter by filter.
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
    short_acks,
};
pub use crate::encoder::{encode_ack, short_ack_bytes};
pub use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
pub use crate::header::{DecodeLimits, FrameLen, PACKET_SIZE_MAX, frame_len};
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
pub use crate::run::{
    Run, RunFrame, frames_of_run, publish_run, renumber_run, transcode_run, whole_frame_len,
};
pub use crate::template::{Hop, encode_publish_head, publish_len};
pub use crate::version::Version;
pub use dunlin_topics::{
    InvalidTopicFilter, InvalidTopicName, SharedFilter, SubscriptionFilter, Text, TextRules,
    TopicFilter, TopicName, check_topic_name,
};

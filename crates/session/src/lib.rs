//! The server side of one client's MQTT protocol as a machine: `(state, input, now) -> (state, outputs)`.
//!
//! It speaks 3.1, 3.1.1 and 5.0. It has no clock, no socket, no disk and no thread, and knows no other client: packets,
//! answers, messages and deadlines go in, and what is to be written, routed, stored or closed comes out. Whoever drives
//! it decides how.
//!
//! * [`Connection`] is one Network Connection: the handshake with enhanced authentication, QoS 0, 1 and 2 both ways,
//!   Receive Maximum, Maximum Packet Size and Topic Aliases both ways, subscriptions, Keep Alive.
//! * [`Session`] is what outlives it: subscriptions, unacknowledged messages, the Will, and when it ends.
//! * [`Capabilities`] is what the server offers, and every bound that is kept here.
//!
//! What it is not: it does not authenticate, match topics, queue messages for absent clients, retain messages or write
//! to disks. It says when each of these is due, and waits for the answer where the protocol makes it wait.
//!
//! # The loop
//!
//! [`Connection::handle`] consumes one input completely and pushes [`Output`]s to the caller's [`Outputs`], to be carried
//! out in their order. Some ask a question; its answer is another input. Nothing is hidden in the machine.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use dunlin_codec::{DecodeLimits, Packet, ReasonCode, decode, decode_connect, encode_ack};
//! use dunlin_session::{Capabilities, Connection, Input, Output, Outputs, Session};
//!
//! // CONNECT of MQTT 3.1.1, and behind it a PUBLISH of "21.5" to "t" at QoS 1.
//! let mut read = &b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c\x32\x09\x00\x01t\x00\x07\x32\x31.5"[..];
//! let mut written = Vec::new();
//!
//! let capabilities = Arc::new(Capabilities::default());
//! let limits = DecodeLimits { packet_size_max: capabilities.maximum_packet_size, text: capabilities.text };
//! let entropy = 0; // From a random number generator.
//! let now = Instant::now();
//! let mut connection = Connection::new(capabilities, entropy, now);
//! let mut out = Outputs::new();
//!
//! // Packets are handed in while they are accepted; what came behind CONNECT waits for CONNACK.
//! while connection.accepts_packets() && !read.is_empty() {
//!     let decoded = match connection.version() {
//!         None => decode_connect(read, &limits).map(|done| done.map(|(packet, len)| (Packet::Connect(packet), len))),
//!         Some(version) => decode(read, version, &limits),
//!     };
//!     let result = match decoded {
//!         Ok(Some((packet, len))) => {
//!             read = &read[len..];
//!             connection.handle(Input::Packet(packet), now, &mut out)
//!         }
//!         Ok(None) => break, // Read more.
//!         Err(error) => Err(error.into()),
//!     };
//!     if let Err(violation) = result {
//!         connection.violated(violation, now, &mut out);
//!     }
//!
//!     // Outputs are carried out in their order; answers that are known at once go in at once.
//!     while let Some(output) = out.pop() {
//!         let version = connection.version().expect("CONNECT came");
//!         let answer = match output {
//!             Output::Authenticate(_) => Input::Authenticated(Ok(None)),
//!             Output::Attach(attach) => {
//!                 let session = Box::new(Session::new(attach.client_id));
//!                 Input::Attached { session, session_present: false }
//!             }
//!             Output::Route(route) => {
//!                 assert_eq!(route.topic.as_bytes(), b"t");
//!                 match route.token {
//!                     Some(token) => Input::Routed { token, reason: ReasonCode::Success },
//!                     None => continue,
//!                 }
//!             }
//!             Output::Send(packet) => {
//!                 packet.encode(version, &mut written)?;
//!                 continue;
//!             }
//!             Output::Ack(ack) => {
//!                 encode_ack(ack.kind, ack.packet_id, ack.reason, version, &mut written);
//!                 continue;
//!             }
//!             other => panic!("not in this example: {other:?}"),
//!         };
//!         connection.handle(answer, now, &mut out)?;
//!     }
//! }
//! assert_eq!(written, b"\x20\x02\x00\x00\x40\x02\x00\x07"); // CONNACK, PUBACK
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A driver also sleeps until [`Connection::next_deadline`] and then hands in [`Input::Timeout`]; delivers messages while
//! [`Connection::send_quota`] lasts; and when [`Output::Close`] has come, [detaches](Connection::detach) the session and
//! parks it, with a deadline of its own.
//!
//! # What is durable
//!
//! A session whose Session Expiry Interval is above 0 outlives a crash of the server. It says by [`Output::Persist`] what
//! changes, and where the change must be on stable storage before the client may hear of it, the output has a [`Token`]
//! and the machine goes on only at [`Input::Durable`]. In the same way PUBACK and PUBREC wait for [`Input::Routed`], and
//! SUBACK for [`Input::Subscribed`].
//!
//! # Bounds
//!
//! Everything that grows has a bound: unacknowledged messages both ways (Receive Maximum, and the number of Packet
//! Identifiers), Topic Aliases (in number and bytes), subscriptions, and requests without an answer. Each is stated where
//! it is kept, with what follows at the bound. An idle client with one subscription costs less than 700 bytes, and
//! messages pass without an allocation.
#![forbid(unsafe_code)]

mod ack_queue;
mod alias;
mod authentication;
mod closing;
mod connection;
mod delivery;
mod error;
mod event;
mod expiry;
mod handshake;
mod inbound;
mod limits;
mod open;
mod opening;
mod outbound;
mod packet_ids;
mod peer;
mod publish;
mod quota;
mod requests;
mod run;
mod sender;
mod session;
mod subscriptions;
mod timers;
mod token;
mod will;

pub use dunlin_codec::AckKind;

pub use crate::connection::Connection;
pub use crate::delivery::{
    Completed, Delivery, DropReason, Dropped, Origin, Outgoing, Settled, SubscriptionIds,
};
pub use crate::error::Violation;
pub use crate::event::{
    Acknowledgement, Attach, AuthStep, Authenticate, Cause, End, Input, Output, Outputs, Persist,
    Redirect, Route, RouteTopic, SubscribeItem, UnsubscribeItem,
};
pub use crate::expiry::SessionExpiry;
pub use crate::limits::{
    AcceptedVersions, Capabilities, FILTERS_MAX, PENDING_FILTERS_MAX, REQUESTS_MAX,
    ReservedTopicPolicy,
};
pub use crate::run::Run;
pub use crate::session::{Restored, Session};
pub use crate::subscriptions::Subscription;
pub use crate::token::Token;
pub use crate::will::Will;

//! The server side of one client's MQTT protocol, as a machine.
#![forbid(unsafe_code)]

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
mod session;
mod subscriptions;
mod timers;
mod token;
mod will;

pub use crate::connection::Connection;
pub use crate::delivery::{
    Completed, Delivery, DropReason, Dropped, Origin, Outgoing, SubscriptionIds,
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
pub use crate::session::{Restored, Session};
pub use crate::subscriptions::Subscription;
pub use crate::token::Token;
pub use crate::will::Will;
pub use dunlin_codec::AckKind;

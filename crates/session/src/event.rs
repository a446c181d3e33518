//! What goes into the machine, and what comes out of it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_codec::{
    AckKind, ClientId, Message, Packet, PacketId, PacketRef, Publish, Qos, ReasonCode,
    SubscriptionFilter, SubscriptionId, SubscriptionOptions, Text, TopicName, Version,
};

use crate::delivery::{Completed, Delivery, Dropped, Outgoing};
use crate::error::Violation;
use crate::expiry::SessionExpiry;
use crate::session::Session;
use crate::token::Token;
use crate::will::Will;

/// What happened outside of the machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// A packet arrived. Only while [`Connection::accepts_packets`](crate::Connection::accepts_packets).
    Packet(PacketRef<'a>),
    /// The client is who it says it is, with the last Authentication Data for it; or why it is refused. Answers
    /// [`Output::Authenticate`].
    Authenticated(Result<Option<Bytes>, ReasonCode>),
    /// The authentication needs another step of the client, to which this Authentication Data goes. Answers
    /// [`Output::Authenticate`].
    AuthContinue(Option<Bytes>),
    /// The session is this connection's own from here on. Answers [`Output::Attach`], and comes once everything that
    /// must be durable before CONNACK is: the end of an old session, the Will of the new.
    Attached {
        /// The one resumed, or a [new](Session::new) one.
        session: Box<Session>,
        /// Whether it is resumed.
        session_present: bool,
    },
    /// The message is owned by the server, and durable where it must be; or why it is refused. Answers
    /// [`Output::Route`] that had a token. Lets PUBACK or PUBREC go out, in the order of the PUBLISHes.
    Routed {
        /// The token of the output.
        token: Token,
        /// What PUBACK or PUBREC says.
        reason: ReasonCode,
    },
    /// A change is on stable storage. Answers [`Output::Persist`] that had a token.
    Durable {
        /// The token of the output.
        token: Token,
    },
    /// The filters are subscribed, durably where they must be. Answers [`Output::Subscribe`].
    Subscribed {
        /// The token of the output.
        token: Token,
        /// The granted QoS or why not, one for each item.
        reason_codes: Vec<ReasonCode>,
    },
    /// The filters are unsubscribed, durably where they must be. Answers [`Output::Unsubscribe`].
    Unsubscribed {
        /// The token of the output.
        token: Token,
        /// Success, no subscription existed, or why not, one for each item.
        reason_codes: Vec<ReasonCode>,
    },
    /// A message for the client. With QoS above 0 only while [`Connection::send_quota`](crate::Connection::send_quota)
    /// is above 0; beyond it the delivery waits inside, which is correct but takes memory.
    Deliver(Delivery),
    /// The time of [`Connection::next_deadline`](crate::Connection::next_deadline) has come. Early is harmless.
    Timeout,
    /// The server wants the connection closed.
    Close(Cause),
    /// The Network Connection is gone without DISCONNECT.
    Lost,
}

/// Why the server wants a connection closed. A 5.0 client is told by DISCONNECT, or by CONNACK if it has none yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Another Network Connection takes the session over. [MQTT-3.1.4-3]
    TakenOver,
    /// The server shuts down.
    ShuttingDown,
    /// Anything else, by its reason code.
    Reason(ReasonCode),
    /// The client should go to another server.
    Redirect(Box<Redirect>),
}

impl Cause {
    /// The reason code that DISCONNECT carries.
    #[must_use]
    pub fn reason_code(&self) -> ReasonCode {
        match self {
            Self::TakenOver => ReasonCode::SessionTakenOver,
            Self::ShuttingDown => ReasonCode::ServerShuttingDown,
            Self::Reason(reason) => *reason,
            Self::Redirect(redirect) if redirect.for_good => ReasonCode::ServerMoved,
            Self::Redirect(_) => ReasonCode::UseAnotherServer,
        }
    }

    pub(crate) fn server_reference(&self) -> Option<&Text> {
        match self {
            Self::TakenOver | Self::ShuttingDown | Self::Reason(_) => None,
            Self::Redirect(redirect) => redirect.server_reference.as_ref(),
        }
    }
}

/// Which server to use instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// Whether for good (0x9D) or for now (0x9C).
    pub for_good: bool,
    /// The Server Reference.
    pub server_reference: Option<Text>,
}

/// What the caller is to do. Outputs are to be carried out in their order.
#[derive(Debug)]
pub enum Output<'a> {
    /// Ask whether the client is who it says it is. Answered by [`Input::Authenticated`] or [`Input::AuthContinue`].
    Authenticate(Box<Authenticate<'a>>),
    /// Find or make the session, taking it from any other connection. Answered by [`Input::Attached`], or by
    /// [`Input::Close`] to refuse.
    Attach(Box<Attach>),
    /// Write this packet.
    Send(Box<Packet<Bytes>>),
    /// Write an acknowledgement of a PUBLISH without properties.
    Ack(Acknowledgement),
    /// Write PINGRESP.
    PingResp,
    /// Write a PUBLISH.
    Publish(Outgoing),
    /// A message from the client is to be routed.
    Route(Box<Route<'a>>),
    /// A message from the client was refused by a rule of the machine's own and must be counted: its topic is below
    /// `$SYS/` (0x87) or too deep (0x90). The client has its answer.
    PublishRefused {
        /// The QoS it came with.
        qos: Qos,
        /// Why.
        reason: ReasonCode,
    },
    /// The client wants to subscribe. Answered by [`Input::Subscribed`]; filters that are errors already too.
    Subscribe {
        /// The token for the answer.
        token: Token,
        /// The filters, in the order of the answer.
        items: Vec<SubscribeItem>,
    },
    /// The client wants to unsubscribe. Answered by [`Input::Unsubscribed`].
    Unsubscribe {
        /// The token for the answer.
        token: Token,
        /// The filters, in the order of the answer.
        items: Vec<UnsubscribeItem>,
    },
    /// The session's durable state changes.
    Persist {
        /// Answered by [`Input::Durable`] when on stable storage; `None` if nothing waits for it.
        token: Option<Token>,
        /// What changes.
        change: Persist,
    },
    /// Publish the Will Message. For a durable session its removal from the store and the publication are one change.
    PublishWill(Arc<Message>),
    /// A delivery is given up.
    Dropped(Dropped),
    /// A delivery is acknowledged.
    Completed(Completed),
    /// A SUBACK of 3.1, which has no code for failure, granted this many filters that were refused.
    RefusalsHidden(usize),
    /// The session ended, nothing of it remains. Comes from [`Session::handle_timeout`] and [`Session::end`].
    Ended,
    /// Write what was sent, then close. Nothing follows; the session is to be [detached](crate::Connection::detach).
    Close(End),
}

/// What a client says about who it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authenticate<'a> {
    /// The version it speaks.
    pub version: Version,
    /// Its Client Identifier, or the one assigned to it.
    pub client_id: ClientId,
    /// The user name.
    pub user_name: Option<&'a str>,
    /// The password.
    pub password: Option<&'a [u8]>,
    /// The Authentication Method, for enhanced authentication.
    pub method: Option<Text>,
    /// The Authentication Data.
    pub data: Option<&'a [u8]>,
    /// Which step of an authentication this is.
    pub step: AuthStep,
}

/// Which step of an authentication a client takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthStep {
    /// CONNECT.
    Connect,
    /// AUTH 0x18, as the server asked for by [`Input::AuthContinue`].
    Continue,
    /// AUTH 0x19: an open connection authenticates anew.
    Again,
}

/// The session that a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attach {
    /// The version it speaks.
    pub version: Version,
    /// The Client Identifier, never empty.
    pub client_id: ClientId,
    /// Whether the server chose the Client Identifier, so that no session can have it.
    pub client_id_assigned: bool,
    /// Whether an old session is to be thrown away. [MQTT-3.1.2-4]
    pub clean_start: bool,
    /// The granted Session Expiry Interval.
    pub session_expiry: SessionExpiry,
    /// The Will, to be durable before CONNACK if the session is.
    pub will: Option<Will>,
    /// The Keep Alive that holds, in seconds; 0 for none.
    pub keep_alive: u16,
}

/// A message from the client.
#[derive(Debug)]
pub struct Route<'a> {
    /// For the answer by [`Input::Routed`]; `None` for QoS 0.
    pub token: Option<Token>,
    /// The PUBLISH, whose own topic may be empty.
    pub publish: Publish<&'a [u8]>,
    /// The topic.
    pub topic: RouteTopic<'a>,
}

/// The topic of a message from the client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteTopic<'a> {
    /// As it stood in the packet, a valid Topic Name.
    Wire(&'a str),
    /// What a Topic Alias stands for.
    Aliased(TopicName),
}

impl RouteTopic<'_> {
    /// The bytes of the Topic Name.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Wire(topic) => topic.as_bytes(),
            Self::Aliased(topic) => topic.as_bytes(),
        }
    }
}

/// An acknowledgement of a PUBLISH.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Acknowledgement {
    /// Which packet.
    pub kind: AckKind,
    /// The Packet Identifier of the PUBLISH.
    pub packet_id: PacketId,
    /// The reason code; always success before 5.0.
    pub reason: ReasonCode,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubscribeItem {
    /// The filter, or why it is refused already.
    pub filter: Result<SubscriptionFilter, ReasonCode>,
    /// The options; the QoS is no more than the server's maximum.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier.
    pub subscription_id: Option<SubscriptionId>,
    /// Whether the session has a subscription with this filter, or an earlier SUBSCRIBE asked for it.
    pub existed: bool,
}

/// One filter of an UNSUBSCRIBE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnsubscribeItem {
    /// The filter, or why it is refused already.
    pub filter: Result<SubscriptionFilter, ReasonCode>,
    /// Whether the session has a subscription with this filter, or an earlier SUBSCRIBE asked for it.
    pub existed: bool,
}

/// A change of a durable session's state. Expiry and Will are not among them: they change only at
/// [`Output::Attach`], [`Output::PublishWill`] and [`Output::Close`], where the caller writes them from the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Persist {
    /// PUBREL came in: the Packet Identifier is free again. Before PUBCOMP.
    InboundReleased(PacketId),
    /// PUBREC came in for this place: from now on PUBREL is repeated, not PUBLISH. Before PUBREL.
    OutboundReleased(u64),
    /// This place is done with. Nothing waits for it.
    Acknowledged(u64),
}

/// How a Network Connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The client sent DISCONNECT.
    Disconnected(ReasonCode),
    /// The connection was lost.
    Lost,
    /// The client broke a rule.
    Violated(Violation),
    /// The server refused CONNECT.
    Refused(ReasonCode),
    /// The server closed the open connection.
    Closed(ReasonCode),
}

/// Outputs in their order, to be taken out by the caller. Lives as long as the bytes that the packets borrow from, so
/// usually for one read; [`recycle`](Self::recycle) passes its memory on to the next.
#[derive(Debug, Default)]
pub struct Outputs<'a>(VecDeque<Output<'a>>);

impl<'a> Outputs<'a> {
    /// Room for outputs. Owns no memory until the first one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts one behind the others.
    #[inline]
    pub fn push(&mut self, output: Output<'a>) {
        self.0.push_back(output);
    }

    /// Takes the first one. Others may be pushed in between.
    #[inline]
    pub fn pop(&mut self) -> Option<Output<'a>> {
        self.0.pop_front()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same memory, empty, for outputs that borrow from elsewhere.
    #[must_use]
    pub fn recycle<'b>(mut self) -> Outputs<'b> {
        self.0.clear();
        // Collecting a vector's own iterator keeps its allocation, although the types differ by a lifetime.
        let empty: Vec<Output<'b>> = Vec::from(self.0).into_iter().map_while(|_| None).collect();
        Outputs(empty.into())
    }
}

/// Takes them all, in their order.
impl<'a> Iterator for Outputs<'a> {
    type Item = Output<'a>;

    fn next(&mut self) -> Option<Output<'a>> {
        self.pop()
    }
}

//! SUBSCRIBE and UNSUBSCRIBE on their way through the server.
//!
//! They are given out one at a time, in their order, so that each finds the subscriptions as the one before left them.
//! That decides whether a filter is new (Retain Handling 1) and whether there is room for it.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use dunlin_codec::{
    Packet, PacketId, Qos, ReasonCode, SubAck, Subscribe, SubscriptionFilter, SubscriptionOptions,
    UnsubAck, Unsubscribe, Version,
};

use crate::error::Violation;
use crate::event::{Output, Outputs, SubscribeItem, UnsubscribeItem};
use crate::limits::{Capabilities, FILTERS_MAX, PENDING_FILTERS_MAX, REQUESTS_MAX};
use crate::peer::Peer;
use crate::session::Session;
use crate::subscriptions::{Subscription, Subscriptions};
use crate::token::Token;

/// The requests that are not answered yet. The first one is with the server.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "requests are rare, and a connection without one is 24 bytes smaller for it"
)]
pub(crate) struct Requests(Option<Box<VecDeque<Request>>>);

/// A SUBSCRIBE or UNSUBSCRIBE that is not answered yet.
#[derive(Debug)]
pub(crate) struct Request {
    token: Token,
    packet_id: PacketId,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Subscribe(Vec<SubscribeItem>),
    Unsubscribe(Vec<UnsubscribeItem>),
}

impl Requests {
    /// Whether there is room for more. Otherwise the caller reads on when one is answered.
    pub(crate) fn accept(&self) -> bool {
        self.0.as_ref().is_none_or(|waiting| {
            let filters = || waiting.iter().map(Request::filters).sum::<usize>();
            waiting.len() < REQUESTS_MAX && filters() < PENDING_FILTERS_MAX
        })
    }

    /// The connection ends: what is with the server will be answered, and concerns the session still.
    pub(crate) fn into_given_out(self) -> Option<Request> {
        self.0?.pop_front()
    }

    /// A SUBSCRIBE came in.
    // [MQTT-3.8.4-5] [MQTT-3.8.4-4 @3.1.1]
    pub(crate) fn subscribe(
        &mut self,
        subscribe: &Subscribe<&[u8]>,
        session: &mut Session,
        peer: &Peer,
        capabilities: &Capabilities,
        out: &mut Outputs<'_>,
    ) -> Result<(), Violation> {
        check_answer(subscribe.filters.len(), peer)?;
        let items = subscribe.filters.iter().map(|(text, options)| {
            let filter = check_filter(text, subscribe.subscription_id.is_some(), capabilities);
            let shared = filter.as_ref().is_ok_and(SubscriptionFilter::is_shared);
            // [MQTT-3.8.3-4]
            if options.no_local && shared {
                return Err(Violation::NoLocalOnShared);
            }
            // [MQTT-3.2.2-10]
            let options =
                SubscriptionOptions { qos: options.qos.min(capabilities.maximum_qos), ..options };
            Ok(SubscribeItem {
                filter,
                options,
                subscription_id: subscribe.subscription_id,
                existed: false,
            })
        });
        let asked = Asked::Subscribe(items.collect::<Result<_, _>>()?);
        self.push(subscribe.packet_id, asked, session, capabilities, out);
        Ok(())
    }

    /// An UNSUBSCRIBE came in.
    // [MQTT-3.10.4-6] [MQTT-3.10.4-6 @3.1.1]
    pub(crate) fn unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<&[u8]>,
        session: &mut Session,
        peer: &Peer,
        capabilities: &Capabilities,
        out: &mut Outputs<'_>,
    ) -> Result<(), Violation> {
        check_answer(unsubscribe.filters.len(), peer)?;
        let items = unsubscribe.filters.iter().map(|text| {
            let filter = SubscriptionFilter::parse(text.as_bytes(), capabilities.text);
            UnsubscribeItem {
                filter: filter.map_err(|_| ReasonCode::TopicFilterInvalid),
                existed: false,
            }
        });
        let asked = Asked::Unsubscribe(items.collect());
        self.push(unsubscribe.packet_id, asked, session, capabilities, out);
        Ok(())
    }

    fn push(
        &mut self,
        packet_id: PacketId,
        asked: Asked,
        session: &mut Session,
        capabilities: &Capabilities,
        out: &mut Outputs<'_>,
    ) {
        let token = session.tokens.next(packet_id);
        let waiting = self.0.get_or_insert_default();
        waiting.push_back(Request { token, packet_id, asked });
        if waiting.len() == 1 {
            self.give_out(session, capabilities, out);
        }
    }

    /// Gives the first request to the server.
    fn give_out(&mut self, session: &Session, capabilities: &Capabilities, out: &mut Outputs<'_>) {
        let first = self.0.as_mut().and_then(|waiting| waiting.front_mut());
        let Some(Request { token, asked, .. }) = first else { return };
        let token = *token;
        out.push(match asked {
            Asked::Subscribe(items) => {
                compare(items, &session.subscriptions, capabilities.subscriptions_max);
                Output::Subscribe { token, items: items.clone() }
            }
            Asked::Unsubscribe(items) => {
                for item in items.iter_mut() {
                    item.existed =
                        item.filter.as_ref().is_ok_and(|filter| session.has_subscription(filter));
                }
                Output::Unsubscribe { token, items: items.clone() }
            }
        });
    }

    /// The server answered: the session changes, SUBACK or UNSUBACK goes out, and the next request is given out.
    pub(crate) fn answered(
        &mut self,
        token: Token,
        mut reason_codes: Vec<ReasonCode>,
        session: &mut Session,
        peer: &Peer,
        capabilities: &Capabilities,
        out: &mut Outputs<'_>,
    ) -> Result<(), Violation> {
        let asked = |request: &mut Request| request.token == token;
        let waiting = self.0.as_mut();
        let Some(request) = waiting.and_then(|waiting| waiting.pop_front_if(asked)) else {
            session.answered(token, reason_codes);
            return Ok(());
        };
        // Requests are rare: an idle session keeps no room for them.
        self.0.take_if(|waiting| waiting.is_empty());
        request.settle(&mut reason_codes, session);
        let answer = match request.asked {
            Asked::Subscribe(items) => {
                grant_all_in_3_1(&items, &mut reason_codes, peer.version, out);
                suback(request.packet_id, &reason_codes)
            }
            Asked::Unsubscribe(_) => unsuback(request.packet_id, &reason_codes),
        };
        let maximum = peer.packet_size_max;
        out.push(Output::Send(Box::new(
            peer.admit(answer).ok_or(Violation::AnswerTooLarge { maximum })?,
        )));
        self.give_out(session, capabilities, out);
        Ok(())
    }
}

impl Request {
    /// The server answered: the session changes.
    pub(crate) fn settle(&self, reason_codes: &mut Vec<ReasonCode>, session: &mut Session) {
        reason_codes.resize(self.filters(), ReasonCode::UnspecifiedError);
        match &self.asked {
            Asked::Subscribe(items) => record(items, reason_codes, session),
            Asked::Unsubscribe(items) => remove(items, reason_codes, session),
        }
    }

    pub(crate) const fn token(&self) -> Token {
        self.token
    }

    fn filters(&self) -> usize {
        match &self.asked {
            Asked::Subscribe(items) => items.len(),
            Asked::Unsubscribe(items) => items.len(),
        }
    }
}

/// Refuses a request whose answer, with one code for each filter, could not be sent, or which is absurdly long.
fn check_answer(filters: usize, peer: &Peer) -> Result<(), Violation> {
    if filters > FILTERS_MAX {
        return Err(Violation::TooManyFilters { maximum: FILTERS_MAX });
    }
    // Fixed header with a Remaining Length of at most three bytes, Packet Identifier, no properties.
    let length_bytes = match filters + 3 {
        0..128 => 1,
        128..16_384 => 2,
        _ => 3,
    };
    // [MQTT-3.1.2-24]
    if peer.takes(1 + length_bytes + 3 + filters) {
        Ok(())
    } else {
        Err(Violation::AnswerTooLarge { maximum: peer.packet_size_max })
    }
}

/// The filter, or why the server does not serve it whatever the client may do.
fn check_filter(
    text: &str,
    has_subscription_id: bool,
    capabilities: &Capabilities,
) -> Result<SubscriptionFilter, ReasonCode> {
    // [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    // [MQTT-4.7.1-2 @3.1.1] [MQTT-4.7.1-3 @3.1.1]
    let filter = SubscriptionFilter::parse(text.as_bytes(), capabilities.text)
        .map_err(|_| ReasonCode::TopicFilterInvalid)?;
    let levels_max = capabilities.topic_levels_max.min(capabilities.filter_levels_max);
    if filter.topic_filter().level_count() > usize::from(levels_max) {
        return Err(ReasonCode::TopicFilterInvalid);
    }
    if filter.is_shared() && !capabilities.shared_subscription_available {
        return Err(ReasonCode::SharedSubscriptionsNotSupported);
    }
    // [MQTT-3.8.3-2 @3.1.1]
    if filter.topic_filter().has_wildcards() && !capabilities.wildcard_subscription_available {
        return Err(ReasonCode::WildcardSubscriptionsNotSupported);
    }
    if has_subscription_id && !capabilities.subscription_identifiers_available {
        return Err(ReasonCode::SubscriptionIdentifiersNotSupported);
    }
    Ok(filter)
}

/// Finds out which filters the session has already, and refuses those for which it has no room.
fn compare(items: &mut [SubscribeItem], known: &Subscriptions, maximum: u32) {
    let maximum = usize::try_from(maximum).unwrap_or(usize::MAX);
    let mut added: HashSet<SubscriptionFilter> = HashSet::new();
    let several = items.len() > 1;
    for item in items {
        let Ok(filter) = &item.filter else { continue };
        item.existed = known.get(filter.as_bytes()).is_some() || added.contains(filter);
        if item.existed {
            continue;
        }
        if known.len() + added.len() >= maximum {
            item.filter = Err(ReasonCode::QuotaExceeded);
        } else if several {
            added.insert(filter.clone());
        }
    }
}

/// Takes the granted subscriptions into the session.
// [MQTT-3.8.4-3] [MQTT-3.8.4-6] [MQTT-3.8.4-7]
fn record(items: &[SubscribeItem], reason_codes: &mut [ReasonCode], session: &mut Session) {
    for (item, code) in items.iter().zip(reason_codes) {
        match (&item.filter, granted(*code)) {
            (Ok(filter), Some(qos)) => {
                let options = SubscriptionOptions { qos, ..item.options };
                let subscription = Subscription { options, subscription_id: item.subscription_id };
                session.subscriptions.insert(filter, subscription);
            }
            (Ok(_), None) => {}
            (Err(reason), _) => *code = *reason,
        }
    }
}

/// Takes the subscriptions out of the session that the server took out.
// [MQTT-3.10.4-1] [MQTT-3.10.4-5] [MQTT-3.10.4-1 @3.1.1]
fn remove(items: &[UnsubscribeItem], reason_codes: &mut [ReasonCode], session: &mut Session) {
    for (item, code) in items.iter().zip(reason_codes) {
        match &item.filter {
            Ok(filter) if !code.is_error() => {
                session.subscriptions.remove(filter.as_bytes());
            }
            Ok(_) => {}
            Err(reason) => *code = *reason,
        }
    }
}

/// The QoS that a SUBACK code grants.
fn granted(code: ReasonCode) -> Option<Qos> {
    Qos::try_from(code.as_u8()).ok()
}

/// The SUBACK code that grants a QoS.
const fn granting(qos: Qos) -> ReasonCode {
    match qos {
        Qos::AtMostOnce => ReasonCode::Success,
        Qos::AtLeastOnce => ReasonCode::GrantedQos1,
        Qos::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}

/// The SUBACK of 3.1 has no failure: what was refused is granted in name, and reported.
// [MQTT-3.1 s3.9]
fn grant_all_in_3_1(
    items: &[SubscribeItem],
    reason_codes: &mut [ReasonCode],
    version: Version,
    out: &mut Outputs<'_>,
) {
    if version != Version::V3_1 {
        return;
    }
    let mut hidden = 0;
    for (item, code) in items.iter().zip(reason_codes).filter(|(_, code)| code.is_error()) {
        *code = granting(item.options.qos);
        hidden += 1;
    }
    if hidden > 0 {
        out.push(Output::RefusalsHidden(hidden));
    }
}

// [MQTT-2.2.1-6] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.9.3-1]
// [MQTT-2.3.1-7 @3.1.1] [MQTT-3.8.4-1 @3.1.1] [MQTT-3.8.4-2 @3.1.1] [MQTT-3.9.3-1 @3.1.1]
fn suback(packet_id: PacketId, reason_codes: &[ReasonCode]) -> Packet<Bytes> {
    let reason_codes = reason_codes.iter().copied().collect();
    Packet::SubAck(SubAck { packet_id, properties: Default::default(), reason_codes })
}

// [MQTT-2.2.1-6] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-1]
// [MQTT-2.3.1-7 @3.1.1] [MQTT-3.10.4-4 @3.1.1] [MQTT-3.10.4-5 @3.1.1]
fn unsuback(packet_id: PacketId, reason_codes: &[ReasonCode]) -> Packet<Bytes> {
    let reason_codes = reason_codes.iter().copied().collect();
    Packet::UnsubAck(UnsubAck { packet_id, properties: Default::default(), reason_codes })
}

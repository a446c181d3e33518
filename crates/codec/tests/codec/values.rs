//! Random packets, each with a version that can say it.

use core::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use dunlin_codec::{
    Ack, AckProperties, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect,
    Packet, PacketId, PacketType, Publish, PublishProperties, Qos, ReasonCode, ReasonCodes,
    RetainHandling, SubAck, Subscribe, SubscribeFilters, SubscriptionId, SubscriptionIds,
    SubscriptionOptions, TopicAlias, UnsubAck, Unsubscribe, UnsubscribeFilters, UserProperties,
    Version, Will, WillProperties,
};
use dunlin_topics::{Text, TextRules};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// A version and a packet it can say.
pub(crate) fn versions_and_packets() -> impl Strategy<Value = (Version, Packet<Bytes>)> {
    select(&Version::ALL[..])
        .prop_flat_map(|version| packets(version).prop_map(move |packet| (version, packet)))
}

pub(crate) fn packets(version: Version) -> impl Strategy<Value = Packet<Bytes>> {
    let any = prop_oneof![
        connects(version).prop_map(Packet::Connect),
        connacks(version).prop_map(Packet::ConnAck),
        publishes(version).prop_map(Packet::Publish),
        acks(version, PacketType::PubAck).prop_map(Packet::PubAck),
        acks(version, PacketType::PubRec).prop_map(Packet::PubRec),
        acks(version, PacketType::PubRel).prop_map(Packet::PubRel),
        acks(version, PacketType::PubComp).prop_map(Packet::PubComp),
        subscribes(version).prop_map(Packet::Subscribe),
        subacks(version).prop_map(Packet::SubAck),
        unsubscribes(version).prop_map(Packet::Unsubscribe),
        unsubacks(version).prop_map(Packet::UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        disconnects(version).prop_map(Packet::Disconnect),
    ];
    if version.is_v5() {
        prop_oneof![14 => any, 1 => auths().prop_map(Packet::Auth)].boxed()
    } else {
        any.boxed()
    }
}

fn text(pattern: &'static str) -> impl Strategy<Value = Text> {
    pattern.prop_map(|text| Text::with_rules(text, TextRules::PERMISSIVE).expect("no U+0000"))
}

/// Any text but U+0000, empty text too.
fn texts() -> impl Strategy<Value = Text> {
    text("[^\u{0}]{0,20}")
}

fn client_ids() -> impl Strategy<Value = Text> {
    text("[0-9a-zA-Z/+# \u{e9}\u{3042}\u{1f600}]{0,30}")
}

pub(crate) fn topics() -> impl Strategy<Value = Text> {
    text("[$/a-z0-9 \u{e9}\u{3042}\u{1f600}]{1,40}")
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..30).prop_map(Bytes::from)
}

fn packet_ids() -> impl Strategy<Value = PacketId> {
    any::<NonZeroU16>().prop_map(PacketId::from)
}

fn qos() -> impl Strategy<Value = Qos> {
    select(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][..])
}

pub(crate) fn user_properties() -> impl Strategy<Value = UserProperties<Bytes>> {
    vec((texts(), texts()), 0..4).prop_map(|pairs| {
        UserProperties::from_pairs(
            pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())),
        )
        .expect("short pairs")
    })
}

fn subscription_ids() -> impl Strategy<Value = SubscriptionIds<Bytes>> {
    vec(1..=268_435_455_u32, 0..4)
        .prop_map(|ids| ids.into_iter().filter_map(SubscriptionId::new).collect())
}

/// Properties for 5.0, and none before.
fn of_v5<T: Clone + Default + core::fmt::Debug + 'static>(
    version: Version,
    properties: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if version.is_v5() { properties.boxed() } else { Just(T::default()).boxed() }
}

fn listed(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let codes: Vec<_> =
        ReasonCode::ALL.iter().copied().filter(|code| code.is_allowed_in(packet)).collect();
    select(codes)
}

fn connects(version: Version) -> impl Strategy<Value = Connect<Bytes>> {
    let password_needs_name = !version.is_v5();
    let properties = (
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        option::of(any::<NonZeroU32>()),
        option::of(any::<u16>()),
        any::<(bool, bool)>(),
        option::of((texts(), option::of(data()))),
        user_properties(),
    )
        .prop_map(|(expiry, receive, size, alias, (response, problem), method, user)| {
            ConnectProperties {
                session_expiry_interval: expiry,
                receive_maximum: receive,
                maximum_packet_size: size,
                topic_alias_maximum: alias,
                request_response_information: response,
                request_problem_information: problem,
                authentication_method: method.as_ref().map(|(method, _)| method.clone()),
                authentication_data: method.and_then(|(_, data)| data),
                user_properties: user,
            }
        });
    (
        any::<(bool, u16)>(),
        client_ids(),
        option::of(wills(version)),
        option::of(texts()),
        option::of(data()),
        of_v5(version, properties),
    )
        .prop_map(
            move |((clean_start, keep_alive), client_id, will, user_name, password, properties)| {
                Connect {
                    version,
                    clean_start,
                    keep_alive,
                    client_id,
                    will,
                    password: password.filter(|_| user_name.is_some() || !password_needs_name),
                    user_name,
                    properties,
                }
            },
        )
}

fn wills(version: Version) -> impl Strategy<Value = Will<Bytes>> {
    let properties = (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(topics()),
        option::of(data()),
        option::of(texts()),
        user_properties(),
    )
        .prop_map(|(format, expiry, response_topic, correlation_data, content_type, user)| {
            WillProperties {
                payload_format_utf8: format,
                message_expiry_interval: expiry,
                response_topic,
                correlation_data,
                content_type,
                user_properties: user,
            }
        });
    (
        topics(),
        data(),
        qos(),
        any::<bool>(),
        of_v5(version, any::<u32>()),
        of_v5(version, properties),
    )
        .prop_map(|(topic, payload, qos, retain, delay_interval, properties)| Will {
            topic,
            payload,
            qos,
            retain,
            delay_interval,
            properties,
        })
}

fn connacks(version: Version) -> impl Strategy<Value = ConnAck<Bytes>> {
    let numbers = (
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        option::of(any::<NonZeroU32>()),
        option::of(any::<u16>()),
        option::of(any::<u16>()),
    );
    let switches = (
        option::of(select(&[Qos::AtMostOnce, Qos::AtLeastOnce][..])),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
    );
    let words = (
        option::of(texts()),
        option::of(texts()),
        option::of(texts()),
        option::of(texts()),
        option::of((texts(), option::of(data()))),
        user_properties(),
    );
    let properties =
        (numbers, switches, words).prop_map(|(numbers, switches, words)| ConnAckProperties {
            session_expiry_interval: numbers.0,
            receive_maximum: numbers.1,
            maximum_packet_size: numbers.2,
            topic_alias_maximum: numbers.3,
            server_keep_alive: numbers.4,
            maximum_qos: switches.0,
            retain_available: switches.1,
            wildcard_subscription_available: switches.2,
            subscription_identifiers_available: switches.3,
            shared_subscription_available: switches.4,
            assigned_client_id: words.0,
            reason_string: words.1,
            response_information: words.2,
            server_reference: words.3,
            authentication_method: words.4.as_ref().map(|(method, _)| method.clone()),
            authentication_data: words.4.and_then(|(_, data)| data),
            user_properties: words.5,
        });
    let codes = if version.is_v5() {
        listed(PacketType::ConnAck).boxed()
    } else {
        (0..=5_u8).prop_filter_map("six codes", ReasonCode::from_connect_return_code).boxed()
    };
    (any::<bool>(), codes, of_v5(version, properties)).prop_map(
        move |(present, reason_code, properties)| ConnAck {
            session_present: present
                && reason_code == ReasonCode::Success
                && version != Version::V3_1,
            reason_code,
            properties,
        },
    )
}

pub(crate) fn publishes(version: Version) -> impl Strategy<Value = Publish<Bytes>> {
    let properties = (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>().prop_map(TopicAlias::from)),
        option::of(topics()),
        option::of(data()),
        option::of(texts()),
        subscription_ids(),
        user_properties(),
    )
        .prop_map(
            |(format, expiry, topic_alias, response, correlation, content, ids, user)| {
                PublishProperties {
                    payload_format_utf8: format,
                    message_expiry_interval: expiry,
                    topic_alias,
                    response_topic: response,
                    correlation_data: correlation,
                    content_type: content,
                    subscription_ids: ids,
                    user_properties: user,
                }
            },
        );
    let payloads = prop_oneof![
        8 => vec(any::<u8>(), 0..200),
        1 => (100..20_000_usize).prop_map(|len| vec![b'x'; len]),
    ];
    (
        any::<(bool, bool, bool)>(),
        qos(),
        packet_ids(),
        topics(),
        of_v5(version, properties),
        payloads,
    )
        .prop_map(|((dup, retain, leave_out), qos, packet_id, topic, properties, payload)| {
            Publish {
                dup: dup && qos > Qos::AtMostOnce,
                retain,
                qos,
                packet_id: (qos > Qos::AtMostOnce).then_some(packet_id),
                topic: if leave_out && properties.topic_alias.is_some() {
                    Text::empty()
                } else {
                    topic
                },
                properties,
                payload: payload.into(),
            }
        })
}

fn ack_properties(version: Version) -> BoxedStrategy<AckProperties<Bytes>> {
    let properties =
        (option::of(texts()), user_properties()).prop_map(|(reason_string, user_properties)| {
            AckProperties { reason_string, user_properties }
        });
    of_v5(version, properties)
}

fn acks(version: Version, packet: PacketType) -> impl Strategy<Value = Ack<Bytes>> {
    let codes =
        if version.is_v5() { listed(packet).boxed() } else { Just(ReasonCode::Success).boxed() };
    (packet_ids(), codes, ack_properties(version))
        .prop_map(|(packet_id, reason_code, properties)| Ack { packet_id, reason_code, properties })
}

fn subscribes(version: Version) -> impl Strategy<Value = Subscribe<Bytes>> {
    let handling =
        [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    let options =
        (qos(), of_v5(version, any::<(bool, bool)>()), of_v5(version, select(handling.to_vec())))
            .prop_map(|(qos, (no_local, retain_as_published), retain_handling)| {
                SubscriptionOptions { qos, no_local, retain_as_published, retain_handling }
            });
    let ids = option::of((1..=268_435_455_u32).prop_filter_map("not 0", SubscriptionId::new));
    let filters = vec((texts(), options), 1..6).prop_map(|pairs| {
        SubscribeFilters::from_pairs(
            pairs.iter().map(|(filter, options)| (filter.as_str(), *options)),
        )
        .expect("short filters")
    });
    (packet_ids(), of_v5(version, ids), of_v5(version, user_properties()), filters).prop_map(
        |(packet_id, subscription_id, user_properties, filters)| Subscribe {
            packet_id,
            subscription_id,
            user_properties,
            filters,
        },
    )
}

fn subacks(version: Version) -> impl Strategy<Value = SubAck<Bytes>> {
    let code = match version {
        Version::V5 => listed(PacketType::SubAck).boxed(),
        Version::V3_1_1 => select(
            &[ReasonCode::Success, ReasonCode::GrantedQos2, ReasonCode::UnspecifiedError][..],
        )
        .boxed(),
        Version::V3_1 => select(&[ReasonCode::Success, ReasonCode::GrantedQos1][..]).boxed(),
    };
    let codes =
        vec(code, 1..10).prop_map(|codes| codes.into_iter().collect::<ReasonCodes<Bytes>>());
    (packet_ids(), ack_properties(version), codes).prop_map(
        |(packet_id, properties, reason_codes)| SubAck { packet_id, properties, reason_codes },
    )
}

fn unsubscribes(version: Version) -> impl Strategy<Value = Unsubscribe<Bytes>> {
    let filters = vec(texts(), 1..6).prop_map(|filters| {
        UnsubscribeFilters::from_filters(filters.iter().map(Text::as_str)).expect("short filters")
    });
    (packet_ids(), of_v5(version, user_properties()), filters).prop_map(
        |(packet_id, user_properties, filters)| Unsubscribe { packet_id, user_properties, filters },
    )
}

fn unsubacks(version: Version) -> impl Strategy<Value = UnsubAck<Bytes>> {
    let codes =
        vec(listed(PacketType::UnsubAck), 1..10).prop_map(|codes| codes.into_iter().collect());
    (packet_ids(), ack_properties(version), of_v5(version, codes)).prop_map(
        |(packet_id, properties, reason_codes)| UnsubAck { packet_id, properties, reason_codes },
    )
}

fn disconnects(version: Version) -> BoxedStrategy<Disconnect<Bytes>> {
    if !version.is_v5() {
        return Just(Disconnect::new(ReasonCode::Success)).boxed();
    }
    (
        listed(PacketType::Disconnect),
        option::of(any::<u32>()),
        option::of(texts()),
        option::of(texts()),
        user_properties(),
    )
        .prop_map(|(reason_code, expiry, reason_string, server_reference, user_properties)| {
            Disconnect {
                reason_code,
                session_expiry_interval: expiry,
                reason_string,
                server_reference,
                user_properties,
            }
        })
        .boxed()
}

fn auths() -> impl Strategy<Value = Auth<Bytes>> {
    (listed(PacketType::Auth), texts(), option::of(data()), option::of(texts()), user_properties())
        .prop_map(|(reason_code, method, data, reason_string, user_properties)| Auth {
            reason_code,
            method: Some(method),
            data,
            reason_string,
            user_properties,
        })
}

//! MQTT 5.0.

use std::collections::HashMap;
use std::error::Error;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, ConnectReturnCode, Filter, LastWill, LastWillProperties, Packet,
    PubAckReason, PubRecReason, Publish, PublishProperties, RetainForwardRule, SubscribeProperties,
    SubscribeReasonCode, UnsubAckReason,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use serde_json::{Map, Value, json};

use crate::link::{Answer, Link, Reporter, Sender};
use crate::text;

const PACKET_SIZE_MAX: u32 = 4 * 1024 * 1024;

pub(crate) fn connect(name: String, command: &Value, port: u16) -> Link {
    let mut options = MqttOptions::new(text(command, "client_id"), "127.0.0.1", port);
    options.set_clean_start(command["clean"] == true);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = number(command, "expiry");
    properties.receive_maximum = number(command, "receive_maximum");
    properties.topic_alias_max = number(command, "topic_alias_maximum");
    properties.max_packet_size = Some(PACKET_SIZE_MAX);
    options.set_connect_properties(properties);
    if let will @ Value::Object(_) = &command["will"] {
        options.set_last_will(last_will(will));
    }
    let (client, event_loop) = AsyncClient::new(options, 10);
    Link::new(name, Sender::V5(client), |reporter| poll(event_loop, reporter))
}

fn last_will(will: &Value) -> LastWill {
    let publish = publish_properties(&will["properties"]);
    let properties = LastWillProperties {
        delay_interval: number(will, "delay"),
        payload_format_indicator: publish.payload_format_indicator,
        message_expiry_interval: publish.message_expiry_interval,
        content_type: publish.content_type,
        response_topic: publish.response_topic,
        correlation_data: publish.correlation_data,
        user_properties: publish.user_properties,
    };
    LastWill::new(
        text(will, "topic"),
        text(will, "payload"),
        qos(will),
        will["retain"] == true,
        Some(properties),
    )
}

async fn poll(mut event_loop: EventLoop, reporter: Reporter) {
    // rumqttc shows an aliased message as it came, so that we keep the topics.
    let mut aliases = HashMap::new();
    loop {
        match event_loop.poll().await {
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            // At QoS 0 the packet is done when it is written.
            Ok(Event::Outgoing(Outgoing::Publish(0))) => reporter.answer(Answer::Published(0)),
            Ok(Event::Outgoing(_)) => {}
            Ok(Event::Incoming(packet)) => report(packet, &mut aliases, &reporter),
            Err(ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code, ..
            })) => {
                return reporter.closed(Some(reason_code as u8));
            }
            Err(_) => return reporter.closed(None),
        }
    }
}

fn report(packet: Packet, aliases: &mut HashMap<u16, String>, reporter: &Reporter) {
    match packet {
        Packet::ConnAck(connack) if connack.code == ConnectReturnCode::Success => {
            reporter.answer(Answer::Accepted(accepted(&connack)));
        }
        Packet::SubAck(suback) => {
            reporter.answer(Answer::Reasons(suback.return_codes.iter().map(granted).collect()))
        }
        Packet::UnsubAck(unsuback) => {
            reporter.answer(Answer::Reasons(unsuback.reasons.iter().map(unsubscribed).collect()));
        }
        Packet::PubAck(puback) => reporter.answer(Answer::Published(acknowledged(&puback.reason))),
        // An exchange that is refused has no PUBCOMP.
        Packet::PubRec(pubrec) => match pubrec.reason {
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => {}
            _ => reporter.answer(Answer::Published(0x80)),
        },
        Packet::PubComp(_) => reporter.answer(Answer::Published(0)),
        Packet::Publish(publish) => reporter.message(shown(publish, aliases)),
        _ => {}
    }
}

fn accepted(connack: &ConnAck) -> Value {
    let assigned = connack
        .properties
        .as_ref()
        .and_then(|properties| properties.assigned_client_identifier.clone());
    let properties = assigned.map_or(json!({}), |id| json!({ "assigned_client_id": id }));
    json!({ "session_present": connack.session_present, "reason": 0, "properties": properties })
}

fn shown(publish: Publish, aliases: &mut HashMap<u16, String>) -> Value {
    let mut topic = String::from_utf8_lossy(&publish.topic).into_owned();
    let properties = publish.properties.unwrap_or_default();
    if let Some(alias) = properties.topic_alias {
        if topic.is_empty() {
            topic = aliases.get(&alias).cloned().unwrap_or_default();
        } else {
            aliases.insert(alias, topic.clone());
        }
    }
    json!({
        "topic": topic,
        "payload": String::from_utf8_lossy(&publish.payload),
        "qos": publish.qos as u8,
        "retain": publish.retain,
        "dup": publish.dup,
        "properties": shown_properties(&properties),
    })
}

fn shown_properties(properties: &PublishProperties) -> Value {
    let mut shown = Map::new();
    let mut show = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown.insert(name.to_owned(), value);
        }
    };
    let user = &properties.user_properties;
    let ids = &properties.subscription_identifiers;
    show("payload_format", properties.payload_format_indicator.map(|value| json!(value)));
    show("message_expiry", properties.message_expiry_interval.map(|value| json!(value)));
    show("content_type", properties.content_type.as_ref().map(|value| json!(value)));
    show("response_topic", properties.response_topic.as_ref().map(|value| json!(value)));
    show("correlation_data", properties.correlation_data.as_ref().map(|value| json!(hex(value))));
    show("user", (!user.is_empty()).then(|| json!(user)));
    show("subscription_ids", (!ids.is_empty()).then(|| json!(ids)));
    Value::Object(shown)
}

fn granted(code: &SubscribeReasonCode) -> u8 {
    match code {
        SubscribeReasonCode::Success(qos) => *qos as u8,
        SubscribeReasonCode::NotAuthorized => 0x87,
        SubscribeReasonCode::TopicFilterInvalid => 0x8F,
        _ => 0x80,
    }
}

fn unsubscribed(reason: &UnsubAckReason) -> u8 {
    match reason {
        UnsubAckReason::Success => 0x00,
        UnsubAckReason::NoSubscriptionExisted => 0x11,
        _ => 0x80,
    }
}

fn acknowledged(reason: &PubAckReason) -> u8 {
    match reason {
        PubAckReason::Success => 0x00,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::NotAuthorized => 0x87,
        _ => 0x80,
    }
}

pub(crate) async fn subscribe(client: &AsyncClient, command: &Value) -> Result<(), Box<dyn Error>> {
    let mut filter = Filter::new(text(command, "filter"), qos(command));
    filter.nolocal = command["no_local"] == true;
    filter.preserve_retain = command["retain_as_published"] == true;
    filter.retain_forward_rule = match command["retain_handling"].as_u64() {
        Some(1) => RetainForwardRule::OnNewSubscribe,
        Some(2) => RetainForwardRule::Never,
        _ => RetainForwardRule::OnEverySubscribe,
    };
    match number(command, "subscription_id") {
        None => Ok(client.subscribe_many([filter]).await?),
        id => {
            let properties = SubscribeProperties { id, user_properties: Vec::new() };
            Ok(client.subscribe_many_with_properties([filter], properties).await?)
        }
    }
}

pub(crate) async fn publish(client: &AsyncClient, command: &Value) -> Result<(), Box<dyn Error>> {
    let (topic, payload) = (text(command, "topic"), text(command, "payload"));
    let properties = publish_properties(&command["properties"]);
    let retain = command["retain"] == true;
    Ok(client.publish_with_properties(topic, qos(command), retain, payload, properties).await?)
}

fn publish_properties(values: &Value) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: number(values, "payload_format"),
        message_expiry_interval: number(values, "message_expiry"),
        topic_alias: number(values, "topic_alias"),
        response_topic: values["response_topic"].as_str().map(str::to_owned),
        correlation_data: values["correlation_data"].as_str().map(|text| bytes(text).into()),
        user_properties: user_properties(&values["user"]),
        subscription_identifiers: Vec::new(),
        content_type: values["content_type"].as_str().map(str::to_owned),
    }
}

fn user_properties(pairs: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pairs.as_array().into_iter().flatten().map(|pair| (word(&pair[0]), word(&pair[1]))).collect()
}

fn qos(command: &Value) -> QoS {
    match command["qos"].as_u64() {
        Some(1) => QoS::AtLeastOnce,
        Some(2) => QoS::ExactlyOnce,
        _ => QoS::AtMostOnce,
    }
}

fn number<T: TryFrom<u64>>(object: &Value, field: &str) -> Option<T> {
    object[field].as_u64().and_then(|value| T::try_from(value).ok())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |start| hex.get(start..start + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..hex.len()).step_by(2).filter_map(byte).collect()
}

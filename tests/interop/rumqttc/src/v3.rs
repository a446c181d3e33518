//! MQTT 3.1.1.

use std::error::Error;

use rumqttc::{
    AsyncClient, ConnectReturnCode, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet,
    Publish, SubscribeReasonCode,
};
use serde_json::{Value, json};

use crate::link::{Answer, Link, Reporter, Sender};
use crate::text;

const PACKET_SIZE_MAX: usize = 4 * 1024 * 1024;

pub(crate) fn connect(name: String, command: &Value, port: u16) -> Link {
    let mut options = MqttOptions::new(text(command, "client_id"), "127.0.0.1", port);
    options.set_clean_session(command["clean"] == true);
    options.set_max_packet_size(PACKET_SIZE_MAX, PACKET_SIZE_MAX);
    if let will @ Value::Object(_) = &command["will"] {
        options.set_last_will(LastWill::new(
            text(will, "topic"),
            text(will, "payload"),
            qos(will),
            will["retain"] == true,
        ));
    }
    let (client, event_loop) = AsyncClient::new(options, 10);
    Link::new(name, Sender::V3(client), |reporter| poll(event_loop, reporter))
}

async fn poll(mut event_loop: EventLoop, reporter: Reporter) {
    loop {
        match event_loop.poll().await {
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            // At QoS 0 the packet is done when it is written.
            Ok(Event::Outgoing(Outgoing::Publish(0))) => reporter.answer(Answer::Published(0)),
            Ok(Event::Outgoing(_)) => {}
            Ok(Event::Incoming(packet)) => report(packet, &reporter),
            Err(_) => return reporter.closed(None),
        }
    }
}

fn report(packet: Packet, reporter: &Reporter) {
    match packet {
        Packet::ConnAck(connack) if connack.code == ConnectReturnCode::Success => {
            let session_present = connack.session_present;
            let accepted =
                json!({ "session_present": session_present, "reason": 0, "properties": {} });
            reporter.answer(Answer::Accepted(accepted));
        }
        Packet::SubAck(suback) => {
            reporter.answer(Answer::Reasons(suback.return_codes.iter().map(granted).collect()))
        }
        Packet::UnsubAck(_) => reporter.answer(Answer::Reasons(Vec::new())),
        Packet::PubAck(_) | Packet::PubComp(_) => reporter.answer(Answer::Published(0)),
        Packet::Publish(publish) => reporter.message(shown(&publish)),
        _ => {}
    }
}

fn shown(publish: &Publish) -> Value {
    json!({
        "topic": publish.topic,
        "payload": String::from_utf8_lossy(&publish.payload),
        "qos": publish.qos as u8,
        "retain": publish.retain,
        "dup": publish.dup,
        "properties": {},
    })
}

fn granted(code: &SubscribeReasonCode) -> u8 {
    match code {
        SubscribeReasonCode::Success(qos) => *qos as u8,
        SubscribeReasonCode::Failure => 0x80,
    }
}

pub(crate) async fn subscribe(client: &AsyncClient, command: &Value) -> Result<(), Box<dyn Error>> {
    Ok(client.subscribe(text(command, "filter"), qos(command)).await?)
}

pub(crate) async fn publish(client: &AsyncClient, command: &Value) -> Result<(), Box<dyn Error>> {
    let (topic, payload) = (text(command, "topic"), text(command, "payload"));
    Ok(client.publish(topic, qos(command), command["retain"] == true, payload).await?)
}

fn qos(command: &Value) -> rumqttc::QoS {
    match command["qos"].as_u64() {
        Some(1) => rumqttc::QoS::AtLeastOnce,
        Some(2) => rumqttc::QoS::ExactlyOnce,
        _ => rumqttc::QoS::AtMostOnce,
    }
}

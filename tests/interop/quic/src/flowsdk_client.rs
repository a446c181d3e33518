//! The library of others.

use flowsdk::mqtt_client::{
    MqttClientOptions, MqttMessage, TokioAsyncClientConfig, TokioAsyncMqttClient,
    TokioMqttEventHandler,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{Message, Outcome, Target};

struct Arrivals(UnboundedSender<Message>);

#[async_trait::async_trait]
impl TokioMqttEventHandler for Arrivals {
    async fn on_message_received(&mut self, message: &MqttMessage) {
        let MqttMessage { topic_name, qos, payload, .. } = message.clone();
        let _ = self.0.send(Message { topic: topic_name, qos, payload });
    }
}

pub(crate) async fn round_trip(target: &Target, messages: &[Message]) -> Outcome<Vec<Message>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = MqttClientOptions::builder()
        .peer(format!("quic://{}", target.address))
        .client_id("flowsdk")
        .mqtt_version(target.level)
        .clean_start(true)
        .keep_alive(60)
        .build();
    let mut config = TokioAsyncClientConfig::builder()
        .auto_reconnect(false)
        .quic_custom_root_ca_pem(std::fs::read_to_string(&target.authority)?);
    if let Some((certificate, key)) = &target.own {
        config = config
            .quic_client_cert_pem(std::fs::read_to_string(certificate)?)
            .quic_client_key_pem(std::fs::read_to_string(key)?);
    }
    let (sender, mut arrivals) = unbounded_channel();
    let client =
        TokioAsyncMqttClient::new(options, Box::new(Arrivals(sender)), config.build()).await?;
    let connected = client.connect_sync().await?;
    if !connected.is_success() {
        return Err(format!("instead of CONNACK: {connected:?}").into());
    }
    let subscribed = client.subscribe_sync("doors/#", 2).await?;
    if !subscribed.is_success() {
        return Err(format!("instead of SUBACK: {subscribed:?}").into());
    }
    let mut came_back = Vec::new();
    for Message { topic, qos, payload } in messages {
        client.publish_sync(topic, payload, *qos, false).await?;
        came_back.push(arrivals.recv().await.ok_or("it ended")?);
    }
    client.disconnect_sync().await?;
    Ok(came_back)
}

//! A greenhouse controller with an MQTT broker inside it.
//!
//! Sensors and fans are ordinary MQTT clients of any version. The broker runs in this program's own runtime; its hooks refuse
//! reports that make no sense and commands that are not the controller's; the controller subscribes and publishes without a
//! socket.
//!
//! ```text
//! cargo run -p embedded -- --listen 127.0.0.1:1884
//! mosquitto_sub -p 1884 -t 'commands/#' -v
//! mosquitto_pub -p 1884 -t sensors/bed-1/temperature -m 31.5 -q 1
//! ```

mod rules;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use dunlin_broker::{Broker, Message, Qos, SubscribeOptions, Subscription, TopicName};
use futures_util::StreamExt as _;
use lexopt::{Arg, ValueExt as _};

use crate::rules::{Rules, celsius};

/// An error that may cross threads, as the controller's task may.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Above this the fans of a bed run.
const FANS_FROM_CELSIUS: f64 = 28.0;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "embedded: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Error> {
    let (broker, reports) = start(listen_option()?).await?;
    for address in broker.local_addrs() {
        say(&format!("listening on {address}"));
    }
    tokio::select! {
        ended = control(&broker, reports) => ended?,
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    say(&format!("{} messages received", broker.metrics().publish_received));
    broker.shutdown().await?;
    Ok(())
}

fn listen_option() -> Result<SocketAddr, lexopt::Error> {
    let mut address = SocketAddr::from(([127, 0, 0, 1], 1884));
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("listen") => address = parser.value()?.parse()?,
            Arg::Short(_) | Arg::Long(_) | Arg::Value(_) => return Err(argument.unexpected()),
        }
    }
    Ok(address)
}

/// A broker with the greenhouse's rules, and what its sensors report.
async fn start(address: SocketAddr) -> Result<(Broker, Subscription), Error> {
    let broker = Broker::builder()
        .listen(address)
        .allow_anonymous(true)
        .hooks(Arc::new(Rules::default()))
        .start()
        .await?;
    let reports = broker.subscribe("sensors/+/temperature", SubscribeOptions::default()).await?;
    Ok((broker, reports))
}

/// Turns fans on and off as the beds grow warm and cool.
async fn control(broker: &Broker, mut reports: Subscription) -> Result<(), Error> {
    while let Some(report) = reports.next().await {
        let bed = report.message.topic.as_str().split('/').nth(1).unwrap_or_default();
        let Some(celsius) = celsius(&report.message.payload) else { continue };
        let command = if celsius > FANS_FROM_CELSIUS { "on" } else { "off" };
        broker.publish(fan_command(bed, command)?).await?;
    }
    Ok(())
}

/// Retained, so that a fan which comes back later knows what to do.
fn fan_command(bed: &str, command: &'static str) -> Result<Message, Error> {
    Ok(Message {
        topic: TopicName::try_from(format!("commands/{bed}/fan"))?,
        payload: command.into(),
        qos: Qos::AtLeastOnce,
        retain: true,
        properties: None,
    })
}

/// A reader that has gone away is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish};
    use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

    use super::*;

    fn client(name: &str, address: SocketAddr) -> (AsyncClient, EventLoop) {
        AsyncClient::new(MqttOptions::new(name, address.ip().to_string(), address.port()), 10)
    }

    async fn until<T>(events: &mut EventLoop, wanted: impl Fn(Packet) -> Option<T>) -> T {
        let search = async {
            loop {
                if let Event::Incoming(packet) = events.poll().await.expect("a connection")
                    && let Some(found) = wanted(packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), search).await.expect("an answer in time")
    }

    fn ack(packet: Packet) -> Option<PubAckReason> {
        if let Packet::PubAck(ack) = packet { Some(ack.reason) } else { None }
    }

    fn publish(packet: Packet) -> Option<Publish> {
        if let Packet::Publish(publish) = packet { Some(publish) } else { None }
    }

    #[tokio::test]
    async fn real_clients_are_served_and_ruled() {
        let (broker, reports) =
            start("127.0.0.1:0".parse().expect("an address")).await.expect("a start");
        let broker = Arc::new(broker);
        let address = *broker.local_addrs().first().expect("a listener");
        let seen = Arc::clone(&broker);
        let control = tokio::spawn(async move { control(&seen, reports).await });

        let (fan, mut fan_events) = client("fan", address);
        fan.subscribe("commands/+/fan", QoS::AtLeastOnce).await.expect("room");
        until(&mut fan_events, |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;

        let (sensor, mut sensor_events) = client("sensor", address);
        let mut report = async |topic: &str, value: &str| {
            sensor.publish(topic, QoS::AtLeastOnce, false, value.to_owned()).await.expect("room");
            until(&mut sensor_events, ack).await
        };
        // The hooks' answers come back as reason codes.
        assert_eq!(
            report("sensors/bed-1/temperature", "warm").await,
            PubAckReason::PayloadFormatInvalid
        );
        assert_eq!(report("commands/bed-1/fan", "on").await, PubAckReason::NotAuthorized);
        assert_eq!(report("sensors/bed-1/temperature", "31.5").await, PubAckReason::Success);

        let command = until(&mut fan_events, publish).await;
        assert_eq!(
            (&command.topic[..], &command.payload[..]),
            (&b"commands/bed-1/fan"[..], &b"on"[..])
        );

        assert_eq!(report("sensors/bed-1/temperature", "20").await, PubAckReason::Success);
        assert_eq!(&until(&mut fan_events, publish).await.payload[..], b"off");

        control.abort();
        let _ = control.await;
        let broker = Arc::into_inner(broker).expect("the controller has let go of it");
        broker.shutdown().await.expect("a store that closes");
    }
}

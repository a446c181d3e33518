//! Publishes this machine's CPU, memory, disk and network counters as retained topics through a broker.
//!
//! ```text
//! cargo run -p host-metrics -- --broker 127.0.0.1:1883
//! mosquitto_sub -t 'hosts/#' -v
//! ```
//!
//! An MQTT 5.0 client as one would write it: retained messages at QoS 1 that expire when the machine falls silent, and a
//! Will that says so at once when the connection breaks.

mod counters;

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::{Arg, ValueExt as _};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, LastWill, Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::counters::Sampler;

const HELP: &str = "\
host-metrics: this machine's counters as retained MQTT topics below hosts/NAME/

Usage: host-metrics [--broker HOST:PORT] [--interval SECONDS] [--rounds COUNT]

  --broker HOST:PORT   where to publish; 127.0.0.1:1883
  --interval SECONDS   time between two rounds; 10
  --rounds COUNT       exit after so many rounds, all of them acknowledged; for ever
";

/// How long the broker may take to acknowledge a round, reconnecting included.
const ROUND_DEADLINE: Duration = Duration::from_secs(30);

struct Options {
    host: String,
    port: u16,
    interval: Duration,
    rounds: Option<u64>,
}

impl Options {
    fn read() -> Result<Option<Self>, lexopt::Error> {
        let mut options = Self {
            host: "127.0.0.1".to_owned(),
            port: 1883,
            interval: Duration::from_secs(10),
            rounds: None,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("broker") => {
                    let address = parser.value()?.string()?;
                    let (host, port) =
                        address.rsplit_once(':').ok_or("--broker takes HOST:PORT")?;
                    options.host = host.trim_matches(['[', ']']).to_owned();
                    options.port = port.parse().map_err(|_| "--broker takes HOST:PORT")?;
                }
                Arg::Long("interval") => {
                    options.interval = Duration::from_secs(parser.value()?.parse::<u64>()?.max(1))
                }
                Arg::Long("rounds") => options.rounds = Some(parser.value()?.parse()?),
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                Arg::Short(_) | Arg::Long(_) | Arg::Value(_) => return Err(argument.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Options::read() {
        Ok(Some(options)) => publish(&options).await,
        Ok(None) => {
            let _ = io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "host-metrics: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn publish(options: &Options) -> Result<(), Box<dyn Error>> {
    let root = format!("hosts/{}", host_name());
    let mut connection = MqttOptions::new(root.replace('/', "-"), &options.host, options.port);
    connection.set_keep_alive(Duration::from_secs(15));
    let status = format!("{root}/status");
    connection.set_last_will(LastWill::new(&status, "offline", QoS::AtLeastOnce, true, None));
    let (client, events) = AsyncClient::new(connection, 1_000);
    let (acknowledged, acknowledgements) = mpsc::channel(1_000);
    let mut driver = tokio::spawn(drive(events, acknowledged));
    let mut publisher = Publisher { client, acknowledgements, unacknowledged: 0 };
    tokio::select! {
        // Where the connection fails, the publisher fails too and only the driver knows why.
        biased;
        failed = &mut driver => return failed?.map_err(Into::into),
        done = publisher.rounds(options, &root) => done?,
    }
    // The standard sends no Will after a DISCONNECT, so the end is said here.
    publisher.publish(&status, "offline", PublishProperties::default()).await?;
    publisher.settle().await?;
    publisher.client.disconnect().await?;
    let _ = tokio::time::timeout(ROUND_DEADLINE, driver).await;
    Ok(())
}

/// The side of the client that publishes, and knows what the broker has not acknowledged yet.
struct Publisher {
    client: AsyncClient,
    acknowledgements: mpsc::Receiver<()>,
    unacknowledged: usize,
}

impl Publisher {
    async fn rounds(&mut self, options: &Options, root: &str) -> Result<(), Box<dyn Error>> {
        self.publish(&format!("{root}/status"), "online", PublishProperties::default()).await?;
        let mut sampler = Sampler::default();
        let mut ticks = tokio::time::interval(options.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut rounds = 0;
        while options.rounds != Some(rounds) {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
            let readings = sampler.sample(Path::new("/proc"))?;
            for reading in &readings {
                let topic = format!("{root}/{}", reading.topic);
                self.publish(&topic, &reading.value, expiring_after(options.interval * 3)).await?;
            }
            self.settle().await?;
            rounds += 1;
            let _ =
                writeln!(io::stdout(), "round {rounds}: {} counters below {root}/", readings.len());
        }
        Ok(())
    }

    async fn publish(
        &mut self,
        topic: &str,
        value: &str,
        properties: PublishProperties,
    ) -> Result<(), Box<dyn Error>> {
        self.client
            .publish_with_properties(topic, QoS::AtLeastOnce, true, value.to_owned(), properties)
            .await?;
        self.unacknowledged += 1;
        Ok(())
    }

    /// Waits until the broker has everything.
    async fn settle(&mut self) -> Result<(), Box<dyn Error>> {
        let all = async {
            while self.unacknowledged > 0 && self.acknowledgements.recv().await.is_some() {
                self.unacknowledged -= 1;
            }
        };
        let in_time = tokio::time::timeout(ROUND_DEADLINE, all).await.is_ok();
        if in_time && self.unacknowledged == 0 {
            return Ok(());
        }
        Err(format!("the broker left {} messages unacknowledged", self.unacknowledged).into())
    }
}

/// A value that nobody renews is worth nothing: it leaves the broker by itself.
fn expiring_after(age: Duration) -> PublishProperties {
    let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
    PublishProperties { message_expiry_interval: Some(seconds), ..PublishProperties::default() }
}

/// Runs the connection, again and again if it breaks, and passes on every acknowledgement. The first connection must
/// succeed: a wrong address would otherwise be tried for ever.
async fn drive(mut events: EventLoop, acknowledged: mpsc::Sender<()>) -> Result<(), String> {
    let mut connected = false;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(answer)))
                if answer.code == ConnectReturnCode::Success =>
            {
                connected = true
            }
            Ok(Event::Incoming(Packet::PubAck(_))) => {
                if acknowledged.send(()).await.is_err() {
                    return Ok(());
                }
            }
            Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return Ok(()),
            Ok(_) => {}
            Err(error) if connected => {
                let _ = writeln!(io::stderr(), "host-metrics: {error}; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(format!("cannot connect: {error}")),
        }
    }
}

/// The machine's name as one level of a topic.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let level = name.trim().replace(['/', '+', '#'], "_");
    if level.is_empty() { "localhost".to_owned() } else { level }
}

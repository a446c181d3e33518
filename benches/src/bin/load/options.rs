//! What the command line says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dunlin_benches::wire::Version;
use lexopt::{Arg, Parser, ValueExt};

use crate::Outcome;

pub(crate) const HELP: &str = "\
load SCENARIO --port PORT [--pid PID] [--OPTION VALUE]...

Drives an MQTT broker of this machine, checks every message, and prints one line of JSON.

Scenarios and their own options:
  p2p       each of --pairs publishers to a subscriber of its own, on --topics topics each
  both      each of --pairs pairs of clients publishes to the other
  fan-in    --publishers to each of --subscribers, on one topic
  fan-out   --publishers, each on a topic of its own, to each of --subscribers
  shared    --publishers to --groups shared subscriptions of --subscribers members each
  wildcard  1,000 topics from --publishers to --subscribers with filters of every shape, beside --cold filters that match
            none of them
  storm     --connections clients connect and subscribe, --outstanding at a time, and stay for --hold seconds
  offline   --sessions persistent sessions get --messages each from --publishers while they are away, and come back
  retained  --names retained messages are stored, then replayed to `#` and to `+/x/#`

Options of all:
  --host ADDRESS      a loopback address [127.0.0.1]
  --mqtt 3.1.1|5.0    [3.1.1]
  --qos 0|1|2         of publishers and subscriptions [0]
  --payload BYTES     at least 16 [64]
  --properties COUNT  user properties of each message, with 5.0 [0]
  --window COUNT      QoS 1 and 2: messages that a publisher has under way at once [20]
  --credit COUNT      QoS 0: deliveries outstanding at once over the whole run; 0 is a flood [0]
  --rate PER_SECOND   messages of all publishers together, each due at its time; 0 is as fast as it goes [0]
  --churn PER_SECOND  beside p2p: so many SUBSCRIBE, UNSUBSCRIBE and connects [0]
  --warm SECONDS      before what is measured [0.5]
  --secs SECONDS      that are measured [2]
  --messages COUNT    that each publisher sends instead of publishing for so long; 0 is no limit [0]
  --idle SECONDS      without a delivery that end the wait for what is under way [3]
  --repeat COUNT      replays of retained messages [3]
";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scenario {
    P2p,
    Both,
    FanIn,
    FanOut,
    Shared,
    Wildcard,
    Storm,
    Offline,
    Retained,
}

impl Scenario {
    const NAMES: [(&str, Self); 9] = [
        ("p2p", Self::P2p),
        ("both", Self::Both),
        ("fan-in", Self::FanIn),
        ("fan-out", Self::FanOut),
        ("shared", Self::Shared),
        ("wildcard", Self::Wildcard),
        ("storm", Self::Storm),
        ("offline", Self::Offline),
        ("retained", Self::Retained),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }

    fn parse(name: &str) -> Outcome<Self> {
        let found = Self::NAMES.into_iter().find(|(one, _)| *one == name);
        found.map(|(_, one)| one).ok_or_else(|| format!("no scenario `{name}`: load --help").into())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) scenario: Scenario,
    pub(crate) broker: SocketAddr,
    pub(crate) pid: Option<u32>,
    pub(crate) version: Version,
    pub(crate) qos: u8,
    pub(crate) payload: usize,
    pub(crate) properties: usize,
    pub(crate) window: u64,
    pub(crate) credit: u64,
    pub(crate) rate: u64,
    pub(crate) churn: u64,
    pub(crate) warm: Duration,
    pub(crate) secs: Duration,
    pub(crate) messages: u64,
    pub(crate) idle: Duration,
    pub(crate) pairs: usize,
    pub(crate) topics: usize,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) groups: usize,
    pub(crate) cold: usize,
    pub(crate) connections: usize,
    pub(crate) outstanding: usize,
    pub(crate) hold: Duration,
    pub(crate) sessions: usize,
    pub(crate) names: usize,
    pub(crate) repeat: usize,
}

impl Options {
    /// None if help is asked for.
    pub(crate) fn parse(mut arguments: Parser) -> Outcome<Option<Self>> {
        let mut scenario = None;
        let (mut host, mut port) = (IpAddr::V4(Ipv4Addr::LOCALHOST), 1883);
        let mut options = Self::default();
        while let Some(argument) = arguments.next()? {
            let Arg::Long(name) = argument else {
                let Arg::Value(value) = argument else { return Err(argument.unexpected().into()) };
                scenario = Some(Scenario::parse(&value.string()?)?);
                continue;
            };
            let name = name.to_owned();
            if name == "help" {
                return Ok(None);
            }
            let value = arguments.value()?;
            match name.as_str() {
                "host" => host = value.parse()?,
                "port" => port = value.parse()?,
                "pid" => options.pid = Some(value.parse()?),
                "mqtt" => options.version = version(&value.string()?)?,
                "qos" => options.qos = value.parse()?,
                "payload" => options.payload = value.parse()?,
                "properties" => options.properties = value.parse()?,
                "window" => options.window = value.parse()?,
                "credit" => options.credit = value.parse()?,
                "rate" => options.rate = value.parse()?,
                "churn" => options.churn = value.parse()?,
                "warm" => options.warm = seconds(&value.string()?)?,
                "secs" => options.secs = seconds(&value.string()?)?,
                "messages" => options.messages = value.parse()?,
                "idle" => options.idle = seconds(&value.string()?)?,
                "pairs" => options.pairs = value.parse()?,
                "topics" => options.topics = value.parse()?,
                "publishers" => options.publishers = value.parse()?,
                "subscribers" => options.subscribers = value.parse()?,
                "groups" => options.groups = value.parse()?,
                "cold" => options.cold = value.parse()?,
                "connections" => options.connections = value.parse()?,
                "outstanding" => options.outstanding = value.parse()?,
                "hold" => options.hold = seconds(&value.string()?)?,
                "sessions" => options.sessions = value.parse()?,
                "names" => options.names = value.parse()?,
                "repeat" => options.repeat = value.parse()?,
                _ => return Err(format!("no option --{name}: load --help").into()),
            }
        }
        options.scenario = scenario.ok_or("which scenario? load --help")?;
        options.broker = SocketAddr::new(host, port);
        options.check()?;
        Ok(Some(options))
    }

    fn check(&self) -> Outcome<()> {
        if !self.broker.ip().is_loopback() {
            return Err(
                "--host is to be a loopback address: a load is for brokers of this machine".into(),
            );
        }
        if self.qos > 2 {
            return Err("--qos is 0, 1 or 2".into());
        }
        if self.payload < 16 {
            return Err("--payload is at least 16: number and time of each message".into());
        }
        if !(1..=60_000).contains(&self.window) {
            return Err("--window is 1 to 60000".into());
        }
        if self.properties > 0 && self.version != Version::V5 {
            return Err("--properties needs --mqtt 5.0".into());
        }
        let counts = [self.pairs, self.topics, self.publishers, self.subscribers, self.groups];
        if counts.contains(&0) || [self.sessions, self.names, self.outstanding].contains(&0) {
            return Err("a count is at least 1".into());
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scenario: Scenario::P2p,
            broker: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1883),
            pid: None,
            version: Version::V3_1_1,
            qos: 0,
            payload: 64,
            properties: 0,
            window: 20,
            credit: 0,
            rate: 0,
            churn: 0,
            warm: Duration::from_millis(500),
            secs: Duration::from_secs(2),
            messages: 0,
            idle: Duration::from_secs(3),
            pairs: 100,
            topics: 1,
            publishers: 1,
            subscribers: 1,
            groups: 1,
            cold: 10_000,
            connections: 5_000,
            outstanding: 100,
            hold: Duration::from_secs(5),
            sessions: 100,
            names: 10_000,
            repeat: 3,
        }
    }
}

fn version(name: &str) -> Outcome<Version> {
    match name {
        "3.1.1" => Ok(Version::V3_1_1),
        "5.0" => Ok(Version::V5),
        _ => Err("--mqtt is 3.1.1 or 5.0".into()),
    }
}

fn seconds(text: &str) -> Outcome<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

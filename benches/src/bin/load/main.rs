//! A load for any broker of MQTT 3.1.1 and 5.0 on this machine: one thread that publishes, receives and checks every
//! message, and one line of JSON about it. `load --help` lists what it can do; `benches/README.md` says what to make of
//! the numbers. It shares no code with the broker. Linux only.

#![expect(clippy::print_stdout, reason = "the numbers are what it is for")]

mod churn;
mod client;
mod clock;
mod dialer;
mod flow;
mod handshake;
mod layout;
mod ledger;
mod offline;
mod options;
mod payload;
mod process;
mod publisher;
mod receive;
mod report;
mod retained;
mod run;
mod storm;
mod topics;

use std::error::Error;

use dunlin_benches::wire::Version;

use crate::options::{HELP, Options, Scenario};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let Some(options) = Options::parse(lexopt::Parser::from_env())? else {
        println!("{HELP}");
        return Ok(());
    };
    // As many descriptors as there may be.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut report = match options.scenario {
        Scenario::Storm => storm::run(&options)?,
        Scenario::Offline => offline::run(&options)?,
        Scenario::Retained => retained::run(&options)?,
        Scenario::P2p
        | Scenario::Both
        | Scenario::FanIn
        | Scenario::FanOut
        | Scenario::Shared
        | Scenario::Wildcard => run::run(&options)?,
    };
    report.scenario = options.scenario.name();
    report.mqtt = match options.version {
        Version::V3_1_1 => "3.1.1",
        Version::V5 => "5.0",
    };
    // What is kept is published with QoS 1 at least.
    let kept = matches!(options.scenario, Scenario::Offline | Scenario::Retained);
    report.qos = options.qos.max(u8::from(kept));
    report.payload = options.payload;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

//! What connections and what waits for them cost a broker: `connections target/release/dunlin [idle|storm|burst] [COUNT]`.
//!
//! - **idle**: resident bytes of the broker for each connection that says nothing, over TCP, WebSocket, TLS and both.
//! - **storm**: so many clients connect at once, over TCP and over TLS, and later leave at once, while 100 others exchange
//!   messages: what became of each connect, and the 99th percentile of the exchange before and during the storm. Once
//!   more with an exchange through another broker, which says what the machine itself adds.
//! - **burst**: resident bytes before 100,000 messages of 16 KiB pile up for clients that do not read, while they do, and in
//!   the ten seconds after these have read them.
//! - **compare**, with the paths of several brokers, each as `NAME=PATH` if it is to have a name: idle connections, messages at
//!   QoS 1 for each second of processor time, and the burst, three times in turn; a table of the medians.
//!
//! The broker is started for each measurement, on free ports of this machine, with certificates made for it. The storm
//! comes from a process of low priority: its clients would have processors of their own. Linux only.

#![expect(clippy::print_stdout, reason = "the numbers are what it is for")]

mod broker;
mod burst;
mod clients;
mod compare;
mod exchange;
mod mqtt;
mod rate;

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::clients::{Kind, SERVED};
use crate::exchange::{Exchange, Times};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const IDLE: usize = 5_000;
const STORM: usize = 15_000;
const QUIET: Duration = Duration::from_secs(5);
const LEAVING: Duration = Duration::from_secs(1);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let given: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match given.as_slice() {
        ["clients", kind, port, authority, count] => {
            clients::storm(kind.parse()?, port.parse()?, authority, count.parse()?)
        }
        ["compare", binaries @ ..] if !binaries.is_empty() => compare::compare(binaries),
        [binary, "burst"] => burst(binary, burst::MESSAGES),
        [binary, "burst", count] => burst(binary, count.parse()?),
        [binary] => idle(binary, IDLE).and_then(|()| storm(binary, STORM)),
        [binary, "idle"] => idle(binary, IDLE),
        [binary, "idle", count] => idle(binary, count.parse()?),
        [binary, "storm"] => storm(binary, STORM),
        [binary, "storm", count] => storm(binary, count.parse()?),
        _ => Err(
            "connections BINARY [idle|storm|burst] [COUNT] or connections compare [NAME=]BINARY..."
                .into(),
        ),
    }
}

fn idle(binary: &str, count: usize) -> Outcome<()> {
    for kind in Kind::ALL {
        let each = resident_each(binary, kind, count)?;
        println!("idle {kind:<4} {count} connections, {each} resident bytes each");
    }
    Ok(())
}

fn resident_each(binary: &str, kind: Kind, count: usize) -> Outcome<u64> {
    let broker = Broker::start(binary)?;
    let clients = clients::Clients::new(kind, broker.port(kind), broker.authority())?;
    // What the first ones make for all is not theirs.
    clients.open(100)?;
    let before = broker.resident_bytes()?;
    clients.open(count)?;
    thread::sleep(Duration::from_secs(3));
    Ok(broker.resident_bytes()?.saturating_sub(before) / u64::try_from(count)?)
}

fn burst(binary: &str, count: usize) -> Outcome<()> {
    println!("burst of {count} messages: {}", burst::measure(binary, count)?);
    Ok(())
}

fn storm(binary: &str, count: usize) -> Outcome<()> {
    for (kind, beside) in
        [Kind::Tcp, Kind::Tls].into_iter().flat_map(|kind| [(kind, false), (kind, true)])
    {
        let broker = Broker::start(binary)?;
        let other = Broker::start(binary)?;
        let through = if beside { &other } else { &broker };
        let exchange = Exchange::start(through.port(Kind::Tcp))?;
        exchange.during(QUIET)?;
        let quiet = exchange.during(QUIET)?;
        let (cpu, began) = (broker.cpu_seconds()?, Instant::now());
        let mut clients = Command::new("nice")
            .args(["-n", "19"])
            .arg(env::current_exe()?)
            .args(["clients", &kind.to_string(), &broker.port(kind).to_string()])
            .arg(broker.authority())
            .arg(count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(clients.stdout.take().ok_or("no output")?);
        let reader = thread::spawn(move || {
            output.lines().map_while(Result::ok).take_while(|line| line != SERVED).collect()
        });
        let loud = exchange.until(|| Ok(reader.is_finished()))?;
        let (took, cpu) = (began.elapsed(), broker.cpu_seconds()? - cpu);
        exchange.during(QUIET)?;
        drop(clients.stdin.take());
        let leaving = exchange.during(LEAVING)?;
        clients.wait()?;
        println!(
            "storm {kind}{}: {count} connects in {:.1} s, {:.0} us of the broker's processor time each",
            if beside { ", exchange through another broker" } else { "" },
            took.as_secs_f64(),
            cpu * 1e6 / f64::from(u32::try_from(count)?),
        );
        let lines: Vec<String> = reader.join().map_err(|_| "no output")?;
        lines.iter().for_each(|line| println!("{line}"));
        let ratio = |times: &Times| times.p99().as_secs_f64() / quiet.p99().as_secs_f64();
        println!("  exchange before: {quiet}");
        println!("  while all come:  {loud}, p99 {:.2} times", ratio(&loud));
        println!("  while all leave: {leaving}, p99 {:.2} times", ratio(&leaving));
        for (reason, clients) in broker.refusals()? {
            println!("  refused by the broker: {reason} {clients}");
        }
    }
    Ok(())
}

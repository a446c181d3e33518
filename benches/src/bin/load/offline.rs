//! Messages for sessions that are away, and what it is like when all come back at once.

use std::io::Write;
use std::time::Duration;

use dunlin_benches::wire::DISCONNECT;

use crate::Outcome;
use crate::client::Client;
use crate::handshake;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::process::{Memory, Processors};
use crate::report::{Report, float, micros};
use crate::run::{UNTIL_DONE, build, count, finish, shape, share_out};
use crate::topics::Topics;

pub(crate) fn run(options: &Options) -> Outcome<Report> {
    let options = &Options { qos: options.qos.max(1), ..options.clone() };
    let before = Memory::of(options.pid)?;
    let mut topics = Topics::default();
    for number in 0..options.sessions {
        let topic = format!("offline/{number:05}");
        let mut opened =
            handshake::open(options, &client_id(number), true, std::slice::from_ref(&topic))?;
        opened.stream.write_all(&DISCONNECT)?;
        topics.push(&topic);
    }
    // So that all are away.
    std::thread::sleep(Duration::from_millis(200));
    let mut flow = build(options, shape(options), topics)?;
    share_out(&mut flow, options, options.messages.max(1))?;
    let mut report = Report::default();
    let (began, processors) = (flow.clock.now(), Processors::now(options.pid)?);
    flow.publish();
    finish(&mut flow, options.idle, UNTIL_DONE)?;
    let secs = micros(flow.tally.last_read.saturating_sub(began).max(1)) / 1e6;
    let used = Processors::now(options.pid)?.since(processors);
    let sent: u64 = flow
        .clients
        .iter()
        .filter_map(|client| client.publisher.as_ref())
        .map(|p| p.acknowledged)
        .sum();
    report.add("enqueue_per_s", float(sent) / secs);
    report.add("enqueue_per_cpu_second", float(sent) / used.broker.max(0.01));
    let queued = Memory::of(options.pid)?;
    report.add("rss_queued", float(queued.now));

    let (began, processors) = (flow.clock.now(), Processors::now(options.pid)?);
    let mut present = 0;
    for (number, stream) in (0..options.sessions).zip(flow.topics.all()) {
        let opened = handshake::open(options, &client_id(number), true, &[])?;
        present += u64::from(opened.connack.session_present);
        let mut client = Client::new(opened.stream);
        client.ledger = Ledger::new([stream]);
        flow.add(client)?;
    }
    finish(&mut flow, options.idle, UNTIL_DONE)?;
    let secs = micros(flow.tally.last_delivery.saturating_sub(began).max(1)) / 1e6;
    let used = Processors::now(options.pid)?.since(processors);
    let used_in = micros(flow.clock.now() - began) / 1e6;
    report.window(secs, used, used_in, float(flow.tally.deliveries));
    report.add("drain_per_s", report.rate);
    report.add("sessions_present", float(present));
    count(&flow, options, &mut report);
    let after = Memory::of(options.pid)?;
    report.rss_before = before.now;
    report.rss_peak = after.peak;
    report.rss_end = after.now;
    Ok(report)
}

fn client_id(number: usize) -> String {
    format!("session-{number:05}")
}

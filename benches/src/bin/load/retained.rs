//! Many retained messages: how fast they are stored, what each takes, and how fast a new subscriber has all or some.

use dunlin_benches::wire::subscribe;

use crate::Outcome;
use crate::client::Client;
use crate::flow::Flow;
use crate::handshake;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::process::{Memory, Processors};
use crate::receive::Expected;
use crate::report::{Report, float, micros};
use crate::run::{UNTIL_DONE, build, count, finish, shape, share_out};
use crate::topics::{Topics, matches};

pub(crate) fn run(options: &Options) -> Outcome<Report> {
    let options = &Options { qos: options.qos.max(1), ..options.clone() };
    let before = Memory::of(options.pid)?;
    let mut topics = Topics::default();
    for number in 0..options.names {
        let branch = if number % 2 == 0 { 'x' } else { 'y' };
        topics.push(&format!("{number:08}/{branch}/value"));
    }
    let mut flow = build(options, shape(options), topics)?;
    let mut report = Report::default();
    store(&mut flow, options, &mut report)?;
    let stored = Memory::of(options.pid)?;
    let names = float(u64::try_from(options.names)?);
    let payload = float(u64::try_from(options.payload)?);
    report.add("resident_bytes_a_name", (float(stored.now) - float(before.now)) / names - payload);

    // A retained message goes out with QoS 0, the QoS of these subscriptions, and says that it was retained.
    flow.expected = Expected::new(shape(options), 0);
    flow.expected.retain = true;
    let (began, processors) = (flow.clock.now(), Processors::now(options.pid)?);
    let (mut secs, mut deliveries) = (0.0, 0);
    for (filter, figure) in [("#", "replay_all_per_s"), ("+/x/#", "replay_some_per_s")] {
        let mut rates = Vec::new();
        for number in 0..options.repeat {
            let replayed = replay(&mut flow, options, filter, number)?;
            rates.push(float(replayed.messages) / replayed.secs);
            secs += replayed.secs;
            deliveries += replayed.messages;
        }
        rates.sort_by(f64::total_cmp);
        report.add(figure, rates.get(rates.len() / 2).copied().unwrap_or_default());
    }
    let used = Processors::now(options.pid)?.since(processors);
    let used_in = micros(flow.clock.now() - began) / 1e6;
    report.window(secs.max(1e-6), used, used_in, float(deliveries));
    count(&flow, options, &mut report);
    // Those of the replays have left.
    report.closed = 0;
    let after = Memory::of(options.pid)?;
    report.rss_before = before.now;
    report.rss_peak = after.peak;
    report.rss_end = after.now;
    Ok(report)
}

fn store(flow: &mut Flow, options: &Options, report: &mut Report) -> Outcome<()> {
    share_out(flow, options, 1)?;
    let (began, processors) = (flow.clock.now(), Processors::now(options.pid)?);
    flow.publish();
    finish(flow, options.idle, UNTIL_DONE)?;
    let secs = micros(flow.tally.last_read.saturating_sub(began).max(1)) / 1e6;
    let used = Processors::now(options.pid)?.since(processors);
    let names = float(u64::try_from(options.names)?);
    report.add("store_per_s", names / secs);
    report.add("store_per_cpu_second", names / used.broker.max(0.01));
    Ok(())
}

struct Replayed {
    messages: u64,
    secs: f64,
}

/// One new subscriber, until it has all that its filter matches.
fn replay(flow: &mut Flow, options: &Options, filter: &str, number: usize) -> Outcome<Replayed> {
    let topics = &flow.topics;
    let streams: Vec<u32> = topics
        .all()
        .filter(|stream| topics.get(*stream).is_some_and(|topic| matches(filter, topic)))
        .collect();
    let id = format!("subscriber-{}-{number}", streams.len());
    let opened = handshake::open(options, &id, false, &[])?;
    let mut client = Client::new(opened.stream);
    client.ledger = Ledger::new(streams);
    client.out = subscribe(options.version, 1, &[filter.to_owned()], 0);
    let began = flow.clock.now();
    let before = flow.tally.deliveries;
    let index = flow.add(client)?;
    finish(flow, options.idle, UNTIL_DONE)?;
    if let Some(client) = flow.clients.get_mut(index) {
        client.leave();
    }
    let last = flow.tally.last_delivery;
    Ok(Replayed {
        messages: flow.tally.deliveries - before,
        secs: micros(last.saturating_sub(began).max(1)) / 1e6,
    })
}

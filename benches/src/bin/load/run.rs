//! Messages from clients to clients: warm up, measure, stop, wait for what is under way, and count.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Outcome;
use crate::churn::Churn;
use crate::client::Client;
use crate::flow::Flow;
use crate::handshake;
use crate::layout::{Layout, Role};
use crate::ledger::{Group, Ledger};
use crate::options::{Options, Scenario};
use crate::process::{Memory, Processors};
use crate::publisher::{Publisher, Shape};
use crate::receive::Expected;
use crate::report::{Report, float, micros};

/// What comes twice comes after all has come once.
const SETTLE: u64 = 50_000_000;

/// For runs of so many messages, which whoever starts them ends.
pub(crate) const UNTIL_DONE: Duration = Duration::from_secs(3_600);

/// What has not come so long after the last message was sent is lost.
const DRAIN: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &Options) -> Outcome<Report> {
    let before = Memory::of(options.pid)?;
    let layout = Layout::of(options);
    let copies = layout.copies();
    let mut flow = build(options, shape(options), layout.topics)?;
    flow.groups = (0..layout.groups).map(|_| Group::new(flow.topics.count())).collect();
    flow.credit = if options.qos == 0 { options.credit } else { 0 };
    flow.copies_max = copies.iter().copied().max().unwrap_or(1).max(1);
    for role in &layout.roles {
        join(&mut flow, options, role, &copies)?;
    }
    if options.churn > 0 {
        let now = flow.clock.now();
        flow.churn = Some(Churn::open(options, flow.registry(), now)?);
    }
    let mut report = Report::default();
    if options.rate > 0 {
        flow.pace(options.rate)?;
    }
    flow.publish();
    if options.messages > 0 {
        counted(&mut flow, options, &mut report)?;
    } else {
        timed(&mut flow, options, &mut report)?;
    }
    count(&flow, options, &mut report);
    let after = Memory::of(options.pid)?;
    report.rss_before = before.now;
    report.rss_peak = after.peak;
    report.rss_end = after.now;
    Ok(report)
}

pub(crate) fn shape(options: &Options) -> Shape {
    Shape {
        version: options.version,
        qos: options.qos,
        retain: options.scenario == Scenario::Retained,
        payload: options.payload,
        properties: options.properties,
    }
}

/// A flow without clients.
pub(crate) fn build(
    options: &Options,
    shape: Shape,
    topics: crate::topics::Topics,
) -> Outcome<Flow> {
    let properties = shape.properties().len();
    let frame_max = options.payload + properties + 1024;
    Flow::new(topics, Expected::new(shape, options.qos), frame_max)
}

fn join(flow: &mut Flow, options: &Options, role: &Role, copies: &[u64]) -> Outcome<()> {
    let opened = handshake::open(options, &role.id, false, &role.filters)?;
    let mut client = Client::new(opened.stream);
    client.ledger = Ledger::new(role.receives.iter().copied());
    client.group = role.group;
    if !role.publishes.is_empty() {
        let streams = role.publishes.clone();
        let mut publisher = Publisher::new(&flow.topics, streams, shape(options), copies);
        bound(&mut publisher, options, opened.connack.receive_maximum);
        if options.messages > 0 {
            publisher.limit = options.messages;
        }
        client.publisher = Some(publisher);
    }
    flow.add(client)?;
    Ok(())
}

/// What the publisher may have under way.
fn bound(publisher: &mut Publisher, options: &Options, receive_maximum: u16) {
    if options.qos > 0 {
        publisher.window = options.window.min(receive_maximum.into());
    }
}

/// Gives each publisher an equal part of all topics, and so many messages for each of them.
pub(crate) fn share_out(flow: &mut Flow, options: &Options, messages: u64) -> Outcome<()> {
    let all = flow.topics.all();
    let each = all.len().div_ceil(options.publishers);
    for number in 0..options.publishers {
        let end = all.end.min(u32::try_from((number + 1) * each)?);
        let streams = u32::try_from(number * each)?.min(end)..end;
        if streams.is_empty() {
            continue;
        }
        let opened = handshake::open(options, &format!("publisher-{number:05}"), false, &[])?;
        let mut publisher = Publisher::new(&flow.topics, streams.clone(), shape(options), &[]);
        bound(&mut publisher, options, opened.connack.receive_maximum);
        publisher.limit = messages * u64::try_from(streams.len())?;
        let mut client = Client::new(opened.stream);
        client.publisher = Some(publisher);
        flow.add(client)?;
    }
    Ok(())
}

/// A window of time after another.
fn timed(flow: &mut Flow, options: &Options, report: &mut Report) -> Outcome<()> {
    turn_for(flow, options.warm)?;
    flow.late_max = 0;
    flow.tally.latencies = Some(histogram()?);
    let churned = |flow: &Flow| {
        flow.churn.as_ref().map_or((0, 0), |churn| (churn.connects(), churn.answered))
    };
    let (deliveries, churn) = (flow.tally.deliveries, churned(flow));
    let (began, processors) = (flow.clock.now(), Processors::now(options.pid)?);
    turn_for(flow, options.secs)?;
    let used = Processors::now(options.pid)?.since(processors);
    let secs = micros(flow.clock.now() - began) / 1e6;
    report.window(secs, used, secs, float(flow.tally.deliveries - deliveries));
    if let Some(latencies) = flow.tally.latencies.take() {
        report.latencies(&latencies);
    }
    if options.rate > 0 {
        report.late_max_us = Some(micros(flow.late_max));
    }
    if options.churn > 0 {
        let (connects, answered) = churned(flow);
        report.add("churn_connects_per_s", float(connects - churn.0) / secs);
        report.add("churn_subscribes_per_s", float(answered - churn.1) / 2.0 / secs);
    }
    flow.publishing = false;
    finish(flow, options.idle, DRAIN)
}

/// So many messages, however long it takes.
fn counted(flow: &mut Flow, options: &Options, report: &mut Report) -> Outcome<()> {
    flow.tally.latencies = Some(histogram()?);
    let (began, processors) = (flow.clock.now(), Processors::now(options.pid)?);
    finish(flow, options.idle, UNTIL_DONE)?;
    let used = Processors::now(options.pid)?.since(processors);
    let secs = micros(flow.tally.last_delivery.saturating_sub(began).max(1)) / 1e6;
    let used_in = micros(flow.clock.now() - began) / 1e6;
    report.window(secs, used, used_in, float(flow.tally.deliveries));
    if let Some(latencies) = flow.tally.latencies.take() {
        report.latencies(&latencies);
    }
    Ok(())
}

/// From a microsecond to a minute, to one in a hundred.
pub(crate) fn histogram() -> Outcome<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1_000, 60_000_000_000, 2)?)
}

fn turn_for(flow: &mut Flow, time: Duration) -> Outcome<()> {
    let end = flow.clock.now() + u64::try_from(time.as_nanos())?;
    while flow.clock.now() < end {
        flow.turn()?;
    }
    Ok(())
}

/// Goes on until everything that was sent has come and is acknowledged, or nothing comes any more, or this time is over.
pub(crate) fn finish(flow: &mut Flow, idle: Duration, most: Duration) -> Outcome<()> {
    let (idle, most) = (u64::try_from(idle.as_nanos())?, u64::try_from(most.as_nanos())?);
    let began = flow.clock.now();
    let mut settled = None;
    loop {
        flow.turn()?;
        let now = flow.clock.now();
        if now.saturating_sub(flow.tally.last_read.max(began)) > idle || now - began > most {
            return Ok(());
        }
        if is_complete(flow) {
            if now - *settled.get_or_insert(now) > SETTLE {
                return Ok(());
            }
        } else {
            settled = None;
        }
    }
}

fn is_complete(flow: &Flow) -> bool {
    let publishers = || flow.clients.iter().filter_map(|client| client.publisher.as_ref());
    let done = publishers().all(|publisher| {
        let all = !flow.publishing || publisher.sent == publisher.limit;
        let acknowledged = publisher.window == u64::MAX || publisher.acknowledged == publisher.sent;
        all && acknowledged && publisher.unwritten().is_empty()
    });
    done && flow.tally.deliveries >= expected(flow).saturating_sub(1)
        && received(flow) >= expected(flow)
}

/// The deliveries that what was sent is to lead to.
fn expected(flow: &Flow) -> u64 {
    let mut sent = vec![0; flow.topics.count()];
    for publisher in flow.clients.iter().filter_map(|client| client.publisher.as_ref()) {
        for (stream, count) in publisher.sent_by_stream() {
            if let Some(slot) = usize::try_from(stream).ok().and_then(|index| sent.get_mut(index)) {
                *slot += count;
            }
        }
    }
    let of = |stream: u32| usize::try_from(stream).ok().and_then(|index| sent.get(index));
    let alone = flow.clients.iter().flat_map(|client| client.ledger.wanted()).filter_map(of);
    let groups = sent.iter().sum::<u64>() * u64::try_from(flow.groups.len()).unwrap_or_default();
    alone.sum::<u64>() + groups
}

/// Those that came, each once.
pub(crate) fn received(flow: &Flow) -> u64 {
    let alone: u64 = flow.clients.iter().map(|client| client.ledger.received).sum();
    alone + flow.groups.iter().map(|group| group.received).sum::<u64>()
}

/// Everything that was counted.
pub(crate) fn count(flow: &Flow, options: &Options, report: &mut Report) {
    let ledgers = || flow.clients.iter().map(|client| &client.ledger);
    let publishers = || flow.clients.iter().filter_map(|client| client.publisher.as_ref());
    report.clients = flow.clients.len();
    report.sent = publishers().map(|publisher| publisher.sent).sum();
    report.expected = expected(flow);
    report.received = received(flow);
    report.lost = report.expected.saturating_sub(report.received);
    report.duplicates = ledgers().map(|ledger| ledger.duplicates).sum();
    report.duplicates += flow.groups.iter().map(|group| group.duplicates).sum::<u64>();
    report.gaps = ledgers().map(|ledger| ledger.gaps).sum();
    report.misrouted = ledgers().map(|ledger| ledger.misrouted).sum();
    report.misrouted += flow.groups.iter().map(|group| group.misrouted).sum::<u64>();
    report.bad_frames = flow.tally.bad;
    report.disordered = publishers().map(|publisher| publisher.disordered).sum();
    if options.qos > 0 {
        report.unacknowledged =
            publishers().map(|publisher| publisher.sent - publisher.acknowledged).sum();
    }
    report.refused = flow.tally.refused + flow.churn.as_ref().map_or(0, Churn::failed);
    report.closed = flow.clients.iter().filter(|client| client.closed).count();
    report.stalls = flow.stalls;
}

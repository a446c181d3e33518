//! A broker in this process, with so many workers as the column says, and clients of its own kind on another thread: what
//! its workers take for a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use dunlin_broker::{Broker, MemoryStore, Message, Qos, SubscribeOptions};
use tokio::runtime::{Builder, Runtime};

use crate::clients::{self, Load};
use crate::measure::{Cost, Used};
use crate::{Options, Outcome};

/// What the threads of the broker's runtime are called.
const WORKER: &str = "broker-worker";
/// For everything to be connected and warm.
const WARM_UP: Duration = Duration::from_millis(500);
/// Tasks that publish in the process.
const PUBLISHERS: usize = 16;

pub(crate) fn measure(options: &Options) -> Outcome<()> {
    options.head("Workers of a broker: CPU ns by message (waits by 1,000)");
    for load in Load::ALL {
        options.row(load.name(), |workers| over_sockets(workers, load, options.lasts))?;
    }
    let publish = |name, topics, retain, qos| {
        options.row(name, |workers| {
            in_process(workers, Publishing { topics, retain, qos }, options.lasts)
        })
    };
    // Each of these walks the index, for want of a connection that keeps the route.
    publish("in process, QoS 0, 16 topics", PUBLISHERS, false, Qos::AtMostOnce)?;
    publish("in process, QoS 0, one topic", 1, false, Qos::AtMostOnce)?;
    publish("in process, retained, 16 topics", PUBLISHERS, true, Qos::AtMostOnce)?;
    publish("in process, retained, one topic", 1, true, Qos::AtMostOnce)
}

fn runtime(workers: usize) -> Outcome<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).event_interval(16).thread_name(WORKER).enable_all();
    Ok(builder.build()?)
}

async fn start() -> Outcome<Broker> {
    let builder = Broker::builder().listen("127.0.0.1:0".parse()?).allow_anonymous(true);
    Ok(builder.store(Box::new(MemoryStore::new())).start().await?)
}

fn over_sockets(workers: usize, load: Load, lasts: Duration) -> Outcome<Cost> {
    let runtime = runtime(workers)?;
    let broker = runtime.block_on(start())?;
    let address = *broker.local_addrs().first().ok_or("no listener")?;
    let messages = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (counted, stopped) = (Arc::clone(&messages), Arc::clone(&stop));
    let clients = thread::Builder::new()
        .name("load".into())
        .spawn(move || clients::run(address, load, counted, stopped))?;
    let cost = window(&messages, lasts);
    stop.store(true, Ordering::Relaxed);
    clients.join().map_err(|_| "the load panicked")??;
    runtime.block_on(broker.shutdown())?;
    cost
}

/// What is published by tasks on the broker's own workers.
#[derive(Clone, Copy)]
struct Publishing {
    topics: usize,
    retain: bool,
    qos: Qos,
}

fn in_process(workers: usize, what: Publishing, lasts: Duration) -> Outcome<Cost> {
    let runtime = runtime(workers)?;
    let broker = Arc::new(runtime.block_on(start())?);
    let messages = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for topic in 0..what.topics {
        let topic = format!("site/{topic}/state");
        let mut subscription =
            runtime.block_on(broker.subscribe(&topic, SubscribeOptions::default()))?;
        runtime.spawn(async move { while subscription.recv().await.is_some() {} });
    }
    for publisher in 0..PUBLISHERS {
        let topic = format!("site/{}/state", publisher % what.topics);
        let message = Message {
            topic: topic.as_str().try_into()?,
            payload: vec![b'x'; 64].into(),
            qos: what.qos,
            retain: what.retain,
            properties: None,
        };
        let (broker, counted) = (Arc::clone(&broker), Arc::clone(&messages));
        let stopped = Arc::clone(&stop);
        tasks.push(runtime.spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                for _ in 0..32 {
                    // Where there is no room the message is dropped, as it is for a client.
                    let _ = broker.publish(message.clone()).await;
                }
                counted.fetch_add(32, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }));
    }
    let cost = window(&messages, lasts);
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        runtime.block_on(task)?;
    }
    if let Ok(broker) = Arc::try_unwrap(broker) {
        runtime.block_on(broker.shutdown())?;
    }
    cost
}

fn window(messages: &AtomicU64, lasts: Duration) -> Outcome<Cost> {
    thread::sleep(WARM_UP);
    let (before, counted) = (Used::by_name(WORKER)?, messages.load(Ordering::Relaxed));
    thread::sleep(lasts);
    let used = Used::by_name(WORKER)?.since(before);
    let operations = messages.load(Ordering::Relaxed) - counted;
    if operations == 0 {
        return Err("nothing was delivered".into());
    }
    Ok(Cost { operations, used })
}

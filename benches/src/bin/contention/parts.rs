//! The things that connections share, one by one: the index and the committer as they are, the rest as the broker builds
//! it from the same locks and counters.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;

use arc_swap::ArcSwap;
use crossbeam_utils::sync::ShardedLock;
use dunlin_store::{
    Batch, Committer, CommitterOptions, MemoryStore, MessageId, Room, StoreError, Submission,
    SubmitError,
};
use dunlin_topics::{FilterIndex, TopicFilter};
use parking_lot::{Mutex, RwLock};

use crate::measure::{Meanwhile, threads};
use crate::{Options, Outcome};

/// Filters in the index, half of them with a wildcard.
const FILTERS: u32 = 10_000;
/// Bytes that one batch adds to a mailbox.
const BATCH_BYTES: usize = 1024;
/// Bytes at which a mailbox is emptied.
const MAILBOX_BYTES: usize = 64 * 1024;
/// Counters that one turn of a connection adds to.
const COUNTERS: usize = 8;

/// A value with cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

pub(crate) fn measure(options: &Options) -> Outcome<()> {
    options.head("Threads that use one thing: CPU ns by operation (waits by 1,000)");
    index(options)?;
    generations(options)?;
    mailboxes(options)?;
    handles(options)?;
    counters(options)?;
    budget(options)?;
    configuration(options)?;
    committer(options)
}

fn filter(number: u32) -> Option<TopicFilter> {
    let text = match number % 2 {
        0 => format!("site/{}/line/{number}/state", number % 20),
        _ => format!("site/{}/+/{number}/#", number % 20),
    };
    TopicFilter::copy_from(&text).ok()
}

/// Names that a thread publishes to, one after the other.
fn names(thread: usize) -> impl FnMut() -> String {
    let mut number = u32::try_from(thread).unwrap_or(0) * 1000;
    move || {
        number = (number + 2) % FILTERS;
        format!("site/{}/line/{number}/state", number % 20)
    }
}

/// A walk for receivers, under the lock that changes of subscriptions take.
fn index(options: &Options) -> Outcome<()> {
    let filled = || {
        let mut index = FilterIndex::new();
        for number in 0..FILTERS {
            index.insert(&filter(number).ok_or("it is a filter")?, number, ());
        }
        Ok::<_, &str>(index)
    };
    let one = Arc::new(RwLock::new(filled()?));
    options.row("index: a walk under one read lock (as it was)", |count| {
        let one = Arc::clone(&one);
        threads(count, options.lasts, move |thread| {
            let one = Arc::clone(&one);
            let mut names = names(thread);
            move || {
                let name = names();
                one.read().matches(name.as_bytes(), |subscriber, ()| _ = black_box(subscriber));
            }
        })
    })?;
    let index = Arc::new(ShardedLock::new(filled()?));
    let walk = |count| {
        let index = Arc::clone(&index);
        threads(count, options.lasts, move |thread| {
            let index = Arc::clone(&index);
            let mut names = names(thread);
            move || {
                let (name, index) = (names(), index.read().expect("nobody panics"));
                index.matches(name.as_bytes(), |subscriber, ()| _ = black_box(subscriber));
            }
        })
    };
    options.row("index: a walk under the read lock", walk)?;
    let changed = Arc::clone(&index);
    let mut number = FILTERS;
    let changes = move || {
        number += 1;
        if let Some(filter) = filter(number) {
            changed.write().expect("nobody panics").insert(&filter, number, ());
            changed.write().expect("nobody panics").remove(&filter, &number);
        }
    };
    options.row("index: the same, with 2,000 changes a second", |count| {
        let _changes = Meanwhile::start(changes.clone());
        walk(count)
    })
}

/// Whether a route kept from an earlier batch still holds.
fn generations(options: &Options) -> Outcome<()> {
    let generation = Arc::new(AtomicU64::new(0));
    let check = |count| {
        let generation = Arc::clone(&generation);
        threads(count, options.lasts, move |_| {
            let generation = Arc::clone(&generation);
            let mut seen = 0;
            move || {
                let now = generation.load(Ordering::Acquire);
                if now != seen {
                    seen = now;
                }
                black_box(seen);
            }
        })
    };
    options.row("route kept: its generation", check)?;
    options.row("route kept: the same, with 1,000 changes a second", |count| {
        let generation = Arc::clone(&generation);
        let _changes = Meanwhile::start(move || {
            generation.fetch_add(1, Ordering::Release);
        });
        check(count)
    })
}

fn mailboxes(options: &Options) -> Outcome<()> {
    let post = |count, own: bool| {
        let places = if own { count } else { 1 };
        let mailboxes: Arc<[_]> =
            (0..places).map(|_| Apart(Mutex::new(Vec::<u8>::new()))).collect();
        threads(count, options.lasts, move |thread| {
            let mailboxes = Arc::clone(&mailboxes);
            let batch = [b'x'; BATCH_BYTES];
            move || {
                let Some(Apart(mailbox)) = mailboxes.get(thread % places) else { return };
                let mut content = mailbox.lock();
                if content.len() >= MAILBOX_BYTES {
                    content.clear();
                }
                content.extend_from_slice(black_box(&batch));
            }
        })
    };
    options.row("mailbox: 1 KiB to one's own", |count| post(count, true))?;
    options.row("mailbox: 1 KiB, all to the same", |count| post(count, false))
}

/// A handle on what is shared, taken for a turn.
fn handles(options: &Options) -> Outcome<()> {
    let clone = |count, own: bool| {
        let places = if own { count } else { 1 };
        let shared: Arc<[_]> = (0..places).map(|_| Arc::new(Apart(0_u64))).collect();
        threads(count, options.lasts, move |thread| {
            let shared = Arc::clone(&shared);
            move || {
                let Some(value) = shared.get(thread % places) else { return };
                black_box(Arc::clone(value));
            }
        })
    };
    options.row("handle: taken and dropped, one's own", |count| clone(count, true))?;
    options.row("handle: taken and dropped, all the same", |count| clone(count, false))
}

/// What a turn adds to counters: eight that stand side by side.
fn counters(options: &Options) -> Outcome<()> {
    let count_up = |count, own: bool| {
        let places = if own { count } else { 1 };
        let counters: Arc<[_]> =
            (0..places).map(|_| Apart([const { AtomicU64::new(0) }; COUNTERS])).collect();
        threads(count, options.lasts, move |thread| {
            let counters = Arc::clone(&counters);
            move || {
                let Some(Apart(counters)) = counters.get(thread % places) else { return };
                for counter in counters {
                    counter.fetch_add(black_box(1), Ordering::Relaxed);
                }
            }
        })
    };
    options.row("counters: 8 of one's own", |count| count_up(count, true))?;
    options.row("counters: 8, all the same", |count| count_up(count, false))
}

/// A batch that enters queues and leaves them.
fn budget(options: &Options) -> Outcome<()> {
    let used = Arc::new(Apart(AtomicI64::new(0)));
    options.row("budget: charged and given back", |count| {
        let used = Arc::clone(&used);
        threads(count, options.lasts, move |_| {
            let used = Arc::clone(&used);
            move || {
                used.0.fetch_add(black_box(100), Ordering::Relaxed);
                used.0.fetch_sub(black_box(100), Ordering::Relaxed);
            }
        })
    })
}

fn configuration(options: &Options) -> Outcome<()> {
    let config = Arc::new(ArcSwap::from_pointee([0_u64; 64]));
    let look = |count| {
        let config = Arc::clone(&config);
        threads(count, options.lasts, move |_| {
            let config = Arc::clone(&config);
            move || _ = black_box(config.load().first())
        })
    };
    options.row("configuration: looked at", look)?;
    options.row("configuration: the same, with 1,000 reloads a second", |count| {
        let config = Arc::clone(&config);
        let _reloads = Meanwhile::start(move || config.store(Arc::new([1; 64])));
        look(count)
    })
}

/// A change that asks for nothing.
struct Nothing;

impl Submission for Nothing {
    fn size(&self) -> usize {
        64
    }

    fn prepare(&mut self, _: &mut Batch, _: Room) {}

    fn take_back(&mut self) {}

    fn finish(self, _: Result<(), &StoreError>) {}
}

/// A submission to the committer, of a store that has nothing to do.
fn committer(options: &Options) -> Outcome<()> {
    options.row("committer: a submission", |count| {
        let store = Box::new(MemoryStore::new());
        let committer =
            Committer::start(store, MessageId::FIRST, CommitterOptions::default(), |_| {})?;
        let committer = Arc::new(committer);
        let shared = Arc::clone(&committer);
        let cost = threads(count, options.lasts, move |_| {
            let committer = Arc::clone(&shared);
            move || {
                while let Err(SubmitError::Full(_)) = committer.submit(Nothing) {
                    thread::yield_now();
                }
            }
        });
        committer.shutdown()?;
        cost
    })
}

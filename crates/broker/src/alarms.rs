//! When idle connections look at the time again: one clock for all of them.
//!
//! A timer of the runtime takes 112 bytes, and nearly all connections wait for nothing but their Keep Alive, a minute or
//! more away. So what is due later than [`FAR`] is waited for here, by the second and a little early, in 16 bytes; what
//! is left then is waited for exactly.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core::Core;

/// What is due later than this is waited for here.
pub(crate) const FAR: Duration = Duration::from_secs(5);
/// An alarm is set no further ahead: who waits for longer sets it again. So a connection that went leaves its place in a list
/// behind for no longer than this.
const AHEAD_MAX: Duration = Duration::from_secs(300);
/// Parts with a lock of their own, so that many CONNECTs at once do not queue up.
const SHARDS: usize = 16;
/// From one look whether the broker is still there to the next.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The alarms of all connections of one broker.
#[derive(Debug)]
pub(crate) struct Alarms {
    began: Instant,
    shards: [Mutex<Shard>; SHARDS],
    /// The second at which the clock is looked at next; the highest number while that is found out.
    next: AtomicU32,
    changed: Notify,
}

/// By the second at which they ring.
type Shard = BTreeMap<NonZeroU32, Ringing>;

#[derive(Debug, Default)]
struct Ringing {
    /// A place is empty when its alarm was taken back.
    wakers: Vec<Option<Waker>>,
    set: u32,
}

/// Names an alarm that was set, and may have rung since.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Alarm {
    second: NonZeroU32,
    place: u32,
}

impl Alarms {
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            shards: std::array::from_fn(|_| Mutex::default()),
            next: AtomicU32::new(u32::MAX),
            changed: Notify::new(),
        }
    }

    /// Full seconds from the beginning to `at`, from 1 on.
    fn second(&self, at: Instant) -> NonZeroU32 {
        let secs = at.saturating_duration_since(self.began).as_secs();
        let secs = u32::try_from(secs).unwrap_or(u32::MAX - 1);
        NonZeroU32::MIN.saturating_add(secs)
    }

    fn shard(&self, key: u64) -> &Mutex<Shard> {
        let [first, ..] = &self.shards;
        let index = usize::try_from(key % SHARDS as u64).unwrap_or(0);
        self.shards.get(index).unwrap_or(first)
    }

    /// Has the caller woken before `at`, which is later than [`FAR`] from now. An alarm that rings earlier stays as it is:
    /// being woken in vain costs less than setting it at each packet. A caller always uses the same `key`.
    pub(crate) fn set(
        &self,
        alarm: &mut Option<Alarm>,
        key: u64,
        at: Instant,
        now: Instant,
        waker: &Waker,
    ) {
        // One second early, because the beginning of the second is what counts.
        let second = self.second(at.min(now + AHEAD_MAX) - Duration::from_secs(1));
        if alarm.is_some_and(|set| set.second <= second && set.second > self.second(now)) {
            return;
        }
        self.cancel(alarm, key);
        let mut shard = self.shard(key).lock();
        let ringing = shard.entry(second).or_default();
        let Ok(place) = u32::try_from(ringing.wakers.len()) else { return };
        ringing.wakers.push(Some(waker.clone()));
        ringing.set += 1;
        drop(shard);
        *alarm = Some(Alarm { second, place });
        // See `run`.
        if second.get() < self.next.load(Ordering::SeqCst) {
            self.changed.notify_one();
        }
    }

    /// Takes an alarm back, if it has not rung.
    pub(crate) fn cancel(&self, alarm: &mut Option<Alarm>, key: u64) {
        let Some(Alarm { second, place }) = alarm.take() else { return };
        let mut shard = self.shard(key).lock();
        let Some(ringing) = shard.get_mut(&second) else { return };
        let place = usize::try_from(place).ok().and_then(|place| ringing.wakers.get_mut(place));
        // Dropped behind the lock: it may be the last that holds its task.
        let waker = place.and_then(Option::take);
        ringing.set -= u32::from(waker.is_some());
        if ringing.set == 0 {
            shard.remove(&second);
        }
        drop(shard);
        drop(waker);
    }

    /// Wakes those whose second has come.
    fn ring(&self, now: Instant) {
        let second = self.second(now);
        for shard in &self.shards {
            loop {
                let mut shard = shard.lock();
                let Some(first) = shard.first_entry().filter(|first| *first.key() <= second) else {
                    break;
                };
                let ringing = first.remove();
                drop(shard);
                ringing.wakers.into_iter().flatten().for_each(Waker::wake);
            }
        }
    }

    fn next(&self) -> Option<NonZeroU32> {
        let first = |shard: &Mutex<Shard>| shard.lock().first_key_value().map(|(at, _)| *at);
        self.shards.iter().filter_map(first).min()
    }
}

/// Runs until the broker is gone: connections wait for their last word while it shuts down, too.
pub(crate) async fn run(core: Weak<Core>) {
    let Some(alarms) = core.upgrade().map(|core| Arc::clone(&core.alarms)) else { return };
    while core.strong_count() > 0 {
        let now = Instant::now();
        alarms.ring(now);
        // First this, so that whoever sets an alarm that is not seen below says so.
        alarms.next.store(u32::MAX, Ordering::SeqCst);
        let next = alarms.next();
        alarms.next.store(next.map_or(u32::MAX, NonZeroU32::get), Ordering::SeqCst);
        let look = now + LOOK_EVERY;
        let at = next.map_or(look, |second| {
            look.min(alarms.began + Duration::from_secs(u64::from(second.get()) - 1))
        });
        tokio::select! {
            () = tokio::time::sleep_until(at.into()) => {}
            () = alarms.changed.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_alarm_rings_once_and_before_its_time() {
        let began = Instant::now();
        let alarms = Alarms::new(began);
        let at = |millis| began + Duration::from_millis(millis);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let rung = || count.0.load(Ordering::Relaxed);
        let mut alarm = None;
        alarms.set(&mut alarm, 7, at(90_500), at(200), &waker);
        let set = alarm;
        // A later time leaves it as it is.
        alarms.set(&mut alarm, 7, at(100_000), at(10_000), &waker);
        assert_eq!(alarm, set);
        alarms.ring(at(88_900));
        assert_eq!(rung(), 0);
        alarms.ring(at(89_500));
        alarms.ring(at(95_000));
        assert_eq!((rung(), alarms.next()), (1, None));

        // It has rung, so that the next one is another; an earlier time moves it; taken back, it does not ring.
        alarms.set(&mut alarm, 7, at(190_000), at(95_000), &waker);
        alarms.set(&mut alarm, 7, at(110_000), at(96_000), &waker);
        alarms.ring(at(109_000));
        assert_eq!((rung(), alarms.next()), (2, None));
        alarms.set(&mut alarm, 7, at(190_000), at(109_000), &waker);
        alarms.cancel(&mut alarm, 7);
        assert_eq!((alarm, alarms.next()), (None, None));
        alarms.ring(at(500_000));
        assert_eq!((rung(), Arc::strong_count(&count)), (2, 2));
    }

    #[test]
    fn what_is_far_ahead_is_set_again() {
        let began = Instant::now();
        let alarms = Alarms::new(began);
        let (mut one, mut other) = (None, None);
        let far = began + Duration::from_secs(100_000);
        alarms.set(&mut one, 0, far, began, Waker::noop());
        alarms.set(&mut other, 0, far, began, Waker::noop());
        assert_eq!(alarms.next().map(NonZeroU32::get), Some(300));
        alarms.cancel(&mut one, 0);
        assert_eq!(alarms.next().map(NonZeroU32::get), Some(300), "the other is there still");
        alarms.cancel(&mut other, 0);
        assert_eq!(alarms.next(), None);
    }
}

//! The threads that compute password hashes, since no connection may wait for another's hash.
//!
//! A hash is made to be slow and to need memory. Computed on the runtime's workers, a few wrong passwords a second would
//! stop the broker. Here they wait in line for a few threads of their own; the line is bounded, and each address has its own
//! turn in it, so that one that asks a thousand times delays another that asks once by one hash and not by a thousand.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::origin::Origin;
use crate::throttle::Throttle;

/// How many threads there are, and how many may wait for them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WorkersOptions {
    /// Threads that compute. Each keeps the memory of one hash, 19 MiB with Argon2id as it is by default.
    pub threads: NonZeroUsize,
    /// Computations that wait. At the limit, the newest of the address that has most of them waiting is refused.
    pub waiting_max: usize,
    /// Computations of one address that wait. A further one is refused.
    pub waiting_per_address_max: usize,
}

impl Default for WorkersOptions {
    /// Half of the processors, and at least one; 1,024 that wait, 64 of them for one address.
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = NonZeroUsize::new(processors / 2).unwrap_or(NonZeroUsize::MIN);
        Self { threads, waiting_max: 1_024, waiting_per_address_max: 64 }
    }
}

/// There is no room in the line: the client is told Server busy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many passwords wait to be checked")]
pub struct Busy;

/// What the threads have done since the start.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WorkersCounts {
    /// Computations begun.
    pub computed: u64,
    /// Refused because their address had `waiting_per_address_max` waiting.
    pub refused_address: u64,
    /// Refused because `waiting_max` were waiting.
    pub refused_full: u64,
    /// Not begun, because nobody waited for them any more.
    pub abandoned: u64,
    /// Not begun, because their client had come to wait after failures.
    pub braked: u64,
}

/// A fixed number of threads with a bounded line before them. A clone is a handle on the same threads; they end with the
/// last one.
#[derive(Clone)]
pub struct Workers {
    line: Arc<Line>,
    /// Tells the threads to end when the last handle goes.
    _closing: Arc<Closing>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("options", &self.line.options).finish_non_exhaustive()
    }
}

struct Closing(Arc<Line>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.lock().is_closing = true;
        self.0.arrived.notify_all();
    }
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// What the system says when it gives no thread.
    pub fn start(options: WorkersOptions) -> io::Result<Self> {
        let line = Arc::new(Line {
            options,
            places: Mutex::default(),
            arrived: Condvar::new(),
            counts: Counts::default(),
            brake: OnceLock::new(),
        });
        let workers = Self { line: Arc::clone(&line), _closing: Arc::new(Closing(line)) };
        for number in 1..=options.threads.get() {
            let line = Arc::clone(&workers.line);
            thread::Builder::new()
                .name(format!("dunlin-hash-{number}"))
                .spawn(move || line.work())?;
        }
        Ok(workers)
    }

    /// Has a brake asked once more when a computation has its turn: whoever has come to wait since it got in line is not
    /// looked at. Without it, a client that sends many guesses at once has all of them checked before the first has failed.
    /// The first brake stays.
    pub fn brake(&self, throttle: Arc<Throttle>) {
        // There is one already: it stays.
        let _ = self.line.brake.set(throttle);
    }

    /// Computes on one of the threads, when `address` has its turn, for who logs in as `user`. The caller going away takes it
    /// out of the line.
    ///
    /// # Errors
    ///
    /// [`Busy`] when there is no room in the line, the brake says so by now, or the computation panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        address: Option<IpAddr>,
        user: &str,
        compute: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (answer, answered) = oneshot::channel();
        let braked = self.line.brake.get().zip(address).map(|(throttle, address)| {
            (Arc::clone(throttle), address, throttle.name_of_user(user))
        });
        let job = Waiting { compute, answer, braked };
        self.line.enter(Origin::of(address), Box::new(job))?;
        answered.await.map_err(|_| Busy)
    }

    /// What has been done since the start.
    #[must_use]
    pub fn counts(&self) -> WorkersCounts {
        self.line.counts.snapshot()
    }
}

/// Memory that one thread uses again for each hash.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Argon2's blocks.
    pub(crate) blocks: Vec<argon2::Block>,
}

/// A computation with whoever waits for it.
trait Job: Send {
    /// Whether anybody still waits.
    fn is_wanted(&self) -> bool;

    /// Whether its client has come to wait after failures.
    fn is_braked(&self) -> bool;

    fn run(self: Box<Self>, scratch: &mut Scratch);
}

struct Waiting<C, T> {
    compute: C,
    answer: oneshot::Sender<T>,
    /// Who is to be asked about whom.
    braked: Option<(Arc<Throttle>, IpAddr, String)>,
}

impl<T: Send, C: FnOnce(&mut Scratch) -> T + Send> Job for Waiting<C, T> {
    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    fn is_braked(&self) -> bool {
        self.braked.as_ref().is_some_and(|(throttle, address, name)| throttle.waits(*address, name))
    }

    fn run(self: Box<Self>, scratch: &mut Scratch) {
        let Self { compute, answer, .. } = *self;
        // Nobody waits any more: nothing to do about it now.
        let _ = answer.send(compute(scratch));
    }
}

/// What waits, by address, and whose turn it is.
#[derive(Default)]
struct Places {
    /// No entry is empty. At most `waiting_max` jobs in all.
    by_origin: HashMap<Origin, VecDeque<Box<dyn Job>>>,
    /// Each origin of `by_origin` once; the first has its turn.
    turns: VecDeque<Origin>,
    waiting: usize,
    is_closing: bool,
}

struct Line {
    options: WorkersOptions,
    places: Mutex<Places>,
    arrived: Condvar,
    counts: Counts,
    brake: OnceLock<Arc<Throttle>>,
}

impl Line {
    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, origin: Origin, job: Box<dyn Job>) -> Result<(), Busy> {
        let mut places = self.lock();
        let own = places.by_origin.get(&origin).map_or(0, VecDeque::len);
        if own >= self.options.waiting_per_address_max {
            Counts::add(&self.counts.refused_address);
            return Err(Busy);
        }
        if places.waiting >= self.options.waiting_max {
            Counts::add(&self.counts.refused_full);
            // Who has most waiting gives way; whoever arrives with as much does so itself.
            if places.longest() <= own + 1 {
                return Err(Busy);
            }
            places.displace();
        }
        places.push(origin, job);
        drop(places);
        self.arrived.notify_one();
        Ok(())
    }

    /// What each thread does until the end.
    fn work(&self) {
        step_back();
        let mut scratch = Scratch::default();
        while let Some(job) = self.next() {
            if !job.is_wanted() {
                Counts::add(&self.counts.abandoned);
                continue;
            }
            if job.is_braked() {
                Counts::add(&self.counts.braked);
                continue;
            }
            Counts::add(&self.counts.computed);
            // A panic is one client's, and must not cost a thread.
            let run = std::panic::AssertUnwindSafe(|| job.run(&mut scratch));
            if std::panic::catch_unwind(run).is_err() {
                scratch = Scratch::default();
            }
        }
    }

    /// The next in turn; none at the end.
    fn next(&self) -> Option<Box<dyn Job>> {
        let mut places = self.lock();
        loop {
            if places.is_closing {
                return None;
            }
            if let Some(job) = places.pop() {
                return Some(job);
            }
            places = self.arrived.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Lets those who are connected go first: this thread takes the time that the workers of the runtime leave.
fn step_back() {
    // Of this thread alone, on Linux; elsewhere it would be the whole process. If it cannot be, it is not.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, 10);
}

impl Places {
    fn push(&mut self, origin: Origin, job: Box<dyn Job>) {
        let queue = self.by_origin.entry(origin).or_default();
        if queue.is_empty() {
            self.turns.push_back(origin);
        }
        queue.push_back(job);
        self.waiting += 1;
    }

    /// The oldest job of whose turn it is, which then is behind all others.
    fn pop(&mut self) -> Option<Box<dyn Job>> {
        let origin = self.turns.pop_front()?;
        let queue = self.by_origin.get_mut(&origin)?;
        let job = queue.pop_front();
        if queue.is_empty() {
            self.by_origin.remove(&origin);
        } else {
            self.turns.push_back(origin);
        }
        self.waiting -= usize::from(job.is_some());
        job
    }

    fn longest(&self) -> usize {
        self.by_origin.values().map(VecDeque::len).max().unwrap_or(0)
    }

    /// Drops the newest job of the origin with most of them: whoever waits for it hears that its answer will not come.
    fn displace(&mut self) {
        let longest = self.by_origin.iter().max_by_key(|(_, queue)| queue.len());
        let Some(origin) = longest.map(|(origin, _)| *origin) else { return };
        let Some(queue) = self.by_origin.get_mut(&origin) else { return };
        if queue.pop_back().is_some() {
            self.waiting -= 1;
        }
        if queue.is_empty() {
            self.by_origin.remove(&origin);
            self.turns.retain(|turn| *turn != origin);
        }
    }
}

#[derive(Default)]
struct Counts {
    computed: AtomicU64,
    refused_address: AtomicU64,
    refused_full: AtomicU64,
    abandoned: AtomicU64,
    braked: AtomicU64,
}

impl Counts {
    fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn snapshot(&self) -> WorkersCounts {
        WorkersCounts {
            computed: self.computed.load(Ordering::Relaxed),
            refused_address: self.refused_address.load(Ordering::Relaxed),
            refused_full: self.refused_full.load(Ordering::Relaxed),
            abandoned: self.abandoned.load(Ordering::Relaxed),
            braked: self.braked.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc;
    use std::time::Duration;

    use dunlin_access::{Rate, ThrottleRules};

    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(192, 0, 2, last).into())
    }

    fn one_thread(waiting_max: usize, waiting_per_address_max: usize) -> Workers {
        let threads = NonZeroUsize::MIN;
        Workers::start(WorkersOptions { threads, waiting_max, waiting_per_address_max })
            .expect("a thread")
    }

    /// Keeps the only thread busy until the sender is dropped.
    async fn occupy(workers: &Workers) -> mpsc::Sender<()> {
        let (release, wait) = mpsc::channel();
        let (begun, has_begun) = oneshot::channel();
        let workers = workers.clone();
        tokio::spawn(async move {
            let job = move |_: &mut Scratch| {
                let _ = begun.send(());
                let _ = wait.recv();
            };
            workers.run(None, "", job).await
        });
        has_begun.await.expect("it begins");
        release
    }

    type Running = tokio::task::JoinHandle<Result<(), Busy>>;

    /// A job of `last` that notes `name` when it runs. It is in the line when this returns.
    async fn enter(
        workers: &Workers,
        order: &Arc<Mutex<Vec<&'static str>>>,
        last: u8,
        name: &'static str,
    ) -> Running {
        let (workers, order) = (workers.clone(), Arc::clone(order));
        let running = tokio::spawn(async move {
            let job = move |_: &mut Scratch| order.lock().expect("no panic").push(name);
            workers.run(address(last), "u", job).await
        });
        // One runtime thread: the task runs until it waits.
        tokio::task::yield_now().await;
        running
    }

    #[tokio::test]
    async fn addresses_take_turns() {
        let workers = one_thread(16, 16);
        let order = Arc::new(Mutex::new(Vec::new()));
        let release = occupy(&workers).await;
        let mut running = Vec::new();
        for (last, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2")] {
            running.push(enter(&workers, &order, last, name).await);
        }
        drop(release);
        for each in running {
            assert_eq!(each.await.expect("no panic"), Ok(()));
        }
        assert_eq!(*order.lock().expect("no panic"), ["a1", "b1", "c1", "a2", "b2", "a3"]);
        let counts = WorkersCounts { computed: 7, ..WorkersCounts::default() };
        assert_eq!(workers.counts(), counts);
    }

    #[tokio::test]
    async fn who_has_most_waiting_gives_way() {
        let workers = one_thread(4, 3);
        let order = Arc::new(Mutex::new(Vec::new()));
        let release = occupy(&workers).await;
        let mut running = Vec::new();
        let arrivals = [
            (1, "a1"),
            (1, "a2"),
            (1, "a3"),
            (1, "a4"),
            (2, "b1"),
            (3, "c1"),
            (1, "a5"),
            (4, "d1"),
        ];
        for (last, name) in arrivals {
            running.push(enter(&workers, &order, last, name).await);
        }
        drop(release);
        let mut outcomes = Vec::new();
        for each in running {
            outcomes.push(each.await.expect("no panic"));
        }
        // a4 is one too many for its address; c1 displaces a3; a5 would have most waiting itself; d1 displaces a2.
        let busy = Err(Busy);
        assert_eq!(outcomes, [Ok(()), busy, busy, busy, Ok(()), Ok(()), busy, Ok(())]);
        assert_eq!(*order.lock().expect("no panic"), ["a1", "b1", "c1", "d1"]);
        let counts = WorkersCounts {
            computed: 5,
            refused_address: 1,
            refused_full: 3,
            ..WorkersCounts::default()
        };
        assert_eq!(workers.counts(), counts);
    }

    #[tokio::test]
    async fn nothing_is_computed_for_who_has_gone_and_a_panic_costs_no_thread() {
        let workers = one_thread(16, 16);
        let order = Arc::new(Mutex::new(Vec::new()));
        let release = occupy(&workers).await;
        let gone = enter(&workers, &order, 1, "gone").await;
        gone.abort();
        assert!(gone.await.expect_err("aborted").is_cancelled());
        drop(release);
        let panics = workers.run(address(2), "u", |_| -> () { panic!("on purpose") });
        assert_eq!(panics.await, Err(Busy));
        assert_eq!(workers.run(address(3), "u", |_| 7).await, Ok(7));
        assert!(order.lock().expect("no panic").is_empty());
        let counts = WorkersCounts { computed: 3, abandoned: 1, ..WorkersCounts::default() };
        assert_eq!(workers.counts(), counts);
    }

    #[tokio::test]
    async fn guesses_that_were_in_line_before_the_first_failed_are_not_all_checked() {
        let workers = one_thread(64, 64);
        let mut rules = ThrottleRules::default();
        rules.per_address_and_user = Rate::new(3, Duration::from_secs(86_400));
        let throttle = Arc::new(Throttle::new(rules));
        workers.brake(Arc::clone(&throttle));
        let release = occupy(&workers).await;
        let mut running = Vec::new();
        for (last, user) in [(1, "alice"); 10].into_iter().chain([(1, "bob"), (2, "alice")]) {
            let (workers, throttle) = (workers.clone(), Arc::clone(&throttle));
            running.push(tokio::spawn(async move {
                let job = move |_: &mut Scratch| throttle.failed(address(last), user);
                workers.run(address(last), user, job).await
            }));
            tokio::task::yield_now().await;
        }
        drop(release);
        let mut outcomes = Vec::new();
        for each in running {
            outcomes.push(each.await.expect("no panic"));
        }
        let mut expected = vec![Ok(()); 3];
        expected.resize(10, Err(Busy));
        expected.extend([Ok(()), Ok(())]);
        assert_eq!(outcomes, expected);
        let counts = WorkersCounts { computed: 6, braked: 7, ..WorkersCounts::default() };
        assert_eq!(workers.counts(), counts);
    }
}

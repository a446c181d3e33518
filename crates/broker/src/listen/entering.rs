//! From an accepted socket to the driver: places, the layers of the door, and whoever does not get through.
//!
//! A plain TCP client is handed to its driver at once. Where there are layers, their handshakes run in the connection's own
//! task first. They take turns: a handshake computes for up to milliseconds where a connected client's turn takes
//! microseconds, so half of the workers at the most are at one at any time, and the others wait in a queue of their own
//! instead of in the runtime's, before those who are connected. A client whose turn does not come by the listener's deadline
//! is closed and counted.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use dunlin_access::Visitor;
use dunlin_transport::{Opened, Refusal, Refused};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

use crate::core::Core;
use crate::driver::Driver;
use crate::metrics::{add, sub};

use super::Listener;

/// Refusals that are logged in one span one by one; further ones are counted, and their number is logged.
const LOGGED_MAX: u32 = 10;
/// The span.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// The turns of handshakes: as many as half of the workers, at least one.
pub(crate) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new((Handle::current().metrics().num_workers() / 2).max(1)))
}

/// Takes a client in whose socket was accepted, if there is room.
pub(crate) fn enter(core: &Arc<Core>, listener: Arc<Listener>, accepted: Opened) {
    // Where its handshake would cost something it is not even begun; elsewhere CONNACK says why.
    let costs = !listener.door.is_plain() && listener.door.proxy.is_none();
    if costs && let Some(address) = accepted.peer.address {
        let visitor = Visitor { address: Some(address.ip()), ..Visitor::default() };
        if core.is_banned(&visitor) {
            return;
        }
    }
    if !core.take_place() {
        add(&core.counters.connections_refused, 1);
        return;
    }
    if !listener.places.take() {
        core.connections.fetch_sub(1, Ordering::Relaxed);
        add(&core.counters.connections_refused, 1);
        return;
    }
    add(&core.counters.connections_accepted, 1);
    add(&core.counters.connections_open, 1);
    let core = Arc::clone(core);
    let tasks = core.tasks.clone();
    if listener.door.is_plain() {
        tasks.spawn(Driver::new(core, listener, accepted));
    } else {
        let entering = Entering(Some((core, listener)));
        tasks.spawn(async move {
            // Boxed, so that the connection does not carry the room for its handshake about.
            let driver = Box::pin(pass(entering, accepted)).await;
            if let Some(driver) = driver {
                driver.await;
            }
        });
    }
}

/// Lets a client through the layers; none if it did not get through.
async fn pass(entering: Entering, accepted: Opened) -> Option<Driver> {
    let (core, listener) = entering.0.clone()?;
    match open(&core, &listener, accepted).await? {
        Ok(opened) => {
            entering.through();
            Some(Driver::new(core, listener, opened))
        }
        Err(refused) => {
            core.counters.refused(refused.why);
            core.refusals.log(&listener.places.name, &refused, Instant::now());
            None
        }
    }
}

/// Takes off the layers; none if the broker or the listener goes meanwhile.
async fn open(
    core: &Core,
    listener: &Listener,
    accepted: Opened,
) -> Option<Result<Opened, Refused>> {
    let (began, address) = (AtomicBool::new(false), accepted.peer.address);
    let handshake = InTurns {
        turns: PollSemaphore::new(Arc::clone(&core.turns)),
        began: &began,
        work: pin!(listener.door.open(accepted)),
    };
    let mut removal = listener.places.removal();
    let opened = tokio::select! {
        opened = tokio::time::timeout(listener.door.deadline, handshake) => opened,
        () = core.closed() => return None,
        _ = removal.wait_for(|removed| *removed) => return None,
    };
    Some(opened.unwrap_or_else(|_| {
        let begun = began.load(Ordering::Relaxed);
        let why = if begun { Refusal::HandshakeTimeout } else { Refusal::QueueTimeout };
        Err(Refused::new(why, address))
    }))
}

/// The places of a client on its way in: given back unless it gets through, when its driver has them.
struct Entering(Option<(Arc<Core>, Arc<Listener>)>);

impl Entering {
    /// From now on the driver has them.
    fn through(mut self) {
        self.0 = None;
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        if let Some((core, listener)) = self.0.take() {
            sub(&core.counters.connections_open, 1);
            core.connections.fetch_sub(1, Ordering::Relaxed);
            listener.places.handshake_over(&mut true);
            listener.places.connection_over();
        }
    }
}

/// Work that is polled only while it has one of the turns.
struct InTurns<'a, F> {
    turns: PollSemaphore,
    began: &'a AtomicBool,
    work: Pin<&'a mut F>,
}

impl<F: Future> Future for InTurns<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // The semaphore is never closed; if it were, nobody would have to wait.
        let _turn = ready!(self.turns.poll_acquire(cx));
        self.began.store(true, Ordering::Relaxed);
        self.work.as_mut().poll(cx)
    }
}

/// Says who was refused and why, a line each as long as there are few.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog(Mutex<Span>);

#[derive(Debug, Default)]
struct Span {
    began: Option<Instant>,
    logged: u32,
    suppressed: u64,
}

impl RefusalLog {
    pub(crate) fn log(&self, listener: &str, refused: &Refused, now: Instant) {
        let (allowed, suppressed) = self.0.lock().take(now);
        if suppressed > 0 {
            tracing::warn!(
                event = "connections_refused",
                count = suppressed,
                "further clients were refused; the counters say why"
            );
        }
        if allowed {
            tracing::warn!(
                event = "connection_refused",
                listener,
                address = refused.address.map(tracing::field::display),
                reason = refused.why.name(),
                "{refused}"
            );
        }
    }
}

impl Span {
    /// Whether one more line may be written, and how many were not since this was said last.
    fn take(&mut self, now: Instant) -> (bool, u64) {
        let over = |began: Instant| now.saturating_duration_since(began) >= LOGGED_EVERY;
        let mut suppressed = 0;
        if self.began.is_none_or(over) {
            suppressed = std::mem::take(&mut self.suppressed);
            self.began = Some(now);
            self.logged = 0;
        }
        self.logged = self.logged.saturating_add(1);
        if self.logged > LOGGED_MAX {
            self.suppressed += 1;
        }
        (self.logged <= LOGGED_MAX, suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_refusals_leaves_few_lines_and_the_number_of_the_rest() {
        let start = Instant::now();
        let mut span = Span::default();
        let lines = (0..1_000).filter(|_| span.take(start).0).count();
        assert_eq!(lines, 10);
        assert_eq!(span.take(start + LOGGED_EVERY), (true, 990));
        assert_eq!(span.take(start + LOGGED_EVERY), (true, 0));
    }

    #[cfg(feature = "websocket")]
    #[tokio::test]
    async fn who_gets_no_turn_by_the_deadline_is_counted_apart_from_the_slow() {
        use crate::config::{Config, ListenerConfig, Protocol};
        use crate::server::Broker;
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        use tokio::net::TcpStream;

        let mut listener =
            ListenerConfig::new("web", "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap());
        listener.protocol = Protocol::WebSocket;
        listener.handshake_deadline = Duration::from_millis(200);
        let config = Config { listeners: vec![listener], ..Config::default() };
        let broker = Broker::builder().config(config).start().await.unwrap();
        let address = broker.local_addrs()[0];
        let turns = Arc::clone(&broker.core.turns);
        let refused = async |why| {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"GET /mqtt").await.unwrap();
            let _ = client.read_to_end(&mut Vec::new()).await;
            while broker.metrics().connections_open > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            broker.metrics().handshakes_refused[&why]
        };
        // As if handshakes were being computed without an end.
        let all = u32::try_from(turns.available_permits()).unwrap();
        let taken = Arc::clone(&turns).acquire_many_owned(all).await.unwrap();
        assert_eq!(refused(Refusal::QueueTimeout).await, 1);
        drop(taken);
        assert_eq!(refused(Refusal::HandshakeTimeout).await, 1);
        assert_eq!(broker.metrics().handshakes_refused[&Refusal::QueueTimeout], 1);
    }

    #[tokio::test]
    async fn who_has_no_turn_has_not_begun() {
        let turns = Arc::new(Semaphore::new(1));
        let taken = Arc::clone(&turns).acquire_owned().await;
        let began = AtomicBool::new(false);
        let work = InTurns {
            turns: PollSemaphore::new(Arc::clone(&turns)),
            began: &began,
            work: pin!(std::future::ready(7)),
        };
        let mut work = pin!(work);
        assert!(futures_util::poll!(&mut work).is_pending());
        assert!(!began.load(Ordering::Relaxed));
        drop(taken);
        assert_eq!(work.await, 7);
        assert!(began.load(Ordering::Relaxed));
        assert_eq!(turns.available_permits(), 1, "the turn is given back");
    }
}

//! Serving clients: from a configuration to a broker that listens, and from a signal to its quiet end.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use dunlin_broker::{Broker, RuleSet, ServerError};
use dunlin_store::{Store, StoreError};
use tokio::runtime::Runtime;

use crate::authentication::Authentication;
use crate::configuration::{Assembled, Configuration, RuntimeConfig};
use crate::failure::Failure;
use crate::rules;
use crate::store;

/// Runs a broker until a signal ends it.
pub(crate) fn run(assembled: &Assembled, salvage: bool) -> Result<(), Failure> {
    let Assembled { configuration, default_listeners } = assembled;
    raise_descriptor_limit();
    let rules = rules::read(configuration)?;
    let authentication = Authentication::open(configuration)?;
    let store = store::open(configuration, salvage)?;
    let runtime = runtime(&configuration.runtime)?;
    let serving = serve(configuration, store, rules, authentication, *default_listeners);
    let ended = runtime.block_on(serving);
    // What had to be waited for was; a thread that hangs on a disk would be waited for without end.
    runtime.shutdown_background();
    ended
}

/// Where processors are short, clients that wait for no disk go before commits: see docs/adr/0003.
const COMMITTER_NICENESS: i32 = 10;

/// Each connection needs a descriptor, and the soft limit is often 1,024 where the hard one is a million.
fn raise_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(event = "descriptors_raised", limit),
        Err(error) => tracing::warn!(event = "descriptors_not_raised", %error),
    }
}

fn runtime(config: &RuntimeConfig) -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.worker_threads {
        builder.worker_threads(threads);
    }
    // The default of 61 lets the sockets wait behind long flushes; 16 costs nothing measurable and was 13 % of the CPU
    // time in fan-out.
    builder.event_interval(16).thread_name("dunlin-worker").enable_all();
    builder.build().map_err(|error| Failure::Run(format!("the runtime cannot start: {error}")))
}

async fn serve(
    configuration: &Configuration,
    store: Box<dyn Store>,
    rules: RuleSet,
    authentication: Authentication,
    default_listeners: bool,
) -> Result<(), Failure> {
    // Before the first line is printed: whoever reads it may send a signal at once.
    let mut signals = Signals::new()
        .map_err(|error| Failure::Run(format!("signals cannot be handled: {error}")))?;
    let builder = Broker::builder()
        .config(configuration.broker.clone())
        .store(store)
        .rules(rules)
        .store_niceness(COMMITTER_NICENESS);
    let started = authentication.install(builder).start().await;
    let broker = started.map_err(|error| start_failure(&error))?;
    let addresses = broker.local_addrs();
    tracing::info!(event = "broker_started", version = env!("CARGO_PKG_VERSION"), ?addresses);
    // A reader of the lines that has gone away is no reason to stop.
    let _ = announce(&mut io::stdout().lock(), configuration, &addresses, default_listeners);

    tokio::select! {
        signal = signals.next() => stop(broker, signal, signals).await,
        // Only its store can end it before it is told to: what cannot be kept may not be acknowledged.
        () = broker.closed() => Err(Failure::Run("the store has failed, so the broker has stopped".to_owned())),
    }
}

/// Takes leave of the clients. Whoever signals again does not want to wait for that.
async fn stop(broker: Broker, signal: &str, mut signals: Signals) -> Result<(), Failure> {
    tracing::info!(event = "broker_stopping", signal);
    let began = Instant::now();
    tokio::select! {
        stopped = broker.shutdown() => {
            stopped.map_err(|error| Failure::Run(format!("the store was not closed in order: {error}")))?;
            tracing::info!(event = "broker_stopped", millis = began.elapsed().as_millis());
            Ok(())
        }
        signal = signals.next() => Err(Failure::Run(format!("stopped at once by a second {signal}"))),
    }
}

/// Where it listens, and for a first start the two commands that try it.
fn announce(
    out: &mut impl io::Write,
    configuration: &Configuration,
    addresses: &[SocketAddr],
    default_listeners: bool,
) -> io::Result<()> {
    writeln!(out, "dunlin {}", env!("CARGO_PKG_VERSION"))?;
    let listeners = &configuration.broker.listeners;
    for (listener, address) in listeners.iter().zip(addresses) {
        let who = if listener.allow_anonymous { ", anonymous clients allowed" } else { "" };
        writeln!(out, "listening on {address} ({}{who})", listener.name)?;
    }
    let first = listeners.iter().zip(addresses).find(|(listener, _)| listener.allow_anonymous);
    if let Some((_, &address)) = first {
        let (host, port) = (reachable(address.ip()), address.port());
        let lead = if default_listeners { "Try it in two other terminals:" } else { "Try it:" };
        writeln!(out, "{lead}\n  mosquitto_sub -h {host} -p {port} -t 'demo/#' -v")?;
        writeln!(out, "  mosquitto_pub -h {host} -p {port} -t demo/hello -m 'it works'")?;
    }
    out.flush()
}

/// An address to connect to: 0.0.0.0 and its like in IPv6 are only good for listening.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

fn start_failure(error: &ServerError) -> Failure {
    if let ServerError::Bind { address, source, .. } = error {
        return Failure::Listen(listen_failure(*address, source));
    }
    if let ServerError::Store(error @ StoreError::Corrupt(_)) = error {
        return Failure::Damaged(error.to_string());
    }
    Failure::Run(format!("the broker cannot start: {}", with_causes(error)))
}

fn with_causes(error: &ServerError) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn listen_failure(address: SocketAddr, error: &io::Error) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the system's own words do for all other kinds"
    )]
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{address} is in use: stop the program that listens there, or choose another address with --listen"
            )
        }
        io::ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine"),
        io::ErrorKind::PermissionDenied => {
            format!("{address} may not be opened by this user: a port below 1024 needs a privilege")
        }
        _ => format!("{address} cannot be opened: {error}"),
    }
}

/// The signals that ask for the end.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The signals that ask for the end: where there are no others, Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_broker::ListenerConfig;

    use super::*;

    fn announced(listener: ListenerConfig, bound: &str) -> String {
        let mut configuration = Configuration::default();
        configuration.broker.listeners.push(listener);
        let mut out = Vec::new();
        let addresses = [bound.parse().expect("an address")];
        announce(&mut out, &configuration, &addresses, false).expect("a Vec takes everything");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn the_first_lines_say_where_and_how() {
        let mut listener = ListenerConfig::new("lan", "0.0.0.0:0".parse().expect("an address"));
        listener.allow_anonymous = true;
        assert_eq!(
            announced(listener.clone(), "0.0.0.0:40123"),
            format!(
                "dunlin {}\n\
                 listening on 0.0.0.0:40123 (lan, anonymous clients allowed)\n\
                 Try it:\n  \
                 mosquitto_sub -h 127.0.0.1 -p 40123 -t 'demo/#' -v\n  \
                 mosquitto_pub -h 127.0.0.1 -p 40123 -t demo/hello -m 'it works'\n",
                env!("CARGO_PKG_VERSION")
            )
        );
        listener.allow_anonymous = false;
        assert!(
            announced(listener, "0.0.0.0:40123").ends_with("listening on 0.0.0.0:40123 (lan)\n")
        );
    }
}

//! Serving clients: from a configuration to a broker that listens, and from a signal to its quiet end.

use std::error::Error as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

#[cfg(unix)]
use dunlin_broker::Inherited;
use dunlin_broker::audit::ADMIN_TARGET;
use dunlin_broker::config::{Endpoint, Protocol};
use dunlin_broker::{BanList, Broker, ListenerConfig, Place, RuleSet, ServerError};
use dunlin_store::{Store, StoreError};
use tokio::runtime::Runtime;

use crate::args::Arguments;
use crate::authentication::Authentication;
use crate::ban::{self, BanFile};
use crate::configuration::{Assembled, Backend, Configuration, ReloadConfig, RuntimeConfig};
#[cfg(unix)]
use crate::control::{self, Ask};
use crate::failure::Failure;
use crate::reload::Reloader;
use crate::rules;
#[cfg(unix)]
use crate::service;
use crate::store;
use crate::telemetry::LogHandle;

/// What a start needs.
pub(crate) struct Start {
    pub(crate) assembled: Assembled,
    /// Where the configuration came from, for the next time.
    pub(crate) arguments: Arguments,
    pub(crate) log: LogHandle,
    pub(crate) salvage: bool,
    /// Sockets that the service manager hands over.
    #[cfg(unix)]
    pub(crate) inherited: Inherited,
}

/// Runs a broker until a signal ends it.
pub(crate) fn run(start: Start) -> Result<(), Failure> {
    let configuration = &start.assembled.configuration;
    raise_descriptor_limit();
    let rules = rules::read(configuration)?;
    let authentication = Authentication::open(configuration)?;
    let store = store::open(configuration, start.salvage)?;
    let bans = match configuration.store.backend {
        Backend::Disk => ban::read(&configuration.data_dir)?,
        Backend::Memory => BanList::default(),
    };
    let runtime = runtime(&configuration.runtime)?;
    let ended = runtime.block_on(serve(start, store, rules, authentication, bans));
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
    start: Start,
    store: Box<dyn Store>,
    rules: RuleSet,
    authentication: Authentication,
    bans: BanList,
) -> Result<(), Failure> {
    let Assembled { configuration, default_listeners } = start.assembled;
    // Before the first line is printed: whoever reads it may send a signal at once.
    let mut signals = Signals::new()
        .map_err(|error| Failure::Run(format!("signals cannot be handled: {error}")))?;
    let builder = Broker::builder()
        .config(configuration.broker.clone())
        .store(store)
        .rules(rules)
        .bans(bans)
        .authenticators(authentication.authenticators())
        .audit_events_lost(start.log.audit_events_lost())
        .store_niceness(COMMITTER_NICENESS);
    #[cfg(unix)]
    let builder = builder.inherited(start.inherited);
    authentication.begin(&Authentication::default());
    let broker = builder.start().await.map_err(|error| start_failure(&error))?;
    let listeners = broker.listeners();
    tracing::info!(
        target: ADMIN_TARGET, event = "broker_started", version = env!("CARGO_PKG_VERSION"), ?listeners
    );
    // Before anybody can know that it listens: no change of the file is taken for what it was at the start, and whoever asks is
    // answered.
    let mut reloader = Reloader::new(start.arguments, configuration, authentication, start.log);
    let mut control = Control::open(reloader.present());
    // A reader of the lines that has gone away is no reason to stop.
    let _ = announce(&mut io::stdout().lock(), reloader.present(), &listeners, default_listeners);
    tell_manager(&State::Ready);
    keep_watchdog();
    let mut ban_file = match reloader.present().store.backend {
        Backend::Disk => Some(BanFile::new(&reloader.present().data_dir)),
        Backend::Memory => None,
    };
    loop {
        let ReloadConfig { watch, watch_interval, .. } = reloader.present().reload;
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop(name) => {
                    let unwritten = bans_changed(ban_file.as_ref(), &broker);
                    let unwritten = tokio::time::timeout(Duration::ZERO, unwritten).await;
                    if let (Ok(number), Some(file)) = (unwritten, &mut ban_file) {
                        file.write(&broker, number).await;
                    }
                    return stop(broker, name, signals).await;
                }
                Signal::Reload => {
                    reloader.reopen_audit_file();
                    reload(&mut reloader, &broker).await;
                }
            },
            // Only its store can end it before it is told to: what cannot be kept may not be acknowledged.
            () = broker.closed() => {
                return Err(Failure::Run("the store has failed, so the broker has stopped".to_owned()));
            }
            () = control.answer(&reloader, &broker) => {}
            number = bans_changed(ban_file.as_ref(), &broker) => {
                if let Some(file) = &mut ban_file {
                    file.write(&broker, number).await;
                }
            }
            () = tokio::time::sleep(watch_interval), if watch => {
                if reloader.has_changed() {
                    reload(&mut reloader, &broker).await;
                }
            }
        }
    }
}

/// Resolves when there are bans to be written.
async fn bans_changed(file: Option<&BanFile>, broker: &Broker) -> u64 {
    match file {
        Some(file) => file.changed(broker).await,
        None => std::future::pending().await,
    }
}

/// Takes the configuration anew. What is wrong with it is logged, and the broker goes on as it was.
async fn reload(reloader: &mut Reloader, broker: &Broker) {
    tell_manager(&State::Reloading);
    tracing::info!(event = "reloading");
    let before = broker.listeners();
    match reloader.reload(broker).await {
        Ok(()) => {
            let mut out = io::stdout().lock();
            for listener in broker.listeners().iter().filter(|each| !before.contains(each)) {
                let _ = listening(&mut out, reloader.present(), listener);
            }
            let _ = out.flush();
        }
        Err(failure) => {
            for problem in failure.to_string().lines() {
                tracing::error!(
                    target: ADMIN_TARGET, event = "reload_refused", "{problem}: nothing has changed"
                );
            }
        }
    }
    tell_manager(&State::Ready);
}

/// What the service manager hears of.
enum State {
    Ready,
    Reloading,
    Stopping,
}

fn tell_manager(state: &State) {
    #[cfg(unix)]
    match state {
        State::Ready => service::ready(),
        State::Reloading => service::reloading(),
        State::Stopping => service::stopping(),
    }
    #[cfg(not(unix))]
    let _ = state;
}

/// Tells the service manager that the workers still turn, as long as they do.
fn keep_watchdog() {
    #[cfg(unix)]
    if let Some(interval) = service::watchdog() {
        tokio::spawn(async move {
            loop {
                service::alive();
                tokio::time::sleep(interval).await;
            }
        });
    }
}

/// The socket for `dunlin check --diff` and `dunlin ban`, where there is a data directory for it.
struct Control {
    #[cfg(unix)]
    socket: Option<control::Control>,
}

impl Control {
    #[cfg(unix)]
    fn open(configuration: &Configuration) -> Self {
        let socket = match configuration.store.backend {
            Backend::Memory => None,
            Backend::Disk => control::Control::open(&configuration.data_dir)
                .inspect_err(|error| {
                    tracing::warn!(event = "no_control_socket", %error, "`dunlin check --diff` and `dunlin ban` get no answer");
                })
                .ok(),
        };
        Self { socket }
    }

    /// Answers the next question.
    #[cfg(unix)]
    async fn answer(&mut self, reloader: &Reloader, broker: &Broker) {
        let question = match &mut self.socket {
            Some(socket) => socket.next().await,
            None => std::future::pending().await,
        };
        match question {
            Some(question) => {
                let answer = match question.ask.clone() {
                    Ask::Plan(candidate) => reloader.plan(broker, candidate.as_ref()),
                    Ask::Bans(request) => request.run(broker),
                };
                question.answer(answer);
            }
            None => self.socket = None,
        }
    }

    #[cfg(not(unix))]
    fn open(_: &Configuration) -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    async fn answer(&mut self, reloader: &Reloader, broker: &Broker) {
        let _ = |candidate| reloader.plan(broker, candidate);
        std::future::pending().await
    }
}

/// Takes leave of the clients. Whoever signals again does not want to wait for that.
async fn stop(broker: Broker, signal: &str, mut signals: Signals) -> Result<(), Failure> {
    tell_manager(&State::Stopping);
    tracing::info!(target: ADMIN_TARGET, event = "broker_stopping", signal);
    let began = Instant::now();
    let again = async {
        loop {
            if let Signal::Stop(name) = signals.next().await {
                return name;
            }
        }
    };
    tokio::select! {
        stopped = broker.shutdown() => {
            stopped.map_err(|error| Failure::Run(format!("the store was not closed in order: {error}")))?;
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(target: ADMIN_TARGET, event = "broker_stopped", millis);
            Ok(())
        }
        signal = again => Err(Failure::Run(format!("stopped at once by a second {signal}"))),
    }
}

/// Where it listens, and for a first start the two commands that try it.
fn announce(
    out: &mut impl io::Write,
    configuration: &Configuration,
    listeners: &[(String, Place)],
    default_listeners: bool,
) -> io::Result<()> {
    writeln!(out, "dunlin {}", env!("CARGO_PKG_VERSION"))?;
    for listener in listeners {
        listening(out, configuration, listener)?;
    }
    let first = listeners.iter().find_map(|(name, place)| {
        let easy = |config: &ListenerConfig| {
            config.allow_anonymous
                && config.protocol != Protocol::WebSocket
                && config.tls_certificate.is_empty()
                && config.proxy_protocol_from.is_none()
        };
        let config = find(configuration, name).filter(|config| easy(config));
        config.and_then(|_| place.address())
    });
    if let Some(address) = first {
        let (host, port) = (reachable(address.ip()), address.port());
        let lead = if default_listeners { "Try it in two other terminals:" } else { "Try it:" };
        writeln!(out, "{lead}\n  mosquitto_sub -h {host} -p {port} -t 'demo/#' -v")?;
        writeln!(out, "  mosquitto_pub -h {host} -p {port} -t demo/hello -m 'it works'")?;
    }
    out.flush()
}

/// One line that says where a listener listens.
fn listening(
    out: &mut impl io::Write,
    configuration: &Configuration,
    (name, place): &(String, Place),
) -> io::Result<()> {
    let anonymous = find(configuration, name).is_some_and(|listener| listener.allow_anonymous);
    let who = if anonymous { ", anonymous clients allowed" } else { "" };
    let kind = if place.address().is_some() { "" } else { "unix:" };
    writeln!(out, "listening on {kind}{place} ({name}{who})")
}

fn find<'a>(configuration: &'a Configuration, name: &str) -> Option<&'a ListenerConfig> {
    configuration.broker.listeners.iter().find(|listener| listener.name == name)
}

/// An address to connect to: 0.0.0.0 and its like in IPv6 are only good for listening.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

pub(crate) fn start_failure(error: &ServerError) -> Failure {
    if let ServerError::Bind { address, source, .. } = error {
        return Failure::Listen(listen_failure(address, source));
    }
    if let ServerError::Tls { .. } = error {
        return Failure::Refused(format!("dunlin: {error}\n"));
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

fn listen_failure(address: &Endpoint, error: &io::Error) -> String {
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

/// What a signal asks for.
#[cfg_attr(not(unix), expect(dead_code, reason = "there is no signal for a reload"))]
enum Signal {
    /// The end.
    Stop(&'static str),
    /// The configuration taken anew.
    Reload,
}

/// The signals that are heard.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

/// The signals that are heard: where there are no others, Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Stop("Ctrl-C"),
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn announced(listener: ListenerConfig, bound: &str) -> String {
        let mut configuration = Configuration::default();
        configuration.broker.listeners.push(listener);
        let mut out = Vec::new();
        let listeners = [("lan".to_owned(), Place::Address(bound.parse().expect("an address")))];
        announce(&mut out, &configuration, &listeners, false).expect("a Vec takes everything");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn the_first_lines_say_where_and_how() {
        let mut listener = ListenerConfig::new("lan", SocketAddr::from(([0, 0, 0, 0], 0)));
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

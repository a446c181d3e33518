//! Another configuration for a running broker.

use std::net::SocketAddr;

use dunlin_broker::config::applies;
use dunlin_broker::{
    AboveLimit, Applies, Config, Limits, ListenerChange, ListenerConfig, ReloadReport, ServerError,
};

use crate::support::*;

/// The configuration that [`Server::start`] begins with.
fn one_listener() -> Config {
    let mut config = Config::default();
    config.listeners = vec![ListenerConfig::new("test", free_port())];
    config
}

async fn reload(server: &Server, config: Config) -> ReloadReport {
    server.broker.reload(config, AboveLimit::Keep).await.expect("a configuration that works")
}

fn settings(report: &ReloadReport) -> Vec<(&str, Applies)> {
    report.settings.iter().map(|change| (change.setting.as_str(), change.applies)).collect()
}

fn listeners(report: &ReloadReport) -> Vec<(&str, &ListenerChange, u64)> {
    let listeners = report.listeners.iter();
    listeners.map(|each| (each.name.as_str(), &each.change, each.disconnected.count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changes_where_nothing_differs() {
    let server = Server::start().await;
    let report = reload(&server, one_listener()).await;
    assert!(report.is_empty());
    assert_eq!(report, ReloadReport::default());
    assert_eq!(server.broker.local_addrs(), [server.address()]);
}

/// A free port of an address that no other test listens on, so that nobody else takes it once it is given up.
fn apart(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 0))
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_come_and_go_while_others_serve_their_clients() {
    let server = Server::start().await;
    let mut clients = Vec::new();
    for number in 0..1_000 {
        clients.push(server.connect(connect(Version::V5, &format!("c{number}"))).await);
    }
    let mut config = one_listener();
    config.listeners.push(ListenerConfig::new("second", apart(3)));
    let report = reload(&server, config).await;
    assert_eq!(listeners(&report), [("second", &ListenerChange::Added, 0)]);
    let second = server.broker.local_addrs()[1];
    let mut guest = Client::dial(second, Version::V5).await;
    guest.send(connect(Version::V5, "guest")).await;
    guest.expect_connack(false).await;
    let mut undecided = Client::dial(second, Version::V5).await;
    eventually("it to be accepted", || server.metrics().connections_open == 1_002).await;

    let planned = server.broker.plan(&one_listener()).expect("a configuration that works");
    let report = reload(&server, one_listener()).await;
    assert_eq!(planned, report, "what is said before is what is done");
    assert_eq!(listeners(&report), [("second", &ListenerChange::Removed, 1)]);
    assert_eq!(report.listeners[0].disconnected.names, ["guest"]);
    assert_eq!(report.listeners[0].connections, 2);
    guest.expect_end(ReasonCode::AdministrativeAction).await;
    undecided.expect_closed().await;
    assert!(Client::try_dial(second, Version::V5).await.is_none(), "nobody listens there");
    let removed = || server.metrics().connections_ended[&EndReason::ListenerRemoved];
    eventually("both to be counted", || removed() == 2).await;
    for client in &mut clients {
        client.ping().await;
    }
    assert_eq!(server.metrics().clients_connected, 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_listener_keeps_its_socket_and_its_clients() {
    let server = Server::start().await;
    let mut before = server.connect(connect(Version::V5, "before")).await;
    let mut config = one_listener();
    config.listeners[0].maximum_qos = QOS0;
    config.listeners[0].backlog = 7;
    let report = reload(&server, config).await;
    let [changed] = &report.listeners[..] else { panic!("{report:?}") };
    let ListenerChange::Changed(settings) = &changed.change else { panic!("{report:?}") };
    let settings: Vec<_> =
        settings.iter().map(|change| (change.setting.as_str(), change.applies)).collect();
    let expected = [
        ("listeners.test.maximum_qos", Applies::NewConnections),
        ("listeners.test.backlog", Applies::Live),
    ];
    assert_eq!(settings, expected);
    assert_eq!(server.broker.local_addrs(), [server.address()], "port 0 is not asked for again");
    let after = server.connect(connect(Version::V5, "after")).await;
    assert_eq!(after.connack().properties.maximum_qos, Some(QOS0));
    // Who was there keeps what it was granted.
    before.subscribe("a", QOS2).await;
    before.publish(publish("b", "x").qos(QOS2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_moves_keeps_its_clients() {
    let server = Server::with(|config| config.listeners[0].address = apart(4).into()).await;
    let mut client = server.connect(connect(Version::V5, "s")).await;
    let mut config = one_listener();
    config.listeners[0].address = apart(2).into();
    reload(&server, config).await;
    let moved = server.broker.local_addrs()[0];
    assert_eq!(moved.ip().to_string(), "127.0.0.2");
    client.ping().await;
    assert!(Client::try_dial(server.address(), Version::V5).await.is_none());
    let mut other = Client::dial(moved, Version::V5).await;
    other.send(connect(Version::V5, "other")).await;
    other.expect_connack(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_renamed_leaves_no_moment_in_which_nobody_listens() {
    let fixed = std::net::TcpListener::bind(free_port()).and_then(|socket| socket.local_addr());
    let address = fixed.expect("a free port");
    let named = |name: &str| {
        let mut config = Config::default();
        config.listeners = vec![ListenerConfig::new(name, address)];
        config
    };
    let server = Server::with(|config| *config = named("old")).await;
    let mut client = server.connect(connect(Version::V5, "s")).await;
    let report = reload(&server, named("new")).await;
    let expected = [("old", &ListenerChange::Removed, 1), ("new", &ListenerChange::Added, 0)];
    assert_eq!(listeners(&report), expected);
    client.expect_end(ReasonCode::AdministrativeAction).await;
    server.connect(connect(Version::V5, "s")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_apply_to_those_who_are_connected() {
    let server = Server::start().await;
    let mut publisher = server.connect(connect(Version::V5, "publisher")).await;
    server.leave_absent_subscriber(Version::V5).await;
    let mut config = one_listener();
    config.limits.queue_messages_max = 2;
    config.limits.retained_messages_max = 1;
    config.sys.interval = None;
    let report = reload(&server, config).await;
    let expected = [
        ("sys.interval", Applies::Live),
        ("limits.queue_messages_max", Applies::Live),
        ("limits.retained_messages_max", Applies::Live),
    ];
    assert_eq!(settings(&report), expected);
    for number in 0..5 {
        publisher.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    assert_eq!(server.broker.drops("absent").expect("a session")[&DropReason::QueueMessages], 3);
}

versions!(limits_that_connack_does_not_tell_hold_for_those_who_are_connected: V3_1_1, V5);
async fn limits_that_connack_does_not_tell_hold_for_those_who_are_connected(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    let mut away = server.connect(connect(version, "away").kept()).await;
    for filter in ["a/b/c", "b", "c"] {
        client.subscribe(filter, QOS1).await;
        away.subscribe(filter, QOS0).await;
    }
    server.lose(away).await;
    let mut few = server.connect(connect(version, "few")).await;
    few.subscribe("b", QOS0).await;
    let mut config = one_listener();
    config.limits.subscriptions_max = 2;
    config.limits.topic_levels_max = 2;
    config.sys.publish_3x = SysPublish::Close;
    let report = reload(&server, config.clone()).await;
    let expected = [
        ("sys.publish_3x", Applies::Live),
        ("limits.topic_levels_max", Applies::Live),
        ("limits.subscriptions_max", Applies::Live),
    ];
    assert_eq!(settings(&report), expected);
    let [above] = &report.above[..] else { panic!("{report:?}") };
    let named = (above.setting.as_str(), above.limit, above.found, &above.clients.names[..]);
    assert_eq!(named, ("limits.subscriptions_max", 2, 3, &["away".to_owned(), "s".to_owned()][..]));

    // What is there stays, by option too; one more is refused.
    let enforced = server.broker.reload(config.clone(), AboveLimit::Enforce).await;
    assert!(enforced.expect("a configuration that works").is_empty());
    server.publish(publish("c", "x")).await;
    client.expect(publish("c", "x")).await;
    client.send(subscribe(10, &[("d", QOS1)])).await;
    client.expect(suback(10, &[ReasonCode::QuotaExceeded])).await;
    for filter in ["b", "c"] {
        client.unsubscribe(filter).await;
    }
    client.subscribe("d", QOS1).await;
    client.unsubscribe("d").await;
    client.send(subscribe(11, &[("d/e/f", QOS1)])).await;
    client.expect(suback(11, &[ReasonCode::TopicFilterInvalid])).await;

    // A limit that is raised again lets in again; nobody is above it.
    let report = reload(&server, one_listener()).await;
    assert_eq!(report.above, []);
    client.subscribe("d/e/f", QOS1).await;
    client.publish(publish("e/f/g", "x").qos(QOS1)).await;
    reload(&server, config).await;
    client.send(publish("e/f/g", "x").qos(QOS1).id(20)).await;
    client.expect_refused_publish(20, ReasonCode::TopicNameInvalid).await;
}

versions!(a_3x_client_learns_of_the_rule_for_sys_while_it_is_connected: V3_1, V3_1_1);
async fn a_3x_client_learns_of_the_rule_for_sys_while_it_is_connected(version: Version) {
    let server = Server::start().await;
    let mut client = server.connect(connect(version, "s")).await;
    client.publish(publish("$SYS/x", "x").qos(QOS1)).await;
    let mut config = one_listener();
    config.sys.publish_3x = SysPublish::Close;
    reload(&server, config).await;
    client.send(publish("$SYS/x", "x").qos(QOS1).id(7)).await;
    client.expect_closed().await;
    server.counts_ended(EndReason::Violation, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_above_a_lower_limit_is_named_and_left_alone() {
    let server = Server::start().await;
    let mut first = server.connect(connect(Version::V5, "first")).await;
    let mut second = server.connect(connect(Version::V5, "second")).await;
    server.leave_absent_subscriber(Version::V5).await;
    for number in 0..5 {
        first.publish(publish("a", number.to_string()).qos(QOS1)).await;
    }
    let mut config = one_listener();
    config.limits.queue_messages_max = 3;
    config.limits.sessions_max = 2;
    config.listeners[0].connections_max = Some(1);
    let report = reload(&server, config.clone()).await;
    let above: Vec<_> = report
        .above
        .iter()
        .map(|above| {
            let names: Vec<&str> = above.clients.names.iter().map(String::as_str).collect();
            (above.setting.as_str(), above.limit, above.found, names)
        })
        .collect();
    let expected = [
        ("limits.sessions_max", 2, 3, vec![]),
        ("listeners.test.connections_max", 1, 2, vec![]),
        ("limits.queue_messages_max", 3, 5, vec!["absent"]),
    ];
    assert_eq!(above, expected);
    first.ping().await;
    second.ping().await;
    let mut third = server.dial(Version::V5).await;
    third.expect_closed().await;
    assert_eq!(server.broker.drops("absent").expect("a session").len(), 0);

    // By option they are made to keep to it.
    let enforced = server.broker.reload(config, AboveLimit::Enforce).await;
    assert!(enforced.expect("a configuration that works").is_empty());
    eventually("one connection to be closed", || server.metrics().connections_open == 1).await;
    assert_eq!(server.metrics().connections_ended[&EndReason::LimitLowered], 1);
    assert_eq!(server.broker.drops("absent").expect("a session")[&DropReason::QueueMessages], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named_each_time_and_stays() {
    let server = Server::start().await;
    let mut config = one_listener();
    config.limits.commit_queue_messages_max += 1;
    for _ in 0..2 {
        let report = reload(&server, config.clone()).await;
        let expected = [("limits.commit_queue_messages_max", Applies::Restart)];
        assert_eq!(settings(&report), expected);
    }
    assert!(reload(&server, one_listener()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_work_changes_nothing() {
    let server = Server::start().await;
    let taken = std::net::TcpListener::bind(free_port()).expect("a free port");
    let mut invalid = one_listener();
    invalid.limits.receive_maximum = 0;
    invalid.listeners.push(ListenerConfig::new("second", free_port()));
    let refused = server.broker.reload(invalid, AboveLimit::Keep).await;
    assert!(matches!(refused, Err(ServerError::Config(_))), "{refused:?}");

    let mut occupied = one_listener();
    occupied.limits.queue_messages_max = 1;
    occupied.listeners.push(ListenerConfig::new("free", free_port()));
    let address = taken.local_addr().expect("an address");
    occupied.listeners.push(ListenerConfig::new("taken", address));
    let refused = server.broker.reload(occupied, AboveLimit::Keep).await;
    assert!(matches!(refused, Err(ServerError::Bind { .. })), "{refused:?}");

    let mut open = one_listener();
    open.listeners.push(ListenerConfig::new("open", SocketAddr::from(([0, 0, 0, 0], 0))));
    let refused = server.broker.reload(open, AboveLimit::Keep).await;
    assert!(matches!(refused, Err(ServerError::Unprotected { .. })), "{refused:?}");

    assert_eq!(server.broker.local_addrs(), [server.address()]);
    assert!(reload(&server, one_listener()).await.is_empty(), "nothing has changed");
}

#[test]
fn every_limit_says_when_it_applies() {
    let text = format!("{:#?}", Limits::default());
    let fields = text.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    for (field, _) in fields.filter(|(field, _)| !field.starts_with(' ')) {
        assert!(applies(&format!("limits.{field}")).is_some(), "{field}");
    }
}

//! What sources say together, and how slips are answered.

use super::*;

fn line(line: usize) -> Origin {
    Origin::File { name: "dunlin.toml".into(), line }
}

fn sources(assignments: &[(&str, &str)]) -> Sources {
    let numbered = assignments.iter().enumerate();
    let assignments = numbered.map(|(index, &(path, value))| Assignment {
        path: path.to_owned(),
        value: value.to_owned(),
        origin: line(index + 1),
    });
    Sources { assignments: assignments.collect(), ..Sources::default() }
}

fn listen(addresses: &[&str]) -> Vec<Listen> {
    let origin = |address: &str| Origin::Flag(format!("--listen {address}"));
    addresses
        .iter()
        .map(|&address| Listen { address: address.to_owned(), origin: origin(address) })
        .collect()
}

#[track_caller]
fn refused(sources: Sources, expected: &[&str]) {
    let problems = assemble(sources).expect_err("the configuration has problems");
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected);
}

fn assembled(sources: Sources) -> Configuration {
    assemble(sources).expect("the configuration is fine").configuration
}

#[test]
fn a_later_assignment_wins() {
    let config =
        assembled(sources(&[("limits.receive_maximum", "5"), ("limits.receive_maximum", "6")]));
    assert_eq!(config.broker.limits.receive_maximum, 6);
}

#[test]
fn without_a_word_it_listens_on_loopback_for_anonymous_clients() {
    let Assembled { configuration, default_listeners } =
        assemble(Sources::default()).expect("defaults");
    assert!(default_listeners);
    let addresses: Vec<String> = configuration
        .broker
        .listeners
        .iter()
        .map(|listener| listener.address.to_string())
        .collect();
    assert_eq!(addresses.first().map(String::as_str), Some("127.0.0.1:1883"));
    assert!(addresses.len() == 1 || addresses.get(1).map(String::as_str) == Some("[::1]:1883"));
    assert!(configuration.broker.listeners.iter().all(|listener| listener.allow_anonymous));
}

#[test]
fn slips_are_answered_with_the_nearest_key() {
    refused(
        sources(&[
            ("limits.recieve_maximum", "5"),
            ("limit.packet_bytes_max", "5"),
            ("data_dri", "/var"),
            ("sys.data_dir", "/var"),
            ("listeners.lan.adress", "127.0.0.1:1"),
            ("listeners.lan.address", "127.0.0.1:1"),
            ("limits.colour", "red"),
            ("listeners", "a table"),
            ("sys", "5"),
        ]),
        &[
            "dunlin.toml:1: unknown key `limits.recieve_maximum`: did you mean `receive_maximum`?",
            "dunlin.toml:2: unknown key `limit.packet_bytes_max`: `packet_bytes_max` belongs into [limits]",
            "dunlin.toml:3: unknown key `data_dri`: did you mean `data_dir`?",
            "dunlin.toml:4: unknown key `sys.data_dir`: `data_dir` stands above all sections",
            "dunlin.toml:7: unknown key `limits.colour`: `dunlin config --defaults` shows every key",
            "dunlin.toml:8: each listener is a section of its own, [listeners.NAME]",
            "dunlin.toml:9: `sys` is a section, [sys], not a key",
            "dunlin.toml:5: unknown key `listeners.lan.adress`: did you mean `address`?",
        ],
    );
}

#[test]
fn wrong_values_are_named_with_what_they_must_be() {
    refused(
        sources(&[
            ("limits.receive_maximum", "many"),
            ("limits.overflow", "drop"),
            ("limits.queue_qos0", "1"),
        ]),
        &[
            "dunlin.toml:1: `limits.receive_maximum` must be a whole number from 0 to 65535, not `many`",
            "dunlin.toml:2: `limits.overflow` must be one of \"drop_new\", \"drop_oldest\", \"disconnect\", not `drop`",
            "dunlin.toml:3: `limits.queue_qos0` must be true or false, not `1`",
        ],
    );
}

#[test]
fn what_the_library_refuses_is_shown_where_it_was_written() {
    refused(
        sources(&[("limits.queue_qos0", "true"), ("limits.receive_maximum", "0")]),
        &["dunlin.toml:2: `limits.receive_maximum` must be at least 1"],
    );
    refused(
        sources(&[("listeners.a.address", "127.0.0.1:7"), ("listeners.b.address", "127.0.0.1:7")]),
        &["dunlin.toml:2: `listeners.b.address` is the address of another listener too"],
    );
}

#[test]
fn the_limit_before_connect_follows_a_lower_one_unless_it_is_said() {
    let limits = assembled(sources(&[("limits.packet_bytes_max", "1 KiB")])).broker.limits;
    assert_eq!(limits.packet_bytes_max_before_connect, 1_024);
    refused(
        sources(&[
            ("limits.packet_bytes_max", "1 KiB"),
            ("limits.packet_bytes_max_before_connect", "2 KiB"),
        ]),
        &["dunlin.toml:2: `limits.packet_bytes_max_before_connect` must not be more than \
           limits.packet_bytes_max"],
    );
}

#[test]
fn a_listener_for_other_machines_must_allow_anonymous_clients_in_its_own_section() {
    let lan =
        [("listeners.lan.address", "0.0.0.0:1883"), ("listeners.local.address", "127.0.0.1:1884")];
    refused(
        sources(&lan),
        &[
            "dunlin.toml:1: 0.0.0.0:1883 can be reached from other machines, and no authentication is set up: \
           make users with `dunlin user add` and say where they are, `path` in a section [auth.file]; or put \
           `allow_anonymous = true` into its section [listeners.lan] to let every client in; or listen on 127.0.0.1",
        ],
    );
    let mut elsewhere = lan.to_vec();
    elsewhere.push(("listeners.local.allow_anonymous", "true"));
    assert!(assemble(sources(&elsewhere)).is_err());
    let mut its_own = lan.to_vec();
    its_own.push(("listeners.lan.allow_anonymous", "true"));
    assert!(
        assembled(sources(&its_own))
            .broker
            .listeners
            .iter()
            .all(|listener| listener.allow_anonymous)
    );
}

#[test]
fn listen_replaces_the_listeners_and_has_its_own_permission() {
    let file = [("listeners.local.address", "127.0.0.1:1884")];
    let said = Sources { listen: listen(&["127.0.0.1:0", "[::1]:7"]), ..sources(&file) };
    let names: Vec<String> = assembled(said)
        .broker
        .listeners
        .into_iter()
        .map(|listener| listener.address.to_string())
        .collect();
    assert_eq!(names, ["127.0.0.1:0", "[::1]:7"]);

    let open = Sources { listen: listen(&["0.0.0.0:7"]), ..Sources::default() };
    refused(
        open.clone(),
        &[
            "--listen 0.0.0.0:7: 0.0.0.0:7 can be reached from other machines, and no authentication is set up: \
           make users with `dunlin user add` and say where they are, `path` in a section [auth.file]; or add \
           --allow-anonymous to let every client in; or listen on 127.0.0.1",
        ],
    );
    let permitted =
        Sources { allow_anonymous: Some(Origin::Flag("--allow-anonymous".to_owned())), ..open };
    assert!(assemble(permitted).is_ok());
}

#[test]
fn the_flag_alone_opens_no_listener_of_the_file() {
    let said = Sources {
        allow_anonymous: Some(Origin::Flag("--allow-anonymous".to_owned())),
        ..sources(&[("listeners.local.address", "127.0.0.1:1884")])
    };
    refused(
        said,
        &[
            "--allow-anonymous: goes with --listen: a listener of the file takes anonymous clients if \
           `allow_anonymous = true` stands in its own section",
        ],
    );
}

#[test]
fn a_listener_that_asks_takes_no_anonymous_clients_unless_that_is_said() {
    let config = assembled(sources(&[
        ("auth.file.path", "users"),
        ("auth.sensors.kind", "peer"),
        ("auth.sensors.field", "cn"),
        ("listeners.lan.address", "0.0.0.0:1883"),
        ("listeners.local.address", "127.0.0.1:1883"),
        ("listeners.open.address", "127.0.0.1:1884"),
        ("listeners.open.allow_anonymous", "true"),
        ("listeners.plain.address", "127.0.0.1:1885"),
        ("listeners.plain.authentication", ""),
        ("listeners.tls.address", "0.0.0.0:8883"),
        ("listeners.tls.authentication", "sensors, file"),
    ]));
    let names: Vec<&str> = config.auth.iter().map(|section| section.name.as_str()).collect();
    assert_eq!(names, ["file", "sensors"]);
    let kinds: Vec<AuthKind> = config.auth.iter().map(|section| section.kind).collect();
    assert_eq!(kinds, [AuthKind::File, AuthKind::Peer]);
    let listeners: Vec<(&str, bool)> = config
        .broker
        .listeners
        .iter()
        .map(|listener| (listener.name.as_str(), listener.allow_anonymous))
        .collect();
    assert_eq!(
        listeners,
        [("lan", false), ("local", false), ("open", true), ("plain", true), ("tls", false)]
    );
    let default = assembled(sources(&[("auth.file.path", "users")]));
    assert!(default.broker.listeners.iter().all(|listener| !listener.allow_anonymous));
}

#[test]
fn slips_about_authentication_are_named() {
    refused(
        sources(&[
            ("auth.file.pth", "users"),
            ("auth.others.path", "users"),
            ("auth.third.kind", "fil"),
            ("auth.a b.kind", "file"),
            ("auth", "file"),
            ("listeners.lan.address", "0.0.0.0:1883"),
            ("listeners.lan.authentication", "fiel"),
            ("listeners.none.address", "0.0.0.0:1884"),
            ("listeners.none.authentication", ""),
            ("logins.hash_threads", "0"),
        ]),
        &[
            "dunlin.toml:5: each way to know clients is a section of its own, [auth.NAME]",
            "dunlin.toml:1: unknown key `auth.file.pth`: did you mean `path`?",
            "dunlin.toml:2: [auth.others] says no `kind`: one of \"file\", \"peer\", \"jwt\", \"http\", \"postgres\", \"mysql\", \"sqlite\", \"redis\", \"ldap\"",
            "dunlin.toml:3: `auth.third.kind` must be one of \"file\", \"peer\", \"jwt\", \"http\", \"postgres\", \"mysql\", \"sqlite\", \"redis\", \"ldap\", not `fil`",
            "dunlin.toml:4: the name \"a b\" of a section [auth.NAME] may hold letters, digits, `_` and `-` only",
            "dunlin.toml:7: `listeners.lan.authentication` names `fiel`, and there is no section [auth.fiel]: \
             did you mean `file`?",
            "dunlin.toml:8: 0.0.0.0:1884 can be reached from other machines, and no authentication is set up: \
             make users with `dunlin user add` and say where they are, `path` in a section [auth.file]; or put \
             `allow_anonymous = true` into its section [listeners.none] to let every client in; or listen on 127.0.0.1",
            "dunlin.toml:10: `logins.hash_threads` must be at least 1",
        ],
    );
}

#[test]
fn rules_of_durability_keep_their_order() {
    let config = assembled(sources(&[
        ("durability.1.filter", "telemetry/#"),
        ("durability.1.level", "os"),
        ("durability.2.level", "memory"),
        ("durability.2.filter", "+/noise"),
        ("store.durability", "os"),
        ("listeners.lan.address", "127.0.0.1:1"),
        ("listeners.lan.durability", "memory"),
    ]));
    let rule = |filter: &'static str, level| DurabilityRule {
        filter: TopicFilter::new(filter).expect("a filter"),
        level,
    };
    let expected = [rule("telemetry/#", Durability::Os), rule("+/noise", Durability::Memory)];
    assert_eq!(config.broker.durability_rules, expected);
    assert_eq!(config.broker.durability, Durability::Os);
    let levels: Vec<_> =
        config.broker.listeners.iter().map(|listener| listener.durability).collect();
    assert_eq!(levels, [Some(Durability::Memory)]);
}

#[test]
fn slips_in_what_is_kept_name_the_choices() {
    refused(
        sources(&[
            ("store.durability", "sync"),
            ("store.backend", "ram"),
            ("store.full_3x", "drop"),
            ("durability", "os"),
            ("durability.1.filter", "a/#/b"),
            ("durability.1.levle", "os"),
            ("durability.2.filter", "a"),
            ("durability.2.level", "never"),
            ("store.sync_interval", "1ms"),
            ("store.max_bytes", "64 KiB"),
        ]),
        &[
            "dunlin.toml:1: `store.durability` must be one of \"fsync\", \"os\", \"memory\", not `sync`",
            "dunlin.toml:2: `store.backend` must be one of \"disk\", \"memory\", not `ram`",
            "dunlin.toml:3: `store.full_3x` must be one of \"hold\", \"disconnect\", not `drop`",
            "dunlin.toml:4: rules are tables, [[durability]] each; the broker's own level is \
             `store.durability`",
            "dunlin.toml:5: `durability.filter` must be a topic filter such as \"telemetry/#\" or \"+/alarm\", not `a/#/b`",
            "dunlin.toml:6: unknown key `durability.levle`: did you mean `level`?",
            "dunlin.toml:5: a rule [[durability]] without a `level`",
            "dunlin.toml:8: `durability.level` must be one of \"fsync\", \"os\", \"memory\", not `never`",
            "dunlin.toml:10: `store.max_bytes` must be at least 1 MiB",
            "dunlin.toml:9: `store.sync_interval` must be at least 10ms",
        ],
    );
}

#[test]
fn what_tenants_show_each_other_keeps_its_order_and_says_what_it_lacks() {
    let config = assembled(sources(&[
        ("tenants.exports.1.from", "weather"),
        ("tenants.exports.1.filter", "public/#"),
        ("tenants.exports.1.to", "acme"),
        ("tenants.exports.1.below", "shared/weather"),
        ("tenants.exports.2.to", "weather"),
        ("tenants.exports.2.filter", "a"),
        ("tenants.exports.2.from", "acme"),
    ]));
    let filter = |text: &'static str| TopicFilter::new(text).expect("a filter");
    let mut first = TenantExport::new("weather", filter("public/#"), "acme");
    first.below = TopicName::new("shared/weather").ok();
    let second = TenantExport::new("acme", filter("a"), "weather");
    assert_eq!(config.broker.tenants.exports, [first, second]);

    refused(
        sources(&[
            ("tenants.exports", "acme"),
            ("tenants.exports.1.from", "acme"),
            ("tenants.exports.1.filtre", "a"),
            ("tenants.exports.2.from", "acme"),
            ("tenants.exports.2.to", "other"),
            ("tenants.exports.2.filter", "a"),
            ("tenants.exports.2.below", "a/+"),
        ]),
        &[
            "dunlin.toml:1: rules are tables, [[tenants.exports]] each",
            "dunlin.toml:3: unknown key `tenants.exports.filtre`: did you mean `filter`?",
            "dunlin.toml:2: a rule [[tenants.exports]] without a `filter`",
            "dunlin.toml:2: a rule [[tenants.exports]] without a `to`",
            "dunlin.toml:7: `tenants.exports.below` must be a topic without wildcards, such as \"shared/weather\", or \"none\", \
             not `a/+`",
        ],
    );
    refused(
        sources(&[
            ("tenants.exports.1.from", "acme"),
            ("tenants.exports.1.filter", "$SYS/#"),
            ("tenants.exports.1.to", "other"),
        ]),
        &[
            "dunlin.toml:2: `tenants.exports.1.filter` must not begin with $: such topics never leave their tenant",
        ],
    );
}

#[test]
fn bad_addresses_of_listen() {
    for bad in ["1883", "127.0.0.1", "127.0.0.1:", ":1883", "127.0.0.1:99999", "::1:1883"] {
        let problems =
            assemble(Sources { listen: listen(&[bad]), ..Sources::default() }).expect_err(bad);
        let text = problems.first().expect("one problem").to_string();
        assert!(text.contains("must be HOST:PORT such as"), "{text}");
    }
}

#[test]
fn a_listener_needs_an_address_and_a_plain_name() {
    refused(
        sources(&[("listeners.lan.maximum_qos", "1"), ("listeners.a b.address", "127.0.0.1:1")]),
        &[
            "dunlin.toml:1: [listeners.lan] says no `address`, such as \"127.0.0.1:1883\"",
            "dunlin.toml:2: the listener's name \"a b\" may hold letters, digits, `_` and `-` only",
        ],
    );
}
